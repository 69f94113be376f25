/* linear_i8_ref.c - int8 panels under float32 and under int8 rows, in plain C:
 * what kernels.h means. */
#include "kernel/panel.h"

glia_linear_i8_fn glia_linear_i8_ref;
glia_linear_w8a8_fn glia_linear_w8a8_ref;
glia_linear_fn glia_linear_integers_ref; /* linear_ref.c: the products before their scales */

void glia_linear_i8_ref(float *y, size_t ldy, const float *x, size_t ldx, const void *w, const float *scale,
                        size_t k, size_t n_panels, size_t m) {
    glia_linear_integers_ref(y, ldy, x, ldx, w, k, n_panels, m);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < n_panels * GLIA_PANEL; c++) y[r * ldy + c] *= scale[c];
}

void glia_linear_w8a8_ref(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *x_scale,
                          const void *w, const float *w_scale, size_t k, size_t n_panels, size_t m) {
    const size_t panel_bytes = glia_panel_bytes(GLIA_DTYPE_I8, k);
    for (size_t c = 0; c < n_panels * GLIA_PANEL; c++) {
        const int8_t *panel = (const int8_t *)w + c / GLIA_PANEL * panel_bytes;
        for (size_t r = 0; r < m; r++) {
            int32_t sum = 0;
            for (size_t i = 0; i < k; i++) sum += x[r * ldx + i] * panel[glia_i8_at(i, c % GLIA_PANEL)];
            y[r * ldy + c] = (float)sum * (x_scale[r] * w_scale[c]);
        }
    }
}
