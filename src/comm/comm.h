/* comm.h - collectives: all-reduce, reduce-scatter, all-gather, gather, exchange,
 * broadcast and barrier, on all ranks or on a group of them.
 *
 * A glia_comm is one rank's handle of a group. Ranks are thread teams of one process
 * or MPI processes; callers cannot tell. The bits of a sum are the same for
 * both kinds of ranks: every element is added in rank order, whatever the algorithm.
 *
 * A collective is called like an operation of the device: by every thread of every
 * rank of the group, with equal arguments and the thread's own `thread`. It waits
 * until all these threads have called it, so they all see what any of them wrote
 * before. Then each thread computes its share of the result and returns. A thread may
 * read the share of another one only after a barrier of the team. A collective
 * allocates nothing.
 *
 * An operand named `in` lies in the rank's area (glia_comm_area), at the same offset
 * in the area of every rank, where the other ranks read it without a copy. The caller
 * may write it again when a later collective of the same group, or of a group that
 * contains it, has returned. Therefore a layer alternates between two buffers.
 *
 * A failed rank does not hang the others. Once a rank has failed, every collective of
 * every rank returns at once with a meaningless result. All threads of a step then
 * reach its end, where glia_comm_check() reports the failure. Nothing that was received
 * may be used as an index before that check. docs/PARALLEL.md has algorithms and costs. */
#ifndef GLIA_COMM_COMM_H
#define GLIA_COMM_COMM_H

#include "base/err.h"

typedef struct glia_comm glia_comm;

enum { GLIA_RANKS_MAX = 1024, GLIA_GROUPS_MAX = 16 };

/* ---- a world: all ranks of a run ------------------------------------------ */

/* Make a world of `n` ranks of this process: comm[0..n-1], each for one thread. A team
 * splits off a group for its threads. One rank alone is a world too. On success the
 * caller frees each handle. Errors: GLIA_ERR_ARGUMENT, GLIA_ERR_NOMEM. */
glia_status glia_comm_threads(glia_comm **comm, int n, glia_err *err);

/* Prints the sentence and ends the process. Does not return. */
typedef void glia_last_words(const char *sentence);

/* Make this process a rank of the world of all processes that the launcher started.
 * Initialises MPI if nobody has. Call it on the thread that will be thread 0 of the
 * team. From then on the process ignores SIGTERM, unless it has a handler, which must
 * return: mpirun sends SIGTERM when a rank ends early, so that this rank can report its reason; SIGKILL
 * follows within a second. `messages`: send messages even between ranks of one machine. `last_words` (may be
 * NULL): called on a thread of comm's own when another process is gone while this rank's thread is inside
 * MPI, since MPI may never return then. Errors: GLIA_ERR_UNSUPPORTED in a build without MPI; GLIA_ERR_IO with
 * what MPI or the network reported; GLIA_ERR_LIMIT; GLIA_ERR_NOMEM; GLIA_ERR_ARGUMENT if ranks run different
 * versions of Glia. */
glia_status glia_comm_mpi(glia_comm **out, bool messages, glia_last_words *last_words, glia_err *err);

/* Release a group; or a world, after its groups. No rank may be in a collective. MPI
 * ranks leave together. After a failure a rank prints its reason first, because mpirun
 * kills the other ranks when one has ended. NULL is fine. */
void glia_comm_free(glia_comm *c);

int glia_comm_rank(const glia_comm *c);
int glia_comm_size(const glia_comm *c);
/* "single", "threads", "mpi shared memory" or "mpi messages". */
const char *glia_comm_name(const glia_comm *c);

/* ---- by one thread of each rank, outside of steps -------------------------- */

/* Agree on a configuration and on success. Every rank passes `config`, a list "item,
 * item, ..." of which 400 bytes count, and its own status so far, with *err if that is
 * a failure. Every rank gets the same result: GLIA_OK; or the status and message of the
 * first rank that failed; or GLIA_ERR_ARGUMENT with the first rank and item that
 * differ from rank 0's, or with a rank of another version. Waits for all ranks, so
 * each needs a thread of its own. A failure fails the world. */
glia_status glia_comm_agree(glia_comm *world, const char *config, glia_status own, glia_err *err);

/* Gather `bytes` bytes of every rank: all [size, bytes]. Waits for all ranks.
 * Errors: what a failed rank said. */
glia_status glia_comm_notes(glia_comm *world, const void *mine, size_t bytes, void *all, glia_err *err);

/* Make a second world of the ranks of `world`, with its own area and groups. Both
 * share one failure. Every rank of an MPI world calls it, in the same order. The caller
 * frees *out before `world`. A world has at most one copy at a time.
 * Errors: GLIA_ERR_UNSUPPORTED if another copy exists; GLIA_ERR_IO with what MPI or a
 * failed rank reported, also if a rank has freed `world` instead. */
glia_status glia_comm_copy(glia_comm **out, glia_comm *world, glia_err *err);

/* Allocate this rank's area of `bytes` bytes, for operands named `in`. Every rank calls
 * it once, with equal `bytes`, before the first collective of the world. No page is
 * touched, so the thread that writes a page first decides its NUMA node.
 * Errors: GLIA_ERR_NOMEM; GLIA_ERR_LIMIT and GLIA_ERR_IO of MPI ranks. */
glia_status glia_comm_share(glia_comm *world, size_t bytes, glia_err *err);
/* This rank's area, aligned to 64 bytes; NULL before glia_comm_share(). */
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

/* Split off the group of all ranks of `parent` that have this rank's colour, in rank
 * order, for teams of `threads` threads. `colour` [size of parent] is the same on every
 * rank; NULL puts all ranks into one group. Every rank makes the same splits in the
 * same order. Sends nothing. The caller frees *out before `parent`.
 * Errors: GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
glia_status glia_comm_split(glia_comm **out, glia_comm *parent, const int *colour, int threads,
                            glia_err *err);

/* Fail the world because this rank cannot go on. From now on every collective of every
 * rank returns, and glia_comm_check() reports "rank N: why". The first failure of a
 * world counts. Any thread may call it. */
void glia_comm_fail(glia_comm *c, const char *why);
/* GLIA_OK, or GLIA_ERR_IO with one sentence that names the failed rank. Any thread. */
glia_status glia_comm_check(const glia_comm *c, glia_err *err);

/* ---- by every thread of each rank ------------------------------------------ */

/* Wait for every thread of every rank. */
void glia_comm_barrier(glia_comm *c, int thread);

/* out[i] (+)= sum over ranks, in rank order, of in[i].
 *   out [n]  float32, written, or added to if `add`; not in the area
 *   in  [n]  float32 in the area; its values are destroyed */
void glia_comm_all_reduce(glia_comm *c, int thread, float *out, float *in, size_t n, bool add);

/* The same sum over n units of `unit` floats; rank r gets units glia_share(n, r, size).
 * If units are rows, `unit` is the stride of a row; what lies beyond the row's end is
 * added too and means nothing.
 *   out [units of the rank, unit]  written, or added to if `add`
 *   in  [n, unit]                  in the area */
void glia_comm_reduce_scatter(glia_comm *c, int thread, float *out, const float *in, size_t n, size_t unit,
                              bool add);

/* A sum to which each rank brings several summands, one behind the other in its area.
 * The order is: the summands of rank 0, then those of rank 1, and so on. So the bits
 * depend on the number of summands, and not on how many ranks bring them. A sum has
 * at most GLIA_RANKS_MAX summands. */
typedef struct {
    size_t n;      /* all-reduce: floats; reduce-scatter: units */
    size_t unit;   /* reduce-scatter: floats of a unit */
    int per_rank;  /* summands of each rank, the same number on every rank */
    size_t stride; /* floats from one summand of a rank to the next */
    bool add;      /* add the sum to out */
} glia_sum;

/* glia_comm_all_reduce() and glia_comm_reduce_scatter() with s->per_rank summands.
 * Summand i of a rank begins at in + i * s->stride. */
void glia_comm_all_reduce_many(glia_comm *c, int thread, float *out, float *in, const glia_sum *s);
void glia_comm_reduce_scatter_many(glia_comm *c, int thread, float *out, const float *in, const glia_sum *s);

/* Shape of a gather: `rows` rows, each cut into n units of `unit` bytes, of which rank r
 * holds units glia_share(n, r, size). Strides are in bytes. */
typedef struct {
    size_t rows, n, unit;
    size_t ld_in;  /* from row to row of a rank's units */
    size_t ld_out; /* from row to row of the result */
} glia_gather;

/* The units of every rank side by side, on every rank. To gather whole rows, let `rows`
 * be 1 and each unit be a row.
 *   out [rows, n, unit]                  written; not in the area
 *   in  [rows, units of the rank, unit]  in the area
 * If rows > 1, n * unit must not exceed the size of the area. */
void glia_comm_all_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g);

/* The same on rank `root` of the group alone. Other ranks do not use `out`. */
void glia_comm_gather(glia_comm *c, int thread, void *out, const void *in, const glia_gather *g, int root);

/* Every rank sends one block to every rank, itself included (all-to-all).
 *   out [size, bytes]  block p is from rank p; written; not in the area
 *   in  [size, ld_in]  in the area; the block for rank p begins at in + p * ld_in bytes */
void glia_comm_exchange(glia_comm *c, int thread, void *out, const void *in, size_t bytes, size_t ld_in);

/* Copy `buf` of rank `root` to `buf` of every rank. `buf` [bytes] lies in the area. */
void glia_comm_broadcast(glia_comm *c, int thread, void *buf, size_t bytes, int root);

/* ---- what it cost ----------------------------------------------------------- */

/* Sums over all groups of this rank since the world began. */
typedef struct {
    uint64_t calls;
    uint64_t bytes; /* read or received from other ranks */
    double seconds; /* that thread 0 spent in collectives, waiting included */
} glia_comm_cost;
glia_comm_cost glia_comm_costs(const glia_comm *c);

#endif
