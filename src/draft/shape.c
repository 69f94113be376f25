/* shape.c - see shape.h. */
#define _GNU_SOURCE
#include "draft/shape.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICE_MAX = 1024, EAGLE_TOTAL = 60, EAGLE_DEPTH = 7, EAGLE_TOP_K = 10, CANDIDATES_MAX = 65536 };

/* ---- paths ------------------------------------------------------------------ */

typedef struct {
    int n;
    int16_t choice[GLIA_TREE_MAX];
} path;

static int compare(const void *a, const void *b) {
    const path *x = a, *y = b;
    if (x->n != y->n) return x->n - y->n;
    for (int i = 0; i < x->n; i++)
        if (x->choice[i] != y->choice[i]) return x->choice[i] - y->choice[i];
    return 0;
}

/* The number of the path that is the first n choices of p; -1: there is none. The root has no choices. */
static int node_of(const path *list, int n_list, const path *p, int n) {
    if (n == 0) return 0;
    for (int i = 0; i < n_list; i++)
        if (list[i].n == n && !memcmp(list[i].choice, p->choice, (size_t)n * sizeof *p->choice)) return i + 1;
    return -1;
}

static void shape_of_paths(glia_tree_shape *s, glia_json_reader *r, const char *key, path *list, int n) {
    qsort(list, (size_t)n, sizeof *list, compare);
    *s = (glia_tree_shape){.kind = GLIA_TREE_STATIC, .n = n + 1, .parent = {-1}};
    for (int i = 0; i < n && !r->status; i++) {
        const int parent = node_of(list, i, &list[i], list[i].n - 1);
        if (i > 0 && compare(&list[i], &list[i - 1]) == 0)
            glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s has a path twice, of %d choices", key, list[i].n);
        else if (parent < 0)
            glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s has a path of %d choices without its first %d as a path",
                           key, list[i].n, list[i].n - 1);
        s->parent[i + 1] = (int16_t)parent;
        s->choice[i + 1] = list[i].choice[list[i].n - 1];
    }
}

static bool read_path(path *p, const json_t *value) {
    const size_t n = json_array_size(value);
    p->n = (int)n;
    for (size_t i = 0; i < n && n < GLIA_TREE_MAX; i++) {
        const json_t *choice = json_array_get(value, i);
        if (!json_is_integer(choice) || json_integer_value(choice) < 0 ||
            json_integer_value(choice) >= CHOICE_MAX)
            return false;
        p->choice[i] = (int16_t)json_integer_value(choice);
    }
    return n > 0 && n < GLIA_TREE_MAX;
}

static void read_paths(glia_tree_shape *s, glia_json_reader *r, const char *key, const json_t *list) {
    const size_t n = json_array_size(list);
    if (n == 0 || n >= GLIA_TREE_MAX) {
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s has %zu paths, expected 1 to %d", key, n, GLIA_TREE_MAX - 1);
        return;
    }
    path *paths = calloc(n, sizeof *paths);
    if (!paths) r->status = glia_fail_nomem(r->err, n * sizeof *paths, "a tree");
    for (size_t i = 0; i < n && !r->status; i++)
        if (!read_path(&paths[i], json_array_get(list, i)))
            glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s: path %zu is no list of 1 to %d choices of 0 to %d", key,
                           i + 1, GLIA_TREE_MAX - 1, CHOICE_MAX - 1);
    if (!r->status) shape_of_paths(s, r, key, paths, (int)n);
    free(paths);
}

/* Python's tuples as JSON's arrays: "[(0,), (0, 0)]" becomes "[[0], [0, 0]]". The caller frees the list. */
static json_t *parse_tuples(const char *text) {
    char *const copy = strdup(text), *to = copy;
    if (!copy) return NULL;
    for (const char *from = text; *from; from++) {
        if (*from == ',' && from[1 + strspn(from + 1, " ")] == ')') continue;
        *to++ = *from == '(' ? '[' : *from == ')' ? ']' : *from;
    }
    *to = '\0';
    json_t *list = json_loads(copy, 0, NULL);
    free(copy);
    return list;
}

static void read_list(glia_tree_shape *s, glia_json_reader *r, const char *key, const json_t *value) {
    json_t *list = json_is_string(value) ? parse_tuples(json_string_value(value))
                                         : json_incref((json_t *)(uintptr_t)value);
    if (json_is_array(list))
        read_paths(s, r, key, list);
    else
        glia_json_fail(r, GLIA_ERR_ARGUMENT, "%s is no list of paths, such as [[0], [0, 0], [1]]", key);
    json_decref(list);
}

/* ---- children of nodes -------------------------------------------------------- */

/* Number the nodes by depth, then in the order of their parents and of the lists: queue [n] has their names.
 */
static int walk_children(glia_tree_shape *s, const json_t *nodes, const char **queue) {
    int n = 1;
    queue[0] = "0";
    for (int i = 0; i < n; i++) {
        const json_t *children = json_object_get(nodes, queue[i]);
        for (size_t k = 0; k < json_array_size(children); k++) {
            const json_t *name = json_array_get(children, k);
            if (!json_is_string(name) || n == GLIA_TREE_MAX || k >= CHOICE_MAX) return -1;
            s->parent[n] = (int16_t)i;
            s->choice[n] = (int16_t)k;
            queue[n++] = json_string_value(name);
        }
    }
    return n;
}

static void read_children(glia_tree_shape *s, glia_json_reader *r, const char *key, const json_t *value) {
    const char *queue[GLIA_TREE_MAX];
    *s = (glia_tree_shape){.kind = GLIA_TREE_STATIC, .parent = {-1}};
    s->n = json_is_object(value) ? walk_children(s, value, queue) : -1;
    if (s->n < 2)
        glia_json_fail(r, GLIA_ERR_ARGUMENT,
                       "%s is no tree of 1 to %d nodes below \"0\", such as {\"0\": [\"1\", \"2\"], \"1\": "
                       "[\"3\"]}",
                       key, GLIA_TREE_MAX - 1);
}

/* ---- all ------------------------------------------------------------------------ */

static void read_dynamic(glia_tree_shape *s, glia_json_reader *r) {
    *s = (glia_tree_shape){.kind = GLIA_TREE_DYNAMIC};
    s->total = (int)glia_json_int(r, "total_token", EAGLE_TOTAL, 2, GLIA_TREE_MAX);
    s->depth = (int)glia_json_int(r, "depth", EAGLE_DEPTH, 0, GLIA_TREE_MAX - 2);
    s->top_k = (int)glia_json_int(r, "top_k", EAGLE_TOP_K, 1, GLIA_TREE_MAX - 1);
    const int candidates = s->top_k + s->depth * s->top_k * s->top_k;
    if (candidates > CANDIDATES_MAX)
        glia_json_fail(
            r, GLIA_ERR_ARGUMENT,
            "top_k %d and depth %d: expected at most %d candidates (top_k + depth * top_k * top_k), "
            "found %d",
            s->top_k, s->depth, CANDIDATES_MAX, candidates);
}

void glia_tree_shape_read(glia_tree_shape *s, glia_json_reader *r) {
    static const struct {
        const char *key;
        void (*read)(glia_tree_shape *s, glia_json_reader *r, const char *key, const json_t *value);
    } rows[] = {{"speculative_token_tree", read_list},
                {"medusa_tree", read_list},
                {"token_tree_config", read_children}};
    const char *given = NULL;
    *s = (glia_tree_shape){.kind = GLIA_TREE_CHAIN};
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !r->status; i++) {
        const json_t *value = json_object_get(r->object, rows[i].key);
        if (!value || json_is_null(value)) continue;
        if (given) glia_json_fail(r, GLIA_ERR_ARGUMENT, "both %s and %s give a tree", given, rows[i].key);
        given = rows[i].key;
        if (!r->status) rows[i].read(s, r, given, value);
    }
    const char *const grown[] = {"total_token", "depth", "top_k"};
    for (size_t i = 0; i < 3 && !r->status; i++) {
        if (!json_object_get(r->object, grown[i])) continue;
        if (given) glia_json_fail(r, GLIA_ERR_ARGUMENT, "both %s and %s give a tree", given, grown[i]);
        read_dynamic(s, r);
        break;
    }
}
