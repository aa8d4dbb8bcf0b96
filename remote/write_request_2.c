/* remote/write_request_2.c: remote write 2.0 requests: see write_request.h.
 *
 * A request is a table of texts and series that refer to them by number, so the texts come first, wherever they stand
 * in the message. Series of odd references are refused one by one, as Prometheus's receiver does; a table that does not
 * begin with the empty text is no table, and the request is refused as a whole.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "remote/write_decoder.h"
#include "remote/write_labels.h"

enum { /* field numbers */
    REQUEST_SYMBOLS = 4,
    REQUEST_SERIES = 5,
    SERIES_LABELS = 1,
    SERIES_SAMPLES = 2,
    SERIES_HISTOGRAMS = 3,
    SERIES_EXEMPLARS = 4,
    SERIES_METADATA = 5,
    SERIES_CREATED = 6, /* of drafts before the samples had starts */
    METADATA_TYPE = 1,
    METADATA_HELP = 3,
    METADATA_UNIT = 4,
    EXEMPLAR_LABELS = 1,
    EXEMPLAR_VALUE = 2,
    EXEMPLAR_TIMESTAMP = 3
};

/* --- first pass: structure and counts --- */

/* How many numbers a packed field can have: each ends with a byte below 0x80. */
static size_t count_packed(struct str bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes.len; i++)
        n += (unsigned char)bytes.ptr[i] < 0x80;
    return n;
}

static enum status count_exemplar(struct write_decoder *decoder, struct str bytes)
{
    struct wire_in in = wire_in(bytes);
    size_t refs_n = 0;
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "Exemplar");
        if (field.number == EXEMPLAR_LABELS)
            refs_n += field.type == WIRE_BYTES ? count_packed(field.bytes) : 1;
    }
    decoder->counts.exemplar_labels += (refs_n + 1) / 2;
    return OK;
}

static enum status count_series(struct write_decoder *decoder, struct str bytes)
{
    struct wire_in in = wire_in(bytes);
    struct write_counts *counts = &decoder->counts;
    size_t refs_n = 0;
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "TimeSeries");
        if (field.number < SERIES_LABELS || field.number > SERIES_METADATA)
            continue;
        if (field.number == SERIES_LABELS && field.type == WIRE_VARINT) {
            refs_n++;
            continue;
        }
        if (field.type != WIRE_BYTES)
            return write_decoder_wrong_type(decoder, begin, &field, "TimeSeries");
        if (field.number == SERIES_LABELS)
            refs_n += count_packed(field.bytes);
        counts->samples += field.number == SERIES_SAMPLES;
        counts->histograms += field.number == SERIES_HISTOGRAMS;
        counts->exemplars += field.number == SERIES_EXEMPLARS;
        enum status status = field.number == SERIES_EXEMPLARS ? count_exemplar(decoder, field.bytes) : OK;
        if (status != OK)
            return status;
    }
    counts->labels += (refs_n + 1) / 2;
    return OK;
}

static enum status count_request(struct write_decoder *decoder)
{
    struct wire_in in = wire_in(decoder->message);
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "Request");
        if (field.number != REQUEST_SYMBOLS && field.number != REQUEST_SERIES)
            continue;
        if (field.type != WIRE_BYTES)
            return write_decoder_wrong_type(decoder, begin, &field, "Request");
        if (field.number == REQUEST_SYMBOLS) {
            decoder->counts.symbols++;
            continue;
        }
        decoder->counts.series++;
        enum status status = count_series(decoder, field.bytes);
        if (status != OK)
            return status;
    }
    return OK;
}

/* --- symbols --- */

static enum status read_symbols(struct write_decoder *decoder)
{
    struct wire_in in = wire_in(decoder->message);
    struct wire_field field;
    size_t n = 0;
    while (in.at < in.end && wire_get_field(&in, &field))
        if (field.number == REQUEST_SYMBOLS)
            decoder->symbols[n++] = field.bytes;
    INVARIANT(n == decoder->counts.symbols);
    if (n && decoder->symbols[0].len)
        return error_set(decoder->reterr, E_BAD_DATA, WRITE_WHAT ": the first symbol is not the empty text");
    return OK;
}

/* False if there is none of that number. */
static bool find_symbol(struct write_decoder *decoder, uint64_t ref, struct str *ret)
{
    if (ref >= decoder->counts.symbols)
        return false;
    *ret = decoder->symbols[ref];
    decoder->text_bytes += ret->len;
    return true;
}

/* --- second pass: fill --- */

/* References to names and values in turn. */
struct refs {
    struct label **at; /* where the next label goes */
    size_t n;
    bool is_outside;      /* one leads outside the symbols */
    uint64_t outside_ref; /* the first such */
};

/* A series under way. */
struct reading {
    struct refs refs;
    size_t histograms_n, exemplars_n;
    bool metadata_is_outside;
    int64_t created_ms;
    struct metric_metadata metadata;
};

static void put_ref(struct write_decoder *decoder, struct refs *refs, uint64_t ref)
{
    struct str text = STR("");
    if (!find_symbol(decoder, ref, &text) && !refs->is_outside) {
        refs->is_outside = true;
        refs->outside_ref = ref;
    }
    if (refs->n++ % 2 == 0)
        **refs->at = (struct label){text, STR("")};
    else
        ((*refs->at)++)->value = text;
}

/* A packed field, or one number of one that is not. */
static enum status read_refs(struct write_decoder *decoder, struct refs *refs, const struct wire_field *field)
{
    if (field->type == WIRE_VARINT) {
        put_ref(decoder, refs, field->value);
        return OK;
    }
    struct wire_in in = wire_in(field->bytes);
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        uint64_t ref;
        if (!wire_get_varint(&in, &ref))
            return write_decoder_malformed(decoder, begin, "labels_refs");
        put_ref(decoder, refs, ref);
    }
    return OK;
}

/* What is wrong with references, in Prometheus's words; false: nothing. */
static bool describe_refs(const struct write_decoder *decoder, const struct refs *refs, const char *of, char *ret_words,
                          size_t size)
{
    if (refs->n % 2)
        snprintf(ret_words, size, "parsing %s for series: invalid labelRefs length %zu", of, refs->n);
    else if (refs->is_outside)
        snprintf(ret_words, size, "parsing %s for series: labelRefs %" PRIu64 " outside of symbols table (size %zu)",
                 of, refs->outside_ref, decoder->counts.symbols);
    return refs->n % 2 || refs->is_outside;
}

static void end_exemplar(struct write_decoder *decoder, const struct refs *refs, struct label *labels, double value,
                         int64_t time_ms)
{
    char words[160];
    if (!describe_refs(decoder, refs, "exemplar", words, sizeof words)) {
        write_decoder_end_exemplar(decoder, labels, value, time_ms);
        return;
    }
    write_decoder_drop_exemplar(decoder, labels);
    if (decoder->request.invalid_exemplar.status == OK)
        error_set(&decoder->request.invalid_exemplar, E_BAD_DATA, "%s", words);
}

static enum status read_exemplar(struct write_decoder *decoder, struct str bytes)
{
    struct label *labels = decoder->exemplar_labels;
    struct refs refs = {.at = &decoder->exemplar_labels};
    double value = 0;
    int64_t time_ms = 0;
    struct wire_in in = wire_in(bytes);
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "Exemplar");
        bool is_refs = field.number == EXEMPLAR_LABELS && (field.type == WIRE_BYTES || field.type == WIRE_VARINT);
        bool is_value = field.number == EXEMPLAR_VALUE && field.type == WIRE_FIXED64;
        bool is_time = field.number == EXEMPLAR_TIMESTAMP && field.type == WIRE_VARINT;
        if (field.number <= EXEMPLAR_TIMESTAMP && !is_refs && !is_value && !is_time)
            return write_decoder_wrong_type(decoder, begin, &field, "Exemplar");
        value = is_value ? double_from_bits(field.value) : value;
        time_ms = is_time ? (int64_t)field.value : time_ms;
        enum status status = is_refs ? read_refs(decoder, &refs, &field) : OK;
        if (status != OK)
            return status;
    }
    end_exemplar(decoder, &refs, labels, value, time_ms);
    return OK;
}

static enum status read_metadata(struct write_decoder *decoder, struct reading *reading, struct str bytes)
{
    struct metric_metadata *metadata = &reading->metadata;
    struct wire_in in = wire_in(bytes);
    while (in.at < in.end) {
        const unsigned char *begin = in.at;
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return write_decoder_malformed(decoder, begin, "Metadata");
        if (field.number != METADATA_TYPE && field.number != METADATA_HELP && field.number != METADATA_UNIT)
            continue;
        if (field.type != WIRE_VARINT)
            return write_decoder_wrong_type(decoder, begin, &field, "Metadata");
        if (field.number == METADATA_TYPE)
            metadata->type = field.value <= METRIC_STATESET ? (enum metric_type)field.value : METRIC_UNKNOWN;
        else if (!find_symbol(decoder, field.value, field.number == METADATA_HELP ? &metadata->help : &metadata->unit))
            reading->metadata_is_outside = true;
    }
    return OK;
}

static enum status read_field(struct write_decoder *decoder, struct reading *reading, const struct wire_field *field)
{
    switch (field->number) {
    case SERIES_LABELS:
        return read_refs(decoder, &reading->refs, field);
    case SERIES_SAMPLES:
        return write_decoder_sample(decoder, field->bytes, 3);
    case SERIES_HISTOGRAMS:
        reading->histograms_n++;
        return write_decoder_histogram(decoder, field->bytes);
    case SERIES_EXEMPLARS:
        reading->exemplars_n++;
        return read_exemplar(decoder, field->bytes);
    case SERIES_METADATA:
        return read_metadata(decoder, reading, field->bytes);
    case SERIES_CREATED:
        reading->created_ms = field->type == WIRE_VARINT ? (int64_t)field->value : 0;
        return OK;
    default:
        return OK;
    }
}

/* What is wrong with a series before its labels are looked at; WRITE_INVALID_MAX: nothing. */
static enum write_invalid check_series(struct write_decoder *decoder, const struct reading *reading,
                                       const struct label *labels, const struct sample *samples)
{
    char words[160] = "";
    bool are_wrong = describe_refs(decoder, &reading->refs, "labels", words, sizeof words);
    if (!are_wrong && reading->metadata_is_outside)
        snprintf(words, sizeof words, "parsing metadata for series: reference outside of symbols table (size %zu)",
                 decoder->counts.symbols);
    else if (!are_wrong && decoder->samples == samples && !reading->histograms_n && !reading->exemplars_n)
        snprintf(words, sizeof words, "TimeSeries must contain at least one sample or histogram for series");
    if (!words[0])
        return WRITE_INVALID_MAX;
    return write_labels_invalid(&decoder->request, labels, (size_t)(decoder->labels - labels), words, STR(""));
}

static enum status read_series(struct write_decoder *decoder, struct str bytes)
{
    struct label *labels = decoder->labels;
    struct sample *samples = decoder->samples;
    struct reading reading = {.refs = {.at = &decoder->labels}, .metadata = {.type = METRIC_UNKNOWN}};
    struct wire_in in = wire_in(bytes);
    enum status status = OK;
    struct wire_field field;
    while (status == OK && in.at < in.end && wire_get_field(&in, &field)) /* the first pass has seen it whole */
        status = read_field(decoder, &reading, &field);
    if (status != OK)
        return status;
    if (decoder->samples > samples && !write_decoder_has_starts(decoder, samples))
        status = write_decoder_start(decoder, samples, reading.created_ms);
    if (status != OK)
        return status;
    size_t max = decoder->limits->decoded_max_bytes;
    if (decoder->text_bytes > max)
        return error_set(decoder->reterr, E_TOO_LARGE,
                         WRITE_WHAT ": labels and metadata of %zu bytes, written out, exceed limit %zu",
                         decoder->text_bytes, max);
    enum write_invalid why = check_series(decoder, &reading, labels, samples);
    return write_decoder_end_series(decoder, labels, samples, why, &reading.metadata);
}

static enum status fill_request(struct write_decoder *decoder)
{
    enum status status = read_symbols(decoder);
    struct wire_in in = wire_in(decoder->message);
    struct wire_field field;
    while (status == OK && in.at < in.end && wire_get_field(&in, &field))
        if (field.number == REQUEST_SERIES)
            status = read_series(decoder, field.bytes);
    return status;
}

enum status write_unpack_2(struct write_decoder *decoder)
{
    enum status status = count_request(decoder);
    if (status == OK)
        status = write_decoder_allocate(decoder);
    return status == OK ? fill_request(decoder) : status;
}
