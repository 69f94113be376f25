/* linear_i8_ref.c - the definition of the product of int8 rows and int8 panels in plain C. */
#include "kernel/panel.h"

glia_gemm_fn glia_gemm_i8_i8_ref;

void glia_gemm_i8_i8_ref(const glia_gemm *g) {
    const size_t panel_bytes = glia_panel_bytes(GLIA_WEIGHT_I8, g->k);
    for (size_t c = 0; c < g->n_panels * GLIA_PANEL; c++) {
        const int8_t *panel = (const int8_t *)g->w + c / GLIA_PANEL * panel_bytes;
        for (size_t r = 0; r < g->m; r++) {
            const int8_t *x = (const int8_t *)g->x.x + r * g->x.row;
            int32_t sum = 0;
            for (size_t i = 0; i < g->k; i++) sum += x[i] * panel[glia_i8_at(i, c % GLIA_PANEL)];
            g->out.y[r * g->out.ldy + c] = (float)sum * (g->x.scale[r] * g->w_scale[c]);
        }
    }
}
