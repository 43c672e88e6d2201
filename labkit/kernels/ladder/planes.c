/* Products of unsigned integers from their bit planes, one dot product after the other. WORD is uint32_t or uint64_t. */

#include <stdint.h>

void bitserial(const WORD *a, const WORD *b, int64_t *c,
               int64_t m, int64_t p, int64_t words, int64_t M, int64_t K)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int64_t sum = 0;
            for (int64_t s = 0; s < M; s++)
                for (int64_t t = 0; t < K; t++) {
                    const WORD *x = a + (s * m + i) * words, *y = b + (t * p + j) * words;
                    int64_t both = 0;
                    for (int64_t k = 0; k < words; k++)
                        both += __builtin_popcountll(x[k] & y[k]);
                    sum += both << (s + t);
                }
            c[i * p + j] = sum;
        }
}
