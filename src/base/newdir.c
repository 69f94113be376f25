/* newdir.c - see newdir.h. */
#define _GNU_SOURCE
#include "base/newdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/written.h"

struct glia_newdir_entry {
    char *path; /* absolute */
    bool directory;
    glia_unfinished *mark;
};

static const char suffix[] = ".tmp-";

static glia_status fail_errno(glia_err *err, const char *path, const char *what) {
    return glia_fail(err, GLIA_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

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

/* "DIR", "NAME" of "DIR/NAME", an absolute path. The caller frees *dir. */
static const char *split(char **dir, const char *path) {
    const char *slash = strrchr(path, '/');
    *dir = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    return slash + 1;
}

/* ---- what was there before ------------------------------------------------------ */

/* Read the list of the directory PATH, and fail if it holds anything that Glia did not write. */
static glia_status prove_ours(glia_written *w, const char *path, glia_err *err) {
    glia_err why = {0};
    glia_status status = glia_written_read(w, path, &why);
    if (!status && (status = glia_written_prove(w, path, false, &why))) glia_written_free(w);
    if (status == GLIA_ERR_NOMEM) return glia_fail(err, status, "%s", why.msg);
    if (!status) return GLIA_OK;
    return glia_fail(
        err, GLIA_ERR_IO,
        "%.150s: exists and is not empty; give another directory or remove it (only what Glia wrote is "
        "replaced: %.200s)",
        path, why.msg);
}

/* Remove `path`, if a killed process left it: its list has the id of its name, and nobody holds its lock. */
static void sweep(const char *path, const char *id) {
    glia_written w;
    const int lock = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0 && !glia_written_read(&w, path, NULL)) {
        if (strcmp(w.id, id) == 0 && !glia_written_prove(&w, path, true, NULL)) glia_written_remove(&w, path);
        glia_written_free(&w);
    }
    if (lock >= 0) close(lock);
}

/* Remove what killed processes left beside PATH. */
static void sweep_all(const char *path) {
    char *dir;
    const char *name = split(&dir, path);
    const size_t n = strlen(name);
    DIR *entries = dir ? opendir(dir) : NULL;
    for (const struct dirent *e; entries && (e = readdir(entries));) {
        if (strncmp(e->d_name, name, n) != 0 || strncmp(e->d_name + n, suffix, sizeof suffix - 1) != 0)
            continue;
        char *left = glia_path_join(dir, e->d_name);
        if (left) sweep(left, e->d_name + n + sizeof suffix - 1);
        free(left);
    }
    if (entries) closedir(entries);
    free(dir);
}

/* ---- begin ---------------------------------------------------------------------- */

static glia_status check_target(const char *path, glia_err *err) {
    struct stat info;
    glia_written old;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? GLIA_OK : fail_errno(err, path, "cannot look at it");
    if (!S_ISDIR(info.st_mode)) return glia_fail(err, GLIA_ERR_IO, "%s: exists and is not a directory", path);
    if (!is_filled(path)) return GLIA_OK;
    const glia_status status = prove_ours(&old, path, err);
    if (!status) glia_written_free(&old);
    return status;
}

/* Note that `path` is about to be made. */
static glia_status note(glia_newdir *d, const char *path, bool directory, glia_err *err) {
    glia_newdir_entry e = {.path = strdup(path), .directory = directory};
    glia_newdir_entry *grown = realloc(d->entry, (d->n + 1) * sizeof *grown);
    if (grown) d->entry = grown;
    glia_status status = e.path && grown ? GLIA_OK : glia_fail_nomem(err, strlen(path), "a path");
    if (!status) status = glia_unfinished_add(&e.mark, path, err);
    if (status)
        free(e.path);
    else
        d->entry[d->n++] = e;
    return status;
}

static glia_status make_temp(glia_newdir *d, glia_err *err) {
    glia_status status = note(d, d->temp, true, err);
    if (status) return status;
    if (mkdir(d->temp, 0777) != 0) {
        d->n--; /* another program's, or not there */
        glia_unfinished_done(d->entry[d->n].mark);
        free(d->entry[d->n].path);
        return fail_errno(err, d->path, "cannot make it");
    }
    d->lock = open(d->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->lock < 0 || flock(d->lock, LOCK_EX | LOCK_NB) != 0)
        return fail_errno(err, d->temp, "cannot lock it");
    return GLIA_OK;
}

/* Write all bytes. Returns -1 with errno. */
static int write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        const ssize_t k = write(fd, bytes, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        bytes += k;
        n -= (size_t)k;
    }
    return 0;
}

static glia_status begin_list(glia_newdir *d, const char *id, glia_err *err) {
    char title[120], *path = glia_path_join(d->temp, GLIA_WRITTEN_FILE);
    if (!path) return glia_fail_nomem(err, strlen(d->temp), "a path");
    glia_status status = note(d, path, false, err);
    if (!status) {
        snprintf(title, sizeof title, GLIA_WRITTEN_TITLE "%s\n", id);
        d->list = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (d->list < 0 || write_all(d->list, title, strlen(title)) != 0)
            status = fail_errno(err, path, "cannot write it");
    }
    free(path);
    return status;
}

static char *temp_name(const char *path, const char *id) {
    glia_buf b = {0};
    glia_buf_printf(&b, "%s%s%s", path, suffix, id);
    return glia_buf_steal(&b);
}

glia_status glia_newdir_begin(glia_newdir *d, const char *path, glia_err *err) {
    char id[GLIA_PATH_ID];
    *d = (glia_newdir){.lock = -1, .list = -1};
    glia_status status = glia_path_real(&d->path, path, err);
    if (!status) status = check_target(d->path, err);
    if (!status) status = glia_path_id(id, err);
    if (!status && !(d->temp = temp_name(d->path, id))) status = glia_fail_nomem(err, strlen(path), "a path");
    if (!status) sweep_all(d->path);
    if (!status) status = make_temp(d, err);
    if (!status) status = begin_list(d, id, err);
    if (status) glia_newdir_abandon(d);
    return status;
}

/* ---- fill ----------------------------------------------------------------------- */

/* Add a line to the list, then note temp/NAME. *path is the caller's to free. */
static glia_status claim(glia_newdir *d, const char *name, const char *hash, char **path, glia_err *err) {
    glia_buf line = {0};
    *path = NULL;
    if (strchr(name, '\n'))
        return glia_fail(err, GLIA_ERR_IO, "%s: the name has a line break, which a list of files cannot hold",
                         name);
    glia_buf_printf(&line, "%s %s\n", hash, name);
    glia_status status = line.oom ? glia_fail_nomem(err, strlen(name), "a path") : GLIA_OK;
    if (!status && write_all(d->list, line.data, line.len) != 0)
        status = fail_errno(err, d->temp, "cannot write in it");
    if (!status && !(*path = glia_path_join(d->temp, name)))
        status = glia_fail_nomem(err, strlen(name), "a path");
    if (!status) status = note(d, *path, strcmp(hash, "d") == 0, err);
    if (status) {
        free(*path);
        *path = NULL;
    }
    glia_buf_free(&line);
    return status;
}

glia_status glia_newdir_add(glia_newdir *d, const char *name, glia_err *err) {
    char *path;
    glia_status status = claim(d, name, "d", &path, err);
    if (!status && mkdir(path, 0777) != 0) status = fail_errno(err, path, "cannot make it");
    free(path);
    return status;
}

glia_status glia_newdir_write(glia_newdir *d, const char *name, const void *bytes, size_t n, glia_err *err) {
    char *path, hash[GLIA_HASH_HEX];
    glia_hash_hex(hash, glia_hash(bytes, n, 0));
    glia_status status = claim(d, name, hash, &path, err);
    if (status) return status;
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || write_all(fd, bytes, n) != 0 || fsync(fd) != 0)
        status = fail_errno(err, path, "cannot write it");
    if (fd >= 0 && close(fd) != 0 && !status) status = fail_errno(err, path, "cannot write it");
    free(path);
    return status;
}

glia_status glia_newdir_claim(glia_newdir *d, const char *name, char **path, glia_err *err) {
    return claim(d, name, "-", path, err);
}

/* ---- end ------------------------------------------------------------------------ */

/* Free *d; what it noted is complete, or removed. */
static void release(glia_newdir *d) {
    if (d->lock >= 0) close(d->lock);
    if (d->list >= 0) close(d->list);
    for (size_t i = 0; i < d->n; i++) {
        glia_unfinished_done(d->entry[i].mark);
        free(d->entry[i].path);
    }
    free(d->entry);
    free(d->path);
    free(d->temp);
    *d = (glia_newdir){.lock = -1, .list = -1};
}

/* Sync all directories. */
static void sync_all(const glia_newdir *d) {
    fsync(d->list);
    for (size_t i = d->n; i-- > 0;)
        if (d->entry[i].directory) sync_dir(d->entry[i].path);
}

static void sync_parent(const glia_newdir *d) {
    char *dir;
    split(&dir, d->path);
    if (dir) sync_dir(dir);
    free(dir);
}

/* Exchange PATH, which holds what `old` lists, with `temp`, and delete what `temp` then is. */
static glia_status exchange(glia_newdir *d, const glia_written *old, glia_err *err) {
    glia_status status = GLIA_OK;
    for (size_t i = 0; !status && i < old->n; i++) { /* until they are deleted, a signal must find them */
        char *path = glia_path_join(d->temp, old->line[i].name);
        status = path ? note(d, path, strcmp(old->line[i].hash, "d") == 0, err)
                      : glia_fail_nomem(err, 0, "a path");
        free(path);
    }
    if (status) return status;
    if (renameat2(AT_FDCWD, d->temp, AT_FDCWD, d->path, RENAME_EXCHANGE) != 0)
        return fail_errno(err, d->path, "cannot be replaced, remove it first");
    if (!glia_written_remove(old, d->temp))
        status = glia_fail(err, GLIA_ERR_IO,
                           "%.200s: complete; what it held before could not be removed from %.200s", d->path,
                           d->temp);
    return status;
}

glia_status glia_newdir_commit(glia_newdir *d, glia_err *err) {
    glia_status status = GLIA_OK;
    sync_all(d);
    if (is_filled(d->path)) {
        glia_written old;
        status = prove_ours(&old, d->path, err); /* again: writing took its time */
        if (!status) status = exchange(d, &old, err);
        glia_written_free(&old);
    } else if (rename(d->temp, d->path) != 0) {
        status = fail_errno(err, d->temp, "cannot be renamed");
    }
    sync_parent(d);
    if (status)
        glia_newdir_abandon(d);
    else
        release(d);
    return status;
}

void glia_newdir_abandon(glia_newdir *d) {
    for (size_t i = d->n; i-- > 0;) {
        if (d->entry[i].directory)
            rmdir(d->entry[i].path);
        else
            unlink(d->entry[i].path);
    }
    if (d->path || d->n) release(d);
    *d = (glia_newdir){.lock = -1, .list = -1};
}
