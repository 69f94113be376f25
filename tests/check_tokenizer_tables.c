/* check_tokenizer_tables.c - tables read from a file equal those built from
 * tokenizer.json, and any other file is ignored. */
#define _GNU_SOURCE /* memmem */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "text/tokenizer.h"
#include "text/tokenizer_read.h"
#include "text/tokenizer_tables.h"

static char dir[300], tables[400];

/* Make a directory with weights/ and write the tables of `source` into it. */
static void make(const char *source) {
    glia_err err;
    snprintf(dir, sizeof dir, "%s", check_temp_dir());
    snprintf(tables, sizeof tables, "%s/weights", dir);
    mkdir(tables, 0777);
    snprintf(tables, sizeof tables, "%s/weights/tokenizer.safetensors", dir);
    if (glia_tokenizer_tables_write(source, tables, &err) != GLIA_OK) fail_msg("%s", err.msg);
}

static char *json_of(const char *source, size_t *len) {
    char path[400];
    snprintf(path, sizeof path, "%.300s/tokenizer.json", source);
    return check_read_file(path, len);
}

static void compare(const char *source) {
    glia_bpe a = {0}, b = {0};
    json_t *rest_a, *rest_b;
    glia_err err;
    size_t len;
    char *text = json_of(source, &len);
    make(source);
    if (glia_tokenizer_read(&a, &rest_a, text, len, source, &err) != GLIA_OK) fail_msg("%s", err.msg);
    assert_true(glia_tokenizer_tables_read(&b, &rest_b, dir, text, len));
    assert_true(json_equal(rest_a, rest_b));
    assert_true(a.n_ids == b.n_ids && a.n_tokens == b.n_tokens && a.slot_mask == b.slot_mask);
    assert_true(a.merge_mask == b.merge_mask && a.n_merges == b.n_merges && a.bytes.len == b.bytes.len);
    assert_memory_equal(a.token, b.token, a.n_ids * sizeof *a.token);
    assert_memory_equal(a.slot, b.slot, (a.slot_mask + 1) * sizeof *a.slot);
    assert_memory_equal(a.merge, b.merge, (a.merge_mask + 1) * sizeof *a.merge);
    assert_memory_equal(a.bytes.data, b.bytes.data, a.bytes.len);
    assert_memory_equal(a.byte_id, b.byte_id, sizeof a.byte_id);
    json_decref(rest_a);
    json_decref(rest_b);
    glia_bpe_free(&a);
    glia_bpe_free(&b);
    free(text);
}

static void test_equal(void **state) {
    (void)state;
    compare("models/qwen3-demo");
    compare("models/smollm3-demo");
}

static void test_equal_published(void **state) {
    (void)state;
    if (!check_shared("data/tokenizers/qwen3")) check_skip("no shared data/tokenizers");
    compare(check_shared("data/tokenizers/qwen3"));
    compare(check_shared("data/tokenizers/smollm3"));
}

/* The tokenizer gives the same ids with tables and without. */
static void test_tokenizer(void **state) {
    (void)state;
    static const char text[] =
        "Fernhollow, where the <|im_start|> foxes\n\n  live: \xc3\xa9\xe2\x82\xac 1234!";
    glia_tokenizer *t[2];
    glia_err err;
    size_t len;
    char *json = json_of("models/qwen3-demo", &len);
    make("models/qwen3-demo");
    check_write_file(dir, "tokenizer.json", json, len);
    free(json);
    assert_int_equal(glia_tokenizer_load(&t[0], "models/qwen3-demo", &err), GLIA_OK);
    assert_int_equal(glia_tokenizer_load(&t[1], dir, &err), GLIA_OK);
    int32_t *ids[2];
    size_t n[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(glia_tokenizer_encode(t[i], text, strlen(text), true, &ids[i], &n[i], &err),
                         GLIA_OK);
    assert_true(n[0] == n[1] && n[0] > 10);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof **ids);
    for (int i = 0; i < 2; i++) {
        free(ids[i]);
        glia_tokenizer_free(t[i]);
    }
}

/* ---- files that are ignored --------------------------------------------------------- */

static bool is_read(const char *text, size_t len) {
    glia_bpe b = {0};
    json_t *rest;
    const bool read = glia_tokenizer_tables_read(&b, &rest, dir, text, len);
    assert_true(read == (rest != NULL));
    if (read) glia_bpe_free(&b);
    json_decref(rest);
    return read;
}

/* Write the file with `bytes` at offset `at`; with `rehash`, also correct its hash. */
static void spoil(const char *file, size_t len, size_t at, const void *bytes, size_t n, bool rehash) {
    glia_safetensors st;
    glia_err err;
    char *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, file, len);
    memcpy(copy + at, bytes, n);
    if (rehash && glia_safetensors_parse(&st, copy, len, "copy", &err) == GLIA_OK) {
        uint64_t sum = glia_hash(copy, st.header_bytes, 0);
        for (size_t i = 0; i + 1 < st.n; i++) sum = glia_hash(st.tensor[i].data, st.tensor[i].bytes, sum);
        memcpy(copy + len - sizeof sum, &sum, sizeof sum);
        glia_safetensors_close(&st);
    }
    check_write_file(dir, "weights/tokenizer.safetensors", copy, len);
    free(copy);
}

static size_t place_of(const char *file, size_t len, const char *tensor) {
    glia_safetensors st;
    glia_err err;
    size_t at = 0;
    assert_int_equal(glia_safetensors_parse(&st, file, len, "file", &err), GLIA_OK);
    for (size_t i = 0; i < st.n; i++)
        if (strcmp(st.tensor[i].name, tensor) == 0) at = (size_t)((const char *)st.tensor[i].data - file);
    glia_safetensors_close(&st);
    assert_true(at > 0);
    return at;
}

static void test_passed_over(void **state) {
    (void)state;
    size_t json_len, len;
    char *json = json_of("models/qwen3-demo", &json_len);
    make("models/qwen3-demo");
    char *file = check_read_file(tables, &len);
    assert_true(is_read(json, json_len));
    json[json_len / 2] ^= 1; /* another tokenizer.json */
    assert_false(is_read(json, json_len));
    json[json_len / 2] ^= 1;
    for (size_t at = 0; at < len; at += 997) { /* the hash covers every byte */
        spoil(file, len, at, &(char){(char)(file[at] ^ 16)}, 1, false);
        CHECK(!is_read(json, json_len), "byte %zu", at);
    }
    const uint32_t big = 0x7fffffff, zero = 0;
    static const char *const outside[] = {"slots", "merges", "tokens", "byte_ids"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) /* an index past the end, hash or not */
        for (size_t word = 0; word < 2; word++) {
            size_t at = place_of(file, len, outside[i]) + 4 * word;
            uint32_t rank;
            if (i == 1) /* skip empty slots */
                while (memcpy(&rank, file + at - 4 * word + 8, 4), rank == UINT32_MAX) at += 16;
            const bool tag = i == 0 && word == 0;
            spoil(file, len, at, &big, 4, true);
            CHECK(is_read(json, json_len) == tag, "%s, word %zu", outside[i], word);
        }
    const size_t slots = place_of(file, len, "slots"), merges = place_of(file, len, "merges");
    char *full = calloc(1, merges - slots); /* no slot is empty, so a search would not end */
    assert_non_null(full);
    spoil(file, len, slots, full, merges - slots, true);
    assert_false(is_read(json, json_len));
    free(full);
    spoil(file, len, place_of(file, len, "rest"), &zero, 4, true); /* not JSON */
    assert_false(is_read(json, json_len));
    spoil(file, len, 0, file, 1, false); /* unchanged */
    assert_true(is_read(json, json_len));
    assert_int_equal(truncate(tables, 100), 0);
    assert_false(is_read(json, json_len));
    assert_int_equal(unlink(tables), 0);
    assert_false(is_read(json, json_len));
    free(file);
    free(json);
}

static void test_write_errors(void **state) {
    (void)state;
    glia_err err;
    assert_int_equal(glia_tokenizer_tables_write("tests", "/nowhere/x", &err), GLIA_ERR_IO);
    assert_int_equal(glia_tokenizer_tables_write("models/qwen3-demo", "/nowhere/x", &err), GLIA_ERR_IO);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),        cmocka_unit_test(test_equal_published),
        cmocka_unit_test(test_tokenizer),    cmocka_unit_test(test_passed_over),
        cmocka_unit_test(test_write_errors),
    };
    return check_run_group("tokenizer_tables", tests);
}
