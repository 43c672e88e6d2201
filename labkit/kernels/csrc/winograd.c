/* Convolutions with 3 x 3 kernels by Winograd's algorithm F(m x m, 3 x 3), m = 2 or 4. Included by families.h.

   A tile of m x m outputs needs t x t inputs, t = m + 2. Three steps: V = B^T d B for the tiles of every input channel;
   for each of the t^2 places a product of matrices, M[tile][k] = sum over c of V[tile][c] U[c][k]; Y = A^T M A.

   Channels are last in memory, so a vector holds the same place of as many channels, and the transforms are ordinary
   sums of vectors. The caller pads the picture with zeros to whole tiles and to whole vectors of channels: nothing is
   checked here. A block of tiles passes through all three steps while it is in the second-level cache.

   The kernel comes transformed and cut into panels of PANEL filters, U[place][panel][c][PANEL], which all levels can
   read; a wide level takes several panels at a time. Sums over channels are fused where there is an instruction for it,
   so the last bits differ from level to level. Levels agree within the bound that winograd.py states. */

#define PANEL 16
#define FLOATS ((int)(sizeof(fvec) / sizeof(float)))
#define PIECES (PANEL / FLOATS) /* vectors of a panel */
#define PANELS (FLOATS == PANEL ? 4 : 1)
#define TALL (FLOATS > 4 || (FLOATS == 4 && CHAINS == 16) ? 6 : 2) /* tiles worked on together: as many as registers hold */
#define TILES 54 /* of a block; with 48, places would lie a multiple of 4096 bytes apart and share cache lines */
#define MAX_SIZE 6

TARGET static INLINE fvec get(const float *from)
{
    fvec x;
    memcpy(&x, from, sizeof x);
    return x;
}

TARGET static INLINE void put(float *to, fvec x) { memcpy(to, &x, sizeof x); }

/* B^T times t vectors that lie `step` apart. */
TARGET static INLINE void transform_line(const int m, fvec *d, const int step)
{
    const fvec a = d[0], b = d[step], c = d[2 * step], e = d[3 * step];
    if (m == 2) {
        d[0] = a - c, d[step] = b + c, d[2 * step] = c - b, d[3 * step] = e - b;
        return;
    }
    const fvec f = d[4 * step], even = f - c, odd = 2 * (e - b);
    d[0] = 4 * a - 5 * c + f;
    d[5 * step] = 4 * b - 5 * e + d[5 * step];
    d[step] = 4 * (b + c) - (e + f);
    d[2 * step] = 4 * (c - b) + (e - f);
    d[3 * step] = even + odd;
    d[4 * step] = even - odd;
}

/* A^T times t vectors; the m results take the first places. */
TARGET static INLINE void invert_line(const int m, fvec *d, const int step)
{
    const fvec sum = d[step] + d[2 * step], difference = d[step] - d[2 * step], e = d[3 * step];
    if (m == 2) {
        d[0] = d[0] + sum, d[step] = difference + e;
        return;
    }
    const fvec far_sum = e + d[4 * step], far_difference = e - d[4 * step], last = d[5 * step];
    d[0] = d[0] + sum + far_sum;
    d[step] = difference + 2 * far_difference;
    d[2 * step] = sum + 4 * far_sum;
    d[3 * step] = difference + 8 * far_difference + last;
}

/* One tile, all channels: x[i][j][c] to v[place][c], places TILES * c apart. */
TARGET static INLINE void transform_tile(const int m, const float *x, int64_t row, int64_t channels, float *v)
{
    const int t = m + 2;
    for (int64_t c = 0; c < channels; c += FLOATS) {
        fvec d[MAX_SIZE * MAX_SIZE];
        UNROLL for (int i = 0; i < t; i++)
            UNROLL for (int j = 0; j < t; j++)
                d[i * t + j] = get(x + i * row + j * channels + c);
        UNROLL for (int j = 0; j < t; j++)
            transform_line(m, d + j, t);
        UNROLL for (int i = 0; i < t; i++)
            transform_line(m, d + i * t, 1);
        UNROLL for (int place = 0; place < t * t; place++)
            put(v + place * TILES * channels + c, d[place]);
    }
}

TARGET static INLINE void invert_tile(const int m, const float *sums, int64_t filters, float *y, int64_t row)
{
    const int t = m + 2;
    for (int64_t k = 0; k < filters; k += FLOATS) {
        fvec d[MAX_SIZE * MAX_SIZE];
        UNROLL for (int place = 0; place < t * t; place++)
            d[place] = get(sums + place * TILES * filters + k);
        UNROLL for (int j = 0; j < t; j++)
            invert_line(m, d + j, t);
        UNROLL for (int i = 0; i < m; i++)
            invert_line(m, d + i * t, 1);
        UNROLL for (int i = 0; i < m; i++)
            UNROLL for (int j = 0; j < m; j++)
                put(y + i * row + j * filters + k, d[i * t + j]);
    }
}

/* M for `rows` tiles and `panels` panels, both constants wherever this is called, so that the sums are registers. */
TARGET static INLINE void multiply_tile(const int rows, const int panels, const float *v, const float *u,
                                        int64_t channels, float *sums, int64_t filters)
{
    fvec acc[TALL][PANELS * PIECES];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < panels * PIECES; j++)
            acc[i][j] = (fvec){0};
    for (int64_t c = 0; c < channels; c++) {
        fvec b[PANELS * PIECES];
        UNROLL for (int j = 0; j < panels * PIECES; j++)
            b[j] = get(u + (j / PIECES * channels + c) * PANEL + j % PIECES * FLOATS);
        UNROLL for (int i = 0; i < rows; i++) {
            const fvec a = v[i * channels + c] - (fvec){0};
            UNROLL for (int j = 0; j < panels * PIECES; j++)
                acc[i][j] = multiply_add(a, b[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < panels * PIECES; j++)
            put(sums + i * filters + j * FLOATS, acc[i][j]);
}

/* All tiles of a block for some panels at one place. */
TARGET static INLINE void multiply_panels(const int panels, const float *v, const float *u, int64_t tiles,
                                          int64_t channels, float *sums, int64_t filters)
{
    int64_t i = 0;
    for (; i + TALL <= tiles; i += TALL)
        multiply_tile(TALL, panels, v + i * channels, u, channels, sums + i * filters, filters);
    for (; i < tiles; i++)
        multiply_tile(1, panels, v + i * channels, u, channels, sums + i * filters, filters);
}

TARGET static NOINLINE void multiply_place(const float *v, const float *u, int64_t tiles, int64_t channels,
                                           float *sums, int64_t filters)
{
    int64_t k = 0;
    for (; k + PANELS * PANEL <= filters; k += PANELS * PANEL)
        multiply_panels(PANELS, v, u + k * channels, tiles, channels, sums + k, filters);
    for (; k < filters; k += PANEL)
        multiply_panels(1, v, u + k * channels, tiles, channels, sums + k, filters);
}

/* Tiles first, ..., last - 1, at most TILES of them. */
TARGET static INLINE void block_of(const int m, const struct labkit_winograd *w, int64_t first, int64_t last, float *v,
                                   float *sums)
{
    const int t = m + 2;
    const int64_t wide = w->across * m + 2, tiles = w->down * w->across;
    for (int64_t i = first; i < last; i++) {
        const int64_t image = i / tiles, row = i % tiles / w->across * m, column = i % w->across * m;
        const float *corner = w->x + ((image * (w->down * m + 2) + row) * wide + column) * w->channels;
        transform_tile(m, corner, wide * w->channels, w->channels, v + (i - first) * w->channels);
    }
    for (int place = 0; place < t * t; place++)
        multiply_place(v + place * TILES * w->channels, w->u + place * w->channels * w->filters, last - first,
                       w->channels, sums + place * TILES * w->filters, w->filters);
    for (int64_t i = first; i < last; i++) {
        const int64_t image = i / tiles, row = i % tiles / w->across * m, column = i % w->across * m;
        float *corner = w->y + ((image * w->down * m + row) * w->across * m + column) * w->filters;
        invert_tile(m, sums + (i - first) * w->filters, w->filters, corner, w->across * m * w->filters);
    }
}

/* Returns 1 if there is no memory for a block, else 0. */
TARGET static int KERNEL(winograd)(const struct labkit_winograd *w, int64_t first, int64_t last)
{
    const size_t places = (size_t)((w->m + 2) * (w->m + 2));
    const size_t v = places * TILES * (size_t)w->channels, sums = places * TILES * (size_t)w->filters;
    float *memory = malloc((v + sums) * sizeof(float) + 64);
    if (!memory)
        return 1;
    float *at = memory + (64 - (uintptr_t)memory % 64) / sizeof(float); /* no vector lies in two lines of the cache */
    const int64_t blocks = (last - first + TILES - 1) / TILES, tiles = blocks ? (last - first + blocks - 1) / blocks : 1;
    for (; first < last; first += tiles) {
        const int64_t end = last - first < tiles ? last : first + tiles;
        if (w->m == 2)
            block_of(2, w, first, end, at, at + v);
        else
            block_of(4, w, first, end, at, at + v);
    }
    free(memory);
    return 0;
}
