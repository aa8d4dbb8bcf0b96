/* bench/promql/bench_promql.c: how many queries the parser takes in a second, on one core.
 *
 *     bench_promql [FILE [SECONDS]]
 *
 * FILE holds one query a line, lines that begin with # left out; default: queries.txt beside this file. Each pass reads
 * the whole list, checks included, with one arena that is reset after each query, as the server does it; printed are
 * passes, parses per second of processor time, and the time of one parse. Patterns are not compiled: that is the
 * engine's work.
 *
 * To compare with Prometheus's own parser, call parser.ParseExpr of github.com/prometheus/prometheus/promql/parser for
 * each line of the same file in a loop (a Go benchmark: testing.B, b.N passes). It compiles the patterns, so take the
 * list without =~ and !~ as well: grep -v '=~\|!~' queries.txt.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "promql/parse.h"

#define QUERIES_MAX 10000

struct list {
    char *at[QUERIES_MAX];
    size_t n;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void read_list(struct list *list, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(1);
    }
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t length; (length = getline(&line, &capacity, file)) >= 0 && list->n < QUERIES_MAX;) {
        if (length > 0 && line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            list->at[list->n++] = strdup(line);
    }
    free(line);
    fclose(file);
}

static void parse(struct arena *arena, const char *text)
{
    struct query_text query;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    if (promql_parse(arena, str_from(text), &limits, NULL, &query, &error) != OK) {
        fprintf(stderr, "%s: %s\n", text, error.message);
        exit(1);
    }
    arena_reset(arena);
}

int main(int argc, char **argv)
{
    static struct list list;
    const char *path = argc > 1 ? argv[1] : QUERIES_PATH;
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    struct arena arena;
    read_list(&list, path);
    arena_init(&arena, 64u << 20);
    size_t passes = 0;
    double start = now_s(), spent;
    do {
        for (size_t i = 0; i < list.n; i++)
            parse(&arena, list.at[i]);
        passes++;
        spent = now_s() - start;
    } while (spent < seconds);
    double parses = (double)passes * (double)list.n;
    printf("%zu queries, %zu passes: %.0f parses/s, %.0f ns each\n", list.n, passes, parses / spent,
           spent / parses * 1e9);
    for (size_t i = 0; i < list.n; i++)
        free(list.at[i]);
    arena_release(&arena);
    return 0;
}
