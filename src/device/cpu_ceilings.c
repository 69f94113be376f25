/* cpu_ceilings.c - what the machine can do at most, measured by the threads that will
 * be measured against it, all at once. */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "device/cpu.h"

enum { TRIES = 3 };
/* At most a GiB is read, well beyond any cache: 256 MB read in a circle came out 1.6 times as fast as 1 GB
 * where the last cache has 260 MB. */
static const size_t most_bytes = (size_t)1 << 30;

typedef struct {
    const glia_cpu_device *d;
    const char *memory;
    size_t bytes;
    int streams;
    size_t prefetch_bytes;
    glia_peak_fn *peak;
    uint64_t rounds;
    uint64_t work[GLIA_THREADS_MAX]; /* by thread; keeps the kernels' results alive */
} measure;

static void read_share(void *arg, int thread) {
    measure *m = arg;
    size_t from, to;
    glia_share(m->bytes / 64, thread, m->d->base.threads, &from, &to);
    m->work[thread] = m->d->k.read(m->memory + from * 64, (to - from) * 64, m->streams, m->prefetch_bytes);
}

static void peak_share(void *arg, int thread) {
    measure *m = arg;
    m->work[thread] = m->peak(m->rounds);
}

static double time_run(measure *m, glia_team_fn *fn) {
    const double start = glia_seconds();
    glia_team_run(m->d->base.team, fn, m);
    return glia_seconds() - start;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The fastest way to read; the speed of each way is the median of its tries. */
static double best_read(measure *m) {
    static const size_t ahead[] = {0, 1024, 2048, 4096, 8192};
    double best = 0, speed[TRIES];
    for (m->streams = 1; m->streams <= 8; m->streams *= 2)
        for (size_t i = 0; i < sizeof ahead / sizeof *ahead; i++) {
            m->prefetch_bytes = ahead[i];
            for (int t = 0; t < TRIES; t++) speed[t] = (double)m->bytes / time_run(m, read_share);
            qsort(speed, TRIES, sizeof *speed, compare);
            if (speed[TRIES / 2] > best) best = speed[TRIES / 2];
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
        for (int k = 0; k < m->d->base.threads; k++) flop += (double)m->work[k];
        if (flop / t > best) best = flop / t;
    }
    return best;
}

void glia_cpu_measure(const glia_device *device, const void *memory, size_t bytes, glia_ceilings *c) {
    const glia_cpu_device *d = glia_cpu_of(device);
    measure m = {.d = d, .memory = memory, .bytes = bytes < most_bytes ? bytes : most_bytes};
    *c = (glia_ceilings){
        .read_bytes_per_s = best_read(&m),
        .f32_flop_per_s = best_peak(&m, d->k.peak_f32),
        .bf16_flop_per_s = best_peak(&m, d->k.peak_bf16),
        .i8_op_per_s = best_peak(&m, d->k.peak_i8),
    };
}
