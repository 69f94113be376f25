/* config.h - config.json, checked and with defaults filled in.
 *
 * Keys, defaults and meanings are those of transformers 4.57 and 5. The reader
 * refuses a value that Glia would have to ignore, and warns about a key that it
 * does not know. Callers need no further checks: every number is in range and
 * every list is complete.
 * Source: transformers configuration_qwen3.py, configuration_smollm3.py,
 * configuration_qwen2.py, configuration_llama.py, configuration_utils.py, modeling_rope_utils.py. */
#ifndef GLIA_FORMAT_CONFIG_H
#define GLIA_FORMAT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/quantization.h"

typedef enum {
    GLIA_ROPE_DEFAULT,
    GLIA_ROPE_LINEAR,
    GLIA_ROPE_DYNAMIC,
    GLIA_ROPE_YARN,
    GLIA_ROPE_LONGROPE,
    GLIA_ROPE_LLAMA3,
    GLIA_ROPE_PROPORTIONAL,
} glia_rope_type;

const char *glia_rope_type_name(glia_rope_type type); /* as config.json spells it */

/* All values are resolved: a key that config.json does not give has the value that
 * transformers derives for it. A field that `type` does not use is 0. */
typedef struct {
    glia_rope_type type;
    double theta;
    double factor;               /* 1 if the type has none */
    double attention_factor;     /* of cos and sin; 1 for types other than yarn and longrope */
    int rotary_dim;              /* the denominator of the exponents: head_dim, or head_dim - 1 if
                                  * partial_rotary_factor rounds down to it */
    int pairs;                   /* pairs of dimensions that rotate; fewer than head_dim / 2 only
                                  * for proportional */
    double beta_fast, beta_slow; /* yarn */
    bool truncate;               /* yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    int original_max_position_embeddings;     /* yarn, longrope, llama3 */
    double *short_factor, *long_factor;       /* longrope: [n_factors], n_factors = head_dim / 2 */
    int n_factors;
} glia_rope_config;

enum { GLIA_TOKEN_IDS_MAX = 64 };
typedef struct {
    int n;
    int32_t id[GLIA_TOKEN_IDS_MAX];
} glia_token_ids;

typedef struct {
    const char *architecture; /* "Qwen3ForCausalLM"; static */
    int64_t hidden, ffn, vocab, head_dim;
    int layers, heads, kv_heads; /* heads is a multiple of kv_heads, head_dim is even */
    int max_position_embeddings;
    double rms_norm_eps;
    bool tied_head;      /* the head is the embedding; glia_review_weights() asks the weights, too */
    bool attention_bias; /* q, k, v and o have a bias; Qwen2's q, k, v biases are in model/qwen2.c instead */
    bool mlp_bias;       /* gate, up and down have a bias */
    glia_dtype dtype;    /* of the stored weights; AUTO if config.json does not say */
    unsigned char *rope; /* [layers] 1: this layer rotates q and k */
    int *window;         /* [layers] 0: full attention; w: a query sees itself and the w - 1 keys before it */
    glia_rope_config rope_config;
    glia_token_ids eos;                    /* n = 0: not given */
    int32_t bos, pad;                      /* -1: not given */
    glia_quantization_config quantization; /* how a quantised checkpoint stores linear layers */
} glia_model_config;

/* Read DIR/config.json. `warning` (may be NULL) gets one sentence for each
 * unknown key and each odd value. On success the caller must call
 * glia_model_config_free(); on failure *c is zeroed.
 * Errors: GLIA_ERR_IO           no config.json
 *         GLIA_ERR_FORMAT       not JSON, a wrong type, a number out of range, a list too short
 *         GLIA_ERR_UNSUPPORTED  an architecture or a value that Glia cannot run
 *         GLIA_ERR_LIMIT        a file over 16 MiB, too many ids */
glia_status glia_model_config_load(glia_model_config *c, const char *dir, glia_warning_fn *warning,
                                   void *user, glia_err *err);

/* The same from `len` bytes of text; messages call the text `where`. */
glia_status glia_model_config_parse(glia_model_config *c, const char *text, size_t len, const char *where,
                                    glia_warning_fn *warning, void *user, glia_err *err);

/* Free what *c owns and zero it. A zeroed *c is allowed. */
void glia_model_config_free(glia_model_config *c);

#endif
