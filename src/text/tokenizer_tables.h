/* tokenizer_tables.h - what tokenizer_read.h makes of tokenizer.json, kept in a file.
 *
 * Making the tables of a large vocabulary takes longer than a model's first token.
 * An artifact holds them as weights/tokenizer.safetensors, which is a cache and no more: it
 * counts only while its hashes of itself and of tokenizer.json hold, and
 * else tokenizer.json is read as ever. */
#ifndef GLIA_TEXT_TOKENIZER_TABLES_H
#define GLIA_TEXT_TOKENIZER_TABLES_H

#include <jansson.h>

#include "text/bpe.h"

/* Raised when tables of an equal tokenizer.json change: hashing, layout of slots. */
enum { GLIA_TOKENIZER_TABLES_LAYOUT = 1 };

/* Read DIR/tokenizer.json and write its tables to `path`. Errors: of reading it, GLIA_ERR_IO. */
glia_status glia_tokenizer_tables_write(const char *dir, const char *path, glia_err *err);

/* As glia_tokenizer_read() of `text`, from DIR/weights/tokenizer.safetensors. False, and nothing
 * is held: there is none that fits. */
bool glia_tokenizer_tables_read(glia_bpe *b, json_t **rest, const char *dir, const char *text, size_t len);

#endif
