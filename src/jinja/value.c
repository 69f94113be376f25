/* value.c - constructors of values, and Python's truth, length, equality, order and
 * hash of a value; dictionaries. */
#include "jinja/jinja.h"

#include <math.h>
#include <string.h>

const jval glia_j_none = {.kind = J_NONE}, glia_j_missing = {.kind = J_MISSING};

jval glia_j_bool(bool b) { return (jval){J_BOOL, {.b = b}}; }
jval glia_j_int(int64_t i) { return (jval){J_INT, {.i = i}}; }
jval glia_j_float(double f) { return (jval){J_FLOAT, {.f = f}}; }

jval glia_j_str(jrt *rt, const char *p, size_t n) {
    jstr *s = glia_j_alloc(rt, sizeof *s);
    *s = (jstr){.p = p, .n = n, .chars = -1};
    return (jval){J_STR, {.s = s}};
}

jval glia_j_cstr(jrt *rt, const char *s) { return glia_j_str(rt, s, strlen(s)); }

jval glia_j_sub(jrt *rt, const jstr *s, size_t from, size_t to) {
    jval v = glia_j_str(rt, s->p + from, to - from);
    v.u.s->safe = s->safe;
    if (s->chars == (int64_t)s->n) v.u.s->chars = (int64_t)(to - from); /* s is ASCII, so its substring is */
    return v;
}

jval glia_j_mark(jrt *rt, jval s, bool safe) {
    if (s.u.s->safe == safe) return s;
    jval v = glia_j_str(rt, s.u.s->p, s.u.s->n);
    v.u.s->safe = safe;
    v.u.s->chars = s.u.s->chars;
    return v;
}

static jval new_list(jrt *rt, jkind kind, size_t cap) {
    jlist *l = glia_j_alloc(rt, sizeof *l);
    if (cap > rt->arena.limit / sizeof(jval)) glia_j_limit(rt, "a list of %zu items", cap);
    l->v = glia_j_alloc(rt, cap * sizeof *l->v);
    l->cap = cap;
    return (jval){kind, {.l = l}};
}

jval glia_j_list(jrt *rt, size_t cap) { return new_list(rt, J_LIST, cap); }
jval glia_j_tuple(jrt *rt, size_t cap) { return new_list(rt, J_TUPLE, cap); }

jval glia_j_pair(jrt *rt, jval a, jval b) {
    jval t = new_list(rt, J_TUPLE, 2);
    glia_j_push(rt, t.u.l, a);
    glia_j_push(rt, t.u.l, b);
    return t;
}

void glia_j_push(jrt *rt, jlist *l, jval v) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 8;
        jval *grown = glia_j_alloc(rt, cap * sizeof *grown);
        if (l->n) memcpy(grown, l->v, l->n * sizeof *grown);
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

jval glia_j_dict(jrt *rt) { return (jval){J_DICT, {.d = glia_j_alloc(rt, sizeof(jdict))}}; }

jval glia_j_undef(jrt *rt, jval obj, jval name) {
    jundef *u = glia_j_alloc(rt, sizeof *u);
    *u = (jundef){.obj = obj, .name = name, .exc = "UndefinedError"};
    return (jval){J_UNDEF, {.u = u}};
}

jval glia_j_undef_hint(jrt *rt, const char *hint, const char *exc) {
    jval v = glia_j_undef(rt, glia_j_missing, glia_j_none);
    v.u.u->hint = hint;
    if (exc) v.u.u->exc = exc;
    return v;
}

jval glia_j_bind(jrt *rt, const jrow *row, jval self, const char *type) {
    jbound *b = glia_j_alloc(rt, sizeof *b);
    *b = (jbound){row, self, type};
    return (jval){J_FUNCTION, {.fn = b}};
}

/* ---- properties --------------------------------------------------------------------- */

const char *glia_j_type(jval v) {
    static const char *const names[] = {
        [J_MISSING] = "MissingType",
        [J_UNDEF] = "Undefined",
        [J_NONE] = "NoneType",
        [J_BOOL] = "bool",
        [J_INT] = "int",
        [J_FLOAT] = "float",
        [J_STR] = "str",
        [J_LIST] = "list",
        [J_TUPLE] = "tuple",
        [J_DICT] = "dict",
        [J_RANGE] = "range",
        [J_VIEW] = "dict_keys",
        [J_ITER] = "generator",
        [J_NAMESPACE] = "TemplateNamespace",
        [J_MACRO] = "Macro",
        [J_LOOP] = "LoopContext",
        [J_CYCLER] = "Cycler",
        [J_JOINER] = "Joiner",
        [J_FUNCTION] = "function",
        [J_BLOCK] = "TemplateReference",
    };
    switch (v.kind) {
    case J_STR: return v.u.s->safe ? "Markup" : "str";
    case J_VIEW:
        return v.u.view->what == 'k' ? "dict_keys" : v.u.view->what == 'v' ? "dict_values" : "dict_items";
    case J_ITER: return v.u.it->type;
    case J_FUNCTION: return v.u.fn->type;
    case J_TUPLE: return v.u.l->group ? "_GroupTuple" : "tuple";
    case J_BLOCK: return v.u.block ? "BlockReference" : "TemplateReference";
    default: return names[v.kind];
    }
}

const char *glia_j_object(jrt *rt, jval v) {
    if (v.kind == J_NONE) return "None";
    const char *module = "";
    switch (v.kind) {
    case J_UNDEF:
    case J_MACRO:
    case J_LOOP:
    case J_BLOCK: module = "jinja2.runtime."; break;
    case J_NAMESPACE:
    case J_CYCLER:
    case J_JOINER: module = "jinja2.utils."; break;
    case J_STR: module = v.u.s->safe ? "markupsafe." : ""; break;
    case J_TUPLE: module = v.u.l->group ? "jinja2.filters." : ""; break;
    default: break;
    }
    jtext t = {0};
    glia_j_printf(rt, &t, "%s%s object", module, glia_j_type(v));
    glia_j_putc(rt, &t, '\0');
    return t.data;
}

bool glia_j_len(jrt *rt, jval v, int64_t *n) {
    switch (v.kind) {
    case J_UNDEF: *n = 0; return true;
    case J_STR: *n = (int64_t)glia_j_chars(v.u.s); return true;
    case J_LIST:
    case J_TUPLE: *n = (int64_t)v.u.l->n; return true;
    case J_DICT: *n = (int64_t)v.u.d->n; return true;
    case J_RANGE: *n = (int64_t)v.u.r->n; return true;
    case J_VIEW: *n = (int64_t)v.u.view->d->n; return true;
    case J_LOOP: *n = glia_j_loop_length(rt, v.u.loop); return true;
    default: return false;
    }
}

bool glia_j_truth(jrt *rt, jval v) {
    int64_t n;
    switch (v.kind) {
    case J_NONE: return false;
    case J_BOOL: return v.u.b;
    case J_INT: return v.u.i != 0;
    case J_FLOAT: return v.u.f != 0;
    case J_STR: return v.u.s->n != 0;
    default: return glia_j_len(rt, v, &n) ? n != 0 : v.kind != J_MISSING;
    }
}

bool glia_j_integer(jval v, int64_t *i) {
    if (v.kind == J_BOOL)
        *i = v.u.b;
    else if (v.kind == J_INT)
        *i = v.u.i;
    else
        return false;
    return true;
}

bool glia_j_number(jval v, double *f) {
    int64_t i;
    if (v.kind == J_FLOAT)
        *f = v.u.f;
    else if (glia_j_integer(v, &i))
        *f = (double)i;
    else
        return false;
    return true;
}

bool glia_j_is_str(jval v, const char *s) {
    return v.kind == J_STR && v.u.s->n == strlen(s) && memcmp(v.u.s->p, s, v.u.s->n) == 0;
}

/* ---- equality and order ------------------------------------------------------------ */

/* Compare exactly, even if no double equals the integer. Returns -1, 0, 1; 2 for NaN. */
static int compare_int_float(int64_t i, double f) {
    if (isnan(f)) return 2;
    if (f >= 0x1p63) return -1;
    if (f < -0x1p63) return 1;
    const int64_t whole = (int64_t)f;
    if (i != whole) return i < whole ? -1 : 1;
    const double rest = f - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

/* Returns -1, 0 or 1; 2 if one is NaN; 3 if one is not a number. */
static int compare_numbers(jval a, jval b) {
    int64_t x, y;
    const bool ix = glia_j_integer(a, &x), iy = glia_j_integer(b, &y);
    if (ix && iy) return x < y ? -1 : x > y;
    if (ix && b.kind == J_FLOAT) return compare_int_float(x, b.u.f);
    if (iy && a.kind == J_FLOAT) {
        const int c = compare_int_float(y, a.u.f);
        return c == 2 ? 2 : -c;
    }
    if (a.kind != J_FLOAT || b.kind != J_FLOAT) return 3;
    if (isnan(a.u.f) || isnan(b.u.f)) return 2;
    return a.u.f < b.u.f ? -1 : a.u.f > b.u.f;
}

static bool equal_dicts(jrt *rt, const jdict *a, const jdict *b, bool values) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        jval other;
        if (!glia_j_get(rt, b, a->e[i].k, &other)) return false;
        if (values && !glia_j_equal(rt, a->e[i].v, other)) return false;
    }
    return true;
}

static bool equal_ranges(const jrange *a, const jrange *b) {
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

static bool equal_containers(jrt *rt, jval a, jval b) {
    switch (a.kind) {
    case J_LIST:
    case J_TUPLE:
        if (a.u.l->n != b.u.l->n) return false;
        glia_j_step(rt, a.u.l->n / 8);
        for (size_t i = 0; i < a.u.l->n; i++) {
            if (!glia_j_equal(rt, a.u.l->v[i], b.u.l->v[i])) return false;
        }
        return true;
    case J_DICT: return equal_dicts(rt, a.u.d, b.u.d, true);
    case J_RANGE: return equal_ranges(a.u.r, b.u.r);
    case J_VIEW:
        if (a.u.view->what != b.u.view->what || a.u.view->what == 'v') return a.u.view == b.u.view;
        return equal_dicts(rt, a.u.view->d, b.u.view->d, a.u.view->what == 'i');
    case J_FUNCTION: return a.u.fn->row == b.u.fn->row && glia_j_equal(rt, a.u.fn->self, b.u.fn->self);
    default: return a.u.d == b.u.d; /* the same object */
    }
}

bool glia_j_equal(jrt *rt, jval a, jval b) {
    const int c = compare_numbers(a, b);
    if (c != 3) return c == 0;
    if (a.kind != b.kind) return false;
    if (a.kind == J_UNDEF || a.kind == J_NONE || a.kind == J_MISSING) return true;
    if (a.kind == J_STR) {
        glia_j_step(rt, a.u.s->n / 256);
        return a.u.s->n == b.u.s->n && memcmp(a.u.s->p, b.u.s->p, a.u.s->n) == 0;
    }
    glia_j_enter(rt);
    glia_j_step(rt, 1);
    const bool equal = equal_containers(rt, a, b);
    glia_j_leave(rt);
    return equal;
}

static int compare_strings(const jstr *a, const jstr *b) { /* UTF-8 bytes sort like code points */
    const size_t n = a->n < b->n ? a->n : b->n;
    const int c = n ? memcmp(a->p, b->p, n) : 0;
    return c ? (c < 0 ? -1 : 1) : a->n < b->n ? -1 : a->n > b->n;
}

static int compare_lists(jrt *rt, const jlist *a, const jlist *b, const char *op) {
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (glia_j_equal(rt, a->v[i], b->v[i])) continue;
        glia_j_enter(rt);
        const int c = glia_j_compare(rt, a->v[i], b->v[i], op);
        glia_j_leave(rt);
        return c;
    }
    return a->n < b->n ? -1 : a->n > b->n;
}

int glia_j_compare(jrt *rt, jval a, jval b, const char *op) {
    glia_j_step(rt, 1);
    const int c = compare_numbers(a, b);
    if (c != 3) return c;
    if (a.kind == J_STR && b.kind == J_STR) {
        glia_j_step(rt, a.u.s->n / 256);
        return compare_strings(a.u.s, b.u.s);
    }
    if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        return compare_lists(rt, a.u.l, b.u.l, op);
    if (a.kind == J_UNDEF) glia_j_undefined_error(rt, a);
    if (b.kind == J_UNDEF) glia_j_undefined_error(rt, b);
    glia_j_fail(rt, "TypeError", "'%s' not supported between instances of '%s' and '%s'", op, glia_j_type(a),
                glia_j_type(b));
}

bool glia_j_order(jrt *rt, jval a, jval b, const char *op) {
    const int c = glia_j_compare(rt, a, b, op);
    if (c == 2) return false;
    if (c == 0) return op[1] == '=';
    return op[0] == '<' ? c < 0 : c > 0;
}

/* ---- dictionaries ------------------------------------------------------------------ */

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    return h ^ h >> 33;
}

static bool hash_list(jrt *rt, const jlist *l, uint64_t *h) {
    *h = 0x345678u;
    for (size_t i = 0; i < l->n; i++) {
        uint64_t one;
        if (!glia_j_hash(rt, l->v[i], &one)) return false;
        *h = mix(*h ^ one);
    }
    return true;
}

bool glia_j_hash(jrt *rt, jval v, uint64_t *h) {
    switch (v.kind) {
    case J_LIST:
    case J_DICT:
    case J_VIEW: return false;
    case J_STR:
        glia_j_step(rt, v.u.s->n / 16);
        *h = 0xcbf29ce484222325u;
        for (size_t i = 0; i < v.u.s->n; i++) *h = (*h ^ (unsigned char)v.u.s->p[i]) * 0x100000001b3u;
        *h = mix(*h);
        return true;
    case J_FLOAT: /* equal numbers must have equal hashes: a whole float hashes like its integer */
        if (v.u.f >= -0x1p63 && v.u.f < 0x1p63 && floor(v.u.f) == v.u.f)
            return glia_j_hash(rt, glia_j_int((int64_t)v.u.f), h);
        memcpy(h, &v.u.f, sizeof *h);
        *h = mix(*h);
        return true;
    case J_BOOL: return glia_j_hash(rt, glia_j_int(v.u.b), h);
    case J_INT: *h = mix((uint64_t)v.u.i); return true;
    case J_TUPLE: {
        glia_j_enter(rt);
        const bool ok = hash_list(rt, v.u.l, h);
        glia_j_leave(rt);
        return ok;
    }
    case J_RANGE: *h = mix(v.u.r->n); return true;
    case J_UNDEF:
    case J_NONE:
    case J_MISSING: *h = (uint64_t)v.kind; return true;
    default: *h = mix((uint64_t)(uintptr_t)v.u.d); return true;
    }
}

static jentry *find_entry(jrt *rt, const jdict *d, jval key, uint64_t hash) {
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++) {
            if (d->e[i].hash == hash && glia_j_equal(rt, d->e[i].k, key)) return &d->e[i];
        }
        return NULL;
    }
    for (size_t at = hash & d->mask; d->index[at]; at = (at + 1) & d->mask) {
        glia_j_step(rt, 1);
        jentry *e = &d->e[d->index[at] - 1];
        if (e->hash == hash && glia_j_equal(rt, e->k, key)) return e;
    }
    return NULL;
}

static void index_entry(jdict *d, size_t i) {
    size_t at = d->e[i].hash & d->mask;
    while (d->index[at]) at = (at + 1) & d->mask;
    d->index[at] = (uint32_t)i + 1;
}

static void grow_dict(jrt *rt, jdict *d) {
    const size_t cap = d->cap ? 2 * d->cap : 8;
    if (cap > UINT32_MAX / 4) glia_j_limit(rt, "a dict of %zu items", cap);
    jentry *e = glia_j_alloc(rt, cap * sizeof *e);
    if (d->n) memcpy(e, d->e, d->n * sizeof *e);
    d->e = e;
    d->cap = cap;
    if (cap == 8) return;
    d->mask = 2 * cap - 1;
    d->index = glia_j_alloc(rt, 2 * cap * sizeof *d->index);
    for (size_t i = 0; i < d->n; i++) index_entry(d, i);
}

bool glia_j_get(jrt *rt, const jdict *d, jval key, jval *out) {
    uint64_t hash;
    if (!glia_j_hash(rt, key, &hash)) return false;
    const jentry *e = find_entry(rt, d, key, hash);
    if (e) *out = e->v;
    return e != NULL;
}

bool glia_j_gets(jrt *rt, const jdict *d, const char *key, jval *out) {
    jstr s = {.p = key, .n = strlen(key), .chars = -1};
    return glia_j_get(rt, d, (jval){J_STR, {.s = &s}}, out);
}

void glia_j_put(jrt *rt, jdict *d, jval key, jval v) {
    uint64_t hash;
    if (!glia_j_hash(rt, key, &hash)) glia_j_fail(rt, "TypeError", "unhashable type: '%s'", glia_j_type(key));
    jentry *e = find_entry(rt, d, key, hash);
    if (e) {
        e->v = v;
        return;
    }
    if (d->n == d->cap) grow_dict(rt, d);
    d->e[d->n] = (jentry){key, v, hash};
    if (d->index) index_entry(d, d->n);
    d->n++;
}

jval glia_j_copy(jrt *rt, const jdict *d) {
    jval copy = glia_j_dict(rt);
    for (size_t i = 0; i < d->n; i++) glia_j_put(rt, copy.u.d, d->e[i].k, d->e[i].v);
    return copy;
}
