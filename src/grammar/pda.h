/* pda.h - the automaton of a grammar over bytes, built as far as text visits it.
 *
 * A thread is an expression that reads text now and a stack of what follows it. A state is a set
 * of threads: all ways in which the grammar can have read the text so far. Stacks and states are
 * interned, so a place that is met again is the same state, with its transitions and its mask.
 * One thread at a time. Failures are sticky in the pool of expressions (rx.h). */
#ifndef GLIA_GRAMMAR_PDA_H
#define GLIA_GRAMMAR_PDA_H

#include "grammar/cfg.h"

typedef uint32_t glia_pda_state;
enum { GLIA_PDA_DEAD }; /* no text follows, and the text so far is none */

typedef struct {
    glia_rx rx;
    uint32_t frame;
} glia_pda_thread;

typedef struct {
    uint32_t node, parent;
    uint64_t param;  /* what the node has read so far */
    uint32_t follow; /* the state after this frame is resumed, + 1; 0: not known yet */
} glia_pda_frame;

typedef struct {
    uint32_t first, n; /* threads */
    bool accepts;      /* the text so far is a string of the grammar */
    uint32_t mask;     /* of grammar.c: a ready mask, + 1 */
    uint32_t *row;     /* [classes] next state; GLIA_PDA_UNKNOWN; or NULL */
} glia_pda_entry;
#define GLIA_PDA_UNKNOWN UINT32_MAX

typedef struct {
    uint32_t node, frame; /* node 0: resume the frame; else enter the node, then resume it */
} glia_pda_work;

typedef struct {
    const glia_cfg *cfg;
    glia_rx_pool *rx;
    const unsigned char *class_of; /* [256] */
    int n_classes;
    glia_vec frames, states, threads; /* glia_pda_frame, glia_pda_entry, glia_pda_thread */
    glia_table frame_table, state_table;
    glia_vec work, found; /* of the closure that is being computed: glia_pda_work, glia_pda_thread */
    glia_table seen;
    glia_vec seen_list;
    bool found_end;
    size_t row_bytes;
} glia_pda;

/* `cfg` is finished and must outlive *a. False without memory. */
bool glia_pda_init(glia_pda *a, const glia_cfg *cfg);
void glia_pda_free(glia_pda *a);
size_t glia_pda_bytes(const glia_pda *a);

/* The state before any text of the node. */
glia_pda_state glia_pda_start(glia_pda *a, glia_node node);
/* The state of some threads; the text so far is none. */
glia_pda_state glia_pda_state_of(glia_pda *a, const glia_pda_thread *threads, size_t n);
/* The state after one more byte. */
glia_pda_state glia_pda_step(glia_pda *a, glia_pda_state s, unsigned char byte);
/* The state after the thread's expression has ended. */
glia_pda_state glia_pda_follow(glia_pda *a, uint32_t frame);

static inline glia_pda_entry *glia_pda_at(const glia_pda *a, glia_pda_state s) {
    return (glia_pda_entry *)a->states.data + s;
}

#endif
