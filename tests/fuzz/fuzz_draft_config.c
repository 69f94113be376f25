/* fuzz_draft_config.c - any text as --speculative-config gives one sentence, or a proposal's shape that fits
 * the tables of trees. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "draft/config.h"
#include "draft/grow.h"

enum { MOST = 2000 }; /* candidates: more take long */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool promise) {
    if (!promise) abort();
}

/* Two methods, so that no method's code is linked. */
static const glia_draft_method without_model = {.name = "ngram"},
                               with_model = {.name = "eagle3", .has_model = true};

const glia_draft_method *glia_draft_method_find(const char *name) {
    return strcmp(name, "ngram") == 0 ? &without_model : strcmp(name, "eagle3") == 0 ? &with_model : NULL;
}

const glia_draft_method *glia_draft_method_of(const char *dir) {
    (void)dir;
    return &with_model;
}

const char *glia_draft_method_names(char *text, size_t size) {
    snprintf(text, size, "ngram, eagle3");
    return text;
}

/* Grow a tree of the shape to its end: every row has as many picks as it may use. */
static void grow(const glia_tree_shape *s, int depth, int nodes) {
    static glia_pick pick[GLIA_TREE_MAX];
    static const glia_pick *ask[GLIA_TREE_MAX];
    static int n[GLIA_TREE_MAX];
    glia_grow g;
    glia_tree t;
    void *memory = malloc(glia_grow_bytes(s));
    const int picks = glia_grow_picks(s);
    must(memory != NULL);
    must(picks >= 1 && glia_grow_wide(s) >= 1 && glia_grow_wide(s) <= GLIA_TREE_MAX);
    for (int i = 0; i < picks; i++) pick[i] = (glia_pick){i, -(float)i, 0};
    for (int i = 0; i < GLIA_TREE_MAX; i++) ask[i] = pick, n[i] = picks;
    glia_grow_init(&g, s, memory);
    glia_grow_begin(&g, depth, nodes);
    for (int level = 0; g.n_rows; level++) {
        must(level <= depth && g.n_rows <= glia_grow_wide(s));
        glia_grow_next(&g, ask, n);
    }
    glia_tree_begin(&t, 0);
    glia_grow_finish(&g, &t);
    must(t.n - 1 <= nodes);
    for (int i = 1; i < t.n; i++) must(t.parent[i] >= 0 && t.parent[i] < i && t.depth[i] <= depth);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    glia_draft_config c;
    glia_err err;
    char *text = malloc(size + 1);
    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (glia_draft_config_read(&c, text, "fuzz", NULL, &err)) {
        must(*err.msg && strlen(err.msg) < sizeof err.msg && !strchr(err.msg, '\n'));
    } else {
        const int nodes = glia_draft_config_nodes(&c), depth = glia_draft_config_depth(&c);
        must(c.method && nodes >= 0 && nodes < GLIA_TREE_MAX && depth >= 0 && depth <= nodes);
        if (c.tree.kind != GLIA_TREE_CHAIN && glia_grow_nodes(&c.tree) < MOST &&
            glia_grow_picks(&c.tree) <= GLIA_TREE_MAX)
            grow(&c.tree, depth, nodes);
        glia_draft_config_free(&c);
    }
    free(text);
    return 0;
}
