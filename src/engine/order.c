/* order.c - see order.h. */
#include "engine/order.h"

#include <string.h>

#include "base/arena.h"

enum { WORD_KIND, WORD_WORDS, WORD_MOVES, WORD_ADAPTERS, WORD_CHANGES, HEADER };
enum {
    MOVE = sizeof(glia_kv_move) / sizeof(int32_t),
    PUT = 2,
    CHANGE = 2,
    USE = sizeof(glia_logits_use) / sizeof(int32_t)
};
enum { FIRST_LEAST = 64 };

static size_t whole_lines(size_t words) {
    const size_t line = GLIA_ALIGN / sizeof(int32_t);
    return (words + line - 1) / line * line;
}

size_t glia_order_words(const glia_model_config *c, const glia_engine_limits *l) {
    const size_t tables = ((size_t)l->batch + 1) * glia_limit_blocks(l);
    const size_t step = MOVE * glia_limit_moves(l) + PUT * (size_t)l->adapters.places + CHANGE * tables +
                        glia_batch_words(glia_limit_rows(l)) + USE * glia_limit_logits(c, l);
    return whole_lines(HEADER + (step > l->draft_words ? step : l->draft_words));
}

size_t glia_order_first_words(const glia_model_config *c, const glia_engine_limits *l) {
    const size_t batch = (size_t)l->batch, draws = glia_limit_draws(l), all = glia_order_words(c, l);
    const size_t words = HEADER + CHANGE * batch + glia_batch_words_plain(draws, batch) + USE * draws;
    const size_t least = words > FIRST_LEAST ? words : FIRST_LEAST;
    return least < all ? least : all;
}

size_t glia_order_length(const int32_t *words) { return (size_t)words[WORD_WORDS]; }

void glia_order_begin(int32_t *words, glia_order_kind kind) {
    words[WORD_KIND] = (int32_t)kind;
    words[WORD_WORDS] = HEADER;
    words[WORD_MOVES] = words[WORD_ADAPTERS] = words[WORD_CHANGES] = 0;
}

static void append(int32_t *words, const void *from, int n) {
    memcpy(words + words[WORD_WORDS], from, (size_t)n * sizeof *words);
    words[WORD_WORDS] += n;
}

void glia_order_moves(int32_t *words, const glia_kv_move *move, int n) {
    append(words, move, MOVE * n);
    words[WORD_MOVES] = n;
}

void glia_order_put(int32_t *words, int place, int32_t adapter) {
    append(words, (const int32_t[PUT]){place, adapter}, PUT);
    words[WORD_ADAPTERS]++;
}

void glia_order_table(int32_t *words, const int32_t *known, int first, const int32_t *blocks, int n) {
    for (int i = 0; i < n; i++) {
        if (known[i] == blocks[i]) continue;
        append(words, (const int32_t[CHANGE]){first + i, blocks[i]}, CHANGE);
        words[WORD_CHANGES]++;
    }
}

void glia_order_batch(int32_t *words, const glia_run *run, int n) {
    words[WORD_WORDS] += (int32_t)glia_batch_write(words + words[WORD_WORDS], run, n);
}

void glia_order_use(int32_t *words, const glia_logits_use *use, int n) { append(words, use, USE * n); }

void glia_order_row(int32_t *words, int32_t row) { append(words, &row, 1); }

int32_t *glia_order_draft(int32_t *words) {
    glia_order_begin(words, ORDER_DRAFT);
    return words + HEADER;
}

void glia_order_draft_end(int32_t *words, size_t n) { words[WORD_WORDS] = (int32_t)(HEADER + n); }

void glia_order_read(glia_order *o, const int32_t *words, int32_t *table, int32_t *memory) {
    const int32_t *w = words + HEADER;
    *o = (glia_order){
        .kind = (glia_order_kind)words[WORD_KIND], .move = (const void *)w, .n_moves = words[WORD_MOVES]};
    w += MOVE * o->n_moves;
    o->adapter = (const void *)w;
    o->n_adapters = words[WORD_ADAPTERS];
    w += PUT * o->n_adapters;
    for (int i = 0; i < words[WORD_CHANGES]; i++, w += CHANGE) table[w[0]] = w[1];
    if (o->kind == ORDER_DRAFT) o->draft = w;
    if (o->kind == ORDER_LOGITS) {
        o->row = w;
        o->n = words[WORD_WORDS] - HEADER;
    }
    if (o->kind != ORDER_STEP) return;
    w += glia_batch_read(&o->batch, w, memory);
    o->use = (const void *)w;
}
