/* remote/series_builder.c: see series_builder.h. */
#include "remote/series_builder.h"

#include "base/utf8.h"
#include "remote/body.h"
#include "remote/write_labels.h"

#define FIRST_N 64

/* Places in the arrays, which move while they grow. */
struct built_series {
    size_t label, labels_n, sample, samples_n;
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

void series_builder_drop(struct series_builder *b)
{
    b->labels_n = b->open_label;
}

void series_builder_end(struct series_builder *b, size_t samples_n)
{
    size_t labels_n = b->labels_n - b->open_label;
    if (!grow(b, &b->series, &b->series_capacity, b->series_n, 1, sizeof *b->series))
        return;
    b->why = labels_n ? write_labels_check(b->limits, b->request, b->labels + b->open_label, &labels_n)
                      : write_labels_invalid(b->request, NULL, 0, "invalid metric name or labels", STR(""));
    if (b->why != WRITE_INVALID_MAX) {
        b->request->invalid_series++;
        b->request->invalid_samples[b->why] += samples_n;
        series_builder_drop(b);
        return;
    }
    b->series[b->series_n++] = (struct built_series){b->open_label, labels_n, b->samples_n, samples_n};
    b->samples_n += samples_n;
    b->labels_n = b->open_label += labels_n;
}

void series_builder_extend(struct series_builder *b)
{
    if (b->why != WRITE_INVALID_MAX) {
        b->request->invalid_samples[b->why]++;
        return;
    }
    b->series[b->series_n - 1].samples_n++;
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

enum status series_builder_finish(struct series_builder *b)
{
    void *series = NULL;
    if (b->status == OK && b->series_n)
        b->status = body_alloc(b->arena, b->series_n, sizeof(struct append_series), b->what, &series, b->reterr);
    if (b->status != OK)
        return b->status;
    struct write_request *request = b->request;
    request->series = series;
    for (size_t i = 0; i < b->series_n; i++) {
        const struct built_series *built = &b->series[i];
        if (built->samples_n)
            request->series[request->series_n++] = (struct append_series){
                {b->labels + built->label, built->labels_n}, b->samples + built->sample, built->samples_n};
    }
    request->samples_n = b->samples_n;
    return OK;
}
