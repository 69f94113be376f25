/* codes.c - see codes.h. */
#include "model/codes.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bf16.h"

enum { MIDDLE = 8, TOP = 15, GROUP = GLIA_GROUP_MAX };

/* x rounded to the nearest integer, ties to even, for |x| < 2^22. Vectors of floats have no rintf() on every
 * machine. */
static inline float nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

static inline float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

/* A way to quantise a group: code = nearest(x * inverse + zero) within [0, 15]. */
typedef struct {
    float inverse, zero;
    float scale, gain; /* the best scale for its codes, and how much squared error that takes away */
} way;

/* Find the scale of the codes. The squared error is sum(w x^2) - gain. */
static way measure(const float *x, const float *w, size_t n, float inverse, float zero) {
    float xq = 0, qq = 0;
    for (size_t i = 0; i < n; i++) {
        const float q = clamp(nearest(x[i] * inverse + zero), 0, TOP) - zero;
        xq += w[i] * x[i] * q;
        qq += w[i] * q * q;
    }
    return (way){inverse, zero, qq > 0 ? xq / qq : 0, qq > 0 ? xq * xq / qq : 0};
}

static void keep_better(way *best, way other) {
    if (other.gain > best->gain && isfinite(other.scale)) *best = other;
}

/* Codes of the best scale, measured again, may have a better scale still. */
static void refine(way *best, const float *x, const float *w, size_t n) {
    enum { ROUNDS = 3 };
    for (int i = 0; i < ROUNDS && best->scale != 0; i++)
        keep_better(best, measure(x, w, n, 1 / best->scale, best->zero));
}

/* Scales near the one that takes the number of the largest magnitude to -8. */
static way symmetric(const float *x, const float *w, size_t n, float low, float high) {
    enum { STEPS = 9 };
    const float most = high > -low ? high : low;
    way best = {0, MIDDLE, 0, 0};
    for (int i = -STEPS; i <= STEPS; i++) {
        keep_better(&best, measure(x, w, n, -(MIDDLE + 0.1f * (float)i) / most, MIDDLE));
        keep_better(&best, measure(x, w, n, (MIDDLE - 0.5f + 0.1f * (float)i) / most, MIDDLE));
    }
    refine(&best, x, w, n);
    return best;
}

/* Ranges within [low, high], and every zero point near theirs. */
static way asymmetric(const float *x, const float *w, size_t n, float low, float high) {
    enum { STEPS = 8 };
    const float range = (high > 0 ? high : 0) - (low < 0 ? low : 0), least = low < 0 ? low : 0;
    way best = symmetric(x, w, n, low, high);
    for (int i = 0; i <= STEPS; i++) {
        const float inverse = TOP / (range * (1 - 0.05f * (float)i));
        for (int j = -1; j <= 1; j++)
            keep_better(&best, measure(x, w, n, inverse,
                                       clamp(nearest(-least * (1 - 0.025f * (float)i) * inverse) + (float)j,
                                             0, TOP)));
    }
    refine(&best, x, w, n);
    return best;
}

static void make_c4(uint8_t *codes, float *scale, int8_t *zero, const float *x, const float *importance,
                    size_t n, bool zeros) {
    float same[GROUP], low = x[0], high = x[0];
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        if (!importance) same[i] = 1;
    }
    const float *w = importance ? importance : same;
    way best = {0, MIDDLE, 0, 0};
    if (high >= FLT_MIN || low <= -FLT_MIN)
        best = zeros ? asymmetric(x, w, n, low, high) : symmetric(x, w, n, low, high);
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)clamp(nearest(x[i] * best.inverse + best.zero), 0, TOP);
    *scale = best.scale;
    *zero = (int8_t)best.zero;
}

/* The float8 E4M3 nearest to x, |x| <= 448; ties to even. */
static uint8_t to_f8(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint8_t sign = (uint8_t)(bits >> 24 & 0x80);
    const float magnitude = fabsf(x);
    if (magnitude < 0x1p-6f)
        return sign | (uint8_t)nearest(magnitude * 0x1p9f); /* subnormal, or the least normal */
    bits &= 0x7fffffff;
    bits += 0x7ffff + (bits >> 20 & 1);
    const uint32_t code = (bits >> 20) - (120 << 3);
    return sign | (uint8_t)(code < 0x7e ? code : 0x7e);
}

static float largest(const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

void glia_make_codes(uint8_t *codes, float *scale, int8_t *zero, const float *x, const float *importance,
                     size_t n, glia_weight_format format, bool zeros) {
    enum { F8_MAX = 448 };
    if (format == GLIA_WEIGHT_C4) {
        make_c4(codes, scale, zero, x, importance, n, zeros);
        return;
    }
    const float limit = format == GLIA_WEIGHT_C8 ? GLIA_I8_MAX : F8_MAX, most = largest(x, n);
    const float inverse = most / limit >= FLT_MIN ? limit / most : 0;
    *scale = inverse > 0 ? most / limit : 0;
    *zero = 0;
    for (size_t i = 0; i < n; i++) {
        const float v = clamp(x[i] * inverse, -limit, limit);
        codes[i] = format == GLIA_WEIGHT_C8 ? (uint8_t)(int8_t)nearest(v) : to_f8(v);
    }
}
