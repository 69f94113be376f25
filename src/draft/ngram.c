/* ngram.c - drafts without a model: what followed the same tokens before.
 *
 * The longest suffix of the sequence that occurs earlier, in the sequence itself or in
 * earlier ones of this engine, says what may follow. Among equal lengths the latest
 * occurrence counts. Tokens of ended sequences stay in a ring of fixed size. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "draft/draft.h"

enum {
    DEFAULT_TOKENS = 10,
    DEFAULT_MIN = 2,
    SUFFIX_MAX = 64, /* longer suffixes are not told apart */
    HISTORY = 1 << 17,
};

typedef struct {
    uint64_t id; /* 0: none */
    int n;
    int32_t *tokens; /* [sequence_length] */
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

/* Bring the copy of the slot up to date. The sequence that had the slot before goes to the history. */
static void take(ngram *g, const glia_draft_seq *q) {
    copy *c = &g->seq[q->slot];
    if (c->id != q->id) {
        for (int i = 0; i < c->n; i++) keep(g, c->tokens[i]);
        if (c->n) keep(g, -1);
        *c = (copy){.id = q->id, .tokens = c->tokens};
    }
    for (; c->n < q->n_tokens; c->n++) c->tokens[c->n] = q->tokens[c->n];
}

static glia_status learn(glia_draft *d, const glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    for (int i = 0; i < n; i++) take(d->own, &seq[i]);
    return GLIA_OK;
}

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

static void propose_one(const ngram *g, const glia_draft_config *c, const glia_draft_seq *q) {
    match best = {.length = 0};
    find(&best, q->tokens, q->n_tokens, q->tokens, q->n_tokens, c->lookup_min, c->lookup_max);
    find(&best, g->history, g->n, q->tokens, q->n_tokens, c->lookup_min, c->lookup_max);
    for (int i = 0; i < q->depth && i < best.n && best.follows[i] >= 0; i++)
        glia_tree_add(q->tree, i, best.follows[i], 0);
}

static glia_status propose(glia_draft *d, glia_draft_seq *seq, int n, glia_err *err) {
    (void)err;
    for (int i = 0; i < n; i++) {
        take(d->own, &seq[i]);
        propose_one(d->own, &d->model->config, &seq[i]);
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
    .propose = propose,
};
