/* planner/notes.h: remarks (infos, warnings) in the user's words: those on pushed parts, and upstream's.
 *
 * Prometheus 3 remarks that rate or increase was asked of a metric whose name is not a counter's, if such a series has
 * a value. A fragment's notes hold when its answer is not empty: only those are made whose value every element of the
 * answer rests on. Where an empty answer does not say that they don't hold (fragment->notes_hidden), the query is
 * planned once more with remarks_apart. Such a call of several metrics at once is not pushed (notes_of_some). Source:
 * Prometheus promql/engine.go (eval, rate and increase), util/annotations (NewPossibleNonCounterInfo).
 *
 * Memory: the arena. Threads: no state.
 */
#ifndef PROMSPLIT_PLANNER_NOTES_H
#define PROMSPLIT_PLANNER_NOTES_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "planner/split.h"

#define NOTES_MAX 60u /* of one fragment; Prometheus shows ten and says how many more there are */

/* Fills the fragment's notes; query is the whole text, for positions. E_NOMEM. */
MUST_USE enum status notes_make(struct arena *arena, struct str query, struct fragment *fragment, struct error *reterr);

/* Whether Prometheus 3 may remark on something inside. */
bool notes_possible(const struct expr *expr);

/* Whether an operand is one that Prometheus 3 may remark on and this node may be empty while it is not. */
bool notes_hidden_by(const struct expr *expr);

/* Whether Prometheus 3 may remark on series of this call, by names that only its values would tell. */
bool notes_of_some(const struct expr_call *call, const struct plan_options *options);

/* "3:7": where byte `at` of the query stands, both counted from 1, as Prometheus puts it behind its remarks. */
void notes_write_position(struct strbuf *out, struct str query, uint32_t at);

/* A remark of upstream's on the residual ends in a position of that text, "… (1:86)". Appends it with the position of
 * the same node in the user's query; unchanged where none is found. residual is the text that upstream was sent. */
void notes_translate(struct strbuf *out, struct arena *arena, const struct split *split, struct str residual,
                     struct str remark);

#endif
