/* Numbers to bits: sixty-four become one word, with a 1 where a number is below its threshold. With thresholds of 0 that
   is the sign. Included by families.h once for each type REAL.

   MASK is an unsigned integer as wide as REAL, and as many numbers as it has bits are taken at a time: comparing a
   vector gives lanes of that width. The comparison, not the sign bit, decides: -0.0 is not negative, so sign(0) = +1
   holds for both zeros. UNORDERED asks whether one of two numbers is NaN. */

#define GROUP ((int)(8 * sizeof(REAL)))
#define PIXELS 1024 /* of an image, side by side */
#define NEAR 4 /* channels that are read side by side */

/* Numbers of a row: the compiler makes the loop a compare, an AND with the bits 0, 1, 2, ... and an OR. What is found of
   NaN stays in lanes: to ask each time whether there was one would take longer than the comparison. */
TARGET static INLINE uint64_t KERNEL(EXPAND(below, REAL))(const REAL *x, const REAL *thresholds, int count,
                                                          MASK nan[GROUP])
{
    MASK mask = 0;
    for (int k = 0; k < count; k++) {
        mask |= -(MASK)(x[k] < thresholds[k]) & (MASK)BIT[k]; /* -1 is all ones: no branch to mispredict */
        nan[k] |= -(MASK)UNORDERED(x[k], x[k]);
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

/* Images: the channels of a pixel lie far apart, so a vector holds neighbouring pixels of one channel, and bit c of the
   word of each is set where channel c says so. No number changes its lane. A few channels are read side by side, so that
   the words need not be loaded and stored for each, and two numbers are asked at once whether one of them is NaN. */
TARGET static INLINE void KERNEL(EXPAND(push, REAL))(MASK *RESTRICT words, MASK *RESTRICT nan, const REAL *RESTRICT x,
                                                     const REAL *thresholds, const uint64_t *bits, int channels,
                                                     int64_t pixels, int64_t count)
{
    for (int64_t q = 0; q < count; q++) {
        MASK word = words[q], found = nan[q];
        UNROLL for (int c = 0; c < channels; c++)
            word |= -(MASK)(x[c * pixels + q] < thresholds[c]) & (MASK)bits[c];
        UNROLL for (int c = 0; c < channels; c += 2)
            found |= -(MASK)UNORDERED(x[c * pixels + q], x[(c + 1 < channels ? c + 1 : c) * pixels + q]);
        words[q] = word;
        nan[q] = found;
    }
}

/* At most PIXELS pixels of at most 64 channels, which lie `pixels` numbers apart. */
TARGET static INLINE int KERNEL(EXPAND(words, REAL))(const REAL *x, const REAL *thresholds, int64_t channels,
                                                     int64_t pixels, int64_t count, uint64_t *words)
{
    MASK nan[PIXELS] = {0}, found = 0;
    for (int64_t low = 0; low < channels; low += GROUP) {
        MASK part[PIXELS] = {0};
        const int64_t last = channels - low < GROUP ? channels : low + GROUP;
        int64_t c = low;
        for (; c + NEAR <= last; c += NEAR)
            KERNEL(EXPAND(push, REAL))(part, nan, x + c * pixels, thresholds + c, BIT + c - low, NEAR, pixels, count);
        for (; c < last; c++)
            KERNEL(EXPAND(push, REAL))(part, nan, x + c * pixels, thresholds + c, BIT + c - low, 1, pixels, count);
        for (int64_t q = 0; q < count; q++)
            words[q] = (low ? words[q] : 0) | (uint64_t)part[q] << low;
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
   overlap, and the words of some pixels are computed twice, which costs less than a loop over single pixels. */
TARGET static INLINE int KERNEL(EXPAND(group, REAL))(const REAL *x, const REAL *thresholds, int64_t channels,
                                                     const struct labkit_images *s, uint64_t *words)
{
    const int64_t pixels = s->height * s->width, over = (int64_t)((uintptr_t)x % 64 / sizeof(REAL));
    uint64_t block[PIXELS];
    int nan = 0;
    for (int64_t q = 0; q < pixels; q += q ? PIXELS : PIXELS - over) {
        const int64_t left = (pixels - q + 63) / 64 * 64, most = left < PIXELS ? left : PIXELS;
        const int64_t count = most < pixels ? most : pixels, from = q + count < pixels ? q : pixels - count;
        nan |= KERNEL(EXPAND(words, REAL))(x + from, thresholds, channels, pixels, count, block);
        KERNEL(EXPAND(place, REAL))(block, from, count, s->width, words, s->stride);
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
#undef NEAR
