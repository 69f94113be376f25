/* comm.c - worlds, groups, failures, and the entry points of collectives, which count costs. */
#define _GNU_SOURCE
#include "comm/impl.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"

enum { SPINS = 10000, NOTE_LAYOUT = 1, PAGE = 4096 };

/* ---- worlds ------------------------------------------------------------------ */

glia_world *glia_world_new(const glia_world_table *table, const char *name, int size) {
    glia_world *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->table = table;
    w->name = name;
    w->size = size;
    w->failure = &w->own_failure;
    w->gates = calloc((size_t)size, sizeof *w->gates);
    w->area = calloc((size_t)size, sizeof *w->area);
    if (w->gates && w->area) return w;
    glia_world_free(w);
    return NULL;
}

void glia_world_free(glia_world *w) {
    if (!w) return;
    free(w->gates);
    free(w->area);
    free(w);
}

bool glia_world_fail(glia_world *w, const char *sentence) {
    glia_failure *f = w->failure;
    int none = 0;
    if (!atomic_compare_exchange_strong(&f->failed, &none, 1)) return false;
    snprintf(f->why, sizeof f->why, "%s", sentence);
    glia_one_line(f->why);
    atomic_store(&f->failed, 2);
    return true;
}

const char *glia_world_why(const glia_world *w) {
    while (atomic_load(&w->failure->failed) != 2) sched_yield();
    return w->failure->why;
}

void glia_comm_fail(glia_comm *c, const char *why) {
    char sentence[sizeof c->world->failure->why];
    snprintf(sentence, sizeof sentence, "rank %d: %s", c->root->rank, why);
    if (glia_world_fail(c->world, sentence) && c->world->table->tell)
        c->world->table->tell(c->world, sentence);
}

glia_status glia_comm_check(const glia_comm *c, glia_err *err) {
    if (!glia_world_failed(c->world)) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_IO, "%s", glia_world_why(c->world));
}

/* ---- groups ------------------------------------------------------------------ */

/* Rounds that a waiting thread spins: none if the ranks of this machine have more threads than cores, or than
 * the CPU quota. */
static int spins(const glia_world *w, int threads) {
    const long machine = sysconf(_SC_NPROCESSORS_ONLN), quota = glia_cores_quota("");
    const long cores = quota < machine ? quota : machine;
    return threads > glia_cores_available() || (long)w->local * threads > cores ? 0 : SPINS;
}

/* A group with room for `size` members. */
static glia_comm *new_group(glia_world *w, int size, int threads) {
    glia_comm *c = aligned_alloc(GLIA_LINE, (sizeof *c + GLIA_LINE - 1) / GLIA_LINE * GLIA_LINE);
    if (!c) return NULL;
    memset(c, 0, sizeof *c);
    c->world = w;
    c->threads = threads;
    c->member = calloc((size_t)size, sizeof *c->member);
    c->arrivals = aligned_alloc(GLIA_LINE, (size_t)threads * sizeof *c->arrivals);
    c->team = aligned_alloc(GLIA_LINE, sizeof *c->team);
    if (c->arrivals) memset(c->arrivals, 0, (size_t)threads * sizeof *c->arrivals);
    if (c->team) memset(c->team, 0, sizeof *c->team);
    if (c->member && c->arrivals && c->team) return c;
    glia_comm_drop(c);
    return NULL;
}

void glia_comm_drop(glia_comm *c) {
    if (!c) return;
    free(c->member);
    free(c->arrivals);
    free(c->team);
    free(c);
}

void glia_comm_choose(glia_comm *c) {
    bool seen = true;
    for (int i = 0; i < c->size; i++) seen &= c->world->gates[c->member[i]] != NULL;
    c->table = &glia_comm_shared_table;
    c->name = c->size == 1 ? "single" : c->world->name;
    c->spins = spins(c->world, c->threads);
#ifdef GLIA_HAVE_MPI
    if (!seen) {
        c->table = &glia_comm_messages_table;
        c->name = "mpi messages";
    }
#else
    assert(seen);
#endif
}

glia_status glia_comm_new(glia_comm **out, glia_world *w, int rank, glia_err *err) {
    glia_comm *c = *out = new_group(w, w->size, 1);
    if (!c) return glia_fail_nomem(err, sizeof *c, "a rank");
    c->root = c;
    c->rank = rank;
    c->size = w->size;
    c->slots = 1;
    for (int i = 0; i < w->size; i++) c->member[i] = i;
    return GLIA_OK;
}

glia_status glia_comm_split(glia_comm **out, glia_comm *parent, const int *colour, int threads,
                            glia_err *err) {
    glia_comm *root = parent->root;
    *out = NULL;
    assert(threads >= 1);
    if (root->slots == GLIA_GROUPS_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "a rank is in %d groups already", GLIA_GROUPS_MAX);
    glia_comm *c = new_group(parent->world, parent->size, threads);
    if (!c) return glia_fail_nomem(err, sizeof *c, "a group of ranks");
    for (int i = 0; i < parent->size; i++) {
        if (colour && colour[i] != colour[parent->rank]) continue;
        if (i == parent->rank) c->rank = c->size;
        c->member[c->size++] = parent->member[i];
    }
    c->root = root;
    c->slot = root->slots++;
    glia_comm_choose(c);
    *out = c;
    return GLIA_OK;
}

void glia_comm_free(glia_comm *c) {
    if (!c) return;
    if (c->root == c)
        c->world->table->free(c);
    else
        glia_comm_drop(c);
}

int glia_comm_rank(const glia_comm *c) { return c->rank; }
int glia_comm_size(const glia_comm *c) { return c->size; }
const char *glia_comm_name(const glia_comm *c) { return c->name; }
void *glia_comm_area(const glia_comm *c) { return c->world->area[c->root->rank]; }

glia_status glia_comm_copy(glia_comm **out, glia_comm *world, glia_err *err) {
    assert(world->root == world && world->world->table->copy);
    return world->world->table->copy(out, world, err);
}

glia_status glia_comm_share(glia_comm *world, size_t bytes, glia_err *err) {
    assert(world->root == world && !world->world->area[world->rank]);
    return world->world->table->share(world, bytes, err);
}

size_t glia_window_bytes(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE + PAGE; }

size_t glia_staging_bytes(int size, size_t bytes) { return bytes + 128 * 1024 + (size_t)size * GLIA_LINE; }

/* What mpi.c keeps beside the staging: the addresses of summands, and two requests per rank (an MPI_Request
 * is at most as large as a pointer). */
static size_t list_bytes(int size) { return (GLIA_RANKS_MAX + 2 * (size_t)size) * sizeof(void *); }

size_t glia_comm_memory(glia_comm_kind kind, int size, size_t bytes) {
    if (kind == GLIA_COMM_THREADS) return bytes;
    const size_t window = glia_window_bytes(bytes);
    return kind == GLIA_COMM_SHARED ? window : window + glia_staging_bytes(size, bytes) + list_bytes(size);
}

glia_comm_kind glia_comm_kind_of(const glia_comm *c) {
    if (!c || !c->world->table->mpi) return GLIA_COMM_THREADS;
    return c->world->local == c->world->size ? GLIA_COMM_SHARED : GLIA_COMM_MESSAGES;
}

#ifndef GLIA_HAVE_MPI
glia_status glia_comm_mpi(glia_comm **out, bool messages, glia_last_words *last_words, glia_err *err) {
    (void)messages;
    (void)last_words;
    *out = NULL;
    return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                     "this build of Glia has no MPI, so processes cannot be ranks: install an MPI and build "
                     "again, or let one process have several ranks (tensor_parallel_size)");
}
#endif

/* ---- agreement --------------------------------------------------------------- */

/* What ranks compare. The offsets of the first three fields are the same in every version. */
typedef struct {
    int32_t layout;
    int32_t status;
    char version[24];
    char config[GLIA_CONFIG_BYTES];
    char msg[sizeof((glia_err *)0)->msg];
} note;

/* Narrow both lists "item, item, ..." to the first item that differs. */
static void first_difference(const char **a, const char **b, int *len_a, int *len_b) {
    size_t at = 0;
    for (size_t i = 0; (*a)[i] && (*a)[i] == (*b)[i]; i++)
        if (i > 0 && (*a)[i - 1] == ',' && (*a)[i] == ' ') at = i + 1;
    *a += at;
    *b += at;
    *len_a = (int)strcspn(*a, ",");
    *len_b = (int)strcspn(*b, ",");
}

/* Compare the note of rank r with the note of rank 0. */
static glia_status compare(const note *of, int r, glia_err *err) {
    if (of[r].layout != of[0].layout || strcmp(of[r].version, of[0].version) != 0)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "rank %d runs Glia %s, rank 0 runs Glia %s", r,
                         of[r].version, of[0].version);
    if (of[r].status) return glia_fail(err, (glia_status)of[r].status, "rank %d: %s", r, of[r].msg);
    if (strcmp(of[r].config, of[0].config) == 0) return GLIA_OK;
    const char *theirs = of[r].config, *ours = of[0].config;
    int n_theirs, n_ours;
    first_difference(&theirs, &ours, &n_theirs, &n_ours);
    return glia_fail(err, GLIA_ERR_ARGUMENT, "rank %d is configured as %.*s, rank 0 as %.*s", r, n_theirs,
                     theirs, n_ours, ours);
}

glia_status glia_comm_notes(glia_comm *world, const void *mine, size_t bytes, void *all, glia_err *err) {
    assert(world->root == world);
    const bool there = world->world->table->exchange(world, mine, bytes, all);
    return there ? GLIA_OK : glia_comm_check(world, err);
}

glia_status glia_comm_agree(glia_comm *world, const char *config, glia_status own, glia_err *err) {
    assert(world->root == world && (!own || err));
    note mine = {.layout = NOTE_LAYOUT, .status = own};
    note *all = calloc((size_t)world->size, sizeof *all);
    if (!all) {
        glia_comm_fail(world, "no memory to compare notes");
        return glia_comm_check(world, err);
    }
    snprintf(mine.version, sizeof mine.version, "%s", GLIA_VERSION);
    snprintf(mine.config, sizeof mine.config, "%s", config);
    if (own) snprintf(mine.msg, sizeof mine.msg, "%s", err->msg);
    glia_status status = GLIA_OK;
    if (world->world->table->exchange(world, &mine, sizeof mine, all))
        for (int r = 0; r < world->size && !status; r++) status = compare(all, r, err);
    else
        status = glia_comm_check(world, err);
    free(all);
    if (status && err) glia_world_fail(world->world, err->msg);
    return status;
}

/* ---- collectives, counted ---------------------------------------------------- */

static double begin(int thread) { return thread == 0 ? glia_seconds() : 0; }

static void count(glia_comm *c, int thread, double since, size_t bytes) {
    if (thread != 0) return;
    glia_comm_cost *cost = &c->root->cost;
    cost->calls++;
    cost->bytes += bytes;
    cost->seconds += glia_seconds() - since;
}

glia_comm_cost glia_comm_costs(const glia_comm *c) { return c->root->cost; }

void glia_comm_barrier(glia_comm *c, int thread) {
    const double since = begin(thread);
    c->table->barrier(c, thread);
    count(c, thread, since, 0);
}

void glia_comm_all_reduce_many(glia_comm *c, int thread, float *out, float *in, const glia_sum *s) {
    assert(s->per_rank >= 1 && s->per_rank <= GLIA_RANKS_MAX / c->size);
    const double since = begin(thread);
    const size_t others = (size_t)(c->size - 1) * (size_t)s->per_rank;
    size_t floats = others * s->n, from, to;
    if (!glia_comm_in_one_go(s->n, c->size, s->per_rank)) {
        glia_comm_slice(s->n, c->rank, c->size, &from, &to);
        floats = others * (to - from) + s->n - (to - from);
    }
    c->table->all_reduce(c, thread, out, in, s);
    count(c, thread, since, floats * sizeof(float));
}

void glia_comm_all_reduce(glia_comm *c, int thread, float *out, float *in, size_t n, bool add) {
    glia_comm_all_reduce_many(c, thread, out, in, &(glia_sum){.n = n, .per_rank = 1, .add = add});
}

void glia_comm_reduce_scatter_many(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s) {
    assert(s->per_rank >= 1 && s->per_rank <= GLIA_RANKS_MAX / c->size);
    const double since = begin(thread);
    const size_t others = (size_t)(c->size - 1) * (size_t)s->per_rank;
    size_t from, to;
    glia_share(s->n, c->rank, c->size, &from, &to);
    c->table->reduce_scatter(c, thread, out, in, s);
    count(c, thread, since, others * (to - from) * s->unit * sizeof(float));
}

void glia_comm_reduce_scatter(glia_comm *c, int thread, float *out, const float *in, size_t n, size_t unit,
                              bool add) {
    const glia_sum s = {.n = n, .unit = unit, .per_rank = 1, .add = add};
    glia_comm_reduce_scatter_many(c, thread, out, in, &s);
}

void glia_comm_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g, int root) {
    const double since = begin(thread);
    size_t from, to;
    glia_share(g->n, c->rank, c->size, &from, &to);
    c->table->gather(c, thread, out, in, g, root);
    const bool receives = root == GLIA_EVERYONE || root == c->rank;
    count(c, thread, since, receives ? g->rows * (g->n - (to - from)) * g->unit : 0);
}

void glia_comm_all_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g) {
    glia_comm_gather(c, thread, out, in, g, GLIA_EVERYONE);
}

void glia_comm_exchange(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in) {
    const double since = begin(thread);
    c->table->exchange(c, thread, out, in, bytes, ld_in);
    count(c, thread, since, (size_t)(c->size - 1) * bytes);
}

void glia_comm_broadcast(glia_comm *c, int thread, void *buf, size_t bytes, int root) {
    const double since = begin(thread);
    c->table->broadcast(c, thread, buf, bytes, root);
    count(c, thread, since, c->rank == root ? 0 : bytes);
}
