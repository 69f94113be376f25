/* pprint.c - the filter pprint: Python's pprint.pformat, 80 columns wide. */
#include "jinja/jinja.h"

#include <string.h>

enum { WIDTH = 80 };

/* The items of a dict sorted by key, as pprint does; keys of different types are
 * sorted by the name of the type. */
static jval sorted_copy(jrt *rt, jval v) {
    jval out = v;
    glia_j_enter(rt);
    if (v.kind == J_LIST || v.kind == J_TUPLE) {
        out = v.kind == J_LIST ? glia_j_list(rt, v.u.l->n) : glia_j_tuple(rt, v.u.l->n);
        for (size_t i = 0; i < v.u.l->n; i++) glia_j_push(rt, out.u.l, sorted_copy(rt, v.u.l->v[i]));
    } else if (v.kind == J_DICT) {
        const size_t n = v.u.d->n;
        jval *keys = glia_j_alloc(rt, n * sizeof *keys), *ranks = glia_j_alloc(rt, n * sizeof *ranks);
        for (size_t i = 0; i < n; i++) {
            double number;
            const jval k = keys[i] = v.u.d->e[i].k;
            const bool ordered = glia_j_number(k, &number) || k.kind == J_STR || k.kind == J_TUPLE;
            ranks[i] = glia_j_pair(rt, glia_j_cstr(rt, glia_j_number(k, &number) ? "int" : glia_j_type(k)),
                                   ordered ? k : glia_j_int(0));
        }
        glia_j_sort(rt, keys, ranks, n, false);
        out = glia_j_dict(rt);
        for (size_t i = 0; i < n; i++) {
            jval item = glia_j_none;
            glia_j_get(rt, v.u.d, keys[i], &item);
            glia_j_put(rt, out.u.d, keys[i], sorted_copy(rt, item));
        }
    }
    glia_j_leave(rt);
    return out;
}

static jstr *repr(jrt *rt, jval v) {
    jtext t = {0};
    glia_j_repr(rt, &t, v);
    return glia_j_text(rt, &t).u.s;
}

static int64_t width_of(jstr *s) { return (int64_t)glia_j_chars(s); }

static void format(jrt *rt, jtext *out, jval v, int64_t indent, int64_t allowance, int level);

static void newline(jrt *rt, jtext *out, int64_t indent) {
    glia_j_putc(rt, out, '\n');
    glia_j_pad(rt, out, ' ', indent);
}

static void format_items(jrt *rt, jtext *out, const jlist *l, int64_t indent, int64_t allowance, int level) {
    for (size_t i = 0; i < l->n; i++) {
        if (i) {
            glia_j_putc(rt, out, ',');
            newline(rt, out, indent + 1);
        }
        format(rt, out, l->v[i], indent + 1, i + 1 == l->n ? allowance : 1, level);
    }
}

static void format_dict(jrt *rt, jtext *out, const jdict *d, int64_t indent, int64_t allowance, int level) {
    glia_j_putc(rt, out, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i) {
            glia_j_putc(rt, out, ',');
            newline(rt, out, indent + 1);
        }
        jstr *key = repr(rt, d->e[i].k);
        glia_j_add(rt, out, key->p, key->n);
        glia_j_puts(rt, out, ": ");
        format(rt, out, d->e[i].v, indent + 1 + width_of(key) + 2, i + 1 == d->n ? allowance + 1 : 1, level);
    }
    glia_j_putc(rt, out, '}');
}

/* The end of the match of \S*\s* at `at`: a word and the white space after it. */
static size_t word_end(const jstr *s, size_t at) {
    size_t next = at;
    while (at < s->n && !glia_j_isspace(glia_j_next(s->p, s->n, &next))) at = next;
    next = at;
    while (at < s->n && glia_j_isspace(glia_j_next(s->p, s->n, &next))) at = next;
    return at;
}

static void break_line(jrt *rt, jlist *chunks, const jstr *line, int64_t width, int64_t last_allowance) {
    size_t from = 0;
    for (size_t at = 0, end; at < line->n; at = end) {
        end = word_end(line, at);
        if (end == line->n) width -= last_allowance;
        if (width_of(repr(rt, glia_j_sub(rt, line, from, end))) <= width) continue;
        if (at > from) glia_j_push(rt, chunks, glia_j_sub(rt, line, from, at));
        from = at;
    }
    if (from < line->n) glia_j_push(rt, chunks, glia_j_sub(rt, line, from, line->n));
}

static void format_str(jrt *rt, jtext *out, jval v, int64_t indent, int64_t allowance, int level) {
    const jlist *lines = glia_j_splitlines(rt, v.u.s, true).u.l;
    jlist *chunks = glia_j_list(rt, 0).u.l;
    if (level == 1) {
        indent++;
        allowance++;
    }
    for (size_t i = 0; i < lines->n; i++) {
        const int64_t last = i + 1 == lines->n ? allowance : 0;
        if (width_of(repr(rt, lines->v[i])) <= WIDTH - indent - last)
            glia_j_push(rt, chunks, lines->v[i]);
        else
            break_line(rt, chunks, lines->v[i].u.s, WIDTH - indent, last);
    }
    const bool parens = level == 1 && chunks->n > 1;
    if (parens) glia_j_putc(rt, out, '(');
    for (size_t i = 0; i < chunks->n; i++) {
        if (i) newline(rt, out, indent);
        glia_j_repr(rt, out, chunks->v[i]);
    }
    if (parens) glia_j_putc(rt, out, ')');
}

static void format(jrt *rt, jtext *out, jval v, int64_t indent, int64_t allowance, int level) {
    glia_j_enter(rt);
    jstr *whole = repr(rt, v);
    const bool fits = width_of(whole) <= WIDTH - indent - allowance;
    level++;
    if (fits) {
        glia_j_add(rt, out, whole->p, whole->n);
    } else if (v.kind == J_DICT) {
        format_dict(rt, out, v.u.d, indent, allowance, level);
    } else if (v.kind == J_LIST) {
        glia_j_putc(rt, out, '[');
        format_items(rt, out, v.u.l, indent, allowance + 1, level);
        glia_j_putc(rt, out, ']');
    } else if (v.kind == J_TUPLE && !v.u.l->group) {
        glia_j_putc(rt, out, '(');
        format_items(rt, out, v.u.l, indent, allowance + (v.u.l->n == 1 ? 2 : 1), level);
        glia_j_puts(rt, out, v.u.l->n == 1 ? ",)" : ")");
    } else if (v.kind == J_STR && v.u.s->n && !v.u.s->safe) {
        format_str(rt, out, v, indent, allowance, level);
    } else {
        glia_j_add(rt, out, whole->p, whole->n);
    }
    glia_j_leave(rt);
}

jval glia_j_pprint(jrt *rt, jval v) {
    jtext out = {0};
    format(rt, &out, sorted_copy(rt, v), 0, 0, 0);
    return glia_j_text(rt, &out);
}
