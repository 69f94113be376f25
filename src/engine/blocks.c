/* blocks.c - see blocks.h. */
#include "engine/blocks.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/team.h"

static uint32_t buckets_for(int n_blocks) {
    uint32_t n = 1;
    while (n < (uint32_t)n_blocks) n *= 2;
    return n;
}

size_t glia_blocks_bytes(const glia_blocks_shape *s) {
    return (size_t)s->n_blocks * (sizeof(glia_block) + (size_t)s->block_size * sizeof(int32_t)) +
           (size_t)s->n_blocks * sizeof(uint32_t) + buckets_for(s->n_blocks) * sizeof(int32_t) +
           (size_t)s->members * sizeof(glia_block_kind);
}

int glia_blocks_enough(int batch, int positions, const glia_blocks_shape *s) {
    const int n = glia_blocks_for(positions, s->block_size);
    const size_t most =
        glia_stripe_count((size_t)n, (size_t)s->unit, 0, s->members); /* the first member has most */
    return batch * (int)most * s->members;
}

/* The member of a sequence's n-th block. */
static int member_of(const glia_blocks *b, int n) {
    return glia_stripe_owner((size_t)n, (size_t)b->unit, b->members);
}
static glia_block_kind *kind_of(const glia_blocks *b, int32_t i) { return &b->kind[i % b->members]; }

/* ---- the list of unused blocks -------------------------------------------- */

static void unlink_unused(glia_blocks *b, int32_t i) {
    const glia_block *x = &b->block[i];
    glia_block_kind *k = kind_of(b, i);
    *(x->older < 0 ? &k->oldest : &b->block[x->older].newer) = x->newer;
    *(x->newer < 0 ? &k->newest : &b->block[x->newer].older) = x->older;
    k->n_unused--;
}

/* A cached block may be asked for again; a block that is not cached is allocated first. */
static void link_unused(glia_blocks *b, int32_t i) {
    glia_block *x = &b->block[i];
    glia_block_kind *k = kind_of(b, i);
    x->older = x->cached ? k->newest : -1;
    x->newer = x->cached ? -1 : k->oldest;
    *(x->older < 0 ? &k->oldest : &b->block[x->older].newer) = i;
    *(x->newer < 0 ? &k->newest : &b->block[x->newer].older) = i;
    k->n_unused++;
}

static void hold(glia_blocks *b, int32_t i) {
    if (b->block[i].refs++ == 0) unlink_unused(b, i);
}

static void let_go(glia_blocks *b, int32_t i) {
    assert(b->block[i].refs > 0);
    if (--b->block[i].refs == 0) link_unused(b, i);
}

void glia_blocks_init(glia_blocks *b, void *memory, const glia_blocks_shape *s, bool caching) {
    assert(s->n_blocks % s->members == 0);
    *b = (glia_blocks){.n_blocks = s->n_blocks,
                       .block_size = s->block_size,
                       .members = s->members,
                       .unit = s->unit,
                       .caching = caching};
    b->mask = buckets_for(s->n_blocks) - 1;
    b->block = memory;
    b->kind = (glia_block_kind *)(b->block + s->n_blocks);
    b->bucket = (int32_t *)(b->kind + s->members);
    b->token = b->bucket + b->mask + 1;
    b->epoch = (uint32_t *)(b->token + (size_t)s->n_blocks * (size_t)s->block_size);
    memset(b->epoch, 0, (size_t)s->n_blocks * sizeof *b->epoch);
    memset(b->bucket, 0xff, ((size_t)b->mask + 1) * sizeof *b->bucket);
    for (int m = 0; m < s->members; m++) b->kind[m] = (glia_block_kind){.oldest = -1, .newest = -1};
    for (int32_t i = s->n_blocks; i-- > 0;) {
        b->block[i] = (glia_block){0};
        link_unused(b, i);
    }
}

/* ---- the prefix cache ----------------------------------------------------- */

/* What a block is found by, beside its tokens. */
typedef struct {
    uint64_t tenant;
    int32_t salt, parent;
} prefix;

static uint64_t hash_block(prefix at, const int32_t *tokens, int n) {
    const uint64_t where = (uint64_t)(uint32_t)at.salt << 32 | (uint32_t)at.parent;
    uint64_t h = glia_mix64(at.tenant + where + UINT64_C(0x9e3779b97f4a7c15));
    for (int i = 0; i < n; i++) h = glia_mix64(h + (uint32_t)tokens[i] + UINT64_C(0x9e3779b97f4a7c15));
    return h;
}

static int32_t *tokens_of(const glia_blocks *b, int32_t i) {
    return b->token + (size_t)i * (size_t)b->block_size;
}

/* The cached block with these tokens there, or -1. */
static int32_t find(const glia_blocks *b, prefix at, const int32_t *tokens, uint64_t hash) {
    int32_t i = b->bucket[hash & b->mask];
    for (; i >= 0; i = b->block[i].next)
        if (b->block[i].hash == hash && b->block[i].parent == at.parent && b->block[i].salt == at.salt &&
            b->block[i].tenant == at.tenant &&
            !memcmp(tokens_of(b, i), tokens, (size_t)b->block_size * sizeof *tokens))
            break;
    return i;
}

static void remember(glia_blocks *b, int32_t i, prefix at, const int32_t *tokens, uint64_t hash) {
    glia_block *x = &b->block[i];
    x->tenant = at.tenant;
    x->salt = at.salt;
    x->parent = at.parent;
    x->hash = hash;
    x->cached = true;
    x->next = b->bucket[hash & b->mask];
    b->bucket[hash & b->mask] = i;
    memcpy(tokens_of(b, i), tokens, (size_t)b->block_size * sizeof *tokens);
}

static void forget(glia_blocks *b, int32_t i) {
    int32_t *link = &b->bucket[b->block[i].hash & b->mask];
    while (*link != i) link = &b->block[*link].next;
    *link = b->block[i].next;
    b->block[i].cached = false;
}

/* Where block n of the list stands. */
static prefix prefix_of(const glia_blocks *b, const glia_block_list *list, int n) {
    const bool acts = (int64_t)(n + 1) * b->block_size > list->begins;
    return (prefix){
        .tenant = list->tenant, .salt = acts ? list->salt : 0, .parent = n > 0 ? list->table[n - 1] : -1};
}

/* ---- sequences ------------------------------------------------------------ */

bool glia_blocks_admit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n, int positions) {
    assert(list->n == 0 && list->promised == 0 && list->salt >= 0 && n >= 1 && positions >= n);
    const int size = b->block_size, need = glia_blocks_for(positions, size);
    int hits = 0;
    for (; b->caching && (hits + 1) * size < n; hits++) {
        const prefix at = prefix_of(b, list, hits);
        const int32_t *own = tokens + (size_t)hits * (size_t)size;
        const int32_t i = find(b, at, own, hash_block(at, own, size));
        if (i < 0) break;
        list->table[hits] = i;
    }
    bool room = true; /* counting the unused blocks that will be held */
    for (int i = 0; i < need; i++)
        b->kind[member_of(b, i)].n_promised += i >= hits || b->block[list->table[i]].refs == 0;
    for (int m = 0; m < b->members; m++) room &= b->kind[m].n_promised <= b->kind[m].n_unused;
    for (int i = 0; i < (room ? hits : need); i++)
        b->kind[member_of(b, i)].n_promised -= i >= hits || b->block[list->table[i]].refs == 0;
    if (!room) return false;
    for (int i = 0; i < hits; i++) hold(b, list->table[i]);
    list->n = list->known = hits;
    list->promised = need - hits;
    return true;
}

bool glia_blocks_promise(glia_blocks *b, glia_block_list *list, int positions) {
    const int have = list->n + list->promised, need = glia_blocks_for(positions, b->block_size);
    bool room = true;
    if (need <= have) return true;
    for (int i = have; i < need; i++) b->kind[member_of(b, i)].n_promised++;
    for (int m = 0; m < b->members; m++) room &= b->kind[m].n_promised <= b->kind[m].n_unused;
    for (int i = have; i < need && !room; i++) b->kind[member_of(b, i)].n_promised--;
    if (room) list->promised = need - list->n;
    return room;
}

void glia_blocks_grow(glia_blocks *b, glia_block_list *list, int positions) {
    const int need = glia_blocks_for(positions, b->block_size);
    for (; list->n < need; list->n++) {
        glia_block_kind *kind = &b->kind[member_of(b, list->n)];
        const int32_t i = kind->oldest;
        assert(list->promised > 0 && i >= 0);
        if (b->block[i].cached) forget(b, i);
        hold(b, i);
        b->epoch[i]++;
        list->table[list->n] = i;
        list->promised--;
        kind->n_promised--;
    }
}

void glia_blocks_commit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n) {
    const int size = b->block_size;
    for (; b->caching && (list->known + 1) * size <= n; list->known++) {
        const prefix at = prefix_of(b, list, list->known);
        const int32_t *own = tokens + (size_t)list->known * (size_t)size, mine = list->table[list->known];
        const uint64_t hash = hash_block(at, own, size);
        const int32_t same = find(b, at, own, hash);
        if (same < 0) {
            remember(b, mine, at, own, hash);
            continue;
        }
        hold(b, same);
        let_go(b, mine);
        list->table[list->known] = same;
    }
}

void glia_blocks_release(glia_blocks *b, glia_block_list *list) {
    for (; list->promised > 0; list->promised--)
        b->kind[member_of(b, list->n + list->promised - 1)].n_promised--;
    while (list->n > 0) let_go(b, list->table[--list->n]);
    list->known = 0;
}

int glia_blocks_unused(const glia_blocks *b) {
    int n = 0;
    for (int m = 0; m < b->members; m++) n += b->kind[m].n_unused;
    return n;
}
