/* model.h - glia_model: the contents of a model's directory, and resolved options. */
#ifndef GLIA_API_MODEL_H
#define GLIA_API_MODEL_H

#include "engine/engine.h"
#include "format/config.h"
#include "format/generation.h"
#include "format/neuron_config.h"
#include "grammar/grammar.h"
#include "text/chat.h"

/* Settings, each decided by an option, neuron_config.json or a default. */
typedef enum {
    SET_DTYPE,
    SET_KV_DTYPE,
    SET_BATCH,
    SET_SEQUENCE,
    SET_CHUNK,
    SET_BLOCK,
    SET_CACHE_BLOCKS,
    SET_PREFIX_CACHE,
    SET_MAX_LORAS,
    SET_MAX_LORA_RANK,
    SET_MAX_CPU_LORAS,
    SET_LFU_DECAY,
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
    int value; /* a number, an enumerator, or 0 or 1 */
    glia_source source;
    const char *key; /* the key of neuron_config.json, if the file is the source */
} glia_setting;

struct glia_model {
    char *dir;
    glia_model_config config;
    glia_generation_config generation;
    glia_neuron_config neuron;
    glia_setting setting[N_SETTINGS]; /* without the engine's */
    glia_parallel parallel;           /* its rank: the first one of this process */
    glia_comm *world;                 /* MPI processes; NULL: all ranks are of this process */
    int place, places;                /* this is process `place` of `places` that share the cores */
    glia_weights **weights;           /* [n_ranks] of this process; NULL: no weights were loaded */
    glia_draft_model *draft;          /* NULL: no speculation */
    int n_ranks;
    glia_tokenizer *tokenizer; /* NULL: no tokenizer.json, or one that Glia does not read: no_tokenizer */
    glia_err no_tokenizer;
    struct glia_constraint_cache *constraints; /* of constraint.c; NULL: no tokenizer */
    glia_chat *chat;
    glia_token_ids eos; /* of generation_config.json, else config.json, else the tokenizer */
    glia_dtype dtype;   /* of weights that are not quantised: F32, BF16 or F16 */
    bool dummy;
    bool spare_core; /* one core is left by the default number of threads */
    uint64_t seed;   /* of a dummy */
    glia_quantize quantize;
    unsigned cpu_flags;
    int threads; /* of each rank */
};

/* Read `model`'s directory without its weights, and resolve the options. *m must be zero, except for what
 * glia_ranks_join() filled. The caller closes *m, also on failure. */
glia_status glia_model_open(glia_model *m, const char *model, const char *cache_dir, const glia_options *o,
                            glia_err *err);
void glia_model_close(glia_model *m);

/* Fill setting, dtype, quantize, parallel, threads and cpu_flags. Each value comes from
 * the options, else from m->neuron, else it is the default. `o` may be NULL.
 * GLIA_ERR_ARGUMENT names an option that is out of its range, GLIA_ERR_FORMAT a key of
 * the file. */
glia_status glia_options_resolve(glia_model *m, const glia_options *o, glia_err *err);

/* The settings of an engine: those of its model, and the engine's own. */
typedef struct {
    glia_setting setting[N_SETTINGS];
    glia_engine_limits limits;
} glia_engine_settings;

/* Resolve the options of an engine of the model, as glia_options_resolve() does. `o` may be NULL. */
glia_status glia_engine_resolve(glia_engine_settings *s, const glia_model *m, const glia_engine_options *o,
                                glia_err *err);

/* The compiled constraints of a model, and the trie of its tokens, which the first constraint builds. */
glia_status glia_constraint_cache_new(struct glia_constraint_cache **out, const glia_tokenizer *t,
                                      glia_err *err);
void glia_constraint_cache_free(struct glia_constraint_cache *c); /* NULL is fine */

/* The places of adapters if no setting says so: as many as adapters are named, at most 8; 0: no adapters. */
int glia_lora_places(const glia_model *m, const glia_engine_options *o);
/* Add the places of adapters to s->limits: read every adapter that the options or neuron_config.json name. */
glia_status glia_lora_resolve(glia_engine_settings *s, const glia_model *m, const glia_engine_options *o,
                              glia_err *err);
/* Load these adapters. */
glia_status glia_lora_load(glia_engine *e, const glia_model *m, const glia_engine_options *o, glia_err *err);
glia_adapter_base glia_lora_base(const glia_model *m);

/* The setting's name ("batch_size"), and the id of its keys in neuron_config.json. */
const char *glia_setting_name(glia_setting_id id);
bool glia_setting_is_switch(glia_setting_id id);
glia_neuron_id glia_setting_neuron_id(glia_setting_id id);

/* A neuron_config.json that sets all these values. The caller owns it. NULL: no memory. */
json_t *glia_settings_file(const glia_model *m, const glia_engine_settings *s, const glia_options *o);

/* Modules that are not quantised, from the options, else from the file; NULL: neither says. */
const char *glia_modules_to_keep(const glia_model *m, const glia_options *o);

const char *glia_dtype_name(glia_dtype d);               /* "bfloat16" */
const char *glia_quantization_name(glia_quantization q); /* "none", "int8", "w8a8" */

#endif
