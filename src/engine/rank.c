/* rank.c - see rank.h. */
#include "engine/rank.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SCORE_LOGIT_BYTES = 64 << 20 }; /* of logits at once in glia_engine_score() */

/* Words of an order. */
enum { WORD_KIND, WORD_WORDS, WORD_CHANGES, WORD_PIECES, HEADER };
enum { PIECE = sizeof(glia_seq_rows) / sizeof(int32_t), CHANGE = 2, FIRST_LEAST = 64 };

/* Regions of the plan, in order. */
enum {
    REGION_ROWS,
    REGION_TABLES,
    REGION_ORDERS,
    REGION_WANTED,
    REGION_SAMPLING,
    REGION_PARTS,
    REGION_LOGITS
};

/* ---- memory --------------------------------------------------------------- */

static size_t max_rows(const glia_engine_limits *l) { return (size_t)l->chunk + (size_t)l->batch; }

static size_t max_blocks(const glia_engine_limits *l) {
    return (size_t)glia_blocks_for(l->sequence_length, l->block_size);
}

int glia_rank_score_rows(const glia_model_config *c, const glia_engine_limits *l) {
    const int64_t fit = SCORE_LOGIT_BYTES / (c->vocab * (int64_t)sizeof(float));
    return fit < 1 ? 1 : fit < l->chunk ? (int)fit : l->chunk;
}

static int max_logits(const glia_model_config *c, const glia_engine_limits *l) {
    const int scored = glia_rank_score_rows(c, l);
    return scored > l->batch ? scored : l->batch;
}

glia_blocks_shape glia_rank_blocks(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l) {
    const int members = glia_local_of(c, p).members;
    glia_blocks_shape s = {.block_size = l->block_size, .members = members, .unit = 1};
    if (members > 1) s.unit = GLIA_FLASH_UNIT / l->block_size;
    s.n_blocks = glia_blocks_enough(l->batch, l->sequence_length, &s);
    return s;
}

static glia_decoder_limits decoder_limits(const glia_model_config *c, const glia_parallel *p,
                                          const glia_engine_limits *l) {
    return (glia_decoder_limits){
        .kv_dtype = l->kv_dtype,
        .max_rows = (int)max_rows(l),
        .max_logits = max_logits(c, l),
        .block_size = l->block_size,
        .n_blocks = glia_rank_blocks(c, p, l).n_blocks,
        .sequence_length = l->sequence_length,
        .quantize_rows = l->quantize_rows,
    };
}

static size_t whole_lines(size_t bytes) { return (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN; }

/* Words of the longest order, a whole number of lines. */
static size_t order_words(const glia_engine_limits *l) {
    const size_t batch = (size_t)l->batch;
    const size_t words = HEADER + CHANGE * (batch + 1) * max_blocks(l) + PIECE * batch + max_rows(l);
    return whole_lines(words * sizeof(int32_t)) / sizeof(int32_t);
}

/* Words that are sent at once: a decoding step where every sequence has a new block. */
static size_t first_words(const glia_engine_limits *l) {
    const size_t words = HEADER + (size_t)l->batch * (CHANGE + PIECE + 1), all = order_words(l);
    const size_t least = words > FIRST_LEAST ? words : FIRST_LEAST;
    return least < all ? least : all;
}

/* Bytes of one rank's parts of all logit rows. */
static size_t found_bytes(const glia_model_config *c, int ranks, const glia_engine_limits *l) {
    const size_t half = glia_even_size((size_t)c->vocab, ranks) / 2;
    const int most = half > GLIA_BEST_MAX ? GLIA_BEST_MAX : half > 0 ? (int)half : 1;
    return whole_lines((size_t)l->batch * glia_part_bytes(most) + sizeof(glia_ceilings));
}

size_t glia_rank_area_bytes(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l) {
    if (p->tp == 1) return 0;
    const glia_decoder_limits limits = decoder_limits(c, p, l);
    return glia_decoder_area_bytes(c, p, &limits) + 2 * order_words(l) * sizeof(int32_t) +
           found_bytes(c, p->tp, l);
}

static size_t sampler_vocab(const glia_model_config *c, const glia_parallel *p) {
    return p->rank == 0 ? (size_t)c->vocab : glia_even_size((size_t)c->vocab, p->tp);
}

static void plan_own(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                     int threads, glia_plan *plan) {
    const size_t batch = (size_t)l->batch, alone = p->tp == 1, leads = !alone && p->rank == 0;
    const size_t rows = (size_t)max_logits(c, l), ranks = (size_t)p->tp;
    glia_plan_add(plan, "rows of a step", max_rows(l), 5 * sizeof(int32_t));
    glia_plan_add(plan, "block tables", (batch + 1) * max_blocks(l), sizeof(int32_t));
    glia_plan_add(plan, "orders", alone * order_words(l), sizeof(int32_t)); /* else in the area */
    glia_plan_add(plan, "logits that are wanted", rows, sizeof(int32_t) + sizeof(float) + sizeof(size_t));
    glia_plan_add(plan, "sampling", (size_t)threads, glia_sampler_bytes((int)sampler_vocab(c, p)));
    glia_plan_add(plan, "the best of all ranks", leads * ranks, found_bytes(c, p->tp, l));
    glia_plan_add(plan, "logits of all ranks", leads * rows * ranks * glia_even_size((size_t)c->vocab, p->tp),
                  sizeof(float));
}

void glia_rank_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                    int threads, glia_plan *plan) {
    const glia_decoder_limits limits = decoder_limits(c, p, l);
    glia_decoder_plan(c, p, &limits, threads, plan);
    plan_own(c, p, l, threads, plan);
}

static void bind(glia_rank *r) {
    const glia_engine_limits *l = &r->config.limits;
    const glia_weights *w = r->config.weights;
    const size_t rows = max_rows(l), logits = (size_t)max_logits(w->config, l);
    r->token = glia_plan_at(&r->plan, REGION_ROWS);
    r->seq = r->token + rows;
    r->position = r->seq + rows;
    r->slot = r->position + rows;
    r->logit_row = r->slot + rows;
    r->table = glia_plan_at(&r->plan, REGION_TABLES);
    r->found_at = glia_plan_at(&r->plan, REGION_WANTED);
    r->best = (int32_t *)(r->found_at + logits);
    r->divisor = (float *)(r->best + logits);
    r->gathered = glia_plan_at(&r->plan, REGION_PARTS);
    r->logits = glia_plan_at(&r->plan, REGION_LOGITS);
    r->order[0] = r->order[1] = glia_plan_at(&r->plan, REGION_ORDERS);
    if (r->config.world) {
        const glia_decoder_limits limits = decoder_limits(w->config, &w->parallel, l);
        char *area = glia_comm_area(r->config.world);
        r->order[0] = (void *)(area + glia_decoder_area_bytes(w->config, &w->parallel, &limits));
        r->order[1] = r->order[0] + order_words(l);
        r->found = (char *)(r->order[1] + order_words(l));
    }
    const int vocab = (int)sampler_vocab(w->config, &w->parallel);
    char *memory = glia_plan_at(&r->plan, REGION_SAMPLING);
    for (int i = 0; i < r->config.threads; i++)
        glia_sampler_init(&r->sampler[i], memory + (size_t)i * glia_sampler_bytes(vocab), vocab);
}

glia_status glia_rank_open(glia_rank *r, const glia_rank_config *config, glia_status own, glia_err *err) {
    const glia_weights *w = config->weights;
    const glia_decoder_limits limits = decoder_limits(w->config, &w->parallel, &config->limits);
    size_t to;
    *r = (glia_rank){.config = *config,
                     .rank = w->parallel.rank,
                     .ranks = w->parallel.tp,
                     .part = glia_even_size((size_t)w->config->vocab, w->parallel.tp),
                     .max_blocks = (int)max_blocks(&config->limits),
                     .order_first = first_words(&config->limits)};
    glia_even_part((size_t)w->config->vocab, r->ranks, r->rank, &r->first, &to);
    r->vocab = to - r->first;
    plan_own(w->config, &w->parallel, &config->limits, config->threads, &r->plan);
    glia_status status = own;
    if (!status)
        status = glia_team_create_beside(&r->team, config->threads, config->place, config->places, err);
    if (!status) {
        r->sampler = calloc((size_t)config->threads, sizeof *r->sampler);
        if (!r->sampler) status = glia_fail_nomem(err, sizeof *r->sampler, "the samplers");
    }
    if (!status)
        status =
            glia_decoder_create(&r->decoder, w, &limits, config->cpu_flags, r->team, config->world, 0, err);
    if (!status) status = glia_plan_map(&r->plan, "a rank's tables and sampling", err);
    if (config->world) status = glia_comm_agree(config->world, "", status, err);
    if (status)
        glia_rank_close(r);
    else
        bind(r);
    return status;
}

void glia_rank_close(glia_rank *r) {
    glia_decoder_free(r->decoder);
    glia_team_free(r->team);
    glia_plan_unmap(&r->plan);
    free(r->sampler);
    *r = (glia_rank){0};
}

/* ---- orders ----------------------------------------------------------------- */

static int32_t *order_of(const glia_rank *r) { return r->order[r->turn % 2]; }

void glia_order_begin(glia_rank *r, glia_order_kind kind) {
    int32_t *w = order_of(r);
    w[WORD_KIND] = (int32_t)kind;
    w[WORD_WORDS] = HEADER;
    w[WORD_CHANGES] = w[WORD_PIECES] = 0;
}

static void append(glia_rank *r, const void *words, int n) {
    int32_t *w = order_of(r);
    memcpy(w + w[WORD_WORDS], words, (size_t)n * sizeof *w);
    w[WORD_WORDS] += n;
    assert((size_t)w[WORD_WORDS] <= order_words(&r->config.limits));
}

void glia_order_table(glia_rank *r, int seq, const int32_t *blocks, int n) {
    const int32_t at = seq * r->max_blocks;
    for (int i = 0; i < n; i++) {
        if (r->table[at + i] == blocks[i]) continue;
        append(r, (const int32_t[CHANGE]){at + i, blocks[i]}, CHANGE);
        order_of(r)[WORD_CHANGES]++;
    }
}

void glia_order_rows(glia_rank *r, const glia_seq_rows *rows) {
    append(r, rows, PIECE);
    order_of(r)[WORD_PIECES]++;
}

void glia_order_tokens(glia_rank *r, const int32_t *tokens, int n) { append(r, tokens, n); }

/* The order that every rank has now; NULL once a rank has failed. */
static const int32_t *share(glia_rank *r) {
    int32_t *w = order_of(r);
    glia_comm *world = r->config.world;
    const size_t first = r->order_first;
    r->turn++;
    if (!world) return w;
    glia_comm_broadcast(world, 0, w, first * sizeof *w, 0);
    if (glia_comm_check(world, NULL)) return NULL;
    const size_t words = (size_t)w[WORD_WORDS];
    if (words <= first) return w;
    glia_comm_broadcast(world, 0, w + first, (words - first) * sizeof *w, 0);
    return glia_comm_check(world, NULL) ? NULL : w;
}

/* ---- a step ----------------------------------------------------------------- */

/* Rows and wanted logits of a step's order. Returns the number of rows. */
static int unpack(glia_rank *r, const int32_t *w) {
    const int32_t *change = w + HEADER, *at = change + CHANGE * w[WORD_CHANGES];
    const int32_t *token = at + PIECE * w[WORD_PIECES];
    for (int i = 0; i < w[WORD_CHANGES]; i++) r->table[change[CHANGE * i]] = change[CHANGE * i + 1];
    int row = 0;
    r->n_logits = 0;
    r->found_bytes = 0;
    for (int i = 0; i < w[WORD_PIECES]; i++, at += PIECE) {
        glia_seq_rows p;
        memcpy(&p, at, sizeof p);
        for (int k = 0; k < p.n; k++, row++) {
            r->token[row] = *token++;
            r->seq[row] = p.seq;
            r->position[row] = r->slot[row] = p.at + k;
            if (p.logits == LOGITS_NONE || (p.logits == LOGITS_LAST && k < p.n - 1)) continue;
            r->best[r->n_logits] = p.best;
            r->divisor[r->n_logits] = p.divisor;
            r->found_at[r->n_logits] = r->found_bytes;
            r->found_bytes += p.best ? glia_part_bytes(p.best) : 0;
            r->logit_row[r->n_logits++] = row;
        }
    }
    return row;
}

/* The best of this rank's part of logit row i. */
static void find(glia_rank *r, int i, glia_sampler *s) {
    if (!r->best[i]) return;
    glia_part *part = (glia_part *)(void *)(r->found + r->found_at[i]);
    glia_part_find(part, s, glia_decoder_logits(r->decoder, i), (int)r->vocab, (int32_t)r->first, r->best[i],
                   r->divisor[i]);
}

static void find_share(void *arg, int thread) {
    glia_rank *r = arg;
    size_t from, to;
    glia_guard_enter();
    glia_share((size_t)r->n_logits, thread, r->config.threads, &from, &to);
    for (size_t i = from; i < to; i++) find(r, (int)i, &r->sampler[thread]);
    glia_guard_leave();
}

/* Every rank's `bytes` of found[] side by side, on the leader. */
static void gather_found(glia_rank *r, size_t bytes) {
    const glia_gather g = {.rows = 1, .n = (size_t)r->ranks, .unit = bytes};
    glia_comm_gather(r->config.world, 0, r->gathered, r->found, &g, 0);
}

/* Row i of the logits, whole, on the leader. Parts are padded to one size, so ids follow one another. */
static void gather_logits(glia_rank *r, int i) {
    const size_t whole = (size_t)r->ranks * r->part;
    const glia_gather g = {.rows = 1, .n = whole, .unit = sizeof(float)};
    float *out = r->rank == 0 ? r->logits + (size_t)i * whole : NULL;
    glia_comm_gather(r->config.world, 0, out, glia_decoder_logits(r->decoder, i), &g, 0);
}

static void step(glia_rank *r, const int32_t *w) {
    const int rows = unpack(r, w);
    const glia_batch batch = {
        .n_rows = rows,
        .token = r->token,
        .seq = r->seq,
        .position = r->position,
        .slot = r->slot,
        .n_seqs = r->config.limits.batch + 1,
        .max_blocks = r->max_blocks,
        .block_table = r->table,
        .n_logits = r->n_logits,
        .logit_row = r->logit_row,
    };
    glia_decoder_step(r->decoder, &batch);
    if (!r->config.world) return;
    if (r->n_logits == 1)
        find(r, 0, &r->sampler[0]);
    else if (r->n_logits)
        glia_team_run(r->team, find_share, r);
    if (r->found_bytes) gather_found(r, r->found_bytes);
    for (int i = 0; i < r->n_logits; i++)
        if (!r->best[i]) gather_logits(r, i);
}

/* ---- obedience -------------------------------------------------------------- */

static void measure(glia_rank *r) {
    glia_ceilings c;
    if (!r->config.world) return;
    glia_comm_barrier(r->config.world, 0); /* all at once */
    glia_rank_measure(r, &c);
    memcpy(r->found, &c, sizeof c);
    gather_found(r, sizeof c);
}

static void obey(glia_rank *r, const int32_t *w) {
    if (w[WORD_KIND] == ORDER_STEP) step(r, w);
    if (w[WORD_KIND] == ORDER_MEASURE) measure(r);
    if (w[WORD_KIND] == ORDER_LOGITS)
        for (int i = HEADER; i < w[WORD_WORDS]; i++) gather_logits(r, w[i]);
}

glia_status glia_rank_lead(glia_rank *r, glia_err *err) {
    const int32_t *w = share(r);
    if (w) obey(r, w);
    return r->config.world ? glia_comm_check(r->config.world, err) : GLIA_OK;
}

glia_status glia_rank_follow(glia_rank *r, glia_err *err) {
    for (;;) {
        glia_guard_enter();
        const int32_t *w = share(r);
        const bool ended = !w || w[WORD_KIND] == ORDER_END;
        if (!ended) obey(r, w);
        glia_guard_leave();
        if (ended) return glia_comm_check(r->config.world, err);
    }
}

const float *glia_rank_logits(const glia_rank *r, int i) {
    if (!r->config.world) return glia_decoder_logits(r->decoder, i);
    return r->logits + (size_t)i * (size_t)r->ranks * r->part;
}

const void *glia_rank_parts(const glia_rank *r, int i) { return r->gathered + r->found_at[i]; }
