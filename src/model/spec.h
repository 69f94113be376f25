/* spec.h - a model as data: which weights it has, their shapes in symbols, how
 * tensor parallelism cuts each, and what each is for.
 *
 * One loader and one forward pass read these tables, so a new Llama-like model
 * is a new table, and a weight that is missing, extra or misshapen is found
 * before the first token instead of as a NULL in layer 17. */
#ifndef GLIA_MODEL_SPEC_H
#define GLIA_MODEL_SPEC_H

#include "format/config.h"
#include "layer/parallel.h"

/* The symbols shapes are written in; glia_dim_of() gives their values. */
typedef enum { D_1, D_HIDDEN, D_FFN, D_VOCAB, D_HEAD, D_Q, D_KV } glia_dim;

/* How ranks share a weight stored [rows = outputs, cols = inputs]. */
typedef enum {
    CUT_NONE,    /* every rank holds all of it */
    CUT_ROWS,    /* column-parallel linear: ranks own outputs, no reduction */
    CUT_COLS,    /* row-parallel linear: ranks own inputs, all-reduce follows */
    CUT_KV_ROWS, /* as CUT_ROWS by whole KV heads, copied when ranks > heads */
} glia_cut;
const char *glia_cut_name(glia_cut cut); /* "none", "rows", "cols", "kv_rows" */

/* What a weight is for. Those before W_IN_NORM are of the model, the others of each layer. */
typedef enum {
    W_EMBED,
    W_FINAL_NORM,
    W_HEAD,
    W_IN_NORM,
    W_Q,
    W_K,
    W_V,
    W_O,
    W_Q_NORM,
    W_K_NORM,
    W_POST_NORM,
    W_GATE,
    W_UP,
    W_DOWN,
    W_Q_BIAS,
    W_K_BIAS,
    W_V_BIAS,
    W_O_BIAS,
    W_GATE_BIAS,
    W_UP_BIAS,
    W_DOWN_BIAS,
    N_WEIGHTS,
} glia_weight_id;

/* When config.json says that a weight is there. */
typedef enum { ALWAYS, IF_UNTIED, IF_ATTENTION_BIAS, IF_MLP_BIAS } glia_when;

typedef struct {
    glia_weight_id id;
    const char *name;    /* in the checkpoint; %d is the layer, from 0 */
    glia_dim rows, cols; /* cols D_1: one dimension */
    glia_cut cut;
    glia_when when;
} glia_weight_spec;

/* What is done to a weight of the checkpoint before it is cut, quantised and
 * packed, row by row of the whole model; a vector has rows of one element. A NULL
 * function changes nothing. Both must be pure: any thread of any rank calls them,
 * for the rows that it needs. Dummies are what would be there afterwards. */
typedef struct {
    glia_weight_id id;
    /* The checkpoint's row that becomes row `row`. */
    int64_t (*source)(const glia_model_config *c, int64_t row);
    /* Change row `row`, x [n], all columns of it. */
    void (*change)(const glia_model_config *c, int64_t row, float *x, int64_t n);
} glia_preshard;

typedef struct {
    const char *architecture;       /* config.json: architectures[0] */
    const glia_weight_spec *weight; /* what this model adds to the weights that all share */
    size_t n_weights;
    const glia_preshard *preshard; /* at most one for a weight */
    size_t n_preshards;
} glia_model_spec;

/* The head as a weight of its own, also of a model that ties it to the embedding. */
extern const glia_weight_spec glia_output_head;
extern const glia_model_spec glia_spec_qwen3, glia_spec_smollm3, glia_spec_qwen2, glia_spec_llama;

/* The table of config.architecture; the config reader knows the same names, so never NULL. */
const glia_model_spec *glia_spec_find(const char *architecture);

int64_t glia_dim_of(const glia_model_config *c, glia_dim d);

/* A weight of one layer (layer 0 for those of the model), its name filled in. */
typedef struct {
    const glia_weight_spec *spec;
    int layer;
    int64_t rows, cols;
    char name[96];
} glia_weight;

/* The model's i-th weight, those of the model first, then layer by layer; false
 * when i is past the last. Weights that this config does not have are left out. */
bool glia_spec_weight(glia_weight *w, const glia_model_spec *s, const glia_model_config *c, size_t i);

/* The row of such a weight, of the model or of its layers; NULL: this config has none. */
const glia_weight_spec *glia_spec_row(const glia_model_spec *s, const glia_model_config *c,
                                      glia_weight_id id);
static inline bool glia_spec_has(const glia_model_spec *s, const glia_model_config *c, glia_weight_id id) {
    return glia_spec_row(s, c, id) != NULL;
}

/* How ranks share the weight: as its row says, but the embedding by columns
 * unless it is vocabulary-parallel. */
glia_cut glia_spec_cut(const glia_weight_spec *w, const glia_parallel *p);
/* The rows and the columns that rank p->rank holds of it. `cut` is glia_local_of()'s,
 * and must outlive the shards. */
void glia_spec_shards(glia_shard *rows, glia_shard *cols, const glia_weight_spec *w,
                      const glia_model_config *c, const glia_parallel *p, const glia_head_cut *cut);

/* Parameters the checkpoint must hold: what index.json calls total_parameters. */
int64_t glia_spec_parameters(const glia_model_spec *s, const glia_model_config *c);

#endif
