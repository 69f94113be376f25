/* linear.h - linear layers and the embedding on one rank or several.
 *
 * Names are Megatron's: a column-parallel layer cuts its outputs, so each rank
 * has columns of the product and nothing is added; a row-parallel layer cuts
 * its inputs, so each rank has a summand and the ranks add them up, in their
 * order. All threads of all ranks call these functions with equal arguments. As after
 * a device operation, the caller puts a team barrier before a thread reads what
 * another thread wrote. One rank alone runs the same code without collectives.
 *
 * Between blocks the residual stream of many rows is spread over the ranks
 * (sequence parallelism): each rank holds, sums and norms only its rows. Spreading
 * is a schedule: the bits are the same as if every rank held all rows. */
#ifndef GLIA_LAYER_LINEAR_H
#define GLIA_LAYER_LINEAR_H

#include "comm/comm.h"
#include "device/device.h"
#include "layer/parallel.h"

/* The state of one thread during one step. */
typedef struct {
    const glia_device *d;
    int thread;
    glia_comm *comm; /* all ranks that share the model, for teams of d->threads; NULL: one rank alone */
    glia_parallel p;
    float *hidden; /* [m, ld_hidden] the residual stream; if spread, this rank's rows hold their values */
    size_t ld_hidden;
    int m; /* rows of the step */
    bool spread;
    const int32_t *place; /* [m] the place of each row's adapter, -1: none; NULL: no row has one */
    char *area[2]; /* two buffers for operands of collectives, used alternately: glia_parallel_area_bytes()
                      each */
    unsigned operands; /* how many were written: the next one goes to area[operands % 2] */
} glia_walk;

/* The RMSNorm of the rows of a layer. */
typedef struct {
    const float *weight;
    float eps;
    const float *const *of; /* [places] weights of adapters that replace `weight`, or NULL */
} glia_row_norm;

/* Are m rows enough to be spread over the ranks? */
bool glia_rows_are_many(const glia_parallel *p, int m);
/* The rows [*from, *to) of the residual stream that this rank holds. */
void glia_held_rows(const glia_walk *w, size_t *from, size_t *to);
/* Bytes of one of the area's two buffers for up to max_rows rows, a multiple of 64. */
size_t glia_parallel_area_bytes(const glia_parallel *p, size_t ld_hidden, int max_rows);
/* Floats from row to row of the residual stream on a device of this kind. */
size_t glia_parallel_ld_hidden(const glia_device_ops *ops, size_t hidden, const glia_parallel *p);

/* hidden = the embeddings of token [m]. `hidden_size` and `vocab` are the model's. `adapted` [places] is what
 * adapters change; NULL: nothing. */
void glia_parallel_embed(glia_walk *w, const glia_matrix *table, size_t hidden_size, size_t vocab,
                         const int32_t *token, const glia_embed_change *adapted);
/* out = this rank's columns of the product of the normed residual stream and the layer's weight, whose shard
 * is `matrix`. */
void glia_column_parallel(glia_walk *w, const glia_row_norm *norm, const glia_matrix *matrix,
                          const glia_linear_out *out);
/* For spread rows, the first half of glia_column_parallel(). Norm this rank's rows and gather the m rows of
 * all ranks of `group`, in the format that `matrix` multiplies. A barrier follows. */
glia_operand glia_spread_rows(glia_walk *w, glia_comm *group, int m, const glia_row_norm *norm,
                              const glia_matrix *matrix);
/* Directly after glia_spread_rows(): the same rows as adapters of the layer multiply them, if these are other
 * rows than it gives: then true. */
bool glia_spread_adapted(glia_operand *rows, glia_walk *w, glia_comm *group, int m, const glia_row_norm *norm,
                         const glia_matrix *matrix, const glia_adapted *adapted);
/* hidden += the product of all ranks' x and the layer's weight, and the bias. x [m] is this rank's GLIA_INPUT
 * rows; `matrix` is its shard of the weight. `adapted` may be NULL. */
void glia_row_parallel(glia_walk *w, const glia_activation *x, const glia_matrix *matrix, const float *bias,
                       const glia_adapted *adapted);
/* Each rank of `group` holds `shards` shards of a matrix. Multiply m rows by all of them and add this rank's
 * rows of the sum to hidden. The result is bit-identical to one shard per rank. x: the rows for the first
 * shard, GLIA_INPUT; those for the next shard begin m strides later. adapted [shards] may be NULL. */
void glia_row_parallel_parts(glia_walk *w, glia_comm *group, const glia_activation *x,
                             const glia_matrix *shard, int shards, const float *bias,
                             const glia_adapted *adapted);
/* out [n, ld_hidden] = rows row[n] of the residual stream, on every rank. If rows are spread, `out` may be
 * the residual stream itself. A barrier ends it. */
void glia_collect_rows(glia_walk *w, float *out, const int32_t *row, int n);
/* out = the product of rows row[n] of the normed residual stream and the head, whose shard by vocabulary is
 * `matrix`. place [n] is of these rows, or NULL. If rows are spread, hidden is overwritten. */
void glia_parallel_head(glia_walk *w, const glia_row_norm *norm, const glia_matrix *matrix,
                        const int32_t *row, const int32_t *place, int n, const glia_linear_out *out);

#endif
