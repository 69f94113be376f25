/* tokenizer.h - tokenizer.json: text to token ids and back, as Hugging Face
 * tokenizers 0.22 does it for byte-level BPE.
 *
 * Supported components: normalizers NFC, NFD, NFKC, NFKD; pre-tokenizers Split,
 * Digits, ByteLevel; the model BPE; added tokens; post-processors
 * TemplateProcessing and ByteLevel; the decoder ByteLevel; Sequences of these. A
 * component or setting that would change a result and is not supported is
 * GLIA_ERR_UNSUPPORTED with its key and value. The keys truncation and padding are
 * ignored, because transformers overrides them in each call. */
#ifndef GLIA_TEXT_TOKENIZER_H
#define GLIA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

typedef struct glia_tokenizer glia_tokenizer; /* immutable: threads may share it */

/* Read dir/tokenizer.json and the files beside it (special.h). On success
 * the caller owns *out. Errors: GLIA_ERR_IO, GLIA_ERR_FORMAT, GLIA_ERR_UNSUPPORTED,
 * GLIA_ERR_LIMIT, GLIA_ERR_NOMEM; the message has the file and the key or byte. */
glia_status glia_tokenizer_load(glia_tokenizer **out, const char *dir, glia_err *err);
/* The same from the text of a tokenizer.json; messages call it `name`. */
glia_status glia_tokenizer_parse(glia_tokenizer **out, const char *json, size_t len, const char *name,
                                 glia_err *err);
void glia_tokenizer_free(glia_tokenizer *t);

/* Encode text. On success the caller owns *ids (free()), which is not NULL. Added
 * tokens in the text are recognised. With `special`, the post-processor's tokens
 * are added before and after. Errors: GLIA_ERR_FORMAT with the byte of invalid
 * UTF-8; GLIA_ERR_LIMIT for 2 GiB of text or a regex beyond its limits;
 * GLIA_ERR_NOMEM. */
glia_status glia_tokenizer_encode(const glia_tokenizer *t, const char *text, size_t len, bool special,
                                  int32_t **ids, size_t *n, glia_err *err);

/* Append the text of ids to *out, as valid UTF-8. An invalid sequence of bytes
 * becomes U+FFFD (see detok.h). An id without a token gives no text, as in the
 * source. transformers' clean_up_tokenization_spaces is not applied: tokenizers'
 * decode() has no such step, and it would change what the model wrote. If memory
 * runs out, out->oom is set. */
void glia_tokenizer_decode(const glia_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                           glia_buf *out);

/* One more than the highest token id. */
size_t glia_tokenizer_vocab_size(const glia_tokenizer *t);
/* The bytes of a token, without a NUL at the end; they may be a fraction of a
 * character. NULL if no token has this id. */
const char *glia_tokenizer_bytes(const glia_tokenizer *t, int32_t id, size_t *len);
/* The id of the token whose bytes are exactly `text`; added tokens win. -1: none. */
int32_t glia_tokenizer_id(const glia_tokenizer *t, const char *text);
bool glia_tokenizer_is_special(const glia_tokenizer *t, int32_t id);
/* Bytes of the longest token. */
size_t glia_tokenizer_longest(const glia_tokenizer *t);

/* The id of the token that the files beside tokenizer.json name; -1: none. */
int32_t glia_tokenizer_bos(const glia_tokenizer *t);
int32_t glia_tokenizer_eos(const glia_tokenizer *t);
int32_t glia_tokenizer_pad(const glia_tokenizer *t);

#endif
