/* newdir.h - a directory that appears complete or not at all.
 *
 * Files are written to PATH.tmp-ID, a new name. glia_newdir_commit() renames it to PATH in one step, also
 * where PATH exists. Nothing is deleted but what a list (written.h) proves to be Glia's: the directory that
 * PATH was before, and what a killed process left in the place of a PATH.tmp-ID. A lock on PATH.tmp-ID tells
 * what is being filled from what was left. One thread uses a glia_newdir. */
#ifndef GLIA_BASE_NEWDIR_H
#define GLIA_BASE_NEWDIR_H

#include "base/err.h"
#include "base/unfinished.h"

typedef struct glia_newdir_entry glia_newdir_entry;

typedef struct {
    char *path, *temp; /* absolute; files are written below `temp` */
    int lock, list;    /* descriptors: of `temp`, and of its list of files */
    glia_newdir_entry *entry;
    size_t n; /* in the order in which they are made */
} glia_newdir;

/* `path` must be absent, an empty directory, or one that holds nothing but what Glia wrote.
 * On success the caller ends with commit or abandon; on failure *d is zeroed.
 * Errors: GLIA_ERR_ARGUMENT an empty path; GLIA_ERR_IO the message names what would be lost; GLIA_ERR_NOMEM.
 */
glia_status glia_newdir_begin(glia_newdir *d, const char *path, glia_err *err);
/* Make the directory temp/NAME. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_add(glia_newdir *d, const char *name, glia_err *err);
/* Write a new file temp/NAME of `n` bytes and sync it to the disk. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_write(glia_newdir *d, const char *name, const void *bytes, size_t n, glia_err *err);
/* The caller is about to make the file temp/NAME: *path, which the caller frees. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_claim(glia_newdir *d, const char *name, char **path, glia_err *err);
/* Rename `temp` to PATH and remove the directory that PATH was before. Frees *d; on
 * failure `temp` is removed too. Errors: GLIA_ERR_IO. */
glia_status glia_newdir_commit(glia_newdir *d, glia_err *err);
/* Remove what was made and free *d. A zeroed *d is fine. */
void glia_newdir_abandon(glia_newdir *d);

#endif
