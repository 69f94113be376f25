/* drafts.h - speculation as the leader sees it: whom to ask for drafts and for how
 * many, what the draft learns, and what became of its proposals. */
#ifndef GLIA_ENGINE_DRAFTS_H
#define GLIA_ENGINE_DRAFTS_H

#include "draft/draft.h"
#include "draft/pays.h"
#include "engine/limits.h"
#include "engine/request.h"

/* The rows of one sequence in a step, and what was drawn from them. */
typedef struct {
    glia_request *request; /* until it ends */
    uint64_t id;           /* of the request */
    int slot;
    int row, n_rows;       /* of the batch */
    int from;              /* the position of the first row */
    const glia_tree *tree; /* the rows are its nodes; NULL: rows without drafts */
    int logits, n_logits;  /* rows of logits: of each node, or of the last row, or none */
    int scored, n_scored;  /* rows of logits before these: of prompt rows that are wanted */
    glia_drawn *score;     /* [n_scored] the prompt token after each of them */
    int hidden;            /* row of hidden states of the last row; -1: not wanted */
    int node;              /* whose row is drawn next; -1: nothing is left to draw */
    bool whole;            /* this row of logits was gathered */
    glia_drawn *drawn;     /* [n_drawn] along the path of accepted nodes */
    int n_drawn;
    int n_delivered; /* drawn tokens that became part of the answer */
} glia_segment;

/* When the draft was asked last for the sequence of a slot. */
typedef struct {
    uint64_t id;
    int n_tokens; /* it had then */
} glia_asked;

typedef struct {
    const glia_draft_model *model; /* NULL: no speculation */
    glia_draft draft;
    glia_engine_limits limits;
    glia_tree *tree;               /* [batch] of each slot */
    glia_draft_seq *seq;           /* [batch] */
    int32_t *state;                /* [rows of a step] */
    glia_draft_proposal *proposal; /* [batch] */
    glia_draft_trace_fn *trace;    /* may be NULL; with it, ask for all that the configuration says */
    void *trace_user;
    bool over; /* the draft failed */
    glia_pays pays;
    glia_pays_seq *known; /* [batch, GLIA_PAYS_GRADES] of each slot */
    int *grade;           /* [batch] of each slot: of the coming proposal; -1: none comes */
    glia_asked *asked;    /* [batch] of each slot */
    glia_pays_ask *ask;   /* [batch] */
    double spent;         /* seconds of the proposal of this step, then of the whole step; < 0: not timed */
    glia_draft_counts counts;
    uint64_t round;
} glia_drafts;

/* d->draft is open: begin to weigh what it costs. */
void glia_drafts_begin(glia_drafts *d);
/* Leave room for drafts in each running sequence that generates, ask the draft, and set n_drafts and n_away.
 * On an error of the draft no sequence has drafts, now and later. */
glia_status glia_drafts_propose(glia_drafts *d, glia_scheduler *s, glia_err *err);
/* Tell the draft what the step computed. segment [n]: of all sequences of the step, drawn. */
glia_status glia_drafts_learn(glia_drafts *d, const glia_segment *segment, int n, glia_err *err);
/* The rows of a step took so long. */
void glia_drafts_time(glia_drafts *d, const glia_segment *segment, int n, double seconds);
/* Count and trace the drafts of a step, once its tokens are delivered. */
void glia_drafts_count(glia_drafts *d, const glia_segment *segment, int n);

/* The number of leading nodes, the root included, that form a chain: their keys and values are stored at
 * their positions. The row of a later node i is stored in slot i - 1 of the sequence's tree blocks. */
int glia_drafts_chain(const glia_tree *t);

#endif
