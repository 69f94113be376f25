/* shared.c - collectives of ranks that see each other's areas: teams of one
 * process, or MPI processes of one machine through a shared window.
 *
 * Nothing is sent: after a meeting every rank reads where the others wrote. A
 * rank that is alone is the same with nobody else to read. */
#include "comm/impl.h"

#include <string.h>

static size_t offset_in_area(const glia_comm *c, const void *p) {
    return (size_t)((const char *)p - c->world->area[c->member[c->rank]]);
}

static void shared_barrier(glia_comm *c, int thread) { glia_meet(c, thread); }

/* Every rank's part of the sum, which stands in its own area, to out. */
static void collect(glia_comm *c, int thread, float *out, size_t at, size_t n, bool add) {
    size_t from, to;
    glia_comm_part(n, thread, c->threads, &from, &to);
    for (int p = 0; p < c->size; p++) {
        size_t a, b;
        glia_comm_part(n, p, c->size, &a, &b);
        if (a < from) a = from;
        if (b > to) b = to;
        const glia_summands part = {
            .base = c->world->area + c->member[p], .at = at + a * sizeof(float), .n = 1, .parts = 1};
        if (a < b) glia_comm_add_up(out + a, &part, b - a, add);
    }
}

/* Everyone's operands that begin at `in` in this rank's area. */
static glia_summands operands(const glia_comm *c, const float *in, const glia_sum *s) {
    return (glia_summands){.base = c->world->area,
                           .member = c->member,
                           .at = offset_in_area(c, in),
                           .stride = s->stride * sizeof(float),
                           .n = c->size,
                           .parts = s->parts};
}

static void shared_all_reduce(glia_comm *c, int thread, float *out, float *in, const glia_sum *s) {
    glia_summands src = operands(c, in, s);
    const size_t at = src.at, n = s->n;
    size_t from, to, mine, end;
    if (!glia_meet(c, thread)) return;
    if (glia_comm_in_one_go(n, c->size, s->parts)) {
        glia_comm_part(n, thread, c->threads, &from, &to);
        src.at += from * sizeof(float);
        glia_comm_add_up(out + from, &src, to - from, s->add);
        return;
    }
    /* Nobody else reads this part of this rank's area, so the sum may stand there. */
    glia_comm_part(n, c->rank, c->size, &mine, &end);
    glia_comm_part(end - mine, thread, c->threads, &from, &to);
    src.at += (mine + from) * sizeof(float);
    glia_comm_add_up(in + mine + from, &src, to - from, false);
    if (glia_meet(c, thread)) collect(c, thread, out, at, n, s->add);
}

static void shared_reduce_scatter(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s) {
    glia_summands src = operands(c, in, s);
    size_t first, last, from, to;
    if (!glia_meet(c, thread)) return;
    glia_share(s->n, c->rank, c->size, &first, &last);
    glia_comm_part((last - first) * s->unit, thread, c->threads, &from, &to);
    src.at += (first * s->unit + from) * sizeof(float);
    glia_comm_add_up(out + from, &src, to - from, s->add);
}

static void shared_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g,
                          int root) {
    const size_t at = offset_in_area(c, in), width = g->n * g->unit;
    size_t from, to, first, last;
    if (!glia_meet(c, thread) || (root != GLIA_EVERYONE && root != c->rank)) return;
    glia_share(g->rows * width, thread, c->threads, &from, &to);
    while (from < to) { /* the bytes [from, to) of the whole, piece by piece */
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
