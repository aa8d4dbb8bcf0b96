/* backend/duckdb/matching.c: see matching.h. */
#include "backend/duckdb/matching.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"

#define PREFETCH_AHEAD 16u /* series */

/* One matcher, in numbers. It takes a value if the value is among `listed`, or, negated, if it is not. */
struct term {
    const struct matcher *matcher;
    uint32_t name;
    bool named; /* some series may have the label; else only `takes_none` counts */
    bool negated;
    bool takes_none; /* takes series without the label */
    bool by_regex;   /* not in numbers yet: `taken` says what is known of values */
    bool done;       /* candidates have been looked at */
    uint32_t *listed;
    uint32_t listed_n;
    uint8_t *taken; /* by number of value: VALUE_…; of those there were at the beginning */
    uint32_t taken_n;
    uint64_t cost; /* series it would give; UINT64_MAX: any */
};

enum {
    VALUE_UNKNOWN,
    VALUE_WANTED, /* to be asked for */
    VALUE_LEFT,
    VALUE_TAKEN
};

struct matching {
    struct catalogue *c;
    struct regex_cache *regex;
    struct time_span span;
    struct term *terms;
    size_t terms_n;
    struct series_set set;
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory to match series");
}

void series_set_release(struct series_set *set)
{
    free(set->ids);
    *set = (struct series_set){.n = 0};
}

static bool reserve(struct series_set *set, size_t more)
{
    return array_reserve(&set->ids, &set->capacity, set->n + more, sizeof *set->ids);
}

/* --- regular expressions that need no engine --- */

static bool is_literal(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("\\.+*?()|[]{}^$", text.ptr[i]))
            return false;
    }
    return true;
}

/* "a|b|c": gives the alternatives one after the other; *at begins at 0. False behind the last. */
static bool next_alternative(struct str pattern, size_t *at, struct str *ret_text)
{
    if (*at > pattern.len)
        return false;
    const char *begin = pattern.ptr + *at, *end = memchr(begin, '|', pattern.len - *at);
    size_t len = end ? (size_t)(end - begin) : pattern.len - *at;
    *ret_text = (struct str){begin, len};
    *at += len + 1;
    return true;
}

/* Whether the pattern is a list of plain alternatives, and how many. */
static bool is_alternatives(struct str pattern, size_t *ret_n)
{
    struct str text;
    size_t at = 0;
    for (*ret_n = 0; next_alternative(pattern, &at, &text); (*ret_n)++) {
        if (!is_literal(text))
            return false;
    }
    return true;
}

/* --- terms: under the catalogue's lock --- */

static void list_value(const struct catalogue *c, struct term *term, struct str text)
{
    if (text.len == 0)
        term->takes_none = true;
    else if (term->named && catalogue_find_value(c, term->name, text, &term->listed[term->listed_n]))
        term->listed_n++;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static bool list_alternatives(const struct catalogue *c, struct term *term, struct str pattern, size_t n)
{
    term->listed = malloc(n * sizeof *term->listed);
    if (!term->listed)
        return false;
    struct str text;
    for (size_t at = 0; next_alternative(pattern, &at, &text);)
        list_value(c, term, text);
    qsort(term->listed, term->listed_n, sizeof *term->listed, compare_numbers);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < term->listed_n; i++) {
        if (kept == 0 || term->listed[kept - 1] != term->listed[i])
            term->listed[kept++] = term->listed[i];
    }
    term->listed_n = kept;
    return true;
}

/* Puts a matcher into numbers as far as no engine is needed. */
static bool term_make(const struct catalogue *c, struct term *term)
{
    const struct matcher *matcher = term->matcher;
    bool inverse = matcher->op == MATCH_NOT_EQUAL || matcher->op == MATCH_NOT_REGEX;
    bool regex = matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
    size_t alternatives = 1;
    term->named = catalogue_find_name(c, matcher->name, &term->name);
    if (regex && (str_eq(matcher->value, STR(".*")) || str_eq(matcher->value, STR(".+")))) {
        term->negated = true; /* all values but none */
        term->takes_none = str_eq(matcher->value, STR(".*"));
    } else if (!regex) {
        term->listed = malloc(sizeof *term->listed);
        if (!term->listed)
            return false;
        list_value(c, term, matcher->value);
    } else if (is_alternatives(matcher->value, &alternatives)) {
        if (!list_alternatives(c, term, matcher->value, alternatives))
            return false;
    } else {
        term->by_regex = true; /* takes_none was asked for before */
        term->taken_n = c->values_n;
        term->taken = calloc((size_t)c->values_n + 1, 1);
        return term->taken != NULL;
    }
    if (inverse) {
        term->negated = !term->negated;
        term->takes_none = !term->takes_none;
    }
    return true;
}

/* How many series the term would give as the first; a regular expression: how many values it is asked of, which is
 * worth more than looking at as many series. */
static uint64_t term_cost(const struct catalogue *c, const struct term *term)
{
    uint64_t cost = 0;
    if (term->takes_none)
        return UINT64_MAX;
    if (!term->named)
        return 0;
    if (term->by_regex)
        return (uint64_t)c->names[term->name].series_n + c->names[term->name].values_n;
    for (uint32_t i = 0; i < term->listed_n; i++)
        cost += c->values[term->listed[i]].series_n;
    return term->negated ? c->names[term->name].series_n - cost : cost;
}

static bool term_takes(const struct term *term, uint32_t value)
{
    if (term->by_regex)
        return value < term->taken_n && term->taken[value] == VALUE_TAKEN;
    bool found =
        term->listed_n > 0 && bsearch(&value, term->listed, term->listed_n, sizeof value, compare_numbers) != NULL;
    return found != term->negated;
}

/* --- asking the engine: the lock is let go of meanwhile, values stay since the caller has entered --- */

struct subjects {
    uint32_t *values; /* their numbers */
    struct str *texts;
    bool *matches;
    size_t n;
};

static void subjects_release(struct subjects *subjects)
{
    free(subjects->values);
    free(subjects->texts);
    free(subjects->matches);
}

static bool subjects_make(struct subjects *subjects, size_t most)
{
    subjects->values = malloc((most + 1) * sizeof *subjects->values);
    subjects->texts = malloc((most + 1) * sizeof *subjects->texts);
    subjects->matches = malloc((most + 1) * sizeof *subjects->matches);
    return subjects->values && subjects->texts && subjects->matches;
}

static void subjects_add(struct subjects *subjects, const struct catalogue *c, uint32_t value)
{
    subjects->values[subjects->n] = value;
    subjects->texts[subjects->n++] = c->values[value].text;
}

/* All values of the term's label, or those of the candidates. */
static bool gather(const struct matching *m, struct term *term, bool of_candidates, struct subjects *subjects)
{
    const struct catalogue *c = m->c;
    const struct known_name *name = &c->names[term->name];
    if (!of_candidates) {
        if (!subjects_make(subjects, name->values_n))
            return false;
        for (uint32_t i = 0; i < name->values_n; i++) {
            if (name->values[i] < term->taken_n)
                subjects_add(subjects, c, name->values[i]);
        }
        return true;
    }
    size_t most = m->set.n < name->values_n ? m->set.n : name->values_n;
    if (!subjects_make(subjects, most))
        return false;
    for (size_t i = 0; i < m->set.n; i++) {
        uint32_t value;
        const struct known_series *series = catalogue_at(c, m->set.ids[i]);
        if (!series || !catalogue_value_of(c, series, term->name, &value) || value >= term->taken_n ||
            term->taken[value] != VALUE_UNKNOWN)
            continue;
        term->taken[value] = VALUE_WANTED;
        subjects_add(subjects, c, value);
    }
    return true;
}

/* Fills term->taken for all values of its label, or for those of the candidates. Enters and leaves with the lock. */
static enum status ask(struct matching *m, struct term *term, bool of_candidates, struct error *reterr)
{
    struct subjects subjects = {.n = 0};
    enum status status = OK;
    if (term->named && !gather(m, term, of_candidates, &subjects))
        status = no_memory(reterr);
    pthread_rwlock_unlock(&m->c->lock);
    if (status == OK && subjects.n > 0)
        status = regex_match_all(m->regex, term->matcher->value, subjects.texts, subjects.n, subjects.matches, reterr);
    pthread_rwlock_rdlock(&m->c->lock);
    bool wanted = term->matcher->op == MATCH_REGEX;
    for (size_t i = 0; status == OK && i < subjects.n; i++)
        term->taken[subjects.values[i]] = subjects.matches[i] == wanted ? VALUE_TAKEN : VALUE_LEFT;
    subjects_release(&subjects);
    return status;
}

/* --- candidates --- */

static bool meets(const struct matching *m, const struct known_series *series)
{
    return series && series->listed && !series->gone && series->latest_ms >= m->span.min_ms &&
           series->oldest_ms <= m->span.max_ms;
}

/* Whether a series passes the terms that need no engine and are not done. */
static bool passes(const struct matching *m, const struct known_series *series)
{
    for (size_t i = 0; i < m->terms_n; i++) {
        const struct term *term = &m->terms[i];
        uint32_t value;
        if (term->done || term->by_regex)
            continue;
        bool has = term->named && catalogue_value_of(m->c, series, term->name, &value);
        if (!(has ? term_takes(term, value) : term->takes_none))
            return false;
    }
    return true;
}

static void take(struct matching *m, uint32_t id)
{
    const struct known_series *series = catalogue_at(m->c, id);
    if (meets(m, series) && passes(m, series))
        m->set.ids[m->set.n++] = id;
}

/* Of a hundred thousand series hardly one is in the processor's caches. */
static inline __attribute__((always_inline)) void prefetch(const struct catalogue *c, uint32_t id)
{
    const struct known_series *block = id / CATALOGUE_BLOCK < c->blocks_n ? c->blocks[id / CATALOGUE_BLOCK] : NULL;
    if (!block)
        return;
    const struct known_series *series = block + id % CATALOGUE_BLOCK;
    __builtin_prefetch(series);
    __builtin_prefetch((const char *)(series + 1) - 1); /* it need not lie in one line */
}

static bool take_value(struct matching *m, uint32_t number)
{
    const struct known_value *value = &m->c->values[number];
    if (!reserve(&m->set, value->series_n))
        return false;
    for (uint32_t i = 0; i < value->series_n; i++) {
        if (i + PREFETCH_AHEAD < value->series_n)
            prefetch(m->c, value->series[i + PREFETCH_AHEAD]);
        take(m, value->series[i]);
    }
    return true;
}

/* Candidates from the postings of the values that a term takes. */
static bool take_term(struct matching *m, struct term *term)
{
    bool well = true;
    term->done = true;
    if (!term->named)
        return true;
    if (!term->by_regex && !term->negated) {
        for (uint32_t i = 0; well && i < term->listed_n; i++)
            well = take_value(m, term->listed[i]);
        return well;
    }
    const struct known_name *name = &m->c->names[term->name];
    for (uint32_t i = 0; well && i < name->values_n; i++) {
        if (term_takes(term, name->values[i]))
            well = take_value(m, name->values[i]);
    }
    return well;
}

static bool take_all(struct matching *m)
{
    if (!reserve(&m->set, m->c->listed_n))
        return false;
    for (uint32_t i = 0; i < m->c->n; i++)
        take(m, i);
    return true;
}

static enum status find_candidates(struct matching *m, struct error *reterr)
{
    struct term *first = NULL;
    for (size_t i = 0; i < m->terms_n; i++) {
        struct term *term = &m->terms[i];
        term->cost = term_cost(m->c, term);
        if (term->cost < (first ? first->cost : UINT64_MAX))
            first = term;
    }
    if (first && first->by_regex) {
        enum status status = ask(m, first, false, reterr);
        if (status != OK)
            return status;
    }
    bool well = first ? take_term(m, first) : take_all(m);
    return well ? OK : no_memory(reterr);
}

/* Leaves of the candidates those that a regular expression takes. */
static enum status narrow(struct matching *m, struct term *term, struct error *reterr)
{
    enum status status = ask(m, term, true, reterr);
    size_t kept = 0;
    for (size_t i = 0; status == OK && i < m->set.n; i++) {
        uint32_t value;
        const struct known_series *series = catalogue_at(m->c, m->set.ids[i]);
        if (!meets(m, series))
            continue;
        bool has = term->named && catalogue_value_of(m->c, series, term->name, &value);
        if (has ? term_takes(term, value) : term->takes_none)
            m->set.ids[kept++] = m->set.ids[i];
    }
    m->set.n = kept;
    term->done = true;
    return status;
}

static enum status match_locked(struct matching *m, struct error *reterr)
{
    for (size_t i = 0; i < m->terms_n; i++) {
        if (!term_make(m->c, &m->terms[i]))
            return no_memory(reterr);
    }
    enum status status = find_candidates(m, reterr);
    for (size_t i = 0; status == OK && i < m->terms_n; i++) {
        if (!m->terms[i].done && m->terms[i].by_regex)
            status = narrow(m, &m->terms[i], reterr);
    }
    return status;
}

/* Whether regular expressions are right, and take the empty text. */
static enum status check_regexes(struct matching *m, struct error *reterr)
{
    struct regex_engine engine = regex_of(m->regex);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < m->terms_n; i++) {
        const struct matcher *matcher = m->terms[i].matcher;
        if (matcher->op != MATCH_REGEX && matcher->op != MATCH_NOT_REGEX)
            continue;
        size_t n;
        status = regex_check(m->regex, matcher->value, reterr);
        if (status == OK && !is_alternatives(matcher->value, &n))
            m->terms[i].takes_none =
                engine.matches(engine.arg, matcher->value, STR("")) == (matcher->op == MATCH_REGEX);
    }
    return status;
}

enum status match_series(struct catalogue *catalogue, struct regex_cache *regex, const struct matcher *at, size_t n,
                         struct time_span span, struct series_set *ret_set, struct error *reterr)
{
    struct matching m = {.c = catalogue, .regex = regex, .span = span, .terms_n = n};
    m.terms = calloc(n + 1, sizeof *m.terms);
    if (!m.terms)
        return no_memory(reterr);
    for (size_t i = 0; i < n; i++)
        m.terms[i].matcher = &at[i];
    enum status status = check_regexes(&m, reterr);
    if (status == OK) {
        pthread_rwlock_rdlock(&catalogue->lock);
        status = match_locked(&m, reterr);
        pthread_rwlock_unlock(&catalogue->lock);
    }
    for (size_t i = 0; i < n; i++) {
        free(m.terms[i].listed);
        free(m.terms[i].taken);
    }
    free(m.terms);
    if (status == OK)
        *ret_set = m.set;
    else
        series_set_release(&m.set);
    return status;
}

uint64_t match_most(struct catalogue *catalogue, const struct matcher *at, size_t n)
{
    pthread_rwlock_rdlock(&catalogue->lock);
    uint64_t most = catalogue->listed_n;
    for (size_t i = 0; i < n; i++) {
        uint32_t name, value;
        if (at[i].op != MATCH_EQUAL || at[i].value.len == 0)
            continue;
        bool known = catalogue_find_name(catalogue, at[i].name, &name) &&
                     catalogue_find_value(catalogue, name, at[i].value, &value);
        uint64_t series_n = known ? catalogue->values[value].series_n : 0;
        most = series_n < most ? series_n : most;
    }
    pthread_rwlock_unlock(&catalogue->lock);
    return most;
}

enum status match_check(struct regex_cache *regex, const struct matcher *at, size_t n, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        if (at[i].op == MATCH_REGEX || at[i].op == MATCH_NOT_REGEX)
            status = regex_check(regex, at[i].value, reterr);
    }
    return status;
}
