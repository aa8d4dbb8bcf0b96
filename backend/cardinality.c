/* backend/cardinality.c: see cardinality.h. */
#include "backend/cardinality.h"

#include <stdlib.h>

/* The larger count first, then by name and value. */
static int compare_figures(const void *a, const void *b)
{
    const struct cardinality_figure *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    int order = str_cmp(x->name, y->name);
    return order ? order : str_cmp(x->value, y->value);
}

enum status cardinality_begin(struct cardinality_builder *builder, size_t limit, struct error *reterr)
{
    *builder = (struct cardinality_builder){.made = calloc(1, sizeof *builder->made), .limit = limit};
    if (!builder->made)
        return error_set(reterr, E_NOMEM, "no memory to count labels");
    arena_init(&builder->made->arena, SIZE_MAX);
    for (int i = 0; i < CARDINALITY_MAX; i++)
        builder->made->at[i] = ARENA_ARRAY(&builder->made->arena, struct cardinality_figure, limit + 1);
    return OK;
}

static void swap(struct cardinality_figure *a, struct cardinality_figure *b)
{
    struct cardinality_figure t = *a;
    *a = *b;
    *b = t;
}

/* Moves the figure at the root down to where both below it are larger. */
static void sink(struct cardinality_figure *heap, size_t n)
{
    for (size_t at = 0, below; (below = 2 * at + 1) < n; at = below) {
        if (below + 1 < n && compare_figures(&heap[below + 1], &heap[below]) > 0)
            below++;
        if (compare_figures(&heap[at], &heap[below]) >= 0)
            break;
        swap(&heap[at], &heap[below]);
    }
}

static void rise(struct cardinality_figure *heap, size_t at)
{
    for (; at > 0 && compare_figures(&heap[at], &heap[(at - 1) / 2]) > 0; at = (at - 1) / 2)
        swap(&heap[at], &heap[(at - 1) / 2]);
}

void cardinality_offer(struct cardinality_builder *builder, enum cardinality_of list, struct cardinality_figure figure)
{
    struct cardinality_report *made = builder->made;
    struct cardinality_figure *heap = made->at[list];
    if (!heap || figure.count == 0 || builder->limit == 0)
        return;
    if (made->n[list] < builder->limit) {
        heap[made->n[list]] = figure;
        rise(heap, made->n[list]++);
    } else if (compare_figures(&figure, &heap[0]) < 0) {
        heap[0] = figure;
        sink(heap, made->n[list]);
    }
}

enum status cardinality_finish(struct cardinality_builder *builder, struct cardinality_report **ret_cardinality,
                               struct error *reterr)
{
    struct cardinality_report *made = builder->made;
    for (int i = 0; i < CARDINALITY_MAX && !made->arena.exhausted; i++) {
        if (made->n[i] > 1)
            qsort(made->at[i], made->n[i], sizeof *made->at[i], compare_figures);
        for (size_t k = 0; k < made->n[i]; k++) {
            made->at[i][k].name = arena_str(&made->arena, made->at[i][k].name);
            made->at[i][k].value = arena_str(&made->arena, made->at[i][k].value);
        }
    }
    if (made->arena.exhausted) {
        cardinality_free(made);
        return error_set(reterr, E_NOMEM, "no memory to count labels");
    }
    *ret_cardinality = made;
    return OK;
}
