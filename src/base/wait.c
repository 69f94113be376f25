/* wait.c - see wait.h. */
#define _GNU_SOURCE
#include "base/wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { YIELDS = 50, SLEEP_NS = 20 * 1000 * 1000 };

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static bool reached(const glia_counter *c, unsigned count) {
    return (int)(atomic_load_explicit(&c->count, memory_order_acquire) - count) >= 0;
}

static bool stopped(const glia_waiting *how) {
    return how->stop && atomic_load_explicit(how->stop, memory_order_acquire) != 0;
}

static void futex(glia_counter *c, int operation, bool processes, unsigned value,
                  const struct timespec *limit) {
    syscall(SYS_futex, &c->count, operation | (processes ? 0 : FUTEX_PRIVATE_FLAG), value, limit, NULL, 0);
}

void glia_counter_set(glia_counter *c, unsigned count, bool processes) {
    atomic_store(&c->count, count);
    if (atomic_load(&c->sleepers) > 0) futex(c, FUTEX_WAKE, processes, INT_MAX, NULL);
}

static bool sleep_until(glia_counter *c, unsigned count, const glia_waiting *how) {
    const struct timespec nap = {.tv_nsec = SLEEP_NS};
    bool there;
    atomic_fetch_add(&c->sleepers, 1);
    for (;;) {
        const unsigned now = atomic_load(&c->count);
        there = (int)(now - count) >= 0;
        if (there || stopped(how)) break;
        futex(c, FUTEX_WAIT, how->processes, now, how->stop ? &nap : NULL);
    }
    atomic_fetch_sub(&c->sleepers, 1);
    return there;
}

bool glia_counter_wait(glia_counter *c, unsigned count, const glia_waiting *how) {
    for (int i = 0; i < how->spins; i++) {
        if (reached(c, count)) return true;
        pause_cpu();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (reached(c, count)) return true;
        if (stopped(how)) return false;
        sched_yield();
    }
    return sleep_until(c, count, how);
}
