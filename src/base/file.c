/* file.c - see file.h. */
#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

/* ---- words about a path -------------------------------------------------------- */

/* The first link on the way along `path` that leads nowhere, else `path` itself if it is a link. Its name
 * goes to `link` and what it says to `target`; false: there is none. */
static bool find_link(const char *path, char link[PATH_MAX], char target[PATH_MAX]) {
    struct stat info;
    ssize_t n = -1;
    for (size_t at = 0, end; path[at] && strlen(path) < PATH_MAX; at = end) {
        end = at + strspn(path + at, "/");
        end += strcspn(path + end, "/");
        snprintf(link, PATH_MAX, "%.*s", (int)end, path);
        if (lstat(link, &info) != 0) break;
        if (!S_ISLNK(info.st_mode) || (path[end] && stat(link, &info) == 0)) continue;
        n = readlink(link, target, PATH_MAX - 1);
        break;
    }
    target[n < 0 ? 0 : n] = '\0';
    return n >= 0;
}

/* "PATH: why", naming the link that is to blame. */
static glia_status fail_path(glia_err *err, const char *path, const char *why) {
    char link[PATH_MAX], target[PATH_MAX];
    if (!find_link(path, link, target)) return glia_fail(err, GLIA_ERR_IO, "%s: %s", path, why);
    if (strcmp(link, path) == 0)
        return glia_fail(err, GLIA_ERR_IO, "%s: a link to %.200s: %s", path, target, why);
    return glia_fail(err, GLIA_ERR_IO, "%s: %.200s is a link to %.200s: %s", path, link, target, why);
}

static const char *kind_of(mode_t mode) {
    static const struct {
        mode_t kind;
        const char *name;
    } kinds[] = {
        {S_IFDIR, "a directory"},        {S_IFIFO, "a FIFO"},         {S_IFSOCK, "a socket"},
        {S_IFCHR, "a character device"}, {S_IFBLK, "a block device"}, {S_IFREG, "a file"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((mode & S_IFMT) == kinds[i].kind) return kinds[i].name;
    return "something else";
}

/* Fail unless `mode` is of the kind S_IFREG or S_IFDIR. */
static glia_status check_kind(mode_t mode, mode_t kind, const char *path, glia_err *err) {
    char why[80];
    if ((mode & S_IFMT) == kind) return GLIA_OK;
    snprintf(why, sizeof why, "%s, not a %s", kind_of(mode), kind == S_IFDIR ? "directory" : "regular file");
    return fail_path(err, path, why);
}

static glia_status find(bool *found, const char *path, mode_t kind, glia_err *err) {
    struct stat info;
    char link[PATH_MAX], target[PATH_MAX];
    *found = false;
    if (stat(path, &info) == 0) {
        const glia_status status = check_kind(info.st_mode, kind, path, err);
        *found = !status;
        return status;
    }
    const int why = errno;
    const bool absent = why == ENOENT || why == ENOTDIR || why == ENAMETOOLONG;
    if (absent && !find_link(path, link, target)) return GLIA_OK;
    return fail_path(err, path, strerror(why));
}

glia_status glia_file_find(bool *found, const char *path, glia_err *err) {
    return find(found, path, S_IFREG, err);
}

glia_status glia_dir_find(bool *found, const char *path, glia_err *err) {
    return find(found, path, S_IFDIR, err);
}

bool glia_name_exists(const char *path) {
    bool found;
    return find(&found, path, S_IFREG, NULL) || found;
}

/* ---- reading ------------------------------------------------------------------- */

glia_status glia_file_open(int *fd, size_t *len, const char *path, glia_err *err) {
    struct stat info;
    /* opening a FIFO would wait for a writer without O_NONBLOCK, which regular files ignore */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return fail_path(err, path, strerror(errno));
    glia_status status;
    if (fstat(*fd, &info) != 0)
        status = fail_path(err, path, strerror(errno));
    else
        status = check_kind(info.st_mode, S_IFREG, path, err);
    if (status) close(*fd);
    *len = (size_t)info.st_size;
    return status;
}

glia_status glia_read_all(char **text, size_t *len, int fd, const char *name, size_t max_bytes,
                          glia_err *err) {
    enum { STEP = 1 << 16 };
    glia_buf b = {0};
    ssize_t n = 1;
    int failed = 0;
    *text = NULL;
    *len = 0;
    while (n != 0 && !failed && b.len <= max_bytes && glia_buf_reserve(&b, STEP)) {
        n = read(fd, b.data + b.len, STEP);
        if (n > 0) b.len += (size_t)n;
        if (n < 0 && errno != EINTR) failed = errno;
    }
    glia_status status = GLIA_OK;
    if (failed)
        status = glia_fail(err, GLIA_ERR_IO, "%s: %s", name, strerror(failed));
    else if (b.len > max_bytes)
        status =
            glia_fail(err, GLIA_ERR_LIMIT, "%s: more than %zu bytes, which is the limit", name, max_bytes);
    else if (!b.oom)
        b.data[b.len] = '\0';
    *len = b.len;
    if (!status && (*text = glia_buf_steal(&b)) == NULL) status = glia_fail_nomem(err, *len, name);
    if (status) *len = 0;
    glia_buf_free(&b);
    return status;
}

glia_status glia_read_file(char **text, size_t *len, const char *path, size_t max_bytes, glia_err *err) {
    int fd;
    size_t size;
    *text = NULL;
    *len = 0;
    glia_status status = glia_file_open(&fd, &size, path, err);
    if (status) return status;
    if (size > max_bytes)
        status = glia_fail(err, GLIA_ERR_LIMIT, "%s: %zu bytes, limit is %zu", path, size, max_bytes);
    else
        status = glia_read_all(text, len, fd, path, max_bytes, err);
    close(fd);
    if (!status && size && *len != size) { /* a file of /proc has no size */
        status = glia_fail(err, GLIA_ERR_IO, "%s: changed from %zu to %zu bytes while it was read", path,
                           size, *len);
        free(*text);
        *text = NULL;
        *len = 0;
    }
    return status;
}

bool glia_dir_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *glia_path_join(const char *dir, const char *name) {
    glia_buf b = {0};
    glia_buf_puts(&b, dir);
    if (b.len && b.data[b.len - 1] != '/') glia_buf_putc(&b, '/');
    glia_buf_puts(&b, name);
    return glia_buf_steal(&b);
}
