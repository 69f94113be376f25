/* map.c - see map.h.
 *
 * Reading a page of a mapped file raises SIGBUS if the file has become shorter or the disk fails. The handler
 * replaces the rest of that mapping by zeros and marks it, so that the reader goes on and glia_map_check()
 * then fails. Nodes are used again and never freed, so the handler may walk the list at any moment. */
#define _GNU_SOURCE
#include "base/map.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct glia_mapping {
    glia_mapping *next;
    atomic_bool taken;
    atomic_uintptr_t from, to; /* addresses; both 0: not mapped */
    atomic_bool torn;          /* some bytes are zeros that are not in the file */
    int fd;
    struct stat opened;
    char *path;
};

static _Atomic(glia_mapping *) all;

/* ---- open and close ------------------------------------------------------------- */

static glia_mapping *take_node(void) {
    for (glia_mapping *g = atomic_load(&all); g; g = g->next)
        if (!atomic_exchange(&g->taken, true)) return g;
    glia_mapping *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    atomic_init(&g->taken, true);
    g->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &g->next, g)) {
    }
    return g;
}

static void release_node(glia_mapping *g) {
    free(g->path);
    close(g->fd);
    atomic_store(&g->torn, false);
    atomic_store(&g->taken, false);
}

/* Map the file of `fd`, which is then the mapping's. */
static glia_status map_file(glia_map *m, int fd, const char *path, glia_err *err) {
    glia_mapping *g = take_node();
    if (!g) {
        close(fd);
        return glia_fail_nomem(err, sizeof *g, path);
    }
    g->fd = fd;
    g->path = strdup(path);
    void *p = g->path && fstat(fd, &g->opened) == 0 ? mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, fd, 0)
                                                    : MAP_FAILED;
    if (p == MAP_FAILED) {
        const glia_status status = glia_fail(err, GLIA_ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        release_node(g);
        return status;
    }
    atomic_store(&g->to, (uintptr_t)p + m->len);
    atomic_store(&g->from, (uintptr_t)p);
    m->data = p;
    m->mapping = g;
    return GLIA_OK;
}

glia_status glia_map_open(glia_map *m, const char *path, glia_err *err) {
    int fd;
    memset(m, 0, sizeof *m);
    glia_status status = glia_file_open(&fd, &m->len, path, err);
    if (status) return status;
    if (m->len > 0) /* mmap refuses length 0 */
        status = map_file(m, fd, path, err);
    else
        close(fd);
    if (status) memset(m, 0, sizeof *m);
    return status;
}

void glia_map_close(glia_map *m) {
    if (m->mapping) {
        atomic_store(&m->mapping->from, 0);
        atomic_store(&m->mapping->to, 0);
        munmap((void *)(uintptr_t)m->data, m->len);
        release_node(m->mapping);
    }
    memset(m, 0, sizeof *m);
}

void glia_map_drop(const glia_map *m, size_t from, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = (from + page - 1) / page * page, last = (from + n) / page * page;
    if (m->data && first < last && last <= m->len)
        madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
}

/* ---- changes -------------------------------------------------------------------- */

const char *glia_map_path(const glia_map *m) { return m->mapping ? m->mapping->path : ""; }

glia_status glia_map_check(const glia_map *m, glia_err *err) {
    struct stat now;
    const glia_mapping *g = m->mapping;
    if (!g) return GLIA_OK;
    if (fstat(g->fd, &now) != 0) return glia_fail(err, GLIA_ERR_IO, "%s: %s", g->path, strerror(errno));
    if (now.st_size != g->opened.st_size)
        return glia_fail(err, GLIA_ERR_IO, "%s: changed from %lld to %lld bytes while it was in use", g->path,
                         (long long)g->opened.st_size, (long long)now.st_size);
    if (atomic_load(&g->torn))
        return glia_fail(err, GLIA_ERR_IO, "%s: some of its bytes could not be read while it was in use",
                         g->path);
    if (now.st_mtim.tv_sec != g->opened.st_mtim.tv_sec || now.st_mtim.tv_nsec != g->opened.st_mtim.tv_nsec)
        return glia_fail(err, GLIA_ERR_IO, "%s: was written while it was in use", g->path);
    return GLIA_OK;
}

/* ---- SIGBUS --------------------------------------------------------------------- */

static uintptr_t page_size;
static struct sigaction before;

/* Replace the rest of the mapping that `at` is in. */
static bool replace(uintptr_t at) {
    for (glia_mapping *g = atomic_load(&all); g; g = g->next) {
        const uintptr_t from = atomic_load(&g->from), to = atomic_load(&g->to),
                        page = at / page_size * page_size;
        if (!from || page < from || page >= to) continue;
        atomic_store(&g->torn, true);
        return mmap((void *)page, to - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
               MAP_FAILED;
    }
    return false;
}

static void on_bus(int number, siginfo_t *info, void *context) {
    const int kept = errno;
    if (info->si_code > 0 && replace((uintptr_t)info->si_addr)) { /* 0 and less: sent by a process */
        errno = kept;
        return;
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    } else {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = kept;
}

GLIA_API void glia_catch_sigbus(void) {
    struct sigaction old, action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_RESTART};
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, NULL, &old) != 0 || old.sa_sigaction == on_bus) return;
    before = old;
    sigaction(SIGBUS, &action, NULL);
}
