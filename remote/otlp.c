/* remote/otlp.c: ExportMetricsServiceRequest into series; see otlp.h.
 *
 * Read by hand, like write requests: one pass, fields in whatever order they come, so a message is looked through for
 * what it says of all its points (a sum's temporality) before its points are read.
 */
#include "remote/otlp.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "remote/body.h"
#include "remote/otlp_internal.h"
#include "remote/write_labels.h"

#define DELTA             1
#define CUMULATIVE        2
#define NO_RECORDED_VALUE 1u
#define INFO_STEP_MS      INT64_C(150000) /* half of the usual lookback */
#define INFO_SPAN_MAX_MS  INT64_C(86400000)
#define SCRATCH_MAX_BYTES ((size_t)8 << 20) /* of one native histogram */

enum status otlp_malformed(const struct otlp *o, struct str at, const char *message)
{
    return error_set(o->reterr, E_BAD_DATA, OTLP_WHAT " is not valid protobuf: %s at byte %zu of %zu", message,
                     (size_t)(at.ptr - o->message.ptr), o->message.len);
}

enum status otlp_no_memory(const struct otlp *o)
{
    return body_refused(o->arena, 4096, OTLP_WHAT, o->reterr);
}

enum status otlp_each_field(struct otlp *o, struct str bytes, const char *message, otlp_field_reader *read, void *arg)
{
    struct wire_in in = wire_in(bytes);
    enum status status = OK;
    while (status == OK && in.at < in.end) {
        struct wire_field field;
        struct str at = {(const char *)in.at, 0};
        if (!wire_get_field(&in, &field))
            return otlp_malformed(o, at, message);
        status = read(o, &field, arg);
    }
    return status;
}

/* --- labels --- */

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static struct label *find_label(struct otlp_attributes *labels, struct str name)
{
    for (size_t i = 0; i < labels->n; i++)
        if (str_eq(labels->at[i].name, name))
            return &labels->at[i];
    return NULL;
}

/* Sets a label, in the place of one of that name; there is room, see label_set. */
static void set_label(struct otlp_attributes *labels, struct str name, struct str value)
{
    struct label *label = find_label(labels, name);
    if (!label)
        label = &labels->at[labels->n++];
    *label = (struct label){name, value};
}

static bool is_identifying(struct str key)
{
    return str_eq(key, STR("service.namespace")) || str_eq(key, STR("service.name")) ||
           str_eq(key, STR("service.instance.id"));
}

/* "a;b" */
static struct str joined(struct arena *arena, struct str a, char between, struct str b)
{
    char *text = arena_alloc(arena, a.len + b.len + 1);
    if (!text)
        return (struct str){NULL, 0};
    memcpy(text, a.ptr, a.len);
    text[a.len] = between;
    memcpy(text + a.len + 1, b.ptr, b.len);
    return (struct str){text, a.len + b.len + 1};
}

/* Adds an attribute under its name here; those that become one name are joined. False: *ret_status is why, or OK when
 * nothing is left of the name. */
static bool add_label(struct otlp *o, const struct label *attribute, enum status *ret_status)
{
    struct str name = otlp_label_name(o->arena, attribute->name), value = attribute->value;
    const struct label *before = name.len ? find_label(o->labels, name) : NULL;
    if (before && before->value.len)
        value = joined(o->arena, before->value, ';', value);
    *ret_status = name.ptr && value.ptr ? OK : otlp_no_memory(o);
    if (name.len == 0 || *ret_status != OK)
        return false;
    set_label(o->labels, name, value);
    return true;
}

/* o->labels: attributes in the order of their keys, then job and instance, which win. `target`: the labels of
 * target_info. *ret_problem: what is wrong with them, or NULL. */
static enum status label_set(struct otlp *o, struct otlp_attributes *attributes, bool target, const char **ret_problem)
{
    struct otlp_attributes *labels = o->labels;
    enum status status = OK;
    labels->n = 0;
    *ret_problem = attributes->over ? "more than 124 attributes" : NULL;
    if (attributes->n)
        qsort(attributes->at, attributes->n, sizeof *attributes->at, by_key);
    for (size_t i = 0; !*ret_problem && i < attributes->n; i++) {
        const struct label *attribute = &attributes->at[i];
        if (target ? is_identifying(attribute->name) : str_eq(attribute->name, LABEL_METRIC_NAME))
            continue;
        if (add_label(o, attribute, &status))
            continue;
        if (status != OK)
            return status;
        *ret_problem = "an attribute whose name has no letter or digit";
    }
    if (o->job.len)
        set_label(labels, STR("job"), o->job);
    if (o->instance.len)
        set_label(labels, STR("instance"), o->instance);
    return OK;
}

static void reject(struct otlp *o, size_t points_n, const char *words, struct str metric)
{
    o->out->rejected_points += points_n;
    if (o->out->rejected.status == OK)
        error_set(&o->out->rejected, E_BAD_DATA, "%s \"" STR_FORMAT "\"", words, STR_ARG(metric));
}

/* --- samples --- */

/* The labels in o->labels under that name, with another one if extra.name is not empty. */
static void put_labels(struct otlp *o, struct str name, struct label extra)
{
    struct series_builder *builder = &o->builder;
    for (size_t i = 0; i < o->labels->n; i++) {
        const struct label *label = &o->labels->at[i];
        if (!str_eq(label->name, LABEL_METRIC_NAME) && !(extra.name.len && str_eq(label->name, extra.name)))
            series_builder_label(builder, label->name, label->value);
    }
    series_builder_label(builder, LABEL_METRIC_NAME, name);
    if (extra.name.len)
        series_builder_label(builder, extra.name, extra.value);
}

static enum status emit(struct otlp *o, struct str name, struct label extra, struct sample sample)
{
    put_labels(o, name, extra);
    struct sample *place = series_builder_room(&o->builder, 1);
    if (place)
        *place = sample;
    series_builder_end(&o->builder, 1);
    return o->builder.status;
}

static struct str number_text(struct arena *arena, double number)
{
    char text[FLOAT_TEXT_MAX];
    return arena_str(arena, (struct str){text, float_text_plain(text, number)});
}

/* --- data points --- */

/* The fields of all kinds of points; where their numbers differ, `attributes` and `flags` say. */
struct point_kind {
    uint32_t attributes, flags, exemplars;
};

static const struct point_kind GAUGE = {7, 8, 5}, SUM = {7, 8, 5}, HISTOGRAM = {9, 10, 8}, EXPONENTIAL = {1, 10, 11},
                               SUMMARY = {7, 8, 0};

struct point {
    const struct point_kind *kind;
    struct otlp_attributes attributes;
    int64_t time_ms;
    uint64_t flags, count;
    double value, sum;
    bool has_sum;
    struct str counts, bounds; /* packed; of histograms */
    int32_t scale;             /* this and the next three: of exponential histograms */
    uint64_t zero_count;
    struct str positive, negative;
    size_t exemplars_n; /* in the message */
    struct otlp_exemplars exemplars;
    struct str message;
};

static void read_exponential_field(struct point *point, const struct wire_field *field)
{
    if (field->number == 6 && field->type == WIRE_VARINT)
        point->scale = (int32_t)wire_from_zigzag((uint32_t)field->value);
    else if (field->number == 7 && field->type == WIRE_FIXED64)
        point->zero_count = field->value;
    else if (otlp_is_bytes(field, 8) || otlp_is_bytes(field, 9))
        *(field->number == 8 ? &point->positive : &point->negative) = field->bytes;
}

static enum status read_point_field(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct point *point = arg;
    bool number = point->kind == &GAUGE || point->kind == &SUM;
    if (otlp_is_bytes(field, point->kind->attributes))
        return otlp_add_attribute(o, &point->attributes, field->bytes);
    if (field->number == point->kind->flags && field->type == WIRE_VARINT)
        point->flags = field->value;
    else if (point->kind->exemplars && otlp_is_bytes(field, point->kind->exemplars))
        point->exemplars_n++;
    else if (field->type == WIRE_FIXED64 && field->number == 3)
        point->time_ms = (int64_t)(field->value / 1000000);
    else if (field->type == WIRE_FIXED64 && field->number == 4 && number)
        point->value = double_from_bits(field->value);
    else if (field->type == WIRE_FIXED64 && field->number == 6 && number)
        point->value = (double)(int64_t)field->value;
    else if (field->type == WIRE_FIXED64 && field->number == 4)
        point->count = field->value;
    else if (field->type == WIRE_FIXED64 && field->number == 5) {
        point->sum = double_from_bits(field->value);
        point->has_sum = true;
    } else if (otlp_is_bytes(field, 6) && point->kind == &HISTOGRAM)
        point->counts = field->bytes;
    else if (otlp_is_bytes(field, 7) && point->kind == &HISTOGRAM)
        point->bounds = field->bytes;
    else if (point->kind == &EXPONENTIAL)
        read_exponential_field(point, field);
    return OK;
}

static struct sample sample_of(const struct point *point, double value)
{
    return (struct sample){point->time_ms, point->flags & NO_RECORDED_VALUE ? double_from_bits(STALE_NAN_BITS) : value};
}

static enum status emit_sum_and_count(struct otlp *o, struct str name, const struct point *point)
{
    struct str sum = joined(o->arena, name, '_', STR("sum")), count = joined(o->arena, name, '_', STR("count"));
    const struct label none = {STR(""), STR("")};
    enum status status = sum.ptr && count.ptr ? OK : otlp_no_memory(o);
    if (status == OK && (point->has_sum || point->kind == &SUMMARY))
        status = emit(o, sum, none, sample_of(point, point->sum));
    if (status == OK)
        status = emit(o, count, none, sample_of(point, (double)point->count));
    return status;
}

static enum status emit_bucket(struct otlp *o, struct str name, struct str le, struct point *point, size_t number,
                               uint64_t count)
{
    struct str bucket = joined(o->arena, name, '_', STR("bucket"));
    if (!bucket.ptr || !le.ptr)
        return otlp_no_memory(o);
    enum status status = otlp_exemplars_put(o, &point->exemplars, number);
    return status == OK ? emit(o, bucket, (struct label){STR("le"), le}, sample_of(point, (double)count)) : status;
}

static enum status emit_histogram(struct otlp *o, struct str name, struct point *point)
{
    struct wire_in counts = wire_in(point->counts), bounds = wire_in(point->bounds);
    size_t shorter = point->counts.len < point->bounds.len ? point->counts.len : point->bounds.len;
    size_t buckets_n = shorter / sizeof(uint64_t);
    uint64_t all = 0, count, bound;
    enum status status = emit_sum_and_count(o, name, point);
    if (status == OK)
        status = otlp_exemplars_spread(o, &point->exemplars, point->bounds, buckets_n);
    for (size_t i = 0; status == OK && i < buckets_n; i++) {
        if (!wire_get_fixed64(&bounds, &bound) || !wire_get_fixed64(&counts, &count))
            break;
        all += count;
        status = emit_bucket(o, name, number_text(o->arena, double_from_bits(bound)), point, i, all);
    }
    return status == OK ? emit_bucket(o, name, STR("+Inf"), point, buckets_n, point->count) : status;
}

static void describe_wrong(struct otlp *o, struct str name, const struct error *wrong)
{
    struct write_request *request = &o->out->request;
    struct series_builder *builder = &o->builder;
    if (request->invalid_histograms++ || builder->status != OK)
        return;
    put_labels(o, name, (struct label){STR(""), STR("")});
    struct labels labels = {builder->labels + builder->open_label, builder->labels_n - builder->open_label};
    qsort(builder->labels + builder->open_label, labels.n, sizeof *labels.at, by_key);
    write_labels_describe(&request->invalid_histogram, wrong->message, " for series ", labels);
    series_builder_drop(builder);
}

static enum status emit_exponential(struct otlp *o, struct str name, struct point *point)
{
    struct otlp_exponential in = {point->time_ms,  point->flags & NO_RECORDED_VALUE,
                                  point->scale,    point->sum,
                                  point->count,    point->zero_count,
                                  point->positive, point->negative};
    struct native_histogram histogram;
    struct histogram_sample sample;
    struct error wrong;
    enum status status = otlp_exponential_read(o, &in, &histogram, &wrong);
    if (status == OK && wrong.status == OK)
        wrong.status = native_histogram_check(&histogram, &wrong);
    if (status == OK && wrong.status == OK)
        status = native_histogram_store(o->arena, &histogram, &sample, o->reterr);
    arena_reset(&o->scratch);
    if (status != OK)
        return status;
    if (wrong.status != OK) {
        describe_wrong(o, name, &wrong);
        o->out->request.invalid_exemplars += point->exemplars.n;
        return o->builder.status;
    }
    series_builder_histogram(&o->builder, &sample);
    put_labels(o, name, (struct label){STR(""), STR("")});
    status = otlp_exemplars_put(o, &point->exemplars, 0);
    series_builder_end(&o->builder, 0);
    return status == OK ? o->builder.status : status;
}

struct quantile {
    double at, value;
};

static enum status read_quantile(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct quantile *quantile = arg;
    (void)o;
    if (field->type == WIRE_FIXED64 && (field->number == 1 || field->number == 2))
        *(field->number == 1 ? &quantile->at : &quantile->value) = double_from_bits(field->value);
    return OK;
}

static enum status emit_summary(struct otlp *o, struct str name, const struct point *point)
{
    enum status status = emit_sum_and_count(o, name, point);
    struct wire_in in = wire_in(point->message);
    struct wire_field field;
    while (status == OK && in.at < in.end && wire_get_field(&in, &field)) {
        struct quantile quantile = {0, 0};
        if (!otlp_is_bytes(&field, 6))
            continue;
        status = otlp_each_field(o, field.bytes, "ValueAtQuantile", read_quantile, &quantile);
        struct str at = number_text(o->arena, quantile.at);
        if (status == OK)
            status = at.ptr ? emit(o, name, (struct label){STR("quantile"), at}, sample_of(point, quantile.value))
                            : otlp_no_memory(o);
    }
    return status;
}

static enum status read_point(struct otlp *o, struct str bytes, struct str name, const struct point_kind *kind)
{
    struct point point = {
        .kind = kind, .counts = STR(""), .bounds = STR(""), .positive = STR(""), .negative = STR(""), .message = bytes};
    enum status status = otlp_each_field(o, bytes, "a data point", read_point_field, &point);
    const char *problem = NULL;
    if (status == OK)
        status = label_set(o, &point.attributes, false, &problem);
    if (status != OK)
        return status;
    if (problem) {
        reject(o, 1, problem, name);
        o->out->request.invalid_exemplars += point.exemplars_n;
        return OK;
    }
    if (kind == &GAUGE)
        o->out->request.exemplars_skipped += point.exemplars_n;
    else
        status = otlp_exemplars_read(o, bytes, kind->exemplars, point.exemplars_n, &point.exemplars);
    if (status != OK)
        return status;
    o->min_ms = point.time_ms < o->min_ms ? point.time_ms : o->min_ms;
    o->max_ms = point.time_ms > o->max_ms ? point.time_ms : o->max_ms;
    if (kind == &HISTOGRAM)
        return emit_histogram(o, name, &point);
    if (kind == &EXPONENTIAL)
        return emit_exponential(o, name, &point);
    if (kind == &SUMMARY)
        return emit_summary(o, name, &point);
    status = otlp_exemplars_put(o, &point.exemplars, 0);
    return status == OK ? emit(o, name, (struct label){STR(""), STR("")}, sample_of(&point, point.value)) : status;
}

/* --- metrics --- */

enum metric_field { /* of Metric.data */
    FIELD_GAUGE = 5,
    FIELD_SUM = 7,
    FIELD_HISTOGRAM = 9,
    FIELD_EXPONENTIAL = 10,
    FIELD_SUMMARY = 11
};

struct metric {
    struct str name, help, unit, data;
    uint32_t kind; /* enum metric_field; 0: none */
    uint64_t temporality;
    bool monotonic;
    size_t points_n;
};

static enum status read_metric_field(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct metric *metric = arg;
    (void)o;
    if (field->type != WIRE_BYTES)
        return OK;
    if (field->number >= 1 && field->number <= 3)
        *(field->number == 1 ? &metric->name : field->number == 2 ? &metric->help : &metric->unit) = field->bytes;
    else if (field->number == FIELD_GAUGE || field->number == FIELD_SUM || field->number == FIELD_HISTOGRAM ||
             field->number == FIELD_EXPONENTIAL || field->number == FIELD_SUMMARY) {
        metric->kind = field->number;
        metric->data = field->bytes;
    }
    return OK;
}

static enum status read_data_field(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct metric *metric = arg;
    (void)o;
    if (field->number == 2 && field->type == WIRE_VARINT)
        metric->temporality = field->value;
    else if (field->number == 3 && field->type == WIRE_VARINT)
        metric->monotonic = field->value != 0;
    else if (otlp_is_bytes(field, 1))
        metric->points_n++;
    return OK;
}

static enum metric_type type_of(const struct metric *metric)
{
    switch (metric->kind) {
    case FIELD_SUM:
        return metric->monotonic ? METRIC_COUNTER : METRIC_GAUGE;
    case FIELD_HISTOGRAM:
    case FIELD_EXPONENTIAL:
        return METRIC_HISTOGRAM;
    case FIELD_SUMMARY:
        return METRIC_SUMMARY;
    default:
        return METRIC_GAUGE;
    }
}

struct points {
    struct str name;
    const struct point_kind *kind;
};

static enum status read_points(struct otlp *o, const struct wire_field *field, void *arg)
{
    const struct points *points = arg;
    return otlp_is_bytes(field, 1) ? read_point(o, field->bytes, points->name, points->kind) : OK;
}

/* Metrics whose points are left out; true if this is one. */
static bool leave_out(struct otlp *o, const struct metric *metric)
{
    bool aggregated = metric->kind == FIELD_SUM || metric->kind == FIELD_HISTOGRAM || metric->kind == FIELD_EXPONENTIAL;
    if (metric->kind == 0)
        reject(o, metric->points_n, "unsupported metric type of metric", metric->name);
    else if (aggregated && metric->temporality != CUMULATIVE)
        reject(o, metric->points_n,
               metric->temporality == DELTA
                   ? "invalid temporality and type combination (delta; only cumulative is stored) for metric"
                   : "invalid temporality and type combination for metric",
               metric->name);
    else
        return false;
    return true;
}

static enum status read_metric(struct otlp *o, struct str bytes)
{
    struct metric metric = {.name = STR(""), .help = STR(""), .unit = STR(""), .data = STR("")};
    enum status status = otlp_each_field(o, bytes, "Metric", read_metric_field, &metric);
    if (status == OK)
        status = otlp_each_field(o, metric.data, "a metric's data", read_data_field, &metric);
    o->out->points_n += metric.points_n;
    if (status != OK || leave_out(o, &metric) || metric.points_n == 0)
        return status;
    enum otlp_kind kind = metric.kind == FIELD_GAUGE                     ? OTLP_GAUGE
                          : metric.kind == FIELD_SUM && metric.monotonic ? OTLP_COUNTER
                                                                         : OTLP_OTHER;
    struct points points = {otlp_metric_name(o->arena, metric.name, metric.unit, kind),
                            metric.kind == FIELD_HISTOGRAM     ? &HISTOGRAM
                            : metric.kind == FIELD_EXPONENTIAL ? &EXPONENTIAL
                            : metric.kind == FIELD_SUMMARY     ? &SUMMARY
                            : metric.kind == FIELD_SUM         ? &SUM
                                                               : &GAUGE};
    struct metric_metadata metadata = {points.name, type_of(&metric), metric.help,
                                       otlp_unit_name(o->arena, metric.unit)};
    if (!points.name.ptr || !metadata.unit.ptr)
        return otlp_no_memory(o);
    if (points.name.len == 0) {
        reject(o, metric.points_n, "no letter or digit in the name of metric", metric.name);
        return OK;
    }
    series_builder_metadata(&o->builder, &metadata);
    return otlp_each_field(o, metric.data, "a metric's data", read_points, &points);
}

static enum status read_scope(struct otlp *o, const struct wire_field *field, void *arg)
{
    (void)arg;
    return otlp_is_bytes(field, 2) ? read_metric(o, field->bytes) : OK;
}

/* --- resources --- */

static enum status read_resource_attribute(struct otlp *o, const struct wire_field *field, void *arg)
{
    (void)arg;
    return otlp_is_bytes(field, 1) ? otlp_add_attribute(o, o->resource, field->bytes) : OK;
}

static enum status read_resource(struct otlp *o, const struct wire_field *field, void *arg)
{
    (void)arg;
    return otlp_is_bytes(field, 1) ? otlp_each_field(o, field->bytes, "Resource", read_resource_attribute, NULL) : OK;
}

static enum status name_job(struct otlp *o)
{
    const struct label *name = find_label(o->resource, STR("service.name"));
    const struct label *space = find_label(o->resource, STR("service.namespace"));
    const struct label *instance = find_label(o->resource, STR("service.instance.id"));
    o->job = name ? name->value : STR("");
    o->instance = instance ? instance->value : STR("");
    if (!name || !space || !space->value.len)
        return OK;
    o->job = joined(o->arena, space->value, '/', name->value);
    return o->job.ptr ? OK : otlp_no_memory(o);
}

/* Samples of value 1 over the time of the resource's points, as dense as the usual lookback wants them. */
static enum status emit_target_info(struct otlp *o)
{
    size_t described = 0;
    for (size_t i = 0; i < o->resource->n; i++)
        described += !is_identifying(o->resource->at[i].name);
    if (o->min_ms > o->max_ms || described == 0 || (!o->job.len && !o->instance.len))
        return OK;
    const char *problem;
    enum status status = label_set(o, o->resource, true, &problem);
    if (status != OK || problem)
        return status;
    const struct label none = {STR(""), STR("")};
    int64_t begin_ms = o->max_ms - o->min_ms > INFO_SPAN_MAX_MS ? o->max_ms : o->min_ms;
    for (int64_t at = begin_ms; status == OK && at < o->max_ms; at += INFO_STEP_MS)
        status = emit(o, STR("target_info"), none, (struct sample){at, 1});
    return status == OK ? emit(o, STR("target_info"), none, (struct sample){o->max_ms, 1}) : status;
}

static enum status read_scopes(struct otlp *o, const struct wire_field *field, void *arg)
{
    (void)arg;
    return otlp_is_bytes(field, 2) ? otlp_each_field(o, field->bytes, "ScopeMetrics", read_scope, NULL) : OK;
}

static enum status read_resource_metrics(struct otlp *o, const struct wire_field *field, void *arg)
{
    (void)arg;
    if (!otlp_is_bytes(field, 1))
        return OK;
    o->resource->n = o->resource->over = 0;
    o->min_ms = INT64_MAX;
    o->max_ms = INT64_MIN;
    enum status status = otlp_each_field(o, field->bytes, "ResourceMetrics", read_resource, NULL);
    if (status == OK)
        status = name_job(o);
    if (status == OK)
        status = otlp_each_field(o, field->bytes, "ResourceMetrics", read_scopes, NULL);
    return status == OK ? emit_target_info(o) : status;
}

enum status otlp_unpack(struct arena *arena, struct str message, const struct write_limits *limits,
                        struct otlp_request *ret_request, struct error *reterr)
{
    struct otlp o = {.arena = arena,
                     .message = message,
                     .out = ret_request,
                     .reterr = reterr,
                     .resource = ARENA_NEW(arena, struct otlp_attributes),
                     .labels = ARENA_NEW(arena, struct otlp_attributes),
                     .filtered = ARENA_NEW(arena, struct otlp_attributes)};
    *ret_request = (struct otlp_request){.points_n = 0};
    if (!o.resource || !o.labels || !o.filtered)
        return otlp_no_memory(&o);
    arena_init(&o.scratch, SCRATCH_MAX_BYTES);
    series_builder_init(&o.builder, arena, limits, OTLP_WHAT, &ret_request->request, reterr);
    enum status status = otlp_each_field(&o, message, "ExportMetricsServiceRequest", read_resource_metrics, NULL);
    arena_release(&o.scratch);
    return status == OK ? series_builder_finish(&o.builder) : status;
}

void otlp_response(struct strbuf *out, size_t rejected_points, struct str why)
{
    if (rejected_points == 0 && why.len == 0)
        return;
    size_t size = 1 + wire_varint_size(rejected_points) + wire_bytes_size(why.len);
    unsigned char *begin = (unsigned char *)strbuf_reserve(out, size + WIRE_BYTES_HEAD_MAX);
    if (!begin)
        return;
    unsigned char *at = wire_put_head(begin, 1, size);
    *at++ = WIRE_TAG(1, WIRE_VARINT);
    at = wire_put_varint(at, rejected_points);
    at = wire_put_bytes(at, WIRE_TAG(2, WIRE_BYTES), why);
    strbuf_commit(out, (size_t)(at - begin));
}
