/* ladder.h - the x86-64 rungs of the table of kernels. */
#ifndef GLIA_KERNEL_X86_LADDER_H
#define GLIA_KERNEL_X86_LADDER_H

#include "kernel/kernels.h"

/* Overwrite the entries of `k`, which holds the plain-C kernels, with the
 * fastest that `cpu_flags` (base/cpu.h) allows. */
void glia_kernels_x86(glia_kernels *k, unsigned cpu_flags);

#endif
