/* rank.h - one rank of a running model: its weights, its team of threads and its
 * decoder.
 *
 * Rank 0 leads. The leader writes an order (engine/order.h); all ranks get the
 * order in one broadcast and obey it, the leader as the followers do. One rank
 * alone has nobody to tell, and the rest is the same. */
#ifndef GLIA_ENGINE_RANK_H
#define GLIA_ENGINE_RANK_H

#include "base/team.h"
#include "comm/comm.h"
#include "decode/sampling.h"
#include "engine/order.h"
#include "model/weights.h"

/* The adapter of a number for rank i of this process; NULL: there is none. */
typedef const glia_packed_adapter *glia_adapter_fn(void *user, int32_t number, int i);

typedef struct {
    const glia_weights *weights;
    glia_comm *world;   /* the ranks of the engine, the area shared already; NULL: one rank alone */
    size_t area_offset; /* where the engine's bytes of the area begin */
    glia_engine_limits limits;
    unsigned cpu_flags;
    int threads;
    int place, places; /* which of how many teams that share these cores */
    glia_adapter_fn *adapter;
    void *adapter_user;
    int local;                     /* which rank of this process */
    const glia_draft_model *draft; /* that ranks share; NULL: none */
} glia_rank_config;

typedef struct {
    glia_rank_config config;
    int rank, ranks;
    size_t shard;        /* tokens of the largest shard of the vocabulary */
    size_t first, vocab; /* of this rank's shard: its first token, and how many tokens are real */
    glia_team *team;
    glia_decoder *decoder;
    glia_draft_rank draft; /* model NULL: ranks share none */
    glia_plan plan;
    int max_blocks;
    int32_t *table;     /* [batch + 1, max_blocks] block tables; the last row is glia_engine_score()'s */
    int32_t *rows;      /* [glia_batch_memory(rows of a step)] */
    int32_t *order[2];  /* two buffers alternate: other ranks may still read the last order */
    size_t order_first; /* words of the first broadcast */
    unsigned n_orders;
    glia_err changed;      /* why results are not to be trusted; status 0: they are */
    glia_sampler *sampler; /* [threads] */
    char *found;           /* in the area: this rank's glia_shard_top of each row, one behind the other */
    char *gathered;        /* on the leader: every rank's `found` */
    float *logits;         /* on the leader: [rows of logits, ranks * shard] whole rows */
    /* the last step */
    int n_logits;
    const glia_logits_use *use; /* [n_logits] */
    size_t *found_at;           /* [n_logits] bytes into `found` */
    size_t found_bytes;         /* of one rank */
    glia_ceilings ceilings;     /* of this rank, as ORDER_MEASURE found them last */
} glia_rank;

/* Bytes of each rank's area, the decoder's included; 0 for one rank alone. */
size_t glia_rank_area_bytes(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l);
/* Add what a rank allocates besides its weights and its area to the plan. */
void glia_rank_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                    int threads, glia_plan *plan);

/* Called by the thread that will be thread 0 of the team. Either all ranks of a world open or none does:
 * `own` with *err is the caller's status so far. On failure nothing is held. */
glia_status glia_rank_open(glia_rank *r, const glia_rank_config *config, glia_status own, glia_err *err);
void glia_rank_close(glia_rank *r);

/* ---- the leader ------------------------------------------------------------- */

/* The buffer for the next order. */
int32_t *glia_rank_order(glia_rank *r);
/* Broadcast the order in that buffer to all ranks and obey it. Errors: the failure of any rank. */
glia_status glia_rank_lead(glia_rank *r, glia_err *err);

/* Row i of the last step's logits [vocab]. The step's order or a later one must have asked for the whole row.
 */
const float *glia_rank_logits(const glia_rank *r, int i);
/* The glia_shard_top of row i that rank 0 found; that of each next rank starts found_bytes later. */
const void *glia_rank_tops(const glia_rank *r, int i);
/* After ORDER_MEASURE: rank i's ceilings. */
const glia_ceilings *glia_rank_ceilings(const glia_rank *r, int i);

/* ---- a follower --------------------------------------------------------------- */

/* Obey orders until the leader ends or a rank fails. */
glia_status glia_rank_follow(glia_rank *r, glia_err *err);

#endif
