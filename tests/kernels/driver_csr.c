/* Runs the sparse products at every level over many shapes, against plain sums in the order told. Every array has a
   block of memory of exactly its size, so that a sanitizer sees each read or write outside. With an argument, x is a
   row too short on purpose: the sanitizer must stop the program, which proves that it watches. */

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

static float number(void) { return (float)(next() % 2001) / 7.0f - 100.0f; }

static void expect(int condition, const char *what, int level, int64_t m, int64_t k, int64_t n)
{
    if (condition)
        return;
    fprintf(stderr, "%s is wrong at level %s, m=%d k=%d n=%d\n", what, labkit_level_name(level), (int)m, (int)k,
            (int)n);
    exit(1);
}

static float dot(const float *a, const int32_t *ja, int64_t nnz, const float *x)
{
    float s[8] = {0};
    for (int64_t p = 0; p < nnz; p++)
        s[p % 8] += a[p] * x[ja[p]];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static void check(int level, int64_t m, int64_t k, int64_t n, int64_t missing)
{
    int32_t *ia = block(m + 1, sizeof *ia);
    ia[0] = 0;
    for (int64_t i = 0; i < m; i++)
        ia[i + 1] = ia[i] + (k ? (int32_t)(next() % 20) : 0);
    const int64_t nnz = ia[m];
    int32_t *ja = block(nnz, sizeof *ja);
    float *a = block(nnz, sizeof *a), *x = block((k - missing) * n, sizeof *x), *y = block(m * n, sizeof *y);
    double *a64 = block(nnz, sizeof *a64), *x64 = block(k * n, sizeof *x64), *y64 = block(m * n, sizeof *y64);
    for (int64_t p = 0; p < nnz; p++)
        ja[p] = (int32_t)(next() % (uint64_t)k), a64[p] = a[p] = number();
    for (int64_t p = 0; p < k * n; p++)
        x64[p] = number();
    for (int64_t p = 0; p < (k - missing) * n; p++)
        x[p] = (float)x64[p];
    expect(labkit_csr_check(level, ia, ja, m, k, nnz) == 0, "csr_check", level, m, k, n);
    expect(labkit_csr_matmul_f32(level, a, ia, ja, x, y, 0, m, n, k) == 0, "memory", level, m, k, n);
    expect(labkit_csr_matmul_f64(level, a64, ia, ja, x64, y64, 0, m, n, k) == 0, "memory", level, m, k, n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            double sum64 = 0;
            for (int64_t p = ia[i]; p < ia[i + 1]; p++)
                sum += a[p] * x[ja[p] * n + j], sum64 += a64[p] * x64[ja[p] * n + j];
            expect(y[i * n + j] == sum, "csr_matmul_f32", level, m, k, n);
            expect(y64[i * n + j] == sum64, "csr_matmul_f64", level, m, k, n);
        }
    if (n == 1) {
        labkit_csr_matvec_f32(level, a, ia, ja, x, y, 0, m);
        for (int64_t i = 0; i < m; i++)
            expect(y[i] == dot(a + ia[i], ja + ia[i], ia[i + 1] - ia[i], x), "csr_matvec_f32", level, m, k, n);
        labkit_csr_matvec_f64(level, a64, ia, ja, x64, y64, 0, m);
    }
    if (nnz) {
        ja[nnz - 1] = (int32_t)k;
        expect(labkit_csr_check(level, ia, ja, m, k, nnz) == 2, "csr_check of a column", level, m, k, n);
        ia[m]++;
        expect(labkit_csr_check(level, ia, ja, m, k, nnz) == 1, "csr_check of the rows", level, m, k, n);
    }
    free(ia), free(ja), free(a), free(x), free(y), free(a64), free(x64), free(y64);
}

int main(int argc, char **argv)
{
    const int64_t rows[] = {0, 1, 5}, depths[] = {0, 1, 37};
    const int64_t columns[] = {0, 1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 128, 129, 300};
    (void)argv;
    for (int level = 0; level < labkit_level_count(); level++) {
        if (!labkit_level_supported(level))
            continue;
        if (argc > 1)
            check(level, 50, 5, 16, 1);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
                    check(level, rows[i], depths[j], columns[c], 0);
        printf("%s\n", labkit_level_name(level));
    }
    return 0;
}
