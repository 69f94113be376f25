/* batch.c - see batch.h.
 *
 * The words: the number of rows and of runs; the token of every row; then the
 * runs, 4 words each and one more for each fact that is not the usual one. */
#include "layer/batch.h"

#include <assert.h>
#include <string.h>

enum { WORD_ROWS, WORD_RUNS, HEADER };
enum { RUN_SEQ, RUN_POSITION, RUN_ROWS, RUN_FLAGS, RUN };
enum { OPTIONAL = 3, LISTS = 8 };

/* Flags of a run: its glia_want bits, and which words follow the run. */
enum { WANTS = 7, LAST = 8, HAS_SLOT = 16, HAS_PARENT = 32, HAS_ADAPTER = 64 };

size_t glia_batch_words(size_t rows) { return HEADER + rows * (1 + RUN + OPTIONAL); }

size_t glia_batch_words_plain(size_t rows, size_t runs) { return HEADER + rows + RUN * runs; }

size_t glia_batch_memory(size_t rows) { return rows * LISTS; }

static int32_t flags_of(const glia_run *r) {
    return (int32_t)(r->want & WANTS) | (r->last ? LAST : 0) | (r->slot != r->position ? HAS_SLOT : 0) |
           (r->tree ? HAS_PARENT : 0) | (r->adapter ? HAS_ADAPTER : 0);
}

static int32_t *write_run(int32_t *w, const glia_run *r) {
    const int32_t flags = flags_of(r);
    *w++ = r->seq;
    *w++ = r->position;
    *w++ = r->n;
    *w++ = flags;
    if (flags & HAS_SLOT) *w++ = r->slot;
    if (flags & HAS_PARENT) *w++ = r->parent;
    if (flags & HAS_ADAPTER) *w++ = r->adapter;
    return w;
}

size_t glia_batch_write(int32_t *words, const glia_run *run, int n) {
    int32_t *w = words + HEADER;
    for (int i = 0; i < n; i++) {
        assert(run[i].n >= 1);
        memcpy(w, run[i].token, (size_t)run[i].n * sizeof *w);
        w += run[i].n;
    }
    words[WORD_ROWS] = (int32_t)(w - words) - HEADER;
    words[WORD_RUNS] = n;
    for (int i = 0; i < n; i++) w = write_run(w, &run[i]);
    return (size_t)(w - words);
}

/* All but the tokens; returns the words behind the run. */
static const int32_t *read_run(glia_run *r, const int32_t *w) {
    const int32_t flags = w[RUN_FLAGS];
    *r = (glia_run){.seq = w[RUN_SEQ],
                    .position = w[RUN_POSITION],
                    .slot = w[RUN_POSITION],
                    .n = w[RUN_ROWS],
                    .tree = flags & HAS_PARENT,
                    .want = (unsigned)flags & WANTS,
                    .last = flags & LAST};
    w += RUN;
    if (flags & HAS_SLOT) r->slot = *w++;
    if (flags & HAS_PARENT) r->parent = *w++;
    if (flags & HAS_ADAPTER) r->adapter = *w++;
    return w;
}

/* The lists of a batch as they are filled. */
typedef struct {
    int32_t *seq, *position, *slot, *parent, *adapter, *logits, *hidden, *residual;
} lists;

static void want(glia_batch *b, const lists *l, unsigned wants, int32_t row) {
    if (wants & GLIA_WANT_LOGITS) l->logits[b->n_logits++] = row;
    if (wants & GLIA_WANT_HIDDEN) l->hidden[b->n_hidden++] = row;
    if (wants & GLIA_WANT_RESIDUAL) l->residual[b->n_residual++] = row;
}

static void add_rows(glia_batch *b, const lists *l, const glia_run *r, int first) {
    for (int k = 0; k < r->n; k++) {
        const int row = first + k;
        l->seq[row] = r->seq;
        l->position[row] = r->position + k;
        l->slot[row] = r->slot + k;
        l->parent[row] = !r->tree ? -1 : k ? row - 1 : r->parent;
        l->adapter[row] = r->adapter;
        if (!r->last || k == r->n - 1) want(b, l, r->want, row);
    }
    if (r->tree) b->parent = l->parent;
    if (r->adapter) b->adapter = l->adapter;
}

size_t glia_batch_read(glia_batch *b, const int32_t *words, int32_t *memory) {
    const int n = words[WORD_ROWS];
    const lists l = {memory,         memory + n,     memory + 2 * n, memory + 3 * n,
                     memory + 4 * n, memory + 5 * n, memory + 6 * n, memory + 7 * n};
    const int32_t *w = words + HEADER + n;
    *b = (glia_batch){.n_rows = n,
                      .token = words + HEADER,
                      .seq = l.seq,
                      .position = l.position,
                      .slot = l.slot,
                      .logit_row = l.logits,
                      .hidden_row = l.hidden,
                      .residual_row = l.residual};
    int row = 0;
    for (int i = 0; i < words[WORD_RUNS]; i++) {
        glia_run r;
        w = read_run(&r, w);
        assert(row + r.n <= n);
        add_rows(b, &l, &r, row);
        row += r.n;
    }
    assert(row == n);
    return (size_t)(w - words);
}
