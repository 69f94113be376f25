/* check_kernel_linear.c - every linear twin, the reference included: compared with
 * float64 within the bound of kernels.h, and with itself, bit for bit, in other batches.
 * --bench times the same calls, as fractions of the ceilings. */
#define _GNU_SOURCE
#include "kernel.h"

#include "kernel/panel.h"

typedef struct {
    size_t k, n_panels, m;
    enum fill fill;
} shape;

typedef struct {
    const char *rung;
    const glia_kernels *kernels;
    glia_gemm_fn *gemm;
    glia_weight_format format;
} twin;

static const char *name_of(const twin *t) { return glia_weight_traits[t->format].name; }

static void run(const twin *t, float *y, size_t ldy, const float *x, size_t ldx, const void *panels, size_t k,
                size_t n_panels, size_t m) {
    run_f32(t->gemm, y, ldy, x, ldx, panels, NULL, k, n_panels, m);
}

/* A value near v that the format, and for comparisons float32, holds exactly. */
static float stored(glia_weight_format format, float v) {
    if (format != GLIA_WEIGHT_F16) return to_bf16(v);
    return glia_f16_to_f32(glia_f32_to_f16(fmaxf(-65504, fminf(65504, v))));
}

/* Fill panels with random columns; w [columns, k] gets the values. The last column is zero. */
static void fill_panels(void *panels, float *w, const twin *t, const shape *s) {
    const size_t columns = s->n_panels * GLIA_PANEL;
    for (size_t c = 0; c < columns; c++)
        for (size_t i = 0; i < s->k; i++) {
            const float v = fill_value(s->fill, i, s->k, i ? w[c * s->k + i - 1] : 0);
            w[c * s->k + i] = c + 1 == columns ? 0.0f : stored(t->format, v);
        }
    for (size_t p = 0; p < s->n_panels; p++) {
        const void *rows[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) rows[c] = w + (p * GLIA_PANEL + c) * s->k;
        if (p + 1 == s->n_panels) rows[GLIA_PANEL - 1] = NULL;
        t->kernels->pack((char *)panels + p * glia_panel_bytes(t->format, s->k),
                         glia_weight_traits[t->format].element, rows, GLIA_DTYPE_F32, s->k);
    }
}

static void check_value(const twin *t, const shape *s, const float *x, const float *w, float y, size_t row,
                        size_t column) {
    double exact = 0, magnitude = 0;
    for (size_t i = 0; i < s->k; i++) {
        const double term = (double)x[i] * (double)w[i];
        exact += term;
        magnitude += fabs(term);
    }
    const double nu = (double)s->k * 0x1p-24;
    const double bound =
        nu / (1 - nu) * magnitude + (double)s->k * 0x1p-149; /* the last term is for underflow */
    CHECK(fabs((double)y - exact) <= bound,
          "%s %s k=%zu panels=%zu m=%zu fill=%d at %zu,%zu: got %.9g want %.9g +- %.2g", t->rung, name_of(t),
          s->k, s->n_panels, s->m, (int)s->fill, row, column, (double)y, exact, bound);
}

/* Each row alone and each panel alone, in reverse order, give the same bits. */
static void check_company(const twin *t, const shape *s, const float *y, size_t ldy, const float *x,
                          size_t ldx, const char *panels) {
    const size_t columns = s->n_panels * GLIA_PANEL, panel_bytes = glia_panel_bytes(t->format, s->k);
    float *other = check_guarded(s->m * columns * sizeof *other);
    for (size_t r = s->m; r-- > 0;)
        run(t, other + r * columns, 0, x + r * ldx, 0, panels, s->k, s->n_panels, 1);
    for (size_t r = 0; r < s->m; r++)
        CHECK(same_bits(other + r * columns, y + r * ldy, columns),
              "%s %s k=%zu m=%zu: row %zu alone differs", t->rung, name_of(t), s->k, s->m, r);
    for (size_t p = s->n_panels; p-- > 0;)
        run(t, other + p * GLIA_PANEL, columns, x, ldx, panels + p * panel_bytes, s->k, 1, s->m);
    for (size_t r = 0; r < s->m; r++)
        CHECK(same_bits(other + r * columns, y + r * ldy, columns),
              "%s %s k=%zu m=%zu: panels alone differ at row %zu", t->rung, name_of(t), s->k, s->m, r);
    check_guarded_free(other, s->m * columns * sizeof *other);
}

static void check_shape(const twin *t, shape s) {
    const size_t columns = s.n_panels * GLIA_PANEL, ldx = s.k + s.m % 3, ldy = columns + s.m % 5;
    const size_t panel_bytes = glia_panel_bytes(t->format, s.k), xn = ((s.m - 1) * ldx + s.k) * sizeof(float);
    const size_t yn = ((s.m - 1) * ldy + columns) * sizeof(float), wn = columns * s.k * sizeof(float);
    char *panels = check_guarded(s.n_panels * panel_bytes);
    float *w = check_guarded(wn), *x = check_guarded(xn), *y = check_guarded(yn);
    fill_panels(panels, w, t, &s);
    for (size_t i = 0; i < xn / sizeof *x; i++)
        x[i] = fill_value(s.fill == SPIKE ? RANDOM : s.fill, i, 0, i ? x[i - 1] : 0);
    if (s.fill == CANCEL) /* the terms of w cancel only if all x are equal */
        for (size_t i = 1; i < xn / sizeof *x; i++) x[i] = x[0];

    memset(y, 0xff, yn); /* NaN: an unwritten element shows, and so does a write outside */
    run(t, y, ldy, x, ldx, panels, s.k, s.n_panels, s.m);
    for (size_t r = 0; r < s.m; r++) {
        for (size_t c = 0; c<columns; c += s.k> 600 ? 7 : 1)
            check_value(t, &s, x + r * ldx, w + c * s.k, y[r * ldy + c], r, c);
        for (size_t c = columns; c < ldy && r + 1 < s.m; c++)
            CHECK(isnan(y[r * ldy + c]), "%s %s: wrote past column %zu", t->rung, name_of(t), columns);
    }
    check_company(t, &s, y, ldy, x, ldx, panels);
    check_guarded_free(panels, s.n_panels * panel_bytes);
    check_guarded_free(w, wn);
    check_guarded_free(x, xn);
    check_guarded_free(y, yn);
}

/* Weights of 16 bits give the same bits as the float32 weights that they widen to. */
static void check_widening(const glia_kernels *k, const char *rung, glia_weight_format format) {
    const shape s = {1037, 3, 7, RANDOM};
    const twin narrow = {rung, k, k->gemm[format][GLIA_ROWS_F32].store, format},
               wide = {rung, k, k->gemm[GLIA_WEIGHT_F32][GLIA_ROWS_F32].store, GLIA_WEIGHT_F32};
    enum { COLUMNS = 48 };
    float *w = bench_memory(COLUMNS * s.k * 4), *x = bench_memory(s.m * s.k * 4),
          *y = bench_memory(2 * s.m * COLUMNS * 4);
    void *a = bench_memory(3 * glia_panel_bytes(format, s.k)),
         *b = bench_memory(3 * glia_panel_bytes(GLIA_WEIGHT_F32, s.k));
    fill_panels(a, w, &narrow, &s);
    for (size_t p = 0; p < s.n_panels; p++) {
        const void *rows[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) rows[c] = w + (p * GLIA_PANEL + c) * s.k;
        k->pack((char *)b + p * glia_panel_bytes(GLIA_WEIGHT_F32, s.k), GLIA_DTYPE_F32, rows, GLIA_DTYPE_F32,
                s.k);
    }
    for (size_t i = 0; i < s.m * s.k; i++) x[i] = check_uniform();
    run(&narrow, y, COLUMNS, x, s.k, a, s.k, s.n_panels, s.m);
    run(&wide, y + s.m * COLUMNS, COLUMNS, x, s.k, b, s.k, s.n_panels, s.m);
    CHECK(same_bits(y, y + s.m * COLUMNS, s.m * COLUMNS), "%s: %s and float32 weights of equal value differ",
          rung, name_of(&narrow));
    free(w), free(x), free(y), free(a), free(b);
}

/* The error for random data. An addition to a partial sum of n terms of spread s has an
 * error of about n^(1/2) s u. So the three levels of kernel/panel.h have an error of
 * s u (k (CHAIN + RUN / CHAIN + k / RUN) / 2)^(1/2). One chain would have
 * s u k / 2^(1/2), eight times as much at this k. */
static void check_spread(const twin *t) {
    enum { K = 8192, N_PANELS = 4, M = 8, COLUMNS = N_PANELS * GLIA_PANEL };
    const shape s = {K, N_PANELS, M, RANDOM};
    float *w = bench_memory(COLUMNS * K * 4), *x = bench_memory(M * K * 4),
          *y = bench_memory(M * COLUMNS * 4);
    void *panels = bench_memory(N_PANELS * glia_panel_bytes(t->format, K));
    double square = 0;
    fill_panels(panels, w, t, &s);
    for (size_t i = 0; i < M * K; i++) x[i] = check_uniform();
    run(t, y, COLUMNS, x, K, panels, K, N_PANELS, M);
    for (size_t r = 0; r < M; r++)
        for (size_t c = 0; c < COLUMNS; c++) {
            double exact = 0;
            for (size_t i = 0; i < K; i++) exact += (double)x[r * K + i] * (double)w[c * K + i];
            square += (exact - (double)y[r * COLUMNS + c]) * (exact - (double)y[r * COLUMNS + c]);
        }
    const double got = sqrt(square / (M * COLUMNS)),
                 spread = 1.0 / 3; /* the spread of a product of two uniforms */
    const double levels = GLIA_CHAIN + (double)GLIA_RUN / GLIA_CHAIN + (double)K / GLIA_RUN;
    const double bound = 0x1p-24 * spread * sqrt(K * levels / 2);
    CHECK(got <= bound, "%s %s: error of random sums is %.3g, three levels give at most %.3g", t->rung,
          name_of(t), got, bound);
    free(w), free(x), free(y), free(panels);
}

static void check_twin(const twin *t) {
    static const size_t long_k[] = {255, 256, 257, 511, 512, 513, 1024, 1030, 2047};
    for (size_t k = 1; k <= 67; k++) /* every tail, at least twice */
        for (int f = 0; f < FILLS; f++) check_shape(t, (shape){k, 1 + k % 5, 1 + k % 14, (enum fill)f});
    for (size_t m = 1; m <= 40; m++) check_shape(t, (shape){33, 1 + m % 9, m, RANDOM});
    for (size_t i = 0; i < sizeof long_k / sizeof *long_k; i++)
        for (int f = 0; f < FILLS; f++) check_shape(t, (shape){long_k[i], 1 + i, 1 + i * 2, (enum fill)f});
    check_spread(t);
    check_shape(t, (shape){11008, 2, 3, RANDOM}); /* SmolLM3-3B ffn */
    run(t, NULL, 0, NULL, 0, NULL, 4, 0, 0);      /* no rows: nothing is touched */
}

enum { ROUNDS = 9, DECODE_BYTES = 256 << 20 };

/* Print median fractions of both ceilings, which are measured next to each round. If
 * `read_from` is given, weights come from memory, and the read ceiling is measured on
 * the same bytes. */
static void bench(const twin *t, size_t k, size_t n_panels, size_t m, const void *w, const void *read_from) {
    float *x = bench_memory(m * k * sizeof *x), *y = bench_memory(m * n_panels * 64);
    double rate[ROUNDS], of_peak[ROUNDS], of_read[ROUNDS];
    const double bytes = (double)(n_panels * glia_panel_bytes(t->format, k));
    const double flops = 2.0 * (double)(m * k * n_panels * GLIA_PANEL);
    for (size_t i = 0; i < m * k; i++) x[i] = check_uniform();
    for (int i = 0; i < ROUNDS; i++) {
        const double peak = peak_now(t->kernels);
        const double read = read_from ? read_now(t->kernels, read_from, DECODE_BYTES) : 1;
        const double t0 = cpu_seconds();
        run(t, y, n_panels * GLIA_PANEL, x, k, w, k, n_panels, m);
        const double seconds = cpu_seconds() - t0;
        rate[i] = flops / seconds;
        of_peak[i] = rate[i] / peak;
        of_read[i] = bytes / seconds / read;
    }
    printf("linear_%s %-6s m=%-3zu k=%-5zu n=%-6zu %7.1f GFLOP/s  %5.1f%% of peak", name_of(t), t->rung, m, k,
           n_panels * GLIA_PANEL, median(rate, ROUNDS) * 1e-9, median(of_peak, ROUNDS) * 100);
    if (read_from) printf("  %5.1f%% of read", median(of_read, ROUNDS) * 100);
    printf("\n");
    free(x), free(y);
}

static void bench_twin(const twin *t) {
    char *w = bench_memory(DECODE_BYTES);
    static const size_t from_memory[] = {1, 2, 3, 4, 6, 8, 12, 16, 32, 64}, k[] = {1024, 3072, 4096};
    const bool ref = !strcmp(t->rung, "ref");
    const size_t all = DECODE_BYTES / glia_panel_bytes(t->format, 2048);
    for (size_t i = 0; i < sizeof from_memory / sizeof *from_memory && !ref; i++)
        bench(t, 2048, all, from_memory[i], w, w);
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) bench(t, k[i], 32, ref ? 32 : 512, w, NULL);
    free(w);
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    int twins = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels k;
        if (!rung_table(&k, i)) continue;
        for (int f = GLIA_WEIGHT_F32; f <= GLIA_WEIGHT_F16; f++, twins++) {
            const twin t = {glia_rungs[i].name, &k, k.gemm[f][GLIA_ROWS_F32].store, (glia_weight_format)f};
            if (want_bench)
                bench_twin(&t);
            else
                check_twin(&t);
        }
        check_widening(&k, glia_rungs[i].name, GLIA_WEIGHT_BF16);
        check_widening(&k, glia_rungs[i].name, GLIA_WEIGHT_F16);
    }
    printf("linear: %d twins checked\n", twins);
    return check_end("check_kernel_linear");
}
