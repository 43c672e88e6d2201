/* What this processor can do at most, without memory. Included by families.h, once per level.

   CHAINS values are worked on in turn: enough that the processor never waits for one of them to be ready. Each value
   feeds itself, so that the compiler can leave nothing out; and none begins as y, since y ^ y is 0 for ever. */

/* The three steps of a binary product: XOR, count, add. Returns how many 64-bit words were counted. */
TARGET static int64_t KERNEL(limit_counts)(int64_t rounds, uint64_t *sum)
{
    vec x[CHAINS], y = {0};
    y += (word)*sum;
    UNROLL for (int c = 0; c < CHAINS; c++)
        x[c] = y + (word)(UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(c + 1));
    AGAIN for (int64_t r = 0; r < rounds; r++)
        UNROLL for (int c = 0; c < CHAINS; c++)
            x[c] += count(x[c] ^ y);
    UNROLL for (int c = 0; c < CHAINS; c++)
        y += widen(x[c]);
    memcpy(sum, &y, sizeof *sum);
    return rounds * CHAINS * (int64_t)(sizeof(vec) / sizeof(uint64_t));
}

/* Fused multiplication and addition in single precision. Returns how many operations that was, two for each. */
TARGET static int64_t KERNEL(limit_fma)(int64_t rounds, float *sum)
{
    fvec x[CHAINS], y = {0}, total = {0};
    y += *sum;
    UNROLL for (int c = 0; c < CHAINS; c++)
        x[c] = y + (float)c;
    for (int64_t r = 0; r < rounds; r++)
        UNROLL for (int c = 0; c < CHAINS; c++)
            x[c] = multiply_add(x[c], y, y);
    UNROLL for (int c = 0; c < CHAINS; c++)
        total += x[c];
    memcpy(sum, &total, sizeof *sum);
    return rounds * CHAINS * 2 * (int64_t)(sizeof(fvec) / sizeof(float));
}
