/* pda.c - see pda.h. */
#include "grammar/pda.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "grammar/rx_impl.h"

enum { THREADS_MAX = 20000, CLOSURE_MAX = 400000 };
static const size_t BYTES_MAX = (size_t)256 << 20;

/* ---- stacks ------------------------------------------------------------------- */

static bool same_frame(const void *user, uint32_t index, const void *key) {
    const glia_pda_frame *x = (const glia_pda_frame *)((const glia_pda *)user)->frames.data + index, *y = key;
    return x->node == y->node && x->parent == y->parent && x->param == y->param;
}

/* The stack `parent` with one more frame. */
static uint32_t push(glia_pda *a, glia_node node, uint32_t parent, uint64_t param) {
    const glia_pda_frame f = {.node = node, .parent = parent, .param = param};
    const uint64_t hash = glia_mix64(((uint64_t)node << 32 | parent) ^ glia_mix64(param + 1));
    uint32_t i = glia_table_find(&a->frame_table, hash, same_frame, a, &f);
    if (i != GLIA_TABLE_NONE) return i;
    i = (uint32_t)a->frames.n;
    if (!glia_vec_push(&a->frames, sizeof f, &f) || !glia_table_insert(&a->frame_table, hash, i)) {
        glia_rx_nomem(a->rx);
        return 0;
    }
    return i;
}

/* ---- what can be read next ------------------------------------------------------ */

static void later(glia_pda *a, glia_node node, uint32_t frame) {
    const glia_pda_work w = {node, frame};
    if (!glia_vec_push(&a->work, sizeof w, &w)) glia_rx_nomem(a->rx);
}
static void resume_later(glia_pda *a, uint32_t frame) { later(a, GLIA_NODE_NONE, frame); }

static void enter_seq(glia_pda *a, glia_node node, const glia_cfg_node *x, uint32_t i, uint32_t parent) {
    const glia_node child = glia_vec_at(&a->cfg->lists, x->a + i);
    later(a, child, i + 1 == x->b ? parent : push(a, node, parent, i));
}

/* `done` repetitions have been read. */
static void repeat(glia_pda *a, glia_node node, const glia_cfg_node *x, int done, uint32_t parent) {
    if (done >= x->m) resume_later(a, parent);
    if (x->n != GLIA_RX_MANY && done >= x->n) return;
    const int kept = x->n == GLIA_RX_MANY && done > x->m ? x->m : done;
    if (!glia_cfg_at(a->cfg, x->a)->productive) return;
    /* (x*)(x*) is x*: a repetition that ends where the same repetition may go on needs no frame of its own */
    const glia_pda_frame *p = (const glia_pda_frame *)a->frames.data + parent;
    const bool same = x->n == GLIA_RX_MANY && kept >= x->m && p->node == node && p->param == (uint64_t)kept;
    later(a, x->a, same ? parent : push(a, node, parent, (uint64_t)kept));
}

/* An object's param: the next member, and how many members there are so far. The highest bits: a comma has
 * been read; a member that is needed has been read. */
#define AFTER_COMMA (UINT64_C(1) << 63)
#define FOUND (UINT64_C(1) << 62)
static uint64_t object_param(const glia_cfg_object *o, int next, int n, uint64_t found) {
    const int most = o->most != GLIA_RX_MANY ? n : o->least > 1 ? o->least : 1;
    return found | (uint64_t)next << 32 | (uint64_t)(n < most ? n : most);
}

/* Can `left` more optional or other members make the object complete, after n members? */
static bool can_reach(const glia_cfg_object *o, int n, int left) {
    return o->rest || o->some || n + left >= o->least;
}

static int required_after(const glia_cfg *g, const glia_cfg_object *o, int i) {
    const glia_cfg_member *m = (const glia_cfg_member *)g->members.data + o->member;
    int n = 0;
    if (o->most == GLIA_RX_MANY) return 0;
    for (; i < o->n; i++) n += m[i].required;
    return n;
}

/* Enter every member that may come now; with `enter` false only say whether there is one. */
static bool members(glia_pda *a, glia_node node, const glia_cfg_object *o, uint64_t param, uint32_t parent,
                    bool enter) {
    const glia_cfg_member *m = (const glia_cfg_member *)a->cfg->members.data + o->member;
    const bool bounded = o->most != GLIA_RX_MANY;
    const uint64_t found = param & FOUND;
    const int next = (int)(param >> 32 & 0x3fffffff), n = (int)(param & 0xffffffff);
    const int to_find = o->needs && !found; /* a place must stay free for it */
    bool any = false;
    for (int i = next; i < o->n; i++) {
        const bool fits = (!bounded || n + 1 + required_after(a->cfg, o, i + 1) + to_find <= o->most) &&
                          can_reach(o, n + 1, o->n - i - 1);
        if (fits && !enter) return true;
        if (fits) later(a, m[i].pair, push(a, node, parent, object_param(o, i + 1, n + 1, found)));
        any |= fits;
        if (m[i].required) return any;
    }
    if (o->rest && (!bounded || n + 1 + to_find <= o->most)) {
        if (enter) later(a, o->rest, push(a, node, parent, object_param(o, o->n, n + 1, found)));
        any = true;
    }
    if (o->some && to_find && (!bounded || n + 1 <= o->most)) {
        if (enter) later(a, o->some, push(a, node, parent, object_param(o, o->n, n + 1, FOUND)));
        any = true;
    }
    return any;
}

static bool object_complete(const glia_cfg *g, const glia_cfg_object *o, int next, int n) {
    const glia_cfg_member *m = (const glia_cfg_member *)g->members.data + o->member;
    for (int i = next; i < o->n; i++)
        if (m[i].required) return false;
    return n >= o->least;
}

static void object(glia_pda *a, glia_node node, uint64_t param, uint32_t parent) {
    const glia_cfg_object *o = (const glia_cfg_object *)a->cfg->objects.data + glia_cfg_at(a->cfg, node)->a;
    const int next = (int)(param >> 32 & 0x3fffffff), n = (int)(param & 0xffffffff);
    if (param & AFTER_COMMA || n == 0) members(a, node, o, param, parent, true);
    if (param & AFTER_COMMA) return;
    if (object_complete(a->cfg, o, next, n) && (!o->needs || param & FOUND)) resume_later(a, parent);
    if (n > 0 && members(a, node, o, param, parent, false))
        later(a, o->comma, push(a, node, parent, param | AFTER_COMMA));
}

/* An array's param: elements read so far, and counted ones among them. */
static uint64_t array_param(const glia_cfg_array *x, int n, int found) {
    int most = x->n > x->least ? x->n : x->least;
    if (most < 1) most = 1;
    const int kept = x->most != GLIA_RX_MANY || n < most ? n : most;
    const int seen = x->found_most != GLIA_RX_MANY || found < x->found_least ? found : x->found_least;
    return (uint64_t)kept << 32 | (uint64_t)seen;
}

/* May an element come after n, of which then `found` are counted? */
static bool array_fits(const glia_cfg_array *x, int n, int found) {
    if (x->most != GLIA_RX_MANY && (n >= x->most || x->most - n - 1 < x->found_least - found)) return false;
    return x->found_most == GLIA_RX_MANY || found <= x->found_most;
}

static bool elements(glia_pda *a, glia_node node, const glia_cfg_array *x, int n, int found, uint32_t parent,
                     bool enter) {
    const uint32_t i = (uint32_t)(n < x->n ? n : x->n);
    const glia_node plain = glia_vec_at(&a->cfg->lists, x->element + i);
    const glia_node counted = x->counts ? glia_vec_at(&a->cfg->lists, x->counted + i) : GLIA_NODE_NONE;
    const bool may = plain && array_fits(x, n, found), may_count = counted && array_fits(x, n, found + 1);
    if (enter && may) later(a, plain, push(a, node, parent, array_param(x, n + 1, found)));
    if (enter && may_count) later(a, counted, push(a, node, parent, array_param(x, n + 1, found + 1)));
    return may || may_count;
}

static void array(glia_pda *a, glia_node node, uint64_t param, uint32_t parent) {
    const glia_cfg_array *x = (const glia_cfg_array *)a->cfg->arrays.data + glia_cfg_at(a->cfg, node)->a;
    const int n = (int)(param >> 32 & 0x7fffffff), found = (int)(param & 0xffffffff);
    if (param & AFTER_COMMA || n == 0) elements(a, node, x, n, found, parent, true);
    if (param & AFTER_COMMA) return;
    if (n >= x->least && found >= x->found_least) resume_later(a, parent);
    if (n > 0 && elements(a, node, x, n, found, parent, false))
        later(a, x->comma, push(a, node, parent, param | AFTER_COMMA));
}

/* `used`: a bit for each element that has been read. */
static void unique(glia_pda *a, glia_node node, const glia_cfg_node *x, uint64_t used, bool comma,
                   uint32_t parent) {
    const int n = __builtin_popcountll(used);
    if (!comma && n >= x->m) resume_later(a, parent);
    if (x->n != GLIA_RX_MANY && n >= x->n) return;
    bool any = false;
    for (uint32_t i = 0; i < x->b; i++) {
        const glia_node child = glia_vec_at(&a->cfg->lists, x->a + i);
        if (used >> i & 1 || !child) continue;
        any = true;
        if (comma || n == 0) later(a, child, push(a, node, parent, used | UINT64_C(1) << i));
    }
    if (any && !comma && n > 0) later(a, x->comma, push(a, GLIA_NODE_NONE, push(a, node, parent, used), 0));
}

static void enter(glia_pda *a, glia_node node, uint32_t frame) {
    const glia_cfg_node *x = glia_cfg_at(a->cfg, node);
    switch ((glia_cfg_kind)x->kind) {
    case CFG_TERM: {
        const glia_pda_thread t = {x->a, frame};
        if (x->a != GLIA_RX_EMPTY && !glia_vec_push(&a->found, sizeof t, &t)) glia_rx_nomem(a->rx);
        if (glia_rx_nullable(a->rx, x->a)) resume_later(a, frame);
        break;
    }
    case CFG_SEQ: enter_seq(a, node, x, 0, frame); break;
    case CFG_OR:
        for (uint32_t i = 0; i < x->b; i++)
            if (glia_vec_at(&a->cfg->lists, x->a + i)) later(a, glia_vec_at(&a->cfg->lists, x->a + i), frame);
        break;
    case CFG_REPEAT: repeat(a, node, x, 0, frame); break;
    case CFG_RULE: later(a, x->a, frame); break;
    case CFG_OBJECT: object(a, node, 0, frame); break;
    case CFG_ARRAY: array(a, node, 0, frame); break;
    case CFG_UNIQUE: unique(a, node, x, 0, false, frame); break;
    }
}

static void resume(glia_pda *a, uint32_t frame) {
    if (frame == 0) {
        a->found_end = true;
        return;
    }
    const glia_pda_frame f = ((const glia_pda_frame *)a->frames.data)[frame];
    if (f.node == GLIA_NODE_NONE) { /* after the comma of a unique list */
        const glia_pda_frame list = ((const glia_pda_frame *)a->frames.data)[f.parent];
        unique(a, list.node, glia_cfg_at(a->cfg, list.node), list.param, true, list.parent);
        return;
    }
    const glia_cfg_node *x = glia_cfg_at(a->cfg, f.node);
    switch ((glia_cfg_kind)x->kind) {
    case CFG_SEQ: enter_seq(a, f.node, x, (uint32_t)f.param + 1, f.parent); break;
    case CFG_REPEAT: repeat(a, f.node, x, (int)f.param + 1, f.parent); break;
    case CFG_OBJECT: object(a, f.node, f.param, f.parent); break;
    case CFG_ARRAY: array(a, f.node, f.param, f.parent); break;
    case CFG_UNIQUE: unique(a, f.node, x, f.param, false, f.parent); break;
    default: break; /* no other node leaves a frame */
    }
}

static bool same_work(const void *user, uint32_t index, const void *key) {
    return memcmp((const glia_pda_work *)((const glia_pda *)user)->seen_list.data + index, key,
                  sizeof(glia_pda_work)) == 0;
}

/* True the first time for this work in the closure. */
static bool is_new(glia_pda *a, const glia_pda_work *w) {
    const uint64_t hash = glia_mix64((uint64_t)w->node << 32 | w->frame);
    if (glia_table_find(&a->seen, hash, same_work, a, w) != GLIA_TABLE_NONE) return false;
    if (!glia_table_insert(&a->seen, hash, (uint32_t)a->seen_list.n) ||
        !glia_vec_push(&a->seen_list, sizeof *w, w))
        glia_rx_nomem(a->rx);
    return true;
}

static void fail_limit(glia_pda *a, const char *what, size_t most) {
    if (!a->rx->err.status)
        glia_fail(&a->rx->err, GLIA_ERR_LIMIT,
                  "the constraint is too ambiguous: %s at one place, the limit is %zu", what, most);
}

/* Do all work that waits. */
static void run_work(glia_pda *a) {
    while (a->work.n && !a->rx->err.status) {
        const glia_pda_work w = ((const glia_pda_work *)a->work.data)[--a->work.n];
        if (!is_new(a, &w)) continue;
        if (w.node)
            enter(a, w.node, w.frame);
        else
            resume(a, w.frame);
        if (a->seen_list.n > CLOSURE_MAX) fail_limit(a, "too many steps", CLOSURE_MAX);
        if (a->found.n > THREADS_MAX) fail_limit(a, "too many alternatives", THREADS_MAX);
    }
    if (a->seen.n > 1000)
        glia_table_free(&a->seen);
    else
        glia_table_clear(&a->seen);
    a->seen_list.n = 0;
    a->work.n = 0;
}

/* ---- states -------------------------------------------------------------------- */

typedef struct {
    const glia_pda_thread *thread;
    size_t n;
    bool accepts;
} state_key;

static bool same_state(const void *user, uint32_t index, const void *key) {
    const glia_pda *a = user;
    const state_key *k = key;
    const glia_pda_entry *s = glia_pda_at(a, index);
    if (s->n != k->n || s->accepts != k->accepts) return false;
    return k->n == 0 || memcmp((const glia_pda_thread *)a->threads.data + s->first, k->thread,
                               k->n * sizeof *k->thread) == 0;
}

static int by_thread(const void *x, const void *y) {
    const glia_pda_thread *a = x, *b = y;
    return a->rx != b->rx ? (a->rx > b->rx) - (a->rx < b->rx) : (a->frame > b->frame) - (a->frame < b->frame);
}

/* The state of the threads in a->found, which is emptied. */
static glia_pda_state intern(glia_pda *a) {
    glia_pda_thread *t = a->found.data;
    size_t n = 0;
    if (a->found.n > 1) qsort(t, a->found.n, sizeof *t, by_thread);
    for (size_t i = 0; i < a->found.n; i++)
        if (n == 0 || by_thread(&t[n - 1], &t[i]) != 0) t[n++] = t[i];
    a->found.n = 0;
    const state_key key = {t, n, a->found_end};
    const uint64_t hash = glia_hash_words(t, n * 2, key.accepts);
    uint32_t i = glia_table_find(&a->state_table, hash, same_state, a, &key);
    if (i != GLIA_TABLE_NONE || a->rx->err.status) return a->rx->err.status ? GLIA_PDA_DEAD : i;
    i = (uint32_t)a->states.n;
    const glia_pda_entry s = {.first = (uint32_t)a->threads.n, .n = (uint32_t)n, .accepts = key.accepts};
    glia_pda_thread *copy = glia_vec_add(&a->threads, sizeof *copy, n);
    if (!copy || !glia_vec_push(&a->states, sizeof s, &s) || !glia_table_insert(&a->state_table, hash, i)) {
        glia_rx_nomem(a->rx);
        return GLIA_PDA_DEAD;
    }
    if (n) memcpy(copy, t, n * sizeof *copy);
    if (glia_pda_bytes(a) > BYTES_MAX && !a->rx->err.status)
        glia_fail(&a->rx->err, GLIA_ERR_LIMIT, "the constraint needs more than %zu MiB of states",
                  BYTES_MAX >> 20);
    return i;
}

bool glia_pda_init(glia_pda *a, const glia_cfg *cfg) {
    *a = (glia_pda){.cfg = cfg, .rx = cfg->rx};
    a->class_of = glia_rx_classes(cfg->rx, &a->n_classes);
    const glia_pda_frame bottom = {0};
    if (!glia_vec_push(&a->frames, sizeof bottom, &bottom)) return false;
    intern(a); /* the dead state */
    return a->states.n == 1;
}

void glia_pda_free(glia_pda *a) {
    for (size_t i = 0; i < a->states.n; i++) free(glia_pda_at(a, (uint32_t)i)->row);
    glia_vec *const vec[] = {&a->frames, &a->states, &a->threads, &a->work, &a->found, &a->seen_list};
    for (size_t i = 0; i < sizeof vec / sizeof *vec; i++) glia_vec_free(vec[i]);
    glia_table_free(&a->frame_table);
    glia_table_free(&a->state_table);
    glia_table_free(&a->seen);
}

size_t glia_pda_bytes(const glia_pda *a) {
    return a->frames.n * (sizeof(glia_pda_frame) + 2 * sizeof(glia_table_slot)) + a->row_bytes +
           a->states.n * (sizeof(glia_pda_entry) + 2 * sizeof(glia_table_slot)) +
           a->threads.n * sizeof(glia_pda_thread) + glia_rx_bytes(a->rx);
}

glia_pda_state glia_pda_start(glia_pda *a, glia_node node) {
    a->found_end = false;
    if (node) later(a, node, 0);
    run_work(a);
    return intern(a);
}

glia_pda_state glia_pda_follow(glia_pda *a, uint32_t frame) {
    const uint32_t known = ((const glia_pda_frame *)a->frames.data)[frame].follow;
    if (known) return known - 1;
    a->found_end = false;
    resume_later(a, frame);
    run_work(a);
    const glia_pda_state s = intern(a);
    ((glia_pda_frame *)a->frames.data)[frame].follow = s + 1;
    return s;
}

glia_pda_state glia_pda_state_of(glia_pda *a, const glia_pda_thread *threads, size_t n) {
    a->found_end = false;
    for (size_t i = 0; i < n; i++)
        if (!glia_vec_push(&a->found, sizeof *threads, &threads[i])) glia_rx_nomem(a->rx);
    return intern(a);
}

static glia_pda_state step(glia_pda *a, glia_pda_state s, unsigned cls) {
    const glia_pda_entry e = *glia_pda_at(a, s);
    if (!glia_rx_work(a->rx, e.n / 4)) return GLIA_PDA_DEAD;
    a->found_end = false;
    for (uint32_t i = 0; i < e.n; i++) {
        glia_pda_thread t = ((const glia_pda_thread *)a->threads.data)[e.first + i];
        t.rx = glia_rx_step_class(a->rx, t.rx, cls);
        if (t.rx == GLIA_RX_NONE) continue;
        if (t.rx != GLIA_RX_EMPTY && !glia_vec_push(&a->found, sizeof t, &t)) glia_rx_nomem(a->rx);
        if (glia_rx_nullable(a->rx, t.rx)) resume_later(a, t.frame);
    }
    if (a->work.n) run_work(a);
    return intern(a);
}

glia_pda_state glia_pda_step(glia_pda *a, glia_pda_state s, unsigned char byte) {
    const unsigned cls = a->class_of[byte];
    uint32_t *row = glia_pda_at(a, s)->row;
    if (!row) {
        const size_t bytes = (size_t)a->n_classes * sizeof *row;
        row = malloc(bytes);
        if (!row) return glia_rx_nomem(a->rx);
        memset(row, 0xff, bytes);
        glia_pda_at(a, s)->row = row;
        a->row_bytes += bytes;
    }
    if (row[cls] != GLIA_PDA_UNKNOWN) return row[cls];
    if (s == GLIA_PDA_DEAD) return s;
    const glia_pda_state next = step(a, s, cls);
    if (!a->rx->err.status) row[cls] = next;
    return next;
}
