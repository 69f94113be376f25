/* ceiling_amx.c - the bfloat16 and int8 peaks of AMX: 2 x 2 tiles, nothing loaded in between. */
#include "kernel/kernels.h"
#include "kernel/tile_amx.h"

glia_peak_fn glia_peak_bf16_amx, glia_peak_i8_amx;

/* Returns the operations of `rounds` rounds whose tile instruction takes `k` at a time. */
static uint64_t begin(uint64_t rounds, uint64_t k) {
    static const char zeros[GLIA_AMX_BYTES] __attribute__((aligned(64)));
    const glia_tile_config config = glia_tile_config_full();
    glia_tile_load(&config);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    return rounds * 4 * 2 * GLIA_AMX_ROWS * GLIA_PANEL * k;
}

uint64_t glia_peak_bf16_amx(uint64_t rounds) {
    const uint64_t work = begin(rounds, 32);
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
    const uint64_t work = begin(rounds, 64);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return work;
}
