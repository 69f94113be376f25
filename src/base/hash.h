/* hash.h - a 64-bit hash of many bytes, at the speed of memory.
 *
 * The hash tells apart what differs by chance or damage. It is no defence against
 * intent. Eight lanes read the words in rotation. A step (xor, rotate, multiply by
 * an odd number) is a bijection of the lane, so a lane that differs once still
 * differs unless a later word undoes the difference. The lanes are folded at the
 * end. All functions are pure, except that glia_hash_hex() writes its argument. */
#ifndef GLIA_BASE_HASH_H
#define GLIA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Hash of `n` bytes, the same on every machine. `seed` chains calls: the hash of a, then b, is
 * glia_hash(b, nb, glia_hash(a, na, 0)). */
uint64_t glia_hash(const void *bytes, size_t n, uint64_t seed);

/* Write a hash as 16 hexadecimal digits. */
enum { GLIA_HASH_HEX = 17 };
void glia_hash_hex(char hex[GLIA_HASH_HEX], uint64_t hash);

/* A bijection in which every bit of the result depends on every bit of x: the finalizer of SplitMix64.
 * Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014). */
static inline uint64_t glia_mix64(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#endif
