/* ceilings.c - what the machine can do: all ranks measure at once, and the leader adds their results. */
#include <assert.h>

#include "engine/engine_impl.h"

GLIA_API void glia_engine_ceilings(glia_engine *e, glia_ceilings *c) {
    assert(!e->stepping);
    *c = (glia_ceilings){0};
    if (glia_engine_leads(e, NULL)) return;
    glia_order_begin(glia_rank_order(&e->rank), ORDER_MEASURE);
    if (glia_engine_order(e, NULL)) return;
    for (int r = 0; r < e->rank.ranks; r++) {
        const glia_ceilings *of = glia_rank_ceilings(&e->rank, r);
        c->read_bytes_per_s += of->read_bytes_per_s;
        c->f32_flop_per_s += of->f32_flop_per_s;
        c->bf16_flop_per_s += of->bf16_flop_per_s;
        c->i8_op_per_s += of->i8_op_per_s;
    }
}
