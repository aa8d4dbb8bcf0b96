/* planner/split.c: see split.h. The second pass: takes the verdicts of judge.h, makes the fragments, rebuilds the rest.
 *
 * A vector-valued subtree with the verdict "pushed" becomes one grid fragment; the walk goes from the root down, so the
 * largest such subtree is taken. Selectors met outside become raw fragments.
 */
#include "planner/split.h"

#include "base/assert.h"
#include "planner/judge.h"
#include "planner/notes.h"
#include "planner/shape.h"
#include "planner/sql.h"

#define FRAGMENT_TEXT_BYTES_MAX (4u << 20)

struct splitter {
    struct arena *arena;
    const struct plan_options *options;
    struct time_span bounds;
    struct str text; /* of the whole query */
    struct judgement judged;
    struct fragment *fragments; /* room for fragments_max, or one per node if that is less */
    uint32_t fragments_n;
    enum status status; /* first error sticks; rebuild then gives NULL */
    struct error *reterr;
};

const char *residue_reason_text(enum residue_reason reason)
{
    static const char *const texts[RESIDUE_MAX] = {
        [RESIDUE_NONE] = "pushed",
        [RESIDUE_NOT_EXACT] = "the backend has no exact equal of it",
        [RESIDUE_SWITCHED_OFF] = "its class is not in --planner.push",
        [RESIDUE_SHAPES_RESULT] = "it shapes the result, which is Prometheus's part",
        [RESIDUE_NEEDS_SAMPLES] = "it asks for the samples' own times or the selector's matchers",
        [RESIDUE_NAME_MAY_MERGE] =
            "no single metric name is given, and series that differ in nothing else would be taken for one",
        [RESIDUE_NO_SERIES] = "it has no series, so there is nothing to push",
        [RESIDUE_CHILD] = "an operand stayed",
        [RESIDUE_PARENT] = "read by what stayed above it",
        [RESIDUE_FINE_GRID] = "its own samples are fewer than the values of so fine a grid",
        [RESIDUE_NEEDS_AT] = "its @ must stay visible: Prometheus evaluates what is around by it",
        [RESIDUE_OBJECTED] = "Prometheus warns of its parameter, or refuses it",
        [RESIDUE_REMARKED] = "Prometheus may remark on an operand, of which the result would not tell",
        [RESIDUE_OTHER_VERSION] = "the upstream's version does not have it",
        [RESIDUE_HISTOGRAMS] = "it reads native histograms",
    };
    PRE((unsigned)reason < RESIDUE_MAX && texts[reason]);
    return texts[reason];
}

static enum status fail_nomem(struct splitter *s)
{
    if (s->status == OK)
        s->status = error_set(s->reterr, E_NOMEM, "no memory for the plan: its arena holds %zu of at most %zu bytes",
                              s->arena->used_bytes, s->arena->cap_bytes);
    return s->status;
}

/* --- fragments --- */

static struct expr *new_node(struct splitter *s, const struct expr *model)
{
    struct expr *node = s->status == OK ? ARENA_NEW(s->arena, struct expr) : NULL;
    if (node)
        *node = *model;
    else
        fail_nomem(s);
    return node;
}

static struct str canonical_text(struct splitter *s, const struct expr *expr)
{
    struct strbuf text;
    strbuf_init(&text, FRAGMENT_TEXT_BYTES_MAX);
    promql_print(&text, expr, &(struct print_options){.resolved = true});
    struct str copy = {NULL, 0};
    enum status status = strbuf_status(&text, "a fragment's text", s->reterr);
    if (status == OK) {
        copy = arena_str(s->arena, strbuf_view(&text));
        if (!copy.ptr)
            status = fail_nomem(s);
    }
    strbuf_release(&text);
    s->status = status;
    return copy;
}

static bool same_fragment(const struct fragment *a, const struct fragment *b)
{
    return a->kind == b->kind && grid_eq(a->grid, b->grid) && str_eq(a->promql, b->promql) &&
           (a->kind == FRAGMENT_GRID || (a->span.min_ms == b->span.min_ms && a->span.max_ms == b->span.max_ms));
}

/* A raw fragment's selector as the backend must take it. */
static const struct expr *raw_root(struct splitter *s, const struct expr *selector)
{
    const struct matcher *matchers = sql_rule_matchers(s->arena, &selector->u.selector, s->options->rule);
    if (matchers == selector->u.selector.matchers)
        return selector;
    struct expr *copy = matchers ? new_node(s, selector) : NULL;
    if (copy)
        copy->u.selector.matchers = matchers;
    else
        fail_nomem(s);
    return copy;
}

/* The index of the fragment at this node: one made before, or a new one. */
static uint32_t fragment_of(struct splitter *s, uint32_t at, enum fragment_kind kind)
{
    struct split_node *node = &s->judged.nodes[at];
    struct fragment fragment = {.kind = kind, .root = node->expr, .grid = node->grid};
    if (kind == FRAGMENT_RAW) {
        fragment.span = s->judged.verdicts[at].raw_span;
        fragment.root = raw_root(s, node->expr);
    }
    fragment.promql = canonical_text(s, node->expr);
    if (s->status != OK)
        return 0;
    uint32_t i = 0;
    while (i < s->fragments_n && !same_fragment(&s->fragments[i], &fragment))
        i++;
    node->fragment = (int32_t)i;
    if (kind == FRAGMENT_GRID && s->options->rule == WINDOW_LEFT_OPEN)
        s->status = notes_make(s->arena, s->text, &fragment, s->reterr);
    if (i < s->fragments_n) { /* of equal remarks the last is kept */
        s->fragments[i].notes = fragment.notes;
        return i;
    }
    if (s->fragments_n >= s->options->fragments_max) {
        s->status =
            error_set(s->reterr, E_LIMIT, "the query needs more tasks than the %u allowed", s->options->fragments_max);
        return 0;
    }
    if (kind == FRAGMENT_GRID && s->status == OK)
        s->status = sql_fragment(s->arena, s->options, s->bounds, &fragment, s->reterr);
    s->fragments[s->fragments_n++] = fragment;
    return i;
}

/* --- residual nodes --- */

static struct expr *new_task(struct splitter *s, uint32_t at, enum fragment_kind kind)
{
    uint32_t index = fragment_of(s, at, kind);
    const struct expr *from = s->judged.nodes[at].expr;
    struct expr model = {.kind = EXPR_TASK, .type = VALUE_VECTOR, .range = from->range, .depth = 1};
    model.u.task.index = index;
    if (kind == FRAGMENT_RAW) {
        const struct expr_selector *selector = &from->u.selector;
        model.u.task.raw = true;
        model.u.task.offset = selector->offset;
        model.u.task.at = selector->at;
        model.u.task.at_ms = selector->at_ms;
        model.u.task.anchored = selector->anchored;
        model.u.task.smoothed = selector->smoothed;
    }
    return new_node(s, &model);
}

static struct expr *new_string(struct splitter *s, struct str text, struct text_range range)
{
    struct expr model = {.kind = EXPR_STRING, .type = VALUE_STRING, .range = range, .depth = 1, .u.string = text};
    return new_node(s, &model);
}

static struct expr *new_call(struct splitter *s, enum function_id id, struct expr *const *args, size_t n,
                             struct text_range range)
{
    struct expr **copy = s->status == OK ? ARENA_ARRAY(s->arena, struct expr *, n) : NULL;
    if (!copy) {
        fail_nomem(s);
        return NULL;
    }
    uint32_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        copy[i] = args[i];
        depth = args[i]->depth > depth ? args[i]->depth : depth;
    }
    const struct function *function = function_get(id);
    struct expr model = {.kind = EXPR_CALL, .type = function->result, .range = range, .depth = depth + 1};
    model.u.call = (struct expr_call){.function = function, .args = copy, .args_n = n};
    return new_node(s, &model);
}

/* label_replace(expr, name, value, "", ""): sets a label whatever the series has; an empty value removes it. */
static struct expr *set_label(struct splitter *s, struct expr *expr, struct str name, struct str value)
{
    if (s->status != OK)
        return NULL;
    struct text_range range = expr->range;
    struct expr *args[] = {expr, new_string(s, name, range), new_string(s, value, range), new_string(s, STR(""), range),
                           new_string(s, STR(""), range)};
    return s->status == OK ? new_call(s, FN_LABEL_REPLACE, args, ARRAY_LENGTH(args), range) : NULL;
}

/* --- absent() --- */

/* label_replace expands $1 and ${name} in its replacement: a plain dollar is written twice. */
static struct str escape_dollars(struct splitter *s, struct str value)
{
    char *out = arena_alloc(s->arena, 2 * value.len + 1);
    if (!out) {
        fail_nomem(s);
        return value;
    }
    size_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '$')
            out[n++] = '$';
        out[n++] = value.ptr[i];
    }
    return (struct str){out, n};
}

static struct expr *rebuild(struct splitter *s, uint32_t at);

/* absent(sel) becomes absent(+TASK) with the selector's labels added: a signed operand has no matchers to derive labels
 * from. absent_over_time(sel[r]) takes no sign, so there the task's own labels are removed first. */
static struct expr *rebuild_absent(struct splitter *s, uint32_t at)
{
    const struct expr *call = s->judged.nodes[at].expr;
    const struct expr *asked = expr_unparen(call->u.call.args[0]);
    struct expr *operand = rebuild(s, at + 1);
    if (s->status == OK && asked->type == VALUE_VECTOR && expr_unparen(operand)->kind == EXPR_TASK) {
        struct expr sign = {.kind = EXPR_UNARY, .type = VALUE_VECTOR, .range = operand->range, .depth = 2};
        sign.u.unary.operand = operand;
        operand = new_node(s, &sign);
    }
    if (s->status != OK)
        return NULL;
    struct expr *rebuilt = new_call(s, call->u.call.function->id, &operand, 1, call->range);
    if (asked->kind == EXPR_MATRIX) {
        rebuilt = set_label(s, rebuilt, LABEL_TASK_ID, STR(""));
        rebuilt = set_label(s, rebuilt, LABEL_TASK_KIND, STR(""));
    }
    const struct expr *selector = absent_selector(asked);
    if (s->status != OK || !selector)
        return rebuilt;
    if (selector->u.selector.matchers_n > ABSENT_LABELS_MAX) {
        s->status = error_set_at(s->reterr, E_LIMIT, selector->range.begin, selector->range.end,
                                 "a selector in absent() has %zu matchers; at most %u are allowed there",
                                 selector->u.selector.matchers_n, ABSENT_LABELS_MAX);
        return NULL;
    }
    struct label labels[ABSENT_LABELS_MAX];
    size_t n = absent_labels(asked, labels);
    for (size_t i = 0; i < n && s->status == OK; i++)
        rebuilt = set_label(s, rebuilt, labels[i].name, escape_dollars(s, labels[i].value));
    return rebuilt;
}

/* --- the rebuild --- */

static struct expr *rebuild_subquery(struct splitter *s, struct expr *copy, uint32_t at)
{
    copy->u.subquery.operand = rebuild(s, at + 1);
    if (!copy->u.subquery.step.present)
        copy->u.subquery.step = (struct duration){.present = true, .ms = s->options->subquery_step_ms};
    return copy;
}

static struct expr *rebuild_call(struct splitter *s, struct expr *copy, uint32_t at)
{
    size_t n = copy->u.call.args_n;
    struct expr **args = ARENA_ARRAY(s->arena, struct expr *, n ? n : 1);
    if (!args) {
        fail_nomem(s);
        return NULL;
    }
    uint32_t child = at + 1;
    for (size_t i = 0; i < n; i++) {
        args[i] = rebuild(s, child);
        child += s->judged.verdicts[child].nodes;
    }
    copy->u.call.args = args;
    return copy;
}

static struct expr *rebuild_pair(struct splitter *s, struct expr **first, struct expr **second, struct expr *copy,
                                 uint32_t at)
{
    *first = rebuild(s, at + 1);
    *second = rebuild(s, at + 1 + s->judged.verdicts[at + 1].nodes);
    return copy;
}

/* A copy of a node that stays, over its rebuilt children. */
static struct expr *rebuild_children(struct splitter *s, uint32_t at)
{
    const struct expr *expr = s->judged.nodes[at].expr;
    struct expr *copy = new_node(s, expr);
    if (!copy)
        return NULL;
    switch (expr->kind) {
    case EXPR_MATRIX:
        copy->u.matrix.selector = rebuild(s, at + 1);
        return copy;
    case EXPR_SUBQUERY:
        return rebuild_subquery(s, copy, at);
    case EXPR_AGGREGATE:
        if (copy->u.aggregate.parameter)
            return rebuild_pair(s, &copy->u.aggregate.parameter, &copy->u.aggregate.operand, copy, at);
        copy->u.aggregate.operand = rebuild(s, at + 1);
        return copy;
    case EXPR_CALL:
        return rebuild_call(s, copy, at);
    case EXPR_BINARY:
        return rebuild_pair(s, &copy->u.binary.left, &copy->u.binary.right, copy, at);
    case EXPR_UNARY:
        copy->u.unary.operand = rebuild(s, at + 1);
        return copy;
    case EXPR_PAREN:
        copy->u.paren = rebuild(s, at + 1);
        return copy;
    default:
        return copy;
    }
}

static bool is_absent(const struct expr *expr)
{
    return expr->kind == EXPR_CALL &&
           (expr->u.call.function->id == FN_ABSENT || expr->u.call.function->id == FN_ABSENT_OVER_TIME);
}

/* The selector of a query that is nothing but x[5m]. */
static bool is_whole_range_vector(const struct splitter *s, uint32_t at)
{
    return at == 1 && s->judged.nodes[0].expr->kind == EXPR_MATRIX;
}

/* Whether this subtree is the whole query, but for parentheses. */
static bool is_whole_query(const struct splitter *s, uint32_t at)
{
    while (at > 0)
        if (s->judged.nodes[--at].expr->kind != EXPR_PAREN)
            return false;
    return true;
}

/* Whether the values of a bare selector on its grid are more than the samples they are taken from, by what is known
 * before any is read. */
static bool has_fewer_samples(const struct splitter *s, uint32_t at)
{
    const struct split_node *node = &s->judged.nodes[at];
    struct time_span span = s->judged.verdicts[at].raw_span;
    int64_t interval_ms = s->options->sample_interval_ms;
    return node->expr->kind == EXPR_SELECTOR && interval_ms > 0 &&
           (span.max_ms - span.min_ms) / interval_ms + 1 < node->grid.steps;
}

/* A scalar is a fragment only as the whole query: no selector can stand for one. */
static bool scalar_is_pushed(const struct splitter *s, const struct expr *expr)
{
    return s->options->push & 1u << PUSH_SCALAR && s->options->can->function[FN_VECTOR] &&
           scalar_of(expr).kind != SCALAR_NONE;
}

/* Why a subtree that could be a grid fragment is none; RESIDUE_NONE: it is one. The whole answer always is. */
static enum residue_reason not_a_task(const struct splitter *s, uint32_t at)
{
    const struct expr *expr = s->judged.nodes[at].expr;
    bool whole = is_whole_query(s, at);
    if (whole && expr->type == VALUE_SCALAR && scalar_is_pushed(s, expr))
        return RESIDUE_NONE;
    if (!has_selector(expr))
        return whole && expr->type == VALUE_VECTOR ? RESIDUE_NONE : RESIDUE_NO_SERIES;
    if (is_whole_range_vector(s, at) || (whole && expr->type != VALUE_VECTOR))
        return RESIDUE_NEEDS_SAMPLES;
    bool in_range = at > 0 && s->judged.nodes[at - 1].expr->kind == EXPR_MATRIX;
    if (expr->type != VALUE_VECTOR || in_range)
        return RESIDUE_PARENT;
    return !whole && has_fewer_samples(s, at) ? RESIDUE_FINE_GRID : RESIDUE_NONE;
}

/* The residual of the subtree at this node. */
static struct expr *rebuild(struct splitter *s, uint32_t at)
{
    if (s->status != OK)
        return NULL;
    struct split_node *node = &s->judged.nodes[at];
    enum residue_reason reason = node->reason == RESIDUE_NONE ? not_a_task(s, at) : node->reason;
    if (reason == RESIDUE_NONE)
        return node->expr->kind == EXPR_PAREN ? rebuild(s, at + 1) : new_task(s, at, FRAGMENT_GRID);
    node->reason = reason;
    if (node->expr->kind == EXPR_SELECTOR)
        return new_task(s, at, FRAGMENT_RAW);
    if (is_absent(node->expr))
        return rebuild_absent(s, at);
    return rebuild_children(s, at);
}

enum status split_query(struct arena *arena, const struct query_text *query, struct grid grid,
                        const struct plan_options *options, struct split *ret_split, struct error *reterr)
{
    PRE(grid.steps > 0 && grid.step_ms > 0 && options->can && options->subquery_step_ms > 0);
    struct splitter s = {
        .arena = arena, .options = options, .bounds = options->bounds, .text = query->text, .reterr = reterr};
    if (s.bounds.min_ms == 0 && s.bounds.max_ms == 0)
        s.bounds = (struct time_span){grid.start_ms, grid_end(grid)};
    enum status status = judge_query(arena, query, grid, s.bounds, options, &s.judged, reterr);
    if (status != OK)
        return status;
    uint32_t room = s.judged.nodes_n < options->fragments_max ? s.judged.nodes_n : options->fragments_max;
    s.fragments = ARENA_ARRAY(arena, struct fragment, room ? room : 1);
    if (!s.fragments)
        return fail_nomem(&s);
    const struct expr *residual = rebuild(&s, 0);
    if (s.status != OK)
        return s.status;
    const struct expr *core = expr_unparen(residual);
    *ret_split = (struct split){
        .query = *query,
        .grid = grid,
        .fragments = s.fragments,
        .fragments_n = s.fragments_n,
        .residual = residual,
        .direct = core->kind == EXPR_TASK && !core->u.task.raw,
        .nodes = s.judged.nodes,
        .nodes_n = s.judged.nodes_n,
    };
#ifndef NDEBUG
    split_validate(ret_split);
#endif
    return OK;
}

/* --- the invariants --- */

struct task_count {
    const struct split *split;
    uint32_t index; /* counts tasks of this fragment */
    uint32_t n;
};

static bool check_residual_node(const struct expr *expr, void *arg)
{
    struct task_count *count = arg;
    const struct split *split = count->split;
    INVARIANT(expr->kind != EXPR_SELECTOR);
    if (expr->kind == EXPR_TASK) {
        const struct expr_task *task = &expr->u.task;
        INVARIANT(task->index < split->fragments_n);
        INVARIANT(task->raw == (split->fragments[task->index].kind == FRAGMENT_RAW));
        INVARIANT(task->raw || (!task->offset.present && task->at == AT_NONE));
        count->n += task->index == count->index;
    }
    return true;
}

static void check_fragment(const struct split *split, uint32_t i)
{
    const struct fragment *fragment = &split->fragments[i];
    struct task_count count = {.split = split, .index = i};
    expr_walk(split->residual, check_residual_node, &count);
    INVARIANT(count.n > 0);
    INVARIANT(fragment->promql.len > 0);
    if (fragment->kind == FRAGMENT_GRID) {
        INVARIANT(fragment->root->type == VALUE_VECTOR || (fragment->root->type == VALUE_SCALAR && split->direct));
        INVARIANT(fragment->sql.len > 0);
    } else {
        INVARIANT(fragment->root->kind == EXPR_SELECTOR && fragment->sql.len == 0);
    }
    for (uint32_t k = 0; k < i; k++)
        INVARIANT(!same_fragment(fragment, &split->fragments[k]));
}

void split_validate(const struct split *split)
{
    struct task_count every = {.split = split, .index = UINT32_MAX};
    expr_walk(split->residual, check_residual_node, &every);
    for (uint32_t i = 0; i < split->fragments_n; i++)
        check_fragment(split, i);
    const struct expr *core = expr_unparen(split->residual);
    INVARIANT(split->direct == (core->kind == EXPR_TASK && !core->u.task.raw));
    INVARIANT(!split->direct || split->fragments_n == 1);
    for (uint32_t i = 0; i < split->nodes_n; i++) {
        const struct split_node *node = &split->nodes[i];
        INVARIANT(node->fragment < (int32_t)split->fragments_n);
        INVARIANT(node->expr->kind != EXPR_SELECTOR || node->fragment >= 0 || node->reason == RESIDUE_NONE);
        for (uint32_t k = i + 1; node->fragment >= 0 && k < split->nodes_n; k++) {
            if (split->nodes[k].depth <= node->depth)
                break;
            INVARIANT(split->nodes[k].fragment < 0 && split->nodes[k].reason == RESIDUE_NONE);
        }
    }
}

void split_print_residual(struct strbuf *out, const struct split *split,
                          struct str (*task_id)(uint32_t index, void *arg), void *arg)
{
    promql_print(out, split->residual, &(struct print_options){.task_id = task_id, .arg = arg, .resolved = true});
}
