/* replicas.h - what the weights of all ranks hold more than those of one rank alone. */
#ifndef GLIA_MODEL_REPLICAS_H
#define GLIA_MODEL_REPLICAS_H

#include "model/weights.h"

typedef enum {
    GLIA_REPLICA_NORMS,
    GLIA_REPLICA_BIASES, /* of o and down */
    GLIA_REPLICA_SCALES, /* of the int8 rows of o and down, of which each rank has a slice */
    GLIA_REPLICA_UNION,  /* shards of heads of other ranks of a union: context parallelism */
    GLIA_REPLICA_KV,     /* rows of k and v, their biases and scales, of heads on more ranks than one */
    GLIA_REPLICA_HEAD,   /* of a tied head that is cut otherwise than the embedding */
    GLIA_REPLICA_HEADS,  /* zeros: heads that the model does not have */
    GLIA_REPLICA_PARTS,  /* zeros: even parts of the feed-forward, the vocabulary, the hidden dimension */
    GLIA_REPLICA_PANELS, /* zeros: ends of panels, one for each rank instead of one */
    N_REPLICAS
} glia_replica;
const char *glia_replica_name(glia_replica r);

/* Bytes of each kind over all ranks of `p` (p->rank does not matter). Their sum is
 * p->tp times the bytes of glia_weights_plan() for p, less those for one rank: told
 * weight by weight from the model's table, which the plan is not. */
void glia_weights_replicas(uint64_t bytes[N_REPLICAS], const glia_model_config *c, const glia_parallel *p,
                           glia_dtype dtype, const glia_quantize *quantize);

#endif
