/* hash.c - see hash.h. */
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LANES = 8, BLOCK = LANES * 8 };

static const uint64_t odd = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */

static inline uint64_t step(uint64_t lane, uint64_t word) {
    lane ^= word;
    return (lane << 29 | lane >> 35) * odd;
}

/* Every bit of the result depends on every bit of x (MurmurHash3's finalizer). */
static uint64_t spread(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

static inline uint64_t word_at(const unsigned char *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

uint64_t glia_hash(const void *bytes, size_t n, uint64_t seed) {
    const unsigned char *p = bytes;
    uint64_t lane[LANES];
    for (unsigned i = 0; i < LANES; i++) lane[i] = spread(seed + odd * (i + 1));
    size_t left = n;
    for (; left >= BLOCK; left -= BLOCK, p += BLOCK)
#pragma GCC unroll 8
        for (unsigned i = 0; i < LANES; i++) lane[i] = step(lane[i], word_at(p + 8 * i));
    if (left) {
        unsigned char tail[BLOCK] = {0};
        memcpy(tail, p, left);
        for (unsigned i = 0; i < LANES; i++) lane[i] = step(lane[i], word_at(tail + 8 * i));
    }
    uint64_t sum = spread(seed ^ (uint64_t)n);
    for (unsigned i = 0; i < LANES; i++) sum = spread(step(sum, lane[i]));
    return sum;
}

void glia_hash_hex(char hex[GLIA_HASH_HEX], uint64_t hash) {
    snprintf(hex, GLIA_HASH_HEX, "%016" PRIx64, hash);
}
