/* impl.h - what the files of comm/ know of each other; nobody else includes it. */
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

/* What kinds of worlds do differently. Host calls: one thread of each rank. */
typedef struct {
    bool mpi; /* ranks are MPI processes */
    /* all [size, bytes] = every rank's `mine`; false once a rank has failed. */
    bool (*exchange)(glia_comm *c, const void *mine, size_t bytes, void *all);
    glia_status (*share)(glia_comm *c, size_t bytes, glia_err *err);
    glia_status (*copy)(glia_comm **out, glia_comm *c, glia_err *err);
    void (*tell)(glia_world *w,
                 const char *sentence); /* this rank's failure to other processes; may be NULL */
    void (*free)(glia_comm *c);         /* after the last collective */
} glia_world_table;

/* What went wrong first. */
typedef struct {
    atomic_int failed; /* 0; 1: a sentence is being written; 2: it is there */
    char why[sizeof((glia_err *)0)->msg];
} glia_failure;

/* Shared by the ranks of one process. */
struct glia_world {
    const glia_world_table *table;
    const char *name; /* of groups whose members see each other's memory */
    int size;
    int local; /* ranks on this machine, which share its cores */
    atomic_int users;
    glia_failure *failure; /* its own, or that of the world it is a copy of */
    glia_failure own_failure;
    glia_gates **gates; /* [size]; NULL for ranks whose memory is not seen here */
    char **area;        /* [size]; likewise */
    void *part;         /* what the kind of world needs */
};

/* Bytes that an MPI rank allocates for an area of `bytes`: its window, and the
 * staging for operands of a sum or packed rows of a gather. */
size_t glia_window_bytes(size_t bytes);
size_t glia_staging_bytes(int size, size_t bytes);

/* Set the world's failure to `sentence`; false where it has one. */
bool glia_world_fail(glia_world *w, const char *sentence);
/* The sentence of a world that failed. */
const char *glia_world_why(const glia_world *w);
static inline bool glia_world_failed(const glia_world *w) {
    return atomic_load_explicit(&w->failure->failed, memory_order_acquire) != 0;
}

/* ---- a rank's end of a group -------------------------------------------------- */

/* The collectives of comm.h, after the wrappers there have counted them. */
typedef struct {
    void (*barrier)(glia_comm *c, int thread);
    void (*all_reduce)(glia_comm *c, int thread, float *out, float *in, const glia_sum *s);
    void (*reduce_scatter)(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s);
    void (*gather)(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g,
                   int root); /* GLIA_EVERYONE: an all-gather */
    void (*exchange)(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in);
    void (*broadcast)(glia_comm *c, int thread, void *buf, size_t bytes, int root);
} glia_comm_table;

extern const glia_comm_table glia_comm_shared_table;
extern const glia_comm_table glia_comm_messages_table; /* built with MPI */

/* One thread's count of the meetings it came to. */
typedef struct {
    _Alignas(GLIA_LINE) unsigned group;
    unsigned team;
} glia_turn;

struct glia_comm {
    const char *name;
    const glia_comm_table *table;
    glia_world *world;
    glia_comm *root; /* the rank's end of the world; itself there */
    int rank, size, threads;
    int slot;           /* which gate of each rank this group uses */
    int spins;          /* before a waiting thread yields its core */
    int *member;        /* [size] their ranks in the world */
    glia_turn *turn;    /* [threads] */
    glia_counter *team; /* where the threads of this rank meet among themselves */
    atomic_uint here;   /* threads of this rank that came to the group's meetings */
    atomic_uint here_team;

    /* of the world's end alone */
    int slots; /* gates given out */
    size_t area_bytes;
    void *own; /* what the kind of world needs */
    glia_comm_cost cost;
};

/* A world of `size` ranks, none of which is local yet; NULL: no memory. */
glia_world *glia_world_new(const glia_world_table *table, const char *name, int size);
void glia_world_free(glia_world *w);
/* The end of one of its ranks, used by one thread. */
glia_status glia_comm_new(glia_comm **out, glia_world *w, int rank, glia_err *err);
/* Choose its collectives, when it is known whose memory is seen here. */
void glia_comm_choose(glia_comm *c);
/* Release a group's own memory. */
void glia_comm_drop(glia_comm *c);

/* Every thread of every rank of the group, or of this rank alone, has come;
 * false once a rank of the world has failed. */
bool glia_meet(glia_comm *c, int thread);
bool glia_meet_team(glia_comm *c, int thread);

/* ---- sums and cuts that every algorithm shares ------------------------------- */

/* Whether an all-reduce of n floats lets every rank read all of every other's:
 * one meeting and parts (size - 1) n floats, instead of two and (parts + 1) (size - 1) / size n. */
bool glia_comm_in_one_go(size_t n, int size, int parts);

/* Part `i` of `of` of n floats, cut at whole cache lines. */
void glia_comm_part(size_t n, int i, int of, size_t *from, size_t *to);

/* The rank that holds byte `col` of a row. */
int glia_comm_holder(const glia_gather *g, int size, size_t col);

/* What a sum adds: `n` times `parts` operands, of which those of rank p begin at
 * base[p] + at bytes, or base[member[p]] + at, and stand `stride` bytes apart. */
typedef struct {
    char *const *base;
    const int *member; /* NULL: 0, 1, ... */
    size_t at, stride;
    int n, parts;
} glia_summands;

/* out[i] (+)= operand 0 + operand 1 + ... for i in [0, n). out may be an operand. */
void glia_comm_add_up(float *out, const glia_summands *src, size_t n, bool add);

#endif
