/* engine_impl.h - the engine's own structure, for engine.c, score.c and ceilings.c. */
#ifndef GLIA_ENGINE_ENGINE_IMPL_H
#define GLIA_ENGINE_ENGINE_IMPL_H

#include "engine/engine.h"
#include "engine/followers.h"
#include "engine/inbox.h"
#include "engine/leader.h"

struct glia_engine {
    glia_engine_config config;
    const glia_model_config *model;
    glia_request_rules rules;
    glia_rank rank;           /* on the caller's thread: the leader's, or one of several processes */
    glia_followers followers; /* of this process */
    glia_leader leader;       /* empty where this rank follows */
    int score_rows;
    glia_inbox inbox;    /* any thread; all else is the engine thread's */
    bool stepping, over; /* over: no order follows */
    glia_err dead;       /* why no step can follow */
    glia_engine_stats stats;
};

/* Does this rank lead? Else glia_engine_follow() is all it can do. */
glia_status glia_engine_leads(const glia_engine *e, glia_err *err);
/* Take the order that was written. On failure the engine is dead. */
glia_status glia_engine_order(glia_engine *e, glia_err *err);

#endif
