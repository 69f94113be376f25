/* check_device.c - linear layers: any number of threads gives the bits of one, and an
 * addend enters before the epilogue. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "device/cpu.h"

enum { THREADS = 6 };

typedef struct {
    glia_matrix w;
    glia_linear_in in;
    glia_linear_out out;
    size_t floats; /* of out.y */
    glia_device *device;
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

/* Narrow rows are what a bfloat16 model has on this machine's best rung. */
static bool is_narrow(void) {
    glia_kernels k;
    glia_kernels_init(&k, glia_cpu_flags());
    return k.narrow != NULL;
}

/* The rows x [m, ld] as an operation before would have left them. */
static void narrow_rows(layer *l, float *x, size_t ld) {
    const size_t m = (size_t)l->in.m;
    glia_cpu_device d = {.narrow = true};
    glia_kernels_init(&d.k, glia_cpu_flags());
    float *to = fresh(m * ld * sizeof *to);
    const glia_layout layout = glia_layout_of(&d, &l->in.x);
    for (size_t i = 0; i < m; i++)
        d.k.narrow(to + i * layout.ld, layout.step * sizeof *to, 0, x + i * ld, 1, l->w.k);
    free(x);
    l->in.x.at = to;
}

typedef struct {
    const char *name;
    bool i8, quantize_rows, rotate;
} format;
static const format formats[] = {
    {"bfloat16", false, false, false},   {"int8", true, false, false},       {"w8a8", true, true, false},
    {"int8 rotated", true, false, true}, {"w8a8 rotated", true, true, true},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* Columns of random weights; a norm before them, or rows as another operation leaves them. */
static layer make(int m, size_t k, size_t columns, const format *f, bool norm, glia_epilogue e) {
    const size_t ld = glia_cpu.stride(k), whole = glia_cpu.columns(columns), rows = (size_t)m;
    layer l = {.w = {.columns = columns, .k = k, .quantize_rows = f->quantize_rows}};
    glia_device *packer;
    glia_team *team;
    glia_err err = {0};
    float *weights = random_floats(whole * k), ones[GLIA_PANEL];
    if (glia_team_create(&team, 1, &err)) fail_msg("%s", err.msg);
    if (glia_cpu.open(&packer, team, glia_cpu_flags(), NULL, NULL, 0, &err)) fail_msg("%s", err.msg);
    l.w.format = f->i8 ? GLIA_WEIGHT_I8 : GLIA_WEIGHT_BF16;
    if (f->rotate) l.w.rotate = glia_rotate_block(k);
    l.w.data = fresh(glia_cpu.matrix_bytes(&l.w));
    if (f->i8) l.w.scale = fresh(glia_cpu.scale_bytes(&l.w));
    for (int i = 0; i < GLIA_PANEL; i++) ones[i] = 1.0f / GLIA_I8_MAX;
    for (size_t c = 0; c < whole; c += GLIA_PANEL) {
        const void *row[GLIA_PANEL];
        for (size_t i = 0; i < GLIA_PANEL; i++) row[i] = weights + (c + i) * k;
        glia_cpu.pack(packer, &l.w, c, row, GLIA_DTYPE_F32, ones);
    }
    free(weights);
    glia_cpu.close(packer);
    glia_team_free(team);
    float *x = random_floats(rows * ld);
    l.in = (glia_linear_in){.x = {x, rows, ld, norm ? GLIA_PLAIN : GLIA_INPUT}, .m = m, .eps = 1e-6f};
    if (norm) l.in.norm = random_floats(k);
    if (!norm && is_narrow()) narrow_rows(&l, x, ld);
    const glia_form form = e == GLIA_SWIGLU ? GLIA_INPUT : e == GLIA_STORE && norm ? GLIA_HEADS : GLIA_PLAIN;
    l.out = (glia_linear_out){.epilogue = e, .y = {NULL, rows, glia_cpu.stride(columns), form}};
    l.floats = rows * l.out.y.stride;
    return l;
}

static void run(void *arg, int thread) {
    const layer *l = arg;
    glia_device_linear(l->device, thread, &l->in, &l->w, &l->out);
}

/* y of the layer by so many threads. */
static float *multiply(layer *l, int threads) {
    const glia_device_shape shape = {.threads = threads,
                                     .max_rows = l->in.m,
                                     .sequence_length = 64,
                                     .head_dim = 64,
                                     .operand_rows = (size_t)l->in.m,
                                     .hidden = l->w.k,
                                     .widest = l->w.k,
                                     .dtype = GLIA_DTYPE_BF16,
                                     .kv_dtype = GLIA_DTYPE_BF16,
                                     .quantize_rows = true};
    glia_plan plan = {0};
    glia_team *team;
    glia_err err = {0};
    if (glia_team_create(&team, threads, &err)) fail_msg("%s", err.msg);
    const int first = glia_cpu.plan(&plan, &shape);
    if (glia_cpu.map(&plan, "a layer", &err)) fail_msg("%s", err.msg);
    if (glia_cpu.open(&l->device, team, glia_cpu_flags(), &shape, &plan, first, &err))
        fail_msg("%s", err.msg);
    float *y = l->out.y.at = fresh(l->floats * sizeof(float));
    for (size_t i = 0; i < l->floats; i++) y[i] = (float)(i % 17);
    glia_team_run(team, run, l);
    glia_cpu.close(l->device);
    glia_cpu.unmap(&plan);
    glia_team_free(team);
    return y;
}

static void check_layer(int m, size_t k, size_t columns, const format *f, bool norm, glia_epilogue e) {
    layer l = make(m, k, columns, f, norm, e);
    float *want = multiply(&l, 1);
    for (int threads = 2; threads <= THREADS; threads++) {
        float *got = multiply(&l, threads);
        CHECK(!memcmp(got, want, l.floats * sizeof *got),
              "m=%d k=%zu columns=%zu %s norm=%d epilogue=%d: %d threads give other bits than one", m, k,
              columns, f->name, norm, (int)e, threads);
        free(got);
    }
    free(want), free(l.w.data), free(l.w.scale);
    free(l.in.x.at), free((void *)(uintptr_t)l.in.norm);
}

/* Element c of row i of a layer's result. */
static float result(const layer *l, const float *y, size_t i, size_t c) {
    const glia_cpu_device d = {.narrow = is_narrow()};
    const glia_layout layout = glia_layout_of(&d, &l->out.y);
    if (!d.narrow || l->out.y.form != GLIA_INPUT)
        return y[i * layout.ld + c / 32 * (d.narrow ? layout.step : 32) + c % 32];
    const float *step = y + i * layout.ld + c / 32 * layout.step;
    return glia_bf16_to_f32(((const uint16_t *)(const void *)step)[c % 32]);
}

/* An addend reaches gate and up before SwiGLU, and other layers before their epilogue: results are those of
 * the sums without it, to which it is added here. */
static void check_addend(int m, const format *f, glia_epilogue e) {
    enum { K = 96, COLUMNS = 96 };
    check_seed(7);
    layer l = make(m, K, COLUMNS, f, false, e);
    float *addend = random_floats((size_t)m * COLUMNS);
    l.out.addend = addend;
    l.out.ld_addend = COLUMNS;
    float *got = multiply(&l, 2);
    check_seed(7);
    layer plain = make(m, K, COLUMNS, f, false, GLIA_STORE);
    float *sums = multiply(&plain, 2);
    const size_t columns = e == GLIA_SWIGLU ? COLUMNS / 2 : COLUMNS, pair = e == GLIA_SWIGLU ? GLIA_PANEL : 0;
    for (size_t i = 0; i < (size_t)m; i++)
        for (size_t c = 0; c < columns; c++) {
            const size_t at = e == GLIA_SWIGLU ? c / GLIA_PANEL * 2 * GLIA_PANEL + c % GLIA_PANEL : c;
            const double t = (double)result(&plain, sums, i, at) + (double)addend[i * COLUMNS + at];
            const double up =
                (double)result(&plain, sums, i, at + pair) + (double)addend[i * COLUMNS + at + pair];
            const double before = (double)((i * l.out.y.stride + c) % 17); /* multiply() fills y so */
            const double want = e == GLIA_SWIGLU ? t / (1 + exp(-t)) * up : e == GLIA_ADD ? before + t : t;
            const double ulp = is_narrow() && e == GLIA_SWIGLU ? 0x1p-8 : 0x1p-20;
            CHECK(fabs((double)result(&l, got, i, c) - want) <= ulp * (fabs(want) + 1),
                  "m=%d %s epilogue=%d: row %zu, column %zu is %.9g with an addend, want %.9g", m, f->name,
                  (int)e, i, c, (double)result(&l, got, i, c), want);
        }
    free(got), free(sums), free(addend), free(l.w.data), free(l.w.scale), free(plain.w.data),
        free(plain.w.scale);
    free(l.in.x.at), free(plain.in.x.at);
}

/* Rotate the columns of weights as the loader does. */
static void rotate_weights(float *weights, size_t columns, size_t k, size_t block) {
    glia_kernels ref;
    glia_kernels_init(&ref, 0);
    for (size_t c = 0; c < columns; c++)
        ref.rotate(weights + c * k, weights + c * k, 64, GLIA_DTYPE_F32, k, block);
}

/* Rows are rotated as weights are: a layer of rotated weights gives the product of the weights. Weights are a
 * few ones, which rotate to multiples of 1/8 or of 1/sqrt(32), so int8 holds them almost exactly. */
static void check_rotation(int m, size_t k, bool quantize_rows, bool norm) {
    enum { COLUMNS = 32 };
    const format f = {"", true, quantize_rows, true};
    check_seed(11);
    layer l = make(m, k, COLUMNS, &f, norm, GLIA_STORE);
    glia_device *packer;
    glia_team *team;
    glia_err err = {0};
    if (glia_team_create(&team, 1, &err)) fail_msg("%s", err.msg);
    if (glia_cpu.open(&packer, team, glia_cpu_flags(), NULL, NULL, 0, &err)) fail_msg("%s", err.msg);
    float *weights = fresh(COLUMNS * k * sizeof *weights), scale[GLIA_PANEL];
    for (size_t c = 0; c < COLUMNS; c++) weights[c * k + c * 37 % k] = 1;
    rotate_weights(weights, COLUMNS, k, l.w.rotate);
    for (int i = 0; i < GLIA_PANEL; i++) scale[i] = 1 / sqrtf((float)l.w.rotate) / GLIA_I8_MAX;
    for (size_t c = 0; c < COLUMNS; c += GLIA_PANEL) {
        const void *row[GLIA_PANEL];
        for (size_t i = 0; i < GLIA_PANEL; i++) row[i] = weights + (c + i) * k;
        glia_cpu.pack(packer, &l.w, c, row, GLIA_DTYPE_F32, scale);
    }
    glia_layout in = {l.in.x.stride, 32};
    const glia_cpu_device d = {.narrow = is_narrow()};
    if (!norm) in = glia_layout_of(&d, &l.in.x);
    float *got = multiply(&l, 2), *x = fresh(k * sizeof *x);
    for (size_t i = 0; i < (size_t)m; i++) {
        double squares = 0;
        float most = 0;
        for (size_t j = 0; j < k; j++) {
            const float *step = l.in.x.at + i * in.ld + j / 32 * in.step;
            x[j] = !norm && d.narrow ? glia_bf16_to_f32(((const uint16_t *)(const void *)step)[j % 32])
                                     : l.in.x.at[i * in.ld + j];
            squares += (double)x[j] * (double)x[j];
        }
        for (size_t j = 0; norm && j < k; j++)
            x[j] = (float)((double)x[j] / sqrt(squares / (double)k + 1e-6) * (double)l.in.norm[j]);
        for (size_t j = 0; j < k; j++) most = fmaxf(most, fabsf(x[j]));
        for (size_t c = 0; c < COLUMNS; c++) {
            /* each of `block` elements of a rotated row is off by half a step of the largest one's, which is
             * at most sqrt(block) * most; or by a rounding to bfloat16 */
            const double rounding = quantize_rows ? 0.5 / GLIA_I8_MAX : d.narrow ? 0x1p-9 : 0x1p-20;
            const double bound = (double)most * (double)l.w.rotate * (rounding + 0x1p-20);
            const double want = (double)x[c * 37 % k];
            CHECK(fabs((double)result(&l, got, i, c) - want) <= bound,
                  "m=%d k=%zu w8a8=%d norm=%d: row %zu, column %zu is %.9g, want %.9g +- %.2g", m, k,
                  quantize_rows, norm, i, c, (double)result(&l, got, i, c), want, bound);
        }
    }
    glia_cpu.close(packer);
    glia_team_free(team);
    free(got), free(x), free(weights), free(l.w.data), free(l.w.scale);
    free(l.in.x.at), free((void *)(uintptr_t)l.in.norm);
}

static void test_rotation(void **state) {
    (void)state;
    static const int rows[] = {1, 3, 40};
    static const size_t ks[] = {64, 96, 100, 640};
    for (size_t m = 0; m < 3; m++)
        for (size_t k = 0; k < 4; k++)
            for (int form = 0; form < 4; form++) check_rotation(rows[m], ks[k], form & 1, form & 2);
}

static void test_addend(void **state) {
    (void)state;
    static const int rows[] = {1, 3, 40, 600};
    for (size_t m = 0; m < sizeof rows / sizeof *rows; m++)
        for (int e = GLIA_STORE; e <= GLIA_SWIGLU; e++)
            for (int f = 0; f < FORMATS; f++) check_addend(rows[m], &formats[f], (glia_epilogue)e);
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
            for (int f = 0; f < FORMATS; f++)
                check_layer(shapes[s].m, shapes[s].k, 96, &formats[f], (s + e) % 2, epilogues[e]);
    check_layer(2, 2, (GLIA_TAKE_MAX + 99) * GLIA_PANEL, &formats[0], false, GLIA_STORE); /* taken in pairs */
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_addend),
                                       cmocka_unit_test(test_rotation)};
    return check_run_group("device", tests);
}
