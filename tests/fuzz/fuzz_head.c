/* fuzz_head.c - any config.json and any tensors as a draft head give a failure, or a head that fits its
 * target.
 *
 * The input is the kind (1 byte), the length of config.json (2 bytes), config.json, and model.safetensors. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draft/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/dev/shm/glia-fuzz-head-XXXXXX";

static void remove_dir(void) {
    char path[80];
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    rmdir(dir);
}

static void write_file(const char *name, const uint8_t *data, size_t size) {
    char path[80];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

/* A target that the seeds of the corpus fit. */
static const glia_model_config *target(void) {
    static glia_model_config c;
    static const char text[] =
        "{\"model_type\":\"llama\",\"hidden_size\":4,\"vocab_size\":8,\"num_hidden_layers\":8,"
        "\"intermediate_size\":4,\"num_attention_heads\":2,\"head_dim\":2}";
    if (!c.vocab && glia_model_config_parse(&c, text, strlen(text), "target", NULL, NULL, NULL)) abort();
    return &c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    glia_err err;
    glia_head *h;
    if (!ready) {
        if (!mkdtemp(dir)) abort();
        atexit(remove_dir);
        ready = true;
    }
    if (size < 3 || data[0] > GLIA_HEAD_DSPARK) return 0;
    const size_t config = (size_t)data[1] | (size_t)data[2] << 8;
    if (config > size - 3) return 0;
    write_file("config.json", data + 3, config);
    write_file("model.safetensors", data + 3 + config, size - 3 - config);
    if (glia_head_open(&h, (glia_head_kind)data[0], dir, target(), GLIA_DTYPE_F32, &err)) {
        if (!*err.msg || strlen(err.msg) >= sizeof err.msg || strchr(err.msg, '\n')) abort();
        return 0;
    }
    if (h->config.draft_vocab > target()->vocab || h->n_items == 0) abort();
    glia_head_free(h);
    return 0;
}
