/* check_checkpoint.c - model directories: a single file, shards, and shards that
 * disagree with their index; published tensor lists as sparse files. */
#define _GNU_SOURCE
#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/checkpoint.h"
#include "format/json.h"

enum { FILES = 4 };

/* A file of a directory: its name and its U8 tensors with their sizes, as "a 3, b 5". */
typedef struct {
    const char *name, *tensors;
} shard_spec;

static void write_shard(const char *dir, const shard_spec *s) {
    glia_err err;
    glia_safetensors_writer *w;
    glia_tensor_spec spec[8];
    char names[8][16], path[400], bytes[64];
    size_t n = 0, total = 0;
    for (const char *p = s->tensors; *p; n++) {
        long size;
        int used = 0;
        assert_int_equal(sscanf(p, "%15s %ld%n", names[n], &size, &used), 2);
        spec[n] = (glia_tensor_spec){names[n], GLIA_TENSOR_U8, 1, {size}};
        total += (size_t)size;
        p += used + (p[used] == ',');
    }
    for (size_t i = 0; i < total; i++) bytes[i] = (char)i;
    snprintf(path, sizeof path, "%s/%s", dir, s->name);
    assert_int_equal(glia_safetensors_create(&w, path, spec, n, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_append(w, bytes, total, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
}

#define INDEX(map) "{\"metadata\":{\"total_size\":8},\"weight_map\":{" map "}}"

/* clang-format off */
static const struct {
    const char *name;
    shard_spec files[FILES];
    const char *index; /* text of the index; NULL: no index */
    glia_status status;
    const char *words;
    size_t n, bytes;
} rows[] = {
    {"single", {{"model.safetensors", "b 3,a 5"}}, NULL, GLIA_OK, "", 2, 8},
    {"single and index", {{"model.safetensors", "b 3,a 5"}}, "not JSON", GLIA_OK, "", 2, 8},
    {"single of nothing", {{"model.safetensors", ""}}, NULL, GLIA_OK, "", 0, 0},
    {"two shards", {{"1.st", "b 3,d 1"}, {"2.st", "a 5,c 2"}},
     INDEX("\"a\":\"2.st\",\"b\":\"1.st\",\"c\":\"2.st\",\"d\":\"1.st\""), GLIA_OK, "", 4, 11},
    {"no metadata", {{"1.st", "a 3"}}, "{\"weight_map\":{\"a\":\"1.st\"}}", GLIA_OK, "", 1, 3},

    {"nothing", {{NULL, NULL}}, NULL, GLIA_ERR_IO, ": no weights: expected model.safetensors or model.safetensors.index.json", 0, 0},
    {"pickles", {{"pytorch_model.bin", "a 1"}}, NULL, GLIA_ERR_IO, "pytorch_model.bin is there, which Glia does not read", 0, 0},
    {"sharded pickles", {{"pytorch_model.bin.index.json", "a 1"}}, NULL, GLIA_ERR_IO, "pytorch_model.bin.index.json is there", 0, 0},
    {"index not JSON", {{NULL, NULL}}, "{", GLIA_ERR_FORMAT, "model.safetensors.index.json: line 1, column 1", 0, 0},
    {"index an array", {{NULL, NULL}}, "[]", GLIA_ERR_FORMAT, "index.json: expected an object, found an array", 0, 0},
    {"no map", {{NULL, NULL}}, "{}", GLIA_ERR_FORMAT, "weight_map is missing or empty", 0, 0},
    {"empty map", {{NULL, NULL}}, INDEX(""), GLIA_ERR_FORMAT, "weight_map is missing or empty", 0, 0},
    {"map no object", {{NULL, NULL}}, "{\"weight_map\":3}", GLIA_ERR_FORMAT, "weight_map: expected an object, found an integer 3", 0, 0},
    {"tensor twice in the map", {{"1.st", "a 1"}}, INDEX("\"a\":\"1.st\",\"a\":\"1.st\""), GLIA_ERR_FORMAT, "duplicate object key", 0, 0},
    {"shard no string", {{"1.st", "a 1"}}, INDEX("\"a\":1"), GLIA_ERR_FORMAT, "weight_map: a: expected a file name, found an integer", 0, 0},
    {"shard upward", {{"1.st", "a 1"}}, INDEX("\"a\":\"../1.st\""), GLIA_ERR_FORMAT, "weight_map: a: \"../1.st\" is not a file name in the model's directory", 0, 0},
    {"shard absolute", {{"1.st", "a 1"}}, INDEX("\"a\":\"/etc/passwd\""), GLIA_ERR_FORMAT, "\"/etc/passwd\" is not a file name", 0, 0},
    {"shard below", {{"1.st", "a 1"}}, INDEX("\"a\":\"x/1.st\""), GLIA_ERR_FORMAT, "\"x/1.st\" is not a file name", 0, 0},
    {"shard is the directory", {{"1.st", "a 1"}}, INDEX("\"a\":\".\""), GLIA_ERR_FORMAT, "\".\" is not a file name", 0, 0},
    {"shard is its parent", {{"1.st", "a 1"}}, INDEX("\"a\":\"..\""), GLIA_ERR_FORMAT, "\"..\" is not a file name", 0, 0},
    {"shard without a name", {{"1.st", "a 1"}}, INDEX("\"a\":\"\""), GLIA_ERR_FORMAT, "\"\" is not a file name", 0, 0},
    {"shard missing", {{"1.st", "a 1"}}, INDEX("\"a\":\"1.st\",\"b\":\"2.st\""), GLIA_ERR_IO, "weight_map names 2.st, which is not there", 0, 0},
    {"tensor missing", {{"1.st", "a 1"}}, INDEX("\"a\":\"1.st\",\"b\":\"1.st\""), GLIA_OK, "", 1, 1},
    {"with and without the prefix", {{"model.safetensors", "model.a 1,a 1"}}, NULL, GLIA_ERR_FORMAT, "tensor model.a is there without the prefix model., too", 0, 0},
    {"tensor the map lacks", {{"1.st", "a 1,z 1"}}, INDEX("\"a\":\"1.st\""), GLIA_OK, "", 2, 2},
    {"tensor in another shard", {{"1.st", "a 1,b 1"}, {"2.st", "c 1"}}, INDEX("\"a\":\"1.st\",\"b\":\"2.st\",\"c\":\"2.st\""),
     GLIA_OK, "", 3, 3},
    {"tensor in both shards", {{"1.st", "a 1,b 1"}, {"2.st", "b 1"}}, INDEX("\"a\":\"1.st\",\"b\":\"1.st\",\"c\":\"2.st\""),
     GLIA_ERR_FORMAT, ".st: tensor b is in another shard, too", 0, 0},
    {"shard broken", {{"1.st", "a 1"}}, INDEX("\"a\":\"1.st\",\"b\":\"model.safetensors.index.json\""), GLIA_ERR_LIMIT, "index.json: header of ", 0, 0},
};
/* clang-format on */

static void test_directories(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {GLIA_OK, ""};
        glia_checkpoint c;
        const char *dir = check_temp_dir();
        for (int f = 0; f < FILES && rows[i].files[f].name; f++) write_shard(dir, &rows[i].files[f]);
        if (rows[i].index)
            check_write_file(dir, "model.safetensors.index.json", rows[i].index, strlen(rows[i].index));
        const glia_status status = glia_checkpoint_open(&c, dir, &err);
        CHECK(status == rows[i].status, "%s: status %d: %s", rows[i].name, status, err.msg);
        CHECK(strstr(err.msg, rows[i].words), "%s: \"%s\", wanted \"%s\"", rows[i].name, err.msg,
              rows[i].words);
        CHECK(c.n == rows[i].n && c.bytes == rows[i].bytes, "%s: %zu tensors, %zu bytes", rows[i].name, c.n,
              c.bytes);
        if (status != GLIA_OK) CHECK(!c.tensor && !c.file && !c.path, "%s: not zeroed", rows[i].name);
        glia_checkpoint_close(&c);
    }
    glia_err err;
    glia_checkpoint c;
    assert_int_equal(glia_checkpoint_open(&c, "/nowhere", &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere: no weights"));
}

static void test_find(void **state) {
    (void)state;
    glia_err err;
    glia_checkpoint c;
    const char *dir = check_temp_dir();
    write_shard(dir, &(shard_spec){"1.st", "b 3,d 1"});
    write_shard(dir, &(shard_spec){"2.st", "a 5,c 2"});
    static const char index[] = INDEX("\"a\":\"2.st\",\"b\":\"1.st\",\"c\":\"2.st\",\"d\":\"1.st\"");
    check_write_file(dir, "model.safetensors.index.json", index, sizeof index - 1);
    assert_int_equal(glia_checkpoint_open(&c, dir, &err), GLIA_OK);
    assert_int_equal(c.n_files, 2);
    assert_null(glia_checkpoint_find(&c, "e"));
    assert_null(glia_checkpoint_find(&c, ""));
    const glia_tensor_view *t = glia_checkpoint_find(&c, "c");
    assert_non_null(t);
    assert_string_equal(t->name, "c");
    assert_int_equal(t - c.tensor, 1); /* the index mentions 2.st first */
    assert_int_equal(t->file, 0);
    assert_memory_equal(t->data, "\5\6", 2);
    assert_int_equal(glia_checkpoint_find(&c, "d")->file, 1);
    assert_non_null(strstr(c.path[0], "/2.st"));
    glia_checkpoint_close(&c);
    glia_checkpoint_close(&c);
}

/* Dropping a tensor removes its pages from the resident set, and not its neighbours'. */
static void test_drop(void **state) {
    (void)state;
    glia_err err;
    glia_checkpoint c;
    glia_safetensors_writer *w;
    const size_t n = 2048 << 12; /* large, because the kernel counts in steps of about 64 pages */
    const glia_tensor_spec spec[] = {{"a", GLIA_TENSOR_U8, 1, {(int64_t)n}},
                                     {"b", GLIA_TENSOR_U8, 1, {(int64_t)n}}};
    char path[400], *bytes = malloc(n);
    const char *dir = check_temp_dir();
    assert_non_null(bytes);
    memset(bytes, 7, n);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(glia_safetensors_create(&w, path, spec, 2, &err), GLIA_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(glia_safetensors_append(w, bytes, n, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
    assert_int_equal(glia_checkpoint_open(&c, dir, &err), GLIA_OK);
    long rss[3];
    for (int step = 0; step < 3; step++) {
        if (step == 1)
            assert_int_equal(memcmp(c.tensor[0].data, bytes, n) | memcmp(c.tensor[1].data, bytes, n), 0);
        if (step == 2) glia_checkpoint_drop(&c, &c.tensor[0]);
        FILE *f = fopen("/proc/self/statm", "r");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%*d %*d %ld", &rss[step]), 1); /* resident pages of files */
        fclose(f);
    }
    CHECK(rss[1] - rss[0] > 3800 && rss[1] - rss[2] > 1800 && rss[2] - rss[0] > 1800,
          "resident pages of files: %ld, read %ld, dropped %ld", rss[0], rss[1], rss[2]);
    assert_memory_equal(c.tensor[0].data, bytes, n); /* reading fetches the pages again */
    glia_checkpoint_close(&c);
    free(bytes);
}

/* ---- published tensor lists ------------------------------------------------- */

static json_t *load(const char *model, const char *name) {
    glia_err err;
    json_t *tree;
    char relative[200];
    snprintf(relative, sizeof relative, "data/configs/%s/%s", model, name);
    const char *path = check_shared(relative);
    if (!path) return NULL;
    assert_int_equal(glia_json_load(&tree, path, 1 << 24, 0, &err), GLIA_OK);
    return tree;
}

/* Write a sparse file with the tensors of `list` that `map` assigns to `shard`; all
 * tensors if `map` is NULL. Returns the number of tensor bytes. */
static size_t write_hole(const char *dir, const char *shard, const json_t *list, const json_t *map) {
    const char *name;
    json_t *entry, *header = json_object();
    size_t at = 0;
    json_object_foreach((json_t *)(uintptr_t)list, name, entry) {
        const char *where = json_string_value(json_object_get(map, name));
        if (map && (!where || strcmp(where, shard) != 0)) continue;
        size_t bytes = 2;
        json_t *size, *shape = json_object_get(entry, "shape");
        size_t d;
        json_array_foreach(shape, d, size) bytes *= (size_t)json_integer_value(size);
        json_object_set_new(header, name,
                            json_pack("{s:s,s:O,s:[I,I]}", "dtype", "BF16", "shape", shape, "data_offsets",
                                      (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t len = strlen(text);
    char *file = malloc(len + 8);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) file[i] = (char)(len >> 8 * i & 0xff);
    memcpy(file + 8, text, len);
    const char *path = check_write_file(dir, shard, file, len + 8);
    assert_int_equal(truncate(path, (off_t)(len + 8 + at)), 0);
    free(file);
    free(text);
    json_decref(header);
    return at;
}

static void test_published(void **state) {
    (void)state;
    static const struct {
        const char *model;
        size_t n;
    } models[] = {{"Qwen3-0.6B", 311},
                  {"Qwen3-1.7B", 311},
                  {"Qwen3-4B", 398},
                  {"Qwen3-8B", 399},
                  {"Qwen3-14B", 443},
                  {"Qwen3-32B", 707},
                  {"Qwen3-Embedding-0.6B", 310},
                  {"Qwen3-Reranker-0.6B", 310},
                  {"SmolLM3-3B", 326}};
    if (!check_shared("data/configs")) check_skip("no reference data: published tensor lists");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        glia_err err = {GLIA_OK, ""};
        glia_checkpoint c;
        const char *dir = check_temp_dir(), *name;
        json_t *list = load(models[i].model, "tensors.json");
        json_t *index = load(models[i].model, "model.safetensors.index.json"), *shard;
        json_t *map = json_object_get(index, "weight_map");
        size_t bytes = 0;
        assert_non_null(list);
        if (index) {
            char path[400];
            json_object_foreach(map, name, shard) {
                snprintf(path, sizeof path, "%s/%s", dir, json_string_value(shard));
                if (access(path, F_OK) != 0) bytes += write_hole(dir, json_string_value(shard), list, map);
            }
            snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
            assert_int_equal(json_dump_file(index, path, 0), 0);
            const json_int_t total =
                json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size"));
            CHECK((json_int_t)bytes == total, "%s: %zu bytes, published %lld", models[i].model, bytes, total);
        } else {
            bytes = write_hole(dir, "model.safetensors", list, NULL);
        }
        CHECK(glia_checkpoint_open(&c, dir, &err) == GLIA_OK, "%s: %s", models[i].model, err.msg);
        CHECK(c.n == models[i].n && c.bytes == bytes, "%s: %zu tensors of %zu bytes", models[i].model, c.n,
              c.bytes);
        json_object_foreach(list, name, shard) {
            const glia_tensor_view *t = glia_checkpoint_find(&c, name);
            CHECK(t && (size_t)t->n_dims == json_array_size(json_object_get(shard, "shape")), "%s", name);
        }
        glia_checkpoint_close(&c);
        json_decref(list);
        json_decref(index);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_published),
    };
    return check_run_group("checkpoint", tests);
}
