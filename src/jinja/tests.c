/* tests.c - Jinja's tests, which follow `is`. */
#include "jinja/jinja.h"

static jval yes(bool b) { return glia_j_bool(b); }

static jval t_odd(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return yes(glia_j_equal(rt, glia_j_binary(rt, '%', v, glia_j_int(2)), glia_j_int(1)));
}

static jval t_even(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return yes(glia_j_equal(rt, glia_j_binary(rt, '%', v, glia_j_int(2)), glia_j_int(0)));
}

static jval t_divisibleby(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_equal(rt, glia_j_binary(rt, '%', v, a[0]), glia_j_int(0)));
}

static jval t_defined(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind != J_UNDEF);
}

static jval t_undefined(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_UNDEF);
}

static jval t_filter(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    uint64_t hash;
    if (!glia_j_hash(rt, v, &hash)) glia_j_fail(rt, "TypeError", "unhashable type: '%s'", glia_j_type(v));
    return yes(v.kind == J_STR && glia_j_filter(v.u.s->p, v.u.s->n));
}

static jval t_test(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    uint64_t hash;
    if (!glia_j_hash(rt, v, &hash)) glia_j_fail(rt, "TypeError", "unhashable type: '%s'", glia_j_type(v));
    return yes(v.kind == J_STR && glia_j_test(v.u.s->p, v.u.s->n));
}

static jval t_none(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_NONE);
}

static jval t_boolean(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_BOOL);
}

static jval t_false(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_BOOL && !v.u.b);
}

static jval t_true(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_BOOL && v.u.b);
}

static jval t_integer(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_INT);
}

static jval t_float(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_FLOAT);
}

static jval t_number(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_BOOL || v.kind == J_INT || v.kind == J_FLOAT);
}

static jval call_method(jrt *rt, jval v, const char *name, size_t n) {
    const jargs none = {0};
    return glia_j_invoke(rt, glia_j_row(glia_j_str_methods, name, n), glia_j_tostr(rt, v), &none);
}

static jval t_lower(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return call_method(rt, v, "islower", 7);
}

static jval t_upper(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return call_method(rt, v, "isupper", 7);
}

static jval t_string(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_STR);
}

static jval t_mapping(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_DICT);
}

static jval t_sequence(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw; /* Jinja asks for len() and __getitem__; an undefined value has both */
    return yes(v.kind == J_UNDEF || (v.kind >= J_STR && v.kind <= J_RANGE));
}

static jval t_iterable(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(glia_j_iterable(v) || v.kind == J_LOOP);
}

static jval t_callable(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(glia_j_callable(v));
}

/* True for the same object, and for equal values that CPython caches as one object. */
static jval t_sameas(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jval w = a[0];
    if (v.kind != w.kind) return yes(false);
    if (v.kind == J_STR) return yes(v.u.s->p == w.u.s->p || glia_j_equal(rt, v, w));
    if (v.kind == J_UNDEF) return yes(v.u.u == w.u.u);
    if (v.kind <= J_FLOAT) return yes(glia_j_equal(rt, v, w));
    return yes(v.u.d == w.u.d);
}

static jval t_escaped(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return yes(v.kind == J_STR && v.u.s->safe);
}

static jval t_in(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_contains(rt, a[0], v));
}

static jval t_eq(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_equal(rt, v, a[0]));
}

static jval t_ne(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(!glia_j_equal(rt, v, a[0]));
}

static jval t_gt(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_order(rt, v, a[0], ">"));
}

static jval t_ge(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_order(rt, v, a[0], ">="));
}

static jval t_lt(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_order(rt, v, a[0], "<"));
}

static jval t_le(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return yes(glia_j_order(rt, v, a[0], "<="));
}

const jrow glia_j_tests[] = {
    {"odd", "", t_odd, "test_odd", 1},
    {"even", "", t_even, "test_even", 1},
    {"divisibleby", "num", t_divisibleby, "test_divisibleby", 1},
    {"defined", "", t_defined, "test_defined", 1},
    {"undefined", "", t_undefined, "test_undefined", 1},
    {"filter", "", t_filter, "test_filter", 2},
    {"test", "", t_test, "test_test", 2},
    {"none", "", t_none, "test_none", 1},
    {"boolean", "", t_boolean, "test_boolean", 1},
    {"false", "", t_false, "test_false", 1},
    {"true", "", t_true, "test_true", 1},
    {"integer", "", t_integer, "test_integer", 1},
    {"float", "", t_float, "test_float", 1},
    {"lower", "", t_lower, "test_lower", 1},
    {"upper", "", t_upper, "test_upper", 1},
    {"string", "", t_string, "test_string", 1},
    {"mapping", "", t_mapping, "test_mapping", 1},
    {"number", "", t_number, "test_number", 1},
    {"sequence", "", t_sequence, "test_sequence", 1},
    {"iterable", "", t_iterable, "test_iterable", 1},
    {"callable", "/", t_callable, "callable", 1},
    {"sameas", "other", t_sameas, "test_sameas", 1},
    {"escaped", "", t_escaped, "test_escaped", 1},
    {"in", "seq", t_in, "test_in", 1},
    {"==", "/b", t_eq, "eq", 1},
    {"eq", "/b", t_eq, "eq", 1},
    {"equalto", "/b", t_eq, "eq", 1},
    {"!=", "/b", t_ne, "ne", 1},
    {"ne", "/b", t_ne, "ne", 1},
    {">", "/b", t_gt, "gt", 1},
    {"gt", "/b", t_gt, "gt", 1},
    {"greaterthan", "/b", t_gt, "gt", 1},
    {"ge", "/b", t_ge, "ge", 1},
    {">=", "/b", t_ge, "ge", 1},
    {"<", "/b", t_lt, "lt", 1},
    {"lt", "/b", t_lt, "lt", 1},
    {"lessthan", "/b", t_lt, "lt", 1},
    {"<=", "/b", t_le, "le", 1},
    {"le", "/b", t_le, "le", 1},
    {0},
};
