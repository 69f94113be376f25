/* shard.c - see shard.h. */
#include "layer/shard.h"

#include <assert.h>

/* ---- even parts --------------------------------------------------------------- */

void glia_even_shard(size_t n, int ranks, int rank, size_t *from, size_t *to) {
    const size_t size = glia_even_size(n, ranks);
    *from = size * (size_t)rank;
    *to = *from + size;
    if (*from > n) *from = n;
    if (*to > n) *to = n;
}

/* ---- heads -------------------------------------------------------------------- */

static int round_up(int n, int to) { return (n + to - 1) / to * to; }

glia_head_cut glia_cut_heads(int heads, int kv_heads, int ranks) {
    assert(ranks >= 1 && kv_heads >= 1 && heads % kv_heads == 0);
    glia_head_cut c = {.ranks = ranks, .heads = heads, .kv_heads = kv_heads};
    c.q = round_up(heads, ranks) / ranks;
    if (kv_heads % ranks == 0) {
        c.rule = GLIA_HEADS_CUT;
        c.kv = kv_heads / ranks;
    } else if (ranks % kv_heads == 0) {
        c.rule = GLIA_HEADS_REPLICATE;
        c.kv = 1;
    } else {
        c.rule = GLIA_HEADS_CONVERT;
        c.kv = c.q;
    }
    return c;
}

const char *glia_head_rule_name(glia_head_rule rule) {
    static const char *const names[] = {"CUT", "REPLICATE_TO_TP_DEGREE", "CONVERT_TO_MHA"};
    return names[rule];
}

int glia_q_head(const glia_head_cut *c, int i) {
    if (c->rule != GLIA_HEADS_REPLICATE) return i < c->heads ? i : -1; /* zeros at the end */
    /* Zeros at the end of each group, so that a group stays on its KV head's ranks. */
    const int padded = c->q * c->ranks / c->kv_heads, real = c->heads / c->kv_heads;
    return i % padded < real ? i / padded * real + i % padded : -1;
}

int glia_kv_head(const glia_head_cut *c, int i) {
    switch (c->rule) {
    case GLIA_HEADS_CUT: return i;
    case GLIA_HEADS_REPLICATE: return i / (c->ranks / c->kv_heads);
    case GLIA_HEADS_CONVERT: break;
    }
    return i < c->heads ? i / (c->heads / c->kv_heads) : -1;
}

/* ---- a weight's rows ---------------------------------------------------------- */

size_t glia_shard_size(const glia_shard *s) {
    switch (s->kind) {
    case GLIA_SHARD_ALL: return s->n;
    case GLIA_SHARD_EVEN: return glia_even_size(s->n, s->ranks);
    case GLIA_SHARD_Q: return (size_t)s->heads->q * (size_t)s->head_dim;
    case GLIA_SHARD_KV: break;
    }
    return (size_t)s->heads->kv * (size_t)s->head_dim;
}

ptrdiff_t glia_shard_source(const glia_shard *s, size_t i) {
    const size_t whole = (size_t)s->rank * glia_shard_size(s) + i;
    if (s->kind == GLIA_SHARD_ALL) return (ptrdiff_t)i;
    if (s->kind == GLIA_SHARD_EVEN) return whole < s->n ? (ptrdiff_t)whole : -1;
    const int place = (int)(whole / (size_t)s->head_dim);
    const int head = s->kind == GLIA_SHARD_Q ? glia_q_head(s->heads, place) : glia_kv_head(s->heads, place);
    return head < 0 ? -1 : (ptrdiff_t)head * s->head_dim + (ptrdiff_t)(whole % (size_t)s->head_dim);
}

bool glia_shard_next(const glia_shard *s, glia_slice *slice) {
    const size_t size = glia_shard_size(s), head = (size_t)s->head_dim;
    const bool by_head = s->kind == GLIA_SHARD_Q || s->kind == GLIA_SHARD_KV;
    size_t i = slice->n ? slice->to + slice->n - s->at : 0;
    while (i < size && glia_shard_source(s, i) < 0) i += by_head ? head : size;
    if (i >= size) return false;
    slice->to = s->at + i;
    slice->from = (size_t)glia_shard_source(s, i);
    if (s->kind == GLIA_SHARD_ALL) slice->n = size;
    if (s->kind == GLIA_SHARD_EVEN) slice->n = s->n - slice->from < size ? s->n - slice->from : size;
    if (by_head)
        for (slice->n = head; i + slice->n < size &&
                              glia_shard_source(s, i + slice->n) == (ptrdiff_t)(slice->from + slice->n);)
            slice->n += head;
    return true;
}

/* ---- flash decoding and context parallelism ------------------------------------ */

int glia_flash_group(const glia_head_cut *c) {
    return c->rule == GLIA_HEADS_REPLICATE ? c->ranks / c->kv_heads : 1;
}

glia_head_cut glia_cp_union(const glia_head_cut *c, int degree) {
    glia_head_cut u = *c;
    const int group = glia_flash_group(c);
    assert(degree >= 1 && c->ranks % degree == 0);
    u.q = degree * c->q;
    if (degree % group == 0) {
        u.ranks = c->ranks / degree;
        u.kv = degree / group * c->kv;
        if (c->rule == GLIA_HEADS_REPLICATE) u.rule = GLIA_HEADS_CUT; /* each head once again */
    } else if (group % degree == 0) {
        u.ranks = c->ranks / degree; /* fewer copies */
    } else {
        u.kv = degree; /* one for each shard, as they are */
    }
    return u;
}

size_t glia_cp_row(bool strided, size_t n, int degree, int place, size_t k) {
    return strided ? k * (size_t)degree + (size_t)place : n / (size_t)degree * (size_t)place + k;
}

size_t glia_cp_index(bool strided, size_t n, int ranks, int degree, size_t i) {
    const size_t places = (size_t)degree, chunk = n / (size_t)ranks;
    const size_t place = strided ? i % places : i / (n / places), k = strided ? i / places : i % (n / places);
    return (k / chunk * places + place) * chunk + k % chunk;
}
