/* answer.c - from a checked request to sequences of the engine, and from their events to the reply. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

static const char media_json[] = "application/json";

/* ---- the answer's life ------------------------------------------------------------ */

static void free_choice(server_choice *c) {
    server_text_free(&c->content);
    server_text_free(&c->reasoning);
    server_text_free(&c->calls);
    glia_parser_free(c->parser);
    server_text_free(&c->stop_reason);
    for (int i = 0; i < SERVER_LOGPROB_LISTS; i++) server_text_free(&c->logprobs[i]);
    server_text_free(&c->prompt_logprobs);
    server_text_free(&c->ids);
}

static void free_answer(server_answer *a) {
    if (a->before) *a->before = a->next;
    if (a->before && a->next) a->next->before = a->before;
    for (int i = 0; a->choices && i < a->n_choices; i++) free_choice(&a->choices[i]);
    for (int i = 0; i < a->n_prompts; i++) {
        free(a->prompts[i].ids);
        glia_free(a->prompts[i].text);
    }
    glia_constraint_free(a->constraint);
    free(a->prompts);
    free(a->choices);
    server_sampling_free(&a->sampling);
    server_text *texts[] = {&a->id,         &a->head,        &a->out,        &a->items.id,
                            &a->items.text, &a->items.lists, &a->items.done, &a->items.pending};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) server_text_free(texts[i]);
    json_decref(a->asked);
    free(a);
}

/* The client no longer waits: have the engine end what is left. The last event frees the answer. */
static void abandon(server_answer *a) {
    a->x = NULL;
    for (int i = 0; i < a->n_choices; i++)
        if (a->choices[i].id && !a->choices[i].ended) glia_request_abort(a->app->engine, a->choices[i].id);
}

static void on_gone(void *user) { abandon(user); }

void server_answer_abort_all(server_app *app) {
    for (server_answer *a = app->answers; a; a = a->next)
        for (int i = 0; i < a->n_choices; i++)
            if (!a->choices[i].ended) glia_request_abort(app->engine, a->choices[i].id);
}

/* ---- writing ------------------------------------------------------------------------ */

int server_tokens_of(const server_answer *a) {
    int n = 0;
    for (int i = 0; i < a->n_choices; i++) n += a->choices[i].tokens;
    return n;
}

int server_reasoning_tokens_of(const server_answer *a) {
    int n = 0;
    for (int i = 0; i < a->n_choices; i++) n += a->choices[i].reasoning_tokens;
    return n;
}

/* Send the events in a->out. */
static void send_out(server_answer *a) {
    const bool oom = a->out.oom;
    if (oom) server_stream_end(a->x); /* without [DONE]: a client knows that the stream was cut */
    if (oom || (a->out.len && !server_stream_write(a->x, a->out.data, a->out.len))) abandon(a);
    server_text_clear(&a->out);
}

static void note_usage(const server_answer *a) {
    server_count_tokens(a->x, a->prompt_tokens, (size_t)server_tokens_of(a), a->cached_tokens);
}

static void end_stream(server_answer *a) {
    a->wire->end(a);
    send_out(a);
    if (!a->x) return;
    note_usage(a);
    server_stream_end(a->x);
}

static void reply_whole(server_answer *a) {
    server_text *out = &a->out;
    server_text_clear(out);
    a->wire->whole(a);
    for (int i = 0; i < a->n_choices; i++) {
        for (int k = 0; k < SERVER_LOGPROB_LISTS; k++) out->oom |= a->choices[i].logprobs[k].oom;
        out->oom |= a->choices[i].content.oom || a->choices[i].reasoning.oom || a->choices[i].calls.oom;
    }
    note_usage(a);
    if (!out->oom) return server_reply(a->x, 200, media_json, out->data, out->len);
    server_problem problem = {0};
    server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "no memory for the answer");
    server_reply_problem(a->x, &problem);
}

/* The engine has ended a sequence whose client waits. */
static void fail_answer(server_answer *a) {
    server_problem problem = {0};
    if (a->app->cut)
        server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "the server is shutting down");
    else
        server_refuse(&problem, 500, "InternalServerError", NULL, "Internal server error");
    if (!a->stream) {
        server_reply_problem(a->x, &problem);
    } else {
        server_text_clear(&a->out);
        a->wire->failed(a, &problem);
        if (server_stream_write(a->x, a->out.data, a->out.len)) server_stream_end(a->x);
        server_problem_free(&problem);
    }
    abandon(a);
}

/* ---- events -------------------------------------------------------------------------- */

static void add_first_token(server_choice *c) {
    const server_answer *a = c->of;
    const int32_t first = a->prompts[c->index / a->n].ids[0];
    if (a->echo && a->logprobs && !a->wire->parses)
        a->wire->add_logprob(c, &(glia_event){.token = first, .of_prompt = true});
}

static void begin_choice(server_choice *c) {
    server_answer *a = c->of;
    if (a->prompts[c->index / a->n].n == 1) add_first_token(c);
    c->begun = c->told_first = true;
    if (!a->x || !(a->wire->parses || a->echo)) return;
    if (a->stream) {
        a->wire->first(c);
        send_out(a);
        for (int i = 0; i < SERVER_LOGPROB_LISTS; i++) server_text_clear(&c->logprobs[i]);
    }
    if (a->echo && (!a->stream || a->wire->parses)) {
        const server_prompt *prompt = &a->prompts[c->index / a->n];
        server_add(&c->content, prompt->text, prompt->len);
    }
}

/* The log-probability of a prompt token. The first token has none. */
static void add_prompt_token(server_choice *c, const glia_event *e) {
    const server_answer *a = c->of;
    if (e->position == 1) add_first_token(c);
    if (a->echo && a->logprobs) a->wire->add_logprob(c, e);
    if (a->prompt_logprobs) server_add_prompt_logprob(c, e);
}

static void add_text(server_choice *c, const glia_event *e) {
    server_answer *a = c->of;
    if (a->only_prompts) return;
    if (e->token >= 0 && a->token_ids) server_printf(&c->ids, "%s%d", c->ids.len ? "," : "", e->token);
    if (e->token >= 0 && a->logprobs && !server_parts_hidden(c)) a->wire->add_logprob(c, e);
    server_parts_add(c, e);
    if (!a->stream) return;
    if (!(c->logprobs[0].len || c->ids.len || c->content.len || c->reasoning.len || c->calls.len)) return;
    if (c->sent && c->tokens - c->sent < a->interval && !e->finish) return;
    c->sent = c->tokens;
    a->out.oom |= c->content.oom || c->reasoning.oom || c->calls.oom;
    a->wire->piece(c);
    send_out(a);
    server_text_clear(&c->content);
    server_text_clear(&c->reasoning);
    server_text_clear(&c->calls);
    server_text_clear(&c->ids);
    for (int i = 0; i < SERVER_LOGPROB_LISTS; i++) server_text_clear(&c->logprobs[i]);
}

static void end_choice(server_choice *c, const glia_event *e) {
    server_answer *a = c->of;
    c->ended = true;
    c->finish = a->only_prompts && e->finish != GLIA_FINISH_ABORT ? GLIA_FINISH_LENGTH : e->finish;
    if (e->stop_reason) server_puts(&c->stop_reason, e->stop_reason);
    a->n_left--;
    if (a->x && e->finish == GLIA_FINISH_ABORT) return fail_answer(a);
    if (!a->x || !a->stream) return;
    a->wire->last(c);
    send_out(a);
}

static void count_answer(const server_answer *a) {
    server_metrics *m = &a->app->metrics;
    int longest = 0;
    for (int i = 0; i < a->n_choices; i++)
        longest = a->choices[i].tokens > longest ? a->choices[i].tokens : longest;
    server_observe(m, H_MAX_GENERATION, longest);
    server_observe(m, H_PARAMS_N, a->n);
    if (a->sampling.s.max_tokens) server_observe(m, H_PARAMS_MAX_TOKENS, a->sampling.s.max_tokens);
}

static void end_answer(server_answer *a) {
    count_answer(a);
    if (a->x && a->stream) end_stream(a);
    if (a->x && !a->stream) reply_whole(a);
    free_answer(a);
}

static void count_token(server_choice *c) {
    server_app *app = c->of->app;
    server_metrics *m = &app->metrics;
    m->generation_tokens++;
    if (c->tokens == 1) {
        c->first = app->now;
        server_observe(m, H_FIRST_TOKEN, app->now - c->of->arrived);
        server_observe(m, H_PREFILL, app->now - c->began);
    } else
        server_observe(m, H_INTER_TOKEN, app->now - c->told);
    c->told = app->now;
}

/* The first event of a sequence. */
static void count_begin(server_choice *c, const glia_event *e) {
    server_metrics *m = &c->of->app->metrics;
    if (e->finish == GLIA_FINISH_ABORT) return;
    const size_t n = c->of->prompts[c->index / c->of->n].n;
    m->waiting--;
    m->running++;
    m->prompt_tokens += n;
    m->cached_tokens += (size_t)e->cached_tokens;
    server_observe(m, H_PROMPT, (double)n);
    server_observe(m, H_QUEUE, e->queue_seconds);
    c->began = c->of->submitted + e->queue_seconds;
}

static void count_end(server_choice *c, glia_finish finish) {
    server_app *app = c->of->app;
    server_metrics *m = &app->metrics;
    app->n_sequences--;
    m->ended[finish]++;
    if (!c->begun) m->waiting--;
    if (!c->begun) return;
    m->running--;
    server_observe(m, H_GENERATION, c->tokens);
    if (c->tokens) server_observe(m, H_DECODE, c->told - c->first);
    if (c->tokens) server_observe(m, H_INFERENCE, c->told - c->began);
    server_observe(m, H_LATENCY, app->now - c->of->arrived);
    if (c->tokens > 1) server_observe(m, H_OUTPUT_TOKEN, (c->told - c->first) / (c->tokens - 1));
}

static void on_event(server_listener *listener, const glia_event *e) {
    server_choice *c = (server_choice *)listener;
    server_answer *a = c->of;
    if (!c->begun && c->index % a->n == 0) a->cached_tokens += (size_t)e->cached_tokens;
    if (!c->begun) count_begin(c, e);
    if (e->of_prompt) {
        c->begun = true;
        if (a->x) add_prompt_token(c, e);
        return;
    }
    if (e->token >= 0 && !a->only_prompts) {
        c->tokens++;
        c->last = e->token;
        count_token(c);
    }
    if (!c->told_first && e->finish != GLIA_FINISH_ABORT) begin_choice(c);
    if (a->x) add_text(c, e);
    if (!e->finish) return;
    count_end(c, e->finish);
    end_choice(c, e);
    if (a->n_left == 0) end_answer(a);
}

/* ---- prompts ------------------------------------------------------------------------- */

static void copy_prompt(server_prompt *to, const server_app *app, const json_t *list,
                        server_problem *problem) {
    const size_t n = json_array_size(list);
    to->ids = malloc((n + 1) * sizeof *to->ids);
    if (!to->ids) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    to->n = n;
    for (size_t i = 0; i < n; i++) {
        json_int_t id;
        if (!server_whole(json_array_get(list, i), &id))
            server_bad_form(problem, "prompt",
                            "Input should be a string, a list of strings, a list of token ids "
                            "or a list of such lists");
        else if (id < 0 || id >= app->info.vocab_size)
            server_bad_value(problem, NULL, "Token id %lld is out of vocabulary", (long long)id);
        to->ids[i] = (int32_t)id;
    }
}

/* What echo says. */
static void know_text(server_prompt *to, const server_app *app, server_problem *problem) {
    glia_err err = {0};
    if (problem->status) return;
    if (glia_detokenize(app->model, to->ids, to->n, true, &to->text, &to->len, &err))
        server_library_problem(problem, &err);
}

/* What echo says in a chat: the words of the assistant that the answer continues. */
static void know_final(server_prompt *to, const server_params *p) {
    const json_t *messages = p->at[P_MESSAGES],
                 *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    const json_t *content = json_object_get(last, "content");
    if (!role || strcmp(role, "assistant") != 0 || !json_is_string(content)) return;
    to->len = json_string_length(content);
    to->text = malloc(to->len + 1);
    if (to->text) memcpy(to->text, json_string_value(content), to->len + 1);
    if (!to->text) to->len = 0;
}

/* "prompt": a string, ids, or a list of either. */
static void read_prompts(server_answer *a, const server_app *app, const server_params *p,
                         server_problem *problem) {
    const json_t *prompt = p->at[P_PROMPT];
    const bool special = !p->at[P_ADD_SPECIAL_TOKENS] || p->integer[P_ADD_SPECIAL_TOKENS];
    const json_t *first = json_array_get(prompt, 0);
    const bool list = json_is_string(first) || json_is_array(first);
    if (!json_is_array(prompt) && !json_is_string(prompt))
        return server_bad_form(problem, "prompt", "Input should be a valid string or list");
    if (json_is_array(prompt) && json_array_size(prompt) == 0)
        return server_bad_value(problem, NULL, "prompt must not be an empty list. (parameter=prompt)");
    const size_t n = list ? json_array_size(prompt) : 1;
    a->prompts = calloc(n, sizeof *a->prompts);
    if (!a->prompts) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    for (size_t i = 0; i < n && !problem->status; i++) {
        const json_t *one = list ? json_array_get(prompt, i) : prompt;
        server_prompt *to = &a->prompts[a->n_prompts++];
        if (json_is_string(one))
            server_tokenize(to, app, json_string_value(one), json_string_length(one), special, problem);
        else if (json_is_array(one))
            copy_prompt(to, app, one, problem);
        else
            server_bad_form(problem, "prompt",
                            "Input should be a string, a list of strings, a list of token ids "
                            "or a list of such lists");
        if (a->echo) know_text(to, app, problem);
    }
}

/* truncate_prompt_tokens: keep the last tokens, or the first ones if truncation_side is right; -1: all that
 * leave room for an answer. */
static void truncate_prompts(server_answer *a, const server_app *app, const server_params *p,
                             server_problem *problem) {
    const json_int_t given = p->integer[P_TRUNCATE], length = app->sequence_length;
    const char *side = json_string_value(p->at[P_TRUNCATION_SIDE]);
    const bool right = side && strcmp(side, "right") == 0;
    if (side && !right && strcmp(side, "left") != 0)
        server_bad_form(problem, "truncation_side", "Input should be 'left' or 'right'");
    if (!p->at[P_TRUNCATE]) return;
    if (given > length)
        server_bad_value(problem, "truncate_prompt_tokens",
                         "truncate_prompt_tokens value is %lld, greater than max_model_len %lld. "
                         "(parameter=truncate_prompt_tokens, value=%lld)",
                         (long long)given, (long long)length, (long long)given);
    const size_t most = given < 1 ? (size_t)length - 1 : (size_t)given;
    for (int i = 0; i < a->n_prompts; i++) {
        server_prompt *prompt = &a->prompts[i];
        if (prompt->n <= most) continue;
        if (!right) memmove(prompt->ids, prompt->ids + prompt->n - most, most * sizeof *prompt->ids);
        prompt->n = most;
    }
}

static void check_prompts(server_answer *a, const server_app *app, server_problem *problem) {
    for (int i = 0; i < a->n_prompts; i++) {
        const size_t n = a->prompts[i].n;
        a->prompt_tokens += n;
        if (n == 0) server_bad_value(problem, NULL, "the prompt has no tokens. (parameter=prompt)");
        if (n >= (size_t)app->sequence_length)
            server_bad_value(
                problem, "input_tokens",
                "This model's maximum context length is %d tokens. However, your request has %zu "
                "input tokens. Please reduce the length of the input messages. "
                "(parameter=input_tokens, value=%zu)",
                app->sequence_length, n, n);
    }
}

/* ---- submitting ---------------------------------------------------------------------- */

static void write_id(server_answer *a, const server_params *p) {
    server_printf(&a->id, "%s%s", a->wire->id_prefix, p->request_id);
    a->created = time(NULL);
    if (a->wire->begin) a->wire->begin(a);
}

void server_on_engine_event(void *user, const glia_event *e) {
    const server_listener *l = user;
    server_events_add(&l->app->events, user, e);
}

/* Submit all sequences. If one is refused, those before it are aborted. */
static void submit(server_answer *a, server_problem *problem) {
    for (int i = 0; i < a->n_choices && !problem->status; i++) {
        const server_prompt *prompt = &a->prompts[i / a->n];
        glia_err err = {0};
        glia_sampling s = a->sampling.s;
        a->choices[i].listener.app = a->app;
        const size_t room = (size_t)a->app->sequence_length - prompt->n;
        if (s.max_tokens && (size_t)s.max_tokens > room) s.max_tokens = (int)room;
        s.seed += (uint64_t)(i % a->n);
        if (glia_engine_submit(a->app->engine, prompt->ids, prompt->n, &s, server_on_engine_event,
                               &a->choices[i], &a->choices[i].id, &err)) {
            server_library_problem(problem, &err);
        } else {
            a->n_left++;
            a->app->n_sequences++;
            a->app->metrics.waiting++;
        }
    }
    if (problem->status) abandon(a);
}

static void add_choices(server_answer *a, const server_app *app, server_problem *problem) {
    const size_t n = (size_t)a->n_prompts * (size_t)a->n;
    server_check_queue(app, 0, n, problem);
    if (problem->status) return;
    a->choices = calloc(n, sizeof *a->choices);
    if (!a->choices) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    a->n_choices = (int)n;
    for (int i = 0; i < a->n_choices; i++) {
        a->choices[i] = (server_choice){.listener.tell = on_event, .of = a, .index = i, .last = -1};
        if (a->echo && !a->logprobs) a->choices[i].characters = a->prompts[i / a->n].len;
        if (!server_parts_begin(&a->choices[i]))
            server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    }
}

/* Fill the answer from the request. */
static void prepare(server_answer *a, const server_app *app, const server_params *p, unsigned kind,
                    server_problem *problem) {
    const json_t *options = p->at[P_STREAM_OPTIONS];
    a->stream = p->integer[P_STREAM] != 0;
    if (!a->stream && json_object_size(options))
        server_bad_value(problem, "stream_options",
                         "Stream options can only be defined when `stream=True`. "
                         "(parameter=stream_options)");
    a->include_usage = json_is_true(json_object_get(options, "include_usage"));
    a->running_usage = a->include_usage && json_is_true(json_object_get(options, "continuous_usage_stats"));
    a->include_reasoning = !p->at[P_INCLUDE_REASONING] || p->integer[P_INCLUDE_REASONING];
    a->logprobs = p->integer[P_LOGPROBS_FLAG] || p->at[P_LOGPROBS];
    a->echo = p->integer[P_ECHO] != 0;
    a->prompt_logprobs = p->at[P_PROMPT_LOGPROBS] != NULL;
    a->token_ids = p->integer[P_RETURN_TOKEN_IDS] != 0;
    a->interval = p->at[P_STREAM_INTERVAL] ? (int)p->integer[P_STREAM_INTERVAL] : 1;
    a->tokens_as_ids = p->integer[P_TOKENS_AS_IDS] != 0;
    if (a->prompt_logprobs && a->stream)
        server_bad_value(
            problem, "prompt_logprobs",
            "`prompt_logprobs` are not available when `stream=True`. (parameter=prompt_logprobs)");
    a->n = p->at[P_N] ? (int)p->integer[P_N] : 1;
    if (problem->status) return;
    if (kind == FOR_COMPLETION) {
        read_prompts(a, app, p, problem);
    } else {
        a->prompts = calloc(1, sizeof *a->prompts);
        if (!a->prompts) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
        a->n_prompts = 1;
        server_tools_read(&a->tools, p, problem);
        server_chat_prompt(&a->prompts[0], app, p, problem);
        if (a->echo) know_final(&a->prompts[0], p);
    }
}

static const server_wire *wire_of(unsigned kind) {
    return kind == FOR_COMPLETION  ? &server_wire_completion
           : kind == FOR_RESPONSES ? &server_wire_responses
           : kind == FOR_MESSAGES  ? &server_wire_messages
                                   : &server_wire_chat;
}

static void *prepare_answer(const server_app *app, const server_params *p, unsigned kind,
                            server_problem *problem) {
    server_answer *a = calloc(1, sizeof *a);
    if (!a) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory"), NULL;
    a->wire = wire_of(kind);
    a->asked = json_incref(p->asked);
    a->model = p->at[P_MODEL] ? json_string_value(p->at[P_MODEL]) : app->options->name;
    server_sampling_read(&a->sampling, app, p, kind, problem);
    if (!problem->status) prepare(a, app, p, kind, problem);
    if (!problem->status) truncate_prompts(a, app, p, problem);
    if (!problem->status) check_prompts(a, app, problem);
    if (!problem->status) server_constraint_read(&a->constraint, app, p, &a->tools, problem);
    a->sampling.s.constraint = a->constraint;
    a->sampling.s.may_think = a->wire->parses;
    if (!problem->status) add_choices(a, app, problem);
    a->only_prompts = p->at[P_MAX_TOKENS] && a->sampling.s.max_tokens == 0;
    if (a->only_prompts) a->sampling.s.max_tokens = 1; /* the token is dropped */
    if (!problem->status) write_id(a, p);
    return a;
}

static void begin_answer(server_app *app, server_exchange *x, void *prepared, server_problem *problem) {
    server_answer *a = prepared;
    a->app = app;
    a->x = x;
    a->arrived = server_arrived(x);
    a->sampling.s.client = server_client(app, x);
    server_check_queue(app, app->n_sequences, (size_t)a->n_choices, problem);
    if (problem->status) return free_answer(a);
    a->before = &app->answers;
    a->next = app->answers;
    if (a->next) a->next->before = &a->next;
    app->answers = a;
    a->submitted = server_seconds();
    submit(a, problem);
    if (problem->status) {
        if (a->n_left == 0) free_answer(a);
        return;
    }
    server_when_gone(x, on_gone, a);
    server_constraint_warn(x, a->constraint);
    if (a->stream) server_stream_begin(x, "text/event-stream");
}

static void drop_answer(void *prepared) { free_answer(prepared); }

const server_post server_post_answer = {prepare_answer, begin_answer, drop_answer};
