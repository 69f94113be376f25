/* fuzz_special.c - hostile files beside tokenizer.json.
 *
 * The first byte selects the file: 't' tokenizer_config.json, 's'
 * special_tokens_map.json, 'a' added_tokens.json. The rest is its text. A tokenizer
 * that loads must encode and decode, and its special ids must have tokens. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text/chat.h"
#include "text/tokenizer.h"
#include "tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/glia-fuzz-XXXXXX";
static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};

static void require(bool true_thing) {
    if (!true_thing) abort();
}

static void path_of(char path[64], const char *name) { snprintf(path, 64, "%s/%s", dir, name); }

static void put(const char *name, const void *bytes, size_t n) {
    char path[64];
    path_of(path, name);
    FILE *f = fopen(path, "wb");
    require(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static void clean(void) {
    char path[64];
    for (size_t i = 0; i < 4; i++) {
        path_of(path, i < 3 ? names[i] : "tokenizer.json");
        unlink(path);
    }
    rmdir(dir);
}

static void begin(void) {
    char *tiny = tiny_tokenizer();
    require(mkdtemp(dir) != NULL);
    atexit(clean);
    put("tokenizer.json", tiny, strlen(tiny));
    free(tiny);
}

static void check_id(const glia_tokenizer *t, int32_t id) {
    size_t len;
    require(id == -1 || glia_tokenizer_bytes(t, id, &len));
}

static void use(const glia_tokenizer *t) {
    static const char text[] = "abc <s> <x>\tabc <x> a";
    int32_t *ids;
    size_t n;
    glia_err err;
    glia_buf out = {0};
    check_id(t, glia_tokenizer_bos(t));
    check_id(t, glia_tokenizer_eos(t));
    check_id(t, glia_tokenizer_pad(t));
    if (glia_tokenizer_encode(t, text, strlen(text), true, &ids, &n, &err)) return;
    for (size_t i = 0; i < n; i++) check_id(t, ids[i]);
    glia_tokenizer_decode(t, ids, n, true, &out);
    glia_buf_free(&out);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char selectors[] = "tsa";
    const char *which = size ? memchr(selectors, data[0], 3) : NULL;
    glia_tokenizer *t;
    glia_chat *chat;
    glia_err err = {0};
    char path[64];
    if (dir[strlen(dir) - 1] == 'X') begin();
    if (!which) return 0;
    put(names[which - selectors], data + 1, size - 1);
    if (glia_tokenizer_load(&t, dir, &err))
        require(*err.msg);
    else
        use(t);
    glia_tokenizer_free(t);
    if (glia_chat_open(&chat, dir, &err) == GLIA_OK) glia_chat_free(chat);
    path_of(path, names[which - selectors]);
    unlink(path);
    return 0;
}
