/* request.h - one request: its sequence, its sampling, its text, in one allocation. */
#ifndef GLIA_ENGINE_REQUEST_H
#define GLIA_ENGINE_REQUEST_H

#include <stdatomic.h>

#include "decode/sampling.h"
#include "engine/output.h"
#include "engine/scheduler.h"
#include "engine/thought.h"
#include "grammar/grammar.h"

typedef struct glia_request glia_request;

enum { GLIA_FORCED_MAX = 64 };

/* A token as it was drawn from one row of logits. */
typedef struct {
    int node;      /* of the drafted tree: the token follows it; 0: the first token of the step */
    int32_t token; /* -1: the logits are no numbers */
    float logprob, top_logprobs[GLIA_TOP_LOGPROBS_MAX];
    int32_t top_tokens[GLIA_TOP_LOGPROBS_MAX];
} glia_drawn;

struct glia_request {
    glia_seq seq;         /* first, so that a glia_seq * is a glia_request * */
    glia_sampling params; /* its lists are copies behind this struct */
    glia_event_fn *on_event;
    void *user;
    atomic_bool aborted;
    glia_output output;
    int32_t *endings; /* [n_endings] n_eos eos tokens, then stop tokens; forbidden before min_tokens */
    size_t n_endings, n_eos;
    const int32_t *absent; /* of the rules */
    size_t n_absent;
    glia_thought thought;
    /* With a constraint; grammar NULL: none. The guide has followed every token that was drawn. */
    glia_grammar *grammar;
    glia_guide guide;
    uint64_t *mask;                  /* [(vocab + 63) / 64] of the next draw */
    int32_t forced[GLIA_FORCED_MAX]; /* tokens [next_forced, n_forced) come next */
    int n_forced, next_forced;
    int vocab;
    glia_err failed;          /* why no token can be drawn; status 0: one can */
    double submitted, began;  /* seconds; began: the first step, 0: none yet */
    int scored_to;            /* the log-probabilities of prompt tokens up to this position were told */
    const glia_drawn *untold; /* the token that the next event carries; NULL: none */
    /* of engine/inbox.h */
    uint64_t id;
    glia_request *live_next, **live_before;
};

/* What requests of an engine have in common. */
typedef struct {
    int vocab, sequence_length;
    const glia_tokenizer *tokenizer; /* NULL: events carry no text, requests no stop strings */
    const int32_t *eos;
    size_t n_eos;
    int32_t *absent; /* [n_absent] ids below vocab without a token, ascending; they outlive the requests */
    size_t n_absent;
    glia_thought_tokens thought;
} glia_request_rules;

/* Fill rules->absent, which the caller frees, and rules->thought from rules->tokenizer. Returns false if out
 * of memory. */
bool glia_request_find_tokens(glia_request_rules *rules);

/* Check a request and copy it. The caller owns *out. */
glia_status glia_request_create(glia_request **out, const glia_request_rules *rules, const int32_t *ids,
                                size_t n, const glia_sampling *s, glia_err *err);
void glia_request_free(glia_request *r);

/* The input of the draw that follows the request's tokens and `ahead` more of seq.tokens. */
glia_draw glia_request_draw(const glia_request *r, int ahead);
/* Must glia_request_follow() see the tokens of the request? */
static inline bool glia_request_follows(const glia_request *r) { return r->grammar || r->thought.tokens; }
/* The next draw of a request with a constraint. Returns the token that the constraint forces; -1: draw, with
 * r->mask as *d's allowed tokens; -2: none can be drawn, r->failed says why. Allocates. */
int32_t glia_request_constrain(glia_request *r, glia_draw *d);
/* The token that comes next without a draw, unless log-probabilities are wanted; -1: none. */
int32_t glia_request_forced(const glia_request *r);
/* Follow a token that was drawn, and find what it forces. Allocates. */
void glia_request_follow(glia_request *r, int32_t token);
/* Does this token end the request? */
bool glia_request_ends(const glia_request *r, int32_t token);

#endif
