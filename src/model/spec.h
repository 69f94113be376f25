/* spec.h - a model as a table of the weights that its checkpoint holds.
 *
 * A row says what a weight is for, its name, its shape in symbols, how tensor
 * parallelism cuts it, and when it is present. One loader and one forward pass
 * read these tables, so a new Llama-like model is a new table. Checkpoints are
 * compared with the table, so a weight that is missing, extra or misshapen is
 * found before the first token. model/fused.h says how weights are fused.
 *
 * All functions are pure. */
#ifndef GLIA_MODEL_SPEC_H
#define GLIA_MODEL_SPEC_H

#include "format/config.h"
#include "layer/parallel.h"

/* Symbols of shapes; glia_dim_of() gives their values. */
typedef enum { D_1, D_HIDDEN, D_FFN, D_VOCAB, D_HEAD, D_Q, D_KV } glia_dim;

/* How ranks cut a weight stored [rows = outputs, cols = inputs]. */
typedef enum {
    CUT_NONE,    /* every rank holds the whole weight */
    CUT_ROWS,    /* column-parallel linear: ranks own outputs, no reduction */
    CUT_COLS,    /* row-parallel linear: ranks own inputs, an all-reduce follows */
    CUT_KV_ROWS, /* CUT_ROWS by whole KV heads, which are copied if there are more ranks than heads */
} glia_cut;
const char *glia_cut_name(glia_cut cut); /* "none", "rows", "cols", "kv_rows" */

/* What a weight is for. Weights before W_IN_NORM are the model's, the others are each layer's. Biases begin
 * at W_Q_BIAS. */
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

static inline bool glia_is_of_layer(glia_weight_id id) { return id >= W_IN_NORM; }
static inline bool glia_is_bias(glia_weight_id id) { return id >= W_Q_BIAS; }

/* When a weight is present, by config.json. */
typedef enum { ALWAYS, IF_UNTIED, IF_ATTENTION_BIAS, IF_MLP_BIAS } glia_when;

typedef struct {
    glia_weight_id id;
    const char *name;    /* in the checkpoint; %d is the layer, from 0 */
    glia_dim rows, cols; /* cols D_1: one dimension */
    glia_cut cut;
    glia_when when;
} glia_weight_spec;

/* A change of a checkpoint's weight before it is cut, quantised and packed. It acts
 * on whole rows of the weight; a vector has rows of one element. A NULL function
 * changes nothing. Both functions must be pure: any thread of any rank calls them,
 * for the rows that it needs. A dummy model's weights are not changed. */
typedef struct {
    glia_weight_id id;
    /* The checkpoint's row that becomes row `row`. */
    int64_t (*source)(const glia_model_config *c, int64_t row);
    /* Change row `row`, x [n], where n is the number of the weight's columns. */
    void (*change)(const glia_model_config *c, int64_t row, float *x, int64_t n);
} glia_preshard;

typedef struct {
    const char *architecture;       /* config.json: architectures[0] */
    const glia_weight_spec *weight; /* [n_weights] in addition to those that all models share */
    size_t n_weights;
    const glia_preshard *preshard; /* [n_preshards] at most one for each weight */
    size_t n_preshards;
} glia_model_spec;

/* The row of the head. A model that ties its head to the embedding has no such row in its table, but may hold
 * the head as a matrix. */
extern const glia_weight_spec glia_output_head;
extern const glia_model_spec glia_spec_qwen3, glia_spec_smollm3, glia_spec_qwen2, glia_spec_llama;

/* The table of config.architecture, never NULL: the config reader refuses other names. */
const glia_model_spec *glia_spec_find(const char *architecture);

int64_t glia_dim_of(const glia_model_config *c, glia_dim d);

/* A weight of one layer; layer 0 for the model's weights. */
typedef struct {
    const glia_weight_spec *spec;
    int layer;
    int64_t rows, cols;
    char name[96]; /* in the checkpoint */
} glia_weight;

/* The i-th weight that this config has: the model's weights come first, then those of each layer. Returns
 * false if i is past the last. */
bool glia_spec_weight(glia_weight *w, const glia_model_spec *s, const glia_model_config *c, size_t i);

/* The row of a weight; NULL if this config has no such weight. */
const glia_weight_spec *glia_spec_row(const glia_model_spec *s, const glia_model_config *c,
                                      glia_weight_id id);
static inline bool glia_spec_has(const glia_model_spec *s, const glia_model_config *c, glia_weight_id id) {
    return glia_spec_row(s, c, id) != NULL;
}

/* How ranks cut the weight: as its row says, except that the embedding is cut by columns if it is not
 * vocabulary-parallel. */
glia_cut glia_spec_cut(const glia_weight_spec *w, const glia_parallel *p);
/* The rows and the columns of the weight that rank p->rank holds. `cut` is that of glia_local_of(), and must
 * outlive the shards. */
void glia_spec_shards(glia_shard *rows, glia_shard *cols, const glia_weight_spec *w,
                      const glia_model_config *c, const glia_parallel *p, const glia_head_cut *cut);

/* Number of parameters of the checkpoint: total_parameters of model.safetensors.index.json. */
int64_t glia_spec_parameters(const glia_model_spec *s, const glia_model_config *c);

#endif
