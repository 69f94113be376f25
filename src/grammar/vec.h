/* vec.h - growable arrays and interning tables of plain structs.
 *
 * Both are zeroed before use. A failed allocation returns NULL or false and leaves the old
 * content. One thread at a time. */
#ifndef GLIA_GRAMMAR_VEC_H
#define GLIA_GRAMMAR_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *data;
    size_t n, cap; /* elements */
} glia_vec;

/* Append `count` elements of `size` bytes, not initialised. Returns the first of them; NULL without memory.
 * A vec always has the same `size`. Pointers into the vec are invalid after the call. */
void *glia_vec_add(glia_vec *v, size_t size, size_t count);
/* Append one copied element. Returns false without memory. */
bool glia_vec_push(glia_vec *v, size_t size, const void *element);
/* Append a uint32_t. Returns false without memory. */
bool glia_vec_put(glia_vec *v, uint32_t x);
void glia_vec_free(glia_vec *v);

static inline uint32_t glia_vec_at(const glia_vec *v, size_t i) { return ((const uint32_t *)v->data)[i]; }

typedef struct {
    uint64_t hash;
    uint32_t index; /* + 1; 0: the slot is free */
} glia_table_slot;
/* A set of indices into an array of the caller, found by hash. */
typedef struct {
    glia_table_slot *slot; /* [cap] */
    size_t n, cap;
} glia_table;

/* Is the caller's element `index` equal to `key`? */
typedef bool glia_table_equal(const void *user, uint32_t index, const void *key);

#define GLIA_TABLE_NONE UINT32_MAX
/* A hash of n words, for keys of a few words; `seed` chains calls. */
static inline uint64_t glia_hash_words(const void *words, size_t n, uint64_t seed) {
    const uint32_t *w = words;
    uint64_t h = seed ^ UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < n; i++) h = (h ^ w[i]) * UINT64_C(0xff51afd7ed558ccd), h ^= h >> 29;
    return h ^ h >> 32;
}
/* The index that was inserted for `key`; GLIA_TABLE_NONE if there is none. */
uint32_t glia_table_find(const glia_table *t, uint64_t hash, glia_table_equal *equal, const void *user,
                         const void *key);
/* Insert an index that glia_table_find() did not find. Returns false without memory. */
bool glia_table_insert(glia_table *t, uint64_t hash, uint32_t index);
void glia_table_clear(glia_table *t);
void glia_table_free(glia_table *t);

#endif
