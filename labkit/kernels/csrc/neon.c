/* Level neon: 64-bit ARM, where NEON is always there. CNT counts the bits of bytes; the counts stay in bytes as long as
   they fit, then two pairwise additions make words of them. */

#include "level.h"

#ifdef LABKIT_ARM

#include <arm_neon.h>

#define LEVEL neon
#define LEVEL_NAME "neon"
#define TARGET
#define ROWS 4 /* 4 x 4 counters, 4 vectors of b and the temporaries of the count fit in 32 registers */
#define VECS 4
#define CHAINS 16
typedef uint32_t word __attribute__((may_alias));
typedef uint32_t vec __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(16)));
typedef float fvec __attribute__((vector_size(16)));

#define BURST 31 /* a byte gains at most 8 a time and holds at most 255 */

static INLINE vec count(vec x) { return (vec)vcntq_u8((uint8x16_t)x); }

static INLINE vec widen(vec bytes) { return (vec)vpaddlq_u16(vpaddlq_u8((uint8x16_t)bytes)); }

static INLINE fvec multiply_add(fvec x, fvec y, fvec z) { return (fvec)vfmaq_f32(z, x, y); }

static int supported(void) { return 1; }

#include "families.h"

#endif
