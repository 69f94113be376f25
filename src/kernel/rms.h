/* rms.h - RMSNorm's factor as a sum of two float32, high + low. A twin computes
 * p = x high, then the difference x (high + low) - p by fused multiply-adds, then
 * both times w with one rounding. So an element is rounded once, as in float64
 * (elementwise_ref.c), with a third of the instructions. */
#ifndef GLIA_KERNEL_RMS_H
#define GLIA_KERNEL_RMS_H

#include <math.h>
#include <stddef.h>

/* The factor is scaled up by this, and the result down: the difference is then no denormal. */
#define GLIA_RMS_UP 0x1p32f

typedef struct {
    float high, low;
} glia_two_floats;

/* The factor 1 / sqrt(sum / n + eps) times GLIA_RMS_UP; `sum` is the sum of n squares. */
static inline glia_two_floats glia_rms_scale(double sum, size_t n, float eps) {
    const double scale = (double)GLIA_RMS_UP / sqrt(sum / (double)n + (double)eps);
    const float high = (float)scale;
    return (glia_two_floats){high, (float)(scale - (double)high)};
}

#endif
