/* check_tokenizer.c - the published tokenizers against golden ids, whole and streamed. */
#include "check.h"
#include "tiny_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/team.h"
#include "text/detok.h"
#include "text/tokenizer.h"

static glia_tokenizer *load(const char *name) {
    glia_err err;
    glia_tokenizer *t = NULL;
    char path[64];
    snprintf(path, sizeof path, "data/tokenizers/%s", name);
    const char *dir = check_shared(path);
    if (!dir) check_skip("no %s", path);
    if (glia_tokenizer_load(&t, dir, &err) != GLIA_OK) fail_msg("%s", err.msg);
    return t;
}

static json_t *next_line(char **text) {
    char *line = *text, *end = strchr(line, '\n');
    if (!*line) return NULL;
    if (end) *end = '\0';
    *text = end ? end + 1 : line + strlen(line);
    json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
    assert_non_null(row);
    return row;
}

static void check_ids(const glia_tokenizer *t, const char *name, const char *text, size_t len,
                      const json_t *want) {
    glia_err err;
    int32_t *ids;
    size_t n;
    if (glia_tokenizer_encode(t, text, len, false, &ids, &n, &err) != GLIA_OK) fail_msg("%s", err.msg);
    bool equal = n == json_array_size(want);
    for (size_t i = 0; i < n && equal; i++) equal = ids[i] == json_integer_value(json_array_get(want, i));
    CHECK(equal, "%s: %zu ids for \"%.100s\"", name, n, text);
    free(ids);
}

static bool equals(const glia_buf *out, const json_t *want) {
    return out->len == json_string_length(want) && memcmp(out->data, json_string_value(want), out->len) == 0;
}

/* Decode token by token, and again with every token cut in two at `cut`. */
static void check_streamed(const glia_tokenizer *t, const int32_t *ids, size_t n, size_t cut,
                           const json_t *want) {
    glia_detok d;
    glia_buf out = {0};
    glia_detok_init(&d, t, false);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        assert_true(glia_buf_reserve(&out, 2 * glia_detok_room(t)));
        char *at = out.data + out.len;
        if (cut == 0) {
            at += glia_detok_push(&d, ids[i], at);
        } else {
            const char *bytes = glia_tokenizer_bytes(t, ids[i], &len);
            const size_t first = cut < len ? cut : len;
            at += glia_detok_push_bytes(&d, bytes, first, at);
            at += glia_detok_push_bytes(&d, bytes + first, len - first, at);
        }
        out.len = (size_t)(at - out.data);
    }
    assert_true(glia_buf_reserve(&out, 4));
    out.len += glia_detok_finish(&d, out.data + out.len);
    out.data[out.len] = '\0';
    CHECK(equals(&out, want), "cut %zu: \"%.100s\" is not \"%.100s\"", cut, out.data,
          json_string_value(want));
    glia_buf_free(&out);
}

static void check_decoded(const glia_tokenizer *t, const json_t *list, const json_t *want) {
    const size_t n = json_array_size(list);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        glia_tokenizer_bytes(t, ids[i], &len);
        if (len > longest) longest = len;
    }
    glia_buf out = {0};
    glia_tokenizer_decode(t, ids, n, false, &out);
    CHECK(equals(&out, want), "\"%.100s\" is not \"%.100s\"", out.data, json_string_value(want));
    for (size_t cut = 0; cut <= longest; cut++) check_streamed(t, ids, n, cut, want);
    glia_buf_free(&out);
    free(ids);
}

static void golden(const char *name, const char *file) {
    glia_tokenizer *t = load(name);
    char *all = check_read_file(check_shared(file), NULL), *at = all;
    json_t *row;
    size_t n = 0;
    while ((row = next_line(&at))) {
        const json_t *text = json_object_get(row, "text"), *decoded = json_object_get(row, "decoded");
        const json_t *ids = json_object_get(row, "ids");
        check_ids(t, name, json_string_value(text), json_string_length(text), ids);
        check_decoded(t, ids, decoded ? decoded : text);
        json_decref(row);
        n++;
    }
    print_message("%s: %zu texts, encoded, decoded and streamed\n", name, n);
    free(all);
    glia_tokenizer_free(t);
}

static void test_golden_qwen3(void **state) {
    (void)state;
    golden("qwen3", "data/golden/tokenizer-qwen3.jsonl");
}

static void test_golden_smollm3(void **state) {
    (void)state;
    golden("smollm3", "data/golden/tokenizer-smollm3.jsonl");
}

/* Rendered chat templates, each with its model's tokenizer. */
static void test_golden_templates(void **state) {
    (void)state;
    glia_tokenizer *qwen3 = load("qwen3"), *smollm3 = load("smollm3");
    char *all = check_read_file(check_shared("data/golden/templates.jsonl"), NULL), *at = all;
    json_t *row;
    while ((row = next_line(&at))) {
        const json_t *text = json_object_get(row, "rendered"), *ids = json_object_get(row, "ids");
        const char *name = json_string_value(json_object_get(row, "template"));
        if (json_is_string(text) && json_is_array(ids))
            check_ids(strstr(name, "SmolLM3") ? smollm3 : qwen3, name, json_string_value(text),
                      json_string_length(text), ids);
        json_decref(row);
    }
    free(all);
    glia_tokenizer_free(qwen3);
    glia_tokenizer_free(smollm3);
}

static void llamacpp(const char *name, const char *vocab) {
    static const char between[] = "\n__ggml_vocab_test__\n";
    char path[128];
    glia_tokenizer *t = load(name);
    snprintf(path, sizeof path, "data/golden/llamacpp/ggml-vocab-%s.gguf.inp", vocab);
    char *texts = check_read_file(check_shared(path), NULL), *text = texts;
    snprintf(path, sizeof path, "data/golden/llamacpp/ggml-vocab-%s.gguf.out", vocab);
    char *lines = check_read_file(check_shared(path), NULL), *line = lines;
    while (text) {
        char *end = strstr(text, between), *line_end = strchr(line, '\n');
        if (end) *end = '\0';
        if (line_end) *line_end = '\0';
        json_t *ids = json_array();
        for (char *p = strtok(line, " "); p; p = strtok(NULL, " "))
            json_array_append_new(ids, json_integer(atoi(p)));
        check_ids(t, vocab, text, strlen(text), ids);
        json_decref(ids);
        text = end ? end + strlen(between) : NULL;
        line = line_end ? line_end + 1 : line;
    }
    free(texts);
    free(lines);
    glia_tokenizer_free(t);
}

static void test_llamacpp(void **state) {
    (void)state;
    llamacpp("qwen3", "qwen2");
    llamacpp("smollm3", "llama-bpe");
}

/* Unusual tokenizers, with expected ids; tools/gen_tokenizer_goldens.py made both. */
static void check_row(const glia_tokenizer *t, size_t i, const json_t *row) {
    glia_err err;
    const json_t *text = json_object_get(row, "text"), *want = json_object_get(row, "ids");
    const json_t *noise = json_object_get(row, "noise"), *decoded = json_object_get(row, "decoded");
    int32_t *ids, mixed[16];
    size_t n;
    if (glia_tokenizer_encode(t, json_string_value(text), json_string_length(text),
                              json_is_true(json_object_get(row, "special")), &ids, &n, &err) != GLIA_OK)
        fail_msg("case %zu: %s", i, err.msg);
    bool equal = n == json_array_size(want);
    for (size_t k = 0; k < n && equal; k++) equal = ids[k] == json_integer_value(json_array_get(want, k));
    CHECK(equal, "case %zu: ids of \"%s\"", i, json_string_value(text));
    free(ids);
    glia_buf out = {0};
    n = json_array_size(noise);
    for (size_t k = 0; k < n; k++) mixed[k] = (int32_t)json_integer_value(json_array_get(noise, k));
    glia_tokenizer_decode(t, mixed, n, json_is_true(json_object_get(row, "skip_special")), &out);
    CHECK(equals(&out, decoded), "case %zu: \"%s\" is not \"%s\"", i, out.data, json_string_value(decoded));
    glia_buf_free(&out);
}

static void test_odd_tokenizers(void **state) {
    (void)state;
    glia_err err;
    json_error_t e;
    size_t i, k;
    json_t *one, *row, *file = json_load_file("tests/golden/tokenizer_cases.json", JSON_ALLOW_NUL, &e);
    if (!file) fail_msg("%s: %s", e.source, e.text);
    json_t *base = json_object_get(file, "base");
    json_array_foreach(json_object_get(file, "cases"), i, one) {
        glia_tokenizer *t;
        json_object_update(base, json_object_get(one, "set"));
        json_object_set(json_object_get(base, "model"), "ignore_merges",
                        json_object_get(one, "ignore_merges"));
        char *text = json_dumps(base, i % 2 ? JSON_ENSURE_ASCII | JSON_SORT_KEYS : JSON_INDENT(1));
        if (glia_tokenizer_parse(&t, text, strlen(text), "case", &err) != GLIA_OK)
            fail_msg("%zu: %s", i, err.msg);
        free(text);
        json_array_foreach(json_object_get(one, "rows"), k, row) check_row(t, i, row);
        glia_tokenizer_free(t);
    }
    CHECK(i == 60, "%zu cases", i);
    json_decref(file);
}

/* A byte without a token encodes to unk_token, or to nothing. */
static void test_missing_bytes(void **state) {
    (void)state;
    glia_err err;
    size_t i, k;
    json_t *one, *row, *byte,
        *file = json_load_file("tests/golden/tokenizer_incomplete.json", JSON_ALLOW_NUL, NULL);
    json_array_foreach(json_object_get(file, "cases"), i, one) {
        glia_tokenizer *t;
        json_t *whole = json_deep_copy(json_object_get(file, "base")),
               *model = json_object_get(whole, "model");
        json_object_update(whole, json_object_get(one, "set"));
        json_object_update(model, json_object_get(one, "model"));
        json_t *vocab = json_object_get(model, "vocab");
        json_array_foreach(json_object_get(one, "drop"), k, byte)
            assert_int_equal(json_object_del(vocab, json_string_value(byte)), 0);
        json_object_set_new(vocab, "~~~", json_integer(500));
        char *text = json_dumps(whole, 0);
        if (glia_tokenizer_parse(&t, text, strlen(text), "case", &err) != GLIA_OK)
            fail_msg("%zu: %s", i, err.msg);
        json_array_foreach(json_object_get(one, "rows"), k, row) {
            int32_t *ids;
            size_t n;
            const json_t *in = json_object_get(row, "text"), *want = json_object_get(row, "ids");
            const glia_status status = glia_tokenizer_encode(t, json_string_value(in), json_string_length(in),
                                                             false, &ids, &n, &err);
            bool equal = !status && n == json_array_size(want);
            for (size_t j = 0; equal && j < n; j++)
                equal = ids[j] == json_integer_value(json_array_get(want, j));
            CHECK(equal, "case %zu, row %zu: %zu ids, want %zu", i, k, n, json_array_size(want));
            free(ids);
        }
        free(text);
        json_decref(whole);
        glia_tokenizer_free(t);
    }
    CHECK(i == 12, "%zu cases", i);
    json_decref(file);
}

/* Tokens that the post-processors of published files add. */
static void test_special(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t n;
    } rows[] = {{"qwen3", 1}, {"smollm3", 1}, {"qwen3-embedding-0.6b", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err;
        int32_t *ids;
        size_t n;
        glia_tokenizer *t = load(rows[i].name);
        assert_int_equal(glia_tokenizer_encode(t, "Hello", 5, true, &ids, &n, &err), GLIA_OK);
        assert_int_equal(n, rows[i].n);
        if (n == 2) assert_int_equal(ids[1], glia_tokenizer_id(t, "<|endoftext|>"));
        assert_int_equal(glia_tokenizer_eos(t), glia_tokenizer_id(t, "<|im_end|>"));
        assert_int_equal(glia_tokenizer_bos(t), -1);
        assert_false(glia_tokenizer_is_special(t, glia_tokenizer_id(t, "<think>")));
        assert_true(glia_tokenizer_is_special(t, glia_tokenizer_eos(t)));
        free(ids);
        glia_tokenizer_free(t);
    }
}

/* A token of blanks that strips blanks on both sides: the first one takes those that follow. */
static void test_blank_token(void **state) {
    (void)state;
    glia_err err = {0};
    glia_tokenizer *t;
    char *text = tiny_tokenizer(), *at = strstr(text, "\"content\":\"<s>\"");
    memcpy(at, "\"content\":\"\\n \"", strlen("\"content\":\"<s>\"")); /* as long as <s> */
    at = strstr(text, "\"lstrip\":false,\"rstrip\":false,");
    memcpy(at, "\"lstrip\":true ,\"rstrip\":true ,", strlen("\"lstrip\":false,\"rstrip\":false,"));
    if (glia_tokenizer_parse(&t, text, strlen(text), "tiny", &err)) fail_msg("%s", err.msg);
    static const int32_t want[] = {'x', 259, 'z', 259};
    int32_t *ids;
    size_t n;
    assert_int_equal(glia_tokenizer_encode(t, "x  \n \n \n z\n \n ", 14, false, &ids, &n, &err), GLIA_OK);
    CHECK(n == 4 && memcmp(ids, want, sizeof want) == 0, "%zu ids", n);
    free(ids);
    free(text);
    glia_tokenizer_free(t);
}

/* One tokenizer used by several threads. */
typedef struct {
    glia_tokenizer *t;
    const char *text;
    const int32_t *want;
    size_t n;
    bool equal[3];
} shared;

static void encode_often(void *arg, int thread) {
    shared *s = arg;
    s->equal[thread] = true;
    for (int i = 0; i < 300; i++) {
        int32_t *ids;
        size_t n;
        const glia_status status =
            glia_tokenizer_encode(s->t, s->text, strlen(s->text), true, &ids, &n, NULL);
        if (status != GLIA_OK || n != s->n || memcmp(ids, s->want, n * sizeof *ids) != 0)
            s->equal[thread] = false;
        free(ids);
    }
}

static void test_threads(void **state) {
    (void)state;
    glia_err err;
    glia_team *team;
    char *json = tiny_tokenizer();
    int32_t *want;
    shared s = {.text = "abc a<s>ab 12 e\u0301 \U000323ad\n\n  caf\u00e9's abcabc"};
    assert_int_equal(glia_tokenizer_parse(&s.t, json, strlen(json), "tiny", &err), GLIA_OK);
    assert_int_equal(glia_team_create(&team, 3, &err), GLIA_OK);
    assert_int_equal(glia_tokenizer_encode(s.t, s.text, strlen(s.text), true, &want, &s.n, &err), GLIA_OK);
    s.want = want;
    glia_team_run(team, encode_often, &s);
    assert_true(s.equal[0] && s.equal[1] && s.equal[2]);
    glia_team_free(team);
    glia_tokenizer_free(s.t);
    free(want);
    free(json);
}

/* --bench DIR FILE: print one line of JSON for bench/tokenizer.py. Each document in
 * the file ends with a NUL. */
static int bench(const char *dir, const char *file) {
    glia_err err;
    glia_tokenizer *t;
    size_t len, n_ids = 0;
    char *text = check_read_file(file, &len);
    const double start = check_seconds();
    if (glia_tokenizer_load(&t, dir, &err) != GLIA_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    const double loaded = check_seconds();
    uint64_t hash = 14695981039346656037u; /* FNV-1a over the ids */
    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        int32_t *ids;
        size_t n;
        if (glia_tokenizer_encode(t, text + at, strlen(text + at), false, &ids, &n, &err) != GLIA_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        for (size_t i = 0; i < n; i++) hash = (hash ^ (uint32_t)ids[i]) * 1099511628211u;
        n_ids += n;
        free(ids);
    }
    printf("{\"load_s\": %.6f, \"encode_s\": %.6f, \"ids\": %zu, \"hash\": \"%016llx\"}\n", loaded - start,
           check_seconds() - loaded, n_ids, (unsigned long long)hash);
    glia_tokenizer_free(t);
    free(text);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--bench") == 0) return bench(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_qwen3),     cmocka_unit_test(test_golden_smollm3),
        cmocka_unit_test(test_golden_templates), cmocka_unit_test(test_llamacpp),
        cmocka_unit_test(test_odd_tokenizers),   cmocka_unit_test(test_missing_bytes),
        cmocka_unit_test(test_special),          cmocka_unit_test(test_threads),
        cmocka_unit_test(test_blank_token),
    };
    return check_run_group("tokenizer", tests);
}
