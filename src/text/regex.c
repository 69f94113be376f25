/* regex.c - see regex.h.
 *
 * Sources: Oniguruma doc/RE and doc/SYNTAX.md (ONIG_SYNTAX_ONIGURUMA, which the
 * Rust tokenizers use) and pcre2pattern(3). Differences, for UTF-8:
 *              Oniguruma                          PCRE2
 *   \s         Unicode White_Space                also U+180E
 *   \p{L}      Unicode 16.0                       10.42: Unicode 14.0; see glia_unicode_stand_in()
 *   \w \b      see WORD_SET                       L, N and the underscore
 *   \v         U+000B alone                       every vertical space
 *   ^ $        at every line; \n ends a line      needs PCRE2_MULTILINE and PCRE2_NEWLINE_LF
 *   (?m)       dot matches newline                spelled (?s)
 *   {n,m}+     a repeat of a repeat               a possessive repeat
 *   [a[b]&&c]  sets in sets                       none
 *   \p{Greek}  the script                         the script extensions
 *   (?i)       "ss" also matches U+00DF, and      one letter matches one letter
 *              likewise other folds to two letters */
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

/* \w inside a set follows UTS #18. \w outside of a set, \W and \b also include six
 * numbers of Latin-1, for which Oniguruma has a separate table (observed in
 * tokenizers 0.22.2). */
#define WORD_SET "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_ALONE WORD_SET "\\xb2\\xb3\\xb9\\xbc-\\xbe"

/* ---- the dialect ---------------------------------------------------------- */

typedef struct {
    const char *text;
    size_t len, at;
    const char *where;
    glia_buf *out;
    glia_err *err;
    int depth;          /* nesting of groups */
    int caseless_depth; /* (?i) applies at this depth and deeper; INT_MAX: nowhere */
    char last;          /* the literal directly before; 0: none */
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

/* Translate what follows \p or \P: {Name} or {^Name}. Categories have one or two
 * letters and the same meaning in both; any other name is a script. */
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

/* Translate \xHH, \x{H...} or \uHHHH; r->at is behind the letter. */
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
    case 'w': glia_buf_puts(r->out, in_set ? WORD_SET : "[" WORD_ALONE "]"); return GLIA_OK;
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
        glia_buf_puts(r->out, "[^" WORD_ALONE "]");
        return GLIA_OK;
    }
    if ((c == 'b' || c == 'B') && !in_set) {
        const char *w = "[" WORD_ALONE "]";
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
            if (status) return status;
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
    glia_buf_puts(r->out, "(?:"); /* back references are refused, so no group needs to capture */
    r->at++;
    return GLIA_OK;
}

/* Translate {n}, {n,} or {n,m}. Any other { is refused: in Oniguruma {,n} is a
 * repeat and the rest are literals. */
static glia_status repeat(reader *r) {
    size_t i = r->at + 1;
    const size_t first = i;
    bool comma = false;
    while (i < r->len && r->text[i] >= '0' && r->text[i] <= '9') i++;
    if (i == first) return refuse(r, r->at, "a { that does not begin {n}, {n,} or {n,m}");
    if (i < r->len && r->text[i] == ',') {
        comma = true;
        for (i++; i < r->len && r->text[i] >= '0' && r->text[i] <= '9';) i++;
    }
    if (i == r->len || r->text[i] != '}')
        return refuse(r, r->at, "a { that does not begin {n}, {n,} or {n,m}");
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

/* Copy a literal byte. Under (?i), Oniguruma matches two letters with one character
 * that folds to them, and PCRE2 does not: refuse pairs of letters with such a fold. */
static glia_status literal(reader *r) {
    static const char *const folds[] = {"ss", "st", "ff", "fi", "fl"};
    const char c = r->text[r->at], lower = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
    if (caseless(r)) {
        if ((unsigned char)c >= 0x80) return refuse(r, r->at, beyond_ascii);
        for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
            if (r->last == folds[i][0] && lower == folds[i][1])
                return refuse(r, r->at, "(?i) with ss, st, ff, fi or fl, which one character can match");
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
    while (!status && r.at < len) {
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
    if (!status && out->oom) return glia_fail_nomem(err, len, "a regex");
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

/* PCRE2's default of 32 KiB on the machine stack is enough for the published
 * patterns. A pattern that needs more gets a stack of its own up to this limit. */
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
        return glia_fail(err, GLIA_ERR_FORMAT,
                         "%s: PCRE2 refuses the translated regex \"%.*s\" at byte %zu: %s", where,
                         (int)(len < 200 ? len : 200), pattern, (size_t)at, (const char *)why);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* on failure pcre2_match() interprets the pattern */
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
        if (!status)
            status = compile(r, translated.data ? translated.data : "", translated.len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, where, err);
    }
    glia_buf_free(&translated);
    if (!status)
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

/* Give the matcher a larger stack after PCRE2_ERROR_JIT_STACKLIMIT. Returns false
 * if it has one already or memory is out. */
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
