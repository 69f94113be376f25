/* model.c - glia_model: loaded once, immutable afterwards, shared by threads. */
#include "api/model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ranks.h"
#include "api/speculation.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/written.h"
#include "format/hub.h"
#include "model/artifact.h"
#include "model/review.h"
#include "model/spec.h"

#ifndef GLIA_VERSION
#error "the Makefile defines GLIA_VERSION"
#endif

GLIA_API void glia_free(void *p) { free(p); }

GLIA_API const char *glia_version(void) { return GLIA_VERSION; }

/* ---- an artifact's copied files ------------------------------------------------- */

/* Does the file decide which tokens a text has? config.json is checked with the weights. */
static bool decides(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".jinja") == 0 || strcmp(dot, ".json") == 0) &&
           strcmp(name, "config.json") != 0;
}

/* People may edit these files of an artifact. */
static bool is_setting(const char *name) {
    return strcmp(name, "generation_config.json") == 0 || strcmp(name, "neuron_config.json") == 0;
}

/* Compare the copied files of an artifact with their hashes. A changed setting is a warning. */
static glia_status check_copies(const glia_model *m, glia_warning_fn *warning, void *user, glia_err *err) {
    glia_written w;
    glia_err why;
    if (!glia_artifact_in(m->dir) || glia_written_read(&w, m->dir, NULL)) return GLIA_OK;
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && i < w.n; i++) {
        if (!decides(w.line[i].name)) continue;
        const glia_status changed = glia_written_check(&w, m->dir, w.line[i].name, &why);
        if (changed && !is_setting(w.line[i].name))
            status = glia_fail(err, changed, "%.300s since glia compile wrote it; compile the model again",
                               why.msg);
        else if (changed && warning)
            warning(user, why.msg);
    }
    glia_written_free(&w);
    return status;
}

/* A tokenizer of a kind that Glia does not read is a warning if ids can do without: the model has no text
 * then. */
static glia_status open_text(glia_model *m, const glia_options *o, bool needed, glia_err *err) {
    bool found;
    char *path = glia_path_join(m->dir, "tokenizer.json");
    if (!path) return glia_fail_nomem(err, strlen(m->dir), "a path");
    glia_status status = glia_file_find(&found, path, err);
    free(path);
    if (found) status = glia_tokenizer_load(&m->tokenizer, m->dir, &m->no_tokenizer);
    if (status == GLIA_ERR_UNSUPPORTED && !needed) {
        if (o && o->warning) o->warning(o->user, m->no_tokenizer.msg);
        status = GLIA_OK;
    } else if (status && err && found) {
        *err = m->no_tokenizer;
    }
    if (!status && m->tokenizer) status = glia_constraint_cache_new(&m->constraints, m->tokenizer, err);
    if (!status) status = glia_chat_open(&m->chat, m->dir, err);
    return status;
}

/* The eos ids of the first of three sources that has any. Ids beyond the vocabulary are dropped: such an id
 * is never drawn, and has no logit. */
static void choose_eos(glia_model *m, glia_warning_fn *warning, void *user) {
    glia_token_ids from = m->generation.eos;
    if (!from.n) from = m->config.eos;
    if (!from.n && m->tokenizer && glia_tokenizer_eos(m->tokenizer) >= 0)
        from = (glia_token_ids){.n = 1, .id = {glia_tokenizer_eos(m->tokenizer)}};
    for (int i = 0; i < from.n; i++) {
        char text[128];
        if (from.id[i] >= 0 && from.id[i] < m->config.vocab) {
            m->eos.id[m->eos.n++] = from.id[i];
            continue;
        }
        snprintf(text, sizeof text, "eos_token_id %d can never come, the vocabulary has %lld tokens",
                 from.id[i], (long long)m->config.vocab);
        if (warning) warning(user, text);
    }
}

glia_status glia_model_open(glia_model *m, const char *model, const char *cache_dir, const glia_options *o,
                            glia_err *err) {
    glia_warning_fn *const warning = o ? o->warning : NULL;
    void *const user = o ? o->user : NULL;
    glia_status status = glia_hub_resolve(&m->dir, model, cache_dir, err);
    if (!status) status = check_copies(m, warning, user, err);
    if (!status) status = glia_model_config_load(&m->config, m->dir, warning, user, err);
    if (!status) status = glia_generation_config_load(&m->generation, m->dir, warning, user, err);
    if (!status && !(o && o->dummy)) glia_review_weights(&m->config, m->dir, warning, user);
    if (!status) status = glia_neuron_config_load(&m->neuron, m->dir, warning, user, err);
    if (!status) status = glia_options_resolve(m, o, err);
    if (!status) status = open_text(m, o, false, err);
    if (!status) choose_eos(m, warning, user);
    if (!status) status = glia_speculation_read(m, o, cache_dir, err);
    return status;
}

void glia_model_close(glia_model *m) {
    glia_speculation_free(m);
    glia_ranks_free(m);
    glia_quantize_free(&m->quantize);
    glia_chat_free(m->chat);
    glia_constraint_cache_free(m->constraints);
    glia_tokenizer_free(m->tokenizer);
    glia_neuron_config_free(&m->neuron);
    glia_model_config_free(&m->config);
    free(m->dir);
}

GLIA_API void glia_model_free(glia_model *m) {
    if (!m) return;
    glia_model_close(m);
    free(m);
}

static glia_status new_model(glia_model **out, glia_err *err) {
    *out = calloc(1, sizeof **out);
    return *out ? GLIA_OK : glia_fail_nomem(err, sizeof **out, "the model");
}

static glia_status hand_over(glia_model **out, glia_model *m, glia_status status) {
    if (status) glia_model_free(m);
    *out = status ? NULL : m;
    return status;
}

GLIA_API glia_status glia_model_load(glia_model **out, const char *model, const char *cache_dir,
                                     const glia_options *options, glia_err *err) {
    glia_model *m;
    glia_err why = {0}; /* ranks tell each other, even if the caller passes no err */
    glia_options o = options ? *options : (glia_options){0};
    glia_engine_options engine = o.engine ? *o.engine : (glia_engine_options){0};
    if (o.engine) o.engine = &engine;
    glia_status status = new_model(&m, &why);
    if (!status) status = glia_ranks_join(m, &o, &engine, &why);
    const bool joined = !status;
    if (!status) status = glia_model_open(m, model, cache_dir, &o, &why);
    if (joined) status = glia_ranks_load(m, &o, status, &why);
    if (status && err) *err = why;
    return hand_over(out, m, status);
}

GLIA_API glia_status glia_model_load_text(glia_model **out, const char *model, const char *cache_dir,
                                          const glia_options *options, glia_err *err) {
    glia_model *m;
    glia_warning_fn *const warning = options ? options->warning : NULL;
    void *const user = options ? options->user : NULL;
    glia_status status = new_model(&m, err);
    if (!status) status = glia_hub_resolve(&m->dir, model, cache_dir, err);
    if (!status) status = check_copies(m, warning, user, err);
    if (!status) status = glia_generation_config_load(&m->generation, m->dir, warning, user, err);
    if (!status) status = open_text(m, options, true, err);
    return hand_over(out, m, status);
}

/* Weights that are multiplied for each token: all matrices except an embedding that is only looked up. */
static uint64_t matrix_parameters(const glia_model_config *c) {
    uint64_t sum = 0;
    glia_weight w;
    for (size_t i = 0; glia_spec_weight(&w, glia_spec_find(c->architecture), c, i); i++)
        if (w.spec->cols != D_1 && (w.spec->id != W_EMBED || c->tied_head))
            sum += (uint64_t)(w.rows * w.cols);
    return sum;
}

GLIA_API void glia_model_get_info(const glia_model *m, glia_model_info *info) {
    const glia_model_config *c = &m->config;
    *info = (glia_model_info){
        .has_tokenizer = m->tokenizer != NULL,
        .has_chat_template = glia_chat_has_template(m->chat),
    };
    if (!m->weights) return;
    info->architecture = c->architecture;
    info->vocab_size = (int)c->vocab;
    info->hidden_size = (int)c->hidden;
    info->layers = c->layers;
    info->max_position_embeddings = c->max_position_embeddings;
    info->dtype = m->dtype;
    info->quantization = m->quantize.scheme;
    const uint64_t ranks = (uint64_t)m->parallel.tp; /* all ranks have equal numbers of bytes */
    info->ranks = m->parallel.tp;
    info->weight_bytes = ranks * m->weights[0]->plan.bytes;
    info->matrix_parameters = matrix_parameters(c);
    info->matrix_bytes = ranks * glia_weights_matrix_bytes(m->weights[0]);
    info->attention_flop = 4 * (uint64_t)c->layers * (uint64_t)c->heads * (uint64_t)c->head_dim;
}

GLIA_API void glia_sampling_defaults(const glia_model *m, glia_sampling *s) {
    const glia_generation_config *g = &m->generation;
    *s = (glia_sampling){
        .do_sample = g->do_sample,
        .temperature = (float)g->temperature,
        .top_k = g->top_k,
        .top_p = (float)g->top_p,
        .min_p = (float)g->min_p,
        .typical_p = (float)g->typical_p,
        .repetition_penalty = (float)g->repetition_penalty,
        .max_tokens = g->max_new_tokens,
        .min_tokens = g->min_new_tokens,
        .logprobs = -1,
        .unsupported = g->unsupported.status ? g->unsupported.msg : NULL,
        .unsupported_sampling = g->unsupported_sampling.status ? g->unsupported_sampling.msg : NULL,
    };
    const glia_neuron_config *n = &m->neuron;
    if (n->key[NEURON_DO_SAMPLE]) s->do_sample = n->number[NEURON_DO_SAMPLE] != 0;
    if (n->key[NEURON_TEMPERATURE]) s->temperature = (float)n->number[NEURON_TEMPERATURE];
    if (n->key[NEURON_TOP_K]) s->top_k = n->number[NEURON_TOP_K] > 0 ? (int)n->number[NEURON_TOP_K] : 0;
    if (n->key[NEURON_TOP_P]) s->top_p = (float)n->number[NEURON_TOP_P];
}

GLIA_API void glia_sampling_defaults_served(const glia_model *m, glia_sampling *s) {
    glia_sampling_defaults(m, s);
    if (!(m->generation.given & GLIA_GIVEN_DO_SAMPLE) && !m->neuron.key[NEURON_DO_SAMPLE])
        s->do_sample = s->temperature > 0;
    if (!(m->generation.given & GLIA_GIVEN_TOP_K) && !m->neuron.key[NEURON_TOP_K]) s->top_k = 0;
}

/* A hash of all that keys and values depend on besides the tokens, and that a plan of the cache fixes. The
 * weights are hashed as they lie in memory, so no file's name or time counts. */
static glia_status fingerprint(uint64_t *out, const glia_model *m, const glia_engine_limits *l,
                               glia_err *err) {
    char config[GLIA_HASH_HEX];
    const glia_plan *weights = &m->weights[0]->plan;
    const char *rung = glia_cpu_rung(m->cpu_flags);
    const int numbers[] = {(int)m->dtype,      m->setting[SET_QUANTIZATION].value,
                           (int)l->kv_dtype,   l->block_size,
                           l->sequence_length, l->quantize_rows,
                           l->rotate};
    const glia_status status = glia_config_hash(config, m->dir, err);
    if (status) return status;
    uint64_t h = glia_hash(weights->base, weights->bytes, 0);
    h = glia_hash(config, sizeof config, h);
    h = glia_hash(numbers, sizeof numbers, h);
    h = glia_hash(rung, strlen(rung), h);
    *out = glia_hash(GLIA_VERSION, sizeof GLIA_VERSION, h);
    return GLIA_OK;
}

GLIA_API glia_status glia_engine_create(glia_engine **out, const glia_model *m,
                                        const glia_engine_options *options, glia_err *err) {
    assert(m->weights); /* glia_model_load_text() loads none */
    glia_engine_settings settings = {0};
    glia_comm *world;
    glia_err why = {0}; /* ranks tell each other, even if the caller passes no err */
    *out = NULL;
    const char *store = options ? options->prefix_cache_dir : NULL;
    uint64_t print = 0;
    glia_status status = glia_ranks_engine(&world, &settings, m, options, &why);
    if (!status && store) status = fingerprint(&print, m, &settings.limits, &why);
    const glia_engine_config config = {
        .model = &m->config,
        .weights = (const glia_weights *const *)m->weights,
        .n_ranks = m->n_ranks,
        .world = world,
        .place = m->place,
        .places = m->places,
        .tokenizer = m->tokenizer,
        .limits = settings.limits,
        .cpu_flags = m->cpu_flags,
        .threads = m->threads,
        .eos = m->eos.id,
        .n_eos = (size_t)m->eos.n,
        .base = glia_lora_base(m),
        .most_step_seconds = options ? options->max_step_ms / 1e3 : 0,
        .store_dir = store,
        .store_bytes =
            store && options->prefix_cache_dir_bytes ? options->prefix_cache_dir_bytes : UINT64_C(4) << 30,
        .fingerprint = print,
        .draft = m->draft,
        .trace = options ? options->trace_drafts : NULL,
        .trace_user = options ? options->trace_user : NULL,
    };
    if (status)
        glia_comm_free(world);
    else
        status = glia_engine_open(out, &config, &why);
    if (!status) status = glia_lora_load(*out, m, options, &why);
    if (status) glia_engine_free(*out);
    if (status) *out = NULL;
    if (status && err) *err = why;
    return status;
}
