/* Runs every kernel at every level over many shapes, against one bit at a time. Every matrix has a block of memory of
   exactly its size, so that a sanitizer sees each read or write outside. With an argument, one matrix is a word too
   short on purpose: the sanitizer must stop the program, which proves that it watches. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

static uint64_t state = 88172645463325252u;

static uint64_t next(void) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void *block(int64_t count, size_t size) { return malloc((size_t)count * size); }

static void expect(int condition, const char *what, int level, int64_t m, int64_t p, int64_t n)
{
    if (condition)
        return;
    fprintf(stderr, "%s is wrong at level %s, m=%d p=%d n=%d\n", what, labkit_level_name(level),
            (int)m, (int)p, (int)n);
    exit(1);
}

static int bit(const uint64_t *words, int64_t row, int64_t n, int64_t k)
{
    return (int)(words[row * ((n + 63) / 64) + k / 64] >> (k % 64) & 1);
}

static int below(double x, double threshold) { return x < threshold; }

static void check_pack(int level, int64_t m, int64_t n, int with_nan)
{
    const int64_t count = m * ((n + 63) / 64);
    float *x = block(m * n, sizeof *x), *s = block(n, sizeof *s);
    double *y = block(m * n, sizeof *y), *t = block(n, sizeof *t);
    int32_t *z = block(m * n, sizeof *z), *u = block(n, sizeof *u);
    uint64_t *fx = block(count, sizeof *fx), *fy = block(count, sizeof *fy), *fz = block(count, sizeof *fz);
    for (int64_t k = 0; k < n; k++)
        t[k] = s[k] = (float)(u[k] = (int32_t)(next() % 3) - 1);
    for (int64_t i = 0; i < m * n; i++)
        y[i] = x[i] = (float)(z[i] = (int32_t)(next() % 3) - 1);
    const int nan = with_nan && m > 0 && n > 0;
    if (nan)
        y[m * n - 1] = x[m * n - 1] = NAN;
    expect(labkit_pack_f32(level, x, s, m, n, fx) == nan, "NaN flag", level, m, 0, n);
    expect(labkit_pack_f64(level, y, t, m, n, fy) == nan, "NaN flag", level, m, 0, n);
    expect(labkit_pack_i32(level, z, u, m, n, fz) == 0, "NaN flag", level, m, 0, n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < (n + 63) / 64 * 64; k++) {
            expect(bit(fx, i, n, k) == (k < n && below(x[i * n + k], s[k])), "pack_f32", level, m, 0, n);
            expect(bit(fy, i, n, k) == (k < n && below(y[i * n + k], t[k])), "pack_f64", level, m, 0, n);
            expect(bit(fz, i, n, k) == (k < n && below(z[i * n + k], u[k])), "pack_i32", level, m, 0, n);
        }
    free(x), free(y), free(z), free(s), free(t), free(u), free(fx), free(fy), free(fz);
}

/* Words stay away from the border, which keeps what it held. */
static void expect_images(const uint64_t *words, const float *x, const float *s, int64_t images,
                          const struct labkit_images *as, int border, int level)
{
    const int64_t groups = (as->channels + 63) / 64, tall = as->height + 2 * border;
    for (int64_t u = 0; u < images * groups; u++)
        for (int64_t i = 0; i < tall; i++)
            for (int64_t j = 0; j < as->stride; j++) {
                const uint64_t word = words[u * as->plane + i * as->stride + j];
                const int64_t row = i - border, column = j - border;
                uint64_t right = 77;
                if (row >= 0 && row < as->height && column >= 0 && column < as->width) {
                    right = 0;
                    for (int64_t c = 64 * (u % groups); c < as->channels && c < 64 * (u % groups) + 64; c++)
                        if (below(x[((u / groups * as->channels + c) * as->height + row) * as->width + column], s[c]))
                            right |= UINT64_C(1) << c % 64;
                }
                expect(word == right, "pack_nchw", level, images, i * as->stride + j, as->channels);
            }
}

static void check_pack_nchw(int level, int64_t images, int64_t channels, int64_t height, int64_t width, int border)
{
    const int64_t groups = (channels + 63) / 64, size = images * channels * height * width;
    const int64_t stride = width + 2 * border, plane = (height + 2 * border) * stride, count = images * groups * plane;
    const struct labkit_images as = {channels, height, width, stride, plane};
    float *x = block(size, sizeof *x), *s = block(channels, sizeof *s);
    double *y = block(size, sizeof *y), *t = block(channels, sizeof *t);
    int32_t *z = block(size, sizeof *z), *r = block(channels, sizeof *r);
    uint64_t *fx = block(count, sizeof *fx), *fy = block(count, sizeof *fy), *fz = block(count, sizeof *fz);
    for (int64_t c = 0; c < channels; c++)
        t[c] = s[c] = (float)(r[c] = (int32_t)(next() % 3) - 1);
    for (int64_t i = 0; i < size; i++)
        y[i] = x[i] = (float)(z[i] = (int32_t)(next() % 3) - 1);
    for (int64_t i = 0; i < count; i++)
        fx[i] = fy[i] = fz[i] = 77;
    const int64_t last = images * groups, inside = count ? border * stride + border : 0;
    expect(!labkit_pack_nchw_f32(level, x, s, 0, last, &as, fx + inside), "NaN", level, images, 0, channels);
    expect(!labkit_pack_nchw_f64(level, y, t, 0, last, &as, fy + inside), "NaN", level, images, 0, channels);
    expect(!labkit_pack_nchw_i32(level, z, r, 0, last, &as, fz + inside), "NaN", level, images, 0, channels);
    expect_images(fx, x, s, images, &as, border, level);
    expect_images(fy, x, s, images, &as, border, level);
    expect_images(fz, x, s, images, &as, border, level);
    if (size > 0) {
        const int64_t odd = (int64_t)(next() % (uint64_t)size);
        y[odd] = x[odd] = NAN;
        expect(labkit_pack_nchw_f32(level, x, s, 0, last, &as, fx + inside), "NaN", level, images, 1, channels);
        expect(labkit_pack_nchw_f64(level, y, t, 0, last, &as, fy + inside), "NaN", level, images, 1, channels);
    }
    free(x), free(y), free(z), free(s), free(t), free(r), free(fx), free(fy), free(fz);
}

static uint64_t *random_words(int64_t count)
{
    uint64_t *words = block(count, sizeof *words);
    for (int64_t i = 0; i < count; i++)
        words[i] = next();
    return words;
}

static int ones(uint64_t word)
{
    int count = 0;
    for (; word; word &= word - 1)
        count++;
    return count;
}

/* Columns of b overlap, as the windows of a convolution do: they begin at one word after the other, but for a gap now
   and then, where a row of pixels ends, and take every second word. */
static int64_t begin(int64_t column) { return column + column / 11; }

static void check_product(int level, int64_t m, int64_t p, int64_t words, int a_planes, int b_planes, int use_and)
{
    const int64_t b_plane = words && p ? begin(p - 1) + 2 * words - 1 : 0;
    uint64_t *a = random_words(a_planes * m * words), *b = random_words(b_planes * b_plane);
    int64_t *offset = block(p, sizeof *offset), *step = block(words, sizeof *step);
    int32_t *result = block(m * p, sizeof *result), *weights = block(a_planes * b_planes, sizeof *weights);
    for (int64_t j = 0; j < p; j++)
        offset[j] = begin(j);
    for (int64_t k = 0; k < words; k++)
        step[k] = 2 * k;
    for (int x = 0; x < a_planes * b_planes; x++)
        weights[x] = (int32_t)(next() % 7) - 3;
    const struct labkit_product product = {a, b, offset, step, weights, result, m, p, words, p,
                                           a_planes, m * words, b_planes, b_plane, 5, use_and};
    labkit_product(level, &product);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int32_t sum = 5;
            for (int x = 0; x < a_planes; x++)
                for (int y = 0; y < b_planes; y++)
                    for (int64_t k = 0; k < words; k++) {
                        const uint64_t v = a[(x * m + i) * words + k], w = b[y * b_plane + begin(j) + 2 * k];
                        sum += weights[x * b_planes + y] * ones(use_and ? v & w : v ^ w);
                    }
            expect(result[i * p + j] == sum, "product", level, m, p, words);
        }
    free(a), free(b), free(offset), free(step), free(result), free(weights);
}

static void check_dots(int level, int64_t m, int64_t p, int64_t words, int64_t missing)
{
    uint64_t *a = random_words(m * words), *b = random_words(p * words - missing);
    int32_t *result = block(m * p, sizeof *result);
    labkit_xnor_dots(level, a, b, result, m, p, words, 64 * words, p);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int32_t dot = (int32_t)(64 * words);
            for (int64_t k = 0; k < words; k++)
                dot -= 2 * ones(a[i * words + k] ^ b[j * words + k]);
            expect(result[i * p + j] == dot, "xnor_dots", level, m, p, words);
        }
    free(a), free(b), free(result);
}

/* The code 0, 10, 110, 111 with a table of `bits` bits: longer words take the other way. */
static void check_huffman(int bits, int64_t n)
{
    const uint32_t code[4] = {0, 2, 6, 7}, first[33] = {0, 0, 2, 6}, count[33] = {0, 1, 1, 2};
    const uint8_t length[4] = {1, 2, 3, 3};
    const int64_t place[33] = {0, 0, 1, 2};
    const uint16_t sorted[4] = {0, 1, 2, 3};
    uint32_t *table = block(1 << bits, sizeof *table);
    for (int pattern = 0; pattern < 1 << bits; pattern++) {
        table[pattern] = 0;
        for (uint32_t s = 0; s < 4; s++)
            if (length[s] <= bits && (uint32_t)pattern >> (bits - length[s]) == code[s])
                table[pattern] = s << 8 | length[s];
    }
    uint16_t *symbols = block(n, sizeof *symbols), *back = block(n, sizeof *back);
    for (int64_t i = 0; i < n; i++)
        symbols[i] = (uint16_t)(next() % 4);
    uint8_t *room = block(n * 3 / 8 + 1, 1);
    const int64_t written = labkit_huffman_encode(symbols, n, code, length, room);
    uint8_t *bytes = block(written, 1); /* the decoder may not read past the last byte */
    for (int64_t i = 0; i < written; i++)
        bytes[i] = room[i];
    const struct labkit_huffman h = {table, first, count, place, sorted, bits};
    expect(labkit_huffman_decode(&h, bytes, written, n, back) >= 0, "huffman", 0, bits, 0, n);
    for (int64_t i = 0; i < n; i++)
        expect(symbols[i] == back[i], "huffman", 0, bits, i, n);
    if (n > 8)
        expect(labkit_huffman_decode(&h, bytes, written / 4, n, back) == -1, "early end", 0, bits, 0, n);
    free(table), free(symbols), free(back), free(room), free(bytes);
}

/* A window of one pixel, which no border reaches: the products of the words of all pixels. */
static void check_conv(int level, int64_t images, int64_t channels, int64_t height, int64_t width, int border)
{
    const int64_t groups = (channels + 63) / 64, pixels = height * width, size = images * channels * pixels, m = 3;
    const int64_t stride = width + 2 * border, plane = (height + 2 * border) * stride, all = images * m * pixels;
    const int32_t weight = -2;
    float *x = block(size, sizeof *x), *s = block(channels, sizeof *s);
    double *y = block(size, sizeof *y), *t = block(channels, sizeof *t);
    int32_t *z = block(size, sizeof *z), *r = block(channels, sizeof *r);
    int32_t *rx = block(all, sizeof *rx), *ry = block(all, sizeof *ry), *rz = block(all, sizeof *rz);
    int64_t *offset = block(pixels, sizeof *offset), *step = block(groups, sizeof *step);
    uint64_t *a = random_words(m * groups);
    for (int64_t c = 0; c < channels; c++)
        t[c] = s[c] = (float)(r[c] = (int32_t)(next() % 3) - 1);
    for (int64_t i = 0; i < size; i++)
        y[i] = x[i] = (float)(z[i] = (int32_t)(next() % 3) - 1);
    for (int64_t q = 0; q < pixels; q++)
        offset[q] = (q / width + border) * stride + q % width + border;
    for (int64_t g = 0; g < groups; g++)
        step[g] = g * plane;
    const struct labkit_conv conv = {{channels, height, width, stride, plane},
                                     {0, 0, offset, step, &weight, 0, m, pixels, groups, pixels, 1, m * groups, 1,
                                      groups * plane, (int32_t)channels, 0},
                                     border * stride + border};
    expect(!labkit_conv_f32(level, &conv, x, s, a, rx, 0, images), "NaN", level, images, 0, channels);
    expect(!labkit_conv_f64(level, &conv, y, t, a, ry, 0, images), "NaN", level, images, 0, channels);
    expect(!labkit_conv_i32(level, &conv, z, r, a, rz, 0, images), "NaN", level, images, 0, channels);
    for (int64_t i = 0; i < all; i++) {
        const int64_t q = i % pixels, row = i / pixels % m, image = i / pixels / m;
        int32_t right = (int32_t)channels;
        for (int64_t g = 0; g < groups; g++) {
            uint64_t word = 0;
            for (int64_t c = 64 * g; c < channels && c < 64 * g + 64; c++)
                word |= (uint64_t)(z[(image * channels + c) * pixels + q] < r[c]) << (c - 64 * g);
            right -= 2 * ones(a[row * groups + g] ^ word);
        }
        expect(rx[i] == right && ry[i] == right && rz[i] == right, "conv", level, images, i, channels);
    }
    if (size > 0) {
        x[next() % (uint64_t)size] = NAN;
        expect(labkit_conv_f32(level, &conv, x, s, a, rx, 0, images), "NaN", level, images, 1, channels);
    }
    free(x), free(y), free(z), free(s), free(t), free(r), free(rx), free(ry), free(rz), free(offset), free(step), free(a);
}

static void check_limits(int level)
{
    uint64_t sum = 1;
    float total = 1;
    expect(labkit_limit_counts(level, 10, &sum) > 0 && labkit_limit_fma(level, 10, &total) > 0, "limit", level, 0, 0, 0);
}

static void check_level(int level)
{
    const int64_t rows[] = {0, 1, 2, 6, 7, 33}, lengths[] = {0, 1, 31, 32, 33, 63, 64, 65, 130, 257};
    const int64_t columns[] = {0, 1, 3, 16, 17, 65}, words[] = {0, 1, 2, 31, 64, 67};
    for (int i = 0; i < 6; i++)
        for (int l = 0; l < 10; l++) {
            check_pack(level, rows[i], lengths[l], l % 2);
            check_pack_nchw(level, i % 3, lengths[l], rows[i], 11, l % 2);
            check_conv(level, i % 3, lengths[l], rows[i], 11, l % 2);
        }
    check_pack_nchw(level, 1, 70, 33, 40, 1); /* more pixels than are packed at a time */
    check_conv(level, 1, 70, 33, 40, 1);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            for (int w = 0; w < 6; w++) {
                check_product(level, rows[i], columns[j], words[w], 1, 1, 0);
                check_dots(level, rows[i], columns[j], words[w], 0);
                if (w < 4)
                    check_product(level, rows[i], columns[j], words[w], 1 + i % 3, 1 + j % 3, 1);
            }
    check_product(level, 967, 3, 1, 1, 1, 0);
    check_limits(level);
}

int main(int argc, char **argv)
{
    (void)argv;
    for (int level = 0; level < labkit_level_count(); level++) {
        if (!labkit_level_supported(level))
            continue;
        if (argc > 1)
            check_dots(level, 3, 3, 3, 1);
        check_level(level);
        printf("%s\n", labkit_level_name(level));
    }
    for (int bits = 1; bits <= 12; bits++)
        for (int64_t n = 0; n < 100; n++)
            check_huffman(bits, n);
    return 0;
}
