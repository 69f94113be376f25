/* check_safetensors.c - broken files with their status and message; published
 * layouts; files written and read back. */
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/safetensors.h"

#define BYTES(s) s, sizeof(s) - 1
#define T(name, dtype, shape, offsets)                                                                       \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* clang-format off */
/* Whole files: errors of the length field. */
static const struct {
    const char *name, *bytes;
    size_t len;
    glia_status status;
    const char *words;
} raw[] = {
    {"nothing but a header", BYTES("\2\0\0\0\0\0\0\0{}"), GLIA_OK, ""},
    {"blanks after the header", BYTES("\4\0\0\0\0\0\0\0{}  "), GLIA_OK, ""},
    {"empty", BYTES(""), GLIA_ERR_FORMAT, "0 bytes, too short for a header length"},
    {"length field cut", BYTES("\2\0\0\0\0\0\0"), GLIA_ERR_FORMAT, "7 bytes, too short"},
    {"header past the end", BYTES("\3\0\0\0\0\0\0\0{}"), GLIA_ERR_FORMAT, "header of 3 bytes in a file of 10"},
    {"length wraps", BYTES("\370\377\377\377\377\377\377\377{}"), GLIA_ERR_LIMIT, "limit is 100000000"},
    {"one over the limit", BYTES("\1\341\365\5\0\0\0\0{}"), GLIA_ERR_LIMIT, "header of 100000001 bytes"},
    {"an array", BYTES("\2\0\0\0\0\0\0\0[]"), GLIA_ERR_FORMAT, "does not begin with '{'"},
    {"length zero", BYTES("\0\0\0\0\0\0\0\0{}"), GLIA_ERR_FORMAT, "does not begin with '{'"},
    {"blank first", BYTES("\3\0\0\0\0\0\0\0 {}"), GLIA_ERR_FORMAT, "does not begin with '{'"},
    {"bytes no tensor owns", BYTES("\2\0\0\0\0\0\0\0{}abcd"), GLIA_ERR_FORMAT, "end at byte 0 of 4 bytes of data"},
    {"header cut inside", BYTES("\1\0\0\0\0\0\0\0{}"), GLIA_ERR_FORMAT, "header: line 1, column 1"},
    {"more after the object", BYTES("\4\0\0\0\0\0\0\0{}{}"), GLIA_ERR_FORMAT, "end of file expected near '{'"},
    {"not UTF-8", BYTES("\10\0\0\0\0\0\0\0{\"\377\":{}}"), GLIA_ERR_FORMAT, "unable to decode byte 0xff"},
    {"NUL inside", BYTES("\3\0\0\0\0\0\0\0{\0}"), GLIA_ERR_FORMAT, "header: line 1"},
};

/* Headers before `data` bytes: errors of the JSON. */
static const struct {
    const char *name, *header;
    size_t data;
    glia_status status;
    const char *words;
} lies[] = {
    {"one tensor", "{" T("a", "F32", "[2, 3]", "[0, 24]") "}", 24, GLIA_OK, ""},
    {"two, named out of order", "{" T("b", "F16", "[2]", "[2, 6]") "," T("a", "I8", "[2]", "[0, 2]") "}", 6, GLIA_OK, ""},
    {"a scalar and an empty one", "{" T("e", "F32", "[0, 7]", "[0, 0]") "," T("s", "F64", "[]", "[0, 8]") "}", 8, GLIA_OK, ""},
    {"huge after a zero", "{" T("e", "F32", "[0, 9223372036854775807, 9223372036854775807]", "[0, 0]") "}", 0, GLIA_OK, ""},
    {"packed halves of bytes", "{" T("a", "F4", "[4]", "[0, 2]") "," T("b", "F6_E2M3", "[4]", "[2, 5]") "}", 5, GLIA_OK, ""},
    {"metadata", "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "U8", "[1]", "[0, 1]") "}", 1, GLIA_OK, ""},
    {"eight dimensions", "{" T("a", "U8", "[1,1,1,1,1,1,1,2]", "[0, 2]") "}", 2, GLIA_OK, ""},

    {"metadata no object", "{\"__metadata__\":[]}", 0, GLIA_ERR_FORMAT, "__metadata__: expected an object, found an array"},
    {"metadata no string", "{\"__metadata__\":{\"n\":1}}", 0, GLIA_ERR_FORMAT, "__metadata__: n: expected a string, found an integer"},
    {"tensor no object", "{\"a\":3}", 0, GLIA_ERR_FORMAT, "tensor a: expected an object, found an integer"},
    {"duplicate name", "{" T("a", "U8", "[1]", "[0, 1]") "," T("a", "U8", "[1]", "[1, 2]") "}", 2, GLIA_ERR_FORMAT, "duplicate object key"},
    {"duplicate key", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, GLIA_ERR_FORMAT, "duplicate object key"},
    {"name with NUL", "{\"a\\u0000b\":{}}", 0, GLIA_ERR_FORMAT, "NUL byte in object key"},
    {"a line end in a name", "{" T("a\\nb", "F31", "[1]", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "tensor a?b: unknown dtype F31"},
    {"a line end in the JSON", "{\"a\\\n\":1}", 0, GLIA_ERR_FORMAT, "invalid escape near '\"a\\?'"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, GLIA_ERR_FORMAT, "tensor a: dtype is missing"},
    {"dtype no string", "{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, GLIA_ERR_FORMAT, "dtype: expected a string, found an integer 7"},
    {"unknown dtype", "{" T("a", "F31", "[1]", "[0, 4]") "}", 4, GLIA_ERR_FORMAT, "tensor a: unknown dtype F31"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, GLIA_ERR_FORMAT, "tensor a: shape is missing"},
    {"shape no array", "{" T("a", "U8", "1", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "shape: expected an array, found an integer 1"},
    {"negative size", "{" T("a", "U8", "[2, -1]", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "shape[1]: expected a size, found -1"},
    {"size no integer", "{" T("a", "U8", "[1.5]", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "shape[0]: expected a size, found 1.5"},
    {"size too large to parse", "{" T("a", "U8", "[18446744073709551616]", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "shape[0]: expected a size"},
    {"nine dimensions", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0, 1]") "}", 1, GLIA_ERR_LIMIT, "tensor a: 9 dimensions, limit is 8"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, GLIA_ERR_FORMAT, "data_offsets: expected [begin, end]"},
    {"one offset", "{" T("a", "U8", "[1]", "[0]") "}", 1, GLIA_ERR_FORMAT, "data_offsets: expected [begin, end]"},
    {"three offsets", "{" T("a", "U8", "[1]", "[0, 1, 2]") "}", 1, GLIA_ERR_FORMAT, "data_offsets: expected [begin, end]"},
    {"negative offset", "{" T("a", "U8", "[1]", "[-1, 0]") "}", 1, GLIA_ERR_FORMAT, "data_offsets[0]: expected a size, found -1"},
    {"offset a string", "{" T("a", "U8", "[1]", "[0, \"1\"]") "}", 1, GLIA_ERR_FORMAT, "data_offsets[1]: expected a size, found \"1\""},
    {"end before begin", "{" T("a", "U8", "[1]", "[1, 0]") "}", 1, GLIA_ERR_FORMAT, "data_offsets [1, 0] in a file with 1 bytes of data"},
    {"end past the file", "{" T("a", "U8", "[2]", "[0, 2]") "}", 1, GLIA_ERR_FORMAT, "data_offsets [0, 2] in a file with 1 bytes of data"},
    {"far past the file", "{" T("a", "U8", "[1]", "[9223372036854775806, 9223372036854775807]") "}", 1, GLIA_ERR_FORMAT, "in a file with 1 bytes"},
    {"shape larger than offsets", "{" T("a", "F32", "[2]", "[0, 4]") "}", 4, GLIA_ERR_FORMAT, "F32 [2] does not fit the 4 bytes of data_offsets [0, 4]"},
    {"shape smaller than offsets", "{" T("a", "BF16", "[1]", "[0, 4]") "}", 4, GLIA_ERR_FORMAT, "BF16 [1] does not fit the 4 bytes"},
    {"product wraps to the size", "{" T("a", "U8", "[4294967296, 4294967296]", "[0, 0]") "}", 0, GLIA_ERR_FORMAT, "U8 [4294967296, 4294967296] does not fit the 0 bytes"},
    {"product wraps before a zero", "{" T("a", "U8", "[9223372036854775807, 4, 0]", "[0, 0]") "}", 0, GLIA_ERR_FORMAT, "does not fit the 0 bytes"},
    {"bits wrap to the size", "{" T("a", "U8", "[2305843009213693952]", "[0, 0]") "}", 0, GLIA_ERR_FORMAT, "does not fit the 0 bytes"},
    {"half a byte", "{" T("a", "F4", "[3]", "[0, 1]") "}", 1, GLIA_ERR_FORMAT, "F4 [3] does not fit the 1 bytes"},
    {"extra key", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1, GLIA_ERR_FORMAT, "tensor a: expected dtype, shape and data_offsets, found 4 keys"},
    {"overlap", "{" T("a", "U8", "[2]", "[0, 2]") "," T("b", "U8", "[2]", "[1, 3]") "}", 3, GLIA_ERR_FORMAT, "tensors a and b overlap at byte 1"},
    {"the same bytes twice", "{" T("a", "U8", "[2]", "[0, 2]") "," T("b", "U8", "[2]", "[0, 2]") "}", 2, GLIA_ERR_FORMAT, "tensors a and b overlap at byte 0"},
    {"empty one inside another", "{" T("a", "U8", "[2]", "[0, 2]") "," T("b", "U8", "[0]", "[1, 1]") "}", 2, GLIA_ERR_FORMAT, "tensors a and b overlap at byte 1"},
    {"hole at the start", "{" T("a", "U8", "[1]", "[1, 2]") "}", 2, GLIA_ERR_FORMAT, "bytes 0 to 1 of the data, before tensor a, belong to no tensor"},
    {"hole in the middle", "{" T("a", "U8", "[1]", "[0, 1]") "," T("b", "U8", "[1]", "[3, 4]") "}", 4, GLIA_ERR_FORMAT, "bytes 1 to 3 of the data, before tensor b"},
    {"hole at the end", "{" T("a", "U8", "[1]", "[0, 1]") "}", 3, GLIA_ERR_FORMAT, "the tensors end at byte 1 of 3 bytes of data"},
};
/* clang-format on */

static char *with_length(const char *header, size_t data, size_t *len) {
    const size_t n = strlen(header);
    *len = 8 + n + data;
    char *file = calloc(1, *len);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) file[i] = (char)(n >> 8 * i & 0xff);
    memcpy(file + 8, header, n);
    return file;
}

static const char *temp_dir(void) {
    static const char *dir;
    if (!dir) dir = check_temp_dir();
    return dir;
}

/* Parse from a file and from memory that ends at an unreadable page; both must give
 * the same result. */
static void check_one(const char *name, const char *bytes, size_t len, glia_status status,
                      const char *words) {
    glia_err err = {GLIA_OK, ""}, again = {GLIA_OK, ""};
    glia_safetensors st;
    const char *path = check_write_file(temp_dir(), "x.safetensors", bytes, len);
    CHECK(glia_safetensors_open(&st, path, &err) == status, "%s: status %d: %s", name, err.status, err.msg);
    CHECK(strstr(err.msg, words) && (status == GLIA_OK || !strncmp(err.msg, path, strlen(path))),
          "%s: \"%s\", wanted \"%s\"", name, err.msg, words);
    if (status != GLIA_OK) CHECK(!st.tensor && !st.n && !st.map.data, "%s: not zeroed", name);
    glia_safetensors_close(&st);
    char *guarded = check_guarded(len);
    memcpy(guarded, bytes, len);
    CHECK(glia_safetensors_parse(&st, guarded, len, path, &again) == status, "%s", name);
    CHECK(!strcmp(err.msg, again.msg), "%s: \"%s\" and \"%s\"", name, err.msg, again.msg);
    glia_safetensors_close(&st);
    check_guarded_free(guarded, len);
    unlink(path);
}

static void test_raw(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++)
        check_one(raw[i].name, raw[i].bytes, raw[i].len, raw[i].status, raw[i].words);
}

static void test_lies(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        size_t len;
        char *file = with_length(lies[i].header, lies[i].data, &len);
        check_one(lies[i].name, file, len, lies[i].status, lies[i].words);
        free(file);
    }
}

static void test_not_a_file(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors st;
    assert_int_equal(glia_safetensors_open(&st, "/nowhere/x.safetensors", &err), GLIA_ERR_IO);
    assert_string_equal(err.msg, "/nowhere/x.safetensors: No such file or directory");
    assert_int_equal(glia_safetensors_open(&st, temp_dir(), &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "not a regular file"));
}

static void test_views(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors st;
    char text[64];
    size_t len;
    char *file = with_length(
        "{" T("late", "BF16", "[2, 2]", "[3, 11]") "," T("early", "U8", "[3]", "[0, 3]") "}", 11, &len);
    for (size_t i = 0; i < 11; i++) file[len - 11 + i] = (char)i;
    assert_int_equal(glia_safetensors_parse(&st, file, len, "x", &err), GLIA_OK);
    assert_int_equal(st.n, 2);
    assert_string_equal(st.tensor[0].name, "early");
    assert_string_equal(st.tensor[1].name, "late");
    assert_int_equal(st.tensor[1].dtype, GLIA_TENSOR_BF16);
    assert_string_equal(glia_tensor_shape(&st.tensor[1], text, sizeof text), "[2, 2]");
    assert_string_equal(glia_tensor_shape(&st.tensor[1], text, 3), "[2");
    assert_int_equal(st.tensor[1].bytes, 8);
    assert_memory_equal(st.tensor[1].data, "\3\4\5\6\7\10\11\12", 8);
    assert_int_equal(glia_tensor_check_weight(&st.tensor[1], "x", &err), GLIA_OK);
    assert_int_equal(glia_tensor_check_weight(&st.tensor[0], "x", &err), GLIA_ERR_UNSUPPORTED);
    assert_string_equal(err.msg, "x: tensor early is U8; Glia reads F64, F32, F16 and BF16 weights");
    glia_safetensors_close(&st);
    glia_safetensors_close(&st);
    free(file);
}

/* Every dtype by name, with its size. */
static void test_dtypes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bits;
    } rows[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                {"I64", 64},        {"U64", 64}};
    assert_int_equal(sizeof rows / sizeof *rows, GLIA_TENSOR_DTYPES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glia_err err;
        glia_safetensors st;
        char header[160];
        size_t len;
        snprintf(header, sizeof header, "{" T("a", "%s", "[8]", "[0, %d]") "}", rows[i].name, rows[i].bits);
        char *file = with_length(header, (size_t)rows[i].bits, &len);
        const glia_status status = glia_safetensors_parse(&st, file, len, "x", &err);
        CHECK(status == GLIA_OK && st.tensor[0].dtype == (glia_tensor_dtype)i, "%s: %s", rows[i].name,
              err.msg);
        if (status == GLIA_OK) {
            const glia_status weight = glia_tensor_check_weight(&st.tensor[0], "x", &err);
            const bool usable = !strcmp(rows[i].name, "F64") || !strcmp(rows[i].name, "F32") ||
                                !strcmp(rows[i].name, "F16") || !strcmp(rows[i].name, "BF16");
            CHECK(weight == (usable ? GLIA_OK : GLIA_ERR_UNSUPPORTED), "%s", rows[i].name);
            CHECK(!strcmp(glia_tensor_dtype_name(st.tensor[0].dtype), rows[i].name), "%s", rows[i].name);
        }
        glia_safetensors_close(&st);
        free(file);
    }
}

/* ---- writing --------------------------------------------------------------- */

static const glia_tensor_spec two[] = {
    {"logits", GLIA_TENSOR_F32, 2, {3, 5}},
    {"\"odd\" name \xc3\xa9", GLIA_TENSOR_U8, 1, {3}},
};

static int files_in(const char *dir, const char *prefix) {
    char command[300];
    snprintf(command, sizeof command, "ls %s | grep -c '^%s'", dir, prefix);
    FILE *p = popen(command, "r");
    int n = -1;
    if (!p || fscanf(p, "%d", &n) != 1) n = -1;
    if (p) pclose(p);
    return n;
}

static void test_write(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors_writer *w;
    glia_safetensors st;
    unsigned char bytes[63];
    const char *dir = temp_dir(), *path = check_write_file(dir, "w.safetensors", "old", 3);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)check_u32();
    assert_int_equal(glia_safetensors_create(&w, path, two, 2, &err), GLIA_OK);
    for (size_t at = 0, n = 1; at < sizeof bytes; at += n, n++) { /* 1, 2, 3, ... bytes */
        if (n > sizeof bytes - at) n = sizeof bytes - at;
        assert_int_equal(glia_safetensors_append(w, bytes + at, n, &err), GLIA_OK);
    }
    size_t len;
    char *old = check_read_file(path, &len);
    assert_int_equal(len, 3); /* the old file stays until glia_safetensors_finish() */
    free(old);
    assert_int_equal(files_in(dir, "w"), 2);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
    assert_int_equal(files_in(dir, "w"), 1);
    assert_int_equal(glia_safetensors_open(&st, path, &err), GLIA_OK);
    assert_int_equal(st.n, 2);
    assert_string_equal(st.tensor[0].name, two[0].name);
    assert_string_equal(st.tensor[1].name, two[1].name);
    assert_int_equal(st.tensor[0].n_dims, 2);
    assert_int_equal(st.tensor[0].shape[1], 5);
    assert_int_equal(((const unsigned char *)st.tensor[0].data - st.map.data) % 8, 0);
    assert_memory_equal(st.tensor[0].data, bytes, 60);
    assert_memory_equal(st.tensor[1].data, bytes + 60, 3);
    glia_safetensors_close(&st);
}

static void test_write_nothing(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors_writer *w;
    glia_safetensors st;
    char path[300];
    snprintf(path, sizeof path, "%s/none.safetensors", temp_dir());
    assert_int_equal(glia_safetensors_create(&w, path, NULL, 0, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_open(&st, path, &err), GLIA_OK);
    assert_int_equal(st.n, 0);
    glia_safetensors_close(&st);
}

static void test_write_abandoned(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors_writer *w;
    char path[300];
    snprintf(path, sizeof path, "%s/left.safetensors", temp_dir());
    assert_int_equal(glia_safetensors_create(&w, path, two, 2, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_append(w, "abc", 3, &err), GLIA_OK);
    glia_safetensors_abandon(w);
    glia_safetensors_abandon(NULL);
    assert_int_equal(files_in(temp_dir(), "left"), 0);
    assert_int_equal(glia_safetensors_create(&w, path, two, 2, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_append(w, "abc", 3, &err), GLIA_OK);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_ERR_SHAPE);
    assert_non_null(strstr(err.msg, "left.safetensors: 3 bytes of tensors written, 63 declared"));
    assert_int_equal(files_in(temp_dir(), "left"), 0);
}

static void test_write_refused(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors_writer *w;
    char path[300];
    assert_int_equal(glia_safetensors_create(&w, "/nowhere/x", two, 2, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, ": cannot write: No such file or directory"));
    assert_null(w);
    assert_int_equal(glia_safetensors_create(&w, "/dev/null", two, 2, &err), GLIA_ERR_IO);
    assert_string_equal(err.msg, "/dev/null: exists and is not a regular file");
    snprintf(path, sizeof path, "%s/moved", temp_dir());
    assert_int_equal(glia_safetensors_create(&w, path, NULL, 0, &err), GLIA_OK);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(glia_safetensors_finish(w, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "cannot rename to"));
    assert_int_equal(files_in(temp_dir(), "moved"), 1);
}

/* A limit on file size simulates a full disk. */
static void test_write_full(void **state) {
    (void)state;
    glia_err err;
    glia_safetensors_writer *w;
    struct rlimit before, small;
    char path[300];
    static const char zeros[4096];
    const glia_tensor_spec big = {"big", GLIA_TENSOR_U8, 1, {65536}};
    snprintf(path, sizeof path, "%s/full.safetensors", temp_dir());
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 10000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(glia_safetensors_create(&w, path, &big, 1, &err), GLIA_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    glia_status status = GLIA_OK;
    for (int i = 0; i < 16 && status == GLIA_OK; i++)
        status = glia_safetensors_append(w, zeros, sizeof zeros, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "full.safetensors: File too large after "));
    assert_non_null(strstr(err.msg, " of 65536 bytes of tensors"));
    glia_safetensors_abandon(w);
    assert_int_equal(files_in(temp_dir(), "full"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),           cmocka_unit_test(test_lies),
        cmocka_unit_test(test_not_a_file),    cmocka_unit_test(test_views),
        cmocka_unit_test(test_dtypes),        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_nothing), cmocka_unit_test(test_write_abandoned),
        cmocka_unit_test(test_write_refused), cmocka_unit_test(test_write_full),
    };
    return check_run_group("safetensors", tests);
}
