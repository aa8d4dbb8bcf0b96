/* remote/write_decoder.c: see write_decoder.h. */
#include "remote/write_decoder.h"

#include "backend/metric_type.h"
#include "base/assert.h"
#include "base/utf8.h"
#include "remote/body.h"
#include "remote/native_histogram.h"
#include "remote/write_labels.h"

#define METADATA_FIRST_N 64

/* --- malformed messages --- */

static size_t offset_of(const struct write_decoder *decoder, const unsigned char *at)
{
    return (size_t)(at - (const unsigned char *)decoder->message.ptr);
}

enum status write_decoder_malformed(const struct write_decoder *decoder, const unsigned char *at, const char *message)
{
    return error_set(decoder->reterr, E_BAD_DATA, WRITE_WHAT " is not valid protobuf: %s at byte %zu of %zu", message,
                     offset_of(decoder, at), decoder->message.len);
}

enum status write_decoder_wrong_type(const struct write_decoder *decoder, const unsigned char *at,
                                     const struct wire_field *field, const char *message)
{
    return error_set(decoder->reterr, E_BAD_DATA,
                     WRITE_WHAT " is not valid protobuf: wrong wireType = %d for field %u of %s at byte %zu of %zu",
                     (int)field->type, (unsigned)field->number, message, offset_of(decoder, at), decoder->message.len);
}

/* --- memory --- */

enum status write_decoder_allocate(struct write_decoder *decoder)
{
    const struct write_counts *counts = &decoder->counts;
    void *series = NULL, *labels = NULL, *samples = NULL, *histograms = NULL, *exemplars = NULL;
    void *exemplar_labels = NULL, *symbols = NULL;
    const struct {
        size_t n, each;
        void **place;
    } arrays[] = {{counts->series, sizeof(struct append_series), &series},
                  {counts->labels, sizeof(struct label), &labels},
                  {counts->samples, sizeof(struct sample), &samples},
                  {counts->histograms, sizeof(struct append_histogram), &histograms},
                  {counts->exemplars, sizeof(struct append_exemplar), &exemplars},
                  {counts->exemplar_labels, sizeof(struct label), &exemplar_labels},
                  {counts->symbols, sizeof(struct str), &symbols}};
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(arrays); i++)
        if (arrays[i].n)
            status =
                body_alloc(decoder->arena, arrays[i].n, arrays[i].each, WRITE_WHAT, arrays[i].place, decoder->reterr);
    decoder->request.labels = decoder->labels = labels;
    decoder->samples = samples;
    decoder->histograms = decoder->series_histograms = decoder->request.histograms = histograms;
    decoder->exemplars = decoder->series_exemplars = decoder->request.exemplars = exemplars;
    decoder->exemplar_labels = exemplar_labels;
    decoder->symbols = symbols;
    decoder->request.series = series;
    return status;
}

/* --- samples --- */

bool write_decoder_has_starts(const struct write_decoder *decoder, const struct sample *samples)
{
    const struct write_request *request = &decoder->request;
    return request->starts_n && request->starts[request->starts_n - 1].sample >= samples;
}

enum status write_decoder_start(struct write_decoder *decoder, const struct sample *sample, int64_t start_ms)
{
    struct write_request *request = &decoder->request;
    if (start_ms == 0 || !decoder->limits->wants_starts)
        return OK;
    if (!request->starts) {
        void *starts;
        enum status status = body_alloc(decoder->arena, decoder->counts.samples, sizeof *request->starts, WRITE_WHAT,
                                        &starts, decoder->reterr);
        if (status != OK)
            return status;
        request->starts = starts;
    }
    request->starts[request->starts_n++] = (struct append_start){sample, start_ms};
    return OK;
}

enum status write_decoder_sample(struct write_decoder *decoder, struct str bytes, uint32_t fields_n)
{
    struct wire_in in = wire_in(bytes);
    struct sample sample = {0};
    int64_t start_ms = 0;
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "Sample");
        if (field.number > fields_n)
            continue;
        if (field.type != (field.number == 1 ? WIRE_FIXED64 : WIRE_VARINT))
            return write_decoder_wrong_type(decoder, begin, &field, "Sample");
        if (field.number == 1)
            sample.value = double_from_bits(field.value);
        else
            *(field.number == 2 ? &sample.time_ms : &start_ms) = (int64_t)field.value;
    }
    enum status status = write_decoder_start(decoder, decoder->samples, start_ms);
    *decoder->samples++ = sample;
    return status;
}

/* --- native histograms --- */

enum status write_decoder_histogram(struct write_decoder *decoder, struct str bytes)
{
    struct native_histogram histogram;
    struct error wrong = {.status = OK};
    enum status status = native_histogram_unpack(&decoder->scratch, bytes, &histogram, &wrong);
    if (status == E_BAD_DATA)
        return write_decoder_malformed(decoder, (const unsigned char *)bytes.ptr, "Histogram");
    if (status == OK)
        status = native_histogram_check(&histogram, &wrong);
    if (status == OK) {
        status = native_histogram_store(decoder->arena, &histogram, &decoder->histograms->is, decoder->reterr);
        decoder->histograms += status == OK;
    } else if (status == E_BAD_DATA || status == E_LIMIT) {
        decoder->request.invalid_histograms++;
        if (decoder->wrong_histogram.status == OK)
            decoder->wrong_histogram = wrong;
        status = OK;
    } else if (decoder->reterr) {
        *decoder->reterr = wrong;
    }
    arena_reset(&decoder->scratch);
    return status;
}

/* --- exemplars --- */

void write_decoder_drop_exemplar(struct write_decoder *decoder, struct label *labels)
{
    decoder->request.invalid_exemplars++;
    decoder->exemplar_labels = labels;
}

void write_decoder_end_exemplar(struct write_decoder *decoder, struct label *labels, double value, int64_t time_ms)
{
    size_t n = (size_t)(decoder->exemplar_labels - labels);
    if (!write_labels_check_exemplar(labels, &n)) {
        write_decoder_drop_exemplar(decoder, labels);
        return;
    }
    decoder->exemplar_labels = n ? labels + n : labels; /* without any there may be no array */
    *decoder->exemplars++ = (struct append_exemplar){.is = {{labels, n}, value, time_ms}};
}

/* --- metadata --- */

static bool metadata_is_valid(const struct metric_metadata *metadata)
{
    const struct str texts[] = {metadata->family, metadata->help, metadata->unit};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        if (texts[i].len > WRITE_METADATA_TEXT_MAX_BYTES || !utf8_valid(texts[i]))
            return false;
    return metadata->family.len > 0;
}

/* Where the family's number stands in the table, or is to stand. */
static uint32_t *family_slot(const struct write_decoder *decoder, struct str family)
{
    const struct label key = {family, STR("")};
    size_t slots_n = 2 * decoder->metadata_capacity; /* a power of two */
    size_t i = labels_hash((struct labels){&key, 1}) & (slots_n - 1);
    while (decoder->families[i] && !str_eq(decoder->request.metadata[decoder->families[i] - 1].family, family))
        i = (i + 1) & (slots_n - 1);
    return &decoder->families[i];
}

/* How much metadata a message has is not known before its labels were read. */
static enum status grow_metadata(struct write_decoder *decoder)
{
    struct write_request *request = &decoder->request;
    size_t capacity = decoder->metadata_capacity ? 2 * decoder->metadata_capacity : METADATA_FIRST_N;
    void *metadata, *families;
    enum status status =
        body_alloc(decoder->arena, capacity, sizeof *request->metadata, WRITE_WHAT, &metadata, decoder->reterr);
    if (status == OK)
        status =
            body_alloc(decoder->arena, 2 * capacity, sizeof *decoder->families, WRITE_WHAT, &families, decoder->reterr);
    if (status != OK)
        return status;
    if (request->metadata_n)
        memcpy(metadata, request->metadata, request->metadata_n * sizeof *request->metadata);
    request->metadata = metadata;
    decoder->families = families;
    decoder->metadata_capacity = capacity;
    for (size_t i = 0; i < request->metadata_n; i++)
        *family_slot(decoder, request->metadata[i].family) = (uint32_t)i + 1;
    return OK;
}

enum status write_decoder_metadata(struct write_decoder *decoder, const struct metric_metadata *metadata)
{
    struct write_request *request = &decoder->request;
    if (!metadata_is_valid(metadata)) {
        request->invalid_metadata++;
        return OK;
    }
    if (request->metadata_n == decoder->metadata_capacity) {
        enum status status = grow_metadata(decoder);
        if (status != OK)
            return status;
    }
    uint32_t *slot = family_slot(decoder, metadata->family);
    if (!*slot)
        *slot = (uint32_t)++request->metadata_n;
    request->metadata[*slot - 1] = *metadata;
    return OK;
}

static bool has_metadata(const struct metric_metadata *metadata)
{
    return metadata->type != METRIC_UNKNOWN || metadata->help.len || metadata->unit.len;
}

/* Where the metadata has what a label of that name says of it; NULL if the label is none of those. */
static struct str *metadata_label(struct str name, struct metric_metadata *metadata, struct str *type)
{
    if (name.len != sizeof "__metric_type__" - 1 || name.ptr[0] != '_')
        return NULL;
    return str_eq(name, STR("__metric_type__"))   ? type
           : str_eq(name, STR("__metric_help__")) ? &metadata->help
           : str_eq(name, STR("__metric_unit__")) ? &metadata->unit
                                                  : NULL;
}

/* Takes the labels that are metadata off the others. */
static void take_metadata_labels(struct label *at, size_t *n, struct metric_metadata *metadata)
{
    size_t kept = 0;
    struct str type = {0};
    for (size_t i = 0; i < *n; i++) {
        struct str *text = metadata_label(at[i].name, metadata, &type);
        if (text)
            *text = at[i].value;
        else if (kept++ != i)
            at[kept - 1] = at[i];
    }
    if (type.len)
        metadata->type = metric_type_of(type);
    *n = kept;
}

/* The family that a series of that type belongs to: histograms and summaries have series of several names. */
static struct str family_of(struct str name, enum metric_type type)
{
    static const struct {
        enum metric_type type;
        const char *ending;
    } ENDINGS[] = {
        {METRIC_HISTOGRAM, "_bucket"},       {METRIC_HISTOGRAM, "_count"},     {METRIC_HISTOGRAM, "_sum"},
        {METRIC_SUMMARY, "_count"},          {METRIC_SUMMARY, "_sum"},         {METRIC_GAUGE_HISTOGRAM, "_bucket"},
        {METRIC_GAUGE_HISTOGRAM, "_gcount"}, {METRIC_GAUGE_HISTOGRAM, "_gsum"}};
    for (size_t i = 0; i < ARRAY_LENGTH(ENDINGS); i++) {
        struct str ending = str_from(ENDINGS[i].ending);
        if (ENDINGS[i].type == type && name.len > ending.len && str_ends_with(name, ending))
            return (struct str){name.ptr, name.len - ending.len};
    }
    return name;
}

/* --- series --- */

/* The exemplars of the series that comes next in the request, or of none. */
static void end_exemplars(struct write_decoder *decoder, bool are_taken)
{
    struct write_request *request = &decoder->request;
    size_t n = (size_t)(decoder->exemplars - decoder->series_exemplars);
    for (size_t i = 0; are_taken && i < n; i++)
        decoder->series_exemplars[i].series = request->series_n;
    if (are_taken)
        request->exemplars_n += n;
    else
        decoder->exemplars = decoder->series_exemplars;
    request->invalid_exemplars += are_taken ? 0 : n;
    decoder->series_exemplars = decoder->exemplars;
}

/* Likewise; how many there are. */
static size_t end_histograms(struct write_decoder *decoder, bool are_taken)
{
    struct write_request *request = &decoder->request;
    size_t n = (size_t)(decoder->histograms - decoder->series_histograms);
    for (size_t i = 0; are_taken && i < n; i++)
        decoder->series_histograms[i].series = request->series_n;
    if (are_taken)
        request->histograms_n += n;
    else
        decoder->histograms = decoder->series_histograms;
    decoder->series_histograms = decoder->histograms;
    return n;
}

/* The first wrong histogram of the request is told of with its series. */
static void end_wrong_histograms(struct write_decoder *decoder, struct labels labels)
{
    struct write_request *request = &decoder->request;
    if (decoder->wrong_histogram.status != OK && request->invalid_histogram.status == OK)
        write_labels_describe(&request->invalid_histogram, decoder->wrong_histogram.message, " for series ", labels);
    decoder->wrong_histogram = (struct error){.status = OK};
}

enum status write_decoder_end_series(struct write_decoder *decoder, struct label *labels, struct sample *samples,
                                     enum write_invalid why, const struct metric_metadata *metadata)
{
    struct write_request *request = &decoder->request;
    struct metric_metadata said = metadata ? *metadata : (struct metric_metadata){.type = METRIC_UNKNOWN};
    size_t labels_n = (size_t)(decoder->labels - labels);
    size_t samples_n = (size_t)(decoder->samples - samples);
    take_metadata_labels(labels, &labels_n, &said);
    if (why == WRITE_INVALID_MAX)
        why = write_labels_check(decoder->limits, request, labels, &labels_n);
    decoder->labels = labels;
    end_wrong_histograms(decoder, (struct labels){labels, labels_n});
    if (why != WRITE_INVALID_MAX) {
        request->invalid_series++;
        request->invalid_samples[why] += samples_n + end_histograms(decoder, false);
        decoder->samples = samples;
        end_exemplars(decoder, false);
        while (write_decoder_has_starts(decoder, samples))
            request->starts_n--;
        return OK;
    }
    const struct labels kept = {labels, labels_n};
    bool is_handed_on =
        samples_n || decoder->histograms > decoder->series_histograms || decoder->exemplars > decoder->series_exemplars;
    end_histograms(decoder, true);
    end_exemplars(decoder, true);
    if (is_handed_on) {
        decoder->labels += labels_n;
        request->series[request->series_n++] =
            (struct append_series){.labels = kept, .samples = samples, .samples_n = samples_n};
        request->samples_n += samples_n;
    }
    if (!has_metadata(&said))
        return OK;
    said.family = family_of(labels_get(kept, LABEL_METRIC_NAME), said.type);
    return write_decoder_metadata(decoder, &said);
}
