/* rx.h - regular expressions over bytes as a pool of equal-is-identical nodes, matched by
 * derivatives.
 *
 * The derivative of an expression by a byte is the expression of what may follow. Nodes are
 * interned, so an expression is a state of an automaton that is built as far as text visits it.
 * Intersection and complement cost nothing extra, and a counted repetition is one node whatever
 * its count. Source: Brzozowski, Derivatives of Regular Expressions (1964); Owens, Reppy and
 * Turon, Regular-expression derivatives reexamined (2009).
 *
 * Failures (memory, the pool's limits) are sticky: `err` is set, and every later result is
 * GLIA_RX_NONE. One thread at a time. */
#ifndef GLIA_GRAMMAR_RX_H
#define GLIA_GRAMMAR_RX_H

#include "base/err.h"
#include "grammar/vec.h"

typedef uint32_t glia_rx;
enum { GLIA_RX_NONE, GLIA_RX_EMPTY, GLIA_RX_ALL }; /* no string; the empty string; every string */
enum { GLIA_RX_MANY = -1 };                        /* a repetition without an upper bound */

typedef struct {
    uint64_t bit[4];
} glia_byteset;

static inline void glia_byteset_range(glia_byteset *s, unsigned lo, unsigned hi) {
    for (unsigned b = lo; b <= hi; b++) s->bit[b / 64] |= UINT64_C(1) << b % 64;
}
static inline bool glia_byteset_has(const glia_byteset *s, unsigned b) {
    return s->bit[b / 64] >> b % 64 & 1;
}

typedef struct glia_rx_pool glia_rx_pool;

glia_rx_pool *glia_rx_pool_new(void); /* NULL without memory */
void glia_rx_pool_free(glia_rx_pool *p);
/* The sticky failure; status 0 if there is none. */
const glia_err *glia_rx_error(const glia_rx_pool *p);
/* Allow that many units of work (nodes made and derivatives taken) from now on; then GLIA_ERR_LIMIT. */
void glia_rx_allow(glia_rx_pool *p, uint64_t units);
/* Nodes of the pool; every glia_rx is less. */
uint32_t glia_rx_count(const glia_rx_pool *p);
size_t glia_rx_bytes(const glia_rx_pool *p);

glia_rx glia_rx_set(glia_rx_pool *p, const glia_byteset *set);
glia_rx glia_rx_range(glia_rx_pool *p, unsigned lo, unsigned hi);
glia_rx glia_rx_text(glia_rx_pool *p, const char *text, size_t len);
glia_rx glia_rx_cat(glia_rx_pool *p, glia_rx a, glia_rx b);
glia_rx glia_rx_cat3(glia_rx_pool *p, glia_rx a, glia_rx b, glia_rx c);
glia_rx glia_rx_or(glia_rx_pool *p, glia_rx a, glia_rx b);
glia_rx glia_rx_and(glia_rx_pool *p, glia_rx a, glia_rx b);
glia_rx glia_rx_or_all(glia_rx_pool *p, const glia_rx *list, size_t n);
glia_rx glia_rx_not(glia_rx_pool *p, glia_rx a);
/* Strings of `a` and not of `b`. */
glia_rx glia_rx_minus(glia_rx_pool *p, glia_rx a, glia_rx b);
/* a repeated `least` to `most` (GLIA_RX_MANY) times. */
glia_rx glia_rx_repeat(glia_rx_pool *p, glia_rx a, int least, int most);
/* Decimal digits, with a point and digits after it if `places` > 0: numbers whose value, multiplied by
 * 10^places, is a multiple of `modulus`. */
glia_rx glia_rx_multiple(glia_rx_pool *p, uint64_t modulus, int places);

bool glia_rx_nullable(const glia_rx_pool *p, glia_rx a);
/* The derivative by a byte, without what has no string. */
glia_rx glia_rx_step(glia_rx_pool *p, glia_rx a, unsigned byte);
/* The same without looking whether what remains has a string. */
glia_rx glia_rx_step_unchecked(glia_rx_pool *p, glia_rx a, unsigned byte);
/* The derivative from the right: strings w for which w followed by `byte` is in `a`. */
glia_rx glia_rx_step_back(glia_rx_pool *p, glia_rx a, unsigned byte);
/* The expression without strings that hold a byte of `set`; `a` must have no complement. */
glia_rx glia_rx_without(glia_rx_pool *p, glia_rx a, const glia_byteset *set);
/* Has the expression no string? Looks for one, which may reach the limit. */
bool glia_rx_is_none(glia_rx_pool *p, glia_rx a);
bool glia_rx_matches(glia_rx_pool *p, glia_rx a, const char *text, size_t len);
/* The expression with every count above `most` set to most + 1, where that does not change which texts of at
 * most `most` bytes are a beginning of a string, or the string; most >= 32. */
glia_rx glia_rx_clamp(glia_rx_pool *p, glia_rx a, int most);
/* Append bytes to *out that are equal for equal expressions, also of different pools. Returns false if that
 * needs more than `most` bytes. */
bool glia_rx_spell(const glia_rx_pool *p, glia_rx a, glia_vec *out, size_t most);

/* ---- byte classes: bytes that no expression tells apart ------------------------------ */

/* The class of each byte [256]. The classes change when a glia_rx_set() brings a new set. */
const unsigned char *glia_rx_classes(glia_rx_pool *p, int *n);
/* glia_rx_step() by a class. */
glia_rx glia_rx_step_class(glia_rx_pool *p, glia_rx a, unsigned cls);

#endif
