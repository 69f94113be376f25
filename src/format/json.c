/* json.c - see json.h. */
#include "format/json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

/* ---- numbers that jansson refuses ------------------------------------------- */

static const char special_key[] = "__float__";
static const struct {
    const char *name;
    double value;
} specials[] = {{"NaN", (double)NAN}, {"Infinity", (double)INFINITY}, {"-Infinity", -(double)INFINITY}};
enum { N_SPECIALS = sizeof specials / sizeof *specials };

static size_t count_digits(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && text[n] >= '0' && text[n] <= '9') n++;
    return n;
}

/* The length of the JSON number at the start of `text`; 0: none. */
static size_t number_length(const char *text, size_t len, bool *integer) {
    const size_t sign = len > 0 && text[0] == '-';
    size_t at = sign + count_digits(text + sign, len - sign), n;
    *integer = true;
    if (at == sign || (at > sign + 1 && text[sign] == '0')) return 0;
    if (at < len && text[at] == '.' && (n = count_digits(text + at + 1, len - at - 1)) > 0) {
        at += 1 + n;
        *integer = false;
    }
    if (at < len && (text[at] == 'e' || text[at] == 'E')) {
        const size_t skip = at + 1 < len && (text[at + 1] == '+' || text[at + 1] == '-') ? 2 : 1;
        n = count_digits(text + at + skip, at + skip < len ? len - at - skip : 0);
        at += n ? skip + n : 0;
        *integer = *integer && n == 0;
    }
    return at;
}

static void put_special(glia_buf *out, int i) {
    glia_buf_printf(out, "{\"%s\":\"%s\"}", special_key, specials[i].name);
}

/* Append the number `text` [n] as jansson can read it. Returns false if it can read
 * the number unchanged; then nothing is appended. */
static bool put_number(glia_buf *out, const char *text, size_t n, bool integer) {
    glia_buf copy = {0};
    glia_buf_add(&copy, text, n);
    out->oom = out->oom || copy.oom;
    if (out->oom) return false;
    errno = 0;
    const bool wide = integer && (strtoll(copy.data, NULL, 10), errno == ERANGE);
    const double value = strtod(copy.data, NULL);
    if (isinf(value))
        put_special(out, value > 0 ? 1 : 2);
    else if (wide)
        glia_buf_printf(out, "%se0", copy.data); /* an exponent makes it a real number */
    glia_buf_free(&copy);
    return isinf(value) || wide;
}

/* Append the special number at the start of `text` as jansson can read it. Returns the
 * length of its name; 0: none. */
static size_t put_name(glia_buf *out, const char *text, size_t len) {
    for (int i = 0; i < N_SPECIALS; i++) {
        const size_t n = strlen(specials[i].name);
        if (n > len || memcmp(text, specials[i].name, n) != 0) continue;
        put_special(out, i);
        return n;
    }
    return 0;
}

static size_t string_length(const char *text, size_t len) {
    size_t at = 1;
    while (at < len && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    return at < len ? at + 1 : len;
}

/* Copy `text`, and replace each number that jansson refuses: by a value that jansson
 * reads, or, with `blank`, by an empty string and blanks of the same length. Returns whether
 * there was such a number. */
static bool rewrite(glia_buf *out, const char *text, size_t len, bool blank) {
    bool any = false;
    for (size_t at = 0, n; at < len && !out->oom; at += n) {
        const size_t from = out->len, left = len - at;
        bool integer, replaced = false;
        n = number_length(text + at, left, &integer);
        if (n > 0) {
            replaced = put_number(out, text + at, n, integer);
        } else if (text[at] == '"') {
            n = string_length(text + at, left);
        } else {
            n = put_name(out, text + at, left);
            replaced = n > 0;
            n += !replaced;
        }
        any |= replaced;
        if (!replaced) glia_buf_add(out, text + at, n);
        if (replaced && blank) {
            out->len = from;
            glia_buf_printf(out, "\"\"%*s", (int)n - 2, "");
        }
    }
    return any;
}

bool glia_json_number(const json_t *value, double *number) {
    const char *name = json_string_value(json_object_get(value, special_key));
    *number = json_number_value(value);
    for (int i = 0; name && i < N_SPECIALS; i++) {
        if (strcmp(name, specials[i].name) != 0) continue;
        *number = specials[i].value;
        return true;
    }
    return json_is_number(value);
}

/* ---- parsing ---------------------------------------------------------------- */

/* Parse a text that jansson has refused, with its numbers rewritten. */
static json_t *parse_rewritten(const char *text, size_t len, size_t flags, json_error_t *e) {
    glia_buf copy = {0};
    json_t *tree = NULL, *blanked = NULL;
    if (rewrite(&copy, text, len, false)) {
        tree = json_loadb(copy.data, copy.len, flags, e);
        if (!tree) { /* find the error's position in the original text */
            json_error_t there;
            copy.len = 0;
            rewrite(&copy, text, len, true);
            blanked = json_loadb(copy.data, copy.len, flags, &there);
            if (!blanked) *e = there;
        }
    }
    json_decref(blanked);
    if (copy.oom) e->text[JSON_ERROR_TEXT_LENGTH - 1] = (char)json_error_out_of_memory;
    glia_buf_free(&copy);
    return tree;
}

glia_status glia_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *where,
                            glia_err *err) {
    json_error_t e;
    flags |= JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    *out = json_loadb(text, len, flags, &e);
    if (!*out) *out = parse_rewritten(text, len, flags, &e);
    if (!*out) {
        if (json_error_code(&e) == json_error_out_of_memory) return glia_fail_nomem(err, len, where);
        return glia_fail(err, GLIA_ERR_FORMAT, "%s: line %d, column %d (byte %d): %s", where, e.line,
                         e.column, e.position, e.text);
    }
    double number;
    if (!json_is_object(*out) || glia_json_number(*out, &number)) {
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
    double number;
    if (json_is_object(value) && glia_json_number(value, &number)) return "a number";
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
    double number;
    if (json_is_object(value) && glia_json_number(value, &number)) {
        snprintf(buf, size, "%s", json_string_value(json_object_get(value, special_key)));
        return buf;
    }
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
    double number;
    if (json_is_array(found) || (json_is_object(found) && !glia_json_number(found, &number)))
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %s, found %s", key, expected,
                       glia_json_type_name(found));
    else
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %s, found %s %s", key, expected,
                       glia_json_type_name(found), glia_json_print(found, text, sizeof text));
}

int64_t glia_json_int(glia_json_reader *r, const char *key, int64_t fallback, int64_t lo, int64_t hi) {
    const json_t *v = member(r, key);
    if (!v) return fallback;
    double real;
    if (!glia_json_number(v, &real) || (isfinite(real) && real != floor(real))) {
        fail_type(r, key, "an integer", v);
        return fallback;
    }
    const bool exact = json_is_integer(v) || fabs(real) <= 0x1p53;
    const int64_t n = json_is_integer(v) ? json_integer_value(v) : exact ? (int64_t)real : 0;
    if (!exact || n < lo || n > hi) {
        char text[80];
        glia_json_fail(r, GLIA_ERR_FORMAT, "%s: expected %lld to %lld, found %s", key, (long long)lo,
                       (long long)hi, glia_json_print(v, text, sizeof text));
        return fallback;
    }
    return n;
}

double glia_json_real(glia_json_reader *r, const char *key, double fallback, double lo, double hi) {
    const json_t *v = member(r, key);
    if (!v) return fallback;
    double x;
    if (!glia_json_number(v, &x)) {
        fail_type(r, key, "a number", v);
        return fallback;
    }
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

/* The value as a token id; -1: it is none. */
static int32_t id_of(const json_t *value) {
    const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id < 0 || id > INT32_MAX ? -1 : (int32_t)id;
}

int glia_json_ids(glia_json_reader *r, const char *key, int32_t *ids, int max) {
    const json_t *v = member(r, key);
    const size_t n = !v ? 0 : json_is_array(v) ? json_array_size(v) : 1;
    int kept = 0;
    for (size_t i = 0; i < n && !r->status; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        double number;
        if (!glia_json_number(id, &number) || number != floor(number))
            fail_type(r, key, json_is_array(v) ? "an array of integers" : "an integer or an array of them",
                      id);
        else if (id_of(id) >= 0 && kept == max)
            glia_json_fail(r, GLIA_ERR_LIMIT, "%s: %zu ids, limit is %d", key, n, max);
        else if (id_of(id) >= 0)
            ids[kept++] = id_of(id);
    }
    return r->status ? 0 : kept;
}

int32_t glia_json_id(const glia_json_reader *r, const char *key, int32_t fallback) {
    const json_t *v = json_object_get(r->object, key);
    return v ? id_of(v) : fallback;
}

void glia_json_unknown(glia_json_unknown_keys *u, const char *key) {
    if (key[0] == '_') return;
    if (u->n++ < GLIA_JSON_NAMED)
        snprintf(u->names + strlen(u->names), sizeof u->names - strlen(u->names), "%s%.60s",
                 *u->names ? ", " : "", key);
}

void glia_json_warn_unknown(const glia_json_reader *r, const glia_json_unknown_keys *u) {
    if (u->n > GLIA_JSON_NAMED)
        glia_json_warn(r, "unknown keys %s and %zu more are ignored", u->names, u->n - GLIA_JSON_NAMED);
    else if (u->n > 0)
        glia_json_warn(r, u->n == 1 ? "unknown key %s is ignored" : "unknown keys %s are ignored", u->names);
}

void glia_json_check_values(glia_json_reader *r, const glia_json_key *table) {
    for (const glia_json_key *row = table; row->key; row++) {
        char text[80];
        const json_t *value = json_object_get(r->object, row->key);
        if (value && !isnan(row->neutral) && !glia_json_is_neutral(value, row->neutral))
            glia_json_fail(r, GLIA_ERR_UNSUPPORTED, "%s is %s, which Glia does not support", row->key,
                           glia_json_print(value, text, sizeof text));
    }
}

void glia_json_check_keys(glia_json_reader *r, const glia_json_key *table) {
    const char *key;
    json_t *value;
    glia_json_unknown_keys unknown = {0};
    json_object_foreach((json_t *)(uintptr_t)r->object, key, value) {
        const glia_json_key *row = table;
        while (row->key && strcmp(row->key, key) != 0) row++;
        if (!row->key) glia_json_unknown(&unknown, key);
    }
    glia_json_check_values(r, table);
    glia_json_warn_unknown(r, &unknown);
}
