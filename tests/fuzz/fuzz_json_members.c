/* The reader of JSON outlines on any bytes: what it finds lies inside the text, and what it finds can be read again. */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "frontend/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct str part, struct str whole)
{
    INVARIANT(part.ptr >= whole.ptr && part.len <= whole.len && part.ptr + part.len <= whole.ptr + whole.len);
}

static void read_texts(struct str raw)
{
    struct strbuf text, again, back;
    strbuf_init(&text, 1u << 20);
    strbuf_init(&again, 8u << 20);
    strbuf_init(&back, 8u << 20);
    if (json_text(&text, raw)) {
        strbuf_json(&again, strbuf_view(&text));
        INVARIANT(again.status != OK || json_text(&back, strbuf_view(&again)));
    }
    strbuf_release(&text);
    strbuf_release(&again);
    strbuf_release(&back);
}

/* Over a value and all in it, to some depth; it moves on at every step. */
static bool read_in_place(struct str *rest, struct str whole, unsigned depth)
{
    char open = json_peek(rest);
    struct str name, value;
    inside(*rest, whole);
    if ((open != '{' && open != '[') || depth > 20)
        return json_value(rest, &value);
    enum json_step step;
    for (bool first = true; (step = json_enter(rest, open, first, &name)) == JSON_ITEM; first = false) {
        inside(*rest, whole);
        if (open == '{')
            inside(name, whole);
        if (!read_in_place(rest, whole, depth + 1))
            return false;
    }
    inside(*rest, whole);
    return step == JSON_END;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str whole = {(const char *)data, size};
    struct json_member members[] = {{.name = STR("data")}, {.name = STR("a")}, {.name = STR("")}};
    if (json_members(whole, members, ARRAY_LENGTH(members)))
        for (size_t i = 0; i < ARRAY_LENGTH(members); i++)
            if (members[i].value.ptr) {
                inside(members[i].value, whole);
                INVARIANT(members[i].value.len > 0);
            }
    struct str rest = whole, element, name, value;
    while (json_next(&rest, &element)) {
        inside(element, whole);
        inside(rest, whole);
        read_texts(element);
    }
    for (rest = whole; json_next_member(&rest, &name, &value);) {
        inside(name, whole);
        inside(value, whole);
        read_texts(name);
    }
    read_texts(whole);
    bool good = read_in_place(&whole, whole, 0);
    INVARIANT(!good || whole.len < size);
    return 0;
}
