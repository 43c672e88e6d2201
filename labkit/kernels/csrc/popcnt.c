/* Level popcnt: x86 with the POPCNT instruction (2008), which counts one word. */

#include "level.h"

#ifdef LABKIT_X86

#define LEVEL popcnt
#define LEVEL_NAME "popcnt"
#define TARGET __attribute__((target("popcnt")))
#define ROWS 2 /* 2 x 4 counters, the words they meet and the pointers fill the sixteen registers */
#define VECS 4
typedef uint64_t vec;

TARGET static inline vec popcount(vec word) { return (vec)__builtin_popcountll(word); }

static int supported(void) { return __builtin_cpu_supports("popcnt"); }

#include "families.h"

#endif
