/* What Python may call. Two readers: the C compiler, and cffi, which knows no preprocessor; hence no #include here.

   `level` is an index into the table of dispatch.c. Matrices are row-major, without gaps between the rows. */

int labkit_level_count(void);
const char *labkit_level_name(int level);
int labkit_level_supported(int level);

/* Row r of x holds n numbers, row r of words their bits: bit k of word w is 1 where x[r][64 w + k] < thresholds[64 w + k].
   Bits past n are 0. Returns 1 if a NaN was met, which is on no side of a threshold; else 0. */
int labkit_pack_f32(int level, const float *x, const float *thresholds, int64_t rows, int64_t n, uint64_t *words);
int labkit_pack_f64(int level, const double *x, const double *thresholds, int64_t rows, int64_t n, uint64_t *words);
int labkit_pack_i32(int level, const int32_t *x, const int32_t *thresholds, int64_t rows, int64_t n, uint64_t *words);

/* The same for images: x[image][channel][row][column] becomes words[image][group][row][column], each of 64 channels,
   with a threshold for each channel. Rows of words are `stride` words apart and groups `plane` words, so that each image
   can have a border, which is left alone. Groups first, ..., last - 1 are done, counted through all images. */
struct labkit_images {
    int64_t channels, height, width, stride, plane;
};
int labkit_pack_nchw_f32(int level, const float *x, const float *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);
int labkit_pack_nchw_f64(int level, const double *x, const double *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);
int labkit_pack_nchw_i32(int level, const int32_t *x, const int32_t *thresholds, int64_t first, int64_t last,
                         const struct labkit_images *images, uint64_t *words);

/* result[i][j] = start + sum over planes x of a and y of b of weights[x][y] popcount(a_xi ^ b_yj), or & if use_and. */
struct labkit_product {
    const uint64_t *a;     /* m rows of `words` words; plane x lies x a_plane words further */
    const uint64_t *b;     /* word k of column j is b[offset[j] + step[k]]; plane y lies y b_plane words further */
    const int64_t *offset; /* p of them */
    const int64_t *step;   /* `words` of them */
    const int32_t *weights;
    int32_t *result;       /* m rows of p numbers, `stride` numbers apart */
    int64_t m, p, words, stride, a_planes, a_plane, b_planes, b_plane;
    int32_t start;
    int32_t use_and;
};
void labkit_product(int level, const struct labkit_product *product);

/* A convolution of the signs of images of numbers: each image is packed, with a border of zeros, and multiplied while it
   is in the cache. Images first, ..., last - 1 are done. Returns 1 if a NaN was met, 2 if there is no memory; else 0. */
struct labkit_conv {
    struct labkit_images images;
    struct labkit_product product; /* of the weight and a packed image of b_plane words; a, b and result are not read */
    int64_t inside;                /* words of a packed image before the first that is not border */
};
int labkit_conv_f32(int level, const struct labkit_conv *conv, const float *x, const float *thresholds,
                    const uint64_t *weight, int32_t *result, int64_t first, int64_t last);
int labkit_conv_f64(int level, const struct labkit_conv *conv, const double *x, const double *thresholds,
                    const uint64_t *weight, int32_t *result, int64_t first, int64_t last);
int labkit_conv_i32(int level, const struct labkit_conv *conv, const int32_t *x, const int32_t *thresholds,
                    const uint64_t *weight, int32_t *result, int64_t first, int64_t last);

/* result[i][j] = n - 2 popcount(a_i ^ b_j), for m rows a_i and p rows b_j of `words` words; rows of the result are
   `stride` numbers apart. For few rows a_i. */
void labkit_xnor_dots(int level, const uint64_t *a, const uint64_t *b, int32_t *result, int64_t m, int64_t p,
                      int64_t words, int64_t n, int64_t stride);

/* A convolution with 3 x 3 kernels by F(m x m, 3 x 3), m = 2 or 4, t = m + 2, channels last in memory. */
struct labkit_winograd {
    const float *x; /* images of down m + 2 rows and across m + 2 columns of `channels` numbers */
    const float *u; /* the transformed kernel, t^2 x filters / 16 x channels x 16 */
    float *y;       /* images of down m rows and across m columns of `filters` numbers */
    int64_t down, across, channels, filters; /* tiles of an image; multiples of 16 */
    int64_t m;
};

/* Computes tiles first, ..., last - 1 of all images. Returns 1 if there is no memory for a block of tiles, else 0. */
int labkit_winograd(int level, const struct labkit_winograd *w, int64_t first, int64_t last);

/* Work that only the arithmetic units limit, some hundred operations a round; returns how many 64-bit words went through
   XOR, count and add, or how many multiplications and additions were done. *sum keeps the compiler from leaving it out. */
int64_t labkit_limit_counts(int level, int64_t rounds, uint64_t *sum);
int64_t labkit_limit_fma(int level, int64_t rounds, float *sum);

/* A sparse matrix in compressed rows: row i holds a[p] in column ja[p] for p = ia[i], ..., ia[i + 1] - 1. The check
   returns 0 for m rows and n columns, 1 if ia does not ascend from 0 to nnz, 2 if a column is not below n; the products
   trust it. They compute rows first, ..., last - 1 of y = A x, and of Y = A X for X with n columns. */
int labkit_csr_check(int level, const int32_t *ia, const int32_t *ja, int64_t m, int64_t n, int64_t nnz);
void labkit_csr_matvec_f32(int level, const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last);
void labkit_csr_matvec_f64(int level, const double *a, const int32_t *ia, const int32_t *ja, const double *x,
                           double *y, int64_t first, int64_t last);
int labkit_csr_matmul_f32(int level, const float *a, const int32_t *ia, const int32_t *ja, const float *x, float *y,
                           int64_t first, int64_t last, int64_t n, int64_t k);
int labkit_csr_matmul_f64(int level, const double *a, const int32_t *ia, const int32_t *ja, const double *x,
                           double *y, int64_t first, int64_t last, int64_t n, int64_t k);

/* A canonical prefix code, the same at every level. Symbol s has the code word code[s] of length[s] bits, at most 32, the
   first bit the highest. The encoder returns the bytes written, the last filled up with zeros, or -1 if a symbol has
   no code word. */
int64_t labkit_huffman_encode(const uint16_t *symbols, int64_t n, const uint32_t *code, const uint8_t *length,
                              uint8_t *bytes);

/* What the decoder looks up. table has 2^table_bits entries, symbol << 8 | length for each pattern that begins with a
   code word of at most table_bits bits, else 0. Longer words are found by their length l: they run from first[l] on,
   count[l] of them, and stand for sorted[place[l]], .... */
struct labkit_huffman {
    const uint32_t *table;
    const uint32_t *first, *count; /* 33 of each */
    const int64_t *place;          /* 33 */
    const uint16_t *sorted;
    int table_bits;                /* at least 1, at most 32 */
};

/* Decodes n symbols. Returns the bits read, or -1 if the bytes end early or hold what is no code word. */
int64_t labkit_huffman_decode(const struct labkit_huffman *h, const uint8_t *bytes, int64_t n_bytes, int64_t n,
                              uint16_t *symbols);
