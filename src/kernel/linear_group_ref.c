/* linear_group_ref.c - the definition of products with grouped formats in plain C, and of
 * `pack_codes`. */
#include "kernel/linear_group.h"

#include <string.h>

glia_gemm_fn glia_gemm_c4_f32_ref, glia_gemm_c8_f32_ref, glia_gemm_f8_f32_ref;
glia_gemm_fn glia_gemm_f32_f32_ref, glia_gemm_c4_i8_ref;
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

void glia_order_c4_rows(int8_t *q, size_t step, size_t k) {
    enum { PIECE = 64 };
    for (size_t i = 0; i < k; i += PIECE, q += step)
        for (int8_t *eight = q; eight < q + PIECE; eight += 8) {
            int8_t x[8];
            memcpy(x, eight, sizeof x);
            for (int j = 0; j < 4; j++) eight[2 * j] = x[j], eight[2 * j + 1] = x[j + 4];
        }
}

/* The index, in a row that glia_order_c4_rows() has ordered, of its element k. */
static size_t ordered_at(size_t k) { return k / 8 * 8 + k % 4 * 2 + k % 8 / 4; }

void glia_gemm_c4_i8_ref(const glia_gemm *g) {
    const size_t panel_bytes = glia_panel_bytes(GLIA_WEIGHT_C4, g->k),
                 groups = glia_groups(g->k, g->group, g->whole);
    for (size_t c = 0; c < g->n_panels * GLIA_PANEL; c++)
        for (size_t r = 0; r < g->m; r++) {
            const int8_t *x = (const int8_t *)g->x.x + r * g->x.row;
            float total = 0;
            for (size_t begin = 0; begin < g->k; begin += g->group) {
                const size_t end = glia_min(g->k, begin + g->group), group = g->whole ? 0 : begin / g->group;
                const size_t at = (c / GLIA_PANEL * groups + group) * GLIA_PANEL + c % GLIA_PANEL;
                const int zero = g->w_zero ? g->w_zero[at] : GLIA_C4_MIDDLE;
                int32_t sum = 0;
                for (size_t k = begin; k < end; k++)
                    sum += x[ordered_at(k)] * (glia_c4_get((const char *)g->w + c / GLIA_PANEL * panel_bytes,
                                                           k, c % GLIA_PANEL) -
                                               zero);
                total += (float)sum * g->w_scale[at];
            }
            g->out.y[r * g->out.ldy + c] = total * g->x.scale[r];
        }
}

/* The halves of bytes 0, 2, 4 and 6 side by side, in 16 bits. */
static uint32_t even_halves(uint64_t bytes) {
    uint64_t x = bytes & 0x000f000f000f000f;
    x = (x | x >> 12) & 0x000000ff000000ff;
    return (uint32_t)((x | x >> 24) & 0xffff);
}

/* 8 codes of a column as the uint32 of a line. */
static uint32_t line_of_c4(uint64_t codes) { return even_halves(codes) | even_halves(codes >> 8) << 16; }

/* Pack k < a line's codes of each column. */
static void pack_rest(char *to, bool c4, const uint8_t *const rows[GLIA_PANEL], size_t at, size_t k) {
    for (size_t c = 0; c < GLIA_PANEL; c++, to += sizeof(uint32_t)) {
        uint64_t codes = 0; /* little-endian, as the panel */
        if (rows[c]) memcpy(&codes, rows[c] + at, k);
        const uint32_t line = c4 ? line_of_c4(codes) : (uint32_t)codes;
        memcpy(to, &line, sizeof line);
    }
}

void glia_pack_codes_ref(void *panel, glia_weight_format format, const uint8_t *const rows[GLIA_PANEL],
                         size_t k) {
    enum { LINE = GLIA_PANEL * sizeof(uint32_t) };
    const bool c4 = format == GLIA_WEIGHT_C4;
    const size_t each = c4 ? 8 : 4, lines = k / each;
    for (size_t c = 0; c < GLIA_PANEL; c++) {
        char *to = (char *)panel + c * sizeof(uint32_t);
        const uint8_t *from = rows[c];
        for (size_t i = 0; i < lines; i++, to += LINE) {
            uint64_t codes = 0;
            uint32_t line = 0;
            if (from && c4) line = line_of_c4(*(uint64_t *)memcpy(&codes, from + i * 8, 8));
            if (from && !c4) memcpy(&line, from + i * 4, 4);
            memcpy(to, &line, sizeof line);
        }
    }
    if (k % each) pack_rest((char *)panel + lines * LINE, c4, rows, lines * each, k % each);
}
