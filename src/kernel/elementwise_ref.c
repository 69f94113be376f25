/* elementwise_ref.c - the definitions of the operations on single rows in plain C:
 * norm, rotation, activation, sum, division. The norm is computed in float64 and
 * rounded once. */
#include "kernel/kernels.h"

#include <math.h>

#include "kernel/exp_ref.h"

glia_rmsnorm_fn glia_rmsnorm_ref;
glia_rope_fn glia_rope_ref;
glia_swiglu_fn glia_swiglu_ref;
glia_add_fn glia_add_ref;
glia_divide_fn glia_divide_ref;

void glia_rmsnorm_ref(float *y, const float *x, const float *w, size_t n, float eps) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    const double scale = 1 / sqrt(sum / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)((double)x[i] * scale * (double)w[i]);
}

void glia_rope_ref(float *x, const float *cos, const float *sin, size_t n) {
    const size_t half = n / 2;
    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

void glia_swiglu_ref(float *y, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = g[i] / (1.0f + glia_exp_ref(-g[i])) * u[i];
}

void glia_add_ref(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void glia_divide_ref(float *y, const float *x, float divisor, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] / divisor + 0.0f;
}
