/* check_base.c - errors, buffers, files, plans and CPU masks. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/bf16.h"
#include "base/buf.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/map.h"
#include "base/written.h"

static void test_fail_cuts_at_character(void **state) {
    (void)state;
    glia_err err;
    char text[600];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4) memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        assert_int_equal(glia_fail(&err, GLIA_ERR_IO, "%s", text), GLIA_ERR_IO);
        assert_int_equal((strlen(err.msg) - shift) % 4, 0);
    }
    assert_int_equal(glia_fail(NULL, GLIA_ERR_LIMIT, "x"), GLIA_ERR_LIMIT);
}

static void test_buf(void **state) {
    (void)state;
    glia_buf b = {0};
    for (int i = 0; i < 1000; i++) glia_buf_printf(&b, "%d,", i);
    glia_buf_putc(&b, '!');
    assert_int_equal(b.len, 3891);
    char *s = glia_buf_steal(&b);
    assert_string_equal(s + 3886, "999,!");
    free(s);
    assert_null(b.data);
    assert_false(glia_buf_reserve(&b, SIZE_MAX));
    assert_true(b.oom);
    assert_null(glia_buf_steal(&b));
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = glia_bf16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(glia_bf16_to_f32(glia_f32_to_bf16(f))));
        else
            assert_int_equal(glia_f32_to_bf16(f), h);
    }
    assert_int_equal(glia_f32_to_bf16(1.00390625f), 0x3f80); /* halfway rounds to even */
    assert_int_equal(glia_f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(glia_f32_to_bf16(3.4028235e38f), 0x7f80); /* rounds to infinity */
    for (uint32_t h = 0; h < 0x10000; h++) {                   /* every float16 comes back */
        const float f = glia_f16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(glia_f16_to_f32(glia_f32_to_f16(f))));
        else
            assert_int_equal(glia_f32_to_f16(f), h);
    }
    for (uint32_t h = 0; h < 0x7bff; h++) { /* between two neighbours: the nearer, halfway the even one */
        const float a = glia_f16_to_f32((uint16_t)h), b = glia_f16_to_f32((uint16_t)(h + 1)),
                    middle = (a + b) / 2;
        assert_int_equal(glia_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(glia_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(glia_f32_to_f16(-nextafterf(middle, INFINITY)), 0x8000 | (h + 1));
    }
    assert_int_equal(glia_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(glia_f32_to_f16(65520), 0x7c00); /* rounds to infinity */
    assert_int_equal(glia_f32_to_f16(-1e30f), 0xfc00);
    assert_true(glia_f16_to_f32(0x3c00) == 1.0f && glia_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(glia_f16_to_f32(0x7bff) == 65504.0f && isinf(glia_f16_to_f32(0xfc00)));
}

static void test_files(void **state) {
    (void)state;
    glia_err err;
    glia_map m;
    char *text;
    size_t len;
    const char *dir = check_temp_dir();
    const char *path = check_write_file(dir, "a", "hello", 5);
    assert_int_equal(glia_map_open(&m, path, &err), GLIA_OK);
    assert_int_equal(m.len, 5);
    assert_memory_equal(m.data, "hello", 5);
    glia_map_close(&m);
    assert_int_equal(glia_read_file(&text, &len, path, 5, &err), GLIA_OK);
    assert_string_equal(text, "hello");
    free(text);
    assert_int_equal(glia_read_file(&text, &len, path, 4, &err), GLIA_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "5 bytes, limit is 4"));
    assert_int_equal(glia_map_open(&m, dir, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, ": a directory, not a regular file"));
    bool found;
    assert_int_equal(glia_file_find(&found, path, &err), GLIA_OK);
    assert_true(found);
    assert_int_equal(glia_file_find(&found, "/nowhere/x", &err), GLIA_OK);
    assert_false(found || glia_name_exists("/nowhere/x"));
    assert_int_equal(glia_dir_find(&found, dir, &err), GLIA_OK);
    assert_true(found && glia_name_exists(dir));
    assert_int_equal(glia_dir_find(&found, path, &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "/a: a file, not a directory"));
    assert_int_equal(glia_read_file(&text, &len, "/proc/sys/kernel/random/boot_id", 4096, &err), GLIA_OK);
    assert_int_equal(len, 37); /* though its size is 0 */
    free(text);
    assert_int_equal(glia_map_open(&m, "/nowhere/x", &err), GLIA_ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere/x: No such file"));
    path = check_write_file(dir, "empty", "", 0);
    assert_int_equal(glia_map_open(&m, path, &err), GLIA_OK);
    assert_int_equal(m.len, 0);
    glia_map_close(&m);
    char *joined = glia_path_join("a/", "b");
    assert_string_equal(joined, "a/b");
    free(joined);
}

/* A list names only what lies in its directory, or in a directory that it lists before. */
static void test_written(void **state) {
    (void)state;
    static const struct {
        const char *lines;
        size_t n; /* 0: refused */
    } rows[] = {
        {"d weights\n- weights/a\n0123456789abcdef b\n", 3},
        {"- a b\n", 1},
        {"- ../a\n", 0},
        {"- /a\n", 0},
        {"- a/b\n", 0},
        {"- a\n- a/b\n", 0},
        {"d ..\n", 0},
        {"d a\n- a/..\n", 0},
        {"d a\nd a/b\n- a/b/c\n", 0},
        {"d a\n- a/\n", 0},
        {"- .\n", 0},
        {"x a\n", 0},
        {"a\n", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        glia_written w;
        glia_err err;
        snprintf(text, sizeof text, GLIA_WRITTEN_TITLE "abcdefghijklmnop\n%s", rows[i].lines);
        const glia_status status = glia_written_parse(&w, text, strlen(text), "list", &err);
        CHECK(rows[i].n ? !status && w.n == rows[i].n : status == GLIA_ERR_FORMAT, "%s: %d", rows[i].lines,
              status);
        glia_written_free(&w);
    }
    glia_written w;
    assert_int_equal(glia_written_parse(&w, "", 0, "list", NULL), GLIA_ERR_FORMAT);
    assert_int_equal(glia_written_parse(&w, "abc\n", 4, "list", NULL), GLIA_ERR_FORMAT);
}

static void test_plan(void **state) {
    (void)state;
    glia_err err;
    glia_plan p = {0};
    const int a = glia_plan_add(&p, "a", 3, 1), b = glia_plan_add(&p, "b", 100, 8);
    assert_int_equal(p.bytes, 64 + 832);
    assert_int_equal(glia_plan_map(&p, "test buffers", &err), GLIA_OK);
    assert_int_equal((char *)glia_plan_at(&p, b) - (char *)glia_plan_at(&p, a), 64);
    memset(glia_plan_at(&p, b), 1, 800);
    glia_plan_unmap(&p);
    glia_plan_add(&p, "huge", SIZE_MAX / 4, 8);
    assert_int_equal(glia_plan_map(&p, "test buffers", &err), GLIA_ERR_NOMEM);
    glia_plan_unmap(&p);
    glia_plan_add(&p, "petabyte", (size_t)1 << 50, 1);
    assert_int_equal(glia_plan_map(&p, "test buffers", &err), GLIA_ERR_NOMEM);
    assert_non_null(strstr(err.msg, "test buffers need 1048576.00 GiB"));
    glia_plan_unmap(&p);
}

static void test_cpu_mask(void **state) {
    (void)state;
    glia_err err;
    unsigned flags = GLIA_CPU_AVX2;
    assert_int_equal(glia_cpu_mask(&flags, "avx512", &err), GLIA_ERR_ARGUMENT);
    assert_string_equal(err.msg, "cpu-features: this machine has avx2, not avx512");
    assert_int_equal(glia_cpu_mask(&flags, "neon", &err), GLIA_ERR_ARGUMENT);
    assert_int_equal(glia_cpu_mask(&flags, NULL, &err), GLIA_OK);
    assert_string_equal(glia_cpu_rung(flags), "avx2");
    assert_int_equal(glia_cpu_mask(&flags, "ref", &err), GLIA_OK);
    assert_string_equal(glia_cpu_rung(flags), "ref");
}

/* `keeps` includes `needs`; `needs` includes that of the rung below, and selects this rung. */
static void test_cpu_rungs(void **state) {
    (void)state;
    char names[64] = "";
    for (int i = 0; i < GLIA_RUNGS; i++) {
        const glia_rung *r = &glia_rungs[i], *below = &glia_rungs[i ? i - 1 : 0];
        unsigned flags = ~0u;
        assert_int_equal(r->needs & ~r->keeps, 0);
        assert_int_equal(below->needs & ~r->needs, 0);
        assert_string_equal(glia_cpu_rung(r->needs), r->name);
        assert_int_equal(glia_cpu_mask(&flags, r->name, NULL), GLIA_OK);
        assert_string_equal(glia_cpu_rung(flags), r->name);
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? "|" : "", r->name);
    }
    assert_string_equal(names, GLIA_RUNG_NAMES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_cuts_at_character),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_cpu_mask),
        cmocka_unit_test(test_cpu_rungs),
    };
    return check_run_group("base", tests);
}
