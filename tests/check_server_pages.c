/* check_server_pages.c - `glia serve`: the description of the interface is true, the chat page, pages of
 * other origins, and errors of HTTP itself. */
#define _GNU_SOURCE
#include "http.h"

static served shared;

static int begin_shared(void **state) {
    (void)state;
    serve_begin(&shared, "models/qwen3-demo --served-model-name m --threads 1 --batch-size 4 --enable-lora");
    return 0;
}

static int end_shared(void **state) {
    (void)state;
    CHECK(serve_end(&shared) == 0, "the server ended badly: %s", shared.said);
    return 0;
}

/* ---- openapi.json -------------------------------------------------------------------------------- */

static json_t *description(void) {
    http_reply r = http_get(shared.port, "/openapi.json");
    json_t *root = json_loadb(r.body, r.len, JSON_REJECT_DUPLICATES, NULL);
    CHECK(r.status == 200 && root, "%d %.100s", r.status, r.body);
    http_free(&r);
    return root;
}

/* A body that the route answers, or refuses for another reason than its form. */
static json_t *good_body(const char *path, const json_t *required) {
    static const char *const values[][2] = {
        {"prompt", "\"a\""}, {"messages", "[{\"role\":\"user\",\"content\":\"a\"}]"},
        {"tokens", "[5]"},   {"input", "\"a\""},
        {"query", "\"a\""},  {"max_tokens", "1"}};
    json_t *body = json_object();
    for (size_t i = 0; i < json_array_size(required); i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            if (strcmp(json_string_value(json_array_get(required, i)), values[k][0]) == 0)
                json_object_set_new(body, values[k][0], json_loads(values[k][1], JSON_DECODE_ANY, NULL));
    if (strstr(path, "rerank")) json_object_set_new(body, "documents", json_pack("[s]", "b"));
    if (strstr(path, "score"))
        json_object_update_new(body, json_pack("{s:s, s:s}", "text_1", "a", "text_2", "b"));
    if (strstr(path, "embeddings")) json_object_set_new(body, "input", json_string("a"));
    if (strcmp(path, "/tokenize") == 0) json_object_set_new(body, "prompt", json_string("a"));
    if (strstr(path, "completions")) json_object_set_new(body, "max_tokens", json_integer(1));
    if (strstr(path, "responses")) json_object_set_new(body, "max_output_tokens", json_integer(1));
    return body;
}

static http_reply post(const char *path, const json_t *body) {
    char *text = json_dumps(body, 0);
    http_reply r = http_post(shared.port, path, text);
    free(text);
    return r;
}

/* Post the body with one more field; *said [cap] gets the answer's error. */
static int status_with(const char *path, const json_t *body, const char *name, json_t *value, char *said,
                       size_t cap) {
    json_t *more = json_copy((json_t *)(uintptr_t)body);
    json_object_set_new(more, name, value);
    http_reply r = post(path, more);
    const int status = r.status;
    snprintf(said, cap, "%s", r.body ? r.body : "");
    http_free(&r);
    json_decref(more);
    return status;
}

/* The field is read: some value is refused, and the error names the field. */
static bool is_read(const char *path, const json_t *body, const char *name) {
    static const char *const wrong[] = {"{\"x\":{}}", "[[{}]]", "-0.5",      "\"\\u0001x\"",
                                        "true",       "false",  "\"resp_1\""};
    char said[1000];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int status =
            status_with(path, body, name, json_loads(wrong[i], JSON_DECODE_ANY, NULL), said, sizeof said);
        CHECK(status == 200 || status == 400 || status == 404, "%s %s %s: %d", path, name, wrong[i], status);
        if ((status == 400 || status == 404) && strstr(said, name)) return true;
    }
    return false;
}

/* Fields whose name no error says, because each value of JSON is right or another field is named. */
static bool is_free(const char *path, const char *name) {
    static const char *const rows[][2] = {{"/v1/unload_lora_adapter", "lora_name"}, {"", "conversation"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(name, rows[i][1]) == 0 && (!*rows[i][0] || strcmp(path, rows[i][0]) == 0)) return true;
    return false;
}

static void check_fields(const char *path, const json_t *schema) {
    const char *name;
    json_t *value, *required = json_object_get(schema, "required"), *body = good_body(path, required);
    char said[1000];
    json_object_foreach(json_object_get(schema, "properties"), name, value) {
        CHECK(is_free(path, name) || is_read(path, body, name), "%s: the field %s is not read", path, name);
        const int status = status_with(path, body, name, json_null(), said, sizeof said);
        const bool needed = json_object_get(body, name) != NULL;
        CHECK(status != 400 || needed || strstr(path, "lora"), "%s: %s null: %s", path, name, said);
    }
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *field = json_string_value(json_array_get(required, i));
        const int status = status_with(path, body, field, json_null(), said, sizeof said);
        CHECK(status == 400 && strstr(said, field), "%s without %s: %d %s", path, field, status, said);
    }
    const int status = status_with(path, body, "no_such_field", json_true(), said, sizeof said);
    CHECK(status == 200 || strstr(path, "lora"), "%s: %d %s", path, status, said);
    json_decref(body);
}

/* The path with its parameter, which the description has. */
static const char *with_parameter(const char *path, const json_t *item) {
    static char whole[100];
    const char *brace = strchr(path, '{');
    const json_t *one = json_array_get(http_at(json_object_get(item, "get"), "parameters"), 0);
    if (!brace) return path;
    CHECK(strcmp(brace + 1, "model}") == 0 && strcmp(http_text(one, "name"), "model") == 0 &&
              strcmp(http_text(one, "in"), "path") == 0 && json_is_true(http_at(one, "required")),
          "%s lacks its parameter", path);
    snprintf(whole, sizeof whole, "%.*sm", (int)(brace - path), path);
    return whole;
}

/* Each route answers its method and no other one, and reads the fields that the description has. */
static void the_description_is_true(void **state) {
    json_t *root = description();
    const char *template, *path;
    json_t *item;
    (void)state;
    CHECK(json_object_size(json_object_get(root, "paths")) > 20, "%zu paths",
          json_object_size(json_object_get(root, "paths")));
    json_object_foreach(json_object_get(root, "paths"), template, item) {
        path = with_parameter(template, item);
        const bool get = json_object_get(item, "get") != NULL;
        CHECK(json_object_size(item) == 1, "%s has %zu methods", path, json_object_size(item));
        http_reply other = get ? http_post(shared.port, path, "{}") : http_get(shared.port, path);
        CHECK(other.status == 405, "%s, the other method: %d", path, other.status);
        http_free(&other);
        if (get) {
            http_reply r = http_get(shared.port, path);
            CHECK(r.status == 200, "%s: %d", path, r.status);
            http_free(&r);
        } else {
            check_fields(
                path, http_at(json_object_get(item, "post"), "requestBody.content.application/json.schema"));
        }
    }
    json_decref(root);
}

/* Every reference is resolved. */
static void check_references(const json_t *root, const json_t *value) {
    const char *key, *text = json_string_value(json_object_get(value, "$ref"));
    json_t *one;
    size_t i;
    char name[100];
    if (text && sscanf(text, "#/components/schemas/%99s", name) == 1)
        CHECK(json_object_get(http_at(root, "components.schemas"), name), "no schema %s", name);
    if (json_is_object(value))
        json_object_foreach((json_t *)(uintptr_t)value, key, one) check_references(root, one);
    json_array_foreach((json_t *)(uintptr_t)value, i, one) check_references(root, one);
}

/* The description has the routes that the document has. */
static void the_document_is_true(void **state) {
    json_t *root = description(), *paths = json_object_get(root, "paths");
    char *text = check_read_file("docs/SERVING.md", NULL);
    int n = 0;
    (void)state;
    check_references(root, root);
    for (const char *line = strstr(text, "\n| route |"); line && line[1] == '|';
         line = strchr(line + 1, '\n'))
        for (const char *at = line + 1; (at = strchr(at, '/')) != NULL && at < strchr(line + 3, '|'); at++) {
            char path[80];
            if (at[-1] != '`' && at[-1] != ' ') continue;
            snprintf(path, sizeof path, "%.*s", (int)strcspn(at, "`"), at);
            CHECK(json_object_get(paths, path), "docs/SERVING.md has %s", path);
            n++;
        }
    CHECK(n == (int)json_object_size(paths), "docs/SERVING.md has %d routes of %zu", n,
          json_object_size(paths));
    free(text);
    json_decref(root);
}

/* ---- the page --------------------------------------------------------------------------------------- */

static void the_page_is_alone(void **state) {
    static const char *const outside[] = {"http://", "https://", " src=", "@import", "url(", "integrity="};
    (void)state;
    http_reply r = http_get(shared.port, "/");
    CHECK(r.status == 200 && strcasestr(r.raw, "Content-Type: text/html") &&
              strcasestr(r.raw, "default-src 'none'"),
          "%s", r.raw);
    CHECK(r.len > 5000 && strstr(r.body, "</html>"), "%zu bytes", r.len);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        CHECK(!strstr(r.body, outside[i]), "the page has %s", outside[i]);
    http_free(&r);
}

static bool has_program(const char *name) {
    char line[100];
    snprintf(line, sizeof line, "command -v %s >/dev/null 2>&1", name);
    return system(line) == 0;
}

static void the_page_works(void **state) {
    char line[200];
    const bool browser = has_program("chromium");
    (void)state;
    if (!has_program("node")) check_skip("the page's script needs node");
    if (!browser) printf("SKIPPED: the page in a browser: there is no chromium; its functions run in node\n");
    snprintf(line, sizeof line, "node tools/check_page.mjs http://127.0.0.1:%d%s >&2", shared.port,
             browser ? " chromium" : "");
    CHECK(system(line) == 0, "%s", line);
}

/* ---- HTTP ------------------------------------------------------------------------------------------- */

static void check_json_error(int port, const char *bytes, size_t n, int status) {
    const int fd = http_connect(port);
    http_write(fd, bytes, n);
    shutdown(fd, SHUT_WR);
    http_reply r = http_end(fd);
    json_t *root = r.body ? json_loadb(r.body, r.len, 0, NULL) : NULL;
    CHECK(r.status == status && json_integer_value(http_at(root, "error.code")) == status &&
              *http_text(root, "error.message"),
          "%.40s: %d %s", bytes, r.status, r.raw);
    CHECK(strcasestr(r.raw, "Content-Type: application/json") && strcasestr(r.raw, "X-Request-Id: "), "%s",
          r.raw);
    json_decref(root);
    http_free(&r);
}

static void errors_of_http_are_json(void **state) {
    enum { LONG = 200000 };
    char *head = malloc(LONG);
    static const char huge[] = "POST /v1/completions HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
                      begin[] = "GET /health HTTP/1.1\r\nX-Long: ", wrong[] = "NO SUCH THING\r\n\r\n",
                      trace[] = "TRACE /health HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n",
                      chunk[] = "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                      chunks[] = "POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: "
                                 "chunked\r\n\r\n3\r\n{  \r\n40000000\r\n";
    static const char *const logged[] = {"GET - 400 ", "POST - 413 ", "- - 400 ", "- /health 405 ",
                                         "; id mine\n"};
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1");
    memset(head, 'a', LONG);
    memcpy(head, begin, sizeof begin - 1);
    check_json_error(s.port, head, LONG, 400);
    check_json_error(s.port, huge, sizeof huge - 1, 413);
    check_json_error(s.port, wrong, sizeof wrong - 1, 400);
    check_json_error(s.port, trace, sizeof trace - 1, 405);
    check_json_error(s.port, chunk, sizeof chunk - 1, 413);
    check_json_error(s.port, chunks, sizeof chunks - 1, 413);
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
    for (size_t i = 0; i < sizeof logged / sizeof *logged; i++)
        CHECK(strstr(s.said, logged[i]), "no line '%s': %s", logged[i], s.said);
    free(head);
}

/* ---- one model -------------------------------------------------------------------------------------- */

static void one_model(void **state) {
    static const struct {
        const char *path;
        int status;
    } rows[] = {{"/v1/models/an%20org/m%2f1", 200},  {"/v1/models/an%20org/m/1", 200},
                {"/v1/models/an%20org/m/1/", 200},   {"/v1/models/an%20org", 404},
                {"/v1/models/an%20org/m/1%00", 404}, {"/v1/models/no%22such", 404}};
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1 --served-model-name 'an org/m/1'");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_get(s.port, rows[i].path);
        json_t *root = json_loadb(r.body, r.len, 0, NULL);
        CHECK(r.status == rows[i].status, "%s: %d %s", rows[i].path, r.status, r.body);
        if (r.status == 200)
            CHECK(strcmp(http_text(root, "id"), "an org/m/1") == 0 &&
                      strcmp(http_text(root, "object"), "model") == 0,
                  "%s", r.body);
        else
            CHECK(strcmp(http_text(root, "error.type"), "NotFoundError") == 0 &&
                      strcmp(http_text(root, "error.param"), "model") == 0 &&
                      strstr(http_text(root, "error.message"), "does not exist"),
                  "%s", r.body);
        json_decref(root);
        http_free(&r);
    }
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
}

static void origins(void **state) {
    static const struct {
        const char *method, *headers;
        const char *has; /* NULL: no header */
    } rows[] = {
        {"GET", "Origin: http://a.example\r\n", "Access-Control-Allow-Origin: http://a.example\r\n"},
        {"GET", "Origin: http://b.example\r\n", "Access-Control-Allow-Origin: http://b.example\r\n"},
        {"GET", "Origin: http://c.example\r\n", NULL},
        {"GET", "", NULL},
        {"OPTIONS",
         "Origin: http://a.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
         "x-y\r\n",
         "Access-Control-Allow-Headers: x-y\r\n"},
        {"OPTIONS", "Origin: http://c.example\r\nAccess-Control-Request-Method: POST\r\n", NULL},
    };
    served s;
    (void)state;
    serve_begin(&s, "models/qwen3-demo --threads 1 --allowed-origins http://a.example,http://b.example");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        http_reply r = http_end(http_begin(s.port, rows[i].method, "/version", rows[i].headers, NULL, 0));
        CHECK(rows[i].has ? strcasestr(r.raw, rows[i].has) != NULL
                          : !strcasestr(r.raw, "Access-Control-Allow-Origin"),
              "%s%s", rows[i].headers, r.raw);
        http_free(&r);
    }
    CHECK(serve_end(&s) == 0, "status: %s", s.said);
    http_reply r =
        http_end(http_begin(shared.port, "GET", "/version", "Origin: http://c.example\r\n", NULL, 0));
    CHECK(strcasestr(r.raw, "Access-Control-Allow-Origin: *"), "%s", r.raw);
    http_free(&r);
}

int main(void) {
    find_program();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_description_is_true),
        cmocka_unit_test(the_document_is_true),
        cmocka_unit_test(the_page_is_alone),
        cmocka_unit_test(the_page_works),
        cmocka_unit_test(errors_of_http_are_json),
        cmocka_unit_test(origins),
        cmocka_unit_test(one_model),
    };
    return check_group_status("server_pages",
                              cmocka_run_group_tests_name("server_pages", tests, begin_shared, end_shared),
                              (int)(sizeof tests / sizeof *tests));
}
