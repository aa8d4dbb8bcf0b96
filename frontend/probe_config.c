/* frontend/probe_config.c: see probe_config.h. */
#include "frontend/probe_config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "promql/labels.h"
#include "promql/parse.h"

#define EVALUATION_INTERVAL_STANDARD_MS 60000

static struct str scalar(const yaml_node_t *node)
{
    if (!node || node->type != YAML_SCALAR_NODE)
        return (struct str){0};
    return (struct str){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static const yaml_node_t *member(yaml_document_t *document, const yaml_node_t *mapping, const char *name)
{
    if (!mapping || mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top;
         pair++)
        if (str_eq(scalar(yaml_document_get_node(document, pair->key)), str_from(name)))
            return yaml_document_get_node(document, pair->value);
    return NULL;
}

static bool is_on(yaml_document_t *document, const yaml_node_t *mapping, const char *name)
{
    return str_eq(scalar(member(document, mapping, name)), STR("true"));
}

/* The labels a selector must carry to be sent: ours carry the constant task matcher. */
static bool required_fit(yaml_document_t *document, const yaml_node_t *entry)
{
    const yaml_node_t *required = member(document, entry, "required_matchers");
    if (!required || required->type != YAML_MAPPING_NODE)
        return true;
    for (const yaml_node_pair_t *pair = required->data.mapping.pairs.start; pair < required->data.mapping.pairs.top;
         pair++)
        if (!str_eq(scalar(yaml_document_get_node(document, pair->key)), LABEL_TASK_KIND) ||
            !str_eq(scalar(yaml_document_get_node(document, pair->value)), TASK_KIND_VALUE))
            return false;
    return true;
}

static bool has_external_labels(yaml_document_t *document, const yaml_node_t *root)
{
    const yaml_node_t *labels = member(document, member(document, root, "global"), "external_labels");
    return labels && labels->type == YAML_MAPPING_NODE &&
           labels->data.mapping.pairs.start < labels->data.mapping.pairs.top;
}

/* Why one remote_read entry cannot be ours, into out; false if it can. */
static bool entry_is_unfit(yaml_document_t *document, const yaml_node_t *root, const yaml_node_t *entry, char *out,
                           size_t max)
{
    struct str url = scalar(member(document, entry, "url"));
    if (!is_on(document, entry, "read_recent"))
        snprintf(out, max, "set read_recent: true in upstream's remote_read of " STR_FORMAT, STR_ARG(url));
    else if (!required_fit(document, entry))
        snprintf(out, max,
                 "upstream's remote_read of " STR_FORMAT " has other required_matchers than {__task_kind__: fragment}",
                 STR_ARG(url));
    else if (has_external_labels(document, root) && is_on(document, entry, "filter_external_labels"))
        snprintf(out, max,
                 "upstream has external_labels: set filter_external_labels: false in its remote_read of " STR_FORMAT,
                 STR_ARG(url));
    else
        return false;
    return true;
}

static void judge_entries(yaml_document_t *document, const yaml_node_t *root, char *out, size_t max)
{
    const yaml_node_t *list = member(document, root, "remote_read");
    if (!list || list->type != YAML_SEQUENCE_NODE || list->data.sequence.items.start == list->data.sequence.items.top) {
        snprintf(out, max,
                 "upstream's configuration has no remote_read section; it needs one with the url of this server's "
                 "/api/v1/read, read_recent: true and filter_external_labels: false");
        return;
    }
    for (const yaml_node_item_t *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
        char unfit[384];
        if (!entry_is_unfit(document, root, yaml_document_get_node(document, *item), unfit, sizeof unfit)) {
            out[0] = '\0'; /* one entry that fits is enough */
            return;
        }
        if (!out[0])
            snprintf(out, max, "%s", unfit);
    }
}

void upstream_config_read(struct str yaml, struct upstream_config *ret_config)
{
    *ret_config = (struct upstream_config){.evaluation_interval_ms = EVALUATION_INTERVAL_STANDARD_MS};
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser))
        return;
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.ptr, yaml.len);
    if (yaml_parser_load(&parser, &document)) {
        const yaml_node_t *root = yaml_document_get_root_node(&document);
        int64_t interval_ms;
        struct str interval = scalar(member(&document, member(&document, root, "global"), "evaluation_interval"));
        if (promql_parse_duration(interval, &interval_ms) && interval_ms > 0)
            ret_config->evaluation_interval_ms = interval_ms;
        judge_entries(&document, root, ret_config->advice, sizeof ret_config->advice);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
}
