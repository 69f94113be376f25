/* schema_build.c - from the meaning of a schema to nodes of a grammar. */
#include <string.h>

#include "grammar/schema.h"

static void add(glia_schema *s, glia_vec *list, uint32_t node) {
    if (node != GLIA_NODE_NONE && !glia_vec_put(list, node))
        glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
}

/* All values without parts are one expression. */
static glia_node scalars(glia_schema *s, const glia_values *v) {
    const glia_rx word[] = {v->null ? glia_rx_text(s->rx, "null", 4) : GLIA_RX_NONE,
                            v->yes ? glia_rx_text(s->rx, "true", 4) : GLIA_RX_NONE,
                            v->no ? glia_rx_text(s->rx, "false", 5) : GLIA_RX_NONE, v->number, v->string};
    return glia_cfg_term(&s->g->cfg, glia_rx_or_all(s->rx, word, sizeof word / sizeof *word));
}

/* ---- arrays --------------------------------------------------------------------------- */

static glia_conj without(glia_schema *s, glia_conj c, glia_conj some) {
    const glia_literal *x =
        some == GLIA_CONJ_ANY || some == GLIA_CONJ_NEVER ? NULL : glia_conj_literal(s, some, 0);
    if (some == GLIA_CONJ_NEVER) return c;
    if (!x) return GLIA_CONJ_NEVER;
    glia_literal opposite = *x;
    opposite.negated = !opposite.negated;
    if (glia_conj_literal(s, some, 1)) glia_schema_loose(s, "\"maxContains\" of several schemas");
    return glia_conj_and(s, c, glia_conj_of(s, opposite));
}

/* The values of a constraint, if they are few: a literal that is an enumeration, or a boolean or null. */
static const json_t *enumeration(glia_schema *s, glia_conj c) {
    const glia_literal *x;
    for (uint32_t i = 0; (x = glia_conj_literal(s, c, i)); i++) {
        const json_t *at = x->json;
        while (!x->constant && !x->negated && json_object_get(at, "$ref") && s->status == GLIA_OK) {
            const json_t *next = glia_schema_resolve(s, at, json_string_value(json_object_get(at, "$ref")));
            if (!next || next == at || json_object_get(at, "enum")) break;
            at = next;
        }
        const json_t *list = x->constant || x->negated ? NULL : json_object_get(at, "enum");
        if (json_array_size(list) > 0) return list;
    }
    return NULL;
}

static glia_node unique(glia_schema *s, const glia_array_form *a) {
    const json_t *list = a->n == 0 && !a->has_some ? enumeration(s, a->rest) : NULL, *x;
    size_t i;
    glia_vec nodes = {0};
    if (!list || json_array_size(list) > 64) return GLIA_NODE_NONE;
    json_array_foreach(list, i, x) {
        const glia_conj one = glia_conj_of(s, (glia_literal){.json = x, .constant = true});
        const glia_conj both = glia_conj_and(s, one, a->rest);
        if (!glia_conj_is_none(s, both)) add(s, &nodes, glia_schema_node(s, both));
    }
    const glia_node node = glia_cfg_unique(&s->g->cfg, nodes.data, nodes.n, s->comma, a->least, a->most);
    glia_vec_free(&nodes);
    return node;
}

static glia_node array_elements(glia_schema *s, const glia_array_form *a) {
    if (a->unique && (a->most == GLIA_RX_MANY || a->most > 1)) {
        const glia_node node = unique(s, a);
        if (node) return node;
        glia_schema_loose(s, "\"uniqueItems\" over values that are no \"enum\" of at most 64");
    }
    glia_vec plain = {0}, counted = {0};
    int n = a->n;
    if (a->has_some && a->some_from > n) n = a->some_from;
    for (int i = 0; i <= n && !s->status; i++) {
        const glia_conj c = i < a->n ? a->prefix[i] : a->rest;
        const bool counts = a->has_some && i >= a->some_from;
        const glia_conj other = counts && a->some_most != GLIA_RX_MANY ? without(s, c, a->some) : c;
        const glia_conj some = counts ? glia_conj_and(s, c, a->some) : GLIA_CONJ_NEVER;
        if (!glia_vec_put(&plain, glia_schema_node(s, other)) ||
            !glia_vec_put(&counted, a->has_some ? glia_schema_node(s, some) : GLIA_NODE_NONE))
            glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    }
    const glia_cfg_array x = {.n = n,
                              .comma = s->comma,
                              .least = a->least,
                              .most = a->most,
                              .counts = a->has_some,
                              .found_least = a->has_some ? a->some_least : 0,
                              .found_most = a->has_some ? a->some_most : GLIA_RX_MANY};
    const glia_node node =
        s->status ? GLIA_NODE_NONE : glia_cfg_array_node(&s->g->cfg, plain.data, counted.data, &x);
    glia_vec_free(&plain);
    glia_vec_free(&counted);
    return node;
}

/* ---- objects ---------------------------------------------------------------------------- */

static glia_node pair(glia_schema *s, glia_rx key, glia_conj value) {
    if (value == GLIA_CONJ_NEVER) return GLIA_NODE_NONE;
    const glia_node list[3] = {glia_cfg_term(&s->g->cfg, key), s->colon, glia_schema_node(s, value)};
    return glia_cfg_seq(&s->g->cfg, list, 3);
}

/* Keys that are no property of the object. */
static glia_rx unnamed(glia_schema *s, const glia_object_form *o) {
    glia_vec names = {0};
    bool ok = true;
    for (int i = 0; i < o->n && ok; i++)
        ok = glia_vec_put(&names, glia_schema_key(s, o->property[i].name, o->property[i].len));
    if (!ok) glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    const glia_rx named = glia_rx_or_all(s->rx, names.data, names.n);
    glia_vec_free(&names);
    return glia_rx_not(s->rx, named);
}

static glia_node rest(glia_schema *s, const glia_object_form *o, glia_rx others) {
    glia_vec list = {0};
    for (int i = 0; i < o->n_rest && !s->status; i++) {
        const glia_rx keys = glia_rx_and(s->rx, o->rest[i].keys, others);
        if (keys != GLIA_RX_NONE && !glia_rx_is_none(s->rx, keys))
            add(s, &list, pair(s, keys, o->rest[i].value));
    }
    const glia_node node = glia_cfg_or(&s->g->cfg, list.data, list.n);
    glia_vec_free(&list);
    return node;
}

static glia_node some_pair(glia_schema *s, const glia_object_form *o, glia_rx others) {
    glia_vec list = {0};
    for (int i = 0; i < o->n_rest && !s->status; i++) {
        const glia_rx keys = glia_rx_and(s->rx, glia_rx_and(s->rx, o->rest[i].keys, o->some.keys), others);
        if (keys != GLIA_RX_NONE && !glia_rx_is_none(s->rx, keys))
            add(s, &list, pair(s, keys, glia_conj_and(s, o->rest[i].value, o->some.value)));
    }
    const glia_node node = glia_cfg_or(&s->g->cfg, list.data, list.n);
    glia_vec_free(&list);
    return node;
}

static glia_node object_members(glia_schema *s, const glia_object_form *o) {
    glia_vec members = {0};
    const glia_rx others = unnamed(s, o);
    for (int i = 0; i < o->n && !s->status; i++) {
        const glia_property *p = &o->property[i];
        const glia_cfg_member m = {pair(s, glia_schema_key(s, p->name, p->len), p->value), p->required};
        if ((m.pair || m.required) && !glia_vec_push(&members, sizeof m, &m))
            glia_schema_fail(s, GLIA_ERR_NOMEM, "not enough memory");
    }
    const glia_cfg_object x = {.rest = rest(s, o, others),
                               .comma = s->comma,
                               .least = o->least,
                               .most = o->most,
                               .needs = o->has_some,
                               .some = o->has_some ? some_pair(s, o, others) : GLIA_NODE_NONE};
    if (o->least > 1 && x.rest)
        glia_schema_loose(s, "that keys beyond \"properties\" differ, which \"minProperties\" needs,");
    const glia_node node =
        s->status ? GLIA_NODE_NONE : glia_cfg_object_node(&s->g->cfg, members.data, members.n, &x);
    glia_vec_free(&members);
    return node;
}

/* ---- any value -------------------------------------------------------------------------------- */

static glia_node between(glia_schema *s, glia_node open, glia_node inside, glia_node close) {
    return glia_cfg_seq(&s->g->cfg, (const glia_node[]){open, inside, close}, 3);
}

static glia_node body(glia_schema *s, const glia_values *v) {
    glia_vec list = {0};
    add(s, &list, scalars(s, v));
    for (int i = 0; i < v->n_arrays && !s->status; i++)
        add(s, &list, between(s, s->open_array, array_elements(s, &v->arrays[i]), s->close_array));
    for (int i = 0; i < v->n_objects && !s->status; i++)
        add(s, &list, between(s, s->open_object, object_members(s, &v->objects[i]), s->close_object));
    const glia_node node = glia_cfg_or(&s->g->cfg, list.data, list.n);
    glia_vec_free(&list);
    return node;
}

glia_node glia_schema_node(glia_schema *s, glia_conj c) {
    if (c == GLIA_CONJ_NEVER || s->status || glia_rx_error(s->rx)->status) return GLIA_NODE_NONE;
    glia_conjunction *at = (glia_conjunction *)s->conjunctions.data + c;
    if (at->node) return at->node;
    const glia_values *v = glia_conj_values(s, c);
    if (s->status) return GLIA_NODE_NONE;
    const glia_node rule = glia_cfg_rule(&s->g->cfg);
    ((glia_conjunction *)s->conjunctions.data + c)->node = rule;
    glia_cfg_set_rule(&s->g->cfg, rule, body(s, v));
    return rule;
}
