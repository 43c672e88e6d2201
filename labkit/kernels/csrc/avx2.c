/* Level avx2: x86 with AVX2 (2013), vectors of four words but no instruction that counts their bits.

   The byte shuffle serves as a table of sixteen entries, looked up for thirty-two half-bytes at once; then the bytes of
   each word are added. W. Mula, N. Kurz, D. Lemire, Faster population counts using AVX2 instructions, 2018. */

#include "level.h"

#ifdef LABKIT_X86

#include <immintrin.h>

#define LEVEL avx2
#define LEVEL_NAME "avx2"
#define TARGET __attribute__((target("avx2,popcnt")))
#define ROWS 2 /* the table and the constants of the count take registers too, so the tile is small */
#define VECS 2
typedef uint64_t vec __attribute__((vector_size(32)));

TARGET static inline vec popcount(vec words)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i half = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256((__m256i)words, half);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)words, 4), half);
    const __m256i bytes = _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
    return (vec)_mm256_sad_epu8(bytes, _mm256_setzero_si256());
}

static int supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"); }

#include "families.h"

#endif
