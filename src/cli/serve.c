/* serve.c - `glia serve`: flags to the options of the server. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "server/server.h"

enum { BATCH = 8 }; /* sequences at once without --batch-size */

static void say(const char *line) { fprintf(stderr, "glia: %s\n", line); }

int cli_serve(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model *m = NULL;
    glia_err err = {0};
    char *template = NULL;
    size_t template_len = 0;
    cli_options(args, &o, &engine);
    engine.batch_size_needed = BATCH;
    if (cli_follows()) return cli_follow(args, &o);
    int status = cli_read_template(&template, &template_len, args);
    if (!status) status = cli_load(&m, args, &o, false);
    const server_options options = {
        .host = args->text[F_HOST],
        .port = (int)args->integer[F_PORT],
        .name = args->given[F_SERVED_MODEL_NAME] ? args->text[F_SERVED_MODEL_NAME] : args->model,
        .root = args->model,
        .keys = args->stop,
        .n_keys = args->n_stop,
        .chat_template = template,
        .chat_template_len = template_len,
        .max_queued = (int)args->integer[F_MAX_NUM_QUEUED_REQS],
        .shutdown_timeout_s = args->real[F_SHUTDOWN_TIMEOUT],
        .has_seed = args->given[F_SEED],
        .seed = (uint64_t)args->integer[F_SEED],
        .say = say,
    };
    if (!status && server_run(m, &engine, &options, &err)) status = cli_failed(&err);
    glia_model_free(m);
    free(template);
    return status;
}
