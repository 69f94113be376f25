/* generation.c - see generation.h. */
#include "format/generation.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"

enum { FILE_MAX = 16 << 20 };

/* NAN: this file reads the key, or the key changes no answer. A number: any other
 * value changes answers in transformers.
 * A key of beams (early_stopping, length_penalty, num_beam_groups, diversity_penalty)
 * has no effect with one beam, and a key of drafts (assistant_*, num_assistant_*,
 * prompt_lookup_num_tokens, use_mtp) changes the speed, not the answer.
 * Normalised logits give the same token, and valid logits have no invalid value. */
/* clang-format off */
static const glia_json_key known_keys[] = {
    {"do_sample", NAN}, {"temperature", NAN}, {"top_k", NAN}, {"top_p", NAN}, {"min_p", NAN},
    {"typical_p", NAN}, {"repetition_penalty", NAN}, {"max_new_tokens", NAN}, {"max_length", NAN},
    {"min_new_tokens", NAN}, {"min_length", NAN}, {"eos_token_id", NAN}, {"bos_token_id", NAN},
    {"pad_token_id", NAN}, {"decoder_start_token_id", NAN},
    {"transformers_version", NAN}, {"trust_remote_code", NAN},
    {"use_cache", NAN}, {"cache_implementation", NAN}, {"cache_config", NAN}, {"max_cache_len", NAN},
    {"return_legacy_cache", NAN}, {"prefill_chunk_size", NAN}, {"low_memory", NAN},
    {"output_attentions", NAN}, {"output_hidden_states", NAN}, {"output_scores", NAN}, {"output_logits", NAN},
    {"return_dict_in_generate", NAN}, {"renormalize_logits", NAN}, {"remove_invalid_values", NAN},
    {"early_stopping", NAN}, {"length_penalty", NAN}, {"num_beam_groups", NAN}, {"diversity_penalty", NAN},
    {"is_assistant", NAN}, {"num_assistant_tokens", NAN}, {"num_assistant_tokens_schedule", NAN},
    {"assistant_confidence_threshold", NAN}, {"prompt_lookup_num_tokens", NAN}, {"max_matching_ngram_size", NAN},
    {"assistant_early_exit", NAN}, {"assistant_lookbehind", NAN}, {"target_lookbehind", NAN},
    {"assistant_ensemble_weight", NAN}, {"speculation_type", NAN}, {"use_mtp", NAN},
    {"compile_config", NAN}, {"disable_compile", NAN}, {"generation_kwargs", NAN}, {"continuous_batching_config", NAN},
    {"top_h", NAN}, {"epsilon_cutoff", NAN}, {"eta_cutoff", NAN}, /* see sampling_keys */
    {"num_beams", 1}, {"num_return_sequences", 1}, {"penalty_alpha", 0}, {"dola_layers", 0}, {"constraints", 0},
    {"force_words_ids", 0}, {"no_repeat_ngram_size", 0}, {"encoder_no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1}, {"bad_words_ids", 0}, {"forced_bos_token_id", -1},
    {"forced_eos_token_id", -1}, {"exponential_decay_length_penalty", 0}, {"suppress_tokens", 0},
    {"begin_suppress_tokens", 0}, {"sequence_bias", 0}, {"token_healing", 0}, {"guidance_scale", 1},
    {"watermarking_config", 0}, {"max_time", 0}, {"stop_strings", 0},
    {NULL, 0},
};
/* clang-format on */

/* Keys that change answers only with do_sample. */
static const glia_json_key sampling_keys[] = {
    {"top_h", 1}, {"epsilon_cutoff", 0}, {"eta_cutoff", 0}, {NULL, 0}};

static const glia_generation_config defaults = {.temperature = 1,
                                                .top_k = 50,
                                                .top_p = 1,
                                                .typical_p = 1,
                                                .repetition_penalty = 1,
                                                .max_length = 20,
                                                .bos = -1,
                                                .pad = -1};

/* True if the member is present and not null. Then sets `bit` in g->given. */
static bool given(const glia_json_reader *r, glia_generation_config *g, unsigned bit, const char *key) {
    const json_t *v = json_object_get(r->object, key);
    if (!v || json_is_null(v)) return false;
    g->given |= bit;
    return true;
}

static void read_real(glia_json_reader *r, glia_generation_config *g, unsigned bit, const char *key,
                      double *value, double lo, double hi) {
    if (given(r, g, bit, key)) *value = glia_json_real(r, key, *value, lo, hi);
}

static void read_int(glia_json_reader *r, glia_generation_config *g, unsigned bit, const char *key,
                     int *value) {
    if (given(r, g, bit, key)) *value = (int)glia_json_int(r, key, 0, 0, INT32_MAX);
}

/* Record the first keys that change an answer in a way that Glia does not have. */
static void note_unsupported(const glia_json_reader *r, glia_generation_config *g) {
    glia_json_reader keys = *r, sampling = *r;
    keys.err = &g->unsupported;
    sampling.err = &g->unsupported_sampling;
    if (g->from_model_config) /* its other keys are not about generation */
        glia_json_check_values(&keys, known_keys);
    else
        glia_json_check_keys(&keys, known_keys);
    glia_json_check_values(&sampling, sampling_keys);
}

static void read_object(glia_json_reader *r, glia_generation_config *g) {
    note_unsupported(r, g);
    if (given(r, g, GLIA_GIVEN_DO_SAMPLE, "do_sample")) g->do_sample = glia_json_bool(r, "do_sample", false);
    read_real(r, g, GLIA_GIVEN_TEMPERATURE, "temperature", &g->temperature, 0, FLT_MAX);
    read_int(r, g, GLIA_GIVEN_TOP_K, "top_k", &g->top_k);
    read_real(r, g, GLIA_GIVEN_TOP_P, "top_p", &g->top_p, 0, DBL_MAX);
    read_real(r, g, GLIA_GIVEN_MIN_P, "min_p", &g->min_p, 0, 1);
    read_real(r, g, GLIA_GIVEN_TYPICAL_P, "typical_p", &g->typical_p, FLT_MIN, DBL_MAX);
    g->top_p = fmin(g->top_p, 1); /* transformers ignores 1 and more */
    g->typical_p = fmin(g->typical_p, 1);
    read_real(r, g, GLIA_GIVEN_REPETITION_PENALTY, "repetition_penalty", &g->repetition_penalty, FLT_MIN,
              FLT_MAX);
    read_int(r, g, GLIA_GIVEN_MAX_NEW_TOKENS, "max_new_tokens", &g->max_new_tokens);
    read_int(r, g, GLIA_GIVEN_MAX_LENGTH, "max_length", &g->max_length);
    read_int(r, g, GLIA_GIVEN_MIN_NEW_TOKENS, "min_new_tokens", &g->min_new_tokens);
    read_int(r, g, GLIA_GIVEN_MIN_LENGTH, "min_length", &g->min_length);
    g->eos.n = glia_json_ids(r, "eos_token_id", g->eos.id, GLIA_TOKEN_IDS_MAX);
    g->bos = glia_json_id(r, "bos_token_id", -1);
    g->pad = glia_json_id(r, "pad_token_id", -1);
}

/* Read `tree` and release it. */
static glia_status from_tree(glia_generation_config *g, json_t *tree, const char *where,
                             glia_warning_fn *warning, void *user, glia_err *err) {
    glia_json_reader r = {.object = tree, .where = where, .err = err, .warning = warning, .user = user};
    read_object(&r, g);
    json_decref(tree);
    if (r.status) *g = defaults;
    return r.status;
}

glia_status glia_generation_config_parse(glia_generation_config *g, const char *text, size_t len,
                                         const char *where, glia_warning_fn *warning, void *user,
                                         glia_err *err) {
    json_t *tree;
    *g = defaults;
    const glia_status status = glia_json_parse(&tree, text, len, 0, where, err);
    return status ? status : from_tree(g, tree, where, warning, user, err);
}

/* Read DIR/name, if it exists. */
static glia_status load(glia_generation_config *g, bool *found, const char *dir, const char *name,
                        glia_warning_fn *warning, void *user, glia_err *err) {
    json_t *tree;
    char *path = glia_path_join(dir, name);
    *found = false;
    if (!path) return glia_fail_nomem(err, strlen(dir) + 32, "a path");
    glia_status status = glia_file_find(found, path, err);
    if (*found) status = glia_json_load(&tree, path, FILE_MAX, JSON_ALLOW_NUL, err);
    if (*found && !status) status = from_tree(g, tree, path, warning, user, err);
    free(path);
    return status;
}

glia_status glia_generation_config_load(glia_generation_config *g, const char *dir, glia_warning_fn *warning,
                                        void *user, glia_err *err) {
    bool found;
    *g = defaults;
    glia_status status = load(g, &found, dir, "generation_config.json", warning, user, err);
    if (status || found) return status;
    g->from_model_config = true;
    return load(g, &found, dir, "config.json", NULL, NULL, err);
}
