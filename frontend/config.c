/* frontend/config.c: the table of flags at work: values, command lines. Files are config_file.c, documents
 * config_docs.c.
 *
 * Every row of params.def becomes a struct param, which says where its field is; from there on nothing in this file
 * knows a single flag by name, save --config.file.
 */
#include "frontend/config_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "promql/parse.h"
#include "promql/print.h"

#define CONFIG_ARENA_MAX_BYTES (4u << 20)

const struct param params[PARAMS_N] = {
#define PARAM(id, name, type, unit, standard, min, max, commands, text)                                                \
    {name, PARAM_##type, unit, standard, min, max, commands, text, offsetof(struct config, id)},
#include "frontend/params.def"
#undef PARAM
};

/* --- values --- */

static bool parse_whole(struct str text, int64_t *ret_number, struct str *ret_rest)
{
    char digits[32];
    if (text.len == 0 || text.len >= sizeof digits)
        return false;
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    char *end;
    errno = 0;
    long long number = strtoll(digits, &end, 10);
    if (errno != 0 || end == digits || digits[0] == ' ')
        return false;
    *ret_number = number;
    size_t used = (size_t)(end - digits);
    *ret_rest = (struct str){text.ptr + used, text.len - used};
    return true;
}

static const struct {
    const char *name, *long_name;
    unsigned shift;
} byte_units[] = {{"EB", "EiB", 60}, {"PB", "PiB", 50}, {"TB", "TiB", 40}, {"GB", "GiB", 30},
                  {"MB", "MiB", 20}, {"KB", "KiB", 10}, {"B", "B", 0}};

static bool parse_bytes(struct str text, int64_t *ret_bytes)
{
    struct str unit;
    if (!parse_whole(text, ret_bytes, &unit))
        return false;
    if (unit.len == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LENGTH(byte_units); i++)
        if (str_eq(unit, str_from(byte_units[i].name)) || str_eq(unit, str_from(byte_units[i].long_name)))
            return !__builtin_mul_overflow(*ret_bytes, INT64_C(1) << byte_units[i].shift, ret_bytes);
    return false;
}

static void print_bytes(struct strbuf *out, int64_t bytes)
{
    size_t i = 0;
    while (bytes != 0 && bytes % (INT64_C(1) << byte_units[i].shift) != 0)
        i++;
    if (bytes == 0)
        i = ARRAY_LENGTH(byte_units) - 1;
    strbuf_i64(out, bytes >> byte_units[i].shift);
    strbuf_cstr(out, byte_units[i].name);
}

static void print_number(struct strbuf *out, const struct param *param, int64_t number)
{
    if (param->kind == PARAM_duration)
        promql_print_duration(out, number);
    else if (param->kind == PARAM_bytes)
        print_bytes(out, number);
    else
        strbuf_i64(out, number);
}

void param_print_range(struct strbuf *out, const struct param *param)
{
    if (param->kind == PARAM_text || param->kind == PARAM_switch)
        return;
    if (param->kind == PARAM_choice) {
        strbuf_cstr(out, param->unit);
        return;
    }
    print_number(out, param, param->min);
    strbuf_cstr(out, param->max == INT64_MAX ? " or more" : " to ");
    if (param->max != INT64_MAX)
        print_number(out, param, param->max);
}

static const char *kind_wants(enum param_kind kind)
{
    switch (kind) {
    case PARAM_duration:
        return "a duration such as 30s, 5m or 1h30m";
    case PARAM_bytes:
        return "a number of bytes such as 512MB";
    case PARAM_switch:
        return "true or false";
    default:
        return "a whole number";
    }
}

static enum status number_set(struct config *config, const struct param *param, struct str text, struct error *reterr)
{
    int64_t number = 0;
    struct str rest = {0};
    bool read = param->kind == PARAM_duration ? promql_parse_api_duration(text, &number)
                : param->kind == PARAM_bytes  ? parse_bytes(text, &number)
                                              : parse_whole(text, &number, &rest) && rest.len == 0;
    if (!read)
        return error_set(reterr, E_BAD_DATA, "%s: \"" STR_FORMAT "\" is not %s", param->name, STR_ARG(text),
                         kind_wants(param->kind));
    if (number < param->min || number > param->max) {
        struct strbuf allowed;
        strbuf_init(&allowed, 256);
        param_print_range(&allowed, param);
        enum status status = error_set(reterr, E_BAD_DATA, "%s: " STR_FORMAT " is out of range; allowed: " STR_FORMAT,
                                       param->name, STR_ARG(text), STR_ARG(strbuf_view(&allowed)));
        strbuf_release(&allowed);
        return status;
    }
    memcpy((char *)config + param->offset, &number, sizeof number);
    return OK;
}

/* Whether text is one of "a|b|c". */
static bool choice_has(const char *choices, struct str text)
{
    while (*choices) {
        size_t n = strcspn(choices, "|");
        if (str_eq((struct str){choices, n}, text))
            return true;
        choices += n + (choices[n] == '|');
    }
    return false;
}

static enum status text_set(struct config *config, const struct param *param, struct str text, struct error *reterr)
{
    if (param->kind == PARAM_choice && !choice_has(param->unit, text) && !str_eq(text, str_from(param->standard)))
        return error_set(reterr, E_BAD_DATA, "%s: \"" STR_FORMAT "\" is unknown; allowed: %s", param->name,
                         STR_ARG(text), param->unit);
    if (text.len > 0 && memchr(text.ptr, '\0', text.len))
        return error_set(reterr, E_BAD_DATA, "%s: a NUL byte is not allowed", param->name);
    const char *copy = arena_str(&config->arena, text).ptr;
    if (!copy)
        return error_set(reterr, E_NOMEM, "%s: no memory for its value", param->name);
    memcpy((char *)config + param->offset, &copy, sizeof copy);
    return OK;
}

enum status param_set(struct config *config, const struct param *param, struct str text, struct error *reterr)
{
    if (param->kind == PARAM_text || param->kind == PARAM_choice)
        return text_set(config, param, text, reterr);
    if (param->kind != PARAM_switch)
        return number_set(config, param, text, reterr);
    bool on = str_eq(text, STR("true"));
    if (!on && !str_eq(text, STR("false")))
        return error_set(reterr, E_BAD_DATA, "%s: \"" STR_FORMAT "\" is not %s", param->name, STR_ARG(text),
                         kind_wants(param->kind));
    memcpy((char *)config + param->offset, &on, sizeof on);
    return OK;
}

/* http://user:password@host/ -> http://<secret>@host/ */
static void print_url(struct strbuf *out, struct str url)
{
    const char *scheme = url.len ? memmem(url.ptr, url.len, "://", 3) : NULL;
    size_t begin = scheme ? (size_t)(scheme - url.ptr) + 3 : 0;
    size_t end = begin, at = SIZE_MAX;
    for (; end < url.len && !strchr("/?#", url.ptr[end]); end++)
        if (url.ptr[end] == '@')
            at = end;
    if (at == SIZE_MAX) {
        strbuf_str(out, url);
        return;
    }
    strbuf_str(out, (struct str){url.ptr, begin});
    strbuf_cstr(out, "<secret>");
    strbuf_str(out, (struct str){url.ptr + at, url.len - at});
}

void param_print(struct strbuf *out, const struct config *config, const struct param *param)
{
    const char *field = (const char *)config + param->offset;
    if (param->kind == PARAM_text || param->kind == PARAM_choice) {
        const char *text;
        memcpy(&text, field, sizeof text);
        if (strcmp(param->unit, "url") == 0)
            print_url(out, str_from(text));
        else
            strbuf_cstr(out, text);
    } else if (param->kind == PARAM_switch) {
        bool on;
        memcpy(&on, field, sizeof on);
        strbuf_cstr(out, on ? "true" : "false");
    } else {
        int64_t number;
        memcpy(&number, field, sizeof number);
        print_number(out, param, number);
    }
}

/* --- names --- */

const struct param *param_find(struct str name)
{
    for (size_t i = 0; i < PARAMS_N; i++)
        if (str_eq(str_from(params[i].name), name))
            return &params[i];
    return NULL;
}

#define NAME_MAX_BYTES 64 /* longer texts are no slip of a known name */

/* Insertions, deletions and replacements that turn a into b (Levenshtein). */
static size_t edit_distance(struct str a, struct str b)
{
    PRE(a.len <= NAME_MAX_BYTES && b.len <= NAME_MAX_BYTES);
    size_t row[NAME_MAX_BYTES + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replaced = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[b.len];
}

enum status param_unknown(struct str name, unsigned commands, const char *what, const char *dashes,
                          struct error *reterr)
{
    const struct param *nearest = NULL;
    size_t best = name.len / 2 + 1; /* farther than that is no help */
    for (size_t i = 0; i < PARAMS_N && name.len <= NAME_MAX_BYTES; i++) {
        size_t distance = edit_distance(name, str_from(params[i].name));
        if ((params[i].commands & commands) && distance < best) {
            best = distance;
            nearest = &params[i];
        }
    }
    if (nearest)
        return error_set(reterr, E_BAD_DATA, "unknown %s %s" STR_FORMAT "; did you mean %s%s?", what, dashes,
                         STR_ARG(name), dashes, nearest->name);
    return error_set(reterr, E_BAD_DATA, "unknown %s %s" STR_FORMAT, what, dashes, STR_ARG(name));
}

const char *command_name(enum command command)
{
    switch (command) {
    case COMMAND_SERVE:
        return "serve";
    case COMMAND_EXPLAIN:
        return "explain";
    case COMMAND_QUERY:
        return "query";
    case COMMAND_IMPORT:
        return "import";
    case COMMAND_EXPORT:
        return "export";
    default:
        return "store";
    }
}

/* --- the command line --- */

struct reading {
    struct config *config;
    enum command command;
    int argc;
    char *const *argv;
    int at;
    bool given[PARAMS_N]; /* the command line wins over the file */
};

/* One flag, `text` being what follows the two dashes; takes the next word too if the value is there. */
static enum status read_flag(struct reading *r, struct str text, struct error *reterr)
{
    const char *equals = memchr(text.ptr, '=', text.len);
    struct str name = {text.ptr, equals ? (size_t)(equals - text.ptr) : text.len};
    struct str value = {equals ? equals + 1 : "", equals ? text.len - name.len - 1 : 0};
    const struct param *param = param_find(name);
    bool no = !param && !equals && str_starts_with(name, STR("no-"));
    if (no) {
        param = param_find((struct str){name.ptr + 3, name.len - 3});
        no = param && param->kind == PARAM_switch;
        param = no ? param : NULL;
    }
    if (!param)
        return param_unknown(name, r->command, "flag", "--", reterr);
    if (!(param->commands & r->command))
        return error_set(reterr, E_BAD_DATA, "--%s is no flag of promsplit %s", param->name, command_name(r->command));
    if (r->given[param - params])
        return error_set(reterr, E_BAD_DATA, "--%s is given twice", param->name);
    r->given[param - params] = true;
    if (!equals && param->kind == PARAM_switch)
        value = no ? STR("false") : STR("true");
    else if (!equals) {
        if (r->at == r->argc)
            return error_set(reterr, E_BAD_DATA, "--%s wants a value", param->name);
        value = str_from(r->argv[r->at++]);
    }
    if (param_set(r->config, param, value, reterr) != OK)
        return error_prefix(reterr, "--");
    return OK;
}

static enum status check_expression(const struct config *config, enum command command, struct error *reterr)
{
    if (config->arguments_n == 0)
        return error_set(reterr, E_BAD_DATA, "an expression is missing: promsplit %s [flags] EXPR",
                         command_name(command));
    if (config->arguments_n > 1)
        return error_set(reterr, E_BAD_DATA, "one expression is expected, not %d arguments; quote it as one",
                         config->arguments_n);
    return OK;
}

static enum status check_arguments(const struct config *config, enum command command, struct error *reterr)
{
    switch (command) {
    case COMMAND_EXPLAIN:
    case COMMAND_QUERY:
        return check_expression(config, command, reterr);
    case COMMAND_IMPORT:
        return config->arguments_n > 0
                   ? OK
                   : error_set(reterr, E_BAD_DATA, "a source is missing: promsplit import [flags] SOURCE…");
    case COMMAND_STORE:
        return config->arguments_n == 1
                   ? OK
                   : error_set(reterr, E_BAD_DATA,
                               "promsplit store wants one of stats, verify, compact, forget-rollups");
    default:
        return config->arguments_n == 0
                   ? OK
                   : error_set(reterr, E_BAD_DATA, "promsplit %s takes no arguments, only flags: \"%s\"",
                               command_name(command), config->arguments[0]);
    }
}

/* --- rollups --- */

static enum status read_level(struct config *config, struct str name, struct error *reterr)
{
    static const int64_t LENGTHS_MS[] = {60000, 300000, 3600000};
    int64_t length_ms = 0;
    bool known = promql_parse_api_duration(name, &length_ms), fits = false;
    for (size_t i = 0; i < sizeof LENGTHS_MS / sizeof *LENGTHS_MS; i++)
        fits = fits || length_ms == LENGTHS_MS[i];
    if (!known || !fits)
        return error_set(reterr, E_BAD_DATA,
                         "--storage.rollups.levels: \"" STR_FORMAT
                         "\" is unknown; allowed: none, or some of 1m, 5m and 1h, separated by commas",
                         STR_ARG(name));
    size_t at = config->rollups_n;
    for (size_t i = 0; i < config->rollups_n; i++) {
        if (config->rollups_ms[i] == length_ms)
            return error_set(reterr, E_BAD_DATA, "--storage.rollups.levels: " STR_FORMAT " is given twice",
                             STR_ARG(name));
    }
    for (; at > 0 && config->rollups_ms[at - 1] < length_ms; at--)
        config->rollups_ms[at] = config->rollups_ms[at - 1];
    config->rollups_ms[at] = length_ms;
    config->rollups_n++;
    return OK;
}

static enum status read_rollups(struct config *config, struct error *reterr)
{
    enum status status = OK;
    const char *at = config->storage_rollups;
    config->rollups_n = 0;
    for (bool more = strcmp(at, "none") != 0; status == OK && more;) {
        size_t length = strcspn(at, ",");
        status = read_level(config, (struct str){at, length}, reterr);
        more = at[length] == ',';
        at += length + 1;
    }
    if (status != OK || !config->storage_rollups_match[0])
        return status;
    status = promql_parse_selector(&config->arena, str_from(config->storage_rollups_match), &PARSE_LIMITS_DEFAULT, NULL,
                                   &config->rollups_selector, reterr);
    return status == OK ? OK : error_prefix(reterr, "--storage.rollups.match: ");
}

/* Rollups that outlive their samples: one age for these, one for those. */
static enum status check_rollups_retention(const struct config *config, struct error *reterr)
{
    struct strbuf asked, raw;
    if (config->storage_rollups_retention_ms == 0)
        return OK;
    if (config->rollups_n == 0)
        return error_set(reterr, E_BAD_DATA, "--storage.rollups.retention needs --storage.rollups.levels");
    if (config->storage_retention_time_ms == 0)
        return error_set(reterr, E_BAD_DATA,
                         "--storage.rollups.retention needs --storage.retention.time: samples that are kept for ever "
                         "keep their rollups");
    if (config->storage_retention_size_bytes > 0)
        return error_set(reterr, E_BAD_DATA,
                         "--storage.rollups.retention cannot be set with --storage.retention.size: a limit by size "
                         "takes samples with their rollups");
    if (config->retention_rules_n > 0)
        return error_set(reterr, E_BAD_DATA,
                         "--storage.rollups.retention cannot be set with storage.retention.rules: these say how long "
                         "all of a series is kept");
    if (config->storage_rollups_retention_ms >= config->storage_retention_time_ms)
        return OK;
    strbuf_init(&asked, 64);
    strbuf_init(&raw, 64);
    promql_print_duration(&asked, config->storage_rollups_retention_ms);
    promql_print_duration(&raw, config->storage_retention_time_ms);
    error_set(reterr, E_BAD_DATA,
              "--storage.rollups.retention: %s asked, no less than --storage.retention.time, %s, is allowed",
              strbuf_view(&asked).ptr, strbuf_view(&raw).ptr);
    strbuf_release(&asked);
    strbuf_release(&raw);
    return E_BAD_DATA;
}

enum status config_parse(struct config *config, enum command command, int argc, char *const argv[],
                         struct error *reterr)
{
    struct reading r = {.config = config, .command = command, .argc = argc, .argv = argv};
    const char **arguments = ARENA_ARRAY(&config->arena, const char *, (size_t)argc + 1);
    if (!arguments)
        return error_set(reterr, E_NOMEM, "no memory for %d arguments", argc);
    config->arguments = arguments;
    config->arguments_n = 0;
    bool flags = true;
    while (r.at < argc) {
        const char *word = argv[r.at++];
        if (flags && strcmp(word, "--") == 0) {
            flags = false;
        } else if (flags && strncmp(word, "--", 2) == 0) {
            enum status status = read_flag(&r, str_from(word + 2), reterr);
            if (status != OK)
                return status;
        } else {
            arguments[config->arguments_n++] = word;
        }
    }
    enum status status = check_arguments(config, command, reterr);
    if (status == OK && config->config_file[0])
        status = config_file_read(config, r.given, reterr);
    if (status == OK)
        status = read_rollups(config, reterr);
    return status == OK ? check_rollups_retention(config, reterr) : status;
}

void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    arena_init(&config->arena, CONFIG_ARENA_MAX_BYTES);
    for (size_t i = 0; i < PARAMS_N; i++) {
        if (params[i].kind == PARAM_text || params[i].kind == PARAM_choice) {
            memcpy((char *)config + params[i].offset, &params[i].standard, sizeof params[i].standard);
            continue;
        }
        struct error error = {0};
        enum status status = param_set(config, &params[i], str_from(params[i].standard), &error);
        POST(status == OK);
    }
}

void config_release(struct config *config)
{
    if (config)
        arena_release(&config->arena);
}
