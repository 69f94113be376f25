/* ceiling_amx.c - the int8 peak of AMX. */
#include "kernel/kernels.h"
#include "kernel/tile_amx.h"

glia_peak_fn glia_peak_i8_amx;

uint64_t glia_peak_i8_amx(uint64_t rounds) {
    static const char zeros[GLIA_AMX_BYTES] __attribute__((aligned(64)));
    const glia_tile_config config = glia_tile_config_full();
    glia_tile_load(&config);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_release();
    return rounds * 4 * 2 * GLIA_AMX_ROWS * GLIA_PANEL * 64;
}
