/* tests/unit/frontend/test_ha.c: which replica of a cluster is stored, by a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/ha.h"

#define FAILOVER_MS 30000

/* Elections as they are told: "cluster:before>replica " each. */
static char elections[512];

static void elected(void *arg, struct str cluster, struct str before, struct str replica)
{
    size_t n = strlen(elections);
    snprintf(elections + n, sizeof elections - n, STR_FORMAT ":" STR_FORMAT ">" STR_FORMAT " ", STR_ARG(cluster),
             STR_ARG(before), STR_ARG(replica));
}

static int unkept;

static void not_kept(void *arg, const struct error *error)
{
    unkept += error->status == E_STORE;
}

static enum status open_ha(size_t clusters_max, const char *path, int64_t now_ms, struct ha **ret_ha,
                           struct error *reterr)
{
    struct ha_options options = {.cluster_label = STR("cluster"),
                                 .replica_label = STR("__replica__"),
                                 .failover_ms = FAILOVER_MS,
                                 .clusters_max = clusters_max,
                                 .path = path,
                                 .elected = elected,
                                 .not_kept = not_kept};
    elections[0] = '\0';
    unkept = 0;
    return ha_new(&options, now_ms, ret_ha, reterr);
}

static struct ha *new_ha(size_t clusters_max)
{
    struct ha *ha = NULL;
    assert_int_equal(open_ha(clusters_max, NULL, 0, &ha, NULL), OK);
    return ha;
}

static struct ha_dropped filter(struct ha *ha, struct write_request *request, int64_t now_ms)
{
    struct ha_dropped dropped;
    assert_int_equal(ha_filter(ha, request, now_ms, &dropped, NULL), OK);
    return dropped;
}

static enum ha_verdict decide(struct ha *ha, const char *cluster, const char *replica, int64_t now_ms)
{
    return ha_decide(ha, str_from(cluster), str_from(replica), now_ms);
}

static void the_first_stays_elected_while_it_is_heard_of(void **state)
{
    struct ha *ha = new_ha(10);
    for (int64_t now_ms = 0; now_ms < 10 * FAILOVER_MS; now_ms += FAILOVER_MS - 1) {
        assert_int_equal(decide(ha, "c", "a", now_ms), HA_TAKE);
        assert_int_equal(decide(ha, "c", "b", now_ms), HA_DROP);
        assert_int_equal(decide(ha, "c", "b", now_ms + FAILOVER_MS - 1), HA_DROP);
    }
    assert_string_equal(elections, "c:>a ");
    ha_free(ha);
}

static void another_is_elected_after_the_failover_time(void **state)
{
    struct ha *ha = new_ha(10);
    assert_int_equal(decide(ha, "c", "a", 1000), HA_TAKE);
    assert_int_equal(decide(ha, "c", "b", 1000 + FAILOVER_MS - 1), HA_DROP);
    assert_int_equal(decide(ha, "c", "b", 1000 + FAILOVER_MS), HA_TAKE);
    assert_int_equal(decide(ha, "c", "a", 1000 + FAILOVER_MS + 1), HA_DROP); /* it is back, and must wait */
    assert_int_equal(decide(ha, "c", "b", 1000 + 2 * FAILOVER_MS - 1), HA_TAKE);
    assert_int_equal(decide(ha, "c", "a", 1000 + 3 * FAILOVER_MS - 2), HA_DROP);
    assert_int_equal(decide(ha, "c", "a", 1000 + 3 * FAILOVER_MS - 1), HA_TAKE);
    assert_string_equal(elections, "c:>a c:a>b c:b>a ");
    ha_free(ha);
}

/* Silence alone changes nothing: the elected one goes on where it was. */
static void the_elected_may_come_back_late(void **state)
{
    struct ha *ha = new_ha(10);
    assert_int_equal(decide(ha, "c", "a", 0), HA_TAKE);
    assert_int_equal(decide(ha, "c", "a", 100 * FAILOVER_MS), HA_TAKE);
    assert_int_equal(decide(ha, "c", "b", 100 * FAILOVER_MS + 1), HA_DROP);
    assert_string_equal(elections, "c:>a ");
    ha_free(ha);
}

static void clusters_are_apart(void **state)
{
    struct ha *ha = new_ha(100);
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "c%d", i * 37 % 100);
        assert_int_equal(decide(ha, name, i % 2 ? "a" : "b", 0), HA_TAKE);
    }
    assert_int_equal(ha_clusters_n(ha), 100);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "c%d", i * 37 % 100);
        assert_int_equal(decide(ha, name, i % 2 ? "a" : "b", 1), HA_TAKE);
        assert_int_equal(decide(ha, name, i % 2 ? "b" : "a", 1), HA_DROP);
    }
    assert_int_equal(ha_clusters_n(ha), 100);
    ha_free(ha);
}

static void one_cluster_too_many(void **state)
{
    struct ha *ha = new_ha(2);
    assert_int_equal(decide(ha, "y", "a", 0), HA_TAKE);
    assert_int_equal(decide(ha, "z", "a", 1), HA_TAKE);
    assert_int_equal(decide(ha, "x", "a", FAILOVER_MS - 1), HA_NO_ROOM);
    assert_int_equal(decide(ha, "y", "a", FAILOVER_MS), HA_TAKE);
    assert_int_equal(decide(ha, "x", "a", FAILOVER_MS), HA_NO_ROOM);
    assert_int_equal(decide(ha, "x", "a", FAILOVER_MS + 1), HA_TAKE); /* z was silent for so long */
    assert_int_equal(decide(ha, "y", "b", FAILOVER_MS + 1), HA_DROP);
    assert_int_equal(decide(ha, "z", "a", FAILOVER_MS + 1), HA_NO_ROOM);
    assert_int_equal(ha_clusters_n(ha), 2);
    ha_free(ha);
}

/* --- requests --- */

struct request {
    struct label labels[8][4];
    struct sample samples[8][2];
    struct append_series series[8];
    struct append_exemplar exemplars[16];
    struct append_histogram histograms[16];
    struct write_request is;
};

/* Series number i has i % 2 + 1 samples, and i % 3 exemplars of value i and native histograms of time i. Empty texts:
 * the label is not there. */
static void add(struct request *request, const char *cluster, const char *replica)
{
    size_t i = request->is.series_n++, n = 0;
    struct label *at = request->labels[i];
    at[n++] = (struct label){STR("__name__"), STR("up")};
    if (replica[0])
        at[n++] = (struct label){STR("__replica__"), str_from(replica)};
    if (cluster[0])
        at[n++] = (struct label){STR("cluster"), str_from(cluster)};
    at[n++] = (struct label){STR("job"), STR("j")};
    request->series[i] = (struct append_series){{at, n}, request->samples[i], i % 2 + 1};
    request->is.samples_n += i % 2 + 1;
    request->is.series = request->series;
    for (size_t k = 0; k < i % 3; k++)
        request->exemplars[request->is.exemplars_n++] =
            (struct append_exemplar){i, {.value = (double)i, .time_ms = (int64_t)k}};
    for (size_t k = 0; k < i % 3; k++)
        request->histograms[request->is.histograms_n++] = (struct append_histogram){i, {(int64_t)i, STR("h")}};
    request->is.histograms = request->histograms;
    request->is.exemplars = request->exemplars;
    request->is.labels = request->labels[0];
}

static void a_mixed_request(void **state)
{
    struct ha *ha = new_ha(2);
    struct request request = {0};
    add(&request, "c", "a");
    add(&request, "c", "b");
    add(&request, "", "b"); /* no pair: as it is */
    add(&request, "c", "");
    add(&request, "d", "b");
    add(&request, "e", "b"); /* too many */
    add(&request, "c", "b");
    add(&request, "c", "a");
    struct ha_dropped dropped = filter(ha, &request.is, 0);
    assert_int_equal(dropped.series, 2);
    assert_int_equal(dropped.samples, 2 + 1);
    assert_int_equal(dropped.exemplars, 1 + 0);
    assert_int_equal(dropped.histograms, 1 + 0);
    assert_int_equal(request.is.histograms_n, 0 + 2 + 0 + 1 + 1);
    assert_int_equal(request.is.invalid_exemplars, 2);
    assert_int_equal(request.is.exemplars_n, 0 + 2 + 0 + 1 + 1);
    const size_t series_of[] = {1, 1, 3, 4}, values[] = {2, 2, 4, 7};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(request.is.exemplars[i].series, series_of[i]);
        assert_true(request.is.exemplars[i].is.value == (double)values[i]);
        assert_int_equal(request.is.histograms[i].series, series_of[i]);
        assert_int_equal(request.is.histograms[i].is.time_ms, values[i]);
    }
    assert_int_equal(request.is.invalid_series, 1);
    assert_int_equal(request.is.invalid_samples[WRITE_INVALID_LABELS], 2 + 2);
    assert_string_equal(request.is.invalid.message,
                        "clusters of replicas: 3 exceeds limit 2 (--ha.max-clusters), cluster \"e\"");
    assert_int_equal(request.is.series_n, 5);
    assert_int_equal(request.is.samples_n, 1 + 1 + 2 + 1 + 2);
    const struct append_series *kept = request.is.series;
    for (size_t i = 0; i < 5; i++) {
        bool was_left_alone = i == 1;
        assert_int_equal(labels_get(kept[i].labels, STR("__replica__")).len, was_left_alone);
        assert_int_equal(kept[i].labels.n, 3);
        for (size_t k = 1; k < kept[i].labels.n; k++)
            assert_true(str_cmp(kept[i].labels.at[k - 1].name, kept[i].labels.at[k].name) < 0);
    }
    assert_int_equal(kept[4].samples_n, 2);
    assert_ptr_equal(kept[4].samples, request.samples[7]);
    assert_string_equal(elections, "c:>a d:>b ");
    ha_free(ha);
}

/* The samples of a sender that took over are stored as the same series. */
static void a_failover_in_requests(void **state)
{
    struct ha *ha = new_ha(2);
    for (int i = 0; i < 2; i++) {
        struct request one = {0}, other = {0};
        add(&one, "c", i == 0 ? "a" : "b");
        add(&other, "c", i == 0 ? "b" : "a");
        assert_int_equal(filter(ha, &one.is, i * FAILOVER_MS).series, 0);
        assert_int_equal(filter(ha, &other.is, i * FAILOVER_MS + 1).series, 1);
        assert_int_equal(one.is.series_n, 1);
        assert_int_equal(other.is.series_n, 0);
        assert_int_equal(other.is.samples_n, 0);
        assert_int_equal(one.series[0].labels.n, 3);
    }
    assert_string_equal(elections, "c:>a c:a>b ");
    ha_free(ha);
}

/* --- restarts --- */

static char directory[64], path[96];

static int make_directory(void **state)
{
    snprintf(directory, sizeof directory, "/tmp/promsplit-ha-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/replicas.json", directory);
    return 0;
}

static int remove_directory(void **state)
{
    unlink(path);
    return rmdir(directory); /* nothing else is left in it */
}

static struct ha *restart(struct ha *ha, size_t clusters_max, int64_t now_ms)
{
    struct ha *again = NULL;
    ha_free(ha);
    assert_int_equal(open_ha(clusters_max, path, now_ms, &again, NULL), OK);
    return again;
}

static void put_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static void the_elected_is_waited_for_after_a_restart(void **state)
{
    struct ha *ha = restart(NULL, 10, 0);
    assert_int_equal(decide(ha, "c", "a", 0), HA_TAKE);
    assert_int_equal(decide(ha, "c", "b", 0), HA_DROP);
    ha = restart(ha, 10, 5);
    assert_int_equal(ha_clusters_n(ha), 1);
    assert_int_equal(decide(ha, "c", "b", 5), HA_WAIT);
    assert_int_equal(decide(ha, "c", "b", 5 + FAILOVER_MS - 1), HA_WAIT);
    assert_int_equal(decide(ha, "c", "a", 5 + FAILOVER_MS - 1), HA_TAKE);
    assert_int_equal(decide(ha, "c", "b", 5 + FAILOVER_MS), HA_DROP);
    assert_string_equal(elections, "");
    ha_free(ha);
}

static void one_that_does_not_come_back_is_replaced(void **state)
{
    struct ha *ha = restart(NULL, 10, 0);
    assert_int_equal(decide(ha, "c", "a", 0), HA_TAKE);
    assert_int_equal(decide(ha, "d\n\"", "\xc3\xa9", 0), HA_TAKE);
    ha = restart(ha, 10, 100);
    assert_int_equal(decide(ha, "c", "b", 100), HA_WAIT);
    assert_int_equal(decide(ha, "c", "b", 100 + FAILOVER_MS), HA_TAKE);
    assert_int_equal(decide(ha, "c", "a", 100 + FAILOVER_MS), HA_DROP);
    assert_string_equal(elections, "c:a>b ");
    ha = restart(ha, 10, 0); /* the last election is the one remembered */
    assert_int_equal(decide(ha, "c", "a", 1), HA_WAIT);
    assert_int_equal(decide(ha, "c", "b", 1), HA_TAKE);
    assert_int_equal(decide(ha, "d\n\"", "\xc3\xa9", 1), HA_TAKE);
    assert_string_equal(elections, "");
    ha_free(ha);
}

static void a_request_that_has_to_wait(void **state)
{
    struct request request = {0};
    struct ha_dropped dropped;
    struct error error;
    put_file("{\"c\":\"a\"}");
    struct ha *ha = restart(NULL, 10, 0);
    add(&request, "", "");
    add(&request, "c", "b");
    assert_int_equal(ha_filter(ha, &request.is, 1, &dropped, &error), E_UNAVAILABLE);
    assert_string_equal(error.message, "replica \"b\" of cluster \"c\" has to wait: another was elected before the "
                                       "restart, which is waited for for 30000 ms (--ha.failover-time)");
    ha_free(ha);
}

static void what_stands_in_the_file(void **state)
{
    static const struct {
        const char *text, *words; /* NULL: it is read */
        size_t n;
    } CASES[] = {
        {"{}", NULL, 0},
        {" { \"c\" : \"a\" , \"d\":\"b\",\"e\":\"b\"}\n", NULL, 2}, /* more than there is room for */
        {"{\"c\":\"a\",\"c\":\"b\",\"\":\"x\",\"y\":\"\"}", NULL, 1},
        {"", "is not a JSON object; remove it", 0},
        {"{\"c\":\"a\"", "is not a JSON object", 0},
        {"[\"c\"]", "is not a JSON object", 0},
        {"{\"c\":1}", "a replica is no text", 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct ha *ha = NULL;
        struct error error;
        put_file(CASES[i].text);
        enum status status = open_ha(2, path, 0, &ha, &error);
        assert_int_equal(status, CASES[i].words ? E_STORE : OK);
        if (CASES[i].words)
            assert_non_null(strstr(error.message, CASES[i].words));
        else
            assert_int_equal(ha_clusters_n(ha), CASES[i].n);
        ha_free(ha);
    }
}

/* Elections hold all the same. */
static void a_file_that_cannot_be_written(void **state)
{
    struct ha *ha = NULL;
    assert_int_equal(open_ha(10, "/tmp/promsplit-no-such-directory/replicas.json", 0, &ha, NULL), OK);
    assert_int_equal(decide(ha, "c", "a", 0), HA_TAKE);
    assert_int_equal(unkept, 1);
    assert_int_equal(decide(ha, "c", "b", 0), HA_DROP);
    assert_int_equal(unkept, 1);
    ha_free(ha);
}

#define CASE_OF_FILE(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_stays_elected_while_it_is_heard_of),
        cmocka_unit_test(another_is_elected_after_the_failover_time),
        cmocka_unit_test(the_elected_may_come_back_late),
        cmocka_unit_test(clusters_are_apart),
        cmocka_unit_test(one_cluster_too_many),
        cmocka_unit_test(a_mixed_request),
        cmocka_unit_test(a_failover_in_requests),
        CASE_OF_FILE(the_elected_is_waited_for_after_a_restart),
        CASE_OF_FILE(one_that_does_not_come_back_is_replaced),
        CASE_OF_FILE(a_request_that_has_to_wait),
        CASE_OF_FILE(what_stands_in_the_file),
        cmocka_unit_test(a_file_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
