/* scheduler.h - which rows the next step computes. Pure: no tensor, no clock.
 *
 * Continuous batching: every step has one row of each sequence that generates,
 * the rows of its drafts, and then prompt rows up to the chunk size, oldest
 * sequence first. While sequences generate, a step has only as many prompt rows as the
 * pace (pace.h) allows. Of the waiting sequences the one of the lowest priority number is
 * admitted first; of those, the one whose client has the fewest running sequences; of
 * those, the oldest. It needs a slot, the blocks of its tokens and one more.
 *
 * If the cache has no block left for a running sequence, the one of the highest
 * priority number, of those the youngest, is preempted: it loses its blocks, waits
 * again, and is computed anew, except for what the prefix cache still has. The schedule
 * changes no token, only when a token is computed (README.md, promise 1).
 *
 * A sequence with an adapter also waits for a place of the adapter (places.h). Meanwhile
 * only sequences without an adapter are admitted before it, so the places empty. */
#ifndef GLIA_ENGINE_SCHEDULER_H
#define GLIA_ENGINE_SCHEDULER_H

#include "engine/blocks.h"
#include "engine/pace.h"
#include "engine/places.h"

typedef struct glia_seq {
    int32_t *tokens; /* [max_tokens] prompt, then output */
    int n_prompt, n_tokens, max_tokens;
    int n_computed; /* tokens whose keys and values are in the cache */
    int n_cached;   /* tokens that were in the cache at admission */
    int rows;       /* rows of the coming step: tokens[n_computed ...] */
    int n_drafts;   /* drafts; the last n_drafts rows verify them */
    int n_away;  /* of these rows, those that need no slot after the sequence's tokens: siblings in a tree */
    bool scored; /* the logits of all its prompt rows are wanted, so it reads no cached blocks */
    int slot;    /* index among the running sequences; -1: waiting */
    int adapter; /* 1 + the place of the adapter blocks.salt while the sequence runs; 0: no adapter */
    int64_t priority;
    uint64_t client;   /* 0: of no client, as if it had none running */
    uint64_t arrival;  /* the scheduler's: counts the sequences */
    int n_preempted;   /* after rows of it were computed */
    uint64_t chain[2]; /* the key of the first n_chained blocks of tokens (engine/store.h) */
    int n_chained;
    glia_block_list blocks;
    struct glia_seq *next; /* in the queue */
} glia_seq;

/* Put the keys and values of the sequence's next block into it, which has been allocated: positions
 * [n_computed, n_computed + block_size). Returns false if they are not known. */
typedef bool glia_fetch_fn(void *user, glia_seq *seq);

typedef struct {
    glia_blocks *blocks;
    glia_fetch_fn *fetch; /* NULL: none */
    void *fetch_user;
    int batch, chunk; /* limits: running sequences, prompt rows of a step */
    int scored;       /* limit: prompt rows of a step whose logits are wanted */
    glia_pace pace;   /* limit: time of a step in which sequences generate */
    int positions;    /* of a sequence */
    int ahead;        /* positions that drafts may use after those that a sequence needs */
    int32_t *table;   /* [batch, max_blocks] */
    int max_blocks;   /* blocks of one sequence */
    int n_running;
    glia_seq **running;     /* [batch] in order of admission */
    unsigned char *taken;   /* [batch] is the slot in use? */
    glia_seq *first, *last; /* the queue */
    uint64_t n_added, n_preempted, n_waiting;
    glia_places places;
} glia_scheduler;

/* Queue a sequence: tokens, n_prompt = n_tokens >= 1, max_tokens > n_prompt, priority, client, blocks.tenant
 * and blocks.salt set, the number of its adapter or 0. The sequence stays the caller's and must live until it
 * is removed. */
void glia_scheduler_add(glia_scheduler *s, glia_seq *seq);
/* Remove a sequence, running or waiting, and release its blocks. */
void glia_scheduler_remove(glia_scheduler *s, glia_seq *seq);
/* Admit sequences, and set `rows` of every running sequence and allocate blocks for
 * these rows, preempting others if there are too few. Returns the sum of all rows, at most batch + chunk +
 * all n_drafts; 0 only if no sequence is left. Before the call n_drafts and n_away may be set for a running
 * sequence that has one token to compute; n_tokens + n_drafts - n_away is at most glia_scheduler_reach(). */
int glia_scheduler_plan(glia_scheduler *s);
/* The positions that a sequence may use. */
int glia_scheduler_reach(const glia_scheduler *s, const glia_seq *seq);
/* Allocate the blocks of the first `positions` positions, at most glia_scheduler_reach(), of a running
 * sequence. Returns false if there are too few.
 */
bool glia_scheduler_reserve(glia_scheduler *s, glia_seq *seq, int positions);
/* Before glia_scheduler_advance(): the planned rows took so long. */
void glia_scheduler_time(glia_scheduler *s, double seconds);
/* The planned rows are computed. Draft rows count as computed only once they are accepted. */
void glia_scheduler_advance(glia_scheduler *s);
/* The token that was delivered last (n_tokens was incremented) equals a draft whose row was computed, and
 * whose key and value are at its position, or will be before the next step. */
void glia_scheduler_accept(glia_scheduler *s, glia_seq *seq);

/* How many of the planned rows are prompt rows whose logits are wanted, apart from one that draws. */
static inline int glia_seq_scores(const glia_seq *seq) {
    if (!seq->scored || seq->n_tokens > seq->n_prompt) return 0;
    return seq->rows - (seq->rows > 0 && seq->n_computed + seq->rows == seq->n_tokens);
}

/* How many of the planned rows draw a token: the row of the last token and the rows of drafts; none while
 * more of the prompt follows. */
static inline int glia_seq_draws(const glia_seq *seq) {
    return seq->rows > 0 && seq->n_computed + seq->rows == seq->n_tokens + seq->n_drafts ? 1 + seq->n_drafts
                                                                                         : 0;
}

#endif
