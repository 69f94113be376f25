/* tree.h - trees of proposed tokens, and how they are grown.
 *
 * Node 0 is the last known token; every other node is a proposed token, and its parent
 * has a lower number. A chain is a tree in which each node's parent is the node before. */
#ifndef GLIA_DRAFT_TREE_H
#define GLIA_DRAFT_TREE_H

#include <stdbool.h>
#include <stdint.h>

enum { GLIA_TREE_MAX = 256 }; /* nodes of a tree, the root included */

/* Classes of tokens by their lead (glia_sample_lead()): the higher, the likelier they are accepted. */
enum { GLIA_LEADS = 8 };
int glia_lead_class(float lead);

/* Where a chain ends early: behind a token whose path is accepted with a chance below `least`. */
typedef struct {
    float least;          /* 0: nowhere */
    const double *chance; /* [GLIA_LEADS] that a token is accepted if those before it are */
} glia_tree_stop;

typedef struct {
    int n; /* nodes, at least 1 */
    int32_t token[GLIA_TREE_MAX];
    int16_t parent[GLIA_TREE_MAX]; /* < the node; -1 for node 0 */
    int16_t depth[GLIA_TREE_MAX];  /* edges from node 0 */
    float lead[GLIA_TREE_MAX];     /* of a token, if the draft knows; else NAN */
    float score[GLIA_TREE_MAX];    /* log-probability of the path from node 0 by the draft; 0 for node 0 */
} glia_tree;

typedef enum {
    GLIA_TREE_CHAIN,
    GLIA_TREE_STATIC, /* the shape is given, as medusa_tree and token_tree_config give it */
    GLIA_TREE_DYNAMIC /* grown by scores, as EAGLE-2 does */
} glia_tree_kind;

/* The shape of proposals. */
typedef struct {
    glia_tree_kind kind;
    /* Static: node i is the choice[i]-th likeliest token (from 0) after node parent[i]. Node 0 is the root.
     */
    int n;
    int16_t parent[GLIA_TREE_MAX], choice[GLIA_TREE_MAX];
    /* Dynamic: total nodes (the root included), steps after the first one (so depth + 1 levels of drafts),
     * and beams, which is also how many children each beam gets. As EAGLE's total_token, depth, top_k. */
    int total, depth, top_k;
} glia_tree_shape;

/* Make *t the root alone. */
void glia_tree_begin(glia_tree *t, int32_t token);
/* Add a node and return its number. There must be room. */
int glia_tree_add(glia_tree *t, int parent, int32_t token, float score);
/* The child of `node` that has this token; -1: none. */
int glia_tree_child(const glia_tree *t, int node, int32_t token);

#endif
