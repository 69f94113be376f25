/* adapter_pack.h - adapters as one rank multiplies them, and the places that hold them.
 *
 * A packed adapter is one piece of memory, which can be copied to a place. A place has a
 * fixed size. The forward pass finds the adapter of a row by its place. */
#ifndef GLIA_MODEL_ADAPTER_PACK_H
#define GLIA_MODEL_ADAPTER_PACK_H

#include "model/adapter.h"
#include "model/weights.h"

/* Bytes of an adapter with A and B of this rank, DoRA and biases in every linear layer but the head. Needs
 * glia_weights_describe() only. */
size_t glia_place_bytes(const glia_weights *w, int rank);

/* Cut and pack an adapter for the rank that has these weights. On success the caller owns *out.
 * Any thread. Errors: GLIA_ERR_NOMEM; GLIA_ERR_UNSUPPORTED weights on a device whose memory is not the
 * host's. */
glia_status glia_adapter_pack(glia_packed_adapter **out, const glia_adapter *a, const glia_weights *w,
                              unsigned cpu_flags, glia_err *err);
/* Its bytes, for a rank that needs glia_weights_describe() only; SIZE_MAX without memory. */
size_t glia_adapter_bytes(const glia_adapter *a, const glia_weights *w);
void glia_packed_adapter_free(glia_packed_adapter *p);
size_t glia_packed_adapter_bytes(const glia_packed_adapter *p);

/* What the adapters in places change of a layer. Each list has an element for each place. */
typedef struct {
    const glia_lora *qkv, *kv, *o, *gate_up, *down;
    const glia_lora *q_shard[GLIA_CP_MAX], *o_shard[GLIA_CP_MAX];
    /* elements are NULL where the layer's own norm stays */
    const float *const *in_norm, *const *post_norm, *const *q_norm, *const *k_norm;
} glia_layer_places;

typedef struct {
    int n;                    /* places; 0: no adapters, and all else is empty */
    glia_layer_places *layer; /* [layers] */
    const glia_lora *head;
    const float *const *final_norm;
    const glia_embed_change *embed;
    /* private */
    size_t bytes;
    char *memory; /* [n, bytes] */
    const glia_weights *w;
    glia_lora *lora;
    const float **norm;
    glia_embed_change *changes;
} glia_places_memory;

/* `memory` [places * bytes] stays the caller's. Errors: GLIA_ERR_NOMEM. */
glia_status glia_places_open(glia_places_memory *p, const glia_weights *w, const glia_place_limits *l,
                             void *memory, glia_err *err);
void glia_places_close(glia_places_memory *p);
/* Put an adapter into a place; not during a step. It fits: glia_packed_adapter_bytes() <= limits.bytes.
 * Allocates nothing. NULL: the place is empty. */
void glia_places_put(glia_places_memory *p, int place, const glia_packed_adapter *a);

#endif
