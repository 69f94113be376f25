/* cpu.c - the device's row-wise operations and linear layers on a thread team. */
#include "device/device.h"

#include <assert.h>

enum {
    CHUNK_ROWS = 256,         /* rows whose products wait in scratch for their epilogue */
    CHUNK_FLOATS = 64 * 1024, /* of scratch: 256 KiB, inside L2 */
};

size_t glia_device_scratch_bytes(int max_rows, int head_dim, glia_dtype kv_dtype) {
    const size_t hd = (size_t)head_dim, q = GLIA_QUERIES_MAX;
    const size_t stride = glia_panels(hd) * GLIA_PANEL;
    const size_t attention =
        (4 * q * stride + 8 * q) * sizeof(float) +
        GLIA_TILES * (glia_k_tile_bytes(kv_dtype, hd) + glia_v_tile_bytes(kv_dtype, hd)) +
        (size_t)max_rows * sizeof(int32_t) + 8 * GLIA_ALIGN;
    const size_t linear = CHUNK_FLOATS * sizeof(float);
    const size_t bytes = attention > linear ? attention : linear;
    return (bytes + 4095) / 4096 * 4096; /* whole pages: no line shared by two threads */
}

void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                       const int32_t *token, int m) {
    const size_t panel = glia_panel_bytes(table->dtype, table->k);
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t t = (size_t)token[i];
        assert(t < table->columns);
        d->k.unpack(y + i * ldy, (const char *)table->panels + t / GLIA_PANEL * panel, table->dtype, table->k,
                    t % GLIA_PANEL);
    }
}

void glia_device_rmsnorm(const glia_device *d, int thread, float *y, size_t ldy, const float *x, size_t ldx,
                         const int32_t *row, int m, const float *w, size_t n, float eps) {
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        float *out = y + i * ldy;
        d->k.rmsnorm(out, x + (row ? (size_t)row[i] : i) * ldx, w, n, eps);
        if (!d->narrow) continue;
        uint16_t *narrow = (uint16_t *)(void *)out;
        d->k.narrow(narrow, out, n);
        for (size_t c = n; c % 32; c++) narrow[c] = 0;
    }
}

void glia_device_panels(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                        size_t *to) {
    const size_t unit = epilogue == GLIA_SWIGLU ? 2 : 1;
    glia_share(glia_panels(w->columns) / unit, thread, threads, from, to);
    *from *= unit;
    *to *= unit;
}

/* The epilogue of a chunk t [m, 16 * panels] of products, beginning at panel `first`. */
static void finish_chunk(const glia_device *d, float *y, size_t ldy, float *t, size_t ldt, size_t m,
                         const glia_matrix *w, const float *bias, glia_epilogue epilogue, size_t first,
                         size_t panels) {
    const size_t column = first * GLIA_PANEL, width = panels * GLIA_PANEL;
    for (size_t i = 0; i < m; i++, t += ldt, y += ldy) {
        if (bias) d->k.add(t, bias + column, width);
        if (epilogue == GLIA_ADD) {
            const size_t left = w->columns - column;
            d->k.add(y + column, t, left < width ? left : width);
        } else {
            for (size_t p = 0; p < width; p += 2 * GLIA_PANEL) {
                float *out = d->narrow ? t + p : y + (column + p) / 2;
                d->k.swiglu(out, t + p, t + p + GLIA_PANEL, GLIA_PANEL);
                if (d->narrow) d->k.narrow((uint16_t *)(void *)y + (column + p) / 2, out, GLIA_PANEL);
            }
        }
    }
}

/* Rows [row, row + m) of x through n panels, the first of them `first`. */
static void multiply(const glia_device *d, float *y, size_t ldy, const float *x, size_t ldx,
                     const glia_matrix *w, size_t first, size_t n, size_t row, size_t m) {
    const char *panels = (const char *)w->panels + first * glia_panel_bytes(w->dtype, w->k);
    const uint16_t *narrow = (const uint16_t *)(const void *)(x + row * ldx);
    const float *wide = x + row * ldx, *scale = w->scale ? w->scale + first * GLIA_PANEL : NULL;
    if (w->quantize_rows)
        d->k.linear_w8a8(y, ldy, d->rows_i8 + row * d->ld_i8, d->ld_i8, d->rows_scale + row, panels, scale,
                         w->k, n, m);
    else if (d->narrow && w->dtype == GLIA_DTYPE_I8)
        d->k.linear_narrow_i8(y, ldy, narrow, 2 * ldx, panels, scale, w->k, n, m);
    else if (d->narrow)
        d->k.linear_narrow(y, ldy, narrow, 2 * ldx, panels, w->k, n, m);
    else if (w->dtype == GLIA_DTYPE_I8)
        d->k.linear_i8(y, ldy, wide, ldx, panels, scale, w->k, n, m);
    else if (w->dtype == GLIA_DTYPE_F32)
        d->k.linear_f32(y, ldy, wide, ldx, panels, w->k, n, m);
    else
        d->k.linear_bf16(y, ldy, wide, ldx, panels, w->k, n, m);
}

static void quantize_rows(const glia_device *d, int thread, const float *x, size_t ldx, size_t m, size_t k) {
    size_t from, to;
    glia_share(m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++)
        d->k.quantize(d->rows_i8 + i * d->ld_i8, d->rows_scale + i, x + i * ldx,
                      d->narrow ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32, k);
    glia_device_barrier(d); /* rows_i8 */
}

void glia_device_linear(const glia_device *d, int thread, float *y, size_t ldy, const float *x, size_t ldx,
                        int m, const glia_matrix *w, const float *bias, glia_epilogue epilogue) {
    const size_t rows = (size_t)m;
    size_t from, to;
    if (w->quantize_rows) quantize_rows(d, thread, x, ldx, rows, w->k);
    glia_device_panels(w, epilogue, thread, d->threads, &from, &to);
    if (from == to || m == 0) return;
    if (epilogue == GLIA_STORE) {
        multiply(d, y + from * GLIA_PANEL, ldy, x, ldx, w, from, to - from, 0, rows);
        for (size_t i = 0; bias && i < rows; i++)
            d->k.add(y + i * ldy + from * GLIA_PANEL, bias + from * GLIA_PANEL, (to - from) * GLIA_PANEL);
        return;
    }
    float *t = (float *)(void *)(d->scratch + (size_t)thread * d->scratch_bytes);
    const size_t chunk_rows = rows < CHUNK_ROWS ? rows : CHUNK_ROWS;
    size_t chunk = CHUNK_FLOATS / GLIA_PANEL / chunk_rows & ~(size_t)1; /* whole gate and up pairs */
    if (chunk > to - from) chunk = to - from;
    const size_t ldt = chunk * GLIA_PANEL;
    for (size_t p = from; p < to; p += chunk)
        for (size_t r = 0; r < rows; r += chunk_rows) {
            const size_t n = to - p < chunk ? to - p : chunk;
            const size_t rn = rows - r < chunk_rows ? rows - r : chunk_rows;
            multiply(d, t, ldt, x, ldx, w, p, n, r, rn);
            finish_chunk(d, y + r * ldy, ldy, t, ldt, rn, w, bias, epilogue, p, n);
        }
}
