/* tests/unit/promql/promql_fixture.c: see promql_fixture.h. */
#include "promql_fixture.h"

#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- case files ------------------------------------------------------------------------------------------------- */

static char *joined(const char *old, const char *line)
{
    size_t length = old ? strlen(old) + 1 : 0;
    char *text = calloc(1, length + strlen(line) + 1);
    assert_non_null(text);
    if (old)
        sprintf(text, "%s\n%s", old, line);
    else
        strcpy(text, line);
    return text;
}

static void append_line(char **place, const char *line)
{
    char *old = *place;
    *place = joined(old, line);
    free(old);
}

static struct promql_case *add_case(struct promql_cases *cases, unsigned line)
{
    cases->at = realloc(cases->at, (cases->n + 1) * sizeof *cases->at);
    assert_non_null(cases->at);
    cases->at[cases->n] = (struct promql_case){.line = line};
    return &cases->at[cases->n++];
}

struct promql_cases promql_cases_read(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TEST_SOURCE_DIR "/unit/promql/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct promql_cases cases = {0};
    struct promql_case *current = NULL;
    char **place = NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    for (unsigned number = 1; (length = getline(&line, &capacity, file)) >= 0; number++) {
        if (length > 0 && line[length - 1] == '\n')
            line[--length] = '\0';
        if (line[0] == '#')
            continue;
        if (length < 1 || (length > 1 && line[1] != ' ') || !strchr("?=!+", line[0]))
            fail_msg("%s:%u: not a case line: %s", path, number, line);
        if (line[0] == '?')
            current = add_case(&cases, number);
        assert_non_null(current);
        if (line[0] != '+')
            place = line[0] == '?' ? &current->input : line[0] == '=' ? &current->answer : &current->message;
        append_line(place, length > 2 ? line + 2 : "");
    }
    free(line);
    fclose(file);
    for (size_t i = 0; i < cases.n; i++)
        if (!cases.at[i].answer && !cases.at[i].message)
            cases.at[i].answer = joined(NULL, cases.at[i].input);
    return cases;
}

void promql_cases_free(struct promql_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++) {
        free(cases->at[i].input);
        free(cases->at[i].answer);
        free(cases->at[i].message);
    }
    free(cases->at);
}

/* -- regular expressions ---------------------------------------------------------------------------------------- */

static enum status fake_check(void *arg, struct str pattern, struct error *reterr)
{
    if (str_eq(pattern, STR("(")))
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: missing closing ): `(`");
    if (str_eq(pattern, STR("[")))
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: missing closing ]: `[`");
    return OK;
}

static bool fake_matches(void *arg, struct str pattern, struct str text)
{
    char expression[256], subject[256];
    regex_t regex;
    snprintf(expression, sizeof expression, "^(" STR_FORMAT ")$", STR_ARG(pattern));
    snprintf(subject, sizeof subject, STR_FORMAT, STR_ARG(text));
    if (regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool matches = regexec(&regex, subject, 0, NULL, 0) == 0;
    regfree(&regex);
    return matches;
}

const struct regex_engine FAKE_REGEX = {.check = fake_check, .matches = fake_matches};

/* -- parsing and printing --------------------------------------------------------------------------------------- */

enum status parse_any(struct arena *arena, struct str text, struct expr **ret_root, struct error *reterr)
{
    struct query_text query;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    enum status status = promql_parse(arena, text, &limits, &FAKE_REGEX, &query, reterr);
    if (status == OK)
        *ret_root = query.root;
    return status;
}

struct expr *parse_ok(struct arena *arena, const char *text)
{
    struct expr *root = NULL;
    struct error error;
    if (parse_any(arena, str_from(text), &root, &error) != OK)
        fail_msg("%s: %s", text, error.message);
    return root;
}

char *printed(const struct expr *expr, const struct print_options *options)
{
    struct strbuf text;
    struct error error;
    strbuf_init(&text, 1 << 24);
    promql_print(&text, expr, options);
    assert_int_equal(strbuf_status(&text, "the text", &error), OK);
    strbuf_char(&text, '\0');
    return strbuf_detach(&text, NULL);
}
