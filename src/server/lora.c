/* lora.c - LoRA adapters as models of their own: loaded, unloaded, listed, found by a request's "model". */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

static const char wrong_input[] = "InvalidUserInput";

/* The adapters that are loaded: a JSON array, NULL without memory. */
static json_t *adapters_of(const server_app *app) {
    char *text = NULL;
    json_t *list = NULL;
    if (glia_engine_list_adapters(app->engine, &text, NULL) == GLIA_OK) list = json_loads(text, 0, NULL);
    glia_free(text);
    return list;
}

bool server_has_adapter(const server_app *app, const char *name) {
    json_t *list = app->options->adapters ? adapters_of(app) : NULL;
    bool found = false;
    for (size_t i = 0; i < json_array_size(list); i++)
        found |= strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0;
    json_decref(list);
    return found;
}

static size_t length_of(const char *id) {
    const size_t n = strlen(id);
    return n > 1 && id[n - 1] == '/' ? n - 1 : n;
}

static bool is_same(const char *a, const char *b) {
    return length_of(a) == length_of(b) && memcmp(a, b, length_of(a)) == 0;
}

/* parent: NULL for the base model. */
static void add_model(server_text *out, const server_app *app, const char *id, const char *root,
                      const char *parent) {
    if (out->len && out->data[out->len - 1] == '}') server_puts(out, ",");
    server_puts(out, "{\"id\":");
    server_json_puts(out, id);
    server_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"glia\",\"root\":",
                  (long long)app->started);
    server_json_puts(out, root);
    server_puts(out, ",\"parent\":");
    server_json_puts(out, parent);
    server_printf(out, ",\"max_model_len\":%d,\"permission\":[]}", app->sequence_length);
}

void server_list_models(server_text *out, const server_app *app, const char *id) {
    const char *base = app->options->name;
    json_t *list = app->options->adapters ? adapters_of(app) : NULL;
    if (!id || is_same(id, base)) add_model(out, app, base, app->options->root, NULL);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!id || is_same(id, name))
            add_model(out, app, name, json_string_value(json_object_get(one, "path")), base);
    }
    json_decref(list);
}

/* What the client is told. */
static void *success(const char *name, const char *what, server_problem *problem) {
    server_text *text = calloc(1, sizeof *text);
    if (text) server_printf(text, "Success: LoRA adapter '%s' %s successfully.", name, what);
    if (text && !text->oom) return text;
    free(text);
    server_refuse(problem, 503, "ServiceUnavailableError", NULL, "no memory for the answer");
    return NULL;
}

static void *load(const server_app *app, const char *name, const char *path, bool replace,
                  server_problem *problem) {
    glia_err err = {0};
    if (!*path)
        return server_refuse(problem, 400, wrong_input, NULL,
                             "Both 'lora_name' and 'lora_path' must be provided."),
               NULL;
    if (strcmp(name, app->options->name) == 0 || (!replace && server_has_adapter(app, name)))
        return server_refuse(problem, 400, wrong_input, NULL,
                             "The lora adapter '%s' has already been loaded. Set load_inplace to replace it.",
                             name),
               NULL;
    const glia_status status = glia_engine_load_adapter(app->engine, name, path, replace, &err);
    if (!status) return success(name, "added", problem);
    if (status == GLIA_ERR_NOMEM) return server_library_problem(problem, &err), NULL;
    server_refuse(problem, status == GLIA_ERR_IO ? 404 : 400,
                  status == GLIA_ERR_IO ? "NotFoundError" : wrong_input, NULL, "%s", err.msg);
    return NULL;
}

/* Reads an adapter from files, so it takes a worker its time. */
static void *prepare(const server_app *app, const server_params *p, unsigned kind, server_problem *problem) {
    const char *name = json_string_value(p->at[P_LORA_NAME]), *path = json_string_value(p->at[P_LORA_PATH]);
    if (!app->options->adapters) return server_refuse(problem, 404, "Not Found", NULL, "Not Found"), NULL;
    if (!name || !*name)
        return server_refuse(problem, 400, wrong_input, NULL, "'lora_name' needs to be provided."), NULL;
    if (kind == FOR_LORA_LOAD)
        return load(app, name, path ? path : "", p->integer[P_LOAD_INPLACE] != 0, problem);
    if (glia_engine_drop_adapter(app->engine, name, NULL))
        return server_refuse(problem, 404, "NotFoundError", NULL, "The lora adapter '%s' cannot be found.",
                             name),
               NULL;
    return success(name, "removed", problem);
}

static void drop(void *prepared) {
    server_text_free(prepared);
    free(prepared);
}

static void begin(server_app *app, server_exchange *x, void *prepared, server_problem *problem) {
    const server_text *text = prepared;
    (void)app;
    (void)problem;
    server_reply(x, 200, "text/plain; charset=utf-8", text->data, text->len);
    drop(prepared);
}

const server_post server_post_lora = {prepare, begin, drop};
