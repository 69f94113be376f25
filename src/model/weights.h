/* weights.h - a model's weights as the forward pass multiplies them: checked,
 * fused and packed, from a checkpoint, an artifact or a seed. */
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

/* One layer's weights on one rank. Dimensions are those of glia_local; rows and
 * columns that the model does not have are zeros. Norm weights and biases are
 * float32, padded with zeros to the device's columns(); NULL if the model has none. o
 * and down hold a slice of each row: their int8 scales are those of whole rows,
 * and every rank holds their biases, which one rank adds.
 *
 * Context parallelism (cp_degree > 1) fills q_shard, kv and o_shard, so that a
 * rank can use all shards of its union or only its own, local.shard; otherwise
 * only qkv and o are used. Biases likewise. */
typedef struct {
    glia_matrix qkv; /* [q; k; v] of the rank's heads */
    glia_matrix o, down;
    glia_matrix q_shard[GLIA_CP_MAX], o_shard[GLIA_CP_MAX]; /* [local.cp] */
    glia_matrix kv;                                         /* [k; v] of the union's heads */
    glia_matrix gate_up; /* GLIA_SWIGLU_GROUP columns of gate, as many of up, and so on */
    const float *q_bias[GLIA_CP_MAX], *kv_bias; /* of q_shard and kv */
    const float *qkv_bias, *o_bias, *gate_up_bias, *down_bias;
    const float *in_norm, *post_norm, *q_norm, *k_norm;
} glia_layer_weights;

struct glia_weights {
    /* What follows from the options: glia_weights_describe(). */
    const glia_model_config *config; /* the caller's, as spec and quantize: they must outlive this */
    const glia_model_spec *spec;
    const glia_quantize *quantize; /* NULL: nothing is quantised */
    glia_parallel parallel;
    glia_local local;              /* dimensions of this rank's matrices */
    glia_dtype dtype;              /* of matrices that are not quantised: GLIA_DTYPE_F32, _BF16 or _F16 */
    const glia_device_ops *device; /* whose memory holds the weights */
    bool shares_head;              /* head is embed */
    /* Memory. */
    glia_matrix embed, head;
    const float *final_norm;
    glia_layer_weights *layer; /* [config->layers] */
    glia_plan plan;
    glia_safetensors artifact; /* the file that the plan is mapped from; zeroed: none (model/artifact.h) */
};

/* Fill in what follows from the options, and zero the rest: no memory is reserved. `quantize` may be NULL. */
void glia_weights_describe(glia_weights *w, const glia_model_spec *spec, const glia_model_config *c,
                           const glia_parallel *p, glia_dtype dtype, const glia_quantize *quantize);
/* Add to *plan what the weights of one rank will occupy, without mapping it. `quantize` may be NULL. */
void glia_weights_plan(glia_plan *plan, const glia_model_config *c, const glia_parallel *p, glia_dtype dtype,
                       const glia_quantize *quantize);
/* Tell each operation of a step on the CPU and the instruction set that it runs on: "linear", "avx512". */
typedef void glia_operation_fn(void *user, const char *operation, const char *rung);
void glia_weights_operations(glia_operation_fn *tell, void *user, const glia_model_config *c,
                             glia_dtype dtype, const glia_quantize *quantize, glia_dtype kv_dtype,
                             unsigned cpu_flags);
/* Bytes of the matrices that multiply for each token, scales included. */
uint64_t glia_weights_matrix_bytes(const glia_weights *w);

/* The largest k of a matrix whose rows are reordered (glia_matrix.inputs), or quantised beside 8-bit codes in
 * groups; 0: there is none. */
size_t glia_weights_reordered(const glia_model_config *c, const glia_parallel *p,
                              const glia_quantize *quantize);

/* How to load. `dtype` as in glia_weights. `dummy`: random weights from `seed`; the directory is not read,
 * and any number of ranks holds shards of the same model. Packing runs on `team`. Each thread is the first to
 * write the columns that the same thread of an equal team will read. */
typedef struct {
    glia_dtype dtype;
    const glia_parallel *parallel; /* which rank of how many; NULL: one rank */
    const glia_quantize *quantize; /* NULL: nothing is quantised */
    const glia_model_spec *spec;   /* NULL: config->architecture's */
    bool dummy;
    uint64_t seed;
    const glia_device_ops *device; /* NULL: the CPU */
    unsigned cpu_flags;
    glia_team *team;
    glia_progress_fn *progress; /* may be NULL; called by the team's first thread, which is the caller */
    void *user;
} glia_weights_options;

/* Load the weights of one rank. On success the caller owns *out; `config`, options->quantize and
 * options->spec must outlive it. Loaded weights do not change, so any threads may read them.
 * Errors: as of glia_checkpoint_open() and glia_artifact_map(); GLIA_ERR_SHAPE a tensor that is missing
 * or of another shape, naming expected and found; GLIA_ERR_UNSUPPORTED a dtype or a shape that the
 * device cannot multiply, or a weight to quantise that is NaN or infinite; GLIA_ERR_NOMEM. */
glia_status glia_weights_load(glia_weights **out, const char *dir, const glia_model_config *config,
                              const glia_weights_options *options, glia_err *err);
/* Fail if the file that the weights are mapped from has changed since it was loaded, so that results of now
 * may be wrong. Allocates nothing. Errors: GLIA_ERR_IO. */
glia_status glia_weights_check(const glia_weights *w, glia_err *err);
void glia_weights_free(glia_weights *w);

#endif
