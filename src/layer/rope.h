/* rope.h - rotary position embeddings: every rope type, as tables.
 *
 * Frequencies are rounded to float32 step by step as Transformers does, and so
 * is position times frequency. So the angle equals Transformers' angle, also at
 * long positions, and the cosine of that angle is correctly rounded. docs/MODEL.md has the measurement.
 *
 * Transformers lets `dynamic` and `longrope` change their frequencies as a
 * sequence grows, so that a token's logits depend on when the token was computed.
 * Here the planned sequence length decides, once. */
#ifndef GLIA_LAYER_ROPE_H
#define GLIA_LAYER_ROPE_H

#include "format/config.h"

/* Inverse frequencies of head_dim's pairs for sequences of up to
 * `sequence_length` positions.
 *   inv_freq  [head_dim / 2] float32, written
 * Returns the factor on cos and sin (attention scaling; 1 for most types).
 * Source: transformers modeling_rope_utils.py, ROPE_INIT_FUNCTIONS. */
double glia_rope_frequencies(float *inv_freq, const glia_model_config *c, int sequence_length);

/* cos and sin of positions [from, to): [position, head_dim / 2] float32 each,
 * and row 0 is position `from`.
 * Source: transformers Qwen3RotaryEmbedding.forward. */
void glia_rope_table(float *cos_table, float *sin_table, const float *inv_freq, double scaling, size_t pairs,
                     size_t from, size_t to);

#endif
