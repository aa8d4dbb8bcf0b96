/* remote/otlp.h: OTLP metrics, protobuf or JSON, as Prometheus's own receiver stores them.
 *
 * gauge, sum       samples of the metric; a monotonic sum is a counter and ends in _total
 * histogram        _bucket with le, _sum (if it is there), _count
 * summary          samples with quantile, _sum, _count
 * exponential      native histograms (scales from -4; those above 8 are brought down to it), with a zero threshold of
 *                  1e-128, judged as in remote write
 * resource         service.namespace/service.name is job, service.instance.id instance, the others target_info
 * Names get underscores for what is no letter, digit or colon, and endings for unit and type; of labels, too. Data
 * points without a recorded value are staleness markers. Exemplars of sums, of exponential histograms and, each with
 * its bucket, of histograms are handed on with the labels trace_id, span_id and the filtered attributes; without those
 * if together they have more than 128 characters. Those of gauges are counted and left out.
 *
 * What Prometheus would not take (delta temporality, a metric without data) is left out, its points are counted and the
 * first reason is kept; all else is stored. Exponential histograms that cannot be native ones are counted as the
 * request's invalid histograms.
 *
 * Memory   in the arena; names and values may be views of the message. Threads: no shared state.
 * Errors   E_BAD_DATA: no valid protobuf, nothing is kept; E_TOO_LARGE at the arena's cap.
 * Source   opentelemetry-proto metrics/v1; Prometheus storage/remote/otlptranslator (strategy
 *          UnderscoreEscapingWithSuffixes), prometheus/otlptranslator.
 */
#ifndef PROMSPLIT_REMOTE_OTLP_H
#define PROMSPLIT_REMOTE_OTLP_H

#include "remote/write_request.h"

struct otlp_request {
    struct write_request request;
    size_t points_n;        /* data points in the message */
    size_t rejected_points; /* left out */
    struct error rejected;  /* why the first was; OK if none */
};

MUST_USE enum status otlp_unpack(struct arena *arena, struct str message, const struct write_limits *limits,
                                 struct otlp_request *ret_request, struct error *reterr);

/* The protobuf message that a text of OTLP/JSON stands for. Fields may be named in lowerCamelCase or snake_case; those
 * that are not read are passed over, also when their values are odd. 64-bit numbers are texts or numbers, ids are
 * hexadecimal, enums names or numbers, null is a field that is not there. `out` is initialised here, its bound is in
 * proportion to the text; the caller releases it, on failure, too. E_BAD_DATA names the field and the place; E_NOMEM.
 */
MUST_USE enum status otlp_from_json(struct str text, struct strbuf *out, struct error *reterr);

/* ExportMetricsServiceResponse: how many points were not stored, and why; both zero: all were. */
void otlp_response(struct strbuf *out, size_t rejected_points, struct str why);
void otlp_response_json(struct strbuf *out, size_t rejected_points, struct str why);

/* --- names: otlp_name.c --- */

enum otlp_kind {
    OTLP_GAUGE,
    OTLP_COUNTER, /* monotonic sum */
    OTLP_OTHER
};

/* A metric's name with its endings; a unit's words; a label's name. In the arena; ptr NULL without memory. Names of
 * which nothing remains are empty. */
struct str otlp_metric_name(struct arena *arena, struct str name, struct str unit, enum otlp_kind kind);
struct str otlp_unit_name(struct arena *arena, struct str unit);
struct str otlp_label_name(struct arena *arena, struct str name);

#endif
