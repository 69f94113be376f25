/* rope.c - see rope.h. Each float below is a tensor of the reference; each
 * assignment to one is a rounding that the reference makes as well. */
#include "layer/rope.h"

#include <math.h>

/* base ** (2 i / head_dim) */
static float power(float base, int64_t i, int64_t head_dim) {
    const float exponent = (float)(2 * i) / (float)head_dim;
    return (float)pow((double)base, (double)exponent);
}

static double yarn_mscale(double scale, double mscale) {
    return scale <= 1 ? 1.0 : 0.1 * mscale * log(scale) + 1.0;
}

static double yarn_scaling(const glia_rope_config *r) {
    if (r->attention_factor > 0) return r->attention_factor;
    if (r->mscale != 0 && r->mscale_all_dim != 0)
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    return yarn_mscale(r->factor, 1);
}

/* The dimension that turns `rotations` times within the original context. */
static double yarn_dim(const glia_model_config *c, double rotations) {
    const glia_rope_config *r = &c->rope_config;
    const double pi = acos(-1.0);
    return (double)c->head_dim * log(r->original_max_position_embeddings / (rotations * 2 * pi)) /
           (2 * log(r->theta));
}

static double yarn(float *inv_freq, const glia_model_config *c) {
    const glia_rope_config *r = &c->rope_config;
    double low = yarn_dim(c, r->beta_fast), high = yarn_dim(c, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)c->head_dim - 1);
    if (low == high) high += 0.001;
    const float start = (float)low, length = (float)(high - low), factor = (float)r->factor;
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        const float p = power((float)r->theta, i, c->head_dim);
        const float scaled = factor * p;
        const float extrapolation = 1.0f / p, interpolation = 1.0f / scaled;
        const float offset = (float)i - start;
        const float ramp = fminf(fmaxf(offset / length, 0), 1);
        const float keep = 1.0f - ramp, change = 1.0f - keep;
        const float a = interpolation * change, b = extrapolation * keep;
        inv_freq[i] = a + b;
    }
    return yarn_scaling(r);
}

static double longrope(float *inv_freq, const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    const double *factor =
        sequence_length > r->original_max_position_embeddings ? r->long_factor : r->short_factor;
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        const float scaled = (float)factor[i] * power((float)r->theta, i, c->head_dim);
        inv_freq[i] = 1.0f / scaled;
    }
    if (r->attention_factor > 0) return r->attention_factor;
    if (r->factor <= 1) return 1;
    return sqrt(1 + log(r->factor) / log(r->original_max_position_embeddings));
}

/* The base that `dynamic` (NTK) uses beyond max_position_embeddings. */
static float dynamic_base(const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    if (sequence_length <= c->max_position_embeddings) return (float)r->theta;
    const double d = (double)c->head_dim;
    const float scaled = (float)r->factor * (float)sequence_length;
    const float ratio = scaled / (float)c->max_position_embeddings;
    const float stretch = ratio - (float)(r->factor - 1);
    const float grown = (float)pow((double)stretch, d / (d - 2));
    return (float)r->theta * grown;
}

static float llama3(float f, const glia_rope_config *r) {
    const double old = r->original_max_position_embeddings;
    const float factor = (float)r->factor;
    const float length = 1.0f / f, wavelength = length * (float)(2 * acos(-1.0)); /* torch: scalar / tensor */
    if (wavelength > (float)(old / r->low_freq_factor)) return f / factor;
    if (wavelength < (float)(old / r->high_freq_factor)) return f;
    const float inverse = 1.0f / wavelength, turns = inverse * (float)old;
    const float above = turns - (float)r->low_freq_factor;
    const float smooth = above / (float)(r->high_freq_factor - r->low_freq_factor);
    const float rough = 1.0f - smooth;
    const float slow = rough * f / factor, fast = smooth * f;
    return slow + fast;
}

double glia_rope_frequencies(float *inv_freq, const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    if (r->type == GLIA_ROPE_YARN) return yarn(inv_freq, c);
    if (r->type == GLIA_ROPE_LONGROPE) return longrope(inv_freq, c, sequence_length);
    const float base = r->type == GLIA_ROPE_DYNAMIC ? dynamic_base(c, sequence_length) : (float)r->theta;
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        inv_freq[i] = 1.0f / power(base, i, c->head_dim);
        if (r->type == GLIA_ROPE_LINEAR) inv_freq[i] /= (float)r->factor;
        if (r->type == GLIA_ROPE_LLAMA3) inv_freq[i] = llama3(inv_freq[i], r);
    }
    return 1;
}

void glia_rope_table(float *cos_table, float *sin_table, const float *inv_freq, double scaling, size_t pairs,
                     size_t from, size_t to) {
    for (size_t p = from; p < to; p++)
        for (size_t i = 0; i < pairs; i++) {
            const float angle = (float)p * inv_freq[i];
            const float c = (float)cos((double)angle), s = (float)sin((double)angle);
            cos_table[(p - from) * pairs + i] = c * (float)scaling;
            sin_table[(p - from) * pairs + i] = s * (float)scaling;
        }
}
