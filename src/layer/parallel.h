/* parallel.h - how the ranks of a run share a model: the choices, and the
 * dimensions that follow for one rank. docs/PARALLEL.md draws them. */
#ifndef GLIA_LAYER_PARALLEL_H
#define GLIA_LAYER_PARALLEL_H

#include "format/config.h"
#include "layer/shard.h"

/* The choices, and which rank this is. glia_alone: one rank has all. */
typedef struct {
    int tp, rank;           /* tensor-parallel ranks; 0 <= rank < tp */
    bool vocab_parallel;    /* the embedding is cut by vocabulary, as the head is; else by hidden dimension */
    bool sequence_parallel; /* between blocks, where rows are many, each rank has a part of them */
    bool flash_decoding;    /* ranks that would hold copies of a KV head share its positions instead */
    int cp_degree;          /* ranks that share the rows of a prompt in attention; divides tp */
    bool cp_strided;        /* they take rows in turns, else contiguous parts */
} glia_parallel;

extern const glia_parallel glia_alone;

/* Ranks that can share the rows of a prompt: limit of cp_degree. */
enum { GLIA_CP_MAX = 8 };

/* With flash decoding, positions that a member holds at a time; blocks of the cache divide it. */
enum { GLIA_FLASH_UNIT = 64 };

/* Dimensions of one rank's matrices, padding included: the same on every rank. */
typedef struct {
    glia_head_cut cut;
    /* cp: shards of query heads that the rank holds. With context parallelism these are the cp_degree
     * shards of its union, beginning with number cp_degree * (rank / cp_degree); else 1. shard: which of
     * them is the rank's own. */
    int cp, shard;
    glia_head_cut kv_cut; /* of KV heads: glia_cp_union(), whose rank is rank / cp_degree */
    int heads, kv_heads;  /* of one shard; of the rank, or its union */
    size_t q, kv;         /* columns of them */
    size_t ffn, vocab;    /* columns of gate and of up; of the head */
    size_t embed_vocab, embed_hidden;
    /* Flash decoding: the `members` neighbouring ranks from rank - member on hold the same KV heads and
     * share their positions. Each attends with the query heads of all members over its own positions. */
    int members, member;
} glia_local;
glia_local glia_local_of(const glia_model_config *c, const glia_parallel *p);

#endif
