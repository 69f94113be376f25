/* regex.h - the regular expressions of tokenizer.json, run by PCRE2.
 *
 * They are written for Oniguruma, where some of the same signs mean other
 * things. A pattern is therefore read construct by construct: what means the
 * same in both passes through, what differs is rewritten, and anything else is
 * refused by name, so that no pattern ever runs with another meaning. */
#ifndef GLIA_TEXT_REGEX_H
#define GLIA_TEXT_REGEX_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_regex glia_regex;     /* immutable, shared by threads */
typedef struct glia_matcher glia_matcher; /* one search's memory, for one thread at a time */

/* Rewrite an Oniguruma pattern for PCRE2 (append to *out). Errors name `where`
 * and the byte: GLIA_ERR_FORMAT for broken syntax, GLIA_ERR_UNSUPPORTED for
 * what cannot be said in PCRE2 or is not read here. */
glia_status glia_regex_translate(glia_buf *out, const char *pattern, size_t len, const char *where,
                                 glia_err *err);

/* Compile an Oniguruma pattern, or a plain string with `literal`. The caller
 * owns *out. Also GLIA_ERR_FORMAT where PCRE2 refuses the pattern. */
glia_status glia_regex_compile(glia_regex **out, const char *pattern, size_t len, bool literal,
                               const char *where, glia_err *err);
void glia_regex_free(glia_regex *r);

glia_matcher *glia_matcher_new(void); /* NULL when out of memory */
void glia_matcher_free(glia_matcher *m);

/* The leftmost match that begins at or after byte `from` of valid UTF-8 text:
 * *start and *end, or *start = SIZE_MAX for none. GLIA_ERR_LIMIT when the search
 * needs more steps or memory than PCRE2's limits grant. */
glia_status glia_regex_search(const glia_regex *r, glia_matcher *m, const char *text, size_t len, size_t from,
                              size_t *start, size_t *end, glia_err *err);

#endif
