/* schema_write.c - a JSON value as a schema's grammar wants it: keys in its order.
 *
 * The value is compared with the meaning of the schema to find which of several forms of an object
 * it is. Where none fits, the first form gives the order; the masks then refuse the text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "grammar/schema.h"

enum { DEPTH_MAX = 500 };

typedef struct {
    glia_schema *s;
    glia_buf out;
    int depth;
    size_t work; /* values compared so far */
} writer;
enum { WORK_MAX = 200000 };

/* Write the value; true if it satisfies the conjunction. */
static bool value(writer *w, glia_conj c, const json_t *x);

static bool scalar(writer *w, glia_rx set, const char *text) {
    glia_buf_puts(&w->out, text);
    return glia_rx_matches(w->s->rx, set, text, strlen(text));
}

static bool number(writer *w, glia_rx set, const json_t *x) {
    char text[700];
    if (!glia_number_text(x, text, sizeof text)) snprintf(text, sizeof text, "null");
    return scalar(w, set, text);
}

static bool string(writer *w, glia_rx set, const json_t *x) {
    char *text = json_dumps(x, JSON_ENCODE_ANY);
    if (!text) return false;
    const bool ok = scalar(w, set, text);
    free(text);
    return ok;
}

static bool array(writer *w, const glia_array_form *f, const json_t *x) {
    const size_t n = json_array_size(x);
    bool ok = n >= (size_t)f->least && (f->most == GLIA_RX_MANY || n <= (size_t)f->most);
    glia_buf_puts(&w->out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i) glia_buf_puts(&w->out, w->s->comma_text);
        ok &= value(w, i < (size_t)f->n ? f->prefix[i] : f->rest, json_array_get(x, i));
    }
    glia_buf_puts(&w->out, "]");
    return ok;
}

static bool member(writer *w, glia_conj c, const char *name, size_t len, const json_t *x, bool first) {
    json_t *key = json_stringn(name, len);
    char *text = key ? json_dumps(key, JSON_ENCODE_ANY) : NULL;
    if (!first) glia_buf_puts(&w->out, w->s->comma_text);
    glia_buf_puts(&w->out, text ? text : "\"\"");
    glia_buf_puts(&w->out, w->s->colon_text);
    free(text);
    json_decref(key);
    return value(w, c, x);
}

static bool is_property(const glia_object_form *f, const char *name, size_t len) {
    for (int i = 0; i < f->n; i++)
        if (f->property[i].len == len && memcmp(f->property[i].name, name, len) == 0) return true;
    return false;
}

static bool object(writer *w, const glia_object_form *f, const json_t *x) {
    const size_t n = json_object_size(x);
    bool ok = n >= (size_t)f->least && (f->most == GLIA_RX_MANY || n <= (size_t)f->most), first = true;
    glia_buf_puts(&w->out, "{");
    for (int i = 0; i < f->n; i++) {
        const glia_property *p = &f->property[i];
        const json_t *y = json_object_getn(x, p->name, p->len);
        ok &= y || !p->required;
        if (!y) continue;
        ok &= member(w, p->value, p->name, p->len, y, first);
        first = false;
    }
    const char *name;
    size_t len;
    json_t *y;
    json_object_keylen_foreach((json_t *)x, name, len, y) {
        if (is_property(f, name, len)) continue;
        ok &= member(w, glia_object_value(w->s, f, name, len), name, len, y, first);
        first = false;
    }
    glia_buf_puts(&w->out, "}");
    return ok;
}

/* Write as the first form that fits; else as the first form. */
static bool forms(writer *w, const glia_values *v, const json_t *x) {
    const size_t from = w->out.len;
    const bool is_array = json_is_array(x);
    const int n = is_array ? v->n_arrays : v->n_objects;
    for (int i = 0; i < n && w->work < WORK_MAX; i++) {
        w->out.len = from;
        if (is_array ? array(w, &v->arrays[i], x) : object(w, &v->objects[i], x)) return true;
    }
    w->out.len = from;
    const glia_values *any = n ? v : &w->s->any;
    if (is_array)
        array(w, any->arrays, x);
    else
        object(w, any->objects, x);
    return false;
}

static bool value(writer *w, glia_conj c, const json_t *x) {
    if (++w->depth > DEPTH_MAX) return --w->depth, false;
    w->work++;
    const glia_values *v = glia_conj_values(w->s, c);
    bool ok = false;
    switch (json_typeof(x)) {
    case JSON_NULL:
        glia_buf_puts(&w->out, "null");
        ok = v->null;
        break;
    case JSON_TRUE:
        glia_buf_puts(&w->out, "true");
        ok = v->yes;
        break;
    case JSON_FALSE:
        glia_buf_puts(&w->out, "false");
        ok = v->no;
        break;
    case JSON_INTEGER:
    case JSON_REAL: ok = number(w, v->number, x); break;
    case JSON_STRING: ok = string(w, v->string, x); break;
    case JSON_ARRAY:
    case JSON_OBJECT: ok = forms(w, v, x); break;
    }
    w->depth--;
    return ok;
}

glia_status glia_grammar_write(glia_grammar *g, const char *json, size_t json_len, char **text, size_t *len,
                               glia_err *err) {
    json_error_t e;
    json_t *x = json_loadb(json, json_len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    *text = NULL;
    if (!x)
        return glia_fail(err, GLIA_ERR_FORMAT, "the value is not JSON at byte %d: %s", e.position, e.text);
    pthread_mutex_lock(&g->lock);
    glia_rx_allow(g->rx, 4000000);
    writer w = {.s = g->schema};
    if (g->schema) value(&w, g->schema->root, x);
    pthread_mutex_unlock(&g->lock);
    if (!g->schema) {
        char *plain = json_is_string(x) ? NULL : json_dumps(x, JSON_ENCODE_ANY);
        glia_buf_puts(&w.out, json_is_string(x) ? json_string_value(x) : plain ? plain : "");
        free(plain);
    }
    json_decref(x);
    *len = w.out.len;
    *text = glia_buf_steal(&w.out);
    return *text ? GLIA_OK : glia_fail_nomem(err, *len, "a value");
}
