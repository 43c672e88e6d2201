/* Products of sign vectors. Included by families.h, once per level.

   Two signs that agree contribute +1 to a dot product, two that differ -1, and a ^ b has a 1 exactly where they differ:
   dot = n - 2 popcount(a ^ b). Sixty-four multiplications and additions become three instructions.

   Two ideas make it fast. First, a vector holds words of different rows of b, not of one row: each lane then counts for
   its own column of the result, and no lane is ever added to another. For this, rows of b are interleaved into a panel.
   Second, a tile of ROWS x COLUMNS counts stays in registers while k runs over the words, so that each word loaded is
   used several times: a word of a in VECS vectors, a vector of b in ROWS rows. */

#define LANES ((int)(sizeof(vec) / sizeof(uint64_t)))
#define COLUMNS (VECS * LANES)
#define DEPTH 64 /* words of a panel: at most 64 x 32 words = 16 KiB, which the first-level cache holds */

union panel { /* b, transposed: [k] is word k of COLUMNS rows */
    uint64_t words[DEPTH][COLUMNS];
    vec vecs[DEPTH][VECS];
};

union counts {
    uint64_t words[ROWS][COLUMNS];
    vec vecs[ROWS][VECS];
};

/* The rows of b past the last are zero: their counts are computed and thrown away, so one tile serves every shape. */
TARGET static void KERNEL(interleave)(const uint64_t *b, int64_t stride, int64_t rows, int64_t depth,
                                      union panel *panel)
{
    for (int64_t j = 0; j < COLUMNS; j++)
        for (int64_t k = 0; k < depth; k++)
            panel->words[k][j] = j < rows ? b[j * stride + k] : 0;
}

/* acc[i][j] += the bits that differ in word k, where the mask has a 1. */
TARGET static inline void KERNEL(count_word)(vec acc[ROWS][VECS], const uint64_t *const a[ROWS],
                                             const union panel *b, int64_t k, uint64_t mask)
{
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < VECS; j++)
            acc[i][j] += popcount((a[i][k] ^ b->vecs[k][j]) & mask);
}

/* The mask is for the last word alone. In the loop it is a constant of ones, which the compiler drops. */
TARGET static void KERNEL(tile)(const uint64_t *const a[ROWS], const union panel *b, int64_t depth, uint64_t last_mask,
                                union counts *counts)
{
    vec acc[ROWS][VECS];
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < VECS; j++)
            acc[i][j] = (vec){0};
    for (int64_t k = 0; k < depth - 1; k++)
        KERNEL(count_word)(acc, a, b, k, ~UINT64_C(0));
    KERNEL(count_word)(acc, a, b, depth - 1, last_mask);
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < VECS; j++)
            counts->vecs[i][j] = acc[i][j];
}

/* All rows of a against one panel: result[i][j] -= 2 counts[i][j]. */
TARGET static void KERNEL(strip)(const uint64_t *a, int64_t m, int64_t words, const union panel *b, int64_t columns,
                                 int64_t depth, uint64_t last_mask, int32_t *result, int64_t p)
{
    for (int64_t i0 = 0; i0 < m; i0 += ROWS) {
        const int64_t rows = m - i0 < ROWS ? m - i0 : ROWS;
        const uint64_t *row[ROWS];
        union counts counts;
        for (int64_t i = 0; i < ROWS; i++) /* past the last row: that row again, so that every read is inside a */
            row[i] = a + (i0 + (i < rows ? i : rows - 1)) * words;
        KERNEL(tile)(row, b, depth, last_mask, &counts);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                result[(i0 + i) * p + j] -= 2 * (int32_t)counts.words[i][j];
    }
}

TARGET static void KERNEL(xnor_matmul)(const uint64_t *a, const uint64_t *b, int32_t *result,
                                       int64_t m, int64_t p, int64_t n)
{
    const int64_t words = n / 64 + (n % 64 != 0);
    const uint64_t tail_mask = ~UINT64_C(0) >> (64 * words - n);
    union panel panel;
    for (int64_t i = 0; i < m * p; i++)
        result[i] = (int32_t)n;
    for (int64_t j = 0; j < p; j += COLUMNS)
        for (int64_t k = 0; k < words; k += DEPTH) { /* a long row takes several panels */
            const int64_t columns = p - j < COLUMNS ? p - j : COLUMNS;
            const int64_t depth = words - k < DEPTH ? words - k : DEPTH;
            const uint64_t mask = k + depth == words ? tail_mask : ~UINT64_C(0);
            KERNEL(interleave)(b + j * words + k, words, columns, depth, &panel);
            KERNEL(strip)(a + k, m, words, &panel, columns, depth, mask, result + j, p);
        }
}
