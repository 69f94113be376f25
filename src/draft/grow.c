/* grow.c - see grow.h. */
#include "draft/grow.h"

#include <stdlib.h>

/* ---- sizes ----------------------------------------------------------------------- */

int glia_grow_nodes(const glia_tree_shape *s) {
    return s->kind == GLIA_TREE_DYNAMIC ? s->top_k + s->depth * s->top_k * s->top_k : s->n;
}

static int depth_of(const glia_tree_shape *s, int i) {
    int depth = 0;
    for (; i > 0; i = s->parent[i]) depth++;
    return depth;
}

static bool has_children(const glia_tree_shape *s, int i) {
    for (int k = i + 1; k < s->n; k++)
        if (s->parent[k] == i) return true;
    return false;
}

int glia_grow_wide(const glia_tree_shape *s) {
    int wide = 1;
    if (s->kind == GLIA_TREE_DYNAMIC) return s->top_k;
    for (int d = 1, n = 1; n > 0; d++) {
        n = 0;
        for (int i = 1; i < s->n; i++) n += depth_of(s, i) == d && has_children(s, i);
        if (n > wide) wide = n;
    }
    return wide;
}

int glia_grow_picks(const glia_tree_shape *s) {
    int most = 1;
    if (s->kind == GLIA_TREE_DYNAMIC) return s->top_k;
    for (int i = 1; i < s->n; i++)
        if (s->choice[i] >= most) most = s->choice[i] + 1;
    return most;
}

int glia_grow_depth(const glia_tree_shape *s) {
    int most = 0;
    if (s->kind == GLIA_TREE_DYNAMIC) return s->depth + 1;
    for (int i = 1; i < s->n; i++)
        if (depth_of(s, i) > most) most = depth_of(s, i);
    return most;
}

size_t glia_grow_bytes(const glia_tree_shape *s) {
    const size_t n = (size_t)glia_grow_nodes(s);
    return (n * (sizeof(glia_candidate_node) + sizeof(int)) + 63) / 64 * 64;
}

void glia_grow_init(glia_grow *g, const glia_tree_shape *s, void *memory) {
    *g = (glia_grow){.shape = s, .node = memory};
    g->order = (int *)(void *)(g->node + glia_grow_nodes(s));
}

/* ---- a tree ----------------------------------------------------------------------- */

void glia_grow_begin(glia_grow *g, int depth, int nodes) {
    g->n = g->level = 0;
    g->stop = (glia_tree_stop){0};
    g->depth = depth;
    g->nodes = nodes;
    g->row[0] = -1;
    g->n_rows = depth > 0 && nodes > 0;
}

static void add(glia_grow *g, int parent, const glia_pick *pick, int at) {
    const bool root = parent < 0;
    g->node[g->n++] = (glia_candidate_node){
        .token = pick->token,
        .parent = parent,
        .depth = root ? 1 : g->node[parent].depth + 1,
        .score = pick->logprob + (root ? 0 : g->node[parent].score),
        .lead = pick->lead,
        .chance = root ? 1 : g->node[parent].chance,
        .at = at,
    };
}

/* Does the chain end behind its last node? */
static bool ends(glia_grow *g) {
    if (!(g->stop.least > 0) || g->n == 0) return false;
    glia_candidate_node *last = &g->node[g->n - 1];
    last->chance *= g->stop.chance[glia_lead_class(last->lead)];
    return last->chance < (double)g->stop.least;
}

/* Add the nodes of the shape below the rows, and take those with children as rows. */
static void next_static(glia_grow *g, const glia_pick *const *picks, const int *n) {
    const glia_tree_shape *s = g->shape;
    const int first = g->n;
    for (int i = 0; i < g->n_rows; i++) {
        const int at = g->row[i] < 0 ? 0 : g->node[g->row[i]].at;
        for (int k = at + 1; k < s->n && g->n < g->nodes; k++)
            if (s->parent[k] == at && s->choice[k] < n[i]) add(g, g->row[i], &picks[i][s->choice[k]], k);
    }
    g->n_rows = 0;
    if (ends(g)) return;
    for (int i = first; i < g->n && g->level < g->depth; i++)
        if (has_children(s, g->node[i].at)) g->row[g->n_rows++] = i;
}

/* The better candidate: the higher score; of equal scores the lower number, so that a parent comes before its
 * children. */
static bool better(const glia_grow *g, int a, int b) {
    return g->node[a].score > g->node[b].score || (g->node[a].score == g->node[b].score && a < b);
}

/* Move the `most` best of order [n] to its front, best first. Returns how many that are. */
static int best(const glia_grow *g, int n, int most) {
    const int few = n < most ? n : most;
    for (int i = 0; i < few; i++)
        for (int k = i + 1; k < n; k++)
            if (better(g, g->order[k], g->order[i])) {
                const int swap = g->order[i];
                g->order[i] = g->order[k];
                g->order[k] = swap;
            }
    return few;
}

static void next_dynamic(glia_grow *g, const glia_pick *const *picks, const int *n) {
    const glia_tree_shape *s = g->shape;
    const int first = g->n, rows = g->n_rows;
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < n[i] && k < s->top_k; k++) add(g, g->row[i], &picks[i][k], 0);
    for (int i = first; i < g->n; i++) g->order[i - first] = i;
    g->n_rows = g->level <= s->depth && g->level < g->depth ? best(g, g->n - first, s->top_k) : 0;
    for (int i = 0; i < g->n_rows; i++) g->row[i] = g->order[i];
}

void glia_grow_next(glia_grow *g, const glia_pick *const *picks, const int *n) {
    g->level++;
    if (g->shape->kind == GLIA_TREE_DYNAMIC)
        next_dynamic(g, picks, n);
    else
        next_static(g, picks, n);
}

static int compare_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

void glia_grow_finish(glia_grow *g, glia_tree *t) {
    const bool dynamic = g->shape->kind == GLIA_TREE_DYNAMIC;
    const int most = dynamic && g->shape->total - 1 < g->nodes ? g->shape->total - 1 : g->nodes;
    int n = g->n < most ? g->n : most;
    for (int i = 0; i < g->n; i++) g->order[i] = i;
    if (dynamic) {
        n = best(g, g->n, most);
        qsort(g->order, (size_t)n, sizeof *g->order, compare_int);
    }
    for (int i = 0; i < n; i++) {
        glia_candidate_node *c = &g->node[g->order[i]];
        c->at = glia_tree_add(t, c->parent < 0 ? 0 : g->node[c->parent].at, c->token, c->score);
        t->lead[c->at] = c->lead;
    }
}

int glia_grow_path(const glia_grow *g, int i, int32_t *path) {
    const int n = i < 0 ? 0 : g->node[i].depth;
    for (int k = n; i >= 0; i = g->node[i].parent) path[--k] = g->node[i].token;
    return n;
}
