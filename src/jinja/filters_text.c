/* filters_text.c - Jinja's filters on text. */
#include "jinja/jinja.h"

#include <inttypes.h>
#include <string.h>

static jstr *soft(jrt *rt, jval v) { return glia_j_text_of(rt, v); }

static jval f_capitalize(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_case(rt, soft(rt, v), 'c');
}

static jval f_lower(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_case(rt, soft(rt, v), 'l');
}

static jval f_upper(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return glia_j_case(rt, soft(rt, v), 'u');
}

static bool splits_title(int32_t cp) {
    return glia_j_isspace(cp) || (cp < 128 && strchr("-({[<", (int)cp) && cp);
}

/* Jinja's title(), not Python's: a word begins after white space or one of - ( { [ <. */
static jval f_title(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    const jstr *s = soft(rt, v);
    jtext t = {0};
    glia_j_step(rt, s->n);
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const bool kind = splits_title(glia_j_next(s->p, s->n, &at));
        size_t rest = at;
        while (at < s->n) {
            size_t next = at;
            if (splits_title(glia_j_next(s->p, s->n, &next)) != kind) break;
            at = next;
        }
        if (kind) rest = at;
        glia_j_print(rt, &t, glia_j_case(rt, glia_j_sub(rt, s, from, rest).u.s, 'u'));
        glia_j_print(rt, &t, glia_j_case(rt, glia_j_sub(rt, s, rest, at).u.s, 'l'));
    }
    return glia_j_text(rt, &t);
}

static jval f_center(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    return glia_j_justify(rt, soft(rt, v), glia_j_opt_int(rt, a[0], 80), ' ', '^');
}

static jval f_trim(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const jstr *chars = NULL;
    if (a[0].kind == J_STR)
        chars = a[0].u.s;
    else if (a[0].kind != J_MISSING && a[0].kind != J_NONE)
        glia_j_fail(rt, "TypeError", "strip arg must be None or str");
    return glia_j_strip(rt, soft(rt, v), chars, true, true);
}

static jval f_replace(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const int64_t count = a[2].kind == J_NONE ? -1 : glia_j_opt_int(rt, a[2], -1);
    jval s = v, old = a[0], by = a[1];
    if (!rt->autoescape) {
        s = glia_j_tostr(rt, s);
        return glia_j_replace(rt, s.u.s, glia_j_tostr(rt, old).u.s, glia_j_tostr(rt, by).u.s, count);
    }
    const bool safe = s.kind == J_STR && s.u.s->safe;
    const bool escape = (old.kind == J_STR && old.u.s->safe) || (by.kind == J_STR && by.u.s->safe && !safe);
    if (escape) s = glia_j_escape(rt, s);
    if (s.kind != J_STR) s = glia_j_tostr(rt, s);
    by = s.u.s->safe ? glia_j_escape(rt, by) : glia_j_tostr(rt, by);
    return glia_j_replace(rt, s.u.s, soft(rt, old), by.u.s, count);
}

static jval f_string(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    return v.kind == J_STR ? v : glia_j_tostr(rt, v);
}

static jval f_format(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a;
    const bool named = raw->kw && raw->kw->n;
    if (named && raw->n)
        glia_j_fail(rt, "FilterArgumentError",
                    "can't handle positional and keyword arguments at the same time");
    jval args = (jval){J_DICT, {.d = raw->kw}};
    if (!named) {
        args = glia_j_tuple(rt, raw->n);
        for (size_t i = 0; i < raw->n; i++) glia_j_push(rt, args.u.l, raw->v[i]);
    }
    return glia_j_percent(rt, (jval){J_STR, {.s = soft(rt, v)}}, args);
}

static jval f_indent(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const bool first = glia_j_opt_bool(rt, a[1], false), blank = glia_j_opt_bool(rt, a[2], false);
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind == J_LIST) glia_j_fail(rt, "AttributeError", "'list' object has no attribute 'splitlines'");
    if (v.kind != J_STR)
        glia_j_fail(rt, "TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", glia_j_type(v));
    jval by = a[0];
    if (by.kind != J_STR)
        by = glia_j_binary(rt, '*', glia_j_cstr(rt, " "), by.kind == J_MISSING ? glia_j_int(4) : by);
    if (v.u.s->safe) by = glia_j_escape(rt, by);
    jtext t = {0}, whole = {0};
    glia_j_add(rt, &whole, v.u.s->p, v.u.s->n);
    glia_j_putc(rt, &whole, '\n');
    const jlist *lines = glia_j_splitlines(rt, glia_j_text(rt, &whole).u.s, false).u.l;
    for (size_t i = 0; i < lines->n; i++) {
        const jstr *line = lines->v[i].u.s;
        if (i) glia_j_putc(rt, &t, '\n');
        if (i ? blank || line->n : first) glia_j_add(rt, &t, by.u.s->p, by.u.s->n);
        glia_j_add(rt, &t, line->p, line->n);
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), v.u.s->safe);
}

static jval f_truncate(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    const int64_t length = glia_j_opt_int(rt, a[0], 255);
    const int64_t leeway = a[3].kind == J_NONE ? 5 : glia_j_opt_int(rt, a[3], 5);
    const jval end = a[2].kind == J_MISSING ? glia_j_cstr(rt, "...") : a[2];
    int64_t n, n_end;
    if (!glia_j_len(rt, end, &n_end))
        glia_j_fail(rt, "TypeError", "object of type '%s' has no len()", glia_j_type(end));
    if (length < n_end)
        glia_j_fail(rt, "AssertionError", "expected length >= %" PRId64 ", got %" PRId64, n_end, length);
    if (leeway < 0) glia_j_fail(rt, "AssertionError", "expected leeway >= 0, got %" PRId64, leeway);
    if (!glia_j_len(rt, v, &n))
        glia_j_fail(rt, "TypeError", "object of type '%s' has no len()", glia_j_type(v));
    if (n - leeway <= length) return v;
    jval cut = glia_j_slice(rt, v, glia_j_none, glia_j_int(length - n_end), glia_j_none);
    if (!glia_j_opt_bool(rt, a[1], false)) {
        if (cut.kind != J_STR)
            glia_j_fail(rt, "AttributeError", "'%s' object has no attribute 'rsplit'", glia_j_type(cut));
        const jstr space = {.p = " ", .n = 1, .chars = 1};
        const int64_t at = glia_j_rfind(rt, cut.u.s, &space, 0, cut.u.s->n);
        if (at >= 0) cut = glia_j_sub(rt, cut.u.s, 0, (size_t)at);
    }
    return glia_j_binary(rt, '+', cut, end);
}

static jval f_wordcount(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)a, (void)raw;
    const jstr *s = soft(rt, v);
    int64_t words = 0;
    bool inside = false;
    glia_j_step(rt, s->n / 8);
    for (size_t at = 0; at < s->n;) {
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        const bool word = cp == '_' || glia_j_isalnum(cp);
        words += word && !inside;
        inside = word;
    }
    return glia_j_int(words);
}

static jval f_wordwrap(jrt *rt, jval v, const jval *a, const jargs *raw) {
    (void)raw;
    static const jstr newline = {.p = "\n", .n = 1, .chars = 1};
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind != J_STR)
        glia_j_fail(rt, "AttributeError", "'%s' object has no attribute 'splitlines'", glia_j_type(v));
    if (a[2].kind > J_NONE && a[2].kind != J_STR)
        glia_j_fail(rt, "AttributeError", "'%s' object has no attribute 'join'", glia_j_type(a[2]));
    const jstr *glue = a[2].kind == J_STR ? a[2].u.s : &newline;
    return glia_j_wordwrap(rt, v.u.s, glia_j_opt_int(rt, a[0], 79), glia_j_opt_bool(rt, a[1], true), glue,
                           glia_j_opt_bool(rt, a[3], true));
}

const jrow glia_j_filters_text[] = {
    {"capitalize", "", f_capitalize, "do_capitalize", 1},
    {"center", "width=", f_center, "do_center", 1},
    {"format", NULL, f_format, "do_format", 1},
    {"indent", "width=,first=,blank=", f_indent, "do_indent", 1},
    {"lower", "", f_lower, "do_lower", 1},
    {"replace", "old,new,count=", f_replace, "do_replace", 2},
    {"string", "", f_string, "soft_str", 1},
    {"title", "", f_title, "do_title", 1},
    {"trim", "chars=", f_trim, "do_trim", 1},
    {"truncate", "length=,killwords=,end=,leeway=", f_truncate, "do_truncate", 2},
    {"upper", "", f_upper, "do_upper", 1},
    {"wordcount", "", f_wordcount, "do_wordcount", 1},
    {"wordwrap", "width=,break_long_words=,wrapstring=,break_on_hyphens=", f_wordwrap, "do_wordwrap", 2},
    {0},
};
