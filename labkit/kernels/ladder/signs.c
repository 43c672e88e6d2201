/* Step 1, the definition: a multiplication and an addition for every pair of signs. */

#include <stdint.h>

void xnor_gemm(const float *a, const float *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            float sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += a[i * n + k] * b[j * n + k];
            c[i * p + j] = (int32_t)sum;
        }
}
