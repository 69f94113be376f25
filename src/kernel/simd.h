/* simd.h - how the vector rungs make the compiler specialise a function for constants
 * and unroll a loop, so that accumulators stay in registers. */
#ifndef GLIA_KERNEL_SIMD_H
#define GLIA_KERNEL_SIMD_H

#define GLIA_INLINE static inline __attribute__((always_inline))
/* In a function of too many loops, GCC does not keep sums in registers. */
#define GLIA_NOINLINE static __attribute__((noinline))

/* Run the statement with the constant R = n, for n from LEAST to MOST within 1 to 6 (or 12). Each
 * R is a copy of the statement: Clang does not unroll a loop inside an unrolled loop over R. */
/* clang-format off */
#define GLIA_CASE(N, LEAST, MOST, ...) case N: if (N >= LEAST && N <= MOST) { enum { R = N }; __VA_ARGS__; } break;
#define GLIA_3_CASES(N, ...) GLIA_CASE(N, __VA_ARGS__) GLIA_CASE(N + 1, __VA_ARGS__) GLIA_CASE(N + 2, __VA_ARGS__)
#define GLIA_WITH_6_ROWS(n, ...) switch (n) { GLIA_3_CASES(1, __VA_ARGS__) GLIA_3_CASES(4, __VA_ARGS__) }
#define GLIA_WITH_12_ROWS(n, ...) switch (n) { GLIA_3_CASES(1, __VA_ARGS__) GLIA_3_CASES(4, __VA_ARGS__) \
        GLIA_3_CASES(7, __VA_ARGS__) GLIA_3_CASES(10, __VA_ARGS__) }
/* clang-format on */

#if defined(__clang__)
#define GLIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GLIA_UNROLL _Pragma("GCC unroll 32")
#endif

#endif
