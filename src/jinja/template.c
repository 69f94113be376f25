/* template.c - see template.h. The entries of the interpreter and its limits. */
#include "jinja/template.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "jinja/ast.h"

enum { SOURCE_MAX = 4 << 20 };

/* The offset of the first byte that is not UTF-8; len if all bytes are. */
static size_t invalid_at(const char *s, size_t len) {
    size_t at = 0;
    while (at < len) {
        int32_t cp;
        const utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)s + at, (utf8proc_ssize_t)(len - at), &cp);
        if (n <= 0) return at;
        at += (size_t)n;
    }
    return len;
}

/* A separate function, so that no local variable of the caller is live across setjmp. */
static bool run_parse(jrt *rt, glia_template *t, const char *source, size_t len) {
    if (setjmp(rt->trap)) return false;
    glia_j_parse(rt, t, source, len);
    return true;
}

glia_status glia_template_compile(glia_template **out, const char *source, size_t len, glia_err *err) {
    assert(out && source);
    *out = NULL;
    if (len > SOURCE_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "chat template: %zu bytes, the limit is %d", len, SOURCE_MAX);
    const size_t bad = invalid_at(source, len);
    if (bad < len) return glia_fail(err, GLIA_ERR_FORMAT, "chat template: invalid UTF-8 at byte %zu", bad);
    glia_template *t = calloc(1, sizeof *t);
    if (!t) return glia_fail_nomem(err, sizeof *t, "a chat template");
    glia_err local;
    jrt rt = {.err = err ? err : &local, .arena.limit = (size_t)64 * SOURCE_MAX, .max_steps = 100000000};
    const bool ok = run_parse(&rt, t, source, len);
    t->arena = rt.arena;
    if (!ok) {
        glia_template_free(t);
        return rt.status;
    }
    *out = t;
    return GLIA_OK;
}

void glia_template_free(glia_template *t) {
    if (!t) return;
    glia_j_arena_free(&t->arena);
    free(t);
}

static bool run_render(jrt *rt, jtext *text) {
    if (setjmp(rt->trap)) return false;
    rt->out = text;
    rt->globals = glia_j_alloc(rt, rt->t->n_names * sizeof *rt->globals);
    rt->root = glia_j_scope(rt, NULL, rt->t->root);
    glia_j_exec(rt, rt->t->root->kids, rt->t->root->n, rt->root);
    return true;
}

glia_status glia_template_render(const glia_template *t, const json_t *context,
                                 const glia_template_options *options, glia_buf *out, glia_err *err) {
    assert(t && out && json_is_object(context));
    static const glia_template_options none;
    const glia_template_options *o = options ? options : &none;
    if (o->now && !glia_j_check_now(o->now))
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "now: expected a date like 2025-07-08T12:00:00, found \"%s\"", o->now);
    glia_err local;
    jtext text = {0};
    jrt rt = {
        .err = err ? err : &local,
        .t = t,
        .context = context,
        .now = o->now,
        .arena.limit = o->max_memory ? o->max_memory : (size_t)256 << 20,
        .max_steps = o->max_steps ? o->max_steps : 20000000,
        .max_output = o->max_output ? o->max_output : (size_t)64 << 20,
        .random = 1,
    };
    glia_status status = GLIA_OK;
    if (!run_render(&rt, &text)) {
        status = rt.status;
    } else if (text.n) {
        if (glia_buf_reserve(out, text.n))
            glia_buf_add(out, text.data, text.n);
        else
            status = glia_fail_nomem(err, text.n, "the rendered text");
    }
    glia_j_arena_free(&rt.arena);
    return status;
}
