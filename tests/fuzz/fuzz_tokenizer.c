/* fuzz_tokenizer.c - hostile tokenizer files, patterns and texts.
 *
 * The first byte selects the target. '{': the input is a tokenizer.json. 'r': a regex
 * up to a newline, then a text to split by it. Anything else: a text for the tiny
 * tokenizer; decoding its ids must give the text back, whole or streamed. */
#define _GNU_SOURCE /* memmem */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/detok.h"
#include "text/pretokenize.h"
#include "tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool true_thing) {
    if (!true_thing) abort();
}

/* Encode, then decode whole and token by token. */
static glia_buf round_trip(const glia_tokenizer *t, const char *text, size_t len) {
    glia_buf whole = {0}, pieces = {0};
    int32_t *ids;
    size_t n;
    glia_err err;
    if (glia_tokenizer_encode(t, text, len, true, &ids, &n, &err) != GLIA_OK) return whole;
    glia_tokenizer_decode(t, ids, n, true, &whole);
    glia_detok d;
    glia_detok_init(&d, t, true);
    for (size_t i = 0; i <= n; i++) {
        require(glia_buf_reserve(&pieces, glia_detok_room(t)));
        char *at = pieces.data + pieces.len;
        pieces.len += i < n ? glia_detok_push(&d, ids[i], at) : glia_detok_finish(&d, at);
    }
    require(pieces.len == whole.len && memcmp(pieces.data, whole.data, whole.len) == 0);
    require(glia_utf8_check(whole.data, whole.len) == whole.len);
    glia_buf_free(&pieces);
    free(ids);
    return whole;
}

static void fuzz_file(const char *text, size_t len) {
    static const char sample[] = "The 12 quick\n\n  foxes' caf\xc3\xa9 <s> e\xcc\x81 \xe4\xb8\xad";
    glia_tokenizer *t;
    glia_err err;
    if (glia_tokenizer_parse(&t, text, len, "fuzz", &err) != GLIA_OK) return;
    glia_buf out = round_trip(t, sample, strlen(sample));
    glia_buf_free(&out);
    glia_tokenizer_free(t);
}

static glia_status count(void *user, const char *word, size_t len, glia_err *err) {
    (void)err;
    require(len > 0 && glia_utf8_check(word, len) == len);
    *(size_t *)user += len;
    return GLIA_OK;
}

static void fuzz_regex(const char *pattern, size_t len) {
    const char *end = memchr(pattern, '\n', len);
    if (!end) return;
    const char *text = end + 1;
    const size_t text_len = len - (size_t)(text - pattern);
    if (text_len > 200 || glia_utf8_check(text, text_len) != text_len || glia_utf8_check(pattern, len) != len)
        return;
    glia_err err;
    for (int behavior = GLIA_SPLIT_REMOVED; behavior <= GLIA_SPLIT_CONTIGUOUS; behavior++) {
        glia_pretokenizer p = {.n = 1};
        p.step[0].behavior = (glia_split_behavior)behavior;
        if (glia_regex_compile(&p.step[0].regex, pattern, (size_t)(end - pattern), false, "fuzz", &err) !=
            GLIA_OK)
            return;
        glia_matcher *m = glia_matcher_new();
        size_t bytes = 0;
        const glia_status status = glia_pretokenize(&p, m, text, text_len, count, &bytes, &err);
        require(status != GLIA_OK ||
                (behavior == GLIA_SPLIT_REMOVED ? bytes <= text_len : bytes == text_len));
        glia_matcher_free(m);
        glia_pretokenizer_free(&p);
        if (status != GLIA_OK) return; /* the regex reached a limit; searching again would take as long */
    }
}

static void fuzz_text(const char *text, size_t len) {
    static glia_tokenizer *t;
    if (!t) {
        glia_err err;
        char *json = tiny_tokenizer();
        require(glia_tokenizer_parse(&t, json, strlen(json), "tiny", &err) == GLIA_OK);
        free(json);
    }
    glia_buf out = round_trip(t, text, len), normal = {0};
    if (glia_utf8_check(text, len) == len && !memmem(text, len, "<s>", 3)) {
        glia_normalize(&normal, text, len, GLIA_NFC);
        require(out.len == normal.len && (out.len == 0 || memcmp(out.data, normal.data, out.len) == 0));
    }
    glia_buf_free(&normal);
    glia_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    if (size > 0 && *text == '{')
        fuzz_file(text, size);
    else if (size > 0 && *text == 'r')
        fuzz_regex(text + 1, size - 1);
    else
        fuzz_text(text, size);
    return 0;
}
