/* blocks.h - who holds which block of the KV cache, and what a block remembers.
 *
 * Counts, hashes and links only; no tensor. A sequence is promised at admission
 * every block it can ever need, so it never runs out midway, and takes them one
 * by one, so that what others left in the cache lives as long as it can.
 *
 * A full block is known by the block before it and its own tokens, compared
 * exactly: a hash only finds candidates. Blocks of no sequence keep their
 * contents until they are taken, the longest unused first. A sequence holds a
 * whole prefix and gives its last block back first, so of two unused blocks the
 * later in a prefix always goes first and no block outlives the one before it.
 *
 * Where ranks share positions (flash decoding), each stores its blocks only. A
 * block's number modulo the members is the member that stores it, and the n-th
 * block of a sequence is one of member n / unit mod members: kinds of blocks that
 * are counted, promised and taken apart. */
#ifndef GLIA_ENGINE_BLOCKS_H
#define GLIA_ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t refs;         /* sequences that hold it */
    int32_t older, newer; /* neighbours among the unused, -1: none */
    int32_t parent;       /* the block before it in its prefix; -1 - salt for the first */
    int32_t next;         /* in its bucket, -1: none */
    bool cached;          /* full, and found by glia_blocks_admit() */
    uint64_t hash;
} glia_block;

/* The blocks of one member. */
typedef struct {
    int n_unused, n_promised;
    int32_t oldest, newest; /* of the unused */
} glia_block_kind;

typedef struct {
    int n_blocks, block_size;
    int members, unit; /* unit: neighbouring blocks of one member */
    bool caching;
    glia_block_kind *kind; /* [members] */
    uint32_t mask;         /* buckets - 1 */
    glia_block *block;     /* [n_blocks] */
    int32_t *bucket;       /* [mask + 1] */
    int32_t *token;        /* [n_blocks, block_size] of cached blocks */
} glia_blocks;

/* The blocks of one sequence. */
typedef struct {
    int32_t *table; /* [enough] the caller's memory */
    int n;          /* blocks held */
    int promised;   /* blocks that it may still take */
    int known;      /* leading blocks that the cache knows */
    int32_t salt;   /* sequences of different salt share nothing (an adapter's number) */
} glia_block_list;

/* What fixes the memory of a block manager. */
typedef struct {
    int n_blocks, block_size; /* n_blocks: a multiple of members */
    int members, unit;        /* 1 and 1: positions are not shared */
} glia_blocks_shape;

size_t glia_blocks_bytes(const glia_blocks_shape *s);
/* `memory`: glia_blocks_bytes(), aligned to 8; the caller keeps and frees it. */
void glia_blocks_init(glia_blocks *b, void *memory, const glia_blocks_shape *s, bool caching);
/* Blocks for `batch` sequences of `positions` each, whatever they are. */
int glia_blocks_enough(int batch, int positions, const glia_blocks_shape *s);

/* Blocks that `positions` take. */
static inline int glia_blocks_for(int positions, int block_size) {
    return (positions + block_size - 1) / block_size;
}

/* Take the cached blocks that begin tokens [n], leaving at least the last token
 * to compute, and promise what `positions` need besides. False, and nothing
 * done, while there is no room. The list must be empty, with table and salt
 * set; afterwards list->n * block_size positions are in the cache. */
bool glia_blocks_admit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n, int positions);
/* Take promised blocks until the list covers `positions`. */
void glia_blocks_grow(glia_blocks *b, glia_block_list *list, int positions);
/* The first n tokens have their keys and values: make the full blocks known. A
 * block equal to a known one is given back for it; their bits are the same. */
void glia_blocks_commit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n);
/* Give back all blocks and promises; the list is empty after. */
void glia_blocks_release(glia_blocks *b, glia_block_list *list);

#endif
