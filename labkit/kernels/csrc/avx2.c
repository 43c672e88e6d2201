/* Level avx2: x86 with AVX2 and FMA (2013). There is no instruction that counts the bits of a vector, but a byte
   shuffle is a table of sixteen entries, looked up for thirty-two half-bytes at once. The counts stay in bytes as long
   as they fit. W. Mula, N. Kurz, D. Lemire, Faster population counts using AVX2 instructions, 2018. */

#include "level.h"

#ifdef LABKIT_X86

#include <immintrin.h>

#define LEVEL avx2
#define LEVEL_NAME "avx2"
#define TARGET __attribute__((target("avx2,fma,popcnt")))
#define ROWS 2 /* the table and the constants of the count take registers too, so the tile is small */
#define DOUBLES 4
#define DOTS 1 /* counting limits, not the memory */
#define VECS 2
#define CHAINS 8
typedef uint32_t word __attribute__((may_alias));
typedef uint32_t vec __attribute__((vector_size(32)));
typedef int32_t ivec __attribute__((vector_size(32)));
typedef float fvec __attribute__((vector_size(32)));

#define BURST 31 /* a byte gains at most 8 a time and holds at most 255 */

TARGET static INLINE vec count(vec x)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i half = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256((__m256i)x, half);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)x, 4), half);
    return (vec)_mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
}

TARGET static INLINE vec widen(vec bytes) /* to pairs of bytes, then to pairs of pairs */
{
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)bytes, _mm256_set1_epi8(1));
    return (vec)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

TARGET static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return (fvec)_mm256_fmadd_ps(x, y, z); }

static int supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
}

#include "families.h"

#endif
