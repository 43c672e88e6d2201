/* Step 4, blocks: as many rows of b as the first-level cache holds meet all rows of a before the next ones come. */

#include <stdint.h>

#define CACHE_WORDS 3072 /* 24 KiB */

static int64_t dot(const uint64_t *x, const uint64_t *y, int64_t words)
{
    int64_t differ = 0;
    for (int64_t k = 0; k < words; k++)
        differ += __builtin_popcountll(x[k] ^ y[k]);
    return differ;
}

void xnor_gemm(const uint64_t *a, const uint64_t *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    const int64_t words = (n + 63) / 64;
    const int64_t block = words && words < CACHE_WORDS ? CACHE_WORDS / words : 1;
    for (int64_t first = 0; first < p; first += block)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = first; j < p && j < first + block; j++)
                c[i * p + j] = (int32_t)(n - 2 * dot(a + i * words, b + j * words, words));
}
