/* config_rope.c - see config_rope.h.
 *
 * Transformers 4 reads `rope_theta` and `rope_scaling`; version 5 reads both from
 * `rope_parameters`. If a file has both spellings, they must agree.
 * Traps: yarn and llama3 read `original_max_position_embeddings` inside the
 * dictionary. Longrope in version 4 reads it at top level, and there it overrides
 * `factor`. Dynamic does not read it. */
#include "format/config_rope.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSITIONS_MAX = 1 << 30 };

static const char *const type_names[] = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"};

const char *glia_rope_type_name(glia_rope_type type) { return type_names[type]; }

void glia_rope_config_free(glia_rope_config *rope) {
    free(rope->short_factor);
    free(rope->long_factor);
    memset(rope, 0, sizeof *rope);
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

static glia_rope_type read_type(glia_json_reader *r, bool optional) {
    const char *old = glia_json_string(r, "type"), *name = glia_json_string(r, "rope_type");
    if (old && name && strcmp(old, name) != 0)
        glia_json_fail(r, GLIA_ERR_FORMAT, "rope_type is %s but type is %s", name, old);
    if (!name) name = old;
    if (!name && !optional) glia_json_fail(r, GLIA_ERR_FORMAT, "rope_type is missing");
    if (!name) return GLIA_ROPE_DEFAULT;
    for (int i = 0; i < (int)(sizeof type_names / sizeof *type_names); i++)
        if (!strcmp(name, type_names[i])) return (glia_rope_type)i;
    glia_json_fail(r, GLIA_ERR_UNSUPPORTED,
                   "rope_type is %.60s; supported are default, linear, dynamic, yarn, longrope and llama3",
                   name);
    return GLIA_ROPE_DEFAULT;
}

static double *read_factors(glia_json_reader *r, const char *key, int n) {
    const json_t *list = glia_json_array(r, key);
    if (!list) glia_json_fail(r, GLIA_ERR_FORMAT, "%s is missing", key);
    if (r->status) return NULL;
    if (json_array_size(list) != (size_t)n) {
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected head_dim / 2 = %d numbers, found %zu", key, n,
                       json_array_size(list));
        return NULL;
    }
    double *factors = malloc((size_t)n * sizeof *factors);
    if (!factors) {
        r->status = glia_fail_nomem(r->err, (size_t)n * sizeof *factors, key);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        factors[i] = json_number_value(v);
        if (!(factors[i] > 0)) {
            char text[60];
            glia_json_fail(r, GLIA_ERR_FORMAT, "%s[%d]: expected a number above 0, found %s", key, i,
                           glia_json_print(v, text, sizeof text));
        }
    }
    return factors;
}

static void read_yarn(glia_json_reader *r, glia_rope_config *rope) {
    rope->attention_factor = positive(r, "attention_factor");
    rope->beta_fast = glia_json_real(r, "beta_fast", 32, 0, DBL_MAX);
    rope->beta_slow = glia_json_real(r, "beta_slow", 1, 0, DBL_MAX);
    if (rope->beta_fast == 0) rope->beta_fast = 32; /* Python: `or 32` */
    if (rope->beta_slow == 0) rope->beta_slow = 1;
    rope->mscale = glia_json_real(r, "mscale", 0, 0, DBL_MAX);
    rope->mscale_all_dim = glia_json_real(r, "mscale_all_dim", 0, 0, DBL_MAX);
    rope->truncate = glia_json_bool(r, "truncate", true);
    if (rope->beta_fast < rope->beta_slow)
        glia_json_warn(r, "beta_fast %g is less than beta_slow %g", rope->beta_fast, rope->beta_slow);
    if (rope->theta <= 1)
        glia_json_fail(r, GLIA_ERR_FORMAT, "yarn needs rope_theta above 1, found %g", rope->theta);
}

/* `top` is original_max_position_embeddings at top level, 0 if absent. */
static void read_longrope(glia_json_reader *r, glia_rope_config *rope, const glia_model_config *c, int top,
                          bool v5) {
    const int inner = rope->original_max_position_embeddings;
    rope->attention_factor = positive(r, "attention_factor");
    rope->factor = positive(r, "factor");
    if (!v5 && inner && !top)
        glia_json_warn(r, "original_max_position_embeddings is ignored here, as in transformers 4; "
                          "longrope reads it at top level");
    rope->original_max_position_embeddings = top ? top : v5 && inner ? inner : c->max_position_embeddings;
    if (v5 ? rope->factor == 0 : top != 0)
        rope->factor = (double)c->max_position_embeddings / rope->original_max_position_embeddings;
    if (rope->factor == 0 && rope->attention_factor == 0)
        glia_json_fail(r, GLIA_ERR_FORMAT, "longrope needs factor or attention_factor");
    rope->n_factors = (int)(c->head_dim / 2);
    rope->short_factor = read_factors(r, "short_factor", rope->n_factors);
    rope->long_factor = read_factors(r, "long_factor", rope->n_factors);
}

static void read_llama3(glia_json_reader *r, glia_rope_config *rope, const glia_model_config *c) {
    rope->low_freq_factor = required(r, "low_freq_factor");
    rope->high_freq_factor = required(r, "high_freq_factor");
    if (rope->high_freq_factor <= rope->low_freq_factor)
        glia_json_fail(r, GLIA_ERR_FORMAT, "high_freq_factor %g must be greater than low_freq_factor %g",
                       rope->high_freq_factor, rope->low_freq_factor);
    if (rope->original_max_position_embeddings >= c->max_position_embeddings)
        glia_json_warn(r, "original_max_position_embeddings %d is not less than max_position_embeddings %d",
                       rope->original_max_position_embeddings, c->max_position_embeddings);
}

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
    {"partial_rotary_factor", 1},
    {"full_attention", 0}, /* version 5 may nest a dictionary per layer type */
    {"sliding_attention", 0},
    {NULL, 0},
};

/* Read one dictionary. `theta` is the value outside of the dictionary; `top` as in
 * read_longrope(). */
static void read_dictionary(glia_json_reader *r, glia_rope_config *rope, const glia_model_config *c,
                            double theta, int top, bool v5) {
    glia_json_check_keys(r, rope_keys);
    rope->type = read_type(r, v5);
    rope->theta = positive(r, "rope_theta");
    if (rope->theta == 0) rope->theta = theta;
    rope->original_max_position_embeddings =
        (int)glia_json_int(r, "original_max_position_embeddings", 0, 1, POSITIONS_MAX);
    rope->factor = 1;
    if (rope->type == GLIA_ROPE_LONGROPE) {
        read_longrope(r, rope, c, top, v5);
        return;
    }
    if (rope->type != GLIA_ROPE_DEFAULT) rope->factor = required(r, "factor");
    if (rope->factor < 1) glia_json_warn(r, "factor %g is less than 1", rope->factor);
    if (rope->type == GLIA_ROPE_DYNAMIC && c->head_dim < 4)
        glia_json_fail(r, GLIA_ERR_FORMAT, "dynamic needs head_dim of at least 4, found %d",
                       (int)c->head_dim);
    if (rope->type != GLIA_ROPE_YARN && rope->type != GLIA_ROPE_LLAMA3) {
        rope->original_max_position_embeddings = 0;
        return;
    }
    if (v5 && top) rope->original_max_position_embeddings = top;
    if (rope->type == GLIA_ROPE_LLAMA3 && !v5 && !rope->original_max_position_embeddings)
        glia_json_fail(r, GLIA_ERR_FORMAT, "original_max_position_embeddings is missing");
    if (!rope->original_max_position_embeddings)
        rope->original_max_position_embeddings = c->max_position_embeddings;
    if (rope->type == GLIA_ROPE_YARN) read_yarn(r, rope);
    if (rope->type == GLIA_ROPE_LLAMA3) read_llama3(r, rope, c);
}

static bool same_list(const double *a, const double *b, int n) {
    return n == 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static bool same(const glia_rope_config *a, const glia_rope_config *b) {
    return a->type == b->type && a->theta == b->theta && a->factor == b->factor &&
           a->attention_factor == b->attention_factor && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->mscale == b->mscale && a->mscale_all_dim == b->mscale_all_dim &&
           a->truncate == b->truncate && a->low_freq_factor == b->low_freq_factor &&
           a->high_freq_factor == b->high_freq_factor &&
           a->original_max_position_embeddings == b->original_max_position_embeddings &&
           a->n_factors == b->n_factors && same_list(a->short_factor, b->short_factor, a->n_factors) &&
           same_list(a->long_factor, b->long_factor, a->n_factors);
}

/* Read the dictionary `object`, the value of `key`; messages name the key. */
static void read_nested(glia_json_reader *r, const char *key, const json_t *object, glia_rope_config *rope,
                        const glia_model_config *c, double theta, int top, bool v5) {
    char where[300];
    snprintf(where, sizeof where, "%.250s: %s", r->where, key);
    glia_json_reader inner = *r;
    inner.object = object;
    inner.where = where;
    read_dictionary(&inner, rope, c, theta, top, v5);
    r->status = inner.status;
}

void glia_rope_config_read(glia_json_reader *r, glia_model_config *c, double theta) {
    const json_t *v4 = glia_json_object(r, "rope_scaling"), *v5 = glia_json_object(r, "rope_parameters");
    const double outer = positive(r, "rope_theta");
    const int top = (int)glia_json_int(r, "original_max_position_embeddings", 0, 1, POSITIONS_MAX);
    glia_rope_config *rope = &c->rope_config;
    if (outer > 0) theta = outer;
    rope->theta = theta;
    rope->factor = 1;
    if (v5) read_nested(r, "rope_parameters", v5, rope, c, theta, top, true);
    if (v4) {
        glia_rope_config old = {0};
        read_nested(r, "rope_scaling", v4, &old, c, v5 ? rope->theta : theta, top, false);
        if (v5 && !r->status && !same(&old, rope))
            glia_json_fail(r, GLIA_ERR_FORMAT, "rope_scaling and rope_parameters say different things");
        glia_rope_config_free(rope);
        *rope = old;
    }
    if (outer > 0 && rope->theta != outer)
        glia_json_fail(r, GLIA_ERR_FORMAT, "rope_theta is %g at top level and %g in %s", outer, rope->theta,
                       v4 ? "rope_scaling" : "rope_parameters");
    if (top && rope->type != GLIA_ROPE_LONGROPE && (!v5 || rope->type <= GLIA_ROPE_DYNAMIC))
        glia_json_warn(r, "original_max_position_embeddings is ignored by rope_type %s",
                       glia_rope_type_name(rope->type));
}
