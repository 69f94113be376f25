/* metrics.h - counters and histograms under vLLM's names, for GET /metrics. The network thread's. */
#ifndef GLIA_SERVER_METRICS_H
#define GLIA_SERVER_METRICS_H

#include <stdint.h>

#include <glia.h>

#include "server/text.h"

typedef enum {
    H_FIRST_TOKEN,  /* seconds from the arrival of a request to its first token */
    H_INTER_TOKEN,  /* seconds between tokens of a sequence, as the network thread sees them */
    H_OUTPUT_TOKEN, /* their mean over a sequence */
    H_LATENCY,      /* seconds from the arrival of a request to the end of a sequence */
    H_PROMPT,       /* tokens of a prompt */
    H_GENERATION,   /* tokens of a sequence's output */
    N_HISTOGRAMS
} server_histogram_id;

enum { SERVER_BUCKETS = 24 };

typedef struct {
    uint64_t prompt_tokens, generation_tokens, cached_tokens; /* of sequences with a first token */
    uint64_t ended[GLIA_FINISH_ABORT + 1];                    /* sequences by how they ended */
    size_t running, waiting;                                  /* sequences with and without a first token */
    struct {
        uint64_t count[SERVER_BUCKETS + 1]; /* of each bucket alone; the last one has no bound */
        double sum;
    } histogram[N_HISTOGRAMS];
} server_metrics;

/* Count one value. */
void server_observe(server_metrics *m, server_histogram_id id, double value);
/* Append all in Prometheus' text format. */
void server_metrics_write(server_text *out, const server_metrics *m, const char *model);

#endif
