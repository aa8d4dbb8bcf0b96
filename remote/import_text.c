/* remote/import_text.c: lines, and what is said of the bad ones; see import_text.h. */
#include <inttypes.h>
#include <strings.h>

#include "base/assert.h"
#include "remote/import_internal.h"

static void count_bad(struct import_lines *lines, const char *problem)
{
    struct import_part *part = lines->part;
    if (part->bad_lines++ == 0)
        error_set(&part->bad, E_BAD_DATA, "line %" PRIu64 ": %s", lines->reader->line, problem);
}

static void read_line(struct import_lines *lines, struct str line)
{
    struct error *invalid = &lines->part->request.invalid;
    bool none_yet = invalid->status == OK;
    lines->reader->line++;
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (import_skip_blanks(line).len == 0)
        return;
    const char *problem =
        lines->reader->format == IMPORT_JSON ? import_json_line(lines, line) : import_openmetrics_line(lines, line);
    if (problem && lines->builder.status == OK)
        count_bad(lines, problem);
    if (none_yet && invalid->status != OK)
        error_prefix(invalid, "line %" PRIu64 ": ", lines->reader->line);
}

/* Metadata comes in several lines; a part that ended between them would store half of it over the whole. So the lines
 * of a family that may go on are left for the next call. */
static size_t leave_open_metadata(struct import_lines *lines, struct str text, size_t used)
{
    struct import_part *part = lines->part;
    if (!lines->metadata_open)
        return used;
    part->request.metadata_n--;
    part->bad_lines = lines->metadata_bad_lines;
    if (part->bad_lines == 0)
        part->bad = (struct error){0};
    lines->reader->line = lines->metadata_line;
    return (size_t)(lines->metadata_begin - text.ptr);
}

enum status import_text_read(struct import_text *reader, struct arena *arena, struct str text, bool last,
                             size_t samples_max, size_t *ret_used, struct import_part *ret_part, struct error *reterr)
{
    *ret_part = (struct import_part){0};
    struct import_lines lines = {.reader = reader, .part = ret_part, .arena = arena};
    series_builder_init(&lines.builder, arena, reader->limits, "import", &ret_part->request, reterr);
    size_t used = 0;
    while (lines.builder.status == OK && used < text.len && lines.builder.samples_n < samples_max) {
        const char *begin = text.ptr + used, *end = memchr(begin, '\n', text.len - used);
        if (!end && !last)
            break;
        size_t n = end ? (size_t)(end - begin) : text.len - used;
        read_line(&lines, (struct str){begin, n});
        used += n + (end != NULL);
    }
    if (used < text.len || !last)
        used = leave_open_metadata(&lines, text, used);
    *ret_used = used;
    if (last && used == text.len && reader->format == IMPORT_OPENMETRICS && !reader->ended) {
        reader->ended = true; /* said once */
        count_bad(&lines, "the text does not end with # EOF: it may be cut off");
    }
    return series_builder_finish(&lines.builder);
}

bool import_format_named(struct str name, enum import_format *ret_format)
{
    static const char *const NAMES[] = {
        [IMPORT_JSON] = "json", [IMPORT_OPENMETRICS] = "openmetrics", [IMPORT_PROMETHEUS] = "prometheus"};
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        if (!str_eq(name, str_from(NAMES[i])))
            continue;
        *ret_format = (enum import_format)i;
        return true;
    }
    return false;
}

bool import_format_of_media(struct str media, enum import_format *ret_format)
{
    static const struct {
        struct str name;
        enum import_format format;
    } TYPES[] = {{STR_STATIC("application/openmetrics-text"), IMPORT_OPENMETRICS},
                 {STR_STATIC("text/plain"), IMPORT_PROMETHEUS},
                 {STR_STATIC("application/json"), IMPORT_JSON},
                 {STR_STATIC("application/x-ndjson"), IMPORT_JSON},
                 {STR_STATIC("application/jsonl"), IMPORT_JSON},
                 {STR_STATIC("application/stream+json"), IMPORT_JSON}};
    const char *parameters = media.len ? memchr(media.ptr, ';', media.len) : NULL;
    struct str type = {media.ptr, parameters ? (size_t)(parameters - media.ptr) : media.len};
    while (type.len && type.ptr[type.len - 1] == ' ')
        type.len--;
    for (size_t i = 0; i < ARRAY_LENGTH(TYPES); i++) {
        if (type.len != TYPES[i].name.len || strncasecmp(type.ptr, TYPES[i].name.ptr, type.len) != 0)
            continue;
        *ret_format = TYPES[i].format;
        return true;
    }
    return false;
}
