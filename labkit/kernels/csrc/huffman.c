/* A canonical prefix code: symbols to bits and back. The same at every level: it is about bits in order, not vectors. */

#include <stdint.h>

#include "kernels.h"

static uint8_t *put_bytes(uint8_t *bytes, uint64_t bits, int count) /* the highest first */
{
    for (int k = count - 1; k >= 0; k--)
        *bytes++ = (uint8_t)(bits >> 8 * k);
    return bytes;
}

/* Bits gather at the low end of a word and leave from their high end, four bytes at a time. */
int64_t labkit_huffman_encode(const uint16_t *symbols, int64_t n, const uint32_t *code, const uint8_t *length,
                              uint8_t *bytes)
{
    uint8_t *to = bytes;
    uint64_t bits = 0;
    int held = 0, missing = 0;
    for (int64_t i = 0; i < n; i++) {
        const int more = length[symbols[i]];
        bits = bits << more | code[symbols[i]];
        held += more;
        missing |= more == 0;
        if (held >= 32) {
            held -= 32;
            to = put_bytes(to, bits >> held, 4);
        }
    }
    const int last = (held + 7) / 8;
    to = put_bytes(to, bits << (8 * last - held), last);
    return missing ? -1 : to - bytes;
}

/* The bits from bit `at` on, the first one highest; at least 57 of them. Past the end there are zeros. */
static uint64_t window(const uint8_t *bytes, int64_t n_bytes, int64_t at)
{
    const int64_t first = at / 8;
    uint64_t bits = 0;
    if (first + 8 <= n_bytes)
        for (int k = 0; k < 8; k++)
            bits = bits << 8 | bytes[first + k];
    else
        for (int64_t k = first; k < first + 8; k++)
            bits = bits << 8 | (k < n_bytes ? bytes[k] : 0);
    return bits << at % 8;
}

/* A code word too long for the table: (symbol << 8 | length), or 0 if there is none. */
static uint32_t long_word(const struct labkit_huffman *h, uint64_t bits)
{
    for (int length = h->table_bits + 1; length <= 32; length++) {
        const uint32_t index = (uint32_t)(bits >> (64 - length)) - h->first[length];
        if (index < h->count[length])
            return (uint32_t)h->sorted[h->place[length] + index] << 8 | (uint32_t)length;
    }
    return 0;
}

/* A window is used up before the next one is read: it holds several short words. */
int64_t labkit_huffman_decode(const struct labkit_huffman *h, const uint8_t *bytes, int64_t n_bytes, int64_t n,
                              uint16_t *symbols)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n;) {
        uint64_t bits = window(bytes, n_bytes, at);
        uint32_t entry = h->table[bits >> (64 - h->table_bits)];
        if (entry == 0 && (entry = long_word(h, bits)) == 0)
            return -1;
        for (int used = 0; entry && i < n && used + (int)(entry & 255) <= 57;) {
            symbols[i++] = (uint16_t)(entry >> 8);
            used += (int)(entry & 255);
            at += entry & 255;
            bits <<= entry & 255;
            entry = h->table[bits >> (64 - h->table_bits)];
        }
        if (at > 8 * n_bytes)
            return -1;
    }
    return at;
}
