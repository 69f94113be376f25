/* file.c - see file.h. */
#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

static glia_status open_regular(int *fd, size_t *len, const char *path, glia_err *err) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        const char *why = errno && !S_ISDIR(info.st_mode) ? strerror(errno) : "not a regular file";
        close(*fd);
        return glia_fail(err, GLIA_ERR_IO, "%s: %s", path, why);
    }
    *len = (size_t)info.st_size;
    return GLIA_OK;
}

glia_status glia_map_open(glia_map *m, const char *path, glia_err *err) {
    int fd;
    memset(m, 0, sizeof *m);
    const glia_status status = open_regular(&fd, &m->len, path, err);
    if (status) return status;
    if (m->len > 0) { /* mmap refuses length 0 */
        void *p = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            const int why = errno;
            close(fd);
            memset(m, 0, sizeof *m);
            return glia_fail(err, GLIA_ERR_IO, "%s: cannot map: %s", path, strerror(why));
        }
        m->data = p;
    }
    close(fd); /* the mapping outlives the descriptor */
    return GLIA_OK;
}

void glia_map_close(glia_map *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->len);
    memset(m, 0, sizeof *m);
}

void glia_map_drop(const glia_map *m, size_t from, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = (from + page - 1) / page * page, last = (from + n) / page * page;
    if (m->data && first < last && last <= m->len)
        madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
}

glia_status glia_read_file(char **text, size_t *len, const char *path, size_t max_bytes, glia_err *err) {
    int fd;
    size_t size, got = 0;
    *text = NULL;
    *len = 0;
    glia_status status = open_regular(&fd, &size, path, err);
    if (status) return status;
    char *bytes = NULL;
    if (size > max_bytes) {
        status = glia_fail(err, GLIA_ERR_LIMIT, "%s: %zu bytes, limit is %zu", path, size, max_bytes);
        goto done;
    }
    bytes = malloc(size + 1);
    if (!bytes) {
        status = glia_fail_nomem(err, size + 1, path);
        goto done;
    }
    while (got < size) {
        const ssize_t n = read(fd, bytes + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = glia_fail(err, GLIA_ERR_IO, "%s: %s", path, strerror(errno));
            goto done;
        }
        if (n == 0) break; /* the file shrank while being read */
        got += (size_t)n;
    }
    bytes[got] = '\0';
    *text = bytes;
    *len = got;
done:
    if (status) free(bytes);
    close(fd);
    return status;
}

bool glia_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
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
