/* batch.h - one step's plan: which tokens, of which sequences, where, seeing what.
 *
 * Prefill, chunked prefill, decode, verification of a drafted tree and any
 * mixture of them are all one ragged batch. The engine fills it, layers read
 * it; this keeps the circles out of the house.
 *
 * A row is one token. Its key and value go to `slot` of its sequence's cache;
 * `position` is what RoPE sees and which earlier keys there are. Outside a tree
 * slot == position. In a drafted tree siblings share a position and differ in
 * slot; `parent` is then the row of the token before it, and the row sees:
 * cached slots 0 .. base-1 (base = the position of the tree's first ancestor
 * in this batch), then its ancestors one by one, each at its own position. So
 * the sums are those of the accepted sequence, bit for bit. */
#ifndef GLIA_LAYER_BATCH_H
#define GLIA_LAYER_BATCH_H

#include <stdint.h>

typedef struct {
    int n_rows;
    const int32_t *token;    /* [n_rows] */
    const int32_t *seq;      /* [n_rows] index into block_table; rows of one sequence are consecutive */
    const int32_t *position; /* [n_rows] */
    const int32_t *slot;     /* [n_rows] */
    const int32_t *parent;   /* [n_rows] row of the predecessor when that is in a tree with this row;
                                -1: all positions before are at slot == position. NULL: -1 for all */

    int n_seqs;
    int max_blocks;             /* row stride of block_table */
    const int32_t *block_table; /* [n_seqs, max_blocks] slot s is in block table[s / block_size] */

    int n_logits;
    const int32_t *logit_row; /* [n_logits] rows that want logits, ascending */
} glia_batch;

#endif
