/* remote/export_text.h: samples as text, in the forms that import_text.h reads.
 *
 * JSON lines keep every bit of a value, staleness markers included. OpenMetrics and Prometheus's format have one NaN
 * and no staleness markers: those are left out and counted.
 *
 * Memory   appends to the caller's builder, whose sticky error tells. Threads: no state.
 */
#ifndef PROMSPLIT_REMOTE_EXPORT_TEXT_H
#define PROMSPLIT_REMOTE_EXPORT_TEXT_H

#include "backend/backend.h"
#include "base/strbuf.h"
#include "remote/import_text.h"

/* Samples of one series; *markers_n grows by the staleness markers that the format has no word for. */
void export_samples(struct strbuf *out, enum import_format format, struct labels labels, const struct sample *samples,
                    size_t n, uint64_t *markers_n);

/* "# TYPE", and HELP and UNIT where there are any. Nothing for JSON. */
void export_metadata(struct strbuf *out, enum import_format format, const struct metric_metadata *metadata);

void export_end(struct strbuf *out, enum import_format format); /* "# EOF" of OpenMetrics */

/* What OpenMetrics calls the family of a metric, and its type: what is known of it (sorted by family), as far as the
 * name fits the type there; else the name itself, of unknown type. Texts are views of name and list. */
struct metric_metadata export_family(struct str name, const struct metric_metadata *known, size_t n);

#endif
