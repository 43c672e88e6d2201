/* The table of levels, slowest first, and the functions that Python calls. No state: the caller names the level. */

#include "level.h"

static const struct level *const levels[] = {
    &level_portable,
#ifdef LABKIT_X86
    &level_popcnt,
    &level_avx2,
    &level_avx512,
    &level_vpopcntdq,
#endif
#ifdef LABKIT_ARM
    &level_neon,
#endif
};

int labkit_level_count(void) { return (int)(sizeof(levels) / sizeof(levels[0])); }

const char *labkit_level_name(int level) { return levels[level]->name; }

int labkit_level_supported(int level) { return levels[level]->supported() != 0; }

int labkit_pack_f32(int level, const float *x, const float *thresholds, int64_t rows, int64_t n, uint64_t *words)
{
    return levels[level]->pack_f32(x, thresholds, rows, n, words);
}

int labkit_pack_f64(int level, const double *x, const double *thresholds, int64_t rows, int64_t n, uint64_t *words)
{
    return levels[level]->pack_f64(x, thresholds, rows, n, words);
}

int labkit_pack_i32(int level, const int32_t *x, const int32_t *thresholds, int64_t rows, int64_t n, uint64_t *words)
{
    return levels[level]->pack_i32(x, thresholds, rows, n, words);
}

int labkit_pack_nchw_f32(int level, const float *x, const float *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words)
{
    return levels[level]->pack_nchw_f32(x, thresholds, first, last, images, words);
}

int labkit_pack_nchw_f64(int level, const double *x, const double *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words)
{
    return levels[level]->pack_nchw_f64(x, thresholds, first, last, images, words);
}

int labkit_pack_nchw_i32(int level, const int32_t *x, const int32_t *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words)
{
    return levels[level]->pack_nchw_i32(x, thresholds, first, last, images, words);
}

void labkit_product(int level, const struct labkit_product *product) { levels[level]->product(product); }

#define CONV(NAME, REAL)                                                                                             \
    int labkit_conv_##NAME(int level, const struct labkit_conv *conv, const REAL *x, const REAL *thresholds,         \
                           const uint64_t *weight, int32_t *result, int64_t first, int64_t last)                     \
    {                                                                                                                \
        const struct labkit_images *images = &conv->images;                                                          \
        const int64_t size = images->channels * images->height * images->width;                                      \
        struct labkit_product product = conv->product;                                                               \
        uint64_t *words = calloc((size_t)product.b_plane + 1, sizeof *words);                                        \
        int nan = 0;                                                                                                 \
        if (!words)                                                                                                  \
            return 2;                                                                                                \
        product.a = weight;                                                                                          \
        product.b = words;                                                                                           \
        for (int64_t i = first; i < last; i++) {                                                                     \
            nan |= levels[level]->pack_nchw_##NAME(x + i * size, thresholds, 0, (images->channels + 63) / 64,        \
                                                   images, words + conv->inside);                                    \
            product.result = result + i * product.m * product.p;                                                     \
            levels[level]->product(&product);                                                                        \
        }                                                                                                            \
        free(words);                                                                                                 \
        return nan;                                                                                                  \
    }
CONV(f32, float)
CONV(f64, double)
CONV(i32, int32_t)

void labkit_xnor_dots(int level, const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p,
                      int64_t words, int64_t n, int64_t stride)
{
    levels[level]->xnor_dots(a, b, result, m, p, words, n, stride);
}

int64_t labkit_limit_counts(int level, int64_t rounds, uint64_t *sum)
{
    return levels[level]->limit_counts(rounds, sum);
}

int64_t labkit_limit_fma(int level, int64_t rounds, float *sum) { return levels[level]->limit_fma(rounds, sum); }

int labkit_csr_check(int level, const int32_t *ia, const int32_t *ja, int64_t m, int64_t n, int64_t nnz)
{
    return levels[level]->csr_check(ia, ja, m, n, nnz);
}

void labkit_csr_matvec_f32(int level, const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last)
{
    levels[level]->csr_matvec_f32(a, ia, ja, x, y, first, last);
}

void labkit_csr_matvec_f64(int level, const double *a, const int32_t *ia, const int32_t *ja, const double *x,
                           double *y, int64_t first, int64_t last)
{
    levels[level]->csr_matvec_f64(a, ia, ja, x, y, first, last);
}

int labkit_csr_matmul_f32(int level, const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last, int64_t n, int64_t k)
{
    return levels[level]->csr_matmul_f32(a, ia, ja, x, y, first, last, n, k);
}

int labkit_csr_matmul_f64(int level, const double *a, const int32_t *ia, const int32_t *ja, const double *x,
                           double *y, int64_t first, int64_t last, int64_t n, int64_t k)
{
    return levels[level]->csr_matmul_f64(a, ia, ja, x, y, first, last, n, k);
}

int labkit_winograd(int level, const struct labkit_winograd *w, int64_t first, int64_t last)
{
    return levels[level]->winograd(w, first, last);
}
