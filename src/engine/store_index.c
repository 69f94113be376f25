/* store_index.c - see store_index.h. */
#include "engine/store_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool glia_store_index_open(glia_store_index *x, int32_t most) {
    uint32_t buckets = 1;
    while (buckets < (uint32_t)most) buckets *= 2;
    *x = (glia_store_index){.mask = buckets - 1, .most = most, .oldest = -1, .newest = -1};
    x->entry = malloc((size_t)most * sizeof *x->entry);
    x->bucket = malloc(buckets * sizeof *x->bucket);
    if (!x->entry || !x->bucket) return glia_store_index_close(x), false;
    memset(x->bucket, 0xff, buckets * sizeof *x->bucket);
    for (int32_t i = 0; i < most; i++) x->entry[i].next = i + 1 < most ? i + 1 : -1;
    return true;
}

void glia_store_index_close(glia_store_index *x) {
    free(x->entry);
    free(x->bucket);
    *x = (glia_store_index){0};
}

static int32_t *bucket_of(const glia_store_index *x, glia_store_key key) {
    return &x->bucket[key.word[0] & x->mask];
}

int32_t glia_store_index_find(const glia_store_index *x, glia_store_key key) {
    int32_t i = *bucket_of(x, key);
    while (i >= 0 && memcmp(&x->entry[i].key, &key, sizeof key) != 0) i = x->entry[i].next;
    return i;
}

static void unlink_use(glia_store_index *x, int32_t i) {
    const glia_store_entry *e = &x->entry[i];
    *(e->older < 0 ? &x->oldest : &x->entry[e->older].newer) = e->newer;
    *(e->newer < 0 ? &x->newest : &x->entry[e->newer].older) = e->older;
}

static void link_use(glia_store_index *x, int32_t i) {
    glia_store_entry *e = &x->entry[i];
    e->older = x->newest;
    e->newer = -1;
    *(e->older < 0 ? &x->oldest : &x->entry[e->older].newer) = i;
    x->newest = i;
}

void glia_store_index_use(glia_store_index *x, int32_t i) {
    unlink_use(x, i);
    link_use(x, i);
}

void glia_store_index_add(glia_store_index *x, glia_store_key key, uint64_t bytes) {
    assert(x->n < x->most && glia_store_index_find(x, key) < 0);
    const int32_t i = x->free;
    glia_store_entry *e = &x->entry[i];
    int32_t *bucket = bucket_of(x, key);
    x->free = e->next;
    e->key = key;
    e->bytes = bytes;
    e->next = *bucket;
    *bucket = i;
    link_use(x, i);
    x->n++;
    x->bytes += bytes;
}

void glia_store_index_remove(glia_store_index *x, int32_t i) {
    glia_store_entry *e = &x->entry[i];
    int32_t *link = bucket_of(x, e->key);
    while (*link != i) link = &x->entry[*link].next;
    *link = e->next;
    unlink_use(x, i);
    e->next = x->free;
    x->free = i;
    x->n--;
    x->bytes -= e->bytes;
}
