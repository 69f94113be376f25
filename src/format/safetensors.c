/* safetensors.c - see safetensors.h. Numbers in the file are untrusted. Each is
 * compared with the file's true length before use, and untrusted numbers are never
 * added, so no sum can wrap. */
#include "format/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"

enum { LENGTH_BYTES = 8 };

static const struct {
    const char *name;
    unsigned char bits;
} dtypes[GLIA_TENSOR_DTYPES] = {
    [GLIA_TENSOR_BOOL] = {"BOOL", 8},
    [GLIA_TENSOR_F4] = {"F4", 4},
    [GLIA_TENSOR_F6_E2M3] = {"F6_E2M3", 6},
    [GLIA_TENSOR_F6_E3M2] = {"F6_E3M2", 6},
    [GLIA_TENSOR_U8] = {"U8", 8},
    [GLIA_TENSOR_I8] = {"I8", 8},
    [GLIA_TENSOR_F8_E5M2] = {"F8_E5M2", 8},
    [GLIA_TENSOR_F8_E4M3] = {"F8_E4M3", 8},
    [GLIA_TENSOR_F8_E8M0] = {"F8_E8M0", 8},
    [GLIA_TENSOR_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [GLIA_TENSOR_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [GLIA_TENSOR_I16] = {"I16", 16},
    [GLIA_TENSOR_U16] = {"U16", 16},
    [GLIA_TENSOR_F16] = {"F16", 16},
    [GLIA_TENSOR_BF16] = {"BF16", 16},
    [GLIA_TENSOR_I32] = {"I32", 32},
    [GLIA_TENSOR_U32] = {"U32", 32},
    [GLIA_TENSOR_F32] = {"F32", 32},
    [GLIA_TENSOR_C64] = {"C64", 64},
    [GLIA_TENSOR_F64] = {"F64", 64},
    [GLIA_TENSOR_I64] = {"I64", 64},
    [GLIA_TENSOR_U64] = {"U64", 64},
};

const char *glia_tensor_dtype_name(glia_tensor_dtype dtype) { return dtypes[dtype].name; }

bool glia_tensor_bytes(glia_tensor_dtype dtype, const int64_t *shape, int n_dims, size_t *bytes) {
    uint64_t n = 1; /* elements, then bits: overflows exactly where the Rust crate refuses */
    for (int i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(n, (uint64_t)shape[i], &n)) return false;
    if (__builtin_mul_overflow(n, dtypes[dtype].bits, &n)) return false;
    *bytes = n / 8;
    return n % 8 == 0;
}

const char *glia_tensor_shape(const glia_tensor_view *t, char *buf, size_t size) {
    size_t used = (size_t)snprintf(buf, size, "[");
    for (int i = 0; i < t->n_dims && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    if (used < size) snprintf(buf + used, size - used, "]");
    return buf;
}

glia_status glia_tensor_check_weight(const glia_tensor_view *t, const char *where, glia_err *err) {
    if (t->dtype == GLIA_TENSOR_F64 || t->dtype == GLIA_TENSOR_F32 || t->dtype == GLIA_TENSOR_F16 ||
        t->dtype == GLIA_TENSOR_BF16)
        return GLIA_OK;
    return glia_fail(err, GLIA_ERR_UNSUPPORTED,
                     "%s: tensor %.120s is %s; Glia reads F64, F32, F16 and BF16 weights", where, t->name,
                     dtypes[t->dtype].name);
}

/* ---- the header ------------------------------------------------------------ */

static void read_dtype(glia_json_reader *r, glia_tensor_view *t) {
    const char *name = glia_json_string(r, "dtype");
    for (int i = 0; name && i < GLIA_TENSOR_DTYPES; i++) {
        if (strcmp(name, dtypes[i].name) != 0) continue;
        t->dtype = (glia_tensor_dtype)i;
        return;
    }
    if (name)
        glia_json_fail(r, GLIA_ERR_FORMAT, "unknown dtype %.40s", name);
    else
        glia_json_fail(r, GLIA_ERR_FORMAT, "dtype is missing");
}

static int64_t read_size(glia_json_reader *r, const char *key, const json_t *list, size_t i) {
    const json_t *v = json_array_get(list, i);
    char text[60];
    if (json_is_integer(v) && json_integer_value(v) >= 0) return json_integer_value(v);
    glia_json_fail(r, GLIA_ERR_FORMAT, "%s[%zu]: expected a size, found %s", key, i,
                   glia_json_print(v, text, sizeof text));
    return 0;
}

static void read_shape(glia_json_reader *r, glia_tensor_view *t) {
    const json_t *list = glia_json_array(r, "shape");
    const size_t n = json_array_size(list);
    if (!list) glia_json_fail(r, GLIA_ERR_FORMAT, "shape is missing");
    if (n > GLIA_TENSOR_DIMS_MAX) {
        glia_json_fail(r, GLIA_ERR_LIMIT, "%zu dimensions, limit is %d", n, GLIA_TENSOR_DIMS_MAX);
        return;
    }
    t->n_dims = (int)n;
    for (size_t i = 0; i < n; i++) t->shape[i] = read_size(r, "shape", list, i);
}

/* Read data_offsets and check them against the data's length, shape and dtype. */
static void read_extent(glia_json_reader *r, glia_tensor_view *t, const unsigned char *data,
                        size_t data_len) {
    const json_t *list = glia_json_array(r, "data_offsets");
    if (json_array_size(list) != 2) glia_json_fail(r, GLIA_ERR_FORMAT, "data_offsets: expected [begin, end]");
    const uint64_t begin = (uint64_t)read_size(r, "data_offsets", list, 0);
    const uint64_t end = (uint64_t)read_size(r, "data_offsets", list, 1);
    if (r->status) return;
    if (begin > end || end > data_len) {
        glia_json_fail(r, GLIA_ERR_FORMAT,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] in a file with %zu bytes "
                       "of data",
                       begin, end, data_len);
        return;
    }
    t->data = data + begin;
    if (!glia_tensor_bytes(t->dtype, t->shape, t->n_dims, &t->bytes) || t->bytes != end - begin) {
        char text[200];
        glia_json_fail(r, GLIA_ERR_FORMAT,
                       "%s %s does not fit the %" PRIu64 " bytes of data_offsets [%" PRIu64 ", %" PRIu64 "]",
                       dtypes[t->dtype].name, glia_tensor_shape(t, text, sizeof text), end - begin, begin,
                       end);
    }
}

static glia_status read_tensor(glia_tensor_view *t, const json_t *object, const unsigned char *data,
                               size_t data_len, const char *where, glia_err *err) {
    char location[400];
    snprintf(location, sizeof location, "%.200s: tensor %.160s", where, t->name);
    glia_json_reader r = {.object = object, .where = location, .err = err};
    if (!json_is_object(object)) {
        glia_json_fail(&r, GLIA_ERR_FORMAT, "expected an object, found %s", glia_json_type_name(object));
        return r.status;
    }
    read_dtype(&r, t);
    read_shape(&r, t);
    read_extent(&r, t, data, data_len);
    if (json_object_size(object) != 3)
        glia_json_fail(&r, GLIA_ERR_FORMAT, "expected dtype, shape and data_offsets, found %zu keys",
                       json_object_size(object));
    return r.status;
}

static glia_status check_metadata(const json_t *meta, const char *where, glia_err *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: __metadata__: expected an object, found %s", where,
                         glia_json_type_name(meta));
    json_object_foreach((json_t *)(uintptr_t)meta, key, value) {
        if (!json_is_string(value))
            return glia_fail(err, GLIA_ERR_FORMAT, "%s: __metadata__: %.80s: expected a string, found %s",
                             where, key, glia_json_type_name(value));
    }
    return GLIA_OK;
}

static int by_offset(const void *pa, const void *pb) {
    const glia_tensor_view *a = pa, *b = pb;
    if (a->data != b->data) return (const char *)a->data < (const char *)b->data ? -1 : 1;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1; /* empty ones first */
    return strcmp(a->name, b->name);
}

/* The sorted tensors must cover all data bytes without overlap or hole. */
static glia_status check_cover(const glia_safetensors *st, const unsigned char *data, size_t data_len,
                               const char *where, glia_err *err) {
    size_t at = 0;
    for (size_t i = 0; i < st->n; i++) {
        const glia_tensor_view *t = &st->tensor[i];
        const size_t begin = (size_t)((const unsigned char *)t->data - data);
        if (begin < at)
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "%s: tensors %.120s and %.120s overlap at byte %zu of the data", where,
                             st->tensor[i - 1].name, t->name, begin);
        if (begin > at)
            return glia_fail(err, GLIA_ERR_FORMAT,
                             "%s: bytes %zu to %zu of the data, before tensor %.120s, "
                             "belong to no tensor",
                             where, at, begin, t->name);
        at = begin + t->bytes;
    }
    if (at != data_len)
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: the tensors end at byte %zu of %zu bytes of data", where,
                         at, data_len);
    return GLIA_OK;
}

static glia_status read_header(glia_safetensors *st, json_t *tree, const unsigned char *data, size_t data_len,
                               const char *where, glia_err *err) {
    const char *key;
    json_t *value;
    size_t names = 1;
    json_object_foreach(tree, key, value) names += strlen(key) + 1;
    st->names = malloc(names);
    st->tensor = calloc(json_object_size(tree) + 1, sizeof *st->tensor);
    if (!st->names || !st->tensor) return glia_fail_nomem(err, names, where);
    char *name = st->names;
    json_object_foreach(tree, key, value) {
        glia_status status;
        if (!strcmp(key, "__metadata__")) {
            status = check_metadata(value, where, err);
            st->metadata = json_incref(value);
        } else {
            glia_tensor_view *t = &st->tensor[st->n++];
            const size_t size = strlen(key) + 1;
            t->name = memcpy(name, key, size);
            name += size;
            status = read_tensor(t, value, data, data_len, where, err);
        }
        if (status) return status;
    }
    qsort(st->tensor, st->n, sizeof *st->tensor, by_offset);
    return check_cover(st, data, data_len, where, err);
}

/* ---- the file -------------------------------------------------------------- */

static glia_status parse(glia_safetensors *st, const unsigned char *bytes, size_t len, const char *where,
                         glia_err *err) {
    uint64_t n = 0;
    if (len < LENGTH_BYTES)
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: %zu bytes, too short for a header length", where, len);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) n = n << 8 | bytes[i];
    if (n > GLIA_SAFETENSORS_HEADER_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "%s: header of %" PRIu64 " bytes, limit is %d", where, n,
                         GLIA_SAFETENSORS_HEADER_MAX);
    if (n > len - LENGTH_BYTES)
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: header of %" PRIu64 " bytes in a file of %zu", where, n,
                         len);
    if (n == 0 || bytes[LENGTH_BYTES] != '{')
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: header does not begin with '{'", where);
    json_t *tree;
    char location[300];
    snprintf(location, sizeof location, "%.280s: header", where);
    glia_status status =
        glia_json_parse(&tree, (const char *)bytes + LENGTH_BYTES, (size_t)n, 0, location, err);
    if (status) return status;
    st->bytes = bytes;
    const size_t used = st->header_bytes = LENGTH_BYTES + (size_t)n;
    status = read_header(st, tree, bytes + used, len - used, where, err);
    json_decref(tree);
    return status;
}

glia_status glia_safetensors_parse(glia_safetensors *st, const void *bytes, size_t len, const char *where,
                                   glia_err *err) {
    memset(st, 0, sizeof *st);
    const glia_status status = parse(st, bytes, len, where, err);
    if (status) glia_safetensors_close(st);
    return status;
}

glia_status glia_safetensors_read(glia_safetensors *st, const char *path, glia_err *err) {
    char *bytes;
    size_t len;
    memset(st, 0, sizeof *st);
    glia_status status = glia_read_file(&bytes, &len, path, SIZE_MAX / 4, err);
    if (status) return status;
    status = glia_safetensors_parse(st, bytes, len, path, err);
    if (status)
        free(bytes);
    else
        st->owned = bytes;
    return status;
}

glia_status glia_safetensors_open(glia_safetensors *st, const char *path, glia_err *err) {
    glia_map map;
    memset(st, 0, sizeof *st);
    glia_status status = glia_map_open(&map, path, err);
    if (status) return status;
    st->map = map;
    status = parse(st, map.data, map.len, path, err);
    const glia_status changed = glia_map_check(&map, err); /* the reason of whatever was wrong */
    if (changed) status = changed;
    if (status) glia_safetensors_close(st);
    return status;
}

void glia_safetensors_close(glia_safetensors *st) {
    glia_map_close(&st->map);
    json_decref(st->metadata);
    free(st->tensor);
    free(st->names);
    free(st->owned);
    memset(st, 0, sizeof *st);
}
