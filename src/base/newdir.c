/* newdir.c - see newdir.h. */
#define _GNU_SOURCE
#include "base/newdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

static glia_status fail_errno(glia_err *err, const char *path, const char *what) {
    return glia_fail(err, GLIA_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static int remove_tree(const char *path) { return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* Whether `path` is a directory that is not empty. */
static bool is_filled(const char *path) {
    const struct dirent *entry;
    DIR *dir = opendir(path);
    bool filled = false;
    while (dir && !filled && (entry = readdir(dir)))
        filled = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir) closedir(dir);
    return filled;
}

static int sync_dir(const char *path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int failed = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0) close(fd);
    return failed;
}

/* Make d->temp, empty and locked. */
static glia_status make_temp(glia_newdir *d, glia_err *err) {
    if (mkdir(d->temp, 0777) != 0 && errno != EEXIST) return fail_errno(err, d->temp, "cannot make it");
    d->lock = open(d->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->lock < 0) return fail_errno(err, d->temp, "cannot open it");
    if (flock(d->lock, LOCK_EX | LOCK_NB) != 0)
        return glia_fail(err, GLIA_ERR_IO, "%s: another process is writing it", d->temp);
    if (!is_filled(d->temp)) return GLIA_OK;
    if (remove_tree(d->temp) != 0) return fail_errno(err, d->temp, "cannot remove it");
    close(d->lock);
    d->lock = -1;
    if (mkdir(d->temp, 0777) != 0) return fail_errno(err, d->temp, "cannot make it");
    d->lock = open(d->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->lock < 0 || flock(d->lock, LOCK_EX | LOCK_NB) != 0)
        return fail_errno(err, d->temp, "cannot lock it");
    return GLIA_OK;
}

static void release(glia_newdir *d) {
    if (d->lock >= 0) close(d->lock);
    free(d->path);
    free(d->temp);
    memset(d, 0, sizeof *d);
    d->lock = -1;
}

glia_status glia_newdir_begin(glia_newdir *d, const char *path, bool replace, glia_err *err) {
    struct stat info;
    glia_buf temp = {0};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    *d = (glia_newdir){.path = strndup(path, n), .lock = -1};
    glia_buf_add(&temp, path, n);
    glia_buf_puts(&temp, ".tmp");
    d->temp = glia_buf_steal(&temp);
    glia_status status = GLIA_OK;
    if (!d->path || !d->temp)
        status = glia_fail_nomem(err, n, "a path");
    else if (lstat(d->path, &info) == 0 && !S_ISDIR(info.st_mode))
        status = glia_fail(err, GLIA_ERR_IO, "%s: exists and is not a directory", d->path);
    else if (!replace && is_filled(d->path))
        status = glia_fail(err, GLIA_ERR_IO,
                           "%s: exists and is not empty; give another directory or remove it", d->path);
    else
        status = make_temp(d, err);
    if (status) release(d); /* not abandon: `temp` is empty or belongs to another process */
    return status;
}

glia_status glia_newdir_add(const glia_newdir *d, const char *name, glia_err *err) {
    char *path = glia_path_join(d->temp, name);
    if (!path) return glia_fail_nomem(err, strlen(name), "a path");
    const glia_status status = mkdir(path, 0777) == 0 ? GLIA_OK : fail_errno(err, path, "cannot make it");
    free(path);
    return status;
}

static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        bytes += k;
        n -= (size_t)k;
    }
    return fsync(fd);
}

glia_status glia_newdir_write(const glia_newdir *d, const char *name, const void *bytes, size_t n,
                              glia_err *err) {
    char *path = glia_path_join(d->temp, name);
    if (!path) return glia_fail_nomem(err, strlen(name), "a path");
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    glia_status status = GLIA_OK;
    if (fd < 0 || write_all(fd, bytes, n) != 0) status = fail_errno(err, path, "cannot write it");
    if (fd >= 0 && close(fd) != 0 && !status) status = fail_errno(err, path, "cannot write it");
    free(path);
    return status;
}

/* Sync the parent of PATH, which holds the new name. */
static void sync_parent(const glia_newdir *d) {
    char *parent = strdup(d->path);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash) slash[slash == parent] = '\0';
    if (parent) sync_dir(slash ? parent : ".");
    free(parent);
}

glia_status glia_newdir_commit(glia_newdir *d, glia_err *err) {
    glia_status status = GLIA_OK;
    sync_dir(d->temp);
    if (is_filled(d->path)) {
        if (renameat2(AT_FDCWD, d->temp, AT_FDCWD, d->path, RENAME_EXCHANGE) != 0)
            status = fail_errno(err, d->path, "cannot be replaced, remove it first");
        /* `temp` now names the old directory, or still the new one; abandon removes it */
    } else if (rename(d->temp, d->path) != 0) {
        status = fail_errno(err, d->temp, "cannot be renamed");
    } else {
        free(d->temp);
        d->temp = NULL;
    }
    if (!status) sync_parent(d);
    glia_newdir_abandon(d);
    return status;
}

void glia_newdir_abandon(glia_newdir *d) {
    if (d->temp) remove_tree(d->temp);
    if (d->path) release(d);
}
