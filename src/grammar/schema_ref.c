/* schema_ref.c - $id, $anchor and $ref: which schema of the document a reference means. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "grammar/schema.h"

/* The URI base of a schema object. */
typedef struct {
    const json_t *json;
    const char *base;
} base_of;

static bool same_base(const void *user, uint32_t index, const void *key) {
    return ((const base_of *)((const glia_schema *)user)->bases.data)[index].json == key;
}
static uint64_t hash_pointer(const void *p) { return glia_mix64((uint64_t)(uintptr_t)p); }

static const char *base_uri(const glia_schema *s, const json_t *json) {
    const uint32_t i = glia_table_find(&s->base_table, hash_pointer(json), same_base, s, json);
    return i == GLIA_TABLE_NONE ? "" : ((const base_of *)s->bases.data)[i].base;
}

/* ---- URIs (RFC 3986, section 5.2) ------------------------------------------------------- */

static size_t scheme_len(const char *uri) {
    const size_t n = strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n && uri[n] == ':' ? n + 1 : 0;
}

/* Bytes of "scheme://authority", or of "scheme:". */
static size_t authority_len(const char *uri) {
    const size_t n = scheme_len(uri);
    return strncmp(uri + n, "//", 2) ? n : n + 2 + strcspn(uri + n + 2, "/?#");
}

/* Append a path without its "." and ".." segments. */
static void add_path(glia_buf *out, const char *path, size_t len) {
    const size_t from = out->len;
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && path[i + n] != '/') n++;
        const bool last = i + n >= len, dot = n == 1 && path[i] == '.',
                   dots = n == 2 && memcmp(path + i, "..", 2) == 0;
        if (dots) {
            if (out->len > from) out->len--;
            while (out->len > from && out->data[out->len - 1] != '/') out->len--;
        } else if (!dot) {
            glia_buf_add(out, path + i, n);
            if (!last) glia_buf_putc(out, '/');
        }
        i += n + 1;
        if (last) break;
    }
}

/* `ref`, which is relative to `base`, without a fragment. The memory is the schema's. */
static const char *resolve(glia_schema *s, const char *base, const char *ref) {
    const size_t len = strcspn(ref, "#"), start = authority_len(base);
    glia_buf out = {0};
    if (len == 0) return base;
    if (scheme_len(ref)) {
        glia_buf_add(&out, ref, len);
    } else if (*ref == '/') {
        glia_buf_add(&out, base, start);
        add_path(&out, ref, len);
    } else {
        const char *slash = strrchr(base + start, '/');
        glia_buf_add(&out, base, start);
        glia_buf path = {0};
        if (slash) glia_buf_add(&path, base + start, (size_t)(slash + 1 - base) - start);
        glia_buf_add(&path, ref, len);
        if (path.data) add_path(&out, path.data, path.len);
        glia_buf_free(&path);
    }
    char *kept = out.data ? glia_schema_take(s, out.len + 1) : NULL;
    if (kept) memcpy(kept, out.data, out.len);
    glia_buf_free(&out);
    return kept ? kept : "";
}

/* ---- the document's schemas ---------------------------------------------------------------- */

static void add_resource(glia_schema *s, const char *base, const json_t *json, const char *anchor,
                         bool dynamic) {
    const glia_resource r = {base, json, anchor, dynamic};
    if (!glia_vec_push(&s->resources, sizeof r, &r)) glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
}

static void index_keyword(glia_schema *s, const char *name, const json_t *x, const char *base);

static bool is_one_of(const char *name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0) return true;
    return false;
}

static void index_object(glia_schema *s, const json_t *x, const char *base) {
    const char *id = json_string_value(json_object_get(x, "$id"));
    if (!id) id = json_string_value(json_object_get(x, "id"));
    if (s->draft < 2019 && json_object_get(x, "$ref")) id = NULL;
    if (id && *id == '#' && id[1])
        add_resource(s, base, x, id + 1, false); /* draft 6 and 7 */
    else if (id) {
        base = resolve(s, base, id);
        add_resource(s, base, x, NULL, false);
    }
    const char *anchor = json_string_value(json_object_get(x, "$anchor"));
    if (anchor) add_resource(s, base, x, anchor, false);
    anchor = json_string_value(json_object_get(x, "$dynamicAnchor"));
    if (anchor) add_resource(s, base, x, anchor, true);
    const base_of b = {x, base};
    if (!glia_vec_push(&s->bases, sizeof b, &b) ||
        !glia_table_insert(&s->base_table, hash_pointer(x), (uint32_t)s->bases.n - 1))
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    const char *key;
    json_t *y;
    json_object_foreach((json_t *)x, key, y) index_keyword(s, key, y, base);
}

static void index_schema(glia_schema *s, const json_t *x, const char *base) {
    if (json_is_object(x)) index_object(s, x, base);
}

/* Schemas in the value of a keyword. Other keywords hold none: an "$id" there means nothing. */
static void index_keyword(glia_schema *s, const char *name, const json_t *x, const char *base) {
    static const char *const maps[] = {"properties",  "patternProperties", "$defs",
                                       "definitions", "dependentSchemas",  "dependencies"},
                             *const schemas[] = {"allOf",
                                                 "anyOf",
                                                 "oneOf",
                                                 "not",
                                                 "if",
                                                 "then",
                                                 "else",
                                                 "items",
                                                 "prefixItems",
                                                 "additionalItems",
                                                 "contains",
                                                 "unevaluatedItems",
                                                 "additionalProperties",
                                                 "propertyNames",
                                                 "unevaluatedProperties",
                                                 "contentSchema"};
    size_t i;
    const char *key;
    json_t *y;
    if (is_one_of(name, maps, sizeof maps / sizeof *maps)) {
        json_object_foreach((json_t *)x, key, y) index_schema(s, y, base);
    } else if (is_one_of(name, schemas, sizeof schemas / sizeof *schemas)) {
        index_schema(s, x, base);
        json_array_foreach(x, i, y) index_schema(s, y, base);
    }
}

/* Is the key anywhere in the value, with a value that is not `true`? */
static bool mentions(const json_t *x, const char *name, bool also_true) {
    const json_t *own = json_object_get(x, name);
    bool found = own && (also_true || !json_is_true(own));
    size_t i;
    const char *key;
    json_t *y;
    json_object_foreach((json_t *)x, key, y) found = found || mentions(y, name, also_true);
    json_array_foreach(x, i, y) found = found || mentions(y, name, also_true);
    return found;
}

/* The draft that "$schema" names. */
static int draft_of(const json_t *document) {
    const char *uri = json_string_value(json_object_get(document, "$schema"));
    const char *at = uri ? strstr(uri, "json-schema.org/draft") : NULL;
    if (!at) return 2020;
    at += strlen("json-schema.org/draft");
    return *at == '-' ? atoi(at + 1) : strncmp(at, "/2019-09", 8) ? 2020 : 2019;
}

void glia_schema_index(glia_schema *s) {
    s->draft = draft_of(s->document);
    s->tracks = mentions(s->document, "unevaluatedProperties", false) ||
                mentions(s->document, "unevaluatedItems", false);
    s->rebinds = mentions(s->document, "$recursiveAnchor", true);
    add_resource(s, "", s->document, NULL, false);
    index_schema(s, s->document, "");
}

bool glia_schema_ref_is_static(const glia_schema *s, const char *key, const char *ref) {
    if (strcmp(key, "$recursiveRef") == 0) return !s->rebinds;
    const char *anchor = strchr(ref, '#');
    const glia_resource *r = s->resources.data;
    int n = 0;
    for (size_t i = 0; i < s->resources.n; i++)
        n += anchor && r[i].dynamic && strcmp(r[i].anchor, anchor + 1) == 0;
    return n < 2;
}

/* ---- references ------------------------------------------------------------------------------- */

/* One step of a JSON pointer. */
static const json_t *step(const json_t *at, const char *token, size_t len) {
    char name[1024];
    size_t n = 0;
    for (size_t i = 0; i < len && n < sizeof name - 1; i++) {
        char c = token[i];
        if (c == '%' && i + 2 < len) {
            const char hex[3] = {token[i + 1], token[i + 2], '\0'};
            c = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        name[n++] = c;
    }
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        const bool escape = name[i] == '~' && i + 1 < n && (name[i + 1] == '0' || name[i + 1] == '1');
        name[m++] = escape ? name[i + 1] == '1' ? '/' : '~' : name[i];
        i += escape;
    }
    name[m] = '\0';
    if (json_is_array(at)) return json_array_get(at, (size_t)strtoul(name, NULL, 10));
    return json_object_getn(at, name, m);
}

static const json_t *follow_pointer(const json_t *at, const char *pointer) {
    while (at && *pointer == '/') {
        const size_t n = strcspn(pointer + 1, "/");
        at = step(at, pointer + 1, n);
        pointer += n + 1;
    }
    return *pointer ? NULL : at;
}

static const json_t *find(const glia_schema *s, const char *base, const char *anchor) {
    const glia_resource *r = s->resources.data;
    for (size_t i = 0; i < s->resources.n; i++) {
        const bool same = !anchor ? !r[i].anchor : r[i].anchor && strcmp(r[i].anchor, anchor) == 0;
        if (same && strcmp(r[i].base, base) == 0) return r[i].json;
    }
    return NULL;
}

/* Add a schema of json-schema.org as a resource. */
static const json_t *add_meta(glia_schema *s, const char *base) {
    json_t *meta = glia_schema_meta(base);
    if (!meta) return NULL;
    if (!s->metas) s->metas = json_array();
    if (json_array_append_new(s->metas, meta)) return NULL;
    add_resource(s, base, meta, NULL, false);
    index_schema(s, meta, base);
    return meta;
}

const json_t *glia_schema_resolve(glia_schema *s, const json_t *from, const char *ref) {
    const char *base = resolve(s, base_uri(s, from), ref), *fragment = strchr(ref, '#');
    fragment = fragment ? fragment + 1 : "";
    const json_t *target = *fragment && *fragment != '/' ? find(s, base, fragment) : find(s, base, NULL);
    if (!target && (!*fragment || *fragment == '/')) target = add_meta(s, base);
    if (target && *fragment == '/') target = follow_pointer(target, fragment);
    if (!target) target = *fragment == '/' && *ref == '#' ? follow_pointer(s->document, fragment) : NULL;
    const bool ok = json_is_object(target) || json_is_boolean(target);
    if (!ok)
        glia_schema_fail(s, target ? GLIA_ERR_FORMAT : GLIA_ERR_UNSUPPORTED,
                         target ? "\"$ref\": \"%.100s\" is no schema"
                                : "\"$ref\": \"%.100s\" is not in the document, and nothing is fetched",
                         ref);
    return ok ? target : NULL;
}
