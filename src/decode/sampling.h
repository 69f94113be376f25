/* sampling.h - from a row of logits to one token.
 *
 * The order is Transformers 4.57's (GenerationMixin._get_logits_processor),
 * with vLLM's additions where its sampler has them (v1/sample/sampler.py):
 * logit bias, repetition penalty, frequency and presence penalty, tokens
 * forbidden before min_tokens; then, when sampling, temperature, top-k, top-p,
 * min-p, typical. What is left is drawn from in order of token id.
 *
 * Every function is pure but for the sampler's scratch: a token depends on its
 * logits, its request and its position. Nothing here allocates. */
#ifndef GLIA_DECODE_SAMPLING_H
#define GLIA_DECODE_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Scratch of one thread. */
typedef struct {
    int vocab;
    double *p;      /* [vocab] */
    float *x;       /* [vocab] */
    int32_t *id;    /* [vocab] */
    int32_t *count; /* [vocab], zero between calls */
} glia_sampler;

size_t glia_sampler_bytes(int vocab); /* a multiple of 64 */
/* `memory`: glia_sampler_bytes() zero bytes, aligned to 8; the caller keeps and frees it. */
void glia_sampler_init(glia_sampler *s, void *memory, int vocab);

/* What one draw needs to know of its request. */
typedef struct {
    const glia_sampling *params;
    const int32_t *tokens;    /* [n_tokens] the prompt, then the output so far */
    size_t n_prompt;          /* of them */
    size_t n_tokens;          /* also the position of the token to draw */
    const int32_t *forbidden; /* [n_forbidden] tokens that would end the request too early */
    size_t n_forbidden;
} glia_draw;

/* Is every value in its range? GLIA_ERR_ARGUMENT names the one that is not. */
glia_status glia_sampling_check(const glia_sampling *params, int vocab, glia_err *err);

/* Greedy: do_sample is off, or the temperature is below vLLM's 1e-5. */
bool glia_sampling_greedy(const glia_sampling *params);

/* The token that follows; -1 when the logits are not numbers (NaN, +inf, or
 * nothing but -inf).   logits [vocab]. Greedy takes the lowest id among equals. */
int32_t glia_sample(glia_sampler *s, const float *logits, const glia_draw *draw);

/* ---- where each rank has a part of the row --------------------------------- */

enum { GLIA_BEST_MAX = 1024, GLIA_DRAW_WHOLE = -2 };

typedef struct {
    float x; /* divided by the temperature when sampling */
    int32_t id;
} glia_candidate;

/* What a rank says of its part: its k best, or all it has. */
typedef struct {
    int32_t n; /* of best[], in ascending order of id */
    bool bad;  /* NaN or +inf is among the part */
    bool more; /* there are others that equal the least of best[] */
    glia_candidate best[];
} glia_part;

static inline size_t glia_part_bytes(int k) { return sizeof(glia_part) + (size_t)k * sizeof(glia_candidate); }

/* How many of the best of each part this draw needs, where the largest part has
 * `part` logits; 0: it needs the whole row (all tokens may be drawn, or their
 * logits are processed or told). */
int glia_draw_best(const glia_draw *draw, size_t part);
/* What a part's logits are divided by for this draw. */
float glia_draw_divisor(const glia_draw *draw);
/* *out [glia_part_bytes(k)] of logits [n], the first of which is token `first`.
 * s->vocab >= n. Of equals, the lowest ids are the best. */
void glia_part_find(glia_part *out, glia_sampler *s, const float *logits, int n, int32_t first, int k,
                    float divisor);
/* As glia_sample() over the whole row, bit for bit, from every rank's part, `stride`
 * bytes apart in rank order; GLIA_DRAW_WHOLE: equals were dropped that matter. */
int32_t glia_sample_parts(glia_sampler *s, const void *parts, size_t stride, int n_parts,
                          const glia_draw *draw);

/* The tokens that a sampled draw may give, ascending in s->id, with their
 * probabilities, summing to 1, in s->p. Returns how many; 0 for bad logits. */
int glia_distribution(glia_sampler *s, const float *logits, const glia_draw *draw);

/* Log-probabilities under the model itself, before any processor, as vLLM's
 * raw_logprobs: the token's, and the n most likely with theirs (ties: lower id
 * first).   logits [vocab], all but -inf finite; top, top_logprobs [n]; n <= vocab */
void glia_logprobs(const float *logits, int vocab, int32_t token, float *logprob, int n, int32_t *top,
                   float *top_logprobs);

#endif
