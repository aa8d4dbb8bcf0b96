/* frontend/config.h: every flag of the program, from one table: params.def.
 *
 * PARAM(id, "flag.name", type, unit, standard, min, max, commands, text) rows become the fields of struct config, the
 * parser of command lines and of --config.file (YAML, nested keys: `query: {timeout: 2m}`), --help, the man page and
 * docs/operations.md. The command line wins over the file. Unknown flags and keys are errors that name the nearest
 * known one; values outside their range name the limit, what was asked and what is allowed.
 *
 * On the command line: --name=value, --name value, --switch, --no-switch; "--" ends the flags; what begins with one
 * dash is an argument, because "-up" is an expression. A flag may be given once. The file alone has
 * storage.retention.rules, a list of {match: SELECTOR, time: DURATION}.
 *
 * Memory   texts live in config.arena.
 * Threads: filled at start, then read-only.
 */
#ifndef PROMSPLIT_FRONTEND_CONFIG_H
#define PROMSPLIT_FRONTEND_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "promql/ast.h"

/* Field types, each with its own reader. A duration is "1h30m" or a number of seconds; bytes are "512MB", in powers of
 * 1024 as Prometheus counts them; the unit of a choice lists its values ("eager|on-read"), its standard one may be "".
 */
typedef const char *param_text;
typedef const char *param_choice;
typedef int64_t param_int;
typedef int64_t param_duration; /* ms */
typedef int64_t param_bytes;
typedef bool param_switch;

enum command {
    COMMAND_SERVE = 1,
    COMMAND_EXPLAIN = 2,
    COMMAND_QUERY = 4,
    COMMAND_IMPORT = 8,
    COMMAND_EXPORT = 16,
    COMMAND_STORE = 32,
    COMMAND_END = 64 /* behind the last */
};

/* How long samples of the series that match are kept; 0: for ever. Its regular expressions are not checked yet. */
struct config_retention_rule {
    const char *match; /* as it was written */
    struct expr_selector selector;
    int64_t time_ms;
};

struct config {
#define PARAM(id, name, type, unit, standard, min, max, commands, text) param_##type id;
#include "frontend/params.def"
#undef PARAM
    struct arena arena;
    struct config_retention_rule *retention_rules; /* the first that matches says; then storage.retention.time */
    size_t retention_rules_n;
    int64_t rollups_ms[3]; /* storage.rollups.levels, the longest first */
    size_t rollups_n;
    struct expr_selector rollups_selector; /* storage.rollups.match, if that is given; regular expressions unchecked */
    const char *const *arguments; /* what is no flag: EXPR, the sources of an import, what to do with a store */
    int arguments_n;
};

void config_init(struct config *config); /* the standard values */
void config_release(struct config *config);
/* argv holds what follows the command's name. Reads --config.file if it is given. Serve takes no arguments, explain and
 * query take one, import at least one, store two at most, export none. Errors are E_BAD_DATA, E_NOMEM. */
MUST_USE enum status config_parse(struct config *config, enum command command, int argc, char *const argv[],
                                  struct error *reterr);

void config_help(struct strbuf *out, enum command command); /* usage and flags, on lines of at most 100 columns */
/* Credentials in URLs are shown as "<secret>" in both. */
void config_flags_json(struct strbuf *out, const struct config *config); /* /api/v1/status/flags: {"name":"value",…} */
void config_yaml(struct strbuf *out, const struct config *config);       /* /api/v1/status/config */
void config_man_page(struct strbuf *out);                                /* roff */
void config_markdown(struct strbuf *out);                                /* the flags in docs/operations.md */

#endif
