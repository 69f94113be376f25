/* engine_impl.h - the engine's own structures, shared by the files of src/engine. */
#ifndef GLIA_ENGINE_ENGINE_IMPL_H
#define GLIA_ENGINE_ENGINE_IMPL_H

#include <stdatomic.h>

#include "decode/sampling.h"
#include "engine/engine.h"
#include "engine/output.h"
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

struct glia_engine {
    glia_engine_config config;
    const glia_model_config *model;
    glia_team *team;
    glia_decoder *decoder;
    glia_plan plan;
    glia_blocks blocks;
    glia_scheduler scheduler;
    int32_t *token, *seq, *position, *slot, *logit_row; /* [rows of a step] */
    glia_sampler *sampler;                              /* [threads] */
    glia_request **ready; /* [batch] whose logits this step computes, in order */
    int n_ready, score_rows;
    size_t n_requests;
    bool stepping;
    glia_engine_stats stats;
};

/* Append `n` rows of a sequence, tokens from position `at`, to a step that has `row` already. */
void glia_engine_add_rows(glia_engine *e, int row, int seq, const int32_t *tokens, int at, int n);
/* Run the step: rows added before, logits of logit_row [n_logits]. */
void glia_engine_forward(glia_engine *e, int n_rows, int n_logits);

#endif
