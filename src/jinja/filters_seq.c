/* filters_seq.c - Jinja's filters on sequences. A filter that is lazy in Jinja is
 * lazy here: its generator is always true, has no length and can be iterated once. */
#include "jinja/jinja.h"

#include <ctype.h>
#include <string.h>

/* ---- attributes by path: "a.b.0" ------------------------------------------------------------ */

static jval path_key(jrt *rt, const jstr *s) {
    bool digits = s->n > 0;
    int64_t i = 0;
    for (size_t k = 0; k < s->n; k++) digits &= isdigit((unsigned char)s->p[k]) != 0;
    if (digits && glia_j_parse_int(rt, s, 10, &i)) return glia_j_int(i);
    return glia_j_str(rt, s->p, s->n);
}

static jlist *split(jrt *rt, const jstr *s, char sep) {
    jlist *parts = glia_j_list(rt, 0).u.l;
    for (size_t from = 0, at = 0; at <= s->n; at++) {
        if (at < s->n && s->p[at] != sep) continue;
        glia_j_push(rt, parts, glia_j_sub(rt, s, from, at));
        from = at + 1;
    }
    return parts;
}

static jlist *path_of(jrt *rt, jval attribute) {
    jlist *path = glia_j_list(rt, 0).u.l;
    if (attribute.kind == J_MISSING || attribute.kind == J_NONE) return path;
    if (attribute.kind != J_STR) {
        glia_j_push(rt, path, attribute);
        return path;
    }
    path = split(rt, attribute.u.s, '.');
    for (size_t i = 0; i < path->n; i++) path->v[i] = path_key(rt, path->v[i].u.s);
    return path;
}

/* The value at the end of an attribute path. `otherwise` replaces an undefined
 * attribute, unless it is J_MISSING or J_NONE. */
static jval follow(jrt *rt, jval item, const jlist *path, jval otherwise) {
    for (size_t i = 0; i < path->n; i++) {
        item = glia_j_getitem(rt, item, path->v[i]);
        if (item.kind == J_UNDEF && otherwise.kind > J_NONE) item = otherwise;
    }
    return item;
}

static jval fold_case(jrt *rt, jval v, bool sensitive) {
    return !sensitive && v.kind == J_STR ? glia_j_case(rt, v.u.s, 'l') : v;
}

/* ---- map, select, reject ------------------------------------------------------------------------ */

static jargs args_after(const jargs *raw, size_t skip) {
    return (jargs){.v = raw->v + skip, .n = raw->n - skip, .kw = raw->kw};
}

static const jrow *row_named(jrt *rt, jval name, bool test) {
    const jrow *row = NULL;
    if (name.kind == J_STR)
        row = test ? glia_j_test(name.u.s->p, name.u.s->n) : glia_j_filter(name.u.s->p, name.u.s->n);
    if (!row)
        glia_j_fail(rt, "TemplateRuntimeError", "No %s named %s.", test ? "test" : "filter",
                    glia_j_crepr(rt, name));
    return row;
}

/* Generators evaluate their arguments at the first item, as Python's do. */
static bool begin(jrt *rt, jiter *it) {
    if (it->in) return false;
    it->in = glia_j_iter(rt, it->src);
    return true;
}

static void prepare_map(jrt *rt, jiter *it) {
    const jargs *raw = &it->args;
    jval attribute;
    it->aux = glia_j_missing;
    if (!raw->n && raw->kw && glia_j_gets(rt, raw->kw, "attribute", &attribute)) {
        for (size_t i = 0; i < raw->kw->n; i++) {
            const jval k = raw->kw->e[i].k;
            if (!glia_j_is_str(k, "attribute") && !glia_j_is_str(k, "default"))
                glia_j_fail(rt, "FilterArgumentError", "Unexpected keyword argument %s", glia_j_crepr(rt, k));
        }
        glia_j_gets(rt, raw->kw, "default", &it->aux);
        it->scope = NULL;
        it->fn = NULL;
        it->src = (jval){J_LIST, {.l = path_of(rt, attribute)}};
        return;
    }
    if (!raw->n) glia_j_fail(rt, "FilterArgumentError", "map requires a filter argument");
    it->fn = row_named(rt, raw->v[0], false);
    it->args = args_after(raw, 1);
}

static bool next_mapped(jrt *rt, jiter *it, jval *out) {
    if (!it->in) {
        if (!glia_j_truth(rt, it->src)) return false;
        begin(rt, it);
        prepare_map(rt, it);
    }
    if (!glia_j_step_iter(rt, it->in, out)) return false;
    *out = it->fn ? glia_j_invoke(rt, it->fn, *out, &it->args) : follow(rt, *out, it->src.u.l, it->aux);
    return true;
}

static jval lazily(jrt *rt, jval v, const jargs *raw, bool (*next)(jrt *, jiter *, jval *)) {
    jiter *it = glia_j_generator(rt, v, next);
    it->args = *raw;
    return (jval){J_ITER, {.it = it}};
}

static jval f_map(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return lazily(rt, v, raw, next_mapped);
}

enum { REJECT = 1, BY_ATTRIBUTE = 2 };

static void prepare_select(jrt *rt, jiter *it) {
    const size_t by = it->n & BY_ATTRIBUTE ? 1 : 0;
    if (by && !it->args.n) glia_j_fail(rt, "FilterArgumentError", "Missing parameter for attribute name");
    it->src = (jval){J_LIST, {.l = path_of(rt, by ? it->args.v[0] : glia_j_missing)}};
    if (it->args.n <= by) return;
    it->fn = row_named(rt, it->args.v[by], true);
    it->args = args_after(&it->args, by + 1);
}

static bool next_selected(jrt *rt, jiter *it, jval *out) {
    if (!it->in) {
        if (!glia_j_truth(rt, it->src)) return false;
        begin(rt, it);
        prepare_select(rt, it);
    }
    while (glia_j_step_iter(rt, it->in, out)) {
        const jval v = follow(rt, *out, it->src.u.l, glia_j_missing);
        const bool yes = glia_j_truth(rt, it->fn ? glia_j_invoke(rt, it->fn, v, &it->args) : v);
        if (yes != ((it->n & REJECT) != 0)) return true;
    }
    return false;
}

static jval selecting(jrt *rt, jval v, const jargs *raw, size_t how) {
    jval g = lazily(rt, v, raw, next_selected);
    g.u.it->n = how;
    return g;
}

static jval f_select(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return selecting(rt, v, raw, 0);
}

static jval f_reject(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return selecting(rt, v, raw, REJECT);
}

static jval f_selectattr(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return selecting(rt, v, raw, BY_ATTRIBUTE);
}

static jval f_rejectattr(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return selecting(rt, v, raw, REJECT | BY_ATTRIBUTE);
}

/* ---- other generators: items, unique, batch, slice ------------------------------------------------ */

static bool next_of_items(jrt *rt, jiter *it, jval *out) {
    if (it->src.kind == J_UNDEF) return false;
    if (it->src.kind != J_DICT) glia_j_fail(rt, "TypeError", "Can only get item pairs from a mapping.");
    const jdict *d = it->src.u.d;
    if (it->i >= d->n) return false;
    *out = glia_j_pair(rt, d->e[it->i].k, d->e[it->i].v);
    it->i++;
    return true;
}

static jval f_items(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    return lazily(rt, v, raw, next_of_items);
}

static bool next_unique(jrt *rt, jiter *it, jval *out) {
    begin(rt, it);
    while (glia_j_step_iter(rt, it->in, out)) {
        const jval key = fold_case(rt, follow(rt, *out, it->args.v[0].u.l, glia_j_missing), it->flag);
        if (glia_j_contains(rt, it->aux, key)) continue;
        glia_j_put(rt, it->aux.u.d, key, glia_j_none);
        return true;
    }
    return false;
}

static jval f_unique(jrt *rt, jval v, const jval *a, const jargs *raw) {
    jval g = lazily(rt, v, raw, next_unique);
    jiter *it = g.u.it;
    it->flag = glia_j_opt_bool(rt, a[0], false);
    it->aux = glia_j_dict(rt);
    it->args.v = glia_j_alloc(rt, sizeof(jval));
    it->args.v[0] = (jval){J_LIST, {.l = path_of(rt, a[1])}};
    return g;
}

/* args.v: linecount, fill_with */
static bool next_batch(jrt *rt, jiter *it, jval *out) {
    begin(rt, it);
    const jval want = it->args.v[0], fill = it->args.v[1];
    jval item = it->aux;
    *out = glia_j_list(rt, 0);
    if (!it->flag && !glia_j_step_iter(rt, it->in, &item)) return false;
    if (!it->flag && glia_j_equal(rt, want, glia_j_int(0))) { /* Jinja yields an empty batch first */
        it->flag = true;
        it->aux = item;
        return true;
    }
    it->flag = false;
    glia_j_push(rt, out->u.l, item);
    while (glia_j_step_iter(rt, it->in, &item)) {
        if (glia_j_equal(rt, glia_j_int((int64_t)out->u.l->n), want)) {
            it->flag = true; /* aux holds the first item of the next batch */
            it->aux = item;
            return true;
        }
        glia_j_push(rt, out->u.l, item);
    }
    if (fill.kind > J_NONE && glia_j_order(rt, glia_j_int((int64_t)out->u.l->n), want, "<")) {
        int64_t n = glia_j_index(rt, want);
        if (n > (int64_t)rt->arena.limit) glia_j_limit(rt, "a batch of %lld items", (long long)n);
        for (n -= (int64_t)out->u.l->n; n > 0; n--) glia_j_push(rt, out->u.l, fill);
    }
    return true;
}

static jval with_two(jrt *rt, jval v, const jval *a, const jargs *raw, bool (*next)(jrt *, jiter *, jval *)) {
    jval g = lazily(rt, v, raw, next);
    g.u.it->args.v = glia_j_alloc(rt, 2 * sizeof(jval));
    memcpy(g.u.it->args.v, a, 2 * sizeof(jval));
    return g;
}

static jval f_batch(jrt *rt, jval v, const jval *a, const jargs *raw) {
    return with_two(rt, v, a, raw, next_batch);
}

/* args.v: slices, fill_with */
static bool next_slice(jrt *rt, jiter *it, jval *out) {
    if (it->aux.kind == J_MISSING) it->aux = glia_j_collect(rt, it->src);
    const jlist *all = it->aux.u.l;
    const jval slices = it->args.v[0], fill = it->args.v[1];
    const int64_t length = (int64_t)all->n;
    const jval each = glia_j_binary(rt, 'f', glia_j_int(length), slices);
    glia_j_index(rt, slices);
    int64_t count = 0, per = 0;
    glia_j_integer(slices, &count);
    glia_j_integer(each, &per);
    if ((int64_t)it->i >= count) return false;
    const int64_t extra = length - per * count, i = (int64_t)it->i++;
    const int64_t from = i * per + (i < extra ? i : extra), to = from + per + (i < extra);
    *out = glia_j_list(rt, 0);
    for (int64_t k = from; k < to; k++) glia_j_push(rt, out->u.l, all->v[k]);
    if (fill.kind > J_NONE && i >= extra) glia_j_push(rt, out->u.l, fill);
    return true;
}

static jval f_slice(jrt *rt, jval v, const jval *a, const jargs *raw) {
    return with_two(rt, v, a, raw, next_slice);
}

/* ---- one item of a sequence --------------------------------------------------------------------------- */

static jval f_first(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    jval item;
    if (glia_j_step_iter(rt, glia_j_iter(rt, v), &item)) return item;
    return glia_j_undef_hint(rt, "No first item, sequence was empty.", NULL);
}

static jval f_last(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    bool ok;
    jval item;
    const jval back = glia_j_reversed(rt, v, &ok);
    if (!ok) glia_j_fail(rt, "TypeError", "'%s' object is not reversible", glia_j_type(v));
    if (glia_j_step_iter(rt, back.u.it, &item)) return item;
    return glia_j_undef_hint(rt, "No last item, sequence was empty.", NULL);
}

/* The random generator has the same seed in every render, so that prompts repeat. */
static jval f_random(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    int64_t n;
    if (!glia_j_len(rt, v, &n))
        glia_j_fail(rt, "TypeError", "object of type '%s' has no len()", glia_j_type(v));
    if (n == 0) return glia_j_undef_hint(rt, "No random item, sequence was empty.", NULL);
    rt->random = rt->random * 6364136223846793005u + 1442695040888963407u;
    const int64_t i = (int64_t)((rt->random >> 33) % (uint64_t)n);
    if (v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_RANGE)
        return glia_j_getitem(rt, v, glia_j_int(i));
    glia_j_fail(rt, "TypeError", "'%s' object is not subscriptable", glia_j_type(v));
}

static jval extreme(jrt *rt, jval v, const jval *a, const char *op) {
    const bool sensitive = glia_j_opt_bool(rt, a[0], false);
    const jlist *path = path_of(rt, a[1]);
    jiter *it = glia_j_iter(rt, v);
    jval best, item;
    if (!glia_j_step_iter(rt, it, &best))
        return glia_j_undef_hint(rt, "No aggregated item, sequence was empty.", NULL);
    jval best_key = fold_case(rt, follow(rt, best, path, glia_j_missing), sensitive);
    while (glia_j_step_iter(rt, it, &item)) {
        const jval key = fold_case(rt, follow(rt, item, path, glia_j_missing), sensitive);
        if (!glia_j_order(rt, key, best_key, op)) continue;
        best = item;
        best_key = key;
    }
    return best;
}

static jval f_min(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return extreme(rt, v, a, "<");
}

static jval f_max(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return extreme(rt, v, a, ">");
}

static jval f_sum(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jlist *path = path_of(rt, a[0]);
    jval sum = a[1].kind == J_MISSING ? glia_j_int(0) : a[1], item;
    jiter *it = glia_j_iter(rt, v);
    if (sum.kind == J_STR) glia_j_fail(rt, "TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
    while (glia_j_step_iter(rt, it, &item))
        sum = glia_j_binary(rt, '+', sum, follow(rt, item, path, glia_j_missing));
    return sum;
}

static jval f_length(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    int64_t n;
    if (!glia_j_len(rt, v, &n))
        glia_j_fail(rt, "TypeError", "object of type '%s' has no len()", glia_j_type(v));
    return glia_j_int(n);
}

static jval f_default(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const bool falsy = glia_j_opt_bool(rt, a[1], false) && !glia_j_truth(rt, v);
    if (v.kind != J_UNDEF && !falsy) return v;
    return a[0].kind == J_MISSING ? glia_j_cstr(rt, "") : a[0];
}

static jval f_attr(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    if (a[0].kind != J_STR)
        glia_j_fail(rt, "TypeError", "attribute name must be string, not '%s'", glia_j_type(a[0]));
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    const jval found = glia_j_attribute(rt, v, a[0]);
    return found.kind == J_MISSING ? glia_j_undef(rt, v, a[0]) : found;
}

/* ---- whole sequences ---------------------------------------------------------------------------------- */

static jval f_list(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_collect(rt, v);
}

static jval f_reverse(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    bool ok;
    if (v.kind == J_STR) return glia_j_slice(rt, v, glia_j_none, glia_j_none, glia_j_int(-1));
    jval back = glia_j_reversed(rt, v, &ok);
    if (ok) return back;
    if (!glia_j_iterable(v)) glia_j_fail(rt, "FilterArgumentError", "argument must be iterable");
    back = glia_j_collect(rt, v);
    jlist *l = back.u.l;
    for (size_t i = 0; i < l->n / 2; i++) {
        const jval t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
    return back;
}

static jval f_join(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jlist *path = path_of(rt, a[1]), *items = glia_j_items(rt, v);
    jval glue = a[0].kind == J_MISSING ? glia_j_cstr(rt, "") : a[0];
    jval *parts = glia_j_alloc(rt, items->n * sizeof *parts);
    bool escape = rt->autoescape && glue.kind == J_STR && glue.u.s->safe;
    for (size_t i = 0; i < items->n; i++) {
        parts[i] = follow(rt, items->v[i], path, glia_j_missing);
        escape |= rt->autoescape && parts[i].kind == J_STR && parts[i].u.s->safe;
    }
    jtext t = {0};
    glue = escape ? glia_j_escape(rt, glue) : glia_j_tostr(rt, glue);
    for (size_t i = 0; i < items->n; i++) {
        if (i) glia_j_print(rt, &t, glue);
        glia_j_print(rt, &t, escape ? glia_j_escape(rt, parts[i]) : parts[i]);
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), escape);
}

/* ---- sorting ------------------------------------------------------------------------------------------ */

static jval f_sort(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const bool sensitive = glia_j_opt_bool(rt, a[1], false);
    const jval sorted = glia_j_collect(rt, v);
    const size_t n = sorted.u.l->n;
    jlist *paths = a[2].kind == J_STR ? split(rt, a[2].u.s, ',') : glia_j_list(rt, 1).u.l;
    if (a[2].kind != J_STR) glia_j_push(rt, paths, a[2]);
    for (size_t k = 0; k < paths->n; k++) paths->v[k] = (jval){J_LIST, {.l = path_of(rt, paths->v[k])}};
    jval *keys = glia_j_alloc(rt, n * sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        keys[i] = glia_j_list(rt, paths->n);
        for (size_t k = 0; k < paths->n; k++) {
            const jval key = follow(rt, sorted.u.l->v[i], paths->v[k].u.l, glia_j_missing);
            glia_j_push(rt, keys[i].u.l, fold_case(rt, key, sensitive));
        }
    }
    glia_j_sort(rt, sorted.u.l->v, keys, n, glia_j_opt_int(rt, a[0], 0) != 0);
    return sorted;
}

static jval f_dictsort(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const bool sensitive = glia_j_opt_bool(rt, a[0], false);
    const bool by_value = glia_j_is_str(a[1], "value");
    if (a[1].kind != J_MISSING && !by_value && !glia_j_is_str(a[1], "key"))
        glia_j_fail(rt, "FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind != J_DICT)
        glia_j_fail(rt, "AttributeError", "'%s' object has no attribute 'items'", glia_j_type(v));
    const jdict *d = v.u.d;
    const jval sorted = glia_j_list(rt, d->n);
    jval *keys = glia_j_alloc(rt, d->n * sizeof *keys);
    for (size_t i = 0; i < d->n; i++) {
        glia_j_push(rt, sorted.u.l, glia_j_pair(rt, d->e[i].k, d->e[i].v));
        keys[i] = fold_case(rt, by_value ? d->e[i].v : d->e[i].k, sensitive);
    }
    glia_j_sort(rt, sorted.u.l->v, keys, d->n, glia_j_opt_int(rt, a[2], 0) != 0);
    return sorted;
}

static jval f_groupby(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jlist *path = path_of(rt, a[0]);
    const bool sensitive = glia_j_opt_bool(rt, a[2], false);
    const jval sorted = glia_j_collect(rt, v);
    const size_t n = sorted.u.l->n;
    jval *items = sorted.u.l->v, *keys = glia_j_alloc(rt, n * sizeof *keys), groups = glia_j_list(rt, 0);
    for (size_t i = 0; i < n; i++) keys[i] = fold_case(rt, follow(rt, items[i], path, a[1]), sensitive);
    glia_j_sort(rt, items, keys, n, false);
    jval last_key = glia_j_missing, group = glia_j_missing;
    for (size_t i = 0; i < n; i++) {
        const jval real = follow(rt, items[i], path, a[1]), key = fold_case(rt, real, sensitive);
        if (group.kind == J_MISSING || !glia_j_equal(rt, key, last_key)) {
            group = glia_j_list(rt, 0);
            const jval pair = glia_j_pair(rt, real, group);
            pair.u.l->group = true;
            glia_j_push(rt, groups.u.l, pair);
            last_key = key;
        }
        glia_j_push(rt, group.u.l, items[i]);
    }
    return groups;
}

const jrow glia_j_filters_seq[] = {
    {"attr", "name", f_attr, "do_attr", 2},
    {"batch", "linecount,fill_with=", f_batch, "do_batch", 1},
    {"count", "/", f_length, "len", 1},
    {"d", "default_value=,boolean=", f_default, "do_default", 1},
    {"default", "default_value=,boolean=", f_default, "do_default", 1},
    {"dictsort", "case_sensitive=,by=,reverse=", f_dictsort, "do_dictsort", 1},
    {"first", "", f_first, "sync_do_first", 2},
    {"groupby", "attribute,default=,case_sensitive=", f_groupby, "sync_do_groupby", 2},
    {"items", "", f_items, "do_items", 1},
    {"join", "d=,attribute=", f_join, "sync_do_join", 2},
    {"last", "", f_last, "do_last", 2},
    {"length", "/", f_length, "len", 1},
    {"list", "", f_list, "sync_do_list", 1},
    {"map", NULL, f_map, "sync_do_map", 2},
    {"max", "case_sensitive=,attribute=", f_max, "do_max", 2},
    {"min", "case_sensitive=,attribute=", f_min, "do_min", 2},
    {"random", "", f_random, "do_random", 2},
    {"reject", NULL, f_reject, "sync_do_reject", 2},
    {"rejectattr", NULL, f_rejectattr, "sync_do_rejectattr", 2},
    {"reverse", "", f_reverse, "do_reverse", 1},
    {"select", NULL, f_select, "sync_do_select", 2},
    {"selectattr", NULL, f_selectattr, "sync_do_selectattr", 2},
    {"slice", "slices,fill_with=", f_slice, "sync_do_slice", 1},
    {"sort", "reverse=,case_sensitive=,attribute=", f_sort, "do_sort", 2},
    {"sum", "attribute=,start=", f_sum, "sync_do_sum", 2},
    {"unique", "case_sensitive=,attribute=", f_unique, "sync_do_unique", 2},
    {0},
};
