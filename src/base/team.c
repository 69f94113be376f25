/* team.c - see team.h. */
#define _GNU_SOURCE
#include "base/team.h"

#include <assert.h>
#include <hwloc.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"
#include "base/wait.h"

enum { SPINS = 2000, LINE = 64 }; /* spinning lasts about 0.1 ms */

typedef struct {
    glia_team *team;
    int index;
    hwloc_cpuset_t core; /* NULL: leave unbound */
    pthread_t thread;
} worker;

/* What is left of the range that a thread owns. `left` carries the number of the round that wrote it. An
 * older round number means the range is untouched; a newer one means it is exhausted, because a thread begins
 * the next round only after it has drained this one. */
typedef struct {
    _Alignas(LINE) atomic_uint_least64_t left; /* round << 32 | first item << 16 | end */
    uint32_t round;                            /* the round that this thread is in */
} range;

struct glia_team {
    glia_counter job;                  /* jobs that were started */
    glia_counter phase;                /* barriers that every thread has reached */
    _Alignas(LINE) atomic_int arrived; /* at the barrier */
    int size;
    glia_waiting waiting;
    int started;
    atomic_bool quit;
    glia_team_fn *fn;
    void *arg;
    hwloc_topology_t topology;
    worker *workers; /* [size]; workers[0] is the caller, for whom no thread was started */
    range *ranges;   /* [size] */
};

static void advance(glia_counter *c) {
    glia_counter_set(c, atomic_load_explicit(&c->count, memory_order_relaxed) + 1, false);
}

void glia_team_barrier(glia_team *t) {
    if (t->size == 1) return;
    const unsigned phase = atomic_load_explicit(&t->phase.count, memory_order_relaxed);
    if (atomic_fetch_add(&t->arrived, 1) == t->size - 1) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        advance(&t->phase);
    } else {
        glia_counter_wait(&t->phase, phase + 1, &t->waiting);
    }
}

void glia_team_begin(glia_team *t, int thread) { t->ranges[thread].round++; }

bool glia_team_take(glia_team *t, int thread, int owner, size_t n, size_t grain, size_t *from, size_t *to) {
    const uint32_t round = t->ranges[thread].round;
    atomic_uint_least64_t *left = &t->ranges[owner].left;
    uint_least64_t word = atomic_load_explicit(left, memory_order_relaxed), next;
    assert(n <= GLIA_TAKE_MAX && grain > 0);
    do {
        const int32_t age = (int32_t)((uint32_t)(word >> 32) - round);
        size_t first = age == 0 ? word >> 16 & 0xffff : 0, end = age == 0 ? word & 0xffff : n;
        if (age > 0 || first == end) return false;
        size_t some = (end - first) / 2 / grain * grain;
        if (some == 0) some = end - first < grain ? end - first : grain;
        *from = owner == thread ? first : end - some;
        *to = *from + some;
        if (owner == thread)
            first += some;
        else
            end -= some;
        next = (uint_least64_t)round << 32 | first << 16 | end;
    } while (!atomic_compare_exchange_weak_explicit(left, &word, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void *work(void *arg) {
    worker *w = arg;
    glia_team *t = w->team;
    if (w->core) hwloc_set_cpubind(t->topology, w->core, HWLOC_CPUBIND_THREAD);
    for (unsigned job = 1;; job++) {
        glia_counter_wait(&t->job, job, &t->waiting);
        if (atomic_load(&t->quit)) return NULL;
        t->fn(t->arg, w->index);
        glia_team_barrier(t);
    }
}

void glia_team_run(glia_team *t, glia_team_fn *fn, void *arg) {
    t->fn = fn;
    t->arg = arg;
    if (t->size > 1) advance(&t->job);
    fn(arg, 0);
    glia_team_barrier(t);
}

int glia_team_size(const glia_team *t) { return t->size; }

/* The machine's topology; NULL if hwloc cannot read it. All teams share it, since reading it opens hundreds
 * of small files. */
static hwloc_topology_t machine(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static hwloc_topology_t known;
    pthread_mutex_lock(&lock);
    hwloc_topology_t t = NULL;
    if (!known && hwloc_topology_init(&t) == 0) {
        if (hwloc_topology_load(t) == 0)
            known = t;
        else
            hwloc_topology_destroy(t);
    }
    t = known;
    pthread_mutex_unlock(&lock);
    return t;
}

/* Choose the cores of team `i` of `of` teams of this size. hwloc_distrib() spreads
 * all their threads over the cores that this process may use, physical cores first,
 * one processing unit each. */
static glia_status place(glia_team *t, int i, int of, glia_err *err) {
    t->topology = machine();
    if (!t->topology) return glia_fail(err, GLIA_ERR_IO, "hwloc cannot read this machine's topology");
    const int n = t->size * of, first = t->size * i;
    hwloc_cpuset_t *sets = calloc((size_t)n, sizeof *sets);
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    glia_status status = GLIA_OK;
    if (!sets || !allowed) {
        status = glia_fail_nomem(err, (size_t)n * sizeof *sets, "thread placement");
        goto done;
    }
    if (hwloc_get_cpubind(t->topology, allowed, HWLOC_CPUBIND_PROCESS) != 0)
        hwloc_bitmap_copy(allowed, hwloc_topology_get_allowed_cpuset(t->topology));
    const int cores = hwloc_bitmap_weight(allowed), quota = glia_cores_quota("");
    if (n > cores || n > quota) {
        t->waiting.spins = 0; /* more threads than cores: a waiting thread must give up its core */
        goto done;
    }
    if (quota < cores) goto done; /* a quota does not say which cores are free */
    hwloc_obj_t root = hwloc_get_root_obj(t->topology);
    if (hwloc_bitmap_isincluded(root->cpuset, allowed))
        hwloc_distrib(t->topology, &root, 1, sets, (unsigned)n, INT_MAX, 0);
    for (int k = 0, cpu = -1; k < n; k++) {
        cpu = hwloc_bitmap_next(allowed, cpu);
        if (!sets[k]) { /* a process with a restricted mask gets the allowed units in order */
            sets[k] = hwloc_bitmap_alloc();
            if (sets[k]) hwloc_bitmap_only(sets[k], (unsigned)cpu);
        }
        if (sets[k]) hwloc_bitmap_singlify(sets[k]);
        if (k < first || k >= first + t->size) {
            hwloc_bitmap_free(sets[k]);
            continue;
        }
        t->workers[k - first].core = sets[k];
    }
done:
    hwloc_bitmap_free(allowed);
    free(sets);
    return status;
}

glia_status glia_team_create(glia_team **out, int threads, glia_err *err) {
    return glia_team_create_beside(out, threads, 0, 1, err);
}

void glia_team_bind(glia_team *t) {
    if (t->workers[0].core) hwloc_set_cpubind(t->topology, t->workers[0].core, HWLOC_CPUBIND_THREAD);
}

glia_status glia_team_create_beside(glia_team **out, int threads, int i, int of, glia_err *err) {
    *out = NULL;
    if (threads < 0 || threads > GLIA_THREADS_MAX)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "threads: %d is not in 0..%d", threads, GLIA_THREADS_MAX);
    if (threads == 0) threads = glia_cores_available();
    glia_team *t = aligned_alloc(LINE, (sizeof *t + LINE - 1) / LINE * LINE);
    if (!t) return glia_fail_nomem(err, sizeof *t, "the thread team");
    memset(t, 0, sizeof *t);
    t->size = threads;
    t->waiting.spins = SPINS;
    t->started = 1;
    glia_status status = GLIA_OK;
    const size_t ranges = (size_t)threads * sizeof *t->ranges;
    t->workers = calloc((size_t)threads, sizeof *t->workers);
    t->ranges = aligned_alloc(LINE, ranges);
    if (!t->workers || !t->ranges) {
        status = glia_fail_nomem(err, (size_t)threads * sizeof *t->workers + ranges, "the thread team");
        goto fail;
    }
    memset(t->ranges, 0, ranges);
    if (threads * of > 1) status = place(t, i, of, err);
    if (status) goto fail;
    for (int k = 1; k < threads; k++, t->started++) {
        t->workers[k].team = t;
        t->workers[k].index = k;
        const int why = pthread_create(&t->workers[k].thread, NULL, work, &t->workers[k]);
        if (why != 0) {
            status = glia_fail(err, GLIA_ERR_NOMEM, "thread %d of %d: %s", k, threads, strerror(why));
            goto fail;
        }
    }
    *out = t;
    return GLIA_OK;
fail:
    glia_team_free(t);
    return status;
}

void glia_team_free(glia_team *t) {
    if (!t) return;
    atomic_store(&t->quit, true);
    if (t->size > 1) advance(&t->job);
    for (int i = 1; t->workers && i < t->started; i++) pthread_join(t->workers[i].thread, NULL);
    for (int i = 0; t->workers && i < t->size; i++) hwloc_bitmap_free(t->workers[i].core);
    free(t->workers);
    free(t->ranges);
    free(t);
}
