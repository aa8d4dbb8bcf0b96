/* base/json_read.h: the outline of JSON texts, found by skipping: nothing is built, nothing recurses.
 *
 * Values are views of the text, raw as they were written. Threads: no state.
 */
#ifndef PROMSPLIT_BASE_JSON_READ_H
#define PROMSPLIT_BASE_JSON_READ_H

#include "base/strbuf.h"

/* The byte ranges of the top-level members of a JSON object, without building anything: to pass a large "data" on as it
 * came. False if the text is no object; then no member is filled. Names are compared as written, the first of a name
 * counts, nesting deeper than 256 is refused. Only members whose names are asked for are filled. */
struct json_member {
    struct str name;  /* asked for */
    struct str value; /* the raw text of its value; ptr NULL: not there */
};
bool json_members(struct str object, struct json_member *members, size_t n);

/* The elements of an array, or the members of an object, one by one: *rest is the raw text at first, and is moved on.
 * False at the end and for text that is none. Names and texts come with their quotes; json_text takes them off. */
bool json_next(struct str *rest, struct str *ret_element);
bool json_next_member(struct str *rest, struct str *ret_name, struct str *ret_value);

/* The same in place, so that nested values are looked at once: *rest begins with a value, or behind the element before.
 * `open`, [ or {, says which of the two it is. JSON_ITEM: *rest begins with an element, or with a member's value, whose
 * name is *ret_name (with its quotes; NULL for arrays); the caller moves over it, by json_value at least. JSON_END:
 * *rest begins behind the closing bracket. */
enum json_step {
    JSON_ITEM,
    JSON_END,
    JSON_BROKEN
};
enum json_step json_enter(struct str *rest, char open, bool first, struct str *ret_name);

char json_peek(struct str *rest); /* the first character of what comes next, blanks passed over; NUL at the end */

/* The raw text of the value that comes next, of whatever kind; false if there is none. */
bool json_value(struct str *rest, struct str *ret_value);

/* Appends what a raw string value stands for; false if it is none. Half surrogates become U+FFFD. */
bool json_text(struct strbuf *out, struct str raw);

#endif
