/* guide.c - a request's place in a grammar. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "grammar/grammar_impl.h"
#include "grammar/rx_impl.h"
#include "text/unicode.h"

/* Places that are no state: before an answer that may think, and inside thinking, with the number of bytes of
 * "</think>" that the text ends with. */
enum { MAY_THINK = 0x40000000, THINKING = 0x20000000 };
static const char CLOSE[] = "</think>";

/* Work that one call may do. */
static const uint64_t CALL_UNITS = 5000000;

static glia_grammar *lock_grammar(glia_grammar *g) {
    pthread_mutex_lock(&g->lock);
    glia_rx_allow(g->rx, CALL_UNITS);
    return g;
}

/* Unlock, and report the failure of the pool, which then can work again. */
static glia_status unlock_grammar(glia_grammar *g, glia_err *err) {
    glia_err *e = &g->rx->err;
    const glia_status status = e->status ? glia_fail(err, e->status, "%s", e->msg) : GLIA_OK;
    e->status = GLIA_OK;
    pthread_mutex_unlock(&g->lock);
    return status;
}

static glia_grammar *lock(glia_guide *s) { return lock_grammar(s->grammar); }
static glia_status unlock(glia_guide *s, glia_err *err) { return unlock_grammar(s->grammar, err); }

static uint32_t place(const glia_guide *s) { return glia_guide_place(s); }

glia_status glia_guide_begin(glia_guide *s, glia_grammar *g, glia_think think, uint32_t *places,
                             size_t tokens, glia_err *err) {
    *s = (glia_guide){.grammar = g, .place = places, .cap = tokens};
    if (g->empty) return glia_fail(err, GLIA_ERR_ARGUMENT, "no text satisfies the constraint");
    if (think == GLIA_THINK_MAY && g->vocab->think_open < 0) think = GLIA_THINK_NO;
    places[0] = think == GLIA_THINK_INSIDE ? THINKING : think == GLIA_THINK_MAY ? MAY_THINK : g->start;
    return GLIA_OK;
}

void glia_guide_fork(glia_guide *s, const glia_guide *from, uint32_t *places, size_t tokens) {
    *s = *from;
    s->place = places;
    s->cap = tokens;
    s->n = 0;
    places[0] = place(from);
}

static glia_pda_state state_of(const glia_guide *s) {
    return place(s) == MAY_THINK ? s->grammar->start : place(s);
}

static void clear_from(uint64_t *mask, size_t first, size_t vocab) {
    for (size_t i = first; i < (vocab + 63) / 64 * 64; i++) mask[i / 64] &= ~(UINT64_C(1) << i % 64);
}

glia_status glia_guide_mask(glia_guide *s, uint64_t *mask, size_t vocab, const int32_t *endings, size_t n,
                            bool *all, glia_err *err) {
    const size_t bytes = (vocab + 63) / 64 * sizeof *mask;
    if (all) *all = false;
    if (place(s) & THINKING) { /* everything but the end */
        memset(mask, 0xff, bytes);
        clear_from(mask, vocab, vocab);
        for (size_t i = 0; i < n; i++) mask[endings[i] / 64] &= ~(UINT64_C(1) << endings[i] % 64);
        if (all) *all = n == 0;
        return GLIA_OK;
    }
    memset(mask, 0, bytes);
    glia_grammar *g = lock(s);
    const glia_pda_state at = state_of(s);
    if (!s->ended) glia_mask_or(g, at, mask);
    if (glia_pda_at(&g->pda, at)->accepts)
        for (size_t i = 0; i < n; i++) mask[endings[i] / 64] |= UINT64_C(1) << endings[i] % 64;
    if (place(s) == MAY_THINK) mask[g->vocab->think_open / 64] |= UINT64_C(1) << g->vocab->think_open % 64;
    return unlock(s, err);
}

void glia_grammar_prepare(glia_grammar *g, uint32_t place) {
    if (place & THINKING) return;
    lock_grammar(g);
    const glia_pda_state at = place == MAY_THINK ? g->start : place;
    uint64_t *mask =
        glia_pda_at(&g->pda, at)->mask ? NULL : calloc((size_t)g->vocab->size / 64 + 1, sizeof *mask);
    if (mask) glia_mask_or(g, at, mask);
    unlock_grammar(g, NULL);
    free(mask);
}

/* ---- following tokens ------------------------------------------------------------------ */

/* The place inside thinking after these bytes. */
static uint32_t think(glia_grammar *g, uint32_t at, const char *bytes, size_t len) {
    unsigned matched = at & 15;
    for (size_t i = 0; i < len; i++) {
        matched = bytes[i] == CLOSE[matched] ? matched + 1 : bytes[i] == '<';
        if (matched < sizeof CLOSE - 1) continue;
        glia_pda_state s = g->after_thinking;
        for (i++; i < len && s != GLIA_PDA_DEAD; i++) s = glia_pda_step(&g->pda, s, (unsigned char)bytes[i]);
        return s == GLIA_PDA_DEAD ? g->after_thinking : s;
    }
    return THINKING | matched;
}

static bool is_ending(int32_t token, const int32_t *endings, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (endings[i] == token) return true;
    return false;
}

/* The place after a token at a place; GLIA_PDA_DEAD if the token may not come. */
static uint32_t after(glia_grammar *g, uint32_t from, int32_t token) {
    const glia_vocab *v = g->vocab;
    size_t len;
    const char *bytes = glia_tokenizer_bytes(v->tokenizer, token, &len);
    if (!bytes) return GLIA_PDA_DEAD;
    if (from & THINKING) return think(g, from, bytes, len);
    if (from == MAY_THINK && token == v->think_open) return THINKING;
    if (len == 0 || token == v->think_open || token == v->think_close ||
        glia_tokenizer_is_special(v->tokenizer, token))
        return GLIA_PDA_DEAD;
    glia_pda_state at = from == MAY_THINK ? g->start : from;
    for (size_t i = 0; i < len && at != GLIA_PDA_DEAD; i++)
        at = glia_pda_step(&g->pda, at, (unsigned char)bytes[i]);
    return at;
}

uint32_t glia_guide_after(glia_guide *s, uint32_t from, int32_t token) {
    const uint32_t next = after(lock(s), from, token);
    return unlock(s, NULL) ? GLIA_PDA_DEAD : next;
}

bool glia_guide_accept(glia_guide *s, int32_t token, const int32_t *endings, size_t n) {
    if (s->ended || s->n >= s->cap) return false;
    if (is_ending(token, endings, n)) {
        if (!glia_guide_may_end(s)) return false;
        s->place[s->n + 1] = place(s);
        s->n++;
        s->ended = true;
        return true;
    }
    const uint32_t next = glia_guide_after(s, place(s), token);
    if (next == GLIA_PDA_DEAD) return false;
    s->place[++s->n] = next;
    return true;
}

void glia_guide_roll_back(glia_guide *s, size_t k) {
    s->n -= k < s->n ? k : s->n;
    if (k) s->ended = false;
}

bool glia_guide_may_end(glia_guide *s) {
    if (place(s) & THINKING) return false;
    glia_grammar *g = lock(s);
    const bool accepts = glia_pda_at(&g->pda, state_of(s))->accepts;
    unlock(s, NULL);
    return accepts;
}

/* ---- what must come ---------------------------------------------------------------------- */

enum { ANY_BYTE = 256, NO_BYTE = 257 };

/* The only byte that may come in a state; ANY_BYTE if there are several. */
static unsigned only_byte(glia_grammar *g, glia_pda_state at) {
    unsigned only = NO_BYTE;
    for (unsigned b = 0; b < 256; b++) {
        if (glia_pda_step(&g->pda, at, (unsigned char)b) == GLIA_PDA_DEAD) continue;
        if (only != NO_BYTE) return ANY_BYTE;
        only = b;
    }
    return only;
}

bool glia_guide_must_end(glia_guide *s) {
    if (s->ended) return true;
    if (place(s) & (THINKING | MAY_THINK)) return false;
    glia_grammar *g = lock(s);
    const bool must = glia_pda_at(&g->pda, place(s))->accepts && only_byte(g, place(s)) == NO_BYTE;
    return !unlock(s, NULL) && must;
}

/* glia_guide_forced() under the lock; *at: the state after the bytes. */
static size_t forced(glia_guide *s, glia_grammar *g, char *out, size_t most, glia_pda_state *at) {
    size_t n = 0;
    *at = place(s);
    if (s->ended || place(s) & (THINKING | MAY_THINK)) return 0;
    for (; n < most && !glia_pda_at(&g->pda, *at)->accepts; n++) {
        const unsigned b = only_byte(g, *at);
        if (b > 255 || glia_rx_error(g->rx)->status) break;
        out[n] = (char)b;
        *at = glia_pda_step(&g->pda, *at, (unsigned char)b);
    }
    return n;
}

size_t glia_guide_forced(glia_guide *s, char *out, size_t most) {
    glia_pda_state at;
    const size_t n = forced(s, lock(s), out, most, &at);
    return unlock(s, NULL) ? 0 : n;
}

/* Does a token begin with these bytes, which end in state `at`, and go on as the grammar allows? */
static bool goes_on(glia_grammar *g, const char *bytes, size_t len, glia_pda_state at) {
    const glia_vocab *v = g->vocab;
    const uint32_t from = glia_vocab_find(v, bytes, len);
    if (!from) return false;
    glia_pda_state *stack = g->walk;
    stack[v->node[from].depth] = at;
    for (uint32_t i = from + 1; i < from + v->node[from].skip;) {
        const glia_vocab_node node = v->node[i];
        const glia_pda_state next = glia_pda_step(&g->pda, stack[node.depth - 1], node.byte);
        if (next != GLIA_PDA_DEAD && node.token >= 0) return true;
        stack[node.depth] = next;
        i += next == GLIA_PDA_DEAD ? node.skip : 1;
    }
    return false;
}

/* How many of the tokens of `bytes` are the only way to cut it. */
static size_t settled(glia_grammar *g, const int32_t *ids, size_t n, const char *bytes, size_t len,
                      glia_pda_state at) {
    size_t keep = n, end = len;
    for (size_t i = n; i-- > 0 && len - end <= (size_t)g->vocab->deepest;) {
        size_t bytes_of;
        glia_tokenizer_bytes(g->vocab->tokenizer, ids[i], &bytes_of);
        end -= bytes_of;
        if (goes_on(g, bytes + end, len - end, at)) keep = i;
    }
    return keep;
}

size_t glia_guide_forced_tokens(glia_guide *s, int32_t *out, size_t most) {
    char bytes[1024];
    glia_pda_state at;
    int32_t *ids = NULL;
    size_t n = 0;
    glia_grammar *g = lock(s);
    const size_t found = forced(s, g, bytes, sizeof bytes, &at);
    size_t len = glia_utf8_check(bytes, found);
    if (len == found && len > 0 &&
        !glia_tokenizer_encode(g->vocab->tokenizer, bytes, len, false, &ids, &n, NULL)) {
        size_t sum = 0, one;
        for (size_t i = 0; i < n; i++, sum += one) glia_tokenizer_bytes(g->vocab->tokenizer, ids[i], &one);
        n = sum == len ? settled(g, ids, n, bytes, len, at) : 0; /* a normalizer may change the text */
        if (n > most) n = most;
        memcpy(out, ids, n * sizeof *out);
    }
    free(ids);
    return unlock(s, NULL) ? 0 : n;
}

/* ---- a whole text --------------------------------------------------------------------------- */

/* Follow the tokens; each must be in the mask of its place. seconds [n] (may be NULL): of each mask. */
static glia_status follow(glia_guide *s, const int32_t *ids, size_t n, uint64_t *mask, bool *accepts,
                          double *seconds, glia_err *err) {
    *accepts = true;
    for (size_t i = 0; i < n && *accepts; i++) {
        const double begin = glia_seconds();
        const glia_status status =
            glia_guide_mask(s, mask, (size_t)s->grammar->vocab->size, NULL, 0, NULL, err);
        if (seconds) seconds[i] = glia_seconds() - begin;
        if (status) return status;
        *accepts = mask[ids[i] / 64] >> ids[i] % 64 & 1;
        if (*accepts && !glia_guide_accept(s, ids[i], NULL, 0))
            return glia_fail(err, GLIA_ERR_LIMIT, "the constraint reached a limit at token %zu of the text",
                             i + 1);
    }
    *accepts = *accepts && glia_guide_may_end(s);
    return GLIA_OK;
}

/* The ids of the text's own bytes: as the tokenizer cuts it, or, where its normalizer would change the text,
 * the longest token at each byte. *n 0: a byte begins no token. */
static glia_status cut(const glia_vocab *v, const char *text, size_t len, int32_t **ids, size_t *n,
                       glia_err *err) {
    glia_status status = glia_tokenizer_encode(v->tokenizer, text, len, false, ids, n, err);
    size_t at = 0, one;
    for (size_t i = 0; i < *n && !status; i++, at += one) {
        const char *bytes = glia_tokenizer_bytes(v->tokenizer, (*ids)[i], &one);
        if (!bytes || one > len - at || memcmp(bytes, text + at, one)) break;
    }
    if (status || at == len) return status;
    free(*ids);
    *n = 0;
    *ids = malloc((len + 1) * sizeof **ids);
    if (!*ids) return glia_fail_nomem(err, len * sizeof **ids, "a text");
    for (at = 0; at < len; at += one) {
        one = 0;
        for (size_t k = 1; k <= len - at && k <= (size_t)v->deepest; k++) {
            const uint32_t node = glia_vocab_find(v, text + at, k);
            if (!node) break;
            if (v->node[node].token < 0) continue;
            (*ids)[*n] = v->node[node].token;
            one = k;
        }
        *n = one ? *n + 1 : 0;
        if (!one) break;
    }
    return GLIA_OK;
}

glia_status glia_grammar_time(glia_grammar *g, const char *text, size_t len, bool *accepts, double **seconds,
                              size_t *n, glia_err *err) {
    int32_t *ids = NULL;
    *accepts = false;
    if (seconds) *seconds = NULL;
    *n = 0;
    if (g->empty) return GLIA_OK;
    glia_status status = cut(g->vocab, text, len, &ids, n, err);
    if (status || (len > 0 && *n == 0)) {
        free(ids);
        return status;
    }
    uint32_t *places = malloc(glia_guide_places(*n));
    uint64_t *mask = malloc(((size_t)g->vocab->size + 63) / 64 * sizeof *mask);
    if (seconds) *seconds = calloc(*n + 1, sizeof **seconds);
    glia_guide s;
    if (!places || !mask || (seconds && !*seconds))
        status = glia_fail_nomem(err, glia_guide_places(*n), "a text");
    else
        status = glia_guide_begin(&s, g, GLIA_THINK_NO, places, *n, err);
    if (!status) status = follow(&s, ids, *n, mask, accepts, seconds ? *seconds : NULL, err);
    free(places);
    free(mask);
    free(ids);
    return status;
}

glia_status glia_grammar_accepts(glia_grammar *g, const char *text, size_t len, bool *accepts,
                                 glia_err *err) {
    size_t n;
    return glia_grammar_time(g, text, len, accepts, NULL, &n, err);
}
