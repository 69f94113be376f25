/* check_load_ranks.c - every element that a rank holds is the model's element, or zero.
 *
 * This file states again, from docs/PARALLEL.md, which rows and columns a rank
 * holds: it does not use model/fused.h. Values come from the checkpoint. Those of
 * dummies, and int8 scales, come from the weights of a single rank. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bf16.h"
#include "format/checkpoint.h"
#include "kernel/panel.h"
#include "model/replicas.h"
#include "model/weights.h"

static const int degrees[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32};
enum { N_DEGREES = sizeof degrees / sizeof *degrees };

static glia_team *team, *three; /* of one thread, and of three threads, which pack at tp 3 */

/* ---- the whole model ------------------------------------------------------- */

typedef struct {
    const glia_model_config *config;
    const glia_checkpoint *checkpoint; /* NULL: values come from `whole` */
    const glia_weights *whole;         /* the weights of a single rank */
} model;

/* The preshard row of the weight, or NULL. */
static const glia_preshard *preshard_of(const model *m, glia_weight_id id) {
    for (size_t i = 0; i < m->whole->spec->n_preshards; i++)
        if (m->whole->spec->preshard[i].id == id) return &m->whole->spec->preshard[i];
    return NULL;
}

/* The matrix or vector that holds a weight, and the column where the weight begins. */
typedef struct {
    const glia_matrix *m;
    const float *vector;
    size_t at;
    bool alternate;
} place;

static place place_of(const glia_weights *w, int layer, glia_weight_id id) {
    const glia_layer_weights *l = &w->layer[layer];
    const size_t k = w->local.q, v = w->local.q + w->local.kv;
    switch ((int)id) {
    case W_EMBED: return (place){.m = &w->embed};
    case W_HEAD: return (place){.m = &w->head};
    case W_FINAL_NORM: return (place){.vector = w->final_norm};
    case W_Q: return (place){.m = &l->qkv};
    case W_K: return (place){.m = &l->qkv, .at = k};
    case W_V: return (place){.m = &l->qkv, .at = v};
    case W_O: return (place){.m = &l->o};
    case W_GATE: return (place){.m = &l->gate_up, .alternate = true};
    case W_UP: return (place){.m = &l->gate_up, .at = GLIA_PANEL, .alternate = true};
    case W_DOWN: return (place){.m = &l->down};
    case W_IN_NORM: return (place){.vector = l->in_norm};
    case W_POST_NORM: return (place){.vector = l->post_norm};
    case W_Q_NORM: return (place){.vector = l->q_norm};
    case W_K_NORM: return (place){.vector = l->k_norm};
    case W_Q_BIAS: return (place){.vector = l->qkv_bias};
    case W_K_BIAS: return (place){.vector = l->qkv_bias, .at = k};
    case W_V_BIAS: return (place){.vector = l->qkv_bias, .at = v};
    case W_O_BIAS: return (place){.vector = l->o_bias};
    case W_GATE_BIAS: return (place){.vector = l->gate_up_bias, .alternate = true};
    case W_UP_BIAS: return (place){.vector = l->gate_up_bias, .at = GLIA_PANEL, .alternate = true};
    case W_DOWN_BIAS: return (place){.vector = l->down_bias};
    }
    fail_msg("no place for weight %d", (int)id);
    return (place){0};
}

/* The same with context parallelism, where a rank holds several shards of heads. */
static place place_in_union(const glia_weights *w, int layer, glia_weight_id id, int shard) {
    const glia_layer_weights *l = &w->layer[layer];
    switch ((int)id) {
    case W_Q: return (place){.m = &l->q_shard[shard]};
    case W_K: return (place){.m = &l->kv};
    case W_V: return (place){.m = &l->kv, .at = w->local.kv};
    case W_O: return (place){.m = &l->o_shard[shard]};
    case W_Q_BIAS: return (place){.vector = l->q_bias[shard]};
    case W_K_BIAS: return (place){.vector = l->kv_bias};
    case W_V_BIAS: return (place){.vector = l->kv_bias, .at = w->local.kv};
    }
    return place_of(w, layer, id);
}

static size_t column_of(const place *p, size_t row) {
    return p->at + (p->alternate ? row / GLIA_PANEL * 2 * GLIA_PANEL + row % GLIA_PANEL : row);
}

static float held(const place *p, size_t row, size_t k) {
    const size_t column = column_of(p, row);
    if (!p->m) return p->vector[column];
    const char *panel =
        (const char *)p->m->data + column / GLIA_PANEL * glia_panel_bytes(p->m->format, p->m->k);
    return glia_panel_get(panel, glia_weight_traits[p->m->format].element, k, column % GLIA_PANEL);
}

static float stored_at(const glia_checkpoint *c, const glia_weight *w, size_t i) {
    const glia_tensor_view *t = glia_checkpoint_find(c, w->name);
    uint16_t h;
    float f;
    if (!t) t = glia_checkpoint_find(c, w->name + strlen("model."));
    assert_non_null(t);
    if (t->dtype == GLIA_TENSOR_F32) {
        memcpy(&f, (const char *)t->data + i * 4, 4);
        return f;
    }
    assert_int_equal(t->dtype, GLIA_TENSOR_BF16);
    memcpy(&h, (const char *)t->data + i * 2, 2);
    return glia_bf16_to_f32(h);
}

static float stored(const model *m, const glia_weight *w, size_t row, size_t col) {
    enum { COLS_MAX = 256 };
    const glia_preshard *p = preshard_of(m, w->spec->id);
    const size_t n = (size_t)w->cols;
    float x[COLS_MAX];
    if (!p) return stored_at(m->checkpoint, w, row * n + col);
    const size_t from = p->source ? (size_t)p->source(m->config, (int64_t)row) : row;
    assert_true(n <= COLS_MAX);
    for (size_t i = 0; i < n; i++) x[i] = stored_at(m->checkpoint, w, from * n + i);
    if (p->change) p->change(m->config, (int64_t)row, x, w->cols);
    return x[col];
}

/* Element [row, col] of the model's weight, in the format of the matrix `to`. */
static float expected(const model *m, const glia_weight *w, const place *to, size_t row, size_t col) {
    const place p = place_of(m->whole, w->layer, w->spec->id);
    if (!m->checkpoint) return held(&p, row, col);
    const float f = stored(m, w, row, col);
    if (!to->m || to->m->format == GLIA_WEIGHT_F32) return f;
    if (to->m->format == GLIA_WEIGHT_BF16) return glia_bf16_to_f32(glia_f32_to_bf16(f));
    if (to->m->format == GLIA_WEIGHT_F16) return glia_f16_to_f32(glia_f32_to_f16(f));
    return rintf(f / p.m->scale[column_of(&p, row)]);
}

/* ---- rows and columns of a rank --------------------------------------------- */

typedef struct {
    bool is_cut;
    size_t n, size; /* size in the model; size in the rank */
    glia_dim dim;
} axis;

/* The model's index of the rank's i-th row or column; -1: zeros. */
static ptrdiff_t index_of(const model *m, const glia_parallel *p, const axis *a, size_t i) {
    const glia_head_cut cut = glia_cut_heads(m->config->heads, m->config->kv_heads, p->tp);
    const size_t hd = (size_t)m->config->head_dim;
    if (!a->is_cut) return (ptrdiff_t)i;
    if (a->dim == D_Q || a->dim == D_KV) {
        const glia_head_cut kv = glia_cp_union(&cut, p->cp_degree);
        const int at = (int)(i / hd), head = a->dim == D_Q
                                                 ? glia_q_head(&cut, p->rank * cut.q + at)
                                                 : glia_kv_head(&kv, p->rank / p->cp_degree * kv.kv + at);
        return head < 0 ? -1 : head * (ptrdiff_t)hd + (ptrdiff_t)(i % hd);
    }
    const size_t at = (size_t)p->rank * a->size + i;
    return at < a->n ? (ptrdiff_t)at : -1;
}

static void axes_of(const model *m, const glia_parallel *p, const glia_weight *w, axis *rows, axis *cols) {
    const glia_head_cut cut = glia_cut_heads(m->config->heads, m->config->kv_heads, p->tp);
    const glia_head_cut kv = glia_cp_union(&cut, p->cp_degree);
    const glia_weight_id id = w->spec->id;
    const bool by_cols = id == W_O || id == W_DOWN || (id == W_EMBED && !p->vocab_parallel);
    const bool whole = id == W_FINAL_NORM || id == W_IN_NORM || id == W_POST_NORM || id == W_Q_NORM ||
                       id == W_K_NORM || id == W_O_BIAS || id == W_DOWN_BIAS;
    *rows = (axis){!by_cols && !whole, (size_t)w->rows, (size_t)w->rows, w->spec->rows};
    *cols = (axis){by_cols, (size_t)w->cols, (size_t)w->cols, w->spec->cols};
    axis *a = by_cols ? cols : rows;
    if (whole) return;
    a->size = a->dim == D_Q    ? (size_t)cut.q * (size_t)m->config->head_dim
              : a->dim == D_KV ? (size_t)kv.kv * (size_t)m->config->head_dim
                               : (a->n + (size_t)p->tp - 1) / (size_t)p->tp;
}

/* ---- one rank -------------------------------------------------------------- */

/* For each column of a matrix, how many rows of weights it holds: all zero at first. */
static unsigned char *marks_of(const glia_matrix *m) { return calloc(glia_panels(m->columns), GLIA_PANEL); }

static void check_scale(const model *m, const glia_weight *w, const place *p, size_t row, ptrdiff_t from,
                        size_t *wrong) {
    const place whole = place_of(m->whole, w->layer, w->spec->id);
    const float scale = from < 0 ? 0 : whole.m->scale[column_of(&whole, (size_t)from)];
    if (p->m->scale[column_of(p, row)] != scale) ++*wrong;
}

/* Compare a weight and count its columns in `marks`. `shard`: one of those that the rank holds, 0 without
 * context parallelism. */
static void check_weight(const model *m, const glia_weights *w, const glia_weight *weight, int shard,
                         unsigned char *marks) {
    const bool in_union = w->parallel.cp_degree > 1;
    const place p = in_union ? place_in_union(w, weight->layer, weight->spec->id, shard)
                             : place_of(w, weight->layer, weight->spec->id);
    glia_parallel whose = w->parallel;
    axis rows, cols;
    size_t wrong = 0, shape = 0;
    if (w->local.cp > 1 && (weight->spec->rows == D_Q || weight->spec->cols == D_Q))
        whose.rank = whose.rank / whose.cp_degree * whose.cp_degree + shard;
    axes_of(m, &whose, weight, &rows, &cols);
    if (p.m && p.m->k != cols.size) shape++;
    for (size_t r = 0; !shape && r < rows.size; r++) {
        const ptrdiff_t row = index_of(m, &whose, &rows, r);
        if (marks) marks[column_of(&p, r)]++;
        if (p.m && p.m->format == GLIA_WEIGHT_I8) check_scale(m, weight, &p, r, row, &wrong);
        for (size_t k = 0; k < cols.size; k++) {
            const ptrdiff_t col = index_of(m, &whose, &cols, k);
            const float want = row < 0 || col < 0 ? 0 : expected(m, weight, &p, (size_t)row, (size_t)col);
            if (held(&p, r, k) != want) wrong++;
        }
    }
    CHECK(!shape && !wrong,
          "%s of rank %d of %d, %d part rows, shard %d: %zu elements differ, k is %zu, expected %zu",
          weight->name, w->parallel.rank, w->parallel.tp, w->parallel.cp_degree, shard, wrong,
          p.m ? p.m->k : 1, cols.size);
}

/* Columns that hold no row of a weight are zero, and so is what fills the last group along K. */
static void check_zeros(const glia_matrix *m, const unsigned char *marks, const char *name) {
    const size_t group = m->format == GLIA_WEIGHT_F32 ? 1 : m->format == GLIA_WEIGHT_I8 ? 4 : 2;
    size_t wrong = 0;
    for (size_t c = 0; c < glia_panels(m->columns) * GLIA_PANEL; c++) {
        const char *panel = (const char *)m->data + c / GLIA_PANEL * glia_panel_bytes(m->format, m->k);
        for (size_t k = marks[c] ? m->k : 0; k < (m->k + group - 1) / group * group; k++)
            if (glia_panel_get(panel, glia_weight_traits[m->format].element, k, c % GLIA_PANEL) != 0) wrong++;
        if (marks[c] > 1 || (!marks[c] && m->scale && m->scale[c] != 0)) wrong++;
    }
    CHECK(!wrong, "%s: %zu columns or elements that stand for nothing are something", name, wrong);
}

/* The weights that are fused in a matrix. */
typedef struct {
    glia_weight_id id[3];
    int n;
} fused;

static void check_matrix(const model *m, const glia_weights *w, const glia_weight *list, const fused *f,
                         int shard) {
    const int layer = list[f->id[0]].layer;
    const place p =
        w->parallel.cp_degree > 1 ? place_in_union(w, layer, f->id[0], shard) : place_of(w, layer, f->id[0]);
    unsigned char *marks = marks_of(p.m);
    for (int i = 0; i < f->n; i++) check_weight(m, w, &list[f->id[i]], shard, marks);
    check_zeros(p.m, marks, list[f->id[0]].name);
    free(marks);
}

static void check_attention(const model *m, const glia_weights *w, const glia_weight *list, int layer) {
    static const fused qkv = {{W_Q, W_K, W_V}, 3}, q = {{W_Q}, 1}, kv = {{W_K, W_V}, 2}, o = {{W_O}, 1};
    const glia_layer_weights *l = &w->layer[layer];
    if (w->parallel.cp_degree == 1) {
        assert_int_equal(l->kv.columns + l->q_shard[0].columns + l->o_shard[0].columns, 0);
        check_matrix(m, w, list, &qkv, 0);
        check_matrix(m, w, list, &o, 0);
        return;
    }
    assert_int_equal(l->qkv.columns + l->o.columns, 0);
    assert_null(l->qkv_bias);
    check_matrix(m, w, list, &kv, 0);
    for (int s = 0; s < w->local.cp; s++) {
        check_matrix(m, w, list, &q, s);
        check_matrix(m, w, list, &o, s);
        if (list[W_Q_BIAS].spec) check_weight(m, w, &list[W_Q_BIAS], s, NULL);
    }
}

static void check_matrices(const model *m, const glia_weights *w, int layer) {
    static const fused gate_up = {{W_GATE, W_UP}, 2}, down = {{W_DOWN}, 1};
    static const glia_weight_id alone[] = {W_IN_NORM,   W_POST_NORM, W_Q_NORM,   W_K_NORM,
                                           W_Q_BIAS,    W_K_BIAS,    W_V_BIAS,   W_O_BIAS,
                                           W_GATE_BIAS, W_UP_BIAS,   W_DOWN_BIAS};
    glia_weight list[N_WEIGHTS] = {0}, x;
    for (size_t i = 0; glia_spec_weight(&x, w->spec, m->config, i); i++)
        if (x.spec->id >= W_IN_NORM && x.layer == layer) list[x.spec->id] = x;
    check_attention(m, w, list, layer);
    check_matrix(m, w, list, &gate_up, 0);
    check_matrix(m, w, list, &down, 0);
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (list[alone[i]].spec) check_weight(m, w, &list[alone[i]], 0, NULL);
}

static void check_ends(const model *m, const glia_weights *w, bool int8_head) {
    const glia_model_config *c = m->config;
    const bool one = c->tied_head && !int8_head && (w->parallel.vocab_parallel || w->parallel.tp == 1);
    glia_weight x;
    CHECK((w->head.data == w->embed.data) == one, "tied %d, tp %d", c->tied_head, w->parallel.tp);
    for (size_t i = 0; glia_spec_weight(&x, w->spec, c, i) && x.spec->id < W_IN_NORM; i++) {
        const place p = place_of(w, 0, x.spec->id);
        unsigned char *marks = p.m ? marks_of(p.m) : NULL;
        check_weight(m, w, &x, 0, marks);
        if (marks) check_zeros(p.m, marks, x.name);
        free(marks);
        if (!c->tied_head || x.spec->id != W_EMBED) continue;
        x.spec = &glia_output_head; /* the name still gives the embedding's values */
        check_weight(m, w, &x, 0, NULL);
    }
}

/* Load every rank and compare all elements. */
static void check_ranks(const model *m, const char *dir, const glia_weights_options *given, glia_parallel p) {
    glia_err err;
    for (p.rank = 0; p.rank < p.tp; p.rank++) {
        glia_weights_options o = *given;
        glia_weights *w;
        o.parallel = &p;
        if (p.tp == 3) o.team = three;
        if (glia_weights_load(&w, dir, m->config, &o, &err)) fail_msg("%s", err.msg);
        check_ends(m, w, glia_quantizes(o.quantize, 0, PRODUCT_HEAD));
        for (int i = 0; i < m->config->layers; i++) check_matrices(m, w, i);
        glia_weights_free(w);
    }
}

/* Context parallelism, with and without flash decoding. */
static void check_context(const model *m, const char *dir, const glia_weights_options *o) {
    static const int tps[] = {2, 4, 8, 12, 16};
    for (size_t i = 0; i < sizeof tps / sizeof *tps; i++)
        for (int cp = 2; cp <= 4; cp += 2)
            for (int flash = 0; flash < 2 && tps[i] % cp == 0; flash++)
                check_ranks(
                    m, dir, o,
                    (glia_parallel){
                        .tp = tps[i], .vocab_parallel = true, .flash_decoding = flash, .cp_degree = cp});
}

static void check_model(const glia_model_config *c, const char *dir, glia_weights_options *o,
                        const glia_checkpoint *checkpoint) {
    glia_err err;
    glia_weights *whole;
    o->team = team;
    if (glia_weights_load(&whole, dir, c, o, &err)) fail_msg("%s", err.msg);
    const model m = {.config = c, .checkpoint = checkpoint, .whole = whole};
    for (int i = 0; i < N_DEGREES; i++)
        for (int v = 0; v < 2; v++)
            check_ranks(&m, dir, o, (glia_parallel){.tp = degrees[i], .vocab_parallel = v, .cp_degree = 1});
    check_context(&m, dir, o);
    glia_weights_free(whole);
}

/* ---- the models ------------------------------------------------------------ */

static const char *const goldens[] = {"qwen3",
                                      "qwen3-bare-names",
                                      "qwen3-lm-head-stored",
                                      "qwen3-untied-bias-odd",
                                      "smollm3",
                                      "smollm3-bias-window-types",
                                      "qwen2",
                                      "llama-untied-bias"};

static void test_checkpoints(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char dir[256];
        glia_err err;
        glia_model_config c;
        glia_checkpoint checkpoint;
        snprintf(dir, sizeof dir, "tests/golden/forward/%s", goldens[i]);
        if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
        if (glia_checkpoint_open(&checkpoint, dir, &err)) fail_msg("%s", err.msg);
        for (int dtype = GLIA_DTYPE_F32; dtype <= GLIA_DTYPE_F16; dtype++) {
            glia_weights_options o = {.dtype = (glia_dtype)dtype};
            check_model(&c, dir, &o, &checkpoint);
        }
        glia_checkpoint_close(&checkpoint);
        glia_model_config_free(&c);
    }
}

static const struct {
    int heads, kv_heads;
} heads[] = {{16, 8}, {16, 4}, {32, 8}, {40, 8}, {9, 3}, {15, 5}, {24, 8}};

static void make_config(glia_model_config *c, const char *type, int h, int kv, bool tied) {
    char text[512];
    glia_err err;
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 21, \"intermediate_size\": 37, \"vocab_size\": 50, "
             "\"num_hidden_layers\": 1, \"num_attention_heads\": %d, \"num_key_value_heads\": %d, "
             "\"head_dim\": 6, \"tie_word_embeddings\": %s}",
             type, h, kv, tied ? "true" : "false");
    if (glia_model_config_parse(c, text, strlen(text), "config.json", NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

static void test_dummies(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * sizeof heads / sizeof *heads; i++) {
        glia_model_config c;
        make_config(&c, i % 2 ? "smollm3" : "qwen3", heads[i / 2].heads, heads[i / 2].kv_heads, i % 2);
        glia_weights_options o = {
            .dtype = i / 2 % 2 ? GLIA_DTYPE_F32 : GLIA_DTYPE_BF16, .dummy = true, .seed = 5};
        check_model(&c, "/nowhere", &o, NULL);
        glia_model_config_free(&c);
    }
}

/* Integers and scales equal those of a single rank, in both schemes. */
static void check_int8(const glia_model_config *c, const char *dir, const glia_model_spec *spec,
                       const glia_checkpoint *checkpoint) {
    for (int per_tensor = 0; per_tensor < 2; per_tensor++) {
        glia_quantize q;
        glia_err err;
        const glia_quantization_type type =
            per_tensor ? GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC : GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC;
        if (glia_quantize_resolve(&q,
                                  &(glia_quantize_choice){.scheme = per_tensor ? GLIA_QUANTIZATION_INT8
                                                                               : GLIA_QUANTIZATION_W8A8,
                                                          .type = type,
                                                          .keep = NULL},
                                  c, &err))
            fail_msg("%s", err.msg);
        glia_weights_options o = {
            .dtype = GLIA_DTYPE_BF16, .quantize = &q, .spec = spec, .dummy = !checkpoint, .seed = 5};
        check_model(c, dir, &o, checkpoint);
        glia_quantize_free(&q);
    }
}

static void test_int8(void **state) {
    (void)state;
    glia_model_config c;
    glia_checkpoint checkpoint;
    glia_err err;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        make_config(&c, i % 2 ? "smollm3" : "qwen3", heads[i].heads, heads[i].kv_heads, i % 2);
        check_int8(&c, "/nowhere", NULL, NULL);
        glia_model_config_free(&c);
    }
    static const char dir[] = "tests/golden/forward/qwen3-untied-bias-odd";
    if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    if (glia_checkpoint_open(&checkpoint, dir, &err)) fail_msg("%s", err.msg);
    check_int8(&c, dir, NULL, &checkpoint);
    glia_checkpoint_close(&checkpoint);
    glia_model_config_free(&c);
}

/* A rotated int8 matrix is what the rank holds in float32, each column rotated and then quantised. */
static void check_rotated(const glia_matrix *held, const glia_matrix *plain, const char *name) {
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    size_t wrong = 0;
    float x[512];
    assert_in_range(plain->k, 1, sizeof x / sizeof *x);
    CHECK(held->rotate == glia_rotate_block(plain->k) && held->k == plain->k, "%s: block %zu of %zu", name,
          held->rotate, plain->k);
    /* blocks of 1: test_int8 */
    for (size_t c = 0; held->rotate > 1 && c < plain->columns; c++) {
        const char *from =
            (const char *)plain->data + c / GLIA_PANEL * glia_panel_bytes(plain->format, plain->k);
        const char *to = (const char *)held->data + c / GLIA_PANEL * glia_panel_bytes(held->format, held->k);
        ref.unpack(x, from, GLIA_DTYPE_F32, plain->k, c % GLIA_PANEL);
        ref.rotate(x, x, 64, GLIA_DTYPE_F32, plain->k, held->rotate);
        const float scale = ref.absmax(x, GLIA_DTYPE_F32, plain->k) / GLIA_I8_MAX;
        if (scale != held->scale[c]) wrong++;
        for (size_t k = 0; k < plain->k; k++) {
            const float want = scale > 0 ? rintf(x[k] / scale) : 0;
            if (glia_panel_get(to, GLIA_DTYPE_I8, k, c % GLIA_PANEL) != want) wrong++;
        }
    }
    CHECK(!wrong, "%s: %zu scales or integers are not those of the rotated columns", name, wrong);
}

static void check_rotated_rank(const glia_model_config *c, const char *dir, bool dummy,
                               const glia_parallel *p) {
    glia_weights_options o = {
        .dtype = GLIA_DTYPE_F32, .parallel = p, .dummy = dummy, .seed = 5, .team = p->tp == 3 ? three : team};
    glia_weights *plain, *held;
    glia_quantize q;
    glia_err err;
    if (glia_quantize_resolve(&q,
                              &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_W8A8,
                                                      .type = GLIA_QUANTIZATION_TYPE_DEFAULT,
                                                      .keep = NULL},
                              c, &err))
        fail_msg("%s", err.msg);
    if (glia_weights_load(&plain, dir, c, &o, &err)) fail_msg("%s", err.msg);
    o.quantize = &q;
    if (glia_weights_load(&held, dir, c, &o, &err)) fail_msg("%s", err.msg);
    check_rotated(&held->head, &plain->head, "head");
    assert_int_equal(held->embed.rotate, 0);
    for (int i = 0; i < c->layers; i++) {
        const glia_layer_weights *a = &held->layer[i], *b = &plain->layer[i];
        check_rotated(&a->gate_up, &b->gate_up, "gate, up");
        check_rotated(&a->down, &b->down, "down");
        if (p->cp_degree == 1) {
            check_rotated(&a->qkv, &b->qkv, "qkv");
            check_rotated(&a->o, &b->o, "o");
            continue;
        }
        check_rotated(&a->kv, &b->kv, "kv");
        for (int s = 0; s < held->local.cp; s++) {
            check_rotated(&a->q_shard[s], &b->q_shard[s], "q");
            check_rotated(&a->o_shard[s], &b->o_shard[s], "o");
        }
    }
    glia_weights_free(held);
    glia_weights_free(plain);
    glia_quantize_free(&q);
}

static void check_rotated_ranks(const glia_model_config *c, const char *dir, bool dummy) {
    static const int tps[] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof tps / sizeof *tps; i++)
        for (int cp = 1; cp <= 2 && tps[i] % cp == 0; cp++)
            for (int rank = 0; rank < tps[i]; rank++)
                check_rotated_rank(
                    c, dir, dummy,
                    &(glia_parallel){.tp = tps[i], .rank = rank, .vocab_parallel = true, .cp_degree = cp});
}

/* A rank rotates what it holds of a row: of dummies, and of a checkpoint in bfloat16. */
static void test_rotated(void **state) {
    (void)state;
    glia_model_config c;
    glia_err err;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        make_config(&c, i % 2 ? "smollm3" : "qwen3", heads[i].heads, heads[i].kv_heads, i % 2);
        check_rotated_ranks(&c, "/nowhere", true);
        glia_model_config_free(&c);
    }
    static const char dir[] = "tests/golden/forward/qwen3-untied-bias-odd";
    if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    check_rotated_ranks(&c, dir, false);
    glia_model_config_free(&c);
}

/* ---- memory ---------------------------------------------------------------- */

/* Each kind of replica is counted if and only if it must exist. */
static void check_kinds(const uint64_t *r, const glia_model_config *c, const glia_parallel *p, bool i8) {
    const glia_head_cut cut = glia_cut_heads(c->heads, c->kv_heads, p->tp);
    const bool many = p->tp > 1;
    CHECK((r[GLIA_REPLICA_UNION] > 0) == (p->cp_degree > 1), "heads of ranks that part rows");
    CHECK((r[GLIA_REPLICA_NORMS] > 0) == many, "norms");
    CHECK((r[GLIA_REPLICA_SCALES] > 0) == (many && i8), "scales");
    CHECK((r[GLIA_REPLICA_BIASES] > 0) == (many && (c->attention_bias || c->mlp_bias)), "biases");
    const bool copies = cut.rule == GLIA_HEADS_CONVERT ? c->heads > c->kv_heads : cut.rule != GLIA_HEADS_CUT;
    CHECK((r[GLIA_REPLICA_KV] > 0) == copies || p->cp_degree > 1, "copies of KV heads");
    CHECK((r[GLIA_REPLICA_HEADS] > 0) == (cut.q * p->tp > c->heads), "zero heads");
    CHECK((r[GLIA_REPLICA_HEAD] > 0) == (many && c->tied_head && !i8 && !p->vocab_parallel), "second head");
}

/* All ranks hold what a single rank holds, plus the replicas. */
static void check_sum(const glia_model_config *c, glia_parallel p, glia_dtype dtype, const glia_quantize *q,
                      bool i8) {
    glia_plan alone = {0}, rank = {0};
    uint64_t r[N_REPLICAS], sum = 0;
    glia_weights_plan(&alone, c, &glia_alone, dtype, q);
    glia_weights_plan(&rank, c, &p, dtype, q);
    glia_weights_replicas(r, c, &p, dtype, q);
    for (int i = 0; i < N_REPLICAS; i++) sum += r[i];
    CHECK(sum + alone.bytes == (uint64_t)p.tp * rank.bytes,
          "%s %d/%d, tp %d, cp %d: one rank has %zu, replicas are %llu, all ranks have %zu", c->architecture,
          c->heads, c->kv_heads, p.tp, p.cp_degree, alone.bytes, (unsigned long long)sum,
          (size_t)p.tp * rank.bytes);
    check_kinds(r, c, &p, i8);
}

static void check_memory(const glia_model_config *c) {
    glia_quantize q;
    glia_err err;
    if (glia_quantize_resolve(&q, &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_INT8, .keep = NULL}, c,
                              &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 4 * N_DEGREES; i++)
        for (int cp = 1; cp <= GLIA_CP_MAX; cp++) {
            if (degrees[i / 4] % cp) continue;
            const glia_parallel p = {
                .tp = degrees[i / 4], .vocab_parallel = i % 2, .flash_decoding = i / 2 % 2, .cp_degree = cp};
            check_sum(c, p, GLIA_DTYPE_F32, NULL, false);
            check_sum(c, p, GLIA_DTYPE_BF16, NULL, false);
            check_sum(c, p, GLIA_DTYPE_BF16, &q, true);
        }
    glia_quantize_free(&q);
}

static void test_memory(void **state) {
    (void)state;
    glia_model_config c;
    glia_err err;
    for (size_t i = 0; i < 4 * sizeof heads / sizeof *heads; i++) {
        make_config(&c, i % 2 ? "smollm3" : "qwen3", heads[i / 4].heads, heads[i / 4].kv_heads, i / 2 % 2);
        check_memory(&c);
        glia_model_config_free(&c);
    }
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char dir[256];
        snprintf(dir, sizeof dir, "tests/golden/forward/%s", goldens[i]);
        if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
        check_memory(&c);
        glia_model_config_free(&c);
    }
}

static int64_t number(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

/* inspect prints the bytes and shapes of a rank. */
static void test_inspect(void **state) {
    (void)state;
    static const char dir[] = "models/smollm3-demo";
    glia_model_config c;
    glia_err err = {0};
    if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < 2 * N_DEGREES; i++) {
        const glia_options o = {.tensor_parallel_size = degrees[i / 2],
                                .vocab_parallel = i % 2 ? GLIA_SWITCH_ON : GLIA_SWITCH_OFF,
                                .dtype = GLIA_DTYPE_BF16};
        const glia_parallel p = {.tp = degrees[i / 2], .vocab_parallel = i % 2, .cp_degree = 1};
        const glia_local local = glia_local_of(&c, &p);
        glia_plan plan = {0};
        glia_weights_plan(&plan, &c, &p, GLIA_DTYPE_BF16, NULL);
        char *text;
        if (glia_inspect(&text, dir, NULL, &o, &err)) fail_msg("%s", err.msg);
        json_t *root = json_loads(text, 0, NULL), *t, *replica;
        const json_t *ranks = json_object_get(root, "ranks");
        int64_t sum = number(ranks, "weight_bytes_without_ranks");
        size_t n;
        json_array_foreach(json_object_get(ranks, "replicated"), n, replica) sum += number(replica, "bytes");
        CHECK(number(ranks, "weight_bytes_of_all_ranks") == sum, "tp %d", p.tp);
        CHECK(number(ranks, "weight_bytes_of_one_rank") == (int64_t)plan.bytes, "tp %d", p.tp);
        json_array_foreach(json_object_get(root, "tensors"), n, t) {
            const json_t *shape = json_object_get(t, "of_rank");
            const int64_t rows = json_integer_value(json_array_get(shape, 0)),
                          cols = json_integer_value(json_array_get(shape, 1));
            const char *name = json_string_value(json_object_get(t, "name"));
            if (strstr(name, "embed_tokens"))
                CHECK(rows == (int64_t)local.embed_vocab && cols == (int64_t)local.embed_hidden, "%s, tp %d",
                      name, p.tp);
            if (strstr(name, "k_proj"))
                CHECK(rows == (int64_t)local.kv && cols == c.hidden, "%s, tp %d", name, p.tp);
            if (strstr(name, "o_proj"))
                CHECK(rows == c.hidden && cols == (int64_t)local.q, "%s, tp %d", name, p.tp);
            if (strstr(name, "lm_head")) CHECK(p.tp > 1 && !p.vocab_parallel, "a copy at tp %d", p.tp);
        }
        json_decref(root);
        glia_free(text);
    }
    glia_model_config_free(&c);
}

/* ---- preshard -------------------------------------------------------------- */

/* q and k as the first Llama checkpoints store them: the two elements of a RoPE pair
 * are neighbours; in Transformers they are half a head apart. */
static int64_t paired_row(const glia_model_config *c, int64_t row) {
    const int64_t head = row / c->head_dim * c->head_dim, i = row - head, half = c->head_dim / 2;
    return head + i % half * 2 + i / half;
}
static int64_t last_first(const glia_model_config *c, int64_t row) { return c->hidden - 1 - row; }
/* Norm weights as Gemma stores them: minus one. */
static void add_one(const glia_model_config *c, int64_t row, float *x, int64_t n) {
    (void)c, (void)row;
    for (int64_t i = 0; i < n; i++) x[i] += 1;
}
/* A factor for each input, multiplied into the weight that reads the inputs. */
static void scale_inputs(const glia_model_config *c, int64_t row, float *x, int64_t n) {
    (void)c;
    for (int64_t i = 0; i < n; i++) x[i] *= (float)(1 + i % 3) + (float)(row % 2);
}

static void test_preshard(void **state) {
    (void)state;
    static const char dir[] = "tests/golden/forward/qwen3-untied-bias-odd";
    static const glia_preshard changes[] = {
        {W_Q, paired_row, NULL},
        {W_K, paired_row, NULL},
        {W_Q_BIAS, paired_row, NULL},
        {W_IN_NORM, NULL, add_one},
        {W_FINAL_NORM, NULL, add_one},
        {W_O, NULL, scale_inputs},
        {W_DOWN, last_first, scale_inputs},
        {W_UP, NULL, scale_inputs},
        {W_HEAD, NULL, scale_inputs},
    };
    glia_model_config c;
    glia_checkpoint checkpoint;
    glia_err err;
    if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
    if (glia_checkpoint_open(&checkpoint, dir, &err)) fail_msg("%s", err.msg);
    glia_model_spec spec = *glia_spec_find(c.architecture);
    spec.preshard = changes;
    spec.n_preshards = sizeof changes / sizeof *changes;
    glia_weights_options o = {.dtype = GLIA_DTYPE_F32, .spec = &spec};
    check_model(&c, dir, &o, &checkpoint);
    o.dtype = GLIA_DTYPE_BF16;
    check_model(&c, dir, &o, &checkpoint);
    check_int8(&c, dir, &spec, &checkpoint);
    glia_checkpoint_close(&checkpoint);
    glia_model_config_free(&c);
}

/* ---- limits ---------------------------------------------------------------- */

static void test_limits(void **state) {
    (void)state;
    static const struct {
        int tp;
        bool flash, fits;
    } rows[] = {{1, false, false}, {2, false, true}, {2, true, false}};
    glia_model_config c;
    make_config(&c, "qwen3", 300, 1, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const glia_parallel p = {.tp = rows[i].tp, .flash_decoding = rows[i].flash, .cp_degree = 1};
        const glia_weights_options o = {.dtype = GLIA_DTYPE_F32, .parallel = &p, .dummy = true, .team = team};
        glia_weights *w;
        glia_err err = {0};
        const glia_status status = glia_weights_load(&w, "/nowhere", &c, &o, &err);
        CHECK(status == (rows[i].fits ? GLIA_OK : GLIA_ERR_UNSUPPORTED), "tp %d: %s", rows[i].tp, err.msg);
        if (!rows[i].fits) assert_non_null(strstr(err.msg, "300 attention heads share a key-value head"));
        glia_weights_free(w);
    }
    glia_model_config_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoints), cmocka_unit_test(test_dummies), cmocka_unit_test(test_int8),
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_inspect), cmocka_unit_test(test_preshard),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_rotated),
    };
    glia_err err;
    if (glia_team_create(&team, 1, &err) || glia_team_create(&three, 3, &err)) fail_msg("%s", err.msg);
    const int status = check_run_group("load_ranks", tests);
    glia_team_free(three);
    glia_team_free(team);
    return status;
}
