/* tests/unit/planner/planner_fixture.h: plans of query texts for the planner's tests.
 *
 * The capability table here is the whole of what docs/adding-a-backend.md asks of a backend, so these tests depend on
 * no engine.
 */
#ifndef PROMSPLIT_TESTS_PLANNER_FIXTURE_H
#define PROMSPLIT_TESTS_PLANNER_FIXTURE_H

#include "planner/split.h"

extern const struct capabilities full_capabilities;

/* A backend of selectors, the functions that most need samples, and plain aggregations: what residuals are tried with.
 */
extern const struct capabilities basic_capabilities;

/* 10:00 to 11:00 on the first day, every minute. */
#define FIXTURE_START_MS INT64_C(36000000)
#define FIXTURE_END_MS   INT64_C(39600000)
#define FIXTURE_STEP_MS  INT64_C(60000)

struct plan_options fixture_options(void); /* everything pushed, left-open windows, lookback 5m, subquery step 1m */

/* A regex engine that takes every pattern and matches nothing. */
extern const struct regex_engine fixture_regex;

/* Parses and splits; the grid is given by options->bounds and step_ms (0: instant at bounds.min_ms). */
MUST_USE enum status fixture_plan(struct arena *arena, struct str query, const struct plan_options *options,
                                  int64_t step_ms, struct split *ret_split, struct error *reterr);

/* The two halves of it. */
MUST_USE enum status fixture_parse(struct arena *arena, struct str query, const struct plan_options *options,
                                   int64_t step_ms, struct query_text *ret_query, struct error *reterr);
MUST_USE enum status fixture_split(struct arena *arena, const struct query_text *query,
                                   const struct plan_options *options, int64_t step_ms, struct split *ret_split,
                                   struct error *reterr);

struct str fixture_task_id(uint32_t index, void *arg); /* "1", "2", …; arg: a struct strbuf for the digits */

#endif
