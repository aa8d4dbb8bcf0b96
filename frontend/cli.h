/* frontend/cli.h: what the commands of the program share: how they end, and tables on a terminal.
 *
 * Threads: one.
 */
#ifndef PROMSPLIT_FRONTEND_CLI_H
#define PROMSPLIT_FRONTEND_CLI_H

#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "frontend/config.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2
};

/* The commands: argv holds what follows the command's name; the result is the program's exit code. */
int cmd_serve(int argc, char *const argv[]);
int cmd_explain(int argc, char *const argv[]);
int cmd_query(int argc, char *const argv[]);
int cmd_import(int argc, char *const argv[]);
int cmd_export(int argc, char *const argv[]);
int cmd_store(int argc, char *const argv[]);

/* Prints "promsplit: <message>" on standard error; with the line of `query` and a caret when the error has a position
 * in it (query may be NULL). Returns `code`. */
int cli_fail(enum cli_exit code, const struct error *error, const char *query);

/* Reads the flags of a command; on failure prints the error and what to type for help. The caller releases config in
 * any case. */
MUST_USE enum status cli_config(struct config *config, enum command command, int argc, char *const argv[]);

/* Opens a store for a command, and says so when a server has it. */
struct duckdb_options;
struct backend;
MUST_USE enum status cli_open_store(const struct duckdb_options *options, struct backend **ret_backend,
                                    struct error *reterr);

/* The time that a flag names, `standard` if it is empty. */
MUST_USE enum status cli_time(const char *flag, const char *text, int64_t standard, int64_t *ret_ms,
                              struct error *reterr);

/* Writes all of it to standard output. */
enum cli_exit cli_print(const struct strbuf *text);

/* A table of UTF-8 texts in aligned columns. */
struct table_column {
    struct str name;
    bool right; /* numbers */
};

/* cells: rows_n times columns_n, row by row; a cell with ptr NULL is empty. */
void table_print(struct strbuf *out, const struct table_column *columns, size_t columns_n, const struct str *cells,
                 size_t rows_n);

/* The values as one line of block characters, at most `width` of them; NaN and gaps (absent: NaN) are blanks. */
void sparkline_print(struct strbuf *out, const double *values, size_t n, size_t width);

#endif
