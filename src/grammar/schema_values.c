/* schema_values.c - intersection, union and complement of sets of JSON values. */
#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"
#include "grammar/schema.h"

enum { FORMS_OF_ONE_MAX = 12000, FORMS_ALL_MAX = 100000, PRODUCT_MAX = 20000 };

/* ---- lists of forms, while they are made -------------------------------------------- */

static bool count_form(glia_schema *s) {
    if (++s->forms > FORMS_ALL_MAX)
        glia_schema_fail(s, GLIA_ERR_LIMIT, "its alternatives multiply to more than %d", FORMS_ALL_MAX);
    return !s->status;
}

/* Append a form to a list of the given size. */
static void add_form(glia_schema *s, glia_vec *list, size_t size, const void *form) {
    if (!count_form(s)) return;
    if (list->n >= FORMS_OF_ONE_MAX)
        glia_schema_fail(s, GLIA_ERR_LIMIT, "its alternatives multiply to more than %d for one value",
                         FORMS_OF_ONE_MAX);
    else if (!glia_vec_push(list, size, form))
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
}

/* Copy a list to the memory of the schema, and free it. */
static const void *keep(glia_schema *s, glia_vec *list, size_t size, int *n) {
    void *kept = list->n ? glia_schema_take(s, list->n * size) : NULL;
    if (kept) memcpy(kept, list->data, list->n * size);
    *n = kept ? (int)list->n : 0;
    glia_vec_free(list);
    return kept;
}

static int lower(int a, int b) { return a == GLIA_RX_MANY || (b != GLIA_RX_MANY && b < a) ? b : a; }
static int higher(int a, int b) { return a > b ? a : b; }

/* ---- arrays ------------------------------------------------------------------------- */

static glia_conj element(const glia_array_form *a, int i) { return i < a->n ? a->prefix[i] : a->rest; }

static bool array_is_none(glia_schema *s, const glia_array_form *a) {
    if (a->most != GLIA_RX_MANY && a->least > a->most) return true;
    for (int i = 0; i < a->least; i++) {
        if (glia_conj_is_none(s, element(a, i))) return true;
        if (i >= a->n) break;
    }
    return a->has_some && a->some_most != GLIA_RX_MANY && a->some_least > a->some_most;
}

static void and_arrays(glia_schema *s, const glia_array_form *a, const glia_array_form *b, glia_vec *out) {
    glia_array_form c = a->has_some ? *a : *b; /* the rule of `some` */
    if (a->has_some && b->has_some) {
        const bool same = a->some == b->some && a->some_from == b->some_from;
        if (!same) glia_schema_loose(s, "a second \"contains\" for one array");
        if (same) {
            c.some_least = higher(a->some_least, b->some_least);
            c.some_most = lower(a->some_most, b->some_most);
        }
    }
    c.n = higher(a->n, b->n);
    glia_conj *prefix = glia_schema_take(s, ((size_t)c.n + 1) * sizeof *prefix);
    if (!prefix) return;
    for (int i = 0; i < c.n; i++) prefix[i] = glia_conj_and(s, element(a, i), element(b, i));
    c.prefix = prefix;
    c.rest = glia_conj_and(s, a->rest, b->rest);
    c.least = higher(a->least, b->least);
    c.most = lower(a->most, b->most);
    c.unique = a->unique || b->unique;
    c.seen = a->seen == GLIA_RX_MANY || b->seen == GLIA_RX_MANY ? GLIA_RX_MANY : higher(a->seen, b->seen);
    if (!array_is_none(s, &c)) add_form(s, out, sizeof c, &c);
}

/* Arrays whose i-th element (the last: some element from i on) is not of a conjunction. */
static void not_element(glia_schema *s, const glia_array_form *a, int i, glia_vec *out) {
    const glia_conj c = element(a, i);
    glia_literal x;
    for (uint32_t k = 0; c == GLIA_CONJ_NEVER ? k == 0 : glia_conj_literal(s, c, k) != NULL; k++) {
        glia_conj opposite = GLIA_CONJ_ANY;
        if (c != GLIA_CONJ_NEVER) {
            x = *glia_conj_literal(s, c, k);
            x.negated = !x.negated;
            opposite = glia_conj_of(s, x);
        }
        glia_array_form f = {.rest = GLIA_CONJ_ANY, .most = GLIA_RX_MANY};
        if (i < a->n) {
            glia_conj *prefix = glia_schema_take(s, ((size_t)i + 1) * sizeof *prefix);
            if (!prefix) return;
            prefix[i] = opposite;
            f.prefix = prefix;
            f.n = f.least = i + 1;
        } else {
            f.has_some = true;
            f.some = opposite;
            f.some_from = a->n;
            f.some_least = 1;
            f.some_most = GLIA_RX_MANY;
            f.least = a->n + 1;
        }
        add_form(s, out, sizeof f, &f);
    }
}

static bool not_array(glia_schema *s, const glia_array_form *a, glia_vec *out) {
    const glia_array_form any = {.rest = GLIA_CONJ_ANY, .most = GLIA_RX_MANY};
    glia_array_form f = any;
    if (a->unique) return false;
    if (a->least > 0) {
        f.most = a->least - 1;
        add_form(s, out, sizeof f, &f);
    }
    f = any;
    f.least = a->most + 1;
    if (a->most != GLIA_RX_MANY) add_form(s, out, sizeof f, &f);
    for (int i = 0; i <= a->n; i++) not_element(s, a, i, out);
    if (!a->has_some) return true;
    f = any;
    f.has_some = true;
    f.some = a->some;
    f.some_from = a->some_from;
    f.some_most = a->some_least - 1;
    if (a->some_least > 0) add_form(s, out, sizeof f, &f);
    f.some_least = a->some_most + 1;
    f.some_most = GLIA_RX_MANY;
    if (a->some_most != GLIA_RX_MANY) add_form(s, out, sizeof f, &f);
    return true;
}

/* ---- objects --------------------------------------------------------------------------- */

glia_rx glia_schema_key(glia_schema *s, const char *name, size_t len) {
    const glia_rx quote = glia_rx_range(s->rx, '"', '"');
    return glia_rx_cat3(s->rx, quote, glia_chars_text(s->rx, name, len, GLIA_SPELL_JSON), quote);
}

static int find_property(const glia_object_form *o, const char *name, size_t len) {
    for (int i = 0; i < o->n; i++)
        if (o->property[i].len == len && memcmp(o->property[i].name, name, len) == 0) return i;
    return -1;
}

/* By the key's text, not by an intersection: after compiling no byte class may change. */
static bool key_in(glia_schema *s, glia_rx keys, const char *name, size_t len) {
    if (keys == s->any_string) return true;
    json_t *key = json_stringn(name, len);
    char *text = key ? json_dumps(key, JSON_ENCODE_ANY) : NULL;
    const bool in = text && glia_rx_matches(s->rx, keys, text, strlen(text));
    free(text);
    json_decref(key);
    return in;
}

glia_property glia_object_unnamed(glia_schema *s, const glia_object_form *o, const char *name, size_t len) {
    for (int k = 0; k < o->n_rest; k++)
        if (key_in(s, o->rest[k].keys, name, len))
            return (glia_property){name, len, o->rest[k].value, false, o->rest[k].seen};
    return (glia_property){name, len, GLIA_CONJ_NEVER, false, false};
}

glia_conj glia_object_value(glia_schema *s, const glia_object_form *o, const char *name, size_t len) {
    const int i = find_property(o, name, len);
    return i >= 0 ? o->property[i].value : glia_object_unnamed(s, o, name, len).value;
}

static bool object_is_none(glia_schema *s, const glia_object_form *o) {
    int required = 0;
    for (int i = 0; i < o->n; i++) {
        required += o->property[i].required;
        if (o->property[i].required && glia_conj_is_none(s, o->property[i].value)) return true;
    }
    return o->most != GLIA_RX_MANY && (required > o->most || o->least > o->most);
}

/* The properties of both forms, those of `a` first. */
static int and_properties(glia_schema *s, const glia_object_form *a, const glia_object_form *b,
                          glia_property *out) {
    int n = 0;
    for (int i = 0; i < a->n; i++) {
        const glia_property *p = &a->property[i];
        const int other = find_property(b, p->name, p->len);
        out[n] = *p;
        const glia_property theirs =
            other >= 0 ? b->property[other] : glia_object_unnamed(s, b, p->name, p->len);
        out[n].value = glia_conj_and(s, p->value, theirs.value);
        out[n].seen = p->seen || theirs.seen;
        out[n++].required = p->required || theirs.required;
    }
    for (int i = 0; i < b->n; i++) {
        const glia_property *p = &b->property[i];
        if (find_property(a, p->name, p->len) >= 0) continue;
        const glia_property theirs = glia_object_unnamed(s, a, p->name, p->len);
        out[n] = *p;
        out[n].seen |= theirs.seen;
        out[n++].value = glia_conj_and(s, theirs.value, p->value);
    }
    return n;
}

static const glia_key_class *and_classes(glia_schema *s, const glia_object_form *a, const glia_object_form *b,
                                         int *n) {
    glia_vec list = {0};
    for (int i = 0; i < a->n_rest && !s->status; i++)
        for (int k = 0; k < b->n_rest && !s->status; k++) {
            const glia_key_class c = {glia_rx_and(s->rx, a->rest[i].keys, b->rest[k].keys),
                                      glia_conj_and(s, a->rest[i].value, b->rest[k].value),
                                      a->rest[i].seen || b->rest[k].seen};
            if (c.value != GLIA_CONJ_NEVER && !glia_rx_is_none(s->rx, c.keys))
                add_form(s, &list, sizeof c, &c);
        }
    return keep(s, &list, sizeof(glia_key_class), n);
}

/* A rule of `some` may also be kept by a property that the other form names. */
static void settle_some(glia_schema *s, const glia_object_form *from, const glia_object_form *c,
                        glia_vec *out) {
    for (int i = 0; i < c->n && c->has_some; i++) {
        const glia_property *p = &c->property[i];
        if (find_property(from, p->name, p->len) >= 0 || !key_in(s, c->some.keys, p->name, p->len)) continue;
        glia_object_form f = *c;
        glia_property *copy = glia_schema_take(s, (size_t)c->n * sizeof *copy);
        if (!copy) return;
        memcpy(copy, c->property, (size_t)c->n * sizeof *copy);
        copy[i].required = true;
        copy[i].value = glia_conj_and(s, p->value, c->some.value);
        f.property = copy;
        f.has_some = false;
        if (!object_is_none(s, &f)) add_form(s, out, sizeof f, &f);
    }
}

static bool conj_within(const glia_schema *s, glia_conj a, glia_conj b);

/* Does a member that keeps the rule `a` also keep the rule `b`? */
static bool some_within(glia_schema *s, const glia_key_class *a, const glia_key_class *b) {
    return conj_within(s, a->value, b->value) &&
           (a->keys == b->keys || glia_rx_is_none(s->rx, glia_rx_minus(s->rx, a->keys, b->keys)));
}

static void and_objects(glia_schema *s, const glia_object_form *a, const glia_object_form *b, glia_vec *out) {
    const bool both = a->has_some && b->has_some;
    const bool second = both ? some_within(s, &b->some, &a->some) : b->has_some;
    glia_object_form c = second ? *b : *a;
    if (both && !second && !some_within(s, &a->some, &b->some))
        glia_schema_loose(s, "the second of two rules that some key must be there");
    glia_property *p = glia_schema_take(s, ((size_t)a->n + (size_t)b->n + 1) * sizeof *p);
    if (!p) return;
    c.n = and_properties(s, a, b, p);
    c.property = p;
    c.rest = and_classes(s, a, b, &c.n_rest);
    c.least = higher(a->least, b->least);
    c.most = lower(a->most, b->most);
    settle_some(s, second ? b : a, &c, out);
    if (!object_is_none(s, &c)) add_form(s, out, sizeof c, &c);
}

/* Objects in which this property is there and is not of its conjunction. */
static void not_property(glia_schema *s, const glia_property *p, const glia_object_form *any, glia_vec *out) {
    for (uint32_t k = 0; p->value == GLIA_CONJ_NEVER ? k == 0 : glia_conj_literal(s, p->value, k) != NULL;
         k++) {
        glia_property *one = glia_schema_take(s, sizeof *one);
        if (!one) return;
        *one = (glia_property){.name = p->name, .len = p->len, .required = true};
        if (p->value != GLIA_CONJ_NEVER) {
            glia_literal x = *glia_conj_literal(s, p->value, k);
            x.negated = !x.negated;
            one->value = glia_conj_of(s, x);
        }
        glia_object_form f = *any;
        f.property = one;
        f.n = 1;
        add_form(s, out, sizeof f, &f);
    }
}

/* Objects with a key of the class whose value is not of the class. */
static void not_class(glia_schema *s, glia_rx keys, glia_conj value, const glia_object_form *any,
                      glia_vec *out) {
    if (glia_rx_is_none(s->rx, keys)) return;
    for (uint32_t k = 0; value == GLIA_CONJ_NEVER ? k == 0 : glia_conj_literal(s, value, k) != NULL; k++) {
        glia_object_form f = *any;
        f.has_some = true;
        f.some = (glia_key_class){.keys = keys};
        if (value != GLIA_CONJ_NEVER) {
            glia_literal x = *glia_conj_literal(s, value, k);
            x.negated = !x.negated;
            f.some.value = glia_conj_of(s, x);
        }
        add_form(s, out, sizeof f, &f);
    }
}

/* Keys of no property and of no class of the form; GLIA_RX_NONE: there are none. */
static glia_rx other_keys(glia_schema *s, const glia_object_form *o, bool classes) {
    glia_rx named = GLIA_RX_NONE;
    for (int i = 0; i < o->n; i++)
        named = glia_rx_or(s->rx, named, glia_schema_key(s, o->property[i].name, o->property[i].len));
    for (int i = 0; i < o->n_rest && classes; i++) named = glia_rx_or(s->rx, named, o->rest[i].keys);
    return glia_rx_minus(s->rx, s->any_string, named);
}

static bool not_object(glia_schema *s, const glia_object_form *o, glia_vec *out) {
    const glia_object_form any = s->any.objects[0];
    glia_object_form f;
    if (o->has_some) return false;
    for (int i = 0; i < o->n; i++) {
        if (o->property[i].required) {
            glia_property *absent = glia_schema_take(s, sizeof *absent);
            if (!absent) return false;
            *absent = (glia_property){
                .name = o->property[i].name, .len = o->property[i].len, .value = GLIA_CONJ_NEVER};
            f = any;
            f.property = absent;
            f.n = 1;
            add_form(s, out, sizeof f, &f);
        }
        not_property(s, &o->property[i], &any, out);
    }
    const glia_rx unnamed = other_keys(s, o, false);
    for (int i = 0; i < o->n_rest; i++)
        if (o->rest[i].value != GLIA_CONJ_ANY)
            not_class(s, glia_rx_and(s->rx, o->rest[i].keys, unnamed), o->rest[i].value, &any, out);
    not_class(s, other_keys(s, o, true), GLIA_CONJ_NEVER, &any, out);
    f = any;
    f.most = o->least - 1;
    if (o->least > 0) add_form(s, out, sizeof f, &f);
    f = any;
    f.least = o->most + 1;
    if (o->most != GLIA_RX_MANY) add_form(s, out, sizeof f, &f);
    return true;
}

/* ---- forms inside other forms -------------------------------------------------------------------- */

/* Is every value of `a` one of `b`, as far as their literals show? */
static bool conj_within(const glia_schema *s, glia_conj a, glia_conj b) {
    const glia_literal *x, *y;
    if (a == b || b == GLIA_CONJ_ANY || a == GLIA_CONJ_NEVER) return true;
    if (b == GLIA_CONJ_NEVER) return false;
    for (uint32_t i = 0; (x = glia_conj_literal(s, b, i)) != NULL; i++) {
        bool found = false;
        for (uint32_t k = 0; !found && (y = glia_conj_literal(s, a, k)) != NULL; k++) found = x == y;
        if (!found) return false;
    }
    return true;
}

static bool count_within(int least, int most, int outer_least, int outer_most) {
    return least >= outer_least &&
           (outer_most == GLIA_RX_MANY || (most != GLIA_RX_MANY && most <= outer_most));
}

static bool classes_within(const glia_schema *s, const glia_object_form *a, const glia_object_form *b) {
    const bool open = b->n_rest == 1 && b->rest[0].keys == s->any_string;
    for (int i = 0; i < a->n_rest; i++) {
        bool found = open && conj_within(s, a->rest[i].value, b->rest[0].value);
        for (int k = 0; k < b->n_rest && !found; k++)
            found = a->rest[i].keys == b->rest[k].keys && conj_within(s, a->rest[i].value, b->rest[k].value);
        if (!found) return false;
    }
    return true;
}

static bool object_within(glia_schema *s, const glia_object_form *a, const glia_object_form *b) {
    if (b->has_some || !count_within(a->least, a->most, b->least, b->most) || !classes_within(s, a, b))
        return false;
    for (int i = 0; i < b->n; i++) {
        const glia_property *p = &b->property[i];
        const int k = find_property(a, p->name, p->len);
        if (p->required && (k < 0 || !a->property[k].required)) return false;
        if (!conj_within(s, glia_object_value(s, a, p->name, p->len), p->value)) return false;
    }
    for (int i = 0; i < a->n; i++) {
        const glia_property *p = &a->property[i];
        if (find_property(b, p->name, p->len) < 0 &&
            !conj_within(s, p->value, glia_object_value(s, b, p->name, p->len)))
            return false;
    }
    return true;
}

static bool array_within(const glia_schema *s, const glia_array_form *a, const glia_array_form *b) {
    if (b->has_some || (b->unique && !a->unique) || !count_within(a->least, a->most, b->least, b->most))
        return false;
    for (int i = 0; i < a->n || i < b->n; i++)
        if (!conj_within(s, element(a, i), element(b, i))) return false;
    return conj_within(s, a->rest, b->rest);
}

typedef bool within_fn(glia_schema *s, const void *a, const void *b);
static bool object_form_within(glia_schema *s, const void *a, const void *b) {
    return object_within(s, a, b);
}
static bool array_form_within(glia_schema *s, const void *a, const void *b) { return array_within(s, a, b); }

enum { ABSORB_MAX = 128 };

/* Drop forms that lie within another one of the list. */
static void absorb(glia_schema *s, glia_vec *list, size_t size, within_fn *within) {
    char *at = list->data;
    size_t kept = 0;
    if (list->n < 2 || list->n > ABSORB_MAX || s->tracks) return;
    for (size_t i = 0; i < list->n && !s->status; i++) {
        bool inside = false; /* of two equal ones the first stays */
        for (size_t k = 0; k < list->n && !inside; k++)
            inside = k < kept ? within(s, at + i * size, at + k * size)
                              : k > i && within(s, at + i * size, at + k * size) &&
                                    !within(s, at + k * size, at + i * size);
        if (!inside) memmove(at + kept++ * size, at + i * size, size);
    }
    list->n = kept;
}

/* ---- all types -------------------------------------------------------------------------------- */

/* Is the product of two lists small enough? */
static bool fits(glia_schema *s, int na, int nb) {
    if (na > 1 && nb > 1 && na > PRODUCT_MAX / nb)
        glia_schema_fail(s, GLIA_ERR_LIMIT, "its alternatives multiply to more than %d", PRODUCT_MAX);
    return !s->status;
}

static void cross_arrays(glia_schema *s, const glia_array_form *a, int na, const glia_array_form *b, int nb,
                         glia_values *v) {
    glia_vec list = {0};
    for (int i = 0; fits(s, na, nb) && i < na && !s->status; i++)
        for (int k = 0; k < nb && !s->status; k++) and_arrays(s, &a[i], &b[k], &list);
    absorb(s, &list, sizeof *a, array_form_within);
    v->arrays = keep(s, &list, sizeof *a, &v->n_arrays);
}

static void cross_objects(glia_schema *s, const glia_object_form *a, int na, const glia_object_form *b,
                          int nb, glia_values *v) {
    glia_vec list = {0};
    for (int i = 0; fits(s, na, nb) && i < na && !s->status; i++)
        for (int k = 0; k < nb && !s->status; k++) and_objects(s, &a[i], &b[k], &list);
    absorb(s, &list, sizeof *a, object_form_within);
    v->objects = keep(s, &list, sizeof *a, &v->n_objects);
}

glia_values glia_values_and(glia_schema *s, const glia_values *a, const glia_values *b) {
    glia_values v = {.null = a->null && b->null,
                     .yes = a->yes && b->yes,
                     .no = a->no && b->no,
                     .narrow = a->narrow || b->narrow,
                     .number = a->number == s->any_number   ? b->number
                               : b->number == s->any_number ? a->number
                                                            : glia_rx_and(s->rx, a->number, b->number),
                     .string = a->string == s->any_string   ? b->string
                               : b->string == s->any_string ? a->string
                                                            : glia_rx_and(s->rx, a->string, b->string)};
    if (a->arrays == s->any.arrays)
        v.arrays = b->arrays, v.n_arrays = b->n_arrays;
    else if (b->arrays == s->any.arrays)
        v.arrays = a->arrays, v.n_arrays = a->n_arrays;
    else
        cross_arrays(s, a->arrays, a->n_arrays, b->arrays, b->n_arrays, &v);
    if (a->objects == s->any.objects)
        v.objects = b->objects, v.n_objects = b->n_objects;
    else if (b->objects == s->any.objects)
        v.objects = a->objects, v.n_objects = a->n_objects;
    else
        cross_objects(s, a->objects, a->n_objects, b->objects, b->n_objects, &v);
    return v;
}

/* The forms of all sets; those of `any` if a set has them. */
static void join_arrays(glia_schema *s, const glia_values *const *list, size_t n, glia_values *v) {
    glia_vec all = {0};
    for (size_t i = 0; i < n && !s->status; i++) {
        if (list[i]->arrays == s->any.arrays && !s->tracks) {
            glia_vec_free(&all);
            v->arrays = s->any.arrays;
            v->n_arrays = 1;
            return;
        }
        for (int k = 0; k < list[i]->n_arrays; k++) add_form(s, &all, sizeof *v->arrays, &list[i]->arrays[k]);
    }
    absorb(s, &all, sizeof *v->arrays, array_form_within);
    v->arrays = keep(s, &all, sizeof *v->arrays, &v->n_arrays);
}

static void join_objects(glia_schema *s, const glia_values *const *list, size_t n, glia_values *v) {
    glia_vec all = {0};
    for (size_t i = 0; i < n && !s->status; i++) {
        if (list[i]->objects == s->any.objects && !s->tracks) {
            glia_vec_free(&all);
            v->objects = s->any.objects;
            v->n_objects = 1;
            return;
        }
        for (int k = 0; k < list[i]->n_objects; k++)
            add_form(s, &all, sizeof *v->objects, &list[i]->objects[k]);
    }
    absorb(s, &all, sizeof *v->objects, object_form_within);
    v->objects = keep(s, &all, sizeof *v->objects, &v->n_objects);
}

/* ---- what is not evaluated ---------------------------------------------------------------------- */

static glia_array_form seen_array(glia_schema *s, const glia_array_form *a, glia_conj items) {
    glia_array_form f = *a;
    f.seen = GLIA_RX_MANY;
    if (a->seen == GLIA_RX_MANY) return f;
    f.n = higher(a->n, a->seen);
    glia_conj *prefix = glia_schema_take(s, ((size_t)f.n + 1) * sizeof *prefix);
    if (!prefix) return f;
    for (int i = 0; i < f.n; i++)
        prefix[i] = i < a->seen ? element(a, i) : glia_conj_and(s, element(a, i), items);
    f.prefix = prefix;
    f.rest = glia_conj_and(s, a->rest, items);
    return f;
}

static glia_object_form seen_object(glia_schema *s, const glia_object_form *o, glia_conj properties) {
    glia_object_form f = *o;
    glia_property *list = glia_schema_take(s, ((size_t)o->n + 1) * sizeof *list);
    glia_key_class *rest = glia_schema_take(s, ((size_t)o->n_rest + 1) * sizeof *rest);
    if (!list || !rest) return f;
    for (int i = 0; i < o->n; i++) {
        list[i] = o->property[i];
        if (!list[i].seen) list[i].value = glia_conj_and(s, list[i].value, properties);
        list[i].seen = true;
    }
    f.n_rest = 0;
    for (int i = 0; i < o->n_rest; i++) {
        glia_key_class c = o->rest[i];
        if (!c.seen) c.value = glia_conj_and(s, c.value, properties);
        c.seen = true;
        if (c.value != GLIA_CONJ_NEVER) rest[f.n_rest++] = c;
    }
    f.property = list;
    f.rest = rest;
    return f;
}

glia_values glia_values_unevaluated(glia_schema *s, const glia_values *a, glia_conj items,
                                    glia_conj properties) {
    glia_values v = *a;
    glia_vec arrays = {0}, objects = {0};
    for (int i = 0; i < a->n_arrays; i++) {
        const glia_array_form f = seen_array(s, &a->arrays[i], items);
        if (!array_is_none(s, &f)) add_form(s, &arrays, sizeof f, &f);
    }
    for (int i = 0; i < a->n_objects; i++) {
        const glia_object_form f = seen_object(s, &a->objects[i], properties);
        if (!object_is_none(s, &f)) add_form(s, &objects, sizeof f, &f);
    }
    v.arrays = keep(s, &arrays, sizeof *v.arrays, &v.n_arrays);
    v.objects = keep(s, &objects, sizeof *v.objects, &v.n_objects);
    return v;
}

/* ---- unions -------------------------------------------------------------------------------------- */

glia_values glia_values_or_all(glia_schema *s, const glia_values *const *list, size_t n) {
    glia_values v = s->none;
    glia_vec numbers = {0}, strings = {0};
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        v.null |= list[i]->null;
        v.yes |= list[i]->yes;
        v.no |= list[i]->no;
        v.narrow |= list[i]->narrow;
        ok = glia_vec_put(&numbers, list[i]->number) && glia_vec_put(&strings, list[i]->string);
    }
    if (!ok) glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    v.number = glia_rx_or_all(s->rx, numbers.data, numbers.n);
    v.string = glia_rx_or_all(s->rx, strings.data, strings.n);
    glia_vec_free(&numbers);
    glia_vec_free(&strings);
    join_arrays(s, list, n, &v);
    join_objects(s, list, n, &v);
    return v;
}

glia_values glia_values_or(glia_schema *s, const glia_values *a, const glia_values *b) {
    return glia_values_or_all(s, (const glia_values *const[]){a, b}, 2);
}

static bool not_arrays(glia_schema *s, const glia_values *a, glia_values *out) {
    out->arrays = s->any.arrays;
    out->n_arrays = 1;
    for (int i = 0; i < a->n_arrays && !s->status; i++) {
        glia_vec list = {0};
        int n;
        const bool ok = not_array(s, &a->arrays[i], &list);
        const glia_array_form *f = keep(s, &list, sizeof *f, &n);
        if (!ok) return false;
        cross_arrays(s, out->arrays, out->n_arrays, f, n, out);
    }
    return true;
}

static bool not_objects(glia_schema *s, const glia_values *a, glia_values *out) {
    out->objects = s->any.objects;
    out->n_objects = 1;
    for (int i = 0; i < a->n_objects && !s->status; i++) {
        glia_vec list = {0};
        int n;
        const bool ok = not_object(s, &a->objects[i], &list);
        const glia_object_form *f = keep(s, &list, sizeof *f, &n);
        if (!ok) return false;
        cross_objects(s, out->objects, out->n_objects, f, n, out);
    }
    return true;
}

bool glia_values_not(glia_schema *s, const glia_values *a, glia_values *out) {
    *out = s->any;
    if (a->narrow) return false;
    glia_values v = {.null = !a->null,
                     .yes = !a->yes,
                     .no = !a->no,
                     /* Other spellings of a number may be missing from a->number. */
                     .number = a->number == GLIA_RX_NONE ? s->any_number
                               : a->number == s->any_number
                                   ? GLIA_RX_NONE
                                   : glia_rx_minus(s->rx, s->canonical_number, a->number),
                     .string = glia_rx_minus(s->rx, s->any_string, a->string)};
    if (!not_arrays(s, a, &v) || !not_objects(s, a, &v)) return false;
    *out = v;
    return true;
}

bool glia_values_is_none(glia_schema *s, const glia_values *a) {
    if (a->null || a->yes || a->no) return false;
    if (!glia_rx_is_none(s->rx, a->number) || !glia_rx_is_none(s->rx, a->string)) return false;
    for (int i = 0; i < a->n_arrays; i++)
        if (!array_is_none(s, &a->arrays[i])) return false;
    for (int i = 0; i < a->n_objects; i++)
        if (!object_is_none(s, &a->objects[i])) return false;
    return true;
}
