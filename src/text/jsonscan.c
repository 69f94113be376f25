/* jsonscan.c - see jsonscan.h. */
#include "text/jsonscan.h"

#include <string.h>

enum {
    BEGIN, /* the first byte */
    VALUE,
    VALUE_OR_END, /* behind '[' */
    KEY,
    KEY_OR_END, /* behind '{' */
    COLON,
    NEXT, /* behind a value */
    STRING,
    STRING_KEY,
    ESCAPE,
    ESCAPE_KEY,
    HEX, /* HEX + 0..3: hexadecimal digits that follow \u, the last one at HEX + 3 */
    HEX_KEY = HEX + 4,
    LITERAL = HEX_KEY + 4,
    MINUS,
    ZERO,
    INTEGER,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    POWER,
    DONE,
    WRONG,
};

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static bool in_object(const glia_jsonscan *s) {
    return s->objects[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1;
}

static int open_level(glia_jsonscan *s, bool object) {
    if (s->depth == GLIA_JSONSCAN_DEPTH) return WRONG;
    const unsigned char bit = (unsigned char)(1u << (s->depth % 8));
    unsigned char *byte = &s->objects[s->depth++ / 8];
    *byte = (unsigned char)(object ? *byte | bit : *byte & ~bit);
    return object ? KEY_OR_END : VALUE_OR_END;
}

static int close_level(glia_jsonscan *s, char c) {
    if (in_object(s) != (c == '}')) return WRONG;
    return --s->depth ? NEXT : DONE;
}

static int literal(glia_jsonscan *s, const char *rest) {
    s->rest = rest;
    return LITERAL;
}

static int value(glia_jsonscan *s, char c) {
    switch (c) {
    case '{': return open_level(s, true);
    case '[': return open_level(s, false);
    case '"': return STRING;
    case '-': return MINUS;
    case '0': return ZERO;
    case 't': return literal(s, "rue");
    case 'f': return literal(s, "alse");
    case 'n': return literal(s, "ull");
    default: return is_digit(c) ? INTEGER : WRONG;
    }
}

static int next(glia_jsonscan *s, char c) {
    if (is_space(c)) return NEXT;
    if (c == ',') return in_object(s) ? KEY : VALUE;
    return c == '}' || c == ']' ? close_level(s, c) : WRONG;
}

static int string(int state, char c) {
    const bool key = state == STRING_KEY;
    if (c == '"') return key ? COLON : NEXT;
    if (c == '\\') return key ? ESCAPE_KEY : ESCAPE;
    return (unsigned char)c < 0x20 ? WRONG : state;
}

static int escape(int state, char c) {
    const bool key = state == ESCAPE_KEY;
    if (c == 'u') return key ? HEX_KEY : HEX;
    return c && strchr("\"\\/bfnrt", c) ? (key ? STRING_KEY : STRING) : WRONG;
}

static int hex(int state, char c) {
    if (!is_hex(c)) return WRONG;
    return state == HEX + 3 ? STRING : state == HEX_KEY + 3 ? STRING_KEY : state + 1;
}

static int number(glia_jsonscan *s, char c) {
    const int state = s->state;
    const bool digit = is_digit(c), exponent = c == 'e' || c == 'E';
    switch (state) {
    case MINUS: return c == '0' ? ZERO : digit ? INTEGER : WRONG;
    case POINT: return digit ? FRACTION : WRONG;
    case EXPONENT: return digit ? POWER : c == '+' || c == '-' ? EXPONENT_SIGN : WRONG;
    case EXPONENT_SIGN: return digit ? POWER : WRONG;
    default: break;
    }
    if (digit && state != ZERO) return state;
    if (c == '.' && (state == ZERO || state == INTEGER)) return POINT;
    if (exponent && state != POWER) return EXPONENT;
    return next(s, c); /* the number has ended */
}

static int step(glia_jsonscan *s, char c) {
    const int state = s->state;
    if (state >= MINUS && state <= POWER) return number(s, c);
    if (state >= HEX && state < LITERAL) return hex(state, c);
    switch (state) {
    case BEGIN: return c == '{' || c == '[' ? value(s, c) : WRONG;
    case STRING:
    case STRING_KEY: return string(state, c);
    case ESCAPE:
    case ESCAPE_KEY: return escape(state, c);
    case LITERAL: return c != *s->rest ? WRONG : *++s->rest ? LITERAL : NEXT;
    case NEXT: return next(s, c);
    default: break;
    }
    if (is_space(c)) return state;
    switch (state) {
    case VALUE_OR_END: return c == ']' ? close_level(s, c) : value(s, c);
    case VALUE: return value(s, c);
    case KEY_OR_END:
        if (c == '}') return close_level(s, c);
        return c == '"' ? STRING_KEY : WRONG;
    case KEY: return c == '"' ? STRING_KEY : WRONG;
    default: return c == ':' ? VALUE : WRONG;
    }
}

glia_jsonscan_result glia_jsonscan_feed(glia_jsonscan *s, const char *text, size_t n, size_t *at) {
    while (*at < n && s->state != DONE && s->state != WRONG) {
        s->state = step(s, text[*at]);
        if (s->state == WRONG) return GLIA_JSONSCAN_BAD;
        ++*at;
    }
    return s->state == DONE ? GLIA_JSONSCAN_END : s->state == WRONG ? GLIA_JSONSCAN_BAD : GLIA_JSONSCAN_MORE;
}

bool glia_is_json_object(const char *text, size_t n) {
    glia_jsonscan s = {0};
    size_t at = 0;
    while (n && is_space(text[n - 1])) n--;
    while (at < n && is_space(text[at])) at++;
    return at < n && text[at] == '{' && glia_jsonscan_feed(&s, text, n, &at) == GLIA_JSONSCAN_END && at == n;
}
