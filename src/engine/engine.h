/* engine.h - how src/api and tests create a glia_engine (glia.h). */
#ifndef GLIA_ENGINE_ENGINE_H
#define GLIA_ENGINE_ENGINE_H

#include "comm/comm.h"
#include "engine/limits.h"
#include "engine/scheduler.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "text/tokenizer.h"

typedef struct {
    const glia_model_config *model;
    /* [n_ranks] weights of this process's ranks: of all ranks, or with `world` of one rank. The weights and
     * the tokenizer must outlive the engine. */
    const glia_weights *const *weights;
    int n_ranks;
    glia_comm *world;  /* this process's end of a world of processes, its area not shared yet; NULL: none */
    int place, places; /* which of how many processes that share these cores */
    const glia_tokenizer *tokenizer; /* NULL: events carry no text, requests no stop strings */
    glia_engine_limits limits;
    unsigned cpu_flags;
    int threads; /* of each rank, at least 1 */
    const int32_t *eos;
    size_t n_eos;
    const glia_draft_model *draft; /* NULL: no speculation; with it limits.drafts, depth and needs are set */
    glia_draft_trace_fn *trace;    /* may be NULL; with it all that the configuration says is asked for */
    void *trace_user;
    double most_step_seconds; /* limit: as of glia_pace; 0: none */
    const char *store_dir;    /* of cached prefixes (engine/store.h); NULL: none */
    uint64_t store_bytes, fingerprint;
    glia_adapter_base base; /* where adapters find the model's weights */
} glia_engine_config;

/* Everything an engine allocates for rank p->rank of a world of that kind: the decoder's
 * regions, the rank's, the leader's own, the area that other ranks read, and the buffers
 * for messages between ranks. Plan only. */
void glia_engine_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      int threads, glia_comm_kind kind, glia_plan *plan);

/* Load an adapter that is named when the engine is created: in every process, in the same order. Errors: as
 * of glia_engine_load_adapter(). */
glia_status glia_engine_name_adapter(glia_engine *e, const char *name, const char *path, glia_err *err);

/* The ranks of a world of processes open together. Errors: GLIA_ERR_NOMEM,
 * GLIA_ERR_ARGUMENT (more threads than can be had), what another rank says. The engine
 * frees config->world, also on failure. */
glia_status glia_engine_open(glia_engine **out, const glia_engine_config *config, glia_err *err);

#endif
