/* frontend/config_file.c: the YAML file of --config.file: the flags' names, nested at the dots or written with them;
 * and the list storage.retention.rules, which is no flag.
 *
 *     query: {timeout: 1m}          is          query.timeout: 1m
 *
 * One file serves serve and explain: a key is known if any of the two has the flag. Errors name file and line.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/assert.h"
#include "frontend/config_table.h"
#include "promql/parse.h"

#define FILE_MAX_BYTES (1u << 20)
#define KEY_MAX_BYTES  128
#define RULES          "storage.retention.rules"
#define RULES_MAX      100 /* each is looked at for every series that is dropped */

struct file {
    struct config *config;
    const bool *given;
    bool seen[PARAMS_N], rules_seen;
    yaml_document_t document;
};

static enum status read_all(const char *path, struct strbuf *out, struct error *reterr)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return error_set(reterr, E_BAD_DATA, "cannot open it: %s", strerror(errno));
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        strbuf_bytes(out, piece, n);
    bool failed = ferror(file) != 0;
    int saved = errno;
    fclose(file);
    if (failed)
        return error_set(reterr, E_BAD_DATA, "cannot read it: %s", strerror(saved));
    return strbuf_status(out, "configuration file", reterr);
}

static enum status at_line(const yaml_node_t *node, struct error *reterr)
{
    return error_prefix(reterr, "line %zu: ", node->start_mark.line + 1);
}

/* Whether it is what stands before the dot in flags' names. */
static bool is_family(struct str name)
{
    for (size_t i = 0; i < PARAMS_N; i++)
        if (strncmp(params[i].name, name.ptr, name.len) == 0 && params[i].name[name.len] == '.')
            return true;
    return false;
}

static enum status value_set(struct file *file, struct str name, const yaml_node_t *value, struct error *reterr)
{
    const struct param *param = param_find(name);
    if (!param && is_family(name))
        return error_set(reterr, E_BAD_DATA,
                         STR_FORMAT " is the first part of flags' names: wanted is " STR_FORMAT ": {name: value, …}",
                         STR_ARG(name), STR_ARG(name));
    if (!param || !(param->commands & (COMMAND_SERVE | COMMAND_EXPLAIN)))
        return param_unknown(name, COMMAND_SERVE | COMMAND_EXPLAIN, "key", "", reterr);
    size_t index = (size_t)(param - params);
    if (index == PARAM_INDEX_config_file)
        return error_set(reterr, E_BAD_DATA, "%s cannot be set in a file", param->name);
    if (file->seen[index])
        return error_set(reterr, E_BAD_DATA, "%s is given twice", param->name);
    file->seen[index] = true;
    if (value->type != YAML_SCALAR_NODE)
        return error_set(reterr, E_BAD_DATA, "%s wants a single value", param->name);
    struct str text = {(const char *)value->data.scalar.value, value->data.scalar.length};
    struct config unused; /* a value that the command line overrides must be right too */
    config_init(&unused);
    enum status status = param_set(file->given[index] ? &unused : file->config, param, text, reterr);
    config_release(&unused);
    return status;
}

/* --- storage.retention.rules --- */

static bool is_key(const yaml_node_t *node, const char *name)
{
    return node->type == YAML_SCALAR_NODE && strcmp((const char *)node->data.scalar.value, name) == 0;
}

static struct str scalar(const yaml_node_t *node)
{
    return (struct str){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static enum status rule_match(struct config *config, const yaml_node_t *value, struct config_retention_rule *rule,
                              struct error *reterr)
{
    rule->match = arena_str(&config->arena, scalar(value)).ptr;
    if (!rule->match)
        return error_set(reterr, E_NOMEM, "no memory for a rule");
    enum status status =
        promql_parse_selector(&config->arena, scalar(value), &PARSE_LIMITS_DEFAULT, NULL, &rule->selector, reterr);
    return status == OK ? OK : error_prefix(reterr, "match: ");
}

static enum status rule_read(struct file *file, const yaml_node_t *mapping, struct config_retention_rule *rule,
                             struct error *reterr)
{
    bool has_time = false;
    *rule = (struct config_retention_rule){.match = NULL};
    if (mapping->type != YAML_MAPPING_NODE)
        return error_set(reterr, E_BAD_DATA, "a rule is {match: SELECTOR, time: DURATION}");
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *key = yaml_document_get_node(&file->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&file->document, pair->value);
        INVARIANT(key && value);
        bool is_match = is_key(key, "match") && !rule->match, is_time = is_key(key, "time") && !has_time;
        if ((!is_match && !is_time) || value->type != YAML_SCALAR_NODE)
            return error_set(reterr, E_BAD_DATA, "a rule has match and time, once each, and nothing else");
        has_time = has_time || is_time;
        if (is_match) {
            enum status status = rule_match(file->config, value, rule, reterr);
            if (status != OK)
                return status;
        } else if (!promql_parse_api_duration(scalar(value), &rule->time_ms) || rule->time_ms < 0) {
            return error_set(reterr, E_BAD_DATA, "time: \"" STR_FORMAT "\" is not a duration such as 12h or 15d",
                             STR_ARG(scalar(value)));
        }
    }
    return rule->match && has_time ? OK : error_set(reterr, E_BAD_DATA, "a rule has match and time, once each");
}

static enum status rules_read(struct file *file, const yaml_node_t *list, struct error *reterr)
{
    struct config *config = file->config;
    if (list->type != YAML_SEQUENCE_NODE)
        return error_set(reterr, E_BAD_DATA, RULES " wants a list of {match: SELECTOR, time: DURATION}");
    if (file->rules_seen)
        return error_set(reterr, E_BAD_DATA, RULES " is given twice");
    file->rules_seen = true;
    size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (n > RULES_MAX)
        return error_set(reterr, E_BAD_DATA, RULES " has %zu rules, at most %d are taken", n, RULES_MAX);
    config->retention_rules = ARENA_ARRAY(&config->arena, struct config_retention_rule, n + 1);
    if (!config->retention_rules)
        return error_set(reterr, E_NOMEM, "no memory for " RULES);
    for (size_t i = 0; i < n; i++) {
        const yaml_node_t *rule = yaml_document_get_node(&file->document, list->data.sequence.items.start[i]);
        INVARIANT(rule);
        if (rule_read(file, rule, &config->retention_rules[i], reterr) != OK)
            return error_prefix(reterr, RULES ": ");
    }
    config->retention_rules_n = n;
    return OK;
}

/* --- the tree --- */

/* A family is "query" in "query: {…}", or "storage.retention"; names have few dots, so this recurses a few times. */
static enum status mapping_read(struct file *file, const char *family, const yaml_node_t *mapping, struct error *reterr)
{
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *key = yaml_document_get_node(&file->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&file->document, pair->value);
        INVARIANT(key && value);
        enum status status;
        char name[2 * KEY_MAX_BYTES];
        if (key->type != YAML_SCALAR_NODE || key->data.scalar.length >= KEY_MAX_BYTES) {
            status = error_set(reterr, E_BAD_DATA, "a key is a flag's name, at most %d bytes", KEY_MAX_BYTES - 1);
        } else {
            snprintf(name, sizeof name, "%s%s%s", family, family[0] ? "." : "", (char *)key->data.scalar.value);
            bool nested =
                value->type == YAML_MAPPING_NODE && (is_family(str_from(name)) || (!family[0] && !strchr(name, '.')));
            if (nested) {
                status = mapping_read(file, name, value, reterr);
                if (status != OK)
                    return status;
                continue;
            }
            status = strcmp(name, RULES) == 0 ? rules_read(file, value, reterr)
                                              : value_set(file, str_from(name), value, reterr);
        }
        if (status != OK)
            return at_line(key, reterr);
    }
    return OK;
}

static enum status document_read(struct file *file, struct error *reterr)
{
    const yaml_node_t *root = yaml_document_get_root_node(&file->document);
    if (!root)
        return OK; /* an empty file sets nothing */
    if (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0)
        return OK;
    if (root->type != YAML_MAPPING_NODE)
        return error_set(reterr, E_BAD_DATA, "a mapping of flags' names to values is expected");
    return mapping_read(file, "", root, reterr);
}

static enum status parse(struct file *file, struct str text, struct error *reterr)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set(reterr, E_NOMEM, "no memory for the YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    enum status status;
    if (!yaml_parser_load(&parser, &file->document)) {
        status = error_set(reterr, E_BAD_DATA, "line %zu: %s",
                           (parser.problem_mark.line ? parser.problem_mark.line : parser.context_mark.line) + 1,
                           parser.problem ? parser.problem : "no valid YAML");
    } else {
        status = document_read(file, reterr);
        yaml_document_delete(&file->document);
    }
    yaml_parser_delete(&parser);
    return status;
}

enum status config_file_read(struct config *config, const bool given[PARAMS_N], struct error *reterr)
{
    struct file file = {.config = config, .given = given};
    struct strbuf text;
    strbuf_init(&text, FILE_MAX_BYTES);
    enum status status = read_all(config->config_file, &text, reterr);
    if (status == OK)
        status = parse(&file, strbuf_view(&text), reterr);
    strbuf_release(&text);
    if (status != OK)
        return error_prefix(reterr, "%s: ", config->config_file);
    return OK;
}
