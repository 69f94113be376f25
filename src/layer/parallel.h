/* parallel.h - how ranks share a model: the choices, and the dimensions of one
 * rank's matrices that follow. docs/PARALLEL.md draws them. */
#ifndef GLIA_LAYER_PARALLEL_H
#define GLIA_LAYER_PARALLEL_H

#include "format/config.h"
#include "layer/shard.h"

/* The choices, and the number of this rank. glia_alone: one rank has the whole model. */
typedef struct {
    int tp, rank;           /* tensor-parallel ranks; 0 <= rank < tp */
    bool vocab_parallel;    /* the embedding is cut by vocabulary, as the head is; else by hidden dimension */
    bool sequence_parallel; /* between blocks, each rank holds a share of the rows if rows are many */
    bool flash_decoding;    /* ranks that would hold copies of a KV head share its positions instead */
    int cp_degree;          /* ranks that share the rows of a prompt in attention; divides tp */
    bool cp_strided;        /* these ranks take rows in rotation, else contiguous shares */
} glia_parallel;

extern const glia_parallel glia_alone;

/* Limit of cp_degree. */
enum { GLIA_CP_MAX = 8 };

/* Positions of a stripe in flash decoding; a multiple of the positions of a cache block. */
enum { GLIA_FLASH_UNIT = 64 };

/* Dimensions of one rank's matrices with padding. They are the same on every rank. */
typedef struct {
    glia_head_cut cut;
    /* cp: shards of query heads that the rank holds. With context parallelism these are the cp_degree
     * shards of its union, beginning with number cp_degree * (rank / cp_degree); else 1. shard: which of
     * them is the rank's own. */
    int cp, shard;
    glia_head_cut kv_cut; /* of KV heads: glia_cp_union(), whose rank is rank / cp_degree */
    int heads, kv_heads;  /* query heads of one shard; KV heads of the rank, or of its union */
    size_t q, kv;         /* columns of these heads */
    size_t ffn, vocab;    /* columns of gate and of up; columns of the head */
    size_t embed_vocab, embed_hidden;
    /* Flash decoding: the `members` neighbouring ranks from rank - member on hold the same KV heads and
     * share their positions. Each attends with the query heads of all members over its own positions. */
    int members, member;
} glia_local;
glia_local glia_local_of(const glia_model_config *c, const glia_parallel *p);

#endif
