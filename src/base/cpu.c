/* cpu.c - see cpu.h. __builtin_cpu_supports also asks the OS (xgetbv), which a
 * bare cpuid test forgets: a kernel may leave the wide registers unsaved. AMX
 * state must moreover be requested from Linux, once per process. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

static int has_amx(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
    if ((d & (amx_bf16 | amx_tile | amx_int8)) != (amx_bf16 | amx_tile | amx_int8)) return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

unsigned glia_cpu_flags(void) {
    unsigned flags = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) flags |= GLIA_CPU_AVX2;
    if ((flags & GLIA_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        flags |= GLIA_CPU_AVX512;
    if ((flags & GLIA_CPU_AVX512) && __builtin_cpu_supports("avx512vnni")) flags |= GLIA_CPU_VNNI;
    if ((flags & GLIA_CPU_VNNI) && __builtin_cpu_supports("avx512bf16") && has_amx()) flags |= GLIA_CPU_AMX;
#endif
    return flags;
}

static const struct {
    const char *name;
    unsigned flags; /* this rung and those below it */
} rungs[] = {
    {"ref", 0},
    {"avx2", GLIA_CPU_AVX2},
    {"avx512", GLIA_CPU_AVX2 | GLIA_CPU_AVX512},
    {"amx", GLIA_CPU_AVX2 | GLIA_CPU_AVX512 | GLIA_CPU_AMX},
};
enum { N_RUNGS = sizeof rungs / sizeof *rungs };

glia_status glia_cpu_mask(unsigned *flags, const char *name, glia_err *err) {
    if (!name) return GLIA_OK;
    for (int i = 0; i < N_RUNGS; i++) {
        if (strcmp(name, rungs[i].name) != 0) continue;
        if ((*flags & rungs[i].flags) != rungs[i].flags)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "cpu-features: this machine has %s, not %s",
                             glia_cpu_rung(*flags), name);
        *flags &= rungs[i].flags | (rungs[i].flags & GLIA_CPU_AVX512 ? GLIA_CPU_VNNI : 0u);
        return GLIA_OK;
    }
    return glia_fail(err, GLIA_ERR_ARGUMENT, "cpu-features: '%s' is none of ref, avx2, avx512, amx", name);
}

const char *glia_cpu_rung(unsigned flags) {
    int best = 0;
    for (int i = 0; i < N_RUNGS; i++)
        if ((flags & rungs[i].flags) == rungs[i].flags) best = i;
    return rungs[best].name;
}
