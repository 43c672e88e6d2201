/* What Python may call. Two readers: the C compiler, and cffi, which knows no preprocessor; hence no #include here.

   `level` is an index into the table of dispatch.c. Matrices are row-major, without gaps between the rows. */

int labkit_level_count(void);
const char *labkit_level_name(int level);
int labkit_level_supported(int level);

/* Row r of x holds n numbers, row r of words their signs: bit k of word w is 1 where x[r][64 w + k] < 0.
   Bits past n are 0. Returns 1 if a NaN was met, for a NaN has no sign; else 0. */
int labkit_pack_f32(int level, const float *x, int64_t rows, int64_t n, uint64_t *words);
int labkit_pack_f64(int level, const double *x, int64_t rows, int64_t n, uint64_t *words);

/* result[i][j] = n - 2 popcount(a_i ^ b_j), for m rows a_i and p rows b_j of n signs each.
   Bits past n may hold anything. */
void labkit_xnor_matmul(int level, const uint64_t *a, const uint64_t *b, int32_t *result,
                        int64_t m, int64_t p, int64_t n);
