/* file.h - files mapped or read whole, and paths put together. */
#ifndef GLIA_BASE_FILE_H
#define GLIA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef struct {
    const unsigned char *data; /* NULL for an empty file */
    size_t len;
} glia_map;

/* Map `path` for reading. On success the caller must glia_map_close(); on
 * failure *m is zeroed. Errors: GLIA_ERR_IO with the path and the reason
 * (a directory is one). */
glia_status glia_map_open(glia_map *m, const char *path, glia_err *err);
void glia_map_close(glia_map *m);
/* Tell the kernel that bytes [from, from + n) were read for the last time, so
 * they stop counting as resident. Only whole pages inside the range go. */
void glia_map_drop(const glia_map *m, size_t from, size_t n);

/* The whole file, NUL-terminated, owned by the caller (free()). A file of more
 * than `max_bytes` is GLIA_ERR_LIMIT naming both numbers. */
glia_status glia_read_file(char **text, size_t *len, const char *path, size_t max_bytes, glia_err *err);

bool glia_file_exists(const char *path); /* a regular file, or a link to one */
bool glia_dir_exists(const char *path);

/* "dir/name", owned by the caller (free()); NULL when out of memory. */
char *glia_path_join(const char *dir, const char *name);

#endif
