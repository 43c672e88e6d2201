/* Dot products of a few rows of signs with many: result[i][j] = n - 2 popcount(a_i ^ b_j). Included by families.h.

   With few rows of a there is little to reuse, and to gather b into panels would cost as much as the products. So the
   vectors run along the rows, and the lanes are added once at the end. The rows of b are read in the order in which they
   lie in memory, which is what limits: each word is used once. */

#define WORDS ((int64_t)(sizeof(vec) / sizeof(uint64_t))) /* 64-bit words in a vector */

/* The first `count` words of a row, zeros after them. */
TARGET static INLINE vec KERNEL(load)(const uint64_t *words, int64_t count)
{
    vec loaded = {0};
    memcpy(&loaded, words, sizeof(uint64_t) * (size_t)count);
    return loaded;
}

/* popcount(a ^ b) over words first, ..., last - 1, in lanes: at most a burst of vectors. */
TARGET static INLINE vec KERNEL(differing)(const uint64_t *a, const uint64_t *b, int64_t first, int64_t last)
{
    vec acc = {0};
    int64_t k = first;
    for (; k + WORDS <= last; k += WORDS)
        acc += count(KERNEL(load)(a + k, WORDS) ^ KERNEL(load)(b + k, WORDS));
    if (k < last)
        acc += count(KERNEL(load)(a + k, last - k) ^ KERNEL(load)(b + k, last - k));
    return widen(acc);
}

TARGET static INLINE int32_t KERNEL(sum)(vec counts)
{
    word lanes[sizeof(vec) / sizeof(word)];
    int32_t sum = 0;
    memcpy(lanes, &counts, sizeof counts);
    for (int lane = 0; lane < (int)(sizeof(vec) / sizeof(word)); lane++)
        sum += (int32_t)lanes[lane];
    return sum;
}

TARGET static void KERNEL(xnor_dots)(const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p,
                                     int64_t words, int64_t n, int64_t stride)
{
    const int64_t burst = BURST < words / WORDS ? BURST * WORDS : words;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            vec total = {0};
            for (int64_t k = 0; k < words; k += burst)
                total += KERNEL(differing)(a + i * words, b + j * words, k, words - k < burst ? words : k + burst);
            result[i * stride + j] = (int32_t)n - 2 * KERNEL(sum)(total);
        }
}
