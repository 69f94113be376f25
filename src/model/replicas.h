/* replicas.h - what the weights of all ranks occupy beyond those of a single rank, and why. */
#ifndef GLIA_MODEL_REPLICAS_H
#define GLIA_MODEL_REPLICAS_H

#include "model/weights.h"

typedef enum {
    GLIA_REPLICA_NORMS,
    GLIA_REPLICA_BIASES, /* biases of o and down */
    GLIA_REPLICA_SCALES, /* scales of the int8 rows of o and down: each rank holds a slice of these rows */
    GLIA_REPLICA_UNION,  /* context parallelism: shards of the other ranks of a union */
    GLIA_REPLICA_KV,     /* KV heads that several ranks hold: rows of k and v, their biases and scales */
    GLIA_REPLICA_HEAD,   /* a tied head that is not cut like the embedding */
    GLIA_REPLICA_HEADS,  /* zeros: padding to whole heads */
    GLIA_REPLICA_PARTS, /* zeros: padding to equal shards of the feed-forward, the vocabulary, the hidden size
                         */
    GLIA_REPLICA_PANELS, /* zeros: padding of columns to the device's columns(), on every rank */
    N_REPLICAS
} glia_replica;
const char *glia_replica_name(glia_replica r); /* for users: "copies of key-value heads" */

/* Bytes of each kind over all ranks of `p`; p->rank does not matter. Their sum is p->tp times the bytes of
 * glia_weights_plan() for p, less the bytes for glia_alone. Unlike the plan, the count goes from rank to rank
 * and from head to head. `quantize` may be NULL. */
void glia_weights_replicas(uint64_t bytes[N_REPLICAS], const glia_model_config *c, const glia_parallel *p,
                           glia_dtype dtype, const glia_quantize *quantize);

#endif
