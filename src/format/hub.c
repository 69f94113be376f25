/* hub.c - see hub.h. */
#define _GNU_SOURCE
#include "format/hub.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/path.h"

enum { REF_MAX = 256, ID_MAX = 96 };

/* The Hub's rule for names: letters, digits, '-', '_' and '.', and the first
 * character is not '.' or '-'. */
static bool is_name(const char *s, size_t n) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    return n > 0 && n <= ID_MAX && s[0] != '.' && s[0] != '-' && strspn(s, allowed) >= n;
}

/* A revision is one or more names joined by '/': "main", "refs/pr/1", a commit. */
static bool is_revision(const char *s) {
    for (;;) {
        const size_t n = strcspn(s, "/");
        if (!is_name(s, n)) return false;
        if (!s[n]) return true;
        s += n + 1;
    }
}

/* The folder of the repository `id` in the cache; NULL if `id` is not a valid id. */
static char *repo_dir(const char *cache_dir, const char *id, size_t n) {
    const char *slash = memchr(id, '/', n);
    const size_t org = slash ? (size_t)(slash - id) : 0;
    if (slash && !is_name(id, org)) return NULL;
    const char *name = slash ? slash + 1 : id;
    const size_t len = n - (size_t)(name - id);
    if (!is_name(name, len)) return NULL;
    glia_buf b = {0};
    glia_buf_printf(&b, "%s/models--%.*s%s%.*s", cache_dir, (int)org, id, slash ? "--" : "", (int)len, name);
    return glia_buf_steal(&b);
}

static char *join3(const char *a, const char *b, const char *c) {
    glia_buf path = {0};
    glia_buf_printf(&path, "%s/%s/%s", a, b, c);
    return glia_buf_steal(&path);
}

/* Read the commit in refs/REVISION; *commit stays NULL if there is no such file. */
static glia_status read_ref(char **commit, const char *repo, const char *revision, glia_err *err) {
    size_t len;
    bool found;
    char *path = join3(repo, "refs", revision);
    if (!path) return glia_fail_nomem(err, strlen(repo) + 32, "a path");
    glia_status status = glia_file_find(&found, path, err);
    if (found) status = glia_read_file(commit, &len, path, REF_MAX, err);
    if (*commit) {
        const size_t n = strcspn(*commit, " \t\r\n");
        (*commit)[n] = '\0';
        if (!is_name(*commit, n)) {
            status = glia_fail(err, GLIA_ERR_FORMAT, "%s: expected a commit, found \"%.40s\"", path, *commit);
            free(*commit);
            *commit = NULL;
        }
    }
    free(path);
    return status;
}

/* Append the names in repo/snapshots to `names`, separated by ", ", and the first
 * of them to `only`. Returns how many names there are. */
static int list_snapshots(const char *repo, glia_buf *names, glia_buf *only) {
    int n = 0;
    char *path = glia_path_join(repo, "snapshots");
    DIR *dir = path ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        glia_buf_printf(names, "%s%s", n ? ", " : "", e->d_name);
        if (n++ == 0) glia_buf_puts(only, e->d_name);
    }
    if (dir) closedir(dir);
    free(path);
    return n;
}

/* `revision` is NULL if the user named none. */
static glia_status find_snapshot(char **dir, const char *repo, const char *revision, glia_err *err) {
    glia_buf names = {0}, only = {0};
    char *commit = NULL;
    glia_status status = read_ref(&commit, repo, revision ? revision : "main", err);
    const int n = list_snapshots(repo, &names, &only);
    const char *wanted = commit ? commit : revision ? revision : n == 1 ? only.data : NULL;
    char *path = !status && wanted ? join3(repo, "snapshots", wanted) : NULL;
    if (status) {
        /* read_ref() wrote the message */
    } else if (path && glia_dir_exists(path)) {
        *dir = path;
        path = NULL;
    } else if (names.oom || only.oom || (wanted && !path)) {
        status = glia_fail_nomem(err, strlen(repo), "a path");
    } else {
        status = glia_fail(err, GLIA_ERR_IO, "%s: no snapshot of %s%s%s; there %s %.160s", repo,
                           revision ? revision : "main", commit ? ", which is commit " : "",
                           commit ? commit : "", n == 1 ? "is" : "are", n ? names.data : "none");
    }
    free(path);
    free(commit);
    glia_buf_free(&names);
    glia_buf_free(&only);
    return status;
}

glia_status glia_hub_resolve(char **dir, const char *model, const char *cache_dir, glia_err *err) {
    *dir = NULL;
    if (glia_dir_exists(model)) {
        *dir = strdup(model);
        return *dir ? GLIA_OK : glia_fail_nomem(err, strlen(model) + 1, "a path");
    }
    bool is_file = false;
    if (glia_name_exists(model)) {
        const glia_status status = glia_file_find(&is_file, model, err);
        if (status) return status;
    }
    if (is_file)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "%s: expected a model's directory, found a file", model);
    const char *at = strchr(model, '@'), *revision = at ? at + 1 : NULL;
    const size_t n = at ? (size_t)(at - model) : strlen(model);
    char *repo = repo_dir(cache_dir ? cache_dir : "", model, n);
    if (!repo || (revision && !is_revision(revision))) {
        free(repo);
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "%.200s: no such directory, and not a Hub id such as "
                         "Qwen/Qwen3-0.6B or Qwen/Qwen3-0.6B@main",
                         model);
    }
    glia_status status;
    if (!cache_dir)
        status =
            glia_fail(err, GLIA_ERR_IO, "%s: no such directory, and no Hugging Face cache to look in", model);
    else if (!glia_dir_exists(repo))
        status = glia_fail(err, GLIA_ERR_IO,
                           "%.100s: no such directory, and not in the Hugging Face cache as "
                           "%.200s; get it with: hf download %.*s",
                           model, repo, (int)n, model);
    else
        status = find_snapshot(dir, repo, revision, err);
    free(repo);
    return status;
}

/* ---- what may be written -------------------------------------------------------- */

/* If `dir` is CACHE/models--X/snapshots/COMMIT, cut it to CACHE/models--X. */
static void cut_to_repo(char *dir) {
    char *commit = strrchr(dir, '/'), *name = NULL;
    if (commit) *commit = '\0';
    char *snapshots = commit ? strrchr(dir, '/') : NULL;
    const bool inside = snapshots && strcmp(snapshots, "/snapshots") == 0;
    if (inside) *snapshots = '\0';
    if (inside && (name = strrchr(dir, '/')) && strncmp(name + 1, "models--", 8) == 0) return;
    if (inside) *snapshots = '/';
    if (commit) *commit = '/';
}

static glia_status refuse(const char *path, const char *how, const char *what, glia_err *err) {
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "%.150s: %s %.200s, which belongs to the model; give another place", path, how, what);
}

/* Check where the links in `dir` lead. `real` is the real path of `path`. */
static glia_status check_links(const char *dir, const char *path, const char *real, glia_err *err) {
    glia_status status = GLIA_OK;
    DIR *entries = opendir(dir);
    for (const struct dirent *e; !status && entries && (e = readdir(entries));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *name = glia_path_join(dir, e->d_name), *file = name ? realpath(name, NULL) : NULL;
        if (file && glia_path_is_in(file, real)) status = refuse(path, "is or holds", file, err);
        if (file && !status && glia_path_is_in(real, file)) status = refuse(path, "lies in", file, err);
        free(file);
        free(name);
    }
    if (entries) closedir(entries);
    return status;
}

glia_status glia_hub_check_output(const char *dir, const char *path, glia_err *err) {
    char *real, *source = realpath(dir, NULL), *more = glia_path_join(dir, "additional_chat_templates");
    glia_status status = glia_path_real(&real, path, err);
    if (!status && (!source || !more)) status = glia_fail(err, GLIA_ERR_IO, "%s: %s", dir, strerror(errno));
    if (!status && glia_path_is_in(source, real)) status = refuse(path, "is or holds", source, err);
    if (!status) cut_to_repo(source);
    if (!status && glia_path_is_in(real, source)) status = refuse(path, "lies in", source, err);
    if (!status) status = check_links(dir, path, real, err);
    if (!status) status = check_links(more, path, real, err);
    free(more);
    free(source);
    free(real);
    return status;
}
