/* frontend/probe_config.h: what the configuration of an upstream Prometheus says about reading back from here.
 *
 * Source: the YAML of /api/v1/status/config, which Prometheus writes with its defaults filled in and false switches
 * left out. Threads: no state.
 */
#ifndef PROMSPLIT_FRONTEND_PROBE_CONFIG_H
#define PROMSPLIT_FRONTEND_PROBE_CONFIG_H

#include <stdint.h>

#include "base/str.h"

struct upstream_config {
    int64_t evaluation_interval_ms;
    char advice[384]; /* the first setting that keeps tasks from being read back; "" if there is none */
};

void upstream_config_read(struct str yaml, struct upstream_config *ret_config);

#endif
