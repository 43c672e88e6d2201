/* Step 2, packed: 64 signs in a word. Bits are counted by arithmetic: pairs, fours, bytes, then all bytes at once. */

#include <stdint.h>

static int64_t count(uint64_t x)
{
    x = x - ((x >> 1) & 0x5555555555555555);
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (int64_t)((x * 0x0101010101010101) >> 56);
}

void xnor_gemm(const uint64_t *a, const uint64_t *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    const int64_t words = (n + 63) / 64;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int64_t differ = 0;
            for (int64_t k = 0; k < words; k++)
                differ += count(a[i * words + k] ^ b[j * words + k]);
            c[i * p + j] = (int32_t)(n - 2 * differ);
        }
}
