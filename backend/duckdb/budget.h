/* backend/duckdb/budget.h: memory of aggregate states: bounded, all queries together, and never lost.
 *
 * The engine destroys the states of a statement that is read to its end, and of one that fails while it gathers rows.
 * Of one that is stopped between that and its last group it forgets states (RadixHTGlobalSinkState::Destroy of DuckDB
 * 1.4 takes them for destroyed). So all of it is on lists, with the number of the epoch it was made in. The engine's
 * owner (engine.c) begins a new epoch after each statement that did not run to its end, and sweeps what is older than
 * all statements under way: nobody but the engine could know of it, and the engine forgot.
 *
 * Small allocations share slabs, which count as a whole: a thread that made one since the last sweep holds one still.
 *
 * Threads: any.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_BUDGET_H
#define PROMSPLIT_BACKEND_DUCKDB_BUDGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/duckdb/blocks.h"

#define BUDGET_SHELVES 32 /* lists, each with its lock: threads seldom meet */

struct budget_shelf {
    pthread_mutex_t lock;
    struct budget_slab *first;
    struct budget_slab *current; /* that pieces are cut off; NULL: none */
    unsigned slabs_n;
    char apart[128]; /* threads share no cache lines, nor neighbouring ones */
};

struct budget {
    _Atomic uint64_t used_bytes;
    uint64_t max_bytes;
    _Atomic uint64_t epoch;
    uint64_t number; /* no other budget has or had it */
    struct budget_shelf shelves[BUDGET_SHELVES];
    struct blocks blocks; /* of slabs, once there are many */
};

void budget_init(struct budget *budget, uint64_t max_bytes);
void budget_release(struct budget *budget); /* frees what is left */

/* For memory that does not outlive a call: only counts. False: too much. */
bool budget_take(struct budget *budget, uint64_t bytes);
void budget_give_back(struct budget *budget, uint64_t bytes);

/* Memory of a state; NULL: too much, or none. */
void *budget_alloc(struct budget *budget, size_t bytes);
void budget_free(struct budget *budget, void *memory); /* NULL is fine */

/* Frees what was made before that epoch. */
void budget_sweep(struct budget *budget, uint64_t epoch);

#endif
