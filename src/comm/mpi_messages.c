/* mpi_messages.c - collectives of ranks that do not see each other's memory.
 *
 * Thread 0 exchanges, all threads add and copy. Sums are never made on the way:
 * whoever adds has all operands, in the order of ranks, as in shared.c, and moves
 * as many bytes. The tag is the group's; messages of one pair stay in order. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "comm/mpi_world.h"

#include <sched.h>
#include <string.h>
#include <time.h>

enum { SPINS = 1000, YIELDS = 20000 };

static glia_mpi *part_of(const glia_comm *c) { return c->world->part; }

/* ---- thread 0 ------------------------------------------------------------------- */

static void post(glia_comm *c, bool send, int peer, void *p, size_t bytes) {
    glia_mpi *m = part_of(c);
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

/* Wait for what was posted; after a failure it is left behind, as is all of MPI. */
static bool settle(glia_comm *c) {
    glia_mpi *m = part_of(c);
    const struct timespec nap = {.tv_nsec = 100000};
    for (int i = 0, done = 0; glia_mpi_enter(c); i++) {
        const int code = MPI_Testall(m->n_requests, m->request, &done, MPI_STATUSES_IGNORE);
        glia_mpi_leave(c);
        if (code != MPI_SUCCESS) glia_mpi_fail(c, code);
        if (done && code == MPI_SUCCESS) {
            m->n_requests = 0;
            return true;
        }
        if (i > YIELDS)
            nanosleep(&nap, NULL);
        else if (i > SPINS || c->spins == 0)
            sched_yield();
    }
    return false;
}

/* Give every other rank the bytes that are its, and receive what is ours. */
typedef struct {
    char *p;
    size_t bytes;
} range;
typedef range range_of(glia_comm *c, const void *arg, int peer);

/* Between two meetings of the team, so that all its threads see what was received.
 * MPI allocates inside; that is its own affair, so the guard looks away. */
static bool trade(glia_comm *c, int thread, range_of *give, range_of *take, const void *arg) {
    if (!glia_meet_team(c, thread)) return false;
    if (thread == 0) {
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
    return glia_meet_team(c, thread);
}

/* ---- sums ------------------------------------------------------------------------ */

/* A sum whose part [from(p), to(p)) of `in` goes to rank p. */
typedef struct {
    char *in;
    size_t n, unit; /* of reduce-scatter; unit 0: an all-reduce of n floats */
    bool whole;     /* in one go: all of it goes to every rank */
    size_t room;    /* bytes between operands in the staging */
} sum;

static range part_for(const glia_comm *c, const sum *s, int p) {
    size_t from = 0, to = s->n;
    if (s->unit) {
        glia_share(s->n, p, c->size, &from, &to);
        from *= s->unit;
        to *= s->unit;
    } else if (!s->whole) {
        glia_comm_part(s->n, p, c->size, &from, &to);
    }
    return (range){.p = s->in + from * sizeof(float), .bytes = (to - from) * sizeof(float)};
}

static range give_part(glia_comm *c, const void *arg, int peer) { return part_for(c, arg, peer); }

/* Operands stand in the staging by rank, without a place for this one's. */
static range take_operand(glia_comm *c, const void *arg, int peer) {
    const sum *s = arg;
    const size_t place = (size_t)(peer < c->rank ? peer : peer - 1);
    return (range){.p = part_of(c)->staging + place * s->room, .bytes = part_for(c, s, c->rank).bytes};
}

/* Trade operands; afterwards *src are those of this rank's part, of n floats. */
static bool trade_operands(glia_comm *c, int thread, sum *s, glia_operands *src, size_t *n) {
    glia_mpi *m = part_of(c);
    const range mine = part_for(c, s, c->rank);
    s->room = (mine.bytes + GLIA_LINE - 1) / GLIA_LINE * GLIA_LINE;
    if (!trade(c, thread, give_part, take_operand, s)) return false;
    if (thread == 0) { /* nobody reads it before the next meeting */
        for (int p = 0; p < c->size; p++) m->piece[p] = p == c->rank ? mine.p : take_operand(c, s, p).p;
    }
    *src = (glia_operands){.base = m->piece};
    *n = mine.bytes / sizeof(float);
    return glia_meet_team(c, thread);
}

static range give_mine(glia_comm *c, const void *arg, int peer) {
    (void)peer;
    return part_for(c, arg, c->rank);
}

static range take_theirs(glia_comm *c, const void *arg, int peer) { return part_for(c, arg, peer); }

static void all_reduce(glia_comm *c, int thread, float *out, float *in, size_t n, bool add) {
    sum s = {.in = (char *)in, .n = n, .whole = glia_comm_in_one_go(n, c->size)};
    glia_operands src;
    size_t mine, from, to;
    if (!trade_operands(c, thread, &s, &src, &mine)) return;
    glia_comm_part(mine, thread, c->threads, &from, &to);
    src.at = from * sizeof(float);
    if (s.whole) {
        glia_comm_add_up(out + from, &src, c->size, to - from, add);
        return;
    }
    float *part = (float *)(void *)part_for(c, &s, c->rank).p;
    glia_comm_add_up(part + from, &src, c->size, to - from, false);
    if (!trade(c, thread, give_mine, take_theirs, &s)) return;
    char *base = s.in;
    glia_comm_part(n, thread, c->threads, &from, &to);
    const glia_operands all = {.base = &base, .at = from * sizeof(float)};
    glia_comm_add_up(out + from, &all, 1, to - from, add);
}

static void reduce_scatter(glia_comm *c, int thread, float *out, const float *in, size_t n, size_t unit,
                           bool add) {
    sum s = {.in = (char *)(uintptr_t)in, .n = n, .unit = unit};
    glia_operands src;
    size_t mine, from, to;
    if (!trade_operands(c, thread, &s, &src, &mine)) return;
    glia_comm_part(mine, thread, c->threads, &from, &to);
    src.at = from * sizeof(float);
    glia_comm_add_up(out + from, &src, c->size, to - from, add);
}

/* ---- gather, broadcast, barrier ---------------------------------------------------- */

/* Rows of every rank side by side at `to`, this rank's to be sent from `from`. */
typedef struct {
    const glia_gather *g;
    size_t rows;
    char *from, *to;
} gathering;

static range take_rows(glia_comm *c, const void *arg, int peer) {
    const gathering *a = arg;
    size_t first, last;
    glia_share(a->g->n, peer, c->size, &first, &last);
    return (range){.p = a->to + a->rows * first * a->g->unit, .bytes = a->rows * (last - first) * a->g->unit};
}

static range give_rows(glia_comm *c, const void *arg, int peer) {
    const gathering *a = arg;
    (void)peer;
    return (range){.p = a->from, .bytes = take_rows(c, arg, c->rank).bytes};
}

/* Some rows, packed so that each rank sends one message: [rank][row][its units]. */
static bool gather_packed(glia_comm *c, int thread, char *out, const char *in, const glia_gather *g,
                          size_t rows) {
    gathering a = {.g = g, .rows = rows, .to = part_of(c)->staging};
    const range mine = take_rows(c, &a, c->rank);
    const size_t width = rows ? mine.bytes / rows : 0;
    size_t from, to;
    a.from = mine.p;
    if (!glia_meet_team(c, thread)) return false; /* all have unpacked the rows before */
    glia_share(rows, thread, c->threads, &from, &to);
    for (size_t i = from; i < to; i++) memcpy(mine.p + i * width, in + i * g->ld_in, width);
    if (!trade(c, thread, give_rows, take_rows, &a)) return false;
    for (int p = 0; p < c->size; p++) {
        const range r = take_rows(c, &a, p);
        const size_t w = r.bytes / rows, col = (size_t)(r.p - a.to) / rows;
        for (size_t i = from; i < to; i++) memcpy(out + i * g->ld_out + col, r.p + i * w, w);
    }
    return true;
}

static void all_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g) {
    const size_t width = g->n * g->unit;
    if (g->rows == 1) {
        gathering a = {.g = g, .rows = 1, .from = (char *)(uintptr_t)in, .to = out};
        const range mine = take_rows(c, &a, c->rank);
        if (!trade(c, thread, give_rows, take_rows, &a)) return;
        if (thread == 0) memcpy(mine.p, in, mine.bytes);
        return;
    }
    const size_t at_once = width ? part_of(c)->staging_bytes / width : g->rows;
    for (size_t i = 0; i < g->rows; i += at_once) {
        const size_t rows = g->rows - i < at_once ? g->rows - i : at_once;
        if (!gather_packed(c, thread, (char *)out + i * g->ld_out, (const char *)in + i * g->ld_in, g, rows))
            return;
    }
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

/* One byte from each to each. */
static range byte_for(glia_comm *c, const void *arg, int peer) {
    (void)arg;
    return (range){.p = part_of(c)->staging + peer, .bytes = 1};
}
static range byte_from(glia_comm *c, const void *arg, int peer) {
    (void)arg;
    return (range){.p = part_of(c)->staging + c->size + peer, .bytes = 1};
}

static void barrier(glia_comm *c, int thread) { trade(c, thread, byte_for, byte_from, NULL); }

const glia_comm_table glia_comm_messages_table = {
    .barrier = barrier,
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
    .broadcast = broadcast,
};
