/* check_jinja.c - the interpreter against Jinja2 (tests/golden/jinja.jsonl), its
 * limits against hostile templates, and the errors of its two functions. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/template.h"

#define NOW "2025-07-08T12:00:00"

/* Compile and render. Returns the text or the error; the caller frees it. */
static char *run(const char *source, size_t len, const json_t *context, const glia_template_options *options,
                 glia_status *status) {
    glia_template *t;
    glia_err err = {0};
    glia_buf out = {0};
    *status = glia_template_compile(&t, source, len, &err);
    if (*status == GLIA_OK) *status = glia_template_render(t, context, options, &out, &err);
    if (*status != GLIA_OK) {
        assert_int_equal(out.len, 0);
        assert_int_equal(*status, err.status);
        glia_buf_puts(&out, err.msg);
    }
    glia_template_free(t);
    char *text = glia_buf_steal(&out);
    assert_non_null(text);
    return text;
}

/* Compare with "chat template, line 3: UndefinedError: 'x' is undefined", without a
 * line if the golden has none. */
static bool same_error(const json_t *golden, const char *got) {
    char want[600];
    const json_t *line = json_object_get(golden, "line");
    snprintf(want, sizeof want, ": %s: %s", json_string_value(json_object_get(golden, "class")),
             json_string_value(json_object_get(golden, "error")));
    for (char *c = want; *c; c++) {
        if (*c == '\n') *c = ' ';
    }
    int at = 0, n = 0;
    if (sscanf(got, "chat template, line %d%n", &at, &n) != 1) return false;
    if (json_is_integer(line) && at != json_integer_value(line)) return false;
    return strcmp(got + n, want) == 0;
}

static void test_goldens(void **state) {
    (void)state;
    char *text = check_read_file("tests/golden/jinja.jsonl", NULL), *save = NULL;
    const glia_template_options options = {.now = NOW};
    json_t *context = NULL;
    int n = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_error_t where;
        json_t *golden = json_loads(line, JSON_ALLOW_NUL, &where);
        assert_non_null(golden);
        if (!context) {
            context = json_incref(json_object_get(golden, "context"));
            json_decref(golden);
            continue;
        }
        const json_t *source = json_object_get(golden, "template"),
                     *want = json_object_get(golden, "rendered");
        glia_status status;
        char *got = run(json_string_value(source), json_string_length(source), context, &options, &status);
        if (want)
            CHECK(status == GLIA_OK && strcmp(got, json_string_value(want)) == 0, "%s\n  want %s\n  got  %s",
                  json_string_value(source), json_string_value(want), got);
        else
            CHECK(status == GLIA_ERR_TEMPLATE && same_error(golden, got), "%s\n  want %s\n  got  %s",
                  json_string_value(source), json_string_value(json_object_get(golden, "error")), got);
        free(got);
        json_decref(golden);
        n++;
    }
    assert_true(n > 1000);
    json_decref(context);
    free(text);
}

static void expect(const char *source, const glia_template_options *options, glia_status want,
                   const char *words) {
    glia_status status;
    json_t *context = json_pack("{s:s, s:[i,i]}", "a", "b", "n", 1, 2);
    char *got = run(source, strlen(source), context, options, &status);
    CHECK(status == want && strstr(got, words), "%.80s: status %d, \"%.200s\"", source, status, got);
    free(got);
    json_decref(context);
}

static void test_limits(void **state) {
    (void)state;
    static const struct {
        const char *source, *words;
    } hostile[] = {
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
         "line 1: more than 500000 steps"},
        {"\n{{ 'a' * 1000000000 }}", "line 2: a sequence of 1 bytes repeated 1000000000 times"},
        {"{{ [1] * 9223372036854775807 }}", "repeated"},
        {"{{ 2 ** 100 }}", "an integer past 64 bits"},
        {"{{ 10 ** 1000000000 }}", "an integer past 64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "an integer past 64 bits"},
        {"{{ -9223372036854775807 - 2 }}", "an integer past 64 bits"},
        {"{{ 9223372036854775807 * 2 }}", "an integer past 64 bits"},
        {"{{ 9223372036854775808 }}", "an integer past 64 bits"},
        {"{{ '99999999999999999999'|int }}", "an integer past 64 bits"},
        {"{{ 1e30|int }}", "an integer past 64 bits"},
        {"{{ 'x'.center(1000000000) }}", "padded by 499999999"},
        {"{{ '%1000000000d' % 1 }}", "padded"},
        {"{{ '{:1000000000}'.format(1) }}", "padded"},
        {"{{ '%.1000000000f' % 1.5 }}", "a number of 1000000000 digits"},
        {"{{ '%.*d' % (1000000000, 1) }}", "steps"},
        {"{{ 'a\tb'.expandtabs(1000000000) }}", "padded"},
        {"{{ ('a' * 100000).replace('a', 'b' * 100000) }}", "more than 8000000 bytes of memory"},
        {"{% set x = namespace(s='a') %}{% for i in range(60) %}{% set x.s = x.s ~ x.s %}{% endfor %}",
         "memory"},
        {"{% set x = namespace(s=[1]) %}{% for i in range(60) %}{% set x.s = x.s + x.s %}{% endfor %}",
         "memory"},
        {"{{ range(100000)|map('string')|join('x' * 10000) }}", "memory"},
        {"{{ [1]|batch(1000000000, 'x')|list }}", "a batch of 1000000000 items"},
        {"{{ [1]|slice(1000000000)|list }}", "memory"},
        {"{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "more than 100000 bytes of output"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested more than 400 levels deep"},
        {"{% block b %}{{ self.b() }}{% endblock %}", "levels deep"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "levels deep"},
        {"{% set x = namespace(l=[]) %}{% for i in range(9999) %}{% set x.l = [x.l] %}{% endfor %}{{ x.l }}",
         "deep"},
        {"{% set x = namespace(l=[]) %}{% for i in range(9999) %}{% set x.l = [x.l] %}{% endfor %}{{ "
         "x.l|tojson }}",
         "deep"},
        {"{% set x = namespace(l=[]) %}{% for i in range(9999) %}{% set x.l = [x.l] %}{% endfor %}{{ x.l == "
         "[x.l] }}",
         "deep"},
        {"{% set x = namespace(l=()) %}{% for i in range(9999) %}{% set x.l = (x.l,) %}{% endfor %}{{ {x.l: "
         "1} }}",
         "deep"},
        {"{% set x = namespace(g=n) %}{% for i in range(9999) %}{% set x.g = x.g|map('upper') %}{% endfor "
         "%}{{ x.g|list }}",
         "deep"},
    };
    const glia_template_options o = {.max_steps = 500000, .max_memory = 8000000, .max_output = 100000};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        expect(hostile[i].source, &o, GLIA_ERR_LIMIT, hostile[i].words);
    expect("{{ range(1000000000) }}", &o, GLIA_ERR_TEMPLATE, "OverflowError: Range too big.");
    expect("{% set x = namespace() %}{% set x.a = [x] %}{{ x }}", &o, GLIA_OK,
           "<Namespace {'a': [<Namespace {...}>]}>");
}

/* Render `open` n times followed by `close` n times. */
static void expect_repeated(const char *open, const char *close, int n, glia_status want, const char *words) {
    glia_buf b = {0};
    glia_buf_puts(&b, "{{ ");
    for (int i = 0; i < n; i++) glia_buf_puts(&b, open);
    glia_buf_puts(&b, "1");
    for (int i = 0; i < n; i++) glia_buf_puts(&b, close);
    glia_buf_puts(&b, " }}");
    expect(b.data, NULL, want, words);
    glia_buf_free(&b);
}

static void test_nesting(void **state) {
    (void)state;
    expect_repeated("(", ")", 90, GLIA_OK, "1");
    expect_repeated("(", ")", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("[", "]", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("{1:", "}", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("not ", "", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("- ", "", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("", "|abs", 300, GLIA_OK, "1");
    expect_repeated("", "|abs", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("", " + 1", 300, GLIA_OK, "301");
    expect_repeated("", " + 1", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("", ".x", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("", " if 1 else 1", 10000, GLIA_ERR_LIMIT, "deep");
    expect_repeated("", " ~ 1", 10000, GLIA_OK, "1111");
    expect_repeated("", " <= 1", 10000, GLIA_OK, "True");
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *source;
        glia_status status;
        const char *words;
    } row[] = {
        {"{{ 'a' ~\n nope.x ~\n 1 }}", GLIA_ERR_TEMPLATE,
         "chat template, line 2: UndefinedError: 'nope' is undefined"},
        {"{{ [1,\n2,\n1/0] }}", GLIA_ERR_TEMPLATE, "line 3: ZeroDivisionError: division by zero"},
        {"{% macro m(a, a) %}{% endmacro %}", GLIA_ERR_TEMPLATE, "SyntaxError: duplicate argument 'a'"},
        {"{{ raise_exception('as it is: %s {x}') }}", GLIA_ERR_TEMPLATE,
         "line 1: TemplateError: as it is: %s {x}"},
        {"{{ lipsum() }}", GLIA_ERR_TEMPLATE, "lipsum() is refused"},
        {"{{ 'a'.encode() }}", GLIA_ERR_TEMPLATE, "str.encode() is refused"},
        {"{{ '\\N{DASH}' }}", GLIA_ERR_TEMPLATE, "\\N{name} escapes are not supported"},
        {"{{ '\\ud800' }}", GLIA_ERR_TEMPLATE, "a surrogate alone is not a character"},
        {"{{ (-8) ** 0.5 }}", GLIA_ERR_TEMPLATE, "complex numbers are not supported"},
        {"{{ f(", GLIA_ERR_TEMPLATE, "unexpected 'end of template'"},
        {"a\xff", GLIA_ERR_FORMAT, "chat template: invalid UTF-8 at byte 1"},
        {"\xed\xa0\x80", GLIA_ERR_FORMAT, "invalid UTF-8 at byte 0"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        expect(row[i].source, NULL, row[i].status, row[i].words);

    static const char *const bad_now[] = {"",
                                          "yesterday",
                                          "2025-13-01",
                                          "2025-02-29",
                                          "2025-07-08T24:00:00",
                                          "2025-07-08T12:00:00Z",
                                          "2025-07-08T12",
                                          "0000-01-01"};
    for (size_t i = 0; i < sizeof bad_now / sizeof *bad_now; i++)
        expect("x", &(glia_template_options){.now = bad_now[i]}, GLIA_ERR_ARGUMENT, "now: expected a date");
    expect("{{ strftime_now('%Y %j %f') }}", &(glia_template_options){.now = "2024-12-31 01:02:03.25"},
           GLIA_OK, "2024 366 250000");
    expect("{{ strftime_now('%H') }}", &(glia_template_options){.now = "2024-12-31"}, GLIA_OK, "00");
    expect("{{ strftime_now('%Y')|int >= 2025 }}", NULL, GLIA_OK, "True");

    char *large = calloc(1, (5 << 20) + 1);
    memset(large, 'a', 5 << 20);
    expect(large, NULL, GLIA_ERR_LIMIT, "5242880 bytes, the limit is 4194304");
    free(large);
}

/* Values from JSON are printed as Python prints them. */
static void test_values(void **state) {
    (void)state;
    json_error_t where;
    static const char json[] =
        "{\"z\": 1, \"a\": 1.0, \"\\u00e9\": \"\\u4e2d\\ud83d\\ude00\", \"n\": null, \"b\": [true, "
        "false], \"big\": 9223372036854775807, \"nul\": \"a\\u0000b\", \"e\": 1e22}";
    json_t *context = json_object();
    json_object_set_new(context, "v", json_loads(json, JSON_ALLOW_NUL, &where));
    static const char source[] = "{{ v }}|{{ v|tojson }}|{{ v['\xc3\xa9'] }}|{{ v.nul|length }}";
    static const char want[] =
        "{'z': 1, 'a': 1.0, '\xc3\xa9': '\xe4\xb8\xad\xf0\x9f\x98\x80', 'n': None, 'b': [True, "
        "False], 'big': 9223372036854775807, 'nul': 'a\\x00b', 'e': 1e+22}|{\"z\": 1, \"a\": "
        "1.0, \"\xc3\xa9\": \"\xe4\xb8\xad\xf0\x9f\x98\x80\", \"n\": null, \"b\": [true, false], "
        "\"big\": 9223372036854775807, \"nul\": \"a\\u0000b\", \"e\": 1e+22}|"
        "\xe4\xb8\xad\xf0\x9f\x98\x80|3";
    glia_status status;
    char *got = run(source, sizeof source - 1, context, NULL, &status);
    assert_int_equal(status, GLIA_OK);
    assert_string_equal(got, want);
    free(got);
    json_decref(context);
}

/* ---- one template, many threads ------------------------------------------------------------- */

static glia_template *shared;

static void *render_many(void *arg) {
    const int me = *(int *)arg;
    long bad = 0;
    for (int i = 0; i < 200; i++) {
        json_t *context = json_pack("{s:i}", "k", me * 1000 + i);
        glia_buf out = {0};
        char want[32];
        snprintf(want, sizeof want, "[%d]", me * 1000 + i + 1);
        if (glia_template_render(shared, context, NULL, &out, NULL) != GLIA_OK || strcmp(out.data, want) != 0)
            bad++;
        glia_buf_free(&out);
        json_decref(context);
    }
    return (void *)bad;
}

static void test_threads(void **state) {
    (void)state;
    static const char source[] = "{% set ns = namespace(x=k) %}{% set ns.x = ns.x + 1 %}{{ [ns.x] }}";
    pthread_t thread[4];
    int id[4];
    assert_int_equal(glia_template_compile(&shared, source, sizeof source - 1, NULL), GLIA_OK);
    for (int i = 0; i < 4; i++) {
        id[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, render_many, &id[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(thread[i], &bad);
        assert_null(bad);
    }
    glia_template_free(shared);
}

/* ---- the stack -------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_BYTES = 2 << 20 }; /* sanitizers make frames several times larger */
#else
enum { STACK_BYTES = 160 << 10 };
#endif

/* Write `head`, `n` times `open`, `middle`, `n` times `close`, `tail`. */
static char *nested(const char *head, const char *open, const char *middle, const char *close,
                    const char *tail, int n) {
    glia_buf b = {0};
    glia_buf_puts(&b, head);
    for (int i = 0; i < n; i++) glia_buf_puts(&b, open);
    glia_buf_puts(&b, middle);
    for (int i = 0; i < n; i++) glia_buf_puts(&b, close);
    glia_buf_puts(&b, tail);
    return glia_buf_steal(&b);
}

static void *recurse(void *user) {
    (void)user;
    static const char *const sources[] = {
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% macro m(n) %}{% if n %}{% for i in [1] %}{% with a = 1 %}{% set x %}{{ [m(n)]|join ~ "
        "'%s'|format(m(n)) "
        "}}{% endset %}{% endwith %}{% endfor %}{% endif %}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{% call m() %}{% endcall %}{{ caller() }}{% endmacro %}{% call m() %}{% endcall %}",
        "{% macro m() %}{% filter upper %}{{ m() }}{% endfilter %}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
    };
    static const char *const parts[][5] = {
        {"{{ ", "(", "1", ")", " }}"},
        {"{{ ", "[", "1", "]", " }}"},
        {"{{ ", "{1:", "1", "}", " }}"},
        {"{{ ", "f(", "1", ")", " }}"},
        {"{{ ", "not ", "1", "", " }}"},
        {"{{ ", "- ", "1", "", " }}"},
        {"{{ ", "1 if 1 else ", "1", "", " }}"},
        {"{{ ", "2 ** ", "1", "", " }}"},
        {"{{ 1", "", "", " ~ 1", " }}"},
        {"{{ 1", "", "", "|string", " }}"},
        {"{{ a", "", "", ".b", " }}"},
        {"{{ a", "", "", "[0]", " }}"},
        {"", "{% if 1 %}", "", "{% endif %}", ""},
        {"", "{% for i in [1] %}", "", "{% endfor %}", ""},
        {"", "{% macro m() %}", "", "{% endmacro %}", ""},
        {"{% if 0 %}", "{% elif 0 %}", "", "", "{% endif %}"},
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        expect(sources[i], NULL, GLIA_ERR_LIMIT, "nested more than 400 levels deep");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (int n = 50; n < 100000; n = n * 5 / 4) { /* beyond the limits, and just below them */
            char *source = nested(parts[i][0], parts[i][1], parts[i][2], parts[i][3], parts[i][4], n);
            glia_err err = {0};
            glia_buf out = {0};
            glia_template *t;
            json_t *context = json_object();
            glia_status status = glia_template_compile(&t, source, strlen(source), &err);
            if (!status) status = glia_template_render(t, context, NULL, &out, &err);
            CHECK(status == GLIA_OK || status == GLIA_ERR_LIMIT || status == GLIA_ERR_TEMPLATE, "%.40s: %s",
                  source, err.msg);
            json_decref(context);
            glia_template_free(t);
            glia_buf_free(&out);
            free(source);
        }
    return NULL;
}

/* Recursion and nesting end with an error on the stack of a small thread. */
static void test_small_stack(void **state) {
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attr, recurse, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),     cmocka_unit_test(test_limits), cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_values), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_small_stack),
    };
    return check_run_group("jinja", tests);
}
