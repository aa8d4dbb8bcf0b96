/* tests/fuzz/fuzz_otlp.c: OTLP metrics messages. Whatever was accepted must satisfy what otlp.h promises. */
#include "base/assert.h"
#include "remote/native_histogram.h"
#include "remote/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each stands behind the series it is of, and is one that Prometheus would take. */
static void check_histograms(struct arena *arena, const struct write_request *request)
{
    size_t series = 0;
    for (size_t i = 0; i < request->histograms_n; i++) {
        const struct append_histogram *one = &request->histograms[i];
        struct native_histogram histogram;
        INVARIANT(one->series >= series && one->series < request->series_n);
        INVARIANT(request->series[one->series].samples_n == 0);
        INVARIANT(native_histogram_unpack(arena, one->is.packed, &histogram, NULL) == OK);
        INVARIANT(native_histogram_check(&histogram, NULL) == OK);
        series = one->series;
    }
}

static void check_exemplars(const struct write_request *request)
{
    for (size_t i = 0; i < request->exemplars_n; i++) {
        const struct append_exemplar *one = &request->exemplars[i];
        INVARIANT(one->series < request->series_n && (i == 0 || one->series >= request->exemplars[i - 1].series));
        for (size_t k = 0; k < one->is.labels.n; k++)
            INVARIANT(k == 0 || str_cmp(one->is.labels.at[k - 1].name, one->is.labels.at[k].name) < 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct write_limits LIMITS = {
        .labels_max = 16, .label_name_max_bytes = 64, .label_value_max_bytes = 256};
    struct arena arena;
    struct otlp_request got;
    struct error error = {0};
    arena_init(&arena, 1 << 26);
    enum status status = otlp_unpack(&arena, (struct str){(const char *)data, size}, &LIMITS, &got, &error);
    INVARIANT(status == error.status);
    if (status == OK) {
        INVARIANT(got.rejected_points + got.request.invalid_histograms <= got.points_n);
        INVARIANT((got.request.invalid_histogram.status != OK) == (got.request.invalid_histograms > 0));
        check_histograms(&arena, &got.request);
        check_exemplars(&got.request);
        for (size_t i = 0; i < got.request.series_n; i++) {
            const struct append_series *series = &got.request.series[i];
            INVARIANT(series->samples_n <= 1 && series->labels.n <= LIMITS.labels_max);
            INVARIANT(labels_get(series->labels, LABEL_METRIC_NAME).len > 0);
            for (size_t k = 1; k < series->labels.n; k++)
                INVARIANT(str_cmp(series->labels.at[k - 1].name, series->labels.at[k].name) < 0);
        }
    }
    arena_release(&arena);
    return 0;
}
