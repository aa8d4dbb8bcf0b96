/* backend/fake/fake_backend.c: see fake_backend.h. */
#include "backend/fake/fake_backend.h"

#include <pthread.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cardinality.h"
#include "backend/duckdb/duckdb_backend.h"
#include "backend/exemplar_ring.h"
#include "base/assert.h"
#include "base/float_text.h"

#define FAKE_BLOCK_SAMPLES 100u
#define HANG_POLL_US       500

struct fake_series {
    struct labels labels;
    struct sample *samples;
    size_t n, capacity;
    struct histogram_sample *histograms;
    size_t histograms_n;
};

struct fake_answer {
    struct str promql;
    struct grid_series *series;
    size_t n;
    uint32_t steps;
};

struct fault {
    uint32_t calls;    /* so far */
    uint32_t at;       /* the call that fails; 0: none */
    enum status fails; /* OK: it hangs */
    uint32_t hanging;
};

struct fake_backend {
    struct backend backend; /* first */
    pthread_mutex_t lock;
    struct arena arena; /* labels, answers, metadata */
    struct fake_series *series;
    size_t series_n;
    struct fake_answer *answers;
    size_t answers_n;
    struct metric_metadata *metadata;
    size_t metadata_n;
    struct exemplar_ring *exemplars;
    struct fault faults[FAKE_CALL_MAX];
};

static struct fake_backend *fake_of(struct backend *backend)
{
    return (struct fake_backend *)backend;
}

/* --- faults --- */

void fake_fail(struct backend *backend, enum fake_call call, uint32_t nth, enum status status)
{
    PRE(status != OK && nth > 0);
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    fake->faults[call].at = fake->faults[call].calls + nth;
    fake->faults[call].fails = status;
    pthread_mutex_unlock(&fake->lock);
}

void fake_hang(struct backend *backend, enum fake_call call, uint32_t nth)
{
    PRE(nth > 0 && call != FAKE_APPEND && call != FAKE_METADATA && call != FAKE_STATS && call != FAKE_CARDINALITY);
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    fake->faults[call].at = fake->faults[call].calls + nth;
    fake->faults[call].fails = OK;
    pthread_mutex_unlock(&fake->lock);
}

uint32_t fake_calls(struct backend *backend, enum fake_call call)
{
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    uint32_t calls = fake->faults[call].calls;
    pthread_mutex_unlock(&fake->lock);
    return calls;
}

uint32_t fake_hanging(struct backend *backend, enum fake_call call)
{
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    uint32_t hanging = fake->faults[call].hanging;
    pthread_mutex_unlock(&fake->lock);
    return hanging;
}

static enum status hang(struct fake_backend *fake, struct fault *fault, const struct cancel *cancel,
                        struct error *reterr)
{
    PRE(cancel);
    enum status status;
    while ((status = cancel_check(cancel, reterr)) == OK)
        usleep(HANG_POLL_US);
    pthread_mutex_lock(&fake->lock);
    fault->hanging--;
    pthread_mutex_unlock(&fake->lock);
    return status;
}

/* Counts the call; takes the lock for its work when it may go on. */
static enum status enter(struct fake_backend *fake, enum fake_call call, const struct cancel *cancel,
                         struct error *reterr)
{
    struct fault *fault = &fake->faults[call];
    pthread_mutex_lock(&fake->lock);
    if (++fault->calls != fault->at)
        return OK;
    enum status status = fault->fails;
    fault->hanging += status == OK;
    pthread_mutex_unlock(&fake->lock);
    if (status != OK)
        return error_set(reterr, status, "the fake backend was told to fail");
    return hang(fake, fault, cancel, reterr);
}

static void leave(struct fake_backend *fake)
{
    pthread_mutex_unlock(&fake->lock);
}

/* --- matching --- */

static bool pattern_matches(struct str pattern, struct str text)
{
    char *source = malloc(pattern.len + 5), *subject = strndup(text.len ? text.ptr : "", text.len);
    PRE(source && subject);
    size_t n = 0;
    memcpy(source, "^(", 2);
    n += 2;
    if (pattern.len)
        memcpy(source + n, pattern.ptr, pattern.len);
    n += pattern.len;
    memcpy(source + n, ")$", 3);
    regex_t compiled;
    bool well = regcomp(&compiled, pattern.len ? source : "^$", REG_EXTENDED | REG_NOSUB) == 0;
    bool does = well && regexec(&compiled, subject, 0, NULL, 0) == 0;
    if (well)
        regfree(&compiled);
    free(source);
    free(subject);
    return does;
}

static enum status check_pattern(void *arg, struct str pattern, struct error *reterr)
{
    char *source = strndup(pattern.len ? pattern.ptr : "", pattern.len);
    PRE(source);
    regex_t compiled;
    int failed = regcomp(&compiled, pattern.len ? source : "^$", REG_EXTENDED | REG_NOSUB);
    free(source);
    if (failed)
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: invalid: `" STR_FORMAT "`", STR_ARG(pattern));
    regfree(&compiled);
    return OK;
}

static bool arg_matches(void *arg, struct str pattern, struct str text)
{
    return pattern_matches(pattern, text);
}

static bool matcher_takes(const struct matcher *matcher, struct labels labels)
{
    struct str value = labels_get(labels, matcher->name);
    switch (matcher->op) {
    case MATCH_EQUAL:
        return str_eq(value, matcher->value);
    case MATCH_NOT_EQUAL:
        return !str_eq(value, matcher->value);
    case MATCH_REGEX:
        return pattern_matches(matcher->value, value);
    case MATCH_NOT_REGEX:
        break;
    }
    return !pattern_matches(matcher->value, value);
}

static bool all_take(const struct matcher *at, size_t n, struct labels labels)
{
    for (size_t i = 0; i < n; i++) {
        if (!matcher_takes(&at[i], labels))
            return false;
    }
    return true;
}

static bool is_within(struct time_span span, int64_t time_ms)
{
    return time_ms >= span.min_ms && time_ms <= span.max_ms;
}

static bool query_takes(const struct series_query *query, const struct fake_series *series)
{
    bool in_span = false, taken = query->selectors_n == 0;
    for (size_t i = 0; !in_span && i < series->n; i++)
        in_span = is_within(query->span, series->samples[i].time_ms);
    for (size_t i = 0; !in_span && i < series->histograms_n; i++)
        in_span = is_within(query->span, series->histograms[i].time_ms);
    for (size_t i = 0; !taken && i < query->selectors_n; i++)
        taken = all_take(query->selectors[i].matchers, query->selectors[i].matchers_n, series->labels);
    return in_span && taken;
}

/* --- writing --- */

static struct fake_series *series_of(struct fake_backend *fake, struct labels labels)
{
    size_t at = 0;
    while (at < fake->series_n && labels_cmp(fake->series[at].labels, labels) < 0)
        at++;
    if (at < fake->series_n && labels_eq(fake->series[at].labels, labels))
        return &fake->series[at];
    fake->series = realloc(fake->series, (fake->series_n + 1) * sizeof *fake->series);
    PRE(fake->series);
    memmove(&fake->series[at + 1], &fake->series[at], (fake->series_n - at) * sizeof *fake->series);
    fake->series_n++;
    fake->series[at] = (struct fake_series){.labels = labels_copy(&fake->arena, labels)};
    return &fake->series[at];
}

static void push_sample(struct fake_series *series, struct sample sample)
{
    if (series->n == series->capacity) {
        series->capacity = series->capacity ? series->capacity * 2 : 16;
        series->samples = realloc(series->samples, series->capacity * sizeof *series->samples);
        PRE(series->samples);
    }
    series->samples[series->n++] = sample;
}

/* The time of the newest sample of either kind; false: there is none. */
static bool newest_of(const struct fake_series *series, int64_t *ret_time_ms)
{
    *ret_time_ms = series->n ? series->samples[series->n - 1].time_ms : INT64_MIN;
    if (series->histograms_n && series->histograms[series->histograms_n - 1].time_ms > *ret_time_ms)
        *ret_time_ms = series->histograms[series->histograms_n - 1].time_ms;
    return series->n + series->histograms_n > 0;
}

static void append_start(struct append_request *request, struct fake_series *series, const struct sample *sample)
{
    for (size_t i = 0; i < request->starts_n; i++) {
        int64_t time_ms = request->starts[i].time_ms, newest_ms;
        bool is_newest = !newest_of(series, &newest_ms) || time_ms > newest_ms;
        if (request->starts[i].sample == sample && time_ms < sample->time_ms && is_newest) {
            push_sample(series, (struct sample){time_ms, 0});
            request->zeros++;
        }
    }
}

/* Whether a sample is newer than all of its series; else what it is is counted. same: as the newest one. */
static bool is_newest(struct append_request *request, const struct fake_series *series, int64_t time_ms, bool same)
{
    int64_t newest_ms;
    if (!newest_of(series, &newest_ms) || time_ms > newest_ms)
        return true;
    bool older = time_ms < newest_ms;
    same = same && !older;
    request->duplicates += same;
    request->out_of_order += older;
    request->conflicting += !older && !same;
    if (!same && request->refused.status == OK)
        error_set(&request->refused, E_BAD_DATA, older ? "out of order sample" : "duplicate sample for timestamp");
    return false;
}

static void append_sample(struct append_request *request, struct fake_series *series, struct sample sample)
{
    const struct sample *last = series->n ? &series->samples[series->n - 1] : NULL;
    bool same = last && last->time_ms == sample.time_ms && double_bits(sample.value) == double_bits(last->value);
    if (!is_newest(request, series, sample.time_ms, same))
        return;
    push_sample(series, sample);
    request->written++;
}

static void append_histogram(struct fake_backend *fake, struct append_request *request, struct fake_series *series,
                             const struct histogram_sample *is)
{
    size_t n = series->histograms_n;
    const struct histogram_sample *last = n ? &series->histograms[n - 1] : NULL;
    bool same = last && last->time_ms == is->time_ms && str_eq(last->packed, is->packed);
    size_t duplicates = request->duplicates;
    bool newest = is_newest(request, series, is->time_ms, same);
    request->histograms_known += request->duplicates - duplicates;
    if (!newest)
        return;
    series->histograms = realloc(series->histograms, (n + 1) * sizeof *series->histograms);
    PRE(series->histograms);
    series->histograms[series->histograms_n++] =
        (struct histogram_sample){is->time_ms, arena_str(&fake->arena, is->packed)};
    request->written++;
    request->histograms_written++;
}

static void append_metadata(struct fake_backend *fake, const struct metric_metadata *metadata)
{
    size_t at = 0;
    while (at < fake->metadata_n && str_cmp(fake->metadata[at].family, metadata->family) < 0)
        at++;
    if (at == fake->metadata_n || !str_eq(fake->metadata[at].family, metadata->family)) {
        fake->metadata = realloc(fake->metadata, (fake->metadata_n + 1) * sizeof *fake->metadata);
        PRE(fake->metadata);
        memmove(&fake->metadata[at + 1], &fake->metadata[at], (fake->metadata_n - at) * sizeof *fake->metadata);
        fake->metadata_n++;
    }
    struct arena *arena = &fake->arena;
    fake->metadata[at] = (struct metric_metadata){arena_str(arena, metadata->family), metadata->type,
                                                  arena_str(arena, metadata->help), arena_str(arena, metadata->unit)};
}

static void append_exemplar(struct fake_backend *fake, struct append_request *request,
                            const struct append_exemplar *exemplar)
{
    struct labels labels = request->series[exemplar->series].labels;
    enum exemplar_fate fate = EXEMPLAR_OF_UNKNOWN_SERIES;
    int64_t newest_ms;
    if (newest_of(series_of(fake, labels), &newest_ms))
        PRE(exemplar_ring_stage(fake->exemplars, labels, &exemplar->is, &fate, NULL) == OK);
    request->exemplars_by[fate]++;
    if (fate == EXEMPLAR_OUT_OF_ORDER && request->exemplar_refused.status == OK)
        error_set(&request->exemplar_refused, E_BAD_DATA, EXEMPLAR_OUT_OF_ORDER_WORDS);
}

static enum status fake_append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_APPEND, NULL, reterr);
    if (status != OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        struct append_request *request = &requests[i];
        request->written = request->duplicates = request->out_of_order = request->conflicting = 0;
        request->zeros = request->metadata_refused = request->late = request->too_old = request->too_far_ahead =
            request->beyond_retention = 0;
        request->histograms_written = request->histograms_known = 0;
        size_t histogram = 0;
        request->refused = request->exemplar_refused = (struct error){.status = OK};
        memset(request->exemplars_by, 0, sizeof request->exemplars_by);
        for (size_t j = 0; j < request->series_n; j++) {
            struct fake_series *series = series_of(fake, request->series[j].labels);
            for (size_t k = 0; k < request->series[j].samples_n; k++) {
                append_start(request, series, &request->series[j].samples[k]);
                append_sample(request, series, request->series[j].samples[k]);
            }
            for (; histogram < request->histograms_n && request->histograms[histogram].series == j; histogram++)
                append_histogram(fake, request, series, &request->histograms[histogram].is);
        }
        for (size_t j = 0; j < request->exemplars_n; j++)
            append_exemplar(fake, request, &request->exemplars[j]);
        for (size_t j = 0; j < request->metadata_n; j++)
            append_metadata(fake, &request->metadata[j]);
    }
    exemplar_ring_keep(fake->exemplars);
    leave(fake);
    return OK;
}

static enum status fake_delete_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                                      uint64_t *ret_samples_n, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_DELETE_SERIES, cancel, reterr);
    if (status != OK)
        return status;
    size_t series_kept = 0;
    *ret_samples_n = 0;
    for (size_t i = 0; i < fake->series_n; i++) {
        struct fake_series *series = &fake->series[i];
        bool taken = query_takes(query, series);
        size_t kept = 0, histograms_kept = 0;
        for (size_t k = 0; k < series->n; k++) {
            if (!taken || !is_within(query->span, series->samples[k].time_ms))
                series->samples[kept++] = series->samples[k];
        }
        for (size_t k = 0; k < series->histograms_n; k++) {
            if (!taken || !is_within(query->span, series->histograms[k].time_ms))
                series->histograms[histograms_kept++] = series->histograms[k];
        }
        *ret_samples_n += series->n - kept + series->histograms_n - histograms_kept;
        series->n = kept;
        series->histograms_n = histograms_kept;
        if (kept + histograms_kept > 0) {
            fake->series[series_kept++] = *series;
        } else {
            free(series->samples);
            free(series->histograms);
        }
    }
    fake->series_n = series_kept;
    leave(fake);
    return OK;
}

/* --- run --- */

static struct fake_answer *answer_of(struct fake_backend *fake, struct str promql)
{
    for (size_t i = 0; i < fake->answers_n; i++) {
        if (str_eq(fake->answers[i].promql, promql))
            return &fake->answers[i];
    }
    return NULL;
}

static struct fake_answer *answer_make(struct fake_backend *fake, const char *promql)
{
    struct fake_answer *answer = answer_of(fake, str_from(promql));
    if (answer)
        return answer;
    fake->answers = realloc(fake->answers, (fake->answers_n + 1) * sizeof *fake->answers);
    PRE(fake->answers);
    answer = &fake->answers[fake->answers_n++];
    *answer = (struct fake_answer){.promql = arena_str(&fake->arena, str_from(promql))};
    return answer;
}

void fake_answer_empty(struct backend *backend, const char *promql)
{
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    answer_make(fake, promql);
    pthread_mutex_unlock(&fake->lock);
}

static struct grid_series copy_series(struct arena *arena, struct labels labels, const double *values,
                                      const uint64_t *present, uint32_t steps)
{
    double *value_copy = ARENA_ARRAY(arena, double, steps);
    uint64_t *present_copy = ARENA_ARRAY(arena, uint64_t, (steps + 63) / 64);
    PRE(value_copy && present_copy);
    memcpy(value_copy, values, steps * sizeof *values);
    for (uint32_t k = 0; k < steps; k++) {
        if (!present || (present[k / 64] >> (k % 64) & 1))
            present_copy[k / 64] |= UINT64_C(1) << (k % 64);
    }
    return (struct grid_series){labels_copy(arena, labels), value_copy, present_copy};
}

void fake_answer(struct backend *backend, const char *promql, struct labels labels, const double *values,
                 const uint64_t *present, uint32_t steps)
{
    struct fake_backend *fake = fake_of(backend);
    pthread_mutex_lock(&fake->lock);
    struct fake_answer *answer = answer_make(fake, promql);
    answer->series = realloc(answer->series, (answer->n + 1) * sizeof *answer->series);
    PRE(answer->series && (answer->n == 0 || answer->steps == steps));
    answer->steps = steps;
    answer->series[answer->n++] = copy_series(&fake->arena, labels, values, present, steps);
    pthread_mutex_unlock(&fake->lock);
}

static int compare_series(const void *a, const void *b)
{
    return labels_cmp(((const struct grid_series *)a)->labels, ((const struct grid_series *)b)->labels);
}

static struct grid_result *result_of(const struct fake_answer *answer, struct grid grid)
{
    struct grid_result *result = calloc(1, sizeof *result);
    PRE(result);
    arena_init(&result->arena, SIZE_MAX);
    result->grid = grid;
    result->series = ARENA_ARRAY(&result->arena, struct grid_series, answer->n ? answer->n : 1);
    PRE(result->series);
    for (size_t i = 0; i < answer->n; i++) {
        const struct grid_series *from = &answer->series[i];
        struct grid_series copy = copy_series(&result->arena, from->labels, from->values, from->present, grid.steps);
        uint64_t before = result->values_n;
        for (uint32_t k = 0; k < grid.steps; k++)
            result->values_n += grid_series_has(&copy, k);
        if (result->values_n > before)
            result->series[result->series_n++] = copy;
    }
    if (result->series_n > 1)
        qsort(result->series, result->series_n, sizeof *result->series, compare_series);
    return result;
}

static enum status fake_run(struct backend *backend, const struct fragment *fragment, const struct run_limits *limits,
                            struct cancel *cancel, struct grid_result **ret_result, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_RUN, cancel, reterr);
    if (status != OK)
        return status;
    const struct fake_answer *answer = answer_of(fake, fragment->promql);
    struct grid_result *result = NULL;
    if (!answer) {
        status =
            error_set(reterr, E_STORE, "the fake backend has no answer for " STR_FORMAT, STR_ARG(fragment->promql));
    } else if (answer->n > 0 && answer->steps != fragment->grid.steps) {
        status = error_set(reterr, E_STORE, "the fake backend's answer has %u steps, the fragment %u", answer->steps,
                           fragment->grid.steps);
    } else {
        result = result_of(answer, fragment->grid);
        if (result->values_n > limits->samples_max)
            status = error_set(reterr, E_LIMIT,
                               "query processing would load too many samples into memory in query execution");
    }
    leave(fake);
    if (status == OK)
        *ret_result = result;
    else
        grid_result_free(result);
    return status;
}

static enum status fake_scan(struct backend *backend, const struct fragment *fragment, struct cancel *cancel,
                             struct scan_figures *ret_figures, struct error *reterr)
{
    *ret_figures = (struct scan_figures){.selectors_n = 0};
    return OK;
}

static bool fake_has_histograms(struct backend *backend, const struct expr_selector *selector, struct time_span span)
{
    struct fake_backend *fake = fake_of(backend);
    const struct series_query query = {.selectors = selector, .selectors_n = 1, .span = span};
    bool has = false;
    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->series_n; i++)
        has |= fake->series[i].histograms_n > 0 && query_takes(&query, &fake->series[i]);
    pthread_mutex_unlock(&fake->lock);
    return has;
}

/* --- raw samples: a copy of what was there when the cursor was opened --- */

struct raw_cursor {
    struct fake_backend *fake;
    struct cancel *cancel;
    struct arena arena;
    struct fake_series *series;
    size_t series_n, at, given, histograms_given;
};

static enum status fake_raw_open(struct backend *backend, enum raw_form form, const struct matcher *matchers, size_t n,
                                 struct time_span span, struct cancel *cancel, struct raw_cursor **ret_cursor,
                                 struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_RAW_OPEN, cancel, reterr);
    if (status != OK)
        return status;
    struct raw_cursor *cursor = calloc(1, sizeof *cursor);
    PRE(cursor);
    *cursor = (struct raw_cursor){.fake = fake, .cancel = cancel};
    arena_init(&cursor->arena, SIZE_MAX);
    cursor->series = ARENA_ARRAY(&cursor->arena, struct fake_series, fake->series_n + 1);
    for (size_t i = 0; i < fake->series_n; i++) {
        const struct fake_series *from = &fake->series[i];
        if (!all_take(matchers, n, from->labels))
            continue;
        struct fake_series *to = &cursor->series[cursor->series_n];
        *to = (struct fake_series){.labels = labels_copy(&cursor->arena, from->labels)};
        to->samples = ARENA_ARRAY(&cursor->arena, struct sample, from->n + 1);
        to->histograms = ARENA_ARRAY(&cursor->arena, struct histogram_sample, from->histograms_n + 1);
        for (size_t k = 0; k < from->n; k++) {
            if (is_within(span, from->samples[k].time_ms))
                to->samples[to->n++] = from->samples[k];
        }
        for (size_t k = 0; k < from->histograms_n; k++) {
            if (is_within(span, from->histograms[k].time_ms))
                to->histograms[to->histograms_n++] = from->histograms[k];
        }
        cursor->series_n += to->n + to->histograms_n > 0;
    }
    leave(fake);
    *ret_cursor = cursor;
    return OK;
}

static enum status fake_raw_next(struct raw_cursor *cursor, struct raw_block *ret_block, struct error *reterr)
{
    enum status status = enter(cursor->fake, FAKE_RAW_NEXT, cursor->cancel, reterr);
    if (status != OK)
        return status;
    leave(cursor->fake);
    *ret_block = (struct raw_block){.samples_n = 0};
    if (cursor->at == cursor->series_n)
        return OK;
    const struct fake_series *series = &cursor->series[cursor->at];
    const struct sample *samples = series->samples + cursor->given;
    const struct histogram_sample *histograms = series->histograms + cursor->histograms_given;
    size_t n = series->n - cursor->given, histograms_n = series->histograms_n - cursor->histograms_given, some = 0;
    *ret_block = (struct raw_block){.labels = series->labels};
    while (some < n && some < FAKE_BLOCK_SAMPLES && (!histograms_n || samples[some].time_ms < histograms[0].time_ms))
        some++;
    ret_block->samples = samples;
    ret_block->samples_n = some;
    cursor->given += some;
    if (some == 0) {
        while (some < histograms_n && (!n || histograms[some].time_ms < samples[0].time_ms))
            some++;
        ret_block->histograms = histograms;
        ret_block->histograms_n = some;
        cursor->histograms_given += some;
    }
    ret_block->series_ends = cursor->given == series->n && cursor->histograms_given == series->histograms_n;
    if (ret_block->series_ends) {
        cursor->at++;
        cursor->given = cursor->histograms_given = 0;
    }
    return OK;
}

static void fake_raw_close(struct raw_cursor *cursor)
{
    if (cursor)
        arena_release(&cursor->arena);
    free(cursor);
}

/* --- listings --- */

static enum status fake_series_op(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                                  struct series_list **ret_list, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_SERIES, cancel, reterr);
    if (status != OK)
        return status;
    struct series_list *list = calloc(1, sizeof *list);
    PRE(list);
    arena_init(&list->arena, SIZE_MAX);
    list->at = ARENA_ARRAY(&list->arena, struct labels, fake->series_n + 1);
    for (size_t i = 0; i < fake->series_n; i++) {
        if (!query_takes(query, &fake->series[i]))
            continue;
        list->truncated = query->limit && list->n == query->limit;
        if (list->truncated)
            break;
        list->at[list->n++] = labels_copy(&list->arena, fake->series[i].labels);
    }
    leave(fake);
    *ret_list = list;
    return OK;
}

static int compare_strings(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* All names, or all values of one name, of the series that match; sorted, each once. */
static struct string_list *strings_of(struct fake_backend *fake, const struct series_query *query,
                                      const struct str *name)
{
    struct string_list *list = calloc(1, sizeof *list);
    PRE(list);
    arena_init(&list->arena, SIZE_MAX);
    size_t most = 1;
    for (size_t i = 0; i < fake->series_n; i++)
        most += fake->series[i].labels.n;
    list->at = ARENA_ARRAY(&list->arena, struct str, most);
    for (size_t i = 0; i < fake->series_n; i++) {
        struct labels labels = fake->series[i].labels;
        for (size_t j = 0; j < labels.n && query_takes(query, &fake->series[i]); j++) {
            if (!name)
                list->at[list->n++] = arena_str(&list->arena, labels.at[j].name);
            else if (str_eq(labels.at[j].name, *name))
                list->at[list->n++] = arena_str(&list->arena, labels.at[j].value);
        }
    }
    if (list->n > 1)
        qsort(list->at, list->n, sizeof *list->at, compare_strings);
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (kept == 0 || !str_eq(list->at[kept - 1], list->at[i]))
            list->at[kept++] = list->at[i];
    }
    list->truncated = query->limit && kept > query->limit;
    list->n = list->truncated ? query->limit : kept;
    return list;
}

static enum status fake_label_names(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                                    struct string_list **ret_list, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_LABEL_NAMES, cancel, reterr);
    if (status != OK)
        return status;
    *ret_list = strings_of(fake, query, NULL);
    leave(fake);
    return OK;
}

static enum status fake_label_values(struct backend *backend, struct str name, const struct series_query *query,
                                     struct cancel *cancel, struct string_list **ret_list, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_LABEL_VALUES, cancel, reterr);
    if (status != OK)
        return status;
    *ret_list = strings_of(fake, query, &name);
    leave(fake);
    return OK;
}

static enum status fake_metadata(struct backend *backend, struct str family, size_t limit,
                                 struct metadata_list **ret_list, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_METADATA, NULL, reterr);
    if (status != OK)
        return status;
    struct metadata_list *list = calloc(1, sizeof *list);
    PRE(list);
    arena_init(&list->arena, SIZE_MAX);
    list->at = ARENA_ARRAY(&list->arena, struct metric_metadata, fake->metadata_n + 1);
    for (size_t i = 0; i < fake->metadata_n && (!limit || list->n < limit); i++) {
        const struct metric_metadata *from = &fake->metadata[i];
        if (family.len > 0 && !str_eq(family, from->family))
            continue;
        list->at[list->n++] =
            (struct metric_metadata){arena_str(&list->arena, from->family), from->type,
                                     arena_str(&list->arena, from->help), arena_str(&list->arena, from->unit)};
    }
    leave(fake);
    *ret_list = list;
    return OK;
}

static enum status match_all(void *arg, struct str pattern, const struct str *texts, size_t n, bool *ret_matches,
                             struct error *reterr)
{
    for (size_t i = 0; i < n; i++)
        ret_matches[i] = pattern_matches(pattern, texts[i]);
    return OK;
}

static enum status fake_exemplars(struct backend *backend, const struct series_query *query,
                                  struct exemplar_list **ret_list, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_EXEMPLARS, NULL, reterr);
    if (status != OK)
        return status;
    const struct pattern_engine patterns = {match_all, NULL};
    status = exemplar_ring_query(fake->exemplars, query, &patterns, ret_list, reterr);
    leave(fake);
    return status;
}

static enum status fake_stats(struct backend *backend, struct backend_stats *ret_stats, struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    enum status status = enter(fake, FAKE_STATS, NULL, reterr);
    if (status != OK)
        return status;
    struct backend_stats stats = {
        .min_time_ms = INT64_MAX, .max_time_ms = INT64_MIN, .exemplars_n = exemplar_ring_n(fake->exemplars)};
    for (size_t i = 0; i < fake->series_n; i++) {
        const struct fake_series *series = &fake->series[i];
        int64_t oldest, newest;
        if (!newest_of(series, &newest))
            continue;
        oldest = series->n ? series->samples[0].time_ms : INT64_MAX;
        if (series->histograms_n && series->histograms[0].time_ms < oldest)
            oldest = series->histograms[0].time_ms;
        stats.series_n++;
        stats.samples_n += series->n + series->histograms_n;
        stats.histograms_n += series->histograms_n;
        stats.min_time_ms = oldest < stats.min_time_ms ? oldest : stats.min_time_ms;
        stats.max_time_ms = newest > stats.max_time_ms ? newest : stats.max_time_ms;
    }
    leave(fake);
    *ret_stats = stats;
    return OK;
}

static int compare_label(const void *a, const void *b)
{
    const struct label *x = a, *y = b;
    int order = str_cmp(x->name, y->name);
    return order ? order : str_cmp(x->value, y->value);
}

/* Of all labels of all series, sorted. */
static void offer_labels(struct cardinality_builder *builder, const struct label *at, size_t n)
{
    struct cardinality_figure values = {.count = 0}, bytes = {.count = 0};
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && compare_label(&at[i], &at[end]) == 0;)
            end++;
        builder->made->pairs_n++;
        cardinality_offer(builder, CARDINALITY_PAIR, (struct cardinality_figure){at[i].name, at[i].value, end - i});
        if (str_eq(at[i].name, LABEL_METRIC_NAME))
            cardinality_offer(builder, CARDINALITY_METRIC,
                              (struct cardinality_figure){.name = at[i].value, .count = end - i});
        values.name = bytes.name = at[i].name;
        values.count++;
        bytes.count += at[i].value.len * (end - i);
        if (end < n && str_eq(at[end].name, at[i].name))
            continue;
        cardinality_offer(builder, CARDINALITY_VALUES, values);
        cardinality_offer(builder, CARDINALITY_VALUE_BYTES, bytes);
        values.count = bytes.count = 0;
    }
}

static bool has_any(const struct fake_series *series)
{
    return series->n + series->histograms_n > 0;
}

static enum status fake_cardinality(struct backend *backend, size_t limit, struct cardinality_report **ret_cardinality,
                                    struct error *reterr)
{
    struct fake_backend *fake = fake_of(backend);
    struct cardinality_builder builder;
    enum status status = cardinality_begin(&builder, limit, reterr);
    if (status != OK)
        return status;
    status = enter(fake, FAKE_CARDINALITY, NULL, reterr);
    if (status != OK) {
        cardinality_free(builder.made);
        return status;
    }
    size_t n = 0, most = 0;
    for (size_t i = 0; i < fake->series_n; i++)
        most += has_any(&fake->series[i]) ? fake->series[i].labels.n : 0;
    struct label *labels = calloc(most + 1, sizeof *labels);
    PRE(labels);
    for (size_t i = 0; i < fake->series_n; i++) {
        builder.made->series_n += has_any(&fake->series[i]);
        for (size_t k = 0; has_any(&fake->series[i]) && k < fake->series[i].labels.n; k++)
            labels[n++] = fake->series[i].labels.at[k];
    }
    qsort(labels, n, sizeof *labels, compare_label);
    offer_labels(&builder, labels, n);
    status = cardinality_finish(&builder, ret_cardinality, reterr);
    leave(fake);
    free(labels);
    return status;
}

static struct regex_engine fake_regex(struct backend *backend)
{
    return (struct regex_engine){.check = check_pattern, .matches = arg_matches, .arg = backend};
}

static void fake_close(struct backend *backend)
{
    struct fake_backend *fake = fake_of(backend);
    for (size_t i = 0; i < fake->series_n; i++) {
        free(fake->series[i].samples);
        free(fake->series[i].histograms);
    }
    for (size_t i = 0; i < fake->answers_n; i++)
        free(fake->answers[i].series);
    free(fake->series);
    free(fake->answers);
    free(fake->metadata);
    exemplar_ring_free(fake->exemplars);
    arena_release(&fake->arena);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static const struct backend_ops OPS = {
    .name = "fake",
    .capabilities = &duckdb_capabilities,
    .append = fake_append,
    .delete_series = fake_delete_series,
    .run = fake_run,
    .scan = fake_scan,
    .has_histograms = fake_has_histograms,
    .raw_open = fake_raw_open,
    .raw_next = fake_raw_next,
    .raw_close = fake_raw_close,
    .series = fake_series_op,
    .label_names = fake_label_names,
    .label_values = fake_label_values,
    .metadata = fake_metadata,
    .exemplars = fake_exemplars,
    .stats = fake_stats,
    .cardinality = fake_cardinality,
    .regex = fake_regex,
    .close = fake_close,
};

struct backend *fake_backend_new(void)
{
    struct fake_backend *fake = calloc(1, sizeof *fake);
    PRE(fake);
    fake->backend.ops = &OPS;
    pthread_mutex_init(&fake->lock, NULL);
    arena_init(&fake->arena, SIZE_MAX);
    PRE(exemplar_ring_new(FAKE_EXEMPLARS_MAX, &fake->exemplars, NULL) == OK);
    return &fake->backend;
}
