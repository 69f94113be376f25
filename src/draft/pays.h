/* pays.h - how many tokens to propose, by what it costs and what it brings. Pure: the
 * caller measures, and no function reads a clock.
 *
 * Costs: of a step by its rows, of a level of a proposal by the number of sequences, and of
 * a row that the draft catches up with. What is not measured yet is estimated from its
 * neighbours, or from the draft's share of the target's weights. Acceptance: how often the
 * token at each depth is accepted if the one before was, per sequence and per grade of the
 * proposal, a moving average that begins with what is known of all sequences. The grade says
 * how sure the draft is; many drafts have one grade.
 *
 * Before each step the depth of each sequence is chosen for the most expected tokens per
 * second of the whole batch; 0 is a choice. A chain whose draft is unsure of a token ends there, if
 * a longer one would not pay; the lead of a token says how sure the draft is. Now and then a proposal is one
 * token longer than that, since only a proposal shows what its depth costs and brings. Three rules bound what
 * a wrong choice costs. An account holds what drafts have gained and lost; it allows a few steps and 0.8
 * percent of the time, and gains beyond a few steps are not saved up. While it is overdrawn, the draft rests.
 * A draft that does not pay is asked again at growing intervals, if the account covers it. In a batch the
 * draft wakes for one sequence, then for twice as many each time, and what catching up cost must be gained
 * back before more of it is believed to pay. */
#ifndef GLIA_DRAFT_PAYS_H
#define GLIA_DRAFT_PAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "draft/tree.h"

enum { GLIA_PAYS_DEPTH = 32, GLIA_PAYS_ROWS = 512, GLIA_PAYS_CLASSES = 10, GLIA_PAYS_GRADES = 6 };

/* What is known of one sequence's proposals of one grade. */
typedef struct {
    uint64_t id;
    int grade;
    double hits[GLIA_PAYS_DEPTH];   /* tokens at depth i + 1 that were accepted, older ones weigh less */
    double seen[GLIA_PAYS_DEPTH];   /* of so many whose predecessor was accepted */
    double chance[GLIA_PAYS_DEPTH]; /* estimate of glia_pays_choose(): the first i + 1 tokens are accepted */
} glia_pays_seq;

/* A sequence that may have drafts in the coming step. */
typedef struct {
    glia_pays_seq *known;
    int room;   /* the most tokens of a path, at least 1 */
    int behind; /* tokens that the draft must run before it can propose */
    int left;   /* tokens that the answer may still get */
    int place;  /* glia_pays_choose()'s own: in the order of preference */
    int depth;  /* out: 0 .. room */
} glia_pays_ask;

typedef struct {
    double step[GLIA_PAYS_ROWS + 1]; /* seconds of a step of so many rows; 0: not measured */
    int most_rows;                   /* the most rows of a measured step */
    double level[GLIA_PAYS_CLASSES]; /* seconds of a level for up to 2^i sequences; 0: not measured */
    double prompt_row, catch_up_row; /* seconds of a prompt row, and of a row of catching up; 0: as above */
    double share;                    /* the draft's weights relative to the target's */
    bool stops;                      /* chains end early, by their leads */
    bool at_once;                    /* a proposal of any depth costs what one level costs */
    int nodes[GLIA_PAYS_DEPTH + 1];  /* of a proposal of i levels, besides the root */
    glia_pays_seq all[GLIA_PAYS_GRADES];                 /* of all sequences: what a new one begins with */
    double lead_hits[GLIA_LEADS], lead_seen[GLIA_LEADS]; /* as of a sequence: tokens by their lead */
    double lead_chance[GLIA_LEADS];                      /* that they are accepted if those before are */
    double least; /* out of glia_pays_choose(): where chains end early, as of glia_tree_stop */
    double late_tokens, late_seconds; /* of the last steps with drafts */
    double excess;                    /* how much longer steps take on average than `step` says, relative */
    double balance;                   /* of the account, in seconds */
    double owed;                      /* seconds of catching up that were not gained back */
    int plain, since_plain;           /* steps without drafts; steps with drafts since the last of them */
    uint64_t probed;                  /* the sequence that is asked although it does not pay; 0: none */
    int rested, patience;             /* steps since the draft was asked; after how many to ask again */
    bool hopeless;                    /* at the last choice drafts would not have paid if all were accepted */
    int levels;                       /* of the last proposal that was chosen */
    int deepened, deepen_after;       /* such proposals since one was a level deeper; after how many again */
} glia_pays;

/* The caller sets share, stops, at_once and nodes afterwards. */
void glia_pays_begin(glia_pays *p);
/* Sequence `id` begins: s [GLIA_PAYS_GRADES] is what is known of all. */
void glia_pays_begin_seq(glia_pays *p, glia_pays_seq *s, uint64_t id);

/* A step of `rows` rows took so long. */
void glia_pays_step(glia_pays *p, int rows, double seconds);
/* A step of `rows` rows took so long, most of them of prompts. */
void glia_pays_prompt(glia_pays *p, int rows, double seconds);
/* A proposal of `levels` levels for n sequences took so long; `behind`: rows that it caught up with. Returns
 * the seconds of it that belong to the step that follows. */
double glia_pays_proposal(glia_pays *p, int n, int levels, int behind, double seconds);
/* The first `accepted` of a chain's tokens were accepted, whose leads are lead [depth]. */
void glia_pays_leads(glia_pays *p, const float *lead, int depth, int accepted);
/* Of a proposal of `depth` tokens, `accepted` were accepted. *s: of its sequence and grade. */
void glia_pays_accept(glia_pays *p, glia_pays_seq *s, int depth, int accepted);
/* A step of n sequences, with its proposal, took so long and brought so many tokens. */
void glia_pays_settle(glia_pays *p, int n, bool asked, int tokens, double seconds);

/* Set the depth of ask [n], for a step in which n_all sequences generate. */
void glia_pays_choose(glia_pays *p, glia_pays_ask *ask, int n, int n_all);

/* A draft that is so many tokens behind is asleep: what it costs to catch up is weighed by itself. */
static inline bool glia_pays_asleep(int behind) { return behind > GLIA_PAYS_DEPTH + 1; }

#endif
