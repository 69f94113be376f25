/* ceilings.c - what the machine can do, measured by the threads that will be
 * measured against it: all at once, the best of several tries. */
#define _GNU_SOURCE
#include <assert.h>
#include <string.h>
#include <time.h>

#include "engine/engine_impl.h"
#include "kernel/kernels.h"

enum { TRIES = 3 };
static const size_t read_bytes = (size_t)512 << 20; /* well beyond any cache */

typedef struct {
    const glia_engine *e;
    glia_kernels k;
    char *memory;
    int streams;
    size_t prefetch_bytes;
    glia_peak_fn *peak;
    uint64_t rounds;
    uint64_t work[GLIA_THREADS_MAX]; /* by thread; keeps the kernels' results alive */
} measure;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void share_of(const measure *m, int thread, char **from, size_t *bytes) {
    size_t a, b;
    glia_share(read_bytes, thread, m->e->config.threads, &a, &b);
    *from = m->memory + a;
    *bytes = b - a;
}

static void touch(void *arg, int thread) { /* unwritten pages would all be one */
    char *from;
    size_t bytes;
    share_of(arg, thread, &from, &bytes);
    memset(from, 1, bytes);
}

static void read_share(void *arg, int thread) {
    measure *m = arg;
    char *from;
    size_t bytes;
    share_of(m, thread, &from, &bytes);
    m->work[thread] = m->k.read(from, bytes, m->streams, m->prefetch_bytes);
}

static void peak_share(void *arg, int thread) {
    measure *m = arg;
    m->work[thread] = m->peak(m->rounds);
}

static double time_run(measure *m, glia_team_fn *fn) {
    const double start = seconds();
    glia_team_run(m->e->team, fn, m);
    return seconds() - start;
}

static double best_read(measure *m) {
    static const size_t ahead[] = {0, 512, 2048, 8192};
    double best = 0;
    for (m->streams = 1; m->streams <= 8; m->streams *= 2)
        for (size_t i = 0; i < TRIES * sizeof ahead / sizeof *ahead; i++) {
            m->prefetch_bytes = ahead[i / TRIES];
            const double speed = (double)read_bytes / time_run(m, read_share);
            if (speed > best) best = speed;
        }
    return best;
}

static double best_peak(measure *m, glia_peak_fn *peak) {
    double best = 0, t = 0;
    if (!peak) return 0;
    m->peak = peak;
    for (m->rounds = 1 << 16; t < 0.02; m->rounds *= 2) t = time_run(m, peak_share);
    for (int i = 0; i < 3 * TRIES; i++) {
        double flop = 0;
        t = time_run(m, peak_share);
        for (int k = 0; k < m->e->config.threads; k++) flop += (double)m->work[k];
        if (flop / t > best) best = flop / t;
    }
    return best;
}

GLIA_API glia_status glia_engine_ceilings(glia_engine *e, glia_ceilings *c, glia_err *err) {
    assert(!e->stepping);
    measure m = {.e = e};
    glia_plan plan = {0};
    const int region = glia_plan_add(&plan, "memory to read", read_bytes, 1);
    const glia_status status = glia_plan_map(&plan, "memory to measure the read ceiling", err);
    if (status) return status;
    m.memory = glia_plan_at(&plan, region);
    glia_kernels_init(&m.k, e->config.cpu_flags);
    glia_team_run(e->team, touch, &m);
    *c = (glia_ceilings){
        .read_bytes_per_s = best_read(&m),
        .f32_flop_per_s = best_peak(&m, m.k.peak_f32),
        .bf16_flop_per_s = best_peak(&m, m.k.peak_bf16),
        .i8_op_per_s = best_peak(&m, m.k.peak_i8),
    };
    glia_plan_unmap(&plan);
    return GLIA_OK;
}
