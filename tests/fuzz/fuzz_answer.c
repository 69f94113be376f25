/* fuzz_answer.c - any bytes as an answer of a model. The first byte has the options. The parts must not
 * depend on how the answer is cut. */
#include <glia.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(bool true_thing) {
    if (!true_thing) abort();
}

typedef struct {
    glia_buf of[GLIA_PART_ARGUMENTS + 1];
} parts;

static void add_part(void *user, glia_part part, const char *text, size_t len) {
    parts *r = user;
    require(len > 0);
    glia_buf_add(&r->of[part], text, len);
    if (part >= GLIA_PART_CALL) glia_buf_putc(&r->of[part], '\1');
}

static parts parse(const char *text, size_t n, unsigned flags, size_t step) {
    static const char name[] = "f";
    const glia_parser_options o = {.opened = flags & 1,
                                   .may_lack_think = flags & 2,
                                   .tools = (glia_tools)(flags >> 2 & 3),
                                   .name = name};
    glia_parser *p;
    parts r = {0};
    require(glia_parser_create(&p, &o, add_part, &r, NULL) == GLIA_OK);
    for (size_t i = 0; i < n; i += step)
        require(glia_parser_push(p, text + i, step < n - i ? step : n - i, NULL) == GLIA_OK);
    require(glia_parser_end(p, flags & 16, NULL) == GLIA_OK);
    glia_parser_free(p);
    return r;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    if (size < 2) return 0;
    const char *text = (const char *)data + 1;
    parts whole = parse(text, size - 1, data[0], size);
    size_t content = whole.of[GLIA_PART_CONTENT].len + whole.of[GLIA_PART_REASONING].len;
    require(content < size);
    for (size_t step = 1; step < 4; step++) {
        parts cut = parse(text, size - 1, data[0], step);
        for (int i = 0; i <= GLIA_PART_ARGUMENTS; i++) {
            require(cut.of[i].len == whole.of[i].len);
            require(cut.of[i].len == 0 || memcmp(cut.of[i].data, whole.of[i].data, cut.of[i].len) == 0);
            glia_buf_free(&cut.of[i]);
        }
    }
    for (int i = 0; i <= GLIA_PART_ARGUMENTS; i++) glia_buf_free(&whole.of[i]);
    return 0;
}
