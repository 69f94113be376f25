/* repr.c - str() and repr() of values, as Python prints them. */
#include "jinja/ast.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits d that read back as f, where f = 0.d * 10^*point. f is finite
 * and positive. Returns the number of digits. */
static int shortest_digits(double f, char digits[32], int *point) {
    char text[40];
    for (int precision = f < DBL_MIN ? 1 : 15; precision <= 17;
         precision++) { /* rounding a normal double to 15 digits finds a shorter decimal too */
        snprintf(text, sizeof text, "%.*e", precision - 1, f);
        if (precision == 17 || strtod(text, NULL) == f) break;
    }
    int n = 0;
    const char *c = text;
    for (; *c && *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    }
    *point = atoi(c + 1) + 1;
    while (n > 1 && digits[n - 1] == '0') n--;
    return n;
}

void glia_j_float_repr(jrt *rt, jtext *t, double f) {
    char digits[32];
    int point;
    if (isnan(f)) {
        glia_j_puts(rt, t, "nan");
        return;
    }
    if (signbit(f)) glia_j_putc(rt, t, '-');
    f = fabs(f);
    if (isinf(f) || f == 0) {
        glia_j_puts(rt, t, f == 0 ? "0.0" : "inf");
        return;
    }
    const int n = shortest_digits(f, digits, &point);
    if (point > 16 || point < -3) {
        glia_j_putc(rt, t, digits[0]);
        if (n > 1) {
            glia_j_putc(rt, t, '.');
            glia_j_add(rt, t, digits + 1, (size_t)n - 1);
        }
        glia_j_printf(rt, t, "e%c%02d", point > 0 ? '+' : '-', abs(point - 1));
        return;
    }
    if (point <= 0) {
        glia_j_puts(rt, t, "0.");
        glia_j_pad(rt, t, '0', -point);
        glia_j_add(rt, t, digits, (size_t)n);
        return;
    }
    glia_j_add(rt, t, digits, (size_t)(n < point ? n : point));
    glia_j_pad(rt, t, '0', point - n);
    glia_j_putc(rt, t, '.');
    if (n > point)
        glia_j_add(rt, t, digits + point, (size_t)(n - point));
    else
        glia_j_putc(rt, t, '0');
}

static void repr_str(jrt *rt, jtext *t, const jstr *s) {
    const bool single = memchr(s->p, '\'', s->n) != NULL, dbl = memchr(s->p, '"', s->n) != NULL;
    const char quote = single && !dbl ? '"' : '\'';
    glia_j_step(rt, s->n / 8);
    if (s->safe) glia_j_puts(rt, t, "Markup(");
    glia_j_putc(rt, t, quote);
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (cp == quote || cp == '\\') {
            glia_j_putc(rt, t, '\\');
            glia_j_putc(rt, t, (char)cp);
        } else if (cp == '\n') {
            glia_j_puts(rt, t, "\\n");
        } else if (cp == '\r') {
            glia_j_puts(rt, t, "\\r");
        } else if (cp == '\t') {
            glia_j_puts(rt, t, "\\t");
        } else if ((cp >= 0x20 && cp < 0x7f) || (cp > 0x7f && glia_j_isprintable(cp))) {
            glia_j_add(rt, t, s->p + from, at - from);
        } else {
            glia_j_printf(rt, t, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        }
    }
    glia_j_putc(rt, t, quote);
    if (s->safe) glia_j_putc(rt, t, ')');
}

static void repr_list(jrt *rt, jtext *t, const jlist *l, char open, char close) {
    glia_j_putc(rt, t, open);
    for (size_t i = 0; i < l->n; i++) {
        if (i) glia_j_puts(rt, t, ", ");
        glia_j_repr(rt, t, l->v[i]);
    }
    if (open == '(' && l->n == 1) glia_j_putc(rt, t, ',');
    glia_j_putc(rt, t, close);
}

static void repr_dict(jrt *rt, jtext *t, jdict *d) {
    if (d->printing) {
        glia_j_puts(rt, t, "{...}");
        return;
    }
    d->printing = true;
    glia_j_putc(rt, t, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i) glia_j_puts(rt, t, ", ");
        glia_j_repr(rt, t, d->e[i].k);
        glia_j_puts(rt, t, ": ");
        glia_j_repr(rt, t, d->e[i].v);
    }
    glia_j_putc(rt, t, '}');
    d->printing = false;
}

static void repr_object(jrt *rt, jtext *t, jval v) {
    switch (v.kind) {
    case J_RANGE:
        glia_j_printf(rt, t, "range(%" PRId64 ", %" PRId64, v.u.r->start, v.u.r->stop);
        if (v.u.r->step != 1) glia_j_printf(rt, t, ", %" PRId64, v.u.r->step);
        glia_j_putc(rt, t, ')');
        break;
    case J_VIEW:
        glia_j_printf(rt, t, "%s(", glia_j_type(v));
        repr_list(rt, t, glia_j_items(rt, v), '[', ']');
        glia_j_putc(rt, t, ')');
        break;
    case J_NAMESPACE:
        glia_j_puts(rt, t, "<Namespace ");
        repr_dict(rt, t, v.u.d);
        glia_j_putc(rt, t, '>');
        break;
    case J_MACRO:
        glia_j_puts(rt, t, "<Macro ");
        if (v.u.m->node->op == N_MACRO)
            glia_j_repr(rt, t, v.u.m->node->value);
        else
            glia_j_puts(rt, t, "anonymous");
        glia_j_putc(rt, t, '>');
        break;
    case J_LOOP:
        glia_j_printf(rt, t, "<LoopContext %" PRId64 "/%" PRId64 ">", v.u.loop->index0 + 1,
                      glia_j_loop_length(rt, v.u.loop));
        break;
    case J_FUNCTION: /* without the address that Python prints, so that prompts repeat */
        if (strcmp(v.u.fn->type, "type") == 0)
            glia_j_printf(rt, t, "<class '%s'>", v.u.fn->row->name);
        else
            glia_j_printf(rt, t, "<%s %s>", v.u.fn->type, v.u.fn->row->name);
        break;
    default: glia_j_printf(rt, t, "<%s>", glia_j_object(rt, v));
    }
}

void glia_j_repr(jrt *rt, jtext *t, jval v) {
    glia_j_enter(rt);
    glia_j_step(rt, 1);
    switch (v.kind) {
    case J_MISSING: glia_j_puts(rt, t, "missing"); break;
    case J_UNDEF: glia_j_puts(rt, t, "Undefined"); break;
    case J_NONE: glia_j_puts(rt, t, "None"); break;
    case J_BOOL: glia_j_puts(rt, t, v.u.b ? "True" : "False"); break;
    case J_INT: glia_j_printf(rt, t, "%" PRId64, v.u.i); break;
    case J_FLOAT: glia_j_float_repr(rt, t, v.u.f); break;
    case J_STR: repr_str(rt, t, v.u.s); break;
    case J_LIST: repr_list(rt, t, v.u.l, '[', ']'); break;
    case J_TUPLE: repr_list(rt, t, v.u.l, '(', ')'); break;
    case J_DICT: repr_dict(rt, t, v.u.d); break;
    default: repr_object(rt, t, v);
    }
    glia_j_leave(rt);
}

void glia_j_print(jrt *rt, jtext *t, jval v) {
    if (v.kind == J_STR)
        glia_j_add(rt, t, v.u.s->p, v.u.s->n);
    else if (v.kind != J_UNDEF)
        glia_j_repr(rt, t, v);
}

jval glia_j_tostr(jrt *rt, jval v) {
    if (v.kind == J_STR) return glia_j_mark(rt, v, false);
    jtext t = {0};
    glia_j_print(rt, &t, v);
    return glia_j_text(rt, &t);
}

jstr *glia_j_text_of(jrt *rt, jval v) {
    if (v.kind == J_STR) return v.u.s;
    return glia_j_tostr(rt, v).u.s;
}

const char *glia_j_crepr(jrt *rt, jval v) {
    jtext t = {0};
    glia_j_repr(rt, &t, v);
    size_t cut = t.n < 300 ? t.n : 300;
    while (cut > 0 && cut < t.n && ((unsigned char)t.data[cut] & 0xc0) == 0x80) cut--;
    t.n = cut;
    glia_j_putc(rt, &t, '\0');
    return t.data;
}
