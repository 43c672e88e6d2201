/* Every family of kernels, then the table of the level that includes this file. No include guard: each level includes
   it once, and each level is a file of its own. The level has defined

   LEVEL, LEVEL_NAME, TARGET, supported    its name, the compiler's option, and whether this processor has it
   word, vec, ivec, fvec    a lane of counts, and vectors as wide as each other of words, int32 and float
   count, widen, BURST      the bits of each lane in some short form; that form as a lane; counts that the form can add
   multiply_add             the fused operation on fvec, where there is one
   ROWS, VECS, CHAINS       the tile of a product, and how many values hide the time of an operation
   ABREAST, AGAIN           only where they differ from these: rows of the tile that fit the registers together, and how
                            often an inner loop repeats its body before it jumps
   DOUBLES, DOTS            4 where a vector holds so many, else 2; rows that share a row in a dot product, else 4
   SUM                      the sum of the lanes, where there is an instruction or two for it */

#ifndef ABREAST
#define ABREAST ROWS
#endif
#ifndef AGAIN
#define AGAIN TWICE
#endif
#ifndef DOUBLES
#define DOUBLES 2
#endif
#ifndef DOTS
#define DOTS 4
#endif

#define B4(k) UINT64_C(1) << (k), UINT64_C(2) << (k), UINT64_C(4) << (k), UINT64_C(8) << (k)
#define B16(k) B4(k), B4(k + 4), B4(k + 8), B4(k + 12)
static const uint64_t BIT[64] = {B16(0), B16(16), B16(32), B16(48)};

#define REAL float
#define UNORDERED(x, y) isunordered(x, y)
#define MASK uint32_t
#define FEW_LANES 4
#include "pack.c"
#include "sparse.c"
#undef REAL
#undef MASK
#undef FEW_LANES
#define REAL double
#define MASK uint64_t
#define FEW_LANES DOUBLES
#include "pack.c"
#include "sparse.c"
#undef REAL
#undef MASK
#undef UNORDERED
#define UNORDERED(x, y) 0
#undef FEW_LANES
#define REAL int32_t
#define MASK uint32_t
#include "pack.c"

#include "product.c"

#include "dots.c"

#include "winograd.c"

#include "limits.c"

const struct level KERNEL(level) = {
    .name = LEVEL_NAME,
    .supported = supported,
    .pack_f32 = KERNEL(pack_float),
    .pack_f64 = KERNEL(pack_double),
    .pack_i32 = KERNEL(pack_int32_t),
    .pack_nchw_f32 = KERNEL(pack_nchw_float),
    .pack_nchw_f64 = KERNEL(pack_nchw_double),
    .pack_nchw_i32 = KERNEL(pack_nchw_int32_t),
    .csr_check = KERNEL(csr_check),
    .csr_matvec_f32 = KERNEL(csr_matvec_float),
    .csr_matvec_f64 = KERNEL(csr_matvec_double),
    .csr_matmul_f32 = KERNEL(csr_matmul_float),
    .csr_matmul_f64 = KERNEL(csr_matmul_double),
    .product = KERNEL(product),
    .xnor_dots = KERNEL(xnor_dots),
    .winograd = KERNEL(winograd),
    .limit_counts = KERNEL(limit_counts),
    .limit_fma = KERNEL(limit_fma),
};
