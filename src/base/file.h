/* file.h - find and read files, join paths. Any thread may call these functions. */
#ifndef GLIA_BASE_FILE_H
#define GLIA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Open the regular file `path` for reading. The caller closes *fd. *len: its bytes.
 * Errors: GLIA_ERR_IO; the message names a link and its target. */
glia_status glia_file_open(int *fd, size_t *len, const char *path, glia_err *err);

/* Read a whole file into *text, NUL-terminated, which the caller frees with free().
 * Errors: GLIA_ERR_IO, also for what is not a regular file; GLIA_ERR_NOMEM; GLIA_ERR_LIMIT for more than
 * `max_bytes`. */
glia_status glia_read_file(char **text, size_t *len, const char *path, size_t max_bytes, glia_err *err);

/* Read all that comes from `fd`, also from a pipe, which is read once and in order. As glia_read_file();
 * `name` stands in messages. */
glia_status glia_read_all(char **text, size_t *len, int fd, const char *name, size_t max_bytes,
                          glia_err *err);

/* Look for an optional file or directory. *found is false only if the name does not exist. A name that exists
 * and is not what is wanted (a link that leads nowhere, a FIFO, a directory, a file in the place of a
 * directory) is GLIA_ERR_IO, and so is a name that cannot be looked up; the message has the link and its
 * target. */
glia_status glia_file_find(bool *found, const char *path, glia_err *err);
glia_status glia_dir_find(bool *found, const char *path, glia_err *err);
/* Does `path` name anything, be it a link that leads nowhere? */
bool glia_name_exists(const char *path);
bool glia_dir_exists(const char *path); /* a directory, or a link to one */

/* "dir/name", which the caller frees with free(); NULL without memory. */
char *glia_path_join(const char *dir, const char *name);

#endif
