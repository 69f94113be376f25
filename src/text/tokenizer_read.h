/* tokenizer_read.h - tokenizer.json, its two huge members straight into tables.
 *
 * The vocabulary and the merges are nine tenths of the file; as a JSON tree they
 * would take three quarters of a million allocations (docs/SPEED.md has the
 * times). They are read in place, and jansson reads the rest. */
#ifndef GLIA_TEXT_TOKENIZER_READ_H
#define GLIA_TEXT_TOKENIZER_READ_H

#include <jansson.h>

#include "text/bpe.h"

/* Fill *b from model.vocab and model.merges, and *rest with all else (owned by
 * the caller), where `true` stands for each of the two. Errors: GLIA_ERR_FORMAT
 * with `where` and the byte or the key; GLIA_ERR_LIMIT for an id out of range. */
glia_status glia_tokenizer_read(glia_bpe *b, json_t **rest, const char *text, size_t len, const char *where,
                                glia_err *err);

#endif
