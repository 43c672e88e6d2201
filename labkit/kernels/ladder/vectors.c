/* Step 6, vectors: one word of a meets the same word of 32 rows of b, which lie side by side in a panel. Each lane
   counts for a column of its own, so no lane is ever added to another. No intrinsics: the compiler finds the vectors.
   Step 7, threads: each panel is a task of its own. Without -fopenmp the pragma is a comment. */

#include <stdint.h>

#define ROWS 6
#define COLUMNS 32
#define DEPTH 64 /* words; a panel of 64 x 32 words is 16 KiB */
#define UNROLL _Pragma("GCC unroll 8")

typedef uint64_t panel[DEPTH][COLUMNS];

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

static void interleave(const uint64_t *b, int64_t stride, int64_t columns,
                       int64_t depth, panel to)
{
    for (int64_t j = 0; j < COLUMNS; j++)
        for (int64_t k = 0; k < depth; k++)
            to[k][j] = j < columns ? b[j * stride + k] : 0;
}

static void tile(const uint64_t *const x[ROWS], panel y, int64_t depth,
                 uint64_t differ[ROWS][COLUMNS])
{
    uint64_t sum[ROWS][COLUMNS];
    UNROLL for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            sum[i][j] = 0;
    for (int64_t k = 0; k < depth; k++)
        UNROLL for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j++)
                sum[i][j] += (uint64_t)__builtin_popcountll(x[i][k] ^ y[k][j]);
    UNROLL for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            differ[i][j] = sum[i][j];
}

static void strip(const uint64_t *a, panel y, int32_t *c, int64_t m, int64_t p,
                  int64_t words, int64_t columns, int64_t depth)
{
    for (int64_t i = 0; i < m; i += ROWS) {
        const uint64_t *x[ROWS];
        uint64_t differ[ROWS][COLUMNS];
        for (int r = 0; r < ROWS; r++)
            x[r] = a + smaller(i + r, m - 1) * words;
        tile(x, y, depth, differ);
        for (int r = 0; r < ROWS && i + r < m; r++)
            for (int64_t s = 0; s < columns; s++)
                c[(i + r) * p + s] -= 2 * (int32_t)differ[r][s];
    }
}

void xnor_gemm(const uint64_t *a, const uint64_t *b, int32_t *c,
               int64_t m, int64_t p, int64_t n)
{
    const int64_t words = (n + 63) / 64;
    for (int64_t i = 0; i < m * p; i++)
        c[i] = (int32_t)n;
    #pragma omp parallel for schedule(dynamic) num_threads(THREADS)
    for (int64_t j = 0; j < p; j += COLUMNS)
        for (int64_t k = 0; k < words; k += DEPTH) { /* a long row takes several panels */
            const int64_t columns = smaller(COLUMNS, p - j), depth = smaller(DEPTH, words - k);
            panel y;
            interleave(b + j * words + k, words, columns, depth, y);
            strip(a + k, y, c + j, m, p, words, columns, depth);
        }
}
