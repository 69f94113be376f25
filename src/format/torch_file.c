/* torch_file.c - see torch_file.h; the zip archive and the tensors in it. */
#include "format/torch_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/pickle.h"

enum {
    END_BYTES = 22,     /* of the record that ends the archive, without its comment */
    LOCATOR_BYTES = 20, /* of zip64's locator, which stands before that record */
    END64_BYTES = 56,
    CENTRAL_BYTES = 46, /* of an entry of the directory, without its texts */
    LOCAL_BYTES = 30,
    COMMENT_MAX = 65535,
};

typedef struct {
    const char *name; /* not NUL-terminated */
    size_t name_len;
    const unsigned char *data;
    size_t len;
} member;

typedef struct {
    const unsigned char *bytes;
    size_t len;
    const char *where;
    glia_err *err;
    member *member; /* [n] */
    size_t n;
} archive;

static uint64_t number(const unsigned char *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++) x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static glia_status broken(const archive *a, const char *what) {
    return glia_fail(a->err, GLIA_ERR_FORMAT, "%s: %s", a->where, what);
}

/* ---- the zip archive ---------------------------------------------------------- */

/* The record at the archive's end: how many entries the directory has, and where the directory is. */
static glia_status find_directory(const archive *a, uint64_t *entries, uint64_t *at) {
    size_t end = a->len < END_BYTES ? 0 : a->len - END_BYTES + 1;
    const size_t least = end > COMMENT_MAX ? end - COMMENT_MAX : 0;
    while (end > least && memcmp(a->bytes + end - 1, "PK\5\6", 4) != 0) end--;
    if (end <= least)
        return broken(a, "expected a zip archive of torch.save(), found something else (files that PyTorch "
                         "before 1.6 wrote are not read)");
    const unsigned char *p = a->bytes + end - 1;
    *entries = number(p + 10, 2);
    *at = number(p + 16, 4);
    if (end - 1 < LOCATOR_BYTES || memcmp(p - LOCATOR_BYTES, "PK\6\7", 4) != 0) return GLIA_OK;
    const uint64_t at64 = number(p - LOCATOR_BYTES + 8, 8);
    if (a->len < END64_BYTES || at64 > a->len - END64_BYTES || memcmp(a->bytes + at64, "PK\6\6", 4) != 0)
        return broken(a, "the zip64 record of the archive is not where the archive says");
    *entries = number(a->bytes + at64 + 32, 8);
    *at = number(a->bytes + at64 + 48, 8);
    return GLIA_OK;
}

/* Replace the values of an entry that do not fit 32 bits by those of its zip64 field. */
static void widen(const unsigned char *extra, size_t len, uint64_t *size, uint64_t *packed, uint64_t *local) {
    uint64_t *const value[] = {size, packed, local};
    for (size_t n; len >= 4; extra += n, len -= n) {
        n = (size_t)number(extra + 2, 2) + 4;
        if (n > len) return;
        const unsigned char *p = extra + 4;
        for (int i = 0; number(extra, 2) == 1 && i < 3; i++) {
            if (*value[i] != UINT32_MAX || p + 8 > extra + n) continue;
            *value[i] = number(p, 8);
            p += 8;
        }
    }
}

/* Read the entry of the directory at *at, and move *at behind it. */
static glia_status read_member(archive *a, uint64_t *at) {
    if (a->len < CENTRAL_BYTES || *at > a->len - CENTRAL_BYTES || memcmp(a->bytes + *at, "PK\1\2", 4) != 0)
        return broken(a, "the directory of the archive is cut off");
    const unsigned char *p = a->bytes + *at;
    const size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2),
                 all = CENTRAL_BYTES + name + extra + (size_t)number(p + 32, 2);
    uint64_t packed = number(p + 20, 4), size = number(p + 24, 4), local = number(p + 42, 4);
    if (all > a->len - *at) return broken(a, "the directory of the archive is cut off");
    widen(p + CENTRAL_BYTES + name, extra, &size, &packed, &local);
    if (number(p + 10, 2) != 0)
        return glia_fail(a->err, GLIA_ERR_UNSUPPORTED,
                         "%s: the archive is compressed; torch.save() writes archives without compression",
                         a->where);
    if (a->len < LOCAL_BYTES || local > a->len - LOCAL_BYTES || memcmp(a->bytes + local, "PK\3\4", 4) != 0)
        return broken(a, "an entry of the archive is not where the directory says");
    const uint64_t begin =
        local + LOCAL_BYTES + number(a->bytes + local + 26, 2) + number(a->bytes + local + 28, 2);
    if (begin > a->len || size > a->len - begin || size != packed)
        return broken(a, "an entry of the archive goes past its end");
    a->member[a->n++] = (member){(const char *)p + CENTRAL_BYTES, name, a->bytes + begin, (size_t)size};
    *at += all;
    return GLIA_OK;
}

static glia_status read_directory(archive *a) {
    uint64_t entries = 0, at = 0;
    glia_status status = find_directory(a, &entries, &at);
    if (status) return status;
    if (entries > a->len / CENTRAL_BYTES)
        return broken(a, "the archive has more entries than bytes for them");
    a->member = calloc((size_t)entries + 1, sizeof *a->member);
    if (!a->member) return glia_fail_nomem(a->err, (size_t)entries * sizeof *a->member, "an archive");
    while (!status && a->n < entries) status = read_member(a, &at);
    return status;
}

/* The member whose name ends in "/" and the given text. */
static const member *find(const archive *a, const char *name, size_t len) {
    for (size_t i = 0; i < a->n; i++) {
        const member *m = &a->member[i];
        if (m->name_len > len && m->name[m->name_len - len - 1] == '/' &&
            !memcmp(m->name + m->name_len - len, name, len))
            return m;
    }
    return NULL;
}

/* The member data/KEY. */
static const member *find_storage(const archive *a, const char *key, size_t len) {
    for (size_t i = 0; i < a->n; i++) {
        const member *m = &a->member[i];
        if (m->name_len > len + 6 && !memcmp(m->name + m->name_len - len, key, len) &&
            !memcmp(m->name + m->name_len - len - 6, "/data/", 6))
            return m;
    }
    return NULL;
}

/* ---- tensors -------------------------------------------------------------------- */

static bool contiguous(const glia_pickled_tensor *t) {
    int64_t step = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != step) return false;
        if (__builtin_mul_overflow(step, t->shape[i], &step)) return false;
    }
    return true;
}

/* Fill in a view without its name. */
static glia_status place(glia_tensor_view *v, const archive *a, const glia_pickled_tensor *t) {
    const int name = t->name_len > 100 ? 100 : (int)t->name_len;
    const int64_t one[] = {1};
    size_t size = 0;
    *v = (glia_tensor_view){.dtype = t->dtype, .n_dims = t->n_dims};
    memcpy(v->shape, t->shape, sizeof v->shape);
    glia_tensor_bytes(t->dtype, one, 1, &size);
    const bool empty = !glia_tensor_bytes(t->dtype, t->shape, t->n_dims, &v->bytes);
    if (empty || !contiguous(t))
        return glia_fail(a->err, GLIA_ERR_UNSUPPORTED,
                         "%s: tensor %.*s is not stored in one piece, row by row", a->where, name, t->name);
    const member *m = find_storage(a, t->storage, t->storage_len);
    if (!m)
        return glia_fail(a->err, GLIA_ERR_FORMAT, "%s: the storage of tensor %.*s is missing", a->where, name,
                         t->name);
    if (t->offset < 0 || (uint64_t)t->offset > m->len / size ||
        v->bytes > m->len - (uint64_t)t->offset * size)
        return glia_fail(a->err, GLIA_ERR_FORMAT,
                         "%s: tensor %.*s needs %zu bytes from element %" PRId64
                         " on, its storage has %zu bytes",
                         a->where, name, t->name, v->bytes, t->offset, m->len);
    v->data = m->data + (size_t)t->offset * size;
    return GLIA_OK;
}

static int compare_names(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Are two names equal? A dictionary's keys are not, and readers find tensors by name. */
static glia_status check_names(const glia_torch_file *f, const archive *a) {
    const char **names = malloc((f->n + 1) * sizeof *names);
    const char *twice = NULL;
    if (!names) return glia_fail_nomem(a->err, f->n * sizeof *names, "the names of tensors");
    for (size_t i = 0; i < f->n; i++) names[i] = f->tensor[i].name;
    qsort(names, f->n, sizeof *names, compare_names);
    for (size_t i = 1; i < f->n; i++)
        if (!strcmp(names[i - 1], names[i])) twice = names[i];
    free(names);
    return twice ? glia_fail(a->err, GLIA_ERR_FORMAT, "%s: tensor %.100s is there twice", a->where, twice)
                 : GLIA_OK;
}

static glia_status make_views(glia_torch_file *f, const archive *a, const glia_pickled_tensor *t, size_t n) {
    size_t bytes = 1;
    glia_status status = GLIA_OK;
    for (size_t i = 0; i < n; i++) bytes += t[i].name_len + 1;
    f->tensor = calloc(n + 1, sizeof *f->tensor);
    f->names = malloc(bytes);
    if (!f->tensor || !f->names) return glia_fail_nomem(a->err, n * sizeof *f->tensor + bytes, "the tensors");
    char *name = f->names;
    for (; f->n < n && !status; f->n++, name += strlen(name) + 1) {
        status = place(&f->tensor[f->n], a, &t[f->n]);
        memcpy(name, t[f->n].name, t[f->n].name_len);
        name[t[f->n].name_len] = '\0';
        f->tensor[f->n].name = name;
    }
    return status ? status : check_names(f, a);
}

static glia_status read_tensors(glia_torch_file *f, const archive *a) {
    const member *pickle = find(a, "data.pkl", 8), *order = find(a, "byteorder", 9);
    glia_pickled_tensor *t = NULL;
    size_t n = 0;
    if (!pickle) return broken(a, "expected an archive of torch.save(), found one without data.pkl");
    if (order && (order->len != 6 || memcmp(order->data, "little", 6) != 0))
        return glia_fail(a->err, GLIA_ERR_UNSUPPORTED, "%s: the numbers are not little-endian", a->where);
    glia_status status = glia_pickle_read(&t, &n, pickle->data, pickle->len, a->where, a->err);
    if (!status) status = make_views(f, a, t, n);
    free(t);
    return status;
}

glia_status glia_torch_file_parse(glia_torch_file *f, const void *bytes, size_t len, const char *where,
                                  glia_err *err) {
    archive a = {.bytes = bytes, .len = len, .where = where, .err = err};
    *f = (glia_torch_file){0};
    glia_status status = read_directory(&a);
    if (!status) status = read_tensors(f, &a);
    free(a.member);
    if (status) glia_torch_file_close(f);
    return status;
}

glia_status glia_torch_file_open(glia_torch_file *f, const char *path, glia_err *err) {
    glia_map map;
    *f = (glia_torch_file){0};
    glia_status status = glia_map_open(&map, path, err);
    if (status) return status;
    status = glia_torch_file_parse(f, map.data, map.len, path, err);
    if (status)
        glia_map_close(&map);
    else
        f->map = map;
    return status;
}

void glia_torch_file_close(glia_torch_file *f) {
    free(f->tensor);
    free(f->names);
    if (f->map.mapping) glia_map_close(&f->map);
    *f = (glia_torch_file){0};
}
