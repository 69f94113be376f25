/* neuron_config.h - settings in DIR/neuron_config.json, and a rule for every key.
 *
 * Two programs write this file. Optimum Neuron writes a flat object
 * (NxDNeuronConfig). NxD Inference writes the whole model configuration, with the
 * keys in its member "neuron_config". One table, glia_neuron_keys, describes both.
 * A setting that Glia lacks is an error if it would change the result, else a
 * warning. docs/CONFIG.md shows the table.
 * Source: optimum-neuron backend/config.py and configuration_utils.py, NxDI models/config.py. */
#ifndef GLIA_FORMAT_NEURON_CONFIG_H
#define GLIA_FORMAT_NEURON_CONFIG_H

#include <jansson.h>

#include "base/err.h"

/* Values that the file can set. Ids before NEURON_CONTEXT are settings of the engine. */
typedef enum {
    NEURON_DTYPE,    /* glia_dtype */
    NEURON_KV_DTYPE, /* glia_dtype */
    NEURON_BATCH,
    NEURON_SEQUENCE,
    NEURON_CHUNK,
    NEURON_BLOCK,
    NEURON_PREFIX_CACHE, /* 0 or 1 */
    NEURON_TP,
    NEURON_VOCAB_PARALLEL,
    NEURON_SEQUENCE_PARALLEL,
    NEURON_FLASH_DECODING,
    NEURON_CP,
    NEURON_CP_STRIDED,
    NEURON_QUANTIZATION,      /* glia_quantization */
    NEURON_QUANTIZATION_TYPE, /* glia_quantization_type */
    NEURON_MAX_LORAS,
    NEURON_MAX_LORA_RANK,
    NEURON_MAX_CPU_LORAS,
    NEURON_LFU_DECAY,
    NEURON_CONTEXT,   /* only checked: at most NEURON_SEQUENCE */
    NEURON_QUANTIZED, /* 1: the keys of quantisation apply */
    NEURON_BLOCKED,   /* 1: NEURON_BLOCK applies */
    NEURON_DYNAMIC,   /* 1: the sampling keys below do not apply; each request has its own */
    NEURON_DO_SAMPLE,
    NEURON_TOP_K,
    NEURON_TOP_P,
    NEURON_TEMPERATURE,
    N_NEURON,
    NEURON_NONE = -1,
} glia_neuron_id;

typedef struct {
    bool present;              /* the file exists */
    const char *key[N_NEURON]; /* static: the key that set the value; NULL: not set */
    double number[N_NEURON];   /* the value; a switch is 0 or 1, an enumeration its number */
    char *modules;             /* modules_to_not_convert as in glia_options; NULL: not set */
    json_t *lora;              /* lora_config; NULL: not set */
    json_t *speculation;       /* as glia_neuron_speculation(); NULL: none */
} glia_neuron_config;

typedef enum {
    NEURON_INT,
    NEURON_REAL,
    NEURON_BOOL,
    NEURON_STRING,
    NEURON_LIST,
    NEURON_OBJECT,
    NEURON_ANY
} glia_neuron_type;
typedef enum {
    NEURON_READ,   /* Glia follows the value */
    NEURON_FACT,   /* any value is accepted: Glia does so anyway, or does not need it */
    NEURON_WARN,   /* a value other than the default gives a warning */
    NEURON_REFUSE, /* a value other than the default is GLIA_ERR_UNSUPPORTED */
} glia_neuron_rule;
/* Which program's class has the key: Optimum's NxDNeuronConfig, NxDI's
 * NeuronConfig, Optimum's subclass for images, or Glia alone. */
enum { NEURON_OPTIMUM = 1, NEURON_NXDI = 2, NEURON_BOTH = 3, NEURON_VLM = 4, NEURON_GLIA = 8 };

typedef struct {
    const char *key; /* "a.b": member b of the object a */
    int whose;       /* bits of the enumeration above */
    glia_neuron_type type;
    const char *preset; /* the default: JSON, or another key, whose value is the default */
    glia_neuron_rule rule;
    glia_neuron_id id; /* of NEURON_READ; NEURON_NONE: Glia reads it together with other keys */
    const char *what;  /* for the user: what Glia does with the key, or does instead */
} glia_neuron_key;

extern const glia_neuron_key glia_neuron_keys[];
extern const size_t glia_n_neuron_keys;
const char *glia_neuron_type_name(glia_neuron_type type); /* "integer" */
const char *glia_neuron_rule_name(glia_neuron_rule rule); /* "honoured" */

/* Read DIR/neuron_config.json. Without such a file the call succeeds and sets
 * nothing. Python's Infinity is accepted as a number. On success the caller must
 * call glia_neuron_config_free(); on failure *c is zeroed.
 * Errors: GLIA_ERR_FORMAT       not JSON, a wrong type, values that contradict each other
 *         GLIA_ERR_UNSUPPORTED  a value that Glia lacks and that would change the result
 *         GLIA_ERR_LIMIT        a file over 16 MiB */
glia_status glia_neuron_config_load(glia_neuron_config *c, const char *dir, glia_warning_fn *warning,
                                    void *user, glia_err *err);
/* The same from `len` bytes of text; messages call the text `where`. */
glia_status glia_neuron_config_parse(glia_neuron_config *c, const char *text, size_t len, const char *where,
                                     glia_warning_fn *warning, void *user, glia_err *err);

void glia_neuron_config_free(glia_neuron_config *c);

/* A file that sets what *c sets: every key of Optimum's form, plus the keys of the
 * other forms that *c needs. The caller owns the result (json_decref); NULL if out
 * of memory. */
json_t *glia_neuron_config_write(const glia_neuron_config *c);

#endif
