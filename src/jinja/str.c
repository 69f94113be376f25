/* str.c - strings by code points: positions, searching, joining, slicing. */
#include "jinja/jinja.h"

#include <string.h>

/* Strings are UTF-8: jansson checks the context's, and glia_template_compile() the
 * source's. An invalid byte would count as one character. */
int32_t glia_j_next(const char *p, size_t n, size_t *at) {
    const unsigned char *s = (const unsigned char *)p + *at;
    const size_t left = n - *at;
    const size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 1;
    if (len == 1 || len > left) {
        *at += 1;
        return s[0];
    }
    int32_t cp = s[0] & (0x7f >> len);
    for (size_t i = 1; i < len; i++) cp = cp << 6 | (s[i] & 0x3f);
    *at += len;
    return cp;
}

size_t glia_j_encode(int32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

static bool is_start(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

size_t glia_j_chars(jstr *s) {
    if (s->chars < 0) {
        int64_t n = 0;
        for (size_t i = 0; i < s->n; i++) n += is_start(s->p[i]);
        s->chars = n;
    }
    return (size_t)s->chars;
}

size_t glia_j_offset(jrt *rt, jstr *s, size_t chars) {
    const size_t all = glia_j_chars(s);
    if (chars >= all) return s->n;
    if (all == s->n) return chars;
    size_t at = 0;
    for (size_t seen = 0; at < s->n && seen <= chars; at++) seen += is_start(s->p[at]);
    glia_j_step(rt, at / 16);
    return at - 1; /* the loop stops one byte past the character's first byte */
}

int64_t glia_j_find(jrt *rt, const jstr *s, const jstr *sub, size_t from, size_t to) {
    if (to > s->n) to = s->n;
    if (from > to || sub->n > to - from) return -1;
    if (sub->n == 0) return (int64_t)from;
    glia_j_step(rt, (to - from) / 64);
    const char *at = s->p + from, *end = s->p + to - sub->n + 1;
    while ((at = memchr(at, sub->p[0], (size_t)(end - at))) != NULL) {
        if (memcmp(at, sub->p, sub->n) == 0) return at - s->p;
        glia_j_step(rt, 1 + sub->n / 256);
        if (++at >= end) break;
    }
    return -1;
}

int64_t glia_j_rfind(jrt *rt, const jstr *s, const jstr *sub, size_t from, size_t to) {
    if (to > s->n) to = s->n;
    if (from > to || sub->n > to - from) return -1;
    glia_j_step(rt, (to - from) / 16);
    for (size_t at = to - sub->n + 1; at-- > from;) {
        if (sub->n && s->p[at] != sub->p[0]) continue;
        if (sub->n == 0 || memcmp(s->p + at, sub->p, sub->n) == 0) return (int64_t)at;
        glia_j_step(rt, 1 + sub->n / 256);
    }
    return -1;
}

/* If `a` ends where its buffer ends, `b` is appended in place. So building a text
 * piece by piece takes linear time. */
jval glia_j_concat(jrt *rt, jval a, jval b) {
    const jstr *x = a.u.s, *y = b.u.s;
    if (y->n == 0 && x->safe == y->safe) return a;
    if (x->n == 0 && x->safe == y->safe) return b;
    glia_j_step(rt, y->n / 256);
    jtext *room = x->room;
    if (!room || room->data != x->p || room->n != x->n) {
        glia_j_step(rt, x->n / 256);
        room = glia_j_alloc(rt, sizeof *room);
        glia_j_add(rt, room, x->p, x->n);
    }
    const size_t had = room->n;
    glia_j_add(rt, room, y->p, y->n);
    jval v = glia_j_str(rt, room->data, had + y->n);
    v.u.s->room = room;
    v.u.s->safe = x->safe && y->safe;
    if (x->chars >= 0 && y->chars >= 0) v.u.s->chars = x->chars + y->chars;
    return v;
}

jval glia_j_at(jrt *rt, jstr *s, size_t i) {
    const size_t from = glia_j_offset(rt, s, i);
    size_t to = from;
    glia_j_next(s->p, s->n, &to);
    return glia_j_sub(rt, s, from, to);
}

/* ---- slices ------------------------------------------------------------------------- */

static int64_t slice_index(jrt *rt, jval v, int64_t otherwise, int64_t n, int64_t low, int64_t high) {
    int64_t i;
    if (v.kind == J_NONE || v.kind == J_MISSING) return otherwise;
    if (!glia_j_integer(v, &i))
        glia_j_fail(rt, "TypeError", "slice indices must be integers or None or have an __index__ method");
    if (i < 0) i += n;
    return i < low ? low : i > high ? high : i;
}

/* The positions of v[start:stop:step] in a sequence of n: *from, *from + *by, ...
 * Returns their number. */
static int64_t slice_plan(jrt *rt, int64_t n, jval start, jval stop, jval step, int64_t *from, int64_t *to,
                          int64_t *by) {
    *by = slice_index(rt, step, 1, 0, INT64_MIN + 1, INT64_MAX);
    if (*by == 0) glia_j_fail(rt, "ValueError", "slice step cannot be zero");
    const int64_t low = *by > 0 ? 0 : -1, high = *by > 0 ? n : n - 1;
    *from = slice_index(rt, start, *by > 0 ? low : high, n, low, high);
    *to = slice_index(rt, stop, *by > 0 ? high : low, n, low, high);
    if (*by > 0) return *from < *to ? (*to - *from - 1) / *by + 1 : 0;
    return *from > *to ? (*from - *to - 1) / -*by + 1 : 0;
}

static jval slice_str(jrt *rt, jstr *s, int64_t from, int64_t by, int64_t count) {
    if (count == 0) return glia_j_sub(rt, s, 0, 0);
    if (by == 1)
        return glia_j_sub(rt, s, glia_j_offset(rt, s, (size_t)from),
                          glia_j_offset(rt, s, (size_t)(from + count)));
    jtext t = {0};
    if (glia_j_chars(s) == s->n) {
        for (int64_t i = 0; i < count; i++) glia_j_putc(rt, &t, s->p[from + i * by]);
    } else { /* characters have different widths: list where each begins */
        const size_t n = glia_j_chars(s);
        size_t *at = glia_j_alloc(rt, (n + 1) * sizeof *at), k = 0;
        for (size_t i = 0; i < s->n; i++) {
            if (is_start(s->p[i])) at[k++] = i;
        }
        at[k] = s->n;
        for (int64_t i = 0; i < count; i++) {
            const size_t c = (size_t)(from + i * by);
            glia_j_add(rt, &t, s->p + at[c], at[c + 1] - at[c]);
        }
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

jval glia_j_slice(jrt *rt, jval v, jval start, jval stop, jval step) {
    int64_t n = 0, from, to, by;
    if (v.kind == J_UNDEF) glia_j_undefined_error(rt, v);
    if (v.kind == J_DICT) glia_j_fail(rt, "TypeError", "unhashable type: 'slice'");
    if (v.kind != J_STR && v.kind != J_LIST && v.kind != J_TUPLE && v.kind != J_RANGE)
        glia_j_fail(rt, "TypeError", "'%s' object is not subscriptable", glia_j_type(v));
    glia_j_len(rt, v, &n);
    const int64_t count = slice_plan(rt, n, start, stop, step, &from, &to, &by);
    glia_j_step(rt, (uint64_t)count / 16);
    if (v.kind == J_STR) return slice_str(rt, v.u.s, from, by, count);
    if (v.kind == J_RANGE) {
        jrange *r = glia_j_alloc(rt, sizeof *r);
        const jrange *old = v.u.r;
        const __int128 start2 = (__int128)old->start + (__int128)from * old->step;
        const __int128 step2 = (__int128)old->step * by;
        const __int128 stop2 = (__int128)old->start + (__int128)to * old->step;
        if (start2 < INT64_MIN || start2 > INT64_MAX || step2 < INT64_MIN || step2 > INT64_MAX ||
            stop2 < INT64_MIN || stop2 > INT64_MAX)
            glia_j_limit(rt, "a slice of a range outside 64 bits");
        *r = (jrange){(int64_t)start2, (int64_t)stop2, (int64_t)step2, (size_t)count};
        return (jval){J_RANGE, {.r = r}};
    }
    jval out = v.kind == J_LIST ? glia_j_list(rt, (size_t)count) : glia_j_tuple(rt, (size_t)count);
    for (int64_t i = 0; i < count; i++) glia_j_push(rt, out.u.l, v.u.l->v[from + i * by]);
    return out;
}

/* ---- whole strings ------------------------------------------------------------------- */

/* Python's str.replace; an empty `old` matches before every character and at the end. */
jval glia_j_replace(jrt *rt, jstr *s, const jstr *old, const jstr *by, int64_t count) {
    jtext t = {0};
    size_t at = 0;
    if (count < 0) count = INT64_MAX;
    if (old->n == 0) {
        while (count-- > 0) {
            glia_j_add(rt, &t, by->p, by->n);
            glia_j_step(rt, 1);
            if (at == s->n) break;
            const size_t from = at;
            glia_j_next(s->p, s->n, &at);
            glia_j_add(rt, &t, s->p + from, at - from);
        }
    } else {
        for (int64_t hit; count-- > 0 && (hit = glia_j_find(rt, s, old, at, s->n)) >= 0;) {
            glia_j_add(rt, &t, s->p + at, (size_t)hit - at);
            glia_j_add(rt, &t, by->p, by->n);
            at = (size_t)hit + old->n;
        }
        if (at == 0) return (jval){J_STR, {.s = s}};
    }
    glia_j_add(rt, &t, s->p + at, s->n - at);
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

static bool strips(const jstr *chars, int32_t cp) {
    if (!chars) return glia_j_isspace(cp);
    for (size_t i = 0; i < chars->n;) {
        if (glia_j_next(chars->p, chars->n, &i) == cp) return true;
    }
    return false;
}

jval glia_j_strip(jrt *rt, jstr *s, const jstr *chars, bool left, bool right) {
    size_t from = 0, to = s->n;
    while (left && from < to) {
        size_t at = from;
        if (!strips(chars, glia_j_next(s->p, s->n, &at))) break;
        from = at;
        glia_j_step(rt, chars ? 1 + chars->n / 16 : 0);
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && !is_start(s->p[at])) at--;
        size_t end = at;
        if (!strips(chars, glia_j_next(s->p, s->n, &end))) break;
        to = at;
        glia_j_step(rt, chars ? 1 + chars->n / 16 : 0);
    }
    glia_j_step(rt, (s->n - (to - from)) / 8);
    return from == 0 && to == s->n ? (jval){J_STR, {.s = s}} : glia_j_sub(rt, s, from, to);
}

/* Centring by an odd number of spaces puts the extra one on the left if the width is
 * odd, as in CPython. */
jval glia_j_justify(jrt *rt, jstr *s, int64_t width, int32_t fill, char align) {
    const int64_t pad = width - (int64_t)glia_j_chars(s);
    if (pad <= 0) return (jval){J_STR, {.s = s}};
    const int64_t left = align == '<' ? 0 : align == '>' ? pad : pad / 2 + (pad & width & 1);
    jtext t = {0};
    glia_j_pad(rt, &t, fill, left);
    glia_j_add(rt, &t, s->p, s->n);
    glia_j_pad(rt, &t, fill, pad - left);
    return glia_j_mark(rt, glia_j_text(rt, &t), s->safe);
}

static bool ends_line(int32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

jval glia_j_splitlines(jrt *rt, const jstr *s, bool keep) {
    jval lines = glia_j_list(rt, 0);
    glia_j_step(rt, s->n / 8);
    size_t from = 0;
    for (size_t at = 0; at < s->n;) {
        const size_t end = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (!ends_line(cp)) continue;
        if (cp == '\r' && at < s->n && s->p[at] == '\n') at++;
        glia_j_push(rt, lines.u.l, glia_j_sub(rt, s, from, keep ? at : end));
        glia_j_step(rt, 1);
        from = at;
    }
    if (from < s->n) glia_j_push(rt, lines.u.l, glia_j_sub(rt, s, from, s->n));
    return lines;
}

jval glia_j_escape(jrt *rt, jval v) {
    if (v.kind == J_STR && v.u.s->safe) return v;
    const jstr *s = glia_j_text_of(rt, v);
    jtext t = {0};
    glia_j_step(rt, s->n / 16);
    for (size_t i = 0; i < s->n; i++) {
        switch (s->p[i]) {
        case '&': glia_j_puts(rt, &t, "&amp;"); break;
        case '<': glia_j_puts(rt, &t, "&lt;"); break;
        case '>': glia_j_puts(rt, &t, "&gt;"); break;
        case '\'': glia_j_puts(rt, &t, "&#39;"); break;
        case '"': glia_j_puts(rt, &t, "&#34;"); break;
        default: glia_j_putc(rt, &t, s->p[i]);
        }
    }
    return glia_j_mark(rt, glia_j_text(rt, &t), true);
}
