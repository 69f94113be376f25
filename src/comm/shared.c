/* shared.c - collectives of ranks that map each other's areas: teams of one process,
 * or MPI processes of one machine.
 *
 * Nothing is sent. After a meeting every rank reads what the others wrote into their
 * areas. A single rank runs the same code. */
#include "comm/impl.h"

#include <string.h>

static size_t offset_in_area(const glia_comm *c, const void *p) {
    return (size_t)((const char *)p - c->world->area[c->member[c->rank]]);
}

static void shared_barrier(glia_comm *c, int thread) { glia_meet(c, thread); }

/* Copy the slice of the sum that each rank left in its area to out. */
static void collect(glia_comm *c, int thread, float *out, size_t at, size_t n, bool add) {
    size_t from, to;
    glia_comm_slice(n, thread, c->threads, &from, &to);
    for (int p = 0; p < c->size; p++) {
        size_t a, b;
        glia_comm_slice(n, p, c->size, &a, &b);
        if (a < from) a = from;
        if (b > to) b = to;
        const glia_summands slice = {
            .base = c->world->area + c->member[p], .at = at + a * sizeof(float), .n = 1, .per_rank = 1};
        if (a < b) glia_comm_add_up(out + a, &slice, b - a, add);
    }
}

/* The summands of all ranks; this rank's begin at `in`. */
static glia_summands summands(const glia_comm *c, const float *in, const glia_sum *s) {
    return (glia_summands){.base = c->world->area,
                           .member = c->member,
                           .at = offset_in_area(c, in),
                           .stride = s->stride * sizeof(float),
                           .n = c->size,
                           .per_rank = s->per_rank};
}

static void shared_all_reduce(glia_comm *c, int thread, float *out, float *in, const glia_sum *s) {
    glia_summands src = summands(c, in, s);
    const size_t at = src.at, n = s->n;
    size_t from, to, mine, end;
    if (!glia_meet(c, thread)) return;
    if (glia_comm_in_one_go(n, c->size, s->per_rank)) {
        glia_comm_slice(n, thread, c->threads, &from, &to);
        src.at += from * sizeof(float);
        glia_comm_add_up(out + from, &src, to - from, s->add);
        return;
    }
    /* No other rank reads this slice of this rank's area, so the sum may overwrite it. */
    glia_comm_slice(n, c->rank, c->size, &mine, &end);
    glia_comm_slice(end - mine, thread, c->threads, &from, &to);
    src.at += (mine + from) * sizeof(float);
    glia_comm_add_up(in + mine + from, &src, to - from, false);
    if (glia_meet(c, thread)) collect(c, thread, out, at, n, s->add);
}

static void shared_reduce_scatter(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s) {
    glia_summands src = summands(c, in, s);
    size_t first, last, from, to;
    if (!glia_meet(c, thread)) return;
    glia_share(s->n, c->rank, c->size, &first, &last);
    glia_comm_slice((last - first) * s->unit, thread, c->threads, &from, &to);
    src.at += (first * s->unit + from) * sizeof(float);
    glia_comm_add_up(out + from, &src, to - from, s->add);
}

static void shared_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g,
                          int root) {
    const size_t at = offset_in_area(c, in), width = g->n * g->unit;
    size_t from, to, first, last;
    if (!glia_meet(c, thread) || (root != GLIA_EVERYONE && root != c->rank)) return;
    glia_share(g->rows * width, thread, c->threads, &from, &to);
    while (from < to) { /* bytes [from, to) of the result, one rank and row at a time */
        const size_t row = from / width, col = from % width;
        const int p = glia_comm_holder(g, c->size, col);
        glia_share(g->n, p, c->size, &first, &last);
        size_t len = last * g->unit - col;
        if (len > to - from) len = to - from;
        memcpy((char *)out + row * g->ld_out + col,
               c->world->area[c->member[p]] + at + row * g->ld_in + (col - first * g->unit), len);
        from += len;
    }
}

static void shared_exchange(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in) {
    const size_t at = offset_in_area(c, in) + (size_t)c->rank * ld_in;
    size_t from, to;
    if (!glia_meet(c, thread)) return;
    glia_share((size_t)c->size * bytes, thread, c->threads, &from, &to);
    while (from < to) {
        const size_t p = from / bytes, col = from % bytes;
        const size_t len = bytes - col < to - from ? bytes - col : to - from;
        memcpy((char *)out + from, c->world->area[c->member[p]] + at + col, len);
        from += len;
    }
}

static void shared_broadcast(glia_comm *c, int thread, void *buf, size_t bytes, int root) {
    const size_t at = offset_in_area(c, buf);
    size_t from, to;
    if (!glia_meet(c, thread) || c->rank == root) return;
    glia_share(bytes, thread, c->threads, &from, &to);
    memcpy((char *)buf + from, c->world->area[c->member[root]] + at + from, to - from);
}

const glia_comm_table glia_comm_shared_table = {
    .barrier = shared_barrier,
    .all_reduce = shared_all_reduce,
    .reduce_scatter = shared_reduce_scatter,
    .gather = shared_gather,
    .exchange = shared_exchange,
    .broadcast = shared_broadcast,
};
