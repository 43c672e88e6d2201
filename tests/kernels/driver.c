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

static void check_pack(int level, int64_t m, int64_t n, int with_nan)
{
    const int64_t count = m * ((n + 63) / 64);
    float *x = block(m * n, sizeof *x);
    double *y = block(m * n, sizeof *y);
    uint64_t *fx = block(count, sizeof *fx), *fy = block(count, sizeof *fy);
    for (int64_t i = 0; i < m * n; i++)
        y[i] = x[i] = (float)(next() % 3) - 1.0f;
    const int nan = with_nan && m > 0 && n > 0;
    if (nan)
        y[m * n - 1] = x[m * n - 1] = NAN;
    expect(labkit_pack_f32(level, x, m, n, fx) == nan, "NaN flag", level, m, 0, n);
    expect(labkit_pack_f64(level, y, m, n, fy) == nan, "NaN flag", level, m, 0, n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < (n + 63) / 64 * 64; k++) {
            const int negative = k < n && x[i * n + k] < 0;
            expect(bit(fx, i, n, k) == negative, "pack_f32", level, m, 0, n);
            expect(bit(fy, i, n, k) == negative, "pack_f64", level, m, 0, n);
        }
    free(x), free(y), free(fx), free(fy);
}

static void check_matmul(int level, int64_t m, int64_t p, int64_t n, int64_t missing)
{
    const int64_t words = (n + 63) / 64;
    uint64_t *a = block(m * words, sizeof *a), *b = block(p * words - missing, sizeof *b);
    int32_t *result = block(m * p, sizeof *result);
    for (int64_t i = 0; i < m * words; i++)
        a[i] = next();
    for (int64_t i = 0; i < p * words - missing; i++)
        b[i] = next();
    labkit_xnor_matmul(level, a, b, result, m, p, n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < p; j++) {
            int32_t dot = 0;
            for (int64_t k = 0; k < n; k++)
                dot += bit(a, i, n, k) == bit(b, j, n, k) ? 1 : -1;
            expect(result[i * p + j] == dot, "xnor_matmul", level, m, p, n);
        }
    free(a), free(b), free(result);
}

int main(int argc, char **argv)
{
    const int64_t rows[] = {0, 1, 2, 6, 7, 33}, lengths[] = {0, 1, 31, 32, 33, 63, 64, 65, 130, 4096, 4161};
    const int n_rows = sizeof rows / sizeof *rows, n_lengths = sizeof lengths / sizeof *lengths;
    (void)argv;
    for (int level = 0; level < labkit_level_count(); level++) {
        if (!labkit_level_supported(level))
            continue;
        if (argc > 1)
            check_matmul(level, 3, 3, 130, 1);
        for (int l = 0; l < n_lengths; l++)
            for (int i = 0; i < n_rows; i++) {
                check_pack(level, rows[i], lengths[l], l % 2);
                for (int j = 0; j < n_rows; j++)
                    check_matmul(level, rows[i], rows[j], lengths[l], 0);
            }
        printf("%s\n", labkit_level_name(level));
    }
    return 0;
}
