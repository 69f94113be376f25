/* newdir.h - a directory that appears complete or not at all.
 *
 * Files are written to "PATH.tmp". glia_newdir_commit() renames it to PATH in one
 * step, also where PATH exists. A lock on "PATH.tmp" distinguishes a directory that
 * another process is filling from what a killed process left, which is removed. */
#ifndef GLIA_BASE_NEWDIR_H
#define GLIA_BASE_NEWDIR_H

#include "base/err.h"

typedef struct {
    char *path, *temp; /* files are written below `temp` */
    int lock;
} glia_newdir;

/* `path` must be absent or an empty directory; with `replace` it may be any directory.
 * On success the caller ends with commit or abandon; on failure *d is zeroed.
 * Errors: GLIA_ERR_IO, GLIA_ERR_NOMEM. */
glia_status glia_newdir_begin(glia_newdir *d, const char *path, bool replace, glia_err *err);
/* Make the directory temp/NAME. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_add(const glia_newdir *d, const char *name, glia_err *err);
/* Write a new file temp/NAME of `n` bytes and sync it to the disk. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_write(const glia_newdir *d, const char *name, const void *bytes, size_t n,
                              glia_err *err);
/* Rename `temp` to PATH and remove the directory that PATH was before. Frees *d; on
 * failure `temp` is removed too. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_commit(glia_newdir *d, glia_err *err);
/* Remove `temp` and free *d. A zeroed *d is fine. */
void glia_newdir_abandon(glia_newdir *d);

#endif
