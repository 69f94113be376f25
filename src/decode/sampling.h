/* sampling.h - from a row of logits to one token.
 *
 * Steps in order: allowed tokens, logit bias, repetition penalty, frequency and presence penalty, bad words,
 * tokens forbidden before min_tokens, tokens that a constraint does not allow. When sampling also:
 * temperature, top-k, top-p, min-p, typical, and a draw among the remaining tokens. The order is that of
 * Transformers 4.57 (GenerationMixin._get_logits_processor); steps that only vLLM has stand where
 * v1/sample/sampler.py has them.
 *
 * The draw is a Gumbel-max: each remaining token's log-probability gets noise that is a
 * function of seed, position and token, and the largest sum wins. Two models that share
 * a seed share the noise, so their draws agree as often as their distributions do.
 *
 * A token depends on its logits, its request and its position alone. Functions
 * write to the sampler's scratch and nothing else; threads need one sampler each.
 * Nothing here allocates. */
#ifndef GLIA_DECODE_SAMPLING_H
#define GLIA_DECODE_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Scratch memory of one thread. */
typedef struct {
    int vocab;
    double *p;      /* [vocab] */
    float *x;       /* [vocab] */
    int32_t *id;    /* [vocab] */
    int32_t *count; /* [vocab], zero between calls */
} glia_sampler;

size_t glia_sampler_bytes(int vocab); /* a multiple of 64 */
/* `memory` is glia_sampler_bytes(vocab) zero bytes, aligned to 8. The caller owns it. */
void glia_sampler_init(glia_sampler *s, void *memory, int vocab);

/* The request of one draw. */
typedef struct {
    const glia_sampling *params;
    const int32_t *tokens; /* [n_tokens] the prompt, then the output so far */
    size_t n_prompt;       /* the first n_prompt of `tokens` are the prompt */
    size_t n_tokens;
    const int32_t *path; /* [n_path] tokens that follow `tokens`: n_tokens + n_path is the position of
                          * the token to draw */
    size_t n_path;
    const int32_t *forbidden; /* [n_forbidden] tokens that would end the request before min_tokens */
    size_t n_forbidden;
    const int32_t *absent; /* [n_absent] ids without a token, ascending: glia_sample() never returns one */
    size_t n_absent;
    const uint64_t *allowed; /* a bit for each id: only these may be drawn; NULL: all */
} glia_draw;

/* Check the range of every value. GLIA_ERR_ARGUMENT names the first bad value. */
glia_status glia_sampling_check(const glia_sampling *params, int vocab, glia_err *err);

/* True if do_sample is off or the temperature is below vLLM's 1e-5. */
bool glia_sampling_greedy(const glia_sampling *params);

/* The next token, from logits [vocab]. Returns -1 for bad logits: one is NaN or
 * +inf, or all are -inf. Greedy returns the lowest id among equal maxima. If the draw
 * gives an absent id, it is repeated with the logits of these ids at -inf. */
int32_t glia_sample(glia_sampler *s, const float *logits, const glia_draw *draw);

/* For drafts: the same token, and in *lead how far it is ahead of the next one in what the draw orders:
 * logits if greedy, else log-probability plus noise. It is the likelier to be another model's draw. */
int32_t glia_sample_lead(glia_sampler *s, const float *logits, const glia_draw *draw, float *lead);

/* For drafts: the first k tokens in the order in which the draw prefers them, from logits [vocab]; token[0]
 * is glia_sample()'s. Greedy orders by processed logits; sampling by log-probability plus noise, among the
 * tokens that the filters leave. Ids of draw->absent are left out. score (may be
 * NULL): the log-softmax of what is ordered. Returns how many tokens there are, at most k; 0 for bad logits.
 */
int glia_sample_best(glia_sampler *s, const float *logits, const glia_draw *draw, int k, int32_t *token,
                     float *score);

/* ---- when each rank has one shard of the logits ------------------------------ */

enum { GLIA_BEST_MAX = 1024, GLIA_DRAW_WHOLE = -2 };

typedef struct {
    float x; /* divided by the temperature when sampling */
    int32_t id;
} glia_candidate;

/* A rank's message about its shard of the logits: the k largest, or all of them if
 * the shard has fewer. */
typedef struct {
    int32_t n; /* entries of best[], in ascending order of id */
    bool bad;  /* the shard has a NaN or +inf */
    bool more; /* the shard has more logits equal to the smallest of best[] */
    glia_candidate best[];
} glia_shard_top;

static inline size_t glia_shard_top_bytes(int k) {
    return sizeof(glia_shard_top) + (size_t)k * sizeof(glia_candidate);
}

/* How many of the largest logits of each shard this draw needs, if the largest
 * shard has `shard` logits. 0: the draw needs the whole row, because every token can
 * be drawn, or because logits are processed or reported. */
int glia_draw_best(const glia_draw *draw, size_t shard);
/* Divide a shard's logits by this for this draw: the temperature, or 1 if greedy. */
float glia_draw_divisor(const glia_draw *draw);
/* Fill *out [glia_shard_top_bytes(k) bytes] from the shard logits [n], which begins at
 * token id `first`. Among equal logits lower ids win. Needs s->vocab >= n. */
void glia_shard_top_find(glia_shard_top *out, glia_sampler *s, const float *logits, int n, int32_t first,
                         int k, float divisor);
/* The same token as glia_sample() on the whole row, bit for bit, from the messages
 * of all ranks, in rank order, `stride` bytes apart. Returns GLIA_DRAW_WHOLE if the
 * messages lack a token that glia_sample() could draw, or the draw gives an absent id;
 * then use the whole row. */
int32_t glia_sample_shards(glia_sampler *s, const void *tops, size_t stride, int n_shards,
                           const glia_draw *draw);

/* The tokens that sampling can draw, in s->id in ascending order, and their
 * probabilities, which sum to 1, in s->p. Returns the number of tokens; 0 for bad
 * logits. */
int glia_distribution(glia_sampler *s, const float *logits, const glia_draw *draw);

/* Log-probabilities of the unprocessed logits, as vLLM's raw_logprobs: that of
 * `token` in *logprob, and the n most likely tokens in top and top_logprobs, most
 * likely first, lower ids first among equals.
 *   logits [vocab]: no NaN and no +inf; top, top_logprobs [n], 0 <= n <= vocab */
void glia_logprobs(const float *logits, int vocab, int32_t token, float *logprob, int n, int32_t *top,
                   float *top_logprobs);
/* The same of tokens [n] into logprobs [n]. */
void glia_logprobs_of(const float *logits, int vocab, const int32_t *tokens, int n, float *logprobs);

#endif
