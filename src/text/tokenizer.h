/* tokenizer.h - tokenizer.json: text to token ids and back, as Hugging Face
 * tokenizers 0.22 does it for byte-level BPE.
 *
 * What is read: normalizers NFC, NFD, NFKC, NFKD; pre-tokenizers Split, Digits,
 * ByteLevel; the model BPE; added tokens; post-processors TemplateProcessing and
 * ByteLevel; the decoder ByteLevel; Sequences of these. Anything else that would
 * change a result is GLIA_ERR_UNSUPPORTED with its key and value. Not read,
 * because transformers sets them anew in each call: truncation, padding. */
#ifndef GLIA_TEXT_TOKENIZER_H
#define GLIA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_tokenizer glia_tokenizer; /* immutable: threads may share it */

/* From dir/tokenizer.json, and dir/tokenizer_config.json where there is one.
 * The caller owns *out. Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT,
 * GLIA_ERR_UNSUPPORTED, GLIA_ERR_LIMIT, each with the file and the key or byte. */
glia_status glia_tokenizer_load(glia_tokenizer **out, const char *dir, glia_err *err);
/* From the text of a tokenizer.json; `name` is for messages. */
glia_status glia_tokenizer_parse(glia_tokenizer **out, const char *json, size_t len, const char *name,
                                 glia_err *err);
void glia_tokenizer_free(glia_tokenizer *t);

/* Text to ids; the caller owns *ids (free()), never NULL on success. Added
 * tokens in the text are recognised; `special` also adds what the post-processor
 * adds. Errors: GLIA_ERR_FORMAT with the byte of invalid UTF-8; GLIA_ERR_LIMIT
 * for 2 GiB of text or a regex beyond its limits; GLIA_ERR_NOMEM. */
glia_status glia_tokenizer_encode(const glia_tokenizer *t, const char *text, size_t len, bool special,
                                  int32_t **ids, size_t *n, glia_err *err);

/* Append the text of ids to *out: valid UTF-8, U+FFFD for each stretch of bytes
 * that is none. Ids without a token are passed over, as in the source.
 * transformers' clean_up_tokenization_spaces is not applied: the tokenizer's own
 * decode() has no such step, and it would alter what the model wrote. */
void glia_tokenizer_decode(const glia_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                           glia_buf *out);

/* One more than the highest id of a token. */
size_t glia_tokenizer_vocab_size(const glia_tokenizer *t);
/* The bytes of one token (perhaps part of a character; no NUL at the end), or NULL for no such token. */
const char *glia_tokenizer_bytes(const glia_tokenizer *t, int32_t id, size_t *len);
/* The token whose bytes are exactly `text`, an added one first; -1 for none. */
int32_t glia_tokenizer_id(const glia_tokenizer *t, const char *text);
bool glia_tokenizer_is_special(const glia_tokenizer *t, int32_t id);
/* Bytes of the longest token. */
size_t glia_tokenizer_longest(const glia_tokenizer *t);

/* From tokenizer_config.json; -1 where it names none. */
int32_t glia_tokenizer_bos(const glia_tokenizer *t);
int32_t glia_tokenizer_eos(const glia_tokenizer *t);
int32_t glia_tokenizer_pad(const glia_tokenizer *t);

#endif
