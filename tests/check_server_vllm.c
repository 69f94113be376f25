/* check_server_vllm.c - `glia serve` and vLLM's fields: the table of docs/SERVING.md has all of them and is
 * true, and those that vLLM alone has do what they do there. */
#define _GNU_SOURCE
#include "http.h"

#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

/* Kinds of request: the path, and a body without the last brace. */
static const struct kind {
    const char *name, *path, *body;
} kinds[] = {
    {"chat", "/v1/chat/completions", "{" CHAT ",\"max_completion_tokens\":1"},
    {"completions", "/v1/completions", "{\"prompt\":\"a b\",\"max_tokens\":1"},
    {"responses", "/v1/responses", "{\"input\":\"Hi\",\"max_output_tokens\":1"},
    {"messages", "/v1/messages", "{" CHAT ",\"max_tokens\":1"},
    {"count", "/v1/messages/count_tokens", "{" CHAT},
    {"embeddings", "/v1/embeddings", "{\"input\":\"a\""},
    {"rerank", "/rerank", "{\"query\":\"a\",\"documents\":[\"b\"]"},
    {"score", "/score", "{\"text_1\":\"a\",\"text_2\":\"b\""},
    {"tokenize", "/tokenize", "{\"prompt\":\"a\""},
    {"detokenize", "/detokenize", "{\"tokens\":[5]"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- the table -------------------------------------------------------------------------------------- */

/* A row: fields in backquotes, kinds separated by commas, and what happens. */
typedef struct {
    char fields[1600], kinds[200], effect[200];
} row;

/* Read the row at `at` and return the next line. */
static const char *read_row(row *r, const char *at) {
    char *const cells[] = {r->fields, r->kinds, r->effect};
    const size_t room[] = {sizeof r->fields, sizeof r->kinds, sizeof r->effect};
    for (int i = 0; i < 3; i++) {
        const char *end = strstr(at, " |");
        const size_t n = (size_t)(end - at) - 2;
        CHECK(n < room[i], "a cell is too long: %.60s", at);
        snprintf(cells[i], room[i], "%.*s", (int)n, at + 2);
        at = end + 1;
    }
    return strchr(at, '\n') + 1;
}

static bool has_kind(const row *r, const char *kind) {
    const size_t n = strlen(kind);
    for (const char *at = r->kinds; at; at = strchr(at, ',')) {
        at += strspn(at, ", ");
        if (strncmp(at, kind, n) == 0 && (!at[n] || at[n] == ',')) return true;
    }
    return false;
}

/* The next field in backquotes as an object; NULL behind the last. The caller owns it. */
static json_t *next_field(const char **at) {
    const char *begin = strchr(*at, '`'), *end = begin ? strchr(begin + 1, '`') : NULL;
    char text[300];
    if (!end) return NULL;
    snprintf(text, sizeof text, "{%.*s}", (int)(end - begin) - 1, begin + 1);
    *at = end + 1;
    json_t *object = json_loads(text, 0, NULL);
    CHECK(object != NULL, "no JSON: %s", text);
    return object;
}

static void try_field(int port, const struct kind *k, const json_t *field, const char *effect) {
    char text[400];
    snprintf(text, sizeof text, "%s}", k->body);
    json_t *body = json_loads(text, 0, NULL);
    const char *name = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)field));
    json_object_update(body, (json_t *)(uintptr_t)field);
    char *sent = json_dumps(body, JSON_COMPACT);
    http_reply r = http_post(port, k->path, sent);
    if (strncmp(effect, "400", 3) == 0)
        CHECK(r.status == 400 && strstr(r.body, name), "%s %s: %d %s", k->path, sent, r.status, r.body);
    else
        CHECK(r.status == 200, "%s %s: %d %s", k->path, sent, r.status, r.body);
    CHECK(strncmp(effect, "400", 3) == 0 || strncmp(effect, "honoured", 8) == 0 ||
              strncmp(effect, "no effect", 9) == 0,
          "%s: unknown effect '%s'", name, effect);
    http_free(&r);
    free(sent);
    json_decref(body);
}

/* Try all fields of a row, and note them in `seen`: {kind: {field: true}}. */
static void try_row(int port, const row *r, json_t *seen) {
    for (int i = 0; i < KINDS; i++) {
        if (!has_kind(r, kinds[i].name)) continue;
        const char *at = r->fields, *name;
        for (json_t *field; (field = next_field(&at)) != NULL; json_decref(field)) {
            json_t *value;
            try_field(port, &kinds[i], field, r->effect);
            json_object_foreach(field, name, value)
                json_object_set_new(json_object_get(seen, kinds[i].name), name, json_true());
        }
    }
}

static void every_field_of_vllm(void **state) {
    size_t len;
    char *page = check_read_file("docs/SERVING.md", &len);
    json_t *golden = json_load_file("tests/golden/vllm_fields.json", 0, NULL), *seen = json_object(), *list,
           *one;
    const char *at = strstr(page, "### Every field of vLLM's requests"), *kind;
    served s;
    row r;
    size_t i;
    (void)state;
    assert_true(golden && at);
    for (int k = 0; k < KINDS; k++) json_object_set_new(seen, kinds[k].name, json_object());
    serve_begin(&s, "models/qwen3-demo --served-model-name m --threads 1 --batch-size 4");
    at = strstr(at, "|---");
    for (at = strchr(at, '\n') + 1; *at == '|';) {
        at = read_row(&r, at);
        try_row(s.port, &r, seen);
    }
    json_object_foreach(json_object_get(golden, "fields"), kind, list) json_array_foreach(list, i, one)
        CHECK(json_object_get(json_object_get(seen, kind), json_string_value(one)),
              "docs/SERVING.md does not say what %s of %s does", json_string_value(one), kind);
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
    const char *unknown = strstr(s.said, "unknown fields are ignored");
    CHECK(!unknown, "a field of the table is unknown: %.200s", unknown ? unknown - 40 : "");
    json_decref(golden);
    json_decref(seen);
    free(page);
}

/* ---- what fields do ------------------------------------------------------------------------------------ */

/* Pieces have stream_interval tokens; together they are the whole text. */
static void streams_in_intervals(int port) {
    static const char ask[] = "{\"prompt\":\"Once\",\"max_tokens\":20,\"ignore_eos\":true,\"temperature\":0,"
                              "\"return_token_ids\":true,\"logprobs\":0%s}";
    char body[300], said[600] = "";
    snprintf(body, sizeof body, ask, "");
    json_t *whole = http_answer(port, "/v1/completions", body);
    snprintf(body, sizeof body, ask, ",\"stream\":true,\"stream_interval\":8");
    http_reply r = http_post(port, "/v1/completions", body);
    json_t *events = http_events(&r), *event;
    static const size_t want[] = {1, 8, 8, 3};
    size_t i, pieces = 0, tokens = 0;
    json_array_foreach(events, i, event) {
        const size_t n = json_array_size(http_at(event, "data.choices.0.token_ids"));
        if (!n) continue;
        CHECK(pieces < 4 && n == want[pieces], "piece %zu has %zu tokens", pieces, n);
        CHECK(json_array_size(http_at(event, "data.choices.0.logprobs.tokens")) == n, "log-probabilities");
        strcat(said, http_text(event, "data.choices.0.text"));
        tokens += n;
        pieces++;
    }
    CHECK(tokens == 20 && strcmp(said, http_text(whole, "choices.0.text")) == 0, "%zu tokens: '%s'", tokens,
          said);
    json_decref(events);
    json_decref(whole);
    http_free(&r);
}

/* Special tokens are text if they are asked for. */
static void special_tokens_are_text(int port) {
    json_t *ids = http_answer(port, "/tokenize", "{\"prompt\":\"<|im_end|>\"}");
    const json_int_t id = json_integer_value(http_at(ids, "tokens.0"));
    for (int skip = 0; skip < 2; skip++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"prompt\":\"Hi\",\"max_tokens\":2,\"ignore_eos\":true,\"allowed_token_ids\":[%lld],"
                 "\"skip_special_tokens\":%s}",
                 (long long)id, skip ? "true" : "false");
        json_t *root = http_answer(port, "/v1/completions", body);
        CHECK(strcmp(http_text(root, "choices.0.text"), skip ? "" : "<|im_end|><|im_end|>") == 0, "%s: '%s'",
              body, http_text(root, "choices.0.text"));
        json_decref(root);
    }
    json_decref(ids);
}

/* The embedding of a conversation is that of its tokens. */
static void conversations_are_embedded(int port) {
    json_t *ids = http_answer(port, "/tokenize", "{" CHAT ",\"add_generation_prompt\":false}");
    json_t *ask = json_pack("{s:O}", "input", json_object_get(ids, "tokens"));
    char *body = json_dumps(ask, JSON_COMPACT);
    json_t *want = http_answer(port, "/v1/embeddings", body),
           *found = http_answer(port, "/v1/embeddings", "{" CHAT "}");
    CHECK(json_array_size(http_at(want, "data.0.embedding")) == 128 &&
              json_equal(http_at(want, "data.0.embedding"), http_at(found, "data.0.embedding")),
          "another embedding");
    http_reply r = http_post(port, "/v1/embeddings", "{\"dimensions\":32}");
    CHECK(r.status == 400 && strstr(r.body, "body.input"), "%d %s", r.status, r.body);
    http_free(&r);
    json_decref(ids);
    json_decref(ask);
    json_decref(want);
    json_decref(found);
    free(body);
}

/* "truncation": a conversation that is too long loses its beginning. */
static void responses_are_truncated(int port) {
    static const char *const ways[] = {"auto", "disabled", "sometimes"};
    char *body = malloc(4096);
    for (int i = 0; i < 3; i++) {
        int n = sprintf(body, "{\"max_output_tokens\":4,\"truncation\":\"%s\",\"input\":\"", ways[i]);
        for (int k = 0; k < 600; k++) n += sprintf(body + n, "one ");
        sprintf(body + n, "\"}");
        http_reply r = http_post(port, "/v1/responses", body);
        CHECK(r.status == (i ? 400 : 200), "%s: %d %s", ways[i], r.status, r.body);
        http_free(&r);
    }
    free(body);
}

static void fields_do_what_they_say(void **state) {
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1 --batch-size 4 --sequence-length 256");
    streams_in_intervals(s.port);
    special_tokens_are_text(s.port);
    conversations_are_embedded(s.port);
    responses_are_truncated(s.port);
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
}

/* ---- flags --------------------------------------------------------------------------------------------- */

static json_t *tokens_of(int port, const char *more) {
    char body[300];
    snprintf(body, sizeof body, "{" CHAT "%s}", more);
    json_t *root = http_answer(port, "/tokenize", body),
           *tokens = json_incref(json_object_get(root, "tokens"));
    json_decref(root);
    return tokens;
}

/* --default-chat-template-kwargs, which a request overrides. */
static void defaults_of_the_template(void **state) {
    static const char *const asks[] = {"", ",\"chat_template_kwargs\":{\"enable_thinking\":false}",
                                       ",\"chat_template_kwargs\":{\"enable_thinking\":true}"};
    json_t *tokens[2][3];
    (void)state;
    for (int given = 0; given < 2; given++) {
        served s;
        serve_begin(&s, given ? "models/qwen3-demo --threads 1 --default-chat-template-kwargs "
                                "{\"enable_thinking\":false}"
                              : "models/qwen3-demo --threads 1");
        for (int i = 0; i < 3; i++) tokens[given][i] = tokens_of(s.port, asks[i]);
        CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
    }
    CHECK(!json_equal(tokens[0][0], tokens[0][1]), "the template does not know enable_thinking");
    CHECK(json_equal(tokens[1][0], tokens[0][1]), "the default has no effect");
    CHECK(json_equal(tokens[1][2], tokens[0][2]), "the request does not override the default");
    for (int i = 0; i < 6; i++) json_decref(tokens[i / 3][i % 3]);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_vllm),
        cmocka_unit_test(fields_do_what_they_say),
        cmocka_unit_test(defaults_of_the_template),
    };
    return check_run_group("server_vllm", tests);
}
