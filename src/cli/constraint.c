/* constraint.c - the constraint that flags ask for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/common.h"

/* Every --choice as a JSON array. */
static glia_status choices(glia_buf *out, const cli_args *args, glia_err *err) {
    if (args->n_choice == 1 && args->choice[0][0] == '[') {
        glia_buf_puts(out, args->choice[0]);
        return GLIA_OK;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < args->n_choice; i++)
        if (json_array_append_new(list, json_string(args->choice[i]))) {
            json_decref(list);
            return glia_fail(err, GLIA_ERR_ARGUMENT, "--choice %zu is not UTF-8", i + 1);
        }
    char *text = json_dumps(list, 0);
    glia_buf_puts(out, text ? text : "");
    free(text);
    json_decref(list);
    return GLIA_OK;
}

static glia_status from_file(glia_buf *out, const char *path, glia_err *err) {
    char *text = NULL;
    size_t len = 0;
    const glia_status status = cli_read_all(&text, &len, path, err);
    if (!status) glia_buf_add(out, text, len);
    free(text);
    return status;
}

glia_status cli_schema(glia_buf *out, const char *value, glia_err *err) {
    if (value[strspn(value, " \t\r\n")] != '{') return from_file(out, value, err);
    glia_buf_puts(out, value);
    return GLIA_OK;
}

static glia_status source(glia_buf *out, const cli_args *args, glia_constraint_kind *kind, glia_err *err) {
    const char *schema = args->text[F_JSON_SCHEMA];
    if (args->given[F_CHOICE]) {
        *kind = GLIA_CONSTRAINT_CHOICE;
        return choices(out, args, err);
    }
    if (args->given[F_GRAMMAR]) {
        *kind = GLIA_CONSTRAINT_GRAMMAR;
        return from_file(out, args->text[F_GRAMMAR], err);
    }
    *kind = args->given[F_REGEX] ? GLIA_CONSTRAINT_REGEX : GLIA_CONSTRAINT_JSON_SCHEMA;
    if (!args->given[F_REGEX]) return cli_schema(out, schema, err);
    glia_buf_puts(out, args->text[F_REGEX]);
    return GLIA_OK;
}

int cli_constraint(glia_constraint **c, const cli_args *args, const glia_model *m) {
    *c = NULL;
    if (!args->given[F_JSON_SCHEMA] && !args->given[F_REGEX] && !args->given[F_GRAMMAR] &&
        !args->given[F_CHOICE])
        return EXIT_OK;
    glia_err err = {0};
    glia_buf text = {0};
    glia_constraint_source s = {.strict = args->given[F_STRICT], .whitespace = args->text[F_WHITESPACE]};
    glia_status status = source(&text, args, &s.kind, &err);
    s.text = text.data ? text.data : "";
    s.len = text.len;
    if (!status) status = glia_constraint_create(c, m, &s, &err);
    glia_buf_free(&text);
    if (status) return cli_failed(&err);
    const char *warning;
    for (size_t i = 0; (warning = glia_constraint_warning(*c, i)) != NULL; i++)
        fprintf(stderr, "glia: warning: %s\n", warning);
    return EXIT_OK;
}
