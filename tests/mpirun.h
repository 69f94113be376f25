/* mpirun.h - tests that start programs under mpirun: run a command, keep what it printed. */
#ifndef GLIA_TEST_MPIRUN_H
#define GLIA_TEST_MPIRUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Seconds a process may take to say its last words on a busy machine; of Open MPI 1. */
#define MPI_PATIENCE "--mca odls_base_sigkill_timeout 2"

/* Of the last command: everything it printed, and seconds. */
static char mpi_lines[1 << 16];
static double mpi_took;

/* Take out what Open MPI's launcher says where it is late to put its child, already another program, into a
 * group of its own: setpgid(2) gives EACCES then, and nothing comes of it. */
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

/* `ranks` processes of a command on this machine. */
static inline int mpi_start(int ranks, const char *options, const char *program) {
    char command[8192];
    snprintf(command, sizeof command,
             "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
             "OMPI_MCA_hwloc_base_binding_policy=none ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_bugs=0 "
             "timeout -k 1 100 mpirun " MPI_PATIENCE " %s -n %d %s 2>&1 < /dev/null",
             options, ranks, program);
    return mpi_run(command);
}

/* Each on `hosts` machines that are network namespaces: what crosses them is TCP. */
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

/* This test's own file. */
static inline void mpi_find_self(char *path, size_t size) {
    const ssize_t n = readlink("/proc/self/exe", path, size - 1);
    path[n > 0 ? n : 0] = '\0';
}

#endif
