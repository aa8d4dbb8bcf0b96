/* backend/duckdb/schema.h: the tables, their version, and where it is checked. docs/storage.md describes them. */
#ifndef PROMSPLIT_BACKEND_DUCKDB_SCHEMA_H
#define PROMSPLIT_BACKEND_DUCKDB_SCHEMA_H

#include "backend/duckdb/engine.h"

/* Makes the tables in a new database; E_STORE when the database has a version this program does not know. */
MUST_USE enum status schema_prepare(struct connection *connection, struct error *reterr);

#endif
