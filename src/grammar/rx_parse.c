/* rx_parse.c - regular expressions in the syntax of ECMAScript and PCRE, without what needs memory of the
 * match: back references and word boundaries.
 *
 * An anchor becomes a byte that no text has. The text is then searched between two such bytes, and
 * derivatives from both sides remove them. A look-ahead is an intersection with all that follows. */
#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"
#include "text/unicode.h"

enum { START_BYTE = 0xfe, END_BYTE = 0xff, DEPTH_MAX = 200, COUNT_MAX = 1000000, PATTERN_MAX = 1 << 18 };

typedef enum { N_RX, N_CAT, N_OR, N_REPEAT, N_LOOK } node_kind;

typedef struct {
    node_kind kind;
    bool looks;     /* a look-ahead is inside */
    glia_rx rx;     /* RX */
    int m, n;       /* REPEAT; LOOK: m is 1 if it must not match */
    uint32_t first; /* child + 1 */
    uint32_t next;  /* sibling + 1 */
} node;

typedef struct {
    glia_rx_pool *p;
    const char *text, *at, *end, *what;
    glia_spelling spelling;
    glia_vec nodes;
    bool fold, dot_all, anchored;
    int depth;
    glia_err *err;
    glia_status status;
} parser;

static uint32_t fail(parser *r, glia_status status, const char *why) {
    if (!r->status)
        r->status = glia_fail(r->err, status, "%s: %s at byte %zu of \"%.*s\"", r->what, why,
                              (size_t)(r->at - r->text) + 1,
                              (int)(r->end - r->text > 60 ? 60 : r->end - r->text), r->text);
    return 0;
}

static node *at(parser *r, uint32_t i) { return (node *)r->nodes.data + i; }

static uint32_t add(parser *r, node n) {
    if (r->status) return 0;
    if (!glia_vec_push(&r->nodes, sizeof n, &n)) r->status = glia_fail_nomem(r->err, sizeof n, r->what);
    return r->status ? 0 : (uint32_t)r->nodes.n - 1;
}

static uint32_t leaf(parser *r, glia_rx rx) { return add(r, (node){.kind = N_RX, .rx = rx}); }

/* The next character is `c`: skip it. */
static bool eat(parser *r, char c) {
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}
static bool eat_word(parser *r, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
    r->at += n;
    return true;
}

/* ---- characters ---------------------------------------------------------------- */

static bool digits(parser *r, unsigned base, size_t least, size_t most, uint32_t *value) {
    const char *const from = r->at;
    *value = 0;
    for (; r->at < r->end && (size_t)(r->at - from) < most; r->at++) {
        const char c = *r->at;
        const unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                           : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                  : 99;
        if (d >= base) break;
        *value = *value * base + d;
    }
    return (size_t)(r->at - from) >= least && *value <= 0x10ffff;
}

static bool add_class(glia_chars *c, char letter) {
    static const glia_char_range digit[] = {{'0', '9'}},
                                 word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                 space[] = {{9, 13},          {' ', ' '},       {0xa0, 0xa0},
                                            {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                            {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
                                            {0xfeff, 0xfeff}};
    const bool d = letter == 'd' || letter == 'D', w = letter == 'w' || letter == 'W';
    const glia_char_range *list = d ? digit : w ? word : space;
    const size_t n = d ? 1 : w ? 4 : sizeof space / sizeof *space;
    glia_chars own = {0};
    bool ok = true;
    for (size_t i = 0; i < n; i++) ok = ok && glia_chars_add(&own, list[i].lo, list[i].hi);
    if (letter < 'a') ok = ok && glia_chars_invert(&own);
    for (size_t i = 0; i < own.n && ok; i++) {
        const glia_char_range *x = (const glia_char_range *)own.data + i;
        ok = glia_chars_add(c, x->lo, x->hi);
    }
    glia_vec_free(&own);
    return ok;
}

static bool add_property(parser *r, glia_chars *c, bool negated) {
    const char *name = r->at, *end;
    if (eat(r, '{')) {
        name = r->at;
        end = memchr(r->at, '}', (size_t)(r->end - r->at));
        if (!end) return fail(r, GLIA_ERR_FORMAT, "a property without \"}\"");
        r->at = end + 1;
    } else {
        end = r->at < r->end ? ++r->at : r->at;
    }
    if (end > name && *name == '^') {
        negated = !negated;
        name++;
    }
    const char *equals = memchr(name, '=', (size_t)(end - name));
    if (equals && (equals - name == 2 || equals - name == 16)) name = equals + 1; /* gc=, General_Category= */
    glia_chars own = {0};
    bool known = true;
    if (end - name == 3 && memcmp(name, "Any", 3) == 0)
        glia_chars_add(&own, 0, 0x10ffff);
    else if (end - name == 5 && memcmp(name, "ASCII", 5) == 0)
        glia_chars_add(&own, 0, 0x7f);
    else if (end - name == 10 && memcmp(name, "Alphabetic", 10) == 0)
        known = glia_chars_add_category(&own, "L", 1) && glia_chars_add_category(&own, "Nl", 2);
    else if (end - name == 5 && memcmp(name, "digit", 5) == 0)
        known = glia_chars_add_category(&own, "Nd", 2);
    else
        known = glia_chars_add_category(&own, name, (size_t)(end - name));
    if (!known) fail(r, GLIA_ERR_UNSUPPORTED, "a property that is no general category");
    if (!glia_chars_normalise(&own) || (negated && !glia_chars_invert(&own))) known = false;
    for (size_t i = 0; i < own.n && known; i++) {
        const glia_char_range *x = (const glia_char_range *)own.data + i;
        known = glia_chars_add(c, x->lo, x->hi);
    }
    glia_vec_free(&own);
    return known && !r->status;
}

/* An escape that stands for one character. */
static uint32_t one_char(parser *r, char c, bool in_class) {
    static const char letter[] = "tnrfvae", meaning[] = "\t\n\r\f\v\a\x1b";
    const char *found = strchr(letter, c);
    uint32_t u, low;
    if (found) return (unsigned char)meaning[found - letter];
    if (c == '0') return 0;
    if (c == 'b' && in_class) return '\b';
    if (c == 'c')
        return r->at < r->end ? (unsigned char)*r->at++ & 31u : fail(r, GLIA_ERR_FORMAT, "a cut \\c");
    if (c == 'x' || c == 'u') {
        if (eat(r, '{')) {
            if (!digits(r, 16, 1, 8, &u) || !eat(r, '}')) return fail(r, GLIA_ERR_FORMAT, "a bad \\u{...}");
            return u;
        }
        if (!digits(r, 16, c == 'x' ? 2 : 4, c == 'x' ? 2 : 4, &u))
            return fail(r, GLIA_ERR_FORMAT, "too few hexadecimal digits");
        if (u >= 0xd800 && u < 0xdc00 && eat_word(r, "\\u") && digits(r, 16, 4, 4, &low))
            return 0x10000 + (u - 0xd800) * 1024 + (low & 1023);
        return u;
    }
    if ((unsigned char)c >= 0x80) {
        r->at--;
        return glia_utf8_next(&r->at);
    }
    if ((c >= '1' && c <= '9') || c == 'k') return fail(r, GLIA_ERR_UNSUPPORTED, "a back reference");
    if (strchr("bBGKRX", c))
        return fail(r, GLIA_ERR_UNSUPPORTED, "an escape that depends on the characters around it");
    return (unsigned char)c;
}

/* What follows a backslash: characters. *single: one character, which a range may begin with. */
static bool escape(parser *r, glia_chars *c, bool in_class, uint32_t *single) {
    *single = UINT32_MAX;
    if (r->at == r->end) return fail(r, GLIA_ERR_FORMAT, "a backslash at the end");
    const char letter = *r->at++;
    if (strchr("dDwWsS", letter) && letter) return add_class(c, letter);
    if (letter == 'p' || letter == 'P') return add_property(r, c, letter == 'P');
    *single = one_char(r, letter, in_class);
    return !r->status && glia_chars_add(c, *single, *single);
}

static bool named_class(parser *r, glia_chars *c) { /* [:alpha:] */
    static const struct {
        const char *name;
        glia_char_range range[3];
        int n;
    } table[] = {{"[:alpha:]", {{'A', 'Z'}, {'a', 'z'}, {0, 0}}, 2},
                 {"[:digit:]", {{'0', '9'}, {0, 0}, {0, 0}}, 1},
                 {"[:alnum:]", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, 3},
                 {"[:upper:]", {{'A', 'Z'}, {0, 0}, {0, 0}}, 1},
                 {"[:lower:]", {{'a', 'z'}, {0, 0}, {0, 0}}, 1},
                 {"[:space:]", {{9, 13}, {' ', ' '}, {0, 0}}, 2},
                 {"[:punct:]", {{'!', '/'}, {':', '@'}, {'[', '`'}}, 3},
                 {"[:xdigit:]", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, 3}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (eat_word(r, table[i].name)) {
            for (int k = 0; k < table[i].n; k++)
                glia_chars_add(c, table[i].range[k].lo, table[i].range[k].hi);
            if (i == 6) glia_chars_add(c, '{', '~');
            return true;
        }
    return false;
}

static bool class_item(parser *r, glia_chars *c) {
    uint32_t lo, hi;
    if (named_class(r, c)) return true;
    if (eat(r, '\\')) {
        if (!escape(r, c, true, &lo)) return false;
    } else {
        lo = glia_utf8_next(&r->at);
        if (!glia_chars_add(c, lo, lo)) return false;
    }
    if (lo == UINT32_MAX || r->end - r->at < 2 || r->at[0] != '-' || r->at[1] == ']') return true;
    r->at++;
    glia_chars ignored = {0};
    bool ok = true;
    if (eat(r, '\\'))
        ok = escape(r, &ignored, true, &hi);
    else
        hi = glia_utf8_next(&r->at);
    if (ok && hi == UINT32_MAX)
        ok = glia_chars_add(c, '-', '-'); /* [a-\d] */
    else if (ok && hi < lo)
        ok = fail(r, GLIA_ERR_FORMAT, "a range from a higher to a lower character");
    else if (ok)
        ok = glia_chars_add(c, lo, hi);
    for (size_t i = 0; i < ignored.n && ok && hi == UINT32_MAX; i++) {
        const glia_char_range *x = (const glia_char_range *)ignored.data + i;
        ok = glia_chars_add(c, x->lo, x->hi);
    }
    glia_vec_free(&ignored);
    return ok;
}

/* The leaf of a set of characters, which is freed. */
static uint32_t chars_leaf(parser *r, glia_chars *c, bool negated) {
    bool ok = glia_chars_normalise(c);
    if (r->fold) ok = ok && glia_chars_fold(c);
    if (negated) ok = ok && glia_chars_invert(c);
    const glia_rx rx = ok ? glia_chars_rx(r->p, c, r->spelling) : GLIA_RX_NONE;
    glia_vec_free(c);
    if (!ok && !r->status) r->status = glia_fail_nomem(r->err, 0, r->what);
    return leaf(r, rx);
}

static uint32_t class(parser *r) {
    glia_chars c = {0};
    const bool negated = eat(r, '^');
    bool ok = true;
    while (ok && r->at < r->end && *r->at != ']') ok = class_item(r, &c);
    if (ok && !eat(r, ']')) fail(r, GLIA_ERR_FORMAT, "a \"[\" without \"]\"");
    if (!ok && !r->status) r->status = glia_fail_nomem(r->err, c.n, r->what);
    return chars_leaf(r, &c, negated);
}

/* ---- structure ------------------------------------------------------------------ */

static uint32_t alternatives(parser *r);

static uint32_t anchor(parser *r, unsigned byte) {
    r->anchored = true;
    const glia_rx one = glia_rx_range(r->p, byte, byte);
    return leaf(r, one);
}

static bool flags(parser *r) {
    bool on = true;
    for (; r->at < r->end && *r->at != ')' && *r->at != ':'; r->at++) {
        if (*r->at == '-')
            on = false;
        else if (*r->at == 'i')
            r->fold = on;
        else if (*r->at == 's')
            r->dot_all = on;
        else if (*r->at != 'u')
            return fail(r, GLIA_ERR_UNSUPPORTED, "a flag other than i, s and u");
    }
    return true;
}

static bool group_name(parser *r) {
    const char *end = memchr(r->at, '>', (size_t)(r->end - r->at));
    if (!end) return fail(r, GLIA_ERR_FORMAT, "a name of a group without \">\"");
    r->at = end + 1;
    return true;
}

static uint32_t group(parser *r) {
    const bool fold = r->fold, dot_all = r->dot_all;
    int look = -1;
    if (eat(r, '?')) {
        if (eat(r, '='))
            look = 0;
        else if (eat(r, '!'))
            look = 1;
        else if (eat_word(r, "<=") || eat_word(r, "<!"))
            return fail(r, GLIA_ERR_UNSUPPORTED, "a look-behind");
        else if (eat_word(r, "P<") || eat(r, '<'))
            group_name(r);
        else if (eat(r, '>'))
            return fail(r, GLIA_ERR_UNSUPPORTED, "an atomic group");
        else if (!eat(r, ':')) {
            if (!flags(r)) return 0;
            if (eat(r, ')')) return leaf(r, GLIA_RX_EMPTY); /* the flags hold for the rest */
            if (!eat(r, ':')) return fail(r, GLIA_ERR_FORMAT, "a \"(\" without \")\"");
        }
    }
    if (++r->depth > DEPTH_MAX) return fail(r, GLIA_ERR_LIMIT, "groups nested deeper than 200");
    const uint32_t inside = alternatives(r);
    r->depth--;
    if (!r->status && !eat(r, ')')) return fail(r, GLIA_ERR_FORMAT, "a \"(\" without \")\"");
    r->fold = fold;
    r->dot_all = dot_all;
    if (look < 0) return inside;
    return add(r, (node){.kind = N_LOOK, .looks = true, .m = look, .first = inside + 1});
}

static uint32_t dot(parser *r) {
    glia_chars c = {0};
    if (!r->dot_all) {
        glia_chars_add(&c, '\n', '\n');
        glia_chars_add(&c, '\r', '\r');
        glia_chars_add(&c, 0x2028, 0x2029);
    }
    return chars_leaf(r, &c, true);
}

static uint32_t atom(parser *r) {
    const char c = *r->at;
    uint32_t single;
    glia_chars set = {0};
    if (strchr("*+?", c) && c) return fail(r, GLIA_ERR_FORMAT, "nothing to repeat");
    if ((unsigned char)c < 0x80) r->at++;
    switch (c) {
    case '(': return group(r);
    case '[': return class(r);
    case '.': return dot(r);
    case '^': return anchor(r, START_BYTE);
    case '$': return anchor(r, END_BYTE);
    case '\\':
        if (eat(r, 'A')) return anchor(r, START_BYTE);
        if (eat(r, 'z') || eat(r, 'Z')) return anchor(r, END_BYTE);
        if (!escape(r, &set, false, &single)) {
            glia_vec_free(&set);
            return r->status ? 0 : fail(r, GLIA_ERR_NOMEM, "memory ran out");
        }
        return chars_leaf(r, &set, false);
    default:
        single = (unsigned char)c < 0x80 ? (unsigned char)c : glia_utf8_next(&r->at);
        glia_chars_add(&set, single, single);
        return chars_leaf(r, &set, false);
    }
}

/* {m}, {m,}, {,n} or {m,n}; anything else is text, and nothing is eaten. */
static bool counts(parser *r, int *m, int *n) {
    const char *const from = r->at;
    uint32_t lo = 0, hi = 0;
    if (!eat(r, '{')) return false;
    const char *const low = r->at;
    digits(r, 10, 0, 7, &lo);
    const bool has_low = r->at > low, comma = eat(r, ',');
    const char *const high = r->at;
    digits(r, 10, 0, 7, &hi);
    const bool has_high = r->at > high;
    if (!eat(r, '}') || !(has_low || (comma && has_high))) {
        r->at = from;
        return false;
    }
    if (lo > COUNT_MAX || hi > COUNT_MAX) return fail(r, GLIA_ERR_LIMIT, "a count beyond 1,000,000");
    *m = (int)lo;
    *n = !comma ? (int)lo : has_high ? (int)hi : GLIA_RX_MANY;
    if (*n != GLIA_RX_MANY && *n < *m)
        return fail(r, GLIA_ERR_FORMAT, "a count from a higher to a lower number");
    return true;
}

static uint32_t repeated(parser *r) {
    uint32_t inside = atom(r);
    for (int times = 0; !r->status && r->at < r->end; times++) {
        int m = 0, n = 0;
        if (eat(r, '*'))
            m = 0, n = GLIA_RX_MANY;
        else if (eat(r, '+'))
            m = 1, n = GLIA_RX_MANY;
        else if (eat(r, '?'))
            m = 0, n = 1;
        else if (!counts(r, &m, &n))
            break;
        if (times) return fail(r, GLIA_ERR_FORMAT, "a repetition of a repetition");
        eat(r, '?'); /* lazy: the same strings */
        if (r->at < r->end && *r->at == '+') return fail(r, GLIA_ERR_UNSUPPORTED, "a possessive repetition");
        inside = add(
            r, (node){.kind = N_REPEAT, .looks = at(r, inside)->looks, .m = m, .n = n, .first = inside + 1});
    }
    return inside;
}

/* Append a child to a list. */
static void append(parser *r, uint32_t list, uint32_t *last, uint32_t child) {
    if (r->status) return;
    if (*last)
        at(r, *last - 1)->next = child + 1;
    else
        at(r, list)->first = child + 1;
    *last = child + 1;
    at(r, list)->looks |= at(r, child)->looks;
}

static uint32_t sequence(parser *r) {
    const uint32_t list = add(r, (node){.kind = N_CAT});
    uint32_t last = 0;
    while (!r->status && r->at < r->end && *r->at != '|' && *r->at != ')')
        append(r, list, &last, repeated(r));
    return list;
}

static uint32_t alternatives(parser *r) {
    const uint32_t list = add(r, (node){.kind = N_OR});
    uint32_t last = 0;
    do append(r, list, &last, sequence(r));
    while (!r->status && eat(r, '|'));
    return list;
}

/* ---- to one expression ------------------------------------------------------------ */

/* The expression of the node, then `rest`. */
static glia_rx lower(parser *r, uint32_t i, glia_rx rest) {
    const node n = *at(r, i);
    glia_rx sum = GLIA_RX_NONE;
    switch (n.kind) {
    case N_RX: return glia_rx_cat(r->p, n.rx, rest);
    case N_OR:
        for (uint32_t c = n.first; c; c = at(r, c - 1)->next)
            sum = glia_rx_or(r->p, sum, lower(r, c - 1, n.looks ? rest : GLIA_RX_EMPTY));
        return n.looks ? sum : glia_rx_cat(r->p, sum, rest);
    case N_CAT: {
        glia_vec list = {0};
        for (uint32_t c = n.first; c && !r->status; c = at(r, c - 1)->next)
            if (!glia_vec_put(&list, c - 1)) r->status = glia_fail_nomem(r->err, list.n, r->what);
        for (size_t k = list.n; k-- > 0 && !r->status;) rest = lower(r, glia_vec_at(&list, k), rest);
        glia_vec_free(&list);
        return rest;
    }
    case N_REPEAT:
        if (!n.looks)
            return glia_rx_cat(r->p, glia_rx_repeat(r->p, lower(r, n.first - 1, GLIA_RX_EMPTY), n.m, n.n),
                               rest);
        if (n.m == 0 && n.n == 1) return glia_rx_or(r->p, lower(r, n.first - 1, rest), rest);
        return fail(r, GLIA_ERR_UNSUPPORTED, "a look-ahead inside a repetition");
    case N_LOOK:
        sum = lower(r, n.first - 1, GLIA_RX_ALL);
        return glia_rx_and(r->p, n.m ? glia_rx_not(r->p, sum) : sum, rest);
    }
    return GLIA_RX_NONE;
}

/* Remove the bytes of the anchors. */
static glia_rx finish(parser *r, uint32_t root, bool search) {
    glia_rx_pool *p = r->p;
    const bool looks = at(r, root)->looks;
    const glia_rx text =
        search || looks ? glia_rx_repeat(p, glia_char_any(p, r->spelling), 0, GLIA_RX_MANY) : GLIA_RX_EMPTY;
    const glia_rx around = search ? text : GLIA_RX_EMPTY;
    if (!r->anchored) {
        const glia_rx e = glia_rx_cat(p, around, lower(r, root, around));
        return looks ? glia_rx_and(p, text, e) : e;
    }
    const glia_rx start = glia_rx_range(p, START_BYTE, START_BYTE),
                  stop = glia_rx_range(p, END_BYTE, END_BYTE);
    const glia_rx before = glia_rx_or(p, GLIA_RX_EMPTY, glia_rx_cat(p, start, around));
    const glia_rx after = glia_rx_or(p, GLIA_RX_EMPTY, glia_rx_cat(p, around, stop));
    glia_rx e = glia_rx_cat(p, before, lower(r, root, after));
    e = glia_rx_step_back(p, glia_rx_step_unchecked(p, e, START_BYTE), END_BYTE);
    if (looks) return glia_rx_and(p, text, e);
    glia_byteset anchors = {{0}};
    glia_byteset_range(&anchors, START_BYTE, END_BYTE);
    return glia_rx_without(p, e, &anchors);
}

glia_status glia_rx_parse(glia_rx *out, glia_rx_pool *p, const char *pattern, size_t len,
                          glia_spelling spelling, bool search, const char *what, glia_err *err) {
    parser r = {.p = p,
                .text = pattern,
                .at = pattern,
                .end = pattern + len,
                .what = what,
                .spelling = spelling,
                .err = err};
    *out = GLIA_RX_NONE;
    if (len > PATTERN_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "%s: %zu bytes, the limit is %d", what, len, PATTERN_MAX);
    const size_t valid = glia_utf8_check(pattern, len);
    if (valid < len) return glia_fail(err, GLIA_ERR_FORMAT, "%s: not UTF-8 at byte %zu", what, valid + 1);
    const uint32_t root = alternatives(&r);
    if (!r.status && r.at < r.end) fail(&r, GLIA_ERR_FORMAT, "a \")\" without \"(\"");
    if (!r.status) *out = finish(&r, root, search);
    glia_vec_free(&r.nodes);
    if (!r.status && glia_rx_error(p)->status) {
        const glia_err *e = glia_rx_error(p);
        return glia_fail(err, e->status, "%s: %s", what, e->msg);
    }
    return r.status;
}
