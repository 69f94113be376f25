/* check_complaints.c - what users of other servers complained about (reference/serving.md, section 5), each
 * as a test of its number. Numbers 9, 10, 11, 14, 15 and 19 have tests elsewhere: docs/SERVING.md has the
 * list. */
#define _GNU_SOURCE
#include "http.h"

#include <glia.h>

static served shared;

static int begin_shared(void **state) {
    (void)state;
    serve_begin(&shared, "models/qwen3-demo --served-model-name m --threads 1 --batch-size 4");
    return 0;
}

static int end_shared(void **state) {
    (void)state;
    CHECK(serve_end(&shared) == 0, "the server ended badly: %s", shared.said);
    return 0;
}

/* ---- the parser ------------------------------------------------------------------------------------- */

typedef struct {
    char content[2000], calls[2000]; /* calls: "name(arguments) " of each */
} parsed;

static void on_part(void *user, glia_part part, const char *text, size_t len) {
    parsed *p = user;
    char *to = part == GLIA_PART_CALL || part == GLIA_PART_ARGUMENTS ? p->calls : p->content;
    const char *form = part == GLIA_PART_CALL ? "%.*s(" : part == GLIA_PART_ARGUMENTS ? "%.*s) " : "%.*s";
    snprintf(to + strlen(to), sizeof p->calls - strlen(to), form, (int)len, text);
}

/* Parse the first `len` bytes in pieces of `step`. */
static parsed parse(const char *text, size_t len, size_t step, bool by_length) {
    parsed p = {0};
    glia_parser *parser;
    const glia_parser_options options = {.tools = GLIA_TOOLS_AUTO};
    assert_int_equal(glia_parser_create(&parser, &options, on_part, &p, NULL), GLIA_OK);
    for (size_t i = 0; i < len; i += step)
        glia_parser_push(parser, text + i, step < len - i ? step : len - i, NULL);
    glia_parser_end(parser, by_length, NULL);
    glia_parser_free(parser);
    return p;
}

static void check_parse(const char *text, const char *content, const char *calls) {
    for (size_t step = 1; step <= strlen(text); step++) {
        const parsed p = parse(text, strlen(text), step, false);
        CHECK(strcmp(p.content, content) == 0 && strcmp(p.calls, calls) == 0,
              "%s by %zu: content '%s', calls '%s'", text, step, p.content, p.calls);
    }
}

#define CALL(arguments) "<tool_call>\n{\"name\": \"f\", \"arguments\": " arguments "}\n</tool_call>"

static void c01_streamed_arguments_are_whole(void **state) {
    (void)state;
    check_parse(CALL("{}"), "", "f({}) ");
    check_parse(CALL("{\"a\": {\"b\": [{}]}}"), "", "f({\"a\": {\"b\": [{}]}}) ");
    check_parse(CALL("{\"a\": \"}}</tool_call>\"}"), "", "f({\"a\": \"}}</tool_call>\"}) ");
    check_parse(CALL("{\"a\": \"\\\"}\"}") "\n" CALL("{}"), "", "f({\"a\": \"\\\"}\"}) f({}) ");
}

static void c02_calls_are_found_in_odd_text(void **state) {
    (void)state;
    check_parse("Well.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "Well.", "f({}) ");
    check_parse("<tool_call>   \n\n {\"name\" : \"f\" , \"arguments\" : {} }  </tool_call>", "", "f({}) ");
    check_parse("<tool_call>\n{\"name\": \"f\", \"arguments\": {}}", "", "f({}) "); /* no closing tag */
    check_parse("<tool_call>\n{\"arguments\": {}, \"name\": \"f\"}\n</tool_call>", "", "f({}) ");
}

/* Cut at each byte: a call is whole or absent, whatever the pieces, and no tag is shown of one that was cut.
 */
static void c03_truncated_calls_do_not_leak(void **state) {
    static const char text[] = "Hm. " CALL("{\"a\": 1}") "\n" CALL("{\"b\": \"</x>\"}");
    (void)state;
    for (size_t len = 0; len <= strlen(text); len++) {
        const parsed whole = parse(text, len, len + 1, true), bytes = parse(text, len, 1, true);
        CHECK(strcmp(whole.content, bytes.content) == 0 && strcmp(whole.calls, bytes.calls) == 0,
              "cut at %zu: '%s' and '%s'", len, whole.content, bytes.content);
        CHECK(!strstr(whole.content, "name") && !strstr(whole.content, "</"), "cut at %zu: '%s'", len,
              whole.content);
        CHECK(!*whole.calls ||
                  strncmp("f({\"a\": 1}) f({\"b\": \"</x>\"}) ", whole.calls, strlen(whole.calls)) == 0,
              "cut at %zu: %s", len, whole.calls);
    }
}

static void c04_malformed_blocks_are_text(void **state) {
    (void)state;
    check_parse("<tool_call>\n{\"name\": \"f\", \"arguments\": {]}\n</tool_call>",
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {]}\n</tool_call>", "");
    for (int byte = 1; byte < 256; byte++) { /* one bad byte loses no byte of the answer */
        char text[] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        text[38] = (char)byte;
        const parsed p = parse(text, strlen(text), 7, false);
        CHECK(*p.calls || strlen(p.content) == strlen(text), "byte %d: '%s' '%s'", byte, p.content, p.calls);
    }
}

/* ---- constraints ------------------------------------------------------------------------------------ */

#define CITY                                                                                                 \
    "{\"type\":\"object\",\"properties\":{\"city\":{\"enum\":[\"Rome\",\"Oslo\"]}},\"required\":[\"city\"]," \
    "\"additionalProperties\":false}"

static json_t *chat(const char *fields) {
    char body[3000];
    snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}],%s}",
             fields);
    return http_answer(shared.port, "/v1/chat/completions", body);
}

/* The content and the reasoning of a streamed chat, joined, as {"content", "reasoning", "events"}. */
static json_t *chat_stream(const char *fields) {
    char body[3000], content[3000] = "", reasoning[3000] = "";
    snprintf(body, sizeof body,
             "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}],\"stream\":true,%s}",
             fields);
    http_reply r = http_post(shared.port, "/v1/chat/completions", body);
    CHECK(r.status == 200 && r.whole, "%s: %d", body, r.status);
    json_t *events = http_events(&r), *one;
    size_t i;
    json_array_foreach(events, i, one) {
        strcat(content, http_text(one, "data.choices.0.delta.content"));
        strcat(reasoning, http_text(one, "data.choices.0.delta.reasoning"));
    }
    http_free(&r);
    return json_pack("{s:s, s:s, s:o}", "content", content, "reasoning", reasoning, "events", events);
}

static bool is_city(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    const char *city = http_text(value, "city");
    const bool good = strcmp(city, "Rome") == 0 || strcmp(city, "Oslo") == 0;
    json_decref(value);
    return good;
}

static void c05_schemas_go_with_thinking(void **state) {
    (void)state;
    for (int thinks = 0; thinks < 2; thinks++) {
        char fields[1000];
        snprintf(fields, sizeof fields,
                 "\"seed\":1,\"max_tokens\":200,\"chat_template_kwargs\":{\"enable_thinking\":%s},\"response_"
                 "format\":{"
                 "\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":" CITY "}}",
                 thinks ? "true" : "false");
        json_t *whole = chat(fields), *stream = chat_stream(fields);
        const char *said = http_text(whole, "choices.0.message.content"),
                   *thought = http_text(whole, "choices.0.message.reasoning");
        CHECK(is_city(said) && !!*thought == thinks, "thinking %d: '%s' after '%s'", thinks, said, thought);
        CHECK(strcmp(said, http_text(stream, "content")) == 0 &&
                  strcmp(thought, http_text(stream, "reasoning")) == 0,
              "streamed: '%s'", http_text(stream, "content"));
        json_decref(whole);
        json_decref(stream);
    }
}

static void c06_blanks_are_bounded(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        char fields[700];
        snprintf(
            fields, sizeof fields,
            "\"seed\":%d,\"temperature\":%d,\"max_tokens\":300,\"chat_template_kwargs\":{\"enable_thinking\":"
            "false},"
            "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":" CITY
            "}}",
            i, i % 3);
        json_t *root = chat(fields);
        const char *said = http_text(root, "choices.0.message.content");
        CHECK(strcmp(http_text(root, "choices.0.finish_reason"), "stop") == 0 && is_city(said) &&
                  strlen(said) < 60,
              "temperature %d: '%s'", i % 3, said);
        json_decref(root);
    }
}

/* Refused or answered, soon, and another request is answered meanwhile. */
static void check_hostile(const char *what, const char *schema) {
    char *body = NULL;
    assert_true(asprintf(&body,
                         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":3,\"response_"
                         "format\":{\"type\":"
                         "\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":%s}}}",
                         schema) > 0);
    const double begun = check_seconds();
    const int fd = http_begin(shared.port, "POST", "/v1/chat/completions", http_json, body, strlen(body));
    json_decref(chat("\"max_tokens\":2"));
    http_reply r = http_end(fd);
    CHECK((r.status == 200 || r.status == 400) && r.len < 4000, "%s: %d", what, r.status);
    CHECK(check_seconds() - begun < 120, "%s took %.0f s", what, check_seconds() - begun);
    http_free(&r);
    free(body);
}

static void c07_hostile_schemas_stall_nobody(void **state) {
    enum { WORDS = 10000 };
    char *words = malloc(WORDS * 16), *to = words;
    (void)state;
    check_hostile("maxLength 100,000", "{\"type\":\"string\",\"maxLength\":100000}");
    check_hostile("deep recursion",
                  "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"anyOf\":[{\"type\":\"array\",\"items\":{"
                  "\"$ref\":\"#/$defs/a\"}},{\"type\":\"object\",\"additionalProperties\":{\"$ref\":"
                  "\"#/$defs/a\"}}]}}}");
    to += sprintf(to, "{\"enum\":[");
    for (int i = 0; i < WORDS; i++) to += sprintf(to, "%s\"word%d\"", i ? "," : "", i);
    strcpy(to, "]}");
    check_hostile("10,000 words", words);
    free(words);
}

static void c08_invalid_schemas_are_refused(void **state) {
    static const char *const schemas[] = {"{\"type\":\"no_such_type\"}",
                                          "{\"type\":\"string\",\"pattern\":\"(\"}",
                                          "{\"$ref\":\"#/nowhere\"}", "{\"type\":7}", "\"x\""};
    (void)state;
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
        for (int stream = 0; stream < 2; stream++) {
            char body[400];
            snprintf(body, sizeof body,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":%s,\"response_"
                     "format\":{\"type\":"
                     "\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":%s}}}",
                     stream ? "true" : "false", schemas[i]);
            http_reply r = http_post(shared.port, "/v1/chat/completions", body);
            CHECK(r.status == 400 && strstr(r.body, "\"code\":400"), "%s: %d %s", schemas[i], r.status,
                  r.body);
            http_free(&r);
        }
}

/* ---- answers ----------------------------------------------------------------------------------------- */

/* The usage of a stream equals that of the whole answer, its details are in the last chunk, and the running
 * count grows to it. */
static void c12_usage_of_streams_is_right(void **state) {
    static const char fields[] =
        "\"temperature\":0,\"max_tokens\":40,\"stream_options\":{\"include_usage\":true,"
        "\"continuous_usage_stats\":true}";
    (void)state;
    json_decref(chat("\"temperature\":0,\"max_tokens\":40")); /* both answers find the same cache */
    json_t *whole = chat("\"temperature\":0,\"max_tokens\":40"), *stream = chat_stream(fields);
    const json_t *events = json_object_get(stream, "events");
    json_int_t before = -1;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *one = json_array_get(events, i);
        const json_int_t now = json_integer_value(http_at(one, "data.usage.completion_tokens"));
        CHECK(http_at(one, "data.usage") && now >= before, "event %zu: %lld after %lld", i, (long long)now,
              (long long)before);
        before = now;
    }
    const json_t *last = http_at(json_array_get(events, json_array_size(events) - 1), "data");
    CHECK(json_array_size(json_object_get(last, "choices")) == 0, "the last chunk has choices");
    CHECK(json_equal(json_object_get(last, "usage"), json_object_get(whole, "usage")), "the usages differ");
    CHECK(http_at(last, "usage.prompt_tokens_details.cached_tokens") != NULL, "no details");
    json_decref(whole);
    json_decref(stream);
}

/* The reasoning has both names in answers, and either one in messages. */
static void c13_reasoning_has_both_names(void **state) {
    static const char *const names[] = {"reasoning", "reasoning_content"};
    json_int_t count[2];
    (void)state;
    json_t *whole = chat("\"temperature\":0,\"max_tokens\":40");
    CHECK(*http_text(whole, "choices.0.message.reasoning") &&
              strcmp(http_text(whole, "choices.0.message.reasoning"),
                     http_text(whole, "choices.0.message.reasoning_content")) == 0,
          "the names differ");
    for (size_t i = 0; i < 2; i++) {
        char body[400];
        snprintf(
            body, sizeof body,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\","
            "\"%s\":"
            "\"I think so\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"content\":\"r\"}]}",
            names[i]);
        json_t *root = http_answer(shared.port, "/tokenize", body);
        count[i] = json_integer_value(http_at(root, "count"));
        json_decref(root);
    }
    CHECK(count[0] == count[1] && count[0] > 10, "%lld and %lld tokens", (long long)count[0],
          (long long)count[1]);
    json_decref(whole);
}

#define TOOLS                                                                                                \
    "[{\"type\":\"function\",\"function\":{\"name\":\"calculator\",\"description\":\"Evaluate an "           \
    "arithmetic "                                                                                            \
    "expression\",\"parameters\":{\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\"}}" \
    ","                                                                                                      \
    "\"required\":[\"expression\"]}}}]"

/* Three turns of an agent: each finds all of the one before in the prefix cache, but for a block. */
static void c16_agents_find_their_prefix(void **state) {
    json_int_t before = 0;
    (void)state;
    json_t *body = json_pack("{s:[{s:s, s:s}], s:o, s:i, s:i, s:s}", "messages", "role", "user", "content",
                             "What is 734 * 86?", "tools", json_loads(TOOLS, 0, NULL), "temperature", 0,
                             "max_tokens", 80, "tool_choice", "required");
    for (int turn = 0; turn < 3; turn++) {
        char *text = json_dumps(body, 0);
        json_t *root = http_answer(shared.port, "/v1/chat/completions", text);
        const json_int_t prompt = json_integer_value(http_at(root, "usage.prompt_tokens")),
                         cached =
                             json_integer_value(http_at(root, "usage.prompt_tokens_details.cached_tokens"));
        CHECK(turn == 0 || cached >= before - 64 - 1, "turn %d: %lld tokens of %lld were cached", turn,
              (long long)cached, (long long)before);
        before = prompt;
        json_array_append(json_object_get(body, "messages"), http_at(root, "choices.0.message"));
        const char *id = http_text(root, "choices.0.message.tool_calls.0.id");
        json_array_append_new(json_object_get(body, "messages"),
                              json_pack("{s:s, s:s, s:s}", "role", *id ? "tool" : "user", "tool_call_id", id,
                                        "content", *id ? "63124" : "What is 3 + 4?"));
        json_decref(root);
        free(text);
    }
    json_decref(body);
}

/* Every route of the description that is not open needs the key, in each spelling. */
static void c17_keys_guard_every_route(void **state) {
    served s;
    const char *path;
    json_t *item;
    int guarded = 0;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1 --api-key sk-1 --enable-lora");
    http_reply doc = http_get(s.port, "/openapi.json");
    json_t *root = json_loadb(doc.body, doc.len, 0, NULL);
    json_object_foreach(json_object_get(root, "paths"), path, item) {
        const bool get = json_object_get(item, "get") != NULL;
        const bool open = http_at(item, get ? "get.security" : "post.security") != NULL;
        for (int slash = 0; slash < 2; slash++) {
            char spelt[100];
            snprintf(spelt, sizeof spelt, "%s%s", path, slash && path[1] ? "/" : "");
            http_reply r = get ? http_get(s.port, spelt) : http_post(s.port, spelt, "{}");
            CHECK((r.status == 401) == !open, "%s: %d", spelt, r.status);
            http_free(&r);
        }
        guarded += !open;
    }
    CHECK(guarded >= 15, "%d routes", guarded);
    json_decref(root);
    http_free(&doc);
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

static void c18_scalars_for_objects_are_refused(void **state) {
    static const char *const fields[] = {"\"tools\":5",
                                         "\"tools\":[5]",
                                         "\"tools\":[{\"function\":5}]",
                                         "\"top_logprobs\":\"5\"",
                                         "\"messages\":[5]",
                                         "\"messages\":[[]]",
                                         "\"messages\":[{\"role\":5}]",
                                         "\"stop\":[5]",
                                         "\"response_format\":{\"type\":5}",
                                         "\"stream_options\":5",
                                         "\"logit_bias\":[5]",
                                         "\"tool_choice\":5"};
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1,%s}", fields[i]);
        http_reply r = http_post(shared.port, "/v1/chat/completions", body);
        CHECK(r.status == 400 && r.len < 1000, "%s: %d %s", fields[i], r.status, r.body);
        http_free(&r);
    }
}

/* Thinking on and off, streamed and not: the content is a text that is not empty, without tags or nulls. */
static void c20_content_is_there(void **state) {
    (void)state;
    for (int thinks = 0; thinks < 2; thinks++) {
        char fields[200];
        snprintf(fields, sizeof fields,
                 "\"temperature\":0,\"max_tokens\":60,\"chat_template_kwargs\":{\"enable_thinking\":%s}",
                 thinks ? "true" : "false");
        json_t *whole = chat(fields), *stream = chat_stream(fields);
        const char *said = http_text(whole, "choices.0.message.content");
        CHECK(*said && !strstr(said, "think>") && strcmp(said, http_text(stream, "content")) == 0,
              "thinking %d: '%s' and '%s'", thinks, said, http_text(stream, "content"));
        CHECK(!!*http_text(whole, "choices.0.message.reasoning") == thinks, "thinking %d: reasoning", thinks);
        const json_t *events = json_object_get(stream, "events");
        for (size_t i = 0; i < json_array_size(events); i++)
            CHECK(!json_is_null(http_at(json_array_get(events, i), "data.choices.0.delta.content")),
                  "a null piece");
        json_decref(whole);
        json_decref(stream);
    }
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c01_streamed_arguments_are_whole),
        cmocka_unit_test(c02_calls_are_found_in_odd_text),
        cmocka_unit_test(c03_truncated_calls_do_not_leak),
        cmocka_unit_test(c04_malformed_blocks_are_text),
        cmocka_unit_test(c05_schemas_go_with_thinking),
        cmocka_unit_test(c06_blanks_are_bounded),
        cmocka_unit_test(c07_hostile_schemas_stall_nobody),
        cmocka_unit_test(c08_invalid_schemas_are_refused),
        cmocka_unit_test(c12_usage_of_streams_is_right),
        cmocka_unit_test(c13_reasoning_has_both_names),
        cmocka_unit_test(c16_agents_find_their_prefix),
        cmocka_unit_test(c17_keys_guard_every_route),
        cmocka_unit_test(c18_scalars_for_objects_are_refused),
        cmocka_unit_test(c20_content_is_there),
    };
    return check_group_status("complaints",
                              cmocka_run_group_tests_name("complaints", tests, begin_shared, end_shared),
                              (int)(sizeof tests / sizeof *tests));
}
