/* routes.c - the table of routes, the checks that come before each, and the small answers. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"

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

static void get_metrics(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_metrics_write(&body, &app->metrics, app->options->name);
    if (!body.oom) server_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
    if (body.oom) reply_json(x, &body);
    server_text_free(&body);
}

static void get_models(server_app *app, server_exchange *x) {
    server_text body = {0};
    server_puts(&body, "{\"object\":\"list\",\"data\":[{\"id\":");
    server_json_puts(&body, app->options->name);
    server_printf(&body, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"glia\",\"root\":",
                  (long long)app->started);
    server_json_puts(&body, app->options->root);
    server_printf(&body, ",\"parent\":null,\"max_model_len\":%d,\"permission\":[]}", app->sequence_length);
    server_list_adapters(&body, app);
    server_puts(&body, "]}");
    reply_json(x, &body);
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

static void tokenize(server_app *app, server_exchange *x, const server_params *p, unsigned kind,
                     server_problem *problem) {
    server_prompt prompt = {0};
    const json_t *text = p->at[P_PROMPT];
    const bool special = !p->at[P_ADD_SPECIAL_TOKENS] || p->integer[P_ADD_SPECIAL_TOKENS];
    (void)kind;
    if (p->at[P_MESSAGES])
        server_chat_prompt(&prompt, app, p, problem);
    else if (!json_is_string(text))
        server_bad_form(problem, "prompt", text ? "Input should be a valid string" : "Field required");
    else
        server_tokenize(&prompt, app, json_string_value(text), json_string_length(text), special, problem);
    if (!problem->status) {
        server_text body = {0};
        server_printf(&body, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", prompt.n,
                      app->sequence_length);
        add_ids(&body, prompt.ids, prompt.n);
        server_puts(&body, "],\"token_strs\":");
        server_puts(&body, p->integer[P_RETURN_TOKEN_STRS] ? "[" : "null");
        if (p->integer[P_RETURN_TOKEN_STRS]) add_token_texts(&body, app, &prompt);
        server_puts(&body, p->integer[P_RETURN_TOKEN_STRS] ? "]}" : "}");
        reply_json(x, &body);
    }
    free(prompt.ids);
}

static void detokenize(server_app *app, server_exchange *x, const server_params *p, unsigned kind,
                       server_problem *problem) {
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
    if (!problem->status) {
        server_text body = {0};
        server_puts(&body, "{\"prompt\":");
        server_json(&body, text, len);
        server_puts(&body, "}");
        reply_json(x, &body);
    }
    glia_free(text);
    free(ids);
}

/* ---- the table ------------------------------------------------------------------------- */

static const struct route {
    const char *path;
    void (*get)(server_app *app, server_exchange *x);
    /* Reply now or later, or fill *problem. */
    void (*post)(server_app *app, server_exchange *x, const server_params *params, unsigned kind,
                 server_problem *problem);
    unsigned kind;
    bool open; /* needs no key */
} routes[] = {
    {"/health", get_health, NULL, 0, true},
    {"/ping", get_health, NULL, 0, true},
    {"/version", get_version, NULL, 0, true},
    {"/load", get_load, NULL, 0, true},
    {"/metrics", get_metrics, NULL, 0, false},
    {"/v1/models", get_models, NULL, 0, false},
    {"/v1/chat/completions", NULL, server_answer_request, FOR_CHAT, false},
    {"/v1/completions", NULL, server_answer_request, FOR_COMPLETION, false},
    {"/v1/embeddings", NULL, server_pool_request, FOR_EMBED, false},
    {"/rerank", NULL, server_pool_request, FOR_RERANK, false},
    {"/v1/rerank", NULL, server_pool_request, FOR_RERANK, false},
    {"/v2/rerank", NULL, server_pool_request, FOR_RERANK, false},
    {"/score", NULL, server_pool_request, FOR_SCORE, false},
    {"/v1/score", NULL, server_pool_request, FOR_SCORE, false},
    {"/v1/load_lora_adapter", NULL, server_lora_request, FOR_LORA_LOAD, false},
    {"/v1/unload_lora_adapter", NULL, server_lora_request, FOR_LORA_UNLOAD, false},
    {"/tokenize", NULL, tokenize, FOR_TOKENIZE, false},
    {"/detokenize", NULL, detokenize, FOR_DETOKENIZE, false},
};

/* A slash at the end makes no difference. */
static const struct route *find_route(const char *path) {
    size_t n = strlen(path);
    if (n > 1 && path[n - 1] == '/') n--;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strlen(routes[i].path) == n && memcmp(routes[i].path, path, n) == 0) return &routes[i];
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
    for (size_t i = 0; bearer && i < app->options->n_keys; i++)
        found |= equal(app->options->keys[i], given + strlen(scheme));
    return found;
}

/* A browser asks whether a page of another origin may send a request. */
static bool is_preflight(const server_exchange *x) {
    return strcmp(server_method(x), "OPTIONS") == 0 && server_header(x, "Origin") &&
           server_header(x, "Access-Control-Request-Method");
}

static void reply_preflight(server_exchange *x) {
    const char *wanted = server_header(x, "Access-Control-Request-Headers");
    server_set_header(x, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    server_set_header(x, "Access-Control-Allow-Headers", wanted ? wanted : "*");
    server_set_header(x, "Access-Control-Max-Age", "600");
    server_reply(x, 200, NULL, "", 0);
}

/* ---- bodies ---------------------------------------------------------------------------- */

/* Parse the body as an object; NULL after a problem. */
static json_t *read_body(server_exchange *x, server_problem *problem) {
    size_t len;
    json_error_t why;
    const char *type = server_header(x, "Content-Type"), *bytes = server_body(x, &len);
    if (type && strncasecmp(type, media_json, strlen(media_json)) != 0)
        return server_bad_form(problem, "",
                               "Unsupported media type '%.60s'; only 'application/json' is allowed", type),
               NULL;
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
    server_refuse(problem, 404, "NotFoundError", "model", "The model `%.*s` does not exist.", SERVER_ECHO_MAX,
                  name);
}

static void handle_post(server_app *app, server_exchange *x, const struct route *route) {
    server_problem problem = {0};
    server_params params;
    server_text unknown = {0};
    json_t *body = NULL;
    if (app->signals || atomic_load(&app->dead))
        server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "the server is shutting down");
    else
        body = read_body(x, &problem);
    if (body) server_params_read(&params, body, route->kind, &problem, &unknown);
    if (!problem.status) check_model(app, &params, &problem);
    if (unknown.len && !problem.status) {
        server_text line = {0};
        server_printf(&line, "%s: unknown fields are ignored: %s", route->path, unknown.data);
        if (!line.oom) app->options->say(line.data);
        server_text_free(&line);
    }
    if (!problem.status) route->post(app, x, &params, route->kind, &problem);
    if (problem.status) server_reply_problem(x, &problem);
    json_decref(body);
    server_text_free(&unknown);
}

void server_handle(server_app *app, server_exchange *x) {
    static const char denied[] = "{\"error\":\"Unauthorized\"}";
    server_problem problem = {0};
    const struct route *route = find_route(server_path(x));
    const char *method = server_method(x);
    if (server_header(x, "Origin")) server_set_header(x, "Access-Control-Allow-Origin", "*");
    if (is_preflight(x)) return reply_preflight(x);
    if (!(route && route->open) && !may_enter(app, x))
        return server_reply(x, 401, media_json, denied, strlen(denied));
    const bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (!route)
        server_refuse(&problem, 404, "Not Found", NULL, "Not Found");
    else if (route->get ? !reads : strcmp(method, "POST") != 0)
        server_refuse(&problem, 405, "Method Not Allowed", NULL, "Method Not Allowed");
    if (problem.status) return server_reply_problem(x, &problem);
    if (route->get)
        route->get(app, x);
    else
        handle_post(app, x, route);
}
