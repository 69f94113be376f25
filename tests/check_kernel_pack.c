/* check_kernel_pack.c - packing: every rung's panels equal the definition below, byte
 * for byte, and unpacking gives the columns back. --bench times packing. */
#define _GNU_SOURCE
#include "kernel.h"

static const glia_dtype dtypes[] = {GLIA_DTYPE_F32, GLIA_DTYPE_F16, GLIA_DTYPE_BF16};
static const char *const names[] = {"f32", "f16", "bf16"};
static size_t size_of(glia_dtype d) { return d == GLIA_DTYPE_F32 ? 4 : 2; }

static uint16_t half_at(const char *row, size_t i) {
    uint16_t h;
    memcpy(&h, row + i * 2, 2);
    return h;
}

static float value_at(const void *row, glia_dtype d, size_t i) {
    float f;
    if (d == GLIA_DTYPE_F32) {
        memcpy(&f, (const char *)row + i * 4, 4);
        return f;
    }
    return d == GLIA_DTYPE_F16 ? glia_f16_to_f32(half_at(row, i)) : glia_bf16_to_f32(half_at(row, i));
}

static uint16_t half_of(glia_dtype d, float v) {
    return d == GLIA_DTYPE_F16 ? glia_f32_to_f16(v) : glia_f32_to_bf16(v);
}
static float widened(glia_dtype d, uint16_t h) {
    return d == GLIA_DTYPE_F16 ? glia_f16_to_f32(h) : glia_bf16_to_f32(h);
}

/* Random bits, including infinities, NaN, denormals and ties of rounding. float16's
 * signalling NaN are left out, because hardware makes them quiet. */
static void fill_row(char *row, glia_dtype d, size_t k) {
    for (size_t i = 0; i < k; i++) {
        uint32_t bits = check_u32();
        if (check_u32() % 8 == 0) bits = (bits & 0xffff0000u) | 0x8000u;
        if (check_u32() % 16 == 0) bits |= d == GLIA_DTYPE_F16 ? 0x7e00u : 0x7fc07fc0u;
        if (d == GLIA_DTYPE_F16 && (bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu)) bits |= 0x200u;
        if (d == GLIA_DTYPE_F32)
            memcpy(row + i * 4, &bits, 4);
        else
            memcpy(row + i * 2, &(uint16_t){(uint16_t)bits}, 2);
    }
}

static void check_shape(const char *rung, const glia_kernels *t, int into, int from, size_t k) {
    const glia_dtype to = dtypes[into];
    const size_t row_bytes = k * size_of(dtypes[from]) + k % 2, panel_bytes = glia_lines_bytes(to, k);
    char *row[GLIA_PANEL], *panel = check_guarded(panel_bytes);
    const void *rows[GLIA_PANEL];
    for (size_t c = 0; c < GLIA_PANEL; c++) { /* each row ends at a page, or one byte before it */
        row[c] = check_guarded(row_bytes);
        fill_row(row[c], dtypes[from], k);
        rows[c] = k % 5 == c % 5 ? NULL : row[c];
    }
    memset(panel, 0xff, panel_bytes);
    t->pack(panel, to, rows, dtypes[from], k);
    size_t wrong = 0, stored = to == GLIA_DTYPE_F32 ? k : (k + 1) / 2 * 2;
    for (size_t i = 0; i < stored; i++)
        for (size_t c = 0; c < GLIA_PANEL; c++) {
            const float want = rows[c] && i < k ? value_at(rows[c], dtypes[from], i) : 0.0f;
            const uint16_t half =
                dtypes[from] == to && rows[c] && i < k ? half_at(row[c], i) : half_of(to, want);
            if (to == GLIA_DTYPE_F32)
                wrong += memcmp(panel + i * 64 + c * 4, &want, 4) != 0;
            else
                wrong += memcmp(panel + i / 2 * 64 + c * 4 + i % 2 * 2, &half, 2) != 0;
        }
    CHECK(wrong == 0, "%s pack %s to %s k=%zu: %zu wrong", rung, names[from], names[into], k, wrong);
    float *back = check_guarded(k * sizeof *back);
    for (size_t c = 0; c < GLIA_PANEL; c++) {
        t->unpack(back, panel, to, k, c);
        wrong = 0;
        for (size_t i = 0; i < k; i++) {
            const float v = rows[c] ? value_at(rows[c], dtypes[from], i) : 0.0f,
                        want = to == GLIA_DTYPE_F32 ? v : widened(to, half_of(to, v));
            wrong += !(back[i] == want || (isnan(back[i]) && isnan(want)));
        }
        CHECK(wrong == 0, "%s unpack %s k=%zu column %zu: %zu wrong", rung, names[into], k, c, wrong);
    }
    check_guarded_free(back, k * sizeof *back);
    for (size_t c = 0; c < GLIA_PANEL; c++) check_guarded_free(row[c], row_bytes);
    check_guarded_free(panel, panel_bytes);
}

static void bench(const char *rung, const glia_kernels *t, int into, int from) {
    const glia_dtype to = dtypes[into];
    enum { ROUNDS = 7, K = 2048, PANELS = 256 };
    const size_t row_bytes = K * size_of(dtypes[from]), bytes = PANELS * 16 * row_bytes;
    char *w = bench_memory(bytes), *panels = bench_memory(PANELS * glia_lines_bytes(to, K));
    double rate[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        const double t0 = cpu_seconds();
        for (size_t p = 0; p < PANELS; p++) {
            const void *rows[GLIA_PANEL];
            for (size_t c = 0; c < GLIA_PANEL; c++) rows[c] = w + (p * 16 + c) * row_bytes;
            t->pack(panels + p * glia_lines_bytes(to, K), to, rows, dtypes[from], K);
        }
        rate[r] = (double)bytes / (cpu_seconds() - t0) * 1e-9;
    }
    printf("pack %-4s to %-4s %-6s %6.2f GB/s read\n", names[from], names[into], rung, median(rate, ROUNDS));
    free(w), free(panels);
}

int main(int argc, char **argv) {
    const int want_bench = check_begin(argc, argv);
    int twins = 0;
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels k;
        if (!rung_table(&k, i)) continue;
        twins++;
        for (int from = 0; from < 3; from++)
            for (int to = 0; to < 3; to++) {
                if (want_bench) bench(glia_rungs[i].name, &k, to, from);
                for (size_t n = 1; n <= 70 && !want_bench; n++)
                    check_shape(glia_rungs[i].name, &k, to, from, n);
            }
    }
    printf("pack: %d twins checked\n", twins);
    return check_end("check_kernel_pack");
}
