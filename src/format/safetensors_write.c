/* safetensors_write.c - writes a .safetensors file piece by piece; see
 * safetensors.h. The header is padded with blanks so that the data begin at a
 * multiple of 8 or of the caller's `align`. The default metadata has
 * "format": "pt", because transformers refuses a file without it. */
#define _GNU_SOURCE
#include "format/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/unfinished.h"

struct glia_safetensors_writer {
    int fd;
    char *path, *made; /* the name in the end, and the name until then */
    glia_unfinished *mark;
    bool opened, complete;
    size_t declared, written; /* tensor bytes */
};

static glia_status write_all(glia_safetensors_writer *w, const void *bytes, size_t n, glia_err *err) {
    const char *p = bytes;
    for (size_t done = 0; done < n;) {
        const ssize_t k = write(w->fd, p + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0)
            return glia_fail(err, GLIA_ERR_IO, "%s: %s after %zu of %zu bytes of tensors", w->path,
                             strerror(errno), w->written + done, w->declared);
        done += (size_t)k;
    }
    return GLIA_OK;
}

/* The header's JSON, to be freed by free(); NULL if out of memory. *declared gets
 * the sum of the tensors' bytes. */
static char *make_header(const glia_tensor_spec *tensors, size_t n, json_t *metadata, size_t *declared) {
    json_t *tree = json_pack("{s:O}", "__metadata__", metadata);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const glia_tensor_spec *t = &tensors[i];
        json_t *shape = json_array();
        size_t bytes;
        const bool whole = glia_tensor_bytes(t->dtype, t->shape, t->n_dims, &bytes);
        assert(whole && *t->name && !json_object_get(tree, t->name));
        (void)whole;
        for (int d = 0; d < t->n_dims; d++) json_array_append_new(shape, json_integer(t->shape[d]));
        json_object_set_new(tree, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", glia_tensor_dtype_name(t->dtype),
                                      "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + bytes)));
        at += bytes;
    }
    const bool complete = tree && json_object_size(tree) == n + 1; /* false if an insertion failed */
    char *text = complete ? json_dumps(tree, JSON_COMPACT) : NULL;
    json_decref(tree);
    *declared = at;
    return text;
}

static glia_status write_header(glia_safetensors_writer *w, const glia_tensor_spec *tensors, size_t n,
                                json_t *metadata, size_t align, uint64_t *hash, glia_err *err) {
    glia_buf b = {0};
    char *text = make_header(tensors, n, metadata, &w->declared);
    const size_t len = text ? strlen(text) : 0, padded = (len + 8 + align - 1) / align * align - 8;
    for (int i = 0; i < 8; i++) glia_buf_putc(&b, (char)(padded >> 8 * i & 0xff));
    glia_buf_add(&b, text, len);
    for (size_t i = len; i < padded; i++) glia_buf_putc(&b, ' ');
    if (hash && b.data) *hash = glia_hash(b.data, b.len, 0);
    const glia_status status = text && !b.oom ? write_all(w, b.data, b.len, err)
                                              : glia_fail_nomem(err, b.len, "a safetensors header");
    free(text);
    glia_buf_free(&b);
    return status;
}

/* Make the file `made`, which must not exist; it is renamed to `path` in the end. Takes both strings, which
 * are equal for a file that gets its name at once. */
static glia_status open_new(glia_safetensors_writer *w, char *path, char *made, glia_err *err) {
    w->fd = -1;
    w->path = path;
    w->made = made;
    if (!path || !made) return glia_fail_nomem(err, 0, "a path");
    const glia_status status = glia_unfinished_add(&w->mark, made, err);
    if (!status) w->fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    w->opened = w->fd >= 0;
    return status || w->opened ? status
                               : glia_fail(err, GLIA_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
}

/* Write the header. Takes w, whose file `status` says is open. */
static glia_status begin(glia_safetensors_writer **out, glia_safetensors_writer *w, glia_status status,
                         const glia_tensor_spec *tensors, size_t n, json_t *metadata, size_t align,
                         uint64_t *header_hash, glia_err *err) {
    if (!status) status = write_header(w, tensors, n, metadata, align, header_hash, err);
    if (!status)
        *out = w;
    else
        glia_safetensors_abandon(w);
    return status;
}

glia_status glia_safetensors_create_with(glia_safetensors_writer **out, const char *path,
                                         const glia_tensor_spec *tensors, size_t n, json_t *metadata,
                                         size_t align, uint64_t *header_hash, glia_err *err) {
    *out = NULL;
    glia_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "a safetensors file");
    const glia_status status = open_new(w, strdup(path), strdup(path), err);
    return begin(out, w, status, tensors, n, metadata, align, header_hash, err);
}

static char *temp_name(const char *path, const char *id) {
    glia_buf b = {0};
    glia_buf_printf(&b, "%s.tmp-%s", path, id);
    return glia_buf_steal(&b);
}

glia_status glia_safetensors_create(glia_safetensors_writer **out, const char *path,
                                    const glia_tensor_spec *tensors, size_t n, glia_err *err) {
    struct stat info;
    char id[GLIA_PATH_ID];
    *out = NULL;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return glia_fail(err, GLIA_ERR_IO, "%s: exists and is not a regular file", path);
    glia_status status = glia_path_id(id, err);
    if (status) return status;
    glia_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "a safetensors file");
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", GLIA_SAFETENSORS_OURS, GLIA_VERSION);
    status = open_new(w, strdup(path), temp_name(path, id), err);
    status = begin(out, w, status, tensors, n, metadata, 8, NULL, err);
    json_decref(metadata);
    return status;
}

glia_status glia_safetensors_append(glia_safetensors_writer *w, const void *bytes, size_t n, glia_err *err) {
    assert(n <= w->declared - w->written);
    const glia_status status = write_all(w, bytes, n, err);
    if (!status) w->written += n;
    return status;
}

glia_status glia_safetensors_finish(glia_safetensors_writer *w, glia_err *err) {
    glia_status status = GLIA_OK;
    if (w->written != w->declared) {
        status = glia_fail(err, GLIA_ERR_SHAPE, "%s: %zu bytes of tensors written, %zu declared", w->path,
                           w->written, w->declared);
    } else {
        const int unsynced = fsync(w->fd) != 0 ? errno : 0, unclosed = close(w->fd) != 0 ? errno : 0;
        w->fd = -1;
        if (unsynced || unclosed)
            status = glia_fail(err, GLIA_ERR_IO, "%s: %s", w->path, strerror(unsynced ? unsynced : unclosed));
        else if (rename(w->made, w->path) != 0) /* does nothing where both are equal */
            status =
                glia_fail(err, GLIA_ERR_IO, "%s: cannot rename to %s: %s", w->made, w->path, strerror(errno));
        else
            w->complete = true;
    }
    glia_safetensors_abandon(w);
    return status;
}

void glia_safetensors_abandon(glia_safetensors_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->opened && !w->complete) unlink(w->made);
    glia_unfinished_done(w->mark);
    free(w->made);
    free(w->path);
    free(w);
}
