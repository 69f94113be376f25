/* check_device.c - linear layers: any number of threads gives the bits of one, and an
 * addend enters before the epilogue. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "device/device.h"

enum { THREADS = 6 };

typedef struct {
    glia_device d;
    glia_matrix w;
    glia_linear_in in;
    glia_linear_out out;
    size_t floats; /* of out.y */
} layer;

static void *fresh(size_t bytes) {
    void *p = aligned_alloc(GLIA_ALIGN, (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN);
    if (!p) fail_msg("no memory for %zu bytes", bytes);
    memset(p, 0, bytes);
    return p;
}

static float *random_floats(size_t n) {
    float *x = fresh(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = check_uniform();
    return x;
}

/* The rows x [m, ld] as an operation before would have left them. */
static void narrow_rows(layer *l, float *x, size_t ld) {
    const size_t m = (size_t)l->in.m;
    float *to = fresh(m * ld * sizeof *to);
    l->in.layout = glia_rows_layout(&l->d, m, ld);
    for (size_t i = 0; i < m; i++)
        l->d.k.narrow(to + i * l->in.layout.ld, l->in.layout.step * sizeof *to, 0, x + i * ld, 1, l->w.k);
    free(x);
    l->in.x = to;
}

/* Columns of random weights; a norm before them, or narrow rows. */
static layer make(int m, size_t k, size_t columns, bool i8, bool quantize_rows, bool norm, glia_epilogue e) {
    const size_t ld = glia_row_stride(k), whole = glia_panels(columns) * GLIA_PANEL;
    layer l = {.w = {.columns = columns, .k = k, .quantize_rows = quantize_rows}};
    glia_kernels_init(&l.d.k, glia_cpu_flags());
    l.d.narrow = l.d.k.narrow != NULL;
    l.d.ld_operand = ld;
    l.w.dtype = i8 ? GLIA_DTYPE_I8 : GLIA_DTYPE_BF16;
    l.w.panels = fresh(glia_panels(columns) * glia_lines_bytes(l.w.dtype, k));
    float *weights = random_floats(whole * k), ones[GLIA_PANEL];
    for (int i = 0; i < GLIA_PANEL; i++) ones[i] = 1.0f / GLIA_I8_MAX;
    for (size_t p = 0; p < glia_panels(columns); p++) {
        const void *row[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) row[c] = weights + (p * GLIA_PANEL + c) * k;
        char *panel = (char *)l.w.panels + p * glia_lines_bytes(l.w.dtype, k);
        if (i8)
            l.d.k.pack_i8(panel, row, GLIA_DTYPE_F32, k, ones);
        else
            l.d.k.pack(panel, GLIA_DTYPE_BF16, row, GLIA_DTYPE_F32, k);
    }
    free(weights);
    if (i8) l.w.scale = random_floats(whole);
    const size_t ldy = glia_row_stride(columns);
    float *x = random_floats((size_t)m * ld);
    l.in = (glia_linear_in){.x = x, .layout = {ld, 16}, .m = m, .eps = 1e-6f};
    if (norm) l.in.norm = random_floats(k);
    if (!norm && l.d.narrow) narrow_rows(&l, x, ld);
    glia_layout out = {ldy, 0};
    if (e == GLIA_SWIGLU) out = glia_rows_layout(&l.d, (size_t)m, ldy);
    if (e == GLIA_STORE && norm) out = glia_heads_layout(&l.d, (size_t)m, ldy);
    l.out = (glia_linear_out){.epilogue = e, .ldy = out.ld, .step = out.step};
    l.floats = (size_t)m * ldy;
    return l;
}

static void run(void *arg, int thread) {
    const layer *l = arg;
    glia_device_linear(&l->d, thread, &l->in, &l->w, &l->out);
}

/* y of the layer by so many threads. */
static float *multiply(layer *l, int threads) {
    const size_t rows = glia_device_operand_rows(l->in.m, threads);
    glia_err err = {0};
    if (glia_team_create(&l->d.team, threads, &err)) fail_msg("%s", err.msg);
    l->d.threads = threads;
    l->d.scratch_bytes = glia_device_scratch_bytes(l->in.m, 64, 64, l->w.k, GLIA_DTYPE_BF16);
    l->d.scratch = fresh(l->d.scratch_bytes * (size_t)threads);
    l->d.operand = fresh(rows * l->d.ld_operand * sizeof(float));
    l->d.rows_i8 = fresh(rows * glia_i8_stride(l->w.k));
    l->d.rows_scale = fresh(rows * sizeof(float));
    l->out.y = fresh(l->floats * sizeof(float));
    for (size_t i = 0; i < l->floats; i++) l->out.y[i] = (float)(i % 17);
    glia_team_run(l->d.team, run, l);
    glia_team_free(l->d.team);
    free(l->d.scratch), free(l->d.operand), free(l->d.rows_i8), free(l->d.rows_scale);
    return l->out.y;
}

static void check_layer(int m, size_t k, size_t columns, bool i8, bool quantize_rows, bool norm,
                        glia_epilogue e) {
    layer l = make(m, k, columns, i8, quantize_rows, norm, e);
    float *want = multiply(&l, 1);
    for (int threads = 2; threads <= THREADS; threads++) {
        float *got = multiply(&l, threads);
        CHECK(!memcmp(got, want, l.floats * sizeof *got),
              "m=%d k=%zu columns=%zu i8=%d w8a8=%d norm=%d epilogue=%d: %d threads give other bits than one",
              m, k, columns, i8, quantize_rows, norm, (int)e, threads);
        free(got);
    }
    free(want), free(l.w.panels), free(l.w.scale);
    free((void *)(uintptr_t)l.in.x), free((void *)(uintptr_t)l.in.norm);
}

/* The elements of row i of a layer's result, as float32. */
static float result(const layer *l, const float *y, size_t i, size_t c) {
    if (!l->d.narrow) return y[i * l->out.ldy + c];
    const float *step = y + i * l->out.ldy + c / 32 * (l->out.step ? l->out.step : 32);
    if (l->out.epilogue != GLIA_SWIGLU) return step[c % 32];
    return glia_bf16_to_f32(((const uint16_t *)(const void *)step)[c % 32]);
}

/* An addend reaches gate and up before SwiGLU, and other layers before their epilogue: results are those of
 * the sums without it, to which it is added here. */
static void check_addend(int m, bool i8, bool quantize_rows, glia_epilogue e) {
    enum { K = 96, COLUMNS = 96 };
    check_seed(7);
    layer l = make(m, K, COLUMNS, i8, quantize_rows, false, e);
    float *addend = random_floats((size_t)m * COLUMNS);
    l.out.addend = addend;
    l.out.ld_addend = COLUMNS;
    float *got = multiply(&l, 2);
    check_seed(7);
    layer plain = make(m, K, COLUMNS, i8, quantize_rows, false, GLIA_STORE);
    float *sums = multiply(&plain, 2);
    const size_t columns = e == GLIA_SWIGLU ? COLUMNS / 2 : COLUMNS, pair = e == GLIA_SWIGLU ? GLIA_PANEL : 0;
    for (size_t i = 0; i < (size_t)m; i++)
        for (size_t c = 0; c < columns; c++) {
            const size_t at = e == GLIA_SWIGLU ? c / GLIA_PANEL * 2 * GLIA_PANEL + c % GLIA_PANEL : c;
            const double t = (double)result(&plain, sums, i, at) + (double)addend[i * COLUMNS + at];
            const double up =
                (double)result(&plain, sums, i, at + pair) + (double)addend[i * COLUMNS + at + pair];
            const double before = (double)((i * l.out.ldy + c) % 17); /* multiply() fills y so */
            const double want = e == GLIA_SWIGLU ? t / (1 + exp(-t)) * up : e == GLIA_ADD ? before + t : t;
            const double ulp = l.d.narrow && e == GLIA_SWIGLU ? 0x1p-8 : 0x1p-20;
            CHECK(fabs((double)result(&l, got, i, c) - want) <= ulp * (fabs(want) + 1),
                  "m=%d i8=%d w8a8=%d epilogue=%d: row %zu, column %zu is %.9g with an addend, want %.9g", m,
                  i8, quantize_rows, (int)e, i, c, (double)result(&l, got, i, c), want);
        }
    free(got), free(sums), free(addend), free(l.w.panels), free(l.w.scale), free(plain.w.panels),
        free(plain.w.scale);
    free((void *)(uintptr_t)l.in.x), free((void *)(uintptr_t)plain.in.x);
}

static void test_addend(void **state) {
    (void)state;
    static const int rows[] = {1, 3, 40, 600};
    for (size_t m = 0; m < sizeof rows / sizeof *rows; m++)
        for (int e = GLIA_STORE; e <= GLIA_SWIGLU; e++)
            for (int format = 0; format < 3; format++)
                check_addend(rows[m], format > 0, format == 2, (glia_epilogue)e);
}

static void test_threads(void **state) {
    (void)state;
    static const glia_epilogue epilogues[] = {GLIA_STORE, GLIA_ADD, GLIA_SWIGLU};
    static const struct {
        int m;
        size_t k;
    } shapes[] = {{3, 64},     {40, 96},     {600, 1024},
                  {403, 3000}, {1100, 2048}, {9, 50000}}; /* up to five MiB of rows */
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t e = 0; e < sizeof epilogues / sizeof *epilogues; e++)
            for (int format = 0; format < 3; format++)
                check_layer(shapes[s].m, shapes[s].k, 96, format > 0, format == 2, (s + e) % 2, epilogues[e]);
    check_layer(2, 2, (GLIA_TAKE_MAX + 99) * GLIA_PANEL, false, false, false,
                GLIA_STORE); /* taken in pairs */
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_addend)};
    return check_run_group("device", tests);
}
