/* cfg.c - see cfg.h. */
#include "grammar/cfg.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/rx_impl.h"

static glia_node add(glia_cfg *g, glia_cfg_node node) {
    if (!glia_rx_work(g->rx, 1)) return GLIA_NODE_NONE;
    if (!glia_vec_push(&g->nodes, sizeof node, &node)) return glia_rx_nomem(g->rx);
    return (glia_node)g->nodes.n - 1;
}

bool glia_cfg_init(glia_cfg *g, glia_rx_pool *rx) {
    *g = (glia_cfg){.rx = rx};
    const glia_cfg_node none = {.kind = CFG_TERM, .a = GLIA_RX_NONE};
    return glia_vec_push(&g->nodes, sizeof none, &none);
}

void glia_cfg_free(glia_cfg *g) {
    glia_vec *const vec[] = {&g->nodes, &g->lists, &g->members, &g->objects, &g->arrays};
    for (size_t i = 0; i < sizeof vec / sizeof *vec; i++) glia_vec_free(vec[i]);
}

glia_node glia_cfg_term(glia_cfg *g, glia_rx rx) {
    return rx == GLIA_RX_NONE ? GLIA_NODE_NONE : add(g, (glia_cfg_node){.kind = CFG_TERM, .a = rx});
}

glia_node glia_cfg_text(glia_cfg *g, const char *text, size_t len) {
    return glia_cfg_term(g, glia_rx_text(g->rx, text, len));
}

/* Copy a list of nodes; returns its offset. */
static bool add_list(glia_cfg *g, const glia_node *list, size_t n, uint32_t *at) {
    *at = (uint32_t)g->lists.n;
    glia_node *copy = glia_vec_add(&g->lists, sizeof *copy, n);
    if (copy && n) memcpy(copy, list, n * sizeof *copy);
    if (!copy) glia_rx_nomem(g->rx);
    return copy;
}

static glia_node list_node(glia_cfg *g, glia_cfg_kind kind, const glia_node *list, size_t n) {
    uint32_t at;
    if (n == 1) return list[0];
    if (!add_list(g, list, n, &at)) return GLIA_NODE_NONE;
    return add(g, (glia_cfg_node){.kind = (uint8_t)kind, .a = at, .b = (uint32_t)n});
}

glia_node glia_cfg_seq(glia_cfg *g, const glia_node *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i] == GLIA_NODE_NONE) return GLIA_NODE_NONE;
    return n ? list_node(g, CFG_SEQ, list, n) : glia_cfg_term(g, GLIA_RX_EMPTY);
}

glia_node glia_cfg_seq2(glia_cfg *g, glia_node a, glia_node b) {
    return glia_cfg_seq(g, (const glia_node[]){a, b}, 2);
}

/* An alternative, and what it begins with: equal keys are equal nodes. */
typedef struct {
    uint64_t key;
    glia_node node;
} alternative;

static alternative alternative_of(const glia_cfg *g, glia_node i) {
    const glia_cfg_node *x = glia_cfg_at(g, i);
    const glia_node first = x->kind == CFG_SEQ ? glia_vec_at(&g->lists, x->a) : i;
    const glia_cfg_node *y = glia_cfg_at(g, first);
    return (alternative){y->kind == CFG_TERM ? UINT64_C(1) << 32 | y->a : first, i};
}

static int by_key(const void *x, const void *y) {
    const alternative *a = x, *b = y;
    return a->key != b->key ? (a->key > b->key) - (a->key < b->key)
                            : (a->node > b->node) - (a->node < b->node);
}

/* What follows the first node of an alternative. */
static glia_node rest_of(glia_cfg *g, glia_node i) {
    const glia_cfg_node x = *glia_cfg_at(g, i);
    glia_vec rest = {0};
    for (uint32_t k = 1; x.kind == CFG_SEQ && k < x.b; k++)
        if (!glia_vec_put(&rest, glia_vec_at(&g->lists, x.a + k))) glia_rx_nomem(g->rx);
    const glia_node node = glia_cfg_seq(g, rest.data, rest.n);
    glia_vec_free(&rest);
    return node;
}

/* Alternatives that begin with the same node as one: the node is read once, not once for each. */
static glia_node factor(glia_cfg *g, const alternative *a, size_t n) {
    glia_vec rests = {0};
    if (n == 1) return a->node;
    for (size_t i = 0; i < n; i++)
        if (!glia_vec_put(&rests, rest_of(g, a[i].node))) glia_rx_nomem(g->rx);
    const glia_cfg_node x = *glia_cfg_at(g, a->node);
    const glia_node first = x.kind == CFG_SEQ ? glia_vec_at(&g->lists, x.a) : a->node;
    const glia_node node = glia_cfg_seq2(g, first, glia_cfg_or(g, rests.data, rests.n));
    glia_vec_free(&rests);
    return node;
}

glia_node glia_cfg_or(glia_cfg *g, const glia_node *list, size_t n) {
    if (n == 0) return GLIA_NODE_NONE;
    alternative *a = n > 1 ? malloc(n * sizeof *a) : NULL;
    if (!a) return list_node(g, CFG_OR, list, n);
    for (size_t i = 0; i < n; i++) a[i] = alternative_of(g, list[i]);
    qsort(a, n, sizeof *a, by_key);
    glia_vec groups = {0};
    for (size_t i = 0, k; i < n && !glia_rx_error(g->rx)->status; i = k) {
        for (k = i + 1; k < n && a[k].key == a[i].key && a[k].node != a[i].node && a[i].node; k++) {
        }
        if (!glia_vec_put(&groups, factor(g, a + i, k - i))) glia_rx_nomem(g->rx);
    }
    free(a);
    const glia_node node = list_node(g, CFG_OR, groups.data, groups.n);
    glia_vec_free(&groups);
    return glia_rx_error(g->rx)->status ? GLIA_NODE_NONE : node;
}

glia_node glia_cfg_repeat(glia_cfg *g, glia_node body, int least, int most) {
    if (least == 1 && most == 1) return body;
    if (most == 0 || (body == GLIA_NODE_NONE && least == 0)) return glia_cfg_term(g, GLIA_RX_EMPTY);
    return add(g, (glia_cfg_node){.kind = CFG_REPEAT, .a = body, .m = least, .n = most});
}

glia_node glia_cfg_rule(glia_cfg *g) { return add(g, (glia_cfg_node){.kind = CFG_RULE}); }

void glia_cfg_set_rule(glia_cfg *g, glia_node rule, glia_node body) {
    if (rule) ((glia_cfg_node *)g->nodes.data)[rule].a = body;
}

glia_node glia_cfg_object_node(glia_cfg *g, const glia_cfg_member *members, size_t n,
                               const glia_cfg_object *o) {
    glia_cfg_object own = *o;
    own.member = (uint32_t)g->members.n;
    own.n = (int)n;
    const uint32_t at = (uint32_t)g->objects.n;
    glia_cfg_member *copy = glia_vec_add(&g->members, sizeof *copy, n);
    if (!copy || !glia_vec_push(&g->objects, sizeof own, &own)) return glia_rx_nomem(g->rx);
    if (n) memcpy(copy, members, n * sizeof *copy);
    return add(g, (glia_cfg_node){.kind = CFG_OBJECT, .a = at});
}

glia_node glia_cfg_array_node(glia_cfg *g, const glia_node *elements, const glia_node *counted,
                              const glia_cfg_array *a) {
    glia_cfg_array own = *a;
    const size_t n = (size_t)a->n + 1;
    const uint32_t at = (uint32_t)g->arrays.n;
    if (!add_list(g, elements, n, &own.element) || (a->counts && !add_list(g, counted, n, &own.counted)))
        return GLIA_NODE_NONE;
    if (!glia_vec_push(&g->arrays, sizeof own, &own)) return glia_rx_nomem(g->rx);
    return add(g, (glia_cfg_node){.kind = CFG_ARRAY, .a = at});
}

glia_node glia_cfg_unique(glia_cfg *g, const glia_node *list, size_t n, glia_node comma, int least,
                          int most) {
    uint32_t at;
    if (!add_list(g, list, n, &at)) return GLIA_NODE_NONE;
    return add(g, (glia_cfg_node){
                      .kind = CFG_UNIQUE, .a = at, .b = (uint32_t)n, .m = least, .n = most, .comma = comma});
}

/* ---- which nodes have a string ------------------------------------------------------ */

static bool has(const glia_cfg *g, glia_node i) { return glia_cfg_at(g, i)->productive; }

static int count(const glia_cfg *g, const glia_cfg_node *x) {
    int n = 0;
    for (uint32_t i = 0; i < x->b; i++) n += has(g, glia_vec_at(&g->lists, x->a + i));
    return n;
}

static bool object_has(const glia_cfg *g, const glia_cfg_object *o) {
    const glia_cfg_member *m = (const glia_cfg_member *)g->members.data + o->member;
    int able = 0, required = 0;
    for (int i = 0; i < o->n; i++) {
        if (m[i].required && !has(g, m[i].pair)) return false;
        able += has(g, m[i].pair);
        required += m[i].required;
    }
    if (o->most != GLIA_RX_MANY && (required > o->most || o->least > o->most)) return false;
    if (o->needs && !has(g, o->some)) return false;
    return able >= o->least || has(g, o->rest) || has(g, o->some);
}

/* Can the i-th element be there? Counted or not. */
static bool element_has(const glia_cfg *g, const glia_cfg_array *a, int i) {
    const uint32_t k = (uint32_t)(i < a->n ? i : a->n);
    return has(g, glia_vec_at(&g->lists, a->element + k)) ||
           (a->counts && has(g, glia_vec_at(&g->lists, a->counted + k)));
}

/* The most elements that the nodes allow, up to `least` or the end of the prefix. */
static bool array_has(const glia_cfg *g, const glia_cfg_array *a) {
    int n = 0, counted = 0;
    while (n <= a->n && element_has(g, a, n)) {
        counted += a->counts && has(g, glia_vec_at(&g->lists, a->counted + (uint32_t)n));
        n++;
    }
    const bool without_end = n > a->n;
    if (a->most != GLIA_RX_MANY && a->least > a->most) return false;
    if (!without_end && n < a->least) return false;
    if (!a->counts || counted >= a->found_least) return true;
    return without_end && has(g, glia_vec_at(&g->lists, a->counted + (uint32_t)a->n));
}

static bool node_has(const glia_cfg *g, const glia_cfg_node *x) {
    switch ((glia_cfg_kind)x->kind) {
    case CFG_TERM: return !glia_rx_is_none(g->rx, x->a);
    case CFG_SEQ: return count(g, x) == (int)x->b;
    case CFG_OR: return count(g, x) > 0;
    case CFG_REPEAT: return x->m == 0 || has(g, x->a);
    case CFG_RULE: return has(g, x->a);
    case CFG_OBJECT: return object_has(g, (const glia_cfg_object *)g->objects.data + x->a);
    case CFG_ARRAY: return array_has(g, (const glia_cfg_array *)g->arrays.data + x->a);
    case CFG_UNIQUE: return count(g, x) >= x->m && (x->n == GLIA_RX_MANY || x->n >= x->m);
    }
    return false;
}

/* Replace nodes without a string by GLIA_NODE_NONE in lists, and leave out such members. */
static void prune(glia_cfg *g) {
    glia_node *list = g->lists.data;
    for (size_t i = 0; i < g->lists.n; i++)
        if (!has(g, list[i])) list[i] = GLIA_NODE_NONE;
    glia_cfg_object *o = g->objects.data;
    glia_cfg_member *all = g->members.data;
    for (size_t i = 0; i < g->objects.n; i++) {
        glia_cfg_member *m = all + o[i].member;
        int n = 0;
        for (int k = 0; k < o[i].n; k++)
            if (has(g, m[k].pair)) m[n++] = m[k];
        o[i].n = n;
        if (!has(g, o[i].rest)) o[i].rest = GLIA_NODE_NONE;
        if (!has(g, o[i].some)) o[i].some = GLIA_NODE_NONE;
    }
    glia_cfg_array *a = g->arrays.data;
    for (size_t i = 0; i < g->arrays.n; i++) {
        int n = 0;
        while (n <= a[i].n && element_has(g, a + i, n)) n++;
        if (n <= a[i].n && (a[i].most == GLIA_RX_MANY || a[i].most > n)) a[i].most = n;
    }
}

bool glia_cfg_finish(glia_cfg *g, glia_node root) {
    glia_cfg_node *x = g->nodes.data;
    for (bool changed = true; changed && glia_rx_work(g->rx, g->nodes.n);) {
        changed = false;
        for (size_t i = 1; i < g->nodes.n; i++)
            if (!x[i].productive && node_has(g, x + i)) changed = x[i].productive = true;
    }
    if (glia_rx_error(g->rx)->status) return false;
    prune(g);
    return has(g, root);
}

/* ---- left recursion -------------------------------------------------------------------- */

enum { UNSEEN, OPEN, CLOSED };

typedef struct {
    const glia_cfg *g;
    uint8_t *nullable, *seen;
    int depth;
} recursion;

/* The children of a node that has a list of them. */
static const uint32_t *list_of(const glia_cfg *g, const glia_cfg_node *x) {
    return x->kind == CFG_SEQ || x->kind == CFG_OR ? (const uint32_t *)g->lists.data + x->a : NULL;
}

static bool node_nullable(const recursion *r, const glia_cfg_node *x) {
    const uint32_t *list = list_of(r->g, x);
    switch ((glia_cfg_kind)x->kind) {
    case CFG_TERM: return glia_rx_nullable(r->g->rx, x->a);
    case CFG_SEQ:
        for (uint32_t i = 0; i < x->b; i++)
            if (!r->nullable[list[i]]) return false;
        return true;
    case CFG_OR:
        for (uint32_t i = 0; i < x->b; i++)
            if (r->nullable[list[i]]) return true;
        return false;
    case CFG_REPEAT: return x->m == 0 || r->nullable[x->a];
    case CFG_RULE: return r->nullable[x->a];
    default: return true; /* objects and arrays stand between braces, which are not nullable */
    }
}

/* Does a walk along what can come first meet an open node again? */
static bool meets(recursion *r, glia_node i) {
    const glia_cfg_node *x = glia_cfg_at(r->g, i);
    const uint32_t *list = list_of(r->g, x);
    bool found = r->seen[i] == OPEN || r->depth > 10000;
    if (r->seen[i] != UNSEEN || found) return found;
    r->seen[i] = OPEN;
    r->depth++;
    if (x->kind == CFG_RULE || x->kind == CFG_REPEAT) found = meets(r, x->a);
    for (uint32_t k = 0; (x->kind == CFG_SEQ || x->kind == CFG_OR) && k < x->b && !found; k++) {
        found = meets(r, list[k]);
        if (x->kind == CFG_SEQ && !r->nullable[list[k]]) break;
    }
    r->depth--;
    r->seen[i] = CLOSED;
    return found;
}

bool glia_cfg_left_recursive(const glia_cfg *g) {
    recursion r = {.g = g, .nullable = calloc(g->nodes.n, 2)};
    bool found = false;
    if (!r.nullable) return glia_rx_nomem(g->rx) != GLIA_RX_NONE;
    r.seen = r.nullable + g->nodes.n;
    for (bool changed = true; changed && glia_rx_work(g->rx, g->nodes.n);) {
        changed = false;
        for (size_t i = 0; i < g->nodes.n; i++)
            if (!r.nullable[i] && node_nullable(&r, glia_cfg_at(g, (glia_node)i))) {
                r.nullable[i] = 1;
                changed = true;
            }
    }
    for (size_t i = 0; i < g->nodes.n && !found; i++) found = meets(&r, (glia_node)i);
    free(r.nullable);
    return found;
}
