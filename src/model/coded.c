/* coded.c - see coded.h. */
#include "model/coded.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/err.h"

enum { NAME = 192, BITS_OF_WORD = 32, MIDDLE = 8 /* of 4-bit codes: the zero point of symmetric ones */ };

/* ---- numbers of tensors ----------------------------------------------------------- */

static uint32_t word_at(const glia_tensor_view *t, size_t i) {
    uint32_t w;
    memcpy(&w, (const char *)t->data + i * sizeof w, sizeof w);
    return w;
}
static uint8_t byte_at(const glia_tensor_view *t, size_t i) { return ((const uint8_t *)t->data)[i]; }

static float number_at(const glia_tensor_view *t, size_t i) {
    const char *data = t->data;
    uint16_t h;
    float f;
    switch ((int)t->dtype) {
    case GLIA_TENSOR_F32: memcpy(&f, data + i * sizeof f, sizeof f); return f;
    case GLIA_TENSOR_BF16: memcpy(&h, data + i * sizeof h, sizeof h); return glia_bf16_to_f32(h);
    case GLIA_TENSOR_F16: memcpy(&h, data + i * sizeof h, sizeof h); return glia_f16_to_f32(h);
    case GLIA_TENSOR_F8_E4M3: return glia_f8_to_f32(byte_at(t, i));
    default: return byte_at(t, i) == 255 ? NAN : ldexpf(1, byte_at(t, i) - 127); /* E8M0 */
    }
}

/* The code of `bits` bits number `i` in words along a row that begins at word `first`; words are `stride`
 * apart. Lowest bits come first. */
static unsigned unpack(const glia_tensor_view *t, size_t first, size_t stride, size_t i, int bits) {
    const size_t each = BITS_OF_WORD / (size_t)bits;
    return word_at(t, first + i / each * stride) >> (i % each * (size_t)bits) & ((1u << bits) - 1);
}

/* ---- find ---------------------------------------------------------------------------- */

typedef struct {
    const glia_checkpoint *c;
    char module[NAME]; /* as stored, with a dot at its end */
    const char *where;
    glia_err *err;
} finder;

static const glia_tensor_view *optional(const finder *f, const char *suffix) {
    char name[2 * NAME];
    snprintf(name, sizeof name, "%s%s", f->module, suffix);
    return glia_checkpoint_find(f->c, name);
}

static glia_status missing(const finder *f, const char *suffix) {
    return glia_fail(f->err, GLIA_ERR_SHAPE, "%s: tensor %s%s is missing", f->where, f->module, suffix);
}

static bool has_shape(const glia_tensor_view *t, int64_t rows, int64_t cols) {
    if (cols < 0) return t->n_dims == 1 && t->shape[0] == rows;
    return t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
}

/* Find a tensor [rows, cols], or [rows] if cols is -1, of one of the dtypes. */
static glia_status find(const finder *f, const glia_tensor_view **out, const char *suffix, int64_t rows,
                        int64_t cols, unsigned dtypes) {
    char found[128];
    const glia_tensor_view *t = *out = optional(f, suffix);
    if (!t) return missing(f, suffix);
    if (!(dtypes >> t->dtype & 1))
        return glia_fail(f->err, GLIA_ERR_SHAPE,
                         "%s: tensor %s has dtype %s, which its quant_method does not store", f->where,
                         t->name, glia_tensor_dtype_name(t->dtype));
    if (has_shape(t, rows, cols)) return GLIA_OK;
    glia_tensor_shape(t, found, sizeof found);
    if (cols < 0)
        return glia_fail(f->err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld]", f->where,
                         t->name, found, (long long)rows);
    return glia_fail(f->err, GLIA_ERR_SHAPE, "%s: tensor %s has shape %s, expected [%lld, %lld]", f->where,
                     t->name, found, (long long)rows, (long long)cols);
}

#define ONE(dtype) (1u << GLIA_TENSOR_##dtype)
enum {
    FLOATS = ONE(F32) | ONE(BF16) | ONE(F16),
    WORDS = ONE(I32) | ONE(U32),
    POWERS = ONE(U8) | ONE(F8_E8M0), /* E8M0: powers of two */
};

static int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }
static int64_t words(int64_t n, int bits) { return parts(n * bits, BITS_OF_WORD); }

/* A tensor of one number, which tools store as [1], [1, 1] or []. */
static glia_status find_number(const finder *f, const glia_tensor_view **out, const char *suffix,
                               unsigned dtypes) {
    const glia_tensor_view *t = optional(f, suffix);
    if (t && t->bytes && (t->n_dims == 0 || has_shape(t, 1, 1))) {
        *out = t;
        if (dtypes >> t->dtype & 1) return GLIA_OK;
    }
    return find(f, out, suffix, 1, -1, dtypes);
}

static void integer_table(glia_coded *o) {
    for (int i = 0; i < GLIA_CODES; i++) o->table[i] = (float)(i - MIDDLE);
}

/* ---- bytes: int8, int4, float8 --------------------------------------------------------------- */

/* Find the scales `suffix` of a row, of groups, of blocks, or of the tensor. */
static glia_status find_scales(const finder *f, glia_coded *o, const char *suffix) {
    const glia_stored_scheme *s = o->scheme;
    const glia_tensor_view *t = optional(f, suffix);
    if (s->block_rows) o->row_block = s->block_rows;
    if (s->per_tensor) {
        o->row_block = o->rows;
        return find_number(f, &o->scale, suffix, FLOATS);
    }
    if (t && o->groups == 1 && !s->block_rows && has_shape(t, o->rows, -1))
        return find(f, &o->scale, suffix, o->rows, -1, FLOATS);
    return find(f, &o->scale, suffix, parts(o->rows, o->row_block), o->groups,
                FLOATS | (s->layout == GLIA_LAYOUT_BLOCKS ? POWERS : 0));
}

static glia_status find_bytes(const finder *f, glia_coded *o) {
    const glia_stored_scheme *s = o->scheme;
    const bool blocks = s->layout == GLIA_LAYOUT_BLOCKS;
    const char *scale =
        blocks && (!s->per_tensor || optional(f, "weight_scale_inv")) ? "weight_scale_inv" : "weight_scale";
    o->format = s->floats ? GLIA_WEIGHT_F8 : s->bits == 4 ? GLIA_WEIGHT_C4 : GLIA_WEIGHT_C8;
    integer_table(o);
    glia_status status = find(f, &o->codes, "weight", o->rows, o->cols, s->floats ? ONE(F8_E4M3) : ONE(I8));
    if (!status) status = find_scales(f, o, scale);
    if (status || s->symmetric) return status;
    o->zeros = true;
    return find(f, &o->zero, "weight_zero_point", o->scale->shape[0],
                o->scale->n_dims == 2 ? o->scale->shape[1] : -1, ONE(I8));
}

/* bitsandbytes' 8 bits: the largest magnitude of each row is stored, and stands for 127. */
static glia_status find_bnb8(const finder *f, glia_coded *o) {
    const glia_tensor_view *format = optional(f, "weight_format");
    o->format = GLIA_WEIGHT_C8;
    o->divisor = GLIA_I8_MAX;
    glia_status status = find(f, &o->codes, "weight", o->rows, o->cols, ONE(I8));
    if (!status) status = find(f, &o->scale, "SCB", o->rows, -1, ONE(F32));
    if (!status && format && format->bytes == 1 && byte_at(format, 0) != 0)
        status = glia_fail(f->err, GLIA_ERR_FORMAT, "%s: tensor %s is %d, expected 0: rows in their order",
                           f->where, format->name, byte_at(format, 0));
    return status;
}

/* ---- compressed-tensors, packed ------------------------------------------------------- */

/* weight_shape is what weight_packed unpacks to. */
static glia_status check_shape(const finder *f, const glia_coded *o) {
    const glia_tensor_view *t = optional(f, "weight_shape");
    int64_t shape[2];
    if (!t) return GLIA_OK;
    glia_status status = find(f, &t, "weight_shape", 2, -1, ONE(I64));
    if (status) return status;
    memcpy(shape, t->data, sizeof shape);
    if (shape[0] == o->rows && shape[1] == o->cols) return GLIA_OK;
    return glia_fail(f->err, GLIA_ERR_SHAPE, "%s: tensor %s is [%lld, %lld], expected [%lld, %lld]", f->where,
                     t->name, (long long)shape[0], (long long)shape[1], (long long)o->rows,
                     (long long)o->cols);
}

/* Keep g_idx if it orders columns in another way than their numbers do. */
static glia_status find_order(const finder *f, glia_coded *o, const char *suffix) {
    bool natural = true;
    const glia_tensor_view *t;
    glia_status status = find(f, &t, suffix, o->cols, -1, WORDS);
    for (int64_t i = 0; !status && i < o->cols; i++) {
        const uint32_t g = word_at(t, (size_t)i);
        natural &= g == i / o->group;
        if (g >= o->groups)
            status = glia_fail(f->err, GLIA_ERR_FORMAT,
                               "%s: tensor %s: group %d of column %lld, expected 0 to %lld", f->where,
                               t->name, (int32_t)g, (long long)i, (long long)o->groups - 1);
    }
    if (!status && !natural) o->g_idx = t;
    return status;
}

static glia_status find_packed(const finder *f, glia_coded *o) {
    const glia_stored_scheme *s = o->scheme;
    const glia_tensor_view *zero = optional(f, "weight_zero_point");
    o->format = s->bits == 4 ? GLIA_WEIGHT_C4 : GLIA_WEIGHT_C8;
    o->zeros = !s->symmetric;
    integer_table(o);
    glia_status status = find(f, &o->codes, "weight_packed", o->rows, words(o->cols, s->bits), WORDS);
    if (!status) status = check_shape(f, o);
    if (!status) status = find_scales(f, o, "weight_scale");
    if (!status && o->zeros && s->per_tensor)
        status = find_number(f, &o->zero, "weight_zero_point", ONE(I8));
    else if (!status && o->zeros && zero && zero->dtype == GLIA_TENSOR_I8)
        status = find(f, &o->zero, "weight_zero_point", parts(o->rows, o->row_block), o->groups, ONE(I8));
    else if (!status && o->zeros)
        status = find(f, &o->zero, "weight_zero_point", words(o->rows, s->bits), o->groups, WORDS);
    if (!status && (s->ordered || optional(f, "weight_g_idx"))) status = find_order(f, o, "weight_g_idx");
    return status;
}

static glia_status find_fp4(const finder *f, glia_coded *o) {
    static const float e2m1[GLIA_CODES] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                           -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    const glia_tensor_view *global;
    o->format = GLIA_WEIGHT_C4;
    memcpy(o->table, e2m1, sizeof e2m1);
    glia_status status = find(f, &o->codes, "weight_packed", o->rows, parts(o->cols, 2), ONE(U8));
    if (!status) status = find(f, &o->scale, "weight_scale", o->rows, o->groups, POWERS | ONE(F8_E4M3));
    if (status || o->scale->dtype != GLIA_TENSOR_F8_E4M3) return status;
    status = find_number(f, &global, "weight_global_scale", FLOATS);
    if (!status) o->divisor = number_at(global, 0);
    if (!status && !(isfinite(o->divisor) && o->divisor != 0))
        status = glia_fail(f->err, GLIA_ERR_FORMAT, "%s: tensor %s is %g, expected a number to divide by",
                           f->where, global->name, (double)o->divisor);
    return status;
}

/* ---- gptq, awq ------------------------------------------------------------------------ */

/* Are all zero points those of symmetric codes, 2^(bits - 1)? */
static bool zeros_are_middle(const glia_coded *o) {
    for (int64_t g = 0; g < o->groups; g++)
        for (int64_t r = 0; r < o->rows; r++) {
            int8_t zero;
            glia_coded_scale(o, (size_t)r, (size_t)g, &zero);
            if (zero != (o->format == GLIA_WEIGHT_C4 ? MIDDLE : 0)) return false;
        }
    return true;
}

static glia_status find_gptq(const finder *f, glia_coded *o) {
    const int bits = o->scheme->bits;
    o->format = bits == 4 ? GLIA_WEIGHT_C4 : GLIA_WEIGHT_C8;
    o->zeros = true;
    integer_table(o);
    glia_status status = find(f, &o->codes, "qweight", words(o->cols, bits), o->rows, WORDS);
    if (!status) status = find(f, &o->zero, "qzeros", o->groups, words(o->rows, bits), WORDS);
    if (!status) status = find(f, &o->scale, "scales", o->groups, o->rows, FLOATS);
    if (!status && optional(f, "g_idx")) status = find_order(f, o, "g_idx");
    if (!status && zeros_are_middle(o)) o->zeros = false;
    return status;
}

static glia_status find_awq(const finder *f, glia_coded *o) {
    o->format = GLIA_WEIGHT_C4;
    o->zeros = true;
    glia_status status = find(f, &o->codes, "qweight", o->cols, words(o->rows, 4), WORDS);
    if (!status) status = find(f, &o->zero, "qzeros", o->groups, words(o->rows, 4), WORDS);
    if (!status) status = find(f, &o->scale, "scales", o->groups, o->rows, FLOATS);
    return status;
}

/* Words that have the zero points of a row of AWQ's gemv: its kernels want powers of two for short groups. */
static int64_t gemv_words(const glia_coded *o) {
    const int64_t unit = o->group >= 128 ? 1 : o->group == 64 ? 2 : 4;
    return parts(words(o->cols / o->group, 4), unit) * unit;
}

static glia_status find_gemv(const finder *f, glia_coded *o) {
    const int64_t n = gemv_words(o);
    o->format = GLIA_WEIGHT_C4;
    o->zeros = true;
    glia_status status = find(f, &o->codes, "qweight", o->rows, words(o->cols, 4), WORDS);
    if (!status) status = find(f, &o->zero, "qzeros", o->rows, n, WORDS);
    if (!status) status = find(f, &o->scale, "scales", o->rows, n * 8, FLOATS);
    return status;
}

/* ---- bitsandbytes ------------------------------------------------------------------------ */

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The members of quant_state: sizes of blocks, the shape, and the offset of nested scales. */
static glia_status read_state(const finder *f, glia_coded *o, const glia_tensor_view *t) {
    json_t *tree;
    char where[2 * NAME];
    snprintf(where, sizeof where, "%s: tensor %.120s", f->where, t->name);
    glia_status status = glia_json_parse(&tree, t->data, t->bytes, 0, where, f->err);
    if (status) return status;
    glia_json_reader r = {.object = tree, .where = where, .err = f->err};
    const json_t *shape = glia_json_array(&r, "shape");
    o->block = glia_json_int(&r, "blocksize", 0, 1, 1 << 20);
    o->nested_block = glia_json_int(&r, "nested_blocksize", 0, 1, 1 << 20);
    o->nested_offset = (float)glia_json_real(&r, "nested_offset", 0, -1e30, 1e30);
    if (!r.status && o->block == 0) glia_json_fail(&r, GLIA_ERR_FORMAT, "blocksize is missing");
    if (!r.status && (json_integer_value(json_array_get(shape, 0)) != o->rows ||
                      json_integer_value(json_array_get(shape, 1)) != o->cols))
        glia_json_fail(&r, GLIA_ERR_SHAPE, "shape: expected [%lld, %lld]", (long long)o->rows,
                       (long long)o->cols);
    json_decref(tree);
    return r.status;
}

/* The packed codes, n bytes, which bnb_4bit_quant_storage gives any dtype. */
static glia_status find_storage(const finder *f, glia_coded *o, int64_t n) {
    char found[128];
    const glia_tensor_view *t = o->codes = optional(f, "weight");
    if (!t) return missing(f, "weight");
    if (t->bytes == (size_t)n) return GLIA_OK;
    glia_tensor_shape(t, found, sizeof found);
    return glia_fail(f->err, GLIA_ERR_SHAPE, "%s: tensor %s is %s %s, expected %lld bytes", f->where, t->name,
                     glia_tensor_dtype_name(t->dtype), found, (long long)n);
}

static glia_status find_bnb(const finder *f, glia_coded *o) {
    const glia_tensor_view *state = optional(f, "weight.quant_state.bitsandbytes__nf4"), *map;
    if (!state) state = optional(f, "weight.quant_state.bitsandbytes__fp4");
    if (!state) return missing(f, "weight.quant_state.bitsandbytes__nf4");
    o->format = GLIA_WEIGHT_C4;
    glia_status status = read_state(f, o, state);
    if (status) return status;
    const int64_t n = o->rows * o->cols, blocks = parts(n, o->block);
    o->group = gcd(o->cols, o->block); /* a block may end inside a row */
    o->groups = o->cols / o->group;
    status = find_storage(f, o, parts(n, 2));
    if (!status) status = find(f, &map, "weight.quant_map", GLIA_CODES, -1, ONE(F32));
    for (int i = 0; !status && i < GLIA_CODES; i++) {
        o->table[i] = number_at(map, (size_t)i);
        if (!isfinite(o->table[i]))
            status = glia_fail(f->err, GLIA_ERR_FORMAT, "%s: tensor %s holds a value that is NaN or infinite",
                               f->where, map->name);
    }
    if (!status)
        status = find(f, &o->scale, "weight.absmax", blocks, -1, o->nested_block ? ONE(U8) : ONE(F32));
    if (status || !o->nested_block) return status;
    status = find(f, &o->nested, "weight.nested_absmax", parts(blocks, o->nested_block), -1, ONE(F32));
    return status ? status : find(f, &o->nested_map, "weight.nested_quant_map", 256, -1, ONE(F32));
}

/* ---- rows that become int8 ------------------------------------------------------------------ */

static glia_status bad_number(const finder *f, const glia_tensor_view *t, float found, const char *expected) {
    return glia_fail(f->err, GLIA_ERR_FORMAT, "%s: tensor %s is %g, expected %s", f->where, t->name,
                     (double)found, expected);
}

/* The scale and the zero point that the checkpoint stores for all rows. */
static glia_status find_rows(const finder *f, glia_coded *o) {
    const glia_tensor_view *t;
    glia_status status = find_number(f, &t, "input_scale", FLOATS);
    if (status) return status;
    const float scale = o->rows_scale.scale = number_at(t, 0);
    if (!isfinite(scale) || scale < FLT_MIN) return bad_number(f, t, scale, "a positive number");
    if (!o->scheme->rows_asymmetric) return GLIA_OK;
    status = find_number(f, &t, "input_zero_point", FLOATS | ONE(I8) | ONE(I32));
    if (status) return status;
    const float zero = t->dtype == GLIA_TENSOR_I8    ? (float)(int8_t)byte_at(t, 0)
                       : t->dtype == GLIA_TENSOR_I32 ? (float)(int32_t)word_at(t, 0)
                                                     : number_at(t, 0);
    if (!(zero >= INT8_MIN && zero <= INT8_MAX) || zero != (float)(int)zero)
        return bad_number(f, t, zero, "an integer from -128 to 127");
    o->rows_scale.zero = (int)zero;
    return GLIA_OK;
}

/* ---- any ---------------------------------------------------------------------------------- */

static const struct {
    glia_status (*find)(const finder *f, glia_coded *o);
    const char *tensor; /* which says that a module is quantised; NULL: it has the dtype of a plain tensor */
} layouts[] = {
    [GLIA_LAYOUT_BYTES] = {find_bytes, "weight_scale"},
    [GLIA_LAYOUT_BLOCKS] = {find_bytes, NULL},
    [GLIA_LAYOUT_PACKED] = {find_packed, "weight_packed"},
    [GLIA_LAYOUT_FP4] = {find_fp4, "weight_packed"},
    [GLIA_LAYOUT_GPTQ] = {find_gptq, "qweight"},
    [GLIA_LAYOUT_AWQ] = {find_awq, "qweight"},
    [GLIA_LAYOUT_GEMV] = {find_gemv, "qweight"},
    [GLIA_LAYOUT_BNB] = {find_bnb, NULL},
    [GLIA_LAYOUT_BNB8] = {find_bnb8, "SCB"},
};

/* Does the module have its tensor as codes? */
static bool has_codes(const finder *f, const glia_stored_scheme *s) {
    const char *tensor = layouts[s->layout].tensor;
    const glia_tensor_view *plain = optional(f, "weight");
    if (tensor) return optional(f, tensor);
    if (optional(f, "weight.quant_state.bitsandbytes__nf4") ||
        optional(f, "weight.quant_state.bitsandbytes__fp4"))
        return true;
    return plain && (plain->dtype == GLIA_TENSOR_U8 || plain->dtype == GLIA_TENSOR_F8_E4M3);
}

glia_status glia_coded_find(glia_coded *out, const glia_checkpoint *c, const glia_quantization_config *q,
                            const char *name, int64_t rows, int64_t cols, const char *where, glia_err *err) {
    static const char suffix[] = ".weight";
    finder f = {.c = c, .where = where, .err = err};
    char module[NAME];
    const size_t n = strlen(name);
    *out = (glia_coded){0};
    if (!q->method || n < sizeof suffix || n >= NAME || strcmp(name + n - sizeof suffix + 1, suffix) != 0)
        return GLIA_OK;
    snprintf(module, sizeof module, "%.*s", (int)(n - sizeof suffix + 1), name);
    snprintf(f.module, sizeof f.module, "%s.", glia_checkpoint_stored_name(c, module));
    const glia_stored_scheme *s = glia_quantization_scheme(q, module);
    if (!s || (q->by_tensors && !has_codes(&f, s))) return GLIA_OK;
    *out = (glia_coded){.scheme = s, .rows = rows, .cols = cols, .row_block = 1, .divisor = 1};
    out->group = s->group ? s->group : cols;
    out->groups = parts(cols, out->group);
    out->rows_scale.asymmetric = s->rows_asymmetric && !s->rows_stored;
    glia_status status = layouts[s->layout].find(&f, out);
    if (!status && s->rows_stored) status = find_rows(&f, out);
    if (status) *out = (glia_coded){0};
    return status;
}

bool glia_coded_module(const char *tensor, size_t *n) {
    static const char *const suffixes[] = {".weight",
                                           ".weight_scale",
                                           ".weight_scale_inv",
                                           ".weight_zero_point",
                                           ".weight_g_idx",
                                           ".weight_shape",
                                           ".weight_packed",
                                           ".weight_global_scale",
                                           ".input_scale",
                                           ".input_scale_ub",
                                           ".SCB",
                                           ".weight_format",
                                           ".input_global_scale",
                                           ".input_zero_point",
                                           ".output_scale",
                                           ".qweight",
                                           ".qzeros",
                                           ".scales",
                                           ".g_idx",
                                           ".weight.absmax",
                                           ".weight.quant_map",
                                           ".weight.nested_absmax",
                                           ".weight.nested_quant_map",
                                           ".weight.quant_state.bitsandbytes__nf4",
                                           ".weight.quant_state.bitsandbytes__fp4"};
    const size_t len = strlen(tensor);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        *n = len - strlen(suffixes[i]);
        if (len > strlen(suffixes[i]) && strcmp(tensor + *n, suffixes[i]) == 0) return true;
    }
    return false;
}

bool glia_coded_is_known(const char *tensor) {
    static const char *const suffixes[] = {".self_attn.k_scale", ".self_attn.v_scale", ".self_attn.q_scale",
                                           ".self_attn.k_proj.output_scale",
                                           ".self_attn.v_proj.output_scale"};
    const size_t len = strlen(tensor);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (len > strlen(suffixes[i]) && strcmp(tensor + len - strlen(suffixes[i]), suffixes[i]) == 0)
            return true;
    return false;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* AWQ's place of column i % 8 in a word. */
static size_t awq_place(size_t i) {
    static const uint8_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return i / 8 * 8 + place[i % 8];
}

/* The 8 halves of a word as bytes, lowest first. */
static uint64_t halves(uint32_t w) {
    uint64_t x = w;
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

/* Codes that are packed along a row of words, or along a column of words `stride` apart. int8 are stored plus
 * 128. */
static void unpack_row(const glia_coded *c, size_t first, size_t stride, uint8_t *codes) {
    const bool half = c->scheme->bits == 4;
    const char *word = (const char *)c->codes->data + first * sizeof(uint32_t);
    size_t n = (size_t)c->cols;
    uint32_t w;
    uint64_t bytes = 0; /* little-endian */
    for (; half && n >= 8; n -= 8, codes += 8, word += stride * sizeof w) {
        bytes = halves(*(uint32_t *)memcpy(&w, word, sizeof w));
        memcpy(codes, &bytes, 8);
    }
    for (; !half && n >= 4; n -= 4, codes += 4, word += stride * sizeof w) {
        w = *(uint32_t *)memcpy(&w, word, sizeof w) ^ 0x80808080u;
        memcpy(codes, &w, 4);
    }
    if (n == 0) return;
    memcpy(&w, word, sizeof w);
    bytes = half ? halves(w) : w ^ 0x80808080u;
    memcpy(codes, &bytes, n);
}

/* AWQ's codes of a row: its half of a word for each column. */
static void unpack_awq(const glia_coded *c, size_t row, uint8_t *codes) {
    const size_t stride = (size_t)c->codes->shape[1] * sizeof(uint32_t), place = awq_place(row);
    const uint8_t *byte = (const uint8_t *)c->codes->data + place / 2;
    for (size_t i = 0; i < (size_t)c->cols; i++, byte += stride) codes[i] = *byte >> (place % 2 * 4) & 15;
}

void glia_coded_codes(const glia_coded *c, size_t row, uint8_t *codes) {
    const size_t n = (size_t)c->cols, all = (size_t)c->rows, first = row * n;
    switch (c->scheme->layout) {
    case GLIA_LAYOUT_BYTES:
    case GLIA_LAYOUT_BLOCKS:
    case GLIA_LAYOUT_BNB8:
        memcpy(codes, (const char *)c->codes->data + first, n);
        for (size_t i = 0; c->format == GLIA_WEIGHT_C4 && i < n; i++) codes[i] = (uint8_t)(codes[i] + MIDDLE);
        break;
    case GLIA_LAYOUT_GEMV:
    case GLIA_LAYOUT_PACKED: unpack_row(c, row * (size_t)c->codes->shape[1], 1, codes); break;
    case GLIA_LAYOUT_GPTQ: unpack_row(c, row, all, codes); break;
    case GLIA_LAYOUT_FP4:
        for (size_t i = 0; i < n; i++)
            codes[i] = byte_at(c->codes, row * (size_t)c->codes->shape[1] + i / 2) >> (i % 2 * 4) & 15;
        break;
    case GLIA_LAYOUT_AWQ: unpack_awq(c, row, codes); break;
    case GLIA_LAYOUT_BNB:
        for (size_t i = first; i < first + n; i++)
            codes[i - first] = byte_at(c->codes, i / 2) >> (i % 2 ? 0 : 4) & 15;
        break;
    }
}

/* Not 0 if one of 8 bytes is no code: 0x7f and 0xff of float8, or more than 4 bits. */
static uint64_t no_codes(uint64_t bytes, bool floats) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7f, one = 0x0101010101010101, high = 0xf0f0f0f0f0f0f0f0;
    return floats ? ((bytes & low) + one) & ~low : bytes & high;
}

bool glia_coded_are_codes(const glia_coded *c, const uint8_t *codes, size_t n) {
    const bool floats = c->format == GLIA_WEIGHT_F8,
               bytes = c->format == GLIA_WEIGHT_C4 && c->scheme->layout == GLIA_LAYOUT_BYTES;
    uint64_t bad = 0, x;
    if (!floats && !bytes) return true;
    for (; n >= sizeof x; codes += sizeof x, n -= sizeof x)
        bad |= no_codes(*(uint64_t *)memcpy(&x, codes, sizeof x), floats);
    x = 0;
    return (bad | no_codes(*(uint64_t *)memcpy(&x, codes, n), floats)) == 0;
}

/* GPTQ's zero point of a row, whose group begins at word `first`. 1 was subtracted from each field of a word,
 * or from all of a word at once: then a field that held 0 has borrowed from the next. */
static unsigned gptq_zero(const glia_coded *c, size_t first, size_t row) {
    const int bits = c->scheme->bits;
    const size_t each = 32 / (size_t)bits, at = first + row / each;
    const uint32_t mask = (1u << bits) - 1, ones = UINT32_MAX / mask; /* 1 in each field */
    const uint32_t word = word_at(c->zero, at) + (c->scheme->zeros_borrow ? ones : 0);
    const uint32_t field = word >> row % each * (size_t)bits;
    return (field + (!c->scheme->zeros_as_stored && !c->scheme->zeros_borrow)) & mask;
}

/* The zero point, in the terms of codes: C8 are less 128. */
static int8_t zero_of(const glia_coded *c, size_t row, size_t group) {
    const int bits = c->scheme->bits, middle = bits == 8 ? 128 : 0;
    unsigned z;
    if (c->zero->dtype == GLIA_TENSOR_I8) {
        const size_t at = row / (size_t)c->row_block * (size_t)c->groups + group;
        return (int8_t)(((const int8_t *)c->zero->data)[at] + (c->format == GLIA_WEIGHT_C4 ? 8 : 0));
    }
    const size_t stride = (size_t)c->zero->shape[c->zero->n_dims - 1];
    if (c->scheme->layout == GLIA_LAYOUT_GEMV)
        z = unpack(c->zero, row * stride, 1, group, bits);
    else if (c->scheme->layout == GLIA_LAYOUT_PACKED)
        z = unpack(c->zero, group, stride, row, bits); /* along rows */
    else if (c->scheme->layout == GLIA_LAYOUT_AWQ)
        z = unpack(c->zero, group * stride, 1, awq_place(row), bits);
    else
        z = gptq_zero(c, group * stride, row);
    return (int8_t)((int)z - middle);
}

static float bnb_scale(const glia_coded *c, size_t row, size_t group) {
    const size_t block = (row * (size_t)c->cols + group * (size_t)c->group) / (size_t)c->block;
    if (!c->nested) return number_at(c->scale, block);
    const float scale = number_at(c->nested_map, byte_at(c->scale, block)) *
                        number_at(c->nested, block / (size_t)c->nested_block);
    return scale + c->nested_offset;
}

float glia_coded_scale(const glia_coded *c, size_t row, size_t group, int8_t *zero) {
    const glia_stored_layout l = c->scheme->layout;
    *zero = c->zeros ? zero_of(c, row, group) : c->format == GLIA_WEIGHT_C4 ? MIDDLE : 0;
    if (l == GLIA_LAYOUT_BNB) return bnb_scale(c, row, group);
    if (l == GLIA_LAYOUT_GEMV) return number_at(c->scale, row * (size_t)c->scale->shape[1] + group);
    if (l == GLIA_LAYOUT_GPTQ || l == GLIA_LAYOUT_AWQ)
        return number_at(c->scale, group * (size_t)c->rows + row);
    const float scale = number_at(c->scale, row / (size_t)c->row_block * (size_t)c->groups + group);
    return c->divisor == 1 ? scale : scale / c->divisor;
}

size_t glia_coded_group(const glia_coded *c, size_t col) {
    return c->g_idx ? word_at(c->g_idx, col) : col / (size_t)c->group;
}

static float value_of(const glia_coded *c, uint8_t code, int zero) {
    if (c->format == GLIA_WEIGHT_F8) return glia_f8_to_f32(code);
    if (c->format == GLIA_WEIGHT_C8) return (float)((int8_t)code - zero);
    return c->zeros ? (float)(code - zero) : c->table[code & 15];
}

void glia_coded_row(const glia_coded *c, size_t row, float *y) {
    const size_t n = (size_t)c->cols;
    uint8_t *codes = (uint8_t *)(y + n) - n; /* the last quarter, which y reaches last */
    size_t group = SIZE_MAX;
    float scale = 0;
    int8_t zero = 0;
    glia_coded_codes(c, row, codes);
    for (size_t i = 0; i < n; i++) {
        const size_t here = glia_coded_group(c, i);
        const uint8_t code = codes[i];
        if (here != group) scale = glia_coded_scale(c, row, group = here, &zero);
        y[i] = value_of(c, code, zero) * scale;
    }
}

bool glia_coded_alike(const glia_coded *a, const glia_coded *b) {
    if (!a->scheme != !b->scheme) return false;
    if (!a->scheme) return true;
    return a->format == b->format && a->cols == b->cols && a->group == b->group &&
           a->scheme->int8_rows == b->scheme->int8_rows && a->scheme->rows_stored == b->scheme->rows_stored &&
           a->scheme->rows_asymmetric == b->scheme->rows_asymmetric &&
           memcmp(a->table, b->table, sizeof a->table) == 0 && !a->g_idx == !b->g_idx &&
           (!a->g_idx || memcmp(a->g_idx->data, b->g_idx->data, a->g_idx->bytes) == 0);
}
