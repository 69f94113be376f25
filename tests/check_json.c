/* check_json.c - published JSON: numbers of any size, their use, positions of errors. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

/* Numbers that Python's json module reads, and what glia_json_int() from 0 to 100 and
 * glia_json_real() from 0 to 1e300 say about them; NULL: the number is accepted. */
static const struct {
    const char *text, *as_integer, *as_real;
    double value;
} numbers[] = {
    {"7", NULL, NULL, 7},
    {"-0", NULL, NULL, 0},
    {"7.0", NULL, NULL, 7},
    {"1000000000000000019884624838656", "x: k: expected 0 to 100, found 1e30", NULL, 1e30},
    {"-1000000000000000019884624838656", "x: k: expected 0 to 100, found -1e30",
     "x: k: expected 0 to 1e+300, found -1e+30", -1e30},
    {"9223372036854775807", "x: k: expected 0 to 100, found 9223372036854775807", NULL, 0x1p63},
    {"9223372036854775808", "x: k: expected 0 to 100, found 9.22337204e18", NULL, 0x1p63},
    {"18446744073709551616", "x: k: expected 0 to 100, found 1.84467441e19", NULL, 0x1p64},
    {"1e999", "x: k: expected 0 to 100, found Infinity", "x: k: expected 0 to 1e+300, found inf", INFINITY},
    {"-1.5E+999", "x: k: expected 0 to 100, found -Infinity", "x: k: expected 0 to 1e+300, found -inf",
     -INFINITY},
    {"1e-999", NULL, NULL, 0},
    {"Infinity", "x: k: expected 0 to 100, found Infinity", "x: k: expected 0 to 1e+300, found inf",
     INFINITY},
    {"-Infinity", "x: k: expected 0 to 100, found -Infinity", "x: k: expected 0 to 1e+300, found -inf",
     -INFINITY},
    {"{\"__float__\": \"Infinity\"}", "x: k: expected 0 to 100, found Infinity",
     "x: k: expected 0 to 1e+300, found inf", INFINITY},
    {"{\"__float__\": \"much\"}", "x: k: expected an integer, found an object",
     "x: k: expected a number, found an object", NAN},
    {"2.5", "x: k: expected an integer, found a real number 2.5", NULL, 2.5},
};

static void test_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[200];
        glia_err err = {0};
        json_t *tree;
        const int len = snprintf(text, sizeof text, "{\"a\": \"\\\"1e999 NaN\", \"k\": %s, \"z\": [1, %s]}",
                                 numbers[i].text, numbers[i].text);
        CHECK(!glia_json_parse(&tree, text, (size_t)len, 0, "x", &err), "%s: %s", text, err.msg);
        if (!tree) continue;
        CHECK(strcmp(json_string_value(json_object_get(tree, "a")), "\"1e999 NaN") == 0, "%s", text);
        double value = NAN;
        glia_json_number(json_array_get(json_object_get(tree, "z"), 1), &value);
        CHECK(value == numbers[i].value || isnan(numbers[i].value), "%s: %g", text, value);
        for (int real = 0; real < 2; real++) {
            err = (glia_err){0};
            glia_json_reader r = {.object = tree, .where = "x", .err = &err};
            const double got =
                real ? glia_json_real(&r, "k", -1, 0, 1e300) : (double)glia_json_int(&r, "k", -1, 0, 100);
            const char *want = real ? numbers[i].as_real : numbers[i].as_integer;
            if (want)
                CHECK(r.status == GLIA_ERR_FORMAT && strcmp(err.msg, want) == 0 && got == -1, "%s: \"%s\"",
                      text, err.msg);
            else
                CHECK(!r.status && got == numbers[i].value, "%s: %g, \"%s\"", text, got, err.msg);
        }
        json_decref(tree);
    }
}

static void test_nan(void **state) {
    (void)state;
    glia_err err = {0};
    json_t *tree;
    assert_int_equal(glia_json_parse(&tree, "{\"k\":NaN}", 9, 0, "x", &err), GLIA_OK);
    glia_json_reader r = {.object = tree, .where = "x", .err = &err};
    glia_json_real(&r, "k", 0, -1e308, 1e308);
    assert_int_equal(r.status, GLIA_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "x: k: expected -1e+308 to 1e+308, found nan"));
    json_decref(tree);
}

/* What is no JSON for Python either stays an error, at the position in the file. */
static void test_errors(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"{\"a\":1e999,\n \"b\":,}", "x: line 2, column 6 (byte 18): unexpected token near ','"},
        {"{\"a\":99999999999999999999,\"b\":01}", "x: line 1, column 31 (byte 31): invalid token near '0'"},
        {"{\"a\":NaN,\"a\":NaN}", "x: line 1, column 12 (byte 12): duplicate object key near '\"a\"'"},
        {"{\"a\":NaNs}", "x: line 1, column 9"},
        {"{\"a\":--Infinity}", "x: line 1, column 6 (byte 6): invalid token near '-'"},
        {"{\"a\":1e999", "x: line 1, column"},
        {"{\"a\":1e999\"", "x: line 1, column"},
        {"{\"a\":1e999\"\\", "x: line 1, column"},
        {"{\"a\":inf}", "x: line 1, column"},
        {"{\"a\":+1}", "x: line 1, column"},
        {"1e999", "x: expected an object, found a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {0};
        json_t *tree;
        const glia_status status = glia_json_parse(&tree, rows[i][0], strlen(rows[i][0]), 0, "x", &err);
        CHECK(status == GLIA_ERR_FORMAT && !tree && strstr(err.msg, rows[i][1]) == err.msg, "%s: \"%s\"",
              rows[i][0], err.msg);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers), cmocka_unit_test(test_nan),
                                       cmocka_unit_test(test_errors)};
    return check_run_group("json", tests);
}
