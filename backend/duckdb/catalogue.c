/* backend/duckdb/catalogue.c: see catalogue.h. */
#include "backend/duckdb/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define SLOTS_MIN 1024u

/* --- hash tables of numbers --- */

static void slots_put(struct number_slots *slots, uint64_t hash, uint32_t number)
{
    uint64_t at = hash & (slots->size - 1);
    while (slots->at[at])
        at = (at + 1) & (slots->size - 1);
    slots->at[at] = number + 1;
    slots->used++;
}

/* An empty table for so many numbers: at most two thirds full, with room to grow by half. */
static bool slots_make(struct number_slots *slots, uint64_t numbers)
{
    uint64_t size = SLOTS_MIN;
    while (3 * (numbers + numbers / 2 + 1) > 2 * size)
        size *= 2;
    uint32_t *at = calloc(size, sizeof *at);
    if (!at)
        return false;
    free(slots->at);
    *slots = (struct number_slots){.at = at, .size = size};
    return true;
}

static bool slots_full(const struct number_slots *slots)
{
    return 3 * (slots->used + 1) > 2 * slots->size;
}

static uint64_t name_hash(struct str text)
{
    return labels_hash((struct labels){&(struct label){.name = text}, 1});
}

static uint64_t value_hash(const struct catalogue *c, uint32_t name, struct str text)
{
    return labels_hash((struct labels){&(struct label){c->names[name].text, text}, 1});
}

static bool series_slots_fill(struct catalogue *c)
{
    uint64_t numbers = 0;
    for (uint32_t i = 0; i < c->n; i++)
        numbers += catalogue_at(c, i) != NULL;
    if (!slots_make(&c->series_slots, numbers))
        return false;
    for (uint32_t i = 0; i < c->n; i++) {
        if (catalogue_at(c, i))
            slots_put(&c->series_slots, catalogue_at(c, i)->hash, i);
    }
    return true;
}

static bool name_slots_fill(struct catalogue *c)
{
    if (!slots_make(&c->name_slots, c->names_n))
        return false;
    for (uint32_t i = 0; i < c->names_n; i++)
        slots_put(&c->name_slots, name_hash(c->names[i].text), i);
    return true;
}

static bool value_slots_fill(struct catalogue *c)
{
    if (!slots_make(&c->value_slots, c->values_n))
        return false;
    for (uint32_t i = 0; i < c->values_n; i++) {
        if (c->values[i].text.ptr)
            slots_put(&c->value_slots, value_hash(c, c->values[i].name, c->values[i].text), i);
    }
    return true;
}

/* Room for one more of each, whose size is `each`. */
static bool grow(void **at, uint32_t *capacity, uint32_t n, size_t each)
{
    if (n < *capacity)
        return true;
    uint64_t wanted = n < 4 ? (uint64_t)n + 1 : (uint64_t)n + n / 2;
    wanted = wanted > UINT32_MAX ? UINT32_MAX : wanted;
    void *grown = wanted > n ? realloc(*at, wanted * each) : NULL;
    if (!grown)
        return false;
    *at = grown;
    *capacity = (uint32_t)wanted;
    return true;
}

static char *text_copy(struct str text)
{
    char *copy = malloc(text.len + 1);
    if (copy)
        memcpy(copy, text.len ? text.ptr : "", text.len);
    return copy;
}

/* --- names and values --- */

bool catalogue_find_name(const struct catalogue *c, struct str text, uint32_t *ret_name)
{
    const struct number_slots *slots = &c->name_slots;
    for (uint64_t at = name_hash(text) & (slots->size - 1); slots->at[at]; at = (at + 1) & (slots->size - 1)) {
        if (str_eq(c->names[slots->at[at] - 1].text, text)) {
            *ret_name = slots->at[at] - 1;
            return true;
        }
    }
    return false;
}

bool catalogue_find_value(const struct catalogue *c, uint32_t name, struct str text, uint32_t *ret_value)
{
    const struct number_slots *slots = &c->value_slots;
    for (uint64_t at = value_hash(c, name, text) & (slots->size - 1); slots->at[at];
         at = (at + 1) & (slots->size - 1)) {
        const struct known_value *value = &c->values[slots->at[at] - 1];
        if (value->name == name && str_eq(value->text, text)) {
            *ret_value = slots->at[at] - 1;
            return true;
        }
    }
    return false;
}

static bool intern_name(struct catalogue *c, struct str text, uint32_t *ret_name)
{
    if (catalogue_find_name(c, text, ret_name))
        return true;
    if (!grow((void **)&c->names, &c->names_capacity, c->names_n, sizeof *c->names) ||
        (slots_full(&c->name_slots) && !name_slots_fill(c)))
        return false;
    char *copy = text_copy(text);
    if (!copy)
        return false;
    c->names[c->names_n] = (struct known_name){.text = {copy, text.len}};
    slots_put(&c->name_slots, name_hash(text), c->names_n);
    c->text_bytes += text.len;
    *ret_name = c->names_n++;
    return true;
}

/* Room among the values of a name, among all values and in their table. */
static bool reserve_value(struct catalogue *c, struct known_name *name)
{
    return grow((void **)&name->values, &name->capacity, name->values_n, sizeof *name->values) &&
           (c->free_value != CATALOGUE_NONE ||
            grow((void **)&c->values, &c->values_capacity, c->values_n, sizeof *c->values)) &&
           (!slots_full(&c->value_slots) || value_slots_fill(c));
}

static bool intern_value(struct catalogue *c, struct label label, uint32_t *ret_value)
{
    uint32_t name;
    if (!intern_name(c, label.name, &name))
        return false;
    if (catalogue_find_value(c, name, label.value, ret_value))
        return true;
    if (!reserve_value(c, &c->names[name]))
        return false;
    char *copy = text_copy(label.value);
    if (!copy)
        return false;
    uint32_t number = c->free_value;
    if (number != CATALOGUE_NONE)
        c->free_value = c->values[number].place;
    else
        number = c->values_n++;
    struct known_name *owner = &c->names[name];
    c->values[number] = (struct known_value){.text = {copy, label.value.len}, .name = name, .place = owner->values_n};
    owner->values[owner->values_n++] = number;
    slots_put(&c->value_slots, value_hash(c, name, label.value), number);
    c->text_bytes += label.value.len;
    *ret_value = number;
    return true;
}

/* Frees the values that no series holds any more; the table of slots is then filled anew. */
static void sweep_values(struct catalogue *c)
{
    for (uint32_t i = 0; i < c->values_n; i++) {
        struct known_value *value = &c->values[i];
        if (!value->text.ptr || value->held > 0)
            continue;
        struct known_name *name = &c->names[value->name];
        uint32_t last = name->values[--name->values_n];
        name->values[value->place] = last;
        c->values[last].place = value->place;
        c->text_bytes -= value->text.len;
        free((char *)value->text.ptr);
        free(value->series);
        *value = (struct known_value){.place = c->free_value};
        c->free_value = i;
    }
}

/* --- series --- */

struct known_series *catalogue_find(const struct catalogue *c, struct labels labels, uint64_t hash)
{
    const struct number_slots *slots = &c->series_slots;
    for (uint64_t at = hash & (slots->size - 1); slots->at[at]; at = (at + 1) & (slots->size - 1)) {
        struct known_series *series = catalogue_at(c, slots->at[at] - 1);
        if (!series || series->hash != hash || series->values_n != labels.n || series->gone)
            continue;
        unsigned i = 0;
        for (; i < labels.n; i++) {
            struct label label = catalogue_label(c, series, i);
            if (!str_eq(label.value, labels.at[i].value) || !str_eq(label.name, labels.at[i].name))
                break;
        }
        if (i == labels.n)
            return series;
    }
    return NULL;
}

/* The first series in the hash's slots is taken for the one to be found, as it nearly always is. */
void catalogue_prefetch(const struct catalogue *c, uint64_t hash, enum finding step)
{
    const uint32_t *slot = &c->series_slots.at[hash & (c->series_slots.size - 1)];
    if (step == FINDING_SLOT) {
        __builtin_prefetch(slot);
        return;
    }
    const struct known_series *block = *slot ? c->blocks[(*slot - 1) / CATALOGUE_BLOCK] : NULL;
    if (!block)
        return;
    const struct known_series *series = block + (*slot - 1) % CATALOGUE_BLOCK;
    if (step == FINDING_SERIES) {
        __builtin_prefetch(series);
        __builtin_prefetch((const char *)(series + 1) - 1); /* it need not lie in one line */
    } else {
        __builtin_prefetch(series->values);
    }
}

/* The zeroed place of a series' number; NULL when memory is short. */
static struct known_series *series_place(struct catalogue *c, uint32_t id)
{
    uint32_t block = id / CATALOGUE_BLOCK;
    if (block >= c->blocks_n) {
        uint64_t wanted = (uint64_t)block + block / 2 + 1;
        struct known_series **blocks = realloc(c->blocks, wanted * sizeof(struct known_series *));
        if (!blocks)
            return NULL;
        memset(blocks + c->blocks_n, 0, (wanted - c->blocks_n) * sizeof(struct known_series *));
        c->blocks = blocks;
        c->blocks_n = (uint32_t)wanted;
    }
    if (!c->blocks[block])
        c->blocks[block] = calloc(CATALOGUE_BLOCK, sizeof(struct known_series));
    return c->blocks[block] ? &c->blocks[block][id % CATALOGUE_BLOCK] : NULL;
}

/* Holds a value for a series, with room among its postings, so that publishing cannot fail. */
static bool hold_value(struct catalogue *c, struct label label, uint32_t *ret_value)
{
    if (!intern_value(c, label, ret_value))
        return false;
    struct known_value *value = &c->values[*ret_value];
    if (!grow((void **)&value->series, &value->capacity, value->held, sizeof *value->series))
        return false;
    value->held++;
    return true;
}

static struct known_series *add_locked(struct catalogue *c, struct labels labels, uint64_t hash, uint32_t id)
{
    struct known_series *series = series_place(c, id);
    uint32_t *values = labels.n <= UINT16_MAX ? malloc((labels.n + 1) * sizeof *values) : NULL;
    if (!series || !values || (slots_full(&c->series_slots) && !series_slots_fill(c))) {
        free(values);
        return NULL;
    }
    PRE(!series->values);
    for (size_t i = 0; i < labels.n; i++) {
        if (hold_value(c, labels.at[i], &values[i]))
            continue;
        while (i-- > 0)
            c->values[values[i]].held--;
        free(values);
        return NULL;
    }
    *series = (struct known_series){.hash = hash, .values = values, .id = id, .values_n = (uint16_t)labels.n};
    c->n = id >= c->n ? id + 1 : c->n;
    slots_put(&c->series_slots, hash, id);
    return series;
}

struct known_series *catalogue_add_as(struct catalogue *c, struct labels labels, uint64_t hash, uint32_t id)
{
    if (id == CATALOGUE_NONE)
        return NULL;
    pthread_rwlock_wrlock(&c->lock);
    struct known_series *series = add_locked(c, labels, hash, id);
    pthread_rwlock_unlock(&c->lock);
    c->metadata_labels |= labels_get(labels, STR("__type__")).len > 0 || labels_get(labels, STR("__unit__")).len > 0;
    return series;
}

struct known_series *catalogue_add(struct catalogue *c, struct labels labels, uint64_t hash)
{
    return catalogue_add_as(c, labels, hash, c->n);
}

enum status catalogue_copy_labels(const struct catalogue *c, uint32_t id, struct arena *arena,
                                  struct labels *ret_labels, struct error *reterr)
{
    const struct known_series *series = catalogue_at(c, id);
    size_t n = series ? series->values_n : 0;
    struct label *at = ARENA_ARRAY(arena, struct label, n ? n : 1);
    for (unsigned i = 0; at && i < n; i++) {
        struct label label = catalogue_label(c, series, i);
        at[i] = (struct label){arena_str(arena, label.name), arena_str(arena, label.value)};
    }
    if (arena->exhausted)
        return error_set(reterr, E_NOMEM, "the labels of a result do not fit in its memory limit of %zu bytes",
                         arena->cap_bytes);
    *ret_labels = (struct labels){at, n};
    return OK;
}

/* --- what readers see --- */

void catalogue_publish_begin(struct catalogue *c)
{
    pthread_rwlock_wrlock(&c->lock);
}

void catalogue_publish_end(struct catalogue *c)
{
    pthread_rwlock_unlock(&c->lock);
}

static void list_series(struct catalogue *c, struct known_series *series)
{
    for (unsigned i = 0; i < series->values_n; i++) {
        struct known_value *value = &c->values[series->values[i]];
        INVARIANT(value->series_n < value->capacity);
        value->series[value->series_n++] = series->id;
        c->names[value->name].series_n++;
    }
    c->listed_n++;
    series->listed = true;
}

void catalogue_publish(struct catalogue *c, struct known_series *series, int64_t oldest_ms, int64_t latest_ms)
{
    if (!series->listed) {
        list_series(c, series);
        series->oldest_ms = oldest_ms;
        series->latest_ms = latest_ms;
    }
    if (oldest_ms <= series->oldest_ms) {
        series->oldest_ms = oldest_ms;
        series->oldest_open = false;
    }
    if (latest_ms >= series->latest_ms) {
        series->latest_ms = latest_ms;
        series->latest_open = false;
    }
    c->oldest_ms = oldest_ms < c->oldest_ms ? oldest_ms : c->oldest_ms;
    c->latest_ms = latest_ms > c->latest_ms ? latest_ms : c->latest_ms;
}

void catalogue_mark_histograms(struct catalogue *c, struct known_series *series)
{
    if (series->has_histograms)
        return;
    pthread_rwlock_wrlock(&c->lock);
    series->has_histograms = c->has_histograms = true;
    for (unsigned i = 0; i < series->values_n; i++)
        c->values[series->values[i]].has_histograms = true;
    pthread_rwlock_unlock(&c->lock);
}

void catalogue_forget_before(struct catalogue *c, int64_t cut_ms, int64_t oldest_ms)
{
    pthread_rwlock_wrlock(&c->lock);
    for (uint32_t i = 0; i < c->n; i++) {
        struct known_series *series = catalogue_at(c, i);
        if (!series || series->oldest_ms >= cut_ms)
            continue;
        series->oldest_ms = series->oldest_ms < oldest_ms ? oldest_ms : series->oldest_ms;
        series->oldest_open = true;
        series->latest_open |= series->latest_ms < cut_ms;
    }
    c->oldest_ms = c->oldest_ms < oldest_ms ? oldest_ms : c->oldest_ms;
    pthread_rwlock_unlock(&c->lock);
}

void catalogue_loosen(struct catalogue *c, uint32_t id)
{
    pthread_rwlock_wrlock(&c->lock);
    struct known_series *series = catalogue_at(c, id);
    if (series)
        series->oldest_open = series->latest_open = true;
    pthread_rwlock_unlock(&c->lock);
}

/* --- taking out --- */

/* Takes series marked as gone out of the postings of a value. */
static void thin_postings(struct catalogue *c, struct known_value *value)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < value->series_n; i++) {
        if (!catalogue_at(c, value->series[i])->gone)
            value->series[kept++] = value->series[i];
    }
    c->names[value->name].series_n -= value->series_n - kept;
    value->series_n = kept;
    value->thins = false;
}

static void free_blocks(struct catalogue *c)
{
    for (uint32_t block = 0; block < c->blocks_n; block++) {
        unsigned used = 0;
        while (c->blocks[block] && used < CATALOGUE_BLOCK && !c->blocks[block][used].values)
            used++;
        if (used == CATALOGUE_BLOCK) {
            free(c->blocks[block]);
            c->blocks[block] = NULL;
        }
    }
}

/* Frees series that went two epochs ago: who may have seen them has left. Under the lock. Without memory for new tables
 * of slots the old ones stay: what they have too much leads to nothing, or to a value that has another place as well.
 */
static void reclaim(struct catalogue *c, uint32_t *first)
{
    if (*first == CATALOGUE_NONE)
        return;
    while (*first != CATALOGUE_NONE) {
        struct known_series *series = catalogue_at(c, *first);
        *first = series->next_gone;
        for (unsigned k = 0; k < series->values_n; k++)
            c->values[series->values[k]].held--;
        free(series->values);
        *series = (struct known_series){.values = NULL};
    }
    sweep_values(c);
    free_blocks(c);
    if (series_slots_fill(c))
        (void)value_slots_fill(c);
}

/* Goes on to the next epoch if nobody of the last is left. */
static void next_epoch(struct catalogue *c)
{
    pthread_mutex_lock(&c->readers_lock);
    bool free_now = c->readers[(c->epoch + 1) & 1] == 0;
    c->epoch += free_now;
    unsigned now = c->epoch & 1;
    pthread_mutex_unlock(&c->readers_lock);
    if (free_now)
        reclaim(c, &c->gone[now]);
}

void catalogue_remove(struct catalogue *c, const uint32_t *ids, size_t n)
{
    pthread_rwlock_wrlock(&c->lock);
    next_epoch(c);
    next_epoch(c);
    uint32_t *first = &c->gone[c->epoch & 1];
    for (size_t i = 0; i < n; i++) {
        struct known_series *series = catalogue_at(c, ids[i]);
        if (!series || series->gone)
            continue;
        series->gone = true;
        series->next_gone = *first;
        *first = ids[i];
        c->listed_n -= series->listed;
        for (unsigned k = 0; series->listed && k < series->values_n; k++)
            c->values[series->values[k]].thins = true;
    }
    for (uint32_t i = 0; i < c->values_n; i++) {
        if (c->values[i].thins)
            thin_postings(c, &c->values[i]);
    }
    pthread_rwlock_unlock(&c->lock);
}

unsigned catalogue_enter(struct catalogue *c)
{
    pthread_mutex_lock(&c->readers_lock);
    unsigned entered = c->epoch & 1;
    c->readers[entered]++;
    pthread_mutex_unlock(&c->readers_lock);
    return entered;
}

void catalogue_leave(struct catalogue *c, unsigned entered)
{
    pthread_mutex_lock(&c->readers_lock);
    c->readers[entered]--;
    pthread_mutex_unlock(&c->readers_lock);
}

/* --- life --- */

enum status catalogue_init(struct catalogue *c, struct error *reterr)
{
    *c = (struct catalogue){.free_value = CATALOGUE_NONE,
                            .gone = {CATALOGUE_NONE, CATALOGUE_NONE},
                            .oldest_ms = INT64_MAX,
                            .latest_ms = INT64_MIN};
    pthread_rwlockattr_t writers_first; /* readers are many and short: appends shall not wait for all of them */
    pthread_rwlockattr_init(&writers_first);
    pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c->lock, &writers_first);
    pthread_rwlockattr_destroy(&writers_first);
    pthread_mutex_init(&c->readers_lock, NULL);
    if (slots_make(&c->series_slots, 0) && slots_make(&c->name_slots, 0) && slots_make(&c->value_slots, 0))
        return OK;
    catalogue_release(c);
    return error_set(reterr, E_NOMEM, "no memory for the catalogue of series");
}

void catalogue_release(struct catalogue *c)
{
    if (!c->series_slots.at)
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        if (catalogue_at(c, i))
            free(catalogue_at(c, i)->values);
    }
    for (uint32_t i = 0; i < c->blocks_n; i++)
        free(c->blocks[i]);
    for (uint32_t i = 0; i < c->names_n; i++) {
        free((char *)c->names[i].text.ptr);
        free(c->names[i].values);
    }
    for (uint32_t i = 0; i < c->values_n; i++) {
        free((char *)c->values[i].text.ptr);
        free(c->values[i].series);
    }
    free(c->blocks);
    free(c->names);
    free(c->values);
    free(c->series_slots.at);
    free(c->name_slots.at);
    free(c->value_slots.at);
    pthread_rwlock_destroy(&c->lock);
    pthread_mutex_destroy(&c->readers_lock);
    *c = (struct catalogue){.n = 0};
}

uint64_t catalogue_bytes(const struct catalogue *c)
{
    uint64_t bytes = c->text_bytes;
    for (uint32_t i = 0; i < c->blocks_n; i++)
        bytes += c->blocks[i] ? CATALOGUE_BLOCK * sizeof(struct known_series) : 0;
    for (uint32_t i = 0; i < c->values_n; i++)
        bytes += (c->values[i].capacity + c->values[i].held) * sizeof(uint32_t);
    for (uint32_t i = 0; i < c->names_n; i++)
        bytes += c->names[i].capacity * sizeof(uint32_t);
    return bytes + c->names_capacity * sizeof *c->names + c->values_capacity * sizeof *c->values +
           (c->series_slots.size + c->name_slots.size + c->value_slots.size) * sizeof(uint32_t);
}
