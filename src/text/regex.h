/* regex.h - the regular expressions of tokenizer.json, run by PCRE2.
 *
 * The patterns are written for Oniguruma, whose syntax differs from PCRE2's. A
 * pattern is therefore translated construct by construct. A construct with the
 * same meaning in both is copied; a construct that differs is rewritten; any other
 * construct is an error that names it. So no pattern runs with a changed meaning. */
#ifndef GLIA_TEXT_REGEX_H
#define GLIA_TEXT_REGEX_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_regex glia_regex;     /* immutable: threads may share it */
typedef struct glia_matcher glia_matcher; /* scratch memory of searches, for one thread at a time */

/* Translate an Oniguruma pattern for PCRE2 and append it to *out. Errors:
 * GLIA_ERR_FORMAT for broken syntax, GLIA_ERR_UNSUPPORTED for a construct that
 * PCRE2 lacks or this translator does not know, GLIA_ERR_NOMEM. The message has
 * `where` and the byte. */
glia_status glia_regex_translate(glia_buf *out, const char *pattern, size_t len, const char *where,
                                 glia_err *err);

/* Compile an Oniguruma pattern; with `literal`, a plain string. On success the
 * caller owns *out. Errors: those of glia_regex_translate(), and GLIA_ERR_FORMAT
 * if PCRE2 refuses the pattern. */
glia_status glia_regex_compile(glia_regex **out, const char *pattern, size_t len, bool literal,
                               const char *where, glia_err *err);
void glia_regex_free(glia_regex *r);

glia_matcher *glia_matcher_new(void); /* NULL if out of memory */
void glia_matcher_free(glia_matcher *m);

/* Find the leftmost match [*start, *end) that begins at or after byte `from` of
 * valid UTF-8 text. *start is SIZE_MAX if there is none. Errors: GLIA_ERR_LIMIT if
 * the search exceeds PCRE2's limits of steps or memory, GLIA_ERR_NOMEM. */
glia_status glia_regex_search(const glia_regex *r, glia_matcher *m, const char *text, size_t len, size_t from,
                              size_t *start, size_t *end, glia_err *err);

#endif
