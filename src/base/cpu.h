/* cpu.h - which instruction sets this machine and its operating system offer. */
#ifndef GLIA_BASE_CPU_H
#define GLIA_BASE_CPU_H

#include "base/err.h"

enum {
    GLIA_CPU_AVX2 = 1 << 0,     /* AVX2, FMA and F16C, always together */
    GLIA_CPU_AVX512 = 1 << 1,   /* AVX-512 F, BW, DQ and VL */
    GLIA_CPU_AMX = 1 << 2,      /* AMX tile, bf16 and int8, and the OS grants them; AVX-512 BF16 as well */
    GLIA_CPU_VNNI = 1 << 3,     /* AVX-512 VNNI: not a rung, some machines with AVX-512 have it */
    GLIA_CPU_BF16 = 1 << 4,     /* AVX-512 BF16, and VNNI as well */
    GLIA_CPU_AVX_VNNI = 1 << 5, /* AVX-VNNI: not a rung, some machines with AVX2 have it */
};

/* The ladder of instruction sets, lowest rung first; every list of rungs comes from this table. */
typedef struct {
    const char *name;
    unsigned needs; /* flags that a machine must have to run this rung */
    unsigned keeps; /* flags that --cpu-features leaves set: `needs`, and what may add to the rung */
} glia_rung;

enum { GLIA_RUNGS = 5 };
extern const glia_rung glia_rungs[GLIA_RUNGS];
#define GLIA_RUNG_NAMES                                                                                      \
    "ref|avx2|avx512|avx512_bf16|amx" /* the names of glia_rungs, for help and messages                      \
                                       */

/* Flags of the running machine. Calls cpuid each time; keep the answer. On a
 * processor other than x86-64: 0. */
unsigned glia_cpu_flags(void);

/* Clear the flags that the rung `name` does not keep. NULL keeps all. A name
 * that no rung has, or a rung that needs more than `flags`, is
 * GLIA_ERR_ARGUMENT. */
glia_status glia_cpu_mask(unsigned *flags, const char *name, glia_err *err);

/* The name of the highest rung that `flags` suffice for. */
const char *glia_cpu_rung(unsigned flags);

#endif
