/* thought.h - the budget of thinking: after so many tokens inside <think> the tokens that end it are forced.
 *
 * Pure: the state depends on the tokens of the request alone. */
#ifndef GLIA_ENGINE_THOUGHT_H
#define GLIA_ENGINE_THOUGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GLIA_THOUGHT_END_MAX = 8 };

/* What ends thinking, as tokens. */
typedef struct {
    int32_t open, close;               /* <think> and </think>; -1: the tokenizer has no such token */
    int32_t end[GLIA_THOUGHT_END_MAX]; /* [n_end] a newline and </think> */
    int n_end;
} glia_thought_tokens;

/* Zeroed: no budget. */
typedef struct {
    const glia_thought_tokens *tokens; /* NULL: no budget */
    bool inside;
    int left; /* tokens that may still come inside */
    int next; /* of tokens->end: how many were forced */
    int budget;
} glia_thought;

/* Begin. `inside`: the prompt ends inside <think>. Without tokens for both tags there is no budget. */
void glia_thought_begin(glia_thought *t, const glia_thought_tokens *tokens, int budget, bool inside);
/* The token that must come next; -1: any. */
int32_t glia_thought_forced(const glia_thought *t);
void glia_thought_follow(glia_thought *t, int32_t token);

#endif
