/* path.h - which file a path names, for what is written. Any thread may call these functions. */
#ifndef GLIA_BASE_PATH_H
#define GLIA_BASE_PATH_H

#include <stdbool.h>

#include "base/err.h"

/* The absolute path without links of `path`, which need not exist; its directory must. The caller frees
 * *real, which is NULL on failure. Errors: GLIA_ERR_ARGUMENT an empty path; GLIA_ERR_IO; GLIA_ERR_NOMEM. */
glia_status glia_path_real(char **real, const char *path, glia_err *err);

/* Is `inner` the same file as `outer`, or does it lie below it? `inner` is a result of glia_path_real().
 * Files are compared by device and inode, so another mount of a directory is the same directory. */
bool glia_path_is_in(const char *inner, const char *outer);

/* Write a name that nobody can guess to `id`: 16 letters and digits. */
enum { GLIA_PATH_ID = 17 };
glia_status glia_path_id(char id[GLIA_PATH_ID], glia_err *err);

#endif
