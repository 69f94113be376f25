/* comm.h - what ranks do together: all-reduce, reduce-scatter, all-gather,
 * gather, exchange, broadcast, barrier, on all ranks or on groups of them.
 *
 * A glia_comm is one rank's end of a group. Ranks are thread teams of one
 * process or MPI processes; callers cannot tell, and the bits of a sum do not
 * either: each element is added in the order of ranks, whatever the algorithm.
 *
 * Collectives are called as device operations are (device/device.h): by every
 * thread of every rank of the group, with equal arguments and its own `thread`.
 * They wait until all threads of all ranks have come, so what any thread wrote
 * before is seen; then each thread does its share and returns, so a team barrier
 * stands before another thread's share of the result is read. Nothing allocates.
 *
 * Operands named `in` lie in the rank's area (glia_comm_area), at the same place
 * in every rank's, where the others read them without a copy. They may be
 * written again only when a later collective of the same group, or of one that
 * contains it, has returned: so a layer takes turns between two buffers.
 *
 * A failed rank does not hang the others: once one has failed, every collective
 * of every rank returns at once, its results meaningless, so that all threads of
 * a step reach its end together, where glia_comm_check() says what happened.
 * Nothing received may be used as an index before that check. docs/PARALLEL.md
 * has algorithms and costs. */
#ifndef GLIA_COMM_COMM_H
#define GLIA_COMM_COMM_H

#include "base/err.h"

typedef struct glia_comm glia_comm;

enum { GLIA_RANKS_MAX = 1024, GLIA_GROUPS_MAX = 16 };

/* ---- a world: all ranks of a run ------------------------------------------ */

/* `n` ranks of this process, comm[0..n-1], each used by one thread: teams split
 * a group of their size off. One rank alone is a world too. On success the caller
 * frees each. Errors: GLIA_ERR_ARGUMENT, GLIA_ERR_NOMEM. */
glia_status glia_comm_threads(glia_comm **comm, int n, glia_err *err);

/* Says the sentence and ends the process; does not return. */
typedef void glia_last_words(const char *sentence);

/* This process's rank among those that mpirun started; initialises MPI where
 * that was not done. Call on the thread that will be thread 0 of the team. From
 * here on SIGTERM is ignored, which mpirun sends when any rank ends early, so
 * that this one can say why it ends too; SIGKILL follows within a second.
 * `messages`: exchange by messages even inside a machine. `last_words` (may be
 * NULL): called, on a thread of comm's own, where another process is gone while
 * this rank's thread is inside MPI, which may hang then or end the process: the
 * thread does not come back to say what happened. Errors:
 * GLIA_ERR_UNSUPPORTED built without MPI; GLIA_ERR_IO what MPI or the network said. */
glia_status glia_comm_mpi(glia_comm **out, bool messages, glia_last_words *last_words, glia_err *err);

/* Release a group, or a world after its groups: when no rank is in a collective
 * any more. MPI ranks leave together: after a failure, say what is wrong first, for
 * mpirun kills the others when one has ended. NULL is fine. */
void glia_comm_free(glia_comm *c);

int glia_comm_rank(const glia_comm *c);
int glia_comm_size(const glia_comm *c);
/* "single", "threads", "mpi shared memory" or "mpi messages". */
const char *glia_comm_name(const glia_comm *c);

/* ---- by one thread of each rank, outside of steps -------------------------- */

/* Those of thread ranks may be made by one thread for all ranks in turn, except
 * glia_comm_agree(), which waits for the others.
 *
 * All ranks of a world compare notes: `config` (a list "item, item, ..." that
 * must be equal, of which 400 bytes count), the program's version, and whether
 * each is well. `own` and *err: this rank's status so far, with its sentence where
 * it is a failure. On every rank the same answer: GLIA_OK, or the first failed or
 * differing rank with the reason, or the first item that differs, in *err. */
glia_status glia_comm_agree(glia_comm *world, const char *config, glia_status own, glia_err *err);

/* Every rank's `bytes` of notes: all [size, bytes]. A failure is some rank's. */
glia_status glia_comm_notes(glia_comm *world, const void *mine, size_t bytes, void *all, glia_err *err);

/* A world of the same processes with an area and groups of its own; a failure of one
 * is a failure of both. Every rank of an MPI world calls it, in the same order. The
 * caller frees *out before `world`, and before the next copy: one at a time. Errors:
 * GLIA_ERR_UNSUPPORTED (the last copy is not freed), a rank that has freed the world
 * instead, what MPI said. */
glia_status glia_comm_copy(glia_comm **out, glia_comm *world, glia_err *err);

/* Give this rank, as every rank of its world, an area of `bytes` for operands
 * named `in`. Once per world, before its first collective. Untouched pages: the
 * thread that writes first decides the NUMA node. Errors: GLIA_ERR_NOMEM. */
glia_status glia_comm_share(glia_comm *world, size_t bytes, glia_err *err);
/* This rank's area, aligned to 64 bytes. */
void *glia_comm_area(const glia_comm *c);
/* How the ranks of a world reach each other: as threads of one process, as MPI
 * processes of one machine through shared memory, or as MPI processes of several
 * machines, which send messages. */
typedef enum { GLIA_COMM_THREADS, GLIA_COMM_SHARED, GLIA_COMM_MESSAGES } glia_comm_kind;
/* The kind of c's world; NULL, one process alone, counts as threads. */
glia_comm_kind glia_comm_kind_of(const glia_comm *c);
/* Bytes that glia_comm_share(world, bytes) allocates for each of `size` ranks: the
 * area and the buffers that grow with it. A pure function, for memory plans. */
size_t glia_comm_memory(glia_comm_kind kind, int size, size_t bytes);

/* The group of all ranks with this rank's colour, in rank order, for teams of
 * `threads`. `colour` [size of parent]: of every rank, the same on each; NULL:
 * all alike. Every rank splits in the same order; sends nothing. The caller frees
 * *out before the parent. Errors: GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
glia_status glia_comm_split(glia_comm **out, glia_comm *parent, const int *colour, int threads,
                            glia_err *err);

/* This rank cannot go on: every rank's collectives return from now on, and
 * glia_comm_check() says "rank N: why". Any thread; the first failure counts. */
void glia_comm_fail(glia_comm *c, const char *why);
/* GLIA_OK, or the failure of some rank, one sentence that names it. */
glia_status glia_comm_check(const glia_comm *c, glia_err *err);

/* ---- by every thread of each rank ------------------------------------------ */

/* Wait for every thread of every rank. */
void glia_comm_barrier(glia_comm *c, int thread);

/* out[i] (+)= sum over ranks, in rank order, of in[i].
 *   out [n]  float32, written (`add`: added to); not in the area
 *   in  [n]  float32 in the area; its values are lost */
void glia_comm_all_reduce(glia_comm *c, int thread, float *out, float *in, size_t n, bool add);

/* This rank's units of the sum: n units of `unit` floats, of which rank r keeps
 * glia_share(n, r, size). Where units are rows, `unit` is their stride: what
 * stands behind a row's end is added with it and means nothing.
 *   out [its units, unit]  written (`add`: added to)
 *   in  [n, unit]          in the area */
void glia_comm_reduce_scatter(glia_comm *c, int thread, float *out, const float *in, size_t n, size_t unit,
                              bool add);

/* A sum to which each rank brings several operands, one behind the other in its
 * area. They are added as if each were a rank's own: those of rank 0 in their
 * order, then those of rank 1, so the bits depend on how many there are alone and
 * not on how many ranks bring them. At most GLIA_RANKS_MAX in all. */
typedef struct {
    size_t n;      /* floats; of a reduce-scatter: units */
    size_t unit;   /* of a reduce-scatter: floats of a unit */
    int parts;     /* operands of each rank, as many on every one */
    size_t stride; /* floats from one to the next */
    bool add;      /* to what stands in out */
} glia_sum;

/* As glia_comm_all_reduce() and glia_comm_reduce_scatter(), which are the cases of
 * one part. Operand i of a rank begins at in + i * s->stride. */
void glia_comm_all_reduce_parts(glia_comm *c, int thread, float *out, float *in, const glia_sum *s);
void glia_comm_reduce_scatter_parts(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s);

/* Shape of an all-gather: `rows` rows that each are cut into n units of `unit`
 * bytes, rank r holding glia_share(n, r, size) of them. Strides in bytes. */
typedef struct {
    size_t rows, n, unit;
    size_t ld_in;  /* from row to row of a rank's part */
    size_t ld_out; /* from row to row of the whole */
} glia_gather;

/* Every rank's part, side by side. To gather whole rows, let rows be 1 and the
 * units be the rows.
 *   out [rows, n, unit]         written; not in the area
 *   in  [rows, its units, unit]  in the area
 * Where rows > 1, n * unit may not exceed the area. */
void glia_comm_all_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g);

/* The same, but on rank `root` of the group alone; `out` is not used on others. */
void glia_comm_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g, int root);

/* A block from every rank to every other, its own too.
 *   out [size, bytes]  block p from rank p; written; not in the area
 *   in  [size, ld_in]  in the area: the block for rank p at in + p * ld_in bytes */
void glia_comm_exchange(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in);

/* The root's bytes to every rank's `buf`, which lies in the area. */
void glia_comm_broadcast(glia_comm *c, int thread, void *buf, size_t bytes, int root);

/* ---- what it cost ----------------------------------------------------------- */

/* Of this rank, over all its groups, since the world's start. */
typedef struct {
    uint64_t calls;
    uint64_t bytes; /* read or received from other ranks */
    double seconds; /* of thread 0 inside collectives, waiting included */
} glia_comm_cost;
glia_comm_cost glia_comm_costs(const glia_comm *c);

#endif
