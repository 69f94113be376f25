/* check_server_fields.c - `glia serve`: embeddings and scores, and fields of requests that ask for more than
 * text. */
#define _GNU_SOURCE
#include "http.h"

#include <math.h>

static served shared;

static int begin_shared(void **state) {
    (void)state;
    serve_begin(&shared, "models/qwen3-demo --served-model-name m --threads 1 --batch-size 4");
    return 0;
}

/* Adapters that are loaded while the server runs. */
static void adapters(void **state) {
    static const struct {
        const char *path, *body;
        int status;
        const char *words;
    } rows[] = {
        {"/v1/load_lora_adapter", "{\"lora_name\":\"a\",\"lora_path\":\"\"}", 400, "InvalidUserInput"},
        {"/v1/load_lora_adapter", "{\"lora_name\":\"\",\"lora_path\":\"x\"}", 400, "InvalidUserInput"},
        {"/v1/load_lora_adapter", "{\"lora_name\":\"a\",\"lora_path\":\"no/such\"}", 404, "NotFoundError"},
        {"/v1/load_lora_adapter", "{\"lora_name\":\"a\",\"lora_path\":\"models/qwen3-demo\"}", 404,
         "adapter_config"},
        {"/v1/unload_lora_adapter", "{\"lora_name\":\"a\"}", 404, "NotFoundError"},
        {"/v1/unload_lora_adapter", "{}", 400, "InvalidUserInput"},
        {"/v1/completions", "{\"model\":\"a\",\"prompt\":\"b\"}", 404, "NotFoundError"},
    };
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --served-model-name m --threads 1 --enable-lora");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_post(s.port, rows[i].path, rows[i].body);
        CHECK(r.status == rows[i].status && strstr(r.body, rows[i].words), "%s %s: %d %s", rows[i].path,
              rows[i].body, r.status, r.body);
        http_free(&r);
    }
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

static int end_shared(void **state) {
    (void)state;
    CHECK(serve_end(&shared) == 0, "the server ended badly: %s", shared.said);
    return 0;
}

/* ---- what is not text ------------------------------------------------------------------------ */

static const json_t *at(const json_t *root, const char *list, size_t i, const char *key) {
    return json_object_get(json_array_get(json_object_get(root, list), i), key);
}

/* Numbers and base64 say the same; fewer dimensions are normalised anew; scores are those of the ranking. */
static void pools(void **state) {
    (void)state;
    json_t *numbers = http_answer(shared.port, "/v1/embeddings", "{\"input\":[\"a b\",[5,6]]}");
    json_t *coded =
        http_answer(shared.port, "/v1/embeddings", "{\"input\":\"a b\",\"encoding_format\":\"base64\"}");
    json_t *few = http_answer(shared.port, "/v1/embeddings", "{\"input\":\"a b\",\"dimensions\":32}");
    const json_t *vector = at(numbers, "data", 0, "embedding"), *part = at(few, "data", 0, "embedding");
    const char *text = json_string_value(at(coded, "data", 0, "embedding"));
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_true(json_array_size(vector) == 128 && json_array_size(part) == 32 && text && strlen(text) == 684);
    unsigned bits = 0;
    for (int i = 0; i < 6; i++)
        bits |= (unsigned)(strchr(digits, text[i]) - digits) << (i < 4 ? 18 - 6 * i : 0);
    const uint32_t word = (bits >> 16 & 255) | (bits >> 8 & 255) << 8 | (bits & 255) << 16;
    const float first = (float)json_number_value(json_array_get(vector, 0));
    uint32_t want;
    memcpy(&want, &first, sizeof want);
    CHECK(((want ^ word) & 0xFFFF) == 0, "base64 begins with %.6s, the first number is %.9g", text,
          (double)first);
    double sum = 0;
    for (size_t i = 0; i < 32; i++) sum += pow(json_number_value(json_array_get(part, i)), 2);
    CHECK(fabs(sum - 1) < 1e-5, "32 dimensions have the norm %g", sqrt(sum));
    json_t *ranking =
        http_answer(shared.port, "/rerank", "{\"query\":\"a\",\"documents\":[\"b\",\"c d\",\"e\"]}");
    json_t *scores =
        http_answer(shared.port, "/v1/score", "{\"text_1\":\"a\",\"text_2\":[\"b\",\"c d\",\"e\"]}");
    double last = 2;
    for (size_t i = 0; i < 3; i++) {
        const double score = json_number_value(at(ranking, "results", i, "relevance_score"));
        const size_t k = (size_t)json_integer_value(at(ranking, "results", i, "index"));
        CHECK(score <= last && score == json_number_value(at(scores, "data", k, "score")), "document %zu", k);
        last = score;
    }
    json_decref(numbers);
    json_decref(coded);
    json_decref(few);
    json_decref(ranking);
    json_decref(scores);
}

/* echo with logprobs: the log-probabilities of an answer are those of the same tokens as a prompt. */
static void echo_with_logprobs(void **state) {
    char body[300];
    (void)state;
    json_t *said = http_answer(shared.port, "/v1/completions",
                               "{\"prompt\":[5,6,7],\"max_tokens\":4,\"temperature\":0,\"ignore_eos\":true,"
                               "\"logprobs\":0,\"return_token_ids\":true}");
    const json_t *ids = at(said, "choices", 0, "token_ids");
    assert_int_equal(json_array_size(ids), 4);
    int n = snprintf(body, sizeof body, "{\"echo\":true,\"logprobs\":2,\"max_tokens\":0,\"prompt\":[5,6,7");
    for (size_t i = 0; i < 4; i++)
        n += snprintf(body + n, sizeof body - (size_t)n, ",%d",
                      (int)json_integer_value(json_array_get(ids, i)));
    snprintf(body + n, sizeof body - (size_t)n, "]}");
    json_t *heard = http_answer(shared.port, "/v1/completions", body);
    const json_t *a = json_object_get(at(said, "choices", 0, "logprobs"), "token_logprobs");
    const json_t *b = json_object_get(at(heard, "choices", 0, "logprobs"), "token_logprobs");
    CHECK(json_array_size(b) == 7 && json_is_null(json_array_get(b, 0)), "%zu log-probabilities",
          json_array_size(b));
    for (size_t i = 0; i < 4; i++)
        CHECK(json_equal(json_array_get(a, i), json_array_get(b, 3 + i)), "token %zu: %.9g and %.9g", i,
              json_real_value(json_array_get(a, i)), json_real_value(json_array_get(b, 3 + i)));
    CHECK(json_integer_value(json_object_get(json_object_get(heard, "usage"), "completion_tokens")) == 0,
          "usage");
    json_decref(said);
    json_decref(heard);
}

/* The prompt ends with the words of the last message. */
static void final_message_is_continued(void **state) {
    (void)state;
    static const char chat[] = "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\","
                               "\"content\":\"My name\"}],\"continue_final_message\":true}";
    char body[400];
    snprintf(body, sizeof body, "{\"return_token_strs\":true,%s", chat);
    json_t *root = http_answer(shared.port, "/tokenize", body);
    const json_t *strings = json_object_get(root, "token_strs");
    const char *last = json_string_value(json_array_get(strings, json_array_size(strings) - 1));
    CHECK(last && strstr(last, "name"), "the last token is '%s'", last ? last : "");
    json_decref(root);
    snprintf(body, sizeof body, "{\"max_tokens\":2,%s", chat);
    json_decref(http_answer(shared.port, "/v1/chat/completions", body));
}

/* ---- what may be drawn ------------------------------------------------------------------------- */

static json_t *ids_of(const char *fields) {
    char body[600];
    snprintf(body, sizeof body,
             "{\"prompt\":\"Once upon a time\",\"max_tokens\":24,\"ignore_eos\":true,\"seed\":5,"
             "\"return_token_ids\":true,%s}",
             fields);
    json_t *root = http_answer(shared.port, "/v1/completions", body),
           *ids = json_incref(http_at(root, "choices.0.token_ids"));
    json_decref(root);
    return ids;
}

static bool has_pair(const json_t *ids, json_int_t a, json_int_t b) {
    for (size_t i = 0; i + 1 < json_array_size(ids); i++)
        if (json_integer_value(json_array_get(ids, i)) == a &&
            json_integer_value(json_array_get(ids, i + 1)) == b)
            return true;
    return false;
}

static void only_allowed_tokens_are_drawn(void **state) {
    (void)state;
    json_t *ids = ids_of("\"allowed_token_ids\":[11,13,220],\"temperature\":2"),
           *best = ids_of("\"temperature\":0");
    bool seen[3] = {false};
    CHECK(json_array_size(ids) == 24, "%zu tokens", json_array_size(ids));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_int_t id = json_integer_value(json_array_get(ids, i));
        CHECK(id == 11 || id == 13 || id == 220, "token %lld", (long long)id);
        seen[id == 11 ? 0 : id == 13 ? 1 : 2] = true;
    }
    CHECK(seen[0] + seen[1] + seen[2] > 1, "one token only");
    char field[200];
    const json_int_t first = json_integer_value(json_array_get(best, 0));
    snprintf(field, sizeof field, "\"allowed_token_ids\":[%lld],\"min_tokens\":3,\"temperature\":0",
             (long long)first);
    json_t *same = ids_of(field);
    CHECK(json_array_size(same) == 24 && json_integer_value(json_array_get(same, 23)) == first,
          "one allowed token");
    json_decref(same);
    json_decref(ids);
    json_decref(best);
}

/* A word of two tokens does not appear, though each of them may. A ban that leaves nothing has no effect. */
static void bad_words_do_not_appear(void **state) {
    char field[300];
    (void)state;
    json_t *best = ids_of("\"temperature\":0");
    const json_int_t a = json_integer_value(json_array_get(best, 4)),
                     b = json_integer_value(json_array_get(best, 5));
    char *list = NULL;
    json_t *pair = json_pack("{s:[I,I]}", "tokens", a, b);
    list = json_dumps(pair, 0);
    json_t *text = http_answer(shared.port, "/detokenize", list);
    free(list);
    json_decref(pair);
    list = json_dumps(json_object_get(text, "prompt"), JSON_ENCODE_ANY);
    snprintf(field, sizeof field, "\"temperature\":0,\"bad_words\":[%s]", list);
    json_t *without = ids_of(field);
    CHECK(has_pair(best, a, b) && !has_pair(without, a, b), "the bad word %s is there", list);
    for (size_t i = 0; i < 5; i++)
        CHECK(json_equal(json_array_get(best, i), json_array_get(without, i)), "token %zu differs", i);
    json_t *one = ids_of("\"temperature\":0,\"allowed_token_ids\":[11],\"bad_words\":[\",\"]");
    CHECK(json_array_size(one) == 24, "%zu tokens", json_array_size(one));
    json_decref(one);
    free(list);
    json_decref(text);
    json_decref(best);
    json_decref(without);
}

/* After the budget thinking ends, and the answer goes on; the same streamed, with log-probabilities, and
 * under a constraint. Any budget but a short one changes nothing. */
static void thinking_has_a_budget(void **state) {
    static const char ask[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}],\"temperature\":0,"
        "\"max_tokens\":60%s}";
    static const struct {
        const char *fields, *thought;
    } rows[] = {{"", "3 + 4 = 8."},
                {",\"thinking_token_budget\":-1", "3 + 4 = 8."},
                {",\"thinking_token_budget\":50", "3 + 4 = 8."},
                {",\"thinking_token_budget\":4", "3 +"},
                {",\"thinking_token_budget\":4,\"logprobs\":true", "3 +"},
                {",\"thinking_token_budget\":0", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[400];
        snprintf(body, sizeof body, ask, rows[i].fields);
        json_t *root = http_answer(shared.port, "/v1/chat/completions", body);
        const char *said = http_text(root, "choices.0.message.content"),
                   *thought = http_text(root, "choices.0.message.reasoning");
        CHECK(strncmp(thought, rows[i].thought, strlen(rows[i].thought)) == 0 &&
                  (i < 3) == (strlen(thought) > 5),
              "%s: thought '%s'", rows[i].fields, thought);
        CHECK(*said && !strstr(said, "think"), "%s: said '%s'", rows[i].fields, said);
        json_decref(root);
    }
}

/* A prompt keeps its last or its first tokens, and log-probabilities name tokens by their ids. */
static void prompts_are_cut_and_tokens_named(void **state) {
    static const char *const sides[][2] = {{"", "[7,8]"},
                                           {",\"truncation_side\":\"left\"", "[7,8]"},
                                           {",\"truncation_side\":\"right\"", "[5,6]"}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"prompt\":[5,6,7,8],\"truncate_prompt_tokens\":2,\"max_tokens\":1,\"logprobs\":1,"
                 "\"return_token_ids\":true,\"return_tokens_as_token_ids\":true%s}",
                 sides[i][0]);
        json_t *root = http_answer(shared.port, "/v1/completions", body),
               *want = json_loads(sides[i][1], 0, NULL);
        CHECK(json_equal(http_at(root, "choices.0.prompt_token_ids"), want), "%s: the prompt", body);
        char name[40];
        snprintf(name, sizeof name, "token_id:%lld",
                 json_integer_value(http_at(root, "choices.0.token_ids.0")));
        CHECK(strcmp(http_text(root, "choices.0.logprobs.tokens.0"), name) == 0, "%s is no %s",
              http_text(root, "choices.0.logprobs.tokens.0"), name);
        json_decref(root);
        json_decref(want);
    }
}

/* echo in a chat: the words that the answer continues come first, streamed too. */
static void chats_echo_what_they_continue(void **state) {
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"},{\"role\":\"assistant\","
        "\"content\":\"It is\"}],\"continue_final_message\":true,\"echo\":%s,\"temperature\":0,"
        "\"max_tokens\":6,\"logprobs\":true,\"stream\":%s}";
    char line[400], said[400] = "";
    (void)state;
    snprintf(line, sizeof line, body, "true", "false");
    json_t *echoed = http_answer(shared.port, "/v1/chat/completions", line);
    snprintf(line, sizeof line, body, "false", "false");
    json_t *plain = http_answer(shared.port, "/v1/chat/completions", line);
    const char *whole = http_text(echoed, "choices.0.message.content");
    CHECK(strncmp(whole, "It is", 5) == 0 &&
              strcmp(whole + 5, http_text(plain, "choices.0.message.content")) == 0,
          "'%s' and '%s'", whole, http_text(plain, "choices.0.message.content"));
    CHECK(json_equal(http_at(echoed, "choices.0.logprobs"), http_at(plain, "choices.0.logprobs")),
          "logprobs");
    snprintf(line, sizeof line, body, "true", "true");
    http_reply r = http_post(shared.port, "/v1/chat/completions", line);
    json_t *events = http_events(&r), *one;
    size_t i;
    json_array_foreach(events, i, one) strcat(said, http_text(one, "data.choices.0.delta.content"));
    CHECK(strcmp(said, whole) == 0, "streamed '%s', whole '%s'", said, whole);
    json_decref(events);
    json_decref(echoed);
    json_decref(plain);
    http_free(&r);
}

static void fields_are_checked(void **state) {
    static const struct {
        const char *field, *words;
    } rows[] = {{"\"truncation_side\":\"up\"", "body.truncation_side"},
                {"\"allowed_token_ids\":[]", "\"param\":\"allowed_token_ids\""},
                {"\"allowed_token_ids\":[-1]", "\"param\":\"allowed_token_ids\""},
                {"\"allowed_token_ids\":[999999]", "out of the vocabulary"},
                {"\"allowed_token_ids\":[5],\"grammar\":\"root ::= \\\"a\\\"\"", "exclude each other"},
                {"\"bad_words\":[\"\"]", "empty"},
                {"\"bad_words\":[1]", "body.bad_words"},
                {"\"thinking_token_budget\":-2", "thinking_token_budget"},
                {"\"thinking_token_budget\":0.6", "thinking_token_budget"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[300];
        snprintf(body, sizeof body, "{\"prompt\":\"a\",\"max_tokens\":1,%s}", rows[i].field);
        http_reply r = http_post(shared.port, "/v1/completions", body);
        CHECK(r.status == 400 && strstr(r.body, rows[i].words), "%s: %d %s", body, r.status, r.body);
        http_free(&r);
    }
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters),
        cmocka_unit_test(pools),
        cmocka_unit_test(echo_with_logprobs),
        cmocka_unit_test(final_message_is_continued),
        cmocka_unit_test(only_allowed_tokens_are_drawn),
        cmocka_unit_test(bad_words_do_not_appear),
        cmocka_unit_test(thinking_has_a_budget),
        cmocka_unit_test(prompts_are_cut_and_tokens_named),
        cmocka_unit_test(chats_echo_what_they_continue),
        cmocka_unit_test(fields_are_checked),
    };
    return check_group_status("server_fields",
                              cmocka_run_group_tests_name("server_fields", tests, begin_shared, end_shared),
                              (int)(sizeof tests / sizeof *tests));
}
