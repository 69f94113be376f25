/* mem.c - the interpreter's arena, failures and text buffers. */
#include "jinja/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct jchunk {
    jchunk *prev;
    size_t used, cap;
    size_t pad; /* makes the data begin at a multiple of 16 */
};

enum { CHUNK_MIN = 32 << 10, CHUNK_MAX = 1 << 20 };

static _Noreturn void leave(jrt *rt, glia_status status, const char *msg) {
    char line[sizeof rt->err->msg];
    snprintf(line, sizeof line, "%s", msg);
    for (char *c = line; *c; c++) {
        if (*c == '\n' || *c == '\r') *c = ' ';
    }
    if (rt->line > 0)
        rt->status = glia_fail(rt->err, status, "chat template, line %d: %s", rt->line, line);
    else
        rt->status = glia_fail(rt->err, status, "chat template: %s", line);
    longjmp(rt->trap, 1);
}

void glia_j_fail(jrt *rt, const char *exc, const char *fmt, ...) {
    char msg[sizeof rt->err->msg];
    const int head = snprintf(msg, sizeof msg, "%s: ", exc);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg + head, sizeof msg - (size_t)head, fmt, ap);
    va_end(ap);
    leave(rt, GLIA_ERR_TEMPLATE, msg);
}

void glia_j_limit(jrt *rt, const char *fmt, ...) {
    char msg[sizeof rt->err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    leave(rt, GLIA_ERR_LIMIT, msg);
}

void glia_j_undefined_error(jrt *rt, jval undef) {
    const jundef *u = undef.u.u;
    if (u->hint) glia_j_fail(rt, u->exc, "%s", u->hint);
    const char *name = glia_j_crepr(rt, u->name);
    if (u->obj.kind == J_MISSING) glia_j_fail(rt, u->exc, "%s is undefined", name);
    if (u->name.kind != J_STR)
        glia_j_fail(rt, u->exc, "%s has no element %s", glia_j_object(rt, u->obj), name);
    glia_j_fail(rt, u->exc, "'%s' has no attribute %s", glia_j_object(rt, u->obj), name);
}

void glia_j_step(jrt *rt, uint64_t n) {
    rt->steps += n;
    if (rt->steps > rt->max_steps)
        glia_j_limit(rt, "more than %llu steps", (unsigned long long)rt->max_steps);
}

void glia_j_enter(jrt *rt) {
    if (++rt->depth > J_DEPTH_MAX) glia_j_limit(rt, "nested more than %d levels deep", J_DEPTH_MAX);
}

void glia_j_leave(jrt *rt) { rt->depth--; }

/* ---- the arena ------------------------------------------------------------------- */

void *glia_j_alloc(jrt *rt, size_t n) {
    jarena *a = &rt->arena;
    if (n > a->limit) glia_j_limit(rt, "a value of %zu bytes; the limit of memory is %zu bytes", n, a->limit);
    n = (n + 15) & ~(size_t)15;
    if (!a->last || a->last->cap - a->last->used < n) {
        size_t cap = a->used < CHUNK_MIN ? CHUNK_MIN : a->used > CHUNK_MAX ? CHUNK_MAX : a->used;
        if (cap < n) cap = n;
        if (a->used + cap > a->limit) cap = n;
        if (a->used + cap > a->limit) glia_j_limit(rt, "more than %zu bytes of memory", a->limit);
        jchunk *chunk = malloc(sizeof *chunk + cap);
        if (!chunk) leave(rt, GLIA_ERR_NOMEM, "no memory");
        chunk->prev = a->last;
        chunk->used = 0;
        chunk->cap = cap;
        a->used += cap;
        a->last = chunk;
    }
    char *p = (char *)(a->last + 1) + a->last->used;
    a->last->used += n;
    return memset(p, 0, n);
}

/* Grow an allocation from `from` to `to` bytes: in place if it is the newest one. */
static void *grow(jrt *rt, void *p, size_t from, size_t to) {
    jchunk *last = rt->arena.last;
    const size_t old = (from + 15) & ~(size_t)15, want = (to + 15) & ~(size_t)15;
    if (p && last && (char *)p + old == (char *)(last + 1) + last->used &&
        want - old <= last->cap - last->used) {
        last->used += want - old;
        return p;
    }
    void *grown = glia_j_alloc(rt, to);
    if (from) memcpy(grown, p, from);
    return grown;
}

void glia_j_arena_free(jarena *a) {
    for (jchunk *c = a->last, *prev; c; c = prev) {
        prev = c->prev;
        free(c);
    }
    a->last = NULL;
}

/* ---- text buffers ----------------------------------------------------------------- */

static void reserve(jrt *rt, jtext *t, size_t n) {
    if (t == rt->out && n > rt->max_output - t->n)
        glia_j_limit(rt, "more than %zu bytes of output", rt->max_output);
    if (t->cap - t->n < n) {
        size_t cap = t->cap ? t->cap : 64;
        while (cap - t->n < n) {
            if (cap > rt->arena.limit) break;
            cap *= 2;
        }
        if (cap - t->n < n) glia_j_limit(rt, "a text of more than %zu bytes", rt->arena.limit);
        t->data = grow(rt, t->data, t->cap, cap);
        t->cap = cap;
    }
}

void glia_j_add(jrt *rt, jtext *t, const char *p, size_t n) {
    reserve(rt, t, n);
    if (n) memcpy(t->data + t->n, p, n);
    t->n += n;
}

void glia_j_puts(jrt *rt, jtext *t, const char *s) { glia_j_add(rt, t, s, strlen(s)); }

void glia_j_putc(jrt *rt, jtext *t, char c) { glia_j_add(rt, t, &c, 1); }

void glia_j_putcp(jrt *rt, jtext *t, int32_t cp) {
    char utf8[4];
    glia_j_add(rt, t, utf8, glia_j_encode(cp, utf8));
}

void glia_j_pad(jrt *rt, jtext *t, int32_t cp, int64_t n) {
    if (n <= 0) return;
    char utf8[4];
    const size_t len = glia_j_encode(cp, utf8);
    if ((uint64_t)n > rt->arena.limit) glia_j_limit(rt, "a text padded by %lld characters", (long long)n);
    glia_j_step(rt, (uint64_t)n / 16);
    reserve(rt, t, (size_t)n * len);
    for (int64_t i = 0; i < n; i++) {
        memcpy(t->data + t->n, utf8, len);
        t->n += len;
    }
}

void glia_j_printf(jrt *rt, jtext *t, const char *fmt, ...) {
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n > 0) glia_j_add(rt, t, small, (size_t)n < sizeof small ? (size_t)n : sizeof small - 1);
}

jval glia_j_text(jrt *rt, jtext *t) { return glia_j_str(rt, t->data ? t->data : "", t->n); }
