/* check_kernel_int8.c - int8 weights with float rows and with int8 rows. Integers,
 * scales and sums of int8 rows equal the plain-C definition bit for bit. Sums of float
 * rows equal, bit for bit, those of the same integers as bfloat16 weights, and are within
 * the bound of kernels.h of float64. AVX2 and AVX-512 are checked with VNNI and without. --bench
 * prints fractions of the ceilings. */
#define _GNU_SOURCE
#include "kernel.h"

#include "kernel/panel.h"

typedef struct {
    const char *name;
    glia_kernels k;
} rung;

typedef struct {
    size_t k, n_panels, m, columns, ldx, ldy, ldq, panel_bytes;
    enum fill fill;
    float *w;                 /* [columns, k] */
    float *x;                 /* [m, ldx], bfloat16 values */
    float *y;                 /* [m, ldy] */
    int8_t *q;                /* [m, ldq] */
    float *row_scale, *scale; /* [m], [columns] */
    char *panels;             /* int8 */
} product;

static size_t y_bytes(const product *p) { return ((p->m - 1) * p->ldy + p->columns) * sizeof(float); }
static size_t x_bytes(const product *p) { return ((p->m - 1) * p->ldx + p->k) * sizeof(float); }

/* The last column is missing, the column before it is zero, all others are random. The
 * last row is zero. */
static product make(const glia_kernels *k, size_t depth, size_t n_panels, size_t m, enum fill fill) {
    product p = {.k = depth, .n_panels = n_panels, .m = m, .columns = n_panels * GLIA_PANEL, .fill = fill};
    p.ldx = depth + m % 3;
    p.ldy = p.columns + m % 5;
    p.ldq = (depth + 63) / 64 * 64 + m % 2 * 64;
    p.panel_bytes = glia_panel_bytes(GLIA_WEIGHT_I8, depth);
    p.w = check_guarded(p.columns * depth * sizeof *p.w);
    p.x = check_guarded(x_bytes(&p));
    p.y = check_guarded(y_bytes(&p));
    p.q = check_guarded(((m - 1) * p.ldq + (depth + 63) / 64 * 64));
    p.row_scale = check_guarded(m * sizeof(float));
    p.scale = check_guarded(p.columns * sizeof(float));
    p.panels = check_guarded(n_panels * p.panel_bytes);
    for (size_t c = 0; c < p.columns; c++) {
        for (size_t i = 0; i < depth; i++)
            p.w[c * depth + i] =
                c + 2 == p.columns ? 0 : fill_value(fill, i, depth, i ? p.w[c * depth + i - 1] : 0);
        const float most = c + 1 == p.columns ? 0 : k->absmax(p.w + c * depth, GLIA_DTYPE_F32, depth);
        p.scale[c] = most / GLIA_I8_MAX >= 0x1p-126f ? most / GLIA_I8_MAX : 0;
    }
    for (size_t i = 0; i < n_panels; i++) {
        const void *rows[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) rows[c] = p.w + (i * GLIA_PANEL + c) * depth;
        if (i + 1 == n_panels) rows[GLIA_PANEL - 1] = NULL;
        k->pack_i8(p.panels + i * p.panel_bytes, rows, GLIA_DTYPE_F32, depth, p.scale + i * GLIA_PANEL);
    }
    for (size_t i = 0; i < x_bytes(&p) / sizeof *p.x; i++)
        p.x[i] = to_bf16(fill == CANCEL ? 0.75f : fill_value(fill == SPIKE ? RANDOM : fill, i, 0, 0));
    for (size_t i = 0; m > 1 && i < depth; i++) p.x[(m - 1) * p.ldx + i] = 0;
    for (size_t r = 0; r < m; r++)
        k->quantize(p.q + r * p.ldq, 64, p.row_scale + r, p.x + r * p.ldx, 64, GLIA_DTYPE_F32, depth);
    return p;
}

static void release(const product *p) {
    check_guarded_free(p->w, p->columns * p->k * sizeof *p->w);
    check_guarded_free(p->x, x_bytes(p));
    check_guarded_free(p->y, y_bytes(p));
    check_guarded_free(p->q, (p->m - 1) * p->ldq + (p->k + 63) / 64 * 64);
    check_guarded_free(p->row_scale, p->m * sizeof(float));
    check_guarded_free(p->scale, p->columns * sizeof(float));
    check_guarded_free(p->panels, p->n_panels * p->panel_bytes);
}

/* ---- quantisation ---------------------------------------------------------- */

/* The rule of kernels.h, implemented a second time. */
static void check_packed(const rung *r, const product *p) {
    for (size_t c = 0; c < p->columns; c++)
        for (size_t i = 0; i < (p->k + 3) / 4 * 4; i++) {
            const int8_t *panel = (const int8_t *)p->panels + c / GLIA_PANEL * p->panel_bytes;
            const bool there = i < p->k && c + 1 < p->columns && p->scale[c] > 0;
            const float want = there ? rintf(p->w[c * p->k + i] / p->scale[c]) : 0;
            CHECK((float)panel[glia_i8_at(i, c % GLIA_PANEL)] == want && fabsf(want) <= 127,
                  "%s k=%zu fill=%d column %zu, %zu: %d, want %g", r->name, p->k, (int)p->fill, c, i,
                  panel[glia_i8_at(i, c % GLIA_PANEL)], (double)want);
        }
}

static void check_quantized(const rung *r, const product *p) {
    for (size_t row = 0; row < p->m; row++) {
        const float *x = p->x + row * p->ldx;
        float most = 0;
        for (size_t i = 0; i < p->k; i++) most = fmaxf(most, fabsf(x[i]));
        const bool zero = most < 0x1p-120f;
        const float scale = zero ? 0 : most / 127, steps = zero ? 0 : 127 / most;
        CHECK(p->row_scale[row] == scale, "%s k=%zu row %zu: scale %g, want %g", r->name, p->k, row,
              (double)p->row_scale[row], (double)scale);
        for (size_t i = 0; i < (p->k + 63) / 64 * 64; i++) {
            const float want = i < p->k ? rintf(x[i] * steps) : 0;
            CHECK((float)p->q[row * p->ldq + i] == want, "%s k=%zu row %zu, %zu: %d, want %g", r->name, p->k,
                  row, i, p->q[row * p->ldq + i], (double)want);
        }
    }
}

/* The same row, read and written in steps with gaps between them. */
static void check_steps(const rung *r, const char *row, glia_dtype from, size_t k, const int8_t *want,
                        float want_scale) {
    enum { STEPS = 10, X_STEP = 192, Q_STEP = 128 };
    char x[STEPS * X_STEP];
    int8_t q[STEPS * Q_STEP];
    const size_t bytes = k * (from == GLIA_DTYPE_F32 ? 4 : 2);
    float scale;
    memset(x, 0x7f, sizeof x); /* NaN between the steps */
    memset(q, 0x55, sizeof q);
    for (size_t at = 0; at < bytes; at++) x[at / 64 * X_STEP + at % 64] = row[at];
    r->k.quantize(q, Q_STEP, &scale, x, X_STEP, from, k);
    CHECK(same_bits(&scale, &want_scale, 1), "%s: k=%zu: scale of steps %g, want %g", r->name, k,
          (double)scale, (double)want_scale);
    for (size_t i = 0; i < sizeof q; i++) {
        const size_t c = i / Q_STEP * 64 + i % Q_STEP;
        const bool mine = i % Q_STEP < 64 && c < (k + 63) / 64 * 64;
        CHECK(q[i] == (mine ? want[c] : 0x55), "%s: k=%zu: byte %zu of steps is %d", r->name, k, i, q[i]);
    }
}

/* Rows of random bits, from each format, at odd addresses, equal the reference. */
static void check_bits(const rung *r, const glia_kernels *ref) {
    enum { K = 150 };
    static const glia_dtype formats[] = {GLIA_DTYPE_F32, GLIA_DTYPE_BF16, GLIA_DTYPE_F16};
    for (int turn = 0; turn < 300; turn++) {
        const glia_dtype from = formats[turn % 3];
        const size_t k = 1 + check_u32() % K, bytes = k * (from == GLIA_DTYPE_F32 ? 4 : 2);
        char *row = check_guarded(bytes + 1);
        for (size_t i = 0; i < bytes; i++) {
            row[i] = (char)check_u32();
            const size_t unit = from == GLIA_DTYPE_F32 ? 4 : 2;
            if (turn % 2 && i % unit == unit - 1) row[i] &= (char)0xbf; /* no large exponents */
        }
        const float a = r->k.absmax(row, from, k), b = ref->absmax(row, from, k);
        CHECK(same_bits(&a, &b, 1), "%s: absmax %g, want %g", r->name, (double)a, (double)b);
        int8_t q[2][K + 64];
        float scale[2];
        memset(q, 0x55, sizeof q);
        if (from != GLIA_DTYPE_F16) {
            r->k.quantize(q[0], 64, &scale[0], row, 64, from, k);
            ref->quantize(q[1], 64, &scale[1], row, 64, from, k);
            CHECK(!memcmp(q[0], q[1], sizeof q[0]), "%s: rows of format %d, k=%zu differ", r->name, (int)from,
                  k);
            CHECK(same_bits(&scale[0], &scale[1], 1), "%s: scales of rows differ: %g, want %g", r->name,
                  (double)scale[0], (double)scale[1]);
            check_steps(r, row, from, k, q[1], scale[1]);
        }
        if (isfinite(a) && a / 127 >= 0x1p-126f) {
            char *panel[2];
            const void *rows[GLIA_PANEL] = {row, NULL, row};
            const float scales[GLIA_PANEL] = {a / 127, 0, a};
            for (int i = 0; i < 2; i++) {
                panel[i] = check_guarded(glia_panel_bytes(GLIA_WEIGHT_I8, k));
                (i ? ref : &r->k)->pack_i8(panel[i], rows, from, k, scales);
            }
            CHECK(!memcmp(panel[0], panel[1], glia_panel_bytes(GLIA_WEIGHT_I8, k)),
                  "%s: panels from format %d, k=%zu differ", r->name, (int)from, k);
            for (int i = 0; i < 2; i++) check_guarded_free(panel[i], glia_panel_bytes(GLIA_WEIGHT_I8, k));
        }
        check_guarded_free(row, bytes + 1);
    }
}

/* ---- products ------------------------------------------------------------- */

static void check_outside(const rung *r, const product *p) {
    for (size_t row = 0; row + 1 < p->m; row++)
        for (size_t c = p->columns; c < p->ldy; c++)
            CHECK(isnan(p->y[row * p->ldy + c]), "%s k=%zu m=%zu: wrote past column %zu", r->name, p->k, p->m,
                  p->columns);
}

enum { FEW_ROWS = 4 }; /* more rows than these are in steps, as the device lays them out */

static _Alignas(64) char scratch[GLIA_GEMM_SCRATCH];

/* AMX tiles, and kernels with the same sums, treat denormals as zero. */
static float flushed(float v, bool flush) { return flush && fabsf(v) < 0x1p-126f ? 0 : v; }

/* Rows in steps, 64 bytes apart, give the bits that p->y has of the row-major rows x, [m, bytes], ld bytes
 * apart. */
static void check_stepped(const rung *r, const product *p, glia_row_format format, const char *x, size_t ld,
                          size_t bytes) {
    const size_t steps = (bytes + 63) / 64;
    const bool i8 = format == GLIA_ROWS_I8;
    char *rows = check_guarded(steps * p->m * 64);
    float *y = bench_memory(p->m * p->columns * sizeof *y);
    for (size_t row = 0; row < p->m; row++)
        for (size_t s = 0; s < steps; s++) memcpy(rows + (s * p->m + row) * 64, x + row * ld + s * 64, 64);
    const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = y, .ldy = p->columns};
    run_gemm(r->k.gemm[GLIA_WEIGHT_I8][format].finish, &out,
             (glia_gemm_rows){rows, 64, p->m * 64, i8 ? p->row_scale : NULL}, p->panels, p->scale, p->k,
             p->n_panels, p->m, scratch);
    for (size_t row = 0; row < p->m; row++)
        CHECK(same_bits(y + row * p->columns, p->y + row * p->ldy, p->columns),
              "%s %s rows k=%zu panels=%zu m=%zu fill=%d: row %zu in steps differs", r->name,
              i8 ? "int8" : "bfloat16", p->k, p->n_panels, p->m, (int)p->fill, row);
    free(y);
    check_guarded_free(rows, steps * p->m * 64);
}

static void check_w8a8(const rung *r, product *p, bool narrow) {
    const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = p->y, .ldy = p->ldy};
    memset(p->y, 0xff, y_bytes(p));
    const glia_gemm_kernel *kernel = &r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8];
    run_gemm(narrow ? kernel->finish : kernel->store, &out, (glia_gemm_rows){p->q, p->ldq, 64, p->row_scale},
             p->panels, p->scale, p->k, p->n_panels, p->m, scratch);
    for (size_t row = 0; row < p->m; row++)
        for (size_t c = 0; c < p->columns; c++) {
            const int8_t *panel = (const int8_t *)p->panels + c / GLIA_PANEL * p->panel_bytes;
            int64_t sum = 0;
            for (size_t i = 0; i < p->k; i++)
                sum += p->q[row * p->ldq + i] * panel[glia_i8_at(i, c % GLIA_PANEL)];
            const float scale = flushed(p->row_scale[row] * p->scale[c], narrow);
            const float want = flushed((float)sum * scale, narrow), got = p->y[row * p->ldy + c];
            CHECK(got == want || (isnan(got) && isnan(want)),
                  "%s w8a8 k=%zu panels=%zu m=%zu fill=%d at %zu,%zu: got %.9g want %.9g", r->name, p->k,
                  p->n_panels, p->m, (int)p->fill, row, c, (double)got, (double)want);
        }
    check_outside(r, p);
    if (narrow && p->m > FEW_ROWS)
        check_stepped(r, p, GLIA_ROWS_I8, (const char *)p->q, p->ldq, (p->k + 63) / 64 * 64);
}

/* The same integers as a panel of bfloat16. */
static char *as_bf16(const product *p) {
    const size_t bytes = glia_panel_bytes(GLIA_WEIGHT_BF16, p->k);
    char *panels = bench_memory(p->n_panels * bytes);
    for (size_t c = 0; c < p->columns; c++)
        for (size_t i = 0; i < p->k; i++)
            glia_panel_set(panels + c / GLIA_PANEL * bytes, GLIA_DTYPE_BF16, i, c % GLIA_PANEL,
                           glia_panel_get(p->panels + c / GLIA_PANEL * p->panel_bytes, GLIA_DTYPE_I8, i,
                                          c % GLIA_PANEL));
    return panels;
}

static void check_same(const rung *r, const product *p, const float *want, bool narrow) {
    for (size_t row = 0; row < p->m; row++)
        for (size_t c = 0; c < p->columns; c++) {
            const float scaled = flushed(want[row * p->columns + c] * p->scale[c], narrow);
            const float got = p->y[row * p->ldy + c];
            CHECK(!memcmp(&got, &scaled, sizeof got) || (narrow && scaled == 0 && got == 0),
                  "%s %s k=%zu panels=%zu m=%zu fill=%d at %zu,%zu: got %a want %a", r->name,
                  narrow ? "bfloat16 rows" : "float32 rows", p->k, p->n_panels, p->m, (int)p->fill, row, c,
                  (double)got, (double)scaled);
        }
    check_outside(r, p);
}

static void check_float_rows(const rung *r, product *p) {
    char *panels = as_bf16(p);
    float *want = bench_memory(p->m * p->columns * sizeof *want);
    run_f32(r->k.gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_F32].store, want, p->columns, p->x, p->ldx, panels, NULL,
            p->k, p->n_panels, p->m);
    memset(p->y, 0xff, y_bytes(p));
    run_f32(r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_F32].store, p->y, p->ldy, p->x, p->ldx, p->panels, p->scale,
            p->k, p->n_panels, p->m);
    check_same(r, p, want, false);
    for (size_t c = 0; c < p->columns; c += 3) {
        double exact = 0, magnitude = 0;
        for (size_t i = 0; i < p->k; i++) {
            const float w =
                glia_panel_get(p->panels + c / GLIA_PANEL * p->panel_bytes, GLIA_DTYPE_I8, i, c % GLIA_PANEL);
            exact += (double)p->x[i] * (double)w;
            magnitude += fabs((double)p->x[i] * (double)w);
        }
        const double nu = (double)(p->k + 1) * 0x1p-24, scale = (double)p->scale[c];
        const double bound = nu / (1 - nu) * magnitude * scale + (double)p->k * 0x1p-149 * (scale + 1);
        CHECK(fabs((double)p->y[c] - exact * scale) <= bound,
              "%s k=%zu fill=%d column %zu: got %.9g want %.9g +- %.2g", r->name, p->k, (int)p->fill, c,
              (double)p->y[c], exact * scale, bound);
    }
    if (r->k.narrow) {
        const size_t ld = (p->k + 31) / 32 * 32;
        uint16_t *x = check_guarded(p->m * ld * sizeof *x);
        memset(x, 0, p->m * ld * sizeof *x);
        for (size_t row = 0; row < p->m; row++)
            for (size_t i = 0; i < p->k; i++) x[row * ld + i] = glia_f32_to_bf16(p->x[row * p->ldx + i]);
        const glia_gemm_out mine = {.epilogue = GLIA_STORE, .y = p->y, .ldy = p->ldy};
        const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = want, .ldy = p->columns};
        const glia_gemm_rows rows = {x, ld * sizeof *x, 64, NULL};
        run_gemm(r->k.gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &out, rows, panels, NULL, p->k,
                 p->n_panels, p->m, scratch);
        memset(p->y, 0xff, y_bytes(p));
        run_gemm(r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_BF16].finish, &mine, rows, p->panels, p->scale, p->k,
                 p->n_panels, p->m, scratch);
        check_same(r, p, want, true);
        if (p->m > FEW_ROWS)
            check_stepped(r, p, GLIA_ROWS_BF16, (const char *)x, ld * sizeof *x, ld * sizeof *x);
        check_guarded_free(x, p->m * ld * sizeof *x);
    }
    free(panels), free(want);
}

static void check_shape(const rung *r, size_t k, size_t n_panels, size_t m, enum fill fill) {
    product p = make(&r->k, k, n_panels, m, fill);
    check_packed(r, &p);
    check_quantized(r, &p);
    check_w8a8(r, &p, false);
    if (r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].finish) check_w8a8(r, &p, true);
    check_float_rows(r, &p);
    release(&p);
}

/* Epilogues of a rung with bfloat16 rows: a row alone and in a batch has the same bits, which are
 * those of the plain product followed by plain arithmetic. */
static void check_epilogues(const rung *r) {
    for (int turn = 0; turn < 24; turn++) {
        const size_t m = turn % 2 ? 1 + check_u32() % 2 : 3 + check_u32() % 60;
        product p = make(&r->k, 1 + check_u32() % 300, 4, m, RANDOM);
        float *y = bench_memory(m * p.columns * sizeof *y), *alone = bench_memory(p.columns * sizeof *alone);
        float bias[4 * GLIA_PANEL];
        const glia_epilogue epilogue = turn % 3 == 0 ? GLIA_STORE : turn % 3 == 1 ? GLIA_ADD : GLIA_SWIGLU;
        for (size_t i = 0; i < p.columns; i++) bias[i] = check_uniform();
        for (size_t i = 0; i < m * p.columns; i++) y[i] = 1;
        const size_t step = epilogue == GLIA_SWIGLU ? 16 : 0;
        const glia_gemm_out all = {.epilogue = epilogue,
                                   .y = y,
                                   .ldy = p.columns,
                                   .bias = bias,
                                   .step = step},
                            plain = {.y = p.y, .ldy = p.ldy};
        const glia_gemm_kernel *kernel = &r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8];
        const glia_gemm_rows rows = {p.q, p.ldq, 64, p.row_scale};
        run_gemm(kernel->finish, &all, rows, p.panels, p.scale, p.k, 4, m, scratch);
        run_gemm(kernel->store, &plain, rows, p.panels, p.scale, p.k, 4, m, NULL);
        for (size_t row = 0; row < m; row++) {
            const glia_gemm_out one = {
                .epilogue = epilogue, .y = alone, .ldy = p.columns, .bias = bias, .step = step};
            const size_t bytes = epilogue == GLIA_SWIGLU ? p.columns : p.columns * sizeof *alone;
            for (size_t i = 0; i < p.columns; i++) alone[i] = 1;
            run_gemm(kernel->finish, &one, (glia_gemm_rows){p.q + row * p.ldq, p.ldq, 64, p.row_scale + row},
                     p.panels, p.scale, p.k, 4, 1, scratch);
            CHECK(!memcmp(alone, y + row * p.columns, bytes),
                  "%s: epilogue %d of row %zu of %zu differs alone", r->name, (int)epilogue, row, m);
            for (size_t c = 0; epilogue != GLIA_SWIGLU && c < p.columns; c++) {
                const float t = p.y[row * p.ldy + c] + bias[c];
                CHECK(alone[c] == (epilogue == GLIA_ADD ? 1 + t : t), "%s: epilogue %d, column %zu", r->name,
                      (int)epilogue, c);
            }
        }
        free(y), free(alone);
        release(&p);
    }
}

/* The largest products with the longest sum allowed, and signs that would saturate pairs. */
static void check_extremes(const rung *r) {
    static const int8_t ends[] = {127, -127};
    for (int turn = 0; turn < 4; turn++) {
        const size_t k = turn == 0 ? GLIA_I8_K_MAX : 600;
        int8_t *q = bench_memory(k + 64);
        int8_t *panel = bench_memory(glia_panel_bytes(GLIA_WEIGHT_I8, k));
        float scale[GLIA_PANEL], one = 1, y[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) scale[c] = 1;
        for (size_t i = 0; i < k; i++) {
            q[i] = ends[turn >> 1];
            for (size_t c = 0; c < GLIA_PANEL; c++) panel[glia_i8_at(i, c)] = ends[turn & 1];
        }
        const glia_gemm_out out = {.y = y, .ldy = GLIA_PANEL};
        run_gemm(r->k.gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].store, &out, (glia_gemm_rows){q, k + 64, 64, &one},
                 panel, scale, k, 1, 1, NULL);
        const float want = (float)((int64_t)ends[turn >> 1] * ends[turn & 1] * (int64_t)k);
        for (size_t c = 0; c < GLIA_PANEL; c++)
            CHECK(y[c] == want, "%s: largest products, k=%zu: %.9g, want %.9g", r->name, k, (double)y[c],
                  (double)want);
        free(q), free(panel);
    }
}

static void check_rung(const rung *r, const glia_kernels *ref) {
    static const size_t long_k[] = {255, 256, 257, 511, 512, 513, 1030, 2047};
    for (size_t k = 1; k <= 70; k++)
        for (int f = 0; f < FILLS; f++) check_shape(r, k, 1 + k % 5, 1 + k % 14, (enum fill)f);
    for (size_t m = 1; m <= 67; m++) check_shape(r, 69, 1 + m % 10, m, RANDOM);
    for (size_t i = 0; i < sizeof long_k / sizeof *long_k; i++)
        for (int f = 0; f < FILLS; f++) check_shape(r, long_k[i], 1 + i, 1 + i * 2, (enum fill)f);
    check_shape(r, 4100, 9, 14, RANDOM); /* K in blocks */
    check_shape(r, 80, 3, 530, RANDOM);  /* rows in blocks */
    if (r->k.narrow) {
        check_shape(r, 9000, 3, 100, RANDOM); /* both */
        check_shape(r, 40, 2, 16380, RANDOM); /* two groups of nearly the most rows */
        for (size_t m = 15; m <= 101; m += 3) check_shape(r, 700, 3, m, RANDOM); /* every mixture of blocks */
        check_epilogues(r);
    }
    check_bits(r, ref);
    check_extremes(r);
    for (int rows = 0; rows < GLIA_ROW_FORMATS; rows++) { /* no rows: nothing is touched */
        glia_gemm_fn *store = r->k.gemm[GLIA_WEIGHT_I8][rows].store;
        if (store) store(&(glia_gemm){.k = 4});
    }
}

/* ---- speed ---------------------------------------------------------------- */

enum { ROUNDS = 9, DECODE_BYTES = 256 << 20 };

/* Print the median fraction of the ceiling, measured next to each round: the rate of
 * reading panels for few rows, the peak of the instruction for many rows. */
static void bench(const rung *r, bool w8a8, size_t k, size_t n_panels, size_t m, char *w, bool from_memory) {
    const size_t ldq = (k + 63) / 64 * 64, columns = n_panels * GLIA_PANEL;
    float *x = bench_memory(m * k * sizeof *x), *y = bench_memory(m * columns * sizeof *y);
    float *scale = bench_memory(columns * sizeof *scale), *row_scale = bench_memory(m * sizeof *row_scale);
    int8_t *q = bench_memory(m * ldq);
    double rate[ROUNDS], share[ROUNDS];
    const glia_kernels *kern = &r->k;
    glia_peak_fn *peak = w8a8 && kern->peak_i8   ? kern->peak_i8
                         : kern->narrow && !w8a8 ? kern->peak_bf16
                                                 : kern->peak_f32;
    const glia_gemm_kernel *both = &kern->gemm[GLIA_WEIGHT_I8][w8a8           ? GLIA_ROWS_I8
                                                               : kern->narrow ? GLIA_ROWS_BF16
                                                                              : GLIA_ROWS_F32];
    const bool steps = both->finish && m > FEW_ROWS;
    const size_t stride = w8a8 ? ldq : k * (kern->narrow ? 2 : 4);
    const glia_gemm_rows rows = {w8a8 ? (const void *)q : x, steps ? 64 : stride, steps ? m * 64 : 64,
                                 w8a8 ? row_scale : NULL};
    const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = y, .ldy = columns};
    for (size_t i = 0; i < m * k; i++) x[i] = check_uniform();
    for (int i = 0; i < ROUNDS; i++) {
        double t0 = cpu_seconds();
        const double flops = (double)peak(200000), top = flops / (cpu_seconds() - t0);
        const double read = from_memory ? read_now(kern, w, DECODE_BYTES) : 0;
        t0 = cpu_seconds();
        run_gemm(both->finish ? both->finish : both->store, &out, rows, w, scale, k, n_panels, m, scratch);
        const double seconds = cpu_seconds() - t0;
        const double bytes = (double)(n_panels * glia_panel_bytes(GLIA_WEIGHT_I8, k));
        rate[i] = (from_memory ? bytes : 2.0 * (double)(m * k * columns)) / seconds;
        share[i] = rate[i] / (from_memory ? read : top);
    }
    printf("%s %-6s m=%-3zu k=%-5zu n=%-6zu %7.1f %s  %5.1f%% of %s\n", w8a8 ? "w8a8" : "int8", r->name, m, k,
           columns, median(rate, ROUNDS) * 1e-9, from_memory ? "GB/s " : "Gop/s", median(share, ROUNDS) * 100,
           from_memory ? "read" : "peak");
    free(x), free(y), free(scale), free(row_scale), free(q);
}

static void bench_rung(const rung *r) {
    static const size_t few[] = {1, 2, 4, 8, 32};
    char *w = bench_memory(DECODE_BYTES);
    const size_t k = 2048, all = DECODE_BYTES / glia_panel_bytes(GLIA_WEIGHT_I8, k);
    for (size_t i = 0; i < DECODE_BYTES; i++) w[i] = (char)(check_u32() % 255 - 127);
    for (int w8a8 = 0; w8a8 < 2; w8a8++) {
        for (size_t i = 0; i < sizeof few / sizeof *few; i++) bench(r, w8a8, k, all, few[i], w, true);
        bench(r, w8a8, 1024, 128, 512, w, false);
        bench(r, w8a8, 3072, 64, 512, w, false);
    }
    free(w);
}

/* What may add to a rung without being one. */
static const struct {
    const char *rung, *name;
    unsigned flag;
} additions[] = {{"avx2", "avxvnni", GLIA_CPU_AVX_VNNI}, {"avx512", "vnni", GLIA_CPU_VNNI}};

/* The rung with its addition; false if it has none or this machine lacks it. */
static bool with_addition(rung *r, int i) {
    for (size_t a = 0; a < sizeof additions / sizeof *additions; a++) {
        if (strcmp(additions[a].rung, r->name) != 0) continue;
        if (glia_cpu_flags() & additions[a].flag) {
            glia_kernels_init(&r->k, glia_rungs[i].needs | additions[a].flag);
            r->name = additions[a].name;
            return true;
        }
        check_skip_because("%s with %s: this machine lacks it", r->name, additions[a].name);
    }
    return false;
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    int checked = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        rung r = {.name = glia_rungs[i].name};
        if (!rung_table(&r.k, i)) continue;
        do {
            if (want_bench && i > 0) bench_rung(&r);
            if (!want_bench) check_rung(&r, &ref);
            checked++;
        } while (with_addition(&r, i));
    }
    printf("int8: %d tables checked\n", checked);
    return check_end("kernel_int8");
}
