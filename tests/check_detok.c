/* check_detok.c - streaming ids to text: no character is lost or split. */
#include "check.h"
#include "tiny_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/detok.h"

static glia_tokenizer *tiny(void) {
    glia_err err;
    glia_tokenizer *t;
    char *text = tiny_tokenizer();
    if (glia_tokenizer_parse(&t, text, strlen(text), "tiny", &err) != GLIA_OK) fail_msg("%s", err.msg);
    free(text);
    return t;
}

/* The examples of Unicode 3.9, tables 3-8 to 3-11, and texts that end inside a character. */
static void test_replacement(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } rows[] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\x41"},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\x41"},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "\ufffd\ufffd\ufffd\ufffd\ufffd\x41\ufffd\ufffd\x42"},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\ufffd\ufffd\ufffd\ufffd\x41"},
        {"\xe4\xb8", "\ufffd"},
        {"\xf0\x9f\x98", "\ufffd"},
        {"\xf0\x9f\x98\x80\xf0", "\U0001f600\ufffd"},
        {"", ""},
    };
    glia_tokenizer *t = tiny();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int32_t ids[16];
        const size_t n = strlen(rows[i].bytes);
        glia_buf out = {0};
        for (size_t k = 0; k < n; k++) ids[k] = (unsigned char)rows[i].bytes[k];
        glia_tokenizer_decode(t, ids, n, false, &out);
        CHECK(strcmp(out.data, rows[i].text) == 0, "row %zu: \"%s\"", i, out.data);
        glia_buf_free(&out);
    }
    glia_tokenizer_free(t);
}

/* Random bytes and characters as ids, cut anywhere: each piece is valid UTF-8, the
 * joined pieces equal the whole decoding, and no piece allocates. */
static void test_any_cut(void **state) {
    (void)state;
    glia_tokenizer *t = tiny();
    const size_t room = glia_detok_room(t);
    char *piece = check_guarded(room);
    for (int round = 0; round < 20000; round++) {
        int32_t ids[40];
        size_t n = 0;
        while (n < 30) {
            char c[4];
            const uint32_t kind = check_u32() % 8, any = check_u32();
            const size_t len = glia_utf8_put(c, kind < 4 ? 0x1f600 + any % 64 : 0x4e00 + any % 64);
            for (size_t k = 0; k < len && kind < 6; k++)
                if (check_u32() % 16) ids[n++] = (unsigned char)c[k];
            if (kind >= 6) ids[n++] = (int32_t)(any % 264) - 2; /* some ids have no token */
        }
        const bool skip = check_u32() % 2;
        glia_buf whole = {0}, pieces = {0};
        glia_tokenizer_decode(t, ids, n, skip, &whole);
        assert_true(glia_buf_reserve(&pieces, n * room));
        glia_detok d;
        glia_detok_init(&d, t, skip);
        for (size_t i = 0; i <= n; i++) {
            glia_guard_enter();
            const size_t len = i < n ? glia_detok_push(&d, ids[i], piece) : glia_detok_finish(&d, piece);
            glia_guard_leave();
            CHECK(len <= room && glia_utf8_check(piece, len) == len, "round %d: half a character", round);
            glia_buf_add(&pieces, piece, len);
        }
        CHECK(pieces.len == whole.len && memcmp(pieces.data, whole.data, whole.len) == 0,
              "round %d: \"%s\", \"%s\"", round, pieces.data, whole.data);
        glia_buf_free(&whole);
        glia_buf_free(&pieces);
    }
    check_guarded_free(piece, room);
    glia_tokenizer_free(t);
}

static void test_worst_room(void **state) {
    (void)state;
    glia_tokenizer *t = tiny();
    char out[64];
    glia_detok d;
    glia_detok_init(&d, t, false);
    assert_int_equal(glia_detok_push_bytes(&d, "\xf0\x9f\x98", 3, out), 0);
    assert_int_equal(glia_detok_push_bytes(&d, "\xff\xff\xff", 3, out), 12); /* 3 * 3 + 3 */
    assert_int_equal(glia_detok_finish(&d, out), 0);
    assert_int_equal(glia_tokenizer_longest(t), 3);
    assert_int_equal(glia_detok_room(t), 12);
    glia_tokenizer_free(t);
}

static void test_lookups(void **state) {
    (void)state;
    glia_tokenizer *t = tiny();
    size_t len;
    assert_int_equal(glia_tokenizer_vocab_size(t), 260);
    assert_int_equal(glia_tokenizer_id(t, "<s>"), 259);
    assert_int_equal(glia_tokenizer_id(t, " a"), 258);
    assert_int_equal(glia_tokenizer_id(t, "nothing"), -1);
    assert_true(glia_tokenizer_is_special(t, 259) && !glia_tokenizer_is_special(t, 258));
    assert_false(glia_tokenizer_is_special(t, -1) || glia_tokenizer_is_special(t, 260));
    assert_memory_equal(glia_tokenizer_bytes(t, 258, &len), " a", 2);
    assert_int_equal(len, 2);
    assert_null(glia_tokenizer_bytes(t, 260, &len));
    assert_null(glia_tokenizer_bytes(t, -1, &len));
    glia_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_any_cut),
        cmocka_unit_test(test_worst_room),
        cmocka_unit_test(test_lookups),
    };
    return check_run_group("detok", tests);
}
