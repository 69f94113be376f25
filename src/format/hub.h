/* hub.h - from what a user calls a model to its directory.
 *
 * The cache is huggingface_hub's: CACHE/models--ORG--NAME holds refs/REVISION,
 * a file with a commit, and snapshots/COMMIT, the directory. Reading the
 * environment for CACHE is the command line's work. */
#ifndef GLIA_FORMAT_HUB_H
#define GLIA_FORMAT_HUB_H

#include "base/err.h"

/* `model` is a directory, or "ORG/NAME" or "NAME", with "@REVISION" (a branch, a
 * tag or a commit; else main) where another is wanted. A directory wins. With no
 * refs/main a lone snapshot counts. `cache_dir` may be NULL: there is none.
 * *dir is owned by the caller (free()), NULL on failure.
 * Errors: GLIA_ERR_IO        neither a directory nor in the cache; both places are named
 *         GLIA_ERR_ARGUMENT  no directory, and no id could look like this
 *         GLIA_ERR_FORMAT    a file in refs/ is no commit */
glia_status glia_hub_resolve(char **dir, const char *model, const char *cache_dir, glia_err *err);

#endif
