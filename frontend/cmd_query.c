/* frontend/cmd_query.c: promsplit query: asks a server over HTTP and prints what it says, for people or as it came. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "frontend/cli.h"
#include "frontend/json.h"
#include "remote/upstream.h"

#define ANSWER_MAX_BYTES   (256u << 20)
#define ARENA_MAX_BYTES    (1u << 30)
#define OUTPUT_MAX_BYTES   (512u << 20)
#define CONNECT_TIMEOUT_MS 10000
#define GRACE_MS           1000 /* the server's own timeout should speak first */
#define SPARKLINE_COLUMNS  40
#define LABELS_MAX         200 /* columns of a table */

/* --- asking --- */

static void add_seconds(struct strbuf *form, const char *name, int64_t ms)
{
    char text[32];
    form_add(form, name, (struct str){text, time_text_json(text, ms)});
}

static enum status write_form(const struct config *config, struct strbuf *form, struct error *reterr)
{
    bool range = config->explain_start[0] || config->explain_end[0];
    if (range && (!config->explain_start[0] || config->explain_time[0]))
        return error_set(reterr, E_BAD_DATA, "a range wants --start and may have --end and --step; an instant --time");
    form_add(form, "query", str_from(config->arguments[0]));
    add_seconds(form, "timeout", config->query_timeout_ms);
    if (!range) {
        if (config->explain_time[0])
            form_add(form, "time", str_from(config->explain_time));
        return OK;
    }
    form_add(form, "start", str_from(config->explain_start));
    if (config->explain_end[0])
        form_add(form, "end", str_from(config->explain_end));
    else
        add_seconds(form, "end", wall_clock_ms());
    add_seconds(form, "step", config->explain_step_ms);
    return OK;
}

static enum status ask(const struct config *config, struct str form, struct upstream_answer *ret_answer,
                       struct error *reterr)
{
    struct upstream_options options = {.url = config->query_server,
                                       .peer = "server",
                                       .connections_max = 1,
                                       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                       .answer_max_bytes = ANSWER_MAX_BYTES,
                                       .user_agent = "promsplit/" PROMSPLIT_VERSION};
    struct upstream *server;
    enum status status = upstream_new(&options, &server, reterr);
    if (status != OK)
        return status;
    upstream_call(server,
                  &(struct upstream_request){.method = "POST",
                                             .path = config->explain_start[0] ? "/api/v1/query_range" : "/api/v1/query",
                                             .body = form,
                                             .deadline_ms = monotonic_ms() + config->query_timeout_ms + GRACE_MS},
                  ret_answer);
    upstream_free(server);
    if (ret_answer->status != OK && reterr)
        *reterr = ret_answer->error;
    return ret_answer->status;
}

/* --- the answer --- */

struct row {
    struct str metric; /* raw object of labels */
    struct str values; /* raw array of samples, or one raw sample */
    bool many;
};

struct rows {
    struct arena *arena;
    struct row *at;
    size_t n;
    struct str names[LABELS_MAX]; /* raw label names, each once, in the order of the columns */
    size_t names_n;
    bool range; /* some row has many samples */
};

/* The text that a raw JSON string stands for, in the arena; what is no string is taken as it is. */
static struct str unquoted(struct arena *arena, struct str raw)
{
    struct strbuf text;
    strbuf_init(&text, raw.len + 1);
    struct str copy = arena_str(arena, json_text(&text, raw) ? strbuf_view(&text) : raw);
    strbuf_release(&text);
    return copy;
}

static bool add_names(struct rows *rows, struct str metric)
{
    struct str name, value;
    while (json_next_member(&metric, &name, &value)) {
        size_t i = 0;
        while (i < rows->names_n && !str_eq(rows->names[i], name))
            i++;
        if (i < rows->names_n)
            continue;
        if (rows->names_n == LABELS_MAX)
            return false;
        rows->names[rows->names_n++] = name;
    }
    return true;
}

/* The metric's name first, then the others in order. */
static int by_name(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    bool x_first = str_eq(*x, STR("\"__name__\"")), y_first = str_eq(*y, STR("\"__name__\""));
    return x_first != y_first ? (x_first ? -1 : 1) : str_cmp(*x, *y);
}

static enum status read_rows(struct rows *rows, struct str result, struct error *reterr)
{
    struct str rest = result, element;
    size_t n = 0;
    while (json_next(&rest, &element))
        n++;
    rows->at = ARENA_ARRAY(rows->arena, struct row, n + 1);
    if (!rows->at)
        return error_set(reterr, E_NOMEM, "no memory for %zu series", n);
    for (rest = result; json_next(&rest, &element);) {
        struct json_member members[] = {
            {.name = STR("metric")},    {.name = STR("value")},      {.name = STR("values")},
            {.name = STR("histogram")}, {.name = STR("histograms")},
        };
        if (!json_members(element, members, ARRAY_LENGTH(members)) || !members[0].value.ptr)
            return error_set(reterr, E_UPSTREAM, "the server's answer holds a series that is none");
        bool many = members[2].value.ptr != NULL || members[4].value.ptr != NULL;
        struct str values = members[1].value;
        for (size_t i = 2; i < ARRAY_LENGTH(members) && !values.ptr; i++)
            values = members[i].value;
        rows->range |= many;
        rows->at[rows->n++] = (struct row){members[0].value, values, many};
        if (!add_names(rows, members[0].value))
            return error_set(reterr, E_LIMIT,
                             "the answer has more than %d label names, which is more than a table "
                             "shows; use --format=json",
                             LABELS_MAX);
    }
    qsort(rows->names, rows->names_n, sizeof rows->names[0], by_name);
    return OK;
}

/* The value of a raw sample [time, "value"]; a native histogram keeps its raw text. */
static struct str sample_value(struct str sample)
{
    struct str time = {0}, value = {0};
    if (!json_next(&sample, &time) || !json_next(&sample, &value))
        return (struct str){0};
    return value;
}

static double number_of(struct str raw)
{
    char text[64];
    if (raw.len < 3 || raw.ptr[0] != '"' || raw.len - 2 >= sizeof text)
        return NAN;
    memcpy(text, raw.ptr + 1, raw.len - 2);
    text[raw.len - 2] = '\0';
    return strtod(text, NULL);
}

static void fill_labels(const struct rows *rows, struct str metric, struct str *cells)
{
    struct str name, value;
    while (json_next_member(&metric, &name, &value))
        for (size_t i = 0; i < rows->names_n; i++)
            if (str_eq(rows->names[i], name))
                cells[i] = unquoted(rows->arena, value);
}

/* A line of blocks, the least, the greatest and the last value, and how many there are. */
static bool fill_range(const struct rows *rows, const struct row *row, struct str *cells)
{
    struct str rest = row->values, sample, low = {0}, high = {0}, last = {0};
    size_t n = 0;
    while (json_next(&rest, &sample))
        n++;
    double *values = ARENA_ARRAY(rows->arena, double, n + 1);
    if (!values)
        return false;
    n = 0;
    double least = INFINITY, greatest = -INFINITY;
    for (rest = row->values; json_next(&rest, &sample);) {
        last = sample_value(sample);
        double value = values[n++] = number_of(last);
        if (value <= least) {
            least = value;
            low = last;
        }
        if (value >= greatest) {
            greatest = value;
            high = last;
        }
    }
    struct strbuf line;
    strbuf_init(&line, 4 * SPARKLINE_COLUMNS + 32);
    sparkline_print(&line, values, n, SPARKLINE_COLUMNS);
    cells[0] = arena_str(rows->arena, strbuf_view(&line));
    cells[1] = unquoted(rows->arena, low);
    cells[2] = unquoted(rows->arena, high);
    cells[3] = unquoted(rows->arena, last);
    strbuf_clear(&line);
    strbuf_u64(&line, n);
    cells[4] = arena_str(rows->arena, strbuf_view(&line));
    strbuf_release(&line);
    return true;
}

static enum status print_series(struct strbuf *out, struct arena *arena, struct str result, struct error *reterr)
{
    struct rows rows = {.arena = arena};
    enum status status = read_rows(&rows, result, reterr);
    if (status != OK)
        return status;
    if (rows.n == 0) {
        strbuf_cstr(out, "no series\n");
        return OK;
    }
    struct table_column columns[LABELS_MAX + 5];
    size_t columns_n = 0;
    for (size_t i = 0; i < rows.names_n; i++)
        columns[columns_n++] = (struct table_column){.name = unquoted(arena, rows.names[i])};
    static const struct table_column range[] = {{STR_STATIC(""), false},
                                                {STR_STATIC("min"), true},
                                                {STR_STATIC("max"), true},
                                                {STR_STATIC("last"), true},
                                                {STR_STATIC("samples"), true}};
    static const struct table_column instant = {STR_STATIC("value"), true};
    for (size_t i = 0; i < (rows.range ? ARRAY_LENGTH(range) : 1); i++)
        columns[columns_n++] = rows.range ? range[i] : instant;
    struct str *cells = ARENA_ARRAY(arena, struct str, rows.n * columns_n);
    for (size_t r = 0; r < rows.n && cells; r++) {
        struct str *own = cells + r * columns_n;
        fill_labels(&rows, rows.at[r].metric, own);
        if (!rows.at[r].many)
            own[rows.names_n] = unquoted(arena, sample_value(rows.at[r].values));
        else if (!fill_range(&rows, &rows.at[r], own + rows.names_n))
            break;
    }
    if (arena->exhausted)
        return error_set(reterr, E_LIMIT, "the answer is too large for a table; use --format=json");
    table_print(out, columns, columns_n, cells, rows.n);
    return OK;
}

static enum status print_data(struct strbuf *out, struct arena *arena, struct str data, struct error *reterr)
{
    struct json_member members[] = {{.name = STR("resultType")}, {.name = STR("result")}};
    if (!json_members(data, members, ARRAY_LENGTH(members)) || !members[0].value.ptr || !members[1].value.ptr)
        return error_set(reterr, E_UPSTREAM, "the server's answer has no result");
    struct str type = members[0].value, result = members[1].value;
    if (str_eq(type, STR("\"vector\"")) || str_eq(type, STR("\"matrix\"")))
        return print_series(out, arena, result, reterr);
    strbuf_str(out, unquoted(arena, sample_value(result))); /* scalar, string */
    strbuf_char(out, '\n');
    return OK;
}

static void print_messages(struct arena *arena, const char *kind, struct str list)
{
    struct str message;
    while (json_next(&list, &message))
        fprintf(stderr, "%s: " STR_FORMAT "\n", kind, STR_ARG(unquoted(arena, message)));
}

/* The body of an answer onto standard output; what the server found wrong onto standard error. */
static int print_answer(const struct config *config, struct arena *arena, const struct upstream_answer *answer)
{
    struct str body = {answer->body, answer->body_len};
    struct json_member members[] = {
        {.name = STR("status")}, {.name = STR("data")},     {.name = STR("errorType")},
        {.name = STR("error")},  {.name = STR("warnings")}, {.name = STR("infos")},
    };
    struct error error = {.begin = ERROR_NO_POSITION};
    if (!json_members(body, members, ARRAY_LENGTH(members)) || !members[0].value.ptr) {
        error_set(&error, E_UPSTREAM, "the server answered %d and no JSON of the Prometheus API: %.200s",
                  answer->http_code, answer->body ? answer->body : "");
        return cli_fail(CLI_FAILED, &error, NULL);
    }
    print_messages(arena, "warning", members[4].value);
    print_messages(arena, "info", members[5].value);
    if (!str_eq(members[0].value, STR("\"success\""))) {
        error_set(&error, E_EXECUTION, STR_FORMAT ": " STR_FORMAT, STR_ARG(unquoted(arena, members[2].value)),
                  STR_ARG(unquoted(arena, members[3].value)));
        return cli_fail(CLI_FAILED, &error, NULL);
    }
    struct strbuf out;
    strbuf_init(&out, OUTPUT_MAX_BYTES);
    enum status status = OK;
    if (strcmp(config->explain_format, "json") == 0) {
        strbuf_str(&out, body);
        strbuf_char(&out, '\n');
    } else {
        status = print_data(&out, arena, members[1].value, &error);
    }
    int code = status == OK ? (int)cli_print(&out) : cli_fail(CLI_FAILED, &error, NULL);
    strbuf_release(&out);
    return code;
}

static int query(const struct config *config, struct arena *arena)
{
    struct error error = {.begin = ERROR_NO_POSITION};
    struct strbuf form;
    strbuf_init(&form, 16u << 20);
    struct upstream_answer answer = {0};
    int code;
    if (strcmp(config->explain_format, "dot") == 0) {
        error_set(&error, E_BAD_DATA, "--format: dot is for explain; allowed: text|json");
        code = cli_fail(CLI_USAGE, &error, NULL);
    } else if (write_form(config, &form, &error) != OK) {
        code = cli_fail(CLI_USAGE, &error, NULL);
    } else if (strbuf_status(&form, "request", &error) != OK ||
               ask(config, strbuf_view(&form), &answer, &error) != OK) {
        code = cli_fail(CLI_FAILED, &error, NULL);
    } else {
        code = print_answer(config, arena, &answer);
    }
    free(answer.body);
    strbuf_release(&form);
    return code;
}

int cmd_query(int argc, char *const argv[])
{
    struct config config;
    struct arena arena;
    arena_init(&arena, ARENA_MAX_BYTES);
    int code = cli_config(&config, COMMAND_QUERY, argc, argv) == OK ? query(&config, &arena) : CLI_USAGE;
    arena_release(&arena);
    config_release(&config);
    return code;
}
