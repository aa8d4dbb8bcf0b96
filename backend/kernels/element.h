/* backend/kernels/element.h: PromQL's operators and functions of single values, along grids with presence bits.
 *
 * Source   Prometheus promql/engine.go vectorElemBinop, promql/functions.go; and Go's package math where that differs
 *          from C's by more than the last bits: Pow multiplies by repeated squaring, Log2 splits off the exponent, Exp,
 * Cosh and Sinh overflow early (amd64), Min and Max let an infinity win over NaN. Absent   where an operand that is
 * needed has no value. NaN is a value. Dates    proleptic Gregorian, UTC, of whole seconds towards zero; NaN and what
 * no 64-bit integer holds are its least. Threads  pure functions. Memory: the caller's; results may not overlap
 * operands.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_ELEMENT_H
#define PROMSPLIT_BACKEND_KERNELS_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum element_function {
#define UNARY(id, name, function) ELEMENT_##id,
#include "backend/kernels/element.def"
    ELEMENT_FUNCTION_MAX
};

enum element_op {
#define ARITHMETIC(id, name, function) ELEMENT_##id,
#define COMPARISON(id, name, operator) ELEMENT_##id, ELEMENT_##id##_BOOL,
#include "backend/kernels/element.def"
    ELEMENT_AND,    /* left where right has a value; PromQL's set operators, of matching series */
    ELEMENT_UNLESS, /* left where right has none */
    ELEMENT_OP_MAX
};

extern const char *const element_function_names[ELEMENT_FUNCTION_MAX]; /* "abs" … */
extern const char *const element_op_names[ELEMENT_OP_MAX];             /* "add", "gtr", "gtr_bool" … */

/* n values and their presence bits; constant: values[0] everywhere, present is not looked at. */
struct element_side {
    const double *values;
    const uint64_t *present;
    bool constant;
};

/* Presence stays what it is. Values of absent elements may be anything. */
void element_apply(enum element_function function, const double *values, size_t n, double *ret_values);

/* Fills n values and their presence bits. Comparisons keep the left value, or the right one if left is constant. */
void element_combine(enum element_op op, const struct element_side *left, const struct element_side *right, size_t n,
                     double *ret_values, uint64_t *ret_present);

/* clamp(value, least, most): absent where most < least. */
void element_clamp(const struct element_side *value, const struct element_side *least, const struct element_side *most,
                   size_t n, double *ret_values, uint64_t *ret_present);

#endif
