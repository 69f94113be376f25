/* rx_impl.h - the pool of expressions, private to rx*.c. */
#ifndef GLIA_GRAMMAR_RX_IMPL_H
#define GLIA_GRAMMAR_RX_IMPL_H

#include "grammar/rx.h"

typedef enum {
    RX_NONE,
    RX_EMPTY,
    RX_ALL,
    RX_SET,
    RX_CAT,
    RX_OR,
    RX_AND,
    RX_NOT,
    RX_REPEAT,
    RX_MULTIPLE
} rx_kind;
typedef enum { LIFE_UNKNOWN, ALIVE, DEAD } rx_life;

enum { RX_SMALL = 32 };

typedef struct {
    uint8_t kind;
    bool nullable;
    bool counted; /* a repetition of it counts beyond RX_SMALL */
    /* SET: a indexes `sets`. CAT: a then b. OR, AND: children `lists[a]` to `lists[a + b - 1]`, ascending.
     * NOT: a. REPEAT: a, m to n times. MULTIPLE: a indexes `moduli`; b and m are the low and high half of the
     * remainder, n is the number of digits after the point, -1 before it. */
    uint32_t a, b;
    int32_t m, n;
} rx_node;

typedef struct {
    uint64_t modulus;
    int places;
} rx_modulus;

struct glia_rx_pool {
    glia_vec nodes;  /* rx_node */
    glia_vec life;   /* uint8_t, rx_life of each node */
    glia_vec rows;   /* uint32_t * of each node: derivatives by class, UNKNOWN where not yet taken; or NULL */
    glia_vec lists;  /* uint32_t */
    glia_vec sets;   /* glia_byteset */
    glia_vec moduli; /* rx_modulus */
    glia_table table, set_table;
    unsigned char class_of[256], byte_of[256];
    int n_classes;
    glia_rx any_char[2]; /* by glia_spelling; of chars.c */
    uint64_t units;
    size_t row_bytes;
    glia_err err;
};

static inline const rx_node *rx_at(const glia_rx_pool *p, glia_rx a) {
    return (const rx_node *)p->nodes.data + a;
}
static inline const glia_byteset *rx_set_of(const glia_rx_pool *p, glia_rx a) {
    return (const glia_byteset *)p->sets.data + rx_at(p, a)->a;
}

/* Account `n` units of work. False: the pool has failed. */
bool glia_rx_work(glia_rx_pool *p, uint64_t n);
/* Record that memory ran out; returns GLIA_RX_NONE. */
glia_rx glia_rx_nomem(glia_rx_pool *p);
/* The node with these fields, made if there is none. */
glia_rx glia_rx_intern(glia_rx_pool *p, rx_node node);

#endif
