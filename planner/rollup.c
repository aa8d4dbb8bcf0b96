/* planner/rollup.c: see rollup.h. */
#include "planner/rollup.h"

#include "base/assert.h"

static const struct {
    enum function_id function;
    bool sums;
} FUNCTIONS[] = {
    {FN_RATE, false},
    {FN_INCREASE, false},
    {FN_DELTA, false},
    {FN_COUNT_OVER_TIME, false},
    {FN_RESETS, false},
    {FN_MIN_OVER_TIME, false},
    {FN_MAX_OVER_TIME, false},
    {FN_FIRST_OVER_TIME, false},
    {FN_LAST_OVER_TIME, false},
    {FN_PRESENT_OVER_TIME, false},
    {FN_ABSENT_OVER_TIME, false},
    {FN_TS_OF_FIRST_OVER_TIME, false},
    {FN_TS_OF_LAST_OVER_TIME, false},
    {FN_TS_OF_MIN_OVER_TIME, false},
    {FN_TS_OF_MAX_OVER_TIME, false},
    {FN_SUM_OVER_TIME, true},
    {FN_AVG_OVER_TIME, true},
};

static bool divides(int64_t level_ms, struct grid ends, int64_t window_ms)
{
    return window_ms % level_ms == 0 && ends.start_ms % level_ms == 0 &&
           (ends.steps == 1 || ends.step_ms % level_ms == 0);
}

struct rollup_use rollup_choose(const struct plan_options *options, enum function_id function, struct grid ends,
                                int64_t window_ms)
{
    struct rollup_use use = {.level_ms = 0};
    size_t at = 0;
    while (at < ARRAY_LENGTH(FUNCTIONS) && FUNCTIONS[at].function != function)
        at++;
    /* A closed window has the sample at its beginning, which is part of the sum of the bucket before. */
    if (window_ms == 0 || at == ARRAY_LENGTH(FUNCTIONS) || (FUNCTIONS[at].sums && options->rule == WINDOW_CLOSED))
        return use;
    for (size_t i = 0; use.level_ms == 0 && i < options->rollups_n; i++) {
        if (divides(options->rollups_ms[i], ends, window_ms))
            use = (struct rollup_use){options->rollups_ms[i], FUNCTIONS[at].sums};
    }
    return use;
}
