/* backend/duckdb/histograms.c: see histograms.h. */
#include "backend/duckdb/histograms.h"

#include "backend/duckdb/matching.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"

/* --- writing --- */

static bool append_row(duckdb_appender appender, const struct staged_histogram *histogram, uint64_t batch)
{
    const struct histogram_sample *sample = &histogram->sample;
    return duckdb_append_uint32(appender, histogram->series->id) == DuckDBSuccess &&
           duckdb_append_int64(appender, sample->time_ms) == DuckDBSuccess &&
           duckdb_append_blob(appender, sample->packed.ptr, sample->packed.len) == DuckDBSuccess &&
           duckdb_append_int64(appender, (int64_t)batch) == DuckDBSuccess &&
           duckdb_appender_end_row(appender) == DuckDBSuccess;
}

enum status histograms_write(struct connection *connection, const struct staged_histogram *at, size_t n, uint64_t batch,
                             struct error *reterr)
{
    duckdb_appender appender = NULL;
    if (n == 0)
        return OK;
    bool done =
        duckdb_appender_create_ext(connection->handle, ENGINE_CATALOG, NULL, "histograms", &appender) == DuckDBSuccess;
    for (size_t i = 0; done && i < n; i++)
        done = append_row(appender, &at[i], batch);
    done = done && duckdb_appender_close(appender) == DuckDBSuccess;
    enum status status = done ? OK : engine_error(duckdb_appender_error(appender), NULL, reterr);
    duckdb_appender_destroy(&appender);
    return status;
}

/* --- who has some --- */

/* False if the matcher asks for one value, and no series of that value has any: so most selectors are done with. */
static bool may_have(const struct catalogue *c, const struct matcher *matcher)
{
    uint32_t name, value;
    if (matcher->op != MATCH_EQUAL || matcher->value.len == 0)
        return true;
    return catalogue_find_name(c, matcher->name, &name) && catalogue_find_value(c, name, matcher->value, &value) &&
           c->values[value].has_histograms;
}

static bool any_has(struct catalogue *c, const struct series_set *set)
{
    bool found = false;
    pthread_rwlock_rdlock(&c->lock);
    for (size_t i = 0; !found && i < set->n; i++) {
        const struct known_series *series = catalogue_at(c, set->ids[i]);
        found = series && series->has_histograms;
    }
    pthread_rwlock_unlock(&c->lock);
    return found;
}

bool store_has_histograms(struct backend *backend, const struct expr_selector *selector, struct time_span span)
{
    struct duckdb_store *store = store_of(backend);
    struct catalogue *c = &store->writer.catalogue;
    struct series_set set = {.n = 0};
    pthread_rwlock_rdlock(&c->lock);
    bool may = c->has_histograms;
    for (size_t i = 0; may && i < selector->matchers_n; i++)
        may = may_have(c, &selector->matchers[i]);
    pthread_rwlock_unlock(&c->lock);
    if (!may)
        return false;
    unsigned entered = catalogue_enter(c);
    /* A selector that cannot be matched here is refused where it is run. */
    if (match_series(c, &store->regex, selector->matchers, selector->matchers_n, span, &set, NULL) == OK)
        may = any_has(c, &set);
    series_set_release(&set);
    catalogue_leave(c, entered);
    return may;
}
