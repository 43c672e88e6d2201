/* Every family of kernels, then the table of the level that includes this file. No include guard: each level includes
   it once, and each level is a file of its own. The level has defined LEVEL, LEVEL_NAME, TARGET, vec, popcount,
   supported, ROWS and VECS. */

#define B4(k) UINT64_C(1) << (k), UINT64_C(2) << (k), UINT64_C(4) << (k), UINT64_C(8) << (k)
#define B16(k) B4(k), B4(k + 4), B4(k + 8), B4(k + 12)
static const uint64_t BIT[64] = {B16(0), B16(16), B16(32), B16(48)};

#define REAL float
#define MASK uint32_t
#define PACK pack_f32
#include "pack.c"
#undef REAL
#undef MASK
#undef PACK
#define REAL double
#define MASK uint64_t
#define PACK pack_f64
#include "pack.c"

#include "bits.c"

const struct level KERNEL(level) = {
    .name = LEVEL_NAME,
    .supported = supported,
    .pack_f32 = KERNEL(pack_f32),
    .pack_f64 = KERNEL(pack_f64),
    .xnor_matmul = KERNEL(xnor_matmul),
};
