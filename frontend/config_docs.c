/* frontend/config_docs.c: the table of flags as --help, JSON, YAML, manual page and Markdown. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "frontend/config_table.h"
#include "promql/print.h"

#define HELP_COLUMNS 100
#define HELP_INDENT  8

/* Words of text in lines of HELP_COLUMNS. */
static void print_wrapped(struct strbuf *out, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column == 0 || column + 1 + word > HELP_COLUMNS) {
            strbuf_f(out, "%s%*s", column ? "\n" : "", HELP_INDENT, "");
            column = HELP_INDENT;
        } else {
            strbuf_char(out, ' ');
            column++;
        }
        strbuf_str(out, (struct str){text, word});
        column += word;
        text += word;
        text += *text == ' ';
    }
    strbuf_char(out, '\n');
}

/* "query.timeout=duration", "[no-]web.page" */
static void print_synopsis(struct strbuf *out, const struct param *param)
{
    if (param->kind == PARAM_switch)
        strbuf_f(out, "--[no-]%s", param->name);
    else
        strbuf_f(out, "--%s=%s", param->name, param->unit);
}

/* The clause with its standard value and its range, for --help and the manual. */
static void print_sentence(struct strbuf *out, const struct param *param)
{
    strbuf_cstr(out, param->text);
    if (param->standard[0])
        strbuf_f(out, " (standard: %s", param->standard);
    bool number = param->kind == PARAM_int || param->kind == PARAM_duration || param->kind == PARAM_bytes;
    if (number) {
        strbuf_cstr(out, param->standard[0] ? "; " : " (");
        param_print_range(out, param);
    }
    if (number || param->standard[0])
        strbuf_char(out, ')');
}

static const char *command_usage(enum command command)
{
    switch (command) {
    case COMMAND_SERVE:
        return "Usage: promsplit serve [flags]\n\n"
               "Serves the Prometheus HTTP API, remote write and remote read, and splits queries between the\n"
               "embedded SQL engine and the upstream Prometheus.\n";
    case COMMAND_EXPLAIN:
        return "Usage: promsplit explain [flags] EXPR\n\n"
               "Shows how a query would be split: what is pushed to the SQL engine, its SQL, and the residual\n"
               "expression. A range query with --start, --end and --step, else an instant query at --time.\n";
    case COMMAND_IMPORT:
        return "Usage: promsplit import [flags] SOURCE...\n\n"
               "Reads samples into the store of --storage.path, which no server may have open meanwhile. A source\n"
               "is a file (OpenMetrics, Prometheus text or JSON lines, gzipped or not), - for standard input, the\n"
               "http(s) URL of a Prometheus, read by remote read, or the directory of another store. What is\n"
               "interrupted goes on where it was when the same command is given again; samples that are stored\n"
               "already are passed over.\n";
    case COMMAND_EXPORT:
        return "Usage: promsplit export [flags]\n\n"
               "Writes the samples of the store of --storage.path, which no server may have open meanwhile, as\n"
               "JSON lines or OpenMetrics.\n";
    case COMMAND_STORE:
        return "Usage: promsplit store [flags] stats|verify|compact|forget-rollups\n\n"
               "Looks at the store of --storage.path, which no server may have open meanwhile: what it holds,\n"
               "whether everything in it is as it should be; or brings all samples into the layout for queries; or\n"
               "lets go of the rollups that outlive their samples, and of series that have nothing else.\n";
    default:
        return "Usage: promsplit query [flags] EXPR\n\n"
               "Asks a running server and prints the answer as a table. A range query with --start, --end and\n"
               "--step, else an instant query at --time.\n";
    }
}

void config_help(struct strbuf *out, enum command command)
{
    strbuf_cstr(out, command_usage(command));
    strbuf_cstr(out, "\nFlags:\n");
    struct strbuf sentence;
    strbuf_init(&sentence, 1024);
    for (size_t i = 0; i < PARAMS_N; i++) {
        if (!(params[i].commands & command))
            continue;
        strbuf_cstr(out, "  ");
        print_synopsis(out, &params[i]);
        strbuf_char(out, '\n');
        strbuf_clear(&sentence);
        print_sentence(&sentence, &params[i]);
        print_wrapped(out, sentence.ptr);
    }
    strbuf_release(&sentence);
}

void config_flags_json(struct strbuf *out, const struct config *config)
{
    struct strbuf value;
    strbuf_init(&value, 65536);
    strbuf_char(out, '{');
    bool first = true;
    for (size_t i = 0; i < PARAMS_N; i++) {
        if (!(params[i].commands & COMMAND_SERVE))
            continue;
        strbuf_clear(&value);
        param_print(&value, config, &params[i]);
        if (!first)
            strbuf_char(out, ',');
        first = false;
        strbuf_json(out, str_from(params[i].name));
        strbuf_char(out, ':');
        strbuf_json(out, strbuf_view(&value));
    }
    strbuf_char(out, '}');
    strbuf_release(&value);
}

static void print_retention_rules(struct strbuf *out, const struct config *config)
{
    for (size_t i = 0; i < config->retention_rules_n; i++) {
        strbuf_cstr(out, i ? "" : "  retention.rules:\n");
        strbuf_cstr(out, "    - match: ");
        strbuf_json(out, str_from(config->retention_rules[i].match));
        strbuf_cstr(out, "\n      time: ");
        promql_print_duration(out, config->retention_rules[i].time_ms);
        strbuf_char(out, '\n');
    }
}

/* Texts are written in JSON's quotes, which are YAML's double quotes too. */
void config_yaml(struct strbuf *out, const struct config *config)
{
    struct strbuf value;
    strbuf_init(&value, 65536);
    struct str family = {0};
    for (size_t i = 0; i < PARAMS_N; i++) {
        const struct param *param = &params[i];
        if (!(param->commands & COMMAND_SERVE) || i == PARAM_INDEX_config_file)
            continue;
        const char *dot = strchr(param->name, '.');
        INVARIANT(dot);
        struct str own = {param->name, (size_t)(dot - param->name)};
        if (!str_eq(own, family)) {
            strbuf_str(out, own);
            strbuf_cstr(out, ":\n");
            family = own;
        }
        strbuf_clear(&value);
        param_print(&value, config, param);
        strbuf_f(out, "  %s: ", dot + 1);
        if (param->kind == PARAM_text || param->kind == PARAM_choice)
            strbuf_json(out, strbuf_view(&value));
        else
            strbuf_str(out, strbuf_view(&value));
        strbuf_char(out, '\n');
        if (i == PARAM_INDEX_storage_retention_size_bytes)
            print_retention_rules(out, config);
    }
    strbuf_release(&value);
}

/* --- the manual page --- */

/* roff: a hyphen of ours is a real one, and a dot must not begin a line. */
static void print_roff(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '-')
            strbuf_cstr(out, "\\-");
        else if (*text == '\\')
            strbuf_cstr(out, "\\\\");
        else if (*text == '\'')
            strbuf_cstr(out, "\\(aq");
        else
            strbuf_char(out, *text);
    }
}

static void print_man_flags(struct strbuf *out, enum command command)
{
    struct strbuf sentence;
    strbuf_init(&sentence, 1024);
    strbuf_cstr(out, ".SH FLAGS OF ");
    for (const char *at = command_name(command); *at; at++)
        strbuf_char(out, (char)(*at - 'a' + 'A'));
    strbuf_char(out, '\n');
    for (size_t i = 0; i < PARAMS_N; i++) {
        const struct param *param = &params[i];
        if (!(param->commands & command))
            continue;
        strbuf_cstr(out, ".TP\n\\fB\\-\\-");
        strbuf_cstr(out, param->kind == PARAM_switch ? "[no\\-]" : "");
        print_roff(out, param->name);
        strbuf_cstr(out, "\\fR");
        if (param->kind != PARAM_switch) {
            strbuf_cstr(out, "=\\fI");
            print_roff(out, param->unit);
            strbuf_cstr(out, "\\fR");
        }
        strbuf_char(out, '\n');
        strbuf_clear(&sentence);
        print_sentence(&sentence, param);
        print_roff(out, sentence.ptr);
        strbuf_char(out, '\n');
    }
    strbuf_release(&sentence);
}

void config_man_page(struct strbuf *out)
{
    strbuf_cstr(
        out,
        ".TH PROMSPLIT 1 \"\" \"promsplit " PROMSPLIT_VERSION "\" \"User Commands\"\n"
        ".SH NAME\npromsplit \\- PromQL query frontend and split\\-execution proxy\n"
        ".SH SYNOPSIS\n"
        ".B promsplit serve\n[\\fIflags\\fR]\n.br\n"
        ".B promsplit explain\n[\\fIflags\\fR] \\fIEXPR\\fR\n.br\n"
        ".B promsplit query\n[\\fIflags\\fR] \\fIEXPR\\fR\n.br\n"
        ".B promsplit import\n[\\fIflags\\fR] \\fISOURCE\\fR...\n.br\n"
        ".B promsplit export\n[\\fIflags\\fR]\n.br\n"
        ".B promsplit store\n[\\fIflags\\fR] stats|verify|compact|forget\\-rollups\n.br\n"
        ".B promsplit \\-\\-version | \\-\\-help | help\n[\\fIcommand\\fR]\n"
        ".SH DESCRIPTION\n"
        "promsplit stands where a Prometheus server is expected. It stores what Prometheus remote\\-writes, takes\n"
        "PromQL, computes what a SQL engine can compute exactly in the engine, and hands the rest to a real "
        "Prometheus,\n"
        "whose remote reads it answers with the engine\\(aqs results.\n"
        ".TP\n.B serve\nruns the service.\n"
        ".TP\n.B explain\nshows how a query would be split, its SQL and its residual expression.\n"
        ".TP\n.B query\nasks a running server and prints a table.\n"
        ".TP\n.B import\nreads files, a Prometheus or another store into a store; what was interrupted is resumed.\n"
        ".TP\n.B export\nwrites the samples of a store as JSON lines or OpenMetrics.\n"
        ".TP\n.B store\nsays what a store holds, checks it, or compacts it.\n"
        ".PP\nA flag is given as \\-\\-name=value or \\-\\-name value, a switch as \\-\\-name or \\-\\-no\\-name. "
        "Durations are written 30s, 5m, 1h30m, or as a number of seconds; sizes 512MB, in powers of 1024.\n");
    for (enum command c = COMMAND_SERVE; c < COMMAND_END; c <<= 1)
        print_man_flags(out, c);
    strbuf_cstr(
        out,
        ".SH FILES\nThe file of \\-\\-config.file is YAML with the names of the flags of serve, nested at the dot; "
        "the command line wins over it:\n.PP\n.nf\nweb:\n  listen\\-address: \":9095\"\n"
        "query:\n  timeout: 1m\n.fi\n"
        ".SH EXIT STATUS\n0 on success, 1 when the work failed, 2 when the command line is wrong.\n"
        ".SH EXAMPLES\n.nf\n"
        "promsplit serve \\-\\-storage.path=/var/lib/promsplit \\-\\-upstream.url=http://localhost:9090\n"
        "promsplit explain \\(aqsum by (job) (rate(http_requests_total[5m]))\\(aq\n"
        "promsplit query \\-\\-start=1700000000 \\-\\-end=1700003600 \\-\\-step=1m up\n"
        "promsplit import \\-\\-storage.path=/var/lib/promsplit \\-\\-from=2024\\-01\\-01T00:00:00Z "
        "http://localhost:9090\n"
        "promsplit export \\-\\-storage.path=/var/lib/promsplit \\-\\-match=up | gzip > up.jsonl.gz\n.fi\n"
        ".SH SEE ALSO\n.BR prometheus (1)\n");
}

/* A cell: "|" would end it. */
static void print_cell(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            strbuf_char(out, '\\');
        strbuf_char(out, *text);
    }
}

void config_markdown(struct strbuf *out)
{
    struct strbuf range;
    strbuf_init(&range, 256);
    strbuf_cstr(out, "| Flag | Standard | Allowed | Commands | Meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < PARAMS_N; i++) {
        const struct param *param = &params[i];
        strbuf_clear(&range);
        param_print_range(&range, param);
        if (range.len == 0)
            strbuf_cstr(&range, param->kind == PARAM_switch ? "true|false" : param->unit);
        strbuf_f(out, "| `--%s` | ", param->name);
        if (param->standard[0])
            strbuf_f(out, "`%s`", param->standard);
        strbuf_cstr(out, " | ");
        print_cell(out, range.ptr);
        strbuf_cstr(out, " |");
        for (enum command c = COMMAND_SERVE; c < COMMAND_END; c <<= 1)
            if (param->commands & c)
                strbuf_f(out, " %s", command_name(c));
        strbuf_cstr(out, " | ");
        print_cell(out, param->text);
        strbuf_cstr(out, " |\n");
    }
    strbuf_release(&range);
}
