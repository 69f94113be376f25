/* metrics.h - counters and histograms under vLLM's names, for GET /metrics. A server_metrics is of one
 * thread. */
#ifndef GLIA_SERVER_METRICS_H
#define GLIA_SERVER_METRICS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <glia.h>

#include "server/text.h"

typedef enum {
    H_FIRST_TOKEN,       /* seconds from the arrival of a request to its first token */
    H_INTER_TOKEN,       /* seconds between tokens of a sequence, as the network thread sees them */
    H_OUTPUT_TOKEN,      /* their mean over a sequence */
    H_LATENCY,           /* seconds from the arrival of a request to the end of a sequence */
    H_PROMPT,            /* tokens of a prompt */
    H_GENERATION,        /* tokens of a sequence's output */
    H_QUEUE,             /* seconds from submission to the first step */
    H_PREFILL,           /* from there to the first token */
    H_DECODE,            /* from there to the last token */
    H_INFERENCE,         /* from the first step to the last token */
    H_MAX_GENERATION,    /* tokens of the longest sequence of a request */
    H_PARAMS_N,          /* "n" of a request */
    H_PARAMS_MAX_TOKENS, /* "max_tokens" of a request */
    H_ITERATION,         /* tokens that a step computed */
    N_HISTOGRAMS
} server_histogram_id;

enum { SERVER_BUCKETS = 24 };

typedef struct {
    uint64_t count[SERVER_BUCKETS + 1]; /* of each bucket alone; the last one has no bound */
    double sum;
} server_histogram;

typedef struct {
    uint64_t prompt_tokens, generation_tokens, cached_tokens; /* of sequences with a first token */
    uint64_t ended[GLIA_FINISH_ABORT + 1];                    /* sequences by how they ended */
    size_t running, waiting;                                  /* sequences with and without a first token */
    server_histogram histogram[N_HISTOGRAMS];
} server_metrics;

/* Count one value in m->histogram[id]. */
void server_observe(server_metrics *m, server_histogram_id id, double value);

/* What the engine thread counts: the state after the last step, and H_ITERATION. Any thread. */
typedef struct {
    pthread_mutex_t lock;
    glia_engine_stats stats;
    server_metrics metrics;
} server_steps;

bool server_steps_open(server_steps *s);
void server_steps_free(server_steps *s);
/* Engine thread, after a step or before the first one. */
void server_steps_count(server_steps *s, const glia_engine *e);

/* Append all in Prometheus' text format. */
void server_metrics_write(server_text *out, const server_metrics *m, server_steps *steps, const char *model);

#endif
