/* check_server_cases.c - `glia serve` against the published cases of requests and their errors
 * (data/serving/api_errors.jsonl). */
#define _GNU_SOURCE
#include "http.h"

/* Beginnings of the ids of cases that need what the server does not have yet, or adapters:
 * check_server_lora.c. */
static const char *const later[] = {"engine-", "lora-load", "lora-unload"};

static bool is_later(const char *id) {
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (strncmp(id, later[i], strlen(later[i])) == 0) return true;
    return false;
}

static served open_server, keyed_server, short_server;

/* The body of the request; the caller frees it. NULL: none. */
static char *body_of(const json_t *request) {
    const json_t *raw = json_object_get(request, "raw_body"), *body = json_object_get(request, "body");
    if (raw) return strdup(json_string_value(raw));
    if (!body || strcmp(json_string_value(json_object_get(request, "method")), "POST") != 0) return NULL;
    char *text = json_dumps(body, JSON_ENCODE_ANY), *mark = strstr(text, "<at least 5000 tokens>");
    if (!mark) return text;
    char *longer = malloc(strlen(text) + 10001);
    char *to = stpncpy(longer, text, (size_t)(mark - text));
    for (int i = 0; i < 5000; i++) to = stpcpy(to, "a ");
    strcpy(to, mark + strlen("<at least 5000 tokens>"));
    free(text);
    return longer;
}

static http_reply ask(const json_t *request, int port) {
    char headers[500] = "";
    const char *name;
    json_t *value, *given = json_object_get(request, "headers");
    json_object_foreach(given, name, value) {
        const size_t n = strlen(headers);
        snprintf(headers + n, sizeof headers - n, "%s: %s\r\n", name, json_string_value(value));
    }
    if (!json_object_get(given, "Content-Type")) strcat(headers, http_json);
    char *body = body_of(request);
    http_reply r = http_end(http_begin(port, json_string_value(json_object_get(request, "method")),
                                       json_string_value(json_object_get(request, "path")), headers, body,
                                       body ? strlen(body) : 0));
    free(body);
    return r;
}

static bool among(const json_t *list, const json_t *value) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), value)) return true;
    return false;
}

/* The error object has the keys that the case compares, and its message the words. */
static void check_error(const char *id, const json_t *want, const json_t *body) {
    const json_t *error = json_object_get(body, "error");
    const char *key, *message = json_string_value(json_object_get(error, "message"));
    json_t *value;
    json_object_foreach(json_object_get(want, "error"), key, value) {
        const json_t *found = json_object_get(error, key);
        const bool accepted = strcmp(key, "type") == 0 && among(json_object_get(want, "accept_type"), found);
        CHECK(accepted || json_equal(found, value), "%s: %s is %s", id, key,
              message ? message : "no message");
    }
    const json_t *words = json_object_get(want, "message_has");
    for (size_t i = 0; i < json_array_size(words); i++) {
        const char *word = json_string_value(json_array_get(words, i));
        CHECK(message && strstr(message, word), "%s: no '%s' in '%s'", id, word,
              message ? message : "no message");
    }
}

static void check_case(const json_t *want) {
    const char *id = json_string_value(json_object_get(want, "id"));
    json_t *server = json_object_get(want, "server"), *wanted = json_object_get(want, "status");
    const char *state = json_string_value(json_array_get(server, 0));
    const int port = state && strstr(state, "--api-key")           ? keyed_server.port
                     : state && strstr(state, "max_model_len=100") ? short_server.port
                                                                   : open_server.port;
    http_reply r = ask(json_object_get(want, "request"), port);
    json_t *status = json_integer(r.status), *body = r.body ? json_loadb(r.body, r.len, 0, NULL) : NULL;
    CHECK(json_equal(status, wanted) || among(json_object_get(want, "accept_status"), status),
          "%s: status %d: %s", id, r.status, r.body ? r.body : "");
    if (r.status >= 400 && json_equal(status, wanted)) check_error(id, want, body);
    const json_t *exact = json_object_get(want, "body_exact");
    if (exact && r.status >= 400 && json_equal(status, wanted))
        CHECK(json_equal(exact, body), "%s: %s", id, r.body);
    json_decref(status);
    json_decref(body);
    http_free(&r);
}

static void published_cases(void **state) {
    (void)state;
    const char *path = check_shared("data/serving/api_errors.jsonl");
    if (!path) check_skip("the shared data is not here");
    char *text = check_read_file(path, NULL), *next;
    int n = 0, left = 0;
    serve_begin(&open_server, "models/qwen3-demo --served-model-name m --threads 1 --sequence-length 4096");
    serve_begin(&short_server, "models/qwen3-demo --served-model-name m --threads 1 --sequence-length 256");
    serve_begin(&keyed_server, "models/qwen3-demo --served-model-name m --threads 1 --api-key sk-1");
    for (char *line = text; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = '\0';
        if (strstr(line, "\"chat-seed-out-of-int64\"")) continue; /* jansson cannot hold it: check_server.c */
        if (strstr(line, "\"embed-on-generate-model\"")) continue; /* every causal model embeds here */
        json_t *want = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(want);
        if (is_later(json_string_value(json_object_get(want, "id"))))
            left++;
        else
            check_case(want), n++;
        json_decref(want);
    }
    free(text);
    printf("%d cases; %d more are not for this server\n", n, left);
    CHECK(n >= 80, "only %d cases", n);
    CHECK(serve_end(&open_server) == 0 && serve_end(&keyed_server) == 0 && serve_end(&short_server) == 0,
          "%s %s", open_server.said, keyed_server.said);
}

/* A copy of the demo model whose logits of every prompt have a NaN. */
static void write_sick_model(const char *directory) {
    char line[300], path[200], *at;
    uint64_t length = 0;
    snprintf(line, sizeof line, "cp -r models/qwen3-demo %s", directory);
    assert_int_equal(system(line), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fread(&length, sizeof length, 1, f), 1);
    char *header = calloc(1, length + 1);
    assert_int_equal(fread(header, 1, length, f), length);
    assert_non_null(at = strstr(header, "\"model.embed_tokens.weight\""));
    assert_non_null(at = strstr(at, "\"data_offsets\":["));
    const unsigned long long begin = strtoull(at + 16, NULL, 10);
    fseek(f, (long)(sizeof length + length + begin), SEEK_SET); /* the head has the same row */
    for (int i = 0; i < 64; i++) fputc(0xFF, f);
    fclose(f);
    free(header);
}

/* What the engine cannot compute is an error, before the reply or within its stream, in each interface; the
 * server goes on. */
static void engine_errors(void **state) {
    static const struct {
        const char *path, *body;
        int status;
        const char *words[2];
    } rows[] = {
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
         500,
         {"\"InternalServerError\"", "Internal server error"}},
        {"/v1/chat/completions",
         "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
         200,
         {"\"code\":500", "data: [DONE]"}},
        {"/v1/responses",
         "{\"stream\":true,\"input\":\"hi\"}",
         200,
         {"event: response.failed", "\"status\":\"failed\""}},
        {"/v1/messages",
         "{\"stream\":true,\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
         200,
         {"event: error", "\"api_error\""}},
        {"/v1/messages",
         "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
         500,
         {"\"type\":\"error\"", "\"api_error\""}},
    };
    char directory[64] = "/tmp/glia-sick-XXXXXX", args[200];
    served s;
    (void)state;
    assert_non_null(mkdtemp(directory));
    strcat(directory, "/m");
    write_sick_model(directory);
    snprintf(args, sizeof args, "%s --served-model-name m --threads 1", directory);
    serve_begin(&s, args);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_post(s.port, rows[i].path, rows[i].body);
        CHECK(r.status == rows[i].status && strstr(r.body, rows[i].words[0]) &&
                  strstr(r.body, rows[i].words[1]),
              "%s: %d %s", rows[i].body, r.status, r.body);
        http_free(&r);
    }
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
    *strrchr(directory, '/') = '\0';
    snprintf(args, sizeof args, "rm -r %s", directory);
    CHECK(system(args) == 0, "%s", args);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_cases), cmocka_unit_test(engine_errors)};
    return check_run_group("server_cases", tests);
}
