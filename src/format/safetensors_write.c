/* safetensors_write.c - writes a .safetensors file piece by piece; see
 * safetensors.h. The header is padded with blanks so that the data begin at a
 * multiple of 8 or of the caller's `align`. The default metadata is
 * {"format": "pt"}, because transformers refuses a file without it. */
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

struct glia_safetensors_writer {
    int fd;
    char *path, *temp;
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

static glia_status open_temp(glia_safetensors_writer *w, const char *path, glia_err *err) {
    struct stat info;
    glia_buf temp = {0};
    w->fd = -1;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return glia_fail(err, GLIA_ERR_IO, "%s: exists and is not a regular file", path);
    glia_buf_printf(&temp, "%s.tmp-%ld", path, (long)getpid());
    w->temp = glia_buf_steal(&temp);
    w->path = strdup(path);
    if (!w->temp || !w->path) return glia_fail_nomem(err, strlen(path) + 32, "a path");
    w->fd = open(w->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd >= 0) return GLIA_OK;
    const glia_status status = glia_fail(err, GLIA_ERR_IO, "%s: cannot write: %s", w->temp, strerror(errno));
    free(w->temp);
    w->temp = NULL; /* glia_safetensors_abandon() must not delete a file that we did not create */
    return status;
}

glia_status glia_safetensors_create_with(glia_safetensors_writer **out, const char *path,
                                         const glia_tensor_spec *tensors, size_t n, json_t *metadata,
                                         size_t align, uint64_t *header_hash, glia_err *err) {
    *out = NULL;
    glia_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return glia_fail_nomem(err, sizeof *w, "a safetensors file");
    glia_status status = open_temp(w, path, err);
    if (!status) status = write_header(w, tensors, n, metadata, align, header_hash, err);
    if (!status)
        *out = w;
    else
        glia_safetensors_abandon(w);
    return status;
}

glia_status glia_safetensors_create(glia_safetensors_writer **out, const char *path,
                                    const glia_tensor_spec *tensors, size_t n, glia_err *err) {
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    const glia_status status = glia_safetensors_create_with(out, path, tensors, n, metadata, 8, NULL, err);
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
        else if (rename(w->temp, w->path) != 0)
            status =
                glia_fail(err, GLIA_ERR_IO, "%s: cannot rename to %s: %s", w->temp, w->path, strerror(errno));
    }
    if (!status) {
        free(w->temp);
        w->temp = NULL; /* renamed: nothing to delete */
    }
    glia_safetensors_abandon(w);
    return status;
}

void glia_safetensors_abandon(glia_safetensors_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->temp) unlink(w->temp);
    free(w->temp);
    free(w->path);
    free(w);
}
