/* Level avx512-vpopcntdq: x86 with AVX-512 and VPOPCNTDQ (2019), where one instruction counts sixteen words. */

#include "level.h"

#ifdef LABKIT_X86

#include <immintrin.h>

#define LEVEL vpopcntdq
#define LEVEL_NAME "avx512-vpopcntdq"
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma,popcnt")))
#define ROWS 6 /* 6 x 4 counters, 4 vectors of b and 1 word of a: 29 of the 32 registers */
#define DOUBLES 4
#define DOTS 1 /* the memory limits */
#define VECS 4
#define CHAINS 24
typedef uint32_t word __attribute__((may_alias));
typedef uint32_t vec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef float fvec __attribute__((vector_size(64)));

#define BURST (INT64_MAX / 64) /* a count needs no widening */

TARGET static INLINE vec count(vec x) { return (vec)_mm512_popcnt_epi32((__m512i)x); }

TARGET static INLINE vec widen(vec counts) { return counts; }

#define SUM(x) _mm512_reduce_add_epi32((__m512i)(x)) /* of all lanes */

TARGET static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return (fvec)_mm512_fmadd_ps(x, y, z); }

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx2")
        && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
}

#include "families.h"

#endif
