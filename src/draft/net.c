/* net.c - see net.h. */
#include "draft/net.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer/rope.h"

/* ---- memory ---------------------------------------------------------------------- */

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

static bool is_block(const glia_head *h) {
    return h->config.kind == GLIA_HEAD_DFLASH || h->config.kind == GLIA_HEAD_DSPARK;
}

/* The widest row that a product or a norm reads. */
static size_t widest(const glia_head *h) {
    const glia_head_config *c = &h->config;
    const size_t hidden = (size_t)c->block.hidden, states = (size_t)(c->n_features ? c->n_features : 1);
    const size_t inner = max_of((size_t)c->block.ffn, (size_t)c->block.heads * (size_t)c->block.head_dim);
    return max_of(max_of(2 * hidden, hidden + (size_t)c->target_hidden),
                  max_of(states * (size_t)c->target_hidden, max_of(inner, (size_t)c->markov_rank)));
}

/* Most rows of a call, and most rows whose logits are wanted. */
static size_t rows_of(const glia_draft_limits *l, glia_net_size size) {
    enum { LEAST = 64 }; /* attention needs room for the ancestors of a row */
    return max_of(LEAST, max_of((size_t)l->chunk, (size_t)l->batch * (size_t)size.wide));
}
static size_t wanted_of(const glia_draft_limits *l, glia_net_size size) {
    return (size_t)l->batch * (size_t)size.wide;
}

static int blocks_for(int positions, int block_size) { return (positions + block_size - 1) / block_size; }

/* The net's own blocks of a sequence. Rows of a block of DFlash may begin in the middle of a block. */
static int own_blocks(const glia_draft_limits *l, glia_net_size size) {
    return blocks_for(size.own, l->block_size) + 1;
}

static glia_device_shape device_shape(const glia_head *h, const glia_draft_limits *l, glia_net_size size,
                                      int threads, glia_dtype dtype) {
    const bool attends = h->config.block.layers > 0;
    const size_t k = widest(h);
    return (glia_device_shape){
        .threads = threads,
        .max_rows = (int)rows_of(l, size),
        .sequence_length = l->sequence_length + GLIA_TREE_MAX,
        .head_dim = attends ? (int)h->config.block.head_dim : 32,
        .operand_rows = max_of(rows_of(l, size), wanted_of(l, size)),
        .hidden = k,
        .widest = k,
        .dtype = dtype,
        .kv_dtype = l->kv_dtype,
    };
}

static glia_kv_cache kv_shape(const glia_head *h, const glia_draft_limits *l, glia_net_size size) {
    if (!h->config.block.layers) return (glia_kv_cache){0};
    const glia_local local = glia_local_of(&h->config.block, &glia_alone);
    return glia_kv_cache_shape(&glia_cpu, l->kv_dtype, l->block_size, &local, (int)h->config.block.head_dim,
                               l->n_blocks + l->batch * own_blocks(l, size));
}

typedef struct {
    int x, hidden, features, qkv, attention, ffn, out[2], logits, markov, cos, sin, table, kv, device;
} regions;

static size_t qkv_floats(const glia_head *h) {
    const glia_model_config *b = &h->config.block;
    const size_t q = (size_t)b->heads * (size_t)b->head_dim,
                 kv = 2 * (size_t)b->kv_heads * (size_t)b->head_dim;
    return is_block(h) ? glia_cpu.stride(q) + glia_cpu.stride(kv) : glia_cpu.stride(q + kv);
}

static regions add_regions(const glia_head *h, const glia_draft_limits *l, glia_net_size size, int threads,
                           glia_dtype dtype, glia_plan *plan) {
    const glia_model_config *b = &h->config.block;
    const size_t f = sizeof(float), ld = glia_cpu.stride(widest(h)), rows = rows_of(l, size),
                 wanted = wanted_of(l, size), attends = b->layers > 0;
    const size_t angles = attends * (size_t)(l->sequence_length + GLIA_TREE_MAX) * (size_t)b->head_dim / 2;
    const glia_kv_cache kv = kv_shape(h, l, size);
    const glia_device_shape shape = device_shape(h, l, size, threads, dtype);
    regions r;
    r.x = glia_plan_add(plan, "draft: inputs", rows * ld, f);
    r.hidden = glia_plan_add(plan, "draft: residual stream", rows * ld, f);
    r.features = glia_plan_add(plan, "draft: features", attends * rows * ld, f);
    r.qkv = glia_plan_add(plan, "draft: q, k and v", attends * rows, qkv_floats(h) * f);
    r.attention = glia_plan_add(plan, "draft: attention output",
                                attends * rows * glia_cpu.stride((size_t)b->heads * (size_t)b->head_dim), f);
    r.ffn = glia_plan_add(plan, "draft: feed-forward", attends * rows * glia_cpu.stride((size_t)b->ffn), f);
    for (int i = 0; i < 2; i++) r.out[i] = glia_plan_add(plan, "draft: hidden states", wanted * ld, f);
    r.logits =
        glia_plan_add(plan, "draft: logits", wanted * glia_cpu.stride((size_t)h->config.draft_vocab), f);
    r.markov = glia_plan_add(plan, "draft: tokens before", h->config.markov_rank ? wanted * ld : 0, f);
    r.cos = glia_plan_add(plan, "draft: RoPE cosines", angles, f);
    r.sin = glia_plan_add(plan, "draft: RoPE sines", angles, f);
    r.table = glia_plan_add(plan, "draft: block tables",
                            (size_t)l->batch *
                                (size_t)(blocks_for(l->sequence_length, l->block_size) + own_blocks(l, size)),
                            sizeof(int32_t));
    r.kv = glia_plan_add(plan, "draft: KV cache", (size_t)b->layers, glia_kv_cache_layer_bytes(&kv));
    r.device = glia_cpu.plan(plan, &shape);
    return r;
}

void glia_net_plan(const glia_head *h, const glia_draft_limits *l, glia_net_size size, int threads,
                   glia_dtype dtype, glia_plan *plan) {
    add_regions(h, l, size, threads, dtype, plan);
}

static glia_status fill_rope(glia_net *net, glia_err *err) {
    const glia_model_config *b = &net->head->config.block;
    const size_t pairs = (size_t)b->head_dim / 2;
    const int length = net->limits.sequence_length;
    if (!b->layers) return GLIA_OK;
    float *inv = malloc(pairs * sizeof *inv);
    if (!inv) return glia_fail_nomem(err, pairs * sizeof *inv, "RoPE frequencies");
    const double scaling = glia_rope_frequencies(inv, b, length);
    glia_rope_table(net->cos, net->sin, inv, scaling, pairs, 0, (size_t)length + GLIA_TREE_MAX);
    free(inv);
    return GLIA_OK;
}

static void bind(glia_net *net, const regions *r, glia_net_size size) {
    const glia_head *h = net->head;
    const glia_model_config *b = &h->config.block;
    const glia_plan *p = &net->plan;
    net->max_rows = (int)rows_of(&net->limits, size);
    net->max_wanted = (int)wanted_of(&net->limits, size);
    net->own_first = blocks_for(net->limits.sequence_length, net->limits.block_size);
    net->max_blocks = net->own_first + own_blocks(&net->limits, size);
    net->ld = glia_cpu.stride(widest(h));
    net->ld_q = glia_cpu.stride((size_t)b->heads * (size_t)b->head_dim);
    net->ld_qkv =
        is_block(h) ? glia_cpu.stride(2 * (size_t)b->kv_heads * (size_t)b->head_dim) : qkv_floats(h);
    net->ld_ffn = glia_cpu.stride((size_t)b->ffn);
    net->ld_vocab = glia_cpu.stride((size_t)h->config.draft_vocab);
    net->x = glia_plan_at(p, r->x);
    net->hidden = glia_plan_at(p, r->hidden);
    net->features = glia_plan_at(p, r->features);
    net->qkv = glia_plan_at(p, r->qkv);
    net->attention = glia_plan_at(p, r->attention);
    net->ffn = glia_plan_at(p, r->ffn);
    net->out[0] = glia_plan_at(p, r->out[0]);
    net->out[1] = glia_plan_at(p, r->out[1]);
    net->logits = glia_plan_at(p, r->logits);
    net->markov = glia_plan_at(p, r->markov);
    net->cos = glia_plan_at(p, r->cos);
    net->sin = glia_plan_at(p, r->sin);
    net->table = glia_plan_at(p, r->table);
    net->kv = kv_shape(h, &net->limits, size);
    net->kv.shape.base = glia_plan_at(p, r->kv);
}

glia_status glia_net_open(glia_net *net, const glia_head *h, const glia_draft_limits *l, glia_net_size size,
                          unsigned cpu_flags, glia_dtype dtype, glia_team *team, const glia_decoder *target,
                          glia_err *err) {
    *net = (glia_net){.head = h, .team = team, .limits = *l, .target = target};
    const int threads = glia_team_size(team);
    const glia_device_shape shape = device_shape(h, l, size, threads, dtype);
    const regions r = add_regions(h, l, size, threads, dtype, &net->plan);
    glia_status status = glia_plan_map(&net->plan, "the draft", err);
    if (!status) status = glia_cpu.open(&net->device, team, cpu_flags, &shape, &net->plan, r.device, err);
    if (!status) {
        bind(net, &r, size);
        status = fill_rope(net, err);
    }
    if (status) glia_net_close(net);
    return status;
}

void glia_net_close(glia_net *net) {
    if (net->device) glia_cpu.close(net->device);
    glia_plan_unmap(&net->plan);
    *net = (glia_net){0};
}

void glia_net_table(glia_net *net, int slot, const int32_t *blocks, int positions) {
    int32_t *row = net->table + (size_t)slot * (size_t)net->max_blocks;
    const int theirs = blocks_for(positions, net->limits.block_size), own = net->max_blocks - net->own_first;
    for (int i = 0; i < net->max_blocks; i++) {
        const int spare = i < net->own_first ? (i - theirs) % own : i - net->own_first;
        row[i] = i < theirs ? blocks[i] : net->limits.n_blocks + slot * own + spare;
    }
}

/* ---- pieces of the forward pass, for every thread of the team -------------------------- */

static glia_activation rows_at(const glia_net *net, float *at, int n) {
    return (glia_activation){.at = at, .m = (size_t)n, .stride = net->ld, .form = GLIA_PLAIN};
}

static float epsilon(const glia_net *net) { return (float)net->head->config.block.rms_norm_eps; }

/* y = the product of the rows x [n], normed if `norm` is given, and w. */
static void product(const glia_net *net, int thread, float *x, int n, const float *norm, const glia_matrix *w,
                    glia_activation y, const float *bias) {
    const glia_linear_in in = {.x = rows_at(net, x, n), .m = n, .norm = norm, .eps = epsilon(net)};
    const glia_linear_out out = {.epilogue = GLIA_STORE, .y = y, .bias = bias};
    glia_device_linear(net->device, thread, &in, w, &out);
}

static void norm(const glia_net *net, int thread, float *y, float *x, int n, size_t width,
                 const float *weight) {
    glia_device_norm(net->device, thread, y, x, net->ld, n, width, weight, epsilon(net));
}

static void wait(const glia_net *net) { glia_device_barrier(net->device); }

/* Copy `width` floats of each row's input to column `at` of the rows of `to`. */
static void copy_inputs(const glia_net *net, int thread, float *to, size_t at, size_t width) {
    size_t first, end;
    glia_share((size_t)net->batch.n, thread, net->device->threads, &first, &end);
    for (; first < end; first++)
        memcpy(to + first * net->ld + at, net->batch.input[first], width * sizeof *to);
}

/* State i of row `row`, of those that the head reads. */
static const float *state_of(const glia_net *net, size_t row, int i) {
    const glia_head_config *c = &net->head->config;
    const float *kept = net->batch.kept[row];
    if (kept) return kept + (size_t)i * (size_t)c->target_hidden;
    const int32_t at = net->batch.state[row];
    return c->n_features ? glia_decoder_residual(net->target, i, at) : glia_decoder_hidden(net->target, at);
}

/* Copy the target's states of each row side by side to column `at` of the rows of `to`. */
static void copy_states(const glia_net *net, int thread, float *to, size_t at) {
    const glia_head_config *c = &net->head->config;
    const size_t width = (size_t)c->target_hidden;
    const int states = c->n_features ? c->n_features : 1;
    size_t first, end;
    glia_share((size_t)net->batch.n, thread, net->device->threads, &first, &end);
    for (; first < end; first++)
        for (int i = 0; i < states; i++)
            memcpy(to + first * net->ld + at + (size_t)i * width, state_of(net, first, i),
                   width * sizeof *to);
}

static void copy_columns(const glia_net *net, int thread, float *to, const float *from, size_t width) {
    size_t first, end;
    glia_share((size_t)net->batch.n, thread, net->device->threads, &first, &end);
    for (; first < end; first++) memcpy(to + first * net->ld, from + first * net->ld, width * sizeof *to);
}

static glia_heads heads_of(const glia_net *net, int layer) {
    const glia_model_config *b = &net->head->config.block;
    const glia_head_layer *w = &net->head->layer[layer];
    return (glia_heads){
        .heads = b->heads,
        .kv_heads = b->kv_heads,
        .head_dim = (int)b->head_dim,
        .q_norm = w->q_norm,
        .k_norm = w->k_norm,
        .eps = (float)b->rms_norm_eps,
        .cos = b->rope[layer] ? net->cos : NULL,
        .sin = b->rope[layer] ? net->sin : NULL,
        .window = b->window[layer],
        .scale = (float)(1.0 / sqrt((double)b->head_dim)),
    };
}

/* Attend with `rows`, and store keys and values of `stored`. kv: where k and v of the latter are. */
static void attend(const glia_net *net, int thread, int layer, const glia_qkv *x, const glia_rows *rows,
                   const glia_rows *stored) {
    const glia_heads heads = heads_of(net, layer);
    const glia_kv_layer kv = glia_kv_cache_layer(&net->kv, layer);
    const glia_activation o = {
        .at = net->attention, .m = (size_t)rows->n, .stride = net->ld_q, .form = GLIA_INPUT};
    const glia_attended out = {.o = o, .block_heads = heads.heads};
    glia_device_attention(net->device, thread, &out, x, rows, stored, &heads, &kv);
}

/* hidden += attention's output times o; then the feed-forward part of the layer. */
static void finish_layer(const glia_net *net, int thread, const glia_head_layer *w) {
    const int n = net->batch.n;
    const glia_activation hidden = rows_at(net, net->hidden, n),
                          o = {.at = net->attention, .m = (size_t)n, .stride = net->ld_q, .form = GLIA_INPUT},
                          ffn = {.at = net->ffn, .m = (size_t)n, .stride = net->ld_ffn, .form = GLIA_INPUT};
    const glia_linear_in from_o = {.x = o, .m = n}, from_ffn = {.x = ffn, .m = n},
                         from_hidden = {.x = hidden, .m = n, .norm = w->post_norm, .eps = epsilon(net)};
    const glia_linear_out add_o = {.epilogue = GLIA_ADD, .y = hidden, .bias = w->o_bias},
                          add = {.epilogue = GLIA_ADD, .y = hidden},
                          swiglu = {.epilogue = GLIA_SWIGLU, .y = ffn};
    wait(net); /* attention */
    glia_device_linear(net->device, thread, &from_o, &w->o, &add_o);
    wait(net); /* hidden */
    glia_device_linear(net->device, thread, &from_hidden, &w->gate_up, &swiglu);
    wait(net); /* ffn */
    glia_device_linear(net->device, thread, &from_ffn, &w->down, &add);
    wait(net); /* hidden */
}

/* logits = the product of rows x [n] and the head. */
static void head_logits(const glia_net *net, int thread, float *x, int n, const float *weight,
                        const glia_matrix *w, int first) {
    const glia_activation y = {.at = net->logits + (size_t)first * net->ld_vocab,
                               .m = (size_t)n,
                               .stride = net->ld_vocab,
                               .form = GLIA_PLAIN};
    if (n) product(net, thread, x, n, weight, w, y, NULL);
}

/* Gather the wanted rows of the residual stream in out[], and compute their logits. */
static void finish_rows(const glia_net *net, int thread) {
    const glia_head *h = net->head;
    const int n = net->batch.n_wanted;
    const size_t hidden = (size_t)h->config.block.hidden;
    float *out = net->out[net->turn];
    const bool normed = h->config.norm_output || is_block(h);
    glia_device_select(net->device, thread, out, net->hidden, net->ld, net->batch.wanted, n, 0,
                       (size_t)net->batch.n);
    wait(net); /* out */
    if (normed) {
        norm(net, thread, out, out, n, hidden, h->norm);
        wait(net); /* out */
    }
    if (net->batch.logits) head_logits(net, thread, out, n, normed ? NULL : h->norm, &h->lm_head, 0);
}

/* The batch's inputs are hidden states, normed if the next row reads them so. */
static void forward_head(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    float *out = net->out[net->turn];
    copy_inputs(net, thread, out, 0, (size_t)h->config.block.hidden);
    wait(net); /* out */
    head_logits(net, thread, out, net->batch.n, h->config.norm_output ? NULL : h->norm, &h->lm_head, 0);
}

/* ---- EAGLE ------------------------------------------------------------------------ */

/* hidden = fc of the target's features. */
static void fuse_features(const glia_net *net, int thread) {
    const glia_head *h = net->head;
    const size_t each = (size_t)h->config.target_hidden;
    const int n = net->batch.n;
    copy_states(net, thread, net->features, 0);
    wait(net); /* features */
    for (int i = 0; i < h->config.n_features && h->fc_norm[0]; i++) {
        float *part = net->features + (size_t)i * each;
        norm(net, thread, part, part, n, each, h->fc_norm[i]);
    }
    if (h->fc_norm[0]) wait(net); /* features */
    product(net, thread, net->features, n, h->input_norm, &h->fc, rows_at(net, net->hidden, n), h->fc_bias);
    wait(net); /* hidden */
}

/* The input of EAGLE-3's first layer: the normed embedding and the normed hidden state side by side. */
static void join3(const glia_net *net, int thread) {
    const glia_head *h = net->head;
    const size_t hidden = (size_t)h->config.block.hidden;
    const int n = net->batch.n;
    glia_device_embed(net->device, thread, net->x, net->ld, &h->embed, 0, net->batch.token, n);
    if (net->batch.state && h->config.n_features)
        fuse_features(net, thread);
    else if (net->batch.state)
        copy_states(net, thread, net->hidden, 0);
    else
        copy_inputs(net, thread, net->hidden, 0, hidden);
    wait(net); /* x, hidden */
    norm(net, thread, net->x, net->x, n, hidden, h->layer[0].in_norm);
    norm(net, thread, net->x + hidden, net->hidden, n, hidden, h->layer[0].hidden_norm);
    wait(net); /* x */
    if (h->config.norm_before_residual) copy_columns(net, thread, net->hidden, net->x + hidden, hidden);
}

/* EAGLE-1: hidden = x = fc of the embedding and the hidden state side by side. */
static void join1(const glia_net *net, int thread) {
    const glia_head *h = net->head;
    const size_t hidden = (size_t)h->config.block.hidden;
    const int n = net->batch.n;
    glia_device_embed(net->device, thread, net->x, net->ld, &h->embed, 0, net->batch.token, n);
    wait(net); /* x: the embedding may write behind its width */
    if (net->batch.state)
        copy_states(net, thread, net->x, hidden);
    else
        copy_inputs(net, thread, net->x, hidden, hidden);
    wait(net); /* x */
    product(net, thread, net->x, n, NULL, &h->fc, rows_at(net, net->hidden, n), h->fc_bias);
    wait(net); /* hidden */
}

static void forward_eagle(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    const glia_model_config *b = &h->config.block;
    const bool three = h->config.kind == GLIA_HEAD_EAGLE3;
    const int n = net->batch.n;
    const size_t q = (size_t)b->heads * (size_t)b->head_dim, kv = (size_t)b->kv_heads * (size_t)b->head_dim;
    const glia_activation qkv = {.at = net->qkv, .m = (size_t)n, .stride = net->ld_qkv, .form = GLIA_HEADS};
    const glia_qkv x = {.q = qkv, .kv = qkv, .k = q, .v = q + kv, .block_heads = b->heads};
    if (three)
        join3(net, thread);
    else
        join1(net, thread);
    for (int i = 0; i < b->layers; i++) {
        const glia_head_layer *w = &h->layer[i];
        product(net, thread, three && i == 0 ? net->x : net->hidden, n, i == 0 ? NULL : w->in_norm, &w->qkv,
                qkv, w->qkv_bias);
        wait(net); /* qkv */
        attend(net, thread, i, &x, &net->batch.rows, &net->batch.rows);
        finish_layer(net, thread, w);
    }
    finish_rows(net, thread);
}

/* ---- DFlash ----------------------------------------------------------------------- */

static glia_qkv block_qkv(const glia_net *net) {
    const glia_model_config *b = &net->head->config.block;
    const size_t n = (size_t)net->batch.n;
    const glia_activation kv = {.at = net->qkv, .m = n, .stride = net->ld_qkv, .form = GLIA_HEADS},
                          q = {.at = net->qkv + (size_t)net->max_rows * net->ld_qkv,
                               .m = n,
                               .stride = net->ld_q,
                               .form = GLIA_HEADS};
    return (glia_qkv){
        .q = q, .kv = kv, .v = (size_t)b->kv_heads * (size_t)b->head_dim, .block_heads = b->heads};
}

static void forward_context(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    const int n = net->batch.n;
    const glia_qkv x = block_qkv(net);
    glia_rows none = net->batch.rows;
    none.n = 0;
    fuse_features(net, thread);
    norm(net, thread, net->x, net->hidden, n, (size_t)h->config.block.hidden, h->hidden_norm);
    wait(net); /* x */
    for (int i = 0; i < h->config.block.layers; i++) {
        product(net, thread, net->x, n, NULL, &h->layer[i].kv, x.kv, h->layer[i].kv_bias);
        wait(net); /* kv */
        attend(net, thread, i, &x, &none, &net->batch.rows);
    }
}

static void forward_block(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    const int n = net->batch.n;
    const glia_qkv x = block_qkv(net);
    glia_rows rows = net->batch.rows;
    glia_device_embed(net->device, thread, net->hidden, net->ld, &h->embed, 0, net->batch.token, n);
    wait(net); /* hidden */
    for (int i = 0; i < h->config.block.layers; i++) {
        const glia_head_layer *w = &h->layer[i];
        rows.last = h->config.causal[i] ? NULL : net->batch.rows.last;
        product(net, thread, net->hidden, n, w->in_norm, &w->q, x.q, w->q_bias);
        wait(net); /* the normed rows, about to be written again */
        product(net, thread, net->hidden, n, w->in_norm, &w->kv, x.kv, w->kv_bias);
        wait(net); /* q, kv */
        attend(net, thread, i, &x, &rows, &rows);
        finish_layer(net, thread, w);
    }
    finish_rows(net, thread);
}

static void forward_markov(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    const int n = net->batch.n;
    glia_device_embed(net->device, thread, net->markov, net->ld, &h->markov_w1, 0, net->batch.token, n);
    wait(net); /* markov */
    for (int i = 0; i < n; i++) {
        float *row = net->logits + (size_t)net->batch.wanted[i] * net->ld_vocab;
        const glia_linear_in in = {.x = rows_at(net, net->markov + (size_t)i * net->ld, 1), .m = 1};
        const glia_activation y = {.at = row, .m = 1, .stride = net->ld_vocab, .form = GLIA_PLAIN};
        const glia_linear_out out = {.epilogue = GLIA_ADD, .y = y};
        glia_device_linear(net->device, thread, &in, &h->markov_w2, &out);
    }
}

/* ---- Medusa ----------------------------------------------------------------------- */

/* x += silu(y), rows of hidden floats. */
static void add_silu(const glia_net *net, int thread, float *x, const float *y) {
    size_t first, end;
    glia_share((size_t)net->batch.n, thread, net->device->threads, &first, &end);
    for (; first < end; first++)
        for (size_t i = first * net->ld; i < first * net->ld + (size_t)net->head->config.block.hidden; i++)
            x[i] += y[i] / (1 + expf(-y[i]));
}

static void forward_medusa(void *arg, int thread) {
    const glia_net *net = arg;
    const glia_head *h = net->head;
    const int n = net->batch.n;
    for (int i = 0; i < h->config.heads; i++) {
        const glia_medusa_head *w = &h->medusa[i];
        copy_inputs(net, thread, net->x, 0, (size_t)h->config.block.hidden);
        for (int k = 0; k < h->config.head_layers; k++) {
            wait(net); /* x */
            product(net, thread, net->x, n, NULL, &w->linear[k], rows_at(net, net->hidden, n), w->bias[k]);
            wait(net); /* hidden */
            add_silu(net, thread, net->x, net->hidden);
        }
        wait(net); /* x */
        head_logits(net, thread, net->x, n, NULL, &w->lm_head, i * n);
        wait(net); /* x, about to be written again */
    }
}

/* ---- calls ------------------------------------------------------------------------ */

static void begin(glia_net *net, const glia_net_batch *b) {
    assert(b->n > 0 && b->n <= net->max_rows && b->n_wanted <= net->max_wanted);
    net->batch = *b;
    net->batch.rows.n = b->n;
    net->batch.rows.block_table = net->table;
    net->batch.rows.max_blocks = net->max_blocks;
    net->turn ^= 1;
}

void glia_net_eagle(glia_net *net, const glia_net_batch *b) {
    begin(net, b);
    glia_team_run(net->team, forward_eagle, net);
}

void glia_net_head(glia_net *net, const float *const *hidden, int n) {
    begin(net, &(glia_net_batch){.n = n, .input = hidden});
    glia_team_run(net->team, forward_head, net);
}

void glia_net_context(glia_net *net, const glia_net_batch *b) {
    begin(net, b);
    glia_team_run(net->team, forward_context, net);
}

void glia_net_block(glia_net *net, const glia_net_batch *b) {
    begin(net, b);
    glia_team_run(net->team, forward_block, net);
}

void glia_net_markov(glia_net *net, const int32_t *logit, const int32_t *before, int n) {
    net->batch = (glia_net_batch){.n = n, .token = before, .wanted = logit};
    glia_team_run(net->team, forward_markov, net);
}

void glia_net_medusa(glia_net *net, const glia_net_batch *b) {
    begin(net, b);
    glia_team_run(net->team, forward_medusa, net);
}
