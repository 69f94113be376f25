/* arena.h - all memory before the first token: a plan, one mapping, a guard.
 *
 * A plan lists every buffer and counts bytes. It can be printed and checked, and is
 * then mapped once. A step allocates nothing: between glia_guard_enter() and
 * glia_guard_leave() a malloc() of this thread is fatal in programs linked with
 * tests/guard_malloc.c. One thread at a time may use a plan. */
#ifndef GLIA_BASE_ARENA_H
#define GLIA_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { GLIA_PLAN_MAX = 96, GLIA_ALIGN = 64 };

typedef struct {
    const char *name; /* for people; must live as long as the plan */
    size_t bytes, offset;
} glia_region;

typedef struct {
    glia_region region[GLIA_PLAN_MAX];
    int n;
    size_t bytes;  /* sum of the regions, each rounded up to GLIA_ALIGN */
    bool overflow; /* a size or the number of regions exceeded its limit */
    char *base;    /* NULL until mapped */
} glia_plan;

/* Add a region of count * size bytes and return its index for glia_plan_at(). A
 * region that does not fit sets `overflow`, which glia_plan_map() reports. */
int glia_plan_add(glia_plan *p, const char *name, size_t count, size_t size);

/* Map the planned memory as zero pages, huge ones where Linux allows. No page is
 * touched, so the thread that writes a page first decides its NUMA node. The caller
 * unmaps. `what` names the memory in messages.
 * Errors: GLIA_ERR_NOMEM with the plan's size and the size that is available. */
glia_status glia_plan_map(glia_plan *p, const char *what, glia_err *err);
/* Unmap and zero the plan. A zeroed plan is fine. */
void glia_plan_unmap(glia_plan *p);

/* Start of region `i`, aligned to 64 bytes. The plan must be mapped. */
void *glia_plan_at(const glia_plan *p, int i);

/* Bytes that this process could allocate now: MemAvailable of Linux, or what the cgroup's
 * limit leaves where that is less. Any thread. */
size_t glia_memory_available(void);

extern _Thread_local int glia_guard_depth;
static inline void glia_guard_enter(void) { glia_guard_depth++; }
static inline void glia_guard_leave(void) { glia_guard_depth--; }

#endif
