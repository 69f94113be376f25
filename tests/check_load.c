/* check_load.c - specs agree with published lists of tensors, and the loader refuses broken checkpoints. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bf16.h"
#include "format/safetensors.h"
#include "kernel/panel.h"
#include "model/review.h"
#include "model/weights.h"

/* ---- specs against the published lists of tensors ------------------------- */

static const char *const published[] = {
    "Qwen3-0.6B",           "Qwen3-1.7B",          "Qwen3-4B",   "Qwen3-8B", "Qwen3-14B", "Qwen3-32B",
    "Qwen3-Embedding-0.6B", "Qwen3-Reranker-0.6B", "SmolLM3-3B",
};

/* Every weight of the spec is in {"tensors": {name: shape}} or {name: shape}, with its shape. */
static void compare(const char *model, const json_t *list, const glia_model_config *c) {
    const glia_model_spec *spec = glia_spec_find(c->architecture);
    glia_weight w;
    size_t n = 0;
    const bool bare = !json_object_get(list, "model.norm.weight");
    for (; glia_spec_weight(&w, spec, c, n); n++) {
        const json_t *t = json_object_get(list, w.name + (bare && strncmp(w.name, "model.", 6) == 0 ? 6 : 0));
        const json_t *shape = json_is_object(t) ? json_object_get(t, "shape") : t;
        CHECK(shape, "%s: %s is not published", model, w.name);
        if (!shape) continue;
        CHECK(json_integer_value(json_array_get(shape, 0)) == w.rows, "%s: rows of %s", model, w.name);
        if (w.spec->cols != D_1)
            CHECK(json_integer_value(json_array_get(shape, 1)) == w.cols, "%s: cols of %s", model, w.name);
    }
    const size_t copies = c->tied_head && json_object_get(list, "lm_head.weight") ? 1 : 0;
    CHECK(json_object_size(list) == n + copies, "%s: %zu tensors published, spec has %zu + %zu", model,
          json_object_size(list), n, copies);
}

static void test_published(void **state) {
    (void)state;
    if (!check_shared("data/configs/Qwen3-0.6B/tensors.json")) check_skip("no shared data/configs");
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char name[128];
        glia_model_config c;
        glia_err err;
        snprintf(name, sizeof name, "data/configs/%s", published[i]);
        assert_int_equal(glia_model_config_load(&c, check_shared(name), NULL, NULL, &err), GLIA_OK);
        snprintf(name, sizeof name, "data/configs/%s/tensors.json", published[i]);
        json_t *root = json_load_file(check_shared(name), 0, NULL);
        assert_non_null(root);
        const json_t *list = json_object_get(root, "tensors");
        compare(published[i], list ? list : root, &c);
        if (strcmp(published[i], "SmolLM3-3B") == 0)
            assert_int_equal(glia_spec_parameters(glia_spec_find(c.architecture), &c), 3075098624);
        if (strcmp(published[i], "Qwen3-0.6B") == 0)
            assert_int_equal(glia_spec_parameters(glia_spec_find(c.architecture), &c), 596049920);
        json_decref(root);
        glia_model_config_free(&c);
    }
}

/* Every architecture that format/config.c knows has a table, with the right norms and biases. */
static void test_architectures(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool norms, qkv, o, mlp;
    } rows[] = {
        {"{\"model_type\":\"qwen3\"}", true, false, false, false},
        {"{\"model_type\":\"qwen3\",\"attention_bias\":true}", true, true, true, false},
        {"{\"model_type\":\"smollm3\"}", false, false, false, false},
        {"{\"model_type\":\"smollm3\",\"attention_bias\":true,\"mlp_bias\":true}", false, true, true, true},
        {"{\"model_type\":\"qwen2\"}", false, true, false, false},
        {"{\"model_type\":\"qwen2\",\"attention_bias\":true}", false, true, false, false},
        {"{\"model_type\":\"llama\"}", false, false, false, false},
        {"{\"model_type\":\"llama\",\"attention_bias\":true}", false, true, true, false},
        {"{\"model_type\":\"llama\",\"mlp_bias\":true}", false, false, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_model_config c;
        glia_err err;
        if (glia_model_config_parse(&c, rows[i].text, strlen(rows[i].text), "x", NULL, NULL, &err))
            fail_msg("%s", err.msg);
        const glia_model_spec *s = glia_spec_find(c.architecture);
        assert_non_null(s);
        CHECK(glia_spec_has(s, &c, W_Q_NORM) == rows[i].norms, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_Q_BIAS) == rows[i].qkv, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_K_BIAS) == rows[i].qkv, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_V_BIAS) == rows[i].qkv, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_O_BIAS) == rows[i].o, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_GATE_BIAS) == rows[i].mlp, "%s", rows[i].text);
        CHECK(glia_spec_has(s, &c, W_HEAD) != c.tied_head, "%s", rows[i].text);
        glia_model_config_free(&c);
    }
    assert_null(glia_spec_find("GemmaForCausalLM"));
}

/* ---- a small checkpoint ---------------------------------------------------- */

static const char config_text[] =
    "{\"architectures\": [\"Qwen3ForCausalLM\"], \"hidden_size\": 12, \"intermediate_size\": 20, "
    "\"vocab_size\": 18,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 6,"
    " \"tie_word_embeddings\": %s, \"attention_bias\": %s, \"max_position_embeddings\": 64, \"rope_theta\": "
    "10000.0,"
    " \"rms_norm_eps\": 1e-6, \"torch_dtype\": \"float32\", \"hidden_act\": \"silu\"}";

static void make_config(glia_model_config *c, bool tied, bool bias) {
    char text[800];
    glia_err err;
    snprintf(text, sizeof text, config_text, tied ? "true" : "false", bias ? "true" : "false");
    if (glia_model_config_parse(c, text, strlen(text), "config.json", NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

enum { TENSORS_MAX = 64 };

typedef struct {
    glia_tensor_spec tensor[TENSORS_MAX];
    char name[TENSORS_MAX][96];
    size_t n;
} tensor_list;

static void list_tensors(tensor_list *l, const glia_model_config *c) {
    glia_weight w;
    for (l->n = 0; glia_spec_weight(&w, glia_spec_find(c->architecture), c, l->n); l->n++) {
        strcpy(l->name[l->n], w.name);
        l->tensor[l->n] = (glia_tensor_spec){.name = l->name[l->n],
                                             .dtype = GLIA_TENSOR_F32,
                                             .n_dims = w.spec->cols == D_1 ? 1 : 2,
                                             .shape = {w.rows, w.cols}};
    }
}

static glia_tensor_spec *tensor_named(tensor_list *l, const char *name) {
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->tensor[i].name, name) == 0) return &l->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* Element i of tensor t: small, exact in every format, and unlike its neighbours. */
static float value_of(size_t t, size_t i) { return (float)((t * 31 + i) % 200) / 64.0f - 1.0f; }
static size_t spoilt = SIZE_MAX; /* the tensor whose element 7 is infinite */

static void append_number(glia_safetensors_writer *w, glia_tensor_dtype dtype, float f) {
    glia_err err;
    const uint16_t bf16 = glia_f32_to_bf16(f), f16 = glia_f32_to_f16(f);
    const double f64 = (double)f;
    const uint8_t one = 1;
    glia_status status = GLIA_ERR_UNSUPPORTED;
    if (dtype == GLIA_TENSOR_I8) status = glia_safetensors_append(w, &one, sizeof one, &err);
    if (dtype == GLIA_TENSOR_BF16) status = glia_safetensors_append(w, &bf16, sizeof bf16, &err);
    if (dtype == GLIA_TENSOR_F16) status = glia_safetensors_append(w, &f16, sizeof f16, &err);
    if (dtype == GLIA_TENSOR_F32) status = glia_safetensors_append(w, &f, sizeof f, &err);
    if (dtype == GLIA_TENSOR_F64) status = glia_safetensors_append(w, &f64, sizeof f64, &err);
    assert_int_equal(status, GLIA_OK);
}

static const char *write_checkpoint(const tensor_list *l) {
    static char path[512];
    const char *dir = check_temp_dir();
    glia_err err;
    glia_safetensors_writer *w;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    if (glia_safetensors_create(&w, path, l->tensor, l->n, &err)) fail_msg("%s", err.msg);
    for (size_t t = 0; t < l->n; t++) {
        int64_t n = 1;
        for (int d = 0; d < l->tensor[t].n_dims; d++) n *= l->tensor[t].shape[d];
        for (int64_t i = 0; i < n; i++) {
            const float f = t == spoilt && i == 7 ? -INFINITY : value_of(t, (size_t)i);
            append_number(w, l->tensor[t].dtype, f);
        }
    }
    if (glia_safetensors_finish(w, &err)) fail_msg("%s", err.msg);
    return dir;
}

static glia_status load(glia_weights **w, const char *dir, const glia_model_config *c, glia_team *team,
                        bool dummy, glia_err *err) {
    const glia_weights_options o = {.dtype = GLIA_DTYPE_F32, .dummy = dummy, .seed = 3, .team = team};
    return glia_weights_load(w, dir, c, &o, err);
}

static float at(const glia_matrix *m, size_t row, size_t k) {
    return ((const float *)m->data)[(row / GLIA_PANEL * m->k + k) * GLIA_PANEL + row % GLIA_PANEL];
}

static size_t index_of(tensor_list *l, const char *name) {
    return (size_t)(tensor_named(l, name) - l->tensor);
}

static void check_fused(tensor_list *l, const glia_weights *w) {
    const size_t q = index_of(l, "model.layers.1.self_attn.q_proj.weight");
    const size_t v = index_of(l, "model.layers.1.self_attn.v_proj.weight");
    const size_t gate = index_of(l, "model.layers.1.mlp.gate_proj.weight");
    const size_t up = index_of(l, "model.layers.1.mlp.up_proj.weight");
    const glia_layer_weights *layer = &w->layer[1];
    for (size_t k = 0; k < 12; k++) {
        assert_true(at(&layer->qkv, 11, k) == value_of(q, 11 * 12 + k));    /* last row of q */
        assert_true(at(&layer->qkv, 18 + 5, k) == value_of(v, 5 * 12 + k)); /* last row of v */
        assert_true(at(&layer->qkv, 24, k) == 0);                           /* padding */
        assert_true(at(&layer->gate_up, 15, k) == value_of(gate, 15 * 12 + k));
        assert_true(at(&layer->gate_up, 16, k) == value_of(up, k));
        assert_true(at(&layer->gate_up, 32 + 3, k) == value_of(gate, 19 * 12 + k));
        assert_true(at(&layer->gate_up, 48 + 3, k) == value_of(up, 19 * 12 + k));
        assert_true(at(&layer->gate_up, 48 + 4, k) == 0);
    }
}

static void test_fuses(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++)
        for (int threads = 1; threads < 4; threads++) {
            glia_model_config c;
            glia_weights *w;
            glia_err err;
            tensor_list l;
            glia_team *team;
            assert_int_equal(glia_team_create(&team, threads, &err), GLIA_OK);
            make_config(&c, false, bias);
            list_tensors(&l, &c);
            if (load(&w, write_checkpoint(&l), &c, team, false, &err)) fail_msg("%s", err.msg);
            check_fused(&l, w);
            if (bias) {
                const size_t k = index_of(&l, "model.layers.0.self_attn.k_proj.bias");
                assert_true(w->layer[0].qkv_bias[12 + 4] == value_of(k, 4));
                assert_true(w->layer[0].qkv_bias[24] == 0 && w->layer[0].qkv_bias[31] == 0);
            } else {
                assert_null(w->layer[0].qkv_bias);
            }
            glia_weights_free(w);
            glia_model_config_free(&c);
            glia_team_free(team);
        }
}

/* Qwen3-Embedding's names have no "model.". */
static void check_bare_names(bool all) {
    glia_model_config c;
    glia_weights *w;
    glia_err err;
    tensor_list l;
    glia_team *team;
    assert_int_equal(glia_team_create(&team, 1, &err), GLIA_OK);
    make_config(&c, true, false);
    list_tensors(&l, &c);
    const size_t named = all ? l.n : l.n / 2; /* Transformers decides for each tensor */
    for (size_t i = 0; i < named; i++) l.tensor[i].name += 6;
    l.tensor[l.n++] = (glia_tensor_spec){"lm_head.weight", GLIA_TENSOR_F32, 2, {18, 12}};
    l.tensor[l.n++] = (glia_tensor_spec){"layers.0.self_attn.rotary_emb.inv_freq", GLIA_TENSOR_F32, 1, {3}};
    if (load(&w, write_checkpoint(&l), &c, team, false, &err)) fail_msg("%s", err.msg);
    assert_ptr_equal(w->head.data, w->embed.data);
    glia_weights_free(w);
    glia_model_config_free(&c);
    glia_team_free(team);
}

static void test_bare_and_redundant_names(void **state) {
    (void)state;
    check_bare_names(true);
    check_bare_names(false);
}

/* ---- errors --------------------------------------------------------------- */

#define UP "model.layers.1.mlp.up_proj.weight"

typedef struct {
    const char *what, *tensor;
    glia_tensor_spec instead; /* name NULL: the tensor is left out */
    glia_status status;
    const char *words;
} lie;

static const lie lies[] = {
    {"missing", UP, {0}, GLIA_ERR_SHAPE, "tensor " UP " is missing"},
    {"transposed",
     UP,
     {UP, GLIA_TENSOR_F32, 2, {12, 20}},
     GLIA_ERR_SHAPE,
     "has shape [12, 20], expected [20, 12]"},
    {"flat", UP, {UP, GLIA_TENSOR_F32, 1, {240}}, GLIA_ERR_SHAPE, "has shape [240], expected [20, 12]"},
    {"norm of two dimensions",
     "model.norm.weight",
     {"model.norm.weight", GLIA_TENSOR_F32, 2, {12, 1}},
     GLIA_ERR_SHAPE,
     "has shape [12, 1], expected [12]"},
    {"renamed",
     UP,
     {"model.layers.1.mlp.upp.weight", GLIA_TENSOR_F32, 2, {20, 12}},
     GLIA_ERR_SHAPE,
     "tensor " UP " is missing"},
    {"integers", UP, {UP, GLIA_TENSOR_I8, 2, {20, 12}}, GLIA_ERR_UNSUPPORTED, UP},
};

static void test_errors(void **state) {
    (void)state;
    glia_team *team;
    glia_err err;
    assert_int_equal(glia_team_create(&team, 1, &err), GLIA_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        glia_model_config c;
        glia_weights *w;
        tensor_list l;
        make_config(&c, false, false);
        list_tensors(&l, &c);
        glia_tensor_spec *t = tensor_named(&l, lies[i].tensor);
        if (lies[i].instead.name)
            *t = lies[i].instead;
        else
            *t = l.tensor[--l.n];
        CHECK(load(&w, write_checkpoint(&l), &c, team, false, &err) == lies[i].status, "%s", lies[i].what);
        CHECK(strstr(err.msg, lies[i].words), "%s: \"%s\" lacks \"%s\"", lies[i].what, err.msg,
              lies[i].words);
        CHECK(!w, "%s left something behind", lies[i].what);
        glia_model_config_free(&c);
    }
    glia_team_free(team);
}

/* ---- int8 ----------------------------------------------------------------- */

static void quantized(glia_weights **w, const char *dir, const glia_model_config *c, int threads,
                      const glia_quantize *q, bool dummy) {
    glia_team *team;
    glia_err err;
    if (glia_team_create(&team, threads, &err)) fail_msg("%s", err.msg);
    const glia_weights_options o = {
        .dtype = GLIA_DTYPE_F32, .quantize = q, .dummy = dummy, .seed = 3, .team = team};
    if (glia_weights_load(w, dir, c, &o, &err)) fail_msg("%s", err.msg);
    glia_team_free(team);
}

/* Tensors of any dtypes give the weights that float32 tensors give, also where a matrix fuses several. */
static void test_mixed_dtypes(void **state) {
    (void)state;
    static const glia_tensor_dtype dtypes[] = {GLIA_TENSOR_F64, GLIA_TENSOR_BF16, GLIA_TENSOR_F32,
                                               GLIA_TENSOR_F16};
    static const glia_dtype runs[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16, GLIA_DTYPE_F16};
    glia_team *team;
    glia_err err;
    assert_int_equal(glia_team_create(&team, 2, &err), GLIA_OK);
    glia_model_config c;
    tensor_list l;
    char plain[512];
    make_config(&c, false, true);
    list_tensors(&l, &c);
    snprintf(plain, sizeof plain, "%s", write_checkpoint(&l));
    for (size_t shift = 0; shift < 5; shift++) {
        for (size_t t = 0; t < l.n; t++)
            l.tensor[t].dtype = shift == 4 ? GLIA_TENSOR_F64 : dtypes[(t + shift) % 4];
        const char *mixed = write_checkpoint(&l);
        for (size_t r = 0; r < 6; r++) {
            glia_quantize q;
            glia_weights *w[2];
            const glia_quantization scheme = r < 3 ? GLIA_QUANTIZATION_NONE : GLIA_QUANTIZATION_INT8;
            if (glia_quantize_resolve(&q,
                                      &(glia_quantize_choice){.scheme = scheme,
                                                              .type = GLIA_QUANTIZATION_TYPE_DEFAULT,
                                                              .keep = NULL},
                                      &c, &err))
                fail_msg("%s", err.msg);
            const glia_weights_options o = {.dtype = runs[r % 3], .quantize = &q, .team = team};
            for (int i = 0; i < 2; i++)
                if (glia_weights_load(&w[i], i ? mixed : plain, &c, &o, &err)) fail_msg("%s", err.msg);
            assert_memory_equal(w[0]->plan.base, w[1]->plan.base, w[0]->plan.bytes);
            for (int i = 0; i < 2; i++) glia_weights_free(w[i]);
            glia_quantize_free(&q);
        }
    }
    glia_model_config_free(&c);
    glia_team_free(team);
}

/* An element of tensor t as int8 in steps of `scale`. */
static int8_t step_of(size_t t, size_t row, size_t k, float scale) {
    return (int8_t)rintf(value_of(t, row * 12 + k) / scale);
}

static float scale_of(size_t t, size_t from, size_t to) {
    float most = 0;
    for (size_t i = from; i < to; i++) most = fmaxf(most, fabsf(value_of(t, i)));
    return most / 127;
}

static void check_steps(const glia_matrix *m, size_t column, size_t t, size_t row, float scale) {
    const int8_t *panel =
        (const int8_t *)m->data + column / GLIA_PANEL * glia_panel_bytes(GLIA_WEIGHT_I8, 12);
    assert_true(m->scale[column] == scale);
    for (size_t k = 0; k < 12; k++)
        assert_int_equal(panel[k / 4 * 64 + column % GLIA_PANEL * 4 + k % 4], step_of(t, row, k, scale));
}

/* Rows of 12 are rotated in blocks of 4: sums and differences of neighbours, then of pairs, halved. */
static void check_rotated_steps(const glia_matrix *m, size_t column, size_t t, size_t row) {
    float y[12], most = 0;
    for (size_t k = 0; k < 12; k += 4) {
        float x[4];
        for (size_t i = 0; i < 4; i++) x[i] = value_of(t, row * 12 + k + i);
        const float sum[2] = {x[0] + x[1], x[2] + x[3]}, difference[2] = {x[0] - x[1], x[2] - x[3]};
        y[k] = (sum[0] + sum[1]) / 2, y[k + 1] = (difference[0] + difference[1]) / 2;
        y[k + 2] = (sum[0] - sum[1]) / 2, y[k + 3] = (difference[0] - difference[1]) / 2;
    }
    for (size_t k = 0; k < 12; k++) most = fmaxf(most, fabsf(y[k]));
    const int8_t *panel =
        (const int8_t *)m->data + column / GLIA_PANEL * glia_panel_bytes(GLIA_WEIGHT_I8, 12);
    assert_int_equal(m->rotate, 4);
    assert_true(m->scale[column] == most / 127);
    for (size_t k = 0; k < 12; k++)
        assert_int_equal(panel[k / 4 * 64 + column % GLIA_PANEL * 4 + k % 4],
                         (int8_t)rintf(y[k] / m->scale[column]));
}

/* The default: rotated rows, a scale for each; what is not converted, and the embedding, is not rotated. */
static void test_rotates(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        glia_model_config c;
        glia_quantize q;
        glia_weights *w;
        glia_err err;
        tensor_list l;
        make_config(&c, true, false);
        list_tensors(&l, &c);
        assert_int_equal(glia_quantize_resolve(&q,
                                               &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_INT8,
                                                                       .type = GLIA_QUANTIZATION_TYPE_DEFAULT,
                                                                       .keep = "layers.0.mlp"},
                                               &c, &err),
                         GLIA_OK);
        quantized(&w, write_checkpoint(&l), &c, threads, &q, false);
        check_rotated_steps(&w->layer[1].qkv, 18 + 5, index_of(&l, "model.layers.1.self_attn.v_proj.weight"),
                            5);
        check_rotated_steps(&w->layer[1].gate_up, 48 + 3, index_of(&l, "model.layers.1.mlp.up_proj.weight"),
                            19);
        check_rotated_steps(&w->head, 17, index_of(&l, "model.embed_tokens.weight"), 17);
        assert_int_equal(w->embed.rotate, 0);
        assert_int_equal(w->embed.format, GLIA_WEIGHT_F32);
        assert_int_equal(w->layer[0].gate_up.rotate, 0);
        assert_int_equal(w->layer[0].gate_up.format, GLIA_WEIGHT_F32);
        glia_weights_free(w);
        glia_quantize_free(&q);
        glia_model_config_free(&c);
    }
}

/* Each fused tensor has its own scales, padding stays zero, and other matrices stay float32. */
static void test_quantizes(void **state) {
    (void)state;
    for (int turn = 0; turn < 6; turn++) {
        const bool per_tensor = turn % 2;
        glia_model_config c;
        glia_quantize q;
        glia_weights *w;
        glia_err err;
        tensor_list l;
        make_config(&c, true, false);
        list_tensors(&l, &c);
        assert_int_equal(
            glia_quantize_resolve(
                &q,
                &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_W8A8,
                                        .type = per_tensor ? GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC
                                                           : GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC,
                                        .keep = "layers.0.mlp, o_proj"},
                &c, &err),
            GLIA_OK);
        quantized(&w, write_checkpoint(&l), &c, 1 + turn / 2, &q, false);
        const size_t v = index_of(&l, "model.layers.1.self_attn.v_proj.weight");
        const size_t up = index_of(&l, "model.layers.1.mlp.up_proj.weight");
        check_steps(&w->layer[1].qkv, 18 + 5, v, 5, per_tensor ? scale_of(v, 0, 72) : scale_of(v, 60, 72));
        check_steps(&w->layer[1].gate_up, 48 + 3, up, 19,
                    per_tensor ? scale_of(up, 0, 240) : scale_of(up, 228, 240));
        assert_true(w->layer[1].gate_up.scale[48 + 4] == 0);
        assert_true(w->layer[1].qkv.quantize_rows);
        assert_int_equal(w->layer[0].gate_up.format, GLIA_WEIGHT_F32);
        assert_int_equal(w->layer[0].down.format, GLIA_WEIGHT_F32);
        assert_int_equal(w->layer[1].o.format, GLIA_WEIGHT_F32);
        assert_false(w->layer[1].o.quantize_rows);
        assert_int_equal(w->embed.format, GLIA_WEIGHT_F32);
        /* the head is a second matrix, though tied, and its rows stay float32 */
        assert_int_equal(w->head.format, GLIA_WEIGHT_I8);
        assert_false(w->head.quantize_rows);
        check_steps(&w->head, 17, index_of(&l, "model.embed_tokens.weight"), 17,
                    per_tensor ? scale_of(index_of(&l, "model.embed_tokens.weight"), 0, 18 * 12)
                               : scale_of(index_of(&l, "model.embed_tokens.weight"), 17 * 12, 18 * 12));
        glia_weights_free(w);
        glia_quantize_free(&q);
        glia_model_config_free(&c);
    }
}

static const struct {
    glia_quantization scheme;
    glia_quantization_type type;
    const char *keep, *words;
} refusals[] = {
    {GLIA_QUANTIZATION_NONE, GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC, NULL, "quantization_type is set and"},
    {GLIA_QUANTIZATION_NONE, GLIA_QUANTIZATION_TYPE_DEFAULT, "lm_head", "modules_to_not_convert is set and"},
    {GLIA_QUANTIZATION_INT8, (glia_quantization_type)99, NULL, "quantization_type is 99"},
    {(glia_quantization)9, GLIA_QUANTIZATION_TYPE_DEFAULT, NULL, "quantization is 9"},
    {GLIA_QUANTIZATION_INT8, 0, "lm_head,,mlp", "empty name"},
    {GLIA_QUANTIZATION_INT8, 0, "", "empty name"},
    {GLIA_QUANTIZATION_INT8, 0, "down", "'down' names no module of Qwen3ForCausalLM"},
    {GLIA_QUANTIZATION_INT8, 0, "mlp, layers.2", "'layers.2' names no module"},
    {GLIA_QUANTIZATION_INT8, 0, "weight", "'weight' names no module"},
    {GLIA_QUANTIZATION_INT8, 0, "k_proj", "name all of q_proj, k_proj and v_proj"},
    {GLIA_QUANTIZATION_INT8, 0, "layers.1.self_attn.q_proj", "name all of q_proj, k_proj and v_proj"},
    {GLIA_QUANTIZATION_W8A8, 0, "gate_proj", "name all of gate_proj and up_proj"},
};

static void test_quantize_refusals(void **state) {
    (void)state;
    glia_model_config c;
    glia_quantize q;
    glia_err err;
    make_config(&c, false, false);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const glia_status status = glia_quantize_resolve(&q,
                                                         &(glia_quantize_choice){.scheme = refusals[i].scheme,
                                                                                 .type = refusals[i].type,
                                                                                 .keep = refusals[i].keep},
                                                         &c, &err);
        CHECK(status == GLIA_ERR_ARGUMENT, "%s: status %d", refusals[i].words, (int)status);
        CHECK(strstr(err.msg, refusals[i].words), "\"%s\" lacks \"%s\"", err.msg, refusals[i].words);
    }
    c.ffn = 1 << 18; /* sums over K overflow an int32 */
    assert_int_equal(
        glia_quantize_resolve(&q, &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_W8A8, .keep = NULL}, &c,
                              &err),
        GLIA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "down_proj.weight has rows of 262144, limit is 133144"));
    assert_int_equal(
        glia_quantize_resolve(
            &q, &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_W8A8, .keep = "down_proj"}, &c, &err),
        GLIA_OK);
    glia_quantize_free(&q);
    glia_model_config_free(&c);
}

static void test_quantize_nan(void **state) {
    (void)state;
    glia_model_config c;
    glia_quantize q;
    glia_weights *w;
    glia_err err;
    tensor_list l;
    glia_team *team;
    make_config(&c, false, false);
    list_tensors(&l, &c);
    spoilt = index_of(&l, UP);
    const char *dir = write_checkpoint(&l);
    spoilt = SIZE_MAX;
    assert_int_equal(glia_team_create(&team, 2, &err), GLIA_OK);
    assert_int_equal(
        glia_quantize_resolve(&q, &(glia_quantize_choice){.scheme = GLIA_QUANTIZATION_INT8, .keep = NULL}, &c,
                              &err),
        GLIA_OK);
    const glia_weights_options o = {.dtype = GLIA_DTYPE_F32, .quantize = &q, .team = team};
    assert_int_equal(glia_weights_load(&w, dir, &c, &o, &err), GLIA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "tensor " UP " holds a value that is NaN or infinite"));
    assert_null(w);
    glia_quantize_free(&q);
    glia_team_free(team);
    glia_model_config_free(&c);
}

/* A dummy depends on its seed, not on the number of threads. */
static void test_dummy(void **state) {
    (void)state;
    glia_model_config c;
    glia_weights *w[2];
    glia_err err;
    make_config(&c, false, true);
    for (int i = 0; i < 2; i++) {
        glia_team *team;
        assert_int_equal(glia_team_create(&team, 1 + 2 * i, &err), GLIA_OK);
        assert_int_equal(load(&w[i], "/nowhere", &c, team, true, &err), GLIA_OK);
        glia_team_free(team);
    }
    assert_int_equal(w[0]->plan.bytes, w[1]->plan.bytes);
    assert_memory_equal(w[0]->plan.base, w[1]->plan.base, w[0]->plan.bytes);
    double sum = 0, squares = 0;
    const size_t n = 20 * 12;
    for (size_t r = 0; r < 20; r++)
        for (size_t k = 0; k < 12; k++) {
            const double x = (double)at(&w[0]->layer[0].gate_up, r / 16 * 32 + r % 16, k);
            sum += x;
            squares += x * x;
        }
    assert_true(sum / (double)n < 0.005 && sum / (double)n > -0.005); /* 3.9 sigma of the mean of 240 */
    assert_true(squares / (double)n > 0.0003 && squares / (double)n < 0.0005); /* 0.02^2, 4 sigma */
    for (int i = 0; i < 2; i++) glia_weights_free(w[i]);
    glia_model_config_free(&c);
}

/* ---- what config.json and the checkpoint say ------------------------------- */

static char warnings[2000];

static void warn(void *user, const char *sentence) {
    (void)user;
    const size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", sentence);
}

static void review(glia_model_config *c, const char *dir) {
    warnings[0] = '\0';
    glia_review_weights(c, dir, warn, NULL);
}

static void load_alone(glia_weights **w, const char *dir, const glia_model_config *c) {
    glia_team *team;
    glia_err err;
    assert_int_equal(glia_team_create(&team, 1, &err), GLIA_OK);
    if (load(w, dir, c, team, false, &err)) fail_msg("%s", err.msg);
    glia_team_free(team);
}

/* A head that differs from the embedding is used although config.json ties it. */
static void test_untied(void **state) {
    (void)state;
    glia_model_config c;
    glia_weights *w;
    tensor_list l;
    make_config(&c, true, false);
    list_tensors(&l, &c);
    l.tensor[l.n++] = (glia_tensor_spec){"lm_head.weight", GLIA_TENSOR_F32, 2, {18, 12}};
    const size_t head = l.n - 1;
    const char *dir = write_checkpoint(&l);
    review(&c, dir);
    assert_false(c.tied_head);
    assert_non_null(strstr(warnings,
                           "tie_word_embeddings is true, but the weights have an lm_head.weight that "
                           "differs from the embedding; it is used, as in transformers 5\n"));
    assert_string_equal(strchr(warnings, '\n'), "\n"); /* one warning */
    load_alone(&w, dir, &c);
    assert_true(w->head.data != w->embed.data);
    assert_true(at(&w->head, 17, 11) == value_of(head, 17 * 12 + 11) &&
                at(&w->embed, 17, 11) == value_of(0, 17 * 12 + 11));
    glia_weights_free(w);
    glia_model_config_free(&c);
    make_config(&c, true, false); /* the same number in another dtype: no copy of the embedding, either */
    l.tensor[head].dtype = GLIA_TENSOR_F64;
    review(&c, write_checkpoint(&l));
    assert_false(c.tied_head);
    review(&c, "/nowhere");
    assert_string_equal(warnings, "");
    glia_model_config_free(&c);
}

/* A tied checkpoint may store the head instead of the embedding. */
static void test_only_head(void **state) {
    (void)state;
    glia_model_config c;
    glia_weights *w;
    glia_err err;
    glia_team *team;
    tensor_list l;
    make_config(&c, true, false);
    list_tensors(&l, &c);
    tensor_named(&l, "model.embed_tokens.weight")->name = "lm_head.weight";
    const char *dir = write_checkpoint(&l);
    review(&c, dir);
    assert_string_equal(warnings, "");
    assert_true(c.tied_head);
    load_alone(&w, dir, &c);
    assert_ptr_equal(w->head.data, w->embed.data);
    assert_true(at(&w->embed, 17, 11) == value_of(0, 17 * 12 + 11));
    glia_weights_free(w);
    c.tied_head = false;
    assert_int_equal(glia_team_create(&team, 1, &err), GLIA_OK);
    assert_int_equal(load(&w, dir, &c, team, false, &err), GLIA_ERR_SHAPE);
    assert_non_null(strstr(err.msg, "tensor model.embed_tokens.weight is missing"));
    glia_team_free(team);
    glia_model_config_free(&c);
}

/* Tensors that the model does not use load with one warning. */
static void test_surplus(void **state) {
    (void)state;
    static const char *const names[] = {"model.layers.2.mlp.up_proj.weight",
                                        "model.layers.0.self_attn.q_proj.bias", "a", "b", "c"};
    for (size_t n = 0; n <= 5; n++) {
        glia_model_config c;
        glia_weights *w;
        tensor_list l;
        char want[80];
        make_config(&c, false, false);
        list_tensors(&l, &c);
        for (size_t i = 0; i < n; i++) l.tensor[l.n++] = (glia_tensor_spec){names[i], GLIA_TENSOR_I8, 1, {3}};
        l.tensor[l.n++] =
            (glia_tensor_spec){"model.layers.0.self_attn.rotary_emb.inv_freq", GLIA_TENSOR_F32, 1, {3}};
        const char *dir = write_checkpoint(&l);
        review(&c, dir);
        snprintf(want, sizeof want,
                 n == 1 ? ": %zu tensor is not used by Qwen3ForCausalLM: model.layers.2"
                        : ": %zu tensors are not used by Qwen3ForCausalLM: ",
                 n);
        CHECK(n ? strstr(warnings, want) != NULL : !*warnings, "%zu: \"%s\"", n, warnings);
        CHECK((strstr(warnings, "model.layers.0.self_attn.q_proj.bias, ...") != NULL) == (n == 5),
              "%zu: \"%s\"", n, warnings);
        load_alone(&w, dir, &c);
        glia_weights_free(w);
        glia_model_config_free(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_fuses),
        cmocka_unit_test(test_bare_and_redundant_names),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_mixed_dtypes),
        cmocka_unit_test(test_rotates),
        cmocka_unit_test(test_quantizes),
        cmocka_unit_test(test_quantize_refusals),
        cmocka_unit_test(test_quantize_nan),
        cmocka_unit_test(test_dummy),
        cmocka_unit_test(test_untied),
        cmocka_unit_test(test_only_head),
        cmocka_unit_test(test_surplus),
    };
    return check_run_group("load", tests);
}
