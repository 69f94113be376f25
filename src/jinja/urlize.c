/* urlize.c - the filter urlize: finds links in text by Jinja2's rules. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "jinja/jinja.h"

#include <pcre2.h>
#include <string.h>

enum { MATCH_LIMIT = 100000 };

/* The pattern of a link in jinja2/utils.py: scheme or www, domain, port, path. */
static const char http_pattern[] =
    "^(?:(?:https?://|www\\.)(?:(?:[\\w%-]+\\.)+)?(?:[a-z]{2,63}|xn--[\\w%]{2,59})"
    "|(?:[\\w%-]{2,63}\\.)+(?:com|net|int|edu|gov|org|info|mil)"
    "|https?://(?:\\d{1,3}(?:\\.\\d{1,3}){3}|\\[(?:[\\da-f]{0,4}:){2}(?:[\\da-f]{0,4}:?){1,6}\\]))"
    "(?::\\d{1,5})?(?:[/?#]\\S*)?$";
static const char email_pattern[] = "^\\S+@\\w[\\w.-]*\\.\\w+$";

typedef struct {
    pcre2_code *http, *email;
    pcre2_match_data *data;
    pcre2_match_context *limits;
} jlinks;

/* PCRE2 allocates from the render's arena, so a failure leaks nothing. */
static void *arena_malloc(size_t n, void *rt) { return glia_j_alloc(rt, n); }
static void arena_free(void *p, void *rt) { (void)p, (void)rt; }

static jlinks open_links(jrt *rt) {
    int error;
    PCRE2_SIZE at;
    jlinks l;
    pcre2_general_context *memory = pcre2_general_context_create(arena_malloc, arena_free, rt);
    pcre2_compile_context *how = pcre2_compile_context_create(memory);
    const uint32_t flags = PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS;
    l.http = pcre2_compile((PCRE2_SPTR)http_pattern, PCRE2_ZERO_TERMINATED, flags, &error, &at, how);
    l.email = pcre2_compile((PCRE2_SPTR)email_pattern, PCRE2_ZERO_TERMINATED, flags, &error, &at, how);
    l.data = pcre2_match_data_create(8, memory);
    l.limits = pcre2_match_context_create(memory);
    pcre2_set_match_limit(l.limits, MATCH_LIMIT);
    return l;
}

static bool matches(jrt *rt, const jlinks *l, const pcre2_code *re, const jstr *s) {
    glia_j_step(rt, 100 + s->n);
    return pcre2_match(re, (PCRE2_SPTR)s->p, s->n, 0, 0, l->data, l->limits) > 0;
}

/* ---- a word: head, link, tail ------------------------------------------------------------------ */

static bool has_prefix(const jstr *s, const char *p) {
    return s->n >= strlen(p) && memcmp(s->p, p, strlen(p)) == 0;
}
static bool has_suffix(const jstr *s, const char *p) {
    return s->n >= strlen(p) && memcmp(s->p + s->n - strlen(p), p, strlen(p)) == 0;
}

static const char *const openers[] = {"(", "<", "&lt;"};
static const char *const closers[] = {")", ">", ".", ",", "\n", "&gt;"};

static size_t count_of(jrt *rt, const jstr *s, const char *what) {
    const jstr sub = {.p = what, .n = strlen(what)};
    size_t n = 0, at = 0;
    for (int64_t hit; (hit = glia_j_find(rt, s, &sub, at, s->n)) >= 0; n++) at = (size_t)hit + sub.n;
    return n;
}

/* Split *s into opening punctuation, middle and closing punctuation. A closing
 * bracket whose opening bracket is in the middle stays in the middle. */
static void cut_word(jrt *rt, const jstr *s, jstr *head, jstr *middle, jstr *tail) {
    *head = *middle = *tail = *s;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < 3 && !more; i++) {
            more = has_prefix(middle, openers[i]);
            if (!more) continue;
            middle->p += strlen(openers[i]);
            middle->n -= strlen(openers[i]);
        }
    }
    head->n = s->n - middle->n;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < 6 && !more; i++) {
            more = has_suffix(middle, closers[i]);
            if (more) middle->n -= strlen(closers[i]);
        }
    }
    tail->p = middle->p + middle->n;
    tail->n = s->n - head->n - middle->n;
    static const char *const pairs[][2] = {{"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
    for (size_t i = 0; i < 3; i++) {
        const size_t opened = count_of(rt, middle, pairs[i][0]);
        if (opened <= count_of(rt, middle, pairs[i][1])) continue;
        const jstr close = {.p = pairs[i][1], .n = strlen(pairs[i][1])};
        for (size_t k = 0; k < opened; k++) {
            const int64_t at = glia_j_find(rt, tail, &close, 0, tail->n);
            if (at < 0) break;
            const size_t moved = (size_t)at + close.n;
            middle->n += moved;
            tail->p += moved;
            tail->n -= moved;
        }
    }
}

typedef struct {
    jlinks re;
    jval limit; /* checked only if there is a link, as in Jinja */
    jstr attributes;
    const jlist *schemes;
} jurlize;

static void put(jrt *rt, jtext *out, const jstr *s) { glia_j_add(rt, out, s->p, s->n); }

static void link_to(jrt *rt, jtext *out, const jurlize *u, const char *scheme, const jstr *href, jstr shown,
                    bool attributes) {
    int64_t limit = -1;
    if (attributes && u->limit.kind != J_MISSING && u->limit.kind != J_NONE)
        limit = glia_j_index(rt, u->limit);
    const size_t cut = limit >= 0 ? glia_j_offset(rt, &shown, (size_t)limit) : shown.n;
    glia_j_puts(rt, out, "<a href=\"");
    glia_j_puts(rt, out, scheme);
    put(rt, out, href);
    glia_j_putc(rt, out, '"');
    if (attributes) put(rt, out, &u->attributes);
    glia_j_putc(rt, out, '>');
    glia_j_add(rt, out, shown.p, cut);
    if (cut < shown.n) glia_j_puts(rt, out, "...");
    glia_j_puts(rt, out, "</a>");
}

static void put_middle(jrt *rt, jtext *out, const jurlize *u, const jstr *s) {
    if (matches(rt, &u->re, u->re.http, s)) {
        const bool scheme = has_prefix(s, "https://") || has_prefix(s, "http://");
        link_to(rt, out, u, scheme ? "" : "https://", s, *s, true);
        return;
    }
    jstr rest = *s;
    if (has_prefix(s, "mailto:")) {
        rest.p += 7;
        rest.n -= 7;
        if (matches(rt, &u->re, u->re.email, &rest)) {
            link_to(rt, out, u, "", s, rest, false);
            return;
        }
    }
    if (memchr(s->p, '@', s->n) && !has_prefix(s, "www.") && s->p[0] != '@' && !memchr(s->p, ':', s->n) &&
        matches(rt, &u->re, u->re.email, s)) {
        link_to(rt, out, u, "mailto:", s, *s, false);
        return;
    }
    for (size_t i = 0; u->schemes && i < u->schemes->n; i++) {
        const jstr *scheme = u->schemes->v[i].u.s;
        if (s->n <= scheme->n || memcmp(s->p, scheme->p, scheme->n) != 0) continue;
        const jurlize whole = {.attributes = u->attributes};
        link_to(rt, out, &whole, "", s, *s, true);
        return;
    }
    put(rt, out, s);
}

static void put_word(jrt *rt, jtext *out, const jurlize *u, const jstr *word) {
    jstr head, middle, tail;
    cut_word(rt, word, &head, &middle, &tail);
    head.chars = middle.chars = tail.chars = -1;
    put(rt, out, &head);
    if (middle.n) put_middle(rt, out, u, &middle);
    put(rt, out, &tail);
}

/* True if all of *s matches [\w.+-]{2,}:/{0,2}. */
static bool is_scheme(const jstr *s) {
    size_t n = s->n;
    for (int i = 0; i < 2 && n && s->p[n - 1] == '/'; i++) n--;
    if (n < 3 || s->p[n - 1] != ':') return false;
    for (size_t at = 0; at < n - 1;) {
        const int32_t cp = glia_j_next(s->p, n - 1, &at);
        if (!glia_j_isalnum(cp) && cp != '_' && cp != '.' && cp != '+' && cp != '-') return false;
    }
    return true;
}

jval glia_j_urlize(jrt *rt, jval text, jval limit, jstr *rel, jval target, jval schemes) {
    jurlize u = {.re = open_links(rt), .limit = limit};
    jtext attributes = {0}, out = {0};
    if (rel->n) {
        glia_j_puts(rt, &attributes, " rel=\"");
        glia_j_print(rt, &attributes, glia_j_escape(rt, (jval){J_STR, {.s = rel}}));
        glia_j_putc(rt, &attributes, '"');
    }
    if (target.kind != J_MISSING && glia_j_truth(rt, target)) {
        glia_j_puts(rt, &attributes, " target=\"");
        glia_j_print(rt, &attributes, glia_j_escape(rt, target));
        glia_j_putc(rt, &attributes, '"');
    }
    u.attributes = *glia_j_text(rt, &attributes).u.s;
    if (schemes.kind != J_MISSING && schemes.kind != J_NONE) u.schemes = glia_j_items(rt, schemes);
    for (size_t i = 0; u.schemes && i < u.schemes->n; i++) {
        const jval s = u.schemes->v[i];
        if (s.kind != J_STR || !is_scheme(s.u.s))
            glia_j_fail(rt, "FilterArgumentError", "%s is not a valid URI scheme prefix.",
                        glia_j_crepr(rt, s));
    }
    const jstr *s = glia_j_escape(rt, text).u.s;
    for (size_t at = 0; at < s->n;) {
        size_t from = at, next = at;
        while (at < s->n && !glia_j_isspace(glia_j_next(s->p, s->n, &next))) at = next;
        const jstr word = {.p = s->p + from, .n = at - from, .chars = -1};
        if (word.n) put_word(rt, &out, &u, &word);
        from = next = at;
        while (at < s->n && glia_j_isspace(glia_j_next(s->p, s->n, &next))) at = next;
        glia_j_add(rt, &out, s->p + from, at - from);
    }
    return glia_j_text(rt, &out);
}
