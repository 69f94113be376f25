/* mpi_world.h - the state of a world of MPI processes, for mpi.c and mpi_messages.c. */
#ifndef GLIA_COMM_MPI_WORLD_H
#define GLIA_COMM_MPI_WORLD_H

#include "comm/mpi_lifeline.h"

#ifdef GLIA_HAVE_MPI
#include <mpi.h>

typedef struct glia_mpi {
    struct glia_mpi *first; /* of the world that was copied; of this world if it is no copy */
    MPI_Comm all;           /* every rank */
    MPI_Comm here;          /* the ranks whose memory this process maps; itself alone with `messages` */
    MPI_Win gates, area;
    bool messages; /* send messages even between ranks of one machine */

    /* in the first world only */
    bool finalise; /* glia_comm_mpi() initialised MPI */
    bool copied;   /* a copy exists */
    glia_lifeline *lifeline;
    glia_last_words *last_words;
    atomic_int inside; /* the rank's thread is OUTSIDE of MPI, INSIDE it, or GIVEN_UP there */

    /* for messages; NULL and 0 if all ranks are in `here` */
    char *staging;
    size_t staging_bytes;
    char **piece;         /* [GLIA_RANKS_MAX] addresses of a sum's summands */
    MPI_Request *request; /* [2 size] */
    int n_requests;
} glia_mpi;

/* Fail this rank with what MPI reported. */
void glia_mpi_fail(glia_comm *c, int code);

/* Every call of MPI stands between these two. glia_mpi_enter() returns false, and MPI must not be called,
 * once a rank has failed. */
bool glia_mpi_enter(glia_comm *c);
void glia_mpi_leave(glia_comm *c);

#endif
#endif
