/* shard.h - who holds what: how ranks share weights, heads, rows and positions,
 * as pure functions. docs/PARALLEL.md draws them.
 *
 * One rule for everything that is cut evenly: n things over `ranks` make shards
 * of ceil(n / ranks). The last ones are short or empty. Every rank's buffers have
 * the full size, with zeros past what is real. */
#ifndef GLIA_LAYER_SHARD_H
#define GLIA_LAYER_SHARD_H

#include <stdbool.h>
#include <stddef.h>

/* ---- even shards: columns, rows of a weight, vocabulary ---------------- */

static inline size_t glia_even_size(size_t n, int ranks) { return (n + (size_t)ranks - 1) / (size_t)ranks; }
/* The things [*from, *to) that `rank` really holds. */
void glia_even_shard(size_t n, int ranks, int rank, size_t *from, size_t *to);

/* ---- attention heads --------------------------------------------------------- */

typedef enum {
    GLIA_HEADS_CUT,       /* each rank has whole groups of the model's heads */
    GLIA_HEADS_REPLICATE, /* ranks % kv_heads == 0: a KV head is copied to neighbours (REPLICATE_TO_TP_DEGREE)
                           */
    GLIA_HEADS_CONVERT,   /* else a KV head of its own for each query head (CONVERT_TO_MHA) */
} glia_head_rule;

/* How `ranks` share attention heads. Padded heads are numbered over all ranks;
 * rank r has query heads [r q, (r + 1) q) and KV heads [r kv, (r + 1) kv) of
 * them, and its query head i attends with its KV head i / (q / kv). */
typedef struct {
    int ranks, heads, kv_heads; /* as given: of the model */
    glia_head_rule rule;
    int q, kv; /* heads of one rank */
} glia_head_cut;

/* The cut for ranks >= 1 and heads % kv_heads == 0.
 * Source: neuronx-distributed-inference modules/attention/gqa.py, whose padding of K
 * and V after conversion counts the wrong heads; here it counts the query heads. */
glia_head_cut glia_cut_heads(int heads, int kv_heads, int ranks);
const char *glia_head_rule_name(glia_head_rule rule); /* as Neuron's: "REPLICATE_TO_TP_DEGREE", ... */

/* The model's head that is padded head `i`, or -1: zeros. */
int glia_q_head(const glia_head_cut *c, int i);
int glia_kv_head(const glia_head_cut *c, int i);

/* ---- a weight's rows (or columns) -------------------------------------------- */

/* Along the dimension that is cut. */
typedef enum { GLIA_SHARD_ALL, GLIA_SHARD_EVEN, GLIA_SHARD_Q, GLIA_SHARD_KV } glia_shard_kind;

/* One tensor's cut dimension of n. In a fused tensor of the rank, `at` is where this
 * tensor begins: k after q, v after both. */
typedef struct {
    glia_shard_kind kind;
    size_t n;
    const glia_head_cut *heads; /* of Q and KV, which have head_dim rows a head */
    int head_dim;
    int ranks, rank;
    size_t at;
} glia_shard;

/* Rows [to, to + n) of the rank's tensor are rows [from, from + n) of the model's. */
typedef struct {
    size_t to, from, n;
} glia_slice;

/* Rows of the rank's shard, padding included: the same on every rank. */
size_t glia_shard_size(const glia_shard *s);
/* The model's row that is row `i` of the shard (0 .. size - 1), or -1: zeros. */
ptrdiff_t glia_shard_source(const glia_shard *s, size_t i);
/* The slices of a rank's tensor in ascending order of `to`, each as long as it can be. Zero *slice, then call
 * until it returns false. Rows that no slice covers are zeros, and the model's rows in no slice need not be
 * read. */
bool glia_shard_next(const glia_shard *s, glia_slice *slice);

/* ---- flash decoding: the positions of a KV head that ranks would copy -------- */

/* `group` = ranks / kv_heads neighbours share a KV head (GLIA_HEADS_REPLICATE);
 * runs of positions go to the members in rotation (glia_stripe_owner() of base/team.h).
 * A run is one or more whole cache blocks. In NxDI a run is one position. */
int glia_flash_group(const glia_head_cut *c);

/* ---- context parallelism: the rows of a prompt over `degree` ranks ----------- */

/* `degree` divides the ranks. A union is `degree` neighbouring ranks. They hold the same
 * heads, those of all their shards, and split the rows. Rank r belongs to union
 * r / degree, and its number in the union (its context-parallel rank) is r % degree. In a
 * step of few rows, rank r attends with shard r to all rows. */
static inline int glia_cp_rank(int rank, int degree) { return rank % degree; }
static inline int glia_cp_union_rank(int rank, int degree) { return rank / degree; }

/* The KV heads of a union. A head that several of its shards use is stored once, if
 * every union can do so. Union w's i-th KV head is the model's head
 * glia_kv_head(result, w * kv + i). Its query head j < q = degree * c->q uses KV head
 * j / (q / kv). Query heads stay as in the shards, so glia_q_head() does not take the result. */
glia_head_cut glia_cp_union(const glia_head_cut *c, int degree);

/* n rows of a batch, padded so that `ranks` divides n. Each context-parallel rank attends
 * with n / degree of them: contiguous rows, or, strided, row i belongs to rank i % degree,
 * which balances causal work. Between blocks rank r holds n / ranks of the rows of its
 * context-parallel rank: slice number r / degree. In rank order, rank 0's rows come first,
 * then rank 1's, ... */

/* Where batch row i < n stands in rank order. */
size_t glia_cp_index(bool strided, size_t n, int ranks, int degree, size_t i);
/* The batch row that is the k-th of context-parallel rank `cp_rank`, k < n / degree. */
size_t glia_cp_row(bool strided, size_t n, int degree, int cp_rank, size_t k);

#endif
