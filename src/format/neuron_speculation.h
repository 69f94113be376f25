/* neuron_speculation.h - keys of speculation in neuron_config.json. */
#ifndef GLIA_FORMAT_NEURON_SPECULATION_H
#define GLIA_FORMAT_NEURON_SPECULATION_H

#include "format/json.h"

/* What the keys ask for, as the JSON object that --speculative-config takes; NULL: nothing. The caller owns
 * it. `fused`: the member fused_spec_config, which may be NULL or null. Without "model" the draft is not
 * named: the heads of "medusa" are in the model's directory. */
json_t *glia_neuron_speculation(glia_json_reader *r, const json_t *fused);

/* Set the keys of `file` that ask for what *speculation says, an object of --speculative-config with a
 * "method"; NULL: nothing is set. What glia_neuron_speculation_lacks() names is left out. */
void glia_neuron_speculation_write(json_t *file, const json_t *speculation);
/* A member of *speculation, or its method, that neuron_config.json has no key for; NULL: there is none. */
const char *glia_neuron_speculation_lacks(const json_t *speculation);

#endif
