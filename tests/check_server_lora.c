/* check_server_lora.c - adapters of `glia serve` that are loaded, replaced and unloaded over
 * HTTP while requests with and without adapters run, and the published cases of both routes.
 *
 * The adapters have random numbers, large enough to change every answer. */
#define _GNU_SOURCE
#include "http.h"

#include <sys/stat.h>

enum { HIDDEN = 128, HEADS = 192, INNER = 384, LAYERS = 6, ADAPTERS = 3, ANSWERS = ADAPTERS + 1, ROUNDS = 4 };
static const char *const names[ANSWERS] = {"a", "b", "c", "m"}; /* m: the model alone */

/* ---- adapters --------------------------------------------------------------------- */

typedef struct {
    FILE *file;
    size_t at;
} writer;

static void name_tensor(writer *w, int layer, const char *module, const char *part, int rows, int columns) {
    const size_t bytes = (size_t)rows * (size_t)columns * sizeof(float);
    fprintf(w->file,
            "%s\"base_model.model.model.layers.%d.%s.lora_%s.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],"
            "\"data_offsets\":[%zu,%zu]}",
            w->at ? "," : "", layer, module, part, rows, columns, w->at, w->at + bytes);
    w->at += bytes;
}

static void name_tensors(writer *w, int rank) {
    for (int i = 0; i < LAYERS; i++) {
        name_tensor(w, i, "self_attn.q_proj", "A", rank, HIDDEN);
        name_tensor(w, i, "self_attn.q_proj", "B", HEADS, rank);
        name_tensor(w, i, "mlp.down_proj", "A", rank, INNER);
        name_tensor(w, i, "mlp.down_proj", "B", HIDDEN, rank);
    }
}

/* An adapter of models/qwen3-demo in a new directory, whose path is written to `dir`. */
static void write_adapter(char dir[600], int rank) {
    char path[700], config[200], *header = NULL;
    size_t length = 0;
    writer w = {.file = open_memstream(&header, &length)};
    snprintf(dir, 600, "%s", check_temp_dir());
    fputc('{', w.file);
    name_tensors(&w, rank);
    fputc('}', w.file);
    fclose(w.file);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    const uint64_t n = length;
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, 1, length, f);
    for (size_t i = 0; i < w.at / sizeof(float); i++) {
        const float x = 0.3f * check_uniform();
        fwrite(&x, sizeof x, 1, f);
    }
    fclose(f);
    free(header);
    const int size =
        snprintf(config, sizeof config,
                 "{\"peft_type\":\"LORA\",\"r\":%d,\"lora_alpha\":%d,\"target_modules\":[\"q_proj\","
                 "\"down_proj\"]}",
                 rank, rank);
    check_write_file(dir, "adapter_config.json", config, (size_t)size);
}

static http_reply change(int port, const char *what, const char *name, const char *path, bool replace) {
    char route[60], body[900];
    snprintf(route, sizeof route, "/v1/%s_lora_adapter", what);
    snprintf(body, sizeof body, "{\"lora_name\":\"%s\",\"lora_path\":\"%s\",\"load_inplace\":%s}", name, path,
             replace ? "true" : "false");
    return http_post(port, route, body);
}

static void check_change(int port, const char *what, const char *name, const char *path, bool replace,
                         int status) {
    http_reply r = change(port, what, name, path, replace);
    CHECK(r.status == status, "%s %s: %d %s", what, name, r.status, r.body ? r.body : "");
    http_free(&r);
}

/* ---- under load ------------------------------------------------------------------- */

/* Begin a request; returns the connection. */
static int ask(int port, const char *model) {
    char body[300];
    snprintf(body, sizeof body,
             "{\"model\":\"%s\",\"prompt\":\"Once upon a time there was a\",\"temperature\":0,"
             "\"max_tokens\":40,\"ignore_eos\":true}",
             model);
    return http_begin(port, "POST", "/v1/completions", http_json, body, strlen(body));
}

/* The text of the answer, which the caller frees; NULL if it is none. */
static char *answer(int connection, int *status) {
    http_reply r = http_end(connection);
    json_t *body = r.body ? json_loadb(r.body, r.len, 0, NULL) : NULL;
    const json_t *choice = json_array_get(json_object_get(body, "choices"), 0);
    const char *text = json_string_value(json_object_get(choice, "text"));
    char *copy = text ? strdup(text) : NULL;
    *status = r.status;
    json_decref(body);
    http_free(&r);
    return copy;
}

static void check_same(int connection, const char *model, const char *want) {
    int status;
    char *text = answer(connection, &status);
    CHECK(status == 200 && text && strcmp(text, want) == 0, "%s: status %d, '%s', alone '%s'", model, status,
          text ? text : "", want);
    free(text);
}

static void list_has(int port, const char *name, bool has) {
    http_reply r = http_get(port, "/v1/models");
    json_t *list = json_loadb(r.body, r.len, 0, NULL);
    const json_t *data = json_object_get(list, "data");
    bool found = false;
    for (size_t i = 0; i < json_array_size(data); i++)
        found |= strcmp(json_string_value(json_object_get(json_array_get(data, i), "id")), name) == 0;
    CHECK(found == has, "/v1/models %s %s", has ? "lacks" : "has", name);
    json_decref(list);
    http_free(&r);
    char path[200];
    snprintf(path, sizeof path, "/v1/models/%s", name);
    r = http_get(port, path);
    list = json_loadb(r.body, r.len, 0, NULL);
    CHECK(r.status == (has ? 200 : 404) && (!has || strcmp(http_text(list, "id"), name) == 0), "%s: %d %s",
          path, r.status, r.body);
    json_decref(list);
    http_free(&r);
}

/* Requests run while adapters come and go; every answer is that of the same request alone. */
static void under_load(void **state) {
    char path[ADAPTERS][600], broken[600], *alone[ANSWERS];
    served s;
    int status, open[ROUNDS][ANSWERS];
    (void)state;
    for (int i = 0; i < ADAPTERS; i++) write_adapter(path[i], 4 + 4 * i);
    snprintf(broken, sizeof broken, "%s", check_temp_dir());
    check_write_file(broken, "adapter_config.json", "{", 1);
    serve_begin(
        &s, "models/qwen3-demo --served-model-name m --threads 1 --batch-size 6 --enable-lora --max-loras 2");
    for (int i = 0; i < ADAPTERS; i++) check_change(s.port, "load", names[i], path[i], false, 200);
    for (int i = 0; i < ANSWERS; i++) {
        alone[i] = answer(ask(s.port, names[i]), &status);
        CHECK(status == 200 && alone[i], "%s alone: %d", names[i], status);
        for (int k = 0; k < i; k++) CHECK(strcmp(alone[i], alone[k]), "%s changes nothing", names[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < ANSWERS; i++) open[round][i] = ask(s.port, names[i]);
        check_change(s.port, "load", "b", path[1], true, 200);
        check_change(s.port, "load", "d", path[round % ADAPTERS], false, 200);
        check_change(s.port, "load", "a", broken, true, 400);
        list_has(s.port, "d", true);
        check_same(ask(s.port, "d"), "d", alone[round % ADAPTERS]);
        check_change(s.port, "unload", "d", "", false, 200);
        list_has(s.port, "d", false);
        free(answer(ask(s.port, "d"), &status));
        CHECK(status == 404, "an unloaded adapter: status %d", status);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < ANSWERS; i++) check_same(open[round][i], names[i], alone[i]);
    for (int i = 0; i < ANSWERS; i++) free(alone[i]);
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
}

/* A request that runs when its adapter is unloaded ends as it would have. */
static void unload_while_running(void **state) {
    char path[600];
    served s;
    int status;
    (void)state;
    write_adapter(path, 8);
    serve_begin(&s, "models/qwen3-demo --served-model-name m --threads 1 --enable-lora");
    check_change(s.port, "load", "a", path, false, 200);
    char *alone = answer(ask(s.port, "a"), &status);
    assert_non_null(alone);
    for (int i = 0; i < ROUNDS; i++) {
        const char stream[] =
            "{\"model\":\"a\",\"prompt\":\"Once upon a time there was a\",\"temperature\":0,"
            "\"max_tokens\":40,\"ignore_eos\":true,\"stream\":true}";
        char first[1];
        const int running = http_begin(s.port, "POST", "/v1/completions", http_json, stream, strlen(stream));
        assert_int_equal(recv(running, first, 1, MSG_PEEK), 1); /* it has begun */
        check_change(s.port, "unload", "a", "", false, 200);
        http_reply r = http_end(running);
        CHECK(r.status == 200 && strstr(r.body, "[DONE]"), "status %d: %s", r.status, r.body ? r.body : "");
        http_free(&r);
        check_change(s.port, "load", "a", path, false, 200);
        check_same(ask(s.port, "a"), "a", alone);
    }
    free(alone);
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
}

/* The adapter that "model" names computes embeddings, scores and rankings, too. */
static void other_routes(void **state) {
    static const struct {
        const char *path, *rest, *key;
    } rows[] = {
        {"/v1/embeddings", "\"input\":\"hi\"", "data"},
        {"/v1/rerank", "\"query\":\"a\",\"documents\":[\"b\"]", "results"},
        {"/v1/score", "\"text_1\":\"a\",\"text_2\":\"b\"", "data"},
    };
    char path[600], body[200];
    served s;
    (void)state;
    write_adapter(path, 8);
    serve_begin(&s, "models/qwen3-demo --served-model-name m --threads 1 --enable-lora");
    check_change(s.port, "load", "a", path, false, 200);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *answer[2];
        for (int k = 0; k < 2; k++) {
            snprintf(body, sizeof body, "{\"model\":\"%s\",%s}", k ? "a" : "m", rows[i].rest);
            http_reply r = http_post(s.port, rows[i].path, body);
            answer[k] = json_loadb(r.body, r.len, 0, NULL);
            const char *model = json_string_value(json_object_get(answer[k], "model"));
            CHECK(r.status == 200 && model && strcmp(model, k ? "a" : "m") == 0, "%s: %d %s", rows[i].path,
                  r.status, r.body);
            http_free(&r);
        }
        CHECK(!json_equal(json_object_get(answer[0], rows[i].key), json_object_get(answer[1], rows[i].key)),
              "%s: the adapter changes nothing", rows[i].path);
        json_decref(answer[0]);
        json_decref(answer[1]);
    }
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
}

/* ---- a kept prefix cache -------------------------------------------------------------- */

enum { KEPT = 200, BLOCK = 64 };

/* The answer to a long prompt, with log-probabilities. The caller frees it. */
static char *ask_kept(int port, const char *model, int *cached) {
    char body[2000];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"%s\",\"temperature\":0,\"max_tokens\":8,\"logprobs\":5,"
                     "\"prompt\":[5",
                     model);
    for (int i = 1; i < KEPT; i++) n += snprintf(body + n, sizeof body - (size_t)n, ",%d", 5 + i * 7 % 300);
    snprintf(body + n, sizeof body - (size_t)n, "]}");
    json_t *root = http_answer(port, "/v1/completions", body);
    char *text = json_dumps(json_object_get(root, "choices"), JSON_SORT_KEYS);
    *cached = (int)json_integer_value(http_at(root, "usage.prompt_tokens_details.cached_tokens"));
    json_decref(root);
    return text;
}

/* --prefix-cache-dir keeps the model's blocks and no adapter's, whatever the adapter is called at the next
 * start. */
static void a_kept_cache_has_no_blocks_of_adapters(void **state) {
    char path[2][600], dir[600], flags[900], *want[2];
    (void)state;
    snprintf(dir, sizeof dir, "%s", check_temp_dir());
    for (int i = 0; i < 2; i++) write_adapter(path[i], 8);
    snprintf(flags, sizeof flags,
             "models/qwen3-demo --served-model-name m --threads 1 --enable-lora --block-size %d "
             "--prefix-cache-dir %s",
             BLOCK, dir);
    for (int start = 0; start < 2; start++) {
        served s;
        serve_begin(&s, flags);
        check_change(s.port, "load", "a", path[start], false, 200);
        for (int i = 0; i < 2; i++) {
            int cached, again;
            char *found = ask_kept(s.port, i ? "m" : "a", &cached),
                 *same = ask_kept(s.port, i ? "m" : "a", &again);
            CHECK(cached == (i && start ? KEPT / BLOCK * BLOCK : 0), "start %d, %s: %d tokens from the cache",
                  start, i ? "m" : "a", cached);
            CHECK(again == KEPT / BLOCK * BLOCK && strcmp(found, same) == 0, "%d tokens from memory", again);
            if (start) CHECK((strcmp(found, want[i]) == 0) == (i == 1), "%s\n%s", found, want[i]);
            if (start) free(want[i]);
            want[i] = found;
            free(same);
        }
        CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
    }
    free(want[0]);
    free(want[1]);
}

/* ---- the tokenizer ------------------------------------------------------------------ */

/* An adapter whose directory has the model's tokenizer, or with `swap` one that exchanges two tokens. */
static void write_tokenizer(const char *dir, bool swap) {
    json_t *root = json_load_file("models/qwen3-demo/tokenizer.json", JSON_ALLOW_NUL, NULL), *id;
    const char *key, *pair[2] = {NULL, NULL};
    int n = 0;
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_object_foreach(vocab, key, id) if (json_integer_value(id) == 300 || json_integer_value(id) == 301)
        pair[n++ % 2] = key;
    assert_int_equal(n, 2);
    const json_int_t first = json_integer_value(json_object_get(vocab, pair[0]));
    if (swap) {
        json_integer_set(json_object_get(vocab, pair[0]),
                         json_integer_value(json_object_get(vocab, pair[1])));
        json_integer_set(json_object_get(vocab, pair[1]), first);
    }
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    check_write_file(dir, "tokenizer.json", text, strlen(text));
    free(text);
    json_decref(root);
}

/* An adapter of another tokenizer is refused, one of the same is not; requests go on. */
static void tokenizers(void **state) {
    char path[600];
    served s;
    int status;
    (void)state;
    write_adapter(path, 4);
    write_tokenizer(path, false);
    serve_begin(&s, "models/qwen3-demo --served-model-name m --threads 1 --enable-lora");
    check_change(s.port, "load", "a", path, false, 200);
    char *alone = answer(ask(s.port, "a"), &status);
    assert_non_null(alone);
    write_tokenizer(path, true);
    const int running = ask(s.port, "a");
    http_reply r = change(s.port, "load", "b", path, false);
    CHECK(r.status == 400 &&
              strstr(r.body, "differs from the model's: the adapter belongs to another tokenizer"),
          "%d %s", r.status, r.body);
    http_free(&r);
    check_same(running, "a", alone);
    free(alone);
    CHECK(serve_end(&s) == 0, "the server ended badly: %s", s.said);
}

/* ---- published cases -------------------------------------------------------------- */

static void check_case(const json_t *want, int port, const char *valid, const char *large,
                       const char *broken) {
    static const struct {
        const char *mark;
        int which;
    } marks[] = {{"<valid adapter>", 0}, {"<adapter with r=1024>", 1}, {"<dir whose", 2}};
    const char *const paths[] = {valid, large, broken};
    json_t *request = json_object_get(want, "request"), *body = json_object_get(request, "body");
    const char *id = json_string_value(json_object_get(want, "id")),
               *given = json_string_value(json_object_get(body, "lora_path"));
    for (size_t i = 0; given && i < sizeof marks / sizeof *marks; i++)
        if (strncmp(given, marks[i].mark, strlen(marks[i].mark)) == 0) {
            json_object_set_new(body, "lora_path", json_string(paths[marks[i].which]));
            break;
        }
    char *text = json_dumps(body, 0);
    http_reply r = http_post(port, json_string_value(json_object_get(request, "path")), text);
    const int status = (int)json_integer_value(json_object_get(want, "status"));
    const json_t *other = json_array_get(json_object_get(want, "accept_status"), 0);
    CHECK(r.status == status || (other && r.status == json_integer_value(other)), "%s: status %d: %s", id,
          r.status, r.body);
    const json_t *words = json_object_get(want, "message_has");
    for (size_t i = 0; i < json_array_size(words); i++)
        CHECK(strstr(r.body, json_string_value(json_array_get(words, i))), "%s: %s", id, r.body);
    free(text);
    http_free(&r);
}

static void published_cases(void **state) {
    const char *path = check_shared("data/serving/api_errors.jsonl");
    char valid[600], large[600], broken[600], *line, *rest;
    served with, without;
    int n = 0;
    (void)state;
    if (!path) check_skip("the shared data is not here");
    char *text = check_read_file(path, NULL);
    write_adapter(valid, 8);
    write_adapter(large, 1024);
    snprintf(broken, sizeof broken, "%s", check_temp_dir());
    check_write_file(broken, "adapter_config.json", "not JSON", 8);
    serve_begin(&without, "models/qwen3-demo --served-model-name m --threads 1");
    serve_begin(&with,
                "models/qwen3-demo --served-model-name m --threads 1 --enable-lora --max-lora-rank 64");
    check_change(with.port, "load", "already", valid, false, 200);
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (!strstr(line, "\"id\": \"lora-")) continue;
        if (strstr(line, "\"lora-load-dora\"")) continue; /* Glia has DoRA */
        json_t *want = json_loads(line, 0, NULL);
        check_case(want, strstr(line, "env not set") ? without.port : with.port, valid, large, broken);
        json_decref(want);
        n++;
    }
    free(text);
    CHECK(n >= 7, "only %d cases", n);
    CHECK(serve_end(&with) == 0 && serve_end(&without) == 0, "%s %s", with.said, without.said);
}

int main(int argc, char **argv) {
    find_program();
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_load),      cmocka_unit_test(unload_while_running),
        cmocka_unit_test(tokenizers),      cmocka_unit_test(other_routes),
        cmocka_unit_test(published_cases), cmocka_unit_test(a_kept_cache_has_no_blocks_of_adapters)};
    return check_run_group("server_lora", tests);
}
