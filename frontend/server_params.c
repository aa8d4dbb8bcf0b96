/* frontend/server_params.c: percent-decoding of paths, query strings and form bodies.
 *
 * Source: WHATWG URL, application/x-www-form-urlencoded; as Go's net/url a lone '%' and a ';' between pairs are errors.
 */
#include "frontend/server_internal.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum status params_decode_text(struct arena *arena, struct str text, bool plus_is_space, struct str *ret_text,
                               struct error *reterr)
{
    char *out = arena_alloc(arena, text.len + 1);
    if (!out)
        return error_set(reterr, E_NOMEM, "no memory for the request's parameters");
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            int high = i + 1 < text.len ? hex_value(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                struct str escape = {text.ptr + i, text.len - i < 3 ? text.len - i : 3};
                return error_set(reterr, E_BAD_DATA, "invalid URL escape \"" STR_FORMAT "\"", STR_ARG(escape));
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    *ret_text = (struct str){out, n};
    return OK;
}

static size_t pairs_count(struct str text)
{
    size_t n = text.len ? 1 : 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '&';
    return n;
}

static enum status decode_pair(struct arena *arena, struct str pair, struct http_param *ret_param, struct error *reterr)
{
    if (memchr(pair.ptr, ';', pair.len))
        return error_set(reterr, E_BAD_DATA, "invalid semicolon separator in query");
    const char *equals = memchr(pair.ptr, '=', pair.len);
    size_t name_len = equals ? (size_t)(equals - pair.ptr) : pair.len;
    struct str name = {pair.ptr, name_len};
    struct str value = equals ? (struct str){equals + 1, pair.len - name_len - 1} : STR("");
    enum status status = params_decode_text(arena, name, true, &ret_param->name, reterr);
    return status == OK ? params_decode_text(arena, value, true, &ret_param->value, reterr) : status;
}

static enum status decode_pairs(struct arena *arena, struct str text, struct http_param *out, size_t *n,
                                struct error *reterr)
{
    while (text.len) {
        const char *end = memchr(text.ptr, '&', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : text.len;
        enum status status = len ? decode_pair(arena, (struct str){text.ptr, len}, &out[*n], reterr) : OK;
        if (status != OK)
            return status;
        *n += len > 0;
        size_t skip = end ? len + 1 : len;
        text = (struct str){text.ptr + skip, text.len - skip};
    }
    return OK;
}

enum status params_decode(struct arena *arena, struct str query, struct str form, const struct http_param **ret_params,
                          size_t *ret_n, struct error *reterr)
{
    size_t asked = pairs_count(query) + pairs_count(form);
    if (asked > HTTP_PARAMS_MAX)
        return error_set(reterr, E_BAD_DATA, "too many parameters: %zu, at most %d are taken", asked, HTTP_PARAMS_MAX);
    struct http_param *params = ARENA_ARRAY(arena, struct http_param, asked ? asked : 1);
    if (!params)
        return error_set(reterr, E_NOMEM, "no memory for %zu parameters", asked);
    size_t n = 0;
    enum status status = decode_pairs(arena, query, params, &n, reterr);
    if (status == OK)
        status = decode_pairs(arena, form, params, &n, reterr);
    *ret_params = params;
    *ret_n = n;
    return status;
}

const struct str *http_param(const struct http_request *request, const char *name)
{
    struct str wanted = str_from(name);
    for (size_t i = 0; i < request->params_n; i++)
        if (str_eq(request->params[i].name, wanted))
            return &request->params[i].value;
    return NULL;
}
