/* tile_amx.h - the configuration that LDTILECFG loads. */
#ifndef GLIA_KERNEL_TILE_AMX_H
#define GLIA_KERNEL_TILE_AMX_H

#include <immintrin.h>
#include <stdint.h>

enum {
    GLIA_AMX_STEP = 32,
    GLIA_AMX_ROWS = 16,
    GLIA_AMX_BYTES = 1024
}; /* k of bfloat16, rows and bytes of a tile */

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} glia_tile_config;

static inline glia_tile_config glia_tile_config_full(void) {
    return (glia_tile_config){.palette = 1,
                              .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                              .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
}

/* The barrier makes the compiler store the whole configuration: the intrinsic's type
 * says that it reads only the first bytes. */
static inline void glia_tile_load(const glia_tile_config *c) {
    __asm__ volatile("" : : "r"(c) : "memory");
    _tile_loadconfig(c);
}

#endif
