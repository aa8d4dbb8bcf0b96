/* planner/sql_info.c: see sql_writer.h. info(): labels of info series, joined on instance and job.
 *
 *     WITH operand AS …       the first argument's elements; `enriched` is false for those that are info series
 *     included AS …           the info series, with the times of their samples as values
 *     newest AS …, kept AS …  of several of one instance and job, step by step that with the newest sample
 *     chosen AS …             the steps at which there is one; two equally new ones fail
 *     SELECT …, prom_one(value) AS value FROM (
 *         elements with the labels that they lack and their info series has
 *         UNION ALL elements as they are where there is none
 *     ) GROUP BY ALL
 *
 * An info series takes part if both its instance and its job are some element's (those that all elements lack are not
 * looked at), be they different elements'. So two equally new info series fail also where no element is theirs.
 *
 * Source: Prometheus promql/info.go at 3.5, and what 3.10 and 3.12 changed in it (info_rules).
 */
#include "base/assert.h"
#include "planner/sql_writer.h"

static const struct name_list no_names = {NULL, 0};
static const struct str identifying[] = {STR_STATIC("instance"), STR_STATIC("job")};
static const struct name_list identifying_names = {identifying, ARRAY_LENGTH(identifying)};

struct info {
    const struct expr *operand, *asked; /* asked: the labels' selector, NULL: all labels of target_info */
    struct grid grid;
    struct str metric;       /* of the info series */
    struct name_list wanted; /* labels to take; none: all */
    struct columns from, to; /* of the operand's rows, of the result's */
    bool spares_info;        /* elements that are info series stay as they are */
    bool old;                /* before 3.10: an info series that adds nothing counts as none */
};

/* --- what is asked for --- */

static bool names_metric(const struct matcher *matcher)
{
    return str_eq(matcher->name, LABEL_METRIC_NAME);
}

static struct name_list wanted_names(struct writer *w, const struct expr_selector *asked)
{
    struct str *names = ARENA_ARRAY(w->arena, struct str, asked->matchers_n + 1);
    struct name_list wanted = {names, 0};
    w->exhausted |= !names;
    for (size_t i = 0; names && i < asked->matchers_n; i++)
        if (!names_metric(&asked->matchers[i]) && !name_list_has(wanted, asked->matchers[i].name))
            names[wanted.n++] = asked->matchers[i].name;
    return wanted;
}

static struct info new_info(struct writer *w, const struct expr *expr, struct grid grid)
{
    const struct expr_call *call = &expr->u.call;
    uint32_t version = w->options->version ? w->options->version : UINT32_MAX;
    struct info info = {.operand = call->args[0], .asked = call->args_n > 1 ? call->args[1] : NULL, .grid = grid};
    const struct matcher *metric = info.asked ? info_metric(&info.asked->u.selector) : NULL;
    info.metric = metric ? metric->value : STR("target_info");
    info.spares_info = !info.asked || metric || version >= 3012;
    info.old = version < 3010;
    if (info.asked)
        info.wanted = wanted_names(w, &info.asked->u.selector);
    struct columns operand = node_columns(w, info.operand);
    info.from = operand;
    info.from.by = join_names(w, operand.by, identifying_names);
    info.to = info.from;
    info.to.map |= info.wanted.n == 0;
    info.to.by = join_names(w, info.from.by, info.wanted);
    return info;
}

struct columns info_columns(struct writer *w, const struct expr *expr)
{
    return new_info(w, expr, (struct grid){.steps = 1}).to;
}

/* timestamp(<the info series>) */
static const struct expr *info_times(struct writer *w, const struct info *info)
{
    size_t n = info->asked ? info->asked->u.selector.matchers_n : 0;
    struct matcher *matchers = ARENA_ARRAY(w->arena, struct matcher, n + 1);
    struct expr *selector = ARENA_NEW(w->arena, struct expr), *call = ARENA_NEW(w->arena, struct expr);
    struct expr **args = ARENA_ARRAY(w->arena, struct expr *, 1);
    if (!matchers || !selector || !call || !args) {
        w->exhausted = true;
        return NULL;
    }
    matchers[0] = (struct matcher){LABEL_METRIC_NAME, MATCH_EQUAL, info->metric};
    size_t used = 1;
    for (size_t i = 0; i < n; i++)
        if (!names_metric(&info->asked->u.selector.matchers[i]))
            matchers[used++] = info->asked->u.selector.matchers[i];
    *selector = (struct expr){.kind = EXPR_SELECTOR, .type = VALUE_VECTOR, .depth = 1};
    selector->u.selector = (struct expr_selector){.matchers = matchers, .matchers_n = used};
    args[0] = selector;
    *call = (struct expr){.kind = EXPR_CALL, .type = VALUE_VECTOR, .depth = 2};
    call->u.call = (struct expr_call){.function = function_get(FN_TIMESTAMP), .args = args, .args_n = 1};
    return call;
}

/* --- the two sides --- */

static void begin_table(struct writer *w, const char *name)
{
    sql_words(&w->sql, name);
    sql_words(&w->sql, " AS MATERIALIZED ");
    write_open(w);
}

static void end_table(struct writer *w, bool last)
{
    write_close(w);
    sql_words(&w->sql, last ? "" : ",");
    sql_line(&w->sql);
}

static void write_operand(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "SELECT *, ");
    if (info->spares_info && info->from.metric) {
        sql_words(sql, "metric <> ");
        sql_string(sql, info->metric);
    } else {
        sql_words(sql, "true");
    }
    sql_words(sql, " AS enriched");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    write_rows(w, &(struct rows){.expr = info->operand, .grid = info->grid, .to = info->from, .function = ""});
    write_close(w);
    sql_line(sql);
    sql_words(sql, "WHERE list_count(value) > 0");
}

static void write_included(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    const struct expr *times = info_times(w, info);
    struct columns columns = {.map = true, .by = identifying_names};
    sql_words(sql, "SELECT *");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    const struct plan_options *options = w->options;
    struct plan_options keeping = *options;
    keeping.metadata_labels = false; /* of an info series nothing is dropped */
    w->options = &keeping;
    if (times)
        write_rows(w, &(struct rows){.expr = times, .grid = info->grid, .to = columns, .function = ""});
    w->options = options;
    write_close(w);
    sql_line(sql);
    sql_words(sql, "WHERE EXISTS (FROM operand WHERE enriched AND (instance <> '' OR job <> ''))");
    sql->indent++;
    for (size_t i = 0; i < ARRAY_LENGTH(identifying); i++) {
        sql_line(sql);
        sql_words(sql, "AND (");
        label_column(w, identifying[i]);
        sql_words(sql, " IN (SELECT ");
        label_column(w, identifying[i]);
        sql_words(sql, " FROM operand WHERE enriched AND ");
        label_column(w, identifying[i]);
        sql_words(sql, " <> '') OR NOT EXISTS (FROM operand WHERE enriched AND ");
        label_column(w, identifying[i]);
        sql_words(sql, " <> ''))");
    }
    sql->indent--;
}

/* Steps without any element are not looked at. */
static void write_chosen(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    begin_table(w, "newest");
    sql_words(sql, "SELECT instance, job, prom_max(value) AS value FROM included GROUP BY ALL");
    end_table(w, false);
    begin_table(w, "kept");
    sql_words(sql, "SELECT instance, job, labels, prom_eql(included.value, newest.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM included JOIN newest USING (instance, job)");
    end_table(w, false);
    begin_table(w, "chosen");
    sql_words(sql, "SELECT instance, job, CASE WHEN list_max(prom_count(prom_and(kept.value, s.value))) > 1");
    sql->indent++;
    sql_line(sql);
    sql_words(sql, "THEN error('promql: found duplicate series for info metric ' || ");
    sql_string(sql, info->metric);
    sql_words(sql, ")");
    sql_line(sql);
    sql_words(sql, "ELSE prom_any(kept.value) END AS value");
    sql->indent--;
    sql_line(sql);
    sql_words(sql, "FROM kept, (SELECT prom_any(value) AS value FROM operand) AS s");
    sql_line(sql);
    sql_words(sql, "GROUP BY instance, job");
    sql_line(sql);
    sql_words(sql, "OFFSET 0"); /* what the join asks for is not looked for inside */
    end_table(w, true);
}

/* --- the result --- */

/* Whether an element may stay without an info series: all matchers of labels would take the empty one. */
static void write_may_lack(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    size_t n = info->asked ? info->asked->u.selector.matchers_n : 0;
    sql_words(sql, "true");
    for (size_t i = 0; i < n; i++) {
        const struct matcher *matcher = &info->asked->u.selector.matchers[i];
        if (names_metric(matcher)) {
            if (info->old)
                sql_words(sql, " AND EXISTS (FROM operand WHERE enriched AND (instance <> '' OR job <> ''))");
            continue;
        }
        bool regex = matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
        sql_words(sql, matcher->op == MATCH_NOT_REGEX ? " AND NOT " : " AND ");
        sql_words(sql, regex ? "prom_match('', " : matcher->op == MATCH_EQUAL ? "'' = " : "'' <> ");
        sql_string(sql, matcher->value);
        sql_words(sql, regex ? ")" : "");
    }
}

static const struct columns info_side = {.map = true, .by = {identifying, ARRAY_LENGTH(identifying)}};

/* Whether the info series has a label of those wanted that the element lacks. */
static void write_adds(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "false");
    for (size_t i = 0; i < info->wanted.n; i++) {
        sql_words(sql, " OR (");
        write_label(w, "l.", info->from, info->wanted.at[i]);
        sql_words(sql, " = '' AND ");
        write_label(w, "r.", info_side, info->wanted.at[i]);
        sql_words(sql, " <> '')");
    }
}

static void write_found_map(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    bool all = info->wanted.n == 0;
    sql_words(sql, all ? "map_from_entries(list_sort(map_entries(map_concat(" : "");
    if (all) {
        write_map(w, "r.", info_side, info->to, no_names);
        sql_words(sql, ", ");
    }
    write_map(w, "l.", info->from, info->to, no_names);
    sql_words(sql, all ? ")))) AS labels, " : " AS labels, ");
}

/* An element's own labels first. */
static void write_found_columns(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    sql_words(sql, info->to.metric ? "l.metric, " : "");
    if (info->to.map)
        write_found_map(w, info);
    for (size_t i = 0; i < info->to.by.n; i++) {
        struct str name = info->to.by.at[i];
        sql_words(sql, "coalesce(nullif(");
        write_label(w, "l.", info->from, name);
        sql_words(sql, ", ''), ");
        write_label(w, "r.", info_side, name);
        sql_words(sql, ") AS ");
        label_column(w, name);
        sql_words(sql, ", ");
    }
}

static void write_found(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "SELECT ");
    write_found_columns(w, info);
    sql_words(sql, "prom_and(prom_and(l.value, r.value), s.value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM operand AS l JOIN kept AS r ON l.instance = r.instance AND l.job = r.job");
    sql_line(sql);
    sql_words(sql, "JOIN chosen AS s ON l.instance = s.instance AND l.job = s.job");
    sql_line(sql);
    sql_words(sql, "WHERE l.enriched");
    if (!info->old || info->wanted.n == 0)
        return;
    sql_words(sql, " AND (");
    write_may_lack(w, info);
    sql_words(sql, " OR ");
    write_adds(w, info);
    sql_words(sql, ")");
}

static void write_lacking(struct writer *w, const struct info *info)
{
    struct sql *sql = &w->sql;
    sql_words(sql, "SELECT ");
    write_columns(w, "l.", info->from, info->to, no_names);
    sql_words(sql, "prom_unless(l.value, s.value) AS value");
    sql_line(sql);
    sql_words(sql,
              "FROM operand AS l LEFT JOIN chosen AS s ON l.enriched AND l.instance = s.instance AND l.job = s.job");
    sql_line(sql);
    sql_words(sql, "WHERE NOT l.enriched OR (");
    write_may_lack(w, info);
    sql_words(sql, ")");
}

void info_select(struct writer *w, const struct expr *expr, struct grid grid)
{
    struct sql *sql = &w->sql;
    struct info info = new_info(w, expr, grid);
    sql_words(sql, "WITH ");
    begin_table(w, "operand");
    write_operand(w, &info);
    end_table(w, false);
    begin_table(w, "included");
    write_included(w, &info);
    end_table(w, false);
    write_chosen(w, &info);
    sql_words(sql, "SELECT ");
    write_columns(w, "", info.to, info.to, no_names);
    sql_words(sql, "prom_one(value) AS value");
    sql_line(sql);
    sql_words(sql, "FROM ");
    write_open(w);
    write_found(w, &info);
    sql_line(sql);
    sql_words(sql, "UNION ALL");
    sql_line(sql);
    write_lacking(w, &info);
    write_close(w);
    sql_line(sql);
    sql_words(sql, "GROUP BY ALL");
}
