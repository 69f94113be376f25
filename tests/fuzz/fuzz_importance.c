/* fuzz_importance.c - hostile importance files.
 *
 * The bytes are the file of a model of one small layer. A file that opens has finite numbers, none below
 * 0, for each product. */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/importance.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/tmp/glia-fuzz-XXXXXX";

static void require(bool true_thing) {
    if (!true_thing) abort();
}

static void clean(void) { unlink(path); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool begun;
    static const glia_model_config c = {
        .layers = 1, .hidden = 4, .heads = 2, .kv_heads = 1, .head_dim = 2, .ffn = 8};
    glia_importance *m;
    glia_err err = {0};
    if (!begun) {
        const int fd = mkstemp(path);
        require(fd >= 0 && close(fd) == 0);
        atexit(clean);
        begun = true;
    }
    FILE *f = fopen(path, "wb");
    require(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    const glia_status status = glia_importance_open(&m, path, &c, &err);
    glia_importance_is(path);
    require(!status || (*err.msg && !strchr(err.msg, '\n')));
    if (status) return 0;
    for (glia_product p = PRODUCT_HEAD; p < N_PRODUCTS; p++) {
        const float *x = glia_importance_of(m, 0, p), mean = glia_importance_mean(m, 0, p);
        for (int i = 0; i < 4; i++) require(x[i] >= 0 && isfinite(x[i]));
        require(mean >= 0);
    }
    glia_importance_close(m);
    return 0;
}
