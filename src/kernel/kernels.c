/* kernels.c - the ladder: plain C first, then each instruction set of this
 * architecture overwrites the entries that it runs faster. */
#include "kernel/kernels.h"

#if defined(__x86_64__)
#include "kernel/x86/ladder.h"
#endif

glia_pack_fn glia_pack_ref;
glia_unpack_fn glia_unpack_ref;
glia_gemm_fn glia_gemm_f32_f32_ref, glia_gemm_bf16_f32_ref, glia_gemm_f16_f32_ref, glia_gemm_i8_f32_ref,
    glia_gemm_i8_i8_ref;
glia_gemm_fn glia_gemm_c4_f32_ref, glia_gemm_c8_f32_ref, glia_gemm_f8_f32_ref, glia_gemm_c4_i8_ref;
glia_pack_codes_fn glia_pack_codes_ref;
glia_absmax_fn glia_absmax_ref;
glia_pack_i8_fn glia_pack_i8_ref;
glia_quantize_fn glia_quantize_ref;
glia_rotate_fn glia_rotate_ref;
glia_rmsnorm_fn glia_rmsnorm_ref;
glia_rope_fn glia_rope_ref;
glia_swiglu_fn glia_swiglu_ref;
glia_add_fn glia_add_ref;
glia_divide_fn glia_divide_ref;
glia_kv_store_fn glia_kv_store_ref;
glia_kv_copy_fn glia_kv_copy_ref;
glia_kv_widen_fn glia_kv_widen_ref;
glia_attend_fn glia_attend_f32_ref, glia_attend_bf16_ref;
glia_merge_fn glia_merge_ref;
glia_read_fn glia_read_ref;
glia_peak_fn glia_peak_f32_ref;

void glia_kernels_init(glia_kernels *k, unsigned cpu_flags) {
    *k = (glia_kernels){
        .rung = "ref",
        .pack = glia_pack_ref,
        .unpack = glia_unpack_ref,
        .absmax = glia_absmax_ref,
        .pack_i8 = glia_pack_i8_ref,
        .pack_codes = glia_pack_codes_ref,
        .quantize = glia_quantize_ref,
        .rotate = glia_rotate_ref,
        .blocking =
            {
                .rows_bytes = 3 << 18,
                .chunk_rows = 256,
                .grain = 16,
                .few_grain = 8,
                .queries_per_unit = 32,
                .units_per_thread = 4,
                .key_cost = 16,
                .query_cost = 400,
            },
        .gemm =
            {
                [GLIA_WEIGHT_F32][GLIA_ROWS_F32].store = glia_gemm_f32_f32_ref,
                [GLIA_WEIGHT_BF16][GLIA_ROWS_F32].store = glia_gemm_bf16_f32_ref,
                [GLIA_WEIGHT_F16][GLIA_ROWS_F32].store = glia_gemm_f16_f32_ref,
                [GLIA_WEIGHT_I8][GLIA_ROWS_F32].store = glia_gemm_i8_f32_ref,
                [GLIA_WEIGHT_I8][GLIA_ROWS_I8].store = glia_gemm_i8_i8_ref,
                [GLIA_WEIGHT_C4][GLIA_ROWS_F32].store = glia_gemm_c4_f32_ref,
                [GLIA_WEIGHT_C8][GLIA_ROWS_F32].store = glia_gemm_c8_f32_ref,
                [GLIA_WEIGHT_F8][GLIA_ROWS_F32].store = glia_gemm_f8_f32_ref,
                [GLIA_WEIGHT_C4][GLIA_ROWS_I8].store = glia_gemm_c4_i8_ref,
            },
        .rmsnorm = glia_rmsnorm_ref,
        .rope = glia_rope_ref,
        .swiglu = glia_swiglu_ref,
        .add = glia_add_ref,
        .divide = glia_divide_ref,
        .kv_store = glia_kv_store_ref,
        .kv_copy = glia_kv_copy_ref,
        .kv_widen = glia_kv_widen_ref,
        .attend_f32 = glia_attend_f32_ref,
        .attend_bf16 = glia_attend_bf16_ref,
        .merge = glia_merge_ref,
        .read = glia_read_ref,
        .peak_f32 = glia_peak_f32_ref,
    };
#if defined(__x86_64__)
    glia_kernels_x86(k, cpu_flags);
#else
    (void)cpu_flags;
#endif
}
