/* check_special.c - the files beside tokenizer.json against Transformers (tests/golden/special_tokens.json).
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text/chat.h"
#include "text/special.h"
#include "text/tokenizer.h"

static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                    "config.json"};
static char dir[512];

/* Write the case's files; remove the files of other cases. */
static void put_files(const json_t *one) {
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[600];
        const char *text = json_string_value(json_object_get(json_object_get(one, "files"), files[i]));
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
        if (text) check_write_file(dir, files[i], text, strlen(text));
    }
}

static void check_ids(const glia_tokenizer *t, const json_t *one, const char *text, const char *name) {
    glia_err err = {0};
    glia_buf plain = {0}, shown = {0};
    int32_t *ids;
    size_t n;
    const json_t *want = json_object_get(one, "ids");
    assert_int_equal(glia_tokenizer_encode(t, text, strlen(text), false, &ids, &n, &err), GLIA_OK);
    bool equal = n == json_array_size(want);
    for (size_t i = 0; i < n; i++) {
        equal = equal && ids[i] == json_integer_value(json_array_get(want, i));
        glia_buf_printf(&shown, " %d", ids[i]);
    }
    CHECK(equal, "%s: ids%s", name, shown.data);
    glia_tokenizer_decode(t, ids, n, true, &plain);
    CHECK(!equal || strcmp(plain.data, json_string_value(json_object_get(one, "plain"))) == 0, "%s: \"%s\"",
          name, plain.data);
    glia_buf_free(&plain);
    glia_buf_free(&shown);
    free(ids);
}

static void check_case(const json_t *one, const char *text) {
    glia_err err = {0};
    glia_tokenizer *t = NULL;
    glia_special s;
    put_files(one);
    char *name = json_dumps(json_object_get(one, "files"), JSON_COMPACT);
    const glia_status status = glia_tokenizer_load(&t, dir, &err);
    if (json_object_get(one, "refused")) {
        CHECK(status == GLIA_ERR_FORMAT && strstr(err.msg, "/tokenizer_config.json: "), "%s: %d, \"%s\"",
              name, status, err.msg);
    } else if (status) {
        CHECK(false, "%s: \"%s\"", name, err.msg);
    } else {
        const int32_t ids[] = {glia_tokenizer_bos(t), glia_tokenizer_eos(t), glia_tokenizer_pad(t)};
        check_ids(t, one, text, name);
        for (size_t i = 0; i < 3; i++) {
            const json_t *id = json_array_get(json_object_get(one, "special"), i);
            CHECK(ids[i] == (json_is_null(id) ? -1 : json_integer_value(id)), "%s: special id %zu is %d",
                  name, i, ids[i]);
        }
        assert_int_equal(glia_special_read(&s, dir, &err), GLIA_OK);
        CHECK(json_equal(s.named, json_object_get(one, "named")), "%s: other names", name);
        CHECK(json_equal(s.extra, json_object_get(one, "extra")), "%s: other tokens without names", name);
        glia_special_free(&s);
    }
    glia_tokenizer_free(t);
    free(name);
}

static void test_goldens(void **state) {
    (void)state;
    json_error_t why;
    size_t i;
    json_t *one, *golden = json_load_file("tests/golden/special_tokens.json", 0, &why);
    if (!golden) fail_msg("%s", why.text);
    char *tokenizer = json_dumps(json_object_get(golden, "tokenizer"), 0);
    check_write_file(dir, "tokenizer.json", tokenizer, strlen(tokenizer));
    json_array_foreach(json_object_get(golden, "cases"), i, one)
        check_case(one, json_string_value(json_object_get(golden, "text")));
    CHECK(i > 60, "%zu cases", i);
    free(tokenizer);
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens)};
    snprintf(dir, sizeof dir, "%s", check_temp_dir());
    return check_run_group("special", tests);
}
