/* ranks.h - the ranks of a model: several ranks of this process, or one rank of each MPI
 * process. */
#ifndef GLIA_API_RANKS_H
#define GLIA_API_RANKS_H

#include "api/model.h"

/* With o->mpi, join the processes that mpirun started: fill m->world, m->place and
 * m->places, and replace *engine's needs by rank 0's. */
glia_status glia_ranks_join(glia_model *m, const glia_options *o, glia_engine_options *engine, glia_err *err);

/* Load the weights of all ranks of this process at the same time. Then all processes agree
 * that none has failed and that their settings are equal. `own` and *err: this process's
 * status before the call. */
glia_status glia_ranks_load(glia_model *m, const glia_options *o, glia_status own, glia_err *err);

/* Resolve the options of an engine into *s. Among processes, *out is a world for this
 * engine alone: rank 0's needs count, and all processes agree that their settings are
 * equal. The caller owns *out, also on failure, until it passes it to glia_engine_open(), which
 * takes it over. *out is NULL if all ranks are of this process. */
glia_status glia_ranks_engine(glia_comm **out, glia_engine_settings *s, const glia_model *m,
                              const glia_engine_options *o, glia_err *err);

/* Free the weights and the world. */
void glia_ranks_free(glia_model *m);

#endif
