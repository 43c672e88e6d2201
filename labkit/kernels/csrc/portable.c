/* Level portable: plain C99 for any processor and compiler. A "vector" is one word.

   Bits are counted with ordinary arithmetic, many small counters side by side in a word: pairs, then fours, then bytes;
   the multiplication adds the eight bytes into the topmost. H. S. Warren, Hacker's Delight, chapter 5. */

#include "level.h"

#define LEVEL portable
#define LEVEL_NAME "portable"
#define TARGET
#define ROWS 2
#define VECS 4
typedef uint64_t vec;

static inline vec popcount(vec x)
{
    x = x - ((x >> 1) & UINT64_C(0x5555555555555555));
    x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (x * UINT64_C(0x0101010101010101)) >> 56;
}

static int supported(void) { return 1; }

#include "families.h"
