/* json.h - JSON files as jansson trees, and typed readers with clear messages.
 *
 * Parsing refuses duplicate keys, because either value could be the intended one.
 * jansson itself refuses invalid UTF-8 and nesting deeper than 2,048. A number of any
 * size, NaN and Infinity are read; the reader of a key checks its number. The tree has
 * an integer beyond 64 bits as a real number, and a number that is not finite as the
 * object that transformers 5 writes for it: {"__float__": "Infinity"}.
 *
 * A glia_json_reader reads the members of one object. A failure is sticky: after
 * the first failure every call returns its fallback and changes nothing, so the
 * caller can read a whole object and then check `status` once. */
#ifndef GLIA_FORMAT_JSON_H
#define GLIA_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Parse one JSON object. `flags` are jansson flags, added to
 * JSON_REJECT_DUPLICATES. On success the caller owns *out (json_decref). The
 * message of GLIA_ERR_FORMAT has `where`, line, column and byte. */
glia_status glia_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *where,
                            glia_err *err);

/* The same from a file of at most `max_bytes`. More errors: GLIA_ERR_IO, GLIA_ERR_LIMIT. */
glia_status glia_json_load(json_t **out, const char *path, size_t max_bytes, size_t flags, glia_err *err);

typedef struct {
    const json_t *object;
    const char *where; /* for messages: the file, and the key of `object` if nested */
    glia_err *err;
    glia_warning_fn *warning; /* may be NULL */
    void *user;
    glia_status status; /* the caller sets GLIA_OK; then the first failure */
} glia_json_reader;

/* The member `key`; `fallback` if it is absent or null. Another type or a value
 * outside [lo, hi] is GLIA_ERR_FORMAT. An integer may be written as 5000000.0, a
 * real as 5000000. */
int64_t glia_json_int(glia_json_reader *r, const char *key, int64_t fallback, int64_t lo, int64_t hi);
double glia_json_real(glia_json_reader *r, const char *key, double fallback, double lo, double hi);
bool glia_json_bool(glia_json_reader *r, const char *key, bool fallback);
/* The result points into the tree; NULL if the member is absent or null. */
const char *glia_json_string(glia_json_reader *r, const char *key);
const json_t *glia_json_array(glia_json_reader *r, const char *key);
const json_t *glia_json_object(glia_json_reader *r, const char *key);

/* Read token ids: one integer or an array of integers. An absent key and null give no
 * ids. An integer that is no id, such as -1, is left out: no token has it. Returns the
 * number of ids; more than `max` is GLIA_ERR_LIMIT. */
int glia_json_ids(glia_json_reader *r, const char *key, int32_t *ids, int max);
/* Read an id that no answer depends on: `fallback` if the key is absent, -1 if its value
 * is no id. Cannot fail. */
int32_t glia_json_id(const glia_json_reader *r, const char *key, int32_t fallback);

/* True if the value is a number; *number may then be infinite or NaN. */
bool glia_json_number(const json_t *value, double *number);

/* A key that may be present, and its value without effect. */
typedef struct {
    const char *key; /* NULL ends a table */
    double neutral;  /* see glia_json_is_neutral(); NAN: every value is allowed */
} glia_json_key;

/* Compare the members that are in `table`. A value that is not neutral is
 * GLIA_ERR_UNSUPPORTED. */
void glia_json_check_values(glia_json_reader *r, const glia_json_key *table);
/* The same, and one warning names the keys that are not in `table`. */
void glia_json_check_keys(glia_json_reader *r, const glia_json_key *table);

/* Unknown keys of one object, for one warning that names the first few. A key that
 * begins with "_" does not count: it is a private attribute of the program that wrote
 * the file. Zero the struct before use. */
enum { GLIA_JSON_NAMED = 4 };
typedef struct {
    size_t n;
    char names[GLIA_JSON_NAMED * 64];
} glia_json_unknown_keys;
void glia_json_unknown(glia_json_unknown_keys *u, const char *key);
void glia_json_warn_unknown(const glia_json_reader *r, const glia_json_unknown_keys *u);

/* Record a failure, unless the reader has already failed. */
__attribute__((format(printf, 3, 4))) void glia_json_fail(glia_json_reader *r, glia_status status,
                                                          const char *fmt, ...);

/* Pass one sentence to the warning function, unless the reader has already failed. */
__attribute__((format(printf, 2, 3))) void glia_json_warn(const glia_json_reader *r, const char *fmt, ...);

/* "an integer", "null", ... for messages; NULL counts as null. */
const char *glia_json_type_name(const json_t *value);

/* Write `value` into buf as compact JSON, cut to fit; for messages. Returns buf. */
const char *glia_json_print(const json_t *value, char *buf, size_t size);

/* True if the value has no effect: null, false, an empty array, object or string,
 * or a number equal to `neutral`. */
bool glia_json_is_neutral(const json_t *value, double neutral);

#endif
