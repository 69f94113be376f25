/* parse.c - `glia parse`: answers of a model in, their thinking, content and tool calls out. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/lines.h"

/* What one line asks. Pointers belong to its JSON. */
typedef struct {
    const json_t *output; /* a string */
    const json_t *chunks; /* an array of strings, or NULL */
    glia_parser_options options;
    bool by_length;
} task;

typedef struct {
    glia_buf content, reasoning;
    json_t *calls;
} result;

/* ---- in ---------------------------------------------------------------------------------------- */

static glia_status read_flag(bool *out, const json_t *in, const char *key, glia_err *err) {
    const json_t *value = json_object_get(in, key);
    *out = json_is_true(value);
    if (!value || json_is_null(value) || json_is_boolean(value)) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_FORMAT, "\"%s\" is true or false", key);
}

static glia_status read_choice(task *t, const json_t *choice, glia_err *err) {
    static const char *const words[] = {
        [GLIA_TOOLS_NONE] = "none", [GLIA_TOOLS_AUTO] = "auto", [GLIA_TOOLS_REQUIRED] = "required"};
    const char *word = json_string_value(choice);
    t->options.tools = GLIA_TOOLS_AUTO;
    if (!choice || json_is_null(choice)) return GLIA_OK;
    for (int i = 0; word && i <= GLIA_TOOLS_REQUIRED; i++) {
        t->options.tools = (glia_tools)i;
        if (strcmp(word, words[i]) == 0) return GLIA_OK;
    }
    t->options.tools = GLIA_TOOLS_NAMED;
    t->options.name = json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (t->options.name) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_FORMAT,
                     "\"tool_choice\" is \"none\", \"auto\", \"required\" or {\"type\": \"function\", "
                     "\"function\": {\"name\": ...}}");
}

static glia_status read_end(task *t, const json_t *in, glia_err *err) {
    const json_t *end = json_object_get(in, "end");
    const char *word = json_string_value(end);
    t->by_length = word && strcmp(word, "length") == 0;
    if (!end || json_is_null(end) || t->by_length || (word && strcmp(word, "stop") == 0)) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_FORMAT, "\"end\" is \"stop\" or \"length\"");
}

static glia_status read_task(task *t, const json_t *in, glia_err *err) {
    *t = (task){.output = json_object_get(in, "output"), .chunks = json_object_get(in, "chunks")};
    bool chunked = json_is_array(t->chunks);
    for (size_t i = 0; i < json_array_size(t->chunks); i++)
        chunked &= json_is_string(json_array_get(t->chunks, i));
    if (json_is_null(t->chunks)) t->chunks = NULL;
    if (!json_is_object(in)) return glia_fail(err, GLIA_ERR_FORMAT, "expected a JSON object");
    if (t->chunks && !chunked) return glia_fail(err, GLIA_ERR_FORMAT, "\"chunks\" is a list of strings");
    if (!t->chunks && !json_is_string(t->output))
        return glia_fail(err, GLIA_ERR_FORMAT, "\"output\" is a string, the answer of the model");
    glia_status status = read_flag(&t->options.opened, in, "prompt_opens_think", err);
    if (!status) status = read_flag(&t->options.may_lack_think, in, "enable_thinking", err);
    if (!status) status = read_choice(t, json_object_get(in, "tool_choice"), err);
    return status ? status : read_end(t, in, err);
}

/* ---- out --------------------------------------------------------------------------------------- */

static void add_part(void *user, glia_part part, const char *text, size_t len) {
    result *r = user;
    switch (part) {
    case GLIA_PART_CONTENT: glia_buf_add(&r->content, text, len); break;
    case GLIA_PART_REASONING: glia_buf_add(&r->reasoning, text, len); break;
    case GLIA_PART_CALL: json_array_append_new(r->calls, json_pack("{s:s%}", "name", text, len)); break;
    case GLIA_PART_ARGUMENTS: {
        json_t *call = json_array_get(r->calls, json_array_size(r->calls) - 1);
        json_object_set_new(call, "arguments", json_stringn(text, len));
        break;
    }
    }
}

static glia_status parse_task(result *r, const task *t, glia_err *err) {
    glia_parser *p;
    glia_status status = glia_parser_create(&p, &t->options, add_part, r, err);
    if (status) return status;
    for (size_t i = 0; i < json_array_size(t->chunks) && !status; i++) {
        const json_t *chunk = json_array_get(t->chunks, i);
        status = glia_parser_push(p, json_string_value(chunk), json_string_length(chunk), err);
    }
    if (!t->chunks)
        status = glia_parser_push(p, json_string_value(t->output), json_string_length(t->output), err);
    if (!status) status = glia_parser_end(p, t->by_length, err);
    glia_parser_free(p);
    return status;
}

static glia_status put_text(glia_buf *out, const char *key, const glia_buf *text, glia_err *err) {
    glia_buf_printf(out, "\"%s\": ", key);
    if (text->len) return cli_put_string(out, text->data, text->len, err);
    glia_buf_puts(out, "null");
    return GLIA_OK;
}

static const char *finish_of(const result *r, const task *t) {
    if (t->by_length) return "length";
    return json_array_size(r->calls) && t->options.tools != GLIA_TOOLS_NAMED ? "tool_calls" : "stop";
}

static glia_status put_result(glia_buf *out, const result *r, const task *t, glia_err *err) {
    char *calls = json_dumps(r->calls, 0);
    glia_buf_putc(out, '{');
    glia_status status = put_text(out, "reasoning", &r->reasoning, err);
    glia_buf_puts(out, ", ");
    if (!status) status = put_text(out, "content", &r->content, err);
    glia_buf_printf(out, ", \"tool_calls\": %s, \"finish_reason\": \"%s\"}", calls ? calls : "[]",
                    finish_of(r, t));
    if (!calls || r->content.oom || r->reasoning.oom) status = glia_fail_nomem(err, out->len, "an answer");
    free(calls);
    return status;
}

static glia_status parse(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    task t;
    result r = {.calls = json_array()};
    json_t *in = cli_line_json(line, len, err);
    (void)user;
    glia_status status = in ? read_task(&t, in, err) : GLIA_ERR_FORMAT;
    if (!status) status = parse_task(&r, &t, err);
    if (!status) status = put_result(out, &r, &t, err);
    glia_buf_free(&r.content);
    glia_buf_free(&r.reasoning);
    json_decref(r.calls);
    json_decref(in);
    return status;
}

int cli_parse_answers(const cli_args *args) {
    const glia_model *model;
    return cli_each_line_of(args, &model, parse, NULL);
}
