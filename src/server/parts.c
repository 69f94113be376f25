/* parts.c - tools of a request, and the parts of its answer: content, reasoning, tool calls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "server/app.h"

/* ---- tools --------------------------------------------------------------------------------------- */

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static void check_tool(const json_t *tool, size_t i, server_problem *problem) {
    char field[60];
    snprintf(field, sizeof field, "tools.%zu%s", i, json_is_object(tool) ? ".function" : "");
    const json_t *function = json_object_get(tool, "function");
    if (!json_is_object(function))
        return server_bad_form(problem, field,
                               function ? "Input should be a valid dictionary" : "Field required");
    snprintf(field, sizeof field, "tools.%zu.function.name", i);
    const json_t *name = json_object_get(function, "name");
    if (!json_is_string(name))
        server_bad_form(problem, field, name ? "Input should be a valid string" : "Field required");
}

static bool has_tool(const json_t *tools, const char *name) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const char *one = name_of(json_array_get(tools, i));
        if (one && strcmp(one, name) == 0) return true;
    }
    return false;
}

/* A choice that is an object: {"type": "function", "function": {"name": ...}}. */
static void read_named(server_tools *out, const json_t *tools, const json_t *choice,
                       server_problem *problem) {
    const json_t *function = json_object_get(choice, "function");
    const char *name = json_string_value(json_object_get(function, "name"));
    if (!json_is_object(choice))
        server_bad_form(problem, "tool_choice", "Input should be 'none', 'auto', 'required' or a named tool");
    else if (!json_is_object(function) || !name)
        server_bad_value(problem, "tool_choice.function",
                         "tool_choice.function must be an object with the name of a tool. "
                         "(parameter=tool_choice.function)");
    else if (!has_tool(tools, name))
        server_bad_value(problem, "tool_choice",
                         "The tool specified in `tool_choice` does not match any of the specified `tools` "
                         "(parameter=tool_choice, value=%.60s)",
                         name);
    out->choice = GLIA_TOOLS_NAMED;
    out->name = name;
}

void server_tools_read(server_tools *out, const server_params *p, server_problem *problem) {
    static const char *const words[] = {
        [GLIA_TOOLS_NONE] = "none", [GLIA_TOOLS_AUTO] = "auto", [GLIA_TOOLS_REQUIRED] = "required"};
    const json_t *tools = p->at[P_TOOLS], *choice = p->at[P_TOOL_CHOICE];
    const char *word = json_string_value(choice);
    *out = (server_tools){.choice = tools ? GLIA_TOOLS_AUTO : GLIA_TOOLS_NONE};
    if (tools && json_array_size(tools) == 0)
        server_bad_value(problem, "tools", "tools must not be an empty list. (parameter=tools)");
    for (size_t i = 0; i < json_array_size(tools); i++) check_tool(json_array_get(tools, i), i, problem);
    if (!tools && choice && !(word && strcmp(word, "none") == 0))
        return server_bad_value(problem, "tool_choice",
                                "when using `tool_choice`, `tools` must be set. (parameter=tool_choice)");
    for (int i = 0; word && i <= GLIA_TOOLS_REQUIRED; i++) {
        if (strcmp(word, words[i]) != 0) continue;
        out->choice = (glia_tools)i;
        word = NULL;
    }
    if (choice && (word || !json_is_string(choice))) read_named(out, tools, choice, problem);
}

/* ---- parts ----------------------------------------------------------------------------------------- */

void server_add_id(server_text *out, const char *prefix) {
    unsigned char bytes[12] = {0};
    while (getrandom(bytes, sizeof bytes, 0) < 0 && errno == EINTR) {
    }
    server_puts(out, prefix);
    for (size_t i = 0; i < sizeof bytes; i++) server_printf(out, "%02x", bytes[i]);
}

json_t *server_calls_of(const server_choice *c) {
    server_text list = {0};
    if (!c->calls.len) return NULL;
    server_puts(&list, "[");
    server_add(&list, c->calls.data, c->calls.len);
    server_puts(&list, "]");
    json_t *calls = list.oom ? NULL : json_loadb(list.data, list.len, JSON_ALLOW_NUL, NULL);
    server_text_free(&list);
    return calls;
}

static void add_part(void *user, glia_part part, const char *text, size_t len) {
    server_choice *c = user;
    server_text *calls = &c->calls;
    switch (part) {
    case GLIA_PART_CONTENT: server_add(&c->content, text, len); break;
    case GLIA_PART_REASONING:
        if (c->of->include_reasoning) server_add(&c->reasoning, text, len);
        break;
    case GLIA_PART_CALL:
        server_puts(calls, calls->len ? ",{" : "{");
        if (c->of->stream) server_printf(calls, "\"index\":%d,", c->n_calls);
        server_puts(calls, "\"id\":\"");
        server_add_id(calls, "call_");
        server_puts(calls, "\",\"type\":\"function\",\"function\":{\"name\":");
        server_json(calls, text, len);
        c->n_calls++;
        break;
    case GLIA_PART_ARGUMENTS:
        server_puts(calls, ",\"arguments\":");
        server_json(calls, text, len);
        server_puts(calls, "}}");
        break;
    }
}

bool server_parts_begin(server_choice *c) {
    const server_answer *a = c->of;
    const glia_parser_options options = {.opened = a->prompts[c->index / a->n].opens_thinking,
                                         .tools = a->tools.choice,
                                         .name = a->tools.name};
    return !a->wire->parses || glia_parser_create(&c->parser, &options, add_part, c, NULL) == GLIA_OK;
}

void server_parts_add(server_choice *c, const glia_event *e) {
    if (!c->parser) return server_add(&c->content, e->text, e->text_len);
    if (e->token >= 0 && glia_parser_thinking(c->parser)) c->reasoning_tokens++;
    bool bad = glia_parser_push(c->parser, e->text, e->text_len, NULL) != GLIA_OK;
    if (e->finish) bad |= glia_parser_end(c->parser, e->finish == GLIA_FINISH_LENGTH, NULL) != GLIA_OK;
    c->content.oom |= bad;
}

bool server_parts_hidden(const server_choice *c) {
    return c->parser && !c->of->include_reasoning && glia_parser_thinking(c->parser);
}
