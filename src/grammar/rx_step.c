/* rx_step.c - derivatives of expressions, and whether an expression has a string. */
#include "grammar/rx_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- derivatives ------------------------------------------------------------ */

static glia_rx derive(glia_rx_pool *p, glia_rx a, unsigned byte);

/* Of a repetition whose body has the derivative `body`. */
static glia_rx shorter(glia_rx_pool *p, const rx_node *x) {
    return glia_rx_repeat(p, x->a, x->m ? x->m - 1 : 0, x->n == GLIA_RX_MANY ? GLIA_RX_MANY : x->n - 1);
}

/* A chain x1 x2 ...: the derivative of x1, and of each further one while those before are nullable. */
static glia_rx derive_chain(glia_rx_pool *p, glia_rx a, unsigned byte) {
    glia_rx sum = GLIA_RX_NONE;
    for (;;) {
        const rx_node x = *rx_at(p, a);
        if (x.kind != RX_CAT) return glia_rx_or(p, sum, derive(p, a, byte));
        sum = glia_rx_or(p, sum, glia_rx_cat(p, derive(p, x.a, byte), x.b));
        if (!rx_at(p, x.a)->nullable) return sum;
        a = x.b;
    }
}

static glia_rx derive_list(glia_rx_pool *p, const rx_node *x, unsigned byte) {
    glia_vec list = {0};
    glia_rx e = GLIA_RX_NONE;
    bool ok = true;
    for (uint32_t i = 0; i < x->b && ok; i++)
        ok = glia_vec_put(&list, derive(p, glia_vec_at(&p->lists, x->a + i), byte));
    if (!ok)
        glia_rx_nomem(p);
    else if (x->kind == RX_OR)
        e = glia_rx_or_all(p, list.data, list.n);
    else
        for (size_t i = 0; i < list.n; i++)
            e = i ? glia_rx_and(p, e, glia_vec_at(&list, i)) : glia_vec_at(&list, 0);
    glia_vec_free(&list);
    return e;
}

static uint64_t times_ten(uint64_t r, unsigned digit, uint64_t modulus) {
    return (uint64_t)(((unsigned __int128)r * 10 + digit) % modulus);
}

static glia_rx derive_multiple(glia_rx_pool *p, const rx_node *x, unsigned byte) {
    const rx_modulus m = ((const rx_modulus *)p->moduli.data)[x->a];
    uint64_t r = (uint64_t)(uint32_t)x->m << 32 | x->b;
    int after = x->n;
    if (byte == '.' && after < 0)
        after = 0;
    else if (byte < '0' || byte > '9')
        return GLIA_RX_NONE;
    else if (after < m.places) {
        r = times_ten(r, byte - '0', m.modulus);
        after += after >= 0;
    } else if (byte != '0')
        return GLIA_RX_NONE;
    uint64_t whole = r;
    for (int i = after < 0 ? 0 : after; i < m.places; i++) whole = times_ten(whole, 0, m.modulus);
    return glia_rx_intern(p, (rx_node){.kind = RX_MULTIPLE,
                                       .nullable = whole == 0,
                                       .a = x->a,
                                       .b = (uint32_t)r,
                                       .m = (int32_t)(uint32_t)(r >> 32),
                                       .n = after});
}

static glia_rx derive(glia_rx_pool *p, glia_rx a, unsigned byte) {
    const rx_node x = *rx_at(p, a);
    if (!glia_rx_work(p, 1)) return GLIA_RX_NONE;
    switch ((rx_kind)x.kind) {
    case RX_NONE:
    case RX_EMPTY: return GLIA_RX_NONE;
    case RX_ALL: return GLIA_RX_ALL;
    case RX_SET: return glia_byteset_has(rx_set_of(p, a), byte) ? GLIA_RX_EMPTY : GLIA_RX_NONE;
    case RX_CAT: return derive_chain(p, a, byte);
    case RX_OR:
    case RX_AND: return derive_list(p, &x, byte);
    case RX_NOT: return glia_rx_not(p, derive(p, x.a, byte));
    case RX_REPEAT: {
        const glia_rx body = derive(p, x.a, byte);
        return body == GLIA_RX_NONE ? body : glia_rx_cat(p, body, shorter(p, &x));
    }
    case RX_MULTIPLE: return derive_multiple(p, &x, byte);
    }
    return GLIA_RX_NONE;
}

enum { UNTAKEN = -1 };

/* The derivative by a class, kept in the row of `a`. It may have no string. */
static glia_rx raw_step(glia_rx_pool *p, glia_rx a, unsigned cls) {
    uint32_t *row = ((uint32_t **)p->rows.data)[a];
    if (!row) {
        const size_t bytes = (size_t)p->n_classes * sizeof *row;
        row = malloc(bytes);
        if (!row) return glia_rx_nomem(p);
        memset(row, 0xff, bytes);
        p->row_bytes += bytes;
        ((uint32_t **)p->rows.data)[a] = row;
    }
    if (row[cls] != (uint32_t)UNTAKEN) return row[cls];
    const glia_rx e = derive(p, a, p->byte_of[cls]);
    if (!p->err.status) ((uint32_t **)p->rows.data)[a][cls] = e;
    return e;
}

/* ---- has it a string? -------------------------------------------------------- */

/* May any digits follow, in every expression of an intersection but the multiple? Then some make a multiple.
 */
static bool digits_follow(glia_rx_pool *p, const rx_node *x) {
    bool multiple = false, any = false;
    for (uint32_t i = 0; i < x->b && !any; i++)
        any = rx_at(p, glia_vec_at(&p->lists, x->a + i))->kind == RX_MULTIPLE;
    for (uint32_t i = 0; i < x->b && any; i++) {
        const glia_rx e = glia_vec_at(&p->lists, x->a + i);
        const rx_node *y = rx_at(p, e);
        if (y->kind == RX_MULTIPLE && y->n < 0 && !multiple) {
            multiple = true;
            continue;
        }
        if (!y->nullable) return false;
        for (unsigned d = '0'; d <= '9'; d++)
            if (derive(p, e, d) != e) return false;
    }
    return multiple;
}

static bool known(glia_rx_pool *p, glia_rx a, rx_life *life) {
    const rx_node x = *rx_at(p, a);
    *life = ((const uint8_t *)p->life.data)[a];
    if (*life != LIFE_UNKNOWN) return true;
    if (x.kind == RX_SET || x.kind == RX_MULTIPLE) { /* the sum of enough digits is a multiple: digits of 0 */
        *life = ALIVE;
        return true;
    }
    *life = x.kind == RX_AND && digits_follow(p, &x) ? ALIVE : LIFE_UNKNOWN;
    return *life == ALIVE;
}

typedef struct {
    glia_vec seen, from; /* expressions in the order found, and the index of each one's predecessor */
    glia_vec done;       /* uint8_t of each: its successors were looked at */
    bool ascii;          /* only by printable characters of ASCII, but the backslash */
    glia_table table;
} life_search;

static bool same_u32(const void *user, uint32_t index, const void *key) {
    return glia_vec_at(user, index) == *(const uint32_t *)key;
}

static bool visit(glia_rx_pool *p, life_search *s, glia_rx a, uint32_t from) {
    const uint64_t hash = (uint64_t)a * UINT64_C(0x9e3779b97f4a7c15) >> 16;
    if (glia_table_find(&s->table, hash, same_u32, &s->seen, &a) != GLIA_TABLE_NONE) return true;
    const bool ok = glia_table_insert(&s->table, hash, (uint32_t)s->seen.n) && glia_vec_put(&s->seen, a) &&
                    glia_vec_put(&s->from, from) && glia_vec_push(&s->done, 1, &(uint8_t){0});
    if (!ok) glia_rx_nomem(p);
    return ok;
}

static void mark(glia_rx_pool *p, life_search *s, uint32_t at, rx_life life) {
    uint8_t *of = p->life.data;
    if (life == DEAD)
        for (size_t i = 0; i < s->seen.n; i++) of[glia_vec_at(&s->seen, i)] = DEAD;
    else
        for (;; at = glia_vec_at(&s->from, at)) {
            of[glia_vec_at(&s->seen, at)] = ALIVE;
            if (at == 0) break;
        }
}

/* Look at the successors of a found expression. */
static bool expand(glia_rx_pool *p, life_search *s, uint32_t at, rx_life *life) {
    for (int c = 0; c < p->n_classes && *life == DEAD; c++) {
        const unsigned byte = p->byte_of[c];
        if (s->ascii && (byte < ' ' || byte > '~' || byte == '\\')) continue;
        const glia_rx next = raw_step(p, glia_vec_at(&s->seen, at), (unsigned)c);
        rx_life found;
        if (next == GLIA_RX_NONE) {
            if (p->err.status) return false;
        } else if (!known(p, next, &found)) {
            if (!visit(p, s, next, at)) return false;
        } else if (found == ALIVE) {
            *life = ALIVE;
        }
    }
    return true;
}

/* By turns the expression that was found first, for the shortest string may be near, and the last, for all
 * strings may be long. */
static rx_life search_with(glia_rx_pool *p, glia_rx a, bool ascii) {
    life_search s = {.ascii = ascii};
    rx_life life = DEAD;
    uint32_t at = 0, front = 0;
    size_t back = 0;
    bool ok = visit(p, &s, a, 0);
    for (int turn = 0; ok && life == DEAD; turn++) {
        uint8_t *done = s.done.data;
        if (turn % 2) {
            while (back > front && done[back - 1]) back--;
            if (back <= front) continue;
            at = (uint32_t)--back;
        } else {
            while (front < s.seen.n && done[front]) front++;
            if (front == s.seen.n) break;
            at = front++;
        }
        done[at] = 1;
        const size_t before = s.seen.n;
        ok = expand(p, &s, at, &life);
        if (s.seen.n > before) back = s.seen.n;
    }
    if (ok && (life == ALIVE || !ascii)) mark(p, &s, life == ALIVE ? at : 0, life);
    glia_vec_free(&s.seen);
    glia_vec_free(&s.from);
    glia_vec_free(&s.done);
    glia_table_free(&s.table);
    return ok ? life : DEAD;
}

/* Characters of several bytes multiply the expressions, and are rarely needed to find a string. */
static rx_life search(glia_rx_pool *p, glia_rx a) {
    const rx_life life = search_with(p, a, true);
    return life == ALIVE || p->err.status ? life : search_with(p, a, false);
}

static bool alive(glia_rx_pool *p, glia_rx a);

static rx_life find_life(glia_rx_pool *p, glia_rx a) {
    const rx_node x = *rx_at(p, a);
    switch ((rx_kind)x.kind) {
    case RX_CAT: {
        glia_rx rest = a;
        for (; rx_at(p, rest)->kind == RX_CAT; rest = rx_at(p, rest)->b) {
            const rx_life life = ((const uint8_t *)p->life.data)[rest];
            if (life != LIFE_UNKNOWN) return life;
            if (!alive(p, rx_at(p, rest)->a)) return DEAD;
        }
        return alive(p, rest) ? ALIVE : DEAD;
    }
    case RX_OR:
        for (uint32_t i = 0; i < x.b; i++)
            if (alive(p, glia_vec_at(&p->lists, x.a + i))) return ALIVE;
        return DEAD;
    case RX_REPEAT: return alive(p, x.a) ? ALIVE : DEAD;
    default: return search(p, a);
    }
}

static bool alive(glia_rx_pool *p, glia_rx a) {
    rx_life life;
    if (known(p, a, &life)) return life == ALIVE;
    life = find_life(p, a);
    if (p->err.status) return false;
    ((uint8_t *)p->life.data)[a] = (uint8_t)life;
    return life == ALIVE;
}

bool glia_rx_is_none(glia_rx_pool *p, glia_rx a) { return !alive(p, a); }

glia_rx glia_rx_step_class(glia_rx_pool *p, glia_rx a, unsigned cls) {
    const glia_rx e = raw_step(p, a, cls);
    return ((const uint8_t *)p->life.data)[e] == ALIVE || alive(p, e) ? e : GLIA_RX_NONE;
}

glia_rx glia_rx_step(glia_rx_pool *p, glia_rx a, unsigned byte) {
    return glia_rx_step_class(p, a, p->class_of[byte]);
}

glia_rx glia_rx_step_unchecked(glia_rx_pool *p, glia_rx a, unsigned byte) { return derive(p, a, byte); }

bool glia_rx_matches(glia_rx_pool *p, glia_rx a, const char *text, size_t len) {
    for (size_t i = 0; i < len && a != GLIA_RX_NONE; i++) a = glia_rx_step(p, a, (unsigned char)text[i]);
    return rx_at(p, a)->nullable;
}

/* ---- rewriting --------------------------------------------------------------- */

glia_rx glia_rx_step_back(glia_rx_pool *p, glia_rx a, unsigned byte) {
    const rx_node x = *rx_at(p, a);
    if (!glia_rx_work(p, 1)) return GLIA_RX_NONE;
    glia_rx sum = GLIA_RX_NONE;
    switch ((rx_kind)x.kind) {
    case RX_CAT:
        sum = glia_rx_cat(p, x.a, glia_rx_step_back(p, x.b, byte));
        return rx_at(p, x.b)->nullable ? glia_rx_or(p, sum, glia_rx_step_back(p, x.a, byte)) : sum;
    case RX_OR:
        for (uint32_t i = 0; i < x.b; i++)
            sum = glia_rx_or(p, sum, glia_rx_step_back(p, glia_vec_at(&p->lists, x.a + i), byte));
        return sum;
    case RX_AND:
        sum = GLIA_RX_ALL;
        for (uint32_t i = 0; i < x.b; i++)
            sum = glia_rx_and(p, sum, glia_rx_step_back(p, glia_vec_at(&p->lists, x.a + i), byte));
        return sum;
    case RX_NOT: return glia_rx_not(p, glia_rx_step_back(p, x.a, byte));
    case RX_REPEAT: return glia_rx_cat(p, shorter(p, &x), glia_rx_step_back(p, x.a, byte));
    default: return derive(p, a, byte);
    }
}

/* Rebuild an expression with another set for each set, and other counts. */
typedef struct {
    const glia_byteset *without; /* bytes that sets lose; NULL: none */
    int clamp;                   /* counts above it become clamp + 1; 0: none */
} rewriting;

static glia_rx rewrite(glia_rx_pool *p, glia_rx a, const rewriting *r) {
    const rx_node x = *rx_at(p, a);
    if (r->clamp && !x.counted) return a;
    if (!glia_rx_work(p, 1)) return GLIA_RX_NONE;
    glia_rx sum = GLIA_RX_NONE;
    switch ((rx_kind)x.kind) {
    case RX_SET: {
        if (!r->without) return a;
        glia_byteset s = *rx_set_of(p, a);
        for (int k = 0; k < 4; k++) s.bit[k] &= ~r->without->bit[k];
        return glia_rx_set(p, &s);
    }
    case RX_CAT: return glia_rx_cat(p, rewrite(p, x.a, r), rewrite(p, x.b, r));
    case RX_OR:
        for (uint32_t i = 0; i < x.b; i++)
            sum = glia_rx_or(p, sum, rewrite(p, glia_vec_at(&p->lists, x.a + i), r));
        return sum;
    case RX_AND:
        if (r->clamp) return a; /* a count may decide whether the other side has a string */
        sum = GLIA_RX_ALL;
        for (uint32_t i = 0; i < x.b; i++)
            sum = glia_rx_and(p, sum, rewrite(p, glia_vec_at(&p->lists, x.a + i), r));
        return sum;
    case RX_REPEAT: {
        const int most = r->clamp ? r->clamp + 1 : INT32_MAX;
        return glia_rx_repeat(p, rewrite(p, x.a, r), x.m > most ? most : x.m, x.n > most ? most : x.n);
    }
    default: return a;
    }
}

glia_rx glia_rx_without(glia_rx_pool *p, glia_rx a, const glia_byteset *set) {
    return rewrite(p, a, &(rewriting){.without = set});
}

glia_rx glia_rx_clamp(glia_rx_pool *p, glia_rx a, int most) {
    return rewrite(p, a, &(rewriting){.clamp = most});
}
