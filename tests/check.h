/* check.h - the library of all test programs: assertions that print both sides, a
 * seeded generator, buffers that end at an unreadable page, a verdict.
 *
 * There are two kinds of test program. Unit tests are cmocka groups, run by
 * check_run_group(). Kernel checks use CHECK() between check_begin() and
 * check_end(). Each program ends with the line "NAME: N passed, N failed[, N
 * skipped]"; tools/run_tests adds these lines up. */
#ifndef GLIA_TEST_CHECK_H
#define GLIA_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

extern _Atomic int check_passed, check_failures; /* atomic: any thread may CHECK */
extern int check_skipped, check_skipped_tests;

/* Count a pass, or report a failure with its file and line. The test continues, so
 * that one run shows all failures. */
#define CHECK(cond, ...)                                                                                     \
    ((cond) ? (void)atomic_fetch_add(&check_passed, 1) : check_fail(__FILE__, __LINE__, #cond, __VA_ARGS__))
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

/* Skip this cmocka test and print why. check_skip_because() alone skips a part of a test that goes on. */
#define check_skip(...) (check_skip_because(__VA_ARGS__), check_skipped_tests++, skip())
__attribute__((format(printf, 1, 2))) void check_skip_because(const char *fmt, ...);

/* The path of a file of the shared reference data ("data/golden/..."), which is not
 * part of the project. NULL if the file is absent: then call check_skip(). */
const char *check_shared(const char *name);

/* Read a whole file, NUL-terminated; the caller frees it. Ends the program on failure. */
char *check_read_file(const char *path, size_t *len);
/* A new empty directory under the build's temporary folder, removed at exit. */
const char *check_temp_dir(void);
/* Write `len` bytes to dir/name. Returns the path, valid for the next 7 calls. */
const char *check_write_file(const char *dir, const char *name, const void *bytes, size_t len);

/* A uniform number in [-1, 1). The seed is printed at start and set by --seed. */
float check_uniform(void);
uint32_t check_u32(void);
void check_seed(uint64_t seed);

/* `bytes` of memory that end at a page without access rights, so that an overrun of
 * one byte stops the test. */
void *check_guarded(size_t bytes);
void check_guarded_free(void *p, size_t bytes);

/* Parse --bench and --seed; print the seed. Returns nonzero for --bench. */
int check_begin(int argc, char **argv);
/* Print the verdict and return the exit status. */
int check_end(const char *name);
double check_seconds(void);

#endif
