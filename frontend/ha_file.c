/* frontend/ha_file.c: see ha_file.h. */
#include "frontend/ha_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "frontend/json.h"

static enum status failed(const char *what, const char *path, struct error *reterr)
{
    return error_set(reterr, E_STORE, "cannot %s %s: %s", what, path, strerror(errno));
}

/* --- reading --- */

static enum status read_all(FILE *file, const char *path, struct strbuf *text, struct error *reterr)
{
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, file)) > 0)
        strbuf_bytes(text, part, n);
    return ferror(file) ? failed("read", path, reterr) : strbuf_status(text, path, reterr);
}

static enum status read_entries(struct str text, const char *path,
                                bool (*each)(void *arg, struct str cluster, struct str replica), void *arg,
                                struct error *reterr)
{
    if (!json_members(text, NULL, 0))
        return error_set(reterr, E_STORE, "%s is not a JSON object; remove it, and whoever sends first is elected",
                         path);
    struct strbuf cluster, replica;
    strbuf_init(&cluster, HA_FILE_MAX_BYTES);
    strbuf_init(&replica, HA_FILE_MAX_BYTES);
    struct str name, value;
    enum status status = OK;
    while (status == OK && json_next_member(&text, &name, &value)) {
        strbuf_clear(&cluster);
        strbuf_clear(&replica);
        if (!json_text(&cluster, name) || !json_text(&replica, value))
            status = error_set(reterr, E_STORE, "%s: a replica is no text", path);
        else if (cluster.len && replica.len && !each(arg, strbuf_view(&cluster), strbuf_view(&replica)))
            status = error_set(reterr, E_NOMEM, "no memory for %s", path);
    }
    strbuf_release(&cluster);
    strbuf_release(&replica);
    return status;
}

enum status ha_file_read(const char *path, bool (*each)(void *arg, struct str cluster, struct str replica), void *arg,
                         struct error *reterr)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? OK : failed("open", path, reterr);
    struct strbuf text;
    strbuf_init(&text, HA_FILE_MAX_BYTES);
    enum status status = read_all(file, path, &text, reterr);
    fclose(file);
    if (status == OK)
        status = read_entries(strbuf_view(&text), path, each, arg, reterr);
    strbuf_release(&text);
    return status;
}

/* --- writing --- */

void ha_file_begin(struct ha_file *file)
{
    strbuf_init(&file->text, HA_FILE_MAX_BYTES);
    strbuf_char(&file->text, '{');
}

void ha_file_put(struct ha_file *file, struct str cluster, struct str replica)
{
    strbuf_cstr(&file->text, file->text.len > 1 ? ",\n" : "\n");
    strbuf_json(&file->text, cluster);
    strbuf_char(&file->text, ':');
    strbuf_json(&file->text, replica);
}

static bool write_synced(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            text = (struct str){text.ptr + n, text.len - (size_t)n};
    }
    return fsync(fd) == 0;
}

static bool sync_directory_of(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = fsync(fd) == 0;
    close(fd);
    return done;
}

static enum status replace_file(const char *path, struct str text, struct error *reterr)
{
    char fresh[PATH_MAX];
    if ((size_t)snprintf(fresh, sizeof fresh, "%s.new", path) >= sizeof fresh)
        return error_set(reterr, E_STORE, "%s: the path is too long", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return failed("create", fresh, reterr);
    bool written = write_synced(fd, text);
    enum status status = written ? OK : failed("write", fresh, reterr);
    if (close(fd) != 0 && status == OK)
        status = failed("write", fresh, reterr);
    if (status == OK && (rename(fresh, path) != 0 || !sync_directory_of(path)))
        status = failed("replace", path, reterr);
    if (status != OK)
        unlink(fresh);
    return status;
}

enum status ha_file_end(struct ha_file *file, const char *path, struct error *reterr)
{
    strbuf_cstr(&file->text, "\n}\n");
    enum status status = strbuf_status(&file->text, path, reterr);
    if (status == OK)
        status = replace_file(path, strbuf_view(&file->text), reterr);
    strbuf_release(&file->text);
    return status;
}
