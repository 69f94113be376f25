/* cpu.c - the device's row-wise operations and linear layers on a thread team. */
#include "device/device.h"

#include <assert.h>

enum {
    OWN_ROWS = 4,                /* up to as many rows are normed by each thread for itself: no barrier */
    CHUNK_ROWS = 256,            /* rows whose products wait in scratch for their epilogue */
    NARROW_ROWS_BYTES = 1 << 20, /* of rows that stay in the second cache while panels pass (linear_amx.c) */
    CHUNK_FLOATS = 64 * 1024,    /* of scratch: 256 KiB, inside L2 */
};

size_t glia_device_operand_rows(int max_rows, int threads) {
    return (size_t)max_rows + (size_t)threads * OWN_ROWS;
}

size_t glia_device_scratch_bytes(int max_rows, int sequence_length, int head_dim, glia_dtype kv_dtype) {
    const size_t attention = glia_attention_scratch_bytes(max_rows, sequence_length, head_dim, kv_dtype);
    const size_t linear = CHUNK_FLOATS * sizeof(float);
    static_assert(CHUNK_FLOATS * sizeof(float) >= GLIA_NARROW_SCRATCH, "one scratch serves both");
    const size_t bytes = attention > linear ? attention : linear;
    return (bytes + 4095) / 4096 * 4096; /* whole pages: no line shared by two threads */
}

void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                       size_t first, const int32_t *token, int m) {
    const size_t panel = glia_panel_bytes(table->dtype, table->k);
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t t = (size_t)token[i] - first; /* wraps where token < first */
        if (t < table->columns)
            d->k.unpack(y + i * ldy, (const char *)table->panels + t / GLIA_PANEL * panel, table->dtype,
                        table->k, t % GLIA_PANEL);
        else
            for (size_t c = 0; c < table->k; c++) y[i * ldy + c] = -0.0f;
    }
}

void glia_device_panels(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                        size_t *to) {
    const size_t unit = epilogue == GLIA_SWIGLU ? 2 : 1;
    glia_share(glia_panels(w->columns) / unit, thread, threads, from, to);
    *from *= unit;
    *to *= unit;
}

/* The epilogue of a chunk t [m, 16 * panels] of products, beginning at panel `first`; STORE's t is y. */
static void finish_chunk(const glia_device *d, const glia_linear_out *out, float *y, float *t, size_t ldt,
                         size_t m, size_t first, size_t panels) {
    const size_t column = first * GLIA_PANEL, width = panels * GLIA_PANEL;
    for (size_t i = 0; i < m; i++, t += ldt, y += out->ldy) {
        if (out->bias) d->k.add(t, out->bias + column, width);
        if (out->epilogue == GLIA_ADD) d->k.add(y + column, t, width);
        for (size_t p = 0; out->epilogue == GLIA_SWIGLU && p < width; p += 2 * GLIA_PANEL) {
            d->k.swiglu(y + (column + p) / 2, t + p, t + p + GLIA_PANEL, GLIA_PANEL);
        }
    }
}

/* Row i of `in` into y, or i8 and *scale; `wide` [k] is scratch. */
static void prepare_row(const glia_device *d, float *y, int8_t *i8, float *scale, const glia_linear_in *in,
                        size_t i, const glia_matrix *w, float *wide) {
    const float *x = in->x + (in->row ? (size_t)in->row[i] : i) * in->ldx;
    float *normed = w->quantize_rows || d->narrow ? wide : y;
    if (in->norm) d->k.rmsnorm(normed, x, in->norm, w->k, in->eps);
    if (w->quantize_rows) {
        d->k.quantize(i8, scale, in->norm ? normed : x,
                      d->narrow && !in->norm ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32, w->k);
    } else if (d->narrow) {
        uint16_t *narrow = (uint16_t *)(void *)y;
        d->k.narrow(narrow, normed, w->k);
        for (size_t c = w->k; c % 32; c++) narrow[c] = 0;
    }
}

static float *scratch_of(const glia_device *d, int thread) {
    return (float *)(void *)(d->scratch + (size_t)thread * d->scratch_bytes);
}

static void prepare_rows(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         size_t from, size_t to, float *x, int8_t *i8, float *scale) {
    assert(!in->norm || w->k <= CHUNK_FLOATS);
    const size_t stride = glia_i8_stride(w->k);
    for (size_t i = from; i < to; i++)
        prepare_row(d, x + i * d->ld_operand, i8 + i * stride, scale + i, in, i, w, scratch_of(d, thread));
}

void glia_device_prepare(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         float *x, int8_t *i8, float *scale) {
    size_t from, to;
    glia_share((size_t)in->m, thread, d->threads, &from, &to);
    prepare_rows(d, thread, in, w, from, to, x, i8, scale);
}

static glia_operand prepare(const glia_device *d, int thread, const glia_linear_in *in,
                            const glia_matrix *w) {
    const size_t m = (size_t)in->m;
    if (!in->norm && !w->quantize_rows) return (glia_operand){.x = in->x, .ldx = in->ldx};
    const size_t first = (size_t)(m > OWN_ROWS ? d->threads : thread) * OWN_ROWS;
    float *x = d->operand + first * d->ld_operand, *scale = d->rows_scale + first;
    int8_t *i8 = d->rows_i8 + first * glia_i8_stride(w->k);
    if (m > OWN_ROWS) {
        glia_device_prepare(d, thread, in, w, x, i8, scale);
        glia_device_barrier(d); /* the prepared rows */
    } else {
        prepare_rows(d, thread, in, w, 0, m, x, i8, scale);
    }
    return (glia_operand){.x = x, .ldx = d->ld_operand, .i8 = i8, .scale = scale};
}

/* Rows [row, row + m) of x through n panels, the first of them `first`. */
static void multiply(const glia_device *d, float *y, size_t ldy, const glia_operand *o, const glia_matrix *w,
                     size_t first, size_t n, size_t row, size_t m) {
    const char *panels = (const char *)w->panels + first * glia_panel_bytes(w->dtype, w->k);
    const float *x = o->x + row * o->ldx, *scale = w->scale ? w->scale + first * GLIA_PANEL : NULL;
    if (w->quantize_rows)
        d->k.linear_w8a8(y, ldy, o->i8 + row * glia_i8_stride(w->k), glia_i8_stride(w->k), o->scale + row,
                         panels, scale, w->k, n, m);
    else if (w->dtype == GLIA_DTYPE_I8)
        d->k.linear_i8(y, ldy, x, o->ldx, panels, scale, w->k, n, m);
    else if (w->dtype == GLIA_DTYPE_F32)
        d->k.linear_f32(y, ldy, x, o->ldx, panels, w->k, n, m);
    else
        d->k.linear_bf16(y, ldy, x, o->ldx, panels, w->k, n, m);
}

/* In how many parts threads take rows, each part with all panels: as many as one thread would take one after
 * the other, since a part of them stays in its second cache. */
static size_t row_parts(const glia_device *d, const glia_matrix *w, size_t m) {
    const size_t bytes = m * w->k * (w->quantize_rows ? 1 : 2), threads = (size_t)d->threads;
    size_t parts = (bytes + NARROW_ROWS_BYTES - 1) / NARROW_ROWS_BYTES;
    while (parts > 1 && (parts > threads || threads % parts)) parts--;
    return parts > 1 ? parts : 1;
}

/* Where d->narrow, kernels do their own epilogue. */
static void multiply_narrow(const glia_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                            size_t m, const glia_linear_out *out) {
    const int parts = (int)row_parts(d, w, m);
    size_t first, end, row, n;
    glia_device_panels(w, out->epilogue, thread / parts, d->threads / parts, &first, &end);
    glia_share(m, thread % parts, parts, &row, &n);
    n -= row;
    const size_t panels = end - first, column = first * GLIA_PANEL, stride = glia_i8_stride(w->k);
    const char *at = (const char *)w->panels + first * glia_panel_bytes(w->dtype, w->k);
    const uint16_t *x = (const uint16_t *)(const void *)(o->x + row * o->ldx);
    const float *scale = w->scale ? w->scale + column : NULL;
    glia_linear_out share = *out;
    if (share.bias) share.bias += column;
    share.y += row * out->ldy;
    share.y += out->epilogue == GLIA_SWIGLU ? column / 4 : column; /* half as many, half as wide */
    if (w->quantize_rows)
        d->k.linear_narrow_w8a8(&share, o->i8 + row * stride, stride, o->scale + row, at, scale, w->k, panels,
                                n, scratch_of(d, thread));
    else if (w->dtype == GLIA_DTYPE_I8)
        d->k.linear_narrow_i8(&share, x, 2 * o->ldx, at, scale, w->k, panels, n, scratch_of(d, thread));
    else
        d->k.linear_narrow(&share, x, 2 * o->ldx, at, w->k, panels, n, scratch_of(d, thread));
}

void glia_device_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                        const glia_linear_out *out) {
    const glia_operand o = prepare(d, thread, in, w);
    glia_device_multiply(d, thread, &o, in->m, w, out);
}

void glia_device_multiply(const glia_device *d, int thread, const glia_operand *o, int m,
                          const glia_matrix *w, const glia_linear_out *out) {
    const size_t rows = (size_t)m;
    size_t from, to;
    if (d->narrow) {
        multiply_narrow(d, thread, o, w, rows, out);
        return;
    }
    glia_device_panels(w, out->epilogue, thread, d->threads, &from, &to);
    if (from == to || rows == 0) return;
    float *scratch = scratch_of(d, thread);
    const bool direct = out->epilogue == GLIA_STORE;
    const size_t chunk_rows = direct || rows < CHUNK_ROWS ? rows : CHUNK_ROWS;
    size_t chunk = direct ? to - from : CHUNK_FLOATS / GLIA_PANEL / chunk_rows & ~(size_t)1; /* whole pairs */
    if (chunk > to - from) chunk = to - from;
    for (size_t p = from; p < to; p += chunk)
        for (size_t r = 0; r < rows; r += chunk_rows) {
            const size_t n = to - p < chunk ? to - p : chunk;
            const size_t rn = rows - r < chunk_rows ? rows - r : chunk_rows;
            float *y = out->y + r * out->ldy, *t = direct ? y + p * GLIA_PANEL : scratch;
            const size_t ldt = direct ? out->ldy : chunk * GLIA_PANEL;
            multiply(d, t, ldt, o, w, p, n, r, rn);
            finish_chunk(d, out, y, t, ldt, rn, p, n);
        }
}
