/* adapter.h - a LoRA adapter as changes of a model's weights, checked against the
 * model.
 *
 * A change is of whole weights, before ranks cut them. model/adapter_pack.h cuts and
 * packs the changes for one rank; `glia merge` writes changed weights. */
#ifndef GLIA_MODEL_ADAPTER_H
#define GLIA_MODEL_ADAPTER_H

#include "format/adapter.h"
#include "model/row_source.h"
#include "model/weights.h"

/* What an adapter changes of one weight W [rows, cols]. It becomes
 *   factor (W + scale B A), row by row; factor is 1 without DoRA
 *   or `whole`; or, of the embedding and the head, W with rows replaced, to which a head adds scale B A
 * and of its layer's bias: `bias` replaces it, and b_bias times scale is added. */
typedef struct {
    int r; /* rank of A and B; 0: neither */
    double scale;
    int pool;               /* QALoRA: A multiplies means of so many columns, times their number; else 1 */
    int a_blocks, b_blocks; /* BD-LoRA: A or B is so many blocks on a diagonal; else 1 */
    const glia_tensor_view *a, *b; /* [r, cols / (pool a_blocks)], [rows, r / b_blocks] */
    const glia_tensor_view *whole, *bias, *b_bias;
    float *factor;  /* of DoRA: [rows], of the embedding [cols]; or NULL */
    int32_t *token; /* [n_tokens] rows that are replaced */
    float *delta;   /* [n_tokens, cols] new rows minus old rows */
    int n_tokens;
} glia_change;

typedef struct {
    glia_adapter_files files;
    const glia_model_spec *spec;
    const glia_model_config *config;
    glia_change *change; /* [layers][N_WEIGHTS]; those of the model's own weights in layer 0 */
    int rank;            /* the largest rank, replaced rows of a tied head included */
} glia_adapter;

/* Where the base model's weights are, if the adapter depends on them. */
typedef struct {
    const char *dir;
    bool dummy;
    uint64_t seed;
    bool sizes; /* only sizes are wanted: numbers that depend on weights mean nothing */
    const glia_weights *const *weight; /* [n] of a model whose `dir` is compiled: weights of its ranks */
    int n;
} glia_adapter_base;

/* Read the adapter in `dir` and compare it with the model: modules, shapes, ranks, and base weights that PEFT
 * stored. `config` must outlive *a. On success the caller calls glia_adapter_close(); on failure *a is
 * zeroed.
 * Errors: as of glia_adapter_files_open(); GLIA_ERR_SHAPE a tensor of another shape, or of a module that the
 * model does not have; GLIA_ERR_FORMAT a tensor that the configuration does not ask for; GLIA_ERR_UNSUPPORTED
 * a change that Glia does not have. */
glia_status glia_adapter_open(glia_adapter *a, const char *dir, const glia_model_config *config,
                              const glia_adapter_base *base, glia_warning_fn *warning, void *user,
                              glia_err *err);
void glia_adapter_close(glia_adapter *a);

static inline const glia_change *glia_adapter_change(const glia_adapter *a, int layer, glia_weight_id id) {
    return &a->change[layer * N_WEIGHTS + (int)id];
}
/* Does the change change anything? */
bool glia_change_is(const glia_change *c);
/* y [cols]: row j of A. y [r + n_tokens]: row `row` of B. Replaced rows follow: there A is the difference,
 * and B chooses. */
void glia_change_a(const glia_change *c, size_t j, size_t cols, float *y);
void glia_change_b(const glia_change *c, size_t row, float *y);
/* Rank of the product B A, with replaced rows; and what it is multiplied by. */
size_t glia_change_rank(const glia_change *c);
double glia_change_scale(const glia_change *c);
/* y [n] = elements [from, from + n) of a tensor, in float32. */
void glia_tensor_floats(const glia_tensor_view *v, size_t from, size_t n, float *y);

#endif
