/* draft_model.c - a smaller model with the target's tokens as the draft.
 *
 * The draft is a model on rank 0, or shared by all ranks (draft_shard.c), with a cache of its
 * own behind the target's block tables. It catches up with tokens that it has not seen, then runs level by
 * level. The rows of a chain stay in the sequence's blocks, so accepted tokens are not run again. A tree is
 * run again with every level, in blocks of its own, since a row can see only tree rows of its own step. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draft/draft.h"
#include "draft/draft_shard.h"
#include "draft/grow.h"
#include "draft/marks.h"
#include "format/neuron_config.h"
#include "model/artifact.h"
#include "model/quantize.h"

enum { DEFAULT_TOKENS = 8, PADDING_MAX = 256 };

/* glia_draft_model.own */
typedef struct {
    glia_model_config config;
    glia_quantize quantize;
    glia_dtype dtype;
    glia_weights **weights; /* [n_ranks] of this process */
    glia_tree_shape shape;  /* a chain is a static tree */
    bool chain;
    int picks; /* most tokens that are taken after one row */
} own_model;

/* What the draft's cache holds of the sequence of a slot. */
typedef struct {
    uint64_t id;     /* 0: of none */
    int n;           /* tokens whose rows were run, proposed ones included */
    int marked;      /* of them, how many were part of the sequence */
    int32_t *tokens; /* [sequence_length] */
} seen;

/* glia_draft.own */
typedef struct {
    const own_model *model;
    glia_draft *draft;
    glia_decoder *decoder; /* NULL: each rank has its own */
    glia_plan plan;
    glia_marks marks;
    seen *seen;      /* [batch] */
    glia_grow *grow; /* [batch] by number of the sequence in a call */
    int32_t *table;  /* [batch, max_blocks]: the target's entries, then those of the tree */
    int max_blocks, tree_slot, max_rows;
    /* The coming step of the draft. */
    glia_draft_table *changed; /* [n_changed <= batch] rows of the table that the ranks have to learn of */
    int n_changed;
    int n, n_logits;
    int32_t *token, *seq, *position, *slot, *parent, *logit_row;
    bool trees;
    /* Of each row of logits. */
    glia_draw *draw;
    int32_t *path; /* [rows of logits, GLIA_TREE_MAX] */
    float *whole;  /* [threads, vocabulary of the target], if the draft's differs */
    int32_t *best; /* [rows of logits, picks] */
    float *score;
    glia_pick *pick;
    int *n_picks;
    const glia_pick **ask;
} state;

/* ---- the immutable half --------------------------------------------------------- */

static glia_status check_fit(const glia_draft_model *m, const own_model *own, glia_err *err) {
    const long long vocab = own->config.vocab, want = m->target->vocab;
    if (llabs(vocab - want) > PADDING_MAX)
        return glia_fail(
            err, GLIA_ERR_SHAPE,
            "%s: the draft's vocabulary has %lld tokens, the target's %lld: expected the same tokens",
            m->config.dir, vocab, want);
    return GLIA_OK;
}

/* A chain of n tokens as a static tree. */
static void chain_shape(glia_tree_shape *s, int n) {
    *s = (glia_tree_shape){.kind = GLIA_TREE_STATIC, .n = n + 1, .parent = {-1}};
    for (int i = 1; i <= n; i++) s->parent[i] = (int16_t)(i - 1);
}

/* An artifact has the formats that it was compiled with; neuron_config.json says which. The configuration may
 * say them, too. */
static glia_status read_compiled(const glia_draft_model *m, own_model *own, glia_neuron_config *file,
                                 glia_quantize_choice *choice, glia_err *err) {
    const glia_status status = glia_neuron_config_load(file, m->config.dir, NULL, NULL, err);
    if (status) return status;
    if (!m->config.dtype && file->key[NEURON_DTYPE]) own->dtype = (glia_dtype)file->number[NEURON_DTYPE];
    if (choice->scheme || !file->key[NEURON_QUANTIZATION]) return GLIA_OK;
    choice->scheme = (glia_quantization)file->number[NEURON_QUANTIZATION];
    choice->type = (glia_quantization_type)file->number[NEURON_QUANTIZATION_TYPE];
    choice->keep = file->modules;
    return GLIA_OK;
}

/* A quantised checkpoint stays as it is stored. */
static glia_status read_formats(const glia_draft_model *m, own_model *own, glia_err *err) {
    const char *dir = m->config.dir;
    glia_quantize_choice choice = {.scheme = m->config.quantization};
    glia_neuron_config file = {0};
    glia_status status = GLIA_OK;
    own->dtype = m->config.dtype ? m->config.dtype : m->target_dtype;
    if (glia_artifact_in(dir)) status = read_compiled(m, own, &file, &choice, err);
    if (!status && own->config.quantization.method)
        status = glia_quantize_stored(&own->quantize, NULL, dir, &own->config, NULL, NULL, err);
    else if (!status)
        status = glia_quantize_resolve(&own->quantize, &choice, &own->config, err);
    if (!status && !own->config.quantization.method)
        status = glia_quantize_stored(&own->quantize, &choice, dir, &own->config, NULL, NULL, err);
    glia_neuron_config_free(&file);
    return status;
}

static glia_status read_model(glia_draft_model *m, glia_err *err) {
    glia_draft_config *c = &m->config;
    own_model *own = m->own = calloc(1, sizeof *own);
    if (!own) return glia_fail_nomem(err, sizeof *own, "the draft");
    glia_status status = glia_model_config_load(&own->config, c->dir, NULL, NULL, err);
    if (!status) status = check_fit(m, own, err);
    if (!status) status = read_formats(m, own, err);
    if (status) return status;
    m->parallel.vocab_parallel = own->config.tied_head; /* as of a target, so that artifacts fit */
    own->chain = c->tree.kind == GLIA_TREE_CHAIN;
    if (own->chain && !c->tokens) c->tokens = DEFAULT_TOKENS;
    if (own->chain)
        chain_shape(&own->shape, c->tokens);
    else
        own->shape = c->tree;
    own->picks = glia_grow_picks(&own->shape);
    return GLIA_OK;
}

static void plan_weights(const glia_draft_model *m, glia_plan *plan) {
    const own_model *own = m->own;
    glia_plan weights = {0};
    glia_weights_plan(&weights, &own->config, &m->parallel, own->dtype, &own->quantize);
    glia_plan_add(plan, "draft: weights", 1, weights.bytes);
}

static glia_status load(glia_draft_model *m, const glia_weights *target, glia_team *team, glia_err *err) {
    own_model *own = m->own;
    glia_status status = GLIA_OK;
    (void)target;
    own->weights = calloc((size_t)m->n_ranks, sizeof(glia_weights *));
    if (!own->weights) return glia_fail_nomem(err, (size_t)m->n_ranks * sizeof(glia_weights *), "the draft");
    for (int i = 0; i < m->n_ranks && !status; i++) {
        glia_parallel parallel = m->parallel;
        parallel.rank += i;
        const glia_weights_options options = {.dtype = own->dtype,
                                              .parallel = &parallel,
                                              .quantize = &own->quantize,
                                              .cpu_flags = m->cpu_flags,
                                              .team = team};
        status = glia_weights_load(&own->weights[i], m->config.dir, &own->config, &options, err);
    }
    return status;
}

static void unload(glia_draft_model *m) {
    own_model *own = m->own;
    if (!own) return;
    for (int i = 0; own->weights && i < m->n_ranks; i++) glia_weights_free(own->weights[i]);
    free(own->weights);
    glia_quantize_free(&own->quantize);
    glia_model_config_free(&own->config);
    free(own);
    m->own = NULL;
}

/* ---- the mutable half --------------------------------------------------------------- */

/* Rows of a tree that are run. */
static int tree_rows(const own_model *m) {
    return m->chain ? 0 : glia_grow_wide(&m->shape) * glia_grow_depth(&m->shape);
}

static int tree_blocks(const own_model *m, const glia_draft_limits *l) {
    return (tree_rows(m) + l->block_size - 1) / l->block_size;
}

static int own_blocks(const glia_draft_limits *l) {
    return (l->sequence_length + l->block_size - 1) / l->block_size;
}

static int most_rows(const own_model *m, const glia_draft_limits *l) {
    const int trees = l->batch * tree_rows(m);
    return l->chunk + l->batch > trees ? l->chunk + l->batch : trees;
}

static int most_logits(const own_model *m, const glia_draft_limits *l) {
    return l->batch * glia_grow_wide(&m->shape);
}

/* What rank number `local` of this process needs. */
static glia_draft_shape shape_of(const glia_draft_model *m, const glia_draft_limits *l, int local) {
    const own_model *own = m->own;
    glia_draft_shape s = {.config = &own->config,
                          .weights = own->weights ? own->weights[local] : NULL,
                          .parallel = m->parallel,
                          .batch = l->batch,
                          .own_blocks = own_blocks(l),
                          .tree_blocks = tree_blocks(own, l),
                          .first_tree = l->n_blocks};
    s.parallel.rank += local;
    s.limits = (glia_decoder_limits){
        .kv_dtype = l->kv_dtype,
        .max_rows = most_rows(own, l),
        .max_logits = most_logits(own, l),
        .block_size = l->block_size,
        .n_blocks = l->n_blocks + l->batch * s.tree_blocks,
        .sequence_length = l->sequence_length,
        .quantize_rows = glia_quantizes_rows(&own->quantize, &own->config),
        .rotate = own->quantize.rotate,
        .reordered = glia_weights_reordered(&own->config, &m->parallel, &own->quantize),
    };
    return s;
}

typedef struct {
    int marks, seen, tokens, grow, grown, table, changed, rows, draws, paths, whole, best, score, picks,
        n_picks, ask;
} regions;

static regions add_regions(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan) {
    const own_model *own = m->own;
    const size_t batch = (size_t)l->batch, logits = (size_t)most_logits(own, l);
    const size_t rows = (size_t)most_rows(own, l), picks = logits * (size_t)own->picks;
    const size_t blocks = (size_t)(own_blocks(l) + tree_blocks(own, l)),
                 other = own->config.vocab != m->target->vocab;
    regions r;
    r.marks = glia_plan_add(plan, "draft: marks of blocks", 1, glia_marks_bytes(l->n_blocks));
    r.seen = glia_plan_add(plan, "draft: sequences", batch, sizeof(seen));
    r.tokens =
        glia_plan_add(plan, "draft: their tokens", batch * (size_t)l->sequence_length, sizeof(int32_t));
    r.grow = glia_plan_add(plan, "draft: growing trees", batch, sizeof(glia_grow));
    r.grown = glia_plan_add(plan, "draft: their nodes", batch, glia_grow_bytes(&own->shape));
    r.table = glia_plan_add(plan, "draft: block tables", batch * blocks, sizeof(int32_t));
    r.changed = glia_plan_add(plan, "draft: changed block tables", batch, sizeof(glia_draft_table));
    r.rows = glia_plan_add(plan, "draft: rows of a step", 5 * rows + logits, sizeof(int32_t));
    r.draws = glia_plan_add(plan, "draft: draws", logits, sizeof(glia_draw));
    r.paths = glia_plan_add(plan, "draft: paths", logits * GLIA_TREE_MAX, sizeof(int32_t));
    r.whole = glia_plan_add(plan, "draft: logits of the target's tokens", other * (size_t)m->threads,
                            (size_t)m->target->vocab * sizeof(float));
    r.best = glia_plan_add(plan, "draft: likeliest tokens", picks, sizeof(int32_t));
    r.score = glia_plan_add(plan, "draft: their scores", picks, sizeof(float));
    r.picks = glia_plan_add(plan, "draft: picks", picks, sizeof(glia_pick));
    r.n_picks = glia_plan_add(plan, "draft: numbers of picks", logits, sizeof(int));
    r.ask = glia_plan_add(plan, "draft: rows of picks", logits, sizeof(glia_pick *));
    return r;
}

static void plan_state(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan) {
    const glia_draft_shape shape = shape_of(m, l, 0);
    glia_plan decoder = {0};
    if (!glia_draft_shared(m))
        glia_decoder_plan(shape.config, &shape.parallel, &shape.limits, m->threads, &decoder);
    glia_plan_add(plan, "draft: KV cache and buffers", 1, decoder.bytes);
    add_regions(m, l, plan);
}

static void bind(state *s, const regions *r, const glia_draft *d) {
    const glia_draft_limits *l = &d->limits;
    const size_t grown = glia_grow_bytes(&s->model->shape), rows = (size_t)s->max_rows;
    int32_t *tokens = glia_plan_at(&s->plan, r->tokens);
    char *nodes = glia_plan_at(&s->plan, r->grown);
    glia_marks_init(&s->marks, glia_plan_at(&s->plan, r->marks), l->n_blocks, l->block_size, d->epoch);
    s->seen = glia_plan_at(&s->plan, r->seen);
    s->grow = glia_plan_at(&s->plan, r->grow);
    s->table = glia_plan_at(&s->plan, r->table);
    for (int i = 0; i < l->batch; i++) {
        s->seen[i].tokens = tokens + (size_t)i * (size_t)l->sequence_length;
        glia_grow_init(&s->grow[i], &s->model->shape, nodes + (size_t)i * grown);
    }
    const glia_draft_shape shape = shape_of(d->model, l, 0);
    glia_draft_fill_trees(s->table, &shape);
    s->changed = glia_plan_at(&s->plan, r->changed);
    s->token = glia_plan_at(&s->plan, r->rows);
    s->seq = s->token + rows;
    s->position = s->seq + rows;
    s->slot = s->position + rows;
    s->parent = s->slot + rows;
    s->logit_row = s->parent + rows;
    s->draw = glia_plan_at(&s->plan, r->draws);
    s->path = glia_plan_at(&s->plan, r->paths);
    s->whole = s->model->config.vocab != d->model->target->vocab ? glia_plan_at(&s->plan, r->whole) : NULL;
    s->best = glia_plan_at(&s->plan, r->best);
    s->score = glia_plan_at(&s->plan, r->score);
    s->pick = glia_plan_at(&s->plan, r->picks);
    s->n_picks = glia_plan_at(&s->plan, r->n_picks);
    s->ask = glia_plan_at(&s->plan, r->ask);
}

static void close_state(glia_draft *d) {
    state *s = d->own;
    glia_decoder_free(s->decoder);
    glia_plan_unmap(&s->plan);
    free(s);
    d->own = NULL;
}

static glia_status open_state(glia_draft *d, glia_err *err) {
    const own_model *own = d->model->own;
    const glia_draft_shape shape = shape_of(d->model, &d->limits, 0);
    state *s = d->own = calloc(1, sizeof *s);
    if (!s) return glia_fail_nomem(err, sizeof *s, "the draft");
    s->model = own;
    s->draft = d;
    s->max_rows = most_rows(own, &d->limits);
    s->tree_slot = own_blocks(&d->limits) * d->limits.block_size;
    s->max_blocks = own_blocks(&d->limits) + tree_blocks(own, &d->limits);
    const regions r = add_regions(d->model, &d->limits, &s->plan);
    glia_status status = glia_plan_map(&s->plan, "the draft's buffers", err);
    if (!status && !d->rank)
        status = glia_decoder_create(&s->decoder, shape.weights, &shape.limits, d->model->cpu_flags, d->team,
                                     NULL, 0, err);
    if (status)
        close_state(d);
    else
        bind(s, &r, d);
    return status;
}

/* ---- steps of the draft --------------------------------------------------------------- */

static int add_row(state *s, int32_t token, int seq, int position, int slot, int parent) {
    const int row = s->n++;
    assert(row < s->max_rows);
    s->token[row] = token;
    s->seq[row] = seq;
    s->position[row] = position;
    s->slot[row] = slot;
    s->parent[row] = parent;
    s->trees |= slot != position;
    return row;
}

/* The last row's logits are wanted, for this draw with n more tokens of s->path. */
static void want_logits(state *s, const glia_draw *draw, int n) {
    const int i = s->n_logits++;
    s->logit_row[i] = s->n - 1;
    s->draw[i] = *draw;
    s->draw[i].path = s->path + (size_t)i * GLIA_TREE_MAX;
    s->draw[i].n_path = (size_t)n;
}

static glia_status run(state *s, glia_err *err) {
    const glia_draft *d = s->draft;
    const glia_batch b = {.n_rows = s->n,
                          .token = s->token,
                          .seq = s->seq,
                          .position = s->position,
                          .slot = s->slot,
                          .parent = s->trees ? s->parent : NULL,
                          .n_seqs = d->limits.batch,
                          .max_blocks = s->max_blocks,
                          .block_table = s->table,
                          .n_logits = s->n_logits,
                          .logit_row = s->logit_row};
    glia_status status = GLIA_OK;
    if (s->n && !d->rank) glia_decoder_step(s->decoder, &b);
    if (s->n && d->rank) {
        const size_t n = glia_draft_shard_write(d->words(d->user), &b, s->changed, s->n_changed);
        status = d->order(d->user, n, err);
        s->n_changed = 0;
    }
    s->n = 0;
    s->trees = false;
    return status;
}

/* The logits of row i, of the target's tokens. */
static const float *logits_of(state *s, int i, int thread) {
    const float *logits =
        s->decoder ? glia_decoder_logits(s->decoder, i) : glia_draft_shard_logits(s->draft->rank, i);
    const int64_t vocab = s->draft->model->target->vocab, own = s->model->config.vocab;
    if (!s->whole) return logits;
    float *whole = s->whole + (size_t)thread * (size_t)vocab;
    for (int64_t t = 0; t < vocab; t++) whole[t] = t < own ? logits[t] : -INFINITY;
    return whole;
}

/* The likeliest tokens after row i of logits. */
static void pick(state *s, size_t i, int thread) {
    const size_t picks = (size_t)s->model->picks;
    const bool scored = s->draft->scored || s->model->shape.kind == GLIA_TREE_DYNAMIC;
    int32_t *best = s->best + i * picks;
    float *score = s->score + i * picks;
    glia_sampler *sampler = &s->draft->sampler[thread];
    const float *logits = logits_of(s, (int)i, thread);
    float lead = NAN;
    if (s->model->chain && !scored) {
        best[0] = glia_sample_lead(sampler, logits, &s->draw[i], &lead);
        s->n_picks[i] = best[0] >= 0;
    } else {
        s->n_picks[i] =
            glia_sample_best(sampler, logits, &s->draw[i], (int)picks, best, scored ? score : NULL);
    }
    for (int k = 0; k < s->n_picks[i]; k++)
        s->pick[i * picks + (size_t)k] = (glia_pick){best[k], scored ? score[k] : 0, lead};
    s->ask[i] = s->pick + i * picks;
}

static void pick_share(void *arg, int thread) {
    state *s = arg;
    size_t from, to;
    glia_share((size_t)s->n_logits, thread, glia_team_size(s->draft->team), &from, &to);
    for (size_t i = from; i < to; i++) pick(s, i, thread);
}

/* Take the likeliest tokens after the rows of logits, and let the trees of seq [n] choose their next rows. */
static glia_status grow_level(state *s, const glia_draft_seq *seq, int n, glia_err *err) {
    if (s->n_logits == 1)
        pick(s, 0, 0);
    else if (s->n_logits)
        glia_team_run(s->draft->team, pick_share, s);
    int row = 0;
    for (int i = 0; i < n; i++) {
        const int rows = s->grow[i].n_rows;
        for (int k = row; k < row + rows; k++)
            if (s->n_picks[k] == 0)
                return glia_fail(err, GLIA_ERR_FORMAT,
                                 "%s: the draft's logits after position %d are not all numbers",
                                 s->draft->model->config.dir, seq[i].n_tokens - 1);
        if (rows) glia_grow_next(&s->grow[i], s->ask + row, s->n_picks + row);
        row += rows;
    }
    s->n_logits = 0;
    return GLIA_OK;
}

/* ---- catching up ------------------------------------------------------------------------ */

/* How many tokens of the sequence the draft's cache holds, less than n_tokens. */
static int known_of(state *s, const glia_draft_seq *q) {
    seen *c = &s->seen[q->slot];
    const int marked = glia_marks_leading(&s->marks, q->table, q->n_tokens - 1);
    int same = 0;
    if (c->id != q->id) {
        *c = (seen){.id = q->id, .tokens = c->tokens};
        return marked;
    }
    while (same < c->n && same < q->n_tokens - 1 && c->tokens[same] == q->tokens[same]) same++;
    const int need = c->marked < q->n_tokens - 1 ? c->marked : q->n_tokens - 1;
    return marked >= need && same > marked ? same : marked;
}

/* Run the tokens of seq [n] that the draft has not seen, in as many steps as they need. The last token of
 * each sequence is in the last step, and its logits are wanted. */
static glia_status catch_up(state *s, const glia_draft_seq *seq, int n, glia_err *err) {
    glia_status status = GLIA_OK;
    s->n_changed = 0;
    for (int i = 0; i < n; i++) {
        const glia_draft_seq *q = &seq[i];
        const int blocks = own_blocks(&s->draft->limits),
                  covered = (q->n_tokens - 1 + q->depth) / s->marks.block_size + 1;
        int32_t *table = s->table + (size_t)q->slot * (size_t)s->max_blocks;
        const glia_draft_table changed = {q->slot, covered < blocks ? covered : blocks, table};
        memcpy(table, q->table, (size_t)changed.n * sizeof *q->table);
        s->changed[s->n_changed++] = changed;
    }
    for (int i = 0; i < n && !status; i++) {
        const glia_draft_seq *q = &seq[i];
        seen *c = &s->seen[q->slot];
        for (int p = known_of(s, q); p < q->n_tokens - 1 && !status; p++) {
            if (s->n == s->max_rows - n) status = run(s, err); /* rows are left for the last tokens */
            add_row(s, q->tokens[p], q->slot, p, p, -1);
        }
        memcpy(c->tokens, q->tokens, (size_t)q->n_tokens * sizeof *c->tokens);
        c->n = c->marked = q->n_tokens;
    }
    return status;
}

static void add_roots(state *s, const glia_draft_seq *seq, int n) {
    for (int i = 0; i < n; i++) {
        const glia_draft_seq *q = &seq[i];
        glia_grow_begin(&s->grow[i], q->depth, q->nodes);
        s->grow[i].stop = q->stop;
        add_row(s, q->tokens[q->n_tokens - 1], q->slot, q->n_tokens - 1, q->n_tokens - 1, -1);
        if (s->grow[i].n_rows) want_logits(s, &q->draw, 0);
    }
}

/* ---- levels ------------------------------------------------------------------------------- */

/* A chain's next row has its slot in the sequence. */
static void add_link(state *s, const glia_draft_seq *q, const glia_grow *g) {
    seen *c = &s->seen[q->slot];
    const glia_candidate_node *node = &g->node[g->row[0]];
    const int at = q->n_tokens - 1 + node->depth;
    add_row(s, node->token, q->slot, at, at, -1);
    c->tokens[at] = node->token;
    c->n = at + 1;
}

/* Run candidate `i` and those before it on its path, each once. */
static int add_path(state *s, const glia_draft_seq *q, glia_grow *g, int i, int first) {
    glia_candidate_node *node = &g->node[i];
    if (node->row >= first) return node->row;
    const int parent = node->parent < 0 ? -1 : add_path(s, q, g, node->parent, first);
    node->row =
        add_row(s, node->token, q->slot, q->n_tokens - 1 + node->depth, s->tree_slot + s->n - first, parent);
    return node->row;
}

static void add_level(state *s, const glia_draft_seq *q, glia_grow *g) {
    const int first = s->n;
    for (int i = 0; i < g->n && !s->model->chain; i++) g->node[i].row = -1;
    for (int k = 0; k < g->n_rows; k++) {
        if (s->model->chain)
            add_link(s, q, g);
        else
            add_path(s, q, g, g->row[k], first);
        const int i = s->n_logits;
        const int n = glia_grow_path(g, g->row[k], s->path + (size_t)i * GLIA_TREE_MAX);
        want_logits(s, &q->draw, n);
        if (!s->model->chain) s->logit_row[i] = g->node[g->row[k]].row;
    }
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    state *s = d->own;
    s->n = s->n_logits = 0;
    glia_status status = catch_up(s, seq, n, err);
    if (!status) add_roots(s, seq, n);
    while (s->n && !status) {
        status = run(s, err);
        if (!status) status = grow_level(s, seq, n, err);
        for (int i = 0; i < n && !status; i++) add_level(s, &seq[i], &s->grow[i]);
    }
    for (int i = 0; i < n && !status; i++) {
        glia_marks_set(&s->marks, seq[i].table, seq[i].n_tokens);
        glia_grow_finish(&s->grow[i], seq[i].tree);
    }
    return status;
}

/* ---- ranks that share the draft ------------------------------------------------------------- */

static size_t area(const glia_draft_model *m, const glia_draft_limits *l) {
    const glia_draft_shape shape = shape_of(m, l, 0);
    return glia_decoder_area_bytes(shape.config, &shape.parallel, &shape.limits);
}

static size_t words(const glia_draft_model *m, const glia_draft_limits *l) {
    const glia_draft_shape shape = shape_of(m, l, 0);
    return glia_draft_shard_words(&shape);
}

static void plan_rank(const glia_draft_model *m, const glia_draft_limits *l, int local, glia_plan *plan) {
    const glia_draft_shape shape = shape_of(m, l, local);
    glia_draft_shard_plan(&shape, m->threads, plan);
}

static glia_status open_rank(glia_draft_rank *r, glia_err *err) {
    const glia_draft_shape shape = shape_of(r->model, &r->limits, r->local);
    return glia_draft_shard_open(r, &shape, err);
}

static const glia_draft_sharing sharing = {
    area, words, plan_rank, open_rank, glia_draft_shard_close, glia_draft_shard_obey};

const glia_draft_method glia_draft_draft_model = {
    .name = "draft_model",
    .has_model = true,
    .leads = true,
    .read = read_model,
    .plan_weights = plan_weights,
    .load = load,
    .unload = unload,
    .plan = plan_state,
    .open = open_state,
    .close = close_state,
    .propose = propose,
    .sharing = &sharing,
};
