/* added.c - see added.h. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

struct glia_trie_node {
    int32_t child, sibling; /* 0: none, because node 0 is unused */
    int32_t token;          /* index of the token that ends here; -1: none */
    unsigned char byte;
};

static int32_t new_node(glia_added_trie *t, unsigned char byte) {
    if (t->n + 1 >= t->cap) {
        const size_t cap = t->cap ? t->cap * 2 : 256;
        struct glia_trie_node *grown = realloc(t->node, cap * sizeof *grown);
        if (!grown) return 0;
        t->node = grown;
        t->cap = cap;
    }
    if (t->n == 0) t->n = 1;
    t->node[t->n] = (struct glia_trie_node){.token = -1, .byte = byte};
    return (int32_t)t->n++;
}

static int32_t find_child(const glia_added_trie *t, int32_t at, unsigned char byte) {
    int32_t child = t->node[at].child;
    while (child && t->node[child].byte != byte) child = t->node[child].sibling;
    return child;
}

bool glia_added_trie_add(glia_added_trie *t, const char *bytes, size_t len, int32_t index) {
    const unsigned char first = (unsigned char)bytes[0];
    t->only = t->n == 0 || t->only == first ? first : -1;
    if (!t->first[first] && !(t->first[first] = new_node(t, first))) return false;
    int32_t at = t->first[first];
    for (size_t i = 1; i < len; i++) {
        int32_t child = find_child(t, at, (unsigned char)bytes[i]);
        if (!child) {
            if (!(child = new_node(t, (unsigned char)bytes[i]))) return false;
            t->node[child].sibling = t->node[at].child;
            t->node[at].child = child;
        }
        at = child;
    }
    if (t->node[at].token < 0) t->node[at].token = index;
    return true;
}

void glia_added_trie_free(glia_added_trie *t) {
    free(t->node);
    memset(t, 0, sizeof *t);
}

/* The leftmost, then longest match at or after s->from, without white space. */
static bool find(const glia_added_search *s, size_t *start, size_t *end, int32_t *token) {
    const glia_added_trie *t = s->trie;
    if (t->n == 0) return false;
    for (size_t i = s->from; i < s->len; i++) {
        if (t->only >= 0) {
            const char *next = memchr(s->text + i, t->only, s->len - i);
            if (!next) return false;
            i = (size_t)(next - s->text);
        }
        int32_t at = t->first[(unsigned char)s->text[i]];
        *token = -1;
        for (size_t j = i + 1; at; j++) {
            if (t->node[at].token >= 0) {
                *token = t->node[at].token;
                *start = i;
                *end = j;
            }
            if (j == s->len) break;
            at = find_child(t, at, (unsigned char)s->text[j]);
        }
        if (*token >= 0) return true;
    }
    return false;
}

static bool word_before(const char *text, size_t at) {
    const char *p = text + at;
    return at > 0 && glia_is_word(glia_utf8_previous(&p));
}

static bool word_after(const char *text, size_t at, size_t len) {
    const char *p = text + at;
    return at < len && glia_is_word(glia_utf8_next(&p));
}

bool glia_added_next(glia_added_search *s, size_t *start, size_t *end, const glia_added_token **token) {
    int32_t index;
    while (find(s, start, end, &index)) {
        const glia_added_token *t = *token = s->tokens + index;
        s->from = *end;
        if (s->split_special && t->special) continue;
        if (t->single_word && (word_before(s->text, *start) || word_after(s->text, *end, s->len))) continue;
        while (t->lstrip && *start > s->done) {
            const char *p = s->text + *start;
            if (!glia_is_space(glia_utf8_previous(&p))) break;
            *start = (size_t)(p - s->text);
        }
        while (t->rstrip && *end < s->len) {
            const char *p = s->text + *end;
            if (!glia_is_space(glia_utf8_next(&p))) break;
            *end = (size_t)(p - s->text);
        }
        if (t->lstrip && *start < s->done) *start = s->done;
        if (*start >= *end) continue; /* the token before it has taken all of it */
        s->done = *end;
        return true;
    }
    return false;
}
