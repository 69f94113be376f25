/* weights.c - where each weight of a model stands in memory: plan and bindings. */
#include "model/weights.h"

#include <stdlib.h>

#include "model/load.h"

enum { REGION_EMBED, REGION_HEAD, REGION_VECTORS, REGION_QKV, REGION_O, REGION_GATE_UP, REGION_DOWN };

static size_t round_up(size_t n) { return glia_panels(n) * GLIA_PANEL; }

/* Shapes of one layer's matrices and the floats of its vectors, as bind_layer() cuts them. */
typedef struct {
    glia_matrix qkv, o, gate_up, down;
    size_t vector_floats;
} layer_shape;

static layer_shape shape_of(const glia_model_config *c, glia_dtype dtype) {
    const size_t hidden = (size_t)c->hidden, q = (size_t)glia_dim_of(c, D_Q),
                 kv = (size_t)glia_dim_of(c, D_KV);
    const glia_model_spec *spec = glia_spec_find(c->architecture);
    const size_t ffn = (size_t)c->ffn, pair = 2 * round_up(ffn), head = round_up((size_t)c->head_dim);
    layer_shape s = {
        .qkv = {.dtype = dtype, .columns = q + 2 * kv, .k = hidden},
        .o = {.dtype = dtype, .columns = hidden, .k = q},
        .gate_up = {.dtype = dtype, .columns = pair, .k = hidden},
        .down = {.dtype = dtype, .columns = hidden, .k = ffn},
        .vector_floats = 2 * round_up(hidden) + 2 * head,
    };
    if (glia_spec_has(spec, c, W_Q_BIAS)) s.vector_floats += round_up(q + 2 * kv);
    if (glia_spec_has(spec, c, W_O_BIAS)) s.vector_floats += round_up(hidden);
    if (c->mlp_bias) s.vector_floats += pair + round_up(hidden);
    return s;
}

static size_t matrix_bytes(const glia_matrix *m) {
    return glia_panels(m->columns) * glia_panel_bytes(m->dtype, m->k);
}

static glia_matrix vocab_shape(const glia_model_config *c, glia_dtype dtype) {
    return (glia_matrix){.dtype = dtype, .columns = (size_t)c->vocab, .k = (size_t)c->hidden};
}

void glia_weights_plan(glia_plan *plan, const glia_model_config *c, glia_dtype dtype) {
    const layer_shape s = shape_of(c, dtype);
    const glia_matrix vocab = vocab_shape(c, dtype);
    const size_t layers = (size_t)c->layers;
    glia_plan_add(plan, c->tied_head ? "embedding and head (tied)" : "embedding", 1, matrix_bytes(&vocab));
    glia_plan_add(plan, "head", c->tied_head ? 0 : 1, matrix_bytes(&vocab));
    glia_plan_add(plan, "norms and biases", layers * s.vector_floats + round_up((size_t)c->hidden),
                  sizeof(float));
    glia_plan_add(plan, "qkv", layers, matrix_bytes(&s.qkv));
    glia_plan_add(plan, "o", layers, matrix_bytes(&s.o));
    glia_plan_add(plan, "gate and up", layers, matrix_bytes(&s.gate_up));
    glia_plan_add(plan, "down", layers, matrix_bytes(&s.down));
}

static glia_matrix place(const glia_plan *plan, int region, size_t i, glia_matrix shape) {
    shape.panels = (char *)glia_plan_at(plan, region) + i * matrix_bytes(&shape);
    return shape;
}

static float *cut(float **at, bool present, size_t floats) {
    float *p = present ? *at : NULL;
    if (present) *at += floats;
    return p;
}

static void bind(glia_weights *w) {
    const glia_model_config *c = w->config;
    const layer_shape s = shape_of(c, w->dtype);
    const size_t hidden = round_up((size_t)c->hidden), head = round_up((size_t)c->head_dim);
    float *at = glia_plan_at(&w->plan, REGION_VECTORS);
    const bool norms = glia_spec_has(w->spec, c, W_Q_NORM);
    const bool qkv_bias = glia_spec_has(w->spec, c, W_Q_BIAS), o_bias = glia_spec_has(w->spec, c, W_O_BIAS);
    w->embed = place(&w->plan, REGION_EMBED, 0, vocab_shape(c, w->dtype));
    w->head = place(&w->plan, c->tied_head ? REGION_EMBED : REGION_HEAD, 0, vocab_shape(c, w->dtype));
    w->final_norm = cut(&at, true, hidden);
    for (size_t i = 0; i < (size_t)c->layers; i++) {
        glia_layer_weights *l = &w->layer[i];
        l->qkv = place(&w->plan, REGION_QKV, i, s.qkv);
        l->o = place(&w->plan, REGION_O, i, s.o);
        l->gate_up = place(&w->plan, REGION_GATE_UP, i, s.gate_up);
        l->down = place(&w->plan, REGION_DOWN, i, s.down);
        l->in_norm = cut(&at, true, hidden);
        l->post_norm = cut(&at, true, hidden);
        l->q_norm = cut(&at, norms, head);
        l->k_norm = cut(&at, norms, head);
        l->qkv_bias = cut(&at, qkv_bias, round_up(s.qkv.columns));
        l->o_bias = cut(&at, o_bias, hidden);
        l->gate_up_bias = cut(&at, c->mlp_bias, s.gate_up.columns);
        l->down_bias = cut(&at, c->mlp_bias, hidden);
    }
}

static glia_status check_limits(const glia_model_config *c, glia_err *err) {
    if (c->head_dim > GLIA_HEAD_DIM_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "config.json: head_dim is %lld, limit is %d",
                         (long long)c->head_dim, GLIA_HEAD_DIM_MAX);
    if (c->heads / c->kv_heads > GLIA_QUERIES_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "config.json: %d attention heads share a key-value head, limit is %d",
                         c->heads / c->kv_heads, GLIA_QUERIES_MAX);
    return GLIA_OK;
}

glia_status glia_weights_load(glia_weights **out, const char *dir, const glia_model_config *config,
                              const glia_weights_options *options, glia_err *err) {
    *out = NULL;
    glia_weights *w = calloc(1, sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "the weights");
    w->config = config;
    w->spec = glia_spec_find(config->architecture);
    w->dtype = options->dtype;
    w->layer = calloc((size_t)config->layers, sizeof *w->layer);
    glia_status status = check_limits(config, err);
    if (status == GLIA_OK && !w->layer)
        status = glia_fail_nomem(err, (size_t)config->layers * sizeof *w->layer, "the layers");
    if (status == GLIA_OK) {
        glia_weights_plan(&w->plan, config, options->dtype);
        status = glia_plan_map(&w->plan, "the weights", err);
    }
    if (status == GLIA_OK) {
        bind(w);
        status = glia_weights_fill(w, dir, options, err);
    }
    if (status == GLIA_OK)
        *out = w;
    else
        glia_weights_free(w);
    return status;
}

void glia_weights_free(glia_weights *w) {
    if (!w) return;
    glia_plan_unmap(&w->plan);
    free(w->layer);
    free(w);
}
