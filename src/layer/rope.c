/* rope.c - see rope.h. Each float below is a tensor of the reference; each
 * assignment to one is a rounding that the reference makes as well. */
#include "layer/rope.h"

#include <math.h>

/* base ** (2 i / dim) */
static float power(float base, int i, int dim) {
    const float exponent = (float)(2 * i) / (float)dim;
    return (float)pow((double)base, (double)exponent);
}

/* The dimension that turns `rotations` times within the original context. */
static double yarn_dim(const glia_model_config *c, double rotations) {
    const glia_rope_config *r = &c->rope_config;
    const double pi = acos(-1.0);
    return r->rotary_dim * log(r->original_max_position_embeddings / (rotations * 2 * pi)) /
           (2 * log(r->theta));
}

static void yarn(float *inv_freq, const glia_model_config *c) {
    const glia_rope_config *r = &c->rope_config;
    double low = yarn_dim(c, r->beta_fast), high = yarn_dim(c, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, r->rotary_dim - 1);
    if (low == high) high += 0.001;
    const float start = (float)low, length = (float)(high - low), factor = (float)r->factor;
    for (int i = 0; i < r->pairs; i++) {
        const float p = power((float)r->theta, i, r->rotary_dim);
        const float scaled = factor * p;
        const float extrapolation = 1.0f / p, interpolation = 1.0f / scaled;
        const float offset = (float)i - start;
        const float ramp = fminf(fmaxf(offset / length, 0), 1);
        const float keep = 1.0f - ramp, change = 1.0f - keep;
        const float a = interpolation * change, b = extrapolation * keep;
        inv_freq[i] = a + b;
    }
}

static void longrope(float *inv_freq, const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    const double *factor =
        sequence_length > r->original_max_position_embeddings ? r->long_factor : r->short_factor;
    for (int i = 0; i < r->pairs; i++) {
        const float scaled = (float)factor[i] * power((float)r->theta, i, r->rotary_dim);
        inv_freq[i] = 1.0f / scaled;
    }
}

/* The base that `dynamic` (NTK) uses beyond max_position_embeddings. */
static float dynamic_base(const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    if (sequence_length <= c->max_position_embeddings) return (float)r->theta;
    const double d = r->rotary_dim;
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

static void simple(float *inv_freq, const glia_model_config *c, int sequence_length) {
    const glia_rope_config *r = &c->rope_config;
    const float base = r->type == GLIA_ROPE_DYNAMIC ? dynamic_base(c, sequence_length) : (float)r->theta;
    for (int i = 0; i < r->pairs; i++) {
        inv_freq[i] = 1.0f / power(base, i, r->rotary_dim);
        if (r->type == GLIA_ROPE_LINEAR || r->type == GLIA_ROPE_PROPORTIONAL) inv_freq[i] /= (float)r->factor;
        if (r->type == GLIA_ROPE_LLAMA3) inv_freq[i] = llama3(inv_freq[i], r);
    }
    for (int64_t i = r->pairs; i < c->head_dim / 2; i++) inv_freq[i] = 0;
}

double glia_rope_frequencies(float *inv_freq, const glia_model_config *c, int sequence_length) {
    const glia_rope_type type = c->rope_config.type;
    if (type == GLIA_ROPE_YARN)
        yarn(inv_freq, c);
    else if (type == GLIA_ROPE_LONGROPE)
        longrope(inv_freq, c, sequence_length);
    else
        simple(inv_freq, c, sequence_length);
    return c->rope_config.attention_factor;
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
