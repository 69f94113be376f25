/* linear_group_ref.c - the definition of products with grouped formats in plain C, and of
 * `pack_codes`. */
#include "kernel/linear_group.h"

#include <string.h>

glia_gemm_fn glia_gemm_c4_f32_ref, glia_gemm_c8_f32_ref, glia_gemm_f8_f32_ref;
glia_gemm_fn glia_gemm_f32_f32_ref;
glia_pack_codes_fn glia_pack_codes_ref;

static void widen_c4(float *to, const char *lines, size_t n, const glia_group_code *code) {
    for (size_t k = 0; k < n; k++)
        for (size_t c = 0; c < GLIA_PANEL; c++) {
            const int q = glia_c4_get(lines, k, c);
            to[k * GLIA_PANEL + c] = code->zero ? (float)(q - code->zero[c]) : code->table[q];
        }
}

static void widen_c8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    for (size_t k = 0; k < n; k++)
        for (size_t c = 0; c < GLIA_PANEL; c++)
            to[k * GLIA_PANEL + c] =
                (float)(((const int8_t *)lines)[glia_i8_at(k, c)] - (code->zero ? code->zero[c] : 0));
}

static void widen_f8(float *to, const char *lines, size_t n, const glia_group_code *code) {
    (void)code;
    for (size_t k = 0; k < n; k++)
        for (size_t c = 0; c < GLIA_PANEL; c++)
            to[k * GLIA_PANEL + c] = glia_f8_to_f32(((const uint8_t *)lines)[glia_i8_at(k, c)]);
}

void glia_gemm_c4_f32_ref(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C4, widen_c4, glia_gemm_f32_f32_ref);
}
void glia_gemm_c8_f32_ref(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_C8, widen_c8, glia_gemm_f32_f32_ref);
}
void glia_gemm_f8_f32_ref(const glia_gemm *g) {
    glia_linear_groups(g, GLIA_WEIGHT_F8, widen_f8, glia_gemm_f32_f32_ref);
}

void glia_pack_codes_ref(void *panel, glia_weight_format format, const uint8_t *const rows[GLIA_PANEL],
                         size_t k) {
    uint8_t *to = panel;
    memset(panel, 0, glia_panel_bytes(format, k));
    for (size_t c = 0; c < GLIA_PANEL; c++)
        for (size_t i = 0; rows[c] && i < k; i++) {
            if (format == GLIA_WEIGHT_C4)
                to[glia_c4_at(i, c)] |= (uint8_t)(rows[c][i] << (i / 2 % 2 * 4));
            else
                to[glia_i8_at(i, c)] = rows[c][i];
        }
}
