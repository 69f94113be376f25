/* mpi_lifeline.h - how processes learn that another one failed or is gone.
 *
 * Every rank holds a TCP connection to rank 0, the hub. A rank that fails says
 * so on it; one that is killed has it closed by its kernel; one whose machine or
 * network is gone lets it time out. The hub tells all others. So no rank waits
 * for one that will not come, whatever MPI does about it. */
#ifndef GLIA_COMM_MPI_LIFELINE_H
#define GLIA_COMM_MPI_LIFELINE_H

#include "comm/impl.h"

typedef struct glia_lifeline glia_lifeline;

enum { GLIA_ADDRESSES_MAX = 8, GLIA_HOST_BYTES = 64 };

/* Who a process is, for sentences about its end. */
typedef struct {
    unsigned char token[16]; /* the run's, so that strangers are turned away */
    int32_t rank, pid;
    char host[GLIA_HOST_BYTES];
} glia_peer;

/* What rank 0 tells the others by MPI: where it listens. */
typedef struct {
    glia_peer peer;
    int32_t port, n;
    char address[GLIA_ADDRESSES_MAX][48]; /* numeric, IPv4 or IPv6 */
} glia_hub;

/* Rank 0: listen, then (everyone knowing *hub) take in the others' connections. */
glia_status glia_lifeline_listen(glia_lifeline **out, glia_world *w, glia_hub *hub, glia_err *err);
glia_status glia_lifeline_accept(glia_lifeline *l, glia_err *err);
/* The others: connect. */
glia_status glia_lifeline_join(glia_lifeline **out, glia_world *w, int rank, const glia_hub *hub,
                               glia_err *err);

/* Send this rank's failure to everyone there is a connection to. Any thread. */
void glia_lifeline_tell(glia_lifeline *l, const char *sentence);

/* Say goodbye, wait up to 4 s until all others do or are gone, and close. NULL is fine. */
void glia_lifeline_free(glia_lifeline *l);

#endif
