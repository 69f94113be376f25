/* bpe.h - byte-level byte pair encoding: vocabulary, merges, and one word to ids.
 *
 * tokenizer.json spells each byte of a token as a printable character (GPT-2's
 * table); here tokens are the bytes themselves. Fill the tables once; then any
 * number of threads may read them, each with its own glia_bpe_work.
 * Source: Hugging Face tokenizers 0.22, models/bpe/{model,word}.rs. */
#ifndef GLIA_TEXT_BPE_H
#define GLIA_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/safetensors.h"

enum { GLIA_VOCAB_MAX = 1 << 22 }; /* limit of ids; the largest published vocabulary has 2^18 */

typedef struct {
    uint32_t at; /* offset of the token's bytes in glia_bpe.bytes */
    uint32_t len : 29;
    uint32_t raw : 1;     /* the spelling has characters outside GPT-2's table: the bytes are the
                           * spelling's UTF-8, and no word encodes to this token */
    uint32_t special : 1; /* an added token that skip_special leaves out of decoded text */
    uint32_t known : 1;   /* a token has this id */
} glia_bpe_token;

typedef struct {
    uint32_t left, right; /* the pair of token ids */
    uint32_t rank;        /* lower ranks merge first; UINT32_MAX: an empty slot */
    uint32_t id;          /* the merged token */
} glia_bpe_merge;

typedef struct {
    uint32_t tag;
    int32_t id; /* -1: an empty slot */
} glia_bpe_slot;

typedef struct {
    glia_buf bytes;
    glia_bpe_token *token; /* [n_ids] */
    size_t n_ids, token_cap;
    size_t n_tokens; /* tokens of model.vocab; added tokens outside of it do not count */
    glia_bpe_slot *slot;
    size_t slot_mask;
    glia_bpe_merge *merge;
    size_t merge_mask, n_merges, merge_cap;
    int32_t byte_id[256];    /* -1: no token; such a byte encodes to nothing */
    int32_t unk_id;          /* if fuse_unk, a run of this id becomes one */
    glia_safetensors cached; /* if open, slot and merge point into this file, read-only; if zeroed, they are
                              * heap memory of this struct */
    bool fuse_unk;
    bool ignore_merges; /* a word that equals a token becomes that token without merging */
} glia_bpe;

void glia_bpe_free(glia_bpe *b);

/* Undo GPT-2's spelling: write the bytes that `spelled` [len] stands for to `out`
 * [len]. Returns how many. If a character is outside the table, *raw is true and
 * `out` gets a copy of `spelled`. */
size_t glia_bpe_unspell(char *out, const char *spelled, size_t len, bool *raw);

/* ---- filling: all tokens, then seal, then all merges, then finish ---------- */

/* Each returns false if out of memory. */

/* Add a token. `id` must be below GLIA_VOCAB_MAX and have no token yet. */
bool glia_bpe_add(glia_bpe *b, int32_t id, const char *bytes, size_t len, bool raw);
/* Replace the bytes to which the token of `id` decodes. glia_bpe_find() does not find it by the old bytes. */
bool glia_bpe_respell(glia_bpe *b, int32_t id, const char *bytes, size_t len);
/* Build the hash table of tokens. If two tokens have the same bytes, *twice is the
 * id of one of them; else -1. */
bool glia_bpe_seal(glia_bpe *b, int32_t *twice);
/* Add a merge; its rank is the number of merges before it. A pair that is added
 * again replaces the earlier merge, as in the source. */
bool glia_bpe_add_merge(glia_bpe *b, int32_t left, int32_t right, int32_t merged);

/* ---- reading --------------------------------------------------------------- */

/* The id of the token with these bytes and this `raw` flag; -1: none. */
int32_t glia_bpe_find(const glia_bpe *b, const char *bytes, size_t len, bool raw);

typedef struct {
    int32_t *at;
    size_t n, cap;
} glia_ids;
bool glia_ids_reserve(glia_ids *ids, size_t more);

typedef struct glia_bpe_work glia_bpe_work;
/* `text_len` is the length of the text to encode; it sets the size of the word
 * cache. Returns NULL if out of memory. */
glia_bpe_work *glia_bpe_work_new(size_t text_len);
void glia_bpe_work_free(glia_bpe_work *w);

/* Append the ids of one word of at most INT32_MAX bytes. Returns false if out of memory. */
bool glia_bpe_encode(const glia_bpe *b, glia_bpe_work *w, const char *word, size_t len, glia_ids *ids);

#endif
