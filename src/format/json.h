/* json.h - JSON files as jansson trees, and readers that name what is wrong.
 *
 * Parsing refuses duplicate keys everywhere: which of two values counts is a
 * guess. NaN and Infinity, invalid UTF-8, numbers that do not fit and nesting
 * past 2,048 are jansson's own refusals.
 *
 * A glia_json_reader reads the members of one object. Its failure is sticky:
 * after the first, every call returns its fallback and changes nothing, so a
 * caller reads a whole object and looks at `status` once. */
#ifndef GLIA_FORMAT_JSON_H
#define GLIA_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Parse one JSON object. `flags` are jansson's, added to JSON_REJECT_DUPLICATES.
 * On success the caller owns *out (json_decref). GLIA_ERR_FORMAT names `where`,
 * line, column and byte. */
glia_status glia_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *where,
                            glia_err *err);

/* The same from a file of at most `max_bytes`. Also GLIA_ERR_IO, GLIA_ERR_LIMIT. */
glia_status glia_json_load(json_t **out, const char *path, size_t max_bytes, size_t flags, glia_err *err);

typedef struct {
    const json_t *object;
    const char *where; /* the file, and the key of `object` if it is nested: for messages */
    glia_err *err;
    glia_warning_fn *warning; /* may be NULL */
    void *user;
    glia_status status; /* GLIA_OK at first */
} glia_json_reader;

/* A member that is absent or null gives `fallback`. GLIA_ERR_FORMAT for another
 * type or outside [lo, hi]. An integer may be written 5000000.0, a real 5000000. */
int64_t glia_json_int(glia_json_reader *r, const char *key, int64_t fallback, int64_t lo, int64_t hi);
double glia_json_real(glia_json_reader *r, const char *key, double fallback, double lo, double hi);
bool glia_json_bool(glia_json_reader *r, const char *key, bool fallback);
/* Borrowed from the tree; NULL when absent or null. */
const char *glia_json_string(glia_json_reader *r, const char *key);
const json_t *glia_json_array(glia_json_reader *r, const char *key);
const json_t *glia_json_object(glia_json_reader *r, const char *key);

/* Token ids: an integer or an array of them; absent, null and a lone -1 give
 * none. Returns how many; more than `max` is GLIA_ERR_LIMIT. */
int glia_json_ids(glia_json_reader *r, const char *key, int32_t *ids, int max);

/* How to judge a key that is there. */
typedef struct {
    const char *key; /* NULL ends a table */
    double neutral;  /* the number that means nothing; NAN: any value is fine */
} glia_json_key;

/* Compare every member with `table`. A value that is not neutral is
 * GLIA_ERR_UNSUPPORTED where `strict`, else a warning; so is an unknown key, always. */
void glia_json_check_keys(glia_json_reader *r, const glia_json_key *table, bool strict);

/* Record a failure unless one is recorded already. */
__attribute__((format(printf, 3, 4))) void glia_json_fail(glia_json_reader *r, glia_status status,
                                                          const char *fmt, ...);

/* Hand one sentence to the warning function, if nothing has failed. */
__attribute__((format(printf, 2, 3))) void glia_json_warn(const glia_json_reader *r, const char *fmt, ...);

/* "an integer", "null", ... for messages. */
const char *glia_json_type_name(const json_t *value);

/* `value` as compact JSON in buf, cut to fit; for messages. Returns buf. */
const char *glia_json_print(const json_t *value, char *buf, size_t size);

/* True where the value says nothing: null, false, an empty array, object or
 * string, or a number equal to `neutral`. */
bool glia_json_is_neutral(const json_t *value, double neutral);

#endif
