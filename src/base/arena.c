/* arena.c - see arena.h. */
#define _GNU_SOURCE
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Thread_local int glia_guard_depth;

int glia_plan_add(glia_plan *p, const char *name, size_t count, size_t size) {
    assert(!p->base);
    if (p->n == GLIA_PLAN_MAX || (size && count > (SIZE_MAX / 2 - p->bytes) / size)) {
        p->overflow = true;
        return 0;
    }
    const size_t bytes = (count * size + GLIA_ALIGN - 1) / GLIA_ALIGN * GLIA_ALIGN;
    p->region[p->n] = (glia_region){name, bytes, p->bytes};
    p->bytes += bytes;
    return p->n++;
}

/* The number of bytes in a one-line cgroup file; SIZE_MAX for "max" or without the file. */
static size_t read_limit(const char *path) {
    unsigned long long v = 0;
    FILE *f = fopen(path, "re");
    if (!f) return SIZE_MAX;
    const int n = fscanf(f, "%llu", &v);
    fclose(f);
    return n == 1 ? (size_t)v : SIZE_MAX;
}

size_t glia_memory_available(void) {
    size_t available = SIZE_MAX;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    if (f) {
        unsigned long long kib;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) available = (size_t)kib * 1024;
        fclose(f);
    }
    const size_t limit = read_limit("/sys/fs/cgroup/memory.max");
    const size_t used = read_limit("/sys/fs/cgroup/memory.current");
    if (limit != SIZE_MAX && used != SIZE_MAX) {
        const size_t room = limit > used ? limit - used : 0;
        if (room < available) available = room;
    }
    return available;
}

glia_status glia_plan_map(glia_plan *p, const char *what, glia_err *err) {
    if (p->overflow)
        return glia_fail(err, GLIA_ERR_NOMEM, "%s: the memory plan is larger than can be addressed", what);
    const size_t available = glia_memory_available();
    if (p->bytes > available)
        return glia_fail(err, GLIA_ERR_NOMEM, "%s need %.2f GiB, this machine has %.2f GiB available", what,
                         (double)p->bytes / 0x1p30, (double)available / 0x1p30);
    void *base = mmap(NULL, p->bytes ? p->bytes : 1, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return glia_fail_nomem(err, p->bytes, what);
    madvise(base, p->bytes, MADV_HUGEPAGE); /* a hint; refusal is harmless */
    p->base = base;
    return GLIA_OK;
}

void glia_plan_unmap(glia_plan *p) {
    if (p->base) munmap(p->base, p->bytes ? p->bytes : 1);
    memset(p, 0, sizeof *p);
}

void *glia_plan_at(const glia_plan *p, int i) {
    assert(p->base && i >= 0 && i < p->n);
    return p->base + p->region[i].offset;
}
