/* cpu_linear.c - linear layers of the CPU device on a team of threads. */
#include "device/cpu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/bf16.h"

enum {
    CHUNK_FLOATS = GLIA_GEMM_SCRATCH / sizeof(float), /* sums that scratch keeps until their epilogue */
    SWIGLU_PANELS = 4, /* panels of gate and up whose results are one step of 32 columns */
    STEP_PANELS = 2,   /* panels of other layers whose results are one step */
    HELPED = 4,        /* threads from which a thread takes panels when its own are done */
};

size_t glia_cpu_operand_rows(size_t max_rows, int threads) {
    return glia_odd(max_rows) + (size_t)threads * GLIA_FEW_ROWS;
}

/* Are the rows for w int8? */
static bool are_int8(const glia_matrix *w) { return w->quantize_rows && !glia_keeps_floats(w); }

const glia_gemm_kernel *glia_cpu_gemm(const glia_cpu_device *d, const glia_matrix *w) {
    const glia_row_format rows = are_int8(w) ? GLIA_ROWS_I8 : d->narrow ? GLIA_ROWS_BF16 : GLIA_ROWS_F32;
    return &d->k.gemm[w->format][rows];
}

void glia_cpu_store(const glia_cpu_device *d, const glia_matrix *w, const glia_gemm *g) {
    glia_cpu_gemm(d, w)->store(g);
    if (!glia_keeps_floats(w)) return;
    for (size_t r = 0; r < g->m; r++)
        for (size_t c = 0; c < g->n_panels * GLIA_PANEL; c++) g->out.y[r * g->out.ldy + c] *= g->x.scale[r];
}

/* The panels [*from, *to) of `thread` of `threads`. A unit of panels is not divided. */
static void share_panels(const glia_matrix *w, size_t unit, int thread, int threads, size_t *from,
                         size_t *to) {
    const size_t all = glia_panels(w->columns);
    glia_share((all + unit - 1) / unit, thread, threads, from, to);
    *from *= unit;
    *to = *to * unit < all ? *to * unit : all;
}

/* Are results stored in steps of two panels each? */
static bool in_steps(const glia_gemm_out *out) { return out->step > STEP_PANELS * GLIA_PANEL; }

/* Panels of a unit: one thread writes a whole step, and there are fewer units than glia_team_take() allows.
 */
static size_t unit_of(const glia_gemm_out *out, size_t panels) {
    size_t unit = out->epilogue == GLIA_SWIGLU ? SWIGLU_PANELS : in_steps(out) ? STEP_PANELS : 1;
    while (panels / unit >= GLIA_TAKE_MAX) unit *= 2;
    return unit;
}

void glia_cpu_first_columns(const glia_matrix *w, glia_epilogue epilogue, int thread, int threads,
                            size_t *from, size_t *to) {
    share_panels(w, epilogue == GLIA_SWIGLU ? SWIGLU_PANELS : 1, thread, threads, from, to);
    *from *= GLIA_PANEL;
    *to *= GLIA_PANEL;
}

/* Apply the epilogue to a chunk t [m, 16 * panels] of sums, whose first row is `row` and first panel `first`.
 * The addend begins with this row and panel. GLIA_STORE: t is y. */
static void finish_chunk(const glia_cpu_device *d, const glia_gemm_out *out, const float *addend, float *t,
                         size_t ldt, size_t row, size_t m, size_t first, size_t panels) {
    const size_t column = first * GLIA_PANEL, width = panels * GLIA_PANEL;
    float *y = out->y + row * out->ldy;
    for (size_t i = 0; i < m; i++, t += ldt, y += out->ldy) {
        if (out->bias) d->k.add(t, out->bias + column, width);
        if (addend) d->k.add(t, addend + i * out->ld_addend, width);
        if (out->epilogue == GLIA_ADD) d->k.add(y + column, t, width);
        for (size_t p = 0; out->epilogue == GLIA_SWIGLU && p < width; p += 2 * GLIA_PANEL) {
            d->k.swiglu(y + (column + p) / 2, t + p, t + p + GLIA_PANEL, GLIA_PANEL);
        }
    }
}

/* The address of row i of x. */
static const float *row_at(const glia_cpu_device *d, const glia_activation *x, size_t i) {
    return x->at + i * glia_layout_of(d, x).ld;
}

/* The weights of the norm that row r of x gets. */
static const float *norm_of(const glia_linear_in *in, size_t r) {
    const float *own = in->place && in->norm_of && in->place[r] >= 0 ? in->norm_of[in->place[r]] : NULL;
    return own ? own : in->norm;
}

/* y [w->k] = elements of row x (F32 or BF16, in pieces of 64 bytes) in the order of w. */
static void reorder(float *y, const void *x, size_t step, glia_dtype dtype, const glia_matrix *w) {
    const int32_t *order = glia_cpu_codes_of(w).order;
    const size_t size = dtype == GLIA_DTYPE_F32 ? 4 : 2;
    for (size_t i = 0; i < w->k; i++) {
        const size_t at = (size_t)order[i] * size;
        const char *element = (const char *)x + at / 64 * step + at % 64;
        uint16_t half;
        y[i] = 0;
        if (order[i] < 0) continue;
        if (size == 4) memcpy(&y[i], element, sizeof *y);
        if (size == 2) y[i] = glia_bf16_to_f32(*(uint16_t *)memcpy(&half, element, sizeof half));
    }
}

/* Write float32 row x [k] to a row of a narrow device. */
static void narrow_row(const glia_cpu_device *d, char *y, size_t step, const float *x, size_t k) {
    d->k.narrow(y, step, 0, x, 1, k);
    glia_fill_step(y, step, k);
}

static inline float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }
/* x rounded to the nearest integer, ties to even, for |x| < 2^22. */
static inline float nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* y [k] = row x (F32 or BF16, in pieces of 64 bytes `step` apart), which may be y. */
static void widen_row(float *y, const void *x, size_t step, glia_dtype dtype, size_t k) {
    const size_t each = dtype == GLIA_DTYPE_F32 ? 16 : 32;
    for (size_t at = 0; at < k && x != y; at += each, x = (const char *)x + step) {
        const size_t n = k - at < each ? k - at : each;
        uint16_t half[32];
        memcpy(dtype == GLIA_DTYPE_F32 ? (void *)(y + at) : half, x, n * 64 / each);
        for (size_t i = 0; dtype == GLIA_DTYPE_BF16 && i < n; i++) y[at + i] = glia_bf16_to_f32(half[i]);
    }
}

/* Scale and zero point of row x; the scale is NaN if an element is NaN or infinite. */
static glia_row_scale scale_of(const glia_cpu_device *d, const glia_row_scale *rows, const float *x,
                               size_t k) {
    float low = 0, high = 0;
    if (isnan(d->k.absmax(x, GLIA_DTYPE_F32, k))) return (glia_row_scale){.scale = NAN};
    if (!rows->asymmetric) return *rows;
    for (size_t i = 0; i < k; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const float scale = (high - low) / (INT8_MAX - INT8_MIN);
    if (scale < 0x1p-120f) return (glia_row_scale){.scale = 0};
    return (glia_row_scale){.scale = scale, .zero = (int)nearest(INT8_MIN - low / scale)};
}

/* x [k] = the integers of row x less their zero point, |integer| <= 255. */
static void round_row(float *x, const glia_row_scale *s, size_t k) {
    const float inverse = s->scale > 0 ? 1 / s->scale : 0, zero = (float)s->zero; /* false for NaN too */
    for (size_t i = 0; i < k; i++) x[i] = nearest(clamp(x[i] * inverse + zero, INT8_MIN, INT8_MAX)) - zero;
}

/* y = the integers of row x, as floats; x may be `floats` [k]. Behind them in scratch there is room for k
 * bytes. */
static void integers_of(const glia_cpu_device *d, const glia_operand *to, size_t i, const void *x,
                        size_t step, glia_dtype dtype, const glia_matrix *w, float *floats) {
    const size_t k = w->k;
    int8_t *q = (int8_t *)(floats + (k + 15) / 16 * 16);
    char *y = to->x + i * to->row;
    float *wide = d->narrow ? floats : (float *)(void *)y;
    if (glia_is_absmax(&w->rows)) {
        d->k.quantize(q, 64, to->scale + i, x, step, dtype, k);
        for (size_t at = 0; at < k; at++) wide[at] = (float)q[at];
    } else {
        widen_row(wide, x, step, dtype, k);
        const glia_row_scale s = scale_of(d, &w->rows, wide, k);
        to->scale[i] = s.scale;
        round_row(wide, &s, k);
    }
    if (d->narrow) narrow_row(d, y, to->step, wide, k);
}

/* Norm, reorder or rotate, and narrow or quantise row i of `in` into its row of `to`. */
static void prepare_row(const glia_cpu_device *d, const glia_operand *to, const glia_linear_in *in, size_t i,
                        const glia_matrix *w, char *scratch) {
    const size_t r = in->row ? (size_t)in->row[i] : i;
    const float *x = row_at(d, &in->x, r);
    char *y = to->x + i * to->row;
    const bool narrows = w->quantize_rows || d->narrow;
    float *floats = (float *)(void *)(narrows ? scratch : y);
    float *normed = w->inputs ? (float *)(void *)scratch + (narrows ? w->k : 0) : floats;
    glia_dtype dtype = d->narrow && in->x.form == GLIA_INPUT ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32;
    size_t step = dtype == GLIA_DTYPE_BF16 ? glia_layout_of(d, &in->x).step * sizeof *x : 64;
    if (in->norm) {
        d->k.rmsnorm(normed, x, norm_of(in, r), glia_inputs(w), in->eps);
        x = normed;
    }
    if (w->inputs) {
        reorder(floats, x, step, dtype, w);
        x = floats;
        dtype = GLIA_DTYPE_F32;
        step = 64;
    }
    if (glia_rotates(w)) {
        d->k.rotate(floats, x, step, dtype, w->k, w->rotate);
        x = floats;
        dtype = GLIA_DTYPE_F32;
        step = 64;
    }
    if (glia_keeps_floats(w)) {
        integers_of(d, to, i, x, step, dtype, w, floats);
    } else if (w->quantize_rows) {
        d->k.quantize((int8_t *)y, to->step, to->scale + i, x, step, dtype, w->k);
        if (w->format == GLIA_WEIGHT_C4) glia_order_c4_rows((int8_t *)y, to->step, w->k);
    } else if (d->narrow) {
        narrow_row(d, y, to->step, x, w->k);
    }
}

static void prepare_rows(const glia_cpu_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                         size_t from, size_t to, const glia_operand *out) {
    assert((w->k + w->inputs) * sizeof(float) <= d->scratch_bytes);
    for (size_t i = from; i < to; i++) prepare_row(d, out, in, i, w, glia_scratch_of(d, thread));
}

void glia_cpu_prepare(const glia_device *device, int thread, const glia_linear_in *in, const glia_matrix *w,
                      const glia_operand *to) {
    size_t first, end;
    glia_share((size_t)in->m, thread, device->threads, &first, &end);
    prepare_rows(glia_cpu_of(device), thread, in, w, first, end, to);
}

/* Bytes from row to row of prepared rows that are row-major. */
static size_t operand_stride(const glia_cpu_device *d, const glia_matrix *w) {
    return are_int8(w) ? glia_i8_stride(w->k)
                       : glia_row_stride(d->narrow ? (w->k + 1) / 2 : w->k) * sizeof(float);
}

glia_operand glia_cpu_operand(const glia_device *device, const glia_matrix *w, size_t m, void *memory) {
    const glia_cpu_device *d = glia_cpu_of(device);
    const size_t stride = operand_stride(d, w), bytes = w->k * (are_int8(w) ? 1 : d->narrow ? 2 : 4);
    const bool steps = d->narrow && m > GLIA_FEW_ROWS;
    assert(bytes <= stride);
    glia_operand o = {.x = memory, .row = steps ? 64 : stride, .step = steps ? glia_odd(m) * 64 : 64};
    o.pieces = steps ? (bytes + 63) / 64 : 1;
    if (!memory) o.x = are_int8(w) ? (char *)d->rows_i8 : (char *)d->operand;
    if (w->quantize_rows) o.scale = memory ? (float *)(void *)(o.x + glia_odd(m) * stride) : d->rows_scale;
    return o;
}

/* The rows of `in` as the product reads them: rows that need no conversion as they are, others prepared in
 * the device's own buffers. */
static glia_operand prepare(const glia_cpu_device *d, int thread, const glia_linear_in *in,
                            const glia_matrix *w) {
    const size_t m = (size_t)in->m;
    const size_t first = (size_t)(m > GLIA_FEW_ROWS ? d->base.threads : thread) * GLIA_FEW_ROWS;
    if (!in->norm && !glia_converts_rows(w) && (in->x.form == GLIA_INPUT || !d->narrow)) {
        const glia_layout l = glia_layout_of(d, &in->x);
        return (glia_operand){
            .x = (char *)in->x.at, .row = l.ld * sizeof(float), .step = l.step * sizeof(float)};
    }
    glia_operand to = glia_cpu_operand(&d->base, w, m, NULL);
    to.x += first * operand_stride(d, w);
    if (to.scale) to.scale += first;
    if (m > GLIA_FEW_ROWS) {
        glia_cpu_prepare(&d->base, thread, in, w, &to);
        glia_device_barrier(&d->base); /* the prepared rows */
    } else {
        prepare_rows(d, thread, in, w, 0, m, &to);
    }
    return to;
}

glia_gemm glia_cpu_gemm_of(const glia_operand *o, const glia_matrix *w, size_t row, size_t m, size_t first,
                           size_t n) {
    const glia_cpu_codes c =
        glia_is_grouped(w->format) ? glia_cpu_codes_of(w) : (glia_cpu_codes){.groups = 1};
    return (glia_gemm){
        .x = {o->x + row * o->row, o->row, o->step, o->scale ? o->scale + row : NULL},
        .w = (const char *)w->data + first * glia_panel_bytes(w->format, w->k),
        .w_scale = w->scale ? w->scale + first * c.groups * GLIA_PANEL : NULL,
        .w_zero = c.zero ? c.zero + first * c.groups * GLIA_PANEL : NULL,
        .table = c.table,
        .group = w->group,
        .whole = w->whole,
        .k = w->k,
        .n_panels = n,
        .m = m,
    };
}

/* Number of row groups, chosen so that one group fits in L2 and all groups have the same number of threads.
 */
static size_t row_groups(const glia_cpu_device *d, const glia_matrix *w, size_t m) {
    const size_t bytes = m * w->k * (are_int8(w) ? 1 : 2), threads = (size_t)d->base.threads;
    size_t groups = (bytes + d->k.blocking.rows_bytes - 1) / d->k.blocking.rows_bytes;
    while (groups > 1 && (groups > threads || threads % groups)) groups--;
    return groups > 1 ? groups : 1;
}

/* Zero columns 16 to 31 of the last step of narrow SwiGLU rows, which no panel writes. */
static void zero_rest(const glia_gemm_out *out, size_t rows) {
    char *y = (char *)out->y;
    for (size_t i = 0; i < rows; i++) memset(y + i * out->ldy * sizeof(float) + 32, 0, 32);
}

/* Multiply rows [row, row + m) by panels [first, end) with kernels that apply the epilogue themselves. */
static void multiply_narrow(const glia_cpu_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                            size_t row, size_t m, size_t first, size_t end, const glia_gemm_out *out,
                            const float *addend) {
    const size_t column = first * GLIA_PANEL, all = glia_panels(w->columns);
    glia_gemm g = glia_cpu_gemm_of(o, w, row, m, first, end - first);
    glia_gemm_out share = *out;
    if (share.bias) share.bias += column;
    share.addend = addend;
    share.y += row * out->ldy;
    share.y += out->epilogue == GLIA_SWIGLU ? first / SWIGLU_PANELS * out->step
               : in_steps(out)              ? first / STEP_PANELS * out->step
                                            : column;
    g.out = share;
    g.scratch = glia_scratch_of(d, thread);
    glia_cpu_gemm(d, w)->finish(&g);
    if (out->epilogue == GLIA_SWIGLU && end == all && all % SWIGLU_PANELS) {
        share.y = out->y + row * out->ldy + all / SWIGLU_PANELS * out->step;
        zero_rest(&share, m);
    }
}

/* The addend of rows from `row` on and of panels from `first` on. */
static const float *addend_at(const glia_gemm_out *out, size_t row, size_t first) {
    return out->addend ? out->addend + row * out->ld_addend + first * GLIA_PANEL : NULL;
}

/* Multiply rows [row, end_row) by panels [first, end), in chunks of rows and panels whose sums are kept in
 * scratch until the epilogue. */
static void multiply_wide(const glia_cpu_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                          size_t row, size_t m, size_t first, size_t end, const glia_gemm_out *out,
                          const float *addend) {
    const size_t rows = m;
    float *scratch = (float *)(void *)glia_scratch_of(d, thread);
    const bool direct = out->epilogue == GLIA_STORE;
    const size_t chunk_rows = direct || rows < d->k.blocking.chunk_rows ? rows : d->k.blocking.chunk_rows;
    size_t chunk =
        direct ? end - first : CHUNK_FLOATS / GLIA_PANEL / chunk_rows & ~(size_t)1; /* whole pairs */
    if (chunk > end - first) chunk = end - first;
    for (size_t p = first; p < end; p += chunk)
        for (size_t at = 0; at < rows; at += chunk_rows) {
            const size_t n = end - p < chunk ? end - p : chunk, r = row + at;
            const size_t rn = rows - at < chunk_rows ? rows - at : chunk_rows;
            const float *add = addend ? addend + at * out->ld_addend + (p - first) * GLIA_PANEL : NULL;
            float *y = out->y + r * out->ldy, *t = direct ? y + p * GLIA_PANEL : scratch;
            const size_t ldt = direct ? out->ldy : chunk * GLIA_PANEL;
            glia_gemm g = glia_cpu_gemm_of(o, w, r, rn, p, n);
            g.out = (glia_gemm_out){.y = t, .ldy = ldt};
            glia_cpu_store(d, w, &g);
            finish_chunk(d, out, add, t, ldt, r, rn, p, n);
        }
}

/* The result as kernels write it. */
static glia_gemm_out gemm_out(const glia_cpu_device *d, const glia_linear_out *out) {
    const glia_layout l = glia_layout_of(d, &out->y);
    return (glia_gemm_out){
        .epilogue = out->epilogue,
        .y = out->y.at,
        .ldy = l.ld,
        .bias = out->bias,
        .step = l.step,
        .addend = out->addend,
        .ld_addend = out->ld_addend,
    };
}

/* Rows [row, row + m) and panels [first, end). */
static void multiply_plain(const glia_cpu_device *d, int thread, const glia_operand *o, const glia_matrix *w,
                           size_t row, size_t m, size_t first, size_t end, const glia_gemm_out *out,
                           const float *addend) {
    if (d->narrow)
        multiply_narrow(d, thread, o, w, row, m, first, end, out, addend);
    else
        multiply_wide(d, thread, o, w, row, m, first, end, out, addend);
}

/* The same with adapters, in chunks whose addends fit the thread's memory. t: of glia_cpu_lora_down(). */
static void multiply_adapted(const glia_cpu_device *d, int thread, const glia_operand *o,
                             const glia_matrix *w, size_t row, size_t end_row, size_t first, size_t end,
                             size_t unit, const glia_gemm_out *out, const glia_adapted *a, const float *t) {
    const size_t most_rows = GLIA_LORA_SCRATCH / (unit * GLIA_PANEL);
    for (size_t r = row; r < end_row; r += most_rows) {
        const size_t m = end_row - r < most_rows ? end_row - r : most_rows;
        const size_t chunk = GLIA_LORA_SCRATCH / GLIA_PANEL / m / unit * unit;
        for (size_t p = first; p < end; p += chunk) {
            const size_t q = end - p < chunk ? end : p + chunk;
            glia_gemm_out add = *out;
            add.ld_addend = (q - p) * GLIA_PANEL;
            multiply_plain(d, thread, o, w, r, m, p, q, &add,
                           glia_cpu_lora_up(d, thread, o, w, a, t, r, m, p, q - p));
        }
    }
}

/* Does any row's adapter change this layer? */
static bool is_adapted(const glia_adapted *a) {
    for (int i = 0; i < a->n; i++)
        if (glia_lora_changes(&a->of[a->run[i].place])) return true;
    return false;
}

/* Add the squares of m rows to w->squares, each column's in the order of rows; every thread adds those of its
 * share of the columns. */
static void add_squares(const glia_cpu_device *d, int thread, const glia_operand *o, size_t m,
                        const glia_matrix *w) {
    const size_t size = d->narrow ? 2 : 4;
    size_t from, to;
    glia_share(w->k, thread, d->base.threads, &from, &to);
    for (size_t i = 0; i < m; i++)
        for (size_t k = from; k < to; k++) {
            const char *at = o->x + i * o->row + k * size / 64 * o->step + k * size % 64;
            uint16_t half;
            float x;
            memcpy(d->narrow ? (void *)&half : (void *)&x, at, size);
            if (d->narrow) x = glia_bf16_to_f32(half);
            w->squares[k] += (double)x * (double)x;
        }
}

/* Each thread takes panels from its own range of one row group, then from those of the next few threads. */
void glia_cpu_multiply(const glia_device *device, int thread, const glia_operand *o, int m,
                       const glia_matrix *w, const glia_linear_out *linear_out) {
    const glia_cpu_device *d = glia_cpu_of(device);
    const glia_gemm_out out = gemm_out(d, linear_out);
    const size_t rows = (size_t)m, unit = unit_of(&out, glia_panels(w->columns));
    const size_t grain =
        ((m > GLIA_FEW_ROWS ? d->k.blocking.grain : d->k.blocking.few_grain) + unit - 1) / unit;
    const int groups = d->narrow ? (int)row_groups(d, w, rows) : 1, threads = device->threads;
    const glia_adapted *a = &linear_out->adapted;
    const bool adapted = is_adapted(a);
    if (rows == 0) return;
    assert(!adapted || !out.addend);
    if (w->squares) add_squares(d, thread, o, rows, w);
    const float *t = adapted ? glia_cpu_lora_down(d, thread, a->rows ? a->rows : o, a) : NULL;
    glia_team_begin(device->team, thread);
    for (int i = 0; i < threads && i <= HELPED; i++) {
        const int owner = (thread + i) % threads;
        size_t row, end_row, first, end, from, to;
        glia_share(rows, owner % groups, groups, &row, &end_row);
        share_panels(w, unit, owner / groups, threads / groups, &first, &end);
        const size_t units = (end - first + unit - 1) / unit;
        while (glia_team_take(device->team, thread, owner, units, grain, &from, &to)) {
            const size_t p = first + from * unit, q = first + to * unit < end ? first + to * unit : end;
            if (adapted)
                multiply_adapted(d, thread, o, w, row, end_row, p, q, unit, &out, a, t);
            else
                multiply_plain(d, thread, o, w, row, end_row - row, p, q, &out, addend_at(&out, row, p));
        }
    }
}

void glia_cpu_linear(const glia_device *d, int thread, const glia_linear_in *in, const glia_matrix *w,
                     const glia_linear_out *out) {
    const glia_operand o = prepare(glia_cpu_of(d), thread, in, w);
    glia_linear_out with = *out;
    glia_operand rows;
    if (glia_lora_needs_rows(w) && is_adapted(&out->adapted)) {
        glia_matrix plain = *w;
        plain.quantize_rows = false;
        plain.rotate = 0;
        rows = prepare(glia_cpu_of(d), thread, in, &plain);
        with.adapted.rows = &rows;
    }
    glia_cpu_multiply(d, thread, &o, in->m, w, &with);
}
