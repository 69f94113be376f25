/* ceiling_ref.c - the ceilings of bench in plain C: reading and multiply-adds. */
#include "kernel/panel.h"

#include <string.h>

glia_read_fn glia_read_ref;
glia_peak_fn glia_peak_f32_ref;

uint64_t glia_read_ref(const void *p, size_t bytes, int streams, size_t prefetch_bytes) {
    const char *byte = p;
    const size_t part = bytes / (size_t)streams / 64 * 64;
    uint64_t sum = 0, word;
    for (size_t at = 0; at < part; at += 64)
        for (size_t s = 0; s < (size_t)streams; s++) {
            __builtin_prefetch(byte + s * part + at + prefetch_bytes);
            for (size_t i = 0; i < 64; i += sizeof word) {
                memcpy(&word, byte + s * part + at + i, sizeof word);
                sum += word;
            }
        }
    for (size_t at = part * (size_t)streams; at < bytes; at++) sum += (unsigned char)byte[at];
    return sum;
}

uint64_t glia_peak_f32_ref(uint64_t rounds) {
    enum { LANES = 32 };
    float sum[LANES];
    for (int i = 0; i < LANES; i++) sum[i] = (float)i;
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < LANES; i++) sum[i] = sum[i] * 0.5f + 1.0f;
    float total = 0;
    for (int i = 0; i < LANES; i++) total += sum[i];
    volatile float sink = total; /* without this the compiler would remove the loop */
    (void)sink;
    return rounds * LANES * 2;
}
