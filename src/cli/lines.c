/* lines.c - see lines.h. */
#include "cli/lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/common.h"

void cli_put_ids(glia_buf *out, const int32_t *ids, size_t n) {
    glia_buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        char digits[16];
        char *at = digits + sizeof digits;
        uint32_t value = (uint32_t)ids[i];
        do *--at = (char)('0' + value % 10);
        while ((value /= 10) != 0);
        if (i) glia_buf_add(out, ", ", 2);
        glia_buf_add(out, at, (size_t)(digits + sizeof digits - at));
    }
    glia_buf_putc(out, ']');
}

glia_status cli_put_string(glia_buf *out, const char *text, size_t len, glia_err *err) {
    json_t *string = json_stringn(text, len);
    if (!string) return glia_fail(err, GLIA_ERR_FORMAT, "the text of %zu bytes is not UTF-8", len);
    char *dumped = json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    if (!dumped) return glia_fail_nomem(err, len, "a JSON string");
    glia_buf_puts(out, dumped);
    free(dumped);
    return GLIA_OK;
}

json_t *cli_line_json(const char *line, size_t len, glia_err *err) {
    json_error_t why;
    json_t *value = json_loadb(line, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!value) glia_fail(err, GLIA_ERR_FORMAT, "not JSON: %s, byte %d", why.text, why.position);
    return value;
}

/* Returns whether the line did not fail. */
static bool answer(char *line, size_t len, cli_line_fn *fn, void *user, glia_buf *out) {
    glia_err err = {0};
    const size_t before = out->len;
    line[len] = '\0';
    const glia_status status = fn(user, line, len, out, &err);
    if (status && !out->oom) {
        json_t *object = json_pack("{s:s}", "error", err.msg);
        char *dumped = object ? json_dumps(object, 0) : NULL;
        out->len = before;
        glia_buf_puts(out, dumped ? dumped : "{\"error\": \"the message is not UTF-8\"}");
        free(dumped);
        json_decref(object);
    }
    glia_buf_putc(out, '\n');
    return !status || status == GLIA_ERR_TEMPLATE;
}

static void flush(glia_buf *out) {
    fwrite(out->data, 1, out->len, stdout);
    fflush(stdout);
    out->len = 0;
}

int cli_each_line(cli_line_fn *fn, void *user) {
    enum { STEP = 1 << 16, ENOUGH = 1 << 20 };
    glia_buf in = {0}, out = {0};
    size_t from = 0, searched = 0;
    bool good = true;
    ssize_t got = 1;
    while (got > 0 && glia_buf_reserve(&in, STEP)) {
        if (out.len) flush(&out);
        got = read(STDIN_FILENO, in.data + in.len, STEP);
        if (got < 0 && errno == EINTR) {
            got = 1;
            continue;
        }
        if (got > 0) in.len += (size_t)got;
        for (const char *end; (end = memchr(in.data + searched, '\n', in.len - searched)) != NULL;) {
            const size_t len = (size_t)(end - in.data) - from;
            good &= answer(in.data + from, len, fn, user, &out);
            from = searched = from + len + 1;
            if (out.len > ENOUGH) flush(&out);
        }
        memmove(in.data, in.data + from, in.len - from);
        in.len -= from;
        from = 0;
        searched = in.len;
    }
    const int failed = got < 0 ? errno : 0;
    if (!failed && !in.oom && in.len > 0) good &= answer(in.data, in.len, fn, user, &out);
    const bool oom = in.oom || out.oom;
    if (out.len) flush(&out);
    glia_buf_free(&in);
    glia_buf_free(&out);
    if (oom) fputs("glia: no memory for the lines of standard input\n", stderr);
    if (failed) fprintf(stderr, "glia: standard input: %s\n", strerror(failed));
    return good && !oom && !failed ? EXIT_OK : EXIT_FAILED;
}

int cli_each_line_of(const cli_args *args, const glia_model **m, cli_line_fn *fn, void *user) {
    glia_options options;
    glia_engine_options engine;
    glia_model *model;
    cli_options(args, &options, &engine);
    int status = cli_load(&model, args, &options, true);
    if (status) return status;
    *m = model;
    status = cli_each_line(fn, user);
    glia_model_free(model);
    return status;
}
