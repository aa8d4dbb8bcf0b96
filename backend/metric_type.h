/* backend/metric_type.h: the types of metrics as texts, in the words of OpenMetrics and Prometheus's API.
 *
 * Threads: no state.
 */
#ifndef PROMSPLIT_BACKEND_METRIC_TYPE_H
#define PROMSPLIT_BACKEND_METRIC_TYPE_H

#include "backend/backend.h"

static inline const char *metric_type_text(enum metric_type type)
{
    static const char *const texts[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};
    return type <= METRIC_STATESET ? texts[type] : texts[METRIC_UNKNOWN];
}

/* What is none of them is unknown. */
static inline enum metric_type metric_type_of(struct str text)
{
    for (enum metric_type type = METRIC_COUNTER; type <= METRIC_STATESET; type++)
        if (str_eq(text, str_from(metric_type_text(type))))
            return type;
    return METRIC_UNKNOWN;
}

#endif
