/* frontend/json.h: answers of the Prometheus HTTP API, written fast and bounded.
 *
 * Source: Prometheus web/api/v1/{api,json_codec}.go, util/jsonutil. "resultType" precedes "result"; values are strings,
 * timestamps numbers. Memory: appends to the caller's builder, whose sticky error tells. Threads: no state.
 */
#ifndef PROMSPLIT_FRONTEND_JSON_H
#define PROMSPLIT_FRONTEND_JSON_H

#include "backend/backend.h"
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

/* The byte ranges of the top-level members of a JSON object, without building anything: to pass a large "data" on as it
 * came. False if the text is no object; then no member is filled. Names are compared as written, the first of a name
 * counts, nesting deeper than 256 is refused. Only members whose names are asked for are filled. */
struct json_member {
    struct str name;  /* asked for */
    struct str value; /* the raw text of its value; ptr NULL: not there */
};
bool json_members(struct str object, struct json_member *members, size_t n);

/* The elements of an array, or the members of an object, one by one: *rest is the raw text at first, and is moved on.
 * False at the end and for text that is none. Names and texts come with their quotes; json_text takes them off. */
bool json_next(struct str *rest, struct str *ret_element);
bool json_next_member(struct str *rest, struct str *ret_name, struct str *ret_value);

/* Appends what a raw string value stands for; false if it is none. Half surrogates become U+FFFD. */
bool json_text(struct strbuf *out, struct str raw);

#endif
