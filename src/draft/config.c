/* config.c - see config.h. Source of the names: vLLM config/speculative.py; EAGLE's EaModel for total_token,
 * depth and top_k; NxD Inference for medusa_tree and token_tree_config. */
#include "draft/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft/shape.h"
#include "format/hub.h"
#include "format/json.h"

enum { TOKENS_MAX = GLIA_TREE_MAX - 1 };

/* Keys of vLLM that change no answer and that Glia has no use for. */
static const char *const unused[] = {"max_model_len",
                                     "revision",
                                     "code_revision",
                                     "enforce_eager",
                                     "disable_by_batch_size",
                                     "disable_logprobs",
                                     "disable_padded_drafter_batch",
                                     "disable_eagle_block_drop",
                                     "use_local_argmax_reduction",
                                     "parallel_drafting",
                                     "attention_backend",
                                     "moe_backend",
                                     "kv_cache_dtype",
                                     "draft_load_config",
                                     "rejection_sample_method",
                                     "draft_sample_method",
                                     "num_speculative_tokens_per_batch_size",
                                     "enable_adaptive_verification",
                                     "suffix_decoding_max_tree_depth",
                                     "suffix_decoding_max_cached_requests",
                                     "suffix_decoding_max_spec_factor",
                                     "suffix_decoding_min_token_prob"};
static const char *const used[] = {"method",
                                   "model",
                                   "num_speculative_tokens",
                                   "prompt_lookup_min",
                                   "prompt_lookup_max",
                                   "draft_tensor_parallel_size",
                                   "tensor_parallel_size",
                                   "dtype",
                                   "quantization",
                                   "confidence_threshold",
                                   "speculative_token_tree",
                                   "medusa_tree",
                                   "token_tree_config",
                                   "total_token",
                                   "depth",
                                   "top_k"};

static bool among(const char *key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, list[i]) == 0) return true;
    return false;
}

static void check_keys(glia_json_reader *r) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        (void)value;
        if (!among(key, used, sizeof used / sizeof *used) &&
            !among(key, unused, sizeof unused / sizeof *unused))
            glia_json_fail(r, GLIA_ERR_ARGUMENT,
                           "unknown key \"%.60s\", expected vLLM's, such as method, model or "
                           "num_speculative_tokens",
                           key);
    }
}

static void read_method(glia_json_reader *r, glia_draft_config *c, const char *cache_dir) {
    const char *name = glia_json_string(r, "method"), *model = glia_json_string(r, "model");
    if (!name && model)
        name = strcmp(model, "ngram") == 0 || strcmp(model, "[ngram]") == 0 ? "ngram" : "draft_model";
    if (name && strcmp(name, "suffix") == 0) name = "ngram";
    if (r->status) return;
    if (!name) {
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "expected \"method\" or \"model\"");
        return;
    }
    c->method = glia_draft_method_find(name);
    if (!c->method) {
        char names[200];
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "method is %.60s, expected one of %s", name,
                       glia_draft_method_names(names, sizeof names));
        return;
    }
    if (c->method->has_model && !model)
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "method %s needs \"model\"", name);
    else if (c->method->has_model)
        r->status = glia_hub_resolve(&c->dir, model, cache_dir, r->err);
}

static void read_numbers(glia_json_reader *r, glia_draft_config *c) {
    const int64_t tp = glia_json_int(r, "tensor_parallel_size", 0, 1, 1024);
    c->tokens = (int)glia_json_int(r, "num_speculative_tokens", 0, 1, TOKENS_MAX);
    c->lookup_min = (int)glia_json_int(r, "prompt_lookup_min", 0, 1, INT_MAX);
    c->lookup_max = (int)glia_json_int(r, "prompt_lookup_max", 0, 1, INT_MAX);
    c->tp = (int)glia_json_int(r, "draft_tensor_parallel_size", tp, 1, 1024);
    c->threshold = (float)glia_json_real(r, "confidence_threshold", 0, 0, 1);
}

typedef struct {
    const char *name;
    int value;
} choice;

/* The value of the key among rows [n]; 0: the key is not there. */
static int read_choice(glia_json_reader *r, const char *key, const choice *rows, size_t n) {
    const char *name = glia_json_string(r, key);
    char names[100] = "";
    for (size_t i = 0; name && i < n; i++) {
        if (strcmp(name, rows[i].name) == 0) return rows[i].value;
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                 i == 0      ? ""
                 : i + 1 < n ? ", "
                             : " or ",
                 rows[i].name);
    }
    if (name) glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s is %.60s, expected %s", key, name, names);
    return 0;
}

static void read_formats(glia_json_reader *r, glia_draft_config *c) {
    static const choice dtypes[] = {{"auto", GLIA_DTYPE_AUTO},
                                    {"float32", GLIA_DTYPE_F32},
                                    {"bfloat16", GLIA_DTYPE_BF16},
                                    {"float16", GLIA_DTYPE_F16}},
                        schemes[] = {{"int8", GLIA_QUANTIZATION_INT8},
                                     {"w8a8", GLIA_QUANTIZATION_W8A8},
                                     {"int4", GLIA_QUANTIZATION_INT4},
                                     {"w4a8", GLIA_QUANTIZATION_W4A8},
                                     {"fp8", GLIA_QUANTIZATION_FP8}};
    c->dtype = (glia_dtype)read_choice(r, "dtype", dtypes, sizeof dtypes / sizeof *dtypes);
    c->quantization =
        (glia_quantization)read_choice(r, "quantization", schemes, sizeof schemes / sizeof *schemes);
}

/* The text is an option: what is wrong with its format is wrong with an argument. */
static glia_status as_argument(glia_status status, glia_err *err) {
    if (status != GLIA_ERR_FORMAT) return status;
    if (err) err->status = GLIA_ERR_ARGUMENT;
    return GLIA_ERR_ARGUMENT;
}

glia_status glia_draft_config_read(glia_draft_config *c, const char *text, const char *where,
                                   const char *cache_dir, glia_err *err) {
    json_t *tree;
    *c = (glia_draft_config){0};
    glia_json_reader r = {.where = where, .err = err};
    r.status = glia_json_parse(&tree, text, strlen(text), 0, where, err);
    if (r.status) return as_argument(r.status, err);
    r.object = tree;
    check_keys(&r);
    read_numbers(&r, c);
    read_formats(&r, c);
    glia_tree_shape_read(&c->tree, &r);
    read_method(&r, c, cache_dir);
    json_decref(tree);
    if (r.status) glia_draft_config_free(c);
    return as_argument(r.status, err);
}

void glia_draft_config_free(glia_draft_config *c) {
    free(c->dir);
    *c = (glia_draft_config){0};
}

int glia_draft_config_nodes(const glia_draft_config *c) {
    switch (c->tree.kind) {
    case GLIA_TREE_STATIC: return c->tree.n - 1;
    case GLIA_TREE_DYNAMIC: return c->tree.total - 1;
    default: return c->tokens;
    }
}

int glia_draft_config_depth(const glia_draft_config *c) {
    int depth[GLIA_TREE_MAX] = {0}, most = 0;
    if (c->tree.kind == GLIA_TREE_CHAIN) return c->tokens;
    if (c->tree.kind == GLIA_TREE_DYNAMIC)
        return c->tree.depth + 1 < c->tree.total - 1 ? c->tree.depth + 1 : c->tree.total - 1;
    for (int i = 1; i < c->tree.n; i++) {
        depth[i] = depth[c->tree.parent[i]] + 1;
        most = depth[i] > most ? depth[i] : most;
    }
    return most;
}
