/* pays.c - see pays.h. */
#include "draft/pays.h"

#include <math.h>

enum {
    SCOUTED = 4,
    SLOPE_ROWS = 4,
    QUARTERS = 4, /* drafts for so many quarters of the sequences are weighed */
    PATIENCE_LEAST = 16,
    PATIENCE_MOST = 256,
    PLAIN_FIRST = 2,
    PLAIN_EVERY = 64,
    STOP_AHEAD = 2, /* levels that a chain may have more than pay on average */
    DEEPEN_LEAST = 4,
    DEEPEN_MOST = 64,
    LEFT_MOST = 128
};

static const double fresh = 0.6;        /* the acceptance that a new draft is credited with, */
static const double fresh_grade = 0.08; /* and so much more for each grade */
static const double fresh_lead[GLIA_LEADS] = {0.45, 0.6, 0.72, 0.82, 0.9, 0.95, 0.975, 0.985};
static const double prior_weight = 4;                 /* as if it had been observed so often */
static const double own_keep = 0.95, all_keep = 0.99; /* what an observation leaves of older ones */
static const double new_keep = 0.9;                   /* what a new sequence leaves of what is known of all */
static const double first_level_most = 4; /* of what is guessed: a first time may be a disturbance */
static const double relax = 0.003;        /* how fast costs that are not measured anew are forgotten */
static const double rest_keep = 0.5;      /* what a rest leaves of what is known of a sequence */
static const double late_keep = 0.9;      /* what a step leaves of the tokens and the time of those before */
static const double accept_most = 0.98;
static const double margin = 1.03;    /* drafts must promise more than this, relative to none */
static const double row_share = 0.03; /* one more row costs so much of a step until it is measured */
static const double credit_steps = 2.5,
                    overdraft_steps = 0.75; /* limits of the account, in steps without drafts */
static const double wake_steps = 1.5;       /* what catching up leaves of the account */
static const double allowance = 0.008;      /* what drafts may lose of all time */
static const double forgiven = 0.005; /* share of all time by which what catching up cost is forgotten */

/* ---- costs ---------------------------------------------------------------------- */

/* Disturbances only add time, so a shorter time counts more than a longer one. */
static void observe(double *average, double x) {
    if (*average == 0)
        *average = x;
    else if (x < *average)
        *average += 0.5 * (x - *average);
    else
        *average += 0.1 * ((x < 2 * *average ? x : 2 * *average) - *average);
}

/* Seconds of one more row than the most that were measured: a guess, corrected by the last slope, which is
 * the less certain the nearer its two ends are. */
static double more_rows(const glia_pays *p, int most) {
    const double guess = row_share * p->step[most];
    int before = most - 1;
    while (before > 0 && !(p->step[before] > 0)) before--;
    if (before < 1) return guess;
    const double slope = (p->step[most] - p->step[before]) / (most - before);
    const double trust = (double)(most - before) / (most - before + SLOPE_ROWS);
    return guess + trust * ((slope > 0 ? slope : 0) - guess);
}

/* Seconds of a step of `rows` rows, by the nearest measured numbers of rows; 0: nothing was measured. */
static double cost_of(const glia_pays *p, int rows) {
    int below = rows < p->most_rows ? rows : p->most_rows, above = below + 1;
    while (below > 0 && !(p->step[below] > 0)) below--;
    while (above <= p->most_rows && !(p->step[above] > 0)) above++;
    if (below > 0 && above <= p->most_rows)
        return p->step[below] + (p->step[above] - p->step[below]) * (rows - below) / (above - below);
    if (below > 0) return p->step[below] + (rows - below) * more_rows(p, below);
    return above <= p->most_rows ? p->step[above] : 0;
}

/* All costs drift with the length of the contexts and with the load of the machine: what one step shows is
 * true, in part, of steps with other numbers of rows. */
static void drift(glia_pays *p, int rows, double seconds) {
    const double expected = cost_of(p, rows), ratio = expected > 0 ? seconds / expected : 1;
    const double change = (ratio < 0.5 ? 0.5 : ratio > 2 ? 2 : ratio) - 1, factor = 1 + 0.05 * change;
    p->excess += 0.05 * (change - p->excess);
    for (int i = 1; i <= p->most_rows; i++)
        if (i != rows) p->step[i] *= factor;
}

void glia_pays_step(glia_pays *p, int rows, double seconds) {
    if (rows < 1 || rows > GLIA_PAYS_ROWS) return;
    drift(p, rows, seconds);
    observe(&p->step[rows], seconds);
    if (rows > p->most_rows) p->most_rows = rows;
}

void glia_pays_prompt(glia_pays *p, int rows, double seconds) {
    if (rows > 0) observe(&p->prompt_row, seconds / rows);
}

static int class_of(int n) {
    int c = 0;
    while ((1 << c) < n && c + 1 < GLIA_PAYS_CLASSES) c++;
    return c;
}

/* Seconds of one level of a proposal for n sequences. */
static double level_of(const glia_pays *p, int n) {
    const int class = class_of(n);
    if (p->level[class] > 0) return p->level[class];
    for (int c = class - 1; c >= 0; c--)
        if (p->level[c] > 0) return p->level[c];
    return p->share * cost_of(p, n);
}

static double proposal_of(const glia_pays *p, int n, int levels) {
    return level_of(p, n) * (p->at_once ? 1 : levels);
}

static double catch_up_of(const glia_pays *p, int behind) {
    return behind * (p->catch_up_row > 0 ? p->catch_up_row : p->share * p->prompt_row);
}

double glia_pays_proposal(glia_pays *p, int n, int levels, int behind, double seconds) {
    if (n < 1 || levels < 1) return seconds;
    if (!behind) {
        const double most = first_level_most * level_of(p, n), level = seconds / (p->at_once ? 1 : levels);
        double *measured = &p->level[class_of(n)];
        observe(measured, *measured == 0 && most > 0 && level > most ? most : level);
        return seconds;
    }
    const double own = proposal_of(p, n, levels), waking = seconds > own ? seconds - own : 0;
    const double spare = p->balance - wake_steps * cost_of(p, n);
    observe(&p->catch_up_row, waking / behind);
    /* The choice has weighed the waking against what it may gain: it must not overdraw the account. */
    if (spare > 0) p->balance -= waking < spare ? waking : spare;
    p->owed += waking;
    return seconds - waking;
}

/* ---- acceptance ----------------------------------------------------------------- */

/* Estimate the chances of s. Where little was observed, the next depth is as good as the one before, or, of
 * one sequence, relates to it as for all sequences. */
static void estimate(glia_pays_seq *s, const glia_pays_seq *all) {
    double chance = 1, of_all = fresh + fresh_grade * s->grade, before = 1;
    for (int i = 0; i < GLIA_PAYS_DEPTH; i++) {
        const double last = of_all;
        of_all = (all->hits[i] + prior_weight * last) / (all->seen[i] + prior_weight);
        double guess = i ? of_all * before / last : of_all;
        if (guess > accept_most) guess = accept_most;
        before = s == all ? of_all : (s->hits[i] + prior_weight * guess) / (s->seen[i] + prior_weight);
        s->chance[i] = chance *= before < accept_most ? before : accept_most;
    }
}

static void estimate_leads(glia_pays *p) {
    for (int i = 0; i < GLIA_LEADS; i++)
        p->lead_chance[i] =
            (p->lead_hits[i] + prior_weight * fresh_lead[i]) / (p->lead_seen[i] + prior_weight);
}

void glia_pays_begin(glia_pays *p) {
    *p = (glia_pays){.patience = PATIENCE_LEAST};
    for (int i = 0; i <= GLIA_PAYS_DEPTH; i++) p->nodes[i] = i;
    for (int g = 0; g < GLIA_PAYS_GRADES; g++) p->all[g].grade = g;
    estimate_leads(p);
}

void glia_pays_leads(glia_pays *p, const float *lead, int depth, int accepted) {
    for (int i = 0; i < depth && i <= accepted; i++) {
        const int class = glia_lead_class(lead[i]);
        p->lead_hits[class] = all_keep * p->lead_hits[class] + (i < accepted);
        p->lead_seen[class] = all_keep * p->lead_seen[class] + 1;
    }
    estimate_leads(p);
}

static void age(glia_pays_seq *s, double keep) {
    for (int i = 0; i < GLIA_PAYS_DEPTH; i++) {
        s->hits[i] *= keep;
        s->seen[i] *= keep;
    }
}

void glia_pays_begin_seq(glia_pays *p, glia_pays_seq *s, uint64_t id) {
    for (int g = 0; g < GLIA_PAYS_GRADES; g++) {
        age(&p->all[g], new_keep);
        s[g] = (glia_pays_seq){.id = id, .grade = g};
    }
}

static void count(glia_pays_seq *s, int depth, int accepted, double keep) {
    for (int i = 0; i < depth && i <= accepted && i < GLIA_PAYS_DEPTH; i++) {
        s->hits[i] = keep * s->hits[i] + (i < accepted);
        s->seen[i] = keep * s->seen[i] + 1;
    }
}

/* What was seen before a rest is old. A probe that hits is followed by others soon. */
static void wake(glia_pays *p, glia_pays_seq *s, bool hit) {
    p->probed = 0;
    age(s, rest_keep);
    if (hit && !p->hopeless) p->rested = p->patience = PATIENCE_LEAST;
}

void glia_pays_accept(glia_pays *p, glia_pays_seq *s, int depth, int accepted) {
    glia_pays_seq *all = &p->all[s->grade];
    if (p->probed == s->id) wake(p, s, accepted > 0);
    count(s, depth, accepted, own_keep);
    count(all, depth, accepted, all_keep);
}

/* ---- the account ---------------------------------------------------------------- */

static double clamp(double x, double least, double most) { return x < least ? least : x > most ? most : x; }

void glia_pays_settle(glia_pays *p, int n, bool asked, int tokens, double seconds) {
    const double plain = n > 0 ? cost_of(p, n) * (1 + p->excess) : 0;
    if (!(plain > 0)) return;
    if (asked) {
        p->late_tokens = late_keep * p->late_tokens + tokens;
        p->late_seconds = late_keep * p->late_seconds + seconds;
    }
    const double gain = asked ? tokens * plain / n - clamp(seconds, 0, 4 * plain) : 0;
    p->owed = fmax(0, p->owed - gain - forgiven * seconds);
    p->balance =
        clamp(p->balance + gain + allowance * seconds, -overdraft_steps * plain, credit_steps * plain);
    p->since_plain = asked ? p->since_plain + 1 : 0;
    if (!asked && ++p->plain == PLAIN_FIRST) p->balance = credit_steps * plain;
}

/* ---- the choice ----------------------------------------------------------------- */

typedef struct {
    int levels, rows, most;           /* most: sequences with drafts at most */
    double least;                     /* the least chance of a token that is proposed */
    double seconds, tokens, catch_up; /* of the step; and before it */
    double rate;                      /* tokens per second, relative to none */
} plan;

/* Sequences for which the draft is awake come first, then those whose next token is the surest. */
static void order(glia_pays_ask *ask, int n) {
    for (int i = 0; i < n; i++) {
        const bool asleep = glia_pays_asleep(ask[i].behind);
        ask[i].place = 0;
        for (int k = 0; k < n; k++) {
            const bool other = glia_pays_asleep(ask[k].behind);
            const double more = ask[k].known->chance[0] - ask[i].known->chance[0];
            ask[i].place += other != asleep ? asleep : more > 0 || (more >= 0 && k < i);
        }
    }
}

static int depth_under(const glia_pays_ask *a, const plan *x) {
    if (a->place >= x->most) return 0;
    const int most = a->room < x->levels ? a->room : x->levels;
    int depth = 0;
    while (depth < most && a->known->chance[depth] >= x->least) depth++;
    return depth;
}

/* The least chance of a path behind which one more level pays: the time of one more token brings so much at
 * the rate of the last steps. How likely the next token is accepted shows only when it is proposed. The rate
 * of the plan is too high: it counts tokens behind which chains ended as if they had been accepted. */
static double least_chance(const glia_pays *p, const plan *x, int n_all, int asked) {
    const double row = (cost_of(p, x->rows) - cost_of(p, n_all)) / (x->rows - n_all);
    const double token = level_of(p, asked) / asked + (row > 0 ? row : 0);
    const double rate = p->late_seconds > 0 ? p->late_tokens / p->late_seconds : x->tokens / x->seconds;
    const double least = token * rate / p->all[0].chance[0];
    return least < accept_most ? least : accept_most;
}

/* What the plan costs and brings. Returns the number of sequences with drafts. */
static int weigh(const glia_pays *p, const glia_pays_ask *ask, int n, int n_all, double plain, plan *x) {
    int rows = n_all, asked = 0, levels = 0, behind = 0;
    x->tokens = n_all;
    for (int i = 0; i < n; i++) {
        const int depth = depth_under(&ask[i], x);
        if (!depth) continue;
        rows += p->nodes[depth];
        levels = depth > levels ? depth : levels;
        behind += glia_pays_asleep(ask[i].behind) ? ask[i].behind : 0;
        asked++;
        for (int k = 0; k < depth; k++) x->tokens += ask[i].known->chance[k];
    }
    x->rows = rows;
    x->catch_up = catch_up_of(p, behind);
    x->seconds = cost_of(p, rows) + proposal_of(p, asked, levels);
    x->rate = x->tokens / x->seconds * plain / n_all;
    return asked;
}

/* At most as many sequences wake as are awake: their step shows what more rows cost before others wake. */
static int most_asked(const glia_pays_ask *ask, int n) {
    int awake = 0;
    for (int i = 0; i < n; i++) awake += !glia_pays_asleep(ask[i].behind);
    return awake ? 2 * awake : 1;
}

/* The plan with the highest rate; levels 0: none beats no drafts. */
static plan best_plan(const glia_pays *p, const glia_pays_ask *ask, int n, int n_all) {
    static const double least[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
    const unsigned limits = n == 1 ? 1 : sizeof least / sizeof *least;
    const double plain = cost_of(p, n_all);
    const int asked = most_asked(ask, n);
    plan best = {.rate = margin};
    int most = 0;
    for (int i = 0; i < n; i++) most = ask[i].room > most ? ask[i].room : most;
    if (most > GLIA_PAYS_DEPTH) most = GLIA_PAYS_DEPTH;
    for (int levels = 1; levels <= most; levels++)
        for (unsigned k = 0; k < limits; k++)
            for (int quarter = n < QUARTERS || k ? QUARTERS : 1; quarter <= QUARTERS; quarter++) {
                const int part = n * quarter / QUARTERS;
                plan x = {.levels = levels, .least = least[k], .most = part < asked ? part : asked};
                if (weigh(p, ask, n, n_all, plain, &x) && x.rate > best.rate) best = x;
            }
    return best;
}

static int least_behind(const glia_pays_ask *ask, int n) {
    int at = 0;
    for (int i = 1; i < n; i++)
        if (ask[i].behind < ask[at].behind) at = i;
    return at;
}

/* Leave the sequences out that the draft sleeps for, but for number `but`. */
static void let_sleep(glia_pays_ask *ask, int n, int but) {
    for (int i = 0; i < n; i++)
        if (i != but && glia_pays_asleep(ask[i].behind)) ask[i].room = 0;
}

/* Is what the plan may gain in the rest of the answers worth that the draft catches up? What it cost before
 * and was not gained back counts, too: a draft that promises gains in vain is not believed again and again.
 */
static bool worth_waking(const glia_pays *p, const glia_pays_ask *ask, int n, int n_all, const plan *x) {
    int left = 0;
    for (int i = 0; i < n; i++) left = ask[i].left > left ? ask[i].left : left;
    const double steps = left < LEFT_MOST ? left : LEFT_MOST;
    return x->catch_up + p->owed <= (1 - margin / x->rate) * steps * cost_of(p, n_all) / 2;
}

/* While the draft rests, nothing shows that a cost was measured too high: forget it slowly. */
static void forget(glia_pays *p, int n_all) {
    const double plain = cost_of(p, n_all);
    for (int i = n_all + 1; i <= p->most_rows; i++) {
        const double guess = plain * (1 + row_share * (i - n_all));
        if (p->step[i] > guess) p->step[i] += relax * (guess - p->step[i]);
    }
    for (int i = 0; i < GLIA_PAYS_CLASSES; i++) {
        const double guess = p->share * cost_of(p, 1 << i);
        if (p->level[i] > guess) p->level[i] += 5 * relax * (guess - p->level[i]);
    }
}

/* Would drafts pay for one sequence, or for all, if every token was accepted? */
static bool may_pay(const glia_pays *p, const glia_pays_ask *ask, int n, int n_all) {
    const int asked[] = {1, n};
    const double plain = cost_of(p, n_all);
    for (int k = 0; k < 2; k++)
        for (int depth = 1; depth <= ask[0].room && depth <= GLIA_PAYS_DEPTH; depth++) {
            const double seconds =
                cost_of(p, n_all + asked[k] * p->nodes[depth]) + proposal_of(p, asked[k], depth);
            if ((n_all + asked[k] * depth) * plain > margin * seconds * n_all) return true;
        }
    return false;
}

/* One token for the sequence that costs least to catch up with, if the account covers it. */
static void probe(glia_pays *p, glia_pays_ask *ask, int n, int n_all) {
    const int at = least_behind(ask, n);
    const double extra = cost_of(p, n_all + p->nodes[1]) - cost_of(p, n_all);
    const double seconds = extra + proposal_of(p, 1, 1) + catch_up_of(p, ask[at].behind);
    if (++p->rested < p->patience || seconds > p->balance) return;
    ask[at].depth = 1;
    p->probed = ask[at].known->id;
    p->rested = 0;
    p->patience = p->patience < PATIENCE_MOST ? 2 * p->patience : PATIENCE_MOST;
}

/* What is known of deeper proposals may be one unlucky step, and proposals of the depth that was chosen never
 * show it. So sometimes propose one token more, at growing intervals while the choice stays the same. */
static void deepen(glia_pays *p, glia_pays_ask *ask, int n, int levels) {
    if (levels != p->levels) p->deepen_after = DEEPEN_LEAST;
    if (levels != p->levels) p->deepened = 0;
    p->levels = levels;
    if (++p->deepened < p->deepen_after) return;
    p->deepened = 0;
    p->deepen_after = p->deepen_after < DEEPEN_MOST ? 2 * p->deepen_after : DEEPEN_MOST;
    for (int i = 0; i < n; i++) ask[i].depth += ask[i].depth == levels && levels < ask[i].room;
}

void glia_pays_choose(glia_pays *p, glia_pays_ask *ask, int n, int n_all) {
    for (int i = 0; i < n; i++) ask[i].depth = 0;
    p->least = 0;
    /* The first steps, and one of many, measure what a step costs without drafts. */
    if (n < 1 || p->plain < PLAIN_FIRST || p->since_plain >= PLAIN_EVERY) return;
    for (int g = 0; g < GLIA_PAYS_GRADES; g++) estimate(&p->all[g], &p->all[g]);
    for (int i = 0; i < n; i++) estimate(ask[i].known, &p->all[ask[i].known->grade]);
    order(ask, n);
    plan x = best_plan(p, ask, n, n_all);
    if (x.levels && !worth_waking(p, ask, n, n_all, &x)) {
        let_sleep(ask, n, -1);
        x = best_plan(p, ask, n, n_all);
    }
    if (!x.levels || p->balance < 0) {
        forget(p, n_all);
        p->hopeless = !may_pay(p, ask, n, n_all);
        probe(p, ask, n, n_all);
        return;
    }
    if (p->all[0].seen[0] < SCOUTED) let_sleep(ask, n, least_behind(ask, n)); /* one shows if it pays */
    if (p->stops) {
        const int asked = weigh(p, ask, n, n_all, cost_of(p, n_all), &x);
        p->least = asked ? least_chance(p, &x, n_all, asked) : 0;
        x.levels += STOP_AHEAD;
    }
    for (int i = 0; i < n; i++) ask[i].depth = depth_under(&ask[i], &x);
    if (!p->stops) deepen(p, ask, n, x.levels);
    p->rested = 0;
    p->patience = PATIENCE_LEAST;
}
