/* impl.h - what the files of comm/ share. No file outside comm/ includes it. */
#ifndef GLIA_COMM_IMPL_H
#define GLIA_COMM_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/team.h"
#include "base/wait.h"
#include "comm/comm.h"

enum { GLIA_LINE = 64, GLIA_CONFIG_BYTES = 400, GLIA_EVERYONE = -1 };

/* ---- waiting across ranks --------------------------------------------------- */

/* A rank's gate of each of its groups: the number of the group's last meeting to
 * which all threads of the rank have come. In memory that every rank of the group sees. */
typedef struct {
    glia_counter gate[GLIA_GROUPS_MAX];
} glia_gates;

/* ---- a world ----------------------------------------------------------------- */

typedef struct glia_world glia_world;

/* What the kinds of worlds do differently. One thread of each rank calls these. */
typedef struct {
    bool mpi; /* ranks are MPI processes */
    /* Gather every rank's `mine` into all [size, bytes]; false once a rank has failed. */
    bool (*exchange)(glia_comm *c, const void *mine, size_t bytes, void *all);
    glia_status (*share)(glia_comm *c, size_t bytes, glia_err *err);
    glia_status (*copy)(glia_comm **out, glia_comm *c, glia_err *err); /* NULL: none */
    /* Report this rank's failure to other processes; NULL if there are none. */
    void (*tell)(glia_world *w, const char *sentence);
    void (*free)(glia_comm *c); /* after the last collective */
} glia_world_table;

/* The first failure of a world. */
typedef struct {
    atomic_int failed; /* 0: no; 1: `why` is being written; 2: `why` is complete */
    char why[sizeof((glia_err *)0)->msg];
} glia_failure;

/* Shared by the ranks of one process. */
struct glia_world {
    const glia_world_table *table;
    const char *name; /* of a group whose ranks see each other's memory */
    int size;
    int local; /* ranks on this machine, which share its cores */
    atomic_int users;
    glia_failure *failure; /* &own_failure, or the failure of the world that was copied */
    glia_failure own_failure;
    glia_gates **gates; /* [size]; NULL for a rank whose memory this process does not map */
    char **area;        /* [size]; likewise */
    void *state;        /* of this kind of world */
};

/* Bytes that an MPI rank allocates for an area of `bytes`: its window, and the
 * staging for summands or packed rows of a gather. */
size_t glia_window_bytes(size_t bytes);
size_t glia_staging_bytes(int size, size_t bytes);

/* Set the world's failure to `sentence`; false if it has failed before. */
bool glia_world_fail(glia_world *w, const char *sentence);
/* The sentence of a failed world. */
const char *glia_world_why(const glia_world *w);
static inline bool glia_world_failed(const glia_world *w) {
    return atomic_load_explicit(&w->failure->failed, memory_order_acquire) != 0;
}

/* ---- a rank's handle of a group ------------------------------------------------ */

/* The collectives of comm.h, without the counting of costs. */
typedef struct {
    void (*barrier)(glia_comm *c, int thread);
    void (*all_reduce)(glia_comm *c, int thread, float *out, float *in, const glia_sum *s);
    void (*reduce_scatter)(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s);
    void (*gather)(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g,
                   int root); /* GLIA_EVERYONE means an all-gather */
    void (*exchange)(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in);
    void (*broadcast)(glia_comm *c, int thread, void *buf, size_t bytes, int root);
} glia_comm_table;

extern const glia_comm_table glia_comm_shared_table;
extern const glia_comm_table glia_comm_messages_table; /* built with MPI */

/* How many meetings of the group and of the team a thread has come to. */
typedef struct {
    _Alignas(GLIA_LINE) unsigned group;
    unsigned team;
} glia_arrivals;

struct glia_comm {
    const char *name;
    const glia_comm_table *table;
    glia_world *world;
    glia_comm *root; /* the rank's handle of the world, which is its own root */
    int rank, size, threads;
    int slot;                /* index of this group's gate in glia_gates */
    int spins;               /* of glia_waiting */
    int *member;             /* [size] the rank in the world of each rank of the group */
    glia_arrivals *arrivals; /* [threads] */
    glia_counter *team;      /* gate of this rank's own threads */
    atomic_uint here; /* arrivals of this rank's threads at meetings of the group, all meetings together */
    atomic_uint here_team; /* likewise of the team */

    /* in the handle of the world only */
    int slots; /* gates in use */
    size_t area_bytes;
    glia_comm_cost cost;
};

/* A world of `size` ranks without gates and areas; NULL without memory. */
glia_world *glia_world_new(const glia_world_table *table, const char *name, int size);
void glia_world_free(glia_world *w);
/* The handle of one of its ranks, for one thread. */
glia_status glia_comm_new(glia_comm **out, glia_world *w, int rank, glia_err *err);
/* Choose the collectives of a group by the gates that this process maps, and how its threads wait by the
 * number of ranks on this machine. */
void glia_comm_choose(glia_comm *c);
/* Free the handle itself. */
void glia_comm_drop(glia_comm *c);

/* Wait until every thread of every rank of the group (of this rank alone) has come.
 * Returns false once a rank of the world has failed. */
bool glia_meet(glia_comm *c, int thread);
bool glia_meet_team(glia_comm *c, int thread);

/* ---- sums and slices, the same in every algorithm ---------------------------- */

/* Whether every rank of an all-reduce of n floats adds all of it, which takes one meeting and reads
 * per_rank (size - 1) n floats. Else each rank adds a slice and reads the slices of the others, which takes
 * two meetings and reads (per_rank + 1) (size - 1) / size n floats. */
bool glia_comm_in_one_go(size_t n, int size, int per_rank);

/* Slice `i` of `of` of n floats, cut at whole cache lines. */
void glia_comm_slice(size_t n, int i, int of, size_t *from, size_t *to);

/* The rank that holds byte `col` of a gathered row. */
int glia_comm_holder(const glia_gather *g, int size, size_t col);

/* The summands of a sum: per_rank of each of n ranks. The summands of rank p begin at base[p] + at bytes, or
 * at base[member[p]] + at, and lie `stride` bytes apart. */
typedef struct {
    char *const *base;
    const int *member; /* NULL: 0, 1, ... */
    size_t at, stride;
    int n, per_rank;
} glia_summands;

/* out[i] (+)= summand 0 + summand 1 + ... for i in [0, n). out may be one of the summands. */
void glia_comm_add_up(float *out, const glia_summands *src, size_t n, bool add);

#endif
