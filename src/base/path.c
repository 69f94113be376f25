/* path.c - see path.h. */
#define _GNU_SOURCE
#include "base/path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"

/* A path that does not exist: its directory without links, then its last name. */
static glia_status real_of_new(char **real, const char *path, glia_err *err) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    char *copy = strndup(path, n);
    if (!copy) return glia_fail_nomem(err, n, "a path");
    char *slash = strrchr(copy, '/'), *name = slash ? slash + 1 : copy;
    if (slash) *slash = '\0';
    const char *dir = !slash ? "." : slash == copy ? "/" : copy;
    char *above = realpath(dir, NULL);
    *real = above ? glia_path_join(above, name) : NULL;
    const glia_status status =
        *real   ? GLIA_OK
        : above ? glia_fail_nomem(err, n, "a path")
                : glia_fail(err, GLIA_ERR_IO, "%s: cannot make it in %s: %s", path, dir, strerror(errno));
    free(above);
    free(copy);
    return status;
}

glia_status glia_path_real(char **real, const char *path, glia_err *err) {
    bool found;
    *real = NULL;
    if (!*path) return glia_fail(err, GLIA_ERR_ARGUMENT, "the name of what is to be written is empty");
    if (glia_name_exists(path) && (*real = realpath(path, NULL)) != NULL) return GLIA_OK;
    const glia_status status = glia_file_find(&found, path, err); /* a link that leads nowhere fails */
    return status ? status : real_of_new(real, path, err);
}

bool glia_path_is_in(const char *inner, const char *outer) {
    struct stat in, out;
    char *path = strdup(inner);
    bool is = false;
    if (!path || stat(outer, &out) != 0) {
        free(path);
        return false;
    }
    for (size_t n = strlen(path); !is && n > 0;) {
        path[n] = '\0';
        is = stat(path, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino;
        if (n == 1) break;
        while (n > 0 && path[n - 1] != '/') n--;
        if (n > 1) n--; /* "/" itself is the last */
    }
    free(path);
    return is;
}

glia_status glia_path_id(char id[GLIA_PATH_ID], glia_err *err) {
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char bytes[GLIA_PATH_ID - 1];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return glia_fail(err, GLIA_ERR_IO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) id[i] = digits[bytes[i] % 32];
    id[sizeof bytes] = '\0';
    return GLIA_OK;
}
