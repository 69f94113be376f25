/* bf16.h - bfloat16, IEEE half and float8 as bit patterns, to and from float32.
 *
 * bfloat16 is the upper half of a float32, so widening is exact. Narrowing rounds to
 * nearest even, as PyTorch does, and a NaN stays a NaN. All functions are pure. */
#ifndef GLIA_BASE_BF16_H
#define GLIA_BASE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float glia_bf16_to_f32(uint16_t h) {
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t glia_f32_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* quiet NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float glia_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu;
    const uint32_t fraction = h & 0x3ffu;
    uint32_t bits;
    if (exponent == 0x1fu) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112u) << 23 | fraction << 13;
    } else { /* zero or subnormal: fraction * 2^-24 is exact in float32 */
        const float value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest even; what is too large becomes infinite, as in PyTorch. */
static inline uint16_t glia_f32_to_f16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and above */
    if (magnitude >= 0x38800000u)                                    /* 2^-14 and above: a normal number */
        return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
    float unsigned_value;
    memcpy(&unsigned_value, &magnitude, sizeof unsigned_value);
    const float rounded = unsigned_value + 0.5f; /* steps of 2^-24 in [0.5, 1), as of subnormal numbers */
    memcpy(&bits, &rounded, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000u));
}

/* float8 E4M3 ("fn": no infinity; 0x7f and 0xff are NaN). Exact. */
static inline float glia_f8_to_f32(uint8_t b) {
    const uint32_t sign = (uint32_t)(b & 0x80u) << 24, exponent = b >> 3 & 15u, fraction = b & 7u;
    uint32_t bits = (exponent + 120u) << 23 | fraction << 20;
    float f = (float)fraction * 0x1p-9f; /* a subnormal number */
    if (exponent == 0) memcpy(&bits, &f, sizeof bits);
    if (exponent == 15 && fraction == 7) bits = 0x7fc00000u;
    bits |= sign;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#endif
