/* mpirun.h - for tests that start programs under mpirun: run a command and keep its output. */
#ifndef GLIA_TEST_MPIRUN_H
#define GLIA_TEST_MPIRUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Seconds that mpirun waits for a process to end before it kills the process. Open
 * MPI's default, 1, is too short on a busy machine. */
#define MPI_PATIENCE "--mca odls_base_sigkill_timeout 2"

/* The output of the last command, and its time in seconds. */
static char mpi_lines[1 << 16];
static double mpi_took;

/* Remove a harmless warning of Open MPI's launcher: it calls setpgid(2) on its child,
 * which gives EACCES if the child has already called exec. */
static inline void mpi_drop_warnings(void) {
    for (char *at; (at = strstr(mpi_lines, "plm:rsh: Warning: setpgid(")) != NULL;) {
        char *end = at + strcspn(at, "\n");
        while (at > mpi_lines && at[-1] != '\n') at--;
        end += *end == '\n';
        memmove(at, end, strlen(end) + 1);
    }
}

/* Run a shell command and return its exit status. */
static inline int mpi_run(const char *command) {
    const double start = check_seconds();
    FILE *out = popen(command, "r");
    assert_non_null(out);
    const size_t n = fread(mpi_lines, 1, sizeof mpi_lines - 1, out);
    mpi_lines[n] = '\0';
    mpi_drop_warnings();
    const int status = pclose(out);
    mpi_took = check_seconds() - start;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Run `ranks` processes of a program on this machine. */
static inline int mpi_start(int ranks, const char *options, const char *program) {
    char command[8192];
    snprintf(command, sizeof command,
             "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
             "OMPI_MCA_hwloc_base_binding_policy=none ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_bugs=0 "
             "timeout -k 1 100 mpirun " MPI_PATIENCE " %s -n %d %s 2>&1 < /dev/null",
             options, ranks, program);
    return mpi_run(command);
}

/* Run `each` processes on each of `hosts` network namespaces, which communicate by TCP. */
static inline int mpi_start_on(int hosts, int each, const char *options, const char *program) {
    char command[8192];
    snprintf(command, sizeof command,
             "ASAN_OPTIONS=detect_leaks=0 tests/hosts %d %d --mca btl tcp,self " MPI_PATIENCE
             " %s %s 2>&1 < /dev/null",
             hosts, each, options, program);
    return mpi_run(command);
}

static inline void mpi_need(void) {
#ifndef GLIA_HAVE_MPI
    check_skip("this build has no MPI");
#endif
    if (system("mpirun --version > /dev/null 2>&1") != 0) check_skip("no mpirun here");
}

static inline void mpi_need_hosts(void) {
    mpi_need();
    if (mpi_run("tests/hosts --check 2>&1") != 0) check_skip("%s", strtok(mpi_lines, "\n"));
}

/* The path of this test program. */
static inline void mpi_find_self(char *path, size_t size) {
    const ssize_t n = readlink("/proc/self/exe", path, size - 1);
    path[n > 0 ? n : 0] = '\0';
}

#endif
