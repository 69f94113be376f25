/* check_output.c - stop strings, held-back text and thinking, wherever tokens cut the text. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "engine/output.h"

typedef struct {
    glia_buf content, thinking;
} shown;

static void collect(void *user, glia_piece piece, const char *text, size_t len) {
    shown *s = user;
    assert_true(len > 0);
    glia_buf_add(piece == GLIA_PIECE_THINKING ? &s->thinking : &s->content, text, len);
}

/* One token per byte, so that a text can be cut anywhere. */
static const char vocabulary[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
    "\"use_regex\":false},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
    "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
    "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{%s},\"merges\":[%s]}}";

static glia_tokenizer *tokenizer;

/* GPT-2's spelling of bytes: a printable byte is itself, the others follow from U+0100 on. */
static void spell(glia_buf *b, int byte, int *next) {
    const bool plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    const int c = plain ? byte : 256 + (*next)++;
    if (c == '"' || c == '\\') glia_buf_putc(b, '\\');
    if (c >= 128) glia_buf_putc(b, (char)(0xc0 | c >> 6));
    glia_buf_putc(b, (char)(c >= 128 ? 0x80 | (c & 0x3f) : c));
}

static void make_tokenizer(void) {
    glia_buf vocab = {0}, json = {0};
    int next = 0;
    for (int i = 0; i < 256; i++) {
        glia_buf_puts(&vocab, i ? ",\"" : "\"");
        spell(&vocab, i, &next);
        glia_buf_printf(&vocab, "\":%d", i);
    }
    glia_buf_puts(&vocab, ",\"en\":256,\"op\":257"); /* two merges, for tokens of two bytes */
    glia_buf_printf(&json, vocabulary, vocab.data, "[\"e\",\"n\"],[\"o\",\"p\"]");
    glia_err err = {0};
    if (glia_tokenizer_parse(&tokenizer, json.data, json.len, "test", &err)) fail_msg("%s", err.msg);
    glia_buf_free(&vocab);
    glia_buf_free(&json);
}

typedef struct {
    const char *text, *stop[4];
    bool include, raw;
    const char *content, *thinking, *stopped_by;
} row;

static const row rows[] = {
    {"plain text", {NULL}, false, false, "plain text", "", NULL},
    {"an end and more", {"end"}, false, false, "an ", "", "end"},
    {"an end and more", {"end"}, true, false, "an end", "", "end"},
    {"an en", {"end"}, false, false, "an en", "", NULL}, /* text held back is emitted at the end */
    {"aab", {"ab"}, false, false, "a", "", "ab"},
    {"ababac.", {"abac"}, false, false, "ab", "", "abac"},
    {"xyz", {"yz", "xyz"}, false, false, "", "", "xyz"},        /* both end here: the longest wins */
    {"one two", {"two", "e t"}, false, false, "on", "", "e t"}, /* the first to end wins */
    {"stop", {"stopped", "st", "to"}, false, false, "", "", "st"},
    {"caf\xc3\xa9 \xf0\x9f\x98\x80!", {"\xc3\xa9 "}, false, false, "caf", "", "\xc3\xa9 "},
    {"\xc3\xa8 \xc3\xa9", {"\xc3\xa9"}, false, false, "\xc3\xa8 ", "", "\xc3\xa9"},
    {"<think>\nwhy\n</think>\n\nso", {NULL}, false, false, "so", "why", NULL},
    {"<think>\nwhy\n</think>\n\nso", {NULL}, false, true, "<think>\nwhy\n</think>\n\nso", "", NULL},
    {"<think>\nwhy not\n</think>\n\nso", {"not"}, false, false, "", "why ", "not"},
    {"<think>open", {NULL}, false, false, "", "open", NULL},
};

/* Push ids until a stop string ends the output; else flush after the last id. */
static void push_all(glia_output *o, const int32_t *ids, size_t n, shown *s) {
    for (size_t i = 0; i < n; i++)
        if (glia_output_push(o, ids[i], true, i + 1 == n, collect, s)) return;
}

static void check_row(const row *r, const int32_t *ids, size_t n, const char *how) {
    shown s = {0};
    glia_output o = {.stop = r->stop, .include_stop = r->include, .raw = r->raw};
    while (o.n_stop < 4 && r->stop[o.n_stop]) o.n_stop++;
    const size_t room = glia_output_room(tokenizer, o.stop, o.n_stop);
    o.text = check_guarded(room);
    glia_output_begin(&o, tokenizer, false);
    push_all(&o, ids, n, &s);
    glia_buf_puts(&s.content, "");
    glia_buf_puts(&s.thinking, "");
    CHECK(!strcmp(s.content.data, r->content), "%s, %s: content \"%s\"", r->text, how, s.content.data);
    CHECK(!strcmp(s.thinking.data, r->thinking), "%s, %s: thinking \"%s\"", r->text, how, s.thinking.data);
    CHECK((o.stopped_by == NULL) == (r->stopped_by == NULL) &&
              (!o.stopped_by || !strcmp(o.stopped_by, r->stopped_by)),
          "%s, %s: stopped by %s", r->text, how, o.stopped_by ? o.stopped_by : "nothing");
    glia_buf_free(&s.content);
    glia_buf_free(&s.thinking);
    check_guarded_free(o.text, room);
}

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int32_t *merged, bytes[64];
        size_t n;
        const size_t len = strlen(rows[i].text);
        for (size_t k = 0; k < len; k++) bytes[k] = (unsigned char)rows[i].text[k];
        check_row(&rows[i], bytes, len, "by bytes");
        assert_int_equal(glia_tokenizer_encode(tokenizer, rows[i].text, len, false, &merged, &n, NULL), 0);
        check_row(&rows[i], merged, n, "by tokens");
        free(merged);
    }
}

/* A stop string that ends before min_tokens is text. One that ends after min_tokens
 * stops the output, even if it began before. */
static void test_too_early(void **state) {
    (void)state;
    static const char *const stop[] = {"ab"};
    static const struct {
        const char *text;
        int from; /* the first byte at which a stop may end */
        const char *content;
    } cases[] = {{"abxab", 3, "abx"}, {"abab", 2, "ab"}, {"xab", 2, "x"}, {"abx", 2, "abx"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        shown s = {0};
        glia_output o = {.stop = stop, .n_stop = 1, .text = text};
        glia_output_begin(&o, tokenizer, false);
        const int n = (int)strlen(cases[i].text);
        for (int k = 0; k < n && !o.stopped_by; k++)
            glia_output_push(&o, cases[i].text[k], k >= cases[i].from, k + 1 == n, collect, &s);
        assert_string_equal(s.content.data, cases[i].content);
        glia_buf_free(&s.content);
    }
}

/* Text is held back only if a stop string can begin with it. */
static void test_no_delay(void **state) {
    (void)state;
    static const char *const stop[] = {"\n\nUser:"};
    char text[64];
    shown s = {0};
    glia_output o = {.stop = stop, .n_stop = 1, .text = text, .raw = true};
    glia_output_begin(&o, tokenizer, false);
    const char *said = "a\nb\n\nUs\n\nUse";
    static const size_t seen[] = {1, 1, 3, 3, 3, 3, 3, 7, 7, 7, 7, 7};
    for (size_t i = 0; said[i]; i++) {
        glia_output_push(&o, said[i], true, false, collect, &s);
        CHECK(s.content.len == seen[i], "after byte %zu %zu bytes are seen, want %zu", i, s.content.len,
              seen[i]);
    }
    glia_output_push(&o, -1, true, true, collect, &s);
    assert_string_equal(s.content.data, said);
    glia_buf_free(&s.content);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_too_early),
        cmocka_unit_test(test_no_delay),
    };
    make_tokenizer();
    const int status = check_run_group("output", tests);
    glia_tokenizer_free(tokenizer);
    return status;
}
