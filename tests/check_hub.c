/* check_hub.c - finding models: directories, Hub ids, revisions, and all states of a cache. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/hub.h"

#define COMMIT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
enum { PATH_SIZE = 600 };

static const char *cache;

static void make_dir(const char *relative) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", cache, relative);
    for (char *p = path + strlen(cache) + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    mkdir(path, 0700);
}

static void make_ref(const char *repo, const char *revision, const char *text) {
    char dir[PATH_SIZE];
    snprintf(dir, sizeof dir, "%s/refs", repo);
    make_dir(dir);
    snprintf(dir, sizeof dir, "%s/%s/refs", cache, repo);
    check_write_file(dir, revision, text, strlen(text));
}

static void make_cache(void) {
    cache = check_temp_dir();
    make_dir("models--org--one/snapshots/" COMMIT_A);
    make_dir("models--org--one/snapshots/" COMMIT_B);
    make_ref("models--org--one", "main", COMMIT_B "\n");
    make_ref("models--org--one", "v1.0", COMMIT_A);
    make_dir("models--org--one/refs/refs/pr");
    make_ref("models--org--one", "refs/pr/7", COMMIT_A);
    make_ref("models--org--one", "gone", "cccccc");
    make_ref("models--org--one", "bad", "../../x");
    make_ref("models--org--one", "none", "");
    make_dir("models--org--lone/snapshots/" COMMIT_A);
    make_dir("models--org--two/snapshots/" COMMIT_A);
    make_dir("models--org--two/snapshots/" COMMIT_B);
    make_dir("models--org--empty");
    make_dir("models--gpt2/snapshots/" COMMIT_A);
    make_ref("models--gpt2", "main", COMMIT_A);
    char long_ref[400];
    memset(long_ref, 'a', sizeof long_ref - 1);
    long_ref[sizeof long_ref - 1] = '\0';
    make_ref("models--org--one", "long", long_ref);
}

static const struct {
    const char *model;
    glia_status status;
    const char *words; /* a substring of the message; with GLIA_OK, the end of the path */
} rows[] = {
    {"org/one", GLIA_OK, "/models--org--one/snapshots/" COMMIT_B},
    {"org/one@main", GLIA_OK, "/models--org--one/snapshots/" COMMIT_B},
    {"org/one@v1.0", GLIA_OK, "/models--org--one/snapshots/" COMMIT_A},
    {"org/one@refs/pr/7", GLIA_OK, "/models--org--one/snapshots/" COMMIT_A},
    {"org/one@" COMMIT_A, GLIA_OK, "/models--org--one/snapshots/" COMMIT_A},
    {"org/lone", GLIA_OK, "/models--org--lone/snapshots/" COMMIT_A},
    {"gpt2", GLIA_OK, "/models--gpt2/snapshots/" COMMIT_A},

    {"org/absent", GLIA_ERR_IO, "/models--org--absent; get it with: hf download org/absent"},
    {"org/absent@v2", GLIA_ERR_IO, "get it with: hf download org/absent"},
    {"org/two", GLIA_ERR_IO, "models--org--two: no snapshot of main; there are "},
    {"org/empty", GLIA_ERR_IO, "models--org--empty: no snapshot of main; there are none"},
    {"org/lone@v9", GLIA_ERR_IO, "no snapshot of v9; there is " COMMIT_A},
    {"org/one@gone", GLIA_ERR_IO, "no snapshot of gone, which is commit cccccc; there are "},
    {"org/one@bad", GLIA_ERR_FORMAT, "refs/bad: expected a commit, found \"../../x\""},
    {"org/one@none", GLIA_ERR_FORMAT, "refs/none: expected a commit, found \"\""},
    {"org/one@long", GLIA_ERR_LIMIT, "refs/long: 399 bytes, limit is 256"},
    {"", GLIA_ERR_ARGUMENT, ": no such directory, and not a Hub id such as Qwen/Qwen3-0.6B"},
    {"./nowhere", GLIA_ERR_ARGUMENT, "./nowhere: no such directory, and not a Hub id"},
    {"/nowhere", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"a/b/c", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"../org/one", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/..", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/one two", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"-p/x", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/one@", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/one@../v1.0", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"org/one@a//b", GLIA_ERR_ARGUMENT, "not a Hub id"},
    {"@main", GLIA_ERR_ARGUMENT, "not a Hub id"},
};

static void test_cache(void **state) {
    (void)state;
    make_cache();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err = {GLIA_OK, ""};
        char *dir;
        const glia_status status = glia_hub_resolve(&dir, rows[i].model, cache, &err);
        CHECK(status == rows[i].status, "%s: status %d: %s", rows[i].model, status, err.msg);
        const char *text = dir ? dir : err.msg;
        CHECK(strstr(text, rows[i].words), "%s: \"%s\", wanted \"%s\"", rows[i].model, text, rows[i].words);
        CHECK((status == GLIA_OK) == (dir != NULL), "%s", rows[i].model);
        free(dir);
    }
}

static void test_directory(void **state) {
    (void)state;
    glia_err err;
    char *dir, text[PATH_SIZE];
    make_cache();
    assert_int_equal(glia_hub_resolve(&dir, cache, NULL, &err), GLIA_OK);
    assert_string_equal(dir, cache);
    free(dir);
    const char *path = check_write_file(cache, "file", "x", 1);
    assert_int_equal(glia_hub_resolve(&dir, path, cache, &err), GLIA_ERR_ARGUMENT);
    assert_null(dir);
    assert_non_null(strstr(err.msg, "expected a model's directory, found a file"));
    assert_int_equal(glia_hub_resolve(&dir, "org/one", NULL, &err), GLIA_ERR_IO);
    assert_string_equal(err.msg, "org/one: no such directory, and no Hugging Face cache to look in");
    assert_int_equal(glia_hub_resolve(&dir, "org/absent", cache, &err), GLIA_ERR_IO);
    snprintf(text, sizeof text,
             "org/absent: no such directory, and not in the Hugging Face cache as "
             "%s/models--org--absent; get it with: hf download org/absent",
             cache);
    assert_string_equal(err.msg, text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_directory),
    };
    return check_run_group("hub", tests);
}
