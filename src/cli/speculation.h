/* speculation.h - flags of speculation, its counters as JSON, and the trace of proposals. */
#ifndef GLIA_CLI_SPECULATION_H
#define GLIA_CLI_SPECULATION_H

#include <glia.h>
#include <jansson.h>
#include <stdio.h>

#include "cli/flags.h"

/* The value of glia_options.speculative_config that the flags say: --speculative-config with the members that
 * other flags set; NULL: none of the flags is given. The string is valid until the next call. */
const char *cli_speculative_config(const cli_args *args);

/* Add the counters to `object` under vLLM's names, if the engine speculates. */
void cli_add_speculation(json_t *object, const glia_engine_stats *stats);
/* The same for people, as a part of a line, "ngram: 31 of 40 draft tokens accepted in 5 drafts", or nothing.
 */
void cli_tell_speculation(FILE *to, const glia_draft_counts *before, const glia_engine_stats *after);

/* ---- glia generate --trace-drafts -------------------------------------------- */

typedef struct {
    FILE *file;
    const char *path;
    uint64_t *request; /* [n] the id of each prompt's request */
    size_t n;
} cli_trace;

/* Open the file for n prompts; `path` NULL: trace nothing. The caller closes *t, also on failure. */
glia_status cli_trace_open(cli_trace *t, const char *path, size_t n, glia_err *err);
/* A glia_draft_trace_fn whose `user` is a cli_trace: write one line. */
void cli_trace_round(void *user, uint64_t round, const glia_draft_proposal *proposals, size_t n);
/* Close the file. Fails if any line was not written. */
glia_status cli_trace_close(cli_trace *t, glia_err *err);

#endif
