/* answer.c - see answer.h. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "cli/answer.h"

#include <stdlib.h>
#include <string.h>

#include "cli/common.h"

void cli_answer_begin(cli_answer *a, int logprobs) {
    *a = (cli_answer){.submitted = glia_seconds()};
    if (logprobs >= 0) a->logprobs = json_array();
    if (logprobs > 0) a->top = json_array();
}

static void add_logprobs(cli_answer *a, const glia_event *e) {
    json_array_append_new(a->logprobs, cli_json_real((double)e->logprob));
    if (!a->top) return;
    json_t *row = json_array();
    for (int i = 0; i < e->n_top; i++)
        json_array_append_new(row, json_pack("{s:i, s:o}", "id", (int)e->top_tokens[i], "logprob",
                                             cli_json_real((double)e->top_logprobs[i])));
    json_array_append_new(a->top, row);
}

void cli_answer_add(cli_answer *a, const glia_event *e) {
    if (e->token >= 0) {
        a->last = glia_seconds();
        if (a->ids.len == 0) a->first = a->last;
        glia_buf_add(&a->ids, (const char *)&e->token, sizeof e->token);
        if (a->logprobs) add_logprobs(a, e);
    }
    glia_buf_add(e->thinking ? &a->reasoning : &a->text, e->text, e->text_len);
    if (e->finish == GLIA_RUNNING) return;
    a->finish = e->finish;
    if (e->stop_reason) a->stop_reason = strdup(e->stop_reason);
    a->oom = a->ids.oom || a->text.oom || a->reasoning.oom || (e->stop_reason && !a->stop_reason);
}

void cli_answer_free(cli_answer *a) {
    glia_buf_free(&a->ids);
    glia_buf_free(&a->text);
    glia_buf_free(&a->reasoning);
    json_decref(a->logprobs);
    json_decref(a->top);
    free(a->stop_reason);
    *a = (cli_answer){0};
}

size_t cli_answer_tokens(const cli_answer *a) { return a->ids.len / sizeof(int32_t); }

double cli_answer_rate(const cli_answer *a) {
    const size_t n = cli_answer_tokens(a);
    return n > 1 && a->last > a->first ? (double)(n - 1) / (a->last - a->first) : 0;
}

json_t *cli_answer_json(const cli_answer *a) {
    json_t *ids = json_array(), *object = json_object();
    for (size_t i = 0; i < cli_answer_tokens(a); i++) {
        int32_t id;
        memcpy(&id, a->ids.data + i * sizeof id, sizeof id);
        json_array_append_new(ids, json_integer(id));
    }
    json_object_set_new(object, "ids", ids);
    json_object_set_new(object, "finish_reason", json_string(cli_finish_name(a->finish)));
    if (a->stop_reason) json_object_set_new(object, "stop_reason", json_string(a->stop_reason));
    if (a->logprobs) json_object_set(object, "logprobs", a->logprobs);
    if (a->top) json_object_set(object, "top_logprobs", a->top);
    return object;
}

glia_status cli_finish_all(glia_engine *e, glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t left = 1; left > 0 && !status;) status = glia_engine_step(e, &left, err);
    return status;
}
