/* engine.h - what glia_engine (glia.h) is made from, for src/api and for tests. */
#ifndef GLIA_ENGINE_ENGINE_H
#define GLIA_ENGINE_ENGINE_H

#include "model/weights.h"
#include "text/tokenizer.h"

/* What fixes all memory. All set. */
typedef struct {
    glia_dtype kv_dtype;
    int batch;           /* sequences at once */
    int sequence_length; /* positions of one */
    int chunk;           /* prompt rows of a step */
    int block_size;      /* positions of a cache block, a multiple of 32 */
    bool prefix_cache;
    bool quantize_rows; /* the weights are w8a8 */
} glia_engine_limits;

typedef struct {
    const glia_weights *weights;     /* must outlive the engine, as the tokenizer must */
    const glia_tokenizer *tokenizer; /* NULL: events carry no text, requests no stop strings */
    glia_engine_limits limits;
    unsigned cpu_flags;
    int threads; /* at least 1 */
    const int32_t *eos;
    size_t n_eos;
} glia_engine_config;

/* Everything an engine allocates: the decoder's regions, then its own. Plan only. */
void glia_engine_plan(const glia_model_config *c, const glia_parallel *p, const glia_engine_limits *l,
                      int threads, glia_plan *plan);

/* Errors: GLIA_ERR_NOMEM, GLIA_ERR_ARGUMENT (more threads than can be had). */
glia_status glia_engine_open(glia_engine **out, const glia_engine_config *config, glia_err *err);

#endif
