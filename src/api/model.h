/* model.h - what glia_model is: everything a directory says, and options resolved. */
#ifndef GLIA_API_MODEL_H
#define GLIA_API_MODEL_H

#include "engine/engine.h"
#include "format/config.h"
#include "format/generation.h"
#include "text/chat.h"

struct glia_model {
    char *dir;
    glia_model_config config;
    glia_generation_config generation;
    glia_weights *weights;     /* NULL: text only, or inspected */
    glia_tokenizer *tokenizer; /* NULL: no tokenizer.json */
    glia_chat *chat;
    glia_token_ids eos; /* of the generation config, else of config.json, else the tokenizer's */
    glia_dtype dtype;   /* of the weights in memory that are not quantised: F32 or BF16 */
    glia_quantize quantize;
    glia_engine_limits limits;
    unsigned cpu_flags;
    int threads;
};

/* Read `model`'s directory, all but its weights, and resolve the options; the
 * memory must be zero. On failure, and in the end, glia_model_close(). */
glia_status glia_model_open(glia_model *m, const char *model, const char *cache_dir, const glia_options *o,
                            glia_err *err);
void glia_model_close(glia_model *m);

/* Fill limits, dtype, threads and cpu_flags from the options and m->config.
 * GLIA_ERR_ARGUMENT names the option that is out of its range. */
glia_status glia_options_resolve(glia_model *m, const glia_options *o, glia_err *err);

#endif
