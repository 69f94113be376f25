/* places.h - which adapters are in the places of the engine. Pure: no tensor.
 *
 * A step multiplies by adapters in places only. A sequence holds the place of its
 * adapter while it runs. An adapter stays in its place until another one needs the
 * place and no running sequence holds it. */
#ifndef GLIA_ENGINE_PLACES_H
#define GLIA_ENGINE_PLACES_H

#include <stdbool.h>
#include <stdint.h>

enum { GLIA_PLACES_MAX = 256 };

typedef struct {
    int32_t adapter; /* its number; 0: the place is empty */
    int running;     /* sequences that hold the place */
    bool fresh;      /* the adapter is to be put there before the next step */
    uint64_t used;   /* when it was held last */
    uint32_t uses;   /* how often, halved every `decay` times that any place is held */
} glia_place;

typedef struct {
    int n;
    bool by_uses; /* the least frequently used adapter gives way, else the least recently used */
    int decay;    /* 0: uses are never halved */
    uint64_t clock;
    glia_place place[GLIA_PLACES_MAX];
} glia_places;

/* Hold the place of an adapter, which is put into a place first if it is in none. Returns the place, or -1
 * while running sequences hold all places. */
int glia_places_hold(glia_places *p, int32_t adapter);
void glia_places_release(glia_places *p, int place);
/* The adapter is no more: empty its place, unless it is held. */
void glia_places_forget(glia_places *p, int32_t adapter);

#endif
