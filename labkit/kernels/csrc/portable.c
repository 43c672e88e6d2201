/* Level portable: plain C99 for any processor and compiler. A "vector" is one word.

   Bits are counted with ordinary arithmetic, many small counters side by side in a word: pairs, then fours, then bytes.
   H. S. Warren, Hacker's Delight, chapter 5. */

#include "level.h"

#define LEVEL portable
#define LEVEL_NAME "portable"
#define TARGET
#define ROWS 2
#define VECS 4
#define CHAINS 8
typedef uint64_t word;
typedef uint64_t vec;
typedef int32_t ivec;
typedef float fvec;

#define BURST 31 /* a byte gains at most 8 a time and holds at most 255 */

static INLINE vec count(vec x)
{
    x = x - ((x >> 1) & UINT64_C(0x5555555555555555));
    x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
    return (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
}

static INLINE vec widen(vec bytes) /* to pairs of bytes; the multiplication adds the four pairs into the topmost */
{
    const uint64_t low = UINT64_C(0x00ff00ff00ff00ff), ones = UINT64_C(0x0001000100010001);
    return ((bytes & low) + ((bytes >> 8) & low)) * ones >> 48;
}

static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return x * y + z; }

static int supported(void) { return 1; }

#include "families.h"
