/* mpi_world.h - what the MPI files of comm/ share: an MPI process's own memory. */
#ifndef GLIA_COMM_MPI_WORLD_H
#define GLIA_COMM_MPI_WORLD_H

#include "comm/mpi_lifeline.h"

#ifdef GLIA_HAVE_MPI
#include <mpi.h>

typedef struct glia_mpi {
    struct glia_mpi *first; /* of the world that this is a copy of; itself there */
    MPI_Comm all;           /* every rank */
    MPI_Comm here;          /* those whose memory this one sees; itself alone for messages */
    MPI_Win gates, area;
    bool messages; /* exchange by messages even inside a machine */

    /* of the first world alone */
    bool finalise; /* MPI was initialised here */
    bool copied;   /* a copy is there */
    glia_lifeline *lifeline;
    glia_last_words *last_words;
    atomic_int inside; /* where the rank's thread is: OUTSIDE, INSIDE MPI, or given up there */

    /* of messages; NULL and 0 where all ranks are `here` */
    char *staging;
    size_t staging_bytes;
    char **piece;         /* [GLIA_RANKS_MAX] where a sum's operands stand */
    MPI_Request *request; /* [2 size] */
    int n_requests;
} glia_mpi;

/* MPI refused: a failure of this rank. */
void glia_mpi_fail(glia_comm *c, int code);

/* Around calls of MPI: enter is false once a rank has failed. */
bool glia_mpi_enter(glia_comm *c);
void glia_mpi_leave(glia_comm *c);

#endif
#endif
