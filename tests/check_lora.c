/* check_lora.c - LoRA adapters: goldens of PEFT, what is refused, merging.
 *
 * The adapters and their goldens are shared reference data (data/lora/README.md). A golden
 * holds PEFT's logits in float64; the tolerance of float32, 1e-3, is that of the README. */
#define _GNU_SOURCE
#include "cli.h"

#include <dirent.h>
#include <math.h>

#include "base/cpu.h"
#include "format/safetensors.h"
#include "glia.h"

#define LORA "data/lora/"
enum { TOKENS = 48 };
static const double tolerance = 1e-3;

/* ---- goldens ---------------------------------------------------------------- */

typedef struct {
    const float *truth; /* [TOKENS, vocab] */
    size_t vocab, seen;
    double worst, sum; /* of absolute errors */
} comparison;

static void compare(void *user, size_t position, const float *logits) {
    comparison *c = user;
    c->seen++;
    for (size_t i = 0; i < c->vocab; i++) {
        const double error = fabs((double)logits[i] - (double)c->truth[position * c->vocab + i]);
        if (!(error <= c->worst)) c->worst = error; /* this form keeps a NaN */
        c->sum += error;
    }
}

/* The base of an adapter: the last part of base_model_name_or_path, among the bases of the adapters or the
 * quantised checkpoints. */
static void base_of(char *base, size_t size, const char *adapter) {
    char path[1200];
    snprintf(path, sizeof path, "%.1000s/adapter_config.json", adapter);
    json_t *config = json_load_file(path, 0, NULL);
    const char *name = json_string_value(json_object_get(config, "base_model_name_or_path"));
    assert_non_null(name);
    snprintf(path, sizeof path, strncmp(name, "quantized/", 10) ? LORA "bases/%s" : "data/quantized/%s",
             strrchr(name, '/') + 1);
    snprintf(base, size, "%s", check_shared(path));
    json_decref(config);
}

typedef struct {
    const char *rung;
    int tp, cp, chunk;
    glia_switch flash, strided;
} shape;

/* merged: a model with the adapter in its weights; NULL: the base with the adapter beside it. */
static comparison compare_golden(const char *adapter, const char *name, const shape *s, glia_dtype dtype,
                                 const char *merged) {
    char base[600], path[1200];
    glia_safetensors g;
    glia_err err = {0};
    glia_model *m;
    glia_engine *e = NULL;
    const glia_lora_module module = {name, adapter};
    const glia_engine_options engine = {.sequence_length = TOKENS,
                                        .prefill_chunk_size = s->chunk,
                                        .lora_modules = &module,
                                        .n_lora_modules = merged ? 0 : 1};
    const glia_options o = {.dtype = dtype,
                            .threads = s->tp > 1 ? 1 : 2,
                            .cpu_features = s->rung,
                            .tensor_parallel_size = s->tp,
                            .context_parallel_size = s->cp,
                            .flash_decoding = s->flash,
                            .strided_context_parallel = s->strided,
                            .engine = &engine};
    base_of(base, sizeof base, adapter);
    snprintf(path, sizeof path, "%.1000s/golden.safetensors", adapter);
    assert_int_equal(glia_safetensors_read(&g, path, &err), GLIA_OK);
    const glia_tensor_view *ids = NULL, *logits = NULL;
    for (size_t i = 0; i < g.n; i++) {
        if (!strcmp(g.tensor[i].name, "ids")) ids = &g.tensor[i];
        if (!strcmp(g.tensor[i].name, "logits_f64")) logits = &g.tensor[i];
    }
    assert_true(ids && logits && ids->shape[0] == TOKENS);
    int32_t tokens[TOKENS];
    memcpy(tokens, ids->data, sizeof tokens);
    float *truth = malloc(logits->bytes);
    memcpy(truth, logits->data, logits->bytes);
    comparison c = {.truth = truth, .vocab = (size_t)logits->shape[1]};
    if (glia_model_load(&m, merged ? merged : base, NULL, &o, &err)) fail_msg("%s: %s", name, err.msg);
    if (glia_engine_create(&e, m, &engine, &err)) fail_msg("%s: %s", name, err.msg);
    if (glia_engine_score_adapted(e, merged ? NULL : name, tokens, TOKENS, compare, &c, &err))
        fail_msg("%s: %s", name, err.msg);
    CHECK(c.seen == TOKENS, "%s: %zu positions", name, c.seen);
    glia_engine_free(e);
    glia_model_free(m);
    free(truth);
    glia_safetensors_close(&g);
    return c;
}

static void check_golden(const char *adapter, const char *name, const shape *s, const char *merged) {
    const comparison c = compare_golden(adapter, name, s, GLIA_DTYPE_F32, merged);
    CHECK(c.worst <= tolerance, "%s, %s, tp %d, cp %d: the largest error is %g", name, s->rung, s->tp, s->cp,
          c.worst);
}

static int is_adapter(const struct dirent *d) {
    return d->d_name[0] != '.' && strcmp(d->d_name, "pickle-bin") != 0;
}

static void check_goldens(const char *root, int least) {
    static const shape shapes[] = {
        {"ref", 1, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 1, 1, 7, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 3, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 4, 1, 512, GLIA_SWITCH_ON, GLIA_SWITCH_OFF},
        {NULL, 2, 2, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF},
        {NULL, 4, 2, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_ON},
    };
    struct dirent **names;
    char dir[600];
    snprintf(dir, sizeof dir, "%s", root);
    const int n = scandir(dir, &names, is_adapter, alphasort);
    CHECK(n >= least, "%d adapters", n);
    for (int i = 0; i < n; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%.600s/%.200s", dir, names[i]->d_name);
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            check_golden(path, names[i]->d_name, &shapes[k], NULL);
        free(names[i]);
    }
    if (n >= 0) free(names);
}

/* Those of the reference data, and kinds that it lacks. */
static void test_goldens(void **state) {
    const char *root = check_shared(LORA "adapters");
    (void)state;
    if (!root) check_skip("no " LORA "adapters");
    check_goldens(root, 26);
    check_goldens("tests/golden/lora", 9);
}

/* The mean error in a number format is no larger than PEFT's in the same format, which
 * tools/gen_lora_goldens.py measured. */
static void test_errors(void **state) {
    static const struct {
        const char *name;
        glia_dtype dtype;
    } formats[] = {{"float32", GLIA_DTYPE_F32}, {"bfloat16", GLIA_DTYPE_BF16}, {"float16", GLIA_DTYPE_F16}};
    static const shape plain = {NULL, 1, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF};
    const char *root = check_shared(LORA "adapters");
    size_t i, n = 0;
    json_t *row;
    char dir[600], path[1200];
    (void)state;
    if (!root) check_skip("no " LORA "adapters");
    snprintf(dir, sizeof dir, "%s", root);
    json_t *golden = json_load_file("tests/golden/lora_errors.json", 0, NULL);
    json_array_foreach(json_object_get(golden, "errors"), i,
                       row) for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        const json_t *peft = json_object_get(json_object_get(row, formats[k].name), "mean");
        const char *name = json_string_value(json_object_get(row, "adapter"));
        if (!peft) continue; /* PEFT does not have it */
        snprintf(path, sizeof path, "%.600s/%.200s", dir, name);
        const comparison c = compare_golden(path, name, &plain, formats[k].dtype, NULL);
        const double mean = c.sum / (double)(c.seen * c.vocab), theirs = json_real_value(peft);
        CHECK(mean <= theirs, "%s in %s: the mean error is %g, PEFT's is %g", name, formats[k].name, mean,
              theirs);
        if (mean <= theirs) n++;
    }
    CHECK(n >= 60, "%zu comparisons", n);
    json_decref(golden);
}

/* ---- merging ---------------------------------------------------------------- */

static void test_merge(void **state) {
    static const char *const merged[] = {"plain-qv",
                                         "patterns",
                                         "dora",
                                         "dora-rslora-bias-base",
                                         "embed-tied",
                                         "embed-tied-ensure",
                                         "embed-lmhead-untied",
                                         "trainable-tokens",
                                         "trainable-tokens-untied",
                                         "modules-to-save-head",
                                         "modules-to-save-norm",
                                         "bias-all",
                                         "fp16-weights"};
    const shape one = {NULL, 1, 1, 512, GLIA_SWITCH_OFF, GLIA_SWITCH_OFF};
    const char *root = check_shared(LORA "adapters");
    char path[1200], base[600], out[600], dir[600];
    glia_err err = {0};
    (void)state;
    if (!root) check_skip("no " LORA "adapters");
    snprintf(dir, sizeof dir, "%s", root);
    for (size_t i = 0; i < sizeof merged / sizeof *merged; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, merged[i]);
        snprintf(out, sizeof out, "%.300s/%s", check_temp_dir(), merged[i]);
        base_of(base, sizeof base, path);
        if (glia_merge(base, NULL, path, out, NULL, &err)) fail_msg("%s: %s", merged[i], err.msg);
        check_golden(path, merged[i], &one, out);
    }
    static const char *const golden[] = {"dora-embed", "dora-embed-untied", "norms", "tokens-of-head",
                                         "headless",   "block-diagonal",    "pooled"};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        snprintf(path, sizeof path, "tests/golden/lora/%s", golden[i]);
        snprintf(out, sizeof out, "%.300s/%s", check_temp_dir(), golden[i]);
        base_of(base, sizeof base, path);
        if (glia_merge(base, NULL, path, out, NULL, &err)) fail_msg("%s: %s", golden[i], err.msg);
        check_golden(path, golden[i], &one, out);
    }
    snprintf(path, sizeof path, "%s/lora-bias", dir);
    snprintf(out, sizeof out, "%.300s/lora-bias", check_temp_dir());
    base_of(base, sizeof base, path);
    CHECK(glia_merge(base, NULL, path, out, NULL, &err) == GLIA_ERR_UNSUPPORTED &&
              strstr(err.msg, "the adapter adds a bias to a linear layer of layer 0"),
          "%s", err.msg);
    base_of(base, sizeof base, "tests/golden/lora/activated");
    snprintf(out, sizeof out, "%.300s/activated", check_temp_dir());
    CHECK(glia_merge(base, NULL, "tests/golden/lora/activated", out, NULL, &err) == GLIA_ERR_UNSUPPORTED &&
              strstr(err.msg, "alora_invocation_tokens: the adapter acts from these tokens on"),
          "%s", err.msg);
    snprintf(out, sizeof out, "%.300s/quantised", check_temp_dir());
    base_of(base, sizeof base, "tests/golden/lora/reordered-columns");
    err = (glia_err){0};
    CHECK(glia_merge(base, NULL, "tests/golden/lora/reordered-columns", out, NULL, &err) ==
                  GLIA_ERR_UNSUPPORTED &&
              strstr(err.msg, "its weights are quantised (compressed-tensors)"),
          "%s", err.msg);
}

/* ---- the command line ------------------------------------------------------- */

static void test_command_line(void **state) {
    const char *found = check_shared(LORA "bases/qwen3-tied");
    char base[600], root[600], args[1500];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*sadapters", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    check_refused("generate a --ids - --lora-modules x", "", 2, "--lora-modules takes NAME=PATH, not 'x'");
    check_refused("merge a -o b", "", 2, "merge needs an ADAPTER after MODEL");
    check_refused("merge a b", "", 2, "merge needs -o DIR");
    snprintf(args, sizeof args, "generate %s --ids - --lora-modules a=%s/plain-qv --lora b", base, root);
    check_refused(args, "[1]", 2, "there is no adapter b; there are a");
    snprintf(args, sizeof args, "generate %s --ids - --lora a,b", base);
    check_refused(args, "[[1],[2],[3]]", 2, "--lora has 2 names, expected one, or one for each of 3 prompts");
    snprintf(args, sizeof args, "generate %s --ids - --lora-modules a=%s/patterns --max-lora-rank 4 --lora a",
             base, root);
    check_refused(args, "[1]", 2, "max_lora_rank is 4, and an adapter has rank 8");
    outcome alone[2], o;
    const char *const each[] = {"a", "b"};
    for (int i = 0; i < 2; i++)
        alone[i] = glia(
            "[[1,2,3]]",
            "generate %s --ids - --greedy --max-tokens 6 --lora-modules a=%s/plain-qv b=%s/dora --lora %s",
            base, root, root, each[i]);
    o = glia("[[1,2,3],[1,2,3],[1,2,3]]",
             "generate %s --ids - --greedy --max-tokens 6 --lora-modules a=%s/plain-qv b=%s/dora --max-loras "
             "1 --lora a,,b",
             base, root, root);
    char *second = strchr(o.out, '\n'), *third = second ? strchr(second + 1, '\n') : NULL;
    CHECK(o.status == 0 && third && !strncmp(o.out, alone[0].out, strlen(alone[0].out)) &&
              !strcmp(third + 1, alone[1].out),
          "%s against %s and %s: %s", o.out, alone[0].out, alone[1].out, o.err);
    done(&o);
    done(&alone[0]);
    done(&alone[1]);
    o = glia("", "inspect %s/dora --json", root);
    json_t *report = json_of(&o);
    CHECK(json_array_size(json_object_get(report, "modules")) == 4 &&
              json_is_true(json_object_get(report, "dora")),
          "inspect");
    json_decref(report);
}

/* Compiled weights give the same bits; what depends on the base model's own numbers is refused. */
static void test_compiled(void **state) {
    static const char *const names[] = {"plain-qv", "embed-tied", "modules-to-save-norm", "dora",
                                        "trainable-tokens"};
    const char *found = check_shared(LORA "bases/qwen3-tied");
    char base[600], root[600], dir[600];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*sadapters", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    snprintf(dir, sizeof dir, "%.500s/compiled", check_temp_dir());
    outcome o = glia("", "compile %s -o %s", base, dir);
    CHECK(o.status == 0, "%s", o.err);
    done(&o);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        outcome plain = glia("[1,2,3,4,5]", "score %s --ids - --json --lora-modules x=%s/%s --lora x", base,
                             root, names[i]);
        o = glia("[1,2,3,4,5]", "score %s --ids - --json --lora-modules x=%s/%s --lora x", dir, root,
                 names[i]);
        CHECK(o.status == 0 && !strcmp(o.out, plain.out), "%s: %s %s", names[i], o.out, o.err);
        done(&o);
        done(&plain);
    }
    for (int tp = 2; tp <= 3; tp++) { /* whole rows are put together from the ranks' */
        char ranks[600];
        snprintf(ranks, sizeof ranks, "%.500s-%d", dir, tp);
        o = glia("", "compile %s -o %s -tp %d", base, ranks, tp);
        CHECK(o.status == 0, "%s", o.err);
        done(&o);
        outcome plain =
            glia("[1,2,3,4,5]", "score %s -tp %d --ids - --json --lora-modules x=%s/dora --lora x", base, tp,
                 root);
        o = glia("[1,2,3,4,5]", "score %s -tp %d --ids - --json --lora-modules x=%s/dora --lora x", ranks, tp,
                 root);
        CHECK(o.status == 0 && !strcmp(o.out, plain.out), "tp %d: %s %s", tp, o.out, o.err);
        done(&o);
        done(&plain);
    }
    snprintf(dir, sizeof dir, "%.500s/int8", check_temp_dir());
    o = glia("", "compile %s -o %s --quantization int8", base, dir);
    CHECK(o.status == 0, "%s", o.err);
    done(&o);
    o = glia("[1,2,3]",
             "score %s --ids - --json --lora-modules x=%s/trainable-tokens --lora x --quantization int8", dir,
             root);
    CHECK(o.status == 0, "%s", o.err);
    done(&o);
    o = glia("[1,2,3]", "score %s --ids - --json --lora-modules x=%s/dora --lora x --quantization int8", dir,
             root);
    CHECK(o.status == 1 &&
              strstr(o.err, "compiled as quantised ones; give the directory of the original model"),
          "%s", o.err);
    done(&o);
}

/* ---- adapter_config.json ---------------------------------------------------- */

/* Values of PEFT's keys: what is refused, with its words, and what changes nothing. */
static const struct {
    const char *from, *to, *says; /* says NULL: it loads */
} values[] = {
    /* clang-format off */
    {"\"arrow_config\": null", "\"arrow_config\": {\"top_k\": 3}", "arrow_config is"},
    {"\"kasa_config\": null", "\"kasa_config\": {\"beta\": 0.1}", "kasa_config is"},
    {"\"monteclora_config\": null", "\"monteclora_config\": {\"num_samples\": 8}", "monteclora_config is"},
    {"\"layer_replication\": null", "\"layer_replication\": [[0, 2], [1, 2]]", "layer_replication is"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", "init_lora_weights is pissa, which changes the base model"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_16\"", "init_lora_weights is pissa_niter_16, which changes"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"olora\"", "init_lora_weights is olora, which changes"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"corda\"", "init_lora_weights is corda, which changes"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"loftq\"", "init_lora_weights is loftq, which changes"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"lora_ga\"", "init_lora_weights is lora_ga, which changes"},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"gaussian\"", NULL},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"eva\"", NULL},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"orthogonal\"", NULL},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": \"mica\"", NULL},
    {"\"init_lora_weights\": true", "\"init_lora_weights\": false", NULL},
    {"\"eva_config\": null", "\"eva_config\": {\"rho\": 2.0, \"whiten\": true}", NULL},
    {"\"corda_config\": null", "\"corda_config\": {\"corda_method\": \"kpm\"}", NULL},
    {"\"loftq_config\": {}", "\"loftq_config\": {\"loftq_bits\": 4}", NULL},
    {"\"lora_ga_config\": null", "\"lora_ga_config\": {\"direction\": \"ArB2r\"}", NULL},
    {"\"velora_config\": null", "\"velora_config\": {\"num_groups\": 64}", NULL},
    {"\"megatron_config\": null", "\"megatron_config\": {\"sequence_parallel\": true}", NULL},
    {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", NULL},
    {"\"lora_dropout\": 0.05", "\"lora_dropout\": 0.5", NULL},
    {"\"revision\": null", "\"runtime_config\": {\"ephemeral_gpu_offload\": false}", NULL},
    {"\"task_type\": \"CAUSAL_LM\"", "\"task_type\": null", NULL},
    {"\"task_type\": \"CAUSAL_LM\"", "\"task_type\": \"SEQ_CLS\"", "task_type is SEQ_CLS, expected CAUSAL_LM or FEATURE_EXTRACTION"},
    {"\"peft_type\": \"LORA\"", "\"peft_type\": \"ADALORA\"", "peft_type is ADALORA, expected LORA"},
    {"\"revision\": null", "\"use_future\": true", "use_future is true, which Glia does not have: the key is unknown"},
    {"\"revision\": null", "\"use_future\": false", NULL},
    {"\"use_dora\": false", "\"use_dora\": true", "has no lora_magnitude_vector, which use_dora asks for"},
    {"\"use_qalora\": false", "\"use_qalora\": true", "lora_A.weight is [8, 192], expected [8, 12]"},
    {"\"use_bdlora\": null,\n  \"use_dora\": false", "\"use_bdlora\": {\"nblocks\": 2},\n  \"use_dora\": true", "use_qalora, use_bdlora, use_dora: PEFT has one of them"},
    {"\"use_bdlora\": null", "\"use_bdlora\": {\"nblocks\": 2, \"target_modules_bd_a\": [\"q_\"]}", "q_proj.lora_A.weight is [8, 192], expected [8, 96]"},
    {"\"use_bdlora\": null", "\"use_bdlora\": {\"nblocks\": 3, \"target_modules_bd_b\": [\"v_proj\"]}", "with rank 8 does not divide into blocks of 3"},
    {"\"exclude_modules\": null", "\"exclude_modules\": [\"layers.1.self_attn.q_proj\"]", "adapter_config.json does not target its module"},
    {"\"exclude_modules\": null", "\"exclude_modules\": \".*(v_proj\"", "is no regular expression"},
    {"\"alora_invocation_tokens\": null", "\"alora_invocation_tokens\": []", NULL},
    {"\"alora_invocation_tokens\": null", "\"alora_invocation_tokens\": [5, -1]", "alora_invocation_tokens: element 1 is no token"},
    {"\"alora_invocation_tokens\": null", "\"alora_invocation_tokens\": [5, 9]", NULL},
    {"\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}", "gives its module rank 4"},
    {"\"trainable_token_indices\": null", "\"trainable_token_indices\": [1, 2]", NULL}, /* no tensor asks for it */
    {"\"ensure_weight_tying\": false", "\"ensure_weight_tying\": true", NULL},
    {"\"target_parameters\": null", "\"target_parameters\": [\"q_proj.weight\"]", NULL},
    {"\"layers_to_transform\": null", "\"layers_to_transform\": 0", "does not target its module"},
    /* clang-format on */
};

static void test_config(void **state) {
    const char *found = check_shared(LORA "bases/qwen3-tied");
    const char *dir = check_temp_dir();
    glia_err err = {0};
    glia_model *m;
    glia_engine *e;
    char base[600], path[700], *text;
    size_t n;
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    const glia_engine_options engine = {.sequence_length = TOKENS, .enable_lora = true};
    const glia_options o = {.engine = &engine};
    assert_int_equal(glia_model_load(&m, base, NULL, &o, &err), GLIA_OK);
    assert_int_equal(glia_engine_create(&e, m, &engine, &err), GLIA_OK);
    snprintf(path, sizeof path, "%.*sadapters/plain-qv/adapter_model.safetensors",
             (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    text = check_read_file(path, &n);
    check_write_file(dir, "adapter_model.safetensors", text, n);
    free(text);
    strcpy(strstr(path, "adapter_model"), "adapter_config.json");
    text = check_read_file(path, &n);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char changed[4096];
        const char *at = strstr(text, values[i].from);
        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, values[i].to,
                 at + strlen(values[i].from));
        check_write_file(dir, "adapter_config.json", changed, strlen(changed));
        err = (glia_err){0};
        const glia_status status = glia_engine_load_adapter(e, "x", dir, true, &err);
        CHECK(values[i].says ? status && strstr(err.msg, values[i].says) : !status, "%s: status %d: %s",
              values[i].to, status, err.msg);
    }
    free(text);
    glia_engine_free(e);
    glia_model_free(m);
}

/* ---- what is refused -------------------------------------------------------- */

static const struct {
    const char *dir, *words;
} broken[] = {
    {"adapters/pickle-bin", "adapter_model.bin is a pickle, which can run programs; convert it to "
                            "adapter_model.safetensors with safetensors.torch.save_file("},
    {"broken/extra-A-not-in-targets",
     "model.layers.1.self_attn.k_proj has lora_A.weight and no lora_B.weight"},
    {"broken/layer-out-of-range",
     "layers.7.mlp.down_proj.lora_A.weight is of layer 7, the model has 2 layers"},
    {"broken/missing-B", "model.layers.1.self_attn.q_proj has lora_A.weight and no lora_B.weight"},
    {"broken/nan", "q_proj.lora_A.weight: element 0 is NaN or infinite"},
    {"broken/no-config", "no-config: no adapter_config.json"},
    {"broken/not-lora-ia3", "adapter_config.json: peft_type is IA3, expected LORA"},
    {"broken/rank-mismatch-AB",
     "lora_A.weight is [3, 192], expected [4, 192]: adapter_config.json gives its module "
     "rank 4"},
    {"broken/rank-mismatch-config",
     "lora_A.weight is [4, 256], expected [8, 256]: adapter_config.json gives its "
     "module rank 8"},
    {"broken/truncated", "lora_B.weight: data_offsets [10240, 14336] in a file with 14236 bytes of data"},
    {"broken/unknown-module", "the model has no module model.layers.1.mlp.fc_proj"},
    {"broken/wrong-base-shape", "q_proj.lora_A.weight is [4, 184], expected [4, 192]"},
    {"broken/zero-rank", "adapter_config.json: r is 0, expected 1 to 65536"},
    {"adapters/smollm3-all", "mlp.down_proj.lora_B.weight is [128, 8], expected [192, 8]"},
    {"nowhere", "no such adapter: expected a directory"},
};

/* An engine says why it refuses an adapter, and goes on. */
static void test_broken(void **state) {
    const char *found = check_shared(LORA "bases/qwen3-tied");
    glia_err err = {0};
    glia_model *m;
    glia_engine *e;
    char base[600], root[600], path[1500];
    (void)state;
    if (!found) check_skip("no " LORA);
    snprintf(base, sizeof base, "%s", found);
    snprintf(root, sizeof root, "%.*s", (int)(strlen(base) - strlen("bases/qwen3-tied")), base);
    const glia_engine_options engine = {.sequence_length = TOKENS, .enable_lora = true};
    const glia_options o = {.engine = &engine};
    assert_int_equal(glia_model_load(&m, base, NULL, &o, &err), GLIA_OK);
    assert_int_equal(glia_engine_create(&e, m, &engine, &err), GLIA_OK);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        snprintf(path, sizeof path, "%s%s", root, broken[i].dir);
        err = (glia_err){0};
        const glia_status status = glia_engine_load_adapter(e, "x", path, false, &err);
        CHECK(status != GLIA_OK && strstr(err.msg, broken[i].words), "%s: status %d: %s", broken[i].dir,
              status, err.msg);
        CHECK(!strchr(err.msg, '\n'), "%s: more than a line", broken[i].dir);
        if (!strncmp(broken[i].dir, "nowhere", 7)) continue;
        snprintf(path, sizeof path, "score %s --ids - --json --lora-modules x=%s%s --lora x", base, root,
                 broken[i].dir);
        check_refused(path, "[1, 2]", 1, broken[i].words);
    }
    snprintf(path, sizeof path, "%sadapters/plain-qv", root);
    CHECK(glia_engine_load_adapter(e, "x", path, false, &err) == GLIA_OK, "%s", err.msg);
    CHECK(glia_engine_load_adapter(e, "x", path, false, &err) == GLIA_ERR_ARGUMENT &&
              strstr(err.msg, "adapter x is loaded already"),
          "%s", err.msg);
    CHECK(glia_engine_load_adapter(e, "x", path, true, &err) == GLIA_OK, "%s", err.msg);
    CHECK(glia_engine_drop_adapter(e, "y", &err) == GLIA_ERR_ARGUMENT &&
              strstr(err.msg, "there is no adapter y; there are x"),
          "%s", err.msg);
    CHECK(glia_engine_drop_adapter(e, "x", &err) == GLIA_OK, "%s", err.msg);
    glia_engine_free(e);
    glia_model_free(m);
}

int main(int argc, char **argv) {
    find_program();
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),      cmocka_unit_test(test_errors),   cmocka_unit_test(test_merge),
        cmocka_unit_test(test_command_line), cmocka_unit_test(test_compiled), cmocka_unit_test(test_broken),
        cmocka_unit_test(test_config),
    };
    return check_run_group("lora", tests);
}
