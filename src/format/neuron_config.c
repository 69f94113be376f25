/* neuron_config.c - see neuron_config.h. */
#include "format/neuron_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "format/json.h"
#include "format/neuron_speculation.h"

enum { FILE_MAX = 16 << 20 };

const char *glia_neuron_type_name(glia_neuron_type type) {
    static const char *const names[] = {"integer", "number", "boolean", "string", "list", "object", "any"};
    return names[type];
}

const char *glia_neuron_rule_name(glia_neuron_rule rule) {
    static const char *const names[] = {"honoured", "any value", "warned about", "refused"};
    return names[rule];
}

/* The row of the member `key` of the object named `prefix`; "" is the outermost
 * object. NULL: unknown. */
static const glia_neuron_key *find(const char *prefix, const char *key) {
    const size_t n = strlen(prefix);
    if (strchr(key, '.')) return NULL;
    for (size_t i = 0; i < glia_n_neuron_keys; i++) {
        const char *name = glia_neuron_keys[i].key;
        if (n && (strncmp(name, prefix, n) != 0 || name[n] != '.')) continue;
        if (strcmp(name + (n ? n + 1 : 0), key) == 0) return &glia_neuron_keys[i];
    }
    return NULL;
}

/* The default; NULL if the default is the value of another key. */
static json_t *preset_of(const glia_neuron_key *row) {
    return json_loads(row->preset, JSON_DECODE_ANY, NULL);
}

static bool is_preset(const glia_neuron_key *row, const json_t *value) {
    json_t *preset = preset_of(row);
    const bool same = json_is_number(preset) && json_is_number(value)
                          ? json_number_value(preset) == json_number_value(value)
                          : json_equal(preset, value);
    json_decref(preset);
    return same || json_is_null(value);
}

/* ---- values ---------------------------------------------------------------- */

static double read_dtype(glia_json_reader *r, const char *key, bool of_cache) {
    static const struct {
        const char *name;
        glia_dtype dtype;
    } names[] = {{"float32", GLIA_DTYPE_F32}, {"bfloat16", GLIA_DTYPE_BF16}, {"float16", GLIA_DTYPE_F16}};
    const char *s = glia_json_string(r, key);
    if (!s || (of_cache && !strcmp(s, "auto"))) return GLIA_DTYPE_AUTO;
    if (of_cache && !strcmp(s, "int8")) return GLIA_DTYPE_I8;
    const char *name = strncmp(s, "torch.", 6) ? s : s + 6;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name)) return names[i].dtype;
    glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.60s; Glia has float32, bfloat16 and float16", key, s);
    return GLIA_DTYPE_AUTO;
}

/* The member as a number. The integer 0 is allowed only if 0 is the default. */
static double read_value(glia_json_reader *r, const glia_neuron_key *row, const char *key) {
    const bool may_be_0 = strcmp(row->preset, "0") == 0;
    switch (row->type) {
    case NEURON_INT:
        if (row->id == NEURON_TOP_K) return (double)glia_json_int(r, key, 0, -1, INT32_MAX);
        return (double)glia_json_int(r, key, 0, may_be_0 ? 0 : 1, INT32_MAX);
    case NEURON_REAL: return glia_json_real(r, key, 0, 0, row->id == NEURON_TOP_P ? 1 : 100);
    case NEURON_BOOL: return glia_json_bool(r, key, false);
    default: return read_dtype(r, key, row->id == NEURON_KV_DTYPE);
    }
}

/* Set row->id to the value of `key`. The integer 0 (except for top_k) and the dtype
 * auto mean "not set". Of several batch sizes the largest wins; for any other id,
 * two keys with different values are an error. */
static void set_value(glia_json_reader *r, const glia_neuron_key *row, const char *key,
                      glia_neuron_config *c) {
    const double value = read_value(r, row, key);
    const glia_neuron_id id = row->id;
    if (r->status ||
        (value == 0 && row->type != NEURON_BOOL && row->type != NEURON_REAL && id != NEURON_TOP_K))
        return;
    if (c->key[id] && id == NEURON_BATCH && value <= c->number[id]) return;
    if (c->key[id] && id != NEURON_BATCH && value != c->number[id])
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s is %.0f but %s is %.0f", c->key[id], c->number[id], row->key,
                       value);
    c->key[id] = row->key;
    c->number[id] = value;
}

/* ---- keys ------------------------------------------------------------------ */

static void walk(glia_json_reader *r, const char *prefix, glia_neuron_config *c);

static void walk_into(glia_json_reader *r, const glia_neuron_key *row, const char *key,
                      glia_neuron_config *c) {
    char where[300];
    snprintf(where, sizeof where, "%.200s: %s", r->where, row->key);
    glia_json_reader inner = *r;
    inner.object = glia_json_object(r, key);
    inner.where = where;
    if (!inner.object) return;
    walk(&inner, row->key, c);
    r->status = inner.status;
}

static void judge(glia_json_reader *r, const glia_neuron_key *row, const char *key, const json_t *value,
                  glia_neuron_config *c) {
    char text[80];
    if (row->rule == NEURON_READ && row->type == NEURON_OBJECT)
        walk_into(r, row, key, c);
    else if (row->rule == NEURON_READ && row->id != NEURON_NONE)
        set_value(r, row, key, c);
    else if (row->rule == NEURON_WARN && !is_preset(row, value))
        glia_json_warn(r, "%s is %s, which Glia does not have; %s", key,
                       glia_json_print(value, text, sizeof text), row->what);
    else if (row->rule == NEURON_REFUSE && !is_preset(row, value))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %s, which would change the result; %s", key,
                       glia_json_print(value, text, sizeof text), row->what);
}

static void walk(glia_json_reader *r, const char *prefix, glia_neuron_config *c) {
    const char *key;
    json_t *value;
    glia_json_unknown_keys unknown = {0};
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        const glia_neuron_key *row = find(prefix, key);
        if (!row)
            glia_json_unknown(&unknown, key);
        else if (!json_is_null(value))
            judge(r, row, key, value, c);
    }
    glia_json_warn_unknown(r, &unknown);
}

/* The names of glia_quantization_type. */
static const char *const quantization_types[] = {
    [GLIA_QUANTIZATION_TYPE_DEFAULT] = "rotated_per_channel_symmetric",
    [GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC] = "per_channel_symmetric",
    [GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC] = "per_tensor_symmetric",
    [GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC] = "rotated_per_channel_symmetric",
    [GLIA_QUANTIZATION_GROUP_SYMMETRIC] = "group_symmetric",
    [GLIA_QUANTIZATION_GROUP_ASYMMETRIC] = "group_asymmetric",
    [GLIA_QUANTIZATION_ROTATED_GROUP_SYMMETRIC] = "rotated_group_symmetric",
    [GLIA_QUANTIZATION_ROTATED_GROUP_ASYMMETRIC] = "rotated_group_asymmetric",
};
enum { N_TYPES = sizeof quantization_types / sizeof *quantization_types };

/* The names of quantization_dtype, and their schemes without and with quantised rows. */
static const struct {
    const char *name;
    glia_quantization scheme, rows;
} quantization_dtypes[] = {{"int8", GLIA_QUANTIZATION_INT8, GLIA_QUANTIZATION_W8A8},
                           {"int4", GLIA_QUANTIZATION_INT4, GLIA_QUANTIZATION_W4A8},
                           {"f8e4m3", GLIA_QUANTIZATION_FP8, GLIA_QUANTIZATION_NONE}};
enum { N_QUANTIZATION_DTYPES = sizeof quantization_dtypes / sizeof *quantization_dtypes };

static double quantization_type(glia_json_reader *r, glia_quantization scheme) {
    const char *type = glia_json_string(r, "quantization_type");
    if (!type && scheme != GLIA_QUANTIZATION_INT8) return GLIA_QUANTIZATION_TYPE_DEFAULT;
    if (!type) return GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC; /* NxDI's default */
    for (int i = GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC; i < N_TYPES; i++)
        if (!strcmp(type, quantization_types[i])) return i;
    glia_json_fail(
        r, GLIA_ERR_UNSUPPORTED,
        "quantization_type is %.60s; Glia has per_channel_symmetric, per_tensor_symmetric, "
        "rotated_per_channel_symmetric, group_symmetric, group_asymmetric, rotated_group_symmetric "
        "and rotated_group_asymmetric",
        type);
    return 0;
}

/* modules_to_not_convert as a comma-separated list: ["lm_head", "mlp"] gives
 * "lm_head,mlp". NULL: none. */
static char *read_modules(glia_json_reader *r) {
    const json_t *list = glia_json_array(r, "modules_to_not_convert");
    glia_buf names = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        if (!json_string_length(name) || strpbrk(json_string_value(name), ", "))
            glia_json_fail(r, GLIA_ERR_FORMAT, "modules_to_not_convert[%zu]: expected the name of a module",
                           i);
        else
            glia_buf_printf(&names, "%s%s", i ? "," : "", json_string_value(name));
    }
    if (names.oom) r->status = glia_fail_nomem(r->err, 0, "names of modules");
    return names.len ? glia_buf_steal(&names) : NULL;
}

static void settle_quantization(glia_json_reader *r, glia_neuron_config *c) {
    const char *dtype = glia_json_string(r, "quantization_dtype");
    const char *rows = glia_json_string(r, "activation_quantization_type");
    int i = 0;
    while (dtype && i < N_QUANTIZATION_DTYPES && strcmp(dtype, quantization_dtypes[i].name) != 0) i++;
    if (i == N_QUANTIZATION_DTYPES)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "quantization_dtype is %.60s; Glia has int8, int4 and f8e4m3",
                       dtype);
    if (r->status) return;
    if (dtype && quantization_dtypes[i].rows == GLIA_QUANTIZATION_NONE && rows)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "activation_quantization_type is %.60s with quantization_dtype %s; Glia has int8 "
                       "activations with int8 and int4 weights",
                       rows, dtype);
    if (rows && strcmp(rows, "dynamic") != 0)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "activation_quantization_type is %.60s; Glia has dynamic",
                       rows);
    c->key[NEURON_QUANTIZATION] = rows ? "activation_quantization_type" : "quantized";
    c->number[NEURON_QUANTIZATION] = rows ? quantization_dtypes[i].rows : quantization_dtypes[i].scheme;
    c->key[NEURON_QUANTIZATION_TYPE] = "quantization_type";
    c->number[NEURON_QUANTIZATION_TYPE] = quantization_type(r, quantization_dtypes[i].scheme);
    c->modules = read_modules(r);
}

/* Keep lora_config, and check what is no number. */
static void settle_lora(glia_json_reader *r, glia_neuron_config *c) {
    json_t *lora = json_object_get(r->object, "lora_config");
    if (!json_is_object(lora)) return;
    glia_json_reader inner = *r;
    inner.object = lora;
    const char *policy = glia_json_string(&inner, "eviction_policy");
    glia_json_string(&inner, "lora_ckpt_json");
    if (policy && strcmp(policy, "lru") != 0 && strcmp(policy, "lfu") != 0)
        glia_json_fail(&inner, GLIA_ERR_FORMAT, "eviction_policy is %.40s, expected lru or lfu", policy);
    r->status = inner.status;
    c->lora = json_incref(lora);
}

static bool is_on(const glia_neuron_config *c, glia_neuron_id id) { return c->number[id] != 0; }

/* Apply the rules that need several keys, once all keys are read. */
static void settle(glia_json_reader *r, glia_neuron_config *c, const json_t *fused) {
    if (c->key[NEURON_CONTEXT] && c->key[NEURON_SEQUENCE] &&
        c->number[NEURON_CONTEXT] > c->number[NEURON_SEQUENCE])
        glia_json_fail(r, GLIA_ERR_FORMAT, "max_context_length is %.0f, more than %s %.0f",
                       c->number[NEURON_CONTEXT], c->key[NEURON_SEQUENCE], c->number[NEURON_SEQUENCE]);
    if (is_on(c, NEURON_QUANTIZED)) settle_quantization(r, c);
    settle_lora(r, c);
    c->speculation = glia_neuron_speculation(r, fused);
    if (!is_on(c, NEURON_BLOCKED)) c->key[NEURON_BLOCK] = NULL;
    if (is_on(c, NEURON_DYNAMIC))
        for (int id = NEURON_DO_SAMPLE; id <= NEURON_TEMPERATURE; id++) c->key[id] = NULL;
    else if (json_is_object(json_object_get(r->object, "on_device_sampling_config")) &&
             !c->key[NEURON_DO_SAMPLE])
        c->key[NEURON_DO_SAMPLE] = "on_device_sampling_config";
}

static void read_file(glia_json_reader *r, glia_neuron_config *c) {
    c->present = true;
    const json_t *nested = json_object_get(r->object, "neuron_config");
    if (!nested) {
        walk(r, "", c);
        settle(r, c, json_object_get(r->object, "fused_spec_config"));
        return;
    }
    /* NxD Inference copies config.json into this file. Glia reads config.json itself. */
    char where[300];
    snprintf(where, sizeof where, "%.200s: neuron_config", r->where);
    glia_json_reader inner = *r;
    inner.object = glia_json_object(r, "neuron_config");
    inner.where = where;
    const json_t *draft = json_object_get(r->object, "fused_spec_config");
    if (draft && !json_is_null(draft)) judge(r, find("", "fused_spec_config"), "fused_spec_config", draft, c);
    if (inner.object) walk(&inner, "", c);
    if (inner.object) settle(&inner, c, draft);
    if (!r->status) r->status = inner.status;
}

glia_status glia_neuron_config_parse(glia_neuron_config *c, const char *text, size_t len, const char *where,
                                     glia_warning_fn *warning, void *user, glia_err *err) {
    json_t *tree;
    memset(c, 0, sizeof *c);
    glia_json_reader r = {.where = where, .err = err, .warning = warning, .user = user};
    r.status = glia_json_parse(&tree, text, len, 0, where, err);
    if (r.status) return r.status;
    r.object = tree;
    read_file(&r, c);
    json_decref(tree);
    if (r.status) glia_neuron_config_free(c);
    return r.status;
}

void glia_neuron_config_free(glia_neuron_config *c) {
    free(c->modules);
    json_decref(c->lora);
    json_decref(c->speculation);
    memset(c, 0, sizeof *c);
}

glia_status glia_neuron_config_load(glia_neuron_config *c, const char *dir, glia_warning_fn *warning,
                                    void *user, glia_err *err) {
    char *text;
    size_t len;
    bool found;
    memset(c, 0, sizeof *c);
    char *path = glia_path_join(dir, "neuron_config.json");
    if (!path) return glia_fail_nomem(err, strlen(dir) + 32, "a path");
    glia_status status = glia_file_find(&found, path, err);
    if (found) {
        status = glia_read_file(&text, &len, path, FILE_MAX, err);
        if (!status) {
            status = glia_neuron_config_parse(c, text, len, path, warning, user, err);
            free(text);
        }
    }
    free(path);
    return status;
}

/* ---- writing --------------------------------------------------------------- */

static json_t *value_json(const glia_neuron_key *row, double number) {
    switch (row->type) {
    case NEURON_INT: return json_integer((json_int_t)number);
    case NEURON_REAL: return json_real(number);
    case NEURON_BOOL: return json_boolean(number != 0);
    default:
        return json_string(number == GLIA_DTYPE_F32   ? "float32"
                           : number == GLIA_DTYPE_F16 ? "float16"
                           : number == GLIA_DTYPE_I8  ? "int8"
                                                      : "bfloat16");
    }
}

/* Set `key` of `file`. "a.b" sets member b of the object a, created if missing. */
static void put(json_t *file, const char *key, json_t *value) {
    const char *dot = strchr(key, '.');
    if (!dot) {
        json_object_set_new(file, key, value);
        return;
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(dot - key), key);
    if (!json_object_get(file, name)) json_object_set_new(file, name, json_object());
    json_object_set_new(json_object_get(file, name), dot + 1, value);
}

static void put_quantization(json_t *file, const glia_neuron_config *c) {
    const int scheme = (int)c->number[NEURON_QUANTIZATION];
    const char *type = quantization_types[(int)c->number[NEURON_QUANTIZATION_TYPE]];
    json_t *names = c->modules ? json_array() : NULL;
    for (const char *at = c->modules ? c->modules : ""; at += strspn(at, ", "), *at;) {
        const size_t n = strcspn(at, ", ");
        json_array_append_new(names, json_stringn(at, n));
        at += n;
    }
    put(file, "quantized", json_true());
    const char *dtype = "int8";
    bool rows = false;
    for (int i = 0; i < N_QUANTIZATION_DTYPES; i++) {
        if (scheme != (int)quantization_dtypes[i].scheme && scheme != (int)quantization_dtypes[i].rows)
            continue;
        dtype = quantization_dtypes[i].name;
        rows = scheme == (int)quantization_dtypes[i].rows;
    }
    put(file, "quantization_dtype", json_string(dtype));
    if (c->number[NEURON_QUANTIZATION_TYPE] != 0 || strcmp(dtype, "int8") == 0)
        put(file, "quantization_type", json_string(type));
    put(file, "activation_quantization_type", rows ? json_string("dynamic") : json_null());
    put(file, "modules_to_not_convert", names ? names : json_null());
}

json_t *glia_neuron_config_write(const glia_neuron_config *c) {
    bool written[N_NEURON] = {false};
    json_t *file = json_object();
    for (int pass = 0; pass < 2; pass++) /* Optimum's keys, then ids that no key of Optimum sets */
        for (size_t i = 0; i < glia_n_neuron_keys; i++) {
            const glia_neuron_key *row = &glia_neuron_keys[i];
            const bool optimum = row->whose & NEURON_OPTIMUM;
            /* NEURON_CONTEXT is left out: in Glia a prompt may be as long as the sequence. */
            const bool said = row->id != NEURON_NONE && row->id != NEURON_CONTEXT && c->key[row->id];
            if (optimum != (pass == 0)) continue;
            if (said && (optimum || !written[row->id]))
                put(file, row->key, value_json(row, c->number[row->id]));
            else if (optimum)
                put(file, row->key, preset_of(row));
            if (optimum && !json_object_get(file, row->key)) /* the default is another key's value */
                json_object_set(file, row->key, json_object_get(file, row->preset));
            if (said) written[row->id] = true;
        }
    if (c->key[NEURON_QUANTIZATION] && c->number[NEURON_QUANTIZATION] != 0) put_quantization(file, c);
    glia_neuron_speculation_write(file, c->speculation);
    return file;
}
