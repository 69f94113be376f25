/* gate.c - where the threads of ranks meet: spin, yield, then sleep on a futex.
 *
 * A rank's threads count themselves in; the last one publishes the number of
 * the meeting in the rank's gate, which every thread of every rank watches. So a
 * meeting is one hop, and ranks need not have equal teams. Who sleeps wakes
 * every 20 ms to see whether a rank has failed. */
#define _GNU_SOURCE
#include "comm/impl.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { YIELDS = 50, SLEEP_NS = 20 * 1000 * 1000 };

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Numbers wrap; two ranks are never more than one meeting apart. */
static bool reached(glia_gate *g, unsigned meeting) {
    return (int)(atomic_load_explicit(&g->meetings, memory_order_acquire) - meeting) >= 0;
}

static void open_gate(glia_gate *g, unsigned meeting) {
    atomic_store(&g->meetings, meeting);
    if (atomic_load(&g->sleepers) > 0) syscall(SYS_futex, &g->meetings, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool wait_gate(const glia_comm *c, glia_gate *g, unsigned meeting) {
    for (int i = 0; i < c->spins; i++) {
        if (reached(g, meeting)) return true;
        pause_cpu();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (reached(g, meeting)) return true;
        if (glia_world_failed(c->world)) return false;
        sched_yield();
    }
    const struct timespec nap = {.tv_nsec = SLEEP_NS};
    atomic_fetch_add(&g->sleepers, 1);
    bool there;
    while (!(there = reached(g, meeting)) && !glia_world_failed(c->world))
        syscall(SYS_futex, &g->meetings, FUTEX_WAIT, meeting - 1, &nap, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
    return there;
}

bool glia_meet(glia_comm *c, int thread) {
    const unsigned meeting = ++c->turn[thread].group;
    if (glia_world_failed(c->world)) return false;
    if (atomic_fetch_add(&c->here, 1) + 1 == meeting * (unsigned)c->threads)
        open_gate(&c->world->gates[c->member[c->rank]]->gate[c->slot], meeting);
    for (int i = 0; i < c->size; i++) {
        const int p = c->member[(c->rank + i) % c->size];
        if (!wait_gate(c, &c->world->gates[p]->gate[c->slot], meeting)) return false;
    }
    return true;
}

bool glia_meet_team(glia_comm *c, int thread) {
    const unsigned meeting = ++c->turn[thread].team;
    if (glia_world_failed(c->world)) return false;
    if (atomic_fetch_add(&c->here_team, 1) + 1 == meeting * (unsigned)c->threads) open_gate(c->team, meeting);
    return wait_gate(c, c->team, meeting);
}
