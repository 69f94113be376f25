/* methods_str.c - Python's methods of str. Positions are code points. */
#include "jinja/jinja.h"

#include <string.h>

#define METHOD(name) static jval name(jrt *rt, jval self, const jval *a, const jargs *raw)
#define UNUSED ((void)rt, (void)self, (void)a, (void)raw)

static const jstr *want_str(jrt *rt, jval v, const char *where) {
    if (v.kind != J_STR) glia_j_fail(rt, "TypeError", "%smust be str, not %s", where, glia_j_type(v));
    return v.u.s;
}

/* ---- cases, padding, stripping ---------------------------------------------------------------- */

METHOD(m_capitalize) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 'c');
}
METHOD(m_casefold) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 'f');
}
METHOD(m_lower) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 'l');
}
METHOD(m_swapcase) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 's');
}
METHOD(m_title) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 'T');
}
METHOD(m_upper) {
    UNUSED;
    return glia_j_case(rt, self.u.s, 'u');
}

static jval justify(jrt *rt, jval self, const jval *a, char align) {
    const int64_t width = glia_j_index(rt, a[0]);
    int32_t fill = ' ';
    if (a[1].kind != J_MISSING) {
        if (a[1].kind != J_STR)
            glia_j_fail(rt, "TypeError", "The fill character must be a unicode character, not %s",
                        glia_j_type(a[1]));
        if (glia_j_chars(a[1].u.s) != 1)
            glia_j_fail(rt, "TypeError", "The fill character must be exactly one character long");
        size_t at = 0;
        fill = glia_j_next(a[1].u.s->p, a[1].u.s->n, &at);
    }
    return glia_j_justify(rt, self.u.s, width, fill, align);
}

METHOD(m_center) {
    UNUSED;
    return justify(rt, self, a, '^');
}
METHOD(m_ljust) {
    UNUSED;
    return justify(rt, self, a, '<');
}
METHOD(m_rjust) {
    UNUSED;
    return justify(rt, self, a, '>');
}

METHOD(m_zfill) {
    (void)raw;
    jstr *s = self.u.s;
    const int64_t pad = glia_j_index(rt, a[0]) - (int64_t)glia_j_chars(s);
    if (pad <= 0) return self;
    const size_t sign = s->n && (s->p[0] == '+' || s->p[0] == '-');
    jtext t = {0};
    glia_j_add(rt, &t, s->p, sign);
    glia_j_pad(rt, &t, '0', pad);
    glia_j_add(rt, &t, s->p + sign, s->n - sign);
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

static jval strip(jrt *rt, jval self, const jval *a, const char *name, bool left, bool right) {
    const jstr *chars = NULL;
    if (a[0].kind == J_STR)
        chars = a[0].u.s;
    else if (a[0].kind != J_MISSING && a[0].kind != J_NONE)
        glia_j_fail(rt, "TypeError", "%s arg must be None or str", name);
    return glia_j_strip(rt, self.u.s, chars, left, right);
}

METHOD(m_strip) {
    UNUSED;
    return strip(rt, self, a, "strip", true, true);
}
METHOD(m_lstrip) {
    UNUSED;
    return strip(rt, self, a, "lstrip", true, false);
}
METHOD(m_rstrip) {
    UNUSED;
    return strip(rt, self, a, "rstrip", false, true);
}

static bool starts(const jstr *s, const jstr *prefix) {
    return s->n >= prefix->n && memcmp(s->p, prefix->p, prefix->n) == 0;
}

static bool ends(const jstr *s, const jstr *suffix) {
    return s->n >= suffix->n && memcmp(s->p + s->n - suffix->n, suffix->p, suffix->n) == 0;
}

METHOD(m_removeprefix) {
    (void)raw;
    const jstr *prefix = want_str(rt, a[0], "removeprefix() argument ");
    return starts(self.u.s, prefix) ? glia_j_sub(rt, self.u.s, prefix->n, self.u.s->n) : self;
}

METHOD(m_removesuffix) {
    (void)raw;
    const jstr *suffix = want_str(rt, a[0], "removesuffix() argument ");
    return ends(self.u.s, suffix) ? glia_j_sub(rt, self.u.s, 0, self.u.s->n - suffix->n) : self;
}

METHOD(m_expandtabs) {
    (void)raw;
    const int64_t size = glia_j_opt_int(rt, a[0], 8);
    const jstr *s = self.u.s;
    jtext t = {0};
    int64_t column = 0;
    glia_j_step(rt, s->n / 8);
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (cp == '\t') {
            const int64_t pad = size > 0 ? size - column % size : 0;
            glia_j_pad(rt, &t, ' ', pad);
            column += pad;
            continue;
        }
        glia_j_add(rt, &t, s->p + from, at - from);
        column = cp == '\n' || cp == '\r' ? 0 : column + 1;
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

/* ---- searching ------------------------------------------------------------------------------------ */

static int64_t position(jrt *rt, jval v, int64_t otherwise) {
    int64_t i;
    if (v.kind == J_MISSING || v.kind == J_NONE) return otherwise;
    if (!glia_j_integer(v, &i))
        glia_j_fail(rt, "TypeError", "slice indices must be integers or None or have an __index__ method");
    return i;
}

/* The byte range [*from, *to) of s[start:end]; false if start is past the end. */
static bool window(jrt *rt, jstr *s, jval start, jval end, size_t *from, size_t *to) {
    const int64_t n = (int64_t)glia_j_chars(s);
    int64_t i = position(rt, start, 0);
    int64_t j = position(rt, end, n);
    if (i < 0) i = i + n < 0 ? 0 : i + n;
    if (j < 0) j = j + n < 0 ? 0 : j + n;
    if (j > n) j = n;
    if (i > n || i > j) return false;
    *from = glia_j_offset(rt, s, (size_t)i);
    *to = glia_j_offset(rt, s, (size_t)j);
    return true;
}

static int64_t find(jrt *rt, jval self, const jval *a, bool last) {
    size_t from, to;
    const bool inside = window(rt, self.u.s, a[1], a[2], &from, &to);
    const jstr *sub = want_str(rt, a[0], "");
    if (!inside) return -1;
    const int64_t at =
        last ? glia_j_rfind(rt, self.u.s, sub, from, to) : glia_j_find(rt, self.u.s, sub, from, to);
    if (at < 0) return -1;
    jstr before = {.p = self.u.s->p, .n = (size_t)at, .chars = -1};
    glia_j_step(rt, before.n / 64);
    return (int64_t)glia_j_chars(&before);
}

static jval found(jrt *rt, int64_t at) {
    if (at < 0) glia_j_fail(rt, "ValueError", "substring not found");
    return glia_j_int(at);
}

METHOD(m_find) {
    UNUSED;
    return glia_j_int(find(rt, self, a, false));
}
METHOD(m_rfind) {
    UNUSED;
    return glia_j_int(find(rt, self, a, true));
}
METHOD(m_index) {
    UNUSED;
    return found(rt, find(rt, self, a, false));
}
METHOD(m_rindex) {
    UNUSED;
    return found(rt, find(rt, self, a, true));
}

METHOD(m_count) {
    (void)raw;
    size_t from, to;
    int64_t n = 0;
    const bool inside = window(rt, self.u.s, a[1], a[2], &from, &to);
    const jstr *sub = want_str(rt, a[0], "");
    if (!inside) return glia_j_int(0);
    if (sub->n == 0) {
        jstr part = {.p = self.u.s->p + from, .n = to - from, .chars = -1};
        return glia_j_int((int64_t)glia_j_chars(&part) + 1);
    }
    for (int64_t at; (at = glia_j_find(rt, self.u.s, sub, from, to)) >= 0; n++) from = (size_t)at + sub->n;
    return glia_j_int(n);
}

static jval matches(jrt *rt, jval self, const jval *a, const char *name,
                    bool (*test)(const jstr *, const jstr *)) {
    size_t from, to;
    const bool inside = window(rt, self.u.s, a[1], a[2], &from, &to);
    const jval one[1] = {a[0]};
    const jval *v = a[0].kind == J_TUPLE ? a[0].u.l->v : one;
    const size_t n = a[0].kind == J_TUPLE ? a[0].u.l->n : 1;
    for (size_t i = 0; i < n; i++) {
        if (v[i].kind != J_STR && a[0].kind == J_TUPLE)
            glia_j_fail(rt, "TypeError", "tuple for %s must only contain str, not %s", name,
                        glia_j_type(v[i]));
        if (v[i].kind != J_STR)
            glia_j_fail(rt, "TypeError", "%s first arg must be str or a tuple of str, not %s", name,
                        glia_j_type(v[i]));
        if (!inside) continue;
        const jstr part = {.p = self.u.s->p + from, .n = to - from, .chars = -1};
        if (test(&part, v[i].u.s)) return glia_j_bool(true);
    }
    return glia_j_bool(false);
}

METHOD(m_startswith) {
    UNUSED;
    return matches(rt, self, a, "startswith", starts);
}
METHOD(m_endswith) {
    UNUSED;
    return matches(rt, self, a, "endswith", ends);
}

METHOD(m_replace) {
    (void)raw;
    const jstr *old = want_str(rt, a[0], "replace() argument 1 ");
    want_str(rt, a[1], "replace() argument 2 ");
    const jval by = self.u.s->safe ? glia_j_escape(rt, a[1]) : a[1];
    return glia_j_replace(rt, self.u.s, old, by.u.s, glia_j_opt_int(rt, a[2], -1));
}

/* ---- splitting and joining ---------------------------------------------------------------------------- */

static jval split_space(jrt *rt, jstr *s, int64_t max) {
    jval parts = glia_j_list(rt, 0);
    size_t at = 0;
    glia_j_step(rt, s->n / 8);
    while (at < s->n) {
        size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (glia_j_isspace(cp)) continue;
        if (max-- == 0) {
            glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, from, s->n));
            return parts;
        }
        size_t to = at;
        while (at < s->n && !glia_j_isspace(glia_j_next(s->p, s->n, &at))) to = at;
        glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, from, to));
        glia_j_step(rt, 1);
    }
    return parts;
}

static void reverse(jlist *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        const jval t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
}

static bool space_before(const jstr *s, size_t *at) {
    size_t from = *at - 1;
    while (from > 0 && ((unsigned char)s->p[from] & 0xc0) == 0x80) from--;
    size_t next = from;
    const bool space = glia_j_isspace(glia_j_next(s->p, s->n, &next));
    *at = from;
    return space;
}

static jval rsplit_space(jrt *rt, jstr *s, int64_t max) {
    jval parts = glia_j_list(rt, 0);
    size_t at = s->n;
    glia_j_step(rt, s->n / 8);
    while (at > 0) {
        const size_t to = at;
        if (space_before(s, &at)) continue;
        if (max-- == 0) {
            glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, 0, to));
            break;
        }
        size_t from = at;
        while (at > 0 && !space_before(s, &at)) from = at;
        glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, from, to));
        glia_j_step(rt, 1);
    }
    reverse(parts.u.l);
    return parts;
}

static const jstr *separator(jrt *rt, jval v) {
    if (v.kind == J_MISSING || v.kind == J_NONE) return NULL;
    if (v.kind != J_STR) glia_j_fail(rt, "TypeError", "must be str or None, not %s", glia_j_type(v));
    if (v.u.s->n == 0) glia_j_fail(rt, "ValueError", "empty separator");
    return v.u.s;
}

METHOD(m_split) {
    (void)raw;
    jstr *s = self.u.s;
    const jstr *sep = separator(rt, a[0]);
    int64_t max = glia_j_opt_int(rt, a[1], -1), hit;
    if (!sep) return split_space(rt, s, max);
    jval parts = glia_j_list(rt, 0);
    size_t at = 0;
    while (max-- != 0 && (hit = glia_j_find(rt, s, sep, at, s->n)) >= 0) {
        glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, at, (size_t)hit));
        at = (size_t)hit + sep->n;
    }
    glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, at, s->n));
    return parts;
}

METHOD(m_rsplit) {
    (void)raw;
    jstr *s = self.u.s;
    const jstr *sep = separator(rt, a[0]);
    int64_t max = glia_j_opt_int(rt, a[1], -1), hit;
    if (!sep) return rsplit_space(rt, s, max);
    jval parts = glia_j_list(rt, 0);
    size_t to = s->n;
    while (max-- != 0 && (hit = glia_j_rfind(rt, s, sep, 0, to)) >= 0) {
        glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, (size_t)hit + sep->n, to));
        to = (size_t)hit;
    }
    glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, 0, to));
    reverse(parts.u.l);
    return parts;
}

METHOD(m_splitlines) {
    UNUSED;
    return glia_j_splitlines(rt, self.u.s, glia_j_opt_int(rt, a[0], 0) != 0);
}

static jval partition(jrt *rt, jval self, jval sep, bool last) {
    jstr *s = self.u.s;
    want_str(rt, sep, "");
    if (sep.u.s->n == 0) glia_j_fail(rt, "ValueError", "empty separator");
    const int64_t hit = last ? glia_j_rfind(rt, s, sep.u.s, 0, s->n) : glia_j_find(rt, s, sep.u.s, 0, s->n);
    const jval none = glia_j_sub(rt, s, 0, 0);
    jval parts = glia_j_tuple(rt, 3);
    if (hit < 0) {
        glia_j_push(rt, parts.u.l, last ? none : self);
        glia_j_push(rt, parts.u.l, none);
        glia_j_push(rt, parts.u.l, last ? self : none);
        return parts;
    }
    glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, 0, (size_t)hit));
    glia_j_push(rt, parts.u.l, glia_j_mark(rt, sep, s->safe));
    glia_j_push(rt, parts.u.l, glia_j_sub(rt, s, (size_t)hit + sep.u.s->n, s->n));
    return parts;
}

METHOD(m_partition) {
    UNUSED;
    return partition(rt, self, a[0], false);
}
METHOD(m_rpartition) {
    UNUSED;
    return partition(rt, self, a[0], true);
}

METHOD(m_join) {
    (void)raw;
    if (!glia_j_iterable(a[0])) glia_j_fail(rt, "TypeError", "can only join an iterable");
    const jlist *items = glia_j_items(rt, a[0]);
    jtext t = {0};
    for (size_t i = 0; i < items->n; i++) {
        jval item = items->v[i];
        if (self.u.s->safe) item = glia_j_escape(rt, item);
        if (item.kind != J_STR)
            glia_j_fail(rt, "TypeError", "sequence item %zu: expected str instance, %s found", i,
                        glia_j_type(item));
        if (i) glia_j_print(rt, &t, self);
        glia_j_print(rt, &t, item);
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), self.u.s->safe);
}

/* ---- formatting and translating ---------------------------------------------------------------------- */

METHOD(m_format) {
    (void)a;
    return glia_j_format(rt, self.u.s, raw);
}

METHOD(m_format_map) {
    (void)a;
    if (raw->kw && raw->kw->n) glia_j_fail(rt, "TypeError", "format_map() takes no keyword arguments");
    if (raw->n != 1)
        glia_j_fail(rt, "TypeError", "format_map() takes exactly one argument (%zu given)", raw->n);
    if (raw->v[0].kind != J_DICT)
        glia_j_fail(rt, "TypeError", "'%s' object is not subscriptable", glia_j_type(raw->v[0]));
    return glia_j_format(rt, self.u.s, &(jargs){.kw = raw->v[0].u.d});
}

METHOD(m_translate) {
    (void)raw;
    const jstr *s = self.u.s;
    jtext t = {0};
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        glia_j_step(rt, 1);
        const jval to = glia_j_getitem(rt, a[0], glia_j_int(cp));
        if (to.kind == J_UNDEF)
            glia_j_add(rt, &t, s->p + from, at - from);
        else if (to.kind == J_INT && to.u.i >= 0 && to.u.i <= 0x10ffff &&
                 !(to.u.i >= 0xd800 && to.u.i < 0xe000))
            glia_j_putcp(rt, &t, (int32_t)to.u.i);
        else if (to.kind == J_STR)
            glia_j_print(rt, &t, to);
        else if (to.kind != J_NONE)
            glia_j_fail(rt, "TypeError", "character mapping must return integer, None or str");
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

static jval ordinal(jrt *rt, jval c) {
    if (c.kind == J_INT) return c;
    if (c.kind != J_STR) glia_j_fail(rt, "TypeError", "keys in translate table must be strings or integers");
    if (glia_j_chars(c.u.s) != 1)
        glia_j_fail(rt, "ValueError", "string keys in translate table must be of length 1");
    size_t at = 0;
    return glia_j_int(glia_j_next(c.u.s->p, c.u.s->n, &at));
}

METHOD(m_maketrans) {
    (void)self, (void)raw;
    jval table = glia_j_dict(rt);
    if (a[1].kind == J_MISSING) {
        if (a[0].kind != J_DICT)
            glia_j_fail(rt, "TypeError", "if you give only one argument to maketrans it must be a dict");
        for (size_t i = 0; i < a[0].u.d->n; i++)
            glia_j_put(rt, table.u.d, ordinal(rt, a[0].u.d->e[i].k), a[0].u.d->e[i].v);
        return table;
    }
    want_str(rt, a[0], "maketrans() argument 1 ");
    want_str(rt, a[1], "maketrans() argument 2 ");
    const jlist *from = glia_j_items(rt, a[0]), *to = glia_j_items(rt, a[1]);
    if (from->n != to->n)
        glia_j_fail(rt, "ValueError", "the first two maketrans arguments must have equal length");
    for (size_t i = 0; i < from->n; i++)
        glia_j_put(rt, table.u.d, ordinal(rt, from->v[i]), ordinal(rt, to->v[i]));
    if (a[2].kind == J_MISSING) return table;
    want_str(rt, a[2], "maketrans() argument 3 ");
    const jlist *gone = glia_j_items(rt, a[2]);
    for (size_t i = 0; i < gone->n; i++) glia_j_put(rt, table.u.d, ordinal(rt, gone->v[i]), glia_j_none);
    return table;
}

METHOD(m_encode) {
    UNUSED;
    glia_j_fail(rt, "TypeError", "str.encode() is refused: templates have no bytes");
}

/* ---- predicates --------------------------------------------------------------------------------------- */

static jval all(jrt *rt, const jstr *s, bool (*test)(int32_t), bool empty) {
    glia_j_step(rt, s->n / 4);
    if (s->n == 0) return glia_j_bool(empty);
    for (size_t at = 0; at < s->n;) {
        if (!test(glia_j_next(s->p, s->n, &at))) return glia_j_bool(false);
    }
    return glia_j_bool(true);
}

static bool is_ascii(int32_t cp) { return cp < 128; }

METHOD(m_isalnum) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isalnum, false);
}
METHOD(m_isalpha) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isalpha, false);
}
METHOD(m_isascii) {
    UNUSED;
    return all(rt, self.u.s, is_ascii, true);
}
METHOD(m_isdecimal) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isdecimal, false);
}
METHOD(m_isdigit) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isdigit, false);
}
METHOD(m_isnumeric) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isnumeric, false);
}
METHOD(m_isprintable) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isprintable, true);
}
METHOD(m_isspace) {
    UNUSED;
    return all(rt, self.u.s, glia_j_isspace, false);
}

METHOD(m_isidentifier) {
    UNUSED;
    const jstr *s = self.u.s;
    glia_j_step(rt, s->n / 4);
    for (size_t at = 0; at < s->n;) {
        const bool first = at == 0;
        if (!glia_j_isident(glia_j_next(s->p, s->n, &at), first)) return glia_j_bool(false);
    }
    return glia_j_bool(s->n != 0);
}

static jval all_cased(jrt *rt, const jstr *s, bool (*is)(int32_t), bool (*is_not)(int32_t)) {
    bool cased = false;
    glia_j_step(rt, s->n / 4);
    for (size_t at = 0; at < s->n;) {
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (is_not(cp) || glia_j_istitle(cp)) return glia_j_bool(false);
        cased |= is(cp);
    }
    return glia_j_bool(cased);
}

METHOD(m_islower) {
    UNUSED;
    return all_cased(rt, self.u.s, glia_j_islower, glia_j_isupper);
}
METHOD(m_isupper) {
    UNUSED;
    return all_cased(rt, self.u.s, glia_j_isupper, glia_j_islower);
}

METHOD(m_istitle) {
    UNUSED;
    const jstr *s = self.u.s;
    bool cased = false, before = false;
    glia_j_step(rt, s->n / 4);
    for (size_t at = 0; at < s->n;) {
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        const bool capital = glia_j_isupper(cp) || glia_j_istitle(cp), small = glia_j_islower(cp);
        if ((capital && before) || (small && !before)) return glia_j_bool(false);
        before = capital || small;
        cased |= before;
    }
    return glia_j_bool(cased);
}

const jrow glia_j_str_methods[] = {
    {"capitalize", "/", m_capitalize, "str.capitalize", 0},
    {"casefold", "/", m_casefold, "str.casefold", 0},
    {"center", "/width,fillchar=", m_center, "str.center", 0},
    {"count", "/sub,start=,end=", m_count, "str.count", -1},
    {"encode", NULL, m_encode, NULL, 0},
    {"endswith", "/suffix,start=,end=", m_endswith, "str.endswith", -1},
    {"expandtabs", "tabsize=", m_expandtabs, "expandtabs", -1},
    {"find", "/sub,start=,end=", m_find, "str.find", -1},
    {"format", NULL, m_format, NULL, 0},
    {"format_map", NULL, m_format_map, NULL, 0},
    {"index", "/sub,start=,end=", m_index, "str.index", -1},
    {"isalnum", "/", m_isalnum, "str.isalnum", 0},
    {"isalpha", "/", m_isalpha, "str.isalpha", 0},
    {"isascii", "/", m_isascii, "str.isascii", 0},
    {"isdecimal", "/", m_isdecimal, "str.isdecimal", 0},
    {"isdigit", "/", m_isdigit, "str.isdigit", 0},
    {"isidentifier", "/", m_isidentifier, "str.isidentifier", 0},
    {"islower", "/", m_islower, "str.islower", 0},
    {"isnumeric", "/", m_isnumeric, "str.isnumeric", 0},
    {"isprintable", "/", m_isprintable, "str.isprintable", 0},
    {"isspace", "/", m_isspace, "str.isspace", 0},
    {"istitle", "/", m_istitle, "str.istitle", 0},
    {"isupper", "/", m_isupper, "str.isupper", 0},
    {"join", "/iterable", m_join, "str.join", 0},
    {"ljust", "/width,fillchar=", m_ljust, "str.ljust", 0},
    {"lower", "/", m_lower, "str.lower", 0},
    {"lstrip", "/chars=", m_lstrip, "str.lstrip", 0},
    {"maketrans", "/x,y=,z=", m_maketrans, "str.maketrans", 0},
    {"partition", "/sep", m_partition, "str.partition", 0},
    {"removeprefix", "/prefix", m_removeprefix, "str.removeprefix", 0},
    {"removesuffix", "/suffix", m_removesuffix, "str.removesuffix", 0},
    {"replace", "/old,new,count=", m_replace, "str.replace", 0},
    {"rfind", "/sub,start=,end=", m_rfind, "str.rfind", -1},
    {"rindex", "/sub,start=,end=", m_rindex, "str.rindex", -1},
    {"rjust", "/width,fillchar=", m_rjust, "str.rjust", 0},
    {"rpartition", "/sep", m_rpartition, "str.rpartition", 0},
    {"rsplit", "sep=,maxsplit=", m_rsplit, "rsplit", -1},
    {"rstrip", "/chars=", m_rstrip, "str.rstrip", 0},
    {"split", "sep=,maxsplit=", m_split, "split", -1},
    {"splitlines", "keepends=", m_splitlines, "splitlines", -1},
    {"startswith", "/prefix,start=,end=", m_startswith, "str.startswith", -1},
    {"strip", "/chars=", m_strip, "str.strip", 0},
    {"swapcase", "/", m_swapcase, "str.swapcase", 0},
    {"title", "/", m_title, "str.title", 0},
    {"translate", "/table", m_translate, "str.translate", 0},
    {"upper", "/", m_upper, "str.upper", 0},
    {"zfill", "/width", m_zfill, "str.zfill", 0},
    {0},
};
