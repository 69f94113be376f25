/* cpu.c - the device's row-wise operations and linear layers on a thread team. */
#include "device/device.h"

#include <assert.h>
#include <string.h>

enum {
    CHUNK_FLOATS = GLIA_GEMM_SCRATCH / sizeof(float), /* sums that wait in scratch for their epilogue */
    SWIGLU_PANELS = 4, /* panels of gate and up whose results are one step of 32 columns */
    STEP_PANELS = 2,   /* panels of other layers whose results are one step */
    HELPED = 4,        /* threads whose panels a thread takes when its own are gone */
};

size_t glia_device_operand_rows(int max_rows, int threads) {
    return glia_odd((size_t)max_rows) + (size_t)threads * GLIA_FEW_ROWS;
}

/* Of a row that is prepared: itself in float32. */
static size_t row_scratch(size_t k) { return k * sizeof(float); }

size_t glia_device_scratch_bytes(int max_rows, int sequence_length, int head_dim, size_t widest,
                                 glia_dtype kv_dtype) {
    const size_t attention = glia_attention_scratch_bytes(max_rows, sequence_length, head_dim, kv_dtype);
    size_t bytes = GLIA_GEMM_SCRATCH;
    if (bytes < attention) bytes = attention;
    if (bytes < row_scratch(widest)) bytes = row_scratch(widest);
    return (bytes + 4095) / 4096 * 4096; /* whole pages: no line shared by two threads */
}

static glia_weight_format format_of(const glia_matrix *w) {
    return w->dtype == GLIA_DTYPE_F32  ? GLIA_WEIGHT_F32
           : w->dtype == GLIA_DTYPE_I8 ? GLIA_WEIGHT_I8
                                       : GLIA_WEIGHT_BF16;
}

/* The kernels that multiply rows as this device prepares them for w. */
static const glia_gemm_kernel *gemm_of(const glia_device *d, const glia_matrix *w) {
    const glia_row_format rows = w->quantize_rows ? GLIA_ROWS_I8 : d->narrow ? GLIA_ROWS_BF16 : GLIA_ROWS_F32;
    return &d->k.gemm[format_of(w)][rows];
}

void glia_device_embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                       size_t first, const int32_t *token, int m) {
    const size_t panel = glia_panel_bytes(format_of(table), table->k);
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t t = (size_t)token[i] - first; /* wraps where token < first */
        if (t < table->columns)
            d->k.unpack(y + i * ldy, (const char *)table->panels + t / GLIA_PANEL * panel,
                        glia_weight_traits[format_of(table)].element, table->k, t % GLIA_PANEL);
        else
            for (size_t c = 0; c < table->k; c++) y[i * ldy + c] = -0.0f;
    }
}

void glia_device_norm(const glia_device *d, int thread, float *y, const float *x, size_t ld, int m, size_t n,
                      const float *norm, float eps) {
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) d->k.rmsnorm(y + i * ld, x + i * ld, norm, n, eps);
}

/* This thread's panels, `unit` at a time. */
static void share_panels(const glia_matrix *w, size_t unit, int thread, int threads, size_t *from,
                         size_t *to) {
    const size_t all = glia_panels(w->columns);
    glia_share((all + unit - 1) / unit, thread, threads, from, to);
    *from *= unit;
    *to = *to * unit < all ? *to * unit : all;
}

/* Are results in steps, two panels each? */
static bool in_steps(const glia_linear_out *out) { return out->step > STEP_PANELS * GLIA_PANEL; }

/* Panels that one thread takes together. */
static size_t unit_of(const glia_linear_out *out, size_t panels) {
    size_t unit = out->epilogue == GLIA_SWIGLU ? SWIGLU_PANELS : in_steps(out) ? STEP_PANELS : 1;
    while (panels / unit >= GLIA_TAKE_MAX) unit *= 2;
    return unit;
}

void glia_device_panels(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads, size_t *from,
                        size_t *to) {
    share_panels(w, epilogue == GLIA_SWIGLU ? SWIGLU_PANELS : 1, thread, threads, from, to);
}

/* The epilogue of a chunk t [m, 16 * panels] of sums, rows from `row` and panels from `first` on; STORE's t
 * is y. */
static void finish_chunk(const glia_device *d, const glia_linear_out *out, float *t, size_t ldt, size_t row,
                         size_t m, size_t first, size_t panels) {
    const size_t column = first * GLIA_PANEL, width = panels * GLIA_PANEL;
    float *y = out->y + row * out->ldy;
    for (size_t i = row; i < row + m; i++, t += ldt, y += out->ldy) {
        if (out->bias) d->k.add(t, out->bias + column, width);
        if (out->addend) d->k.add(t, out->addend + i * out->ld_addend + column, width);
        if (out->epilogue == GLIA_ADD) d->k.add(y + column, t, width);
        for (size_t p = 0; out->epilogue == GLIA_SWIGLU && p < width; p += 2 * GLIA_PANEL) {
            d->k.swiglu(y + (column + p) / 2, t + p, t + p + GLIA_PANEL, GLIA_PANEL);
        }
    }
}

static char *scratch_of(const glia_device *d, int thread) {
    return d->scratch + (size_t)thread * d->scratch_bytes;
}

/* Row i of `in`, normed, narrowed or quantised, to its place. */
static void prepare_row(const glia_device *d, const glia_operand *to, const glia_linear_in *in, size_t i,
                        const glia_matrix *w, char *scratch) {
    const float *x = in->x + (in->row ? (size_t)in->row[i] : i) * in->layout.ld;
    const bool narrow = d->narrow && !in->norm;
    char *y = to->x + i * to->row;
    if (in->norm) {
        float *normed = (float *)(void *)(w->quantize_rows || d->narrow ? scratch : y);
        d->k.rmsnorm(normed, x, in->norm, w->k, in->eps);
        x = normed;
    }
    if (w->quantize_rows) {
        d->k.quantize((int8_t *)y, to->step, to->scale + i, x, narrow ? in->layout.step * sizeof *x : 64,
                      narrow ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32, w->k);
    } else if (d->narrow) {
        d->k.narrow(y, to->step, 0, x, 1, w->k);
        glia_fill_step(y, to->step, w->k);
    }
}

static void prepare_rows(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         size_t from, size_t to, const glia_operand *out) {
    assert(row_scratch(w->k) <= d->scratch_bytes);
    for (size_t i = from; i < to; i++) prepare_row(d, out, in, i, w, scratch_of(d, thread));
}

void glia_device_prepare(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         const glia_operand *to) {
    size_t first, end;
    glia_share((size_t)in->m, thread, d->threads, &first, &end);
    prepare_rows(d, thread, in, w, first, end, to);
}

glia_operand glia_device_operand(const glia_device *d, const glia_matrix *w, size_t m, void *x,
                                 float *scale) {
    const size_t row = w->quantize_rows ? glia_i8_stride(w->k) : d->ld_operand * sizeof(float);
    const glia_layout l = glia_rows_layout(d, m, row / sizeof(float));
    if (!x) x = w->quantize_rows ? (void *)d->rows_i8 : d->operand;
    return (glia_operand){x, l.ld * sizeof(float), l.step * sizeof(float), scale ? scale : d->rows_scale};
}

static glia_operand prepare(const glia_device *d, int thread, const glia_linear_in *in,
                            const glia_matrix *w) {
    const size_t m = (size_t)in->m, first = (size_t)(m > GLIA_FEW_ROWS ? d->threads : thread) * GLIA_FEW_ROWS;
    if (!in->norm && !w->quantize_rows)
        return (glia_operand){(char *)(uintptr_t)in->x, in->layout.ld * sizeof(float),
                              in->layout.step * sizeof(float), NULL};
    glia_operand to = glia_device_operand(d, w, m, NULL, NULL);
    to.x += first * (w->quantize_rows ? glia_i8_stride(w->k) : d->ld_operand * sizeof(float));
    to.scale += first;
    if (m > GLIA_FEW_ROWS) {
        glia_device_prepare(d, thread, in, w, &to);
        glia_device_barrier(d); /* the prepared rows */
    } else {
        prepare_rows(d, thread, in, w, 0, m, &to);
    }
    return to;
}

/* Rows [row, row + m) of o and the n panels of w from `first` on, as kernels take them. */
static glia_gemm gemm(const glia_operand *o, const glia_matrix *w, size_t row, size_t m, size_t first,
                      size_t n) {
    return (glia_gemm){
        .x = {o->x + row * o->row, o->row, o->step, w->quantize_rows ? o->scale + row : NULL},
        .w = (const char *)w->panels + first * glia_panel_bytes(format_of(w), w->k),
        .w_scale = w->scale ? w->scale + first * GLIA_PANEL : NULL,
        .k = w->k,
        .n_panels = n,
        .m = m,
    };
}

/* In how many parts threads take rows, each part with all panels: as many as one thread would take one after
 * the other, since a part of them stays in its second cache. */
static size_t row_parts(const glia_device *d, const glia_matrix *w, size_t m) {
    const size_t bytes = m * w->k * (w->quantize_rows ? 1 : 2), threads = (size_t)d->threads;
    size_t parts = (bytes + d->k.blocking.rows_bytes - 1) / d->k.blocking.rows_bytes;
    while (parts > 1 && (parts > threads || threads % parts)) parts--;
    return parts > 1 ? parts : 1;
}

/* Columns 16 to 31 of a step of narrow SWIGLU rows that no panel writes. */
static void zero_rest(const glia_linear_out *out, size_t rows) {
    char *y = (char *)out->y;
    for (size_t i = 0; i < rows; i++) memset(y + i * out->ldy * sizeof(float) + 32, 0, 32);
}

/* Rows [row, row + m) through panels [first, end). Where d->narrow, kernels do their own epilogue. */
static void multiply_narrow(const glia_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                            size_t row, size_t m, size_t first, size_t end, const glia_linear_out *out) {
    const size_t column = first * GLIA_PANEL, all = glia_panels(w->columns);
    glia_gemm g = gemm(o, w, row, m, first, end - first);
    glia_linear_out share = *out;
    if (share.bias) share.bias += column;
    if (share.addend) share.addend += row * out->ld_addend + column;
    share.y += row * out->ldy;
    share.y += out->epilogue == GLIA_SWIGLU ? first / SWIGLU_PANELS * out->step
               : in_steps(out)              ? first / STEP_PANELS * out->step
                                            : column;
    g.out = share;
    g.scratch = scratch_of(d, thread);
    gemm_of(d, w)->finish(&g);
    if (out->epilogue == GLIA_SWIGLU && end == all && all % SWIGLU_PANELS) {
        share.y = out->y + row * out->ldy + all / SWIGLU_PANELS * out->step;
        zero_rest(&share, m);
    }
}

/* All rows through panels [first, end), some of both at a time: their sums wait in scratch. */
static void multiply_wide(const glia_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                          size_t rows, size_t first, size_t end, const glia_linear_out *out) {
    float *scratch = (float *)(void *)scratch_of(d, thread);
    const bool direct = out->epilogue == GLIA_STORE;
    const size_t chunk_rows = direct || rows < d->k.blocking.chunk_rows ? rows : d->k.blocking.chunk_rows;
    size_t chunk =
        direct ? end - first : CHUNK_FLOATS / GLIA_PANEL / chunk_rows & ~(size_t)1; /* whole pairs */
    if (chunk > end - first) chunk = end - first;
    for (size_t p = first; p < end; p += chunk)
        for (size_t r = 0; r < rows; r += chunk_rows) {
            const size_t n = end - p < chunk ? end - p : chunk;
            const size_t rn = rows - r < chunk_rows ? rows - r : chunk_rows;
            float *y = out->y + r * out->ldy, *t = direct ? y + p * GLIA_PANEL : scratch;
            const size_t ldt = direct ? out->ldy : chunk * GLIA_PANEL;
            glia_gemm g = gemm(o, w, r, rn, p, n);
            g.out = (glia_linear_out){.y = t, .ldy = ldt};
            gemm_of(d, w)->store(&g);
            finish_chunk(d, out, t, ldt, r, rn, p, n);
        }
}

void glia_device_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                        const glia_linear_out *out) {
    const glia_operand o = prepare(d, thread, in, w);
    glia_device_multiply(d, thread, &o, in->m, w, out);
}

/* Threads take parts of the rows, and of the panels what their place says, then what the next few threads
 * have left. */
void glia_device_multiply(const glia_device *d, int thread, const glia_operand *o, int m,
                          const glia_matrix *w, const glia_linear_out *out) {
    const size_t rows = (size_t)m, unit = unit_of(out, glia_panels(w->columns));
    const size_t grain =
        ((m > GLIA_FEW_ROWS ? d->k.blocking.grain : d->k.blocking.few_grain) + unit - 1) / unit;
    const int parts = d->narrow ? (int)row_parts(d, w, rows) : 1;
    if (rows == 0) return;
    glia_team_begin(d->team, thread);
    for (int i = 0; i < d->threads && i <= HELPED; i++) {
        const int owner = (thread + i) % d->threads;
        size_t row, end_row, first, end, from, to;
        glia_share(rows, owner % parts, parts, &row, &end_row);
        share_panels(w, unit, owner / parts, d->threads / parts, &first, &end);
        while (glia_team_take(d->team, thread, owner, (end - first + unit - 1) / unit, grain, &from, &to)) {
            const size_t p = first + from * unit, q = first + to * unit < end ? first + to * unit : end;
            if (d->narrow)
                multiply_narrow(d, thread, o, w, row, end_row - row, p, q, out);
            else
                multiply_wide(d, thread, o, w, rows, p, q, out);
        }
    }
}
