/* vocab.c - see vocab.h. */
#include "grammar/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/shared.h"
#include "text/unicode.h"

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

/* The number of nodes of the words' trie; writes them unless `node` is NULL. A token with the bytes of
 * another is only in twin. */
static uint32_t build(glia_vocab_node *node, int32_t *twin, const word *words, size_t n, uint32_t *path) {
    uint32_t at = 0;
    if (node) node[0] = (glia_vocab_node){.token = -1};
    path[0] = at++;
    size_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t keep = i ? shared(&words[i - 1], &words[i]) : 0;
        for (; depth > keep && node; depth--) node[path[depth]].skip = at - path[depth];
        depth = keep;
        for (; depth < words[i].len; at++) {
            if (node)
                node[at] = (glia_vocab_node){.token = -1,
                                             .depth = (uint16_t)(depth + 1),
                                             .byte = (unsigned char)words[i].bytes[depth]};
            path[++depth] = at;
        }
        if (!node) continue;
        twin[words[i].id] = node[path[depth]].token;
        node[path[depth]].token = words[i].id;
    }
    for (; node; depth--) {
        node[path[depth]].skip = at - path[depth];
        if (depth == 0) break;
    }
    return at;
}

/* Characters of a plain token; 0: it is not plain, or has too many. */
static int plain_characters(const word *w) {
    int n = 0;
    if (glia_utf8_check(w->bytes, w->len) < w->len) return 0;
    for (size_t i = 0; i < w->len; i++) {
        const unsigned char c = (unsigned char)w->bytes[i];
        if (c < ' ' || c == '"' || c == '\\') return 0;
        n += (c & 0xc0) != 0x80;
    }
    return n <= GLIA_PLAIN_MAX ? n : 0;
}

/* Mark the plain tokens, and move the others to the front of words; returns how many there are. */
static size_t divide(glia_vocab *v, word *words, size_t n) {
    const size_t row = ((size_t)v->size + 63) / 64;
    size_t others = 0;
    for (size_t i = 0; i < n; i++) {
        const int k = plain_characters(&words[i]);
        if (!k)
            words[others++] = words[i];
        else
            v->plain[(size_t)k * row + (size_t)words[i].id / 64] |= UINT64_C(1) << words[i].id % 64;
    }
    for (size_t i = row; i < (GLIA_PLAIN_MAX + 1) * row; i++) v->plain[i] |= v->plain[i - row];
    return others;
}

int glia_group_of(unsigned char byte) {
    static const char marks[] = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r";
    const char *mark = byte ? strchr(marks, byte) : NULL;
    if (mark) return 8 + (int)(mark - marks);
    if (byte >= '0' && byte <= '9') return 0;
    if (byte >= 'a' && byte <= 'z') return byte <= 'f' ? 1 : 2;
    if (byte >= 'A' && byte <= 'Z') return byte <= 'F' ? 3 : 4;
    return 5;
}

/* Bytes of a character that are missing after one more byte; -1: the bytes are no UTF-8. `missing` is what
 * was missing before. The few lead bytes whose second byte is restricted count as no UTF-8 too. */
static int missing_after(int missing, unsigned char byte) {
    if (missing < 0) return -1;
    if (missing > 0) return (byte & 0xc0) == 0x80 ? missing - 1 : -1;
    if (byte < 0x80) return 0;
    if (byte >= 0xc2 && byte <= 0xdf) return 1;
    if (byte > 0xe0 && byte <= 0xef && byte != 0xed) return 2;
    return byte > 0xf0 && byte < 0xf4 ? 3 : -1;
}

/* The group of a byte of which `missing` say how many bytes of its character follow. */
static int group_at(unsigned char byte, int missing) {
    return missing < 0 ? GLIA_GROUP_BROKEN : byte >= 0x80 ? GLIA_GROUP_MULTI : glia_group_of(byte);
}

/* Fill bytes, order and first. `sum` [deepest + 2] and `missing` [deepest + 2] are zeroed work space. */
static void measure(glia_vocab *v, glia_byte_groups *sum, int8_t *missing) {
    const glia_byte_groups cut = UINT64_C(1) << (GLIA_GROUP_MULTI - 1), broken = UINT64_C(1)
                                                                                 << GLIA_GROUP_BROKEN;
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        const glia_vocab_node *x = &v->node[i];
        const int before = i ? missing[x->depth - 1] : 0;
        v->first[i] = n;
        if (x->token >= 0) v->order[n++] = x->token;
        missing[x->depth] = (int8_t)(i ? missing_after(before, x->byte) : 0);
        v->bytes[i] = UINT64_C(1) << group_at(x->byte, missing[x->depth]) | (before ? cut : 0);
    }
    v->first[v->n] = n;
    for (uint32_t i = v->n; i-- > 0;) {
        const int depth = v->node[i].depth;
        const glia_byte_groups all = sum[depth + 1] | (v->bytes[i] & ~cut);
        sum[depth + 1] = 0;
        sum[depth] |= all;
        v->bytes[i] = v->bytes[i] & cut ? broken : all;
    }
}

static bool measure_trie(glia_vocab *v) {
    const size_t depths = (size_t)v->deepest + 2;
    glia_byte_groups *sum = calloc(depths, sizeof *sum);
    int8_t *missing = calloc(depths, sizeof *missing);
    v->bytes = malloc(v->n * sizeof *v->bytes);
    v->order = malloc((size_t)v->size * sizeof *v->order + 1);
    v->first = malloc((v->n + 1) * sizeof *v->first);
    const bool ok = sum && missing && v->bytes && v->order && v->first;
    if (ok) measure(v, sum, missing);
    free(sum);
    free(missing);
    return ok;
}

static bool build_both(glia_vocab *v, word *words, uint32_t *path) {
    size_t n = collect(words, v);
    qsort(words, n, sizeof *words, by_bytes);
    for (size_t i = 0; i < n; i++)
        if (words[i].len > (size_t)v->deepest) v->deepest = (int)words[i].len;
    v->n = build(NULL, NULL, words, n, path);
    v->node = malloc(v->n * sizeof *v->node);
    if (!v->node) return false;
    build(v->node, v->twin, words, n, path);
    if (!measure_trie(v)) return false;
    n = divide(v, words, n);
    v->n_other = build(NULL, NULL, words, n, path);
    v->other = malloc(v->n_other * sizeof *v->other);
    v->in_node = malloc(v->n_other * sizeof *v->in_node);
    if (!v->other || !v->in_node) return false;
    build(v->other, v->twin, words, n, path);
    uint32_t at[2] = {0, 0}; /* both tries are in order of bytes: walk them together */
    v->in_node[0] = 0;
    for (uint32_t i = 1; i < v->n_other; i++) {
        const glia_vocab_node *x = &v->other[i];
        for (at[0] = at[1] + 1; v->node[at[0]].depth != x->depth || v->node[at[0]].byte != x->byte;)
            at[0] += v->node[at[0]].depth >= x->depth ? v->node[at[0]].skip : 1;
        v->in_node[i] = at[1] = at[0];
    }
    return true;
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
    v->plain = calloc((GLIA_PLAIN_MAX + 1) * (((size_t)v->size + 63) / 64), sizeof *v->plain);
    v->shared = glia_shared_sets_new();
    const bool ok = words && path && v->twin && v->plain && v->shared && build_both(v, words, path);
    free(words);
    free(path);
    if (ok) return GLIA_OK;
    glia_vocab_free(v);
    return glia_fail_nomem(err, (size_t)v->size * sizeof *words, "the trie of tokens");
}

void glia_vocab_free(glia_vocab *v) {
    free(v->node);
    free(v->bytes);
    free(v->order);
    free(v->first);
    glia_shared_sets_free(v->shared);
    free(v->other);
    free(v->in_node);
    free(v->plain);
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
