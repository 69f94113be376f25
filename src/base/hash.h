/* hash.h - a 64-bit hash of many bytes, at the speed of memory: it tells apart
 * what differs by chance or damage, and is no defence against intent.
 *
 * Eight lanes take 8 bytes each in turns (xor, rotate, multiply by an odd
 * number: each step is a bijection of the lane, so a lane that differs once
 * still differs unless a later word undoes it) and are folded at the end. */
#ifndef GLIA_BASE_HASH_H
#define GLIA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Hash of `n` bytes; `seed` chains calls: a hash of several things is
 * glia_hash(b, nb, glia_hash(a, na, 0)). The same on every machine. */
uint64_t glia_hash(const void *bytes, size_t n, uint64_t seed);

#endif
