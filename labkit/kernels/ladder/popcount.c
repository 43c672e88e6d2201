/* Step 3, popcount: the same loops, but one instruction counts the bits of a word. */

#include <stdint.h>

void xnor_gemm(const uint64_t *a, const uint64_t *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    const int64_t words = (n + 63) / 64;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int64_t differ = 0;
            for (int64_t k = 0; k < words; k++)
                differ += __builtin_popcountll(a[i * words + k] ^ b[j * words + k]);
            c[i * p + j] = (int32_t)(n - 2 * differ);
        }
}
