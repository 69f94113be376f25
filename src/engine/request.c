/* request.c - check a request and copy it into one allocation, which has all the memory
 * that steps use. */
#include "engine/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "text/unicode.h"

/* Count the ids without a token, and write them to `ids` unless that is NULL. */
static size_t find_absent(int32_t *ids, const glia_tokenizer *t, int vocab) {
    size_t n = 0, len;
    for (int32_t id = 0; id < vocab; id++) {
        if (glia_tokenizer_bytes(t, id, &len)) continue;
        if (ids) ids[n] = id;
        n++;
    }
    return n;
}

/* What ends thinking: a newline if that is one token, and </think>. */
static void find_thought(glia_thought_tokens *t, const glia_tokenizer *tokenizer) {
    int32_t *ids = NULL;
    size_t n = 0;
    *t = (glia_thought_tokens){.open = glia_tokenizer_id(tokenizer, "<think>"),
                               .close = glia_tokenizer_id(tokenizer, "</think>")};
    if (glia_tokenizer_encode(tokenizer, "\n", 1, false, &ids, &n, NULL) == GLIA_OK && n == 1)
        t->end[t->n_end++] = ids[0];
    t->end[t->n_end++] = t->close;
    free(ids);
}

bool glia_request_find_tokens(glia_request_rules *rules) {
    rules->thought = (glia_thought_tokens){.open = -1, .close = -1};
    if (!rules->tokenizer) return true;
    find_thought(&rules->thought, rules->tokenizer);
    rules->n_absent = find_absent(NULL, rules->tokenizer, rules->vocab);
    rules->absent = malloc((rules->n_absent + 1) * sizeof *rules->absent);
    if (rules->absent) find_absent(rules->absent, rules->tokenizer, rules->vocab);
    return rules->absent;
}

static bool has_token(const glia_request_rules *c, const glia_sampling *s) {
    size_t len;
    for (size_t i = 0; i < s->n_allowed_token_ids; i++)
        if (!c->tokenizer || glia_tokenizer_bytes(c->tokenizer, s->allowed_token_ids[i], &len)) return true;
    return false;
}

static glia_status check(const glia_request_rules *c, const int32_t *ids, size_t n, const glia_sampling *s,
                         glia_err *err) {
    const int vocab = c->vocab;
    const int length = c->sequence_length;
    if (n == 0) return glia_fail(err, GLIA_ERR_ARGUMENT, "the prompt has no tokens");
    if (n >= (size_t)length)
        return glia_fail(err, GLIA_ERR_LIMIT,
                         "the prompt has %zu tokens; a sequence length of %d has room for %d and an answer",
                         n, length, length - 1);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return glia_fail(err, GLIA_ERR_ARGUMENT, "token %zu of the prompt is %d, the vocabulary has %d",
                             i, ids[i], vocab);
    const char *unsupported = s->unsupported || !s->do_sample ? s->unsupported : s->unsupported_sampling;
    if (unsupported) return glia_fail(err, GLIA_ERR_UNSUPPORTED, "%s", unsupported);
    if (s->n_stop && !c->tokenizer)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "stop strings need a tokenizer, this model has none");
    const glia_status status = glia_sampling_check(s, vocab, err);
    if (status) return status;
    if (s->n_allowed_token_ids && s->constraint)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "allowed_token_ids and a constraint exclude each other");
    if (s->n_allowed_token_ids && !has_token(c, s))
        return glia_fail(err, GLIA_ERR_ARGUMENT, "allowed_token_ids has no id with a token");
    for (size_t i = 0; i < s->n_stop; i++)
        if (glia_utf8_check(s->stop[i], strlen(s->stop[i])) != strlen(s->stop[i]))
            return glia_fail(err, GLIA_ERR_FORMAT, "stop string %zu is not UTF-8 at byte %zu", i + 1,
                             glia_utf8_check(s->stop[i], strlen(s->stop[i])));
    return GLIA_OK;
}

/* Does the prompt end inside an open <think>? The last 64 tokens of the prompt decide. */
static glia_status opens_thinking(bool *thinking, const glia_tokenizer *t, const int32_t *ids, size_t n,
                                  glia_err *err) {
    const size_t last = n < 64 ? n : 64;
    glia_buf text = {0};
    glia_tokenizer_decode(t, ids + n - last, last, false, &text);
    *thinking = text.len && glia_prompt_opens_thinking(text.data, text.len);
    const bool oom = text.oom;
    glia_buf_free(&text);
    return oom ? glia_fail_nomem(err, last, "the end of the prompt") : GLIA_OK;
}

/* Divides one allocation; with base NULL it only counts bytes. */
typedef struct {
    char *base;
    size_t used;
} carver;

static void *carve(carver *c, size_t bytes) {
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 15) / 16 * 16;
    return p;
}

static void *copy(carver *c, const void *from, size_t bytes) {
    void *p = carve(c, bytes);
    if (p && bytes) memcpy(p, from, bytes);
    return p;
}

/* Lay out *r and its arrays. Called once to count bytes (r NULL) and once to fill. */
static void lay_out(carver *at, glia_request *r, const glia_request_rules *c, const int32_t *ids, size_t n,
                    const glia_sampling *s) {
    glia_request unused;
    (void)carve(at, sizeof *r);
    if (!r) r = &unused;
    const size_t length = (size_t)c->sequence_length;
    const size_t room =
        s->max_tokens && n + (size_t)s->max_tokens < length ? n + (size_t)s->max_tokens : length;
    r->seq.tokens = carve(at, room * sizeof *ids);
    r->seq.max_tokens = (int)room;
    if (at->base) memcpy(r->seq.tokens, ids, n * sizeof *ids);
    r->absent = c->absent;
    r->n_absent = c->n_absent;
    r->n_eos = c->n_eos;
    r->n_endings = c->n_eos + s->n_stop_token_ids;
    r->endings = carve(at, r->n_endings * sizeof *r->endings);
    for (size_t i = 0; at->base && i < r->n_endings; i++)
        r->endings[i] = i < c->n_eos ? c->eos[i] : s->stop_token_ids[i - c->n_eos];
    r->params = *s;
    r->params.stop_token_ids = NULL; /* in `endings` */
    r->params.logit_bias = copy(at, s->logit_bias, s->n_logit_bias * sizeof *s->logit_bias);
    r->params.logprob_token_ids =
        copy(at, s->logprob_token_ids, s->n_logprob_token_ids * sizeof *s->logprob_token_ids);
    r->params.allowed_token_ids =
        copy(at, s->allowed_token_ids, s->n_allowed_token_ids * sizeof *s->allowed_token_ids);
    glia_token_list *bad = carve(at, s->n_bad_words * sizeof *bad);
    for (size_t i = 0; i < s->n_bad_words; i++) {
        const int32_t *word = copy(at, s->bad_words[i].ids, s->bad_words[i].n * sizeof *word);
        if (at->base) bad[i] = (glia_token_list){word, s->bad_words[i].n};
    }
    r->params.bad_words = bad;
    const char **stop = carve(at, s->n_stop * sizeof *stop);
    for (size_t i = 0; i < s->n_stop; i++) {
        char *text = copy(at, s->stop[i], strlen(s->stop[i]) + 1);
        if (at->base) stop[i] = text;
    }
    r->params.stop = stop;
    if (s->constraint) {
        r->mask = carve(at, ((size_t)c->vocab + 63) / 64 * sizeof *r->mask);
        r->guide.place = carve(at, glia_guide_places(room - n));
        r->guide.cap = room - n;
    }
    r->output.text = c->tokenizer ? carve(at, glia_output_room(c->tokenizer, s->stop, s->n_stop)) : NULL;
}

void glia_request_free(glia_request *r) {
    if (r) glia_grammar_release(r->grammar);
    free(r);
}

/* ---- constraints ------------------------------------------------------------- */

/* Does the prompt end behind a </think> that the template wrote? */
static bool closes_thinking(const glia_tokenizer *t, const int32_t *ids, size_t n) {
    const size_t last = n < 8 ? n : 8;
    static const char tag[] = "</think>";
    glia_buf text = {0};
    glia_tokenizer_decode(t, ids + n - last, last, false, &text);
    size_t len = text.len;
    while (len && strchr(" \n", text.data[len - 1])) len--;
    const bool closes =
        len >= sizeof tag - 1 && memcmp(text.data + len - (sizeof tag - 1), tag, sizeof tag - 1) == 0;
    glia_buf_free(&text);
    return closes;
}

/* What comes next without a choice: tokens that the constraint forces, or the end. */
static void find_forced(glia_request *r) {
    r->next_forced = r->n_forced = 0;
    if (r->params.logprobs >= 0) return;
    if (glia_guide_must_end(&r->guide) && r->n_endings) {
        r->forced[r->n_forced++] = r->endings[0];
        return;
    }
    r->n_forced = (int)glia_guide_forced_tokens(&r->guide, r->forced, GLIA_FORCED_MAX);
}

static glia_status constrain(glia_request *r, const glia_request_rules *c, const glia_sampling *s,
                             bool thinking, glia_err *err) {
    const size_t n = (size_t)r->seq.n_prompt;
    if (!c->tokenizer)
        return glia_fail(err, GLIA_ERR_ARGUMENT, "a constraint needs a tokenizer, this model has none");
    r->grammar = (glia_grammar *)(uintptr_t)s->constraint;
    glia_grammar_retain(r->grammar);
    r->params.ignore_eos = false;
    const bool may = s->may_think && !closes_thinking(c->tokenizer, r->seq.tokens, n);
    const glia_status status = glia_guide_begin(&r->guide, r->grammar,
                                                thinking ? GLIA_THINK_INSIDE
                                                : may    ? GLIA_THINK_MAY
                                                         : GLIA_THINK_NO,
                                                r->guide.place, r->guide.cap, err);
    if (!status) find_forced(r);
    return status;
}

int32_t glia_request_constrain(glia_request *r, glia_draw *d) {
    if (r->next_forced < r->n_forced) return r->forced[r->next_forced];
    bool all = false;
    const size_t words = ((size_t)r->vocab + 63) / 64;
    if (glia_guide_mask(&r->guide, r->mask, (size_t)r->vocab, r->endings, r->n_endings, &all, &r->failed))
        return -2;
    d->allowed = all ? NULL : r->mask;
    uint64_t any = all;
    for (size_t i = 0; i < words; i++) any |= r->mask[i];
    if (d->n_forbidden && glia_guide_must_end(&r->guide)) d->n_forbidden = 0;
    if (any) return -1;
    glia_fail(&r->failed, GLIA_ERR_UNSUPPORTED, "no token of this model can continue the constraint");
    return -2;
}

int32_t glia_request_forced(const glia_request *r) {
    if (r->params.logprobs >= 0) return -1;
    const int32_t ends = glia_thought_forced(&r->thought);
    return ends >= 0 || r->next_forced >= r->n_forced ? ends : r->forced[r->next_forced];
}

void glia_request_follow(glia_request *r, int32_t token) {
    glia_thought_follow(&r->thought, token);
    if (!r->grammar) return;
    if (r->next_forced < r->n_forced) r->next_forced++;
    if (!glia_guide_accept(&r->guide, token, r->endings, r->n_endings))
        glia_fail(&r->failed, GLIA_ERR_LIMIT, "the constraint cannot follow token %d", token);
    else if (r->next_forced == r->n_forced && !r->guide.ended)
        find_forced(r);
}

glia_status glia_request_create(glia_request **out, const glia_request_rules *c, const int32_t *ids, size_t n,
                                const glia_sampling *s, glia_err *err) {
    *out = NULL;
    bool thinking = false;
    glia_status status = check(c, ids, n, s, err);
    if (!status && c->tokenizer) status = opens_thinking(&thinking, c->tokenizer, ids, n, err);
    if (status) return status;
    carver at = {0};
    lay_out(&at, NULL, c, ids, n, s);
    const size_t bytes = at.used;
    glia_request *r = calloc(1, bytes);
    if (!r) return glia_fail_nomem(err, bytes, "a request");
    at = (carver){.base = (char *)r};
    lay_out(&at, r, c, ids, n, s);
    assert(at.used == bytes);
    r->seq.n_prompt = r->seq.n_tokens = (int)n;
    const int vocab = c->vocab;
    if (r->params.logprobs > vocab) r->params.logprobs = vocab;
    if (r->params.prompt_logprobs > vocab + 1) r->params.prompt_logprobs = vocab + 1;
    r->seq.scored = s->prompt_logprobs > 0;
    r->seq.priority = s->priority;
    r->seq.client = s->client;
    r->seq.blocks.tenant = s->cache_salt ? glia_hash(s->cache_salt, strlen(s->cache_salt), 1) : 0;
    r->params.cache_salt = NULL; /* the caller's */
    r->submitted = glia_seconds();
    r->output.stop = r->params.stop;
    r->output.n_stop = s->n_stop;
    r->output.include_stop = s->include_stop_str_in_output;
    r->output.keep_special = s->keep_special_tokens;
    r->output.raw = s->raw_text;
    if (c->tokenizer) glia_output_begin(&r->output, c->tokenizer, thinking);
    atomic_init(&r->aborted, false);
    r->vocab = vocab;
    if (s->thinking_budget) glia_thought_begin(&r->thought, &c->thought, s->thinking_budget - 1, thinking);
    if (s->constraint) status = constrain(r, c, s, thinking, err);
    if (status)
        glia_request_free(r);
    else
        *out = r;
    return status;
}

glia_draw glia_request_draw(const glia_request *r, int ahead) {
    const int n = r->seq.n_tokens + ahead;
    return (glia_draw){
        .params = &r->params,
        .tokens = r->seq.tokens,
        .n_prompt = (size_t)r->seq.n_prompt,
        .n_tokens = (size_t)n,
        .forbidden = r->endings,
        .n_forbidden = n - r->seq.n_prompt < r->params.min_tokens ? r->n_endings : 0,
        .absent = r->absent,
        .n_absent = r->n_absent,
    };
}

bool glia_request_ends(const glia_request *r, int32_t token) {
    for (size_t i = r->params.ignore_eos ? r->n_eos : 0; i < r->n_endings; i++)
        if (token == r->endings[i]) return true;
    return false;
}
