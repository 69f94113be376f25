/* fuzz_safetensors.c - any bytes as a .safetensors file give a failure, or views that
 * are inside the bytes and cover them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    glia_err err;
    glia_safetensors st;
    char shape[64];
    if (glia_safetensors_parse(&st, data, size, "fuzz", &err) != GLIA_OK) {
        if (!*err.msg || strlen(err.msg) >= sizeof err.msg || strchr(err.msg, '\n')) abort();
        return 0;
    }
    const uint8_t *at = st.n ? st.tensor[0].data : data + size;
    for (size_t i = 0; i < st.n; i++) {
        const glia_tensor_view *t = &st.tensor[i];
        if ((const uint8_t *)t->data != at || t->bytes > (size_t)(data + size - at) || !t->name) abort();
        at += t->bytes;
        glia_tensor_shape(t, shape, sizeof shape);
        glia_tensor_check_weight(t, "fuzz", &err);
    }
    if (at != data + size) abort();
    glia_safetensors_close(&st);
    return 0;
}
