/* merge.c - `glia merge`: write a model with a LoRA adapter merged into its weights. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"

int cli_merge(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_err err = {0};
    if (!args->given[F_OUT]) return cli_usage("merge needs -o DIR, the directory to make");
    char *cache = cli_cache_dir();
    cli_options(args, &o, &engine);
    const glia_status status = glia_merge(args->model, cache, args->adapter, args->text[F_OUT], &o, &err);
    free(cache);
    if (status) return cli_failed(&err);
    fprintf(stderr, "%s: merged\n", args->text[F_OUT]);
    return EXIT_OK;
}
