/* frontend/metrics.h: the program's own metrics: counters, gauges and histograms from metrics.def, in the text format.
 *
 * Threads: any; counting is one relaxed atomic addition. Label values are copied, at most 23 bytes
 * each and 16 per metric; what is beyond is counted under "other".
 */
#ifndef PROMSPLIT_FRONTEND_METRICS_H
#define PROMSPLIT_FRONTEND_METRICS_H

#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

enum metric_id {
#define METRIC(id, kind, name, label, help) METRIC_ID_##id,
#define HISTOGRAM(id, name, help)           METRIC_ID_##id,
#include "frontend/metrics.def"
#undef METRIC
#undef HISTOGRAM
    METRIC_ID_MAX
};

struct metrics;

MUST_USE enum status metrics_new(struct metrics **ret_metrics, struct error *reterr);
void metrics_free(struct metrics *metrics);
void metric_add(struct metrics *metrics, enum metric_id id, const char *label_value /* NULL: no label */, int64_t n);
void metric_set(struct metrics *metrics, enum metric_id id, int64_t value); /* or a counter that is counted elsewhere */
void metric_observe_ms(struct metrics *metrics, enum metric_id id, double milliseconds);
void metrics_write(struct metrics *metrics, struct strbuf *out); /* text exposition format 0.0.4, process_* included */
void metrics_markdown(struct strbuf *out);                       /* the metrics in docs/operations.md */

#endif
