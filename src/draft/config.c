/* config.c - see config.h. Source of the names: vLLM config/speculative.py; EAGLE's EaModel for total_token,
 * depth and top_k; NxD Inference for medusa_tree and token_tree_config. */
#include "draft/config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft/shape.h"
#include "format/hub.h"
#include "format/json.h"

enum { TOKENS_MAX = GLIA_TREE_MAX - 1 };

/* Keys of vLLM that change no answer and that Glia has no use for: their type is checked. */
typedef enum { A_BOOLEAN, A_NUMBER, A_STRING, AN_ARRAY, AN_OBJECT } type;
static const struct {
    const char *name;
    type type;
} unused[] = {{"max_model_len", A_NUMBER},
              {"revision", A_STRING},
              {"code_revision", A_STRING},
              {"enforce_eager", A_BOOLEAN},
              {"disable_by_batch_size", A_NUMBER},
              {"disable_logprobs", A_BOOLEAN},
              {"disable_padded_drafter_batch", A_BOOLEAN},
              {"disable_eagle_block_drop", A_BOOLEAN},
              {"use_local_argmax_reduction", A_BOOLEAN},
              {"parallel_drafting", A_BOOLEAN},
              {"attention_backend", A_STRING},
              {"moe_backend", A_STRING},
              {"kv_cache_dtype", A_STRING},
              {"draft_load_config", AN_OBJECT},
              {"draft_sample_method", A_STRING},
              {"dspark_draft_topk", A_NUMBER},
              {"num_speculative_tokens_per_batch_size", AN_ARRAY},
              {"enable_adaptive_verification", A_BOOLEAN},
              {"suffix_decoding_max_tree_depth", A_NUMBER},
              {"suffix_decoding_max_cached_requests", A_NUMBER},
              {"suffix_decoding_max_spec_factor", A_NUMBER},
              {"suffix_decoding_min_token_prob", A_NUMBER}};

/* Keys of vLLM whose values have an effect that Glia does not offer. */
static const struct {
    const char *name, *why;
} refused[] = {{"use_heterogeneous_vocab", "a draft must have the target's tokens"},
               {"synthetic_acceptance_rates", "only the target's own tokens are accepted"},
               {"synthetic_acceptance_length", "only the target's own tokens are accepted"},
               {"index_share_for_mtp_iteration", "no model that Glia runs has MTP layers"}};

static const char *const used[] = {"method",
                                   "model",
                                   "num_speculative_tokens",
                                   "prompt_lookup_min",
                                   "prompt_lookup_max",
                                   "draft_tensor_parallel_size",
                                   "tensor_parallel_size",
                                   "rejection_sample_method",
                                   "dtype",
                                   "quantization",
                                   "confidence_threshold",
                                   "speculative_token_tree",
                                   "medusa_tree",
                                   "token_tree_config",
                                   "total_token",
                                   "depth",
                                   "top_k"};

static bool is_used(const char *key) {
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (strcmp(key, used[i]) == 0) return true;
    return false;
}

/* Check the key if it is of the tables above; returns whether it is. */
static bool check_idle(glia_json_reader *r, const char *key, const json_t *value) {
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
        if (strcmp(key, unused[i].name) != 0) continue;
        switch (unused[i].type) {
        case A_BOOLEAN: glia_json_bool(r, key, false); break;
        case A_NUMBER: glia_json_real(r, key, 0, -HUGE_VAL, HUGE_VAL); break;
        case A_STRING: glia_json_string(r, key); break;
        case AN_ARRAY: glia_json_array(r, key); break;
        case AN_OBJECT: glia_json_object(r, key); break;
        }
        return true;
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char text[60];
        if (strcmp(key, refused[i].name) != 0) continue;
        if (!glia_json_is_neutral(value, NAN))
            glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %s: %s", key,
                           glia_json_print(value, text, sizeof text), refused[i].why);
        return true;
    }
    return false;
}

static void check_keys(glia_json_reader *r) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        if (!is_used(key) && !check_idle(r, key, value))
            glia_json_fail(r, GLIA_ERR_ARGUMENT,
                           "unknown key \"%.60s\", expected vLLM's, such as method, model or "
                           "num_speculative_tokens",
                           key);
    }
}

/* ---- the method ---------------------------------------------------------------- */

/* Other names of methods. */
static const char *const aliases[][2] = {{"suffix", "ngram"}, {"ngram_gpu", "ngram"}, {"[ngram]", "ngram"}};

/* Methods of vLLM that Glia has not. */
static const struct {
    const char *name, *why;
} missing[] = {{"mlp_speculator", "Glia does not run MLP speculators"},
               {"extract_hidden_states", "glia score --states writes hidden states"},
               {"custom_class", "Glia runs no code of a user"}};

static const char *why_missing(const char *name) {
    const size_t n = strlen(name);
    if (strcmp(name, "mtp") == 0 || (n > 4 && strcmp(name + n - 4, "_mtp") == 0))
        return "no model that Glia runs has MTP layers";
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (strcmp(name, missing[i].name) == 0) return missing[i].why;
    return NULL;
}

static void refuse_method(glia_json_reader *r, const char *name) {
    char names[200];
    const char *why = why_missing(name);
    glia_json_fail(r, GLIA_ERR_ARGUMENT, "method is %.60s%s%s, expected one of none, suffix, %s", name,
                   why ? ": " : "", why ? why : "", glia_draft_method_names(names, sizeof names));
}

static const glia_draft_method *find_method(const char *name) {
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i][0]) == 0) name = aliases[i][1];
    return glia_draft_method_find(name);
}

static void read_method(glia_json_reader *r, glia_draft_config *c, const char *cache_dir) {
    const char *name = glia_json_string(r, "method"), *model = glia_json_string(r, "model");
    if (!name && model && (strcmp(model, "ngram") == 0 || strcmp(model, "[ngram]") == 0)) name = "ngram";
    if (r->status) return;
    c->method = name ? find_method(name) : NULL;
    if (!name && !model)
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "expected \"method\" or \"model\"");
    else if (name && !c->method)
        refuse_method(r, name);
    else if (c->method && c->method->has_model && !model)
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "method %s needs \"model\"", name);
    else if (!c->method || c->method->has_model)
        r->status = glia_hub_resolve(&c->dir, model, cache_dir, r->err);
    if (!r->status && !c->method) c->method = glia_draft_method_of(c->dir);
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
    char names[200] = "";
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
                                     {"fp8", GLIA_QUANTIZATION_FP8},
                                     /* of a checkpoint, which says so itself */
                                     {"gptq", 0},
                                     {"awq", 0},
                                     {"compressed-tensors", 0}},
                        verification[] = {{"standard", 0}, {"strict", 0}, {"probabilistic", 0}, {"block", 0}};
    c->dtype = (glia_dtype)read_choice(r, "dtype", dtypes, sizeof dtypes / sizeof *dtypes);
    c->quantization =
        (glia_quantization)read_choice(r, "quantization", schemes, sizeof schemes / sizeof *schemes);
    read_choice(r, "rejection_sample_method", verification, sizeof verification / sizeof *verification);
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
