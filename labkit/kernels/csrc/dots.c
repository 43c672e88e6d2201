/* Dot products of a few rows of signs with many: result[i][j] = n - 2 popcount(a_i ^ b_j). Included by families.h.

   With few rows of a there is little to reuse, and to gather b into panels would cost as much as the products. So the
   vectors run along the rows, and the lanes are added once at the end. Each word of b is used once, so that the way from
   memory limits, and it is asked ahead of time. A short row of a stays in registers; for a long one, where counting
   limits, DOTS rows of b, neighbours in memory, go side by side and share the words of a. */

#define WORDS ((int64_t)(sizeof(vec) / sizeof(uint64_t))) /* 64-bit words in a vector */
#define AHEAD 320 /* words between those that are counted and those that the memory is asked for: the best found */
#define HELD 8    /* vectors of a row of a that registers hold, BURST at most */

/* The first `count` words of a row, zeros after them. */
TARGET static INLINE vec KERNEL(load)(const uint64_t *words, int64_t count)
{
    vec loaded = {0};
    memcpy(&loaded, words, sizeof(uint64_t) * (size_t)count);
    return loaded;
}

/* A row of a: whole vectors of words, then what is left of it and a mask with a 1 for each bit of that. */
struct KERNEL(line) {
    const uint64_t *words;
    int64_t whole, left;
    vec end, mask;
};

TARGET static struct KERNEL(line) KERNEL(line_of)(const uint64_t *row, int64_t words)
{
    const int64_t left = words % WORDS, whole = words - left;
    uint64_t ones[sizeof(vec) / sizeof(uint64_t)];
    for (int w = 0; w < WORDS; w++)
        ones[w] = ~UINT64_C(0);
    return (struct KERNEL(line)){row, whole, left, KERNEL(load)(row + whole, left), KERNEL(load)(ones, left)};
}

TARGET static INLINE int32_t KERNEL(sum)(vec counts)
{
#ifdef SUM /* the level knows a shorter way */
    return SUM(counts);
#else
    word lanes[sizeof(vec) / sizeof(word)];
    int32_t sum = 0;
    memcpy(lanes, &counts, sizeof counts);
    for (int lane = 0; lane < (int)(sizeof(vec) / sizeof(word)); lane++)
        sum += (int32_t)lanes[lane];
    return sum;
#endif
}

/* Adds the counts of `vecs` vectors of words of `rows` rows of b, both constants where this is used. */
TARGET static INLINE void KERNEL(differ)(const uint64_t *a, const uint64_t *b, int64_t words, int vecs, int rows,
                                         vec acc[DOTS])
{
    UNROLL for (int v = 0; v < vecs; v++)
        UNROLL for (int r = 0; r < rows; r++) {
            const uint64_t *from = b + r * words + v * WORDS;
            WILL_READ(from + AHEAD);
            acc[r] += count(KERNEL(load)(a + v * WORDS, WORDS) ^ KERNEL(load)(from, WORDS));
        }
}

/* The same for `count` words, whole vectors and at most a burst of them. */
TARGET static INLINE void KERNEL(burst)(const uint64_t *a, const uint64_t *b, int64_t count, int64_t words, int rows,
                                        vec total[DOTS])
{
    const uint64_t *const end = a + count;
    vec acc[DOTS];
    UNROLL for (int r = 0; r < rows; r++)
        acc[r] = (vec){0};
    for (; end - a >= 4 * WORDS; a += 4 * WORDS, b += 4 * WORDS)
        KERNEL(differ)(a, b, words, 4, rows, acc);
    for (; a < end; a += WORDS, b += WORDS)
        KERNEL(differ)(a, b, words, 1, rows, acc);
    UNROLL for (int r = 0; r < rows; r++)
        total[r] += widen(acc[r]);
}

/* One row with `rows` neighbouring rows of b. Where b goes on, the last vector may read on into the next row, which is
   much quicker than to copy a part of a vector. `rows` and `goes_on` are constants where this is used. */
TARGET static INLINE void KERNEL(dots)(const struct KERNEL(line) *a, const uint64_t *b, int rows, int goes_on, int32_t n,
                                       int32_t *result)
{
    const int64_t words = a->whole + a->left, longest = BURST * WORDS;
    vec total[DOTS];
    UNROLL for (int r = 0; r < rows; r++)
        total[r] = (vec){0};
    int64_t k = 0;
    for (; a->whole - k > longest; k += longest)
        KERNEL(burst)(a->words + k, b + k, longest, words, rows, total);
    KERNEL(burst)(a->words + k, b + k, a->whole - k, words, rows, total);
    if (a->left)
        UNROLL for (int r = 0; r < rows; r++) {
            const uint64_t *end = b + r * words + a->whole;
            const vec y = goes_on ? KERNEL(load)(end, WORDS) & a->mask : KERNEL(load)(end, a->left);
            total[r] += widen(count(a->end ^ y));
        }
    UNROLL for (int r = 0; r < rows; r++)
        result[r] = n - 2 * KERNEL(sum)(total[r]);
}

/* A row of few whole vectors stays in registers while all of b passes by. `vecs` is a constant where this is used. */
TARGET static INLINE void KERNEL(held)(const uint64_t *a, const uint64_t *b, int64_t p, int vecs, int32_t n,
                                       int32_t *result)
{
    vec row[HELD];
    UNROLL for (int v = 0; v < vecs; v++)
        row[v] = KERNEL(load)(a + v * WORDS, WORDS);
    for (int64_t j = 0; j < p; j++, b += vecs * WORDS) {
        vec acc = {0};
        UNROLL for (int v = 0; v < vecs; v++) {
            WILL_READ(b + v * WORDS + AHEAD);
            acc += count(row[v] ^ KERNEL(load)(b + v * WORDS, WORDS));
        }
        result[j] = n - 2 * KERNEL(sum)(widen(acc));
    }
}

TARGET static void KERNEL(any_row)(const uint64_t *a, const uint64_t *b, int64_t p, int64_t words, int32_t n,
                                   int32_t *result)
{
    const struct KERNEL(line) line = KERNEL(line_of)(a, words);
    int64_t j = 0;
    for (; (j + DOTS) * words + WORDS <= p * words; j += DOTS)
        KERNEL(dots)(&line, b + j * words, DOTS, 1, n, result + j);
    for (; j < p; j++)
        KERNEL(dots)(&line, b + j * words, 1, 0, n, result + j);
}

#define HOLD(V)                                                                                                      \
    case V:                                                                                                          \
        KERNEL(held)(a, b, p, V, (int32_t)n, result);                                                                \
        break;

TARGET static void KERNEL(xnor_dots)(const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p,
                                     int64_t words, int64_t n, int64_t stride)
{
    for (int64_t i = 0; i < m; i++, a += words, result += stride)
        switch (words % WORDS ? 0 : words / WORDS) {
            HOLD(1) HOLD(2) HOLD(3) HOLD(4) HOLD(5) HOLD(6) HOLD(7) HOLD(8)
        default:
            KERNEL(any_row)(a, b, p, words, (int32_t)n, result);
        }
}

#undef HOLD
