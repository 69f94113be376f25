/* openapi.c - GET /openapi.json: the table of routes and the table of fields, as OpenAPI 3.1.
 *
 * What the tables do not say, the form of lists and objects, is in shapes.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"
#include "server/embedded.h"

/* The shape of a field in the group of a route, else in the common one; NULL: there is none. */
static json_t *shape_of(const json_t *shapes, const char *path, const char *name) {
    static const char anthropic[] = "/v1/messages";
    const bool messages = strncmp(path, anthropic, sizeof anthropic - 1) == 0;
    json_t *shape = json_object_get(json_object_get(shapes, messages ? anthropic : path), name);
    return shape ? shape : json_object_get(json_object_get(shapes, "fields"), name);
}

static void set_number(json_t *schema, const char *key, double x, bool integer) {
    json_object_set_new(schema, key, integer ? json_integer((json_int_t)x) : json_real(x));
}

/* A field that is null is absent. */
static json_t *schema_of(const json_t *shapes, const char *path, const server_field *f) {
    json_t *shape = shape_of(shapes, path, f->name);
    if (f->only) {
        json_t *values = json_copy(f->only);
        json_array_append_new(values, json_null());
        return json_pack("{s:o}", "enum", values);
    }
    if (shape && f->required) return json_incref(shape);
    if (shape) return json_pack("{s:[O, {s:s}]}", "anyOf", shape, "type", "null");
    if (!f->type) return json_object();
    json_t *schema =
        f->required ? json_pack("{s:s}", "type", f->type) : json_pack("{s:[s, s]}", "type", f->type, "null");
    const bool integer = strcmp(f->type, "integer") == 0;
    if (f->has_range) set_number(schema, f->more_than_min ? "exclusiveMinimum" : "minimum", f->min, integer);
    if (f->has_range) set_number(schema, "maximum", f->max, integer);
    return schema;
}

static json_t *body_of(const json_t *shapes, const server_route *r) {
    json_t *properties = json_object(), *required = json_array();
    server_field f;
    for (size_t i = 0; server_field_at(i, r->kind, &f); i++) {
        json_object_set_new(properties, f.name, schema_of(shapes, r->path, &f));
        if (f.required) json_array_append_new(required, json_string(f.name));
        json_decref(f.only);
    }
    json_t *schema = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    if (json_array_size(required)) json_object_set(schema, "required", required);
    json_decref(required);
    return json_pack("{s:b, s:{s:{s:o}}}", "required", 1, "content", "application/json", "schema", schema);
}

static json_t *error_of(const char *path, const char *what) {
    const bool anthropic = strncmp(path, "/v1/messages", 12) == 0;
    return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", what, "content", "application/json", "schema",
                     "$ref",
                     anthropic ? "#/components/schemas/AnthropicError" : "#/components/schemas/Error");
}

static json_t *answers_of(const json_t *shapes, const server_route *r) {
    static const struct {
        const char *status, *what;
        bool post; /* of POST alone; 404 also of a path with a parameter */
    } errors[] = {{"400", "the form or a value of the body is wrong", true},
                  {"401", "a key is needed", false},
                  {"404", "the model, or what the route needs, is not there", true},
                  {"413", "the body is too long", true},
                  {"500", "the engine could not compute this request", true},
                  {"503", "the queue is full, or the server is ending", false}};
    const bool parameter = strchr(r->path, '{') != NULL;
    json_t *schema = json_object_get(json_object_get(shapes, "answers"), r->path), *content = json_object();
    json_t *all = json_object();
    if (schema) json_object_set_new(content, "application/json", json_pack("{s:O}", "schema", schema));
    if (r->media) json_object_set_new(content, r->media, json_object());
    if (r->kind & SERVER_STREAMS)
        json_object_set_new(content, "text/event-stream", json_pack("{s:{s:s}}", "schema", "type", "string"));
    json_t *good = json_pack("{s:s}", "description", "OK");
    if (json_object_size(content)) json_object_set(good, "content", content);
    json_object_set_new(all, "200", good);
    json_decref(content);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!errors[i].post || r->kind || (parameter && strcmp(errors[i].status, "404") == 0))
            json_object_set_new(all, errors[i].status, error_of(r->path, errors[i].what));
    if (!r->kind && !schema)
        json_object_del(json_object_get(all, "503"), "content"); /* /health has no body */
    return all;
}

/* The parameter in braces at the end of a path; NULL: none. */
static json_t *parameters_of(const char *path) {
    const char *brace = strchr(path, '{');
    if (!brace) return NULL;
    return json_pack("[{s:s%, s:s, s:b, s:{s:s}}]", "name", brace + 1, strlen(brace) - 2, "in", "path",
                     "required", 1, "schema", "type", "string");
}

static json_t *paths_of(const json_t *shapes) {
    json_t *paths = json_object();
    server_route r;
    for (size_t i = 0; server_route_at(i, &r); i++) {
        json_t *operation =
            json_pack("{s:o, s:o*, s:o*}", "responses", answers_of(shapes, &r), "requestBody",
                      r.kind ? body_of(shapes, &r) : NULL, "parameters", parameters_of(r.path));
        if (r.open) json_object_set_new(operation, "security", json_array());
        json_object_set_new(paths, r.path, json_pack("{s:o}", r.kind ? "post" : "get", operation));
    }
    return paths;
}

void server_get_openapi(server_app *app, server_exchange *x) {
    json_t *shapes = json_loadb(server_shapes, server_shapes_len(), 0, NULL);
    json_t *root = json_pack("{s:s, s:{s:s, s:s}, s:[{s:[]}, {}], s:O*, s:o}", "openapi", "3.1.0", "info",
                             "title", "Glia", "version", glia_version(), "security", "key", "components",
                             json_object_get(shapes, "components"), "paths", paths_of(shapes));
    char *text = json_dumps(root, JSON_COMPACT);
    server_problem problem = {0};
    (void)app;
    if (text) server_reply(x, 200, "application/json", text, strlen(text));
    if (!text) server_refuse(&problem, 503, "ServiceUnavailableError", NULL, "no memory for the answer");
    if (!text) server_reply_problem(x, &problem);
    free(text);
    json_decref(root);
    json_decref(shapes);
}
