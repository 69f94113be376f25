/* coded.h - a quantised weight of a checkpoint: its tensors, and its codes, scales and zero
 * points row by row, whatever the layout. A weight's value is value(code) * scale, as
 * base/product.h has it for grouped formats. Source: data/quantized/refdequant.py of the
 * project's references, which the published tools equal bit for bit. */
#ifndef GLIA_MODEL_CODED_H
#define GLIA_MODEL_CODED_H

#include "base/product.h"
#include "format/checkpoint.h"
#include "format/quantization.h"

enum { GLIA_CODES = 16 };

typedef struct {
    const glia_stored_scheme *scheme; /* NULL: a plain tensor, and nothing else is set */
    glia_weight_format format;        /* C4, C8 or F8 */
    int64_t rows, cols;
    int64_t group,
        groups;        /* columns of a group, and groups of a row; with g_idx a column's group is g_idx[] */
    int64_t row_block; /* rows that share scales */
    bool zeros;        /* zero points that the values of codes do not contain */
    float table[GLIA_CODES];                              /* the values of C4 without zero points */
    const glia_tensor_view *codes, *scale, *zero, *g_idx; /* zero and g_idx: NULL if of no effect */
    glia_row_scale rows_scale;                            /* of the rows that become int8 */
    float divisor;                                        /* of scales: nvfp4's global scale */
    /* bitsandbytes: columns of a block in flat order; scales are codes themselves if nested is not NULL. */
    int64_t block, nested_block;
    const glia_tensor_view *nested, *nested_map;
    float nested_offset;
} glia_coded;

/* Find the tensors of weight `name` ("model.layers.0.mlp.up_proj.weight") [rows, cols], and check them. If
 * the weight is stored as a plain tensor, out->scheme is NULL. `where` is the directory, for messages.
 * Errors: GLIA_ERR_SHAPE  a tensor that is missing, or of another shape or dtype
 *         GLIA_ERR_FORMAT a value outside its range */
glia_status glia_coded_find(glia_coded *out, const glia_checkpoint *c, const glia_quantization_config *q,
                            const char *name, int64_t rows, int64_t cols, const char *where, glia_err *err);

/* The codes of a row, [cols] bytes. C8 are int8. */
void glia_coded_codes(const glia_coded *c, size_t row, uint8_t *codes);
/* Have n codes a value? Those of float8 may be NaN, and 4-bit ones that are stored as bytes may have more
 * bits. */
bool glia_coded_are_codes(const glia_coded *c, const uint8_t *codes, size_t n);
/* The scale of a row and group, and its zero point: that of symmetric integers if c->zeros is false. */
float glia_coded_scale(const glia_coded *c, size_t row, size_t group, int8_t *zero);
/* The group of a column. */
size_t glia_coded_group(const glia_coded *c, size_t col);
/* The row as float32 [cols]: value(code), less the zero point, times the scale, one multiplication. */
void glia_coded_row(const glia_coded *c, size_t row, float *y);
/* Do a and b, two weights of one product, fit into one matrix of codes? */
bool glia_coded_alike(const glia_coded *a, const glia_coded *b);

/* Does a tensor of this name belong to a quantised checkpoint, beside those of its weights? */
bool glia_coded_is_known(const char *tensor);
/* Does the name end in that of a tensor of a quantised weight? Sets *n to the length of the module's name. */
bool glia_coded_module(const char *tensor, size_t *n);

#endif
