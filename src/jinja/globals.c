/* globals.c - global functions of templates, and methods of loops and cyclers. */
#include "jinja/jinja.h"

#include <inttypes.h>
#include <string.h>

static jval g_range(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)a;
    if (raw->kw && raw->kw->n)
        glia_j_fail(rt, "TypeError", "safe_range() got an unexpected keyword argument %s",
                    glia_j_crepr(rt, raw->kw->e[0].k));
    if (raw->n == 0) glia_j_fail(rt, "TypeError", "range expected at least 1 argument, got 0");
    if (raw->n > 3) glia_j_fail(rt, "TypeError", "range expected at most 3 arguments, got %zu", raw->n);
    const int64_t start = raw->n > 1 ? glia_j_index(rt, raw->v[0]) : 0;
    const int64_t stop = glia_j_index(rt, raw->v[raw->n > 1]);
    const int64_t step = raw->n > 2 ? glia_j_index(rt, raw->v[2]) : 1;
    if (step == 0) glia_j_fail(rt, "ValueError", "range() arg 3 must not be zero");
    const __int128 span = step > 0 ? (__int128)stop - start : (__int128)start - stop;
    const __int128 size = step > 0 ? step : -(__int128)step;
    const __int128 n = span > 0 ? (span - 1) / size + 1 : 0;
    if (n > J_RANGE_MAX)
        glia_j_fail(rt, "OverflowError",
                    "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", J_RANGE_MAX);
    jrange *r = glia_j_alloc(rt, sizeof *r);
    *r = (jrange){start, stop, step, (size_t)n};
    return (jval){J_RANGE, {.r = r}};
}

static void fill_pairs(jrt *rt, jdict *d, jval from) {
    jiter *it = glia_j_iter(rt, from);
    jval pair;
    for (size_t i = 0; glia_j_step_iter(rt, it, &pair); i++) {
        if (!glia_j_iterable(pair))
            glia_j_fail(rt, "TypeError",
                        "cannot convert dictionary update sequence element #%zu to a sequence", i);
        const jlist *two = glia_j_items(rt, pair);
        if (two->n != 2)
            glia_j_fail(rt, "ValueError",
                        "dictionary update sequence element #%zu has length %zu; 2 is required", i, two->n);
        glia_j_put(rt, d, two->v[0], two->v[1]);
    }
}

/* dict(mapping or pairs, key=value, ...) */
static jval make_dict(jrt *rt, const jargs *raw) {
    jval d = glia_j_dict(rt);
    if (raw->n > 1) glia_j_fail(rt, "TypeError", "dict expected at most 1 argument, got %zu", raw->n);
    if (raw->n && raw->v[0].kind == J_UNDEF) glia_j_undefined_error(rt, raw->v[0]);
    if (raw->n && raw->v[0].kind == J_DICT)
        d = glia_j_copy(rt, raw->v[0].u.d);
    else if (raw->n)
        fill_pairs(rt, d.u.d, raw->v[0]);
    for (size_t i = 0; raw->kw && i < raw->kw->n; i++)
        glia_j_put(rt, d.u.d, raw->kw->e[i].k, raw->kw->e[i].v);
    return d;
}

static jval g_dict(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)a;
    return make_dict(rt, raw);
}

void glia_j_check_attribute(jrt *rt, jval name) {
    jtext shown = {0};
    if (name.kind != J_STR || name.u.s->n == 0 || name.u.s->p[0] != '_') return;
    glia_j_repr(rt, &shown, name);
    glia_j_fail(rt, "SecurityError",
                "Chat templates cannot store underscore-prefixed attributes on a namespace, but got %.*s. "
                "Please rename the attribute.",
                (int)shown.n, shown.data);
}

static jval g_namespace(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)a;
    jdict *d = make_dict(rt, raw).u.d;
    for (size_t i = 0; i < d->n; i++) glia_j_check_attribute(rt, d->e[i].k);
    return (jval){J_NAMESPACE, {.d = d}};
}

static jval g_cycler(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)a;
    if (raw->n == 0) glia_j_fail(rt, "RuntimeError", "at least one item has to be provided");
    jcycler *c = glia_j_alloc(rt, sizeof *c);
    c->items = glia_j_tuple(rt, raw->n).u.l;
    for (size_t i = 0; i < raw->n; i++) glia_j_push(rt, c->items, raw->v[i]);
    return (jval){J_CYCLER, {.cy = c}};
}

static jval g_joiner(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)raw;
    jjoiner *j = glia_j_alloc(rt, sizeof *j);
    j->sep = a[0].kind == J_MISSING ? glia_j_cstr(rt, ", ") : a[0];
    return (jval){J_JOINER, {.jo = j}};
}

static jval g_lipsum(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)a, (void)raw;
    glia_j_fail(rt, "TemplateRuntimeError", "lipsum() is refused: a prompt must not depend on chance");
}

static jval g_raise_exception(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)raw;
    jtext t = {0};
    glia_j_print(rt, &t, a[0]);
    glia_j_putc(rt, &t, '\0');
    glia_j_fail(rt, "TemplateError", "%s", t.data);
}

static jval g_strftime_now(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)self, (void)raw;
    if (a[0].kind != J_STR)
        glia_j_fail(rt, "TypeError", "strftime() argument 1 must be str, not %s", glia_j_type(a[0]));
    return glia_j_strftime(rt, a[0].u.s);
}

const jrow glia_j_globals[] = {
    {"range", NULL, g_range, NULL, 0},
    {"lipsum", NULL, g_lipsum, NULL, 0},
    {"raise_exception", "message", g_raise_exception,
     "_cached_compile_jinja_template.<locals>.raise_exception", 0},
    {"strftime_now", "format", g_strftime_now, "_cached_compile_jinja_template.<locals>.strftime_now", 0},
    {0},
};

const jrow glia_j_classes[] = {
    {"dict", NULL, g_dict, NULL, 0},
    {"cycler", NULL, g_cycler, NULL, 0},
    {"joiner", "sep=", g_joiner, "Joiner.__init__", 1},
    {"namespace", NULL, g_namespace, NULL, 0},
    {0},
};

/* ---- methods of loops and cyclers -------------------------------------------------------------- */

static jval m_loop_cycle(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a;
    if (raw->n == 0) glia_j_fail(rt, "TypeError", "no items for cycling given");
    return raw->v[(size_t)self.u.loop->index0 % raw->n];
}

static jval m_loop_changed(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)a;
    jval now = glia_j_tuple(rt, raw->n);
    for (size_t i = 0; i < raw->n; i++) glia_j_push(rt, now.u.l, raw->v[i]);
    if (self.u.loop->changed.kind == J_TUPLE && glia_j_equal(rt, now, self.u.loop->changed))
        return glia_j_bool(false);
    self.u.loop->changed = now;
    return glia_j_bool(true);
}

const jrow glia_j_loop_methods[] = {
    {"cycle", NULL, m_loop_cycle, NULL, 0},
    {"changed", NULL, m_loop_changed, NULL, 0},
    {0},
};

static jval m_cycler_next(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    jcycler *c = self.u.cy;
    const jval v = c->items->v[c->pos];
    c->pos = (c->pos + 1) % c->items->n;
    return v;
}

static jval m_cycler_reset(jrt *rt, jval self, const jval *a, const jargs *raw) {
    (void)rt, (void)a, (void)raw;
    self.u.cy->pos = 0;
    return glia_j_none;
}

const jrow glia_j_cycler_methods[] = {
    {"next", "", m_cycler_next, "Cycler.next", 1},
    {"reset", "", m_cycler_reset, "Cycler.reset", 1},
    {0},
};
