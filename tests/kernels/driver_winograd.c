/* Runs the Winograd kernel at every level over many shapes, against the direct sum in double precision. Every array has
   a block of memory of exactly its size, so that a sanitizer sees each read or write outside. With an argument, the
   picture is a number too short on purpose: the sanitizer must stop the program. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

static uint64_t state = 88172645463325252u;

static float next(void) /* a whole number from -4 to 4, by xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)(state % 9) - 4.0f;
}

static const double G2[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
static const double G4[6][3] = {{1 / 4., 0, 0},
                                {1 / 6., 1 / 6., 1 / 6.},
                                {1 / 6., -1 / 6., 1 / 6.},
                                {1 / 24., 1 / 12., 1 / 6.},
                                {1 / 24., -1 / 12., 1 / 6.},
                                {0, 0, 1}};

static double transformed(int m, int place, const float *g) /* one entry of G g G^T */
{
    const int t = m + 2;
    const double *left = m == 2 ? G2[place / t] : G4[place / t], *right = m == 2 ? G2[place % t] : G4[place % t];
    double sum = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            sum += left[i] * g[3 * i + j] * right[j];
    return sum;
}

static void check(int level, int m, int64_t images, int64_t down, int64_t across, int64_t c, int64_t k, int missing)
{
    const int64_t t = m + 2, high = down * m + 2, wide = across * m + 2;
    float *x = malloc((size_t)(images * high * wide * c - missing) * sizeof *x);
    float *g = malloc((size_t)(k * c * 9) * sizeof *g), *u = malloc((size_t)(t * t * k * c) * sizeof *u);
    float *y = malloc((size_t)(images * down * m * across * m * k) * sizeof *y);
    for (int64_t i = 0; i < images * high * wide * c - missing; i++)
        x[i] = next();
    for (int64_t i = 0; i < k * c * 9; i++)
        g[i] = next();
    for (int64_t s = 0; s < t * t; s++)
        for (int64_t o = 0; o < k; o++)
            for (int64_t i = 0; i < c; i++)
                u[((s * (k / 16) + o / 16) * c + i) * 16 + o % 16] = (float)transformed(m, (int)s, g + (o * c + i) * 9);
    const struct labkit_winograd job = {x, u, y, down, across, c, k, m};
    const int64_t tiles = images * down * across;
    if (labkit_winograd(level, &job, 0, tiles / 2) || labkit_winograd(level, &job, tiles / 2, tiles))
        exit(2);
    for (int64_t n = 0; n < images; n++)
        for (int64_t p = 0; p < down * m * across * m; p++)
            for (int64_t o = 0; o < k; o += 5) {
                const int64_t row = p / (across * m), column = p % (across * m);
                double sum = 0;
                for (int64_t i = 0; i < 9 * c; i++)
                    sum += x[((n * high + row + i / c / 3) * wide + column + i / c % 3) * c + i % c]
                         * (double)g[(o * c + i % c) * 9 + i / c];
                if (!(fabs(sum - y[(n * down * m * across * m + p) * k + o]) <= 1e-3 * (double)c)) {
                    fprintf(stderr, "winograd is wrong at level %s, m=%d\n", labkit_level_name(level), m);
                    exit(1);
                }
            }
    free(x), free(g), free(u), free(y);
}

int main(int argc, char **argv)
{
    (void)argv;
    for (int level = 0; level < labkit_level_count(); level++) {
        if (!labkit_level_supported(level))
            continue;
        for (int m = 2; m <= 4; m += 2) {
            check(level, m, 1, 1, 1, 16, 16, argc > 1);
            check(level, m, 2, 3, 4, 16, 80, 0);
            check(level, m, 1, 8, 9, 32, 112, 0);
        }
        printf("%s\n", labkit_level_name(level));
    }
    return 0;
}
