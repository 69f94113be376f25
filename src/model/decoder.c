/* decoder.c - the one forward pass: every architecture, every mixture of rows.
 *
 * All threads of the team run forward() (SPMD). The comment behind a barrier
 * names the value that crosses threads there; a layer has five, and linear
 * layers and attention have more of their own where rows are many. */
#include "model/decoder.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "layer/kv_cache.h"
#include "layer/rope.h"
#include "model/weights.h"

/* Regions of the plan, in order. */
enum {
    REGION_HIDDEN,
    REGION_OPERAND,
    REGION_QKV,
    REGION_ATTENTION,
    REGION_FFN,
    REGION_LOGITS,
    REGION_COS,
    REGION_SIN,
    REGION_SCRATCH,
    REGION_ROWS_I8,
    REGION_ROWS_SCALE,
    REGION_KV,
};

struct glia_decoder {
    const glia_weights *w;
    glia_decoder_limits limits;
    glia_device device;
    glia_plan plan;
    glia_kv_cache kv;
    size_t ld_hidden, ld_qkv, ld_q, ld_ffn, ld_vocab;
    float *hidden; /* [rows, hidden] the residual stream */
    float *qkv, *attention, *ffn, *logits;
    float *cos, *sin;
    const glia_batch *batch;
};

/* Row stride in floats: whole panels, and an odd number of cache lines, so that
 * the same column of many rows does not fall into one set of a cache. */
static size_t ld(size_t n) { return (glia_panels(n) | 1) * GLIA_PANEL; }

static glia_kv_cache kv_shape(const glia_model_config *c, const glia_decoder_limits *l) {
    return glia_kv_cache_shape(l->kv_dtype, l->block_size, c->kv_heads, (int)c->head_dim, l->n_blocks);
}

/* Bytes of the longest row as int8, in whole lines, an odd number of them as in ld(). */
static size_t ld_i8(const glia_model_config *c) {
    const int64_t widths[] = {c->hidden, c->ffn, glia_dim_of(c, D_Q)};
    int64_t most = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > most) most = widths[i];
    return (((size_t)most + 63) / 64 | 1) * 64;
}

static size_t qkv_columns(const glia_model_config *c) {
    return (size_t)((c->heads + 2 * c->kv_heads) * c->head_dim);
}

void glia_decoder_plan(const glia_model_config *c, const glia_parallel *p, const glia_decoder_limits *l,
                       int threads, glia_plan *plan) {
    (void)p;
    const size_t rows = (size_t)l->max_rows, f = sizeof(float);
    const size_t operands = glia_device_operand_rows(l->max_rows, threads);
    const size_t angles = (size_t)l->sequence_length * (size_t)c->head_dim / 2;
    const glia_kv_cache kv = kv_shape(c, l);
    glia_plan_add(plan, "residual stream", rows * ld((size_t)c->hidden), f);
    glia_plan_add(plan, "normed input", operands * ld((size_t)c->hidden), f);
    glia_plan_add(plan, "q, k and v", rows * ld(qkv_columns(c)), f);
    glia_plan_add(plan, "attention output", rows * ld((size_t)glia_dim_of(c, D_Q)), f);
    glia_plan_add(plan, "feed-forward", rows * ld((size_t)c->ffn), f);
    glia_plan_add(plan, "logits", (size_t)l->max_logits * ld((size_t)c->vocab), f);
    glia_plan_add(plan, "RoPE cosines", angles, f);
    glia_plan_add(plan, "RoPE sines", angles, f);
    glia_plan_add(plan, "scratch of threads", (size_t)threads,
                  glia_device_scratch_bytes(l->max_rows, l->sequence_length, (int)c->head_dim, l->kv_dtype));
    glia_plan_add(plan, "int8 rows", l->quantize_rows ? operands : 0, ld_i8(c));
    glia_plan_add(plan, "int8 rows' scales", l->quantize_rows ? operands : 0, f);
    glia_plan_add(plan, "KV cache", (size_t)c->layers, glia_kv_cache_layer_bytes(&kv));
}

static void bind(glia_decoder *d) {
    const glia_model_config *c = d->w->config;
    d->ld_hidden = ld((size_t)c->hidden);
    d->ld_qkv = ld(qkv_columns(c));
    d->ld_q = ld((size_t)glia_dim_of(c, D_Q));
    d->ld_ffn = ld((size_t)c->ffn);
    d->ld_vocab = ld((size_t)c->vocab);
    d->hidden = glia_plan_at(&d->plan, REGION_HIDDEN);
    d->qkv = glia_plan_at(&d->plan, REGION_QKV);
    d->attention = glia_plan_at(&d->plan, REGION_ATTENTION);
    d->ffn = glia_plan_at(&d->plan, REGION_FFN);
    d->logits = glia_plan_at(&d->plan, REGION_LOGITS);
    d->cos = glia_plan_at(&d->plan, REGION_COS);
    d->sin = glia_plan_at(&d->plan, REGION_SIN);
    d->device.scratch = glia_plan_at(&d->plan, REGION_SCRATCH);
    d->device.rows_i8 = glia_plan_at(&d->plan, REGION_ROWS_I8);
    d->device.rows_scale = glia_plan_at(&d->plan, REGION_ROWS_SCALE);
    d->device.ld_i8 = ld_i8(c);
    d->device.operand = glia_plan_at(&d->plan, REGION_OPERAND);
    d->device.ld_operand = d->ld_hidden;
    d->kv.shape.base = glia_plan_at(&d->plan, REGION_KV);
}

typedef struct {
    glia_decoder *d;
    float *inv_freq;
    double scaling;
} rope_job;

static void fill_rope(void *arg, int thread) {
    const rope_job *j = arg;
    size_t from, to;
    glia_share((size_t)j->d->limits.sequence_length, thread, j->d->device.threads, &from, &to);
    glia_rope_table(j->d->cos, j->d->sin, j->inv_freq, j->scaling, (size_t)j->d->w->config->head_dim / 2,
                    from, to);
}

static glia_status prepare_rope(glia_decoder *d, glia_err *err) {
    const size_t pairs = (size_t)d->w->config->head_dim / 2;
    rope_job job = {.d = d, .inv_freq = malloc(pairs * sizeof(float))};
    if (!job.inv_freq) return glia_fail_nomem(err, pairs * sizeof(float), "RoPE frequencies");
    job.scaling = glia_rope_frequencies(job.inv_freq, d->w->config, d->limits.sequence_length);
    glia_team_run(d->device.team, fill_rope, &job);
    free(job.inv_freq);
    return GLIA_OK;
}

glia_status glia_decoder_create(glia_decoder **out, const glia_weights *w, const glia_decoder_limits *limits,
                                unsigned cpu_flags, glia_team *team, glia_comm *world, glia_err *err) {
    (void)world;
    *out = NULL;
    glia_decoder *d = calloc(1, sizeof *d);
    if (!d) return glia_fail_nomem(err, sizeof *d, "the decoder");
    assert(limits->block_size > 0 && limits->block_size % GLIA_PANEL == 0);
    d->w = w;
    d->limits = *limits;
    d->device.team = team;
    d->device.threads = glia_team_size(team);
    d->device.scratch_bytes = glia_device_scratch_bytes(limits->max_rows, limits->sequence_length,
                                                        (int)w->config->head_dim, limits->kv_dtype);
    glia_kernels_init(&d->device.k, cpu_flags);
    d->device.narrow = d->device.k.linear_narrow && w->dtype == GLIA_DTYPE_BF16;
    d->kv = kv_shape(w->config, limits);
    glia_decoder_plan(w->config, &w->parallel, limits, d->device.threads, &d->plan);
    glia_status status = glia_plan_map(&d->plan, "the buffers of a step and the KV cache", err);
    if (status == GLIA_OK) {
        bind(d);
        status = prepare_rope(d, err);
    }
    if (status == GLIA_OK)
        *out = d;
    else
        glia_decoder_free(d);
    return status;
}

void glia_decoder_free(glia_decoder *d) {
    if (!d) return;
    glia_plan_unmap(&d->plan);
    free(d);
}

const glia_plan *glia_decoder_memory(const glia_decoder *d) { return &d->plan; }

static glia_heads heads_of(const glia_decoder *d, int layer) {
    const glia_model_config *c = d->w->config;
    const glia_layer_weights *l = &d->w->layer[layer];
    return (glia_heads){
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = (int)c->head_dim,
        .q_norm = l->q_norm,
        .k_norm = l->k_norm,
        .eps = (float)c->rms_norm_eps,
        .cos = c->rope[layer] ? d->cos : NULL,
        .sin = c->rope[layer] ? d->sin : NULL,
        .window = c->window[layer],
        .scale = (float)(1.0 / sqrt((double)c->head_dim)),
    };
}

static void forward_layer(glia_decoder *d, int thread, int layer, const glia_rows *rows) {
    const glia_device *dev = &d->device;
    const glia_layer_weights *w = &d->w->layer[layer];
    const glia_heads heads = heads_of(d, layer);
    const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, layer);
    const int m = rows->n;
    const glia_linear_in to_attention = {d->hidden, d->ld_hidden, m, NULL, w->in_norm, heads.eps};
    const glia_linear_in attended = {.x = d->attention, .ldx = d->ld_q, .m = m};
    const glia_linear_in to_ffn = {d->hidden, d->ld_hidden, m, NULL, w->post_norm, heads.eps};
    const glia_linear_in gated = {.x = d->ffn, .ldx = d->ld_ffn, .m = m};
    const glia_linear_out qkv = {GLIA_STORE, d->qkv, d->ld_qkv, w->qkv_bias};
    const glia_linear_out add_attended = {GLIA_ADD, d->hidden, d->ld_hidden, w->o_bias};
    const glia_linear_out ffn = {GLIA_SWIGLU, d->ffn, d->ld_ffn, w->gate_up_bias};
    const glia_linear_out add_ffn = {GLIA_ADD, d->hidden, d->ld_hidden, w->down_bias};

    glia_device_linear(dev, thread, &to_attention, &w->qkv, &qkv);
    glia_device_barrier(dev); /* qkv */
    glia_device_attention(dev, thread, d->attention, d->ld_q, d->qkv, d->ld_qkv, rows, &heads, &kv);
    glia_device_barrier(dev); /* attention */
    glia_device_linear(dev, thread, &attended, &w->o, &add_attended);
    glia_device_barrier(dev); /* hidden */
    glia_device_linear(dev, thread, &to_ffn, &w->gate_up, &ffn);
    glia_device_barrier(dev); /* ffn */
    glia_device_linear(dev, thread, &gated, &w->down, &add_ffn);
    glia_device_barrier(dev); /* hidden */
}

static void forward(void *arg, int thread) {
    glia_decoder *d = arg;
    const glia_batch *b = d->batch;
    const glia_model_config *c = d->w->config;
    const glia_rows rows = {
        .n = b->n_rows,
        .seq = b->seq,
        .position = b->position,
        .slot = b->slot,
        .parent = b->parent,
        .block_table = b->block_table,
        .max_blocks = b->max_blocks,
    };
    glia_device_embed(&d->device, thread, d->hidden, d->ld_hidden, &d->w->embed, b->token, b->n_rows);
    glia_device_barrier(&d->device); /* hidden */
    for (int i = 0; i < c->layers; i++) forward_layer(d, thread, i, &rows);
    const glia_linear_in in = {d->hidden,    d->ld_hidden,     b->n_logits,
                               b->logit_row, d->w->final_norm, (float)c->rms_norm_eps};
    const glia_linear_out logits = {GLIA_STORE, d->logits, d->ld_vocab, NULL};
    glia_device_linear(&d->device, thread, &in, &d->w->head, &logits);
}

void glia_decoder_step(glia_decoder *d, const glia_batch *batch) {
    assert(batch->n_rows > 0 && batch->n_rows <= d->limits.max_rows);
    assert(batch->n_logits >= 0 && batch->n_logits <= d->limits.max_logits);
    for (int i = 0; i < batch->n_rows; i++) {
        assert(batch->token[i] >= 0 && batch->token[i] < d->w->config->vocab);
        assert(batch->position[i] >= 0 && batch->position[i] < d->limits.sequence_length);
        assert(batch->slot[i] >= 0 && batch->slot[i] < batch->max_blocks * d->limits.block_size);
        assert(batch->seq[i] >= 0 && batch->seq[i] < batch->n_seqs);
        assert(!batch->parent || batch->parent[i] < i);
    }
    d->batch = batch;
    glia_team_run(d->device.team, forward, d);
}

size_t glia_decoder_area_bytes(const glia_model_config *c, const glia_parallel *p,
                               const glia_decoder_limits *limits) {
    (void)c, (void)p, (void)limits;
    return 0;
}

size_t glia_decoder_ld_logits(const glia_decoder *d) { return d->ld_vocab; }

const float *glia_decoder_logits(const glia_decoder *d, int i) { return d->logits + (size_t)i * d->ld_vocab; }

void glia_decoder_copy_kv(glia_decoder *d, int to_block, int to_at, int from_block, int from_at) {
    for (int i = 0; i < d->w->config->layers; i++) {
        const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, i);
        glia_device_copy_kv(&d->device, &kv, to_block, to_at, from_block, from_at);
    }
}
