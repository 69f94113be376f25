/* lines.h - one JSON value per line in, one JSON value per line out. */
#ifndef GLIA_CLI_LINES_H
#define GLIA_CLI_LINES_H

#include <glia.h>
#include <jansson.h>

#include "base/buf.h"
#include "cli/flags.h"

/* Append the answer to one line (NUL-terminated, without its newline) to *out. On
 * failure the answer becomes {"error": message}. */
typedef glia_status cli_line_fn(void *user, const char *line, size_t len, glia_buf *out, glia_err *err);

/* Answer every line of standard input with one line, in order. Finished answers are
 * written before the next read, so another program may wait for an answer before it
 * sends the next line. A blank line is an error, as is any line that is not JSON.
 * Returns the exit status: 1 if a line failed. GLIA_ERR_TEMPLATE is no failure,
 * since the template itself raised it. */
int cli_each_line(cli_line_fn *fn, void *user);
/* Load the text part of args->model, set *m to it, answer every line, and free the model. Returns the exit
 * status. */
int cli_each_line_of(const cli_args *args, const glia_model **m, cli_line_fn *fn, void *user);

/* Parse the line as a JSON value, which the caller releases. NULL and *err on failure. */
json_t *cli_line_json(const char *line, size_t len, glia_err *err);
/* Append `text` as a JSON string. */
glia_status cli_put_string(glia_buf *out, const char *text, size_t len, glia_err *err);
/* Append `ids` as a JSON array. */
void cli_put_ids(glia_buf *out, const int32_t *ids, size_t n);

#endif
