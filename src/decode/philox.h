/* philox.h - the counter-based generator behind every draw.
 *
 * A token's noise is a pure function of (seed, position, token). It has no state, so
 * neither the batch nor a rejected draft token can change it, and a draft can share it
 * with its target.
 * Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011, Philox4x32 with 10 rounds (table 2; the constants of
 * section 3.3). tests/check_sampling.c holds the authors' test vectors. */
#ifndef GLIA_DECODE_PHILOX_H
#define GLIA_DECODE_PHILOX_H

#include <stdint.h>

/* Replace the counter `c` by its encryption under the key. */
static inline void glia_philox(uint32_t c[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        const uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ key0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key1;
        c[3] = (uint32_t)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

enum { GLIA_NOISE = 64 }; /* tokens that share one call of glia_noise() */

/* The noise of tokens [first, first + GLIA_NOISE) for the draw at `position`: 32 random bits each. `first` is
 * a multiple of GLIA_NOISE. Token t has word t % 4 of the encrypted counter (position, t / 4). */
static inline void glia_noise(uint32_t noise[GLIA_NOISE], uint64_t seed, uint64_t position, uint32_t first) {
    enum { BLOCKS = GLIA_NOISE / 4 };
    uint32_t c[4][BLOCKS], key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        c[0][i] = (uint32_t)position;
        c[1][i] = (uint32_t)(position >> 32);
        c[2][i] = first / 4 + i;
        c[3][i] = 0;
    }
    for (int round = 0; round < 10; round++) { /* glia_philox() of all blocks, in a form that vectorises */
        for (int i = 0; i < BLOCKS; i++) {
            const uint64_t a = UINT64_C(0xD2511F53) * c[0][i], b = UINT64_C(0xCD9E8D57) * c[2][i];
            c[0][i] = (uint32_t)(b >> 32) ^ c[1][i] ^ key0;
            c[1][i] = (uint32_t)b;
            c[2][i] = (uint32_t)(a >> 32) ^ c[3][i] ^ key1;
            c[3][i] = (uint32_t)a;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int i = 0; i < BLOCKS; i++)
        for (int word = 0; word < 4; word++) noise[4 * i + word] = c[word][i];
}

/* The uniform number in (0, 1) of a word of noise. */
static inline double glia_uniform(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

#endif
