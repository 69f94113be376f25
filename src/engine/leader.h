/* leader.h - what the leader adds to its rank: the scheduler, the blocks of the
 * cache, and the draws.
 *
 * glia_leader_plan_step() writes the order of a step for all running sequences;
 * glia_rank_lead() takes it; glia_leader_draw() draws a token from every row of
 * logits. The leader tells no user and knows no tokenizer. */
#ifndef GLIA_ENGINE_LEADER_H
#define GLIA_ENGINE_LEADER_H

#include "engine/rank.h"
#include "engine/request.h"

typedef struct {
    glia_rank *rank;
    glia_engine_limits limits;
    glia_plan plan;
    glia_blocks blocks;
    glia_scheduler scheduler;
    glia_draft_fn *draft; /* NULL: no speculation */
    void *draft_user;
    glia_run *run;        /* [batch] of the coming step */
    glia_logits_use *use; /* [rows of logits] */
    glia_drawn *drawn;    /* [rows that draw] of the last step, a request's side by side */
    int n_drawn;
    uint64_t prompt_tokens, cached_tokens; /* of requests whose first rows were planned */
} glia_leader;

/* Add what the leader allocates to the plan. */
void glia_leader_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      glia_plan *plan);
/* On a rank that follows, *l is empty. `rank` must outlive *l. On failure nothing is held. */
glia_status glia_leader_open(glia_leader *l, glia_rank *rank, const glia_model_config *c,
                             const glia_parallel *p, const glia_engine_limits *limits, glia_err *err);
void glia_leader_close(glia_leader *l);

/* Write the order of a step of all running sequences. Returns its rows; 0: nothing is left to do. */
int glia_leader_plan_step(glia_leader *l);
/* Write the order of n rows of tokens from position `at` on, with all their logits, in the sequence of
 * glia_engine_score(), whose blocks are `list`. */
void glia_leader_plan_score(glia_leader *l, const glia_block_list *list, const int32_t *token, int at, int n);

/* Draw from the logits of the step that was taken. True: some rows must be drawn whole; the order that
 * gathers them is written, and after it glia_leader_draw() is called again. */
bool glia_leader_draw(glia_leader *l);

#endif
