/* Level avx512: x86 with AVX-512 F, BW, DQ and VL (2017) but without an instruction that counts. The table of avx2.c,
   twice as wide, and with thirty-two registers the tile is larger. */

#include "level.h"

#ifdef LABKIT_X86

#include <immintrin.h>

#define LEVEL avx512
#define LEVEL_NAME "avx512"
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt")))
#define ROWS 4 /* 4 x 4 counters, 4 vectors of b, the table, the mask and the temporaries of the count */
#define DOUBLES 4
#define DOTS 1 /* counting limits, and its constants take the registers */
#define VECS 4
#define CHAINS 16
typedef uint32_t word __attribute__((may_alias));
typedef uint32_t vec __attribute__((vector_size(64)));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef float fvec __attribute__((vector_size(64)));

#define BURST 31 /* a byte gains at most 8 a time and holds at most 255 */

TARGET static INLINE vec count(vec x)
{
    const __m128i sixteen = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m512i table = _mm512_broadcast_i32x4(sixteen), half = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512((__m512i)x, half);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16((__m512i)x, 4), half);
    return (vec)_mm512_add_epi8(_mm512_shuffle_epi8(table, low), _mm512_shuffle_epi8(table, high));
}

TARGET static INLINE vec widen(vec bytes) /* to pairs of bytes, then to pairs of pairs */
{
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)bytes, _mm512_set1_epi8(1));
    return (vec)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}

#define SUM(x) _mm512_reduce_add_epi32((__m512i)(x)) /* of all lanes */

TARGET static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return (fvec)_mm512_fmadd_ps(x, y, z); }

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
}

#include "families.h"

#endif
