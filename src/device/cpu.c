/* cpu.c - the CPU device: sizes, memory, packing of weights, and row-wise operations. */
#include "device/cpu.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/cpu.h"

/* ---- sizes ------------------------------------------------------------------ */

static size_t columns(size_t n) { return glia_panels(n) * GLIA_PANEL; }

static size_t matrix_bytes(const glia_matrix *w) {
    return glia_panels(w->columns) * glia_panel_bytes(w->format, w->k);
}

enum { CODES = 16 }; /* of 4 bits */

static size_t scale_bytes(const glia_matrix *w) {
    if (glia_is_grouped(w->format)) return glia_cpu_codes_of(w).bytes;
    return glia_weight_traits[w->format].scaled ? columns(w->columns) * sizeof(float) : 0;
}

glia_cpu_codes glia_cpu_codes_of(const glia_matrix *w) {
    const size_t groups = glia_is_grouped(w->format) ? glia_groups(w->k, w->group, w->whole) : 1,
                 n = columns(w->columns) * groups;
    char *at = (char *)w->scale;
    glia_cpu_codes c = {.groups = groups, .bytes = n * sizeof(float)};
    if (w->zeros) c.zero = (int8_t *)at + c.bytes;
    c.bytes += w->zeros ? (n + 63) / 64 * 64 : 0; /* regions of a plan are whole lines */
    c.table = (float *)(void *)(at + c.bytes);
    c.bytes += CODES * sizeof(float);
    if (w->inputs) c.order = (int32_t *)(void *)(at + c.bytes);
    c.bytes += w->inputs ? (w->k * sizeof *c.order + 63) / 64 * 64 : 0;
    return c;
}

/* [panels, lines of a panel, columns, elements of a column in a line] */
static int tensor_shape(int64_t shape[4], const glia_matrix *w) {
    const size_t line = glia_panel_bytes(w->format, 1), column = glia_panel_bytes(w->format, w->k) / line;
    const int bits = glia_weight_traits[w->format].bits;
    shape[0] = (int64_t)glia_panels(w->columns);
    shape[1] = (int64_t)column;
    shape[2] = GLIA_PANEL;
    shape[3] = bits < 8 ? 4 : 32 / bits; /* codes of 4 bits are bytes of a file */
    return 4;
}

/* Whole pages, so that two threads share no cache line. */
static size_t scratch_bytes(const glia_device_shape *s) {
    const size_t attention = glia_cpu_attention_scratch_bytes(s);
    size_t bytes = GLIA_GEMM_SCRATCH;
    if (bytes < attention) bytes = attention;
    if (bytes < 2 * s->widest * sizeof(float))
        bytes = 2 * s->widest * sizeof(float); /* a row, and converted */
    return (bytes + 4095) / 4096 * 4096;
}

/* Indices of the device's regions in a plan. */
typedef struct {
    int operand, scratch, rows_i8, rows_scale, lora;
} regions;

static regions add_regions(glia_plan *p, const glia_device_shape *s) {
    const size_t operands = glia_cpu_operand_rows(s->operand_rows, s->threads);
    regions r;
    r.operand = glia_plan_add(p, "normed input", operands * glia_row_stride(s->hidden), sizeof(float));
    r.scratch = glia_plan_add(p, "scratch of threads", (size_t)s->threads, scratch_bytes(s));
    r.rows_i8 = glia_plan_add(p, "int8 rows", s->quantize_rows ? operands : 0, glia_i8_stride(s->widest));
    r.rows_scale = glia_plan_add(p, "int8 rows' scales", s->quantize_rows ? operands : 0, sizeof(float));
    r.lora = glia_cpu_lora_plan(p, s);
    return r;
}

static int plan(glia_plan *p, const glia_device_shape *s) { return add_regions(p, s).operand; }

/* ---- memory ----------------------------------------------------------------- */

static void copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }

/* ---- a device --------------------------------------------------------------- */

static bool is_narrow(const glia_kernels *k, glia_dtype dtype) {
    return k->narrow && dtype == GLIA_DTYPE_BF16;
}

static glia_status open_device(glia_device **out, glia_team *team, unsigned cpu_flags,
                               const glia_device_shape *s, const glia_plan *p, int first, glia_err *err) {
    *out = NULL;
    glia_cpu_device *d = calloc(1, sizeof *d);
    if (!d) return glia_fail_nomem(err, sizeof *d, "the device");
    d->base = (glia_device){.ops = &glia_cpu, .team = team, .threads = glia_team_size(team)};
    glia_kernels_init(&d->k, cpu_flags);
    *out = &d->base;
    if (!s) return GLIA_OK;
    d->narrow = is_narrow(&d->k, s->dtype);
    d->scratch_bytes = scratch_bytes(s);
    glia_plan alone = {0};
    const regions r = add_regions(&alone, s); /* the first is number 0 */
    d->operand = glia_plan_at(p, first + r.operand);
    d->scratch = glia_plan_at(p, first + r.scratch);
    d->rows_i8 = glia_plan_at(p, first + r.rows_i8);
    d->rows_scale = glia_plan_at(p, first + r.rows_scale);
    glia_cpu_lora_open(&d->lora, p, first + r.lora, s);
    return GLIA_OK;
}

static void close_device(glia_device *d) { free(d); }

/* ---- weights ---------------------------------------------------------------- */

static float most(const glia_device *d, const void *row, glia_dtype from, size_t n) {
    return glia_cpu_of(d)->k.absmax(row, from, n);
}

static void rotate(const glia_device *d, float *row, size_t n, size_t block) {
    glia_cpu_of(d)->k.rotate(row, row, 64, GLIA_DTYPE_F32, n, block);
}

static void pack(const glia_device *d, const glia_matrix *w, size_t first,
                 const void *const row[GLIA_SWIGLU_GROUP], glia_dtype from,
                 const float scale[GLIA_SWIGLU_GROUP]) {
    static_assert((int)GLIA_SWIGLU_GROUP == (int)GLIA_PANEL, "columns are packed panel by panel");
    const glia_kernels *k = &glia_cpu_of(d)->k;
    const glia_weight_trait *trait = &glia_weight_traits[w->format];
    char *panel = (char *)w->data + first / GLIA_PANEL * glia_panel_bytes(w->format, w->k);
    if (!trait->scaled) {
        k->pack(panel, trait->element, row, from, w->k);
        return;
    }
    memcpy(w->scale + first, scale, GLIA_PANEL * sizeof *scale);
    k->pack_i8(panel, row, from, w->k, scale);
}

static void pack_codes(const glia_device *d, const glia_matrix *w, size_t first,
                       const uint8_t *const row[GLIA_SWIGLU_GROUP],
                       const float *const scale[GLIA_SWIGLU_GROUP],
                       const int8_t *const zero[GLIA_SWIGLU_GROUP]) {
    const glia_cpu_codes c = glia_cpu_codes_of(w);
    const size_t panel = first / GLIA_PANEL;
    glia_cpu_of(d)->k.pack_codes((char *)w->data + panel * glia_panel_bytes(w->format, w->k), w->format, row,
                                 w->k);
    for (size_t g = 0; g < c.groups; g++)
        for (size_t i = 0; i < GLIA_PANEL; i++) {
            const size_t at = (panel * c.groups + g) * GLIA_PANEL + i;
            w->scale[at] = row[i] ? scale[i][g] : 0;
            if (c.zero) c.zero[at] = row[i] ? zero[i][g] : 0;
        }
}

static void set_codes(const glia_device *d, const glia_matrix *w, const float *table, const int32_t *order) {
    const glia_cpu_codes c = glia_cpu_codes_of(w);
    (void)d;
    memcpy(c.table, table, CODES * sizeof *table);
    if (w->inputs) memcpy(c.order, order, w->k * sizeof *order);
}

static const int32_t *order_of(const glia_matrix *w) { return glia_cpu_codes_of(w).order; }

/* ---- operations on rows ----------------------------------------------------- */

static void minus_zero(float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = -0.0f;
}

static void embed(const glia_device *d, int thread, float *y, size_t ldy, const glia_matrix *table,
                  size_t first, const int32_t *token, int m) {
    const size_t panel = glia_panel_bytes(table->format, table->k);
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) {
        const size_t t = (size_t)token[i] - first; /* wraps where token < first */
        if (t < table->columns)
            glia_cpu_of(d)->k.unpack(y + i * ldy, (const char *)table->data + t / GLIA_PANEL * panel,
                                     glia_weight_traits[table->format].element, table->k, t % GLIA_PANEL);
        else
            minus_zero(y + i * ldy, table->k);
    }
}

static void select_rows(const glia_device *d, int thread, float *y, const float *x, size_t ld,
                        const int32_t *row, int n, size_t from, size_t to) {
    size_t first, last;
    glia_share((size_t)n, thread, d->threads, &first, &last);
    for (size_t i = first; i < last; i++) {
        const size_t r = (size_t)row[i];
        if (r >= from && r < to)
            memcpy(y + i * ld, x + r * ld, ld * sizeof *y);
        else
            minus_zero(y + i * ld, ld);
    }
}

static void norm(const glia_device *d, int thread, float *y, const float *x, size_t ld, int m, size_t n,
                 const float *weight, float eps) {
    size_t from, to;
    glia_share((size_t)m, thread, d->threads, &from, &to);
    for (size_t i = from; i < to; i++) glia_cpu_of(d)->k.rmsnorm(y + i * ld, x + i * ld, weight, n, eps);
}

/* ---- which kernels run ------------------------------------------------------ */

/* The kernels of a device that is not open, of a model of `dtype`. */
static glia_cpu_device sketch(unsigned cpu_flags, glia_dtype dtype) {
    glia_cpu_device d = {0};
    glia_kernels_init(&d.k, cpu_flags);
    d.narrow = is_narrow(&d.k, dtype);
    return d;
}

static glia_status check(unsigned cpu_flags, const glia_matrix *w, glia_dtype dtype, glia_err *err) {
    const glia_cpu_device d = sketch(cpu_flags, dtype);
    const glia_gemm_kernel *kernel = glia_cpu_gemm(&d, w);
    if (d.narrow ? kernel->finish : kernel->store) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_UNSUPPORTED, "the %s kernels have no product of %s weights and %s rows",
                     d.k.rung, glia_weight_traits[w->format].name,
                     w->quantize_rows && !glia_keeps_floats(w) ? "int8"
                     : d.narrow                                ? "bfloat16"
                                                               : "float32");
}

/* The lowest rung whose table holds the same function at offset `at`. */
static const char *rung_of(size_t at, unsigned flags) {
    glia_kernels chosen, lower;
    void (*want)(void), (*have)(void);
    glia_kernels_init(&chosen, flags);
    memcpy(&want, (const char *)&chosen + at, sizeof want);
    for (int i = 0; i < GLIA_RUNGS; i++) {
        glia_kernels_init(&lower, flags & glia_rungs[i].keeps);
        memcpy(&have, (const char *)&lower + at, sizeof have);
        if (have == want) return lower.rung;
    }
    return chosen.rung;
}

/* The offset of the kernel that multiplies by w. */
static size_t gemm_at(const glia_cpu_device *d, const glia_matrix *w) {
    const glia_gemm_kernel *kernel = glia_cpu_gemm(d, w);
    const char *entry = d->narrow ? (const char *)&kernel->finish : (const char *)&kernel->store;
    return (size_t)(entry - (const char *)&d->k);
}

static int describe(glia_operation *list, unsigned cpu_flags, const glia_matrix *w,
                    const glia_device_shape *s) {
    const glia_cpu_device d = sketch(cpu_flags, s->dtype);
    const bool int8_kv = s->kv_dtype == GLIA_DTYPE_I8; /* widened first */
    const bool wide_kv = int8_kv ? !d.narrow : s->kv_dtype == GLIA_DTYPE_F32;
    const struct {
        const char *name;
        size_t at;
    } rows[] = {
        {"linear", gemm_at(&d, w)},
        {"rotate", offsetof(glia_kernels, rotate)},
        {"attend", wide_kv ? offsetof(glia_kernels, attend_f32) : offsetof(glia_kernels, attend_bf16)},
        {"merge", offsetof(glia_kernels, merge)},
        {"rmsnorm", offsetof(glia_kernels, rmsnorm)},
        {"rope", offsetof(glia_kernels, rope)},
        {"swiglu", offsetof(glia_kernels, swiglu)},
        {"add", offsetof(glia_kernels, add)},
        {"divide", offsetof(glia_kernels, divide)},
        {"kv_store", offsetof(glia_kernels, kv_store)},
        {"kv_widen", offsetof(glia_kernels, kv_widen)},
        {"embed", offsetof(glia_kernels, unpack)},
        {"pack", offsetof(glia_kernels, pack)},
    };
    enum { N = sizeof rows / sizeof *rows };
    static_assert((int)N <= (int)GLIA_OPERATIONS_MAX, "room for all operations");
    for (int i = 0; i < N; i++) list[i] = (glia_operation){rows[i].name, rung_of(rows[i].at, cpu_flags)};
    return N;
}

const glia_device_ops glia_cpu = {
    .name = "cpu",
    .host_memory = true,
    .head_dim_max = GLIA_HEAD_DIM_MAX,
    .queries_max = GLIA_QUERIES_MAX,
    .stride = glia_row_stride,
    .columns = columns,
    .matrix_bytes = matrix_bytes,
    .scale_bytes = scale_bytes,
    .kv_block_bytes = glia_cpu_kv_block_bytes,
    .states_bytes = glia_cpu_states_bytes,
    .plan = plan,
    .tensor_shape = tensor_shape,
    .describe = describe,
    .check = check,
    .map = glia_plan_map,
    .unmap = glia_plan_unmap,
    .upload = copy,
    .download = copy,
    .open = open_device,
    .close = close_device,
    .first_columns = glia_cpu_first_columns,
    .most = most,
    .rotate = rotate,
    .pack = pack,
    .pack_codes = pack_codes,
    .set_codes = set_codes,
    .order = order_of,
    .embed = embed,
    .adapt_embed = glia_cpu_adapt_embed,
    .select = select_rows,
    .norm = norm,
    .linear = glia_cpu_linear,
    .operand = glia_cpu_operand,
    .prepare = glia_cpu_prepare,
    .multiply = glia_cpu_multiply,
    .attention = glia_cpu_attention,
    .merge = glia_cpu_merge,
    .copy_kv = glia_cpu_copy_kv,
    .measure = glia_cpu_measure,
};
