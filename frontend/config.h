/* frontend/config.h: every flag of the program, from one table: params.def.
 *
 * PARAM(id, "flag.name", type, unit, default, min, max, commands, text) rows become the fields of struct config, the
 * parser of command lines and of --config.file (YAML, nested keys: `query: {timeout: 2m}`), --help, the man page and
 * docs/operations.md. The command line wins over the file. Unknown flags and keys are errors that name the nearest
 * known one.
 *
 * Threads: filled at start, then read-only. Texts live in config.arena.
 */
#ifndef PROMSPLIT_FRONTEND_CONFIG_H
#define PROMSPLIT_FRONTEND_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

/* Field types, each with its own reader: text, whole number, duration (ms), bytes ("512MB"), switch. */
typedef const char *param_text;
typedef int64_t param_int;
typedef int64_t param_duration; /* ms */
typedef int64_t param_bytes;
typedef bool param_switch;

enum command {
    COMMAND_SERVE = 1,
    COMMAND_EXPLAIN = 2,
    COMMAND_QUERY = 4
};

struct config {
#define PARAM(id, name, type, unit, standard, min, max, commands, text) param_##type id;
#include "frontend/params.def"
#undef PARAM
    struct arena arena;
    const char *const *arguments; /* what is no flag: the EXPR of explain and query */
    int arguments_n;
};

void config_init(struct config *config); /* the defaults */
void config_release(struct config *config);
MUST_USE enum status config_parse(struct config *config, enum command command, int argc, char *const argv[],
                                  struct error *reterr);

void config_help(struct strbuf *out, enum command command);
void config_flags_json(struct strbuf *out, const struct config *config); /* /api/v1/status/flags: {"name":"value",…} */
void config_yaml(struct strbuf *out, const struct config *config);       /* /api/v1/status/config */
void config_man_page(struct strbuf *out);                                /* roff */
void config_markdown(struct strbuf *out);                                /* the table of docs/operations.md */

#endif
