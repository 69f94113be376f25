/* check.c - see check.h. */
#define _GNU_SOURCE
#include "check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

_Atomic int check_passed, check_failures;
int check_skipped, check_skipped_tests;
static uint64_t rng = 1;

void check_fail(const char *file, int line, const char *cond, const char *fmt, ...) {
    va_list ap;
    if (++check_failures > 50) return; /* print the first 50 only */
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: not true: %s: ", file, line, cond);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static int verdict(const char *name, int passed, int failed, int skipped) {
    fflush(stderr);
    printf("%s: %d passed, %d failed", name, passed, failed);
    if (skipped) printf(", %d skipped", skipped);
    putchar('\n');
    return failed != 0;
}

int check_group_status(const char *name, int failed, int total) {
    if (check_failures && !failed) failed = 1;
    return verdict(name, total - failed - check_skipped_tests, failed, check_skipped);
}

int check_end(const char *name) {
    if (!check_passed && !check_failures && !check_skipped)
        check_fail(__FILE__, __LINE__, "check_passed", "%s checked nothing", name);
    return verdict(name, check_passed, check_failures, check_skipped);
}

void check_skip_because(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("SKIPPED: ", stdout);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
    check_skipped++;
}

void check_exec(const char *const *argv) {
    char line[256];
    const char *words[64], *runner = getenv("RUNNER");
    const int most = sizeof words / sizeof *words - 1;
    int n = 0;
    snprintf(line, sizeof line, "%s", runner ? runner : "");
    for (const char *word = strtok(line, " "); word && n < most; word = strtok(NULL, " ")) words[n++] = word;
    while (*argv && n < most) words[n++] = *argv++;
    words[n] = NULL;
    execvp(words[0], (char *const *)words);
    _exit(99);
}

const char *check_shared(const char *name) {
    static char path[8][512];
    static int turn;
    const char *root = getenv("GLIA_SHARED");
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", root ? root : "../shared", name);
    return access(p, R_OK) == 0 ? p : NULL;
}

char *check_read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    const long size = ftell(f);
    char *bytes = malloc((size_t)size + 1);
    rewind(f);
    if (!bytes || fread(bytes, 1, (size_t)size, f) != (size_t)size) {
        perror(path);
        exit(2);
    }
    fclose(f);
    bytes[size] = '\0';
    if (len) *len = (size_t)size;
    return bytes;
}

static char temp_dirs[64][64];
static int n_temp_dirs;

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

static void remove_temp_dirs(void) {
    for (int i = 0; i < n_temp_dirs; i++) nftw(temp_dirs[i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *check_temp_dir(void) {
    if (n_temp_dirs == 64) {
        fputs("check_temp_dir: more than 64 directories\n", stderr);
        exit(2);
    }
    char *p = temp_dirs[n_temp_dirs];
    strcpy(p, "/tmp/glia-check-XXXXXX");
    if (!mkdtemp(p)) {
        perror(p);
        exit(2);
    }
    if (n_temp_dirs++ == 0) atexit(remove_temp_dirs);
    return p;
}

const char *check_write_file(const char *dir, const char *name, const void *bytes, size_t len) {
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    FILE *f = fopen(p, "wb");
    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0) {
        perror(p);
        exit(2);
    }
    return p;
}

uint32_t check_u32(void) { /* xorshift64*, Vigna 2014 */
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

float check_uniform(void) { return (float)(check_u32() >> 8) / 8388608.0f - 1.0f; }

void check_seed(uint64_t seed) { rng = seed ? seed : 1; }

static size_t pages_for(size_t bytes, size_t page) { return (bytes + page - 1) / page; }

void *check_guarded(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = pages_for(bytes, page) * page;
    char *p = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + body, page, PROT_NONE) != 0) {
        perror("check_guarded");
        exit(2);
    }
    return p + body - bytes;
}

void check_guarded_free(void *p, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = pages_for(bytes, page) * page;
    munmap((char *)p + bytes - body, body + page);
}

double check_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int check_begin(int argc, char **argv) {
    int bench = 0;
    uint64_t seed = (uint64_t)time(NULL) | 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench")) bench = 1;
        if (!strcmp(argv[i], "--seed") && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
    }
    check_seed(seed);
    printf("seed %llu\n", (unsigned long long)seed);
    return bench;
}
