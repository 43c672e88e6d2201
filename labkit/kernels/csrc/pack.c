/* Numbers to bits: sixty-four become one word, with a 1 where a number is below its threshold. With thresholds of 0 that
   is the sign. Included by families.h once for each type REAL.

   MASK is an unsigned integer as wide as REAL, and as many numbers as it has bits are taken at a time: comparing a
   vector gives lanes of that width. The comparison, not the sign bit, decides: -0.0 is not negative, so sign(0) = +1
   holds for both zeros. */

#define GROUP ((int)(8 * sizeof(REAL)))
#define PIXELS 64 /* of an image, side by side */

/* All ones for a NaN, which alone differs from itself. (The same number comes twice, lest the compiler warn where REAL is
   an integer.) */
static INLINE MASK KERNEL(EXPAND(differ, REAL))(REAL x, REAL same) { return -(MASK)(x != same); }

/* Numbers of a row: the compiler makes the loop a compare, an AND with the bits 0, 1, 2, ... and an OR. What is found of
   NaN stays in lanes: to ask each time whether there was one would take longer than the comparison. */
TARGET static INLINE uint64_t KERNEL(EXPAND(below, REAL))(const REAL *x, const REAL *thresholds, int count,
                                                          MASK nan[GROUP])
{
    MASK mask = 0;
    for (int k = 0; k < count; k++) {
        mask |= -(MASK)(x[k] < thresholds[k]) & (MASK)BIT[k]; /* -1 is all ones: no branch to mispredict */
        nan[k] |= KERNEL(EXPAND(differ, REAL))(x[k], x[k]);
    }
    return mask;
}

TARGET static int KERNEL(EXPAND(pack, REAL))(const REAL *x, const REAL *thresholds, int64_t rows, int64_t n,
                                             uint64_t *words)
{
    MASK nan[GROUP] = {0}, found = 0;
    for (int64_t r = 0; r < rows; r++, x += n)
        for (int64_t w = 0; w < n; w += 64, words++) {
            *words = 0;
            for (int64_t k = w; k < w + 64 && k < n; k += GROUP) {
                const REAL *t = thresholds + k;
                const uint64_t group = n - k >= GROUP ? KERNEL(EXPAND(below, REAL))(x + k, t, GROUP, nan)
                                                      : KERNEL(EXPAND(below, REAL))(x + k, t, (int)(n - k), nan);
                *words |= group << (k - w);
            }
        }
    for (int k = 0; k < GROUP; k++)
        found |= nan[k];
    return found != 0;
}

/* Images: the channels of a pixel lie far apart, so a vector holds neighbouring pixels of one channel, and the word of
   each pixel grows by one bit a channel, the last channel first. No number changes its lane. */
TARGET static INLINE void KERNEL(EXPAND(push, REAL))(MASK grown[PIXELS], MASK nan[PIXELS], const REAL *x,
                                                     REAL threshold, int64_t count)
{
    for (int64_t q = 0; q < count; q++) {
        grown[q] += grown[q] + (MASK)(x[q] < threshold);
        nan[q] |= KERNEL(EXPAND(differ, REAL))(x[q], x[q]);
    }
}

/* At most PIXELS pixels of at most 64 channels, which lie `pixels` numbers apart. */
TARGET static INLINE int KERNEL(EXPAND(words, REAL))(const REAL *x, const REAL *thresholds, int64_t channels,
                                                     int64_t pixels, int64_t count, uint64_t *words)
{
    MASK nan[PIXELS] = {0}, found = 0;
    for (int64_t low = 0; low < channels; low += GROUP) {
        MASK grown[PIXELS] = {0};
        for (int64_t c = (channels - low < GROUP ? channels : low + GROUP) - 1; c >= low; c--)
            KERNEL(EXPAND(push, REAL))(grown, nan, x + c * pixels, thresholds[c], count);
        for (int64_t q = 0; q < count; q++)
            words[q] = (low ? words[q] : 0) | (uint64_t)grown[q] << low;
    }
    for (int64_t q = 0; q < count; q++)
        found |= nan[q];
    return found != 0;
}

/* Words of pixels q, q + 1, ..., row by row, for there may be a border between the rows. */
TARGET static INLINE void KERNEL(EXPAND(place, REAL))(const uint64_t *from, int64_t q, int64_t count, int64_t width,
                                                      uint64_t *words, int64_t stride)
{
    while (count > 0) {
        const int64_t row = q / width, column = q % width, run = width - column < count ? width - column : count;
        memcpy(words + row * stride + column, from, sizeof(uint64_t) * (size_t)run);
        from += run, q += run, count -= run;
    }
}

/* One group of 64 channels of one image, or what is left of the channels. The second block begins at a line of the
   cache, since to load from two lines at once takes twice as long, and the last ends at the last pixel. So blocks
   overlap, and the words of some pixels are computed twice, which costs less than a block of another size. */
TARGET static INLINE int KERNEL(EXPAND(group, REAL))(const REAL *x, const REAL *thresholds, int64_t channels,
                                                     const struct labkit_images *s, uint64_t *words)
{
    const int64_t pixels = s->height * s->width, over = (int64_t)((uintptr_t)x % 64 / sizeof(REAL));
    uint64_t block[PIXELS];
    int nan = 0;
    if (pixels < PIXELS) {
        nan = KERNEL(EXPAND(words, REAL))(x, thresholds, channels, pixels, pixels, block);
        KERNEL(EXPAND(place, REAL))(block, 0, pixels, s->width, words, s->stride);
        return nan;
    }
    for (int64_t q = 0; q < pixels; q += q ? PIXELS : PIXELS - over) {
        const int64_t from = q < pixels - PIXELS ? q : pixels - PIXELS;
        nan |= KERNEL(EXPAND(words, REAL))(x + from, thresholds, channels, pixels, PIXELS, block);
        KERNEL(EXPAND(place, REAL))(block, from, PIXELS, s->width, words, s->stride);
    }
    return nan;
}

/* Groups are numbered through all images. */
TARGET static int KERNEL(EXPAND(pack_nchw, REAL))(const REAL *x, const REAL *thresholds, int64_t first, int64_t last,
                                                  const struct labkit_images *s, uint64_t *words)
{
    const int64_t groups = (s->channels + 63) / 64, pixels = s->height * s->width;
    int nan = 0;
    for (int64_t u = first; u < last; u++) {
        const int64_t c = 64 * (u % groups), image = u / groups;
        const int64_t depth = s->channels - c < 64 ? s->channels - c : 64;
        const REAL *from = x + (image * s->channels + c) * pixels;
        nan |= KERNEL(EXPAND(group, REAL))(from, thresholds + c, depth, s, words + u * s->plane);
    }
    return nan;
}

#undef GROUP
#undef PIXELS
