/* fused.c - see fused.h. */
#include "model/fused.h"

#include <assert.h>

#define MODEL(member) offsetof(glia_weights, member)
#define LAYER(member) offsetof(glia_layer_weights, member)

/* clang-format off */
const glia_fused glia_fused_table[] = {
    {"embed",           {W_EMBED},            1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_EMBED,   MODEL(embed)},
    {"head",            {W_HEAD},             1, false, PRODUCT_HEAD,    HOLD_OWN,        REGION_HEAD,    MODEL(head)},
    {"final_norm",      {W_FINAL_NORM},       1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, MODEL(final_norm)},

    {"qkv",             {W_Q, W_K, W_V},      3, false, PRODUCT_QKV,     HOLD_WITHOUT_CP, REGION_QKV,     LAYER(qkv)},
    {"q",      {W_Q},                1, false, PRODUCT_QKV,     HOLD_SHARDS,     REGION_QKV,     LAYER(q_shard)},
    {"kv",              {W_K, W_V},           2, false, PRODUCT_QKV,     HOLD_UNION,      REGION_QKV,     LAYER(kv)},
    {"o",               {W_O},                1, false, PRODUCT_O,       HOLD_WITHOUT_CP, REGION_O,       LAYER(o)},
    {"o",      {W_O},                1, false, PRODUCT_O,       HOLD_SHARDS,     REGION_O,       LAYER(o_shard)},
    {"gate_up",         {W_GATE, W_UP},       2, true,  PRODUCT_GATE_UP, HOLD_OWN,        REGION_GATE_UP, LAYER(gate_up)},
    {"down",            {W_DOWN},             1, false, PRODUCT_DOWN,    HOLD_OWN,        REGION_DOWN,    LAYER(down)},

    {"in_norm",         {W_IN_NORM},          1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(in_norm)},
    {"post_norm",       {W_POST_NORM},        1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(post_norm)},
    {"q_norm",          {W_Q_NORM},           1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(q_norm)},
    {"k_norm",          {W_K_NORM},           1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(k_norm)},
    {"qkv_bias",        {W_Q_BIAS, W_K_BIAS, W_V_BIAS}, 3, false, PRODUCT_NONE, HOLD_WITHOUT_CP, REGION_VECTORS, LAYER(qkv_bias)},
    {"q_bias", {W_Q_BIAS},           1, false, PRODUCT_NONE,    HOLD_SHARDS,     REGION_VECTORS, LAYER(q_bias)},
    {"kv_bias",         {W_K_BIAS, W_V_BIAS}, 2, false, PRODUCT_NONE,    HOLD_UNION,      REGION_VECTORS, LAYER(kv_bias)},
    {"o_bias",          {W_O_BIAS},           1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(o_bias)},
    {"gate_up_bias",    {W_GATE_BIAS, W_UP_BIAS}, 2, true, PRODUCT_NONE, HOLD_OWN,        REGION_VECTORS, LAYER(gate_up_bias)},
    {"down_bias",       {W_DOWN_BIAS},        1, false, PRODUCT_NONE,    HOLD_OWN,        REGION_VECTORS, LAYER(down_bias)},
};
/* clang-format on */
enum { ROWS = sizeof glia_fused_table / sizeof *glia_fused_table };
const size_t glia_fused_rows = ROWS;

/* How many of `f` a rank holds in a layer, or of the model. */
static int count(const glia_fused *f, const glia_weights *w) {
    const bool cp = w->parallel.cp_degree > 1;
    if (f->weight[0] == W_HEAD) return !w->shares_head;
    if (!glia_spec_has(w->spec, w->config, f->weight[0])) return 0;
    switch (f->hold) {
    case HOLD_OWN: return 1;
    case HOLD_WITHOUT_CP: return !cp;
    case HOLD_UNION: return cp;
    case HOLD_SHARDS: return cp ? w->local.cp : 0;
    }
    return 0;
}

const glia_fused *glia_fused_find(const glia_weights *w, glia_weight_id id) {
    for (const glia_fused *f = glia_fused_table; f < glia_fused_table + ROWS; f++)
        for (int i = 0; i < f->n_weights; i++)
            if (f->weight[i] == id && count(f, w)) return f;
    return NULL;
}

bool glia_held_next(glia_held *h, const glia_weights *w) {
    const glia_fused *const end = glia_fused_table + ROWS;
    if (h->fused)
        h->shard++;
    else
        h->fused = glia_fused_table;
    while (h->shard >= count(h->fused, w)) {
        h->shard = 0;
        if (++h->fused < end) continue;
        if (++h->layer >= w->config->layers) return false;
        for (h->fused = glia_fused_table; !glia_is_of_layer(h->fused->weight[0]);) h->fused++;
    }
    return true;
}

void glia_held_shards(glia_shard *rows, glia_shard *cols, const glia_held *h, int i, const glia_weights *w) {
    const glia_fused *f = h->fused;
    const glia_weight_id id = f->weight[i];
    glia_parallel p = w->parallel;
    if (f->hold == HOLD_SHARDS) p.rank += h->shard - w->local.shard;
    if (f->hold == HOLD_UNION) {
        p.rank = glia_cp_union_rank(p.rank, p.cp_degree);
        p.tp /= p.cp_degree;
    }
    const glia_weight_spec *spec = id == W_HEAD ? &glia_output_head : glia_spec_row(w->spec, w->config, id);
    assert(spec); /* a config has all weights of a row or none */
    glia_spec_shards(rows, cols, spec, w->config, &p,
                     f->hold == HOLD_UNION ? &w->local.kv_cut : &w->local.cut);
}

int glia_held_copies(const glia_held *h, const glia_weights *w) {
    return h->fused->hold == HOLD_SHARDS  ? w->local.cp
           : h->fused->hold == HOLD_UNION ? w->parallel.cp_degree
                                          : 1;
}

void glia_held_of_rank(size_t *rows, size_t *cols, glia_weight_id id, const glia_weights *w) {
    glia_shard r, c;
    const glia_held h = {.fused = glia_fused_find(w, id)};
    int i = 0;
    while (h.fused->weight[i] != id) i++;
    glia_held_shards(&r, &c, &h, i, w);
    const size_t n = (size_t)count(h.fused, w);
    *rows = glia_shard_size(&r) * (c.kind == GLIA_SHARD_ALL ? n : 1);
    *cols = glia_shard_size(&c) * (c.kind == GLIA_SHARD_ALL ? 1 : n);
}

static size_t gcd(size_t a, size_t b) {
    while (b) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Groups of `group` columns of a weight, as all ranks can have them of their columns: a power of two. */
static size_t cut_group(glia_shard cols, size_t group) {
    group = gcd(group, GLIA_GROUP_MAX);
    if (cols.kind == GLIA_SHARD_ALL) return group;
    for (cols.rank = 0; cols.rank < cols.ranks; cols.rank++)
        for (glia_slice s = {0}; glia_shard_next(&cols, &s);) group = gcd(gcd(group, s.from), s.to);
    return group;
}

/* Elements that a rank has of its columns if those of a group are filled up to GLIA_GROUP_UNIT: the most of
 * all ranks. */
static size_t filled_up(glia_shard cols, size_t group) {
    enum { UNIT = GLIA_GROUP_UNIT };
    size_t most = UNIT;
    for (cols.rank = 0; cols.rank < cols.ranks; cols.rank++) {
        size_t sum = 0, n = 0, last = SIZE_MAX;
        for (size_t i = 0; i < glia_shard_size(&cols); i++) {
            const ptrdiff_t from = glia_shard_source(&cols, i);
            if (from < 0) continue;
            if ((size_t)from / group != last) {
                sum += (n + UNIT - 1) / UNIT * UNIT;
                n = 0;
                last = (size_t)from / group;
            }
            n++;
        }
        sum += (n + UNIT - 1) / UNIT * UNIT;
        if (sum > most) most = sum;
    }
    return most;
}

/* The same if the columns of a group may be anywhere: no less than any rank has. */
static size_t filled_up_anyhow(const glia_shard *cols, size_t group) {
    enum { UNIT = GLIA_GROUP_UNIT };
    const size_t n = glia_shard_size(cols), groups = (cols->n + group - 1) / group;
    return (n + (groups < n ? groups : n) * (UNIT - 1) + UNIT - 1) / UNIT * UNIT;
}

/* Set the groups of a grouped matrix, whose rows the rank holds as `cols` says. */
static void set_groups(glia_matrix *m, const glia_matrix_form *form, const glia_shard *cols, bool stored) {
    enum { LEAST = GLIA_GROUP_UNIT / 2 };
    const size_t group = (size_t)form->group;
    m->zeros = form->zeros;
    m->whole = group == 0;
    m->group = group == 0 ? GLIA_GROUP_MAX : cut_group(*cols, group);
    if (m->whole || (!form->ordered_k && m->group >= LEAST)) return;
    if (!stored) { /* a rank quantises the columns that it has */
        m->group = group;
        return;
    }
    m->inputs = m->k;
    m->group = GLIA_GROUP_UNIT;
    if (!form->ordered_k) {
        m->k = filled_up(*cols, group);
    } else if (cols->kind == GLIA_SHARD_ALL) {
        m->k = (size_t)form->ordered_k;
        m->group = (size_t)form->ordered_group;
    } else {
        m->k = filled_up_anyhow(cols, group);
    }
}

glia_matrix glia_held_shape(const glia_held *h, const glia_weights *w) {
    const glia_fused *f = h->fused;
    glia_matrix m = {.format = glia_fused_is_vector(f) ? GLIA_WEIGHT_F32 : glia_weight_format_of(w->dtype)};
    glia_shard rows, cols;
    for (int i = 0; i < f->n_weights; i++) {
        glia_held_shards(&rows, &cols, h, i, w);
        const size_t n = glia_shard_size(&rows);
        m.columns += f->alternate ? glia_swiglu_columns(n) : n;
        m.k = glia_shard_size(&cols);
    }
    if (!glia_quantizes(w->quantize, h->layer, f->product)) return m;
    const glia_matrix_form form = glia_quantize_form(w->quantize, h->layer, f->product);
    m.format = form.format;
    m.quantize_rows = form.quantize_rows;
    m.rows = form.rows;
    if (glia_is_grouped(m.format)) set_groups(&m, &form, &cols, w->quantize->method != NULL);
    if (w->quantize->rotate && (!glia_is_grouped(m.format) || m.format == GLIA_WEIGHT_C4))
        m.rotate = glia_rotate_block(m.k);
    return m;
}

size_t glia_held_rotation(glia_weight_id id, int layer, const glia_weights *w) {
    const glia_held h = {.fused = glia_fused_find(w, id), .layer = layer};
    return glia_held_shape(&h, w).rotate;
}

size_t glia_held_bytes(const glia_held *h, const glia_weights *w) {
    const glia_matrix m = glia_held_shape(h, w);
    return glia_fused_is_vector(h->fused) ? w->device->columns(m.columns) * sizeof(float)
                                          : w->device->matrix_bytes(&m);
}

static const void *member(const glia_held *h, const glia_weights *w) {
    return (glia_is_of_layer(h->fused->weight[0]) ? (const char *)&w->layer[h->layer] : (const char *)w) +
           h->fused->offset;
}

void glia_held_bind(const glia_held *h, glia_weights *w, const glia_matrix *m) {
    void *to = (void *)(uintptr_t)member(h, w); /* w is ours to write */
    if (glia_fused_is_vector(h->fused))
        ((const float **)to)[h->shard] = m->data;
    else
        ((glia_matrix *)to)[h->shard] = *m;
}

const glia_matrix *glia_held_matrix(const glia_held *h, const glia_weights *w) {
    return glia_fused_is_vector(h->fused) ? NULL : (const glia_matrix *)member(h, w) + h->shard;
}
const float *glia_held_vector(const glia_held *h, const glia_weights *w) {
    return glia_fused_is_vector(h->fused) ? ((const float *const *)member(h, w))[h->shard] : NULL;
}
