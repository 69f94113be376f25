/* kernel.h - for kernel checks: the ladder, fills, interleaved timing. */
#ifndef GLIA_TEST_KERNEL_H
#define GLIA_TEST_KERNEL_H

#include "check.h"

#include <sys/mman.h>
#include <time.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "kernel/kernels.h"

/* Fill the table of rung i; false if this machine lacks the rung. Asserts that the
 * mask of CPU features alone decides the rung. */
static inline bool rung_table(glia_kernels *k, int i) {
    if ((glia_rungs[i].needs & glia_cpu_flags()) != glia_rungs[i].needs) {
        check_skip_because("%s: this machine lacks it", glia_rungs[i].name);
        return false;
    }
    glia_kernels_init(k, glia_rungs[i].needs);
    CHECK(strcmp(k->rung, glia_rungs[i].name) == 0, "asked for %s, got %s", glia_rungs[i].name, k->rung);
    return true;
}

/* RANDOM is in [-1, 1). CANCEL pairs each term with its opposite, so that the sum is
 * tiny and the terms are not. SPIKE has one large value at the very end. LARGE and TINY
 * are near the ends of the normal range, DENORMAL is below it. */
enum fill { RANDOM, CANCEL, SPIKE, LARGE, TINY, DENORMAL, ZERO, FILLS };

static inline float fill_value(enum fill f, size_t i, size_t n, float before) {
    const float v = check_uniform();
    switch (f) {
    case CANCEL: return i % 2 ? -before : v;
    case SPIKE: return i + 1 == n ? 65536.0f : 0.0f;
    case LARGE: return v * 1e15f;
    case TINY: return v * 1e-18f;
    case DENORMAL: return v * 1e-38f;
    case ZERO: return i % 2 ? 0.0f : -0.0f;
    default: return v;
    }
}

static inline float to_bf16(float v) { return glia_bf16_to_f32(glia_f32_to_bf16(v)); }

static inline bool same_bits(const float *a, const float *b, size_t n) {
    return !memcmp(a, b, n * sizeof *a);
}

/* m rows through n_panels panels at w: see glia_gemm. `scratch` may be NULL for a kernel that stores. */
static inline void run_gemm(glia_gemm_fn *gemm, const glia_gemm_out *out, glia_gemm_rows x, const void *w,
                            const float *w_scale, size_t k, size_t n_panels, size_t m, void *scratch) {
    gemm(&(glia_gemm){.out = *out,
                      .x = x,
                      .w = w,
                      .w_scale = w_scale,
                      .k = k,
                      .n_panels = n_panels,
                      .m = m,
                      .scratch = scratch});
}

/* Float32 rows ldx floats apart, results ldy floats apart. */
static inline void run_f32(glia_gemm_fn *gemm, float *y, size_t ldy, const float *x, size_t ldx,
                           const void *w, const float *w_scale, size_t k, size_t n_panels, size_t m) {
    const glia_gemm_out out = {.y = y, .ldy = ldy};
    run_gemm(gemm, &out, (glia_gemm_rows){x, ldx * sizeof *x, 64, NULL}, w, w_scale, k, n_panels, m, NULL);
}

/* Memory for a benchmark: aligned, in huge pages if Linux grants them (like the arena), touched. */
static inline void *bench_memory(size_t bytes) {
    const size_t unit = bytes < 2 << 20 ? 64 : 2 << 20, whole = (bytes + unit - 1) / unit * unit;
    void *p = aligned_alloc(unit, whole);
    if (!p) {
        perror("bench_memory");
        exit(2);
    }
    if (unit > 64) madvise(p, whole, MADV_HUGEPAGE);
    memset(p, 0, bytes);
    return p;
}

static inline int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static inline double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* Processor time of this thread, which other load on the machine affects less than wall time. */
static inline double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Measure a ceiling now: peak_now() in flops per second, read_now() in bytes per second. */
static inline double peak_now(const glia_kernels *k) {
    const double t0 = cpu_seconds();
    const uint64_t flops = k->peak_f32(1000000);
    return (double)flops / (cpu_seconds() - t0);
}
/* The fastest way to read is chosen once. So a ceiling is one sample, like the time it is
 * compared with. */
static inline double read_now(const glia_kernels *k, const void *p, size_t bytes) {
    static const size_t distance[] = {0, 1024, 2048, 4096};
    static glia_read_fn *chosen_for;
    static int streams;
    static size_t ahead;
    static volatile uint64_t sink;
    double best = 1e9;
    for (int i = 0; chosen_for != k->read && i < 48; i++) {
        const double t0 = cpu_seconds();
        sink = k->read(p, bytes, 1 << i % 4, distance[i / 4 % 4]);
        const double t = cpu_seconds() - t0;
        if (t > best) continue;
        best = t;
        streams = 1 << i % 4;
        ahead = distance[i / 4 % 4];
    }
    chosen_for = k->read;
    const double t0 = cpu_seconds();
    sink = k->read(p, bytes, streams, ahead);
    (void)sink;
    return (double)bytes / (cpu_seconds() - t0);
}

#endif
