/* check_kernel_group.c - products with grouped formats: every twin, the reference included,
 * compared with float64 within the bound of their sums, and with itself, bit for bit, in
 * other batches. --bench times decoding as a share of the read ceiling, and every product
 * beside that of weights without groups. */
#define _GNU_SOURCE
#include "kernel.h"

#include "kernel/panel.h"

typedef struct {
    glia_weight_format format;
    bool zeros, whole, integers; /* integers: the values of C4 */
    size_t group, k, n_panels, m;
} shape;

typedef struct {
    shape s;
    char *panels;
    float *w, *scale, *x, table[16]; /* w: [columns, k] values, without scales */
    int8_t *zero;
    size_t groups, ldx;
} problem;

static const char *rung;

static uint8_t draw_code(glia_weight_format f) {
    const uint8_t code = (uint8_t)(check_u32() & (f == GLIA_WEIGHT_C4 ? 15 : 255));
    return f == GLIA_WEIGHT_F8 && (code & 0x7f) == 0x7f ? 0 : code; /* not NaN */
}

static float value_of(const problem *p, uint8_t code, int zero) {
    if (p->s.format == GLIA_WEIGHT_F8) return glia_f8_to_f32(code);
    if (p->s.format == GLIA_WEIGHT_C8) return (float)((int8_t)code - zero);
    return p->s.zeros ? (float)(code - zero) : p->table[code];
}

static void fill_weights(problem *p, const glia_kernels *k) {
    const shape *s = &p->s;
    uint8_t *codes = malloc(GLIA_PANEL * s->k);
    for (int i = 0; i < 16; i++) p->table[i] = to_bf16((float)(i - 8) * (s->integers ? 1 : 0.7f));
    for (size_t i = 0; i < s->n_panels * p->groups * GLIA_PANEL; i++) {
        p->scale[i] = 1 + 0.5f * check_uniform();
        p->zero[i] = (int8_t)(s->format == GLIA_WEIGHT_C4 ? check_u32() & 15 : check_u32() & 255);
    }
    for (size_t panel = 0; panel < s->n_panels; panel++) {
        const uint8_t *rows[GLIA_PANEL];
        for (size_t c = 0; c < GLIA_PANEL; c++) {
            rows[c] = codes + c * s->k;
            for (size_t i = 0; i < s->k; i++) {
                const size_t g = s->whole ? 0 : i / s->group;
                const int zero = s->zeros ? p->zero[(panel * p->groups + g) * GLIA_PANEL + c] : 0;
                codes[c * s->k + i] = draw_code(s->format);
                p->w[(panel * GLIA_PANEL + c) * s->k + i] = value_of(p, codes[c * s->k + i], zero);
            }
        }
        k->pack_codes(p->panels + panel * glia_panel_bytes(s->format, s->k), s->format, rows, s->k);
    }
    free(codes);
}

static problem make(const shape *s, const glia_kernels *k, bool halves) {
    problem p = {.s = *s, .groups = glia_groups(s->k, s->group, s->whole), .ldx = (s->k + 31) / 32 * 32 + 32};
    const size_t columns = s->n_panels * GLIA_PANEL;
    p.panels = check_guarded(s->n_panels * glia_panel_bytes(s->format, s->k));
    p.w = malloc(columns * s->k * sizeof *p.w);
    p.scale = malloc(columns * p.groups * sizeof *p.scale);
    p.zero = malloc(columns * p.groups);
    p.x = calloc(s->m * p.ldx, sizeof *p.x);
    fill_weights(&p, k);
    for (size_t r = 0; r < s->m; r++)
        for (size_t i = 0; i < s->k; i++)
            p.x[r * p.ldx + i] = halves ? to_bf16(check_uniform()) : check_uniform();
    return p;
}

static void drop(problem *p) {
    check_guarded_free(p->panels, p->s.n_panels * glia_panel_bytes(p->s.format, p->s.k));
    free(p->w), free(p->scale), free(p->zero), free(p->x);
}

static glia_gemm gemm_of(const problem *p, size_t first, size_t n_panels, size_t m) {
    const size_t at = first * p->groups * GLIA_PANEL;
    return (glia_gemm){.w = p->panels + first * glia_panel_bytes(p->s.format, p->s.k),
                       .w_scale = p->scale + at,
                       .w_zero = p->s.zeros ? p->zero + at : NULL,
                       .table = p->table,
                       .group = p->s.group,
                       .whole = p->s.whole,
                       .k = p->s.k,
                       .n_panels = n_panels,
                       .m = m};
}

/* The error of a sum of k products and of `groups` scaled sums. */
static void check_values(const problem *p, const float *y, size_t ldy, const char *what) {
    const shape *s = &p->s;
    for (size_t r = 0; r < s->m; r++)
        for (size_t c = 0; c < s->n_panels * GLIA_PANEL; c += 1 + s->k / 300) {
            double exact = 0, magnitude = 0;
            for (size_t i = 0; i < s->k; i++) {
                const size_t g = s->whole ? 0 : i / s->group;
                const double term =
                    (double)p->x[r * p->ldx + i] * (double)p->w[c * s->k + i] *
                    (double)p->scale[(c / GLIA_PANEL * p->groups + g) * GLIA_PANEL + c % GLIA_PANEL];
                exact += term;
                magnitude += fabs(term);
            }
            const double nu = (double)(s->k + 2 * (s->k / s->group + 1)) * 0x1p-24;
            CHECK(fabs((double)y[r * ldy + c] - exact) <= nu / (1 - nu) * magnitude,
                  "%s %s %s k=%zu group=%zu zeros=%d whole=%d m=%zu at %zu,%zu: got %.9g want %.9g", rung,
                  what, glia_weight_traits[s->format].name, s->k, s->group, s->zeros, s->whole, s->m, r, c,
                  (double)y[r * ldy + c], exact);
        }
}

/* ---- float32 rows ----------------------------------------------------------------- */

static void run_wide(const glia_kernels *k, const problem *p, float *y, size_t ldy, size_t row, size_t m,
                     size_t first, size_t n_panels) {
    glia_gemm g = gemm_of(p, first, n_panels, m);
    g.x = (glia_gemm_rows){p->x + row * p->ldx, p->ldx * sizeof *p->x, 64, NULL};
    g.out = (glia_gemm_out){.y = y, .ldy = ldy};
    k->gemm[p->s.format][GLIA_ROWS_F32].store(&g);
}

static void check_wide(const glia_kernels *k, const shape *s) {
    problem p = make(s, k, false);
    const size_t columns = s->n_panels * GLIA_PANEL;
    float *y = malloc(s->m * columns * sizeof *y), *other = malloc(s->m * columns * sizeof *y);
    run_wide(k, &p, y, columns, 0, s->m, 0, s->n_panels);
    check_values(&p, y, columns, "float32 rows");
    for (size_t r = s->m; r-- > 0;) run_wide(k, &p, other + r * columns, columns, r, 1, 0, s->n_panels);
    CHECK(same_bits(y, other, s->m * columns), "%s: rows alone differ", rung);
    for (size_t i = s->n_panels; i-- > 0;) run_wide(k, &p, other + i * GLIA_PANEL, columns, 0, s->m, i, 1);
    CHECK(same_bits(y, other, s->m * columns), "%s: panels alone differ", rung);
    free(y), free(other);
    drop(&p);
}

/* ---- bfloat16 rows ------------------------------------------------------------------ */

/* m rows from `row` on as kernels read them: in steps if they are many. */
static void run_narrow(const glia_kernels *k, const problem *p, float *y, size_t ldy, size_t row, size_t m,
                       size_t first, size_t n_panels) {
    const size_t steps = (p->s.k + 31) / 32;
    const bool many = m > 4;
    char *x = aligned_alloc(64, m * steps * 64), *scratch = aligned_alloc(64, GLIA_GEMM_SCRATCH);
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < steps * 32; i++) {
            const uint16_t h = glia_f32_to_bf16(p->x[(row + r) * p->ldx + i]);
            char *at = many ? x + (i / 32 * m + r) * 64 + i % 32 * 2 : x + r * steps * 64 + i * 2;
            memcpy(at, &h, sizeof h);
        }
    glia_gemm g = gemm_of(p, first, n_panels, m);
    g.x = many ? (glia_gemm_rows){x, 64, m * 64, NULL} : (glia_gemm_rows){x, steps * 64, 64, NULL};
    g.out = (glia_gemm_out){.y = y, .ldy = ldy};
    g.scratch = scratch;
    k->gemm[p->s.format][GLIA_ROWS_BF16].finish(&g);
    free(x), free(scratch);
}

static void check_narrow(const glia_kernels *k, const shape *s) {
    problem p = make(s, k, true);
    const size_t columns = s->n_panels * GLIA_PANEL;
    float *y = malloc(s->m * columns * sizeof *y), *other = malloc(s->m * columns * sizeof *y);
    run_narrow(k, &p, y, columns, 0, s->m, 0, s->n_panels);
    check_values(&p, y, columns, "bfloat16 rows");
    for (size_t r = 0, n; r < s->m; r += n) {
        n = 1 + r % 4 < s->m - r ? 1 + r % 4 : s->m - r;
        run_narrow(k, &p, other + r * columns, columns, r, n, 0, s->n_panels);
    }
    CHECK(same_bits(y, other, s->m * columns), "%s %s k=%zu group=%zu m=%zu: few rows differ", rung,
          glia_weight_traits[s->format].name, s->k, s->group, s->m);
    for (size_t i = s->n_panels; i-- > 0;) run_narrow(k, &p, other + i * GLIA_PANEL, columns, 0, s->m, i, 1);
    CHECK(same_bits(y, other, s->m * columns), "%s: panels alone differ", rung);
    free(y), free(other);
    drop(&p);
}

/* ---- int8 rows -------------------------------------------------------------------------- */

/* Quantised rows of a problem, and what their products must be, bit for bit. */
typedef struct {
    int8_t *q; /* [m, ld] in the order of k */
    float *scale, *bias, *exact;
    size_t ld;
} int_rows;

static int_rows draw_rows(const problem *p) {
    const shape *s = &p->s;
    const size_t columns = s->n_panels * GLIA_PANEL;
    int_rows q = {.ld = (s->k + 63) / 64 * 64};
    q.q = calloc(s->m, q.ld);
    q.scale = malloc(s->m * sizeof *q.scale);
    q.bias = malloc(columns * sizeof *q.bias);
    q.exact = malloc(s->m * columns * sizeof *q.exact);
    for (size_t c = 0; c < columns; c++) q.bias[c] = check_uniform();
    for (size_t r = 0; r < s->m; r++) {
        q.scale[r] = 0.01f + 0.001f * check_uniform();
        const bool largest = check_u32() % 8 == 0;
        for (size_t i = 0; i < s->k; i++)
            q.q[r * q.ld + i] = largest ? 127 : (int8_t)((int)(check_u32() % 255) - 127);
    }
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < s->m; r++) {
            float total = 0;
            for (size_t k = 0; k < s->k; k += s->group) {
                const size_t g = s->whole ? 0 : k / s->group;
                int32_t sum = 0;
                for (size_t i = k; i < s->k && i < k + s->group; i++)
                    sum += q.q[r * q.ld + i] * (int)p->w[c * s->k + i];
                total +=
                    (float)sum * p->scale[(c / GLIA_PANEL * p->groups + g) * GLIA_PANEL + c % GLIA_PANEL];
            }
            q.exact[r * columns + c] = total * q.scale[r];
        }
    return q;
}

static void run_int(const glia_kernels *k, const problem *p, const int_rows *q, float *y, size_t row,
                    size_t m, size_t first, size_t n_panels, bool bias) {
    const bool many = k->narrow && m > 4;
    const size_t columns = p->s.n_panels * GLIA_PANEL, step = many ? m * 64 : 64, ld = many ? 64 : q->ld;
    char *scratch = aligned_alloc(64, GLIA_GEMM_SCRATCH);
    int8_t *x = check_guarded(m * q->ld); /* ends at an unreadable page */
    for (size_t r = 0; r < m; r++) {
        for (size_t i = 0; i < q->ld; i += 64)
            memcpy(x + r * ld + i / 64 * step, q->q + (row + r) * q->ld + i, 64);
        glia_order_c4_rows(x + r * ld, step, p->s.k);
    }
    glia_gemm g = gemm_of(p, first, n_panels, m);
    g.x = (glia_gemm_rows){x, ld, step, q->scale + row};
    g.out = (glia_gemm_out){.y = y + row * columns + first * GLIA_PANEL, .ldy = columns};
    g.scratch = scratch;
    if (bias) g.out.bias = q->bias + first * GLIA_PANEL;
    if (k->narrow)
        k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_I8].finish(&g);
    else
        k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_I8].store(&g);
    check_guarded_free(x, m * q->ld);
    free(scratch);
}

static void check_int(const glia_kernels *k, const shape *s) {
    problem p = make(s, k, true);
    int_rows q = draw_rows(&p);
    const size_t n = s->m * s->n_panels * GLIA_PANEL;
    float *y = malloc(n * sizeof *y);
    run_int(k, &p, &q, y, 0, s->m, 0, s->n_panels, false);
    CHECK(same_bits(y, q.exact, n), "%s int8 rows k=%zu group=%zu zeros=%d whole=%d m=%zu panels=%zu differ",
          rung, s->k, s->group, s->zeros, s->whole, s->m, s->n_panels);
    memset(y, 0xff, n * sizeof *y);
    for (size_t r = 0, m; r < s->m; r += m) {
        m = 1 + r % 4 < s->m - r ? 1 + r % 4 : s->m - r;
        for (size_t i = s->n_panels; i-- > 0;) run_int(k, &p, &q, y, r, m, i, 1, false);
    }
    CHECK(same_bits(y, q.exact, n), "%s int8 rows: single panels and few rows differ", rung);
    if (k->narrow) run_int(k, &p, &q, y, 0, s->m, 0, s->n_panels, true);
    for (size_t i = 0, columns = s->n_panels * GLIA_PANEL; k->narrow && i < n; i++)
        q.exact[i] += q.bias[i % columns];
    CHECK(same_bits(y, q.exact, n), "%s int8 rows: the bias differs", rung);
    free(y), free(q.q), free(q.scale), free(q.bias), free(q.exact);
    drop(&p);
}

/* VNNI within the rung AVX-512, and AVX-VNNI within AVX2. */
static void check_vnni(const shape *s) {
    glia_kernels k;
    const unsigned have = glia_cpu_flags();
    for (int i = 0; i < GLIA_RUNGS; i++) {
        const unsigned extra = glia_rungs[i].keeps & ~glia_rungs[i].needs & have;
        if ((glia_rungs[i].needs & have) != glia_rungs[i].needs || !extra) continue;
        glia_kernels_init(&k, glia_rungs[i].needs | extra);
        check_int(&k, s);
    }
}

static void check_rung(const glia_kernels *k) {
    static const glia_weight_format formats[] = {GLIA_WEIGHT_C4, GLIA_WEIGHT_C8, GLIA_WEIGHT_F8};
    static const struct {
        size_t k, group;
        bool whole;
    } sizes[] = {{64, 32, false},    {256, 128, false}, {200, 64, false},   {48, 16, false},
                 {1040, 128, false}, {33, 32, false},   {600, 512, true},   {40, 512, true},
                 {1024, 512, false}, {5, 16, false},    {8200, 128, false}, {416, 32, false}};
    static const size_t rows[] = {1, 2, 3, 4, 5, 12, 13, 50, 270};
    for (size_t f = 0; f < 3; f++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                shape s = {formats[f],      (i + r) % 2 == 0 && formats[f] != GLIA_WEIGHT_F8,
                           sizes[i].whole,  false,
                           sizes[i].group,  sizes[i].k,
                           1 + (i + r) % 5, rows[r]};
                if (s.k * s.m > 300000) s.n_panels = 2;
                if (s.k * s.m > 300000 && f) continue;
                check_wide(k, &s);
                if (k->narrow) check_narrow(k, &s);
                s.integers = true;
                if (f == 0) check_int(k, &s);
                if (f == 0 && strcmp(k->rung, "ref") == 0) check_vnni(&s);
            }
}

/* ---- speed ---------------------------------------------------------------------------- */

enum { BENCH_K = 2048, DECODE_BYTES = 64 << 20, ROUNDS = 7 };

/* One kind of product, and its time in every round. */
typedef struct {
    glia_weight_format format;
    glia_row_format rows;
    bool zeros;
    size_t group; /* 0: not grouped. Kinds with the same rows are compared with this one */
    glia_gemm g;
    double bytes, seconds[ROUNDS];
} kind;

static void begin_kind(kind *b, const glia_kernels *k, size_t m) {
    const size_t panel = glia_panel_bytes(b->format, BENCH_K), groups = b->group ? BENCH_K / b->group : 1;
    const size_t n = DECODE_BYTES / panel / (m > 16 ? 8 : 1), columns = n * GLIA_PANEL;
    const size_t row = glia_row_bytes(b->rows, BENCH_K);
    const bool steps = k->narrow && m > 4;
    float *scale = bench_memory(columns * groups * sizeof *scale);
    char *x = bench_memory((m + 1) * row);
    b->g = (glia_gemm){.x = {x, steps ? 64 : row, steps ? (m | 1) * 64 : 64, NULL},
                       .out = {.y = bench_memory(m * columns * sizeof(float)), .ldy = columns},
                       .w = bench_memory(n * panel),
                       .w_scale = b->group || b->rows == GLIA_ROWS_I8 ? scale : NULL,
                       .w_zero = b->zeros ? bench_memory(columns * groups) : NULL,
                       .table = bench_memory(16 * sizeof(float)),
                       .group = b->group,
                       .k = BENCH_K,
                       .n_panels = n,
                       .m = m,
                       .scratch = bench_memory(GLIA_GEMM_SCRATCH)};
    if (b->rows == GLIA_ROWS_I8) b->g.x.scale = bench_memory(m * sizeof(float));
    b->bytes = (double)(n * panel + (b->group ? columns * groups * (sizeof(float) + b->zeros) : 0));
}

static void end_kind(kind *b) {
    const void *of[] = {b->g.x.x,     b->g.x.scale, b->g.out.y, b->g.w,
                        b->g.w_scale, b->g.w_zero,  b->g.table, b->g.scratch};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) free((void *)(uintptr_t)of[i]);
}

/* Medians: the share of the read ceiling, and the speed of an ungrouped product, of each round. */
static void print_kind(const kind *b, const kind *plain, const double *read, const char *name) {
    const double flops = 2.0 * BENCH_K * (double)(b->g.m * b->g.n_panels) * GLIA_PANEL;
    double share[ROUNDS], speed[ROUNDS], ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        share[i] = b->bytes / b->seconds[i] / read[i];
        speed[i] = flops / b->seconds[i];
        ratio[i] = speed[i] * plain->seconds[i] /
                   (2.0 * BENCH_K * (double)(plain->g.m * plain->g.n_panels) * GLIA_PANEL);
    }
    printf(
        "%-12s %-9s %s rows, %s group %3zu m %4zu: %5.1f %% of the read ceiling, %7.1f Gop/s, %.2f of %s\n",
        name, glia_weight_traits[b->format].name, b->rows == GLIA_ROWS_I8 ? "int8 " : "float",
        b->zeros ? "zeros" : "     ", b->group, b->g.m, 100 * median(share, ROUNDS),
        median(speed, ROUNDS) * 1e-9, median(ratio, ROUNDS), glia_weight_traits[plain->format].name);
}

static void bench_rows(const glia_kernels *k, size_t m) {
    const glia_row_format floats = k->narrow ? GLIA_ROWS_BF16 : GLIA_ROWS_F32;
    kind b[] = {{.format = GLIA_WEIGHT_BF16, .rows = floats},
                {.format = GLIA_WEIGHT_C4, .rows = floats, .group = 128},
                {.format = GLIA_WEIGHT_C4, .rows = floats, .group = 32},
                {.format = GLIA_WEIGHT_C4, .rows = floats, .group = 128, .zeros = true},
                {.format = GLIA_WEIGHT_C4, .rows = floats, .group = 32, .zeros = true},
                {.format = GLIA_WEIGHT_C8, .rows = floats, .group = 128},
                {.format = GLIA_WEIGHT_F8, .rows = floats, .group = 128},
                {.format = GLIA_WEIGHT_I8, .rows = GLIA_ROWS_I8},
                {.format = GLIA_WEIGHT_C4, .rows = GLIA_ROWS_I8, .group = 128},
                {.format = GLIA_WEIGHT_C4, .rows = GLIA_ROWS_I8, .group = 32},
                {.format = GLIA_WEIGHT_C4, .rows = GLIA_ROWS_I8, .group = 32, .zeros = true}};
    enum { KINDS = sizeof b / sizeof *b };
    double read[ROUNDS];
    for (int i = 0; i < KINDS; i++) begin_kind(&b[i], k, m);
    for (int round = 0; round < ROUNDS; round++) {
        read[round] = read_now(k, b[0].g.w, b[0].g.n_panels * glia_panel_bytes(b[0].format, BENCH_K));
        for (int i = 0; i < KINDS; i++) {
            const glia_gemm_kernel *kernel = &k->gemm[b[i].format][b[i].rows];
            const double t0 = cpu_seconds();
            if (k->narrow)
                kernel->finish(&b[i].g);
            else
                kernel->store(&b[i].g);
            b[i].seconds[round] = cpu_seconds() - t0;
        }
    }
    for (int i = 0, plain = 0; i < KINDS; i++) {
        if (!b[i].group) plain = i;
        print_kind(&b[i], &b[plain], read, k->rung);
    }
    for (int i = 0; i < KINDS; i++) end_kind(&b[i]);
}

static void bench(const glia_kernels *k) {
    static const size_t rows[] = {1, 2, 4, 8, 32, 512};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) bench_rows(k, rows[r]);
}

int main(int argc, char **argv) {
    const int timing = check_begin(argc, argv);
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels k;
        if (!rung_table(&k, i)) continue;
        rung = k.rung;
        if (timing)
            bench(&k);
        else
            check_rung(&k);
    }
    return check_end("kernel_group");
}
