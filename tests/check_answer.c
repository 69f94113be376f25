/* check_answer.c - glia_parser: the published cases of tool calls (data/serving/tool_calls.jsonl), the rules
 * that they leave open, and that parts do not depend on how an answer is cut. */
#define _GNU_SOURCE
#include "check.h"

#include <glia.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

typedef struct {
    glia_buf reasoning, content;
    json_t *calls; /* [{"name", "arguments": text}] */
    glia_part last;
} parsed;

static void add_part(void *user, glia_part part, const char *text, size_t len) {
    parsed *r = user;
    assert_true(len > 0);
    if (part == GLIA_PART_ARGUMENTS)
        assert_int_equal(r->last, GLIA_PART_CALL);
    else
        assert_int_not_equal(r->last, GLIA_PART_CALL);
    r->last = part;
    if (part == GLIA_PART_CONTENT) glia_buf_add(&r->content, text, len);
    if (part == GLIA_PART_REASONING) glia_buf_add(&r->reasoning, text, len);
    if (part == GLIA_PART_CALL) json_array_append_new(r->calls, json_pack("{s:s%}", "name", text, len));
    if (part == GLIA_PART_ARGUMENTS)
        json_object_set_new(json_array_get(r->calls, json_array_size(r->calls) - 1), "arguments",
                            json_stringn(text, len));
}

/* How an answer is cut: a step of bytes; 0: the whole; negative: random. */
static parsed parse(const char *text, size_t n, const glia_parser_options *o, bool by_length, int step) {
    parsed r = {.calls = json_array(), .last = GLIA_PART_CONTENT};
    glia_parser *p;
    assert_int_equal(glia_parser_create(&p, o, add_part, &r, NULL), GLIA_OK);
    for (size_t i = 0, k; i < n; i += k) {
        k = step > 0 ? (size_t)step : step ? 1 + check_u32() % 9 : n;
        if (k > n - i) k = n - i;
        assert_int_equal(glia_parser_push(p, text + i, k, NULL), GLIA_OK);
    }
    assert_int_equal(glia_parser_end(p, by_length, NULL), GLIA_OK);
    glia_parser_free(p);
    return r;
}

static void parsed_free(parsed *r) {
    glia_buf_free(&r->reasoning);
    glia_buf_free(&r->content);
    json_decref(r->calls);
}

static const char *text_of(const glia_buf *b) { return b->len ? b->data : ""; }

static bool same(const parsed *a, const parsed *b) {
    return strcmp(text_of(&a->reasoning), text_of(&b->reasoning)) == 0 &&
           strcmp(text_of(&a->content), text_of(&b->content)) == 0 && json_equal(a->calls, b->calls);
}

/* The whole answer, after a check that every cut gives the same. */
static parsed parse_every_way(const char *id, const char *text, size_t n, const glia_parser_options *o,
                              bool by_length) {
    parsed whole = parse(text, n, o, by_length, 0);
    for (int way = -20; way <= 4; way++) {
        parsed cut = parse(text, n, o, by_length, way);
        CHECK(same(&whole, &cut), "%s: cut in another way (%d): content '%s' or '%s'", id, way,
              text_of(&whole.content), text_of(&cut.content));
        parsed_free(&cut);
    }
    return whole;
}

/* ---- published cases ----------------------------------------------------------------------------- */

static void squeeze(char *text, const char *compare) {
    char *to = text;
    size_t n = strlen(text);
    if (strcmp(compare, "exact") == 0) return;
    while (n && strchr(" \n\r\t", text[n - 1])) text[--n] = '\0';
    const char *from = text + strspn(text, " \n\r\t");
    for (bool space = false; *from; from++) {
        const bool blank = strchr(" \n\r\t", *from) && strcmp(compare, "collapse-ws") == 0;
        if (!(blank && space)) *to++ = blank ? ' ' : *from;
        space = blank;
    }
    *to = '\0';
}

static bool same_text(const glia_buf *found, const json_t *want, const char *compare) {
    char *a = strdup(text_of(found)), *b = strdup(json_is_string(want) ? json_string_value(want) : "");
    const bool null = (found->len == 0) == (json_is_null(want) || !want);
    squeeze(a, compare);
    squeeze(b, compare);
    const bool equal = null && strcmp(a, b) == 0;
    free(a);
    free(b);
    return equal;
}

static bool same_calls(const json_t *found, const json_t *want) {
    if (json_array_size(found) != json_array_size(want)) return false;
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *a = json_array_get(found, i), *b = json_array_get(want, i);
        const json_t *text = json_object_get(a, "arguments");
        json_t *arguments = json_loadb(json_string_value(text), json_string_length(text),
                                       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        char *dumped = json_dumps(json_object_get(b, "arguments"), JSON_ENCODE_ANY);
        json_t *wanted =
            dumped ? json_loads(dumped, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL)
                   : NULL;
        const bool equal = json_equal(arguments, wanted) &&
                           json_equal(json_object_get(a, "name"), json_object_get(b, "name"));
        json_decref(arguments);
        json_decref(wanted);
        free(dumped);
        if (!equal) return false;
    }
    return true;
}

/* Does the answer fit the expectation, where the keys of `other` replace those of `want`? */
static bool fits(const parsed *r, const json_t *want, const json_t *other, const char *compare) {
    json_t *all = json_copy((json_t *)(uintptr_t)want);
    if (other) json_object_update(all, (json_t *)(uintptr_t)other);
    const bool good = same_text(&r->reasoning, json_object_get(all, "reasoning"), compare) &&
                      same_text(&r->content, json_object_get(all, "content"), compare) &&
                      same_calls(r->calls, json_object_get(all, "tool_calls"));
    json_decref(all);
    return good;
}

static void check_case(const json_t *c) {
    const json_t *choice = json_object_get(c, "tool_choice"), *output = json_object_get(c, "output");
    const json_t *accept = json_object_get(c, "accept"), *want = json_object_get(c, "expect");
    const char *word = json_string_value(choice), *id = json_string_value(json_object_get(c, "id"));
    const char *compare = json_string_value(json_object_get(c, "compare"));
    const glia_parser_options o = {
        .opened = json_is_true(json_object_get(c, "prompt_opens_think")),
        .may_lack_think = json_is_true(json_object_get(c, "enable_thinking")),
        .tools = !word                           ? GLIA_TOOLS_NAMED
                 : strcmp(word, "none") == 0     ? GLIA_TOOLS_NONE
                 : strcmp(word, "required") == 0 ? GLIA_TOOLS_REQUIRED
                                                 : GLIA_TOOLS_AUTO,
        .name = json_string_value(json_object_get(json_object_get(choice, "function"), "name")),
    };
    const bool by_length = strcmp(json_string_value(json_object_get(c, "end")), "length") == 0;
    parsed r = parse_every_way(id, json_string_value(output), json_string_length(output), &o, by_length);
    bool good = fits(&r, want, NULL, compare);
    for (size_t i = 0; i < json_array_size(accept); i++)
        good |= fits(&r, want, json_array_get(accept, i), compare);
    char *calls = json_dumps(r.calls, 0);
    CHECK(good, "%s: reasoning '%s', content '%s', calls %s", id, text_of(&r.reasoning), text_of(&r.content),
          calls);
    free(calls);
    parsed_free(&r);
}

static void test_published(void **state) {
    (void)state;
    int n = 0;
    const char *path = check_shared("data/serving/tool_calls.jsonl");
    if (!path) check_skip("the shared data is not here");
    char *text = check_read_file(path, NULL), *next;
    for (char *line = text; *line; line = next, n++) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = '\0';
        json_t *c = json_loads(line, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        assert_non_null(c);
        check_case(c);
        json_decref(c);
    }
    free(text);
    CHECK(n >= 120, "only %d cases", n);
}

/* ---- the rules -------------------------------------------------------------------------------------- */

#define CALL(name, arguments)                                                                                \
    "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"

enum { OPENED = 1, LACKS = 2, LENGTH = 4, NONE = 8, REQUIRED = 16, NAMED = 32 };

static const struct {
    unsigned flags;
    const char *text, *reasoning, *content, *calls;
} rules[] = {
    /* thinking begins and ends */
    {0, "<think>\nHm.\n\nYes.\n</think>\n\nHello\n", "Hm.\n\nYes.", "Hello\n", ""},
    {OPENED, "Hm.\n</think>\n\nHello", "Hm.", "Hello", ""},
    {OPENED, "<think>\nHm.\n</think>\n\nHello", "Hm.", "Hello", ""},
    {OPENED, "</think>\n\nHello", "", "Hello", ""},
    {LACKS, "Hm.\n</think>\n\nHello", "Hm.", "Hello", ""},
    {LACKS, "Hello, 1 < 2", "", "Hello, 1 < 2", ""},
    {LACKS, "Hello " CALL("f", "{}"), "", "Hello", "f {}"},
    {0, "</think>\n\nHello", "", "Hello", ""},
    {0, "Hm.</think>Hello", "", "Hm.</think>Hello", ""},
    {0, "<think>a</think></think>\nb", "a", "b", ""},
    {0, "<think>a</think>\n</think></think>b", "a", "</think>b", ""},
    {0, "<think>a</think>\n\n    b", "a", "    b", ""},
    {0, "<think>never\nclosed\n", "never\nclosed", "", ""},
    {LENGTH, "<think>a </thin", "a </thin", "", ""},
    {0, "<think>\n \n</think>\n \n", "", "", ""},
    /* a call ends it */
    {OPENED, "plan <tool_call> is a tag</think>b", "plan <tool_call> is a tag", "b", ""},
    {OPENED, "plan\n" CALL("f", "{}") "\n</think>\n\nDone", "plan", "Done", "f {}"},
    {OPENED | NONE, "plan\n" CALL("f", "{}") "</think>b", "plan\n" CALL("f", "{}"), "b", ""},
    {OPENED, "plan\n<tool_call>{bad}</tool_call>", "plan", "<tool_call>{bad}</tool_call>", ""},
    {OPENED | LENGTH, "plan\n<tool_call>", "plan", "", ""},
    {OPENED, "plan\n<tool_call>", "plan\n<tool_call>", "", ""},
    /* where calls begin and end */
    {0, "a\n\n" CALL("f", "{\"x\": \"</tool_call>\"}") "\n\nb", "", "a\n\nb", "f {\"x\": \"</tool_call>\"}"},
    {0, "<tool_call>[{\"name\":\"f\"}, {\"name\":\"g\",\"parameters\":{\"a\":[]}} ]</tool_call>", "", "",
     "f {} g {\"a\":[]}"},
    {0, "<tool_call>[{\"name\":\"f\"}, {bad}]</tool_call>", "", " {bad}]</tool_call>", "f {}"},
    {LENGTH, "<tool_call>[{\"name\":\"f\"}, {\"na", "", "", "f {}"},
    {0, "<tool_call>[]</tool_call>", "", "<tool_call>[]</tool_call>", ""},
    {0,
     "<tool_call><tool_call>"
     "{\"name\":\"f\"}",
     "", "", "f {}"},
    {0, "<tool_call>\n<tool_call>\n<tool_call>", "", "<tool_call>\n<tool_call>\n<tool_call>", ""},
    {0, "<tool_call>bad<tool_call>{\"name\":\"f\"}", "", "<tool_call>bad", "f {}"},
    {0, "<tool_call>{\"name\":\"a\n" CALL("f", "{}"), "", "<tool_call>{\"name\":\"a", "f {}"},
    {0, "<tool_call>{\"name\":\"a\"", "", "<tool_call>{\"name\":\"a\"", ""},
    {LENGTH, "see\n" CALL("f", "{}") "\n<tool_call>{\"name\":\"a\"", "", "see", "f {}"},
    {LENGTH, "<tool_call>{\"name\":\"a\"}</tool_c", "", "", "a {}"},
    {NONE, "a " CALL("f", "{}"), "", "a " CALL("f", "{}"), ""},
    /* what a call is */
    {0, CALL("f", "null"), "", "", "f {}"},
    {0, CALL("f", "7"), "", "", "f 7"},
    {0, CALL("f", "\" {\\\"a\\\": 1} \""), "", "", "f  {\"a\": 1} "},
    {0, CALL("f", "\"\\\"{}\\\"\""), "", "", "f \"\\\"{}\\\"\""},
    {0, CALL("f", "{\"e\": 1e999, \"s\": \"\\ud83d\", \"i\": 123456789012345678901234567890}"), "", "",
     "f {\"e\": 1e999, \"s\": \"\\ud83d\", \"i\": 123456789012345678901234567890}"},
    {0, "<tool_call>{\"name\":\"f\",\"name\":\"g\",\"parameters\":{},\"arguments\":{\"a\":1}}", "", "",
     "g {\"a\":1}"},
    {0, CALL("", "{}"), "", CALL("", "{}"), ""},
    {0, "<tool_call>{\"name\":1}</tool_call>", "", "<tool_call>{\"name\":1}</tool_call>", ""},
    {0, CALL("f", "{\"a\": 01}"), "", CALL("f", "{\"a\": 01}"), ""},
    {0, CALL("f", "{\"a\": tru}"), "", CALL("f", "{\"a\": tru}"), ""},
    {0, CALL("f", "{\"a\": NaN}"), "", CALL("f", "{\"a\": NaN}"), ""},
    {0, CALL("f", "{\"a\": \"\\x\"}"), "", CALL("f", "{\"a\": \"\\x\"}"), ""},
    {0, CALL("f", "{\"a\": [1}"), "", CALL("f", "{\"a\": [1}"), ""},
    {0, CALL("f", "{\"a\": -0.5e+3, \"b\": [true, false, null, {}], \"\\u00e9\": \"\\n\"}"), "", "",
     "f {\"a\": -0.5e+3, \"b\": [true, false, null, {}], \"\\u00e9\": \"\\n\"}"},
    /* calls without tags, where one is required */
    {REQUIRED, "<think>a</think>\n\n[{\"name\":\"f\",\"parameters\":{}}]", "a", "", "f {}"},
    {REQUIRED, "{\"name\":\"f\"}", "", "", "f {}"},
    {REQUIRED, CALL("f", "{}") "\n" CALL("g", "{}"), "", "", "f {} g {}"},
    {REQUIRED, "[1]", "", "[1]", ""},
    {REQUIRED, "see [{\"name\":\"f\"}]", "", "see [{\"name\":\"f\"}]", ""},
    {NAMED, "{\"city\": \"Paris\"}", "", "", "named {\"city\": \"Paris\"}"},
    {NAMED, " {\"name\": \"named\", \"arguments\": {\"a\": 1}}", "", "", "named {\"a\": 1}"},
    {NAMED, "{\"name\": \"other\"}", "", "", "named {\"name\": \"other\"}"},
    {NAMED, CALL("named", "{}"), "", "", "named {}"},
    {NAMED, "<tool_call>[{\"name\": \"a\"}, {\"name\": \"b\"}]</tool_call>", "", "", "a {} b {}"},
    {NAMED | LENGTH, "{\"city\": \"Par", "", "", ""},
    {NAMED, "{\"city\": Paris}", "", "{\"city\": Paris}", ""},
    {0, "[{\"name\":\"f\"}]", "", "[{\"name\":\"f\"}]", ""},
    /* plain text */
    {0, "", "", "", ""},
    {0, "\n\n a \n", "", "\n\n a \n", ""},
    {0, "a<", "", "a<", ""},
    {0, "a<tool_call", "", "a<tool_call", ""},
    {0, "<code>\nf(x)\n</code>", "", "<code>\nf(x)\n</code>", ""},
};

static void test_rules(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const unsigned f = rules[i].flags;
        const glia_parser_options o = {
            .opened = f & OPENED,
            .may_lack_think = f & LACKS,
            .tools = f & NONE       ? GLIA_TOOLS_NONE
                     : f & REQUIRED ? GLIA_TOOLS_REQUIRED
                     : f & NAMED    ? GLIA_TOOLS_NAMED
                                    : GLIA_TOOLS_AUTO,
            .name = f & NAMED ? "named" : NULL,
        };
        parsed r = parse_every_way(rules[i].text, rules[i].text, strlen(rules[i].text), &o, f & LENGTH);
        glia_buf calls = {0};
        for (size_t k = 0; k < json_array_size(r.calls); k++)
            glia_buf_printf(&calls, "%s%s %s", k ? " " : "",
                            json_string_value(json_object_get(json_array_get(r.calls, k), "name")),
                            json_string_value(json_object_get(json_array_get(r.calls, k), "arguments")));
        CHECK(strcmp(text_of(&r.reasoning), rules[i].reasoning) == 0 &&
                  strcmp(text_of(&r.content), rules[i].content) == 0 &&
                  strcmp(text_of(&calls), rules[i].calls) == 0,
              "%s: reasoning '%s', content '%s', calls '%s'", rules[i].text, text_of(&r.reasoning),
              text_of(&r.content), text_of(&calls));
        glia_buf_free(&calls);
        parsed_free(&r);
    }
}

/* Every end by length of an answer with two calls: no call is reported before it is complete, and none of its
 * text is content. */
static void test_cut_everywhere(void **state) {
    (void)state;
    static const char text[] = "See.\n" CALL("f", "{\"x\": {\"y\": \"}\"}}") "\n" CALL("g", "{}");
    const glia_parser_options o = {.tools = GLIA_TOOLS_AUTO};
    const size_t first = (size_t)(strstr(text, "}}}") - text) + 3,
                 second = (size_t)(strstr(text, "{}}") - text) + 3;
    for (size_t n = 0; n <= strlen(text); n++) {
        parsed r = parse_every_way("cut", text, n, &o, true);
        CHECK(json_array_size(r.calls) == (size_t)(n >= first) + (size_t)(n >= second), "%zu: %zu calls", n,
              json_array_size(r.calls));
        CHECK(!strchr(text_of(&r.content), '{'), "%zu: content '%s'", n, text_of(&r.content));
        parsed_free(&r);
    }
}

/* A parser holds back what it cannot know yet, and nothing else. */
static void test_holds_little(void **state) {
    (void)state;
    const glia_parser_options o = {.tools = GLIA_TOOLS_AUTO};
    parsed r = {.calls = json_array(), .last = GLIA_PART_CONTENT};
    glia_parser *p;
    assert_int_equal(glia_parser_create(&p, &o, add_part, &r, NULL), GLIA_OK);
    glia_parser_push(p, "<think>\nso", 10, NULL);
    assert_string_equal(text_of(&r.reasoning), "so");
    assert_true(glia_parser_thinking(p));
    glia_parser_push(p, " it\n</th", 8, NULL);
    assert_string_equal(text_of(&r.reasoning), "so it");
    glia_parser_push(p, "ink>\n\nIt is 1 <", 15, NULL);
    assert_string_equal(text_of(&r.content), "It is 1");
    assert_false(glia_parser_thinking(p));
    glia_parser_push(p, " 2.", 3, NULL);
    assert_string_equal(text_of(&r.content), "It is 1 < 2.");
    glia_parser_push(p, CALL("f", "{}"), strlen(CALL("f", "{}")) - strlen("</tool_call>"), NULL);
    assert_int_equal(json_array_size(r.calls), 1);
    glia_parser_free(p);
    parsed_free(&r);
}

static void test_prompt(void **state) {
    (void)state;
    assert_true(glia_prompt_opens_thinking("assistant\n<think>\n", 18));
    assert_true(glia_prompt_opens_thinking("<think>", 7));
    assert_false(glia_prompt_opens_thinking("<think>\n\n</think>\n\n", 19));
    assert_false(glia_prompt_opens_thinking("", 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),      cmocka_unit_test(test_rules),
        cmocka_unit_test(test_cut_everywhere), cmocka_unit_test(test_holds_little),
        cmocka_unit_test(test_prompt),
    };
    return check_run_group("answer", tests);
}
