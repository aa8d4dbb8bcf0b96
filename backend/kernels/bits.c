/* backend/kernels/bits.c: see bits.h. */
#include "backend/kernels/bits.h"

static uint64_t low_ones(size_t n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

size_t bits_load(uint64_t *to, const uint64_t *source, size_t from, size_t n)
{
    size_t set = 0;
    for (size_t done = 0; done < n; done += 64) {
        size_t count = n - done < 64 ? n - done : 64;
        size_t word = (from + done) / 64, shift = (from + done) % 64;
        uint64_t bits = UINT64_MAX;
        if (source) {
            bits = source[word] >> shift;
            if (shift + count > 64)
                bits |= source[word + 1] << (64 - shift);
        }
        to[done / 64] = bits & low_ones(count);
        set += (size_t)__builtin_popcountll(to[done / 64]);
    }
    return set;
}

void bits_store(uint64_t *to, size_t at, const uint64_t *source, size_t n)
{
    for (size_t done = 0; done < n; done += 64) {
        size_t count = n - done < 64 ? n - done : 64;
        size_t word = (at + done) / 64, shift = (at + done) % 64;
        uint64_t mask = low_ones(count), bits = source[done / 64] & mask;
        to[word] = (to[word] & ~(mask << shift)) | bits << shift;
        if (shift + count > 64)
            to[word + 1] = (to[word + 1] & ~(mask >> (64 - shift))) | bits >> (64 - shift);
    }
}
