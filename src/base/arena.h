/* arena.h - all memory before the first token: a plan, one mapping, a guard.
 *
 * First every buffer is added to a plan, which only counts; the plan can be
 * printed and checked; then it is mapped once. A step allocates nothing, and
 * between glia_guard_enter() and glia_guard_leave() any malloc of this thread
 * is fatal in programs linked with tests/guard_malloc.c. */
#ifndef GLIA_BASE_ARENA_H
#define GLIA_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { GLIA_PLAN_MAX = 96, GLIA_ALIGN = 64 };

typedef struct {
    const char *name; /* what it is, for people; lives as long as the plan */
    size_t bytes, offset;
} glia_region;

typedef struct {
    glia_region region[GLIA_PLAN_MAX];
    int n;
    size_t bytes;  /* so far, each region rounded up to GLIA_ALIGN */
    bool overflow; /* a size or the number of regions went past its limit */
    char *base;    /* NULL until mapped */
} glia_plan;

/* Add count * size bytes; returns the region's index for glia_plan_at(). Never
 * fails here: what does not fit is remembered and told by glia_plan_map(). */
int glia_plan_add(glia_plan *p, const char *name, size_t count, size_t size);

/* Map the planned memory: zero pages, huge where Linux will, untouched so that
 * the thread that writes first decides the NUMA node. GLIA_ERR_NOMEM names the
 * plan's size and what the machine has. */
glia_status glia_plan_map(glia_plan *p, const char *what, glia_err *err);
void glia_plan_unmap(glia_plan *p);

/* Start of region `i`, aligned to 64 bytes. The plan must be mapped. */
void *glia_plan_at(const glia_plan *p, int i);

/* Memory of this machine that can be had now, in bytes (MemAvailable; the cgroup's limit if lower). */
size_t glia_memory_available(void);

extern _Thread_local int glia_guard_depth;
static inline void glia_guard_enter(void) { glia_guard_depth++; }
static inline void glia_guard_leave(void) { glia_guard_depth--; }

#endif
