/* team.h - a rank's threads: pinned, and all running the same function (SPMD).
 *
 * Thread 0 is the thread that calls glia_team_run(). It belongs to the caller and
 * keeps the caller's affinity. The other threads belong to the team, which binds
 * each of them to one core. A barrier stands only where a value crosses threads. */
#ifndef GLIA_BASE_TEAM_H
#define GLIA_BASE_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef struct glia_team glia_team;
typedef void glia_team_fn(void *arg, int thread);

enum { GLIA_THREADS_MAX = 1024, GLIA_TAKE_MAX = 0xffff };

/* A team of `threads` threads; 0 means glia_cores_available(). More threads than
 * cores are allowed and slow. On success the caller owns *out. One thread at
 * a time runs a team. Errors: GLIA_ERR_ARGUMENT, GLIA_ERR_NOMEM, GLIA_ERR_IO. */
glia_status glia_team_create(glia_team **out, int threads, glia_err *err);
/* Team `i` of `of` teams of `threads` threads each that run at the same time. The teams
 * use different cores. Together they use the cores that one team of `of` * threads
 * threads would use. */
glia_status glia_team_create_beside(glia_team **out, int threads, int i, int of, glia_err *err);
void glia_team_free(glia_team *t);
/* Bind the calling thread to the core reserved for thread 0. Only for a thread that
 * nobody else uses. */
void glia_team_bind(glia_team *t);
int glia_team_size(const glia_team *t);

/* Run fn(arg, thread) on every thread, thread 0 on the calling one. Returns when
 * every thread has returned. */
void glia_team_run(glia_team *t, glia_team_fn *fn, void *arg);

/* Inside fn: wait until every thread of the team has called this. */
void glia_team_barrier(glia_team *t);

/* ---- three ways to share n items -------------------------------------------- */

/* Contiguous: owner `i` of `of` gets items [*from, *to); sizes differ by one at most. */
static inline void glia_share(size_t n, int i, int of, size_t *from, size_t *to) {
    *from = n * (size_t)i / (size_t)of;
    *to = n * ((size_t)i + 1) / (size_t)of;
}

/* With stealing: every thread owns a range of items. It takes items from the front of
 * its own range, then from the ends of the ranges of other threads. A round goes so:
 * call begin; then drain a fixed list of owners, yourself included, before the next
 * begin. Rounds need no barrier between them. */
void glia_team_begin(glia_team *t, int thread);
/* Take for `thread` some of the n <= GLIA_TAKE_MAX items of `owner`: [*from, *to) is
 * half of what is left, in multiples of `grain`, at least one grain. Returns false if
 * nothing is left. */
bool glia_team_take(glia_team *t, int thread, int owner, size_t n, size_t grain, size_t *from, size_t *to);

/* Striped: item `at` lies in stripe at / unit, and stripes go to `of` owners in
 * rotation. */

/* The owner of item `at`. */
static inline int glia_stripe_owner(size_t at, size_t unit, int of) { return (int)(at / unit % (size_t)of); }
/* How many of the first n items owner `i` has. */
static inline size_t glia_stripe_count(size_t n, size_t unit, int i, int of) {
    const size_t cycle = unit * (size_t)of, before = unit * (size_t)i, rest = n % cycle;
    const size_t last = rest < before ? 0 : rest - before;
    return n / cycle * unit + (last < unit ? last : unit);
}
/* The k-th item of owner `i`, k = 0, 1, ... */
static inline size_t glia_stripe_item(size_t k, size_t unit, int i, int of) {
    return (k / unit * (size_t)of + (size_t)i) * unit + k % unit;
}

#endif
