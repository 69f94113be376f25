/* head.h - a trained draft head: its configuration and its weights.
 *
 * A head reads states of the target's layers and proposes the tokens that follow. Its
 * files are those that its trainers publish:
 *
 *   EAGLE-1, -2   config.json; fc.*, layers.N.*             (SafeAILab, vLLM)
 *   EAGLE-3       config.json; fc, midlayer.* or layers.N.* (SafeAILab, SGLang; speculators; DeepSpec)
 *   Medusa        medusa_lm_head.{safetensors,pt} or NxDI's medusa_heads.pt; vLLM's blocks.*, lm_heads.*
 *   DFlash        config.json; fc, hidden_norm, layers.N.*  (z-lab, DeepSpec, speculators)
 *   DSpark        DFlash and markov_head.*, confidence_head.* (DeepSpec, speculators)
 *
 * The tensors are in safetensors files or in a state dict of torch.save(). What decides
 * what a file means is the tensors in it, where a key of config.json is not needed. */
#ifndef GLIA_DRAFT_HEAD_H
#define GLIA_DRAFT_HEAD_H

#include "base/team.h"
#include "device/device.h"
#include "draft/head_file.h"
#include "format/config.h"
#include "model/decoder.h"
#include "model/weights.h"

typedef enum {
    GLIA_HEAD_EAGLE, /* 1 and 2 differ in their trees alone */
    GLIA_HEAD_EAGLE3,
    GLIA_HEAD_MEDUSA,
    GLIA_HEAD_DFLASH,
    GLIA_HEAD_DSPARK,
} glia_head_kind;

/* As the key "method" of a speculative configuration spells it. */
const char *glia_head_kind_name(glia_head_kind kind);

enum { GLIA_MEDUSA_HEADS_MAX = 32, GLIA_MEDUSA_LAYERS_MAX = 8, GLIA_HEAD_LAYERS_MAX = 32 };

typedef struct {
    glia_head_kind kind;
    glia_model_config block; /* the head's decoder layers. Medusa: hidden and vocab alone, layers 0 */
    int64_t target_hidden;
    int draft_vocab; /* tokens that the head's logits are of */
    int n_features;  /* states of the target that fc reads; 0: the hidden state after the last norm */
    int feature[GLIA_RESIDUAL_LAYERS_MAX]; /* the residual stream after these layers */
    /* EAGLE-3 */
    bool norm_before_residual, norm_before_fc, fc_norm, norm_output;
    /* EAGLE-1: does config.json say that fc has a bias? -1: it does not say */
    int fc_bias;
    /* Medusa */
    int heads, head_layers;
    bool one_lm_head; /* all heads share lm_heads.0 */
    /* DFlash, DSpark */
    int block_size, mask_token, markov_rank;
    bool from_anchor; /* row r proposes the token after its position; else its own, and row 0 is not used */
    bool causal[GLIA_HEAD_LAYERS_MAX]; /* a row of a block sees the rows before it alone */
    bool confidence, confidence_has_markov;
    int tokens; /* what the file suggests for num_speculative_tokens; 0: nothing */
} glia_head_config;

/* Read DIR/config.json as that of a head of `kind` and compare it with the target. `file` holds the head's
 * tensors. On success the caller calls glia_head_config_free(). Errors: as glia_model_config_load();
 * GLIA_ERR_UNSUPPORTED the head does not fit the target, or has a part that Glia does not run. */
glia_status glia_head_config_read(glia_head_config *c, glia_head_kind kind, const char *dir,
                                  const glia_head_file *file, const glia_model_config *target, glia_err *err);
void glia_head_config_free(glia_head_config *c);

/* One decoder layer. Block heads have q and kv, the others qkv. */
typedef struct {
    glia_matrix qkv, q, kv, o, gate_up, down;
    const float *in_norm, *hidden_norm, *post_norm, *q_norm, *k_norm, *qkv_bias, *q_bias, *kv_bias, *o_bias;
} glia_head_layer;

typedef struct {
    glia_matrix linear[GLIA_MEDUSA_LAYERS_MAX], lm_head;
    const float *bias[GLIA_MEDUSA_LAYERS_MAX]; /* NULL: none */
} glia_medusa_head;

/* A matrix or a vector of the head, and the tensors that are fused in it. */
typedef struct {
    glia_matrix *matrix; /* NULL: a vector */
    const float **vector;
    const glia_tensor_view *part[3];
    int n_parts;
    bool alternate; /* GLIA_SWIGLU_GROUP columns of the first part, then of the second, and so on */
} glia_head_item;

typedef struct {
    glia_head_config config;
    glia_weight_format format; /* of its own matrices */
    glia_head_file file;       /* closed once the weights are loaded */
    glia_head_item *item;      /* [n_items] */
    int n_items;
    bool own_embedding, own_lm_head; /* else the target's are used */
    glia_plan plan;
    glia_matrix embed, fc, lm_head, markov_w1, markov_w2;
    const float *fc_bias, *fc_norm[GLIA_RESIDUAL_LAYERS_MAX], *input_norm, *hidden_norm, *norm;
    const float *confidence, *confidence_bias; /* [hidden, and markov_rank if the head reads it], [1] */
    glia_head_layer layer[GLIA_HEAD_LAYERS_MAX];
    glia_medusa_head medusa[GLIA_MEDUSA_HEADS_MAX];
    int32_t *map; /* [draft_vocab] the target's token of each of the head's; NULL: they are the same */
} glia_head;

/* Open the files of DIR, read the configuration, and check the shape of every tensor. `dtype` is that of the
 * matrices (F32, BF16, F16 or I8). On success the caller owns *out. Errors: as glia_head_config_read() and
 * glia_checkpoint_open(); GLIA_ERR_SHAPE a tensor is missing or has another shape; GLIA_ERR_UNSUPPORTED a
 * tensor that no head of this kind has. */
glia_status glia_head_open(glia_head **out, glia_head_kind kind, const char *dir,
                           const glia_model_config *target, glia_dtype dtype, glia_err *err);
/* Add the memory of the head's own weights to the plan, before or after they are loaded. */
void glia_head_plan(const glia_head *h, glia_plan *plan);
/* Pack the weights on `team`, and close the files. `target`: rank 0's weights. A target that ranks share has
 * no whole embedding and head; they are then read from `target_dir`, too. */
glia_status glia_head_load(glia_head *h, const glia_weights *target, const char *target_dir, glia_team *team,
                           unsigned cpu_flags, glia_err *err);
void glia_head_free(glia_head *h);
/* Add the target's embedding and head, where the head has none, to its items. `file` holds the target's
 * tensors until they are packed. Errors: GLIA_ERR_SHAPE. */
glia_status glia_head_list_target(glia_head *h, const glia_head_file *file, const glia_model_config *t,
                                  glia_err *err);

/* The target's token of the head's token i. */
static inline int32_t glia_head_token(const glia_head *h, int i) { return h->map ? h->map[i] : i; }

#endif
