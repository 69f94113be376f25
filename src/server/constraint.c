/* constraint.c - which constraint a request asks for: response_format, structured_outputs, llama-server's
 * grammar and json_schema, tool_choice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

/* What is compiled: JSON that this file made, or a text of the body. */
typedef struct {
    glia_constraint_source s;
    const char *field;  /* of the body */
    const json_t *json; /* NULL: `text` */
    const char *text;
    int n; /* fields that ask for a constraint */
} wish;

static void want(wish *w, const char *field, glia_constraint_kind kind, const json_t *x) {
    if (!x || json_is_null(x) || json_is_false(x)) return;
    w->n++;
    w->field = field;
    w->s.kind = kind;
    w->json = json_is_string(x) ? NULL : x;
    w->text = json_string_value(x);
}

static void want_format(wish *w, const json_t *format, const json_t *any_object, server_problem *problem) {
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || (type && strcmp(type, "text") == 0)) return;
    if (type && strcmp(type, "json_object") == 0) {
        const json_t *schema = json_object_get(format, "schema"); /* llama-server's */
        want(w, "response_format", GLIA_CONSTRAINT_JSON_SCHEMA, schema ? schema : any_object);
    } else if (type && strcmp(type, "json_schema") == 0) {
        const json_t *inner = json_object_get(format, "json_schema"),
                     *schema = json_object_get(inner, "schema");
        w->s.strict = json_is_true(json_object_get(inner, "strict"));
        if (!json_is_object(schema) && !json_is_boolean(schema))
            server_bad_form(problem, "response_format.json_schema", "Field required: schema");
        if (json_is_false(schema))
            server_bad_value(problem, "response_format",
                             "no text satisfies the constraint (parameter=response_format)");
        want(w, "response_format", GLIA_CONSTRAINT_JSON_SCHEMA, schema);
    } else if (type && strcmp(type, "structural_tag") == 0) {
        want(w, "response_format", GLIA_CONSTRAINT_STRUCTURAL_TAG, format);
    } else {
        server_bad_form(problem, "response_format.type",
                        "Input should be 'text', 'json_object', 'json_schema' or 'structural_tag'");
    }
}

static bool blank(const json_t *x) {
    const char *text = json_string_value(x);
    return text && strlen(text) == json_string_length(x) && text[strspn(text, " \t\r\n")] == '\0';
}

/* vLLM's field: exactly one of its kinds. */
static void want_structured(wish *w, const json_t *x, const json_t *any_object, server_problem *problem) {
    static const struct {
        const char *key;
        glia_constraint_kind kind;
    } kinds[] = {{"json", GLIA_CONSTRAINT_JSON_SCHEMA},
                 {"regex", GLIA_CONSTRAINT_REGEX},
                 {"choice", GLIA_CONSTRAINT_CHOICE},
                 {"grammar", GLIA_CONSTRAINT_GRAMMAR},
                 {"structural_tag", GLIA_CONSTRAINT_STRUCTURAL_TAG}};
    const json_t *object = json_object_get(x, "json_object"),
                 *pattern = json_object_get(x, "whitespace_pattern");
    const int before = w->n;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const json_t *value = json_object_get(x, kinds[i].key);
        if (json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value))
            server_bad_value(problem, NULL, "structured_outputs.%s has a NUL character", kinds[i].key);
        else if (blank(value))
            server_bad_value(problem, NULL, "structured_outputs.%s must not be blank", kinds[i].key);
        else if (json_is_array(value) && json_array_size(value) == 0)
            server_bad_value(problem, NULL, "structured_outputs.%s must not be an empty list", kinds[i].key);
        want(w, "structured_outputs", kinds[i].kind, value);
    }
    if (json_is_false(object))
        server_bad_value(problem, NULL, "structured_outputs.json_object must be true, or absent");
    if (json_is_true(object)) want(w, "structured_outputs", GLIA_CONSTRAINT_JSON_SCHEMA, any_object);
    if (w->n - before > 1)
        server_bad_value(problem, NULL, "structured_outputs takes one kind of constraint, found %d",
                         w->n - before);
    if (json_is_true(json_object_get(x, "disable_any_whitespace"))) w->s.whitespace = "compact";
    if (json_is_string(pattern)) w->s.whitespace = json_string_value(pattern);
}

static bool has_strict(const json_t *tools) {
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_is_true(json_object_get(json_object_get(json_array_get(tools, i), "function"), "strict")))
            return true;
    return false;
}

/* Tool calls need a constraint if they must come, or if a tool is strict, or if at most one may come. */
static json_t *tools_wish(const server_tools *tools, const server_params *p) {
    const bool one = p->at[P_PARALLEL_TOOL_CALLS] && !p->integer[P_PARALLEL_TOOL_CALLS];
    const json_t *list = p->at[P_TOOLS], *choice = p->at[P_TOOL_CHOICE];
    if (tools->choice == GLIA_TOOLS_NONE || (tools->choice == GLIA_TOOLS_AUTO && !one && !has_strict(list)))
        return NULL;
    return json_pack("{s:O, s:O*, s:b}", "tools", list, "tool_choice", choice, "parallel_tool_calls", !one);
}

static void create(glia_constraint **out, const server_app *app, wish *w, server_problem *problem) {
    glia_err err = {0};
    char *dumped = w->json ? json_dumps(w->json, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    w->s.text = dumped ? dumped : w->text;
    w->s.len = w->s.text ? strlen(w->s.text) : 0;
    if (!w->s.text)
        server_bad_form(problem, w->field, "Input should be a valid string or object");
    else if (glia_constraint_create(out, app->model, &w->s, &err))
        server_bad_value(problem, w->field, "%s (parameter=%s)", err.msg, w->field);
    else if (glia_constraint_is_empty(*out))
        server_bad_value(problem, w->field, "no text satisfies the constraint (parameter=%s)", w->field);
    free(dumped);
}

void server_constraint_warn(server_exchange *x, const glia_constraint *constraint) {
    char text[2000];
    size_t n = 0;
    const char *warning;
    for (size_t i = 0; constraint && (warning = glia_constraint_warning(constraint, i)) != NULL; i++) {
        const int len = snprintf(text + n, sizeof text - n, "%s%s", i ? "; " : "", warning);
        n = len >= (int)(sizeof text - n) ? sizeof text - 1 : n + (size_t)len;
    }
    for (size_t i = 0; i < n; i++) /* a header is ASCII */
        if (text[i] < ' ' || text[i] > '~') text[i] = '?';
    if (n) server_set_header(x, "X-Constraint-Warning", text);
}

void server_constraint_read(glia_constraint **out, const server_app *app, const server_params *p,
                            const server_tools *tools, server_problem *problem) {
    json_t *any_object = json_pack("{s:s}", "type", "object"), *calls = tools_wish(tools, p);
    wish w = {.n = 0};
    *out = NULL;
    want_format(&w, p->at[P_RESPONSE_FORMAT], any_object, problem);
    want_structured(&w, p->at[P_STRUCTURED_OUTPUTS], any_object, problem);
    want(&w, "grammar", GLIA_CONSTRAINT_GRAMMAR, p->at[P_GRAMMAR]);
    want(&w, "json_schema", GLIA_CONSTRAINT_JSON_SCHEMA, p->at[P_JSON_SCHEMA]);
    want(&w, "tool_choice", GLIA_CONSTRAINT_TOOLS, calls);
    if (w.n > 1)
        server_bad_value(problem, NULL,
                         "constrain the answer by a tool_choice that needs a call, or by response_format, "
                         "structured_outputs, grammar or json_schema, not both");
    if (w.n == 1 && !problem->status) create(out, app, &w, problem);
    json_decref(any_object);
    json_decref(calls);
}
