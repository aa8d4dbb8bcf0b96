/* remote/import_internal.h: between import_text.c, which cuts lines, and the two files that read them.
 *
 * A line reader returns NULL, or what is wrong with the line; then the line has left nothing in the builder.
 */
#ifndef PROMSPLIT_REMOTE_IMPORT_INTERNAL_H
#define PROMSPLIT_REMOTE_IMPORT_INTERNAL_H

#include "remote/import_text.h"
#include "remote/series_builder.h"

struct import_lines {
    struct import_text *reader;
    struct import_part *part;
    struct arena *arena;
    struct series_builder builder;
    struct str series; /* OpenMetrics: how the last sample's name and labels were written; empty: not known */
    /* OpenMetrics: further lines may say more of the metadata added last, which began there. */
    bool metadata_open;
    const char *metadata_begin; /* of its first line */
    uint64_t metadata_line;     /* lines read before that */
    size_t metadata_bad_lines;
};

const char *import_json_line(struct import_lines *lines, struct str line);
const char *import_openmetrics_line(struct import_lines *lines, struct str line);

/* Cuts blanks and tabs off the front. */
static inline struct str import_skip_blanks(struct str text)
{
    while (text.len && (*text.ptr == ' ' || *text.ptr == '\t')) {
        text.ptr++;
        text.len--;
    }
    return text;
}

static inline struct str import_from(struct str text, size_t at)
{
    return (struct str){text.ptr + at, text.len - at};
}

#endif
