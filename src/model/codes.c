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

/* Four floats, which every machine adds and multiplies at once; LANES divides the length of a padded group.
 */
enum { LANES = 4 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(LANES * sizeof(float))));

static inline lanes all(float x) { return (lanes){x, x, x, x}; }

static inline lanes either(mask first, lanes a, lanes b) {
    return (lanes)(((mask)a & first) | ((mask)b & ~first));
}

static inline float sum_of(lanes x) { return (x[0] + x[2]) + (x[1] + x[3]); }

/* A way to quantise a group: code = nearest(x * inverse + zero) within [0, 15]. */
typedef struct {
    float inverse, zero;
    float scale, gain; /* the best scale for its codes, and how much squared error that takes away */
} way;

/* Numbers of a group and their weights, padded with numbers of weight 0. */
typedef struct {
    lanes x[GROUP / LANES], w[GROUP / LANES];
    size_t n; /* of lanes */
    float low, high;
} group;

/* Find the scale of the codes. The squared error is sum(w x^2) - gain. */
static way measure(const group *g, float inverse, float zero) {
    const lanes round = all(0x1.8p23f), top = all(TOP), none = all(0);
    lanes sum_xq = none, sum_qq = none;
    for (size_t i = 0; i < g->n; i++) {
        lanes q = ((g->x[i] * all(inverse) + all(zero)) + round) - round;
        q = either(q > none, q, none);
        q = either(q < top, q, top) - all(zero);
        const lanes wq = g->w[i] * q;
        sum_xq += wq * g->x[i];
        sum_qq += wq * q;
    }
    const float xq = sum_of(sum_xq), qq = sum_of(sum_qq);
    return (way){inverse, zero, qq > 0 ? xq / qq : 0, qq > 0 ? xq * xq / qq : 0};
}

static void keep_better(way *best, way other) {
    if (other.gain > best->gain && isfinite(other.scale)) *best = other;
}

/* Codes of the best scale, measured again, may have a better scale still. */
static void refine(way *best, const group *g) {
    enum { ROUNDS = 3 };
    for (int i = 0; i < ROUNDS && best->scale != 0; i++)
        keep_better(best, measure(g, 1 / best->scale, best->zero));
}

/* Scales near the one that takes the number of the largest magnitude to -8, and some that take it to 7. */
static way symmetric(const group *g) {
    enum { STEPS = 6 };
    const float most = g->high > -g->low ? g->high : g->low;
    way best = {0, MIDDLE, 0, 0};
    for (int i = -STEPS; i <= STEPS; i++)
        keep_better(&best, measure(g, -(MIDDLE + 0.15f * (float)i) / most, MIDDLE));
    for (int i = -1; i <= 1; i++)
        keep_better(&best, measure(g, (MIDDLE - 0.5f + 0.3f * (float)i) / most, MIDDLE));
    refine(&best, g);
    return best;
}

/* Ranges within [low, high], which contain 0, and the zero points next to theirs. */
static way asymmetric(const group *g) {
    enum { STEPS = 5 };
    const float low = g->low < 0 ? g->low : 0, range = (g->high > 0 ? g->high : 0) - low;
    way best = symmetric(g);
    for (int i = 0; i <= STEPS; i++) {
        const float kept = 1 - 0.06f * (float)i, inverse = TOP / (range * kept);
        for (int j = -1; j <= 1; j++)
            keep_better(&best, measure(g, inverse,
                                       clamp(nearest(-low * (1 + kept) / 2 * inverse) + (float)j, 0, TOP)));
    }
    refine(&best, g);
    return best;
}

static void make_c4(uint8_t *codes, float *scale, int8_t *zero, const float *x, const float *importance,
                    size_t n, bool zeros) {
    group g; /* only what is used is filled */
    g.n = (n + LANES - 1) / LANES;
    g.low = g.high = x[0];
    for (size_t i = 0; i < g.n * LANES; i++) {
        g.x[i / LANES][i % LANES] = i < n ? x[i] : 0;
        g.w[i / LANES][i % LANES] = i >= n ? 0 : importance ? importance[i] : 1;
    }
    for (size_t i = 0; i < n; i++) {
        g.low = x[i] < g.low ? x[i] : g.low;
        g.high = x[i] > g.high ? x[i] : g.high;
    }
    way best = {0, MIDDLE, 0, 0};
    if (g.high >= FLT_MIN || g.low <= -FLT_MIN) best = zeros ? asymmetric(&g) : symmetric(&g);
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
