/* planner/capability.c: see capability.h. */
#include "planner/capability.h"

#include "base/assert.h"

static const struct {
    const char *name;
    const char *text;
} classes[PUSH_CLASS_MAX] = {
#define PUSH_CLASS(id, name, text) [PUSH_##id] = {name, text},
    PUSH_CLASSES(PUSH_CLASS)
#undef PUSH_CLASS
};

const char *push_class_name(enum push_class push_class)
{
    PRE((unsigned)push_class < PUSH_CLASS_MAX);
    return classes[push_class].name;
}

const char *push_class_text(enum push_class push_class)
{
    PRE((unsigned)push_class < PUSH_CLASS_MAX);
    return classes[push_class].text;
}

static enum status unknown_class(struct str name, struct error *reterr)
{
#define PUSH_CLASS(id, class_name, text) ", " class_name
    return error_set(reterr, E_BAD_DATA, "\"" STR_FORMAT "\" is no class of work to push; known are all, none%s",
                     STR_ARG(name), PUSH_CLASSES(PUSH_CLASS));
#undef PUSH_CLASS
}

enum status push_set_parse(struct str text, push_set *ret_set, struct error *reterr)
{
    if (str_eq(text, STR("all")) || str_eq(text, STR("none"))) {
        *ret_set = str_eq(text, STR("all")) ? PUSH_ALL : PUSH_NONE;
        return OK;
    }
    push_set set = PUSH_NONE;
    size_t begin = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != ',')
            continue;
        struct str name = {text.ptr + begin, i - begin};
        unsigned c = 0;
        while (c < PUSH_CLASS_MAX && !str_eq(name, str_from(classes[c].name)))
            c++;
        if (c == PUSH_CLASS_MAX)
            return unknown_class(name, reterr);
        set |= 1u << c;
        begin = i + 1;
    }
    *ret_set = set;
    return OK;
}
