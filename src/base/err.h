/* err.h - how a failing call fills its error record; glia.h has the status codes.
 *
 * Every fallible function returns glia_status and takes `glia_err *err` last. The
 * function closest to the cause writes the message, and its callers pass it on
 * unchanged. A status reports what a user's file, request or machine can cause. A
 * programmer's mistake (NULL, wrong order of calls) is an assert(). The library
 * never prints and never exits. Any thread may call these functions. */
#ifndef GLIA_BASE_ERR_H
#define GLIA_BASE_ERR_H

#include <glia.h>

/* Replace control characters and bytes that are not UTF-8 by '?', in place: text
 * from a hostile file must neither break the line nor steer the terminal. */
void glia_one_line(char *text);

/* Record a failure and return `status`, so that a caller can `return glia_fail(...)`.
 * A NULL `err` keeps only the status. A message that does not fit is cut between two
 * characters. glia_one_line() cleans the message. */
__attribute__((format(printf, 3, 4))) glia_status glia_fail(glia_err *err, glia_status status,
                                                            const char *fmt, ...);

/* Record a failed allocation of `bytes` for `what`; returns GLIA_ERR_NOMEM. */
glia_status glia_fail_nomem(glia_err *err, size_t bytes, const char *what);

#endif
