/* backend/duckdb/listing.c: series, label names and label values that match and have a sample in a span of time.
 *
 * The catalogue's index gives the series that match. Of most of them it also knows that they have a sample in the span:
 * their oldest or their newest is there. Those that reach beyond it at both ends may have a gap around it; the tables
 * are asked for these, and only if they can add to the answer.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/cardinality.h"
#include "backend/duckdb/matching.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/array.h"
#include "base/assert.h"
#include "planner/sql.h"

/* Labels of one listing; 1 M series of some ten labels fit. */
#define LISTING_BYTES_MAX ((size_t)1 << 30)

#define NAMED_MAX 1000u /* series that a statement names one by one */
#define BATCH     1024u /* series read with the catalogue's lock held */

/* A listing under way. */
struct listing {
    struct duckdb_store *store;
    struct catalogue *c;
    const struct series_query *query;
    struct cancel *cancel;
    struct series_set sure, doubtful; /* with a sample in the span; maybe with one */
    uint8_t *in_span;                 /* a bit for each number: the tables have a sample in the span */
    uint32_t numbers_n;               /* of them */
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for a listing of series or labels");
}

static bool add(struct series_set *set, uint32_t id)
{
    if (!array_reserve(&set->ids, &set->capacity, set->n + 1, sizeof *set->ids))
        return false;
    set->ids[set->n++] = id;
    return true;
}

static bool is_within(struct time_span span, int64_t time_ms)
{
    return time_ms >= span.min_ms && time_ms <= span.max_ms;
}

/* --- which series --- */

static bool bit_take(uint8_t *bits, uint32_t at)
{
    bool taken = bits[at / 8] >> (at % 8) & 1;
    bits[at / 8] |= (uint8_t)(1u << (at % 8));
    return !taken;
}

/* Sorts the series of a set into sure and doubtful ones. `seen`: bits of those there already; NULL: none are. */
static bool classify(struct listing *l, const struct series_set *set, uint8_t *seen, uint32_t seen_n)
{
    bool well = true;
    pthread_rwlock_rdlock(&l->c->lock);
    for (size_t i = 0; well && i < set->n; i++) {
        uint32_t id = set->ids[i];
        const struct known_series *series = catalogue_at(l->c, id);
        if (!series || (seen && (id >= seen_n || !bit_take(seen, id))))
            continue;
        bool sure = (!series->latest_open && is_within(l->query->span, series->latest_ms)) ||
                    (!series->oldest_open && is_within(l->query->span, series->oldest_ms));
        well = add(sure ? &l->sure : &l->doubtful, id);
    }
    pthread_rwlock_unlock(&l->c->lock);
    return well;
}

/* The series of all selectors, each once. */
static enum status choose(struct listing *l, struct error *reterr)
{
    const struct series_query *query = l->query;
    size_t rounds = query->selectors_n ? query->selectors_n : 1;
    pthread_rwlock_rdlock(&l->c->lock);
    l->numbers_n = l->c->n;
    pthread_rwlock_unlock(&l->c->lock);
    uint8_t *seen = rounds > 1 ? calloc(l->numbers_n / 8 + 1, 1) : NULL;
    enum status status = rounds > 1 && !seen ? no_memory(reterr) : OK;
    for (size_t i = 0; status == OK && i < rounds; i++) {
        const struct expr_selector *selector = query->selectors_n ? &query->selectors[i] : NULL;
        struct series_set set = {.n = 0};
        status = match_series(l->c, &l->store->regex, selector ? selector->matchers : NULL,
                              selector ? selector->matchers_n : 0, query->span, &set, reterr);
        if (status == OK && !classify(l, &set, seen, l->numbers_n))
            status = no_memory(reterr);
        series_set_release(&set);
        if (status == OK)
            status = cancel_check(l->cancel, reterr);
    }
    free(seen);
    return status;
}

/* --- asking the tables --- */

static void write_named(struct sql *sql, const struct series_set *set)
{
    if (set->n > NAMED_MAX)
        return;
    sql_words(sql, "series IN (");
    for (size_t i = 0; i < set->n; i++) {
        sql_words(sql, i ? ", " : "");
        sql_i64(sql, set->ids[i]);
    }
    sql_words(sql, ") AND ");
}

/* The numbers of series with samples in the span, or with buckets of samples that are gone, of all or of few; some more
 * than once. */
static void write_in_span(struct sql *sql, const struct duckdb_store *store, const struct series_set *set,
                          struct time_span span)
{
    if (rollup_may_outlive(store)) {
        rollup_write_alone(sql, store->rollups.finest_ms, span);
        sql_words(sql, " UNION ALL ");
    }
    sql_words(sql, "SELECT series FROM recent WHERE ");
    write_named(sql, set);
    sql_between(sql, "ts", span);
    sql_words(sql, " UNION ALL SELECT series FROM histograms WHERE ");
    write_named(sql, set);
    sql_between(sql, "ts", span);
    /* A chunk that lies around the span may have a gap there. */
    sql_words(sql, " UNION ALL SELECT series FROM chunks() WHERE ");
    write_named(sql, set);
    sql_meets(sql, span);
    sql_words(sql, " AND (");
    sql_between(sql, "tmin", span);
    sql_words(sql, " OR ");
    sql_between(sql, "tmax", span);
    sql_words(sql, " OR len(list_filter(ts, lambda t: ");
    sql_between(sql, "t", span);
    sql_words(sql, ")) > 0)");
}

static enum status mark_in_span(struct listing *l, struct connection *connection, const char *sql, struct error *reterr)
{
    duckdb_result rows;
    enum status status = schema_read(connection, sql, l->cancel, &rows, reterr);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while ((status = engine_fetch(connection, &rows, l->cancel, &chunk, reterr)) == OK && chunk) {
        const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
            if (ids[i] < l->numbers_n)
                bit_take(l->in_span, ids[i]);
        }
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}

/* Moves the doubtful series that have a sample in the span to the sure ones. */
static enum status resolve(struct listing *l, struct error *reterr)
{
    if (l->doubtful.n == 0)
        return OK;
    l->in_span = calloc(l->numbers_n / 8 + 1, 1);
    if (!l->in_span)
        return no_memory(reterr);
    struct connection *connection = NULL;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_in_span(&sql, l->store, &l->doubtful, l->query->span);
    enum status status = sql_status(&sql, reterr);
    if (status == OK)
        status = engine_acquire(&l->store->engine, l->cancel, &connection, reterr);
    if (status == OK)
        status = mark_in_span(l, connection, strbuf_view(&sql.text).ptr, reterr);
    engine_release(&l->store->engine, connection);
    sql_release(&sql);
    for (size_t i = 0; status == OK && i < l->doubtful.n; i++) {
        uint32_t id = l->doubtful.ids[i];
        if (id < l->numbers_n && (l->in_span[id / 8] >> (id % 8) & 1) && !add(&l->sure, id))
            status = no_memory(reterr);
    }
    l->doubtful.n = 0;
    return status;
}

/* Readers of the catalogue's texts are between these two. */
static unsigned listing_begin(struct listing *l, struct backend *backend, const struct series_query *query,
                              struct cancel *cancel)
{
    struct duckdb_store *store = store_of(backend);
    *l = (struct listing){.store = store, .c = &store->writer.catalogue, .query = query, .cancel = cancel};
    return catalogue_enter(l->c);
}

static void listing_end(struct listing *l, unsigned entered)
{
    catalogue_leave(l->c, entered);
    series_set_release(&l->sure);
    series_set_release(&l->doubtful);
    free(l->in_span);
}

/* --- series --- */

/* In the order of their labels; under the lock. */
static int compare_known(const struct catalogue *c, uint32_t a, uint32_t b)
{
    const struct known_series *x = catalogue_at(c, a), *y = catalogue_at(c, b);
    for (unsigned i = 0; i < x->values_n && i < y->values_n; i++) {
        if (x->values[i] == y->values[i])
            continue;
        struct label left = catalogue_label(c, x, i), right = catalogue_label(c, y, i);
        int order = str_cmp(left.name, right.name);
        return order ? order : str_cmp(left.value, right.value);
    }
    return x->values_n < y->values_n ? -1 : x->values_n > y->values_n;
}

/* A heap of the first `n` series so far, the last of them at the root. */
static void sink(const struct catalogue *c, uint32_t *heap, size_t n, size_t at)
{
    for (size_t below; (below = 2 * at + 1) < n; at = below) {
        if (below + 1 < n && compare_known(c, heap[below + 1], heap[below]) > 0)
            below++;
        if (compare_known(c, heap[at], heap[below]) >= 0)
            break;
        uint32_t id = heap[at];
        heap[at] = heap[below];
        heap[below] = id;
    }
}

/* Leaves the first `limit` series in the set, in no order. The lock is let go of now and then. */
static enum status keep_first(struct listing *l, size_t limit, struct error *reterr)
{
    struct series_set *set = &l->sure;
    enum status status = OK;
    pthread_rwlock_rdlock(&l->c->lock);
    for (size_t i = limit / 2 + 1; i-- > 0;)
        sink(l->c, set->ids, limit, i);
    for (size_t i = limit; status == OK && i < set->n; i++) {
        if (compare_known(l->c, set->ids[i], set->ids[0]) < 0) {
            set->ids[0] = set->ids[i];
            sink(l->c, set->ids, limit, 0);
        }
        if (i % BATCH != 0)
            continue;
        pthread_rwlock_unlock(&l->c->lock);
        if (status == OK)
            status = cancel_check(l->cancel, reterr);
        pthread_rwlock_rdlock(&l->c->lock);
    }
    pthread_rwlock_unlock(&l->c->lock);
    set->n = limit;
    return status;
}

static int compare_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

static enum status copy_series(struct listing *l, struct series_list *list, struct error *reterr)
{
    const struct series_set *set = &l->sure;
    enum status status = OK;
    list->at = ARENA_ARRAY(&list->arena, struct labels, set->n ? set->n : 1);
    if (!list->at)
        return no_memory(reterr);
    for (size_t i = 0; status == OK && i < set->n;) {
        pthread_rwlock_rdlock(&l->c->lock);
        for (size_t end = i + BATCH; status == OK && i < set->n && i < end; i++)
            status = catalogue_copy_labels(l->c, set->ids[i], &list->arena, &list->at[i], reterr);
        pthread_rwlock_unlock(&l->c->lock);
        if (status == OK)
            status = cancel_check(l->cancel, reterr);
    }
    list->n = set->n;
    if (status == OK && list->n > 1)
        qsort(list->at, list->n, sizeof *list->at, compare_labels);
    return status;
}

enum status store_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                         struct series_list **ret_list, struct error *reterr)
{
    struct listing l;
    struct series_list *list = calloc(1, sizeof *list);
    if (!list)
        return no_memory(reterr);
    arena_init(&list->arena, LISTING_BYTES_MAX);
    unsigned entered = listing_begin(&l, backend, query, cancel);
    enum status status = cancel_check(cancel, reterr);
    if (status == OK)
        status = choose(&l, reterr);
    if (status == OK)
        status = resolve(&l, reterr);
    if (status == OK && query->limit && l.sure.n > query->limit) {
        list->truncated = true;
        status = keep_first(&l, query->limit, reterr);
    }
    if (status == OK)
        status = copy_series(&l, list, reterr);
    listing_end(&l, entered);
    if (status == OK)
        *ret_list = list;
    else
        series_list_free(list);
    return status;
}

/* --- strings --- */

/* What is collected: values of one label, or label names (`name` NULL); each is marked once. */
struct strings {
    const struct str *name;
    uint8_t *marked; /* by number */
    uint32_t marked_n;
    struct str *at;
    size_t n, capacity;
};

static bool mark(struct strings *strings, uint32_t number, struct str text)
{
    if (number >= strings->marked_n || strings->marked[number])
        return true; /* newer than the listing, or there */
    if (!array_reserve(&strings->at, &strings->capacity, strings->n + 1, sizeof *strings->at))
        return false;
    strings->marked[number] = 1;
    strings->at[strings->n++] = text;
    return true;
}

/* Whether a series has something that is not marked yet. Under the lock. */
static bool adds(const struct catalogue *c, const struct strings *strings, uint32_t name, uint32_t id)
{
    const struct known_series *series = catalogue_at(c, id);
    uint32_t value;
    if (!series)
        return false;
    if (strings->name)
        return catalogue_value_of(c, series, name, &value) && value < strings->marked_n && !strings->marked[value];
    for (unsigned i = 0; i < series->values_n; i++) {
        name = c->values[series->values[i]].name;
        if (name < strings->marked_n && !strings->marked[name])
            return true;
    }
    return false;
}

static bool mark_series(const struct catalogue *c, struct strings *strings, uint32_t name, uint32_t id)
{
    const struct known_series *series = catalogue_at(c, id);
    uint32_t value;
    bool well = true;
    if (!series)
        return true;
    if (strings->name)
        return !catalogue_value_of(c, series, name, &value) || mark(strings, value, c->values[value].text);
    for (unsigned i = 0; well && i < series->values_n; i++) {
        name = c->values[series->values[i]].name;
        well = mark(strings, name, c->names[name].text);
    }
    return well;
}

/* Marks what the sure series have. Enters and leaves with the lock; it is let go of now and then. */
static bool mark_sure(struct listing *l, struct strings *strings, uint32_t name)
{
    bool well = true;
    for (size_t i = 0; well && i < l->sure.n; i++) {
        well = mark_series(l->c, strings, name, l->sure.ids[i]);
        if (i % BATCH == BATCH - 1) {
            pthread_rwlock_unlock(&l->c->lock);
            pthread_rwlock_rdlock(&l->c->lock);
        }
    }
    l->sure.n = 0;
    return well;
}

/* Leaves of the doubtful series those that could add something. */
static void thin_doubtful(struct listing *l, const struct strings *strings, uint32_t name)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->doubtful.n; i++) {
        if (adds(l->c, strings, name, l->doubtful.ids[i]))
            l->doubtful.ids[kept++] = l->doubtful.ids[i];
    }
    l->doubtful.n = kept;
}

/* All that listed series have, when neither matchers nor the span leave any out. Under the lock. */
static bool mark_all(const struct catalogue *c, struct strings *strings, uint32_t name)
{
    bool well = true;
    if (strings->name) {
        for (uint32_t i = 0; well && i < c->names[name].values_n; i++) {
            const struct known_value *value = &c->values[c->names[name].values[i]];
            well = value->series_n == 0 || mark(strings, c->names[name].values[i], value->text);
        }
        return well;
    }
    for (uint32_t i = 0; well && i < c->names_n; i++)
        well = c->names[i].series_n == 0 || mark(strings, i, c->names[i].text);
    return well;
}

/* Under the lock, which is let go of around statements. */
static enum status collect(struct listing *l, struct strings *strings, struct error *reterr)
{
    const struct series_query *query = l->query;
    uint32_t name = 0;
    strings->marked_n = strings->name ? l->c->values_n : l->c->names_n;
    strings->marked = calloc((size_t)strings->marked_n + 1, 1);
    if (!strings->marked)
        return no_memory(reterr);
    bool known = !strings->name || catalogue_find_name(l->c, *strings->name, &name);
    if (known && query->selectors_n == 0 && query->span.min_ms <= l->c->oldest_ms &&
        query->span.max_ms >= l->c->latest_ms)
        return mark_all(l->c, strings, name) ? OK : no_memory(reterr);
    pthread_rwlock_unlock(&l->c->lock);
    enum status status = choose(l, reterr);
    pthread_rwlock_rdlock(&l->c->lock);
    if (!known)
        return status;
    if (status == OK && !mark_sure(l, strings, name))
        status = no_memory(reterr);
    if (status == OK)
        thin_doubtful(l, strings, name);
    if (status != OK || l->doubtful.n == 0)
        return status;
    pthread_rwlock_unlock(&l->c->lock);
    status = resolve(l, reterr);
    pthread_rwlock_rdlock(&l->c->lock);
    return status == OK && !mark_sure(l, strings, name) ? no_memory(reterr) : status;
}

static int compare_strings(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static enum status copy_strings(struct strings *strings, size_t limit, struct string_list *list, struct error *reterr)
{
    if (strings->n > 1)
        qsort(strings->at, strings->n, sizeof *strings->at, compare_strings);
    list->truncated = limit && strings->n > limit;
    size_t n = list->truncated ? limit : strings->n;
    list->at = ARENA_ARRAY(&list->arena, struct str, n ? n : 1);
    for (size_t i = 0; list->at && i < n; i++)
        list->at[list->n++] = arena_str(&list->arena, strings->at[i]);
    if (list->arena.exhausted)
        return error_set(reterr, E_NOMEM, "a list of labels does not fit in its memory limit of %zu bytes",
                         list->arena.cap_bytes);
    return OK;
}

/* Values of one label, or label names. */
static enum status list_strings(struct backend *backend, const struct str *name, const struct series_query *query,
                                struct cancel *cancel, struct string_list **ret_list, struct error *reterr)
{
    struct listing l;
    struct strings strings = {.name = name};
    struct string_list *list = calloc(1, sizeof *list);
    if (!list)
        return no_memory(reterr);
    arena_init(&list->arena, LISTING_BYTES_MAX);
    unsigned entered = listing_begin(&l, backend, query, cancel);
    enum status status = cancel_check(cancel, reterr);
    pthread_rwlock_rdlock(&l.c->lock);
    if (status == OK)
        status = collect(&l, &strings, reterr);
    pthread_rwlock_unlock(&l.c->lock);
    if (status == OK)
        status = copy_strings(&strings, query->limit, list, reterr);
    listing_end(&l, entered);
    free(strings.at);
    free(strings.marked);
    if (status == OK)
        *ret_list = list;
    else
        string_list_free(list);
    return status;
}

enum status store_label_names(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                              struct string_list **ret_list, struct error *reterr)
{
    return list_strings(backend, NULL, query, cancel, ret_list, reterr);
}

enum status store_label_values(struct backend *backend, struct str name, const struct series_query *query,
                               struct cancel *cancel, struct string_list **ret_list, struct error *reterr)
{
    return list_strings(backend, &name, query, cancel, ret_list, reterr);
}

/* --- figures --- */

enum status store_cardinality(struct backend *backend, size_t limit, struct cardinality_report **ret_cardinality,
                              struct error *reterr)
{
    struct catalogue *c = &store_of(backend)->writer.catalogue;
    struct cardinality_builder builder;
    enum status status = cardinality_begin(&builder, limit, reterr);
    if (status != OK)
        return status;
    unsigned entered = catalogue_enter(c);
    pthread_rwlock_rdlock(&c->lock);
    builder.made->series_n = c->listed_n;
    for (uint32_t i = 0; i < c->names_n; i++) {
        const struct known_name *name = &c->names[i];
        uint64_t values_n = 0, bytes = 0;
        for (uint32_t k = 0; k < name->values_n; k++) {
            const struct known_value *value = &c->values[name->values[k]];
            values_n += value->series_n > 0;
            bytes += (uint64_t)value->text.len * value->series_n;
            cardinality_offer(&builder, CARDINALITY_PAIR,
                              (struct cardinality_figure){name->text, value->text, value->series_n});
            if (str_eq(name->text, LABEL_METRIC_NAME))
                cardinality_offer(&builder, CARDINALITY_METRIC,
                                  (struct cardinality_figure){.name = value->text, .count = value->series_n});
        }
        builder.made->pairs_n += values_n;
        cardinality_offer(&builder, CARDINALITY_VALUES,
                          (struct cardinality_figure){.name = name->text, .count = values_n});
        cardinality_offer(&builder, CARDINALITY_VALUE_BYTES,
                          (struct cardinality_figure){.name = name->text, .count = bytes});
    }
    pthread_rwlock_unlock(&c->lock);
    status = cardinality_finish(&builder, ret_cardinality, reterr);
    catalogue_leave(c, entered);
    return status;
}
