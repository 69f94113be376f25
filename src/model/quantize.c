/* quantize.c - see quantize.h. */
#include "model/quantize.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/product.h"
#include "model/fused.h"

glia_product glia_product_of(glia_weight_id id) {
    for (const glia_fused *f = glia_fused_table; f < glia_fused_table + glia_fused_rows; f++)
        for (int i = 0; i < f->n_weights; i++)
            if (f->weight[i] == id) return f->product;
    return PRODUCT_NONE;
}

const char *glia_quantize_type_name(const glia_quantize *q) {
    return q->per_tensor ? "per_tensor_symmetric"
           : q->rotate   ? "rotated_per_channel_symmetric"
                         : "per_channel_symmetric";
}

bool glia_quantizes(const glia_quantize *q, int layer, glia_product product) {
    return q && q->layer && (q->layer[layer] >> product & 1);
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
    if (m->q->scheme == GLIA_QUANTIZATION_W8A8 && w->cols > GLIA_I8_K_MAX)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED, "w8a8: %s has rows of %lld, limit is %d", tensor,
                         (long long)w->cols, (int)GLIA_I8_K_MAX);
    m->q->layer[w->layer] |= bit;
    return GLIA_OK;
}

static glia_status check_values(glia_quantization scheme, glia_quantization_type type, const char *keep,
                                glia_err *err) {
    if (scheme < GLIA_QUANTIZATION_NONE || scheme > GLIA_QUANTIZATION_W8A8)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "quantization is %d, expected a glia_quantization",
                         (int)scheme);
    if (type < GLIA_QUANTIZATION_TYPE_DEFAULT || type > GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "quantization_type is %d, expected a glia_quantization_type",
                         (int)type);
    if (scheme != GLIA_QUANTIZATION_NONE) return GLIA_OK;
    if (type != GLIA_QUANTIZATION_TYPE_DEFAULT)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "quantization_type is set and quantization is not; set it to int8 or w8a8");
    if (keep)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "modules_to_not_convert is set and quantization is not; set it to int8 or w8a8");
    return GLIA_OK;
}

glia_status glia_quantize_resolve(glia_quantize *q, glia_quantization scheme, glia_quantization_type type,
                                  const char *keep, const glia_model_config *c, glia_err *err) {
    const bool rotate =
        type == GLIA_QUANTIZATION_TYPE_DEFAULT || type == GLIA_QUANTIZATION_ROTATED_PER_CHANNEL_SYMMETRIC;
    *q = (glia_quantize){.scheme = scheme,
                         .per_tensor = type == GLIA_QUANTIZATION_PER_TENSOR_SYMMETRIC,
                         .rotate = scheme != GLIA_QUANTIZATION_NONE && rotate};
    glia_status status = check_values(scheme, type, keep, err);
    if (!status) status = check_names(keep, c, err);
    if (status || scheme == GLIA_QUANTIZATION_NONE) return status;
    q->layer = calloc((size_t)c->layers, sizeof *q->layer);
    if (!q->layer) return glia_fail_nomem(err, (size_t)c->layers, "the list of converted layers");
    marking m = {.q = q, .keep = keep, .layer = -1};
    status = each_weight(c, mark, &m, err);
    if (status) glia_quantize_free(q);
    return status;
}

void glia_quantize_free(glia_quantize *q) {
    free(q->layer);
    q->layer = NULL;
}
