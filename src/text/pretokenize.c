/* pretokenize.c - see pretokenize.h. */
#include "text/pretokenize.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

/* A piece of the text. `seen` is what the regexes search: a copy of `text` with
 * stand-ins for characters that PCRE2 may not know (glia_unicode_stand_in()). */
typedef struct {
    const char *text, *seen;
    size_t len;
} piece;

typedef struct {
    const glia_pretokenizer *p;
    glia_matcher *m;
    glia_word_fn *fn;
    void *user;
    glia_err *err;
} run;

typedef struct {
    size_t start, end;
    bool match;
} span;

typedef struct {
    span *at;
    size_t n, cap;
} spans;

static glia_status cut(const run *r, int step, piece whole);

static piece sub(piece whole, size_t start, size_t end) {
    return (piece){whole.text + start, whole.seen + start, end - start};
}

void glia_pretokenizer_free(glia_pretokenizer *p) {
    for (int i = 0; i < p->n; i++) glia_regex_free(p->step[i].regex);
    memset(p, 0, sizeof *p);
}

/* ---- matches of one regex over one piece ---------------------------------- */

typedef struct {
    size_t from;       /* search from here */
    size_t last;       /* end of the last match; SIZE_MAX before the first match */
    size_t start, end; /* the match; start == SIZE_MAX: no more matches */
} cursor;

/* Like the iterator of the Rust crate for Oniguruma, skip an empty match directly
 * after a match. */
static glia_status next_match(const run *r, const glia_regex *regex, cursor *c, piece in) {
    while (c->from <= in.len) {
        const glia_status status =
            glia_regex_search(regex, r->m, in.seen, in.len, c->from, &c->start, &c->end, r->err);
        if (status || c->start == SIZE_MAX) return status;
        if (c->start != c->end || c->start != c->last) {
            c->from = c->last = c->end;
            return GLIA_OK;
        }
        const char *after = in.seen + c->from;
        if (c->from < in.len) glia_utf8_next(&after);
        c->from = c->from < in.len ? (size_t)(after - in.seen) : in.len + 1;
    }
    c->start = SIZE_MAX;
    return GLIA_OK;
}

/* GLIA_SPLIT_ISOLATED, the usual behavior, needs no list of spans: each piece goes
 * to the next step as soon as it is found. */
static glia_status cut_isolated(const run *r, int step, piece whole) {
    cursor c = {.last = SIZE_MAX};
    size_t done = 0;
    for (;;) {
        glia_status status = next_match(r, r->p->step[step].regex, &c, whole);
        if (status) return status;
        if (c.start == SIZE_MAX) break;
        if (done != c.start) status = cut(r, step + 1, sub(whole, done, c.start));
        if (!status) status = cut(r, step + 1, sub(whole, c.start, c.end));
        if (status) return status;
        done = c.end;
    }
    return done < whole.len ? cut(r, step + 1, sub(whole, done, whole.len)) : GLIA_OK;
}

static bool push(spans *s, size_t start, size_t end, bool match) {
    if (s->n == s->cap) {
        const size_t cap = s->cap ? s->cap * 2 : 64;
        span *grown = realloc(s->at, cap * sizeof *grown);
        if (!grown) return false;
        s->at = grown;
        s->cap = cap;
    }
    s->at[s->n++] = (span){start, end, match};
    return true;
}

/* List the spans of a piece: the matches and the text between them. */
static glia_status find_spans(const run *r, const glia_split_step *step, spans *s, piece whole) {
    cursor c = {.last = SIZE_MAX};
    size_t done = 0;
    bool room = true;
    for (;;) {
        const glia_status status = next_match(r, step->regex, &c, whole);
        if (status) return status;
        if (c.start == SIZE_MAX) break;
        if (done != c.start) room = room && push(s, done, c.start, step->invert);
        room = room && push(s, c.start, c.end, !step->invert);
        done = c.end;
    }
    if (done != whole.len) room = room && push(s, done, whole.len, step->invert);
    return room ? GLIA_OK : glia_fail_nomem(r->err, s->cap * 2 * sizeof *s->at, "pre-tokenizer pieces");
}

/* True if a span joins the span visited before it. MERGED_WITH_NEXT visits spans
 * from the end. `before` is the match flag of the span visited before; false for
 * the first span. */
static bool joins(glia_split_behavior behavior, bool before, bool match) {
    return behavior == GLIA_SPLIT_CONTIGUOUS ? match == before : match && !before;
}

/* Merge spans in place. Returns how many are left: the last ones of s->at[0, s->n)
 * for MERGED_WITH_NEXT, else the first ones. */
static size_t merge(spans *s, glia_split_behavior behavior) {
    const bool backward = behavior == GLIA_SPLIT_MERGED_WITH_NEXT;
    size_t kept = 0;
    bool before = false;
    for (size_t i = 0; i < s->n; i++) {
        const span one = s->at[backward ? s->n - 1 - i : i];
        if (kept == 0 || !joins(behavior, before, one.match))
            s->at[backward ? s->n - ++kept : kept++] = one;
        else if (backward)
            s->at[s->n - kept].start = one.start;
        else
            s->at[kept - 1].end = one.end;
        before = one.match;
    }
    return kept;
}

static glia_status cut_merged(const run *r, int step, piece whole) {
    const glia_split_step *how = &r->p->step[step];
    spans s = {0};
    glia_status status = find_spans(r, how, &s, whole);
    const bool removed = how->behavior == GLIA_SPLIT_REMOVED;
    const size_t n = removed || status ? s.n : merge(&s, how->behavior);
    const size_t first = how->behavior == GLIA_SPLIT_MERGED_WITH_NEXT ? s.n - n : 0;
    for (size_t i = first; i < first + n && !status; i++) {
        if (removed && s.at[i].match) continue;
        status = cut(r, step + 1, sub(whole, s.at[i].start, s.at[i].end));
    }
    free(s.at);
    return status;
}

static glia_status put_space_before(const run *r, int step, piece whole) {
    if (whole.text[0] == ' ') return cut(r, step + 1, whole);
    const size_t len = whole.len + 1;
    char *with = malloc(2 * len);
    if (!with) return glia_fail_nomem(r->err, 2 * len, "a pre-tokenizer piece");
    with[0] = with[len] = ' ';
    memcpy(with + 1, whole.text, whole.len);
    memcpy(with + len + 1, whole.seen, whole.len);
    const glia_status status = cut(r, step + 1, (piece){with, with + len, len});
    free(with);
    return status;
}

static glia_status cut(const run *r, int step, piece whole) {
    if (whole.len == 0) return GLIA_OK;
    if (step == r->p->n) return r->fn(r->user, whole.text, whole.len, r->err);
    const glia_split_step *how = &r->p->step[step];
    if (!how->regex) return put_space_before(r, step, whole);
    return how->behavior == GLIA_SPLIT_ISOLATED ? cut_isolated(r, step, whole) : cut_merged(r, step, whole);
}

glia_status glia_pretokenize(const glia_pretokenizer *p, glia_matcher *m, const char *text, size_t len,
                             glia_word_fn *fn, void *user, glia_err *err) {
    const run r = {p, m, fn, user, err};
    if (glia_unicode_find_newer(text, len, 0) == len) return cut(&r, 0, (piece){text, text, len});
    char *seen = malloc(len);
    if (!seen) return glia_fail_nomem(err, len, "a copy of the text");
    memcpy(seen, text, len);
    glia_unicode_put_stand_ins(seen, len);
    const glia_status status = cut(&r, 0, (piece){text, seen, len});
    free(seen);
    return status;
}
