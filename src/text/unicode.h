/* unicode.h - UTF-8, character classes, normal forms.
 *
 * Functions that take text assume valid UTF-8 unless they say otherwise. Callers
 * check untrusted text once, with glia_utf8_check(). */
#ifndef GLIA_TEXT_UNICODE_H
#define GLIA_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The offset of the first byte that does not begin a valid character (Unicode table
 * 3-7: no surrogates, no overlong forms, nothing past U+10FFFF); len if all bytes
 * are valid. */
size_t glia_utf8_check(const char *text, size_t len);

/* One step of a UTF-8 decoder over unchecked bytes. GLIA_UTF8_ACCEPT is the state
 * between characters. Returns the next state, or GLIA_UTF8_REJECT if `byte` cannot
 * follow in this state (it may still begin a new character). */
enum { GLIA_UTF8_ACCEPT = 0, GLIA_UTF8_REJECT = 8 };
unsigned glia_utf8_step(unsigned state, unsigned char byte);

/* The character at *p; advances *p past it. *p must not be the end of the text. */
uint32_t glia_utf8_next(const char **p);
/* The character that ends at *p; moves *p to its first byte. *p must not be the
 * start of the text. */
uint32_t glia_utf8_previous(const char **p);
/* Write the UTF-8 of a scalar value; returns the number of bytes, 1 to 4. */
size_t glia_utf8_put(char out[4], uint32_t c);

/* The stand-in of a character that Unicode 15.0, 15.1 or 16.0 added: an older
 * character of the same category and UTF-8 length, for a Han character another Han
 * character. Any other character is its own stand-in. Stand-ins are needed because
 * libraries have older tables (Debian 12: PCRE2 14.0, utf8proc 15.0) than
 * tokenizers 0.22 (16.0). */
uint32_t glia_unicode_stand_in(uint32_t c);
/* The offset of the first character at or after `from` whose stand-in is another
 * character; len if there is none. */
size_t glia_unicode_find_newer(const char *text, size_t len, size_t from);
/* Replace every character by its stand-in, in place. */
void glia_unicode_put_stand_ins(char *text, size_t len);

/* Unicode White_Space. */
bool glia_is_space(uint32_t c);
/* A word character of UTS #18 Annex C and of Rust's regex crate: Alphabetic, M, Nd,
 * Pc, Join_Control. */
bool glia_is_word(uint32_t c);

typedef enum { GLIA_NFC, GLIA_NFD, GLIA_NFKC, GLIA_NFKD } glia_normal_form;

/* True for a character that normalization leaves alone: its normal forms are itself, its combining class
 * is 0, it composes with nothing. tokenizers 0.23.3 has the normal forms of Unicode 9.0, so the characters
 * that got one later are alone. U+11A7 is alone too; utf8proc 2.8 takes it for a trailing consonant. */
bool glia_is_alone(uint32_t c);
/* Append the normal form of text to *out (UAX #15). The time is linear in len. If
 * memory runs out, out->oom is set. */
void glia_normalize(glia_buf *out, const char *text, size_t len, glia_normal_form form);
/* True means that the text is in the normal form. False means "maybe not". */
bool glia_is_normalized(const char *text, size_t len, glia_normal_form form);

#endif
