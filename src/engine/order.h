/* order.h - what the leader tells all ranks, as words.
 *
 * An order is one buffer of int32_t: its kind and length, then what the kind
 * needs. A step's order holds keys and values to copy before the step, the changed
 * entries of the block tables, the batch
 * (layer/batch.h), and the use of each row of logits. Tokens and block tables are
 * in the order, so a follower knows of no request. Pure functions of words. */
#ifndef GLIA_ENGINE_ORDER_H
#define GLIA_ENGINE_ORDER_H

#include "engine/limits.h"
#include "layer/batch.h"

typedef enum {
    ORDER_STEP,    /* put adapters into places, then take a step */
    ORDER_LOGITS,  /* gather whole rows of the last step's logits */
    ORDER_MEASURE, /* measure ceilings */
    ORDER_DRAFT,   /* what a draft that ranks share does next */
    ORDER_END      /* nothing follows */
} glia_order_kind;

/* What a row of logits is for. */
typedef struct {
    int32_t best;  /* candidates that each rank finds in its shard, as glia_draw_best(); 0: the whole row */
    float divisor; /* as glia_draw_divisor() */
} glia_logits_use;

/* The key and value of a position that are copied before a step, as glia_decoder_copy_kv(). */
typedef struct {
    int32_t to_block, to_at, from_block, from_at;
} glia_kv_move;
/* An adapter that is put into a place. */
typedef struct {
    int32_t place, adapter;
} glia_order_adapter;

/* An order as it is read. Pointers point into the words. */
typedef struct {
    glia_order_kind kind;
    const glia_kv_move *move; /* of ORDER_STEP [n_moves] */
    int n_moves;
    glia_batch batch;           /* of ORDER_STEP, all but its block table */
    const glia_logits_use *use; /* of ORDER_STEP [batch.n_logits] */
    const int32_t *row;         /* of ORDER_LOGITS [n]: which rows of logits */
    int n;
    const glia_order_adapter *adapter; /* of ORDER_STEP [n_adapters] */
    int n_adapters;
    const int32_t *draft; /* of ORDER_DRAFT: the draft's words */
} glia_order;

/* Words of the longest order, whole cache lines. */
size_t glia_order_words(const glia_model_config *c, const glia_engine_limits *l);
/* Words of the first broadcast: enough for a decode step in which every sequence gets a new block. */
size_t glia_order_first_words(const glia_model_config *c, const glia_engine_limits *l);
/* Words of this order so far. */
size_t glia_order_length(const int32_t *words);

/* To write an order, call glia_order_begin(). For ORDER_STEP then write the moves, the adapters, all tables,
 * the batch and the uses. For ORDER_LOGITS write the rows. */
void glia_order_begin(int32_t *words, glia_order_kind kind);
void glia_order_moves(int32_t *words, const glia_kv_move *move, int n);
void glia_order_put(int32_t *words, int place, int32_t adapter);
/* Write the entries of a sequence's row of the block tables that differ: its blocks [n] against `known`, what
 * the ranks have so far. The row begins at entry `first` of the tables. */
void glia_order_table(int32_t *words, const int32_t *known, int first, const int32_t *blocks, int n);
void glia_order_batch(int32_t *words, const glia_run *run, int n);
void glia_order_use(int32_t *words, const glia_logits_use *use, int n);
void glia_order_row(int32_t *words, int32_t row);
/* Begin ORDER_DRAFT. Returns where the draft writes its words; glia_order_draft_end() tells how many. */
int32_t *glia_order_draft(int32_t *words);
void glia_order_draft_end(int32_t *words, size_t n);

/* Read an order and put the changed entries into the block tables `table`.
 * memory [glia_batch_memory(rows of a step)] holds what *o points to besides the words. */
void glia_order_read(glia_order *o, const int32_t *words, int32_t *table, int32_t *memory);

#endif
