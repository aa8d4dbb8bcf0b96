/* backend/duckdb/catalogue.h: all series in memory: what a writer must know of each (its number, its newest sample),
 * and the index that finds them by their labels (matching.h).
 *
 * Label names and values are interned. A series holds the numbers of its values; a value, being one of one label name,
 * holds the numbers of the series that have it (its postings). Some 200 bytes a series of eight labels, and the texts.
 *
 * Loaded when the database is opened, then kept in step by append. A series enters when its first sample is accepted; a
 * transaction that fails leaves `stored` false, and the next one stores the series again. Readers are shown a series,
 * and the times of its oldest and newest sample, once the transaction is committed (catalogue_publish).
 *
 * Threads  Writers are one at a time, under the backend's writer lock, which guards all fields but those that readers
 *          see. What those see is written under `lock` held for writing, and read under it held for reading, in
 * moments. Memory   Texts and series taken out (catalogue_remove) live on until all readers have left that had entered
 * before (catalogue_enter, catalogue_leave). Between the two a reader may keep labels without holding `lock`.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_CATALOGUE_H
#define PROMSPLIT_BACKEND_DUCKDB_CATALOGUE_H

#include <pthread.h>

#include "backend/duckdb/engine.h"
#include "promql/labels.h"

struct known_series {
    uint64_t hash;
    uint32_t *values; /* numbers of its values, in the order of their names; NULL: no series has this number */
    uint32_t id;      /* its place in the catalogue and its number in the tables */
    uint16_t values_n;
    bool stored;              /* its row in the table series is committed */
    bool has_samples;         /* or native histograms, which are samples here */
    bool newest_is_histogram; /* as the two below */
    bool newest_unread;       /* the newest sample lies in a chunk, and newest_bits are not known */
    int64_t newest_ms;        /* if has_samples; with the transaction under way */
    uint64_t newest_bits;     /* of a native histogram: catalogue_histogram_bits */
    uint64_t transaction;     /* the last one that touched it */
    /* Seen by readers: */
    bool listed;                   /* in the postings of its values */
    bool gone;                     /* taken out: soon free */
    bool oldest_open, latest_open; /* oldest_ms, latest_ms is only a bound: samples were deleted there */
    bool has_histograms;           /* some of its samples are, or were, native histograms */
    uint32_t next_gone;            /* if gone: the number of another one, or CATALOGUE_NONE */
    int64_t oldest_ms, latest_ms;  /* if listed; of committed samples */
};

struct known_name {
    struct str text;
    uint32_t *values; /* numbers of its values */
    uint32_t values_n, capacity;
    uint32_t series_n; /* listed ones that have the label */
};

struct known_value {
    struct str text;
    uint32_t name;       /* which of the names */
    uint32_t held;       /* series that hold it, listed or not; 0: a free place */
    uint32_t series_n;   /* listed ones */
    uint32_t capacity;   /* of `series`; at least `held` */
    uint32_t *series;    /* their numbers, in no order */
    uint32_t place;      /* in its name's values */
    bool thins;          /* some of `series` is being taken out */
    bool has_histograms; /* some series that holds it has, or had */
};

/* An open addressed hash table of numbers: number + 1, 0 for a free place. */
struct number_slots {
    uint32_t *at;
    uint64_t size, used;
};

#define CATALOGUE_BLOCK 4096u /* series of one block */
#define CATALOGUE_NONE  UINT32_MAX

struct catalogue {
    pthread_rwlock_t lock;
    struct known_series **blocks; /* by number / CATALOGUE_BLOCK; NULL: none there */
    uint32_t n;                   /* numbers below it are taken */
    uint32_t blocks_n;
    struct known_name *names;
    uint32_t names_n, names_capacity;
    struct known_value *values;
    uint32_t values_n, values_capacity;
    uint32_t free_value; /* the first free place, its `place` the next; CATALOGUE_NONE: none */
    uint32_t listed_n;
    int64_t oldest_ms, latest_ms; /* all listed series' samples are from the one to the other */
    uint64_t text_bytes;          /* of names and values */
    struct number_slots series_slots, name_slots, value_slots;
    bool has_histograms;  /* some series has, or had */
    bool metadata_labels; /* see struct backend */

    pthread_mutex_t readers_lock;
    uint64_t readers[2]; /* those under way that entered in an even, an odd epoch */
    uint64_t epoch;
    uint32_t gone[2]; /* the first of the series taken out in an even, an odd epoch, or CATALOGUE_NONE */
};

/* What is stored, for statistics. */
struct totals {
    uint64_t series_n, samples_n;
    uint64_t histograms_n;  /* of the samples */
    int64_t min_ms, max_ms; /* INT64_MAX, INT64_MIN when there are no samples */
    uint64_t batch;         /* the last one committed (schema.h) */
};

MUST_USE enum status catalogue_init(struct catalogue *catalogue, struct error *reterr);
MUST_USE enum status catalogue_load(struct catalogue *catalogue, struct connection *connection,
                                    struct totals *ret_totals, struct error *reterr); /* catalogue_load.c */
void catalogue_release(struct catalogue *catalogue); /* one never initialised, but zeroed, is fine */

/* --- writers --- */

struct known_series *catalogue_find(const struct catalogue *catalogue, struct labels labels, uint64_t hash);

/* Adds a series that is not known yet, under the next free number or the one given; NULL when memory is short or all
 * numbers are taken. */
struct known_series *catalogue_add(struct catalogue *catalogue, struct labels labels, uint64_t hash);
struct known_series *catalogue_add_as(struct catalogue *catalogue, struct labels labels, uint64_t hash, uint32_t id);

/* Shows readers committed samples of a series from oldest_ms to latest_ms, beside those they know of. Only between
 * these two, which hold the lock. Never fails. */
void catalogue_publish_begin(struct catalogue *catalogue);
void catalogue_publish(struct catalogue *catalogue, struct known_series *series, int64_t oldest_ms, int64_t latest_ms);
void catalogue_publish_end(struct catalogue *catalogue);

/* The series is about to get native histograms. Said before they can be read, for what is planned without them must not
 * run over them; never taken back. Takes the lock. */
void catalogue_mark_histograms(struct catalogue *catalogue, struct known_series *series);

/* Takes series out whose samples and rows in the tables are deleted, and committed so. Unknown numbers are left out of
 * account. Pointers to these series are not valid any more. Never fails. */
void catalogue_remove(struct catalogue *catalogue, const uint32_t *ids, size_t n);

/* Samples before cut_ms are deleted, and committed so; not all need be, but the oldest left of any series is at
 * oldest_ms. */
void catalogue_forget_before(struct catalogue *catalogue, int64_t cut_ms, int64_t oldest_ms);

/* Some samples of a series are deleted, and committed so. */
void catalogue_loosen(struct catalogue *catalogue, uint32_t id);

/* What tells native histograms apart where a sample has its value's bits. */
static inline uint64_t catalogue_histogram_bits(struct str packed)
{
    return labels_hash((struct labels){&(struct label){.name = packed}, 1});
}

uint64_t catalogue_bytes(const struct catalogue *catalogue); /* what it holds, about */

/* --- readers, and writers --- */

unsigned catalogue_enter(struct catalogue *catalogue); /* gives what catalogue_leave takes */
void catalogue_leave(struct catalogue *catalogue, unsigned entered);

/* All that follows is asked under the lock, or by a writer. */
static inline struct known_series *catalogue_at(const struct catalogue *catalogue, uint32_t id)
{
    struct known_series *block =
        id / CATALOGUE_BLOCK < catalogue->blocks_n ? catalogue->blocks[id / CATALOGUE_BLOCK] : NULL;
    return block && block[id % CATALOGUE_BLOCK].values ? &block[id % CATALOGUE_BLOCK] : NULL;
}

static inline struct label catalogue_label(const struct catalogue *catalogue, const struct known_series *series,
                                           unsigned i)
{
    const struct known_value *value = &catalogue->values[series->values[i]];
    return (struct label){catalogue->names[value->name].text, value->text};
}

/* The number of the value that a series has for a name; false if it has none. */
static inline bool catalogue_value_of(const struct catalogue *catalogue, const struct known_series *series,
                                      uint32_t name, uint32_t *ret_value)
{
    for (unsigned i = 0; i < series->values_n; i++) {
        if (catalogue->values[series->values[i]].name == name) {
            *ret_value = series->values[i];
            return true;
        }
    }
    return false;
}

/* Finding a series takes several steps through memory that is not in the cache when there are many. Who has a number of
 * them to find, by a writer, prefetches for each the first step while others are found, then the second, and so on. */
enum finding {
    FINDING_SLOT,
    FINDING_SERIES,
    FINDING_NUMBERS, /* of its values; what those are is in the cache, mostly, or as many fetches as it has labels */
    FINDING_MAX
};

void catalogue_prefetch(const struct catalogue *catalogue, uint64_t hash, enum finding step);

/* The label set of a series, copied; none if there is no such series. */
MUST_USE enum status catalogue_copy_labels(const struct catalogue *catalogue, uint32_t id, struct arena *arena,
                                           struct labels *ret_labels, struct error *reterr);

bool catalogue_find_name(const struct catalogue *catalogue, struct str text, uint32_t *ret_name);
bool catalogue_find_value(const struct catalogue *catalogue, uint32_t name, struct str text, uint32_t *ret_value);

#endif
