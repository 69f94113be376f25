/* heads.c - see heads.h. */
#include "draft/heads.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the immutable half ------------------------------------------------------------ */

static bool is_block(const glia_head *h) {
    return h->config.kind == GLIA_HEAD_DFLASH || h->config.kind == GLIA_HEAD_DSPARK;
}

static void make_chain(glia_tree_shape *s, int tokens) {
    *s = (glia_tree_shape){.kind = GLIA_TREE_STATIC, .n = tokens + 1};
    for (int i = 0; i <= tokens; i++) s->parent[i] = (int16_t)(i - 1);
}

/* The depth of proposals that was asked for, or what suits the head. */
static glia_status choose_depth(glia_draft_model *m, glia_head_model *own, glia_err *err) {
    enum { EAGLE_DEPTH = 4 };
    const glia_head_config *c = &own->head->config;
    const int fixed = c->kind == GLIA_HEAD_EAGLE || c->kind == GLIA_HEAD_EAGLE3 ? 0 : c->tokens;
    const bool tree = m->config.tree.kind != GLIA_TREE_CHAIN;
    own->shape = m->config.tree;
    int depth = tree ? glia_grow_depth(&own->shape) : m->config.tokens ? m->config.tokens : c->tokens;
    if (!tree && !depth) depth = EAGLE_DEPTH;
    if (tree && c->kind == GLIA_HEAD_MEDUSA && depth > fixed) depth = fixed; /* deeper nodes are left out */
    if (fixed && depth > fixed)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "num_speculative_tokens is %d, and the %s draft in %s proposes %d at most", depth,
                         glia_head_kind_name(c->kind), m->config.dir, fixed);
    if (tree && is_block(own->head))
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "a %s draft proposes a chain of tokens; expected no tree",
                         glia_head_kind_name(c->kind));
    m->config.tokens = depth;
    if (!tree) make_chain(&own->shape, depth);
    return GLIA_OK;
}

glia_status glia_heads_read(glia_draft_model *m, glia_head_kind kind, glia_err *err) {
    const glia_dtype own_dtype = m->config.dtype ? m->config.dtype : m->target_dtype;
    const glia_dtype dtype = m->config.quantization ? GLIA_DTYPE_I8 : own_dtype;
    glia_head_model *own = calloc(1, sizeof *own);
    m->own = own;
    if (!own) return glia_fail_nomem(err, sizeof *own, "a draft");
    if (m->config.quantization > GLIA_QUANTIZATION_W8A8)
        return glia_fail(
            err, GLIA_ERR_UNSUPPORTED,
            "speculative_config: a head is quantised to int8, expected quantization int8 or w8a8");
    glia_status status = glia_head_open(&own->head, kind, m->config.dir, m->target, dtype, err);
    if (!status) status = choose_depth(m, own, err);
    if (status) return status;
    own->picks = glia_grow_picks(&own->shape);
    const int wide = glia_grow_wide(&own->shape), block = own->head->config.block_size;
    own->size = kind == GLIA_HEAD_MEDUSA ? (glia_net_size){.wide = own->head->config.heads}
                : is_block(own->head)    ? (glia_net_size){.wide = block, .own = block}
                                         : (glia_net_size){.wide = wide, .own = wide * m->config.tokens};
    return GLIA_OK;
}

bool glia_heads_share(const glia_draft_model *m) {
    if (!m || m->config.method->load != glia_heads_load) return false;
    const glia_head *h = glia_heads_of(m);
    return h->config.kind != GLIA_HEAD_MEDUSA && !(h->own_embedding && h->own_lm_head);
}

void glia_heads_plan_weights(const glia_draft_model *m, glia_plan *plan) {
    glia_head_plan(glia_heads_of(m), plan);
}

glia_status glia_heads_load(glia_draft_model *m, const glia_weights *target, glia_team *team, glia_err *err) {
    glia_head_model *own = m->own;
    return glia_head_load(own->head, target, m->target_dir, team, m->cpu_flags, err);
}

void glia_heads_unload(glia_draft_model *m) {
    glia_head_model *own = m->own;
    if (own) glia_head_free(own->head);
    free(own);
    m->own = NULL;
}

glia_draft_needs glia_heads_needs(const glia_draft_model *m) {
    const glia_head_config *c = &glia_heads_of(m)->config;
    glia_draft_needs needs = {.hidden = !c->n_features, .n_residual_layers = c->n_features};
    memcpy(needs.residual_layer, c->feature, sizeof c->feature);
    return needs;
}

/* ---- the mutable half --------------------------------------------------------------- */

typedef struct {
    int root, root_id, root_at, kept, kept_states, grow, grown, row, used, rows, input, whole, pick, n_picks,
        draw, path, best, chance, score, ask;
} regions;

enum { ROW_ARRAYS = 8 };

/* Rows of a call and, behind them, those of all earlier levels. */
static size_t most_rows(const glia_head_model *own, const glia_draft_limits *l) {
    const size_t wide = (size_t)own->size.wide * (size_t)l->batch;
    return (size_t)l->chunk + 64 + wide * (size_t)(glia_grow_depth(&own->shape) + 1);
}

static regions add_regions(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan) {
    const glia_head_model *own = m->own;
    const size_t batch = (size_t)l->batch, most = most_rows(own, l), rows = batch * (size_t)own->size.wide;
    const size_t picks = (size_t)own->picks;
    size_t ld = 0;
    const glia_head_config *c = &own->head->config;
    ld = (size_t)(c->block.hidden > c->target_hidden ? c->block.hidden : c->target_hidden);
    regions r;
    r.root = glia_plan_add(plan, "draft: last states", batch * ld, sizeof(float));
    r.root_id = glia_plan_add(plan, "draft: sequences", batch, sizeof(uint64_t));
    r.root_at = glia_plan_add(plan, "draft: positions", batch, sizeof(int));
    const size_t learns = own->head->config.kind != GLIA_HEAD_MEDUSA;
    r.kept = glia_plan_add(plan, "draft: rows to learn", batch, sizeof(glia_head_kept));
    r.kept_states = glia_plan_add(plan, "draft: states to learn", learns * batch * GLIA_HEAD_KEPT,
                                  glia_heads_kept_floats(c) * sizeof(float));
    r.grow = glia_plan_add(plan, "draft: trees", batch, sizeof(glia_grow));
    r.grown = glia_plan_add(plan, "draft: candidates", batch, glia_grow_bytes(&own->shape));
    r.row = glia_plan_add(plan, "draft: rows of trees", most, sizeof(glia_head_row));
    r.used = glia_plan_add(plan, "draft: rows of sequences", batch, sizeof(int));
    r.rows = glia_plan_add(plan, "draft: rows", ROW_ARRAYS * most, sizeof(int32_t));
    r.input = glia_plan_add(plan, "draft: inputs of rows", most, sizeof(float *));
    r.whole =
        glia_plan_add(plan, "draft: logits of the target's tokens",
                      own->head->map ? (size_t)m->threads * (size_t)m->target->vocab : 0, sizeof(float));
    r.pick = glia_plan_add(plan, "draft: tokens", rows * picks, sizeof(glia_pick));
    r.n_picks = glia_plan_add(plan, "draft: numbers of tokens", rows, sizeof(int));
    r.draw = glia_plan_add(plan, "draft: draws", rows, sizeof(glia_draw));
    r.path = glia_plan_add(plan, "draft: paths", rows * GLIA_TREE_MAX, sizeof(int32_t));
    r.best = glia_plan_add(plan, "draft: best tokens", rows * picks, sizeof(int32_t));
    r.score = glia_plan_add(plan, "draft: scores", rows * picks, sizeof(float));
    r.chance = glia_plan_add(plan, "draft: chances", rows, sizeof(float));
    r.ask = glia_plan_add(plan, "draft: tokens of rows", rows, sizeof(glia_pick *));
    return r;
}

void glia_heads_plan(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan) {
    const glia_head_model *own = m->own;
    add_regions(m, l, plan);
    glia_net_plan(own->head, l, own->size, m->threads, m->target_dtype, plan);
}

static void bind(glia_head_state *s, const regions *r) {
    const glia_plan *p = &s->plan;
    int32_t **const arrays[ROW_ARRAYS] = {&s->token,  &s->seq,  &s->position, &s->slot,
                                          &s->parent, &s->last, &s->wanted,   &s->state};
    s->most = (int)most_rows(s->model, &s->draft->limits);
    s->root = glia_plan_at(p, r->root);
    s->root_id = glia_plan_at(p, r->root_id);
    s->root_at = glia_plan_at(p, r->root_at);
    s->kept = glia_plan_at(p, r->kept);
    s->kept_states = glia_plan_at(p, r->kept_states);
    s->grow = glia_plan_at(p, r->grow);
    s->row = glia_plan_at(p, r->row);
    s->used = glia_plan_at(p, r->used);
    for (int i = 0; i < ROW_ARRAYS; i++)
        *arrays[i] = (int32_t *)glia_plan_at(p, r->rows) + (size_t)i * (size_t)s->most;
    s->input = glia_plan_at(p, r->input);
    s->whole = glia_plan_at(p, r->whole);
    s->pick = glia_plan_at(p, r->pick);
    s->n_picks = glia_plan_at(p, r->n_picks);
    s->draw = glia_plan_at(p, r->draw);
    s->path = glia_plan_at(p, r->path);
    s->best = glia_plan_at(p, r->best);
    s->score = glia_plan_at(p, r->score);
    s->chance = glia_plan_at(p, r->chance);
    s->ask = glia_plan_at(p, r->ask);
    char *grown = glia_plan_at(p, r->grown);
    for (int i = 0; i < s->draft->limits.batch; i++)
        glia_grow_init(&s->grow[i], &s->model->shape, grown + (size_t)i * glia_grow_bytes(&s->model->shape));
}

glia_status glia_heads_open(glia_draft *d, glia_err *err) {
    const glia_draft_model *m = d->model;
    glia_head_state *s = calloc(1, sizeof *s);
    d->own = s;
    if (!s) return glia_fail_nomem(err, sizeof *s, "a draft");
    s->model = m->own;
    s->draft = d;
    const regions r = add_regions(m, &d->limits, &s->plan);
    glia_status status = glia_plan_map(&s->plan, "a draft's tables", err);
    if (!status) {
        bind(s, &r);
        status = glia_net_open(&s->net, s->model->head, &d->limits, s->model->size, m->cpu_flags,
                               m->target_dtype, d->team, d->target, err);
    }
    if (status) glia_heads_close(d);
    return status;
}

void glia_heads_close(glia_draft *d) {
    glia_head_state *s = d->own;
    d->own = NULL;
    if (!s) return;
    glia_net_close(&s->net);
    glia_plan_unmap(&s->plan);
    free(s);
}

/* ---- rows ----------------------------------------------------------------------------- */

void glia_heads_clear(glia_head_state *s) {
    s->n = s->n_past = 0;
    memset(s->used, 0, (size_t)s->draft->limits.batch * sizeof *s->used);
}

int glia_heads_add(glia_head_state *s, glia_head_row row) {
    assert(s->n < s->most);
    s->row[s->n] = row;
    return s->n++ - s->n_past;
}

/* Write row `row` to entry `to` of the arrays. */
static void write_row(const glia_head_state *s, int to, const glia_head_row *row) {
    s->token[to] = row->token;
    s->seq[to] = row->seq;
    s->position[to] = row->position;
    s->slot[to] = row->slot;
    s->parent[to] = row->parent < 0 ? -1 : row->parent + s->n - s->n_past;
}

glia_net_batch glia_heads_batch(glia_head_state *s) {
    const int n = s->n - s->n_past;
    for (int i = 0; i < n; i++) write_row(s, i, &s->row[s->n_past + i]);
    for (int i = 0; i < s->n_past; i++) write_row(s, n + i, &s->row[i]);
    s->n_past = s->n;
    return (glia_net_batch){
        .n = n,
        .token = s->token,
        .input = s->input,
        .rows = {.seq = s->seq, .position = s->position, .slot = s->slot, .parent = s->parent},
    };
}

/* ---- tokens after a row ------------------------------------------------------------------ */

typedef struct {
    glia_head_state *s;
    int first, n, picks;
} pick_job;

/* The logits of row i by tokens of the target. */
static const float *whole_row(const glia_head_state *s, int i, int thread) {
    const glia_head *h = s->model->head;
    const float *logits = glia_net_logits(&s->net, i);
    const int vocab = (int)s->draft->model->target->vocab;
    if (!h->map) return logits;
    float *whole = s->whole + (size_t)thread * (size_t)vocab;
    for (int t = 0; t < vocab; t++) whole[t] = -INFINITY;
    for (int t = 0; t < h->config.draft_vocab; t++) whole[h->map[t]] = logits[t];
    return whole;
}

static void pick_row(glia_head_state *s, size_t i, int picks, int thread) {
    const size_t at = i * (size_t)s->model->picks;
    const bool scored = s->draft->scored || s->model->shape.kind == GLIA_TREE_DYNAMIC;
    glia_sampler *sampler = &s->draft->sampler[thread];
    const float *logits = whole_row(s, (int)i, thread);
    float lead = NAN;
    if (picks == 1 && !scored) {
        s->best[at] = glia_sample_lead(sampler, logits, &s->draw[i], &lead);
        s->n_picks[i] = s->best[at] >= 0;
    } else {
        s->n_picks[i] = glia_sample_best(sampler, logits, &s->draw[i], picks, s->best + at,
                                         scored ? s->score + at : NULL);
    }
    for (size_t k = at; k < at + (size_t)s->n_picks[i]; k++)
        s->pick[k] = (glia_pick){s->best[k], scored ? s->score[k] : 0, lead};
}

static void pick_share(void *arg, int thread) {
    const pick_job *j = arg;
    size_t from, to;
    glia_share((size_t)j->n, thread, glia_team_size(j->s->draft->team), &from, &to);
    for (; from < to; from++) pick_row(j->s, (size_t)j->first + from, j->picks, thread);
}

glia_status glia_heads_pick(glia_head_state *s, int first, int n, int picks, glia_err *err) {
    pick_job job = {s, first, n, picks};
    if (n == 1)
        pick_row(s, (size_t)first, picks, 0);
    else
        glia_team_run(s->draft->team, pick_share, &job);
    for (int i = first; i < first + n; i++)
        if (s->n_picks[i] == 0)
            return glia_fail(err, GLIA_ERR_FORMAT, "the logits of the draft in %s are not all numbers",
                             s->draft->model->config.dir);
    return GLIA_OK;
}

/* ---- trees -------------------------------------------------------------------------------- */

void glia_heads_begin(glia_head_state *s, const glia_draft_seq *seq, int n) {
    glia_heads_clear(s);
    for (int i = 0; i < n; i++) {
        const int slot = seq[i].slot;
        const bool known = s->root_id[slot] == seq[i].id && s->root_at[slot] == seq[i].n_tokens;
        glia_grow_begin(&s->grow[i], known ? seq[i].depth : 0, seq[i].nodes);
        s->grow[i].stop = seq[i].stop;
        if (known) glia_net_table(&s->net, slot, seq[i].table, seq[i].n_tokens - 1);
    }
}

void glia_heads_finish(glia_head_state *s, glia_draft_seq *seq, int n) {
    for (int i = 0; i < n; i++) glia_grow_finish(&s->grow[i], seq[i].tree);
}

void glia_heads_draw(glia_head_state *s, int i, const glia_draft_seq *seq, const glia_grow *g, int c) {
    int32_t *path = s->path + (size_t)i * GLIA_TREE_MAX;
    s->draw[i] = seq->draw;
    s->draw[i].n_path = (size_t)glia_grow_path(g, c, path);
    s->draw[i].path = path;
}
