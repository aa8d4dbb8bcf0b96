/* base/array.c: see array.h. */
#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 16

bool array_reserve(void *array, size_t *capacity, size_t wanted, size_t each)
{
    if (wanted <= *capacity)
        return true;
    if (wanted > SIZE_MAX / 2 / each)
        return false;
    size_t room = wanted < ROOM_MIN ? ROOM_MIN : 2 * wanted;
    void *at; /* the pointer's own type is not known here, so it is copied */
    memcpy(&at, array, sizeof at);
    at = realloc(at, room * each);
    if (!at)
        return false;
    memcpy(array, &at, sizeof at);
    *capacity = room;
    return true;
}
