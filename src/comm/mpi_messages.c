/* mpi_messages.c - collectives of ranks that cannot map each other's memory.
 *
 * Thread 0 sends and receives; all threads add and copy. No partial sum is sent: the
 * rank that adds has all summands, in rank order, as in shared.c, and as many bytes
 * move. The tag of a message is the group's slot. MPI keeps the messages between two
 * ranks in order. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "comm/mpi_world.h"

#include <sched.h>
#include <string.h>
#include <time.h>

enum { SPINS = 1000, YIELDS = 20000, IDLE = 30000, FLOATS = GLIA_LINE / sizeof(float) };

static glia_mpi *state_of(const glia_comm *c) { return c->world->state; }

/* ---- thread 0 ------------------------------------------------------------------- */

static void post(glia_comm *c, bool send, int peer, void *p, size_t bytes) {
    glia_mpi *m = state_of(c);
    const int to = c->member[peer], n = (int)bytes;
    if (!glia_mpi_enter(c)) return;
    MPI_Request *request = &m->request[m->n_requests++];
    const int code = send ? MPI_Isend(p, n, MPI_BYTE, to, c->slot, m->all, request)
                          : MPI_Irecv(p, n, MPI_BYTE, to, c->slot, m->all, request);
    glia_mpi_leave(c);
    if (code == MPI_SUCCESS) return;
    m->n_requests--;
    glia_mpi_fail(c, code);
}

/* Wait for the posted requests. After a failure they are abandoned, as is all of MPI. */
static bool settle(glia_comm *c) {
    glia_mpi *m = state_of(c);
    for (int i = 0, done = 0; glia_mpi_enter(c); i += i <= IDLE) {
        const int code = MPI_Testall(m->n_requests, m->request, &done, MPI_STATUSES_IGNORE);
        glia_mpi_leave(c);
        if (code != MPI_SUCCESS) glia_mpi_fail(c, code);
        if (done && code == MPI_SUCCESS) {
            m->n_requests = 0;
            return true;
        }
        if (i > YIELDS) /* idle, such as a server without requests */
            nanosleep(&(struct timespec){.tv_nsec = i > IDLE ? 1000000 : 100000}, NULL);
        else if (i > SPINS || c->spins == 0)
            sched_yield();
    }
    return false;
}

/* The bytes that this rank sends to `peer`, or receives from it. */
typedef struct {
    char *p;
    size_t bytes;
} range;
typedef range range_of(glia_comm *c, const void *arg, int peer);

/* Send to and receive from every other rank. MPI allocates, so the guard against allocations is off. */
static void swap(glia_comm *c, range_of *give, range_of *take, const void *arg) {
    const int guard = glia_guard_depth;
    glia_guard_depth = 0;
    for (int i = 1; i < c->size; i++) {
        const int from = (c->rank + i) % c->size, to = (c->rank - i + c->size) % c->size;
        const range in = take(c, arg, from), out = give(c, arg, to);
        if (in.bytes) post(c, false, from, in.p, in.bytes);
        if (out.bytes) post(c, true, to, out.p, out.bytes);
    }
    settle(c);
    glia_guard_depth = guard;
}

/* swap() by thread 0 between two meetings of the team, so that all threads see what was received. */
static bool trade(glia_comm *c, int thread, range_of *give, range_of *take, const void *arg) {
    if (!glia_meet_team(c, thread)) return false;
    if (thread == 0) swap(c, give, take, arg);
    return glia_meet_team(c, thread);
}

/* ---- sums ------------------------------------------------------------------------ */

/* A sum. Rank p adds one slice of it, so the others send it that slice of their
 * summands, in rounds of as many floats as fit into the staging. */
typedef struct {
    const glia_sum *of;
    char *in;
    bool scatter;    /* the slices are those of a reduce-scatter */
    bool whole;      /* glia_comm_in_one_go(): the slice of every rank is the whole sum */
    size_t longest;  /* floats of the longest slice */
    size_t at, most; /* floats of a slice that earlier rounds added; floats of a round */
    int summand;     /* index of the summand of each rank that is being sent */
} sum;

/* Rank p's slice of this rank's first summand. */
static range slice_for(const glia_comm *c, const sum *s, int p) {
    size_t from = 0, to = s->of->n;
    if (s->scatter) {
        glia_share(s->of->n, p, c->size, &from, &to);
        from *= s->of->unit;
        to *= s->of->unit;
    } else if (!s->whole) {
        glia_comm_slice(s->of->n, p, c->size, &from, &to);
    }
    return (range){.p = s->in + from * sizeof(float), .bytes = (to - from) * sizeof(float)};
}

/* The floats of this round in rank p's slice of summand s->summand. */
static range round_for(const glia_comm *c, const sum *s, int p) {
    const range all = slice_for(c, s, p);
    const size_t at = s->at * sizeof(float), most = s->most * sizeof(float);
    const size_t left = all.bytes > at ? all.bytes - at : 0;
    return (range){.p = all.p + at + (size_t)s->summand * s->of->stride * sizeof(float),
                   .bytes = left < most ? left : most};
}

static range give_summand(glia_comm *c, const void *arg, int peer) { return round_for(c, arg, peer); }

/* The staging holds the summands of other ranks in the order of the sum. */
static range take_summand(glia_comm *c, const void *arg, int peer) {
    const sum *s = arg;
    const int others = peer < c->rank ? peer : peer - 1;
    const size_t index = (size_t)(others * s->of->per_rank + s->summand);
    return (range){.p = state_of(c)->staging + index * s->most * sizeof(float),
                   .bytes = round_for(c, s, c->rank).bytes};
}

static void plan_rounds(const glia_comm *c, sum *s) {
    const size_t n = s->of->n, size = (size_t)c->size;
    s->longest = s->whole     ? n
                 : s->scatter ? (n + size - 1) / size * s->of->unit
                              : (n + FLOATS * size - 1) / (FLOATS * size) * FLOATS;
    s->longest = (s->longest + FLOATS - 1) / FLOATS * FLOATS;
    s->most = state_of(c)->staging_bytes / GLIA_LINE / ((size - 1) * (size_t)s->of->per_rank) * FLOATS;
    if (s->most > s->longest) s->most = s->longest;
}

/* Exchange the summands of a round. *src are then the summands of this rank's slice at [*from, *to), the
 * share of this thread. */
static bool trade_summands(glia_comm *c, int thread, sum *s, glia_summands *src, size_t *from, size_t *to) {
    glia_mpi *m = state_of(c);
    s->summand = 0;
    glia_comm_slice(round_for(c, s, c->rank).bytes / sizeof(float), thread, c->threads, from, to);
    if (!glia_meet_team(c, thread)) return false;
    if (thread == 0)
        for (int i = 0; i < s->of->per_rank; i++) {
            s->summand = i;
            for (int p = 0; p < c->size; p++)
                m->piece[p * s->of->per_rank + i] =
                    p == c->rank ? round_for(c, s, p).p : take_summand(c, s, p).p;
            swap(c, give_summand, take_summand, s);
        }
    *src = (glia_summands){
        .base = m->piece, .at = *from * sizeof(float), .n = c->size * s->of->per_rank, .per_rank = 1};
    return glia_meet_team(c, thread);
}

static range give_mine(glia_comm *c, const void *arg, int peer) {
    (void)peer;
    return slice_for(c, arg, c->rank);
}

static range take_theirs(glia_comm *c, const void *arg, int peer) { return slice_for(c, arg, peer); }

/* Add this rank's slice of the sum into `out`, which may be that slice of the area. */
static bool sum_slice(glia_comm *c, int thread, float *out, sum *s, bool add) {
    plan_rounds(c, s);
    do {
        glia_summands src;
        size_t from, to;
        if (!trade_summands(c, thread, s, &src, &from, &to)) return false;
        glia_comm_add_up(out + s->at + from, &src, to - from, add);
        s->at += s->most;
    } while (s->at < s->longest);
    return true;
}

static void all_reduce(glia_comm *c, int thread, float *out, float *in, const glia_sum *of) {
    sum s = {.of = of, .in = (char *)in, .whole = glia_comm_in_one_go(of->n, c->size, of->per_rank)};
    if (s.whole) {
        sum_slice(c, thread, out, &s, of->add);
        return;
    }
    if (!sum_slice(c, thread, (float *)(void *)slice_for(c, &s, c->rank).p, &s, false)) return;
    if (!trade(c, thread, give_mine, take_theirs, &s)) return;
    size_t from, to;
    glia_comm_slice(of->n, thread, c->threads, &from, &to);
    const glia_summands all = {.base = &s.in, .at = from * sizeof(float), .n = 1, .per_rank = 1};
    glia_comm_add_up(out + from, &all, to - from, of->add);
}

static void reduce_scatter(glia_comm *c, int thread, float *out, const float *in, const glia_sum *of) {
    sum s = {.of = of, .in = (char *)(uintptr_t)in, .scatter = true};
    sum_slice(c, thread, out, &s, of->add);
}

/* ---- gather, exchange, broadcast, barrier ---------------------------------------------------- */

/* A gather of rows: this rank sends from `from`; the units of all ranks arrive side by side at `to`. */
typedef struct {
    const glia_gather *g;
    int root; /* the rank that receives, or GLIA_EVERYONE */
    size_t rows;
    char *from, *to;
} gathering;

static bool receives(const gathering *a, int rank) { return a->root == GLIA_EVERYONE || a->root == rank; }

static size_t bytes_of(const glia_comm *c, const gathering *a, int peer) {
    size_t first, last;
    glia_share(a->g->n, peer, c->size, &first, &last);
    return a->rows * (last - first) * a->g->unit;
}

/* Where the units of rank p arrive. */
static range rows_of(const glia_comm *c, const gathering *a, int p) {
    size_t first, last;
    glia_share(a->g->n, p, c->size, &first, &last);
    return (range){.p = a->to + a->rows * first * a->g->unit, .bytes = bytes_of(c, a, p)};
}

static range take_rows(glia_comm *c, const void *arg, int peer) {
    return receives(arg, c->rank) ? rows_of(c, arg, peer) : (range){0};
}

static range give_rows(glia_comm *c, const void *arg, int peer) {
    const gathering *a = arg;
    return (range){.p = a->from, .bytes = receives(a, peer) ? bytes_of(c, a, c->rank) : 0};
}

/* Gather some rows. Each rank packs its units and sends one message; the staging is [rank][row][units]. */
static bool gather_packed(glia_comm *c, int thread, char *out, const char *in, const glia_gather *g,
                          size_t rows, int root) {
    gathering a = {.g = g, .root = root, .rows = rows, .to = state_of(c)->staging};
    const range mine = rows_of(c, &a, c->rank);
    const size_t width = rows ? mine.bytes / rows : 0;
    size_t from, to;
    a.from = mine.p;
    if (!glia_meet_team(c, thread)) return false; /* all threads have unpacked the previous rows */
    glia_share(rows, thread, c->threads, &from, &to);
    for (size_t i = from; i < to; i++) memcpy(mine.p + i * width, in + i * g->ld_in, width);
    if (!trade(c, thread, give_rows, take_rows, &a)) return false;
    for (int p = 0; p < c->size && receives(&a, c->rank); p++) {
        const range r = rows_of(c, &a, p);
        const size_t w = r.bytes / rows, col = (size_t)(r.p - a.to) / rows;
        for (size_t i = from; i < to; i++) memcpy(out + i * g->ld_out + col, r.p + i * w, w);
    }
    return true;
}

static void gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g, int root) {
    const size_t width = g->n * g->unit;
    if (g->rows == 1) {
        gathering a = {.g = g, .root = root, .rows = 1, .from = (char *)(uintptr_t)in, .to = out};
        if (!trade(c, thread, give_rows, take_rows, &a)) return;
        const range mine = take_rows(c, &a, c->rank);
        if (thread == 0 && mine.bytes) memcpy(mine.p, in, mine.bytes);
        return;
    }
    const size_t at_once = width ? state_of(c)->staging_bytes / width : g->rows;
    for (size_t i = 0; i < g->rows; i += at_once) {
        const size_t rows = g->rows - i < at_once ? g->rows - i : at_once;
        if (!gather_packed(c, thread, out, (const char *)in + i * g->ld_in, g, rows, root)) return;
        if (out) out = (char *)out + rows * g->ld_out;
    }
}

typedef struct {
    char *out, *in;
    size_t bytes, ld_in;
} exchanging;

static range give_block(glia_comm *c, const void *arg, int peer) {
    const exchanging *a = arg;
    (void)c;
    return (range){.p = a->in + (size_t)peer * a->ld_in, .bytes = a->bytes};
}

static range take_block(glia_comm *c, const void *arg, int peer) {
    const exchanging *a = arg;
    (void)c;
    return (range){.p = a->out + (size_t)peer * a->bytes, .bytes = a->bytes};
}

static void exchange(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in) {
    const exchanging a = {.out = out, .in = (char *)(uintptr_t)in, .bytes = bytes, .ld_in = ld_in};
    if (!trade(c, thread, give_block, take_block, &a)) return;
    if (thread == 0) memcpy(take_block(c, &a, c->rank).p, give_block(c, &a, c->rank).p, bytes);
}

typedef struct {
    range buf;
    int root;
} broadcasting;

static range give_buf(glia_comm *c, const void *arg, int peer) {
    const broadcasting *a = arg;
    (void)peer;
    return c->rank == a->root ? a->buf : (range){0};
}

static range take_buf(glia_comm *c, const void *arg, int peer) {
    const broadcasting *a = arg;
    return peer == a->root && c->rank != a->root ? a->buf : (range){0};
}

static void broadcast(glia_comm *c, int thread, void *buf, size_t bytes, int root) {
    trade(c, thread, give_buf, take_buf, &(broadcasting){{.p = buf, .bytes = bytes}, root});
}

/* Every rank sends one byte to every other. */
static range byte_for(glia_comm *c, const void *arg, int peer) {
    (void)arg;
    return (range){.p = state_of(c)->staging + peer, .bytes = 1};
}
static range byte_from(glia_comm *c, const void *arg, int peer) {
    (void)arg;
    return (range){.p = state_of(c)->staging + c->size + peer, .bytes = 1};
}

static void barrier(glia_comm *c, int thread) { trade(c, thread, byte_for, byte_from, NULL); }

const glia_comm_table glia_comm_messages_table = {
    .barrier = barrier,
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .gather = gather,
    .exchange = exchange,
    .broadcast = broadcast,
};
