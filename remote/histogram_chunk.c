/* remote/histogram_chunk.c: see histogram_chunk.h. */
#include "remote/histogram_chunk.h"

#include <math.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/float_text.h"
#include "base/bit_stream.h"
#include "remote/body.h"

#define WHAT         "native histogram chunk"
#define HEADER_BYTES 3
#define FLAGS_AT     2
#define HINT_SHIFT   6 /* of the flags */

#define THRESHOLD_BIAS    243
#define THRESHOLD_EXP_MIN (-242)
#define THRESHOLD_EXP_MAX 11
#define THRESHOLD_OTHER   255
#define BOUND_SCALE       1000.0
#define BOUND_SCALED_MAX  33554430.0

/* Bytes that a number takes at most, of whatever code; and all of a sample but layout and buckets. */
#define NUMBER_BYTES 10
#define SAMPLE_BYTES (16 * NUMBER_BYTES)

/* The hints in the flags, by those of the wire. */
static const unsigned char FLAGS[] = {[HISTOGRAM_HINT_UNKNOWN] = 0,
                                      [HISTOGRAM_HINT_RESET] = 2,
                                      [HISTOGRAM_HINT_NOT_RESET] = 1,
                                      [HISTOGRAM_HINT_GAUGE] = 3};

/* A number that is followed from sample to sample: as integer by its change, as float by its window. */
struct track {
    uint64_t value;
    uint64_t change; /* unsigned: it wraps */
    struct xor_window window;
};

/* What writer and reader know after a sample. */
struct state {
    struct native_histogram layout; /* the first sample's schema, threshold, spans, bounds; its buckets are not used */
    struct track time, count, zero_count, sum;
    struct track *negative, *positive; /* as many as the layout's sides have buckets */
    bool is_stale;
};

struct histogram_encoder {
    struct arena arena; /* of the chunk under way */
    struct state state;
    unsigned samples_n;
    unsigned char *bytes;
    size_t capacity;
    struct bit_writer out;
};

static bool is_stale(const struct native_histogram *h)
{
    return double_bits(h->sum) == STALE_NAN_BITS;
}

/* --- whether a sample fits --- */

static bool same_spans(const struct histogram_side *a, const struct histogram_side *b)
{
    if (a->spans_n != b->spans_n || a->buckets_n != b->buckets_n)
        return false;
    for (size_t i = 0; i < a->spans_n; i++)
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length)
            return false;
    return true;
}

static bool same_layout(const struct native_histogram *a, const struct native_histogram *b)
{
    return a->schema == b->schema && double_bits(a->zero_threshold) == double_bits(b->zero_threshold) &&
           same_spans(&a->positive, &b->positive) && same_spans(&a->negative, &b->negative) &&
           a->bounds_n == b->bounds_n &&
           (!a->bounds_n || memcmp(a->bounds, b->bounds, a->bounds_n * sizeof *a->bounds) == 0);
}

static bool is_less(bool is_float, uint64_t now, uint64_t before)
{
    return is_float ? !(double_from_bits(now) >= double_from_bits(before)) : now < before;
}

static bool side_shrinks(const struct native_histogram *h, const struct histogram_side *side,
                         const struct track *before)
{
    uint64_t now_n = 0, before_n = 0;
    for (size_t i = 0; i < side->buckets_n; i++) {
        now_n = h->is_float ? side->buckets[i] : now_n + side->buckets[i];
        before_n = h->is_float ? before[i].value : before_n + before[i].value;
        if (is_less(h->is_float, now_n, before_n))
            return true;
    }
    return false;
}

bool histogram_encoder_takes(const struct histogram_encoder *encoder, const struct native_histogram *h)
{
    const struct state *s = &encoder->state;
    if (encoder->samples_n == 0)
        return true;
    bool is_gauge = s->layout.hint == HISTOGRAM_HINT_GAUGE;
    bool is_full = encoder->samples_n == HISTOGRAM_CHUNK_SAMPLES_MAX ||
                   (size_t)(encoder->out.at - encoder->bytes) >= HISTOGRAM_CHUNK_BYTES;
    if (is_full || h->is_float != s->layout.is_float || h->hint == HISTOGRAM_HINT_RESET ||
        (h->hint == HISTOGRAM_HINT_GAUGE) != is_gauge)
        return false;
    if (is_stale(h) || s->is_stale)
        return is_stale(h);
    if (!same_layout(h, &s->layout))
        return false;
    return is_gauge || (!is_less(h->is_float, h->count, s->count.value) &&
                        !is_less(h->is_float, h->zero_count, s->zero_count.value) &&
                        !side_shrinks(h, &h->positive, s->positive) && !side_shrinks(h, &h->negative, s->negative));
}

/* --- encoding --- */

enum status histogram_encoder_new(struct histogram_encoder **ret_encoder, struct error *reterr)
{
    struct histogram_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder)
        return error_set(reterr, E_NOMEM, "no memory for a " WHAT);
    arena_init(&encoder->arena, SIZE_MAX);
    *ret_encoder = encoder;
    return OK;
}

void histogram_encoder_free(struct histogram_encoder *encoder)
{
    if (!encoder)
        return;
    arena_release(&encoder->arena);
    free(encoder->bytes);
    free(encoder);
}

unsigned histogram_encoder_n(const struct histogram_encoder *encoder)
{
    return encoder->samples_n;
}

static enum status make_room(struct histogram_encoder *encoder, size_t more, struct error *reterr)
{
    size_t used = encoder->samples_n ? (size_t)(encoder->out.at - encoder->bytes) : HEADER_BYTES;
    size_t wanted = used + more + BITS_WORD_BYTES;
    if (!array_reserve(&encoder->bytes, &encoder->capacity, wanted, 1))
        return error_set(reterr, E_NOMEM, "no memory for a " WHAT " of %zu bytes", wanted);
    encoder->out.at = encoder->bytes + used;
    return OK;
}

static void *copied(struct arena *arena, const void *from, size_t n, size_t each)
{
    void *to = arena_alloc_array(arena, n ? n : 1, each);
    if (to && n)
        memcpy(to, from, n * each);
    return to;
}

/* Keeps what later samples are compared with. */
static enum status keep_layout(struct histogram_encoder *encoder, const struct native_histogram *h,
                               struct error *reterr)
{
    struct state *s = &encoder->state;
    struct arena *arena = &encoder->arena;
    arena_reset(arena);
    *s = (struct state){.layout = *h};
    s->layout.bounds = copied(arena, h->bounds, h->bounds_n, sizeof *h->bounds);
    s->layout.positive.spans = copied(arena, h->positive.spans, h->positive.spans_n, sizeof *h->positive.spans);
    s->layout.negative.spans = copied(arena, h->negative.spans, h->negative.spans_n, sizeof *h->negative.spans);
    s->positive = ARENA_ARRAY(arena, struct track, h->positive.buckets_n + 1);
    s->negative = ARENA_ARRAY(arena, struct track, h->negative.buckets_n + 1);
    return arena->exhausted ? error_set(reterr, E_NOMEM, "no memory for a " WHAT) : OK;
}

static void put_threshold(struct bit_writer *out, double threshold)
{
    int exponent = 0;
    double fraction = frexp(threshold, &exponent);
    if (threshold == 0) {
        bits_put(out, 0, 8);
    } else if (fraction != 0.5 || exponent < THRESHOLD_EXP_MIN || exponent > THRESHOLD_EXP_MAX) {
        bits_put(out, THRESHOLD_OTHER, 8);
        bits_put(out, double_bits(threshold), 64);
    } else {
        unsigned code = (unsigned)(exponent + THRESHOLD_BIAS);
        bits_put(out, code, 8);
    }
}

static void put_bound(struct bit_writer *out, double bound)
{
    double scaled = bound * BOUND_SCALE;
    bool is_whole = scaled >= 0 && scaled <= BOUND_SCALED_MAX && round(scaled) / BOUND_SCALE == bound;
    if (is_whole) {
        bits_put_unsigned(out, (uint64_t)round(scaled) + 1);
    } else {
        bits_put(out, 0, 1);
        bits_put(out, double_bits(bound), 64);
    }
}

static void put_spans(struct bit_writer *out, const struct histogram_side *side)
{
    bits_put_unsigned(out, side->spans_n);
    for (size_t i = 0; i < side->spans_n; i++) {
        bits_put_unsigned(out, side->spans[i].length);
        bits_put_signed(out, side->spans[i].offset);
    }
}

static void put_layout(struct bit_writer *out, const struct native_histogram *h)
{
    put_threshold(out, h->zero_threshold);
    bits_put_signed(out, h->schema);
    put_spans(out, &h->positive);
    put_spans(out, &h->negative);
    if (h->schema != NATIVE_HISTOGRAM_CUSTOM_SCHEMA)
        return;
    bits_put_unsigned(out, h->bounds_n);
    for (size_t i = 0; i < h->bounds_n; i++)
        put_bound(out, h->bounds[i]);
}

/* A number as it is: the first of its chunk. */
static void put_first(struct bit_writer *out, struct track *track, bool is_float, bool is_signed, uint64_t value)
{
    *track = (struct track){.value = value};
    if (is_float)
        bits_put(out, value, 64);
    else if (is_signed)
        bits_put_signed(out, (int64_t)value);
    else
        bits_put_unsigned(out, value);
}

static void put_next(struct bit_writer *out, struct track *track, bool is_float, uint64_t value)
{
    if (is_float) {
        bits_put_xor(out, &track->window, track->value, value);
    } else {
        uint64_t change = value - track->value;
        bits_put_signed(out, (int64_t)(change - track->change));
        track->change = change;
    }
    track->value = value;
}

static void put_first_sample(struct bit_writer *out, struct state *s, const struct native_histogram *h)
{
    put_layout(out, h);
    put_first(out, &s->time, false, true, (uint64_t)h->time_ms);
    put_first(out, &s->count, h->is_float, false, h->count);
    put_first(out, &s->zero_count, h->is_float, false, h->zero_count);
    put_first(out, &s->sum, true, false, double_bits(h->sum));
    for (size_t i = 0; i < h->positive.buckets_n; i++)
        put_first(out, &s->positive[i], h->is_float, true, h->positive.buckets[i]);
    for (size_t i = 0; i < h->negative.buckets_n; i++)
        put_first(out, &s->negative[i], h->is_float, true, h->negative.buckets[i]);
}

static void put_next_sample(struct bit_writer *out, struct state *s, const struct native_histogram *h)
{
    put_next(out, &s->time, false, (uint64_t)h->time_ms);
    if (is_stale(h) && !h->is_float) { /* counts go on as they did */
        bits_put_signed(out, 0);
        bits_put_signed(out, 0);
    } else {
        put_next(out, &s->count, h->is_float, h->count);
        put_next(out, &s->zero_count, h->is_float, h->zero_count);
    }
    put_next(out, &s->sum, true, double_bits(h->sum));
    for (size_t i = 0; i < h->positive.buckets_n; i++)
        put_next(out, &s->positive[i], h->is_float, h->positive.buckets[i]);
    for (size_t i = 0; i < h->negative.buckets_n; i++)
        put_next(out, &s->negative[i], h->is_float, h->negative.buckets[i]);
}

enum status histogram_encoder_add(struct histogram_encoder *encoder, const struct native_histogram *given,
                                  struct error *reterr)
{
    PRE(histogram_encoder_takes(encoder, given));
    struct native_histogram h = *given;
    if (is_stale(given))
        h = (struct native_histogram){
            .time_ms = given->time_ms, .is_float = given->is_float, .hint = given->hint, .sum = given->sum};
    size_t parts = h.positive.buckets_n + h.negative.buckets_n;
    bool is_first = encoder->samples_n == 0;
    if (is_first)
        parts += 2 * (h.positive.spans_n + h.negative.spans_n) + h.bounds_n;
    enum status status = make_room(encoder, SAMPLE_BYTES + parts * NUMBER_BYTES, reterr);
    if (status == OK && is_first)
        status = keep_layout(encoder, &h, reterr);
    if (status != OK)
        return status;
    if (is_first) {
        encoder->out = (struct bit_writer){.at = encoder->bytes + HEADER_BYTES};
        put_first_sample(&encoder->out, &encoder->state, &h);
    } else {
        put_next_sample(&encoder->out, &encoder->state, &h);
    }
    encoder->state.is_stale = is_stale(&h);
    encoder->samples_n++;
    return OK;
}

struct str histogram_encoder_finish(struct histogram_encoder *encoder, bool *ret_is_float)
{
    PRE(encoder->samples_n > 0);
    unsigned char *end = bits_end(&encoder->out);
    encoder->bytes[0] = (unsigned char)(encoder->samples_n >> 8);
    encoder->bytes[1] = (unsigned char)encoder->samples_n;
    encoder->bytes[FLAGS_AT] = (unsigned char)(FLAGS[encoder->state.layout.hint] << HINT_SHIFT);
    encoder->samples_n = 0;
    *ret_is_float = encoder->state.layout.is_float;
    return (struct str){(const char *)encoder->bytes, (size_t)(end - encoder->bytes)};
}

/* --- decoding --- */

struct decoding {
    struct bit_reader in;
    struct arena *arena;
    struct state state;
    uint64_t *negative, *positive; /* buckets of the sample under way */
    struct error *reterr;
};

static enum status too_many(const struct decoding *d, uint64_t n, const char *of)
{
    return error_set(d->reterr, E_LIMIT, WHAT " with %llu %s exceeds limit %u", (unsigned long long)n, of,
                     NATIVE_HISTOGRAM_PARTS_MAX);
}

static double get_threshold(struct bit_reader *in)
{
    uint64_t byte = bits_get(in, 8);
    if (byte == 0)
        return 0;
    return byte == THRESHOLD_OTHER ? double_from_bits(bits_get(in, 64)) : ldexp(0.5, (int)byte - THRESHOLD_BIAS);
}

static enum status get_spans(struct decoding *d, struct histogram_side *side, struct track **ret_tracks,
                             uint64_t **ret_buckets)
{
    uint64_t n = bits_get_unsigned(&d->in), buckets_n = 0;
    if (n > NATIVE_HISTOGRAM_PARTS_MAX)
        return too_many(d, n, "spans");
    struct histogram_span *spans = ARENA_ARRAY(d->arena, struct histogram_span, n + 1);
    for (uint64_t i = 0; spans && i < n; i++) {
        spans[i].length = (uint32_t)bits_get_unsigned(&d->in);
        spans[i].offset = (int32_t)bits_get_signed(&d->in);
        buckets_n += spans[i].length;
    }
    if (buckets_n > NATIVE_HISTOGRAM_PARTS_MAX)
        return too_many(d, buckets_n, "buckets");
    *ret_tracks = ARENA_ARRAY(d->arena, struct track, buckets_n + 1);
    *ret_buckets = ARENA_ARRAY(d->arena, uint64_t, buckets_n + 1);
    *side = (struct histogram_side){spans, n, *ret_buckets, buckets_n};
    return OK;
}

static enum status get_bounds(struct decoding *d)
{
    uint64_t n = bits_get_unsigned(&d->in);
    if (n > NATIVE_HISTOGRAM_PARTS_MAX)
        return too_many(d, n, "custom bounds");
    double *bounds = ARENA_ARRAY(d->arena, double, n + 1);
    for (uint64_t i = 0; bounds && i < n; i++) {
        uint64_t number = bits_get_unsigned(&d->in);
        bounds[i] = number ? (double)(number - 1) / BOUND_SCALE : double_from_bits(bits_get(&d->in, 64));
    }
    d->state.layout.bounds = bounds;
    d->state.layout.bounds_n = n;
    return OK;
}

static enum status get_layout(struct decoding *d)
{
    struct state *s = &d->state;
    s->layout.zero_threshold = get_threshold(&d->in);
    s->layout.schema = (int32_t)bits_get_signed(&d->in);
    enum status status = get_spans(d, &s->layout.positive, &s->positive, &d->positive);
    if (status == OK)
        status = get_spans(d, &s->layout.negative, &s->negative, &d->negative);
    if (status == OK && s->layout.schema == NATIVE_HISTOGRAM_CUSTOM_SCHEMA)
        status = get_bounds(d);
    if (status == OK && d->arena->exhausted)
        status = body_refused(d->arena, d->arena->used_bytes, WHAT, d->reterr);
    return status;
}

static uint64_t get_first(struct bit_reader *in, struct track *track, bool is_float, bool is_signed)
{
    *track = (struct track){.value = is_float    ? bits_get(in, 64)
                                     : is_signed ? (uint64_t)bits_get_signed(in)
                                                 : bits_get_unsigned(in)};
    return track->value;
}

/* A broken code of a float makes the reader short. */
static uint64_t get_next(struct bit_reader *in, struct track *track, bool is_float)
{
    if (is_float) {
        in->short_ |= !bits_get_xor(in, &track->window, &track->value);
    } else {
        track->change += (uint64_t)bits_get_signed(in);
        track->value += track->change;
    }
    return track->value;
}

static void get_numbers(struct decoding *d, bool is_first, struct native_histogram *h)
{
    struct state *s = &d->state;
    bool is_float = h->is_float;
    struct bit_reader *in = &d->in;
    h->time_ms = (int64_t)(is_first ? get_first(in, &s->time, false, true) : get_next(in, &s->time, false));
    h->count = is_first ? get_first(in, &s->count, is_float, false) : get_next(in, &s->count, is_float);
    h->zero_count = is_first ? get_first(in, &s->zero_count, is_float, false) : get_next(in, &s->zero_count, is_float);
    h->sum = double_from_bits(is_first ? get_first(in, &s->sum, true, false) : get_next(in, &s->sum, true));
}

static void get_buckets(struct decoding *d, bool is_first, bool is_float)
{
    struct state *s = &d->state;
    for (size_t i = 0; i < s->layout.positive.buckets_n; i++)
        d->positive[i] =
            is_first ? get_first(&d->in, &s->positive[i], is_float, true) : get_next(&d->in, &s->positive[i], is_float);
    for (size_t i = 0; i < s->layout.negative.buckets_n; i++)
        d->negative[i] =
            is_first ? get_first(&d->in, &s->negative[i], is_float, true) : get_next(&d->in, &s->negative[i], is_float);
}

/* The next sample. Of a marker behind others only its time and sum are told, and nothing is left in the chunk but such.
 */
static struct native_histogram get_sample(struct decoding *d, bool is_first)
{
    struct native_histogram h = d->state.layout;
    if (!is_first && h.hint != HISTOGRAM_HINT_GAUGE)
        h.hint = HISTOGRAM_HINT_NOT_RESET;
    get_numbers(d, is_first, &h);
    if (is_first || !is_stale(&h))
        get_buckets(d, is_first, h.is_float);
    if (!is_stale(&h))
        return h;
    return (struct native_histogram){.time_ms = h.time_ms, .is_float = h.is_float, .hint = h.hint, .sum = h.sum};
}

enum status histogram_chunk_decode(struct str bytes, bool is_float, struct arena *arena,
                                   enum status (*each)(const struct native_histogram *, void *arg), void *arg,
                                   struct error *reterr)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    if (bytes.len < HEADER_BYTES)
        return error_set(reterr, E_BAD_DATA, WHAT " of %zu bytes has no header", bytes.len);
    unsigned n = (unsigned)at[0] << 8 | at[1];
    struct decoding d = {.in = {.at = at + HEADER_BYTES, .end = at + bytes.len}, .arena = arena, .reterr = reterr};
    d.state.layout.is_float = is_float;
    for (unsigned hint = 0; hint < ARRAY_LENGTH(FLAGS); hint++)
        if (FLAGS[hint] == at[FLAGS_AT] >> HINT_SHIFT)
            d.state.layout.hint = (enum histogram_hint)hint;
    enum status status = n ? get_layout(&d) : OK;
    for (unsigned i = 0; status == OK && i < n; i++) {
        struct native_histogram h = get_sample(&d, i == 0);
        if (d.in.short_)
            return error_set(reterr, E_BAD_DATA, WHAT " of %zu bytes is cut short or broken at sample %u of %u",
                             bytes.len, i + 1, n);
        status = each(&h, arg);
    }
    return status;
}
