/* chat.c - from the messages of a request to the ids of a prompt. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

/* The texts of a list of content parts, joined by newlines as vLLM does. NULL after a problem. */
static json_t *text_of_parts(const json_t *parts, const char *field, server_problem *problem) {
    server_text text = {0};
    json_t *result = NULL;
    bool good = true;
    for (size_t i = 0; i < json_array_size(parts) && good; i++) {
        const json_t *part = json_array_get(parts, i), *said = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        good = type && strcmp(type, "text") == 0 && json_is_string(said);
        if (type && strcmp(type, "text") != 0)
            server_bad_value(problem, NULL,
                             "%s: a part of type %.40s is not supported: this model reads text", field, type);
        else if (!good)
            server_bad_form(problem, field, "Input should be a valid string or a list of text parts");
        if (good && i > 0) server_puts(&text, "\n");
        if (good) server_add(&text, json_string_value(said), json_string_length(said));
    }
    if (good) result = json_stringn(text.data ? text.data : "", text.len);
    server_text_free(&text);
    return result;
}

static void read_content(json_t *message, const char *role, size_t i, server_problem *problem) {
    char field[60];
    const json_t *content = json_object_get(message, "content");
    snprintf(field, sizeof field, "messages.%zu.content", i);
    if (json_is_string(content)) return;
    if (json_is_array(content)) {
        json_t *text = text_of_parts(content, field, problem);
        if (text) json_object_set_new(message, "content", text);
    } else if (content && !json_is_null(content)) {
        server_bad_form(problem, field, "Input should be a valid string or a list of text parts");
    } else if (strcmp(role, "assistant") != 0) {
        server_bad_form(problem, field, "Field required");
    } else if (!content) {
        json_object_set_new(message, "content", json_null());
    }
}

/* Clients send the arguments of earlier calls as text, which is what the model wrote. Many templates expect
 * an object. */
static void read_calls(json_t *message, bool text_arguments) {
    json_t *calls = json_object_get(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls) && !text_arguments; i++) {
        json_t *function = json_object_get(json_array_get(calls, i), "function");
        const json_t *text = json_object_get(function, "arguments");
        json_t *object = json_is_string(text) ? json_loadb(json_string_value(text), json_string_length(text),
                                                           JSON_ALLOW_NUL, NULL)
                                              : NULL;
        if (json_is_object(object))
            json_object_set_new(function, "arguments", object);
        else
            json_decref(object);
    }
    if (calls && json_array_size(calls) == 0) json_object_del(message, "tool_calls");
}

bool server_takes_text_arguments(const server_app *app) {
    static const char conversation[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\","
        "\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"a\\\":1}\"}}]}]}";
    char *text = NULL;
    size_t len;
    glia_render_chat_bytes(app->model, conversation, strlen(conversation), app->options->chat_template,
                           app->options->chat_template_len, NULL, &text, &len, NULL);
    const bool takes = text && strstr(text, "{\"a\":1}");
    glia_free(text);
    return takes;
}

/* Templates know reasoning by either name. */
static void read_reasoning(json_t *message) {
    json_t *newer = json_object_get(message, "reasoning"),
           *older = json_object_get(message, "reasoning_content");
    if (newer && !older) json_object_set(message, "reasoning_content", newer);
    if (older && !newer) json_object_set(message, "reasoning", older);
}

/* A copy of the messages as templates read them. */
static json_t *read_messages(const json_t *list, const server_app *app, server_problem *problem) {
    json_t *messages = json_deep_copy(list);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        char field[60];
        json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        snprintf(field, sizeof field, "messages.%zu", i);
        if (!json_is_object(message)) {
            server_bad_form(problem, field, "Input should be a valid dictionary");
            continue;
        }
        snprintf(field, sizeof field, "messages.%zu.role", i);
        if (!role) {
            server_bad_form(problem, field,
                            json_object_get(message, "role") ? "Input should be a valid string"
                                                             : "Field required");
            continue;
        }
        if (strcmp(role, "developer") == 0) json_object_set_new(message, "role", json_string("system"));
        read_content(message, json_string_value(json_object_get(message, "role")), i, problem);
        read_calls(message, app->text_arguments);
        read_reasoning(message);
    }
    if (json_array_size(list) == 0) server_bad_value(problem, "messages", "messages must not be empty");
    return messages;
}

/* The effort turns thinking on or off unless the request itself says so. */
static void read_effort(json_t *conversation, const server_params *p, server_problem *problem) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    const char *name = json_string_value(p->at[P_REASONING_EFFORT]);
    if (!name) return;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(name, efforts[i]) != 0) continue;
        json_object_set_new(conversation, "reasoning_effort", json_string(name));
        if (!json_object_get(p->at[P_TEMPLATE_KWARGS], "enable_thinking"))
            json_object_set_new(conversation, "enable_thinking", json_boolean(i > 0));
        return;
    }
    server_bad_form(problem, "reasoning_effort",
                    "Input should be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'");
}

/* The object that glia_render_chat() takes. */
static json_t *conversation_of(const server_app *app, const server_params *p, server_problem *problem) {
    const char *preset = app->options->template_kwargs;
    json_t *root = preset ? json_loads(preset, 0, NULL) : json_object();
    if (p->at[P_TEMPLATE_KWARGS]) json_object_update(root, (json_t *)(uintptr_t)p->at[P_TEMPLATE_KWARGS]);
    json_object_set_new(root, "messages", read_messages(p->at[P_MESSAGES], app, problem));
    const bool begins = p->at[P_ADD_GENERATION_PROMPT] ? p->integer[P_ADD_GENERATION_PROMPT]
                                                       : !p->integer[P_CONTINUE_FINAL_MESSAGE];
    json_object_set_new(root, "add_generation_prompt", json_boolean(begins));
    if (p->at[P_TOOLS]) json_object_set(root, "tools", (json_t *)(uintptr_t)p->at[P_TOOLS]);
    if (p->at[P_DOCUMENTS]) json_object_set(root, "documents", (json_t *)(uintptr_t)p->at[P_DOCUMENTS]);
    read_effort(root, p, problem);
    if (p->integer[P_CONTINUE_FINAL_MESSAGE] && p->integer[P_ADD_GENERATION_PROMPT])
        server_bad_value(problem, NULL,
                         "Cannot set both `continue_final_message` and `add_generation_prompt` to True.");
    return root;
}

void server_library_problem(server_problem *problem, const glia_err *err) {
    if (err->status == GLIA_ERR_NOMEM || err->status == GLIA_ERR_IO)
        server_refuse(problem, 503, "ServiceUnavailableError", NULL, "%s", err->msg);
    else
        server_bad_value(problem, NULL, "%s", err->msg);
}

void server_tokenize(server_prompt *prompt, const server_app *app, const char *text, size_t len, bool special,
                     server_problem *problem) {
    glia_err err = {0};
    int32_t *ids;
    size_t n;
    if (glia_tokenize(app->model, text, len, special, &ids, &n, &err))
        return server_library_problem(problem, &err);
    prompt->ids = malloc((n + 1) * sizeof *ids);
    if (prompt->ids && n) memcpy(prompt->ids, ids, n * sizeof *ids);
    if (prompt->ids) prompt->n = n;
    if (!prompt->ids) server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    glia_free(ids);
}

/* Where a prompt ends that continues its last message: behind that message's content, as in transformers. */
static size_t end_of_final(const json_t *messages, const char *text, size_t len, server_problem *problem) {
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(last, "content");
    const char *said = json_is_string(content) ? json_string_value(content) : "", *found = NULL;
    size_t n = strlen(said);
    while (n && strchr(" \n\r\t", said[n - 1])) n--;
    while (n && strchr(" \n\r\t", *said)) said++, n--;
    for (const char *at = text; n && (at = memmem(at, len - (size_t)(at - text), said, n)) != NULL; at++)
        found = at;
    if (!found)
        server_bad_value(problem, "continue_final_message",
                         "continue_final_message needs a final message whose text the chat template renders. "
                         "(parameter=continue_final_message)");
    return found ? (size_t)(found - text) + n : len;
}

void server_chat_prompt(server_prompt *prompt, const server_app *app, const server_params *p,
                        server_problem *problem) {
    glia_err err = {0};
    char *text = NULL;
    size_t len = 0;
    json_t *root = conversation_of(app, p, problem);
    char *conversation = problem->status ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (problem->status) return;
    if (!conversation) return server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    const bool special =
        p->integer[P_ADD_SPECIAL_TOKENS] != 0; /* templates write special tokens themselves */
    glia_status status =
        glia_render_chat_bytes(app->model, conversation, strlen(conversation), app->options->chat_template,
                               app->options->chat_template_len, NULL, &text, &len, &err);
    free(conversation);
    if (status) server_library_problem(problem, &err);
    if (!status && p->integer[P_CONTINUE_FINAL_MESSAGE])
        len = end_of_final(p->at[P_MESSAGES], text, len, problem);
    if (!problem->status) server_tokenize(prompt, app, text, len, special, problem);
    prompt->opens_thinking = text && glia_prompt_opens_thinking(text, len);
    glia_free(text);
}
