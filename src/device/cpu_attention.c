/* cpu_attention.c - q/k norm, RoPE, the cache and attention over it, as one operation.
 *
 * Each span of 1,024 positions is added up from zero, and the spans are merged in
 * order. A span begins at an absolute position, so the additions of a query are the
 * same for one query or five hundred, a chunk or a decoded token, a cached prefix or
 * a new one, one thread or many. A span that a query does not see changes no bit of
 * the query's state. A row of a drafted tree sees copies of its ancestors at the
 * positions that they have if they are accepted.
 *
 * A unit of work is a group of rows of one sequence and one KV head; the unit's
 * queries share each load of K and V. Units are laid end to end on a line, weighted
 * by cost, and each thread takes an equal stretch of the line. A unit of few queries
 * may be cut between two spans: the thread of its first span merges the states that
 * the other threads computed. */
#include "device/cpu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    SPLIT_QUERIES = 16, /* units of at most so many queries may be cut between threads */
    AHEAD_ROWS = 2,     /* prefetch distance */
};

size_t glia_cpu_kv_block_bytes(const glia_kv_layer *kv) {
    return (size_t)kv->kv_heads * (size_t)kv->block_size / GLIA_KV_TILE *
           glia_kv_tile_bytes(kv->dtype, (size_t)kv->head_dim);
}

/* The tile of (block, head) that holds position `at` of the block. */
static char *tile_of(const glia_kv_layer *kv, int block, int head, int at) {
    const size_t tiles = (size_t)kv->block_size / GLIA_KV_TILE;
    return kv->base + (size_t)block * glia_cpu_kv_block_bytes(kv) +
           ((size_t)head * tiles + (size_t)(at / GLIA_KV_TILE)) *
               glia_kv_tile_bytes(kv->dtype, (size_t)kv->head_dim);
}

/* The number of positions in [0, n) whose keys this rank holds. Held positions are numbered from 0 on. */
static int held(const glia_kv_layer *kv, int n) {
    return kv->members == 1 ? n
                            : (int)glia_stripe_count((size_t)n, (size_t)kv->unit, kv->member, kv->members);
}

static bool is_held(const glia_kv_layer *kv, int slot) {
    return slot >= kv->tree_slot ||
           glia_stripe_owner((size_t)slot, (size_t)kv->unit, kv->members) == kv->member;
}

/* The tile of `position`, which this rank holds. */
static char *tile_of_position(const glia_kv_layer *kv, const glia_rows *rows, int row, int head,
                              int position) {
    const int32_t *table = rows->block_table + (size_t)rows->seq[row] * (size_t)rows->max_blocks;
    return tile_of(kv, table[position / kv->block_size] / kv->members, head, position % kv->block_size);
}

/* The i-th position that this rank holds. The positions of a tile are consecutive. */
static int position_of(const glia_kv_layer *kv, int i) {
    return kv->members == 1 ? i : (int)glia_stripe_item((size_t)i, (size_t)kv->unit, kv->member, kv->members);
}

/* The tile of the i-th position that this rank holds. */
static char *tile_of_held(const glia_kv_layer *kv, const glia_rows *rows, int row, int head, int i) {
    return tile_of_position(kv, rows, row, head, position_of(kv, i));
}

/* All arguments of one call, and this thread's workspace, cut from its scratch. */
typedef struct {
    const glia_cpu_device *d;
    const glia_rows *rows;
    const glia_heads *h;
    const glia_kv_layer *kv;
    const glia_qkv *x;
    const glia_attended *out;
    glia_layout q_layout, kv_layout, o_layout;
    size_t hd, group;
    size_t rotation;          /* the block in which q and k are rotated after RoPE; 1: they are not */
    float *q;                 /* [queries, head_dim] */
    glia_softmax total, part; /* the states of all spans so far; of one span */
    char *tiles;              /* copies of tiles for a row of a tree */
    char *wide;               /* a span's tiles of an int8 cache, widened */
    int32_t *chain;           /* the rows from a tree row's first ancestor to the row itself */
} context;

/* The bias that the cache's keys are without, or NULL. It moves some dimensions of k far from zero, so int8
 * loses the others. */
static const float *k_bias(const glia_heads *h, const glia_kv_layer *kv) {
    return kv->dtype == GLIA_DTYPE_I8 ? h->k_bias : NULL;
}

/* Without such a bias, a rotation of k spreads its few large dimensions over all before k becomes int8. The
 * same rotation of q keeps q . k. */
static size_t rotation(const glia_heads *h, const glia_kv_layer *kv) {
    return kv->dtype == GLIA_DTYPE_I8 && !h->k_bias ? glia_rotate_block((size_t)h->head_dim) : 1;
}

/* The norm of row r: `own`, or that of its adapter. */
static const float *norm_of(const float *own, const float *const *changed, const glia_rows *rows, int r) {
    const int place = changed && rows->adapter ? rows->adapter[r] - 1 : -1;
    return place >= 0 && changed[place] ? changed[place] : own;
}

/* Norm one head of a row at `position`, apply RoPE, and rotate it if keys are rotated, in place. `norm` NULL:
 * without the norm. */
static void norm_rotate(const context *c, float *x, const float *norm, int position) {
    const size_t angle = (size_t)position * (c->hd / 2);
    if (norm) c->d->k.rmsnorm(x, x, norm, c->hd, c->h->eps);
    if (c->h->cos) c->d->k.rope(x, c->h->cos + angle, c->h->sin + angle, c->hd);
    if (c->rotation > 1) c->d->k.rotate(x, x, 64, GLIA_DTYPE_F32, c->hd, c->rotation);
}

/* Copy the head that begins at `column` of row r of x to `to`. Prefetch the same head AHEAD_ROWS rows later:
 * the rows are too far apart for the hardware's prefetcher. */
static void take_head(const context *c, float *to, const float *x, glia_layout layout, int r, size_t column) {
    enum { STEP = 32 };
    const float *row = x + (size_t)r * layout.ld;
    for (size_t end = column + c->hd, n; column < end; column += n, to += n) {
        const float *from = row + column / STEP * layout.step + column % STEP;
        n = STEP - column % STEP < end - column ? STEP - column % STEP : end - column;
        if (n == STEP)
            memcpy(to, from, STEP * sizeof *to); /* the constant size is inlined */
        else
            memcpy(to, from, n * sizeof *to);
        for (size_t i = 0; i < n; i += GLIA_PANEL) __builtin_prefetch(from + AHEAD_ROWS * layout.ld + i);
    }
}

/* Store key and value of row r and KV head `head` in the cache, if this rank holds the row's slot. */
static void store_kv(const context *c, const glia_rows *rows, int r, int head) {
    const size_t at = (size_t)head * c->hd;
    const int slot = rows->slot[r];
    const float *bias = k_bias(c->h, c->kv);
    float *k = c->q, *v = k + c->total.ldo;
    if (slot < 0 || !is_held(c->kv, slot)) return;
    take_head(c, k, c->x->kv.at, c->kv_layout, r, c->x->k + at);
    take_head(c, v, c->x->kv.at, c->kv_layout, r, c->x->v + at);
    for (size_t i = 0; bias && i < c->hd; i++) k[i] -= bias[at + i];
    norm_rotate(c, k, norm_of(c->h->k_norm, c->h->k_norms, rows, r), rows->position[r]);
    c->d->k.kv_store(tile_of_position(c->kv, rows, r, head, slot), c->kv->dtype, (size_t)slot % GLIA_KV_TILE,
                     k, v, c->hd);
}

/* ---- workspace ------------------------------------------------------------ */

static size_t aligned(size_t bytes) { return (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN; }
static size_t row_floats(size_t hd) { return glia_panels(hd) * GLIA_PANEL; }

/* Bytes of a softmax state of n queries. */
static size_t state_bytes(size_t n, size_t hd) {
    return 2 * aligned(n * sizeof(float)) + aligned(n * row_floats(hd) * sizeof(float));
}

static glia_softmax state_at(char *at, size_t n, size_t hd) {
    glia_softmax s = {.ldo = row_floats(hd)};
    s.m = (float *)(void *)at;
    s.l = (float *)(void *)(at + aligned(n * sizeof(float)));
    s.o = (float *)(void *)(at + 2 * aligned(n * sizeof(float)));
    return s;
}

static size_t tree_tiles(int max_rows) {
    const size_t tiles = (size_t)max_rows / GLIA_KV_TILE + 2;
    return tiles < GLIA_SPAN_TILES ? tiles : GLIA_SPAN_TILES;
}

/* Bytes of a span's widened tiles; 0 unless the cache holds int8. */
static size_t wide_bytes(glia_dtype dtype, size_t hd) {
    return dtype == GLIA_DTYPE_I8 ? GLIA_SPAN_TILES * glia_kv_tile_bytes(GLIA_DTYPE_F32, hd) : 0;
}

size_t glia_cpu_attention_scratch_bytes(const glia_device_shape *s) {
    const size_t hd = (size_t)s->head_dim, spans = (size_t)s->sequence_length / GLIA_SPAN + 1;
    return aligned(GLIA_QUERIES_MAX * row_floats(hd) * sizeof(float)) +
           2 * state_bytes(GLIA_QUERIES_MAX, hd) + wide_bytes(s->kv_dtype, hd) +
           tree_tiles(s->max_rows) * aligned(glia_kv_tile_bytes(s->kv_dtype, hd)) +
           aligned((size_t)s->max_rows * sizeof(int32_t)) + spans * state_bytes(SPLIT_QUERIES, hd);
}

static void cut_workspace(context *c, int thread) {
    const size_t n = GLIA_QUERIES_MAX;
    char *at = glia_scratch_of(c->d, thread);
    c->q = (float *)(void *)at;
    at += aligned(n * row_floats(c->hd) * sizeof(float));
    c->total = state_at(at, n, c->hd);
    c->part = state_at(at + state_bytes(n, c->hd), n, c->hd);
    at += 2 * state_bytes(n, c->hd);
    c->wide = at;
    at += wide_bytes(c->kv->dtype, c->hd);
    c->tiles = at;
    c->chain = (int32_t *)(void *)(at + tree_tiles(c->rows->n) * glia_kv_tile_bytes(c->kv->dtype, c->hd));
}

/* The state of the i-th span that `thread` computes of a unit that another thread merges. These states are at
 * the end of the thread's scratch. */
static glia_softmax part_of(const context *c, int thread, int i) {
    char *end = glia_scratch_of(c->d, thread + 1);
    return state_at(end - ((size_t)i + 1) * state_bytes(SPLIT_QUERIES, c->hd), SPLIT_QUERIES, c->hd);
}

/* ---- units ---------------------------------------------------------------- */

/* The rows of a unit: several rows of one sequence at rising positions, or one row of a tree. Keys are
 * numbered among the positions that this rank holds. */
typedef struct {
    int first, n;
    int base;       /* a tree row's first ancestor has this position; INT32_MAX without a tree */
    int from, last; /* the first and the last key that any row sees; last < from: none */
    int64_t start_cost, key_cost; /* cost of the queries besides their keys; cost of one key */
} row_group;

static bool in_tree(const glia_rows *rows, int r) {
    return (rows->parent && rows->parent[r] >= 0) || rows->slot[r] != rows->position[r];
}

/* The last position that row r sees. */
static int last_seen(const glia_rows *rows, int r) { return rows->last ? rows->last[r] : rows->position[r]; }

/* The first key that a query at `position` sees. */
static int first_seen(const context *c, int position) {
    return c->h->window && position >= c->h->window ? position - c->h->window + 1 : 0;
}

static row_group next_group(const context *c, int first, int most) {
    const glia_rows *rows = c->rows;
    const int p = rows->position[first];
    row_group g = {.first = first, .n = 1, .base = INT32_MAX};
    if (in_tree(rows, first)) {
        int r = first;
        while (rows->parent && rows->parent[r] >= 0) r = rows->parent[r];
        g.base = rows->position[r];
    } else {
        while (g.n < most && first + g.n < rows->n && rows->seq[first + g.n] == rows->seq[first] &&
               rows->position[first + g.n] > rows->position[first + g.n - 1] && !in_tree(rows, first + g.n))
            g.n++;
    }
    g.from = held(c->kv, first_seen(c, p));
    g.last = held(c->kv, last_seen(rows, first + g.n - 1) + 1) - 1;
    g.start_cost = (int64_t)g.n * (int64_t)c->group * c->d->k.blocking.query_cost;
    g.key_cost = (int64_t)g.n * (int64_t)c->group + c->d->k.blocking.key_cost;
    return g;
}

static int most_rows(const context *c) {
    const int group = (int)c->group, least = c->d->k.blocking.queries_per_unit / group,
              most = GLIA_QUERIES_MAX / group;
    const int fair = c->rows->n * c->h->kv_heads / (c->d->k.blocking.units_per_thread * c->d->base.threads);
    assert(most >= 1);
    return fair > most ? most : fair > least ? fair : least > 0 ? least : 1;
}

static int first_span(const row_group *g) { return g->from / GLIA_SPAN; }
static int last_span(const row_group *g) { return g->last < g->from ? first_span(g) : g->last / GLIA_SPAN; }

/* The cost of a unit's keys [0, key), and of its queries. */
static int64_t cost_before(const row_group *g, int key) {
    const int keys = key > g->last ? g->last + 1 : key;
    return keys > g->from ? g->start_cost + (int64_t)(keys - g->from) * g->key_cost : 0;
}

static int64_t unit_cost(const row_group *g) { return cost_before(g, INT32_MAX); }

/* The thread that computes `span` of a unit. The unit begins at `start` on a line of length `total`; the
 * stretch of line that has the middle of the span is that thread's. A unit that is not cut counts as one
 * span.
 */
static int thread_of(const context *c, const row_group *g, int64_t start, int64_t total, int span) {
    int64_t middle = start + unit_cost(g) / 2;
    if ((size_t)g->n * c->group <= SPLIT_QUERIES)
        middle = start + (cost_before(g, span * GLIA_SPAN) + cost_before(g, (span + 1) * GLIA_SPAN)) / 2;
    const int64_t thread = total ? middle * c->d->base.threads / total : 0;
    return thread < c->d->base.threads ? (int)thread
                                       : c->d->base.threads - 1; /* units without cost may end the line */
}

static void fill_chain(const context *c, const row_group *g) {
    if (g->base == INT32_MAX) return;
    for (int r = g->first; r >= 0; r = c->rows->parent ? c->rows->parent[r] : -1)
        c->chain[c->rows->position[r] - g->base] = r;
}

/* ---- one span ------------------------------------------------------------- */

/* The tile of keys from `start` on, as the rows of g see it. A tree row sees a copy, made at *copies, if the
 * tile has ancestors of the row. */
static const char *find_tile(const context *c, const row_group *g, int head, int start, char **copies) {
    const size_t bytes = glia_kv_tile_bytes(c->kv->dtype, c->hd);
    const int at = position_of(c->kv, start), end = at + GLIA_KV_TILE, last = c->rows->position[g->first];
    if (end <= g->base) return tile_of_position(c->kv, c->rows, g->first, head, at);
    char *tile = *copies;
    *copies += bytes;
    if (at < g->base) memcpy(tile, tile_of_position(c->kv, c->rows, g->first, head, at), bytes);
    for (int p = at < g->base ? g->base : at; p < end && p <= last; p++) {
        const int slot = c->rows->slot[c->chain[p - g->base]];
        c->d->k.kv_copy(tile, c->kv->dtype, (size_t)(p - at),
                        tile_of_position(c->kv, c->rows, g->first, head, slot), (size_t)slot % GLIA_KV_TILE,
                        c->hd);
    }
    return tile;
}

/* Set tile[] to the tiles of `span` that any row of g sees, NULL for others. GLIA_TILES_AHEAD tiles of the
 * next span or head follow, for prefetching. */
static void find_tiles(const context *c, const row_group *g, int head, int span, const void **tile) {
    char *copies = c->tiles;
    int t = 0;
    for (; t < GLIA_SPAN_TILES; t++) {
        const int start = span * GLIA_SPAN + t * GLIA_KV_TILE;
        tile[t] = NULL;
        if (start > g->last) break;
        if (start + GLIA_KV_TILE > g->from) tile[t] = find_tile(c, g, head, start, &copies);
    }
    const bool over = span == last_span(g);
    int start = over ? g->from / GLIA_KV_TILE * GLIA_KV_TILE : (span + 1) * GLIA_SPAN;
    head += over;
    for (int i = 0; i < GLIA_TILES_AHEAD; i++, start += GLIA_KV_TILE)
        tile[t + i] =
            head < c->kv->kv_heads && start <= g->last && position_of(c->kv, start) + GLIA_KV_TILE <= g->base
                ? tile_of_held(c->kv, c->rows, g->first, head, start)
                : NULL;
}

/* The angles of the tile of keys from `start` on, or NULL. */
static const float *angles_of(const context *c, int start) {
    static_assert((int)GLIA_ANGLES_GROUP == (int)GLIA_PANEL, "a group of the table is a K panel's positions");
    static_assert((int)GLIA_ANGLES_UNIT % (int)GLIA_KV_TILE == 0, "the table ends with a tile");
    return c->h->cos && c->h->angles ? c->h->angles + (size_t)position_of(c->kv, start) * c->hd : NULL;
}

/* Replace the int8 tiles that are seen by copies in the type that this rung multiplies fastest. */
static glia_dtype widen_tiles(const context *c, const row_group *g, int head, int span, const void **tile) {
    const glia_dtype dtype = c->d->narrow ? GLIA_DTYPE_BF16 : GLIA_DTYPE_F32;
    const size_t bytes = glia_kv_tile_bytes(dtype, c->hd);
    const float *bias = k_bias(c->h, c->kv);
    if (bias) bias += (size_t)head * c->hd;
    for (int t = 0; t < GLIA_SPAN_TILES + GLIA_TILES_AHEAD; t++) {
        const int start = span * GLIA_SPAN + t * GLIA_KV_TILE;
        const bool seen = t < GLIA_SPAN_TILES && start <= g->last && tile[t];
        char *wide = c->wide + (size_t)t * bytes;
        if (seen) c->d->k.kv_widen(wide, dtype, tile[t], c->hd, bias, angles_of(c, start));
        tile[t] = seen ? wide : NULL;
    }
    return dtype;
}

static int16_t clamp_key(int key, int span) {
    const int j = key - span * GLIA_SPAN;
    return (int16_t)(j < 0 ? 0 : j > GLIA_SPAN ? GLIA_SPAN : j);
}

static void attend_span(const context *c, const row_group *g, int head, int span, glia_softmax out) {
    const void *tile[GLIA_SPAN_TILES + GLIA_TILES_AHEAD];
    int16_t lo[GLIA_QUERIES_MAX], hi[GLIA_QUERIES_MAX];
    const size_t n = (size_t)g->n * c->group;
    for (size_t i = 0; i < n; i++) {
        const int r = g->first + (int)(i / c->group);
        lo[i] = clamp_key(held(c->kv, first_seen(c, c->rows->position[r])), span);
        hi[i] = clamp_key(held(c->kv, last_seen(c->rows, r) + 1), span);
    }
    head += c->h->first_kv;
    find_tiles(c, g, head, span, tile);
    const glia_dtype dtype =
        c->kv->dtype == GLIA_DTYPE_I8 ? widen_tiles(c, g, head, span, tile) : c->kv->dtype;
    glia_attend_fn *attend = dtype == GLIA_DTYPE_F32 ? c->d->k.attend_f32 : c->d->k.attend_bf16;
    attend(out, c->q, c->total.ldo, n, tile, lo, hi, c->h->scale, c->hd);
}

/* ---- one unit ------------------------------------------------------------- */

static void take_queries(const context *c, const row_group *g, int head) {
    for (size_t i = 0; i < (size_t)g->n * c->group; i++) {
        const int r = g->first + (int)(i / c->group);
        float *q = c->q + i * c->total.ldo;
        const size_t at = (size_t)head * c->group + i % c->group, block = (size_t)c->x->block_heads;
        take_head(c, q, c->x->q.at + at / block * c->x->q_block, c->q_layout, r, at % block * c->hd);
        norm_rotate(c, q, norm_of(c->h->q_norm, c->h->q_norms, c->rows, r), c->rows->position[r]);
    }
}

/* Write the result of one query, whose state is `sum` and `l`, to head `head` of row i. A row has `heads`
 * heads.
 */
static void write_query(const glia_cpu_device *d, float *o, glia_layout layout, size_t i, size_t head,
                        size_t heads, const float *sum, float l, size_t hd) {
    float *row = o + i * layout.ld;
    const size_t step = layout.step * sizeof *o;
    if (!d->narrow) {
        d->k.divide(row + head * hd, sum, l, hd);
        return;
    }
    d->k.narrow(row, step, head * hd, sum, 1 / l, hd);
    if (head + 1 == heads) glia_fill_step((char *)row, step, heads * hd);
}

/* Copy one query's softmax state into the block of the rank that owns the query. */
static void write_state(const context *c, size_t row, size_t head, size_t i) {
    const size_t heads = (size_t)c->out->block_heads, n = heads * (size_t)c->rows->n;
    const size_t at = head % heads * (size_t)c->rows->n + row;
    glia_softmax to = state_at(c->out->states + head / heads * state_bytes(n, c->hd), n, c->hd);
    to.m[at] = c->total.m[i];
    to.l[at] = c->total.l[i];
    memcpy(to.o + at * to.ldo, c->total.o + i * c->total.ldo, c->hd * sizeof(float));
}

static void write_out(const context *c, const row_group *g, int head) {
    for (size_t i = 0; i < (size_t)g->n * c->group; i++) {
        const size_t row = (size_t)g->first + i / c->group, at = (size_t)head * c->group + i % c->group;
        const size_t block = at / (size_t)c->out->block_heads, head_at = at % (size_t)c->out->block_heads;
        if (c->out->states)
            write_state(c, row, at, i);
        else
            write_query(c->d, c->out->o.at + block * c->out->o_block, c->o_layout, row, head_at,
                        (size_t)c->out->block_heads, c->total.o + i * c->total.ldo, c->total.l[i], c->hd);
    }
}

size_t glia_cpu_states_bytes(size_t n, size_t head_dim) { return state_bytes(n, head_dim); }

void glia_cpu_merge(const glia_device *device, int thread, const glia_activation *o, char *states, int blocks,
                    int n, int heads, size_t head_dim) {
    const glia_cpu_device *d = glia_cpu_of(device);
    const glia_layout layout = glia_layout_of(d, o);
    const size_t queries = (size_t)n * (size_t)heads, bytes = state_bytes(queries, head_dim);
    const glia_softmax total = state_at(states, queries, head_dim);
    size_t from, to;
    glia_share(queries, thread, device->threads, &from, &to);
    for (int b = 1; b < blocks && from < to; b++) {
        glia_softmax sum = total, part = state_at(states + (size_t)b * bytes, queries, head_dim);
        sum.m += from, sum.l += from, sum.o += from * sum.ldo;
        part.m += from, part.l += from, part.o += from * part.ldo;
        d->k.merge(sum, part, to - from, head_dim);
    }
    for (size_t i = from; i < to; i++)
        write_query(d, o->at, layout, i % (size_t)n, i / (size_t)n, (size_t)heads, total.o + i * total.ldo,
                    total.l[i], head_dim);
}

/* Compute spans [from, to) of a unit: merged into c->total if they begin the unit, else each as a state for
 * the thread that merges. */
static void attend_spans(const context *c, const row_group *g, int head, int from, int to, int thread) {
    const size_t n = (size_t)g->n * c->group;
    fill_chain(c, g);
    take_queries(c, g, head);
    for (int s = from; s < to; s++) {
        if (from != first_span(g)) {
            attend_span(c, g, head, s, part_of(c, thread, s - from));
        } else if (s == from) {
            attend_span(c, g, head, s, c->total);
        } else {
            attend_span(c, g, head, s, c->part);
            c->d->k.merge(c->total, c->part, n, c->hd);
        }
    }
}

/* Merge the states that other threads computed of a unit into c->total, which has the unit's first spans. */
static void merge_parts(const context *c, const row_group *g, int64_t start, int64_t total, int thread) {
    for (int s = first_span(g), before = thread, i = 0; s <= last_span(g); s++) {
        const int at = thread_of(c, g, start, total, s);
        i = at == before ? i + 1 : 0;
        before = at;
        if (at == thread) continue;
        c->d->k.merge(c->total, part_of(c, at, i), (size_t)g->n * c->group, c->hd);
    }
}

/* Has every sequence one row, and is none in a tree? Then no unit sees a key that another unit stores. */
static bool independent(const glia_rows *rows) {
    for (int r = 0; r < rows->n; r++)
        if (in_tree(rows, r) || (r > 0 && rows->seq[r] == rows->seq[r - 1])) return false;
    return true;
}

/* Store keys and values of this thread's share of rows and heads; a barrier ends it. A tile's rows are stored
 * head by head, so that the lines of a head's tile stay in L1. */
static void store_rows(const context *c, const glia_rows *rows, int thread) {
    const size_t heads = (size_t)c->kv->kv_heads, n = (size_t)rows->n;
    size_t from, to;
    glia_share(n * heads, thread, c->d->base.threads, &from, &to);
    for (size_t u = from; u < to; u++) {
        const size_t first = u / (GLIA_KV_TILE * heads) * GLIA_KV_TILE, i = u - first * heads;
        const size_t few = n - first < GLIA_KV_TILE ? n - first : GLIA_KV_TILE;
        store_kv(c, rows, (int)(first + i % few), (int)(i / few));
    }
    glia_device_barrier(&c->d->base); /* the cache */
}

/* A unit whose first spans this thread computed and whose last spans others did. A thread has at most one. */
typedef struct {
    row_group g;
    int head;
    int64_t start;
} unfinished;

/* Compute this thread's spans of a unit. Returns true if they begin the unit and other threads have the rest.
 */
static bool attend_unit(const context *c, const row_group *g, int head, int64_t start, int64_t total,
                        int thread, bool alone) {
    const int first = first_span(g), last = last_span(g);
    int from = first, to = last + 1;
    while (from <= last && thread_of(c, g, start, total, from) < thread) from++;
    while (to > from && thread_of(c, g, start, total, to - 1) > thread) to--;
    if (from == to) return false;
    if (alone && to > last) store_kv(c, c->rows, g->first, head);
    attend_spans(c, g, head, from, to, thread);
    if (from == first && to > last) write_out(c, g, head);
    return from == first && to <= last;
}

void glia_cpu_attention(const glia_device *device, int thread, const glia_attended *out, const glia_qkv *x,
                        const glia_rows *rows, const glia_rows *stored, const glia_heads *h,
                        const glia_kv_layer *kv) {
    const glia_cpu_device *d = glia_cpu_of(device);
    context c = {.d = d,
                 .rows = rows,
                 .h = h,
                 .kv = kv,
                 .x = x,
                 .out = out,
                 .q_layout = glia_layout_of(d, &x->q),
                 .kv_layout = glia_layout_of(d, &x->kv),
                 .o_layout = glia_layout_of(d, &out->o),
                 .hd = (size_t)h->head_dim,
                 .group = (size_t)(h->heads / h->kv_heads),
                 .rotation = rotation(h, kv)};
    const bool alone = stored == rows && h->kv_heads == kv->kv_heads && independent(rows);
    const int most = most_rows(&c);
    int64_t total = 0, start = 0;
    bool split = false;
    unfinished mine = {.head = -1};
    row_group g;
    cut_workspace(&c, thread);
    if (!alone) store_rows(&c, stored, thread);
    for (int r = 0; r < rows->n; r += g.n) {
        g = next_group(&c, r, most);
        total += unit_cost(&g) * h->kv_heads;
    }
    for (int r = 0; r < rows->n; r += g.n) {
        g = next_group(&c, r, most);
        for (int head = 0; head < h->kv_heads; head++, start += unit_cost(&g)) {
            const int first = thread_of(&c, &g, start, total, first_span(&g)),
                      last = thread_of(&c, &g, start, total, last_span(&g));
            split |= first != last;
            if (thread < first || thread > last) continue;
            if (attend_unit(&c, &g, head, start, total, thread, alone))
                mine = (unfinished){.g = g, .head = head, .start = start};
        }
    }
    if (!split) return;
    glia_device_barrier(device); /* the states of units that are cut */
    if (mine.head < 0) return;
    merge_parts(&c, &mine.g, mine.start, total, thread);
    write_out(&c, &mine.g, mine.head);
}

void glia_cpu_copy_kv(const glia_device *device, const glia_kv_layer *kv, int to_block, int to_at,
                      int from_block, int from_at) {
    for (int head = 0; head < kv->kv_heads; head++)
        glia_cpu_of(device)->k.kv_copy(tile_of(kv, to_block, head, to_at), kv->dtype,
                                       (size_t)to_at % GLIA_KV_TILE, tile_of(kv, from_block, head, from_at),
                                       (size_t)from_at % GLIA_KV_TILE, (size_t)kv->head_dim);
}
