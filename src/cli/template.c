/* template.c - `glia template`: conversations in, prompts out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/lines.h"

typedef struct {
    const glia_model *model;
    char *source; /* NULL: the model's own */
    size_t source_len;
    const char *now;
} job;

static glia_status render(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const job *j = user;
    char *text = NULL;
    size_t n;
    if (strlen(line) != len)
        return glia_fail(err, GLIA_ERR_FORMAT, "not JSON: a zero byte, byte %zu", strlen(line));
    glia_status status =
        glia_render_chat_bytes(j->model, line, len, j->source, j->source_len, j->now, &text, &n, err);
    if (!status) status = cli_put_string(out, text, n, err);
    glia_free(text);
    return status;
}

int cli_read_template(char **source, size_t *len, const cli_args *args) {
    glia_err err = {0};
    const char *now = args->text[F_NOW], *path = args->text[F_CHAT_TEMPLATE];
    int year, month, day, hour, minute, second, end = 0;
    *source = NULL;
    *len = 0;
    if (now &&
        (sscanf(now, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &end) != 6 ||
         end != 19 || now[end] || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 ||
         minute > 59 || second > 60))
        return cli_usage("--now takes a time such as 2025-07-08T12:00:00, not '%s'", now);
    if (!path) return EXIT_OK;
    return cli_read_file(source, len, path, &err) ? cli_failed(&err) : EXIT_OK;
}

int cli_template(const cli_args *args) {
    job j = {.now = args->text[F_NOW]};
    int status = cli_read_template(&j.source, &j.source_len, args);
    if (!status) status = cli_each_line_of(args, &j.model, render, &j);
    free(j.source);
    return status;
}
