/* tests/fuzz/fuzz_write_request.c: remote write bodies. An even first byte: the rest is a snappy body; odd: the rest is
 * the message inside, so that the fuzzer need not learn snappy first. With its second bit the request is one of 2.0.
 *
 * Whatever was accepted must satisfy what write_request.h promises, agree with protobuf-c where that accepts it too
 * (1.0), and come back the same from our own encoder, which writes 1.0. */
#include "base/assert.h"
#include "base/float_text.h"
#include "base/utf8.h"
#include "proto/remote.pb-c.h"
#include "remote/native_histogram.h"
#include "remote/write_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct write_limits LIMITS = {.body_max_bytes = 1 << 20,
                                           .decoded_max_bytes = 1 << 20,
                                           .labels_max = 16,
                                           .label_name_max_bytes = 64,
                                           .label_value_max_bytes = 256,
                                           .wants_starts = true};

static void check_series(const struct append_series *series)
{
    INVARIANT(series->labels.n > 0 && series->labels.n <= LIMITS.labels_max);
    INVARIANT(labels_get(series->labels, LABEL_METRIC_NAME).len > 0);
    for (size_t i = 0; i < series->labels.n; i++) {
        INVARIANT(series->labels.at[i].value.len > 0);
        INVARIANT(i == 0 || str_cmp(series->labels.at[i - 1].name, series->labels.at[i].name) < 0);
    }
}

/* The packed form is one that comes back as it is. */
static void check_histogram(const struct histogram_sample *sample)
{
    struct arena arena;
    struct native_histogram histogram;
    struct histogram_sample again;
    arena_init(&arena, 1 << 26);
    INVARIANT(native_histogram_unpack(&arena, sample->packed, &histogram, NULL) == OK);
    INVARIANT(native_histogram_check(&histogram, NULL) == OK);
    INVARIANT(native_histogram_store(&arena, &histogram, &again, NULL) == OK);
    INVARIANT(str_eq(again.packed, sample->packed));
    arena_release(&arena);
}

/* And native histograms. */
static void check_exemplars(const struct write_request *request)
{
    size_t at = 0, histogram = 0;
    for (size_t i = 0; i < request->series_n; i++) {
        size_t first = at, first_histogram = histogram;
        for (; histogram < request->histograms_n && request->histograms[histogram].series == i; histogram++)
            check_histogram(&request->histograms[histogram].is);
        for (; at < request->exemplars_n && request->exemplars[at].series == i; at++) {
            struct labels labels = request->exemplars[at].is.labels;
            for (size_t k = 0; k < labels.n; k++) {
                INVARIANT(labels.at[k].name.len > 0 && labels.at[k].value.len > 0);
                INVARIANT(utf8_valid(labels.at[k].name) && utf8_valid(labels.at[k].value));
                INVARIANT(k == 0 || str_cmp(labels.at[k - 1].name, labels.at[k].name) < 0);
            }
        }
        INVARIANT(request->series[i].samples_n > 0 || at > first || histogram > first_histogram);
    }
    INVARIANT(histogram == request->histograms_n);
    INVARIANT(at == request->exemplars_n);
}

static void check_metadata(const struct metric_metadata *metadata)
{
    INVARIANT(metadata->family.len > 0 && metadata->type <= METRIC_STATESET);
    INVARIANT(metadata->family.len <= WRITE_METADATA_TEXT_MAX_BYTES && utf8_valid(metadata->family));
    INVARIANT(metadata->help.len <= WRITE_METADATA_TEXT_MAX_BYTES && utf8_valid(metadata->help));
    INVARIANT(metadata->unit.len <= WRITE_METADATA_TEXT_MAX_BYTES && utf8_valid(metadata->unit));
}

static void check_against_protobuf_c(struct str message, const struct write_request *request)
{
    Prometheus__WriteRequest *wire = prometheus__write_request__unpack(NULL, message.len, (const uint8_t *)message.ptr);
    if (!wire)
        return;
    size_t samples = 0, histograms = 0, exemplars = 0;
    for (size_t i = 0; i < wire->n_timeseries; i++) {
        samples += wire->timeseries[i]->n_samples;
        histograms += wire->timeseries[i]->n_histograms;
        exemplars += wire->timeseries[i]->n_exemplars;
    }
    INVARIANT(request->samples_n + write_request_invalid_samples(request) + request->histograms_n +
                  request->invalid_histograms ==
              samples + histograms);
    INVARIANT(request->exemplars_n + request->invalid_exemplars == exemplars);
    prometheus__write_request__free_unpacked(wire, NULL);
}

/* Series with exemplars or native histograms alone are left out: ours writes none. */
static void check_round_trip(struct write_request *request)
{
    size_t kept = 0;
    for (size_t i = 0; i < request->series_n; i++)
        if (request->series[i].samples_n > 0)
            request->series[kept++] = request->series[i];
    request->series_n = kept;
    struct strbuf body;
    strbuf_init(&body, 1 << 26);
    INVARIANT(write_request_encode(request->series, request->series_n, request->metadata, request->metadata_n, &body,
                                   NULL) == OK);
    struct write_limits wide = LIMITS;
    wide.body_max_bytes = wide.decoded_max_bytes = 1 << 26;
    struct arena arena;
    arena_init(&arena, 1 << 28);
    struct write_request again;
    INVARIANT(write_request_decode(&arena, strbuf_view(&body), WRITE_1_0, &wide, &again, NULL) == OK);
    INVARIANT(again.series_n == request->series_n && again.metadata_n == request->metadata_n);
    INVARIANT(again.samples_n == request->samples_n && again.invalid_series == 0 && again.invalid_metadata == 0);
    for (size_t i = 0; i < again.series_n; i++) {
        const struct append_series *a = &again.series[i], *b = &request->series[i];
        INVARIANT(labels_eq(a->labels, b->labels) && a->samples_n == b->samples_n);
        INVARIANT(memcmp(a->samples, b->samples, a->samples_n * sizeof *a->samples) == 0);
    }
    arena_release(&arena);
    strbuf_release(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct str rest = {(const char *)data + 1, size - 1};
    struct arena arena;
    arena_init(&arena, 1 << 26);
    struct write_request request;
    struct error error = {0};
    enum write_version version = data[0] & 2 ? WRITE_2_0 : WRITE_1_0;
    enum status status = data[0] % 2 == 0 ? write_request_decode(&arena, rest, version, &LIMITS, &request, &error)
                                          : write_request_unpack(&arena, rest, version, &LIMITS, &request, &error);
    INVARIANT(status == error.status);
    if (status == OK) {
        INVARIANT((request.invalid.status != OK) == (request.invalid_series > 0));
        for (size_t i = 0; i < request.series_n; i++)
            check_series(&request.series[i]);
        check_exemplars(&request);
        for (size_t i = 0; i < request.starts_n; i++)
            INVARIANT(request.starts[i].time_ms != 0 &&
                      (i == 0 || request.starts[i - 1].sample < request.starts[i].sample));
        for (size_t i = 0; i < request.metadata_n; i++)
            check_metadata(&request.metadata[i]);
        if (data[0] % 2 != 0 && version == WRITE_1_0)
            check_against_protobuf_c(rest, &request);
        check_round_trip(&request);
    }
    arena_release(&arena);
    return 0;
}
