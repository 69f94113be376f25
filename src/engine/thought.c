/* thought.c - see thought.h. */
#include "engine/thought.h"

static void enter(glia_thought *t) {
    t->inside = true;
    t->left = t->budget;
    t->next = 0;
}

void glia_thought_begin(glia_thought *t, const glia_thought_tokens *tokens, int budget, bool inside) {
    *t = (glia_thought){.budget = budget};
    if (tokens->open < 0 || tokens->close < 0) return;
    t->tokens = tokens;
    if (inside) enter(t);
}

int32_t glia_thought_forced(const glia_thought *t) {
    return t->inside && t->left == 0 ? t->tokens->end[t->next] : -1;
}

void glia_thought_follow(glia_thought *t, int32_t token) {
    if (!t->tokens) return;
    if (token == t->tokens->close)
        t->inside = false;
    else if (!t->inside && token == t->tokens->open)
        enter(t);
    else if (t->inside && t->left)
        t->left--;
    else if (t->inside)
        t->next++;
}
