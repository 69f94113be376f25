/* fuzz_torch_file.c - any bytes as a file of torch.save() give a failure, or views inside the bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/pickle.h"
#include "format/torch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(const glia_err *err) {
    if (!*err->msg || strlen(err->msg) >= sizeof err->msg || strchr(err->msg, '\n')) abort();
}

/* The pickle alone: a change of an archive rarely reaches it. */
static void read_pickle(const uint8_t *data, size_t size) {
    glia_pickled_tensor *t;
    glia_err err;
    size_t n;
    if (glia_pickle_read(&t, &n, data, size, "fuzz", &err)) {
        check_message(&err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if ((const uint8_t *)t[i].name < data || t[i].name_len > size || t[i].n_dims > GLIA_TENSOR_DIMS_MAX)
            abort();
    free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    glia_err err;
    glia_torch_file f;
    read_pickle(data, size);
    if (glia_torch_file_parse(&f, data, size, "fuzz", &err)) {
        check_message(&err);
        return 0;
    }
    for (size_t i = 0; i < f.n; i++) {
        const uint8_t *at = f.tensor[i].data;
        if (at < data || at > data + size || f.tensor[i].bytes > (size_t)(data + size - at) ||
            !f.tensor[i].name)
            abort();
    }
    glia_torch_file_close(&f);
    return 0;
}
