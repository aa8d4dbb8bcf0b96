/* remote/series_builder.c: see series_builder.h. */
#include "remote/series_builder.h"

#include "base/assert.h"
#include "base/utf8.h"
#include "remote/body.h"
#include "remote/write_labels.h"

#define FIRST_N 64

/* Places in the arrays, which move while they grow. */
struct built_series {
    size_t label, labels_n, sample, samples_n, histograms_n, exemplars_n;
};

void series_builder_init(struct series_builder *builder, struct arena *arena, const struct write_limits *limits,
                         const char *what, struct write_request *request, struct error *reterr)
{
    *builder = (struct series_builder){
        .arena = arena, .limits = limits, .what = what, .request = request, .reterr = reterr, .why = WRITE_INVALID_MAX};
}

/* Room for `more` elements behind n. */
static bool grow(struct series_builder *b, void *place, size_t *capacity, size_t n, size_t more, size_t each)
{
    void *old, *grown;
    if (b->status != OK)
        return false;
    if (n + more <= *capacity)
        return true;
    size_t wanted = *capacity ? 2 * *capacity : FIRST_N;
    while (wanted < n + more)
        wanted *= 2;
    b->status = body_alloc(b->arena, wanted, each, b->what, &grown, b->reterr);
    if (b->status != OK)
        return false;
    memcpy(&old, place, sizeof old);
    if (*capacity)
        memcpy(grown, old, *capacity * each); /* behind n there may be samples of the open series */
    memcpy(place, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

bool series_builder_label(struct series_builder *b, struct str name, struct str value)
{
    if (!grow(b, &b->labels, &b->labels_capacity, b->labels_n, 1, sizeof *b->labels))
        return false;
    b->labels[b->labels_n++] = (struct label){name, value};
    return true;
}

struct sample *series_builder_room(struct series_builder *b, size_t n)
{
    return grow(b, &b->samples, &b->samples_capacity, b->samples_n, n, sizeof *b->samples) ? b->samples + b->samples_n
                                                                                           : NULL;
}

bool series_builder_histogram(struct series_builder *b, const struct histogram_sample *sample)
{
    if (!grow(b, &b->histograms, &b->histograms_capacity, b->histograms_n, 1, sizeof *b->histograms))
        return false;
    b->histograms[b->histograms_n++] = (struct append_histogram){.is = *sample};
    return true;
}

bool series_builder_has_histograms(const struct series_builder *b)
{
    return b->histograms_n > b->request->histograms_n;
}

bool series_builder_exemplar(struct series_builder *b, struct label *labels, size_t labels_n, double value,
                             int64_t time_ms)
{
    if (!grow(b, &b->exemplars, &b->exemplars_capacity, b->exemplars_n, 1, sizeof *b->exemplars))
        return false;
    if (write_labels_check_exemplar(labels, &labels_n))
        b->exemplars[b->exemplars_n++] = (struct append_exemplar){.is = {{labels, labels_n}, value, time_ms}};
    else
        b->request->invalid_exemplars++;
    return true;
}

/* Those of the open series go to a series that is kept, or are counted. How many there were. */
static size_t end_exemplars(struct series_builder *b, bool are_taken)
{
    struct write_request *request = b->request;
    size_t n = b->exemplars_n - request->exemplars_n;
    if (are_taken)
        request->exemplars_n = b->exemplars_n;
    else
        b->exemplars_n = request->exemplars_n;
    request->invalid_exemplars += are_taken ? 0 : n;
    return n;
}

void series_builder_drop(struct series_builder *b)
{
    b->labels_n = b->open_label;
    b->histograms_n = b->request->histograms_n;
    b->exemplars_n = b->request->exemplars_n;
}

void series_builder_end(struct series_builder *b, size_t samples_n)
{
    size_t labels_n = b->labels_n - b->open_label, histograms_n = b->histograms_n - b->request->histograms_n;
    PRE(samples_n || histograms_n || b->exemplars_n == b->request->exemplars_n);
    if (!grow(b, &b->series, &b->series_capacity, b->series_n, 1, sizeof *b->series))
        return;
    b->why = labels_n ? write_labels_check(b->limits, b->request, b->labels + b->open_label, &labels_n)
                      : write_labels_invalid(b->request, NULL, 0, "invalid metric name or labels", STR(""));
    if (b->why != WRITE_INVALID_MAX) {
        b->request->invalid_series++;
        b->request->invalid_samples[b->why] += samples_n + histograms_n;
        end_exemplars(b, false);
        series_builder_drop(b);
        return;
    }
    b->series[b->series_n++] =
        (struct built_series){b->open_label, labels_n, b->samples_n, samples_n, histograms_n, end_exemplars(b, true)};
    b->request->histograms_n = b->histograms_n;
    b->samples_n += samples_n;
    b->labels_n = b->open_label += labels_n;
}

void series_builder_extend(struct series_builder *b)
{
    if (b->why != WRITE_INVALID_MAX) {
        b->request->invalid_samples[b->why]++;
        end_exemplars(b, false);
        return;
    }
    b->series[b->series_n - 1].samples_n++;
    b->series[b->series_n - 1].exemplars_n += end_exemplars(b, true);
    b->samples_n++;
}

void series_builder_metadata(struct series_builder *b, const struct metric_metadata *metadata)
{
    struct write_request *request = b->request;
    if (metadata->family.len == 0 || !utf8_valid(metadata->family) || !utf8_valid(metadata->help) ||
        !utf8_valid(metadata->unit))
        return;
    if (grow(b, &request->metadata, &b->metadata_capacity, request->metadata_n, 1, sizeof *request->metadata))
        request->metadata[request->metadata_n++] = *metadata;
}

/* The next run of a series that ascends when its samples come before its histograms: a series of both kinds is handed
 * on in several. False: nothing is left of it. */
static bool next_run(const struct series_builder *b, struct built_series *rest, size_t *histogram,
                     size_t histograms_end, struct append_series *ret)
{
    const struct sample *samples = b->samples ? b->samples + rest->sample : NULL; /* there may be histograms alone */
    size_t n = rest->samples_n;
    if (n == 0 && *histogram == histograms_end)
        return false;
    if (*histogram < histograms_end)
        for (n = 0; n < rest->samples_n && samples[n].time_ms <= b->histograms[*histogram].is.time_ms;)
            n++;
    *ret = (struct append_series){{b->labels + rest->label, rest->labels_n}, samples, n};
    rest->sample += n;
    rest->samples_n -= n;
    while (*histogram < histograms_end &&
           (rest->samples_n == 0 || b->histograms[*histogram].is.time_ms < samples[n].time_ms))
        ++*histogram;
    return true;
}

/* Hands on all series; `to` NULL: only counts them. */
static size_t put_runs(const struct series_builder *b, struct append_series *to)
{
    size_t series_n = 0, histogram = 0, exemplar = 0;
    for (size_t i = 0; i < b->series_n; i++) {
        struct built_series rest = b->series[i];
        struct append_series run;
        size_t end = histogram + rest.histograms_n, first = histogram;
        for (; next_run(b, &rest, &histogram, end, &run); first = histogram, series_n++) {
            for (size_t k = first; to && k < histogram; k++)
                b->histograms[k].series = series_n;
            if (to)
                to[series_n] = run;
        }
        for (size_t k = 0; to && k < rest.exemplars_n; k++)
            b->exemplars[exemplar++].series = series_n - 1;
    }
    return series_n;
}

enum status series_builder_finish(struct series_builder *b)
{
    void *series = NULL;
    size_t n = b->status == OK ? put_runs(b, NULL) : 0;
    if (b->status == OK && n)
        b->status = body_alloc(b->arena, n, sizeof(struct append_series), b->what, &series, b->reterr);
    if (b->status != OK)
        return b->status;
    struct write_request *request = b->request;
    request->series = series;
    request->series_n = n ? put_runs(b, series) : 0;
    request->histograms = b->histograms;
    request->exemplars = b->exemplars;
    request->samples_n = b->samples_n;
    return OK;
}
