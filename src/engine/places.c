/* places.c - see places.h. */
#include "engine/places.h"

#include <assert.h>

static int find(const glia_places *p, int32_t adapter) {
    for (int i = 0; i < p->n; i++)
        if (p->place[i].adapter == adapter) return i;
    return -1;
}

/* Does place a give way before place b? */
static bool gives_way(const glia_places *p, const glia_place *a, const glia_place *b) {
    if (p->by_uses && a->uses != b->uses) return a->uses < b->uses;
    return a->used < b->used;
}

/* An empty place, else the place of the adapter that gives way; -1: all are held. */
static int free_place(const glia_places *p) {
    int found = -1;
    for (int i = 0; i < p->n; i++) {
        if (!p->place[i].adapter) return i;
        if (!p->place[i].running && (found < 0 || gives_way(p, &p->place[i], &p->place[found]))) found = i;
    }
    return found;
}

static void count_use(glia_places *p, glia_place *x) {
    x->used = ++p->clock;
    x->uses++;
    for (int i = 0; p->decay && p->clock % (uint64_t)p->decay == 0 && i < p->n; i++) p->place[i].uses /= 2;
}

int glia_places_hold(glia_places *p, int32_t adapter) {
    int i = find(p, adapter);
    assert(adapter > 0);
    if (i < 0) {
        i = free_place(p);
        if (i < 0) return -1;
        p->place[i] = (glia_place){.adapter = adapter, .fresh = true};
    }
    p->place[i].running++;
    count_use(p, &p->place[i]);
    return i;
}

void glia_places_release(glia_places *p, int place) {
    assert(p->place[place].running > 0);
    p->place[place].running--;
}

void glia_places_forget(glia_places *p, int32_t adapter) {
    const int i = find(p, adapter);
    if (i >= 0 && !p->place[i].running) p->place[i] = (glia_place){0};
}
