/* generation.c - see generation.h. */
#include "format/generation.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"

enum { FILE_MAX = 1 << 20 };

/* NAN: this file reads the key, or the key changes no answer. A number: any other
 * value changes answers in transformers. */
/* clang-format off */
static const glia_json_key known_keys[] = {
    {"do_sample", NAN}, {"temperature", NAN}, {"top_k", NAN}, {"top_p", NAN}, {"min_p", NAN},
    {"typical_p", NAN}, {"repetition_penalty", NAN}, {"max_new_tokens", NAN}, {"max_length", NAN},
    {"min_new_tokens", NAN}, {"min_length", NAN}, {"eos_token_id", NAN}, {"bos_token_id", NAN},
    {"pad_token_id", NAN},
    {"transformers_version", NAN}, {"_from_model_config", NAN}, {"_commit_hash", NAN}, {"use_cache", NAN},
    {"cache_implementation", NAN}, {"cache_config", NAN}, {"return_legacy_cache", NAN},
    {"prefill_chunk_size", NAN}, {"output_attentions", NAN}, {"output_hidden_states", NAN},
    {"output_scores", NAN}, {"output_logits", NAN}, {"return_dict_in_generate", NAN}, {"early_stopping", NAN},
    {"length_penalty", NAN}, {"low_memory", NAN}, {"is_assistant", NAN}, {"num_assistant_tokens", NAN},
    {"num_assistant_tokens_schedule", NAN}, {"assistant_confidence_threshold", NAN},
    {"prompt_lookup_num_tokens", NAN}, {"max_matching_ngram_size", NAN}, {"assistant_early_exit", NAN},
    {"assistant_lookbehind", NAN}, {"target_lookbehind", NAN}, {"compile_config", NAN},
    {"disable_compile", NAN}, {"decoder_start_token_id", NAN}, {"trust_remote_code", NAN},
    {"num_beams", 1}, {"num_beam_groups", 1}, {"diversity_penalty", 0}, {"num_return_sequences", 1},
    {"penalty_alpha", 0}, {"dola_layers", 0}, {"constraints", 0}, {"force_words_ids", 0},
    {"epsilon_cutoff", 0}, {"eta_cutoff", 0}, {"top_h", 1}, {"no_repeat_ngram_size", 0},
    {"encoder_no_repeat_ngram_size", 0}, {"encoder_repetition_penalty", 1}, {"bad_words_ids", 0},
    {"renormalize_logits", 0}, {"forced_bos_token_id", -1}, {"forced_eos_token_id", -1},
    {"remove_invalid_values", 0}, {"exponential_decay_length_penalty", 0}, {"suppress_tokens", 0},
    {"begin_suppress_tokens", 0}, {"sequence_bias", 0}, {"token_healing", 0}, {"guidance_scale", 1},
    {"watermarking_config", 0}, {"max_time", 0}, {"stop_strings", 0},
    {NULL, 0},
};
/* clang-format on */

static const glia_generation_config defaults = {.temperature = 1,
                                                .top_k = 50,
                                                .top_p = 1,
                                                .typical_p = 1,
                                                .repetition_penalty = 1,
                                                .max_length = 20,
                                                .bos = -1,
                                                .pad = -1};

/* The member `key`, NULL if absent or null. Sets `bit` in g->given if present. */
static const json_t *given(const glia_json_reader *r, glia_generation_config *g, unsigned bit,
                           const char *key) {
    const json_t *v = json_object_get(r->object, key);
    if (!v || json_is_null(v)) return NULL;
    g->given |= bit;
    return v;
}

/* A key that is null gives `off`; an absent key leaves *value alone. */
static void read_real(glia_json_reader *r, glia_generation_config *g, unsigned bit, const char *key,
                      double *value, double off, double lo, double hi) {
    if (given(r, g, bit, key))
        *value = glia_json_real(r, key, off, lo, hi);
    else if (json_object_get(r->object, key))
        *value = off;
}

static void read_int(glia_json_reader *r, glia_generation_config *g, unsigned bit, const char *key,
                     int *value) {
    if (given(r, g, bit, key))
        *value = (int)glia_json_int(r, key, 0, 0, INT32_MAX);
    else if (json_object_get(r->object, key))
        *value = 0;
}

/* Record the first key that changes an answer in a way that Glia does not have. */
static void note_unsupported(const glia_json_reader *r, glia_generation_config *g) {
    glia_json_reader keys = *r;
    keys.err = &g->unsupported;
    glia_json_check_keys(&keys, known_keys);
}

static void read_object(glia_json_reader *r, glia_generation_config *g) {
    note_unsupported(r, g);
    if (given(r, g, GLIA_GIVEN_DO_SAMPLE, "do_sample")) g->do_sample = glia_json_bool(r, "do_sample", false);
    read_real(r, g, GLIA_GIVEN_TEMPERATURE, "temperature", &g->temperature, 1, 0, FLT_MAX);
    read_int(r, g, GLIA_GIVEN_TOP_K, "top_k", &g->top_k);
    read_real(r, g, GLIA_GIVEN_TOP_P, "top_p", &g->top_p, 1, 0, 1);
    read_real(r, g, GLIA_GIVEN_MIN_P, "min_p", &g->min_p, 0, 0, 1);
    read_real(r, g, GLIA_GIVEN_TYPICAL_P, "typical_p", &g->typical_p, 1, FLT_MIN, 1);
    read_real(r, g, GLIA_GIVEN_REPETITION_PENALTY, "repetition_penalty", &g->repetition_penalty, 1, FLT_MIN,
              FLT_MAX);
    read_int(r, g, GLIA_GIVEN_MAX_NEW_TOKENS, "max_new_tokens", &g->max_new_tokens);
    read_int(r, g, GLIA_GIVEN_MAX_LENGTH, "max_length", &g->max_length);
    read_int(r, g, GLIA_GIVEN_MIN_NEW_TOKENS, "min_new_tokens", &g->min_new_tokens);
    read_int(r, g, GLIA_GIVEN_MIN_LENGTH, "min_length", &g->min_length);
    g->eos.n = glia_json_ids(r, "eos_token_id", g->eos.id, GLIA_TOKEN_IDS_MAX);
    g->bos = (int32_t)glia_json_int(r, "bos_token_id", -1, -1, INT32_MAX);
    g->pad = (int32_t)glia_json_int(r, "pad_token_id", -1, -1, INT32_MAX);
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

glia_status glia_generation_config_load(glia_generation_config *g, const char *dir, glia_warning_fn *warning,
                                        void *user, glia_err *err) {
    json_t *tree;
    bool found;
    *g = defaults;
    char *path = glia_path_join(dir, "generation_config.json");
    if (!path) return glia_fail_nomem(err, strlen(dir) + 32, "a path");
    glia_status status = glia_file_find(&found, path, err);
    if (found) {
        status = glia_json_load(&tree, path, FILE_MAX, 0, err);
        if (!status) status = from_tree(g, tree, path, warning, user, err);
    }
    free(path);
    return status;
}
