/* written.c - see written.h. */
#define _GNU_SOURCE
#include "base/written.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"

enum { LIST_MAX = 16 << 20 };

static bool is_directory(const glia_written_line *l) { return strcmp(l->hash, "d") == 0; }
static bool has_hash(const glia_written_line *l) { return strlen(l->hash) == GLIA_HASH_HEX - 1; }

static const glia_written_line *find(const glia_written *w, const char *name) {
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->line[i].name, name) == 0) return &w->line[i];
    return NULL;
}

/* ---- read ----------------------------------------------------------------------- */

/* Is it a name in the directory, or in a directory that an earlier line lists? */
static bool is_name(const glia_written *w, const char *name) {
    char above[NAME_MAX + 1];
    const char *slash = strchr(name, '/'), *last = slash ? slash + 1 : name;
    if (!*last || strchr(last, '/') || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) return false;
    if (!slash) return true;
    snprintf(above, sizeof above, "%.*s", (int)(slash - name), name);
    const glia_written_line *l = find(w, above);
    return l && is_directory(l);
}

static bool parse(glia_written *w) {
    static const char title[] = GLIA_WRITTEN_TITLE;
    char *rest, *line = strtok_r(w->text, "\n", &rest);
    if (!line || strncmp(line, title, sizeof title - 1) != 0) return false;
    w->id = line + sizeof title - 1;
    if (strlen(w->id) != GLIA_PATH_ID - 1) return false;
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        char *blank = strchr(line, ' ');
        if (!blank) return false;
        *blank = '\0';
        const glia_written_line l = {.hash = line, .name = blank + 1};
        if (!is_name(w, l.name) || (!is_directory(&l) && strcmp(l.hash, "-") != 0 && !has_hash(&l)))
            return false;
        w->line[w->n++] = l;
    }
    return true;
}

glia_status glia_written_parse(glia_written *w, const char *bytes, size_t len, const char *where,
                               glia_err *err) {
    size_t lines = 1;
    for (size_t i = 0; i < len; i++) lines += bytes[i] == '\n';
    *w = (glia_written){.text = malloc(len + 1), .line = calloc(lines, sizeof *w->line)};
    glia_status status = w->text && w->line ? GLIA_OK : glia_fail_nomem(err, lines * sizeof *w->line, where);
    if (!status) {
        memcpy(w->text, bytes, len);
        w->text[len] = '\0';
        if (memchr(bytes, '\0', len) || !parse(w))
            status = glia_fail(err, GLIA_ERR_FORMAT, "%s: is no list of files that Glia wrote", where);
    }
    if (status) glia_written_free(w);
    return status;
}

glia_status glia_written_read(glia_written *w, const char *dir, glia_err *err) {
    char *bytes, *path = glia_path_join(dir, GLIA_WRITTEN_FILE);
    size_t len;
    *w = (glia_written){0};
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    glia_status status = glia_read_file(&bytes, &len, path, LIST_MAX, err);
    if (!status) {
        status = glia_written_parse(w, bytes, len, path, err);
        free(bytes);
    }
    free(path);
    return status;
}

void glia_written_free(glia_written *w) {
    free(w->text);
    free(w->line);
    *w = (glia_written){0};
}

/* ---- prove ---------------------------------------------------------------------- */

static glia_status check_bytes(const glia_written_line *l, const char *path, glia_err *err) {
    char *bytes, hex[GLIA_HASH_HEX];
    size_t n;
    const glia_status status = glia_read_file(&bytes, &n, path, SIZE_MAX / 4, err);
    if (status) return status;
    glia_hash_hex(hex, glia_hash(bytes, n, 0));
    free(bytes);
    return strcmp(hex, l->hash) == 0 ? GLIA_OK : glia_fail(err, GLIA_ERR_IO, "%s was changed", path);
}

static glia_status prove_one(const glia_written *w, const char *dir, const char *name, bool unfinished,
                             glia_err *err) {
    struct stat info;
    char *path = glia_path_join(dir, name);
    if (!path) return glia_fail_nomem(err, strlen(dir), "a path");
    const glia_written_line *l = find(w, name);
    glia_status status = GLIA_OK;
    if (strcmp(name, GLIA_WRITTEN_FILE) == 0) {
        /* read already */
    } else if (!l || lstat(path, &info) != 0 ||
               (is_directory(l) ? !S_ISDIR(info.st_mode) : !S_ISREG(info.st_mode))) {
        status = glia_fail(err, GLIA_ERR_IO, "Glia did not write %s", path);
    } else if (!unfinished && has_hash(l)) {
        status = check_bytes(l, path, err);
    }
    free(path);
    return status;
}

/* Prove the entries of dir/below; "" for dir itself. */
static glia_status prove_entries(const glia_written *w, const char *dir, const char *below, bool unfinished,
                                 glia_err *err) {
    char *path = glia_path_join(dir, below);
    DIR *entries = path ? opendir(path) : NULL;
    glia_status status = GLIA_OK;
    if (!path)
        status = glia_fail_nomem(err, strlen(dir), "a path");
    else if (!entries && errno != ENOENT) /* a listed directory may be gone */
        status = glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
    for (const struct dirent *e; !status && entries && (e = readdir(entries));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *name = glia_path_join(below, e->d_name);
        status = name ? prove_one(w, dir, name, unfinished, err) : glia_fail_nomem(err, 0, "a path");
        free(name);
    }
    if (entries) closedir(entries);
    free(path);
    return status;
}

glia_status glia_written_prove(const glia_written *w, const char *dir, bool unfinished, glia_err *err) {
    glia_status status = prove_entries(w, dir, "", unfinished, err); /* directories are no links, then */
    for (size_t i = 0; !status && i < w->n; i++)
        if (is_directory(&w->line[i])) status = prove_entries(w, dir, w->line[i].name, unfinished, err);
    return status;
}

glia_status glia_written_check(const glia_written *w, const char *dir, const char *name, glia_err *err) {
    const glia_written_line *l = find(w, name);
    if (!l || !has_hash(l)) return GLIA_OK;
    char *path = glia_path_join(dir, name);
    const glia_status status = path ? check_bytes(l, path, err) : glia_fail_nomem(err, strlen(dir), "a path");
    free(path);
    return status;
}

/* ---- remove --------------------------------------------------------------------- */

static void remove_name(const char *dir, const char *name, bool directory) {
    char *path = glia_path_join(dir, name);
    if (path && directory) rmdir(path);
    if (path && !directory) unlink(path);
    free(path);
}

bool glia_written_remove(const glia_written *w, const char *dir) {
    for (size_t i = w->n; i-- > 0;) remove_name(dir, w->line[i].name, is_directory(&w->line[i]));
    remove_name(dir, GLIA_WRITTEN_FILE, false);
    return rmdir(dir) == 0;
}
