/* product.h - types that describe a linear layer's product from the model down to
 * the kernels: formats of weights and rows, and epilogues. */
#ifndef GLIA_BASE_PRODUCT_H
#define GLIA_BASE_PRODUCT_H

#include <glia.h>

/* How a weight is stored. glia_weight_traits has a row for each format. */
typedef enum {
    GLIA_WEIGHT_F32,
    GLIA_WEIGHT_BF16,
    GLIA_WEIGHT_F16,
    GLIA_WEIGHT_I8,
    GLIA_WEIGHT_C4, /* the formats from here on are grouped */
    GLIA_WEIGHT_C8,
    GLIA_WEIGHT_F8,
    GLIA_WEIGHT_FORMATS
} glia_weight_format;

/* A weight of a grouped format is value(code) * scale. Its column has a float32 scale, and may have a zero
 * point, for each group of consecutive k. The values are
 *     C4   table[code], 0 <= code < 16, or code - zero point
 *     C8   code - zero point, -128 <= code < 128
 *     F8   float8 E4M3 */
typedef struct {
    const char *name;
    glia_dtype element; /* dtype of the stored numbers; AUTO: codes */
    int bits;           /* of a stored number */
    bool scaled;        /* a weight is its stored number times the float32 scale of its column */
} glia_weight_trait;
static const glia_weight_trait glia_weight_traits[GLIA_WEIGHT_FORMATS] = {
    [GLIA_WEIGHT_F32] = {"float32", GLIA_DTYPE_F32, 32, false},
    [GLIA_WEIGHT_BF16] = {"bfloat16", GLIA_DTYPE_BF16, 16, false},
    [GLIA_WEIGHT_F16] = {"float16", GLIA_DTYPE_F16, 16, false},
    [GLIA_WEIGHT_I8] = {"int8", GLIA_DTYPE_I8, 8, true},
    [GLIA_WEIGHT_C4] = {"4-bit", GLIA_DTYPE_AUTO, 4, false},
    [GLIA_WEIGHT_C8] = {"8-bit", GLIA_DTYPE_AUTO, 8, false},
    [GLIA_WEIGHT_F8] = {"float8", GLIA_DTYPE_AUTO, 8, false},
};
static inline bool glia_is_grouped(glia_weight_format f) { return f >= GLIA_WEIGHT_C4; }

/* How the rows that a product multiplies by a weight are stored. */
typedef enum { GLIA_ROWS_F32, GLIA_ROWS_BF16, GLIA_ROWS_I8, GLIA_ROW_FORMATS } glia_row_format;

/* How float rows become integers of 8 bits. All zero: each row has the scale largest magnitude / 127. */
typedef struct {
    bool asymmetric; /* each row has a scale and a zero point: its range, which contains 0, in 255 steps */
    float scale;     /* of every row, or 0: each has its own. Not with `asymmetric` */
    int zero;        /* zero point of every row, with `scale` */
} glia_row_scale;
static inline bool glia_is_absmax(const glia_row_scale *s) { return !s->asymmetric && s->scale == 0; }

/* What a product does with an element t = x W^T + bias + addend. */
typedef enum {
    GLIA_STORE,  /* y = t */
    GLIA_ADD,    /* y += t */
    GLIA_SWIGLU, /* columns alternate gate and up, GLIA_SWIGLU_GROUP of each: y = silu(gate) * up, half as
                    many */
} glia_epilogue;

enum {
    GLIA_SWIGLU_GROUP = 16,                                  /* columns of gate before those of up */
    GLIA_ROTATE_MAX = 64,                                    /* elements of a block that is rotated */
    GLIA_C4_MIDDLE = 8,                                      /* the zero point of symmetric C4 */
    GLIA_GROUP_UNIT = 32,                                    /* k: longer groups are multiples of it, */
    GLIA_GROUP_MAX = 512,                                    /* up to so many; and groups may be of 16 k */
    GLIA_I8_MAX = 127,                                       /* no weight and no row holds -128 */
    GLIA_I8_K_MAX = INT32_MAX / (GLIA_I8_MAX * GLIA_I8_MAX), /* products of int8 that an int32 can add up */
};

/* The format of a matrix of `dtype` (F32, BF16 or F16) that is not quantised. */
static inline glia_weight_format glia_weight_format_of(glia_dtype dtype) {
    return dtype == GLIA_DTYPE_BF16  ? GLIA_WEIGHT_BF16
           : dtype == GLIA_DTYPE_F16 ? GLIA_WEIGHT_F16
                                     : GLIA_WEIGHT_F32;
}

/* The block in which rows of k elements are rotated: the largest power of two up to GLIA_ROTATE_MAX that
 * divides k. */
static inline size_t glia_rotate_block(size_t k) {
    size_t block = GLIA_ROTATE_MAX;
    while (k % block) block /= 2;
    return block;
}

/* n columns of gate, or of up, rounded up to whole groups. */
static inline size_t glia_swiglu_columns(size_t n) {
    return (n + GLIA_SWIGLU_GROUP - 1) / GLIA_SWIGLU_GROUP * GLIA_SWIGLU_GROUP;
}

#endif
