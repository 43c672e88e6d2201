/* Level avx512-vpopcntdq: x86 with AVX-512 and VPOPCNTDQ (2019), where one instruction counts eight words. */

#include "level.h"

#ifdef LABKIT_X86

#include <immintrin.h>

#define LEVEL avx512
#define LEVEL_NAME "avx512-vpopcntdq"
#define TARGET __attribute__((target("avx512f,avx512vpopcntdq,popcnt")))
#define ROWS 6 /* 6 x 4 counters, 4 vectors of b and 1 word of a: 29 of the 32 registers */
#define VECS 4
typedef uint64_t vec __attribute__((vector_size(64)));

TARGET static inline vec popcount(vec words) { return (vec)_mm512_popcnt_epi64((__m512i)words); }

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq")
        && __builtin_cpu_supports("popcnt");
}

#include "families.h"

#endif
