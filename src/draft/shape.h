/* shape.h - the shapes of trees in configurations. */
#ifndef GLIA_DRAFT_SHAPE_H
#define GLIA_DRAFT_SHAPE_H

#include "draft/tree.h"
#include "format/json.h"

/* Read the shape of proposals from the reader's object: a chain unless it has one of
 *   speculative_token_tree   vLLM's: paths as a string, "[(0,), (0, 0), (1,)]", or as a list of lists
 *   medusa_tree              NxD Inference's and Medusa's: a list of paths
 *   token_tree_config        NxD Inference's: the children of each node, {"0": ["1", "2"], "1": ["3"]}
 *   total_token, depth, top_k   EAGLE's: a tree grown by scores
 * A path is the choices from the root on: [1, 0] is the likeliest token after the second likeliest. Nodes are
 * numbered by depth, then in the order of paths. */
void glia_tree_shape_read(glia_tree_shape *s, glia_json_reader *r);

#endif
