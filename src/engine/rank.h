/* rank.h - one rank of a running model: its share of the weights, its team and
 * its decoder, and the orders by which all ranks take the same steps.
 *
 * Rank 0 leads. It writes an order, gives it to all ranks in one broadcast and
 * obeys it as they do: rows, changed blocks, and what each row of logits is
 * wanted for. Tokens and block tables are in the order, so that a follower knows
 * of no request. Alone there is nobody to tell, and the rest is the same. */
#ifndef GLIA_ENGINE_RANK_H
#define GLIA_ENGINE_RANK_H

#include "comm/comm.h"
#include "decode/sampling.h"
#include "engine/blocks.h"
#include "engine/engine.h"

typedef struct {
    const glia_weights *weights;
    glia_comm *world; /* its area is shared; NULL: alone */
    glia_engine_limits limits;
    unsigned cpu_flags;
    int threads;
    int place, places; /* which of how many teams that share these cores */
} glia_rank_config;

typedef struct {
    glia_rank_config config;
    int rank, ranks;
    size_t part;         /* logits of the largest part of the vocabulary */
    size_t first, vocab; /* of this rank's part, what is real of it */
    glia_team *team;
    glia_decoder *decoder;
    glia_plan plan;
    int max_blocks;
    int32_t *token, *seq, *position, *slot, *logit_row; /* [rows of a step] */
    int32_t *table;                                     /* [batch + 1, max_blocks] */
    int32_t *order[2];  /* in turns: the last one may still be read by other ranks */
    size_t order_first; /* words that the first broadcast carries */
    unsigned turn;
    glia_sampler *sampler; /* [threads] */
    char *found;           /* in the area: this rank's parts, one behind the other */
    char *gathered;        /* every rank's found */
    float *logits;         /* [logit rows, ranks * part] of the leader: whole rows */
    /* Of the last step: */
    int n_logits;
    int32_t *best;      /* [n_logits] as glia_draw_best(): 0: whole */
    float *divisor;     /* [n_logits] */
    size_t *found_at;   /* [n_logits] in found */
    size_t found_bytes; /* of one rank */
} glia_rank;

/* The blocks of the cache, of all members together where ranks share positions. */
glia_blocks_shape glia_rank_blocks(const glia_model_config *c, const glia_parallel *p,
                                   const glia_engine_limits *l);
/* Bytes of each rank's area, the decoder's included. */
size_t glia_rank_area_bytes(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l);
/* Everything a rank allocates besides its weights and its area. Plan only. */
void glia_rank_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                    int threads, glia_plan *plan);
/* Rows that may be scored at once. */
int glia_rank_score_rows(const glia_model_config *c, const glia_engine_limits *l);

/* Called by the thread that will be thread 0. All ranks of a world open or none:
 * `own` and *err say how the caller fared so far. On failure nothing is held. */
glia_status glia_rank_open(glia_rank *r, const glia_rank_config *config, glia_status own, glia_err *err);
void glia_rank_close(glia_rank *r);

/* ---- the leader ------------------------------------------------------------- */

typedef enum {
    ORDER_STEP,    /* take a step */
    ORDER_LOGITS,  /* gather whole rows of the last step's logits */
    ORDER_MEASURE, /* ceilings */
    ORDER_END      /* nothing follows */
} glia_order_kind;

typedef enum { LOGITS_NONE, LOGITS_LAST, LOGITS_ALL } glia_rows_logits;

/* Rows of one sequence, at positions at, at + 1, ... */
typedef struct {
    int32_t seq, at, n;
    int32_t logits; /* glia_rows_logits: of which rows */
    int32_t best;   /* glia_draw_best() of them */
    float divisor;
} glia_seq_rows;

/* Write an order: begin, then of a step first all tables, then all rows, then
 * their tokens in the same order; of ORDER_LOGITS the rows' numbers as tokens. */
void glia_order_begin(glia_rank *r, glia_order_kind kind);
void glia_order_table(glia_rank *r, int seq, const int32_t *blocks, int n);
void glia_order_rows(glia_rank *r, const glia_seq_rows *rows);
void glia_order_tokens(glia_rank *r, const int32_t *tokens, int n);
/* Give the order to all ranks and obey it. A failure of any is the answer. */
glia_status glia_rank_lead(glia_rank *r, glia_err *err);

/* Row i of the last step's logits [vocab], where it was wanted whole. */
const float *glia_rank_logits(const glia_rank *r, int i);
/* The best of its parts: rank 0's glia_part, the next rank's r->found_bytes behind. */
const void *glia_rank_parts(const glia_rank *r, int i);

/* ---- a follower --------------------------------------------------------------- */

/* Obey until the leader ends or a rank fails. */
glia_status glia_rank_follow(glia_rank *r, glia_err *err);

/* ceilings.c: of this rank's threads. */
void glia_rank_measure(const glia_rank *r, glia_ceilings *c);

#endif
