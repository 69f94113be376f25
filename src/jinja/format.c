/* format.c - Python's two ways to format: "%5.2f" % x and "{:>5}".format(x). */
#include "jinja/jinja.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+' '-' ' ' or 0 */
    bool alt;
    int64_t width, precision; /* precision -1: none */
    char group;               /* ',' '_' or 0 */
    char type;                /* 0: none */
} jspec;

/* ---- formatting by a parsed specification --------------------------------------------------- */

static void put_aligned(jrt *rt, jtext *out, const jspec *sp, const char *p, size_t n, char normal) {
    jstr s = {.p = p, .n = n, .chars = -1};
    const int64_t pad = sp->width - (int64_t)glia_j_chars(&s);
    const char align = sp->align ? sp->align : normal;
    const int64_t left = pad <= 0 || align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    glia_j_pad(rt, out, sp->fill, left);
    glia_j_add(rt, out, p, n);
    glia_j_pad(rt, out, sp->fill, pad - left);
}

/* The digits with a separator after every group of `every`, padded with zeros up to
 * `width` characters. */
static jtext group_digits(jrt *rt, const char *digits, size_t n, char sep, size_t every, int64_t width) {
    jtext out = {0};
    size_t all = n;
    if (width > 0) glia_j_step(rt, (uint64_t)width / 4);
    if (sep) {
        while ((int64_t)(all + (all - 1) / every) < width) all++;
    } else if (width > (int64_t)all) {
        all = (size_t)width;
    }
    for (size_t i = 0; i < all; i++) {
        if (sep && i && (all - i) % every == 0) glia_j_putc(rt, &out, sep);
        glia_j_putc(rt, &out, i < all - n ? '0' : digits[i - (all - n)]);
    }
    return out;
}

/* Append sign, prefix, grouped digits and rest (".5e+10"), padded to the width. */
static void put_number(jrt *rt, jtext *out, const jspec *sp, bool negative, const char *prefix,
                       const char *digits, size_t n, const char *rest) {
    char head[8];
    const char *sign = negative ? "-" : sp->sign == '+' ? "+" : sp->sign == ' ' ? " " : "";
    snprintf(head, sizeof head, "%s%s", sign, prefix);
    const size_t every =
        sp->group == '_' && (sp->type == 'x' || sp->type == 'X' || sp->type == 'o' || sp->type == 'b') ? 4
                                                                                                       : 3;
    const bool zeros = sp->align == '=' && sp->fill == '0';
    const int64_t room = sp->width - (int64_t)strlen(head) - (int64_t)strlen(rest);
    const jtext body = group_digits(rt, digits, n, sp->group, every, zeros ? room : 0);
    jtext all = {0};
    glia_j_puts(rt, &all, head);
    if (sp->align == '=') glia_j_pad(rt, &all, sp->fill, room - (int64_t)body.n);
    glia_j_add(rt, &all, body.data, body.n);
    glia_j_puts(rt, &all, rest);
    put_aligned(rt, out, sp, all.data, all.n, '>');
}

static void put_int(jrt *rt, jtext *out, const jspec *sp, int64_t i) {
    char digits[72], *p = digits + sizeof digits - 1;
    const unsigned base = sp->type == 'x' || sp->type == 'X' ? 16
                          : sp->type == 'o'                  ? 8
                          : sp->type == 'b'                  ? 2
                                                             : 10;
    const char *letters = sp->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    *p = '\0';
    do {
        *--p = letters[u % base];
        u /= base;
    } while (u);
    const char prefix[3] = {'0', sp->type, 0};
    put_number(rt, out, sp, i < 0, sp->alt && base != 10 ? prefix : "", p, strlen(p), "");
}

/* A float without a type letter, as Python formats it: repr, or with a precision %g
 * that keeps one digit after the point. */
static const char *plain_float(jrt *rt, double f, int64_t precision) {
    jtext t = {0};
    if (precision < 0) {
        glia_j_float_repr(rt, &t, f);
    } else {
        if (precision == 0) precision = 1;
        const char *e = glia_j_format_double(rt, f, 'e', (int)precision - 1);
        const int point = atoi(strchr(e, 'e') + 1) + 1;
        const bool use_exp = f != 0 && (point <= -4 || point > precision - 1);
        const char *g = use_exp ? e : glia_j_format_double(rt, f, 'f', (int)precision - (f == 0 ? 1 : point));
        const char *tail = use_exp ? strchr(e, 'e') : g + strlen(g);
        size_t n = (size_t)(tail - g);
        if (memchr(g, '.', n)) {
            while (g[n - 1] == '0') n--;
            if (g[n - 1] == '.') n--;
        }
        glia_j_add(rt, &t, g, n);
        if (!use_exp && !memchr(g, '.', n)) glia_j_puts(rt, &t, ".0");
        glia_j_puts(rt, &t, tail);
    }
    glia_j_putc(rt, &t, '\0');
    return t.data;
}

/* A float with a type letter. C's '#' keeps trailing zeros and the point, as Python's does. */
static const char *typed_float(jrt *rt, double f, const jspec *sp) {
    const char conv = sp->type == '%' ? 'f' : sp->type == 'n' ? 'g' : sp->type;
    const int64_t precision = sp->precision < 0 ? 6 : sp->precision;
    if (precision > 10000) glia_j_limit(rt, "a number of %" PRId64 " digits", precision);
    const char *text = glia_j_format_double(rt, f, conv, (int)precision);
    if (!sp->alt || strchr(text, '.')) return text;
    jtext t = {0};
    const size_t digits = strspn(text, "-0123456789");
    glia_j_add(rt, &t, text, digits);
    glia_j_putc(rt, &t, '.');
    if (conv == 'g' || conv == 'G') glia_j_pad(rt, &t, '0', (precision ? precision : 1) - (int64_t)digits);
    glia_j_puts(rt, &t, text + digits);
    glia_j_putc(rt, &t, '\0');
    return t.data;
}

static void put_float(jrt *rt, jtext *out, const jspec *sp, double f) {
    const bool negative = signbit(f) && !isnan(f);
    const double size = sp->type == '%' ? fabs(f) * 100 : fabs(f);
    const bool upper = sp->type && isupper((unsigned char)sp->type);
    if (!isfinite(size)) {
        jspec plain = *sp;
        if (plain.fill == '0' && plain.align == '=') plain.group = 0;
        const char *word = isnan(f) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf";
        put_number(rt, out, &plain, negative, "", word, 3, sp->type == '%' ? "%" : "");
        return;
    }
    const char *text = sp->type ? typed_float(rt, size, sp) : plain_float(rt, size, sp->precision);
    const size_t n = strspn(text, "0123456789");
    jtext rest = {0};
    glia_j_puts(rt, &rest, text + n);
    if (sp->type == '%') glia_j_putc(rt, &rest, '%');
    glia_j_putc(rt, &rest, '\0');
    put_number(rt, out, sp, negative, "", text, n, rest.data);
}

static void put_char(jrt *rt, jtext *out, const jspec *sp, int64_t i, char normal) {
    char utf8[4];
    if (i < 0 || i > 0x10ffff) glia_j_fail(rt, "OverflowError", "%%c arg not in range(0x110000)");
    if (i >= 0xd800 && i < 0xe000) glia_j_fail(rt, "ValueError", "surrogates are not supported");
    put_aligned(rt, out, sp, utf8, glia_j_encode((int32_t)i, utf8), normal);
}

static void put_text(jrt *rt, jtext *out, const jspec *sp, jstr *s, char normal) {
    const size_t n = sp->precision >= 0 ? glia_j_offset(rt, s, (size_t)sp->precision) : s->n;
    put_aligned(rt, out, sp, s->p, n, normal);
}

/* Append ascii(v): repr(v) with all non-ASCII characters escaped. */
static void put_ascii(jrt *rt, jtext *out, jval v) {
    jtext t = {0};
    glia_j_repr(rt, &t, v);
    for (size_t at = 0; at < t.n;) {
        const int32_t cp = glia_j_next(t.data, t.n, &at);
        if (cp < 0x80)
            glia_j_putc(rt, out, (char)cp);
        else
            glia_j_printf(rt, out,
                          cp < 0x100     ? "\\x%02x"
                          : cp < 0x10000 ? "\\u%04x"
                                         : "\\U%08x",
                          (unsigned)cp);
    }
}

/* ---- format % args --------------------------------------------------------------------------- */

typedef struct {
    jrt *rt;
    const char *p, *end, *start;
    jval args;
    size_t next, n; /* the next argument and their number; n is 1 if args is not a tuple */
    bool mapping, safe;
    jtext out;
} jpercent;

static jval next_arg(jpercent *pc) {
    if (pc->next >= pc->n) glia_j_fail(pc->rt, "TypeError", "not enough arguments for format string");
    const size_t i = pc->next++;
    return pc->args.kind == J_TUPLE ? pc->args.u.l->v[i] : pc->args;
}

static int64_t read_number(jpercent *pc) {
    int64_t n = 0;
    if (pc->p < pc->end && *pc->p == '*') {
        pc->p++;
        const jval v = next_arg(pc);
        if (!glia_j_integer(v, &n)) glia_j_fail(pc->rt, "TypeError", "* wants int");
        return n < -1000000000 ? -1000000000 : n;
    }
    while (pc->p < pc->end && isdigit((unsigned char)*pc->p)) {
        n = n * 10 + (*pc->p++ - '0');
        if (n > 1000000000) glia_j_fail(pc->rt, "ValueError", "width too big");
    }
    return n;
}

static jval read_key(jpercent *pc) {
    const char *from = ++pc->p;
    if (!pc->mapping) glia_j_fail(pc->rt, "TypeError", "format requires a mapping");
    for (int depth = 1; pc->p < pc->end; pc->p++) {
        depth += *pc->p == '(' ? 1 : *pc->p == ')' ? -1 : 0;
        if (depth == 0) break;
    }
    if (pc->p == pc->end) glia_j_fail(pc->rt, "ValueError", "incomplete format key");
    const jval key = glia_j_str(pc->rt, from, (size_t)(pc->p++ - from));
    jval v;
    if (pc->args.kind == J_UNDEF) glia_j_undefined_error(pc->rt, pc->args);
    if (pc->args.kind != J_DICT)
        glia_j_fail(pc->rt, "TypeError", "%s indices must be integers or slices, not str",
                    glia_j_type(pc->args));
    if (!glia_j_get(pc->rt, pc->args.u.d, key, &v))
        glia_j_fail(pc->rt, "KeyError", "%s", glia_j_crepr(pc->rt, key));
    return v;
}

static void percent_number(jpercent *pc, jspec *sp, jval v) {
    jrt *rt = pc->rt;
    int64_t i;
    double f;
    const char conv = sp->type;
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (strchr("eEfFgG", conv)) {
        if (!glia_j_number(v, &f))
            glia_j_fail(rt, "TypeError", "must be real number, not %s", glia_j_type(v));
        put_float(rt, &pc->out, sp, f);
        return;
    }
    const bool whole = glia_j_integer(v, &i);
    if (strchr("xXo", conv)) {
        if (!whole)
            glia_j_fail(rt, "TypeError", "%%%c format: an integer is required, not %s", conv, glia_j_type(v));
    } else {
        if (!whole && v.kind != J_FLOAT)
            glia_j_fail(rt, "TypeError", "%%%c format: a real number is required, not %s", conv,
                        glia_j_type(v));
        if (!whole) i = glia_j_to_int(rt, v.u.f);
        sp->type = 'd';
    }
    if (sp->precision > 0) { /* the minimal number of digits, within the width */
        jspec digits = *sp;
        jtext t = {0};
        digits.width = sp->precision + (i < 0 || sp->sign != 0) + (sp->alt && sp->type != 'd' ? 2 : 0);
        digits.fill = '0';
        digits.align = '=';
        put_int(rt, &t, &digits, i);
        put_aligned(rt, &pc->out, sp, t.data, t.n, '>');
        return;
    }
    put_int(rt, &pc->out, sp, i);
}

static void percent_one(jpercent *pc, jspec *sp, jval v) {
    jrt *rt = pc->rt;
    jtext t = {0};
    jval s;
    switch (sp->type) {
    case 's':
    case 'r':
    case 'a':
        if (sp->type == 's')
            s = pc->safe ? glia_j_escape(rt, v) : glia_j_tostr(rt, v);
        else {
            if (sp->type == 'r')
                glia_j_repr(rt, &t, v);
            else
                put_ascii(rt, &t, v);
            s = glia_j_text(rt, &t);
            if (pc->safe) s = glia_j_escape(rt, s);
        }
        if (sp->align == '=') sp->align = '>', sp->fill = ' ';
        put_text(rt, &pc->out, sp, s.u.s, '>');
        return;
    case 'c': {
        int64_t i;
        if (sp->align == '=') sp->align = '>', sp->fill = ' ';
        if (v.kind == J_STR && glia_j_chars(v.u.s) == 1) {
            put_aligned(rt, &pc->out, sp, v.u.s->p, v.u.s->n, '>');
            return;
        }
        if (!glia_j_integer(v, &i)) glia_j_fail(rt, "TypeError", "%%c requires int or char");
        put_char(rt, &pc->out, sp, i, '>');
        return;
    }
    default: percent_number(pc, sp, v);
    }
}

static void percent_field(jpercent *pc) {
    jrt *rt = pc->rt;
    jspec sp = {.fill = ' ', .precision = -1};
    jval v = glia_j_missing;
    bool left = false, zero = false;
    if (pc->p < pc->end && *pc->p == '(') v = read_key(pc);
    for (; pc->p < pc->end && strchr("-+ #0", *pc->p); pc->p++) {
        left |= *pc->p == '-';
        zero |= *pc->p == '0';
        sp.alt |= *pc->p == '#';
        if (*pc->p == '+' || (*pc->p == ' ' && !sp.sign)) sp.sign = *pc->p;
    }
    sp.width = read_number(pc);
    if (sp.width < 0) {
        left = true;
        sp.width = -sp.width;
    }
    if (pc->p < pc->end && *pc->p == '.') {
        pc->p++;
        sp.precision = read_number(pc);
        if (sp.precision < 0) sp.precision = 0;
    }
    if (pc->p < pc->end && strchr("hlL", *pc->p)) pc->p++;
    if (pc->p == pc->end) glia_j_fail(rt, "ValueError", "incomplete format");
    sp.type = *pc->p++;
    if (sp.type == '%') {
        glia_j_putc(rt, &pc->out, '%');
        return;
    }
    if (!memchr("diuoxXeEfFgGcrsa", sp.type, 16)) {
        size_t at = (size_t)(pc->p - 1 - pc->start);
        jstr before = {.p = pc->start, .n = at, .chars = -1};
        const int32_t cp = glia_j_next(pc->start, (size_t)(pc->end - pc->start), &at);
        char utf8[5] = {0};
        glia_j_encode(cp, utf8);
        glia_j_fail(rt, "ValueError", "unsupported format character '%s' (0x%x) at index %zu",
                    cp >= 32 && cp < 127 ? utf8 : "?", (unsigned)cp, glia_j_chars(&before));
    }
    if (left)
        sp.align = '<';
    else if (zero)
        sp.align = '=', sp.fill = '0';
    percent_one(pc, &sp, v.kind == J_MISSING ? next_arg(pc) : v);
}

jval glia_j_percent(jrt *rt, jval format, jval args) {
    const jstr *s = format.u.s;
    jpercent pc = {
        .rt = rt, .p = s->p, .start = s->p, .end = s->p + s->n, .args = args, .n = 1, .safe = s->safe};
    if (args.kind == J_TUPLE) pc.n = args.u.l->n;
    pc.mapping = args.kind == J_DICT || args.kind == J_LIST || args.kind == J_UNDEF || args.kind == J_RANGE;
    while (pc.p < pc.end) {
        const char *hit = memchr(pc.p, '%', (size_t)(pc.end - pc.p));
        if (!hit) hit = pc.end;
        glia_j_add(rt, &pc.out, pc.p, (size_t)(hit - pc.p));
        pc.p = hit;
        if (pc.p == pc.end) break;
        pc.p++;
        glia_j_step(rt, 1);
        percent_field(&pc);
    }
    if (pc.next < pc.n && !pc.mapping)
        glia_j_fail(rt, "TypeError", "not all arguments converted during string formatting");
    return glia_j_mark(rt, glia_j_text(rt, &pc.out), s->safe);
}

/* ---- format(value, spec) ---------------------------------------------------------------------- */

static int64_t spec_number(jrt *rt, const char **p, const char *end) {
    int64_t n = 0;
    for (; *p < end && isdigit((unsigned char)**p); (*p)++) {
        n = n * 10 + (**p - '0');
        if (n > 1000000000) glia_j_fail(rt, "ValueError", "Too many decimal digits in format string");
    }
    return n;
}

static jspec read_spec(jrt *rt, const char *p, size_t n, jval v) {
    jspec sp = {.fill = ' ', .precision = -1};
    const char *end = p + n;
    size_t first = 0;
    if (n) glia_j_next(p, n, &first);
    if (first && p + first < end && strchr("<>^=", p[first])) {
        size_t at = 0;
        sp.fill = glia_j_next(p, n, &at);
        sp.align = p[first];
        p += first + 1;
    } else if (p < end && strchr("<>^=", *p)) {
        sp.align = *p++;
    }
    if (p < end && strchr("+- ", *p)) sp.sign = *p++;
    if (p < end && *p == 'z') p++;
    if (p < end && *p == '#') sp.alt = true, p++;
    if (p < end && *p == '0') {
        if (!sp.align) {
            sp.fill = '0';
            if (v.kind != J_STR) sp.align = '=';
        }
        p++;
    }
    sp.width = spec_number(rt, &p, end);
    if (p < end && (*p == ',' || *p == '_')) sp.group = *p++;
    if (p < end && *p == '.') {
        if (++p == end || !isdigit((unsigned char)*p))
            glia_j_fail(rt, "ValueError", "Format specifier missing precision");
        sp.precision = spec_number(rt, &p, end);
    }
    if (end - p > 1) glia_j_fail(rt, "ValueError", "Invalid format specifier");
    if (p < end) sp.type = *p;
    return sp;
}

static _Noreturn void unknown_code(jrt *rt, const jspec *sp, jval v) {
    glia_j_fail(rt, "ValueError", "Unknown format code '%c' for object of type '%s'", sp->type,
                glia_j_type(v));
}

static void format_int(jrt *rt, jtext *out, jspec *sp, jval v) {
    int64_t i = 0;
    glia_j_integer(v, &i);
    if (sp->type && strchr("eEfFgG%", sp->type)) {
        put_float(rt, out, sp, (double)i);
        return;
    }
    if (sp->precision >= 0)
        glia_j_fail(rt, "ValueError", "Precision not allowed in integer format specifier");
    if (sp->type == 'c') {
        put_char(rt, out, sp, i, '<');
        return;
    }
    if (sp->type && !strchr("bdoxXn", sp->type)) unknown_code(rt, sp, v);
    if (sp->group == ',' && sp->type && strchr("boxX", sp->type))
        glia_j_fail(rt, "ValueError", "Cannot specify ',' with '%c'.", sp->type);
    put_int(rt, out, sp, i);
}

void glia_j_format_value(jrt *rt, jtext *out, jval v, const char *spec, size_t n) {
    if (n == 0) {
        glia_j_print(rt, out, v);
        return;
    }
    const bool number = v.kind == J_INT || v.kind == J_BOOL || v.kind == J_FLOAT;
    if (!number && v.kind != J_STR)
        glia_j_fail(rt, "TypeError", "unsupported format string passed to %s.__format__", glia_j_type(v));
    jspec sp = read_spec(rt, spec, n, v);
    if (v.kind == J_STR) {
        if (sp.type && sp.type != 's') unknown_code(rt, &sp, v);
        if (sp.sign) glia_j_fail(rt, "ValueError", "Sign not allowed in string format specifier");
        if (sp.alt)
            glia_j_fail(rt, "ValueError", "Alternate form (#) not allowed in string format specifier");
        if (sp.align == '=')
            glia_j_fail(rt, "ValueError", "'=' alignment not allowed in string format specifier");
        if (sp.group) glia_j_fail(rt, "ValueError", "Cannot specify '%c' with 's'.", sp.group);
        put_text(rt, out, &sp, v.u.s, '<');
    } else if (v.kind == J_FLOAT) {
        if (sp.type && !strchr("eEfFgG%n", sp.type)) unknown_code(rt, &sp, v);
        put_float(rt, out, &sp, v.u.f);
    } else {
        format_int(rt, out, &sp, v);
    }
}

/* ---- str.format -------------------------------------------------------------------------------- */

typedef struct {
    jrt *rt;
    const jargs *args;
    int64_t automatic; /* number of the next {} */
    bool manual;
} jfields;

static jval first_field(jfields *f, const char *p, size_t n) {
    jrt *rt = f->rt;
    int64_t index = 0;
    bool digits = n > 0;
    for (size_t i = 0; i < n; i++) {
        digits &= isdigit((unsigned char)p[i]) != 0;
        if (digits && index < INT32_MAX) index = index * 10 + (p[i] - '0');
    }
    if (n == 0) {
        if (f->manual)
            glia_j_fail(rt, "ValueError",
                        "cannot switch from manual field specification to automatic field numbering");
        index = f->automatic++;
    } else if (digits) {
        if (f->automatic)
            glia_j_fail(rt, "ValueError",
                        "cannot switch from manual field specification to automatic field numbering");
        f->manual = true;
    } else {
        jval v;
        const jval key = glia_j_str(rt, p, n);
        if (!f->args->kw || !glia_j_get(rt, f->args->kw, key, &v))
            glia_j_fail(rt, "KeyError", "%s", glia_j_crepr(rt, key));
        return v;
    }
    if (index >= (int64_t)f->args->n) glia_j_fail(rt, "IndexError", "tuple index out of range");
    return f->args->v[index];
}

/* The value of a field: a name, then any number of .attribute and [item]. */
static jval get_field(jfields *f, const char *p, size_t n) {
    jrt *rt = f->rt;
    size_t at = 0;
    while (at < n && p[at] != '.' && p[at] != '[') at++;
    jval v = first_field(f, p, at);
    while (at < n) {
        const char open = p[at++];
        const size_t from = at;
        if (open == '.') {
            while (at < n && p[at] != '.' && p[at] != '[') at++;
            if (at == from) glia_j_fail(rt, "ValueError", "Empty attribute in format string");
            v = glia_j_getattr(rt, v, glia_j_str(rt, p + from, at - from));
            continue;
        }
        if (open != '[')
            glia_j_fail(rt, "ValueError", "Only '.' or '[' may follow ']' in format field specifier");
        while (at < n && p[at] != ']') at++;
        if (at == n) glia_j_fail(rt, "ValueError", "Missing ']' in format string");
        jstr key = {.p = p + from, .n = at++ - from, .chars = -1};
        if (key.n == 0) glia_j_fail(rt, "ValueError", "Empty attribute in format string");
        int64_t index;
        const bool number = isdigit((unsigned char)*key.p) && glia_j_parse_int(rt, &key, 10, &index);
        v = glia_j_getitem(rt, v, number ? glia_j_int(index) : glia_j_str(rt, key.p, key.n));
    }
    return v;
}

static void format_text(jfields *f, jtext *out, const char *p, size_t n, int depth, bool safe);

/* Format the field p [n], the text between { and }. */
static void format_field(jfields *f, jtext *out, const char *p, size_t n, int depth, bool safe) {
    jrt *rt = f->rt;
    size_t name = 0;
    while (name < n && p[name] != '!' && p[name] != ':') {
        if (p[name] == '{') glia_j_fail(rt, "ValueError", "unexpected '{' in field name");
        if (p[name] == '[') {
            while (name < n && p[name] != ']') name++;
        } else {
            name++;
        }
    }
    jval v = get_field(f, p, name);
    size_t at = name;
    if (at < n && p[at] == '!') {
        if (at + 1 >= n)
            glia_j_fail(rt, "ValueError", "end of string while looking for conversion specifier");
        const char conv = p[at + 1];
        at += 2;
        if (at < n && p[at] != ':') glia_j_fail(rt, "ValueError", "expected ':' after conversion specifier");
        if (conv != 's' && conv != 'r' && conv != 'a')
            glia_j_fail(rt, "ValueError", "Unknown conversion specifier %c", conv);
        jtext t = {0};
        if (conv == 's')
            glia_j_print(rt, &t, v);
        else if (conv == 'r')
            glia_j_repr(rt, &t, v);
        else
            put_ascii(rt, &t, v);
        v = glia_j_text(rt, &t);
    }
    jtext spec = {0}, one = {0};
    if (at < n) format_text(f, &spec, p + at + 1, n - at - 1, depth + 1, false);
    glia_j_format_value(rt, &one, v, spec.data, spec.n);
    jval s = glia_j_text(rt, &one);
    if (safe) s = v.kind == J_STR && v.u.s->safe ? s : glia_j_escape(rt, s);
    glia_j_add(rt, out, s.u.s->p, s.u.s->n);
}

static void format_text(jfields *f, jtext *out, const char *p, size_t n, int depth, bool safe) {
    jrt *rt = f->rt;
    if (depth > 2) glia_j_fail(rt, "ValueError", "Max string recursion exceeded");
    glia_j_step(rt, n / 8);
    for (size_t at = 0; at < n;) {
        const char c = p[at];
        if (c != '{' && c != '}') {
            glia_j_putc(rt, out, c);
            at++;
            continue;
        }
        if (at + 1 < n && p[at + 1] == c) {
            glia_j_putc(rt, out, c);
            at += 2;
            continue;
        }
        if (c == '}' || at + 1 == n)
            glia_j_fail(rt, "ValueError", "Single '%c' encountered in format string", c);
        size_t end = at + 1;
        for (int open = 1; end < n; end++) {
            open += p[end] == '{' ? 1 : p[end] == '}' ? -1 : 0;
            if (open == 0) break;
        }
        if (end == n) glia_j_fail(rt, "ValueError", "expected '}' before end of string");
        glia_j_step(rt, 1);
        format_field(f, out, p + at + 1, end - at - 1, depth, safe);
        at = end + 1;
    }
}

jval glia_j_format(jrt *rt, jstr *format, const jargs *args) {
    jfields f = {.rt = rt, .args = args};
    jtext out = {0};
    format_text(&f, &out, format->p, format->n, 1, format->safe);
    return glia_j_mark(rt, glia_j_text(rt, &out), format->safe);
}
