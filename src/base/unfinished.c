/* unfinished.c - see unfinished.h.
 *
 * Nodes are used again and never freed, so a signal handler may walk the list at any moment. */
#define _GNU_SOURCE
#include "base/unfinished.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FREE, TAKEN, NAMED };
enum { DEPTH = 3 }; /* of directories in directories */

struct glia_unfinished {
    glia_unfinished *next;
    atomic_int state; /* NAMED: `path` counts */
    char path[PATH_MAX];
};

static _Atomic(glia_unfinished *) all;
static atomic_bool ending;

static glia_unfinished *take_node(void) {
    for (glia_unfinished *u = atomic_load(&all); u; u = u->next) {
        int old = FREE;
        if (atomic_compare_exchange_strong(&u->state, &old, TAKEN)) return u;
    }
    glia_unfinished *u = calloc(1, sizeof *u);
    if (!u) return NULL;
    atomic_init(&u->state, TAKEN);
    u->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &u->next, u)) {
    }
    return u;
}

glia_status glia_unfinished_add(glia_unfinished **u, const char *path, glia_err *err) {
    const size_t n = strlen(path);
    *u = NULL;
    if (n >= PATH_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "%.100s...: a path of %zu bytes, limit is %d", path, n,
                         PATH_MAX - 1);
    *u = take_node();
    if (!*u) return glia_fail_nomem(err, sizeof **u, "a path");
    memcpy((*u)->path, path, n + 1);
    atomic_store(&(*u)->state, NAMED);
    while (atomic_load(&ending))
        pause(); /* after the store: either the handler sees the path, or we see it */
    return GLIA_OK;
}

void glia_unfinished_done(glia_unfinished *u) {
    if (u) atomic_store(&u->state, FREE);
}

GLIA_API void glia_remove_unfinished(void) {
    const int before = errno;
    atomic_store(&ending, true);
    for (int pass = 0; pass < DEPTH; pass++) /* a directory can go only when it is empty */
        for (glia_unfinished *u = atomic_load(&all); u; u = u->next)
            if (atomic_load(&u->state) == NAMED && unlink(u->path) != 0) rmdir(u->path);
    errno = before;
}
