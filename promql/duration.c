/* promql/duration.c: durations and times: those of the query parameters, those a query computes, and pins that are not
 * heeded; see parse.h. */
#include <math.h>

#include "base/assert.h"
#include "promql/literal.h"
#include "promql/parse.h"

bool promql_parse_duration(struct str text, int64_t *ret_ms)
{
    struct str unit;
    return literal_duration(text, ret_ms, &unit) == DURATION_FINE;
}

bool promql_parse_api_duration(struct str text, int64_t *ret_ms)
{
    double seconds;
    if (literal_float(text, &seconds) != NUMBER_FINE)
        return promql_parse_duration(text, ret_ms);
    double ns = seconds * 1e9;
    if (!(ns < 0x1p63 && ns >= -0x1p63))
        return false;
    *ret_ms = (int64_t)ns / 1000000;
    return true;
}

/* -- RFC 3339 --------------------------------------------------------------------------------------------------- */

/* Reads exactly n digits at *at, which moves on. */
static bool digits(struct str text, size_t *at, unsigned n, int *ret)
{
    int value = 0;
    for (unsigned i = 0; i < n; i++, (*at)++) {
        if (*at >= text.len || text.ptr[*at] < '0' || text.ptr[*at] > '9')
            return false;
        value = value * 10 + (text.ptr[*at] - '0');
    }
    *ret = value;
    return true;
}

static bool separator(struct str text, size_t *at, const char *allowed)
{
    if (*at >= text.len || !strchr(allowed, text.ptr[*at]))
        return false;
    (*at)++;
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar: years of 400 repeat, March opens a year. */
static int64_t days_of_date(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int days_in_month(int year, int month)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : DAYS[month - 1];
}

static bool parse_date(struct str text, size_t *at, int64_t *ret_days)
{
    int year, month, day;
    if (!digits(text, at, 4, &year) || !separator(text, at, "-") || !digits(text, at, 2, &month) ||
        !separator(text, at, "-") || !digits(text, at, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *ret_days = days_of_date(year, month, day);
    return true;
}

/* hh:mm:ss with any number of decimals, cut to milliseconds. */
static bool parse_clock(struct str text, size_t *at, int64_t *ret_ms)
{
    int hour, minute, second;
    if (!digits(text, at, 2, &hour) || !separator(text, at, ":") || !digits(text, at, 2, &minute) ||
        !separator(text, at, ":") || !digits(text, at, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    int64_t ms = 0;
    if (separator(text, at, ".,")) {
        int64_t worth = 100;
        size_t first = *at;
        for (int digit; digits(text, at, 1, &digit); worth /= 10)
            ms += digit * worth;
        if (*at == first)
            return false;
    }
    *ret_ms = (((int64_t)hour * 60 + minute) * 60 + second) * 1000 + ms;
    return true;
}

static bool parse_zone(struct str text, size_t *at, int64_t *ret_ms)
{
    int hour, minute;
    *ret_ms = 0;
    if (separator(text, at, "Z"))
        return true;
    bool east = *at < text.len && text.ptr[*at] == '+';
    if (!separator(text, at, "+-") || !digits(text, at, 2, &hour) || !separator(text, at, ":") ||
        !digits(text, at, 2, &minute) || hour > 24 || minute > 60)
        return false;
    *ret_ms = ((int64_t)hour * 60 + minute) * 60000 * (east ? 1 : -1);
    return true;
}

static bool parse_rfc3339(struct str text, int64_t *ret_ms)
{
    size_t at = 0;
    int64_t days, clock_ms, zone_ms;
    if (!parse_date(text, &at, &days) || !separator(text, &at, "T") || !parse_clock(text, &at, &clock_ms) ||
        !parse_zone(text, &at, &zone_ms) || at != text.len)
        return false;
    *ret_ms = days * 86400000 + clock_ms - zone_ms;
    return true;
}

/* The ends of time as clients write them; four-digit years cannot say them. */
static bool parse_boundary(struct str text, int64_t *ret_ms)
{
    bool min = str_eq(text, STR("-292273086-05-16T16:47:06Z"));
    bool max = str_eq(text, STR("292277025-08-18T07:12:54.999999999Z"));
    if (min)
        *ret_ms = INT64_C(-9223309901257974000);
    if (max)
        *ret_ms = INT64_C(9223309901257974999);
    return min || max;
}

bool promql_parse_api_time(struct str text, int64_t *ret_ms)
{
    double seconds;
    if (literal_float(text, &seconds) != NUMBER_FINE)
        return parse_rfc3339(text, ret_ms) || parse_boundary(text, ret_ms);
    double whole, part = modf(seconds, &whole);
    if (!(fabs(whole) < 0x1p63 / 1000))
        return false;
    *ret_ms = (int64_t)whole * 1000 + (int64_t)round(part * 1000);
    return true;
}

/* -- duration expressions --------------------------------------------------------------------------------------- */

struct resolver {
    double step_s, range_s;
    bool in_parameter; /* of an aggregation */
    struct error *reterr;
};

static enum status fail(const struct resolver *r, const struct duration_expr *expr, const char *what)
{
    return error_set_at(r->reterr, E_BAD_DATA, expr->range.begin, expr->range.end, "%u:%u: %s", expr->range.begin,
                        expr->range.end, what);
}

/* Seconds. Depth is bounded by the parser. */
static enum status evaluate(const struct resolver *r, const struct duration_expr *expr, double *ret)
{
    double left = 0, right = 0;
    enum status status = OK;
    if (expr->left)
        status = evaluate(r, expr->left, &left);
    if (status == OK && expr->right)
        status = evaluate(r, expr->right, &right);
    if (status != OK)
        return status;
    switch (expr->op) {
    case DUR_LITERAL:
        *ret = expr->literal;
        break;
    case DUR_ADD:
        *ret = left + right;
        break;
    case DUR_SUB:
        *ret = left - right;
        break;
    case DUR_MUL:
        *ret = left * right;
        break;
    case DUR_DIV:
        if (right == 0)
            return fail(r, expr, "division by zero");
        *ret = left / right;
        break;
    case DUR_MOD:
        if (right == 0)
            return fail(r, expr, "modulo by zero");
        *ret = fmod(left, right);
        break;
    case DUR_POW:
        *ret = pow(left, right);
        break;
    case DUR_NEG:
        *ret = -right;
        break;
    case DUR_POS:
        *ret = right;
        break;
    case DUR_STEP:
        *ret = r->step_s;
        break;
    case DUR_RANGE:
        *ret = r->range_s;
        break;
    case DUR_MIN: /* with NaN either way NaN, as Go's math.Min; C's fmin would drop it */
        *ret = isnan(left) || isnan(right) ? NAN : fmin(left, right);
        break;
    case DUR_MAX:
        *ret = isnan(left) || isnan(right) ? NAN : fmax(left, right);
        break;
    }
    return OK;
}

static enum status resolve(const struct resolver *r, struct duration *duration, bool may_be_negative)
{
    double seconds;
    const struct duration_expr *expr = duration->expr;
    if (!expr)
        return OK;
    enum status status = evaluate(r, expr, &seconds);
    if (status != OK)
        return status;
    if (isnan(seconds) || isinf(seconds))
        return fail(r, expr, "duration is NaN or infinite");
    if (seconds <= 0 && !may_be_negative)
        return fail(r, expr, "duration must be greater than 0");
    if (seconds > 0x1p63 / 1e9 || seconds < -0x1p63 / 1e9)
        return fail(r, expr, "duration is out of range");
    duration->ms = (int64_t)(seconds * 1000);
    return OK;
}

/* Source: promql/engine.go PreprocessExpr, which puts a time in the place of start() and end(), but does not go into
 * the parameters of aggregations: there such a pin is none. */
static void heed_pin(const struct resolver *r, enum at_kind *at, bool *ret_unheeded)
{
    if (!r->in_parameter || (*at != AT_START && *at != AT_END))
        return;
    *at = AT_NONE;
    *ret_unheeded = true;
}

static enum status resolve_tree(const struct resolver *r, struct expr *expr);

static enum status resolve_parameter(const struct resolver *r, struct expr *parameter)
{
    struct resolver inside = *r;
    inside.in_parameter = true;
    return resolve_tree(&inside, parameter);
}

static enum status resolve_tree(const struct resolver *r, struct expr *expr)
{
    enum status status = OK;
    switch (expr->kind) {
    case EXPR_SELECTOR:
        heed_pin(r, &expr->u.selector.at, &expr->u.selector.at_unheeded);
        return resolve(r, &expr->u.selector.offset, true);
    case EXPR_MATRIX:
        status = resolve(r, &expr->u.matrix.range, false);
        return status == OK ? resolve_tree(r, expr->u.matrix.selector) : status;
    case EXPR_SUBQUERY:
        heed_pin(r, &expr->u.subquery.at, &expr->u.subquery.at_unheeded);
        status = resolve(r, &expr->u.subquery.offset, true);
        if (status == OK)
            status = resolve(r, &expr->u.subquery.step, false);
        if (status == OK)
            status = resolve(r, &expr->u.subquery.range, false);
        return status == OK ? resolve_tree(r, expr->u.subquery.operand) : status;
    case EXPR_AGGREGATE:
        status = resolve_tree(r, expr->u.aggregate.operand);
        return status == OK && expr->u.aggregate.parameter ? resolve_parameter(r, expr->u.aggregate.parameter) : status;
    case EXPR_CALL:
        for (size_t i = 0; i < expr->u.call.args_n && status == OK; i++)
            status = resolve_tree(r, expr->u.call.args[i]);
        return status;
    case EXPR_BINARY:
        status = resolve_tree(r, expr->u.binary.left);
        return status == OK ? resolve_tree(r, expr->u.binary.right) : status;
    case EXPR_UNARY:
        return resolve_tree(r, expr->u.unary.operand);
    case EXPR_PAREN:
        return resolve_tree(r, expr->u.paren);
    default:
        return OK;
    }
}

enum status promql_resolve(struct expr *root, int64_t step_ms, int64_t range_ms, struct error *reterr)
{
    struct resolver resolver = {(double)step_ms / 1000, (double)range_ms / 1000, false, reterr};
    return resolve_tree(&resolver, root);
}
