/* leader.h - what the leader adds to its rank: the scheduler, the blocks of the
 * cache, and the draws.
 *
 * glia_leader_plan_step() writes the order of a step for all running sequences;
 * glia_rank_lead() takes it; glia_leader_draw() draws a token from every row of
 * logits. The leader tells no user and knows no tokenizer. */
#ifndef GLIA_ENGINE_LEADER_H
#define GLIA_ENGINE_LEADER_H

#include "engine/ahead.h"
#include "engine/drafts.h"
#include "engine/rank.h"
#include "engine/request.h"
#include "engine/store.h"

typedef struct {
    glia_rank *rank;
    glia_engine_limits limits;
    glia_plan plan;
    glia_blocks blocks;
    glia_scheduler scheduler;
    glia_drafts drafts;
    glia_store *store; /* NULL: none */
    glia_run *run;     /* [2 * batch + rows that draw] of the coming step */
    int n_runs;
    glia_logits_use *use;  /* [rows of logits] */
    glia_segment *segment; /* [batch] of the last step */
    int n_segments, n_logits, n_draws, n_scores, n_hidden;
    int n_rows;         /* of the last step that was planned */
    glia_drawn *drawn;  /* [rows that draw], of each segment as many as it has rows of logits */
    glia_drawn *score;  /* [glia_limit_score_rows()] */
    glia_kv_move *move; /* [glia_limit_moves()] before the next step */
    int n_moves;
    uint64_t prompt_tokens, cached_tokens; /* of requests whose first rows were planned */
    glia_err draft_failed;                 /* status 0: it has not */
} glia_leader;

/* Add what the leader allocates to the plan. */
void glia_leader_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      glia_plan *plan);
/* On a rank that follows, *l is empty. `rank` must outlive *l. On failure nothing is held. */
glia_status glia_leader_open(glia_leader *l, glia_rank *rank, const glia_model_config *c,
                             const glia_parallel *p, const glia_engine_limits *limits, glia_err *err);
void glia_leader_close(glia_leader *l);

/* Ask the draft, and write the order of a step of all running sequences. Returns its rows; 0: nothing is left
 * to do. A failure of the draft is in l->draft_failed. */
int glia_leader_plan_step(glia_leader *l);
/* After glia_leader_plan_step(): let the masks of the draws be computed beside the step. */
void glia_leader_mask_ahead(const glia_leader *l, glia_ahead *ahead);
/* Write the order of n rows of tokens from position `at` on, with all their logits, in the sequence of
 * glia_engine_score(), whose blocks are `list`. adapter: 1 + the place of its adapter, which acts from
 * position `begins` on, or 0. */
void glia_leader_plan_score(glia_leader *l, const glia_block_list *list, int adapter, int begins,
                            const int32_t *token, int at, int n);

/* Keep cached prefixes in a store from now on. */
void glia_leader_use_store(glia_leader *l, glia_store *store);
/* After glia_scheduler_advance(): store the blocks that became part of the prefix cache. */
void glia_leader_store(glia_leader *l);

/* Draw from the logits of the step that was taken, in each segment along the drafts that equal the draws.
 * True: some rows must be drawn whole; the order that gathers them is written, and after it
 * glia_leader_draw() is called again. Drawn tokens are written behind the tokens of their sequence. */
bool glia_leader_draw(glia_leader *l);
/* Compute the log-probabilities of prompt tokens that requests want, of the step that was taken. */
void glia_leader_score(glia_leader *l);
/* After the draws: tell the draft. */
void glia_leader_learn(glia_leader *l);
/* The segment's drawn token i was delivered, and the row of the draft that equals it is part of the sequence
 * now.
 */
void glia_leader_accept(glia_leader *l, const glia_segment *g, int i);

/* Append the token that a request's constraint or budget of thinking forces next, behind those that are
 * delivered. Returns it; -1: none is forced. */
int32_t glia_leader_force(glia_request *r);

#endif
