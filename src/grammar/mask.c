/* mask.c - which tokens may follow a state.
 *
 * For each expression of the state there is a set of tokens that it accepts by itself: those that
 * it reads to their end, whatever comes after it. The set is found by one walk through the trie
 * and kept. Left are tokens that cross the end of the expression: below the nodes of the trie where
 * it can end, the walk continues with the state that follows. */
#include <stdlib.h>
#include <string.h>

#include "grammar/chars.h"
#include "grammar/grammar_impl.h"
#include "grammar/rx_impl.h"

enum { SPARSE_MAX = 1500, MASKS_MAX = 512 };
enum { STEPS_OF_UNIT = 8 }; /* nodes of a trie that count as one unit of work */
static const size_t SET_BYTES_MAX = (size_t)64 << 20;

static size_t words(const glia_grammar *g) { return ((size_t)g->vocab->size + 63) / 64; }

static inline void set_bit(uint64_t *mask, int32_t i) { mask[i / 64] |= UINT64_C(1) << i % 64; }

static void set_token(const glia_vocab *v, uint64_t *mask, int32_t token) {
    for (; token >= 0; token = v->twin[token]) set_bit(mask, token);
}

/* ---- one expression over the trie ------------------------------------------------------ */

typedef struct {
    uint64_t *mask;
    glia_vec exits, dead;   /* nodes, ascending: where the expression can end; where it rejects */
    glia_rx loop;           /* the last expression of which loops_of() was asked, */
    glia_byte_groups loops; /* and the bytes by which it remains the same */
} trie_walk;

/* Do all continuation bytes lead from `from` to `to`, which takes `more` of them? */
static bool leads_back(glia_grammar *g, glia_rx from, glia_rx to, int more) {
    glia_rx before = GLIA_RX_NONE;
    for (unsigned b = 0x80; b <= 0xbf; b++) {
        const glia_rx next = glia_rx_step_class(g->rx, from, g->pda.class_of[b]);
        if (b > 0x80 && next == before) continue;
        if (more == 1 ? next != to : next == GLIA_RX_NONE || !leads_back(g, next, to, more - 1)) return false;
        before = next;
    }
    return true;
}

/* The groups of bytes that lead from an expression to itself. */
static glia_byte_groups loops_of(glia_grammar *g, glia_rx e) {
    glia_byte_groups others = UINT64_C(1) << GLIA_GROUP_BROKEN;
    glia_rx before = GLIA_RX_NONE;
    for (unsigned b = 0; b < 0x80; b++)
        if (glia_rx_step_class(g->rx, e, g->pda.class_of[b]) != e)
            others |= UINT64_C(1) << glia_group_of((unsigned char)b);
    for (unsigned b = 0xc2; b < 0xf4; b++) {
        if (b == 0xe0 || b == 0xed || b == 0xf0) continue; /* their second byte is restricted */
        const glia_rx next = glia_rx_step_class(g->rx, e, g->pda.class_of[b]);
        const bool same = next == before && b != 0xe1 && b != 0xf1;
        before = next;
        if (same || (next != GLIA_RX_NONE && leads_back(g, next, e, b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3)))
            continue;
        others |= UINT64_C(1) << GLIA_GROUP_MULTI;
        break;
    }
    return ~others;
}

enum { LOOP_LEAST = 24 }; /* nodes of a subtree for which the loops are looked up */

/* Do all bytes of a node and below lead from e, the expression before the node, to itself? next: the
 * expression at the node. */
static bool loops(glia_grammar *g, glia_rx e, glia_rx next, uint32_t node, trie_walk *w) {
    const glia_vocab *v = g->vocab;
    if (v->node[node].skip < LOOP_LEAST || v->bytes[node] >> GLIA_GROUP_BROKEN) return false;
    if (w->loop != e && next != e) return false;
    if (w->loop != e) {
        w->loops = loops_of(g, e);
        w->loop = e;
    }
    return !(v->bytes[node] & ~w->loops);
}

/* The tokens at a node and below. */
static void set_subtree(const glia_vocab *v, uint64_t *mask, uint32_t node) {
    for (uint32_t i = v->first[node]; i < v->first[node + v->node[node].skip]; i++)
        set_token(v, mask, v->order[i]);
}

/* Walk a trie of n nodes; in_node (NULL: the same) are their numbers in the whole trie. */
static bool walk_trie(glia_grammar *g, glia_rx e, const glia_vocab_node *trie, uint32_t n,
                      const uint32_t *in_node, trie_walk *w) {
    const unsigned char *class_of = g->pda.class_of;
    glia_rx *stack = g->walk;
    stack[0] = e;
    uint64_t steps = 0;
    for (uint32_t i = 1; i < n; steps++) {
        const glia_vocab_node node = trie[i];
        const uint32_t at = in_node ? in_node[i] : i;
        const glia_rx next = glia_rx_step_class(g->rx, stack[node.depth - 1], class_of[node.byte]);
        if (next == GLIA_RX_NONE) {
            if (glia_rx_error(g->rx)->status || !glia_vec_put(&w->dead, at)) return false;
            i += node.skip;
            continue;
        }
        stack[node.depth] = next;
        if (!in_node && loops(g, stack[node.depth - 1], next, i, w)) {
            set_subtree(g->vocab, w->mask, i);
            i += node.skip;
            continue;
        }
        if (node.token >= 0) set_token(g->vocab, w->mask, node.token);
        if (node.skip > 1 && glia_rx_nullable(g->rx, next) && !glia_vec_put(&w->exits, at)) return false;
        i++;
    }
    return glia_rx_work(g->rx, steps / STEPS_OF_UNIT);
}

/* Keep the exits below which a node is rejected. */
static void needed_exits(const glia_vocab *v, trie_walk *w) {
    uint32_t *exit = w->exits.data;
    const uint32_t *dead = w->dead.data;
    size_t n = 0, d = 0;
    for (size_t i = 0; i < w->exits.n; i++) {
        while (d < w->dead.n && dead[d] <= exit[i]) d++;
        if (d < w->dead.n && dead[d] < exit[i] + v->node[exit[i]].skip) exit[n++] = exit[i];
    }
    w->exits.n = n;
}

/* Can every text of plain characters follow? False also where the form of the expression does not show it. A
 * search for a pattern begins with any number of any characters. */
static bool is_open(const glia_grammar *g, glia_rx e) {
    const rx_node *x = rx_at(g->rx, e);
    if (x->kind == RX_CAT) {
        const rx_node *a = rx_at(g->rx, x->a);
        return a->kind == RX_REPEAT && a->n == GLIA_RX_MANY && a->m == 0 &&
               a->a == g->rx->any_char[GLIA_SPELL_JSON];
    }
    for (uint32_t i = 0; x->kind == RX_OR && i < x->b; i++)
        if (is_open(g, glia_vec_at(&g->rx->lists, x->a + i))) return true;
    return false;
}

/* The rest of a JSON string: any characters, then the quote. The most characters; 0: it is no such rest. */
static int string_rest(const glia_grammar *g, glia_rx e) {
    const rx_node *x = rx_at(g->rx, e);
    if (x->kind != RX_CAT) return 0;
    const rx_node *chars = rx_at(g->rx, x->a), *quote = rx_at(g->rx, x->b);
    const glia_byteset *s = quote->kind == RX_SET ? rx_set_of(g->rx, x->b) : NULL;
    const bool is_quote = s && s->bit[0] == UINT64_C(1) << '"' && !(s->bit[1] | s->bit[2] | s->bit[3]);
    if (!is_quote || chars->kind != RX_REPEAT || chars->a != g->rx->any_char[GLIA_SPELL_JSON]) return 0;
    return chars->n == GLIA_RX_MANY ? GLIA_PLAIN_MAX : chars->n;
}

static const glia_token_set *set_of(glia_grammar *g, glia_rx e);

/* The child of an intersection that is the rest of a string, while the others exclude some; GLIA_RX_NONE:
 * none. */
static glia_rx excluding_rest(const glia_grammar *g, glia_rx e) {
    const rx_node *x = rx_at(g->rx, e);
    glia_rx rest = GLIA_RX_NONE;
    if (x->kind != RX_AND) return GLIA_RX_NONE;
    for (uint32_t i = 0; i < x->b; i++) {
        const glia_rx child = glia_vec_at(&g->rx->lists, x->a + i);
        if (rx_at(g->rx, child)->kind == RX_NOT) continue;
        if (rest != GLIA_RX_NONE || !string_rest(g, child)) return GLIA_RX_NONE;
        rest = child;
    }
    return rest;
}

static void clear_below(const glia_vocab *v, uint64_t *mask, uint32_t from) {
    for (uint32_t i = from; i < from + v->node[from].skip; i++)
        for (int32_t t = v->node[i].token; t >= 0; t = v->twin[t]) mask[t / 64] &= ~(UINT64_C(1) << t % 64);
}

/* The tokens of e, which excludes some texts of `rest`: those of `rest`, but where the walk shows a
 * difference. */
static bool walk_differences(glia_grammar *g, glia_rx e, glia_rx rest, trie_walk *w) {
    const glia_token_set *known = set_of(g, rest);
    const glia_vocab *v = g->vocab;
    glia_rx *stack = g->walk, *other = g->walk + v->deepest + 1;
    if (!known || !known->dense) return known && walk_trie(g, e, v->node, v->n, NULL, w);
    memcpy(w->mask, known->dense, words(g) * sizeof *w->mask);
    stack[0] = e;
    other[0] = rest;
    uint32_t exit = 0;
    for (uint32_t i = 1; i < v->n;) {
        const glia_vocab_node node = v->node[i];
        const unsigned cls = g->pda.class_of[node.byte];
        const glia_rx next = glia_rx_step_class(g->rx, stack[node.depth - 1], cls);
        const glia_rx same = glia_rx_step_class(g->rx, other[node.depth - 1], cls);
        if (glia_rx_error(g->rx)->status) return false;
        const bool skips =
            next == same || next == GLIA_RX_NONE || loops(g, stack[node.depth - 1], next, i, w);
        const uint32_t end = skips ? i + node.skip : i + 1;
        if (next == GLIA_RX_NONE && same != next) clear_below(v, w->mask, i);
        for (; exit < known->n_exits && known->exits[exit] < end; exit++)
            if (next == same && known->exits[exit] >= i && !glia_vec_put(&w->exits, known->exits[exit]))
                return false;
        if (!skips && node.skip > 1 && glia_rx_nullable(g->rx, next) && !glia_vec_put(&w->exits, i))
            return false;
        stack[node.depth] = next;
        other[node.depth] = same;
        i = end;
    }
    return true;
}

/* The walk that suits the expression. */
static bool walk(glia_grammar *g, glia_rx e, trie_walk *w) {
    const glia_vocab *v = g->vocab;
    const int counted = string_rest(g, e), most = is_open(g, e) ? GLIA_PLAIN_MAX : counted;
    const glia_rx rest = most ? GLIA_RX_NONE : excluding_rest(g, e);
    if (rest != GLIA_RX_NONE) return walk_differences(g, e, rest, w);
    if (!most) {
        const bool ok = walk_trie(g, e, v->node, v->n, NULL, w);
        needed_exits(v, w);
        return ok;
    }
    const uint64_t *plain = glia_vocab_plain(v, most);
    const bool ok = walk_trie(g, e, v->other, v->n_other, v->in_node, w);
    for (size_t i = 0, n = words(g); i < n; i++) w->mask[i] |= plain[i];
    needed_exits(v, w);
    return ok;
}

/* Bits of a mask, or more than SPARSE_MAX. */
static size_t count_bits(const uint64_t *mask, size_t n) {
    size_t bits = 0;
    for (size_t i = 0; i < n && bits <= SPARSE_MAX; i++) bits += (size_t)__builtin_popcountll(mask[i]);
    return bits;
}

/* Turn a bit mask, which is taken over, into a token set. */
static bool pack(glia_grammar *g, glia_token_set *s, uint64_t *mask) {
    const size_t n = words(g), bits = count_bits(mask, n);
    s->dense = mask;
    if (bits > SPARSE_MAX) return true;
    s->some = malloc((bits + 1) * sizeof *s->some);
    if (!s->some) return false;
    for (size_t i = 0; i < n; i++)
        for (uint64_t w = mask[i]; w; w &= w - 1)
            s->some[s->n_some++] = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(w));
    free(mask);
    s->dense = NULL;
    return true;
}

static void drop_sets(glia_grammar *g) {
    for (size_t i = 0; i < g->sets.n; i++) glia_token_set_free((glia_token_set *)g->sets.data + i);
    g->sets.n = 0;
    g->set_bytes = 0;
    if (g->set_of.n) memset(g->set_of.data, 0, g->set_of.n * sizeof(uint32_t));
}

static bool make_set(glia_grammar *g, glia_rx e, glia_token_set *s) {
    trie_walk w = {.mask = calloc(words(g), sizeof *w.mask)};
    *s = (glia_token_set){0};
    bool ok = w.mask && walk(g, e, &w);
    if (ok) {
        s->exits = w.exits.data;
        s->n_exits = (uint32_t)w.exits.n;
        w.exits.data = NULL;
        ok = pack(g, s, w.mask);
    } else {
        free(w.mask);
    }
    glia_vec_free(&w.exits);
    glia_vec_free(&w.dead);
    if (!ok) glia_token_set_free(s);
    return ok;
}

static size_t set_bytes(const glia_grammar *g, const glia_token_set *s) {
    return (s->dense ? words(g) * 8 : s->n_some * 4) + s->n_exits * 4;
}

enum { KEY_MAX = 512 };

/* make_set(), unless another grammar has had the expression. */
static bool find_set(glia_grammar *g, glia_rx e, glia_token_set *s) {
    glia_vec key = {0};
    const bool known = g->vocab->shared && glia_rx_spell(g->rx, e, &key, KEY_MAX);
    bool ok = known && glia_shared_sets_find(g->vocab->shared, key.data, key.n, s);
    if (!ok) {
        ok = make_set(g, e, s);
        if (ok && known) glia_shared_sets_keep(g->vocab->shared, key.data, key.n, s, set_bytes(g, s));
    }
    glia_vec_free(&key);
    return ok;
}

/* Room for an entry for each expression. */
static bool index_sets(glia_grammar *g) {
    const size_t have = g->set_of.n, want = glia_rx_count(g->rx);
    if (want <= have) return true;
    uint32_t *more = glia_vec_add(&g->set_of, sizeof *more, want - have);
    if (more) memset(more, 0, (want - have) * sizeof *more);
    return more;
}

/* The token set of an expression; NULL: the pool has failed, or memory ran out. */
static const glia_token_set *set_of(glia_grammar *g, glia_rx e) {
    const glia_rx canon = glia_rx_clamp(g->rx, e, g->vocab->deepest > 32 ? g->vocab->deepest : 32);
    if (glia_rx_error(g->rx)->status || !index_sets(g)) return NULL;
    uint32_t i = glia_vec_at(&g->set_of, canon);
    if (!i) {
        glia_token_set s;
        if (!find_set(g, canon, &s) || !index_sets(g)) return NULL;
        if (g->set_bytes > SET_BYTES_MAX) drop_sets(g);
        g->set_bytes += set_bytes(g, &s);
        if (!glia_vec_push(&g->sets, sizeof s, &s)) {
            glia_token_set_free(&s);
            return NULL;
        }
        i = (uint32_t)g->sets.n;
        ((uint32_t *)g->set_of.data)[canon] = i;
    }
    return (const glia_token_set *)g->sets.data + i - 1;
}

/* ---- a state ---------------------------------------------------------------------------- */

/* Tokens below `from` that the automaton accepts from state s at that node. */
static bool walk_below(glia_grammar *g, uint32_t from, glia_pda_state s, uint64_t *mask) {
    const glia_vocab *v = g->vocab;
    const uint32_t end = from + v->node[from].skip;
    glia_pda_state *stack = g->walk;
    stack[v->node[from].depth] = s;
    uint64_t steps = 0;
    for (uint32_t i = from + 1; i < end; steps++) {
        const glia_vocab_node node = v->node[i];
        const glia_pda_state next = glia_pda_step(&g->pda, stack[node.depth - 1], node.byte);
        if (next == GLIA_PDA_DEAD) {
            i += node.skip;
            continue;
        }
        stack[node.depth] = next;
        if (node.token >= 0) set_token(v, mask, node.token);
        i++;
    }
    return glia_rx_work(g->rx, steps / STEPS_OF_UNIT) && !glia_rx_error(g->rx)->status;
}

static bool thread_mask(glia_grammar *g, glia_pda_thread t, uint64_t *mask) {
    const glia_token_set *s = set_of(g, t.rx);
    if (!s) return false;
    if (s->dense)
        for (size_t i = 0, n = words(g); i < n; i++) mask[i] |= s->dense[i];
    else
        for (uint32_t i = 0; i < s->n_some; i++) set_bit(mask, (int32_t)s->some[i]);
    if (!s->n_exits) return true;
    const glia_pda_state follow = glia_pda_follow(&g->pda, t.frame);
    bool ok = !glia_rx_error(g->rx)->status;
    for (uint32_t i = 0; i < s->n_exits && ok; i++) ok = walk_below(g, s->exits[i], follow, mask);
    return ok;
}

/* A copy of a state's mask, kept while there is room. */
static void keep(glia_grammar *g, glia_pda_state s, const uint64_t *mask) {
    if (g->masks.n >= MASKS_MAX) {
        for (size_t i = 0; i < g->masks.n; i++) free(((uint64_t **)g->masks.data)[i]);
        for (size_t i = 0; i < g->pda.states.n; i++) glia_pda_at(&g->pda, (glia_pda_state)i)->mask = 0;
        g->masks.n = 0;
    }
    uint64_t *copy = malloc(words(g) * sizeof *copy);
    if (!copy) return;
    memcpy(copy, mask, words(g) * sizeof *copy);
    if (glia_vec_push(&g->masks, sizeof copy, &copy))
        glia_pda_at(&g->pda, s)->mask = (uint32_t)g->masks.n;
    else
        free(copy);
}

enum { THREADS_MANY = 24 };

/* Is the token set of the expression found without a look at most of the trie? */
static bool is_wide(const glia_grammar *g, glia_rx e) {
    return is_open(g, e) || string_rest(g, e) || excluding_rest(g, e) != GLIA_RX_NONE;
}

/* The masks of the threads of a state. Of many threads that take few tokens each, one walk with all of them
 * is faster than a walk for each. */
static bool threads_mask(glia_grammar *g, const glia_pda_entry *e, uint64_t *mask) {
    glia_vec narrow = {0};
    bool ok = true;
    for (uint32_t i = 0; i < e->n && ok; i++) {
        const glia_pda_thread t = ((const glia_pda_thread *)g->pda.threads.data)[e->first + i];
        if (e->n > THREADS_MANY && !is_wide(g, t.rx))
            ok = glia_vec_push(&narrow, sizeof t, &t);
        else
            ok = thread_mask(g, t, mask);
    }
    if (ok && narrow.n) {
        const glia_pda_state s = glia_pda_state_of(&g->pda, narrow.data, narrow.n);
        ok = walk_below(g, 0, s, mask);
    }
    glia_vec_free(&narrow);
    return ok;
}

bool glia_mask_or(glia_grammar *g, glia_pda_state s, uint64_t *mask) {
    const glia_pda_entry e = *glia_pda_at(&g->pda, s);
    if (e.mask) {
        const uint64_t *ready = ((uint64_t **)g->masks.data)[e.mask - 1];
        for (size_t i = 0, n = words(g); i < n; i++) mask[i] |= ready[i];
        return true;
    }
    if (threads_mask(g, &e, mask)) {
        keep(g, s, mask);
        return true;
    }
    if (!glia_rx_error(g->rx)->status) glia_rx_nomem(g->rx);
    return false;
}

void glia_mask_free(glia_grammar *g) {
    drop_sets(g);
    for (size_t i = 0; i < g->masks.n; i++) free(((uint64_t **)g->masks.data)[i]);
    glia_vec_free(&g->masks);
    glia_vec_free(&g->sets);
    glia_vec_free(&g->set_of);
}
