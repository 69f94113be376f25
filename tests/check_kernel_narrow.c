/* check_kernel_narrow.c - bfloat16 rows through bfloat16 panels (AMX): bit for bit
 * the order of additions that linear_amx.c states, in any company. */
#define _GNU_SOURCE
#include "kernel.h"

#include "kernel/panel.h"

enum { STEP = 32 };

typedef struct {
    size_t k, n_panels, m, ldx, ldy;
    uint16_t *x; /* [m, ldx] */
    char *panels;
    float *y; /* [m, ldy] */
} product;

/* The definition: 32 products at a time, even k and odd k in a chain each. */
static float define(const product *p, size_t row, size_t column) {
    const char *panel = p->panels + column / GLIA_PANEL * glia_panel_bytes(GLIA_DTYPE_BF16, p->k);
    float sum = 0;
    for (size_t at = 0; at < p->k; at += STEP) {
        float chain[2] = {0, 0};
        for (size_t i = at; i < at + STEP; i++) {
            const float w = i < p->k ? glia_panel_get(panel, GLIA_DTYPE_BF16, i, column % GLIA_PANEL) : 0;
            chain[i % 2] = fmaf(glia_bf16_to_f32(p->x[row * p->ldx + i]), w, chain[i % 2]);
        }
        sum += chain[0] + chain[1];
    }
    return sum;
}

static product make(size_t k, size_t n_panels, size_t m, enum fill fill) {
    product p = {.k = k, .n_panels = n_panels, .m = m, .ldx = (k + STEP - 1) / STEP * STEP};
    p.ldy = n_panels * GLIA_PANEL + m % 3 * 16;
    p.x = check_guarded(m * p.ldx * sizeof *p.x);
    p.panels = check_guarded(n_panels * glia_panel_bytes(GLIA_DTYPE_BF16, k));
    p.y = check_guarded(((m - 1) * p.ldy + n_panels * GLIA_PANEL) * sizeof *p.y);
    memset(p.x, 0, m * p.ldx * sizeof *p.x);
    memset(p.panels, 0, n_panels * glia_panel_bytes(GLIA_DTYPE_BF16, k));
    memset(p.y, 0xff, ((m - 1) * p.ldy + n_panels * GLIA_PANEL) * sizeof *p.y);
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < k; i++)
            p.x[r * p.ldx + i] = glia_f32_to_bf16(fill == CANCEL ? 0.75f : check_uniform());
    for (size_t c = 0; c < n_panels * GLIA_PANEL; c++) {
        float before = 0;
        for (size_t i = 0; i < k; i++) {
            char *panel = p.panels + c / GLIA_PANEL * glia_panel_bytes(GLIA_DTYPE_BF16, k);
            before = fill_value(fill, i, k, before);
            glia_panel_set(panel, GLIA_DTYPE_BF16, i, c % GLIA_PANEL, before);
        }
    }
    return p;
}

static void release(const product *p) {
    check_guarded_free(p->x, p->m * p->ldx * sizeof *p->x);
    check_guarded_free(p->panels, p->n_panels * glia_panel_bytes(GLIA_DTYPE_BF16, p->k));
    check_guarded_free(p->y, ((p->m - 1) * p->ldy + p->n_panels * GLIA_PANEL) * sizeof *p->y);
}

/* Products of denormals and below are flushed by tiles and not by the definition. */
static double slack(enum fill fill, size_t k) {
    return fill == TINY || fill == DENORMAL ? 2.0 * (double)k * 0x1p-126 : 0;
}

static void multiply(const glia_kernels *kernels, const product *p) {
    static _Alignas(64) char scratch[GLIA_NARROW_SCRATCH];
    const glia_linear_out out = {.epilogue = GLIA_STORE, .y = p->y, .ldy = p->ldy};
    const glia_narrow_rows x = {p->x, p->ldx * sizeof *p->x, 2 * STEP};
    kernels->linear_narrow(&out, &x, p->panels, p->k, p->n_panels, p->m, scratch);
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
            const float want = define(&p, r, c);
            CHECK(slack(fill, k) > 0 ? fabs((double)got - (double)want) <= slack(fill, k) : got == want,
                  "k=%zu panels=%zu m=%zu fill=%d at %zu,%zu: got %.9g want %.9g", k, n_panels, m, (int)fill,
                  r, c, (double)got, (double)want);
        }
    release(&p);
}

/* Denormals too: a row alone (AVX-512) and among many (tiles) have the same bits. */
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

/* Rows in steps, and SwiGLU's results in steps, have the bits of row-major ones. */
static void check_steps(const glia_kernels *kernels, size_t k, size_t m) {
    static _Alignas(64) char scratch[GLIA_NARROW_SCRATCH];
    enum { PANELS = 6, OUT = PANELS * GLIA_PANEL / 2 };
    const size_t steps = (k + STEP - 1) / STEP, ldy = (OUT + STEP - 1) / STEP * 16;
    product p = make(k, PANELS, m, RANDOM);
    uint16_t *x = check_guarded(steps * m * STEP * sizeof *x);
    float *rows = check_guarded(m * ldy * sizeof *rows), *in_steps = check_guarded(m * ldy * sizeof *rows);
    memset(rows, 0xff, m * ldy * sizeof *rows); /* what is not written differs */
    memset(in_steps, 0, m * ldy * sizeof *rows);
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < steps * STEP; i++)
            x[i / STEP * m * STEP + r * STEP + i % STEP] = p.x[r * p.ldx + i];
    const glia_narrow_rows row_major = {p.x, p.ldx * sizeof *x, 2 * STEP}, stepped = {x, 64, m * 64};
    const glia_linear_out wide = {GLIA_SWIGLU, rows, ldy, NULL, 16},
                          y = {GLIA_SWIGLU, in_steps, 16, NULL, 16 * m};
    kernels->linear_narrow(&wide, &row_major, p.panels, k, PANELS, m, scratch);
    kernels->linear_narrow(&y, &stepped, p.panels, k, PANELS, m, scratch);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < OUT; c += GLIA_PANEL)
            CHECK(!memcmp(rows + r * ldy + c / 2, in_steps + c / STEP * m * 16 + r * 16 + c % STEP / 2, 32),
                  "k=%zu m=%zu: row %zu, column %zu in steps differs", k, m, r, c);
    check_guarded_free(x, steps * m * STEP * sizeof *x);
    check_guarded_free(rows, m * ldy * sizeof *rows);
    check_guarded_free(in_steps, m * ldy * sizeof *rows);
    release(&p);
}

static void check_narrow(const glia_kernels *kernels) {
    enum { N = 99 };
    float x[N];
    uint16_t y[N + 1] = {0};
    for (int round = 0; round < 200; round++) {
        const size_t n = check_u32() % N + 1;
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits =
                round % 4 ? check_u32() : check_u32() % 8 << 29 | 0x7f800000 | check_u32() % 3;
            memcpy(&x[i], &bits, 4);
        }
        y[n] = 0x1234;
        kernels->narrow(y, x, n);
        for (size_t i = 0; i < n; i++)
            CHECK(y[i] == glia_f32_to_bf16(x[i]), "narrow of %a: %04x, want %04x", (double)x[i], y[i],
                  glia_f32_to_bf16(x[i]));
        CHECK(y[n] == 0x1234, "narrow of %zu wrote one more", n);
    }
}

enum { ROUNDS = 9 };

static void bench(const glia_kernels *kernels, size_t k, size_t n_panels, size_t m) {
    product p = make(k, n_panels, m, RANDOM);
    double share[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        double t0 = cpu_seconds();
        const double peak = (double)kernels->peak_bf16(100000) / (cpu_seconds() - t0);
        t0 = cpu_seconds();
        multiply(kernels, &p);
        share[i] = 2.0 * (double)(m * k * n_panels * GLIA_PANEL) / (cpu_seconds() - t0) / peak;
    }
    printf("linear_narrow m=%-3zu k=%-5zu n=%-6zu %5.1f%% of peak\n", m, k, n_panels * GLIA_PANEL,
           median(share, ROUNDS) * 100);
    release(&p);
}

int main(int argc, char **argv) {
    const unsigned all = GLIA_CPU_AVX2 | GLIA_CPU_AVX512 | GLIA_CPU_AMX;
    const int timed = check_begin(argc, argv);
    glia_kernels kernels;
    glia_kernels_init(&kernels, glia_cpu_flags());
    if ((glia_cpu_flags() & all) != all) {
        CHECK(!kernels.linear_narrow, "a rung below amx has bfloat16 rows");
        check_skip_because("amx: this machine lacks it");
        return check_end("kernel_narrow");
    }
    CHECK(strcmp(kernels.rung, "amx") == 0, "asked for amx, got %s", kernels.rung);
    for (size_t m = 1; m <= 70; m++) check_shape(&kernels, 1 + m, 1 + m % 5, m, RANDOM);
    for (int f = 0; f < FILLS; f++) {
        for (size_t k = 31; k <= 161; k += 13) check_shape(&kernels, k, 3, 35, (enum fill)f);
        check_company(&kernels, 96, (enum fill)f);
        check_company(&kernels, 77, (enum fill)f);
    }
    check_shape(&kernels, 3000, 3, 33, RANDOM); /* K in blocks */
    check_shape(&kernels, 64, 2, 1100, RANDOM); /* rows in blocks */
    for (size_t m = 1; m <= 100; m = m * 2 + 1) check_steps(&kernels, 1000 + m, m);
    check_narrow(&kernels);
    printf("checked 1 twin: amx\n");
    if (timed) {
        bench(&kernels, 1024, 128, 512);
        bench(&kernels, 3072, 32, 512);
        bench(&kernels, 11008, 64, 512);
        bench(&kernels, 2048, 64, 64);
    }
    return check_end("kernel_narrow");
}
