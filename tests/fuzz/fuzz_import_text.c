/* tests/fuzz/fuzz_import_text.c: text to import. The first byte chooses the format and the size of the pieces in which
 * the text is handed over a second time.
 *
 * Whatever was read must satisfy what import_text.h promises, and pieces must give what the whole gives. */
#include "base/assert.h"
#include "base/float_text.h"
#include "remote/import_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct write_limits LIMITS = {.labels_max = 16, .label_name_max_bytes = 64, .label_value_max_bytes = 256};

/* What of a reading must not depend on how it was cut. */
struct outcome {
    size_t samples, bad_lines, invalid_series, exemplars, metadata;
    uint64_t line, hash;
};

static void add_series(struct outcome *outcome, const struct append_series *series)
{
    INVARIANT(series->samples_n > 0);
    INVARIANT(series->labels.n > 0 && series->labels.n <= LIMITS.labels_max);
    INVARIANT(labels_get(series->labels, LABEL_METRIC_NAME).len > 0);
    for (size_t i = 0; i < series->labels.n; i++) {
        INVARIANT(series->labels.at[i].value.len > 0);
        INVARIANT(i == 0 || str_cmp(series->labels.at[i - 1].name, series->labels.at[i].name) < 0);
    }
    uint64_t labels = labels_hash(series->labels);
    for (size_t i = 0; i < series->samples_n; i++) {
        outcome->hash += labels ^ double_bits(series->samples[i].value) * 31 ^ (uint64_t)series->samples[i].time_ms;
        outcome->samples++;
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

static struct outcome read_all(enum import_format format, struct str text, size_t piece, size_t samples_max)
{
    struct import_text reader = {.format = format, .limits = &LIMITS, .time_ms = IMPORT_TIME_NEEDED};
    struct outcome outcome = {0};
    size_t at = 0;
    bool last = false;
    for (size_t end = piece < text.len ? piece : text.len; !last;
         end = end + piece < text.len ? end + piece : text.len) {
        last = end == text.len;
        size_t used;
        do {
            struct arena arena;
            struct import_part part;
            struct error error = {0};
            arena_init(&arena, 1 << 26);
            INVARIANT(import_text_read(&reader, &arena, (struct str){text.ptr + at, end - at}, last, samples_max, &used,
                                       &part, &error) == OK);
            INVARIANT(used <= end - at && (!last || used > 0 || at == end));
            INVARIANT((part.bad.status != OK) == (part.bad_lines > 0));
            INVARIANT((part.request.invalid.status != OK) == (part.request.invalid_series > 0));
            for (size_t i = 0; i < part.request.series_n; i++)
                add_series(&outcome, &part.request.series[i]);
            outcome.bad_lines += part.bad_lines;
            outcome.invalid_series += part.request.invalid_series;
            outcome.exemplars += part.request.exemplars_n + part.request.invalid_exemplars;
            check_exemplars(&part.request);
            outcome.metadata += part.request.metadata_n;
            at += used;
            arena_release(&arena);
        } while (used > 0 && at < end);
    }
    INVARIANT(at == text.len);
    outcome.line = reader.line;
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum import_format format = (enum import_format)(data[0] % 3);
    struct str text = {(const char *)data + 1, size - 1};
    struct outcome whole = read_all(format, text, size, SIZE_MAX);
    struct outcome pieces = read_all(format, text, (size_t)data[0] / 3 + 1, 1);
    INVARIANT(whole.samples == pieces.samples && whole.hash == pieces.hash && whole.line == pieces.line);
    INVARIANT(whole.bad_lines == pieces.bad_lines && whole.exemplars == pieces.exemplars);
    INVARIANT(whole.metadata == pieces.metadata);
    return 0;
}
