/* tests/unit/remote/histogram_test.h: native histograms of tests, written as text and made into messages.
 *
 * "ci=3 sum=4.5 schema=2 ps=0:2,1:1 pd=1,0,0": a blank between fields, a comma between the values of one, in the order
 * in which they stand in the message. ci cf: counts, integer and float; zi zf: those of the zero bucket; zt: its width;
 * ns ps: spans, offset:length; nd pd nc pc: deltas and counts; cv: custom bounds; hint; t: the time. Capital letters
 * (PD, NC …): each value as a field of its own instead of all packed. Numbers may be nan, stale, inf.
 *
 * Include after wire_test.h.
 */
#ifndef PROMSPLIT_TESTS_HISTOGRAM_TEST_H
#define PROMSPLIT_TESTS_HISTOGRAM_TEST_H

#include <ctype.h>
#include <math.h>

#include "base/float_text.h"

static inline uint64_t histogram_double(const char *text)
{
    return strncmp(text, "stale", 5) == 0 ? STALE_NAN_BITS : double_bits(strtod(text, NULL));
}

static inline uint64_t histogram_zigzag(int64_t number)
{
    return number < 0 ? 2 * (uint64_t)(-(number + 1)) + 1 : 2 * (uint64_t)number;
}

static inline const char *histogram_next(const char *value) /* of a list; NULL: that was the last */
{
    size_t n = strcspn(value, ", ");
    return value[n] == ',' ? value + n + 1 : NULL;
}

static inline void histogram_spans(struct strbuf *sb, unsigned field, const char *value)
{
    for (; value; value = histogram_next(value)) {
        struct strbuf span = new_buffer();
        char *colon;
        long offset = strtol(value, &colon, 10);
        pb_number(&span, 1, histogram_zigzag(offset));
        pb_number(&span, 2, strtoul(colon + 1, NULL, 10));
        pb_message(sb, field, &span);
    }
}

static inline void histogram_list(struct strbuf *sb, unsigned field, const char *value, bool deltas, bool packed)
{
    struct strbuf list = new_buffer();
    for (; value; value = histogram_next(value)) {
        uint64_t number = deltas ? histogram_zigzag(strtoll(value, NULL, 10)) : histogram_double(value);
        if (packed && deltas)
            pb_varint(&list, number);
        else if (packed)
            for (int i = 0; i < 8; i++)
                strbuf_char(&list, (char)(number >> (8 * i)));
        else if (deltas)
            pb_number(sb, field, number);
        else
            pb_fixed64(sb, field, number);
    }
    if (packed)
        pb_bytes(sb, field, strbuf_view(&list));
    strbuf_release(&list);
}

static inline struct strbuf histogram_message(const char *text)
{
    static const struct {
        const char *key;
        unsigned field;
        char kind; /* u: number, z: zig-zag, d: double, s: spans, i: deltas, f: doubles */
    } FIELDS[] = {{"ci", 1, 'u'},  {"cf", 2, 'd'},    {"sum", 3, 'd'}, {"schema", 4, 'z'},
                  {"zt", 5, 'd'},  {"zi", 6, 'u'},    {"zf", 7, 'd'},  {"ns", 8, 's'},
                  {"nd", 9, 'i'},  {"nc", 10, 'f'},   {"ps", 11, 's'}, {"pd", 12, 'i'},
                  {"pc", 13, 'f'}, {"hint", 14, 'u'}, {"t", 15, 'u'},  {"cv", 16, 'f'}};
    struct strbuf sb = new_buffer();
    while (*text) {
        size_t n = strcspn(text, "="), at = 0;
        const char *value = text + n + 1;
        while (at < ARRAY_LENGTH(FIELDS) && (strncasecmp(FIELDS[at].key, text, n) != 0 || FIELDS[at].key[n]))
            at++;
        assert_true(at < ARRAY_LENGTH(FIELDS));
        unsigned field = FIELDS[at].field;
        if (FIELDS[at].kind == 'u')
            pb_number(&sb, field, strtoull(value, NULL, 10));
        else if (FIELDS[at].kind == 'z')
            pb_number(&sb, field, histogram_zigzag(strtoll(value, NULL, 10)));
        else if (FIELDS[at].kind == 'd')
            pb_fixed64(&sb, field, histogram_double(value));
        else if (FIELDS[at].kind == 's')
            histogram_spans(&sb, field, value);
        else
            histogram_list(&sb, field, value, FIELDS[at].kind == 'i', islower((unsigned char)text[0]));
        text = value + strcspn(value, " ");
        text += *text == ' ';
    }
    return sb;
}

#endif
