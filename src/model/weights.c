/* weights.c - where each weight of a model stands in memory: plan and bindings. */
#include "model/weights.h"

#include <assert.h>
#include <stdlib.h>

#include "model/artifact.h"
#include "model/load.h"
#include "model/pack.h"

enum {
    REGION_EMBED,
    REGION_HEAD,
    REGION_VECTORS,
    REGION_QKV,
    REGION_O,
    REGION_GATE_UP,
    REGION_DOWN,
    REGION_SCALES,
    N_REGIONS,
};

static glia_matrix shaped(const glia_quantize *q, int layer, glia_product product, glia_dtype dtype,
                          size_t columns, size_t k) {
    const bool i8 = glia_quantizes(q, layer, product);
    return (glia_matrix){
        .dtype = i8 ? GLIA_DTYPE_I8 : dtype,
        .columns = columns,
        .k = k,
        /* few rows meet the head, so it waits for its weights and gains nothing from int8 rows */
        .quantize_rows = i8 && q->scheme == GLIA_QUANTIZATION_W8A8 && product != PRODUCT_HEAD,
    };
}

/* One layer's matrices without memory. */
static glia_layer_weights shape_of(const glia_model_config *c, const glia_parallel *p,
                                   const glia_local *local, glia_dtype dtype, const glia_quantize *quantize,
                                   int layer) {
    const size_t hidden = (size_t)c->hidden;
    assert(local->cp <= GLIA_CP_MAX);
    glia_layer_weights l = {
        .gate_up = shaped(quantize, layer, PRODUCT_GATE_UP, dtype, 2 * glia_pack_width(local->ffn), hidden),
        .down = shaped(quantize, layer, PRODUCT_DOWN, dtype, hidden, local->ffn),
    };
    const glia_matrix o = shaped(quantize, layer, PRODUCT_O, dtype, hidden, local->q);
    if (p->cp_degree == 1) {
        l.qkv = shaped(quantize, layer, PRODUCT_QKV, dtype, local->q + 2 * local->kv, hidden);
        l.o = o;
        return l;
    }
    l.kv = shaped(quantize, layer, PRODUCT_QKV, dtype, 2 * local->kv, hidden);
    for (int i = 0; i < local->cp; i++) {
        l.q_shard[i] = shaped(quantize, layer, PRODUCT_QKV, dtype, local->q, hidden);
        l.o_shard[i] = o;
    }
    return l;
}

/* The floats of a layer's vectors, as bind_vectors() cuts them. */
static size_t vector_floats(const glia_model_spec *spec, const glia_model_config *c,
                            const glia_layer_weights *shape, const glia_local *local) {
    const size_t hidden = glia_pack_width((size_t)c->hidden);
    size_t n = 2 * hidden;
    if (glia_spec_has(spec, c, W_Q_NORM)) n += 2 * glia_pack_width((size_t)c->head_dim);
    if (glia_spec_has(spec, c, W_Q_BIAS))
        n += glia_pack_width(shape->qkv.columns) + glia_pack_width(shape->kv.columns) +
             (size_t)local->cp * glia_pack_width(shape->q_shard[0].columns);
    if (glia_spec_has(spec, c, W_O_BIAS)) n += hidden;
    if (c->mlp_bias) n += shape->gate_up.columns + hidden;
    return n;
}

/* A layer's matrices that are not empty, in the order of memory. */
enum { MATRICES_MAX = 3 + 2 * GLIA_CP_MAX };
typedef struct {
    glia_matrix *matrix;
    int region;
} placed;

static int list_matrices(placed list[MATRICES_MAX], glia_layer_weights *l) {
    int n = 0;
    if (l->qkv.columns) list[n++] = (placed){&l->qkv, REGION_QKV};
    for (int i = 0; i < GLIA_CP_MAX && l->q_shard[i].columns; i++)
        list[n++] = (placed){&l->q_shard[i], REGION_QKV};
    if (l->kv.columns) list[n++] = (placed){&l->kv, REGION_QKV};
    if (l->o.columns) list[n++] = (placed){&l->o, REGION_O};
    for (int i = 0; i < GLIA_CP_MAX && l->o_shard[i].columns; i++)
        list[n++] = (placed){&l->o_shard[i], REGION_O};
    list[n++] = (placed){&l->gate_up, REGION_GATE_UP};
    list[n++] = (placed){&l->down, REGION_DOWN};
    return n;
}

static size_t scale_floats(const glia_matrix *m) { return glia_pack_scale_bytes(m) / sizeof(float); }

static glia_matrix embed_shape(const glia_local *local, glia_dtype dtype) {
    return shaped(NULL, 0, PRODUCT_HEAD, dtype, local->embed_vocab, local->embed_hidden);
}
static glia_matrix head_shape(const glia_model_config *c, const glia_local *local, glia_dtype dtype,
                              const glia_quantize *q) {
    return shaped(q, 0, PRODUCT_HEAD, dtype, local->vocab, (size_t)c->hidden);
}
bool glia_weights_share_head(const glia_model_config *c, const glia_parallel *p, const glia_quantize *q) {
    return c->tied_head && (p->vocab_parallel || p->tp == 1) && !glia_quantizes(q, 0, PRODUCT_HEAD);
}

/* A sum past size_t stays at its end, where glia_plan_add() refuses it. */
static void add_bytes(size_t *sum, const glia_matrix *m) {
    if (__builtin_add_overflow(*sum, glia_pack_bytes(m), sum)) *sum = SIZE_MAX;
}

static void make_plan(glia_plan *plan, const glia_model_spec *spec, const glia_model_config *c,
                      const glia_parallel *p, glia_dtype dtype, const glia_quantize *quantize) {
    const glia_local local = glia_local_of(c, p);
    const glia_matrix embed = embed_shape(&local, dtype), head = head_shape(c, &local, dtype, quantize);
    const bool shared = glia_weights_share_head(c, p, quantize);
    size_t vectors = glia_pack_width((size_t)c->hidden), scales = scale_floats(&head);
    size_t bytes[N_REGIONS] = {0};
    for (int i = 0; i < c->layers; i++) {
        glia_layer_weights shape = shape_of(c, p, &local, dtype, quantize, i);
        placed list[MATRICES_MAX];
        const int n = list_matrices(list, &shape);
        vectors += vector_floats(spec, c, &shape, &local);
        for (int k = 0; k < n; k++) {
            add_bytes(&bytes[list[k].region], list[k].matrix);
            scales += scale_floats(list[k].matrix);
        }
    }
    glia_plan_add(plan, shared ? "embedding and head (tied)" : "embedding", 1, glia_pack_bytes(&embed));
    glia_plan_add(plan, "head", shared ? 0 : 1, glia_pack_bytes(&head));
    glia_plan_add(plan, "norms and biases", vectors, sizeof(float));
    glia_plan_add(plan, "qkv", 1, bytes[REGION_QKV]);
    glia_plan_add(plan, "o", 1, bytes[REGION_O]);
    glia_plan_add(plan, "gate and up", 1, bytes[REGION_GATE_UP]);
    glia_plan_add(plan, "down", 1, bytes[REGION_DOWN]);
    glia_plan_add(plan, "scales", scales, sizeof(float));
}

void glia_weights_plan(glia_plan *plan, const glia_model_config *c, const glia_parallel *p, glia_dtype dtype,
                       const glia_quantize *quantize) {
    make_plan(plan, glia_spec_find(c->architecture), c, p, dtype, quantize);
}

static glia_matrix place(char **at, float **scales, glia_matrix shape) {
    shape.panels = *at;
    *at += glia_pack_bytes(&shape);
    if (scale_floats(&shape)) shape.scale = *scales;
    *scales += scale_floats(&shape);
    return shape;
}

static float *cut(float **at, bool present, size_t floats) {
    float *p = present ? *at : NULL;
    if (present) *at += floats;
    return p;
}

static void bind_vectors(const glia_weights *w, glia_layer_weights *l, float **at) {
    const glia_model_config *c = w->config;
    const size_t hidden = glia_pack_width((size_t)c->hidden), head = glia_pack_width((size_t)c->head_dim);
    const bool norms = glia_spec_has(w->spec, c, W_Q_NORM);
    const bool qkv_bias = glia_spec_has(w->spec, c, W_Q_BIAS), o_bias = glia_spec_has(w->spec, c, W_O_BIAS);
    l->in_norm = cut(at, true, hidden);
    l->post_norm = cut(at, true, hidden);
    l->q_norm = cut(at, norms, head);
    l->k_norm = cut(at, norms, head);
    l->qkv_bias = cut(at, qkv_bias && l->qkv.columns, glia_pack_width(l->qkv.columns));
    for (int i = 0; i < w->local.cp; i++)
        l->q_bias[i] = cut(at, qkv_bias && l->q_shard[i].columns, glia_pack_width(l->q_shard[i].columns));
    l->kv_bias = cut(at, qkv_bias && l->kv.columns, glia_pack_width(l->kv.columns));
    l->o_bias = cut(at, o_bias, hidden);
    l->gate_up_bias = cut(at, c->mlp_bias, l->gate_up.columns);
    l->down_bias = cut(at, c->mlp_bias, hidden);
}

static void bind(glia_weights *w, const glia_quantize *quantize) {
    const glia_model_config *c = w->config;
    char *next[N_REGIONS];
    for (int r = 0; r < N_REGIONS; r++) next[r] = glia_plan_at(&w->plan, r);
    float *at = (float *)next[REGION_VECTORS], *scales = (float *)next[REGION_SCALES];
    w->embed = place(&next[REGION_EMBED], &scales, embed_shape(&w->local, w->dtype));
    w->head = glia_weights_share_head(c, &w->parallel, quantize)
                  ? w->embed
                  : place(&next[REGION_HEAD], &scales, head_shape(c, &w->local, w->dtype, quantize));
    w->final_norm = cut(&at, true, glia_pack_width((size_t)c->hidden));
    for (int i = 0; i < c->layers; i++) {
        glia_layer_weights *l = &w->layer[i];
        placed list[MATRICES_MAX];
        *l = shape_of(c, &w->parallel, &w->local, w->dtype, quantize, i);
        const int n = list_matrices(list, l);
        for (int k = 0; k < n; k++) *list[k].matrix = place(&next[list[k].region], &scales, *list[k].matrix);
        bind_vectors(w, l, &at);
    }
}

/* Attention takes at once the query heads that share a KV head: of the shards that the rank
 * holds, in flash decoding of all ranks that share its positions. */
static glia_status check_limits(const glia_model_config *c, const glia_parallel *p, const glia_local *local,
                                glia_err *err) {
    const int shards = p->flash_decoding ? local->members : local->cp,
              queries = local->heads * shards / local->kv_heads;
    if (p->cp_degree > GLIA_CP_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "context_parallel_size is %d, limit is %d", p->cp_degree,
                         GLIA_CP_MAX);
    if (c->head_dim > GLIA_HEAD_DIM_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "config.json: head_dim is %lld, limit is %d",
                         (long long)c->head_dim, GLIA_HEAD_DIM_MAX);
    if (queries > GLIA_QUERIES_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "config.json: %d attention heads share a key-value head at tensor_parallel_size %d, "
                         "limit is %d",
                         queries, p->tp, GLIA_QUERIES_MAX);
    return GLIA_OK;
}

glia_status glia_weights_load(glia_weights **out, const char *dir, const glia_model_config *config,
                              const glia_weights_options *options, glia_err *err) {
    const bool compiled = !options->dummy && glia_artifact_in(dir);
    *out = NULL;
    glia_weights *w = calloc(1, sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "the weights");
    w->config = config;
    w->spec = options->spec ? options->spec : glia_spec_find(config->architecture);
    w->parallel = options->parallel ? *options->parallel : glia_alone;
    w->local = glia_local_of(config, &w->parallel);
    w->dtype = options->dtype;
    w->layer = calloc((size_t)config->layers, sizeof *w->layer);
    glia_status status = check_limits(config, &w->parallel, &w->local, err);
    if (status == GLIA_OK && !w->layer)
        status = glia_fail_nomem(err, (size_t)config->layers * sizeof *w->layer, "the layers");
    if (status == GLIA_OK) {
        make_plan(&w->plan, w->spec, config, &w->parallel, options->dtype, options->quantize);
        status =
            compiled ? glia_artifact_map(w, dir, options, err) : glia_plan_map(&w->plan, "the weights", err);
    }
    if (status == GLIA_OK) {
        bind(w, options->quantize);
        status =
            compiled ? glia_artifact_check(w, dir, options, err) : glia_weights_fill(w, dir, options, err);
    }
    if (status == GLIA_OK)
        *out = w;
    else
        glia_weights_free(w);
    return status;
}

uint64_t glia_weights_matrix_bytes(const glia_weights *w) {
    uint64_t sum = glia_pack_bytes(&w->head) + sizeof(float) * scale_floats(&w->head);
    for (int i = 0; i < w->config->layers; i++) {
        glia_layer_weights l = w->layer[i];
        placed list[MATRICES_MAX];
        const int n = list_matrices(list, &l);
        for (int s = 0; s < w->local.cp; s++) /* a step of few rows takes its own shard alone */
            if (s != w->local.shard) l.q_shard[s] = l.o_shard[s] = (glia_matrix){0};
        for (int k = 0; k < n; k++)
            sum += glia_pack_bytes(list[k].matrix) + sizeof(float) * scale_floats(list[k].matrix);
    }
    return sum;
}

void glia_weights_free(glia_weights *w) {
    if (!w) return;
    if (w->artifact.map.data)
        glia_safetensors_close(&w->artifact);
    else
        glia_plan_unmap(&w->plan);
    free(w->layer);
    free(w);
}
