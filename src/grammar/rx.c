/* rx.c - making expressions: every node in a normal form, so that equal ones meet. */
#include "grammar/rx_impl.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"

static const size_t BYTES_MAX = (size_t)128 << 20;

bool glia_rx_work(glia_rx_pool *p, uint64_t n) {
    if (p->err.status) return false;
    if (p->units < n) {
        glia_fail(&p->err, GLIA_ERR_LIMIT, "the constraint needs more work than its limit allows");
        return false;
    }
    p->units -= n;
    return true;
}

glia_rx glia_rx_nomem(glia_rx_pool *p) {
    if (!p->err.status) glia_fail_nomem(&p->err, p->nodes.n * sizeof(rx_node), "a constraint");
    return GLIA_RX_NONE;
}

const glia_err *glia_rx_error(const glia_rx_pool *p) { return &p->err; }
void glia_rx_allow(glia_rx_pool *p, uint64_t units) { p->units = units; }
uint32_t glia_rx_count(const glia_rx_pool *p) { return (uint32_t)p->nodes.n; }

size_t glia_rx_bytes(const glia_rx_pool *p) {
    return p->nodes.n * (sizeof(rx_node) + sizeof(void *) + 1 + 2 * sizeof(glia_table_slot)) + p->row_bytes +
           p->lists.n * sizeof(uint32_t) + p->sets.n * sizeof(glia_byteset);
}

/* ---- interning ------------------------------------------------------------ */

static bool same_node(const void *user, uint32_t index, const void *key) {
    const glia_rx_pool *p = user;
    const rx_node *x = rx_at(p, index), *y = key;
    if (x->kind != y->kind || x->b != y->b || x->m != y->m || x->n != y->n) return false;
    if (x->kind != RX_OR && x->kind != RX_AND) return x->a == y->a;
    const uint32_t *lists = p->lists.data;
    return memcmp(lists + x->a, lists + y->a, x->b * sizeof *lists) == 0;
}

static uint64_t hash_node(const glia_rx_pool *p, const rx_node *x) {
    const uint32_t field[5] = {x->kind, x->b, (uint32_t)x->m, (uint32_t)x->n,
                               x->kind == RX_OR || x->kind == RX_AND ? 0 : x->a};
    const uint64_t h = glia_hash_words(field, 5, 0);
    if (x->kind != RX_OR && x->kind != RX_AND) return h;
    return glia_hash_words((const uint32_t *)p->lists.data + x->a, x->b, h);
}

static bool add_node(glia_rx_pool *p, const rx_node *node) {
    const uint8_t life = node->nullable ? ALIVE : LIFE_UNKNOWN;
    uint32_t *const row = NULL;
    return glia_vec_push(&p->life, sizeof life, &life) && glia_vec_push(&p->rows, sizeof row, &row) &&
           glia_vec_push(&p->nodes, sizeof *node, node);
}

/* Has a node a repetition of large count? */
static bool counted(const glia_rx_pool *p, const rx_node *x) {
    switch ((rx_kind)x->kind) {
    case RX_CAT: return rx_at(p, x->a)->counted || rx_at(p, x->b)->counted;
    case RX_NOT: return rx_at(p, x->a)->counted;
    case RX_REPEAT: return rx_at(p, x->a)->counted || x->m > RX_SMALL || x->n > RX_SMALL;
    case RX_OR:
    case RX_AND:
        for (uint32_t i = 0; i < x->b; i++)
            if (rx_at(p, glia_vec_at(&p->lists, x->a + i))->counted) return true;
        return false;
    default: return false;
    }
}

glia_rx glia_rx_intern(glia_rx_pool *p, rx_node node) {
    if (!glia_rx_work(p, 1)) return GLIA_RX_NONE;
    const uint64_t hash = hash_node(p, &node);
    const uint32_t found = glia_table_find(&p->table, hash, same_node, p, &node);
    if (found != GLIA_TABLE_NONE) return found;
    const uint32_t id = (uint32_t)p->nodes.n;
    if (glia_rx_bytes(p) > BYTES_MAX) {
        glia_fail(&p->err, GLIA_ERR_LIMIT, "the constraint needs more than %zu MiB of expressions",
                  BYTES_MAX >> 20);
        return GLIA_RX_NONE;
    }
    node.counted = counted(p, &node);
    if (!add_node(p, &node) || !glia_table_insert(&p->table, hash, id)) return glia_rx_nomem(p);
    return id;
}

glia_rx_pool *glia_rx_pool_new(void) {
    glia_rx_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    const rx_node none = {.kind = RX_NONE}, empty = {.kind = RX_EMPTY, .nullable = true},
                  all = {.kind = RX_ALL, .nullable = true};
    if (!add_node(p, &none) || !add_node(p, &empty) || !add_node(p, &all)) {
        glia_rx_pool_free(p);
        return NULL;
    }
    ((uint8_t *)p->life.data)[GLIA_RX_NONE] = DEAD;
    p->n_classes = 1;
    p->units = UINT64_MAX;
    return p;
}

static void drop_rows(glia_rx_pool *p) {
    uint32_t **rows = p->rows.data;
    for (size_t i = 0; i < p->rows.n; i++) {
        free(rows[i]);
        rows[i] = NULL;
    }
    p->row_bytes = 0;
}

void glia_rx_pool_free(glia_rx_pool *p) {
    if (!p) return;
    drop_rows(p);
    glia_vec *const vec[] = {&p->nodes, &p->life, &p->rows, &p->lists, &p->sets, &p->moduli};
    for (size_t i = 0; i < sizeof vec / sizeof *vec; i++) glia_vec_free(vec[i]);
    glia_table_free(&p->table);
    glia_table_free(&p->set_table);
    free(p);
}

/* ---- sets ----------------------------------------------------------------- */

/* Split the byte classes by a new set. */
static void refine(glia_rx_pool *p, const glia_byteset *set) {
    int in[256], out[256], n = 0;
    memset(in, -1, sizeof in);
    memset(out, -1, sizeof out);
    unsigned char class_of[256];
    for (unsigned b = 0; b < 256; b++) {
        int *split = (glia_byteset_has(set, b) ? in : out) + p->class_of[b];
        if (*split < 0) {
            p->byte_of[n] = (unsigned char)b;
            *split = n++;
        }
        class_of[b] = (unsigned char)*split;
    }
    if (n != p->n_classes) drop_rows(p);
    p->n_classes = n;
    memcpy(p->class_of, class_of, sizeof class_of);
}

const unsigned char *glia_rx_classes(glia_rx_pool *p, int *n) {
    *n = p->n_classes;
    return p->class_of;
}

static bool same_set(const void *user, uint32_t index, const void *key) {
    return memcmp((const glia_byteset *)((const glia_rx_pool *)user)->sets.data + index, key,
                  sizeof(glia_byteset)) == 0;
}

glia_rx glia_rx_set(glia_rx_pool *p, const glia_byteset *set) {
    if (!(set->bit[0] | set->bit[1] | set->bit[2] | set->bit[3])) return GLIA_RX_NONE;
    const uint64_t hash = glia_hash_words(set, sizeof *set / sizeof(uint32_t), 0);
    uint32_t i = glia_table_find(&p->set_table, hash, same_set, p, set);
    if (i == GLIA_TABLE_NONE) {
        i = (uint32_t)p->sets.n;
        if (!glia_vec_push(&p->sets, sizeof *set, set) || !glia_table_insert(&p->set_table, hash, i))
            return glia_rx_nomem(p);
        refine(p, set);
    }
    return glia_rx_intern(p, (rx_node){.kind = RX_SET, .a = i});
}

glia_rx glia_rx_range(glia_rx_pool *p, unsigned lo, unsigned hi) {
    glia_byteset s = {{0}};
    glia_byteset_range(&s, lo, hi);
    return glia_rx_set(p, &s);
}

glia_rx glia_rx_text(glia_rx_pool *p, const char *text, size_t len) {
    glia_rx e = GLIA_RX_EMPTY;
    for (size_t i = len; i-- > 0;)
        e = glia_rx_cat(p, glia_rx_range(p, (unsigned char)text[i], (unsigned char)text[i]), e);
    return e;
}

/* ---- concatenation, repetition -------------------------------------------- */

static glia_rx cat_one(glia_rx_pool *p, glia_rx a, glia_rx b) {
    if (a == GLIA_RX_EMPTY) return b;
    if (b == GLIA_RX_EMPTY) return a;
    if (a == GLIA_RX_ALL && rx_at(p, b)->kind == RX_CAT && rx_at(p, b)->a == GLIA_RX_ALL) return b;
    const bool nullable = rx_at(p, a)->nullable && rx_at(p, b)->nullable;
    return glia_rx_intern(p, (rx_node){.kind = RX_CAT, .nullable = nullable, .a = a, .b = b});
}

glia_rx glia_rx_cat(glia_rx_pool *p, glia_rx a, glia_rx b) {
    if (a == GLIA_RX_NONE || b == GLIA_RX_NONE) return GLIA_RX_NONE;
    if (rx_at(p, a)->kind != RX_CAT) return cat_one(p, a, b);
    glia_vec parts = {0}; /* a chain leans to the right */
    glia_rx rest = a;
    for (; rx_at(p, rest)->kind == RX_CAT; rest = rx_at(p, rest)->b)
        if (!glia_vec_put(&parts, rx_at(p, rest)->a)) {
            glia_vec_free(&parts);
            return glia_rx_nomem(p);
        }
    glia_rx e = cat_one(p, rest, b);
    for (size_t i = parts.n; i-- > 0 && e != GLIA_RX_NONE;) e = cat_one(p, glia_vec_at(&parts, i), e);
    glia_vec_free(&parts);
    return e;
}

glia_rx glia_rx_cat3(glia_rx_pool *p, glia_rx a, glia_rx b, glia_rx c) {
    return glia_rx_cat(p, a, glia_rx_cat(p, b, c));
}

glia_rx glia_rx_repeat(glia_rx_pool *p, glia_rx a, int least, int most) {
    if (most == 0 || a == GLIA_RX_EMPTY) return GLIA_RX_EMPTY;
    if (a == GLIA_RX_NONE) return least ? GLIA_RX_NONE : GLIA_RX_EMPTY;
    if (a == GLIA_RX_ALL) return a;
    if (rx_at(p, a)->nullable) least = 0; /* fewer repetitions may be empty ones */
    if (least == 1 && most == 1) return a;
    const rx_node x = *rx_at(p, a);
    if (most == GLIA_RX_MANY && x.kind == RX_REPEAT && x.n == GLIA_RX_MANY && x.m <= 1)
        return glia_rx_repeat(p, x.a, x.m ? least : 0, most); /* (x+)* is x* */
    return glia_rx_intern(
        p, (rx_node){.kind = RX_REPEAT, .nullable = least == 0, .a = a, .m = least, .n = most});
}

glia_rx glia_rx_multiple(glia_rx_pool *p, uint64_t modulus, int places) {
    const rx_modulus m = {modulus, places};
    glia_byteset digit = {{0}};
    for (unsigned d = '0'; d <= '9'; d++) { /* each digit is a class of its own */
        digit = (glia_byteset){{0}};
        glia_byteset_range(&digit, d, d);
        glia_rx_set(p, &digit);
    }
    glia_rx_range(p, '.', '.');
    const uint32_t i = (uint32_t)p->moduli.n;
    if (!glia_vec_push(&p->moduli, sizeof m, &m)) return glia_rx_nomem(p);
    return glia_rx_intern(p, (rx_node){.kind = RX_MULTIPLE, .nullable = true, .a = i, .n = -1});
}

/* ---- union, intersection, complement --------------------------------------- */

static int ascending(const void *x, const void *y) {
    const uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

/* Append `a`, or the children of a node of the same kind. */
static bool flatten(glia_rx_pool *p, glia_vec *list, rx_kind kind, glia_rx a) {
    const rx_node x = *rx_at(p, a);
    if (x.kind != kind) return glia_vec_put(list, a);
    for (uint32_t i = 0; i < x.b; i++)
        if (!glia_vec_put(list, glia_vec_at(&p->lists, x.a + i))) return false;
    return true;
}

/* Replace the sets of the list by one. */
static bool merge_sets(glia_rx_pool *p, glia_vec *list, rx_kind kind) {
    glia_byteset sum = {{0}};
    uint32_t *e = list->data;
    size_t n = 0, sets = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (rx_at(p, e[i])->kind != RX_SET) {
            e[n++] = e[i];
            continue;
        }
        const glia_byteset *s = rx_set_of(p, e[i]);
        for (int k = 0; k < 4; k++)
            sum.bit[k] = sets == 0       ? s->bit[k]
                         : kind == RX_OR ? sum.bit[k] | s->bit[k]
                                         : sum.bit[k] & s->bit[k];
        sets++;
    }
    list->n = n;
    return sets == 0 || glia_vec_put(list, glia_rx_set(p, &sum));
}

static bool has(const glia_vec *list, uint32_t x) {
    return list->n && bsearch(&x, list->data, list->n, sizeof x, ascending);
}

/* Sort the list; drop what occurs twice and the neutral element. Returns true if the union (intersection) is
 * the absorbing element: it is in the list, or an expression and its complement are. */
static bool normalise(glia_rx_pool *p, glia_vec *list, glia_rx neutral, glia_rx absorbing) {
    uint32_t *e = list->data;
    size_t n = 0;
    if (list->n) qsort(e, list->n, sizeof *e, ascending);
    for (size_t i = 0; i < list->n; i++)
        if (e[i] != neutral && (n == 0 || e[n - 1] != e[i])) e[n++] = e[i];
    list->n = n;
    for (size_t i = 0; i < n; i++)
        if (e[i] == absorbing || (rx_at(p, e[i])->kind == RX_NOT && has(list, rx_at(p, e[i])->a)))
            return true;
    return false;
}

/* The empty string in a list adds nothing to a union with a nullable member, and decides an intersection. */
static void settle_empty(glia_rx_pool *p, glia_vec *list, rx_kind kind) {
    if (!list->n || !has(list, GLIA_RX_EMPTY)) return;
    bool any = false, every = true;
    for (size_t i = 0; i < list->n; i++) {
        const uint32_t e = glia_vec_at(list, i);
        if (e != GLIA_RX_EMPTY) any |= rx_at(p, e)->nullable;
        every &= rx_at(p, e)->nullable;
    }
    uint32_t *e = list->data;
    if (kind == RX_AND) {
        list->n = 1;
        e[0] = every ? GLIA_RX_EMPTY : GLIA_RX_NONE;
    } else if (any) {
        size_t n = 0;
        for (size_t i = 0; i < list->n; i++)
            if (e[i] != GLIA_RX_EMPTY) e[n++] = e[i];
        list->n = n;
    }
}

static glia_rx finish(glia_rx_pool *p, glia_vec *list, rx_kind kind) {
    const glia_rx neutral = kind == RX_OR ? GLIA_RX_NONE : GLIA_RX_ALL;
    const glia_rx absorbing = kind == RX_OR ? GLIA_RX_ALL : GLIA_RX_NONE;
    if (!merge_sets(p, list, kind)) return glia_rx_nomem(p);
    if (normalise(p, list, neutral, absorbing)) return absorbing;
    settle_empty(p, list, kind);
    if (list->n == 0) return neutral;
    if (list->n == 1) return glia_vec_at(list, 0);
    bool any = false, every = true;
    for (size_t i = 0; i < list->n; i++) {
        any |= rx_at(p, glia_vec_at(list, i))->nullable;
        every &= rx_at(p, glia_vec_at(list, i))->nullable;
    }
    const size_t at = p->lists.n, before = p->nodes.n;
    uint32_t *copy = glia_vec_add(&p->lists, sizeof *copy, list->n);
    if (!copy) return glia_rx_nomem(p);
    memcpy(copy, list->data, list->n * sizeof *copy);
    const glia_rx e = glia_rx_intern(p, (rx_node){.kind = (uint8_t)kind,
                                                  .nullable = kind == RX_OR ? any : every,
                                                  .a = (uint32_t)at,
                                                  .b = (uint32_t)list->n});
    if (p->nodes.n == before) p->lists.n = at; /* the node was there, with its list */
    return e;
}

/* An alternative as its first set and what follows it; head NO_HEAD: it begins with no set. */
typedef struct {
    uint32_t head, all, rest;
} alternative;
enum { NO_HEAD = UINT32_MAX, FACTOR_LEAST = 9, FACTOR_DEPTH = 400 };

static int by_head(const void *x, const void *y) {
    const alternative *a = x, *b = y;
    return a->head != b->head ? (a->head > b->head) - (a->head < b->head)
                              : (a->all > b->all) - (a->all < b->all);
}

static glia_rx factored(glia_rx_pool *p, glia_vec *list, int depth);

/* The alternatives of one head as one expression. */
static glia_rx join_head(glia_rx_pool *p, const alternative *a, size_t n, int depth) {
    glia_vec rests = {0};
    bool ok = true;
    if (n == 1) return a->all;
    for (size_t i = 0; i < n && ok; i++) ok = glia_vec_put(&rests, a[i].rest);
    const glia_rx e = ok ? glia_rx_cat(p, a->head, factored(p, &rests, depth + 1)) : glia_rx_nomem(p);
    glia_vec_free(&rests);
    return e;
}

/* The union of a list. Many alternatives that begin with equal sets become a tree, as a list of words does.
 */
static glia_rx factored(glia_rx_pool *p, glia_vec *list, int depth) {
    const size_t n = list->n;
    alternative *a = n >= FACTOR_LEAST && depth < FACTOR_DEPTH ? malloc(n * sizeof *a) : NULL;
    if (!a) return finish(p, list, RX_OR);
    for (size_t i = 0; i < n; i++) {
        const uint32_t e = glia_vec_at(list, i);
        const rx_node *x = rx_at(p, e);
        const bool splits = x->kind == RX_CAT && rx_at(p, x->a)->kind == RX_SET;
        a[i] = (alternative){splits ? x->a : NO_HEAD, e, splits ? x->b : 0};
    }
    qsort(a, n, sizeof *a, by_head);
    list->n = 0;
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && a[k].head == a[i].head && a[i].head != NO_HEAD; k++) {
        }
        ((uint32_t *)list->data)[list->n++] = join_head(p, &a[i], k - i, depth);
    }
    free(a);
    return finish(p, list, RX_OR);
}

static glia_rx combine(glia_rx_pool *p, rx_kind kind, const glia_rx *list, size_t n) {
    glia_vec flat = {0};
    bool ok = glia_rx_work(p, n);
    for (size_t i = 0; i < n && ok; i++) ok = flatten(p, &flat, kind, list[i]);
    ok = ok && glia_rx_work(p, flat.n);
    const glia_rx e = !ok             ? p->err.status ? GLIA_RX_NONE : glia_rx_nomem(p)
                                  : kind == RX_OR ? factored(p, &flat, 0)
                                      : finish(p, &flat, kind);
    glia_vec_free(&flat);
    return e;
}

glia_rx glia_rx_or_all(glia_rx_pool *p, const glia_rx *list, size_t n) { return combine(p, RX_OR, list, n); }

glia_rx glia_rx_or(glia_rx_pool *p, glia_rx a, glia_rx b) {
    if (a == b || b == GLIA_RX_NONE) return a;
    if (a == GLIA_RX_NONE) return b;
    return combine(p, RX_OR, (const glia_rx[]){a, b}, 2);
}

glia_rx glia_rx_and(glia_rx_pool *p, glia_rx a, glia_rx b) {
    if (a == b || b == GLIA_RX_ALL) return a;
    if (a == GLIA_RX_ALL) return b;
    if (a == GLIA_RX_NONE || b == GLIA_RX_NONE) return GLIA_RX_NONE;
    return combine(p, RX_AND, (const glia_rx[]){a, b}, 2);
}

glia_rx glia_rx_not(glia_rx_pool *p, glia_rx a) {
    if (a == GLIA_RX_NONE) return p->err.status ? GLIA_RX_NONE : GLIA_RX_ALL;
    if (a == GLIA_RX_ALL) return GLIA_RX_NONE;
    if (rx_at(p, a)->kind == RX_NOT) return rx_at(p, a)->a;
    return glia_rx_intern(p, (rx_node){.kind = RX_NOT, .nullable = !rx_at(p, a)->nullable, .a = a});
}

glia_rx glia_rx_minus(glia_rx_pool *p, glia_rx a, glia_rx b) { return glia_rx_and(p, a, glia_rx_not(p, b)); }

/* ---- spelling --------------------------------------------------------------- */

static bool put_bytes(glia_vec *out, size_t most, const void *bytes, size_t n) {
    if (n > most - out->n) return false;
    char *at = glia_vec_add(out, 1, n);
    if (at) memcpy(at, bytes, n);
    return at;
}

bool glia_rx_spell(const glia_rx_pool *p, glia_rx a, glia_vec *out, size_t most) {
    const rx_node x = *rx_at(p, a);
    const bool any = a == p->any_char[GLIA_SPELL_JSON] && a != GLIA_RX_NONE;
    const uint8_t kind = any ? UINT8_MAX : x.kind;
    const rx_modulus m = x.kind == RX_MULTIPLE ? ((const rx_modulus *)p->moduli.data)[x.a] : (rx_modulus){0};
    if (!put_bytes(out, most, &kind, 1)) return false;
    if (any) return true;
    switch ((rx_kind)x.kind) {
    case RX_NONE:
    case RX_EMPTY:
    case RX_ALL: return true;
    case RX_SET: return put_bytes(out, most, rx_set_of(p, a), sizeof(glia_byteset));
    case RX_CAT: return glia_rx_spell(p, x.a, out, most) && glia_rx_spell(p, x.b, out, most);
    case RX_NOT: return glia_rx_spell(p, x.a, out, most);
    case RX_REPEAT: return put_bytes(out, most, &x.m, 2 * sizeof x.m) && glia_rx_spell(p, x.a, out, most);
    case RX_MULTIPLE:
        return put_bytes(out, most, &m.modulus, sizeof m.modulus) &&
               put_bytes(out, most, &m.places, sizeof m.places) &&
               put_bytes(out, most, &x.b, sizeof x.b + 2 * sizeof x.m);
    case RX_OR:
    case RX_AND:
        if (!put_bytes(out, most, &x.b, sizeof x.b)) return false;
        for (uint32_t i = 0; i < x.b; i++)
            if (!glia_rx_spell(p, glia_vec_at(&p->lists, x.a + i), out, most)) return false;
        return true;
    }
    return false;
}

bool glia_rx_nullable(const glia_rx_pool *p, glia_rx a) { return rx_at(p, a)->nullable; }
