/* gate.c - where the threads of ranks meet.
 *
 * The threads of a rank count themselves in; the last one sets the rank's gate to
 * the number of the meeting, and every thread of every rank waits for the gates
 * of all ranks. So a meeting is one hop, and ranks need not have equal teams. */
#include "comm/impl.h"

/* Gates of a group may lie in memory that processes share; a team's gate does not. */
static bool wait_gate(const glia_comm *c, glia_counter *gate, unsigned meeting, bool processes) {
    const glia_waiting how = {.spins = c->spins, .stop = &c->world->failure->failed, .processes = processes};
    return glia_counter_wait(gate, meeting, &how);
}

bool glia_meet(glia_comm *c, int thread) {
    const unsigned meeting = ++c->arrivals[thread].group;
    const bool processes = c->world->table->mpi;
    if (glia_world_failed(c->world)) return false;
    if (atomic_fetch_add(&c->here, 1) + 1 == meeting * (unsigned)c->threads)
        glia_counter_set(&c->world->gates[c->member[c->rank]]->gate[c->slot], meeting, processes);
    for (int i = 0; i < c->size; i++) {
        const int p = c->member[(c->rank + i) % c->size];
        if (!wait_gate(c, &c->world->gates[p]->gate[c->slot], meeting, processes)) return false;
    }
    return true;
}

bool glia_meet_team(glia_comm *c, int thread) {
    const unsigned meeting = ++c->arrivals[thread].team;
    if (glia_world_failed(c->world)) return false;
    if (atomic_fetch_add(&c->here_team, 1) + 1 == meeting * (unsigned)c->threads)
        glia_counter_set(c->team, meeting, false);
    return wait_gate(c, c->team, meeting, false);
}
