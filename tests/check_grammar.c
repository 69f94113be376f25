/* check_grammar.c - constraints: which texts they accept, and their masks against every token tried. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glia.h>

#include "base/buf.h"
#include "check.h"
#include "format/json.h"
#include "grammar/grammar.h"
#include "tiny_tokenizer.h"

static glia_tokenizer *tokenizer;
static glia_vocab vocab;

static glia_grammar *compile(glia_grammar_kind kind, const char *text, glia_err *err) {
    const glia_grammar_source s = {.kind = kind, .text = text, .len = strlen(text)};
    glia_grammar *g;
    glia_grammar_compile(&g, &vocab, &s, err);
    return g;
}

static bool accepts(glia_grammar *g, const char *text) {
    bool yes = false;
    glia_err err = {0};
    const glia_status status = glia_grammar_accepts(g, text, strlen(text), &yes, &err);
    CHECK(!status, "\"%s\": %s", text, err.msg);
    return yes;
}

/* Texts that a constraint accepts, then texts that it refuses; NULL ends each list. */
typedef struct {
    glia_grammar_kind kind;
    const char *source;
    const char *yes[6], *no[6];
} row;

static const row rows[] = {
    {GLIA_GRAMMAR_REGEX, "a(b|c)*d?", {"a", "abcbd"}, {"", "d", "abx"}},
    {GLIA_GRAMMAR_REGEX, "[^a-c]{2,3}", {"xy", "\xc3\xa9\xe4\xb8\xad", "xyz"}, {"x", "xa", "wxyz"}},
    {GLIA_GRAMMAR_REGEX, "^(?:x{2}){1,2}$", {"xx", "xxxx"}, {"x", "xxx", "xxxxxx"}},
    {GLIA_GRAMMAR_REGEX, "(?=.*[0-9])(?!.*bad)[a-z0-9]{3,}", {"ab1", "9ba"}, {"abc", "1bad", "a1"}},
    {GLIA_GRAMMAR_REGEX, "(?i)k\\d\\s\\w", {"k1 _", "K2\tx"}, {"x1 _", "k1_"}},
    {GLIA_GRAMMAR_REGEX, "\\p{Lu}\\p{Ll}+", {"Ab", "\xc3\x89t\xc3\xa9"}, {"ab", "A1"}},
    {GLIA_GRAMMAR_REGEX, "[[:digit:]\\-x]+", {"1-x"}, {"a"}},
    {GLIA_GRAMMAR_REGEX, "a{0,100000}", {"", "aaaa"}, {"b"}},
    /* ambiguous: 2^20 ways to read the first text */
    {GLIA_GRAMMAR_RULES,
     "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"d\"",
     {"aaaaaaaaaaaaaaaaaaaadbcbcbcbcbcbcbcbcbcbc", "d"},
     {"ad", "adbc", "b"}},
    {GLIA_GRAMMAR_RULES,
     "e ::= e \"+\" e | e \"*\" e | \"(\" e \")\" | [0-9]+\nroot ::= e",
     {"1+2*(3+4)+5*6+7*8+9*10+11*12+13*14+15*16+17*18+19*20", "(1)"},
     {"1+", "(1+2", "+1"}},
    {GLIA_GRAMMAR_RULES,
     "root ::= x{2,}\nx ::= \"a\" x? | \"b\"",
     {"ab", "aa", "bb", "aab"},
     {"a", "b", "c"}},
    {GLIA_GRAMMAR_CHOICE, "[\"yes\", \"no\", \"no way\"]", {"yes", "no", "no way"}, {"", "n", "yesno"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{}",
     {"1", "{\"a\": [true, null]}", "\"\\ud83d\\ude00\""},
     {"", "01", "{a: 1}", "\"\\ud83d\""}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {}}, \"required\": "
     "[\"b\"], "
     "\"additionalProperties\": false}",
     {"{\"a\": 1, \"b\": []}", "{\"b\":\n  2}"},
     {"{}", "{\"a\": 1}", "{\"b\": 1, \"a\": 1}", "{\"b\": 1, \"c\": 1}", "{\"a\": 1.5, \"b\": 1}"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"number\", \"minimum\": -1.5, \"exclusiveMaximum\": 20}",
     {"-1.5", "0", "19.99", "-0.0"},
     {"-1.51", "20", "20.0", "100", "-2"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"integer\", \"multipleOf\": 7, \"minimum\": 8}",
     {"14", "7000"},
     {"7", "15", "0"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"multipleOf\": 0.01, \"type\": \"number\"}",
     {"1.25", "3", "0.10"},
     {"1.255", "0.001"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"string\", \"maxLength\": 2, \"pattern\": \"^a\"}",
     {"\"a\"", "\"a\\n\"", "\"a\\u00e9\"", "\"a\xc3\xa9\""},
     {"\"\"", "\"ba\"", "\"abc\"", "\"a\n\""}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"enum\": [1, \"x\", null, [2], {\"k\": true}]}",
     {"1", "1.0", "\"x\"", "[2]", "{\"k\": true}"},
     {"2", "\"y\"", "[2, 2]", "{}", "true"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"items\": {\"enum\": [1, 2, 3]}, \"type\": \"array\", \"uniqueItems\": true, \"minItems\": 2}",
     {"[1, 2]", "[3, 1, 2]"},
     {"[1]", "[1, 1]", "[1, 2, 3, 1]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"array\", \"contains\": {\"const\": 5}, \"maxContains\": 1, \"items\": {\"type\": "
     "\"integer\"}}",
     {"[5]", "[1, 5, 2]"},
     {"[]", "[1]", "[5, 5]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"oneOf\": [{\"type\": \"integer\"}, {\"minimum\": 2}]}",
     {"1", "2.5", "\"a\""},
     {"3", "1.5"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"if\": {\"properties\": {\"k\": {\"const\": 1}}, \"required\": [\"k\"]}, \"then\": {\"required\": "
     "[\"x\"]}, "
     "\"type\": \"object\"}",
     {"{}", "{\"k\": 1, \"x\": 0}", "{\"k\": 2}"},
     {"{\"k\": 1}", "1"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"not\": {\"patternProperties\": {\"^x\": {\"type\": \"null\"}}}, \"type\": \"object\"}",
     {"{\"x\": 1}", "{\"a\": 0, \"xy\": 1}"},
     {"{}", "{\"x\": null}", "{\"a\": 1}"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": 1}",
     {"{\"a\": 1}"},
     {"{}", "{\"a\": 1, \"b\": 2}"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"$ref\": \"#/$defs/t\", \"$defs\": {\"t\": {\"type\": \"array\", \"items\": {\"$ref\": "
     "\"#/$defs/t\"}}}}",
     {"[]", "[[], [[]]]"},
     {"[1]", "[[]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"allOf\": [{\"properties\": {\"a\": {}}}], \"anyOf\": [{\"properties\": {\"b\": {\"const\": 1}}, "
     "\"required\": [\"b\"]}, {\"properties\": {\"c\": {\"const\": 1}}, \"required\": [\"c\"]}], "
     "\"type\": \"object\", \"unevaluatedProperties\": false}",
     {"{\"a\": 0, \"b\": 1}", "{\"c\": 1}", "{\"b\": 1, \"c\": 1}"},
     {"{}", "{\"b\": 1, \"c\": 2}", "{\"b\": 1, \"d\": 1}", "{\"a\": 0}"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"prefixItems\": [{\"const\": 1}], \"if\": {\"prefixItems\": [{}, {\"const\": 2}], \"minItems\": 2}, "
     "\"unevaluatedItems\": {\"type\": \"string\"}, \"type\": \"array\"}",
     {"[]", "[1, 2]", "[1, \"x\"]", "[1, 2, \"x\"]"},
     {"[2]", "[1, 3]", "[1, 2, 2]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"$schema\": \"http://json-schema.org/draft-07/schema#\", \"definitions\": {\"t\": {\"type\": "
     "\"array\"}}, "
     "\"items\": {\"$ref\": \"#/definitions/t\", \"maxItems\": 1}, \"type\": \"array\"}",
     {"[[1, 2]]"},
     {"[1]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"$defs\": {\"e\": {\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"array\", \"items\": {\"anyOf\": "
     "[{\"$ref\": \"#/$defs/e\"}, {\"not\": {\"$ref\": \"#/$defs/e\"}, \"const\": true}]}}, {\"minLength\": "
     "2, "
     "\"type\": [\"string\", \"integer\"], \"maximum\": 3}]}}, \"$ref\": \"#/$defs/e\"}",
     {"4", "[[5], true, \"ab\"]", "[]"},
     {"3", "[false]", "\"a\"", "[[3]]"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"not\": {\"anyOf\": [true, {\"properties\": {\"foo\": true}}], \"unevaluatedProperties\": false}}",
     {"{\"bar\": 1}", "{\"foo\": 1, \"bar\": 1}"},
     {"{\"foo\": 1}", "{}", "1"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"not\": {\"format\": \"ipv4\"}, \"type\": \"string\"}",
     {"\"1.2.3\"", "\"1.2.3.256\""},
     {"\"1.2.3.4\""}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"string\", \"format\": \"iri\"}",
     {"\"http://\xc6\x92.example/\xc3\xa9?\xe2\x88\x82#x\""},
     {"\"\xc3\xa9\"", "\"http://a b\""}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"type\": \"integer\", \"maximum\": 18446744073709551616, \"minimum\": 18446744073709551615}",
     {"18446744073709551616"},
     {"18446744073709551617", "18446744073709552000"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"properties\": {\"s\": {\"$ref\": \"http://json-schema.org/draft-07/schema#\"}}, \"type\": "
     "\"object\"}",
     {"{\"s\": {\"properties\": {\"a\": {\"type\": [\"null\", \"string\"]}, \"b\": true}}}", "{}"},
     {"{\"s\": {\"properties\": {\"a\": {\"type\": \"text\"}}}}", "{\"s\": 1}",
      "{\"s\": {\"minLength\": -1}}"}},
    {GLIA_GRAMMAR_JSON_SCHEMA,
     "{\"format\": \"date-time\", \"type\": \"string\"}",
     {"\"2024-02-29T23:59:60Z\"", "\"2023-12-31T00:00:00.5+01:00\""},
     {"\"2023-02-29T00:00:00Z\"", "\"2024-01-01T23:58:60Z\""}},
};

static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {0};
        glia_grammar *g = compile(rows[i].kind, rows[i].source, &err);
        CHECK(g, "%s: %s", rows[i].source, err.msg);
        for (int k = 0; g && k < 6 && rows[i].yes[k]; k++)
            CHECK(accepts(g, rows[i].yes[k]), "%s refuses %s", rows[i].source, rows[i].yes[k]);
        for (int k = 0; g && k < 6 && rows[i].no[k]; k++)
            CHECK(!accepts(g, rows[i].no[k]), "%s accepts %s", rows[i].source, rows[i].no[k]);
        glia_grammar_release(g);
    }
}

/* What is refused, and a part of the sentence. */
static const struct {
    glia_grammar_kind kind;
    const char *source, *says;
} refused[] = {
    {GLIA_GRAMMAR_REGEX, "a(b", "without \")\""},
    {GLIA_GRAMMAR_REGEX, "(a)\\1", "back reference at byte 6"},
    {GLIA_GRAMMAR_REGEX, "\\bword", "depends on the characters around"},
    {GLIA_GRAMMAR_REGEX, "a{3,2}", "from a higher to a lower"},
    {GLIA_GRAMMAR_CHOICE, "[]", "found an empty one"},
    {GLIA_GRAMMAR_CHOICE, "[1]", "choice 1: expected a string, found"},
    {GLIA_GRAMMAR_RULES, "root ::= other", "a name that no rule has in line 1, byte 10"},
    {GLIA_GRAMMAR_RULES, "root ::= x \"a\" | \"b\"\nx ::= root \"c\"",
     "begins with itself through other rules"},
    {GLIA_GRAMMAR_RULES, "root ::= \"a", "without its closing quote"},
    {GLIA_GRAMMAR_RULES, "a ::= \"a\"", "no rule is called root"},
    {GLIA_GRAMMAR_TAG, "{\"type\": \"x\"}", "expected a format with a known"},
    {GLIA_GRAMMAR_TOOLS, "{\"tools\": []}", "expected an array that is not empty"},
    {GLIA_GRAMMAR_TOOLS, "{}", "tools: expected an array that is not empty, found nothing"},
    {GLIA_GRAMMAR_TOOLS, "{\"tools\": [{\"name\": \"f\"}], \"tool_choice\": {\"name\": \"g\"}}",
     "no tool is called \"g\""},
    {GLIA_GRAMMAR_JSON_SCHEMA, "[]", "schema"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"type\": \"text\"}", "\"type\": expected null, boolean"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"minLength\": -1}",
     "\"minLength\": expected an integer of at least 0, found -1"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"$ref\": \"#\"}", "leads back to itself"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"$ref\": \"http://a/b\"}", "is not in the document"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"$ref\": \"http://json-schema.org/draft-07/schema#/no\"}",
     "is not in the document"},
    {GLIA_GRAMMAR_JSON_SCHEMA, "{\"pattern\": \"a(\"}", "pattern: a \"(\" without \")\""},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        glia_err err = {0};
        glia_grammar *g = compile(refused[i].kind, refused[i].source, &err);
        CHECK(!g, "%s is accepted", refused[i].source);
        CHECK(strstr(err.msg, refused[i].says), "%s: \"%s\", wanted \"%s\"", refused[i].source, err.msg,
              refused[i].says);
        glia_grammar_release(g);
    }
}

static void test_strict(void **state) {
    (void)state;
    const char *text = "{\"type\": \"array\", \"uniqueItems\": true}";
    glia_grammar_source s = {.kind = GLIA_GRAMMAR_JSON_SCHEMA, .text = text, .len = strlen(text)};
    glia_grammar *g;
    glia_err err = {0};
    CHECK(!glia_grammar_compile(&g, &vocab, &s, &err), "%s", err.msg);
    CHECK(glia_grammar_warning(g, 0) && strstr(glia_grammar_warning(g, 0), "uniqueItems"), "no warning");
    CHECK(!glia_grammar_warning(g, 1), "a second warning");
    glia_grammar_release(g);
    s.strict = true;
    CHECK(glia_grammar_compile(&g, &vocab, &s, &err) == GLIA_ERR_UNSUPPORTED, "strict accepts");
    s.strict = false;
    s.text = "{\"type\": \"array\"}";
    s.len = strlen(s.text);
    s.whitespace = "compact";
    CHECK(!glia_grammar_compile(&g, &vocab, &s, &err), "%s", err.msg);
    CHECK(accepts(g, "[1,2]") && !accepts(g, "[1, 2]"), "compact");
    glia_grammar_release(g);
    s.whitespace = "x";
    CHECK(glia_grammar_compile(&g, &vocab, &s, &err) == GLIA_ERR_ARGUMENT, "blanks of x");
}

/* ---- masks ------------------------------------------------------------------------ */

enum { STEPS = 60 };

/* The mask of the guide's place equals every token tried. Returns a random allowed token; -1: none. */
static int32_t check_mask(glia_guide *s, const char *source) {
    uint64_t mask[8];
    uint32_t places[3];
    glia_err err = {0};
    const int32_t ending = 259;
    int32_t allowed[512];
    int n = 0;
    CHECK(!glia_guide_mask(s, mask, 260, &ending, 1, NULL, &err), "%s: %s", source, err.msg);
    for (int32_t id = 0; id < 260; id++) {
        glia_guide one;
        glia_guide_fork(&one, s, places, 2);
        const bool may = glia_guide_accept(&one, id, &ending, 1);
        CHECK(may == (mask[id / 64] >> id % 64 & 1), "%s: token %d after %zu tokens: %d in the mask", source,
              id, s->n, !may);
        if (may && id != ending) allowed[n++] = id;
    }
    return n ? allowed[check_u32() % (uint32_t)n] : -1;
}

static void walk(glia_grammar *g, const char *source) {
    uint32_t places[STEPS + 1];
    glia_guide s;
    glia_err err = {0};
    CHECK(!glia_guide_begin(&s, g, GLIA_THINK_NO, places, STEPS, &err), "%s: %s", source, err.msg);
    for (int i = 0; i < STEPS; i++) {
        char forced[16];
        const size_t n = glia_guide_forced(&s, forced, sizeof forced);
        const int32_t token = check_mask(&s, source);
        size_t len;
        if (token < 0) {
            CHECK(glia_guide_must_end(&s), "%s: a dead end after %zu tokens", source, s.n);
            return;
        }
        const char *bytes = glia_tokenizer_bytes(tokenizer, token, &len);
        CHECK(memcmp(bytes, forced, len < n ? len : n) == 0, "%s: a token beside the forced bytes", source);
        CHECK(glia_guide_accept(&s, token, NULL, 0), "%s: token %d", source, token);
        if (check_u32() % 8 == 0) {
            const size_t back = check_u32() % (s.n + 1);
            glia_guide_roll_back(&s, back);
        }
    }
}

static void random_regex(glia_buf *out, int depth) {
    static const char *const atom[] = {"a", "b", "c", "[a-c]", "[^a]", "ab", "\\n", "."};
    switch (depth > 0 ? check_u32() % 6 : 5) {
    case 0:
        glia_buf_puts(out, "(");
        random_regex(out, depth - 1);
        glia_buf_puts(out, "|");
        random_regex(out, depth - 1);
        glia_buf_puts(out, ")");
        break;
    case 1:
        glia_buf_puts(out, "(");
        random_regex(out, depth - 1);
        glia_buf_printf(out, "){%u,%u}", check_u32() % 3, 3 + check_u32() % 50);
        break;
    case 2:
        glia_buf_puts(out, "(");
        random_regex(out, depth - 1);
        glia_buf_puts(out, ")*");
        break;
    case 3:
    case 4:
        random_regex(out, depth - 1);
        random_regex(out, depth - 1);
        break;
    default: glia_buf_puts(out, atom[check_u32() % (sizeof atom / sizeof *atom)]);
    }
}

static void test_masks(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        glia_buf source = {0};
        glia_err err = {0};
        random_regex(&source, 4);
        glia_grammar *g = compile(GLIA_GRAMMAR_REGEX, source.data, &err);
        CHECK(g, "%s: %s", source.data, err.msg);
        if (g) walk(g, source.data);
        glia_grammar_release(g);
        glia_buf_free(&source);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {0};
        glia_grammar *g = compile(rows[i].kind, rows[i].source, &err);
        for (int k = 0; g && k < 3; k++) walk(g, rows[i].source);
        glia_grammar_release(g);
    }
}

/* ---- hostile sources ------------------------------------------------------------------- */

static char *repeated(const char *head, const char *part, int n, const char *tail) {
    glia_buf b = {0};
    glia_buf_puts(&b, head);
    for (int i = 0; i < n; i++) glia_buf_printf(&b, part, i, i);
    if (n && b.len && b.data[b.len - 1] == ',') b.len--;
    glia_buf_puts(&b, tail);
    return glia_buf_steal(&b);
}

/* Each compiles or is refused in bounded time and memory, and so is a text. */
static void test_hostile(void **state) {
    (void)state;
    static const struct {
        const char *head, *part, *tail;
        int n;
        const char *refused; /* NULL: it compiles */
    } cases[] = {
        {"{\"type\": \"string\", \"maxLength\": 100000}", "", "", 0, NULL},
        {"{\"type\": \"string\", \"minLength\": 100000, \"pattern\": \"^[a-z]*$\"}", "", "", 0, "limit"},
        {"{\"enum\": [", "\"value%d\",", "]}", 10000, NULL},
        {"{\"enum\": [", "{\"k\": \"value%d\"},", "]}", 10000, NULL},
        {"{\"type\": \"object\", \"properties\": {", "\"p%d\": {\"type\": \"integer\"},", "}}", 3000, NULL},
        {"{\"allOf\": [", "{\"anyOf\": [{\"required\": [\"a%d\"]}, {\"required\": [\"b%d\"]}]},", "]}", 20,
         "multiply"},
        {"{\"patternProperties\": {", "\"a.*%d\": {\"maximum\": %d},", "}}", 30, "limit"},
        {"{\"type\": \"integer\", \"multipleOf\": 999983, \"minimum\": 5, \"maximum\": 999982}", "", "", 0,
         "limit"},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}", "", "",
         0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        glia_err err = {0};
        char *source = repeated(cases[i].head, cases[i].part, cases[i].n, cases[i].tail);
        glia_grammar *g = compile(GLIA_GRAMMAR_JSON_SCHEMA, source, &err);
        CHECK(!g == (cases[i].refused != NULL), "%.80s: %s", source, err.msg);
        if (!g && cases[i].refused) CHECK(strstr(err.msg, cases[i].refused), "%.80s: %s", source, err.msg);
        if (g) accepts(g, "{\"a\": {}}");
        glia_grammar_release(g);
        free(source);
    }
    char *deep = repeated("", "{\"items\":", 900, "{}"), *ends = repeated("", "}", 900, "");
    glia_buf both = {0};
    glia_err err = {0};
    glia_buf_printf(&both, "%s%s", deep, ends);
    glia_grammar *g = compile(GLIA_GRAMMAR_JSON_SCHEMA, both.data, &err);
    CHECK(g, "900 levels: %s", err.msg);
    if (g) CHECK(accepts(g, "[[[[]]]]"), "900 levels");
    glia_grammar_release(g);
    glia_buf_free(&both);
    free(deep);
    free(ends);
}

/* ---- real tokenizers ---------------------------------------------------------------------- */

/* Masks at places of a random walk equal every token of a real vocabulary tried. */
static void try_all(const glia_vocab *v, const row *r) {
    enum { PLACES = 5 };
    uint32_t places[PLACES + 1];
    const glia_grammar_source source = {.kind = r->kind, .text = r->source, .len = strlen(r->source)};
    glia_grammar *g;
    glia_guide s;
    glia_err err = {0};
    uint64_t *mask = malloc(((size_t)v->size + 63) / 64 * sizeof *mask);
    if (glia_grammar_compile(&g, v, &source, &err) ||
        glia_guide_begin(&s, g, GLIA_THINK_NO, places, PLACES, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < PLACES; i++) {
        int32_t next = -1;
        uint32_t seen = 0, wrong = 0;
        CHECK(!glia_guide_mask(&s, mask, (size_t)v->size, NULL, 0, NULL, &err), "%s", err.msg);
        for (int32_t id = 0; id < v->size; id++) {
            const bool may = glia_guide_after(&s, glia_guide_place(&s), id) != 0;
            wrong += may != (mask[id / 64] >> id % 64 & 1);
            if (may && check_u32() % ++seen == 0) next = id;
        }
        CHECK(!wrong, "%s: %u tokens differ after %zu", r->source, wrong, s.n);
        if (next < 0 || !glia_guide_accept(&s, next, NULL, 0)) break;
    }
    glia_grammar_release(g);
    free(mask);
}

/* Expressions that allow large parts of the trie: masks find those without a look at every token. */
static const row broad[] = {
    {.kind = GLIA_GRAMMAR_REGEX, .source = "[^,]+(, [^,]+)*"},
    {.kind = GLIA_GRAMMAR_REGEX, .source = "[\\s\\S]*end"},
    {.kind = GLIA_GRAMMAR_REGEX, .source = "\\S+( \\S+){0,3}"},
    {.kind = GLIA_GRAMMAR_REGEX, .source = "[a-zA-Z0-9_-]{4,}x?"},
    {.kind = GLIA_GRAMMAR_REGEX, .source = "[^\\x00-\\x7f]+a|[\\u4e00-\\u9fff ]+"},
    {.kind = GLIA_GRAMMAR_JSON_SCHEMA, .source = "{\"type\": \"string\", \"pattern\": \"[0-9]+-x\"}"},
    {.kind = GLIA_GRAMMAR_JSON_SCHEMA,
     .source = "{\"type\": \"string\", \"pattern\": \"^/dev/[^/]+(/[^/]+)*$\"}"},
    {.kind = GLIA_GRAMMAR_JSON_SCHEMA, .source = "{\"type\": \"string\", \"format\": \"uri\"}"},
    {.kind = GLIA_GRAMMAR_JSON_SCHEMA,
     .source =
         "{\"type\": \"object\", \"patternProperties\": {\"^ab.+$\": {\"type\": \"null\"}}, \"properties\": "
         "{\"name\": {}}}"},
    {.kind = GLIA_GRAMMAR_JSON_SCHEMA,
     .source = "{\"type\": \"string\", \"maxLength\": 9, \"pattern\": \"^[^b]*$\"}"},
};

static void test_real(void **state) {
    (void)state;
    static const char *const dirs[] = {"data/tokenizers/qwen3/tokenizer.json",
                                       "data/tokenizers/smollm3/tokenizer.json"};
    for (int k = 0; k < 2; k++) {
        const char *path = check_shared(dirs[k]);
        if (!path) check_skip("the shared data is not here");
        char dir[512];
        snprintf(dir, sizeof dir, "%s", path);
        *strrchr(dir, '/') = '\0';
        glia_tokenizer *t;
        glia_vocab v;
        glia_err err = {0};
        if (glia_tokenizer_load(&t, dir, &err) || glia_vocab_init(&v, t, &err)) fail_msg("%s", err.msg);
        for (size_t i = (size_t)k; i < sizeof rows / sizeof *rows; i += 4) try_all(&v, &rows[i]);
        /* half of them, twice: the second time with sets that the first has left */
        for (size_t i = (size_t)k; i < 2 * (sizeof broad / sizeof *broad); i += 2)
            try_all(&v, &broad[i % (sizeof broad / sizeof *broad)]);
        glia_vocab_free(&v);
        glia_tokenizer_free(t);
    }
}

/* ---- the shared cases ----------------------------------------------------------------- */

/* Of a tier of cases: a row of the table in docs/STRUCTURED.md, which tools/structured_table writes. */
typedef struct {
    const char *tier;
    int schemas, refused, narrow, wide;
} tally;

/* What the constraint says about each value of a list: how many it should have said `yes` to and did
 * not. */
static int wrong(glia_constraint *c, const json_t *list, bool yes) {
    size_t i;
    const json_t *x;
    int n = 0;
    json_array_foreach(list, i, x) {
        char *json = json_dumps(x, JSON_ENCODE_ANY), *text = NULL;
        size_t len = 0;
        bool accepted = !yes;
        if (!glia_constraint_write(c, json, strlen(json), &text, &len, NULL))
            glia_constraint_accepts(c, text, len, &accepted, NULL);
        n += accepted != yes;
        free(json);
        glia_free(text);
    }
    return n;
}

static void run_case(const glia_model *m, const json_t *one, tally *t) {
    const bool is_core = strcmp(t->tier, "core") == 0;
    char *schema = json_dumps(json_object_get(one, "schema"), JSON_ENCODE_ANY);
    const glia_constraint_source s = {.text = schema, .len = strlen(schema)};
    glia_constraint *c;
    glia_err err = {0};
    t->schemas++;
    if (glia_constraint_create(&c, m, &s, &err)) {
        t->refused++;
        CHECK(!is_core, "%s: %s", schema, err.msg);
    } else {
        const bool loose = glia_constraint_warning(c, 0) != NULL;
        const int narrow = wrong(c, json_object_get(one, "valid"), true),
                  wide = wrong(c, json_object_get(one, "invalid"), false);
        t->narrow += narrow > 0 && !wide;
        t->wide += wide > 0;
        CHECK(!wide || loose, "%s accepts an invalid instance without a warning", schema);
        CHECK(!is_core || (!wide && !narrow), "%s: %d valid instances refused, %d invalid ones accepted",
              schema, narrow, wide);
    }
    glia_constraint_free(c);
    free(schema);
}

/* Append " N |", or "  |" for 0. */
static void put_cell(glia_buf *out, int n) {
    if (n)
        glia_buf_printf(out, " %d |", n);
    else
        glia_buf_puts(out, "  |");
}

static void check_documented(const tally *t) {
    glia_buf line = {0};
    size_t len;
    char *text = check_read_file("docs/STRUCTURED.md", &len);
    glia_buf_printf(&line, "| %s |", t->tier);
    put_cell(&line, t->schemas);
    put_cell(&line, t->schemas - t->refused - t->narrow - t->wide);
    put_cell(&line, t->refused);
    put_cell(&line, t->narrow);
    put_cell(&line, t->wide);
    CHECK(strstr(text, line.data), "docs/STRUCTURED.md lacks the row \"%s\": run tools/structured_table",
          line.data);
    glia_buf_free(&line);
    free(text);
}

static void test_shared(void **state) {
    (void)state;
    tally tiers[] = {{.tier = "core"},   {.tier = "beyond"},        {.tier = "realistic"},
                     {.tier = "format"}, {.tier = "format-beyond"}, {.tier = "regex"}};
    const char *path = check_shared("data/serving/json_schema.jsonl");
    if (!path) check_skip("the shared data is not here");
    size_t len;
    char *text = check_read_file(path, &len), *next;
    glia_model *m;
    glia_err err = {0};
    CHECK(!glia_model_load_text(&m, "models/qwen3-demo", NULL, NULL, &err), "%s", err.msg);
    for (char *line = text; *line; line = next) {
        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        json_t *one;
        if (glia_json_parse(&one, line, (size_t)(next - line), JSON_ALLOW_NUL, "case", &err)) {
            CHECK(false, "%s", err.msg);
            continue;
        }
        const char *tier = json_string_value(json_object_get(one, "tier"));
        size_t i = 0;
        while (i < sizeof tiers / sizeof *tiers && strcmp(tiers[i].tier, tier)) i++;
        CHECK(i < sizeof tiers / sizeof *tiers, "an unknown tier %s", tier);
        if (i < sizeof tiers / sizeof *tiers) run_case(m, one, &tiers[i]);
        json_decref(one);
    }
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) check_documented(&tiers[i]);
    glia_model_free(m);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),    cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_strict),  cmocka_unit_test(test_masks),
                                       cmocka_unit_test(test_hostile), cmocka_unit_test(test_real),
                                       cmocka_unit_test(test_shared)};
    char *json = tiny_tokenizer();
    glia_err err = {0};
    CHECK(!glia_tokenizer_parse(&tokenizer, json, strlen(json), "tiny", &err), "%s", err.msg);
    CHECK(!glia_vocab_init(&vocab, tokenizer, &err), "%s", err.msg);
    free(json);
    const int status = check_run_group("grammar", tests);
    glia_vocab_free(&vocab);
    glia_tokenizer_free(tokenizer);
    return status;
}
