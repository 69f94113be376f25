/* weights.c - where each weight of a model stands in memory: plan and bindings. */
#include "model/weights.h"

#include <stdlib.h>

#include "model/artifact.h"
#include "model/load.h"

enum {
    REGION_EMBED,
    REGION_HEAD,
    REGION_VECTORS,
    REGION_QKV,
    REGION_O,
    REGION_GATE_UP,
    REGION_DOWN,
    REGION_SCALES,
};

static size_t round_up(size_t n) { return glia_panels(n) * GLIA_PANEL; }

/* Shapes of one layer's matrices and the floats of its vectors, as bind_layer() cuts them. */
typedef struct {
    glia_matrix qkv, o, gate_up, down;
    size_t vector_floats;
} layer_shape;

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

static layer_shape shape_of(const glia_model_spec *spec, const glia_model_config *c, const glia_local *local,
                            glia_dtype dtype, const glia_quantize *quantize, int layer) {
    const size_t hidden = (size_t)c->hidden, qkv = local->q + 2 * local->kv;
    const size_t pair = 2 * round_up(local->ffn), head = round_up((size_t)c->head_dim);
    layer_shape s = {
        .qkv = shaped(quantize, layer, PRODUCT_QKV, dtype, qkv, hidden),
        .o = shaped(quantize, layer, PRODUCT_O, dtype, hidden, local->q),
        .gate_up = shaped(quantize, layer, PRODUCT_GATE_UP, dtype, pair, hidden),
        .down = shaped(quantize, layer, PRODUCT_DOWN, dtype, hidden, local->ffn),
        .vector_floats = 2 * round_up(hidden),
    };
    if (glia_spec_has(spec, c, W_Q_NORM)) s.vector_floats += 2 * head;
    if (glia_spec_has(spec, c, W_Q_BIAS)) s.vector_floats += round_up(qkv);
    if (glia_spec_has(spec, c, W_O_BIAS)) s.vector_floats += round_up(hidden);
    if (c->mlp_bias) s.vector_floats += pair + round_up(hidden);
    return s;
}

static size_t matrix_bytes(const glia_matrix *m) {
    return glia_panels(m->columns) * glia_panel_bytes(m->dtype, m->k);
}
static size_t scale_floats(const glia_matrix *m) {
    return m->dtype == GLIA_DTYPE_I8 ? round_up(m->columns) : 0;
}

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
    if (__builtin_add_overflow(*sum, matrix_bytes(m), sum)) *sum = SIZE_MAX;
}

static void make_plan(glia_plan *plan, const glia_model_spec *spec, const glia_model_config *c,
                      const glia_parallel *p, glia_dtype dtype, const glia_quantize *quantize) {
    const glia_local local = glia_local_of(c, p);
    const glia_matrix embed = embed_shape(&local, dtype), head = head_shape(c, &local, dtype, quantize);
    const bool shared = glia_weights_share_head(c, p, quantize);
    size_t vectors = round_up((size_t)c->hidden), scales = scale_floats(&head);
    size_t qkv = 0, o = 0, gate_up = 0, down = 0;
    for (int i = 0; i < c->layers; i++) {
        const layer_shape s = shape_of(spec, c, &local, dtype, quantize, i);
        vectors += s.vector_floats;
        add_bytes(&qkv, &s.qkv);
        add_bytes(&o, &s.o);
        add_bytes(&gate_up, &s.gate_up);
        add_bytes(&down, &s.down);
        scales +=
            scale_floats(&s.qkv) + scale_floats(&s.o) + scale_floats(&s.gate_up) + scale_floats(&s.down);
    }
    glia_plan_add(plan, shared ? "embedding and head (tied)" : "embedding", 1, matrix_bytes(&embed));
    glia_plan_add(plan, "head", shared ? 0 : 1, matrix_bytes(&head));
    glia_plan_add(plan, "norms and biases", vectors, sizeof(float));
    glia_plan_add(plan, "qkv", 1, qkv);
    glia_plan_add(plan, "o", 1, o);
    glia_plan_add(plan, "gate and up", 1, gate_up);
    glia_plan_add(plan, "down", 1, down);
    glia_plan_add(plan, "scales", scales, sizeof(float));
}

void glia_weights_plan(glia_plan *plan, const glia_model_config *c, const glia_parallel *p, glia_dtype dtype,
                       const glia_quantize *quantize) {
    make_plan(plan, glia_spec_find(c->architecture), c, p, dtype, quantize);
}

/* Where the next matrix of each region and the next scales go. */
typedef struct {
    char *qkv, *o, *gate_up, *down;
    float *scales;
} cursor;

static glia_matrix place(char **at, cursor *next, glia_matrix shape) {
    shape.panels = *at;
    *at += matrix_bytes(&shape);
    if (scale_floats(&shape)) shape.scale = next->scales;
    next->scales += scale_floats(&shape);
    return shape;
}

static float *cut(float **at, bool present, size_t floats) {
    float *p = present ? *at : NULL;
    if (present) *at += floats;
    return p;
}

static void bind(glia_weights *w, const glia_quantize *quantize) {
    const glia_model_config *c = w->config;
    const size_t hidden = round_up((size_t)c->hidden), head = round_up((size_t)c->head_dim);
    float *at = glia_plan_at(&w->plan, REGION_VECTORS);
    const bool norms = glia_spec_has(w->spec, c, W_Q_NORM);
    const bool qkv_bias = glia_spec_has(w->spec, c, W_Q_BIAS), o_bias = glia_spec_has(w->spec, c, W_O_BIAS);
    cursor next = {.qkv = glia_plan_at(&w->plan, REGION_QKV),
                   .o = glia_plan_at(&w->plan, REGION_O),
                   .gate_up = glia_plan_at(&w->plan, REGION_GATE_UP),
                   .down = glia_plan_at(&w->plan, REGION_DOWN),
                   .scales = glia_plan_at(&w->plan, REGION_SCALES)};
    char *embed = glia_plan_at(&w->plan, REGION_EMBED), *head_at = glia_plan_at(&w->plan, REGION_HEAD);
    w->embed = place(&embed, &next, embed_shape(&w->local, w->dtype));
    w->head = glia_weights_share_head(c, &w->parallel, quantize)
                  ? w->embed
                  : place(&head_at, &next, head_shape(c, &w->local, w->dtype, quantize));
    w->final_norm = cut(&at, true, hidden);
    for (size_t i = 0; i < (size_t)c->layers; i++) {
        const layer_shape s = shape_of(w->spec, c, &w->local, w->dtype, quantize, (int)i);
        glia_layer_weights *l = &w->layer[i];
        l->qkv = place(&next.qkv, &next, s.qkv);
        l->o = place(&next.o, &next, s.o);
        l->gate_up = place(&next.gate_up, &next, s.gate_up);
        l->down = place(&next.down, &next, s.down);
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

/* Attention takes at once the query heads that share a KV head: the rank's, in flash
 * decoding those of all ranks that share its positions. */
static glia_status check_limits(const glia_model_config *c, const glia_parallel *p, const glia_local *local,
                                glia_err *err) {
    const int group = p->flash_decoding ? glia_flash_group(&local->cut) : 1,
              queries = local->heads / local->kv_heads * group;
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
    uint64_t sum = matrix_bytes(&w->head) + sizeof(float) * scale_floats(&w->head);
    for (int i = 0; i < w->config->layers; i++) {
        const glia_layer_weights *l = &w->layer[i];
        const glia_matrix *const all[] = {&l->qkv, &l->o, &l->gate_up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            sum += matrix_bytes(all[k]) + sizeof(float) * scale_floats(all[k]);
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
