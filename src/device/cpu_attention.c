/* cpu_attention.c - attention over the block cache, in pieces at absolute positions.
 *
 * Keys are added up 64 positions at a time from nothing, the pieces merged in
 * order into a span of 1,024 positions, the spans in order into the result. The
 * bounds are absolute, so one query or five hundred, a chunk or a decoded
 * token, a cached prefix or a fresh one go through the same additions; a piece
 * or a span that a query does not see changes no bit of its state. A row of a
 * drafted tree sees its ancestors copied to where they would stand if they had
 * been accepted. */
#include "device/device.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { SPAN_PIECES = 16 };

size_t glia_kv_block_bytes(const glia_kv_layer *kv) {
    const size_t hd = (size_t)kv->head_dim;
    return (size_t)kv->kv_heads * (size_t)kv->block_size / GLIA_PANEL *
           (glia_k_tile_bytes(kv->dtype, hd) + glia_v_tile_bytes(kv->dtype, hd));
}

/* The tiles of (block, head) that hold position `at` of the block: K here, V behind it. */
static char *tile_of(const glia_kv_layer *kv, int block, int head, int at) {
    const size_t hd = (size_t)kv->head_dim;
    const size_t tile = glia_k_tile_bytes(kv->dtype, hd) + glia_v_tile_bytes(kv->dtype, hd);
    const size_t tiles = (size_t)kv->block_size / GLIA_PANEL;
    return kv->base + (size_t)block * glia_kv_block_bytes(kv) +
           ((size_t)head * tiles + (size_t)(at / GLIA_PANEL)) * tile;
}

static char *tile_of_slot(const glia_kv_layer *kv, const glia_rows *rows, int row, int head, int slot) {
    const int32_t *table = rows->block_table + (size_t)rows->seq[row] * (size_t)rows->max_blocks;
    return tile_of(kv, table[slot / kv->block_size], head, slot % kv->block_size);
}

void glia_device_qkv(const glia_device *d, int thread, float *qkv, size_t ldqkv, const glia_rows *rows,
                     const glia_heads *h, const glia_kv_layer *kv) {
    glia_kv_store_fn *store = kv->dtype == GLIA_DTYPE_F32 ? d->k.kv_store_f32 : d->k.kv_store_bf16;
    const size_t hd = (size_t)h->head_dim, k_tile = glia_k_tile_bytes(kv->dtype, hd);
    const int group = h->heads / h->kv_heads;
    size_t from, to;
    glia_share((size_t)rows->n * (size_t)h->kv_heads, thread, d->threads, &from, &to);
    for (size_t u = from; u < to; u++) {
        const int r = (int)(u / (size_t)h->kv_heads), head = (int)(u % (size_t)h->kv_heads);
        float *row = qkv + (size_t)r * ldqkv;
        float *k = row + (size_t)(h->heads + head) * hd;
        const float *v = row + (size_t)(h->heads + h->kv_heads + head) * hd;
        for (int g = 0; g <= group; g++) { /* the group's queries, then their key */
            float *x = g < group ? row + (size_t)(head * group + g) * hd : k;
            const float *norm = g < group ? h->q_norm : h->k_norm;
            const size_t angle = (size_t)rows->position[r] * (hd / 2);
            if (norm) d->k.rmsnorm(x, x, norm, hd, h->eps);
            if (h->cos) d->k.rope(x, h->cos + angle, h->sin + angle, hd);
        }
        const int slot = rows->slot[r];
        char *tile = tile_of_slot(kv, rows, r, head, slot);
        store(tile, tile + k_tile, (size_t)slot % GLIA_PANEL, k, v, hd);
    }
}

/* A thread's workspace, cut from its scratch. */
typedef struct {
    float *q;                       /* [queries, head_dim] */
    glia_softmax part, span, total; /* of a piece, of a span, of all */
    char *tiles;                    /* of a piece, for a row of a tree */
    int32_t *chain;                 /* rows of a tree from its first ancestor to this row */
} workspace;

static void *cut(char **at, size_t bytes) {
    void *p = *at;
    *at += (bytes + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN;
    return p;
}

static glia_softmax cut_state(char **at, size_t stride) {
    const size_t n = GLIA_QUERIES_MAX;
    glia_softmax s = {.ldo = stride};
    s.m = cut(at, n * sizeof(float));
    s.l = cut(at, n * sizeof(float));
    s.o = cut(at, n * stride * sizeof(float));
    return s;
}

static workspace cut_workspace(const glia_device *d, int thread, const glia_kv_layer *kv) {
    const size_t hd = (size_t)kv->head_dim, stride = glia_panels(hd) * GLIA_PANEL;
    char *at = d->scratch + (size_t)thread * d->scratch_bytes;
    workspace w;
    w.q = cut(&at, GLIA_QUERIES_MAX * stride * sizeof(float));
    w.part = cut_state(&at, stride);
    w.span = cut_state(&at, stride);
    w.total = cut_state(&at, stride);
    w.tiles = cut(&at, GLIA_TILES * (glia_k_tile_bytes(kv->dtype, hd) + glia_v_tile_bytes(kv->dtype, hd)));
    w.chain = (int32_t *)(void *)at;
    return w;
}

static void empty(glia_softmax s, size_t n, size_t head_dim) {
    for (size_t i = 0; i < n; i++) {
        s.m[i] = -INFINITY;
        s.l[i] = 0;
        memset(s.o + i * s.ldo, 0, head_dim * sizeof(float));
    }
}

/* Rows that attention takes together: of one sequence, at rising positions, of no tree. */
typedef struct {
    int first, n;
    int base; /* of a tree row: the position of its first ancestor in the batch; else its end */
} row_group;

static bool in_tree(const glia_rows *rows, int r) {
    return (rows->parent && rows->parent[r] >= 0) || rows->slot[r] != rows->position[r];
}

static row_group next_group(const glia_rows *rows, int first, int most) {
    row_group g = {first, 1, INT32_MAX};
    if (in_tree(rows, first)) {
        int r = first;
        while (rows->parent && rows->parent[r] >= 0) r = rows->parent[r];
        g.base = rows->position[r];
        return g;
    }
    while (g.n < most && first + g.n < rows->n && rows->seq[first + g.n] == rows->seq[first] &&
           rows->position[first + g.n] == rows->position[first] + g.n && !in_tree(rows, first + g.n))
        g.n++;
    return g;
}

/* The four tiles of piece `piece` as row group g sees them through head `head`. */
static void find_tiles(const glia_device *d, const workspace *w, const glia_rows *rows, row_group g,
                       const glia_kv_layer *kv, int head, int piece, const void **k, const void **v) {
    glia_kv_copy_fn *copy = kv->dtype == GLIA_DTYPE_F32 ? d->k.kv_copy_f32 : d->k.kv_copy_bf16;
    const size_t hd = (size_t)kv->head_dim, k_bytes = glia_k_tile_bytes(kv->dtype, hd);
    const size_t bytes = k_bytes + glia_v_tile_bytes(kv->dtype, hd);
    const int last = rows->position[g.first + g.n - 1];
    for (int t = 0; t < GLIA_TILES; t++) {
        const int start = piece * GLIA_PIECE + t * GLIA_PANEL, end = start + GLIA_PANEL;
        k[t] = v[t] = NULL;
        if (start > last) continue;
        char *tile = w->tiles + (size_t)t * bytes;
        if (end <= g.base)
            tile = tile_of_slot(kv, rows, g.first, head, start);
        else if (start < g.base)
            memcpy(tile, tile_of_slot(kv, rows, g.first, head, start), bytes);
        for (int p = start < g.base ? g.base : start; p < end && p <= last; p++) {
            const int slot = rows->slot[w->chain[p - g.base]];
            const char *from = tile_of_slot(kv, rows, g.first, head, slot);
            copy(tile, tile + k_bytes, (size_t)(p - start), from, from + k_bytes, (size_t)slot % GLIA_PANEL,
                 hd);
        }
        k[t] = tile;
        v[t] = tile + k_bytes;
    }
}

static unsigned char clamp_key(int key, int piece) {
    const int j = key - piece * GLIA_PIECE;
    return (unsigned char)(j < 0 ? 0 : j > GLIA_PIECE ? GLIA_PIECE : j);
}

/* Queries of row group g and KV head `head` over all they see; the result in w->total. */
static void attend_group(const glia_device *d, workspace *w, const glia_rows *rows, row_group g,
                         const glia_heads *h, const glia_kv_layer *kv, int head) {
    glia_attend_fn *attend = kv->dtype == GLIA_DTYPE_F32 ? d->k.attend_f32 : d->k.attend_bf16;
    const size_t hd = (size_t)h->head_dim, group = (size_t)(h->heads / h->kv_heads);
    const size_t n = (size_t)g.n * group;
    const int last = rows->position[g.first + g.n - 1];
    const int first =
        h->window && rows->position[g.first] >= h->window ? rows->position[g.first] - h->window + 1 : 0;
    unsigned char lo[GLIA_QUERIES_MAX], hi[GLIA_QUERIES_MAX];
    const void *k[GLIA_TILES], *v[GLIA_TILES];
    empty(w->span, n, hd);
    empty(w->total, n, hd);
    for (int piece = first / GLIA_PIECE; piece <= last / GLIA_PIECE; piece++) {
        for (size_t i = 0; i < n; i++) {
            const int p = rows->position[g.first + (int)(i / group)];
            lo[i] = clamp_key(h->window ? p - h->window + 1 : 0, piece);
            hi[i] = clamp_key(p + 1, piece);
        }
        find_tiles(d, w, rows, g, kv, head, piece, k, v);
        attend(w->part, w->q, w->total.ldo, n, k, v, lo, hi, h->scale, hd);
        d->k.merge(w->span, w->part, n, hd);
        if ((piece + 1) % SPAN_PIECES == 0 || piece == last / GLIA_PIECE) {
            d->k.merge(w->total, w->span, n, hd);
            empty(w->span, n, hd);
        }
    }
}

static void fill_chain(const workspace *w, const glia_rows *rows, row_group g) {
    if (g.base == INT32_MAX) return;
    for (int r = g.first; r >= 0; r = rows->parent ? rows->parent[r] : -1)
        w->chain[rows->position[r] - g.base] = r;
}

void glia_device_attention(const glia_device *d, int thread, float *o, size_t ldo, const float *qkv,
                           size_t ldqkv, const glia_rows *rows, const glia_heads *h,
                           const glia_kv_layer *kv) {
    const size_t hd = (size_t)h->head_dim;
    const int group = h->heads / h->kv_heads, most = GLIA_QUERIES_MAX / group;
    workspace w = cut_workspace(d, thread, kv);
    assert(most >= 1);
    int unit = 0; /* (row group, KV head) pairs go round the threads */
    for (row_group g = {0, 0, 0}; g.first < rows->n; g.first += g.n) {
        g = next_group(rows, g.first, most);
        for (int head = 0; head < h->kv_heads; head++, unit++) {
            if (unit % d->threads != thread) continue;
            fill_chain(&w, rows, g);
            for (int i = 0; i < g.n * group; i++) {
                const float *q = qkv + (size_t)(g.first + i / group) * ldqkv;
                memcpy(w.q + (size_t)i * w.total.ldo, q + (size_t)(head * group + i % group) * hd,
                       hd * sizeof(float));
            }
            attend_group(d, &w, rows, g, h, kv, head);
            for (int i = 0; i < g.n * group; i++) {
                float *row = o + (size_t)(g.first + i / group) * ldo,
                      *sum = w.total.o + (size_t)i * w.total.ldo;
                const size_t column = (size_t)(head * group + i % group) * hd;
                float *to = d->narrow ? sum : row + column;
                for (size_t c = 0; c < hd; c++) to[c] = sum[c] / w.total.l[i];
                if (d->narrow) d->k.narrow((uint16_t *)(void *)row + column, to, hd);
            }
        }
    }
}

void glia_device_copy_kv(const glia_device *d, const glia_kv_layer *kv, int to_block, int to_at,
                         int from_block, int from_at) {
    glia_kv_copy_fn *copy = kv->dtype == GLIA_DTYPE_F32 ? d->k.kv_copy_f32 : d->k.kv_copy_bf16;
    const size_t hd = (size_t)kv->head_dim, k_bytes = glia_k_tile_bytes(kv->dtype, hd);
    for (int head = 0; head < kv->kv_heads; head++) {
        char *to = tile_of(kv, to_block, head, to_at);
        const char *from = tile_of(kv, from_block, head, from_at);
        copy(to, to + k_bytes, (size_t)to_at % GLIA_PANEL, from, from + k_bytes, (size_t)from_at % GLIA_PANEL,
             hd);
    }
}
