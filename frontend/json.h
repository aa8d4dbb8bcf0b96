/* frontend/json.h: answers of the Prometheus HTTP API, written fast and bounded.
 *
 * Source: Prometheus web/api/v1/{api,json_codec}.go, util/jsonutil. "resultType" precedes "result"; values are strings,
 * timestamps numbers. Memory: appends to the caller's builder, whose sticky error tells. Threads: no state.
 */
#ifndef PROMSPLIT_FRONTEND_JSON_H
#define PROMSPLIT_FRONTEND_JSON_H

#include "backend/backend.h"
#include "base/json_read.h"
#include "base/strbuf.h"

/* {"status":"success","data":  … then json_success_end: …,"warnings":[…]}: ten, and how many more there are, those
 * included that an upstream left out in the same way. */
void json_success_begin(struct strbuf *out);
void json_success_end(struct strbuf *out, const struct str *warnings, size_t warnings_n, const struct str *infos,
                      size_t infos_n);
void json_error(struct strbuf *out, const struct error *error);

void json_labels(struct strbuf *out, struct labels labels); /* {"__name__":"up","job":"a"} */
/* {"resultType":"matrix","result":[…]} ; at most `limit` series (0: all) */
void json_matrix(struct strbuf *out, const struct grid_result *result, size_t limit);
/* {"resultType":"vector","result":[…]} at the grid's only step */
void json_vector(struct strbuf *out, const struct grid_result *result, size_t limit);
/* {"resultType":"scalar","result":[time,"value"]} likewise, of the one series there is */
void json_scalar(struct strbuf *out, const struct grid_result *result);
void json_strings(struct strbuf *out, const struct str *at, size_t n); /* ["a","b"] */

#endif
