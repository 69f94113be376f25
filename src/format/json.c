/* json.c - see json.h. */
#include "format/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

glia_status glia_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *where,
                            glia_err *err) {
    json_error_t e;
    *out = json_loadb(text, len, flags | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!*out) {
        if (json_error_code(&e) == json_error_out_of_memory) return glia_fail_nomem(err, len, where);
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: line %d, column %d (byte %d): %s", where, e.line,
                         e.column, e.position, e.text);
    }
    if (!json_is_object(*out)) {
        const char *found = glia_json_type_name(*out);
        json_decref(*out);
        *out = NULL;
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: expected an object, found %s", where, found);
    }
    return GLIA_OK;
}

glia_status glia_json_load(json_t **out, const char *path, size_t max_bytes, size_t flags, glia_err *err) {
    char *text;
    size_t len;
    *out = NULL;
    glia_status status = glia_read_file(&text, &len, path, max_bytes, err);
    if (status) return status;
    status = glia_json_parse(out, text, len, flags, path, err);
    free(text);
    return status;
}

void glia_json_fail(glia_json_reader *r, glia_status status, const char *fmt, ...) {
    if (r->status) return;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->status = glia_fail(r->err, status, "%s: %s", r->where, text);
}

void glia_json_warn(const glia_json_reader *r, const char *fmt, ...) {
    if (r->status || !r->warning) return;
    char text[400], sentence[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(sentence, sizeof sentence, "%.180s: %s", r->where, text);
    glia_one_line(sentence);
    r->warning(r->user, sentence);
}

const char *glia_json_type_name(const json_t *value) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

const char *glia_json_print(const json_t *value, char *buf, size_t size) {
    const size_t n = json_dumpb(value, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    char *text = n < 65536 ? malloc(n + 1) : NULL;
    if (!text) {
        snprintf(buf, size, "%s", glia_json_type_name(value));
        return buf;
    }
    json_dumpb(value, text, n, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    text[n] = '\0';
    if (n >= size) {
        size_t cut = size - 4; /* room for "..." */
        while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80) cut--;
        strcpy(text + cut, "...");
    }
    strcpy(buf, text);
    free(text);
    return buf;
}

bool glia_json_is_neutral(const json_t *value, double neutral) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return json_object_size(value) == 0;
    case JSON_ARRAY: return json_array_size(value) == 0;
    case JSON_STRING: return json_string_length(value) == 0;
    case JSON_TRUE: return false;
    case JSON_FALSE:
    case JSON_NULL: return true;
    default: return json_number_value(value) == neutral;
    }
}

/* The member; NULL if it is absent or null or the reader has failed. */
static const json_t *member(const glia_json_reader *r, const char *key) {
    const json_t *v = r->status ? NULL : json_object_get(r->object, key);
    return json_is_null(v) ? NULL : v;
}

static void fail_type(glia_json_reader *r, const char *key, const char *expected, const json_t *found) {
    char text[80];
    if (json_is_array(found) || json_is_object(found))
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %s, found %s", key, expected,
                       glia_json_type_name(found));
    else
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %s, found %s %s", key, expected,
                       glia_json_type_name(found), glia_json_print(found, text, sizeof text));
}

int64_t glia_json_int(glia_json_reader *r, const char *key, int64_t fallback, int64_t lo, int64_t hi) {
    const json_t *v = member(r, key);
    if (!v) return fallback;
    const double real = json_is_real(v) ? json_real_value(v) : 0;
    if (!json_is_number(v) || real != floor(real) || fabs(real) > 0x1p53) {
        fail_type(r, key, "an integer", v);
        return fallback;
    }
    const int64_t n = json_is_real(v) ? (int64_t)real : json_integer_value(v);
    if (n < lo || n > hi) {
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %lld to %lld, found %lld", key, (long long)lo,
                       (long long)hi, (long long)n);
        return fallback;
    }
    return n;
}

double glia_json_real(glia_json_reader *r, const char *key, double fallback, double lo, double hi) {
    const json_t *v = member(r, key);
    if (!v) return fallback;
    if (!json_is_number(v)) {
        fail_type(r, key, "a number", v);
        return fallback;
    }
    const double x = json_number_value(v);
    if (!(x >= lo && x <= hi)) {
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %g to %g, found %.9g", key, lo, hi, x);
        return fallback;
    }
    return x;
}

bool glia_json_bool(glia_json_reader *r, const char *key, bool fallback) {
    const json_t *v = member(r, key);
    if (!v) return fallback;
    if (!json_is_boolean(v)) fail_type(r, key, "true or false", v);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

const char *glia_json_string(glia_json_reader *r, const char *key) {
    const json_t *v = member(r, key);
    if (v && !json_is_string(v)) fail_type(r, key, "a string", v);
    return json_string_value(v);
}

const json_t *glia_json_array(glia_json_reader *r, const char *key) {
    const json_t *v = member(r, key);
    if (v && !json_is_array(v)) fail_type(r, key, "an array", v);
    return json_is_array(v) ? v : NULL;
}

const json_t *glia_json_object(glia_json_reader *r, const char *key) {
    const json_t *v = member(r, key);
    if (v && !json_is_object(v)) fail_type(r, key, "an object", v);
    return json_is_object(v) ? v : NULL;
}

int glia_json_ids(glia_json_reader *r, const char *key, int32_t *ids, int max) {
    const json_t *v = member(r, key);
    if (!v) return 0;
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > (size_t)max) {
        glia_json_fail(r, GLIA_ERR_LIMIT, "%s: %zu ids, limit is %d", key, n, max);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id)) {
            fail_type(r, key, json_is_array(v) ? "an array of integers" : "an integer or an array of them",
                      id);
            return 0;
        }
        const json_int_t value = json_integer_value(id);
        if (value == -1 && !json_is_array(v)) return 0;
        if (value < 0 || value > INT32_MAX) {
            glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected ids from 0 to %d, found %lld", key, INT32_MAX,
                           (long long)value);
            return 0;
        }
        ids[i] = (int32_t)value;
    }
    return (int)n;
}

void glia_json_check_keys(glia_json_reader *r, const glia_json_key *table, bool strict) {
    const char *key;
    json_t *value;
    char text[80];
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        const glia_json_key *row = table;
        while (row->key && strcmp(row->key, key) != 0) row++;
        if (!row->key)
            glia_json_warn(r, "unknown key %.80s is ignored", key);
        else if (isnan(row->neutral) || glia_json_is_neutral(value, row->neutral))
            continue;
        else if (strict)
            glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %s, which Glia does not support", key,
                           glia_json_print(value, text, sizeof text));
        else
            glia_json_warn(r, "%s is %s, which Glia does not apply", key,
                           glia_json_print(value, text, sizeof text));
    }
}
