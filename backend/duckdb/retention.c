/* backend/duckdb/retention.c: drops the oldest partitions: by age, globally or by rules over label sets, and by size.
 *
 * Age is counted from the newest sample of the store, as Prometheus counts from its newest block; a partition goes when
 * all of it is beyond, so samples stay visible to every reader until they are gone for all. Rows go in transactions of
 * removal.h, oldest first, of a partition each or of as many small ones as DROP_ROWS allows; a crash leaves the state
 * between two of them. A transaction deletes everything older than the end of its last partition, not only what it
 * counted, and appends refuse what is older than the retention: a late row does not stay behind.
 *
 * Rollups that are kept longer than their samples stay behind when those go, in the same transaction, which also stores
 * the horizon (rollup.h): raw samples and rollups, or rollups alone, never neither. Samples wait for their rollups to
 * be made. What is older than the rollups' own age goes by partitions, too.
 *
 * Size is that of the file's blocks in use and of the log. Deleted rows give their blocks back at the next checkpoint,
 * if no reader's old snapshot needs them, else at a later one; until then the table's own count of rows tells how much
 * of what is in use is already on its way out. What a partition holds is its share of the samples.
 */
#include <stdlib.h>

#include "backend/duckdb/matching.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/removal.h"
#include "backend/duckdb/schema.h"
#include "base/array.h"
#include "base/assert.h"

/* Rows of one transaction, unless a single partition has more: bounds how long appends wait for its commit. */
#define DROP_ROWS UINT64_C(500000)

/* What one round looks at. `until` is by class: the rules, then what none of them matches; earlier times are dropped.
 */
struct round {
    struct duckdb_store *store;
    struct cancel *cancel;
    int64_t *until;
    size_t classes_n;
    int64_t rollups_until_ms; /* of rollups that outlive their samples; INT64_MIN: none goes */
    int64_t cap_ms;           /* of all classes, in the transaction under way */
    bool dropped;
};

/* A partition that has rows to drop. */
struct old_partition {
    int64_t number;
    uint64_t rows_n, chunks_n, samples_n; /* rows of both tables; those of chunks among them */
};

struct old_partitions {
    struct old_partition *at; /* oldest first */
    size_t n, capacity;
};

static int64_t before(int64_t time_ms, int64_t by_ms)
{
    int64_t earlier;
    return __builtin_sub_overflow(time_ms, by_ms, &earlier) ? INT64_MIN : earlier;
}

/* --- what may be written --- */

static int64_t class_time_ms(const struct retention *keep, size_t class)
{
    return class < keep->rules_n ? keep->rules[class].time_ms : keep->time_ms;
}

static bool matches(struct regex_engine regex, const struct matcher *matcher, struct labels labels)
{
    struct str value = labels_get(labels, matcher->name);
    bool negated = matcher->op == MATCH_NOT_EQUAL || matcher->op == MATCH_NOT_REGEX;
    bool is_regex = matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
    bool equal = is_regex ? regex.matches(regex.arg, matcher->value, value) : str_eq(value, matcher->value);
    return equal != negated;
}

static size_t class_of(struct duckdb_store *store, struct labels labels)
{
    const struct retention *keep = &store->retention.keep;
    struct regex_engine regex = regex_of(&store->regex);
    for (size_t i = 0; i < keep->rules_n; i++) {
        const struct expr_selector *selector = &keep->rules[i].selector;
        bool all = true;
        for (size_t k = 0; all && k < selector->matchers_n; k++)
            all = matches(regex, &selector->matchers[k], labels);
        if (all)
            return i;
    }
    return keep->rules_n;
}

int64_t retention_suspect_ms(struct duckdb_store *store)
{
    const struct retention *keep = &store->retention.keep;
    int64_t newest_ms = store->writer.totals.max_ms, suspect_ms = INT64_MIN;
    for (size_t i = 0; i <= keep->rules_n; i++) {
        int64_t time_ms = class_time_ms(keep, i);
        if (time_ms && before(newest_ms, time_ms) > suspect_ms)
            suspect_ms = before(newest_ms, time_ms);
    }
    int64_t raw_from_ms = atomic_load(&store->rollups.raw_from_ms);
    if (raw_from_ms != ROLLUP_NEVER && raw_from_ms > suspect_ms)
        suspect_ms = raw_from_ms;
    return suspect_ms;
}

int64_t retention_oldest_ms(struct duckdb_store *store, struct labels labels)
{
    int64_t time_ms = class_time_ms(&store->retention.keep, class_of(store, labels));
    int64_t oldest_ms = time_ms ? before(store->writer.totals.max_ms, time_ms) : INT64_MIN;
    int64_t raw_from_ms = atomic_load(&store->rollups.raw_from_ms);
    return raw_from_ms != ROLLUP_NEVER && raw_from_ms > oldest_ms ? raw_from_ms : oldest_ms;
}

/* --- one transaction --- */

/* The condition, beginning with AND, on series to be of a class: the first rule that takes a series decides. */
static void write_class(struct sql *sql, const struct retention *keep, size_t class)
{
    for (size_t k = 0; k <= class && k < keep->rules_n; k++) {
        sql_words(sql, k < class ? " AND series NOT IN (" : " AND series IN (");
        sql_series_matching(sql, keep->rules[k].selector.matchers, keep->rules[k].selector.matchers_n, EVER);
        sql_words(sql, ")");
    }
}

/* The condition on rows with a column of times, and a column series, to be dropped. */
static void write_old(struct sql *sql, const struct round *round, const char *time)
{
    const struct retention *keep = &round->store->retention.keep;
    sql_words(sql, time);
    sql_words(sql, " < ");
    sql_i64(sql, round->cap_ms);
    if (round->classes_n == 1)
        return;
    sql_words(sql, " AND (false");
    for (size_t i = 0; i < round->classes_n; i++) {
        int64_t until = round->until[i] < round->cap_ms ? round->until[i] : round->cap_ms;
        if (until == INT64_MIN)
            continue;
        sql_words(sql, " OR (");
        sql_words(sql, time);
        sql_words(sql, " < ");
        sql_i64(sql, until);
        write_class(sql, keep, i);
        sql_words(sql, ")");
    }
    sql_words(sql, ")");
}

/* The same of recent, or histograms. */
static void write_old_recent(struct sql *sql, const struct round *round, uint64_t batch)
{
    write_old(sql, round, "ts");
    sql_words(sql, " AND ");
    schema_within(sql, batch);
}

static enum status forget_rollups(struct removal *r, const struct round *round, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < round->classes_n; i++) {
        struct sql class;
        sql_init(&class, SQL_BYTES_MAX);
        write_class(&class, &round->store->retention.keep, i);
        status = sql_status(&class, reterr);
        if (status == OK)
            status = rollup_forget(r->connection, round->until[i] < round->cap_ms ? round->until[i] : round->cap_ms,
                                   strbuf_view(&class.text).ptr, r->cancel, reterr);
        sql_release(&class);
    }
    return status;
}

static enum status take_out(struct removal *r, const struct round *round, struct error *reterr)
{
    struct sql doomed, chunks, recent, histograms;
    sql_init(&doomed, SQL_BYTES_MAX);
    sql_words(&doomed, "SELECT series, sum(n)::BIGINT AS n FROM (SELECT series, n FROM chunks() WHERE ");
    write_old(&doomed, round, "tmin");
    sql_words(&doomed, " UNION ALL SELECT series, 1 AS n FROM recent WHERE ");
    write_old_recent(&doomed, round, r->batch);
    sql_words(&doomed, " UNION ALL SELECT series, 1 AS n FROM histograms WHERE ");
    write_old_recent(&doomed, round, r->batch);
    sql_words(&doomed, ") GROUP BY series");
    enum status status = removal_doom(r, &doomed, reterr);
    if (status != OK)
        return status;
    sql_init(&chunks, SQL_BYTES_MAX);
    sql_words(&chunks, "DELETE FROM stored_chunks WHERE ");
    write_old(&chunks, round, "tmin");
    status = removal_change(r, &chunks, NULL, reterr);
    if (status == OK)
        status = round->store->retention.keep.rollups_ms
                     ? rollup_outlive(r->connection, round->cap_ms, r->cancel, reterr)
                     : forget_rollups(r, round, reterr);
    if (status != OK)
        return status;
    sql_init(&recent, SQL_BYTES_MAX);
    sql_words(&recent, "DELETE FROM recent WHERE ");
    write_old_recent(&recent, round, r->batch);
    status = removal_change(r, &recent, &r->recent_n, reterr);
    if (status != OK)
        return status;
    sql_init(&histograms, SQL_BYTES_MAX);
    write_old_recent(&histograms, round, r->batch);
    return removal_delete_histograms(r, &histograms, reterr);
}

/* Drops all that is older than the end of partition `last`, as far as its class lets it. */
static enum status drop(struct round *round, int64_t last, size_t partitions_n, struct error *reterr)
{
    struct retention_state *state = &round->store->retention;
    struct removal r;
    struct duckdb_store *store = round->store;
    bool outlived = state->keep.rollups_ms > 0;
    round->cap_ms = partitions_span(last + 1, last + 1).min_ms;
    if (outlived && round->cap_ms > atomic_load(&store->rollups.raw_from_ms))
        atomic_store(&store->rollups.raw_from_ms, round->cap_ms); /* if this fails: what is so old is refused anyway */
    enum status status = removal_begin(&r, store, round->cancel, reterr);
    r.old_ms = round->cap_ms;
    if (status == OK)
        status = removal_end(&r, take_out(&r, round, reterr), reterr);
    if (status != OK)
        return status;
    if (outlived)
        atomic_store(&store->backend.raw_from_ms, round->cap_ms);
    round->dropped = round->dropped || r.samples_n > 0;
    atomic_fetch_add_explicit(&state->partitions_n, partitions_n, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->samples_n, r.samples_n, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->series_n, r.series_n, memory_order_relaxed);
    return OK;
}

/* --- which partitions --- */

static enum status take_partitions(struct old_partitions *found, duckdb_data_chunk chunk, struct error *reterr)
{
    const int64_t *column[4];
    for (idx_t i = 0; i < ARRAY_LENGTH(column); i++)
        column[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (!array_reserve(&found->at, &found->capacity, found->n + n, sizeof *found->at))
        return error_set(reterr, E_NOMEM, "no memory for a list of partitions");
    for (idx_t i = 0; i < n; i++)
        found->at[found->n++] = (struct old_partition){column[0][i], (uint64_t)column[1][i], (uint64_t)column[2][i],
                                                       (uint64_t)column[3][i]};
    return OK;
}

static enum status find_partitions(const struct round *round, struct old_partitions *found, struct error *reterr)
{
    struct connection *connection = round->store->compactor.connection;
    uint64_t batch = writer_totals(&round->store->writer).batch;
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT part, count(*)::BIGINT, sum(chunk)::BIGINT, sum(n)::BIGINT FROM (SELECT ");
    partition_write(&sql, "tmin");
    sql_words(&sql, " AS part, 1 AS chunk, n FROM chunks() WHERE ");
    write_old(&sql, round, "tmin");
    sql_words(&sql, " UNION ALL SELECT ");
    partition_write(&sql, "ts");
    sql_words(&sql, ", 0, 1 FROM recent WHERE ");
    write_old_recent(&sql, round, batch);
    sql_words(&sql, " UNION ALL SELECT ");
    partition_write(&sql, "ts");
    sql_words(&sql, ", 0, 1 FROM histograms WHERE ");
    write_old_recent(&sql, round, batch);
    sql_words(&sql, ") GROUP BY part ORDER BY part");
    enum status status = sql_status(&sql, reterr);
    unsigned entered = catalogue_enter(&round->store->writer.catalogue);
    if (status == OK)
        status = schema_read(connection, strbuf_view(&sql.text).ptr, round->cancel, &rows, reterr);
    catalogue_leave(&round->store->writer.catalogue, entered);
    sql_release(&sql);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while (status == OK && (status = engine_fetch(connection, &rows, round->cancel, &chunk, reterr)) == OK && chunk) {
        status = take_partitions(found, chunk, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}

/* The first n of the partitions, in transactions of bounded size. */
static enum status drop_first(struct round *round, const struct old_partitions *found, size_t n, struct error *reterr)
{
    enum status status = OK;
    for (size_t first = 0, i = 0; status == OK && first < n; first = i) {
        uint64_t rows_n = 0;
        for (i = first; i < n && (i == first || rows_n + found->at[i].rows_n <= DROP_ROWS); i++)
            rows_n += found->at[i].rows_n;
        status = drop(round, found->at[i - 1].number, i - first, reterr);
    }
    return status;
}

/* --- by age --- */

static int64_t latest_until(const struct round *round)
{
    int64_t latest = INT64_MIN;
    for (size_t i = 0; i < round->classes_n; i++)
        latest = round->until[i] > latest ? round->until[i] : latest;
    return latest;
}

/* The beginning of the partition that is time_ms old; *due_ms becomes no later than when the next one is. */
static int64_t bound_of(int64_t newest_ms, int64_t time_ms, int64_t *due_ms)
{
    int64_t part = partition_of(before(newest_ms, time_ms)), due;
    if (!__builtin_add_overflow(partitions_span(part + 1, part + 1).min_ms, time_ms, &due) && due < *due_ms)
        *due_ms = due;
    return partitions_span(part, part).min_ms;
}

/* Fills `until`; when the next partition of any class will be beyond, or rollups, goes to *ret_due_ms. */
static void find_bounds(struct round *round, int64_t newest_ms, int64_t *ret_due_ms)
{
    const struct retention *keep = &round->store->retention.keep;
    *ret_due_ms = INT64_MAX;
    for (size_t i = 0; i < round->classes_n; i++) {
        int64_t time_ms = class_time_ms(keep, i);
        round->until[i] = time_ms ? bound_of(newest_ms, time_ms, ret_due_ms) : INT64_MIN;
    }
    round->rollups_until_ms = keep->rollups_ms ? bound_of(newest_ms, keep->rollups_ms, ret_due_ms) : INT64_MIN;
}

/* Before which time samples may go, if their rollups are to stay: there must be some first. */
static enum status limit_cap(struct round *round, bool *ret_held, struct error *reterr)
{
    struct duckdb_store *store = round->store;
    int64_t settled_ms;
    *ret_held = false;
    if (store->retention.keep.rollups_ms == 0 || round->cap_ms == INT64_MIN)
        return OK;
    enum status status =
        rollup_settled(store->compactor.connection, writer_totals(&store->writer).batch, &settled_ms, reterr);
    if (status != OK)
        return status;
    *ret_held = settled_ms < round->cap_ms;
    round->cap_ms = *ret_held ? settled_ms : round->cap_ms;
    return OK;
}

/* Takes out what rollups tell of samples before until_ms that are gone. */
static enum status take_out_rollups(struct removal *r, int64_t until_ms, struct error *reterr)
{
    int64_t raw_from_ms;
    struct sql doomed;
    enum status status = rollup_horizon(r->connection, &raw_from_ms, reterr);
    if (status != OK)
        return status;
    until_ms = until_ms < raw_from_ms ? until_ms : raw_from_ms;
    if (until_ms == ROLLUP_NEVER)
        return OK;
    r->old_ms = until_ms;
    sql_init(&doomed, SQL_BYTES_MAX);
    sql_words(&doomed, "SELECT series, 0::BIGINT AS n FROM (");
    rollup_write_alone(&doomed, r->store->rollups.coarsest_ms, (struct time_span){INT64_MIN, until_ms - 1});
    sql_words(&doomed, ") GROUP BY series");
    status = removal_doom(r, &doomed, reterr);
    return status == OK && r->doomed_n > 0 ? rollup_forget(r->connection, until_ms, "", r->cancel, reterr) : status;
}

static enum status drop_rollups(struct round *round, int64_t until_ms, struct error *reterr)
{
    struct duckdb_store *store = round->store;
    struct removal r;
    enum status status = removal_begin(&r, store, round->cancel, reterr);
    if (status == OK)
        status = removal_end(&r, take_out_rollups(&r, until_ms, reterr), reterr);
    if (status != OK)
        return status;
    round->dropped = round->dropped || r.doomed_n > 0;
    atomic_fetch_add_explicit(&store->retention.series_n, r.series_n, memory_order_relaxed);
    return rollup_look(&store->rollups, store->compactor.connection, reterr);
}

static enum status drop_by_age(struct round *round, struct error *reterr)
{
    struct retention_state *state = &round->store->retention;
    int64_t newest_ms = writer_totals(&round->store->writer).max_ms, due_ms;
    struct old_partitions found = {.at = NULL};
    bool held;
    if (newest_ms < atomic_load_explicit(&state->due_ms, memory_order_relaxed))
        return OK;
    find_bounds(round, newest_ms, &due_ms);
    round->cap_ms = latest_until(round);
    enum status status = limit_cap(round, &held, reterr);
    if (status == OK && round->cap_ms != INT64_MIN)
        status = find_partitions(round, &found, reterr);
    if (status == OK)
        status = drop_first(round, &found, found.n, reterr);
    free(found.at);
    if (status == OK)
        status = atomic_load(&round->store->rollups.oldest_ms) < round->rollups_until_ms
                     ? drop_rollups(round, round->rollups_until_ms, reterr)
                     : OK;
    if (status == OK && !held)
        atomic_store_explicit(&state->due_ms, due_ms, memory_order_relaxed);
    return status;
}

/* --- by size --- */

/* How many of the partitions must go so that what is in use comes down to the limit. */
static size_t count_over(const struct old_partitions *all, double used_bytes, double max_bytes, uint64_t held_rows_n)
{
    uint64_t chunks_n = 0, samples_n = 0;
    for (size_t i = 0; i < all->n; i++) {
        chunks_n += all->at[i].chunks_n;
        samples_n += all->at[i].samples_n;
    }
    if (chunks_n < held_rows_n)
        used_bytes *= (double)chunks_n / (double)held_rows_n;
    double each = samples_n ? used_bytes / (double)samples_n : 0;
    size_t n = 0;
    for (; n < all->n && used_bytes > max_bytes; n++)
        used_bytes -= each * (double)all->at[n].samples_n;
    return n;
}

static enum status drop_by_size(struct round *round, struct error *reterr)
{
    struct duckdb_store *store = round->store;
    uint64_t max_bytes = store->retention.keep.size_bytes, used_bytes = 0, held_rows_n = 0;
    struct old_partitions all = {.at = NULL};
    if (max_bytes == 0)
        return OK;
    enum status status = engine_used_bytes(store->compactor.connection, &used_bytes, reterr);
    used_bytes += store_log_bytes(store);
    if (status != OK || used_bytes <= max_bytes)
        return status;
    int64_t newest = partition_of(writer_totals(&store->writer).max_ms);
    for (size_t i = 0; i < round->classes_n; i++)
        round->until[i] = INT64_MAX;
    round->cap_ms = INT64_MAX;
    status = engine_table_rows(store->compactor.connection, "stored_chunks", &held_rows_n, reterr);
    if (status == OK)
        status = find_partitions(round, &all, reterr);
    size_t over_n = status == OK ? count_over(&all, (double)used_bytes, (double)max_bytes, held_rows_n) : 0;
    while (over_n > 0 && all.at[over_n - 1].number >= newest)
        over_n--; /* the one that is written to stays */
    if (status == OK)
        status = drop_first(round, &all, over_n, reterr);
    free(all.at);
    return status;
}

/* --- when --- */

bool retention_due(struct duckdb_store *store)
{
    return writer_totals(&store->writer).max_ms >= atomic_load_explicit(&store->retention.due_ms, memory_order_relaxed);
}

void retention_look_again(struct duckdb_store *store)
{
    const struct retention *keep = &store->retention.keep;
    bool ages = false;
    for (size_t i = 0; i <= keep->rules_n; i++)
        ages = ages || class_time_ms(keep, i) > 0;
    atomic_store_explicit(&store->retention.due_ms, ages ? INT64_MIN : INT64_MAX, memory_order_relaxed);
}

enum status retention_run(struct duckdb_store *store, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct round round = {
        .store = store, .cancel = &c->cancel, .classes_n = store->retention.keep.rules_n + 1, .dropped = false};
    round.until = malloc(round.classes_n * sizeof *round.until);
    if (!round.until)
        return error_set(reterr, E_NOMEM, "no memory for retention");
    pthread_mutex_lock(&c->running);
    enum status status = drop_by_age(&round, reterr);
    if (status == OK)
        status = drop_by_size(&round, reterr);
    if (round.dropped)
        compactor_checkpoint(store);
    pthread_mutex_unlock(&c->running);
    free(round.until);
    if (status != OK)
        atomic_fetch_add_explicit(&store->retention.failures_n, 1, memory_order_relaxed);
    return status;
}

enum status retention_forget_rollups(struct duckdb_store *store, struct error *reterr)
{
    struct round round = {.store = store, .cancel = &store->compactor.cancel};
    pthread_mutex_lock(&store->compactor.running);
    enum status status = drop_rollups(&round, INT64_MAX, reterr);
    if (status == OK)
        status = rollup_settle_horizon(store, reterr);
    if (status == OK && round.dropped)
        compactor_checkpoint(store);
    pthread_mutex_unlock(&store->compactor.running);
    return status;
}

enum status retention_init(struct duckdb_store *store, const struct retention *keep, struct error *reterr)
{
    enum status status = OK;
    PRE(keep->rollups_ms == 0 ||
        (keep->time_ms > 0 && keep->rollups_ms >= keep->time_ms && keep->rules_n == 0 && keep->size_bytes == 0));
    store->retention.keep = *keep;
    retention_look_again(store);
    for (size_t i = 0; status == OK && i < keep->rules_n; i++) {
        const struct expr_selector *selector = &keep->rules[i].selector;
        status = match_check(&store->regex, selector->matchers, selector->matchers_n, reterr);
        if (status != OK)
            error_prefix(reterr, "retention rule %zu: ", i + 1);
    }
    return status;
}
