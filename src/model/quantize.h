/* quantize.h - which linear layers of a model are quantised, and to what.
 *
 * A product is one matrix multiplication of the forward pass: q, k and v are one,
 * gate and up are one. Its tensors are converted together or not at all. */
#ifndef GLIA_MODEL_QUANTIZE_H
#define GLIA_MODEL_QUANTIZE_H

#include <glia.h>

#include "base/product.h"
#include "model/spec.h"

typedef enum {
    PRODUCT_NONE, /* the weight is not multiplied, or never converted */
    PRODUCT_HEAD,
    PRODUCT_QKV,
    PRODUCT_O,
    PRODUCT_GATE_UP,
    PRODUCT_DOWN,
    N_PRODUCTS,
} glia_product;

/* The form in which a product's matrix is kept. */
typedef struct {
    glia_weight_format format; /* I8 or a grouped format */
    bool quantize_rows;        /* the rows that it multiplies become int8, */
    glia_row_scale rows;       /* in this way */
    int64_t group;             /* columns that share a scale; 0: all of a row */
    bool zeros;                /* groups have zero points */
    /* The checkpoint says the group of each column. The columns of a group are gathered, and filled up with
     * zeros to a multiple of GLIA_GROUP_UNIT: that makes ordered_k elements, groups of ordered_group. 0: the
     * columns of a group are neighbours. */
    int64_t ordered_k, ordered_group;
} glia_matrix_form;

/* All zero: nothing is converted. */
typedef struct {
    glia_quantization scheme;
    bool per_tensor; /* one scale for each tensor of the checkpoint, else one for each of its rows */
    bool zeros;      /* groups of int4 have zero points */
    bool rotate;     /* rows of weights and the rows that they multiply are rotated in blocks */
    unsigned char
        *layer;         /* [layers] bit 1 << glia_product is set if it is quantised; layer 0 has the head's */
    const char *method; /* quant_method of the checkpoint, or NULL: it is not quantised */
    glia_matrix_form *form;             /* [layers, N_PRODUCTS] with a method, int4, w4a8 or fp8; else NULL */
    struct glia_importance *importance; /* weighs the squared errors of int4 and w4a8; NULL: all alike */
} glia_quantize;

/* What a user chooses, as in glia_options. */
typedef struct {
    glia_quantization scheme;
    glia_quantization_type type;
    const char *keep; /* modules_to_not_convert */
    int group_size;
    glia_head_quantization head;
    const char *importance; /* a file of glia_importance_write(), or NULL */
} glia_quantize_choice;

/* Decide what is quantised. On success the caller calls glia_quantize_free() in the end.
 * Errors: GLIA_ERR_ARGUMENT     an unknown value; a name that no module has; a name of some but not all
 *                               tensors of a product; a type or names without a scheme
 *         GLIA_ERR_UNSUPPORTED  int8 rows too long for sums in int32
 *         as of glia_importance_open()
 *         GLIA_ERR_NOMEM */
glia_status glia_quantize_resolve(glia_quantize *q, const glia_quantize_choice *choice,
                                  const glia_model_config *c, glia_err *err);
/* The forms of a quantised checkpoint's products as text, which the caller frees; NULL: there are none. */
char *glia_quantize_forms(const glia_quantize *q, const glia_model_config *c);
/* Find out in which form the checkpoint in `dir` stores each product, if config->quantization says that it is
 * quantised, or if int4, w4a8 or fp8 were chosen for an artifact, whose forms are what it was compiled with;
 * a `choice` that differs from them is GLIA_ERR_ARGUMENT. `choice` may be NULL for a quantised checkpoint. A
 * product whose tensors have different forms is warned about, and kept as numbers. On success the caller
 * calls glia_quantize_free() in the end. Errors: as of glia_checkpoint_open() and glia_coded_find();
 * GLIA_ERR_NOMEM. */
glia_status glia_quantize_stored(glia_quantize *q, const glia_quantize_choice *choice, const char *dir,
                                 const glia_model_config *c, glia_warning_fn *warning, void *user,
                                 glia_err *err);
void glia_quantize_free(glia_quantize *q);

/* Columns that share a scale in the 4-bit layers, the head left out; 0: there are none, or whole rows do. */
int glia_quantize_group(const glia_quantize *q, const glia_model_config *c);
/* The format of the head, never GLIA_HEAD_DEFAULT, and its name. */
glia_head_quantization glia_quantize_head(const glia_quantize *q);
const char *glia_head_quantization_name(glia_head_quantization head);
/* Does a scheme have the type? */
bool glia_quantization_has_type(glia_quantization scheme, glia_quantization_type type);

/* The quantization_type of q in files and flags: "per_channel_symmetric", ... */
const char *glia_quantize_type_name(const glia_quantize *q);
/* Is this product of this layer quantised? `q` may be NULL: no. */
bool glia_quantizes(const glia_quantize *q, int layer, glia_product product);
/* Does any product have rows that become int8? */
bool glia_quantizes_rows(const glia_quantize *q, const glia_model_config *c);
/* The form of a product that glia_quantizes(). */
glia_matrix_form glia_quantize_form(const glia_quantize *q, int layer, glia_product product);
/* The product that uses a weight. */
glia_product glia_product_of(glia_weight_id id);

#endif
