/* problem.h - why a request is refused, and the error body that says so.
 *
 * The body is vLLM's and OpenAI's: {"error": {"message", "type", "param", "code"}}, where code is the HTTP
 * status. A request whose form is wrong has the type "Bad Request" and the param "body.FIELD"; a request
 * whose values are wrong has "BadRequestError" and the field's name. */
#ifndef GLIA_SERVER_PROBLEM_H
#define GLIA_SERVER_PROBLEM_H

#include "server/http.h"
#include "server/text.h"

enum { SERVER_ERRORS_MAX = 10, SERVER_ECHO_MAX = 200 };

/* Zeroed: no problem. */
typedef struct {
    int status; /* of HTTP; 0: no problem */
    const char *type;
    char param[80]; /* empty: null */
    int errors;     /* errors of form; the message has the first SERVER_ERRORS_MAX */
    server_text message;
} server_problem;

/* Record the problem unless there is one already. `param` NULL: null. */
__attribute__((format(printf, 5, 6))) void server_refuse(server_problem *p, int status, const char *type,
                                                         const char *param, const char *fmt, ...);
/* A value that is wrong: status 400, BadRequestError. */
#define server_bad_value(p, param, ...) server_refuse(p, 400, "BadRequestError", param, __VA_ARGS__)
/* Record one more error of form: "body.FIELD: what". `field` empty: the body itself. */
__attribute__((format(printf, 3, 4))) void server_bad_form(server_problem *p, const char *field,
                                                           const char *fmt, ...);
void server_problem_free(server_problem *p);

/* Append the error body. */
void server_problem_body(server_text *out, const server_problem *p);
/* Append Anthropic's error body: {"type": "error", "error": {"type", "message"}}. */
void server_anthropic_body(server_text *out, const server_problem *p);
/* Does the exchange speak Anthropic's interface? */
bool server_is_anthropic(const server_exchange *x);
/* Reply with the error body of the exchange's interface and free *p. */
void server_reply_problem(server_exchange *x, server_problem *p);

#endif
