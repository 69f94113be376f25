/* wire.c - how chat completions and completions write an answer, whole or as a stream. */
#define _GNU_SOURCE
#include <string.h>

#include "server/app.h"

static bool has_logprobs(const server_choice *c) { return c->of->logprobs; }

/* The end by length counts, even if there were calls. A call that the request named ends with "stop". */
static const char *finish_of(const server_choice *c) {
    if (c->finish == GLIA_FINISH_LENGTH) return "length";
    return c->n_calls && c->of->tools.choice != GLIA_TOOLS_NAMED ? "tool_calls" : "stop";
}

static void add_finish(server_text *out, const server_choice *c) {
    server_puts(out, ",\"finish_reason\":");
    server_json_puts(out, finish_of(c));
    server_puts(out, ",\"stop_reason\":");
    bool by_token = false;
    for (size_t i = 0; i < c->of->sampling.s.n_stop_token_ids; i++)
        by_token |= c->of->sampling.stop_ids[i] == c->last;
    if (c->finish == GLIA_FINISH_STOP && c->stop_reason.len)
        server_json(out, c->stop_reason.data, c->stop_reason.len);
    else if (c->finish == GLIA_FINISH_STOP && by_token)
        server_printf(out, "%d", c->last);
    else
        server_puts(out, "null");
}

static void add_string(server_text *out, const server_text *t) {
    server_json(out, t->data ? t->data : "", t->len);
}

/* ---- answers ------------------------------------------------------------------------ */

static void begin_as(server_answer *a, const char *object) {
    server_puts(&a->head, "{\"id\":");
    server_json(&a->head, a->id.data ? a->id.data : "", a->id.len);
    server_printf(&a->head, ",\"object\":\"%s\",\"created\":%lld,\"model\":", object, (long long)a->created);
    server_json_puts(&a->head, a->model);
    server_puts(&a->head, ",\"choices\":[");
}

static void add_usage(server_text *out, const server_answer *a) {
    const size_t completion = (size_t)server_tokens_of(a);
    server_printf(out,
                  "\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu,\"completion_tokens\":%zu,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%zu}",
                  a->prompt_tokens, a->prompt_tokens + completion, completion, a->cached_tokens);
    if (a->wire->parses)
        server_printf(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":%d}",
                      server_reasoning_tokens_of(a));
    server_puts(out, "}");
}

typedef void choice_writer(server_text *out, const server_choice *c);

/* One event with one choice. */
static void add_event(server_choice *c, choice_writer *write) {
    server_answer *a = c->of;
    server_puts(&a->out, "data: ");
    server_add(&a->out, a->head.data, a->head.len);
    write(&a->out, c);
    server_puts(&a->out, "]");
    if (a->running_usage) {
        server_puts(&a->out, ",");
        add_usage(&a->out, a);
    }
    server_puts(&a->out, "}\n\n");
}

static void end_stream(server_answer *a) {
    if (a->include_usage) {
        server_puts(&a->out, "data: ");
        server_add(&a->out, a->head.data, a->head.len);
        server_puts(&a->out, "],");
        add_usage(&a->out, a);
        server_puts(&a->out, "}\n\n");
    }
    server_puts(&a->out, "data: [DONE]\n\n");
}

static void fail_stream(server_answer *a, const server_problem *problem) {
    server_puts(&a->out, "data: ");
    server_problem_body(&a->out, problem);
    server_puts(&a->out, "\n\ndata: [DONE]\n\n");
}

static void add_whole(server_answer *a, choice_writer *write) {
    server_add(&a->out, a->head.data, a->head.len);
    for (int i = 0; i < a->n_choices; i++) {
        if (i) server_puts(&a->out, ",");
        write(&a->out, &a->choices[i]);
    }
    server_puts(&a->out, "],");
    add_usage(&a->out, a);
    server_puts(&a->out, "}");
}

/* ---- tokens --------------------------------------------------------------------- */

static size_t characters(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

/* Append the token's text; bytes that are no whole character become U+FFFD. Returns its characters. */
static size_t add_token(server_text *out, const server_choice *c, int32_t token) {
    char *text = NULL;
    size_t len = 0, n;
    if (c->of->tokens_as_ids) {
        const size_t before = out->len;
        server_printf(out, "\"token_id:%d\"", token);
        return out->len - before - 2;
    }
    if (glia_detokenize(c->of->app->model, &token, 1, false, &text, &len, NULL)) out->oom = true;
    server_json(out, text ? text : "", len);
    n = characters(text ? text : "", len);
    glia_free(text);
    return n;
}

static void add_bytes(server_text *out, const server_choice *c, int32_t token) {
    size_t len = 0;
    const char *bytes = glia_token_bytes(c->of->app->model, token, &len);
    server_puts(out, "[");
    for (size_t i = 0; i < len; i++) server_printf(out, "%s%d", i ? "," : "", (unsigned char)bytes[i]);
    server_puts(out, "]");
}

/* ---- chat completions -------------------------------------------------------------- */

static void add_chat_token(server_text *out, const server_choice *c, int32_t token, float logprob) {
    server_puts(out, "{\"token\":");
    add_token(out, c, token);
    server_puts(out, ",\"logprob\":");
    server_json_logprob(out, logprob);
    server_puts(out, ",\"bytes\":");
    add_bytes(out, c, token);
}

static void chat_add_logprob(server_choice *c, const glia_event *e) {
    server_text *out = &c->logprobs[0];
    if (out->len) server_puts(out, ",");
    add_chat_token(out, c, e->token, e->logprob);
    server_puts(out, ",\"top_logprobs\":[");
    for (int i = 0; i < e->n_top; i++) {
        if (i) server_puts(out, ",");
        add_chat_token(out, c, e->top_tokens[i], e->top_logprobs[i]);
        server_puts(out, "}");
    }
    server_puts(out, "]}");
}

static void add_ranked(server_text *out, const server_choice *c, int32_t token, float logprob, int rank) {
    server_printf(out, "\"%d\":{\"logprob\":", token);
    server_json_logprob(out, logprob);
    server_puts(out, ",\"rank\":");
    if (rank)
        server_printf(out, "%d", rank);
    else
        server_puts(out, "null");
    server_puts(out, ",\"decoded_token\":");
    add_token(out, c, token);
    server_puts(out, "}");
}

void server_add_prompt_logprob(server_choice *c, const glia_event *e) {
    server_text *out = &c->prompt_logprobs;
    int rank = 0;
    server_puts(out, out->len ? ",{" : "null,{"); /* the first token has none */
    for (int i = 0; i < e->n_top; i++) {
        if (i) server_puts(out, ",");
        add_ranked(out, c, e->top_tokens[i], e->top_logprobs[i], i + 1);
        if (e->top_tokens[i] == e->token) rank = i + 1;
    }
    if (e->n_top && !rank) server_puts(out, ",");
    if (!rank) add_ranked(out, c, e->token, e->logprob, 0);
    server_puts(out, "}");
}

/* Fields that a choice has only if the request asks for them. */
static void add_wanted(server_text *out, const server_choice *c, bool whole) {
    const server_prompt *prompt = &c->of->prompts[c->index / c->of->n];
    if (whole && c->of->prompt_logprobs) {
        server_puts(out, ",\"prompt_logprobs\":[");
        server_add(out, c->prompt_logprobs.len ? c->prompt_logprobs.data : "null",
                   c->prompt_logprobs.len ? c->prompt_logprobs.len : 4);
        server_puts(out, "]");
    }
    if (!c->of->token_ids) return;
    server_puts(out, ",\"token_ids\":[");
    server_add(out, c->ids.data, c->ids.len);
    server_puts(out, "]");
    if (!whole) return;
    server_puts(out, ",\"prompt_token_ids\":[");
    for (size_t i = 0; i < prompt->n; i++) server_printf(out, "%s%d", i ? "," : "", prompt->ids[i]);
    server_puts(out, "]");
}

static void chat_logprobs(server_text *out, const server_choice *c) {
    server_puts(out, ",\"logprobs\":");
    if (!has_logprobs(c)) return server_puts(out, "null");
    server_puts(out, "{\"content\":[");
    server_add(out, c->logprobs[0].data, c->logprobs[0].len);
    server_puts(out, "]}");
}

static void chat_first(server_text *out, const server_choice *c) {
    server_printf(out,
                  "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                  "\"finish_reason\":null}",
                  c->index);
}

/* Append "reasoning" under both names. */
static void add_reasoning(server_text *out, const server_text *reasoning) {
    server_puts(out, "\"reasoning\":");
    add_string(out, reasoning);
    server_puts(out, ",\"reasoning_content\":");
    add_string(out, reasoning);
}

static void add_calls(server_text *out, const server_choice *c) {
    server_puts(out, ",\"tool_calls\":[");
    server_add(out, c->calls.data, c->calls.len);
    server_puts(out, "]");
}

static void chat_piece(server_text *out, const server_choice *c) {
    server_printf(out, "{\"index\":%d,\"delta\":{", c->index);
    if (c->reasoning.len) add_reasoning(out, &c->reasoning);
    if (c->content.len || !(c->reasoning.len || c->calls.len)) {
        server_puts(out, c->reasoning.len ? ",\"content\":" : "\"content\":");
        add_string(out, &c->content);
    }
    if (c->calls.len && !c->reasoning.len && !c->content.len) server_puts(out, "\"content\":null");
    if (c->calls.len) add_calls(out, c);
    server_puts(out, "}");
    chat_logprobs(out, c);
    add_wanted(out, c, false);
    server_puts(out, ",\"finish_reason\":null}");
}

static void chat_last(server_text *out, const server_choice *c) {
    server_printf(out, "{\"index\":%d,\"delta\":{},\"logprobs\":null", c->index);
    add_finish(out, c);
    server_puts(out, "}");
}

/* Content is null if all of the answer is reasoning or calls; with a forced call it is "". */
static void chat_whole(server_text *out, const server_choice *c) {
    server_printf(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
    const bool other = c->reasoning.len || (c->n_calls && c->of->tools.choice == GLIA_TOOLS_AUTO);
    if (c->content.len || !other)
        add_string(out, &c->content);
    else
        server_puts(out, "null");
    server_puts(out, ",\"refusal\":null,");
    if (c->reasoning.len)
        add_reasoning(out, &c->reasoning);
    else
        server_puts(out, "\"reasoning\":null,\"reasoning_content\":null");
    if (c->n_calls) add_calls(out, c);
    server_puts(out, "}");
    chat_logprobs(out, c);
    add_wanted(out, c, true);
    add_finish(out, c);
    server_puts(out, "}");
}

static void chat_begin(server_answer *a) {
    begin_as(a, a->stream ? "chat.completion.chunk" : "chat.completion");
}
static void chat_first_event(server_choice *c) { add_event(c, chat_first); }
static void chat_piece_event(server_choice *c) { add_event(c, chat_piece); }
static void chat_last_event(server_choice *c) { add_event(c, chat_last); }
static void chat_answer(server_answer *a) { add_whole(a, chat_whole); }

const server_wire server_wire_chat = {
    .id_prefix = "chatcmpl-",
    .parses = true,
    .begin = chat_begin,
    .add_logprob = chat_add_logprob,
    .first = chat_first_event,
    .piece = chat_piece_event,
    .last = chat_last_event,
    .end = end_stream,
    .failed = fail_stream,
    .whole = chat_answer,
};

/* ---- completions ------------------------------------------------------------------ */

enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSET };

/* Is the token's text already a key of the object that begins at `from`? Fractions of characters are equal.
 */
static bool has_key(const server_text *object, size_t from, const char *key, size_t len) {
    const char *at = object->data + from, *end = object->data + object->len;
    while ((size_t)(end - at) >= len && (at = memmem(at, (size_t)(end - at), key, len)) != NULL) {
        if ((at[-1] == '{' || at[-1] == ',') && at + len < end && at[len] == ':') return true;
        at++;
    }
    return false;
}

static void add_top(server_text *out, const server_choice *c, size_t from, int32_t token, float logprob) {
    server_text key = {0};
    add_token(&key, c, token);
    if (!key.oom && !out->oom && !has_key(out, from, key.data, key.len)) {
        if (out->len > from + 1) server_puts(out, ",");
        server_add(out, key.data, key.len);
        server_puts(out, ":");
        server_json_logprob(out, logprob);
    }
    out->oom |= key.oom;
    server_text_free(&key);
}

/* The most likely tokens, and the token itself if it is none of these. */
static void completion_add_logprob(server_choice *c, const glia_event *e) {
    server_text *lists = c->logprobs, *top = &lists[TOP_LOGPROBS];
    const char *comma = lists[TOKENS].len ? "," : "";
    for (int i = 0; i < SERVER_LOGPROB_LISTS; i++) server_puts(&lists[i], comma);
    server_printf(&lists[TEXT_OFFSET], "%zu", c->characters);
    c->characters += add_token(&lists[TOKENS], c, e->token);
    if (e->of_prompt && !e->position) { /* the first token of the prompt */
        server_puts(&lists[TOKEN_LOGPROBS], "null");
        return server_puts(top, "null");
    }
    server_json_logprob(&lists[TOKEN_LOGPROBS], e->logprob);
    const size_t from = top->len;
    server_puts(top, "{");
    for (int i = 0; i < e->n_top; i++) add_top(top, c, from, e->top_tokens[i], e->top_logprobs[i]);
    add_top(top, c, from, e->token, e->logprob);
    server_puts(top, "}");
}

static void completion_logprobs(server_text *out, const server_choice *c) {
    static const char *const names[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    server_puts(out, ",\"logprobs\":");
    if (!has_logprobs(c)) return server_puts(out, "null");
    for (int i = 0; i < SERVER_LOGPROB_LISTS; i++) {
        server_printf(out, "%c\"%s\":[", i ? ',' : '{', names[i]);
        server_add(out, c->logprobs[i].data, c->logprobs[i].len);
        server_puts(out, "]");
    }
    server_puts(out, "}");
}

static void completion_text(server_text *out, const server_choice *c, const char *text, size_t len) {
    server_printf(out, "{\"index\":%d,\"text\":", c->index);
    server_json(out, text, len);
}

static void completion_first(server_text *out, const server_choice *c) {
    const server_prompt *prompt = &c->of->prompts[c->index / c->of->n];
    completion_text(out, c, prompt->text, prompt->len);
    completion_logprobs(out, c);
    server_puts(out, ",\"finish_reason\":null,\"stop_reason\":null}");
}

static void completion_piece(server_text *out, const server_choice *c) {
    completion_text(out, c, c->content.data ? c->content.data : "", c->content.len);
    completion_logprobs(out, c);
    add_wanted(out, c, false);
    server_puts(out, ",\"finish_reason\":null,\"stop_reason\":null}");
}

static void completion_last(server_text *out, const server_choice *c) {
    completion_text(out, c, "", 0);
    server_puts(out, ",\"logprobs\":null");
    add_finish(out, c);
    server_puts(out, "}");
}

static void completion_whole(server_text *out, const server_choice *c) {
    completion_text(out, c, c->content.data ? c->content.data : "", c->content.len);
    completion_logprobs(out, c);
    add_wanted(out, c, true);
    add_finish(out, c);
    server_puts(out, "}");
}

static void completion_begin(server_answer *a) { begin_as(a, "text_completion"); }
static void completion_first_event(server_choice *c) { add_event(c, completion_first); }
static void completion_piece_event(server_choice *c) { add_event(c, completion_piece); }
static void completion_last_event(server_choice *c) { add_event(c, completion_last); }
static void completion_answer(server_answer *a) { add_whole(a, completion_whole); }

const server_wire server_wire_completion = {
    .id_prefix = "cmpl-",
    .begin = completion_begin,
    .add_logprob = completion_add_logprob,
    .first = completion_first_event,
    .piece = completion_piece_event,
    .last = completion_last_event,
    .end = end_stream,
    .failed = fail_stream,
    .whole = completion_answer,
};
