/* regex.c - see regex.h.
 *
 * Sources: Oniguruma doc/RE and doc/SYNTAX.md (ONIG_SYNTAX_ONIGURUMA, which the
 * Rust tokenizers use) against pcre2pattern(3). Where they part, for UTF-8:
 *   \s        Unicode White_Space; PCRE2 adds U+180E
 *   \p{L}     by Unicode 16.0; PCRE2 10.42 by 14.0 (see stand_in)
 *   \w \b     Alphabetic, M, Nd, Pc; PCRE2 has L, N and the underscore
 *   \v        U+000B alone; in PCRE2 every vertical space
 *   ^ $       at every line; only \n ends one
 *   (?m)      dot matches newline, which PCRE2 calls (?s)
 *   {n,m}+    a repeat of a repeat, in PCRE2 a possessive one
 *   [a[b]&&c] sets in sets
 *   \p{Greek} the script; PCRE2 means its extensions
 *   (?i)      ss also matches U+00DF, and other pairs that one letter folds to */
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

#define WORD_SET "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* ---- characters newer than PCRE2 ------------------------------------------- */

/* What Unicode 15.0, 15.1 and 16.0 assigned: Debian 12's PCRE2 knows 14.0, the
 * Oniguruma 6.9.10 in tokenizers 0.22 knows 16.0. Each range has an older
 * character of the same category and the same length in UTF-8. Source: the
 * Unicode character database, read off tokenizers 0.22.2 against Python 3.11. */
static const struct {
    uint32_t first, last, stand_in;
} newer[] = {
    /* clang-format off */
    {0x0897, 0x0897, 0x1a17}, {0x0cf3, 0x0cf3, 0x1a19}, {0x0ece, 0x0ece, 0x1a17}, {0x1b4e, 0x1b4f, 0x1a1e},
    {0x1b7f, 0x1b7f, 0x1a1e}, {0x1c89, 0x1c89, 0x10a0}, {0x1c8a, 0x1c8a, 0x1d79}, {0x2427, 0x2429, 0xa490},
    {0x2ffc, 0x2fff, 0xa490}, {0x31e4, 0x31e5, 0xa490}, {0x31ef, 0x31ef, 0xa490}, {0xa7cb, 0xa7cc, 0x10a0},
    {0xa7cd, 0xa7cd, 0x1d79}, {0xa7da, 0xa7da, 0x10a0}, {0xa7db, 0xa7db, 0x1d79}, {0xa7dc, 0xa7dc, 0x10a0},
    {0x105c0, 0x105f3, 0x10280}, {0x10d40, 0x10d49, 0x104a0}, {0x10d4a, 0x10d4d, 0x10280},
    {0x10d4e, 0x10d4e, 0x16b40}, {0x10d4f, 0x10d4f, 0x10280}, {0x10d50, 0x10d65, 0x104b0},
    {0x10d69, 0x10d6d, 0x10a01}, {0x10d6e, 0x10d6e, 0x10ead}, {0x10d6f, 0x10d6f, 0x16b40},
    {0x10d70, 0x10d85, 0x104d8}, {0x10d8e, 0x10d8f, 0x1d6c1}, {0x10ec2, 0x10ec4, 0x10280},
    {0x10efc, 0x10eff, 0x10a01}, {0x1123f, 0x11240, 0x10280}, {0x11241, 0x11241, 0x10a01},
    {0x11380, 0x11389, 0x10280}, {0x1138b, 0x1138b, 0x10280}, {0x1138e, 0x1138e, 0x10280},
    {0x11390, 0x113b5, 0x10280}, {0x113b7, 0x113b7, 0x10280}, {0x113b8, 0x113ba, 0x11000},
    {0x113bb, 0x113c0, 0x10a01}, {0x113c2, 0x113c2, 0x11000}, {0x113c5, 0x113c5, 0x11000},
    {0x113c7, 0x113ca, 0x11000}, {0x113cc, 0x113cd, 0x11000}, {0x113ce, 0x113ce, 0x10a01},
    {0x113cf, 0x113cf, 0x11000}, {0x113d0, 0x113d0, 0x10a01}, {0x113d1, 0x113d1, 0x10280},
    {0x113d2, 0x113d2, 0x10a01}, {0x113d3, 0x113d3, 0x10280}, {0x113d4, 0x113d5, 0x10100},
    {0x113d7, 0x113d8, 0x10100}, {0x113e1, 0x113e2, 0x10a01}, {0x116d0, 0x116e3, 0x104a0},
    {0x1171e, 0x1171e, 0x11000}, {0x11b00, 0x11b09, 0x10100}, {0x11bc0, 0x11be0, 0x10280},
    {0x11be1, 0x11be1, 0x10100}, {0x11bf0, 0x11bf9, 0x104a0}, {0x11f00, 0x11f01, 0x10a01},
    {0x11f02, 0x11f02, 0x10280}, {0x11f03, 0x11f03, 0x11000}, {0x11f04, 0x11f10, 0x10280},
    {0x11f12, 0x11f33, 0x10280}, {0x11f34, 0x11f35, 0x11000}, {0x11f36, 0x11f3a, 0x10a01},
    {0x11f3e, 0x11f3f, 0x11000}, {0x11f40, 0x11f40, 0x10a01}, {0x11f41, 0x11f41, 0x11000},
    {0x11f42, 0x11f42, 0x10a01}, {0x11f43, 0x11f4f, 0x10100}, {0x11f50, 0x11f59, 0x104a0},
    {0x11f5a, 0x11f5a, 0x10a01}, {0x1342f, 0x1342f, 0x10280}, {0x13439, 0x1343f, 0x110bd},
    {0x13440, 0x13440, 0x10a01}, {0x13441, 0x13446, 0x10280}, {0x13447, 0x13455, 0x10a01},
    {0x13460, 0x143fa, 0x10280}, {0x16100, 0x1611d, 0x10280}, {0x1611e, 0x16129, 0x10a01},
    {0x1612a, 0x1612c, 0x11000}, {0x1612d, 0x1612f, 0x10a01}, {0x16130, 0x16139, 0x104a0},
    {0x16d40, 0x16d42, 0x16b40}, {0x16d43, 0x16d6a, 0x10280}, {0x16d6b, 0x16d6c, 0x16b40},
    {0x16d6d, 0x16d6f, 0x10100}, {0x16d70, 0x16d79, 0x104a0}, {0x18cff, 0x18cff, 0x10280},
    {0x1b132, 0x1b132, 0x10280}, {0x1b155, 0x1b155, 0x10280}, {0x1cc00, 0x1ccef, 0x10137},
    {0x1ccf0, 0x1ccf9, 0x104a0}, {0x1cd00, 0x1ceb3, 0x10137}, {0x1d2c0, 0x1d2d3, 0x10107},
    {0x1df25, 0x1df2a, 0x104d8}, {0x1e030, 0x1e06d, 0x16b40}, {0x1e08f, 0x1e08f, 0x10a01},
    {0x1e4d0, 0x1e4ea, 0x10280}, {0x1e4eb, 0x1e4eb, 0x16b40}, {0x1e4ec, 0x1e4ef, 0x10a01},
    {0x1e4f0, 0x1e4f9, 0x104a0}, {0x1e5d0, 0x1e5ed, 0x10280}, {0x1e5ee, 0x1e5ef, 0x10a01},
    {0x1e5f0, 0x1e5f0, 0x10280}, {0x1e5f1, 0x1e5fa, 0x104a0}, {0x1e5ff, 0x1e5ff, 0x10100},
    {0x1f6dc, 0x1f6dc, 0x10137}, {0x1f774, 0x1f776, 0x10137}, {0x1f77b, 0x1f77f, 0x10137},
    {0x1f7d9, 0x1f7d9, 0x10137}, {0x1f8b2, 0x1f8bb, 0x10137}, {0x1f8c0, 0x1f8c1, 0x10137},
    {0x1fa75, 0x1fa77, 0x10137}, {0x1fa87, 0x1fa89, 0x10137}, {0x1fa8f, 0x1fa8f, 0x10137},
    {0x1faad, 0x1faaf, 0x10137}, {0x1fabb, 0x1fabf, 0x10137}, {0x1fac6, 0x1fac6, 0x10137},
    {0x1face, 0x1facf, 0x10137}, {0x1fada, 0x1fadc, 0x10137}, {0x1fadf, 0x1fadf, 0x10137},
    {0x1fae8, 0x1fae9, 0x10137}, {0x1faf7, 0x1faf8, 0x10137}, {0x1fbcb, 0x1fbef, 0x10137},
    {0x2b739, 0x2b739, 0x10280}, {0x2ebf0, 0x2ee5d, 0x10280}, {0x31350, 0x323af, 0x10280},
    /* clang-format on */
};

static uint32_t stand_in(uint32_t c) {
    size_t low = 0, high = sizeof newer / sizeof *newer;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (c > newer[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof newer / sizeof *newer && c >= newer[low].first ? newer[low].stand_in : 0;
}

size_t glia_regex_find_newer(const char *text, size_t len, size_t from) {
    const char *p = text + from, *const end = text + len;
    while (p < end) {
        const char *const at = p;
        if ((unsigned char)*p < 0xe0) /* the first newer character has three bytes */
            p++;
        else if (stand_in(glia_utf8_next(&p)))
            return (size_t)(at - text);
    }
    return len;
}

void glia_regex_put_stand_ins(char *text, size_t len) {
    for (size_t at = 0; (at = glia_regex_find_newer(text, len, at)) < len;) {
        const char *p = text + at;
        glia_utf8_put(text + at, stand_in(glia_utf8_next(&p)));
    }
}

/* ---- the dialect ---------------------------------------------------------- */

typedef struct {
    const char *text;
    size_t len, at;
    const char *where;
    glia_buf *out;
    glia_err *err;
    int depth;          /* of groups */
    int caseless_depth; /* the group that (?i) holds in, INT_MAX for none */
    char last;          /* the literal before this one, 0 for none */
} reader;

enum { DEPTH_MAX = 64 };

static glia_status refuse(const reader *r, size_t at, const char *what) {
    return glia_fail(r->err, GLIA_ERR_UNSUPPORTED, "%s: byte %zu of the regex: %s is not supported", r->where,
                     at, what);
}

static glia_status broken(const reader *r, const char *what) {
    return glia_fail(r->err, GLIA_ERR_FORMAT, "%s: byte %zu of the regex: %s", r->where, r->at, what);
}

static const char beyond_ascii[] = "(?i) with a character beyond ASCII";

static bool caseless(const reader *r) { return r->depth >= r->caseless_depth; }

static bool ahead(const reader *r, const char *s) {
    const size_t n = strlen(s);
    return r->len - r->at >= n && memcmp(r->text + r->at, s, n) == 0;
}

static void copy(reader *r, size_t n) {
    glia_buf_add(r->out, r->text + r->at, n);
    r->at += n;
}

/* After \p or \P: {Name}, {^Name}. Categories are the same in both; any other
 * name is a script. */
static glia_status property(reader *r, bool negative) {
    const size_t from = r->at;
    if (!ahead(r, "{")) return broken(r, "\\p without {");
    r->at++;
    if (ahead(r, "^")) r->at++, negative = !negative;
    const char *name = r->text + r->at;
    size_t n = 0;
    while (r->at + n < r->len && name[n] != '}') n++;
    if (r->at + n == r->len) return broken(r, "\\p{ without }");
    for (size_t i = 0; i < n; i++)
        if (!((name[i] | 32) >= 'a' && (name[i] | 32) <= 'z') && name[i] != '_')
            return refuse(r, from, "this property name");
    if (n == 0) return broken(r, "\\p{} without a name");
    r->at += n + 1;
    if ((n == 1 && *name == 'C') || (n == 2 && memcmp(name, "Cn", 2) == 0))
        return refuse(r, from, "a category that holds unassigned characters");
    glia_buf_printf(r->out, "\\%c{%s%.*s}", negative ? 'P' : 'p', n > 2 ? "sc:" : "", (int)n, name);
    return GLIA_OK;
}

/* \xHH, \x{H...}, \uHHHH: the digits begin at r->at. */
static glia_status code_point(reader *r, char kind) {
    const bool braces = kind == 'x' && ahead(r, "{");
    const size_t most = braces ? 8 : kind == 'u' ? 4 : 2;
    uint32_t c = 0;
    size_t n = 0;
    if (braces) r->at++;
    for (; n < most && r->at < r->len; n++, r->at++) {
        const char digit = r->text[r->at], lower = (char)(digit | 32);
        if (digit >= '0' && digit <= '9')
            c = c << 4 | (uint32_t)(digit - '0');
        else if (lower >= 'a' && lower <= 'f')
            c = c << 4 | (uint32_t)(lower - 'a' + 10);
        else
            break;
    }
    if (n == 0 || (!braces && n != most) || (braces && !ahead(r, "}")))
        return broken(r, "a character number is cut short");
    if (braces) r->at++;
    if (kind == 'x' && !braces && c > 0x7f) return refuse(r, r->at - 4, "a byte that is no character");
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return broken(r, "no such character");
    if (c >= 0x80 && caseless(r)) return refuse(r, r->at, beyond_ascii);
    glia_buf_printf(r->out, "\\x{%x}", (unsigned)c);
    return GLIA_OK;
}

static glia_status escape(reader *r, bool in_set) {
    const size_t from = r->at++;
    if (r->at == r->len) return broken(r, "a lone \\ ends the regex");
    const char c = r->text[r->at++];
    r->last = 0;
    switch (c) {
    case 's': glia_buf_puts(r->out, "\\p{White_Space}"); return GLIA_OK;
    case 'S': glia_buf_puts(r->out, "\\P{White_Space}"); return GLIA_OK;
    case 'd': glia_buf_puts(r->out, "\\p{Nd}"); return GLIA_OK;
    case 'D': glia_buf_puts(r->out, "\\P{Nd}"); return GLIA_OK;
    case 'w': glia_buf_puts(r->out, in_set ? WORD_SET : "[" WORD_SET "]"); return GLIA_OK;
    case 'v': glia_buf_puts(r->out, "\\x{b}"); return GLIA_OK;
    case 'p':
    case 'P': return property(r, c == 'P');
    case 'x':
    case 'u': return code_point(r, c);
    case 'r':
    case 'n':
    case 't':
    case 'f': glia_buf_printf(r->out, "\\%c", c); return GLIA_OK;
    default: break;
    }
    if (c == 'W' && !in_set) {
        glia_buf_puts(r->out, "[^" WORD_SET "]");
        return GLIA_OK;
    }
    if ((c == 'b' || c == 'B') && !in_set) {
        const char *w = "[" WORD_SET "]";
        const char not_after = c == 'b' ? '!' : '=', not_before = c == 'b' ? '=' : '!';
        glia_buf_printf(r->out, "(?:(?<=%s)(?%c%s)|(?<!%s)(?%c%s))", w, not_after, w, w, not_before, w);
        return GLIA_OK;
    }
    if (c > ' ' && c < 0x7f && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9')) {
        glia_buf_printf(r->out, "\\%c", c);
        return GLIA_OK;
    }
    const char what[] = {'t', 'h', 'e', ' ', 'e', 's', 'c', 'a', 'p', 'e', ' ', '\\', c, '\0'};
    return refuse(r, from, c > ' ' && c < 0x7f ? what : "this escape");
}

static glia_status set(reader *r) {
    copy(r, 1);
    if (ahead(r, "^")) copy(r, 1);
    if (ahead(r, "]")) return refuse(r, r->at, "] as the first of a set");
    while (r->at < r->len && r->text[r->at] != ']') {
        if (r->text[r->at] == '[') return refuse(r, r->at, "a set within a set");
        if (ahead(r, "&&")) return refuse(r, r->at, "an intersection of sets (&&)");
        if (r->text[r->at] == '\\') {
            const glia_status status = escape(r, true);
            if (status != GLIA_OK) return status;
        } else {
            if ((unsigned char)r->text[r->at] >= 0x80 && caseless(r)) return refuse(r, r->at, beyond_ascii);
            copy(r, 1);
        }
    }
    if (r->at == r->len) return broken(r, "[ without ]");
    copy(r, 1);
    return GLIA_OK;
}

static glia_status group(reader *r) {
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (ahead(r, same[i])) {
            copy(r, strlen(same[i]));
            return GLIA_OK;
        }
    }
    if (ahead(r, "(?i:") || (ahead(r, "(?i)") && r->at == 0)) {
        const bool whole = r->text[3] == ')' && r->at == 0;
        if (whole) r->depth--;
        if (!caseless(r)) r->caseless_depth = r->depth;
        copy(r, 4);
        return GLIA_OK;
    }
    if (ahead(r, "(?")) return refuse(r, r->at, "this kind of group");
    if (ahead(r, "(*")) return refuse(r, r->at, "(*");
    glia_buf_puts(r->out, "(?:"); /* nothing here can refer back to a group */
    r->at++;
    return GLIA_OK;
}

/* `{` that begins {n}, {n,} or {n,m}; anything else is a literal in Oniguruma,
 * but {,n} a repeat. */
static glia_status repeat(reader *r) {
    size_t i = r->at + 1;
    const size_t first = i;
    bool comma = false;
    while (i < r->len && r->text[i] >= '0' && r->text[i] <= '9') i++;
    if (i == first) return refuse(r, r->at, "a { that begins no {n}, {n,} or {n,m}");
    if (i < r->len && r->text[i] == ',') {
        comma = true;
        for (i++; i < r->len && r->text[i] >= '0' && r->text[i] <= '9';) i++;
    }
    if (i == r->len || r->text[i] != '}') return refuse(r, r->at, "a { that begins no {n}, {n,} or {n,m}");
    copy(r, i + 1 - r->at);
    if (ahead(r, "+") || (ahead(r, "?") && !comma)) return refuse(r, r->at, "a repeat of a repeat");
    if (ahead(r, "?")) copy(r, 1);
    if (ahead(r, "*") || ahead(r, "+") || ahead(r, "?") || ahead(r, "{"))
        return refuse(r, r->at, "a repeat of a repeat");
    return GLIA_OK;
}

static glia_status simple_repeat(reader *r) {
    copy(r, 1);
    if (ahead(r, "+") || ahead(r, "?")) copy(r, 1);
    if (ahead(r, "*") || ahead(r, "+") || ahead(r, "?") || ahead(r, "{"))
        return refuse(r, r->at, "a repeat of a repeat");
    return GLIA_OK;
}

/* A literal byte. Under (?i) Oniguruma also matches letters that fold to
 * several, which PCRE2 does not know: refuse the pairs that occur in such folds. */
static glia_status literal(reader *r) {
    static const char *const folds[] = {"ss", "st", "ff", "fi", "fl"};
    const char c = r->text[r->at], lower = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
    if (caseless(r)) {
        if ((unsigned char)c >= 0x80) return refuse(r, r->at, beyond_ascii);
        for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
            if (r->last == folds[i][0] && lower == folds[i][1])
                return refuse(r, r->at, "(?i) with a pair that one letter folds to");
    }
    copy(r, 1);
    r->last = lower;
    return GLIA_OK;
}

glia_status glia_regex_translate(glia_buf *out, const char *pattern, size_t len, const char *where,
                                 glia_err *err) {
    reader r = {
        .text = pattern, .len = len, .where = where, .out = out, .err = err, .caseless_depth = INT_MAX};
    glia_status status = GLIA_OK;
    while (status == GLIA_OK && r.at < len) {
        const char c = pattern[r.at];
        const char last = r.last;
        r.last = 0;
        switch (c) {
        case '\\': status = escape(&r, false); break;
        case '[': status = set(&r); break;
        case '(':
            if (++r.depth > DEPTH_MAX) return refuse(&r, r.at, "such deep nesting");
            status = group(&r);
            break;
        case ')':
            if (r.depth-- <= r.caseless_depth) r.caseless_depth = INT_MAX;
            copy(&r, 1);
            break;
        case '{': status = repeat(&r); break;
        case '*':
        case '+':
        case '?': status = simple_repeat(&r); break;
        case '|':
        case '.':
        case '^':
        case '$': copy(&r, 1); break;
        default: r.last = last; status = literal(&r);
        }
    }
    if (status == GLIA_OK && out->oom) return glia_fail_nomem(err, len, "a regex");
    return status;
}

/* ---- PCRE2 ---------------------------------------------------------------- */

struct glia_regex {
    pcre2_code *code;
};

struct glia_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* The machine stack's 32 KiB do for the published patterns; a pattern that
 * keeps a frame per character gets this much, then GLIA_ERR_LIMIT. */
enum { JIT_STACK_FIRST = 64 << 10, JIT_STACK_MAX = 64 << 20 };

static glia_status compile(glia_regex *r, const char *pattern, size_t len, uint32_t options,
                           const char *where, glia_err *err) {
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return glia_fail_nomem(err, len, "a regex");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!r->code) {
        PCRE2_UCHAR why[128] = {0};
        pcre2_get_error_message(code, why, sizeof why);
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: the regex, for PCRE2 \"%.*s\", at byte %zu of it: %s",
                         where, (int)(len < 200 ? len : 200), pattern, (size_t)at, (const char *)why);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where the machine has no JIT, it is interpreted */
    return GLIA_OK;
}

glia_status glia_regex_compile(glia_regex **out, const char *pattern, size_t len, bool literal_string,
                               const char *where, glia_err *err) {
    glia_buf translated = {0};
    glia_regex *r = calloc(1, sizeof *r);
    glia_status status = GLIA_OK;
    *out = NULL;
    if (!r) return glia_fail_nomem(err, sizeof *r, "a regex");
    if (literal_string) {
        status = compile(r, pattern, len, PCRE2_UTF | PCRE2_LITERAL | PCRE2_NO_UTF_CHECK, where, err);
    } else {
        status = glia_regex_translate(&translated, pattern, len, where, err);
        if (status == GLIA_OK)
            status = compile(r, translated.data ? translated.data : "", translated.len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, where, err);
    }
    glia_buf_free(&translated);
    if (status == GLIA_OK)
        *out = r;
    else
        glia_regex_free(r);
    return status;
}

void glia_regex_free(glia_regex *r) {
    if (!r) return;
    pcre2_code_free(r->code);
    free(r);
}

glia_matcher *glia_matcher_new(void) {
    glia_matcher *m = calloc(1, sizeof *m);
    if (m && !(m->data = pcre2_match_data_create(1, NULL))) {
        glia_matcher_free(m);
        return NULL;
    }
    return m;
}

void glia_matcher_free(glia_matcher *m) {
    if (!m) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    free(m);
}

/* After PCRE2_ERROR_JIT_STACKLIMIT on the machine's own stack. */
static bool grow_stack(glia_matcher *m) {
    if (m->stack) return false;
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MAX, NULL);
    if (!m->context || !m->stack) return false;
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return true;
}

glia_status glia_regex_search(const glia_regex *r, glia_matcher *m, const char *text, size_t len, size_t from,
                              size_t *start, size_t *end, glia_err *err) {
    int rc;
    do rc = pcre2_match(r->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
    while (rc == PCRE2_ERROR_JIT_STACKLIMIT && grow_stack(m));
    *start = *end = SIZE_MAX;
    if (rc == PCRE2_ERROR_NOMATCH) return GLIA_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[128] = {0};
        pcre2_get_error_message(rc, why, sizeof why);
        return glia_fail(err, rc == PCRE2_ERROR_NOMEMORY ? GLIA_ERR_NOMEM : GLIA_ERR_LIMIT,
                         "byte %zu of the text: the pre-tokenizer's regex gave up: %s", from,
                         (const char *)why);
    }
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(m->data);
    *start = ovector[0];
    *end = ovector[1];
    return GLIA_OK;
}
