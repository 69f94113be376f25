/* iter.c - iteration over values, lazy if Jinja is lazy, and sorting. */
#include "jinja/jinja.h"

#include <string.h>

bool glia_j_step_iter(jrt *rt, jiter *it, jval *out) {
    glia_j_step(rt, 1);
    glia_j_enter(rt); /* an iterator may call another */
    const bool more = it->next(rt, it, out);
    glia_j_leave(rt);
    return more;
}

static bool next_none(jrt *rt, jiter *it, jval *out) {
    (void)rt, (void)it, (void)out;
    return false;
}

static bool next_item(jrt *rt, jiter *it, jval *out) {
    (void)rt;
    const jlist *l = it->src.u.l;
    if (it->i >= l->n) return false;
    *out = l->v[it->i++];
    return true;
}

static bool next_item_back(jrt *rt, jiter *it, jval *out) {
    (void)rt;
    const jlist *l = it->src.u.l;
    if (it->i >= l->n) return false;
    *out = l->v[l->n - 1 - it->i++];
    return true;
}

static bool next_char(jrt *rt, jiter *it, jval *out) {
    const jstr *s = it->src.u.s;
    if (it->i >= s->n) return false;
    const size_t from = it->i;
    glia_j_next(s->p, s->n, &it->i);
    *out = glia_j_sub(rt, s, from, it->i);
    out->u.s->safe = false; /* iterating Markup gives plain characters */
    return true;
}

bool glia_j_range_item(const jrange *r, size_t i, jval *out) {
    if (i >= r->n) return false;
    *out = glia_j_int(r->start + (int64_t)i * r->step);
    return true;
}

static bool next_number(jrt *rt, jiter *it, jval *out) {
    (void)rt;
    return glia_j_range_item(it->src.u.r, it->i++, out);
}

static bool next_number_back(jrt *rt, jiter *it, jval *out) {
    (void)rt;
    const jrange *r = it->src.u.r;
    return it->i < r->n && glia_j_range_item(r, r->n - 1 - it->i++, out);
}

static jval view_item(jrt *rt, const jdict *d, size_t i, char what) {
    const jentry *e = &d->e[i];
    return what == 'k' ? e->k : what == 'v' ? e->v : glia_j_pair(rt, e->k, e->v);
}

static bool next_entry(jrt *rt, jiter *it, jval *out) {
    const bool dict = it->src.kind == J_DICT;
    const jdict *d = dict ? it->src.u.d : it->src.u.view->d;
    if (it->i >= d->n) return false;
    *out = view_item(rt, d, it->i++, dict ? 'k' : it->src.u.view->what);
    return true;
}

static jiter *new_iter(jrt *rt, jval src, bool (*next)(jrt *, jiter *, jval *), const char *type) {
    jiter *it = glia_j_alloc(rt, sizeof *it);
    it->src = src;
    it->next = next;
    it->type = type;
    return it;
}

jiter *glia_j_generator(jrt *rt, jval v, bool (*next)(jrt *, jiter *, jval *)) {
    return new_iter(rt, v, next, "generator");
}

bool glia_j_iterable(jval v) { return v.kind == J_UNDEF || (v.kind >= J_STR && v.kind <= J_ITER); }

jiter *glia_j_iter(jrt *rt, jval v) {
    switch (v.kind) {
    case J_UNDEF: return new_iter(rt, v, next_none, "generator");
    case J_STR: return new_iter(rt, v, next_char, "str_iterator");
    case J_LIST:
    case J_TUPLE: return new_iter(rt, v, next_item, "list_iterator");
    case J_RANGE: return new_iter(rt, v, next_number, "range_iterator");
    case J_DICT:
    case J_VIEW: return new_iter(rt, v, next_entry, "dict_keyiterator");
    case J_ITER: return v.u.it;
    default: glia_j_fail(rt, "TypeError", "'%s' object is not iterable", glia_j_type(v));
    }
}

jval glia_j_collect(jrt *rt, jval v) {
    jval list = glia_j_list(rt, 0), item;
    if (v.kind == J_LIST || v.kind == J_TUPLE) {
        glia_j_step(rt, v.u.l->n / 16);
        list = glia_j_list(rt, v.u.l->n);
        list.u.l->n = v.u.l->n;
        if (v.u.l->n) memcpy(list.u.l->v, v.u.l->v, v.u.l->n * sizeof(jval));
        return list;
    }
    for (jiter *it = glia_j_iter(rt, v); glia_j_step_iter(rt, it, &item);) glia_j_push(rt, list.u.l, item);
    return list;
}

jlist *glia_j_items(jrt *rt, jval v) {
    return v.kind == J_LIST || v.kind == J_TUPLE ? v.u.l : glia_j_collect(rt, v).u.l;
}

jval glia_j_reversed(jrt *rt, jval v, bool *ok) {
    *ok = true;
    jiter *it;
    switch (v.kind) {
    case J_UNDEF: it = new_iter(rt, v, next_none, "reversed"); break;
    case J_LIST: it = new_iter(rt, v, next_item_back, "list_reverseiterator"); break;
    case J_TUPLE: it = new_iter(rt, v, next_item_back, "reversed"); break;
    case J_STR: it = new_iter(rt, glia_j_collect(rt, v), next_item_back, "reversed"); break;
    case J_RANGE: it = new_iter(rt, v, next_number_back, "range_iterator"); break;
    case J_DICT:
    case J_VIEW: it = new_iter(rt, glia_j_collect(rt, v), next_item_back, "dict_reversekeyiterator"); break;
    default: *ok = false; return glia_j_missing;
    }
    return (jval){J_ITER, {.it = it}};
}

static bool range_contains(const jrange *r, jval x) {
    int64_t i;
    double f;
    if (!glia_j_integer(x, &i)) {
        if (!glia_j_number(x, &f) || !(f >= -0x1p62 && f <= 0x1p62) || f != (double)(int64_t)f) return false;
        i = (int64_t)f;
    }
    if (r->n == 0) return false;
    const __int128 steps = ((__int128)i - r->start) / r->step;
    return ((__int128)i - r->start) % r->step == 0 && steps >= 0 && steps < (__int128)r->n;
}

static bool items_contain(jrt *rt, const jdict *d, jval x) {
    jval v;
    return x.kind == J_TUPLE && x.u.l->n == 2 && glia_j_get(rt, d, x.u.l->v[0], &v) &&
           glia_j_equal(rt, v, x.u.l->v[1]);
}

bool glia_j_contains(jrt *rt, jval seq, jval x) {
    jval item;
    uint64_t hash;
    switch (seq.kind) {
    case J_STR:
        if (x.kind != J_STR)
            glia_j_fail(rt, "TypeError", "'in <string>' requires string as left operand, not %s",
                        glia_j_type(x));
        return glia_j_find(rt, seq.u.s, x.u.s, 0, seq.u.s->n) >= 0;
    case J_VIEW:
        if (seq.u.view->what == 'i') return items_contain(rt, seq.u.view->d, x);
        if (seq.u.view->what == 'v') break;
        return glia_j_contains(rt, (jval){J_DICT, {.d = seq.u.view->d}}, x);
    case J_DICT:
        if (!glia_j_hash(rt, x, &hash)) glia_j_fail(rt, "TypeError", "unhashable type: '%s'", glia_j_type(x));
        return glia_j_get(rt, seq.u.d, x, &item);
    case J_RANGE: return range_contains(seq.u.r, x);
    default: break;
    }
    if (!glia_j_iterable(seq))
        glia_j_fail(rt, "TypeError", "argument of type '%s' is not iterable", glia_j_type(seq));
    for (jiter *it = glia_j_iter(rt, seq); glia_j_step_iter(rt, it, &item);) {
        if (glia_j_equal(rt, item, x)) return true;
    }
    return false;
}

/* ---- sorting ------------------------------------------------------------------------------ */

static void merge(jrt *rt, const size_t *from, size_t *to, size_t lo, size_t mid, size_t hi,
                  const jval *keys) {
    size_t i = lo, j = mid;
    for (size_t k = lo; k < hi; k++) {
        if (j >= hi || (i < mid && !glia_j_order(rt, keys[from[j]], keys[from[i]], "<")))
            to[k] = from[i++];
        else
            to[k] = from[j++];
    }
}

static void reverse_values(jval *v, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        const jval t = v[i];
        v[i] = v[n - 1 - i];
        v[n - 1 - i] = t;
    }
}

/* Merge sort of indices. A reversed sort reverses before and after, as Python does,
 * so that it stays stable. */
void glia_j_sort(jrt *rt, jval *v, const jval *keys, size_t n, bool reverse) {
    size_t *a = glia_j_alloc(rt, n * sizeof *a), *b = glia_j_alloc(rt, n * sizeof *b);
    jval *sorted = glia_j_alloc(rt, n * sizeof *sorted);
    for (size_t i = 0; i < n; i++) a[i] = reverse ? n - 1 - i : i;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            const size_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            merge(rt, a, b, lo, mid, hi, keys);
        }
        size_t *t = a;
        a = b;
        b = t;
    }
    for (size_t i = 0; i < n; i++) sorted[i] = v[a[i]];
    if (reverse) reverse_values(sorted, n);
    if (n) memcpy(v, sorted, n * sizeof *v);
}
