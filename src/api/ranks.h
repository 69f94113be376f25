/* ranks.h - a model's ranks: of this process, or one of several processes. */
#ifndef GLIA_API_RANKS_H
#define GLIA_API_RANKS_H

#include "api/model.h"

/* With o->mpi, join the processes that mpirun started: fills m->world, place and
 * places, and *engine with what rank 0's task needs. */
glia_status glia_ranks_join(glia_model *m, const glia_options *o, glia_engine_options *engine, glia_err *err);

/* Load the weights of this process's ranks, at the same time; then all processes
 * agree that every one is well and configured alike. `own`, *err: so far. */
glia_status glia_ranks_load(glia_model *m, const glia_options *o, glia_status own, glia_err *err);

/* A world for one engine of the model, on which all processes agree that their
 * settings are equal, those that rank 0's task needs included; *out is NULL where all
 * ranks are of this process. The caller frees *out. */
glia_status glia_ranks_engine(glia_comm **out, glia_engine_settings *s, const glia_model *m,
                              const glia_engine_options *o, glia_err *err);

/* Give back weights and the world. */
void glia_ranks_free(glia_model *m);

#endif
