/* responses.c - an answer as the items of OpenAI's Responses.
 *
 * An answer has at most one item of reasoning and one message, then calls; in a stream at most one item
 * is open, and each event names its item. */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

static const char *string_of(const json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* ---- items -------------------------------------------------------------------------------- */

static const char *const prefixes[] = {[SERVER_REASONING] = "rs_", [SERVER_MESSAGE] = "msg_"};

static void add_string(server_text *out, const server_text *t) {
    server_json(out, t->data ? t->data : "", t->len);
}

/* The part of an item: {"type", "text", ...}. */
static void add_part(server_text *out, server_item_kind kind, const server_text *text,
                     const server_text *lists) {
    server_puts(out, kind == SERVER_REASONING ? "{\"type\":\"reasoning_text\",\"text\":"
                                              : "{\"type\":\"output_text\",\"text\":");
    add_string(out, text);
    if (kind == SERVER_MESSAGE) {
        server_puts(out, ",\"annotations\":[],\"logprobs\":[");
        server_add(out, lists->data, lists->len);
        server_puts(out, "]");
    }
    server_puts(out, "}");
}

/* An item without parts, or with its one part. */
static void add_text_item(server_text *out, server_item_kind kind, const server_items *i, bool whole,
                          const char *status) {
    server_puts(out, "{\"id\":");
    add_string(out, &i->id);
    server_puts(out, kind == SERVER_REASONING ? ",\"type\":\"reasoning\",\"summary\":[],\"content\":["
                                              : ",\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
    if (whole) add_part(out, kind, &i->text, &i->lists);
    server_printf(out, "],\"status\":\"%s\"}", status);
}

static void add_call_item(server_text *out, const server_text *id, const json_t *call, bool whole) {
    const json_t *function = json_object_get(call, "function"),
                 *text = json_object_get(function, "arguments");
    server_puts(out, "{\"id\":");
    add_string(out, id);
    server_puts(out, ",\"type\":\"function_call\",\"call_id\":");
    server_json_puts(out, string_of(call, "id"));
    server_puts(out, ",\"name\":");
    server_json_puts(out, string_of(function, "name"));
    server_puts(out, ",\"arguments\":");
    server_json(out, whole ? json_string_value(text) : "", whole ? json_string_length(text) : 0);
    server_puts(out, whole ? ",\"status\":\"completed\"}" : ",\"status\":\"in_progress\"}");
}

static void new_id(server_items *i, const char *prefix) {
    server_text_clear(&i->id);
    server_add_id(&i->id, prefix);
}

static void comma(server_text *list) {
    if (list->len) server_puts(list, ",");
}

/* ---- the response object --------------------------------------------------------------------- */

static void add_usage(server_text *out, const server_answer *a) {
    const size_t tokens = (size_t)server_tokens_of(a);
    server_printf(out,
                  "{\"input_tokens\":%zu,\"input_tokens_details\":{\"cached_tokens\":%zu,\"cache_write_"
                  "tokens\":0},\"output_tokens\":%zu,"
                  "\"output_tokens_details\":{\"reasoning_tokens\":%d},\"total_tokens\":%zu}",
                  a->prompt_tokens, a->cached_tokens, tokens, server_reasoning_tokens_of(a),
                  a->prompt_tokens + tokens);
}

/* Fields of the request that the response repeats; `otherwise` if the request does not have them. */
static void add_asked(server_text *out, const server_answer *a) {
    static const struct {
        const char *name, *otherwise;
    } fields[] = {{"instructions", "null"},
                  {"max_output_tokens", "null"},
                  {"metadata", "{}"},
                  {"parallel_tool_calls", "true"},
                  {"reasoning", "{\"effort\":null,\"summary\":null}"},
                  {"temperature", NULL},
                  {"text", "{\"format\":{\"type\":\"text\"}}"},
                  {"tool_choice", "\"auto\""},
                  {"tools", "[]"},
                  {"top_p", NULL},
                  {"truncation", "\"disabled\""},
                  {"user", "null"}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(a->asked, fields[i].name);
        char *text = value && !json_is_null(value) ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        server_printf(out, ",\"%s\":", fields[i].name);
        if (text)
            server_puts(out, text);
        else if (fields[i].otherwise)
            server_puts(out, fields[i].otherwise);
        else
            server_printf(out, "%.6g",
                          (double)(strcmp(fields[i].name, "top_p") == 0 ? a->app->defaults.top_p
                                                                        : a->app->defaults.temperature));
        free(text);
    }
    server_puts(out, ",\"previous_response_id\":null,\"store\":false,\"background\":false");
}

/* `status`: "in_progress", "completed", "incomplete", "failed". */
static void add_response(server_answer *a, const char *status, const server_problem *problem) {
    server_text *out = &a->out;
    const bool running = strcmp(status, "in_progress") == 0;
    server_puts(out, "{\"id\":");
    add_string(out, &a->id);
    server_printf(out, ",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"model\":",
                  (long long)a->created, status);
    server_json_puts(out, a->model);
    server_puts(out, ",\"output\":[");
    server_add(out, a->items.done.data, a->items.done.len);
    server_puts(out, "],\"error\":");
    if (problem) {
        server_puts(out, "{\"code\":\"server_error\",\"message\":");
        server_json(out, problem->message.data ? problem->message.data : "", problem->message.len);
        server_puts(out, "}");
    } else {
        server_puts(out, "null");
    }
    server_puts(out, ",\"incomplete_details\":");
    server_puts(out, strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}" : "null");
    add_asked(out, a);
    server_puts(out, ",\"usage\":");
    if (running)
        server_puts(out, "null");
    else
        add_usage(out, a);
    server_puts(out, "}");
}

static const char *status_of(const server_choice *c) {
    return c->finish == GLIA_FINISH_LENGTH ? "incomplete" : "completed";
}

/* ---- events ------------------------------------------------------------------------------------ */

static void begin_event(server_answer *a, const char *name) {
    server_printf(&a->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d", name, name,
                  a->items.sequence++);
}

static void end_event(server_answer *a) { server_puts(&a->out, "}\n\n"); }

static void response_event(server_answer *a, const char *name, const char *status,
                           const server_problem *problem) {
    begin_event(a, name);
    server_puts(&a->out, ",\"response\":");
    add_response(a, status, problem);
    end_event(a);
}

/* An event of the open item, without its end. */
static void begin_item_event(server_answer *a, const char *name, bool of_part) {
    begin_event(a, name);
    server_puts(&a->out, ",\"item_id\":");
    add_string(&a->out, &a->items.id);
    server_printf(&a->out, ",\"output_index\":%d", a->items.index);
    if (of_part) server_puts(&a->out, ",\"content_index\":0");
}

static void begin_output_event(server_answer *a, const char *name) {
    begin_event(a, name);
    server_printf(&a->out, ",\"output_index\":%d,\"item\":", a->items.index);
}

/* Names of the events of one part. */
static const struct {
    const char *added, *delta, *text_done, *done;
} names[] = {[SERVER_REASONING] = {"response.reasoning_part.added", "response.reasoning_text.delta",
                                   "response.reasoning_text.done", "response.reasoning_part.done"},
             [SERVER_MESSAGE] = {"response.content_part.added", "response.output_text.delta",
                                 "response.output_text.done", "response.content_part.done"}};

static void open_item(server_answer *a, server_item_kind kind) {
    static const server_text empty = {0};
    server_items *i = &a->items;
    i->open = kind;
    new_id(i, prefixes[kind]);
    server_text_clear(&i->text);
    server_text_clear(&i->lists);
    begin_output_event(a, "response.output_item.added");
    add_text_item(&a->out, kind, i, false, "in_progress");
    end_event(a);
    begin_item_event(a, names[kind].added, true);
    server_puts(&a->out, ",\"part\":");
    add_part(&a->out, kind, &empty, &empty);
    end_event(a);
}

static void add_logprobs_key(server_text *out, server_item_kind kind, const server_text *lists) {
    if (kind != SERVER_MESSAGE) return;
    server_puts(out, ",\"logprobs\":[");
    server_add(out, lists->data, lists->len);
    server_puts(out, "]");
}

static void close_item(server_answer *a, const char *status) {
    server_items *i = &a->items;
    const server_item_kind kind = i->open;
    if (kind == SERVER_NO_ITEM) return;
    i->open = SERVER_NO_ITEM;
    begin_item_event(a, names[kind].text_done, true);
    server_puts(&a->out, ",\"text\":");
    add_string(&a->out, &i->text);
    add_logprobs_key(&a->out, kind, &i->lists);
    end_event(a);
    begin_item_event(a, names[kind].done, true);
    server_puts(&a->out, ",\"part\":");
    add_part(&a->out, kind, &i->text, &i->lists);
    end_event(a);
    comma(&i->done);
    const size_t from = i->done.len;
    add_text_item(&i->done, kind, i, true, status);
    begin_output_event(a, "response.output_item.done");
    if (!i->done.oom) server_add(&a->out, i->done.data + from, i->done.len - from);
    end_event(a);
    a->out.oom |= i->done.oom || i->text.oom || i->id.oom || i->lists.oom || i->pending.oom;
    i->index++;
}

/* Append the elements of one list to another. */
static void append(server_text *to, const server_text *list) {
    if (!list->len) return;
    comma(to);
    server_add(to, list->data, list->len);
    to->oom |= list->oom;
}

static void add_delta(server_choice *c, server_item_kind kind, const server_text *text) {
    server_answer *a = c->of;
    server_text *logprobs = &a->items.pending;
    if (kind == SERVER_MESSAGE) append(logprobs, &c->logprobs[0]);
    if (!text->len && !(kind == SERVER_MESSAGE && logprobs->len && a->items.open == kind)) return;
    if (a->items.open != kind) {
        close_item(a, "completed");
        open_item(a, kind);
    }
    server_add(&a->items.text, text->data, text->len);
    if (kind == SERVER_MESSAGE) append(&a->items.lists, logprobs);
    begin_item_event(a, names[kind].delta, true);
    server_puts(&a->out, ",\"delta\":");
    add_string(&a->out, text);
    add_logprobs_key(&a->out, kind, logprobs);
    end_event(a);
    if (kind == SERVER_MESSAGE) server_text_clear(logprobs);
}

static void stream_call(server_answer *a, const json_t *call) {
    server_items *i = &a->items;
    const json_t *text = json_object_get(json_object_get(call, "function"), "arguments");
    close_item(a, "completed");
    new_id(i, "fc_");
    begin_output_event(a, "response.output_item.added");
    add_call_item(&a->out, &i->id, call, false);
    end_event(a);
    begin_item_event(a, "response.function_call_arguments.delta", false);
    server_puts(&a->out, ",\"delta\":");
    server_json(&a->out, json_string_value(text), json_string_length(text));
    end_event(a);
    begin_item_event(a, "response.function_call_arguments.done", false);
    server_puts(&a->out, ",\"name\":");
    server_json_puts(&a->out, string_of(json_object_get(call, "function"), "name"));
    server_puts(&a->out, ",\"arguments\":");
    server_json(&a->out, json_string_value(text), json_string_length(text));
    end_event(a);
    begin_output_event(a, "response.output_item.done");
    add_call_item(&a->out, &i->id, call, true);
    end_event(a);
    comma(&i->done);
    add_call_item(&i->done, &i->id, call, true);
    i->index++;
}

static void first(server_choice *c) {
    response_event(c->of, "response.created", "in_progress", NULL);
    response_event(c->of, "response.in_progress", "in_progress", NULL);
}

static void piece(server_choice *c) {
    server_answer *a = c->of;
    json_t *calls = server_calls_of(c);
    add_delta(c, SERVER_REASONING, &c->reasoning);
    add_delta(c, SERVER_MESSAGE, &c->content);
    for (size_t i = 0; i < json_array_size(calls); i++) stream_call(a, json_array_get(calls, i));
    a->out.oom |= c->calls.len && !calls;
    json_decref(calls);
}

static void last(server_choice *c) { close_item(c->of, status_of(c)); }

static void end(server_answer *a) {
    const char *status = status_of(&a->choices[0]);
    response_event(a, strcmp(status, "completed") == 0 ? "response.completed" : "response.incomplete", status,
                   NULL);
}

static void failed(server_answer *a, const server_problem *problem) {
    close_item(a, "incomplete");
    response_event(a, "response.failed", "failed", problem);
}

static void whole(server_answer *a) {
    server_choice *c = &a->choices[0];
    server_items *items = &a->items;
    json_t *calls = server_calls_of(c);
    for (server_item_kind kind = SERVER_REASONING; kind <= SERVER_MESSAGE; kind++) {
        server_text *text = kind == SERVER_REASONING ? &c->reasoning : &c->content;
        if (!text->len) continue;
        new_id(items, prefixes[kind]);
        server_text_clear(&items->text);
        server_add(&items->text, text->data, text->len);
        if (kind == SERVER_MESSAGE) server_add(&items->lists, c->logprobs[0].data, c->logprobs[0].len);
        comma(&items->done);
        add_text_item(&items->done, kind, items, true,
                      kind == SERVER_MESSAGE || !c->content.len ? status_of(c) : "completed");
    }
    for (size_t i = 0; i < json_array_size(calls); i++) {
        new_id(items, "fc_");
        comma(&items->done);
        add_call_item(&items->done, &items->id, json_array_get(calls, i), true);
    }
    a->out.oom |= items->done.oom || items->text.oom || (c->calls.len && !calls);
    add_response(a, status_of(c), NULL);
    json_decref(calls);
}

/* As in a chat, but only of the tokens of the message: none of the reasoning, of what opens it, and behind
 * the first call. */
static void add_logprob(server_choice *c, const glia_event *e) {
    if (glia_parser_thinking(c->parser)) {
        server_text_clear(&c->logprobs[0]);
        server_text_clear(&c->of->items.pending);
    } else if (c->n_calls == 0) {
        server_wire_chat.add_logprob(c, e);
    }
}

const server_wire server_wire_responses = {
    .id_prefix = "resp_",
    .parses = true,
    .add_logprob = add_logprob,
    .first = first,
    .piece = piece,
    .last = last,
    .end = end,
    .failed = failed,
    .whole = whole,
};
