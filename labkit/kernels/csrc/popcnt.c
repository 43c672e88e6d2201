/* Level popcnt: x86 with the POPCNT instruction (2008), which counts one word. */

#include "level.h"

#ifdef LABKIT_X86

#define LEVEL popcnt
#define LEVEL_NAME "popcnt"
#define TARGET __attribute__((target("popcnt")))
#define ROWS 4
#define VECS 8
#define ABREAST 1 /* 8 counters, a word of a, one of b and the pointers: sixteen registers hold no more */
#define AGAIN EIGHT_TIMES /* a short body: the jumps would cost as much as one word in eight */
#define CHAINS 8
typedef uint64_t word;
typedef uint64_t vec;
typedef int32_t ivec;
typedef float fvec;

#define BURST (INT64_MAX / 64) /* a count needs no widening */

TARGET static INLINE vec count(vec x) { return (vec)__builtin_popcountll(x); }

TARGET static INLINE vec widen(vec counts) { return counts; }

TARGET static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return x * y + z; }

static int supported(void) { return __builtin_cpu_supports("popcnt"); }

#include "families.h"

#endif
