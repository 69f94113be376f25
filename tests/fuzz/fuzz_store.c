/* fuzz_store.c - hostile entries of a directory of cached prefixes.
 *
 * The first byte chooses what the other bytes are: the file of an entry, such a file whose hash is then made
 * right, or the name of a file. A block comes back only from a file with the right header, tokens and length;
 * any other entry is deleted. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "engine/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TOKENS = 2, BLOCK_BYTES = 24, HASH_AT = 40, FILE_BYTES = 48 + 4 * TOKENS + BLOCK_BYTES, MOST = 4096 };

/* What an entry begins with, as engine/store.c writes it. */
static const struct {
    char magic[8];
    uint64_t fingerprint, tenant, n_tokens, block_bytes, hash;
    int32_t tokens[TOKENS];
} right = {"gliakv1", 77, 5, TOKENS, BLOCK_BYTES, 0, {3, 4}};

static char path[] = "/tmp/glia-fuzz-store-XXXXXX";

static void remove_path(void) { rmdir(path); }

static glia_store *open_store(void) {
    const glia_store_config config = {.dir = path,
                                      .most_bytes = MOST,
                                      .fingerprint = right.fingerprint,
                                      .block_size = TOKENS,
                                      .most_tokens = 4 * TOKENS,
                                      .block_bytes = BLOCK_BYTES};
    glia_store *s;
    glia_err err;
    if (glia_store_open(&s, &config, &err)) abort();
    return s;
}

static void write_file(const char *name, const uint8_t *bytes, size_t size) {
    char file[600];
    snprintf(file, sizeof file, "%s/%s", path, name);
    const int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && write(fd, bytes, size) != (ssize_t)size) abort();
    if (fd >= 0) close(fd);
}

/* Returns whether the file was there. */
static bool delete_file(const char *name) {
    char file[600];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return unlink(file) == 0;
}

static uint64_t hash_of(const uint8_t *file, size_t size) {
    uint8_t plain[MOST];
    memcpy(plain, file, size);
    memset(plain + HASH_AT, 0, sizeof(uint64_t));
    return glia_hash(plain, size, 0);
}

static bool is_right(const uint8_t *file, size_t size) {
    if (size != FILE_BYTES) return false;
    const uint64_t hash = hash_of(file, size);
    return memcmp(file, &right, HASH_AT) == 0 && memcmp(file + HASH_AT, &hash, sizeof hash) == 0 &&
           memcmp(file + 48, right.tokens, sizeof right.tokens) == 0;
}

static void try_entry(const uint8_t *file, size_t size) {
    char name[64];
    glia_store *s = open_store();
    const glia_store_key key = glia_store_next(s, glia_store_root(s, right.tenant), right.tokens);
    glia_store_close(s);
    snprintf(name, sizeof name, "%016llx%016llx.kv", (unsigned long long)key.word[0],
             (unsigned long long)key.word[1]);
    write_file(name, file, size);
    s = open_store();
    const char *block = glia_store_get(s, key, right.tenant, right.tokens, TOKENS);
    if ((block != NULL) != is_right(file, size)) abort();
    if (block && memcmp(block, file + FILE_BYTES - BLOCK_BYTES, BLOCK_BYTES) != 0) abort();
    glia_store_close(s);
    if (delete_file(name) != (block != NULL)) abort();
}

/* A file of any name is listed or left alone. */
static void try_name(const uint8_t *text, size_t size) {
    char name[200];
    snprintf(name, sizeof name, "%.*s", (int)size, (const char *)text);
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return;
    write_file(name, text, size);
    glia_store_close(open_store());
    delete_file(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    uint8_t file[MOST];
    if (!made && (!mkdtemp(path) || atexit(remove_path))) abort();
    made = true;
    if (size < 1 || size > MOST) return 0;
    memcpy(file, data + 1, size - 1);
    const uint64_t hash = size > 48 ? hash_of(file, size - 1) : 0;
    if (data[0] % 3 == 1 && size > 48) memcpy(file + HASH_AT, &hash, sizeof hash);
    if (data[0] % 3 == 2)
        try_name(data + 1, size - 1);
    else
        try_entry(file, size - 1);
    return 0;
}
