/* check_install.c - builds and runs the example program against an installed copy. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static const char *build = "build";

/* Run a shell command. `out` gets its output, NUL-terminated; returns its exit status. */
static int run(char *out, size_t size, const char *command) {
    FILE *p = popen(command, "r");
    assert_non_null(p);
    const size_t n = fread(out, 1, size - 1, p);
    out[n] = '\0';
    while (fgetc(p) != EOF) continue;
    return pclose(p);
}

static void test_example(void **state) {
    (void)state;
    char command[2048], out[8192];
    if (sanitized) check_skip("an installed copy is tested without sanitizers");
    if (!glia_dir_exists("models/qwen3-demo")) check_skip("the demo model is not here");
    if (run(out, sizeof out, "command -v pkg-config ${CC:-cc}")) check_skip("no pkg-config or no C compiler");
    const char *to = check_temp_dir();
    /* "-o all": install the files in `build` without building them again with other flags. */
    snprintf(command, sizeof command, "make -s -o all install B='%s' DESTDIR= PREFIX='%s' 2>&1", build, to);
    if (run(out, sizeof out, command)) fail_msg("%s: %s", command, out);
    snprintf(command, sizeof command, "%s/lib/pkgconfig", to);
    setenv("PKG_CONFIG_PATH", command, 1);
    snprintf(command, sizeof command, "%s/lib", to);
    setenv("LD_LIBRARY_PATH", command, 1);

    static const char *const links[] = {
        "$(pkg-config --libs glia)", "-Wl,-Bstatic -lglia -Wl,-Bdynamic $(pkg-config --libs --static glia)"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(command, sizeof command,
                 "${CC:-cc} -std=c11 -Wall -Wextra -Werror examples/hello.c $(pkg-config --cflags glia) "
                 "-L'%s/lib' %s "
                 "-o '%s/hello' 2>&1",
                 to, links[i], to);
        if (run(out, sizeof out, command)) fail_msg("%s: %s", command, out);
        snprintf(command, sizeof command, "$RUNNER '%s/hello' models/qwen3-demo 'Who are you?' 2>&1", to);
        if (run(out, sizeof out, command)) fail_msg("%s: %s", command, out);
        assert_true(strlen(out) > 0);
        printf("hello: %.60s\n", out);
    }
    snprintf(command, sizeof command, "$RUNNER '%s/hello' /nowhere Hello 2>&1", to);
    assert_int_not_equal(run(out, sizeof out, command), 0);
    assert_non_null(strstr(out, "hello: /nowhere"));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
    };
    static char dir[512];
    (void)argc;
    snprintf(dir, sizeof dir, "%s", argv[0]); /* B/tests/check_install */
    for (int i = 0; i < 2; i++)
        if (strrchr(dir, '/')) *strrchr(dir, '/') = '\0';
    if (strchr(argv[0], '/')) build = dir;
    return check_run_group("install", tests);
}
