/* schema_describe.c - the meaning of a schema in lines, for people. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "grammar/schema.h"

enum { DEPTH_MAX = 12, LINES_MAX = 400 };

typedef struct {
    glia_schema *s;
    glia_buf *out;
    int depth, lines;
} teller;

static void value(teller *t, glia_conj c);

__attribute__((format(printf, 2, 3))) static void line(teller *t, const char *fmt, ...) {
    char text[400];
    va_list args;
    if (++t->lines > LINES_MAX) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    glia_one_line(text);
    glia_buf_printf(t->out, "%*s%s\n", 2 * t->depth, "", text);
}

/* ", 2 to 5 members" */
static void count(char *text, size_t size, const char *what, int least, int most) {
    *text = '\0';
    if (most != GLIA_RX_MANY)
        snprintf(text, size, ", %d to %d %s", least, most, what);
    else if (least)
        snprintf(text, size, ", at least %d %s", least, what);
}

static void array(teller *t, const glia_array_form *a) {
    char text[64];
    count(text, sizeof text, "elements", a->least, a->most);
    line(t, "array%s%s%s", text, a->unique ? ", all different" : "",
         a->has_some ? ", some of which are special" : "");
    t->depth++;
    for (int i = 0; i < a->n; i++) {
        line(t, "element %d:", i + 1);
        t->depth++;
        value(t, a->prefix[i]);
        t->depth--;
    }
    if (a->rest != GLIA_CONJ_NEVER && (a->most == GLIA_RX_MANY || a->most > a->n)) {
        line(t, a->n ? "later elements:" : "elements:");
        t->depth++;
        value(t, a->rest);
        t->depth--;
    }
    t->depth--;
}

static void object(teller *t, const glia_object_form *o) {
    char text[64];
    count(text, sizeof text, "members", o->least, o->most);
    line(t, "object%s, keys in this order:", text);
    t->depth++;
    for (int i = 0; i < o->n; i++) {
        const glia_property *p = &o->property[i];
        line(t, "\"%.*s\"%s%s", (int)(p->len < 100 ? p->len : 100), p->name,
             p->value == GLIA_CONJ_NEVER ? " must be absent"
             : p->required               ? ""
                                         : ", optional",
             p->value == GLIA_CONJ_NEVER ? "" : ":");
        t->depth++;
        if (p->value != GLIA_CONJ_NEVER) value(t, p->value);
        t->depth--;
    }
    if (!o->n_rest) line(t, "no other keys");
    for (int i = 0; i < o->n_rest; i++) {
        line(t, o->rest[i].keys == t->s->any_string ? "other keys:" : "other keys of a pattern:");
        t->depth++;
        value(t, o->rest[i].value);
        t->depth--;
    }
    t->depth--;
}

static void value(teller *t, glia_conj c) {
    if (c == GLIA_CONJ_NEVER) return line(t, "nothing");
    if (c == GLIA_CONJ_ANY) return line(t, "any value");
    glia_conjunction *at = (glia_conjunction *)t->s->conjunctions.data + c;
    if (at->busy) return line(t, "the same as above (recursive)");
    if (t->depth > DEPTH_MAX) return line(t, "...");
    const glia_values *v = glia_conj_values(t->s, c);
    if (glia_values_is_none(t->s, v)) return line(t, "nothing");
    ((glia_conjunction *)t->s->conjunctions.data + c)->busy = true;
    if (v->null) line(t, "null");
    if (v->yes && v->no)
        line(t, "boolean");
    else if (v->yes || v->no)
        line(t, v->yes ? "true" : "false");
    if (v->number != GLIA_RX_NONE)
        line(t, v->number == t->s->any_number ? "number"
                : v->number == t->s->integer  ? "integer"
                                              : "number, restricted");
    if (v->string != GLIA_RX_NONE) line(t, v->string == t->s->any_string ? "string" : "string, restricted");
    for (int i = 0; i < v->n_arrays; i++) array(t, &v->arrays[i]);
    for (int i = 0; i < v->n_objects; i++) object(t, &v->objects[i]);
    ((glia_conjunction *)t->s->conjunctions.data + c)->busy = false;
}

void glia_schema_describe(glia_schema *s, glia_buf *out) {
    teller t = {.s = s, .out = out};
    value(&t, s->root);
    if (t.lines > LINES_MAX) glia_buf_printf(out, "... %d more lines\n", t.lines - LINES_MAX);
}
