/* cfg.h - a grammar: nodes whose leaves are regular expressions.
 *
 * A node is a language. Nodes are made bottom-up; a rule is declared first and gets its body
 * later, so that a grammar can be recursive. Memory failures are sticky in the pool of
 * expressions, as in rx.h; the functions that make nodes then return GLIA_NODE_NONE. */
#ifndef GLIA_GRAMMAR_CFG_H
#define GLIA_GRAMMAR_CFG_H

#include "grammar/rx.h"

typedef uint32_t glia_node;
enum { GLIA_NODE_NONE }; /* no string */

typedef enum {
    CFG_TERM,
    CFG_SEQ,
    CFG_OR,
    CFG_REPEAT,
    CFG_RULE,
    CFG_OBJECT,
    CFG_ARRAY,
    CFG_UNIQUE
} glia_cfg_kind;

typedef struct {
    uint8_t kind;
    bool productive; /* has a string; of glia_cfg_finish() */
    uint32_t a, b;   /* TERM: expression a. SEQ, OR, UNIQUE: children lists[a .. a + b). REPEAT, RULE: body a.
                      * OBJECT, ARRAY: a indexes `objects` or `arrays` */
    int m, n;        /* REPEAT, UNIQUE: times; n GLIA_RX_MANY: without bound */
    uint32_t comma;  /* UNIQUE: between two elements */
} glia_cfg_node;

/* Members in order: optional ones may be left out. After them `rest` any number of times. */
typedef struct {
    uint32_t member; /* members of the object: cfg.members[member .. member + n) */
    int n;
    glia_node rest, comma; /* rest GLIA_NODE_NONE: no more members */
    int least, most;       /* members; most GLIA_RX_MANY: without bound */
    glia_node some;        /* at least one member is a `some`, if needs */
    bool needs;
} glia_cfg_object;
typedef struct {
    glia_node pair; /* the key, the colon and the value */
    bool required;
} glia_cfg_member;

/* Elements: the i-th is prefix[i], later ones `rest`. Of the elements at least `found_least` and at most
 * `found_most` are counted ones, whose nodes are in the second half. */
typedef struct {
    uint32_t element; /* cfg.lists[element .. element + n + 1): not counted; the last is the rest */
    uint32_t counted; /* the same, of counted elements; only if found_least > 0 or found_most is a bound */
    int n;
    glia_node comma;
    int least, most, found_least, found_most;
    bool counts;
} glia_cfg_array;

typedef struct {
    glia_rx_pool *rx; /* the caller's */
    glia_vec nodes;   /* glia_cfg_node */
    glia_vec lists;   /* glia_node */
    glia_vec members; /* glia_cfg_member */
    glia_vec objects; /* glia_cfg_object */
    glia_vec arrays;  /* glia_cfg_array */
} glia_cfg;

/* False without memory. */
bool glia_cfg_init(glia_cfg *g, glia_rx_pool *rx);
void glia_cfg_free(glia_cfg *g);

static inline const glia_cfg_node *glia_cfg_at(const glia_cfg *g, glia_node i) {
    return (const glia_cfg_node *)g->nodes.data + i;
}

glia_node glia_cfg_term(glia_cfg *g, glia_rx rx);
glia_node glia_cfg_text(glia_cfg *g, const char *text, size_t len);
glia_node glia_cfg_seq(glia_cfg *g, const glia_node *list, size_t n);
glia_node glia_cfg_seq2(glia_cfg *g, glia_node a, glia_node b);
glia_node glia_cfg_or(glia_cfg *g, const glia_node *list, size_t n);
glia_node glia_cfg_repeat(glia_cfg *g, glia_node body, int least, int most);
glia_node glia_cfg_rule(glia_cfg *g);
void glia_cfg_set_rule(glia_cfg *g, glia_node rule, glia_node body);
glia_node glia_cfg_object_node(glia_cfg *g, const glia_cfg_member *members, size_t n,
                               const glia_cfg_object *o);
/* `elements` and, if a->counts, `counted`: [a->n + 1]. */
glia_node glia_cfg_array_node(glia_cfg *g, const glia_node *elements, const glia_node *counted,
                              const glia_cfg_array *a);
/* Different elements of the list (at most 64), least to most of them, in any order. */
glia_node glia_cfg_unique(glia_cfg *g, const glia_node *list, size_t n, glia_node comma, int least, int most);

/* Find the nodes that have a string, and take the others out: optional members, alternatives. Call it once,
 * after all bodies are set. Returns whether `root` has a string. */
bool glia_cfg_finish(glia_cfg *g, glia_node root);
/* Does a rule call itself before it reads a character? After glia_cfg_finish(). */
bool glia_cfg_left_recursive(const glia_cfg *g);

#endif
