/* fuzz_config.c - any text as config.json and as generation_config.json gives a
 * failure, or values in the ranges that the headers promise. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/config.h"
#include "format/generation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool promise) {
    if (!promise) abort();
}

static void warn(void *user, const char *sentence) {
    (void)user;
    must(*sentence && strlen(sentence) < 600 && !strchr(sentence, '\n'));
}

static void check_message(const glia_err *err) {
    must(*err->msg && strlen(err->msg) < sizeof err->msg && !strchr(err->msg, '\n'));
}

static void check_rope(const glia_model_config *c) {
    const glia_rope_config *r = &c->rope_config;
    must(r->theta > 0 && isfinite(r->theta) && r->factor > 0 && isfinite(r->factor));
    must(isfinite(r->attention_factor) && r->pairs >= 0 && r->pairs <= c->head_dim / 2);
    must(r->rotary_dim == c->head_dim || r->rotary_dim == c->head_dim - 1);
    must(r->n_factors == (r->type == GLIA_ROPE_LONGROPE ? c->head_dim / 2 : 0));
    for (int i = 0; i < r->n_factors; i++) must(r->short_factor[i] > 0 && r->long_factor[i] > 0);
    if (r->type == GLIA_ROPE_YARN) must(r->beta_fast > 0 && r->beta_slow > 0 && r->theta != 1);
    if (r->type == GLIA_ROPE_LLAMA3) must(r->high_freq_factor > 0 && r->low_freq_factor > 0);
    must((r->original_max_position_embeddings > 0) ==
         (r->type == GLIA_ROPE_YARN || r->type == GLIA_ROPE_LONGROPE || r->type == GLIA_ROPE_LLAMA3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    glia_err err;
    glia_model_config c;
    glia_generation_config g;
    if (glia_model_config_parse(&c, (const char *)data, size, "fuzz", warn, NULL, &err) == GLIA_OK) {
        must(c.architecture && c.hidden > 0 && c.ffn > 0 && c.vocab > 0 && c.layers > 0);
        must(c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0);
        must(c.head_dim > 0 && c.head_dim % 2 == 0 && c.max_position_embeddings > 0);
        must(c.rms_norm_eps >= 0 && isfinite((float)c.rms_norm_eps) && c.eos.n >= 0 &&
             c.eos.n <= GLIA_TOKEN_IDS_MAX);
        for (int i = 0; i < c.layers; i++) must(c.rope[i] <= 1 && c.window[i] >= 0);
        check_rope(&c);
        glia_model_config_free(&c);
    } else {
        check_message(&err);
    }
    if (glia_generation_config_parse(&g, (const char *)data, size, "fuzz", warn, NULL, &err) == GLIA_OK) {
        must(g.temperature >= 0 && g.top_k >= 0 && g.top_p >= 0 && g.top_p <= 1 && g.min_p >= 0 &&
             g.min_p <= 1);
        must(g.typical_p > 0 && g.typical_p <= 1 && g.repetition_penalty > 0 && g.max_new_tokens >= 0);
    } else {
        check_message(&err);
    }
    return 0;
}
