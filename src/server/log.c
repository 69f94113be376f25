/* log.c - one line of the log for each exchange, as text or as a JSON object. */
#include <stdio.h>
#include <time.h>

#include "server/app.h"

static void add_text(server_text *out, const server_log_entry *e) {
    server_printf(out, "%s %s %d %.3f s", e->method, e->path, e->status, e->seconds);
    if (e->prompt_tokens)
        server_printf(out, "; %zu + %zu tokens, %zu cached", e->prompt_tokens, e->output_tokens, e->cached);
    server_printf(out, "; id %s", e->id);
    if (*e->traceparent) server_printf(out, "; trace %.32s", e->traceparent + 3);
}

/* "2026-11-30T15:04:05.678Z" */
static void add_now(server_text *out) {
    char text[40];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    server_printf(out, "\"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
}

static void add_json(server_text *out, const server_log_entry *e) {
    server_puts(out, "{\"time\":");
    add_now(out);
    server_puts(out, ",\"method\":");
    server_json_puts(out, e->method);
    server_puts(out, ",\"path\":");
    server_json_puts(out, e->path);
    server_printf(out, ",\"status\":%d,\"seconds\":%.6f,\"request_id\":", e->status, e->seconds);
    server_json_puts(out, e->id);
    if (*e->traceparent) server_printf(out, ",\"trace_id\":\"%.32s\"", e->traceparent + 3);
    if (e->prompt_tokens)
        server_printf(out, ",\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"cached_tokens\":%zu",
                      e->prompt_tokens, e->output_tokens, e->cached);
    server_puts(out, "}");
}

void server_log(void *user, const server_log_entry *e) {
    const server_options *o = ((const server_app *)user)->options;
    server_text line = {0};
    if (o->json_log)
        add_json(&line, e);
    else
        add_text(&line, e);
    if (!line.oom) (o->json_log ? o->say_raw : o->say)(line.data);
    server_text_free(&line);
}
