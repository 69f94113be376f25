/* answer.h - the tokens, texts and times of one request. */
#ifndef GLIA_CLI_ANSWER_H
#define GLIA_CLI_ANSWER_H

#include <glia.h>
#include <jansson.h>

#include "base/buf.h"

typedef struct {
    glia_buf ids;             /* int32_t each */
    json_t *logprobs, *top;   /* arrays, NULL unless asked for */
    glia_buf text, reasoning; /* the text outside and inside <think> */
    char *stop_reason;        /* the stop string, owned; NULL: none */
    glia_finish finish;
    double submitted, first, last; /* glia_seconds() at submission, first token, last token */
    bool oom;
} cli_answer;

/* Zero *a and record the time of submission. `logprobs` is that of glia_sampling. */
void cli_answer_begin(cli_answer *a, int logprobs);
void cli_answer_add(cli_answer *a, const glia_event *e);
void cli_answer_free(cli_answer *a);

size_t cli_answer_tokens(const cli_answer *a);
/* Tokens per second after the first token; 0 with fewer than two tokens. */
double cli_answer_rate(const cli_answer *a);

/* {"ids": …, "finish_reason": …, "stop_reason"?, "logprobs"?, "top_logprobs"?}. */
json_t *cli_answer_json(const cli_answer *a);

/* Take steps until no request is left. */
glia_status cli_finish_all(glia_engine *e, glia_err *err);

#endif
