/* quantize.h - which linear layers of a model become int8.
 *
 * A product is one matrix multiplication of the forward pass: q, k and v are one,
 * gate and up are one. Its tensors are converted together or not at all. */
#ifndef GLIA_MODEL_QUANTIZE_H
#define GLIA_MODEL_QUANTIZE_H

#include <glia.h>
#include "model/spec.h"

typedef enum {
    PRODUCT_NONE, /* the weight is not multiplied, or never converted */
    PRODUCT_HEAD,
    PRODUCT_QKV,
    PRODUCT_O,
    PRODUCT_GATE_UP,
    PRODUCT_DOWN,
} glia_product;

/* All zero: nothing is converted. */
typedef struct {
    glia_quantization scheme;
    bool per_tensor; /* one scale for each tensor of the checkpoint, else one for each of its rows */
    bool rotate;     /* rows of weights and the rows that they multiply are rotated in blocks */
    unsigned char
        *layer; /* [layers] bit 1 << glia_product is set if it is converted; layer 0 has the head's */
} glia_quantize;

/* Decide what becomes int8. `keep` is glia_options.modules_to_not_convert. On success the caller calls
 * glia_quantize_free() in the end.
 * Errors: GLIA_ERR_ARGUMENT     an unknown value; a name that no module has; a name of some but not all
 *                               tensors of a product; a type or names without a scheme
 *         GLIA_ERR_UNSUPPORTED  w8a8 rows too long for sums in int32
 *         GLIA_ERR_NOMEM */
glia_status glia_quantize_resolve(glia_quantize *q, glia_quantization scheme, glia_quantization_type type,
                                  const char *keep, const glia_model_config *c, glia_err *err);
void glia_quantize_free(glia_quantize *q);

/* The quantization_type of q in files and flags: "per_channel_symmetric", ... */
const char *glia_quantize_type_name(const glia_quantize *q);
/* Does this product of this layer become int8? `q` may be NULL: no. */
bool glia_quantizes(const glia_quantize *q, int layer, glia_product product);
/* The product that uses a weight. */
glia_product glia_product_of(glia_weight_id id);

#endif
