/* adapter.c - see adapter.h. */
#define _GNU_SOURCE
#include "format/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/adapter_names.h"
#include "format/json.h"

enum { CONFIG_MAX = 16 << 20, RANK_MAX = 1 << 16 };
static const char config_name[] = "adapter_config.json", weights_name[] = "adapter_model.safetensors";

const char *glia_lora_role_name(glia_lora_role role) {
    static const char *const names[GLIA_LORA_ROLES] = {
        [GLIA_LORA_A] = "lora_A.weight",
        [GLIA_LORA_B] = "lora_B.weight",
        [GLIA_LORA_B_BIAS] = "lora_B.bias",
        [GLIA_LORA_EMBED_A] = "lora_embedding_A",
        [GLIA_LORA_EMBED_B] = "lora_embedding_B",
        [GLIA_LORA_MAGNITUDE] = "lora_magnitude_vector",
        [GLIA_LORA_TOKENS] = "token_adapter.trainable_tokens_delta",
        [GLIA_LORA_WEIGHT] = "weight",
        [GLIA_LORA_BIAS] = "bias",
        [GLIA_LORA_BASE] = "base_layer.weight",
    };
    return names[role];
}

/* ---- adapter_config.json ---------------------------------------------------- */

/* What a key may hold. */
typedef enum {
    ANY,     /* it is read, or it changes no result */
    NEUTRAL, /* Glia does not have what it asks for: only a value without effect */
} key_rule;

/* Every key of LoraConfig. */
static const struct {
    const char *name;
    key_rule rule;
} keys[] = {
    {"alora_invocation_tokens", ANY},
    {"alpha_pattern", ANY},
    {"arrow_config", NEUTRAL},
    {"auto_mapping", ANY},
    {"base_model_name_or_path", ANY},
    {"bias", ANY},
    {"corda_config", ANY},
    {"ensure_weight_tying", ANY},
    {"eva_config", ANY},
    {"exclude_modules", ANY},
    {"fan_in_fan_out", ANY}, /* PEFT ignores it for linear layers */
    {"inference_mode", ANY},
    {"init_lora_weights", ANY},
    {"kasa_config", NEUTRAL},
    {"layer_replication", NEUTRAL},
    {"layers_pattern", ANY},
    {"layers_to_transform", ANY},
    {"loftq_config", ANY},
    {"lora_alpha", ANY},
    {"lora_bias", ANY},
    {"lora_dropout", ANY},
    {"lora_ga_config", ANY},
    {"megatron_config", ANY},
    {"megatron_core", ANY},
    {"modules_to_save", ANY},
    {"monteclora_config", NEUTRAL},
    {"peft_type", ANY},
    {"peft_version", ANY},
    {"qalora_group_size", ANY},
    {"r", ANY},
    {"rank_pattern", ANY},
    {"revision", ANY},
    {"runtime_config", ANY},
    {"target_modules", ANY},
    {"target_parameters", ANY},
    {"task_type", ANY},
    {"trainable_token_indices", ANY},
    {"use_bdlora", ANY},
    {"use_dora", ANY},
    {"use_qalora", ANY},
    {"use_rslora", ANY},
    {"velora_config", ANY}, /* memory while training */
};

static glia_status check_keys(const glia_json_reader *r) {
    const char *key;
    json_t *value;
    char text[80];
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(keys[i].name, key) != 0) i++;
        const bool known = i < sizeof keys / sizeof *keys;
        if ((known && keys[i].rule == ANY) || glia_json_is_neutral(value, NAN)) continue;
        return glia_fail(r->err, GLIA_ERR_UNSUPPORTED, "%s: %.60s is %s, which Glia does not have%s",
                         r->where, key, glia_json_print(value, text, sizeof text),
                         known ? "" : ": the key is unknown");
    }
    return GLIA_OK;
}

/* PEFT subtracts the first A and B of these from the base model's weights when it loads the adapter. */
static bool changes_base(const char *init) {
    static const char *const names[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    for (size_t i = 0; init && i < sizeof names / sizeof *names; i++)
        if (strncmp(init, names[i], strlen(names[i])) == 0) return true;
    return false;
}

static void read_kind(glia_json_reader *r, glia_adapter_files *a) {
    static const char *const biases[] = {"none", "all", "lora_only"};
    const char *type = glia_json_string(r, "peft_type"), *task = glia_json_string(r, "task_type");
    const char *bias = glia_json_string(r, "bias");
    const json_t *init = json_object_get(r->object, "init_lora_weights");
    if (type && strcmp(type, "LORA") != 0)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "peft_type is %.40s, expected LORA", type);
    if (!type) glia_json_fail(r, GLIA_ERR_FORMAT, "peft_type is missing, expected LORA");
    a->headless = task && strcmp(task, "FEATURE_EXTRACTION") == 0;
    if (task && !a->headless && strcmp(task, "CAUSAL_LM") != 0)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "task_type is %.40s, expected CAUSAL_LM or FEATURE_EXTRACTION", task);
    if (changes_base(json_string_value(init)))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "init_lora_weights is %.40s, which changes the base model; save the adapter with "
                       "path_initial_model_for_weight_conversion",
                       json_string_value(init));
    if (!bias) bias = biases[0];
    while (a->biases < 3 && strcmp(bias, biases[a->biases]) != 0) a->biases++;
    if (a->biases == 3)
        glia_json_fail(r, GLIA_ERR_FORMAT, "bias is %.40s, expected none, all or lora_only", bias);
}

/* PEFT takes an empty list for none. */
static const json_t *read_invocation(glia_json_reader *r) {
    const json_t *tokens = glia_json_array(r, "alora_invocation_tokens");
    size_t i;
    json_t *token;
    json_array_foreach((json_t *)(uintptr_t)tokens, i, token) {
        if (json_is_integer(token) && json_integer_value(token) >= 0 &&
            json_integer_value(token) <= INT32_MAX)
            continue;
        glia_json_fail(r, GLIA_ERR_FORMAT, "alora_invocation_tokens: element %zu is no token", i);
        break;
    }
    return json_array_size(tokens) ? tokens : NULL;
}

static void read_forms(glia_json_reader *r, glia_adapter_files *a) {
    const json_t *blocks = glia_json_object(r, "use_bdlora");
    if (glia_json_bool(r, "use_qalora", false))
        a->pool = (int)glia_json_int(r, "qalora_group_size", 16, 1, INT32_MAX);
    if (blocks) {
        glia_json_reader inner = *r;
        inner.object = blocks;
        a->blocks = (int)glia_json_int(&inner, "nblocks", 1, 1, INT32_MAX);
        glia_json_array(&inner, "target_modules_bd_a");
        glia_json_array(&inner, "target_modules_bd_b");
        r->status = inner.status;
    }
    if (!r->status && (a->pool != 0) + (blocks != NULL) + a->dora > 1)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "use_qalora, use_bdlora, use_dora: PEFT has one of them");
}

static glia_status read_config(glia_adapter_files *a, const char *path, glia_warning_fn *warning,
                               glia_err *err) {
    glia_status status = glia_json_load(&a->config, path, CONFIG_MAX, 0, err);
    if (status) return status;
    glia_json_reader r = {.object = a->config, .where = path, .err = err, .warning = warning};
    read_kind(&r, a);
    a->base_model = glia_json_string(&r, "base_model_name_or_path");
    a->r = (int)glia_json_int(&r, "r", 8, INT32_MIN, INT32_MAX);
    if (a->r < 1 || a->r > RANK_MAX)
        glia_json_fail(&r, GLIA_ERR_FORMAT, "r is %d, expected 1 to %d", a->r, RANK_MAX);
    a->alpha = glia_json_real(&r, "lora_alpha", 8, -1e9, 1e9);
    a->rslora = glia_json_bool(&r, "use_rslora", false);
    a->dora = glia_json_bool(&r, "use_dora", false);
    a->lora_bias = glia_json_bool(&r, "lora_bias", false);
    a->ties_head = glia_json_bool(&r, "ensure_weight_tying", false);
    read_forms(&r, a);
    a->invocation = read_invocation(&r);
    glia_json_object(&r, "rank_pattern");
    glia_json_object(&r, "alpha_pattern");
    if (a->dora && a->lora_bias)
        glia_json_fail(&r, GLIA_ERR_UNSUPPORTED,
                       "use_dora and lora_bias are both true, PEFT has one of them");
    return r.status ? r.status : check_keys(&r);
}

/* ---- the tensors ------------------------------------------------------------ */

/* Names behind a module, without the name of an adapter, and their roles. */
static const struct {
    const char *rest;
    glia_lora_role role;
} rests[] = {
    {"lora_A.weight", GLIA_LORA_A},
    {"lora_B.weight", GLIA_LORA_B},
    {"lora_B.bias", GLIA_LORA_B_BIAS},
    {"lora_embedding_A", GLIA_LORA_EMBED_A},
    {"lora_embedding_B", GLIA_LORA_EMBED_B},
    {"lora_magnitude_vector", GLIA_LORA_MAGNITUDE},
    {"lora_magnitude_vector.weight", GLIA_LORA_MAGNITUDE},
    {"token_adapter.trainable_tokens_delta", GLIA_LORA_TOKENS},
    {"trainable_tokens_delta", GLIA_LORA_TOKENS},
    {"weight", GLIA_LORA_WEIGHT},
    {"modules_to_save.weight", GLIA_LORA_WEIGHT},
    {"bias", GLIA_LORA_BIAS},
    {"base_layer.bias", GLIA_LORA_BIAS},
    {"modules_to_save.bias", GLIA_LORA_BIAS},
    {"base_layer.weight", GLIA_LORA_BASE},
};

/* Is `rest` equal to `name`, with or without one more component, the name of an adapter: behind the first
 * component, or at the end? */
static bool is_rest(const char *rest, const char *name) {
    const size_t first = strcspn(name, "."), n = strlen(name);
    if (strcmp(rest, name) == 0) return true;
    if (strncmp(name, "lora_", 5) != 0 && strncmp(name, "token", 5) != 0 &&
        strncmp(name, "trainable", 9) != 0 && strncmp(name, "modules", 7) != 0)
        return false;
    if (strncmp(rest, name, n) == 0 && rest[n] == '.' && !strchr(rest + n + 1, '.')) return true;
    if (strncmp(rest, name, first) != 0 || rest[first] != '.') return false;
    const char *after = strchr(rest + first + 1, '.');
    return after && strcmp(after, name + first) == 0;
}

static const char body[] = "model."; /* before the names of all modules but the head */

static glia_status read_name(glia_adapter_tensor *t, bool headless, const char *path, glia_err *err) {
    const char *module, *rest;
    const size_t n = glia_adapter_split(t->view->name, &module, &rest);
    size_t i = 0;
    while (i < sizeof rests / sizeof *rests && !is_rest(rest, rests[i].rest)) i++;
    if (n == 0 || i == sizeof rests / sizeof *rests)
        return glia_fail(
            err, GLIA_ERR_FORMAT,
            "%s: tensor %.160s is no part of a LoRA adapter: expected a module and lora_A.weight, "
            "lora_B.weight or the like",
            path, t->view->name);
    const bool bare = headless && strncmp(module, body, strlen(body)) != 0;
    t->role = rests[i].role;
    t->module = calloc(1, n + sizeof body);
    if (!t->module) return glia_fail_nomem(err, n + sizeof body, "the name of a module");
    if (bare) strcpy(t->module, body);
    memcpy(t->module + (bare ? strlen(body) : 0), module, n);
    return GLIA_OK;
}

/* The first of n elements that is NaN or infinite as float32, or n. */
static size_t first_special(const glia_tensor_view *v, size_t n) {
    const char *at = v->data;
    const bool half = v->dtype == GLIA_TENSOR_F16 || v->dtype == GLIA_TENSOR_BF16;
    const uint32_t exponent = v->dtype == GLIA_TENSOR_F16    ? 0x7c00
                              : v->dtype == GLIA_TENSOR_BF16 ? 0x7f80
                                                             : 0x7f800000;
    size_t i = 0;
    uint16_t h;
    uint32_t f;
    double d;
    if (v->dtype == GLIA_TENSOR_F64)
        while (i < n && isfinite((float)*(double *)memcpy(&d, at + i * sizeof d, sizeof d))) i++;
    else if (half)
        while (i < n && (*(uint16_t *)memcpy(&h, at + i * sizeof h, sizeof h) & exponent) != exponent) i++;
    else
        while (i < n && (*(uint32_t *)memcpy(&f, at + i * sizeof f, sizeof f) & exponent) != exponent) i++;
    return i;
}

static glia_status check_numbers(const glia_tensor_view *v, const char *path, glia_err *err) {
    const glia_status status = glia_tensor_check_weight(v, path, err);
    if (status) return status;
    size_t n = 1;
    for (int i = 0; i < v->n_dims; i++) n *= (size_t)v->shape[i];
    const size_t bad = first_special(v, n);
    if (bad < n)
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: tensor %.160s: element %zu is NaN or infinite", path,
                         v->name, bad);
    return GLIA_OK;
}

static int compare(const void *a, const void *b) {
    const glia_adapter_tensor *x = a, *y = b;
    const int names = strcmp(x->module, y->module);
    return names ? names : (int)x->role - (int)y->role;
}

static bool same_numbers(const glia_tensor_view *x, const glia_tensor_view *y) {
    return x->dtype == y->dtype && x->bytes == y->bytes && memcmp(x->data, y->data, x->bytes) == 0;
}

/* Keep one of equal tensors: with bias "all" PEFT stores the bias of a module to save twice. */
static glia_status drop_copies(glia_adapter_files *a, const char *path, glia_err *err) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        glia_adapter_tensor *t = &a->tensor[i], *last = n ? &a->tensor[n - 1] : NULL;
        if (!last || compare(last, t) != 0) {
            const glia_adapter_tensor one = *t;
            t->module = NULL;
            a->tensor[n++] = one;
        } else if (same_numbers(last->view, t->view)) {
            free(t->module);
            t->module = NULL;
        } else {
            return glia_fail(err, GLIA_ERR_FORMAT, "%s: tensors %.120s and %.120s are the same one", path,
                             last->view->name, t->view->name);
        }
    }
    a->n = n;
    return GLIA_OK;
}

static glia_status read_tensors(glia_adapter_files *a, const char *path, glia_err *err) {
    glia_status status = glia_safetensors_read(&a->file, path, err);
    if (status) return status;
    if (a->file.n == 0) return glia_fail(err, GLIA_ERR_FORMAT, "%s: no tensors", path);
    a->tensor = calloc(a->file.n, sizeof *a->tensor);
    if (!a->tensor) return glia_fail_nomem(err, a->file.n * sizeof *a->tensor, "the adapter's tensors");
    for (size_t i = 0; !status && i < a->file.n; i++) {
        if (strstr(a->file.tensor[i].name, ".original_module.")) continue; /* of the base model, replaced */
        glia_adapter_tensor *t = &a->tensor[a->n++];
        t->view = &a->file.tensor[i];
        status = read_name(t, a->headless, path, err);
        if (!status) status = check_numbers(t->view, path, err);
    }
    if (status) return status;
    qsort(a->tensor, a->n, sizeof *a->tensor, compare);
    return drop_copies(a, path, err);
}

const glia_tensor_view *glia_adapter_find(const glia_adapter_files *a, const char *module,
                                          glia_lora_role role) {
    const glia_adapter_tensor key = {.module = (char *)(uintptr_t)module, .role = role};
    const glia_adapter_tensor *t = bsearch(&key, a->tensor, a->n, sizeof key, compare);
    return t ? t->view : NULL;
}

/* A needs B, and B needs A. */
static glia_status check_pairs(const glia_adapter_files *a, const char *path, glia_err *err) {
    static const glia_lora_role other[GLIA_LORA_ROLES] = {
        [GLIA_LORA_A] = GLIA_LORA_B,
        [GLIA_LORA_B] = GLIA_LORA_A,
        [GLIA_LORA_B_BIAS] = GLIA_LORA_B,
        [GLIA_LORA_EMBED_A] = GLIA_LORA_EMBED_B,
        [GLIA_LORA_EMBED_B] = GLIA_LORA_EMBED_A,
        [GLIA_LORA_MAGNITUDE] = GLIA_LORA_A,
    };
    for (size_t i = 0; i < a->n; i++) {
        const glia_adapter_tensor *t = &a->tensor[i];
        if (t->role > GLIA_LORA_MAGNITUDE || glia_adapter_find(a, t->module, other[t->role])) continue;
        if (t->role == GLIA_LORA_MAGNITUDE && glia_adapter_find(a, t->module, GLIA_LORA_EMBED_A)) continue;
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: %.120s has %s and no %s", path, t->module,
                         glia_lora_role_name(t->role), glia_lora_role_name(other[t->role]));
    }
    return GLIA_OK;
}

/* ---- the directory ---------------------------------------------------------- */

static bool has(const char *dir, const char *name) {
    char *path = glia_path_join(dir, name);
    const bool is = path && glia_name_exists(path);
    free(path);
    return is;
}

static glia_status check_directory(const char *dir, glia_err *err) {
    if (!glia_dir_exists(dir))
        return glia_fail(err, GLIA_ERR_IO, "%s: no such adapter: expected a directory", dir);
    return has(dir, config_name) ? GLIA_OK : glia_fail(err, GLIA_ERR_IO, "%s: no %s", dir, config_name);
}

static glia_status check_weights(const char *dir, glia_err *err) {
    static const char *const pickles[] = {"adapter_model.bin", "adapter_model.pt"};
    if (has(dir, weights_name)) return GLIA_OK;
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if (has(dir, pickles[i]))
            return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                             "%s: %s is a pickle, which can run programs; convert it to %s with "
                             "safetensors.torch.save_file(torch.load(\"%s\", weights_only=True), \"%s\")",
                             dir, pickles[i], weights_name, pickles[i], weights_name);
    return glia_fail(err, GLIA_ERR_IO, "%s: no %s", dir, weights_name);
}

glia_status glia_adapter_files_open(glia_adapter_files *a, const char *dir, glia_err *err) {
    *a = (glia_adapter_files){0};
    glia_status status = check_directory(dir, err);
    if (status) return status;
    char *config = glia_path_join(dir, config_name), *weights = glia_path_join(dir, weights_name);
    a->dir = strdup(dir);
    if (!config || !weights || !a->dir) status = glia_fail_nomem(err, strlen(dir), "a path");
    if (!status) status = read_config(a, config, NULL, err);
    if (!status) status = check_weights(dir, err);
    if (!status) status = read_tensors(a, weights, err);
    if (!status) status = check_pairs(a, weights, err);
    free(config);
    free(weights);
    if (status) glia_adapter_files_close(a);
    return status;
}

void glia_adapter_files_close(glia_adapter_files *a) {
    for (size_t i = 0; i < a->n; i++) free(a->tensor[i].module);
    free(a->tensor);
    glia_safetensors_close(&a->file);
    json_decref(a->config);
    free(a->dir);
    *a = (glia_adapter_files){0};
}

/* ---- which modules ---------------------------------------------------------- */

/* Does the pattern, a string (a regular expression for the whole name) or an array of ends of names, name the
 * module? *exactly: an element of the array is the whole name. */
static glia_status named(bool *is, bool *exactly, const glia_adapter_files *a, const char *key,
                         const char *module, glia_err *err) {
    const json_t *value = json_object_get(a->config, key);
    size_t i;
    json_t *one;
    *is = *exactly = false;
    if (a->headless && strncmp(module, body, strlen(body)) == 0) module += strlen(body);
    if (json_is_string(value))
        return glia_adapter_matches(is, json_string_value(value), module, a->dir, key, err);
    if (value && !json_is_null(value) && !json_is_array(value))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s/%s: %s: expected a string or an array of names, found %s",
                         a->dir, config_name, key, glia_json_type_name(value));
    json_array_foreach(value, i, one) {
        const char *name = json_string_value(one);
        if (!name)
            return glia_fail(err, GLIA_ERR_FORMAT, "%s/%s: %s: expected names, found %s", a->dir, config_name,
                             key, glia_json_type_name(one));
        *exactly |= strcmp(name, module) == 0;
        *is |= glia_adapter_ends(module, name);
    }
    return GLIA_OK;
}

/* The number of the layer that the module belongs to, with layers_pattern before it; -1: none. */
static int layer_of(const glia_adapter_files *a, const char *module) {
    const json_t *patterns = json_object_get(a->config, "layers_pattern");
    const size_t n = json_is_array(patterns) ? json_array_size(patterns) : json_is_string(patterns);
    int layer = -1;
    for (const char *at = strchr(module, '.'); at; at = strchr(at + 1, '.')) {
        char *end;
        const long number = strtol(at + 1, &end, 10);
        if (end == at + 1 || *end != '.' || number < 0 || number > INT32_MAX) continue;
        const char *from = at;
        while (from > module && from[-1] != '.') from--;
        bool is = n == 0;
        for (size_t i = 0; i < n; i++) {
            const char *name = json_string_value(
                n == 1 && !json_is_array(patterns) ? patterns : json_array_get(patterns, i));
            is |= name && strlen(name) == (size_t)(at - from) && strncmp(name, from, strlen(name)) == 0;
        }
        if (is && from > module) layer = (int)number;
    }
    return layer;
}

static bool is_number(const json_t *value, int number) {
    return json_is_integer(value) && json_integer_value(value) == number;
}

/* Does layers_to_transform allow the module? */
static bool layer_is_named(const glia_adapter_files *a, const char *module) {
    const json_t *layers = json_object_get(a->config, "layers_to_transform");
    if (!layers || json_is_null(layers) || (json_is_array(layers) && json_array_size(layers) == 0))
        return true;
    const int layer = layer_of(a, module);
    if (layer < 0) return false;
    if (!json_is_array(layers)) return is_number(layers, layer);
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (is_number(json_array_get(layers, i), layer)) return true;
    return false;
}

/* target_parameters names "MODULE.weight". */
static bool is_parameter(const glia_adapter_files *a, const char *module) {
    const json_t *names = json_object_get(a->config, "target_parameters");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        char end[256];
        const size_t n = name ? strlen(name) : 0;
        if (n < 8 || n >= sizeof end || strcmp(name + n - 7, ".weight") != 0) continue;
        memcpy(end, name, n - 7);
        end[n - 7] = '\0';
        if (glia_adapter_ends(module, end)) return true;
    }
    return false;
}

glia_status glia_adapter_targets(bool *is, const glia_adapter_files *a, const char *module, bool linear,
                                 glia_err *err) {
    bool exactly, excluded;
    const char *all = json_string_value(json_object_get(a->config, "target_modules"));
    *is = is_parameter(a, module);
    if (*is) return GLIA_OK;
    glia_status status = named(&excluded, &exactly, a, "exclude_modules", module, err);
    if (status || excluded) return status;
    if (all && strcmp(all, "all-linear") == 0) {
        *is = linear;
        return GLIA_OK;
    }
    status = named(is, &exactly, a, "target_modules", module, err);
    if (!status && *is && !exactly && !all) *is = layer_is_named(a, module);
    /* the head has the embedding's A and B if both are tied */
    if (!status && !*is && a->ties_head && strcmp(module, "lm_head") == 0)
        return glia_adapter_targets(is, a, "model.embed_tokens", false, err);
    return status;
}

/* The value that the pattern has for the module; NULL: none. */
static glia_status pattern_value(const json_t **value, const glia_adapter_files *a, const char *key,
                                 const char *module, glia_err *err) {
    const char *name;
    json_t *one;
    *value = NULL;
    json_object_foreach(json_object_get(a->config, key), name, one) {
        char pattern[600];
        bool is;
        if (strlen(name) > 500)
            return glia_fail(err, GLIA_ERR_LIMIT, "%s: %s: a name of over 500 bytes", a->dir, key);
        strcpy(pattern, "(?:.*\\.)?(?:");
        strcat(strcat(pattern, name), ")");
        const glia_status status = glia_adapter_matches(&is, pattern, module, a->dir, key, err);
        if (status) return status;
        if (!is) continue;
        *value = one;
        break;
    }
    return GLIA_OK;
}

glia_status glia_adapter_scale(int *r, double *scale, const glia_adapter_files *a, const char *module,
                               glia_err *err) {
    const json_t *rank, *alpha;
    char key[512]; /* of target_parameters patterns name the parameter */
    snprintf(key, sizeof key, "%.500s%s", module, is_parameter(a, module) ? ".weight" : "");
    glia_status status = pattern_value(&rank, a, "rank_pattern", key, err);
    if (!status) status = pattern_value(&alpha, a, "alpha_pattern", key, err);
    if (status) return status;
    const json_int_t value = rank ? json_integer_value(rank) : a->r;
    double by = a->alpha;
    if ((rank && !json_is_integer(rank)) || value < 1 || value > RANK_MAX)
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "%s/%s: rank_pattern gives %.120s a rank of %lld, expected 1 to %d", a->dir,
                         config_name, module, (long long)value, RANK_MAX);
    if (alpha && !glia_json_number(alpha, &by))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s/%s: alpha_pattern gives %.120s %s, expected a number",
                         a->dir, config_name, module, glia_json_type_name(alpha));
    *r = (int)value;
    *scale = by / (a->rslora ? sqrt((double)value) : (double)value);
    return GLIA_OK;
}

/* PEFT saves a module, and all modules inside it, if its name ends in `name`, at any letter: "norm" names
 * q_norm too. */
static bool saves(const char *module, const char *name) {
    const size_t n = strlen(name);
    for (size_t end = 1; end <= strlen(module); end++) {
        const bool whole = module[end] == '.' || module[end] == '\0';
        if (whole && end >= n && strncmp(module + end - n, name, n) == 0) return true;
    }
    return false;
}

bool glia_adapter_saves(const glia_adapter_files *a, const char *module) {
    const json_t *names = json_object_get(a->config, "modules_to_save");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name && saves(module, name)) return true;
    }
    /* a tied head is stored with the embedding */
    return a->ties_head && strcmp(module, "lm_head") == 0 && glia_adapter_saves(a, "model.embed_tokens");
}

bool glia_adapter_blocks(const glia_adapter_files *a, const char *key, const char *leaf) {
    const json_t *names = json_object_get(json_object_get(a->config, "use_bdlora"), key);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name && strstr(leaf, name)) return true;
    }
    return false;
}

const json_t *glia_adapter_tokens(const glia_adapter_files *a, const char *module) {
    json_t *value = json_object_get(a->config, "trainable_token_indices"), *one;
    const char *name;
    if (json_is_array(value)) return glia_adapter_ends(module, "embed_tokens") ? value : NULL;
    json_object_foreach(value, name, one) if (glia_adapter_ends(module, name)) return one;
    return NULL;
}
