/* mpi_lifeline.h - how a process learns that another one failed or is gone.
 *
 * Every rank holds a TCP connection to rank 0, the hub. A rank that fails sends its
 * reason. The kernel closes the connection of a process that is killed. The
 * connection of a machine that vanishes times out. The hub informs all other ranks,
 * so no rank waits for one that will not come, whatever MPI does. */
#ifndef GLIA_COMM_MPI_LIFELINE_H
#define GLIA_COMM_MPI_LIFELINE_H

#include "comm/impl.h"

typedef struct glia_lifeline glia_lifeline;

/* Called on the lifeline's thread when another process is gone. The world's
 * failure is set before the call. */
typedef void glia_lifeline_gone(void *user);

enum { GLIA_ADDRESSES_MAX = 8, GLIA_HOST_BYTES = 64 };

/* Identity of a process, for the sentence about its end. */
typedef struct {
    unsigned char token[16]; /* a secret of the run; connections without it are refused */
    int32_t rank, pid;
    char host[GLIA_HOST_BYTES];
} glia_peer;

/* Where rank 0 listens; the other ranks get it through MPI. */
typedef struct {
    glia_peer peer;
    int32_t port, n;
    char address[GLIA_ADDRESSES_MAX][48]; /* numeric, IPv4 or IPv6 */
} glia_hub;

/* What a lifeline reports to: a failure goes to `world`; `gone` (with `user`) is
 * called after it when a process is gone. */
typedef struct {
    glia_world *world;
    glia_lifeline_gone *gone;
    void *user;
} glia_lifeline_owner;

/* Rank 0 listens and fills *hub. When every rank has *hub, rank 0 accepts the
 * connections of all other ranks, within 8 s. The caller frees *out.
 * Errors: GLIA_ERR_IO, GLIA_ERR_NOMEM. */
glia_status glia_lifeline_listen(glia_lifeline **out, const glia_lifeline_owner *owner, glia_hub *hub,
                                 glia_err *err);
glia_status glia_lifeline_accept(glia_lifeline *l, glia_err *err);
/* Every other rank connects to *hub. The caller frees *out. Errors as above. */
glia_status glia_lifeline_join(glia_lifeline **out, const glia_lifeline_owner *owner, int rank,
                               const glia_hub *hub, glia_err *err);

/* Send this rank's failure over every connection. Any thread may call it. */
void glia_lifeline_tell(glia_lifeline *l, const char *sentence);

/* Say goodbye, wait up to 4 s for the goodbye or the end of every other rank, and
 * close. NULL is fine. */
void glia_lifeline_free(glia_lifeline *l);

#endif
