/* messages_chat.c - a request of Anthropic's Messages as a chat. */
#include <stdio.h>
#include <string.h>

#include "server/app.h"

static const char *type_of(const json_t *block) {
    const char *type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

static bool is(const json_t *block, const char *type) { return strcmp(type_of(block), type) == 0; }

static void missing(server_problem *problem, const char *field, const char *key) {
    char path[140];
    snprintf(path, sizeof path, "%s.%s", field, key);
    server_bad_form(problem, path, "Field required");
}

/* Join the texts of text blocks by newlines, as OpenAI's content parts are joined. `billing` blocks differ at
 * each request and would spoil the prefix cache: Claude Code sends them. */
static json_t *text_of(const json_t *content, const char *field, server_problem *problem) {
    static const char billing[] = "x-anthropic-";
    server_text all = {0};
    if (json_is_string(content)) return json_incref((json_t *)(uintptr_t)content);
    if (content && !json_is_array(content))
        server_bad_form(problem, field, "Input should be a valid string or a list of blocks");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i), *text = json_object_get(block, "text");
        char path[100];
        snprintf(path, sizeof path, "%s.%zu", field, i);
        if (!is(block, "text"))
            server_bad_value(problem, NULL,
                             "%s: a block of type '%.40s' is not supported here: this model reads text", path,
                             type_of(block));
        else if (!json_is_string(text))
            missing(problem, path, "text");
        else if (strncmp(json_string_value(text), billing, sizeof billing - 1) != 0) {
            if (all.len) server_puts(&all, "\n");
            server_add(&all, json_string_value(text), json_string_length(text));
        }
    }
    json_t *joined = json_stringn(all.data ? all.data : "", all.len);
    server_text_free(&all);
    return joined;
}

static void add_message(json_t *list, const char *role, json_t *content) {
    json_array_append_new(list, json_pack("{s:s, s:o}", "role", role, "content", content));
}

/* The blocks of a message without those that have fields of their own in a chat. */
static json_t *texts_among(const json_t *content) {
    json_t *texts = json_array();
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *block = json_array_get(content, i);
        if (!is(block, "tool_result") && !is(block, "tool_use") && !is(block, "thinking") &&
            !is(block, "redacted_thinking"))
            json_array_append(texts, block);
    }
    return texts;
}

/* Results of tools are messages of their own, before the text. */
static void add_user(json_t *list, const json_t *content, const char *field, server_problem *problem) {
    bool results = false;
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i), *id = json_object_get(block, "tool_use_id");
        char path[100];
        if (!is(block, "tool_result")) continue;
        snprintf(path, sizeof path, "%s.%zu", field, i);
        results = true;
        if (!json_is_string(id)) missing(problem, path, "tool_use_id");
        json_t *text = text_of(json_object_get(block, "content"), path, problem);
        json_array_append_new(
            list, json_pack("{s:s, s:O*, s:o}", "role", "tool", "tool_call_id", id, "content", text));
    }
    json_t *texts = json_is_array(content) ? texts_among(content) : json_incref((json_t *)(uintptr_t)content);
    if (!results || json_array_size(texts)) add_message(list, "user", text_of(texts, field, problem));
    json_decref(texts);
}

/* The arguments stay an object: templates write objects as the model does. */
static void add_call(json_t *calls, const json_t *block, const char *path, server_problem *problem) {
    static const char *const keys[] = {"id", "name", "input"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(block, keys[i]);
        if (!(i < 2 ? json_is_string(value) : json_is_object(value))) missing(problem, path, keys[i]);
    }
    json_array_append_new(calls,
                          json_pack("{s:O*, s:s, s:{s:O*, s:O*}}", "id", json_object_get(block, "id"), "type",
                                    "function", "function", "name", json_object_get(block, "name"),
                                    "arguments", json_object_get(block, "input")));
}

static void add_assistant(json_t *list, const json_t *content, const char *field, server_problem *problem) {
    json_t *calls = json_array(), *thinking = NULL;
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i);
        char path[100];
        snprintf(path, sizeof path, "%s.%zu", field, i);
        if (is(block, "tool_use")) add_call(calls, block, path, problem);
        if (is(block, "thinking")) thinking = json_object_get(block, "thinking");
        if (is(block, "thinking") && !json_is_string(thinking)) missing(problem, path, "thinking");
    }
    json_t *texts = json_is_array(content) ? texts_among(content) : json_incref((json_t *)(uintptr_t)content);
    json_t *message = json_pack("{s:s, s:o, s:O*}", "role", "assistant", "content",
                                text_of(texts, field, problem), "reasoning", thinking);
    if (json_array_size(calls)) json_object_set(message, "tool_calls", calls);
    json_array_append_new(list, message);
    json_decref(calls);
    json_decref(texts);
}

static json_t *messages_of(const server_params *p, server_problem *problem) {
    json_t *list = json_array();
    char field[60];
    if (p->at[P_SYSTEM]) {
        json_t *system = text_of(p->at[P_SYSTEM], "system", problem);
        if (json_string_length(system)) add_message(list, "system", json_incref(system));
        json_decref(system);
    }
    for (size_t i = 0; i < json_array_size(p->at[P_MESSAGES]); i++) {
        const json_t *one = json_array_get(p->at[P_MESSAGES], i), *content = json_object_get(one, "content");
        const char *role = json_string_value(json_object_get(one, "role"));
        snprintf(field, sizeof field, "messages.%zu", i);
        if (!role) {
            missing(problem, field, "role");
            continue;
        }
        snprintf(field, sizeof field, "messages.%zu.content", i);
        if (!content)
            server_bad_form(problem, field, "Field required");
        else if (strcmp(role, "assistant") == 0)
            add_assistant(list, content, field, problem);
        else if (strcmp(role, "system") == 0)
            add_message(list, role, text_of(content, field, problem));
        else if (strcmp(role, "user") == 0)
            add_user(list, content, field, problem);
        else
            server_bad_form(problem, field, "the role should be 'user', 'assistant' or 'system'");
    }
    return list;
}

/* Tools with a schema. The others run on Anthropic's servers. */
static json_t *tools_of(const json_t *tools, server_problem *problem) {
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i), *schema = json_object_get(tool, "input_schema"),
                     *name = json_object_get(tool, "name");
        char path[40];
        snprintf(path, sizeof path, "tools.%zu", i);
        const bool custom = !*type_of(tool) || is(tool, "custom");
        if (custom && !json_is_string(name)) missing(problem, path, "name");
        if (custom && !json_is_object(schema)) missing(problem, path, "input_schema");
        if (!custom) continue;
        json_array_append_new(list, json_pack("{s:s, s:{s:O*, s:O*, s:O*}}", "type", "function", "function",
                                              "name", name, "description",
                                              json_object_get(tool, "description"), "parameters", schema));
    }
    return list;
}

static void set_choice(json_t *chat, const json_t *choice, server_problem *problem) {
    static const char *const words[][2] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}};
    const json_t *name = json_object_get(choice, "name");
    bool known = false;
    if (!choice) return;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!is(choice, words[i][0])) continue;
        json_object_set_new(chat, "tool_choice", json_string(words[i][1]));
        known = true;
    }
    if (is(choice, "tool"))
        json_object_set_new(chat, "tool_choice",
                            json_pack("{s:s, s:{s:O*}}", "type", "function", "function", "name", name));
    else if (!known)
        server_bad_form(problem, "tool_choice.type", "Input should be 'auto', 'any', 'tool' or 'none'");
    if (json_is_true(json_object_get(choice, "disable_parallel_tool_use")))
        json_object_set_new(chat, "parallel_tool_calls", json_false());
}

/* Without "thinking" the template decides. */
static void set_thinking(json_t *chat, const json_t *thinking, server_problem *problem) {
    json_t *kwargs = json_object_get(chat, "chat_template_kwargs"),
           *budget = json_object_get(thinking, "budget_tokens");
    const bool on = is(thinking, "enabled") || is(thinking, "adaptive");
    if (!thinking) return;
    if (!on && !is(thinking, "disabled"))
        server_bad_form(problem, "thinking.type", "Input should be 'enabled', 'adaptive' or 'disabled'");
    kwargs = kwargs ? json_copy(kwargs) : json_object();
    if (!json_object_get(kwargs, "enable_thinking"))
        json_object_set_new(kwargs, "enable_thinking", json_boolean(on));
    json_object_set_new(chat, "chat_template_kwargs", kwargs);
    if (on && budget) json_object_set(chat, "thinking_token_budget", budget);
}

static void set_output(json_t *chat, const json_t *config) {
    const json_t *format = json_object_get(config, "format"), *effort = json_object_get(config, "effort");
    if (effort) json_object_set(chat, "reasoning_effort", (json_t *)(uintptr_t)effort);
    if (is(format, "json_schema"))
        json_object_set_new(chat, "response_format",
                            json_pack("{s:s, s:{s:s, s:O*}}", "type", "json_schema", "json_schema", "name",
                                      "answer", "schema", json_object_get(format, "schema")));
}

json_t *server_messages_chat(const server_params *p, server_problem *problem) {
    static const char *const own[] = {"system",      "stop_sequences", "thinking", "output_config",
                                      "tool_choice", "tools",          "metadata"};
    json_t *chat = json_copy(p->body), *tools = tools_of(p->at[P_TOOLS], problem);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) json_object_del(chat, own[i]);
    json_object_set_new(chat, "messages", messages_of(p, problem));
    if (json_array_size(tools)) json_object_set(chat, "tools", tools);
    set_choice(chat, p->at[P_TOOL_CHOICE], problem);
    if (!json_array_size(tools)) server_drop_idle_choice(chat);
    if (p->at[P_STOP_SEQUENCES]) json_object_set(chat, "stop", (json_t *)(uintptr_t)p->at[P_STOP_SEQUENCES]);
    set_thinking(chat, p->at[P_THINKING], problem);
    set_output(chat, p->at[P_OUTPUT_CONFIG]);
    json_decref(tools);
    return chat;
}
