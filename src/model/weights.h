/* weights.h - a model's weights in the form that the forward pass multiplies:
 * found, checked, fused, packed and bound, from a checkpoint or at random. */
#ifndef GLIA_MODEL_WEIGHTS_H
#define GLIA_MODEL_WEIGHTS_H

#include "base/arena.h"
#include "base/team.h"
#include "device/device.h"
#include "format/safetensors.h"
#include "layer/parallel.h"
#include "model/decoder.h"
#include "model/quantize.h"
#include "model/spec.h"

/* Of one rank; dimensions as in glia_local, zeros where it has no row or column
 * of the model. Norm weights and biases are float32 and run to whole panels,
 * zeros past their end. NULL: this model has none. o and down are slices of
 * rows: int8 scales are those of the whole rows, and biases stand on every rank,
 * of which one adds them.
 *
 * With cp_degree > 1 attention's matrices are a union's (glia_local): q and o of each
 * shard apart, so that a rank can take all of them or its own, local.shard, alone;
 * qkv, qkv_bias and o are then empty, else these are. */
typedef struct {
    glia_matrix qkv; /* [q; k; v] of the rank's heads */
    glia_matrix o, down;
    glia_matrix q_shard[GLIA_CP_MAX], o_shard[GLIA_CP_MAX]; /* [local.cp] */
    glia_matrix kv;                                         /* [k; v] of the union's heads */
    glia_matrix gate_up; /* panels alternate gate, up; columns = 2 * ffn rounded up to whole panels */
    const float *q_bias[GLIA_CP_MAX], *kv_bias; /* as q_shard and kv */
    const float *qkv_bias, *o_bias, *gate_up_bias, *down_bias;
    const float *in_norm, *post_norm, *q_norm, *k_norm;
} glia_layer_weights;

struct glia_weights {
    const glia_model_config *config; /* the caller's, must outlive this */
    const glia_model_spec *spec;
    glia_parallel parallel;
    glia_local local;        /* dimensions of this rank's matrices */
    glia_dtype dtype;        /* of matrices that are not quantised: GLIA_DTYPE_F32 or GLIA_DTYPE_BF16 */
    glia_matrix embed, head; /* tied, both of `dtype` and cut alike: the same panels */
    const float *final_norm;
    glia_layer_weights *layer; /* [config->layers] */
    glia_plan plan;
    glia_safetensors artifact; /* where the plan is mapped from; zeroed: it is memory (model/artifact.h) */
};

/* What the weights of one rank will occupy: fills *plan without mapping it. `quantize` may be NULL. */
void glia_weights_plan(glia_plan *plan, const glia_model_config *c, const glia_parallel *p, glia_dtype dtype,
                       const glia_quantize *quantize);
/* Is the head the embedding's memory? So it is where it is tied, not quantised, and cut alike. */
bool glia_weights_share_head(const glia_model_config *c, const glia_parallel *p,
                             const glia_quantize *quantize);
/* Bytes of the matrices that multiply for each token, scales included. */
uint64_t glia_weights_matrix_bytes(const glia_weights *w);

/* How to load. `dtype` as in glia_weights. `dummy`: random weights from `seed`,
 * the directory is not read; ranks hold shares of one and the same model, whatever
 * their number. Packing runs on `team`, each thread writing first
 * the panels that the same thread of an equal team will read. */
typedef struct {
    glia_dtype dtype;
    const glia_parallel *parallel; /* which rank's share; NULL: all */
    const glia_quantize *quantize; /* NULL: nothing is quantised */
    const glia_model_spec *spec;   /* NULL: config->architecture's */
    bool dummy;
    uint64_t seed;
    unsigned cpu_flags;
    glia_team *team;
    glia_progress_fn *progress; /* may be NULL; called on this thread */
    void *user;
} glia_weights_options;

/* On success the caller owns *out.
 * Errors: what glia_checkpoint_open() gives; GLIA_ERR_SHAPE a tensor that is
 * missing, unexpected or of another shape, naming expected and found;
 * GLIA_ERR_UNSUPPORTED a dtype or a shape beyond the kernels, or a weight to
 * quantise that is NaN or infinite; GLIA_ERR_NOMEM. */
glia_status glia_weights_load(glia_weights **out, const char *dir, const glia_model_config *config,
                              const glia_weights_options *options, glia_err *err);
void glia_weights_free(glia_weights *w);

#endif
