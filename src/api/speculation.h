/* speculation.h - the draft of a model. */
#ifndef GLIA_API_SPECULATION_H
#define GLIA_API_SPECULATION_H

#include "api/model.h"

/* Fill m->draft from o->speculative_config; what it leaves open, or all if it is NULL, from m->neuron. `o`
 * may be NULL. Reads no weights. The model must stay where it is. */
glia_status glia_speculation_read(glia_model *m, const glia_options *o, const char *cache_dir, glia_err *err);
/* Load the weights of m->draft, if this process has rank 0. */
glia_status glia_speculation_load(glia_model *m, glia_err *err);
void glia_speculation_free(glia_model *m);

/* The most tokens of a path that the draft proposes; 0: no draft. */
int glia_speculation_depth(const glia_model *m);
/* Set what the draft decides of an engine's limits. */
void glia_speculation_limits(glia_engine_limits *l, const glia_model *m);
/* Add what the draft's weights, and its part of an engine, allocate on rank 0. */
void glia_speculation_plan(glia_plan *weights, glia_plan *engine, const glia_model *m,
                           const glia_engine_limits *l);

#endif
