/* frontend/probe.h: what is known of the upstream Prometheus, and the proof that its remote reads come back here.
 *
 * At start and every --upstream.probe-interval: version (/api/v1/status/buildinfo), lookback delta and features
 * (/api/v1/status/flags), evaluation interval, external labels and remote_read section (/api/v1/status/config), and one
 * probe query through upstream whose only selector is a probe task; ready means its answer was read back and right. The
 * query is about a time far ahead: without read_recent Prometheus asks only for times before those its own data cover,
 * and takes these to begin some hours ahead while it has none (cmd/prometheus/main.go, readyStorage.StartTime), so that
 * a probe of the present would be read back all the same.
 * When it was not, the reason names the setting to change: no remote_read for our address, read_recent: false,
 * filter_external_labels with external_labels, required_matchers that differ.
 *
 * Threads: any; the facts are copied out under a lock.
 */
#ifndef PROMSPLIT_FRONTEND_PROBE_H
#define PROMSPLIT_FRONTEND_PROBE_H

#include "frontend/http.h"
#include "planner/grid.h"

struct probe;

struct upstream_facts {
    bool known;       /* upstream answered at least once */
    bool ready;       /* the last probe was read back */
    char version[64]; /* "2.42.0+ds" */
    enum window_rule rule;
    int64_t lookback_ms;
    int64_t evaluation_interval_ms; /* default subquery step */
    char reason[512];               /* why not ready, for people */
};

MUST_USE enum status probe_new(struct app *app, struct probe **ret_probe, struct error *reterr);
void probe_free(struct probe *probe);
struct upstream_facts probe_facts(struct probe *probe);
void probe_now(struct probe *probe); /* soon, not waiting: a query found a task unread */

/* A query that cannot be planned before upstream's version is known waits for the next word of upstream, good or bad:
 * `heard` is called once, on the probe's thread, or in probe_free. The wait must stay until then. */
struct probe_wait {
    void (*heard)(void *arg);
    void *arg;
    struct probe_wait *next;
};
void probe_await(struct probe *probe, struct probe_wait *wait);

/* GET /-/ready, /-/healthy */
void api_ready(struct http_request *request);
void api_healthy(struct http_request *request);

#endif
