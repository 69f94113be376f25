/* added.h - added tokens: found in the text before anything else is done to it.
 *
 * Source: Hugging Face tokenizers 0.22, tokenizer/added_vocabulary.rs; matches
 * are leftmost, then longest, as its Aho-Corasick automaton finds them. */
#ifndef GLIA_TEXT_ADDED_H
#define GLIA_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *content; /* owned */
    size_t len;
    int32_t id;
    bool special;        /* left out by skip_special */
    bool single_word;    /* not next to a character of a word */
    bool lstrip, rstrip; /* takes the white space on that side with it */
    bool normalized;     /* searched, itself normalized, in normalized text */
} glia_added_token;

/* A byte trie over some of the tokens. Zero-initialise. */
typedef struct {
    struct glia_trie_node *node;
    size_t n, cap;
    int32_t first[256]; /* node that a byte begins at, 0 for none */
    int only;           /* the one byte that begins every token, -1 for several */
} glia_added_trie;

/* Token `index` is found as `bytes`, not empty; the first of equal bytes stays.
 * False when out of memory. */
bool glia_added_trie_add(glia_added_trie *t, const char *bytes, size_t len, int32_t index);
void glia_added_trie_free(glia_added_trie *t);

typedef struct {
    const glia_added_trie *trie;
    const glia_added_token *tokens;
    const char *text;
    size_t len;
    size_t from; /* where the automaton goes on */
    size_t done; /* end of the last match with the white space it took */
} glia_added_search;

/* The next match: *token with the white space it takes is text[*start, *end).
 * False when there is none. */
bool glia_added_next(glia_added_search *s, size_t *start, size_t *end, const glia_added_token **token);

#endif
