/* chars.h - sets of characters, and the bytes that spell them as text or inside a JSON string.
 *
 * Inside a JSON string a character has one or more spellings: itself, unless it is a control
 * character, a quote or a backslash; the short escape, if JSON has one; \uXXXX, or a pair of them,
 * if it is a control character or is not ASCII. "\u0061" for "a" is not among them. */
#ifndef GLIA_GRAMMAR_CHARS_H
#define GLIA_GRAMMAR_CHARS_H

#include "grammar/rx.h"

typedef struct {
    uint32_t lo, hi; /* inclusive */
} glia_char_range;
/* Ranges; after glia_chars_normalise() ascending, without surrogates, neither overlapping nor touching. */
typedef glia_vec glia_chars;

/* Each returns false without memory. */
bool glia_chars_add(glia_chars *c, uint32_t lo, uint32_t hi);
bool glia_chars_normalise(glia_chars *c);
bool glia_chars_invert(glia_chars *c);
/* Add the other case of every character. */
bool glia_chars_fold(glia_chars *c);
/* Add the characters of a general category of Unicode: "L", "Lu", "Letter", "Uppercase_Letter", ... False if
 * there is no such category. */
bool glia_chars_add_category(glia_chars *c, const char *name, size_t len);

typedef enum { GLIA_SPELL_TEXT, GLIA_SPELL_JSON } glia_spelling;
/* The expression of one character of a normalised set. */
glia_rx glia_chars_rx(glia_rx_pool *p, const glia_chars *c, glia_spelling spelling);
/* The expression of any one character. */
glia_rx glia_char_any(glia_rx_pool *p, glia_spelling spelling);
/* The expression of a text, valid UTF-8, without quotes around it. */
glia_rx glia_chars_text(glia_rx_pool *p, const char *text, size_t len, glia_spelling spelling);

/* The expression of a regular expression (docs/STRUCTURED.md has the dialect). `search`: of every text that
 * has a match; else of every text that is one. Errors: GLIA_ERR_FORMAT, GLIA_ERR_UNSUPPORTED, GLIA_ERR_LIMIT,
 * GLIA_ERR_NOMEM; the message calls the expression `what` and has the byte. */
glia_status glia_rx_parse(glia_rx *out, glia_rx_pool *p, const char *pattern, size_t len,
                          glia_spelling spelling, bool search, const char *what, glia_err *err);

#endif
