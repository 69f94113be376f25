/* check_kernel_rotate.c - `rotate` of every rung, compared with float64 and bit for bit with plain C: in
 * place and not, in pieces, with buffers that end at a page. */
#define _GNU_SOURCE
#include "kernel.h"

enum { MAX_K = 640, X_STEP = 192 }; /* pieces of rows in steps */

typedef struct {
    const char *rung;
    glia_kernels k;
} table;

/* A row as it is read: in one piece that ends at a page, or in pieces X_STEP bytes apart. */
typedef struct {
    char *x;
    size_t bytes, step;
    glia_dtype from;
} row;

static row make_row(const float *values, size_t k, glia_dtype from, bool pieces) {
    const size_t size = from == GLIA_DTYPE_F32 ? 4 : 2, count = (k * size + 63) / 64;
    row r = {.bytes = pieces ? count * X_STEP : k * size, .step = pieces ? X_STEP : 64, .from = from};
    r.x = check_guarded(r.bytes);
    for (size_t i = 0; i < k; i++) {
        const size_t at = i * size / 64 * r.step + i * size % 64;
        const uint16_t half = glia_f32_to_bf16(values[i]);
        memcpy(r.x + at, from == GLIA_DTYPE_F32 ? (const void *)&values[i] : &half, size);
    }
    return r;
}

/* Element i of block b of H x, by the definition: H[i][j] = (-1)^popcount(i & j) / sqrt(block). */
static double exact(const float *x, size_t block, size_t i, double *magnitude) {
    double sum = 0;
    *magnitude = 0;
    for (size_t j = 0; j < block; j++) {
        const double v = (double)x[j] / sqrt((double)block);
        sum += __builtin_parityll(i & j) ? -v : v;
        *magnitude += fabs(v);
    }
    return sum;
}

/* One rounding for each stage, one for the factor and one for the product. Below the normal range, an
 * absolute error of half a denormal for the product. */
static void check_accuracy(const table *t, const float *x, const float *y, size_t k, size_t block) {
    const double bound = (log2((double)block) + 2) * 0x1p-24 * 1.001;
    for (size_t i = 0; i < k; i++) {
        double magnitude;
        const double want = exact(x + i / block * block, block, i % block, &magnitude);
        CHECK(fabs((double)y[i] - want) <= bound * magnitude + 0x1p-150,
              "%s rotate k=%zu block=%zu [%zu]: got %.9g want %.9g", t->rung, k, block, i, (double)y[i],
              want);
    }
}

static void check_row(const table *t, const glia_kernels *ref, const float *values, size_t k, size_t block,
                      glia_dtype from, bool pieces) {
    float x[MAX_K] = {0}, want[MAX_K], *y = check_guarded(k * sizeof *y);
    row r = make_row(values, k, from, pieces);
    for (size_t i = 0; i < k; i++) x[i] = from == GLIA_DTYPE_F32 ? values[i] : to_bf16(values[i]);
    memset(y, 0xff, k * sizeof *y);
    t->k.rotate(y, r.x, r.step, from, k, block);
    ref->rotate(want, x, 64, GLIA_DTYPE_F32, k, block);
    check_accuracy(t, x, y, k, block);
    CHECK(same_bits(y, want, k), "%s rotate k=%zu block=%zu from=%d: not the bits of plain C", t->rung, k,
          block, (int)from);
    memcpy(y, x, k * sizeof *y);
    t->k.rotate(y, y, 64, GLIA_DTYPE_F32, k, block);
    CHECK(same_bits(y, want, k), "%s rotate k=%zu block=%zu: in place differs", t->rung, k, block);
    check_guarded_free(y, k * sizeof *y);
    check_guarded_free(r.x, r.bytes);
}

static void check_fill(const table *t, const glia_kernels *ref, size_t k, enum fill f) {
    float x[MAX_K] = {0};
    for (size_t i = 0; i < k; i++) x[i] = fill_value(f, i, k, i ? x[i - 1] : 0);
    for (size_t block = 1; block <= GLIA_ROTATE_MAX && k % block == 0; block *= 2)
        for (int form = 0; form < 4; form++)
            check_row(t, ref, x, k, block, form & 1 ? GLIA_DTYPE_F32 : GLIA_DTYPE_BF16, form & 2);
}

/* A value that is not finite spoils its block and no other. */
static void check_not_finite(const table *t, size_t k, size_t block, float bad) {
    float x[MAX_K] = {0}, y[MAX_K];
    for (size_t i = 0; i < k; i++) x[i] = check_uniform();
    x[k - 1] = bad;
    t->k.rotate(y, x, 64, GLIA_DTYPE_F32, k, block);
    for (size_t i = 0; i < k; i++)
        CHECK(!!isfinite(y[i]) == (i < k - block), "%s rotate k=%zu block=%zu, last %g: [%zu] is %g", t->rung,
              k, block, (double)bad, i, (double)y[i]);
}

/* A rotation back gives the row, and a spike is spread over its block. */
static void check_meaning(const table *t) {
    enum { K = 128 };
    float x[K], y[K];
    for (size_t i = 0; i < K; i++) x[i] = i == 77 ? 1 : 0;
    t->k.rotate(y, x, 64, GLIA_DTYPE_F32, K, 64);
    for (size_t i = 0; i < K; i++)
        CHECK(fabsf(y[i]) == (i < 64 ? 0.0f : 0.125f), "%s: a spike gives %g", t->rung, (double)y[i]);
    t->k.rotate(y, y, 64, GLIA_DTYPE_F32, K, 64);
    CHECK(same_bits(x, y, K), "%s: a spike does not come back", t->rung);
}

static void check_table(const table *t, const glia_kernels *ref) {
    static const size_t ks[] = {1,  2,  3,  4,  7,   8,   12,  16,  24,  31, 32,
                                48, 64, 80, 96, 104, 128, 160, 192, 600, 640};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        for (int f = 0; f < FILLS; f++) check_fill(t, ref, ks[i], (enum fill)f);
        for (size_t block = 2; ks[i] % block == 0 && block <= GLIA_ROTATE_MAX; block *= 2) {
            check_not_finite(t, ks[i], block, NAN);
            check_not_finite(t, ks[i], block, INFINITY);
            check_not_finite(t, ks[i], block, -INFINITY);
        }
    }
    check_meaning(t);
}

static void bench(const table *t) {
    enum { ROUNDS = 9, TIMES = 2000, K = 4096 };
    static float x[K], y[K];
    for (size_t i = 0; i < K; i++) x[i] = check_uniform();
    for (int from = GLIA_DTYPE_F32; from <= GLIA_DTYPE_BF16; from++) {
        double ns[ROUNDS];
        for (int i = 0; i < ROUNDS; i++) {
            const double t0 = cpu_seconds();
            for (int n = 0; n < TIMES; n++) t->k.rotate(y, x, 64, (glia_dtype)from, K, 64);
            ns[i] = (cpu_seconds() - t0) / TIMES / K * 1e9;
        }
        printf("rotate, %s, %-12s %6.3f ns an element\n", from == GLIA_DTYPE_F32 ? "float32" : "bfloat16",
               t->rung, median(ns, ROUNDS));
    }
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    glia_kernels ref;
    int tables = 0;
    glia_kernels_init(&ref, 0);
    for (size_t k = 1; k <= 200; k++) {
        const size_t block = glia_rotate_block(k);
        CHECK(k % block == 0 && (block == GLIA_ROTATE_MAX || k / block % 2), "k=%zu: block %zu", k, block);
    }
    for (int i = 0; i < GLIA_RUNGS; i++) {
        table t = {.rung = glia_rungs[i].name};
        if (!rung_table(&t.k, i)) continue;
        tables++;
        if (want_bench)
            bench(&t);
        else
            check_table(&t, &ref);
    }
    printf("rotate: %d tables checked\n", tables);
    return check_end("check_kernel_rotate");
}
