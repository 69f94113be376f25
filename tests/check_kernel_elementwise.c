/* check_kernel_elementwise.c - norm, RoPE, activation, sum and exp of every rung,
 * compared with float64, in place and not, with buffers that end at a page. */
#define _GNU_SOURCE
#include "kernel.h"

enum { MAX_N = 5120 };

typedef struct {
    const char *rung;
    glia_kernels k;
} table;

/* One ulp of `v`; below the normal range, the spacing of denormals. */
static double ulp(double v) {
    const double a = fabs(v);
    return a < 0x1p-126 ? 0x1p-149 : ldexp(1, ilogb(a) - 23);
}

static float *fresh(size_t n, enum fill f) {
    float *p = check_guarded(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = fill_value(f, i, n, i ? p[i - 1] : 0);
    return p;
}
static void release(float *p, size_t n) { check_guarded_free(p, n * sizeof *p); }

/* The bound is one rounding of the float64 value: 0.5 ulp, and a little for the float64
 * steps. */
static void check_rmsnorm(const table *t, size_t n, enum fill f) {
    float *x = fresh(n, f), *w = fresh(n, RANDOM), *y = check_guarded(n * sizeof *y);
    const float eps = f == ZERO ? 1e-5f : 1e-6f;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    memset(y, 0xff, n * sizeof *y);
    t->k.rmsnorm(y, x, w, n, eps);
    for (size_t i = 0; i < n; i++) {
        const double want = (double)w[i] * (double)x[i] / sqrt(sum / (double)n + (double)eps);
        /* below the normal range twins may round a second time */
        CHECK(fabs((double)y[i] - want) <= (fabs(want) < 0x1p-126 ? 0.751 : 0.501) * ulp(want),
              "%s rmsnorm n=%zu fill=%d [%zu]: got %.9g want %.9g", t->rung, n, (int)f, i, (double)y[i],
              want);
    }
    t->k.rmsnorm(x, x, w, n, eps);
    CHECK(same_bits(x, y, n), "%s rmsnorm n=%zu: in place differs", t->rung, n);
    release(x, n), release(w, n), release(y, n);
}

/* Two products and a sum: the bound is 2 u of each product's size. */
static void check_rope(const table *t, size_t half) {
    const size_t n = half * 2;
    float *x = fresh(n, RANDOM), *c = fresh(half, RANDOM), *s = fresh(half, RANDOM), *was = fresh(n, ZERO);
    memcpy(was, x, n * sizeof *x);
    t->k.rope(x, c, s, n);
    for (size_t i = 0; i < half; i++) {
        const double a = (double)was[i], b = (double)was[i + half], co = (double)c[i], si = (double)s[i];
        CHECK(fabs((double)x[i] - (a * co - b * si)) <= 0x1p-23 * (fabs(a * co) + fabs(b * si)),
              "%s rope n=%zu [%zu]", t->rung, n, i);
        CHECK(fabs((double)x[i + half] - (b * co + a * si)) <= 0x1p-23 * (fabs(b * co) + fabs(a * si)),
              "%s rope n=%zu [%zu]", t->rung, n, i + half);
    }
    release(x, n), release(c, half), release(s, half), release(was, n);
}

/* g covers every branch of exp. exp(-g) has an error of 2 ulp; a sum, a quotient and a
 * product follow, so the bound is 5 ulp. Below exp's range the result is 0. */
static void check_swiglu(const table *t, size_t n, float range) {
    float *g = fresh(n, RANDOM), *u = fresh(n, RANDOM), *y = check_guarded(n * sizeof *y);
    for (size_t i = 0; i < n; i++) g[i] *= range;
    memset(y, 0xff, n * sizeof *y);
    t->k.swiglu(y, g, u, n);
    for (size_t i = 0; i < n; i++) {
        const double want = (double)g[i] / (1 + exp(-(double)g[i])) * (double)u[i];
        const double bound = 5 * ulp(want) + (g[i] < -87 ? 1e-35 : 0);
        CHECK(fabs((double)y[i] - want) <= bound, "%s swiglu(%g, %g): got %.9g want %.9g", t->rung,
              (double)g[i], (double)u[i], (double)y[i], want);
    }
    float *at_g = fresh(n, ZERO), *at_u = fresh(n, ZERO);
    memcpy(at_g, g, n * sizeof *g), memcpy(at_u, u, n * sizeof *u);
    t->k.swiglu(at_g, at_g, u, n);
    t->k.swiglu(at_u, g, at_u, n);
    CHECK(same_bits(at_g, y, n) && same_bits(at_u, y, n), "%s swiglu n=%zu: in place differs", t->rung, n);
    release(g, n), release(u, n), release(y, n), release(at_g, n), release(at_u, n);
}

static void check_add(const table *t, size_t n) {
    float *x = fresh(n, RANDOM), *y = fresh(n, RANDOM), *was = fresh(n, ZERO);
    memcpy(was, y, n * sizeof *y);
    t->k.add(y, x, n);
    for (size_t i = 0; i < n; i++) CHECK(y[i] == was[i] + x[i], "%s add n=%zu [%zu]", t->rung, n, i);
    release(x, n), release(y, n), release(was, n);
}

static void check_divide(const table *t, size_t n) {
    float *x = fresh(n, RANDOM), *y = check_guarded(n * sizeof *y);
    const float divisor = 0.3f + (float)n;
    x[0] = -0.0f;
    t->k.divide(y, x, divisor, n);
    for (size_t i = 0; i < n; i++) CHECK(y[i] == x[i] / divisor, "%s divide n=%zu [%zu]", t->rung, n, i);
    CHECK(!signbit(y[0]), "%s divide: a zero is negative", t->rung);
    t->k.divide(x, x, divisor, n);
    CHECK(same_bits(x, y, n), "%s divide n=%zu: in place differs", t->rung, n);
    release(x, n), release(y, n);
}

/* Check exp by means of attention: with q = e0, k_j = x_j e0, v_j = e_j and a largest
 * score of 0, o is exp(x_j). On every rung it is within 2 ulp for a stride of the
 * floats in [-110, 0], exactly 1 at 0, and 0 far below. The same for merge's exp. */
static void check_exp(const table *t) {
    enum { D = 2 * GLIA_KV_TILE };
    const size_t bytes = glia_kv_tile_bytes(GLIA_DTYPE_F32, D);
    char *tiles = check_guarded(2 * bytes);
    const void *tile[GLIA_SPAN_TILES + GLIA_TILES_AHEAD] = {tiles, tiles + bytes};
    float x[D], key[D] = {0}, value[D] = {0}, q[D] = {1}, o[D], m, l;
    const int16_t lo = 0, hi = D;
    double worst = 0;
    for (uint32_t bits = 0x80000000; bits < 0xc2dc0000;) {
        for (size_t j = 0; j < D; j++, bits += 4093) {
            if (j)
                memcpy(&x[j], &bits, sizeof bits);
            else
                x[j] = 0;
            key[0] = x[j];
            value[j] = 1;
            t->k.kv_store(tiles + j / GLIA_KV_TILE * bytes, GLIA_DTYPE_F32, j % GLIA_KV_TILE, key, value, D);
            value[j] = 0;
        }
        t->k.attend_f32((glia_softmax){&m, &l, o, D}, q, D, 1, tile, &lo, &hi, 1, D);
        for (size_t j = 0; j < D; j++) {
            float zero = 0, one = 1, l0 = 0, m0 = 0, o0 = 0;
            t->k.merge((glia_softmax){&m0, &l0, &o0, 1}, (glia_softmax){&x[j], &one, &zero, 1}, 1, 1);
            const double want = exp((double)x[j]);
            const double off = fabs((double)o[j] - want) / ulp(want),
                         off0 = fabs((double)l0 - want) / ulp(want);
            if (!(off <= worst)) worst = off; /* this form keeps a NaN */
            if (!(off0 <= worst)) worst = off0;
        }
        CHECK(m == 0 && o[0] == 1, "%s: exp(0) is %.9g", t->rung, (double)o[0]);
    }
    CHECK(worst <= 2, "%s: exp is off by %.2f ulp", t->rung, worst);
    CHECK(o[D - 1] == 0, "%s: exp(%g) is %g", t->rung, (double)x[D - 1], (double)o[D - 1]);
    printf("%s: exp within %.2f ulp\n", t->rung, worst);
    check_guarded_free(tiles, 2 * bytes);
}

/* Values of g for which exp(-g) is 1, infinite, or NaN. */
static void check_edges(const table *t) {
    static const float g[] = {0,   -0.0f, 1e-30f, -1e-30f, 88,    -88,    89,       -89,
                              104, -104,  1000,   -1000,   3e38f, -3e38f, INFINITY, NAN};
    enum { N = sizeof g / sizeof *g };
    float u[N], y[N];
    for (int i = 0; i < N; i++) u[i] = 1;
    t->k.swiglu(y, g, u, N);
    for (int i = 0; i < N; i++) {
        if (isnan(g[i]))
            CHECK(isnan(y[i]), "%s swiglu(NaN)=%g", t->rung, (double)y[i]);
        else if (g[i] >= 20)
            CHECK(y[i] == g[i], "%s swiglu(%g)=%g", t->rung, (double)g[i], (double)y[i]);
        else if (g[i] <= -80)
            CHECK(y[i] <= 0 && y[i] > -1e-30f, "%s swiglu(%g)=%g", t->rung, (double)g[i], (double)y[i]);
        else
            CHECK(y[i] == g[i] / 2, "%s swiglu(%g)=%g", t->rung, (double)g[i], (double)y[i]);
    }
}

static void check_table(const table *t) {
    for (size_t n = 1; n <= 67; n++) {
        for (int f = 0; f < FILLS; f++) check_rmsnorm(t, n, (enum fill)f);
        check_rope(t, n);
        check_swiglu(t, n, 4);
        check_swiglu(t, n, 120);
        check_add(t, n);
        check_divide(t, n);
    }
    check_rmsnorm(t, MAX_N, RANDOM);
    check_swiglu(t, MAX_N, 30);
    check_swiglu(t, MAX_N, 1);
    check_exp(t);
    check_edges(t);
}

enum op { NORM, ROPE, SWIGLU, ADD, DIVIDE, OPS };

static void bench(const table *t) {
    static const char *const names[OPS] = {"rmsnorm", "rope", "swiglu", "add", "divide"};
    enum { ROUNDS = 9, TIMES = 2000 };
    float *x = fresh(4096, RANDOM), *y = fresh(4096, RANDOM), *w = fresh(4096, RANDOM);
    for (size_t i = 0; i < 2048; i++) w[i] = cosf(x[i]), w[2048 + i] = sinf(x[i]); /* rope keeps lengths */
    for (int op = 0; op < OPS; op++) {
        double ns[ROUNDS];
        for (int i = 0; i < ROUNDS; i++) {
            const double t0 = cpu_seconds();
            for (int r = 0; r < TIMES; r++) {
                if (op == NORM) t->k.rmsnorm(y, x, w, 4096, 1e-6f);
                if (op == ROPE) t->k.rope(y, w, w + 2048, 4096);
                if (op == SWIGLU) t->k.swiglu(y, x, w, 4096);
                if (op == ADD) t->k.add(y, x, 4096);
                if (op == DIVIDE) t->k.divide(y, x, 1.5f, 4096);
            }
            ns[i] = (cpu_seconds() - t0) / TIMES / 4096 * 1e9;
        }
        printf("%-8s %-6s %6.3f ns an element\n", names[op], t->rung, median(ns, ROUNDS));
    }
    release(x, 4096), release(y, 4096), release(w, 4096);
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    int tables = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        table t = {.rung = glia_rungs[i].name};
        if (!rung_table(&t.k, i)) continue;
        tables++;
        if (want_bench)
            bench(&t);
        else
            check_table(&t);
    }
    printf("elementwise: %d tables of 5 twins checked\n", tables);
    return check_end("check_kernel_elementwise");
}
