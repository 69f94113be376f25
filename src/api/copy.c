/* copy.c - see copy.h. */
#define _GNU_SOURCE
#include "api/copy.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/written.h"

enum { COPIED_MAX = 1 << 30 };

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

/* Is the file copied? Configurations, tokenizer files, templates and licences are; weights and files that
 * compile writes are not. */
static int is_copied(const struct dirent *entry) {
    static const char *const kinds[] = {".json", ".jinja", ".txt"};
    const char *name = entry->d_name;
    if (strncmp(name, "LICENSE", 7) == 0 || strncmp(name, "NOTICE", 6) == 0) return 1;
    if (ends_with(name, ".index.json") || strcmp(name, GLIA_WRITTEN_FILE) == 0 ||
        strcmp(name, "config.json") == 0 || strcmp(name, "neuron_config.json") == 0)
        return 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends_with(name, kinds[i])) return 1;
    return 0;
}

glia_status glia_copy_file(glia_newdir *out, const char *dir, const char *name, glia_err *err) {
    char *text = NULL, *from = glia_path_join(dir, name);
    size_t n;
    bool found = false;
    glia_status status = from ? GLIA_OK : glia_fail_nomem(err, strlen(name), "a path");
    if (!status && !glia_dir_exists(from)) status = glia_file_find(&found, from, err);
    if (found) {
        status = glia_read_file(&text, &n, from, COPIED_MAX, err);
        if (!status) status = glia_newdir_write(out, name, text, n, err);
        free(text);
    }
    free(from);
    return status;
}

glia_status glia_copy_files(glia_newdir *out, const char *dir, const char *below, glia_err *err) {
    struct dirent **entries;
    char *from = glia_path_join(dir, below);
    if (!from) return glia_fail_nomem(err, 0, "a path");
    const int n = scandir(from, &entries, is_copied, alphasort);
    const int why = errno;
    glia_status status = GLIA_OK;
    if (n < 0 && glia_name_exists(from)) status = glia_fail(err, GLIA_ERR_IO, "%s: %s", from, strerror(why));
    free(from);
    if (!status) status = *below && n > 0 ? glia_newdir_add(out, below, err) : GLIA_OK;
    for (int i = 0; i < n; i++) {
        char *name = glia_path_join(below, entries[i]->d_name);
        if (!status) status = name ? glia_copy_file(out, dir, name, err) : glia_fail_nomem(err, 0, "a path");
        free(name);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return status;
}
