/* wrap.c - the filter wordwrap: Python's textwrap applied to each line of a text. */
#include "jinja/jinja.h"

#include <string.h>

typedef struct {
    jrt *rt;
    const int32_t *c; /* [n] the code points of one line */
    size_t n;
    bool hyphens, break_long;
    int64_t width;
    const jstr *glue;
    jtext *out;
    size_t lines;
} jwrap;

typedef struct {
    size_t from, to;
} jchunk2;

static bool is_white(int32_t c) { return (c >= 9 && c <= 13) || c == ' '; }
static bool is_word(int32_t c) { return c == '_' || glia_j_isalnum(c); }
static bool is_punct(int32_t c) { return is_word(c) || (c > 0 && c < 128 && strchr("!\"'&.,?", (int)c)); }
static bool is_letter(int32_t c) { return is_word(c) && !glia_j_isdecimal(c); }

/* The position of the word after two or more dashes at `at`; 0: no such dashes or word. */
static size_t em_dash(const jwrap *w, size_t at) {
    size_t end = at;
    while (end < w->n && w->c[end] == '-') end++;
    return end >= at + 2 && end < w->n && is_word(w->c[end]) ? end : 0;
}

/* True if a hyphenated word may break after the hyphen at `at`. */
static bool breaks_after(const jwrap *w, size_t at) {
    const int32_t *c = w->c;
    const bool left = (at >= 2 && is_letter(c[at - 1]) && is_letter(c[at - 2])) ||
                      (at >= 3 && is_punct(c[at - 1]) && c[at - 2] == '-' && is_letter(c[at - 3]));
    if (!left || at + 2 >= w->n || !is_letter(c[at + 1])) return false;
    return is_letter(c[at + 2]) || (c[at + 2] == '-' && at + 3 < w->n && is_letter(c[at + 3]));
}

/* The end of the unbreakable piece that begins at `from`. */
static size_t piece_end(const jwrap *w, size_t from) {
    size_t at = from;
    if (is_white(w->c[at])) {
        while (at < w->n && is_white(w->c[at])) at++;
        return at;
    }
    if (w->hyphens && from > 0 && is_punct(w->c[from - 1])) {
        const size_t dash = em_dash(w, from);
        if (dash) return dash;
    }
    for (at++; at < w->n && !is_white(w->c[at]); at++) {
        if (!w->hyphens) continue;
        if (w->c[at] == '-' && breaks_after(w, at)) return at + 1;
        if (w->c[at] == '-' && is_punct(w->c[at - 1]) && em_dash(w, at)) return at;
    }
    return at;
}

static bool blank(const jwrap *w, jchunk2 k) {
    for (size_t i = k.from; i < k.to; i++) {
        if (!glia_j_isspace(w->c[i])) return false;
    }
    return true;
}

static void put_line(jwrap *w, const jchunk2 *k, size_t n) {
    if (w->lines++) glia_j_add(w->rt, w->out, w->glue->p, w->glue->n);
    for (size_t i = 0; i < n; i++) {
        for (size_t c = k[i].from; c < k[i].to; c++) glia_j_putcp(w->rt, w->out, w->c[c]);
    }
}

/* How many characters of a word that is longer than a line go into the `space` left. */
static size_t head_length(const jwrap *w, jchunk2 k, size_t space) {
    if (!w->hyphens || k.to - k.from <= space) return space;
    for (size_t h = space; h-- > 1;) {
        if (w->c[k.from + h] != '-') continue;
        for (size_t i = 0; i < h; i++) {
            if (w->c[k.from + i] != '-') return h + 1;
        }
        break;
    }
    return space;
}

static void wrap_line(jwrap *w) {
    jchunk2 *k = glia_j_alloc(w->rt, (w->n + 1) * sizeof *k);
    jchunk2 *line = glia_j_alloc(w->rt, (w->n + 1) * sizeof *line);
    size_t n = 0, next = 0;
    const size_t width = (size_t)w->width;
    for (size_t at = 0; at < w->n; n++) {
        k[n].from = at;
        k[n].to = at = piece_end(w, at);
    }
    while (next < n) {
        size_t used = 0, len = 0;
        glia_j_step(w->rt, 1);
        if (w->lines && blank(w, k[next])) next++;
        while (next < n && len + (k[next].to - k[next].from) <= width) {
            len += k[next].to - k[next].from;
            line[used++] = k[next++];
        }
        if (next < n && k[next].to - k[next].from > width) {
            if (w->break_long) {
                const size_t head = head_length(w, k[next], width - len);
                line[used++] = (jchunk2){k[next].from, k[next].from + head};
                k[next].from += head;
                glia_j_step(w->rt, width / 16);
            } else if (used == 0) {
                line[used++] = k[next++];
            }
        }
        if (used && blank(w, line[used - 1])) used--;
        if (used) put_line(w, line, used);
    }
}

jval glia_j_wordwrap(jrt *rt, const jstr *s, int64_t width, bool break_long, const jstr *glue, bool hyphens) {
    const jlist *lines = glia_j_splitlines(rt, s, false).u.l;
    jtext out = {0};
    for (size_t i = 0; i < lines->n; i++) {
        const jstr *text = lines->v[i].u.s;
        int32_t *c = glia_j_alloc(rt, (text->n + 1) * sizeof *c);
        jwrap w = {rt, c, 0, hyphens, break_long, width, glue, &out, 0};
        if (width <= 0) glia_j_fail(rt, "ValueError", "invalid width %lld (must be > 0)", (long long)width);
        for (size_t at = 0; at < text->n;) c[w.n++] = glia_j_next(text->p, text->n, &at);
        if (i) glia_j_add(rt, &out, glue->p, glue->n);
        wrap_line(&w);
    }
    return glia_j_text(rt, &out);
}
