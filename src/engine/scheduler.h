/* scheduler.h - which rows the next step computes. Pure: no tensor, no clock.
 *
 * Continuous batching: every step carries one row of each sequence that
 * generates, then pieces of prompts up to the chunk size, oldest first. Waiting
 * sequences enter in order, when a slot and all the blocks they can ever need
 * are there, so none is ever put back. What a step holds changes no token
 * (DESIGN 1.1), so this file is about time alone. */
#ifndef GLIA_ENGINE_SCHEDULER_H
#define GLIA_ENGINE_SCHEDULER_H

#include "engine/blocks.h"

typedef struct glia_seq {
    int32_t *tokens; /* [max_tokens] prompt, then output */
    int n_prompt, n_tokens, max_tokens;
    int n_computed; /* tokens whose keys and values are in the cache */
    int n_cached;   /* of them, found there at admission */
    int rows;       /* of the coming step: tokens n_computed ... */
    int n_drafts;   /* guesses tokens[n_tokens ...] that the last so many of these rows verify */
    int slot;       /* of the running; -1: waiting */
    glia_block_list blocks;
    struct glia_seq *next; /* in the queue */
} glia_seq;

typedef struct {
    glia_blocks *blocks;
    int batch, chunk;       /* running sequences, and prompt rows of a step, at most */
    int32_t *table;         /* [batch, max_blocks] */
    int max_blocks;         /* of one sequence */
    int n_running;          /* in order of admission */
    glia_seq **running;     /* [batch] */
    unsigned char *taken;   /* [batch] slots */
    glia_seq *first, *last; /* the queue */
} glia_scheduler;

/* Queue a sequence: tokens, n_prompt = n_tokens >= 1, max_tokens > n_prompt and
 * blocks.salt set. It stays the caller's, and must live until it is removed. */
void glia_scheduler_add(glia_scheduler *s, glia_seq *seq);
/* Take it out, running or waiting, and give its blocks back. */
void glia_scheduler_remove(glia_scheduler *s, glia_seq *seq);
/* Admit who can enter and set `rows` of every running sequence, with blocks for
 * them; returns their sum, at most batch + chunk + all n_drafts. 0 only when none is
 * left. n_drafts may be set before, of a running sequence with one token to compute:
 * up to max_tokens - 1 - n_tokens. */
int glia_scheduler_plan(glia_scheduler *s);
/* The planned rows were computed. Draft rows do not count until they are accepted. */
void glia_scheduler_advance(glia_scheduler *s);
/* After advance and n_tokens++: the token that was delivered equals the draft of the
 * next row, so that row counts as computed. */
void glia_scheduler_accept(glia_scheduler *s, glia_seq *seq);

/* How many of the planned rows draw the token that follows them: the row of the last token and those of
 * drafts, none while the prompt goes on. */
static inline int glia_seq_draws(const glia_seq *seq) {
    return seq->rows > 0 && seq->n_computed + seq->rows == seq->n_tokens + seq->n_drafts ? 1 + seq->n_drafts
                                                                                         : 0;
}

#endif
