/* sum.c - the sums and cuts that every algorithm shares. */
#include "base/team.h"
#include "comm/impl.h"

enum { FLOATS = GLIA_LINE / sizeof(float), EXTRA_BYTES = 32 * 1024 };

bool glia_comm_in_one_go(size_t n, int size) {
    /* Reading all of all is (size - 1) n floats, twice the parts 2 (size - 1) / size n:
     * what it reads more costs less than a second meeting up to about EXTRA_BYTES. */
    const size_t p = (size_t)size;
    return size <= 2 || (p - 1) * (p - 2) * n * sizeof(float) <= p * EXTRA_BYTES;
}

void glia_comm_part(size_t n, int i, int of, size_t *from, size_t *to) {
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

/* A cache line of floats, added lane by lane, wherever it stands. */
typedef float line __attribute__((vector_size(GLIA_LINE), aligned(4), may_alias));

static const float *operand(const glia_operands *src, int p) {
    return (const float *)(const void *)(src->base[src->member ? src->member[p] : p] + src->at);
}

void glia_comm_add_up(float *out, const glia_operands *src, int n_src, size_t n, bool add) {
    size_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        line sum = *(const line *)(operand(src, 0) + i), *to = (line *)(out + i);
        for (int p = 1; p < n_src; p++) sum += *(const line *)(operand(src, p) + i);
        if (add)
            *to += sum;
        else
            *to = sum;
    }
    for (; i < n; i++) {
        float sum = operand(src, 0)[i];
        for (int p = 1; p < n_src; p++) sum += operand(src, p)[i];
        out[i] = add ? out[i] + sum : sum;
    }
}
