/* rotate_ref.c - the definition of `rotate` in plain C. */
#include "kernel/rotate.h"

#include <string.h>

#include "base/bf16.h"

glia_rotate_fn glia_rotate_ref;

/* Element i of a row whose pieces of 64 bytes are `step` bytes apart. */
static float element(const char *row, size_t step, glia_dtype from, size_t i) {
    const size_t size = from == GLIA_DTYPE_F32 ? 4 : 2, at = i * size / 64 * step + i * size % 64;
    uint16_t bits;
    float f;
    if (from == GLIA_DTYPE_F32) {
        memcpy(&f, row + at, sizeof f);
        return f;
    }
    memcpy(&bits, row + at, sizeof bits);
    return glia_bf16_to_f32(bits);
}

static void rotate_block(float *y, size_t block) {
    const float factor = glia_rotate_factor(block);
    for (size_t h = 1; h < block; h *= 2)
        for (size_t first = 0; first < block; first += 2 * h)
            for (size_t i = first; i < first + h; i++) {
                const float a = y[i], b = y[i + h];
                y[i] = a + b;
                y[i + h] = a - b;
            }
    for (size_t i = 0; i < block; i++) y[i] *= factor;
}

void glia_rotate_ref(float *y, const void *x, size_t x_step, glia_dtype from, size_t k, size_t block) {
    for (size_t i = 0; i < k; i++) y[i] = element(x, x_step, from, i);
    for (size_t i = 0; i < k; i += block) rotate_block(y + i, block);
}
