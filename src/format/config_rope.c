/* config_rope.c - see config_rope.h.
 *
 * Which value wins, as in transformers 5:
 *   - `rope_scaling` (version 4), unless it is empty, replaces `rope_parameters` (version 5) as a whole.
 *   - In the dictionary, `rope_type` wins over `type`.
 *   - `rope_theta` and `partial_rotary_factor` of the dictionary win over those at top level.
 *   - `original_max_position_embeddings` at top level wins over that of the dictionary.
 * A warning says what lost, if it says something else. One case depends on transformers_version:
 * longrope_factor().
 * Source: transformers modeling_rope_utils.py, RotaryEmbeddingConfigMixin and the _compute functions. */
#include "format/config_rope.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSITIONS_MAX = 1 << 30 };

static const char *const type_names[] = {"default",  "linear", "dynamic",     "yarn",
                                         "longrope", "llama3", "proportional"};
enum { N_TYPES = sizeof type_names / sizeof *type_names };

const char *glia_rope_type_name(glia_rope_type type) { return type_names[type]; }

void glia_rope_config_free(glia_rope_config *rope) {
    free(rope->short_factor);
    free(rope->long_factor);
    memset(rope, 0, sizeof *rope);
}

/* The two objects that have RoPE keys: config.json itself, and the dictionary in use. */
typedef struct {
    glia_json_reader r; /* of the one or the other: top(), dict() */
    const json_t *top, *dict;
    const char *top_where, *dict_where;
    const char *key; /* of the dictionary; NULL: there is none, and `dict` is empty */
    glia_model_config *c;
    glia_rope_config *rope; /* &c->rope_config */
} source;

static glia_json_reader *top(source *s) {
    s->r.object = s->top;
    s->r.where = s->top_where;
    return &s->r;
}

static glia_json_reader *dict(source *s) {
    s->r.object = s->dict;
    s->r.where = s->dict_where;
    return &s->r;
}

/* ---- values ---------------------------------------------------------------- */

static bool in_dict(const source *s, const char *key) { return json_object_get(s->dict, key) != NULL; }

/* Transformers takes a null as the value, and fails when it computes with it. */
static void refuse_null(glia_json_reader *r, const char *key) {
    if (json_is_null(json_object_get(r->object, key)))
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected a number, found null", key);
}

/* A real number above 0; returns 0 if the key is absent or null. */
static double positive(glia_json_reader *r, const char *key) {
    const double x = glia_json_real(r, key, 0, 0, DBL_MAX);
    const json_t *v = json_object_get(r->object, key);
    if (x == 0 && v && !json_is_null(v))
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected more than 0, found 0", key);
    return x;
}

static double required(glia_json_reader *r, const char *key) {
    const double x = positive(r, key);
    if (x == 0) glia_json_fail(r, GLIA_ERR_FORMAT, "%s is missing", key);
    return x;
}

/* The value of `key` in the dictionary, else at top level, else `fallback`; at least `lo`. Warn if both have
 * it and differ. */
static double dict_first(source *s, const char *key, double fallback, double lo) {
    const json_t *other = json_object_get(s->top, key);
    if (!in_dict(s, key)) return glia_json_real(top(s), key, fallback, lo, DBL_MAX);
    const double x = glia_json_real(dict(s), key, fallback, lo, DBL_MAX);
    if (json_is_number(other) && json_number_value(other) != x)
        glia_json_warn(top(s), "%s %g is ignored: %s has %g, which wins", key, json_number_value(other),
                       s->key, x);
    return x;
}

static double read_theta(source *s, double theta) {
    refuse_null(in_dict(s, "rope_theta") ? dict(s) : top(s), "rope_theta");
    return dict_first(s, "rope_theta", theta, (double)FLT_MIN);
}

static glia_rope_type read_type(source *s) {
    const char *key = in_dict(s, "rope_type") ? "rope_type" : "type";
    if (!in_dict(s, key)) return GLIA_ROPE_DEFAULT;
    const char *name = glia_json_string(dict(s), key),
               *old = json_string_value(json_object_get(s->dict, "type"));
    if (name && old && strcmp(name, old) != 0)
        glia_json_warn(dict(s), "type %.60s is ignored: rope_type is %.60s, which wins", old, name);
    for (int i = 0; i < N_TYPES; i++)
        if (name && !strcmp(name, type_names[i])) return (glia_rope_type)i;
    glia_json_fail(
        dict(s), GLIA_ERR_UNSUPPORTED,
        "%s is %.60s; supported are default, linear, dynamic, yarn, longrope, llama3 and proportional", key,
        name ? name : "null");
    return GLIA_ROPE_DEFAULT;
}

/* original_max_position_embeddings; the default is max_position_embeddings. */
static int read_original(source *s) {
    static const char key[] = "original_max_position_embeddings";
    refuse_null(dict(s), key);
    refuse_null(top(s), key);
    const int inner = (int)glia_json_int(dict(s), key, s->c->max_position_embeddings, 1, POSITIONS_MAX),
              outer = (int)glia_json_int(top(s), key, inner, 1, POSITIONS_MAX);
    if (in_dict(s, key) && outer != inner)
        glia_json_warn(dict(s), "%s %d is ignored: the value at top level is %d, which wins", key, inner,
                       outer);
    return outer;
}

/* A list of n numbers; a list of one number stands for n equal numbers. */
static double *read_factors(glia_json_reader *r, const char *key, int n) {
    const json_t *list = glia_json_array(r, key);
    const size_t size = json_array_size(list);
    if (!list) glia_json_fail(r, GLIA_ERR_FORMAT, "%s is missing", key);
    if (size != (size_t)n && size != 1)
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected head_dim / 2 = %d numbers, found %zu", key, n, size);
    if (r->status) return NULL;
    double *factors = malloc((size_t)n * sizeof *factors);
    if (!factors) {
        r->status = glia_fail_nomem(r->err, (size_t)n * sizeof *factors, key);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, size == 1 ? 0 : (size_t)i);
        factors[i] = json_number_value(v);
        if (!(factors[i] > 0)) {
            char text[60];
            glia_json_fail(r, GLIA_ERR_FORMAT, "%s[%d]: expected a number above 0, found %s", key, i,
                           glia_json_print(v, text, sizeof text));
        }
    }
    return factors;
}

/* Python's truth of a value. */
static bool is_true(const json_t *v) { return v && !glia_json_is_neutral(v, 0); }

/* ---- types ----------------------------------------------------------------- */

/* Fill attention_factor; `derived` is its value if the key is absent. */
static void read_attention(source *s, double derived) {
    glia_json_reader *r = dict(s);
    s->rope->attention_factor =
        glia_json_real(r, "attention_factor", derived, -(double)FLT_MAX, (double)FLT_MAX);
    if (!isfinite(s->rope->attention_factor))
        glia_json_fail(r, GLIA_ERR_FORMAT, "attention_factor is absent, and %s",
                       s->rope->type == GLIA_ROPE_LONGROPE
                           ? "original_max_position_embeddings 1 does not give it"
                           : "mscale and mscale_all_dim give a value that is not finite");
}

/* The factor by which the context grew. */
static double factor_or_ratio(source *s) {
    const double factor = positive(dict(s), "factor");
    return factor > 0 ? factor
                      : (double)s->c->max_position_embeddings / s->rope->original_max_position_embeddings;
}

static double yarn_mscale(double scale, double mscale) {
    return scale <= 1 ? 1.0 : 0.1 * mscale * log(scale) + 1.0;
}

static void read_yarn(source *s) {
    glia_json_reader *r = dict(s);
    glia_rope_config *rope = s->rope;
    if (!in_dict(s, "factor")) glia_json_fail(r, GLIA_ERR_FORMAT, "factor is missing");
    rope->factor = factor_or_ratio(s);
    rope->beta_fast = glia_json_real(r, "beta_fast", 32, 0, DBL_MAX);
    rope->beta_slow = glia_json_real(r, "beta_slow", 1, 0, DBL_MAX);
    if (rope->beta_fast == 0) rope->beta_fast = 32; /* Python: `or 32` */
    if (rope->beta_slow == 0) rope->beta_slow = 1;
    rope->truncate = !in_dict(s, "truncate") || is_true(json_object_get(r->object, "truncate"));
    const double mscale = glia_json_real(r, "mscale", 0, -DBL_MAX, DBL_MAX),
                 all = glia_json_real(r, "mscale_all_dim", 0, -DBL_MAX, DBL_MAX);
    const bool both = mscale != 0 && all != 0;
    read_attention(s, both ? yarn_mscale(rope->factor, mscale) / yarn_mscale(rope->factor, all)
                           : yarn_mscale(rope->factor, 1));
    if (rope->beta_fast < rope->beta_slow)
        glia_json_warn(r, "beta_fast %g is less than beta_slow %g", rope->beta_fast, rope->beta_slow);
    if (rope->theta == 1) glia_json_fail(r, GLIA_ERR_FORMAT, "yarn needs a rope_theta other than 1");
}

/* Version 4 lets an original length at top level override `factor`; version 5 does not. The version that
 * wrote the file decides. */
static double longrope_factor(source *s) {
    const char *version = json_string_value(json_object_get(s->top, "transformers_version"));
    const double given = factor_or_ratio(s),
                 ratio = (double)s->c->max_position_embeddings / s->rope->original_max_position_embeddings;
    const bool overrides = json_object_get(s->top, "original_max_position_embeddings") && version &&
                           strncmp(version, "4.", 2) == 0 && strcmp(s->key, "rope_scaling") == 0;
    if (!overrides || given == ratio) return given;
    glia_json_warn(dict(s), "factor %g is ignored: transformers %.20s, which wrote the file, computes %g",
                   given, version, ratio);
    return ratio;
}

static void read_longrope(source *s) {
    glia_rope_config *rope = s->rope;
    const double original = rope->original_max_position_embeddings;
    rope->factor = longrope_factor(s);
    read_attention(s, rope->factor <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(original)));
    rope->n_factors = (int)(s->c->head_dim / 2);
    rope->short_factor = read_factors(dict(s), "short_factor", rope->n_factors);
    rope->long_factor = read_factors(dict(s), "long_factor", rope->n_factors);
}

static void read_llama3(source *s) {
    glia_json_reader *r = dict(s);
    glia_rope_config *rope = s->rope;
    rope->factor = required(r, "factor");
    rope->low_freq_factor = required(r, "low_freq_factor");
    rope->high_freq_factor = required(r, "high_freq_factor");
    if (rope->high_freq_factor <= rope->low_freq_factor)
        glia_json_warn(r, "high_freq_factor %g is not greater than low_freq_factor %g",
                       rope->high_freq_factor, rope->low_freq_factor);
    if (rope->original_max_position_embeddings >= s->c->max_position_embeddings)
        glia_json_warn(r, "original_max_position_embeddings %d is not less than max_position_embeddings %d",
                       rope->original_max_position_embeddings, s->c->max_position_embeddings);
}

static void read_linear(source *s) { s->rope->factor = required(dict(s), "factor"); }

static void read_dynamic(source *s) {
    s->rope->factor = required(dict(s), "factor");
    if (s->rope->rotary_dim == 2)
        glia_json_fail(dict(s), GLIA_ERR_FORMAT, "dynamic needs head_dim of at least 4, found 2");
}

static void read_proportional(source *s) {
    refuse_null(dict(s), "factor");
    if (in_dict(s, "factor")) s->rope->factor = positive(dict(s), "factor");
}

static void (*const readers[N_TYPES])(source *) = {
    [GLIA_ROPE_LINEAR] = read_linear, [GLIA_ROPE_DYNAMIC] = read_dynamic,
    [GLIA_ROPE_YARN] = read_yarn,     [GLIA_ROPE_LONGROPE] = read_longrope,
    [GLIA_ROPE_LLAMA3] = read_llama3, [GLIA_ROPE_PROPORTIONAL] = read_proportional,
};

static bool has_original(glia_rope_type type) {
    return type == GLIA_ROPE_YARN || type == GLIA_ROPE_LONGROPE || type == GLIA_ROPE_LLAMA3;
}

/* Fill rotary_dim and pairs. The models rotate whole heads: a factor for which transformers makes another
 * number of frequencies than head_dim / 2 fails there. */
static void read_partial(source *s) {
    static const char key[] = "partial_rotary_factor";
    glia_rope_config *rope = s->rope;
    const int64_t dim = s->c->head_dim;
    rope->rotary_dim = (int)dim;
    rope->pairs = (int)(dim / 2);
    if (rope->type == GLIA_ROPE_DEFAULT) {
        const json_t *v = json_object_get(in_dict(s, key) ? s->dict : s->top, key);
        if (v && !glia_json_is_neutral(v, 1))
            glia_json_warn(in_dict(s, key) ? dict(s) : top(s), "%s is ignored by rope_type default", key);
        return;
    }
    refuse_null(dict(s), key);
    const double factor = dict_first(s, key, 1, 0), rotating = trunc((double)dim * factor);
    const double pairs = floor(factor * (double)dim / 2);
    const bool proportional = rope->type == GLIA_ROPE_PROPORTIONAL;
    const bool odd_fits = rope->type != GLIA_ROPE_YARN && rotating == (double)dim - 1;
    if (proportional ? pairs > (double)rope->pairs : rotating != (double)dim && !odd_fits)
        glia_json_fail(in_dict(s, key) ? dict(s) : top(s), GLIA_ERR_UNSUPPORTED,
                       "partial_rotary_factor %g: %s rotates whole heads with rope_type %s", factor,
                       s->c->architecture, type_names[rope->type]);
    else if (proportional)
        rope->pairs = (int)pairs;
    else
        rope->rotary_dim = (int)rotating;
}

/* ---- the dictionary -------------------------------------------------------- */

/* Keys of the dictionary that at least one type reads. */
static const glia_json_key rope_keys[] = {
    {"rope_type", NAN},
    {"type", NAN},
    {"rope_theta", NAN},
    {"factor", NAN},
    {"attention_factor", NAN},
    {"beta_fast", NAN},
    {"beta_slow", NAN},
    {"mscale", NAN},
    {"mscale_all_dim", NAN},
    {"truncate", NAN},
    {"low_freq_factor", NAN},
    {"high_freq_factor", NAN},
    {"original_max_position_embeddings", NAN},
    {"short_factor", NAN},
    {"long_factor", NAN},
    {"partial_rotary_factor", NAN},
    {"full_attention", NAN},
    {"sliding_attention", NAN},
    {NULL, 0},
};

/* Version 5 may nest a dictionary per layer type, but none of Glia's models reads it there. For a type that a
 * layer has, transformers then sets no default beside the nested dictionaries, nor the original length. */
static void check_nested(source *s, bool has_layer_types) {
    bool used[2] = {false, false};
    static const char *const keys[] = {"full_attention", "sliding_attention"};
    for (int i = 0; has_layer_types && i < s->c->layers; i++) used[s->c->window[i] > 0] = true;
    for (int i = 0; i < 2; i++) {
        if (!in_dict(s, keys[i])) continue;
        const bool lacks = !in_dict(s, "rope_type") || !in_dict(s, "rope_theta");
        if ((used[i] && lacks) || has_original(s->rope->type))
            glia_json_fail(dict(s), GLIA_ERR_UNSUPPORTED,
                           "%s has parameters of its own, which %s does not read", keys[i],
                           s->c->architecture);
        glia_json_warn(dict(s), "%s is ignored by %s", keys[i], s->c->architecture);
    }
}

/* Does `other` contradict `used`, which replaces it? */
static bool contradicts(const json_t *other, const json_t *used, const json_t *top_theta) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)other, key, value) {
        const json_t *same = json_object_get(used, key);
        if (!same && !strcmp(key, "rope_theta")) same = top_theta;
        if (!json_equal(value, same) && !(json_is_number(value) && json_is_number(same) &&
                                          json_number_value(value) == json_number_value(same)))
            return true;
    }
    return false;
}

/* Find the dictionary that counts. */
static void choose(source *s) {
    const json_t *old = json_object_get(s->top, "rope_scaling");
    const json_t *v4 = is_true(old) ? glia_json_object(top(s), "rope_scaling") : NULL;
    const json_t *v5 =
        v4 ? json_object_get(s->top, "rope_parameters") : glia_json_object(top(s), "rope_parameters");
    if (v4 && v5 && contradicts(v5, v4, json_object_get(s->top, "rope_theta")))
        glia_json_warn(top(s), "rope_parameters is ignored: rope_scaling is there, which wins");
    s->dict = v4 ? v4 : v5;
    s->key = v4 ? "rope_scaling" : v5 ? "rope_parameters" : NULL;
}

static void read_all(source *s, double theta, bool has_layer_types) {
    glia_rope_config *rope = s->rope;
    glia_json_check_keys(dict(s), rope_keys);
    rope->type = read_type(s);
    check_nested(s, has_layer_types);
    rope->theta = read_theta(s, theta);
    rope->factor = rope->attention_factor = 1;
    read_partial(s);
    if (has_original(rope->type))
        rope->original_max_position_embeddings = read_original(s);
    else if (is_true(json_object_get(s->top, "original_max_position_embeddings")))
        glia_json_warn(top(s), "original_max_position_embeddings is ignored by rope_type %s",
                       type_names[rope->type]);
    if (readers[rope->type] && !s->r.status) readers[rope->type](s);
    if (rope->factor < 1) glia_json_warn(dict(s), "factor %g is less than 1", rope->factor);
}

void glia_rope_config_read(glia_json_reader *r, glia_model_config *c, double theta, bool has_layer_types) {
    char where[300];
    source s = {.r = *r, .top = r->object, .top_where = r->where, .c = c, .rope = &c->rope_config};
    choose(&s);
    snprintf(where, sizeof where, "%.250s: %s", r->where, s.key ? s.key : "");
    s.dict_where = s.key ? where : r->where;
    read_all(&s, theta, has_layer_types);
    r->status = s.r.status;
}
