/* replicas.c - see replicas.h. */
#include "model/replicas.h"

#include "model/pack.h"

/* What is multiplied or added at once: columns in the order of `part`, panels in turns where `alternate`. */
typedef struct {
    glia_weight_id part[3];
    int n;
    bool alternate;
} group;

static const group groups[] = {
    {{W_EMBED}, 1, false},     {{W_FINAL_NORM}, 1, false},
    {{W_HEAD}, 1, false},      {{W_IN_NORM}, 1, false},
    {{W_POST_NORM}, 1, false}, {{W_Q_NORM}, 1, false},
    {{W_K_NORM}, 1, false},    {{W_Q, W_K, W_V}, 3, false},
    {{W_O}, 1, false},         {{W_GATE, W_UP}, 2, true},
    {{W_DOWN}, 1, false},      {{W_Q_BIAS, W_K_BIAS, W_V_BIAS}, 3, false},
    {{W_O_BIAS}, 1, false},    {{W_GATE_BIAS, W_UP_BIAS}, 2, true},
    {{W_DOWN_BIAS}, 1, false},
};

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

typedef struct {
    const glia_model_config *config;
    const glia_model_spec *spec;
    const glia_parallel *parallel;
    const glia_quantize *quantize;
    glia_local local;
    uint64_t *bytes;
} tally;

/* Things of the dimension that all ranks hold together, each as often as it is held. */
static uint64_t held(glia_shard s) {
    uint64_t sum = 0;
    for (s.rank = 0; s.rank < s.ranks; s.rank++)
        for (glia_span span = {0}; glia_shard_next(&s, &span);) sum += span.n;
    return sum;
}

static glia_replica copies_of(const glia_weight_spec *w, bool scales) {
    if (scales) return w->cut == CUT_KV_ROWS ? GLIA_REPLICA_KV : GLIA_REPLICA_SCALES;
    if (w->cut == CUT_KV_ROWS) return GLIA_REPLICA_KV;
    return w->id == W_O_BIAS || w->id == W_DOWN_BIAS ? GLIA_REPLICA_BIASES : GLIA_REPLICA_NORMS;
}

/* As glia_spec_row(), and a tied head's. */
static const glia_weight_spec *row_of(const tally *t, glia_weight_id id) {
    return id == W_HEAD ? &glia_output_head : glia_spec_row(t->spec, t->config, id);
}

/* Who holds parts of a weight: each of `parallel`'s ranks that share heads as `heads`
 * says has one part, and `times` ranks hold the same. */
typedef struct {
    glia_parallel parallel;
    const glia_head_cut *heads;
    uint64_t times;
} holders;

static holders holders_of(const tally *t, glia_weight_id id) {
    holders h = {*t->parallel, &t->local.cut, 1};
    if (id == W_Q || id == W_Q_BIAS || id == W_O) h.times = (uint64_t)t->local.cp;
    if (id == W_K || id == W_V || id == W_K_BIAS || id == W_V_BIAS) {
        h.times = (uint64_t)h.parallel.cp_degree;
        h.parallel.tp /= h.parallel.cp_degree;
        h.heads = &t->local.kv_cut;
    }
    return h;
}

static uint64_t size_of(glia_dtype dtype) {
    return dtype == GLIA_DTYPE_F32 ? 4 : dtype == GLIA_DTYPE_BF16 ? 2 : 1;
}

/* Parts side by side, and how much of their panels they fill. */
typedef struct {
    size_t columns, k, filled;
} extent;

static void extend(extent *e, const group *g, size_t rows, size_t cols) {
    e->columns += g->alternate ? glia_pack_width(rows) : rows;
    e->k = cols;
    e->filled += rows * cols;
}
static uint64_t ends(const extent *e, glia_dtype dtype) {
    const glia_matrix m = {.dtype = dtype, .columns = e->columns, .k = e->k};
    return glia_pack_bytes(&m) - e->filled * size_of(dtype);
}

/* One matrix or vector of a group, or its scales: elements of `dtype`. `second`:
 * one rank alone has none. `alone`: what it has. */
static void add_matrix(tally *t, const group *g, glia_dtype dtype, bool scales, bool second, extent *alone) {
    const uint64_t size = size_of(dtype);
    const holders h = holders_of(t, g->part[0]);
    const uint64_t ranks = (uint64_t)h.parallel.tp;
    extent part = {0};
    for (int i = 0; i < g->n; i++) {
        const glia_weight_spec *w = row_of(t, g->part[i]);
        glia_shard rows, cols;
        glia_spec_shards(&rows, &cols, w, t->config, &h.parallel, h.heads);
        if (scales) cols = (glia_shard){.kind = GLIA_SHARD_ALL, .n = 1};
        const bool by_cols = cols.kind != GLIA_SHARD_ALL;
        const glia_shard *cut = by_cols ? &cols : &rows;
        const uint64_t line = (by_cols ? rows.n : cols.n) * size, of_ranks = held(*cut);
        const bool by_head = cut->kind == GLIA_SHARD_Q || cut->kind == GLIA_SHARD_KV;
        t->bytes[copies_of(w, scales)] += (of_ranks - cut->n) * line;
        t->bytes[GLIA_REPLICA_UNION] += (h.times - 1) * of_ranks * line;
        t->bytes[by_head ? GLIA_REPLICA_HEADS : GLIA_REPLICA_PARTS] +=
            h.times * (ranks * glia_shard_size(cut) - of_ranks) * line;
        if (second) t->bytes[GLIA_REPLICA_HEAD] += cut->n * line;
        extend(&part, g, glia_shard_size(&rows), glia_shard_size(&cols));
        extend(alone, g, rows.n, cols.n);
    }
    t->bytes[GLIA_REPLICA_PANELS] += h.times * ranks * ends(&part, dtype);
}

static void add_group(tally *t, const group *g, glia_dtype dtype, bool scales, bool second) {
    extent alone = {0};
    if (g->n == 3 && t->parallel->cp_degree > 1) { /* q, and [k; v] apart */
        const group q = {{g->part[0]}, 1, false}, kv = {{g->part[1], g->part[2]}, 2, false};
        add_matrix(t, &q, dtype, scales, second, &alone);
        add_matrix(t, &kv, dtype, scales, second, &alone);
    } else {
        add_matrix(t, g, dtype, scales, second, &alone);
    }
    if (!second) t->bytes[GLIA_REPLICA_PANELS] -= ends(&alone, dtype);
}

static void add_layer(tally *t, const group *g, glia_dtype dtype, int layer) {
    const bool vector = row_of(t, g->part[0])->cols == D_1;
    glia_product product;
    const bool i8 = glia_product_of(g->part[0], &product) && glia_quantizes(t->quantize, layer, product);
    const bool second = g->part[0] == W_HEAD && glia_weights_share_head(t->config, &glia_alone, t->quantize);
    add_group(t, g, vector ? GLIA_DTYPE_F32 : i8 ? GLIA_DTYPE_I8 : dtype, false, second);
    if (i8) add_group(t, g, GLIA_DTYPE_F32, true, second);
}

void glia_weights_replicas(uint64_t bytes[N_REPLICAS], const glia_model_config *c, const glia_parallel *p,
                           glia_dtype dtype, const glia_quantize *quantize) {
    tally t = {c, glia_spec_find(c->architecture), p, quantize, glia_local_of(c, p), bytes};
    for (int i = 0; i < N_REPLICAS; i++) bytes[i] = 0;
    for (const group *g = groups; g < groups + sizeof groups / sizeof *groups; g++) {
        if (!row_of(&t, g->part[0])) continue;
        if (g->part[0] == W_HEAD && glia_weights_share_head(c, p, quantize)) continue;
        const int layers = g->part[0] >= W_IN_NORM ? c->layers : 1;
        for (int i = 0; i < layers; i++) add_layer(&t, g, dtype, i);
    }
}
