/* tree.c - see tree.h. */
#include "draft/tree.h"

#include <assert.h>
#include <math.h>

int glia_lead_class(float lead) {
    static const float limits[GLIA_LEADS - 1] = {0.3f, 0.7f, 1.2f, 2, 3, 4.5f, 7};
    int c = 0;
    while (c < GLIA_LEADS - 1 && lead >= limits[c]) c++;
    return c;
}

void glia_tree_begin(glia_tree *t, int32_t token) {
    t->n = 1;
    t->token[0] = token;
    t->parent[0] = -1;
    t->depth[0] = 0;
    t->score[0] = 0;
}

int glia_tree_add(glia_tree *t, int parent, int32_t token, float score) {
    const int i = t->n++;
    assert(i < GLIA_TREE_MAX && parent >= 0 && parent < i);
    t->token[i] = token;
    t->parent[i] = (int16_t)parent;
    t->depth[i] = (int16_t)(t->depth[parent] + 1);
    t->score[i] = score;
    t->lead[i] = NAN;
    return i;
}

int glia_tree_child(const glia_tree *t, int node, int32_t token) {
    for (int i = node + 1; i < t->n; i++)
        if (t->parent[i] == node && t->token[i] == token) return i;
    return -1;
}
