/* sum.c - the sums and slices that every algorithm shares. */
#include "base/team.h"
#include "comm/impl.h"

enum { FLOATS = GLIA_LINE / sizeof(float), EXTRA_BYTES = 32 * 1024, CHUNK = 1024 };

bool glia_comm_in_one_go(size_t n, int size, int per_rank) {
    /* Reading up to about EXTRA_BYTES more costs less than a second meeting. */
    const size_t p = (size_t)size, c = (size_t)per_rank;
    return p == 1 || (p - 1) * (c * p - c - 1) * n * sizeof(float) <= p * EXTRA_BYTES;
}

void glia_comm_slice(size_t n, int i, int of, size_t *from, size_t *to) {
    glia_share((n + FLOATS - 1) / FLOATS, i, of, from, to);
    *from *= FLOATS;
    *to *= FLOATS;
    if (*from > n) *from = n;
    if (*to > n) *to = n;
}

int glia_comm_holder(const glia_gather *g, int size, size_t col) {
    const size_t i = col / g->unit;
    size_t from, to;
    int p = (int)(i * (size_t)size / g->n);
    for (glia_share(g->n, p, size, &from, &to); to <= i; glia_share(g->n, p, size, &from, &to)) p++;
    return p;
}

/* Four floats at any address, which every x86-64 and arm64 processor adds at once. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

static const float *summand(const glia_summands *src, int i) {
    const int p = i / src->per_rank;
    const char *first = src->base[src->member ? src->member[p] : p] + src->at;
    return (const float *)(const void *)(first + (size_t)(i % src->per_rank) * src->stride);
}

/* to = a + b, or to += a + b. A NULL b leaves a alone. */
static void add_two(float *to, const float *a, const float *b, size_t n, bool add) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        four x = *(const four *)(a + i), y = *(const four *)(a + i + 4);
        if (b) {
            x += *(const four *)(b + i);
            y += *(const four *)(b + i + 4);
        }
        if (add) {
            x = *(four *)(to + i) + x;
            y = *(four *)(to + i + 4) + y;
        }
        *(four *)(to + i) = x;
        *(four *)(to + i + 4) = y;
    }
    for (; i < n; i++) {
        const float x = b ? a[i] + b[i] : a[i];
        to[i] = add ? to[i] + x : x;
    }
}

void glia_comm_add_up(float *out, const glia_summands *src, size_t n, bool add) {
    const int n_src = src->n * src->per_rank;
    float sum[CHUNK]; /* of all summands but the last */
    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t k = n - i < CHUNK ? n - i : CHUNK;
        const float *before = summand(src, 0) + i;
        for (int p = 1; p < n_src - 1; p++) {
            add_two(sum, before, summand(src, p) + i, k, false);
            before = sum;
        }
        add_two(out + i, before, n_src > 1 ? summand(src, n_src - 1) + i : NULL, k, add);
    }
}
