/* attention.c - the attention block: project, attend, sum over ranks.
 *
 * Each rank attends with its own query heads over its own cache, with two exceptions.
 * In flash decoding the ranks of a group (its members) share the positions of a KV
 * head, and exchange queries and softmax states. In context parallelism they share the
 * rows of a prompt, and gather keys and values. The comment at a barrier names the
 * value that crosses threads. */
#include <math.h>

#include "model/decoder_impl.h"

/* With context parallelism q is a product of its own: k begins after the columns that this product writes. */
size_t glia_k_column(const glia_device_ops *ops, const glia_parallel *p, const glia_local *l) {
    return p->cp_degree > 1 ? ops->columns(l->q) : l->q;
}

size_t glia_ld_qkv(const glia_device_ops *ops, const glia_parallel *p, const glia_local *l) {
    return ops->stride(glia_k_column(ops, p, l) + 2 * l->kv);
}

/* m rows of q, k and v at `at`, in the form that attention reads; GLIA_PLAIN if other ranks read them too. */
static glia_activation qkv_rows(const glia_decoder *d, float *at, size_t m) {
    const bool shared = d->members || d->w->parallel.cp_degree > 1;
    return (glia_activation){.at = at, .m = m, .stride = d->ld_qkv, .form = shared ? GLIA_PLAIN : GLIA_HEADS};
}

/* m rows of attention's output. */
static glia_activation attention_rows(const glia_decoder *d, size_t m) {
    return (glia_activation){.at = d->attention, .m = m, .stride = d->ld_q, .form = GLIA_INPUT};
}

/* m float32 rows at `at`, `stride` floats apart. */
static glia_activation plain_rows(float *at, size_t m, size_t stride) {
    return (glia_activation){.at = at, .m = m, .stride = stride, .form = GLIA_PLAIN};
}

/* The bias of the cache's KV heads, unless a norm follows it. */
static const float *k_bias_of(const glia_decoder *d, const glia_layer_weights *l) {
    if (l->k_norm) return NULL;
    if (d->w->parallel.cp_degree > 1) return l->kv_bias;
    return l->qkv_bias ? l->qkv_bias + d->local.q : NULL;
}

static glia_heads heads_of(const glia_decoder *d, int layer) {
    const glia_model_config *c = d->w->config;
    const glia_layer_weights *l = &d->w->layer[layer];
    const glia_layer_places a = glia_places_of(d, layer);
    return (glia_heads){
        .heads = d->local.heads,
        .kv_heads = d->local.kv_heads,
        .head_dim = (int)c->head_dim,
        .q_norm = l->q_norm,
        .k_norm = l->k_norm,
        .q_norms = a.q_norm,
        .k_norms = a.k_norm,
        .eps = (float)c->rms_norm_eps,
        .cos = c->rope[layer] ? d->cos : NULL,
        .sin = c->rope[layer] ? d->sin : NULL,
        .angles = c->rope[layer] ? d->angles : NULL,
        .k_bias = k_bias_of(d, l),
        .window = c->window[layer],
        .scale = (float)(1.0 / sqrt((double)c->head_dim)),
    };
}

/* The norm before q, k and v. */
static glia_row_norm norm_of(const glia_decoder *d, int layer) {
    return (glia_row_norm){d->w->layer[layer].in_norm, (float)d->w->config->rms_norm_eps,
                           glia_places_of(d, layer).in_norm};
}

/* ---- every rank has all rows ------------------------------------------------ */

static void project(const glia_decoder *d, glia_walk *walk, int layer) {
    const glia_layer_weights *w = &d->w->layer[layer];
    const glia_layer_places a = glia_places_of(d, layer);
    const glia_row_norm norm = norm_of(d, layer);
    const glia_local *l = &d->local;
    const size_t m = (size_t)walk->m;
    if (d->w->parallel.cp_degree == 1) {
        const glia_linear_out qkv = {.epilogue = GLIA_STORE,
                                     .y = qkv_rows(d, d->qkv, m),
                                     .bias = w->qkv_bias,
                                     .adapted = glia_adapted_rows(d, a.qkv)};
        glia_column_parallel(walk, &norm, &w->qkv, &qkv);
        return;
    }
    float *k = d->qkv + glia_k_column(d->ops, &d->w->parallel, l);
    const glia_linear_out q = {.epilogue = GLIA_STORE,
                               .y = qkv_rows(d, d->qkv, m),
                               .bias = w->q_bias[l->shard],
                               .adapted = glia_adapted_rows(d, a.q_shard[l->shard])};
    const glia_linear_out kv = {.epilogue = GLIA_STORE,
                                .y = qkv_rows(d, k, m),
                                .bias = w->kv_bias,
                                .adapted = glia_adapted_rows(d, a.kv)};
    glia_column_parallel(walk, &norm, &w->q_shard[l->shard], &q);
    glia_device_barrier(d->device); /* the normed rows, about to be written again */
    glia_column_parallel(walk, &norm, &w->kv, &kv);
}

/* Flash decoding: every member attends with the queries of all members over the positions that it holds. */
static void attend_shared(const glia_decoder *d, int thread, const glia_rows *rows, glia_qkv x,
                          glia_heads heads, const glia_kv_layer *kv) {
    const glia_device *dev = d->device;
    const int members = d->local.members, own = heads.heads;
    const size_t hd = (size_t)heads.head_dim, bytes = d->ops->states_bytes((size_t)rows->n * (size_t)own, hd);
    const glia_gather q = {.rows = (size_t)rows->n,
                           .n = (size_t)members * d->local.q,
                           .unit = sizeof(float),
                           .ld_in = x.q.stride * sizeof(float),
                           .ld_out = d->ld_group * sizeof(float)};
    const glia_attended out = {.states = d->states_area, .block_heads = own};
    glia_comm_all_gather(d->members, thread, d->group_q, x.q.at, &q);
    glia_device_barrier(dev); /* q of all members */
    x.q = plain_rows(d->group_q, (size_t)rows->n, d->ld_group);
    heads.heads *= members;
    x.block_heads = heads.heads;
    glia_device_attention(dev, thread, &out, &x, rows, rows, &heads, kv);
    glia_comm_exchange(d->members, thread, d->states, d->states_area, bytes, bytes);
    glia_device_barrier(dev); /* the states of this rank's queries */
    const glia_activation o = attention_rows(d, (size_t)rows->n);
    glia_device_merge(dev, thread, &o, d->states, members, rows->n, own, hd);
}

static void attend(const glia_decoder *d, int thread, int layer, const glia_rows *rows) {
    const glia_local *l = &d->local;
    glia_heads heads = heads_of(d, layer);
    const glia_kv_layer kv = glia_kv_cache_layer(&d->kv, layer);
    const size_t k = glia_k_column(d->ops, &d->w->parallel, l);
    const glia_activation qkv = qkv_rows(d, d->qkv, (size_t)rows->n);
    const glia_qkv x = {.q = qkv, .kv = qkv, .k = k, .v = k + l->kv, .block_heads = heads.heads};
    const glia_attended out = {.o = attention_rows(d, (size_t)rows->n), .block_heads = heads.heads};
    if (d->members) {
        attend_shared(d, thread, rows, x, heads, &kv);
        return;
    }
    heads.first_kv = l->shard * l->kv_heads / l->cp; /* the heads of this rank's own shard */
    heads.kv_heads = l->kv_heads > l->cp ? l->kv_heads / l->cp : 1;
    glia_device_attention(d->device, thread, &out, &x, rows, rows, &heads, &kv);
}

/* ---- rows split among ranks (context parallelism) --------------------------- */

void glia_split_rows(glia_decoder *d, const glia_batch *b) {
    const glia_parallel *p = &d->w->parallel;
    glia_split_step *a = &d->split;
    const int m = b->n_rows, share = (int)glia_even_size((size_t)m, p->tp), n = share * p->tp;
    const int places = p->cp_degree, each = n / places, place = glia_cp_rank(p->rank, places);
    int32_t *at = a->numbers;
    int32_t *const seq = at, *const position = at + n, *const slot = at + 2 * n, *const all = at + 3 * n;
    int32_t *const adapter = at + 7 * n, *const all_adapters = at + 8 * n;
    a->on = true;
    a->n = n;
    a->token = at + 6 * n;
    int real = 0;
    for (int k = 0; k < each; k++) { /* padding rows come last in each rank's rows */
        const int i = (int)glia_cp_row(p->cp_strided, (size_t)n, places, place, (size_t)k);
        if (i >= m) break;
        seq[k] = b->seq[i];
        position[k] = b->position[i];
        slot[k] = b->slot[i];
        adapter[k] = b->adapter ? b->adapter[i] : 0;
        real++;
    }
    for (int k = 0; k < each; k++)
        for (int c = 0; c < places; c++) {
            const int i = (int)glia_cp_row(p->cp_strided, (size_t)n, places, c, (size_t)k);
            const int j = k * places + c;
            all[j] = i < m ? b->seq[i] : 0;
            all[n + j] = i < m ? b->position[i] : 0;
            all[2 * n + j] = i < m ? b->slot[i] : -1;
            all_adapters[j] = i < m && b->adapter ? b->adapter[i] : 0;
        }
    for (int i = 0; i < n; i++)
        a->token[glia_cp_index(p->cp_strided, (size_t)n, p->tp, places, (size_t)i)] = i < m ? b->token[i] : 0;
    const glia_rows rows = {.block_table = b->block_table, .max_blocks = b->max_blocks};
    a->mine = a->stored = rows;
    a->mine.n = real;
    a->mine.seq = seq;
    a->mine.position = position;
    a->mine.slot = slot;
    a->mine.adapter = adapter;
    a->stored.n = n;
    a->stored.seq = all;
    a->stored.position = all + n;
    a->stored.slot = all + 2 * n;
    a->stored.adapter = all_adapters;
}

/* Attend with this rank's rows and all shards that the rank holds over the keys and values of all rows. */
static void attend_split(const glia_decoder *d, glia_walk *walk, int layer) {
    const glia_device *dev = d->device;
    const glia_local *l = &d->local;
    const glia_layer_weights *w = &d->w->layer[layer];
    const int thread = walk->thread, shards = l->cp, each = d->split.n / shards;
    const size_t rows = (size_t)each, q_block = rows * d->ld_q, ld_kv = d->ops->stride(2 * l->kv);
    float *q = d->qkv, *kv = q + (size_t)shards * q_block;
    const glia_layer_places a = glia_places_of(d, layer);
    const glia_row_norm norm = norm_of(d, layer);
    const glia_operand normed = glia_spread_rows(walk, d->row_group, each, &norm, &w->kv);
    glia_linear_out out_kv = {.epilogue = GLIA_STORE,
                              .y = plain_rows(kv, rows, ld_kv),
                              .bias = w->kv_bias,
                              .adapted = glia_adapted_mine(d, a.kv)};
    glia_operand adapted;
    if (glia_spread_adapted(&adapted, walk, d->row_group, each, &norm, &w->kv, &out_kv.adapted))
        out_kv.adapted.rows = &adapted;
    for (int s = 0; s < shards; s++) {
        glia_linear_out out = {.epilogue = GLIA_STORE,
                               .y = plain_rows(q + (size_t)s * q_block, rows, d->ld_q),
                               .bias = w->q_bias[s],
                               .adapted = out_kv.adapted};
        out.adapted.of = a.q_shard[s];
        glia_device_multiply(dev, thread, &normed, each, &w->q_shard[s], &out);
    }
    glia_device_multiply(dev, thread, &normed, each, &w->kv, &out_kv);
    const glia_gather of_kv = {.rows = rows,
                               .n = (size_t)shards * 2 * l->kv,
                               .unit = sizeof(float),
                               .ld_in = ld_kv * sizeof(float),
                               .ld_out = (size_t)shards * 2 * l->kv * sizeof(float)};
    glia_comm_all_gather(d->head_group, thread, d->all_kv, kv, &of_kv);
    glia_device_barrier(dev); /* keys and values of all rows, q of these */
    glia_heads heads = heads_of(d, layer);
    heads.heads *= shards;
    const glia_kv_layer cache = glia_kv_cache_layer(&d->kv, layer);
    const glia_qkv x = {.q = plain_rows(q, rows, d->ld_q),
                        .kv = plain_rows(d->all_kv, (size_t)d->split.n, 2 * l->kv),
                        .v = l->kv,
                        .block_heads = l->heads,
                        .q_block = q_block};
    const glia_attended out = {.o = attention_rows(d, rows), .block_heads = l->heads, .o_block = q_block};
    glia_device_attention(dev, thread, &out, &x, &d->split.mine, &d->split.stored, &heads, &cache);
    glia_device_barrier(dev); /* attention */
}

/* ---- the block ------------------------------------------------------------- */

void glia_decoder_attention(const glia_decoder *d, glia_walk *walk, int layer, const glia_rows *rows) {
    const glia_layer_weights *w = &d->w->layer[layer];
    const glia_layer_places a = glia_places_of(d, layer);
    if (d->split.on) {
        const glia_activation o = attention_rows(d, (size_t)(d->split.n / d->local.cp));
        glia_adapted shards[GLIA_CP_MAX];
        for (int s = 0; s < d->local.cp; s++) shards[s] = glia_adapted_mine(d, a.o_shard[s]);
        attend_split(d, walk, layer);
        glia_row_parallel_parts(walk, d->row_group, &o, w->o_shard, d->local.cp, w->o_bias, shards);
    } else {
        const glia_activation o = attention_rows(d, (size_t)walk->m);
        const bool cp = d->w->parallel.cp_degree > 1;
        const glia_adapted of_o = glia_adapted_rows(d, cp ? a.o_shard[d->local.shard] : a.o);
        project(d, walk, layer);
        glia_device_barrier(d->device); /* qkv */
        attend(d, walk->thread, layer, rows);
        glia_device_barrier(d->device); /* attention */
        glia_row_parallel(walk, &o, cp ? &w->o_shard[d->local.shard] : &w->o, w->o_bias, &of_o);
    }
    glia_device_barrier(d->device); /* hidden */
}
