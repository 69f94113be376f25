/* serve.c - `glia serve`: flags to the options of the server. */
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "server/server.h"

enum { BATCH = 8 }; /* sequences at once without --batch-size */

/* Write a line of the log, unless that could block: a pipe that nobody reads must not stop the server. A pipe
 * that poll() calls writable has room for 4,096 bytes, more than two lines. */
static void write_line(const char *prefix, const char *line) {
    static atomic_int lost;
    struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&err, 1, 0) != 1 || !(err.revents & POLLOUT)) {
        atomic_fetch_add(&lost, 1);
        return;
    }
    const int n = atomic_exchange(&lost, 0);
    if (n) fprintf(stderr, "glia: warning: %d lines of the log are lost: standard error was full\n", n);
    fprintf(stderr, "%s%s\n", prefix, line);
}

static void say(const char *line) { write_line("glia: ", line); }
static void say_raw(const char *line) { write_line("", line); }

static server_policy policy_of(const char *name) {
    if (strcmp(name, "fair") == 0) return SERVER_FAIR;
    return strcmp(name, "priority") == 0 ? SERVER_PRIORITY : SERVER_FCFS;
}

/* Check --default-chat-template-kwargs. Returns -1, or the exit status after a usage error. */
static int check_kwargs(const char *text) {
    json_error_t why = {0};
    json_t *object = text ? json_loads(text, 0, &why) : NULL;
    const bool good = !text || json_is_object(object);
    json_decref(object);
    if (good) return -1;
    return cli_usage("--default-chat-template-kwargs takes a JSON object, not '%s'%s%s", text,
                     *why.text ? ": " : "", why.text);
}

int cli_serve(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_model *m = NULL;
    glia_err err = {0};
    char *template = NULL;
    size_t template_len = 0;
    cli_options(args, &o, &engine);
    engine.batch_size_needed = BATCH;
    engine.max_step_ms = (int)args->integer[F_MAX_STEP_MS];
    engine.prefix_cache_dir = args->text[F_PREFIX_CACHE_DIR];
    engine.prefix_cache_dir_bytes = (uint64_t)(args->real[F_PREFIX_CACHE_SIZE] * 0x1p30);
    o.spare_core = true; /* for the network thread */
    if (cli_follows()) return cli_follow(args, &o);
    if (!args->text[F_SSL_CERTFILE] != !args->text[F_SSL_KEYFILE])
        return cli_usage("--ssl-certfile and --ssl-keyfile come together");
    if (args->given[F_SERVED_MODEL_NAME] && !*args->text[F_SERVED_MODEL_NAME])
        return cli_usage("--served-model-name is empty");
    int status = check_kwargs(args->text[F_DEFAULT_TEMPLATE_KWARGS]);
    if (status >= 0) return status;
    status = cli_read_template(&template, &template_len, args);
    if (!status) status = cli_load(&m, args, &o, false);
    const server_options options = {
        .host = args->text[F_HOST],
        .port = (int)args->integer[F_PORT],
        .certificate = args->text[F_SSL_CERTFILE],
        .key = args->text[F_SSL_KEYFILE],
        .name = args->given[F_SERVED_MODEL_NAME] ? args->text[F_SERVED_MODEL_NAME] : args->model,
        .root = args->model,
        .keys = args->stop,
        .n_keys = args->n_stop,
        .origins = args->text[F_ALLOWED_ORIGINS],
        .chat_template = template,
        .chat_template_len = template_len,
        .template_kwargs = args->text[F_DEFAULT_TEMPLATE_KWARGS],
        .max_queued = (int)args->integer[F_MAX_NUM_QUEUED_REQS],
        .shutdown_timeout_s = args->real[F_SHUTDOWN_TIMEOUT],
        .adapters = engine.enable_lora || engine.n_lora_modules || engine.max_loras,
        .has_seed = args->given[F_SEED],
        .seed = (uint64_t)args->integer[F_SEED],
        .max_connections = (int)args->integer[F_MAX_CONNECTIONS],
        .body_max = (size_t)args->integer[F_MAX_BODY_SIZE] << 20,
        .http_timeout_s = args->real[F_HTTP_TIMEOUT],
        .policy = policy_of(args->text[F_SCHEDULING_POLICY]),
        .json_log = args->given[F_LOG_JSON],
        .say = say,
        .say_raw = say_raw,
    };
    if (!status && server_run(m, &engine, &options, &err)) status = cli_failed(&err);
    glia_model_free(m);
    free(template);
    return status;
}
