/* backend/duckdb/capabilities.c: what the kernels compute exactly as Prometheus does (planner/capability.h). */
#include "backend/duckdb/duckdb_backend.h"

const struct capabilities duckdb_capabilities = {
    .backend = "duckdb",
    .dialect = DIALECT_DUCKDB,
    .selector = true,
    .subquery = true,
    .function =
        {
            [FN_RATE] = true,
            [FN_INCREASE] = true,
            [FN_DELTA] = true,
            [FN_IRATE] = true,
            [FN_IDELTA] = true,
            [FN_CHANGES] = true,
            [FN_RESETS] = true,
            [FN_DERIV] = true,
            [FN_SUM_OVER_TIME] = true,
            [FN_AVG_OVER_TIME] = true,
            [FN_MIN_OVER_TIME] = true,
            [FN_MAX_OVER_TIME] = true,
            [FN_COUNT_OVER_TIME] = true,
            [FN_LAST_OVER_TIME] = true,
            [FN_PRESENT_OVER_TIME] = true,
            [FN_STDDEV_OVER_TIME] = true,
            [FN_STDVAR_OVER_TIME] = true,
        },
    .aggregate =
        {
            [AGG_SUM] = true,
            [AGG_AVG] = true,
            [AGG_COUNT] = true,
            [AGG_MIN] = true,
            [AGG_MAX] = true,
            [AGG_GROUP] = true,
            [AGG_STDDEV] = true,
            [AGG_STDVAR] = true,
        },
};
