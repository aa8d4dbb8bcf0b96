/* backend/exemplar_ring.c: see exemplar_ring.h. */
#include "backend/exemplar_ring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/utf8.h"

/* How many of the last of a series are looked at for an equal one: more than a sample of a native histogram brings. */
#define LOOK_BACK 64

/* One allocation: the struct, its labels, their texts. So is ring_series. */
struct entry {
    struct exemplar is;
    struct ring_series *series;
    struct entry *before, *after; /* of the same series, older and newer */
    uint64_t number;
};

struct ring_series {
    struct labels labels;
    uint64_t hash;
    struct ring_series *next;      /* in its bucket */
    struct entry *oldest, *newest; /* those staged included; there is one */
};

struct exemplar_ring {
    pthread_rwlock_t lock; /* guards what follows against queries, but for the staged ones */
    size_t max, n;
    struct entry **slots; /* max of them: number % max, NULL: free */
    struct ring_series **buckets;
    size_t buckets_n; /* a power of two */
    size_t series_n;
    uint64_t next; /* numbers below it are kept, others staged */
    struct entry **staged;
    size_t staged_n, staged_capacity;
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for exemplars");
}

enum status exemplar_ring_new(size_t max, struct exemplar_ring **ret_ring, struct error *reterr)
{
    struct exemplar_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return no_memory(reterr);
    pthread_rwlock_init(&ring->lock, NULL);
    ring->max = max;
    ring->buckets_n = 16;
    while (ring->buckets_n < max)
        ring->buckets_n *= 2;
    ring->slots = calloc(max ? max : 1, sizeof(struct entry *));
    ring->buckets = calloc(ring->buckets_n, sizeof(struct ring_series *));
    if (!ring->slots || !ring->buckets) {
        exemplar_ring_free(ring);
        return no_memory(reterr);
    }
    *ret_ring = ring;
    return OK;
}

void exemplar_ring_free(struct exemplar_ring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; ring->buckets && i < ring->buckets_n; i++) {
        for (struct ring_series *series = ring->buckets[i], *next; series; series = next) {
            next = series->next;
            for (struct entry *entry = series->oldest, *after; entry; entry = after) {
                after = entry->after;
                free(entry);
            }
            free(series);
        }
    }
    free(ring->slots);
    free(ring->buckets);
    free(ring->staged);
    pthread_rwlock_destroy(&ring->lock);
    free(ring);
}

/* --- copies --- */

static size_t labels_bytes(struct labels labels)
{
    size_t bytes = labels.n * sizeof(struct label);
    for (size_t i = 0; i < labels.n; i++)
        bytes += labels.at[i].name.len + labels.at[i].value.len;
    return bytes;
}

static struct str put_text(char **at, struct str text)
{
    struct str copy = {*at, text.len};
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return copy;
}

/* At a place of labels_bytes. */
static struct labels put_labels(void *place, struct labels labels)
{
    struct label *at = place;
    char *texts = (char *)(at + labels.n);
    for (size_t i = 0; i < labels.n; i++) {
        at[i].name = put_text(&texts, labels.at[i].name);
        at[i].value = put_text(&texts, labels.at[i].value);
    }
    return (struct labels){at, labels.n};
}

/* --- series --- */

static struct ring_series **bucket_of(const struct exemplar_ring *ring, uint64_t hash)
{
    return &ring->buckets[hash & (ring->buckets_n - 1)];
}

static struct ring_series *find_series(const struct exemplar_ring *ring, struct labels labels, uint64_t hash)
{
    struct ring_series *series = *bucket_of(ring, hash);
    while (series && (series->hash != hash || !labels_eq(series->labels, labels)))
        series = series->next;
    return series;
}

static struct ring_series *add_series(struct exemplar_ring *ring, struct labels labels, uint64_t hash)
{
    struct ring_series *series = malloc(sizeof *series + labels_bytes(labels));
    if (!series)
        return NULL;
    struct ring_series **bucket = bucket_of(ring, hash);
    *series = (struct ring_series){.labels = put_labels(series + 1, labels), .hash = hash, .next = *bucket};
    *bucket = series;
    ring->series_n++;
    return series;
}

static void remove_series(struct exemplar_ring *ring, struct ring_series *series)
{
    struct ring_series **place = bucket_of(ring, series->hash);
    while (*place != series)
        place = &(*place)->next;
    *place = series->next;
    ring->series_n--;
    free(series);
}

/* --- entries --- */

/* Behind the newest of its series. NULL: no memory. */
static struct entry *add_entry(struct exemplar_ring *ring, struct labels labels, const struct exemplar *is,
                               uint64_t number)
{
    uint64_t hash = labels_hash(labels);
    struct ring_series *series = find_series(ring, labels, hash);
    struct entry *entry = malloc(sizeof *entry + labels_bytes(is->labels));
    if (entry && !series)
        series = add_series(ring, labels, hash);
    if (!entry || !series) {
        free(entry);
        return NULL;
    }
    *entry = (struct entry){
        {put_labels(entry + 1, is->labels), is->value, is->time_ms}, series, series->newest, NULL, number};
    *(series->newest ? &series->newest->after : &series->oldest) = entry;
    series->newest = entry;
    return entry;
}

/* The last of a series takes the series with it. */
static void remove_entry(struct exemplar_ring *ring, struct entry *entry)
{
    struct ring_series *series = entry->series;
    *(entry->before ? &entry->before->after : &series->oldest) = entry->after;
    *(entry->after ? &entry->after->before : &series->newest) = entry->before;
    free(entry);
    if (!series->oldest)
        remove_series(ring, series);
}

static void keep_entry(struct exemplar_ring *ring, struct entry *entry)
{
    struct entry **slot = &ring->slots[entry->number % ring->max];
    if (*slot)
        remove_entry(ring, *slot);
    else
        ring->n++;
    *slot = entry;
    ring->next = entry->number + 1;
}

/* --- judging --- */

static bool is_too_long(struct labels labels)
{
    size_t characters = 0;
    for (size_t i = 0; i < labels.n; i++)
        characters += utf8_characters(labels.at[i].name) + utf8_characters(labels.at[i].value);
    return characters > EXEMPLAR_LABELS_MAX_CHARACTERS;
}

static bool is_equal(const struct exemplar *a, const struct exemplar *b)
{
    return a->time_ms == b->time_ms && a->value == b->value && labels_eq(a->labels, b->labels);
}

static bool is_before(const struct exemplar *a, const struct exemplar *b)
{
    if (a->time_ms != b->time_ms)
        return a->time_ms < b->time_ms;
    return a->value < b->value || (a->value == b->value && labels_cmp(a->labels, b->labels) < 0);
}

static enum exemplar_fate judge(const struct exemplar_ring *ring, struct labels labels, const struct exemplar *is)
{
    if (ring->max == 0)
        return EXEMPLAR_NOT_KEPT;
    if (is_too_long(is->labels))
        return EXEMPLAR_TOO_LONG;
    const struct ring_series *series = find_series(ring, labels, labels_hash(labels));
    if (!series)
        return EXEMPLAR_WRITTEN;
    const struct entry *entry = series->newest;
    for (unsigned n = 0; entry && n < LOOK_BACK && entry->is.time_ms >= is->time_ms; n++, entry = entry->before)
        if (is_equal(&entry->is, is))
            return EXEMPLAR_DUPLICATE;
    return is_before(is, &series->newest->is) ? EXEMPLAR_OUT_OF_ORDER : EXEMPLAR_WRITTEN;
}

/* --- changes --- */

enum status exemplar_ring_stage(struct exemplar_ring *ring, struct labels series, const struct exemplar *exemplar,
                                enum exemplar_fate *ret_fate, struct error *reterr)
{
    *ret_fate = judge(ring, series, exemplar);
    if (*ret_fate != EXEMPLAR_WRITTEN)
        return OK;
    struct entry *entry = NULL;
    if (array_reserve(&ring->staged, &ring->staged_capacity, ring->staged_n + 1, sizeof(struct entry *))) {
        pthread_rwlock_wrlock(&ring->lock);
        entry = add_entry(ring, series, exemplar, ring->next + ring->staged_n);
        pthread_rwlock_unlock(&ring->lock);
    }
    if (!entry)
        return no_memory(reterr);
    ring->staged[ring->staged_n++] = entry;
    return OK;
}

void exemplar_ring_keep(struct exemplar_ring *ring)
{
    if (ring->staged_n == 0)
        return;
    pthread_rwlock_wrlock(&ring->lock);
    for (size_t i = 0; i < ring->staged_n; i++)
        keep_entry(ring, ring->staged[i]);
    pthread_rwlock_unlock(&ring->lock);
    ring->staged_n = 0;
}

void exemplar_ring_discard(struct exemplar_ring *ring)
{
    if (ring->staged_n == 0)
        return;
    pthread_rwlock_wrlock(&ring->lock);
    while (ring->staged_n > 0)
        remove_entry(ring, ring->staged[--ring->staged_n]);
    pthread_rwlock_unlock(&ring->lock);
}

size_t exemplar_ring_staged_n(const struct exemplar_ring *ring)
{
    return ring->staged_n;
}

struct staged_exemplar exemplar_ring_staged(const struct exemplar_ring *ring, size_t i)
{
    PRE(i < ring->staged_n);
    const struct entry *entry = ring->staged[i];
    return (struct staged_exemplar){entry->number, entry->series->labels, &entry->is};
}

enum status exemplar_ring_restore(struct exemplar_ring *ring, const struct staged_exemplar *exemplar,
                                  struct error *reterr)
{
    PRE(ring->staged_n == 0 && ring->max > 0);
    pthread_rwlock_wrlock(&ring->lock);
    struct entry *entry = add_entry(ring, exemplar->series, exemplar->is, exemplar->number);
    if (entry)
        keep_entry(ring, entry);
    pthread_rwlock_unlock(&ring->lock);
    return entry ? OK : no_memory(reterr);
}

uint64_t exemplar_ring_next(const struct exemplar_ring *ring)
{
    return ring->next;
}

size_t exemplar_ring_max(const struct exemplar_ring *ring)
{
    return ring->max;
}

size_t exemplar_ring_n(struct exemplar_ring *ring)
{
    pthread_rwlock_rdlock(&ring->lock);
    size_t n = ring->n;
    pthread_rwlock_unlock(&ring->lock);
    return n;
}

/* --- queries --- */

/* Series that have exemplars in the span, and which of them the selectors take. */
struct candidates {
    const struct ring_series **at;
    size_t n;
    bool *taken;        /* by any selector so far */
    bool *all, *one;    /* by the matchers of one so far; by one matcher */
    struct str *values; /* of one matcher's label */
};

static bool is_wanted(const struct exemplar_ring *ring, const struct entry *entry, struct time_span span)
{
    return entry->number < ring->next && entry->is.time_ms >= span.min_ms && entry->is.time_ms <= span.max_ms;
}

static size_t count_wanted(const struct exemplar_ring *ring, const struct ring_series *series, struct time_span span)
{
    size_t n = 0;
    for (const struct entry *entry = series->oldest; entry && entry->number < ring->next; entry = entry->after)
        n += is_wanted(ring, entry, span);
    return n;
}

static enum status find_candidates(const struct exemplar_ring *ring, struct time_span span, struct arena *arena,
                                   struct candidates *c, struct error *reterr)
{
    size_t n = ring->series_n;
    *c = (struct candidates){.at = ARENA_ARRAY(arena, const struct ring_series *, n + 1),
                             .taken = ARENA_ARRAY(arena, bool, n + 1),
                             .all = ARENA_ARRAY(arena, bool, n + 1),
                             .one = ARENA_ARRAY(arena, bool, n + 1),
                             .values = ARENA_ARRAY(arena, struct str, n + 1)};
    if (arena->exhausted)
        return no_memory(reterr);
    for (size_t i = 0; i < ring->buckets_n; i++)
        for (const struct ring_series *series = ring->buckets[i]; series; series = series->next)
            if (count_wanted(ring, series, span) > 0)
                c->at[c->n++] = series;
    return OK;
}

/* Narrows `all` to the series that the matcher takes. */
static enum status match(struct candidates *c, const struct matcher *matcher, const struct pattern_engine *patterns,
                         struct error *reterr)
{
    bool is_regex = matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
    bool is_negated = matcher->op == MATCH_NOT_EQUAL || matcher->op == MATCH_NOT_REGEX;
    for (size_t i = 0; i < c->n; i++)
        c->values[i] = labels_get(c->at[i]->labels, matcher->name);
    for (size_t i = 0; !is_regex && i < c->n; i++)
        c->one[i] = str_eq(c->values[i], matcher->value);
    if (is_regex) {
        enum status status = patterns->match_all(patterns->arg, matcher->value, c->values, c->n, c->one, reterr);
        if (status != OK)
            return status;
    }
    for (size_t i = 0; i < c->n; i++)
        c->all[i] = c->all[i] && c->one[i] != is_negated;
    return OK;
}

static enum status choose(struct candidates *c, const struct series_query *query, const struct pattern_engine *patterns,
                          struct error *reterr)
{
    for (size_t i = 0; i < query->selectors_n; i++) {
        const struct expr_selector *selector = &query->selectors[i];
        memset(c->all, true, c->n);
        for (size_t k = 0; k < selector->matchers_n; k++) {
            enum status status = match(c, &selector->matchers[k], patterns, reterr);
            if (status != OK)
                return status;
        }
        for (size_t k = 0; k < c->n; k++)
            c->taken[k] = c->taken[k] || c->all[k];
    }
    return OK;
}

static void copy_series(const struct exemplar_ring *ring, const struct ring_series *series, struct time_span span,
                        struct exemplar_list *list)
{
    struct exemplar *at = ARENA_ARRAY(&list->arena, struct exemplar, count_wanted(ring, series, span));
    struct exemplar_series *to = &list->at[list->n++];
    *to = (struct exemplar_series){.labels = labels_copy(&list->arena, series->labels), .exemplars = at};
    for (const struct entry *entry = series->oldest; at && entry; entry = entry->after)
        if (is_wanted(ring, entry, span))
            at[to->exemplars_n++] =
                (struct exemplar){labels_copy(&list->arena, entry->is.labels), entry->is.value, entry->is.time_ms};
}

static int compare_series(const void *a, const void *b)
{
    const struct exemplar_series *x = a, *y = b;
    return labels_cmp(x->labels, y->labels);
}

static enum status fill(const struct exemplar_ring *ring, const struct series_query *query,
                        const struct pattern_engine *patterns, struct exemplar_list *list, struct error *reterr)
{
    struct candidates candidates;
    enum status status = find_candidates(ring, query->span, &list->arena, &candidates, reterr);
    if (status == OK)
        status = choose(&candidates, query, patterns, reterr);
    if (status != OK)
        return status;
    list->at = ARENA_ARRAY(&list->arena, struct exemplar_series, candidates.n + 1);
    for (size_t i = 0; list->at && i < candidates.n; i++)
        if (candidates.taken[i])
            copy_series(ring, candidates.at[i], query->span, list);
    if (list->arena.exhausted)
        return no_memory(reterr);
    qsort(list->at, list->n, sizeof *list->at, compare_series);
    return OK;
}

enum status exemplar_ring_query(struct exemplar_ring *ring, const struct series_query *query,
                                const struct pattern_engine *patterns, struct exemplar_list **ret_list,
                                struct error *reterr)
{
    PRE(query->limit == 0 && query->selectors_n > 0);
    struct exemplar_list *list = calloc(1, sizeof *list);
    if (!list)
        return no_memory(reterr);
    arena_init(&list->arena, SIZE_MAX);
    pthread_rwlock_rdlock(&ring->lock);
    enum status status = fill(ring, query, patterns, list, reterr);
    pthread_rwlock_unlock(&ring->lock);
    if (status == OK)
        *ret_list = list;
    else
        exemplar_list_free(list);
    return status;
}
