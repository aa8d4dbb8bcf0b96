/* promql/functions.c: see functions.h. The rows are functions.def. */
#include "promql/functions.h"

#include "base/assert.h"

/* Short names for the table's columns. */
#define NONE VALUE_NONE
#define S    VALUE_SCALAR
#define T    VALUE_STRING
#define V    VALUE_VECTOR
#define M    VALUE_MATRIX
enum {
    KEEPS_NAME = 1,
    AT_UNSAFE = 2,
    EXPERIMENTAL = 4
};

#define FIRST_(first, ...) first
#define COUNT_(...)        (sizeof((int[]){__VA_ARGS__}) / sizeof(int))
#define ARGUMENTS_(...)    (FIRST_(__VA_ARGS__, 0) == NONE ? 0 : COUNT_(__VA_ARGS__))
#define HAS_(flags, flag)  (((flags) & (flag)) != 0)

static const struct function FUNCTIONS[FN_MAX] = {
#define FUNCTION(ID, NAME, RESULT, VARIADIC, FLAGS, ...)                                                               \
    [FN_##ID] = {                                                                                                      \
        .id = FN_##ID,                                                                                                 \
        .name = STR_STATIC(NAME),                                                                                      \
        .args = {__VA_ARGS__},                                                                                         \
        .args_n = ARGUMENTS_(__VA_ARGS__),                                                                             \
        .variadic = VARIADIC,                                                                                          \
        .result = RESULT,                                                                                              \
        .keeps_name = HAS_(FLAGS, KEEPS_NAME),                                                                         \
        .at_unsafe = HAS_(FLAGS, AT_UNSAFE),                                                                           \
        .experimental = HAS_(FLAGS, EXPERIMENTAL),                                                                     \
    },
#include "promql/functions.def"
#undef FUNCTION
};

const struct function *function_find(struct str name)
{
    size_t low = 0, high = FN_MAX;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(name, FUNCTIONS[middle].name);
        if (order == 0)
            return &FUNCTIONS[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct function *function_get(enum function_id id)
{
    PRE((unsigned)id < FN_MAX);
    return &FUNCTIONS[id];
}
