/* quantization.h - quantization_config of config.json: which linear layers a checkpoint
 * stores quantised, and how.
 *
 * A value that would give another result is refused by its key. Activations that a checkpoint
 * wants in float8 or float4, and those of bitsandbytes, are not quantised: their formats
 * follow from GPU instructions, and the result is closer to the model's without them.
 * Source: compressed_tensors.quantization quant_config.py, quant_args.py and quant_scheme.py
 * 0.19; transformers utils/quantization_config.py 5; GPTQModel quantization/config.py 7;
 * auto_round export_to_autoround/export.py; AutoAWQ modules/linear 0.2.9. */
#ifndef GLIA_FORMAT_QUANTIZATION_H
#define GLIA_FORMAT_QUANTIZATION_H

#include "format/json.h"

/* Which tensors hold a module's weight [out, in]. model/coded.c knows their shapes. */
typedef enum {
    GLIA_LAYOUT_BYTES,  /* weight I8 or F8_E4M3, and weight_scale */
    GLIA_LAYOUT_BLOCKS, /* weight F8_E4M3, and weight_scale_inv for each block */
    GLIA_LAYOUT_PACKED, /* weight_packed I32, weight_scale, weight_zero_point, weight_g_idx */
    GLIA_LAYOUT_FP4,    /* weight_packed U8, weight_scale, weight_global_scale */
    GLIA_LAYOUT_GPTQ,   /* qweight, qzeros, scales, g_idx */
    GLIA_LAYOUT_AWQ,    /* qweight, qzeros, scales */
    GLIA_LAYOUT_GEMV,   /* the same, packed along a row: AWQ's version gemv */
    GLIA_LAYOUT_BNB,    /* weight, weight.absmax, weight.quant_map, weight.quant_state... */
    GLIA_LAYOUT_BNB8,   /* weight I8, SCB */
} glia_stored_layout;

typedef struct {
    glia_stored_layout layout;
    int bits;
    int64_t group;                  /* columns that share a scale; 0: all of a row */
    int64_t block_rows, block_cols; /* a scale is of a block of rows and columns; 0: not */
    bool floats;                    /* codes are float8 or float4, not integers */
    bool symmetric;                 /* no zero points */
    bool ordered;                   /* the group of a column is in a tensor (g_idx) */
    bool per_tensor;                /* one scale */
    bool zeros_as_stored;           /* gptq_v2: zero points are stored, not zero points - 1 */
    bool zeros_borrow;              /* gptq: 1 was subtracted from the fields of a whole word at once */
    bool int8_rows;                 /* rows are quantised to int8, each by its own range, or */
    bool rows_stored;               /* by one scale that is stored (input_scale) */
    bool rows_asymmetric;           /* with a zero point */
    const json_t *targets;          /* of module names, "re:..." and "Linear"; NULL: every linear layer */
} glia_stored_scheme;

enum { GLIA_SCHEMES_MAX = 32 };
typedef struct {
    const char *method; /* "awq"; static. NULL: the checkpoint is not quantised */
    glia_stored_scheme scheme[GLIA_SCHEMES_MAX];
    int n;
    const json_t *ignore; /* as targets, or NULL */
    json_t *tree;         /* owns targets, ignore and exceptions */
    bool by_tensors;      /* a module is quantised if its tensors are; else by targets and ignore */
    /* With by_tensors: settings of modules whose names match a key. The first key that matches decides; a
     * module that no key matches has scheme[0]. */
    const json_t *exceptions;
    bool anywhere; /* a key is a module's name, or a pattern that matches anywhere; else from the beginning */
} glia_quantization_config;

/* Read the object `key` of r->object, if there is one. Failures go to r. The caller frees *q. */
void glia_quantization_read(glia_json_reader *r, const char *key, glia_quantization_config *q);
void glia_quantization_free(glia_quantization_config *q);

/* How the linear layer `module` ("model.layers.0.mlp.up_proj") is stored; NULL: as a plain tensor. With
 * q->by_tensors, only if its tensors are there. */
const glia_stored_scheme *glia_quantization_scheme(const glia_quantization_config *q, const char *module);

#endif
