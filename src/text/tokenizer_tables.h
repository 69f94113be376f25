/* tokenizer_tables.h - a file with the tables that tokenizer_read.h builds.
 *
 * Building the tables of a large vocabulary takes longer than a model's first
 * token. An artifact caches them in weights/tokenizer.safetensors. The cache is used
 * only if its hashes of itself and of tokenizer.json are right; otherwise
 * tokenizer.json is read. */
#ifndef GLIA_TEXT_TOKENIZER_TABLES_H
#define GLIA_TEXT_TOKENIZER_TABLES_H

#include <jansson.h>

#include "text/bpe.h"

/* Raise this number when the same tokenizer.json gives other tables than before. */
enum { GLIA_TOKENIZER_TABLES_LAYOUT = 1 };

/* Read DIR/tokenizer.json and write its tables to `path`. Errors: those of
 * glia_tokenizer_read(), and GLIA_ERR_IO. */
glia_status glia_tokenizer_tables_write(const char *dir, const char *path, glia_err *err);

/* The same result as glia_tokenizer_read() of `text`, from
 * DIR/weights/tokenizer.safetensors. Returns false, with *b and *rest empty, if there
 * is no such file or it does not belong to `text`. */
bool glia_tokenizer_tables_read(glia_bpe *b, json_t **rest, const char *dir, const char *text, size_t len);

#endif
