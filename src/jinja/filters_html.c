/* filters_html.c - Jinja's filters for markup, URLs and JSON. */
#include "jinja/jinja.h"

#include <ctype.h>
#include <string.h>

static jval f_escape(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_escape(rt, v);
}

static jval f_forceescape(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_escape(rt, glia_j_tostr(rt, v));
}

static jval f_safe(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_mark(rt, v.kind == J_STR ? v : glia_j_tostr(rt, v), true);
}

static jval f_tojson(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return glia_j_tojson(rt, v, a);
}

static jval f_pprint(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_pprint(rt, v);
}

/* ---- striptags ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int32_t cp;
    bool bare; /* recognised without a semicolon too */
} entities[] = {
    {"amp", '&', true},        {"lt", '<', true},        {"gt", '>', true},        {"quot", '"', true},
    {"apos", '\'', false},     {"nbsp", 0xa0, true},     {"copy", 0xa9, true},     {"reg", 0xae, true},
    {"deg", 0xb0, true},       {"middot", 0xb7, true},   {"laquo", 0xab, true},    {"raquo", 0xbb, true},
    {"times", 0xd7, true},     {"ndash", 0x2013, false}, {"mdash", 0x2014, false}, {"lsquo", 0x2018, false},
    {"rsquo", 0x2019, false},  {"ldquo", 0x201c, false}, {"rdquo", 0x201d, false}, {"bull", 0x2022, false},
    {"hellip", 0x2026, false}, {"euro", 0x20ac, false},  {"trade", 0x2122, false}, {"rarr", 0x2192, false},
    {"larr", 0x2190, false},
};

/* The character of the reference at p, which follows '&'; *used is the reference's
 * length. -1: not a reference. */
static int32_t reference(const char *p, size_t n, size_t *used) {
    if (n > 1 && p[0] == '#') {
        const bool hex = p[1] == 'x' || p[1] == 'X';
        size_t i = hex ? 2 : 1;
        int64_t cp = 0;
        const size_t first = i;
        for (; i < n && (hex ? isxdigit((unsigned char)p[i]) : isdigit((unsigned char)p[i])); i++) {
            const int digit =
                isdigit((unsigned char)p[i]) ? p[i] - '0' : tolower((unsigned char)p[i]) - 'a' + 10;
            if (cp <= 0x10ffff) cp = cp * (hex ? 16 : 10) + digit;
        }
        if (i == first) return -1;
        *used = i + (i < n && p[i] == ';');
        return cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000) ? 0xfffd : (int32_t)cp;
    }
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++) {
        const size_t len = strlen(entities[i].name);
        if (n < len || memcmp(p, entities[i].name, len) != 0) continue;
        const bool closed = n > len && p[len] == ';';
        *used = len + closed;
        if (closed || entities[i].bare) return entities[i].cp;
    }
    return -1;
}

static void drop_tags(jrt *rt, const jstr *s, jtext *out) {
    static const jstr open = {.p = "<", .n = 1}, comment_end = {.p = "-->", .n = 3},
                      close = {.p = ">", .n = 1};
    size_t at = 0;
    for (int64_t start; (start = glia_j_find(rt, s, &open, at, s->n)) >= 0;) {
        const bool comment = s->n - (size_t)start >= 4 && memcmp(s->p + start, "<!--", 4) == 0;
        const int64_t end = comment ? glia_j_find(rt, s, &comment_end, (size_t)start + 4, s->n)
                                    : glia_j_find(rt, s, &close, (size_t)start, s->n);
        if (end < 0) break;
        glia_j_add(rt, out, s->p + at, (size_t)start - at);
        at = (size_t)end + (comment ? 3 : 1);
    }
    glia_j_add(rt, out, s->p + at, s->n - at);
}

static jval f_striptags(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    jtext plain = {0}, out = {0};
    const jargs none = {0};
    drop_tags(rt, glia_j_text_of(rt, v), &plain);
    const jval words =
        glia_j_invoke(rt, glia_j_row(glia_j_str_methods, "split", 5), glia_j_text(rt, &plain), &none);
    const jargs list = {.v = (jval[]){words}, .n = 1};
    const jstr *s =
        glia_j_invoke(rt, glia_j_row(glia_j_str_methods, "join", 4), glia_j_cstr(rt, " "), &list).u.s;
    for (size_t at = 0; at < s->n;) {
        size_t used = 0;
        const int32_t cp = s->p[at] == '&' ? reference(s->p + at + 1, s->n - at - 1, &used) : -1;
        if (cp >= 0)
            glia_j_putcp(rt, &out, cp);
        else
            glia_j_putc(rt, &out, s->p[at]);
        at += cp >= 0 ? 1 + used : 1;
    }
    return glia_j_text(rt, &out);
}

/* ---- URLs, attributes ------------------------------------------------------------------------------ */

static void url_quote(jrt *rt, jtext *out, jval v, bool query) {
    const jstr *s = glia_j_text_of(rt, v);
    glia_j_step(rt, s->n / 4);
    for (size_t i = 0; i < s->n; i++) {
        const unsigned char c = (unsigned char)s->p[i];
        if ((c < 128 && isalnum(c)) || (c && strchr("_.-~", c)) || (c == '/' && !query))
            glia_j_putc(rt, out, (char)c);
        else if (c == ' ' && query)
            glia_j_putc(rt, out, '+');
        else
            glia_j_printf(rt, out, "%%%02X", c);
    }
}

static jval f_urlencode(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    jtext out = {0};
    if (v.kind == J_STR || !glia_j_iterable(v)) {
        url_quote(rt, &out, v, false);
        return glia_j_text(rt, &out);
    }
    jval pair;
    jiter *it = glia_j_iter(
        rt,
        v.kind == J_DICT ? glia_j_call(rt, glia_j_getattr(rt, v, glia_j_cstr(rt, "items")), &(jargs){0}) : v);
    for (bool first = true; glia_j_step_iter(rt, it, &pair); first = false) {
        if (!glia_j_iterable(pair))
            glia_j_fail(rt, "TypeError", "cannot unpack non-iterable %s object", glia_j_type(pair));
        const jlist *two = glia_j_items(rt, pair);
        if (two->n < 2)
            glia_j_fail(rt, "ValueError", "not enough values to unpack (expected 2, got %zu)", two->n);
        if (two->n > 2) glia_j_fail(rt, "ValueError", "too many values to unpack (expected 2)");
        if (!first) glia_j_putc(rt, &out, '&');
        url_quote(rt, &out, two->v[0], true);
        glia_j_putc(rt, &out, '=');
        url_quote(rt, &out, two->v[1], true);
    }
    return glia_j_text(rt, &out);
}

static jval f_xmlattr(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    jtext out = {0};
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind != J_DICT)
        glia_j_fail(rt, "AttributeError", "'%s' object has no attribute 'items'", glia_j_type(v));
    for (size_t i = 0; i < v.u.d->n; i++) {
        const jentry *e = &v.u.d->e[i];
        if (e->v.kind == J_NONE || e->v.kind == J_UNDEF) continue;
        if (e->k.kind != J_STR)
            glia_j_fail(rt, "TypeError", "expected string or bytes-like object, got '%s'", glia_j_type(e->k));
        for (size_t c = 0; c < e->k.u.s->n; c++) {
            const char ch = e->k.u.s->p[c];
            if (ch && strchr(" \t\n\r\f\v/>=", ch))
                glia_j_fail(rt, "ValueError", "Invalid character in attribute name: %s",
                            glia_j_crepr(rt, e->k));
        }
        if (out.n || glia_j_opt_bool(rt, a[0], true)) glia_j_putc(rt, &out, ' ');
        glia_j_print(rt, &out, glia_j_escape(rt, e->k));
        glia_j_puts(rt, &out, "=\"");
        glia_j_print(rt, &out, glia_j_escape(rt, e->v));
        glia_j_putc(rt, &out, '"');
    }
    return glia_j_mark(rt, glia_j_text(rt, &out), rt->autoescape);
}

/* The value of `rel`: the words given, "nofollow" if asked for, and "noopener",
 * which Jinja adds always; sorted, without duplicates. */
static jval rel_of(jrt *rt, jval rel, bool nofollow) {
    const jargs none = {0};
    jval words = glia_j_list(rt, 0), unique = glia_j_list(rt, 0);
    if (rel.kind == J_STR) words = glia_j_invoke(rt, glia_j_row(glia_j_str_methods, "split", 5), rel, &none);
    if (nofollow) glia_j_push(rt, words.u.l, glia_j_cstr(rt, "nofollow"));
    glia_j_push(rt, words.u.l, glia_j_cstr(rt, "noopener"));
    glia_j_sort(rt, words.u.l->v, words.u.l->v, words.u.l->n, false);
    for (size_t i = 0; i < words.u.l->n; i++) {
        if (!glia_j_contains(rt, unique, words.u.l->v[i])) glia_j_push(rt, unique.u.l, words.u.l->v[i]);
    }
    const jargs list = {.v = &unique, .n = 1};
    return glia_j_invoke(rt, glia_j_row(glia_j_str_methods, "join", 4), glia_j_cstr(rt, " "), &list);
}

static jval f_urlize(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jval rel = rel_of(rt, a[3], glia_j_opt_bool(rt, a[1], false));
    const jval out = glia_j_urlize(rt, v, a[0], rel.u.s, a[2], a[4]);
    return glia_j_mark(rt, out, rt->autoescape);
}

const jrow glia_j_filters_html[] = {
    {"e", "", f_escape, "escape", 1},
    {"escape", "", f_escape, "escape", 1},
    {"forceescape", "", f_forceescape, "do_forceescape", 1},
    {"pprint", "", f_pprint, "do_pprint", 1},
    {"safe", "", f_safe, "do_mark_safe", 1},
    {"striptags", "", f_striptags, "do_striptags", 1},
    {"tojson", "ensure_ascii=,indent=,separators=,sort_keys=", f_tojson,
     "_cached_compile_jinja_template.<locals>.tojson", 1},
    {"urlencode", "", f_urlencode, "do_urlencode", 1},
    {"urlize", "trim_url_limit=,nofollow=,target=,rel=,extra_schemes=", f_urlize, "do_urlize", 2},
    {"xmlattr", "autospace=", f_xmlattr, "do_xmlattr", 2},
    {0},
};
