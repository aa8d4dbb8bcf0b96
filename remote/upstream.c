/* remote/upstream.c: see upstream.h.
 *
 * Life of a request: submitted (any thread puts it in the inbox and wakes the client's thread), queued, open (it has a
 * curl handle in the multi handle), ended (`done` was called, it is freed). Only the client's thread touches requests
 * after the inbox, and curl at all, except for curl_multi_wakeup. The one thing other threads may set in a request is
 * the flag of its cancel hook; the hook is cleared before the request ends.
 *
 * Lock order: a cancel's lock, then nothing (the hook takes no lock); upstream.lock, then nothing. `done` runs
 * unlocked.
 */
#include "remote/upstream.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "base/assert.h"

struct exchange {
    struct exchange *prev, *next; /* in the list of its stage */
    struct upstream *upstream;
    CURL *easy; /* while open */
    bool is_post;
    char *url, *body, *path; /* path: for messages, without query string */
    size_t body_len;
    int64_t deadline_ms;
    struct cancel *cancel;
    struct cancel_hook hook;
    _Atomic bool canceled; /* set by the hook */
    void (*done)(void *arg, struct upstream_answer *answer);
    void *arg;
    struct strbuf answer;
    char curl_message[CURL_ERROR_SIZE];
};

struct exchange_list {
    struct exchange *first, *last;
};

struct upstream {
    char *base_url, *user, *password, *user_agent;
    struct upstream_options options; /* strings not used: see above */
    struct curl_slist *headers;
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t lock; /* guards inbox and stopping */
    struct exchange_list inbox;
    bool stopping;
    /* the thread's own */
    struct exchange_list queued, open;
    unsigned open_n;
    int64_t next_deadline_ms; /* no request ends earlier */
    _Atomic bool cancel_seen; /* some request's hook has run */
    _Atomic uint64_t stats_open, stats_queued, stats_sent, stats_connections;
};

/* --- lists --- */

static void list_append(struct exchange_list *list, struct exchange *exchange)
{
    exchange->prev = list->last;
    exchange->next = NULL;
    *(list->last ? &list->last->next : &list->first) = exchange;
    list->last = exchange;
}

static void list_remove(struct exchange_list *list, struct exchange *exchange)
{
    *(exchange->prev ? &exchange->prev->next : &list->first) = exchange->next;
    *(exchange->next ? &exchange->next->prev : &list->last) = exchange->prev;
}

/* --- building and ending a request --- */

static void exchange_free(struct exchange *exchange)
{
    if (!exchange)
        return;
    strbuf_release(&exchange->answer);
    free(exchange->url);
    free(exchange->body);
    free(exchange->path);
    free(exchange);
}

/* Runs on the cancelling thread, under the cancel's lock. */
static void interrupt(void *arg)
{
    struct exchange *exchange = arg;
    atomic_store(&exchange->canceled, true);
    atomic_store(&exchange->upstream->cancel_seen, true);
    curl_multi_wakeup(exchange->upstream->multi);
}

static struct exchange *exchange_new(struct upstream *upstream, const struct upstream_request *request)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    *exchange = (struct exchange){
        .upstream = upstream,
        .is_post = strcmp(request->method, "POST") == 0,
        .body_len = request->body.len,
        .deadline_ms = request->deadline_ms,
        .cancel = request->cancel,
        .hook = {.interrupt = interrupt, .arg = exchange},
        .done = request->done,
        .arg = request->arg,
    };
    if (request->cancel && request->cancel->deadline_ms < exchange->deadline_ms)
        exchange->deadline_ms = request->cancel->deadline_ms;
    strbuf_init(&exchange->answer, upstream->options.answer_max_bytes);
    if (asprintf(&exchange->url, "%s%s", upstream->base_url, request->path) < 0)
        exchange->url = NULL;
    exchange->path = strndup(request->path, strcspn(request->path, "?"));
    exchange->body = malloc(request->body.len + 1);
    if (!exchange->url || !exchange->path || !exchange->body) {
        exchange_free(exchange);
        return NULL;
    }
    if (request->body.len)
        memcpy(exchange->body, request->body.ptr, request->body.len);
    return exchange;
}

/* Takes the request out of curl and off its list. A transfer under way loses its connection. */
static void detach(struct exchange *exchange)
{
    struct upstream *upstream = exchange->upstream;
    if (!exchange->easy) {
        list_remove(&upstream->queued, exchange);
        atomic_fetch_sub(&upstream->stats_queued, 1);
        return;
    }
    long connects = 0;
    curl_easy_getinfo(exchange->easy, CURLINFO_NUM_CONNECTS, &connects);
    atomic_fetch_add(&upstream->stats_connections, (uint64_t)connects);
    curl_multi_remove_handle(upstream->multi, exchange->easy);
    curl_easy_cleanup(exchange->easy);
    list_remove(&upstream->open, exchange);
    upstream->open_n--;
    atomic_fetch_sub(&upstream->stats_open, 1);
}

static void end(struct exchange *exchange, struct upstream_answer *answer)
{
    detach(exchange);
    if (exchange->cancel)
        cancel_clear_hook(exchange->cancel, &exchange->hook);
    exchange->done(exchange->arg, answer);
    exchange_free(exchange);
}

static void end_canceled(struct exchange *exchange, const char *why)
{
    struct upstream_answer answer = {0};
    answer.status = error_set(&answer.error, E_CANCELED, "request to %s %s%s canceled: %s",
                              exchange->upstream->options.peer, exchange->upstream->base_url, exchange->path, why);
    end(exchange, &answer);
}

/* The deadline has passed or the cancel has fired. */
static void end_early(struct exchange *exchange)
{
    struct upstream_answer answer = {0};
    answer.status = cancel_check(exchange->cancel, &answer.error);
    if (answer.status == OK)
        answer.status = error_set(&answer.error, E_TIMEOUT, "%s %s%s did not answer before the deadline",
                                  exchange->upstream->options.peer, exchange->upstream->base_url, exchange->path);
    end(exchange, &answer);
}

/* --- one transfer --- */

static bool too_long(struct exchange *exchange, uint64_t bytes)
{
    if (bytes <= exchange->answer.max)
        return false;
    exchange->answer.status = E_LIMIT;
    return true;
}

/* The first piece reserves room for the whole answer if the peer said how long it is. */
static size_t receive(char *bytes, size_t each, size_t n, void *arg)
{
    struct exchange *exchange = arg;
    size_t size = each * n;
    if (exchange->answer.len == 0) {
        curl_off_t declared = -1;
        curl_easy_getinfo(exchange->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &declared);
        if (declared > 0 &&
            (too_long(exchange, (uint64_t)declared) || !strbuf_reserve(&exchange->answer, (size_t)declared)))
            return 0;
    }
    strbuf_bytes(&exchange->answer, bytes, size);
    return exchange->answer.status == OK ? size : 0; /* anything else than size ends the transfer */
}

/* All options of a transfer. They cannot fail but for memory, which the first strings would show. */
static bool set_options(CURL *easy, struct exchange *exchange)
{
    const struct upstream *upstream = exchange->upstream;
    bool good = curl_easy_setopt(easy, CURLOPT_URL, exchange->url) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_USERAGENT, upstream->user_agent) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    if (good && upstream->user)
        good = curl_easy_setopt(easy, CURLOPT_USERNAME, upstream->user) == CURLE_OK;
    if (good && upstream->password)
        good = curl_easy_setopt(easy, CURLOPT_PASSWORD, upstream->password) == CURLE_OK;
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)upstream->options.connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, upstream->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->curl_message);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange);
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* ending a request must not wait for a name server */
#endif
    if (exchange->is_post) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange->body);
    }
    return good;
}

static void start(struct upstream *upstream, struct exchange *exchange)
{
    CURL *easy = curl_easy_init();
    if (!easy || !set_options(easy, exchange) || curl_multi_add_handle(upstream->multi, easy) != CURLM_OK) {
        curl_easy_cleanup(easy);
        struct upstream_answer answer = {0};
        answer.status = error_set(&answer.error, E_NOMEM, "no memory for a request to %s %s", upstream->options.peer,
                                  upstream->base_url);
        end(exchange, &answer);
        return;
    }
    list_remove(&upstream->queued, exchange);
    atomic_fetch_sub(&upstream->stats_queued, 1);
    exchange->easy = easy;
    list_append(&upstream->open, exchange);
    upstream->open_n++;
    atomic_fetch_add(&upstream->stats_open, 1);
}

static enum status transfer_failed(struct exchange *exchange, CURLcode result, struct error *reterr)
{
    const struct upstream *upstream = exchange->upstream;
    if (exchange->answer.status == E_LIMIT)
        return error_set(reterr, E_LIMIT, "answer of %s %s%s is longer than the allowed %zu bytes",
                         upstream->options.peer, upstream->base_url, exchange->path, exchange->answer.max);
    if (exchange->answer.status != OK || result == CURLE_OUT_OF_MEMORY)
        return error_set(reterr, E_NOMEM, "no memory for the answer of %s %s%s", upstream->options.peer,
                         upstream->base_url, exchange->path);
    const char *detail = exchange->curl_message[0] ? exchange->curl_message : curl_easy_strerror(result);
    return error_set(reterr, E_UPSTREAM, "%s %s%s: %s", upstream->options.peer, upstream->base_url, exchange->path,
                     detail);
}

static void finish(struct exchange *exchange, CURLcode result)
{
    struct upstream_answer answer = {0};
    if (result != CURLE_OK) {
        answer.status = transfer_failed(exchange, result, &answer.error);
        end(exchange, &answer);
        return;
    }
    long code = 0;
    const char *type = NULL;
    curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(exchange->easy, CURLINFO_CONTENT_TYPE, &type);
    answer.http_code = (int)code;
    snprintf(answer.content_type, sizeof answer.content_type, "%s", type ? type : "");
    answer.body = strbuf_detach(&exchange->answer, &answer.body_len);
    end(exchange, &answer);
}

/* --- the thread --- */

/* Moves the inbox to the queue; false when the client is stopping. */
static bool collect(struct upstream *upstream)
{
    pthread_mutex_lock(&upstream->lock);
    struct exchange *next = upstream->inbox.first;
    upstream->inbox = (struct exchange_list){0};
    bool go_on = !upstream->stopping;
    pthread_mutex_unlock(&upstream->lock);
    while (next) {
        struct exchange *exchange = next;
        next = exchange->next;
        list_append(&upstream->queued, exchange);
        if (atomic_load(&exchange->canceled)) /* its hook ran before the request could be found in a list */
            atomic_store(&upstream->cancel_seen, true);
        if (exchange->deadline_ms < upstream->next_deadline_ms)
            upstream->next_deadline_ms = exchange->deadline_ms;
    }
    return go_on;
}

static void end_due(struct upstream *upstream, struct exchange_list *list, int64_t now_ms)
{
    struct exchange *next;
    for (struct exchange *exchange = list->first; exchange; exchange = next) {
        next = exchange->next;
        if (exchange->deadline_ms <= now_ms || atomic_load(&exchange->canceled))
            end_early(exchange);
        else if (exchange->deadline_ms < upstream->next_deadline_ms)
            upstream->next_deadline_ms = exchange->deadline_ms;
    }
}

/* Ends what is past its deadline or canceled. Looks through the requests only when there may be such. */
static void end_all_due(struct upstream *upstream)
{
    int64_t now_ms = monotonic_ms();
    bool canceled = atomic_exchange(&upstream->cancel_seen, false);
    if (!canceled && now_ms < upstream->next_deadline_ms)
        return;
    upstream->next_deadline_ms = INT64_MAX;
    end_due(upstream, &upstream->open, now_ms);
    end_due(upstream, &upstream->queued, now_ms);
}

static void start_queued(struct upstream *upstream)
{
    while (upstream->queued.first && upstream->open_n < upstream->options.connections_max)
        start(upstream, upstream->queued.first);
}

/* Ends the finished transfers; true if there were any, and so there is room for queued requests. */
static bool finish_transfers(struct upstream *upstream)
{
    bool any = false;
    int left;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(upstream->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct exchange *exchange = NULL;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
        finish(exchange, result); /* message is gone after this */
        any = true;
    }
    return any;
}

static int poll_ms(const struct upstream *upstream)
{
    const int64_t longest_ms = 60 * 1000;
    if (upstream->next_deadline_ms == INT64_MAX)
        return (int)longest_ms;
    int64_t left_ms = upstream->next_deadline_ms - monotonic_ms();
    return left_ms < 0 ? 0 : left_ms > longest_ms ? (int)longest_ms : (int)left_ms;
}

static void *run(void *arg)
{
    struct upstream *upstream = arg;
    while (collect(upstream)) {
        end_all_due(upstream);
        start_queued(upstream);
        int running;
        curl_multi_perform(upstream->multi, &running);
        if (!finish_transfers(upstream))
            curl_multi_poll(upstream->multi, NULL, 0, poll_ms(upstream), NULL);
    }
    while (upstream->open.first)
        end_canceled(upstream->open.first, "shutting down");
    while (upstream->queued.first)
        end_canceled(upstream->queued.first, "shutting down");
    return NULL;
}

/* --- life --- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void start_curl(void)
{
    curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL, *copy = NULL;
    if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
        copy = strdup(text);
    curl_free(text);
    return copy;
}

/* Splits the URL into credentials and the rest. The message must not show the URL: it may hold a password. */
static enum status parse_url(struct upstream *upstream, const char *text, struct error *reterr)
{
    CURLU *url = curl_url();
    if (!url)
        return error_set(reterr, E_NOMEM, "no memory for the URL of the %s", upstream->options.peer);
    enum status status = OK;
    CURLUcode result = curl_url_set(url, CURLUPART_URL, text, 0);
    if (result != CURLUE_OK) {
        status = error_set(reterr, E_BAD_DATA, "%s URL: %s; wanted is one like http://host:9090",
                           upstream->options.peer, curl_url_strerror(result));
    } else {
        char *scheme = url_part(url, CURLUPART_SCHEME, 0);
        char *query = url_part(url, CURLUPART_QUERY, 0), *fragment = url_part(url, CURLUPART_FRAGMENT, 0);
        if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
            status = error_set(reterr, E_BAD_DATA,
                               "%s URL: scheme must be http or https, not %s; wanted is one like http://host:9090",
                               upstream->options.peer, scheme ? scheme : "empty");
        else if (query || fragment)
            status = error_set(reterr, E_BAD_DATA, "%s URL: must not have a query string or fragment",
                               upstream->options.peer);
        free(scheme);
        free(query);
        free(fragment);
    }
    if (status == OK) {
        upstream->user = url_part(url, CURLUPART_USER, CURLU_URLDECODE);
        upstream->password = url_part(url, CURLUPART_PASSWORD, CURLU_URLDECODE);
        curl_url_set(url, CURLUPART_USER, NULL, 0);
        curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
        upstream->base_url = url_part(url, CURLUPART_URL, 0);
        if (!upstream->base_url)
            status = error_set(reterr, E_NOMEM, "no memory for the URL of the %s", upstream->options.peer);
    }
    curl_url_cleanup(url);
    return status;
}

static void release(struct upstream *upstream)
{
    if (upstream->multi)
        curl_multi_cleanup(upstream->multi);
    curl_slist_free_all(upstream->headers);
    pthread_mutex_destroy(&upstream->lock);
    free(upstream->base_url);
    free(upstream->user);
    free(upstream->password);
    free(upstream->user_agent);
    free(upstream);
}

/* The thread takes no signals: the program's own handling of them stays with its other threads, and a broken TLS
 * connection cannot end the process with SIGPIPE. */
static bool start_thread(struct upstream *upstream)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&upstream->thread, NULL, run, upstream) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_setname_np(upstream->thread, "upstream");
    return started;
}

enum status upstream_new(const struct upstream_options *options, struct upstream **ret_upstream, struct error *reterr)
{
    PRE(options->connections_max > 0 && options->connect_timeout_ms > 0 && options->peer);
    pthread_once(&curl_once, start_curl);
    struct upstream *upstream = calloc(1, sizeof *upstream);
    if (curl_started != CURLE_OK || !upstream) {
        free(upstream);
        return error_set(reterr, E_NOMEM, "no memory for the upstream client");
    }
    pthread_mutex_init(&upstream->lock, NULL);
    upstream->options = *options;
    upstream->next_deadline_ms = INT64_MAX;
    enum status status = parse_url(upstream, options->url, reterr);
    if (status != OK) {
        release(upstream);
        return status;
    }
    for (size_t n = strlen(upstream->base_url); n && upstream->base_url[n - 1] == '/'; n--)
        upstream->base_url[n - 1] = '\0'; /* paths bring their own */
    upstream->user_agent = strdup(options->user_agent);
    upstream->headers = curl_slist_append(NULL, "Expect:"); /* no round trip before long bodies */
    for (const char *const *header = options->headers; upstream->headers && header && *header; header++) {
        struct curl_slist *more = curl_slist_append(upstream->headers, *header);
        if (!more)
            curl_slist_free_all(upstream->headers);
        upstream->headers = more;
    }
    upstream->multi = curl_multi_init();
    if (upstream->multi)
        curl_multi_setopt(upstream->multi, CURLMOPT_MAXCONNECTS, (long)options->connections_max);
    if (!upstream->multi || !upstream->user_agent || !upstream->headers || !start_thread(upstream)) {
        release(upstream);
        return error_set(reterr, E_NOMEM, "no memory or thread for the upstream client");
    }
    *ret_upstream = upstream;
    return OK;
}

void upstream_free(struct upstream *upstream)
{
    if (!upstream)
        return;
    pthread_mutex_lock(&upstream->lock);
    upstream->stopping = true;
    pthread_mutex_unlock(&upstream->lock);
    curl_multi_wakeup(upstream->multi);
    pthread_join(upstream->thread, NULL);
    release(upstream);
}

const char *upstream_url(const struct upstream *upstream)
{
    return upstream->base_url;
}

struct upstream_stats upstream_stats(const struct upstream *upstream)
{
    return (struct upstream_stats){
        .open = atomic_load(&upstream->stats_open),
        .queued = atomic_load(&upstream->stats_queued),
        .sent = atomic_load(&upstream->stats_sent),
        .connections = atomic_load(&upstream->stats_connections),
    };
}

/* --- sending --- */

enum status upstream_send(struct upstream *upstream, const struct upstream_request *request, struct error *reterr)
{
    PRE(request->done && request->path[0] == '/');
    PRE(strcmp(request->method, "POST") == 0 || (strcmp(request->method, "GET") == 0 && request->body.len == 0));
    struct exchange *exchange = exchange_new(upstream, request);
    if (!exchange)
        return error_set(reterr, E_NOMEM, "no memory for a request to %s %s", upstream->options.peer,
                         upstream->base_url);
    if (exchange->cancel)
        cancel_set_hook(exchange->cancel, &exchange->hook); /* before the thread can end the request */
    pthread_mutex_lock(&upstream->lock);
    bool accepted = !upstream->stopping;
    if (accepted) {
        list_append(&upstream->inbox, exchange);
        atomic_fetch_add(&upstream->stats_sent, 1);
        atomic_fetch_add(&upstream->stats_queued, 1);
    }
    pthread_mutex_unlock(&upstream->lock);
    if (accepted) {
        curl_multi_wakeup(upstream->multi);
        return OK;
    }
    if (exchange->cancel)
        cancel_clear_hook(exchange->cancel, &exchange->hook);
    exchange_free(exchange);
    return error_set(reterr, E_CANCELED, "the client of %s %s is shutting down", upstream->options.peer,
                     upstream->base_url);
}

/* Where upstream_call waits for its answer. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    bool is_done;
    struct upstream_answer *answer;
};

static void wake_waiter(void *arg, struct upstream_answer *answer)
{
    struct waiter *waiter = arg;
    pthread_mutex_lock(&waiter->lock);
    *waiter->answer = *answer;
    waiter->is_done = true;
    pthread_cond_signal(&waiter->arrived);
    pthread_mutex_unlock(&waiter->lock);
}

void upstream_call(struct upstream *upstream, const struct upstream_request *request,
                   struct upstream_answer *ret_answer)
{
    PRE(!pthread_equal(pthread_self(), upstream->thread)); /* it would wait for itself */
    struct waiter waiter = {.answer = ret_answer};
    pthread_mutex_init(&waiter.lock, NULL);
    pthread_cond_init(&waiter.arrived, NULL);
    struct upstream_request copy = *request;
    copy.done = wake_waiter;
    copy.arg = &waiter;
    struct error error;
    enum status status = upstream_send(upstream, &copy, &error);
    if (status == OK) { /* from here on *ret_answer is the other thread's until it is done */
        pthread_mutex_lock(&waiter.lock);
        while (!waiter.is_done)
            pthread_cond_wait(&waiter.arrived, &waiter.lock);
        pthread_mutex_unlock(&waiter.lock);
    } else {
        *ret_answer = (struct upstream_answer){.status = status, .error = error};
    }
    pthread_cond_destroy(&waiter.arrived);
    pthread_mutex_destroy(&waiter.lock);
}

void form_add(struct strbuf *form, const char *name, struct str value)
{
    static const char HEX[] = "0123456789ABCDEF";
    if (form->len)
        strbuf_char(form, '&');
    strbuf_cstr(form, name); /* ours: plain letters */
    strbuf_char(form, '=');
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain && c) {
            strbuf_char(form, (char)c);
        } else {
            const char escaped[3] = {'%', HEX[c >> 4], HEX[c & 15]};
            strbuf_bytes(form, escaped, sizeof escaped);
        }
    }
}
