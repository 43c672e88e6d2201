/* Level neon: 64-bit ARM, where NEON is always there. CNT counts the bits of bytes; three pairwise additions make
   words of them. */

#include "level.h"

#ifdef LABKIT_ARM

#include <arm_neon.h>

#define LEVEL neon
#define LEVEL_NAME "neon"
#define TARGET
#define ROWS 4 /* 4 x 4 counters, 4 vectors of b and the temporaries of the count fit in 32 registers */
#define VECS 4
typedef uint64_t vec __attribute__((vector_size(16)));

static inline vec popcount(vec words)
{
    return (vec)vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8((uint8x16_t)words))));
}

static int supported(void) { return 1; }

#include "families.h"

#endif
