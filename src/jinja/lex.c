/* lex.c - the lexer, with the rules of Jinja2's for trim_blocks and lstrip_blocks:
 * the newline after a block or comment is dropped, and so is the white space before
 * a block or comment that begins its line. */
#include "jinja/ast.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* In the order of the tokens from T_OPERATOR on; longer operators first. */
static const char *const operators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/",
                                        "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                        ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

const char *glia_j_tok_name(jtok type) {
    static const char *const names[] = {
        [T_EOF] = "end of template",
        [T_DATA] = "template data / text",
        [T_BLOCK_BEGIN] = "begin of statement block",
        [T_BLOCK_END] = "end of statement block",
        [T_VARIABLE_BEGIN] = "begin of print statement",
        [T_VARIABLE_END] = "end of print statement",
        [T_NAME] = "name",
        [T_STRING] = "string",
        [T_INTEGER] = "integer",
        [T_FLOAT] = "float",
    };
    return type < T_OPERATOR ? names[type] : operators[type - T_OPERATOR];
}

static _Noreturn void bad(jlexer *lx, const char *msg) {
    lx->rt->line = lx->line;
    glia_j_fail(lx->rt, "TemplateSyntaxError", "%s", msg);
}

void glia_j_lex_init(jlexer *lx, jrt *rt, const char *source, size_t len) {
    *lx = (jlexer){.rt = rt, .line = 1, .line_starting = true};
    char *src = glia_j_alloc(rt, len + 8); /* zeros at the end make it safe to look ahead */
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r') {
            src[n++] = '\n';
            if (i + 1 < len && source[i + 1] == '\n') i++;
        } else {
            src[n++] = source[i];
        }
    }
    if (n && src[n - 1] == '\n') src[--n] = '\0';
    lx->src = src;
    lx->n = n;
}

/* ---- helpers ----------------------------------------------------------------------------- */

static bool at(const jlexer *lx, size_t pos, const char *s) {
    const size_t n = strlen(s);
    return lx->n - pos >= n && memcmp(lx->src + pos, s, n) == 0;
}

static size_t skip_space(const jlexer *lx, size_t pos) {
    while (pos < lx->n) {
        size_t next = pos;
        if (!glia_j_isspace(glia_j_next(lx->src, lx->n, &next))) break;
        pos = next;
    }
    return pos;
}

/* Advance to `to`, counting lines. */
static void move(jlexer *lx, size_t to) {
    for (size_t i = lx->pos; i < to; i++) lx->line += lx->src[i] == '\n';
    lx->line_starting = to > lx->pos && lx->src[to - 1] == '\n';
    lx->pos = to;
}

/* The end of the closing `mark` of a tag at `pos`, including its sign and the white
 * space that it drops; 0: there is no mark. */
static size_t closing(const jlexer *lx, size_t pos, const char *mark, bool block) {
    if (lx->src[pos] == '-' && at(lx, pos + 1, mark)) return skip_space(lx, pos + 1 + strlen(mark));
    if (block && lx->src[pos] == '+' && at(lx, pos + 1, mark)) return pos + 1 + strlen(mark);
    if (!at(lx, pos, mark)) return 0;
    pos += strlen(mark);
    return block && pos < lx->n && lx->src[pos] == '\n' ? pos + 1 : pos;
}

/* The end of the text [from, to) before a tag with this sign, after dropping white space. */
static size_t stripped(const jlexer *lx, size_t from, size_t to, char sign, bool lstrip) {
    if (sign == '-') {
        jstr s = {.p = lx->src + from, .n = to - from, .chars = -1};
        return from + glia_j_strip(lx->rt, &s, NULL, false, true).u.s->n;
    }
    if (sign == '+' || !lstrip) return to;
    size_t line = to;
    while (line > from && lx->src[line - 1] != '\n') line--;
    if (line == from && !lx->line_starting) return to;
    return skip_space(lx, line) >= to ? line : to;
}

static jtoken token(const jlexer *lx, jtok type) { return (jtoken){.type = type, .line = lx->line}; }

static jtoken data_token(jlexer *lx, size_t from, size_t to) {
    jtoken t = token(lx, T_DATA);
    t.value = glia_j_str(lx->rt, lx->src + from, to - from);
    return t;
}

/* ---- outside of tags ------------------------------------------------------------------------ */

/* The position after {% raw %} at `pos`; 0: another tag. */
static size_t raw_begin(const jlexer *lx, size_t pos) {
    pos += 2;
    if (lx->src[pos] == '-' || lx->src[pos] == '+') pos++;
    pos = skip_space(lx, pos);
    if (!at(lx, pos, "raw")) return 0;
    pos = skip_space(lx, pos + 3);
    if (lx->src[pos] == '-' && at(lx, pos + 1, "%}")) return skip_space(lx, pos + 3);
    return at(lx, pos, "%}") ? pos + 2 : 0;
}

static jtoken lex_raw(jlexer *lx, size_t begin) {
    move(lx, begin);
    for (size_t pos = begin; pos < lx->n; pos++) {
        if (!at(lx, pos, "{%")) continue;
        size_t p = pos + 2;
        const char sign = lx->src[p] == '-' || lx->src[p] == '+' ? lx->src[p++] : '\0';
        p = skip_space(lx, p);
        if (!at(lx, p, "endraw")) continue;
        const size_t end = closing(lx, skip_space(lx, p + 6), "%}", true);
        if (!end) continue;
        const jtoken t = data_token(lx, begin, stripped(lx, begin, pos, sign, true));
        move(lx, end);
        return t;
    }
    if (begin < lx->n) bad(lx, "Missing end of raw directive");
    return token(lx, T_EOF);
}

static void skip_comment(jlexer *lx) {
    for (size_t pos = lx->pos; pos < lx->n; pos++) {
        const size_t end = closing(lx, pos, "#}", true);
        if (!end) continue;
        move(lx, end);
        return;
    }
    if (lx->pos < lx->n) bad(lx, "Missing end of comment tag");
}

static bool is_begin(const jlexer *lx, size_t pos) {
    return lx->src[pos] == '{' && pos + 1 < lx->n && strchr("%{#", lx->src[pos + 1]);
}

/* The text up to the next tag. The tag's begin token is kept for the next call. */
static jtoken lex_root(jlexer *lx) {
    if (lx->pos >= lx->n) return token(lx, T_EOF);
    const size_t from = lx->pos;
    size_t pos = from;
    while (pos < lx->n && !is_begin(lx, pos)) pos++;
    if (pos == lx->n) {
        const jtoken t = data_token(lx, from, pos);
        move(lx, pos);
        return t;
    }
    const char kind = lx->src[pos + 1], after = lx->src[pos + 2];
    const char sign = after == '-' || after == '+' ? after : '\0';
    const jtoken data = data_token(lx, from, stripped(lx, from, pos, sign, kind != '{'));
    const size_t raw = kind == '%' ? raw_begin(lx, pos) : 0;
    for (size_t i = from; i < pos; i++) lx->line += lx->src[i] == '\n';
    lx->pos = pos;
    if (raw) {
        lx->pending = lex_raw(lx, raw);
    } else {
        move(lx, pos + 2 + (sign != '\0'));
        if (kind == '#') {
            skip_comment(lx);
        } else {
            lx->state = kind == '%' ? LEX_BLOCK : LEX_VARIABLE;
            lx->pending = token(lx, kind == '%' ? T_BLOCK_BEGIN : T_VARIABLE_BEGIN);
        }
    }
    return data;
}

/* ---- inside of tags --------------------------------------------------------------------------- */

static size_t digits(const jlexer *lx, size_t pos, int (*is)(int)) {
    while (is((unsigned char)lx->src[pos]) || (lx->src[pos] == '_' && is((unsigned char)lx->src[pos + 1])))
        pos++;
    return pos;
}

static int is_bit(int c) { return c == '0' || c == '1'; }
static int is_octal(int c) { return c >= '0' && c <= '7'; }
static int is_zero(int c) { return c == '0'; }

/* The end of a float literal at `pos`; 0: none. */
static size_t float_end(const jlexer *lx, size_t pos) {
    if (pos > 0 && lx->src[pos - 1] == '.') return 0;
    size_t end = digits(lx, pos, isdigit);
    const size_t whole = end;
    if (lx->src[end] == '.' && isdigit((unsigned char)lx->src[end + 1])) end = digits(lx, end + 1, isdigit);
    if (tolower((unsigned char)lx->src[end]) == 'e') {
        size_t e = end + 1;
        if (lx->src[e] == '+' || lx->src[e] == '-') e++;
        if (isdigit((unsigned char)lx->src[e])) end = digits(lx, e, isdigit);
    }
    return end > whole ? end : 0;
}

static size_t integer_end(const jlexer *lx, size_t pos) {
    static int (*const is[])(int) = {is_bit, is_octal, isxdigit};
    if (lx->src[pos] != '0') return digits(lx, pos, isdigit);
    const char c = (char)tolower((unsigned char)lx->src[pos + 1]);
    const char *base = c ? strchr("box", c) : NULL;
    if (base) {
        int (*const digit)(int) = is[c == 'b' ? 0 : c == 'o' ? 1 : 2];
        const size_t first = pos + 2 + (lx->src[pos + 2] == '_');
        if (digit((unsigned char)lx->src[first])) return digits(lx, first, digit);
    }
    return digits(lx, pos, is_zero);
}

static jtoken lex_number(jlexer *lx) {
    size_t end = float_end(lx, lx->pos);
    jtoken t = token(lx, end ? T_FLOAT : T_INTEGER);
    jstr text = {.p = lx->src + lx->pos, .chars = -1};
    if (end) {
        double f = 0;
        text.n = end - lx->pos;
        if (!glia_j_parse_float(&text, &f)) bad(lx, "a number of more than 390 digits");
        t.value = glia_j_float(f);
    } else {
        int64_t i = 0;
        end = integer_end(lx, lx->pos);
        text.n = end - lx->pos;
        lx->rt->line = lx->line;
        glia_j_parse_int(lx->rt, &text, 0, &i);
        t.value = glia_j_int(i);
    }
    move(lx, end);
    return t;
}

static bool is_name_char(int32_t cp) { return glia_j_isalnum(cp) || glia_j_isident(cp, false); }

static jtoken lex_name(jlexer *lx) {
    size_t end = lx->pos;
    bool valid = true;
    while (end < lx->n) {
        size_t next = end;
        const int32_t cp = glia_j_next(lx->src, lx->n, &next);
        if (!is_name_char(cp)) break;
        valid &= glia_j_isident(cp, end == lx->pos);
        end = next;
    }
    if (!valid) bad(lx, "Invalid character in identifier");
    jtoken t = token(lx, T_NAME);
    t.value = glia_j_str(lx->rt, lx->src + lx->pos, end - lx->pos);
    move(lx, end);
    return t;
}

/* The character of \x41, \u0041 or \U00000041, whose n digits begin at *p; advances *p. */
static int32_t hex_escape(jlexer *lx, const char **p, const char *end, int n) {
    int32_t cp = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (*p >= end || !isxdigit((unsigned char)**p))
            bad(lx, n == 2   ? "truncated \\xXX escape"
                    : n == 4 ? "truncated \\uXXXX escape"
                             : "truncated \\UXXXXXXXX escape");
        const char c = (char)tolower((unsigned char)**p);
        if (cp > 0x10ffff) continue;
        cp = cp * 16 + (isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10);
    }
    if (cp > 0x10ffff) bad(lx, "illegal Unicode character");
    if (cp >= 0xd800 && cp < 0xe000) bad(lx, "a surrogate alone is not a character");
    return cp;
}

static void unescape(jlexer *lx, jtext *out, const char **p, const char *end) {
    static const char letters[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    jrt *rt = lx->rt;
    const char c = *(*p)++;
    for (const char *l = letters; *l; l += 2) {
        if (c == *l) {
            glia_j_putc(rt, out, l[1]);
            return;
        }
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        glia_j_putcp(rt, out, hex_escape(lx, p, end, c == 'x' ? 2 : c == 'u' ? 4 : 8));
    } else if (c == 'N') {
        bad(lx, "\\N{name} escapes are not supported");
    } else if (is_octal((unsigned char)c)) {
        int32_t cp = c - '0';
        for (int i = 0; i < 2 && *p < end && is_octal((unsigned char)**p); i++) cp = cp * 8 + (*(*p)++ - '0');
        glia_j_putcp(rt, out, cp);
    } else if ((unsigned char)c >= 0x80) { /* Jinja makes it an escape first, which this \ makes literal */
        size_t at = 0;
        const char *from = *p - 1;
        const int32_t cp = glia_j_next(from, (size_t)(end - from), &at);
        glia_j_printf(rt, out, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        *p = from + at;
    } else if (c != '\n') {
        glia_j_putc(rt, out, '\\');
        glia_j_putc(rt, out, c);
    }
}

/* Returns false if there is no closing quote. */
static bool lex_string(jlexer *lx, jtoken *t) {
    const char quote = lx->src[lx->pos];
    size_t end = lx->pos + 1;
    bool plain = true;
    while (end < lx->n && lx->src[end] != quote) {
        if (lx->src[end] == '\\') plain = false, end++;
        end++;
    }
    if (end >= lx->n) return false;
    *t = token(lx, T_STRING);
    const char *p = lx->src + lx->pos + 1, *stop = lx->src + end;
    if (plain) {
        t->value = glia_j_str(lx->rt, p, (size_t)(stop - p));
    } else {
        jtext out = {0};
        while (p < stop) {
            if (*p != '\\') {
                glia_j_putc(lx->rt, &out, *p++);
                continue;
            }
            p++;
            unescape(lx, &out, &p, stop);
        }
        t->value = glia_j_text(lx->rt, &out);
    }
    move(lx, end + 1);
    return true;
}

static _Noreturn void unexpected_char(jlexer *lx) {
    char msg[80];
    jstr before = {.p = lx->src, .n = lx->pos, .chars = -1};
    size_t end = lx->pos;
    glia_j_next(lx->src, lx->n, &end);
    const char *shown = glia_j_crepr(lx->rt, glia_j_str(lx->rt, lx->src + lx->pos, end - lx->pos));
    snprintf(msg, sizeof msg, "unexpected char %s at %zu", shown, glia_j_chars(&before));
    bad(lx, msg);
}

static void balance(jlexer *lx, char c) {
    char msg[64];
    if (c == '(' || c == '[' || c == '{') {
        if (lx->n_brackets == J_NEST_MAX) {
            lx->rt->line = lx->line;
            glia_j_limit(lx->rt, "brackets nested more than %d deep", J_NEST_MAX);
        }
        lx->brackets[lx->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        snprintf(msg, sizeof msg, "unexpected '%c'", c);
        if (lx->n_brackets == 0) bad(lx, msg);
        const char expected = lx->brackets[--lx->n_brackets];
        if (expected != c) {
            snprintf(msg, sizeof msg, "unexpected '%c', expected '%c'", c, expected);
            bad(lx, msg);
        }
    }
}

static jtoken lex_operator(jlexer *lx) {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!at(lx, lx->pos, operators[i])) continue;
        balance(lx, operators[i][0]);
        const jtoken t = token(lx, (jtok)(T_OPERATOR + i));
        move(lx, lx->pos + strlen(operators[i]));
        return t;
    }
    unexpected_char(lx);
}

static jtoken lex_inside(jlexer *lx) {
    const bool block = lx->state == LEX_BLOCK;
    jtoken t;
    for (;;) {
        if (lx->pos >= lx->n) return token(lx, T_EOF);
        const size_t end = lx->n_brackets ? 0 : closing(lx, lx->pos, block ? "%}" : "}}", block);
        if (end) {
            t = token(lx, block ? T_BLOCK_END : T_VARIABLE_END);
            move(lx, end);
            lx->state = LEX_ROOT;
            return t;
        }
        const size_t space = skip_space(lx, lx->pos);
        if (space == lx->pos) break;
        move(lx, space);
    }
    const char c = lx->src[lx->pos];
    size_t next = lx->pos;
    if (isdigit((unsigned char)c)) return lex_number(lx);
    if (is_name_char(glia_j_next(lx->src, lx->n, &next))) return lex_name(lx);
    if ((c == '\'' || c == '"') && lex_string(lx, &t)) return t;
    return lex_operator(lx);
}

jtoken glia_j_lex(jlexer *lx) {
    for (;;) {
        jtoken t = lx->pending;
        if (t.type != T_EOF) {
            lx->pending.type = T_EOF;
        } else {
            t = lx->state == LEX_ROOT ? lex_root(lx) : lex_inside(lx);
            if (t.type == T_EOF) return t;
        }
        if (t.type != T_DATA || t.value.u.s->n) return t;
    }
}
