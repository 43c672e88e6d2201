/* A level is a set of instructions that a processor may have, and one table of kernels compiled for it.

   Each level has a short file (portable.c, avx2.c, ...) that says how wide a vector is and how its bits are counted,
   and then includes families.h: the same readable C is compiled once per level. dispatch.c chooses while the program
   runs, so one build serves every processor and -march=native is not needed. */

#ifndef LABKIT_LEVEL_H
#define LABKIT_LEVEL_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

struct level {
    const char *name;
    int (*supported)(void);
    int (*pack_f32)(const float *x, const float *thresholds, int64_t rows, int64_t n, uint64_t *words);
    int (*pack_f64)(const double *x, const double *thresholds, int64_t rows, int64_t n, uint64_t *words);
    int (*pack_i32)(const int32_t *x, const int32_t *thresholds, int64_t rows, int64_t n, uint64_t *words);
    int (*pack_nchw_f32)(const float *x, const float *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);
    int (*pack_nchw_f64)(const double *x, const double *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);
    int (*pack_nchw_i32)(const int32_t *x, const int32_t *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);
    int (*csr_check)(const int32_t *ia, const int32_t *ja, int64_t m, int64_t n, int64_t nnz);
    void (*csr_matvec_f32)(const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last);
    void (*csr_matvec_f64)(const double *a, const int32_t *ia, const int32_t *ja, const double *x, double *y,
                           int64_t first, int64_t last);
    int (*csr_matmul_f32)(const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last, int64_t n, int64_t k);
    int (*csr_matmul_f64)(const double *a, const int32_t *ia, const int32_t *ja, const double *x, double *y,
                           int64_t first, int64_t last, int64_t n, int64_t k);
    void (*product)(const struct labkit_product *product);
    void (*xnor_dots)(const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p, int64_t words,
                      int64_t n, int64_t stride);
    int (*winograd)(const struct labkit_winograd *w, int64_t first, int64_t last);
    int64_t (*limit_counts)(int64_t rounds, uint64_t *sum);
    int64_t (*limit_fma)(int64_t rounds, float *sum);
};

extern const struct level level_portable, level_popcnt, level_avx2, level_avx512, level_vpopcntdq, level_neon;

/* The faster levels need the vector types and target attributes of GCC or Clang, and low words first in memory; any
   C99 compiler builds `portable`. */
#if defined(__GNUC__) && defined(__x86_64__)
#define LABKIT_X86 1
#elif defined(__GNUC__) && defined(__AARCH64EL__)
#define LABKIT_ARM 1
#endif

/* Unrolled, the accumulators of a tile are registers; in a loop they would be an array in memory. A function that is
   always inlined is compiled anew for each constant that it is called with. */
#if defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 32")
#define TWICE _Pragma("GCC unroll 2") /* half as many loop counters and jumps */
#define EIGHT_TIMES _Pragma("GCC unroll 8")
#define INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define RESTRICT __restrict__ /* nothing else points there, so that the compiler may use vectors */
#define WILL_READ(address) __builtin_prefetch(address, 0, 0) /* once, so it need not stay in the cache */
#define WILL_WRITE(address) __builtin_prefetch(address, 1)
#else
#define UNROLL
#define TWICE
#define EIGHT_TIMES
#define INLINE inline
#define NOINLINE
#define RESTRICT
#define WILL_READ(address)
#define WILL_WRITE(address)
#endif

/* KERNEL(tile) is tile_avx2 where LEVEL is avx2. The detour lets the preprocessor expand LEVEL before it joins. */
#define JOIN(name, level) name##_##level
#define EXPAND(name, level) JOIN(name, level)
#define KERNEL(name) EXPAND(name, LEVEL)

#endif
