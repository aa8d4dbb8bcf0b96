/* promql/grammar.y: the syntax of PromQL 3.x, for lemon.
 *
 * Actions only call the builders of builder.h. The rules keep the shape of upstream's grammar where it decides which
 * message a broken text gets: the `error` rules name the place, and builder_unexpected words it. Lemon must report no
 * conflict; where upstream lets its tool settle one, precedence or an extra rule says the same here.
 *
 * Source: Prometheus promql/parser/generated_parser.y.
 */
%name grammar_
%token_prefix TK_
%token_type {struct token}
%extra_context {struct builder *b}
%stack_size 1024
%stack_overflow { builder_stack_overflow(b); }
%parse_failure { builder_unexpected(b, "", ""); }

%include {
#include "promql/builder.h"
}

/* Lowest first. OFFSET_END: a duration behind `offset` goes on as long as its operators can. */
%nonassoc OFFSET_END GROUP_END.
%nonassoc LEFT_PAREN.
%left LOR.
%left LAND LUNLESS.
%left EQLC GTE GTR LSS LTE NEQ TRIM_UPPER TRIM_LOWER.
%left ADD SUB.
%left MUL DIV MOD ATAN2.
%right POW.
%nonassoc OFFSET AT ANCHORED SMOOTHED.
%right LEFT_BRACKET.

/* Tokens the rules do not use: the lexer's report of a character it cannot place. */
%token LEX_ERROR.

/* Keywords by where they may stand as plain names. A class used in several rules must be one class, else lemon sees
 * two. */
%token_class sign ADD|SUB.
%token_class aggregator AVG|BOTTOMK|COUNT|COUNT_VALUES|GROUP|LIMITK|LIMIT_RATIO|MAX|MIN|QUANTILE|STDDEV|STDVAR|SUM|TOPK.
%token_class callable IDENTIFIER|START|END|STEP|RANGE|MAX_OF|MIN_OF.
%token_class metric_word METRIC_IDENTIFIER|BY|WITHOUT|LAND|LOR|LUNLESS|OFFSET|ANCHORED|SMOOTHED.
%token_class label_word METRIC_IDENTIFIER|BY|LAND|LOR|LUNLESS|ATAN2|OFFSET|ANCHORED|SMOOTHED|BOOL|ON|IGNORING
    |GROUP_LEFT|GROUP_RIGHT|FILL|FILL_LEFT|FILL_RIGHT.

%type expr {struct expr *}
%type call_body {struct expr_list}
%type call_args {struct expr_list}
%type selector {struct expr *}
%type matcher_list {struct matcher_list}
%type braces {struct braces}
%type label_matcher {struct matcher_item}
%type match_op {struct token}
%type metric_name {struct token}
%type aggregate_op {struct token}
%type grouping {struct grouping}
%type labels {struct name_list_builder}
%type label_list {struct name_list_builder}
%type label {struct token}
%type modifier {struct modifier *}
%type group_modifier {struct modifier *}
%type on_modifier {struct modifier *}
%type bool_modifier {struct modifier *}
%type group_labels {struct name_list_builder}
%type fill_value {double}
%type number {struct number_value}
%type timestamp {struct number_value}
%type duration {struct duration_expr *}
%type signed_duration {struct duration_expr *}
%type wrapped_duration {struct duration_expr *}
%type extremum {struct duration_expr *}
%type range_duration {struct duration_expr *}
%type offset_duration {struct duration_expr *}
%type offset_chain {struct duration_expr *}

start ::= START_EXPRESSION expr(E) EOF.            { builder_finish(b, E); }
start ::= START_EXPRESSION EOF.                    { builder_empty(b); }
start ::= START_SELECTOR selector(E) EOF.          { builder_finish(b, E); }

/* -- expressions ------------------------------------------------------------------------------------------------ */

expr(A) ::= number(N).                             { A = build_number(b, N); }
expr(A) ::= STRING(S).                             { A = build_string(b, S); }
expr(A) ::= selector(A).
expr(A) ::= LEFT_PAREN(L) expr(E) RIGHT_PAREN(R).  { A = build_paren(b, L, E, R); }
expr(A) ::= sign(O) expr(E). [MUL]              { A = build_unary(b, O, E); }

expr(A) ::= expr(L) LOR(O) modifier(M) expr(R).         { A = build_binary(b, L, O, M, R); }
expr(A) ::= expr(L) LAND|LUNLESS(O) modifier(M) expr(R). { A = build_binary(b, L, O, M, R); }
expr(A) ::= expr(L) EQLC|GTE|GTR|LSS|LTE|NEQ|TRIM_UPPER|TRIM_LOWER(O) modifier(M) expr(R). {
    A = build_binary(b, L, O, M, R);
}
expr(A) ::= expr(L) sign(O) modifier(M) expr(R).           { A = build_binary(b, L, O, M, R); }
expr(A) ::= expr(L) MUL|DIV|MOD|ATAN2(O) modifier(M) expr(R). { A = build_binary(b, L, O, M, R); }
expr(A) ::= expr(L) POW(O) modifier(M) expr(R).               { A = build_binary(b, L, O, M, R); }

expr(A) ::= callable(N) call_body(C).                        { A = build_call(b, N, C); }
call_body(A) ::= LEFT_PAREN call_args(L) RIGHT_PAREN(R).     { A = L; A.end = R.range.end; }
call_body(A) ::= LEFT_PAREN RIGHT_PAREN(R).                  { A = (struct expr_list){.end = R.range.end}; }
call_args(A) ::= expr(E).                                    { A = expr_list_add(b, (struct expr_list){0}, E); }
call_args(A) ::= call_args(L) COMMA expr(E).                 { A = expr_list_add(b, L, E); }
call_args(A) ::= call_args(A) COMMA(C).                      { builder_trailing_comma(b, C); }

expr(A) ::= aggregate_op(O) grouping(G) call_body(C).        { A = build_aggregate(b, O, G, C, C.end); }
expr(A) ::= aggregate_op(O) call_body(C) grouping(G).        { A = build_aggregate(b, O, G, C, G.end); }
expr(A) ::= aggregate_op(O) call_body(C).                    { A = build_plain_aggregate(b, O, C); }
expr(A) ::= aggregate_op error.                              { A = builder_unexpected(b, "aggregation", ""); }
aggregate_op(A) ::= aggregator(A).
grouping(A) ::= BY labels(L).                                { A = (struct grouping){L.names, false, true, L.end}; }
grouping(A) ::= WITHOUT labels(L).                           { A = (struct grouping){L.names, true, true, L.end}; }

/* -- modifiers of binary operators ------------------------------------------------------------------------------ */

bool_modifier(A) ::= .                                       { A = NULL; }
bool_modifier(A) ::= BOOL.                                   { A = modifier_bool(b); }
on_modifier(A) ::= bool_modifier(M) ON labels(L).            { A = modifier_matching(b, M, true, L.names); }
on_modifier(A) ::= bool_modifier(M) IGNORING labels(L).      { A = modifier_matching(b, M, false, L.names); }
group_modifier(A) ::= bool_modifier(A).
group_modifier(A) ::= on_modifier(A).
group_modifier(A) ::= on_modifier(M) GROUP_LEFT group_labels(L). {
    A = modifier_group(b, M, CARD_MANY_TO_ONE, L.names);
}
group_modifier(A) ::= on_modifier(M) GROUP_RIGHT group_labels(L). {
    A = modifier_group(b, M, CARD_ONE_TO_MANY, L.names);
}
group_labels(A) ::= . [GROUP_END]                            { A = builder_no_group_labels(b); }
group_labels(A) ::= labels(A).
modifier(A) ::= group_modifier(A).
modifier(A) ::= group_modifier(M) FILL fill_value(V). {
    A = modifier_fill(b, modifier_fill(b, M, true, V), false, V);
}
modifier(A) ::= group_modifier(M) FILL_LEFT fill_value(V).   { A = modifier_fill(b, M, true, V); }
modifier(A) ::= group_modifier(M) FILL_RIGHT fill_value(V).  { A = modifier_fill(b, M, false, V); }
modifier(A) ::= group_modifier(M) FILL_LEFT fill_value(V) FILL_RIGHT fill_value(W). {
    A = modifier_fill(b, modifier_fill(b, M, true, V), false, W);
}
modifier(A) ::= group_modifier(M) FILL_RIGHT fill_value(W) FILL_LEFT fill_value(V). {
    A = modifier_fill(b, modifier_fill(b, M, true, V), false, W);
}
fill_value(A) ::= LEFT_PAREN number(N) RIGHT_PAREN.          { A = N.value; }
fill_value(A) ::= LEFT_PAREN sign(O) number(N) RIGHT_PAREN.  { A = number_signed(O, N).value; }

/* -- lists of label names --------------------------------------------------------------------------------------- */

labels(A) ::= LEFT_PAREN label_list(L) RIGHT_PAREN(R).       { A = L; A.end = R.range.end; }
labels(A) ::= LEFT_PAREN label_list(L) COMMA RIGHT_PAREN(R). { A = L; A.end = R.range.end; }
labels(A) ::= LEFT_PAREN RIGHT_PAREN(R).                     { A = (struct name_list_builder){.end = R.range.end}; }
labels(A) ::= error.                                         { A = builder_unexpected_names(b, "\"(\""); }
label_list(A) ::= label(N).                                  { A = name_list_add(b, (struct name_list_builder){0}, N); }
label_list(A) ::= label_list(L) COMMA label(N).              { A = name_list_add(b, L, N); }
label_list(A) ::= label_list error.                          { A = builder_unexpected_names(b, "\",\" or \")\""); }
label(A) ::= label_word(A).
label(A) ::= aggregator(A).
label(A) ::= callable(A).
label(A) ::= STRING(A).
label(A) ::= error. {
    builder_unexpected(b, "grouping opts", "label"); A = b->token;
}

/* -- selectors -------------------------------------------------------------------------------------------------- */

selector(A) ::= metric_name(N).                              { A = build_named_selector(b, N, NULL); }
selector(A) ::= metric_name(N) braces(M).                    { A = build_named_selector(b, N, &M); }
selector(A) ::= braces(M).                                   { A = build_selector(b, &M); }
metric_name(A) ::= metric_word(A).
metric_name(A) ::= aggregator(A).
metric_name(A) ::= callable(A).
braces(A) ::= LEFT_BRACE(L) RIGHT_BRACE(R).                  { A = braces_close(L, (struct matcher_list){0}, R); }
braces(A) ::= LEFT_BRACE(L) matcher_list(M) RIGHT_BRACE(R).  { A = braces_close(L, M, R); }
braces(A) ::= LEFT_BRACE(L) matcher_list(M) COMMA RIGHT_BRACE(R). { A = braces_close(L, M, R); }
matcher_list(A) ::= label_matcher(M).                        { A = matcher_list_add(b, (struct matcher_list){0}, M); }
matcher_list(A) ::= matcher_list(L) COMMA label_matcher(M).  { A = matcher_list_add(b, L, M); }
matcher_list(A) ::= matcher_list(A) error. {
    builder_unexpected(b, "label matching", "\",\" or \"}\"");
}
label_matcher(A) ::= IDENTIFIER(N) match_op(O) STRING(V).    { A = (struct matcher_item){N, O, V}; }
label_matcher(A) ::= STRING(N) match_op(O) STRING(V).        { A = (struct matcher_item){N, O, V}; }
label_matcher(A) ::= STRING(N).                              { A = (struct matcher_item){N, N, N}; }
label_matcher(A) ::= STRING(N) match_op error.               { A = builder_unexpected_matcher(b, N, "string"); }
label_matcher(A) ::= IDENTIFIER(N) match_op error.           { A = builder_unexpected_matcher(b, N, "string"); }
label_matcher(A) ::= IDENTIFIER(N) error. {
    A = builder_unexpected_matcher(b, N, "label matching operator");
}
label_matcher(A) ::= error. {
    A = builder_unexpected_matcher(b, b->token, "identifier or \"}\"");
}
match_op(A) ::= EQL|NEQ|EQL_REGEX|NEQ_REGEX(A).

/* -- offset, @, anchored, smoothed ------------------------------------------------------------------------------ */

expr(A) ::= expr(A) OFFSET offset_duration(D).               { apply_offset(b, A, D); }
expr(A) ::= expr OFFSET error. {
    A = builder_unexpected(b, "offset", "number or duration");
}
expr(A) ::= expr(A) AT timestamp(T).                         { apply_at_time(b, A, T); }
expr(A) ::= expr(A) AT START LEFT_PAREN RIGHT_PAREN(R).      { apply_at(b, A, AT_START, R); }
expr(A) ::= expr(A) AT END LEFT_PAREN RIGHT_PAREN(R).        { apply_at(b, A, AT_END, R); }
expr(A) ::= expr AT error.                                   { A = builder_unexpected(b, "@", "timestamp"); }
expr(A) ::= expr(A) ANCHORED|SMOOTHED(K).                    { apply_range_modifier(b, A, K); }
timestamp(A) ::= number(A).
timestamp(A) ::= sign(O) number(N).                          { A = number_signed(O, N); }

/* -- ranges and subqueries -------------------------------------------------------------------------------------- */

expr(A) ::= expr(E) LEFT_BRACKET(L) range_duration(D) RIGHT_BRACKET(R). { A = build_matrix(b, E, L, D, R); }
expr(A) ::= expr(E) LEFT_BRACKET range_duration(D) COLON range_duration(S) RIGHT_BRACKET(R). {
    A = build_subquery(b, E, D, S, R);
}
expr(A) ::= expr(E) LEFT_BRACKET range_duration(D) COLON RIGHT_BRACKET(R). { A = build_subquery(b, E, D, NULL, R); }
expr(A) ::= expr LEFT_BRACKET range_duration COLON range_duration error. {
    A = builder_unexpected(b, "subquery selector", "\"]\"");
}
expr(A) ::= expr LEFT_BRACKET range_duration COLON error. {
    A = builder_unexpected(b, "subquery selector", "number or duration or \"]\"");
}
expr(A) ::= expr LEFT_BRACKET range_duration error. {
    A = builder_unexpected(b, "subquery or range", "\":\" or \"]\"");
}
expr(A) ::= expr LEFT_BRACKET error. {
    A = builder_unexpected(b, "subquery selector", "number or duration");
}

/* -- numbers and durations -------------------------------------------------------------------------------------- */

number(A) ::= NUMBER(N).                                     { A = number_of(b, N); }
number(A) ::= DURATION(N).                                   { A = number_of_duration(b, N); }

range_duration(A) ::= duration(D).                           { A = duration_positive(b, D); }

duration(A) ::= number(N).                                   { A = duration_literal(b, N); }
duration(A) ::= signed_duration(A).
duration(A) ::= wrapped_duration(A).
duration(A) ::= STEP(S) LEFT_PAREN RIGHT_PAREN(R).           { A = duration_leaf(b, DUR_STEP, S, R); }
duration(A) ::= RANGE(S) LEFT_PAREN RIGHT_PAREN(R).          { A = duration_leaf(b, DUR_RANGE, S, R); }
duration(A) ::= extremum(A).
duration(A) ::= duration(L) ADD duration(R).                 { A = duration_binary(b, DUR_ADD, L, R); }
duration(A) ::= duration(L) SUB duration(R).                 { A = duration_binary(b, DUR_SUB, L, R); }
duration(A) ::= duration(L) MUL duration(R).                 { A = duration_binary(b, DUR_MUL, L, R); }
duration(A) ::= duration(L) DIV(O) duration(R).              { A = duration_divide(b, DUR_DIV, L, O, R); }
duration(A) ::= duration(L) MOD(O) duration(R).              { A = duration_divide(b, DUR_MOD, L, O, R); }
duration(A) ::= duration(L) POW duration(R).                 { A = duration_binary(b, DUR_POW, L, R); }
signed_duration(A) ::= sign(O) duration(D). [MUL]         { A = duration_signed(b, O, D); }
wrapped_duration(A) ::= LEFT_PAREN(L) duration(D) RIGHT_PAREN(R). { A = duration_wrapped(b, L, D, R); }
extremum(A) ::= MAX_OF|MIN_OF|MAX|MIN(O) LEFT_PAREN duration(L) COMMA duration(R) RIGHT_PAREN(P). {
    A = duration_extremum(b, O, L, R, P);
}

/* Behind `offset` an operator belongs to the expression around it (`a offset 5m + b`), unless the duration opened with
 * a parenthesis or two signs, when it goes on as a duration. */
offset_duration(A) ::= number(N).                            { A = duration_literal(b, N); }
offset_duration(A) ::= sign(O) number(N).                 { A = duration_signed_literal(b, O, N); }
offset_duration(A) ::= STEP(S) LEFT_PAREN RIGHT_PAREN(R).    { A = duration_leaf(b, DUR_STEP, S, R); }
offset_duration(A) ::= RANGE(S) LEFT_PAREN RIGHT_PAREN(R).   { A = duration_leaf(b, DUR_RANGE, S, R); }
offset_duration(A) ::= sign(O) STEP(S) LEFT_PAREN RIGHT_PAREN(R). {
    A = duration_signed(b, O, duration_leaf(b, DUR_STEP, S, R));
}
offset_duration(A) ::= sign(O) RANGE(S) LEFT_PAREN RIGHT_PAREN(R). {
    A = duration_signed(b, O, duration_leaf(b, DUR_RANGE, S, R));
}
offset_duration(A) ::= extremum(A).
offset_duration(A) ::= sign(O) extremum(D).               { A = duration_signed(b, O, D); }
offset_duration(A) ::= sign(O) wrapped_duration(D).          { A = duration_signed_wrapped(b, O, D); }
offset_duration(A) ::= offset_chain(A). [OFFSET_END]
offset_chain(A) ::= wrapped_duration(A).
offset_chain(A) ::= sign(O) signed_duration(D).              { A = duration_chain_head(b, O, D); }
offset_chain(A) ::= offset_chain(L) ADD duration(R). {
    A = duration_binary(b, DUR_ADD, duration_chain_left(L), R);
}
offset_chain(A) ::= offset_chain(L) SUB duration(R). {
    A = duration_binary(b, DUR_SUB, duration_chain_left(L), R);
}
offset_chain(A) ::= offset_chain(L) MUL duration(R). {
    A = duration_binary(b, DUR_MUL, duration_chain_left(L), R);
}
offset_chain(A) ::= offset_chain(L) DIV(O) duration(R). {
    A = duration_divide(b, DUR_DIV, duration_chain_left(L), O, R);
}
offset_chain(A) ::= offset_chain(L) MOD(O) duration(R). {
    A = duration_divide(b, DUR_MOD, duration_chain_left(L), O, R);
}
offset_chain(A) ::= offset_chain(L) POW duration(R). {
    A = duration_binary(b, DUR_POW, duration_chain_left(L), R);
}

%code {
void builder_run(struct builder *b, int first_code)
{
    yyParser parser;
    size_t tokens = 0;
    grammar_Init(&parser, b);
    grammar_(&parser, first_code, b->token);
    do {
        b->token = lexer_next(&b->lexer);
        if (++tokens > b->limits->tokens_max)
            builder_fail(b, b->token.range, "query has more tokens than the limit of %zu", b->limits->tokens_max);
        else
            grammar_(&parser, b->token.code, b->token);
    } while (b->status == OK && b->token.code != TK_EOF);
    if (b->status == OK)
        grammar_(&parser, 0, b->token);
    grammar_Finalize(&parser);
}
}
