/* check_published.c - quantised checkpoints as the published tools write them.
 *
 * The directories, what they must give and the tolerances are those of the shared
 * reference data (data/quantized/README.md): dequantised values are equal bit for
 * bit; logits of float32 rows are within 1e-3 of float64, those of bfloat16 rows within
 * 0.2; int8 rows are compared with vLLM's own log-probabilities. Spellings that the reference
 * data lacks are in tests/golden/published, made by tools/gen_published_goldens.py. */
#define _GNU_SOURCE /* memmem */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glia.h>
#include <jansson.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "model/coded.h"
#include "model/spec.h"

enum { PATH = 600, IDS = 48, VOCAB_MAX = 512 };

static const struct {
    const char *name, *method, *form; /* form: how q_proj runs */
    bool int8_rows;
} cases[] = {
    {"awq-int4", "awq", "4-bit panels", false},
    {"bnb-nf4", "bitsandbytes", "4-bit panels", false},
    {"ct-fp8-dynamic", "compressed-tensors", "float8 panels", false},
    {"ct-fp8-kvscales", "compressed-tensors", "float8 panels", false},
    {"ct-mxfp4", "compressed-tensors", "4-bit panels", false},
    {"ct-nvfp4", "compressed-tensors", "4-bit panels", false},
    {"ct-w4a16", "compressed-tensors", "4-bit panels", false},
    {"ct-w4a16-actorder", "compressed-tensors", "4-bit panels", false},
    {"ct-w4a16-asym", "compressed-tensors", "4-bit panels", false},
    {"ct-w4a16-smollm3", "compressed-tensors", "4-bit panels", false},
    {"ct-w8a16", "compressed-tensors", "8-bit panels", false},
    {"ct-w8a8-int", "compressed-tensors", "int8 panels", true},
    {"fp8-block", "fp8", "float8 panels", false},
    {"gptq-int4", "gptq", "4-bit panels", false},
    {"gptq-int4-descact", "gptq", "4-bit panels", false},
    {"gptq-int4-v2-asym", "gptq", "4-bit panels", false},
    {"gptq-int8", "gptq", "8-bit panels", false},
    /* tests/golden/published */
    {"auto-round", "auto-round", "4-bit panels", false},
    {"auto-round-awq", "auto-round", "4-bit panels", false},
    {"auto-round-zeros", "intel/auto-round", "4-bit panels", false},
    {"awq-gemv", "awq", "4-bit panels", false},
    {"bnb-int8", "bitsandbytes", "int8 panels", false},
    {"bnb-nf4-bfloat16", "bitsandbytes", "4-bit panels", false},
    {"ct-zeros", "compressed-tensors", "8-bit panels", false},
    {"fbgemm", "fbgemm_fp8", "float8 panels", false},
    {"fp8-powers", "fp8", "float8 panels", false},
    {"gptq-borrow", "gptq", "4-bit panels", false},
    {"gptq-dynamic", "gptq", "4-bit panels", false},
    {"mxfp8", "mxfp8", "float8 panels", false},
    {"w8a8-asymmetric", "compressed-tensors", "8-bit panels", true},
    {"w8a8-groups", "compressed-tensors", "8-bit panels", true},
    {"w8a8-static", "compressed-tensors", "8-bit panels", true},
    {"w8a8-static-zeros", "compressed-tensors", "8-bit panels", true},
    {"w8a8-zeros", "compressed-tensors", "8-bit panels", true},
};
enum { CASES = sizeof cases / sizeof *cases, OWN = 17 /* the last ones */ };

static const char *dir_of(size_t i) {
    static char path[PATH];
    snprintf(path, sizeof path, i < CASES - OWN ? "data/quantized/%s" : "tests/golden/published/%s",
             cases[i].name);
    const char *dir = i < CASES - OWN ? check_shared(path) : path;
    if (!dir) check_skip("no ../shared/%s", path);
    if (dir != path) snprintf(path, sizeof path, "%.500s", dir);
    return path;
}

/* The directory of that name. */
static const char *dir_named(const char *name) {
    size_t i = 0;
    while (strcmp(cases[i].name, name) != 0) i++;
    return dir_of(i);
}

static glia_safetensors golden_of(const char *dir) {
    char path[PATH + 32];
    glia_safetensors golden;
    glia_err err;
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    if (glia_safetensors_open(&golden, path, &err)) fail_msg("%s", err.msg);
    return golden;
}

static const glia_tensor_view *find(const glia_safetensors *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->tensor[i].name, name) == 0) return &s->tensor[i];
    return NULL;
}

static float float_at(const glia_tensor_view *t, size_t i) {
    float f;
    uint16_t h;
    if (t->dtype == GLIA_TENSOR_F32) return *(float *)memcpy(&f, (const char *)t->data + 4 * i, 4);
    memcpy(&h, (const char *)t->data + 2 * i, 2);
    return glia_f16_to_f32(h);
}

/* ---- values ------------------------------------------------------------------- */

static void check_weight(const glia_coded *coded, const glia_safetensors *golden, const char *weight) {
    char name[200];
    int32_t at;
    snprintf(name, sizeof name, "deq_idx.%s", weight);
    const glia_tensor_view *index = find(golden, name);
    snprintf(name, sizeof name, "deq_val.%s", weight);
    const glia_tensor_view *value = find(golden, name);
    snprintf(name, sizeof name, "deq_rowsum.%s", weight);
    const glia_tensor_view *sums = find(golden, name);
    CHECK(!index == !coded->scheme, "%s: quantised: %d, expected %d", weight, coded->scheme != NULL,
          index != NULL);
    if (!index || !coded->scheme) return;
    const size_t cols = (size_t)coded->cols, wide = index->dtype == GLIA_TENSOR_I64 ? 8 : 4;
    float *w = malloc((size_t)coded->rows * cols * sizeof *w);
    for (size_t r = 0; r < (size_t)coded->rows; r++) {
        double sum = 0, most = 0;
        glia_coded_row(coded, r, w + r * cols);
        for (size_t i = 0; i < cols; i++)
            sum += (double)w[r * cols + i], most += fabs((double)w[r * cols + i]);
        if (sums)
            CHECK(fabs(sum - (double)float_at(sums, r)) <= 1e-6 * most, "%s: row %zu: sum %g, expected %g",
                  weight, r, sum, (double)float_at(sums, r));
    }
    for (size_t i = 0; i < (size_t)index->shape[0]; i++) {
        memcpy(&at, (const char *)index->data + i * wide, sizeof at);
        const float want = float_at(value, i), found = w[at];
        CHECK(memcmp(&want, &found, sizeof want) == 0, "%s[%d]: %.9g, expected %.9g", weight, at,
              (double)found, (double)want);
    }
    free(w);
}

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        const char *dir = dir_of(i);
        glia_model_config c;
        glia_checkpoint checkpoint;
        glia_err err;
        glia_weight w;
        glia_safetensors golden = golden_of(dir);
        if (glia_model_config_load(&c, dir, NULL, NULL, &err)) fail_msg("%s", err.msg);
        if (glia_checkpoint_open(&checkpoint, dir, &err)) fail_msg("%s", err.msg);
        assert_string_equal(c.quantization.method, cases[i].method);
        for (size_t k = 0; glia_spec_weight(&w, glia_spec_find(c.architecture), &c, k); k++) {
            glia_coded coded;
            if (w.spec->cols == D_1 || w.spec->id == W_EMBED) continue;
            if (glia_coded_find(&coded, &checkpoint, &c.quantization, w.name, w.rows, w.cols, dir, &err))
                fail_msg("%s", err.msg);
            check_weight(&coded, &golden, w.name);
        }
        glia_checkpoint_close(&checkpoint);
        glia_model_config_free(&c);
        glia_safetensors_close(&golden);
    }
}

/* ---- logits ------------------------------------------------------------------- */

typedef struct {
    float *at;
    size_t vocab;
} collected;

static void collect(void *user, size_t position, const float *logits) {
    collected *c = user;
    memcpy(c->at + position * c->vocab, logits, c->vocab * sizeof *logits);
}

static size_t read_ids(int32_t ids[IDS], const glia_safetensors *golden) {
    const glia_tensor_view *t = find(golden, "ids");
    assert_int_equal(t->shape[0], IDS);
    memcpy(ids, t->data, sizeof(int32_t) * IDS);
    return IDS;
}

/* The logits [IDS, VOCAB_MAX] of a directory. The caller frees them. */
static float *score(const char *dir, const glia_options *o, const int32_t ids[IDS], size_t *vocab) {
    glia_model *m;
    glia_engine *e;
    glia_err err;
    glia_model_info info;
    float *logits = calloc(IDS * VOCAB_MAX, sizeof *logits);
    if (glia_model_load(&m, dir, NULL, o, &err)) fail_msg("%s: %s", dir, err.msg);
    if (glia_engine_create(&e, m, o->engine, &err)) fail_msg("%s: %s", dir, err.msg);
    glia_model_get_info(m, &info);
    collected c = {logits, *vocab = (size_t)info.vocab_size};
    if (glia_engine_score(e, ids, IDS, collect, &c, &err)) fail_msg("%s: %s", dir, err.msg);
    glia_engine_free(e);
    glia_model_free(m);
    return logits;
}

/* The root of the mean square of log-probability differences from a run of vLLM. */
static double against_vllm(const float *logits, size_t vocab, const glia_tensor_view *t) {
    double square = 0;
    for (size_t i = 0; i < (size_t)t->shape[0]; i++) {
        double sum = 0;
        for (size_t j = 0; j < vocab; j++) sum += exp((double)logits[i * vocab + j]);
        for (size_t j = 0; j < vocab; j++)
            square += pow((double)logits[i * vocab + j] - log(sum) - (double)float_at(t, i * vocab + j), 2);
    }
    return sqrt(square / (double)((size_t)t->shape[0] * vocab));
}

/* The root of the mean square of differences from logits with int8 rows in float64. */
static double against_int8(const float *logits, size_t n, const glia_tensor_view *t) {
    double square = 0;
    for (size_t i = 0; i < n; i++) square += pow((double)(logits[i] - float_at(t, i)), 2);
    return sqrt(square / (double)n);
}

static void check_logits(size_t i, const char *rung, glia_dtype dtype, int tp, double bound) {
    const char *dir = dir_of(i);
    glia_safetensors golden = golden_of(dir);
    int32_t ids[IDS];
    size_t vocab;
    double most = 0;
    const glia_engine_options engine = {.sequence_length = IDS};
    const glia_options o = {
        .dtype = dtype, .threads = 1, .cpu_features = rung, .tensor_parallel_size = tp, .engine = &engine};
    read_ids(ids, &golden);
    float *logits = score(dir, &o, ids, &vocab);
    const glia_tensor_view *truth = find(&golden, "logits_wo_f64");
    for (size_t k = 0; k < IDS * vocab; k++)
        most = fmax(most, fabs((double)(logits[k] - float_at(truth, k))));
    if (cases[i].int8_rows && dtype == GLIA_DTYPE_F32) {
        const glia_tensor_view *int8 = find(&golden, "logits_int8_f64");
        const double rms = int8 ? against_int8(logits, IDS * vocab, int8)
                                : against_vllm(logits, vocab, find(&golden, "vllm_float32_prompt_logprobs"));
        /* ranks quantise their own columns of a row: as far from the truth as unquantised rows */
        CHECK(rms < (tp > 1 ? 0.15 : 1e-5), "%s %s tp %d: rms %g", cases[i].name, rung, tp, rms);
    } else if (!cases[i].int8_rows) {
        CHECK(most < bound, "%s %s tp %d: error %g, bound %g", cases[i].name, rung, tp, most, bound);
    }
    free(logits);
    glia_safetensors_close(&golden);
}

static void test_logits(void **state) {
    (void)state;
    for (int r = 0; r < GLIA_RUNGS; r++) {
        unsigned flags = glia_cpu_flags();
        if (glia_cpu_mask(&flags, glia_rungs[r].name, NULL)) {
            check_skip_because("this machine has no %s", glia_rungs[r].name);
            continue;
        }
        for (size_t i = 0; i < CASES; i++) {
            check_logits(i, glia_rungs[r].name, GLIA_DTYPE_F32, 1, 1e-3);
            check_logits(i, glia_rungs[r].name, GLIA_DTYPE_BF16, 1, 0.2);
        }
    }
}

static void test_ranks(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int tp = 2; tp <= 3; tp++) {
            check_logits(i, NULL, GLIA_DTYPE_F32, tp, 1e-3);
            check_logits(i, NULL, GLIA_DTYPE_BF16, tp, 0.25);
        }
}

/* ---- schedules ------------------------------------------------------------------ */

static void same(const char *what, size_t i, float *a, float *b, size_t n) {
    CHECK(memcmp(a, b, n * sizeof *a) == 0, "%s: %s changes bits", cases[i].name, what);
    free(b);
}

static void test_schedules(void **state) {
    (void)state;
    const char *temp = check_temp_dir();
    for (size_t i = 0; i < CASES; i++)
        for (int tp = 1; tp <= 2; tp++) {
            char dir[PATH], artifact[PATH];
            int32_t ids[IDS];
            size_t vocab;
            glia_err err;
            snprintf(dir, sizeof dir, "%s", dir_of(i));
            glia_safetensors golden = golden_of(dir);
            read_ids(ids, &golden);
            const glia_engine_options whole = {.sequence_length = IDS},
                                      chunked = {.sequence_length = IDS, .prefill_chunk_size = 7},
                                      single = {.sequence_length = IDS, .prefill_chunk_size = 1};
            glia_options o = {.threads = 1, .tensor_parallel_size = tp, .engine = &whole};
            float *want = score(dir, &o, ids, &vocab);
            o.engine = &chunked;
            same("a chunk of 7", i, want, score(dir, &o, ids, &vocab), IDS * vocab);
            o.engine = &single;
            o.threads = 2;
            same("a chunk of 1 on two threads", i, want, score(dir, &o, ids, &vocab), IDS * vocab);
            snprintf(artifact, sizeof artifact, "%s/%s-%d", temp, cases[i].name, tp);
            o.engine = &whole;
            if (glia_compile(dir, NULL, artifact, &o, &err)) fail_msg("%s: %s", dir, err.msg);
            same("compile", i, want, score(artifact, &o, ids, &vocab), IDS * vocab);
            free(want);
            glia_safetensors_close(&golden);
        }
}

static void test_inspect(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        char *text;
        glia_err err;
        size_t k;
        json_t *tensor;
        bool found = false;
        if (glia_inspect(&text, dir_of(i), NULL, NULL, &err)) fail_msg("%s", err.msg);
        json_t *root = json_loads(text, 0, NULL);
        json_array_foreach(json_object_get(root, "tensors"), k, tensor) {
            if (strcmp(json_string_value(json_object_get(tensor, "name")),
                       "model.layers.0.self_attn.q_proj.weight"))
                continue;
            assert_string_equal(json_string_value(json_object_get(tensor, "runs")), cases[i].form);
            found = true;
        }
        assert_true(found);
        assert_string_equal(json_string_value(json_object_get(json_object_get(root, "run"), "quantization")),
                            cases[i].method);
        json_decref(root);
        glia_free(text);
    }
}

/* ---- hostile files ----------------------------------------------------------------- */

/* A change of one file of a directory, and what the message says. A change of model.safetensors keeps its
 * length, so that offsets still fit. */
static const struct {
    const char *dir, *from, *to, *says;
} hostile[] = {
    /* clang-format off */
    {"gptq-int4", "\"bits\": 4", "\"bits\": 3", "quantization_config: bits is 3; Glia reads gptq with 4 or 8 bits"},
    {"gptq-int4", "\"group_size\": 128", "\"group_size\": 0", "quantization_config: group_size is 0; expected -1 or a positive integer"},
    {"gptq-int4", "\"group_size\": 128", "\"group_size\": 100", "qzeros has shape [2, 32], expected [3, 32]"},
    {"gptq-int4", "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"marlin\"", "checkpoint_format is marlin; Glia reads gptq and gptq_v2"},
    {"gptq-int4", "\"pack_dtype\": \"int32\"", "\"pack_dtype\": \"int64\"", "pack_dtype is int64; Glia reads int32"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"+:.*down.*\": {\"bits\": 8}}", "down_proj.qweight has shape [48, 256], expected [96, 256]"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"+:.*down.*\": {\"bits\": 3}}", "dynamic: +:.*down.*: bits is 3; Glia reads gptq with 4 or 8 bits"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"+:.*down.*\": {\"group_size\": 0}}", "dynamic: +:.*down.*: group_size is 0; expected -1 or a positive integer"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"+:.*(down.*\": {}}", "dynamic: .*(down.* is no regular expression"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"-\": 8}", "dynamic: -: expected an object, found an integer"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\".*down.*\": 8}", "dynamic: .*down.*: expected an object, found an integer"},
    {"gptq-int4", "\"lm_head\": false", "\"rotation\": \"hadamard\"", "rotation is \"hadamard\", which Glia does not support"},
    {"gptq-int4", "\"lm_head\": false", "\"adapter\": {\"name\": \"lora\", \"rank\": 32}", "adapter is"},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"hqq\"", "quant_method is hqq; Glia reads fp8, mxfp8, fbgemm_fp8, compressed-tensors, gptq, awq, auto-round and bitsandbytes; of another method give the directory of the unquantised model, with --quantization int8 or int4"},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"torchao\"", "quant_method is torchao; Glia reads"},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"quanto\"", "quant_method is quanto; Glia reads"},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"eetq\"", "quant_method is eetq; Glia reads"},
    {"awq-int4", "\"version\": \"gemm\"", "\"version\": \"gemv\"", "q_proj.qzeros has shape [2, 32], expected [256, 1]"},
    {"awq-int4", "\"version\": \"gemm\"", "\"version\": \"gemv_fast\"", "version is gemv_fast; Glia reads gemm and gemv"},
    {"awq-int4", "\"bits\": 4", "\"bits\": 8", "bits is 8; Glia reads awq with 4 bits"},
    {"auto-round", "\"packing_format\": \"auto_round:auto_gptq\"", "\"packing_format\": \"auto_round:llm_compressor\"", "packing_format is auto_round:llm_compressor; Glia reads auto_round, auto_round:auto_gptq and auto_round:auto_awq"},
    {"auto-round", "\"data_type\": \"int\"", "\"data_type\": \"mx_fp\"", "data_type is mx_fp; Glia reads int"},
    {"auto-round", "\"iters\": 0", "\"act_bits\": 8", "act_bits is 8, which Glia does not support"},
    {"bnb-int8", "q_proj.SCB", "q_proj.SCX", "q_proj.weight is I8; Glia reads F64, F32, F16 and BF16 weights"},
    {"fp8-block", "\"fmt\": \"e4m3\"", "\"fmt\": \"e5m2\"", "fmt is e5m2; Glia reads e4m3"},
    {"fp8-block", "128,\n      128\n    ]", "128,\n      0\n    ]", "weight_block_size: expected two positive integers"},
    {"bnb-nf4", "\"bnb_4bit_quant_type\": \"nf4\"", "\"bnb_4bit_quant_type\": \"nf5\"", "bnb_4bit_quant_type is nf5; Glia reads nf4 and fp4"},
    {"bnb-nf4", "\"load_in_4bit\": true,\n    \"load_in_8bit\": false", "\"load_in_4bit\": false,\n    \"load_in_8bit\": false", "expected one of load_in_4bit and load_in_8bit to be true"},
    {"ct-w4a16", "\"strategy\": \"group\"", "\"strategy\": \"attn_head\"", "strategy is attn_head; Glia reads tensor, channel, group, tensor_group and block"},
    {"ct-w4a16", "\"num_bits\": 4", "\"num_bits\": 3", "num_bits is 3; Glia reads 4 and 8"},
    {"ct-w4a16", "\"type\": \"int\"", "\"type\": \"uint\"", "type is uint; Glia reads int and float"},
    {"ct-w4a16", "\"targets\": [\n          \"Linear\"\n        ]", "\"targets\": [\n          \"re:(\"\n        ]", "targets: ( is no regular expression"},
    {"ct-w4a16", "\"sparsity_config\": {}", "\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}", "sparsity_config is"},
    {"ct-w4a16", "\"transform_config\": {}", "\"transform_config\": {\"config_groups\": {\"R1\": {}}}", "transform_config is"},
    {"ct-w4a16", "\"quantization_status\": \"compressed\"", "\"quantization_status\": \"calibration\"", "quantization_status is calibration; Glia reads compressed"},
    {"ct-w8a8-int", "\"strategy\": \"token\"", "\"strategy\": \"tensor\"", "input_activations: strategy is tensor; Glia has token with dynamic true"},
    {"ct-w8a8-int", "\"dynamic\": true", "\"dynamic\": false", "input_activations: strategy is token; Glia has token with dynamic true, and tensor with dynamic false"},
    {"ct-w8a8-int", "\"strategy\": \"token\"", "\"strategy\": \"group\"", "input_activations: strategy is group; Glia has token"},
    {"w8a8-static", "\"dynamic\": false,\n     \"num_bits\": 8", "\"dynamic\": false,\n     \"num_bits\": 4", "input_activations: num_bits is not 8"},
    {"w8a8-static", "up_proj.input_scale", "up_proj.input_scalE", "up_proj.input_scale is missing"},
    {"w8a8-static-zeros", "up_proj.input_zero_point", "up_proj.input_zero_poinT", "up_proj.input_zero_point is missing"},
    {"w8a8-groups", "\"type\": \"int\"\n    }\n   }", "\"type\": \"float\"\n    }\n   }", "group_0: int8 activations and 8-bit float weights"},
    {"ct-w8a8-int", "\"type\": \"int\",\n          \"zp_dtype\": null\n        }\n      }", "\"type\": \"float\",\n          \"zp_dtype\": null\n        }\n      }", "group_0: int8 activations and 8-bit float weights; Glia"},
    {"gptq-int4", "q_proj.scales", "q_proj.scalez", "q_proj.scales is missing"},
    {"ct-w4a16", "up_proj.weight_scale", "up_proj.weight_scalE", "up_proj.weight_scale is missing"},
    {"ct-fp8-dynamic", "q_proj.weight_scale", "q_proj.weight_scalE", "q_proj.weight_scale is missing"},
    {"bnb-nf4", "down_proj.weight.absmax", "down_proj.weight.abzmax", "down_proj.weight.absmax is missing"},
    /* clang-format on */
};

/* Write `text` [n] to dir/name with the first `from` replaced, if it is there. Returns whether it was. */
static bool write_changed(const char *dir, const char *name, char *text, size_t n, const char *from,
                          const char *to) {
    char *at = memmem(text, n, from, strlen(from));
    const size_t before = at ? (size_t)(at - text) : n, tail = at ? n - before - strlen(from) : 0;
    char *out = malloc(n + strlen(to) + 1);
    memcpy(out, text, before);
    if (at) memcpy(out + before, to, strlen(to));
    if (at) memcpy(out + before + strlen(to), at + strlen(from), tail);
    check_write_file(dir, name, out, at ? before + strlen(to) + tail : n);
    free(out);
    free(text);
    return at != NULL;
}

static void test_hostile(void **state) {
    (void)state;
    const char *dir = check_temp_dir();
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char path[PATH + 32], shared[PATH];
        size_t n;
        glia_model *m;
        glia_err err = {0};
        snprintf(shared, sizeof shared, "%s", dir_named(hostile[i].dir));
        snprintf(path, sizeof path, "%.500s/config.json", shared);
        char *text = check_read_file(path, &n);
        const bool config = write_changed(dir, "config.json", text, n, hostile[i].from, hostile[i].to);
        snprintf(path, sizeof path, "%.500s/model.safetensors", shared);
        text = check_read_file(path, &n);
        const bool weights = write_changed(dir, "model.safetensors", text, n,
                                           config ? "\x01none\x01" : hostile[i].from, hostile[i].to);
        CHECK(config || weights, "%s: '%s' is in no file", hostile[i].dir, hostile[i].from);
        const glia_status status = glia_model_load(&m, dir, NULL, &(glia_options){.threads = 1}, &err);
        CHECK(status && strstr(err.msg, hostile[i].says), "%s with %s: '%s', expected '%s'", hostile[i].dir,
              hostile[i].to, status ? err.msg : "loaded", hostile[i].says);
        if (!status) glia_model_free(m);
    }
}

/* Spellings that mean the same: the logits keep their bits. */
static const struct {
    const char *dir, *from, *to;
} spellings[] = {
    /* clang-format off */
    {"awq-int4", "\"zero_point\": true", "\"zero_point\": false"}, /* the stored zero points decide */
    {"awq-int4", "\"version\": \"gemm\"", "\"version\": \"GEMM\""},
    {"awq-int4", "\"version\": \"gemm\"", "\"format\": \"gemm\", \"checkpoint_format\": \"gemm\", \"sym\": false, \"desc_act\": false, \"lm_head\": false"},
    {"gptq-int4", "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"GPTQ\""},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {}"},
    {"gptq-int4", "\"lm_head\": false", "\"dynamic\": {\"-:.*lm_head\": {}, \".*\": {\"damp_percent\": 0.1}}"},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:auto_gptq\""},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"auto-round\""},
    {"gptq-int4", "\"quant_method\": \"gptq\"", "\"quant_method\": \"auto-round\", \"extra_config\": {\"model.layers.0.mlp\": {\"bits\": 8}, \"lm_head\": {\"bits\": 16}}"},
    {"bnb-nf4", "\"quant_method\": \"bitsandbytes\"", "\"provider\": \"none\""},
    {"gptq-dynamic", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"}, /* the quantised head is used */
    /* clang-format on */
};

static void test_spellings(void **state) {
    (void)state;
    const char *dir = check_temp_dir();
    const glia_engine_options engine = {.sequence_length = IDS};
    const glia_options o = {.threads = 1, .engine = &engine};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        char path[PATH + 32], shared[PATH];
        size_t n, vocab;
        int32_t ids[IDS];
        snprintf(shared, sizeof shared, "%s", dir_named(spellings[i].dir));
        glia_safetensors golden = golden_of(shared);
        read_ids(ids, &golden);
        glia_safetensors_close(&golden);
        snprintf(path, sizeof path, "%.500s/model.safetensors", shared);
        char *text = check_read_file(path, &n);
        check_write_file(dir, "model.safetensors", text, n);
        free(text);
        snprintf(path, sizeof path, "%.500s/config.json", shared);
        text = check_read_file(path, &n);
        const bool is = write_changed(dir, "config.json", text, n, spellings[i].from, spellings[i].to);
        CHECK(is, "%s: '%s' is not in config.json", spellings[i].dir, spellings[i].from);
        float *want = score(shared, &o, ids, &vocab), *found = score(dir, &o, ids, &vocab);
        CHECK(memcmp(want, found, IDS * vocab * sizeof *want) == 0, "%s with %s: other logits",
              spellings[i].dir, spellings[i].to);
        free(want);
        free(found);
    }
}

/* Bytes of a tensor that are no number, or name no group. */
static void test_hostile_values(void **state) {
    (void)state;
    const char *dir = check_temp_dir();
    static const struct {
        const char *dir, *tensor, *bytes, *says;
        size_t n;
    } rows[] = {
        {"ct-w4a16", "model.layers.0.mlp.up_proj.weight_scale", "\xc0\x7f",
         "up_proj.weight_packed holds a value that is NaN or infinite, or its scales do", 2},
        {"gptq-int4", "model.layers.0.mlp.up_proj.scales", "\x00\x7c",
         "up_proj.qweight holds a value that is NaN or infinite, or its scales do", 2},
        {"ct-fp8-dynamic", "model.layers.0.mlp.up_proj.weight", "\x7f",
         "up_proj.weight holds a value that is NaN or infinite, or its scales do", 1},
        {"gptq-int4-descact", "model.layers.0.mlp.up_proj.g_idx", "\x09\x00\x00\x00",
         "up_proj.g_idx: group 9 of column 0, expected 0 to 1", 4},
        {"ct-w4a16", "model.layers.0.mlp.up_proj.weight_shape", "\x01\x00",
         "up_proj.weight_shape is [1, 256], expected [384, 256]", 2},
        {"ct-nvfp4", "model.layers.0.mlp.up_proj.weight_global_scale", "\x00\x00\x00\x00",
         "expected a number to divide by", 4},
        {"bnb-nf4", "model.layers.0.mlp.up_proj.weight.quant_map", "\x00\x00\xc0\x7f",
         "up_proj.weight.quant_map holds a value that is NaN", 4},
        {"bnb-nf4", "model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4", "[", "quant_state", 1},
        {"bnb-int8", "model.layers.0.mlp.up_proj.SCB", "\x00\x00\xc0\x7f",
         "up_proj.weight holds a value that is NaN or infinite, or its scales do", 4},
        {"bnb-int8", "model.layers.0.mlp.up_proj.weight_format", "\x03",
         "up_proj.weight_format is 3, expected 0: rows in their order", 1},
        {"mxfp8", "model.layers.0.mlp.up_proj.weight_scale_inv", "\xff",
         "up_proj.weight holds a value that is NaN or infinite, or its scales do", 1},
        {"w8a8-static", "model.layers.0.mlp.up_proj.input_scale", "\x00\x00\xc0\x7f",
         "up_proj.input_scale is nan, expected a positive number", 4},
        {"w8a8-static", "model.layers.0.mlp.up_proj.input_scale", "\x00\x00\x00\x00",
         "up_proj.input_scale is 0, expected a positive number", 4},
        {"awq-gemv", "model.layers.0.mlp.up_proj.scales", "\x00\x7c",
         "up_proj.qweight holds a value that is NaN or infinite, or its scales do", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[PATH + 32], shared[PATH];
        size_t n;
        glia_model *m;
        glia_safetensors file;
        glia_err err = {0};
        snprintf(shared, sizeof shared, "%s", dir_named(rows[i].dir));
        snprintf(path, sizeof path, "%.500s/config.json", shared);
        char *text = check_read_file(path, &n);
        check_write_file(dir, "config.json", text, n);
        free(text);
        snprintf(path, sizeof path, "%.500s/model.safetensors", shared);
        text = check_read_file(path, &n);
        if (glia_safetensors_parse(&file, text, n, path, &err)) fail_msg("%s", err.msg);
        const glia_tensor_view *t = find(&file, rows[i].tensor);
        assert_non_null(t);
        memcpy(text + ((const char *)t->data - text), rows[i].bytes, rows[i].n);
        glia_safetensors_close(&file);
        check_write_file(dir, "model.safetensors", text, n);
        free(text);
        const glia_status status = glia_model_load(&m, dir, NULL, &(glia_options){.threads = 1}, &err);
        CHECK(status && strstr(err.msg, rows[i].says), "%s, %s: '%s', expected '%s'", rows[i].dir,
              rows[i].tensor, status ? err.msg : "loaded", rows[i].says);
        if (!status) glia_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),         cmocka_unit_test(test_logits),
        cmocka_unit_test(test_ranks),          cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_inspect),        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_spellings),
    };
    return check_run_group("published", tests);
}
