/* adapter.h - a LoRA adapter as PEFT writes it: adapter_config.json and the tensors
 * of adapter_model.safetensors, by the module that each changes.
 *
 * The reader checks all that does not depend on a model: every key of the
 * configuration, every tensor's name, dtype and numbers. model/adapter.h compares the
 * result with a model.
 * Source: peft 0.21, tuners/lora/config.py, utils/save_and_load.py. */
#ifndef GLIA_FORMAT_ADAPTER_H
#define GLIA_FORMAT_ADAPTER_H

#include <jansson.h>

#include "format/safetensors.h"

/* What a tensor is to its module. */
typedef enum {
    GLIA_LORA_A,         /* [r, inputs] */
    GLIA_LORA_B,         /* [outputs, r] */
    GLIA_LORA_B_BIAS,    /* [outputs] */
    GLIA_LORA_EMBED_A,   /* [r, vocab] */
    GLIA_LORA_EMBED_B,   /* [hidden, r] */
    GLIA_LORA_MAGNITUDE, /* [outputs] of DoRA */
    GLIA_LORA_TOKENS,    /* [tokens, hidden] rows that replace rows of the embedding */
    GLIA_LORA_WEIGHT,    /* a whole weight: modules_to_save */
    GLIA_LORA_BIAS,      /* a whole bias */
    GLIA_LORA_BASE,      /* the base model's weight, which PEFT stores beside a changed embedding */
    GLIA_LORA_ROLES
} glia_lora_role;

/* "lora_A.weight", ... for messages. */
const char *glia_lora_role_name(glia_lora_role role);

typedef struct {
    char *module; /* "model.layers.0.self_attn.q_proj", without prefixes of wrappers */
    glia_lora_role role;
    const glia_tensor_view *view;
} glia_adapter_tensor;

typedef enum { GLIA_LORA_BIAS_NONE, GLIA_LORA_BIAS_ALL, GLIA_LORA_BIAS_LORA_ONLY } glia_lora_biases;

typedef struct {
    char *dir;
    json_t *config;         /* adapter_config.json */
    const char *base_model; /* as the file says; NULL: it does not */
    int r;
    double alpha;
    bool rslora, dora, lora_bias, ties_head;
    bool headless; /* of a model without its head, whose modules PEFT names without "model." */
    glia_lora_biases biases;
    int pool;   /* use_qalora: qalora_group_size; else 0 */
    int blocks; /* use_bdlora: nblocks; else 0 */
    const json_t
        *invocation; /* alora_invocation_tokens: A and B act from their last occurrence on; or NULL */
    glia_safetensors file;
    glia_adapter_tensor *tensor; /* [n] sorted by module, then by role */
    size_t n;
} glia_adapter_files;

/* Read the adapter in directory `dir`. On success the caller calls glia_adapter_files_close(); on failure *a
 * is zeroed.
 * Errors: GLIA_ERR_IO           a file is missing; the message says what a pickle must be converted to
 *         GLIA_ERR_FORMAT       a file is broken, a number is NaN or infinite, a module has A without B
 *         GLIA_ERR_UNSUPPORTED  a key or a kind of adapter that Glia does not have, by name
 *         GLIA_ERR_LIMIT, GLIA_ERR_NOMEM */
glia_status glia_adapter_files_open(glia_adapter_files *a, const char *dir, glia_err *err);
void glia_adapter_files_close(glia_adapter_files *a);

/* The tensor of a module; NULL: the file has none. */
const glia_tensor_view *glia_adapter_find(const glia_adapter_files *a, const char *module,
                                          glia_lora_role role);

/* Does the configuration give this module of the base model A and B? `linear`: the module is a linear layer
 * but not the head, which is what "all-linear" means. Errors: GLIA_ERR_FORMAT a pattern that is no regular
 * expression. */
glia_status glia_adapter_targets(bool *is, const glia_adapter_files *a, const char *module, bool linear,
                                 glia_err *err);
/* The rank of a module's A and B, and the factor of their product. Errors: as above. */
glia_status glia_adapter_scale(int *r, double *scale, const glia_adapter_files *a, const char *module,
                               glia_err *err);
/* Does use_bdlora's list `key` name the module whose last component is `leaf`? */
bool glia_adapter_blocks(const glia_adapter_files *a, const char *key, const char *leaf);
/* Is the module, or one that contains it, named by modules_to_save? */
bool glia_adapter_saves(const glia_adapter_files *a, const char *module);
/* The tokens whose rows of a module the adapter replaces, in the order of the rows. Returns an array of
 * integers; NULL: none. */
const json_t *glia_adapter_tokens(const glia_adapter_files *a, const char *module);

#endif
