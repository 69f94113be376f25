/* cpu.c - see cpu.h. An instruction set counts only if the operating system saves
 * its registers: __builtin_cpu_supports checks that (xgetbv), bare cpuid does
 * not. Linux also wants AMX state to be requested, once per process. */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static int has_amx(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
    if ((d & (amx_bf16 | amx_tile | amx_int8)) != (amx_bf16 | amx_tile | amx_int8)) return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Not by __builtin_cpu_supports: Clang 14 does not know the name. */
static int has_avx_vnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
#endif

unsigned glia_cpu_flags(void) {
    unsigned flags = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) flags |= GLIA_CPU_AVX2;
    if ((flags & GLIA_CPU_AVX2) && has_avx_vnni()) flags |= GLIA_CPU_AVX_VNNI;
    if ((flags & GLIA_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        flags |= GLIA_CPU_AVX512;
    if ((flags & GLIA_CPU_AVX512) && __builtin_cpu_supports("avx512vnni")) flags |= GLIA_CPU_VNNI;
    if ((flags & GLIA_CPU_VNNI) && __builtin_cpu_supports("avx512bf16")) flags |= GLIA_CPU_BF16;
    if ((flags & GLIA_CPU_BF16) && has_amx()) flags |= GLIA_CPU_AMX;
#endif
    return flags;
}

enum {
    AVX512 = GLIA_CPU_AVX2 | GLIA_CPU_AVX512,
    BF16 = AVX512 | GLIA_CPU_VNNI | GLIA_CPU_BF16,
    AMX = BF16 | GLIA_CPU_AMX,
};
const glia_rung glia_rungs[GLIA_RUNGS] = {
    {"ref", 0, 0},
    {"avx2", GLIA_CPU_AVX2, GLIA_CPU_AVX2 | GLIA_CPU_AVX_VNNI},
    {"avx512", AVX512, AVX512 | GLIA_CPU_VNNI},
    {"avx512_bf16", BF16, BF16},
    {"amx", AMX, AMX},
};

glia_status glia_cpu_mask(unsigned *flags, const char *name, glia_err *err) {
    if (!name) return GLIA_OK;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        const glia_rung *r = &glia_rungs[i];
        if (strcmp(name, r->name) != 0) continue;
        if ((*flags & r->needs) != r->needs)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "cpu-features: this machine has %s, not %s",
                             glia_cpu_rung(*flags), name);
        *flags &= r->keeps;
        return GLIA_OK;
    }
    return glia_fail(err, GLIA_ERR_ARGUMENT, "cpu-features: '%s' is none of " GLIA_RUNG_NAMES, name);
}

const char *glia_cpu_rung(unsigned flags) {
    int best = 0;
    for (int i = 0; i < GLIA_RUNGS; i++)
        if ((flags & glia_rungs[i].needs) == glia_rungs[i].needs) best = i;
    return glia_rungs[best].name;
}
