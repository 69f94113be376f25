/* philox.h - the counter-based generator behind every draw.
 *
 * A draw is a pure function of (seed, position). It has no state, so neither the
 * batch nor a rejected draft token can change it.
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

/* A uniform draw in [0, 1) with 53 random bits. */
static inline double glia_uniform(uint64_t seed, uint64_t position) {
    uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
    glia_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)c[0] << 32 | c[1]) >> 11) * 0x1p-53;
}

#endif
