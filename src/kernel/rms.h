/* rms.h - RMSNorm's factor as two float32, whose products are exact enough that
 * an element is rounded once, as in float64 (elementwise_ref.c), at a third of the
 * instructions: p = x high, what p lacks of x (high + low) by fused
 * multiply-adds, then both times w in one rounding. */
#ifndef GLIA_KERNEL_RMS_H
#define GLIA_KERNEL_RMS_H

#include <math.h>
#include <stddef.h>

#define GLIA_RMS_UP 0x1p32f /* on the factor, off the result: what p lacks stays above the denormals */

typedef struct {
    float high, low;
} glia_two_floats;

/* sum: of n squares. */
static inline glia_two_floats glia_rms_scale(double sum, size_t n, float eps) {
    const double scale = (double)GLIA_RMS_UP / sqrt(sum / (double)n + (double)eps);
    const float high = (float)scale;
    return (glia_two_floats){high, (float)(scale - (double)high)};
}

#endif
