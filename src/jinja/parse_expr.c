/* parse_expr.c - the parser of expressions, with Jinja2's precedence: a filter binds
 * tighter than any operator, ** is left-associative, and comparisons chain. */
#include "jinja/ast.h"

#include <string.h>

static jnode *parse_unary(jparser *p, bool with_filter);

static jnode *binary(jparser *p, char what, int line, jnode *a, jnode *b) {
    jnode *n = glia_j_node(p, N_BINARY, line, a, b, NULL);
    n->what = what;
    return n;
}

/* ---- names and targets ------------------------------------------------------------------- */

static unsigned special_bit(int id) {
    return id == J_ID_CALLER || id == J_ID_KWARGS || id == J_ID_VARARGS ? 1u << id : 0;
}

static jnode *name_node(jparser *p, const jtoken *t) {
    jnode *n = glia_j_node(p, N_NAME, t->line, NULL, NULL, NULL);
    n->value = t->value;
    n->id = glia_j_name_id(p, t->value.u.s);
    return n;
}

static void note_assigned(jparser *p, const jnode *n) {
    p->declared |= special_bit(n->id);
    if (n->id == J_ID_LOOP && !p->assigned_loop) p->assigned_loop = n->line;
}

static const char *node_kind(const jnode *n) {
    switch (n->op) {
    case N_TUPLE: return "tuple";
    case N_LIST: return "list";
    case N_DICT: return "dict";
    default: return "const";
    }
}

static void make_target(jparser *p, jnode *n, const jnode *whole) {
    if (n->op == N_TUPLE) {
        for (size_t i = 0; i < n->n; i++) make_target(p, n->kids[i], whole);
    } else if (n->op == N_NAME) {
        note_assigned(p, n);
    } else if (n->op != N_NSREF) {
        glia_j_syntax(p, whole->line, "can't assign to '%s'", node_kind(whole));
    }
}

static jnode *parse_constant(jparser *p, const jtoken *t, jval v) {
    jnode *n = glia_j_node(p, N_CONST, t->line, NULL, NULL, NULL);
    n->value = v;
    return n;
}

static jnode *parse_name(jparser *p, bool with_namespace) {
    const jtoken t = p->now;
    glia_j_advance(p);
    if (glia_j_is(&t, "true") || glia_j_is(&t, "True")) return parse_constant(p, &t, glia_j_bool(true));
    if (glia_j_is(&t, "false") || glia_j_is(&t, "False")) return parse_constant(p, &t, glia_j_bool(false));
    if (glia_j_is(&t, "none") || glia_j_is(&t, "None")) return parse_constant(p, &t, glia_j_none);
    jnode *n = name_node(p, &t);
    if (with_namespace && glia_j_skip(p, T_DOT)) {
        n->op = N_NSREF;
        n->value = glia_j_expect(p, T_NAME).value;
    }
    return n;
}

static jnode *parse_list(jparser *p) {
    jnode *n = glia_j_node(p, N_LIST, glia_j_expect(p, T_LBRACKET).line, NULL, NULL, NULL);
    while (p->now.type != T_RBRACKET) {
        if (n->n) glia_j_expect(p, T_COMMA);
        if (p->now.type == T_RBRACKET) break;
        glia_j_kid(p, n, glia_j_parse_expr(p, true));
    }
    glia_j_expect(p, T_RBRACKET);
    return n;
}

static jnode *parse_dict(jparser *p) {
    jnode *n = glia_j_node(p, N_DICT, glia_j_expect(p, T_LBRACE).line, NULL, NULL, NULL);
    while (p->now.type != T_RBRACE) {
        if (n->n) glia_j_expect(p, T_COMMA);
        if (p->now.type == T_RBRACE) break;
        glia_j_kid(p, n, glia_j_parse_expr(p, true));
        glia_j_expect(p, T_COLON);
        glia_j_kid(p, n, glia_j_parse_expr(p, true));
    }
    glia_j_expect(p, T_RBRACE);
    return n;
}

static bool tuple_ends(const jparser *p) {
    return p->now.type == T_VARIABLE_END || p->now.type == T_BLOCK_END || p->now.type == T_RPAREN;
}

static jnode *parse_primary(jparser *p, bool with_namespace);

typedef enum { TUPLE_PLAIN, TUPLE_PARENS, TUPLE_TARGET, TUPLE_TARGET_NS } jtuple;

static jnode *parse_tuple(jparser *p, bool with_cond, jtuple kind) {
    int line = p->now.line;
    jnode *tuple = glia_j_node(p, N_TUPLE, line, NULL, NULL, NULL);
    bool comma = false;
    for (;;) {
        if (tuple->n) glia_j_expect(p, T_COMMA);
        if (tuple_ends(p)) break;
        glia_j_kid(p, tuple,
                   kind >= TUPLE_TARGET ? parse_primary(p, kind == TUPLE_TARGET_NS)
                                        : glia_j_parse_expr(p, with_cond));
        if (p->now.type != T_COMMA) break;
        comma = true;
        line = p->now.line;
    }
    tuple->line = line;
    if (comma) return tuple;
    if (tuple->n) return tuple->kids[0];
    if (kind != TUPLE_PARENS)
        glia_j_syntax(p, p->now.line, "Expected an expression, got '%s'", glia_j_describe(p, &p->now));
    return tuple;
}

jnode *glia_j_parse_tuple(jparser *p, bool with_cond) { return parse_tuple(p, with_cond, TUPLE_PLAIN); }

jnode *glia_j_parse_target(jparser *p, bool with_namespace) {
    jnode *n = parse_tuple(p, true, with_namespace ? TUPLE_TARGET_NS : TUPLE_TARGET);
    make_target(p, n, n);
    return n;
}

int glia_j_parse_name(jparser *p, jval *name, bool declare) {
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
    const jtoken t = glia_j_expect(p, T_NAME);
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (glia_j_is(&t, constants[i])) glia_j_syntax(p, t.line, "can't assign to 'name'");
    }
    const jnode *n = name_node(p, &t);
    note_assigned(p, n);
    if (declare)
        glia_j_declare(p, n->id);
    else
        glia_j_store(p, n->id);
    if (name) *name = t.value;
    return n->id;
}

static jnode *parse_primary(jparser *p, bool with_namespace) {
    const jtoken t = p->now;
    jnode *n;
    switch (t.type) {
    case T_NAME: n = parse_name(p, with_namespace); return n;
    case T_STRING: { /* adjacent strings are concatenated */
        jtext text = {0};
        jval v = t.value;
        for (glia_j_advance(p); p->now.type == T_STRING; glia_j_advance(p)) {
            if (!text.n) glia_j_add(p->rt, &text, v.u.s->p, v.u.s->n);
            glia_j_add(p->rt, &text, p->now.value.u.s->p, p->now.value.u.s->n);
            v = glia_j_text(p->rt, &text);
        }
        return parse_constant(p, &t, v);
    }
    case T_INTEGER:
    case T_FLOAT: glia_j_advance(p); return parse_constant(p, &t, t.value);
    case T_LPAREN:
        glia_j_advance(p);
        n = parse_tuple(p, true, TUPLE_PARENS);
        glia_j_expect(p, T_RPAREN);
        return n;
    case T_LBRACKET: return parse_list(p);
    case T_LBRACE: return parse_dict(p);
    default: glia_j_syntax(p, t.line, "unexpected '%s'", glia_j_describe(p, &t));
    }
}

static jnode *parse_value(jparser *p) {
    jnode *n = parse_primary(p, false);
    if (n->op != N_NAME) return n;
    if (!(p->declared & special_bit(n->id))) p->seen |= special_bit(n->id);
    glia_j_load(p, n->id);
    return n;
}

/* ---- attributes, subscripts, calls, filters ---------------------------------------------------- */

/* Fail with an error that in Jinja comes from Python's compiler. */
static _Noreturn void fail_python(jparser *p, int line, const char *msg, const jstr *name) {
    p->rt->line = line;
    glia_j_fail(p->rt, "SyntaxError", "%s%.*s", msg, name ? (int)name->n : 0, name ? name->p : "");
}

static jnode *parse_bound(jparser *p, bool last) {
    const jtok t = p->now.type;
    if (t == T_RBRACKET || t == T_COMMA || (!last && t == T_COLON)) return NULL;
    return glia_j_parse_expr(p, true);
}

static jnode *parse_subscribed(jparser *p) {
    const int line = p->now.line;
    jnode *start = NULL, *step = NULL;
    if (p->now.type != T_COLON) {
        start = glia_j_parse_expr(p, true);
        if (p->now.type != T_COLON) return start;
    }
    glia_j_advance(p);
    jnode *stop = parse_bound(p, false);
    if (glia_j_skip(p, T_COLON)) step = parse_bound(p, true);
    return glia_j_node(p, N_SLICE, line, start, stop, step);
}

static jnode *parse_subscript(jparser *p, jnode *n) {
    const jtoken t = p->now;
    glia_j_advance(p);
    if (t.type == T_DOT) {
        const jtoken attr = p->now;
        glia_j_advance(p);
        if (attr.type == T_NAME) {
            n = glia_j_node(p, N_ATTR, t.line, n, NULL, NULL);
            n->value = attr.value;
            return n;
        }
        if (attr.type != T_INTEGER) glia_j_syntax(p, attr.line, "expected name or number");
        return glia_j_node(p, N_ITEM, t.line, n, parse_constant(p, &attr, attr.value), NULL);
    }
    jnode *key = glia_j_node(p, N_TUPLE, t.line, NULL, NULL, NULL);
    while (p->now.type != T_RBRACKET) {
        if (key->n) glia_j_expect(p, T_COMMA);
        glia_j_kid(p, key, parse_subscribed(p));
    }
    glia_j_expect(p, T_RBRACKET);
    for (size_t i = 0; i < key->n && key->n > 1; i++) {
        if (key->kids[i]->op == N_SLICE) fail_python(p, t.line, "invalid syntax", NULL);
    }
    return glia_j_node(p, N_ITEM, t.line, n, key->n == 1 ? key->kids[0] : key, NULL);
}

static void add_keyword(jparser *p, jcallargs *a, jtoken key, jnode *v) {
    for (size_t i = 0; i < a->n_kw; i++) {
        if (a->names[i]->n == key.value.u.s->n &&
            memcmp(a->names[i]->p, key.value.u.s->p, a->names[i]->n) == 0)
            fail_python(p, key.line, "keyword argument repeated: ", a->names[i]);
    }
    if (a->n_kw >= 1000) glia_j_limit(p->rt, "more than 1000 keyword arguments");
    if ((a->n_kw & (a->n_kw - 1)) == 0) { /* the array is full when n_kw is 0 or a power of two */
        jstr **names = glia_j_alloc(p->rt, 2 * (a->n_kw + 1) * sizeof *names);
        if (a->n_kw) memcpy(names, a->names, a->n_kw * sizeof *names);
        a->names = names;
    }
    a->names[a->n_kw] = key.value.u.s;
    glia_j_grow(p->rt, &a->kw, &a->n_kw, v);
}

static void call_order(jparser *p, int line, bool ok) {
    if (!ok) glia_j_syntax(p, line, "invalid syntax for function call expression");
}

static jcallargs *parse_call_args(jparser *p) {
    const int line = glia_j_expect(p, T_LPAREN).line;
    jcallargs *a = glia_j_alloc(p->rt, sizeof *a);
    bool comma = false;
    while (p->now.type != T_RPAREN) {
        if (comma) {
            glia_j_expect(p, T_COMMA);
            if (p->now.type == T_RPAREN) break;
        }
        if (p->now.type == T_MUL) {
            call_order(p, line, !a->star && !a->star2);
            glia_j_advance(p);
            a->star = glia_j_parse_expr(p, true);
        } else if (p->now.type == T_POW) {
            call_order(p, line, !a->star2);
            glia_j_advance(p);
            a->star2 = glia_j_parse_expr(p, true);
        } else if (p->now.type == T_NAME && glia_j_look(p)->type == T_ASSIGN) {
            call_order(p, line, !a->star2);
            const jtoken key = p->now;
            glia_j_advance(p);
            glia_j_advance(p);
            add_keyword(p, a, key, glia_j_parse_expr(p, true));
        } else {
            call_order(p, line, !a->star && !a->star2 && !a->n_kw);
            glia_j_grow(p->rt, &a->v, &a->n, glia_j_parse_expr(p, true));
        }
        comma = true;
    }
    glia_j_expect(p, T_RPAREN);
    return a;
}

static jnode *parse_call(jparser *p, jnode *n) {
    const int line = p->now.line;
    jcallargs *args = parse_call_args(p);
    n = glia_j_node(p, N_CALL, line, n, NULL, NULL);
    n->args = args;
    return n;
}

static jnode *parse_postfix(jparser *p, jnode *n) {
    for (;;) {
        if (p->now.type == T_DOT || p->now.type == T_LBRACKET)
            n = parse_subscript(p, n);
        else if (p->now.type == T_LPAREN)
            n = parse_call(p, n);
        else
            return n;
    }
}

/* Parse name.name.name, the form of a filter's or test's name. */
static jval parse_dotted(jparser *p) {
    jval name = glia_j_expect(p, T_NAME).value;
    while (glia_j_skip(p, T_DOT)) {
        jtext t = {0};
        glia_j_add(p->rt, &t, name.u.s->p, name.u.s->n);
        glia_j_putc(p->rt, &t, '.');
        const jval more = glia_j_expect(p, T_NAME).value;
        glia_j_add(p->rt, &t, more.u.s->p, more.u.s->n);
        name = glia_j_text(p->rt, &t);
    }
    return name;
}

static void note_unknown(jparser *p, const jnode *n) {
    if (p->n_unknown == p->cap_unknown) {
        p->cap_unknown = p->cap_unknown ? 2 * p->cap_unknown : 8;
        junknown *grown = glia_j_alloc(p->rt, p->cap_unknown * sizeof *grown);
        if (p->n_unknown) memcpy(grown, p->unknown, p->n_unknown * sizeof *grown);
        p->unknown = grown;
    }
    p->unknown[p->n_unknown++] = (junknown){n->value.u.s, n->line, p->soft, n->op == N_TEST};
}

jnode *glia_j_parse_filters(jparser *p, jnode *n, bool inline_start) {
    while (inline_start || p->now.type == T_PIPE) {
        if (!inline_start) glia_j_advance(p);
        inline_start = false;
        n = glia_j_node(p, N_FILTER, p->now.line, n, NULL, NULL);
        n->value = parse_dotted(p);
        n->row = glia_j_filter(n->value.u.s->p, n->value.u.s->n);
        if (!n->row) note_unknown(p, n);
        n->args = p->now.type == T_LPAREN ? parse_call_args(p) : glia_j_alloc(p->rt, sizeof *n->args);
    }
    return n;
}

static bool begins_argument(const jparser *p) {
    switch (p->now.type) {
    case T_NAME:
        return !glia_j_is(&p->now, "else") && !glia_j_is(&p->now, "or") && !glia_j_is(&p->now, "and");
    case T_STRING:
    case T_INTEGER:
    case T_FLOAT:
    case T_LBRACKET:
    case T_LBRACE: return true;
    default: return false;
    }
}

static jnode *parse_test(jparser *p, jnode *n) {
    const int line = p->now.line;
    glia_j_advance(p);
    const bool negated = glia_j_skip_name(p, "not");
    n = glia_j_node(p, N_TEST, line, n, NULL, NULL);
    n->value = parse_dotted(p);
    n->row = glia_j_test(n->value.u.s->p, n->value.u.s->n);
    if (!n->row) note_unknown(p, n);
    if (p->now.type == T_LPAREN) {
        n->args = parse_call_args(p);
    } else {
        n->args = glia_j_alloc(p->rt, sizeof *n->args);
        if (begins_argument(p)) {
            if (glia_j_is(&p->now, "is"))
                glia_j_syntax(p, p->now.line, "You cannot chain multiple tests with is");
            glia_j_grow(p->rt, &n->args->v, &n->args->n, parse_postfix(p, parse_value(p)));
        }
    }
    if (!negated) return n;
    n = glia_j_node(p, N_UNARY, line, n, NULL, NULL);
    n->what = '!';
    return n;
}

static jnode *parse_filter_expr(jparser *p, jnode *n) {
    for (;;) {
        if (p->now.type == T_PIPE)
            n = glia_j_parse_filters(p, n, false);
        else if (glia_j_is(&p->now, "is"))
            n = parse_test(p, n);
        else if (p->now.type == T_LPAREN)
            n = parse_call(p, n);
        else
            return n;
    }
}

/* ---- operators, the tightest first ---------------------------------------------------------------- */

static jnode *parse_unary(jparser *p, bool with_filter) {
    const jtoken t = p->now;
    jnode *n;
    glia_j_nest(p);
    if (t.type == T_SUB || t.type == T_ADD) {
        glia_j_advance(p);
        n = glia_j_node(p, N_UNARY, t.line, parse_unary(p, false), NULL, NULL);
        n->what = t.type == T_SUB ? '-' : '+';
    } else {
        n = parse_value(p);
    }
    n = parse_postfix(p, n);
    if (with_filter) n = parse_filter_expr(p, n);
    p->nest--;
    return n;
}

static jnode *parse_pow(jparser *p) {
    int line = p->now.line;
    jnode *n = parse_unary(p, true);
    while (glia_j_skip(p, T_POW)) {
        n = binary(p, 'p', line, n, parse_unary(p, true));
        line = p->now.line;
    }
    return n;
}

static jnode *parse_math2(jparser *p) {
    int line = p->now.line;
    jnode *n = parse_pow(p);
    for (;;) {
        const jtok t = p->now.type;
        if (t != T_MUL && t != T_DIV && t != T_FLOORDIV && t != T_MOD) return n;
        glia_j_advance(p);
        n = binary(p, t == T_MUL ? '*' : t == T_DIV ? '/' : t == T_MOD ? '%' : 'f', line, n, parse_pow(p));
        line = p->now.line;
    }
}

static jnode *parse_concat(jparser *p) {
    const int line = p->now.line;
    jnode *first = parse_math2(p);
    if (p->now.type != T_TILDE) return first;
    jnode *n = glia_j_node(p, N_CONCAT, line, NULL, NULL, NULL);
    glia_j_kid(p, n, first);
    while (glia_j_skip(p, T_TILDE)) glia_j_kid(p, n, parse_math2(p));
    return n;
}

static jnode *parse_math1(jparser *p) {
    int line = p->now.line;
    jnode *n = parse_concat(p);
    while (p->now.type == T_ADD || p->now.type == T_SUB) {
        const char what = p->now.type == T_ADD ? '+' : '-';
        glia_j_advance(p);
        n = binary(p, what, line, n, parse_concat(p));
        line = p->now.line;
    }
    return n;
}

static char comparison(jparser *p) {
    const jtok t = p->now.type;
    if (t == T_EQ || t == T_NE || t == T_LT || t == T_LTEQ || t == T_GT || t == T_GTEQ) {
        glia_j_advance(p);
        return t == T_EQ     ? '='
               : t == T_NE   ? '!'
               : t == T_LT   ? '<'
               : t == T_LTEQ ? 'l'
               : t == T_GT   ? '>'
                             : 'g';
    }
    if (glia_j_skip_name(p, "in")) return 'i';
    if (glia_j_is(&p->now, "not") && glia_j_is(glia_j_look(p), "in")) {
        glia_j_advance(p);
        glia_j_advance(p);
        return 'n';
    }
    return 0;
}

static jnode *parse_compare(jparser *p) {
    int line = p->now.line;
    jnode *first = parse_math1(p), *n = NULL;
    for (char what; (what = comparison(p)) != 0;) {
        if (!n) n = glia_j_node(p, N_COMPARE, line, first, NULL, NULL);
        jnode *operand = glia_j_node(p, N_OPERAND, line, parse_math1(p), NULL, NULL);
        operand->what = what;
        glia_j_kid(p, n, operand);
        n->line = p->now.line;
    }
    return n ? n : first;
}

static jnode *parse_not(jparser *p) {
    if (!glia_j_is(&p->now, "not")) return parse_compare(p);
    const int line = p->now.line;
    glia_j_nest(p);
    glia_j_advance(p);
    jnode *n = glia_j_node(p, N_UNARY, line, parse_not(p), NULL, NULL);
    n->what = '!';
    p->nest--;
    return n;
}

static jnode *parse_logical(jparser *p, const char *name, jop op, jnode *(*operand)(jparser *)) {
    int line = p->now.line;
    jnode *n = operand(p);
    while (glia_j_skip_name(p, name)) {
        n = glia_j_node(p, op, line, n, operand(p), NULL);
        line = p->now.line;
    }
    return n;
}

static jnode *parse_and(jparser *p) { return parse_logical(p, "and", N_AND, parse_not); }

static jnode *parse_or(jparser *p) { return parse_logical(p, "or", N_OR, parse_and); }

static jnode *parse_cond(jparser *p) {
    int line = p->now.line;
    const size_t unknown = p->n_unknown;
    jnode *n = parse_or(p);
    while (glia_j_skip_name(p, "if")) {
        jnode *test = parse_or(p), *otherwise = NULL;
        if (glia_j_skip_name(p, "else")) {
            glia_j_nest(p);
            otherwise = parse_cond(p);
            p->nest--;
        }
        n = glia_j_node(p, N_COND, line, test, n, otherwise);
        for (size_t i = unknown; i < p->n_unknown; i++) p->unknown[i].soft = true;
        line = p->now.line;
    }
    return n;
}

jnode *glia_j_parse_expr(jparser *p, bool with_cond) {
    glia_j_nest(p);
    jnode *n = with_cond ? parse_cond(p) : parse_or(p);
    p->nest--;
    return n;
}
