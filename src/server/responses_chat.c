/* responses_chat.c - a request of OpenAI's Responses as a chat.
 *
 * Nothing is stored: a client sends the whole conversation each time, as codex and the SDK with store=false
 * do. */
#include <stdio.h>
#include <string.h>

#include "server/app.h"

static const char *string_of(const json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static bool is(const json_t *item, const char *type) { return strcmp(string_of(item, "type"), type) == 0; }

static bool ends_in(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A string, or the texts of a list of parts joined by newlines. */
static json_t *text_of(const json_t *content, const char *field, server_problem *problem) {
    static const char *const types[] = {"input_text", "output_text", "text", "reasoning_text",
                                        "summary_text"};
    server_text all = {0};
    if (json_is_string(content)) return json_incref((json_t *)(uintptr_t)content);
    if (!json_is_array(content))
        server_bad_form(problem, field, "Input should be a valid string or a list of parts");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i),
                     *text = json_object_get(part, is(part, "refusal") ? "refusal" : "text");
        bool known = is(part, "refusal");
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) known |= is(part, types[k]);
        if (!known)
            server_bad_value(problem, "input",
                             "%s.%zu: a part of type '%.40s' is not supported: this model reads text", field,
                             i, string_of(part, "type"));
        else if (!json_is_string(text))
            server_bad_form(problem, field, "part %zu should have a text that is a valid string", i);
        if (i) server_puts(&all, "\n");
        server_add(&all, json_string_value(text), json_string_length(text));
    }
    json_t *joined = json_stringn(all.data ? all.data : "", all.len);
    server_text_free(&all);
    return joined;
}

/* Reasoning, a message and calls of the assistant that follow each other are one message of a chat. Returns
 * the last message if `key` and what comes behind it can still be added, else a new one. */
static json_t *assistant(json_t *list, const char *key) {
    static const char *const order[] = {"reasoning", "content", "tool_calls"};
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    bool fits = strcmp(string_of(last, "role"), "assistant") == 0, behind = false;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        behind |= strcmp(order[i], key) == 0;
        const json_t *given = json_object_get(last, order[i]);
        if (behind && given && !json_is_null(given) && strcmp(key, "tool_calls") != 0) fits = false;
    }
    if (fits) return last;
    json_array_append_new(list, json_pack("{s:s, s:n}", "role", "assistant", "content"));
    return json_array_get(list, json_array_size(list) - 1);
}

static void add_call(json_t *list, const json_t *item, const char *field, server_problem *problem) {
    static const char *const keys[] = {"call_id", "name", "arguments"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_is_string(json_object_get(item, keys[i]))) {
            char path[100];
            snprintf(path, sizeof path, "%s.%s", field, keys[i]);
            server_bad_form(problem, path, "Input should be a valid string");
        }
    json_t *message = assistant(list, "tool_calls"), *calls = json_object_get(message, "tool_calls");
    if (!calls) json_object_set_new(message, "tool_calls", calls = json_array());
    json_array_append_new(calls,
                          json_pack("{s:O*, s:s, s:{s:O*, s:O*}}", "id", json_object_get(item, "call_id"),
                                    "type", "function", "function", "name", json_object_get(item, "name"),
                                    "arguments", json_object_get(item, "arguments")));
}

static void add_message(json_t *list, const json_t *item, const char *field, server_problem *problem) {
    const char *role = string_of(item, "role");
    char path[100];
    snprintf(path, sizeof path, "%s.content", field);
    if (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 && strcmp(role, "system") != 0 &&
        strcmp(role, "developer") != 0) {
        snprintf(path, sizeof path, "%s.role", field);
        return server_bad_form(problem, path, "Input should be 'user', 'assistant', 'system' or 'developer'");
    }
    json_t *text = text_of(json_object_get(item, "content"), path, problem);
    if (strcmp(role, "assistant") == 0)
        json_object_set_new(assistant(list, "content"), "content", text);
    else
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", role, "content", text));
}

/* The reasoning, or its summary if it has no text. */
static void add_reasoning(json_t *list, const json_t *item, const char *field, server_problem *problem) {
    const json_t *content = json_object_get(item, "content");
    if (!json_array_size(content)) content = json_object_get(item, "summary");
    if (!json_array_size(content)) return;
    json_object_set_new(assistant(list, "reasoning"), "reasoning", text_of(content, field, problem));
}

static void add_item(json_t *list, const json_t *item, const char *field, server_problem *problem) {
    const char *type = string_of(item, "type");
    if (is(item, "message") || (!*type && json_object_get(item, "role")))
        return add_message(list, item, field, problem);
    if (is(item, "function_call")) return add_call(list, item, field, problem);
    if (is(item, "reasoning")) return add_reasoning(list, item, field, problem);
    if (is(item, "function_call_output")) {
        const json_t *id = json_object_get(item, "call_id");
        if (!json_is_string(id)) server_bad_form(problem, field, "call_id: Field required");
        json_t *text = text_of(json_object_get(item, "output"), field, problem);
        json_array_append_new(
            list, json_pack("{s:s, s:O*, s:o}", "role", "tool", "tool_call_id", id, "content", text));
        return;
    }
    if (ends_in(type, "_call") || ends_in(type, "_call_output")) return; /* of tools that were skipped */
    server_bad_form(problem, field,
                    "Input should be a message, function_call, function_call_output or reasoning, "
                    "not an item of type '%.40s'",
                    type);
}

static json_t *messages_of(const server_params *p, server_problem *problem) {
    const json_t *input = p->at[P_INPUT];
    json_t *list = json_array();
    if (p->at[P_INSTRUCTIONS])
        json_array_append_new(list,
                              json_pack("{s:s, s:O}", "role", "system", "content", p->at[P_INSTRUCTIONS]));
    if (json_is_string(input))
        json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (!json_is_array(input))
        server_bad_form(problem, "input", "Input should be a valid string or list");
    else if (json_array_size(input) == 0)
        server_bad_value(problem, "input", "input must not be an empty list. (parameter=input)");
    for (size_t i = 0; i < json_array_size(input); i++) {
        char field[60];
        snprintf(field, sizeof field, "input.%zu", i);
        add_item(list, json_array_get(input, i), field, problem);
    }
    return list;
}

/* Functions. Tools that run on OpenAI's servers are skipped: codex sends some of them always. */
static json_t *tools_of(const json_t *tools, server_problem *problem) {
    static const char *const keys[] = {"name", "description", "parameters", "strict"};
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        if (!json_is_object(tool))
            server_bad_form(problem, "tools", "Input should be a list of dictionaries");
        if (!is(tool, "function")) continue;
        json_t *function = json_object();
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_t *value = json_object_get(tool, keys[k]);
            if (value && !json_is_null(value)) json_object_set(function, keys[k], value);
        }
        json_array_append_new(list, json_pack("{s:s, s:o}", "type", "function", "function", function));
    }
    return list;
}

static void set_choice(json_t *chat, const json_t *choice, server_problem *problem) {
    static const char *const words[] = {"auto", "none", "required"};
    bool known = !choice || *string_of(choice, "type");
    for (size_t i = 0; json_is_string(choice) && i < sizeof words / sizeof *words; i++)
        known |= strcmp(json_string_value(choice), words[i]) == 0;
    if (!known)
        server_bad_form(problem, "tool_choice", "Input should be 'none', 'auto', 'required' or a tool");
    if (json_is_string(choice))
        json_object_set(chat, "tool_choice", (json_t *)(uintptr_t)choice);
    else if (is(choice, "function"))
        json_object_set_new(chat, "tool_choice",
                            json_pack("{s:s, s:{s:O*}}", "type", "function", "function", "name",
                                      json_object_get(choice, "name")));
    else if (is(choice, "allowed_tools"))
        json_object_set_new(chat, "tool_choice", json_string(string_of(choice, "mode")));
}

/* "text": {"format": ...}. */
static void set_format(json_t *chat, const json_t *format) {
    json_t *inner = json_object();
    static const char *const keys[] = {"name", "description", "schema", "strict"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (json_object_get(format, keys[k]))
            json_object_set(inner, keys[k], json_object_get(format, keys[k]));
    if (is(format, "json_schema"))
        json_object_set_new(chat, "response_format",
                            json_pack("{s:s, s:O}", "type", "json_schema", "json_schema", inner));
    else if (format)
        json_object_set(chat, "response_format", (json_t *)(uintptr_t)format);
    json_decref(inner);
}

static bool includes(const json_t *list, const char *what) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && strcmp(one, what) == 0) return true;
    }
    return false;
}

static void check_stateless(const server_params *p, server_problem *problem) {
    static const server_param stored[] = {P_PREVIOUS_RESPONSE, P_CONVERSATION};
    static const char *const names[] = {"previous_response_id", "conversation"};
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++)
        if (p->at[stored[i]])
            server_bad_value(problem, names[i],
                             "%s: this server stores no responses; send the whole conversation as input. "
                             "(parameter=%s)",
                             names[i], names[i]);
    if (p->integer[P_BACKGROUND])
        server_bad_value(problem, "background",
                         "background is not supported: this server stores no responses. "
                         "(parameter=background)");
}

/* "truncation": auto cuts the beginning of a conversation that is too long. */
static void set_truncation(json_t *chat, const json_t *truncation, server_problem *problem) {
    const char *word = json_string_value(truncation);
    const bool cut = word && strcmp(word, "auto") == 0;
    if (word && !cut && strcmp(word, "disabled") != 0)
        server_bad_form(problem, "truncation", "Input should be 'auto' or 'disabled'");
    if (cut && !json_object_get(chat, "truncate_prompt_tokens"))
        json_object_set_new(chat, "truncate_prompt_tokens", json_integer(-1));
}

json_t *server_responses_chat(const server_params *p, server_problem *problem) {
    static const char *const own[] = {"input",        "instructions",      "previous_response_id",
                                      "conversation", "background",        "reasoning",
                                      "text",         "include",           "tools",
                                      "tool_choice",  "max_output_tokens", "truncation"};
    static const char log_probabilities[] = "message.output_text.logprobs";
    json_t *chat = json_copy(p->body), *tools = tools_of(p->at[P_TOOLS], problem);
    json_t *effort = json_object_get(p->at[P_REASONING], "effort");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) json_object_del(chat, own[i]);
    check_stateless(p, problem);
    json_object_set_new(chat, "messages", messages_of(p, problem));
    if (json_array_size(tools)) json_object_set(chat, "tools", tools);
    set_choice(chat, p->at[P_TOOL_CHOICE], problem);
    if (!json_array_size(tools)) server_drop_idle_choice(chat);
    if (p->at[P_MAX_OUTPUT_TOKENS])
        json_object_set(chat, "max_completion_tokens", (json_t *)(uintptr_t)p->at[P_MAX_OUTPUT_TOKENS]);
    if (effort) json_object_set(chat, "reasoning_effort", effort);
    set_format(chat, json_object_get(p->at[P_TEXT_OPTIONS], "format"));
    set_truncation(chat, p->at[P_TRUNCATION], problem);
    if (p->integer[P_TOP_LOGPROBS] || includes(p->at[P_INCLUDE], log_probabilities))
        json_object_set_new(chat, "logprobs", json_true());
    json_decref(tools);
    return chat;
}
