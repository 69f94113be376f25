/* check_artifact.c - a compiled artifact has the model's weights bit for bit, and a
 * changed file is refused.
 *
 * The models are those of tests/golden/forward. One test reads the files with the
 * safetensors reader alone and compares every unpacked element with the checkpoint.
 * Another compares mapped weights with loaded weights byte by byte, for several ranks. */
#define _GNU_SOURCE /* memmem */
#include "check.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "format/checkpoint.h"
#include "kernel/kernels.h"
#include "model/artifact.h"
#include "model/review.h"

#define GOLDEN "tests/golden/forward/"

static const char *const models[] = {
    "llama-3.2",
    "llama-untied-bias",
    "qwen2",
    "qwen2-untied-window-odd",
    "qwen3",
    "qwen3-bare-names",
    "qwen3-lm-head-stored",
    "qwen3-untied-bias-odd",
    "smollm3",
    "smollm3-bias-window-types",
};
enum { N_MODELS = sizeof models / sizeof *models };

static glia_team *team;

static char *join(const char *dir, const char *name) {
    static char path[8][600];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%.300s/%.200s", dir, name);
    return p;
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

/* A new directory below one that is removed at exit. */
static const char *new_dir(void) {
    static char base[300], dir[400];
    static int n;
    if (!n) snprintf(base, sizeof base, "%s", check_temp_dir());
    snprintf(dir, sizeof dir, "%s/%d", base, ++n);
    assert_int_equal(mkdir(dir, 0777), 0);
    return dir;
}

/* ---- formats ----------------------------------------------------------------- */

typedef struct {
    const char *name;
    glia_dtype dtype;
    glia_quantization scheme;
    glia_quantization_type type;
    const char *keep;
} format;

static const format formats[] = {
    {"float32", GLIA_DTYPE_F32, 0, 0, NULL},
    {"bfloat16", GLIA_DTYPE_BF16, 0, 0, NULL},
    {"int8", GLIA_DTYPE_BF16, GLIA_QUANTIZATION_INT8, 0, NULL},
    {"int8 but head", GLIA_DTYPE_F32, GLIA_QUANTIZATION_INT8, 0, "lm_head,layers.0.mlp"},
    {"int8 per channel", GLIA_DTYPE_BF16, GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC,
     NULL},
    {"int8 per tensor", GLIA_DTYPE_BF16, GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC,
     NULL},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static glia_options options_of(const format *f) {
    return (glia_options){.dtype = f->dtype,
                          .quantization = f->scheme,
                          .quantization_type = f->type,
                          .modules_to_not_convert = f->keep,
                          .threads = 2};
}

static const char *compile(const char *model, const glia_options *o) {
    static char dir[600];
    glia_err err;
    snprintf(dir, sizeof dir, "%.500s", new_dir());
    if (glia_compile(model, NULL, dir, o, &err)) fail_msg("%s: %s", model, err.msg);
    return dir;
}

/* ---- the files alone, against the checkpoint ----------------------------------- */

typedef struct {
    glia_safetensors file;
    glia_checkpoint source;
    glia_model_config config;
    bool rotated; /* int8 panels are rotated */
    size_t compared;
} reading;

static const glia_tensor_view *find(const reading *r, const char *name) {
    for (size_t i = 0; i < r->file.n; i++)
        if (strcmp(r->file.tensor[i].name, name) == 0) return &r->file.tensor[i];
    return NULL;
}

static float source_at(const glia_tensor_view *t, size_t i) {
    float f;
    uint16_t h;
    if (t->dtype == GLIA_TENSOR_F32) {
        memcpy(&f, (const char *)t->data + 4 * i, 4);
        return f;
    }
    assert_int_equal(t->dtype, GLIA_TENSOR_BF16);
    memcpy(&h, (const char *)t->data + 2 * i, 2);
    return glia_bf16_to_f32(h);
}

/* Element k of a column of a packed matrix; docs/PARALLEL.md describes panels. */
static float panel_at(const glia_tensor_view *t, size_t column, size_t k) {
    const size_t each = (size_t)t->shape[3], steps = (size_t)t->shape[1];
    const size_t i = ((column / 16 * steps + k / each) * 16 + column % 16) * each + k % each;
    if (t->dtype == GLIA_TENSOR_I8) return ((const int8_t *)t->data)[i];
    return source_at(t, i);
}

/* Row `row` of `source` as it is packed in `panels`. The caller frees it. */
static float *row_for(const reading *r, const glia_tensor_view *panels, const glia_tensor_view *source,
                      size_t row) {
    const size_t k = (size_t)source->shape[1];
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    float *x = calloc(k, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < k; i++) x[i] = source_at(source, row * k + i);
    if (r->rotated && panels->dtype == GLIA_TENSOR_I8)
        ref.rotate(x, x, 64, GLIA_DTYPE_F32, k, glia_rotate_block(k));
    return x;
}

/* Compare row `row` of `source` with column `column` of `panels`, which is an exact
 * copy, rounded, or int8 with a scale. */
static void compare_row(reading *r, const glia_tensor_view *panels, const glia_tensor_view *scales,
                        size_t column, const glia_tensor_view *source, size_t row, float per_tensor) {
    const size_t k = (size_t)source->shape[1];
    float most = per_tensor, *values = row_for(r, panels, source, row);
    for (size_t i = 0; per_tensor == 0 && i < k; i++) most = fmaxf(most, fabsf(values[i]));
    const float scale = most / 127;
    if (panels->dtype == GLIA_TENSOR_I8)
        CHECK(((const float *)scales->data)[column] == scale, "%s: column %zu: scale %g, not %g",
              panels->name, column, (double)((const float *)scales->data)[column], (double)scale);
    size_t wrong = 0;
    for (size_t i = 0; i < k; i++) {
        const float x = values[i], found = panel_at(panels, column, i);
        const float want = panels->dtype == GLIA_TENSOR_F32    ? x
                           : panels->dtype == GLIA_TENSOR_BF16 ? glia_bf16_to_f32(glia_f32_to_bf16(x))
                                                               : rintf(x / scale);
        wrong += found != want;
        r->compared++;
    }
    CHECK(wrong == 0, "%s: column %zu is not row %zu of %s in %zu places", panels->name, column, row,
          source->name, wrong);
    free(values);
}

/* Compare a matrix. `from` is the column of its first row. With `step` 2, panels of
 * two matrices alternate. */
static void compare_matrix(reading *r, bool per_tensor, const char *name, const char *weight, size_t from,
                           size_t step) {
    char text[120];
    const glia_tensor_view *source = glia_checkpoint_find(&r->source, weight);
    if (!source) source = glia_checkpoint_find(&r->source, weight + strlen("model."));
    snprintf(text, sizeof text, "%s.panels", name);
    const glia_tensor_view *panels = find(r, text);
    snprintf(text, sizeof text, "%s.scale", name);
    const glia_tensor_view *scales = find(r, text);
    assert_non_null(source);
    assert_non_null(panels);
    assert_int_equal(panels->dtype == GLIA_TENSOR_I8, scales != NULL);
    float most = 0;
    for (size_t i = 0; per_tensor && i < (size_t)(source->shape[0] * source->shape[1]); i++)
        most = fmaxf(most, fabsf(source_at(source, i)));
    for (size_t row = 0; row < (size_t)source->shape[0]; row++)
        compare_row(r, panels, scales, from + (row / 16 * step) * 16 + row % 16, source, row, most);
}

static void compare_layer(reading *r, bool per_tensor, int i) {
    const glia_model_config *c = &r->config;
    const size_t d = (size_t)c->head_dim, q = (size_t)c->heads * d, kv = (size_t)c->kv_heads * d;
    static const struct {
        const char *name, *weight;
    } rows[] = {{"qkv", "self_attn.q_proj"}, {"qkv", "self_attn.k_proj"},  {"qkv", "self_attn.v_proj"},
                {"o", "self_attn.o_proj"},   {"gate_up", "mlp.gate_proj"}, {"gate_up", "mlp.up_proj"},
                {"down", "mlp.down_proj"}};
    const size_t from[] = {0, q, q + kv, 0, 0, 16, 0};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char name[64], weight[96];
        snprintf(name, sizeof name, "layers.%d.%s", i, rows[k].name);
        snprintf(weight, sizeof weight, "model.layers.%d.%s.weight", i, rows[k].weight);
        compare_matrix(r, per_tensor, name, weight, from[k], k == 4 || k == 5 ? 2 : 1);
    }
}

static void compare_vector(reading *r, const char *name, const char *weight) {
    const glia_tensor_view *found = find(r, name), *source = glia_checkpoint_find(&r->source, weight);
    if (!source) source = glia_checkpoint_find(&r->source, weight + strlen("model."));
    assert_int_equal(found != NULL, source != NULL);
    for (size_t i = 0; found && i < found->bytes / 4; i++) {
        const float want = i < (size_t)source->shape[0] ? source_at(source, i) : 0;
        CHECK(((const float *)found->data)[i] == want, "%s[%zu]", name, i);
    }
}

static void test_every_element(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++)
        for (size_t f = 0; f < N_FORMATS; f++) {
            char source[300];
            reading r = {.rotated = formats[f].type == GLIA_QUANTIZATION_TYPE_DEFAULT};
            glia_err err;
            const bool per_tensor = formats[f].type == GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC,
                       int8 = formats[f].scheme != 0;
            const glia_options o = options_of(&formats[f]);
            snprintf(source, sizeof source, GOLDEN "%s", models[m]);
            const char *dir = compile(source, &o);
            assert_int_equal(glia_model_config_load(&r.config, source, NULL, NULL, &err), GLIA_OK);
            assert_int_equal(glia_checkpoint_open(&r.source, source, &err), GLIA_OK);
            if (glia_safetensors_open(&r.file, join(dir, "weights/tp0_sharded_checkpoint.safetensors"), &err))
                fail_msg("%s", err.msg);
            assert_int_equal(r.file.header_bytes % 4096, 0);
            compare_matrix(&r, false, "embed", "model.embed_tokens.weight", 0, 1);
            const bool own_head = !r.config.tied_head || (int8 && !formats[f].keep);
            assert_int_equal(find(&r, "head.panels") != NULL, own_head);
            if (own_head)
                compare_matrix(&r, per_tensor, "head",
                               r.config.tied_head ? "model.embed_tokens.weight" : "lm_head.weight", 0, 1);
            compare_vector(&r, "final_norm", "model.norm.weight");
            for (int i = 0; i < r.config.layers; i++) {
                char a[64], b[96];
                compare_layer(&r, per_tensor, i);
                snprintf(a, sizeof a, "layers.%d.q_norm", i);
                snprintf(b, sizeof b, "model.layers.%d.self_attn.q_norm.weight", i);
                compare_vector(&r, a, b);
                snprintf(a, sizeof a, "layers.%d.o_bias", i);
                snprintf(b, sizeof b, "model.layers.%d.self_attn.o_proj.bias", i);
                compare_vector(&r, a, b);
            }
            glia_safetensors_close(&r.file);
            glia_checkpoint_close(&r.source);
            glia_model_config_free(&r.config);
        }
}

/* ---- mapped against loaded ------------------------------------------------------- */

static glia_parallel ranks(int tp, int rank, int cp, bool vocab_parallel) {
    return (glia_parallel){.tp = tp, .rank = rank, .cp_degree = cp, .vocab_parallel = vocab_parallel};
}

static glia_status load(glia_weights **w, const char *dir, const glia_model_config *c, glia_dtype dtype,
                        const glia_quantize *q, glia_parallel p, glia_err *err) {
    const glia_weights_options o = {
        .dtype = dtype, .parallel = &p, .quantize = q, .cpu_flags = glia_cpu_flags(), .team = team};
    return glia_weights_load(w, dir, c, &o, err);
}

static void check_rank(const char *source, const glia_model_config *c, const format *f, glia_parallel p) {
    glia_weights *loaded, *mapped;
    glia_quantize q;
    glia_err err;
    static char out[400]; /* one for all: a file is written anew */
    if (!*out) snprintf(out, sizeof out, "%s", new_dir());
    assert_int_equal(
        glia_quantize_resolve(
            &q, &(glia_quantize_choice){.scheme = f->scheme, .type = f->type, .keep = f->keep}, c, &err),
        GLIA_OK);
    if (load(&loaded, source, c, f->dtype, &q, p, &err)) fail_msg("%s", err.msg);
    size_t len;
    char *config = check_read_file(join(source, "config.json"), &len);
    check_write_file(out, "config.json", config, len);
    free(config);
    char name[GLIA_ARTIFACT_NAME];
    mkdir(join(out, "weights"), 0777);
    glia_artifact_name(name, p.rank);
    unlink(join(out, name));
    if (glia_artifact_write(loaded, source, 0, out, team, &err)) fail_msg("%s", err.msg);
    if (load(&mapped, out, c, f->dtype, &q, p, &err)) fail_msg("%s tp %d: %s", source, p.tp, err.msg);
    assert_non_null(mapped->artifact.map.data);
    CHECK(mapped->plan.bytes == loaded->plan.bytes &&
              memcmp(mapped->plan.base, loaded->plan.base, loaded->plan.bytes) == 0,
          "%s: %s, tp %d, cp %d, rank %d: mapped weights differ from loaded ones", source, f->name, p.tp,
          p.cp_degree, p.rank);
    CHECK((uintptr_t)mapped->plan.base % 64 == 0, "misaligned");
    CHECK(mapped->embed.data == mapped->plan.base, "%s: not in place", source);
    glia_weights_free(loaded);
    glia_weights_free(mapped);
    glia_quantize_free(&q);
}

static void test_ranks(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++)
        for (size_t f = 0; f < N_FORMATS; f++)
            for (int tp = 1; tp <= 4; tp++) {
                char source[300];
                glia_model_config c;
                glia_err err;
                snprintf(source, sizeof source, GOLDEN "%s", models[m]);
                assert_int_equal(glia_model_config_load(&c, source, NULL, NULL, &err), GLIA_OK);
                for (int cp = 1; cp <= 2; cp++)
                    for (int rank = 0; rank < tp && tp % cp == 0; rank++)
                        check_rank(source, &c, &formats[f], ranks(tp, rank, cp, rank % 2));
                glia_model_config_free(&c);
            }
}

/* ---- refusals ------------------------------------------------------------------------ */

#define SOURCE GOLDEN "qwen3"
#define FILE_NAME "weights/tp0_sharded_checkpoint.safetensors"

/* Overwrite the first `from` in the file dir/name by `to`. */
static void patch(const char *dir, const char *name, const char *from, const char *to) {
    size_t len;
    char *text = check_read_file(join(dir, name), &len), *at = memmem(text, len, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    check_write_file(dir, name, text, len);
    free(text);
}

static void damage_cut(const char *dir) {
    struct stat info;
    assert_int_equal(stat(join(dir, FILE_NAME), &info), 0);
    assert_int_equal(truncate(join(dir, FILE_NAME), info.st_size - 1), 0);
}
static void damage_short(const char *dir) { assert_int_equal(truncate(join(dir, FILE_NAME), 5), 0); }
static void damage_missing(const char *dir) { assert_int_equal(unlink(join(dir, FILE_NAME)), 0); }
static void damage_layout(const char *dir) {
    patch(dir, FILE_NAME, "\"glia_layout\":\"1\"", "\"glia_layout\":\"9\"");
}
static void damage_order(const char *dir) { patch(dir, FILE_NAME, "\"little\"", "\"middle\""); }
static void damage_header(const char *dir) {
    patch(dir, FILE_NAME, "\"source_hash\":\"", "\"source_hash\":\"#");
}
static void damage_config(const char *dir) { patch(dir, "config.json", "{\n", "{ "); }
static void damage_foreign(const char *dir) {
    const glia_tensor_spec spec = {"layers.0.weight", GLIA_TENSOR_F32, 1, {1}};
    glia_safetensors_writer *w;
    glia_err err;
    assert_int_equal(glia_safetensors_create(&w, join(dir, FILE_NAME), &spec, 1, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_append(w, &(float){1}, 4, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
}
/* Write a file that has the right format and layout in its metadata, but no hashes. */
static void damage_unhashed(const char *dir) {
    const glia_tensor_spec spec = {"layers.0.weight", GLIA_TENSOR_F32, 1, {1}};
    glia_safetensors_writer *w;
    glia_err err;
    json_t *said = json_pack("{s:s, s:s}", "glia_layout", "1", "byte_order", "little");
    unlink(join(dir, FILE_NAME));
    assert_int_equal(glia_safetensors_create_with(&w, join(dir, FILE_NAME), &spec, 1, said, 4096, NULL, &err),
                     GLIA_OK);
    json_decref(said);
    assert_int_equal(glia_safetensors_append(w, &(float){1}, 4, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
}
static void damage_nothing(const char *dir) { (void)dir; }

typedef struct {
    const char *what;
    void (*damage)(const char *dir);
    glia_options options;
    glia_status status;
    const char *words; /* a substring of the message */
} refusal;

/* clang-format off */
static const refusal of_bfloat16[] = {
    {"cut", damage_cut, {0}, GLIA_ERR_FORMAT, "tp0_sharded_checkpoint.safetensors"},
    {"cut to nothing", damage_short, {0}, GLIA_ERR_FORMAT, "5 bytes, too short"},
    {"missing", damage_missing, {0}, GLIA_ERR_IO, "tp0_sharded_checkpoint.safetensors is missing: the weights of rank 0 of 1"},
    {"other layout", damage_layout, {0}, GLIA_ERR_UNSUPPORTED, "has layout 9 of packed weights, expected 1; compile the model again"},
    {"other machine", damage_order, {0}, GLIA_ERR_UNSUPPORTED, "has middle-endian numbers, this machine little-endian"},
    {"a byte of the header", damage_header, {0}, GLIA_ERR_FORMAT, "header does not match its hash; the file is damaged"},
    {"config.json", damage_config, {0}, GLIA_ERR_UNSUPPORTED, "made from another config.json than the one in"},
    {"another program's", damage_foreign, {0}, GLIA_ERR_FORMAT, "written by another program (no glia_layout in its header); give the directory of the original model"},
    {"no hashes", damage_unhashed, {0}, GLIA_ERR_FORMAT, "does not end with 1 hashes"},
    {"dtype", damage_nothing, {.dtype = GLIA_DTYPE_F32}, GLIA_ERR_ARGUMENT, "made with dtype bfloat16, and float32 is asked for"},
    {"quantization", damage_nothing, {.quantization = GLIA_QUANTIZATION_INT8}, GLIA_ERR_ARGUMENT, "made with quantization none, and int8 is asked for"},
    {"int4", damage_nothing, {.quantization = GLIA_QUANTIZATION_INT4}, GLIA_ERR_ARGUMENT, "made with quantization none, and int4 is asked for"},
};
static const refusal of_int4[] = {
    {"group", damage_nothing, {.quantization_group_size = 32}, GLIA_ERR_ARGUMENT, "made with quantization_group_size 64, and 32 is asked for; compile the model again or give the directory of the original"},
    {"head", damage_nothing, {.head_quantization = GLIA_HEAD_INT4}, GLIA_ERR_ARGUMENT, "made with head_quantization int8, and int4 is asked for"},
    {"no head", damage_nothing, {.head_quantization = GLIA_HEAD_NONE}, GLIA_ERR_ARGUMENT, "made with head_quantization int8, and none is asked for"},
    {"head kept", damage_nothing, {.modules_to_not_convert = "lm_head,layers.0.mlp"}, GLIA_ERR_ARGUMENT, "made with other modules_to_not_convert than lm_head,layers.0.mlp;"},
    {"modules", damage_nothing, {.modules_to_not_convert = "self_attn"}, GLIA_ERR_ARGUMENT, "made with other modules_to_not_convert than self_attn;"},
    {"type", damage_nothing, {.quantization_type = GLIA_QUANTIZATION_GROUP_SYMMETRIC}, GLIA_ERR_ARGUMENT, "made with quantization_type group_asymmetric, and group_symmetric is asked for"},
    {"fp8", damage_nothing, {.quantization = GLIA_QUANTIZATION_FP8}, GLIA_ERR_ARGUMENT, "made with quantization int4, and fp8 is asked for"},
    {"int8", damage_nothing, {.quantization = GLIA_QUANTIZATION_INT8}, GLIA_ERR_ARGUMENT, "made with quantization int4, and int8 is asked for"},
    {"w4a8", damage_nothing, {.quantization = GLIA_QUANTIZATION_W4A8}, GLIA_ERR_ARGUMENT, "made with quantization int4, and w4a8 is asked for"},
};
static const refusal of_int8[] = {
    {"type", damage_nothing, {.quantization_type = GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC}, GLIA_ERR_ARGUMENT,
        "made with quantization_type rotated_per_channel_symmetric, and per_tensor_symmetric is asked for"},
    {"not rotated", damage_nothing, {.quantization_type = GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC}, GLIA_ERR_ARGUMENT,
        "made with quantization_type rotated_per_channel_symmetric, and per_channel_symmetric is asked for"},
    {"modules", damage_nothing, {.modules_to_not_convert = "lm_head"}, GLIA_ERR_ARGUMENT, "other modules_to_not_convert?"},
    {"as many bytes", damage_nothing, {.modules_to_not_convert = "layers.1.mlp"}, GLIA_ERR_ARGUMENT, "other modules_to_not_convert?"},
    {"int4", damage_nothing, {.quantization = GLIA_QUANTIZATION_INT4}, GLIA_ERR_ARGUMENT, "made with quantization int8, and int4 is asked for"},
};
/* clang-format on */

/* An artifact loads with the choices that it was made with. */
static void check_same_choices(const glia_options *made) {
    glia_err err;
    glia_model *m = NULL;
    const char *dir = compile(SOURCE, made);
    CHECK(!glia_model_load(&m, dir, NULL, made, &err), "the same choices: %s", err.msg);
    glia_model_free(m);
}

static void check_refusals(const refusal *r, size_t n, const glia_options *made) {
    for (size_t i = 0; i < n; i++) {
        glia_err err = {0};
        glia_model *m = NULL;
        const char *dir = compile(SOURCE, made);
        r[i].damage(dir);
        const glia_status status = glia_model_load(&m, dir, NULL, &r[i].options, &err);
        CHECK(status == r[i].status && strstr(err.msg, r[i].words), "%s: status %d: %s, wanted %s", r[i].what,
              status, err.msg, r[i].words);
        CHECK(!m, "%s: a model", r[i].what);
        glia_model_free(m);
    }
}

static void test_refusals(void **state) {
    (void)state;
    check_refusals(of_bfloat16, sizeof of_bfloat16 / sizeof *of_bfloat16,
                   &(glia_options){.dtype = GLIA_DTYPE_BF16});
    const glia_options int4 = {.dtype = GLIA_DTYPE_BF16,
                               .quantization = GLIA_QUANTIZATION_INT4,
                               .quantization_type = GLIA_QUANTIZATION_GROUP_ASYMMETRIC,
                               .quantization_group_size = 64,
                               .head_quantization = GLIA_HEAD_INT8,
                               .modules_to_not_convert = "layers.0.mlp"},
                       headless = {.quantization = GLIA_QUANTIZATION_W4A8,
                                   .head_quantization = GLIA_HEAD_NONE},
                       kept = {.quantization = GLIA_QUANTIZATION_FP8, .modules_to_not_convert = "lm_head"};
    check_refusals(of_int4, sizeof of_int4 / sizeof *of_int4, &int4);
    check_same_choices(&int4);
    check_same_choices(&headless);
    check_same_choices(&kept);
    check_refusals(of_int8, sizeof of_int8 / sizeof *of_int8,
                   &(glia_options){.dtype = GLIA_DTYPE_BF16,
                                   .quantization = GLIA_QUANTIZATION_INT8,
                                   .modules_to_not_convert = "layers.0.mlp"});
}

/* Files compiled for another number of ranks. */
static void test_other_ranks(void **state) {
    (void)state;
    glia_err err = {0};
    glia_weights *w;
    glia_model_config c;
    const glia_options o = {.dtype = GLIA_DTYPE_BF16};
    const char *dir = compile(SOURCE, &o);
    assert_int_equal(glia_model_config_load(&c, dir, NULL, NULL, &err), GLIA_OK);
    assert_int_equal(load(&w, dir, &c, GLIA_DTYPE_BF16, NULL, ranks(2, 0, 1, false), &err),
                     GLIA_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "made with tensor_parallel_size 1, and 2 is asked for"));
    assert_int_equal(load(&w, dir, &c, GLIA_DTYPE_BF16, NULL, ranks(2, 1, 1, false), &err), GLIA_ERR_IO);
    assert_non_null(
        strstr(err.msg, "is missing: the weights of rank 1 of 2; was the model compiled for fewer ranks?"));
    rename(join(dir, FILE_NAME), join(dir, "weights/tp1_sharded_checkpoint.safetensors"));
    assert_int_equal(load(&w, dir, &c, GLIA_DTYPE_BF16, NULL, ranks(2, 1, 1, false), &err),
                     GLIA_ERR_ARGUMENT);
    assert_non_null(strstr(err.msg, "made with tensor_parallel_size 1, and 2 is asked for"));
    glia_model_config_free(&c);
}

/* Files of two compilations. */
static void test_mixed_ranks(void **state) {
    (void)state;
    glia_err err = {0};
    glia_model *m;
    char a[400], b[400];
    const glia_options o = {.tensor_parallel_size = 2, .threads = 1, .dummy = true},
                       other = {.tensor_parallel_size = 2, .threads = 1, .dummy = true, .seed = 9};
    const glia_options run = {.threads = 1};
    snprintf(a, sizeof a, "%s", compile(SOURCE, &o));
    snprintf(b, sizeof b, "%s", compile(SOURCE, &other));
    assert_int_equal(glia_model_load(&m, a, NULL, &run, &err), GLIA_OK);
    glia_model_free(m);
    const char *second = "weights/tp1_sharded_checkpoint.safetensors";
    assert_int_equal(rename(join(b, second), join(a, second)), 0);
    assert_int_equal(glia_model_load(&m, a, NULL, &run, &err), GLIA_ERR_FORMAT);
    if (!strstr(err.msg, "tp1_sharded_checkpoint.safetensors: made from weights with hash") ||
        !strstr(err.msg, "rank 0's from"))
        fail_msg("%s", err.msg);
}

/* A changed bit of a tensor is an error that names the tensor and the file. */
static void test_damaged_bytes(void **state) {
    (void)state;
    glia_err err = {0};
    glia_model *m;
    char *json = NULL;
    size_t len;
    const char *dir = compile(SOURCE, &(glia_options){.dtype = GLIA_DTYPE_BF16});
    assert_int_equal(glia_inspect(&json, dir, NULL, NULL, &err), GLIA_OK);
    assert_non_null(strstr(json, "\"artifact\":[{\"rank\":0,\"layout\":\"1\""));
    assert_non_null(strstr(json, "\"verified\":true"));
    glia_free(json);
    char *bytes = check_read_file(join(dir, FILE_NAME), &len);
    bytes[len / 2] ^= 4;
    check_write_file(dir, FILE_NAME, bytes, len);
    free(bytes);
    assert_int_equal(glia_model_load(&m, dir, NULL, NULL, &err), GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, FILE_NAME ": tensor "));
    assert_non_null(strstr(err.msg, "does not match its hash; the file is damaged"));
    assert_int_equal(glia_inspect(&json, dir, NULL, NULL, &err), GLIA_ERR_FORMAT);
    assert_null(json);
    assert_non_null(strstr(err.msg, "does not match its hash; the file is damaged"));
}

/* ---- the directory --------------------------------------------------------------------- */

static void expect_refused(const char *model, const char *dir, const char *words) {
    glia_err err = {0};
    const glia_status status = glia_compile(model, NULL, dir, NULL, &err);
    CHECK(status != GLIA_OK && strstr(err.msg, words), "%s: %d: %s, wanted %s", dir, status, err.msg, words);
}

static int entries_of(const char *path) {
    int n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void test_directory(void **state) {
    (void)state;
    glia_err err = {0};
    char temp[400], out[500];
    snprintf(temp, sizeof temp, "%s", new_dir());
    check_write_file(temp, "file", "x", 1);
    expect_refused(SOURCE, temp, "exists and is not empty; give another directory or remove it");
    expect_refused(SOURCE, join(temp, "file"), "exists and is not a directory");
    expect_refused(SOURCE, "/nowhere/x", "cannot make it");
    expect_refused(GOLDEN "none", join(temp, "a"), "none");
    assert_false(exists(join(temp, "a")) || exists(join(temp, "a.tmp")) || exists(join(temp, "file.tmp")));

    struct rlimit limit = {0};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlim_t whole = limit.rlim_cur;
    limit.rlim_cur = 20000; /* a full disk */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_refused(SOURCE, join(temp, "a"), "File too large");
    limit.rlim_cur = whole;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, before);
    assert_false(exists(join(temp, "a")) || exists(join(temp, "a.tmp")));

    snprintf(out, sizeof out, "%s/out", temp);
    mkdir(join(temp, "out.tmp"), 0777); /* a stranger's */
    check_write_file(join(temp, "out.tmp"), "rubbish", "x", 1);
    mkdir(out, 0777); /* empty */
    assert_int_equal(glia_compile(SOURCE, NULL, out, NULL, &err), GLIA_OK);
    assert_true(exists(join(temp, "out.tmp/rubbish")) && !exists(join(out, "rubbish")));
    expect_refused(out, join(temp, "again"), "is compiled already; give the directory of the original model");
    check_write_file(out, "old", "x", 1);
    expect_refused(SOURCE, out, "exists and is not empty; give another directory or remove it");
    expect_refused(SOURCE, out, "Glia did not write");
    assert_int_equal(unlink(join(out, "old")), 0);
    const glia_options f32 = {.dtype = GLIA_DTYPE_F32};
    assert_int_equal(glia_compile(SOURCE, NULL, join(temp, "out/"), &f32, &err),
                     GLIA_OK);             /* an artifact is replaced */
    assert_int_equal(entries_of(temp), 3); /* file, out, out.tmp */
    glia_model *m;
    glia_model_info info;
    assert_int_equal(glia_model_load(&m, out, NULL, NULL, &err), GLIA_OK);
    glia_model_get_info(m, &info);
    assert_int_equal(info.dtype, GLIA_DTYPE_F32);
    glia_model_free(m);
}

/* Other files are copied byte for byte. Options of the compilation become defaults;
 * options that were not set stay open. */
static void test_what_comes_along(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json"};
    const char source[] = "models/qwen3-demo";
    glia_err err = {0};
    const glia_options o = {.quantization = GLIA_QUANTIZATION_W8A8,
                            .modules_to_not_convert = "lm_head",
                            .engine = &(glia_engine_options){.sequence_length = 96}};
    const char *dir = compile(source, &o);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t a, b;
        char *want = check_read_file(join(source, names[i]), &a),
             *found = check_read_file(join(dir, names[i]), &b);
        CHECK(a == b && memcmp(want, found, a) == 0, "%s", names[i]);
        free(want);
        free(found);
    }
    json_t *file = json_load_file(join(dir, "neuron_config.json"), 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(file, "sequence_length")), 96);
    assert_int_equal(json_integer_value(json_object_get(file, "tp_degree")), 1);
    assert_true(json_is_true(json_object_get(file, "quantized")));
    assert_null(json_object_get(file, "batch_size"));
    assert_null(json_object_get(file, "max_batch_size"));
    json_decref(file);
    glia_model *m;
    glia_engine *e;
    glia_model_info info;
    glia_engine_stats stats;
    assert_int_equal(glia_model_load(&m, dir, NULL, NULL, &err), GLIA_OK);
    glia_model_get_info(m, &info);
    assert_int_equal(info.quantization, GLIA_QUANTIZATION_W8A8);
    assert_int_equal(glia_engine_create(&e, m, NULL, &err), GLIA_OK);
    glia_engine_get_stats(e, &stats);
    assert_int_equal(stats.sequence_length, 96);
    glia_engine_free(e);
    assert_true(info.has_tokenizer && info.has_chat_template);
    glia_model_free(m);
    const glia_options weights_only = {.quantization = GLIA_QUANTIZATION_INT8}; /* the same weights */
    assert_int_equal(glia_model_load(&m, dir, NULL, &weights_only, &err), GLIA_OK);
    glia_model_free(m);
}

typedef struct {
    float *at;
    size_t n, vocab;
} logits;

static void keep_logits(void *user, size_t position, const float *row) {
    logits *l = user;
    (void)position;
    memcpy(l->at + l->n, row, l->vocab * sizeof *row);
    l->n += l->vocab;
}

static logits score(const char *dir, const glia_options *o) {
    static const int32_t ids[] = {5, 7, 30, 12, 9, 1};
    enum { N = sizeof ids / sizeof *ids };
    glia_model *m;
    glia_engine *e;
    glia_model_info info;
    glia_err err;
    if (glia_model_load(&m, dir, NULL, o, &err)) fail_msg("%s", err.msg);
    glia_model_get_info(m, &info);
    logits l = {.at = malloc(N * (size_t)info.vocab_size * sizeof *l.at), .vocab = (size_t)info.vocab_size};
    assert_non_null(l.at);
    if (glia_engine_create(&e, m, o->engine, &err)) fail_msg("%s", err.msg);
    if (glia_engine_score(e, ids, N, keep_logits, &l, &err)) fail_msg("%s", err.msg);
    glia_engine_free(e);
    glia_model_free(m);
    return l;
}

/* The artifact without options gives the same logits, bit for bit, as the model with
 * the options of the compilation. */
static void test_runs(void **state) {
    (void)state;
    for (int tp = 1; tp <= 4; tp++)
        for (int vocab = GLIA_SWITCH_DEFAULT; vocab <= GLIA_SWITCH_OFF; vocab++) {
            const glia_options o = {.dtype = GLIA_DTYPE_BF16,
                                    .tensor_parallel_size = tp,
                                    .vocab_parallel = (glia_switch)vocab,
                                    .context_parallel_size = tp == 4 ? 2 : 0,
                                    .threads = 1,
                                    .quantization = tp == 3 ? GLIA_QUANTIZATION_W8A8 : 0};
            const glia_options plain = {.threads = 1};
            const logits a = score(SOURCE, &o), b = score(compile(SOURCE, &o), &plain);
            CHECK(a.n == b.n && memcmp(a.at, b.at, a.n * sizeof *a.at) == 0, "tp %d: other logits", tp);
            free(a.at);
            free(b.at);
        }
}

/* A dummy model's directory has only a config.json. */
/* A head that differs from the embedding, although config.json ties it, is part of the artifact. */
static void test_untied(void **state) {
    (void)state;
    static const char source[] = GOLDEN "llama-tied-other-head";
    glia_model_config c;
    glia_err err;
    const glia_options o = {.dtype = GLIA_DTYPE_F32}, plain = {0};
    assert_false(glia_artifact_is_untied(compile(SOURCE, &o)));
    const char *dir = compile(source, &o);
    assert_true(glia_artifact_is_untied(dir));
    assert_false(glia_artifact_is_untied("/nowhere"));
    assert_int_equal(glia_model_config_load(&c, dir, NULL, NULL, &err), GLIA_OK);
    assert_true(c.tied_head);
    glia_review_weights(&c, dir, NULL, NULL);
    assert_false(c.tied_head);
    glia_model_config_free(&c);
    const logits a = score(source, &o), b = score(dir, &plain);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.at, b.at, a.n * sizeof *a.at);
    free(a.at);
    free(b.at);
}

static void test_dummy(void **state) {
    (void)state;
    glia_err err;
    glia_model *m;
    size_t len;
    char source[400];
    char *config = check_read_file(SOURCE "/config.json", &len);
    snprintf(source, sizeof source, "%s", new_dir());
    check_write_file(source, "config.json", config, len);
    free(config);
    const char *dir = compile(source, &(glia_options){.dummy = true, .seed = 5});
    assert_int_equal(glia_model_load(&m, dir, NULL, NULL, &err), GLIA_OK);
    glia_model_free(m);
}

/* The hash of the source changes with bytes, names and shapes of tensors, not with
 * other files. */
static void test_source_hash(void **state) {
    (void)state;
    uint64_t a = 0, b = 0;
    glia_err err;
    assert_int_equal(glia_source_hash(&a, GOLDEN "qwen3", team, &err), GLIA_OK);
    assert_int_equal(glia_source_hash(&b, GOLDEN "qwen3", team, &err), GLIA_OK);
    assert_true(a == b && a != 0);
    assert_int_equal(glia_source_hash(&b, GOLDEN "smollm3", team, &err), GLIA_OK);
    assert_true(a != b);
    assert_int_equal(glia_source_hash(&b, GOLDEN "none", team, &err), GLIA_ERR_IO);
}

static void test_hash(void **state) {
    (void)state;
    unsigned char bytes[300];
    uint64_t seen[300];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)check_u32();
    for (size_t n = 0; n < 300; n++) {
        seen[n] = glia_hash(bytes, n, 7);
        for (size_t k = 0; k < n; k++) CHECK(seen[k] != seen[n], "%zu and %zu bytes", k, n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            CHECK(glia_hash(bytes, n, 7) != seen[n], "bit %zu of %zu bytes", bit, n);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        CHECK(glia_hash(bytes, n, 8) != seen[n], "seed");
    }
    assert_true(glia_hash("", 0, 0) != glia_hash("\0", 1, 0));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    glia_err err;
    if (glia_team_create(&team, 2, &err)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element), cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_other_ranks),
        cmocka_unit_test(test_mixed_ranks),   cmocka_unit_test(test_damaged_bytes),
        cmocka_unit_test(test_directory),     cmocka_unit_test(test_what_comes_along),
        cmocka_unit_test(test_runs),          cmocka_unit_test(test_untied),
        cmocka_unit_test(test_dummy),         cmocka_unit_test(test_source_hash),
        cmocka_unit_test(test_hash),
    };
    const int status = check_run_group("artifact", tests);
    glia_team_free(team);
    return status;
}
