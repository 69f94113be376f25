/* blocks.h - which sequences hold which blocks of the KV cache, and which tokens a
 * block has.
 *
 * The block manager has counts, hashes and links, and no tensor. At admission a
 * sequence is promised the blocks of its tokens, and more when it grows. It allocates
 * them one by one, so that blocks cached by others live as long as possible.
 *
 * The prefix cache finds a full block by the block before it and by its tokens.
 * Both are compared exactly; a hash only finds candidates. A block that no
 * sequence holds keeps its contents until it is allocated again; the least recently
 * used block is allocated first. A sequence holds a whole prefix and releases its
 * last block first. So the later of two unused blocks of a prefix is always
 * allocated first, and no block outlives the block before it.
 *
 * With flash decoding the members of a group store different positions. Member
 * i % members stores block i, and the n-th block of a sequence belongs to member
 * n / unit mod members. The blocks of each member are counted, promised and
 * allocated apart. */
#ifndef GLIA_ENGINE_BLOCKS_H
#define GLIA_ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t refs;         /* sequences that hold the block */
    int32_t older, newer; /* neighbours in the list of unused blocks, -1: none */
    int32_t parent;       /* the block before this one in its prefix; -1 for the first */
    int32_t salt;         /* of the sequence, if its adapter acts in this block */
    int32_t next;         /* next block of the hash bucket, -1: none */
    bool cached;          /* full, and found by glia_blocks_admit() */
    uint64_t hash, tenant;
} glia_block;

/* The blocks of one member. */
typedef struct {
    int n_unused, n_promised;
    int32_t oldest, newest; /* ends of the list of unused blocks */
} glia_block_kind;

typedef struct {
    int n_blocks, block_size;
    int members, unit; /* each member has `unit` neighbouring blocks of a sequence at a time */
    bool caching;
    glia_block_kind *kind; /* [members] */
    uint32_t mask;         /* buckets - 1 */
    glia_block *block;     /* [n_blocks] */
    int32_t *bucket;       /* [mask + 1] */
    int32_t *token;        /* [n_blocks, block_size] tokens of cached blocks */
    uint32_t *epoch;       /* [n_blocks] how often each block was allocated */
} glia_blocks;

/* The blocks of one sequence. */
typedef struct {
    int32_t *table;  /* [enough] the caller's memory */
    int n;           /* blocks held */
    int promised;    /* blocks that may still be allocated */
    int known;       /* leading blocks that are in the prefix cache */
    int32_t salt;    /* the adapter's number: sequences of different salt share no block from `begins` on */
    int begins;      /* the first position that the adapter changes: 0, or that of its invocation tokens */
    uint64_t tenant; /* the hash of the request's cache_salt: the same */
} glia_block_list;

/* What fixes the memory of a block manager. */
typedef struct {
    int n_blocks, block_size; /* n_blocks: a multiple of members */
    int members, unit;        /* 1 and 1: every rank stores all positions */
} glia_blocks_shape;

size_t glia_blocks_bytes(const glia_blocks_shape *s);
/* memory [glia_blocks_bytes()], aligned to 8, stays the caller's. */
void glia_blocks_init(glia_blocks *b, void *memory, const glia_blocks_shape *s, bool caching);
/* Blocks that are enough for any `batch` sequences of `positions` each. */
int glia_blocks_enough(int batch, int positions, const glia_blocks_shape *s);

/* Blocks of `positions` positions. */
static inline int glia_blocks_for(int positions, int block_size) {
    return (positions + block_size - 1) / block_size;
}

/* Hold the cached blocks of the longest prefix of tokens [n], without the last token,
 * and promise the other blocks of `positions`. Returns false and changes nothing while
 * there is no room. The list must be empty, with table, salt and begins set. Afterwards
 * list->n * block_size positions are in the cache. */
bool glia_blocks_admit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n, int positions);
/* Promise more blocks, until the list may grow to `positions`. Returns false and changes nothing while there
 * is no room. */
bool glia_blocks_promise(glia_blocks *b, glia_block_list *list, int positions);
/* Allocate promised blocks until the list covers `positions`. */
void glia_blocks_grow(glia_blocks *b, glia_block_list *list, int positions);
/* The keys and values of the first n tokens are computed: put the full blocks into the
 * prefix cache. A block equal to a cached one is replaced by it; their bits are equal. */
void glia_blocks_commit(glia_blocks *b, glia_block_list *list, const int32_t *tokens, int n);
/* Blocks that no sequence holds. */
int glia_blocks_unused(const glia_blocks *b);
/* Release all blocks and promises; the list is empty afterwards. */
void glia_blocks_release(glia_blocks *b, glia_block_list *list);

#endif
