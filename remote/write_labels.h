/* remote/write_labels.h: which label sets are stored, the same whatever format they came in.
 *
 * Threads: no shared state. Errors: the first reason is kept in request->invalid, in Prometheus's words where it has
 * some, with the labels; later ones only count.
 */
#ifndef PROMSPLIT_REMOTE_WRITE_LABELS_H
#define PROMSPLIT_REMOTE_WRITE_LABELS_H

#include "remote/write_request.h"

/* Sorts, drops empty values, judges: WRITE_INVALID_MAX, or why the series is left out. */
enum write_invalid write_labels_check(const struct write_limits *limits, struct write_request *request,
                                      struct label *at, size_t *n);

/* The same for the labels of an exemplar, of which there may be none: whether it is valid. */
bool write_labels_check_exemplar(struct label *at, size_t *n);

/* WRITE_INVALID_LABELS, with these words. */
enum write_invalid write_labels_invalid(struct write_request *request, const struct label *at, size_t n,
                                        const char *words, struct str name);

/* The words, then those between, then the labels, as E_BAD_DATA. */
void write_labels_describe(struct error *ret, const char *words, const char *between, struct labels labels);

#endif
