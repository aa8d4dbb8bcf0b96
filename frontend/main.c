/* frontend/main.c: promsplit, the program: one word chooses the command. */
#include <stdio.h>
#include <string.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "frontend/cli.h"
#include "frontend/metrics.h"

static const struct {
    const char *name;
    enum command command;
    int (*run)(int argc, char *const argv[]);
    const char *text;
} commands[] = {
    {"serve", COMMAND_SERVE, cmd_serve, "run the service"},
    {"explain", COMMAND_EXPLAIN, cmd_explain, "show how a query would be split"},
    {"query", COMMAND_QUERY, cmd_query, "ask a running server and print a table"},
    {"import", COMMAND_IMPORT, cmd_import, "read files, a Prometheus or another store into a store"},
    {"export", COMMAND_EXPORT, cmd_export, "write the samples of a store as text"},
    {"store", COMMAND_STORE, cmd_store, "look at a store, check it, compact it"},
};

static void print_usage(FILE *to)
{
    fputs("promsplit stands where a Prometheus is expected, and computes what it can in a SQL engine.\n\n"
          "Usage: promsplit COMMAND [flags] [ARGUMENT]\n\nCommands:\n",
          to);
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].text);
    fputs("\npromsplit help COMMAND shows a command's flags; promsplit --version the version.\n", to);
}

static int print_version(void)
{
    printf("promsplit, version " PROMSPLIT_VERSION " (DuckDB %s)\n", duckdb_backend_version());
    return CLI_OK;
}

static int print_built(void (*print)(struct strbuf *out))
{
    struct strbuf out;
    strbuf_init(&out, 1u << 20);
    print(&out);
    int code = cli_print(&out);
    strbuf_release(&out);
    return code;
}

static int print_help(enum command command)
{
    struct strbuf out;
    strbuf_init(&out, 1u << 20);
    config_help(&out, command);
    int code = cli_print(&out);
    strbuf_release(&out);
    return code;
}

/* What the build makes from the tables of flags and metrics; no command for users. */
static int generate(const char *what)
{
    if (strcmp(what, "man") == 0)
        return print_built(config_man_page);
    if (strcmp(what, "flags") == 0)
        return print_built(config_markdown);
    if (strcmp(what, "metrics") == 0)
        return print_built(metrics_markdown);
    fprintf(stderr, "promsplit: generate takes man, flags or metrics\n");
    return CLI_USAGE;
}

static bool wants_help(int argc, char *const argv[])
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int run_command(const char *name, bool help, int argc, char *const argv[])
{
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (help || wants_help(argc, argv))
            return print_help(commands[i].command);
        return commands[i].run(argc, argv);
    }
    fprintf(stderr,
            "promsplit: unknown command \"%s\"; the commands are serve, explain, query, import, export and store\n",
            name);
    return CLI_USAGE;
}

int main(int argc, char *argv[])
{
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    bool help = strcmp(word, "help") == 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
        print_usage(stdout);
        return CLI_OK;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0)
        return print_version();
    if (strcmp(word, "generate") == 0 && argc == 3)
        return generate(argv[2]);
    return help ? run_command(argv[2], true, 0, NULL) : run_command(word, false, argc - 2, argv + 2);
}
