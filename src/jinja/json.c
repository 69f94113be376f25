/* json.c - values from jansson trees, and the filter tojson as transformers defines
 * it: json.dumps(x, ensure_ascii=False), without HTML escapes. */
#include "jinja/jinja.h"

#include <inttypes.h>
#include <math.h>

jval glia_j_from_json(jrt *rt, const json_t *j) {
    jval v = glia_j_none, item;
    glia_j_step(rt, 1);
    switch (json_typeof(j)) {
    case JSON_NULL: break;
    case JSON_TRUE:
    case JSON_FALSE: return glia_j_bool(json_is_true(j));
    case JSON_INTEGER: return glia_j_int(json_integer_value(j));
    case JSON_REAL: return glia_j_float(json_real_value(j));
    case JSON_STRING: return glia_j_str(rt, json_string_value(j), json_string_length(j));
    case JSON_ARRAY:
        glia_j_enter(rt);
        v = glia_j_list(rt, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++)
            glia_j_push(rt, v.u.l, glia_j_from_json(rt, json_array_get(j, i)));
        glia_j_leave(rt);
        break;
    case JSON_OBJECT: /* jansson iterates in insertion order */
        glia_j_enter(rt);
        v = glia_j_dict(rt);
        json_t *object = (json_t *)(uintptr_t)j; /* jansson's iterators take no const pointer */
        for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
            item = glia_j_from_json(rt, json_object_iter_value(at));
            glia_j_put(rt, v.u.d, glia_j_str(rt, json_object_iter_key(at), json_object_iter_key_len(at)),
                       item);
        }
        glia_j_leave(rt);
        break;
    }
    return v;
}

typedef struct {
    jtext out;
    bool ascii, sort, indented;
    jstr indent, item_sep, key_sep;
} jdump;

static void dump(jrt *rt, jdump *d, jval v, int level);

static void dump_escaped(jrt *rt, jdump *d, int32_t cp) {
    static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (const char *l = letters; *l; l += 2) {
        if (cp == *l) {
            glia_j_printf(rt, &d->out, "\\%c", l[1]);
            return;
        }
    }
    if (cp >= 0x10000) {
        cp -= 0x10000;
        glia_j_printf(rt, &d->out, "\\u%04x", (unsigned)(0xd800 | cp >> 10));
        cp = 0xdc00 | (cp & 0x3ff);
    }
    glia_j_printf(rt, &d->out, "\\u%04x", (unsigned)cp);
}

static void dump_str(jrt *rt, jdump *d, const jstr *s) {
    size_t run = 0;
    glia_j_step(rt, s->n / 16);
    glia_j_putc(rt, &d->out, '"');
    for (size_t at = 0; at < s->n;) {
        const size_t from = at;
        const int32_t cp = glia_j_next(s->p, s->n, &at);
        if (cp >= 0x20 && cp != '"' && cp != '\\' && !(d->ascii && cp >= 0x7f)) continue;
        glia_j_add(rt, &d->out, s->p + run, from - run);
        dump_escaped(rt, d, cp);
        run = at;
    }
    glia_j_add(rt, &d->out, s->p + run, s->n - run);
    glia_j_putc(rt, &d->out, '"');
}

static void dump_float(jrt *rt, jdump *d, double f) {
    if (isfinite(f))
        glia_j_float_repr(rt, &d->out, f);
    else
        glia_j_puts(rt, &d->out, isnan(f) ? "NaN" : f > 0 ? "Infinity" : "-Infinity");
}

static void newline(jrt *rt, jdump *d, int level) {
    if (!d->indented) return;
    glia_j_putc(rt, &d->out, '\n');
    for (int i = 0; i < level; i++) glia_j_add(rt, &d->out, d->indent.p, d->indent.n);
}

static void dump_key(jrt *rt, jdump *d, jval k) {
    if (k.kind == J_STR) {
        dump_str(rt, d, k.u.s);
        return;
    }
    if (k.kind != J_INT && k.kind != J_FLOAT && k.kind != J_BOOL && k.kind != J_NONE)
        glia_j_fail(rt, "TypeError", "keys must be str, int, float, bool or None, not %s", glia_j_type(k));
    glia_j_putc(rt, &d->out, '"');
    dump(rt, d, k, 0);
    glia_j_putc(rt, &d->out, '"');
}

static void dump_dict(jrt *rt, jdump *d, const jdict *dict, int level) {
    jval *keys = glia_j_alloc(rt, dict->n * sizeof *keys),
         *values = glia_j_alloc(rt, dict->n * sizeof *values);
    for (size_t i = 0; i < dict->n; i++) {
        keys[i] = dict->e[i].k;
        values[i] = glia_j_pair(rt, keys[i], dict->e[i].v);
    }
    if (d->sort) glia_j_sort(rt, values, keys, dict->n, false);
    glia_j_putc(rt, &d->out, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i) glia_j_add(rt, &d->out, d->item_sep.p, d->item_sep.n);
        newline(rt, d, level + 1);
        dump_key(rt, d, values[i].u.l->v[0]);
        glia_j_add(rt, &d->out, d->key_sep.p, d->key_sep.n);
        dump(rt, d, values[i].u.l->v[1], level + 1);
    }
    if (dict->n) newline(rt, d, level);
    glia_j_putc(rt, &d->out, '}');
}

static void dump(jrt *rt, jdump *d, jval v, int level) {
    glia_j_enter(rt);
    glia_j_step(rt, 1);
    switch (v.kind) {
    case J_NONE: glia_j_puts(rt, &d->out, "null"); break;
    case J_BOOL: glia_j_puts(rt, &d->out, v.u.b ? "true" : "false"); break;
    case J_INT: glia_j_printf(rt, &d->out, "%" PRId64, v.u.i); break;
    case J_FLOAT: dump_float(rt, d, v.u.f); break;
    case J_STR: dump_str(rt, d, v.u.s); break;
    case J_DICT: dump_dict(rt, d, v.u.d, level); break;
    case J_LIST:
    case J_TUPLE:
        glia_j_putc(rt, &d->out, '[');
        for (size_t i = 0; i < v.u.l->n; i++) {
            if (i) glia_j_add(rt, &d->out, d->item_sep.p, d->item_sep.n);
            newline(rt, d, level + 1);
            dump(rt, d, v.u.l->v[i], level + 1);
        }
        if (v.u.l->n) newline(rt, d, level);
        glia_j_putc(rt, &d->out, ']');
        break;
    default: glia_j_fail(rt, "TypeError", "Object of type %s is not JSON serializable", glia_j_type(v));
    }
    glia_j_leave(rt);
}

static jstr separator(jrt *rt, jval v, size_t i) {
    const jlist *l = glia_j_items(rt, v);
    if (l->n != 2) glia_j_fail(rt, "ValueError", "separators: expected two, found %zu", l->n);
    if (l->v[i].kind != J_STR)
        glia_j_fail(rt, "TypeError", "separators: expected str, found %s", glia_j_type(l->v[i]));
    return *l->v[i].u.s;
}

jval glia_j_tojson(jrt *rt, jval v, const jval *a) {
    jdump d = {.item_sep = {.p = ", ", .n = 2}, .key_sep = {.p = ": ", .n = 2}};
    int64_t spaces;
    d.ascii = a[0].kind != J_MISSING && glia_j_truth(rt, a[0]);
    d.sort = a[3].kind != J_MISSING && glia_j_truth(rt, a[3]);
    if (a[1].kind == J_STR) {
        d.indent = *a[1].u.s;
        d.indented = true;
    } else if (glia_j_integer(a[1], &spaces)) {
        jtext t = {0};
        glia_j_pad(rt, &t, ' ', spaces);
        d.indent = *glia_j_text(rt, &t).u.s;
        d.indented = true;
    } else if (a[1].kind != J_MISSING && a[1].kind != J_NONE) {
        glia_j_fail(rt, "TypeError", "can't multiply sequence by non-int of type '%s'", glia_j_type(a[1]));
    }
    if (d.indented) d.item_sep.n = 1;
    if (a[2].kind != J_MISSING && a[2].kind != J_NONE) {
        d.item_sep = separator(rt, a[2], 0);
        d.key_sep = separator(rt, a[2], 1);
    }
    dump(rt, &d, v, 0);
    return glia_j_text(rt, &d.out);
}
