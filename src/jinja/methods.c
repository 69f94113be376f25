/* methods.c - Python's methods of lists, tuples, dicts, numbers and ranges. A row
 * without a function is a method that changes its object: the sandbox refuses it. */
#include "jinja/jinja.h"

#include <math.h>

static jval m_count(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)raw;
    int64_t n = 0;
    jval item;
    for (jiter *it = glia_j_iter(rt, self); glia_j_step_iter(rt, it, &item);)
        n += glia_j_equal(rt, item, a[0]);
    return glia_j_int(n);
}

static int64_t bound(jrt *rt, jval v, int64_t otherwise, int64_t n) {
    int64_t i = glia_j_opt_int(rt, v, otherwise);
    if (i < 0) i += n;
    return i < 0 ? 0 : i;
}

static jval m_index(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)raw;
    const jlist *l = glia_j_items(rt, self);
    const int64_t n = (int64_t)l->n, stop = bound(rt, a[2], n, n);
    glia_j_step(rt, l->n / 8);
    for (int64_t i = bound(rt, a[1], 0, n); i < n && i < stop; i++) {
        if (glia_j_equal(rt, l->v[i], a[0])) return glia_j_int(i);
    }
    if (self.kind == J_TUPLE) glia_j_fail(rt, "ValueError", "tuple.index(x): x not in tuple");
    glia_j_fail(rt, "ValueError", "%s is not in %s", glia_j_crepr(rt, a[0]),
                self.kind == J_LIST ? "list" : "range");
}

static jval m_copy_list(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_collect(rt, self);
}

const jrow glia_j_list_methods[] = {
    {"append", NULL, NULL, NULL, 0},
    {"clear", NULL, NULL, NULL, 0},
    {"copy", "/", m_copy_list, "list.copy", 0},
    {"count", "/value", m_count, "list.count", 0},
    {"extend", NULL, NULL, NULL, 0},
    {"index", "/value,start=,stop=", m_index, "list.index", 0},
    {"insert", NULL, NULL, NULL, 0},
    {"pop", NULL, NULL, NULL, 0},
    {"remove", NULL, NULL, NULL, 0},
    {"reverse", NULL, NULL, NULL, 0},
    {"sort", NULL, NULL, NULL, 0},
    {0},
};

const jrow glia_j_tuple_methods[] = {
    {"count", "/value", m_count, "tuple.count", 0},
    {"index", "/value,start=,stop=", m_index, "tuple.index", 0},
    {0},
};

const jrow glia_j_range_methods[] = {
    {"count", "/value", m_count, "range.count", 0},
    {"index", "/value", m_index, "range.index", 0},
    {0},
};

/* ---- dicts ------------------------------------------------------------------------------------ */

static jval m_get(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)raw;
    jval v;
    uint64_t hash;
    if (!glia_j_hash(rt, a[0], &hash))
        glia_j_fail(rt, "TypeError", "unhashable type: '%s'", glia_j_type(a[0]));
    if (glia_j_get(rt, self.u.d, a[0], &v)) return v;
    return a[1].kind == J_MISSING ? glia_j_none : a[1];
}

static jval view(jrt *rt, jval self, char what) {
    jview *v = glia_j_alloc(rt, sizeof *v);
    *v = (jview){self.u.d, what};
    return (jval){J_VIEW, {.view = v}};
}

static jval m_keys(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return view(rt, self, 'k');
}

static jval m_values(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return view(rt, self, 'v');
}

static jval m_items(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return view(rt, self, 'i');
}

static jval m_copy(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_copy(rt, self.u.d);
}

static jval m_fromkeys(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)raw;
    jval d = glia_j_dict(rt), key;
    const jval v = a[1].kind == J_MISSING ? glia_j_none : a[1];
    for (jiter *it = glia_j_iter(rt, a[0]); glia_j_step_iter(rt, it, &key);) glia_j_put(rt, d.u.d, key, v);
    return d;
}

const jrow glia_j_dict_methods[] = {
    {"clear", NULL, NULL, NULL, 0},
    {"copy", "/", m_copy, "dict.copy", 0},
    {"fromkeys", "/iterable,value=", m_fromkeys, "dict.fromkeys", 0},
    {"get", "/key,default=", m_get, "dict.get", 0},
    {"items", "/", m_items, "dict.items", 0},
    {"keys", "/", m_keys, "dict.keys", 0},
    {"pop", NULL, NULL, NULL, 0},
    {"popitem", NULL, NULL, NULL, 0},
    {"setdefault", NULL, NULL, NULL, 0},
    {"update", NULL, NULL, NULL, 0},
    {"values", "/", m_values, "dict.values", 0},
    {0},
};

/* ---- numbers ------------------------------------------------------------------------------------ */

static jval m_bit_length(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    int64_t i = 0, n = 0;
    glia_j_integer(self, &i);
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1) n++;
    return glia_j_int(n);
}

static jval m_bit_count(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    int64_t i = 0;
    glia_j_integer(self, &i);
    return glia_j_int(__builtin_popcountll(i < 0 ? 0 - (uint64_t)i : (uint64_t)i));
}

static jval m_conjugate(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_negate(rt, self, false);
}

static jval m_is_integer(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    return glia_j_bool(isfinite(self.u.f) && floor(self.u.f) == self.u.f);
}

const jrow glia_j_int_methods[] = {
    {"bit_length", "/", m_bit_length, "int.bit_length", 0},
    {"bit_count", "/", m_bit_count, "int.bit_count", 0},
    {"conjugate", "/", m_conjugate, "int.conjugate", 0},
    {0},
};

const jrow glia_j_float_methods[] = {
    {"is_integer", "/", m_is_integer, "float.is_integer", 0},
    {"conjugate", "/", m_conjugate, "float.conjugate", 0},
    {0},
};
