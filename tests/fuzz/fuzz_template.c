/* fuzz_template.c - any bytes as a template for a fixed conversation, and as a
 * streamed answer: no crash, no hang, no leak, no limit exceeded. */
#include <stdlib.h>
#include <string.h>

#include "text/parse.h"
#include "jinja/template.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const char context_json[] = "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \\u00e9\"}, "
                                   "{\"role\": \"user\", \"content\": \"<b>1 2</b>\\n\"},"
                                   " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": "
                                   "[{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1.5}}}]}],"
                                   " \"tools\": [{\"name\": \"f\", \"parameters\": {}}], \"n\": [3, 1, 2], "
                                   "\"s\": \"a,b c\", \"d\": {\"k\": 1, \"j\": [true]},"
                                   " \"i\": -7, \"f\": 2.5, \"none\": null, \"add_generation_prompt\": true}";

static volatile unsigned sum;

static void add_piece(void *user, glia_piece piece, const char *text, size_t len) {
    (void)piece;
    if (len == 0) abort();
    size_t *total = user;
    for (size_t i = 0; i < len; i++) sum += (unsigned char)text[i]; /* reads every byte */
    *total += len;
}

static void fuzz_parse(const unsigned char *data, size_t size) {
    glia_parse p;
    size_t total = 0;
    glia_parse_init(&p, size & 1);
    for (size_t at = 0, step; at < size; at += step) {
        step = 1 + data[at] % 7;
        if (step > size - at) step = size - at;
        glia_parse_push(&p, (const char *)data + at, step, add_piece, &total);
    }
    glia_parse_end(&p, add_piece, &total);
    if (total > size) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static json_t *context;
    const glia_template_options options = {
        .now = "2025-07-08T12:00:00", .max_steps = 50000, .max_memory = 4 << 20, .max_output = 1 << 20};
    glia_template *t;
    glia_err err;
    glia_buf out = {0};
    if (!context) context = json_loads(context_json, 0, NULL);
    if (!context) abort();
    if (glia_template_compile(&t, (const char *)data, size, &err) == GLIA_OK) {
        if (glia_template_render(t, context, &options, &out, &err) != GLIA_OK && err.msg[0] == '\0') abort();
        if (out.len > options.max_output) abort();
    }
    glia_template_free(t);
    glia_buf_free(&out);
    fuzz_parse(data, size);
    return 0;
}
