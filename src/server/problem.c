/* problem.c - see problem.h. */
#include "server/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char bad_form[] = "Bad Request";

/* Append at most SERVER_ECHO_MAX * 2 bytes: a message never grows with the request. */
static void add_bounded(server_text *t, const char *fmt, va_list ap) {
    char text[SERVER_ECHO_MAX * 2 + 1];
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if ((size_t)n > len) /* not within a character */
        while (len && ((unsigned char)text[len] & 0xC0) == 0x80) len--;
    server_add(t, text, len);
}

void server_refuse(server_problem *p, int status, const char *type, const char *param, const char *fmt, ...) {
    if (p->status) return;
    va_list ap;
    p->status = status;
    p->type = type;
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    va_start(ap, fmt);
    add_bounded(&p->message, fmt, ap);
    va_end(ap);
}

void server_bad_form(server_problem *p, const char *field, const char *fmt, ...) {
    if (p->status && !p->errors) return;
    if (++p->errors > SERVER_ERRORS_MAX) return;
    const char *dot = *field ? "." : "";
    if (!p->status) snprintf(p->param, sizeof p->param, "body%s%s", dot, field);
    p->status = 400;
    p->type = bad_form;
    server_printf(&p->message, "%sbody%s%.60s: ", p->errors > 1 ? "; " : "", dot, field);
    va_list ap;
    va_start(ap, fmt);
    add_bounded(&p->message, fmt, ap);
    va_end(ap);
}

void server_problem_free(server_problem *p) {
    server_text_free(&p->message);
    *p = (server_problem){0};
}

static void add_message(server_text *out, const server_problem *p) {
    server_text message = {0};
    if (p->errors) server_printf(&message, "%d validation error%s: ", p->errors, p->errors > 1 ? "s" : "");
    server_add(&message, p->message.data, p->message.len);
    server_json(out, message.data, message.len);
    out->oom |= message.oom;
    server_text_free(&message);
}

void server_problem_body(server_text *out, const server_problem *p) {
    server_puts(out, "{\"error\":{\"message\":");
    add_message(out, p);
    server_puts(out, ",\"type\":");
    server_json_puts(out, p->type);
    server_puts(out, ",\"param\":");
    server_json_puts(out, *p->param ? p->param : NULL);
    server_printf(out, ",\"code\":%d}}", p->status);
}

void server_anthropic_body(server_text *out, const server_problem *p) {
    static const struct {
        int status;
        const char *type;
    } types[] = {{401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
                 {413, "request_too_large"},    {429, "rate_limit_error"}, {500, "api_error"},
                 {503, "overloaded_error"},     {529, "overloaded_error"}};
    const char *type = "invalid_request_error";
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == p->status) type = types[i].type;
    server_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    add_message(out, p);
    server_puts(out, "}}");
}

bool server_is_anthropic(const server_exchange *x) {
    static const char path[] = "/v1/messages";
    return strncmp(server_path(x), path, sizeof path - 1) == 0;
}

void server_reply_problem(server_exchange *x, server_problem *p) {
    static const char none[] = "{\"error\":\"no memory\"}";
    server_text body = {0};
    if (server_is_anthropic(x))
        server_anthropic_body(&body, p);
    else
        server_problem_body(&body, p);
    if (p->status == 503) server_set_header(x, "Retry-After", "1");
    if (p->status == 500) server_set_header(x, "X-Should-Retry", "false"); /* the same request fails again */
    server_reply(x, p->status, "application/json", body.oom ? none : body.data,
                 body.oom ? strlen(none) : body.len);
    server_text_free(&body);
    server_problem_free(p);
}
