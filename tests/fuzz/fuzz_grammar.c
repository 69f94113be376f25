/* fuzz_grammar.c - hostile constraints, followed along their masks.
 *
 * The first byte selects the kind: a schema, a regular expression, rules, choices, a structural tag or tools.
 * The rest is the source. What compiles is followed for some tokens of the tiny tokenizer: each that a mask
 * allows must be accepted, and a place without tokens must be an end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 12, VOCAB = 260 };

static void require(bool true_thing) {
    if (!true_thing) abort();
}

static const glia_vocab *vocab(void) {
    static glia_vocab v;
    static glia_tokenizer *t;
    if (t) return &v;
    char *json = tiny_tokenizer();
    glia_err err;
    require(!glia_tokenizer_parse(&t, json, strlen(json), "tiny", &err));
    require(!glia_vocab_init(&v, t, &err));
    free(json);
    return &v;
}

/* The k-th allowed token, counted round; -1: none is allowed. */
static int32_t allowed(const uint64_t *mask, unsigned k) {
    int n = 0, at = 0;
    for (int i = 0; i < VOCAB; i++) n += mask[i / 64] >> i % 64 & 1;
    if (!n) return -1;
    at = (int)(k % (unsigned)n);
    for (int i = 0; i < VOCAB; i++)
        if (mask[i / 64] >> i % 64 & 1 && at-- == 0) return i;
    return -1;
}

static void follow(glia_grammar *g, unsigned seed) {
    uint32_t places[STEPS + 1];
    uint64_t mask[(VOCAB + 63) / 64];
    int32_t forced[8];
    glia_guide s;
    glia_err err;
    if (glia_guide_begin(&s, g, seed % 3 ? GLIA_THINK_NO : GLIA_THINK_INSIDE, places, STEPS, &err)) return;
    for (int i = 0; i < STEPS; i++) {
        const size_t n = glia_guide_forced_tokens(&s, forced, 8);
        if (glia_guide_mask(&s, mask, VOCAB, NULL, 0, NULL, &err)) return;
        const int32_t token = n ? forced[0] : allowed(mask, seed = seed * 1664525u + 1013904223u);
        if (token < 0) {
            require(glia_guide_may_end(&s));
            return;
        }
        require(mask[token / 64] >> token % 64 & 1);
        if (!glia_guide_accept(&s, token, NULL, 0)) return; /* only a limit can refuse it */
        if (seed % 5 == 0) glia_guide_roll_back(&s, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const glia_grammar_source source = {.kind = (glia_grammar_kind)(data[0] % 6),
                                        .text = (const char *)data + 1,
                                        .len = size - 1,
                                        .strict = data[0] & 64,
                                        .whitespace = data[0] & 32 ? "compact" : NULL};
    glia_grammar *g;
    glia_err err;
    if (glia_grammar_compile(&g, vocab(), &source, &err)) {
        require(err.msg[0] != '\0');
        return 0;
    }
    char *text = glia_grammar_describe(g);
    free(text);
    if (!glia_grammar_is_empty(g)) follow(g, data[size - 1]);
    glia_grammar_release(g);
    return 0;
}
