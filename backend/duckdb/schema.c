/* backend/duckdb/schema.c: see schema.h. */
#include "backend/duckdb/schema.h"

#include "base/assert.h"

#define SCHEMA_VERSION 1

static const char *const STATEMENTS[] = {
    "CREATE TABLE promsplit_schema (version INTEGER NOT NULL)",
    "INSERT INTO promsplit_schema VALUES (1)",
    /* labels has all labels but __name__, sorted by name; no value is empty. */
    "CREATE TABLE series (series UINTEGER NOT NULL, metric VARCHAR NOT NULL, labels MAP(VARCHAR, VARCHAR) NOT NULL)",
    /* One row per (series, ts); append sees to that, an index would cost more than the data. */
    "CREATE TABLE samples (series UINTEGER NOT NULL, ts BIGINT NOT NULL, value DOUBLE NOT NULL)",
    "CREATE TABLE metadata (family VARCHAR NOT NULL, type UTINYINT NOT NULL, help VARCHAR, unit VARCHAR)",
    /* RE2 as Prometheus uses it: anchored at both ends, dot matches newline. */
    "CREATE MACRO prom_match(subject, pattern) AS regexp_full_match(subject, pattern, 's')",
};
_Static_assert(SCHEMA_VERSION == 1, "the INSERT above writes the version");

static enum status create(struct connection *connection, struct error *reterr)
{
    enum status status = engine_execute(connection, "BEGIN", reterr);
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_execute(connection, STATEMENTS[i], reterr);
    if (status == OK)
        return engine_execute(connection, "COMMIT", reterr);
    enum status undone = engine_execute(connection, "ROLLBACK", NULL);
    (void)undone; /* the first error is the one to report */
    return status;
}

enum status schema_prepare(struct connection *connection, struct error *reterr)
{
    duckdb_result result;
    enum status status = engine_query(
        connection, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'promsplit_schema' AND NOT internal",
        false, NULL, &result, reterr);
    if (status != OK)
        return status;
    bool is_new = duckdb_value_int64(&result, 0, 0) == 0;
    duckdb_destroy_result(&result);
    if (is_new)
        return create(connection, reterr);
    status = engine_query(connection, "SELECT max(version) FROM promsplit_schema", false, NULL, &result, reterr);
    if (status != OK)
        return status;
    int64_t version = duckdb_value_int64(&result, 0, 0);
    duckdb_destroy_result(&result);
    if (version != SCHEMA_VERSION)
        return error_set(reterr, E_STORE, "the database has schema version %lld, this program reads version %d",
                         (long long)version, SCHEMA_VERSION);
    return OK;
}
