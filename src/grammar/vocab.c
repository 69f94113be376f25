/* vocab.c - see vocab.h. */
#include "grammar/vocab.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *bytes;
    size_t len;
    int32_t id;
} word;

static int by_bytes(const void *x, const void *y) {
    const word *a = x, *b = y;
    const size_t n = a->len < b->len ? a->len : b->len;
    const int c = memcmp(a->bytes, b->bytes, n);
    if (c) return c;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Fill words with the tokens of the trie; returns how many. */
static size_t collect(word *words, const glia_vocab *v) {
    size_t n = 0;
    for (int32_t id = 0; id < v->size; id++) {
        word w = {.id = id};
        w.bytes = glia_tokenizer_bytes(v->tokenizer, id, &w.len);
        if (!w.bytes || w.len == 0 || glia_tokenizer_is_special(v->tokenizer, id)) continue;
        if (id != v->think_open && id != v->think_close) words[n++] = w;
    }
    return n;
}

static size_t shared(const word *a, const word *b) {
    const size_t n = a->len < b->len ? a->len : b->len;
    size_t i = 0;
    while (i < n && a->bytes[i] == b->bytes[i]) i++;
    return i;
}

/* The number of nodes; writes them unless v->node is NULL. */
static uint32_t build(glia_vocab *v, const word *words, size_t n, uint32_t *path) {
    uint32_t at = 0;
    if (v->node) v->node[0] = (glia_vocab_node){.token = -1};
    path[0] = at++;
    size_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t keep = i ? shared(&words[i - 1], &words[i]) : 0;
        for (; depth > keep && v->node; depth--) v->node[path[depth]].skip = at - path[depth];
        depth = keep;
        for (; depth < words[i].len; at++) {
            if (v->node)
                v->node[at] = (glia_vocab_node){.token = -1,
                                                .depth = (uint16_t)(depth + 1),
                                                .byte = (unsigned char)words[i].bytes[depth]};
            path[++depth] = at;
        }
        if (!v->node) continue;
        int32_t *token = &v->node[path[depth]].token; /* a duplicate comes right after its twin */
        v->twin[words[i].id] = *token;
        *token = words[i].id;
    }
    for (; v->node; depth--) {
        v->node[path[depth]].skip = at - path[depth];
        if (depth == 0) break;
    }
    return at;
}

glia_status glia_vocab_init(glia_vocab *v, const glia_tokenizer *t, glia_err *err) {
    *v = (glia_vocab){.tokenizer = t, .size = (int32_t)glia_tokenizer_vocab_size(t)};
    v->think_open = glia_tokenizer_id(t, "<think>");
    v->think_close = glia_tokenizer_id(t, "</think>");
    const size_t longest = glia_tokenizer_longest(t);
    if (longest > UINT16_MAX)
        return glia_fail(err, GLIA_ERR_LIMIT, "a token of %zu bytes; constraints need tokens of at most %d",
                         longest, UINT16_MAX);
    word *words = malloc((size_t)v->size * sizeof *words + 1);
    uint32_t *path = malloc((longest + 1) * sizeof *path);
    v->twin = malloc((size_t)v->size * sizeof *v->twin + 1);
    bool ok = words && path && v->twin;
    if (ok) {
        const size_t n = collect(words, v);
        qsort(words, n, sizeof *words, by_bytes);
        for (size_t i = 0; i < n; i++)
            if (words[i].len > (size_t)v->deepest) v->deepest = (int)words[i].len;
        v->n = build(v, words, n, path);
        v->node = malloc(v->n * sizeof *v->node);
        ok = v->node;
        if (ok) build(v, words, n, path);
    }
    free(words);
    free(path);
    if (ok) return GLIA_OK;
    glia_vocab_free(v);
    return glia_fail_nomem(err, (size_t)v->size * sizeof *words, "the trie of tokens");
}

void glia_vocab_free(glia_vocab *v) {
    free(v->node);
    free(v->twin);
    *v = (glia_vocab){0};
}

uint32_t glia_vocab_find(const glia_vocab *v, const char *bytes, size_t n) {
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t end = at + v->node[at].skip;
        uint32_t child = at + 1;
        while (child < end && v->node[child].byte != (unsigned char)bytes[i]) child += v->node[child].skip;
        if (child >= end) return 0;
        at = child;
    }
    return at;
}
