/* decoder.c - the one forward pass: every architecture, every mixture of rows.
 *
 * All threads of the team run forward() (SPMD). The comment behind a barrier
 * names the value that crosses threads there; a layer has five, and linear
 * layers and attention have more of their own where rows are many. */
#include "model/decoder_impl.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer/rope.h"

/* Indices of regions in the plan of the device's memory, and in the host's. */
typedef struct {
    int hidden, qkv, attention, ffn, logits, cos, sin, angles, kv, group_q, states, all_kv, normed, residual;
    int device; /* the first of the device's own regions */
    int split, host_logits, host_normed, host_residual, adapters, adapted; /* the host's */
} regions;

static const glia_device_ops *ops_of(const glia_decoder_limits *l) {
    return l->device ? l->device : &glia_cpu;
}

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

static glia_kv_cache kv_shape(const glia_model_config *c, const glia_local *local,
                              const glia_decoder_limits *l) {
    glia_kv_cache kv =
        glia_kv_cache_shape(ops_of(l), l->kv_dtype, l->block_size, local, (int)c->head_dim, l->n_blocks);
    if (l->tree_slot) kv.shape.tree_slot = l->tree_slot;
    return kv;
}

/* Rows of a step, with the padding of context parallelism. */
static size_t all_rows(const glia_parallel *p, const glia_decoder_limits *l) {
    return p->cp_degree > 1 ? glia_even_size((size_t)l->max_rows, p->tp) * (size_t)p->tp
                            : (size_t)l->max_rows;
}

/* Do other ranks read q, or k and v? */
static bool shares_qkv(const glia_parallel *p, const glia_local *local) {
    return local->members > 1 || p->cp_degree > 1;
}

/* Floats of q, k and v: of all rows through one shard, or of one rank's rows through all its shards. */
static size_t qkv_floats(const glia_parallel *p, const glia_local *local, const glia_decoder_limits *l) {
    const size_t rows = all_rows(p, l), shards = (size_t)local->cp;
    const glia_device_ops *ops = ops_of(l);
    const size_t split = rows / shards * (shards * ops->stride(local->q) + ops->stride(2 * local->kv));
    return max_of(rows * glia_ld_qkv(ops, p, local), shards > 1 ? split : 0);
}

static size_t ld_logits(const glia_decoder_limits *l, const glia_local *local) {
    return ops_of(l)->stride(local->vocab);
}

/* Bytes of the softmax states that one member sends to another. */
static size_t states_bytes(const glia_model_config *c, const glia_local *local,
                           const glia_decoder_limits *l) {
    return ops_of(l)->states_bytes((size_t)l->max_rows * (size_t)local->heads, (size_t)c->head_dim);
}

static size_t wanted_rows(const glia_decoder_limits *l) {
    return (size_t)l->max_logits + (size_t)l->max_hidden + (size_t)l->max_residual;
}

/* Positions of the table of angles, which attention needs if an int8 cache holds keys without their bias. */
static size_t angle_positions(const glia_model_config *c, const glia_decoder_limits *l) {
    const glia_model_spec *spec = glia_spec_find(c->architecture);
    const size_t unit = GLIA_ANGLES_UNIT, n = (size_t)l->sequence_length;
    const bool bias = glia_spec_has(spec, c, W_K_BIAS) && !glia_spec_has(spec, c, W_K_NORM);
    return l->kv_dtype == GLIA_DTYPE_I8 && bias ? (n + unit - 1) / unit * unit : 0;
}

/* The largest k of a matrix. */
static size_t widest_input(const glia_model_config *c, const glia_local *local) {
    return max_of(max_of((size_t)c->hidden, local->ffn), local->q);
}

static glia_device_shape device_shape(const glia_model_config *c, const glia_parallel *p,
                                      const glia_decoder_limits *l, int threads, glia_dtype dtype) {
    const glia_local local = glia_local_of(c, p);
    const size_t widest = max_of(widest_input(c, &local), l->reordered);
    return (glia_device_shape){
        .threads = threads,
        .max_rows = l->max_rows,
        .sequence_length = l->sequence_length,
        .head_dim = (int)c->head_dim,
        .operand_rows = all_rows(p, l),
        .hidden = (l->rotate && !l->quantize_rows) || l->reordered ? widest : (size_t)c->hidden,
        .widest = widest,
        .dtype = dtype,
        .kv_dtype = l->kv_dtype,
        .quantize_rows = l->quantize_rows,
        .lora_rank = l->adapters.places ? (size_t)l->adapters.rank : 0,
    };
}

/* Add all buffers to the plan of the device's memory and to the host's. Both may be the same plan. */
static regions add_regions(glia_plan *plan, glia_plan *host, const glia_model_config *c,
                           const glia_parallel *p, const glia_decoder_limits *l, int threads) {
    const glia_device_ops *ops = ops_of(l);
    const glia_local local = glia_local_of(c, p);
    const size_t rows = all_rows(p, l), f = sizeof(float);
    const size_t angles = (size_t)l->sequence_length * (size_t)c->head_dim / 2;
    const size_t ld_hidden = glia_parallel_ld_hidden(ops, (size_t)c->hidden, p),
                 ld_vocab = ld_logits(l, &local);
    const glia_kv_cache kv = kv_shape(c, &local, l);
    const glia_device_shape shape = device_shape(c, p, l, threads, GLIA_DTYPE_AUTO);
    const size_t members = (size_t)local.members, shares = members > 1, parts = local.cp > 1;
    const size_t logits = (size_t)l->max_logits, hidden = (size_t)l->max_hidden, copied = !ops->host_memory;
    const size_t residual = (size_t)l->n_residual_layers * (size_t)l->max_residual;
    regions r;
    r.hidden = glia_plan_add(plan, "residual stream", rows * ld_hidden, f);
    r.device = ops->plan(plan, &shape);
    r.qkv = glia_plan_add(plan, "q, k and v", shares_qkv(p, &local) ? 0 : qkv_floats(p, &local, l), f);
    r.attention = glia_plan_add(plan, "attention output", rows * ops->stride(local.q), f);
    r.ffn = glia_plan_add(plan, "feed-forward", rows * ops->stride(local.ffn), f);
    r.logits = glia_plan_add(plan, "logits", p->tp > 1 ? 0 : logits * ld_vocab, f);
    r.cos = glia_plan_add(plan, "RoPE cosines", angles, f);
    r.sin = glia_plan_add(plan, "RoPE sines", angles, f);
    r.angles = glia_plan_add(plan, "RoPE of keys' biases", angle_positions(c, l), (size_t)c->head_dim * f);
    r.kv = glia_plan_add(plan, "KV cache", (size_t)c->layers, glia_kv_cache_layer_bytes(&kv));
    r.group_q = glia_plan_add(plan, "q of members", shares * rows * ops->stride(members * local.q), f);
    r.states = glia_plan_add(plan, "softmax states", shares * members, states_bytes(c, &local, l));
    r.all_kv = glia_plan_add(plan, "k and v of all rows", parts * rows * 2 * local.kv, f);
    r.normed = glia_plan_add(plan, "hidden states wanted", hidden * ld_hidden, f);
    r.residual = glia_plan_add(plan, "residual streams wanted", residual * ld_hidden, f);
    r.split =
        glia_plan_add(host, "rows split among ranks", parts * (9 * rows + wanted_rows(l)), sizeof(int32_t));
    r.host_logits = glia_plan_add(host, "logits for the host", copied * logits * ld_vocab, f);
    r.host_normed = glia_plan_add(host, "hidden states for the host", copied * hidden * ld_hidden, f);
    r.host_residual = glia_plan_add(host, "residual streams for the host", copied * residual * ld_hidden, f);
    r.adapters = glia_plan_add(host, "adapters", (size_t)l->adapters.places, l->adapters.bytes);
    r.adapted = glia_plan_add(host, "rows with adapters", l->adapters.places > 0,
                              glia_step_adapters_words(rows, logits) * sizeof(int32_t));
    return r;
}

void glia_decoder_plan(const glia_model_config *c, const glia_parallel *p, const glia_decoder_limits *l,
                       int threads, glia_plan *plan) {
    add_regions(plan, plan, c, p, l, threads);
}

size_t glia_decoder_kv_bytes(const glia_model_config *c, const glia_parallel *p,
                             const glia_decoder_limits *l) {
    const glia_local local = glia_local_of(c, p);
    return kv_shape(c, &local, l).block_bytes * (size_t)c->layers / (size_t)l->block_size;
}

static size_t operand_bytes(const glia_model_config *c, const glia_parallel *p,
                            const glia_decoder_limits *l) {
    return glia_parallel_area_bytes(p, glia_parallel_ld_hidden(ops_of(l), (size_t)c->hidden, p),
                                    (int)all_rows(p, l));
}

/* The area holds two buffers for operands of collectives, and the logits. Then follow q, k, v and softmax
 * states, if other ranks read them. */
size_t glia_decoder_area_bytes(const glia_model_config *c, const glia_parallel *p,
                               const glia_decoder_limits *l) {
    const glia_local local = glia_local_of(c, p);
    if (p->tp == 1) return 0;
    size_t bytes = 2 * operand_bytes(c, p, l) + (size_t)l->max_logits * ld_logits(l, &local) * sizeof(float);
    if (local.members > 1) bytes += (size_t)local.members * states_bytes(c, &local, l);
    if (shares_qkv(p, &local)) bytes += qkv_floats(p, &local, l) * sizeof(float);
    return bytes;
}

static void bind(glia_decoder *d, const regions *r, size_t area_offset) {
    const glia_model_config *c = d->w->config;
    const glia_plan *plan = &d->plan, *host = d->ops->host_memory ? &d->plan : &d->host;
    d->ld_hidden = glia_parallel_ld_hidden(d->ops, (size_t)c->hidden, &d->w->parallel);
    d->ld_qkv = glia_ld_qkv(d->ops, &d->w->parallel, &d->local);
    d->ld_q = d->ops->stride(d->local.q);
    d->ld_ffn = d->ops->stride(d->local.ffn);
    d->ld_vocab = ld_logits(&d->limits, &d->local);
    d->hidden = glia_plan_at(plan, r->hidden);
    d->qkv = glia_plan_at(plan, r->qkv);
    d->attention = glia_plan_at(plan, r->attention);
    d->ffn = glia_plan_at(plan, r->ffn);
    d->logits = glia_plan_at(plan, r->logits);
    d->cos = glia_plan_at(plan, r->cos);
    d->sin = glia_plan_at(plan, r->sin);
    d->angles = angle_positions(c, &d->limits) ? glia_plan_at(plan, r->angles) : NULL;
    d->kv.shape.base = glia_plan_at(plan, r->kv);
    d->normed = glia_plan_at(plan, r->normed);
    d->residual = glia_plan_at(plan, r->residual);
    d->host_logits = d->ops->host_memory ? d->logits : glia_plan_at(host, r->host_logits);
    d->host_normed = d->ops->host_memory ? d->normed : glia_plan_at(host, r->host_normed);
    d->host_residual = d->ops->host_memory ? d->residual : glia_plan_at(host, r->host_residual);
    if (d->limits.adapters.places)
        glia_step_adapters_bind(&d->adapted, glia_plan_at(host, r->adapted),
                                all_rows(&d->w->parallel, &d->limits), (size_t)d->limits.max_logits);
    if (!d->comm) return;
    const size_t bytes = operand_bytes(c, &d->w->parallel, &d->limits);
    d->area[0] = (char *)glia_comm_area(d->comm) + area_offset;
    d->area[1] = d->area[0] + bytes;
    d->logits = d->host_logits = (float *)(void *)(d->area[1] + bytes);
    if (!shares_qkv(&d->w->parallel, &d->local)) return;
    d->qkv = d->logits + (size_t)d->limits.max_logits * d->ld_vocab;
    d->states_area = (char *)(d->qkv + qkv_floats(&d->w->parallel, &d->local, &d->limits));
    d->group_q = glia_plan_at(plan, r->group_q);
    d->ld_group = d->ops->stride((size_t)d->local.members * d->local.q);
    d->states = glia_plan_at(plan, r->states);
    d->all_kv = glia_plan_at(plan, r->all_kv);
    d->split.numbers = glia_plan_at(host, r->split);
    d->wanted.numbers = d->split.numbers + 9 * all_rows(&d->w->parallel, &d->limits);
}

typedef struct {
    glia_decoder *d;
    float *inv_freq;
    double scaling;
} rope_job;

enum { ROPE_POSITIONS = GLIA_ANGLES_GROUP }; /* positions that are computed on the host before an upload */

/* Floats of a thread's buffers: cosines, sines, and both as a group of the table of angles. */
static size_t rope_floats(size_t pairs) { return 4 * pairs * ROPE_POSITIONS; }

static void upload_angles(const glia_decoder *d, size_t from, const float *c, const float *s, float *group) {
    const size_t pairs = (size_t)d->w->config->head_dim / 2, n = ROPE_POSITIONS;
    for (size_t i = 0; i < pairs; i++)
        for (size_t p = 0; p < n; p++) {
            group[2 * i * n + p] = c[p * pairs + i];
            group[(2 * i + 1) * n + p] = s[p * pairs + i];
        }
    d->ops->upload(d->angles + from * 2 * pairs, group, 2 * pairs * n * sizeof *group);
}

static void fill_rope(void *arg, int thread) {
    const rope_job *j = arg;
    const glia_decoder *d = j->d;
    const size_t pairs = (size_t)d->w->config->head_dim / 2;
    float *c = j->inv_freq + pairs + (size_t)thread * rope_floats(pairs), *s = c + pairs * ROPE_POSITIONS;
    const size_t positions = (size_t)d->limits.sequence_length;
    size_t first, last;
    glia_share((positions + ROPE_POSITIONS - 1) / ROPE_POSITIONS, thread, d->threads, &first, &last);
    for (size_t from = first * ROPE_POSITIONS; from < last * ROPE_POSITIONS; from += ROPE_POSITIONS) {
        const size_t n = positions - from < ROPE_POSITIONS ? positions - from : ROPE_POSITIONS;
        glia_rope_table(c, s, j->inv_freq, j->scaling, pairs, from, from + ROPE_POSITIONS);
        d->ops->upload(d->cos + from * pairs, c, n * pairs * sizeof *c);
        d->ops->upload(d->sin + from * pairs, s, n * pairs * sizeof *s);
        if (d->angles) upload_angles(d, from, c, s, s + pairs * ROPE_POSITIONS);
    }
}

/* Fail if a number of RoPE is not finite in float32, so that no logit would be. */
static glia_status check_rope(const rope_job *j, size_t pairs, glia_err *err) {
    const char *type = glia_rope_type_name(j->d->w->config->rope_config.type);
    for (size_t i = 0; i < pairs; i++)
        if (!isfinite(j->inv_freq[i]))
            return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                             "config.json: rope_type %s: frequency %zu is %g for a sequence_length of %d",
                             type, i, (double)j->inv_freq[i], j->d->limits.sequence_length);
    if (!isfinite((float)j->scaling))
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "config.json: rope_type %s: attention_factor is %g", type,
                         j->scaling);
    return GLIA_OK;
}

static glia_status prepare_rope(glia_decoder *d, glia_err *err) {
    const size_t pairs = (size_t)d->w->config->head_dim / 2;
    const size_t floats = pairs + (size_t)d->threads * rope_floats(pairs);
    rope_job job = {.d = d, .inv_freq = malloc(floats * sizeof(float))};
    if (!job.inv_freq) return glia_fail_nomem(err, floats * sizeof(float), "RoPE frequencies");
    job.scaling = glia_rope_frequencies(job.inv_freq, d->w->config, d->limits.sequence_length);
    const glia_status status = check_rope(&job, pairs, err);
    if (!status) glia_team_run(d->device->team, fill_rope, &job);
    free(job.inv_freq);
    return status;
}

static glia_status split_groups(glia_decoder *d, glia_comm *world, glia_err *err) {
    int members[GLIA_RANKS_MAX], rows[GLIA_RANKS_MAX], heads[GLIA_RANKS_MAX];
    const int shards = d->local.cp, threads = d->threads;
    for (int i = 0; i < d->w->parallel.tp; i++) {
        members[i] = i / d->local.members;
        rows[i] = i % shards;
        heads[i] = i / shards;
    }
    glia_status status = glia_comm_split(&d->comm, world, NULL, threads, err);
    if (!status && d->local.members > 1) status = glia_comm_split(&d->members, world, members, threads, err);
    if (!status && shards > 1) status = glia_comm_split(&d->row_group, world, rows, threads, err);
    if (!status && shards > 1) status = glia_comm_split(&d->head_group, world, heads, threads, err);
    return status;
}

/* Map the memory, and open the device on it. */
static glia_status allocate(glia_decoder *d, unsigned cpu_flags, glia_team *team, regions *r, glia_err *err) {
    const glia_model_config *c = d->w->config;
    const glia_parallel *p = &d->w->parallel;
    const glia_device_shape shape = device_shape(c, p, &d->limits, d->threads, d->w->dtype);
    const bool one = d->ops->host_memory;
    *r = add_regions(&d->plan, one ? &d->plan : &d->host, c, p, &d->limits, d->threads);
    glia_status status = d->ops->map(&d->plan, "the buffers of a step and the KV cache", err);
    if (!status && !one) status = glia_plan_map(&d->host, "the results of a step", err);
    if (status) return status;
    return d->ops->open(&d->device, team, cpu_flags, &shape, &d->plan, r->device, err);
}

glia_status glia_decoder_create(glia_decoder **out, const glia_weights *w, const glia_decoder_limits *limits,
                                unsigned cpu_flags, glia_team *team, glia_comm *world, size_t area_offset,
                                glia_err *err) {
    regions r;
    *out = NULL;
    assert(limits->block_size > 0 && limits->block_size % GLIA_BLOCK_UNIT == 0);
    if (w->parallel.tp > 1 && !w->device->host_memory)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "tensor_parallel_size is %d, expected 1 on device %s: collectives need memory that "
                         "the host can read",
                         w->parallel.tp, w->device->name);
    glia_decoder *d = calloc(1, sizeof *d);
    if (!d) return glia_fail_nomem(err, sizeof *d, "the decoder");
    d->w = w;
    d->ops = w->device;
    d->limits = *limits;
    d->limits.device = w->device;
    d->threads = glia_team_size(team);
    d->local = glia_local_of(w->config, &w->parallel);
    d->kv = kv_shape(w->config, &d->local, &d->limits);
    glia_status status = allocate(d, cpu_flags, team, &r, err);
    if (!status && w->parallel.tp > 1) status = split_groups(d, world, err);
    if (!status) {
        bind(d, &r, area_offset);
        status = prepare_rope(d, err);
        if (!status)
            status =
                glia_places_open(&d->places, w, &limits->adapters,
                                 glia_plan_at(d->ops->host_memory ? &d->plan : &d->host, r.adapters), err);
    }
    if (status)
        glia_decoder_free(d);
    else
        *out = d;
    return status;
}

void glia_decoder_free(glia_decoder *d) {
    if (!d) return;
    glia_places_close(&d->places);
    glia_comm_free(d->head_group);
    glia_comm_free(d->row_group);
    glia_comm_free(d->members);
    glia_comm_free(d->comm);
    if (d->device) d->ops->close(d->device);
    d->ops->unmap(&d->plan);
    glia_plan_unmap(&d->host);
    free(d);
}

static void forward_layer(glia_decoder *d, glia_walk *walk, int layer, const glia_rows *rows) {
    const glia_layer_weights *w = &d->w->layer[layer];
    const glia_activation y = {.at = d->ffn, .m = (size_t)walk->m, .stride = d->ld_ffn, .form = GLIA_INPUT};
    const glia_layer_places a = glia_places_of(d, layer);
    const glia_linear_out ffn = {
        .epilogue = GLIA_SWIGLU, .y = y, .bias = w->gate_up_bias, .adapted = glia_adapted_rows(d, a.gate_up)};
    const glia_row_norm norm = {w->post_norm, (float)d->w->config->rms_norm_eps, a.post_norm};
    const glia_adapted down = glia_adapted_rows(d, a.down);
    glia_decoder_attention(d, walk, layer, rows);
    glia_column_parallel(walk, &norm, &w->gate_up, &ffn);
    glia_device_barrier(d->device); /* ffn */
    glia_row_parallel(walk, &y, &w->down, w->down_bias, &down);
    glia_device_barrier(d->device); /* hidden */
}

static float *residual_row(const glia_decoder *d, int layer, int i) {
    return d->residual + ((size_t)layer * (size_t)d->limits.max_residual + (size_t)i) * d->ld_hidden;
}

/* Copy the wanted rows of the residual stream after `layer`, if it is one of limits.residual_layer. */
static void keep_residual(const glia_decoder *d, glia_walk *walk, int layer) {
    if (!d->batch->n_residual) return;
    for (int i = 0; i < d->limits.n_residual_layers; i++)
        if (d->limits.residual_layer[i] == layer)
            glia_collect_rows(walk, residual_row(d, i, 0), d->wanted.residual, d->batch->n_residual);
}

/* The last norm's weights for the i-th wanted row. */
static const float *hidden_norm(const glia_decoder *d, int i) {
    const int32_t *adapter = d->adapted.on ? d->batch->adapter : NULL;
    const int place = adapter ? adapter[d->batch->hidden_row[i]] - 1 : -1;
    const float *own = place >= 0 ? d->places.final_norm[place] : NULL;
    return own ? own : d->w->final_norm;
}

/* Copy and norm the wanted rows of the hidden state. */
static void keep_normed(const glia_decoder *d, glia_walk *walk) {
    const glia_model_config *c = d->w->config;
    const int n = d->batch->n_hidden;
    if (!n) return;
    glia_collect_rows(walk, d->normed, d->wanted.hidden, n);
    for (int i = 0, same; i < n; i += same) {
        const float *weight = hidden_norm(d, i);
        for (same = 1; i + same < n && hidden_norm(d, i + same) == weight; same++) {
        }
        float *rows = d->normed + (size_t)i * d->ld_hidden;
        glia_device_norm(d->device, walk->thread, rows, rows, d->ld_hidden, same, (size_t)c->hidden, weight,
                         (float)c->rms_norm_eps);
    }
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
        .adapter = b->adapter,
        .block_table = b->block_table,
        .max_blocks = b->max_blocks,
    };
    glia_walk walk = {
        .d = d->device,
        .thread = thread,
        .comm = d->comm,
        .p = d->w->parallel,
        .hidden = d->hidden,
        .ld_hidden = d->ld_hidden,
        .m = d->split.on ? d->split.n : b->n_rows,
        .spread = d->split.on ||
                  (d->w->parallel.sequence_parallel && glia_rows_are_many(&d->w->parallel, b->n_rows)),
        .place = d->adapted.on ? d->adapted.place : NULL,
        .area = {d->area[0], d->area[1]},
        .operands = d->operands,
    };
    glia_parallel_embed(&walk, &d->w->embed, (size_t)c->hidden, (size_t)c->vocab,
                        d->split.on ? d->split.token : b->token, d->places.embed);
    glia_device_barrier(d->device); /* hidden */
    for (int i = 0; i < c->layers; i++) {
        forward_layer(d, &walk, i, &rows);
        keep_residual(d, &walk, i);
    }
    keep_normed(d, &walk); /* before the head, which may write hidden */
    const glia_activation rows_of_logits = {
        .at = d->logits, .m = (size_t)b->n_logits, .stride = d->ld_vocab, .form = GLIA_PLAIN};
    const glia_linear_out logits = {
        .epilogue = GLIA_STORE,
        .y = rows_of_logits,
        .adapted = {.of = d->places.head, .run = d->adapted.logits, .n = d->adapted.n_logits}};
    const glia_row_norm norm = {d->w->final_norm, (float)c->rms_norm_eps, d->places.final_norm};
    glia_parallel_head(&walk, &norm, &d->w->head, d->wanted.logits,
                       d->adapted.on ? d->adapted.logit_place : NULL, b->n_logits, &logits);
    if (thread == 0) d->operands = walk.operands; /* after a barrier: all threads have read it */
}

/* The indices in the residual stream of the batch's rows row[n]. If rows are split they are written to *to,
 * which is advanced. */
static const int32_t *find_rows(const glia_decoder *d, int32_t **to, const int32_t *row, int n) {
    const glia_parallel *p = &d->w->parallel;
    int32_t *const found = *to;
    if (!d->split.on) return row;
    for (int i = 0; i < n; i++)
        found[i] =
            (int32_t)glia_cp_index(p->cp_strided, (size_t)d->split.n, p->tp, p->cp_degree, (size_t)row[i]);
    *to += n;
    return found;
}

static void find_wanted(glia_decoder *d) {
    const glia_batch *b = d->batch;
    int32_t *to = d->wanted.numbers;
    d->wanted.logits = find_rows(d, &to, b->logit_row, b->n_logits);
    d->wanted.hidden = find_rows(d, &to, b->hidden_row, b->n_hidden);
    d->wanted.residual = find_rows(d, &to, b->residual_row, b->n_residual);
}

/* Copy the wanted results from the device's memory to the host's. */
static void download_wanted(const glia_decoder *d) {
    const glia_batch *b = d->batch;
    const size_t row = d->ld_hidden * sizeof(float), layer = (size_t)d->limits.max_residual * d->ld_hidden;
    d->ops->download(d->host_logits, d->logits, (size_t)b->n_logits * d->ld_vocab * sizeof(float));
    d->ops->download(d->host_normed, d->normed, (size_t)b->n_hidden * row);
    for (size_t i = 0; i < (size_t)d->limits.n_residual_layers; i++)
        d->ops->download(d->host_residual + i * layer, d->residual + i * layer, (size_t)b->n_residual * row);
}

void glia_decoder_step(glia_decoder *d, const glia_batch *batch) {
    const glia_weights *w = d->w;
    assert(batch->n_rows > 0 && batch->n_rows <= d->limits.max_rows);
    assert(batch->n_logits >= 0 && batch->n_logits <= d->limits.max_logits);
    assert(batch->n_hidden >= 0 && batch->n_hidden <= d->limits.max_hidden);
    assert(batch->n_residual >= 0 && batch->n_residual <= d->limits.max_residual);
    for (int i = 0; i < batch->n_rows; i++) {
        assert(batch->token[i] >= 0 && batch->token[i] < d->w->config->vocab);
        assert(batch->position[i] >= 0 && batch->position[i] < d->limits.sequence_length);
        assert(batch->slot[i] >= 0 && batch->slot[i] < batch->max_blocks * d->limits.block_size);
        assert(batch->seq[i] >= 0 && batch->seq[i] < batch->n_seqs);
        assert(!batch->parent || batch->parent[i] < i);
        assert(!batch->adapter || (batch->adapter[i] >= 0 && batch->adapter[i] <= d->places.n));
    }
    d->batch = batch;
    d->split.on = d->row_group && !batch->parent && glia_rows_are_many(&w->parallel, batch->n_rows);
    if (d->split.on) glia_split_rows(d, batch);
    find_wanted(d);
    glia_find_adapters(d);
    glia_team_run(d->device->team, forward, d);
    if (!d->ops->host_memory) download_wanted(d);
}

void glia_decoder_put_adapter(glia_decoder *d, int place, const glia_packed_adapter *a) {
    glia_places_put(&d->places, place, a);
}

size_t glia_decoder_ld_logits(const glia_decoder *d) { return d->ld_vocab; }

const float *glia_decoder_logits(const glia_decoder *d, int i) {
    return d->host_logits + (size_t)i * d->ld_vocab;
}

const float *glia_decoder_hidden(const glia_decoder *d, int i) {
    return d->host_normed + (size_t)i * d->ld_hidden;
}

const float *glia_decoder_residual(const glia_decoder *d, int layer, int i) {
    return d->host_residual + ((size_t)layer * (size_t)d->limits.max_residual + (size_t)i) * d->ld_hidden;
}

void glia_decoder_measure(const glia_decoder *d, glia_ceilings *ceilings) {
    d->ops->measure(d->device, d->w->plan.base, d->w->plan.bytes, ceilings);
}

void glia_decoder_copy_kv(glia_decoder *d, int to_block, int to_at, int from_block, int from_at) {
    const int members = d->local.members;
    assert(to_block % members == from_block % members || from_block % members == 0);
    if (to_block % members != d->local.member) return;
    for (int i = 0; i < d->w->config->layers; i++) {
        const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, i);
        glia_device_copy_kv(d->device, &kv, to_block / members, to_at, from_block / members, from_at);
    }
}

size_t glia_decoder_block_bytes(const glia_decoder *d) {
    return d->kv.block_bytes * (size_t)d->w->config->layers;
}

static char *block_at(const glia_decoder *d, int layer, int block) {
    assert(d->ops->host_memory && d->local.members == 1 && block < d->kv.n_blocks);
    return glia_kv_cache_layer(&d->kv, layer).base + (size_t)block * d->kv.block_bytes;
}

void glia_decoder_get_block(const glia_decoder *d, int block, char *out) {
    for (int i = 0; i < d->w->config->layers; i++)
        memcpy(out + (size_t)i * d->kv.block_bytes, block_at(d, i, block), d->kv.block_bytes);
}

void glia_decoder_put_block(glia_decoder *d, int block, const char *from) {
    for (int i = 0; i < d->w->config->layers; i++)
        memcpy(block_at(d, i, block), from + (size_t)i * d->kv.block_bytes, d->kv.block_bytes);
}
