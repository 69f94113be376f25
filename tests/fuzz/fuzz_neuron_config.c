/* fuzz_neuron_config.c - any text as neuron_config.json gives a failure, or values in
 * the ranges that the header promises. Writing and reading again gives the same values. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/neuron_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool promise) {
    if (!promise) abort();
}

static void warn(void *user, const char *sentence) {
    (void)user;
    must(*sentence && strlen(sentence) < 600 && !strchr(sentence, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    glia_err err;
    glia_neuron_config c, again;
    if (glia_neuron_config_parse(&c, (const char *)data, size, "fuzz", warn, NULL, &err) != GLIA_OK) {
        must(*err.msg && strlen(err.msg) < sizeof err.msg && !strchr(err.msg, '\n') && !c.present);
        return 0;
    }
    must(c.present);
    for (int id = 0; id < N_NEURON; id++)
        must(!c.key[id] || (*c.key[id] && isfinite(c.number[id]) && c.number[id] >= -1));
    json_t *file = glia_neuron_config_write(&c);
    char *text = json_dumps(file, 0);
    must(text && glia_neuron_config_parse(&again, text, strlen(text), "fuzz", NULL, NULL, &err) == GLIA_OK);
    for (int id = 0; id < N_NEURON; id++)
        must(!c.key[id] || id == NEURON_CONTEXT || (again.key[id] && c.number[id] == again.number[id]));
    must(!c.modules == !again.modules && (!c.modules || !strcmp(c.modules, again.modules)));
    free(text);
    json_decref(file);
    glia_neuron_config_free(&c);
    glia_neuron_config_free(&again);
    return 0;
}
