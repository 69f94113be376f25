/* model.h - what glia_model is: everything a directory says, and options resolved. */
#ifndef GLIA_API_MODEL_H
#define GLIA_API_MODEL_H

#include "engine/engine.h"
#include "format/config.h"
#include "format/generation.h"
#include "format/neuron_config.h"
#include "text/chat.h"

/* What options, neuron_config.json or a default decide. */
typedef enum {
    SET_DTYPE,
    SET_KV_DTYPE,
    SET_BATCH,
    SET_SEQUENCE,
    SET_CHUNK,
    SET_BLOCK,
    SET_PREFIX_CACHE,
    SET_TP,
    SET_VOCAB_PARALLEL,
    SET_SEQUENCE_PARALLEL,
    SET_FLASH_DECODING,
    SET_CONTEXT_PARALLEL,
    SET_CONTEXT_STRIDED,
    SET_QUANTIZATION,
    SET_QUANTIZATION_TYPE,
    SET_THREADS,
    N_SETTINGS
} glia_setting_id;

typedef enum { GLIA_FROM_DEFAULT, GLIA_FROM_FILE, GLIA_FROM_FLAG } glia_source;

typedef struct {
    int value; /* enumerations and switches too */
    glia_source source;
    const char *key; /* of neuron_config.json, where it is the source */
} glia_setting;

struct glia_model {
    char *dir;
    glia_model_config config;
    glia_generation_config generation;
    glia_neuron_config neuron;
    glia_setting setting[N_SETTINGS]; /* but those of an engine */
    glia_parallel parallel;           /* of the first of this process's ranks */
    glia_comm *world;                 /* of processes; NULL: all ranks are of this one */
    int place, places;                /* which of how many processes that share these cores */
    glia_weights **weights;           /* [n_ranks] of this process; NULL: text only, or inspected */
    int n_ranks;
    glia_tokenizer *tokenizer; /* NULL: no tokenizer.json */
    glia_chat *chat;
    glia_token_ids eos; /* of the generation config, else of config.json, else the tokenizer's */
    glia_dtype dtype;   /* of the weights in memory that are not quantised: F32 or BF16 */
    glia_quantize quantize;
    unsigned cpu_flags;
    int threads; /* of a rank */
};

/* Read `model`'s directory, all but its weights, and resolve the options; the
 * memory must be zero, but for a world that was joined. On failure, and in the end, glia_model_close(). */
glia_status glia_model_open(glia_model *m, const char *model, const char *cache_dir, const glia_options *o,
                            glia_err *err);
void glia_model_close(glia_model *m);

/* Fill setting, dtype, parallel, threads and cpu_flags: each from the options, else
 * from m->neuron, else by default. GLIA_ERR_ARGUMENT names an option that is out
 * of its range, GLIA_ERR_FORMAT a key of the file. */
glia_status glia_options_resolve(glia_model *m, const glia_options *o, glia_err *err);

/* What holds for an engine: the settings of its model, and its own. */
typedef struct {
    glia_setting setting[N_SETTINGS];
    glia_engine_limits limits;
} glia_engine_settings;

/* Likewise for an engine of the model. `o` may be NULL. */
glia_status glia_engine_resolve(glia_engine_settings *s, const glia_model *m, const glia_engine_options *o,
                                glia_err *err);

/* "batch_size", and the id of the file's keys that set it. */
const char *glia_setting_name(glia_setting_id id);
bool glia_setting_is_switch(glia_setting_id id);
glia_neuron_id glia_setting_neuron_id(glia_setting_id id);

/* The neuron_config.json that says what holds here; the caller's. NULL without memory. */
json_t *glia_settings_file(const glia_model *m, const glia_engine_settings *s, const glia_options *o);

/* What is not to be quantised, from the options, else the file; NULL: not said. */
const char *glia_modules_to_keep(const glia_model *m, const glia_options *o);

const char *glia_dtype_name(glia_dtype d);               /* "bfloat16" */
const char *glia_quantization_name(glia_quantization q); /* "none", "int8", "w8a8" */

#endif
