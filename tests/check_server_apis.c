/* check_server_apis.c - `glia serve` as OpenAI's Responses and Anthropic's Messages: events in order, streams
 * equal to whole answers, conversations that come back, errors in each interface's form. */
#define _GNU_SOURCE
#include "http.h"

static const char responses[] = "/v1/responses", messages[] = "/v1/messages";
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

#define PARAMETERS                                                                                           \
    "{\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\"}},\"required\":"               \
    "[\"expression\"]}"
#define DESCRIPTION "\"description\":\"Evaluate an arithmetic expression\""
/* The model answers this with thinking and a call. */
static const char ask_call[] =
    "\"model\":\"m\",\"temperature\":0,\"input\":\"What is 734 * 86?\",\"max_output_tokens\":80,\"tools\":["
    "{\"type\":\"function\",\"name\":\"calculator\"," DESCRIPTION ",\"parameters\":" PARAMETERS "},"
    "{\"type\":\"web_search\"},{\"type\":\"namespace\",\"name\":\"x\"}]";
static const char ask_use[] =
    "\"model\":\"m\",\"temperature\":0,\"max_tokens\":80,\"messages\":[{\"role\":\"user\",\"content\":"
    "\"What is 734 * 86?\"}],\"tools\":[{\"name\":\"calculator\"," DESCRIPTION ",\"input_schema\":" PARAMETERS
    "}]";
static const char chat_call[] =
    "\"model\":\"m\",\"temperature\":0,\"max_tokens\":80,\"messages\":[{\"role\":\"user\",\"content\":"
    "\"What is 734 * "
    "86?\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"calculator\"," DESCRIPTION
    ",\"parameters\":" PARAMETERS "}}]";

static json_t *events_of(const char *path, const char *fields) {
    char body[2000];
    snprintf(body, sizeof body, "{%s,\"stream\":true}", fields);
    http_reply r = http_post(shared.port, path, body);
    CHECK(r.status == 200 && r.whole, "%s: %d %s", body, r.status, r.body);
    json_t *events = http_events(&r);
    http_free(&r);
    return events;
}

static json_t *answer_of(const char *path, const char *fields) {
    char body[2000];
    snprintf(body, sizeof body, "{%s}", fields);
    return http_answer(shared.port, path, body);
}

/* ---- Responses ------------------------------------------------------------------------------------ */

/* The names of the events, each once if it repeats, joined by blanks. */
static void names_of(const json_t *events, char *out, size_t cap) {
    const char *before = "";
    *out = '\0';
    for (size_t i = 0; i < json_array_size(events); i++) {
        const char *name = http_text(json_array_get(events, i), "event");
        CHECK(strcmp(name, http_text(json_array_get(events, i), "data.type")) == 0, "the type of %s", name);
        if (strcmp(name, before) != 0)
            snprintf(out + strlen(out), cap - strlen(out), "%s%s", *out ? " " : "",
                     strncmp(name, "response.", 9) == 0 ? name + 9 : name);
        before = name;
    }
}

/* Ids are random and differ between two answers. */
static void hide_ids(json_t *value) {
    const char *key;
    json_t *one;
    size_t i;
    if (json_is_object(value)) {
        static const char *const hidden[] = {"id", "call_id", "created_at", "item_id"};
        for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++)
            if (json_object_get(value, hidden[k])) json_object_set_new(value, hidden[k], json_string("x"));
        json_object_foreach(value, key, one) hide_ids(one);
    }
    json_array_foreach(value, i, one) hide_ids(one);
}

static void check_same(const json_t *a, const json_t *b, const char *what) {
    json_t *x = json_deep_copy(a), *y = json_deep_copy(b);
    hide_ids(x);
    hide_ids(y);
    char *left = json_dumps(x, JSON_ENCODE_ANY | JSON_SORT_KEYS),
         *right = json_dumps(y, JSON_ENCODE_ANY | JSON_SORT_KEYS);
    CHECK(json_equal(x, y), "%s: %s\nand %s", what, left ? left : "nothing", right ? right : "nothing");
    free(left);
    free(right);
    json_decref(x);
    json_decref(y);
}

/* Each item is opened, filled and closed before the next one, and its deltas join to what its end says. */
static void check_items(const json_t *events) {
    const json_t *open = NULL;
    char text[2000] = "";
    json_int_t number = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *data = http_at(json_array_get(events, i), "data");
        const char *type = http_text(data, "type"), *delta = http_text(data, "delta");
        CHECK(json_integer_value(http_at(data, "sequence_number")) == number++, "event %zu: number", i);
        if (strcmp(type, "response.output_item.added") == 0) {
            CHECK(!open, "event %zu: two items are open", i);
            open = data;
            *text = '\0';
            continue;
        }
        if (!http_at(data, "output_index")) continue;
        assert_non_null(open);
        CHECK(json_equal(http_at(data, "output_index"), http_at(open, "output_index")), "event %zu: index",
              i);
        const char *id = http_text(data, strstr(type, "output_item") ? "item.id" : "item_id");
        CHECK(*id && strcmp(id, http_text(open, "item.id")) == 0, "event %zu: id '%s'", i, id);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s", delta);
        if (strcmp(type, "response.output_item.done") == 0) {
            const char *said = *http_text(data, "item.arguments") ? http_text(data, "item.arguments")
                                                                  : http_text(data, "item.content.0.text");
            CHECK(*said && strcmp(said, text) == 0, "deltas '%s', item '%s'", text, said);
            open = NULL;
        }
    }
    CHECK(!open, "an item is open at the end");
}

static const json_t *last_of(const json_t *events) {
    return http_at(json_array_get(events, json_array_size(events) - 1), "data");
}

#define REASONING                                                                                            \
    "output_item.added reasoning_part.added reasoning_text.delta reasoning_text.done reasoning_part.done "   \
    "output_item.done"
#define CALL " output_item.added function_call_arguments.delta function_call_arguments.done output_item.done"

static void responses_events_are_in_order(void **state) {
    static const struct {
        const char *fields, *names;
    } rows[] = {
        {"\"input\":\"What is 3 + 4?\",\"temperature\":0",
         "created in_progress " REASONING " output_item.added content_part.added output_text.delta "
         "output_text.done content_part.done output_item.done completed"},
        {"\"input\":\"What is 3 + 4?\",\"temperature\":0,\"include\":[\"message.output_text.logprobs\"]",
         "created in_progress " REASONING " output_item.added content_part.added output_text.delta "
         "output_text.done content_part.done output_item.done completed"},
        {ask_call, "created in_progress " REASONING CALL " completed"},
        {"\"input\":\"What is 3 + 4?\",\"temperature\":0,\"max_output_tokens\":3",
         "created in_progress " REASONING " incomplete"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char names[2000];
        json_t *events = events_of(responses, rows[i].fields), *whole = answer_of(responses, rows[i].fields);
        names_of(events, names, sizeof names);
        CHECK(strcmp(names, rows[i].names) == 0, "events\n  found  %s\n  wanted %s", names, rows[i].names);
        check_items(events);
        const json_t *end = http_at(last_of(events), "response");
        check_same(http_at(end, "output"), http_at(whole, "output"), "output");
        CHECK(json_equal(http_at(end, "usage.output_tokens"), http_at(whole, "usage.output_tokens")) &&
                  json_equal(http_at(end, "status"), http_at(whole, "status")),
              "usage or status differ");
        json_decref(events);
        json_decref(whole);
    }
}

/* What an agent sends back renders as the same turns of a chat do, and the prefix cache has them. */
static void responses_come_back(void **state) {
    (void)state;
    json_t *first = answer_of(responses, ask_call);
    const json_t *output = http_at(first, "output");
    CHECK(json_array_size(output) == 2 && strcmp(http_text(output, "1.type"), "function_call") == 0,
          "%zu items", json_array_size(output));
    json_t *input = json_pack("[{s:s, s:s}]", "role", "user", "content", "What is 734 * 86?");
    json_array_extend(input, (json_t *)(uintptr_t)output);
    json_array_append_new(input, json_pack("{s:s, s:O, s:s}", "type", "function_call_output", "call_id",
                                           http_at(output, "1.call_id"), "output", "63124"));
    char fields[2000];
    snprintf(fields, sizeof fields, "{%s}", ask_call);
    json_t *body = json_loads(fields, 0, NULL);
    json_object_set_new(body, "input", input);
    char *text = json_dumps(body, 0);
    json_t *second = http_answer(shared.port, responses, text);
    const json_int_t cached = json_integer_value(http_at(second, "usage.input_tokens_details.cached_tokens")),
                     before = json_integer_value(http_at(first, "usage.total_tokens"));
    CHECK(cached >= before - 64 - 1, "%lld tokens of %lld were cached", (long long)cached, (long long)before);
    CHECK(strstr(http_text(second, "output.1.content.0.text"), "63124") ||
              strstr(http_text(second, "output.0.content.0.text"), "63124"),
          "the answer has no result");
    free(text);
    json_decref(body);
    json_decref(first);
    json_decref(second);
}

/* ---- Messages --------------------------------------------------------------------------------------- */

/* Join the events of a stream to the message that a whole answer has. At most one block is open. */
static json_t *joined(const json_t *events) {
    json_t *message = json_deep_copy(http_at(events, "0.data.message")), *block = NULL;
    char text[2000] = "";
    json_int_t n = 0;
    CHECK(strcmp(http_text(events, "0.event"), "message_start") == 0, "the first event");
    for (size_t i = 1; i < json_array_size(events); i++) {
        const json_t *data = http_at(json_array_get(events, i), "data");
        const char *type = http_text(data, "type");
        CHECK(strcmp(type, http_text(json_array_get(events, i), "event")) == 0, "the name of event %zu", i);
        if (strncmp(type, "content_block", 13) == 0)
            CHECK(json_integer_value(http_at(data, "index")) == n, "event %zu: index", i);
        if (strcmp(type, "content_block_start") == 0) {
            CHECK(!block, "two blocks are open");
            block = json_deep_copy(http_at(data, "content_block"));
            *text = '\0';
        } else if (strcmp(type, "content_block_delta") == 0) {
            static const char *const keys[] = {"delta.text", "delta.thinking", "delta.partial_json"};
            for (size_t k = 0; k < 3; k++)
                snprintf(text + strlen(text), sizeof text - strlen(text), "%s", http_text(data, keys[k]));
        } else if (strcmp(type, "content_block_stop") == 0) {
            assert_non_null(block);
            const char *kind = http_text(block, "type");
            json_object_set_new(block, strcmp(kind, "tool_use") == 0 ? "input" : kind,
                                strcmp(kind, "tool_use") == 0 ? json_loads(text, 0, NULL)
                                                              : json_string(text));
            json_array_append_new(http_at(message, "content"), block);
            block = NULL;
            n++;
        } else if (strcmp(type, "message_delta") == 0) {
            json_object_update(message, http_at(data, "delta"));
            json_object_set(message, "usage", http_at(data, "usage"));
        }
    }
    CHECK(!block && strcmp(http_text(last_of(events), "type"), "message_stop") == 0, "the last event");
    return message;
}

static void messages_stream_equals_whole(void **state) {
    static const struct {
        const char *fields, *stop, *kinds;
    } rows[] = {
        {"\"max_tokens\":50,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + "
         "4?\"}]",
         "end_turn", "thinking text"},
        {ask_use, "tool_use", "thinking tool_use"},
        {"\"max_tokens\":3,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + "
         "4?\"}]",
         "max_tokens", "thinking"},
        {"\"max_tokens\":50,\"temperature\":0,\"thinking\":{\"type\":\"disabled\"},\"stop_sequences\":[\"= "
         "\"],"
         "\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}]",
         "stop_sequence", "text"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char kinds[100] = "";
        json_t *events = events_of(messages, rows[i].fields), *whole = answer_of(messages, rows[i].fields);
        json_t *stream = joined(events);
        const json_t *content = http_at(whole, "content");
        for (size_t k = 0; k < json_array_size(content); k++)
            snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds), "%s%s", k ? " " : "",
                     http_text(json_array_get(content, k), "type"));
        CHECK(strcmp(kinds, rows[i].kinds) == 0, "blocks '%s', wanted '%s'", kinds, rows[i].kinds);
        CHECK(strcmp(http_text(whole, "stop_reason"), rows[i].stop) == 0, "%s, wanted %s",
              http_text(whole, "stop_reason"), rows[i].stop);
        check_same(http_at(stream, "content"), content, "content");
        CHECK(json_equal(http_at(stream, "stop_reason"), http_at(whole, "stop_reason")) &&
                  json_equal(http_at(stream, "stop_sequence"), http_at(whole, "stop_sequence")) &&
                  json_equal(http_at(stream, "usage.output_tokens"), http_at(whole, "usage.output_tokens")),
              "the ends differ");
        json_decref(stream);
        json_decref(events);
        json_decref(whole);
    }
}

/* Blocks of earlier turns are the tokens of the same chat. */
static void messages_render_as_chats(void **state) {
    static const char *const same[][2] = {
        {"{\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: "
         "1\"},{\"type\":\"text\",\"text\":"
         "\"s\"}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"}]}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":["
         "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"b\"},"
         "{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{\"x\":[1,2.5]}}]},{\"role\":\"user\","
         "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":[{\"type\":\"text\","
         "\"text\":"
         "\"r\"}]},{\"type\":\"text\",\"text\":\"c\"}]}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\","
         "\"reasoning\":\"t\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":"
         "\"f\","
         "\"arguments\":\"{\\\"x\\\": [1, "
         "2.5]}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"r\"},"
         "{\"role\":\"user\",\"content\":\"c\"}]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        json_t *a = http_answer(shared.port, "/v1/messages/count_tokens", same[i][0]);
        json_t *b = http_answer(shared.port, "/tokenize", same[i][1]);
        CHECK(json_integer_value(http_at(a, "input_tokens")) > 5 &&
                  json_equal(http_at(a, "input_tokens"), http_at(b, "count")),
              "row %zu: %lld and %lld tokens", i, json_integer_value(http_at(a, "input_tokens")),
              json_integer_value(http_at(b, "count")));
        json_decref(a);
        json_decref(b);
    }
}

/* ---- all three --------------------------------------------------------------------------------------- */

/* The same question has the same answer in each interface. */
static void interfaces_agree(void **state) {
    (void)state;
    json_t *chat = answer_of("/v1/chat/completions", chat_call), *response = answer_of(responses, ask_call),
           *message = answer_of(messages, ask_use);
    const char *name = http_text(chat, "choices.0.message.tool_calls.0.function.name"),
               *arguments = http_text(chat, "choices.0.message.tool_calls.0.function.arguments"),
               *thought = http_text(chat, "choices.0.message.reasoning");
    json_t *value = json_loads(arguments, 0, NULL);
    CHECK(*name && *thought && value, "no call: %s", arguments);
    CHECK(strcmp(name, http_text(response, "output.1.name")) == 0 &&
              strcmp(arguments, http_text(response, "output.1.arguments")) == 0 &&
              strcmp(thought, http_text(response, "output.0.content.0.text")) == 0,
          "Responses differ");
    CHECK(strcmp(name, http_text(message, "content.1.name")) == 0 &&
              json_equal(value, http_at(message, "content.1.input")) &&
              strcmp(thought, http_text(message, "content.0.thinking")) == 0,
          "Messages differ");
    CHECK(json_equal(http_at(chat, "usage.prompt_tokens"), http_at(response, "usage.input_tokens")) &&
              json_integer_value(http_at(chat, "usage.prompt_tokens")) ==
                  json_integer_value(http_at(message, "usage.input_tokens")) +
                      json_integer_value(http_at(message, "usage.cache_read_input_tokens")),
          "usage differs");
    json_decref(value);
    json_decref(chat);
    json_decref(response);
    json_decref(message);
}

/* A JSON Schema constrains what follows the thinking, in both interfaces, streamed or not. */
static void schemas_constrain(void **state) {
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"city\":{\"enum\":[\"Rome\"]}},"
                                 "\"required\":[\"city\"],\"additionalProperties\":false}";
    static const char *const paths[] = {responses, messages};
    static const char *const formats[] = {
        "\"input\":\"Hello\",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":%s}}",
        "\"max_tokens\":300,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"output_config\":{"
        "\"format\":{"
        "\"type\":\"json_schema\",\"schema\":%s}}"};
    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (int thinks = 0; thinks < 2; thinks++) {
            char fields[1000], body[1200];
            snprintf(fields, sizeof fields, formats[i], schema);
            snprintf(body, sizeof body, "%s,\"seed\":1,\"chat_template_kwargs\":{\"enable_thinking\":%s}",
                     fields, thinks ? "true" : "false");
            json_t *root = answer_of(paths[i], body);
            const json_t *list = http_at(root, i ? "content" : "output");
            const json_t *last = json_array_get(list, json_array_size(list) - 1);
            json_t *value = json_loads(http_text(last, i ? "text" : "content.0.text"), 0, NULL);
            CHECK(strcmp(http_text(value, "city"), "Rome") == 0, "%s, thinking %d: no JSON", paths[i],
                  thinks);
            json_decref(value);
            json_decref(root);
        }
}

static void errors_have_their_form(void **state) {
    static const struct {
        const char *path, *body;
        int status;
        const char *words[2];
    } rows[] = {
        {messages,
         "{\"model\":\"m\",\"max_tokens\":1}",
         400,
         {"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"", "messages"}},
        {messages,
         "{\"model\":\"no\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
         404,
         {"not_found_error", "no"}},
        {messages,
         "{\"max_tokens\":1,\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}",
         400,
         {"invalid_request_error", "role"}},
        {messages,
         "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{}}]"
         "}]}",
         400,
         {"invalid_request_error", "image"}},
        {messages,
         "{\"max_tokens\":1,\"tool_choice\":{\"type\":\"x\"},\"tools\":[{\"name\":\"f\",\"input_schema\":{}}]"
         ","
         "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}",
         400,
         {"invalid_request_error", "tool_choice"}},
        {messages,
         "{\"max_tokens\":1,\"tool_choice\":{\"type\":\"any\"},\"messages\":[{\"role\":\"user\","
         "\"content\":\"a\"}]}",
         400,
         {"invalid_request_error", "`tools` must be set"}},
        {messages,
         "{\"max_tokens\":1,\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"},\"messages\":[{\"role\":"
         "\"user\",\"content\":\"a\"}]}",
         400,
         {"invalid_request_error", "`tools` must be set"}},
        {messages,
         "{\"max_tokens\":1,\"tool_choice\":{\"type\":\"auto\"},\"messages\":[{\"role\":\"user\","
         "\"content\":\"a\"}]}",
         200,
         {"\"type\":\"message\"", ""}},
        {responses,
         "{\"input\":\"a\",\"max_output_tokens\":1,\"tool_choice\":\"required\"}",
         400,
         {"BadRequestError", "`tools` must be set"}},
        {responses,
         "{\"input\":\"a\",\"max_output_tokens\":1,\"tool_choice\":\"auto\"}",
         200,
         {"\"object\":\"response\"", ""}},
        {responses,
         "{\"input\":\"a\",\"previous_response_id\":\"resp_1\"}",
         400,
         {"BadRequestError", "\"param\":\"previous_response_id\""}},
        {responses, "{\"input\":\"a\",\"background\":true}", 400, {"BadRequestError", "background"}},
        {responses, "{\"input\":[]}", 400, {"BadRequestError", "input"}},
        {responses,
         "{\"input\":[{\"type\":\"function_call\",\"name\":\"f\"}]}",
         400,
         {"Bad Request", "body.input.0.call_id"}},
        {responses,
         "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]}",
         400,
         {"BadRequestError", "input_image"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_post(shared.port, rows[i].path, rows[i].body);
        CHECK(r.status == rows[i].status && strstr(r.body, rows[i].words[0]) &&
                  strstr(r.body, rows[i].words[1]),
              "%s: %d %s", rows[i].body, r.status, r.body);
        http_free(&r);
    }
}

/* Every field with every type of value: 200 or an error of the client, with a short body. */
static void wrong_types(void **state) {
    static const char *const fields[] = {"model",     "input",          "messages",     "instructions",
                                         "system",    "tools",          "tool_choice",  "text",
                                         "reasoning", "include",        "thinking",     "output_config",
                                         "metadata",  "stop_sequences", "temperature",  "max_tokens",
                                         "stream",    "store",          "top_logprobs", "background"};
    static const char *const values[] = {
        "null",
        "true",
        "-1",
        "1e400",
        "0.5",
        "\"x\"",
        "[]",
        "[1]",
        "[null]",
        "[[]]",
        "{\"a\":1}",
        "[{\"role\":\"user\",\"content\":[{}]}]",
        "[{\"type\":\"reasoning\",\"content\":[1]},{\"type\":\"function_call\"}]"};
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            for (int other = 0; other < 2; other++) {
                char body[400];
                const char *name = fields[i];
                const char *rest =
                    other ? "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1"
                          : "\"input\":\"a\",\"max_output_tokens\":1";
                snprintf(body, sizeof body, "{%s,\"%s\":%s}", rest, name, values[k]);
                http_reply r = http_post(shared.port, other ? messages : responses, body);
                CHECK((r.status == 200 || r.status == 400 || r.status == 404) && r.len < 4000 && r.whole,
                      "%s: status %d, %zu bytes", body, r.status, r.len);
                http_free(&r);
            }
}

/* Anthropic's clients send their key in a header of its own. */
static void keys(void **state) {
    static const char body[] = "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    static const struct {
        const char *header;
        int status;
    } rows[] = {{"X-Api-Key: sk-1\r\n", 200},
                {"Authorization: Bearer sk-1\r\n", 200},
                {"X-Api-Key: sk\r\n", 401},
                {"", 401}};
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1 --api-key sk-1");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char headers[200];
        snprintf(headers, sizeof headers, "%s%s", http_json, rows[i].header);
        http_reply r = http_end(http_begin(s.port, "POST", messages, headers, body, strlen(body)));
        CHECK(r.status == rows[i].status, "%s: %d", rows[i].header, r.status);
        if (r.status == 401) CHECK(strstr(r.body, "authentication_error"), "%s", r.body);
        http_free(&r);
    }
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_events_are_in_order),
        cmocka_unit_test(responses_come_back),
        cmocka_unit_test(messages_stream_equals_whole),
        cmocka_unit_test(messages_render_as_chats),
        cmocka_unit_test(interfaces_agree),
        cmocka_unit_test(schemas_constrain),
        cmocka_unit_test(errors_have_their_form),
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(keys),
    };
    return check_group_status("server_apis",
                              cmocka_run_group_tests_name("server_apis", tests, begin_shared, end_shared),
                              (int)(sizeof tests / sizeof *tests));
}
