/* base/array.h: room in arrays that grow.
 *
 * Ownership  the array is the caller's, who frees it with free. Threads  whoever holds the array.
 * Limits     none here: a caller whose array a peer or a user can make grow has one of its own.
 */
#ifndef PROMSPLIT_BASE_ARRAY_H
#define PROMSPLIT_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Room for `wanted` elements of `each` bytes in all, and for as many again if it must grow, so that adding one by one
 * costs what copying them twice does. `array` is the address of the array's pointer, which may change with *capacity;
 * false: memory is short, and neither has changed. */
MUST_USE bool array_reserve(void *array, size_t *capacity, size_t wanted, size_t each);

#endif
