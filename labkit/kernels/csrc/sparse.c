/* Products of a sparse matrix in compressed rows (CSR). Included by families.h once for each type REAL.

   Row i holds the number a[p] in column ja[p] for p = ia[i], ..., ia[i + 1] - 1. The products compute rows first, ...,
   last - 1, so that several threads can share one.

   The order of all sums is fixed and the same at every level, and no product is fused with a sum (the build says
   -ffp-contract=off): the results agree bit for bit with the twin in NumPy. */

#ifndef CSR_SUMS
#define CSR_SUMS 8 /* partial sums of a dot product: with one alone, each addition would wait for the one before */
#define STRIP 8    /* vectors of sums for one row of the result, in registers */

/* Left alone, GCC would collect the scattered numbers in vectors, which costs more than it gains. */
#if defined(__GNUC__) && !defined(__clang__)
#define SCALAR __attribute__((optimize("no-tree-vectorize", "no-tree-slp-vectorize", "fp-contract=off")))
#else
#define SCALAR
#endif
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

/* 0, or 1 if ia does not ascend from 0 to nnz, or 2 if a column lies outside 0, ..., n - 1. */
TARGET static int KERNEL(csr_check)(const int32_t *ia, const int32_t *ja, int64_t m, int64_t n, int64_t nnz)
{
    int descends = ia[0] != 0 || ia[m] != nnz;
    uint32_t signs = 0; /* of j and of n - 1 - j: the highest bit of either is set if j is negative or too large */
    for (int64_t i = 0; i < m; i++)
        descends |= ia[i] > ia[i + 1];
    for (int64_t p = 0; p < nnz; p++)
        signs |= (uint32_t)ja[p] | ((uint32_t)(n - 1) - (uint32_t)ja[p]);
    return descends ? 1 : signs >> 31 ? 2 : 0;
}
#endif

TARGET static INLINE REAL KERNEL(EXPAND(in_halves, REAL))(const REAL sum[CSR_SUMS])
{
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* y_i = sum over p of a[p] x[ja[p]]. Sum s takes every eighth product from the s-th on, then the sums are added. */
TARGET SCALAR static void KERNEL(EXPAND(one_by_one, REAL))(const REAL *a, const int32_t *ia, const int32_t *ja,
                                                           const REAL *x, REAL *y, int64_t first, int64_t last)
{
    for (int64_t i = first; i < last; i++) {
        const int64_t end = ia[i + 1];
        int64_t p = ia[i];
        REAL sum[CSR_SUMS] = {0};
        for (; p + CSR_SUMS <= end; p += CSR_SUMS)
            UNROLL for (int s = 0; s < CSR_SUMS; s++)
                sum[s] += a[p + s] * x[ja[p + s]];
        UNROLL for (int s = 0; s < CSR_SUMS - 1; s++)
            if (p + s < end)
                sum[s] += a[p + s] * x[ja[p + s]];
        y[i] = KERNEL(EXPAND(in_halves, REAL))(sum);
    }
}

#if defined(__GNUC__)
#define FEW EXPAND(few, REAL) /* FEW_LANES numbers; more do not pay, since those of x come one by one */
#define FEW_MASKS EXPAND(few_masks, REAL)
#define FEWS (CSR_SUMS / FEW_LANES)
typedef REAL FEW __attribute__((vector_size(FEW_LANES * sizeof(REAL)), may_alias));
typedef MASK FEW_MASKS __attribute__((vector_size(FEW_LANES * sizeof(REAL)), may_alias));
#if FEW_LANES == 2
#define NAMED(x, j) {x[(j)[0]], x[(j)[1]]}
#else
#define NAMED(x, j) {x[(j)[0]], x[(j)[1]], x[(j)[2]], x[(j)[3]]}
#endif

/* Adds the first `count` of eight products, but reads all eight. The others count as 0, which changes no sum: a sum
   that begins as 0 never becomes -0. */
TARGET static INLINE void KERNEL(EXPAND(add_eight, REAL))(FEW sum[FEWS], const REAL *a, const int32_t *ja,
                                                          const REAL *x, int64_t count)
{
    static const MASK keep[2 * CSR_SUMS] = {-1, -1, -1, -1, -1, -1, -1, -1};
    UNROLL for (int v = 0; v < FEWS; v++) {
        const int s = v * FEW_LANES;
        FEW product;
        FEW_MASKS mask;
        memcpy(&product, a + s, sizeof product);
        memcpy(&mask, keep + CSR_SUMS - count + s, sizeof mask);
        product *= (FEW)NAMED(x, ja + s);
        sum[v] += count < CSR_SUMS ? (FEW)((FEW_MASKS)product & mask) : product;
    }
}
#endif

/* Where there are vectors they hold the eight sums: a processor reads fewer floats in a cycle than vectors of them, and
   here only the numbers of x come one by one. The end of a row reads on into the next; the last rows have none. */
TARGET static void KERNEL(EXPAND(csr_matvec, REAL))(const REAL *a, const int32_t *ia, const int32_t *ja, const REAL *x,
                                                    REAL *y, int64_t first, int64_t last)
{
    int64_t i = first;
#if defined(__GNUC__)
    for (; i < last && (int64_t)ia[i + 1] + CSR_SUMS <= ia[last]; i++) {
        const int64_t end = ia[i + 1];
        int64_t p = ia[i];
        FEW few[FEWS] = {{0}};
        REAL sum[CSR_SUMS];
        for (; p + CSR_SUMS <= end; p += CSR_SUMS)
            KERNEL(EXPAND(add_eight, REAL))(few, a + p, ja + p, x, CSR_SUMS);
        KERNEL(EXPAND(add_eight, REAL))(few, a + p, ja + p, x, end - p);
        memcpy(sum, few, sizeof sum);
        y[i] = KERNEL(EXPAND(in_halves, REAL))(sum);
    }
#endif
    KERNEL(EXPAND(one_by_one, REAL))(a, ia, ja, x, y, i, last);
}

/* A vector of REAL as wide as vec; where there are no vectors, a single number. */
#define NUMBERS EXPAND(numbers, REAL)
#if defined(__GNUC__)
typedef REAL NUMBERS __attribute__((vector_size(sizeof(vec) < 16 ? 16 : sizeof(vec)), may_alias));
#else
typedef REAL NUMBERS;
#endif
#define WIDE ((int64_t)(sizeof(NUMBERS) / sizeof(REAL)))

/* `width` columns of x (k, n) in `vecs` vectors a row, side by side in memory and aligned; zeros fill the last one. */
TARGET static void KERNEL(EXPAND(cut_strip, REAL))(const REAL *x, int64_t k, int64_t n, int64_t width, int64_t vecs,
                                                   REAL *strip)
{
    for (int64_t r = 0; r < k; r++, x += n, strip += vecs * WIDE) {
        memcpy(strip, x, (size_t)width * sizeof(REAL));
        for (int64_t c = width; c < vecs * WIDE; c++)
            strip[c] = 0;
    }
}

/* A strip of Y = A X: each number of the sparse matrix is loaded once for all `vecs` vectors of its row of the strip.
   `vecs` is a constant wherever this is called, so the sums are registers. */
TARGET static INLINE void KERNEL(EXPAND(strip, REAL))(const int vecs, const REAL *a, const int32_t *ia,
                                                      const int32_t *ja, const NUMBERS *x, REAL *y, int64_t first,
                                                      int64_t last, int64_t n, int64_t width)
{
    for (int64_t i = first; i < last; i++) {
        NUMBERS sum[STRIP];
        UNROLL for (int v = 0; v < vecs; v++)
            sum[v] = (NUMBERS){0};
        for (int64_t p = ia[i]; p < ia[i + 1]; p++)
            UNROLL for (int v = 0; v < vecs; v++)
                sum[v] += a[p] * x[(int64_t)ja[p] * vecs + v];
        memcpy(y + i * n, sum, (size_t)width * sizeof(REAL));
    }
}

/* Y = A X for X (k, n), strip by strip of columns. Returns 1 if there is no memory for a strip, else 0. */
TARGET static int KERNEL(EXPAND(csr_matmul, REAL))(const REAL *a, const int32_t *ia, const int32_t *ja, const REAL *x,
                                                   REAL *y, int64_t first, int64_t last, int64_t n, int64_t k)
{
#define STRIP_OF(v)                                                                                      \
    case v:                                                                                              \
        KERNEL(EXPAND(strip, REAL))(v, a, ia, ja, (const NUMBERS *)strip, y + j, first, last, n, width); \
        break;
    char *memory = malloc((size_t)k * STRIP * sizeof(NUMBERS) + 64);
    if (!memory)
        return 1;
    REAL *strip = (REAL *)(memory + 64 - (uintptr_t)memory % 64); /* so that no vector lies in two lines of the cache */
    for (int64_t j = 0; j < n; j += STRIP * WIDE) {
        const int64_t width = n - j < STRIP * WIDE ? n - j : STRIP * WIDE;
        const int64_t vecs = (width + WIDE - 1) / WIDE;
        KERNEL(EXPAND(cut_strip, REAL))(x + j, k, n, width, vecs, strip);
        switch (vecs) { STRIP_OF(1) STRIP_OF(2) STRIP_OF(3) STRIP_OF(4) STRIP_OF(5) STRIP_OF(6) STRIP_OF(7) STRIP_OF(8) }
    }
    free(memory);
    return 0;
#undef STRIP_OF
}

#undef FEW
#undef FEW_MASKS
#undef FEWS
#undef NAMED
#undef NUMBERS
#undef WIDE
