/* check_regex.c - Oniguruma patterns in PCRE2: translations, refusals, limits, long texts. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "text/pretokenize.h"
#include "text/regex.h"

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define ALONE WORD "\\xb2\\xb3\\xb9\\xbc-\\xbe"

static const struct {
    const char *pattern, *pcre2;
} translations[] = {
    {"abc|d.f", "abc|d.f"},
    {"\\s\\S[\\s\\S]", "\\p{White_Space}\\P{White_Space}[\\p{White_Space}\\P{White_Space}]"},
    {"\\w\\W[\\w]", "[" ALONE "][^" ALONE "][" WORD "]"},
    {"\\d\\D", "\\p{Nd}\\P{Nd}"},
    {"\\b", "(?:(?<=[" ALONE "])(?![" ALONE "])|(?<![" ALONE "])(?=[" ALONE "]))"},
    {"\\B", "(?:(?<=[" ALONE "])(?=[" ALONE "])|(?<![" ALONE "])(?![" ALONE "]))"},
    {"\\p{L}\\p{^Lu}\\P{N}\\P{^N}\\p{Han}", "\\p{L}\\P{Lu}\\P{N}\\p{N}\\p{sc:Han}"},
    {"\\x41\\x{4e2d}\\u00e9\\v\\t", "\\x{41}\\x{4e2d}\\x{e9}\\x{b}\\t"},
    {"a{2}b{2,}c{2,3}?d*+e+?f??", "a{2}b{2,}c{2,3}?d*+e+?f??"},
    {"(a)(?:b)(?i:c)(?=d)(?!e)(?<=f)(?<!g)(?>h)", "(?:a)(?:b)(?i:c)(?=d)(?!e)(?<=f)(?<!g)(?>h)"},
    {"(?i)ab", "(?i)ab"},
    {"(?i:s)s", "(?i:s)s"},
    {"[^\\r\\n a-z\\-\\]]\\.", "[^\\r\\n a-z\\-\\]]\\."},
};

static void test_translations(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof translations / sizeof *translations; i++) {
        glia_buf out = {0};
        glia_err err = {0};
        glia_regex *r;
        const char *pattern = translations[i].pattern;
        const glia_status status = glia_regex_translate(&out, pattern, strlen(pattern), "t", &err);
        CHECK(status == GLIA_OK && strcmp(out.data, translations[i].pcre2) == 0, "%s: %s, %s", pattern,
              out.data, err.msg);
        CHECK(glia_regex_compile(&r, pattern, strlen(pattern), false, "t", &err) == GLIA_OK, "%s", err.msg);
        glia_regex_free(r);
        glia_buf_free(&out);
    }
}

static const struct {
    const char *pattern;
    glia_status status;
    const char *words;
} refusals[] = {
    {"a\\", GLIA_ERR_FORMAT, "t: byte 2 of the regex: a lone \\ ends the regex"},
    {"[a", GLIA_ERR_FORMAT, "byte 2 of the regex: [ without ]"},
    {"\\p{L", GLIA_ERR_FORMAT, "\\p{ without }"},
    {"\\pL", GLIA_ERR_FORMAT, "\\p without {"},
    {"\\p{}", GLIA_ERR_FORMAT, "\\p{} without a name"},
    {"\\x4", GLIA_ERR_FORMAT, "a character number is cut short"},
    {"\\x{110000}", GLIA_ERR_FORMAT, "no such character"},
    {"\\ud800", GLIA_ERR_FORMAT, "no such character"},
    {"(a", GLIA_ERR_FORMAT,
     "t: PCRE2 refuses the translated regex \"(?:a\" at byte 4: missing closing parenthesis"},
    {"a)", GLIA_ERR_FORMAT, "unmatched closing parenthesis"},
    {"*a", GLIA_ERR_FORMAT, "quantifier does not follow a repeatable item"},
    {"[b-a]", GLIA_ERR_FORMAT, "range out of order"},
    {"(?<=a+)b", GLIA_ERR_FORMAT, "lookbehind assertion is not fixed length"},
    {"\\p{Klingon}", GLIA_ERR_FORMAT, "unknown property"},
    {"\\p{L&}", GLIA_ERR_UNSUPPORTED, "this property name is not supported"},
    {"\\p{Cn}", GLIA_ERR_UNSUPPORTED, "a category that holds unassigned characters"},
    {"\\xe9", GLIA_ERR_UNSUPPORTED, "byte 0 of the regex: a byte that is no character"},
    {"\\h", GLIA_ERR_UNSUPPORTED, "byte 0 of the regex: the escape \\h is not supported"},
    {"a\\1", GLIA_ERR_UNSUPPORTED, "byte 1 of the regex: the escape \\1 is not supported"},
    {"[\\W]", GLIA_ERR_UNSUPPORTED, "the escape \\W is not supported"},
    {"\\\xc3\xa9", GLIA_ERR_UNSUPPORTED, "this escape is not supported"},
    {"[a[b]]", GLIA_ERR_UNSUPPORTED, "byte 2 of the regex: a set within a set"},
    {"[[:alpha:]]", GLIA_ERR_UNSUPPORTED, "a set within a set"},
    {"[a&&b]", GLIA_ERR_UNSUPPORTED, "an intersection of sets"},
    {"[]a]", GLIA_ERR_UNSUPPORTED, "] as the first of a set"},
    {"(?m:a)", GLIA_ERR_UNSUPPORTED, "this kind of group"},
    {"(?<n>a)", GLIA_ERR_UNSUPPORTED, "this kind of group"},
    {"a(?i)b", GLIA_ERR_UNSUPPORTED, "this kind of group"},
    {"(*UTF)", GLIA_ERR_UNSUPPORTED, "(* is not supported"},
    {"a{,2}", GLIA_ERR_UNSUPPORTED, "a { that does not begin {n}, {n,} or {n,m}"},
    {"a{2,x}", GLIA_ERR_UNSUPPORTED, "a { that does not begin"},
    {"a{2}+", GLIA_ERR_UNSUPPORTED, "a repeat of a repeat"},
    {"a{2}?", GLIA_ERR_UNSUPPORTED, "a repeat of a repeat"},
    {"a+*", GLIA_ERR_UNSUPPORTED, "a repeat of a repeat"},
    {"a{2}{3}", GLIA_ERR_UNSUPPORTED, "a repeat of a repeat"},
    {"(?i:straSSe)", GLIA_ERR_UNSUPPORTED, "(?i) with ss, st, ff, fi or fl, which one character can match"},
    {"(?i)\xc3\xa9", GLIA_ERR_UNSUPPORTED, "(?i) with a character beyond ASCII"},
    {"(?i:[\xc3\xa9])", GLIA_ERR_UNSUPPORTED, "(?i) with a character beyond ASCII"},
    {"(?i:\\x{e9})", GLIA_ERR_UNSUPPORTED, "(?i) with a character beyond ASCII"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        glia_err err = {0};
        glia_regex *r;
        const char *pattern = refusals[i].pattern;
        const glia_status status = glia_regex_compile(&r, pattern, strlen(pattern), false, "t", &err);
        CHECK(status == refusals[i].status && strstr(err.msg, refusals[i].words) && !r, "%s: %d, %s", pattern,
              status, err.msg);
        glia_regex_free(r);
    }
    char deep[200];
    glia_err err;
    glia_regex *r;
    memset(deep, '(', 100);
    assert_int_equal(glia_regex_compile(&r, deep, 100, false, "t", &err), GLIA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "byte 64 of the regex: such deep nesting"));
}

/* ---- limits ---------------------------------------------------------------- */

typedef struct {
    size_t words, bytes;
} tally;

static glia_status count(void *user, const char *word, size_t len, glia_err *err) {
    (void)word, (void)err;
    tally *t = user;
    t->words++;
    t->bytes += len;
    return GLIA_OK;
}

static glia_status run(const char *pattern, const char *text, size_t len, tally *t, glia_err *err) {
    glia_pretokenizer p = {.n = 1};
    p.step[0].behavior = GLIA_SPLIT_ISOLATED;
    if (glia_regex_compile(&p.step[0].regex, pattern, strlen(pattern), false, "t", err) != GLIA_OK)
        fail_msg("%s", err->msg);
    glia_matcher *m = glia_matcher_new();
    *t = (tally){0};
    const glia_status status = glia_pretokenize(&p, m, text, len, count, t, err);
    glia_matcher_free(m);
    glia_pretokenizer_free(&p);
    return status;
}

static const char qwen[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                           " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Four megabytes of one repeated unit: the time is linear, and no byte is lost. */
static void test_long_runs(void **state) {
    (void)state;
    static const struct {
        const char *unit;
        size_t words_per_megabyte; /* per million units; 0: the whole text is one word */
    } rows[] = {{" ", 0},        {"a", 0}, {"\n", 0},  {"!", 0},   {"\xe4\xb8\xad", 0},
                {"\xcc\x81", 0}, {"'", 0}, {" \n", 0}, {"\t ", 0}, {"a ", 1}};
    const size_t units = 1 << 20;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const size_t n = strlen(rows[i].unit), len = n * units;
        char *text = malloc(len + 1);
        glia_err err = {0};
        tally t;
        for (size_t k = 0; k < units; k++) memcpy(text + k * n, rows[i].unit, n);
        text[len] = 'x';
        const double start = check_seconds();
        const glia_status status = run(qwen, text, len + 1, &t, &err);
        CHECK(status == GLIA_OK && t.bytes == len + 1, "unit %zu: %s, %zu bytes", i, err.msg, t.bytes);
        CHECK(rows[i].words_per_megabyte ? t.words > units - 2 : t.words <= 3, "unit %zu: %zu words", i,
              t.words);
        CHECK(check_seconds() - start < 5, "unit %zu: %.1f s", i, check_seconds() - start);
        free(text);
    }
}

/* A pattern that needs a stack frame per character gets a larger stack. A pattern
 * with exponential backtracking is stopped. */
static void test_limits(void **state) {
    (void)state;
    const size_t len = 1 << 20;
    char *text = malloc(len);
    glia_err err = {0};
    tally t;
    memset(text, 'a', len);
    if (run("(?:a|b)*", text, len, &t, &err) != GLIA_OK) fail_msg("%s", err.msg);
    assert_int_equal(t.words, 1);
    assert_int_equal(run("(?:a+)+[0-9]", text, 64, &t, &err), GLIA_ERR_LIMIT);
    assert_non_null(
        strstr(err.msg, "byte 0 of the text: the pre-tokenizer's regex gave up: match limit exceeded"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translations),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_limits),
    };
    return check_run_group("regex", tests);
}
