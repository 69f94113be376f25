/* err.h - status codes (glia.h has them), and how a failing call fills its record.
 *
 * Every fallible function returns glia_status and takes `glia_err *err` last.
 * The function closest to the cause writes the message; callers above pass it
 * on untouched. Mistakes of the programmer (NULL, wrong order of calls) are
 * assert()s, not statuses: a status is for what a user's file, request or
 * machine can cause. The library never prints and never exits.
 */
#ifndef GLIA_BASE_ERR_H
#define GLIA_BASE_ERR_H

#include <glia.h>

/* Replace control characters and bytes that are no UTF-8 by '?': words from a
 * hostile file must neither break the line nor steer the terminal. */
void glia_one_line(char *text);

/* Record a failure and return `status`, so a caller can `return glia_fail(...)`.
 * `err` may be NULL when the caller wants only the status. A message that does
 * not fit is cut at a character, never inside one; it is made glia_one_line(). */
__attribute__((format(printf, 3, 4))) glia_status glia_fail(glia_err *err, glia_status status,
                                                            const char *fmt, ...);

/* The one sentence for a failed allocation of `bytes` for `what`. */
glia_status glia_fail_nomem(glia_err *err, size_t bytes, const char *what);

#endif
