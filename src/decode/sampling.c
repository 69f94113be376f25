/* sampling.c - see sampling.h.
 *
 * Nothing is sorted. A filter keeps the tokens at or above a threshold. A radix
 * search over the ordered bits of the logits finds the threshold: it accumulates
 * counts (top-k) or probabilities (top-p, typical). */
#include "decode/sampling.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "decode/philox.h"

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

size_t glia_sampler_bytes(int vocab) {
    const size_t bytes = (size_t)vocab * (sizeof(double) + sizeof(float) + 2 * sizeof(int32_t));
    return (bytes + 63) / 64 * 64; /* two threads never share a cache line */
}

void glia_sampler_init(glia_sampler *s, void *memory, int vocab) {
    assert((uintptr_t)memory % _Alignof(double) == 0);
    s->vocab = vocab;
    s->p = memory;
    s->x = (float *)(s->p + vocab);
    s->id = (int32_t *)(s->x + vocab);
    s->count = s->id + vocab;
}

bool glia_sampling_greedy(const glia_sampling *params) {
    return !params->do_sample || params->temperature < 1e-5f;
}

static glia_status check_range(const char *name, double value, bool ok, const char *range, glia_err *err) {
    if (ok) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "%s is %g, expected %s", name, value, range);
}

static glia_status check_token(const char *name, int32_t token, int vocab, glia_err *err) {
    if (token >= 0 && token < vocab) return GLIA_OK;
    return glia_fail(err, GLIA_ERR_ARGUMENT, "%s has token %d, the vocabulary has %d tokens", name, token,
                     vocab);
}

glia_status glia_sampling_check(const glia_sampling *p, int vocab, glia_err *err) {
    const struct {
        const char *name;
        double value;
        bool ok;
        const char *range;
    } rows[] = {
        {"temperature", p->temperature, p->temperature >= 0 && isfinite(p->temperature), "0 or more"},
        {"top_k", p->top_k, p->top_k >= 0, "0 (off) or more"},
        {"top_p", p->top_p, p->top_p >= 0 && p->top_p <= 1, "0 to 1"},
        {"min_p", p->min_p, p->min_p >= 0 && p->min_p <= 1, "0 to 1"},
        {"typical_p", p->typical_p, p->typical_p > 0 && p->typical_p <= 1, "more than 0, up to 1"},
        {"repetition_penalty", p->repetition_penalty,
         p->repetition_penalty > 0 && isfinite(p->repetition_penalty), "more than 0"},
        {"presence_penalty", p->presence_penalty, p->presence_penalty >= -2 && p->presence_penalty <= 2,
         "-2 to 2"},
        {"frequency_penalty", p->frequency_penalty, p->frequency_penalty >= -2 && p->frequency_penalty <= 2,
         "-2 to 2"},
        {"max_tokens", p->max_tokens, p->max_tokens >= 0, "0 (no limit) or more"},
        {"min_tokens", p->min_tokens, p->min_tokens >= 0, "0 or more"},
        {"logprobs", p->logprobs, p->logprobs >= -1 && p->logprobs <= GLIA_TOP_LOGPROBS_MAX, "-1 to 20"},
        {"prompt_logprobs", p->prompt_logprobs,
         p->prompt_logprobs >= 0 && p->prompt_logprobs <= 1 + GLIA_TOP_LOGPROBS_MAX, "0 to 21"},
        {"thinking_budget", p->thinking_budget, p->thinking_budget >= 0, "0 (no budget) or more"},
        {"logprob_token_ids", (double)p->n_logprob_token_ids,
         p->n_logprob_token_ids <= (p->logprobs == 0 ? GLIA_TOP_LOGPROBS_MAX : 0),
         "up to 20, with logprobs 0"},
    };
    glia_status status = GLIA_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !status; i++)
        status = check_range(rows[i].name, rows[i].value, rows[i].ok, rows[i].range, err);
    if (!status && p->max_tokens && p->min_tokens > p->max_tokens)
        status = glia_fail(err, GLIA_ERR_ARGUMENT, "min_tokens is %d, more than max_tokens %d", p->min_tokens,
                           p->max_tokens);
    for (size_t i = 0; i < p->n_logit_bias && !status; i++) {
        const float bias = p->logit_bias[i].bias;
        status = check_token("logit_bias", p->logit_bias[i].token, vocab, err);
        if (!status) status = check_range("logit_bias", bias, isfinite(bias), "a finite number", err);
    }
    for (size_t i = 0; i < p->n_stop_token_ids && !status; i++)
        status = check_token("stop_token_ids", p->stop_token_ids[i], vocab, err);
    for (size_t i = 0; i < p->n_logprob_token_ids && !status; i++)
        status = check_token("logprob_token_ids", p->logprob_token_ids[i], vocab, err);
    for (size_t i = 0; i < p->n_allowed_token_ids && !status; i++)
        status = check_token("allowed_token_ids", p->allowed_token_ids[i], vocab, err);
    for (size_t i = 0; i < p->n_bad_words && !status; i++) {
        const glia_token_list *word = &p->bad_words[i];
        if (!word->n) status = glia_fail(err, GLIA_ERR_ARGUMENT, "bad_words: word %zu has no tokens", i + 1);
        for (size_t k = 0; k < word->n && !status; k++)
            status = check_token("bad_words", word->ids[k], vocab, err);
    }
    for (size_t i = 0; i < p->n_stop && !status; i++)
        if (!p->stop[i][0]) status = glia_fail(err, GLIA_ERR_ARGUMENT, "stop string %zu is empty", i + 1);
    return status;
}

/* The position of the token to draw. */
static size_t position_of(const glia_draw *d) { return d->n_tokens + d->n_path; }

/* ---- processors, also when greedy ------------------------------------------ */

/* Token i of those that precede the draw. */
static int32_t token_before(const glia_draw *d, size_t i) {
    return i < d->n_tokens ? d->tokens[i] : d->path[i - d->n_tokens];
}

static void penalise_repetition(glia_sampler *s, const glia_draw *d) {
    const float penalty = d->params->repetition_penalty;
    const size_t n = position_of(d);
    for (size_t i = 0; i < n; i++) {
        const int32_t t = token_before(d, i);
        if (s->count[t]++) continue;
        s->x[t] = s->x[t] < 0 ? s->x[t] * penalty : s->x[t] / penalty;
    }
    for (size_t i = 0; i < n; i++) s->count[token_before(d, i)] = 0;
}

static void penalise_output(glia_sampler *s, const glia_draw *d) {
    const size_t n = position_of(d);
    for (size_t i = d->n_prompt; i < n; i++) s->count[token_before(d, i)]++;
    for (size_t i = d->n_prompt; i < n; i++) {
        const int32_t t = token_before(d, i);
        if (!s->count[t]) continue;
        s->x[t] -= d->params->frequency_penalty * (float)s->count[t];
        s->x[t] -= d->params->presence_penalty;
        s->count[t] = 0;
    }
}

/* A word of the mask at a time: most words allow none or all of their tokens. */
static void keep_allowed(glia_sampler *s, const uint64_t *allowed) {
    for (int from = 0; from < s->vocab; from += 64) {
        const uint64_t word = allowed[from / 64];
        const int n = s->vocab - from < 64 ? s->vocab - from : 64;
        for (int i = 0; i < n && ~word; i++) s->x[from + i] = word >> i & 1 ? s->x[from + i] : -INFINITY;
    }
}

static void keep_listed(glia_sampler *s, const float *logits, const int32_t *ids, size_t n) {
    for (int i = 0; i < s->vocab; i++) s->x[i] = -INFINITY;
    for (size_t i = 0; i < n; i++) s->x[ids[i]] = logits[ids[i]];
}

/* Does the output end in all tokens of the word but its last one? */
static bool begins(const glia_draw *d, const glia_token_list *word) {
    const size_t n = position_of(d), before = word->n - 1;
    if (n - d->n_prompt < before) return false;
    for (size_t i = 0; i < before; i++)
        if (token_before(d, n - before + i) != word->ids[i]) return false;
    return true;
}

/* Tokens that end a bad word, and those that end the request before min_tokens. */
static void ban(glia_sampler *s, const glia_draw *d) {
    for (size_t i = 0; i < d->params->n_bad_words; i++) {
        const glia_token_list *word = &d->params->bad_words[i];
        if (begins(d, word)) s->x[word->ids[word->n - 1]] = -INFINITY;
    }
    for (size_t i = 0; i < d->n_forbidden; i++) s->x[d->forbidden[i]] = -INFINITY;
}

static bool has_processors(const glia_draw *d) {
    const glia_sampling *p = d->params;
    return p->n_logit_bias || p->n_allowed_token_ids || p->n_bad_words || p->repetition_penalty != 1 ||
           p->presence_penalty != 0 || p->frequency_penalty != 0 || d->n_forbidden || d->allowed;
}

static void apply(glia_sampler *s, const float *logits, const glia_draw *d, bool bans) {
    const glia_sampling *p = d->params;
    if (p->n_allowed_token_ids)
        keep_listed(s, logits, p->allowed_token_ids, p->n_allowed_token_ids);
    else
        memcpy(s->x, logits, (size_t)s->vocab * sizeof *s->x);
    for (size_t i = 0; i < p->n_logit_bias; i++) s->x[p->logit_bias[i].token] += p->logit_bias[i].bias;
    if (p->repetition_penalty != 1) penalise_repetition(s, d);
    if (p->presence_penalty != 0 || p->frequency_penalty != 0) penalise_output(s, d);
    if (bans) ban(s, d);
    if (d->allowed) keep_allowed(s, d->allowed);
}

static bool has_any(const float *x, int n) {
    for (int i = 0; i < n; i++)
        if (x[i] != -INFINITY) return true;
    return false;
}

/* The processed logits: s->x, or `logits` itself if the request has no processor. */
static const float *process(glia_sampler *s, const float *logits, const glia_draw *d) {
    const glia_sampling *p = d->params;
    if (!has_processors(d)) return logits;
    apply(s, logits, d, true);
    if ((p->n_allowed_token_ids || p->n_bad_words) && !has_any(s->x, s->vocab)) apply(s, logits, d, false);
    return s->x;
}

/* *best is the largest of x [n], -inf if n is 0. Returns false if x has a NaN or +inf. */
static bool largest(float *best, const float *x, int n) {
    enum { LANES = 16 }; /* a single maximum would be one long dependency chain */
    float most[LANES];
    int32_t bad[LANES] = {0}, any = 0;
    int i = 0;
    for (int l = 0; l < LANES; l++) most[l] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            bad[l] |= !(x[i + l] < INFINITY);
            most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
        }
    for (; i < n; i++) {
        any |= !(x[i] < INFINITY);
        most[0] = x[i] > most[0] ? x[i] : most[0];
    }
    *best = most[0];
    for (int l = 0; l < LANES; l++) {
        any |= bad[l];
        *best = most[l] > *best ? most[l] : *best;
    }
    return !any;
}

/* The lowest index of the largest value; -1 for bad logits. */
static int32_t argmax(const float *x, int n) {
    float best;
    if (!largest(&best, x, n) || best == -INFINITY) return -1;
    int32_t i = 0;
    while (x[i] != best) i++;
    return i;
}

/* How much larger x[i] is than the largest of the others. */
static float lead_of(const float *x, int n, int32_t i) {
    float before, behind;
    largest(&before, x, i);
    largest(&behind, x + i + 1, n - i - 1);
    return x[i] - (before > behind ? before : behind);
}

/* ---- filters, only when sampling ------------------------------------------- */

/* Maps floats to unsigned integers with the same order; -0 and +0 map to one integer. */
static uint32_t ordered(float x) {
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The largest threshold for which the values at or above it have a total weight of
 * at least `need`. If rounding keeps the total below `need`, the smallest value.
 *   x [n]; w [n] weights, NULL: 1 each; *above: the total weight strictly above */
static uint32_t threshold(const float *x, const double *w, int n, double need, double *above) {
    static const int shifts[] = {21, 10, 0};
    uint32_t found = 0, mask = 0;
    double sum = 0;
    for (int level = 0; level < 3; level++) {
        const int shift = shifts[level], bins = level < 2 ? RADIX : RADIX / 2;
        double bin[RADIX] = {0};
        for (int i = 0; i < n; i++) {
            const uint32_t key = ordered(x[i]);
            if ((key & mask) == found) bin[key >> shift & (uint32_t)(bins - 1)] += w ? w[i] : 1;
        }
        int b = bins, last = 0;
        double before = sum;
        while (b-- > 0) {
            if (!(bin[b] > 0)) continue;
            last = b;
            before = sum;
            if (sum + bin[b] >= need) break;
            sum += bin[b];
        }
        sum = before;
        found |= (uint32_t)last << shift;
        mask |= (uint32_t)(bins - 1) << shift;
    }
    *above = sum;
    return found;
}

/* Keep the candidates whose ordered() value is at least `least`, in x, p and id. */
static int compact(glia_sampler *s, int n, uint32_t least) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (ordered(s->x[i]) < least) continue;
        s->x[kept] = s->x[i];
        s->p[kept] = s->p[i];
        s->id[kept++] = s->id[i];
    }
    return kept;
}

static double total(const glia_sampler *s, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += s->p[i];
    return sum;
}

/* Transformers TopPLogitsWarper: keep a token if all likelier tokens together have
 * less than top_p of the mass. Among equal logits its sort has no defined order;
 * here lower ids come first. */
static int keep_top_p(glia_sampler *s, int n, double top_p) {
    const double need = top_p * total(s, n);
    double before;
    const uint32_t least = threshold(s->x, s->p, n, need, &before);
    bool any = before > 0;
    for (int i = 0; i < n; i++) {
        if (ordered(s->x[i]) != least) continue;
        if (any && before >= need) s->x[i] = -INFINITY;
        before += s->p[i];
        any = true;
    }
    return compact(s, n, least);
}

/* Transformers TypicalLogitsWarper: order tokens by |-log p - entropy|, smallest
 * first, and keep them up to the token that brings their mass to typical_p. Tokens
 * equal to the last one are kept too. */
static int keep_typical(glia_sampler *s, int n, double typical_p) {
    const double sum = total(s, n);
    double entropy = 0, unused;
    for (int i = 0; i < n; i++)
        if (s->p[i] > 0) entropy -= s->p[i] / sum * log(s->p[i] / sum);
    for (int i = 0; i < n; i++) s->x[i] = (float)-fabs(-log(s->p[i] / sum) - entropy);
    return compact(s, n, threshold(s->x, s->p, n, typical_p * sum, &unused));
}

/* Transformers MinPLogitsWarper: keep tokens with at least min_p of the likeliest
 * token's probability. Weights are relative to that token, whose weight is 1. */
static int keep_min_p(glia_sampler *s, int n, double min_p) {
    for (int i = 0; i < n; i++)
        if (s->p[i] < min_p) s->x[i] = -INFINITY;
    return compact(s, n, ordered(-INFINITY) + 1);
}

/* Does a filter compare weights? */
static bool filters_weights(const glia_sampling *p) {
    return p->top_p < 1 || p->min_p > 0 || p->typical_p < 1;
}

/* Compute the weights exp(x - top) of n candidates into s->p, where `top` is the
 * largest logit, and apply top-p, min-p and typical. Returns how many are left. */
static int weigh(glia_sampler *s, int n, float top, const glia_sampling *p) {
    for (int i = 0; i < n; i++) s->p[i] = exp((double)s->x[i] - (double)top);
    if (p->top_p < 1) n = keep_top_p(s, n, (double)p->top_p);
    if (p->min_p > 0) n = keep_min_p(s, n, (double)p->min_p);
    if (p->typical_p < 1) n = keep_typical(s, n, (double)p->typical_p);
    return n;
}

/* Leave the candidates of the processed logits x after top-k in s->x and s->id, and the largest in *top.
 * Returns how many; 0 for bad logits. */
static int candidates(glia_sampler *s, const float *x, const glia_sampling *p, float *top) {
    const int32_t best = argmax(x, s->vocab);
    if (best < 0) return 0;
    int n = s->vocab;
    for (int i = 0; i < n; i++) {
        s->x[i] = x[i] / p->temperature;
        s->id[i] = i;
    }
    *top = s->x[best];
    if (p->top_k > 0 && p->top_k < n) {
        double unused;
        n = compact(s, n, threshold(s->x, NULL, n, p->top_k, &unused));
    }
    return n;
}

int glia_distribution(glia_sampler *s, const float *logits, const glia_draw *d) {
    float top = 0;
    int n = candidates(s, process(s, logits, d), d->params, &top);
    n = weigh(s, n, top, d->params);
    const double sum = total(s, n);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (!(s->p[i] > 0)) continue;
        s->p[kept] = s->p[i] / sum;
        s->id[kept++] = s->id[i];
    }
    return kept;
}

/* ---- the draw ---------------------------------------------------------------- */

/* The noise of a draw, read token by token in ascending order. */
typedef struct {
    const glia_draw *d;
    uint32_t first; /* of the tokens in `word`; not a multiple of GLIA_NOISE: none */
    uint32_t word[GLIA_NOISE];
} noise;

static double uniform_of(noise *from, int32_t token) {
    const uint32_t at = (uint32_t)token % GLIA_NOISE, first = (uint32_t)token - at;
    if (from->first != first) glia_noise(from->word, from->d->params->seed, position_of(from->d), first);
    from->first = first;
    return glia_uniform(from->word[at]);
}

/* A lower bound of 1 / exp(x - top), x <= top, without a call of exp(). */
static double inverse_weight(float x, float top) {
    const double a = (double)top - (double)x;
    return 1 + a * (1 + a * (1. / 2 + a * (1. / 6 + a * (1. / 24))));
}

/* Draw one of n candidates with probability proportional to its weight: the first of independent exponential
 * times with the weights as rates, so the least -log(u) / weight. This is the Gumbel-max draw: the order of
 * log(weight) - log(-log(u)), reversed. s->p has the weights if a filter computed them. lead: NULL, or how
 * far the token is ahead of the next one in this order. */
static int32_t draw_of(const glia_sampler *s, int n, float top, const glia_draw *d, float *lead) {
    const bool weighed = filters_weights(d->params);
    noise from = {.d = d, .first = 1};
    double least = INFINITY, next = INFINITY;
    int32_t token = -1;
    for (int i = 0; i < n; i++) {
        /* -log(u) >= 1 - u: most tokens are refused without a logarithm. */
        const double u = uniform_of(&from, s->id[i]), floor = 1 - u, limit = lead ? next : least;
        if (weighed ? floor > limit * s->p[i] : floor * inverse_weight(s->x[i], top) > limit) continue;
        const double weight = weighed ? s->p[i] : exp((double)s->x[i] - (double)top);
        if (!(weight > 0)) continue;
        const double time = -log(u) / weight;
        if (time < least) {
            next = least;
            least = time;
            token = s->id[i];
        } else if (time < next) {
            next = time;
        }
    }
    if (lead) *lead = (float)(log(next) - log(least));
    return token;
}

static int32_t draw_from(glia_sampler *s, const float *x, const glia_draw *d, float *lead) {
    float top = 0;
    if (glia_sampling_greedy(d->params)) {
        const int32_t best = argmax(x, s->vocab);
        if (lead && best >= 0) *lead = lead_of(x, s->vocab, best);
        return best;
    }
    int n = candidates(s, x, d->params, &top);
    if (n && filters_weights(d->params)) n = weigh(s, n, top, d->params);
    return draw_of(s, n, top, d, lead);
}

static bool is_absent(const glia_draw *d, int32_t token) {
    size_t from = 0, to = d->n_absent;
    while (from < to) {
        const size_t middle = (from + to) / 2;
        if (d->absent[middle] == token) return true;
        if (d->absent[middle] < token)
            from = middle + 1;
        else
            to = middle;
    }
    return false;
}

/* The processed logits with those of absent ids at -inf. */
static const float *without_absent(glia_sampler *s, const float *logits, const glia_draw *d) {
    const float *x = process(s, logits, d);
    if (x != s->x) memcpy(s->x, x, (size_t)s->vocab * sizeof *x);
    for (size_t i = 0; i < d->n_absent; i++) s->x[d->absent[i]] = -INFINITY;
    return s->x;
}

int32_t glia_sample_lead(glia_sampler *s, const float *logits, const glia_draw *d, float *lead) {
    const int32_t token = draw_from(s, process(s, logits, d), d, lead);
    return is_absent(d, token) ? draw_from(s, without_absent(s, logits, d), d, lead) : token;
}

int32_t glia_sample(glia_sampler *s, const float *logits, const glia_draw *d) {
    return glia_sample_lead(s, logits, d, NULL);
}

/* Replace the candidates' weights s->p by what the draw orders: log(weight) - log(-log(u)). */
static void add_noise(glia_sampler *s, int n, const glia_draw *d) {
    noise from = {.d = d, .first = 1};
    for (int i = 0; i < n; i++) s->p[i] = log(s->p[i]) - log(-log(uniform_of(&from, s->id[i])));
}

/* Leave the candidates in s->id and what the draw orders in s->p. Returns how many; 0 for bad logits. */
static int order_candidates(glia_sampler *s, const float *x, const glia_draw *d) {
    float top = 0;
    int n = s->vocab;
    if (!glia_sampling_greedy(d->params)) {
        n = candidates(s, x, d->params, &top);
        n = weigh(s, n, top, d->params);
        add_noise(s, n, d);
        return n;
    }
    if (argmax(x, n) < 0) return 0;
    for (int i = 0; i < n; i++) {
        s->p[i] = (double)x[i];
        s->id[i] = i;
    }
    return n;
}

/* Set at[] to the indices of the k largest of s->p, largest first, and return how many there are. */
static int largest_of(const glia_sampler *s, int n, int k, int32_t *at) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (!(s->p[i] > -INFINITY) || (kept == k && !(s->p[i] > s->p[at[k - 1]]))) continue;
        int to = kept < k ? kept++ : k - 1;
        for (; to > 0 && s->p[i] > s->p[at[to - 1]]; to--) at[to] = at[to - 1];
        at[to] = i;
    }
    return kept;
}

int glia_sample_best(glia_sampler *s, const float *logits, const glia_draw *d, int k, int32_t *token,
                     float *score) {
    int n = order_candidates(s, process(s, logits, d), d), kept = largest_of(s, n, k, token);
    double sum = 0, best = -INFINITY;
    int left = 0;
    if (kept && is_absent(d, s->id[token[0]])) {
        n = order_candidates(s, without_absent(s, logits, d), d);
        kept = largest_of(s, n, k, token);
    }
    if (kept) best = s->p[token[0]];
    for (int i = 0; kept && score && i < n; i++) sum += exp(s->p[i] - best);
    for (int i = 0; i < kept; i++) {
        const int32_t id = s->id[token[i]];
        if (is_absent(d, id)) continue;
        if (score) score[left] = (float)(s->p[token[i]] - best - log(sum));
        token[left++] = id;
    }
    return left;
}

/* ---- when each rank has one shard of the logits ------------------------------ */

int glia_draw_best(const glia_draw *d, size_t shard) {
    const glia_sampling *p = d->params;
    if (has_processors(d) || p->logprobs >= 0) return 0;
    if (glia_sampling_greedy(p)) return 1;
    return p->top_k <= GLIA_BEST_MAX && 2 * (size_t)p->top_k <= shard ? p->top_k : 0;
}

float glia_draw_divisor(const glia_draw *d) {
    return glia_sampling_greedy(d->params) ? 1.0f : d->params->temperature;
}

/* Fast path of glia_shard_top_find() for k = 1 and divisor 1: no histogram, no copy. */
static void find_best(glia_shard_top *out, const float *x, int n, int32_t first, float best) {
    int at = 0;
    while (x[at] != best) at++;
    out->n = 1;
    out->best[0] = (glia_candidate){best, first + at};
    for (at++; at < n && !out->more; at++) out->more = x[at] == best;
}

void glia_shard_top_find(glia_shard_top *out, glia_sampler *s, const float *logits, int n, int32_t first,
                         int k, float divisor) {
    assert(k >= 1 && n <= s->vocab);
    *out = (glia_shard_top){0};
    float best;
    out->bad = !largest(&best, logits, n);
    if (n == 0 || out->bad) return;
    if (k == 1 && divisor == 1) {
        find_best(out, logits, n, first, best);
        return;
    }
    for (int i = 0; i < n; i++) s->x[i] = logits[i] / divisor;
    double above = 0;
    uint32_t least = 0; /* every value is above 0 */
    if (k < n) least = threshold(s->x, NULL, n, k, &above);
    int equal = k - (int)above; /* so many values equal to the threshold fit into k */
    for (int i = 0; i < n; i++) {
        const uint32_t key = ordered(s->x[i]);
        if (key < least) continue;
        if (key == least && equal-- <= 0)
            out->more = true;
        else
            out->best[out->n++] = (glia_candidate){s->x[i], first + i};
    }
}

int32_t glia_sample_shards(glia_sampler *s, const void *tops, size_t stride, int n_shards,
                           const glia_draw *d) {
    int n = 0, best = 0;
    for (int r = 0; r < n_shards; r++) {
        const glia_shard_top *shard = (const void *)((const char *)tops + (size_t)r * stride);
        if (shard->bad) return -1;
        for (int i = 0; i < shard->n; i++, n++) {
            s->x[n] = shard->best[i].x;
            s->id[n] = shard->best[i].id;
            if (s->x[n] > s->x[best]) best = n;
        }
    }
    const float top = s->x[best];
    if (top == -INFINITY) return -1;
    if (glia_sampling_greedy(d->params)) return is_absent(d, s->id[best]) ? GLIA_DRAW_WHOLE : s->id[best];
    double unused;
    const uint32_t least = threshold(s->x, NULL, n, d->params->top_k, &unused);
    for (int r = 0; r < n_shards; r++) {
        const glia_shard_top *shard = (const void *)((const char *)tops + (size_t)r * stride);
        uint32_t lowest = UINT32_MAX; /* a rank drops only values equal to its smallest */
        for (int i = 0; i < shard->n; i++)
            if (ordered(shard->best[i].x) < lowest) lowest = ordered(shard->best[i].x);
        if (shard->more && lowest == least) return GLIA_DRAW_WHOLE;
    }
    n = compact(s, n, least);
    if (filters_weights(d->params)) n = weigh(s, n, top, d->params);
    const int32_t token = draw_of(s, n, top, d, NULL);
    return is_absent(d, token) ? GLIA_DRAW_WHOLE : token;
}

/* ---- log-probabilities ---------------------------------------------------- */

/* The logarithm of the sum of the exponentials. */
static double log_sum(const float *logits, int vocab) {
    float best = -INFINITY;
    for (int i = 0; i < vocab; i++) best = logits[i] > best ? logits[i] : best;
    double sum = 0;
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - (double)best);
    return (double)best + log(sum);
}

void glia_logprobs_of(const float *logits, int vocab, const int32_t *tokens, int n, float *logprobs) {
    const double shift = n ? log_sum(logits, vocab) : 0;
    for (int i = 0; i < n; i++) logprobs[i] = (float)((double)logits[tokens[i]] - shift);
}

void glia_logprobs(const float *logits, int vocab, int32_t token, float *logprob, int n, int32_t *top,
                   float *top_logprobs) {
    assert(n >= 0 && n <= vocab && token >= 0 && token < vocab);
    const double shift = log_sum(logits, vocab);
    *logprob = (float)((double)logits[token] - shift);

    int have = 0;
    for (int i = 0; n > 0 && i < vocab; i++) {
        if (have == n && !(logits[i] > logits[top[n - 1]])) continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1]]; at--) top[at] = top[at - 1];
        top[at] = i;
    }
    for (int i = 0; i < have; i++) top_logprobs[i] = (float)((double)logits[top[i]] - shift);
}
