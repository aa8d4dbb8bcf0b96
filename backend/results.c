/* backend/results.c: freeing what backends hand out. A result lives in the arena inside it. */
#include "backend/backend.h"

#include <stdlib.h>

void series_list_free(struct series_list *list)
{
    if (list)
        arena_release(&list->arena);
    free(list);
}

void string_list_free(struct string_list *list)
{
    if (list)
        arena_release(&list->arena);
    free(list);
}

void metadata_list_free(struct metadata_list *list)
{
    if (list)
        arena_release(&list->arena);
    free(list);
}

void exemplar_list_free(struct exemplar_list *list)
{
    if (list)
        arena_release(&list->arena);
    free(list);
}

void grid_result_free(struct grid_result *result)
{
    if (result)
        arena_release(&result->arena);
    free(result);
}

void cardinality_free(struct cardinality_report *cardinality)
{
    if (cardinality)
        arena_release(&cardinality->arena);
    free(cardinality);
}
