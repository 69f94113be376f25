/* exp_ref.h - exp(x) in float32 without libm: the bits do not depend on a C library.
 *
 * x = n ln 2 + r with |r| <= ln(2) / 2. exp(r) is its Taylor series to r^7, whose
 * remainder is below 0.1 ulp. Two factors make 2^n, so that a subnormal result is
 * rounded once. ln 2 is a sum of two constants; n times the first is exact.
 * The error is at most 2 ulp. exp(0) is 1, exp(NaN) is NaN; x <= -104 gives 0 and
 * x >= 89 infinity. */
#ifndef GLIA_KERNEL_EXP_REF_H
#define GLIA_KERNEL_EXP_REF_H

#include <stdint.h>
#include <string.h>

#define GLIA_EXP_MIN (-104.0f)
#define GLIA_EXP_MAX 89.0f
#define GLIA_LOG2_E 1.44269504f
#define GLIA_LN2_HIGH 0.693359375f /* 355 / 512 */
#define GLIA_LN2_LOW (-2.12194440e-4f)
#define GLIA_ROUND 12582912.0f /* c = 1.5 * 2^23: (x + c) - c is x rounded to an integer */

static inline float glia_exp2_int(int n) {
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float glia_exp_ref(float x) {
    if (x < GLIA_EXP_MIN) x = GLIA_EXP_MIN;
    if (x > GLIA_EXP_MAX) x = GLIA_EXP_MAX;
    if (x != x) return x;
    const float n = (x * GLIA_LOG2_E + GLIA_ROUND) - GLIA_ROUND;
    const float r = (x - n * GLIA_LN2_HIGH) - n * GLIA_LN2_LOW;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 1.0f / 2;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int half = (int)n / 2;
    return p * glia_exp2_int(half) * glia_exp2_int((int)n - half);
}

#endif
