/* grow.h - how a tree of proposed tokens is grown, level by level.
 *
 * A grower asks for the likeliest tokens after each row of a level, and says which rows
 * make up the next level. Row 0 of level 0 is the root. Pure: no tensor and no model.
 *
 * Static trees take a fixed choice at each node. Dynamic trees are EAGLE-2's: each level
 * has the top_k best paths of the level before as rows, each row gives top_k candidates,
 * and the tree is the best total - 1 candidates of all levels.
 * Source: SafeAILab/EAGLE, cnets.py, topK_genrate. */
#ifndef GLIA_DRAFT_GROW_H
#define GLIA_DRAFT_GROW_H

#include <stddef.h>

#include "draft/tree.h"

/* A token that may come next, and its log-probability by the draft. */
typedef struct {
    int32_t token;
    float logprob, lead; /* lead: NAN if it is not known */
} glia_pick;

typedef struct {
    int32_t token;
    int parent; /* a candidate; -1: the root */
    int depth;
    float score, lead;
    double chance; /* that the path to the node is accepted; of chains that end early */
    int at;        /* static: the node of the shape; then the node of the finished tree */
    int row;       /* the caller's: the row that ran the candidate */
} glia_candidate_node;

typedef struct {
    const glia_tree_shape *shape;
    glia_candidate_node *node; /* [glia_grow_nodes()] */
    int *order;                /* [glia_grow_nodes()] */
    glia_tree_stop stop;       /* of a chain; the caller may set it after glia_grow_begin() */
    int n, level, depth, nodes;
    int n_rows, row[GLIA_TREE_MAX]; /* candidates whose next tokens are asked for; -1: the root */
} glia_grow;

/* The most candidates, and the most rows of a level. */
int glia_grow_nodes(const glia_tree_shape *s);
int glia_grow_wide(const glia_tree_shape *s);
/* The most picks of a row. */
int glia_grow_picks(const glia_tree_shape *s);
/* The depth of the deepest node. */
int glia_grow_depth(const glia_tree_shape *s);
/* Bytes of the arrays of a grower, and their start. */
size_t glia_grow_bytes(const glia_tree_shape *s);
void glia_grow_init(glia_grow *g, const glia_tree_shape *s, void *memory);

/* Begin a tree of at most `depth` levels below the root and `nodes` nodes besides it: one row is asked for,
 * if any tree is allowed. */
void glia_grow_begin(glia_grow *g, int depth, int nodes);
/* picks[i] [n[i]] are the likeliest tokens after row i, likeliest first. Sets the rows of the next level;
 * none: the tree is complete. */
void glia_grow_next(glia_grow *g, const glia_pick *const *picks, const int *n);
/* Add the grown nodes to *t, whose root is there. */
void glia_grow_finish(glia_grow *g, glia_tree *t);

/* The tokens from the root, without it, to candidate `i`. Returns how many; path [depth]. */
int glia_grow_path(const glia_grow *g, int i, int32_t *path);

#endif
