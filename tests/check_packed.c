/* check_packed.c - checkpoints of 4-bit integers that the test writes as compressed-tensors
 * does, with shapes that the published ones lack: heads that do not divide among ranks, and
 * int8 activations (w4a8).
 *
 * Truth: the same values as a float32 checkpoint, value = code * scale, which differ in the
 * order of additions alone. w4a8 with a scale a channel is w8a8 with the same integers. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <glia.h>

#include "base/cpu.h"
#include "format/safetensors.h"

enum { PATH = 600, IDS = 24, VOCAB = 64, HIDDEN = 96, FFN = 160, DIM = 32, LINEAR = 7, TENSORS = 40 };

/* How the linear layers are stored. */
typedef enum { FLOATS, INT4_BYTES, INT4_PACKED, INT8_BYTES } layout;
typedef struct {
    layout layout;
    int group;        /* 0: a scale a channel */
    bool activations; /* int8, per token */
    int heads, kv_heads;
} form;

static const char *const linear[LINEAR] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                           "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                           "mlp.down_proj"};

static void sizes_of(const form *f, int i, int64_t *rows, int64_t *cols) {
    const int64_t q = f->heads * DIM, kv = f->kv_heads * DIM;
    const int64_t all[LINEAR][2] = {{q, HIDDEN},   {kv, HIDDEN},  {kv, HIDDEN}, {HIDDEN, q},
                                    {FFN, HIDDEN}, {FFN, HIDDEN}, {HIDDEN, FFN}};
    *rows = all[i][0];
    *cols = all[i][1];
}

/* ---- config.json ------------------------------------------------------------------------- */

static void write_config(const char *dir, const form *f) {
    char text[3000], group[64] = "", rows[200] = "null";
    if (f->group) snprintf(group, sizeof group, "\"group_size\": %d, ", f->group);
    if (f->activations)
        snprintf(
            rows, sizeof rows,
            "{\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"token\", \"dynamic\": "
            "true}");
    int n = snprintf(
        text, sizeof text,
        "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", \"hidden_size\": %d, "
        "\"intermediate_size\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": %d, "
        "\"head_dim\": %d, \"num_hidden_layers\": 1, \"vocab_size\": %d, \"rms_norm_eps\": 1e-6, "
        "\"max_position_embeddings\": 128, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", "
        "\"tie_word_embeddings\": true, \"dtype\": \"float32\", \"eos_token_id\": 2, "
        "\"attention_bias\": false",
        HIDDEN, FFN, f->heads, f->kv_heads, DIM, VOCAB);
    if (f->layout != FLOATS)
        n += snprintf(
            text + n, sizeof text - (size_t)n,
            ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"%s\", "
            "\"quantization_status\": \"compressed\", \"ignore\": [\"lm_head\"], \"config_groups\": "
            "{\"group_0\": {\"targets\": [\"Linear\"], \"input_activations\": %s, \"weights\": "
            "{\"num_bits\": %d, \"type\": \"int\", \"symmetric\": true, %s\"strategy\": \"%s\"}}}}",
            f->layout == INT4_PACKED ? "pack-quantized" : "int-quantized", rows,
            f->layout == INT8_BYTES ? 8 : 4, group, f->group ? "group" : "channel");
    n += snprintf(text + n, sizeof text - (size_t)n, "}");
    check_write_file(dir, "config.json", text, (size_t)n);
}

/* ---- model.safetensors --------------------------------------------------------------------- */

typedef struct {
    glia_tensor_spec spec[TENSORS];
    char name[TENSORS][80];
    void *data[TENSORS];
    size_t n;
} tensors;

static void *add(tensors *t, const char *module, const char *suffix, glia_tensor_dtype dtype, int64_t rows,
                 int64_t cols) {
    size_t bytes = 0;
    glia_tensor_spec *s = &t->spec[t->n];
    snprintf(t->name[t->n], sizeof t->name[0], "%s%s", module, suffix);
    *s = (glia_tensor_spec){t->name[t->n], dtype, rows ? 2 : 1, {rows ? rows : cols, cols}};
    glia_tensor_bytes(dtype, s->shape, s->n_dims, &bytes);
    return t->data[t->n++] = calloc(1, bytes);
}

static void add_floats(tensors *t, const char *name, int64_t rows, int64_t cols, float base, float range) {
    float *x = add(t, name, "", GLIA_TENSOR_F32, rows, cols);
    for (int64_t i = 0; i < (rows ? rows : 1) * cols; i++) x[i] = base + range * check_uniform();
}

/* Integers in [-8, 7], and scales that differ between groups. */
static void add_linear(tensors *t, const form *f, int i) {
    char module[80];
    int64_t rows, cols;
    sizes_of(f, i, &rows, &cols);
    snprintf(module, sizeof module, "model.layers.0.%s", linear[i]);
    const int64_t group = f->group ? f->group : cols, groups = (cols + group - 1) / group;
    float *scale = malloc((size_t)(rows * groups) * sizeof *scale);
    int8_t *code = malloc((size_t)(rows * cols));
    for (int64_t k = 0; k < rows * groups; k++) scale[k] = 0.03f + 0.01f * check_uniform();
    for (int64_t k = 0; k < rows * cols; k++) code[k] = (int8_t)(check_u32() % 16) - 8;
    if (f->layout == FLOATS) {
        float *w = add(t, module, ".weight", GLIA_TENSOR_F32, rows, cols);
        for (int64_t k = 0; k < rows * cols; k++)
            w[k] = (float)code[k] * scale[k / cols * groups + k % cols / group];
    } else {
        if (f->layout == INT4_PACKED) {
            uint32_t *word = add(t, module, ".weight_packed", GLIA_TENSOR_I32, rows, cols / 8);
            int64_t *shape = add(t, module, ".weight_shape", GLIA_TENSOR_I64, 0, 2);
            for (int64_t k = 0; k < rows * cols; k++) word[k / 8] |= (uint32_t)(code[k] + 8) << k % 8 * 4;
            shape[0] = rows;
            shape[1] = cols;
        } else {
            memcpy(add(t, module, ".weight", GLIA_TENSOR_I8, rows, cols), code, (size_t)(rows * cols));
        }
        memcpy(add(t, module, ".weight_scale", GLIA_TENSOR_F32, rows, groups), scale,
               (size_t)(rows * groups) * sizeof *scale);
    }
    free(scale);
    free(code);
}

/* Write the checkpoint; the same seed gives the same values in every layout. */
static void write_model(const char *dir, const form *f) {
    static tensors t;
    char path[PATH];
    glia_err err;
    glia_safetensors_writer *w;
    t.n = 0;
    check_seed(17);
    write_config(dir, f);
    add_floats(&t, "model.embed_tokens.weight", VOCAB, HIDDEN, 0, 1);
    add_floats(&t, "model.norm.weight", 0, HIDDEN, 1, 0.1f);
    add_floats(&t, "model.layers.0.input_layernorm.weight", 0, HIDDEN, 1, 0.1f);
    add_floats(&t, "model.layers.0.post_attention_layernorm.weight", 0, HIDDEN, 1, 0.1f);
    add_floats(&t, "model.layers.0.self_attn.q_norm.weight", 0, DIM, 1, 0.1f);
    add_floats(&t, "model.layers.0.self_attn.k_norm.weight", 0, DIM, 1, 0.1f);
    for (int i = 0; i < LINEAR; i++) add_linear(&t, f, i);
    snprintf(path, sizeof path, "%.500s/model.safetensors", dir);
    if (glia_safetensors_create(&w, path, t.spec, t.n, &err)) fail_msg("%s", err.msg);
    for (size_t i = 0; i < t.n; i++) {
        size_t bytes;
        glia_tensor_bytes(t.spec[i].dtype, t.spec[i].shape, t.spec[i].n_dims, &bytes);
        if (glia_safetensors_append(w, t.data[i], bytes, &err)) fail_msg("%s", err.msg);
        free(t.data[i]);
    }
    if (glia_safetensors_finish(w, &err)) fail_msg("%s", err.msg);
}

/* ---- logits --------------------------------------------------------------------------------- */

typedef struct {
    float at[IDS * VOCAB];
} logits;

static void collect(void *user, size_t position, const float *row) {
    memcpy(((logits *)user)->at + position * VOCAB, row, VOCAB * sizeof *row);
}

static void score_dir(logits *l, const char *dir, const char *rung, int tp) {
    const glia_engine_options engine = {.sequence_length = IDS};
    const glia_options o = {.dtype = GLIA_DTYPE_F32,
                            .threads = 1,
                            .cpu_features = rung,
                            .tensor_parallel_size = tp,
                            .engine = &engine};
    int32_t ids[IDS];
    glia_model *m;
    glia_engine *e;
    glia_err err;
    for (int i = 0; i < IDS; i++) ids[i] = (i * 7 + 3) % VOCAB;
    if (glia_model_load(&m, dir, NULL, &o, &err)) fail_msg("%s", err.msg);
    if (glia_engine_create(&e, m, &engine, &err)) fail_msg("%s", err.msg);
    if (glia_engine_score(e, ids, IDS, collect, l, &err)) fail_msg("%s", err.msg);
    glia_engine_free(e);
    glia_model_free(m);
}

static void score(logits *l, const form *f, const char *rung, int tp) {
    static char dir[PATH];
    if (!*dir) snprintf(dir, sizeof dir, "%s", check_temp_dir());
    write_model(dir, f);
    score_dir(l, dir, rung, tp);
}

/* The largest difference, as a share of the largest magnitude of b. */
static double distance(const logits *a, const logits *b) {
    double most = 0, size = 0;
    for (size_t i = 0; i < IDS * VOCAB; i++) {
        const double d = fabs((double)a->at[i] - (double)b->at[i]), magnitude = fabs((double)b->at[i]);
        if (isnan(d) || d > most) most = d;
        if (magnitude > size) size = magnitude;
    }
    return most / size;
}

static bool has_rung(int r) {
    unsigned flags = glia_cpu_flags();
    return !glia_cpu_mask(&flags, glia_rungs[r].name, NULL);
}

/* Sums of at most FFN products, in another order: some 2^-24 * sqrt(160) each, over five layers. */
static const double order = 1e-5;

static void check_form(form f, const char *rung, int tp) {
    static logits truth, found;
    f.layout = FLOATS;
    score(&truth, &f, rung, tp);
    for (f.layout = INT4_BYTES; f.layout <= INT8_BYTES; f.layout++) {
        score(&found, &f, rung, tp);
        const double d = distance(&found, &truth);
        CHECK(d < order, "%s, layout %d, groups of %d, %d KV heads, tp %d: distance %g, bound %g", rung,
              (int)f.layout, f.group, f.kv_heads, tp, d, order);
    }
}

/* Three heads on two ranks: the second has one head and a head of padding, whose codes must be zeros. */
static void test_padded_heads(void **state) {
    (void)state;
    static const int groups[] = {32, 96, 0}, kv_heads[] = {1, 3};
    for (int r = 0; r < GLIA_RUNGS; r++) {
        if (!has_rung(r)) check_skip_because("this machine has no %s", glia_rungs[r].name);
        for (int i = 0; has_rung(r) && i < 3 * 2 * 3; i++)
            check_form((form){.group = groups[i % 3], .heads = 3, .kv_heads = kv_heads[i / 3 % 2]},
                       glia_rungs[r].name, 2 + i / 6);
    }
}

/* w4a8: with a scale a channel it is w8a8 of the same integers; int8 rows change the result, by what int8
 * rows of w8a8 change it. */
static void test_w4a8(void **state) {
    (void)state;
    for (int r = 0; r < GLIA_RUNGS; r++)
        for (int heads = 3; has_rung(r) && heads <= 4; heads++)
            for (int tp = 1; tp <= 2; tp++) {
                static logits truth, eight, four, packed, grouped;
                const char *rung = glia_rungs[r].name;
                form f = {.heads = heads, .kv_heads = 1};
                score(&truth, &f, rung, tp);
                f.activations = true;
                f.layout = INT8_BYTES;
                score(&eight, &f, rung, tp);
                f.layout = INT4_BYTES;
                score(&four, &f, rung, tp);
                f.layout = INT4_PACKED;
                score(&packed, &f, rung, tp);
                const double rows = distance(&eight, &truth);
                CHECK(rows > order && rows < 0.05, "%s, tp %d: int8 rows change %g", rung, tp, rows);
                CHECK(distance(&four, &eight) < order, "%s, %d heads, tp %d: %g from w8a8", rung, heads, tp,
                      distance(&four, &eight));
                CHECK(memcmp(&four, &packed, sizeof four) == 0, "%s, tp %d: packing changes bits", rung, tp);
                f.group = 32;
                score(&grouped, &f, rung, tp);
                f.layout = FLOATS;
                f.activations = false;
                score(&truth, &f, rung, tp);
                const double d = distance(&grouped, &truth);
                CHECK(d > order && d < 2 * rows, "%s, %d heads, tp %d: groups are off by %g, w8a8 by %g",
                      rung, heads, tp, d, rows);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_padded_heads), cmocka_unit_test(test_w4a8)};
    return check_run_group("packed", tests);
}
