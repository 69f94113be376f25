/* map.h - files mapped into memory, and what happens when they change. */
#ifndef GLIA_BASE_MAP_H
#define GLIA_BASE_MAP_H

#include <stddef.h>

#include "base/err.h"

typedef struct glia_mapping glia_mapping; /* of map.c */

typedef struct {
    const unsigned char *data; /* NULL for an empty file */
    size_t len;
    glia_mapping *mapping; /* NULL for an empty file */
} glia_map;

/* Map `path` for reading. On success the caller must glia_map_close(); on failure
 * *m is zeroed. Any thread. Errors: GLIA_ERR_IO with the path and the reason, also for what is not
 * a regular file. */
glia_status glia_map_open(glia_map *m, const char *path, glia_err *err);
void glia_map_close(glia_map *m);
/* Tell Linux that bytes [from, from + n) were read for the last time, so that they
 * stop counting as resident. Applies to whole pages inside the range. Any thread. */
void glia_map_drop(const glia_map *m, size_t from, size_t n);

/* The path as it was opened; "" for an empty file. Valid until glia_map_close(). */
const char *glia_map_path(const glia_map *m);
/* Fail if the file was cut, extended or written to since it was opened, or if bytes of it could not be read,
 * which glia_catch_sigbus() of glia.h notices. Another file that was renamed to the path changes nothing.
 * Allocates nothing. Any thread. Errors: GLIA_ERR_IO. */
glia_status glia_map_check(const glia_map *m, glia_err *err);

#endif
