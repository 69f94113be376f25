/* hub.h - find the directory of a model that the user names.
 *
 * The cache has huggingface_hub's layout: CACHE/models--ORG--NAME holds the file
 * refs/REVISION, which contains a commit, and the directory snapshots/COMMIT. The
 * command line reads the environment to find CACHE. */
#ifndef GLIA_FORMAT_HUB_H
#define GLIA_FORMAT_HUB_H

#include "base/err.h"

/* `model` is a directory or a Hub id: "ORG/NAME" or "NAME", optionally with
 * "@REVISION" (a branch, a tag or a commit; the default is main). If a directory
 * of that name exists, it wins over the cache. Without refs/main, the only
 * snapshot is used. `cache_dir` is NULL if there is no cache.
 * On success the caller owns *dir (free()); on failure *dir is NULL.
 * Errors: GLIA_ERR_IO        neither a directory nor in the cache; the message names both paths
 *         GLIA_ERR_ARGUMENT  not a directory and not a valid Hub id
 *         GLIA_ERR_FORMAT    a file in refs/ does not contain a commit */
glia_status glia_hub_resolve(char **dir, const char *model, const char *cache_dir, glia_err *err);

/* Fail if writing the file or directory `path` could change or hide a file of the model in `dir`: `path` is,
 * holds or lies in that directory, its repository in the cache, or a file or directory that a link of `dir`
 * leads to. Links on both sides are followed. Errors: GLIA_ERR_ARGUMENT names both; GLIA_ERR_IO,
 * GLIA_ERR_NOMEM. */
glia_status glia_hub_check_output(const char *dir, const char *path, glia_err *err);

#endif
