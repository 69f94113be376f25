/* shared.c - see shared.h. */
#include "grammar/shared.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { SETS_MAX = 1024, SLOTS = 2 * SETS_MAX };
static const size_t BYTES_MAX = (size_t)32 << 20;

typedef struct {
    uint64_t hash;
    void *key; /* NULL: free */
    size_t len;
    glia_token_set set;
} entry;

struct glia_shared_sets {
    pthread_mutex_t lock;
    entry slot[SLOTS];
    size_t n, bytes;
};

void glia_token_set_free(glia_token_set *s) {
    if (!s->borrowed) {
        free(s->some);
        free(s->dense);
        free(s->exits);
    }
    *s = (glia_token_set){0};
}

glia_shared_sets *glia_shared_sets_new(void) {
    glia_shared_sets *s = calloc(1, sizeof *s);
    if (s) pthread_mutex_init(&s->lock, NULL);
    return s;
}

void glia_shared_sets_free(glia_shared_sets *s) {
    if (!s) return;
    for (int i = 0; i < SLOTS; i++) {
        s->slot[i].set.borrowed = false;
        glia_token_set_free(&s->slot[i].set);
        free(s->slot[i].key);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The entry of the key, or the free one where it belongs. */
static entry *find(glia_shared_sets *s, uint64_t hash, const void *key, size_t len) {
    for (size_t i = hash % SLOTS;; i = (i + 1) % SLOTS) {
        entry *e = &s->slot[i];
        if (!e->key || (e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)) return e;
    }
}

bool glia_shared_sets_find(glia_shared_sets *s, const void *key, size_t len, glia_token_set *out) {
    const uint64_t hash = glia_hash(key, len, 0);
    pthread_mutex_lock(&s->lock);
    const entry *e = find(s, hash, key, len);
    const bool found = e->key != NULL;
    if (found) *out = e->set;
    pthread_mutex_unlock(&s->lock);
    return found;
}

void glia_shared_sets_keep(glia_shared_sets *s, const void *key, size_t len, glia_token_set *set,
                           size_t bytes) {
    const uint64_t hash = glia_hash(key, len, 0);
    void *copy = malloc(len);
    if (!copy) return;
    memcpy(copy, key, len);
    pthread_mutex_lock(&s->lock);
    entry *e = find(s, hash, key, len);
    const bool room = !e->key && s->n < SETS_MAX && bytes <= BYTES_MAX - s->bytes;
    if (room) {
        set->borrowed = true;
        *e = (entry){hash, copy, len, *set};
        s->n++;
        s->bytes += bytes;
    }
    pthread_mutex_unlock(&s->lock);
    if (!room) free(copy);
}
