/* schema_keywords.c - what each keyword of JSON Schema says, draft 2020-12 and older spellings. */
#include <string.h>

#include "format/json.h"
#include "grammar/chars.h"
#include "grammar/schema.h"

/* ---- readers of keywords ------------------------------------------------------------ */

static void bad(glia_schema *s, const char *key, const char *expected, const json_t *found) {
    char text[120];
    glia_schema_fail(s, GLIA_ERR_FORMAT, "\"%s\": expected %s, found %s", key, expected,
                     glia_json_print(found, text, sizeof text));
}

static bool is_schema(const json_t *x) { return json_is_object(x) || json_is_boolean(x); }

/* The conjunction of a subschema; ANY if the keyword is absent. */
static glia_conj subschema(glia_schema *s, const char *key, const json_t *x) {
    if (!x) return GLIA_CONJ_ANY;
    if (!is_schema(x)) {
        bad(s, key, "a schema", x);
        return GLIA_CONJ_NEVER;
    }
    return glia_conj_of(s, (glia_literal){.json = x});
}

static const glia_values *values(glia_schema *s, const char *key, const json_t *x) {
    return glia_conj_values(s, subschema(s, key, x));
}

/* The values that a schema refuses; false if there is no complement. */
static bool opposite(glia_schema *s, const char *key, const json_t *x, glia_values *out) {
    return glia_values_not(s, values(s, key, x), out) && !s->status;
}

/* A count; `fallback` if absent. */
static int number_of(glia_schema *s, const json_t *schema, const char *key, int fallback) {
    const json_t *x = json_object_get(schema, key);
    double d;
    if (!x) return fallback;
    if (!glia_json_number(x, &d) || !(d >= 0) || d != (double)(int64_t)(d < 1e15 ? d : 1e15)) {
        bad(s, key, "an integer of at least 0", x);
        return fallback;
    }
    return d > 1e9 ? 1000000000 : (int)d;
}

/* ---- types ---------------------------------------------------------------------------- */

static void add_type(glia_schema *s, glia_values *v, const json_t *name) {
    const char *t = json_is_string(name) ? json_string_value(name) : "";
    if (strcmp(t, "null") == 0)
        v->null = true;
    else if (strcmp(t, "boolean") == 0)
        v->yes = v->no = true;
    else if (strcmp(t, "number") == 0)
        v->number = s->any_number;
    else if (strcmp(t, "integer") == 0)
        v->number = v->number == s->any_number ? v->number : s->integer;
    else if (strcmp(t, "string") == 0)
        v->string = s->any_string;
    else if (strcmp(t, "array") == 0)
        v->arrays = s->any.arrays, v->n_arrays = 1;
    else if (strcmp(t, "object") == 0)
        v->objects = s->any.objects, v->n_objects = 1;
    else
        bad(s, "type", "null, boolean, number, integer, string, array or object", name);
}

static void types(glia_schema *s, const json_t *x, glia_values *v) {
    *v = s->none;
    size_t i;
    const json_t *one;
    if (json_is_array(x))
        json_array_foreach(x, i, one) add_type(s, v, one);
    else
        add_type(s, v, x);
}

/* ---- numbers and strings ---------------------------------------------------------------- */

static void bound(glia_schema *s, const json_t *schema, const char *key, bool upper, bool exclusive,
                  glia_values *v) {
    const json_t *x = json_object_get(schema, key);
    char text[700];
    if (!x || json_is_boolean(x)) return; /* draft 4: exclusiveMaximum is of maximum */
    if (!glia_number_text(x, text, sizeof text)) {
        bad(s, key, "a number", x);
        return;
    }
    if (json_is_true(json_object_get(schema, upper ? "exclusiveMaximum" : "exclusiveMinimum")))
        exclusive = true;
    const glia_rx e = glia_number_bound(s, text, upper, exclusive);
    v->number = v->number == s->any_number ? e : glia_rx_and(s->rx, v->number, e);
}

static void numbers(glia_schema *s, const json_t *schema, glia_values *v) {
    bound(s, schema, "minimum", false, false, v);
    bound(s, schema, "exclusiveMinimum", false, true, v);
    bound(s, schema, "maximum", true, false, v);
    bound(s, schema, "exclusiveMaximum", true, true, v);
    const json_t *x = json_object_get(schema, "multipleOf");
    char text[700];
    if (!x) return;
    if (!glia_number_text(x, text, sizeof text) || text[0] == '-' || !strpbrk(text, "123456789")) {
        bad(s, "multipleOf", "a number above 0", x);
        return;
    }
    const glia_rx e = glia_number_multiple(s, text);
    if (e == GLIA_RX_NONE)
        glia_schema_loose(s, "\"multipleOf\" of more than 18 digits");
    else
        v->number = v->number == s->any_number ? e : glia_rx_and(s->rx, v->number, e);
}

static void and_string(glia_schema *s, glia_rx e, glia_values *v) {
    v->string = v->string == s->any_string ? e : glia_rx_and(s->rx, v->string, e);
}

static glia_rx quoted(glia_schema *s, glia_rx e) {
    const glia_rx quote = glia_rx_range(s->rx, '"', '"');
    return glia_rx_cat3(s->rx, quote, e, quote);
}

/* The strings that match a pattern of JSON Schema; GLIA_RX_NONE after a failure or a warning. */
static glia_rx pattern(glia_schema *s, const char *key, const json_t *x) {
    glia_rx e = GLIA_RX_NONE;
    glia_err err;
    if (!json_is_string(x)) {
        bad(s, key, "a regular expression", x);
        return GLIA_RX_NONE;
    }
    const glia_status status = glia_rx_parse(&e, s->rx, json_string_value(x), json_string_length(x),
                                             GLIA_SPELL_JSON, true, key, &err);
    if (status == GLIA_ERR_UNSUPPORTED)
        glia_schema_loose(s, "%s", err.msg);
    else if (status)
        glia_schema_fail(s, status, "%s", err.msg);
    return status ? GLIA_RX_NONE : quoted(s, e);
}

static bool allows_strings(const json_t *type) {
    size_t i;
    const json_t *x;
    bool found = !type || (json_is_string(type) && strcmp(json_string_value(type), "string") == 0);
    json_array_foreach(type, i, x) found |= json_is_string(x) && strcmp(json_string_value(x), "string") == 0;
    return found;
}

static void strings(glia_schema *s, const json_t *schema, glia_values *v) {
    const int least = number_of(s, schema, "minLength", 0),
              most = number_of(s, schema, "maxLength", GLIA_RX_MANY);
    if (least > 0 || most != GLIA_RX_MANY)
        and_string(s,
                   most != GLIA_RX_MANY && least > most
                       ? GLIA_RX_NONE
                       : quoted(s, glia_rx_repeat(s->rx, glia_char_any(s->rx, GLIA_SPELL_JSON), least, most)),
                   v);
    const json_t *x = json_object_get(schema, "pattern");
    if (x) {
        const glia_rx e = pattern(s, "pattern", x);
        if (e != GLIA_RX_NONE) and_string(s, e, v);
    }
    x = json_object_get(schema, "format");
    if (!json_is_string(x) || !allows_strings(json_object_get(schema, "type"))) return;
    bool exact = false;
    const glia_rx e = glia_schema_format(s, json_string_value(x), &exact);
    if (e == GLIA_RX_NONE)
        glia_schema_loose(s, "\"format\": \"%s\"", json_string_value(x));
    else {
        and_string(s, e, v);
        v->narrow = !exact;
    }
}

/* ---- arrays --------------------------------------------------------------------------------- */

/* The elements of draft 2020-12 (prefixItems, items) or older (items, additionalItems). */
static void elements(glia_schema *s, const json_t *schema, glia_array_form *f) {
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems");
    const json_t *rest = items;
    if (json_is_array(items)) {
        prefix = items;
        rest = json_object_get(schema, "additionalItems");
    }
    if (prefix && !json_is_array(prefix)) bad(s, "prefixItems", "an array of schemas", prefix);
    const size_t n = json_array_size(prefix);
    glia_conj *list = glia_schema_take(s, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n && list; i++) list[i] = subschema(s, "prefixItems", json_array_get(prefix, i));
    f->prefix = list;
    f->n = list ? (int)n : 0;
    f->rest = subschema(s, "items", rest);
    f->seen = rest ? GLIA_RX_MANY : f->n;
}

static bool arrays(glia_schema *s, const json_t *schema, glia_array_form *f) {
    static const char *const keys[] = {"items",    "prefixItems", "minItems",       "maxItems",
                                       "contains", "uniqueItems", "additionalItems"};
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) any |= json_object_get(schema, keys[i]) != NULL;
    if (!any) return false;
    *f = (glia_array_form){.most = GLIA_RX_MANY};
    elements(s, schema, f);
    f->least = number_of(s, schema, "minItems", 0);
    f->most = number_of(s, schema, "maxItems", GLIA_RX_MANY);
    f->unique = json_is_true(json_object_get(schema, "uniqueItems"));
    const json_t *contains = json_object_get(schema, "contains");
    if (contains) {
        f->has_some = true;
        f->some = subschema(s, "contains", contains);
        f->some_least = number_of(s, schema, "minContains", 1);
        f->some_most = number_of(s, schema, "maxContains", GLIA_RX_MANY);
    }
    return true;
}

/* ---- objects ---------------------------------------------------------------------------------- */

static bool known_name(const glia_property *list, int n, const char *name, size_t len) {
    for (int i = 0; i < n; i++)
        if (list[i].len == len && memcmp(list[i].name, name, len) == 0) return true;
    return false;
}

/* Split the classes by a pattern: what matches also has the value `value`. matched[] says which classes have
 * matched a pattern. */
static int split(glia_schema *s, glia_key_class *list, bool *matched, int n, int room, glia_rx keys,
                 glia_conj value) {
    const int before = n;
    for (int i = 0; i < before; i++) {
        const glia_rx in = glia_rx_and(s->rx, list[i].keys, keys),
                      out = glia_rx_minus(s->rx, list[i].keys, keys);
        if (glia_rx_is_none(s->rx, in)) continue;
        const glia_key_class both = {in, glia_conj_and(s, list[i].value, value), true};
        if (glia_rx_is_none(s->rx, out)) {
            list[i] = both;
            matched[i] = true;
        } else if (n == room) {
            glia_schema_fail(s, GLIA_ERR_LIMIT, "more than %d combinations of \"patternProperties\"", room);
        } else {
            list[i].keys = out;
            matched[n] = true;
            list[n++] = both;
        }
    }
    return n;
}

enum { CLASSES_MAX = 256 };

/* The classes of keys: patterns, and the rest, which `additional` evaluates if `seen`. */
static void classes(glia_schema *s, const json_t *patterns, glia_conj additional, bool seen,
                    glia_object_form *f) {
    glia_key_class *list = glia_schema_take(s, CLASSES_MAX * sizeof *list);
    bool matched[CLASSES_MAX] = {false};
    const char *name;
    const json_t *x;
    int n = 1;
    if (!list) return;
    list[0] = (glia_key_class){.keys = s->any_string};
    json_object_foreach((json_t *)patterns, name, x) {
        json_t *text = json_string(name);
        const glia_rx keys = pattern(s, "patternProperties", text);
        json_decref(text);
        if (keys != GLIA_RX_NONE)
            n = split(s, list, matched, n, CLASSES_MAX, keys, subschema(s, "patternProperties", x));
    }
    f->rest = list;
    f->n_rest = 0;
    for (int i = 0; i < n; i++) {
        if (!matched[i]) list[i].value = additional, list[i].seen = seen;
        if (list[i].value != GLIA_CONJ_NEVER) list[f->n_rest++] = list[i];
    }
}

/* The names in `required`: those without a schema come last, with the value that the classes give them. */
static void require(glia_schema *s, const json_t *names, glia_object_form *f, glia_property *list, int *n) {
    size_t i;
    const json_t *x;
    if (names && !json_is_array(names) && !json_is_boolean(names))
        bad(s, "required", "an array of strings", names);
    json_array_foreach(names, i, x) {
        if (!json_is_string(x)) {
            bad(s, "required", "an array of strings", names);
            return;
        }
        const char *name = json_string_value(x);
        const size_t len = json_string_length(x);
        if (!known_name(list, *n, name, len)) list[(*n)++] = glia_object_unnamed(s, f, name, len);
        for (int k = 0; k < *n; k++)
            if (list[k].len == len && memcmp(list[k].name, name, len) == 0) list[k].required = true;
    }
}

static bool objects(glia_schema *s, const json_t *schema, glia_object_form *f) {
    static const char *const keys[] = {"properties", "patternProperties", "additionalProperties",
                                       "required",   "minProperties",     "maxProperties"};
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) any |= json_object_get(schema, keys[i]) != NULL;
    if (!any) return false;
    const json_t *properties = json_object_get(schema, "properties"),
                 *required = json_object_get(schema, "required");
    const json_t *patterns = json_object_get(schema, "patternProperties");
    if (properties && !json_is_object(properties)) bad(s, "properties", "an object", properties);
    if (patterns && !json_is_object(patterns)) bad(s, "patternProperties", "an object", patterns);
    *f = (glia_object_form){.least = number_of(s, schema, "minProperties", 0),
                            .most = number_of(s, schema, "maxProperties", GLIA_RX_MANY)};
    glia_object_form patterned = *f;
    const json_t *additional = json_object_get(schema, "additionalProperties");
    if (patterns) classes(s, patterns, GLIA_CONJ_ANY, false, &patterned);
    classes(s, patterns, subschema(s, "additionalProperties", additional), additional != NULL, f);
    glia_property *list =
        glia_schema_take(s, (json_object_size(properties) + json_array_size(required) + 1) * sizeof *list);
    if (!list) return false;
    int n = 0;
    const char *name;
    size_t len;
    json_t *x;
    json_object_keylen_foreach((json_t *)properties, name, len, x) {
        glia_conj own = subschema(s, "properties", x);
        if (patterns) { /* only the patterns hold beside it, not additionalProperties */
            const glia_conj of_patterns = glia_object_value(s, &patterned, name, len);
            own = glia_conj_and(s, own, of_patterns);
        }
        list[n++] = (glia_property){.name = name, .len = len, .value = own, .seen = true};
    }
    require(s, required, f, list, &n);
    f->property = list;
    f->n = n;
    return true;
}

/* ---- keywords that combine schemas ------------------------------------------------------------- */

static void all_of(glia_schema *s, const json_t *list, glia_values *v) {
    size_t i;
    const json_t *x;
    json_array_foreach(list, i, x) *v = glia_values_and(s, v, values(s, "allOf", x));
}

/* Keep the values of one member of a list. */
static void put_values(glia_schema *s, glia_vec *list, const glia_values *v) {
    if (!glia_vec_push(list, sizeof v, &v)) glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
}
static const glia_values *copy_values(glia_schema *s, const glia_values *v) {
    glia_values *copy = glia_schema_take(s, sizeof *copy);
    if (copy) *copy = *v;
    return copy ? copy : &s->none;
}

enum { OVERLAPS_MAX = 64 };

/* What satisfies several schemas is evaluated by all of them: add the intersections with the last of a list,
 * whose first part has those of all others. False if that would be too many. */
static bool add_overlaps(glia_schema *s, glia_vec *list) {
    const size_t n = list->n - 1;
    const glia_values *last = ((const glia_values **)list->data)[n];
    if (n > OVERLAPS_MAX / 2) return false;
    for (size_t i = 0; i < n && !s->status; i++) {
        const glia_values both = glia_values_and(s, ((const glia_values **)list->data)[i], last);
        put_values(s, list, copy_values(s, &both));
    }
    return true;
}

static void any_of(glia_schema *s, const char *key, const json_t *list, glia_values *v) {
    glia_vec all = {0};
    size_t i;
    const json_t *x;
    bool narrow = false;
    json_array_foreach(list, i, x) {
        put_values(s, &all, values(s, key, x));
        narrow |= s->tracks && !add_overlaps(s, &all);
    }
    glia_values sum = glia_values_or_all(s, all.data, all.n);
    sum.narrow |= narrow;
    glia_vec_free(&all);
    *v = glia_values_and(s, v, &sum);
}

static bool disjoint(glia_schema *s, const glia_values *a, const glia_values *b) {
    s->quiet++;
    const glia_values both = glia_values_and(s, a, b);
    s->quiet--;
    return glia_values_is_none(s, &both);
}

/* One branch without all others that it overlaps. */
static bool only(glia_schema *s, const json_t *list, size_t i, glia_values *out) {
    size_t k;
    const json_t *x;
    *out = *values(s, "oneOf", json_array_get(list, i));
    json_array_foreach(list, k, x) {
        glia_values others;
        const glia_values *b = values(s, "oneOf", x);
        if (k == i || disjoint(s, out, b)) continue;
        if (!glia_values_not(s, b, &others) || s->status) return false;
        *out = glia_values_and(s, out, &others);
    }
    return !s->status;
}

static void one_of(glia_schema *s, const json_t *list, glia_values *v) {
    glia_vec all = {0};
    glia_values one;
    bool exact = true;
    for (size_t i = 0; i < json_array_size(list) && exact; i++) {
        exact = only(s, list, i, &one);
        put_values(s, &all, copy_values(s, &one));
    }
    const glia_values sum = glia_values_or_all(s, all.data, all.n);
    glia_vec_free(&all);
    if (s->status) return;
    if (exact) {
        *v = glia_values_and(s, v, &sum);
        return;
    }
    glia_schema_loose(s, "that only one schema of \"oneOf\" holds");
    any_of(s, "oneOf", list, v);
}

static void if_then_else(glia_schema *s, const json_t *schema, glia_values *v) {
    const json_t *test = json_object_get(schema, "if");
    const json_t *then = json_object_get(schema, "then"), *other = json_object_get(schema, "else");
    if (!then && !other && !s->tracks) return;
    glia_values no;
    if (!opposite(s, "if", test, &no)) {
        if (!s->status) glia_schema_loose(s, "\"if\" of a schema that has no complement");
        return;
    }
    const glia_values yes = glia_values_and(s, values(s, "if", test), values(s, "then", then));
    no = glia_values_and(s, &no, values(s, "else", other));
    const glia_values both = glia_values_or(s, &yes, &no);
    *v = glia_values_and(s, v, &both);
}

/* If the key is there, so are other keys, or a schema holds. */
static void dependency(glia_schema *s, const char *name, size_t len, const json_t *x, glia_values *v) {
    glia_property *p = glia_schema_take(s, (json_array_size(x) + 2) * sizeof *p);
    glia_object_form *f = glia_schema_take(s, 2 * sizeof *f);
    if (!p || !f) return;
    f[0] = f[1] = s->any.objects[0];
    p[0] = (glia_property){.name = name, .len = len, .value = GLIA_CONJ_NEVER};
    p[1] = (glia_property){.name = name, .len = len, .required = true};
    f[0].property = &p[0];
    f[0].n = 1;
    f[1].property = &p[1];
    f[1].n = 1;
    size_t i;
    const json_t *y;
    json_array_foreach(x, i, y) {
        if (!json_is_string(y))
            bad(s, "dependentRequired", "arrays of strings", x);
        else if (!known_name(&p[1], f[1].n, json_string_value(y), json_string_length(y)))
            p[1 + f[1].n++] =
                (glia_property){.name = json_string_value(y), .len = json_string_length(y), .required = true};
    }
    glia_values without = s->any, with = s->any;
    without.objects = &f[0];
    with.objects = &f[1];
    if (!json_is_array(x)) with = glia_values_and(s, &with, values(s, "dependentSchemas", x));
    const glia_values both = glia_values_or(s, &without, &with);
    *v = glia_values_and(s, v, &both);
}

static void dependencies(glia_schema *s, const char *key, const json_t *list, glia_values *v) {
    const char *name;
    size_t len;
    json_t *x;
    if (!json_is_object(list)) bad(s, key, "an object", list);
    json_object_keylen_foreach((json_t *)list, name, len, x) dependency(s, name, len, x, v);
}

static void property_names(glia_schema *s, const json_t *x, glia_values *v) {
    glia_key_class *k = glia_schema_take(s, sizeof *k);
    glia_object_form *f = glia_schema_take(s, sizeof *f);
    if (!k || !f) return;
    *k = (glia_key_class){.keys = values(s, "propertyNames", x)->string};
    *f = s->any.objects[0];
    f->rest = k;
    f->n_rest = k->keys != GLIA_RX_NONE;
    glia_values own = s->any;
    own.objects = f;
    *v = glia_values_and(s, v, &own);
}

static glia_values or_constants(glia_schema *s, const json_t *list) {
    glia_vec all = {0};
    size_t i;
    const json_t *x;
    json_array_foreach(list, i, x) {
        const glia_values one = glia_constant_values(s, x);
        put_values(s, &all, copy_values(s, &one));
    }
    const glia_values sum = glia_values_or_all(s, all.data, all.n);
    glia_vec_free(&all);
    return sum;
}

/* ---- a value ------------------------------------------------------------------------------------ */

static const glia_array_form *constant_array(glia_schema *s, const json_t *value) {
    const size_t n = json_array_size(value);
    glia_array_form *f = glia_schema_take(s, sizeof *f);
    glia_conj *list = glia_schema_take(s, (n + 1) * sizeof *list);
    if (!f || !list) return NULL;
    for (size_t i = 0; i < n; i++)
        list[i] = glia_conj_of(s, (glia_literal){.json = json_array_get(value, i), .constant = true});
    *f = (glia_array_form){
        .prefix = list, .n = (int)n, .rest = GLIA_CONJ_NEVER, .least = (int)n, .most = (int)n};
    return f;
}

static const glia_object_form *constant_object(glia_schema *s, const json_t *value) {
    glia_object_form *f = glia_schema_take(s, sizeof *f);
    glia_property *list = glia_schema_take(s, (json_object_size(value) + 1) * sizeof *list);
    if (!f || !list) return NULL;
    const char *name;
    size_t len;
    json_t *x;
    *f = (glia_object_form){.property = list, .most = GLIA_RX_MANY};
    json_object_keylen_foreach((json_t *)value, name, len, x) list[f->n++] =
        (glia_property){.name = name,
                        .len = len,
                        .value = glia_conj_of(s, (glia_literal){.json = x, .constant = true}),
                        .required = true};
    return f;
}

glia_values glia_constant_values(glia_schema *s, const json_t *value) {
    glia_values v = s->none;
    char text[700];
    switch (json_typeof(value)) {
    case JSON_NULL: v.null = true; break;
    case JSON_TRUE: v.yes = true; break;
    case JSON_FALSE: v.no = true; break;
    case JSON_STRING:
        v.string = glia_schema_key(s, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        if (glia_number_text(value, text, sizeof text)) v.number = glia_number_equal(s, text);
        break;
    case JSON_ARRAY:
        v.arrays = constant_array(s, value);
        v.n_arrays = v.arrays != NULL;
        break;
    case JSON_OBJECT:
        v.objects = constant_object(s, value);
        v.n_objects = v.objects != NULL;
        break;
    }
    return v;
}

/* Keywords that each type of value has of its own. */
static void own_keywords(glia_schema *s, const json_t *schema, glia_values *v) {
    glia_values own = s->any;
    glia_array_form *a = glia_schema_take(s, sizeof *a);
    glia_object_form *o = glia_schema_take(s, sizeof *o);
    if (!a || !o) return;
    const json_t *x = json_object_get(schema, "type");
    if (x) types(s, x, v);
    numbers(s, schema, &own);
    strings(s, schema, &own);
    if (arrays(s, schema, a)) own.arrays = a, own.n_arrays = 1;
    if (objects(s, schema, o)) own.objects = o, own.n_objects = 1;
    *v = glia_values_and(s, v, &own);
    if ((x = json_object_get(schema, "propertyNames"))) property_names(s, x, v);
    if ((x = json_object_get(schema, "const"))) {
        const glia_values c = glia_constant_values(s, x);
        *v = glia_values_and(s, v, &c);
    }
    if ((x = json_object_get(schema, "enum"))) {
        if (!json_is_array(x)) bad(s, "enum", "an array", x);
        const glia_values c = or_constants(s, x);
        *v = glia_values_and(s, v, &c);
    }
}

static void reference(glia_schema *s, const json_t *schema, const json_t *ref, glia_values *v) {
    if (!json_is_string(ref)) {
        bad(s, "$ref", "a string", ref);
        return;
    }
    const json_t *target = glia_schema_resolve(s, schema, json_string_value(ref));
    if (target) *v = glia_values_and(s, v, values(s, "$ref", target));
}

/* Is the schema the opposite of another one, and nothing else? */
static bool only_not(const json_t *x) { return json_object_size(x) == 1 && json_object_get(x, "not"); }

/* The keywords that combine schemas, in the document's order, which is the order of keys. */
static void combine(glia_schema *s, const json_t *schema, const char *key, const json_t *x, glia_values *v) {
    const bool list = strcmp(key, "allOf") == 0 || strcmp(key, "anyOf") == 0 || strcmp(key, "oneOf") == 0;
    if (list && (!json_is_array(x) || json_array_size(x) == 0))
        bad(s, key, "an array of schemas", x);
    else if (strcmp(key, "$ref") == 0)
        reference(s, schema, x, v);
    else if (strcmp(key, "allOf") == 0)
        all_of(s, x, v);
    else if (strcmp(key, "anyOf") == 0)
        any_of(s, key, x, v);
    else if (strcmp(key, "oneOf") == 0)
        one_of(s, x, v);
    else if (strcmp(key, "if") == 0)
        if_then_else(s, schema, v);
    else if (strcmp(key, "not") == 0 && !s->tracks && only_not(x))
        *v = glia_values_and(s, v, values(s, "not", json_object_get(x, "not")));
    else if (strcmp(key, "not") == 0) {
        glia_values no;
        if (opposite(s, "not", x, &no))
            *v = glia_values_and(s, v, &no);
        else if (!s->status)
            glia_schema_loose(s, "\"not\" of a schema that has no complement");
    } else if (strncmp(key, "dependen", 8) == 0)
        dependencies(s, key, x, v);
    else if (strcmp(key, "$dynamicRef") == 0 || strcmp(key, "$recursiveRef") == 0) {
        if (json_is_string(x) && glia_schema_ref_is_static(s, key, json_string_value(x)))
            reference(s, schema, x, v);
        else
            glia_schema_loose(s, "\"%s\"", key);
    }
}

/* Drafts 3 to 7: "$ref" alone counts. */
static glia_values lone_reference(glia_schema *s, const json_t *schema) {
    static const char *const silent[] = {
        "$ref",    "$id",      "id",      "$comment", "title",     "description",     "definitions",
        "default", "examples", "$schema", "readOnly", "writeOnly", "contentMediaType"};
    glia_values v = s->any;
    const char *key;
    json_t *x;
    json_object_foreach((json_t *)schema, key, x) {
        bool told = false;
        for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) told |= strcmp(key, silent[i]) == 0;
        if (!told) glia_grammar_warn(s->g, "\"%s\" beside \"$ref\" means nothing before draft 2019-09", key);
    }
    reference(s, schema, json_object_get(schema, "$ref"), &v);
    return v;
}

/* The keywords that need to know what all others have evaluated. */
static void unevaluated(glia_schema *s, const json_t *schema, glia_values *v) {
    const json_t *items = json_object_get(schema, "unevaluatedItems"),
                 *properties = json_object_get(schema, "unevaluatedProperties");
    const json_t *contains = json_object_get(schema, "contains");
    if (!items && !properties) return;
    if (contains && json_is_false(items) && s->draft >= 2020)
        items = contains; /* what it found is evaluated */
    else if (contains && items && !json_is_true(items) && s->draft >= 2020) {
        glia_schema_loose(s, "\"unevaluatedItems\" beside \"contains\"");
        items = NULL;
    }
    *v = glia_values_unevaluated(s, v, subschema(s, "unevaluatedItems", items),
                                 subschema(s, "unevaluatedProperties", properties));
}

glia_values glia_schema_values(glia_schema *s, const json_t *schema) {
    glia_values v = s->any;
    const char *key;
    json_t *x;
    if (json_is_boolean(schema)) return json_is_true(schema) ? s->any : s->none;
    if (s->draft < 2019 && json_is_string(json_object_get(schema, "$ref"))) return lone_reference(s, schema);
    own_keywords(s, schema, &v);
    json_object_foreach((json_t *)schema, key, x) {
        if (s->status) return s->none;
        combine(s, schema, key, x, &v);
    }
    unevaluated(s, schema, &v);
    return v;
}
