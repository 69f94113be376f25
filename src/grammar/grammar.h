/* grammar.h - compiled constraints, and one guide for each request.
 *
 * A grammar says which texts an answer may be. It is compiled once and shared: its automaton
 * grows as requests visit it, behind a lock, and never changes what it accepts. A guide is a
 * request's place in a grammar: it says which tokens may come next, and follows the tokens that
 * were chosen. Any thread may use a grammar; one thread at a time uses a guide. */
#ifndef GLIA_GRAMMAR_GRAMMAR_H
#define GLIA_GRAMMAR_GRAMMAR_H

#include "grammar/vocab.h"

typedef struct glia_grammar glia_grammar;

/* What is compiled from what. */
typedef enum {
    GLIA_GRAMMAR_JSON_SCHEMA,
    GLIA_GRAMMAR_REGEX,
    GLIA_GRAMMAR_RULES,  /* GBNF, EBNF or Lark */
    GLIA_GRAMMAR_CHOICE, /* a JSON array of strings */
    GLIA_GRAMMAR_TAG,    /* a structural tag, a JSON object */
    GLIA_GRAMMAR_TOOLS,  /* tool calls: {"tools", "tool_choice", "parallel_tool_calls"} of OpenAI */
} glia_grammar_kind;

typedef struct {
    glia_grammar_kind kind;
    const char *text;
    size_t len;
    bool strict;            /* refuse what cannot be enforced; else a warning names it */
    const char *whitespace; /* docs/STRUCTURED.md; NULL: "flexible" */
} glia_grammar_source;

/* `v` must outlive the grammar. On success the caller owns a reference. Errors: GLIA_ERR_FORMAT,
 * GLIA_ERR_UNSUPPORTED, GLIA_ERR_LIMIT, GLIA_ERR_NOMEM; the message says what cannot be compiled. */
glia_status glia_grammar_compile(glia_grammar **out, const glia_vocab *v, const glia_grammar_source *source,
                                 glia_err *err);
void glia_grammar_retain(glia_grammar *g);
void glia_grammar_release(glia_grammar *g); /* NULL is fine */
/* The i-th sentence about what is not enforced; NULL after the last. */
const char *glia_grammar_warning(const glia_grammar *g, size_t i);
/* What the constraint means, for people; the caller frees it. NULL without memory. */
char *glia_grammar_describe(const glia_grammar *g);
/* No text satisfies the grammar. */
bool glia_grammar_is_empty(const glia_grammar *g);
/* Write a JSON value as the grammar of a schema wants it: keys in its order, blanks that it allows. The
 * caller frees *text. */
glia_status glia_grammar_write(glia_grammar *g, const char *json, size_t json_len, char **text, size_t *len,
                               glia_err *err);

/* Is the text an answer? Its tokens are followed through the masks. Errors: GLIA_ERR_FORMAT (not UTF-8),
 * GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
glia_status glia_grammar_accepts(glia_grammar *g, const char *text, size_t len, bool *accepts, glia_err *err);
/* The same, and the seconds that each mask took: *seconds [*n], which the caller frees. */
glia_status glia_grammar_time(glia_grammar *g, const char *text, size_t len, bool *accepts, double **seconds,
                              size_t *n, glia_err *err);

/* ---- guides ------------------------------------------------------------------------ */

typedef enum {
    GLIA_THINK_NO,    /* the constraint holds from the first token on */
    GLIA_THINK_MAY,   /* the answer may begin with <think> */
    GLIA_THINK_INSIDE /* the prompt ends inside <think>: the constraint begins after </think> */
} glia_think;

typedef struct {
    glia_grammar *grammar;
    uint32_t *place; /* [cap] after each token so far; place[0] before the first */
    size_t n, cap;
    bool ended; /* an ending token was accepted */
} glia_guide;

/* Bytes of `place` for that many tokens. */
static inline size_t glia_guide_places(size_t tokens) { return (tokens + 1) * sizeof(uint32_t); }
/* Begin. `places` [tokens + 1] is the caller's; at most `tokens` tokens are accepted before a roll-back.
 * Retains nothing. Errors: GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
glia_status glia_guide_begin(glia_guide *s, glia_grammar *g, glia_think think, uint32_t *places,
                             size_t tokens, glia_err *err);
/* Copy the place of `from` into *s, whose places are the caller's: [tokens + 1]. */
void glia_guide_fork(glia_guide *s, const glia_guide *from, uint32_t *places, size_t tokens);

/* Write a bit for each token that may come next: mask [(vocab + 63) / 64]. `endings` [n]: tokens that end the
 * answer. *all (may be NULL): every token may come, and the mask is not written. If no token may come, the
 * mask is empty.
 * Errors: GLIA_ERR_LIMIT, GLIA_ERR_NOMEM. */
glia_status glia_guide_mask(glia_guide *s, uint64_t *mask, size_t vocab, const int32_t *endings, size_t n,
                            bool *all, glia_err *err);
/* Compute the mask of a place (glia_guide_place(), glia_guide_after()) of a guide of the grammar, and keep it
 * for glia_guide_mask(). A failure is left to that call. */
void glia_grammar_prepare(glia_grammar *g, uint32_t place);
/* Follow a token. False, and nothing changes, if the token may not come. */
bool glia_guide_accept(glia_guide *s, int32_t token, const int32_t *endings, size_t n);
/* For a tree of proposed tokens: the place after `token` at `place`, which is glia_guide_place() or a result
 * of this function; 0: the token may not come there. Changes nothing. */
uint32_t glia_guide_after(glia_guide *s, uint32_t place, int32_t token);
static inline uint32_t glia_guide_place(const glia_guide *s) { return s->place[s->n]; }
/* Forget the last k tokens. */
void glia_guide_roll_back(glia_guide *s, size_t k);
/* May the answer end here? */
bool glia_guide_may_end(glia_guide *s);
/* Nothing but the end may come. */
bool glia_guide_must_end(glia_guide *s);
/* The bytes that must come next, up to `most`: written to out. Returns their number. */
size_t glia_guide_forced(glia_guide *s, char *out, size_t most);
/* The tokens that must come next, written to out [most]: the encoding of the forced bytes, without tokens at
 * its end that could have been cut otherwise. Returns their number. Nothing is accepted. */
size_t glia_guide_forced_tokens(glia_guide *s, int32_t *out, size_t most);

#endif
