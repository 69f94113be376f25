/* exec.c - statements: loops, assignments, macros, blocks.
 *
 * Scopes are Jinja's: a loop's body, a macro, and with, filter and set blocks have a
 * scope each; `if` has none. A block sees the names that the top level has set. A
 * macro sees the current state of the scope that defined it. */
#include "jinja/ast.h"

#include <string.h>

/* ---- assignment -------------------------------------------------------------------------------- */

static void unpack(jrt *rt, const jnode *target, jscope *sc, jval v) {
    if (!glia_j_iterable(v))
        glia_j_fail(rt, "TypeError", "cannot unpack non-iterable %s object", glia_j_type(v));
    const size_t want = target->n;
    jval *items = glia_j_alloc(rt, want * sizeof *items), extra;
    jiter *it = glia_j_iter(rt, v);
    size_t n = 0;
    while (n < want && glia_j_step_iter(rt, it, &items[n])) n++;
    if (n < want)
        glia_j_fail(rt, "ValueError", "not enough values to unpack (expected %zu, got %zu)", want, n);
    if (glia_j_step_iter(rt, it, &extra))
        glia_j_fail(rt, "ValueError", "too many values to unpack (expected %zu)", want);
    for (size_t i = 0; i < want; i++) glia_j_assign(rt, target->kids[i], sc, items[i]);
}

/* Fail unless every ns.attr in the target belongs to a namespace. Checked before
 * anything is assigned. */
static void check_namespaces(jrt *rt, const jnode *target, jscope *sc) {
    for (size_t i = 0; i < target->n; i++) check_namespaces(rt, target->kids[i], sc);
    if (target->op != N_NSREF) return;
    if (glia_j_lookup(rt, sc, target->id).kind != J_NAMESPACE)
        glia_j_fail(rt, "TemplateRuntimeError", "cannot assign attribute on non-namespace object");
}

void glia_j_assign(jrt *rt, const jnode *target, jscope *sc, jval v) {
    if (target->op == N_NAME) {
        glia_j_set(rt, sc, target->id, v);
    } else if (target->op == N_NSREF) {
        glia_j_check_attribute(rt, target->value);
        glia_j_put(rt, glia_j_lookup(rt, sc, target->id).u.d, target->value, v);
    } else {
        unpack(rt, target, sc, v);
    }
}

/* ---- output -------------------------------------------------------------------------------------- */

static void output(jrt *rt, jval v) {
    if (rt->autoescape) v = glia_j_escape(rt, v);
    glia_j_print(rt, rt->out, v);
}

typedef struct {
    jtext *text, *outer;
    size_t before;
} jcapture;

static void capture_begin(jrt *rt, jcapture *c) {
    c->outer = rt->out;
    c->text = glia_j_alloc(rt, sizeof *c->text);
    rt->out = c->text;
}

static jval capture_end(jrt *rt, jcapture *c) {
    rt->out = c->outer;
    return glia_j_mark(rt, glia_j_text(rt, c->text), rt->autoescape);
}

/* ---- loops ----------------------------------------------------------------------------------------- */

/* The next item that passes the loop's test; items are tested lazily. */
static bool next_passing(jrt *rt, jiter *it, jval *out) {
    while (glia_j_step_iter(rt, it->in, out)) {
        jscope *sc = glia_j_scope(rt, it->scope, NULL);
        glia_j_assign(rt, it->node->a, sc, *out);
        if (!glia_j_truth(rt, glia_j_eval(rt, it->node->c, sc))) continue;
        *out = glia_j_eval(rt, it->node->a, sc); /* the target's value: a tuple if the item was unpacked */
        return true;
    }
    return false;
}

static jiter *filtered(jrt *rt, const jnode *n, jscope *sc, jval src) {
    jiter *it = glia_j_generator(rt, src, next_passing);
    it->in = glia_j_iter(rt, src);
    it->scope = sc;
    it->node = n;
    return it;
}

bool glia_j_loop_step(jrt *rt, jloop *loop, jval *out) {
    if (loop->after.kind != J_MISSING) {
        *out = loop->after;
        loop->after = glia_j_missing;
    } else if (!glia_j_step_iter(rt, loop->it, out)) {
        return false;
    }
    loop->index0++;
    loop->before = loop->current;
    loop->current = *out;
    return true;
}

int64_t glia_j_loop_length(jrt *rt, jloop *loop) {
    if (loop->length >= 0) return loop->length;
    if (!glia_j_len(rt, loop->src, &loop->length)) {
        const jval rest = glia_j_collect(rt, (jval){J_ITER, {.it = loop->it}});
        loop->it = glia_j_iter(rt, rest);
        loop->length = (int64_t)rest.u.l->n + loop->index0 + 1 + (loop->after.kind != J_MISSING);
    }
    return loop->length;
}

static bool peek(jrt *rt, jloop *loop) {
    jval item; /* not loop->after: a generator may write to its output and then end */
    if (loop->after.kind == J_MISSING && glia_j_step_iter(rt, loop->it, &item)) loop->after = item;
    return loop->after.kind != J_MISSING;
}

jval glia_j_loop_attr(jrt *rt, jloop *loop, const jstr *name) {
    const jval n = {J_STR, {.s = (jstr *)(uintptr_t)name}};
    const jrow *row = glia_j_row(glia_j_loop_methods, name->p, name->n);
    if (row) return glia_j_bind(rt, row, (jval){J_LOOP, {.loop = loop}}, "method");
    if (glia_j_is_str(n, "index")) return glia_j_int(loop->index0 + 1);
    if (glia_j_is_str(n, "index0")) return glia_j_int(loop->index0);
    if (glia_j_is_str(n, "first")) return glia_j_bool(loop->index0 == 0);
    if (glia_j_is_str(n, "last")) return glia_j_bool(!peek(rt, loop));
    if (glia_j_is_str(n, "length")) return glia_j_int(glia_j_loop_length(rt, loop));
    if (glia_j_is_str(n, "revindex")) return glia_j_int(glia_j_loop_length(rt, loop) - loop->index0);
    if (glia_j_is_str(n, "revindex0")) return glia_j_int(glia_j_loop_length(rt, loop) - loop->index0 - 1);
    if (glia_j_is_str(n, "depth")) return glia_j_int(loop->depth0 + 1);
    if (glia_j_is_str(n, "depth0")) return glia_j_int(loop->depth0);
    if (glia_j_is_str(n, "previtem"))
        return loop->index0 == 0 ? glia_j_undef_hint(rt, "there is no previous item", NULL) : loop->before;
    if (glia_j_is_str(n, "nextitem"))
        return peek(rt, loop) ? loop->after : glia_j_undef_hint(rt, "there is no next item", NULL);
    return glia_j_missing;
}

static jflow run_loop(jrt *rt, const jnode *n, jscope *sc, jval src, int depth0) {
    jloop *loop = glia_j_alloc(rt, sizeof *loop);
    *loop = (jloop){.src = src, .index0 = -1, .length = -1, .depth0 = depth0, .scope = sc};
    if (n->flag) loop->node = n;
    loop->it = n->c ? filtered(rt, n, sc, src) : glia_j_iter(rt, src);
    if (n->c) loop->src = (jval){J_ITER, {.it = loop->it}};
    jscope *body = glia_j_scope(rt, sc, NULL);
    jval item;
    bool any = false, leave = false; /* any: a body ran to its end, which is what Jinja's `else` depends on */
    while (!leave && glia_j_loop_step(rt, loop, &item)) {
        if (body->captured) body = glia_j_scope(rt, sc, NULL);
        body->n = 0;
        glia_j_hide(rt, body, n);
        glia_j_set(rt, body, J_ID_LOOP, (jval){J_LOOP, {.loop = loop}});
        glia_j_assign(rt, n->a, body, item);
        const jflow flow = glia_j_exec(rt, n->kids, n->n, body);
        leave = flow == J_BREAK;
        any |= flow == J_NEXT;
    }
    if (any || !n->other) return J_NEXT;
    return glia_j_exec(rt, n->other->kids, n->other->n, glia_j_scope(rt, sc, n->other));
}

jval glia_j_call_loop(jrt *rt, jloop *loop, jval items) {
    if (!loop->node)
        glia_j_fail(rt, "TypeError", "The loop must have the 'recursive' marker to be called recursively.");
    jcapture c;
    capture_begin(rt, &c);
    run_loop(rt, loop->node, loop->scope, items, loop->depth0 + 1);
    return capture_end(rt, &c);
}

/* ---- macros ------------------------------------------------------------------------------------------ */

static jval macro_of(jrt *rt, const jnode *n, jscope *sc) {
    jmacro *m = glia_j_alloc(rt, sizeof *m);
    *m = (jmacro){n, sc};
    for (; sc && !sc->captured; sc = sc->parent) sc->captured = true;
    return (jval){J_MACRO, {.m = m}};
}

static const char *macro_name(jrt *rt, const jnode *n) {
    return n->op == N_MACRO ? glia_j_crepr(rt, n->value) : "None";
}

/* Bind keyword arguments to parameters. Returns those that match no parameter; NULL
 * if the call has no keyword arguments. */
static jdict *bind_macro(jrt *rt, const jparams *p, const jargs *args, jscope *sc, bool *has_caller) {
    jdict *rest = args->kw ? glia_j_dict(rt).u.d : NULL;
    for (size_t i = 0; args->kw && i < args->kw->n; i++) {
        const jentry *e = &args->kw->e[i];
        bool taken = false;
        for (size_t k = args->n; k < p->n && !taken; k++) {
            taken = glia_j_equal(rt, e->k, (jval){J_STR, {.s = rt->t->names[p->id[k]]}});
            if (taken) glia_j_set(rt, sc, p->id[k], e->v);
        }
        if (!taken) glia_j_put(rt, rest, e->k, e->v);
    }
    *has_caller = p->explicit_caller >= 0;
    return rest;
}

static void bind_rest(jrt *rt, const jmacro *m, const jargs *args, jscope *sc, jdict *rest, bool has_caller) {
    const jparams *p = m->node->params;
    jval caller = glia_j_none;
    if (p->caller && !has_caller) {
        jdict *others = glia_j_dict(rt).u.d;
        for (size_t i = 0; rest && i < rest->n; i++) {
            if (glia_j_is_str(rest->e[i].k, "caller"))
                caller = rest->e[i].v;
            else
                glia_j_put(rt, others, rest->e[i].k, rest->e[i].v);
        }
        rest = others;
        if (caller.kind == J_NONE) caller = glia_j_undef_hint(rt, "No caller defined", NULL);
        glia_j_set(rt, sc, J_ID_CALLER, caller);
    }
    if (p->kwargs) {
        glia_j_set(rt, sc, J_ID_KWARGS, rest ? (jval){J_DICT, {.d = rest}} : glia_j_dict(rt));
    } else if (rest && rest->n) {
        if (glia_j_gets(rt, rest, "caller", &caller))
            glia_j_fail(
                rt, "TypeError",
                "macro %s was invoked with two values for the special caller argument. This is most likely "
                "a bug.",
                macro_name(rt, m->node));
        glia_j_fail(rt, "TypeError", "macro %s takes no keyword argument %s", macro_name(rt, m->node),
                    glia_j_crepr(rt, rest->e[0].k));
    }
    if (p->varargs) {
        jval more = glia_j_tuple(rt, 0);
        for (size_t i = p->n; i < args->n; i++) glia_j_push(rt, more.u.l, args->v[i]);
        glia_j_set(rt, sc, J_ID_VARARGS, more);
    } else if (args->n > p->n) {
        glia_j_fail(rt, "TypeError", "macro %s takes not more than %zu argument(s)", macro_name(rt, m->node),
                    p->n);
    }
}

static void default_param(jrt *rt, const jparams *p, size_t i, jscope *sc) {
    const size_t first = p->n - p->n_defaults;
    if (i >= first) {
        glia_j_set(rt, sc, p->id[i], glia_j_eval(rt, p->defaults[i - first], sc));
        return;
    }
    const jval name = {J_STR, {.s = rt->t->names[p->id[i]]}};
    jtext t = {0};
    glia_j_printf(rt, &t, "parameter %s was not provided", glia_j_crepr(rt, name));
    glia_j_putc(rt, &t, '\0');
    glia_j_set(rt, sc, p->id[i], glia_j_undef_hint(rt, t.data, NULL));
}

jval glia_j_call_macro(jrt *rt, jmacro *m, const jargs *args) {
    const jparams *p = m->node->params;
    const int line = rt->line;
    jscope *sc = glia_j_scope(rt, m->scope, NULL);
    bool has_caller;
    for (size_t i = 0; i < p->n; i++) glia_j_set(rt, sc, p->id[i], i < args->n ? args->v[i] : glia_j_missing);
    glia_j_hide(rt, sc, m->node);
    jdict *rest = bind_macro(rt, p, args, sc, &has_caller);
    bind_rest(rt, m, args, sc, rest, has_caller);
    for (size_t i = 0; i < p->n; i++) {
        if (sc->v[i].kind == J_MISSING) default_param(rt, p, i, sc);
    }
    jcapture c;
    capture_begin(rt, &c);
    glia_j_exec(rt, m->node->kids, m->node->n, sc);
    rt->line = line;
    return capture_end(rt, &c);
}

static void run_call_block(jrt *rt, const jnode *n, jscope *sc) {
    jargs args;
    const jval caller = macro_of(rt, n, sc);
    const jval f = glia_j_eval(rt, n->a->a, sc);
    glia_j_eval_args(rt, n->a, sc, &args);
    jdict *kw = args.kw ? args.kw : glia_j_dict(rt).u.d;
    glia_j_put(rt, kw, glia_j_cstr(rt, "caller"), caller);
    args.kw = kw;
    output(rt, glia_j_call(rt, f, &args));
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

static void run_block(jrt *rt, const jnode *n, jscope *parent) {
    jscope *sc = glia_j_scope(rt, parent, n);
    sc->block = true;
    jtext hint = {0};
    if (n->what == 'r')
        glia_j_fail(rt, "TemplateRuntimeError", "Required block %s not found", glia_j_crepr(rt, n->value));
    glia_j_printf(rt, &hint, "there is no parent block called %s.", glia_j_crepr(rt, n->value));
    glia_j_putc(rt, &hint, '\0');
    glia_j_set(rt, sc, J_ID_SUPER, glia_j_undef_hint(rt, hint.data, NULL));
    glia_j_exec(rt, n->kids, n->n, sc);
}

jval glia_j_call_block(jrt *rt, const jnode *block) {
    jcapture c;
    capture_begin(rt, &c);
    run_block(rt, block, rt->root);
    return capture_end(rt, &c);
}

/* ---- statements ------------------------------------------------------------------------------------- */

static jflow run_if(jrt *rt, const jnode *n, jscope *sc) {
    for (size_t i = 0; i < n->n; i += 2) {
        if (glia_j_truth(rt, glia_j_eval(rt, n->kids[i], sc)))
            return glia_j_exec(rt, n->kids[i + 1]->kids, n->kids[i + 1]->n, sc);
    }
    return n->b ? glia_j_exec(rt, n->b->kids, n->b->n, sc) : J_NEXT;
}

static jflow run_with(jrt *rt, const jnode *n, jscope *sc) {
    jscope *inner = glia_j_scope(rt, sc, n);
    for (size_t i = 0; i < n->args->n; i += 2)
        glia_j_assign(rt, n->args->v[i], inner, glia_j_eval(rt, n->args->v[i + 1], sc));
    return glia_j_exec(rt, n->kids, n->n, inner);
}

/* Run a set block or filter block; *out gets its text, filtered. */
static jflow run_captured(jrt *rt, const jnode *n, const jnode *filter, jscope *sc, jval *out) {
    jscope *inner = glia_j_scope(rt, sc, n);
    jcapture c;
    capture_begin(rt, &c);
    const jflow flow = glia_j_exec(rt, n->kids, n->n, inner);
    *out = capture_end(rt, &c);
    if (flow != J_NEXT || !filter) return flow;
    glia_j_set(rt, inner, J_ID_CAPTURED, *out);
    *out = glia_j_eval(rt, filter, inner);
    return flow;
}

static jflow run_set_block(jrt *rt, const jnode *n, jscope *sc) {
    jval v;
    const jflow flow = run_captured(rt, n, n->b, sc, &v);
    if (flow != J_NEXT) return flow;
    rt->line = n->line;
    check_namespaces(rt, n->a, sc);
    if (rt->autoescape) v = glia_j_mark(rt, glia_j_tostr(rt, v), true);
    glia_j_assign(rt, n->a, sc, v);
    return flow;
}

static jflow run_filter_block(jrt *rt, const jnode *n, jscope *sc) {
    jval v;
    const jflow flow = run_captured(rt, n, n->a, sc, &v);
    if (flow == J_NEXT) output(rt, v);
    return flow;
}

static jflow run_autoescape(jrt *rt, const jnode *n, jscope *sc) {
    const bool before = rt->autoescape;
    rt->autoescape = glia_j_truth(rt, glia_j_eval(rt, n->a, sc));
    const jflow flow = glia_j_exec(rt, n->kids, n->n, glia_j_scope(rt, sc, n));
    rt->autoescape = before;
    return flow;
}

static void run_set(jrt *rt, const jnode *n, jscope *sc) {
    check_namespaces(rt, n->a, sc);
    const jval v = glia_j_eval(rt, n->b, sc);
    rt->line = n->line;
    glia_j_assign(rt, n->a, sc, v);
}

static jflow exec_node(jrt *rt, const jnode *n, jscope *sc) {
    switch (n->op) {
    case N_DATA: glia_j_print(rt, rt->out, n->value); return J_NEXT;
    case N_OUTPUT:
        for (size_t i = 0; i < n->n; i++) output(rt, glia_j_eval(rt, n->kids[i], sc));
        return J_NEXT;
    case N_IF: return run_if(rt, n, sc);
    case N_FOR: {
        jval src = glia_j_eval(rt, n->b, sc);
        rt->line = n->line;
        if (!n->flag) return run_loop(rt, n, sc, src, 0);
        jcapture c; /* in Jinja a recursive loop is a function, whose text is output as a whole */
        capture_begin(rt, &c);
        run_loop(rt, n, sc, src, 0);
        output(rt, capture_end(rt, &c));
        return J_NEXT;
    }
    case N_SET: run_set(rt, n, sc); return J_NEXT;
    case N_SET_BLOCK: return run_set_block(rt, n, sc);
    case N_WITH: return run_with(rt, n, sc);
    case N_MACRO: glia_j_set(rt, sc, n->id, macro_of(rt, n, sc)); return J_NEXT;
    case N_CALL_BLOCK: run_call_block(rt, n, sc); return J_NEXT;
    case N_GENERATION: output(rt, glia_j_call_macro(rt, &(jmacro){n, sc}, &(jargs){0})); return J_NEXT;
    case N_FILTER_BLOCK: return run_filter_block(rt, n, sc);
    case N_BLOCK: run_block(rt, n, n->flag ? sc : rt->root); return J_NEXT;
    case N_AUTOESCAPE: return run_autoescape(rt, n, sc);
    case N_BREAK: return J_BREAK;
    case N_CONTINUE: return J_CONTINUE;
    case N_LOADER:
        glia_j_eval(rt, n->a, sc);
        glia_j_fail(rt, "TypeError", "no loader for this environment specified");
    default: return J_NEXT;
    }
}

jflow glia_j_exec(jrt *rt, jnode *const *body, size_t n, jscope *sc) {
    jflow flow = J_NEXT;
    glia_j_enter(rt);
    for (size_t i = 0; i < n && flow == J_NEXT; i++) {
        glia_j_step(rt, 1);
        rt->line = body[i]->line;
        flow = exec_node(rt, body[i], sc);
    }
    glia_j_leave(rt);
    return flow;
}
