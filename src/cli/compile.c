/* compile.c - `glia compile`: write packed weights, so that loading them is mapping a file. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"

int cli_compile(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_err err = {0};
    if (!args->given[F_OUT]) return cli_usage("compile needs -o DIR, the directory to make");
    char *cache = cli_cache_dir();
    cli_options(args, &o, &engine);
    const glia_status status = glia_compile(args->model, cache, args->text[F_OUT], &o, &err);
    free(cache);
    if (status) return cli_failed(&err);
    fprintf(stderr, "%s: compiled, every byte read back and compared\n", args->text[F_OUT]);
    return EXIT_OK;
}
