/* quantization.c - see quantization.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/quantization.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <pcre2.h>

enum { WHERE = 200, ROW_BITS = 8, GROUP = 128 };

/* A reader of the object `key` of r's object; its messages name both. */
static glia_json_reader below(const glia_json_reader *r, const char *key, const json_t *object,
                              char where[WHERE]) {
    glia_json_reader n = *r;
    snprintf(where, WHERE, "%.120s: %.70s", r->where, key);
    n.where = where;
    n.object = object;
    return n;
}

static bool is(const char *a, const char *b) { return a && strcmp(a, b) == 0; }
/* As `is`, in upper or lower case: Transformers reads names of formats so. */
static bool is_format(const char *a, const char *b) { return a && strcasecmp(a, b) == 0; }

/* ---- names of modules --------------------------------------------------------- */

/* As Python's re.match(), or re.search() if it matches `anywhere`. Without `r` a pattern that does not
 * compile matches nothing. */
static bool matches(const char *pattern, const char *name, bool anywhere, glia_json_reader *r) {
    enum { STEPS = 100000 };
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | (anywhere ? 0 : PCRE2_ANCHORED), &code, &at, NULL);
    if (!re) {
        if (r)
            glia_json_fail(r, GLIA_ERR_FORMAT, "%.100s is no regular expression, at character %zu", pattern,
                           (size_t)at);
        return false;
    }
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(re, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int found = -1;
    if (data && limits) {
        pcre2_set_match_limit(limits, STEPS);
        found = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    return found >= 0;
}

/* How well a list names the module: 3 by name, 2 by a pattern, 1 as Linear, 0 not. */
static int named(const json_t *list, const char *module) {
    int best = 0;
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, i, entry) {
        const char *text = json_string_value(entry);
        const int how = is(text, module)                                                         ? 3
                        : strncmp(text, "re:", 3) == 0 && matches(text + 3, module, false, NULL) ? 2
                        : is(text, "Linear")                                                     ? 1
                                                                                                 : 0;
        if (how > best) best = how;
    }
    return best;
}

/* The pattern of a key of exceptions. GPTQModel's begin with "-:" if the modules stay as they are, and may
 * begin with "+:". */
static const char *pattern_of(const char *key, bool *excludes) {
    *excludes = strncmp(key, "-:", 2) == 0;
    return *excludes || strncmp(key, "+:", 2) == 0 ? key + 2 : key;
}

/* Of q->exceptions, the settings of the module; NULL: it has none of its own. */
static const json_t *exception_of(const glia_quantization_config *q, const char *module) {
    const char *key;
    json_t *rule;
    json_object_foreach((json_t *)(uintptr_t)q->exceptions, key, rule) {
        bool excludes;
        const char *pattern = pattern_of(key, &excludes);
        const bool name = q->anywhere && !strpbrk(pattern, "*+?^$()[]{}|\\"); /* not a pattern */
        if (!is(pattern, module) && (name || !matches(pattern, module, q->anywhere, NULL))) continue;
        return excludes ? NULL : rule;
    }
    return NULL;
}

/* A scheme with the settings of an exception. */
static glia_stored_scheme scheme_of(const glia_stored_scheme *common, const json_t *rule) {
    glia_stored_scheme s = *common;
    const json_t *bits = json_object_get(rule, "bits"), *group = json_object_get(rule, "group_size");
    if (json_is_integer(bits)) s.bits = (int)json_integer_value(bits);
    if (json_is_integer(group)) s.group = json_integer_value(group) < 0 ? 0 : json_integer_value(group);
    return s;
}

/* The scheme with an exception's settings among those that were read; NULL: none. */
static const glia_stored_scheme *find_scheme(const glia_quantization_config *q, const json_t *rule) {
    const glia_stored_scheme want = scheme_of(&q->scheme[0], rule);
    for (int i = 0; i < q->n; i++)
        if (q->scheme[i].bits == want.bits && q->scheme[i].group == want.group) return &q->scheme[i];
    return NULL;
}

const glia_stored_scheme *glia_quantization_scheme(const glia_quantization_config *q, const char *module) {
    const glia_stored_scheme *best = NULL;
    int how = 0;
    if (!q->method || (q->ignore && named(q->ignore, module))) return NULL;
    if (q->exceptions) return find_scheme(q, exception_of(q, module));
    for (int i = 0; i < q->n; i++) {
        const int here = q->scheme[i].targets ? named(q->scheme[i].targets, module) : 1;
        if (here <= how) continue;
        how = here;
        best = &q->scheme[i];
    }
    return best;
}

/* A list of names; every entry is a string, and every pattern compiles. */
static const json_t *read_names(glia_json_reader *r, const char *key) {
    const json_t *list = glia_json_array(r, key);
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)list, i, entry) {
        const char *text = json_string_value(entry);
        char where[WHERE];
        glia_json_reader here = below(r, key, r->object, where);
        if (!text)
            glia_json_fail(&here, GLIA_ERR_FORMAT, "expected names, found %s", glia_json_type_name(entry));
        else if (strncmp(text, "re:", 3) == 0)
            matches(text + 3, "", false, &here);
        if (!r->status) r->status = here.status;
    }
    return list;
}

/* ---- fp8 ------------------------------------------------------------------------ */

/* Fail unless the member `key` is absent, null, or `value`. */
static void expect(glia_json_reader *r, const char *key, const char *value) {
    const char *text = glia_json_string(r, key);
    if (text && !is(text, value))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.60s; Glia reads %s", key, text, value);
}

/* [rows, columns] of a block, or null. */
static void read_block(glia_json_reader *r, const char *key, glia_stored_scheme *s) {
    const json_t *block = glia_json_array(r, key);
    if (!block) return;
    s->block_rows = json_integer_value(json_array_get(block, 0));
    s->block_cols = json_integer_value(json_array_get(block, 1));
    if (json_array_size(block) != 2 || s->block_rows < 1 || s->block_cols < 1)
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected two positive integers", key);
    s->group = s->block_cols;
}

static const json_t *no_lists(glia_json_reader *r) { return read_names(r, "modules_to_not_convert"); }

static void read_fp8(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key keys[] = {{"quant_method", NAN},
                                         {"fmt", NAN},
                                         {"activation_scheme", NAN},
                                         {"weight_block_size", NAN},
                                         {"modules_to_not_convert", NAN},
                                         {"modules_to_convert", 0}, /* embeddings as float8 */
                                         {"ignored_layers", NAN},
                                         {"dequantize", NAN},
                                         {"scale_fmt", NAN},
                                         {"expert_dtype", NAN},
                                         {NULL, 0}};
    glia_stored_scheme *s = &q->scheme[q->n++];
    glia_json_check_keys(r, keys);
    expect(r, "fmt", "e4m3");
    const char *scheme = glia_json_string(r, "activation_scheme");
    if (scheme && !is(scheme, "dynamic") && !is(scheme, "static"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "activation_scheme is %.60s; Glia reads dynamic and static",
                       scheme);
    *s = (glia_stored_scheme){.layout = GLIA_LAYOUT_BLOCKS, .bits = 8, .floats = true, .symmetric = true};
    read_block(r, "weight_block_size", s);
    s->per_tensor = !s->block_rows;
    no_lists(r);
}

/* MXFP8 is fp8 in blocks of 32 columns of one row. */
static void read_mxfp8(glia_json_reader *r, glia_quantization_config *q) {
    enum { BLOCK = 32 };
    read_fp8(r, q);
    glia_stored_scheme *s = &q->scheme[0];
    if (!s->block_rows) s->block_rows = 1, s->group = s->block_cols = BLOCK, s->per_tensor = false;
}

/* FBGEMM's float8: a scale for each channel. */
static void read_fbgemm(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key keys[] = {
        {"quant_method", NAN}, {"activation_scale_ub", NAN}, {"modules_to_not_convert", NAN}, {NULL, 0}};
    glia_json_check_keys(r, keys);
    no_lists(r);
    q->scheme[q->n++] =
        (glia_stored_scheme){.layout = GLIA_LAYOUT_BYTES, .bits = 8, .floats = true, .symmetric = true};
}

/* ---- gptq, awq ------------------------------------------------------------------- */

static int64_t read_group(glia_json_reader *r, const char *key) {
    const int64_t group = glia_json_int(r, key, GROUP, -1, 1 << 20);
    if (group == 0) glia_json_fail(r, GLIA_ERR_FORMAT, "%s is 0; expected -1 or a positive integer", key);
    return group < 0 ? 0 : group;
}

/* Bits and group of GPTQ or AWQ; what is absent stays. */
static void read_packing(glia_json_reader *r, glia_stored_scheme *s) {
    const bool gptq = s->layout == GLIA_LAYOUT_GPTQ;
    s->bits = (int)glia_json_int(r, "bits", s->bits, 1, 32);
    if (s->bits != 4 && !(gptq && s->bits == 8))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "bits is %d; Glia reads %s", s->bits,
                       gptq ? "gptq with 4 or 8 bits" : "awq with 4 bits");
    if (json_is_integer(json_object_get(r->object, "group_size"))) s->group = read_group(r, "group_size");
}

/* Settings of modules that a key names. Modules that stay as they are can be seen in their tensors. */
static void read_exceptions(glia_json_reader *r, const char *list, glia_quantization_config *q) {
    enum { KEPT_BITS = 16 };
    const json_t *rules = glia_json_object(r, list);
    const char *key;
    json_t *rule;
    char where[2][WHERE];
    if (json_object_size(rules) == 0) return;
    q->exceptions = rules;
    json_object_foreach((json_t *)(uintptr_t)rules, key, rule) {
        glia_json_reader all = below(r, list, rules, where[0]), one = below(&all, key, rule, where[1]);
        bool kept;
        matches(pattern_of(key, &kept), "", q->anywhere, &all);
        kept |= json_integer_value(json_object_get(rule, "bits")) >= KEPT_BITS;
        if (!kept && !json_is_object(rule))
            glia_json_fail(&all, GLIA_ERR_FORMAT, "%.80s: expected an object, found %s", key,
                           glia_json_type_name(rule));
        if (all.status) r->status = all.status;
        if (r->status) return;
        if (kept) continue;
        glia_stored_scheme s = q->scheme[0];
        expect(&one, "pack_dtype", "int32");
        expect(&one, "data_type", "int");
        if (json_object_get(rule, "bits") || json_object_get(rule, "group_size")) read_packing(&one, &s);
        r->status = one.status;
        if (r->status || find_scheme(q, rule)) continue;
        if (q->n == GLIA_SCHEMES_MAX)
            glia_json_fail(r, GLIA_ERR_LIMIT, "%s: more than %d different settings", list, GLIA_SCHEMES_MAX);
        else
            q->scheme[q->n++] = s;
    }
}

/* The first of two keys that is a string. */
static const char *either(glia_json_reader *r, const char *a, const char *b, const char **key) {
    const char *text = glia_json_string(r, a);
    *key = text ? a : b;
    return text ? text : glia_json_string(r, b);
}

/* Keys of GPTQModel that change what the stored numbers mean. */
static const glia_json_key gptq_keys[] = {
    {"adapter", 0}, {"is_marlin_format", 0}, {"rotation", 0}, {NULL, 0}};

static void read_gptq(glia_json_reader *r, glia_quantization_config *q) {
    const char *key, *format = either(r, "checkpoint_format", "format", &key);
    glia_stored_scheme *s = &q->scheme[q->n++];
    *s = (glia_stored_scheme){.layout = GLIA_LAYOUT_GPTQ, .bits = 4, .group = GROUP, .ordered = true};
    glia_json_check_values(r, gptq_keys);
    read_packing(r, s);
    glia_json_bool(r, "sym", true);       /* the zero points themselves decide */
    glia_json_bool(r, "desc_act", false); /* and so does g_idx */
    expect(r, "pack_dtype", "int32");
    s->zeros_as_stored = is_format(format, "gptq_v2");
    if (format && !s->zeros_as_stored && !is_format(format, "gptq"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.60s; Glia reads gptq and gptq_v2", key, format);
    s->zeros_borrow = !s->zeros_as_stored; /* as GPTQModel saves and loads them */
    read_exceptions(r, "dynamic", q);
}

static void read_awq(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key fused[] = {{"do_fuse", 0}, {"modules_to_fuse", 0}, {NULL, 0}};
    const char *key, *format = either(r, "version", "format", &key);
    const bool gemv = is_format(format, "gemv");
    glia_stored_scheme *s = &q->scheme[q->n++];
    *s = (glia_stored_scheme){.layout = gemv ? GLIA_LAYOUT_GEMV : GLIA_LAYOUT_AWQ, .bits = 4, .group = GROUP};
    glia_json_check_values(r, fused);
    glia_json_check_values(r, gptq_keys);
    read_packing(r, s);
    if (format && !gemv && !is_format(format, "gemm"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %.60s; Glia reads gemm and gemv", key, format);
    glia_json_bool(r, "zero_point", true); /* the zero points themselves decide */
    expect(r, "pack_dtype", "int32");
    no_lists(r);
    read_exceptions(r, "dynamic", q);
}

/* AutoRound packs as GPTQ or AWQ do. Only its formats with gptq in their names store zero points - 1. */
static void read_auto_round(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key keys[] = {{"rotation_config", 0},  {"hadamard_config", 0},
                                         {"spinquant_config", 0}, {"super_bits", 0},
                                         {"act_bits", 16},        {NULL, 0}};
    const char *key, *format = either(r, "packing_format", "backend", &key);
    glia_stored_scheme *s = &q->scheme[q->n++];
    if (!format || is(format, "auto")) format = "auto_round:gptq";
    const bool awq = strstr(format, "awq"), gptq = strstr(format, "gptq");
    *s = (glia_stored_scheme){.layout = awq ? GLIA_LAYOUT_AWQ : GLIA_LAYOUT_GPTQ,
                              .bits = 4,
                              .group = GROUP,
                              .ordered = !awq,
                              .zeros_as_stored = !gptq};
    if (!awq && !gptq && !is(format, "auto_round") && !strstr(format, "exllama") && !strstr(format, "triton"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "%s is %.60s; Glia reads auto_round, auto_round:auto_gptq and auto_round:auto_awq",
                       key, format);
    glia_json_check_values(r, keys);
    expect(r, "data_type", "int");
    read_packing(r, s);
    q->anywhere = true;
    read_exceptions(r, "extra_config", q);
}

/* ---- bitsandbytes ---------------------------------------------------------------- */

static void read_bnb(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key keys[] = {{"quant_method", NAN},
                                         {"_load_in_4bit", NAN},
                                         {"_load_in_8bit", NAN},
                                         {"load_in_4bit", NAN},
                                         {"load_in_8bit", NAN},
                                         {"bnb_4bit_compute_dtype", NAN},
                                         {"bnb_4bit_quant_storage", NAN},
                                         {"bnb_4bit_quant_type", NAN},
                                         {"bnb_4bit_use_double_quant", NAN},
                                         {"llm_int8_enable_fp32_cpu_offload", NAN},
                                         {"llm_int8_has_fp16_weight", NAN},
                                         {"llm_int8_skip_modules", NAN},
                                         {"llm_int8_threshold", NAN},
                                         {NULL, 0}};
    glia_json_check_keys(r, keys);
    const bool byte = glia_json_bool(r, "load_in_8bit", false);
    if (byte == glia_json_bool(r, "load_in_4bit", false))
        glia_json_fail(r, GLIA_ERR_FORMAT, "expected one of load_in_4bit and load_in_8bit to be true");
    read_names(r, "llm_int8_skip_modules");
    if (byte) {
        q->scheme[q->n++] = (glia_stored_scheme){.layout = GLIA_LAYOUT_BNB8, .bits = 8, .symmetric = true};
        return;
    }
    const char *type = glia_json_string(r, "bnb_4bit_quant_type");
    if (type && !is(type, "nf4") && !is(type, "fp4"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "bnb_4bit_quant_type is %.60s; Glia reads nf4 and fp4", type);
    q->scheme[q->n++] =
        (glia_stored_scheme){.layout = GLIA_LAYOUT_BNB, .bits = 4, .floats = true, .symmetric = true};
}

/* ---- compressed-tensors ------------------------------------------------------------ */

static const glia_json_key argument_keys[] = {{"num_bits", NAN},
                                              {"type", NAN},
                                              {"symmetric", NAN},
                                              {"group_size", NAN},
                                              {"strategy", NAN},
                                              {"block_structure", NAN},
                                              {"dynamic", NAN},
                                              {"actorder", NAN},
                                              {"scale_dtype", NAN},
                                              {"zp_dtype", NAN},
                                              {"observer", NAN},
                                              {"observer_kwargs", NAN},
                                              {NULL, 0}};

/* Is a member null or absent? */
static bool absent(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value);
}

/* The strategy of weights, or what compressed-tensors infers without it. */
static const char *strategy_of(glia_json_reader *r) {
    const char *strategy = glia_json_string(r, "strategy");
    if (strategy) return strategy;
    if (absent(r->object, "group_size")) return "tensor";
    return glia_json_int(r, "group_size", -1, -1, 1 << 20) < 0 ? "channel" : "group";
}

static void read_strategy(glia_json_reader *r, glia_stored_scheme *s) {
    const char *strategy = strategy_of(r);
    if (is(strategy, "group") || is(strategy, "tensor_group")) {
        s->group = glia_json_int(r, "group_size", 0, 1, 1 << 20);
        if (s->group == 0 && !r->status)
            glia_json_fail(r, GLIA_ERR_FORMAT, "strategy is %s, but there is no group_size", strategy);
    } else if (is(strategy, "block")) {
        read_block(r, "block_structure", s);
        if (!s->block_rows && !r->status)
            glia_json_fail(r, GLIA_ERR_FORMAT, "strategy is block, but there is no block_structure");
    } else if (is(strategy, "tensor")) {
        s->per_tensor = true;
    } else if (!is(strategy, "channel")) {
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "strategy is %.60s; Glia reads tensor, channel, group, tensor_group and block",
                       strategy);
    }
}

static void read_actorder(glia_json_reader *r, glia_stored_scheme *s) {
    const json_t *order = json_object_get(r->object, "actorder");
    const char *text = json_string_value(order);
    if (is(text, "group") || is(text, "dynamic") || json_is_true(order))
        s->ordered = true;
    else if (order && !json_is_null(order) && !json_is_false(order) && !is(text, "weight") &&
             !is(text, "static"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "actorder is %.60s; Glia reads group and weight",
                       text ? text : glia_json_type_name(order));
}

static void read_weights(glia_json_reader *r, const json_t *object, glia_stored_scheme *s) {
    char where[WHERE];
    glia_json_reader w = below(r, "weights", object, where);
    glia_json_check_keys(&w, argument_keys);
    const char *type = glia_json_string(&w, "type");
    s->bits = (int)glia_json_int(&w, "num_bits", 8, 1, 32);
    s->floats = is(type, "float");
    if (type && !s->floats && !is(type, "int"))
        glia_json_fail(&w, GLIA_ERR_UNSUPPORTED, "type is %.60s; Glia reads int and float", type);
    if (s->bits != 4 && s->bits != 8)
        glia_json_fail(&w, GLIA_ERR_UNSUPPORTED, "num_bits is %d; Glia reads 4 and 8", s->bits);
    s->symmetric = glia_json_bool(&w, "symmetric", true);
    if (s->floats && !s->symmetric)
        glia_json_fail(&w, GLIA_ERR_UNSUPPORTED, "symmetric is false, but type is float");
    if (glia_json_bool(&w, "dynamic", false))
        glia_json_fail(&w, GLIA_ERR_UNSUPPORTED, "dynamic is true; weights have stored scales");
    read_strategy(&w, s);
    read_actorder(&w, s);
    r->status = w.status;
}

/* Rows as int8: each has its own scale ("token"), or all have one that is stored ("tensor"). */
static void read_rows(glia_json_reader *r, const json_t *object, glia_stored_scheme *s) {
    char where[WHERE];
    glia_json_reader a = below(r, "input_activations", object, where);
    glia_json_check_keys(&a, argument_keys);
    const char *type = glia_json_string(&a, "type"), *strategy = glia_json_string(&a, "strategy");
    const bool dynamic = !json_is_false(json_object_get(object, "dynamic")) && !absent(object, "dynamic");
    if (a.status || is(type, "float")) {
        r->status = a.status;
        return;
    }
    if (!strategy && !dynamic) strategy = strategy_of(&a);
    if (glia_json_int(&a, "num_bits", 8, 1, 32) != ROW_BITS)
        glia_json_fail(&a, GLIA_ERR_UNSUPPORTED, "num_bits is not 8; Glia has int8 activations");
    if (!is(strategy, dynamic ? "token" : "tensor"))
        glia_json_fail(&a, GLIA_ERR_UNSUPPORTED,
                       "strategy is %.60s; Glia has token with dynamic true, and "
                       "tensor with dynamic false",
                       strategy ? strategy : "not given");
    s->int8_rows = true;
    s->rows_stored = !dynamic;
    s->rows_asymmetric = !glia_json_bool(&a, "symmetric", true);
    r->status = a.status;
}

static void check_rows(glia_json_reader *r, const glia_stored_scheme *s) {
    if (s->int8_rows && s->floats)
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                       "int8 activations and %d-bit float weights; Glia has int8 activations for integers",
                       s->bits);
}

/* The layout of a format's name; false: Glia does not read it. */
static bool layout_of(const char *format, glia_stored_scheme *s) {
    static const struct {
        const char *name;
        glia_stored_layout layout;
        int bits;
        int floats; /* 0 or 1; -1: either */
    } formats[] = {
        {"int-quantized", GLIA_LAYOUT_BYTES, 0, 0},      {"float-quantized", GLIA_LAYOUT_BYTES, 8, 1},
        {"naive-quantized", GLIA_LAYOUT_BYTES, 8, -1},   {"pack-quantized", GLIA_LAYOUT_PACKED, 0, 0},
        {"nvfp4-pack-quantized", GLIA_LAYOUT_FP4, 4, 1}, {"mxfp4-pack-quantized", GLIA_LAYOUT_FP4, 4, 1},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (is(format, formats[i].name)) {
            s->layout = formats[i].layout;
            return (formats[i].bits == 0 || formats[i].bits == s->bits) &&
                   (formats[i].floats < 0 || formats[i].floats == s->floats);
        }
    return false;
}

static void read_scheme(glia_json_reader *r, const char *format, glia_stored_scheme *s) {
    static const glia_json_key keys[] = {
        {"targets", NAN},          {"weights", NAN}, {"input_activations", NAN},
        {"output_activations", 0}, {"format", NAN},  {NULL, 0}};
    glia_json_check_keys(r, keys);
    const json_t *weights = glia_json_object(r, "weights"), *rows = glia_json_object(r, "input_activations");
    const char *own = glia_json_string(r, "format");
    s->targets = read_names(r, "targets");
    if (r->status) return;
    if (!s->targets) glia_json_fail(r, GLIA_ERR_FORMAT, "targets is missing");
    if (!weights) glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "weights is missing; Glia reads quantised weights");
    if (r->status) return;
    read_weights(r, weights, s);
    if (!r->status && rows) read_rows(r, rows, s);
    if (!r->status) check_rows(r, s);
    if (own) format = own;
    if (r->status || layout_of(format, s)) return;
    glia_json_fail(
        r, GLIA_ERR_UNSUPPORTED,
        "format %.60s with num_bits %d and type %s; Glia reads int-quantized and pack-quantized of 4 and "
        "8 bits, float-quantized of 8 bits, nvfp4- and mxfp4-pack-quantized",
        format ? format : "(none)", s->bits, s->floats ? "float" : "int");
}

/* A group whose name is a preset scheme has only its targets. */
static bool read_preset(glia_json_reader *r, const char *name, const json_t *targets, const char *format,
                        glia_stored_scheme *s) {
    static const struct {
        const char *name;
        glia_stored_scheme scheme;
    } presets[] = {
        {"W8A8", {.layout = GLIA_LAYOUT_BYTES, .bits = 8, .symmetric = true, .int8_rows = true}},
        {"INT8", {.layout = GLIA_LAYOUT_BYTES, .bits = 8, .symmetric = true, .int8_rows = true}},
        {"W8A16", {.layout = GLIA_LAYOUT_PACKED, .bits = 8, .symmetric = true}},
        {"W4A16", {.layout = GLIA_LAYOUT_PACKED, .bits = 4, .group = 128, .symmetric = true}},
        {"W4A16_ASYM", {.layout = GLIA_LAYOUT_PACKED, .bits = 4, .group = 128}},
        {"W4A8",
         {.layout = GLIA_LAYOUT_PACKED, .bits = 4, .group = 128, .symmetric = true, .int8_rows = true}},
        {"FP8",
         {.layout = GLIA_LAYOUT_BYTES, .bits = 8, .floats = true, .symmetric = true, .per_tensor = true}},
        {"FP8_DYNAMIC", {.layout = GLIA_LAYOUT_BYTES, .bits = 8, .floats = true, .symmetric = true}},
        {"FP8_BLOCK",
         {.layout = GLIA_LAYOUT_BYTES,
          .bits = 8,
          .floats = true,
          .symmetric = true,
          .group = 128,
          .block_rows = 128,
          .block_cols = 128}},
        {"NVFP4A16", {.layout = GLIA_LAYOUT_FP4, .bits = 4, .floats = true, .symmetric = true, .group = 16}},
        {"NVFP4", {.layout = GLIA_LAYOUT_FP4, .bits = 4, .floats = true, .symmetric = true, .group = 16}},
        {"MXFP4A16", {.layout = GLIA_LAYOUT_FP4, .bits = 4, .floats = true, .symmetric = true, .group = 32}},
        {"MXFP4", {.layout = GLIA_LAYOUT_FP4, .bits = 4, .floats = true, .symmetric = true, .group = 32}},
    };
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (is(name, presets[i].name)) {
            *s = presets[i].scheme;
            s->targets = read_names(r, name);
            layout_of(format, s); /* where the file names one; "mixed-precision" is none */
            return true;
        }
    glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                   "%.60s: expected an object, or the name of a preset scheme such as W4A16", name);
    (void)targets;
    return false;
}

static void read_groups(glia_json_reader *r, glia_quantization_config *q) {
    const json_t *groups = glia_json_object(r, "config_groups");
    const char *format = glia_json_string(r, "format"), *name;
    json_t *group;
    if (!groups || json_object_size(groups) == 0)
        glia_json_fail(r, GLIA_ERR_FORMAT, "config_groups is missing or empty");
    json_object_foreach((json_t *)(uintptr_t)groups, name, group) {
        char where[2][WHERE];
        glia_json_reader all = below(r, "config_groups", groups, where[0]),
                         one = below(&all, name, group, where[1]);
        if (r->status) return;
        if (q->n == GLIA_SCHEMES_MAX)
            glia_json_fail(&all, GLIA_ERR_LIMIT, "%zu groups, limit is %d", json_object_size(groups),
                           GLIA_SCHEMES_MAX);
        else if (json_is_object(group))
            read_scheme(&one, format, &q->scheme[q->n++]);
        else if (json_is_array(group))
            read_preset(&all, name, group, format, &q->scheme[q->n++]);
        else
            glia_json_fail(&one, GLIA_ERR_FORMAT, "expected an object, found %s", glia_json_type_name(group));
        r->status = all.status ? all.status : one.status;
    }
}

/* The scheme of keys and values says how a cache of 8 bits was calibrated; --kv-cache-dtype decides here. */
static void read_compressed(glia_json_reader *r, glia_quantization_config *q) {
    static const glia_json_key keys[] = {{"quant_method", NAN},
                                         {"config_groups", NAN},
                                         {"ignore", NAN},
                                         {"format", NAN},
                                         {"kv_cache_scheme", NAN},
                                         {"quantization_status", NAN},
                                         {"global_compression_ratio", NAN},
                                         {"version", NAN},
                                         {"sparsity_config", 0},
                                         {"moe_sparsity_config", 0},
                                         {"transform_config", 0},
                                         {"run_compressed", NAN},
                                         {NULL, 0}};
    const char *status = glia_json_string(r, "quantization_status");
    const json_t *sparsity = glia_json_object(r, "sparsity_config");
    if (is(json_string_value(json_object_get(sparsity, "format")), "dense"))
        json_object_del((json_t *)(uintptr_t)r->object, "sparsity_config"); /* stores nothing */
    glia_json_check_keys(r, keys);
    if (status && !is(status, "compressed") && !is(status, "frozen"))
        glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "quantization_status is %.60s; Glia reads compressed",
                       status);
    glia_json_object(r, "kv_cache_scheme");
    q->ignore = read_names(r, "ignore");
    read_groups(r, q);
}

/* ---- all ---------------------------------------------------------------------------- */

static const struct {
    const char *method;
    void (*read)(glia_json_reader *r, glia_quantization_config *q);
    bool by_tensors;
} methods[] = {
    {"fp8", read_fp8, true},
    {"mxfp8", read_mxfp8, true},
    {"fbgemm_fp8", read_fbgemm, true},
    {"compressed-tensors", read_compressed, false},
    {"gptq", read_gptq, true},
    {"awq", read_awq, true},
    {"auto-round", read_auto_round, true},
    {"intel/auto-round", read_auto_round, true}, /* before version 0.5 */
    {"bitsandbytes", read_bnb, true},
};

void glia_quantization_read(glia_json_reader *r, const char *key, glia_quantization_config *q) {
    char where[WHERE];
    *q = (glia_quantization_config){0};
    const json_t *object = glia_json_object(r, key);
    if (!object) return;
    glia_json_reader n = below(r, key, object, where);
    const char *method = glia_json_string(&n, "quant_method");
    if (!method && json_object_get(object, "config_groups")) method = "compressed-tensors";
    if (!method && (json_object_get(object, "load_in_4bit") || json_object_get(object, "load_in_8bit")))
        method = "bitsandbytes"; /* as Transformers */
    q->tree = json_incref((json_t *)(uintptr_t)object);
    for (size_t i = 0; i < sizeof methods / sizeof *methods && !n.status; i++)
        if (is(method, methods[i].method)) {
            q->method = methods[i].method;
            q->by_tensors = methods[i].by_tensors;
            methods[i].read(&n, q);
        }
    if (!q->method)
        glia_json_fail(
            &n, GLIA_ERR_UNSUPPORTED,
            "quant_method is %.60s; Glia reads fp8, mxfp8, fbgemm_fp8, compressed-tensors, gptq, awq, "
            "auto-round and bitsandbytes; of another method give the directory of the unquantised model, "
            "with --quantization int8 or int4",
            method ? method : "missing");
    r->status = n.status;
}

void glia_quantization_free(glia_quantization_config *q) {
    json_decref(q->tree);
    *q = (glia_quantization_config){0};
}
