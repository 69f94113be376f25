/* threads.c - worlds whose ranks are thread teams of one process. */
#define _GNU_SOURCE
#include "comm/impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What ranks of one process share besides the world. */
typedef struct {
    glia_gates *gates;  /* [size] */
    const void *note[]; /* [size] what each rank gives to an exchange */
} common;

static bool exchange(glia_comm *c, const void *mine, size_t bytes, void *all) {
    common *shared = c->world->state;
    shared->note[c->rank] = mine;
    if (!glia_meet(c, 0)) return false;
    for (int r = 0; r < c->size; r++) memcpy((char *)all + (size_t)r * bytes, shared->note[r], bytes);
    return glia_meet(c, 0); /* every rank has read before any `mine` goes out of scope */
}

static glia_status share_area(glia_comm *c, size_t bytes, glia_err *err) {
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return glia_fail_nomem(err, bytes, "a rank's area");
    madvise(p, bytes, MADV_HUGEPAGE); /* a hint; refusal is harmless */
    c->world->area[c->rank] = p;
    c->area_bytes = bytes;
    return GLIA_OK;
}

static void destroy(glia_world *w) {
    common *shared = w->state;
    free(shared->gates);
    free(shared);
    glia_world_free(w);
}

static void release(glia_comm *c) {
    glia_world *w = c->world;
    if (w->area[c->rank]) munmap(w->area[c->rank], c->area_bytes ? c->area_bytes : 1);
    glia_comm_drop(c);
    if (atomic_fetch_sub(&w->users, 1) == 1) destroy(w);
}

static const glia_world_table threads_world = {.exchange = exchange, .share = share_area, .free = release};

static glia_world *new_world(int n) {
    glia_world *w = glia_world_new(&threads_world, "threads", n);
    common *shared = calloc(1, sizeof *shared + (size_t)n * sizeof *shared->note);
    const size_t bytes = (size_t)n * sizeof *shared->gates;
    if (shared) shared->gates = aligned_alloc(GLIA_LINE, bytes);
    if (!w || !shared || !shared->gates) {
        free(shared);
        glia_world_free(w);
        return NULL;
    }
    memset(shared->gates, 0, bytes);
    w->local = n;
    w->state = shared;
    atomic_store(&w->users, n);
    for (int r = 0; r < n; r++) w->gates[r] = &shared->gates[r];
    return w;
}

glia_status glia_comm_threads(glia_comm **comm, int n, glia_err *err) {
    if (n < 1 || n > GLIA_RANKS_MAX)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "ranks: %d is not in 1..%d", n, GLIA_RANKS_MAX);
    glia_world *w = new_world(n);
    if (!w) return glia_fail_nomem(err, sizeof *w, "the ranks");
    glia_status status = GLIA_OK;
    int made = 0;
    for (; made < n && !status; made++) status = glia_comm_new(&comm[made], w, made, err);
    for (int r = 0; r < n && !status; r++) glia_comm_choose(comm[r]);
    if (!status) return GLIA_OK;
    while (made-- > 0) {
        glia_comm_drop(comm[made]);
        comm[made] = NULL;
    }
    destroy(w);
    return status;
}
