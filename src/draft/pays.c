/* pays.c - see pays.h. */
#include "draft/pays.h"

enum { PATIENCE_LEAST = 16, PATIENCE_MOST = 256 };

static const double fresh = 0.7;     /* the acceptance that a new draft is credited with */
static const double own_rate = 0.15; /* weight of a new observation of a sequence */
static const double all_rate = 0.05; /* of all */
static const double time_rate = 0.2;
static const double row_share = 0.03; /* one more row costs so much of a step until it is measured */

void glia_pays_begin(glia_pays *p) {
    *p = (glia_pays){.patience = PATIENCE_LEAST};
    for (int i = 0; i < GLIA_PAYS_DEPTH; i++) p->all.accepts[i] = fresh;
}

void glia_pays_begin_seq(const glia_pays *p, glia_pays_seq *s, uint64_t id) {
    *s = p->all;
    s->id = id;
}

static void blend(double *average, double x, double rate) {
    *average = *average > 0 ? *average + rate * (x - *average) : x;
}

void glia_pays_step(glia_pays *p, int rows, double seconds) {
    if (rows >= 1 && rows <= GLIA_PAYS_ROWS) blend(&p->step[rows], seconds, time_rate);
}

void glia_pays_level(glia_pays *p, int levels, double seconds) {
    if (levels >= 1) blend(&p->level, seconds / levels, time_rate);
}

static void observe(double *accepts, int depth, int accepted, double rate) {
    for (int i = 0; i < depth && i <= accepted && i < GLIA_PAYS_DEPTH; i++)
        accepts[i] += rate * ((i < accepted) - accepts[i]);
}

void glia_pays_accept(glia_pays *p, glia_pays_seq *s, int depth, int accepted) {
    observe(s->accepts, depth, accepted, own_rate);
    observe(p->all.accepts, depth, accepted, all_rate);
}

/* Seconds of a step of `rows` rows, by the nearest measured numbers of rows; 0: nothing was measured. */
static double cost_of(const glia_pays *p, double rows) {
    int below = rows < GLIA_PAYS_ROWS ? (int)rows : GLIA_PAYS_ROWS, above = below + 1;
    while (below > 0 && !(p->step[below] > 0)) below--;
    while (above <= GLIA_PAYS_ROWS && !(p->step[above] > 0)) above++;
    if (below > 0 && above <= GLIA_PAYS_ROWS)
        return p->step[below] + (p->step[above] - p->step[below]) * (rows - below) / (above - below);
    if (below > 0) return p->step[below] * (1 + row_share * (rows - below));
    return above <= GLIA_PAYS_ROWS ? p->step[above] : 0;
}

/* Expected tokens of a step if `depth` are proposed to each sequence. */
static double tokens_of(const glia_pays_seq *const *seq, int n, int depth) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double chance = 1;
        sum += 1;
        for (int k = 0; k < depth && k < GLIA_PAYS_DEPTH; k++) sum += chance *= seq[i]->accepts[k];
    }
    return sum;
}

int glia_pays_choose(glia_pays *p, const glia_pays_seq *const *seq, int n, int least, int most, double rows) {
    const double plain = cost_of(p, n);
    int best = 0;
    if (!(plain > 0) || most < least) return 0; /* the first steps measure what a step costs without drafts */
    double rate = n / plain;
    for (int d = least; d <= most; d++) {
        const double seconds = cost_of(p, n + n * d * rows) + d * p->level;
        const double this = tokens_of(seq, n, d) / seconds;
        if (this <= rate) continue;
        rate = this;
        best = d;
    }
    if (best) {
        p->rested = 0;
        p->patience = PATIENCE_LEAST;
        return best;
    }
    if (++p->rested < p->patience) return 0;
    p->rested = 0;
    p->patience = p->patience < PATIENCE_MOST ? 2 * p->patience : PATIENCE_MOST;
    return least;
}
