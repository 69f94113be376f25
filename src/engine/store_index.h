/* store_index.h - which entries a directory has, in order of their last use. No file is touched here. One
 * thread at a time. */
#ifndef GLIA_ENGINE_STORE_INDEX_H
#define GLIA_ENGINE_STORE_INDEX_H

#include "engine/store.h"

typedef struct {
    glia_store_key key;
    uint64_t bytes;       /* of the file */
    int32_t older, newer; /* neighbours in order of use, -1: none */
    int32_t next;         /* of the hash bucket, or of the free entries; -1: none */
} glia_store_entry;

typedef struct {
    glia_store_entry *entry; /* [most] */
    int32_t *bucket;         /* [mask + 1] */
    uint32_t mask;
    int32_t most, n, free, oldest, newest;
    uint64_t bytes; /* of all files */
} glia_store_index;

/* Room for `most` entries. Returns false if memory ran out. */
bool glia_store_index_open(glia_store_index *x, int32_t most);
void glia_store_index_close(glia_store_index *x);
/* -1: there is none. */
int32_t glia_store_index_find(const glia_store_index *x, glia_store_key key);
/* Make the entry the one that was used last. */
void glia_store_index_use(glia_store_index *x, int32_t i);
/* Add an entry as the one that was used last; there must be room, and no entry of this key. */
void glia_store_index_add(glia_store_index *x, glia_store_key key, uint64_t bytes);
void glia_store_index_remove(glia_store_index *x, int32_t i);

#endif
