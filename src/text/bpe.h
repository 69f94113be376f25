/* bpe.h - byte-level byte pair encoding: the vocabulary, the merges, one word to ids.
 *
 * tokenizer.json spells each byte of a token as a printable character (GPT-2's
 * table); here tokens are the bytes themselves. Tables are filled once, then
 * read by any number of threads; each thread brings a glia_bpe_work.
 * Source: Hugging Face tokenizers 0.22, models/bpe/{model,word}.rs. */
#ifndef GLIA_TEXT_BPE_H
#define GLIA_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/safetensors.h"

enum { GLIA_VOCAB_MAX = 1 << 22 }; /* ids are below; the largest published vocabulary has 2^18 */

typedef struct {
    uint32_t at; /* of its bytes in glia_bpe.bytes */
    uint32_t len : 29;
    uint32_t
        raw : 1; /* spelled with characters outside the table: its bytes are its UTF-8, no word yields it */
    uint32_t special : 1; /* an added token that may be left out of text */
    uint32_t known : 1;   /* some token has this id */
} glia_bpe_token;

typedef struct {
    uint32_t left, right, rank, id; /* ids of the parts; rank UINT32_MAX: an empty slot */
} glia_bpe_merge;

typedef struct {
    uint32_t tag;
    int32_t id; /* -1: an empty slot */
} glia_bpe_slot;

typedef struct {
    glia_buf bytes;
    glia_bpe_token *token; /* [n_ids] */
    size_t n_ids, token_cap;
    size_t n_tokens; /* of the model's vocabulary: added tokens that are no part of it are not counted */
    glia_bpe_slot *slot;
    size_t slot_mask;
    glia_bpe_merge *merge;
    size_t merge_mask, n_merges, merge_cap;
    int32_t byte_id[256];
    glia_safetensors mapped; /* where slot and merge are, which then are only read; zeroed: they are ours */
    bool ignore_merges;      /* a word that is a token is that token, whatever the merges say */
} glia_bpe;

void glia_bpe_free(glia_bpe *b);

/* Undo the spelling: the bytes of `spelled` [len], at most len of them, to `out`.
 * *raw when a character is outside the table; out then has the UTF-8 itself. */
size_t glia_bpe_unspell(char *out, const char *spelled, size_t len, bool *raw);

/* ---- filling: all tokens, then seal, then all merges, then finish ---------- */

/* False when out of memory. The id is below GLIA_VOCAB_MAX and not known yet. */
bool glia_bpe_add(glia_bpe *b, int32_t id, const char *bytes, size_t len, bool raw);
/* Make tokens findable. *twice: an id whose bytes another token has too, else -1. */
bool glia_bpe_seal(glia_bpe *b, int32_t *twice);
/* The later of two equal pairs counts, as in the source. */
bool glia_bpe_add_merge(glia_bpe *b, int32_t left, int32_t right, int32_t merged);

/* ---- reading --------------------------------------------------------------- */

/* -1 when there is none. */
int32_t glia_bpe_find(const glia_bpe *b, const char *bytes, size_t len, bool raw);

typedef struct {
    int32_t *at;
    size_t n, cap;
} glia_ids;
bool glia_ids_reserve(glia_ids *ids, size_t more);

typedef struct glia_bpe_work glia_bpe_work;
/* `text_len` is how much will be encoded: it sizes the cache of words. NULL when out of memory. */
glia_bpe_work *glia_bpe_work_new(size_t text_len);
void glia_bpe_work_free(glia_bpe_work *w);

/* Append the ids of one word, at most INT32_MAX bytes. False when out of memory. */
bool glia_bpe_encode(const glia_bpe *b, glia_bpe_work *w, const char *word, size_t len, glia_ids *ids);

#endif
