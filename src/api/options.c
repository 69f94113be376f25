/* options.c - glia_options checked against the model, defaults filled in. */
#include "api/model.h"
#include "base/cpu.h"
#include "kernel/kernels.h"

enum {
    DEFAULT_SEQUENCE_LENGTH = 8192,
    DEFAULT_CHUNK = 512,
    DEFAULT_BLOCK = 64,
    BATCH_MAX = 4096,
    CHUNK_MAX = 1 << 16,
    BLOCK_MAX = 1 << 12,
    POSITIONS_MAX = 1 << 24,
};

static glia_status resolve_int(int *out, const char *name, int given, int by_default, int most,
                               glia_err *err) {
    *out = given ? given : by_default;
    if (*out >= 1 && *out <= most) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "%s is %d, expected 1 to %d", name, given, most);
}

static glia_status resolve_dtype(glia_dtype *out, const char *name, glia_dtype given, glia_dtype by_default,
                                 glia_err *err) {
    *out = given == GLIA_DTYPE_AUTO ? by_default : given;
    if (*out == GLIA_DTYPE_F32 || *out == GLIA_DTYPE_BF16) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "%s must be float32 or bfloat16", name);
}

/* The longest sequence length that may be asked for: the positions that the
 * model was made for. Interpolating rope types reach beyond
 * max_position_embeddings by their factor, longrope where it has no original
 * length of its own; dynamic takes any length, since its frequencies follow it.
 * Source: vllm/config/model.py, _get_and_verify_max_len. */
static int longest_sequence(const glia_model_config *c) {
    const glia_rope_config *r = &c->rope_config;
    const double given = c->max_position_embeddings, original = r->original_max_position_embeddings;
    double most = given;
    if (r->type == GLIA_ROPE_DYNAMIC) return POSITIONS_MAX;
    if (r->type == GLIA_ROPE_LINEAR) most = given * r->factor;
    if (r->type == GLIA_ROPE_YARN) most = original * r->factor;
    if (r->type == GLIA_ROPE_LONGROPE && original >= given) most = original * r->factor;
    most = most > given ? most : given;
    return most < POSITIONS_MAX ? (int)most : POSITIONS_MAX;
}

/* Where none is asked for, dynamic stays within max_position_embeddings: there
 * its frequencies are those of the checkpoint. */
static int default_sequence(const glia_model_config *c, int longest) {
    const int most = c->rope_config.type == GLIA_ROPE_DYNAMIC ? c->max_position_embeddings : longest;
    return most < DEFAULT_SEQUENCE_LENGTH ? most : DEFAULT_SEQUENCE_LENGTH;
}

glia_status glia_options_resolve(glia_model *m, const glia_options *o, glia_err *err) {
    static const glia_options none;
    if (!o) o = &none;
    const glia_model_config *c = &m->config;
    const int longest = longest_sequence(c);
    const int length = default_sequence(c, longest);
    const glia_dtype stored = c->dtype == GLIA_DTYPE_BF16 ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32;
    glia_engine_limits *l = &m->limits;
    m->cpu_flags = glia_cpu_flags();
    l->prefix_cache = !o->no_prefix_cache;
    glia_status status = glia_cpu_mask(&m->cpu_flags, o->cpu_features, err);
    if (!status) status = resolve_dtype(&m->dtype, "dtype", o->dtype, stored, err);
    if (!status) status = resolve_dtype(&l->kv_dtype, "kv_cache_dtype", o->kv_cache_dtype, m->dtype, err);
    if (!status)
        status = glia_quantize_resolve(&m->quantize, o->quantization, o->quantization_type,
                                       o->modules_to_not_convert, c, err);
    l->quantize_rows = m->quantize.scheme == GLIA_QUANTIZATION_W8A8;
    if (!status)
        status =
            resolve_int(&m->threads, "threads", o->threads, glia_cores_available(), GLIA_THREADS_MAX, err);
    if (!status) status = resolve_int(&l->batch, "batch_size", o->batch_size, 1, BATCH_MAX, err);
    if (!status)
        status = resolve_int(&l->chunk, "prefill_chunk_size", o->prefill_chunk_size, DEFAULT_CHUNK, CHUNK_MAX,
                             err);
    if (!status)
        status = resolve_int(&l->block_size, "block_size", o->block_size, DEFAULT_BLOCK, BLOCK_MAX, err);
    if (!status && l->block_size % GLIA_PANEL)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "block_size is %d, expected a multiple of %d", l->block_size,
                         GLIA_PANEL);
    if (!status)
        status =
            resolve_int(&l->sequence_length, "sequence_length", o->sequence_length, length, longest, err);
    if (!status && l->sequence_length < 2)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "sequence_length is %d, expected room for a prompt and an "
                         "answer",
                         l->sequence_length);
    if (!status && (int64_t)l->batch * (l->sequence_length + l->block_size) > INT32_MAX)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "batch_size %d times sequence_length %d is more positions than can be numbered",
                         l->batch, l->sequence_length);
    return status;
}
