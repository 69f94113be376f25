/* written.h - the list, in a directory, of what Glia wrote there. It proves what may be deleted.
 *
 * glia_files.txt holds a line for the directory, with its id, then a line for each file and directory below
 * it, which is added before the file is made:
 *
 *   Glia wrote this directory and replaces it as a whole: id k3m5…
 *   d weights
 *   - weights/tp0_sharded_checkpoint.safetensors
 *   0f3c6a9d2b1e7788 tokenizer.json            glia_hash() of the file's bytes
 *
 * A name has at most one slash. Any thread may call these functions. */
#ifndef GLIA_BASE_WRITTEN_H
#define GLIA_BASE_WRITTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/path.h"

#define GLIA_WRITTEN_FILE "glia_files.txt"
#define GLIA_WRITTEN_TITLE "Glia wrote this directory and replaces it as a whole: id "

typedef struct {
    const char *hash; /* 16 digits; "-": a file whose bytes are not listed; "d": a directory */
    const char *name;
} glia_written_line;

typedef struct {
    char *text; /* owns all strings */
    const char *id;
    glia_written_line *line;
    size_t n;
} glia_written;

/* Read the list of `dir`. On success the caller ends with glia_written_free(); on failure *w is zeroed.
 * Errors: GLIA_ERR_IO there is no list, GLIA_ERR_FORMAT the file is none, GLIA_ERR_NOMEM. */
glia_status glia_written_read(glia_written *w, const char *dir, glia_err *err);
/* The same of the list's bytes. `where` stands in messages. */
glia_status glia_written_parse(glia_written *w, const char *bytes, size_t len, const char *where,
                               glia_err *err);
void glia_written_free(glia_written *w);

/* Fail if `dir` holds anything that is not in the list, or a file with other bytes than listed; the message
 * names it. With `unfinished`, bytes may differ. Errors: GLIA_ERR_IO. */
glia_status glia_written_prove(const glia_written *w, const char *dir, bool unfinished, glia_err *err);

/* Compare the bytes of the file `name` with their hash, if the list has one.
 * Errors: GLIA_ERR_IO the file is missing or was changed; the message has its path. */
glia_status glia_written_check(const glia_written *w, const char *dir, const char *name, glia_err *err);

/* Delete what is listed, the list and `dir`. Returns false if `dir` remains, because it holds something else.
 */
bool glia_written_remove(const glia_written *w, const char *dir);

#endif
