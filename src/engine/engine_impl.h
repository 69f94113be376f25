/* engine_impl.h - the engine's own structures, shared by the files of src/engine. */
#ifndef GLIA_ENGINE_ENGINE_IMPL_H
#define GLIA_ENGINE_ENGINE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "decode/sampling.h"
#include "engine/engine.h"
#include "engine/output.h"
#include "engine/rank.h"
#include "engine/scheduler.h"

struct glia_request {
    glia_seq seq;         /* first, so that a sequence is its request */
    glia_sampling params; /* lists are copies that follow this struct */
    glia_event_fn *on_event;
    void *user;
    atomic_bool aborted;
    glia_output output;
    int32_t *endings; /* [n_endings] eos, then stop tokens: forbidden before min_tokens */
    size_t n_endings, n_eos;
    /* Of this step: */
    int32_t token;   /* drawn; -1: the logits are no numbers */
    bool token_told; /* an event carried it */
    float logprob, top_logprobs[GLIA_TOP_LOGPROBS_MAX];
    int32_t top_tokens[GLIA_TOP_LOGPROBS_MAX];
};

/* Copy a checked request into one allocation. */
glia_status glia_request_create(glia_request **out, const glia_engine_config *c, const int32_t *ids, size_t n,
                                const glia_sampling *s, glia_err *err);
void glia_request_free(glia_request *r);

/* A rank of this process that follows, on a thread of its own. */
typedef struct {
    glia_rank rank;
    glia_rank_config config;
    glia_comm *world; /* its end; the engine's to free */
    pthread_t thread;
    bool started;
} glia_follower;

struct glia_engine {
    glia_engine_config config;
    const glia_model_config *model;
    glia_rank rank;      /* on the caller's thread: the leader, or one of several processes */
    glia_follower *crew; /* [config.n_ranks], 0 is the rank above; NULL: one rank */
    glia_plan plan;      /* the leader's */
    glia_blocks blocks;
    glia_scheduler scheduler;
    glia_request **ready; /* [batch] whose logits this step computes, in order */
    int n_ready, score_rows;
    size_t n_requests;
    bool stepping, over; /* over: no order follows */
    glia_err dead;       /* why no step can follow */
    glia_engine_stats stats;
};

/* crew.c: all ranks of this process; on failure glia_crew_close() is still due. */
glia_status glia_crew_open(glia_engine *e, glia_err *err);
void glia_crew_close(glia_engine *e);
/* Map and bind what the leader alone has; of another rank nothing. */
glia_status glia_engine_plan_leader(glia_engine *e, glia_err *err);

/* Does this rank lead? Else glia_engine_follow() is all it can do. */
glia_status glia_engine_leads(const glia_engine *e, glia_err *err);
/* Run the step that was ordered. On failure the engine is dead. */
glia_status glia_engine_forward(glia_engine *e, glia_err *err);

#endif
