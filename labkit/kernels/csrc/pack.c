/* Signs to bits: sixty-four numbers become one word. Included by families.h once for each type REAL.

   MASK is an unsigned integer as wide as REAL, and as many numbers as it has bits are taken at a time: comparing a
   vector gives lanes of that width, so the compiler makes the loop a compare, an AND with bits 0, 1, 2, ... and OR. */

#define GROUP ((int)(8 * sizeof(REAL)))

/* The comparison, not the sign bit, decides: -0.0 is not negative, so sign(0) = +1 holds for both zeros. */
TARGET static inline uint64_t KERNEL(EXPAND(signs, REAL))(const REAL *x, int count, int *nan)
{
    MASK mask = 0;
    int found = 0;
    for (int k = 0; k < count; k++) {
        mask |= -(MASK)(x[k] < 0) & (MASK)BIT[k]; /* -1 is all ones: no branch to mispredict */
        found |= x[k] != x[k]; /* true for a NaN alone */
    }
    *nan |= found;
    return mask;
}

TARGET static int KERNEL(PACK)(const REAL *x, int64_t rows, int64_t n, uint64_t *words)
{
    int nan = 0;
    for (int64_t r = 0; r < rows; r++, x += n)
        for (int64_t w = 0; w < n; w += 64, words++) {
            *words = 0;
            for (int64_t k = w; k < w + 64 && k < n; k += GROUP) {
                const uint64_t group = n - k >= GROUP ? KERNEL(EXPAND(signs, REAL))(x + k, GROUP, &nan)
                                                      : KERNEL(EXPAND(signs, REAL))(x + k, (int)(n - k), &nan);
                *words |= group << (k - w);
            }
        }
    return nan;
}

#undef GROUP
