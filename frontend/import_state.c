/* frontend/import_state.c: see import_state.h. */
#include "frontend/import_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_LINE "promsplit import 1\n"

static uint64_t fnv1a(struct str text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.ptr[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool read_file(const char *path, struct strbuf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char bytes[4096];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        strbuf_bytes(out, bytes, (size_t)n);
    close(fd);
    return n == 0 && out->status == OK;
}

/* The file's text for this state. */
static void print(struct strbuf *out, const struct import_state *state)
{
    strbuf_f(out, FIRST_LINE "%d %" PRId64 " %" PRId64 " %" PRId64 "\n", state->source, state->place.at,
             state->place.line, state->to_ms);
    strbuf_str(out, strbuf_view(&state->identity));
}

/* False if the file is of another import, or broken: then the state stays as it is. */
static bool parse(struct import_state *state, struct str text)
{
    struct import_state read = *state;
    int used = 0;
    const size_t first = sizeof FIRST_LINE - 1;
    if (text.len < first || memcmp(text.ptr, FIRST_LINE, first) != 0 ||
        sscanf(text.ptr + first, "%d %" SCNd64 " %" SCNd64 " %" SCNd64 "%n", &read.source, &read.place.at,
               &read.place.line, &read.to_ms, &used) != 4)
        return false;
    struct strbuf again;
    strbuf_init(&again, text.len + 256);
    print(&again, &read);
    bool same = str_eq(strbuf_view(&again), text);
    strbuf_release(&again);
    if (same)
        *state = read;
    return same;
}

enum status import_state_open(struct import_state *state, const char *directory, struct strbuf *identity,
                              bool *ret_found, struct error *reterr)
{
    *state = (struct import_state){.identity = *identity};
    *identity = (struct strbuf){0};
    *ret_found = false;
    int n = snprintf(state->path, sizeof state->path, "%s/import-%016" PRIx64 ".state", directory,
                     fnv1a(strbuf_view(&state->identity)));
    if (n < 0 || (size_t)n + sizeof ".new" > sizeof state->path)
        return error_set(reterr, E_BAD_DATA, "--storage.path: longer than %zu bytes", sizeof state->path - 64);
    struct strbuf text;
    strbuf_init(&text, 1u << 20);
    *ret_found = read_file(state->path, &text) && parse(state, strbuf_view(&text));
    strbuf_release(&text);
    return OK;
}

static bool write_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = (struct str){text.ptr + n, text.len - (size_t)n};
    }
    return fsync(fd) == 0;
}

enum status import_state_save(const struct import_state *state, struct error *reterr)
{
    char fresh[sizeof state->path + 8];
    struct strbuf text;
    snprintf(fresh, sizeof fresh, "%s.new", state->path);
    strbuf_init(&text, 1u << 20);
    print(&text, state);
    enum status status = strbuf_status(&text, "the state of the import", reterr);
    int fd = status == OK ? open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (status == OK && (fd < 0 || !write_all(fd, strbuf_view(&text)) || rename(fresh, state->path) != 0))
        status = error_set(reterr, E_STORE, "cannot write %s: %s", fresh, strerror(errno));
    if (fd >= 0)
        close(fd);
    strbuf_release(&text);
    return status;
}

void import_state_remove(const struct import_state *state)
{
    unlink(state->path);
}

void import_state_release(struct import_state *state)
{
    strbuf_release(&state->identity);
}
