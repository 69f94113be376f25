/* lines.h - a JSON value a line in, a JSON value a line out. */
#ifndef GLIA_CLI_LINES_H
#define GLIA_CLI_LINES_H

#include <glia.h>
#include <jansson.h>

#include "base/buf.h"

/* Answer one line (NUL-terminated, without its newline): append the answer to
 * *out. On failure {"error": message} becomes the answer. */
typedef glia_status cli_line_fn(void *user, const char *line, size_t len, glia_buf *out, glia_err *err);

/* Answer every line of standard input, in order, one line each; what is ready
 * is written before waiting for more input, so a program may talk with us line
 * by line. A blank line is an error like any line that is no JSON. Returns the
 * exit status: 1 when a line failed with anything but GLIA_ERR_TEMPLATE, which
 * is an answer: the template's own. */
int cli_each_line(cli_line_fn *fn, void *user);

/* The line as a JSON value, owned by the caller; NULL when it is none. */
json_t *cli_line_json(const char *line, size_t len, glia_err *err);
/* Append `text` as a JSON string. */
glia_status cli_put_string(glia_buf *out, const char *text, size_t len, glia_err *err);
/* Append `ids` as a JSON array. */
void cli_put_ids(glia_buf *out, const int32_t *ids, size_t n);

#endif
