/* promql/print_parts.h: the parts of printing that the several forms share, for this folder's own files. */
#ifndef PROMSPLIT_PROMQL_PRINT_PARTS_H
#define PROMSPLIT_PROMQL_PRINT_PARTS_H

#include "promql/print.h"

void print_aggregate_head(struct strbuf *out, const struct expr_aggregate *aggregate); /* sum by (a)␠ */
void print_operator(struct strbuf *out, const struct expr_binary *binary); /* == bool on (a) group_left (b) */
void print_subquery_suffix(struct strbuf *out, const struct expr_subquery *subquery,
                           const struct print_options *options); /* [1h:5m] offset 1d */

#endif
