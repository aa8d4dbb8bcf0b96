/* base/sample.h: a sample, as everything below and above the engines hands it on. */
#ifndef PROMSPLIT_BASE_SAMPLE_H
#define PROMSPLIT_BASE_SAMPLE_H

#include <stdint.h>

struct sample {
    int64_t time_ms;
    double value; /* every bit pattern survives, NaN payloads included */
};

#endif
