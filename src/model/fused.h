/* fused.h - the table of what the forward pass multiplies and adds.
 *
 * The forward pass fuses weights of the checkpoint: q, k and v are one matrix,
 * gate and up are another. A row of the table is one such matrix or vector. The
 * row says which weights are fused, which product uses the matrix, how a rank
 * holds it, its region of memory, its member of glia_layer_weights or
 * glia_weights, and its name in an artifact. The plan of memory, the bindings,
 * the packing jobs, the tensors of an artifact, the products that quantisation
 * converts, the count of replicas and inspect's shapes are derived from the
 * table. All functions but glia_held_bind() and glia_held_next() are pure. */
#ifndef GLIA_MODEL_FUSED_H
#define GLIA_MODEL_FUSED_H

#include "model/weights.h"

/* Regions of the plan, in the plan's order. */
typedef enum {
    REGION_EMBED,
    REGION_HEAD,
    REGION_VECTORS, /* float32 norms and biases; all other regions but the last hold matrices */
    REGION_QKV,
    REGION_O,
    REGION_GATE_UP,
    REGION_DOWN,
    REGION_SCALES, /* float32 scales of all matrices */
    N_REGIONS,
} glia_fused_region;

/* How many matrices a rank holds for one row of the table, and which rows and columns of the model they
 * contain. A union is the group of ranks that share the rows of a prompt (layer/shard.h). */
typedef enum {
    HOLD_OWN,        /* one: the rank's own rows or columns */
    HOLD_WITHOUT_CP, /* the same, but none with context parallelism */
    HOLD_UNION,      /* with context parallelism: one, with the KV heads of the rank's union */
    HOLD_SHARDS,     /* with context parallelism: one for each shard of query heads that the rank holds */
} glia_hold;

enum { GLIA_FUSED_MAX = 3 }; /* weights of one row */

typedef struct {
    const char *name;                      /* in an artifact; HOLD_SHARDS: "shard.N." stands before it */
    glia_weight_id weight[GLIA_FUSED_MAX]; /* [n_weights] in the order of columns */
    int n_weights;
    bool alternate;       /* GLIA_SWIGLU_GROUP of the first weight, then of the second, and so on */
    glia_product product; /* PRODUCT_NONE: a vector, or the embedding */
    glia_hold hold;
    glia_fused_region region;
    /* Offset of the member, a glia_matrix or a vector's const float *, in glia_weights if the weights are the
     * model's, else in glia_layer_weights. HOLD_SHARDS: the member is an array [GLIA_CP_MAX]. */
    size_t offset;
} glia_fused;

/* Rows of the model come first, then those of each layer. */
extern const glia_fused glia_fused_table[];
extern const size_t glia_fused_rows;

static inline bool glia_fused_is_vector(const glia_fused *f) { return f->region == REGION_VECTORS; }
/* The row that holds weight `id` on the ranks of w; NULL if there is none. */
const glia_fused *glia_fused_find(const glia_weights *w, glia_weight_id id);

/* One matrix or vector that a rank holds. */
typedef struct {
    const glia_fused *fused;
    int layer; /* 0 for the model's */
    int shard; /* < local.cp with HOLD_SHARDS, else 0 */
} glia_held;

/* Visit all that the rank holds, in the order of memory: zero *h, then call until false. A head that shares
 * the embedding's memory is left out. This function and those below it, up to glia_held_of_rank(), need only
 * glia_weights_describe(). */
bool glia_held_next(glia_held *h, const glia_weights *w);

/* The matrix without memory; a vector is a float32 matrix with k = 1. */
glia_matrix glia_held_shape(const glia_held *h, const glia_weights *w);
/* Bytes of the matrix without its scales, or of the vector, in the device's memory. */
size_t glia_held_bytes(const glia_held *h, const glia_weights *w);
/* The rows and columns of fused->weight[i] that the rank holds in h. `w` must outlive them. */
void glia_held_shards(glia_shard *rows, glia_shard *cols, const glia_held *h, int i, const glia_weights *w);
/* How many ranks hold the same rows and columns of the model. */
int glia_held_copies(const glia_held *h, const glia_weights *w);
/* The rows and columns of a weight that a rank holds in all its matrices or vectors. */
void glia_held_of_rank(size_t *rows, size_t *cols, glia_weight_id id, const glia_weights *w);

/* Elements of a block along K in which a weight of a layer is rotated; 0 or 1: it is not. */
size_t glia_held_rotation(glia_weight_id id, int layer, const glia_weights *w);

/* Set the member of w, or of w->layer[h->layer], to *m; a vector is set to m->data. */
void glia_held_bind(const glia_held *h, glia_weights *w, const glia_matrix *m);
/* The member that glia_held_bind() set. The first returns NULL if h is a vector, the second if h is a matrix.
 */
const glia_matrix *glia_held_matrix(const glia_held *h, const glia_weights *w);
const float *glia_held_vector(const glia_held *h, const glia_weights *w);

#endif
