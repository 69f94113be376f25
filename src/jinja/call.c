/* call.c - attributes, items and calls, under the rules of Jinja's
 * ImmutableSandboxedEnvironment: names that begin with an underscore, and methods
 * that change their object, are refused. */
#include "jinja/ast.h"

#include <string.h>

enum { PARAMS_MAX = 8 };

const jrow *glia_j_row(const jrow *table, const char *name, size_t n) {
    for (; table->name; table++) {
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0) return table;
    }
    return NULL;
}

const jrow *glia_j_filter(const char *name, size_t n) {
    const jrow *const tables[] = {glia_j_filters_text, glia_j_filters_seq, glia_j_filters_num,
                                  glia_j_filters_html};
    const jrow *row = NULL;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && !row; i++) row = glia_j_row(tables[i], name, n);
    return row;
}

const jrow *glia_j_test(const char *name, size_t n) { return glia_j_row(glia_j_tests, name, n); }

/* ---- binding arguments to parameters ------------------------------------------------------- */

typedef struct {
    const char *name[PARAMS_MAX];
    size_t len[PARAMS_MAX];
    bool optional[PARAMS_MAX];
    size_t n, required;
    bool positional_only;
} jsignature;

static jsignature read_signature(const char *p) {
    jsignature s = {0};
    s.positional_only = *p == '/';
    if (s.positional_only) p++;
    while (*p) {
        const size_t len = strcspn(p, ",=");
        s.name[s.n] = p;
        s.len[s.n] = len;
        s.optional[s.n] = p[len] == '=';
        s.required += p[len] != '=';
        s.n++;
        p += len;
        while (*p == ',' || *p == '=') p++;
    }
    return s;
}

static const char *pyname(const jrow *row) { return row->pyname ? row->pyname : row->name; }

/* Fail with CPython's message for functions written in C. */
static _Noreturn void wrong_count(jrt *rt, const jrow *row, const jsignature *s, size_t given) {
    const char *name = pyname(row), *last = strrchr(name, '.');
    if (row->hidden < 0) {
        const bool few = given < s->required;
        const size_t bound = few ? s->required : s->n;
        glia_j_fail(rt, "TypeError", "%s() takes at %s %zu argument%s (%zu given)", last ? last + 1 : name,
                    few ? "least" : "most", bound, bound == 1 ? "" : "s", given);
    }
    const size_t hidden = (size_t)row->hidden, most = s->n + hidden, least = s->required + hidden;
    given += hidden;
    if (most == 0) glia_j_fail(rt, "TypeError", "%s() takes no arguments (%zu given)", name, given);
    if (most == 1 && least == 1)
        glia_j_fail(rt, "TypeError", "%s() takes exactly one argument (%zu given)", name, given);
    const bool few = given < least;
    const size_t bound = few ? least : most;
    glia_j_fail(rt, "TypeError", "%s expected %s%zu argument%s, got %zu", last ? last + 1 : name,
                least == most ? ""
                : few         ? "at least "
                              : "at most ",
                bound, bound == 1 ? "" : "s", given);
}

/* Fail with CPython's message for functions written in Python. */
static _Noreturn void too_many(jrt *rt, const jrow *row, const jsignature *s, size_t given) {
    if (row->hidden < 0)
        glia_j_fail(rt, "TypeError", "%s() takes at most %zu argument%s (%zu given)", pyname(row), s->n,
                    s->n == 1 ? "" : "s", given);
    const size_t hidden = (size_t)row->hidden, most = s->n + hidden, least = s->required + hidden;
    jtext range = {0};
    if (least == most)
        glia_j_printf(rt, &range, "%zu", most);
    else
        glia_j_printf(rt, &range, "from %zu to %zu", least, most);
    glia_j_fail(rt, "TypeError", "%s() takes %.*s positional argument%s but %zu were given", pyname(row),
                (int)range.n, range.data, most == 1 ? "" : "s", given + hidden);
}

static _Noreturn void missing_params(jrt *rt, const jrow *row, const jsignature *s, const jval *bound) {
    jtext names = {0};
    size_t lacking = 0, told = 0;
    for (size_t i = 0; i < s->n; i++) lacking += !s->optional[i] && bound[i].kind == J_MISSING;
    for (size_t i = 0; i < s->n; i++) {
        if (s->optional[i] || bound[i].kind != J_MISSING) continue;
        if (told) glia_j_puts(rt, &names, told + 1 < lacking ? ", " : lacking == 2 ? " and " : ", and ");
        glia_j_printf(rt, &names, "'%.*s'", (int)s->len[i], s->name[i]);
        told++;
    }
    glia_j_fail(rt, "TypeError", "%s() missing %zu required positional argument%s: %.*s", pyname(row),
                lacking, lacking == 1 ? "" : "s", (int)names.n, names.data);
}

static void bind_keywords(jrt *rt, const jrow *row, const jsignature *s, const jdict *kw, jval *bound) {
    for (size_t k = 0; k < kw->n; k++) {
        const jstr *key = kw->e[k].k.u.s;
        size_t i = 0;
        while (i < s->n && (s->len[i] != key->n || memcmp(s->name[i], key->p, key->n) != 0)) i++;
        if (i == s->n && row->hidden < 0)
            glia_j_fail(rt, "TypeError", "%s is an invalid keyword argument for %s()",
                        glia_j_crepr(rt, kw->e[k].k), pyname(row));
        if (i == s->n)
            glia_j_fail(rt, "TypeError", "%s() got an unexpected keyword argument '%.*s'", pyname(row),
                        (int)key->n, key->p);
        if (bound[i].kind != J_MISSING)
            glia_j_fail(rt, "TypeError", "%s() got multiple values for argument '%.*s'", pyname(row),
                        (int)key->n, key->p);
        bound[i] = kw->e[k].v;
    }
}

static void bind_params(jrt *rt, const jrow *row, const jargs *args, jval *bound) {
    const jsignature s = read_signature(row->params);
    if (s.positional_only && args->kw && args->kw->n)
        glia_j_fail(rt, "TypeError", "%s() takes no keyword arguments", pyname(row));
    if (s.positional_only && (args->n > s.n || args->n < s.required)) wrong_count(rt, row, &s, args->n);
    if (args->n > s.n) too_many(rt, row, &s, args->n);
    for (size_t i = 0; i < args->n; i++) bound[i] = args->v[i];
    if (args->kw) bind_keywords(rt, row, &s, args->kw, bound);
    for (size_t i = 0; i < s.n; i++) {
        if (!s.optional[i] && bound[i].kind == J_MISSING) missing_params(rt, row, &s, bound);
    }
}

jval glia_j_invoke(jrt *rt, const jrow *row, jval self, const jargs *args) {
    jval bound[PARAMS_MAX] = {0};
    glia_j_enter(rt);
    glia_j_step(rt, 1);
    if (row->params) bind_params(rt, row, args, bound);
    const jval v = row->fn(rt, self, bound, args);
    glia_j_leave(rt);
    return v;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static const jrow *methods_of(jval obj) {
    switch (obj.kind) {
    case J_STR: return glia_j_str_methods;
    case J_LIST: return glia_j_list_methods;
    case J_TUPLE: return glia_j_tuple_methods;
    case J_DICT: return glia_j_dict_methods;
    case J_BOOL:
    case J_INT: return glia_j_int_methods;
    case J_FLOAT: return glia_j_float_methods;
    case J_RANGE: return glia_j_range_methods;
    case J_CYCLER: return glia_j_cycler_methods;
    default: return NULL;
    }
}

/* True for the names that every Python object or container has. */
static bool is_dunder(const jstr *name) {
    static const char *const names[] = {
        "__class__", "__init__",    "__doc__",      "__dict__",    "__module__",       "__len__",
        "__iter__",  "__getitem__", "__contains__", "__eq__",      "__ne__",           "__hash__",
        "__repr__",  "__str__",     "__new__",      "__reduce__",  "__subclasshook__", "__getattribute__",
        "__dir__",   "__format__",  "__sizeof__",   "__setattr__", "__delattr__",      "__init_subclass__",
        "__lt__",    "__le__",      "__gt__",       "__ge__",      "__reduce_ex__",    "__getstate__",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (glia_j_is_str((jval){J_STR, {.s = (jstr *)(uintptr_t)name}}, names[i])) return true;
    }
    return false;
}

static jval unsafe(jrt *rt, jval obj, jval name) {
    jtext t = {0};
    glia_j_printf(rt, &t, "access to attribute %s of '%s' object is unsafe.", glia_j_crepr(rt, name),
                  glia_j_type(obj));
    glia_j_putc(rt, &t, '\0');
    return glia_j_undef_hint(rt, t.data, "SecurityError");
}

static jval macro_attribute(jrt *rt, const jmacro *m, jval name) {
    const jparams *p = m->node->params;
    if (glia_j_is_str(name, "name")) return m->node->op == N_MACRO ? m->node->value : glia_j_none;
    if (glia_j_is_str(name, "catch_kwargs")) return glia_j_bool(p->kwargs);
    if (glia_j_is_str(name, "catch_varargs")) return glia_j_bool(p->varargs);
    if (glia_j_is_str(name, "caller")) return glia_j_bool(p->caller);
    if (!glia_j_is_str(name, "arguments")) return glia_j_missing;
    jval names = glia_j_tuple(rt, p->n);
    for (size_t i = 0; i < p->n; i++)
        glia_j_push(rt, names.u.l, (jval){J_STR, {.s = rt->t->names[p->id[i]]}});
    return names;
}

static jval self_attribute(const jrt *rt, jval name) {
    for (size_t i = 0; i < rt->t->n_blocks; i++) {
        const jstr *block = rt->t->blocks[i]->value.u.s;
        if (block->n == name.u.s->n && memcmp(block->p, name.u.s->p, block->n) == 0)
            return (jval){J_BLOCK, {.block = rt->t->blocks[i]}};
    }
    return glia_j_missing;
}

static jval range_attribute(const jrange *r, jval name) {
    if (glia_j_is_str(name, "start")) return glia_j_int(r->start);
    if (glia_j_is_str(name, "stop")) return glia_j_int(r->stop);
    return glia_j_is_str(name, "step") ? glia_j_int(r->step) : glia_j_missing;
}

static jval cycler_attribute(const jcycler *c, jval name) {
    if (glia_j_is_str(name, "current")) return c->items->v[c->pos];
    if (glia_j_is_str(name, "pos")) return glia_j_int((int64_t)c->pos);
    return glia_j_is_str(name, "items") ? (jval){J_TUPLE, {.l = c->items}} : glia_j_missing;
}

static jval number_attribute(jval v, jval name) {
    if (glia_j_is_str(name, "real")) return v.kind == J_BOOL ? glia_j_int(v.u.b) : v;
    if (glia_j_is_str(name, "imag")) return v.kind == J_FLOAT ? glia_j_float(0) : glia_j_int(0);
    if (v.kind == J_FLOAT) return glia_j_missing;
    if (glia_j_is_str(name, "numerator")) return v.kind == J_BOOL ? glia_j_int(v.u.b) : v;
    return glia_j_is_str(name, "denominator") ? glia_j_int(1) : glia_j_missing;
}

jval glia_j_attribute(jrt *rt, jval obj, jval name) {
    jval v = glia_j_missing;
    const jrow *rows = methods_of(obj);
    const jrow *row = rows ? glia_j_row(rows, name.u.s->p, name.u.s->n) : NULL;
    if (row) return row->fn ? glia_j_bind(rt, row, obj, "builtin_function_or_method") : unsafe(rt, obj, name);
    if (obj.kind != J_NAMESPACE && is_dunder(name.u.s)) return unsafe(rt, obj, name);
    switch (obj.kind) {
    case J_NAMESPACE:
        if (glia_j_get(rt, obj.u.d, name, &v) && name.u.s->n && name.u.s->p[0] == '_')
            return unsafe(rt, obj, name);
        return v;
    case J_LOOP: return glia_j_loop_attr(rt, obj.u.loop, name.u.s);
    case J_MACRO: return macro_attribute(rt, obj.u.m, name);
    case J_RANGE: return range_attribute(obj.u.r, name);
    case J_CYCLER: return cycler_attribute(obj.u.cy, name);
    case J_JOINER:
        if (glia_j_is_str(name, "sep")) return obj.u.jo->sep;
        return glia_j_is_str(name, "used") ? glia_j_bool(obj.u.jo->used) : v;
    case J_BOOL:
    case J_INT:
    case J_FLOAT: return number_attribute(obj, name);
    case J_TUPLE:
        if (!obj.u.l->group) return v;
        if (glia_j_is_str(name, "grouper")) return obj.u.l->v[0];
        return glia_j_is_str(name, "list") ? obj.u.l->v[1] : v;
    default: return v;
    }
}

/* obj[key] without a look at attributes; J_MISSING if Python raises LookupError or TypeError. */
static jval subscript(jrt *rt, jval obj, jval key) {
    int64_t i, n = 0;
    jval v = glia_j_missing;
    if (obj.kind == J_DICT) {
        glia_j_get(rt, obj.u.d, key, &v);
    } else if (obj.kind == J_BLOCK && !obj.u.block && key.kind == J_STR) {
        v = self_attribute(rt, key);
    } else if ((obj.kind == J_STR || obj.kind == J_LIST || obj.kind == J_TUPLE || obj.kind == J_RANGE) &&
               glia_j_integer(key, &i)) {
        glia_j_len(rt, obj, &n);
        if (i < 0) i += n;
        if (i < 0 || i >= n) return v;
        if (obj.kind == J_STR) return glia_j_at(rt, obj.u.s, (size_t)i);
        if (obj.kind == J_RANGE)
            glia_j_range_item(obj.u.r, (size_t)i, &v);
        else
            v = obj.u.l->v[i];
    }
    return v;
}

jval glia_j_getattr(jrt *rt, jval obj, jval name) {
    if (obj.kind == J_UNDEF && is_dunder(name.u.s)) return unsafe(rt, obj, name);
    if (obj.kind == J_UNDEF) glia_j_undefined_error(rt, obj);
    jval v = glia_j_attribute(rt, obj, name);
    if (v.kind == J_MISSING) v = subscript(rt, obj, name);
    return v.kind == J_MISSING ? glia_j_undef(rt, obj, name) : v;
}

jval glia_j_getitem(jrt *rt, jval obj, jval key) {
    if (obj.kind == J_UNDEF) glia_j_undefined_error(rt, obj);
    jval v = subscript(rt, obj, key);
    if (v.kind == J_MISSING && key.kind == J_STR) v = glia_j_attribute(rt, obj, key);
    return v.kind == J_MISSING ? glia_j_undef(rt, obj, key) : v;
}

/* ---- calls ------------------------------------------------------------------------------------- */

bool glia_j_callable(jval v) {
    return v.kind == J_UNDEF || v.kind == J_MACRO || v.kind == J_LOOP || v.kind == J_JOINER ||
           v.kind == J_FUNCTION || (v.kind == J_BLOCK && v.u.block);
}

static jval join_once(jrt *rt, jjoiner *j) {
    if (j->used) return j->sep;
    j->used = true;
    return glia_j_cstr(rt, "");
}

jval glia_j_call(jrt *rt, jval f, const jargs *args) {
    switch (f.kind) {
    case J_UNDEF: glia_j_undefined_error(rt, f);
    case J_FUNCTION: return glia_j_invoke(rt, f.u.fn->row, f.u.fn->self, args);
    case J_MACRO: return glia_j_call_macro(rt, f.u.m, args);
    case J_JOINER:
        if (args->n || (args->kw && args->kw->n))
            glia_j_fail(rt, "TypeError", "Joiner.__call__() takes 1 positional argument but %zu were given",
                        args->n + 1);
        return join_once(rt, f.u.jo);
    case J_LOOP:
        if (args->n != 1)
            glia_j_fail(rt, "TypeError",
                        "LoopContext.__call__() takes 2 positional arguments but %zu were given",
                        args->n + 1);
        return glia_j_call_loop(rt, f.u.loop, args->v[0]);
    case J_BLOCK:
        if (f.u.block) return glia_j_call_block(rt, f.u.block);
        break;
    default: break;
    }
    glia_j_fail(rt, "TypeError", "'%s' object is not callable", glia_j_type(f));
}
