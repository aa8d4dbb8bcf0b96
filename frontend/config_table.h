/* frontend/config_table.h: the table of flags as data, for the three files of config.h.
 *
 * Threads: constant data. Errors: E_BAD_DATA with the flag's name in front of the message.
 */
#ifndef PROMSPLIT_FRONTEND_CONFIG_TABLE_H
#define PROMSPLIT_FRONTEND_CONFIG_TABLE_H

#include "frontend/config.h"

enum param_kind {
    PARAM_text,
    PARAM_choice,
    PARAM_int,
    PARAM_duration,
    PARAM_bytes,
    PARAM_switch
};

struct param {
    const char *name; /* "query.timeout" */
    enum param_kind kind;
    const char *unit;     /* what --help writes for the value; a choice's values */
    const char *standard; /* as it would be typed */
    int64_t min, max;     /* of numbers */
    unsigned commands;    /* or of enum command */
    const char *text;     /* one clause for people */
    size_t offset;        /* of its field in struct config */
};

enum param_index {
#define PARAM(id, name, type, unit, standard, min, max, commands, text) PARAM_INDEX_##id,
#include "frontend/params.def"
#undef PARAM
    PARAMS_N
};

extern const struct param params[PARAMS_N];

const struct param *param_find(struct str name); /* NULL if there is none */
MUST_USE enum status param_set(struct config *config, const struct param *param, struct str text, struct error *reterr);
void param_print(struct strbuf *out, const struct config *config, const struct param *param); /* URLs redacted */
void param_print_range(struct strbuf *out, const struct param *param); /* "1s to 1d"; nothing for texts */

/* "unknown <what> <dashes><name>; did you mean …?" among the flags of these commands. */
MUST_USE enum status param_unknown(struct str name, unsigned commands, const char *what, const char *dashes,
                                   struct error *reterr);
const char *command_name(enum command command);

/* Reads config->config_file; what is `given` on the command line stays. */
MUST_USE enum status config_file_read(struct config *config, const bool given[PARAMS_N], struct error *reterr);

#endif
