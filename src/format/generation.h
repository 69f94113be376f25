/* generation.h - generation_config.json: default sampling parameters of a model.
 *
 * Values mean what they mean in transformers 5. A key that is absent or null has
 * transformers' default (top_k is 50). A key that would change an answer and that
 * Glia does not have is recorded in `unsupported`: such a file is fine for all that
 * does not generate. Without generation_config.json, the same keys of config.json
 * count.
 * Source: transformers generation/configuration_utils.py and utils.py. */
#ifndef GLIA_FORMAT_GENERATION_H
#define GLIA_FORMAT_GENERATION_H

#include "format/config.h"

/* Bits of glia_generation_config.given: the key is present and not null. */
enum {
    GLIA_GIVEN_DO_SAMPLE = 1 << 0,
    GLIA_GIVEN_TEMPERATURE = 1 << 1,
    GLIA_GIVEN_TOP_K = 1 << 2,
    GLIA_GIVEN_TOP_P = 1 << 3,
    GLIA_GIVEN_MIN_P = 1 << 4,
    GLIA_GIVEN_TYPICAL_P = 1 << 5,
    GLIA_GIVEN_REPETITION_PENALTY = 1 << 6,
    GLIA_GIVEN_MAX_NEW_TOKENS = 1 << 7,
    GLIA_GIVEN_MAX_LENGTH = 1 << 8,
    GLIA_GIVEN_MIN_NEW_TOKENS = 1 << 9,
    GLIA_GIVEN_MIN_LENGTH = 1 << 10,
};

typedef struct {
    unsigned given;
    bool do_sample;            /* false */
    double temperature;        /* 1; >= 0 */
    int top_k;                 /* 50; 0: off */
    double top_p;              /* 1: off; 0 to 1 */
    double min_p;              /* 0: off; 0 to 1 */
    double typical_p;          /* 1: off; above 0, at most 1 */
    double repetition_penalty; /* 1: off; above 0 */
    int max_new_tokens;        /* 0: no limit stated */
    int max_length;            /* prompt included; 20 if absent, as in transformers: check `given` */
    int min_new_tokens, min_length;
    glia_token_ids eos;            /* n = 0: not given; use config.json's */
    int32_t bos, pad;              /* -1: not given */
    glia_err unsupported;          /* names the first such key and its value; zeroed: there is none */
    glia_err unsupported_sampling; /* the same for keys that matter only with do_sample */
    bool from_model_config;        /* the values are config.json's */
} glia_generation_config;

/* Read DIR/generation_config.json, else DIR/config.json. Without both, *g gets the
 * defaults and the call succeeds. `warning` may be NULL. *g owns nothing. On failure *g holds
 * the defaults.
 * Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT (not JSON, wrong type, out of range),
 * GLIA_ERR_LIMIT. */
glia_status glia_generation_config_load(glia_generation_config *g, const char *dir, glia_warning_fn *warning,
                                        void *user, glia_err *err);

/* The same from `len` bytes of text; messages call the text `where`. */
glia_status glia_generation_config_parse(glia_generation_config *g, const char *text, size_t len,
                                         const char *where, glia_warning_fn *warning, void *user,
                                         glia_err *err);

#endif
