/* tokenize.c - `glia tokenize` and `glia detokenize`. */
#include <stdlib.h>

#include "base/err.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/lines.h"

typedef struct {
    const glia_model *model;
    bool special; /* tokenize: add special tokens; detokenize: skip them */
} job;

static glia_status tokenize(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const job *j = user;
    int32_t *ids = NULL;
    size_t n = 0;
    json_t *in = cli_line_json(line, len, err);
    if (!in) return GLIA_ERR_FORMAT;
    glia_status status;
    if (json_is_string(in))
        status =
            glia_tokenize(j->model, json_string_value(in), json_string_length(in), j->special, &ids, &n, err);
    else
        status = glia_fail(err, GLIA_ERR_FORMAT, "expected a JSON string");
    if (!status) cli_put_ids(out, ids, n);
    glia_free(ids);
    json_decref(in);
    return status;
}

static glia_status detokenize(void *user, const char *line, size_t len, glia_buf *out, glia_err *err) {
    const job *j = user;
    int32_t *ids = NULL;
    size_t n = 0, bytes = 0;
    char *text = NULL;
    json_t *in = cli_line_json(line, len, err);
    if (!in) return GLIA_ERR_FORMAT;
    glia_status status = cli_ids_of(in, &ids, &n, err);
    if (!status) status = glia_detokenize(j->model, ids, n, j->special, &text, &bytes, err);
    if (!status) status = cli_put_string(out, text, bytes, err);
    glia_free(text);
    free(ids);
    json_decref(in);
    return status;
}

int cli_tokenize(const cli_args *args) {
    job j = {.special = args->given[F_SPECIAL]};
    return cli_each_line_of(args, &j.model, tokenize, &j);
}

int cli_detokenize(const cli_args *args) {
    job j = {.special = args->given[F_SKIP_SPECIAL]};
    return cli_each_line_of(args, &j.model, detokenize, &j);
}
