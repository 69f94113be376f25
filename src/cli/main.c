/* main.c - the program `glia`: finds the command and passes it the rest of the line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glia.h>

#include "base/cpu.h"
#include "cli/common.h"
#include "cli/table.h"

/* Open descriptors 0, 1 and 2 if they are closed: otherwise the next file to be opened would get one of them,
 * and terminal output would be written into that file. Each gets the wrong direction, so that using it fails
 * as if it were still closed. */
static void open_standard_files(void) {
    static const int wrong[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", wrong[fd]) < 0) _exit(EXIT_FAILED);
}

/* Writes what stdout has buffered, and keeps the first error: later calls change errno. */
static ssize_t write_output(void *first_error, const char *bytes, size_t n) {
    int *why = first_error;
    for (size_t done = 0; done < n;) {
        const ssize_t k = write(STDOUT_FILENO, bytes + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && !*why) *why = errno;
        if (k < 0) return 0; /* fopencookie(3): an error */
        done += (size_t)k;
    }
    return (ssize_t)n;
}

static void keep_first_error(int *why) {
    FILE *out = fopencookie(why, "w", (cookie_io_functions_t){.write = write_output});
    if (!out) return;
    setvbuf(out, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
    stdout = out;
}

/* An end by a signal leaves no unfinished file. The signal then ends the process as if there were no handler,
 * except in a rank: mpirun sends SIGTERM when another rank has ended, and this rank still says why. */
static void on_end(int signal_number) {
    glia_remove_unfinished();
    if (signal_number == SIGTERM && cli_processes() > 1) return;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void handle_signals(void) {
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU};
    struct sigaction old, action = {.sa_handler = on_end, .sa_flags = SA_RESTART};
    signal(SIGPIPE, SIG_DFL); /* `glia ... | head` ends quietly, even if a parent ignores the signal */
    signal(SIGXFSZ, SIG_IGN); /* write() then says that the file is too large */
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ends[i], &action, NULL);
}

static int run_command(int argc, char **argv) {
    char two[64];
    const char *name = argv[1];
    if (strcmp(name, "grammar") == 0) { /* the only command whose name has two words */
        if (argc < 3) return cli_usage("grammar needs check or show; 'glia --help' lists the commands");
        snprintf(two, sizeof two, "grammar %s", argv[2]);
        name = two;
        argv++;
        argc--;
    }
    const cli_command *command = cli_find_command(name);
    if (!command) {
        const char *near = cli_nearest_command(name);
        if (near) return cli_usage("there is no command '%s'; did you mean '%s'?", name, near);
        return cli_usage("there is no command '%s'; 'glia --help' lists them", name);
    }
    cli_args args;
    int status = cli_parse(&args, command, argc - 2, argv + 2);
    if (status < 0 && cli_processes() > 1 &&
        !(command->bit & (C_RUN | C_GENERATE | C_SCORE | C_BENCH | C_SERVE | C_EMBED | C_RERANK)))
        status = cli_usage("%s is not shared by processes: start it without mpirun or srun", command->name);
    if (status < 0) status = command->run(&args);
    cli_args_free(&args);
    return status;
}

int main(int argc, char **argv) {
    int status = EXIT_OK;
    static int why; /* stdout has its address until the process ends */
    open_standard_files();
    keep_first_error(&why);
    handle_signals();
    glia_catch_sigbus();
    if (argc < 2)
        status = cli_usage("a command is missing; 'glia --help' lists them");
    else if (strcmp(argv[1], "--version") == 0)
        printf("glia %s (%s)\n", glia_version(), glia_cpu_rung(glia_cpu_flags()));
    else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        cli_help_all();
    else
        status = run_command(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "glia: standard output: %s\n",
                why == EBADF ? "is closed" : strerror(why ? why : errno));
        if (!status) status = EXIT_FAILED;
    }
    return status;
}
