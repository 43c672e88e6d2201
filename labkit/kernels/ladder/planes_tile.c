/* Products of unsigned integers from their bit planes, a tile of eight sums at a time. WORD is uint32_t or uint64_t. */

#include <stdint.h>

#define ROWS 2
#define COLUMNS 4
#define UNROLL _Pragma("GCC unroll 8")

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

static void tile(const WORD *const x[ROWS], const WORD *const y[COLUMNS], int64_t words, int shift,
                 int64_t result[ROWS][COLUMNS])
{
    int64_t sum[ROWS][COLUMNS] = {{0}};
    for (int64_t k = 0; k < words; k++)
        UNROLL for (int i = 0; i < ROWS; i++)
            UNROLL for (int j = 0; j < COLUMNS; j++)
                sum[i][j] += __builtin_popcountll(x[i][k] & y[j][k]);
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < COLUMNS; j++)
            result[i][j] += sum[i][j] << shift;
}

void bitserial(const WORD *a, const WORD *b, int64_t *c,
               int64_t m, int64_t p, int64_t words, int64_t M, int64_t K)
{
    for (int64_t i = 0; i < m; i += ROWS)
        for (int64_t j = 0; j < p; j += COLUMNS) {
            int64_t result[ROWS][COLUMNS] = {{0}};
            for (int64_t s = 0; s < M; s++)
                for (int64_t t = 0; t < K; t++) {
                    const WORD *x[ROWS], *y[COLUMNS];
                    for (int r = 0; r < ROWS; r++) /* past the last row: that row again, counted and thrown away */
                        x[r] = a + (s * m + smaller(i + r, m - 1)) * words;
                    for (int r = 0; r < COLUMNS; r++)
                        y[r] = b + (t * p + smaller(j + r, p - 1)) * words;
                    tile(x, y, words, (int)(s + t), result);
                }
            for (int r = 0; r < ROWS && i + r < m; r++)
                for (int s = 0; s < COLUMNS && j + s < p; s++)
                    c[(i + r) * p + j + s] = result[r][s];
        }
}
