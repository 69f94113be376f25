/* messages.c - an answer as the content blocks of Anthropic's Messages.
 *
 * In a stream at most one block is open: https://docs.anthropic.com/en/docs/build-with-claude/streaming. */
#include "server/app.h"

static void add_usage(server_text *out, const server_answer *a) {
    server_printf(out,
                  "\"usage\":{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,"
                  "\"cache_read_input_tokens\":%zu,\"output_tokens\":%d}",
                  a->prompt_tokens - a->cached_tokens, a->cached_tokens, server_tokens_of(a));
}

static void add_stop(server_text *out, const server_choice *c) {
    const bool by_string = c && c->finish == GLIA_FINISH_STOP && c->stop_reason.len;
    const char *reason = !c                                ? NULL
                         : c->finish == GLIA_FINISH_LENGTH ? "max_tokens"
                         : by_string                       ? "stop_sequence"
                         : c->n_calls                      ? "tool_use"
                                                           : "end_turn";
    server_puts(out, "\"stop_reason\":");
    server_json_puts(out, reason);
    server_puts(out, ",\"stop_sequence\":");
    if (by_string)
        server_json(out, c->stop_reason.data, c->stop_reason.len);
    else
        server_puts(out, "null");
}

/* {"id", "type", "role", "model", "content": [ */
static void add_head(server_text *out, const server_answer *a) {
    server_puts(out, "{\"id\":");
    server_json(out, a->id.data ? a->id.data : "", a->id.len);
    server_puts(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    server_json_puts(out, a->model);
    server_puts(out, ",\"content\":[");
}

static void begin_event(server_text *out, const char *name) {
    server_printf(out, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void end_event(server_text *out) { server_puts(out, "}\n\n"); }

static void first(server_choice *c) {
    server_answer *a = c->of;
    begin_event(&a->out, "message_start");
    server_puts(&a->out, ",\"message\":");
    add_head(&a->out, a);
    server_puts(&a->out, "],");
    add_stop(&a->out, NULL);
    server_puts(&a->out, ",");
    add_usage(&a->out, a);
    server_puts(&a->out, "}");
    end_event(&a->out);
}

static void add_delta(server_answer *a, const char *type, const char *key, const char *text, size_t len) {
    begin_event(&a->out, "content_block_delta");
    server_printf(&a->out, ",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":", a->items.index, type, key);
    server_json(&a->out, text, len);
    server_puts(&a->out, "}");
    end_event(&a->out);
}

static void stop_block(server_answer *a) {
    begin_event(&a->out, "content_block_stop");
    server_printf(&a->out, ",\"index\":%d", a->items.index++);
    end_event(&a->out);
}

static void close_block(server_answer *a) {
    if (a->items.open == SERVER_NO_ITEM) return;
    if (a->items.open == SERVER_REASONING) add_delta(a, "signature_delta", "signature", "", 0);
    stop_block(a);
    a->items.open = SERVER_NO_ITEM;
}

static void add_text(server_answer *a, server_item_kind kind, const server_text *text) {
    static const struct {
        const char *block, *delta, *key;
    } names[] = {[SERVER_REASONING] = {"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}",
                                       "thinking_delta", "thinking"},
                 [SERVER_MESSAGE] = {"{\"type\":\"text\",\"text\":\"\"}", "text_delta", "text"}};
    if (!text->len) return;
    if (a->items.open != kind) {
        close_block(a);
        a->items.open = kind;
        begin_event(&a->out, "content_block_start");
        server_printf(&a->out, ",\"index\":%d,\"content_block\":%s", a->items.index, names[kind].block);
        end_event(&a->out);
    }
    add_delta(a, names[kind].delta, names[kind].key, text->data, text->len);
}

/* "type", "id", "name" of a block for a call. */
static void add_tool_use(server_text *out, const json_t *call) {
    const json_t *function = json_object_get(call, "function");
    server_puts(out, "{\"type\":\"tool_use\",\"id\":");
    server_json_puts(out, json_string_value(json_object_get(call, "id")));
    server_puts(out, ",\"name\":");
    server_json_puts(out, json_string_value(json_object_get(function, "name")));
    server_puts(out, ",\"input\":");
}

static const json_t *arguments_of(const json_t *call) {
    return json_object_get(json_object_get(call, "function"), "arguments");
}

static void stream_call(server_answer *a, const json_t *call) {
    const json_t *arguments = arguments_of(call);
    close_block(a);
    begin_event(&a->out, "content_block_start");
    server_printf(&a->out, ",\"index\":%d,\"content_block\":", a->items.index);
    add_tool_use(&a->out, call);
    server_puts(&a->out, "{}}");
    end_event(&a->out);
    add_delta(a, "input_json_delta", "partial_json", json_string_value(arguments),
              json_string_length(arguments));
    stop_block(a);
}

static void piece(server_choice *c) {
    server_answer *a = c->of;
    json_t *calls = server_calls_of(c);
    add_text(a, SERVER_REASONING, &c->reasoning);
    add_text(a, SERVER_MESSAGE, &c->content);
    for (size_t i = 0; i < json_array_size(calls); i++) stream_call(a, json_array_get(calls, i));
    a->out.oom |= c->calls.len && !calls;
    json_decref(calls);
}

static void last(server_choice *c) {
    server_answer *a = c->of;
    close_block(a);
    begin_event(&a->out, "message_delta");
    server_puts(&a->out, ",\"delta\":{");
    add_stop(&a->out, c);
    server_puts(&a->out, "},");
    add_usage(&a->out, a);
    end_event(&a->out);
}

static void end(server_answer *a) {
    begin_event(&a->out, "message_stop");
    end_event(&a->out);
}

static void failed(server_answer *a, const server_problem *problem) {
    server_puts(&a->out, "event: error\ndata: ");
    server_anthropic_body(&a->out, problem);
    server_puts(&a->out, "\n\n");
}

static void add_block(server_text *out, const char *before, const server_text *text, const char *after) {
    if (!text->len) return;
    if (out->data[out->len - 1] != '[') server_puts(out, ",");
    server_puts(out, before);
    server_json(out, text->data, text->len);
    server_puts(out, after);
}

/* Arguments as the model wrote them, or as a string if they are not JSON. */
static void add_input(server_text *out, const json_t *arguments) {
    const char *text = json_string_value(arguments);
    const size_t len = json_string_length(arguments);
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (value)
        server_add(out, text, len);
    else
        server_json(out, text, len);
    json_decref(value);
}

static void whole(server_answer *a) {
    const server_choice *c = &a->choices[0];
    json_t *calls = server_calls_of(c);
    add_head(&a->out, a);
    add_block(&a->out, "{\"type\":\"thinking\",\"thinking\":", &c->reasoning, ",\"signature\":\"\"}");
    add_block(&a->out, "{\"type\":\"text\",\"text\":", &c->content, "}");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *arguments = arguments_of(call);
        if (a->out.data && a->out.data[a->out.len - 1] != '[') server_puts(&a->out, ",");
        add_tool_use(&a->out, call);
        add_input(&a->out, arguments);
        server_puts(&a->out, "}");
    }
    a->out.oom |= c->calls.len && !calls;
    server_puts(&a->out, "],");
    add_stop(&a->out, c);
    server_puts(&a->out, ",");
    add_usage(&a->out, a);
    server_puts(&a->out, "}");
    json_decref(calls);
}

static void add_logprob(server_choice *c, const glia_event *e) {
    (void)c; /* Messages have none */
    (void)e;
}

const server_wire server_wire_messages = {
    .id_prefix = "msg_",
    .parses = true,
    .add_logprob = add_logprob,
    .first = first,
    .piece = piece,
    .last = last,
    .end = end,
    .failed = failed,
    .whole = whole,
};
