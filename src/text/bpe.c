/* bpe.c - see bpe.h. */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#define NO_RANK UINT32_MAX

/* ---- hashing --------------------------------------------------------------- */

static uint64_t load64(const char *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static uint64_t load32(const char *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* XOR of both halves of the 128-bit product, so that every input bit affects every output bit. */
static uint64_t fold(uint64_t a, uint64_t b) {
    const unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* `len` >= 1. The constants are the fractional digits of sqrt(2), sqrt(3), sqrt(5), made odd. */
static uint64_t hash_bytes(const char *p, size_t len) {
    const uint64_t k0 = 0x6a09e667f3bcc909u, k1 = 0xbb67ae8584caa73bu, k2 = 0x3c6ef372fe94f82bu;
    uint64_t a, b, seed = len * k0;
    for (size_t left = len; left > 16; p += 16, left -= 16, len -= 16)
        seed = fold(load64(p) ^ k1 ^ seed, load64(p + 8) ^ k2);
    if (len >= 8) {
        a = load64(p);
        b = load64(p + len - 8);
    } else if (len >= 4) {
        a = load32(p);
        b = load32(p + len - 4);
    } else {
        a = (unsigned char)p[0] | (uint64_t)(unsigned char)p[len / 2] << 8;
        b = (unsigned char)p[len - 1];
    }
    return fold(a ^ k1 ^ seed, b ^ k2);
}

static size_t power_of_two_above(size_t n) {
    size_t p = 16;
    while (p < n) p *= 2;
    return p;
}

/* ---- spelling -------------------------------------------------------------- */

/* The byte that character `c` stands for in GPT-2's table; -1 if `c` is not in the
 * table. Printable Latin-1 characters stand for themselves; the characters from
 * U+0100 on stand for the other bytes in ascending order. */
static int spelled_byte(uint32_t c) {
    if ((c > 32 && c < 127) || (c > 160 && c < 256 && c != 173)) return (int)c;
    if (c < 256 || c > 323) return -1;
    if (c == 323) return 173;
    return (int)(c <= 288 ? c - 256 : c - 289 + 127);
}

size_t glia_bpe_unspell(char *out, const char *spelled, size_t len, bool *raw) {
    const char *p = spelled, *const end = spelled + len;
    size_t n = 0;
    *raw = false;
    while (p < end) {
        const unsigned char first = (unsigned char)*p;
        uint32_t c = first;
        if (first >= 0x80) { /* every character of the table has at most two bytes of UTF-8 */
            if (first < 0xc2 || first > 0xc5 || end - p < 2 || ((unsigned char)p[1] & 0xc0) != 0x80) break;
            c = (first & 0x1fu) << 6 | ((unsigned char)p[1] & 0x3fu);
        }
        const int byte = spelled_byte(c);
        if (byte < 0) break;
        out[n++] = (char)byte;
        p += first < 0x80 ? 1 : 2;
    }
    if (p == end) return n;
    *raw = true;
    memcpy(out, spelled, len);
    return len;
}

/* ---- tokens ---------------------------------------------------------------- */

void glia_bpe_free(glia_bpe *b) {
    glia_buf_free(&b->bytes);
    free(b->token);
    if (b->cached.tensor) {
        glia_safetensors_close(&b->cached);
    } else {
        free(b->slot);
        free(b->merge);
    }
    memset(b, 0, sizeof *b);
}

static bool grow_tokens(glia_bpe *b, size_t n) {
    if (n <= b->n_ids) return true;
    if (n > b->token_cap) {
        const size_t cap = power_of_two_above(n < 1024 ? 1024 : n);
        glia_bpe_token *grown = realloc(b->token, cap * sizeof *grown);
        if (!grown) return false;
        b->token = grown;
        b->token_cap = cap;
    }
    memset(b->token + b->n_ids, 0, (n - b->n_ids) * sizeof *b->token);
    b->n_ids = n;
    return true;
}

bool glia_bpe_add(glia_bpe *b, int32_t id, const char *bytes, size_t len, bool raw) {
    if (b->bytes.len + len > UINT32_MAX / 8 || !grow_tokens(b, (size_t)id + 1)) return false;
    b->token[id] = (glia_bpe_token){
        .at = (uint32_t)b->bytes.len, .len = (uint32_t)len & 0x1fffffffu, .raw = raw, .known = true};
    glia_buf_add(&b->bytes, bytes, len);
    return !b->bytes.oom;
}

bool glia_bpe_respell(glia_bpe *b, int32_t id, const char *bytes, size_t len) {
    if (b->bytes.len + len > UINT32_MAX / 8) return false;
    b->token[id].at = (uint32_t)b->bytes.len;
    b->token[id].len = (uint32_t)len & 0x1fffffffu;
    glia_buf_add(&b->bytes, bytes, len);
    return !b->bytes.oom;
}

static bool same(const glia_bpe *b, int32_t id, const char *bytes, size_t len, bool raw) {
    const glia_bpe_token t = b->token[id];
    return t.len == len && t.raw == raw && memcmp(b->bytes.data + t.at, bytes, len) == 0;
}

/* The slot of the token with these bytes, or the empty slot where it belongs. */
static size_t find_slot(const glia_bpe *b, const char *bytes, size_t len, bool raw) {
    const uint64_t h = hash_bytes(bytes, len);
    const uint32_t tag = (uint32_t)(h >> 32);
    size_t i = (size_t)h & b->slot_mask;
    while (b->slot[i].id >= 0 && (b->slot[i].tag != tag || !same(b, b->slot[i].id, bytes, len, raw)))
        i = (i + 1) & b->slot_mask;
    return i;
}

bool glia_bpe_seal(glia_bpe *b, int32_t *twice) {
    *twice = -1;
    const size_t n = power_of_two_above(b->n_ids * 2);
    b->slot = malloc(n * sizeof *b->slot);
    if (!b->slot) return false;
    memset(b->slot, 0xff, n * sizeof *b->slot);
    b->slot_mask = n - 1;
    for (size_t id = 0; id < b->n_ids; id++) {
        const glia_bpe_token t = b->token[id];
        if (!t.known) continue;
        b->n_tokens++;
        if (t.len == 0) continue;
        const char *bytes = b->bytes.data + t.at;
        const size_t i = find_slot(b, bytes, t.len, t.raw);
        if (b->slot[i].id >= 0) {
            *twice = (int32_t)id;
            return true;
        }
        b->slot[i] = (glia_bpe_slot){(uint32_t)(hash_bytes(bytes, t.len) >> 32), (int32_t)id};
    }
    for (int c = 0; c < 256; c++) b->byte_id[c] = glia_bpe_find(b, &(char){(char)c}, 1, false);
    return true;
}

int32_t glia_bpe_find(const glia_bpe *b, const char *bytes, size_t len, bool raw) {
    return len ? b->slot[find_slot(b, bytes, len, raw)].id : -1;
}

/* ---- merges ---------------------------------------------------------------- */

static glia_bpe_merge *merge_slot(const glia_bpe_merge *table, size_t mask, uint32_t left, uint32_t right) {
    size_t i = (size_t)fold((uint64_t)left << 32 | right, 0x9e3779b97f4a7c15u) & mask;
    while (table[i].rank != NO_RANK && (table[i].left != left || table[i].right != right)) i = (i + 1) & mask;
    return (glia_bpe_merge *)(uintptr_t)(table + i);
}

static bool grow_merges(glia_bpe *b) {
    const size_t n = b->merge ? 2 * (b->merge_mask + 1) : 1u << 15;
    glia_bpe_merge *grown = malloc(n * sizeof *grown);
    if (!grown) return false;
    memset(grown, 0xff, n * sizeof *grown);
    for (size_t i = 0; b->merge && i <= b->merge_mask; i++)
        if (b->merge[i].rank != NO_RANK)
            *merge_slot(grown, n - 1, b->merge[i].left, b->merge[i].right) = b->merge[i];
    free(b->merge);
    b->merge = grown;
    b->merge_mask = n - 1;
    return true;
}

bool glia_bpe_add_merge(glia_bpe *b, int32_t left, int32_t right, int32_t merged) {
    if ((!b->merge || b->n_merges * 3 >= b->merge_mask * 2) && !grow_merges(b)) return false;
    *merge_slot(b->merge, b->merge_mask, (uint32_t)left, (uint32_t)right) =
        (glia_bpe_merge){(uint32_t)left, (uint32_t)right, (uint32_t)b->n_merges++, (uint32_t)merged};
    return true;
}

static glia_bpe_merge find_merge(const glia_bpe *b, int32_t left, int32_t right) {
    return b->merge ? *merge_slot(b->merge, b->merge_mask, (uint32_t)left, (uint32_t)right)
                    : (glia_bpe_merge){.rank = NO_RANK};
}

/* ---- one word -------------------------------------------------------------- */

/* Words of up to SHORT bytes scan all pairs for the lowest rank; longer words use a heap. */
enum { SHORT = 48, CACHED_BYTES = 22, CACHED_IDS = 10 };

typedef struct {
    uint8_t len, n; /* len 0: an empty entry */
    char bytes[CACHED_BYTES];
    int32_t ids[CACHED_IDS];
} cached; /* one cache line */

typedef struct {
    int32_t id;
    int32_t previous, next; /* -1 at the ends */
    uint32_t rank;          /* of the merge with `next`; NO_RANK: no merge, or this node was merged away */
    uint32_t merged;        /* result of that merge */
} node;

struct glia_bpe_work {
    cached *cache;
    size_t cache_mask;
    node *node;
    uint64_t *heap; /* rank << 32 | node index, smallest first */
    size_t long_cap, heap_n;
};

bool glia_ids_reserve(glia_ids *ids, size_t more) {
    if (ids->cap - ids->n >= more) return true;
    size_t cap = ids->cap ? ids->cap * 2 : 64;
    if (cap < ids->n + more) cap = ids->n + more;
    int32_t *grown = realloc(ids->at, cap * sizeof *grown);
    if (!grown) return false;
    ids->at = grown;
    ids->cap = cap;
    return true;
}

glia_bpe_work *glia_bpe_work_new(size_t text_len) {
    glia_bpe_work *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    const size_t n = power_of_two_above(text_len / 16 < 1u << 15 ? text_len / 16 : 1u << 15);
    w->cache = calloc(n, sizeof *w->cache);
    if (!w->cache) {
        free(w);
        return NULL;
    }
    w->cache_mask = n - 1;
    return w;
}

void glia_bpe_work_free(glia_bpe_work *w) {
    if (!w) return;
    free(w->cache);
    free(w->node);
    free(w->heap);
    free(w);
}

static bool is_unknown(const glia_bpe *b, char byte) {
    return b->byte_id[(unsigned char)byte] == b->unk_id && !same(b, b->unk_id, &byte, 1, false);
}

/* Write the ids of the word's bytes to `ids` [len]. Returns how many. */
static size_t spell(const glia_bpe *b, const char *word, size_t len, int32_t *ids) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const int32_t id = b->byte_id[(unsigned char)word[i]];
        const bool fused = b->fuse_unk && i > 0 && is_unknown(b, word[i]) && is_unknown(b, word[i - 1]);
        if (id >= 0 && !fused) ids[n++] = id;
    }
    return n;
}

static void encode_short(const glia_bpe *b, const char *word, size_t len, glia_ids *out) {
    int32_t *ids = out->at + out->n;
    uint32_t rank[SHORT], merged[SHORT];
    size_t n = spell(b, word, len, ids);
    for (size_t i = 0; i + 1 < n; i++) {
        const glia_bpe_merge m = find_merge(b, ids[i], ids[i + 1]);
        rank[i] = m.rank;
        merged[i] = m.id;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_RANK) break;
        ids[best] = (int32_t)merged[best];
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        if (best + 1 < n) {
            memmove(rank + best + 1, rank + best + 2, (n - best - 2) * sizeof *rank);
            memmove(merged + best + 1, merged + best + 2, (n - best - 2) * sizeof *merged);
            const glia_bpe_merge m = find_merge(b, ids[best], ids[best + 1]);
            rank[best] = m.rank;
            merged[best] = m.id;
        }
        if (best > 0) {
            const glia_bpe_merge m = find_merge(b, ids[best - 1], ids[best]);
            rank[best - 1] = m.rank;
            merged[best - 1] = m.id;
        }
    }
    out->n += n;
}

static void heap_push(glia_bpe_work *w, uint64_t key) {
    size_t i = w->heap_n++;
    while (i > 0 && w->heap[(i - 1) / 2] > key) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = key;
}

static uint64_t heap_pop(glia_bpe_work *w) {
    const uint64_t top = w->heap[0], key = w->heap[--w->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_n) break;
        if (child + 1 < w->heap_n && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= key) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = key;
    return top;
}

/* Look up the merge of node i with the next node, and push it on the heap. */
static void queue_merge(const glia_bpe *b, glia_bpe_work *w, int32_t i) {
    node *a = w->node + i;
    a->rank = NO_RANK;
    if (a->next < 0) return;
    const glia_bpe_merge m = find_merge(b, a->id, w->node[a->next].id);
    a->rank = m.rank;
    a->merged = m.id;
    if (m.rank != NO_RANK) heap_push(w, (uint64_t)m.rank << 32 | (uint32_t)i);
}

/* The heap begins with fewer than len entries. Each of fewer than len merges pops
 * one entry and pushes at most two, so 2 * len entries are enough. */
static bool reserve_long(glia_bpe_work *w, size_t len) {
    if (len <= w->long_cap) return true;
    node *nodes = realloc(w->node, len * sizeof *nodes);
    if (nodes) w->node = nodes;
    uint64_t *heap = nodes ? realloc(w->heap, 2 * len * sizeof *heap) : NULL;
    if (!heap) return false;
    w->heap = heap;
    w->long_cap = len;
    return true;
}

static bool encode_long(const glia_bpe *b, glia_bpe_work *w, const char *word, size_t len, glia_ids *out) {
    if (!reserve_long(w, len)) return false;
    const int32_t *ids = out->at + out->n;
    const int32_t n = (int32_t)spell(b, word, len, out->at + out->n);
    for (int32_t i = 0; i < n; i++) w->node[i] = (node){ids[i], i - 1, i + 1 < n ? i + 1 : -1, NO_RANK, 0};
    w->heap_n = 0;
    for (int32_t i = 0; i < n; i++) queue_merge(b, w, i);
    while (w->heap_n > 0) {
        const uint64_t key = heap_pop(w);
        const int32_t i = (int32_t)(uint32_t)key;
        node *a = w->node + i;
        if (a->rank != (uint32_t)(key >> 32)) continue; /* this pair no longer exists */
        node *right = w->node + a->next;
        a->id = (int32_t)a->merged;
        a->next = right->next;
        right->rank = NO_RANK;
        if (a->next >= 0) w->node[a->next].previous = i;
        queue_merge(b, w, i);
        if (a->previous >= 0) queue_merge(b, w, a->previous);
    }
    for (int32_t i = n ? 0 : -1; i >= 0; i = w->node[i].next) out->at[out->n++] = w->node[i].id;
    return true;
}

bool glia_bpe_encode(const glia_bpe *b, glia_bpe_work *w, const char *word, size_t len, glia_ids *ids) {
    if (!glia_ids_reserve(ids, len)) return false;
    cached *entry = NULL;
    if (len <= CACHED_BYTES) {
        entry = w->cache + (hash_bytes(word, len) & w->cache_mask);
        if (entry->len == len && memcmp(entry->bytes, word, len) == 0) {
            memcpy(ids->at + ids->n, entry->ids, entry->n * sizeof *ids->at);
            ids->n += entry->n;
            return true;
        }
    }
    const size_t first = ids->n;
    const int32_t whole = b->ignore_merges ? glia_bpe_find(b, word, len, false) : -1;
    if (whole >= 0)
        ids->at[ids->n++] = whole;
    else if (len <= SHORT)
        encode_short(b, word, len, ids);
    else if (!encode_long(b, w, word, len, ids))
        return false;
    if (entry && ids->n - first <= CACHED_IDS) {
        entry->len = (uint8_t)len;
        entry->n = (uint8_t)(ids->n - first);
        memcpy(entry->bytes, word, len);
        memcpy(entry->ids, ids->at + first, entry->n * sizeof *ids->at);
    }
    return true;
}
