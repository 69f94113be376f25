/* store.h - blocks of cached prefixes in a directory, for later processes.
 *
 * An entry is one file: the keys and values of one block, all tokens up to its end, and a hash of both. Its
 * name is a chained hash of the engine's fingerprint, the tenant and these tokens. A lookup compares tenant
 * and tokens exactly, so that equal names of different prefixes do no harm. An entry that is damaged is
 * deleted.
 *
 * A writer thread writes the files: the engine thread copies a block to a buffer, and drops it if no buffer
 * is free. Entries are read by the engine thread. A file is written under another name and renamed, so a
 * process that is killed leaves no part of an entry. If the entries exceed the limit, the least recently used
 * ones are deleted. A step allocates nothing. */
#ifndef GLIA_ENGINE_STORE_H
#define GLIA_ENGINE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Names a prefix. */
typedef struct {
    uint64_t word[2];
} glia_store_key;

typedef struct {
    const char *dir;      /* created if it is absent */
    uint64_t most_bytes;  /* of all files */
    uint64_t fingerprint; /* of all that keys and values depend on besides the tokens */
    int block_size;       /* tokens of a block */
    int most_tokens;      /* of a prefix */
    size_t block_bytes;   /* keys and values of a block */
} glia_store_config;

typedef struct {
    uint64_t stored, fetched, dropped; /* entries; dropped: damaged, or not written */
} glia_store_counts;

typedef struct glia_store glia_store;

/* Errors: GLIA_ERR_IO (the directory; the message names it), GLIA_ERR_NOMEM. On failure *out is NULL. */
glia_status glia_store_open(glia_store **out, const glia_store_config *config, glia_err *err);
/* Write what is waiting, and end the writer. NULL is fine. */
void glia_store_close(glia_store *s);

/* The key of no tokens. */
glia_store_key glia_store_root(const glia_store *s, uint64_t tenant);
/* The key of a prefix and one more block of tokens [block_size]. */
glia_store_key glia_store_next(const glia_store *s, glia_store_key key, const int32_t *tokens);

/* Engine thread. Is there an entry? */
bool glia_store_has(glia_store *s, glia_store_key key);
/* Engine thread. A buffer [block_bytes] to fill and to pass to glia_store_put(); NULL: none is free, and the
 * block is dropped. */
char *glia_store_buffer(glia_store *s);
/* Engine thread. Have the buffer written as the block behind the last of tokens [n]. */
void glia_store_put(glia_store *s, glia_store_key key, uint64_t tenant, const int32_t *tokens, int n);
/* Engine thread. Read the entry: its block [block_bytes], valid until the next call; NULL: there is none, or
 * it was damaged. */
const char *glia_store_get(glia_store *s, glia_store_key key, uint64_t tenant, const int32_t *tokens, int n);

glia_store_counts glia_store_count(glia_store *s);

#endif
