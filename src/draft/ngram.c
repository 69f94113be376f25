/* ngram.c - drafts without a model: what followed the same tokens before.
 *
 * The sequence copies a text: itself or an earlier answer of this engine. The copy begins where the
 * longest suffix of the sequence occurs earlier; among equal lengths the latest occurrence counts.
 * A copy from the sequence itself goes on behind a token that differs, and the difference is
 * applied to what follows: an answer that repeats code with another name differs at each place of
 * the name. Tokens of ended sequences stay in a ring of fixed size. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "draft/draft.h"
#include "draft/pays.h"

enum {
    DEFAULT_TOKENS = 10,
    DEFAULT_MIN = 2,
    SUFFIX_MAX = 64, /* longer suffixes are not told apart */
    HISTORY = 1 << 17,
    CHANGES = 16, /* that are remembered of a copy */
    MISSES = 3,   /* tokens in succession that end a copy */
};

/* Tokens `from` of the text that is copied are `to` in the copy. */
typedef struct {
    int32_t from, to;
} change;

typedef struct {
    uint64_t id; /* 0: none */
    int n;
    int32_t *tokens; /* [sequence_length] */
    int source;      /* the next token is expected to be tokens[source]; -1: nothing is copied */
    int run;         /* tokens that were as expected; each other one halves the number */
    int missed;      /* tokens in succession that were not */
    change tried;    /* the last of them */
    change made[CHANGES];
    int n_made;
    const int32_t *follows; /* [n_follows] what glia_draft_method.grade() found */
    int n_follows;
} copy;

typedef struct {
    glia_plan plan;
    copy *seq;        /* [batch] the sequence of each slot as far as it is known */
    int32_t *history; /* [HISTORY] tokens of ended sequences, -1 between two of them */
    int n, at;        /* filled; the next to write */
} ngram;

static glia_status read_model(glia_draft_model *m, glia_err *err) {
    glia_draft_config *c = &m->config;
    if (c->tree.kind != GLIA_TREE_CHAIN)
        return glia_fail(err, GLIA_ERR_ARGUMENT,
                         "speculative_config: method ngram proposes chains, expected no tree");
    if (!c->tokens) c->tokens = DEFAULT_TOKENS;
    if (!c->lookup_min && !c->lookup_max) {
        c->lookup_min = DEFAULT_MIN;
        c->lookup_max = SUFFIX_MAX;
    }
    if (!c->lookup_min) c->lookup_min = c->lookup_max;
    if (!c->lookup_max) c->lookup_max = c->lookup_min;
    if (c->lookup_min <= c->lookup_max) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT,
                     "speculative_config: prompt_lookup_min is %d, more than prompt_lookup_max %d",
                     c->lookup_min, c->lookup_max);
}

typedef struct {
    int seqs, tokens, history;
} regions;

static regions add_regions(const glia_draft_limits *l, glia_plan *plan) {
    const size_t batch = (size_t)l->batch;
    regions r;
    r.seqs = glia_plan_add(plan, "draft: sequences of n-grams", batch, sizeof(copy));
    r.tokens =
        glia_plan_add(plan, "draft: their tokens", batch * (size_t)l->sequence_length, sizeof(int32_t));
    r.history = glia_plan_add(plan, "draft: earlier answers", HISTORY, sizeof(int32_t));
    return r;
}

static void plan(const glia_draft_model *m, const glia_draft_limits *l, glia_plan *p) {
    (void)m;
    add_regions(l, p);
}

static glia_status open_ngram(glia_draft *d, glia_err *err) {
    ngram *g = calloc(1, sizeof *g);
    if (!g) return glia_fail_nomem(err, sizeof *g, "the draft");
    const regions r = add_regions(&d->limits, &g->plan);
    const glia_status status = glia_plan_map(&g->plan, "the draft's tokens", err);
    if (status) {
        free(g);
        return status;
    }
    g->seq = glia_plan_at(&g->plan, r.seqs);
    g->history = glia_plan_at(&g->plan, r.history);
    int32_t *tokens = glia_plan_at(&g->plan, r.tokens);
    for (int i = 0; i < d->limits.batch; i++)
        g->seq[i].tokens = tokens + (size_t)i * (size_t)d->limits.sequence_length;
    d->own = g;
    return GLIA_OK;
}

static void close_ngram(glia_draft *d) {
    ngram *g = d->own;
    glia_plan_unmap(&g->plan);
    free(g);
}

static void keep(ngram *g, int32_t token) {
    g->history[g->at] = token;
    g->at = (g->at + 1) % HISTORY;
    if (g->n < HISTORY) g->n++;
}

/* ---- the copy of a sequence ------------------------------------------------------- */

static change *change_of(copy *c, int32_t token) {
    for (int i = 0; i < c->n_made; i++)
        if (c->made[i].from == token) return &c->made[i];
    return NULL;
}

static int32_t changed(copy *c, int32_t token) {
    const change *found = change_of(c, token);
    return found ? found->to : token;
}

/* The token after the last difference is as expected: expect this difference from now on. */
static void confirm(copy *c) {
    change *found = change_of(c, c->tried.from);
    if (!found) found = &c->made[c->n_made < CHANGES ? c->n_made++ : c->tried.from % CHANGES];
    *found = c->tried;
}

/* The sequence goes on with this token. */
static void follow(copy *c, int32_t token) {
    if (c->source < 0) return;
    const int32_t was = c->tokens[c->source++];
    if (token == changed(c, was)) {
        if (c->missed == 1) confirm(c);
        c->missed = 0;
        c->run++;
        return;
    }
    c->tried = (change){was, token};
    c->run /= 2;
    if (++c->missed == MISSES) c->source = -1;
}

/* Bring the copy of the slot up to date. The sequence that had the slot before goes to the history. */
static copy *take(ngram *g, const glia_draft_seq *q) {
    copy *c = &g->seq[q->slot];
    if (c->id != q->id) {
        for (int i = 0; i < c->n; i++) keep(g, c->tokens[i]);
        if (c->n) keep(g, -1);
        *c = (copy){.id = q->id, .tokens = c->tokens, .source = -1};
    }
    for (; c->n < q->n_tokens; c->n++) {
        follow(c, q->tokens[c->n]);
        c->tokens[c->n] = q->tokens[c->n];
    }
    return c;
}

static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    for (int i = 0; i < n; i++) take(d->own, &seq[i]);
    return GLIA_OK;
}

/* ---- proposals ----------------------------------------------------------------------- */

/* An earlier occurrence of a suffix. */
typedef struct {
    const int32_t *follows; /* [n] what followed it */
    int n, length;
} match;

/* Find in text [n] the longest suffix of tokens [n_tokens] of `least` to `most` tokens, which something
 * follows. */
static void find(match *best, const int32_t *text, int n, const int32_t *tokens, int n_tokens, int least,
                 int most) {
    const int32_t last = tokens[n_tokens - 1];
    for (int i = n - 2; i >= 0; i--) {
        if (text[i] != last) continue;
        int length = 1;
        while (length < most && length <= i && length < n_tokens &&
               text[i - length] == tokens[n_tokens - 1 - length])
            length++;
        if (length < least || length <= best->length) continue;
        *best = (match){text + i + 1, n - i - 1, length};
        if (length == most) return;
    }
}

/* Copy from where the longest suffix occurs, if that is longer than what was copied so far. */
static void choose(const ngram *g, const glia_draft_config *config, copy *c) {
    match own = {.length = c->source < 0 ? 0 : c->run};
    find(&own, c->tokens, c->n, c->tokens, c->n, config->lookup_min, config->lookup_max);
    match earlier = {.length = own.length};
    find(&earlier, g->history, g->n, c->tokens, c->n, config->lookup_min, config->lookup_max);
    if (own.follows) c->source = (int)(own.follows - c->tokens);
    if (own.follows || earlier.follows) c->missed = 0;
    if (earlier.follows) c->source = -1;
    c->run = earlier.length;
    c->follows = c->source < 0 ? earlier.follows : c->tokens + c->source;
    c->n_follows = c->source < 0 ? earlier.n : c->n - c->source;
}

/* The longer the copy, the surer its next token; behind a difference it is least sure. */
static int grade(glia_draft *d, const glia_draft_seq *q) {
    copy *c = take(d->own, q);
    int sure = 1;
    choose(d->own, &d->model->config, c);
    if (!c->follows || c->follows[0] < 0) return -1;
    if (c->missed) return 0;
    while (sure + 1 < GLIA_PAYS_GRADES && c->run >> (sure + 1)) sure++;
    return sure;
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    ngram *g = d->own;
    (void)err;
    for (int i = 0; i < n; i++) {
        copy *c = &g->seq[seq[i].slot];
        for (int k = 0; k < seq[i].depth && k < c->n_follows && c->follows[k] >= 0; k++)
            glia_tree_add(seq[i].tree, k, changed(c, c->follows[k]), 0);
    }
    return GLIA_OK;
}

const glia_draft_method glia_draft_ngram = {
    .name = "ngram",
    .at_once = true,
    .read = read_model,
    .plan = plan,
    .open = open_ngram,
    .close = close_ngram,
    .learn = learn,
    .grade = grade,
    .propose = propose,
};
