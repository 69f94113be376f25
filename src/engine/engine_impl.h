/* engine_impl.h - the engine's own structure, for engine.c, score.c and ceilings.c. */
#ifndef GLIA_ENGINE_ENGINE_IMPL_H
#define GLIA_ENGINE_ENGINE_IMPL_H

#include "engine/adapters.h"
#include "engine/engine.h"
#include "engine/followers.h"
#include "engine/inbox.h"
#include "engine/leader.h"

struct glia_engine {
    glia_engine_config config;
    const glia_model_config *model;
    glia_request_rules rules;
    glia_rank rank;           /* of the engine thread: rank 0, or with processes any rank */
    glia_followers followers; /* of this process */
    glia_leader leader;       /* empty where this rank follows */
    int score_rows;
    glia_adapters adapters; /* any thread */
    glia_inbox inbox;       /* any thread */
    glia_ahead ahead;       /* any thread; everything else is the engine thread's */
    bool stepping;          /* a step or a score runs */
    bool over;              /* no order follows */
    glia_err dead;          /* why no step can follow; status 0: steps can follow */
    glia_engine_stats stats;
};

/* GLIA_OK if this rank leads and steps can follow. */
glia_status glia_engine_leads(const glia_engine *e, glia_err *err);
/* Broadcast the order that was written, and obey it. On failure the engine is dead. */
glia_status glia_engine_order(glia_engine *e, glia_err *err);

#endif
