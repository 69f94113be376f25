/* adapter_pack.c - see adapter_pack.h. */
#include "model/adapter_pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/fused.h"

struct glia_packed_adapter {
    char *memory;
    size_t bytes;
    glia_lora *lora;    /* [slots] pointers point into memory */
    const float **norm; /* [norms] */
    glia_embed_change embed;
};

/* ---- slots: the matrices and norms of a rank that adapters change ------------- */

/* Members of glia_layer_places for the rows of glia_fused_table. */
static const struct {
    glia_weight_id id; /* the first weight of the row */
    glia_hold hold;
    size_t at;
} members[] = {
    {W_Q, HOLD_WITHOUT_CP, offsetof(glia_layer_places, qkv)},
    {W_Q, HOLD_SHARDS, offsetof(glia_layer_places, q_shard)},
    {W_K, HOLD_UNION, offsetof(glia_layer_places, kv)},
    {W_O, HOLD_WITHOUT_CP, offsetof(glia_layer_places, o)},
    {W_O, HOLD_SHARDS, offsetof(glia_layer_places, o_shard)},
    {W_GATE, HOLD_OWN, offsetof(glia_layer_places, gate_up)},
    {W_DOWN, HOLD_OWN, offsetof(glia_layer_places, down)},
};
enum { MEMBERS = sizeof members / sizeof *members };

/* A matrix in a layer, or the head. */
typedef struct {
    glia_held held;
    bool head;
    size_t at; /* offset of the member of glia_layer_places */
} slot;

/* Visit all matrices: zero *s, then call until false. The head comes first, whether or not it is the
 * embedding. */
static bool next_slot(slot *s, const glia_weights *w) {
    if (!s->held.fused) {
        s->head = true;
        s->held.fused = glia_fused_table + 1;
        assert(s->held.fused->weight[0] == W_HEAD);
        return true;
    }
    if (s->head) s->held = (glia_held){0};
    s->head = false;
    while (glia_held_next(&s->held, w))
        for (int i = 0; i < MEMBERS; i++)
            if (members[i].id == s->held.fused->weight[0] && members[i].hold == s->held.fused->hold) {
                s->at = members[i].at + (size_t)s->held.shard * sizeof(const glia_lora *);
                return true;
            }
    return false;
}

static size_t count_slots(const glia_weights *w) {
    size_t n = 0;
    for (slot s = {0}; next_slot(&s, w);) n++;
    return n;
}

/* Norms: those of each layer, then the last one. */
static const glia_weight_id layer_norms[] = {W_IN_NORM, W_POST_NORM, W_Q_NORM, W_K_NORM};
enum { NORMS = sizeof layer_norms / sizeof *layer_norms };
static size_t count_norms(const glia_weights *w) { return NORMS * (size_t)w->config->layers + 1; }
static const glia_change *norm_change(const glia_adapter *a, size_t i) {
    const int layer = (int)(i / NORMS);
    if (layer == a->config->layers) return glia_adapter_change(a, 0, W_FINAL_NORM);
    return glia_adapter_change(a, layer, layer_norms[i % NORMS]);
}
/* Elements of a norm, and the floats that it takes. */
static size_t norm_size(const glia_weights *w, size_t i) {
    const bool of_head = i + 1 < count_norms(w) && i % NORMS >= 2;
    return (size_t)(of_head ? w->config->head_dim : w->config->hidden);
}
static size_t norm_floats(const glia_weights *w, size_t i) { return w->device->columns(norm_size(w, i)); }

/* ---- memory ----------------------------------------------------------------- */

/* Hands out pieces of memory; with base NULL it only counts bytes. */
typedef struct {
    char *base;
    size_t used;
} carver;

static void *carve(carver *c, size_t bytes) {
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN;
    return p;
}

typedef struct {
    const glia_adapter *a;
    const glia_weights *w;
    const glia_device *device;
    carver at;
    float *row, *cut,
        *spare; /* a row of the longest weight; the rank's columns of GLIA_SWIGLU_GROUP; of one */
} packer;

/* Memory for a matrix; with data NULL while bytes are counted. */
static void carve_matrix(packer *p, glia_matrix *m) {
    m->data = carve(&p->at, p->w->device->matrix_bytes(m));
}

/* ---- numbers ---------------------------------------------------------------- */

/* y [shard's size] = the elements of row x that the shard holds. */
static void cut_row(float *y, const float *x, const glia_shard *cols) {
    memset(y, 0, glia_shard_size(cols) * sizeof *y);
    for (glia_slice s = {0}; glia_shard_next(cols, &s);) memcpy(y + s.to, x + s.from, s.n * sizeof *y);
}

/* Writes row `row` of something [.., n] to y. */
typedef void row_fn(packer *p, const glia_change *c, const void *how, size_t row, float *y);

/* Pack a matrix whose column i is row(i). */
static void pack(packer *p, const glia_matrix *m, const glia_change *c, const void *how, row_fn *row) {
    enum { N = GLIA_SWIGLU_GROUP };
    float *lanes = p->cut;
    for (size_t first = 0; first < m->columns; first += N) {
        const void *rows[N] = {0};
        const float scales[N] = {0};
        for (size_t i = 0; i < N && first + i < m->columns; i++) {
            row(p, c, how, first + i, lanes + i * m->k);
            rows[i] = lanes + i * m->k;
        }
        p->w->device->pack(p->device, m, first, rows, GLIA_DTYPE_F32, scales);
    }
}

/* Where a part's columns are among those of the matrix, and which of the model's rows and columns they are.
 */
typedef struct {
    glia_shard rows, cols;
    size_t first, lead; /* the part's first column of the matrix, and columns of its first group before it */
    bool alternate;
    int number;
    size_t rotate, k;     /* k: columns that are multiplied */
    const int32_t *order; /* [k] of a matrix that reorders its rows (set_codes()), or NULL */
} place_of_part;

static size_t column_of(const place_of_part *q, size_t i) {
    enum { N = GLIA_SWIGLU_GROUP };
    return q->alternate ? (i / N * 2 + (size_t)q->number) * N + i % N : q->first + i;
}

static void finish_row(packer *p, const place_of_part *q, const float *whole, float *y) {
    cut_row(q->order ? p->spare : y, whole, &q->cols);
    for (size_t i = 0; q->order && i < q->k; i++) y[i] = q->order[i] < 0 ? 0 : p->spare[q->order[i]];
    if (q->rotate > 1) p->w->device->rotate(p->device, y, glia_shard_size(&q->cols), q->rotate);
}

static void row_of_a(packer *p, const glia_change *c, const void *how, size_t row, float *y) {
    const place_of_part *q = how;
    glia_change_a(c, row, q->cols.n, p->row);
    finish_row(p, q, p->row, y);
}

/* The model's row that is column i of a part with its lead, or -1. */
static ptrdiff_t source_of(const place_of_part *q, size_t i) {
    return i < q->lead ? -1 : glia_shard_source(&q->rows, i - q->lead);
}

static void row_of_b(packer *p, const glia_change *c, const void *how, size_t row, float *y) {
    const ptrdiff_t from = source_of(how, row);
    (void)p;
    if (from >= 0)
        glia_change_b(c, (size_t)from, y);
    else
        memset(y, 0, glia_change_rank(c) * sizeof *y);
}

static void row_of_whole(packer *p, const glia_change *c, const void *how, size_t row, float *y) {
    const place_of_part *q = how;
    const ptrdiff_t from = source_of(q, row);
    if (from < 0) {
        memset(y, 0, (q->order ? q->k : glia_shard_size(&q->cols)) * sizeof *y);
        return;
    }
    glia_tensor_floats(c->whole, (size_t)from * q->cols.n, q->cols.n, p->row);
    finish_row(p, q, p->row, y);
}

/* ---- a linear layer --------------------------------------------------------- */

static glia_weight_id bias_of(glia_weight_id id) {
    switch (id) {
    case W_Q: return W_Q_BIAS;
    case W_K: return W_K_BIAS;
    case W_V: return W_V_BIAS;
    case W_O: return W_O_BIAS;
    case W_GATE: return W_GATE_BIAS;
    case W_UP: return W_UP_BIAS;
    case W_DOWN: return W_DOWN_BIAS;
    default: return N_WEIGHTS;
    }
}

/* The rank's bias of the layer, as the matrix has its columns; NULL: the model has none. */
static const float *own_bias(const glia_weights *w, const slot *s, glia_weight_id id) {
    const glia_weight_id bias = bias_of(id);
    if (bias == N_WEIGHTS || !w->layer || !glia_spec_has(w->spec, w->config, bias)) return NULL;
    const glia_held h = {.fused = glia_fused_find(w, bias), .layer = s->held.layer, .shard = s->held.shard};
    return glia_held_vector(&h, w);
}

/* Ranks add up the products of o and down: one of them adds the bias. */
static bool adds_bias(const glia_weights *w, const slot *s) {
    const glia_weight_id id = s->held.fused->weight[0];
    return (id != W_O && id != W_DOWN) || (w->parallel.rank / w->local.cp == 0 && s->held.shard == 0);
}

static void fill_bias(packer *p, const slot *s, const place_of_part *q, glia_weight_id id,
                      const glia_change *c, float *to) {
    const float *own = own_bias(p->w, s, id);
    for (size_t i = 0; i < glia_shard_size(&q->rows); i++) {
        const ptrdiff_t from = glia_shard_source(&q->rows, i);
        const size_t column = column_of(q, i);
        float new = 0;
        if (from < 0) continue;
        if (c->bias) glia_tensor_floats(c->bias, (size_t)from, 1, &new);
        if (c->bias) to[column] = new - (own ? own[column] : 0.0f);
        if (c->b_bias) glia_tensor_floats(c->b_bias, (size_t)from, 1, &new);
        if (c->b_bias) to[column] += (float)c->scale * new;
    }
}

static void fill_factor(const place_of_part *q, const glia_change *c, float *to) {
    for (size_t i = 0; i < glia_shard_size(&q->rows); i++) {
        const ptrdiff_t from = glia_shard_source(&q->rows, i);
        if (from >= 0) to[column_of(q, i)] = c->factor[from];
    }
}

static void pack_part(packer *p, const glia_matrix *m, const glia_change *c, const place_of_part *q,
                      glia_lora *l) {
    const size_t columns = q->lead + glia_shard_size(&q->rows), r = glia_change_rank(c);
    glia_lora_part *part = &l->part[l->n_parts++];
    *part = (glia_lora_part){.group = q->alternate ? (size_t)q->number : q->first / GLIA_SWIGLU_GROUP,
                             .step = q->alternate ? 2 : 1,
                             .scale = (float)glia_change_scale(c),
                             .from = q->lead,
                             .to = columns};
    for (const glia_lora_part *b = l->part; b < part; b++) part->at += glia_lora_columns(b->down.columns);
    if (r) {
        part->down = glia_lora_matrix(m, p->w->dtype, r, m->k);
        part->up = (glia_matrix){.format = part->down.format, .columns = columns, .k = r};
        carve_matrix(p, &part->down);
        carve_matrix(p, &part->up);
    }
    if (c->whole) {
        part->whole = glia_lora_matrix(m, p->w->dtype, columns, m->k);
        carve_matrix(p, &part->whole);
    }
    if (!p->at.base) return;
    if (r) pack(p, &part->down, c, q, row_of_a);
    if (r) pack(p, &part->up, c, q, row_of_b);
    if (c->whole) pack(p, &part->whole, c, q, row_of_whole);
}

/* Pack what the adapter changes of one matrix. */
static void pack_slot(packer *p, const slot *s, glia_lora *l) {
    const glia_fused *f = s->held.fused;
    const glia_matrix m = glia_held_shape(&s->held, p->w);
    const size_t columns = p->w->device->columns(m.columns);
    size_t first = 0;
    bool factor = false, bias = false;
    *l = (glia_lora){0};
    for (int i = 0; i < f->n_weights; i++) {
        const glia_change *c = glia_adapter_change(p->a, s->held.layer, f->weight[i]);
        factor |= c->factor != NULL;
        bias |= c->bias || c->b_bias;
    }
    float *factors = factor ? carve(&p->at, columns * sizeof *factors) : NULL;
    float *biases = bias && adds_bias(p->w, s) ? carve(&p->at, columns * sizeof *biases) : NULL;
    for (size_t i = 0; factors && i < columns; i++) factors[i] = 1;
    for (int i = 0; i < f->n_weights; i++) {
        const glia_change *c = glia_adapter_change(p->a, s->held.layer, f->weight[i]);
        place_of_part q = {.first = first, .alternate = f->alternate, .number = i};
        q.lead = f->alternate ? 0 : first % GLIA_SWIGLU_GROUP;
        glia_held_shards(&q.rows, &q.cols, &s->held, i, p->w);
        q.rotate = glia_lora_matrix(&m, p->w->dtype, 1, 1).rotate;
        q.k = m.k;
        if (m.inputs && p->at.base) q.order = p->w->device->order(glia_held_matrix(&s->held, p->w));
        first += glia_shard_size(&q.rows);
        if (glia_change_rank(c) || c->whole) pack_part(p, &m, c, &q, l);
        if (factors && c->factor) fill_factor(&q, c, factors);
        if (biases && (c->bias || c->b_bias)) fill_bias(p, s, &q, f->weight[i], c, biases);
    }
    l->factor = factors;
    l->bias = biases;
}

/* ---- the embedding and norms ------------------------------------------------ */

static void row_of_embed(packer *p, const glia_change *c, const void *how, size_t row, float *y) {
    row_of_whole(p, c, how, row, y);
}

static void fill_embed(const glia_change *c, const place_of_part *q, glia_embed_change *e) {
    const size_t vocab = glia_shard_size(&q->rows), hidden = glia_shard_size(&q->cols), r = e->r;
    float *a = (float *)(uintptr_t)e->a, *b = (float *)(uintptr_t)e->b, *delta = (float *)(uintptr_t)e->delta;
    for (size_t j = 0; j < r; j++)
        for (size_t i = 0; i < vocab; i++) {
            const ptrdiff_t from = glia_shard_source(&q->rows, i);
            a[i * r + j] = 0;
            if (from >= 0) glia_tensor_floats(c->a, j * q->rows.n + (size_t)from, 1, &a[i * r + j]);
        }
    for (size_t i = 0; r && i < hidden; i++) {
        const ptrdiff_t from = glia_shard_source(&q->cols, i);
        float row[1];
        for (size_t j = 0; j < r; j++) {
            row[0] = 0;
            if (from >= 0) glia_tensor_floats(c->b, (size_t)from * r + j, 1, row);
            b[j * hidden + i] = (float)c->scale * row[0];
        }
    }
    if (c->factor) cut_row((float *)(uintptr_t)e->factor, c->factor, &q->cols);
    for (int i = 0; i < e->n_tokens; i++) {
        ((int32_t *)(uintptr_t)e->token)[i] = c->token[i];
        cut_row(delta + (size_t)i * hidden, c->delta + (size_t)i * q->cols.n, &q->cols);
    }
}

static void pack_embed(packer *p, glia_embed_change *e) {
    const glia_change *c = glia_adapter_change(p->a, 0, W_EMBED);
    const glia_held h = {.fused = glia_fused_table};
    const glia_matrix m = glia_held_shape(&h, p->w);
    place_of_part q = {0};
    *e = (glia_embed_change){0};
    if (!glia_change_is(c)) return;
    glia_held_shards(&q.rows, &q.cols, &h, 0, p->w);
    const size_t vocab = glia_shard_size(&q.rows), hidden = glia_shard_size(&q.cols);
    *e = (glia_embed_change){.r = (size_t)c->r, .hidden = hidden, .n_tokens = c->n_tokens};
    if (c->r) {
        e->a = carve(&p->at, vocab * e->r * sizeof(float));
        e->b = carve(&p->at, hidden * e->r * sizeof(float));
    }
    if (c->factor) e->factor = carve(&p->at, hidden * sizeof(float));
    if (c->n_tokens) {
        e->token = carve(&p->at, (size_t)c->n_tokens * sizeof(int32_t));
        e->delta = carve(&p->at, (size_t)c->n_tokens * hidden * sizeof(float));
    }
    if (c->whole) {
        e->whole = (glia_matrix){
            .format = glia_lora_matrix(&m, p->w->dtype, 1, 1).format, .columns = m.columns, .k = m.k};
        carve_matrix(p, &e->whole);
    }
    if (!p->at.base) return;
    if (c->whole) pack(p, &e->whole, c, &q, row_of_embed);
    fill_embed(c, &q, e);
}

/* ---- an adapter ------------------------------------------------------------- */

/* Lay out and, if there is memory, pack everything. Returns the bytes. */
static size_t pack_all(packer *p, glia_packed_adapter *out) {
    size_t i = 0;
    for (slot s = {0}; next_slot(&s, p->w); i++) pack_slot(p, &s, &out->lora[i]);
    pack_embed(p, &out->embed);
    for (i = 0; i < count_norms(p->w); i++) {
        const glia_change *c = norm_change(p->a, i);
        float *norm = c->whole ? carve(&p->at, norm_floats(p->w, i) * sizeof *norm) : NULL;
        if (norm) glia_tensor_floats(c->whole, 0, norm_size(p->w, i), norm);
        out->norm[i] = norm;
    }
    return p->at.used;
}

static size_t longest(const glia_adapter *a, const glia_weights *w) {
    const glia_model_config *c = a->config;
    size_t n = (size_t)glia_dim_of(c, D_FFN);
    if (n < (size_t)glia_dim_of(c, D_Q)) n = (size_t)glia_dim_of(c, D_Q);
    if (n < (size_t)c->hidden) n = (size_t)c->hidden;
    for (slot s = {0}; next_slot(&s, w);) { /* a matrix that reorders its rows may have a longer k */
        const size_t k = glia_held_shape(&s.held, w).k;
        if (n < k) n = k;
    }
    return n < (size_t)a->rank ? (size_t)a->rank : n;
}

static glia_status pack_on(glia_packed_adapter *out, packer *p, unsigned cpu_flags, glia_err *err) {
    const glia_weights *w = p->w;
    const size_t slots = count_slots(w), norms = count_norms(w), n = longest(p->a, w) + 64;
    glia_team *team = NULL;
    glia_device *device = NULL;
    out->lora = calloc(slots, sizeof *out->lora);
    out->norm = calloc(norms, sizeof *out->norm);
    p->row = malloc((GLIA_SWIGLU_GROUP + 2) * n * sizeof *p->row);
    p->spare = p->row + n;
    p->cut = p->row + 2 * n;
    glia_status status =
        out->lora && out->norm && p->row ? GLIA_OK : glia_fail_nomem(err, n * sizeof *p->row, "an adapter");
    if (!status) {
        out->bytes = pack_all(p, out);
        out->memory = aligned_alloc(GLIA_ALIGN, out->bytes + GLIA_ALIGN);
        if (!out->memory) status = glia_fail_nomem(err, out->bytes, "an adapter");
    }
    if (!status) status = glia_team_create(&team, 1, err);
    if (!status) status = w->device->open(&device, team, cpu_flags, NULL, NULL, 0, err);
    if (!status) {
        memset(out->memory, 0, out->bytes);
        p->device = device;
        p->at = (carver){.base = out->memory};
        pack_all(p, out);
    }
    if (device) w->device->close(device);
    if (team) glia_team_free(team);
    free(p->row);
    return status;
}

glia_status glia_adapter_pack(glia_packed_adapter **out, const glia_adapter *a, const glia_weights *w,
                              unsigned cpu_flags, glia_err *err) {
    packer p = {.a = a, .w = w};
    *out = NULL;
    if (!w->device->host_memory)
        return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                         "adapters need a device whose memory is the host's, not %s", w->device->name);
    glia_packed_adapter *packed = calloc(1, sizeof *packed);
    if (!packed) return glia_fail_nomem(err, sizeof *packed, "an adapter");
    const glia_status status = pack_on(packed, &p, cpu_flags, err);
    if (status)
        glia_packed_adapter_free(packed);
    else
        *out = packed;
    return status;
}

size_t glia_adapter_bytes(const glia_adapter *a, const glia_weights *w) {
    glia_packed_adapter sketch = {.lora = calloc(count_slots(w), sizeof(glia_lora)),
                                  .norm = calloc(count_norms(w), sizeof(float *))};
    packer p = {.a = a, .w = w};
    const size_t bytes = sketch.lora && sketch.norm ? pack_all(&p, &sketch) : SIZE_MAX;
    free(sketch.lora);
    free(sketch.norm);
    return bytes;
}

void glia_packed_adapter_free(glia_packed_adapter *p) {
    if (!p) return;
    free(p->memory);
    free(p->lora);
    free(p->norm);
    free(p);
}

size_t glia_packed_adapter_bytes(const glia_packed_adapter *p) { return p->bytes; }

size_t glia_place_bytes(const glia_weights *w, int rank) {
    carver at = {0};
    const size_t r = (size_t)rank;
    for (slot s = {0}; next_slot(&s, w);) {
        if (s.head) continue;
        const glia_matrix m = glia_held_shape(&s.held, w);
        const glia_matrix down = glia_lora_matrix(&m, w->dtype, r, m.k);
        carve(&at, w->device->columns(m.columns) * sizeof(float));
        carve(&at, w->device->columns(m.columns) * sizeof(float));
        for (int i = 0; i < s.held.fused->n_weights; i++) {
            glia_shard rows, cols;
            glia_held_shards(&rows, &cols, &s.held, i, w);
            const glia_matrix up = {
                .format = down.format, .columns = glia_shard_size(&rows) + GLIA_SWIGLU_GROUP, .k = r};
            carve(&at, w->device->matrix_bytes(&down));
            carve(&at, w->device->matrix_bytes(&up));
        }
    }
    for (size_t i = 0; i < count_norms(w); i++) carve(&at, norm_floats(w, i) * sizeof(float));
    return at.used;
}

/* ---- places ----------------------------------------------------------------- */

glia_status glia_places_open(glia_places_memory *p, const glia_weights *w, const glia_place_limits *l,
                             void *memory, glia_err *err) {
    const size_t slots = count_slots(w), norms = count_norms(w), n = (size_t)l->places;
    *p = (glia_places_memory){.n = l->places, .bytes = l->bytes, .memory = memory, .w = w};
    if (!n) return GLIA_OK;
    p->layer = calloc((size_t)w->config->layers, sizeof *p->layer);
    p->lora = calloc(slots * n, sizeof *p->lora);
    p->norm = calloc(norms * n, sizeof *p->norm);
    p->changes = calloc(n, sizeof *p->changes);
    if (!p->layer || !p->lora || !p->norm || !p->changes) {
        glia_places_close(p);
        return glia_fail_nomem(err, slots * n * sizeof *p->lora, "places of adapters");
    }
    size_t i = 0;
    for (slot s = {0}; next_slot(&s, w); i++) {
        const glia_lora *list = p->lora + i * n;
        if (s.head)
            p->head = list;
        else
            memcpy((char *)&p->layer[s.held.layer] + s.at, &list, sizeof list);
    }
    for (int k = 0; k < w->config->layers; k++) {
        const float **const own = p->norm + NORMS * (size_t)k * n; /* in the order of layer_norms */
        p->layer[k].in_norm = own;
        p->layer[k].post_norm = own + n;
        p->layer[k].q_norm = own + 2 * n;
        p->layer[k].k_norm = own + 3 * n;
    }
    p->final_norm = p->norm + (norms - 1) * n;
    p->embed = p->changes;
    return GLIA_OK;
}

void glia_places_close(glia_places_memory *p) {
    free(p->layer);
    free(p->lora);
    free(p->norm);
    free(p->changes);
    *p = (glia_places_memory){0};
}

/* The address in a place of what a packed adapter has at `at`. */
static void *moved(char *to, const glia_packed_adapter *a, const void *at) {
    return at ? to + ((const char *)at - a->memory) : NULL;
}

static void move_lora(glia_lora *l, char *to, const glia_packed_adapter *a) {
    for (glia_lora_part *p = l->part; p < l->part + l->n_parts; p++) {
        p->down.data = moved(to, a, p->down.data);
        p->up.data = moved(to, a, p->up.data);
        p->whole.data = moved(to, a, p->whole.data);
    }
    l->factor = moved(to, a, l->factor);
    l->bias = moved(to, a, l->bias);
}

void glia_places_put(glia_places_memory *p, int place, const glia_packed_adapter *a) {
    const size_t slots = count_slots(p->w), norms = count_norms(p->w), n = (size_t)p->n, at = (size_t)place;
    char *to = p->memory + at * p->bytes;
    assert(!a || a->bytes <= p->bytes);
    if (a) p->w->device->upload(to, a->memory, a->bytes);
    for (size_t i = 0; i < slots; i++) {
        p->lora[i * n + at] = a ? a->lora[i] : (glia_lora){0};
        if (a) move_lora(&p->lora[i * n + at], to, a);
    }
    for (size_t i = 0; i < norms; i++) p->norm[i * n + at] = a ? moved(to, a, a->norm[i]) : NULL;
    glia_embed_change *e = &p->changes[at];
    *e = a ? a->embed : (glia_embed_change){0};
    if (!a) return;
    e->a = moved(to, a, e->a);
    e->b = moved(to, a, e->b);
    e->factor = moved(to, a, e->factor);
    e->token = moved(to, a, e->token);
    e->delta = moved(to, a, e->delta);
    e->whole.data = moved(to, a, e->whole.data);
}
