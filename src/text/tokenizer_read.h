/* tokenizer_read.h - reads tokenizer.json without a JSON tree of its two huge members.
 *
 * The vocabulary and the merges are nine tenths of the file. As a JSON tree they
 * would need 750,000 allocations, so they are parsed straight into tables; jansson
 * parses the rest. */
#ifndef GLIA_TEXT_TOKENIZER_READ_H
#define GLIA_TEXT_TOKENIZER_READ_H

#include <jansson.h>

#include "text/bpe.h"

/* Fill *b from model.vocab and model.merges. *rest gets the other keys, with `true`
 * as the value of these two; the caller owns it (json_decref). Errors:
 * GLIA_ERR_FORMAT with `where` and the byte or the key; GLIA_ERR_LIMIT for an id out
 * of range; GLIA_ERR_NOMEM. */
glia_status glia_tokenizer_read(glia_bpe *b, json_t **rest, const char *text, size_t len, const char *where,
                                glia_err *err);

#endif
