/* ceiling_amx.c - the bfloat16 and int8 peaks of AMX: 2 x 2 tiles without loads. */
#include "kernel/kernels.h"
#include "kernel/x86/tile_amx.h"

glia_peak_fn glia_peak_bf16_amx, glia_peak_i8_amx;

/* Fill the operand tiles with numbers like a model's: on zeros the unit draws less power and runs up to 1.35
 * times as fast. Each random group of 8 bytes is ANDed with `mask` and ORed with `set`. Returns the number of
 * operations in `rounds` rounds of a tile instruction that multiplies `k` elements. */
static uint64_t begin(uint64_t rounds, uint64_t k, uint64_t mask, uint64_t set) {
    uint64_t drawn[GLIA_AMX_BYTES / sizeof(uint64_t)] __attribute__((aligned(64))), state = 1;
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
        drawn[i] = ((state ^ state >> 32) & mask) | set;
    }
    const glia_tile_config config = glia_tile_config_full();
    glia_tile_load(&config);
    _tile_loadd(4, drawn, 64);
    _tile_loadd(5, drawn, 64);
    _tile_loadd(6, drawn, 64);
    _tile_loadd(7, drawn, 64);
    return rounds * 4 * 2 * GLIA_AMX_ROWS * GLIA_PANEL * k;
}

uint64_t glia_peak_bf16_amx(uint64_t rounds) {
    /* magnitudes from 2^-7 up to 2 */
    const uint64_t work = begin(rounds, 32, 0x83ff83ff83ff83ff, 0x3c003c003c003c00);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return work;
}

uint64_t glia_peak_i8_amx(uint64_t rounds) {
    const uint64_t work = begin(rounds, 64, UINT64_MAX, 0);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return work;
}
