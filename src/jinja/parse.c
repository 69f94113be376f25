/* parse.c - the parser of statements, and the errors that Jinja2 reports at compile time. */
#include "jinja/ast.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

void glia_j_syntax(jparser *p, int line, const char *fmt, ...) {
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    p->rt->line = line;
    glia_j_fail(p->rt, "TemplateSyntaxError", "%s", msg);
}

void glia_j_advance(jparser *p) {
    const int line = p->now.line;
    p->now = p->has_ahead ? p->ahead : glia_j_lex(&p->lx);
    p->has_ahead = false;
    if (p->now.type == T_EOF && line) p->now.line = line; /* the end has the line of the last token */
    p->rt->line = p->now.line;
}

jtoken *glia_j_look(jparser *p) {
    if (!p->has_ahead) p->ahead = glia_j_lex(&p->lx);
    p->has_ahead = true;
    return &p->ahead;
}

bool glia_j_is(const jtoken *t, const char *name) {
    return t->type == T_NAME && glia_j_is_str(t->value, name);
}

bool glia_j_skip(jparser *p, jtok type) {
    if (p->now.type != type) return false;
    glia_j_advance(p);
    return true;
}

bool glia_j_skip_name(jparser *p, const char *name) {
    if (!glia_j_is(&p->now, name)) return false;
    glia_j_advance(p);
    return true;
}

const char *glia_j_describe(jparser *p, const jtoken *t) {
    if (t->type != T_NAME) return glia_j_tok_name(t->type);
    jtext text = {0};
    glia_j_add(p->rt, &text, t->value.u.s->p, t->value.u.s->n < 200 ? t->value.u.s->n : 200);
    glia_j_putc(p->rt, &text, '\0');
    return text.data;
}

static _Noreturn void fail_expected(jparser *p, const char *expected) {
    if (p->now.type == T_EOF)
        glia_j_syntax(p, p->now.line, "unexpected end of template, expected '%s'.", expected);
    glia_j_syntax(p, p->now.line, "expected token '%s', got '%s'", expected, glia_j_describe(p, &p->now));
}

jtoken glia_j_expect(jparser *p, jtok type) {
    if (p->now.type != type) fail_expected(p, glia_j_tok_name(type));
    const jtoken t = p->now;
    glia_j_advance(p);
    return t;
}

static void expect_name(jparser *p, const char *name) {
    if (!glia_j_skip_name(p, name)) fail_expected(p, name);
}

void glia_j_nest(jparser *p) {
    if (++p->nest > J_NEST_MAX) {
        p->rt->line = p->now.line;
        glia_j_limit(p->rt, "nested more than %d levels deep", J_NEST_MAX);
    }
}

/* ---- nodes ----------------------------------------------------------------------------------- */

jnode *glia_j_node(jparser *p, jop op, int line, jnode *a, jnode *b, jnode *c) {
    jnode *n = glia_j_alloc(p->rt, sizeof *n);
    glia_j_step(p->rt, 1);
    n->op = op;
    n->line = line;
    n->a = a;
    n->b = b;
    n->c = c;
    return n;
}

void glia_j_grow(jrt *rt, jnode ***v, size_t *n, jnode *one) {
    if ((*n & (*n - 1)) == 0) { /* the array is full when n is 0 or a power of two */
        jnode **grown = glia_j_alloc(rt, 2 * (*n + 1) * sizeof **v);
        if (*n) memcpy(grown, *v, *n * sizeof **v);
        *v = grown;
    }
    (*v)[(*n)++] = one;
}

void glia_j_kid(jparser *p, jnode *n, jnode *kid) { glia_j_grow(p->rt, &n->kids, &n->n, kid); }

int glia_j_name_id(jparser *p, const jstr *name) {
    jval id;
    const jval key = {J_STR, {.s = (jstr *)(uintptr_t)name}};
    if (!glia_j_get(p->rt, p->names.u.d, key, &id)) {
        id = glia_j_int((int64_t)p->names.u.d->n);
        glia_j_put(p->rt, p->names.u.d, key, id);
    }
    return (int)id.u.i;
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static void parse_body(jparser *p, jnode *into, const char *const *ends);

static bool is_end(const jparser *p, const char *const *ends) {
    for (; ends && *ends; ends++) {
        if (glia_j_is(&p->now, *ends)) return true;
    }
    return false;
}

/* The end tags as a list for messages: "'elif' or 'else' or 'endif'". */
static const char *list_ends(jparser *p, const char *const *ends) {
    jtext t = {0};
    for (size_t i = 0; ends[i]; i++) glia_j_printf(p->rt, &t, "%s'%s'", i ? " or " : "", ends[i]);
    glia_j_putc(p->rt, &t, '\0');
    return t.data;
}

/* Fail at an unknown tag; at the end of the template if `tag` is NULL. */
static _Noreturn void fail_tag(jparser *p, const char *tag, int line) {
    jtext t = {0};
    bool expected = false;
    for (int i = 0; i < p->n_ends; i++) {
        for (const char *const *e = p->ends[i]; *e && tag; e++) expected |= strcmp(*e, tag) == 0;
    }
    if (tag)
        glia_j_printf(p->rt, &t, "Encountered unknown tag '%s'.", tag);
    else
        glia_j_puts(p->rt, &t, "Unexpected end of template.");
    if (p->n_ends) {
        glia_j_printf(p->rt, &t,
                      expected ? " You probably made a nesting mistake. Jinja is expecting this tag, but "
                                 "currently looking for %s."
                               : " Jinja was looking for the following tags: %s.",
                      list_ends(p, p->ends[p->n_ends - 1]));
    }
    if (p->n_tags)
        glia_j_printf(p->rt, &t, " The innermost block that needs to be closed is '%s'.",
                      p->tags[p->n_tags - 1]);
    glia_j_putc(p->rt, &t, '\0');
    glia_j_syntax(p, line, "%s", t.data);
}

/* Parse a body up to one of the tags `ends`, which becomes the current token. */
static void parse_statements(jparser *p, jnode *into, const char *const *ends) {
    glia_j_skip(p, T_COLON);
    glia_j_expect(p, T_BLOCK_END);
    p->ends[p->n_ends++] = ends; /* cannot overflow: statements nest at most J_NEST_MAX deep */
    parse_body(p, into, ends);
    if (p->now.type == T_EOF) fail_tag(p, NULL, p->now.line);
    p->n_ends--;
}

static void parse_until(jparser *p, jnode *into, const char *const *ends) {
    parse_statements(p, into, ends);
    glia_j_advance(p);
}

/* Parse a body that Jinja compiles to a function: break and continue inside of it
 * cannot leave a loop around it. */
static void parse_function(jparser *p, jnode *into, const char *const *ends) {
    const int loops = p->loops;
    const bool soft = p->soft;
    p->loops = 0;
    p->soft = false;
    parse_until(p, into, ends);
    p->loops = loops;
    p->soft = soft;
}

static void parse_scoped(jparser *p, jnode *into, const char *const *ends) {
    const bool soft = p->soft;
    jframe *outer = p->frame;
    p->soft = false;
    glia_j_frame_open(p, into, false);
    for (size_t i = 0; into->op == N_WITH && i < into->args->n; i += 2)
        glia_j_target_names(p, into->args->v[i], true);
    parse_until(p, into, ends);
    p->frame = outer;
    p->soft = soft;
}

/* ---- statements ---------------------------------------------------------------------------------- */

static jnode *parse_for(jparser *p, int line) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    const int assigned = p->assigned_loop;
    const bool soft = p->soft;
    p->assigned_loop = 0;
    jnode *n = glia_j_node(p, N_FOR, line, glia_j_parse_target(p, false), NULL, NULL);
    expect_name(p, "in");
    n->b = glia_j_parse_tuple(p, false);
    p->soft = false;
    jframe *outer = p->frame;
    glia_j_frame_open(p, n, false);
    glia_j_declare(p, J_ID_LOOP);
    glia_j_target_names(p, n->a, true);
    if (glia_j_skip_name(p, "if")) n->c = glia_j_parse_expr(p, true);
    n->flag = glia_j_skip_name(p, "recursive");
    p->loops++;
    parse_statements(p, n, ends);
    p->loops--;
    p->frame = outer;
    const bool has_else = glia_j_is(&p->now, "else");
    glia_j_advance(p);
    if (has_else) {
        n->other = glia_j_node(p, N_BODY, p->now.line, NULL, NULL, NULL);
        parse_scoped(p, n->other, last);
    }
    if (p->assigned_loop) {
        p->rt->line = p->assigned_loop;
        glia_j_fail(p->rt, "TemplateAssertionError",
                    "Can't assign to special loop variable in for-loop target");
    }
    p->assigned_loop = assigned;
    p->soft = soft;
    return n;
}

static jnode *parse_if(jparser *p, int line) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    const bool soft = p->soft;
    jnode *n = glia_j_node(p, N_IF, line, NULL, NULL, NULL);
    p->soft = true;
    glia_j_branch(p, 1);
    for (;;) {
        glia_j_kid(p, n, glia_j_parse_tuple(p, false));
        jnode *body = glia_j_node(p, N_BODY, p->now.line, NULL, NULL, NULL);
        glia_j_kid(p, n, body);
        parse_statements(p, body, ends);
        if (!glia_j_skip_name(p, "elif")) break;
    }
    const bool has_else = glia_j_is(&p->now, "else");
    glia_j_advance(p);
    if (has_else) {
        n->b = glia_j_node(p, N_BODY, p->now.line, NULL, NULL, NULL);
        parse_until(p, n->b, last);
    }
    glia_j_branch(p, -1);
    p->soft = soft;
    return n;
}

static jnode *parse_set(jparser *p, int line) {
    static const char *const ends[] = {"endset", NULL};
    jnode *target = glia_j_parse_target(p, true);
    jnode *n;
    if (glia_j_skip(p, T_ASSIGN)) {
        n = glia_j_node(p, N_SET, line, target, glia_j_parse_tuple(p, true), NULL);
    } else {
        const bool soft = p->soft;
        p->soft = false;
        n = glia_j_node(p, N_SET_BLOCK, line, target, glia_j_parse_filters(p, NULL, false), NULL);
        p->soft = soft;
        parse_scoped(p, n, ends);
    }
    glia_j_target_names(p, target, false); /* after the value: it may read the same name */
    return n;
}

static jnode *parse_with(jparser *p, int line) {
    static const char *const ends[] = {"endwith", NULL};
    jnode *n = glia_j_node(p, N_WITH, line, NULL, NULL, NULL);
    n->args = glia_j_alloc(p->rt, sizeof *n->args);
    while (p->now.type != T_BLOCK_END) {
        if (n->args->n) glia_j_expect(p, T_COMMA);
        glia_j_grow(p->rt, &n->args->v, &n->args->n, glia_j_parse_target(p, false));
        glia_j_expect(p, T_ASSIGN);
        glia_j_grow(p->rt, &n->args->v, &n->args->n, glia_j_parse_expr(p, true));
    }
    parse_scoped(p, n, ends);
    return n;
}

static jparams *no_params(jparser *p) {
    jparams *s = glia_j_alloc(p->rt, sizeof *s);
    s->explicit_caller = -1;
    return s;
}

static jparams *parse_signature(jparser *p) {
    jparams *s = no_params(p);
    size_t cap = 0;
    glia_j_expect(p, T_LPAREN);
    while (p->now.type != T_RPAREN) {
        if (s->n) glia_j_expect(p, T_COMMA);
        if (s->n == cap) {
            cap = cap ? 2 * cap : 8;
            int *grown = glia_j_alloc(p->rt, cap * sizeof *grown);
            if (s->n) memcpy(grown, s->id, s->n * sizeof *grown);
            s->id = grown;
        }
        const int line = p->now.line;
        const int id = glia_j_parse_name(p, NULL, true);
        for (size_t i = 0; i < s->n; i++) {
            if (s->id[i] != id) continue;
            p->rt->line = line;
            glia_j_fail(p->rt, "SyntaxError", "duplicate argument %s in function definition",
                        glia_j_crepr(p->rt, p->names.u.d->e[id].k));
        }
        if (s->n == 255) glia_j_limit(p->rt, "a macro of more than 255 parameters");
        if (id == J_ID_CALLER) s->explicit_caller = (int)s->n;
        s->id[s->n++] = id;
        if (glia_j_skip(p, T_ASSIGN))
            glia_j_grow(p->rt, &s->defaults, &s->n_defaults, glia_j_parse_expr(p, true));
        else if (s->n_defaults)
            glia_j_syntax(p, line, "non-default argument follows default argument");
    }
    glia_j_expect(p, T_RPAREN);
    return s;
}

/* Parse the body of a macro or call block n, whose parameters are parsed already. */
static void parse_macro_body(jparser *p, jnode *n, const char *const *ends) {
    const unsigned seen = p->seen, declared = p->declared;
    jparams *s = n->params;
    p->seen = p->declared = 0;
    parse_function(p, n, ends);
    s->caller = p->seen & 1u << J_ID_CALLER;
    s->kwargs = p->seen & 1u << J_ID_KWARGS;
    s->varargs = p->seen & 1u << J_ID_VARARGS;
    for (size_t i = 0; i < s->n; i++) {
        if (s->id[i] == J_ID_KWARGS) s->kwargs = false;
        if (s->id[i] == J_ID_VARARGS) s->varargs = false;
    }
    if (s->caller && s->explicit_caller >= 0 && (size_t)s->explicit_caller < s->n - s->n_defaults) {
        p->rt->line = n->line;
        glia_j_fail(
            p->rt, "TemplateAssertionError",
            "When defining macros or call blocks the special \"caller\" argument must be omitted or be "
            "given a default.");
    }
    p->seen |= seen;
    p->declared |= declared;
}

static jnode *parse_macro(jparser *p, int line) {
    static const char *const ends[] = {"endmacro", NULL};
    jnode *n = glia_j_node(p, N_MACRO, line, NULL, NULL, NULL);
    n->id = glia_j_parse_name(p, &n->value, false);
    jframe *outer = p->frame;
    glia_j_frame_open(p, n, false);
    n->params = parse_signature(p);
    parse_macro_body(p, n, ends);
    p->frame = outer;
    return n;
}

static jnode *parse_call_block(jparser *p, int line) {
    static const char *const ends[] = {"endcall", NULL};
    jnode *n = glia_j_node(p, N_CALL_BLOCK, line, NULL, NULL, NULL);
    jframe *outer = p->frame, *inner;
    glia_j_frame_open(p, n, false);
    if (p->now.type == T_LPAREN) {
        n->params = parse_signature(p);
    } else {
        n->params = no_params(p);
    }
    inner = p->frame;
    p->frame = outer; /* the call expression belongs to the outer scope */
    n->a = glia_j_parse_expr(p, true);
    if (n->a->op != N_CALL) glia_j_syntax(p, line, "expected call");
    p->frame = inner;
    parse_macro_body(p, n, ends);
    p->frame = outer;
    return n;
}

static jnode *parse_filter_block(jparser *p, int line) {
    static const char *const ends[] = {"endfilter", NULL};
    const bool soft = p->soft;
    p->soft = false;
    jnode *n = glia_j_node(p, N_FILTER_BLOCK, line, glia_j_parse_filters(p, NULL, true), NULL, NULL);
    p->soft = soft;
    parse_scoped(p, n, ends);
    return n;
}

static jnode *parse_generation(jparser *p, int line) {
    static const char *const ends[] = {"endgeneration", NULL};
    jnode *n = glia_j_node(p, N_GENERATION, line, NULL, NULL, NULL);
    n->params = no_params(p);
    jframe *outer = p->frame;
    glia_j_frame_open(p, n, false);
    parse_macro_body(p, n, ends);
    p->frame = outer;
    return n;
}

static jnode *parse_autoescape(jparser *p, int line) {
    static const char *const ends[] = {"endautoescape", NULL};
    jnode *n = glia_j_node(p, N_AUTOESCAPE, line, glia_j_parse_expr(p, true), NULL, NULL);
    parse_scoped(p, n, ends);
    return n;
}

static void check_required(jparser *p, const jnode *n) {
    for (size_t i = 0; i < n->n; i++) {
        if (n->kids[i]->op != N_DATA || glia_j_strip(p->rt, n->kids[i]->value.u.s, NULL, true, true).u.s->n)
            glia_j_syntax(p, p->now.line, "Required blocks can only contain comments or whitespace");
    }
}

static jnode *parse_block(jparser *p, int line) {
    static const char *const ends[] = {"endblock", NULL};
    jnode *n = glia_j_node(p, N_BLOCK, line, NULL, NULL, NULL);
    const unsigned seen = p->seen, declared = p->declared;
    jval twice;
    n->value = glia_j_expect(p, T_NAME).value;
    n->flag = glia_j_skip_name(p, "scoped");
    n->what = glia_j_skip_name(p, "required") ? 'r' : 0;
    if (p->now.type == T_SUB)
        glia_j_syntax(
            p, p->now.line,
            "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an "
            "underscore instead.");
    if (glia_j_get(p->rt, p->block_names.u.d, n->value, &twice)) {
        p->rt->line = line;
        glia_j_fail(p->rt, "TemplateAssertionError", "block %s defined twice", glia_j_crepr(p->rt, n->value));
    }
    glia_j_put(p->rt, p->block_names.u.d, n->value, glia_j_none);
    glia_j_grow(p->rt, &p->t->blocks, &p->t->n_blocks, n);
    jframe *outer = p->frame;
    glia_j_frame_open(p, n, true);
    parse_function(p, n, ends);
    p->frame = outer;
    if (n->what == 'r') check_required(p, n);
    p->seen = seen;
    p->declared = declared;
    if (p->now.type == T_NAME && glia_j_equal(p->rt, p->now.value, n->value)) glia_j_advance(p);
    return n;
}

static jnode *parse_print(jparser *p, int line) {
    jnode *n = glia_j_node(p, N_OUTPUT, line, NULL, NULL, NULL);
    while (p->now.type != T_BLOCK_END) {
        if (n->n) glia_j_expect(p, T_COMMA);
        glia_j_kid(p, n, glia_j_parse_expr(p, true));
    }
    return n;
}

static void skip_context(jparser *p) {
    if ((glia_j_is(&p->now, "with") || glia_j_is(&p->now, "without")) &&
        glia_j_is(glia_j_look(p), "context")) {
        glia_j_advance(p);
        glia_j_advance(p);
    }
}

/* There is no loader: include, import, from and extends are parsed and then fail
 * when they are executed. */
static jnode *parse_include(jparser *p, int line) {
    jnode *n = glia_j_node(p, N_LOADER, line, glia_j_parse_expr(p, true), NULL, NULL);
    if (glia_j_is(&p->now, "ignore") && glia_j_is(glia_j_look(p), "missing")) {
        glia_j_advance(p);
        glia_j_advance(p);
    }
    skip_context(p);
    return n;
}

static jnode *parse_import(jparser *p, int line) {
    jnode *n = glia_j_node(p, N_LOADER, line, glia_j_parse_expr(p, true), NULL, NULL);
    expect_name(p, "as");
    glia_j_parse_name(p, NULL, false);
    skip_context(p);
    return n;
}

static jnode *parse_from(jparser *p, int line) {
    jnode *n = glia_j_node(p, N_LOADER, line, glia_j_parse_expr(p, true), NULL, NULL);
    expect_name(p, "import");
    do {
        glia_j_parse_name(p, NULL, false);
        if (glia_j_skip_name(p, "as")) glia_j_parse_name(p, NULL, false);
    } while (glia_j_skip(p, T_COMMA));
    skip_context(p);
    return n;
}

static jnode *parse_extends(jparser *p, int line) {
    return glia_j_node(p, N_LOADER, line, glia_j_parse_expr(p, true), NULL, NULL);
}

static jnode *parse_break(jparser *p, int line) {
    if (!p->loops) {
        p->rt->line = line;
        glia_j_fail(p->rt, "SyntaxError", "'break' outside loop");
    }
    return glia_j_node(p, N_BREAK, line, NULL, NULL, NULL);
}

static jnode *parse_continue(jparser *p, int line) {
    if (!p->loops) {
        p->rt->line = line;
        glia_j_fail(p->rt, "SyntaxError", "'continue' not properly in loop");
    }
    return glia_j_node(p, N_CONTINUE, line, NULL, NULL, NULL);
}

static const struct {
    const char *tag;
    jnode *(*parse)(jparser *p, int line);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"generation", parse_generation},
    {"break", parse_break},
    {"continue", parse_continue},
    {"with", parse_with},
    {"filter", parse_filter_block},
    {"block", parse_block},
    {"print", parse_print},
    {"autoescape", parse_autoescape},
    {"include", parse_include},
    {"import", parse_import},
    {"from", parse_from},
    {"extends", parse_extends},
};

static jnode *parse_statement(jparser *p) {
    if (p->now.type != T_NAME) glia_j_syntax(p, p->now.line, "tag name expected");
    const jtoken tag = p->now;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!glia_j_is(&tag, statements[i].tag)) continue;
        glia_j_nest(p);
        p->tags[p->n_tags++] = statements[i].tag;
        glia_j_advance(p);
        jnode *n = statements[i].parse(p, tag.line);
        p->n_tags--;
        p->nest--;
        return n;
    }
    fail_tag(p, glia_j_describe(p, &tag), tag.line);
}

static void parse_body(jparser *p, jnode *into, const char *const *ends) {
    while (p->now.type != T_EOF) {
        jnode *n;
        if (p->now.type == T_DATA) {
            n = glia_j_node(p, N_DATA, p->now.line, NULL, NULL, NULL);
            n->value = p->now.value;
            glia_j_advance(p);
        } else if (p->now.type == T_VARIABLE_BEGIN) {
            n = glia_j_node(p, N_OUTPUT, p->now.line, NULL, NULL, NULL);
            glia_j_advance(p);
            glia_j_kid(p, n, glia_j_parse_tuple(p, true));
            glia_j_expect(p, T_VARIABLE_END);
        } else {
            glia_j_expect(p, T_BLOCK_BEGIN);
            if (is_end(p, ends)) return;
            n = parse_statement(p);
            glia_j_expect(p, T_BLOCK_END);
        }
        glia_j_kid(p, into, n);
    }
}

/* ---- the template ---------------------------------------------------------------------------------- */

void glia_j_parse(jrt *rt, glia_template *t, const char *source, size_t len) {
    static const char *const known[J_IDS] = {
        [J_ID_LOOP] = "loop", [J_ID_CALLER] = "caller", [J_ID_KWARGS] = "kwargs", [J_ID_VARARGS] = "varargs",
        [J_ID_SELF] = "self", [J_ID_SUPER] = "super",   [J_ID_CAPTURED] = "",
    };
    jparser *p = glia_j_alloc(rt, sizeof *p);
    p->rt = rt;
    p->t = t;
    p->names = glia_j_dict(rt);
    p->block_names = glia_j_dict(rt);
    for (int i = 0; i < J_IDS; i++) glia_j_name_id(p, glia_j_cstr(rt, known[i]).u.s);
    glia_j_lex_init(&p->lx, rt, source, len);
    glia_j_advance(p);
    t->root = glia_j_node(p, N_BODY, 1, NULL, NULL, NULL);
    glia_j_frame_open(p, t->root, false);
    parse_body(p, t->root, NULL);
    glia_j_frames_end(p);
    for (size_t i = 0; i < p->n_unknown; i++) {
        const junknown *u = &p->unknown[i];
        if (u->soft) continue;
        rt->line = u->line;
        glia_j_fail(rt, "TemplateAssertionError", "No %s named %s.", u->test ? "test" : "filter",
                    glia_j_crepr(rt, (jval){J_STR, {.s = u->name}}));
    }
    const jdict *names = p->names.u.d;
    t->n_names = names->n;
    t->names = glia_j_alloc(rt, names->n * sizeof *t->names);
    for (size_t i = 0; i < names->n; i++) t->names[i] = names->e[i].k.u.s;
}
