/* pays.h - how many tokens to propose, by what it costs and what it brings. Pure.
 *
 * The cost of a step by its rows, and of a level of a proposal, is measured while running.
 * How often the token at each depth is accepted, given that the one before was, is a moving
 * average per sequence. The depth that gives the most expected tokens per second is chosen
 * for all sequences of a step; 0 is a choice. While the draft rests it is asked once in a while,
 * more and more rarely. */
#ifndef GLIA_DRAFT_PAYS_H
#define GLIA_DRAFT_PAYS_H

#include <stdint.h>

enum { GLIA_PAYS_DEPTH = 32, GLIA_PAYS_ROWS = 512 };

/* What is known of one sequence. */
typedef struct {
    uint64_t id;
    double accepts[GLIA_PAYS_DEPTH]; /* the share of tokens at depth i + 1 that are accepted if those before
                                        are */
} glia_pays_seq;

typedef struct {
    double step[GLIA_PAYS_ROWS + 1]; /* seconds of a step of so many rows; 0: not measured */
    double level;                    /* seconds of one level of a proposal; 0: not measured */
    glia_pays_seq all;               /* of all sequences: what a new one begins with */
    int rested, patience;            /* steps without a proposal; after how many to ask again */
} glia_pays;

void glia_pays_begin(glia_pays *p);
/* Sequence `id` begins: *s is what is known of all. */
void glia_pays_begin_seq(const glia_pays *p, glia_pays_seq *s, uint64_t id);

/* A step of `rows` rows took so long; a proposal of `levels` levels took so long. */
void glia_pays_step(glia_pays *p, int rows, double seconds);
void glia_pays_level(glia_pays *p, int levels, double seconds);
/* Of a proposal of `depth` tokens, `accepted` were accepted. */
void glia_pays_accept(glia_pays *p, glia_pays_seq *s, int depth, int accepted);

/* The depth that pays for seq [n], of `least` (at least 1) to `most`, or 0. One more level of a sequence is
 * `rows` more rows of the step. */
int glia_pays_choose(glia_pays *p, const glia_pays_seq *const *seq, int n, int least, int most, double rows);

#endif
