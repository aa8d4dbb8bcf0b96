/* backend/duckdb/function_series.c: the catalogue's index in SQL.
 *
 *   series_matching('{job="a"}', from, to)  table: the numbers of the series that match and may have samples from..to
 *   series_named('m')                       table: those of one metric
 *   is_series_named(series, 'm')            whether it is one of those, where a join would cost more; a constant name
 *   metric_of(series), labels_of(series)    the metric's name, the map of all other labels
 *   label_of(series, name)                  a label's value, '' if there is none
 *
 * Texts in the results point into the catalogue, which keeps them until who runs the statement leaves it.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/functions.h"
#include "backend/duckdb/matching.h"
#include "backend/kernels/bits.h"
#include "base/assert.h"
#include "planner/sql.h"

/* --- series_matching, series_named --- */

static struct str text_of(duckdb_value value)
{
    char *text = duckdb_get_varchar(value);
    return str_from(text ? text : "");
}

static void set_free(void *set)
{
    series_set_release(set);
    free(set);
}

/* The matchers of the first argument: the metric's name, or a selector. */
static enum status read_matchers(struct arena *arena, struct str text, bool is_name, const struct regex_engine *regex,
                                 struct expr_selector *ret_selector, struct error *reterr)
{
    const struct parse_limits limits = {.bytes_max = SQL_BYTES_MAX, .tokens_max = SQL_BYTES_MAX, .depth_max = 10};
    if (!is_name)
        return promql_parse_selector(arena, text, &limits, regex, ret_selector, reterr);
    struct matcher *matcher = ARENA_NEW(arena, struct matcher);
    if (!matcher)
        return error_set(reterr, E_NOMEM, "no memory to match series");
    *matcher = (struct matcher){LABEL_METRIC_NAME, MATCH_EQUAL, text};
    *ret_selector = (struct expr_selector){.matchers = matcher, .matchers_n = 1};
    return OK;
}

/* A new set, or NULL with *reterr. */
static struct series_set *find_series(const struct series_functions *functions, struct str text, bool is_name,
                                      struct time_span span, struct error *reterr)
{
    struct arena arena;
    struct expr_selector selector;
    struct regex_engine engine = regex_of(functions->regex);
    arena_init(&arena, 16 * (size_t)SQL_BYTES_MAX);
    struct series_set *set = calloc(1, sizeof *set);
    enum status status = set ? OK : error_set(reterr, E_NOMEM, "no memory to match series");
    if (status == OK)
        status = read_matchers(&arena, text, is_name, &engine, &selector, reterr);
    if (status == OK)
        status = match_series(functions->catalogue, functions->regex, selector.matchers, selector.matchers_n, span, set,
                              reterr);
    arena_release(&arena);
    if (status == OK)
        return set;
    free(set);
    return NULL;
}

static void bind_matching(duckdb_bind_info info, bool is_name)
{
    const struct series_functions *functions = duckdb_bind_get_extra_info(info);
    duckdb_logical_type type = duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER);
    duckdb_bind_add_result_column(info, "series", type);
    duckdb_destroy_logical_type(&type);
    struct time_span span = EVER;
    duckdb_value values[3] = {NULL, NULL, NULL};
    for (idx_t i = 0; i < (is_name ? 1 : 3); i++)
        values[i] = duckdb_bind_get_parameter(info, i);
    if (!is_name)
        span = (struct time_span){duckdb_get_int64(values[1]), duckdb_get_int64(values[2])};
    struct str text = text_of(values[0]);
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        duckdb_destroy_value(&values[i]);
    struct error error = {.status = OK};
    struct series_set *set = find_series(functions, text, is_name, span, &error);
    duckdb_free((char *)text.ptr);
    if (set) {
        duckdb_bind_set_cardinality(info, set->n, true);
        duckdb_bind_set_bind_data(info, set, set_free);
    } else {
        duckdb_bind_set_error(info, error.message);
    }
}

static void bind_selector(duckdb_bind_info info)
{
    bind_matching(info, false);
}

static void bind_name(duckdb_bind_info info)
{
    bind_matching(info, true);
}

static void matching_init(duckdb_init_info info)
{
    _Atomic size_t *given = malloc(sizeof *given);
    if (!given) {
        duckdb_init_set_error(info, "no memory to match series");
        return;
    }
    atomic_init(given, 0);
    duckdb_init_set_init_data(info, given, free);
}

static void matching_give(duckdb_function_info info, duckdb_data_chunk output)
{
    const struct series_set *set = duckdb_function_get_bind_data(info);
    _Atomic size_t *given = duckdb_function_get_init_data(info);
    size_t most = duckdb_vector_size(), first = atomic_fetch_add(given, most);
    size_t n = first >= set->n ? 0 : set->n - first < most ? set->n - first : most;
    if (n > 0)
        memcpy(duckdb_vector_get_data(duckdb_data_chunk_get_vector(output, 0)), set->ids + first, n * sizeof *set->ids);
    duckdb_data_chunk_set_size(output, n);
}

/* --- is_series_named ---
 * A bit for each number of a series, found when the statement is bound: the catalogue has a place of its own in memory
 * for each, and rows of as many series as there are may come in any order. */

struct named {
    _Atomic size_t held_n; /* expressions that have it: the engine copies them */
    size_t bits;
    uint64_t is[];
};

static struct named *named_new(const struct series_set *set)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < set->n; i++)
        bits = set->ids[i] >= bits ? set->ids[i] + 1 : bits;
    struct named *named = calloc(1, sizeof *named + bits_words(bits) * sizeof *named->is);
    if (!named)
        return NULL;
    atomic_init(&named->held_n, 1);
    named->bits = bits;
    for (size_t i = 0; i < set->n; i++)
        bits_set(named->is, set->ids[i]);
    return named;
}

static void *named_copy(void *data)
{
    struct named *named = data;
    atomic_fetch_add(&named->held_n, 1);
    return named;
}

static void named_free(void *data)
{
    struct named *named = data;
    if (atomic_fetch_sub(&named->held_n, 1) == 1)
        free(named);
}

/* The second argument, which must be known now. */
static bool fold_name(duckdb_bind_info info, struct str *ret_name)
{
    duckdb_expression expression = duckdb_scalar_function_bind_get_argument(info, 1);
    duckdb_client_context context = NULL;
    duckdb_value value = NULL;
    duckdb_scalar_function_get_client_context(info, &context);
    bool known = duckdb_expression_is_foldable(expression);
    if (known) {
        duckdb_error_data failure = duckdb_expression_fold(context, expression, &value);
        known = !duckdb_error_data_has_error(failure);
        duckdb_destroy_error_data(&failure);
    }
    if (known) {
        *ret_name = text_of(value);
        duckdb_destroy_value(&value);
    }
    duckdb_destroy_client_context(&context);
    duckdb_destroy_expression(&expression);
    return known;
}

static void bind_is_named(duckdb_bind_info info)
{
    struct error error = {.status = OK};
    struct str name;
    if (!fold_name(info, &name)) {
        duckdb_scalar_function_bind_set_error(info, "is_series_named wants a constant name");
        return;
    }
    struct series_set *set = find_series(duckdb_scalar_function_bind_get_extra_info(info), name, true, EVER, &error);
    duckdb_free((char *)name.ptr);
    struct named *named = set ? named_new(set) : NULL;
    if (named) {
        duckdb_scalar_function_set_bind_data(info, named, named_free);
        duckdb_scalar_function_set_bind_data_copy(info, named_copy);
    } else {
        duckdb_scalar_function_bind_set_error(info, set ? "no memory to match series" : error.message);
    }
    if (set)
        set_free(set);
}

static void is_series_named(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct named *named = duckdb_scalar_function_get_bind_data(info);
    duckdb_vector series = duckdb_data_chunk_get_vector(input, 0);
    const uint32_t *ids = duckdb_vector_get_data(series);
    const uint64_t *validity = duckdb_vector_get_validity(series);
    bool *out = duckdb_vector_get_data(output);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++)
        out[row] = is_valid(validity, row) && ids[row] < named->bits && bits_get(named->is, ids[row]);
}

/* --- metric_of, label_of, labels_of --- */

/* A string of a vector that points to the text, which the vector does not own. */
static duckdb_string_t string_at(struct str text)
{
    duckdb_string_t string;
    memset(&string, 0, sizeof string);
    if (text.len <= sizeof string.value.inlined.inlined) {
        string.value.inlined.length = (uint32_t)text.len;
        memcpy(string.value.inlined.inlined, text.len ? text.ptr : "", text.len);
        return string;
    }
    string.value.pointer.length = (uint32_t)text.len;
    memcpy(string.value.pointer.prefix, text.ptr, sizeof string.value.pointer.prefix);
    string.value.pointer.ptr = (char *)text.ptr;
    return string;
}

/* The rows of one vector: the numbers of series, and with some functions a text each. */
struct series_rows {
    duckdb_data_chunk input;
    const uint32_t *ids;
    duckdb_string_t *texts;
    bool has_nulls;
    idx_t n;
};

static struct series_rows series_rows_of(duckdb_data_chunk input)
{
    struct series_rows rows = {.input = input, .n = duckdb_data_chunk_get_size(input)};
    idx_t columns = duckdb_data_chunk_get_column_count(input);
    for (idx_t i = 0; i < columns; i++)
        rows.has_nulls = rows.has_nulls || duckdb_vector_get_validity(duckdb_data_chunk_get_vector(input, i));
    rows.ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    rows.texts = columns > 1 ? duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1)) : NULL;
    return rows;
}

static bool is_out(const struct series_rows *rows, idx_t row)
{
    return rows->has_nulls && row_is_null(rows->input, row);
}

static const struct known_series *series_of_row(const struct catalogue *c, const struct series_rows *rows, idx_t row)
{
    return is_out(rows, row) ? NULL : catalogue_at(c, rows->ids[row]);
}

/* Whether a text is the same as in the row before, as it nearly always is: the engine repeats constants bit by bit. */
static bool text_repeats(const struct series_rows *rows, idx_t row)
{
    return row > 0 && !rows->has_nulls && memcmp(&rows->texts[row], &rows->texts[row - 1], sizeof *rows->texts) == 0;
}

static struct str text_of_row(const struct series_rows *rows, idx_t row)
{
    return (struct str){duckdb_string_t_data(&rows->texts[row]), duckdb_string_t_length(rows->texts[row])};
}

/* Under the lock: '' if the series has no such label. */
static struct str value_of(const struct catalogue *c, const struct known_series *series, bool named, uint32_t name)
{
    uint32_t value;
    bool has = series && named && catalogue_value_of(c, series, name, &value);
    return has ? c->values[value].text : (struct str){NULL, 0};
}

static void metric_of(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct series_functions *functions = duckdb_scalar_function_get_extra_info(info);
    struct catalogue *c = functions->catalogue;
    struct series_rows rows = series_rows_of(input);
    duckdb_string_t *out = duckdb_vector_get_data(output);
    uint32_t name;
    pthread_rwlock_rdlock(&c->lock);
    bool named = catalogue_find_name(c, LABEL_METRIC_NAME, &name);
    for (idx_t row = 0; row < rows.n; row++)
        out[row] = string_at(value_of(c, series_of_row(c, &rows, row), named, name));
    pthread_rwlock_unlock(&c->lock);
}

static void label_of(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct series_functions *functions = duckdb_scalar_function_get_extra_info(info);
    struct catalogue *c = functions->catalogue;
    struct series_rows rows = series_rows_of(input);
    duckdb_string_t *out = duckdb_vector_get_data(output);
    uint32_t name = 0;
    bool named = false;
    pthread_rwlock_rdlock(&c->lock);
    for (idx_t row = 0; row < rows.n; row++) {
        const struct known_series *series = series_of_row(c, &rows, row);
        if (!text_repeats(&rows, row) && !is_out(&rows, row))
            named = catalogue_find_name(c, text_of_row(&rows, row), &name);
        out[row] = string_at(value_of(c, series, named, name));
    }
    pthread_rwlock_unlock(&c->lock);
}

static void labels_of(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    const struct series_functions *functions = duckdb_scalar_function_get_extra_info(info);
    struct catalogue *c = functions->catalogue;
    struct series_rows rows = series_rows_of(input);
    uint64_t used = duckdb_list_vector_get_size(output), most = used;
    pthread_rwlock_rdlock(&c->lock);
    for (idx_t row = 0; row < rows.n; row++) {
        const struct known_series *series = series_of_row(c, &rows, row);
        most += series ? series->values_n : 0;
    }
    if (duckdb_list_vector_reserve(output, most) != DuckDBSuccess) {
        pthread_rwlock_unlock(&c->lock);
        duckdb_scalar_function_set_error(info, "no memory for a label map");
        return;
    }
    duckdb_vector pair = duckdb_list_vector_get_child(output);
    duckdb_string_t *names = duckdb_vector_get_data(duckdb_struct_vector_get_child(pair, 0));
    duckdb_string_t *values = duckdb_vector_get_data(duckdb_struct_vector_get_child(pair, 1));
    duckdb_list_entry *out = duckdb_vector_get_data(output);
    for (idx_t row = 0; row < rows.n; row++) {
        const struct known_series *series = series_of_row(c, &rows, row);
        out[row] = (duckdb_list_entry){used, 0};
        for (unsigned i = 0; series && i < series->values_n; i++) {
            struct label label = catalogue_label(c, series, i);
            if (str_eq(label.name, LABEL_METRIC_NAME))
                continue;
            names[used] = string_at(label.name);
            values[used++] = string_at(label.value);
        }
        out[row].length = used - out[row].offset;
    }
    pthread_rwlock_unlock(&c->lock);
    duckdb_list_vector_set_size(output, used);
}

/* --- registering --- */

static void on_matching_give(duckdb_function_info info, duckdb_data_chunk output)
{
    HANDED_OVER(matching_give(info, output));
}

ENGINE_CALLS_SCALAR(is_series_named)
ENGINE_CALLS_SCALAR(metric_of)
ENGINE_CALLS_SCALAR(label_of)
ENGINE_CALLS_SCALAR(labels_of)

static enum status register_table(struct connection *connection, const char *name, const char *parameters,
                                  duckdb_table_function_bind_t bind, const struct series_functions *functions,
                                  struct error *reterr)
{
    duckdb_table_function table = duckdb_create_table_function();
    duckdb_table_function_set_name(table, name);
    for (const char *letter = parameters; *letter; letter++) {
        duckdb_logical_type type =
            duckdb_create_logical_type(*letter == 's' ? DUCKDB_TYPE_VARCHAR : DUCKDB_TYPE_BIGINT);
        duckdb_table_function_add_parameter(table, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_table_function_set_extra_info(table, (void *)functions, NULL);
    duckdb_table_function_set_bind(table, bind);
    duckdb_table_function_set_init(table, matching_init);
    duckdb_table_function_set_function(table, on_matching_give);
    duckdb_state registered = duckdb_register_table_function(connection->handle, table);
    duckdb_destroy_table_function(&table);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

/* bind: NULL if there is nothing to do */
static enum status register_scalar(struct connection *connection, const char *name, const char *parameters,
                                   const char *result, duckdb_scalar_function_bind_t bind,
                                   duckdb_scalar_function_t function, const struct series_functions *functions,
                                   struct error *reterr)
{
    duckdb_scalar_function scalar = function_scalar_new(name, parameters, result);
    duckdb_scalar_function_set_extra_info(scalar, (void *)functions, NULL);
    duckdb_scalar_function_set_function(scalar, function);
    if (bind)
        duckdb_scalar_function_set_bind(scalar, bind);
    duckdb_state registered = duckdb_register_scalar_function(connection->handle, scalar);
    duckdb_destroy_scalar_function(&scalar);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses %s", name);
}

enum status functions_register_series(const struct series_functions *functions, struct connection *connection,
                                      struct error *reterr)
{
    enum status status = register_table(connection, "series_matching", "sii", bind_selector, functions, reterr);
    if (status == OK)
        status = register_table(connection, "series_named", "s", bind_name, functions, reterr);
    if (status == OK)
        status = register_scalar(connection, "is_series_named", "us", "b", bind_is_named, on_is_series_named, functions,
                                 reterr);
    if (status == OK)
        status = register_scalar(connection, "metric_of", "u", "s", NULL, on_metric_of, functions, reterr);
    if (status == OK)
        status = register_scalar(connection, "label_of", "us", "s", NULL, on_label_of, functions, reterr);
    if (status == OK)
        status = register_scalar(connection, "labels_of", "u", "M", NULL, on_labels_of, functions, reterr);
    return status;
}
