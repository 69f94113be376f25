/* cli.h - for tests that run the program `glia` and keep its output. */
#ifndef GLIA_TEST_CLI_H
#define GLIA_TEST_CLI_H

#include "check.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char program[600];
static const char *const models[] = {"models/qwen3-demo", "models/smollm3-demo"};
enum { N_MODELS = sizeof models / sizeof *models, ARGS_MAX = 32 };

/* ---- running it ------------------------------------------------------------ */

typedef struct {
    int status; /* the exit status, or 1000 + the signal */
    char *out, *err;
    size_t out_len;
} outcome;

static inline void find_program(void) {
    const ssize_t n = readlink("/proc/self/exe", program, 512);
    program[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 2; up++) { /* BUILD/tests/check_cli -> BUILD */
        char *slash = strrchr(program, '/');
        if (slash) *slash = '\0';
    }
    strcat(program, "/glia");
}

/* Split `line` in place at blanks; 'quotes' keep a word together. */
static inline void split(char *line, char **argv) {
    int n = 0;
    argv[n++] = program;
    while (*line && n < ARGS_MAX - 1) {
        while (*line == ' ') line++;
        if (!*line) break;
        const char end = *line == '\'' ? '\'' : ' ';
        if (end == '\'') line++;
        argv[n++] = line;
        line += strcspn(line, end == ' ' ? " " : "'");
        if (*line) *line++ = '\0';
    }
    argv[n] = NULL;
}

static inline int decode(int status) {
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* An unnamed file with `len` bytes, positioned at its start. */
static inline int file_of(const char *bytes, size_t len) {
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fflush(f);
    const int fd = dup(fileno(f));
    fclose(f);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static inline char *contents(int fd, size_t *len) {
    struct stat info;
    fstat(fd, &info);
    char *text = malloc((size_t)info.st_size + 1);
    assert_non_null(text);
    const ssize_t n = pread(fd, text, (size_t)info.st_size, 0);
    assert_int_equal(n, info.st_size);
    text[n] = '\0';
    if (len) *len = (size_t)n;
    close(fd);
    return text;
}

/* Run glia with `len` bytes of input. `to` is its standard output; -1: collect the output
 * in the outcome. */
static inline outcome glia_in(const char *input, size_t len, int to, const char *args) {
    outcome o = {0};
    char line[1024], *argv[ARGS_MAX];
    snprintf(line, sizeof line, "%s", args);
    split(line, argv);
    const int in = file_of(input, len), out = file_of("", 0), err = file_of("", 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(in, 0);
        dup2(to < 0 ? out : to, 1);
        dup2(err, 2);
        check_exec((const char *const *)argv);
    }
    waitpid(child, &o.status, 0);
    o.status = decode(o.status);
    close(in);
    o.out = contents(out, &o.out_len);
    o.err = contents(err, NULL);
    return o;
}

__attribute__((format(printf, 2, 3))) static inline outcome glia(const char *input, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return glia_in(input, strlen(input), -1, line);
}

/* Read from `fd` into `seen` until `needle` arrives; false after a minute. */
static inline bool wait_for(int fd, char *seen, size_t cap, const char *needle) {
    size_t n = strlen(seen);
    const double until = check_seconds() + 600;
    while (!strstr(seen, needle) && check_seconds() < until && n + 1 < cap) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 200) <= 0) continue;
        const ssize_t got = read(fd, seen + n, cap - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
        seen[n] = '\0';
    }
    return strstr(seen, needle) != NULL;
}

static inline void done(outcome *o) {
    free(o->out);
    free(o->err);
    *o = (outcome){0};
}

/* Expect success and parse standard output as JSON; the caller owns the result. */
static inline json_t *json_of(outcome *o) {
    json_error_t why;
    CHECK(o->status == 0, "exit %d: %s", o->status, o->err);
    json_t *root = json_loads(o->out, JSON_DECODE_ANY, &why);
    CHECK(root != NULL, "%s in '%s'", why.text, o->out);
    assert_non_null(root);
    done(o);
    return root;
}

static inline void check_refused(const char *args, const char *input, int status, const char *words) {
    outcome o = glia(input, "%s", args);
    CHECK(o.status == status, "'%s': exit %d, wanted %d", args, o.status, status);
    CHECK(strstr(o.err, words) != NULL, "'%s' said: %s, wanted: %s", args, o.err, words);
    CHECK(strncmp(o.err, "glia: ", 6) == 0 && strchr(o.err, '\n') == o.err + strlen(o.err) - 1,
          "'%s' did not say one line: %s", args, o.err);
    CHECK(o.out_len == 0, "'%s' wrote to standard output: %s", args, o.out);
    done(&o);
}

#endif
