/* main.c - the one binary: finds the command and hands it the rest of the line. */
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("glia %s (%s)\n", GLIA_VERSION, glia_cpu_rung(glia_cpu_flags()));
        return 0;
    }
    fputs("usage: glia --version\n", stderr);
    return 2;
}
