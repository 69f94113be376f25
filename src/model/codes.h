/* codes.h - numbers that share a scale as codes of a grouped format. Pure functions. */
#ifndef GLIA_MODEL_CODES_H
#define GLIA_MODEL_CODES_H

#include "base/product.h"

/* Quantise x [n], all finite, to codes [n] of `format`: value(code) * *scale is near x. `importance` [n]
 * weighs the squared errors, or is NULL: all weigh the same. It is for C4 alone. C4   the scale, and with
 * `zeros` the zero point, of the least squared error of those that are tried; without zeros the value of a
 * code is code - 8 C8   largest magnitude / 127 F8   largest magnitude / 448 */
void glia_make_codes(uint8_t *codes, float *scale, int8_t *zero, const float *x, const float *importance,
                     size_t n, glia_weight_format format, bool zeros);

#endif
