/* batch.h - one step: its rows, what each row sees, and what is wanted of it.
 *
 * Prefill, chunked prefill, decode, verification of drafts and any mixture of
 * them are one ragged batch. The leader describes the rows as runs and writes
 * them as words (glia_batch_write); the words are broadcast; every rank, the
 * leader too, reads its batch from the words (glia_batch_read).
 *
 * A row is one token. Its key and value go to `slot` of its sequence's cache.
 * `position` is what RoPE sees. Outside a tree slot == position, and the row
 * sees slots 0 .. slot. In a drafted tree siblings share a position and differ
 * in slot; `parent` is then the row of the token before. Such a row sees the
 * cached slots 0 .. base - 1 (base is the position of the tree's first ancestor
 * in this batch), then its ancestors one by one, each at its own position. So
 * the sums are those of the accepted sequence, bit for bit. */
#ifndef GLIA_LAYER_BATCH_H
#define GLIA_LAYER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is wanted of a row. */
typedef enum {
    GLIA_WANT_LOGITS = 1,
    GLIA_WANT_HIDDEN = 2,   /* the hidden state after the last norm */
    GLIA_WANT_RESIDUAL = 4, /* the residual stream after the layers that the decoder's limits name */
} glia_want;

/* Neighbouring rows of one sequence at consecutive positions and slots. */
typedef struct {
    int seq;            /* row of the block table */
    int position, slot; /* of the first row */
    int n;              /* rows, at least 1 */
    bool tree;   /* the rows are a chain of a tree: the parent of each row but the first is the row before */
    int parent;  /* the parent of the first row, a row of the batch or -1; ignored without `tree` */
    int adapter; /* 0: none */
    unsigned want;        /* glia_want bits */
    bool last;            /* `want` applies to the last row only */
    const int32_t *token; /* [n] */
} glia_run;

/* The rows of a step in order; rows of one sequence are consecutive. */
typedef struct {
    int n_rows;
    const int32_t *token;    /* [n_rows] */
    const int32_t *seq;      /* [n_rows] row of block_table */
    const int32_t *position; /* [n_rows] */
    const int32_t *slot;     /* [n_rows] */
    const int32_t *parent;   /* [n_rows] a row, or -1: every position before is at slot == position. NULL:
                                -1 for all */
    const int32_t *adapter;  /* [n_rows], 0: none. NULL: 0 for all */

    int n_seqs;
    int max_blocks;             /* row stride of block_table */
    const int32_t *block_table; /* [n_seqs, max_blocks] slot s is in block table[s / block_size] */

    /* Rows of which something is wanted, ascending. */
    int n_logits, n_hidden, n_residual;
    const int32_t *logit_row;    /* [n_logits] */
    const int32_t *hidden_row;   /* [n_hidden] */
    const int32_t *residual_row; /* [n_residual] */
} glia_batch;

/* Number of words that hold any batch of `rows` rows. */
size_t glia_batch_words(size_t rows);
/* Words of `rows` rows in `runs` runs without trees and adapters: one a row, four a run. */
size_t glia_batch_words_plain(size_t rows, size_t runs);
/* Number of int32_t that glia_batch_read() needs for a batch of `rows` rows. */
size_t glia_batch_memory(size_t rows);

/* Write runs [n] as words. Returns how many words. */
size_t glia_batch_write(int32_t *words, const glia_run *run, int n);

/* Read all of *b but the block table. `memory` [glia_batch_memory(rows)] and the words, into which
 * *b points, must outlive it. Returns how many words were read. */
size_t glia_batch_read(glia_batch *b, const int32_t *words, int32_t *memory);

#endif
