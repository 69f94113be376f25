/* calibrate.c - `glia calibrate`: which columns matter, for --importance. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"

int cli_calibrate(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_err err = {0};
    char *text = NULL;
    size_t len = 0;
    if (!args->given[F_TEXT] || !args->given[F_OUT])
        return cli_usage("calibrate needs --text FILE and -o FILE, the file to write");
    if (cli_read_all(&text, &len, args->text[F_TEXT], &err)) return cli_failed(&err);
    char *cache = cli_cache_dir();
    cli_options(args, &o, &engine);
    const glia_status status = glia_calibrate(args->model, cache, text, len, args->text[F_OUT], &o, &err);
    free(cache);
    free(text);
    if (status) return cli_failed(&err);
    fprintf(stderr, "%s: written; use it with --quantization int4 --importance\n", args->text[F_OUT]);
    return EXIT_OK;
}
