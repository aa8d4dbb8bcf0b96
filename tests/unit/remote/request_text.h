/* tests/unit/remote/request_text.h: parts of a decoded request as text, for tests of what makes requests. */
#ifndef PROMSPLIT_TESTS_REMOTE_REQUEST_TEXT_H
#define PROMSPLIT_TESTS_REMOTE_REQUEST_TEXT_H

#include <inttypes.h>

#include "base/strbuf.h"
#include "remote/write_request.h"

/* "a=1,b=2" */
static inline void print_labels(struct strbuf *out, struct labels labels)
{
    for (size_t k = 0; k < labels.n; k++)
        strbuf_f(out, "%s" STR_FORMAT "=" STR_FORMAT, k ? "," : "", STR_ARG(labels.at[k].name),
                 STR_ARG(labels.at[k].value));
}

/* Those of one series: " {a=1}0.5@1000 …" */
static inline void print_exemplars(struct strbuf *out, const struct write_request *request, size_t series)
{
    for (size_t i = 0; i < request->exemplars_n; i++) {
        const struct exemplar *is = &request->exemplars[i].is;
        if (request->exemplars[i].series != series)
            continue;
        strbuf_cstr(out, " {");
        print_labels(out, is->labels);
        strbuf_f(out, "}%g@%" PRId64, is->value, is->time_ms);
    }
}

#endif
