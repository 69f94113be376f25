/* rules.c - grammars as text: GBNF and EBNF (name ::= ...), and Lark (name: ...).
 *
 * The text is parsed into a tree. What is regular becomes one expression, and the rest nodes of a
 * grammar. A rule that begins with itself becomes a repetition, which has the same strings. */
#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"
#include "grammar/compile.h"
#include "grammar/rx_impl.h"
#include "text/unicode.h"

enum { DEPTH_MAX = 200, TEXT_MAX = 1 << 20 };

typedef enum { T_RX, T_REF, T_SEQ, T_OR, T_REPEAT } tree_kind;
typedef enum { RULE_NEW, RULE_BUSY, RULE_DONE } rule_state;

typedef struct {
    tree_kind kind;
    glia_rx rx;           /* RX */
    uint32_t rule;        /* REF */
    int m, n;             /* REPEAT */
    uint32_t first, next; /* child and sibling, + 1 */
} tree;

typedef struct {
    const char *name;
    size_t len;
    uint32_t body;    /* tree + 1; 0: not defined */
    const char *used; /* where the name was first read */
    rule_state state;
    bool recursive, regular;
    glia_rx rx;
    glia_node node;
} rule;

/* What a tree has become: an expression, or a node. */
typedef struct {
    bool regular;
    glia_rx rx;
    glia_node node;
} lowered;

typedef struct {
    glia_grammar *g;
    glia_rx_pool *p;
    const char *text, *at, *end;
    bool lark;
    glia_vec trees, rules;
    glia_rx ignored; /* Lark: between terminals; GLIA_RX_NONE: nothing */
    int depth;
    glia_err *err;
    glia_status status;
} parser;

static uint32_t fail(parser *r, glia_status status, const char *why, const char *where) {
    if (r->status) return 0;
    size_t line = 1;
    const char *begin = r->text;
    for (const char *c = r->text; c < where; c++)
        if (*c == '\n') line++, begin = c + 1;
    const size_t len = strcspn(begin, "\r\n");
    r->status = glia_fail(r->err, status, "grammar: %s in line %zu, byte %zu: \"%.*s\"", why, line,
                          (size_t)(where - begin) + 1, (int)(len < 80 ? len : 80), begin);
    return 0;
}

static tree *tree_at(parser *r, uint32_t i) { return (tree *)r->trees.data + i; }
static rule *rule_at(parser *r, uint32_t i) { return (rule *)r->rules.data + i; }

static uint32_t add(parser *r, tree t) {
    if (r->status) return 0;
    if (!glia_vec_push(&r->trees, sizeof t, &t)) r->status = glia_fail_nomem(r->err, sizeof t, "a grammar");
    return r->status ? 0 : (uint32_t)r->trees.n - 1;
}
static uint32_t leaf(parser *r, glia_rx rx) { return add(r, (tree){.kind = T_RX, .rx = rx}); }

static void append(parser *r, uint32_t list, uint32_t *last, uint32_t child) {
    if (r->status) return;
    if (*last)
        tree_at(r, *last - 1)->next = child + 1;
    else
        tree_at(r, list)->first = child + 1;
    *last = child + 1;
}

/* ---- tokens --------------------------------------------------------------------- */

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static size_t name_len(const parser *r, const char *at) {
    size_t n = 0;
    while (at + n < r->end && word_char(at[n]) && !(r->lark && at[n] == '-')) n++;
    return n;
}

/* Skip blanks and comments; line breaks too with `lines`. */
static void skip(parser *r, bool lines) {
    while (r->at < r->end) {
        const char c = *r->at;
        const bool comment = r->lark ? r->end - r->at > 1 && c == '/' && r->at[1] == '/' : c == '#';
        if (comment)
            r->at += strcspn(r->at, "\n");
        else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
            r->at++;
        else
            return;
    }
}

static bool eat(parser *r, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n)) return false;
    r->at += n;
    return true;
}

/* Does a definition begin here: a name, then ::= or a colon? */
static bool definition(const parser *r, const char *at, size_t *name) {
    const char *c = at;
    if (r->lark) c += c < r->end && (*c == '?' || *c == '!');
    *name = name_len(r, c);
    if (!*name) return false;
    c += *name;
    if (r->lark && c < r->end && *c == '.') { /* a priority */
        c++;
        while (c < r->end && (*c == '-' || (*c >= '0' && *c <= '9'))) c++;
    }
    while (c < r->end && (*c == ' ' || *c == '\t')) c++;
    return r->lark ? c < r->end && *c == ':' : r->end - c > 2 && memcmp(c, "::=", 3) == 0;
}

/* The rule of a name, made at its first use. */
static uint32_t rule_of(parser *r, const char *name, size_t len) {
    for (uint32_t i = 0; i < r->rules.n; i++)
        if (rule_at(r, i)->len == len && memcmp(rule_at(r, i)->name, name, len) == 0) return i;
    const rule x = {.name = name, .len = len, .used = name};
    if (!glia_vec_push(&r->rules, sizeof x, &x)) r->status = glia_fail_nomem(r->err, sizeof x, "a grammar");
    return r->status ? 0 : (uint32_t)r->rules.n - 1;
}

/* ---- literals --------------------------------------------------------------------- */

/* A character, or an escape of `base` 16 digits. */
static uint32_t character(parser *r) {
    static const char letter[] = "nrtfvb", meaning[] = "\n\r\t\f\v\b";
    if (*r->at != '\\') return glia_utf8_next(&r->at);
    const char *const from = r->at++;
    if (r->at == r->end) return fail(r, GLIA_ERR_FORMAT, "a cut escape", from);
    const char c = *r->at++;
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!digits) {
        const char *found = c ? strchr(letter, c) : NULL;
        if (found) return (unsigned char)meaning[found - letter];
        r->at--;
        return glia_utf8_next(&r->at);
    }
    uint32_t u = 0;
    for (size_t i = 0; i < digits; i++, r->at++) {
        const char h = r->at < r->end ? *r->at : '\0';
        const uint32_t d = h >= '0' && h <= '9'                 ? (uint32_t)(h - '0')
                           : (h | 32) >= 'a' && (h | 32) <= 'f' ? (uint32_t)((h | 32) - 'a') + 10
                                                                : 16;
        if (d == 16) return fail(r, GLIA_ERR_FORMAT, "too few hexadecimal digits", from);
        u = u * 16 + d;
    }
    return u <= 0x10ffff ? u : fail(r, GLIA_ERR_FORMAT, "a character beyond U+10FFFF", from);
}

static glia_rx one_of(parser *r, glia_chars *c, bool fold, bool negated) {
    bool ok = glia_chars_normalise(c);
    if (fold) ok = ok && glia_chars_fold(c);
    if (negated) ok = ok && glia_chars_invert(c);
    const glia_rx e = ok ? glia_chars_rx(r->p, c, GLIA_SPELL_TEXT) : GLIA_RX_NONE;
    glia_vec_free(c);
    return e;
}

/* The characters up to `quote`, as UTF-8. */
static glia_rx quoted(parser *r, char quote, uint32_t *single) {
    const char *const from = r->at++;
    glia_vec chars = {0};
    while (r->at < r->end && *r->at != quote && *r->at != '\n' && !r->status)
        if (!glia_vec_put(&chars, character(r))) r->status = glia_fail_nomem(r->err, chars.n, "a grammar");
    if (r->at == r->end || *r->at != quote)
        fail(r, GLIA_ERR_FORMAT, "a text without its closing quote", from);
    r->at++;
    const bool fold = !r->status && r->lark && r->at < r->end && *r->at == 'i' && r->at++;
    glia_rx e = GLIA_RX_EMPTY;
    for (size_t i = chars.n; i-- > 0 && !r->status;) {
        glia_chars c = {0};
        glia_chars_add(&c, glia_vec_at(&chars, i), glia_vec_at(&chars, i));
        e = glia_rx_cat(r->p, one_of(r, &c, fold, false), e);
    }
    *single = chars.n == 1 ? glia_vec_at(&chars, 0) : UINT32_MAX;
    glia_vec_free(&chars);
    return e;
}

/* "text", or in Lark "a".."z". */
static uint32_t text_leaf(parser *r) {
    uint32_t lo, hi;
    const char *const from = r->at;
    glia_rx e = quoted(r, *r->at, &lo);
    if (r->lark && !r->status && eat(r, "..")) {
        glia_chars c = {0};
        skip(r, false);
        if (r->at == r->end || *r->at != '"')
            return fail(r, GLIA_ERR_FORMAT, "a range without its end", from);
        quoted(r, '"', &hi);
        if (r->status) return 0;
        if (lo == UINT32_MAX || hi == UINT32_MAX || hi < lo)
            return fail(r, GLIA_ERR_FORMAT, "a bad range", from);
        glia_chars_add(&c, lo, hi);
        e = one_of(r, &c, false, false);
    }
    return leaf(r, e);
}

static uint32_t class_leaf(parser *r) {
    const char *const from = r->at++;
    const bool negated = eat(r, "^");
    glia_chars c = {0};
    while (r->at < r->end && *r->at != ']' && !r->status) {
        const uint32_t lo = character(r);
        uint32_t hi = lo;
        if (r->end - r->at > 1 && *r->at == '-' && r->at[1] != ']') {
            r->at++;
            hi = character(r);
        }
        if (hi < lo) fail(r, GLIA_ERR_FORMAT, "a range from a higher to a lower character", from);
        glia_chars_add(&c, lo, hi);
    }
    if (!eat(r, "]")) fail(r, GLIA_ERR_FORMAT, "a \"[\" without \"]\"", from);
    return leaf(r, one_of(r, &c, false, negated));
}

/* Lark's /pattern/flags. */
static uint32_t regex_leaf(parser *r) {
    const char *const from = r->at, *c = from + 1;
    while (c < r->end && *c != '/' && *c != '\n') c += *c == '\\' && c + 1 < r->end ? 2 : 1;
    if (c >= r->end || *c != '/') return fail(r, GLIA_ERR_FORMAT, "a \"/\" without its end", from);
    glia_buf pattern = {0};
    const char *flag = c + 1;
    while (flag < r->end && strchr("imsxlu", *flag) && *flag) flag++;
    if (flag > c + 1) glia_buf_printf(&pattern, "(?%.*s)", (int)(flag - c - 1), c + 1);
    glia_buf_add(&pattern, from + 1, (size_t)(c - from) - 1);
    r->at = flag;
    glia_rx e = GLIA_RX_NONE;
    if (!pattern.data) return fail(r, GLIA_ERR_NOMEM, "no memory", from);
    r->status = glia_rx_parse(&e, r->p, pattern.data, pattern.len, GLIA_SPELL_TEXT, false,
                              "grammar: a regular expression", r->err);
    glia_buf_free(&pattern);
    return r->status ? 0 : leaf(r, e);
}

/* ---- structure ----------------------------------------------------------------------- */

static uint32_t alternatives(parser *r, bool lines);

static uint32_t atom(parser *r) {
    const char *const from = r->at;
    uint32_t inside;
    switch (*r->at) {
    case '"': return text_leaf(r);
    case '\'':
        if (!r->lark) return text_leaf(r);
        break;
    case '.':
        if (r->lark) break;
        r->at++;
        return leaf(r, glia_char_any(r->p, GLIA_SPELL_TEXT));
    case '/':
        if (r->lark) return regex_leaf(r);
        break;
    case '[':
        if (!r->lark) return class_leaf(r);
        r->at++;
        inside = alternatives(r, true);
        if (!r->status && !eat(r, "]")) return fail(r, GLIA_ERR_FORMAT, "a \"[\" without \"]\"", from);
        return add(r, (tree){.kind = T_REPEAT, .m = 0, .n = 1, .first = inside + 1});
    case '(':
        r->at++;
        if (++r->depth > DEPTH_MAX) return fail(r, GLIA_ERR_LIMIT, "groups nested deeper than 200", from);
        inside = alternatives(r, true);
        r->depth--;
        if (!r->status && !eat(r, ")")) return fail(r, GLIA_ERR_FORMAT, "a \"(\" without \")\"", from);
        return inside;
    default: break;
    }
    const size_t n = name_len(r, from);
    if (!n) return fail(r, GLIA_ERR_FORMAT, "something that is no text, class, group or name", from);
    r->at += n;
    return add(r, (tree){.kind = T_REF, .rule = rule_of(r, from, n)});
}

static bool integer(parser *r, int *n) {
    const char *const from = r->at;
    long value = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && value < 10000000)
        value = value * 10 + *r->at++ - '0';
    *n = (int)value;
    return r->at > from;
}

/* {m}, {m,}, {,n}, {m,n}; in Lark also ~m and ~m..n. */
static bool counts(parser *r, int *m, int *n) {
    const char *const from = r->at;
    if (r->lark && eat(r, "~")) {
        skip(r, false);
        bool ok = integer(r, m);
        *n = *m;
        skip(r, false);
        if (ok && eat(r, "..")) ok = integer(r, n);
        if (!ok || *n < *m) fail(r, GLIA_ERR_FORMAT, "a bad count", from);
        return ok;
    }
    if (!eat(r, "{")) return false;
    skip(r, true);
    const bool low = integer(r, m);
    skip(r, true);
    const bool comma = eat(r, ",");
    skip(r, true);
    const bool high = integer(r, n);
    skip(r, true);
    if (!high) *n = comma ? GLIA_RX_MANY : *m;
    const bool ok = eat(r, "}") && (low || (comma && high)) && (*n == GLIA_RX_MANY || *n >= *m);
    if (!ok) fail(r, GLIA_ERR_FORMAT, "a bad count", from);
    return ok;
}

static uint32_t repeated(parser *r) {
    uint32_t inside = atom(r);
    while (!r->status) {
        int m, n;
        if (eat(r, "*"))
            m = 0, n = GLIA_RX_MANY;
        else if (eat(r, "+"))
            m = 1, n = GLIA_RX_MANY;
        else if (r->at < r->end && *r->at == '?' && r->at++)
            m = 0, n = 1;
        else {
            if (r->lark) skip(r, false);
            if (!counts(r, &m, &n)) break;
        }
        inside = add(r, (tree){.kind = T_REPEAT, .m = m, .n = n, .first = inside + 1});
    }
    return inside;
}

/* A line break ends a sequence outside of parentheses, unless an alternative or, in EBNF, more of it follows.
 */
static bool sequence_ends(parser *r, bool lines) {
    size_t name;
    skip(r, lines);
    if (!lines && r->at < r->end && (*r->at == '\n' || *r->at == '\r')) {
        const char *const from = r->at;
        skip(r, true);
        if (r->at == r->end || definition(r, r->at, &name) || *r->at == '%') return true;
        if (r->lark && *r->at != '|') {
            r->at = from;
            return true;
        }
    }
    return r->at == r->end || strchr("|)]", *r->at);
}

static uint32_t sequence(parser *r, bool lines) {
    const uint32_t list = add(r, (tree){.kind = T_SEQ});
    uint32_t last = 0;
    while (!r->status && !sequence_ends(r, lines)) {
        if (r->lark && eat(r, "->")) { /* the alias of an alternative */
            skip(r, false);
            r->at += name_len(r, r->at);
            continue;
        }
        append(r, list, &last, repeated(r));
    }
    return list;
}

static uint32_t alternatives(parser *r, bool lines) {
    const uint32_t list = add(r, (tree){.kind = T_OR});
    uint32_t last = 0;
    do append(r, list, &last, sequence(r, lines));
    while (!r->status && eat(r, "|"));
    return list;
}

/* ---- definitions ------------------------------------------------------------------------ */

static const struct {
    const char *name, *pattern;
} common[] = {
    {"DIGIT", "[0-9]"},
    {"HEXDIGIT", "[0-9a-fA-F]"},
    {"INT", "[0-9]+"},
    {"SIGNED_INT", "[+-]?[0-9]+"},
    {"DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+"},
    {"FLOAT", "[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?"},
    {"SIGNED_FLOAT", "[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"NUMBER", "([0-9]+|[0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?"},
    {"SIGNED_NUMBER", "[+-]?([0-9]+|[0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?"},
    {"ESCAPED_STRING", "\"([^\"\\\\\\n]|\\\\[^\\n])*\""},
    {"LCASE_LETTER", "[a-z]"},
    {"UCASE_LETTER", "[A-Z]"},
    {"LETTER", "[A-Za-z]"},
    {"WORD", "[A-Za-z]+"},
    {"CNAME", "[A-Za-z_][A-Za-z_0-9]*"},
    {"WS_INLINE", "[ \\t]+"},
    {"WS", "[ \\t\\f\\r\\n]+"},
    {"CR", "\\r"},
    {"LF", "\\n"},
    {"NEWLINE", "(\\r?\\n)+"},
};

static void import_common(parser *r, const char *name, size_t len, const char *as, size_t as_len) {
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        if (strlen(common[i].name) != len || memcmp(common[i].name, name, len)) continue;
        glia_rx e = GLIA_RX_NONE;
        const glia_status status = glia_rx_parse(&e, r->p, common[i].pattern, strlen(common[i].pattern),
                                                 GLIA_SPELL_TEXT, false, common[i].name, r->err);
        if (status) r->status = status;
        const uint32_t body = leaf(r, e), to = rule_of(r, as, as_len);
        if (!r->status) rule_at(r, to)->body = body + 1;
        return;
    }
    fail(r, GLIA_ERR_UNSUPPORTED, "an import that is not in Lark's common terminals", name);
}

/* %import common.WS, %import common (WS, INT), %import common.WS -> BLANK */
static void import(parser *r) {
    const char *const from = r->at;
    skip(r, false);
    if (!eat(r, "common")) {
        fail(r, GLIA_ERR_UNSUPPORTED, "an import from elsewhere than common", from);
        return;
    }
    skip(r, false);
    const bool list = !eat(r, ".");
    if (list && !eat(r, "(")) fail(r, GLIA_ERR_FORMAT, "a bad import", from);
    while (!r->status) {
        skip(r, list);
        const char *name = r->at, *as = name;
        const size_t len = name_len(r, name);
        size_t as_len = len;
        r->at += len;
        skip(r, false);
        if (eat(r, "->")) {
            skip(r, false);
            as = r->at;
            as_len = name_len(r, as);
            r->at += as_len;
        }
        if (!len || !as_len)
            fail(r, GLIA_ERR_FORMAT, "a bad import", from);
        else
            import_common(r, name, len, as, as_len);
        skip(r, list);
        if (!list || !eat(r, ",")) break;
    }
    if (list && !r->status && !eat(r, ")")) fail(r, GLIA_ERR_FORMAT, "a bad import", from);
}

static void directive(parser *r, glia_vec *ignored) {
    const char *const from = r->at;
    if (eat(r, "%import"))
        import(r);
    else if (eat(r, "%ignore")) {
        skip(r, false);
        if (!glia_vec_put(ignored, alternatives(r, false)) && !r->status)
            r->status = glia_fail_nomem(r->err, 4, "a grammar");
    } else if (eat(r, "%llguidance"))
        r->at += strcspn(r->at, "\n");
    else
        fail(r, GLIA_ERR_UNSUPPORTED, "a directive other than %import and %ignore", from);
}

static void define(parser *r, size_t name) {
    const char *const from = r->at;
    if (r->lark) r->at += *r->at == '?' || *r->at == '!';
    const uint32_t i = rule_of(r, r->at, name);
    if (r->status) return;
    if (rule_at(r, i)->body) {
        fail(r, GLIA_ERR_FORMAT, "a second definition of a rule", from);
        return;
    }
    r->at += strcspn(r->at, ":") + (r->lark ? 1 : 3);
    if (!r->lark) skip(r, true);
    const uint32_t body = alternatives(r, false);
    if (!r->status) rule_at(r, i)->body = body + 1;
}

static void parse(parser *r, glia_vec *ignored) {
    size_t name;
    for (skip(r, true); r->at < r->end && !r->status; skip(r, true)) {
        if (definition(r, r->at, &name))
            define(r, name);
        else if (r->lark && *r->at == '%')
            directive(r, ignored);
        else
            fail(r, GLIA_ERR_FORMAT, r->lark ? "no rule \"name: ...\"" : "no rule \"name ::= ...\"", r->at);
    }
}

/* ---- to nodes ------------------------------------------------------------------------------ */

static lowered lower(parser *r, uint32_t i, bool terminal);

static glia_node node_of(parser *r, const lowered *x, bool terminal) {
    if (!x->regular) return x->node;
    const bool ignores = !terminal && r->ignored != GLIA_RX_NONE && x->rx != GLIA_RX_EMPTY;
    return glia_cfg_term(&r->g->cfg, ignores ? glia_rx_cat(r->p, x->rx, r->ignored) : x->rx);
}

static lowered of_rx(glia_rx rx) { return (lowered){.regular = true, .rx = rx}; }
static lowered of_node(glia_node node) { return (lowered){.node = node}; }

/* In Lark, blanks may stand between terminals of a rule, so a rule does not become an expression. */
static bool splits(const parser *r, bool terminal) { return r->ignored != GLIA_RX_NONE && !terminal; }

static lowered lower_list(parser *r, uint32_t i, bool terminal) {
    const tree t = *tree_at(r, i);
    glia_vec list = {0};
    bool regular = true;
    for (uint32_t c = t.first; c && !r->status; c = tree_at(r, c - 1)->next) {
        const lowered x = lower(r, c - 1, terminal);
        regular &= x.regular;
        if (!glia_vec_push(&list, sizeof x, &x)) r->status = glia_fail_nomem(r->err, sizeof x, "a grammar");
    }
    const lowered *x = list.data;
    lowered out = of_rx(t.kind == T_SEQ ? GLIA_RX_EMPTY : GLIA_RX_NONE);
    if (r->status) {
    } else if (regular && (t.kind == T_OR || !splits(r, terminal) || list.n <= 1)) {
        for (size_t k = list.n; k-- > 0;)
            out.rx = t.kind == T_SEQ ? glia_rx_cat(r->p, x[k].rx, out.rx) : glia_rx_or(r->p, x[k].rx, out.rx);
    } else {
        glia_vec nodes = {0};
        for (size_t k = 0; k < list.n && !r->status; k++)
            if (!glia_vec_put(&nodes, node_of(r, &x[k], terminal)))
                r->status = glia_fail_nomem(r->err, 4, "a grammar");
        out = of_node(t.kind == T_SEQ ? glia_cfg_seq(&r->g->cfg, nodes.data, nodes.n)
                                      : glia_cfg_or(&r->g->cfg, nodes.data, nodes.n));
        glia_vec_free(&nodes);
    }
    glia_vec_free(&list);
    return out;
}

static lowered lower_rule(parser *r, uint32_t i, bool terminal);

static lowered lower(parser *r, uint32_t i, bool terminal) {
    const tree t = *tree_at(r, i);
    if (r->status) return of_rx(GLIA_RX_NONE);
    if (t.kind == T_RX) return of_rx(t.rx);
    if (t.kind == T_REF) return lower_rule(r, t.rule, terminal);
    if (t.kind != T_REPEAT) return lower_list(r, i, terminal);
    const lowered x = lower(r, t.first - 1, terminal);
    if (x.regular && (!splits(r, terminal) || (t.m == 0 && t.n == 1)))
        return of_rx(glia_rx_repeat(r->p, x.rx, t.m, t.n));
    return of_node(glia_cfg_repeat(&r->g->cfg, node_of(r, &x, terminal), t.m, t.n));
}

/* Alternatives that begin with the rule itself: what follows it may be repeated after the others. */
static lowered without_left_recursion(parser *r, uint32_t self, bool terminal) {
    const tree body = *tree_at(r, rule_at(r, self)->body - 1);
    glia_vec base = {0}, more = {0};
    for (uint32_t c = body.first; body.kind == T_OR && c && !r->status; c = tree_at(r, c - 1)->next) {
        const tree sequence = *tree_at(r, c - 1);
        const bool left = sequence.kind == T_SEQ && sequence.first &&
                          tree_at(r, sequence.first - 1)->kind == T_REF &&
                          tree_at(r, sequence.first - 1)->rule == self;
        uint32_t at = c - 1;
        if (left) {
            at = add(r, (tree){.kind = T_SEQ, .first = tree_at(r, sequence.first - 1)->next});
            if (r->status || !tree_at(r, at)->first) continue; /* x: x */
        }
        const lowered x = lower(r, at, terminal);
        if (!glia_vec_put(left ? &more : &base, node_of(r, &x, terminal)))
            r->status = glia_fail_nomem(r->err, 4, "a grammar");
    }
    glia_cfg *g = &r->g->cfg;
    const glia_node rest = glia_cfg_repeat(g, glia_cfg_or(g, more.data, more.n), 0, GLIA_RX_MANY);
    const lowered out = of_node(glia_cfg_seq2(g, glia_cfg_or(g, base.data, base.n), rest));
    glia_vec_free(&base);
    glia_vec_free(&more);
    return out;
}

static bool left_recursive(parser *r, uint32_t self) {
    const tree body = *tree_at(r, rule_at(r, self)->body - 1);
    for (uint32_t c = body.first; body.kind == T_OR && c; c = tree_at(r, c - 1)->next) {
        const tree *s = tree_at(r, c - 1);
        if (s->kind != T_SEQ || !s->first) continue;
        const tree *first = tree_at(r, s->first - 1);
        if (first->kind == T_REF && first->rule == self) return true;
    }
    return false;
}

static bool is_terminal(const parser *r, const rule *x) {
    for (size_t i = 0; i < x->len; i++)
        if (x->name[i] >= 'a' && x->name[i] <= 'z') return false;
    return r->lark;
}

static lowered lower_rule(parser *r, uint32_t i, bool terminal) {
    rule *x = rule_at(r, i);
    if (x->state == RULE_DONE && x->regular) return of_rx(x->rx);
    if (x->state == RULE_DONE) return of_node(x->node);
    if (!x->body) {
        fail(r, GLIA_ERR_FORMAT, "a name that no rule has", x->used);
        return of_rx(GLIA_RX_NONE);
    }
    const bool word = is_terminal(r, x);
    if (x->state == RULE_BUSY) {
        if (terminal || word) fail(r, GLIA_ERR_FORMAT, "a terminal that contains itself", x->used);
        if (!x->node) rule_at(r, i)->node = glia_cfg_rule(&r->g->cfg);
        return of_node(rule_at(r, i)->node);
    }
    if (++r->depth > 2000) {
        fail(r, GLIA_ERR_LIMIT, "rules nested deeper than 2,000", x->used);
        return of_rx(GLIA_RX_NONE);
    }
    x->state = RULE_BUSY;
    const bool left = !word && left_recursive(r, i);
    const lowered body = left ? without_left_recursion(r, i, false) : lower(r, x->body - 1, terminal || word);
    r->depth--;
    x = rule_at(r, i);
    x->state = RULE_DONE;
    x->regular = body.regular && !x->node && (word || terminal || !splits(r, false));
    x->rx = body.rx;
    if (x->regular) return of_rx(x->rx);
    const glia_node node = node_of(r, &body, terminal || word);
    if (x->node)
        glia_cfg_set_rule(&r->g->cfg, x->node, node);
    else
        x->node = node;
    return of_node(x->node);
}

/* ---- the front end --------------------------------------------------------------------------- */

static uint32_t start_rule(parser *r) {
    static const char *const names[] = {"root", "start"};
    for (size_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < r->rules.n; i++)
            if (rule_at(r, i)->len == strlen(names[k]) && rule_at(r, i)->body &&
                memcmp(rule_at(r, i)->name, names[k], rule_at(r, i)->len) == 0)
                return i;
    if (!r->status)
        r->status =
            glia_fail(r->err, GLIA_ERR_FORMAT, "grammar: no rule is called %s", r->lark ? "start" : "root");
    return 0;
}

/* What %ignore says, any number of times. */
static glia_rx ignore(parser *r, const glia_vec *list) {
    glia_rx sum = GLIA_RX_NONE;
    for (size_t i = 0; i < list->n && !r->status; i++) {
        const lowered x = lower(r, glia_vec_at(list, i), true);
        if (!x.regular) fail(r, GLIA_ERR_FORMAT, "an %ignore that is no terminal", r->text);
        sum = glia_rx_or(r->p, sum, x.rx);
    }
    return list->n ? glia_rx_repeat(r->p, sum, 0, GLIA_RX_MANY) : GLIA_RX_NONE;
}

glia_status glia_rules_node(glia_grammar *g, const char *text, size_t len, glia_node *root, glia_err *err) {
    parser r = {.g = g, .p = g->rx, .text = text, .at = text, .end = text + len, .err = err};
    glia_vec ignored = {0};
    const size_t valid = glia_utf8_check(text, len);
    if (valid < len) return glia_fail(err, GLIA_ERR_FORMAT, "grammar: not UTF-8 at byte %zu", valid + 1);
    if (len > TEXT_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "grammar: %zu bytes, the limit is %d", len, TEXT_MAX);
    if (memchr(text, '\0', len)) return glia_fail(err, GLIA_ERR_FORMAT, "grammar: a zero byte");
    r.lark = !strstr(text, "::=");
    parse(&r, &ignored);
    const uint32_t start = r.status ? 0 : start_rule(&r);
    r.depth = 0;
    const glia_rx between = r.status ? GLIA_RX_NONE : ignore(&r, &ignored);
    r.ignored = between;
    if (!r.status) {
        const lowered x = lower_rule(&r, start, false);
        *root = node_of(&r, &x, false);
        if (between != GLIA_RX_NONE) *root = glia_cfg_seq2(&g->cfg, glia_cfg_term(&g->cfg, between), *root);
    }
    glia_vec_free(&ignored);
    glia_vec_free(&r.trees);
    glia_vec_free(&r.rules);
    return r.status;
}

glia_status glia_compile_rules(glia_grammar *g, const glia_grammar_source *source, glia_err *err) {
    return glia_rules_node(g, source->text, source->len, &g->root, err);
}
