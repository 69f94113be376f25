/* eval.c - expressions: the value of a node in a scope. */
#include "jinja/ast.h"

#include <string.h>

/* ---- scopes ---------------------------------------------------------------------------------- */

jscope *glia_j_scope(jrt *rt, jscope *parent, const jnode *owner) {
    jscope *sc = glia_j_alloc(rt, sizeof *sc);
    sc->parent = parent;
    if (owner) glia_j_hide(rt, sc, owner);
    return sc;
}

void glia_j_hide(jrt *rt, jscope *sc, const jnode *owner) {
    for (size_t i = 0; i < owner->n_hide; i++) glia_j_set(rt, sc, owner->hide[i], glia_j_missing);
}

void glia_j_set(jrt *rt, jscope *sc, int id, jval v) {
    glia_j_step(rt, (uint64_t)sc->n / 16);
    for (int i = 0; i < sc->n; i++) {
        if (sc->id[i] == id) {
            sc->v[i] = v;
            return;
        }
    }
    if (sc->n == sc->cap) {
        const int cap = sc->cap ? 2 * sc->cap : 4;
        int *ids = glia_j_alloc(rt, (size_t)cap * sizeof *ids);
        jval *values = glia_j_alloc(rt, (size_t)cap * sizeof *values);
        if (sc->n) {
            memcpy(ids, sc->id, (size_t)sc->n * sizeof *ids);
            memcpy(values, sc->v, (size_t)sc->n * sizeof *values);
        }
        sc->id = ids;
        sc->v = values;
        sc->cap = cap;
    }
    sc->id[sc->n] = id;
    sc->v[sc->n++] = v;
}

/* The context's variable, else Jinja's global, else undefined. */
static jval find_global(jrt *rt, int id) {
    jstr *name = rt->t->names[id];
    const jval key = {J_STR, {.s = name}};
    jtext text = {0};
    glia_j_add(rt, &text, name->p, name->n);
    glia_j_putc(rt, &text, '\0');
    const json_t *j = json_object_get(rt->context, text.data);
    if (j) return glia_j_from_json(rt, j);
    const jrow *row = glia_j_row(glia_j_globals, name->p, name->n);
    if (row) return glia_j_bind(rt, row, glia_j_none, "function");
    row = glia_j_row(glia_j_classes, name->p, name->n);
    if (row) return glia_j_bind(rt, row, glia_j_none, "type");
    if (id == J_ID_SELF) return (jval){J_BLOCK, {.block = NULL}};
    return glia_j_undef(rt, glia_j_missing, key);
}

jval glia_j_lookup(jrt *rt, jscope *sc, int id) {
    bool in_block = false;
    for (; sc; sc = sc->parent) {
        for (int i = 0; i < sc->n; i++) {
            if (sc->id[i] != id) continue;
            if (sc->v[i].kind != J_MISSING) return sc->v[i];
            if (in_block) break;
            return glia_j_undef(rt, glia_j_missing, (jval){J_STR, {.s = rt->t->names[id]}});
        }
        in_block |= sc->block;
        glia_j_step(rt, 1 + (uint64_t)sc->n / 16);
    }
    if (rt->globals[id].kind == J_MISSING) rt->globals[id] = find_global(rt, id);
    return rt->globals[id];
}

/* ---- arguments --------------------------------------------------------------------------------- */

static void eval_star(jrt *rt, const jnode *star, jscope *sc, jlist *into) {
    const jval v = glia_j_eval(rt, star, sc);
    if (!glia_j_iterable(v))
        glia_j_fail(rt, "TypeError", "Value after * must be an iterable, not %s", glia_j_type(v));
    const jlist *more = glia_j_items(rt, v);
    for (size_t i = 0; i < more->n; i++) glia_j_push(rt, into, more->v[i]);
}

static void eval_star2(jrt *rt, const jnode *star, jscope *sc, jdict *into) {
    const jval v = glia_j_eval(rt, star, sc);
    if (v.kind != J_DICT)
        glia_j_fail(rt, "TypeError",
                    "jinja2.sandbox.SandboxedEnvironment.call() argument after ** must be a mapping, not %s",
                    glia_j_type(v));
    for (size_t i = 0; i < v.u.d->n; i++) {
        jval twice;
        if (v.u.d->e[i].k.kind != J_STR) glia_j_fail(rt, "TypeError", "keywords must be strings");
        if (glia_j_get(rt, into, v.u.d->e[i].k, &twice))
            glia_j_fail(rt, "TypeError", "got multiple values for keyword argument %s",
                        glia_j_crepr(rt, v.u.d->e[i].k));
        glia_j_put(rt, into, v.u.d->e[i].k, v.u.d->e[i].v);
    }
}

void glia_j_eval_args(jrt *rt, const jnode *n, jscope *sc, jargs *out) {
    const jcallargs *a = n->args;
    jlist *list = glia_j_list(rt, a->n).u.l;
    for (size_t i = 0; i < a->n; i++) glia_j_push(rt, list, glia_j_eval(rt, a->v[i], sc));
    if (a->star) eval_star(rt, a->star, sc, list);
    *out = (jargs){.v = list->v, .n = list->n};
    if (!a->n_kw && !a->star2) return;
    out->kw = glia_j_dict(rt).u.d;
    for (size_t i = 0; i < a->n_kw; i++)
        glia_j_put(rt, out->kw, (jval){J_STR, {.s = a->names[i]}}, glia_j_eval(rt, a->kw[i], sc));
    if (a->star2) eval_star2(rt, a->star2, sc, out->kw);
}

/* ---- operators ----------------------------------------------------------------------------------- */

static bool compare(jrt *rt, char what, jval a, jval b) {
    switch (what) {
    case '=': return glia_j_equal(rt, a, b);
    case '!': return !glia_j_equal(rt, a, b);
    case '<': return glia_j_order(rt, a, b, "<");
    case '>': return glia_j_order(rt, a, b, ">");
    case 'l': return glia_j_order(rt, a, b, "<=");
    case 'g': return glia_j_order(rt, a, b, ">=");
    case 'i': return glia_j_contains(rt, b, a);
    default: return !glia_j_contains(rt, b, a);
    }
}

static jval eval_compare(jrt *rt, const jnode *n, jscope *sc) {
    jval left = glia_j_eval(rt, n->a, sc);
    for (size_t i = 0; i < n->n; i++) {
        const jval right = glia_j_eval(rt, n->kids[i]->a, sc);
        if (!compare(rt, n->kids[i]->what, left, right)) return glia_j_bool(false);
        left = right;
    }
    return glia_j_bool(true);
}

static jval eval_concat(jrt *rt, const jnode *n, jscope *sc) {
    jval all = glia_j_missing;
    bool safe = false;
    jval *v = glia_j_alloc(rt, n->n * sizeof *v);
    for (size_t i = 0; i < n->n; i++) {
        v[i] = glia_j_eval(rt, n->kids[i], sc);
        safe |= rt->autoescape && v[i].kind == J_STR && v[i].u.s->safe;
    }
    for (size_t i = 0; i < n->n; i++) {
        v[i] = safe ? glia_j_escape(rt, v[i]) : glia_j_tostr(rt, v[i]);
        all = i ? glia_j_concat(rt, all, v[i]) : v[i];
    }
    return all;
}

static jval eval_sequence(jrt *rt, const jnode *n, jscope *sc) {
    jval v = n->op == N_LIST ? glia_j_list(rt, n->n) : glia_j_tuple(rt, n->n);
    for (size_t i = 0; i < n->n; i++) glia_j_push(rt, v.u.l, glia_j_eval(rt, n->kids[i], sc));
    return v;
}

static jval eval_dict(jrt *rt, const jnode *n, jscope *sc) {
    jval v = glia_j_dict(rt), *all = glia_j_alloc(rt, n->n * sizeof *all);
    for (size_t i = 0; i < n->n; i++) all[i] = glia_j_eval(rt, n->kids[i], sc);
    for (size_t i = 0; i < n->n; i += 2) glia_j_put(rt, v.u.d, all[i], all[i + 1]);
    return v;
}

static jval eval_item(jrt *rt, const jnode *n, jscope *sc) {
    const jval obj = glia_j_eval(rt, n->a, sc);
    if (n->b->op != N_SLICE) return glia_j_getitem(rt, obj, glia_j_eval(rt, n->b, sc));
    const jval start = n->b->a ? glia_j_eval(rt, n->b->a, sc) : glia_j_none;
    const jval stop = n->b->b ? glia_j_eval(rt, n->b->b, sc) : glia_j_none;
    const jval step = n->b->c ? glia_j_eval(rt, n->b->c, sc) : glia_j_none;
    return glia_j_slice(rt, obj, start, stop, step);
}

static jval eval_cond(jrt *rt, const jnode *n, jscope *sc) {
    if (glia_j_truth(rt, glia_j_eval(rt, n->a, sc))) return glia_j_eval(rt, n->b, sc);
    if (n->c) return glia_j_eval(rt, n->c, sc);
    jtext t = {0};
    glia_j_printf(rt, &t,
                  "the inline if-expression on line %d evaluated to false and no else section was defined.",
                  n->line);
    glia_j_putc(rt, &t, '\0');
    return glia_j_undef_hint(rt, t.data, NULL);
}

/* Evaluate a filter or test on v. */
static jval eval_row(jrt *rt, const jnode *n, jscope *sc, jval v) {
    jargs args;
    if (!n->row)
        glia_j_fail(rt, "TemplateRuntimeError", "No %s named %s found.", n->op == N_TEST ? "test" : "filter",
                    glia_j_crepr(rt, n->value));
    glia_j_eval_args(rt, n, sc, &args);
    rt->line = n->line;
    return glia_j_invoke(rt, n->row, v, &args);
}

static jval eval_call(jrt *rt, const jnode *n, jscope *sc) {
    jargs args;
    const jval f = glia_j_eval(rt, n->a, sc);
    glia_j_eval_args(rt, n, sc, &args);
    return glia_j_call(rt, f, &args);
}

static jval eval_unary(jrt *rt, const jnode *n, jscope *sc) {
    const jval v = glia_j_eval(rt, n->a, sc);
    return n->what == '!' ? glia_j_bool(!glia_j_truth(rt, v)) : glia_j_negate(rt, v, n->what == '-');
}

static jval eval_node(jrt *rt, const jnode *n, jscope *sc) {
    jval a;
    switch (n->op) {
    case N_CONST: return n->value;
    case N_NAME: return glia_j_lookup(rt, sc, n->id);
    case N_TUPLE:
    case N_LIST: return eval_sequence(rt, n, sc);
    case N_DICT: return eval_dict(rt, n, sc);
    case N_UNARY: return eval_unary(rt, n, sc);
    case N_BINARY:
        a = glia_j_eval(rt, n->a, sc);
        return glia_j_binary(rt, n->what, a, glia_j_eval(rt, n->b, sc));
    case N_AND: a = glia_j_eval(rt, n->a, sc); return glia_j_truth(rt, a) ? glia_j_eval(rt, n->b, sc) : a;
    case N_OR: a = glia_j_eval(rt, n->a, sc); return glia_j_truth(rt, a) ? a : glia_j_eval(rt, n->b, sc);
    case N_CONCAT: return eval_concat(rt, n, sc);
    case N_COMPARE: return eval_compare(rt, n, sc);
    case N_COND: return eval_cond(rt, n, sc);
    case N_ATTR: return glia_j_getattr(rt, glia_j_eval(rt, n->a, sc), n->value);
    case N_ITEM: return eval_item(rt, n, sc);
    case N_CALL: return eval_call(rt, n, sc);
    case N_FILTER:
        a = n->a ? glia_j_eval(rt, n->a, sc) : glia_j_lookup(rt, sc, J_ID_CAPTURED);
        return eval_row(rt, n, sc, a);
    case N_TEST: return eval_row(rt, n, sc, glia_j_eval(rt, n->a, sc));
    default: return glia_j_none;
    }
}

/* rt->line is restored afterwards, so that a failure reports the line of the node
 * being evaluated and not of its last operand. */
jval glia_j_eval(jrt *rt, const jnode *n, jscope *sc) {
    const int line = rt->line;
    rt->line = n->line;
    glia_j_enter(rt);
    glia_j_step(rt, 1);
    const jval v = eval_node(rt, n, sc);
    glia_j_leave(rt);
    rt->line = line;
    return v;
}
