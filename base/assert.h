/* base/assert.h: programming errors stop the program, in every build.
 *
 * PRE states what a caller must have made true, POST what a function promises, INVARIANT what always holds.
 * Bad input, limits, peers and memory are no programming errors: they return a status (base/error.h).
 */
#ifndef PROMSPLIT_BASE_ASSERT_H
#define PROMSPLIT_BASE_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

#define ASSERT_AS_(kind, condition)                                                                                    \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) {                                                                       \
            fprintf(stderr, "%s:%d: %s: %s does not hold: %s\n", __FILE__, __LINE__, __func__, kind, #condition);      \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define PRE(condition)       ASSERT_AS_("precondition", condition)
#define POST(condition)      ASSERT_AS_("postcondition", condition)
#define INVARIANT(condition) ASSERT_AS_("invariant", condition)

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
