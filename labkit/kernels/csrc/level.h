/* A level is a set of instructions that a processor may have, and one table of kernels compiled for it.

   Each level has a short file (portable.c, avx2.c, ...) that says how wide a vector is and how its bits are counted,
   and then includes families.h: the same readable C is compiled once per level. dispatch.c chooses while the program
   runs, so one build serves every processor and -march=native is not needed. */

#ifndef LABKIT_LEVEL_H
#define LABKIT_LEVEL_H

#include <stdint.h>

struct level {
    const char *name;
    int (*supported)(void);
    int (*pack_f32)(const float *x, int64_t rows, int64_t n, uint64_t *words);
    int (*pack_f64)(const double *x, int64_t rows, int64_t n, uint64_t *words);
    void (*xnor_matmul)(const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p, int64_t n);
};

extern const struct level level_portable, level_popcnt, level_avx2, level_avx512, level_neon;

/* The faster levels need the vector types and target attributes of GCC or Clang; any C99 compiler builds `portable`. */
#if defined(__GNUC__) && defined(__x86_64__)
#define LABKIT_X86 1
#elif defined(__GNUC__) && defined(__aarch64__)
#define LABKIT_ARM 1
#endif

/* Unrolled, the accumulators of a tile are registers; in a loop they would be an array in memory. */
#if defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

/* KERNEL(tile) is tile_avx2 where LEVEL is avx2. The detour lets the preprocessor expand LEVEL before it joins. */
#define JOIN(name, level) name##_##level
#define EXPAND(name, level) JOIN(name, level)
#define KERNEL(name) EXPAND(name, LEVEL)

#endif
