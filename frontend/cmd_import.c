/* frontend/cmd_import.c: promsplit import: sources into a store that no server has open.
 *
 * One thread reads and decodes, this one stores: each piece is one durable transaction, and how far the import came is
 * written down after it (import_state.h), so that the same command goes on there. The store takes samples of any age
 * here, but for those whose time rollups alone tell of, and nothing is dropped for its age: what retention says is done
 * by the server that opens the store next.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "frontend/cli.h"
#include "frontend/import_source.h"
#include "frontend/import_state.h"
#include "frontend/ingest.h"
#include "frontend/progress.h"
#include "promql/parse.h"
#include "remote/read_request.h"

#define PIECES_N              3 /* being read, waiting, being stored */
#define SAVE_EVERY_MS         500
#define MESSAGES_MAX          10
#define LOOK_EVERY_SAMPLES    300000
#define UNMOVED_MAX           2000000
#define TRIES_MAX             5
#define TRY_AGAIN_MS          1000
#define STANDARD_MEMORY_BYTES (UINT64_C(192) << 20)

static volatile sig_atomic_t stop_asked;

static void ask_to_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

/* --- the reading thread --- */

struct pipe {
    struct import_source *source;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct import_piece pieces[PIECES_N];
    unsigned filled, taken; /* pieces ever */
    bool ended, closing;
    struct error failure; /* of the source; OK if none */
};

static void *read_pieces(void *arg)
{
    struct pipe *pipe = arg;
    for (bool done = false; !done;) {
        pthread_mutex_lock(&pipe->lock);
        while (pipe->filled - pipe->taken == PIECES_N - 1 && !pipe->closing)
            pthread_cond_wait(&pipe->changed, &pipe->lock);
        bool closing = pipe->closing;
        struct import_piece *piece = &pipe->pieces[pipe->filled % PIECES_N];
        pthread_mutex_unlock(&pipe->lock);
        struct error failure = {.status = OK};
        done = closing;
        if (!closing) {
            arena_reset(&piece->arena);
            if (pipe->source->next(pipe->source, piece, &done, &failure) != OK)
                done = true;
        }
        pthread_mutex_lock(&pipe->lock);
        pipe->failure = failure;
        pipe->filled += !done;
        pipe->ended = done;
        pthread_cond_broadcast(&pipe->changed);
        pthread_mutex_unlock(&pipe->lock);
    }
    return NULL;
}

static enum status pipe_start(struct pipe *pipe, struct import_source *source, struct error *reterr)
{
    *pipe = (struct pipe){.source = source};
    pthread_mutex_init(&pipe->lock, NULL);
    pthread_cond_init(&pipe->changed, NULL);
    for (size_t i = 0; i < PIECES_N; i++) {
        arena_init(&pipe->pieces[i].arena, IMPORT_PIECE_MAX_BYTES);
        strbuf_init(&pipe->pieces[i].text, 0);
    }
    if (pthread_create(&pipe->thread, NULL, read_pieces, pipe) == 0)
        return OK;
    pthread_cond_destroy(&pipe->changed);
    pthread_mutex_destroy(&pipe->lock);
    return error_set(reterr, E_NOMEM, "cannot start the thread that reads");
}

/* The next piece, which the caller has until it asks for another one; NULL at the end, or when reading failed. */
static struct import_piece *pipe_next(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    while (pipe->filled == pipe->taken && !pipe->ended)
        pthread_cond_wait(&pipe->changed, &pipe->lock);
    bool any = pipe->filled != pipe->taken;
    struct import_piece *piece = any ? &pipe->pieces[pipe->taken % PIECES_N] : NULL;
    pipe->taken += any;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
    return piece;
}

static void pipe_stop(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->closing = true;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
    pthread_join(pipe->thread, NULL);
    pthread_cond_destroy(&pipe->changed);
    pthread_mutex_destroy(&pipe->lock);
    for (size_t i = 0; i < PIECES_N; i++) {
        arena_release(&pipe->pieces[i].arena);
        strbuf_release(&pipe->pieces[i].text);
    }
}

/* --- storing --- */

struct import {
    struct config config;
    struct import_query query;
    struct arena arena;
    struct backend *backend;
    struct import_state state;
    struct progress progress;
    int64_t saved_ms;
    uint64_t unmoved_n; /* stored since the last look at how much waits to be moved */
    uint64_t read_n, written_n, known_n, refused_n, gone_n, invalid_n, histograms_n, exemplars_n, bad_lines_n;
    unsigned messages_n;
};

static void tell(struct import *import, const char *source, const struct error *error)
{
    if (error->status == OK || import->messages_n > MESSAGES_MAX)
        return;
    progress_clear(&import->progress);
    if (import->messages_n++ < MESSAGES_MAX)
        fprintf(stderr, "promsplit: %s: %s\n", source, error->message);
    else
        fputs("promsplit: further messages of that kind are left out\n", stderr);
}

/* The engine takes samples faster than it moves them into chunks. Without a pause now and then what waits there would
 * outgrow its memory. */
static enum status keep_pace(struct import *import, size_t samples_n, struct error *reterr)
{
    struct backend_stats stats;
    import->unmoved_n += samples_n;
    if (import->unmoved_n < LOOK_EVERY_SAMPLES)
        return OK;
    import->unmoved_n = 0;
    enum status status = import->backend->ops->stats(import->backend, &stats, reterr);
    if (status == OK && stats.recent_n > UNMOVED_MAX && duckdb_backend_compact(import->backend, NULL) != OK)
        import->unmoved_n = LOOK_EVERY_SAMPLES; /* tried again after the next piece, which says what is wrong */
    return status;
}

/* One durable transaction. A store that is short of memory, or is being opened again, may take it a little later. */
static enum status append(struct import *import, const struct write_request *decoded,
                          struct append_request *ret_request, struct error *reterr)
{
    enum status status = OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        *ret_request = ingest_append_of(decoded);
        if (tries > 0)
            poll(NULL, 0, TRY_AGAIN_MS);
        status = import->backend->ops->append(import->backend, ret_request, 1, reterr);
        if (status != E_NOMEM && status != E_UNAVAILABLE)
            break;
        if (status == E_NOMEM && duckdb_backend_compact(import->backend, NULL) != OK)
            continue; /* the next try says what is wrong */
    }
    return status;
}

static enum status store_piece(struct import *import, const char *source, struct import_piece *piece,
                               struct error *reterr)
{
    const struct write_request *decoded = &piece->part.request;
    struct append_request request = ingest_append_of(decoded);
    if (request.series_n || request.metadata_n) {
        enum status status = append(import, decoded, &request, reterr);
        if (status == OK)
            status = keep_pace(import, request.written, reterr);
        if (status != OK)
            return status;
    }
    size_t invalid = write_request_invalid_samples(decoded);
    import->read_n += decoded->samples_n + decoded->histograms_n + decoded->invalid_histograms + invalid;
    import->written_n += request.written;
    import->known_n += request.duplicates;
    import->refused_n += ingest_refused(&request) - request.beyond_retention;
    import->gone_n += request.beyond_retention;
    import->invalid_n += invalid;
    import->histograms_n += decoded->invalid_histograms;
    import->exemplars_n += ingest_exemplars_lost(decoded, &request);
    import->bad_lines_n += piece->part.bad_lines;
    tell(import, source, &piece->part.bad);
    tell(import, source, &decoded->invalid);
    tell(import, source, &request.refused);
    return OK;
}

static enum status save(struct import *import, bool now, struct error *reterr)
{
    int64_t now_ms = monotonic_ms();
    if (!now && now_ms - import->saved_ms < SAVE_EVERY_MS)
        return OK;
    import->saved_ms = now_ms;
    return import_state_save(&import->state, reterr);
}

static enum status store_pieces(struct import *import, const char *name, struct pipe *pipe, struct error *reterr)
{
    int sources_n = import->config.arguments_n;
    enum status status = OK;
    struct import_piece *piece;
    while (status == OK && !stop_asked && (piece = pipe_next(pipe))) {
        status = store_piece(import, name, piece, reterr);
        if (status != OK)
            break;
        import->state.place = piece->after;
        status = save(import, false, reterr);
        progress_show(&import->progress, (import->state.source + piece->share) / sources_n, import->read_n);
    }
    if (status == OK && stop_asked)
        status = error_set(reterr, E_CANCELED, "interrupted");
    else if (status == OK && pipe->failure.status != OK) {
        *reterr = pipe->failure;
        status = reterr->status;
    }
    return status;
}

/* --- sources --- */

static bool is_server(const char *source)
{
    return strncmp(source, "http://", 7) == 0 || strncmp(source, "https://", 8) == 0;
}

static bool is_directory(const char *source)
{
    struct stat about;
    return stat(source, &about) == 0 && S_ISDIR(about.st_mode);
}

static enum status open_source(struct import *import, const char *name, struct import_source **ret_source,
                               struct error *reterr)
{
    const struct config *config = &import->config;
    const struct import_place *place = &import->state.place;
    import->query.span.max_ms = import->state.to_ms;
    if (is_server(name))
        return import_server_open(name, &import->query, place, ret_source, reterr);
    if (is_directory(name))
        return import_store_open(name, &import->query, place, ret_source, reterr);
    return import_file_open(name, config->text_format, place, ret_source, reterr);
}

static enum status import_source(struct import *import, const char *name, struct error *reterr)
{
    struct import_source *source;
    struct pipe pipe;
    enum status status = open_source(import, name, &source, reterr);
    if (status != OK)
        return status;
    status = pipe_start(&pipe, source, reterr);
    if (status == OK) {
        status = store_pieces(import, name, &pipe, reterr);
        pipe_stop(&pipe);
    }
    source->close(source);
    return status;
}

static enum status import_all(struct import *import, struct error *reterr)
{
    enum status status = OK;
    progress_begin(&import->progress, (double)import->state.source / import->config.arguments_n);
    while (status == OK && import->state.source < import->config.arguments_n) {
        status = import_source(import, import->config.arguments[import->state.source], reterr);
        if (status == OK) {
            import->state.source++;
            import->state.place = (struct import_place){0, 0};
        }
    }
    progress_clear(&import->progress);
    if (status == OK)
        import_state_remove(&import->state);
    else if (save(import, true, NULL) != OK)
        fputs("promsplit: how far the import came cannot be written down; the same command begins anew\n", stderr);
    return status;
}

/* --- beginning and end --- */

/* What makes two commands the same import. */
static void write_identity(const struct import *import, struct strbuf *out)
{
    const struct config *config = &import->config;
    strbuf_f(out, "encoding %s\nfrom %s\nto %s\nmatch ", config->text_format, config->span_from, config->span_to);
    strbuf_json(out, str_from(config->span_match));
    strbuf_char(out, '\n');
    for (int i = 0; i < config->arguments_n; i++) {
        struct stat about;
        const char *name = config->arguments[i];
        char *full = is_server(name) ? NULL : realpath(name, NULL);
        strbuf_cstr(out, "source ");
        strbuf_json(out, str_from(full ? full : name));
        if (full && stat(full, &about) == 0 && S_ISREG(about.st_mode))
            strbuf_f(out, " %lld bytes of %lld.%09ld", (long long)about.st_size, (long long)about.st_mtim.tv_sec,
                     about.st_mtim.tv_nsec);
        strbuf_char(out, '\n');
        free(full);
    }
}

static enum status read_query(struct import *import, int64_t *ret_to_ms, struct error *reterr)
{
    const struct config *config = &import->config;
    struct expr_selector selector = {.matchers_n = 0};
    enum status status = cli_time("from", config->span_from, READ_TIME_MIN_MS, &import->query.span.min_ms, reterr);
    if (status == OK)
        status = cli_time("to", config->span_to, wall_clock_ms(), ret_to_ms, reterr);
    if (status == OK && config->span_match[0] &&
        promql_parse_selector(&import->arena, str_from(config->span_match), &PARSE_LIMITS_DEFAULT, NULL, &selector,
                              reterr) != OK)
        status = error_prefix(reterr, "--match: ");
    import->query.matchers = selector.matchers;
    import->query.matchers_n = selector.matchers_n;
    bool windows = false;
    for (int i = 0; i < config->arguments_n; i++) {
        const char *name = config->arguments[i];
        windows = windows || is_server(name) || is_directory(name);
        if (status == OK && is_server(name) && !config->span_from[0])
            status = error_set(reterr, E_BAD_DATA, "%s: --from is missing: a server does not tell how far back it goes",
                               name);
    }
    if (status == OK && !windows && (config->span_from[0] || config->span_to[0] || config->span_match[0]))
        status = error_set(reterr, E_BAD_DATA, "--from, --to and --match are for servers and stores, not for files");
    return status;
}

static enum status open_store(struct import *import, struct error *reterr)
{
    const struct config *config = &import->config;
    struct duckdb_options options = {.directory = config->storage_path,
                                     .threads = (unsigned)config->storage_threads,
                                     .memory_max_bytes = config->storage_memory_bytes
                                                             ? (uint64_t)config->storage_memory_bytes
                                                             : STANDARD_MEMORY_BYTES,
                                     .out_of_order_window_ms = INT64_MAX,
                                     .exemplars_max = (uint64_t)config->storage_exemplars_max,
                                     .min_free_bytes = (uint64_t)config->storage_min_free_bytes,
                                     .connections_max = 2,
                                     .bulk = true};
    return cli_open_store(&options, &import->backend, reterr);
}

static enum status start(struct import *import, struct error *reterr)
{
    int64_t to_ms;
    bool found = false;
    struct strbuf identity;
    enum status status = read_query(import, &to_ms, reterr);
    if (status == OK)
        status = open_store(import, reterr);
    if (status != OK)
        return status;
    strbuf_init(&identity, 1u << 20);
    write_identity(import, &identity);
    status = strbuf_status(&identity, "the list of sources", reterr);
    if (status == OK)
        status = import_state_open(&import->state, import->config.storage_path, &identity, &found, reterr);
    strbuf_release(&identity);
    if (status != OK)
        return status;
    if (found && !import->config.import_restart) {
        fprintf(stderr, "promsplit: going on where the last import of this was interrupted (--restart begins anew)\n");
    } else {
        import->state.source = 0;
        import->state.place = (struct import_place){0, 0};
        import->state.to_ms = to_ms;
    }
    return OK;
}

static void print_count(struct strbuf *out, const char *words, uint64_t n)
{
    if (n)
        strbuf_f(out, ", %llu %s", (unsigned long long)n, words);
}

static void print_summary(const struct import *import)
{
    struct strbuf out;
    strbuf_init(&out, 4096);
    double seconds = (double)(monotonic_ms() - import->progress.begun_ms) / 1000;
    strbuf_f(&out, "%llu samples read in %.1f s (", (unsigned long long)import->read_n, seconds);
    progress_number(&out, seconds > 0 ? (double)import->read_n / seconds : 0);
    strbuf_f(&out, "/s): %llu stored", (unsigned long long)import->written_n);
    print_count(&out, "stored before", import->known_n);
    print_count(&out, "refused: another value is stored for their time", import->refused_n);
    print_count(&out, "refused: rollups alone are kept of their time", import->gone_n);
    print_count(&out, "with labels that cannot be stored", import->invalid_n);
    print_count(&out, "native histograms left out", import->histograms_n);
    print_count(&out, "exemplars not stored", import->exemplars_n);
    print_count(&out, "lines that cannot be read", import->bad_lines_n);
    fprintf(stderr, "%s\n", strbuf_view(&out).ptr);
    strbuf_release(&out);
}

static int run(struct import *import)
{
    struct error error = {.begin = ERROR_NO_POSITION};
    struct sigaction action = {.sa_handler = ask_to_stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a write that fails */
    arena_init(&import->arena, 16u << 20);
    enum status status = start(import, &error);
    bool begun = status == OK;
    if (begun)
        status = import_all(import, &error);
    int code = status == OK ? CLI_OK : cli_fail(CLI_FAILED, &error, NULL);
    if (begun)
        print_summary(import);
    if (begun && status != OK)
        fputs("promsplit: the same command goes on where this one ended\n", stderr);
    if (import->backend)
        import->backend->ops->close(import->backend);
    import_state_release(&import->state);
    arena_release(&import->arena);
    bool all = !import->refused_n && !import->gone_n && !import->invalid_n && !import->bad_lines_n;
    return code == CLI_OK && !all ? CLI_FAILED : code;
}

int cmd_import(int argc, char *const argv[])
{
    struct import *import = calloc(1, sizeof *import);
    if (!import)
        return cli_fail(CLI_FAILED, &(struct error){.begin = ERROR_NO_POSITION, .message = "no memory"}, NULL);
    int code = cli_config(&import->config, COMMAND_IMPORT, argc, argv) == OK ? run(import) : CLI_USAGE;
    config_release(&import->config);
    free(import);
    return code;
}
