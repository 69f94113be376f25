/* decoder.h - a loaded model that can take steps: the one forward pass for
 * every architecture, over a ragged batch (layer/batch.h).
 *
 * glia_weights are immutable and shared; a glia_decoder owns the memory of
 * steps (activations, KV cache, logits), all of it planned and allocated once. */
#ifndef GLIA_MODEL_DECODER_H
#define GLIA_MODEL_DECODER_H

#include "base/arena.h"
#include "base/team.h"
#include "comm/comm.h"
#include "device/device.h"
#include "format/config.h"
#include "layer/batch.h"
#include "layer/parallel.h"

typedef struct glia_weights glia_weights; /* model/weights.h */
typedef struct glia_decoder glia_decoder;

enum { GLIA_RESIDUAL_LAYERS_MAX = 8 };

typedef struct glia_packed_adapter glia_packed_adapter; /* model/adapter_pack.h */

/* What fixes the places of adapters. All zero: no adapters. */
typedef struct {
    int places;   /* different adapters in one step */
    int rank;     /* the largest rank of an adapter */
    size_t bytes; /* of one place on one rank */
} glia_place_limits;

/* What fixes the size of every buffer. */
typedef struct {
    glia_dtype kv_dtype; /* F32, BF16, or I8 with a scale per position and head */
    int max_rows;        /* rows of a batch */
    int max_logits;      /* rows of a batch whose logits are wanted */
    int block_size;      /* positions of a cache block, a multiple of 32 */
    int n_blocks;        /* blocks of the cache, for all sequences together */
    int sequence_length; /* positions of one sequence */
    int tree_slot;       /* in flash decoding, slots from this one on are rows of drafted trees, which every
                          * member stores: each of their blocks counts as many of n_blocks as there are
                          * members. 0: none */
    bool quantize_rows;  /* some matrix has quantize_rows (w8a8) */
    bool rotate;         /* some matrix is rotated */
    size_t reordered;    /* the largest k of a matrix whose rows are reordered, or 0 */
    int max_hidden;      /* rows of a batch whose hidden state is wanted, or 0 */
    int max_residual;    /* rows of a batch whose residual stream is wanted, or 0 */
    int n_residual_layers, residual_layer[GLIA_RESIDUAL_LAYERS_MAX]; /* kept after these layers */
    glia_place_limits adapters;
    const glia_device_ops *device; /* the device whose memory is planned; NULL: the CPU. A decoder uses the
                                    * device of its weights */
} glia_decoder_limits;

/* Add to *plan what a decoder of one rank allocates, without mapping it. */
void glia_decoder_plan(const glia_model_config *c, const glia_parallel *p, const glia_decoder_limits *limits,
                       int threads, glia_plan *plan);
/* Bytes that the decoder uses of each rank's area (glia_comm_share): a multiple of 64. */
size_t glia_decoder_area_bytes(const glia_model_config *c, const glia_parallel *p,
                               const glia_decoder_limits *limits);

/* `w`, `team` and `world` must outlive the decoder; `cpu_flags` choose the rung
 * (base/cpu.h). `world` connects the ranks that share the model, and its area is
 * shared already; NULL if w->parallel.tp is 1. The decoder uses
 * glia_decoder_area_bytes() of the area from `area_offset` on, a multiple of 64,
 * equal on every rank. The caller frees *out. Errors: GLIA_ERR_NOMEM;
 * GLIA_ERR_UNSUPPORTED several ranks on a device whose memory is not the host's. */
glia_status glia_decoder_create(glia_decoder **out, const glia_weights *w, const glia_decoder_limits *limits,
                                unsigned cpu_flags, glia_team *team, glia_comm *world, size_t area_offset,
                                glia_err *err);
void glia_decoder_free(glia_decoder *d);

/* Run one step on the caller's thread and the team: store keys and values, and compute
 * what is wanted of the rows. The caller keeps every index in range (asserted).
 * Allocates nothing. Every rank runs the same step; after it glia_comm_check() reports
 * a rank that failed. */
void glia_decoder_step(glia_decoder *d, const glia_batch *batch);

/* Put an adapter into a place, from where rows whose batch->adapter is place + 1 use it; NULL empties the
 * place. Its bytes are at most limits->adapters.bytes. Allocates nothing. Not during a step. */
void glia_decoder_put_adapter(glia_decoder *d, int place, const glia_packed_adapter *a);

/* The logits of row logit_row[i] of the last step: float32, valid until the next step. One
 * rank alone: [vocab]. Several ranks: the slice of the vocabulary that glia_even_shard()
 * gives this rank, in the rank's area. Rows are glia_decoder_ld_logits() floats apart. */
const float *glia_decoder_logits(const glia_decoder *d, int i);
size_t glia_decoder_ld_logits(const glia_decoder *d);

/* The hidden state after the last norm of row hidden_row[i] of the last step: float32 [hidden], the same
 * on every rank, valid until the next step. */
const float *glia_decoder_hidden(const glia_decoder *d, int i);
/* The residual stream of row residual_row[i] after layer limits->residual_layer[layer]: float32 [hidden], the
 * same on every rank, valid until the next step. */
const float *glia_decoder_residual(const glia_decoder *d, int layer, int i);

/* Bytes of keys and values of one position, all layers, on one rank. */
size_t glia_decoder_kv_bytes(const glia_model_config *c, const glia_parallel *p,
                             const glia_decoder_limits *limits);

/* Measure what this rank's threads can do at most: the ceilings of glia bench. Not during a step. */
void glia_decoder_measure(const glia_decoder *d, glia_ceilings *ceilings);

/* Copy key and value of all layers from one position of a block to another: acceptance
 * of a tree, copy on write of a shared block. In flash decoding the member that stores to_block copies; both
 * blocks are its own, or from_block is one of a drafted tree. Not during a step. */
void glia_decoder_copy_kv(glia_decoder *d, int to_block, int to_at, int from_block, int from_at);

/* Keys and values of one block, all layers: bytes that glia_decoder_put_block() of a decoder of the same
 * weights and limits takes. The device's memory must be the host's, and the cache this rank's alone. Not
 * during a step. */
size_t glia_decoder_block_bytes(const glia_decoder *d);
void glia_decoder_get_block(const glia_decoder *d, int block, char *out);
void glia_decoder_put_block(glia_decoder *d, int block, const char *from);

#endif
