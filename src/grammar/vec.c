/* vec.c - see vec.h. */
#include "grammar/vec.h"

#include <stdlib.h>
#include <string.h>

void *glia_vec_add(glia_vec *v, size_t size, size_t count) {
    if (count > SIZE_MAX / 4 / size - v->n) return NULL;
    if (v->n + count > v->cap || !v->data) {
        size_t cap = v->cap ? v->cap * 2 : 16;
        while (cap < v->n + count) cap *= 2;
        void *grown = realloc(v->data, cap * size);
        if (!grown) return NULL;
        v->data = grown;
        v->cap = cap;
    }
    char *at = (char *)v->data + v->n * size;
    v->n += count;
    return at;
}

bool glia_vec_push(glia_vec *v, size_t size, const void *element) {
    void *at = glia_vec_add(v, size, 1);
    if (at) memcpy(at, element, size);
    return at;
}

bool glia_vec_put(glia_vec *v, uint32_t x) { return glia_vec_push(v, sizeof x, &x); }

void glia_vec_free(glia_vec *v) {
    free(v->data);
    *v = (glia_vec){0};
}

uint32_t glia_table_find(const glia_table *t, uint64_t hash, glia_table_equal *equal, const void *user,
                         const void *key) {
    if (!t->cap) return GLIA_TABLE_NONE;
    for (size_t i = hash & (t->cap - 1); t->slot[i].index; i = (i + 1) & (t->cap - 1))
        if (t->slot[i].hash == hash && equal(user, t->slot[i].index - 1, key)) return t->slot[i].index - 1;
    return GLIA_TABLE_NONE;
}

static void place(glia_table_slot *slot, size_t cap, uint64_t hash, uint32_t index) {
    size_t i = hash & (cap - 1);
    while (slot[i].index) i = (i + 1) & (cap - 1);
    slot[i] = (glia_table_slot){hash, index};
}

static bool grow(glia_table *t) {
    const size_t cap = t->cap ? t->cap * 2 : 64;
    glia_table_slot *slot = calloc(cap, sizeof *slot);
    if (!slot) return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slot[i].index) place(slot, cap, t->slot[i].hash, t->slot[i].index);
    free(t->slot);
    t->slot = slot;
    t->cap = cap;
    return true;
}

bool glia_table_insert(glia_table *t, uint64_t hash, uint32_t index) {
    if (t->n * 2 >= t->cap && !grow(t)) return false;
    place(t->slot, t->cap, hash, index + 1);
    t->n++;
    return true;
}

void glia_table_clear(glia_table *t) {
    if (t->cap) memset(t->slot, 0, t->cap * sizeof *t->slot);
    t->n = 0;
}

void glia_table_free(glia_table *t) {
    free(t->slot);
    *t = (glia_table){0};
}
