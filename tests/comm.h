/* comm.h - runs every collective with many sizes on the threads of one rank, for
 * tests of thread ranks and of MPI ranks.
 *
 * Each operand is a function of rank, index and round. So each rank can compute the
 * expected result bit for bit; sums add in rank order. */
#ifndef GLIA_TEST_COMM_H
#define GLIA_TEST_COMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/team.h"
#include "check.h"
#include "comm/comm.h"

enum { COMM_HALF = 1 << 19, COMM_BENCH_HALF = 1 << 22 };

/* Bytes of half an area; --bench uses more. */
static size_t comm_half = COMM_HALF;

typedef struct {
    glia_comm *c;       /* the group under test */
    const int *member;  /* [size] world ranks of the group */
    int threads, round; /* round: the first round; each thread counts on a copy */
    float *out;         /* [comm_half / 4] of this rank */
    pthread_barrier_t team;
    atomic_int wrong, done;
} comm_rank;

static inline float comm_value(int rank, size_t i, int round) {
    uint32_t h =
        (uint32_t)i * 0x9e3779b9u ^ (uint32_t)(rank + 1) * 0x85ebca6bu ^ (uint32_t)round * 0xc2b2ae35u;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    h ^= h >> 13;
    return (float)(int32_t)h * (1.0f / 0x1p31f);
}

/* Element i of operand `part` of rank p. Each operand has the values of a separate rank. */
static inline float comm_part_value(const comm_rank *r, int p, int parts, int part, size_t i, int round) {
    return comm_value(r->member[p] * parts + part, i, round);
}

static inline float comm_sum_parts(const comm_rank *r, int parts, size_t i, int round) {
    float sum = comm_part_value(r, 0, parts, 0, i, round);
    for (int k = 1; k < glia_comm_size(r->c) * parts; k++)
        sum += comm_part_value(r, k / parts, parts, k % parts, i, round);
    return sum;
}

static inline float comm_sum(const comm_rank *r, size_t i, int round) {
    return comm_sum_parts(r, 1, i, round);
}

/* The half of the area that this round uses. */
static inline float *comm_in(const comm_rank *r, int round) {
    return (float *)glia_comm_area(r->c) + (round % 2 ? comm_half / sizeof(float) : 0);
}

static inline void comm_expect(comm_rank *r, float got, float want) {
    if (memcmp(&got, &want, sizeof got) != 0) atomic_fetch_add(&r->wrong, 1);
}

/* Fill `in` [n]; each thread fills a range. */
static inline float *comm_fill(comm_rank *r, int thread, int round, size_t n) {
    float *in = comm_in(r, round);
    size_t from, to;
    glia_share(n, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++) in[i] = comm_value(r->member[glia_comm_rank(r->c)], i, round);
    return in;
}

static inline void comm_try_all_reduce(comm_rank *r, int thread, int round, size_t n, bool add) {
    size_t from, to;
    float *in = comm_fill(r, thread, round, n);
    glia_share(n, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++) r->out[i] = (float)(i % 7);
    glia_comm_all_reduce(r->c, thread, r->out, in, n, add);
    pthread_barrier_wait(&r->team);
    for (size_t i = from; i < to; i++) {
        const float sum = comm_sum(r, i, round);
        comm_expect(r, r->out[i], add ? (float)(i % 7) + sum : sum);
    }
    pthread_barrier_wait(&r->team);
}

static inline void comm_try_reduce_scatter(comm_rank *r, int thread, int round, size_t n, size_t unit) {
    size_t first, last, from, to;
    float *in = comm_fill(r, thread, round, n * unit);
    glia_comm_reduce_scatter(r->c, thread, r->out, in, n, unit, false);
    pthread_barrier_wait(&r->team);
    glia_share(n, glia_comm_rank(r->c), glia_comm_size(r->c), &first, &last);
    glia_share((last - first) * unit, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++) comm_expect(r, r->out[i], comm_sum(r, first * unit + i, round));
    pthread_barrier_wait(&r->team);
}

/* Reduce-scatter and all-reduce of several operands per rank, `stride` floats apart.
 * The all-reduce adds to the output. */
static inline void comm_try_parts(comm_rank *r, int thread, int round, size_t n, int parts) {
    const size_t stride = n + 5, unit = n % 7 + 1;
    glia_sum s = {.n = n, .per_rank = parts, .stride = stride, .add = true};
    float *in = comm_in(r, round);
    size_t from, to, first, last;
    for (int again = 0; again < 2; again++) { /* all-reduce overwrites its operands: fill them again */
        glia_share(n, thread, r->threads, &from, &to);
        for (int k = 0; k < parts; k++)
            for (size_t i = from; i < to; i++)
                in[(size_t)k * stride + i] = comm_part_value(r, glia_comm_rank(r->c), parts, k, i, round);
        for (size_t i = from; i < to; i++) r->out[i] = (float)(i % 5);
        pthread_barrier_wait(&r->team);
        first = 0;
        last = n;
        if (again) {
            s.unit = unit;
            s.n = n / unit;
            s.add = false;
            glia_share(s.n, glia_comm_rank(r->c), glia_comm_size(r->c), &first, &last);
            first *= unit;
            last *= unit;
            glia_comm_reduce_scatter_many(r->c, thread, r->out, in, &s);
        } else {
            glia_comm_all_reduce_many(r->c, thread, r->out, in, &s);
        }
        pthread_barrier_wait(&r->team);
        glia_share(last - first, thread, r->threads, &from, &to);
        for (size_t i = from; i < to; i++) {
            const float sum = comm_sum_parts(r, parts, first + i, round);
            comm_expect(r, r->out[i], s.add ? (float)(i % 5) + sum : sum);
        }
        glia_comm_barrier(r->c, thread); /* all ranks have read the buffer that is filled next */
    }
}

/* Gather [rows, n units] with wider strides on both sides, on all ranks or on `root` (>= 0). */
static inline void comm_try_gather(comm_rank *r, int thread, int round, size_t rows, size_t n, int root) {
    enum { UNIT = 3, WIDER = 5 };
    size_t first, last, from, to;
    glia_share(n, glia_comm_rank(r->c), glia_comm_size(r->c), &first, &last);
    const size_t mine = (last - first) * UNIT, whole = n * UNIT;
    const size_t ld = (n / (size_t)glia_comm_size(r->c) + 1) * UNIT + WIDER; /* on every rank */
    float *in = comm_in(r, round);
    glia_share(rows, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < mine; j++)
            in[i * ld + j] = comm_value(r->member[glia_comm_rank(r->c)], i * whole + first * UNIT + j, round);
    const glia_gather g = {.rows = rows,
                           .n = n,
                           .unit = UNIT * sizeof(float),
                           .ld_in = ld * sizeof(float),
                           .ld_out = (whole + 1) * sizeof(float)};
    const bool receives = root < 0 || root == glia_comm_rank(r->c);
    if (root < 0)
        glia_comm_all_gather(r->c, thread, r->out, in, &g);
    else
        glia_comm_gather(r->c, thread, receives ? r->out : NULL, in, &g, root);
    pthread_barrier_wait(&r->team);
    for (size_t i = from; i < to && receives; i++)
        for (int p = 0; p < glia_comm_size(r->c); p++) {
            glia_share(n, p, glia_comm_size(r->c), &first, &last);
            for (size_t j = first * UNIT; j < last * UNIT; j++)
                comm_expect(r, r->out[i * (whole + 1) + j], comm_value(r->member[p], i * whole + j, round));
        }
    pthread_barrier_wait(&r->team);
}

/* All-to-all of blocks of n floats, `n + 3` floats apart. */
static inline void comm_try_exchange(comm_rank *r, int thread, int round, size_t n) {
    const size_t ld = n + 3, size = (size_t)glia_comm_size(r->c), me = (size_t)glia_comm_rank(r->c);
    size_t from, to;
    comm_fill(r, thread, round, size * ld);
    glia_comm_exchange(r->c, thread, r->out, comm_in(r, round), n * sizeof(float), ld * sizeof(float));
    pthread_barrier_wait(&r->team);
    glia_share(size * n, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++)
        comm_expect(r, r->out[i], comm_value(r->member[i / n], me * ld + i % n, round));
    pthread_barrier_wait(&r->team);
}

static inline void comm_try_broadcast(comm_rank *r, int thread, int round, size_t n, int root) {
    size_t from, to;
    float *buf = comm_fill(r, thread, round, n);
    glia_comm_broadcast(r->c, thread, buf, n * sizeof(float), root);
    pthread_barrier_wait(&r->team);
    glia_share(n, thread, r->threads, &from, &to);
    for (size_t i = from; i < to; i++) comm_expect(r, buf[i], comm_value(r->member[root], i, round));
}

/* Run all collectives. Every thread of every rank calls this. */
static inline void comm_battery(comm_rank *r, int thread, int rounds) {
    static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 100, 2048, 4097, 30000, 65536};
    enum { N = sizeof sizes / sizeof *sizes };
    int round = 0;
    for (int again = 0; again < rounds; again++)
        for (size_t s = 0; s < N; s++) {
            comm_try_all_reduce(r, thread, ++round, sizes[s], s % 2);
            comm_try_all_reduce(r, thread, ++round, sizes[s], again % 2);
            comm_try_reduce_scatter(r, thread, ++round, sizes[s], 1);
            comm_try_reduce_scatter(r, thread, ++round, sizes[s] % 53, 160);
            comm_try_parts(r, thread, ++round, sizes[s] % 40000, 2 + (int)s % 2);
            comm_try_gather(r, thread, ++round, 1, sizes[s] / 3, -1);
            comm_try_gather(r, thread, ++round, 1 + sizes[s] % 9, sizes[s] % 1000, -1);
            comm_try_gather(r, thread, ++round, 1, sizes[s] / 3, (int)s % glia_comm_size(r->c));
            comm_try_gather(r, thread, ++round, 1 + sizes[s] % 9, sizes[s] % 1000, 0);
            comm_try_exchange(r, thread, ++round, sizes[s] % 9000);
            comm_try_broadcast(r, thread, ++round, sizes[s], (int)s % glia_comm_size(r->c));
            glia_comm_barrier(r->c, thread);
        }
    comm_try_reduce_scatter(r, thread, ++round, 1, COMM_HALF / sizeof(float)); /* one rank gets all */
    atomic_fetch_add(&r->done, 1);
}

/* Print, on rank 0, the time of each collective by payload: microseconds per call, and
 * the rate at which a rank reads from the others. */
static inline void comm_bench(comm_rank *r, int thread) {
    static const char *const names[] = {"all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"};
    for (int op = 0; op < 5; op++)
        for (size_t n = 256; n <= comm_half / sizeof(float); n *= op == 4 ? 1 << 20 : 8) {
            const size_t size = (size_t)glia_comm_size(r->c), unit = n / size * sizeof(float);
            const glia_gather g = {1, size, unit, unit, n * sizeof(float)};
            const int calls = n < 10000 ? 2000 : 200;
            glia_comm_barrier(r->c, thread);
            const uint64_t before = glia_comm_costs(r->c).bytes;
            const double start = check_seconds();
            for (int i = 0; i < calls; i++) {
                float *in = comm_in(r, i);
                if (op == 0) glia_comm_all_reduce(r->c, thread, r->out, in, n, false);
                if (op == 1) glia_comm_reduce_scatter(r->c, thread, r->out, in, size, n / size, false);
                if (op == 2) glia_comm_all_gather(r->c, thread, r->out, in, &g);
                if (op == 3) glia_comm_broadcast(r->c, thread, in, n * sizeof(float), 1 % (int)size);
                if (op == 4) glia_comm_barrier(r->c, thread);
            }
            const double s = (check_seconds() - start) / calls;
            const double bytes = (double)(glia_comm_costs(r->c).bytes - before) / calls;
            if (thread == 0 && glia_comm_rank(r->c) == 0)
                printf("%-18s %-15s %8zu bytes  %9.2f us  %7.2f GB/s\n", glia_comm_name(r->c), names[op],
                       op == 4 ? 0 : n * sizeof(float), s * 1e6, bytes / s / 1e9);
        }
    atomic_fetch_add(&r->done, 1);
}

/* The size of this process' address space. */
static inline size_t comm_mapped_bytes(void) {
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu", &pages), 1);
    fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* The function that each thread of a rank runs. */
typedef void comm_fn(comm_rank *r, int thread);
typedef struct {
    comm_rank *rank;
    comm_fn *fn;
    int thread;
} comm_call;

static inline void *comm_enter(void *arg) {
    const comm_call *call = arg;
    call->fn(call->rank, call->thread);
    return NULL;
}

/* Start the ranks' threads (thread 0 of the last rank is the caller) and join them. */
static inline void comm_run(comm_rank *ranks, int n, comm_fn *fn) {
    int total = 0, i = 0;
    for (int r = 0; r < n; r++) total += ranks[r].threads;
    pthread_t *thread = calloc((size_t)total, sizeof *thread);
    comm_call *call = calloc((size_t)total, sizeof *call);
    for (int r = 0; r < n; r++) {
        pthread_barrier_init(&ranks[r].team, NULL, (unsigned)ranks[r].threads);
        for (int t = ranks[r].threads - 1; t >= 0; t--, i++) {
            call[i] = (comm_call){.rank = &ranks[r], .fn = fn, .thread = t};
            if (i < total - 1) pthread_create(&thread[i], NULL, comm_enter, &call[i]);
        }
    }
    comm_enter(&call[total - 1]);
    for (i = 0; i < total - 1; i++) pthread_join(thread[i], NULL);
    for (int r = 0; r < n; r++) pthread_barrier_destroy(&ranks[r].team);
    free(thread);
    free(call);
}

#endif
