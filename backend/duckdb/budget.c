/* backend/duckdb/budget.c: see budget.h. */
#include "backend/duckdb/budget.h"

#include <stdlib.h>

/* In front of the memory, which keeps malloc's alignment. */
struct budget_piece {
    struct budget_piece *before, *after; /* on its shelf */
    uint64_t epoch;
    uint64_t bytes;
};

_Static_assert(sizeof(struct budget_piece) % _Alignof(max_align_t) == 0, "memory behind the head is aligned");

void budget_init(struct budget *budget, uint64_t max_bytes)
{
    *budget = (struct budget){.max_bytes = max_bytes, .epoch = 1};
    for (size_t i = 0; i < BUDGET_SHELVES; i++)
        pthread_mutex_init(&budget->shelves[i].lock, NULL);
}

void budget_release(struct budget *budget)
{
    budget_sweep(budget, UINT64_MAX);
    for (size_t i = 0; i < BUDGET_SHELVES; i++)
        pthread_mutex_destroy(&budget->shelves[i].lock);
}

bool budget_take(struct budget *budget, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&budget->used_bytes, bytes, memory_order_relaxed);
    if (before + bytes <= budget->max_bytes)
        return true;
    atomic_fetch_sub_explicit(&budget->used_bytes, bytes, memory_order_relaxed);
    return false;
}

void budget_give_back(struct budget *budget, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used_bytes, bytes, memory_order_relaxed);
}

static struct budget_shelf *shelf_of(struct budget *budget, const struct budget_piece *piece)
{
    uint64_t hash = (uint64_t)(uintptr_t)piece * UINT64_C(0x9e3779b97f4a7c15);
    return &budget->shelves[hash >> 59];
}

_Static_assert(BUDGET_SHELVES == 1 << (64 - 59), "a shelf for each hash");

void *budget_alloc(struct budget *budget, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(struct budget_piece) || !budget_take(budget, sizeof(struct budget_piece) + bytes))
        return NULL;
    struct budget_piece *piece = malloc(sizeof *piece + bytes);
    if (!piece) {
        budget_give_back(budget, sizeof *piece + bytes);
        return NULL;
    }
    struct budget_shelf *shelf = shelf_of(budget, piece);
    *piece = (struct budget_piece){.epoch = atomic_load(&budget->epoch), .bytes = sizeof *piece + bytes};
    pthread_mutex_lock(&shelf->lock);
    piece->after = shelf->first;
    if (shelf->first)
        shelf->first->before = piece;
    shelf->first = piece;
    pthread_mutex_unlock(&shelf->lock);
    return piece + 1;
}

/* Under the shelf's lock. */
static void take_off(struct budget_shelf *shelf, const struct budget_piece *piece)
{
    *(piece->before ? &piece->before->after : &shelf->first) = piece->after;
    if (piece->after)
        piece->after->before = piece->before;
}

void budget_free(struct budget *budget, void *memory)
{
    if (!memory)
        return;
    struct budget_piece *piece = (struct budget_piece *)memory - 1;
    struct budget_shelf *shelf = shelf_of(budget, piece);
    pthread_mutex_lock(&shelf->lock);
    take_off(shelf, piece);
    pthread_mutex_unlock(&shelf->lock);
    budget_give_back(budget, piece->bytes);
    free(piece);
}

void budget_sweep(struct budget *budget, uint64_t epoch)
{
    for (size_t i = 0; i < BUDGET_SHELVES; i++) {
        struct budget_shelf *shelf = &budget->shelves[i];
        pthread_mutex_lock(&shelf->lock);
        for (struct budget_piece *piece = shelf->first, *after; piece; piece = after) {
            after = piece->after;
            if (piece->epoch >= epoch)
                continue;
            take_off(shelf, piece);
            budget_give_back(budget, piece->bytes);
            free(piece);
        }
        pthread_mutex_unlock(&shelf->lock);
    }
}
