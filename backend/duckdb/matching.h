/* backend/duckdb/matching.h: the series that matchers choose, out of the catalogue's index.
 *
 * The matcher that leaves fewest series gives the candidates, from its values' postings; the others are looked at
 * candidate by candidate. A regular expression is asked once for each different value: of its label, or of the
 * candidates' where another matcher is cheaper. So the cost is that of the narrowest matcher's series, and of all
 * values of a label where only a regular expression narrows.
 *
 * Source: Prometheus's rule for absent labels: a matcher takes a series without the label if it takes the empty text.
 * Threads: any; the caller has entered the catalogue (catalogue_enter).
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_MATCHING_H
#define PROMSPLIT_BACKEND_DUCKDB_MATCHING_H

#include "backend/duckdb/catalogue.h"
#include "backend/duckdb/regex.h"
#include "planner/grid.h"

struct series_set {
    uint32_t *ids; /* each once, in no order; owned */
    size_t n, capacity;
};

void series_set_release(struct series_set *set); /* a zeroed one is fine */

/* All listed series that match every matcher and whose oldest and newest sample lie around or in the span: others have
 * no sample in it. E_BAD_DATA for a wrong regular expression. */
MUST_USE enum status match_series(struct catalogue *catalogue, struct regex_cache *regex, const struct matcher *at,
                                  size_t n, struct time_span span, struct series_set *ret_set, struct error *reterr);

/* No more series match than this, as far as equalities tell. */
uint64_t match_most(struct catalogue *catalogue, const struct matcher *at, size_t n);

/* E_BAD_DATA if a regular expression among the matchers is wrong. */
MUST_USE enum status match_check(struct regex_cache *regex, const struct matcher *at, size_t n, struct error *reterr);

#endif
