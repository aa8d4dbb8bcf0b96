/* tests/unit/planner/golden_file.c: see golden_file.h. */
#include "golden_file.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "planner_fixture.h"

static _Noreturn void give_up(const char *path, struct str line)
{
    fprintf(stderr, "%s: cannot read: " STR_FORMAT "\n", path, STR_ARG(line));
    exit(1);
}

static char *read_all(const char *path)
{
    FILE *in = fopen(path, "rb");
    size_t capacity = 4u << 20;
    char *text = in ? malloc(capacity) : NULL;
    if (!text)
        give_up(path, STR("the file"));
    size_t n = fread(text, 1, capacity - 1, in);
    text[n] = '\0';
    fclose(in);
    return text;
}

/* The next line without its newline; *rest moves behind it. */
static struct str next_line(const char **rest)
{
    size_t n = strcspn(*rest, "\n");
    struct str line = {*rest, n};
    *rest += n + ((*rest)[n] == '\n');
    return line;
}

static bool option_is(struct str line, struct str name, struct str *ret_value)
{
    if (!str_starts_with(line, name) || line.len < name.len + 2 || line.ptr[name.len] != ':')
        return false;
    *ret_value = (struct str){line.ptr + name.len + 2, line.len - name.len - 2};
    return true;
}

static bool read_times(struct golden_case *c, struct str value, bool range)
{
    double start, end = 0, step = 0;
    char text[128];
    snprintf(text, sizeof text, STR_FORMAT, STR_ARG(value));
    if (range ? sscanf(text, "%lf %lf %lf", &start, &end, &step) != 3 : sscanf(text, "%lf", &start) != 1)
        return false;
    c->options.bounds = (struct time_span){(int64_t)(start * 1000), (int64_t)((range ? end : start) * 1000)};
    c->step_ms = (int64_t)(step * 1000);
    return true;
}

static bool read_count(struct str value, uint32_t *ret_count)
{
    char text[32];
    snprintf(text, sizeof text, STR_FORMAT, STR_ARG(value));
    return sscanf(text, "%u", ret_count) == 1;
}

static bool read_option(struct golden_case *c, struct str line)
{
    struct str value;
    if (option_is(line, STR("query"), &c->query))
        return true;
    if (option_is(line, STR("range"), &value) || option_is(line, STR("time"), &value))
        return read_times(c, value, line.ptr[0] == 'r');
    if (option_is(line, STR("windows"), &value)) {
        c->options.rule = str_eq(value, STR("closed")) ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
        return str_eq(value, STR("closed")) || str_eq(value, STR("left-open"));
    }
    if (option_is(line, STR("lookback"), &value))
        return promql_parse_duration(value, &c->options.lookback_ms);
    if (option_is(line, STR("subquery-step"), &value))
        return promql_parse_duration(value, &c->options.subquery_step_ms);
    if (option_is(line, STR("sample-interval"), &value))
        return promql_parse_duration(value, &c->options.sample_interval_ms);
    if (option_is(line, STR("push"), &value))
        return push_set_parse(value, &c->options.push, NULL) == OK;
    if (option_is(line, STR("rollups"), &value)) {
        static const int64_t LEVELS_MS[] = {3600000, 300000, 60000};
        c->options.rollups_ms = LEVELS_MS;
        c->options.rollups_n = ARRAY_LENGTH(LEVELS_MS);
        return str_eq(value, STR("all"));
    }
    if (option_is(line, STR("gone-before"), &value))
        return promql_parse_duration(value, &c->options.raw_from_ms);
    if (option_is(line, STR("backend"), &value)) {
        c->options.can = str_eq(value, STR("basic")) ? &basic_capabilities : &full_capabilities;
        return str_eq(value, STR("basic")) || str_eq(value, STR("full"));
    }
    if (option_is(line, STR("tasks"), &value))
        return read_count(value, &c->options.fragments_max);
    if (option_is(line, STR("points"), &value))
        return read_count(value, &c->options.points_max);
    if (option_is(line, STR("metadata"), &value)) {
        c->options.metadata_labels = true;
        return str_eq(value, STR("labels"));
    }
    if (option_is(line, STR("format"), &value)) {
        c->format = str_eq(value, STR("json")) ? EXPLAIN_JSON : EXPLAIN_DOT;
        return str_eq(value, STR("json")) || str_eq(value, STR("dot"));
    }
    return false;
}

static void load_case(struct golden_file *file, struct str title, const char **rest)
{
    struct golden_case *grown = realloc(file->cases, (file->cases_n + 1) * sizeof *grown);
    if (!grown)
        give_up(file->path, title);
    file->cases = grown;
    struct golden_case *c = &file->cases[file->cases_n++];
    *c = (struct golden_case){.name = {title.ptr + 4, title.len - 4}, .options = fixture_options()};
    c->step_ms = FIXTURE_STEP_MS;
    const char *begin = *rest;
    struct str line;
    while (*(line.ptr = *rest) && !str_eq(line = next_line(rest), STR("---")))
        if (!read_option(c, line))
            give_up(file->path, line);
    c->header = (struct str){begin, (size_t)(line.ptr - begin)};
    begin = *rest;
    while (**rest && strncmp(*rest, "=== ", 4) != 0)
        next_line(rest);
    c->expected = (struct str){begin, (size_t)(*rest - begin)};
}

void golden_load(struct golden_file *file, const char *path)
{
    *file = (struct golden_file){.text = read_all(path)};
    snprintf(file->path, sizeof file->path, "%s", path);
    const char *rest = file->text;
    while (*rest && strncmp(rest, "=== ", 4) != 0)
        next_line(&rest);
    file->preamble = (struct str){file->text, (size_t)(rest - file->text)};
    while (*rest) {
        struct str title = next_line(&rest);
        load_case(file, title, &rest);
    }
}

void golden_release(struct golden_file *file)
{
    free(file->cases);
    free(file->text);
}

size_t golden_load_all(struct golden_file *files, size_t max, const char *directory)
{
    char pattern[512];
    snprintf(pattern, sizeof pattern, "%s/*.case", directory);
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc > max)
        give_up(pattern, STR("no files, or too many"));
    size_t n = found.gl_pathc;
    for (size_t i = 0; i < n; i++)
        golden_load(&files[i], found.gl_pathv[i]);
    globfree(&found);
    return n;
}
