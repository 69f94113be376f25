/* options.c - resolve settings: a value comes from an option, else from a key of
 * neuron_config.json, else it is the default. Every value is checked, and its source
 * is kept. */
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/model.h"
#include "api/speculation.h"
#include "base/cores.h"
#include "base/cpu.h"
#include "layer/kv_cache.h"

enum {
    DEFAULT_SEQUENCE_LENGTH = 8192,
    DEFAULT_CHUNK = 512,
    DEFAULT_BLOCK = 64,
    DEFAULT_LORA_RANK = 16,
    DEFAULT_CPU_LORAS = 100,
    DEFAULT_LFU_DECAY = 128,
    BATCH_MAX = 4096,
    CHUNK_MAX = 1 << 16,
    BLOCK_MAX = 1 << 12,
    POSITIONS_MAX = 1 << 24,
    TP_MAX = 64,
};

typedef struct {
    const char *name; /* the field of glia_options or glia_engine_options; with dashes, the flag */
    size_t at;        /* offset of the field, an int or enumerator; a field of 0 is not given */
    glia_neuron_id file;
    int least, most;
    bool engine; /* a field of glia_engine_options */
} option;

#define AT(member) offsetof(glia_options, member)
#define ENGINE(member) offsetof(glia_engine_options, member)
/* clang-format off */
static const option options[N_SETTINGS] = {
    [SET_DTYPE] =        {"dtype", AT(dtype), NEURON_DTYPE, GLIA_DTYPE_F32, GLIA_DTYPE_F16, false},
    [SET_KV_DTYPE] =     {"kv_cache_dtype", ENGINE(kv_cache_dtype), NEURON_KV_DTYPE, GLIA_DTYPE_F32, GLIA_DTYPE_I8, true},
    [SET_BATCH] =        {"batch_size", ENGINE(batch_size), NEURON_BATCH, 1, BATCH_MAX, true},
    [SET_SEQUENCE] =     {"sequence_length", ENGINE(sequence_length), NEURON_SEQUENCE, 2, 0, true}, /* most: the model's */
    [SET_CHUNK] =        {"prefill_chunk_size", ENGINE(prefill_chunk_size), NEURON_CHUNK, 1, CHUNK_MAX, true},
    [SET_BLOCK] =        {"block_size", ENGINE(block_size), NEURON_BLOCK, GLIA_BLOCK_UNIT, BLOCK_MAX, true},
    [SET_CACHE_BLOCKS] = {"kv_cache_blocks", ENGINE(kv_cache_blocks), NEURON_NONE, 0, 1 << 28, true},
    [SET_PREFIX_CACHE] = {"prefix_cache", ENGINE(no_prefix_cache), NEURON_PREFIX_CACHE, 0, 1, true},
    [SET_MAX_LORAS] =    {"max_loras", ENGINE(max_loras), NEURON_MAX_LORAS, 0, GLIA_PLACES_MAX, true},
    [SET_MAX_LORA_RANK] = {"max_lora_rank", ENGINE(max_lora_rank), NEURON_MAX_LORA_RANK, 1, 4096, true},
    [SET_MAX_CPU_LORAS] = {"max_cpu_loras", ENGINE(max_cpu_loras), NEURON_MAX_CPU_LORAS, 1, 1 << 20, true},
    [SET_LFU_DECAY] =    {"lfu_decay_period", ENGINE(lfu_decay_period), NEURON_LFU_DECAY, 1, 1 << 30, true},
    [SET_TP] =           {"tensor_parallel_size", AT(tensor_parallel_size), NEURON_TP, 1, TP_MAX, false},
    [SET_VOCAB_PARALLEL] = {"vocab_parallel", AT(vocab_parallel), NEURON_VOCAB_PARALLEL, 0, 1, false},
    [SET_SEQUENCE_PARALLEL] = {"sequence_parallel", AT(sequence_parallel), NEURON_SEQUENCE_PARALLEL, 0, 1, false},
    [SET_FLASH_DECODING] = {"flash_decoding", AT(flash_decoding), NEURON_FLASH_DECODING, 0, 1, false},
    [SET_CONTEXT_PARALLEL] = {"context_parallel_size", AT(context_parallel_size), NEURON_CP, 1, GLIA_CP_MAX, false},
    [SET_CONTEXT_STRIDED] = {"strided_context_parallel", AT(strided_context_parallel), NEURON_CP_STRIDED, 0, 1, false},
    [SET_QUANTIZATION] = {"quantization", AT(quantization), NEURON_QUANTIZATION, INT_MIN, INT_MAX, false}, /* glia_quantize_resolve() knows */
    [SET_QUANTIZATION_TYPE] = {"quantization_type", AT(quantization_type), NEURON_QUANTIZATION_TYPE, INT_MIN, INT_MAX, false},
    [SET_THREADS] =      {"threads", AT(threads), NEURON_NONE, 1, GLIA_THREADS_MAX, false},
};
/* clang-format on */

const char *glia_setting_name(glia_setting_id id) { return options[id].name; }

glia_neuron_id glia_setting_neuron_id(glia_setting_id id) { return options[id].file; }

const char *glia_modules_to_keep(const glia_model *m, const glia_options *o) {
    return o && o->modules_to_not_convert ? o->modules_to_not_convert : m->neuron.modules;
}

const char *glia_dtype_name(glia_dtype d) {
    static const char *const names[] = {"auto", "float32", "bfloat16", "float16", "int8"};
    return names[d];
}

const char *glia_quantization_name(glia_quantization q) {
    static const char *const names[] = {"none", "int8", "w8a8", "int4", "fp8", "w4a8"};
    return names[q];
}

bool glia_setting_is_switch(glia_setting_id id) {
    return id == SET_PREFIX_CACHE || id == SET_VOCAB_PARALLEL || id == SET_SEQUENCE_PARALLEL ||
           id == SET_FLASH_DECODING || id == SET_CONTEXT_STRIDED;
}

/* The value that the options `o` (of the struct that has the setting) give; false: none. */
static bool given(const void *o, glia_setting_id id, int *value) {
    if (id == SET_PREFIX_CACHE) {
        *value = 0;
        return ((const glia_engine_options *)o)->no_prefix_cache;
    }
    memcpy(value, (const char *)o + options[id].at, sizeof *value);
    if (!glia_setting_is_switch(id)) return *value != 0;
    const int said = *value;
    *value = said == GLIA_SWITCH_ON;
    return said != GLIA_SWITCH_DEFAULT;
}

/* The setting's name at its source, for a message, and the status that refuses it. */
static glia_status blame(const glia_setting *s, glia_setting_id id, char *name, size_t size) {
    const bool file = s->source == GLIA_FROM_FILE;
    snprintf(name, size, "%s%s", file ? "neuron_config.json: " : "", file ? s->key : options[id].name);
    return file ? GLIA_ERR_FORMAT : GLIA_ERR_ARGUMENT;
}

static glia_status out_of_range(const glia_setting *s, glia_setting_id id, int most, glia_err *err) {
    char name[100];
    const glia_status status = blame(s, id, name, sizeof name);
    if (id == SET_KV_DTYPE) return glia_fail(err, status, "%s must be float32, bfloat16 or int8", name);
    if (id == SET_DTYPE) return glia_fail(err, status, "%s must be float32, bfloat16 or float16", name);
    if (id == SET_BLOCK)
        return glia_fail(err, status, "%s is %d, expected a multiple of %d up to %d", name, s->value,
                         GLIA_BLOCK_UNIT, most);
    if (id == SET_SEQUENCE && s->source == GLIA_FROM_DEFAULT)
        return glia_fail(err, status, "prompt and output have %d tokens together, the model takes at most %d",
                         s->value, most);
    return glia_fail(err, status, "%s is %d, expected %d to %d", name, s->value, options[id].least, most);
}

/* Resolve one setting. `most` 0: the limit is the table's. */
static glia_status resolve(glia_setting *s, const glia_model *m, const void *o, glia_setting_id id,
                           int by_default, int most, glia_err *err) {
    const option *row = &options[id];
    const char *key = row->file == NEURON_NONE ? NULL : m->neuron.key[row->file];
    if (most == 0) most = row->most;
    int value;
    if (given(o, id, &value))
        *s = (glia_setting){.value = value, .source = GLIA_FROM_FLAG};
    else if (key)
        *s = (glia_setting){(int)m->neuron.number[row->file], GLIA_FROM_FILE, key};
    else
        *s = (glia_setting){.value = by_default};
    const bool half = id == SET_KV_DTYPE && s->value == GLIA_DTYPE_F16;
    return !half && s->value >= row->least && s->value <= most ? GLIA_OK : out_of_range(s, id, most, err);
}

/* Check combinations of an engine's settings. */
static glia_status check_together(const glia_setting *s, glia_err *err) {
    const int batch = s[SET_BATCH].value, length = s[SET_SEQUENCE].value, block = s[SET_BLOCK].value;
    char name[100];
    const glia_status status = blame(&s[SET_BLOCK], SET_BLOCK, name, sizeof name);
    if (block % GLIA_BLOCK_UNIT) return out_of_range(&s[SET_BLOCK], SET_BLOCK, BLOCK_MAX, err);
    if (s[SET_FLASH_DECODING].value && GLIA_FLASH_UNIT % block)
        return glia_fail(err, status, "%s is %d, expected 32 or 64 with flash decoding", name, block);
    if ((int64_t)batch * (length + block) > INT32_MAX)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "batch_size %d times sequence_length %d is more positions than can be numbered",
                         batch, length);
    return GLIA_OK;
}

/* Check combinations of the settings of ranks. */
static glia_status check_parallel(const glia_model *m, glia_err *err) {
    const glia_setting *tp = &m->setting[SET_TP], *cp = &m->setting[SET_CONTEXT_PARALLEL];
    char name[100];
    glia_status status = blame(tp, SET_TP, name, sizeof name);
    if (m->world && tp->value != glia_comm_size(m->world))
        return glia_fail(err, status, "%s is %d, but %d processes were started; each is one rank", name,
                         tp->value, glia_comm_size(m->world));
    status = blame(cp, SET_CONTEXT_PARALLEL, name, sizeof name);
    if (tp->value % cp->value)
        return glia_fail(err, status, "%s is %d, which does not divide tensor_parallel_size %d", name,
                         cp->value, tp->value);
    return GLIA_OK;
}

/* The largest sequence length: the number of positions that the model supports. RoPE
 * types that interpolate extend max_position_embeddings by their factor; longrope does
 * so only without an original length. dynamic supports any length, because its
 * frequencies depend on the length.
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

/* The default length. For dynamic it is at most max_position_embeddings, where the frequencies are the
 * checkpoint's. */
static int default_sequence(const glia_model_config *c, int longest) {
    const int most = c->rope_config.type == GLIA_ROPE_DYNAMIC ? c->max_position_embeddings : longest;
    return most < DEFAULT_SEQUENCE_LENGTH ? most : DEFAULT_SEQUENCE_LENGTH;
}

static int default_threads(const glia_model *m) {
    const int here = m->world ? 1 : m->setting[SET_TP].value, places = m->places > 1 ? m->places : 1;
    const int cores = glia_cores_available();
    const int each = (cores > 2 ? cores - m->spare_core : cores) / (here * places);
    return each > 1 ? each : 1;
}

static int default_of(const glia_model *m, glia_setting_id id) {
    const glia_model_config *c = &m->config;
    switch (id) {
    case SET_DTYPE: return c->dtype == GLIA_DTYPE_BF16 ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32;
    case SET_TP: return m->world ? glia_comm_size(m->world) : 1;
    case SET_VOCAB_PARALLEL: return c->tied_head;
    case SET_SEQUENCE_PARALLEL:
    case SET_CONTEXT_PARALLEL: return 1;
    case SET_THREADS: return default_threads(m);
    default: return 0;
    }
}

/* A checkpoint that is quantised stays as it is stored. */
static glia_status resolve_stored(glia_model *m, const glia_options *o, glia_quantization scheme,
                                  glia_err *err) {
    if (scheme || o->quantization_type || o->modules_to_not_convert || o->head_quantization ||
        o->quantization_group_size || o->importance)
        return glia_fail(
            err, GLIA_ERR_ARGUMENT,
            "the checkpoint is quantised already (%s); quantization and what belongs to it are for "
            "checkpoints that are not",
            m->config.quantization.method);
    if (o->dummy) return GLIA_OK;
    return glia_quantize_stored(&m->quantize, NULL, m->dir, &m->config, o->warning, o->user, err);
}

/* Choose what is quantised. Names of modules that neuron_config.json gives are blamed there. */
static glia_status resolve_quantization(glia_model *m, const glia_options *o, glia_err *err) {
    const glia_quantization scheme = (glia_quantization)m->setting[SET_QUANTIZATION].value;
    const bool from_file = scheme && !o->modules_to_not_convert && m->neuron.modules;
    glia_err why = {0};
    if (m->config.quantization.method) return resolve_stored(m, o, scheme, err);
    glia_setting *type = &m->setting[SET_QUANTIZATION_TYPE];
    if (type->source == GLIA_FROM_FILE && scheme &&
        !glia_quantization_has_type(scheme, (glia_quantization_type)type->value))
        *type = (glia_setting){0}; /* the file's type belongs to the file's scheme, which a flag replaced */
    const glia_quantize_choice choice = {
        .scheme = scheme,
        .type = (glia_quantization_type)m->setting[SET_QUANTIZATION_TYPE].value,
        .keep = glia_modules_to_keep(m, o),
        .group_size = o->quantization_group_size,
        .head = o->head_quantization,
        .importance = o->importance,
    };
    glia_status status = glia_quantize_resolve(&m->quantize, &choice, &m->config, &why);
    if (!status)
        return o->dummy ? GLIA_OK
                        : glia_quantize_stored(&m->quantize, &choice, m->dir, &m->config, NULL, NULL, err);
    if (status == GLIA_ERR_ARGUMENT && from_file)
        return glia_fail(err, GLIA_ERR_FORMAT, "neuron_config.json: %s", why.msg);
    return glia_fail(err, status, "%s", why.msg);
}

glia_status glia_options_resolve(glia_model *m, const glia_options *o, glia_err *err) {
    static const glia_options none;
    if (!o) o = &none;
    m->dummy = o->dummy;
    m->seed = o->seed;
    m->spare_core = o->spare_core;
    m->cpu_flags = glia_cpu_flags();
    glia_status status = glia_cpu_mask(&m->cpu_flags, o->cpu_features, err);
    for (int id = 0; !status && id < N_SETTINGS; id++)
        if (!options[id].engine)
            status = resolve(&m->setting[id], m, o, (glia_setting_id)id, default_of(m, (glia_setting_id)id),
                             0, err);
    if (!status) status = check_parallel(m, err);
    if (!status) status = resolve_quantization(m, o, err);
    m->dtype = (glia_dtype)m->setting[SET_DTYPE].value;
    m->threads = m->setting[SET_THREADS].value;
    m->parallel = (glia_parallel){
        .tp = m->setting[SET_TP].value,
        .rank = m->world ? glia_comm_rank(m->world) : 0,
        .vocab_parallel = m->setting[SET_VOCAB_PARALLEL].value,
        .sequence_parallel = m->setting[SET_SEQUENCE_PARALLEL].value,
        .flash_decoding = m->setting[SET_FLASH_DECODING].value,
        .cp_degree = m->setting[SET_CONTEXT_PARALLEL].value,
        .cp_strided = m->setting[SET_CONTEXT_STRIDED].value,
    };
    return status;
}

/* ---- settings of an engine -------------------------------------------------- */

/* Enough for the task. Traced drafts may lead past its end; which rank traces, the other ranks do not know.
 */
static int needed_sequence(const glia_model *m, const glia_engine_options *o, int longest) {
    const int needed = o->sequence_length_needed, ahead = glia_speculation_depth(m);
    return needed > longest || needed + ahead < longest ? needed + ahead : longest;
}

static int default_of_engine(const glia_model *m, const glia_engine_options *o, glia_setting_id id,
                             int longest) {
    switch (id) {
    case SET_KV_DTYPE: return m->dtype == GLIA_DTYPE_BF16 ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32;
    case SET_BATCH: return o->batch_size_needed ? o->batch_size_needed : 1;
    case SET_SEQUENCE:
        return o->sequence_length_needed ? needed_sequence(m, o, longest)
                                         : default_sequence(&m->config, longest);
    case SET_CHUNK: return DEFAULT_CHUNK;
    case SET_BLOCK: return DEFAULT_BLOCK;
    case SET_PREFIX_CACHE: return 1;
    case SET_MAX_LORAS: return glia_lora_places(m, o);
    case SET_MAX_LORA_RANK: return DEFAULT_LORA_RANK;
    case SET_MAX_CPU_LORAS: return DEFAULT_CPU_LORAS;
    case SET_LFU_DECAY: return DEFAULT_LFU_DECAY;
    default: return 0;
    }
}

/* Without enough blocks for one sequence, preempting all others would not help. */
static glia_status check_cache(const glia_model *m, const glia_engine_limits *l, glia_err *err) {
    const glia_blocks_shape shape = glia_limit_cache(&m->config, &m->parallel, l);
    const int needed = glia_blocks_enough(1, l->sequence_length, &shape);
    if (shape.n_blocks >= needed) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "kv_cache_blocks is %d; one sequence of %d positions needs %d blocks of %d",
                     l->cache_blocks, l->sequence_length, needed, l->block_size);
}

glia_status glia_engine_resolve(glia_engine_settings *s, const glia_model *m, const glia_engine_options *o,
                                glia_err *err) {
    static const glia_engine_options none;
    const int longest = longest_sequence(&m->config);
    glia_status status = GLIA_OK;
    if (!o) o = &none;
    memcpy(s->setting, m->setting, sizeof s->setting);
    for (int id = 0; !status && id < N_SETTINGS; id++)
        if (options[id].engine)
            status = resolve(&s->setting[id], m, o, (glia_setting_id)id,
                             default_of_engine(m, o, (glia_setting_id)id, longest),
                             id == SET_SEQUENCE ? longest : 0, err);
    if (!status) status = check_together(s->setting, err);
    s->limits = (glia_engine_limits){
        .kv_dtype = (glia_dtype)s->setting[SET_KV_DTYPE].value,
        .batch = s->setting[SET_BATCH].value,
        .sequence_length = s->setting[SET_SEQUENCE].value,
        .chunk = s->setting[SET_CHUNK].value,
        .block_size = s->setting[SET_BLOCK].value,
        .cache_blocks = s->setting[SET_CACHE_BLOCKS].value,
        .prefix_cache = s->setting[SET_PREFIX_CACHE].value,
        .quantize_rows = glia_quantizes_rows(&m->quantize, &m->config),
        .rotate = m->quantize.rotate,
        .reordered = glia_weights_reordered(&m->config, &m->parallel, &m->quantize),
    };
    glia_speculation_limits(&s->limits, m);
    if (!status) status = check_cache(m, &s->limits, err);
    return status ? status : glia_lora_resolve(s, m, o, err);
}
