/* unicode.h - UTF-8, the few character classes that text code needs, normal forms.
 *
 * Functions that take text assume valid UTF-8 unless they say otherwise: callers
 * check once, at the edge, with glia_utf8_check(). */
#ifndef GLIA_TEXT_UNICODE_H
#define GLIA_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Offset of the first byte that begins no valid character (Unicode table 3-7:
 * no surrogates, no overlong forms, nothing past U+10FFFF); len if all is valid. */
size_t glia_utf8_check(const char *text, size_t len);

/* One step of a UTF-8 decoder over bytes of any origin. `state` 0 is between
 * characters; glia_utf8_step() returns the next state, or GLIA_UTF8_REJECT when
 * `byte` cannot follow (it may still begin a new character). */
enum { GLIA_UTF8_ACCEPT = 0, GLIA_UTF8_REJECT = 8 };
unsigned glia_utf8_step(unsigned state, unsigned char byte);

/* The character at *p, which moves past it. Not at the end of the text. */
uint32_t glia_utf8_next(const char **p);
/* The character that ends before *p, which moves to its start. Not at the start. */
uint32_t glia_utf8_previous(const char **p);
/* Write a scalar value; returns its 1 to 4 bytes. */
size_t glia_utf8_put(char out[4], uint32_t c);

/* Characters that Unicode 15.0, 15.1 and 16.0 assigned, which a library's tables
 * may not hold yet (Debian 12: PCRE2 has 14.0, utf8proc 15.0; tokenizers 0.22 has
 * 16.0): each has a stand-in, an older character of the same category and the
 * same length in UTF-8; of Han for Han. Any other character is its own. */
uint32_t glia_unicode_stand_in(uint32_t c);
/* Where the first character at or after `from` is that has one; len for none. */
size_t glia_unicode_find_newer(const char *text, size_t len, size_t from);
void glia_unicode_put_stand_ins(char *text, size_t len);

/* Unicode White_Space. */
bool glia_is_space(uint32_t c);
/* A character of a word as UTS #18 Annex C and Rust's regex crate see it:
 * Alphabetic, M, Nd, Pc, Join_Control. */
bool glia_is_word(uint32_t c);

typedef enum { GLIA_NFC, GLIA_NFD, GLIA_NFKC, GLIA_NFKD } glia_normal_form;

/* Append the normal form of text to *out (UAX #15). Linear in len but for the
 * sorting of long runs of combining marks. Out of memory: out->oom. */
void glia_normalize(glia_buf *out, const char *text, size_t len, glia_normal_form form);
/* True when the text is surely in the form already; false says nothing. */
bool glia_is_normalized(const char *text, size_t len, glia_normal_form form);

#endif
