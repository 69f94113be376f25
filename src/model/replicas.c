/* replicas.c - see replicas.h. */
#include "model/replicas.h"

#include "model/fused.h"

const char *glia_replica_name(glia_replica r) {
    static const char *const names[] = {
        "norms",
        "biases of o and down",
        "scales of o and down",
        "heads of ranks that part rows",
        "copies of key-value heads",
        "second copy of the tied embedding",
        "padding to whole heads",
        "padding to equal parts",
        "padding to whole panels",
    };
    return names[r];
}

/* Bits of an element of h, or of a scale. */
static uint64_t element_bits(const glia_held *h, const glia_weights *w, bool scales) {
    return scales ? 8 * sizeof(float) : (uint64_t)glia_weight_traits[glia_held_shape(h, w).format].bits;
}

/* Bytes of the matrix, or of its scales, past the rows and columns of its weights. */
static uint64_t padding(const glia_held *h, const glia_weights *w, bool scales) {
    const glia_matrix m = glia_held_shape(h, w);
    size_t filled = 0;
    for (int i = 0; i < h->fused->n_weights; i++) {
        glia_shard rows, cols;
        glia_held_shards(&rows, &cols, h, i, w);
        filled += glia_shard_size(&rows) * (scales ? 1 : m.k);
    }
    return (scales ? w->device->scale_bytes(&m) : glia_held_bytes(h, w)) -
           filled * element_bits(h, w, scales) / 8;
}

/* How many elements of a dimension all ranks hold together. */
static uint64_t held_by_all(glia_shard s) {
    uint64_t sum = 0;
    for (s.rank = 0; s.rank < s.ranks; s.rank++)
        for (glia_slice span = {0}; glia_shard_next(&s, &span);) sum += span.n;
    return sum;
}

static glia_replica kind_of_copies(glia_weight_id id, glia_shard_kind rows, bool scales) {
    if (rows == GLIA_SHARD_KV) return GLIA_REPLICA_KV;
    if (scales) return GLIA_REPLICA_SCALES;
    return glia_is_bias(id) ? GLIA_REPLICA_BIASES : GLIA_REPLICA_NORMS;
}

typedef struct {
    glia_weights rank, alone; /* what one rank of many holds, and the only one */
    uint64_t *bytes;          /* [N_REPLICAS] */
} tally;

/* Add what all ranks hold of weight `i` of h, or of its scales, beyond one copy. */
static void add_weight(tally *t, const glia_held *h, int i, bool scales) {
    const uint64_t times = (uint64_t)glia_held_copies(h, &t->rank);
    const uint64_t bits = element_bits(h, &t->rank, scales);
    const glia_weight_id id = h->fused->weight[i];
    glia_shard rows, cols;
    glia_held_shards(&rows, &cols, h, i, &t->rank);
    if (scales) cols = (glia_shard){.kind = GLIA_SHARD_ALL, .n = 1};
    const bool by_cols = cols.kind != GLIA_SHARD_ALL;
    const glia_shard *cut = by_cols ? &cols : &rows;
    const uint64_t line = (by_cols ? rows.n : cols.n) * bits / 8, real = held_by_all(*cut),
                   all = (uint64_t)cut->ranks * glia_shard_size(cut);
    const bool by_head = cut->kind == GLIA_SHARD_Q || cut->kind == GLIA_SHARD_KV;
    t->bytes[kind_of_copies(id, rows.kind, scales)] += (real - cut->n) * line;
    t->bytes[GLIA_REPLICA_UNION] += (times - 1) * real * line;
    t->bytes[by_head ? GLIA_REPLICA_HEADS : GLIA_REPLICA_PARTS] += times * (all - real) * line;
    /* one rank alone has no second copy of the tied embedding */
    if (id == W_HEAD && t->alone.shares_head) t->bytes[GLIA_REPLICA_HEAD] += cut->n * line;
}

static void add_held(tally *t, const glia_held *h, bool scales) {
    glia_shard rows, cols;
    glia_held_shards(&rows, &cols, h, 0, &t->rank);
    for (int i = 0; i < h->fused->n_weights; i++) add_weight(t, h, i, scales);
    t->bytes[GLIA_REPLICA_PANELS] +=
        (uint64_t)(glia_held_copies(h, &t->rank) * rows.ranks) * padding(h, &t->rank, scales);
}

/* Scales for each column; grouped formats have other numbers beside their codes. */
static bool has_scales(const glia_held *h, const glia_weights *w) {
    return glia_weight_traits[glia_held_shape(h, w).format].scaled;
}

/* Bytes of grouped matrices: what is beside their codes, or all. */
static uint64_t grouped_bytes(const glia_weights *w, bool all) {
    uint64_t sum = 0;
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        const glia_matrix m = glia_held_shape(&h, w);
        if (glia_is_grouped(m.format)) sum += w->device->scale_bytes(&m) + (all ? glia_held_bytes(&h, w) : 0);
    }
    return sum;
}

/* Bytes of all that a rank holds. */
static uint64_t held_bytes(const glia_weights *w) {
    uint64_t sum = 0;
    for (glia_held h = {0}; glia_held_next(&h, w);) {
        const glia_matrix m = glia_held_shape(&h, w);
        sum += glia_held_bytes(&h, w) + (glia_fused_is_vector(h.fused) ? 0 : w->device->scale_bytes(&m));
    }
    return sum;
}

/* What ranks hold more of scales and zero points of groups, and of zeros that fill groups up. */
static void add_groups(tally *t) {
    const uint64_t ranks = (uint64_t)t->rank.parallel.tp;
    if (!grouped_bytes(&t->rank, true)) return;
    t->bytes[GLIA_REPLICA_SCALES] += ranks * grouped_bytes(&t->rank, false) - grouped_bytes(&t->alone, false);
    uint64_t rest = ranks * held_bytes(&t->rank) - held_bytes(&t->alone);
    for (int i = 0; i < N_REPLICAS; i++) rest -= t->bytes[i];
    t->bytes[GLIA_REPLICA_PANELS] += rest;
}

void glia_weights_replicas(uint64_t bytes[N_REPLICAS], const glia_model_config *c, const glia_parallel *p,
                           glia_dtype dtype, const glia_quantize *quantize) {
    const glia_model_spec *spec = glia_spec_find(c->architecture);
    tally t = {.bytes = bytes};
    glia_weights_describe(&t.rank, spec, c, p, dtype, quantize);
    glia_weights_describe(&t.alone, spec, c, &glia_alone, dtype, quantize);
    for (int i = 0; i < N_REPLICAS; i++) bytes[i] = 0;
    for (glia_held h = {0}; glia_held_next(&h, &t.rank);) {
        if (h.shard) continue; /* counted with shard 0: glia_held_copies() */
        add_held(&t, &h, false);
        if (has_scales(&h, &t.rank)) add_held(&t, &h, true);
    }
    for (glia_held h = {0}; glia_held_next(&h, &t.alone);) {
        bytes[GLIA_REPLICA_PANELS] -= padding(&h, &t.alone, false);
        if (has_scales(&h, &t.alone)) bytes[GLIA_REPLICA_PANELS] -= padding(&h, &t.alone, true);
    }
    add_groups(&t);
}
