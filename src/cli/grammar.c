/* grammar.c - `glia grammar check` and `glia grammar show`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/lines.h"
#include "format/json.h"

static const struct {
    const char *key;
    glia_constraint_kind kind;
    bool plain; /* the source is text, not JSON */
} kinds[] = {
    {"schema", GLIA_CONSTRAINT_JSON_SCHEMA, false},
    {"regex", GLIA_CONSTRAINT_REGEX, true},
    {"grammar", GLIA_CONSTRAINT_GRAMMAR, true},
    {"choice", GLIA_CONSTRAINT_CHOICE, false},
    {"structural_tag", GLIA_CONSTRAINT_STRUCTURAL_TAG, false},
    {"tools", GLIA_CONSTRAINT_TOOLS, false},
};

/* The text of a constraint: a string as it is, else its JSON. */
static char *text_of(const json_t *x, size_t *len) {
    if (!json_is_string(x)) {
        char *text = json_dumps(x, JSON_ENCODE_ANY | JSON_COMPACT);
        *len = text ? strlen(text) : 0;
        return text;
    }
    *len = json_string_length(x);
    char *text = malloc(*len + 1);
    if (text) memcpy(text, json_string_value(x), *len + 1);
    return text;
}

/* What "whitespace" says: a style or a pattern, or whether blanks are allowed. */
static const char *whitespace(const json_t *x) {
    if (json_is_boolean(x)) return json_is_true(x) ? "flexible" : "compact";
    return json_string_value(x);
}

/* Which of `kinds` a line has, and nothing that is ignored. */
static glia_status kind_of(size_t *which, const json_t *in, glia_err *err) {
    const json_t *blanks = json_object_get(in, "whitespace");
    size_t n = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const json_t *x = json_object_get(in, kinds[i].key);
        if (!x || json_is_null(x)) continue;
        *which = i;
        n++;
    }
    if (n != 1)
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "expected one of \"schema\", \"regex\", \"grammar\", \"choice\", "
                         "\"structural_tag\" and \"tools\", found %zu",
                         n);
    if (kinds[*which].plain && !json_is_string(json_object_get(in, kinds[*which].key)))
        return glia_fail(err, GLIA_ERR_FORMAT, "\"%s\": expected a string", kinds[*which].key);
    if (blanks && !json_is_null(blanks) && !json_is_boolean(blanks) && !json_is_string(blanks))
        return glia_fail(err, GLIA_ERR_FORMAT, "\"whitespace\": expected a string, true or false");
    return GLIA_OK;
}

static glia_status create(glia_constraint **c, const glia_model *m, const json_t *in, size_t which,
                          glia_err *err) {
    size_t len = 0;
    char *text = text_of(json_object_get(in, kinds[which].key), &len);
    if (!text)
        return glia_fail(err, GLIA_ERR_FORMAT, "\"%s\": out of memory, or not UTF-8", kinds[which].key);
    const glia_constraint_source s = {.kind = kinds[which].kind,
                                      .text = text,
                                      .len = len,
                                      .strict = json_is_true(json_object_get(in, "strict")),
                                      .whitespace = whitespace(json_object_get(in, "whitespace"))};
    const glia_status status = glia_constraint_create(c, m, &s, err);
    free(text);
    return status;
}

/* Does the constraint accept the text? The microseconds of each mask are appended to `times`, unless it is
 * NULL. */
static glia_status accepts_text(json_t *times, const glia_constraint *c, const char *text, size_t len,
                                bool *yes, glia_err *err) {
    double *seconds = NULL;
    size_t n = 0;
    if (!times) return glia_constraint_accepts(c, text, len, yes, err);
    const glia_status status = glia_constraint_time(c, text, len, yes, &seconds, &n, err);
    for (size_t i = 0; i < n && !status; i++) json_array_append_new(times, json_real(seconds[i] * 1e6));
    glia_free(seconds);
    return status;
}

/* Append whether the constraint accepts each value of `list`. */
static glia_status accept(json_t *accepts, json_t *times, const glia_constraint *c, const json_t *list,
                          bool texts, glia_err *err) {
    size_t i;
    const json_t *x;
    if (list && !json_is_array(list))
        return glia_fail(err, GLIA_ERR_FORMAT, "\"%s\": expected an array", texts ? "texts" : "instances");
    json_array_foreach(list, i, x) {
        char *text = NULL;
        size_t len = 0;
        bool yes = false;
        glia_status status = GLIA_OK;
        if (texts && !json_is_string(x))
            return glia_fail(err, GLIA_ERR_FORMAT, "\"texts\": expected strings");
        char *json = texts ? NULL : json_dumps(x, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        if (texts)
            status = accepts_text(times, c, json_string_value(x), json_string_length(x), &yes, err);
        else
            status = glia_constraint_write(c, json ? json : "", json ? strlen(json) : 0, &text, &len, err);
        if (!status && !texts) status = accepts_text(times, c, text, len, &yes, err);
        free(json);
        glia_free(text);
        if (status) return status;
        json_array_append_new(accepts, json_boolean(yes));
    }
    return GLIA_OK;
}

static glia_status put(glia_buf *out, json_t *object, glia_err *err) {
    char *text = object ? json_dumps(object, 0) : NULL;
    json_decref(object);
    if (!text) return glia_fail_nomem(err, 1, "a line");
    glia_buf_puts(out, text);
    free(text);
    return GLIA_OK;
}

static json_t *warnings_of(const glia_constraint *c) {
    json_t *list = json_array();
    const char *w;
    for (size_t i = 0; (w = glia_constraint_warning(c, i)) != NULL; i++)
        json_array_append_new(list, json_string(w));
    if (glia_constraint_is_empty(c))
        json_array_append_new(list, json_string("no text satisfies the constraint"));
    return list;
}

static glia_status check_line(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const glia_model *const *model = user;
    json_t *in; /* numbers of any size, unlike cli_line_json() */
    glia_constraint *c = NULL;
    size_t which = 0;
    glia_status status = glia_json_parse(&in, line, len, JSON_ALLOW_NUL, "line", err);
    if (status) return status;
    status = kind_of(&which, in, err);
    if (status) return json_decref(in), status;
    glia_err why = {0};
    json_t *times = json_is_true(json_object_get(in, "timing")) ? json_array() : NULL;
    const double begin = glia_seconds();
    status = create(&c, *model, in, which, &why);
    const double compile = glia_seconds() - begin;
    if (status) {
        status = put(out, json_pack("{s:s}", "refused", why.msg), err);
    } else {
        json_t *accepts = json_array();
        status = accept(accepts, times, c, json_object_get(in, "instances"), false, err);
        if (!status) status = accept(accepts, times, c, json_object_get(in, "texts"), true, err);
        json_t *answer = json_pack("{s:o, s:o}", "accepts", accepts, "warnings", warnings_of(c));
        if (times) json_object_set_new(answer, "compile_us", json_real(compile * 1e6));
        if (times) json_object_set(answer, "mask_us", times);
        if (status)
            json_decref(answer);
        else
            status = put(out, answer, err);
    }
    json_decref(times);
    glia_constraint_free(c);
    json_decref(in);
    return status;
}

int cli_grammar_check(const cli_args *args) {
    const glia_model *model;
    return cli_each_line_of(args, &model, check_line, &model);
}

int cli_grammar_show(const cli_args *args) {
    glia_err err = {0};
    char *text = NULL;
    glia_buf schema = {0};
    glia_status status = cli_schema(&schema, args->model, &err);
    if (!status) status = glia_schema_explain(schema.data, schema.len, &text, &err);
    if (!status) fputs(text, stdout);
    glia_free(text);
    glia_buf_free(&schema);
    return status ? cli_failed(&err) : EXIT_OK;
}
