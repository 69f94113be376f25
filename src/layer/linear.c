/* linear.c - see linear.h. */
#include "layer/linear.h"

enum { SPREAD_ROWS = 8 }; /* least rows of each rank: fewer are not worth a second collective */

bool glia_rows_are_many(const glia_parallel *p, int m) { return p->tp > 1 && m >= SPREAD_ROWS * p->tp; }

void glia_held_rows(const glia_walk *w, size_t *from, size_t *to) {
    glia_share((size_t)w->m, w->spread ? w->p.rank : 0, w->spread ? w->p.tp : 1, from, to);
}

/* Columns of the shards of an embedding that is cut by hidden dimension, with the last shard's padding. */
static size_t padded(size_t hidden, const glia_parallel *p) {
    return glia_even_size(hidden, p->tp) * (size_t)p->tp;
}

size_t glia_parallel_ld_hidden(const glia_device_ops *ops, size_t hidden, const glia_parallel *p) {
    return ops->stride(padded(hidden, p));
}

size_t glia_parallel_area_bytes(const glia_parallel *p, size_t ld_hidden, int max_rows) {
    return p->tp > 1 ? (ld_hidden * sizeof(float) + GLIA_ALIGN) * (size_t)(max_rows + 2)
                     : 0; /* with scales */
}

/* The buffer for the next collective's operand. Other ranks may still read the last collective's operand. */
static char *next_area(glia_walk *w) { return w->area[w->operands++ % 2]; }

/* hidden = the sum over ranks of `summand` [m, ld_hidden], or with `add` hidden += the sum. */
static void sum_up(glia_walk *w, float *summand, bool add) {
    size_t from, to;
    glia_held_rows(w, &from, &to);
    float *held = w->hidden + from * w->ld_hidden;
    if (w->spread)
        glia_comm_reduce_scatter(w->comm, w->thread, held, summand, (size_t)w->m, w->ld_hidden, add);
    else
        glia_comm_all_reduce(w->comm, w->thread, held, summand, (size_t)w->m * w->ld_hidden, add);
}

/* m float32 rows, spaced like those of the residual stream. */
static glia_activation plain(const glia_walk *w, float *at, size_t m) {
    return (glia_activation){.at = at, .m = m, .stride = w->ld_hidden, .form = GLIA_PLAIN};
}

/* ---- the embedding --------------------------------------------------------- */

void glia_parallel_embed(glia_walk *w, const glia_matrix *table, size_t hidden_size, size_t vocab,
                         const int32_t *token, const glia_embed_change *adapted) {
    if (!w->place) adapted = NULL;
    if (!w->comm) {
        glia_device_embed(w->d, w->thread, w->hidden, w->ld_hidden, table, 0, token, w->m);
        if (adapted)
            glia_device_adapt_embed(w->d, w->thread, w->hidden, w->ld_hidden, adapted, w->place, 0, vocab,
                                    token, w->m);
        return;
    }
    float *part = (float *)(void *)next_area(w);
    size_t from = 0, to = vocab;
    if (w->p.vocab_parallel) glia_even_shard(vocab, w->p.tp, w->p.rank, &from, &to);
    const size_t ld = w->p.vocab_parallel ? w->ld_hidden : w->d->ops->columns(table->k);
    glia_device_embed(w->d, w->thread, part, ld, table, from, token, w->m);
    if (adapted)
        glia_device_adapt_embed(w->d, w->thread, part, ld, adapted, w->place, from, to - from, token, w->m);
    if (w->p.vocab_parallel) {
        sum_up(w, part, false);
        return;
    }
    const glia_gather g = {.rows = (size_t)w->m,
                           .n = padded(hidden_size, &w->p),
                           .unit = sizeof(float),
                           .ld_in = ld * sizeof(float),
                           .ld_out = w->ld_hidden * sizeof(float)};
    glia_comm_all_gather(w->comm, w->thread, w->hidden, part, &g);
}

/* ---- column-parallel ------------------------------------------------------- */

/* Gather the m prepared rows of the ranks of a group to `out`. This rank's rows are at `in`, in its area. */
static void gather_rows(const glia_walk *w, glia_comm *group, int m, const glia_operand *out,
                        const glia_operand *in) {
    const glia_gather g = {
        .rows = out->pieces, .n = (size_t)m, .unit = out->row, .ld_in = in->step, .ld_out = out->step};
    glia_comm_all_gather(group, w->thread, out->x, in->x, &g);
}

/* glia_spread_rows() with memory for this rank's rows. Rows are gathered as they are multiplied: bfloat16 or
 * int8 rows are less data than float32. */
static glia_operand spread(glia_walk *w, glia_comm *group, int m, const glia_row_norm *norm,
                           const glia_matrix *matrix, void *memory) {
    const glia_device *d = w->d;
    size_t from, to;
    glia_held_rows(w, &from, &to);
    const size_t most =
        glia_even_size((size_t)w->m, w->p.tp); /* a rank with fewer rows uses the layout of so many */
    const glia_linear_in held = {.x = plain(w, w->hidden + from * w->ld_hidden, to - from),
                                 .m = (int)(to - from),
                                 .norm = norm->weight,
                                 .eps = norm->eps,
                                 .place = w->place ? w->place + from : NULL,
                                 .norm_of = norm->of};
    const glia_operand mine = glia_device_operand(d, matrix, most, memory),
                       all = glia_device_operand(d, matrix, (size_t)m, NULL);
    glia_device_prepare(d, w->thread, &held, matrix, &mine);
    gather_rows(w, group, m, &all, &mine);
    if (all.scale) {
        const glia_gather scales = {.rows = 1, .n = (size_t)m, .unit = sizeof *all.scale};
        glia_comm_all_gather(group, w->thread, all.scale, mine.scale, &scales);
    }
    glia_device_barrier(d); /* the gathered rows */
    return all;
}

glia_operand glia_spread_rows(glia_walk *w, glia_comm *group, int m, const glia_row_norm *norm,
                              const glia_matrix *matrix) {
    return spread(w, group, m, norm, matrix, next_area(w));
}

bool glia_spread_adapted(glia_operand *rows, glia_walk *w, glia_comm *group, int m, const glia_row_norm *norm,
                         const glia_matrix *matrix, const glia_adapted *adapted) {
    glia_matrix plain_matrix = *matrix;
    if (!adapted->n || !glia_lora_needs_rows(matrix)) return false;
    plain_matrix.quantize_rows = false;
    plain_matrix.rotate = 0;
    /* behind the quantised rows, in the same area: a group of one rank does not wait for others to read the
     * next */
    const size_t half = (size_t)(w->area[1] - w->area[0]) / 2 / GLIA_ALIGN * GLIA_ALIGN;
    *rows = spread(w, group, m, norm, &plain_matrix, w->area[(w->operands - 1) % 2] + half);
    return true;
}

void glia_column_parallel(glia_walk *w, const glia_row_norm *norm, const glia_matrix *matrix,
                          const glia_linear_out *out) {
    if (w->spread) {
        const glia_operand all = glia_spread_rows(w, w->comm, w->m, norm, matrix);
        glia_operand rows;
        glia_linear_out to = *out;
        if (glia_spread_adapted(&rows, w, w->comm, w->m, norm, matrix, &out->adapted))
            to.adapted.rows = &rows;
        glia_device_multiply(w->d, w->thread, &all, w->m, matrix, &to);
        return;
    }
    const glia_linear_in in = {.x = plain(w, w->hidden, (size_t)w->m),
                               .m = w->m,
                               .norm = norm->weight,
                               .eps = norm->eps,
                               .place = w->place,
                               .norm_of = norm->of};
    glia_device_linear(w->d, w->thread, &in, matrix, out);
}

/* ---- row-parallel ---------------------------------------------------------- */

void glia_row_parallel(glia_walk *w, const glia_activation *x, const glia_matrix *matrix, const float *bias,
                       const glia_adapted *adapted) {
    const glia_linear_in in = {.x = *x, .m = w->m};
    const glia_adapted a = adapted ? *adapted : (glia_adapted){0};
    if (!w->comm) {
        const glia_linear_out add = {
            .epilogue = GLIA_ADD, .y = plain(w, w->hidden, (size_t)w->m), .bias = bias, .adapted = a};
        glia_device_linear(w->d, w->thread, &in, matrix, &add);
        return;
    }
    float *summand = (float *)(void *)next_area(w);
    const glia_linear_out out = {.epilogue = GLIA_STORE,
                                 .y = plain(w, summand, (size_t)w->m),
                                 .bias = w->p.rank == 0 ? bias : NULL,
                                 .adapted = a};
    glia_device_linear(w->d, w->thread, &in, matrix, &out);
    sum_up(w, summand, true);
}

void glia_row_parallel_parts(glia_walk *w, glia_comm *group, const glia_activation *x,
                             const glia_matrix *shard, int shards, const float *bias,
                             const glia_adapted *adapted) {
    const size_t block = x->m * x->stride, stride = x->m * w->ld_hidden;
    float *summands = (float *)(void *)next_area(w);
    for (int s = 0; s < shards; s++) {
        const bool first = s == 0 && glia_comm_rank(group) == 0;
        glia_linear_in in = {.x = *x, .m = (int)x->m};
        in.x.at += (size_t)s * block;
        glia_linear_out out = {.epilogue = GLIA_STORE,
                               .y = plain(w, summands + (size_t)s * stride, x->m),
                               .bias = first ? bias : NULL};
        if (adapted) out.adapted = adapted[s];
        if (s > 0 && glia_converts_rows(shard)) glia_device_barrier(w->d); /* the last shard's rows */
        glia_device_linear(w->d, w->thread, &in, &shard[s], &out);
    }
    size_t from, to;
    glia_held_rows(w, &from, &to);
    const glia_sum sum = {.n = x->m, .unit = w->ld_hidden, .per_rank = shards, .stride = stride, .add = true};
    glia_comm_reduce_scatter_many(group, w->thread, w->hidden + from * w->ld_hidden, summands, &sum);
}

/* ---- the head -------------------------------------------------------------- */

void glia_collect_rows(glia_walk *w, float *out, const int32_t *row, int n) {
    float *part = w->spread ? (float *)(void *)next_area(w) : out;
    size_t from, to;
    glia_held_rows(w, &from, &to);
    glia_device_select(w->d, w->thread, part, w->hidden, w->ld_hidden, row, n, from, to);
    if (w->spread) glia_comm_all_reduce(w->comm, w->thread, out, part, (size_t)n * w->ld_hidden, false);
    glia_device_barrier(w->d); /* out */
}

void glia_parallel_head(glia_walk *w, const glia_row_norm *norm, const glia_matrix *matrix,
                        const int32_t *row, const int32_t *place, int n, const glia_linear_out *out) {
    if (n == 0) return;
    if (w->spread) glia_collect_rows(w, w->hidden, row, n);
    const glia_linear_in in = {.x = plain(w, w->hidden, (size_t)w->m),
                               .m = n,
                               .row = w->spread ? NULL : row,
                               .norm = norm->weight,
                               .eps = norm->eps,
                               .place = w->spread ? place : w->place,
                               .norm_of = norm->of};
    glia_device_linear(w->d, w->thread, &in, matrix, out);
}
