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
#include "layer/linear.h"
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
    REGION_GROUP_Q,
    REGION_STATES,
};

struct glia_decoder {
    const glia_weights *w;
    glia_decoder_limits limits;
    glia_device device;
    glia_plan plan;
    glia_kv_cache kv;
    glia_local local;
    glia_comm *comm;    /* NULL: one rank alone */
    glia_comm *members; /* those that share the positions of a KV head; NULL: none do */
    char *area[2];      /* operands of collectives, in turns */
    unsigned turn;
    size_t ld_hidden, ld_qkv, ld_q, ld_ffn, ld_vocab;
    float *hidden; /* [rows, hidden] the residual stream */
    float *qkv, *attention, *ffn, *logits;
    float *group_q;             /* [rows, ld_group] q of all members */
    char *states, *states_area; /* softmax states, a block for each member: theirs for us, ours for them */
    size_t ld_group;
    float *cos, *sin;
    const glia_batch *batch;
};

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

static glia_kv_cache kv_shape(const glia_model_config *c, const glia_local *local,
                              const glia_decoder_limits *l) {
    return glia_kv_cache_shape(l->kv_dtype, l->block_size, local, (int)c->head_dim, l->n_blocks);
}

static size_t qkv_columns(const glia_local *l) { return l->q + 2 * l->kv; }

static size_t ld_logits(const glia_local *l) { return glia_row_stride(l->vocab); }

/* Of the states that a member gets from another. */
static size_t states_bytes(const glia_model_config *c, const glia_local *local,
                           const glia_decoder_limits *l) {
    return glia_states_bytes((size_t)l->max_rows * (size_t)local->heads, (size_t)c->head_dim);
}

void glia_decoder_plan(const glia_model_config *c, const glia_parallel *p, const glia_decoder_limits *l,
                       int threads, glia_plan *plan) {
    const glia_local local = glia_local_of(c, p);
    const size_t rows = (size_t)l->max_rows, f = sizeof(float);
    const size_t operands = glia_device_operand_rows(l->max_rows, threads);
    const size_t angles = (size_t)l->sequence_length * (size_t)c->head_dim / 2;
    const size_t ld_hidden = glia_parallel_ld_hidden((size_t)c->hidden, p);
    const size_t widest = max_of(max_of((size_t)c->hidden, local.ffn), local.q);
    const glia_kv_cache kv = kv_shape(c, &local, l);
    glia_plan_add(plan, "residual stream", rows * ld_hidden, f);
    glia_plan_add(plan, "normed input", operands * glia_row_stride((size_t)c->hidden), f);
    glia_plan_add(plan, "q, k and v", local.members > 1 ? 0 : rows * glia_row_stride(qkv_columns(&local)), f);
    glia_plan_add(plan, "attention output", rows * glia_row_stride(local.q), f);
    glia_plan_add(plan, "feed-forward", rows * glia_row_stride(local.ffn), f);
    glia_plan_add(plan, "logits", p->tp > 1 ? 0 : (size_t)l->max_logits * ld_logits(&local), f);
    glia_plan_add(plan, "RoPE cosines", angles, f);
    glia_plan_add(plan, "RoPE sines", angles, f);
    glia_plan_add(plan, "scratch of threads", (size_t)threads,
                  glia_device_scratch_bytes(l->max_rows, l->sequence_length, (int)c->head_dim, l->kv_dtype));
    glia_plan_add(plan, "int8 rows", l->quantize_rows ? operands : 0, glia_i8_stride(widest));
    glia_plan_add(plan, "int8 rows' scales", l->quantize_rows ? operands : 0, f);
    glia_plan_add(plan, "KV cache", (size_t)c->layers, glia_kv_cache_layer_bytes(&kv));
    if (local.members == 1) return;
    const size_t members = (size_t)local.members;
    glia_plan_add(plan, "q of members", rows * glia_row_stride(members * local.q), f);
    glia_plan_add(plan, "softmax states", members, states_bytes(c, &local, l));
}

/* The area: two parts for operands of collectives, then the logits; where positions are shared, q, k
 * and v and the states for other members. */
static size_t operand_bytes(const glia_model_config *c, const glia_parallel *p,
                            const glia_decoder_limits *l) {
    return glia_parallel_area_bytes(p, glia_parallel_ld_hidden((size_t)c->hidden, p), l->max_rows);
}

size_t glia_decoder_area_bytes(const glia_model_config *c, const glia_parallel *p,
                               const glia_decoder_limits *l) {
    const glia_local local = glia_local_of(c, p);
    if (p->tp == 1) return 0;
    size_t bytes = 2 * operand_bytes(c, p, l) + (size_t)l->max_logits * ld_logits(&local) * sizeof(float);
    if (local.members > 1)
        bytes += (size_t)l->max_rows * glia_row_stride(qkv_columns(&local)) * sizeof(float) +
                 (size_t)local.members * states_bytes(c, &local, l);
    return bytes;
}

static void bind(glia_decoder *d) {
    const glia_model_config *c = d->w->config;
    d->ld_hidden = glia_parallel_ld_hidden((size_t)c->hidden, &d->w->parallel);
    d->ld_qkv = glia_row_stride(qkv_columns(&d->local));
    d->ld_q = glia_row_stride(d->local.q);
    d->ld_ffn = glia_row_stride(d->local.ffn);
    d->ld_vocab = ld_logits(&d->local);
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
    d->device.operand = glia_plan_at(&d->plan, REGION_OPERAND);
    d->device.ld_operand =
        glia_row_stride(d->device.narrow ? ((size_t)c->hidden + 1) / 2 : (size_t)c->hidden);
    d->kv.shape.base = glia_plan_at(&d->plan, REGION_KV);
    if (!d->comm) return;
    const size_t bytes = operand_bytes(c, &d->w->parallel, &d->limits);
    d->area[0] = glia_comm_area(d->comm);
    d->area[1] = d->area[0] + bytes;
    d->logits = (float *)(void *)(d->area[1] + bytes);
    if (!d->members) return;
    d->qkv = d->logits + (size_t)d->limits.max_logits * d->ld_vocab;
    d->states_area = (char *)(d->qkv + (size_t)d->limits.max_rows * d->ld_qkv);
    d->group_q = glia_plan_at(&d->plan, REGION_GROUP_Q);
    d->ld_group = glia_row_stride((size_t)d->local.members * d->local.q);
    d->states = glia_plan_at(&d->plan, REGION_STATES);
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

static glia_status split_groups(glia_decoder *d, glia_comm *world, glia_err *err) {
    int colour[GLIA_RANKS_MAX];
    glia_status status = glia_comm_split(&d->comm, world, NULL, d->device.threads, err);
    for (int i = 0; i < d->w->parallel.tp; i++) colour[i] = i / d->local.members;
    if (!status && d->local.members > 1)
        status = glia_comm_split(&d->members, world, colour, d->device.threads, err);
    return status;
}

glia_status glia_decoder_create(glia_decoder **out, const glia_weights *w, const glia_decoder_limits *limits,
                                unsigned cpu_flags, glia_team *team, glia_comm *world, glia_err *err) {
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
    d->local = glia_local_of(w->config, &w->parallel);
    d->kv = kv_shape(w->config, &d->local, limits);
    glia_decoder_plan(w->config, &w->parallel, limits, d->device.threads, &d->plan);
    glia_status status = glia_plan_map(&d->plan, "the buffers of a step and the KV cache", err);
    if (status == GLIA_OK && w->parallel.tp > 1) status = split_groups(d, world, err);
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
    glia_comm_free(d->members);
    glia_comm_free(d->comm);
    glia_plan_unmap(&d->plan);
    free(d);
}

const glia_plan *glia_decoder_memory(const glia_decoder *d) { return &d->plan; }

static glia_heads heads_of(const glia_decoder *d, int layer) {
    const glia_model_config *c = d->w->config;
    const glia_layer_weights *l = &d->w->layer[layer];
    return (glia_heads){
        .heads = d->local.heads,
        .kv_heads = d->local.kv_heads,
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

/* Every member attends with the queries of all over the positions that it holds. */
static void attend_shared(const glia_decoder *d, int thread, const glia_rows *rows, glia_qkv x,
                          glia_heads heads, const glia_kv_layer *kv) {
    const glia_device *dev = &d->device;
    const int members = d->local.members;
    const size_t m = (size_t)rows->n, hd = (size_t)heads.head_dim,
                 bytes = glia_states_bytes(m * (size_t)heads.heads, hd);
    const glia_gather q = {.rows = m,
                           .n = (size_t)members * d->local.q,
                           .unit = sizeof(float),
                           .ld_in = x.ldq * sizeof(float),
                           .ld_out = d->ld_group * sizeof(float)};
    const glia_attended out = {.states = d->states_area, .block_heads = heads.heads, .block_rows = rows->n};
    glia_comm_all_gather(d->members, thread, d->group_q, x.q, &q);
    glia_device_barrier(dev); /* q of all members */
    x.q = d->group_q;
    x.ldq = d->ld_group;
    heads.heads *= members;
    glia_device_attention(dev, thread, &out, &x, rows, rows, &heads, kv);
    glia_comm_exchange(d->members, thread, d->states, d->states_area, bytes, bytes);
    glia_device_barrier(dev); /* the states of this rank's queries */
    glia_device_merge(dev, thread, d->attention, d->ld_q, d->states, members, rows->n, d->local.heads, hd);
}

static void attend(const glia_decoder *d, int thread, int layer, const glia_rows *rows) {
    const glia_heads heads = heads_of(d, layer);
    const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, layer);
    const glia_qkv x = {.q = d->qkv,
                        .k = d->qkv + d->local.q,
                        .v = d->qkv + d->local.q + d->local.kv,
                        .ldq = d->ld_qkv,
                        .ldkv = d->ld_qkv};
    const glia_attended out = {.o = d->attention, .ldo = d->ld_q};
    if (d->members)
        attend_shared(d, thread, rows, x, heads, &kv);
    else
        glia_device_attention(&d->device, thread, &out, &x, rows, rows, &heads, &kv);
}

static void forward_layer(glia_decoder *d, glia_walk *walk, int layer, const glia_rows *rows) {
    const glia_device *dev = &d->device;
    const glia_layer_weights *w = &d->w->layer[layer];
    const float eps = (float)d->w->config->rms_norm_eps;
    const glia_linear_out qkv = {GLIA_STORE, d->qkv, d->ld_qkv, w->qkv_bias};
    const glia_linear_out ffn = {GLIA_SWIGLU, d->ffn, d->ld_ffn, w->gate_up_bias};

    glia_column_parallel(walk, w->in_norm, eps, &w->qkv, &qkv);
    glia_device_barrier(dev); /* qkv */
    attend(d, walk->thread, layer, rows);
    glia_device_barrier(dev); /* attention */
    glia_row_parallel(walk, d->attention, d->ld_q, &w->o, w->o_bias);
    glia_device_barrier(dev); /* hidden */
    glia_column_parallel(walk, w->post_norm, eps, &w->gate_up, &ffn);
    glia_device_barrier(dev); /* ffn */
    glia_row_parallel(walk, d->ffn, d->ld_ffn, &w->down, w->down_bias);
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
    glia_walk walk = {
        .d = &d->device,
        .thread = thread,
        .comm = d->comm,
        .p = d->w->parallel,
        .hidden = d->hidden,
        .ld_hidden = d->ld_hidden,
        .m = b->n_rows,
        .spread = glia_spreads(&d->w->parallel, b->n_rows),
        .area = {d->area[0], d->area[1]},
        .turn = d->turn,
    };
    glia_parallel_embed(&walk, &d->w->embed, (size_t)c->hidden, (size_t)c->vocab, b->token);
    glia_device_barrier(&d->device); /* hidden */
    for (int i = 0; i < c->layers; i++) forward_layer(d, &walk, i, &rows);
    const glia_linear_out logits = {GLIA_STORE, d->logits, d->ld_vocab, NULL};
    glia_parallel_head(&walk, d->w->final_norm, (float)c->rms_norm_eps, &d->w->head, b->logit_row,
                       b->n_logits, &logits);
    if (thread == 0) d->turn = walk.turn; /* all have read it: a barrier lies behind */
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

size_t glia_decoder_ld_logits(const glia_decoder *d) { return d->ld_vocab; }

const float *glia_decoder_logits(const glia_decoder *d, int i) { return d->logits + (size_t)i * d->ld_vocab; }

void glia_decoder_copy_kv(glia_decoder *d, int to_block, int to_at, int from_block, int from_at) {
    const int members = d->local.members;
    assert(to_block % members == from_block % members);
    if (to_block % members != d->local.member) return;
    for (int i = 0; i < d->w->config->layers; i++) {
        const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, i);
        glia_device_copy_kv(&d->device, &kv, to_block / members, to_at, from_block / members, from_at);
    }
}
