/* heads.h - what the methods with a trained head have in common.
 *
 * A head learns the target's states right after each step, and keeps the last row of each
 * sequence. A proposal begins with this row and grows level by level; the rows of all
 * sequences go through the head together. */
#ifndef GLIA_DRAFT_HEADS_H
#define GLIA_DRAFT_HEADS_H

#include "draft/draft.h"
#include "draft/grow.h"
#include "draft/net.h"

/* glia_draft_model.own */
typedef struct {
    glia_head *head;
    glia_tree_shape shape; /* a chain is a static tree */
    glia_net_size size;
    int picks; /* most tokens that are taken after one row */
} glia_head_model;

/* A row of the head: a token, where it is, and the row of its parent in the tree, or -1. */
typedef struct {
    int32_t token, seq, position, slot, parent;
} glia_head_row;

enum { GLIA_HEAD_KEPT = 16 };

/* Rows of a sequence that the head has not run yet: those of positions from .. from + n - 1. */
typedef struct {
    uint64_t id;
    int from, n;
    int32_t token[GLIA_HEAD_KEPT];
} glia_head_kept;

/* glia_draft.own */
typedef struct {
    const glia_head_model *model;
    glia_draft *draft;
    glia_net net;
    glia_plan plan;
    /* By slot: the last row that was learned, and which sequence and position it is of. */
    float *root; /* [batch, net.ld] */
    uint64_t *root_id;
    int *root_at;         /* the position after the row's token; 0: none */
    glia_head_kept *kept; /* [batch] */
    float *kept_states;   /* [batch, GLIA_HEAD_KEPT, glia_heads_kept_floats()] */
    glia_grow *grow;      /* [batch] by number of the sequence in a call */
    /* Rows that were run for the trees, then those of the next call, which begin at number n_past. */
    glia_head_row *row; /* [most] */
    int most, n, n_past;
    int *used; /* [batch] rows of each sequence among them */
    /* The next call: its rows and, behind them, the rows that were run. */
    int32_t *token, *seq, *position, *slot, *parent, *last, *wanted, *state;
    const float **input;
    /* Tokens after each row. */
    float *whole;          /* [threads, vocabulary of the target] */
    glia_pick *pick;       /* [rows, picks] */
    int *n_picks;          /* [rows] */
    glia_draw *draw;       /* [rows] */
    int32_t *path;         /* [rows, GLIA_TREE_MAX] */
    int32_t *best;         /* [rows, picks] */
    float *score;          /* [rows, picks] */
    float *chance;         /* [rows] DSpark: the logit of the chance of acceptance */
    const glia_pick **ask; /* [rows] */
} glia_head_state;

/* Entries of a method's table. `kind` says which head is read. */
glia_status glia_heads_read(glia_draft_model *m, glia_head_kind kind, glia_err *err);
void glia_heads_plan_weights(const glia_draft_model *m, glia_plan *plan);
glia_status glia_heads_load(glia_draft_model *m, const glia_weights *target, glia_team *team, glia_err *err);
void glia_heads_unload(glia_draft_model *m);
glia_draft_needs glia_heads_needs(const glia_draft_model *m);
void glia_heads_plan(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *plan);
glia_status glia_heads_open(glia_draft *d, glia_err *err);
void glia_heads_close(glia_draft *d);

/* Does the draft use the target's embedding or head? */
bool glia_heads_share(const glia_draft_model *m);

static inline const glia_head *glia_heads_of(const glia_draft_model *m) {
    return ((const glia_head_model *)m->own)->head;
}

/* Forget all rows. */
void glia_heads_clear(glia_head_state *s);
/* Add a row of the next call; returns its number among those of the call. */
int glia_heads_add(glia_head_state *s, glia_head_row row);
/* The next call. Its rows count as run. */
glia_net_batch glia_heads_batch(glia_head_state *s);

/* ---- learning (draft/learn.c) ------------------------------------------------- */

/* How a method learns: a row is the states of a position and the token `ahead` positions on. run() stores
 * the rows of a call; slot[n_last] are the slots of the wanted ones. */
typedef struct {
    int ahead;
    void (*run)(glia_head_state *s, glia_net_batch *b, const int *slot, int n_last);
} glia_head_learning;

/* Floats of a kept row. */
size_t glia_heads_kept_floats(const glia_head_config *c);
/* Take the states of a step: run them, or keep them for later. */
void glia_heads_learn(glia_head_state *s, const glia_head_learning *how, const glia_draft_seq *seq, int n);
/* Run all rows that are kept. */
void glia_heads_run_kept(glia_head_state *s, const glia_head_learning *how);

/* ---- proposing ---------------------------------------------------------------- */

/* Find the likeliest tokens after rows [first, first + n) of logits: s->pick and s->n_picks. s->draw[i] is
 * the draw that follows row i. Errors: GLIA_ERR_FORMAT the logits are not all numbers. */
glia_status glia_heads_pick(glia_head_state *s, int first, int n, int picks, glia_err *err);

/* Begin the trees of seq [n] whose last row is known; others get none. */
void glia_heads_begin(glia_head_state *s, const glia_draft_seq *seq, int n);
void glia_heads_finish(glia_head_state *s, glia_draft_seq *seq, int n);
/* The draw after candidate `c` of a tree (-1: after the root), the path in s->path of row i. */
void glia_heads_draw(glia_head_state *s, int i, const glia_draft_seq *seq, const glia_grow *g, int c);

extern const glia_draft_method glia_draft_eagle, glia_draft_eagle3, glia_draft_medusa, glia_draft_dflash,
    glia_draft_dspark;

#endif
