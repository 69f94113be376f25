/* guard_malloc.c - linked into every test program: an allocation on a thread
 * that is inside glia_guard_enter()/leave() (base/arena.h) ends the program.
 *
 * The names below come before libc's in symbol lookup; sanitizers bring their
 * own malloc, so under them this file is empty. */
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
