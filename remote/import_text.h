/* remote/import_text.h: samples out of text: OpenMetrics, Prometheus's text format, JSON lines.
 *
 * JSON lines: one object a line,
 * {"metric":{"__name__":"up","job":"a"},"values":[1,null],"timestamps":[1700000000000,…]}, as VictoriaMetrics exports
 * them; times are ms since the epoch. A value is a number; null, NaN; or a text: "Infinity",
 * "-Infinity", "NaN", "stale" (Prometheus's staleness marker), "NaN(0x7ff8000000000abc)" (any NaN by its bits).
 * OpenMetrics: times are seconds, with a fraction; digits behind the third are cut off. Exemplars may stand behind any
 * sample; one without a time has that of its sample. The text ends with "# EOF". Prometheus's format 0.0.4: times are
 * whole ms. Both: names and label names may be quoted ({"a.b","c.d"="x"} 1), as Prometheus 3 writes those that are no
 * identifiers.
 *
 * A line that cannot be read is left out, counted, and the first one named with its number; all others are kept, for
 * each line stands for itself. Lines whose labels cannot be stored are counted as in remote write, and named too.
 * Series stay in the text's order; samples of a line follow each other as they are written.
 *
 * Memory   samples, labels and unescaped texts in the arena; other texts are views of `text`, which must outlive it.
 * Threads  one reader, one thread. Errors: E_TOO_LARGE at the arena's cap, E_NOMEM; else import_text_read succeeds.
 * Source   OpenMetrics 1.0; Prometheus docs/instrumenting/exposition_formats, model/textparse; VictoriaMetrics
 *          docs, "How to import data in JSON line format".
 */
#ifndef PROMSPLIT_REMOTE_IMPORT_TEXT_H
#define PROMSPLIT_REMOTE_IMPORT_TEXT_H

#include "remote/write_request.h"

enum import_format {
    IMPORT_JSON,
    IMPORT_OPENMETRICS,
    IMPORT_PROMETHEUS
};

#define IMPORT_TIME_NEEDED INT64_MIN /* a sample without a time is a bad line */
#define IMPORT_STALE_WORD  "stale"

struct import_text {
    enum import_format format;
    const struct write_limits *limits; /* those on labels */
    int64_t time_ms;                   /* of samples that have none, or IMPORT_TIME_NEEDED */
    uint64_t line;                     /* lines read so far */
    bool ended;                        /* "# EOF" was there */
};

struct import_part {
    struct write_request request; /* what is to be stored, and what was left out of it */
    size_t bad_lines;
    struct error bad; /* E_BAD_DATA and what is wrong with the first; OK if there is none */
};

/* Reads lines until the text ends or samples_max samples are collected. Without `last` a line that does not end is left
 * for the next call, and so are lines of metadata that the next one may go on with. *ret_used: the bytes read; 0: the
 * text is too short to make anything of it. */
MUST_USE enum status import_text_read(struct import_text *reader, struct arena *arena, struct str text, bool last,
                                      size_t samples_max, size_t *ret_used, struct import_part *ret_part,
                                      struct error *reterr);

/* "openmetrics", "prometheus", "json"; or of a media type ("application/openmetrics-text; version=1.0.0"). */
bool import_format_named(struct str name, enum import_format *ret_format);
bool import_format_of_media(struct str media, enum import_format *ret_format);

#endif
