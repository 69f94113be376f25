/* cpu.h - which instruction sets this machine, and its kernel, let us use. */
#ifndef GLIA_BASE_CPU_H
#define GLIA_BASE_CPU_H

#include "base/err.h"

enum {
    GLIA_CPU_AVX2 = 1 << 0,   /* AVX2, FMA and F16C, always together */
    GLIA_CPU_AVX512 = 1 << 1, /* AVX-512 F, BW, DQ and VL */
    GLIA_CPU_AMX = 1 << 2,    /* AMX tile, bf16 and int8, and the OS grants them */
    GLIA_CPU_VNNI = 1 << 3,   /* AVX-512 VNNI: not a rung, some of those with AVX-512 have it */
};

/* Flags of the running machine. Calls cpuid each time; keep the answer. */
unsigned glia_cpu_flags(void);

/* Narrow `flags` to the rungs up to `name` ("ref", "avx2", "avx512", "amx").
 * NULL keeps all. A name this machine lacks, or none of these, is
 * GLIA_ERR_ARGUMENT. */
glia_status glia_cpu_mask(unsigned *flags, const char *name, glia_err *err);

/* The highest rung in `flags`: "ref", "avx2", "avx512" or "amx". */
const char *glia_cpu_rung(unsigned flags);

#endif
