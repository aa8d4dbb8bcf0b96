/* frontend/server_watch.c: the thread that notices clients who left and deadlines that passed.
 *
 * libmicrohttpd does not look at sleeping connections. So each is put into an epoll set of ours, for its hang-up only,
 * from dispatch to the answer (streams: to their end). An event carries the exchange's number, not its address: the
 * watcher looks it up under the lock and takes a reference, so an exchange that ends meanwhile is simply not found.
 * Numbers are never used twice. The lookup walks the list; hang-ups are rare and the list is bounded by the
 * connections.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/server_internal.h"

static int socket_of(struct exchange *exchange)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void wake(struct http_server *server)
{
    uint64_t one = 1;
    while (write(server->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void watch_add(struct exchange *exchange)
{
    struct http_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    exchange->watched = true;
    exchange->watch_id = ++server->watch_id_last;
    exchange->deadline_ms = INT64_MAX;
    exchange->previous = NULL;
    exchange->next = server->exchanges;
    if (exchange->next)
        exchange->next->previous = exchange;
    server->exchanges = exchange;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = exchange->watch_id};
    /* Without a place in the set a client's leaving goes unnoticed until the answer is sent; nothing else is lost. */
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, socket_of(exchange), &event);
    pthread_mutex_unlock(&server->lock);
}

void watch_remove(struct exchange *exchange)
{
    struct http_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    if (exchange->watched) {
        exchange->watched = false;
        if (exchange->previous)
            exchange->previous->next = exchange->next;
        else
            server->exchanges = exchange->next;
        if (exchange->next)
            exchange->next->previous = exchange->previous;
        (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, socket_of(exchange), NULL);
    }
    pthread_mutex_unlock(&server->lock);
}

void watch_deadline(struct exchange *exchange, int64_t deadline_ms)
{
    struct http_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    exchange->deadline_ms = deadline_ms;
    bool sooner = deadline_ms < server->next_deadline_ms;
    if (sooner)
        server->next_deadline_ms = deadline_ms;
    pthread_mutex_unlock(&server->lock);
    if (sooner)
        wake(server);
}

/* The exchange with this number, or with number 0 any whose deadline passed, with a reference; NULL: none. */
static struct exchange *find(struct http_server *server, uint64_t watch_id, int64_t now_ms)
{
    pthread_mutex_lock(&server->lock);
    struct exchange *found = NULL;
    int64_t next_ms = INT64_MAX;
    for (struct exchange *at = server->exchanges; at && !found; at = at->next) {
        if (watch_id ? at->watch_id == watch_id : at->deadline_ms <= now_ms)
            found = at;
        else if (at->deadline_ms < next_ms)
            next_ms = at->deadline_ms;
    }
    if (found) {
        atomic_fetch_add(&found->references, 1);
        if (!watch_id)
            found->deadline_ms = INT64_MAX; /* once */
    } else if (!watch_id) {
        server->next_deadline_ms = next_ms;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

static void fire(struct exchange *exchange, enum status reason)
{
    cancel_fire(&exchange->request.cancel, reason);
    exchange_unref(exchange);
}

static int wait_ms(struct http_server *server, bool *ret_end)
{
    pthread_mutex_lock(&server->lock);
    *ret_end = server->watcher_ends;
    int64_t next_ms = server->next_deadline_ms;
    pthread_mutex_unlock(&server->lock);
    if (next_ms == INT64_MAX)
        return -1;
    int64_t left_ms = next_ms - monotonic_ms();
    return left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : (int)left_ms;
}

static void *watcher(void *arg)
{
    struct http_server *server = arg;
    bool end;
    for (int timeout_ms = wait_ms(server, &end); !end; timeout_ms = wait_ms(server, &end)) {
        struct epoll_event events[64];
        int n = epoll_wait(server->epoll_fd, events, ARRAY_LENGTH(events), timeout_ms);
        for (int i = 0; i < n; i++) {
            uint64_t counter;
            if (events[i].data.u64 == 0 && read(server->wake_fd, &counter, sizeof counter) < 0)
                continue; /* woken together with an earlier event */
            struct exchange *left = events[i].data.u64 ? find(server, events[i].data.u64, 0) : NULL;
            if (left)
                fire(left, E_CANCELED);
        }
        struct exchange *late;
        while ((late = find(server, 0, monotonic_ms())))
            fire(late, E_TIMEOUT);
    }
    return NULL;
}

enum status watch_start(struct http_server *server, struct error *reterr)
{
    server->next_deadline_ms = INT64_MAX;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    if (server->epoll_fd >= 0 && server->wake_fd >= 0 &&
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &event) == 0 &&
        pthread_create(&server->watcher, NULL, watcher, server) == 0) {
        pthread_setname_np(server->watcher, "http-watch");
        return OK;
    }
    enum status status = error_set(reterr, E_INTERNAL, "cannot watch connections: %s", strerror(errno));
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    return status;
}

void watch_stop(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->watcher_ends = true;
    pthread_mutex_unlock(&server->lock);
    wake(server);
    pthread_join(server->watcher, NULL);
    close(server->epoll_fd);
    close(server->wake_fd);
}

void watch_cancel_all(struct http_server *server)
{
    uint64_t after = 0; /* numbers grow, new exchanges come first: walk by number */
    for (;;) {
        pthread_mutex_lock(&server->lock);
        struct exchange *next = NULL;
        for (struct exchange *at = server->exchanges; at; at = at->next)
            if (at->watch_id > after && (!next || at->watch_id < next->watch_id))
                next = at;
        if (next) {
            atomic_fetch_add(&next->references, 1);
            after = next->watch_id;
        }
        pthread_mutex_unlock(&server->lock);
        if (!next)
            return;
        fire(next, E_CANCELED);
    }
}
