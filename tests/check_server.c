/* check_server.c - `glia serve` over loopback: wire bytes, answers equal to `glia generate`'s, clients that
 * leave or are slow, wrong input, keys, and the end. */
#define _GNU_SOURCE
#include "http.h"

#include <math.h>

static const char model_args[] = "models/qwen3-demo --served-model-name m --threads 1";
static const char greedy_chat[] =
    "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}],\"temperature\":0";
/* Runs for a long time: 8,000 tokens. */
static const char endless[] =
    "{\"prompt\":\"Once\",\"max_tokens\":8000,\"ignore_eos\":true,\"seed\":1,\"stream\":%s,\"n\":%d}";

/* The server of most tests. */
static served shared;

static int begin_shared(void **state) {
    char args[200];
    (void)state;
    snprintf(args, sizeof args, "%s --batch-size 4", model_args);
    serve_begin(&shared, args);
    return 0;
}

static int end_shared(void **state) {
    (void)state;
    CHECK(serve_end(&shared) == 0, "the server ended badly: %s", shared.said);
    return 0;
}

/* ---- wire bytes ------------------------------------------------------------------- */

/* Replace the digits after "created": by 0, in place. */
static void hide_time(char *text) {
    char *to = text;
    for (const char *at = text; *at;) {
        static const char key[] = "\"created\":";
        if (strncmp(at, key, strlen(key)) != 0) {
            *to++ = *at++;
            continue;
        }
        memmove(to, key, strlen(key));
        to += strlen(key);
        at += strlen(key);
        at += strspn(at, "0123456789");
        *to++ = '0';
    }
    *to = '\0';
}

static void check_bytes(const char *path, const char *body, int status, const char *want) {
    char headers[100];
    snprintf(headers, sizeof headers, "%sX-Request-Id: r1\r\n", http_json);
    http_reply r = http_end(http_begin(shared.port, "POST", path, headers, body, strlen(body)));
    assert_non_null(r.body);
    hide_time(r.body);
    CHECK(r.status == status && r.whole, "%s: status %d, whole %d", body, r.status, r.whole);
    CHECK(strcmp(r.body, want) == 0, "%s\n  found  %s\n  wanted %s", body, r.body, want);
    http_free(&r);
}

#define CHUNK                                                                                                \
    "data: "                                                                                                 \
    "{\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"m\","            \
    "\"choices\":["
#define DELTA(delta)                                                                                         \
    CHUNK "{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
#define THOUGHT(text) DELTA("\"reasoning\":\"" text "\",\"reasoning_content\":\"" text "\"")
#define SAID(text) DELTA("\"content\":\"" text "\"")

static void chat_stream_bytes(void **state) {
    char body[500];
    (void)state;
    snprintf(body, sizeof body,
             "{%s,\"max_tokens\":40,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             greedy_chat);
    check_bytes("/v1/chat/completions", body, 200,
                DELTA("\"role\":\"assistant\",\"content\":\"\"") THOUGHT("3") THOUGHT(" +") THOUGHT(" ")
                    THOUGHT("4") THOUGHT(" =") THOUGHT(" ") THOUGHT("8") THOUGHT(".") SAID("3") SAID(" +")
                        SAID(" ") SAID("4") SAID(" =") SAID(" ") SAID("8") SAID(".") CHUNK
                "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":"
                "null}]}\n\n" CHUNK "],\"usage\":{\"prompt_tokens\":16,\"total_tokens\":37,"
                "\"completion_tokens\":21,\"prompt_tokens_details\":{\"cached_tokens\":0},"
                "\"completion_tokens_details\":{\"reasoning_tokens\":10}}}\n\n"
                "data: [DONE]\n\n");
}

static void chat_bytes(void **state) {
    char body[500];
    (void)state;
    snprintf(body, sizeof body, "{%s,\"max_tokens\":40,\"stop\":[\"= 8\"],\"include_reasoning\":true}",
             greedy_chat);
    check_bytes(
        "/v1/chat/completions", body, 200,
        "{\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion\",\"created\":0,\"model\":\"m\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,"
        "\"reasoning\":\"3 + 4 \",\"reasoning_content\":\"3 + 4 \"},\"logprobs\":null,"
        "\"finish_reason\":\"stop\",\"stop_reason\":\"= 8\"}],\"usage\":{\"prompt_tokens\":16,"
        "\"total_tokens\":25,\"completion_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":8}}}");
}

#define TOOLS                                                                                                \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"calculator\",\"description\":"               \
    "\"Evaluate an arithmetic expression\",\"parameters\":{\"type\":\"object\",\"properties\":"              \
    "{\"expression\":{\"type\":\"string\"}},\"required\":[\"expression\"]}}}]"

/* The text of the one tool call in a message or in the chunks of a stream; its arguments joined. */
static void joined_call(const char *at, char *name, char *arguments) {
    *name = *arguments = '\0';
    for (; (at = strstr(at, "\"tool_calls\":[")) != NULL; at++) {
        const char *n = strstr(at, "\"name\":\""), *a = strstr(at, "\"arguments\":\"");
        if (n) sscanf(n + 8, "%99[^\"]", name);
        if (a) sscanf(a + 13, "%199[^}]", arguments + strlen(arguments));
    }
}

/* A call that the model makes: whole and streamed alike, and its history in the bytes that the model wrote,
 * so that the prefix cache has them. */
static void tools_are_called(void **state) {
    static const char ask[] =
        "\"temperature\":0,\"max_tokens\":80," TOOLS ",\"messages\":[{\"role\":\"user\","
        "\"content\":\"What is 734 * 86?\"}";
    char body[2000], name[2][100], arguments[2][200];
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        snprintf(body, sizeof body, "{%s],\"stream\":%s}", ask, stream ? "true" : "false");
        http_reply r = http_post(shared.port, "/v1/chat/completions", body);
        joined_call(r.body, name[stream], arguments[stream]);
        CHECK(r.status == 200 && strstr(r.body, "\"finish_reason\":\"tool_calls\""), "%s", r.body);
        CHECK(!strstr(r.body, "tool_call>"), "%s", r.body);
        http_free(&r);
    }
    CHECK(strcmp(name[0], "calculator") == 0 && strcmp(name[1], name[0]) == 0, "names '%s' and '%s'", name[0],
          name[1]);
    CHECK(*arguments[0] && strcmp(arguments[0], arguments[1]) == 0, "arguments %s and %s", arguments[0],
          arguments[1]);
    json_t *first = http_answer(
        shared.port, "/v1/chat/completions",
        "{" TOOLS ",\"max_tokens\":80,"
        "\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"What is 734 * 86?\"}]}");
    json_t *message = json_object_get(json_array_get(json_object_get(first, "choices"), 0), "message");
    json_t *next =
        json_pack("{s:[{s:s,s:s},O,{s:s,s:s}],s:i}", "messages", "role", "user", "content",
                  "What is 734 * 86?", message, "role", "tool", "content", "63124", "max_tokens", 40);
    json_t *tools = json_loads("{" TOOLS "}", 0, NULL);
    json_object_update(next, tools);
    char *text = json_dumps(next, 0);
    json_t *second = http_answer(shared.port, "/v1/chat/completions", text);
    json_t *usage = json_object_get(second, "usage"), *before = json_object_get(first, "usage");
    const json_int_t cached =
        json_integer_value(json_object_get(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"));
    const json_int_t all = json_integer_value(json_object_get(before, "total_tokens"));
    CHECK(cached >= all - 64 - 1, "%lld tokens of %lld were cached", (long long)cached, (long long)all);
    free(text);
    json_decref(first);
    json_decref(next);
    json_decref(tools);
    json_decref(second);
}

#define TEXT                                                                                                 \
    "data: "                                                                                                 \
    "{\"id\":\"cmpl-r1\",\"object\":\"text_completion\",\"created\":0,\"model\":\"m\",\"choices\":[{"        \
    "\"index\":0,"                                                                                           \
    "\"text\":"

/* Fields that constrain an answer, and an answer that satisfies them: a text that must be there. */
static void answers_are_constrained(void **state) {
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"city\":{\"enum\":[\"Rome\"]}},"
                                 "\"required\":[\"city\"],\"additionalProperties\":false}";
    static const struct {
        const char *path, *field, *has;
    } cases[] = {
        {"/v1/chat/completions",
         "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":%s}}",
         "\\\"city\\\""},
        {"/v1/chat/completions", "\"structured_outputs\":{\"json\":%s,\"disable_any_whitespace\":true}",
         "{\\\"city\\\":\\\"Rome\\\"}"},
        {"/v1/chat/completions",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"go\",\"parameters\":%s}}],\"tool_"
         "choice\":\"required\","
         "\"parallel_tool_calls\":false",
         "\"name\":\"go\""},
        {"/v1/completions", "\"structured_outputs\":{\"choice\":[\"Rome\"]}", "\"text\":\"Rome\""},
        {"/v1/completions", "\"grammar\":\"root ::= \\\"Rome\\\"\"", "\"text\":\"Rome\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char field[800], body[1200];
        const bool chat = strstr(cases[i].path, "chat");
        snprintf(field, sizeof field, cases[i].field, schema);
        snprintf(body, sizeof body, "{%s,\"max_tokens\":200,\"seed\":1,%s}",
                 chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]" : "\"prompt\":\"Hello\"",
                 field);
        http_reply r = http_post(shared.port, cases[i].path, body);
        CHECK(r.status == 200 && strstr(r.body, cases[i].has), "%s: %d %s", body, r.status, r.body);
        CHECK(!strstr(r.raw, "X-Constraint-Warning"), "%s: a warning", body);
        free(r.raw);
    }
    for (int stream = 0; stream < 2; stream++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"prompt\":\"Hello\",\"max_tokens\":3,\"stream\":%s,\"json_schema\":{\"format\":"
                 "\"caf\u00e9\"}}",
                 stream ? "true" : "false");
        http_reply r = http_post(shared.port, "/v1/completions", body);
        CHECK(strstr(r.raw, "X-Constraint-Warning: \"format\": \"caf??\" is not enforced\r\n"), "%s", r.raw);
        free(r.raw);
    }
}

static void completion_stream_bytes(void **state) {
    (void)state;
    check_bytes(
        "/v1/completions",
        "{\"prompt\":\"What is 3 + 4?\",\"max_tokens\":2,\"temperature\":0,\"echo\":true,\"stream\":true}",
        200,
        TEXT "\"What is 3 + 4?\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n" TEXT
             "\"\\n\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n" TEXT
             "\"3\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]}\n\n" TEXT
             "\"\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}]}\n\n"
             "data: [DONE]\n\n");
}

static void error_bytes(void **state) {
    (void)state;
    check_bytes("/v1/chat/completions", "{\"model\":\"m\"}", 400,
                "{\"error\":{\"message\":\"1 validation error: body.messages: Field required\","
                "\"type\":\"Bad Request\",\"param\":\"body.messages\",\"code\":400}}");
    check_bytes(
        "/v1/chat/completions", "{\"messages\":1,\"n\":\"x\"}", 400,
        "{\"error\":{\"message\":\"2 validation errors: body.messages: Input should be a valid list; "
        "body.n: Input should be a valid integer\",\"type\":\"Bad Request\",\"param\":\"body.messages\","
        "\"code\":400}}");
    check_bytes(
        "/v1/completions", "{\"prompt\":\"a\",\"temperature\":-0.1}", 400,
        "{\"error\":{\"message\":\"temperature must be non-negative and at most 2, got -0.1. "
        "(parameter=temperature, value=-0.1)\",\"type\":\"BadRequestError\",\"param\":\"temperature\","
        "\"code\":400}}");
    check_bytes(
        "/v1/completions", "{\"prompt\":\"a\",\"model\":\"no \\\"such\\\"\"}", 404,
        "{\"error\":{\"message\":\"The model `no \\\"such\\\"` does not exist.\",\"type\":\"NotFoundError\","
        "\"param\":\"model\",\"code\":404}}");
    check_bytes("/v1/completions", "{\"prompt\":\"a\",\"seed\":9223372036854775808,\"max_tokens\":1}", 400,
                "{\"error\":{\"message\":\"1 validation error: body.seed: Input should be a valid integer\","
                "\"type\":\"Bad Request\",\"param\":\"body.seed\",\"code\":400}}");
    check_bytes("/v1/nothing", "{}", 404,
                "{\"error\":{\"message\":\"Not Found\",\"type\":\"Not Found\",\"param\":null,\"code\":404}}");
    check_bytes(
        "/v1/models", "{}", 405,
        "{\"error\":{\"message\":\"Method Not Allowed\",\"type\":\"Method Not Allowed\",\"param\":null,"
        "\"code\":405}}");
    check_bytes(
        "/v1/completions", "{\"prompt\":", 400,
        "{\"error\":{\"message\":\"1 validation error: body: JSON decode error: unexpected token near end of "
        "file, byte 10\",\"type\":\"Bad Request\",\"param\":\"body\",\"code\":400}}");
}

/* ---- the same answers as `glia generate` ------------------------------------------------ */

enum { PROMPTS = 8, CROWD = 32, TOKENS = 24 };

static void prompt_of(char *out, size_t cap, int i) {
    snprintf(out, cap, "[%d,%d,%d]", 300 + i, 40 + 3 * i, 5 + 7 * i);
}

/* What the command answers. */
static json_t *generated(int i) {
    char prompt[60];
    prompt_of(prompt, sizeof prompt, i);
    outcome o =
        glia(prompt,
             "generate models/qwen3-demo --ids - --json --threads 1 --seed %d --temperature 0.8 --top-p 0.9 "
             "--top-k 40 --max-tokens %d --logprobs 2 --repetition-penalty 1.1 --logit-bias 13:-4",
             100 + i, TOKENS);
    json_t *root = json_of(&o), *one = json_incref(json_array_get(json_object_get(root, "outputs"), 0));
    json_decref(root);
    return one;
}

static int begin_equal(int i, bool stream) {
    char body[500], prompt[60];
    prompt_of(prompt, sizeof prompt, i);
    snprintf(body, sizeof body,
             "{\"prompt\":%s,\"seed\":%d,\"temperature\":0.8,\"top_p\":0.9,\"top_k\":40,\"max_tokens\":%d,"
             "\"logprobs\":2,\"repetition_penalty\":1.1,\"logit_bias\":{\"13\":-4},\"stream\":%s}",
             prompt, 100 + i, TOKENS, stream ? "true" : "false");
    return http_begin(shared.port, "POST", "/v1/completions", http_json, body, strlen(body));
}

/* Join the events of a stream to the choice that a whole answer has; the caller owns it. */
static json_t *joined(const http_reply *r) {
    json_t *logprobs = json_array(), *choice = json_object();
    char text[4096] = "";
    for (const char *at = r->body; (at = strstr(at, "data: {")) != NULL; at++) {
        json_error_t why;
        json_t *event = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, &why);
        const json_t *one = json_array_get(json_object_get(event, "choices"), 0);
        strcat(text, json_string_value(json_object_get(one, "text")));
        json_array_extend(logprobs, json_object_get(json_object_get(one, "logprobs"), "token_logprobs"));
        json_object_set(choice, "finish_reason", json_object_get(one, "finish_reason"));
        json_decref(event);
    }
    json_object_set_new(choice, "text", json_string(text));
    json_object_set_new(choice, "logprobs", json_pack("{s:o}", "token_logprobs", logprobs));
    return choice;
}

/* Bit for bit, as float32. */
static void check_equal(json_t *want, http_reply *r, bool stream) {
    assert_int_equal(r->status, 200);
    CHECK(r->whole, "a reply was cut");
    json_t *root = stream ? NULL : json_loadb(r->body, r->len, 0, NULL);
    json_t *choice = stream ? joined(r) : json_incref(json_array_get(json_object_get(root, "choices"), 0));
    const char *text = json_string_value(json_object_get(choice, "text")),
               *wanted = json_string_value(json_object_get(want, "text"));
    CHECK(strcmp(text, wanted) == 0, "served '%s', generated '%s'", text, wanted);
    const json_t *a = json_object_get(json_object_get(choice, "logprobs"), "token_logprobs"),
                 *b = json_object_get(want, "logprobs");
    CHECK(json_array_size(a) == json_array_size(b) && json_array_size(b) > 0, "%zu and %zu log-probabilities",
          json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(b); i++)
        CHECK((float)json_real_value(json_array_get(a, i)) == (float)json_real_value(json_array_get(b, i)),
              "log-probability %zu differs", i);
    CHECK(json_equal(json_object_get(choice, "finish_reason"), json_object_get(want, "finish_reason")),
          "the end");
    json_decref(choice);
    json_decref(root);
    http_free(r);
}

static void equals_generate(void **state) {
    json_t *want[PROMPTS];
    int fd[CROWD];
    (void)state;
    for (int i = 0; i < PROMPTS; i++) {
        want[i] = generated(i);
        for (int stream = 0; stream < 2; stream++) {
            http_reply r = http_end(begin_equal(i, stream));
            check_equal(want[i], &r, stream);
        }
    }
    for (int i = 0; i < CROWD; i++) fd[i] = begin_equal(i % PROMPTS, i / PROMPTS % 2);
    for (int i = 0; i < CROWD; i++) {
        http_reply r = http_end(fd[i]);
        check_equal(want[i % PROMPTS], &r, i / PROMPTS % 2);
    }
    for (int i = 0; i < PROMPTS; i++) json_decref(want[i]);
}

/* ---- fields ------------------------------------------------------------------------- */

static const json_t *choice_of(const json_t *root, size_t i) {
    return json_array_get(json_object_get(root, "choices"), i);
}

static const char *text_of(const json_t *root, size_t i) {
    return json_string_value(json_object_get(choice_of(root, i), "text"));
}

/* n choices of one prompt, and several prompts: index is prompt * n + i, and choice i has the seed + i. */
static void choices_are_numbered(void **state) {
    (void)state;
    json_t *all =
        http_answer(shared.port, "/v1/completions",
                    "{\"prompt\":[\"Once\",[300,40]],\"n\":2,\"seed\":7,\"temperature\":1,\"max_tokens\":9}");
    for (size_t i = 0; i < 4; i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"prompt\":%s,\"seed\":%zu,\"temperature\":1,\"max_tokens\":9}",
                 i < 2 ? "\"Once\"" : "[300,40]", 7 + i % 2);
        json_t *one = http_answer(shared.port, "/v1/completions", body);
        CHECK(json_integer_value(json_object_get(choice_of(all, i), "index")) == (json_int_t)i,
              "index of %zu", i);
        CHECK(strcmp(text_of(all, i), text_of(one, 0)) == 0, "choice %zu: '%s', alone '%s'", i,
              text_of(all, i), text_of(one, 0));
        json_decref(one);
    }
    CHECK(strcmp(text_of(all, 0), text_of(all, 1)) != 0, "two choices are equal: %s", text_of(all, 0));
    json_decref(all);
}

static void echo_alone(void **state) {
    (void)state;
    json_t *root = http_answer(shared.port, "/v1/completions",
                               "{\"prompt\":\"Hello world\",\"max_tokens\":0,\"echo\":true}");
    CHECK(strcmp(text_of(root, 0), "Hello world") == 0, "echo: '%s'", text_of(root, 0));
    json_decref(root);
}

/* Tokens equal those of `glia tokenize` and `glia template`. */
static void tokens(void **state) {
    (void)state;
    json_t *root = http_answer(shared.port, "/tokenize",
                               "{\"prompt\":\"Hello w\\u00f6rld\",\"return_token_strs\":true}");
    outcome o = glia("\"Hello w\\u00f6rld\"", "tokenize models/qwen3-demo");
    json_t *ids = json_of(&o);
    CHECK(json_equal(ids, json_object_get(root, "tokens")), "/tokenize differs from glia tokenize");
    CHECK(json_integer_value(json_object_get(root, "count")) == (json_int_t)json_array_size(ids) &&
              json_array_size(json_object_get(root, "token_strs")) == json_array_size(ids),
          "count, token_strs");
    json_t *back = json_pack("{s:O}", "tokens", ids);
    char *body = json_dumps(back, 0);
    json_t *text = http_answer(shared.port, "/detokenize", body);
    CHECK(strcmp(json_string_value(json_object_get(text, "prompt")), "Hello w\xc3\xb6rld") == 0,
          "/detokenize");
    free(body);
    json_decref(back);
    json_decref(text);
    json_decref(ids);
    json_decref(root);
}

/* A part list, a developer message, and reasoning of earlier answers render as their plain spellings do. */
static void messages_are_read(void **state) {
    static const char *const same[][2] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
         "\"text\","
         "\"text\":\"b\"}]}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\nb\"}]}"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"}]}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"}]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        json_t *a = http_answer(shared.port, "/tokenize", same[i][0]);
        json_t *b = http_answer(shared.port, "/tokenize", same[i][1]);
        CHECK(json_equal(a, b), "%s is not %s", same[i][0], same[i][1]);
        json_decref(a);
        json_decref(b);
    }
}

/* ---- clients that leave or are slow ------------------------------------------------------ */

static int begin_endless(const char *stream, int n) {
    char body[200];
    snprintf(body, sizeof body, endless, stream, n);
    return http_begin(shared.port, "POST", "/v1/completions", http_json, body, strlen(body));
}

/* In each state: streaming, waiting for a whole answer, in the queue. */
static void clients_that_leave_abort(void **state) {
    (void)state;
    const int streaming = begin_endless("true", 2), waiting = begin_endless("false", 2);
    char some[200];
    assert_true(recv(streaming, some, sizeof some, 0) > 0);
    CHECK(http_wait_load(shared.port, 4), "load is not 4");
    const int queued = begin_endless("false", 3);
    CHECK(http_wait_load(shared.port, 7), "load is not 7");
    close(queued);
    CHECK(http_wait_load(shared.port, 4), "a queued request was not aborted");
    close(waiting);
    CHECK(http_wait_load(shared.port, 2), "a request for a whole answer was not aborted");
    close(streaming);
    CHECK(http_wait_load(shared.port, 0), "a stream was not aborted");
}

/* One client sends half a request, one does not read: others are answered. */
static void slow_clients_stall_nobody(void **state) {
    (void)state;
    const int half = http_connect(shared.port), deaf = begin_endless("true", 1);
    assert_true(http_write(half, "POST /v1/completions HTTP/1.1\r\nContent-Le", 42));
    const int little = 4096;
    setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    for (int i = 0; i < 5; i++) {
        json_t *root = http_answer(shared.port, "/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":5}");
        json_decref(root);
    }
    close(half);
    close(deaf);
    CHECK(http_wait_load(shared.port, 0), "the client that does not read was not aborted");
}

/* A client that reads nothing is dropped when 4 MiB wait for it. */
static void deaf_clients_are_dropped(void **state) {
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":6000,"
                               "\"ignore_eos\":true,\"n\":4,"
                               "\"seed\":1,\"stream\":true,\"logprobs\":true,\"top_logprobs\":20}";
    (void)state;
#ifdef __SANITIZE_THREAD__
    check_skip("4 MiB of tokens take minutes under ThreadSanitizer");
#endif
    const int fd = http_begin(shared.port, "POST", "/v1/chat/completions", http_json, body, strlen(body));
    CHECK(http_wait_load(shared.port, 4) && http_wait_load(shared.port, 0), "load");
    http_reply r = http_end(fd);
    CHECK(r.status == 200 && !r.whole, "a stream of %zu bytes was sent whole", r.len);
    http_free(&r);
}

/* The value of a metric. */
static double metric(const char *text, const char *name) {
    const char *at = strstr(text, name);
    CHECK(at != NULL, "no metric %s in %s", name, text);
    return at ? strtod(strchr(at, '}') + 1, NULL) : NAN;
}

static void metrics_count(void **state) {
    static const char *const names[] = {
        "\nvllm:prompt_tokens_total{",
        "\nvllm:generation_tokens_total{",
        "finished_reason=\"length\"",
        "\nvllm:time_to_first_token_seconds_count{",
        "\nvllm:inter_token_latency_seconds_count{",
        "\nvllm:request_generation_tokens_sum{",
        "\nvllm:e2e_request_latency_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"+Inf\""};
    static const double more[] = {8, 14, 2, 2, 12, 14, 2}; /* two sequences of 4 + 7 tokens */
    (void)state;
    http_reply before = http_get(shared.port, "/metrics");
    json_t *root = http_answer(shared.port, "/v1/completions",
                               "{\"prompt\":[5,6,7,8],\"max_tokens\":7,\"n\":2,\"ignore_eos\":true}");
    http_reply after = http_get(shared.port, "/metrics");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const double grown = metric(after.body, names[i]) - metric(before.body, names[i]);
        CHECK(grown == more[i], "%s grew by %g, wanted %g", names[i], grown, more[i]);
    }
    CHECK(metric(after.body, "\nvllm:num_requests_running{") == 0 &&
              metric(after.body, "\nvllm:num_requests_waiting{") == 0,
          "something runs: %s", after.body);
    json_decref(root);
    http_free(&before);
    http_free(&after);
}

/* ---- wrong input ------------------------------------------------------------------------- */

static void check_raw(const char *bytes, size_t n, int status) {
    const int fd = http_connect(shared.port);
    http_write(fd, bytes, n);
    shutdown(fd, SHUT_WR);
    http_reply r = http_end(fd);
    CHECK(r.status == status, "%.60s: status %d, wanted %d", bytes, r.status, status);
    http_free(&r);
}

static void wrong_bytes(void **state) {
    static const char *const wrong[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int fd = http_connect(shared.port);
        http_write(fd, wrong[i], strlen(wrong[i]));
        shutdown(fd, SHUT_WR);
        http_reply r = http_end(fd);
        CHECK(r.status == 0 || (r.status >= 400 && r.status < 600), "%s: status %d", wrong[i], r.status);
        http_free(&r);
    }
    const size_t long_n = 200000;
    char *head = malloc(long_n);
    memset(head, 'a', long_n);
    memcpy(head, "GET /health HTTP/1.1\r\nX-Long: ", 30);
    check_raw(head, long_n, 400);
    free(head);
    CHECK(http_load(shared.port) == 0, "load");
}

static void bodies_are_limited(void **state) {
    (void)state;
    const int fd = http_connect(shared.port);
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nContent-Type: "
                               "application/json\r\nContent-Length: 1000000000\r\n\r\n";
    http_write(fd, head, strlen(head));
    http_reply r = http_end(fd);
    CHECK(r.status == 413, "1 GB: status %d", r.status);
    http_free(&r);
    const size_t deep = 100000; /* brackets */
    char *body = malloc(deep + 1);
    memset(body, '[', deep);
    body[deep] = '\0';
    r = http_post(shared.port, "/v1/completions", body);
    CHECK(r.status == 400 && r.len < 1000, "100,000 brackets: status %d, %zu bytes", r.status, r.len);
    http_free(&r);
    free(body);
}

/* Every field with every type of value: 200 or an error of the client, with a short body. */
static void wrong_types(void **state) {
    static const char *const fields[] = {"model",
                                         "prompt",
                                         "messages",
                                         "stream",
                                         "stream_options",
                                         "n",
                                         "temperature",
                                         "top_p",
                                         "top_k",
                                         "min_p",
                                         "max_tokens",
                                         "seed",
                                         "stop",
                                         "logprobs",
                                         "echo",
                                         "logit_bias",
                                         "stop_token_ids",
                                         "top_logprobs",
                                         "tools",
                                         "documents",
                                         "tool_choice",
                                         "response_format",
                                         "chat_template_kwargs",
                                         "reasoning_effort"};
    static const char *const values[] = {
        "null", "true", "-1",     "1e400", "0.5", "\"x\"",     "\"\\u0000\"",
        "[]",   "[1]",  "[null]", "[[]]",  "{}",  "{\"a\":1}", "123456789012345678901234567890"};
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            for (int chat = 0; chat < 2; chat++) {
                char body[300];
                const char *name = fields[i];
                snprintf(body, sizeof body, "{%s%s\"%s\":%s}",
                         strcmp(name, "max_tokens") != 0 ? "\"max_tokens\":1," : "",
                         strcmp(name, chat ? "messages" : "prompt") == 0 ? ""
                         : chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                                : "\"prompt\":\"a\",",
                         name, values[k]);
                http_reply r =
                    http_post(shared.port, chat ? "/v1/chat/completions" : "/v1/completions", body);
                CHECK((r.status == 200 || r.status == 400 || r.status == 404) && r.len < 4000 && r.whole,
                      "%s: status %d, %zu bytes", body, r.status, r.len);
                http_free(&r);
            }
}

/* Two requests in one write, on one connection. */
static void pipelined_requests(void **state) {
    char both[1000], body[] = "{\"prompt\":\"Once\",\"max_tokens\":3,\"temperature\":0}";
    (void)state;
    snprintf(
        both, sizeof both,
        "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s"
        "GET /version HTTP/1.1\r\nConnection: close\r\n\r\n",
        strlen(body), body);
    const int fd = http_connect(shared.port);
    http_write(fd, both, strlen(both));
    http_reply r = http_end(fd);
    assert_int_equal(r.status, 200);
    CHECK(strstr(r.body, "\"text_completion\"") && strstr(r.body, "{\"version\":"), "two replies: %s",
          r.body);
    http_free(&r);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* SIGTERM: streams that run are finished, nobody is admitted, the status is 0. */
static void drains(void **state) {
    enum { STREAMS = 8 };
    served s;
    char args[200], body[] = "{\"prompt\":\"Once\",\"max_tokens\":400,\"ignore_eos\":true,\"stream\":true}";
    int fd[STREAMS];
    (void)state;
    snprintf(args, sizeof args, "%s --batch-size 2 --shutdown-timeout 600", model_args);
    serve_begin(&s, args);
    for (int i = 0; i < STREAMS; i++)
        fd[i] = http_begin(s.port, "POST", "/v1/completions", http_json, body, strlen(body));
    for (int i = 0; i < STREAMS; i++) { /* admitted; the first ones may have ended */
        char one;
        assert_int_equal(recv(fd[i], &one, 1, MSG_PEEK), 1);
    }
    kill(s.pid, SIGTERM);
    CHECK(wait_for(s.err, s.said, sizeof s.said, "shutting down"), "no word: %s", s.said);
    CHECK(http_connect(s.port) < 0, "a new connection was accepted");
    for (int i = 0; i < STREAMS; i++) {
        http_reply r = http_end(fd[i]);
        CHECK(r.status == 200 && r.whole && strstr(r.body, "\"finish_reason\":\"length\"") &&
                  strstr(r.body, "data: [DONE]\n\n"),
              "stream %d was cut", i);
        http_free(&r);
    }
    CHECK(serve_wait(&s) == 0, "status: %s", s.said);
}

/* The shutdown time-out ends what runs with an error event. */
static void shutdown_has_an_end(void **state) {
    served s;
    char args[200], body[200];
    (void)state;
    snprintf(args, sizeof args, "%s --shutdown-timeout 0.1", model_args);
    serve_begin(&s, args);
    snprintf(body, sizeof body, endless, "true", 2);
    const int fd = http_begin(s.port, "POST", "/v1/completions", http_json, body, strlen(body));
    CHECK(http_wait_load(s.port, 2), "load is not 2");
    kill(s.pid, SIGTERM);
    http_reply r = http_end(fd);
    CHECK(r.status == 200 && strstr(r.body, "\"code\":503") && strstr(r.body, "data: [DONE]\n\n"), "%s",
          r.body + (r.len > 300 ? r.len - 300 : 0));
    http_free(&r);
    CHECK(serve_wait(&s) == 0, "status: %s", s.said);
}

/* ---- keys, limits ---------------------------------------------------------------------------- */

static void keys(void **state) {
    static const struct {
        const char *method, *path, *headers;
        int status;
    } rows[] = {
        {"GET", "/v1/models", "", 401},
        {"GET", "/v1/models/", "", 401},
        {"GET", "/v1/models", "Authorization: Bearer wrong\r\n", 401},
        {"GET", "/v1/models", "Authorization: Bearer sk-\r\n", 401},
        {"GET", "/v1/models", "Authorization: Bearer sk-1sk-1\r\n", 401},
        {"GET", "/v1/models", "Authorization: Bearer sk-1\r\n", 200},
        {"GET", "/v1/models", "Authorization: bearer sk-2\r\n", 200},
        {"GET", "/v1/models", "Authorization: sk-1\r\n", 401},
        {"GET", "/nothing", "", 401},
        {"GET", "/metrics", "", 401},
        {"GET", "/health", "", 200},
        {"GET", "/health/", "", 200},
        {"GET", "/version", "", 200},
        {"OPTIONS", "/v1/models", "", 401},
        {"OPTIONS", "/v1/models", "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n", 200},
    };
    served s;
    char args[200];
    (void)state;
    snprintf(args, sizeof args, "%s --api-key sk-1 --api-key sk-2 --max-num-queued-reqs 2", model_args);
    serve_begin(&s, args);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_end(http_begin(s.port, rows[i].method, rows[i].path, rows[i].headers, NULL, 0));
        CHECK(r.status == rows[i].status, "%s %s %s: status %d", rows[i].method, rows[i].path,
              rows[i].headers, r.status);
        if (r.status == 401) CHECK(strcmp(r.body, "{\"error\":\"Unauthorized\"}") == 0, "%s", r.body);
        http_free(&r);
    }
    static const char body[] = "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":1}";
    http_reply r = http_end(http_begin(s.port, "POST", "/v1/completions",
                                       "Authorization: Bearer sk-1\r\nContent-Type: application/json\r\n",
                                       body, strlen(body)));
    CHECK(r.status == 503 && strcasestr(r.raw, "Retry-After: 1"), "a full queue: %d", r.status);
    http_free(&r);
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

/* Nobody reads the server's standard error, a pipe of one page. */
static void a_full_log_stalls_nobody(void **state) {
    served s;
    (void)state;
    serve_begin(&s, model_args);
    assert_true(fcntl(s.err, F_SETPIPE_SZ, 4096) > 0);
    for (int i = 0; i < 300; i++) {
        http_reply r = http_get(s.port, "/version");
        CHECK(r.status == 200, "request %d: status %d", i, r.status);
        http_free(&r);
    }
    CHECK(wait_for(s.err, s.said, sizeof s.said, "/version"), "no log");
    http_reply r = http_get(s.port, "/version");
    http_free(&r);
    CHECK(wait_for(s.err, s.said, sizeof s.said, "lines of the log are lost"), "not told: %s", s.said);
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

static void refusals_of_the_command(void **state) {
    char line[300];
    (void)state;
    snprintf(line, sizeof line, "serve models/qwen3-demo --threads 1 --port %d", shared.port);
    check_refused(line, "", 1, "Address already in use");
    check_refused("serve models/qwen3-demo --threads 1 --host no.such.host.invalid", "", 1,
                  "no.such.host.invalid");
    check_refused("serve models/qwen3-demo --port 70000", "", 2, "--port takes 0 to 65535");
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_stream_bytes),
        cmocka_unit_test(chat_bytes),
        cmocka_unit_test(tools_are_called),
        cmocka_unit_test(answers_are_constrained),
        cmocka_unit_test(completion_stream_bytes),
        cmocka_unit_test(error_bytes),
        cmocka_unit_test(equals_generate),
        cmocka_unit_test(choices_are_numbered),
        cmocka_unit_test(echo_alone),
        cmocka_unit_test(tokens),
        cmocka_unit_test(messages_are_read),
        cmocka_unit_test(clients_that_leave_abort),
        cmocka_unit_test(slow_clients_stall_nobody),
        cmocka_unit_test(deaf_clients_are_dropped),
        cmocka_unit_test(metrics_count),
        cmocka_unit_test(wrong_bytes),
        cmocka_unit_test(bodies_are_limited),
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(pipelined_requests),
        cmocka_unit_test(drains),
        cmocka_unit_test(shutdown_has_an_end),
        cmocka_unit_test(keys),
        cmocka_unit_test(a_full_log_stalls_nobody),
        cmocka_unit_test(refusals_of_the_command),
    };
    return check_group_status("server",
                              cmocka_run_group_tests_name("server", tests, begin_shared, end_shared),
                              (int)(sizeof tests / sizeof *tests));
}
