/* unfinished.h - the temporary files and directories of this process, so that an end by a signal can remove
 * them. glia_remove_unfinished() of glia.h removes them; a program calls it from its handler of signals. */
#ifndef GLIA_BASE_UNFINISHED_H
#define GLIA_BASE_UNFINISHED_H

#include "base/err.h"

typedef struct glia_unfinished glia_unfinished;

/* Note that the caller is about to make the file or directory `path`, which is absolute. The caller ends with
 * glia_unfinished_done(). Any thread. Does not return while glia_remove_unfinished() has been called: nothing
 * is made any more. Errors: GLIA_ERR_LIMIT a path of PATH_MAX bytes; GLIA_ERR_NOMEM. On failure *u is NULL.
 */
glia_status glia_unfinished_add(glia_unfinished **u, const char *path, glia_err *err);
/* The file or directory is complete, or removed. NULL is fine. Any thread. */
void glia_unfinished_done(glia_unfinished *u);

#endif
