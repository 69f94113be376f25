/* simd.h - what the vector rungs tell the compiler: copy this body with these
 * constants, and write this loop out so that its accumulators stay in registers. */
#ifndef GLIA_KERNEL_SIMD_H
#define GLIA_KERNEL_SIMD_H

#define GLIA_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define GLIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GLIA_UNROLL _Pragma("GCC unroll 32")
#endif

#endif
