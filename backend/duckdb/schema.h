/* backend/duckdb/schema.h: the tables, their version, and where it is checked. docs/storage.md describes them.
 *
 * The engine (1.4) has one gap in its isolation: rows of an append to an empty table, or of as many as a row group, are
 * seen by other transactions while their own is committing, and not again by older snapshots afterwards. Deletions,
 * updates and small appends are not. What must hold all the same is told by numbers:
 *
 *   recent.batch, histograms.batch
 *                  the transaction that wrote a row, ascending. Who needs the same rows in two statements asks for
 *                  batches up to totals.batch, read before it begins: all of them are committed.
 *   stored_chunks.move, moved.move
 *                  chunks of a move count once moved, updated in the move's own transaction, has its number. The views
 *                  and runs_of say so; nothing else reads stored_chunks.
 *
 * A single statement may see the beginning of a batch before it is committed. That is the answer of a moment earlier,
 * since samples of a series lie in order; no sender was told of it yet, and none can be told apart from it. */
#ifndef PROMSPLIT_BACKEND_DUCKDB_SCHEMA_H
#define PROMSPLIT_BACKEND_DUCKDB_SCHEMA_H

#include "backend/duckdb/engine.h"
#include "planner/sql.h"

/* The condition on rows with a column move to count. The optimizer knows no bounds of xor. By bounds it would drop the
 * condition where it holds for all rows when it plans, and rows that come until the statement runs would escape it.
 * Without the variable all are taken as moved. */
#define SCHEMA_IS_MOVED "xor(move, 0) <= coalesce(getvariable('moved'), 9223372036854775807)"

/* The times of a row of stored_chunks. */
#define SCHEMA_CHUNK_TIMES "prom_times(tmin, pace, drift)"

/* What has been stored with the number of the move after the last one counts, when this transaction commits. */
#define SCHEMA_NEXT_MOVE "UPDATE moved SET move = move + 1"

/* Where chunks that have no rollups begin (rollup.h). Without the variable none has, and the runs of those that have
 * overlap with them, which is refused. */
#define SCHEMA_ROLLED "coalesce(getvariable('rolled'), -9223372036854775807)"

/* Makes the tables in a new database; E_STORE when the database has a version this program does not know. */
MUST_USE enum status schema_prepare(struct connection *connection, struct error *reterr);

/* The condition on a row of recent to be of that batch or of one before. */
void schema_within(struct sql *sql, uint64_t batch);

/* "SELECT series, n": samples in the span, several rows a series; recent ones of that batch or before. Only the runs at
 * the span's ends are looked into. */
void schema_counts(struct sql *sql, struct time_span span, uint64_t batch);

/* "SELECT series, part, tmin, tmax, ts, value": recent rows in the span, of that batch or before, as runs of a series
 * and partition. Both lists of a group have its rows in the same order, whatever it is, and are sorted by the one of
 * times: list(… ORDER BY …) takes ten times as long. */
void schema_recent_runs(struct sql *sql, struct time_span span, uint64_t batch);

/* "SELECT <columns>" of the native histograms in the span, of that batch or before. */
void schema_histograms(struct sql *sql, const char *columns, struct time_span span, uint64_t batch);

/* A transaction in which statements may read samples, and rollups if it says so. It is ended by engine_end_reading. */
MUST_USE enum status schema_begin_reading(struct connection *connection, bool rollups, struct error *reterr);

/* engine_query of one statement in such a transaction, all rows at once, over one snapshot: the engine plans a
 * statement by the tables' bounds of one moment and, if no transaction spans both, runs it over a later one; what was
 * empty at the first is then not read at the second. runs(), runs_of and chunks_of may be read in it only. */
MUST_USE enum status schema_read(struct connection *connection, const char *sql, struct cancel *cancel,
                                 duckdb_result *ret_result, struct error *reterr);

#endif
