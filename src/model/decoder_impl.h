/* decoder_impl.h - the decoder's own structures, shared by decoder.c and attention.c. */
#ifndef GLIA_MODEL_DECODER_IMPL_H
#define GLIA_MODEL_DECODER_IMPL_H

#include "layer/kv_cache.h"
#include "layer/linear.h"
#include "model/adapter_pack.h"
#include "model/weights.h"

/* A step whose rows are split among ranks (context parallelism). It has n rows, padded
 * to a multiple of the ranks. Rows behind the batch's rows are padding. */
typedef struct {
    bool on;
    int n;
    int32_t *token;   /* tokens of the batch in rank order */
    glia_rows mine;   /* the rows that this rank attends with, without padding */
    glia_rows stored; /* all rows in the order in which keys and values are gathered; slot -1: padding */
    int32_t *numbers; /* [9, n] memory of the arrays above */
} glia_split_step;

/* Indices of the wanted rows in the residual stream. */
typedef struct {
    const int32_t *logits, *hidden, *residual;
    int32_t *numbers; /* memory of the arrays above where rows are split among ranks */
} glia_wanted_rows;

/* The adapters of a step's rows. A list of runs is empty if no row of the step has an adapter. */
typedef struct {
    glia_adapter_run *run, *mine, *logits; /* of the residual stream's rows; of d->split.mine; of the rows of
                                              logits */
    int n, n_mine, n_logits;
    int32_t *place, *logit_place; /* [m], [n_logits] */
    bool on;                      /* some row has an adapter */
} glia_step_adapters;

struct glia_decoder {
    const glia_weights *w;
    glia_decoder_limits limits;
    const glia_device_ops *ops; /* of the weights' device */
    glia_device *device;
    glia_plan plan, host; /* the device's memory; the host's */
    glia_kv_cache kv;
    glia_local local;
    glia_comm *comm;       /* NULL: one rank alone */
    glia_comm *members;    /* flash decoding: the ranks that share the positions of a KV head; else NULL */
    glia_comm *row_group;  /* with context parallelism, ranks with the same rows; else NULL */
    glia_comm *head_group; /* ranks with the same heads */
    char *area[2];         /* two buffers for operands of collectives, used alternately */
    unsigned operands;     /* how many were written: the next one goes to area[operands % 2] */
    size_t ld_hidden, ld_qkv, ld_q, ld_ffn, ld_vocab;
    int threads;
    float *hidden; /* [rows, ld_hidden] the residual stream */
    float *qkv, *attention, *ffn, *logits;
    float *host_logits, *host_normed, *host_residual; /* copies for the host; on host memory the originals */
    float *normed, *residual;   /* [max_hidden], [layers, max_residual] rows, ld_hidden floats apart */
    float *group_q;             /* [rows, ld_group] q of all members */
    char *states, *states_area; /* softmax states, one block per member: received for this rank's queries;
                                 * computed here, to be sent */
    size_t ld_group;
    float *all_kv;             /* context parallelism: the gathered [rows, k and v] */
    float *cos, *sin, *angles; /* angles: NULL unless attention needs them */
    const glia_batch *batch;
    glia_split_step split;
    glia_wanted_rows wanted;
    glia_places_memory places;
    glia_step_adapters adapted;
};

/* Memory of d->adapted for so many rows: numbers of 4 bytes. */
size_t glia_step_adapters_words(size_t rows, size_t logits);
void glia_step_adapters_bind(glia_step_adapters *a, int32_t *numbers, size_t rows, size_t logits);
/* Fill d->adapted for the rows of d->batch. */
void glia_find_adapters(glia_decoder *d);
/* What adapters change of a layer: of all rows, or of d->split.mine. */
static inline glia_adapted glia_adapted_rows(const glia_decoder *d, const glia_lora *of) {
    return (glia_adapted){.of = of, .run = d->adapted.run, .n = d->adapted.n};
}
static inline glia_adapted glia_adapted_mine(const glia_decoder *d, const glia_lora *of) {
    return (glia_adapted){.of = of, .run = d->adapted.mine, .n = d->adapted.n_mine};
}
/* The places' changes of a layer; empty if there are no places. */
static inline glia_layer_places glia_places_of(const glia_decoder *d, int layer) {
    return d->places.n ? d->places.layer[layer] : (glia_layer_places){0};
}

/* Floats from row to row of a rank's q, k and v in d->qkv; the column where k begins. */
size_t glia_ld_qkv(const glia_device_ops *ops, const glia_parallel *p, const glia_local *l);
size_t glia_k_column(const glia_device_ops *ops, const glia_parallel *p, const glia_local *l);

/* The attention block of a layer: hidden += attention of the normed hidden. Barriers stand inside and behind.
 */
void glia_decoder_attention(const glia_decoder *d, glia_walk *walk, int layer, const glia_rows *rows);

/* Part the rows of a batch among the ranks: fill d->split. */
void glia_split_rows(glia_decoder *d, const glia_batch *b);

#endif
