/* team.h - a rank's threads: pinned, and all running the same function (SPMD).
 *
 * The thread that calls glia_team_run() is thread 0 and keeps its affinity, for
 * it belongs to the caller; the others belong to the team and are bound to one
 * core each. A barrier stands only where a value crosses threads. */
#ifndef GLIA_BASE_TEAM_H
#define GLIA_BASE_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef struct glia_team glia_team;
typedef void glia_team_fn(void *arg, int thread);

enum { GLIA_THREADS_MAX = 1024, GLIA_TAKE_MAX = 0xffff };

/* `threads` >= 1 (0: glia_cores_available()). More threads than cores is
 * allowed and slow. On success the caller owns *out. */
glia_status glia_team_create(glia_team **out, int threads, glia_err *err);
/* One of `of` teams of that size that run at the same time: their threads are
 * placed as those of one large team, this one's being the i-th part. */
glia_status glia_team_create_beside(glia_team **out, int threads, int i, int of, glia_err *err);
void glia_team_free(glia_team *t);
/* Bind the calling thread to the core that is its own as thread 0: for threads that belong to nobody else. */
void glia_team_bind(glia_team *t);
int glia_team_size(const glia_team *t);

/* Run fn(arg, thread) on every thread, thread 0 here; returns when all have. */
void glia_team_run(glia_team *t, glia_team_fn *fn, void *arg);

/* Inside fn: wait until every thread of the team has come here. */
void glia_team_barrier(glia_team *t);

/* Thread `i`'s share [*from, *to) of n things, in contiguous, balanced parts. */
static inline void glia_share(size_t n, int i, int of, size_t *from, size_t *to) {
    *from = n * (size_t)i / (size_t)of;
    *to = n * ((size_t)i + 1) / (size_t)of;
}

/* Sharing that evens out: every thread owns a range of things and takes them from its beginning; one that is
 * done takes from the ends of others'. Each thread begins, then of each of some owners, itself and always the
 * same, takes until nothing is left, and only then may begin the next sharing, barrier or not. */
void glia_team_begin(glia_team *t, int thread);
/* Some of `owner`'s n <= GLIA_TAKE_MAX things for `thread`, [*from, *to): half of what is left, in multiples
 * of `grain`, at least one grain. False: nothing is left. */
bool glia_team_take(glia_team *t, int thread, int owner, size_t n, size_t grain, size_t *from, size_t *to);

/* A third way to share things: `of` holders take runs of `unit` of them in turns. Who
 * holds thing `at`; how many of the first n holder `i` has; its k-th, k = 0, 1, ... */
static inline int glia_turn_of(size_t at, size_t unit, int of) { return (int)(at / unit % (size_t)of); }
static inline size_t glia_turn_count(size_t n, size_t unit, int i, int of) {
    const size_t cycle = unit * (size_t)of, before = unit * (size_t)i, rest = n % cycle;
    const size_t last = rest < before ? 0 : rest - before;
    return n / cycle * unit + (last < unit ? last : unit);
}
static inline size_t glia_turn_item(size_t k, size_t unit, int i, int of) {
    return (k / unit * (size_t)of + (size_t)i) * unit + k % unit;
}

#endif
