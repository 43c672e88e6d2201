/* Step 5, unrolled: eight sums at a time stay in registers, so a word that was loaded is used two or four times. */

#include <stdint.h>

#define CACHE_WORDS 3072 /* 24 KiB */
#define ROWS 2
#define COLUMNS 4
#define UNROLL _Pragma("GCC unroll 8") /* without it the sums would be an array in memory */

static void tile(const uint64_t *const x[ROWS], const uint64_t *const y[COLUMNS],
                 int64_t words, int64_t differ[ROWS][COLUMNS])
{
    int64_t sum[ROWS][COLUMNS] = {{0}};
    for (int64_t k = 0; k < words; k++)
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int j = 0; j < COLUMNS; j++)
                sum[i][j] += __builtin_popcountll(x[i][k] ^ y[j][k]);
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < COLUMNS; j++)
            differ[i][j] = sum[i][j];
}

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

void xnor_gemm(const uint64_t *a, const uint64_t *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    const int64_t words = (n + 63) / 64;
    const int64_t few = words && words < CACHE_WORDS / COLUMNS; /* a row may have no words at all */
    const int64_t block = few ? CACHE_WORDS / words / COLUMNS * COLUMNS : COLUMNS;
    for (int64_t first = 0; first < p; first += block)
        for (int64_t i = 0; i < m; i += ROWS)
            for (int64_t j = first; j < smaller(p, first + block); j += COLUMNS) {
                const uint64_t *x[ROWS], *y[COLUMNS];
                int64_t differ[ROWS][COLUMNS];
                for (int r = 0; r < ROWS; r++) /* past the last row: that row again, counted and thrown away */
                    x[r] = a + smaller(i + r, m - 1) * words;
                for (int s = 0; s < COLUMNS; s++)
                    y[s] = b + smaller(j + s, p - 1) * words;
                tile(x, y, words, differ);
                for (int r = 0; r < ROWS && i + r < m; r++)
                    for (int s = 0; s < COLUMNS && j + s < p; s++)
                        c[(i + r) * p + j + s] = (int32_t)(n - 2 * differ[r][s]);
            }
}
