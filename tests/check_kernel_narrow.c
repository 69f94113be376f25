/* check_kernel_narrow.c - bfloat16 rows times bfloat16 panels (AVX-512 BF16 and AMX): the
 * order of additions that each rung states, bit for bit, in any batch. */
#define _GNU_SOURCE
#include <float.h>

#include "kernel.h"

#include "kernel/panel.h"

enum { STEP = 32 };

typedef struct {
    size_t k, n_panels, m, ldx, ldy;
    uint16_t *x; /* [m, ldx] */
    char *panels;
    float *y; /* [m, ldy] */
} product;

/* AMX's order: 32 products at a time; even k and odd k have separate chains. */
static float define_amx(const float *w, const float *x, size_t k) {
    float sum = 0;
    for (size_t at = 0; at < k; at += STEP) {
        float chain[2] = {0, 0};
        for (size_t i = at; i < at + STEP && i < k; i++) chain[i % 2] = fmaf(x[i], w[i], chain[i % 2]);
        sum += chain[0] + chain[1];
    }
    return sum;
}

/* AVX-512 BF16's order: of each pair of k, the odd one first. */
static float define_pairs(const float *w, const float *x, size_t k) {
    float sum = 0;
    for (size_t i = 0; i < k; i += 2) {
        if (i + 1 < k) sum = fmaf(x[i + 1], w[i + 1], sum);
        sum = fmaf(x[i], w[i], sum);
    }
    return sum;
}

static float define(const glia_kernels *kernels, const product *p, size_t row, size_t column) {
    const char *panel = p->panels + column / GLIA_PANEL * glia_panel_bytes(GLIA_WEIGHT_BF16, p->k);
    float w[p->k], x[p->k];
    for (size_t i = 0; i < p->k; i++) {
        w[i] = glia_panel_get(panel, GLIA_DTYPE_BF16, i, column % GLIA_PANEL);
        x[i] = glia_bf16_to_f32(p->x[row * p->ldx + i]);
    }
    return strcmp(kernels->rung, "amx") == 0 ? define_amx(w, x, p->k) : define_pairs(w, x, p->k);
}

static product make(size_t k, size_t n_panels, size_t m, enum fill fill) {
    product p = {.k = k, .n_panels = n_panels, .m = m, .ldx = (k + STEP - 1) / STEP * STEP};
    p.ldy = n_panels * GLIA_PANEL + m % 3 * 16;
    p.x = check_guarded(m * p.ldx * sizeof *p.x);
    p.panels = check_guarded(n_panels * glia_panel_bytes(GLIA_WEIGHT_BF16, k));
    p.y = check_guarded(((m - 1) * p.ldy + n_panels * GLIA_PANEL) * sizeof *p.y);
    memset(p.x, 0, m * p.ldx * sizeof *p.x);
    memset(p.panels, 0, n_panels * glia_panel_bytes(GLIA_WEIGHT_BF16, k));
    memset(p.y, 0xff, ((m - 1) * p.ldy + n_panels * GLIA_PANEL) * sizeof *p.y);
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < k; i++)
            p.x[r * p.ldx + i] = glia_f32_to_bf16(fill == CANCEL ? 0.75f : check_uniform());
    for (size_t c = 0; c < n_panels * GLIA_PANEL; c++) {
        float before = 0;
        for (size_t i = 0; i < k; i++) {
            char *panel = p.panels + c / GLIA_PANEL * glia_panel_bytes(GLIA_WEIGHT_BF16, k);
            before = fill_value(fill, i, k, before);
            glia_panel_set(panel, GLIA_DTYPE_BF16, i, c % GLIA_PANEL, before);
        }
    }
    return p;
}

static void release(const product *p) {
    check_guarded_free(p->x, p->m * p->ldx * sizeof *p->x);
    check_guarded_free(p->panels, p->n_panels * glia_panel_bytes(GLIA_WEIGHT_BF16, p->k));
    check_guarded_free(p->y, ((p->m - 1) * p->ldy + p->n_panels * GLIA_PANEL) * sizeof *p->y);
}

/* The allowed error: the instructions treat denormals as zero, the definition does not. */
static double slack(enum fill fill, size_t k) {
    return fill == TINY || fill == DENORMAL ? 2.0 * (double)k * 0x1p-126 : 0;
}

static void multiply_rows(const glia_kernels *kernels, const product *p, size_t row, size_t step) {
    static _Alignas(64) char scratch[GLIA_GEMM_SCRATCH];
    const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = p->y, .ldy = p->ldy};
    const glia_gemm_rows x = {p->x, row, step, NULL};
    run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &out, x, p->panels, NULL, p->k,
             p->n_panels, p->m, scratch);
}

/* Row-major rows. */
static void multiply(const glia_kernels *kernels, const product *p) {
    multiply_rows(kernels, p, p->ldx * sizeof *p->x, 2 * STEP);
}

static void check_shape(const glia_kernels *kernels, size_t k, size_t n_panels, size_t m, enum fill fill) {
    product p = make(k, n_panels, m, fill);
    multiply(kernels, &p);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < p.ldy && (r + 1 < m || c < n_panels * GLIA_PANEL); c++) {
            const float got = p.y[r * p.ldy + c];
            if (c >= n_panels * GLIA_PANEL) {
                CHECK(isnan(got), "k=%zu m=%zu: wrote past column %zu", k, m, n_panels * GLIA_PANEL);
                continue;
            }
            const float want = define(kernels, &p, r, c);
            CHECK(slack(fill, k) > 0 ? fabs((double)got - (double)want) <= slack(fill, k) : got == want,
                  "k=%zu panels=%zu m=%zu fill=%d at %zu,%zu: got %.9g want %.9g", k, n_panels, m, (int)fill,
                  r, c, (double)got, (double)want);
        }
    release(&p);
}

/* A row alone and in a batch has the same bits, denormals included. */
static void check_company(const glia_kernels *kernels, size_t k, enum fill fill) {
    product p = make(k, 5, 37, fill);
    float alone[2][5 * GLIA_PANEL];
    multiply(kernels, &p);
    for (size_t r = 0; r + 1 < p.m; r++) {
        const size_t n = 1 + r % 2;
        product q = p;
        q.y = alone[0];
        q.ldy = 5 * GLIA_PANEL;
        q.x += r * p.ldx;
        q.m = n;
        multiply(kernels, &q);
        for (size_t i = 0; i < n; i++)
            CHECK(same_bits(alone[i], p.y + (r + i) * p.ldy, 5 * GLIA_PANEL),
                  "k=%zu fill=%d: row %zu of %zu differs", k, (int)fill, r + i, n);
    }
    release(&p);
}

/* Rows and results in steps give the same bits as row-major ones. */
static void check_steps(const glia_kernels *kernels, size_t k, size_t m, glia_epilogue epilogue,
                        bool biased) {
    static _Alignas(64) char scratch[GLIA_GEMM_SCRATCH];
    enum { PANELS = 6 };
    const bool half = epilogue == GLIA_SWIGLU; /* results are half as many bytes */
    const size_t steps = (k + STEP - 1) / STEP, out_steps = half ? 2 : PANELS / 2, line = half ? 16 : STEP;
    const size_t width = half ? PANELS * 4 : PANELS * GLIA_PANEL, ldy = out_steps * line; /* floats */
    product p = make(k, PANELS, m, RANDOM);
    uint16_t *x = check_guarded(steps * m * STEP * sizeof *x);
    float bias[PANELS * GLIA_PANEL];
    float *rows = check_guarded(m * ldy * sizeof *rows), *in_steps = check_guarded(m * ldy * sizeof *rows);
    for (size_t i = 0; i < PANELS * GLIA_PANEL; i++) bias[i] = check_uniform();
    for (size_t i = 0; i < m * ldy; i++) rows[i] = 1, in_steps[i] = epilogue == GLIA_ADD ? 1 : 2; /* differ */
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < steps * STEP; i++)
            x[i / STEP * m * STEP + r * STEP + i % STEP] = p.x[r * p.ldx + i];
    const glia_gemm_rows row_major = {p.x, p.ldx * sizeof *x, 2 * STEP, NULL},
                         stepped = {x, 64, m * 64, NULL};
    const glia_gemm_out wide = {.epilogue = epilogue,
                                .y = rows,
                                .ldy = ldy,
                                .bias = biased ? bias : NULL,
                                .step = half ? line : 0},
                        y = {.epilogue = epilogue,
                             .y = in_steps,
                             .ldy = line,
                             .bias = biased ? bias : NULL,
                             .step = line * m};
    run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &wide, row_major, p.panels, NULL, k,
             PANELS, m, scratch);
    run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &y, stepped, p.panels, NULL, k, PANELS,
             m, scratch);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < width; c += 8)
            CHECK(!memcmp(rows + r * ldy + c, in_steps + c / line * m * line + r * line + c % line, 32),
                  "k=%zu m=%zu epilogue=%d: row %zu, column %zu in steps differs", k, m, (int)epilogue, r, c);
    check_guarded_free(x, steps * m * STEP * sizeof *x);
    check_guarded_free(rows, m * ldy * sizeof *rows);
    check_guarded_free(in_steps, m * ldy * sizeof *rows);
    release(&p);
}

/* Compare SwiGLU's results with float64 rounded to bfloat16, for any gate. Biases set the
 * gates, because they are much larger than the sums. */
static void check_swiglu(const glia_kernels *kernels, size_t m) {
    static _Alignas(64) char scratch[GLIA_GEMM_SCRATCH];
    enum { K = 40, N = 4 * GLIA_PANEL };
    static const float gates[] = {0,   1,   -1,  5,    -5,   20,    -20,   60,
                                  -60, -80, 100, -100, 1e4f, -1e4f, 1e30f, -1e30f};
    product p = make(K, 4, m, RANDOM);
    float bias[N];
    float *sums = bench_memory(m * N * sizeof *sums), *half = bench_memory(m * 16 * sizeof *half);
    for (size_t c = 0; c < N; c++)
        bias[c] = c / GLIA_PANEL % 2 ? 3 : gates[check_u32() % (sizeof gates / sizeof *gates)];
    const glia_gemm_rows x = {p.x, p.ldx * sizeof *p.x, 2 * STEP, NULL};
    const glia_gemm_out wide = {.epilogue = GLIA_STORE, .y = sums, .ldy = N, .bias = bias},
                        y = {.epilogue = GLIA_SWIGLU, .y = half, .ldy = 16, .bias = bias, .step = 16};
    run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &wide, x, p.panels, NULL, K, 4, m,
             scratch);
    run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &y, x, p.panels, NULL, K, 4, m, scratch);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < N / 2; c++) {
            const float *at = sums + r * N + c / GLIA_PANEL * 2 * GLIA_PANEL + c % GLIA_PANEL;
            const double gate = (double)at[0], want = gate / (1 + exp(-gate)) * (double)at[GLIA_PANEL];
            const double got = (double)glia_bf16_to_f32(((const uint16_t *)(const void *)half)[r * 32 + c]);
            CHECK(fabs(got - want) <= (0x1p-8 + 0x1p-20) * fabs(want) + 0x1p-118,
                  "m=%zu: silu(%g) %g = %g, want %g", m, gate, (double)at[GLIA_PANEL], got, want);
        }
    free(sums), free(half);
    release(&p);
}

/* The definition of factor * x in bfloat16; a denormal x or result becomes zero. */
static uint16_t narrowed(float x, float factor) {
    const float y = fabsf(x) < FLT_MIN ? 0 : x * factor;
    return fabsf(y) < FLT_MIN ? 0 : glia_f32_to_bf16(y);
}

static void check_narrow(const glia_kernels *kernels) {
    enum { N = 99, STEPS = 5, GAP = 3 }; /* GAP columns lie between two steps */
    float x[N];
    for (int round = 0; round < 400; round++) {
        uint16_t y[STEPS * (STEP + GAP)];
        const size_t n = check_u32() % N + 1, first = check_u32() % 60;
        const float factor = round % 2 ? 1 : 1 / (1 + 100 * fabsf(check_uniform()));
        memset(y, 0x12, sizeof y);
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits =
                round % 4 ? check_u32() : check_u32() % 8 << 29 | 0x7f800000 | check_u32() % 3;
            memcpy(&x[i], &bits, 4);
        }
        kernels->narrow(y, (STEP + GAP) * sizeof *y, first, x, factor, n);
        for (size_t c = 0; c < STEPS * STEP; c++) {
            const uint16_t got = y[c / STEP * (STEP + GAP) + c % STEP];
            const bool mine = c >= first && c < first + n;
            const uint16_t want = mine ? narrowed(x[c - first], factor) : 0x1212;
            CHECK(got == want || (want == 0 && got == 0x8000),
                  "narrow of column %zu, [%zu, %zu): %04x, want %04x", c, first, first + n, got, want);
        }
        for (size_t s = 0; s < STEPS; s++)
            for (size_t i = 0; i < GAP; i++)
                CHECK(y[s * (STEP + GAP) + STEP + i] == 0x1212, "narrow wrote between steps");
    }
}

enum { ROUNDS = 9 };

static void bench(const glia_kernels *kernels, size_t k, size_t n_panels, size_t m) {
    product p =
        make(k, n_panels, m, RANDOM); /* k is a multiple of STEP: rows in steps fill the same memory */
    double share[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        double t0 = cpu_seconds();
        const double peak = (double)kernels->peak_bf16(100000) / (cpu_seconds() - t0);
        t0 = cpu_seconds();
        multiply_rows(kernels, &p, 2 * STEP, m * 2 * STEP);
        share[i] = 2.0 * (double)(m * k * n_panels * GLIA_PANEL) / (cpu_seconds() - t0) / peak;
    }
    printf("bf16 rows m=%-3zu k=%-5zu n=%-6zu %5.1f%% of peak\n", m, k, n_panels * GLIA_PANEL,
           median(share, ROUNDS) * 100);
    release(&p);
}

/* Rows of a decoding batch: weights come from memory, in huge pages as in the engine, 64 panels a call. */
static void bench_batch(const glia_kernels *kernels, size_t k, size_t m) {
    enum { PANELS = 64, CALLS = 64 };
    const size_t row = k * sizeof(uint16_t), panels = PANELS * glia_panel_bytes(GLIA_WEIGHT_BF16, k);
    static _Alignas(64) char scratch[GLIA_GEMM_SCRATCH];
    char *w = bench_memory(CALLS * panels);
    uint16_t *x = bench_memory(m * row);
    float *y = bench_memory(m * PANELS * GLIA_PANEL * sizeof *y);
    const glia_gemm_out out = {.epilogue = GLIA_STORE, .y = y, .ldy = PANELS * GLIA_PANEL};
    const glia_gemm_rows rows =
        m > 4 ? (glia_gemm_rows){x, 2 * STEP, m * 2 * STEP, NULL} : (glia_gemm_rows){x, row, 2 * STEP, NULL};
    double share[ROUNDS], rate[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        double t0 = cpu_seconds();
        const double peak = (double)kernels->peak_bf16(100000) / (cpu_seconds() - t0);
        t0 = cpu_seconds();
        for (size_t c = 0; c < CALLS; c++)
            run_gemm(kernels->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish, &out, rows, w + c * panels, NULL,
                     k, PANELS, m, scratch);
        const double seconds = cpu_seconds() - t0;
        share[i] = 2.0 * (double)(m * k * PANELS * GLIA_PANEL * CALLS) / seconds / peak;
        rate[i] = (double)(CALLS * panels) / seconds / 1e9;
    }
    printf("batch m=%-3zu k=%-5zu %5.1f%% of peak, %4.1f GB/s\n", m, k, median(share, ROUNDS) * 100,
           median(rate, ROUNDS));
    free(w);
    free(x);
    free(y);
}

static void check_rung(const glia_kernels *kernels) {
    for (size_t m = 1; m <= 70; m++) check_shape(kernels, 1 + m, 1 + m % 5, m, RANDOM);
    for (int f = 0; f < FILLS; f++) {
        for (size_t k = 31; k <= 161; k += 13) check_shape(kernels, k, 3, 35, (enum fill)f);
        check_company(kernels, 96, (enum fill)f);
        check_company(kernels, 77, (enum fill)f);
    }
    check_shape(kernels, 3000, 3, 33, RANDOM); /* K in blocks */
    check_shape(kernels, 64, 2, 1100, RANDOM); /* rows in blocks */
    for (size_t m = 1; m <= 100; m = m < 7 ? m + 1 : m * 2 + 1)
        for (int e = GLIA_STORE; e <= GLIA_SWIGLU; e++)
            for (int biased = 0; biased < 2; biased++)
                check_steps(kernels, 1000 + m, m, (glia_epilogue)e, biased);
    check_steps(kernels, 9001, 300, GLIA_ADD, 1); /* partial sums of groups of panels */
    for (size_t m = 1; m <= 40; m++) check_swiglu(kernels, m);
    check_narrow(kernels);
}

static void bench_rung(const glia_kernels *kernels) {
    printf("%s\n", kernels->rung);
    bench(kernels, 1024, 128, 512);
    bench(kernels, 3072, 32, 512);
    bench(kernels, 11008, 64, 512);
    bench(kernels, 2048, 64, 64);
    bench(kernels, 2048, 64, 32);
    for (size_t m = 1; m <= 16; m += m < 4 ? 1 : 2) bench_batch(kernels, 1024, m);
    bench_batch(kernels, 3072, 4);
    bench_batch(kernels, 3072, 8);
}

int main(int argc, char **argv) {
    const int timed = check_begin(argc, argv);
    int checked = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels kernels;
        if (!rung_table(&kernels, i) || !kernels.narrow) continue;
        check_rung(&kernels);
        if (timed) bench_rung(&kernels);
        checked++;
    }
    printf("checked %d twins\n", checked);
    return check_end("kernel_narrow");
}
