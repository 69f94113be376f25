/* routes.c - the table of routes, the checks that come before each, and the small answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"
#include "server/embedded.h"

static const char media_json[] = "application/json";

/* Reply with *body and free it. */
static void reply_json(server_exchange *x, server_text *body) {
    server_problem problem = {0};
    if (body->oom) {
        server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "no memory for the answer");
        server_reply_problem(x, &problem);
    } else {
        server_reply(x, 200, media_json, body->data, body->len);
    }
    server_text_free(body);
}

/* ---- GET ------------------------------------------------------------------------------ */

static void get_health(server_app *app, server_exchange *x) {
    server_reply(x, atomic_load(&app->dead) ? 503 : 200, NULL, "", 0);
}

static void get_version(server_app *app, server_exchange *x) {
    server_text body = {0};
    (void)app;
    server_printf(&body, "{\"version\":\"%s\"}", glia_version());
    reply_json(x, &body);
}

static void get_load(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_printf(&body, "{\"server_load\":%zu}", app->n_sequences);
    reply_json(x, &body);
}

/* The chat page: nothing of it comes from elsewhere. */
static void get_page(server_app *app, server_exchange *x) {
    (void)app;
    server_set_header(x, "Content-Security-Policy",
                      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                      "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'");
    server_set_header(x, "X-Content-Type-Options", "nosniff");
    server_reply(x, 200, "text/html; charset=utf-8", server_page, server_page_len());
}

static void get_metrics(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_metrics_write(&body, &app->metrics, &app->steps, app->options->name);
    if (!body.oom) server_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
    if (body.oom) reply_json(x, &body);
    server_text_free(&body);
}

static void get_models(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_puts(&body, "{\"object\":\"list\",\"data\":[");
    server_list_models(&body, app, NULL);
    server_puts(&body, "]}");
    reply_json(x, &body);
}

static void no_model(server_problem *problem, const char *name) {
    server_refuse(problem, 404, "NotFoundError", "model", "The model `%.*s` does not exist.", SERVER_ECHO_MAX,
                  name);
}

/* GET /v1/models/ID. An id may contain slashes. */
static void get_model(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_problem problem = {0};
    char *id = server_decode(server_path(x) + strlen("/v1/models/"));
    if (id) server_list_models(&body, app, id);
    if (id && (body.len || body.oom)) {
        reply_json(x, &body);
    } else {
        no_model(&problem, id ? id : "");
        server_reply_problem(x, &problem);
    }
    free(id);
}

/* ---- POST ----------------------------------------------------------------------------- */

static void add_ids(server_text *out, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) server_printf(out, "%s%d", i ? "," : "", ids[i]);
}

static void add_token_texts(server_text *out, const server_app *app, const server_prompt *prompt) {
    for (size_t i = 0; i < prompt->n; i++) {
        char *text = NULL;
        size_t len = 0;
        if (glia_detokenize(app->model, &prompt->ids[i], 1, false, &text, &len, NULL)) out->oom = true;
        if (i) server_puts(out, ",");
        server_json(out, text ? text : "", len);
        glia_free(text);
    }
}

/* An answer that a worker writes as a whole: what prepare() returns. */
static server_text *new_text(server_problem *problem) {
    server_text *body = calloc(1, sizeof *body);
    if (!body) server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory for the answer");
    return body;
}

static void drop_text(void *prepared) {
    server_text_free(prepared);
    free(prepared);
}

static void reply_text(server_app *app, server_exchange *x, void *prepared, server_problem *problem) {
    (void)app;
    (void)problem;
    reply_json(x, prepared);
    free(prepared);
}

static void *tokenize(const server_app *app, const server_params *p, unsigned kind, server_problem *problem) {
    server_prompt prompt = {0};
    server_text *body = NULL;
    const json_t *text = p->at[P_PROMPT];
    const bool special = !p->at[P_ADD_SPECIAL_TOKENS] || p->integer[P_ADD_SPECIAL_TOKENS];
    (void)kind;
    if (p->at[P_MESSAGES])
        server_chat_prompt(&prompt, app, p, problem);
    else if (!json_is_string(text))
        server_bad_form(problem, "prompt", text ? "Input should be a valid string" : "Field required");
    else
        server_tokenize(&prompt, app, json_string_value(text), json_string_length(text), special, problem);
    if (!problem->status) body = new_text(problem);
    if (body) {
        server_printf(body, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", prompt.n,
                      app->sequence_length);
        add_ids(body, prompt.ids, prompt.n);
        server_puts(body, "],\"token_strs\":");
        server_puts(body, p->integer[P_RETURN_TOKEN_STRS] ? "[" : "null");
        if (p->integer[P_RETURN_TOKEN_STRS]) add_token_texts(body, app, &prompt);
        server_puts(body, p->integer[P_RETURN_TOKEN_STRS] ? "]}" : "}");
    }
    free(prompt.ids);
    return body;
}

static void *count_tokens(const server_app *app, const server_params *p, unsigned kind,
                          server_problem *problem) {
    server_prompt prompt = {0};
    server_text *body = NULL;
    (void)kind;
    server_chat_prompt(&prompt, app, p, problem);
    if (!problem->status) body = new_text(problem);
    if (body) server_printf(body, "{\"input_tokens\":%zu}", prompt.n);
    free(prompt.ids);
    return body;
}

static void *detokenize(const server_app *app, const server_params *p, unsigned kind,
                        server_problem *problem) {
    server_text *body = NULL;
    const size_t n = json_array_size(p->at[P_TOKENS]);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    char *text = NULL;
    size_t len = 0;
    glia_err err = {0};
    (void)kind;
    if (!ids) server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory");
    for (size_t i = 0; ids && i < n; i++) {
        json_int_t id;
        if (!server_whole(json_array_get(p->at[P_TOKENS], i), &id))
            server_bad_form(problem, "tokens", "Input should be a valid integer");
        else if (id < 0 || id > INT32_MAX)
            server_bad_form(problem, "tokens", "Input should be a token id, not %lld", (long long)id);
        ids[i] = (int32_t)id;
    }
    if (!problem->status && glia_detokenize(app->model, ids, n, false, &text, &len, &err))
        server_library_problem(problem, &err);
    if (!problem->status) body = new_text(problem);
    if (body) {
        server_puts(body, "{\"prompt\":");
        server_json(body, text, len);
        server_puts(body, "}");
    }
    glia_free(text);
    free(ids);
    return body;
}

static const server_post post_tokenize = {tokenize, reply_text, drop_text},
                         post_count = {count_tokens, reply_text, drop_text},
                         post_detokenize = {detokenize, reply_text, drop_text};

/* ---- the table ------------------------------------------------------------------------- */

static const struct route {
    const char *path;
    void (*get)(server_app *app, server_exchange *x);
    const server_post *post;
    unsigned kind;
    bool open;                     /* needs no key */
    server_translation *translate; /* NULL: `post` takes the body as it came */
    const char *media;             /* of a reply that is not JSON; NULL: JSON, or nothing */
} routes[] = {
    {"/", get_page, NULL, 0, true, NULL, "text/html"},
    {"/openapi.json", server_get_openapi, NULL, 0, true, NULL, NULL},
    {"/health", get_health, NULL, 0, true, NULL, NULL},
    {"/ping", get_health, NULL, 0, true, NULL, NULL},
    {"/version", get_version, NULL, 0, true, NULL, NULL},
    {"/load", get_load, NULL, 0, true, NULL, NULL},
    {"/metrics", get_metrics, NULL, 0, false, NULL, "text/plain"},
    {"/v1/models", get_models, NULL, 0, false, NULL, NULL},
    {"/v1/models/{model}", get_model, NULL, 0, false, NULL, NULL},
    {"/v1/chat/completions", NULL, &server_post_answer, FOR_CHAT, false, NULL, NULL},
    {"/v1/completions", NULL, &server_post_answer, FOR_COMPLETION, false, NULL, NULL},
    {"/v1/responses", NULL, &server_post_answer, FOR_RESPONSES, false, server_responses_chat, NULL},
    {"/v1/messages", NULL, &server_post_answer, FOR_MESSAGES, false, server_messages_chat, NULL},
    {"/v1/messages/count_tokens", NULL, &post_count, FOR_COUNT, false, server_messages_chat, NULL},
    {"/v1/embeddings", NULL, &server_post_pool, FOR_EMBED, false, NULL, NULL},
    {"/rerank", NULL, &server_post_pool, FOR_RERANK, false, NULL, NULL},
    {"/v1/rerank", NULL, &server_post_pool, FOR_RERANK, false, NULL, NULL},
    {"/v2/rerank", NULL, &server_post_pool, FOR_RERANK, false, NULL, NULL},
    {"/score", NULL, &server_post_pool, FOR_SCORE, false, NULL, NULL},
    {"/v1/score", NULL, &server_post_pool, FOR_SCORE, false, NULL, NULL},
    {"/v1/load_lora_adapter", NULL, &server_post_lora, FOR_LORA_LOAD, false, NULL, "text/plain"},
    {"/v1/unload_lora_adapter", NULL, &server_post_lora, FOR_LORA_UNLOAD, false, NULL, "text/plain"},
    {"/tokenize", NULL, &post_tokenize, FOR_TOKENIZE, false, NULL, NULL},
    {"/detokenize", NULL, &post_detokenize, FOR_DETOKENIZE, false, NULL, NULL},
};

bool server_route_at(size_t i, server_route *out) {
    if (i >= sizeof routes / sizeof *routes) return false;
    *out = (server_route){routes[i].path, routes[i].kind, routes[i].open, routes[i].media};
    return true;
}

/* A slash at the end makes no difference. A parameter in braces takes the rest of the path. */
static const struct route *find_route(const char *path) {
    size_t n = strlen(path);
    if (n > 1 && path[n - 1] == '/') n--;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const size_t before = strcspn(routes[i].path, "{");
        const bool open = routes[i].path[before] != '\0';
        if ((open ? before < n : before == n) && memcmp(routes[i].path, path, before) == 0) return &routes[i];
    }
    return NULL;
}

/* In time that depends on the length of `given` alone. */
static bool equal(const char *key, const char *given) {
    const size_t n = strlen(key), m = strlen(given);
    unsigned char differs = n != m;
    for (size_t i = 0; i < m; i++) differs |= (unsigned char)(given[i] ^ key[n ? i % n : 0]);
    return !differs;
}

static bool may_enter(const server_app *app, const server_exchange *x) {
    static const char scheme[] = "bearer ";
    const char *given = server_header(x, "Authorization");
    bool found = app->options->n_keys == 0;
    const bool bearer = given && strncasecmp(given, scheme, strlen(scheme)) == 0;
    const char *key = bearer ? given + strlen(scheme) : server_header(x, "X-Api-Key"); /* Anthropic's */
    for (size_t i = 0; key && i < app->options->n_keys; i++) found |= equal(app->options->keys[i], key);
    return found;
}

/* A browser asks whether a page of another origin may send a request. */
static bool is_preflight(const server_exchange *x) {
    return strcmp(server_method(x), "OPTIONS") == 0 && server_header(x, "Origin") &&
           server_header(x, "Access-Control-Request-Method");
}

/* Let pages of an allowed origin read the reply. */
static void allow_origin(const server_app *app, server_exchange *x) {
    const char *origin = server_header(x, "Origin"), *list = app->options->origins;
    const bool all = strcmp(list, "*") == 0;
    if (!origin) return;
    if (!all) server_set_header(x, "Vary", "Origin");
    for (size_t n; *list && !all; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        if (n == strlen(origin) && memcmp(list, origin, n) == 0)
            return server_set_header(x, "Access-Control-Allow-Origin", origin);
    }
    if (all) server_set_header(x, "Access-Control-Allow-Origin", "*");
}

static void reply_preflight(server_exchange *x) {
    const char *wanted = server_header(x, "Access-Control-Request-Headers");
    server_set_header(x, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    server_set_header(x, "Access-Control-Allow-Headers", wanted ? wanted : "*");
    server_set_header(x, "Access-Control-Max-Age", "600");
    server_reply(x, 200, NULL, "", 0);
}

/* ---- bodies ---------------------------------------------------------------------------- */

/* A POST request between its arrival and its beginning. A worker reads and prepares it. */
typedef struct {
    server_task task; /* first */
    server_app *app;
    server_exchange *x; /* the network thread's; NULL: the client has left */
    atomic_bool gone;   /* the same for the worker */
    const struct route *route;
    char id[SERVER_ID_MAX + 1];
    char *bytes; /* [len] of the body */
    size_t len;
    server_params params; /* with the parsed body */
    json_t *chat;         /* of params if the route translates; NULL: it does not */
    server_problem problem;
    server_text unknown; /* fields, for the log */
    void *prepared;
} job;

/* Parse the body as an object; NULL after a problem. */
static json_t *read_body(const char *bytes, size_t len, server_problem *problem) {
    json_error_t why;
    json_t *body = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!body &&
        json_error_code(&why) == json_error_numeric_overflow) /* the field's check refuses the number */
        body = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    if (!body)
        server_bad_form(problem, "", "JSON decode error: %s, byte %d", why.text, why.position);
    else if (!json_is_object(body))
        server_bad_form(problem, "", "Input should be a valid dictionary");
    if (!problem->status) return body;
    json_decref(body);
    return NULL;
}

static void check_model(const server_app *app, const server_params *p, server_problem *problem) {
    const char *name = json_string_value(p->at[P_MODEL]);
    if (!name || strcmp(name, app->options->name) == 0 || server_has_adapter(app, name)) return;
    no_model(problem, name);
}

/* Replace the params by those of a chat that asks for the same. */
static void translate(job *j) {
    server_text unknown = {0};
    json_t *asked = j->params.asked;
    j->chat = j->route->translate(&j->params, &j->problem);
    if (!j->chat)
        server_refuse(&j->problem, 503, "ServiceUnavailableError", NULL, "no memory for the request");
    if (!j->problem.status) server_params_read(&j->params, j->chat, FOR_CHAT, &j->problem, &unknown);
    j->params.asked = asked;
    server_text_free(&unknown);
}

static void run_job(server_task *task) {
    job *j = (job *)task;
    if (atomic_load(&j->gone)) return;
    json_t *body = read_body(j->bytes, j->len, &j->problem);
    if (body) server_params_read(&j->params, body, j->route->kind, &j->problem, &j->unknown);
    if (!j->problem.status && j->route->translate) translate(j);
    j->params.request_id = j->id;
    if (!j->problem.status) check_model(j->app, &j->params, &j->problem);
    if (!j->problem.status && !atomic_load(&j->gone))
        j->prepared = j->route->post->prepare(j->app, &j->params, j->route->kind, &j->problem);
}

static void drop_job(server_task *task) {
    job *j = (job *)task;
    if (j->x) server_when_gone(j->x, NULL, NULL);
    if (j->prepared) j->route->post->drop(j->prepared);
    j->app->n_jobs--;
    json_decref(j->params.asked);
    json_decref(j->chat);
    server_problem_free(&j->problem);
    server_text_free(&j->unknown);
    free(j->bytes);
    free(j);
}

static void finish_job(server_task *task) {
    job *j = (job *)task;
    if (j->unknown.len && !j->problem.status) {
        server_text line = {0};
        server_printf(&line, "%s: unknown fields are ignored: %s", j->route->path, j->unknown.data);
        if (!line.oom) j->app->options->say(line.data);
        server_text_free(&line);
    }
    if (j->x && j->app->cut) server_shutting_down(&j->problem);
    if (j->x && !j->problem.status) {
        void *prepared = j->prepared;
        j->prepared = NULL;
        server_when_gone(j->x, NULL, NULL);
        j->route->post->begin(j->app, j->x, prepared, &j->problem);
    }
    if (j->x && j->problem.status) server_reply_problem(j->x, &j->problem);
    j->x = NULL; /* it has ended, or is the answer's */
    drop_job(task);
}

static void job_gone(void *user) {
    job *j = user;
    j->x = NULL;
    atomic_store(&j->gone, true);
}

void server_shutting_down(server_problem *problem) {
    server_refuse(problem, 503, "ServiceUnavailableError", NULL, "the server is shutting down");
}

/* Refuse what needs no look at the body. */
static void check_post(const server_app *app, const server_exchange *x, server_problem *problem) {
    const char *type = server_header(x, "Content-Type");
    if (app->signals || atomic_load(&app->dead)) server_shutting_down(problem);
    if (type && strncasecmp(type, media_json, strlen(media_json)) != 0)
        server_bad_form(problem, "", "Unsupported media type '%.60s'; only 'application/json' is allowed",
                        type);
    server_check_queue(app, app->n_sequences + app->n_jobs, 1, problem);
}

void server_check_queue(const server_app *app, size_t queued, size_t more, server_problem *problem) {
    const size_t most = (size_t)app->options->max_queued;
    if (more > most || queued + more > most)
        server_refuse(problem, 503, "ServiceUnavailableError", NULL,
                      "the queue of %zu sequences is full: %zu wait or run, the request has %zu more", most,
                      queued, more);
}

uint64_t server_client(const server_app *app, const server_exchange *x) {
    if (app->options->policy != SERVER_FAIR) return 0;
    const char *key = server_header(x, "Authorization");
    const char *name = !app->options->n_keys ? server_peer(x) : key ? key : server_header(x, "X-Api-Key");
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; name && *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

static void handle_post(server_app *app, server_exchange *x, const struct route *route) {
    server_problem problem = {0};
    size_t len;
    check_post(app, x, &problem);
    const char *bytes = server_body(x, &len);
    job *j = problem.status ? NULL : calloc(1, sizeof *j);
    char *copy = j ? malloc(len + 1) : NULL;
    if (!copy) {
        free(j);
        server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "no memory for the request");
        return server_reply_problem(x, &problem);
    }
    memcpy(copy, bytes, len);
    *j = (job){.task = {.run = run_job, .done = finish_job, .drop = drop_job},
               .app = app,
               .x = x,
               .route = route,
               .bytes = copy,
               .len = len};
    snprintf(j->id, sizeof j->id, "%s", server_request_id(x));
    app->n_jobs++;
    server_when_gone(x, job_gone, j);
    server_work_put(&app->work, &j->task);
}

void server_handle(server_app *app, server_exchange *x) {
    static const char denied[] = "{\"error\":\"Unauthorized\"}";
    server_problem problem = {0};
    const struct route *route = find_route(server_path(x));
    const char *method = server_method(x);
    allow_origin(app, x);
    if (server_is_anthropic(x)) server_set_header(x, "Request-Id", server_request_id(x)); /* for its SDK */
    if (is_preflight(x)) return reply_preflight(x);
    const bool enters = (route && route->open) || may_enter(app, x);
    if (!enters && !server_is_anthropic(x)) return server_reply(x, 401, media_json, denied, strlen(denied));
    if (!enters) server_refuse(&problem, 401, "Unauthorized", NULL, "the key is missing or wrong");
    const bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (!problem.status && !route)
        server_refuse(&problem, 404, "Not Found", NULL, "Not Found");
    else if (route && (route->get ? !reads : strcmp(method, "POST") != 0))
        server_refuse(&problem, 405, "Method Not Allowed", NULL, "Method Not Allowed");
    if (problem.status) return server_reply_problem(x, &problem);
    if (route->get)
        route->get(app, x);
    else
        handle_post(app, x, route);
}
