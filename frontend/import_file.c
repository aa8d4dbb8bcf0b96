/* frontend/import_file.c: files as the source of an import; see import_source.h.
 *
 * Read through zlib, which passes on what is not packed. A place is an offset in the unpacked text and the lines before
 * it; a piece is some megabytes of whole lines, and what is left of the last line goes to the next piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/assert.h"
#include "frontend/import_source.h"

#define READ_BYTES            ((size_t)4 << 20)
#define IMPORT_LINE_MAX_BYTES ((size_t)256 << 20)
#define ZLIB_BUFFER_BYTES     (1u << 20)

struct file_source {
    struct import_source source; /* first */
    gzFile file;
    const char *path;
    int64_t size_bytes; /* on disk, as it is; 0: not known */
    struct write_limits limits;
    struct import_text reader;
    int64_t offset;     /* of the text that the next piece begins with */
    struct strbuf rest; /* that text, as far as it was read */
    bool ended;
};

/* --- form --- */

static bool name_ends_with(struct str name, const char *ending)
{
    return str_ends_with(name, str_from(ending));
}

static bool format_of_name(struct str name, enum import_format *ret_format)
{
    static const struct {
        const char *ending;
        enum import_format format;
    } ENDINGS[] = {{".json", IMPORT_JSON},
                   {".jsonl", IMPORT_JSON},
                   {".ndjson", IMPORT_JSON},
                   {".om", IMPORT_OPENMETRICS},
                   {".openmetrics", IMPORT_OPENMETRICS},
                   {".prom", IMPORT_PROMETHEUS}};
    if (name_ends_with(name, ".gz"))
        name.len -= 3;
    for (size_t i = 0; i < ARRAY_LENGTH(ENDINGS); i++) {
        if (!name_ends_with(name, ENDINGS[i].ending))
            continue;
        *ret_format = ENDINGS[i].format;
        return true;
    }
    return false;
}

/* Whether the first line is an object as a whole: no line of the other forms is. */
static bool looks_like_json(struct str text)
{
    const char *end = text.len ? memchr(text.ptr, '\n', text.len) : NULL;
    size_t n = end ? (size_t)(end - text.ptr) : text.len;
    while (n && (text.ptr[n - 1] == '\r' || text.ptr[n - 1] == ' '))
        n--;
    return n > 0 && text.ptr[0] == '{' && (!end || text.ptr[n - 1] == '}');
}

static enum status find_format(struct file_source *s, const char *encoding, struct error *reterr)
{
    enum import_format *format = &s->reader.format;
    if (encoding[0]) {
        bool known = import_format_named(str_from(encoding), format);
        PRE(known);
        return OK;
    }
    if (format_of_name(str_from(s->path), format))
        return OK;
    *format = IMPORT_JSON;
    if (s->rest.len == 0 || looks_like_json(strbuf_view(&s->rest)))
        return OK;
    return error_set(
        reterr, E_BAD_DATA,
        "%s: what it holds cannot be told from its name (.json, .jsonl, .ndjson, .om, .openmetrics, .prom, "
        "each with .gz or without): say --encoding=json, openmetrics or prometheus",
        s->path);
}

/* --- reading --- */

static enum status read_more(struct file_source *s, struct strbuf *text, struct error *reterr)
{
    char *place = strbuf_reserve(text, READ_BYTES);
    if (!place)
        return text->status == E_NOMEM
                   ? error_set(reterr, E_NOMEM, "%s: no memory for its text", s->path)
                   : error_set(reterr, E_LIMIT, "%s: line %llu is longer than the %zu bytes allowed", s->path,
                               (unsigned long long)s->reader.line + 1, IMPORT_LINE_MAX_BYTES);
    errno = 0;
    int n = gzread(s->file, place, (unsigned)READ_BYTES);
    int code = Z_OK;
    const char *why = n < 0 ? gzerror(s->file, &code) : "";
    if (n < 0)
        return error_set(reterr, E_BAD_DATA, "%s: cannot be read: %s", s->path,
                         code == Z_ERRNO ? strerror(errno) : why);
    strbuf_commit(text, (size_t)n);
    s->ended = n == 0;
    return OK;
}

static double share_read(const struct file_source *s)
{
    double at = (double)gzoffset(s->file), all = (double)s->size_bytes;
    return s->ended ? 1 : all > 0 && at < all ? at / all : 0;
}

static enum status file_next(struct import_source *source, struct import_piece *piece, bool *ret_done,
                             struct error *reterr)
{
    struct file_source *s = (struct file_source *)source;
    strbuf_clear(&piece->text);
    piece->text.max = IMPORT_LINE_MAX_BYTES + READ_BYTES;
    strbuf_str(&piece->text, strbuf_view(&s->rest));
    strbuf_clear(&s->rest);
    *ret_done = s->ended && piece->text.len == 0;
    if (*ret_done)
        return OK;
    size_t used = 0;
    while (used == 0) {
        enum status status = s->ended ? OK : read_more(s, &piece->text, reterr);
        if (status != OK)
            return status;
        arena_reset(&piece->arena);
        status = import_text_read(&s->reader, &piece->arena, strbuf_view(&piece->text), s->ended, SIZE_MAX, &used,
                                  &piece->part, reterr);
        if (status != OK)
            return status;
        if (s->ended)
            break;
    }
    struct str text = strbuf_view(&piece->text);
    strbuf_bytes(&s->rest, text.ptr + used, text.len - used);
    s->offset += (int64_t)used;
    piece->after = (struct import_place){s->offset, (int64_t)s->reader.line};
    piece->share = share_read(s);
    return strbuf_status(&s->rest, "the rest of a line", reterr);
}

static void file_close(struct import_source *source)
{
    struct file_source *s = (struct file_source *)source;
    if (s->file)
        gzclose_r(s->file);
    strbuf_release(&s->rest);
    free(s);
}

static enum status open_file(struct file_source *s, struct error *reterr)
{
    bool standard = strcmp(s->path, "-") == 0;
    int fd = standard ? dup(STDIN_FILENO) : open(s->path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0)
        return error_set(reterr, E_BAD_DATA, "%s: cannot be opened: %s", s->path, strerror(errno));
    s->size_bytes = S_ISREG(about.st_mode) ? about.st_size : 0;
    s->file = gzdopen(fd, "rb");
    if (!s->file || gzbuffer(s->file, ZLIB_BUFFER_BYTES) != 0) {
        if (!s->file)
            close(fd);
        return error_set(reterr, E_NOMEM, "%s: no memory to read it", s->path);
    }
    return OK;
}

enum status import_file_open(const char *path, const char *encoding, const struct import_place *from,
                             struct import_source **ret_source, struct error *reterr)
{
    struct file_source *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(reterr, E_NOMEM, "%s: no memory to read it", path);
    s->source = (struct import_source){file_next, file_close};
    s->path = path;
    s->reader = (struct import_text){.limits = &s->limits, .time_ms = IMPORT_TIME_NEEDED, .line = (uint64_t)from->line};
    s->offset = from->at;
    strbuf_init(&s->rest, IMPORT_LINE_MAX_BYTES + READ_BYTES);
    enum status status = open_file(s, reterr);
    if (status == OK)
        status = read_more(s, &s->rest, reterr);
    if (status == OK)
        status = find_format(s, encoding, reterr);
    if (status == OK && from->at > 0) {
        strbuf_clear(&s->rest);
        s->ended = false;
        if (gzseek(s->file, (z_off_t)from->at, SEEK_SET) != (z_off_t)from->at)
            status = error_set(reterr, E_BAD_DATA, "%s: cannot go on at byte %lld: it is shorter or changed", path,
                               (long long)from->at);
    }
    if (status == OK)
        *ret_source = &s->source;
    else
        file_close(&s->source);
    return status;
}
