/* backend/duckdb/budget.c: see budget.h. */
#include "backend/duckdb/budget.h"

#include <stdlib.h>

/* States are made by the hundred thousand, with a few hundred bytes each, and go all at once: pieces are cut off a slab
 * one behind the other, and the slab goes with the last of them. Where an address sanitizer is to see each piece, none
 * shares. */
#ifdef __SANITIZE_ADDRESS__
#    define SHARED_MAX_BYTES 0u
#else
#    define SHARED_MAX_BYTES (16u << 10) /* larger pieces have a slab of their own */
#endif
#define SLAB_BYTES (64u << 10) /* of one that is shared, less its head */
#define CUT_BYTES  (16u << 10) /* that a thread takes of a slab at once, */
#define CUT_MAX    (1u << 10)  /* for pieces of so many at most: little is left over at its end */
#define SLABS_FEW  8u          /* a shelf that has so many slabs takes whole blocks */

struct budget_slab {
    _Alignas(max_align_t) struct budget_slab *before; /* on its shelf */
    struct budget_slab *after;
    struct budget_shelf *shelf;
    uint64_t epoch;       /* of all its pieces */
    uint64_t bytes, used; /* behind the head; used: under the shelf's lock */
    bool is_block;
    _Atomic uint64_t holders; /* its pieces, those that a thread may still cut, and the shelf while it is current */
};

/* In front of the memory, which keeps malloc's alignment. */
struct budget_piece {
    _Alignas(max_align_t) struct budget_slab *slab;
};

#define ALIGNED(bytes) (((bytes) + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t))

void budget_init(struct budget *budget, uint64_t max_bytes)
{
    static _Atomic uint64_t budgets_n;
    *budget = (struct budget){.max_bytes = max_bytes, .epoch = 1, .number = atomic_fetch_add(&budgets_n, 1) + 1};
    blocks_init(&budget->blocks);
    for (size_t i = 0; i < BUDGET_SHELVES; i++)
        pthread_mutex_init(&budget->shelves[i].lock, NULL);
}

void budget_release(struct budget *budget)
{
    budget_sweep(budget, UINT64_MAX);
    for (size_t i = 0; i < BUDGET_SHELVES; i++)
        pthread_mutex_destroy(&budget->shelves[i].lock);
    blocks_release(&budget->blocks);
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

/* --- slabs: all under their shelf's lock --- */

/* With one holder: whoever made it. */
static struct budget_slab *slab_new(struct budget *budget, struct budget_shelf *shelf, size_t bytes, bool is_block)
{
    if (!budget_take(budget, sizeof(struct budget_slab) + bytes))
        return NULL;
    struct budget_slab *slab = is_block ? blocks_get(&budget->blocks) : malloc(sizeof *slab + bytes);
    if (!slab) {
        budget_give_back(budget, sizeof *slab + bytes);
        return NULL;
    }
    *slab = (struct budget_slab){.after = shelf->first,
                                 .shelf = shelf,
                                 .epoch = atomic_load(&budget->epoch),
                                 .bytes = bytes,
                                 .is_block = is_block,
                                 .holders = 1};
    if (shelf->first)
        shelf->first->before = slab;
    shelf->first = slab;
    shelf->slabs_n++;
    return slab;
}

static struct budget_slab *slab_new_shared(struct budget *budget, struct budget_shelf *shelf)
{
    if (shelf->slabs_n < SLABS_FEW)
        return slab_new(budget, shelf, SLAB_BYTES, false);
    return slab_new(budget, shelf, BLOCK_BYTES - sizeof(struct budget_slab), true);
}

static void slab_free(struct budget *budget, struct budget_slab *slab)
{
    *(slab->before ? &slab->before->after : &slab->shelf->first) = slab->after;
    if (slab->after)
        slab->after->before = slab->before;
    slab->shelf->slabs_n--;
    budget_give_back(budget, sizeof *slab + slab->bytes);
    if (slab->is_block)
        blocks_put(&budget->blocks, slab);
    else
        free(slab);
}

/* True: that was the last one, and the caller frees the slab. */
static bool slab_let_go(struct budget_slab *slab)
{
    return atomic_fetch_sub_explicit(&slab->holders, 1, memory_order_acq_rel) == 1;
}

/* The slab to cut off, or NULL. One that only the shelf holds begins anew. */
static struct budget_slab *slab_with_room(struct budget *budget, struct budget_shelf *shelf, size_t bytes)
{
    struct budget_slab *slab = shelf->current;
    if (slab && slab->epoch == atomic_load(&budget->epoch)) {
        if (atomic_load_explicit(&slab->holders, memory_order_acquire) == 1)
            slab->used = 0;
        if (slab->bytes - slab->used >= bytes)
            return slab;
    }
    if (slab && slab_let_go(slab))
        slab_free(budget, slab);
    return shelf->current = slab_new_shared(budget, shelf);
}

/* --- pieces --- */

/* A thread's own, unless there are more threads than shelves. */
static struct budget_shelf *shelf_of_thread(struct budget *budget)
{
    static _Atomic unsigned threads_n;
    static _Thread_local unsigned number;
    if (number == 0)
        number = atomic_fetch_add_explicit(&threads_n, 1, memory_order_relaxed) % BUDGET_SHELVES + 1;
    return &budget->shelves[number - 1];
}

/* What a thread cuts pieces off without a lock: the end of a slab, or a part of it. It is good for as long as the epoch
 * is the slab's: whoever allocates has a statement under way, and nothing that was made since it began is swept. */
struct cutting {
    uint64_t budget, epoch; /* the budget's number; 0: there is none */
    struct budget_slab *slab;
    char *at, *end;
    uint64_t held; /* of the slab's holders: for pieces that may still be cut */
};

static _Thread_local struct cutting cutting;

static struct budget_piece *cut(const struct budget *budget, size_t bytes)
{
    if (cutting.budget != budget->number ||
        cutting.epoch != atomic_load_explicit(&budget->epoch, memory_order_relaxed) ||
        (size_t)(cutting.end - cutting.at) < bytes)
        return NULL;
    struct budget_piece *piece = (struct budget_piece *)cutting.at;
    piece->slab = cutting.slab;
    cutting.at += bytes;
    cutting.held--;
    return piece;
}

/* Under the shelf's lock. A slab of another epoch may be gone. */
static void cutting_end(struct budget *budget)
{
    uint64_t held = cutting.held;
    if (cutting.budget == budget->number && cutting.epoch == atomic_load(&budget->epoch) && held > 0 &&
        atomic_fetch_sub_explicit(&cutting.slab->holders, held, memory_order_acq_rel) == held)
        slab_free(budget, cutting.slab);
    cutting = (struct cutting){.budget = 0};
}

/* Under the shelf's lock: begins to cut where there is room for one piece at least. */
static bool cutting_begin(struct budget *budget, struct budget_shelf *shelf, size_t bytes)
{
    cutting_end(budget);
    struct budget_slab *slab = slab_with_room(budget, shelf, bytes);
    if (!slab)
        return false;
    size_t room = slab->bytes - slab->used;
    room = room < CUT_BYTES ? room : CUT_BYTES;
    char *at = (char *)(slab + 1) + slab->used;
    cutting = (struct cutting){.budget = budget->number,
                               .epoch = slab->epoch,
                               .slab = slab,
                               .at = at,
                               .end = at + room,
                               .held = room / sizeof(struct budget_piece)};
    slab->used += room;
    atomic_fetch_add_explicit(&slab->holders, cutting.held, memory_order_relaxed);
    return true;
}

static struct budget_piece *piece_small(struct budget *budget, struct budget_shelf *shelf, size_t bytes)
{
    struct budget_piece *piece = cut(budget, bytes);
    if (piece)
        return piece;
    pthread_mutex_lock(&shelf->lock);
    bool begun = cutting_begin(budget, shelf, bytes);
    pthread_mutex_unlock(&shelf->lock);
    return begun ? cut(budget, bytes) : NULL;
}

/* Of middle size. */
static struct budget_piece *piece_of_slab(struct budget *budget, struct budget_shelf *shelf, size_t bytes)
{
    pthread_mutex_lock(&shelf->lock);
    struct budget_slab *slab = slab_with_room(budget, shelf, bytes);
    struct budget_piece *piece = NULL;
    if (slab) {
        piece = (struct budget_piece *)((char *)(slab + 1) + slab->used);
        piece->slab = slab;
        slab->used += bytes;
        atomic_fetch_add_explicit(&slab->holders, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shelf->lock);
    return piece;
}

static struct budget_piece *piece_alone(struct budget *budget, struct budget_shelf *shelf, size_t bytes)
{
    pthread_mutex_lock(&shelf->lock);
    struct budget_slab *slab = slab_new(budget, shelf, bytes, false);
    pthread_mutex_unlock(&shelf->lock);
    if (!slab)
        return NULL;
    struct budget_piece *piece = (struct budget_piece *)(slab + 1);
    piece->slab = slab;
    return piece;
}

void *budget_alloc(struct budget *budget, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = sizeof(struct budget_piece) + ALIGNED(bytes);
    struct budget_shelf *shelf = shelf_of_thread(budget);
    struct budget_piece *piece = NULL;
    if (bytes <= SHARED_MAX_BYTES)
        piece = bytes <= CUT_MAX ? piece_small(budget, shelf, bytes) : piece_of_slab(budget, shelf, bytes);
    if (!piece)
        piece = piece_alone(budget, shelf, bytes); /* too large to share, or no whole slab is left to it */
    return piece ? piece + 1 : NULL;
}

void budget_free(struct budget *budget, void *memory)
{
    if (!memory)
        return;
    struct budget_slab *slab = ((struct budget_piece *)memory - 1)->slab;
    if (!slab_let_go(slab))
        return;
    struct budget_shelf *shelf = slab->shelf;
    pthread_mutex_lock(&shelf->lock);
    slab_free(budget, slab);
    pthread_mutex_unlock(&shelf->lock);
}

void budget_sweep(struct budget *budget, uint64_t epoch)
{
    for (size_t i = 0; i < BUDGET_SHELVES; i++) {
        struct budget_shelf *shelf = &budget->shelves[i];
        pthread_mutex_lock(&shelf->lock);
        for (struct budget_slab *slab = shelf->first, *after; slab; slab = after) {
            after = slab->after;
            if (slab->epoch >= epoch)
                continue;
            if (slab == shelf->current)
                shelf->current = NULL;
            slab_free(budget, slab);
        }
        pthread_mutex_unlock(&shelf->lock);
    }
}
