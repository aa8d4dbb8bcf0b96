/* base/vectors.h: WIDE_VECTORS before a function: it is compiled twice, for any processor of its kind and for those
 * with wider vectors (AVX2), and the loader takes the one that runs here. For loops over samples that a benchmark
 * knows.
 *
 * Both give equal bits: AVX2 alone has no operation that rounds once where others round twice.
 *
 * Sanitizers do not bear the loader's choice, so there is one there; likewise where the C library has none.
 */
#ifndef PROMSPLIT_BASE_VECTORS_H
#define PROMSPLIT_BASE_VECTORS_H

#include <features.h> /* __GLIBC__ */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) &&                           \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#    define WIDE_VECTORS __attribute__((target_clones("avx2", "default"), flatten))
#else
#    define WIDE_VECTORS
#endif

#endif
