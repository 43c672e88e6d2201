/* The table of levels, slowest first, and the functions that Python calls. No state: the caller names the level. */

#include "level.h"

#include "kernels.h"

static const struct level *const levels[] = {
    &level_portable,
#ifdef LABKIT_X86
    &level_popcnt,
    &level_avx2,
    &level_avx512,
#endif
#ifdef LABKIT_ARM
    &level_neon,
#endif
};

int labkit_level_count(void) { return (int)(sizeof(levels) / sizeof(levels[0])); }

const char *labkit_level_name(int level) { return levels[level]->name; }

int labkit_level_supported(int level) { return levels[level]->supported() != 0; }

int labkit_pack_f32(int level, const float *x, int64_t rows, int64_t n, uint64_t *words)
{
    return levels[level]->pack_f32(x, rows, n, words);
}

int labkit_pack_f64(int level, const double *x, int64_t rows, int64_t n, uint64_t *words)
{
    return levels[level]->pack_f64(x, rows, n, words);
}

void labkit_xnor_matmul(int level, const uint64_t *a, const uint64_t *b, int32_t *result,
                        int64_t m, int64_t p, int64_t n)
{
    levels[level]->xnor_matmul(a, b, result, m, p, n);
}
