/* row_source.h - where the numbers of a model's weights come from, row by row.
 *
 * A loader asks for rows of whole weights and does the rest itself: it cuts,
 * fuses, quantises and packs them. A source knows how one kind of checkpoint
 * stores a weight. It finds and checks all weights when it is opened, so that
 * reading a row cannot fail. Another kind of checkpoint is another source:
 *
 *
 * Rows of a plain tensor, and of a dummy, are float32, float16 or bfloat16. A
 * quantised weight has codes, scales and zero points (model/coded.h); its rows can
 * also be read as float32, dequantised, so a device that lacks a format can still
 * run the checkpoint. */
#ifndef GLIA_MODEL_ROW_SOURCE_H
#define GLIA_MODEL_ROW_SOURCE_H

#include "model/coded.h"
#include "model/spec.h"

/* A weight of one layer; layer 0 for those of the model. */
typedef struct {
    glia_weight_id id;
    int layer;
} glia_weight_ref;

/* How the numbers of a weight's rows are stored. */
typedef struct {
    glia_dtype dtype; /* GLIA_DTYPE_F32, _F16 or _BF16 */
} glia_stored_format;

/* A row of a weight. */
typedef struct {
    const void *numbers; /* [cols] of the format's dtype, at any address */
} glia_stored_row;

/* A source. Any thread may call `format`, `read` and `name` at any time; `drop`, `check` and `close` are for
 * one thread. */
typedef struct glia_row_source glia_row_source;
struct glia_row_source {
    const char *progress; /* what reading it is called: "loading weights" */
    /* A quantised weight, as the checkpoint stores it; NULL: a plain one. NULL function: all are plain. */
    const glia_coded *(*coded)(const glia_row_source *s, glia_weight_ref w);
    /* The format in which a weight's rows are read without conversion; float32 for a quantised weight.
     * GLIA_DTYPE_AUTO: the weight cannot be read (glia_source_packed()). */
    glia_stored_format (*format)(const glia_row_source *s, glia_weight_ref w);
    /* Row `row` of the weight [rows, cols] as the model multiplies it. `as` is what format() returns, or
     * float32. A vector has rows of one number. Columns outside [from, to) may be undefined. The row lies in
     * the source's own memory, or in `buffer` [cols] until the caller uses the buffer again. */
    glia_stored_row (*read)(const glia_row_source *s, glia_weight_ref w, size_t row, size_t from, size_t to,
                            glia_stored_format as, float *buffer);
    /* The weight's name in the checkpoint, for messages. */
    const char *(*name)(const glia_row_source *s, glia_weight_ref w);
    /* The weight is not read again soon: its pages may stop counting as resident. */
    void (*drop)(const glia_row_source *s, glia_weight_ref w);
    /* Was all that was read right? GLIA_ERR_IO: a file has changed meanwhile. */
    glia_status (*check)(const glia_row_source *s, glia_err *err);
    void (*close)(glia_row_source *s);
};

/* The tensors of the checkpoint in `dir`: plain ones, float64, float32, float16 or bfloat16, and quantised
 * ones as config->quantization says, after the preshard
 * functions of `spec`. Float64 is read as float32. Tensors that the model does not use are ignored.
 * `spec`, `config` and `dir` must outlive the source. config->tied_head is as glia_review_weights() leaves
 * it. Errors: as of glia_checkpoint_open(); GLIA_ERR_SHAPE a tensor that is missing or of another shape,
 * naming expected and found; GLIA_ERR_UNSUPPORTED another dtype; GLIA_ERR_FORMAT as of glia_coded_find();
 * GLIA_ERR_NOMEM. */
glia_status glia_source_plain(glia_row_source **out, const char *dir, const glia_model_spec *spec,
                              const glia_model_config *config, glia_err *err);

/* A dummy model's weights: float32, drawn from the seed; a number depends on the seed, the weight, the row
 * and the column alone. Norms are 1 and biases 0. `spec` and `config` must outlive the source. */
glia_status glia_source_dummy(glia_row_source **out, const glia_model_spec *spec,
                              const glia_model_config *config, uint64_t seed, glia_err *err);

/* Weights that are packed for ranks, rank[n], which together are the whole model and outlive the source: rows
 * as float32. Weights that are packed as quantised ones cannot be read. For one thread.
 * Errors: GLIA_ERR_NOMEM. */
typedef struct glia_weights glia_weights; /* model/weights.h */
glia_status glia_source_packed(glia_row_source **out, const glia_weights *const *rank, int n, glia_err *err);

#endif
