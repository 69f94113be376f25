/* fuzz_adapter.c - hostile LoRA adapters.
 *
 * The bytes up to the first zero are adapter_config.json, the others
 * adapter_model.safetensors. An adapter that opens must answer every question about
 * its modules. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/adapter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/glia-fuzz-XXXXXX";
static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};

static void require(bool true_thing) {
    if (!true_thing) abort();
}

static void path_of(char path[64], int i) { snprintf(path, 64, "%s/%s", dir, names[i]); }

static void put(int i, const void *bytes, size_t n) {
    char path[64];
    path_of(path, i);
    FILE *f = fopen(path, "wb");
    require(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static void clean(void) {
    char path[64];
    for (int i = 0; i < 2; i++) {
        path_of(path, i);
        unlink(path);
    }
    rmdir(dir);
}

static void check(glia_status status, const glia_err *err) {
    require(!status || (*err->msg && strlen(err->msg) < sizeof err->msg && !strchr(err->msg, '\n')));
}

static void ask(const glia_adapter_files *a, const char *module) {
    glia_err err = {0};
    bool is;
    int r = 0;
    double scale;
    check(glia_adapter_targets(&is, a, module, true, &err), &err);
    const glia_status status = glia_adapter_scale(&r, &scale, a, module, &err);
    check(status, &err);
    require(status || r >= 1);
    glia_adapter_saves(a, module);
    glia_adapter_tokens(a, module);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool begun;
    glia_adapter_files a;
    glia_err err = {0};
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t n = zero ? (size_t)(zero - data) : size;
    if (!begun) {
        require(mkdtemp(dir) != NULL);
        atexit(clean);
        begun = true;
    }
    put(0, data, n);
    put(1, zero ? zero + 1 : data, zero ? size - n - 1 : 0);
    const glia_status status = glia_adapter_files_open(&a, dir, &err);
    check(status, &err);
    if (status) return 0;
    for (size_t i = 0; i < a.n; i++) {
        require(glia_adapter_find(&a, a.tensor[i].module, a.tensor[i].role) == a.tensor[i].view);
        ask(&a, a.tensor[i].module);
    }
    ask(&a, "model.layers.1.self_attn.q_proj");
    ask(&a, "model.embed_tokens");
    glia_adapter_files_close(&a);
    return 0;
}
