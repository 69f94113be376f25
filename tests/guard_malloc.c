/* guard_malloc.c - linked into every test program: ends the program if a thread
 * allocates between glia_guard_enter() and glia_guard_leave() (base/arena.h).
 *
 * Symbol lookup finds the functions below before libc's. Sanitizers have their own
 * malloc, so with them this file is empty. */
#define _GNU_SOURCE
#include "base/arena.h"

#include <stdlib.h>
#include <unistd.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static void check_guard(void) {
    static const char msg[] = "guard_malloc: an allocation inside a step\n";
    if (glia_guard_depth == 0) return;
    (void)!write(2, msg, sizeof msg - 1);
    abort();
}

__attribute__((visibility("default"))) void *malloc(size_t n) {
    check_guard();
    return __libc_malloc(n);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size) {
    check_guard();
    return __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t n) {
    check_guard();
    return __libc_realloc(p, n);
}

#endif
