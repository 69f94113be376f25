/* quantize.c - see quantize.h. */
#include "model/quantize.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/product.h"
#include "model/fused.h"
#include "model/importance.h"

glia_product glia_product_of(glia_weight_id id) {
    for (const glia_fused *f = glia_fused_table; f < glia_fused_table + glia_fused_rows; f++)
        for (int i = 0; i < f->n_weights; i++)
            if (f->weight[i] == id) return f->product;
    return PRODUCT_NONE;
}

static bool is_four_bits(glia_quantization scheme) {
    return scheme == GLIA_QUANTIZATION_INT4 || scheme == GLIA_QUANTIZATION_W4A8;
}

static bool quantizes_rows(glia_quantization scheme) {
    return scheme == GLIA_QUANTIZATION_W8A8 || scheme == GLIA_QUANTIZATION_W4A8;
}

const char *glia_quantize_type_name(const glia_quantize *q) {
    static const char *const groups[2][2] = {{"group_symmetric", "group_asymmetric"},
                                             {"rotated_group_symmetric", "rotated_group_asymmetric"}};
    return is_four_bits(q->scheme) ? groups[q->rotate][q->zeros]
           : q->per_tensor         ? "per_tensor_symmetric"
           : q->rotate             ? "rotated_per_channel_symmetric"
                                   : "per_channel_symmetric";
}

bool glia_quantizes(const glia_quantize *q, int layer, glia_product product) {
    return q && q->layer && (q->layer[layer] >> product & 1);
}

glia_matrix_form glia_quantize_form(const glia_quantize *q, int layer, glia_product product) {
    if (q->form) return q->form[layer * N_PRODUCTS + (int)product];
    /* few rows meet the head, so it waits for its weights and gains nothing from int8 rows */
    return (glia_matrix_form){.format = GLIA_WEIGHT_I8,
                              .quantize_rows =
                                  q->scheme == GLIA_QUANTIZATION_W8A8 && product != PRODUCT_HEAD};
}

bool glia_quantizes_rows(const glia_quantize *q, const glia_model_config *c) {
    bool any = quantizes_rows(q->scheme);
    for (int i = 0; q->form && i < c->layers * N_PRODUCTS; i++) any |= q->form[i].quantize_rows;
    return any;
}

/* Does `entry` [n bytes] name the module of `tensor`, or a module around it? A module's name is the tensor's
 * without its last component, and `entry` is one or more consecutive components of it. */
static bool names(const char *entry, size_t n, const char *tensor) {
    const char *end = strrchr(tensor, '.');
    for (const char *at = tensor; at + n <= end; at = strchr(at, '.') + 1)
        if (memcmp(at, entry, n) == 0 && at[n] == '.') return true;
    return false;
}

/* Call `visit` for each weight of the model, and for a tied head. */
typedef glia_status visit_fn(void *user, const char *tensor, const glia_weight *w, glia_err *err);
static glia_status each_weight(const glia_model_config *c, visit_fn *visit, void *user, glia_err *err) {
    glia_weight w = {.spec = &glia_output_head, .rows = c->vocab, .cols = c->hidden};
    glia_status status = c->tied_head ? visit(user, glia_output_head.name, &w, err) : GLIA_OK;
    for (size_t i = 0; !status && glia_spec_weight(&w, glia_spec_find(c->architecture), c, i); i++)
        status = visit(user, w.name, &w, err);
    return status;
}

typedef struct {
    const char *entry; /* [n] */
    size_t n;
    bool found;
} search;

static glia_status visit_entry(void *user, const char *tensor, const glia_weight *w, glia_err *err) {
    search *k = user;
    (void)w, (void)err;
    k->found |= names(k->entry, k->n, tensor);
    return GLIA_OK;
}

/* The entry [*n bytes] at *at, without blanks around it. *at becomes the next entry, or NULL after the last.
 */
static const char *next_entry(const char **at, size_t *n) {
    const char *entry = *at + strspn(*at, " "), *comma = strchr(entry, ',');
    *n = comma ? (size_t)(comma - entry) : strlen(entry);
    *at = comma ? comma + 1 : NULL;
    while (*n && entry[*n - 1] == ' ') --*n;
    return entry;
}

static bool is_kept(const char *keep, const char *tensor) {
    size_t n;
    while (keep) {
        const char *entry = next_entry(&keep, &n);
        if (names(entry, n, tensor)) return true;
    }
    return false;
}

static glia_status check_names(const char *keep, const glia_model_config *c, glia_err *err) {
    while (keep) {
        search k = {0};
        k.entry = next_entry(&keep, &k.n);
        if (k.n == 0)
            return glia_fail(err, GLIA_ERR_ARGUMENT,
                             "modules_to_not_convert has an empty name between commas");
        each_weight(c, visit_entry, &k, err);
        if (!k.found)
            return glia_fail(
                err, GLIA_ERR_ARGUMENT,
                "modules_to_not_convert: '%.*s' names no module of %s; names are such as lm_head, "
                "self_attn, down_proj, model.layers.0.mlp",
                (int)k.n, k.entry, c->architecture);
    }
    return GLIA_OK;
}

typedef struct {
    glia_quantize *q;
    const char *keep;
    unsigned char kept; /* bits of the products of this layer that have a kept tensor */
    int layer;
} marking;

static glia_status mark(void *user, const char *tensor, const glia_weight *w, glia_err *err) {
    marking *m = user;
    const glia_product product = glia_product_of(w->spec->id);
    if (product == PRODUCT_NONE) return GLIA_OK;
    if (product != PRODUCT_HEAD && w->layer != m->layer) {
        m->layer = w->layer;
        m->kept = 0;
    }
    const unsigned char bit = (unsigned char)(1u << product);
    const bool keep = is_kept(m->keep, tensor), has_kept = product != PRODUCT_HEAD && (m->kept & bit),
               has_converted = m->q->layer[w->layer] & bit;
    if (keep ? has_converted : has_kept)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "modules_to_not_convert names a part of a product: %s is %s and another tensor that "
                         "is multiplied with it is %s; name all of %s",
                         tensor, keep ? "kept" : "converted", keep ? "converted" : "kept",
                         product == PRODUCT_QKV ? "q_proj, k_proj and v_proj" : "gate_proj and up_proj");
    if (keep) {
        if (product != PRODUCT_HEAD) m->kept |= bit;
        return GLIA_OK;
    }
    if (quantizes_rows(m->q->scheme) && w->cols > GLIA_I8_K_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "int8 rows: %s has rows of %lld, limit is %d", tensor,
                         (long long)w->cols, (int)GLIA_I8_K_MAX);
    m->q->layer[w->layer] |= bit;
    return GLIA_OK;
}

bool glia_quantization_has_type(glia_quantization scheme, glia_quantization_type type) {
    const bool groups = type >= GLIA_QUANTIZATION_GROUP_SYMMETRIC;
    return type == GLIA_QUANTIZATION_TYPE_DEFAULT ||
           (is_four_bits(scheme)              ? groups
            : scheme == GLIA_QUANTIZATION_FP8 ? type == GLIA_QUANTIZATION_PER_CHANNEL_SYMMETRIC
                                              : !groups);
}

static glia_status check_without(const glia_quantize_choice *k, glia_err *err) {
    const char *set = k->type != GLIA_QUANTIZATION_TYPE_DEFAULT ? "quantization_type"
                      : k->keep                                 ? "modules_to_not_convert"
                      : k->group_size                           ? "quantization_group_size"
                      : k->head                                 ? "head_quantization"
                      : k->importance                           ? "importance"
                                                                : NULL;
    if (!set) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "%s is set and quantization is not; set it to int8, w8a8, int4, w4a8 or fp8", set);
}

static glia_status check_values(const glia_quantize_choice *k, glia_err *err) {
    if (k->scheme < GLIA_QUANTIZATION_NONE || k->scheme > GLIA_QUANTIZATION_W4A8)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "quantization is %d, expected a glia_quantization",
                         (int)k->scheme);
    if (k->type < GLIA_QUANTIZATION_TYPE_DEFAULT || k->type > GLIA_QUANTIZATION_ROTATED_GROUP_ASYMMETRIC)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "quantization_type is %d, expected a glia_quantization_type",
                         (int)k->type);
    if (k->scheme == GLIA_QUANTIZATION_NONE) return check_without(k, err);
    const bool int4 = is_four_bits(k->scheme), own_head = int4 || k->scheme == GLIA_QUANTIZATION_FP8;
    if (!glia_quantization_has_type(k->scheme, k->type))
        return glia_fail(
            err, GLIA_ERR_ARGUMENT,
            "quantization_type does not fit quantization; int8 and w8a8 have rotated_per_channel_symmetric, "
            "per_channel_symmetric and per_tensor_symmetric, int4 and w4a8 have group_symmetric, "
            "group_asymmetric, rotated_group_symmetric and rotated_group_asymmetric, fp8 has "
            "per_channel_symmetric");
    if (k->group_size && (!int4 || (k->group_size != 32 && k->group_size != 64 && k->group_size != 128)))
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "quantization_group_size is %d; it is for int4 and w4a8, and 32, 64 or 128",
                         k->group_size);
    if (k->importance && !int4) return glia_fail(err, GLIA_ERR_ARGUMENT, "importance is for int4 and w4a8");
    if (k->head < GLIA_HEAD_DEFAULT || k->head > GLIA_HEAD_FP8 || (k->head && !own_head))
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "head_quantization is for int4, w4a8 and fp8, whose head may be none, int8, int4 or "
                         "fp8; int8 and "
                         "w8a8 leave it out with modules_to_not_convert lm_head");
    return GLIA_OK;
}

/* The forms of int4, w4a8 and fp8, the same in all layers. */
static glia_status make_forms(glia_quantize *q, const glia_quantize_choice *k, const glia_model_config *c,
                              glia_err *err) {
    enum { GROUP = 32, HEAD_GROUP = 64 };
    const glia_matrix_form int4 = {.format = GLIA_WEIGHT_C4,
                                   .quantize_rows = k->scheme == GLIA_QUANTIZATION_W4A8,
                                   .group = k->group_size ? k->group_size : GROUP,
                                   .zeros = q->zeros},
                           fp8 = {.format = GLIA_WEIGHT_F8},
                           int8 = {.format = GLIA_WEIGHT_C8, .group = HEAD_GROUP};
    if (!is_four_bits(k->scheme) && k->scheme != GLIA_QUANTIZATION_FP8) return GLIA_OK;
    const size_t n = (size_t)c->layers * N_PRODUCTS;
    q->form = calloc(n, sizeof *q->form);
    if (!q->form) return glia_fail_nomem(err, n * sizeof *q->form, "forms of layers");
    for (size_t i = 0; i < n; i++) q->form[i] = is_four_bits(k->scheme) ? int4 : fp8;
    q->form[PRODUCT_HEAD] = k->head == GLIA_HEAD_INT4 ? int4 : k->head == GLIA_HEAD_FP8 ? fp8 : int8;
    q->form[PRODUCT_HEAD].quantize_rows = false; /* few rows meet it, as in glia_quantize_form() */
    return GLIA_OK;
}

/* Are weights and rows rotated first? */
static bool rotates(const glia_quantize_choice *k) {
    switch (k->type) {
    case GLIA_QUANTIZATION_TYPE_DEFAULT:
        return k->scheme == GLIA_QUANTIZATION_INT8 || k->scheme == GLIA_QUANTIZATION_W8A8 ||
               k->scheme == GLIA_QUANTIZATION_W4A8;
    case GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC:
    case GLIA_QUANTIZATION_ROTATED_GROUP_SYMMETRIC:
    case GLIA_QUANTIZATION_ROTATED_GROUP_ASYMMETRIC: return true;
    default: return false;
    }
}

glia_status glia_quantize_resolve(glia_quantize *q, const glia_quantize_choice *k, const glia_model_config *c,
                                  glia_err *err) {
    *q = (glia_quantize){.scheme = k->scheme,
                         .per_tensor = k->type == GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC,
                         .rotate = rotates(k),
                         .zeros = k->type == GLIA_QUANTIZATION_GROUP_ASYMMETRIC ||
                                  k->type == GLIA_QUANTIZATION_ROTATED_GROUP_ASYMMETRIC ||
                                  (is_four_bits(k->scheme) && k->type == GLIA_QUANTIZATION_TYPE_DEFAULT)};
    glia_status status = check_values(k, err);
    if (!status) status = check_names(k->keep, c, err);
    if (status || k->scheme == GLIA_QUANTIZATION_NONE) return status;
    q->layer = calloc((size_t)c->layers, sizeof *q->layer);
    if (!q->layer) return glia_fail_nomem(err, (size_t)c->layers, "the list of converted layers");
    marking m = {.q = q, .keep = k->keep, .layer = -1};
    status = each_weight(c, mark, &m, err);
    if (!status) status = make_forms(q, k, c, err);
    if (!status && k->importance) status = glia_importance_open(&q->importance, k->importance, c, err);
    if (k->head == GLIA_HEAD_NONE) q->layer[0] &= (unsigned char)~(1u << PRODUCT_HEAD);
    if (status) glia_quantize_free(q);
    return status;
}

void glia_quantize_free(glia_quantize *q) {
    free(q->layer);
    free(q->form);
    glia_importance_close(q->importance);
    q->importance = NULL;
    q->layer = NULL;
    q->form = NULL;
}
