/* check_unicode.c - UTF-8, character classes, normal forms. */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/unicode.h"

static bool scalar(uint32_t c) { return c < 0xd800 || (c > 0xdfff && c < 0x110000); }

static void test_utf8_round_trip(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char bytes[4], theirs[4];
        if (!scalar(c)) continue;
        const size_t n = glia_utf8_put(bytes, c);
        if (n != (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)theirs) ||
            memcmp(bytes, theirs, n) != 0 || glia_utf8_check(bytes, n) != n)
            fail_msg("U+%04X is written wrongly", (unsigned)c);
        const char *p = bytes, *end = bytes + n;
        if (glia_utf8_next(&p) != c || p != end || glia_utf8_previous(&end) != c || end != bytes)
            fail_msg("U+%04X is read wrongly", (unsigned)c);
    }
}

/* Random, mostly valid bytes, compared with utf8proc's decoder. */
static void test_utf8_check(void **state) {
    (void)state;
    static const unsigned char pool[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                         0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                         0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    for (int round = 0; round < 200000; round++) {
        char text[24];
        const size_t len = check_u32() % sizeof text;
        for (size_t i = 0; i < len; i++) text[i] = (char)pool[check_u32() % (round & 1 ? 8 : sizeof pool)];
        size_t want = 0;
        while (want < len) {
            utf8proc_int32_t c;
            const utf8proc_ssize_t n =
                utf8proc_iterate((const utf8proc_uint8_t *)text + want, (utf8proc_ssize_t)(len - want), &c);
            if (n <= 0) break;
            want += (size_t)n;
        }
        CHECK(glia_utf8_check(text, len) == want, "round %d", round);
    }
}

static void test_classes(void **state) {
    (void)state;
    int spaces = 0;
    for (uint32_t c = 0; c < 0x110000; c++) spaces += glia_is_space(c);
    assert_int_equal(spaces, 25);
    const uint32_t words[] = {'a', '_', '7', 0xe9, 0x301, 0x200d, 0x24b6, 0x4e2d, 0x2160, 0x10d41, 0x1c89};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_true(glia_is_word(words[i]));
    const uint32_t others[] = {' ', '-', 0xb2, 0x2460, 0x1f600, 0xa0, 0x3001};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(glia_is_word(others[i]));
}

static void test_stand_ins(void **state) {
    (void)state;
    char text[] = "a\xf0\xb2\x8e\xad\xe1\xb2\x89z"; /* U+323AD, U+1C89 */
    assert_int_equal(glia_unicode_find_newer(text, strlen(text), 0), 1);
    assert_int_equal(glia_unicode_find_newer(text, strlen(text), 2 + 3), 5);
    glia_unicode_put_stand_ins(text, strlen(text));
    assert_string_equal(text, "a\xf0\xa0\x80\x80\xe1\x82\xa0z"); /* U+20000, U+10A0 */
    assert_int_equal(glia_unicode_find_newer(text, strlen(text), 0), strlen(text));
    for (uint32_t c = 0; c < 0x110000; c++) {
        char a[4], b[4];
        if (scalar(c)) assert_int_equal(glia_utf8_put(a, c), glia_utf8_put(b, glia_unicode_stand_in(c)));
    }
}

/* ---- normal forms, against utf8proc_map ------------------------------------ */

static const int flags[] = {UTF8PROC_COMPOSE | UTF8PROC_STABLE, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE,
                            UTF8PROC_COMPOSE | UTF8PROC_STABLE | UTF8PROC_COMPAT,
                            UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | UTF8PROC_COMPAT};

/* Has the text a character with a normal form that tokenizers does not know? */
static bool has_newer(const char *text, size_t len) {
    for (const char *p = text; p < text + len;)
        if (glia_is_alone(glia_utf8_next(&p))) return true;
    return false;
}

static void check_forms(const char *text, size_t len) {
    if (has_newer(text, len)) return;
    for (int form = GLIA_NFC; form <= GLIA_NFKD; form++) {
        glia_buf out = {0};
        utf8proc_uint8_t *want = NULL;
        const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &want,
                                                (utf8proc_option_t)flags[form]);
        assert_true(n >= 0);
        glia_normalize(&out, text, len, (glia_normal_form)form);
        CHECK(!out.oom && out.len == (size_t)n && (n == 0 || memcmp(out.data, want, out.len) == 0),
              "form %d of \"%.*s\": \"%s\" is not \"%s\"", form, (int)len, text, out.data, want);
        CHECK(!glia_is_normalized(text, len, (glia_normal_form)form) ||
                  (out.len == len && (len == 0 || memcmp(out.data, text, len) == 0)),
              "form %d: \"%.*s\" is not normal", form, (int)len, text);
        free(want);
        glia_buf_free(&out);
    }
}

/* A random character, usually one that normalization changes. */
static uint32_t draw(void) {
    static const uint32_t from[] = {0x20,   0xa0,   0x300,  0x340,   0x900,   0xe30,  0x1100,
                                    0x1161, 0x11a7, 0x1e00, 0x2000,  0x2100,  0x3040, 0x3099,
                                    0xac00, 0xf900, 0xfb00, 0x1d15e, 0x2f800, 0x11130};
    const uint32_t c = from[check_u32() % (sizeof from / sizeof *from)] + check_u32() % 64;
    if (check_u32() % 8) return c;
    const uint32_t any = check_u32() % 0x110000;
    return scalar(any) ? any : c;
}

static void test_forms(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char one[4];
        if (scalar(c)) check_forms(one, glia_utf8_put(one, c));
    }
    for (int round = 0; round < 100000; round++) {
        char text[64];
        size_t len = 0;
        for (uint32_t n = check_u32() % 12; n > 0; n--) len += glia_utf8_put(text + len, draw());
        check_forms(text, len);
    }
}

/* What normalizers.NFC() and .NFKD() of tokenizers 0.23.3 give: characters newer than Unicode 9 are left
 * alone, and so is U+11A7 after a syllable. */
static void test_newer_forms(void **state) {
    (void)state;
    static const struct {
        const char *text;
        glia_normal_form form;
        const char *want;
    } rows[] = {
        {"\xec\x9d\x98\xe1\x86\xa7", GLIA_NFC, "\xec\x9d\x98\xe1\x86\xa7"}, /* U+C758 U+11A7 */
        {"\xec\x9d\x98\xe1\x86\xa8", GLIA_NFC, "\xec\x9d\x99"},             /* U+C758 U+11A8 */
        {"\xcd\x85\xf0\x90\xbd\x8c", GLIA_NFC, "\xcd\x85\xf0\x90\xbd\x8c"}, /* U+0345 U+10F4C */
        {"e\xe0\xba\xba\xcc\x81", GLIA_NFC, "e\xe0\xba\xba\xcc\x81"},       /* e U+0EBA U+0301 */
        {"\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0", GLIA_NFC, "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0"},
        {"\xf0\x9f\xaf\xb9", GLIA_NFKD, "\xf0\x9f\xaf\xb9"}, /* U+1FBF9 */
        {"\xf0\x9e\x80\xb0", GLIA_NFKD, "\xf0\x9e\x80\xb0"}, /* U+1E030 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_buf out = {0};
        glia_normalize(&out, rows[i].text, strlen(rows[i].text), rows[i].form);
        CHECK(strcmp(out.data, rows[i].want) == 0, "row %zu: \"%s\"", i, out.data);
        glia_buf_free(&out);
    }
}

/* A megabyte of unsorted combining marks: the time must not be quadratic. */
static void test_hostile_marks(void **state) {
    (void)state;
    const size_t n = 500000;
    char *text = malloc(2 * n + 1);
    text[0] = 'a';
    for (size_t i = 0; i < n; i++) memcpy(text + 1 + 2 * i, i < n / 2 ? "\xcc\x81" : "\xcc\xa3", 2);
    glia_buf out = {0};
    const double start = check_seconds();
    glia_normalize(&out, text, 2 * n + 1, GLIA_NFC);
    CHECK(check_seconds() - start < 2, "%.1f s", check_seconds() - start);
    CHECK(memcmp(out.data, "\xe1\xba\xa1", 3) == 0 && out.len == 3 + 2 * (n - 1), "%zu bytes", out.len);
    glia_buf_free(&out);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_round_trip), cmocka_unit_test(test_utf8_check),
        cmocka_unit_test(test_classes),         cmocka_unit_test(test_stand_ins),
        cmocka_unit_test(test_forms),           cmocka_unit_test(test_hostile_marks),
        cmocka_unit_test(test_newer_forms),
    };
    return check_run_group("unicode", tests);
}
