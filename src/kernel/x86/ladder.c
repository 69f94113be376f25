/* ladder.c - see ladder.h. Each rung overwrites the entries that it runs faster than
 * the rung below. The rung below is no slower in the entries that a rung keeps. */
#include "kernel/x86/ladder.h"

#include "base/cpu.h"

glia_pack_fn glia_pack_avx2;
glia_rotate_fn glia_rotate_avx2;
glia_gemm_fn glia_gemm_f32_f32_avx2, glia_gemm_bf16_f32_avx2, glia_gemm_f16_f32_avx2, glia_gemm_i8_f32_avx2,
    glia_gemm_i8_i8_avx2, glia_gemm_i8_i8_avxvnni;
glia_rmsnorm_fn glia_rmsnorm_avx2;
glia_rope_fn glia_rope_avx2;
glia_swiglu_fn glia_swiglu_avx2;
glia_add_fn glia_add_avx2;
glia_divide_fn glia_divide_avx2;
glia_attend_fn glia_attend_f32_avx2, glia_attend_bf16_avx2;
glia_merge_fn glia_merge_avx2;
glia_read_fn glia_read_avx2;
glia_peak_fn glia_peak_f32_avx2;
glia_gemm_fn glia_gemm_c4_f32_avx2, glia_gemm_c8_f32_avx2, glia_gemm_f8_f32_avx2, glia_gemm_c4_i8_avx2,
    glia_gemm_c4_i8_avxvnni;

glia_pack_fn glia_pack_avx512;
glia_gemm_fn glia_gemm_f32_f32_avx512, glia_gemm_bf16_f32_avx512, glia_gemm_f16_f32_avx512,
    glia_gemm_i8_f32_avx512, glia_gemm_i8_i8_avx512;
glia_absmax_fn glia_absmax_avx512;
glia_pack_i8_fn glia_pack_i8_avx512;
glia_quantize_fn glia_quantize_avx512;
glia_rotate_fn glia_rotate_avx512;
glia_gemm_fn glia_gemm_i8_i8_vnni;
glia_peak_fn glia_peak_i8_vnni;
glia_rmsnorm_fn glia_rmsnorm_avx512;
glia_rope_fn glia_rope_avx512;
glia_swiglu_fn glia_swiglu_avx512;
glia_add_fn glia_add_avx512;
glia_divide_fn glia_divide_avx512;
glia_kv_store_fn glia_kv_store_avx512;
glia_kv_widen_fn glia_kv_widen_avx512;
glia_attend_fn glia_attend_f32_avx512, glia_attend_bf16_avx512;
glia_merge_fn glia_merge_avx512;
glia_read_fn glia_read_avx512;
glia_peak_fn glia_peak_f32_avx512;
glia_gemm_fn glia_gemm_c4_f32_avx512, glia_gemm_c8_f32_avx512, glia_gemm_f8_f32_avx512,
    glia_gemm_c4_i8_avx512, glia_gemm_c4_i8_vnni;

glia_gemm_fn glia_gemm_bf16_bf16_avx512_bf16, glia_gemm_i8_bf16_avx512_bf16, glia_gemm_i8_i8_avx512_bf16;
glia_gemm_fn glia_gemm_c4_bf16_avx512_bf16, glia_gemm_c8_bf16_avx512_bf16, glia_gemm_f8_bf16_avx512_bf16,
    glia_gemm_c4_i8_avx512_bf16;
glia_narrow_fn glia_narrow_avx512_bf16;
glia_attend_fn glia_attend_bf16_avx512_bf16;
glia_peak_fn glia_peak_bf16_avx512_bf16;

glia_gemm_fn glia_gemm_bf16_bf16_amx, glia_gemm_i8_bf16_amx, glia_gemm_i8_i8_amx;
glia_peak_fn glia_peak_i8_amx;
glia_attend_fn glia_attend_bf16_amx;
glia_peak_fn glia_peak_bf16_amx;

void glia_kernels_x86(glia_kernels *k, unsigned cpu_flags) {
    if (!(cpu_flags & GLIA_CPU_AVX2)) return;
    k->rung = "avx2";
    k->pack = glia_pack_avx2;
    k->rotate = glia_rotate_avx2;
    k->gemm[GLIA_WEIGHT_F32][GLIA_ROWS_F32].store = glia_gemm_f32_f32_avx2;
    k->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_F32].store = glia_gemm_bf16_f32_avx2;
    k->gemm[GLIA_WEIGHT_F16][GLIA_ROWS_F32].store = glia_gemm_f16_f32_avx2;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_F32].store = glia_gemm_i8_f32_avx2;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_F32].store = glia_gemm_c4_f32_avx2;
    k->gemm[GLIA_WEIGHT_C8][GLIA_ROWS_F32].store = glia_gemm_c8_f32_avx2;
    k->gemm[GLIA_WEIGHT_F8][GLIA_ROWS_F32].store = glia_gemm_f8_f32_avx2;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].store =
        cpu_flags & GLIA_CPU_AVX_VNNI ? glia_gemm_i8_i8_avxvnni : glia_gemm_i8_i8_avx2;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_I8].store =
        cpu_flags & GLIA_CPU_AVX_VNNI ? glia_gemm_c4_i8_avxvnni : glia_gemm_c4_i8_avx2;
    k->rmsnorm = glia_rmsnorm_avx2;
    k->rope = glia_rope_avx2;
    k->swiglu = glia_swiglu_avx2;
    k->add = glia_add_avx2;
    k->divide = glia_divide_avx2;
    k->attend_f32 = glia_attend_f32_avx2;
    k->attend_bf16 = glia_attend_bf16_avx2;
    k->merge = glia_merge_avx2;
    k->read = glia_read_avx2;
    k->peak_f32 = glia_peak_f32_avx2;

    if (!(cpu_flags & GLIA_CPU_AVX512)) return;
    k->rung = "avx512";
    k->pack = glia_pack_avx512;
    k->gemm[GLIA_WEIGHT_F32][GLIA_ROWS_F32].store = glia_gemm_f32_f32_avx512;
    k->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_F32].store = glia_gemm_bf16_f32_avx512;
    k->gemm[GLIA_WEIGHT_F16][GLIA_ROWS_F32].store = glia_gemm_f16_f32_avx512;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_F32].store = glia_gemm_i8_f32_avx512;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_F32].store = glia_gemm_c4_f32_avx512;
    k->gemm[GLIA_WEIGHT_C8][GLIA_ROWS_F32].store = glia_gemm_c8_f32_avx512;
    k->gemm[GLIA_WEIGHT_F8][GLIA_ROWS_F32].store = glia_gemm_f8_f32_avx512;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].store =
        cpu_flags & GLIA_CPU_VNNI ? glia_gemm_i8_i8_vnni : glia_gemm_i8_i8_avx512;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_I8].store =
        cpu_flags & GLIA_CPU_VNNI ? glia_gemm_c4_i8_vnni : glia_gemm_c4_i8_avx512;
    k->absmax = glia_absmax_avx512;
    k->pack_i8 = glia_pack_i8_avx512;
    k->quantize = glia_quantize_avx512;
    k->rotate = glia_rotate_avx512;
    k->peak_i8 = cpu_flags & GLIA_CPU_VNNI ? glia_peak_i8_vnni : NULL;
    k->rmsnorm = glia_rmsnorm_avx512;
    k->rope = glia_rope_avx512;
    k->swiglu = glia_swiglu_avx512;
    k->add = glia_add_avx512;
    k->divide = glia_divide_avx512;
    k->kv_store = glia_kv_store_avx512;
    k->kv_widen = glia_kv_widen_avx512;
    k->attend_f32 = glia_attend_f32_avx512;
    k->attend_bf16 = glia_attend_bf16_avx512;
    k->merge = glia_merge_avx512;
    k->read = glia_read_avx512;
    k->peak_f32 = glia_peak_f32_avx512;

    if (!(cpu_flags & GLIA_CPU_BF16)) return;
    k->rung = "avx512_bf16";
    k->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish = glia_gemm_bf16_bf16_avx512_bf16;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_BF16].finish = glia_gemm_i8_bf16_avx512_bf16;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].finish = glia_gemm_i8_i8_avx512_bf16;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_BF16].finish = glia_gemm_c4_bf16_avx512_bf16;
    k->gemm[GLIA_WEIGHT_C8][GLIA_ROWS_BF16].finish = glia_gemm_c8_bf16_avx512_bf16;
    k->gemm[GLIA_WEIGHT_F8][GLIA_ROWS_BF16].finish = glia_gemm_f8_bf16_avx512_bf16;
    k->gemm[GLIA_WEIGHT_C4][GLIA_ROWS_I8].finish = glia_gemm_c4_i8_avx512_bf16;
    k->narrow = glia_narrow_avx512_bf16;
    k->attend_bf16 = glia_attend_bf16_avx512_bf16;
    k->peak_bf16 = glia_peak_bf16_avx512_bf16;

    if (!(cpu_flags & GLIA_CPU_AMX)) return;
    k->rung = "amx";
    k->gemm[GLIA_WEIGHT_BF16][GLIA_ROWS_BF16].finish = glia_gemm_bf16_bf16_amx;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_BF16].finish = glia_gemm_i8_bf16_amx;
    k->gemm[GLIA_WEIGHT_I8][GLIA_ROWS_I8].finish = glia_gemm_i8_i8_amx;
    k->peak_i8 = glia_peak_i8_amx;
    k->attend_bf16 = glia_attend_bf16_amx;
    k->peak_bf16 = glia_peak_bf16_amx;
}
