/* draft_shard.c - see draft_shard.h. */
#include "draft/draft_shard.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_ROWS, WORD_LOGITS, WORD_TREES, WORD_TABLES, HEADER };
enum { ROW = 5, TABLE = 2 }; /* words of a row; of a row of the table, without its blocks */

void glia_draft_fill_trees(int32_t *table, const glia_draft_shape *s) {
    const int row = glia_draft_max_blocks(s);
    for (int i = 0; i < s->batch; i++)
        for (int k = 0; k < s->tree_blocks; k++)
            table[i * row + s->own_blocks + k] = s->first_tree + i * s->tree_blocks + k;
}

/* ---- memory ---------------------------------------------------------------------- */

typedef struct {
    int table, logits;
} regions;

static size_t ld_of(const glia_draft_shape *s) {
    return (size_t)s->parallel.tp * glia_even_size((size_t)s->config->vocab, s->parallel.tp);
}

static regions add_regions(const glia_draft_shape *s, glia_plan *plan) {
    const size_t leads = s->parallel.rank == 0, logits = (size_t)s->limits.max_logits;
    regions r;
    r.table = glia_plan_add(plan, "draft: a rank's block tables",
                            (size_t)(s->batch * glia_draft_max_blocks(s)), sizeof(int32_t));
    r.logits = glia_plan_add(plan, "draft: logits of all ranks", leads * logits * ld_of(s), sizeof(float));
    return r;
}

void glia_draft_shard_plan(const glia_draft_shape *s, int threads, glia_plan *plan) {
    glia_plan decoder = {0};
    glia_decoder_plan(s->config, &s->parallel, &s->limits, threads, &decoder);
    glia_plan_add(plan, "draft: KV cache and buffers", 1, decoder.bytes);
    add_regions(s, plan);
}

glia_status glia_draft_shard_open(glia_draft_rank *r, const glia_draft_shape *shape, glia_err *err) {
    glia_draft_shard *s = r->own = calloc(1, sizeof *s);
    if (!s) return glia_fail_nomem(err, sizeof *s, "the draft");
    s->shape = *shape;
    s->rank = r;
    s->ld = ld_of(shape);
    const regions at = add_regions(shape, &s->plan);
    glia_status status = glia_plan_map(&s->plan, "a rank's part of the draft", err);
    if (status) return status;
    s->table = glia_plan_at(&s->plan, at.table);
    s->logits = glia_plan_at(&s->plan, at.logits);
    glia_draft_fill_trees(s->table, shape);
    return glia_decoder_create(&s->decoder, shape->weights, &shape->limits, r->model->cpu_flags, r->team,
                               r->world, r->area_offset, err);
}

void glia_draft_shard_close(glia_draft_rank *r) {
    glia_draft_shard *s = r->own;
    if (!s) return;
    glia_decoder_free(s->decoder);
    glia_plan_unmap(&s->plan);
    free(s);
    r->own = NULL;
}

/* ---- steps -------------------------------------------------------------------------- */

size_t glia_draft_shard_words(const glia_draft_shape *s) {
    const size_t batch = (size_t)s->batch;
    return HEADER + batch * (TABLE + (size_t)glia_draft_max_blocks(s)) + ROW * (size_t)s->limits.max_rows +
           (size_t)s->limits.max_logits;
}

static int32_t *put(int32_t *to, const int32_t *from, int n) {
    memcpy(to, from, (size_t)n * sizeof *to);
    return to + n;
}

size_t glia_draft_shard_write(int32_t *words, const glia_batch *b, const glia_draft_table *table, int n) {
    int32_t *w = words + HEADER;
    words[WORD_ROWS] = b->n_rows;
    words[WORD_LOGITS] = b->n_logits;
    words[WORD_TREES] = b->parent != NULL;
    words[WORD_TABLES] = n;
    for (int i = 0; i < n; i++) {
        *w++ = table[i].seq;
        *w++ = table[i].n;
        w = put(w, table[i].block, table[i].n);
    }
    w = put(w, b->token, b->n_rows);
    w = put(w, b->seq, b->n_rows);
    w = put(w, b->position, b->n_rows);
    w = put(w, b->slot, b->n_rows);
    if (b->parent) w = put(w, b->parent, b->n_rows);
    w = put(w, b->logit_row, b->n_logits);
    return (size_t)(w - words);
}

/* Read a step, and put the rows of the block table that change into `table`. */
static glia_batch read_step(const glia_draft_shard *s, const int32_t *words) {
    const int32_t *w = words + HEADER;
    const int n = words[WORD_ROWS];
    for (int i = 0; i < words[WORD_TABLES]; i++) {
        put(s->table + (size_t)(w[0] * glia_draft_max_blocks(&s->shape)), w + TABLE, w[1]);
        w += TABLE + w[1];
    }
    glia_batch b = {.n_rows = n,
                    .n_seqs = s->shape.batch,
                    .max_blocks = glia_draft_max_blocks(&s->shape),
                    .block_table = s->table,
                    .n_logits = words[WORD_LOGITS]};
    const int32_t **const parts[] = {&b.token, &b.seq, &b.position, &b.slot, &b.parent};
    const size_t n_parts = sizeof parts / sizeof *parts - !words[WORD_TREES];
    for (size_t i = 0; i < n_parts; i++, w += n) *parts[i] = w;
    b.logit_row = w;
    return b;
}

void glia_draft_shard_obey(glia_draft_rank *r, const int32_t *words) {
    const glia_draft_shard *s = r->own;
    const glia_batch b = read_step(s, words);
    glia_decoder_step(s->decoder, &b);
    const glia_gather g = {.rows = 1, .n = s->ld, .unit = sizeof(float)};
    for (int i = 0; i < b.n_logits; i++)
        glia_comm_gather(r->world, 0, s->shape.parallel.rank == 0 ? s->logits + (size_t)i * s->ld : NULL,
                         glia_decoder_logits(s->decoder, i), &g, 0);
}

const float *glia_draft_shard_logits(const glia_draft_rank *r, int i) {
    const glia_draft_shard *s = r->own;
    return s->logits + (size_t)i * s->ld;
}
