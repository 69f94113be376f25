/* neuron_config.h - what DIR/neuron_config.json sets, and what Glia thinks of every key.
 *
 * Two programs write this file: Optimum Neuron a flat object (NxDNeuronConfig),
 * NxD Inference the whole model configuration with the keys in a member
 * "neuron_config". Both are read by one table, glia_neuron_keys: a key that would
 * change the result and that Glia does not have is an error, any other that it
 * does not have a warning. docs/CONFIG.md shows the table.
 * Source: optimum-neuron backend/config.py and configuration_utils.py, NxDI models/config.py. */
#ifndef GLIA_FORMAT_NEURON_CONFIG_H
#define GLIA_FORMAT_NEURON_CONFIG_H

#include <jansson.h>

#include "base/err.h"

/* What the file can set. Ids before NEURON_CONTEXT are settings of the engine. */
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
    NEURON_CONTEXT,           /* only checked: at most NEURON_SEQUENCE */
    NEURON_QUANTIZED,         /* only read: where it is 1 the keys of quantisation count */
    NEURON_BLOCKED,           /* only read: NEURON_BLOCK counts where it is 1 */
    NEURON_DYNAMIC,           /* only read: where it is 1, each request brings its own sampling */
    NEURON_DO_SAMPLE,
    NEURON_TOP_K,
    NEURON_TOP_P,
    NEURON_TEMPERATURE,
    N_NEURON,
    NEURON_NONE = -1,
} glia_neuron_id;

typedef struct {
    bool present;              /* there is such a file */
    const char *key[N_NEURON]; /* static: the key that said it; NULL: not said */
    double number[N_NEURON];   /* integers, switches and enumerations too */
    char *modules;             /* modules_to_not_convert as in glia_options; NULL: not said */
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
    NEURON_READ,   /* honoured */
    NEURON_FACT,   /* any value: Glia does so anyway, or has no use for it */
    NEURON_WARN,   /* another value than the default is warned about */
    NEURON_REFUSE, /* another value than the default is GLIA_ERR_UNSUPPORTED */
} glia_neuron_rule;
/* Who writes a key: NxDNeuronConfig, its subclass for images, NxDI's NeuronConfig, Glia alone. */
enum { NEURON_OPTIMUM = 1, NEURON_NXDI = 2, NEURON_BOTH = 3, NEURON_VLM = 4, NEURON_GLIA = 8 };

typedef struct {
    const char *key; /* a dot leads into a member that is an object */
    int whose;       /* bits */
    glia_neuron_type type;
    const char *preset; /* the default as JSON, or the key whose value it is */
    glia_neuron_rule rule;
    glia_neuron_id id; /* of NEURON_READ; NEURON_NONE: read with other keys */
    const char *what;  /* what Glia does with it, or has instead */
} glia_neuron_key;

extern const glia_neuron_key glia_neuron_keys[];
extern const size_t glia_n_neuron_keys;
const char *glia_neuron_type_name(glia_neuron_type type); /* "integer" */
const char *glia_neuron_rule_name(glia_neuron_rule rule); /* "honoured" */

/* Read DIR/neuron_config.json; no such file is fine and sets nothing. On success
 * the caller must glia_neuron_config_free(); on failure *c is zeroed. Infinity is read as Python writes it.
 * Errors: GLIA_ERR_FORMAT       not JSON, a wrong type, values that contradict each other
 *         GLIA_ERR_UNSUPPORTED  a value that would change the result and that Glia does not have
 *         GLIA_ERR_LIMIT        a file over 16 MiB */
glia_status glia_neuron_config_load(glia_neuron_config *c, const char *dir, glia_warning_fn *warning,
                                    void *user, glia_err *err);
/* The same from text; `where` names it in messages. */
glia_status glia_neuron_config_parse(glia_neuron_config *c, const char *text, size_t len, const char *where,
                                     glia_warning_fn *warning, void *user, glia_err *err);

void glia_neuron_config_free(glia_neuron_config *c);

/* The file that says what *c says: every key of Optimum's form, and those of the
 * others that *c needs. Owned by the caller (json_decref); NULL without memory. */
json_t *glia_neuron_config_write(const glia_neuron_config *c);

#endif
