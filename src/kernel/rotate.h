/* rotate.h - what the twins of `rotate` share. */
#ifndef GLIA_KERNEL_ROTATE_H
#define GLIA_KERNEL_ROTATE_H

#include "kernel/kernels.h"

/* 1 / sqrt(block), rounded once. */
static inline float glia_rotate_factor(size_t block) {
    static const float root[] = {1.0f, 0.707106781f, 0.5f, 0.353553391f, 0.25f, 0.176776695f, 0.125f};
    size_t power = 0;
    while ((size_t)1 << power < block) power++;
    return root[power];
}

#endif
