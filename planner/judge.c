/* planner/judge.c: see judge.h.
 *
 * One rule per kind of node, in one table; a rule sees the verdicts of the node's children. A further kind of node is
 * pushed by a further rule here and one in sql_fragment.c (docs/adding-a-function.md).
 */
#include "planner/judge.h"

#include <math.h>

#include "base/assert.h"
#include "planner/notes.h"
#include "planner/shape.h"
#include "planner/sql.h"

#define HISTOGRAMS_SINCE 2044u /* the version that takes native histograms by remote read */

/* Where a node stands. */
struct place {
    struct grid grid;
    /* The evaluation times as Prometheus bounds its reads of storage: the query's start and end, moved by the
     * subqueries around (getTimeRangesForSelector). Wider than grid where a subquery's steps are aligned. */
    struct time_span reads;
    int64_t range_ms;   /* of the matrix selector around, 0: none */
    bool needs_samples; /* operand of timestamp() */
    bool at_drifts;     /* Prometheus misreads an @ here; see subquery_place */
    bool at_shows;      /* whatever is pinned here must reach Prometheus as it is written */
};

struct judge {
    struct judgement out;
    const struct plan_options *options;
    struct str text;
    push_set push;    /* that of the options; inside info(), which cannot stay, everything */
    bool inside_info; /* where remarks may lack */
    struct time_span bounds;
    enum status status; /* first error sticks */
    struct error *reterr;
};

const struct expr *judge_child(const struct expr *expr, size_t i)
{
    switch (expr->kind) {
    case EXPR_MATRIX:
        return i == 0 ? expr->u.matrix.selector : NULL;
    case EXPR_SUBQUERY:
        return i == 0 ? expr->u.subquery.operand : NULL;
    case EXPR_AGGREGATE:
        if (expr->u.aggregate.parameter)
            return i == 0 ? expr->u.aggregate.parameter : i == 1 ? expr->u.aggregate.operand : NULL;
        return i == 0 ? expr->u.aggregate.operand : NULL;
    case EXPR_CALL:
        return i < expr->u.call.args_n ? expr->u.call.args[i] : NULL;
    case EXPR_BINARY:
        return i == 0 ? expr->u.binary.left : i == 1 ? expr->u.binary.right : NULL;
    case EXPR_UNARY:
        return i == 0 ? expr->u.unary.operand : NULL;
    case EXPR_PAREN:
        return i == 0 ? expr->u.paren : NULL;
    default:
        return NULL;
    }
}

static bool pushes(const struct judge *j, enum push_class push_class)
{
    return j->push & 1u << push_class;
}

static uint32_t count_nodes(const struct expr *expr)
{
    uint32_t n = 1;
    const struct expr *child;
    for (size_t i = 0; (child = judge_child(expr, i)) != NULL; i++)
        n += count_nodes(child);
    return n;
}

/* --- walking down: the places --- */

static void check_points(struct judge *j, const struct expr *expr, struct grid grid)
{
    if (j->status == OK && grid.steps > j->options->points_max)
        j->status = error_set_at(j->reterr, E_LIMIT, expr->range.begin, expr->range.end,
                                 "evaluation at %u%s timestamps is more than the %u allowed in one evaluation",
                                 grid.steps, grid.steps == UINT32_MAX ? " or more" : "", j->options->points_max);
}

/* Prometheus turns @ into an offset from the evaluation's start, and does so again inside a subquery only when that
 * starts elsewhere. When it happens to start at the same moment although the subquery has an offset, that offset
 * lingers in every @ inside (setOffsetForAtModifier). There, only Prometheus itself reads what Prometheus would. */
static struct place subquery_place(struct judge *j, const struct expr *expr, struct place place)
{
    const struct expr_subquery *subquery = &expr->u.subquery;
    int64_t step_ms = subquery->step.present ? subquery->step.ms : j->options->subquery_step_ms;
    bool pinned;
    struct grid looks = grid_shift(place.grid, &subquery->offset, subquery->at, subquery->at_ms, j->bounds, &pinned);
    struct place inside = {.grid = grid_subquery(looks, subquery->range.ms, step_ms, j->options->rule)};
    check_points(j, expr, inside.grid);

    int64_t offset_ms = subquery->offset.present ? subquery->offset.ms : 0;
    inside.reads = pinned ? (struct time_span){time_add(looks.start_ms, offset_ms), time_add(looks.start_ms, offset_ms)}
                          : place.reads;
    inside.reads.min_ms = time_add(time_add(inside.reads.min_ms, -offset_ms), -subquery->range.ms);
    inside.reads.max_ms = time_add(inside.reads.max_ms, -offset_ms);

    bool drifts = place.at_drifts || looks.start_ms != place.grid.start_ms;
    inside.at_drifts = drifts && inside.grid.start_ms == place.grid.start_ms;
    inside.at_shows = place.at_shows || (place.at_drifts && pinned);
    return inside;
}

static bool has_pins(const struct expr *expr)
{
    if (expr->kind == EXPR_SELECTOR && expr->u.selector.at != AT_NONE)
        return true;
    if (expr->kind == EXPR_SUBQUERY && expr->u.subquery.at != AT_NONE)
        return true;
    const struct expr *child;
    for (size_t i = 0; (child = judge_child(expr, i)) != NULL; i++)
        if (has_pins(child))
            return true;
    return false;
}

/* Prometheus asks only the operand whether an aggregation is step-invariant, and evaluates the parameter just once if
 * it is. The operand's @ must then stay visible. */
static bool parameter_follows(const struct expr_aggregate *aggregate)
{
    return aggregate->parameter && !grid_step_invariant(aggregate->parameter) &&
           grid_step_invariant(aggregate->operand);
}

/* count_values by (…) of several labels, in Prometheus 2, sorts its list of names in place and loses some from step to
 * step; of a step-invariant operand there is only one. */
static bool loses_names(const struct judge *j, const struct expr_aggregate *aggregate)
{
    return j->options->rule == WINDOW_CLOSED && aggregate->op == AGG_COUNT_VALUES && !aggregate->without &&
           aggregate->grouping.n > 2;
}

static bool range_pinned(const struct expr *range)
{
    return range->kind == EXPR_SUBQUERY ? range->u.subquery.at != AT_NONE
                                        : range->u.matrix.selector->u.selector.at != AT_NONE;
}

/* Whether a call is evaluated all along the grid although its range is pinned. Prometheus then evaluates a subquery for
 * as long, past the samples it has read for it, and may fail there; Prometheus 2 moves the windows, too. */
static bool outlives_pin(const struct judge *j, const struct expr *expr)
{
    const struct expr *range = call_range(&expr->u.call);
    return range && range_pinned(range) && !grid_step_invariant(expr) &&
           (range->kind == EXPR_SUBQUERY || j->options->rule == WINDOW_CLOSED);
}

/* Whether the samples' own times that a call asks for are Prometheus's part. Under @ it moves the window by other rules
 * than its samples are read by. */
static bool times_stay(const struct judge *j, const struct expr_call *call)
{
    const struct expr *selector = call_sampled(call);
    if (!selector)
        return call->function->id == FN_START_TIMESTAMP;
    return !j->options->can->function[FN_TIMESTAMP] || selector->u.selector.at != AT_NONE ||
           !pushes(j, PUSH_ELEMENTWISE) || !pushes(j, PUSH_SELECTOR);
}

static struct place child_place(struct judge *j, const struct expr *expr, const struct expr *child, struct place place)
{
    place.range_ms = 0;
    switch (expr->kind) {
    case EXPR_SUBQUERY:
        return subquery_place(j, expr, place);
    case EXPR_MATRIX:
        place.range_ms = expr->u.matrix.range.ms;
        place.needs_samples = false;
        return place;
    case EXPR_PAREN:
        return place;
    case EXPR_CALL:
        place.at_shows |= outlives_pin(j, expr);
        place.needs_samples = times_stay(j, &expr->u.call);
        return place;
    case EXPR_AGGREGATE:
        place.needs_samples = false;
        /* Prometheus takes no part of a parameter for step-invariant: what is pinned there moves along with the
         * evaluation time, over the samples read for the pin. */
        if (child == expr->u.aggregate.parameter && has_pins(child))
            place.at_shows = true;
        if (child == expr->u.aggregate.operand && (parameter_follows(&expr->u.aggregate) ||
                                                   (loses_names(j, &expr->u.aggregate) && grid_step_invariant(child))))
            place.at_shows = true;
        return place;
    default:
        place.needs_samples = false;
        return place;
    }
}

/* --- walking up: the verdicts --- */

static struct time_span raw_span(struct judge *j, const struct expr_selector *selector, struct place place)
{
    const struct plan_options *options = j->options;
    struct time_span span = place.reads;
    if (selector->at != AT_NONE) {
        bool pinned;
        struct duration none = {.present = false};
        span.min_ms = grid_shift(place.grid, &none, selector->at, selector->at_ms, j->bounds, &pinned).start_ms;
        span.max_ms = span.min_ms;
    }
    int64_t back_ms = place.range_ms ? place.range_ms : options->lookback_ms;
    int64_t ahead_ms = 0;
    if (selector->anchored || selector->smoothed) {
        back_ms = time_add(options->lookback_ms, place.range_ms);
        ahead_ms = selector->smoothed ? options->lookback_ms : 0;
    }
    int64_t offset_ms = selector->offset.present ? selector->offset.ms : 0;
    span.min_ms = time_add(time_add(span.min_ms, -back_ms), -offset_ms) + (options->rule == WINDOW_LEFT_OPEN);
    span.max_ms = time_add(time_add(span.max_ms, ahead_ms), -offset_ms);
    return span;
}

static void check_matchers(struct judge *j, const struct expr *expr)
{
    const struct expr_selector *selector = &expr->u.selector;
    for (size_t i = 0; i < selector->matchers_n && j->status == OK; i++) {
        struct str name = selector->matchers[i].name;
        if (str_eq(name, LABEL_TASK_ID) || str_eq(name, LABEL_TASK_KIND))
            j->status =
                error_set_at(j->reterr, E_BAD_DATA, expr->range.begin, expr->range.end,
                             "the label " STR_FORMAT " is reserved and cannot be used in a selector", STR_ARG(name));
    }
}

static bool reads_histograms(const struct judge *j, const struct expr_selector *selector, struct time_span span)
{
    const struct plan_options *options = j->options;
    return options->has_histograms && options->has_histograms(selector, span, options->has_histograms_arg);
}

/* An older upstream would take series of native histograms for empty ones. */
static void check_upstream(struct judge *j, const struct expr *expr, struct time_span span)
{
    uint32_t version = j->options->version;
    if (j->status == OK && version && version < HISTOGRAMS_SINCE && reads_histograms(j, &expr->u.selector, span))
        j->status = error_set_at(j->reterr, E_EXECUTION, expr->range.begin, expr->range.end,
                                 "native histograms are among the samples of this selector, and the upstream "
                                 "Prometheus, %u.%u, cannot read them: that takes %u.%u or later",
                                 version / 1000, version % 1000, HISTOGRAMS_SINCE / 1000, HISTOGRAMS_SINCE % 1000);
}

static enum residue_reason judge_selector(struct judge *j, const struct expr *expr, struct place place,
                                          struct verdict *verdict)
{
    const struct expr_selector *selector = &expr->u.selector;
    check_matchers(j, expr);
    verdict->raw_span = raw_span(j, selector, place);
    check_upstream(j, expr, verdict->raw_span);
    if (place.needs_samples)
        return RESIDUE_NEEDS_SAMPLES;
    if (selector->anchored || selector->smoothed)
        return RESIDUE_NOT_EXACT;
    if (place.at_shows || (selector->at != AT_NONE && place.at_drifts))
        return RESIDUE_NEEDS_AT;
    if (!place.range_ms &&
        !j->options->can->selector) /* of a range the window function above is what would be pushed */
        return RESIDUE_NOT_EXACT;
    if (!place.range_ms && !pushes(j, PUSH_SELECTOR))
        return RESIDUE_SWITCHED_OFF;
    return reads_histograms(j, selector, verdict->raw_span) ? RESIDUE_HISTOGRAMS : RESIDUE_NONE;
}

static enum residue_reason judge_operand(struct judge *j, const struct expr *expr, struct place place,
                                         struct verdict *verdict)
{
    return verdict[1].reason == RESIDUE_NONE ? RESIDUE_NONE : RESIDUE_CHILD;
}

static enum residue_reason judge_paren(struct judge *j, const struct expr *expr, struct place place,
                                       struct verdict *verdict)
{
    return verdict[1].reason;
}

static enum residue_reason judge_constant(struct judge *j, const struct expr *expr, struct place place,
                                          struct verdict *verdict)
{
    return RESIDUE_NONE;
}

/* Whether all children can be computed in SQL. */
static enum residue_reason judge_children(const struct expr *expr, const struct verdict *verdict)
{
    const struct verdict *child = verdict + 1;
    for (size_t i = 0; judge_child(expr, i); i++) {
        if (child->reason != RESIDUE_NONE)
            return RESIDUE_CHILD;
        child += child->nodes;
    }
    return RESIDUE_NONE;
}

static enum residue_reason judge_unary(struct judge *j, const struct expr *expr, struct place place,
                                       struct verdict *verdict)
{
    if (expr->type == VALUE_VECTOR && expr->u.unary.negative && !j->options->can->negation)
        return RESIDUE_NOT_EXACT;
    if (expr->type == VALUE_VECTOR && !pushes(j, PUSH_ELEMENTWISE))
        return RESIDUE_SWITCHED_OFF;
    return judge_children(expr, verdict);
}

/* --- binary operators --- */

/* Whether labels that go with the name would have to be taken from the elements of the many side, or are asked for. */
static bool loses_metadata(const struct judge *j, const struct expr_binary *binary)
{
    if (!j->options->metadata_labels || binary_op_is_set(binary->op) ||
        (binary_op_is_comparison(binary->op) && !binary->return_bool))
        return false;
    bool listed = false;
    for (size_t i = 0; i < METADATA_LABELS.n; i++)
        listed |= name_list_has(binary->include, METADATA_LABELS.at[i]) ||
                  (binary->on && name_list_has(binary->matching, METADATA_LABELS.at[i]));
    bool only_matched = binary->on && binary->cardinality == CARD_ONE_TO_ONE;
    return listed || (!only_matched && has_metadata(binary_many_side(binary)));
}

/* Whether an operand that may be without values, while the result is not, is one that Prometheus would remark on. */
static bool hides_remark(const struct judge *j, const struct expr *operand)
{
    return j->options->rule == WINDOW_LEFT_OPEN && notes_possible(operand);
}

/* Between vectors. Elements of the many side that differ in nothing but their name are one match group: Prometheus
 * refuses them, SQL would give both. */
static enum residue_reason judge_join(struct judge *j, const struct expr_binary *binary)
{
    if (binary->fill_left_present || binary->fill_right_present || name_list_has(binary->include, LABEL_METRIC_NAME) ||
        binary->matching.n + binary->include.n > SQL_COLUMNS_MAX)
        return RESIDUE_NOT_EXACT;
    if (!pushes(j, binary_op_is_set(binary->op) ? PUSH_SET : PUSH_BINARY))
        return RESIDUE_SWITCHED_OFF;
    if (loses_metadata(j, binary))
        return RESIDUE_NOT_EXACT;
    if ((binary->op == OP_OR && (hides_remark(j, binary->left) || hides_remark(j, binary->right))) ||
        (binary->op == OP_UNLESS && hides_remark(j, binary->right)))
        return RESIDUE_REMARKED;
    if (!binary_op_is_set(binary->op) && binary->cardinality == CARD_ONE_TO_ONE && binary_keeps_name(binary) &&
        !binary->on && names_of(binary->left) == NAMES_MANY)
        return RESIDUE_NAME_MAY_MERGE;
    return RESIDUE_NONE;
}

static enum residue_reason judge_binary(struct judge *j, const struct expr *expr, struct place place,
                                        struct verdict *verdict)
{
    const struct expr_binary *binary = &expr->u.binary;
    enum residue_reason reason = RESIDUE_NONE;
    if (expr->type == VALUE_SCALAR) {
        reason = judge_children(expr, verdict);
        return reason == RESIDUE_NONE || has_selector(expr) ? reason : RESIDUE_NO_SERIES;
    }
    /* Prometheus 2 forgets to drop the name of atan2's result. */
    if (!j->options->can->binary[binary->op] || (binary->op == OP_ATAN2 && j->options->rule == WINDOW_CLOSED))
        return RESIDUE_NOT_EXACT;
    if (binary->left->type == VALUE_VECTOR && binary->right->type == VALUE_VECTOR)
        reason = judge_join(j, binary);
    else if (!pushes(j, PUSH_SCALAR))
        reason = RESIDUE_SWITCHED_OFF;
    return reason == RESIDUE_NONE ? judge_children(expr, verdict) : reason;
}

/* --- aggregations --- */

static bool fits_int64(double value)
{
    return value >= -9223372036854775808.0 && value < 9223372036854775808.0;
}

/* The parameters that Prometheus objects to are left to its own words. */
static enum residue_reason judge_parameter(const struct judge *j, const struct expr_aggregate *aggregate)
{
    const struct expr *parameter = expr_unparen(aggregate->parameter);
    if (aggregate->op == AGG_COUNT_VALUES) {
        struct str label = parameter->u.string;
        if (!label_name_is_plain(label))
            return RESIDUE_OBJECTED;
        bool hidden =
            str_eq(label, LABEL_METRIC_NAME) || (aggregate->without && name_list_has(aggregate->grouping, label));
        return hidden ? RESIDUE_NOT_EXACT : RESIDUE_NONE;
    }
    struct scalar scalar = scalar_of(parameter);
    if (scalar.kind == SCALAR_NONE)
        return RESIDUE_CHILD;
    if (aggregate->op == AGG_QUANTILE)
        return scalar.kind == SCALAR_CONSTANT && scalar.value >= 0 && scalar.value <= 1 ? RESIDUE_NONE
                                                                                        : RESIDUE_OBJECTED;
    /* Prometheus 2 refuses NaN also at a step without elements, of which the backend has no word. */
    if (scalar.kind == SCALAR_GRID)
        return j->options->rule == WINDOW_CLOSED ? RESIDUE_OBJECTED : RESIDUE_NONE;
    return fits_int64(scalar.value) ? RESIDUE_NONE : RESIDUE_OBJECTED;
}

static enum residue_reason judge_aggregate(struct judge *j, const struct expr *expr, struct place place,
                                           struct verdict *verdict)
{
    const struct expr_aggregate *aggregate = &expr->u.aggregate;
    if (aggregate->op == AGG_LIMITK || aggregate->op == AGG_LIMIT_RATIO)
        return RESIDUE_SHAPES_RESULT;
    if (!j->options->can->aggregate[aggregate->op] || aggregate->grouping.n > SQL_COLUMNS_MAX ||
        loses_names(j, aggregate))
        return RESIDUE_NOT_EXACT;
    if (!pushes(j, aggregate->parameter ? PUSH_SELECT : PUSH_AGGREGATE))
        return RESIDUE_SWITCHED_OFF;
    enum residue_reason reason = aggregate->parameter ? judge_parameter(j, aggregate) : RESIDUE_NONE;
    return reason == RESIDUE_NONE ? judge_children(expr, verdict) : reason;
}

/* --- calls --- */

/* Why a call of a function that the backend has no equal of stays. */
static enum residue_reason unpushed_call(const struct expr_call *call)
{
    switch (call->function->id) {
    case FN_HISTOGRAM_AVG:
    case FN_HISTOGRAM_COUNT:
    case FN_HISTOGRAM_FRACTION:
    case FN_HISTOGRAM_QUANTILE:
    case FN_HISTOGRAM_QUANTILES:
    case FN_HISTOGRAM_STDDEV:
    case FN_HISTOGRAM_STDVAR:
    case FN_HISTOGRAM_SUM:
    case FN_LABEL_JOIN:
    case FN_LABEL_REPLACE:
    case FN_SCALAR:
    case FN_SORT:
    case FN_SORT_BY_LABEL:
    case FN_SORT_BY_LABEL_DESC:
    case FN_SORT_DESC:
        return RESIDUE_SHAPES_RESULT;
    case FN_ABSENT:
    case FN_ABSENT_OVER_TIME:
    case FN_START_TIMESTAMP:
    case FN_TIMESTAMP:
        return RESIDUE_NEEDS_SAMPLES;
    default:
        break;
    }
    for (size_t i = 0; i < call->args_n; i++)
        if (call->args[i]->type == VALUE_VECTOR || call->args[i]->type == VALUE_MATRIX)
            return RESIDUE_NOT_EXACT;
    return RESIDUE_NO_SERIES;
}

/* Functions that not every Prometheus has: where one lacks it, the refusal is its own. */
static bool upstream_has(const struct judge *j, enum function_id id)
{
    static const struct {
        enum function_id id;
        uint32_t since, until; /* until: the first version without it, 0: none */
    } versions[] = {
        {FN_HOLT_WINTERS, 0, 3000},          {FN_DOUBLE_EXPONENTIAL_SMOOTHING, 3000, 0},
        {FN_MAD_OVER_TIME, 2052, 0},         {FN_FIRST_OVER_TIME, 3007, 0},
        {FN_TS_OF_FIRST_OVER_TIME, 3007, 0}, {FN_TS_OF_LAST_OVER_TIME, 3005, 0},
        {FN_TS_OF_MAX_OVER_TIME, 3005, 0},   {FN_TS_OF_MIN_OVER_TIME, 3005, 0},
    };
    uint32_t version = j->options->version ? j->options->version : UINT32_MAX;
    for (size_t i = 0; i < ARRAY_LENGTH(versions); i++)
        if (versions[i].id == id)
            return version >= versions[i].since && (!versions[i].until || version < versions[i].until);
    return true;
}

/* The constants of a window function: others change with the step, and Prometheus objects to some. */
static enum residue_reason judge_window_constants(const struct expr_call *call)
{
    enum function_id id = call->function->id;
    for (size_t i = 0; i < call->args_n; i++) {
        if (call->args[i]->type != VALUE_SCALAR)
            continue;
        struct scalar scalar = scalar_of(call->args[i]);
        if (scalar.kind != SCALAR_CONSTANT)
            return scalar.kind == SCALAR_NONE ? RESIDUE_CHILD : RESIDUE_NOT_EXACT;
        bool fraction = scalar.value >= 0 && scalar.value <= 1, inner = scalar.value > 0 && scalar.value < 1;
        if ((id == FN_QUANTILE_OVER_TIME && !fraction) ||
            ((id == FN_HOLT_WINTERS || id == FN_DOUBLE_EXPONENTIAL_SMOOTHING) && !inner))
            return RESIDUE_OBJECTED;
    }
    return RESIDUE_NONE;
}

/* A function over a range vector: a matrix selector or a subquery, parentheses allowed. */
static enum residue_reason judge_window(struct judge *j, const struct expr *expr, const struct verdict *verdict)
{
    const struct expr *range = call_range(&expr->u.call);
    bool subquery = range->kind == EXPR_SUBQUERY;
    if (subquery && !j->options->can->subquery)
        return RESIDUE_NOT_EXACT;
    if (!pushes(j, subquery ? PUSH_SUBQUERY : PUSH_WINDOW))
        return RESIDUE_SWITCHED_OFF;
    /* It extrapolates to the evaluation time, which under @ is another one at every step. */
    if (expr->u.call.function->id == FN_PREDICT_LINEAR && range_pinned(range))
        return RESIDUE_NOT_EXACT;
    if (j->options->rule == WINDOW_LEFT_OPEN && !j->inside_info && notes_of_some(&expr->u.call, j->options))
        return RESIDUE_REMARKED;
    enum residue_reason reason = judge_window_constants(&expr->u.call);
    return reason == RESIDUE_NONE ? judge_children(expr, verdict) : reason;
}

static enum residue_reason judge_absent(struct judge *j, const struct expr *expr, const struct verdict *verdict)
{
    const struct expr_call *call = &expr->u.call;
    const struct expr *selector = absent_selector(call->args[0]);
    const struct expr *range = call_range(call);
    if (selector && selector->u.selector.matchers_n > ABSENT_LABELS_MAX)
        return RESIDUE_NOT_EXACT;
    if (range && range->kind == EXPR_SUBQUERY && !j->options->can->subquery)
        return RESIDUE_NOT_EXACT;
    if (!pushes(j, PUSH_ABSENT) || (range && !pushes(j, range->kind == EXPR_SUBQUERY ? PUSH_SUBQUERY : PUSH_WINDOW)))
        return RESIDUE_SWITCHED_OFF;
    return hides_remark(j, call->args[0]) ? RESIDUE_REMARKED : judge_children(expr, verdict);
}

/* --- info --- */

static bool note_shift(const struct expr *expr, void *arg)
{
    const struct duration *offset = NULL;
    if (expr->kind == EXPR_SELECTOR)
        offset = &expr->u.selector.offset;
    else if (expr->kind == EXPR_SUBQUERY)
        offset = &expr->u.subquery.offset;
    enum at_kind at = expr->kind == EXPR_SELECTOR   ? expr->u.selector.at
                      : expr->kind == EXPR_SUBQUERY ? expr->u.subquery.at
                                                    : AT_NONE;
    *(bool *)arg |= (offset && offset->present) || at != AT_NONE;
    return true;
}

/* Why a call of info() cannot be computed; NULL: it can. Where offset or @ put its info series differs between versions
 * of Prometheus, and two info metrics at once may contradict each other. */
static const char *info_objection(struct judge *j, const struct expr_call *call, const struct verdict *verdict)
{
    bool shifted = false;
    for (size_t i = 0; i < call->args_n; i++)
        expr_walk(call->args[i], note_shift, &shifted);
    if (!j->options->can->function[FN_INFO] || !j->options->can->function[FN_TIMESTAMP])
        return "the backend does not have it";
    if (verdict[1].reason != RESIDUE_NONE)
        return "its operand cannot be computed where the samples are";
    if (shifted)
        return "offset and @ are not supported inside it";
    if (call->args_n == 1)
        return NULL;
    if (verdict[1 + verdict[1].nodes].reason != RESIDUE_NONE)
        return "its info series cannot be read where the samples are";
    const struct expr_selector *asked = &call->args[1]->u.selector;
    size_t names = 0;
    for (size_t i = 0; i < asked->matchers_n; i++)
        names += str_eq(asked->matchers[i].name, LABEL_METRIC_NAME);
    const struct matcher *metric = info_metric(asked);
    if (names > 1 || (metric && (metric->op != MATCH_EQUAL || metric->value.len == 0)))
        return "one info metric is supported, by its name";
    return asked->matchers_n > SQL_COLUMNS_MAX ? "it has too many matchers" : NULL;
}

/* It selects series inside Prometheus by what its operand has, which cannot be done over tasks: pushed or refused. */
static enum residue_reason judge_info(struct judge *j, const struct expr *expr, const struct verdict *verdict)
{
    const char *objection = NULL;
    if (j->status == OK && j->options->rule == WINDOW_CLOSED) {
        struct strbuf at;
        strbuf_init(&at, 64);
        notes_write_position(&at, j->text, expr->range.begin);
        j->status =
            error_set_at(j->reterr, E_BAD_DATA, expr->range.begin, expr->range.end,
                         STR_FORMAT ": parse error: unknown function with name \"info\"", STR_ARG(strbuf_view(&at)));
        strbuf_release(&at);
    } else if (j->status == OK && (objection = info_objection(j, &expr->u.call, verdict)) != NULL) {
        j->status = error_set_at(j->reterr, E_EXECUTION, expr->range.begin, expr->range.end,
                                 "info() cannot be answered here: %s; join with group_left instead", objection);
    }
    return RESIDUE_NONE;
}

static enum residue_reason judge_vector_call(struct judge *j, const struct expr *expr, const struct verdict *verdict)
{
    switch (call_shape(&expr->u.call)) {
    case CALL_WINDOW:
        return judge_window(j, expr, verdict);
    case CALL_ABSENT:
        return judge_absent(j, expr, verdict);
    case CALL_ELEMENTWISE:
    case CALL_OF_TIME:
        return pushes(j, PUSH_ELEMENTWISE) ? judge_children(expr, verdict) : RESIDUE_SWITCHED_OFF;
    case CALL_TIMESTAMP:
        if (times_stay(j, &expr->u.call))
            return RESIDUE_NEEDS_SAMPLES;
        return pushes(j, PUSH_ELEMENTWISE) ? judge_children(expr, verdict) : RESIDUE_SWITCHED_OFF;
    case CALL_VECTOR:
        return pushes(j, PUSH_SCALAR) ? judge_children(expr, verdict) : RESIDUE_SWITCHED_OFF;
    case CALL_INFO: /* judged before */
    case CALL_OTHER:
        break;
    }
    return RESIDUE_NOT_EXACT;
}

/* scalar(): NaN also where its operand has no values, so remarks on that must not be ours. */
static enum residue_reason judge_scalar_call(struct judge *j, const struct expr *expr, const struct verdict *verdict)
{
    if (!pushes(j, PUSH_SCALAR))
        return RESIDUE_SWITCHED_OFF;
    return hides_remark(j, expr->u.call.args[0]) ? RESIDUE_REMARKED : judge_children(expr, verdict);
}

static enum residue_reason judge_call(struct judge *j, const struct expr *expr, struct place place,
                                      struct verdict *verdict)
{
    const struct expr_call *call = &expr->u.call;
    enum function_id id = call->function->id;
    if (id == FN_INFO)
        return judge_info(j, expr, verdict);
    if (id == FN_PI)
        return RESIDUE_NONE;
    if (!j->options->can->function[id])
        return unpushed_call(call);
    if (id == FN_SCALAR)
        return judge_scalar_call(j, expr, verdict);
    if (call->function->result == VALUE_SCALAR)
        return id == FN_TIME ? RESIDUE_NONE : unpushed_call(call);
    return upstream_has(j, id) ? judge_vector_call(j, expr, verdict) : RESIDUE_OTHER_VERSION;
}

/* verdict points at the node's own; its first child's follows. */
typedef enum residue_reason judge_rule(struct judge *, const struct expr *, struct place, struct verdict *verdict);

static judge_rule *const rules[EXPR_KIND_MAX] = {
    [EXPR_NUMBER] = judge_constant,     [EXPR_STRING] = judge_constant,  [EXPR_SELECTOR] = judge_selector,
    [EXPR_MATRIX] = judge_operand,      [EXPR_SUBQUERY] = judge_operand, [EXPR_CALL] = judge_call,
    [EXPR_AGGREGATE] = judge_aggregate, [EXPR_BINARY] = judge_binary,    [EXPR_UNARY] = judge_unary,
    [EXPR_PAREN] = judge_paren,
};

static void judge_node(struct judge *j, const struct expr *expr, struct place place, uint32_t depth)
{
    uint32_t at = j->out.nodes_n++;
    j->out.nodes[at] = (struct split_node){.expr = expr, .depth = depth, .grid = place.grid, .fragment = -1};
    const struct expr *child;
    push_set push = j->push;
    bool inside_info = j->inside_info;
    if (expr->kind == EXPR_CALL && expr->u.call.function->id == FN_INFO) {
        j->push = PUSH_ALL;
        j->inside_info = true;
    }
    for (size_t i = 0; (child = judge_child(expr, i)) != NULL && j->status == OK; i++)
        judge_node(j, child, child_place(j, expr, child, place), depth + 1);
    j->push = push;
    j->inside_info = inside_info;
    struct verdict *verdict = &j->out.verdicts[at];
    verdict->nodes = j->out.nodes_n - at;
    if (j->status != OK)
        return;
    INVARIANT(rules[expr->kind]);
    verdict->reason = rules[expr->kind](j, expr, place, verdict);
    if (verdict->reason == RESIDUE_NONE && j->options->remarks_apart && !j->inside_info && notes_hidden_by(expr))
        verdict->reason = RESIDUE_REMARKED;
    j->out.nodes[at].reason = verdict->reason;
}

enum status judge_query(struct arena *arena, const struct query_text *query, struct grid grid, struct time_span bounds,
                        const struct plan_options *options, struct judgement *ret_judgement, struct error *reterr)
{
    struct judge j = {
        .options = options, .text = query->text, .push = options->push, .bounds = bounds, .reterr = reterr};
    uint32_t n = count_nodes(query->root);
    j.out.nodes = ARENA_ARRAY(arena, struct split_node, n);
    j.out.verdicts = ARENA_ARRAY(arena, struct verdict, n);
    if (!j.out.nodes || !j.out.verdicts)
        return error_set(reterr, E_NOMEM, "no memory to plan a query of %u nodes", n);
    check_points(&j, query->root, grid);
    judge_node(&j, query->root, (struct place){.grid = grid, .reads = bounds}, 0);
    if (j.status != OK)
        return j.status;
    POST(j.out.nodes_n == n);
    *ret_judgement = j.out;
    return OK;
}
