/* promql/labels.c: see labels.h. */
#include "promql/labels.h"

#include <stdlib.h>

const char *match_op_text(enum match_op op)
{
    static const char *const TEXTS[] = {
        [MATCH_EQUAL] = "=", [MATCH_NOT_EQUAL] = "!=", [MATCH_REGEX] = "=~", [MATCH_NOT_REGEX] = "!~"};
    return TEXTS[op];
}

struct str labels_get(struct labels labels, struct str name)
{
    size_t low = 0, high = labels.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(name, labels.at[middle].name);
        if (order == 0)
            return labels.at[middle].value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return (struct str){"", 0};
}

int labels_cmp(struct labels a, struct labels b)
{
    size_t common = a.n < b.n ? a.n : b.n;
    for (size_t i = 0; i < common; i++) {
        int order = str_cmp(a.at[i].name, b.at[i].name);
        if (order == 0)
            order = str_cmp(a.at[i].value, b.at[i].value);
        if (order != 0)
            return order;
    }
    return a.n < b.n ? -1 : a.n > b.n;
}

bool labels_eq(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq(a.at[i].name, b.at[i].name) || !str_eq(a.at[i].value, b.at[i].value))
            return false;
    return true;
}

/* Mixes eight bytes at a time; the multiplier is odd with well spread bits (from the golden ratio). */
static uint64_t hash_text(uint64_t hash, struct str text)
{
    const uint64_t multiplier = UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ text.len) * multiplier;
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + i, 8);
        hash = (hash ^ word) * multiplier;
        hash ^= hash >> 29;
    }
    uint64_t rest = 0;
    if (i < text.len)
        memcpy(&rest, text.ptr + i, text.len - i);
    hash = (hash ^ rest) * multiplier;
    return hash ^ hash >> 32;
}

uint64_t labels_hash(struct labels labels)
{
    uint64_t hash = labels.n;
    for (size_t i = 0; i < labels.n; i++)
        hash = hash_text(hash_text(hash, labels.at[i].name), labels.at[i].value);
    return hash;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

/* Each name once and in order, as nearly all senders have them. */
static bool names_ascend(const struct label *at, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (str_cmp(at[i - 1].name, at[i].name) >= 0)
            return false;
    }
    return true;
}

static bool sort_names(struct label *at, size_t n, struct str *ret_twice)
{
    qsort(at, n, sizeof *at, by_name);
    for (size_t i = 1; i < n; i++) {
        if (str_eq(at[i].name, at[i - 1].name)) {
            *ret_twice = at[i].name;
            return false;
        }
    }
    return true;
}

bool labels_normalize(struct label *at, size_t *n, struct str *ret_twice)
{
    if (!names_ascend(at, *n) && !sort_names(at, *n, ret_twice))
        return false;
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (at[i].value.len > 0)
            at[kept++] = at[i];
    *n = kept;
    return true;
}

struct labels labels_copy(struct arena *arena, struct labels labels)
{
    struct label *at = ARENA_ARRAY(arena, struct label, labels.n ? labels.n : 1);
    for (size_t i = 0; at && i < labels.n; i++) {
        at[i].name = arena_str(arena, labels.at[i].name);
        at[i].value = arena_str(arena, labels.at[i].value);
        if (!at[i].name.ptr || !at[i].value.ptr)
            at = NULL;
    }
    return (struct labels){at, at ? labels.n : 0};
}

static bool is_plain(struct str name, bool colon)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (colon && c == ':');
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

bool label_name_is_plain(struct str name)
{
    return is_plain(name, false);
}
bool metric_name_is_plain(struct str name)
{
    return is_plain(name, true);
}
