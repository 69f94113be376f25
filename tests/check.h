/* check.h - what every test program here shares: assertions that print both
 * sides, a seeded generator, buffers that end at an unreadable page, one verdict.
 *
 * Two kinds of program: unit tests are groups for cmocka, run by
 * check_run_group(); kernel checks use CHECK() and check_begin()/check_end().
 * Each ends with the line "NAME: N passed, N failed[, N skipped]", which
 * tools/run_tests adds up. */
#ifndef GLIA_TEST_CHECK_H
#define GLIA_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

extern int check_passed, check_failures, check_skipped;

/* Count a pass or record a failure with its place; the test goes on, so one run shows all. */
#define CHECK(cond, ...) ((cond) ? (void)check_passed++ : check_fail(__FILE__, __LINE__, #cond, __VA_ARGS__))
__attribute__((format(printf, 4, 5))) void check_fail(const char *file, int line, const char *cond,
                                                      const char *fmt, ...);

/* Replace this process by the program argv[0]. If RUNNER is set, it is the command that starts
 * programs of another processor, such as qemu. Exits with 99 if that fails. */
_Noreturn void check_exec(const char *const *argv);

/* Run a cmocka group and return the exit status of main(). CHECK() failures
 * inside a test count as well. */
#define check_run_group(name, tests)                                                                         \
    check_group_status(name, cmocka_run_group_tests_name(name, tests, NULL, NULL),                           \
                       (int)(sizeof(tests) / sizeof *(tests)))
int check_group_status(const char *name, int failed, int total);

/* End this cmocka test as skipped, saying why. */
#define check_skip(...) (check_skip_because(__VA_ARGS__), skip())
__attribute__((format(printf, 1, 2))) void check_skip_because(const char *fmt, ...);

/* Path of a file of the shared reference data ("data/golden/..."), which is not
 * part of the project; NULL where it is absent: then check_skip(). */
const char *check_shared(const char *name);

/* The whole file, NUL-terminated; ends the program when it cannot be read. */
char *check_read_file(const char *path, size_t *len);
/* A new empty directory under the build's temporary folder, removed at exit. */
const char *check_temp_dir(void);
/* Write `len` bytes to dir/name; returns the path, valid until the next call but 7. */
const char *check_write_file(const char *dir, const char *name, const void *bytes, size_t len);

/* Uniform in [-1, 1); the seed is printed at start and set by --seed. */
float check_uniform(void);
uint32_t check_u32(void);
void check_seed(uint64_t seed);

/* `bytes` of memory whose last byte is the last of a page; the page after it
 * cannot be read or written, so an overrun of one byte stops the test there. */
void *check_guarded(size_t bytes);
void check_guarded_free(void *p, size_t bytes);

/* Parse --bench and --seed; print the seed. Returns nonzero for --bench. */
int check_begin(int argc, char **argv);
/* Print the verdict and return the exit status. */
int check_end(const char *name);
double check_seconds(void);

#endif
