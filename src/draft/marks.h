/* marks.h - which positions of the target's cache blocks a draft has its own state of.
 *
 * A draft writes its state block by block, later than the target or not at all. A block
 * that the target allocates anew has lost its state. */
#ifndef GLIA_DRAFT_MARKS_H
#define GLIA_DRAFT_MARKS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int block_size;
    const uint32_t *epoch; /* [n_blocks] glia_draft.epoch */
    uint32_t *seen;        /* [n_blocks] the epoch of what was written */
    int32_t *n;            /* [n_blocks] leading positions of the block that were written */
} glia_marks;

/* Bytes of the memory of marks; zeros mark nothing. */
size_t glia_marks_bytes(int n_blocks);
/* memory [glia_marks_bytes()] is zeroed and stays the caller's. */
void glia_marks_init(glia_marks *m, void *memory, int n_blocks, int block_size, const uint32_t *epoch);

/* How many of the first n positions of a table are there without a gap. */
int glia_marks_leading(const glia_marks *m, const int32_t *table, int n);
/* Positions [0, n) of the table are there now, and no later one of its last block. */
void glia_marks_set(glia_marks *m, const int32_t *table, int n);

#endif
