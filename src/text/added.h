/* added.h - finds added tokens in text, before any other step of the tokenizer.
 *
 * Of several matches the leftmost wins, then the longest, as in the Aho-Corasick
 * automaton of the source.
 * Source: Hugging Face tokenizers 0.22, tokenizer/added_vocabulary.rs. */
#ifndef GLIA_TEXT_ADDED_H
#define GLIA_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *content; /* owned */
    size_t len;
    int32_t id;
    bool special;        /* skip_special leaves the token out of decoded text */
    bool single_word;    /* no match next to a word character */
    bool lstrip, rstrip; /* a match includes the white space on its left or right */
    bool normalized;     /* the normalized content is searched in normalized text */
} glia_added_token;

/* A byte trie over some of the tokens. A zeroed trie is empty. */
typedef struct {
    struct glia_trie_node *node;
    size_t n, cap;
    int32_t first[256]; /* root node of each first byte; 0: none */
    int only;           /* the first byte shared by all tokens; -1: there are several */
} glia_added_trie;

/* Make token `index` findable as `bytes` (len > 0). If the trie has the same bytes
 * already, the earlier token stays. Returns false if out of memory. */
bool glia_added_trie_add(glia_added_trie *t, const char *bytes, size_t len, int32_t index);
void glia_added_trie_free(glia_added_trie *t);

typedef struct {
    const glia_added_trie *trie;
    const glia_added_token *tokens;
    const char *text;
    size_t len;
    bool split_special; /* special tokens do not match */
    size_t from;        /* the search continues here */
    size_t done;        /* end of the last match, white space included */
} glia_added_search;

/* Find the next match: *token is text[*start, *end), white space included. Returns
 * false if there is none. */
bool glia_added_next(glia_added_search *s, size_t *start, size_t *end, const glia_added_token **token);

#endif
