/* newdir.h - a directory that comes into being whole or not at all.
 *
 * Files go to "PATH.tmp" until glia_newdir_commit() renames it to PATH, in one
 * step also where PATH exists. A lock tells a leftover of a killed process,
 * which is cleared, from one that another process is filling. */
#ifndef GLIA_BASE_NEWDIR_H
#define GLIA_BASE_NEWDIR_H

#include "base/err.h"

typedef struct {
    char *path, *temp; /* write below `temp` */
    int lock;
} glia_newdir;

/* PATH may be absent or an empty directory; with `replace` any directory. On
 * success end by commit or abandon; on failure *d is zeroed. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_begin(glia_newdir *d, const char *path, bool replace, glia_err *err);
/* Make the directory temp/NAME. */
glia_status glia_newdir_add(const glia_newdir *d, const char *name, glia_err *err);
/* Write `n` bytes to temp/NAME, down to the disk. */
glia_status glia_newdir_write(const glia_newdir *d, const char *name, const void *bytes, size_t n,
                              glia_err *err);
/* Rename, and remove what stood at PATH before. Frees *d, also on failure, when nothing of it is left. */
glia_status glia_newdir_commit(glia_newdir *d, glia_err *err);
/* Leave nothing. A zeroed *d is fine. */
void glia_newdir_abandon(glia_newdir *d);

#endif
