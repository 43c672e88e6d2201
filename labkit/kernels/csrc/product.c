/* Products of matrices of bits. Included by families.h, once per level.

   Two signs that agree contribute +1 to a dot product, two that differ -1, and a ^ b has a 1 exactly where they differ:
   dot = n - 2 popcount(a ^ b). Sixty-four multiplications and additions become three instructions. For unsigned
   integers cut into bit planes, dot = sum of 2^(x + y) popcount(a_x & b_y) over the pairs of planes. Both are a start
   value and a sum of weights times counts, and one driver serves them: see struct labkit_product in kernels.h.

   Three ideas make it fast. First, a vector holds words of different columns of the result, not words of one row of b:
   each lane then counts for its own column, and no lane is ever added to another. For this the columns of b are
   gathered, interleaved, into a panel. Second, a tile of ROWS x COLUMNS counts stays in registers while k runs, so that
   each word loaded is used several times: a word of a in VECS vectors, a vector of b in ROWS rows. Third, a panel is
   small enough to stay in the first-level cache while all rows of a pass by.

   The k-th word of column j is b[offset[j] + step[k]]. For a matrix, offset is the start of a row and step[k] = k. For a
   convolution, offset is a pixel and step is the way to a place in the window: no matrix of patches is ever written.
   M. Dukhan, The indirect convolution algorithm, arXiv:1907.02129. */

#define LANES ((int)(sizeof(vec) / sizeof(word)))
#define COLUMNS (VECS * LANES)
#define MANY (COLUMNS < 16 ? COLUMNS : 16) /* columns that are gathered together, */
#define SOME (COLUMNS < 8 ? COLUMNS : 8)    /* or if they are no neighbours, these */
#define DEPTH 64 /* 64-bit words of a column in a panel: at most 64 x 8 x 64 bytes = 32 KiB */
#define PARTS ((int)(sizeof(uint64_t) / sizeof(word))) /* a 64-bit word fills one lane, or two after each other */

union panel { /* [k] is the k-th word of each of COLUMNS columns */
    word words[DEPTH * PARTS][COLUMNS];
    vec vecs[DEPTH * PARTS][VECS];
};

#define HEIGHT 960 /* rows of a: 960 x 64 words are 480 KiB, which the second-level cache holds */

/* Where a tile of counts goes: out = base + weight * counts, row i of each so many numbers after row i - 1. */
struct KERNEL(sink) {
    const int32_t *base;
    int64_t base_stride;
    int32_t *out;
    int64_t stride;
    int32_t weight;
};

/* Rows first, ..., first + ABREAST - 1 of a tile go out. memcpy reads and writes a vector at any address. */
TARGET static INLINE void KERNEL(store)(vec acc[ABREAST][VECS], int first, int vecs, struct KERNEL(sink) to)
{
    const ivec weight = to.weight + (ivec){0};
    UNROLL for (int i = 0; i < ABREAST; i++)
        UNROLL for (int j = 0; j < vecs; j++) {
            ivec sum;
            memcpy(&sum, to.base + (first + i) * to.base_stride + j * LANES, sizeof sum);
            sum += weight * (ivec)widen(acc[i][j]);
            memcpy(to.out + (first + i) * to.stride + j * LANES, &sum, sizeof sum);
        }
}

/* The inner loop: counts of a[i] ^ b[j] or a[i] & b[j] over so many words, which the counters must be able to hold. The
   words of a are those from `skip` on. use_and and vecs are constants where this is used. */
TARGET static INLINE void KERNEL(count_words)(const word *const a[ROWS], int64_t skip, const vec (*b)[VECS],
                                              int64_t words, int use_and, int vecs, struct KERNEL(sink) to)
{
    for (int first = 0; first < ROWS; first += ABREAST) {
        const word *row[ABREAST];
        vec acc[ABREAST][VECS];
        UNROLL for (int i = 0; i < ABREAST; i++) {
            row[i] = a[first + i] + skip;
            UNROLL for (int j = 0; j < vecs; j++)
                acc[i][j] = (vec){0};
        }
        AGAIN for (int64_t k = 0; k < words; k++)
            UNROLL for (int i = 0; i < ABREAST; i++)
                UNROLL for (int j = 0; j < vecs; j++)
                    acc[i][j] += count(use_and ? row[i][k] & b[k][j] : row[i][k] ^ b[k][j]);
        KERNEL(store)(acc, first, vecs, to);
    }
}

/* Never inlined: then the registers hold the tile and nothing else. A narrow tile has one vector of columns. */
#define COUNTER(NAME, USE_AND, WIDTH)                                                                                \
    TARGET static NOINLINE void KERNEL(NAME)(const word *const a[ROWS], int64_t skip, const vec (*b)[VECS],          \
                                             int64_t words, const struct KERNEL(sink) *to)                           \
    {                                                                                                                \
        KERNEL(count_words)(a, skip, b, words, USE_AND, WIDTH, *to);                                                 \
    }
COUNTER(count_xor, 0, VECS)
COUNTER(count_and, 1, VECS)
COUNTER(count_xor_narrow, 0, 1)
COUNTER(count_and_narrow, 1, 1)
#undef COUNTER

typedef void KERNEL(counter)(const word *const a[ROWS], int64_t skip, const vec (*b)[VECS], int64_t words,
                             const struct KERNEL(sink) *to);

/* A block of the product: so many rows, columns and words, from these on, and who counts them. */
struct KERNEL(block) {
    int64_t row, rows, column, columns, width, first, depth;
    KERNEL(counter) *count;
};

/* Columns that are neighbours in memory, as the pixels of an image are: a vector takes them all. */
TARGET static INLINE void KERNEL(take_near)(const uint64_t *RESTRICT b, const int64_t *RESTRICT step, int64_t depth,
                                            int columns, word (*RESTRICT to)[COLUMNS])
{
    for (int64_t k = 0; k < depth; k++, to += PARTS) {
        const uint64_t *from = b + step[k];
        for (int j = 0; j < columns; j++)
            for (int part = 0; part < PARTS; part++)
                to[part][j] = (word)(from[j] >> 32 * part);
    }
}

TARGET static NOINLINE void KERNEL(take_far)(const uint64_t *RESTRICT b, const int64_t *RESTRICT offset,
                                             const int64_t *RESTRICT step, int64_t depth, word (*RESTRICT to)[COLUMNS])
{
    for (int j = 0; j < SOME; j++)
        for (int64_t k = 0; k < depth; k++)
            for (int part = 0; part < PARTS; part++)
                to[PARTS * k + part][j] = (word)(b[offset[j] + step[k]] >> 32 * part);
}

TARGET static INLINE int KERNEL(near)(const int64_t *offset, int columns)
{
    int near = 1;
    for (int j = 1; j < columns; j++)
        near &= offset[j] == offset[0] + j;
    return near;
}

/* MANY columns. A panel of an image crosses the ends of a few rows. */
TARGET static INLINE void KERNEL(take)(const uint64_t *b, const int64_t *offset, const int64_t *step, int64_t depth,
                                       word (*to)[COLUMNS])
{
    if (KERNEL(near)(offset, MANY))
        KERNEL(take_near)(b + offset[0], step, depth, MANY, to);
    else
        for (int j = 0; j < MANY; j += SOME)
            if (KERNEL(near)(offset + j, SOME))
                KERNEL(take_near)(b + offset[j], step, depth, SOME, (word(*)[COLUMNS])(to[0] + j));
            else
                KERNEL(take_far)(b, offset + j, step, depth, (word(*)[COLUMNS])(to[0] + j));
}

/* Plane y of b fills rows y depth, ... of the panel. Columns past the last repeat it; their counts are thrown away. */
TARGET static void KERNEL(gather)(const struct labkit_product *s, const struct KERNEL(block) *block, union panel *panel)
{
    int64_t offset[COLUMNS];
    for (int j = 0; j < COLUMNS; j++)
        offset[j] = s->offset[block->column + (j < block->columns ? j : block->columns - 1)];
    for (int64_t y = 0; y < s->b_planes; y++)
        for (int j = 0; j < COLUMNS; j += MANY)
            KERNEL(take)(s->b + y * s->b_plane, offset + j, s->step + block->first, block->depth,
                         (word(*)[COLUMNS])(panel->words[PARTS * y * block->depth] + j));
}

/* ROWS rows of a against all planes of a panel: every pair of planes adds to the sink, a burst at a time, so after the
   first addition the sink is its own base. Signs have one plane and mostly fit one burst: they take the short way. */
TARGET static INLINE void KERNEL(tile)(const struct labkit_product *s, const struct KERNEL(block) *block,
                                       const word *const a[ROWS], const union panel *panel, struct KERNEL(sink) *to)
{
    const int64_t words = PARTS * block->depth;
    to->weight = s->weights[0];
    if (s->a_planes * s->b_planes == 1 && words <= BURST) {
        block->count(a, 0, panel->vecs, words, to);
        return;
    }
    for (int64_t x = 0; x < s->a_planes; x++)
        for (int64_t y = 0; y < s->b_planes; y++)
            for (int64_t k = 0; k == 0 || k < words; k += BURST) {
                const int64_t burst = words - k < BURST ? words - k : BURST, skip = PARTS * x * s->a_plane + k;
                to->weight = s->weights[x * s->b_planes + y];
                block->count(a, skip, panel->vecs + y * words + k, burst, to);
                to->base = to->out;
                to->base_stride = to->stride;
            }
}

/* A tile at the edge of the result is computed whole beside it, and the part that exists is copied. */
TARGET static NOINLINE void KERNEL(edge)(const struct labkit_product *s, const struct KERNEL(block) *block,
                                         const word *const a[ROWS], const union panel *panel,
                                         const struct KERNEL(sink) *to, int64_t rows)
{
    int32_t whole[ROWS][COLUMNS] = {{0}};
    const size_t size = sizeof(int32_t) * (size_t)block->columns;
    struct KERNEL(sink) beside = {&whole[0][0], COLUMNS, &whole[0][0], COLUMNS, 0};
    for (int64_t i = 0; i < rows; i++)
        memcpy(whole[i], to->base + i * to->base_stride, size);
    KERNEL(tile)(s, block, a, panel, &beside);
    for (int64_t i = 0; i < rows; i++)
        memcpy(to->out + i * to->stride, whole[i], size);
}

/* The counts will go there: ask the memory for it meanwhile. */
TARGET static INLINE void KERNEL(expect)(const struct KERNEL(sink) *to)
{
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < COLUMNS; j += 16)
            WILL_WRITE(to->out + i * to->stride + j);
}

/* A block of rows of a against one panel. The first block of words starts from the start value, the others add to the
   result. Where nothing is added, the last rows are a whole tile too, though some of them were computed before. */
TARGET static void KERNEL(strip)(const struct labkit_product *s, const union panel *panel,
                                 const struct KERNEL(block) *block, const int32_t *start)
{
    const int64_t last = block->depth == s->words && s->m > ROWS ? s->m - ROWS : s->m;
    for (int64_t next = block->row; next < block->row + block->rows; next += ROWS) {
        const int64_t row = next < last ? next : last, rows = s->m - row < ROWS ? s->m - row : ROWS;
        int32_t *out = s->result + row * s->stride + block->column;
        struct KERNEL(sink) to = {out, s->stride, out, s->stride, 0};
        const word *a[ROWS];
        UNROLL for (int64_t i = 0; i < ROWS; i++) /* past the last row: that row again, so that all reads are inside */
            a[i] = (const word *)(s->a + (row + (i < rows ? i : rows - 1)) * s->words + block->first);
        if (block->first == 0) {
            to.base = start;
            to.base_stride = 0;
        }
        if (rows == ROWS && block->columns == COLUMNS)
            KERNEL(expect)(&to);
        if (rows == ROWS && block->columns == block->width)
            KERNEL(tile)(s, block, a, panel, &to);
        else
            KERNEL(edge)(s, block, a, panel, &to, rows);
    }
}

/* A block of rows against all of b, panel by panel. A long row of b takes several panels. */
TARGET static void KERNEL(rows)(const struct labkit_product *s, int64_t row, int64_t rows, const int32_t *start)
{
    const int64_t deepest = DEPTH / s->b_planes; /* the planes of b share the panel */
    union panel panel;
    for (int64_t column = 0; column < s->p; column += COLUMNS)
        for (int64_t k = 0; k == 0 || k < s->words; k += deepest) {
            const int64_t columns = s->p - column < COLUMNS ? s->p - column : COLUMNS;
            const int64_t depth = s->words - k < deepest ? s->words - k : deepest;
            KERNEL(counter) *const wide = s->use_and ? KERNEL(count_and) : KERNEL(count_xor);
            KERNEL(counter) *const narrow = s->use_and ? KERNEL(count_and_narrow) : KERNEL(count_xor_narrow);
            const struct KERNEL(block) block = {row, rows, column, columns, columns > LANES ? COLUMNS : LANES, k, depth,
                                                columns > LANES ? wide : narrow};
            KERNEL(gather)(s, &block, &panel);
            KERNEL(strip)(s, &panel, &block, start);
        }
}

TARGET static void KERNEL(product)(const struct labkit_product *s)
{
    int32_t start[COLUMNS];
    for (int j = 0; j < COLUMNS; j++)
        start[j] = s->start;
    for (int64_t row = 0; row < s->m; row += HEIGHT)
        KERNEL(rows)(s, row, s->m - row < HEIGHT ? s->m - row : HEIGHT, start);
}
