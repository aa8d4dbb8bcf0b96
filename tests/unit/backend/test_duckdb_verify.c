/* tests/unit/backend/test_duckdb_verify.c: a store that was written properly keeps all rules; each kind of damage is
 * found by the rule that forbids it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <duckdb.h>
#include <stdio.h>

#include "base/assert.h"
#include "tests/unit/backend/fixture.h"

static void fill(struct fixture *f)
{
    for (int64_t k = 0; k < 200; k++) {
        APPEND(f, "up;job=a;z=1", {k * 60000, (double)k});
        APPEND(f, "down", {k * 60000 + 1, 1});
    }
    APPEND(f, "up;job=a;z=1", {290 * 60000, 1}, {290 * 60000 + 1, 2}); /* in the partition that is still open */
    compact(f);
    APPEND(f, "up;job=a;z=1", {300 * 60000, 1}, {300 * 60000 + 1, 2});
    APPEND(f, "new", {300 * 60000, 1});
}

static struct verify_report verify(struct fixture *f)
{
    struct verify_report report;
    struct error error;
    if (duckdb_backend_verify(f->backend, NULL, &report, &error) != OK)
        fail_msg("verify: %s", error.message);
    return report;
}

static size_t broken_rules(const struct verify_report *report)
{
    size_t n = 0;
    for (size_t i = 0; i < report->rules_n; i++)
        n += report->rules[i].rows_n > 0;
    return n;
}

static void execute(struct fixture *f, const char *sql)
{
    char path[256];
    duckdb_database database;
    duckdb_connection connection;
    duckdb_result result;
    snprintf(path, sizeof path, "%s/promsplit.duckdb", f->directory);
    assert_int_equal(duckdb_open(path, &database), DuckDBSuccess);
    assert_int_equal(duckdb_connect(database, &connection), DuckDBSuccess);
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess)
        fail_msg("%s: %s", sql, duckdb_result_error(&result));
    duckdb_destroy_result(&result);
    duckdb_disconnect(&connection);
    duckdb_close(&database);
}

static void a_good_store_keeps_all_rules(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    struct verify_report empty = verify(&f);
    assert_int_equal(broken_rules(&empty), 0);
    fill(&f);
    struct verify_report full = verify(&f);
    assert_true(full.rules_n > 10);
    for (size_t i = 0; i < full.rules_n; i++)
        if (full.rules[i].rows_n)
            fail_msg("%s: %llu", full.rules[i].text, (unsigned long long)full.rules[i].rows_n);
    fixture_release(&f);
}

/* Rows of recent are damaged in the open partition only: from others a move may take them before they are looked at. */
static void expect_found(struct fixture *f, const char *sql, const char *rule)
{
    struct verify_report report = verify(f);
    bool found = false;
    for (size_t k = 0; k < report.rules_n; k++)
        found = found || (report.rules[k].rows_n > 0 && strstr(report.rules[k].text, rule));
    if (!found)
        fail_msg("not found: %s", sql);
}

static void each_damage_is_found(void **state)
{
    static const struct {
        const char *sql, *rule;
    } ROWS[] = {
        {"UPDATE stored_chunks SET n = n + 1 WHERE metric = 'down'", "every chunk has as many times"},
        {"UPDATE stored_chunks SET pace = -pace", "every chunk's times ascend"},
        {"UPDATE stored_chunks SET pace = 0", "every chunk's times ascend"},
        {"UPDATE stored_chunks SET tmin = tmin - 1 WHERE metric = 'up'", "every chunk begins and ends when it says"},
        {"UPDATE stored_chunks SET drift = list_concat([1], drift[2:]) WHERE metric = 'up'",
         "every chunk begins and ends when it says"},
        {"INSERT INTO stored_chunks SELECT * FROM stored_chunks WHERE metric = 'up'", "no series has two chunks"},
        {"UPDATE stored_chunks SET move = 99", "every chunk is of a move that is done"},
        {"UPDATE stored_chunks SET metric_key = 1", "every chunk is filed under its metric's key"},
        {"UPDATE stored_chunks SET metric = 'other', metric_key = md5_number_lower('other') WHERE metric = 'up'",
         "every chunk is of a series that exists"},
        {"INSERT INTO recent SELECT * FROM recent", "no sample outside chunks is there twice"},
        {"INSERT INTO recent SELECT series, tmin, value[1], 1 FROM stored_chunks WHERE tmin >= 17400000",
         "samples outside chunks are later"},
        {"INSERT INTO metadata VALUES ('a', 1, '', ''), ('a', 2, '', '')", "no metric family has metadata twice"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct fixture f;
        fixture_init_on_disk(&f);
        fill(&f);
        fixture_close(&f);
        execute(&f, ROWS[i].sql);
        fixture_open(&f);
        expect_found(&f, ROWS[i].sql, ROWS[i].rule);
        fixture_release(&f);
    }
}

/* In rollups whose samples are gone, and cannot be made anew to compare. */
static void damage_behind_the_horizon_is_found(void **state)
{
    static const struct {
        const char *sql, *rule;
    } ROWS[] = {
        {"UPDATE rollups SET ts = list_reverse(ts), sum_ts = list_reverse(sum_ts) WHERE tmin = 0 AND metric = 'up'",
         "every rollup's lists are"},
        {"UPDATE rollups SET weight = weight[2:] WHERE tmin = 0 AND metric = 'up'", "every rollup's lists are"},
        {"UPDATE rollups SET span = span + 1 WHERE tmin = 0 AND metric = 'up'", "every rollup's lists are"},
        {"INSERT INTO rollups SELECT * FROM rollups WHERE tmin = 0 AND metric = 'up'", "no series has two rollups"},
        {"DELETE FROM rollups WHERE tmin = 0 AND level = 300000", "all levels tell the same"},
        {"UPDATE rollups SET weight = list_transform(weight, lambda w: w + 1) WHERE tmin = 0",
         "all levels tell the same"},
        {"DELETE FROM series WHERE metric = 'up'", "every rollup is of a series"},
        {"UPDATE rollups SET metric_key = 1 WHERE tmin = 0", "every rollup is of a series"},
        {"DELETE FROM rollups WHERE metric = 'up'", "or rollups that outlive its samples"},
        {"INSERT INTO recent SELECT series, 7200000 - 1, 1, 1 FROM series", "no sample is as old"},
        {"INSERT INTO histograms SELECT series, 7200000 - 1, '', 1 FROM series", "no sample is as old"},
        {"UPDATE rolled SET raw_from = raw_from + 1", "which is a partition's beginning"},
        /* Not by an older `until`: that is mended in the background. */
        {"UPDATE rolled SET raw_from = 7200000000", "rollups are made up to where samples are gone"},
    };
    static const struct rollup_settings LEVELS = {.levels_ms = {3600000, 300000}, .levels_n = 2};
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct fixture f;
        fixture_init_on_disk(&f);
        fixture_close(&f);
        f.rollups = &LEVELS;
        f.retention = (struct retention){.time_ms = 7200000, .rollups_ms = 1000 * 7200000LL};
        fixture_open(&f);
        for (int64_t k = 0; k < 200; k++)
            APPEND(&f, "up;job=a;z=1", {k * 60000, (double)k});
        APPEND(&f, "down", {20 * 3600000, 1});
        compact(&f);
        assert_int_equal(duckdb_backend_retain(f.backend, NULL), OK);
        assert_int_equal(stats_of(&f).samples_n, 1);
        struct verify_report report = verify(&f);
        assert_int_equal(broken_rules(&report), 0);
        fixture_close(&f);
        execute(&f, ROWS[i].sql);
        f.rollups = NULL; /* and nothing is mended */
        f.retention = (struct retention){.time_ms = 0};
        fixture_open(&f);
        expect_found(&f, ROWS[i].sql, ROWS[i].rule);
        fixture_release(&f);
    }
}

/* Made before there was a horizon. */
static void an_older_store_gets_what_it_lacks(void **state)
{
    static const struct rollup_settings LEVELS = {.levels_ms = {3600000}, .levels_n = 1};
    struct fixture f;
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.rollups = &LEVELS;
    fixture_open(&f);
    fill(&f);
    fixture_close(&f);
    execute(&f, "ALTER TABLE rolled DROP COLUMN raw_from");
    f.retention = (struct retention){.time_ms = 7200000, .rollups_ms = 1000 * 7200000LL};
    fixture_open(&f);
    compact(&f);
    assert_int_equal(duckdb_backend_retain(f.backend, NULL), OK);
    assert_int_equal(atomic_load(&f.backend->raw_from_ms), 7200000);
    struct verify_report report = verify(&f);
    assert_int_equal(broken_rules(&report), 0);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_store_keeps_all_rules),
        cmocka_unit_test(each_damage_is_found),
        cmocka_unit_test(damage_behind_the_horizon_is_found),
        cmocka_unit_test(an_older_store_gets_what_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
